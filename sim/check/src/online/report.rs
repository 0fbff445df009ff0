//! What the checks say: violations, the first of each rule, and how often each check judged at all.
//!
//! Invariant: a (check, rule) pair is reported once; every later violation of it is silent. It does not decide anything.

use std::collections::BTreeMap;

use curp::NodeId;

/// A rule was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which check, by the name of CLI.md.
    pub check: &'static str,
    /// Which of its rules, as a sentence that ought to be true.
    pub rule: &'static str,
    /// Virtual time of the event that showed it, nanoseconds.
    pub t: u64,
    /// Number of that event in the run.
    pub event: u64,
    /// The node at fault, where there is one.
    pub node: Option<NodeId>,
    /// One sentence for a person: what was lost, by whom, what came before.
    pub message: String,
    /// Numbers of the events worth showing, in order.
    pub evidence: Vec<u64>,
}

/// The online checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    Recovery,
    Durability,
    ElectionSafety,
    LogMatching,
    LeaderCompleteness,
    StateAgreement,
    Revisions,
    ExactlyOnce,
    Watch,
    Leases,
    Lock,
    Registry,
    Authorisation,
    Zookeeper,
}

const NAMES: [&str; 14] = [
    "recovery",
    "durability",
    "election-safety",
    "log-matching",
    "leader-completeness",
    "state-agreement",
    "revisions",
    "exactly-once",
    "watch",
    "leases",
    "lock",
    "registry",
    "authorisation",
    "zookeeper",
];

/// When and where an event happened.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub t: u64,
    pub event: u64,
    pub node: Option<NodeId>,
}

impl At {
    /// The same moment, another node.
    pub fn on(self, node: NodeId) -> At {
        At { node: Some(node), ..self }
    }
}

/// Collects violations.
#[derive(Default)]
pub(super) struct Report {
    violations: Vec<Violation>,
    judged: [u64; NAMES.len()],
    undecided: Vec<(&'static str, String)>,
}

impl Report {
    /// The check judged something.
    pub fn judged(&mut self, check: Check) {
        self.judged[check as usize] += 1;
    }

    /// The check ran out of budget before it could judge.
    pub fn undecided(&mut self, check: Check, why: String) {
        self.undecided.push((NAMES[check as usize], why));
    }

    /// Whether the rule was reported already: then judging it again is a waste.
    pub fn known(&self, check: Check, rule: &'static str) -> bool {
        self.violations.iter().any(|v| v.rule == rule && v.check == NAMES[check as usize])
    }

    /// The rule is broken. `tell` gives the sentence and the events before this one that are worth showing.
    pub fn violate(&mut self, check: Check, rule: &'static str, at: At, tell: impl FnOnce() -> (String, Vec<u64>)) {
        if self.known(check, rule) {
            return;
        }
        let (message, mut evidence) = tell();
        evidence.push(at.event);
        evidence.sort_unstable();
        evidence.dedup();
        self.violations.push(Violation { check: NAMES[check as usize], rule, t: at.t, event: at.event, node: at.node, message, evidence });
    }

    /// Judges: counts it, and reports if `holds` is false.
    pub fn expect(&mut self, check: Check, rule: &'static str, at: At, holds: bool, tell: impl FnOnce() -> (String, Vec<u64>)) {
        self.judged(check);
        if !holds {
            self.violate(check, rule, at, tell);
        }
    }

    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    pub fn all_undecided(&self) -> &[(&'static str, String)] {
        &self.undecided
    }

    pub fn evaluations(&self) -> BTreeMap<&'static str, u64> {
        NAMES.into_iter().zip(self.judged).collect()
    }
}
