//! `repro`: one run again, with everything shown.

use anyhow::Context;
use harness::{RunReport, Verdict};
use serde_json::Value;
use std::path::{Path, PathBuf};

use crate::args::Repro;
use crate::error::usage;
use crate::findings::{self, RunFile, Store};
use crate::json::{Lines, run_line};
use crate::lane::Lane;
use crate::render::{self, Failure};
use crate::target::{Origin, Target, shell};
use crate::term::{self, Paint};
use crate::worker::Job;

/// Runs the command: the exit status of the run's verdict.
///
/// # Errors
/// Bad input, before anything ran or was written; or the harness itself failed.
pub fn repro(args: &Repro) -> anyhow::Result<i32> {
    let engine = args.engine.map(crate::args::Engine::one).transpose()?;
    let target = Target::resolve(&args.what, args.scenario.as_deref(), args.mutant.as_deref(), engine, &Store::default_place())?;
    let level = args.log.as_deref().map(level).transpose()?;
    if let Some(dir) = &args.out {
        require_place(dir, &target)?;
    }
    let mut json = Lines::open(args.json.as_deref())?;
    let scratch = Scratch::new()?;
    let mutant = target.mutant.map(|m| m.name().to_owned());
    let log = if level == Some("trace") { "trace" } else { "debug" };
    let job = Job { work: target.work.clone(), engine: target.engine, mutant, record: Some(scratch.0.clone()), log: log.to_owned() };
    let report = Lane::new(args.limits.run_timeout).run(&job)?;
    json.write(&run_line(&report, finding_id(&target).as_deref()))?;
    json.finish()?;

    if let Some(level) = level {
        print_log(&scratch.0.join("log.jsonl"), level)?;
    }
    let paint = Paint::for_stdout();
    term::out(&show(&report, &target, &scratch.0, args.out.as_deref(), paint));
    if let Origin::Finding { trace_hash, commit, .. } = &target.origin
        && !trace_hash.is_empty()
        && *trace_hash != report.trace_hash
    {
        let commit = commit.as_deref().unwrap_or("an unknown commit");
        term::out(&format!(
            "\nThis is not the run that was kept (trace {trace_hash}, made at {commit}): the code or the mutant has changed since.\n"
        ));
    }
    if let Some(dir) = &args.out {
        keep(&scratch.0, dir, &report, &target)?;
    }
    Ok(report.verdict.exit_code())
}

fn show(report: &RunReport, target: &Target, recorded: &Path, out: Option<&Path>, paint: Paint) -> String {
    if report.verdict == Verdict::Pass {
        return render::pass(report, paint);
    }
    let trace = history::read_trace(&recorded.join("trace.ndjson")).ok();
    let arguments = target.origin.arguments(&report.scenario, report.seed, report.mutant.as_deref(), &report.engine);
    let files = out.map(|dir| dir.display().to_string()).or_else(|| match &target.origin {
        Origin::Finding { dir, .. } => Some(dir.display().to_string()),
        _ => None,
    });
    let trace = trace.as_ref().map(|(_, trace)| trace.as_slice());
    let shrinks = !matches!(report.verdict, Verdict::Vacuous | Verdict::Nondeterministic);
    render::failure(&Failure { report, trace, arguments: &arguments, shrinks, files: files.as_deref(), full: true }, paint)
}

fn finding_id(target: &Target) -> Option<String> {
    match &target.origin {
        Origin::Finding { dir, .. } => dir.file_name().map(|id| id.to_string_lossy().into_owned()),
        _ => None,
    }
}

/// `--out` takes a new or empty directory, or one that holds this very run: nothing else is overwritten.
fn require_place(dir: &Path, target: &Target) -> anyhow::Result<()> {
    let shown = shell(&dir.display().to_string());
    let accepted = "accepted: a new or an empty directory, or one with an earlier recording of the same run";
    if dir.exists() && !dir.is_dir() {
        return Err(usage(format!("--out {shown}: this is a file; {accepted}")));
    }
    let empty = std::fs::read_dir(dir).map_or(true, |mut entries| entries.next().is_none());
    if empty {
        return Ok(());
    }
    let same = RunFile::read(dir).is_ok_and(|run| {
        // A finding keeps what it was found with, id and all.
        let own = (run.scenario.as_str(), run.seed, run.mutant.as_deref(), run.engine.as_str());
        let same_plan = std::fs::read_to_string(dir.join("plan.toml")).is_ok_and(|text| text == target.plan.to_toml());
        run.id.is_none()
            && same_plan
            && own == (target.plan.scenario.as_str(), target.plan.seed, target.mutant.map(|m| m.name()), target.engine.name())
    });
    if same { Ok(()) } else { Err(usage(format!("--out {shown}: there are files of something else in it; {accepted}"))) }
}

/// Moves what the worker recorded to its place.
fn keep(recorded: &Path, dir: &Path, report: &RunReport, target: &Target) -> anyhow::Result<()> {
    findings::describe(recorded, report, target.origin.is_drawn(), None)?;
    std::fs::create_dir_all(dir).with_context(|| format!("{}: making the directory", dir.display()))?;
    for entry in std::fs::read_dir(recorded)? {
        let entry = entry?;
        let to = dir.join(entry.file_name());
        std::fs::copy(entry.path(), &to).with_context(|| format!("{}: writing", to.display()))?;
    }
    term::err(&format!("the run's files are in {}", dir.display()));
    Ok(())
}

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

fn level(text: &str) -> anyhow::Result<&'static str> {
    let found = LEVELS.iter().find(|level| level.eq_ignore_ascii_case(text)).copied();
    found.ok_or_else(|| usage(format!("--log {text}: there is no such level; accepted: {}", LEVELS.join(", "))))
}

/// The log from a level on, with virtual time and node.
fn print_log(path: &Path, level: &str) -> anyhow::Result<()> {
    let Ok(text) = std::fs::read_to_string(path) else {
        term::err("the run left no log");
        return Ok(());
    };
    let rank = |level: &str| LEVELS.iter().position(|l| l.eq_ignore_ascii_case(level)).unwrap_or(LEVELS.len());
    let most = rank(level);
    let mut out = String::new();
    for line in text.lines() {
        let entry: Value = serde_json::from_str(line).with_context(|| format!("{}: a line that is no JSON", path.display()))?;
        if rank(entry["level"].as_str().unwrap_or("")) <= most {
            out.push_str(&log_line(&entry));
        }
    }
    term::out(&(out + "\n"));
    Ok(())
}

fn log_line(entry: &Value) -> String {
    let word = |name: &str| match &entry[name] {
        Value::String(s) => s.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let place = match (word("node"), word("client")) {
        (node, _) if !node.is_empty() => format!("n{node}"),
        (_, client) if !client.is_empty() => format!("c{client}"),
        _ => "-".to_owned(),
    };
    let value = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let fields = entry["fields"].as_object().into_iter().flatten();
    let fields: String = fields.map(|(name, field)| format!(" {name}={}", value(field))).collect();
    let t = term::at(entry["t"].as_u64().unwrap_or(0));
    format!("{t}  {place:<4} {:<5} {}: {}{fields}\n", word("level").to_uppercase(), word("target"), word("message"))
}

/// A directory that goes away.
pub struct Scratch(pub PathBuf);

impl Scratch {
    /// Makes one.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new() -> anyhow::Result<Scratch> {
        let name = format!("sim-{}-{:x}", std::process::id(), crate::seed::random_seed());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).with_context(|| format!("{}: making the directory", dir.display()))?;
        Ok(Scratch(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_log_line_has_time_and_node() {
        let entry =
            json!({"t": 1_500_000_000u64, "node": 3, "level": "INFO", "target": "curp", "message": "elected", "fields": {"term": 2}});
        assert_eq!(log_line(&entry), "  1.500000 s  n3   INFO  curp: elected term=2\n");
        let bare = json!({"t": 0, "node": null, "level": "WARN", "target": "harness", "message": "heal"});
        assert_eq!(log_line(&bare), "  0.000000 s  -    WARN  harness: heal\n");
    }

    #[test]
    fn levels_are_known() {
        assert_eq!(level("INFO").unwrap(), "info");
        assert!(level("loud").unwrap_err().to_string().contains("error, warn, info, debug, trace"));
    }
}
