//! `check`: stored histories and traces judged again with today's checkers, ours or another tool's. Parsing is apart from judging, and every file
//! is parsed before the first is judged, so that a truncated one is noticed before an hour was spent.

use ::check::online::Monitor;
use ::check::parse::{Stored, parse_any};
use ::check::{Budget, Judgement, Level, Verdict, decide, judge, judge_stored};
use history::{AppliedCommand, Stamped, TraceHash, TraceHeader};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::args::Check;
use crate::error::usage;
use crate::findings::RunFile;
use crate::fuzz::cores;
use crate::json::Lines;
use crate::status::{EXIT_NOTHING, worse};
use crate::term::{self, Paint, duration, plural, thousands};

/// A file is judged so often, and the least time counts.
const RUNS: usize = 5;
/// The models, as `--model` names them.
const MODELS: [&str; 4] = ["kv", "register", "cas-register", "append"];

/// One file, parsed.
enum Loaded {
    History { stored: Stored, log: Option<Vec<AppliedCommand>> },
    Trace { header: TraceHeader, events: Vec<Stamped>, run: Option<Box<RunFile>> },
}

/// What a file came to.
struct Outcome {
    verdict: Verdict,
    level: String,
    message: String,
    details: Vec<String>,
}

/// Runs the command: 0 if all are legal, 1 if one is not, 2 if one could not be decided.
///
/// # Errors
/// Bad input: before anything was judged or written.
pub fn check(args: &Check) -> anyhow::Result<i32> {
    let level: Level = args.level.parse().map_err(|e: String| usage(format!("--level: {e}")))?;
    if let Some(model) = args.model.as_deref().filter(|m| !MODELS.contains(m)) {
        return Err(usage(format!("--model {model}: there is no such model; accepted: {}", MODELS.join(", "))));
    }
    let mut files = Vec::new();
    for path in &args.path {
        collect(path, true, &mut files)?;
    }
    let loaded = files.iter().map(|file| load(file, args.model.as_deref(), level)).collect::<anyhow::Result<Vec<Loaded>>>()?;
    let mut json = Lines::open(args.json.as_deref())?;
    let paint = Paint::for_stdout();
    let (mut status, mut counts) = (if files.is_empty() { EXIT_NOTHING } else { 0 }, [0u64; 3]);
    for (file, loaded) in files.iter().zip(&loaded) {
        let (outcome, wall_ns) = measured(loaded, level, args.budget);
        let outcome = outcome.map_err(|e| usage(format!("{}: {e}", file.display())))?;
        let (model, ops) = match loaded {
            Loaded::History { stored, .. } => (args.model.as_deref().unwrap_or(stored.model()), stored.len()),
            Loaded::Trace { events, .. } => ("trace", events.len()),
        };
        let (index, code, verdict) = match outcome.verdict {
            Verdict::Ok => (0, 0, paint.good("ok")),
            Verdict::Illegal => (1, 1, paint.bad("illegal")),
            Verdict::Unknown => (2, 2, paint.odd("unknown")),
        };
        counts[index] += 1;
        status = worse(status, code);
        json.write(&json!({
            "kind": "check", "file": file.display().to_string(), "model": model, "level": outcome.level, "ops": ops,
            "verdict": outcome.verdict.to_string(), "wall_ns": wall_ns, "message": outcome.message,
        }))?;
        let unit = if model == "trace" { "events" } else { "operations" };
        term::out(&format!(
            "{verdict}  {}  ({model}, {} {unit}, {}, {})\n",
            file.display(),
            thousands(ops as u64),
            outcome.level,
            duration(wall_ns)
        ));
        if !outcome.message.is_empty() {
            term::out(&format!("    {}\n", term::wrap(&outcome.message, 4, 132)));
        }
        outcome.details.iter().for_each(|line| term::out(&format!("      {line}\n")));
    }
    json.finish()?;
    let [ok, illegal, unknown] = counts;
    term::out(&format!("\n{}: {ok} ok, {illegal} illegal, {unknown} unknown\n", plural(files.len() as u64, "file", "files")));
    Ok(status)
}

/// A file; of a directory, everything in it that can be judged. A finding's own other files are passed over.
fn collect(path: &Path, named: bool, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let cannot =
        |e: std::io::Error| usage(format!("{}: cannot be read: {e}; accepted: a history, a trace, or a directory of them", path.display()));
    let metadata = std::fs::metadata(path).map_err(cannot)?;
    if metadata.is_dir() {
        let mut entries = std::fs::read_dir(path).map_err(cannot)?.collect::<Result<Vec<_>, _>>().map_err(cannot)?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        return entries.iter().try_for_each(|entry| collect(&entry.path(), false, files));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let judgeable = ["log", "txt", "jsonl", "ndjson"].iter().any(|e| path.extension().is_some_and(|x| x == *e)) && name != "log.jsonl";
    if named || judgeable {
        files.push(path.to_owned());
    }
    Ok(())
}

fn load(path: &Path, model: Option<&str>, level: Level) -> anyhow::Result<Loaded> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|e| usage(format!("{file}: cannot be read: {e}; accepted: a history or a trace, in UTF-8")))?;
    if is_trace(&text) {
        let (header, events) = history::parse_trace(&file, &text).map_err(|e| usage(e.to_string()))?;
        let run = path.parent().filter(|dir| dir.join("run.json").is_file()).map(RunFile::read).transpose()?;
        return Ok(Loaded::Trace { header, events, run: run.map(Box::new) });
    }
    let stored = parse_any(&file, &text).map_err(|e| usage(e.to_string()))?;
    let fits = |model: &str| model == stored.model() || matches!((&stored, model), (Stored::Register(_), "register" | "cas-register"));
    if let Some(model) = model.filter(|m| !fits(m)) {
        return Err(usage(format!("{file}: --model {model} does not fit this history; accepted for it: {}", stored.model())));
    }
    // The certificate needs the final log, which the trace beside our history has.
    let beside = path.with_file_name("trace.ndjson");
    let log = if matches!(stored, Stored::Kv(_)) && matches!(level, Level::L0 | Level::All) && beside.is_file() {
        let (header, events) = history::read_trace(&beside).map_err(|e| usage(e.to_string()))?;
        // A run that was cut short has no final log: what was answered fast may not be in what is committed so far.
        ended_well(path).then(|| watched(&header, &events, 0).applied_log())
    } else {
        None
    };
    Ok(Loaded::History { stored, log })
}

/// Whether the run whose file this is came to its end, as far as its verdict says.
fn ended_well(path: &Path) -> bool {
    let verdict = std::fs::read_to_string(path.with_file_name("verdict.json")).unwrap_or_default();
    let verdict: serde_json::Value = serde_json::from_str(&verdict).unwrap_or_default();
    let cut_short = |finding: &serde_json::Value| matches!(finding["verdict"].as_str(), Some("liveness" | "crash"));
    !verdict["findings"].as_array().is_some_and(|findings| findings.iter().any(cut_short))
}

/// Whether the first line is a trace's header.
fn is_trace(text: &str) -> bool {
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("");
    serde_json::from_str::<serde_json::Value>(first).is_ok_and(|v| v.get("voters").is_some() || v.get("engine").is_some())
}

/// What `judge` gives, and the least of five times it took. An undecided one is not tried again: it would take its whole budget each time.
fn timed(mut judge: impl FnMut() -> Result<Outcome, String>, budget: Duration) -> (Result<Outcome, String>, u64) {
    let begun = Instant::now();
    let mut least = u64::MAX;
    let mut last = Err("not judged".to_owned());
    for _ in 0..RUNS {
        let start = Instant::now();
        last = judge();
        least = least.min(start.elapsed().as_nanos() as u64);
        let decided = last.as_ref().is_ok_and(|o| o.verdict != Verdict::Unknown);
        if !decided || begun.elapsed() > budget {
            break;
        }
    }
    (last, least)
}

/// The outcome, and how long it takes to reach the verdict. The search is timed without its explanation, which costs far more.
fn measured(loaded: &Loaded, level: Level, wall: Duration) -> (Result<Outcome, String>, u64) {
    match loaded {
        Loaded::History { stored, log } if level == Level::L3 || (level == Level::All && log.is_none()) => {
            let judged = outcome(loaded, level, wall);
            let budget = Budget { steps: u64::MAX, wall: Some(wall), threads: cores() };
            let verdict = |verdict| Ok(Outcome { verdict, level: String::new(), message: String::new(), details: Vec::new() });
            let (_, least) = timed(|| verdict(decide(stored, budget)), wall);
            (judged, least)
        }
        _ => timed(|| outcome(loaded, level, wall), wall),
    }
}

fn outcome(loaded: &Loaded, level: Level, wall: Duration) -> Result<Outcome, String> {
    let budget = Budget { steps: u64::MAX, wall: Some(wall), threads: cores() };
    match loaded {
        Loaded::History { stored: Stored::Kv(history), log } => {
            judge(history, log.as_deref(), level, budget).map(of_judgement).map_err(|e| e.to_string())
        }
        Loaded::History { stored, .. } => judge_stored(stored, level, budget).map(of_judgement).map_err(|e| e.to_string()),
        Loaded::Trace { header, events, run } => Ok(of_trace(header, events, run.as_deref())),
    }
}

fn of_judgement(judgement: Judgement) -> Outcome {
    let mut details = Vec::new();
    if let Some(why) = judgement.explanation {
        details.push(format!("possible just before: {}", why.states.join("; ")));
        details.extend(why.core);
    }
    Outcome { verdict: judgement.verdict, level: judgement.level.to_string(), message: judgement.message, details }
}

/// `end`: when the run ended, if that is known and after its last event.
fn watched(header: &TraceHeader, events: &[Stamped], end: u64) -> Monitor {
    let mut monitor = Monitor::new(header);
    events.iter().for_each(|event| monitor.observe(event));
    monitor.finish_at(end);
    monitor
}

/// The online checks again, up to the run's end, and the hash, which must be the one that the run had.
fn of_trace(header: &TraceHeader, events: &[Stamped], run: Option<&RunFile>) -> Outcome {
    let monitor = watched(header, events, run.map_or(0, |run| run.ended_ns));
    let mut hash = TraceHash::new();
    events.iter().for_each(|event| hash.update(event));
    let hash = format!("{:016x}", hash.finish());
    let mut wrong: Vec<String> =
        monitor.violations().iter().map(|v| format!("{} at event {}: {} (rule: {})", v.check, v.event, v.message, v.rule)).collect();
    if let Some(recorded) = run.map(|run| &run.trace_hash).filter(|recorded| !recorded.is_empty() && **recorded != hash) {
        wrong.insert(0, format!("this is not the trace of its run.json: its hash is {hash}, and the run's was {recorded}"));
    }
    let undecided = monitor.undecided().iter().map(|(check, why)| format!("{check}: {why}"));
    let (verdict, lines): (_, Vec<String>) = match (wrong.is_empty(), monitor.undecided().is_empty()) {
        (true, true) => (Verdict::Ok, Vec::new()),
        (true, false) => (Verdict::Unknown, undecided.collect()),
        (false, _) => (Verdict::Illegal, wrong.into_iter().chain(undecided).collect()),
    };
    let mut lines = lines.into_iter();
    let message = lines.next().unwrap_or_default();
    Outcome { verdict, level: "online".to_owned(), message, details: lines.collect() }
}
