//! `sim worker`: the process that makes runs, one job per line of stdin, replies on stdout. It is a process of its own because a hang,
//! an abort or a stack overflow cannot be survived in the one it happens in; the parent's side is [`crate::lane`].
//!
//! Everything that runs a plan goes through here, so that a seed is run the same way by every command.

use anyhow::Context;
use harness::{Engine, RunOptions, RunReport};
use mutants::Mutant;
use plan::Plan;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use crate::scenarios;

/// What to run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// The plan that a scenario draws from a seed.
    Seed {
        /// The scenario.
        scenario: String,
        /// The seed.
        seed: u64,
    },
    /// A plan's text.
    Plan {
        /// Where it came from, for error messages.
        file: String,
        /// TOML.
        text: String,
    },
}

impl Work {
    /// The plan.
    ///
    /// # Errors
    /// A usage error: an unknown scenario, or a text that does not parse.
    pub fn plan(&self) -> anyhow::Result<Plan> {
        match self {
            Work::Seed { scenario, seed } => Ok(scenarios::by_name(scenario)?.draw(*seed)),
            Work::Plan { file, text } => scenarios::parse_plan(file, text),
        }
    }
}

/// One run to make.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// What to run.
    pub work: Work,
    /// What drives nodes and clients.
    #[serde(default)]
    pub engine: Engine,
    /// The bug to plant, by name.
    pub mutant: Option<String>,
    /// Keep the run's files in this directory.
    pub record: Option<PathBuf>,
    /// Level filter of the log, with `record` only.
    pub log: String,
}

/// One line of a worker's stdout.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The run begins: whatever becomes of the process from here on is this run's.
    Begin {
        /// Its seed.
        seed: u64,
        /// Its scenario.
        scenario: String,
    },
    /// The run ended.
    Done(Box<RunReport>),
    /// The job is not one, or its files cannot be written.
    Refused(String),
}

/// Serves jobs until stdin ends.
///
/// # Errors
/// Stdin or stdout fail: the parent is gone.
pub fn serve() -> anyhow::Result<i32> {
    let mut stdout = std::io::stdout();
    let mut say = move |reply: &Reply| -> anyhow::Result<()> {
        let mut line = serde_json::to_string(reply)?;
        line.push('\n');
        stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush()).context("the worker's parent is gone")
    };
    for line in std::io::stdin().lock().lines() {
        let line = line.context("reading jobs")?;
        let job: Job = serde_json::from_str(&line).context("a job that does not parse")?;
        let reply = match job.work.plan() {
            Err(error) => Reply::Refused(format!("{error:#}")),
            Ok(plan) => {
                say(&Reply::Begin { seed: plan.seed, scenario: plan.scenario.clone() })?;
                match run(&plan, &job) {
                    Ok(report) => Reply::Done(Box::new(report)),
                    Err(error) => Reply::Refused(format!("{error:#}")),
                }
            }
        };
        say(&reply)?;
    }
    Ok(0)
}

fn run(plan: &Plan, job: &Job) -> anyhow::Result<RunReport> {
    let mutant = job.mutant.as_deref().map(str::parse::<Mutant>).transpose()?;
    let options = options(plan, job.engine, mutant, job.record.is_some(), &job.log);
    // First the plan: if the process dies, it is known what it was at.
    if let Some(dir) = &job.record {
        std::fs::create_dir_all(dir).with_context(|| format!("{}: making the directory", dir.display()))?;
        write(dir, "plan.toml", &plan.to_toml())?;
    }
    let (report, artifacts) = harness::run(plan, &options);
    if let (Some(dir), Some(artifacts)) = (&job.record, artifacts) {
        history::write_history(&dir.join("history.jsonl"), &artifacts.history)?;
        history::write_trace(&dir.join("trace.ndjson"), &artifacts.header, &artifacts.trace)?;
        let mut log = artifacts.log.join("\n");
        log.push_str(if log.is_empty() { "" } else { "\n" });
        write(dir, "log.jsonl", &log)?;
    }
    Ok(report)
}

/// How a plan is run, whoever asks: every 20th seed also lets each level of the linearizability stack judge alone.
pub fn options(plan: &Plan, engine: Engine, mutant: Option<Mutant>, record: bool, log: &str) -> RunOptions {
    // For the tests of determinism only: makes every process another run of the same seed.
    let disturb = if std::env::var_os("SIM_DISTURB").is_some() { u64::from(std::process::id()) } else { 0 };
    RunOptions { engine, mutant, each_level_alone: plan.seed.is_multiple_of(20), record, log: log.to_owned(), judge: true, disturb }
}

fn write(dir: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let path = dir.join(name);
    std::fs::write(&path, text).with_context(|| format!("{}: writing", path.display()))
}
