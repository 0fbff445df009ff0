//! What a run comes to.

use history::{Operation, Stamped, TraceHeader};
use mutants::Mutant;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The judgement of one check, or of a whole run. In the order of [`Verdict::severity`], the worst of a batch wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything judged held.
    Pass,
    /// A property of safety was broken.
    Violation,
    /// A checker ran out of budget.
    Unknown,
    /// After the heal, something that must happen did not.
    Liveness,
    /// A probe that the scenario requires never fired.
    Vacuous,
    /// The same seed gave another run.
    Nondeterministic,
    /// The system under test panicked.
    Crash,
}

impl Verdict {
    /// The word in reports and in `--json`.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Violation => "violation",
            Verdict::Unknown => "unknown",
            Verdict::Liveness => "liveness",
            Verdict::Vacuous => "vacuous",
            Verdict::Nondeterministic => "nondeterministic",
            Verdict::Crash => "crash",
        }
    }

    /// The exit status of a command whose worst verdict this is.
    pub fn exit_code(self) -> i32 {
        match self {
            Verdict::Pass => 0,
            Verdict::Violation => 1,
            Verdict::Unknown => 2,
            Verdict::Liveness => 3,
            Verdict::Vacuous => 5,
            Verdict::Nondeterministic => 6,
            Verdict::Crash => 7,
        }
    }

    /// Rank among verdicts, the worst highest: crash, violation, nondeterministic, liveness, unknown, vacuous, pass.
    pub fn severity(self) -> u8 {
        match self {
            Verdict::Pass => 0,
            Verdict::Vacuous => 1,
            Verdict::Unknown => 2,
            Verdict::Liveness => 3,
            Verdict::Nondeterministic => 4,
            Verdict::Violation => 5,
            Verdict::Crash => 6,
        }
    }
}

/// Something that a check found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The check, by the name of `cargo sim list checks`.
    pub check: String,
    /// The rule within it.
    pub rule: String,
    /// What it comes to: `Violation`, `Liveness`, `Unknown`, `Vacuous` or `Crash`.
    pub verdict: Verdict,
    /// Virtual time, nanoseconds.
    pub t: u64,
    /// The event at which it showed, if at one.
    pub event: Option<u64>,
    /// The node, if at one.
    pub node: Option<u32>,
    /// One sentence of meaning.
    pub message: String,
    /// Numbers of the events worth showing.
    pub evidence: Vec<u64>,
    /// More for people, line by line: states possible, the minimal core, a backtrace. May be empty.
    pub details: Vec<String>,
}

/// A run's outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// Scenario of the plan.
    pub scenario: String,
    /// [`Engine::name`].
    pub engine: String,
    /// Seed of the plan.
    pub seed: u64,
    /// The mutant planted.
    pub mutant: Option<String>,
    /// The worst of `findings`.
    pub verdict: Verdict,
    /// Everything found, the first first.
    pub findings: Vec<Finding>,
    /// Every check that ran, with its verdict.
    pub checks: BTreeMap<String, Verdict>,
    /// How often each check judged something.
    pub evaluations: BTreeMap<String, u64>,
    /// How often each probe fired.
    pub probes: BTreeMap<String, u64>,
    /// Of them: after the first fault took effect and before the heal.
    pub under_faults: BTreeMap<String, u64>,
    /// How often each kind of fault took effect.
    pub faults: BTreeMap<String, u64>,
    /// Operations invoked.
    pub ops: u64,
    /// Operations whose first answer was fast.
    pub fast: u64,
    /// Operations whose first answer was synced (reads apart).
    pub slow: u64,
    /// Operations whose outcome is unknown.
    pub unknown: u64,
    /// Trace events.
    pub events: u64,
    /// Virtual time at the end, nanoseconds.
    pub sim_ns: u64,
    /// Wall-clock time of the run, nanoseconds, judging included. The one field that differs between two runs of a seed.
    pub wall_ns: u64,
    /// XXH3-64 of the trace, 16 hexadecimal digits.
    pub trace_hash: String,
}

impl RunReport {
    /// The finding that names the run: the first among the worst.
    pub fn first(&self) -> Option<&Finding> {
        self.findings.iter().find(|f| f.verdict == self.verdict)
    }
}

/// What a recorded run leaves for files and reports.
#[derive(Clone, Debug)]
pub struct Artifacts {
    /// Header of the trace.
    pub header: TraceHeader,
    /// The trace.
    pub trace: Vec<Stamped>,
    /// The history.
    pub history: Vec<Operation>,
    /// Lines of `log.jsonl`, each an object with `t` (virtual ns), `node`, `level`, `target`, `message` and fields.
    pub log: Vec<String>,
}

/// What drives nodes and clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// A bare event loop that calls them.
    #[default]
    Direct,
    /// The shell of `core/server`, on the madsim runtime.
    Madsim,
}

impl Engine {
    /// The word on the command line, in reports and in traces.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Direct => "direct",
            Engine::Madsim => "madsim",
        }
    }
}

/// How to run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// What drives nodes and clients.
    pub engine: Engine,
    /// The bug to plant.
    pub mutant: Option<Mutant>,
    /// Let every level of the linearizability stack judge alone, and compare (every 20th run of a batch).
    pub each_level_alone: bool,
    /// Keep trace, history and log.
    pub record: bool,
    /// The log's level filter, in tracing-subscriber's words (`info`, `curp=debug`); with `record` only.
    pub log: String,
    /// Whether to judge at all: `false` is for the benchmark of the bare run.
    pub judge: bool,
    /// A nondeterminism, planted to test that it is found: from the thousandth message on, each arrives so many
    /// nanoseconds later.
    pub disturb: u64,
}

impl Default for RunOptions {
    fn default() -> Self {
        RunOptions {
            engine: Engine::Direct,
            mutant: None,
            each_level_alone: false,
            record: false,
            log: "debug".to_owned(),
            judge: true,
            disturb: 0,
        }
    }
}
