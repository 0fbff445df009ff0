//! What a batch adds up to. Counters only: a batch of millions takes no more memory than one of ten.

use harness::{RunReport, Verdict};
use serde_json::{Value, json};
use std::collections::BTreeMap;

use crate::status::{is_failed, worse};
use crate::term::percent;

/// Counters of the runs of one scenario.
#[derive(Clone, Debug, Default)]
pub struct OfScenario {
    /// Runs.
    pub runs: u64,
    /// Runs that failed.
    pub failed: u64,
    /// How often each probe fired in them.
    pub probes: BTreeMap<String, u64>,
    /// Of them: after the run's first fault took effect and before its heal.
    pub under_faults: BTreeMap<String, u64>,
}

/// Counters of a batch.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Runs, replays included.
    pub runs: u64,
    /// Of them: findings and regression plans made again.
    pub replayed: u64,
    /// Runs by verdict.
    pub verdicts: BTreeMap<&'static str, u64>,
    /// Runs that failed: neither passed nor unknown.
    pub failed: u64,
    /// The first seeds of vacuous runs, with their scenario: they are not kept as findings.
    pub vacuous_seeds: Vec<(u64, String)>,
    /// Client operations.
    pub ops: u64,
    /// Of them: answered fast first.
    pub fast: u64,
    /// Of them: answered synced first, reads apart.
    pub slow: u64,
    /// Of them: outcome unknown.
    pub unknown_ops: u64,
    /// Trace events.
    pub events: u64,
    /// Virtual time.
    pub sim_ns: u64,
    /// Effects of each kind of fault.
    pub faults: BTreeMap<String, u64>,
    /// Firings of each probe.
    pub probes: BTreeMap<String, u64>,
    /// Of them: after the run's first fault took effect and before its heal.
    pub under_faults: BTreeMap<String, u64>,
    /// Judgements of each check.
    pub evaluations: BTreeMap<String, u64>,
    /// Runs that each check reported, by (check, verdict).
    pub reported: BTreeMap<(String, &'static str), u64>,
    /// By scenario.
    pub scenarios: BTreeMap<String, OfScenario>,
    /// Exit status so far.
    pub status: i32,
}

/// Vacuous seeds that are named.
const VACUOUS_SEEDS_MAX: usize = 5;

fn add(to: &mut BTreeMap<String, u64>, from: &BTreeMap<String, u64>) {
    for (name, n) in from {
        match to.get_mut(name) {
            Some(sum) => *sum += n,
            None => _ = to.insert(name.clone(), *n),
        }
    }
}

impl Tally {
    /// Counts a run.
    pub fn add(&mut self, report: &RunReport, replay: bool) {
        self.runs += 1;
        self.replayed += u64::from(replay);
        *self.verdicts.entry(report.verdict.name()).or_default() += 1;
        self.failed += u64::from(is_failed(report.verdict));
        if report.verdict == Verdict::Vacuous && self.vacuous_seeds.len() < VACUOUS_SEEDS_MAX {
            self.vacuous_seeds.push((report.seed, report.scenario.clone()));
        }
        self.ops += report.ops;
        self.fast += report.fast;
        self.slow += report.slow;
        self.unknown_ops += report.unknown;
        self.events += report.events;
        self.sim_ns += report.sim_ns;
        add(&mut self.faults, &report.faults);
        add(&mut self.probes, &report.probes);
        add(&mut self.under_faults, &report.under_faults);
        add(&mut self.evaluations, &report.evaluations);
        for (check, verdict) in report.checks.iter().filter(|(_, v)| **v != Verdict::Pass) {
            *self.reported.entry((check.clone(), verdict.name())).or_default() += 1;
        }
        let scenario = self.scenarios.entry(report.scenario.clone()).or_default();
        scenario.runs += 1;
        scenario.failed += u64::from(is_failed(report.verdict));
        add(&mut scenario.probes, &report.probes);
        add(&mut scenario.under_faults, &report.under_faults);
        self.status = worse(self.status, report.verdict.exit_code());
    }

    /// Runs with this verdict.
    pub fn of(&self, verdict: Verdict) -> u64 {
        self.verdicts.get(verdict.name()).copied().unwrap_or(0)
    }

    /// How often a probe fired.
    pub fn probe(&self, name: &str) -> u64 {
        self.probes.get(name).copied().unwrap_or(0)
    }

    /// The last line of `--json`.
    pub fn summary_line(&self, elapsed_ns: u64, exit: i32, from: Option<u64>, vacuous: &[String]) -> Value {
        let seconds = (elapsed_ns as f64 / 1e9).max(1e-9);
        json!({
            "kind": "summary", "runs": self.runs, "passed": self.of(Verdict::Pass), "failed": self.failed, "unknown": self.of(Verdict::Unknown),
            "seeds_per_s": self.runs as f64 / seconds, "sim_s_per_wall_s": self.sim_ns as f64 / 1e9 / seconds, "ops_per_s": self.ops as f64 / seconds,
            "elapsed_ns": elapsed_ns, "exit": exit, "from": from, "replayed": self.replayed, "verdicts": self.verdicts, "ops": self.ops,
            "fast": self.fast, "slow": self.slow, "unknown_ops": self.unknown_ops, "fast_percent": percent(self.fast, self.fast + self.slow),
            "unknown_percent": percent(self.unknown_ops, self.ops), "sim_ns": self.sim_ns, "events": self.events, "faults": self.faults,
            "probes": self.probes, "under_faults": self.under_faults, "evaluations": self.evaluations, "vacuous": vacuous,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn runs_add_up() {
        let mut tally = Tally::default();
        tally.add(&samples::passed(), false);
        tally.add(&samples::passed(), true);
        tally.add(&samples::lost_write().0, false);
        let mut unknown = samples::passed();
        unknown.verdict = Verdict::Unknown;
        tally.add(&unknown, false);
        assert_eq!((tally.runs, tally.replayed, tally.failed, tally.status), (4, 1, 1, 1));
        assert_eq!(tally.ops, 4 * 230);
        assert_eq!(tally.faults["crash"], 12);
        assert_eq!(tally.reported[&("recovery".to_owned(), "violation")], 1);
        let line = tally.summary_line(2_000_000_000, 1, Some(5), &[]);
        let (runs, passed, failed, unknown) = (&line["runs"], &line["passed"], &line["failed"], &line["unknown"]);
        assert_eq!((runs, passed, failed, unknown), (&json!(4), &json!(2), &json!(1), &json!(1)));
        assert_eq!(line["seeds_per_s"], json!(2.0));
    }
}
