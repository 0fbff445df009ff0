//! The command line as data: flags, help and completions come from here. The words are a contract (CLI.md); what a command does
//! with them is in the module of its name.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

use crate::error::usage;

/// Deterministic simulation tests of a key-value store on CURP and Raft: one seed is one run, exactly.
#[derive(Debug, Parser)]
#[command(name = "sim", bin_name = "cargo sim", version, max_term_width = 120, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit status: 0 all passed · 1 violation · 2 unknown · 3 liveness · 4 nothing ran · 5 vacuous · 6 nondeterministic · \
7 the system under test panicked · 64 usage · 70 the harness itself failed. The worst of a batch wins: 70, 7, 1, 6, 3, 2, 5.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run seeds, judge each, keep what failed
    Fuzz(Fuzz),
    /// Run one thing again and show everything: a seed, a finding's id, a plan file, or `latest`
    Repro(Repro),
    /// Make a failing plan smaller while the same check fails; writes a plan file that reproduces
    Shrink(Shrink),
    /// Judge stored histories and traces, ours or another tool's
    Check(Check),
    /// Hold traces against the TLA+ specification; without arguments, those in traces/
    Conform(Conform),
    /// Replay behaviours of the specification on the implementation (not built yet)
    Explore(NotBuilt),
    /// Plant each known bug, and show which check caught it and after how many seeds
    Mutants(Mutants),
    /// One self-contained HTML page of a run (not built yet)
    Report(NotBuilt),
    /// Make each seed twice, the second time in a fresh process, and compare
    Determinism(Determinism),
    /// What there is
    List(List),
    /// How fast: runs per second of the scenario `standard` on one core, on both engines, and where the time goes
    Bench(Bench),
    /// Is this machine ready
    Doctor,
    /// Run jobs read from stdin: what a batch starts for each core
    #[command(hide = true)]
    Worker,
}

/// What drives node and client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// A bare event loop
    Direct,
    /// The shell of core/server, on the madsim runtime
    Madsim,
    /// Every seed on direct, and those divisible by 20 on madsim as well
    Both,
}

impl Engine {
    /// The engine of a command that makes one run.
    ///
    /// # Errors
    /// A usage error for `both`.
    pub fn one(self) -> anyhow::Result<harness::Engine> {
        match self {
            Engine::Direct => Ok(harness::Engine::Direct),
            Engine::Madsim => Ok(harness::Engine::Madsim),
            Engine::Both => Err(usage("--engine both: this command makes one run; accepted: direct or madsim")),
        }
    }

    /// The engines on which a batch runs a seed.
    pub fn of_seed(self, seed: u64) -> &'static [harness::Engine] {
        match self {
            Engine::Direct => &[harness::Engine::Direct],
            Engine::Madsim => &[harness::Engine::Madsim],
            Engine::Both if seed.is_multiple_of(20) => Engine::Both.all(),
            Engine::Both => &[harness::Engine::Direct],
        }
    }

    /// The engines it stands for.
    pub fn all(self) -> &'static [harness::Engine] {
        match self {
            Engine::Direct => &[harness::Engine::Direct],
            Engine::Madsim => &[harness::Engine::Madsim],
            Engine::Both => &[harness::Engine::Direct, harness::Engine::Madsim],
        }
    }
}

/// `fuzz`.
#[derive(Debug, Args)]
pub struct Fuzz {
    /// Scenarios to draw from; all by default
    pub scenario: Vec<String>,
    /// How many runs [default: 1000]
    #[arg(long, value_name = "N", conflicts_with = "duration")]
    pub seeds: Option<u64>,
    /// How long: 30s, 10m, 2h
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    pub duration: Option<Duration>,
    /// First seed (decimal, 0x-hex or a 40-digit commit hash); random and printed by default
    #[arg(long, value_name = "SEED")]
    pub from: Option<String>,
    /// What drives node and client
    #[arg(long, value_enum, default_value = "both")]
    pub engine: Engine,
    /// Worker processes [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub jobs: Option<u32>,
    /// Only the K-th of N equal parts of the batch, K from 1; also read from JOB_COMPLETION_INDEX with JOB_COMPLETIONS,
    /// SLURM_ARRAY_TASK_ID with SLURM_ARRAY_TASK_COUNT, and CI_NODE_INDEX with CI_NODE_TOTAL
    #[arg(long, value_name = "K/N")]
    pub shard: Option<String>,
    /// End at the first failure
    #[arg(long)]
    pub fail_fast: bool,
    /// Plant a known bug in every run
    #[arg(long, value_name = "NAME")]
    pub mutant: Option<String>,
    /// Where findings are kept [default: findings]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// One JSON object per run, and a summary last
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// A JUnit report
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    #[command(flatten)]
    pub limits: Limits,
}

/// Limits of worker processes.
#[derive(Clone, Copy, Debug, Args)]
pub struct Limits {
    /// Wall-clock limit of one run; beyond it the run counts as hung
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "30s", env = "SIM_RUN_TIMEOUT", hide = true)]
    pub run_timeout: Duration,
}

/// `repro`.
#[derive(Debug, Args)]
pub struct Repro {
    /// A seed, a finding's id, a plan file, or `latest`
    pub what: String,
    /// Scenario of the seed; drawn from the seed by default, as `fuzz` does
    #[arg(long, value_name = "S")]
    pub scenario: Option<String>,
    /// What drives node and client [default: direct; a finding's own]
    #[arg(long, value_enum, value_name = "E")]
    pub engine: Option<Engine>,
    /// Plant a known bug
    #[arg(long, value_name = "NAME")]
    pub mutant: Option<String>,
    /// Print the run's log from this level on: error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL")]
    pub log: Option<String>,
    /// Keep the run's files here
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// The run as one JSON object
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    #[command(flatten)]
    pub limits: Limits,
}

/// `shrink`.
#[derive(Debug, Args)]
pub struct Shrink {
    /// A seed, a finding's id, a plan file, or `latest`
    pub what: String,
    /// Scenario of the seed; drawn from the seed by default
    #[arg(long, value_name = "S")]
    pub scenario: Option<String>,
    /// What drives node and client [default: direct; a finding's own]
    #[arg(long, value_enum, value_name = "E")]
    pub engine: Option<Engine>,
    /// Plant a known bug; a finding brings its own
    #[arg(long, value_name = "NAME")]
    pub mutant: Option<String>,
    /// The smaller plan; never an existing file [default: a new name in the current directory]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// The most runs to try
    #[arg(long, value_name = "N", default_value_t = 4000, hide = true)]
    pub tries: u64,
    #[command(flatten)]
    pub limits: Limits,
}

/// `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Histories and traces, or directories of them
    #[arg(required = true)]
    pub path: Vec<PathBuf>,
    /// The sequential model [default: by the kind of file]
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// Which level of the stack judges: l0, l1, l2, l3 or all
    #[arg(long, default_value = "all", value_name = "LEVEL")]
    pub level: String,
    /// Time for each file; beyond it the verdict is `unknown`
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "60s")]
    pub budget: Duration,
    /// One JSON object per file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// `conform`.
#[derive(Debug, Args)]
pub struct Conform {
    /// Traces, directories of runs or findings, or directories of traces [default: the golden ones in traces/]
    pub trace: Vec<PathBuf>,
    /// Have TLC judge (needs java 17 and `ci/tlc-fetch.sh`); the specification's Rust model is not built yet
    #[arg(long)]
    pub tlc: bool,
    /// Change each trace in many ways, every one of which must be rejected [default: the accepted golden ones]
    #[arg(long)]
    pub suite: bool,
    /// One JSON object per trace
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// `mutants`.
#[derive(Debug, Args)]
pub struct Mutants {
    /// Mutants to plant; all by default
    pub name: Vec<String>,
    /// The most seeds to try for each [default: 2000, one with --fixed]
    #[arg(long, value_name = "SEEDS")]
    pub budget: Option<u64>,
    /// First seed
    #[arg(long, value_name = "SEED", default_value = "1")]
    pub from: String,
    /// On which engines; a bug of the shell is hunted on madsim only
    #[arg(long, value_enum, default_value = "both", value_name = "E")]
    pub engine: Engine,
    /// Only the seeds of scenarios/mutants.toml: quick, for CI
    #[arg(long)]
    pub fixed: bool,
    /// Write the seeds found to scenarios/mutants.toml
    #[arg(long, conflicts_with = "fixed")]
    pub write_fixed: bool,
    /// Worker processes [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub jobs: Option<u32>,
    /// One JSON object per mutant
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    #[command(flatten)]
    pub limits: Limits,
}

/// `determinism`.
#[derive(Debug, Args)]
pub struct Determinism {
    /// How many seeds
    #[arg(default_value_t = 100)]
    pub seeds: u64,
    /// First seed; random and printed by default
    #[arg(long, value_name = "SEED")]
    pub from: Option<String>,
    /// On which engines
    #[arg(long, value_enum, default_value = "both", value_name = "E")]
    pub engine: Engine,
    #[command(flatten)]
    pub limits: Limits,
}

/// `list`.
#[derive(Debug, Args)]
pub struct List {
    /// Of what
    #[arg(value_enum)]
    pub what: Listed,
}

/// What can be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Listed {
    /// Families of plans
    Scenarios,
    /// Known bugs that can be planted
    Mutants,
    /// What is judged
    Checks,
    /// Places a run can reach, counted
    Probes,
    /// What can go wrong in the world
    Faults,
    /// Failures kept on disk
    Findings,
}

/// `bench`.
#[derive(Debug, Args)]
pub struct Bench {
    /// Runs on each engine; as many again with the checks off
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub runs: u64,
    /// First seed
    #[arg(long, value_name = "SEED", default_value = "1")]
    pub from: String,
    /// The scenario
    #[arg(long, value_name = "S", default_value = "standard")]
    pub scenario: String,
}

/// A command that is not built yet: whatever follows it is accepted and ignored.
#[derive(Debug, Args)]
pub struct NotBuilt {
    /// Ignored
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub rest: Vec<String>,
}

/// `30s`, `10m`, `2h`, `500ms`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration; write a number with its unit: 500ms, 30s, 10m, 2h");
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let ms = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(ms).map(Duration::from_millis).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(parse_duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_duration("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        for wrong in ["", "30", "s", "1.5s", "-1s", "10 m", "99999999999999999999s", "9999999999999999999h"] {
            assert!(parse_duration(wrong).is_err(), "{wrong} was accepted");
        }
    }
}
