//! Failures on disk: one directory for each, `findings/<id>/`, with run.json, plan.toml, history.jsonl, trace.ndjson, log.jsonl and
//! verdict.json. The id is a hash of what the run is and what it came to, so that the same failure found twice has one directory, and one that
//! exists is never written again. `findings/latest` holds the newest id; a file `closed` marks one that passes now.

use anyhow::Context;
use harness::{RunReport, Verdict};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

use crate::error::usage;

/// Version of run.json.
pub const RUN_FORMAT: u32 = 1;

/// run.json: what it takes to make the run again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunFile {
    /// Version of this format.
    pub format: u32,
    /// The directory's name, if it is a finding's.
    #[serde(default)]
    pub id: Option<String>,
    /// Commit of the source, `-dirty` if it was edited since; absent outside a repository.
    #[serde(default)]
    pub commit: Option<String>,
    /// The compiler.
    pub toolchain: String,
    /// Scenario.
    pub scenario: String,
    /// Seed.
    pub seed: u64,
    /// Whether the plan is exactly what the scenario draws from the seed.
    #[serde(default)]
    pub drawn: bool,
    /// Engine.
    pub engine: String,
    /// The bug that was planted.
    pub mutant: Option<String>,
    /// The command line that made the run.
    pub arguments: Vec<String>,
    /// XXH3-64 of the trace; empty if the run took its process down.
    pub trace_hash: String,
    /// Virtual time at which the run ended, nanoseconds: its last event may be long past by then. 0 if that was not written down.
    #[serde(default)]
    pub ended_ns: u64,
    /// What the run came to.
    pub verdict: String,
    /// The check that failed first.
    #[serde(default)]
    pub check: Option<String>,
    /// Its rule.
    #[serde(default)]
    pub rule: Option<String>,
}

impl RunFile {
    /// Describes a run.
    pub fn new(report: &RunReport, drawn: bool, id: Option<String>) -> RunFile {
        let first = report.first();
        RunFile {
            format: RUN_FORMAT,
            id,
            commit: commit(),
            toolchain: env!("SIM_RUSTC").to_owned(),
            scenario: report.scenario.clone(),
            seed: report.seed,
            drawn,
            engine: report.engine.clone(),
            mutant: report.mutant.clone(),
            arguments: std::env::args().skip(1).collect(),
            trace_hash: report.trace_hash.clone(),
            ended_ns: report.sim_ns,
            verdict: report.verdict.name().to_owned(),
            check: first.map(|f| f.check.clone()),
            rule: first.map(|f| f.rule.clone()),
        }
    }

    /// Reads `dir`/run.json.
    ///
    /// # Errors
    /// A usage error with the file and what is wrong with it.
    pub fn read(dir: &Path) -> anyhow::Result<RunFile> {
        let path = dir.join("run.json");
        let text = std::fs::read_to_string(&path).map_err(|e| usage(format!("{}: cannot be read: {e}", path.display())))?;
        let accepted = "accepted: the run.json that `fuzz` or `repro --out` wrote, format version 1";
        let run: RunFile =
            serde_json::from_str(&text).map_err(|e| usage(format!("{}, line {}: {e}; {accepted}", path.display(), e.line())))?;
        if run.format != RUN_FORMAT {
            return Err(usage(format!("{}: this is format version {}; {accepted}", path.display(), run.format)));
        }
        Ok(run)
    }
}

/// The directory of findings.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// The findings of a directory, which need not exist yet.
    pub fn new(dir: PathBuf) -> Store {
        Store { dir }
    }

    /// `findings/` of the project.
    pub fn default_place() -> Store {
        Store::new(root().join("findings"))
    }

    /// Where a finding is, or would be.
    pub fn path(&self, id: &str) -> PathBuf {
        self.dir.join(id)
    }

    /// What to call a finding on a command line: its id if it is in the default place, else its directory.
    pub fn name(&self, id: &str) -> String {
        if self.dir == Store::default_place().dir { id.to_owned() } else { self.path(id).display().to_string() }
    }

    /// Every finding, by id. Without a directory there is none.
    ///
    /// # Errors
    /// The directory cannot be read, or a run.json in it.
    pub fn list(&self) -> anyhow::Result<Vec<(String, RunFile)>> {
        let mut found = Vec::new();
        let entries = match std::fs::read_dir(&self.dir) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(found),
            entries => entries.with_context(|| format!("{}: reading the directory", self.dir.display()))?,
        };
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            if !name.starts_with('.') && path.join("run.json").is_file() {
                found.push((name, RunFile::read(&path)?));
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    /// Whether the finding has been seen to pass.
    pub fn is_closed(&self, id: &str) -> bool {
        self.path(id).join("closed").exists()
    }

    /// The newest finding's id.
    pub fn latest(&self) -> Option<String> {
        let id = std::fs::read_to_string(self.dir.join("latest")).ok()?.trim().to_owned();
        (!id.is_empty() && self.path(&id).join("run.json").is_file()).then_some(id)
    }

    /// A directory in which a run can be recorded before it is known to be a finding. On the same file system, so that it can be renamed.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.dir.join(format!(".tmp-{}-{name}", std::process::id()))
    }

    /// Makes a recorded directory a finding and the latest. If the same one exists already, that stays.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn keep(&self, recorded: &Path, report: &RunReport, drawn: bool) -> anyhow::Result<String> {
        let plan = std::fs::read_to_string(recorded.join("plan.toml")).unwrap_or_default();
        let id = id(report, &plan);
        let place = self.path(&id);
        if place.exists() {
            std::fs::remove_dir_all(recorded).with_context(|| format!("{}: removing", recorded.display()))?;
        } else {
            describe(recorded, report, drawn, Some(id.clone()))?;
            std::fs::rename(recorded, &place).with_context(|| format!("{}: renaming it to {}", recorded.display(), place.display()))?;
        }
        // If it had been closed, it is open again.
        let _ = std::fs::remove_file(place.join("closed"));
        let latest = self.dir.join("latest");
        std::fs::write(&latest, format!("{id}\n")).with_context(|| format!("{}: writing", latest.display()))?;
        Ok(id)
    }
}

/// Marks a finding that passes now: it is kept, and not replayed again. Says whether it did: a run that is not the same twice is not mended
/// because it passed once.
///
/// # Errors
/// The mark cannot be written.
pub fn close(dir: &Path) -> anyhow::Result<bool> {
    if RunFile::read(dir)?.verdict == Verdict::Nondeterministic.name() {
        return Ok(false);
    }
    let path = dir.join("closed");
    let text = format!("passes at commit {}\n", commit().as_deref().unwrap_or("unknown"));
    std::fs::write(&path, text).with_context(|| format!("{}: writing", path.display()))?;
    Ok(true)
}

/// Writes run.json and verdict.json next to what the worker recorded.
///
/// # Errors
/// The files cannot be written.
pub fn describe(dir: &Path, report: &RunReport, drawn: bool, id: Option<String>) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("{}: making the directory", dir.display()))?;
    let write = |name: &str, value: String| {
        let path = dir.join(name);
        std::fs::write(&path, value + "\n").with_context(|| format!("{}: writing", path.display()))
    };
    write("run.json", serde_json::to_string_pretty(&RunFile::new(report, drawn, id))?)?;
    write("verdict.json", serde_json::to_string_pretty(report)?)
}

/// `scenario-seed-check-hash`: readable, and the same for the same run with the same outcome.
fn id(report: &RunReport, plan: &str) -> String {
    let first = report.first();
    let check = first.map_or("none", |f| f.check.as_str());
    let rule = first.map_or("", |f| f.rule.as_str());
    let mutant = report.mutant.as_deref().unwrap_or("");
    let what = [report.engine.as_str(), plan, mutant, report.verdict.name(), check, rule, &report.trace_hash].join("\0");
    format!("{}-{}-{check}-{:08x}", report.scenario, report.seed, xxh3_64(what.as_bytes()) as u32)
}

/// The commit that is checked out, with `-dirty` if files were edited; `cargo sim` builds what is there before it runs.
fn commit() -> Option<String> {
    let args = ["--no-optional-locks", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"];
    let output = std::process::Command::new("git").args(args).current_dir(root().join(".")).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

/// The project's directory: the nearest one above that has `scenarios/`, relative if it is the current one, so that paths stay short.
pub fn root() -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    match here.ancestors().find(|dir| dir.join("scenarios").is_dir()) {
        Some(dir) if dir != here => dir.to_owned(),
        _ => PathBuf::new(),
    }
}
