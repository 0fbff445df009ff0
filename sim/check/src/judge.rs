//! The stack of linearizability checks, and its verdicts.

use std::fmt;
use std::str::FromStr;

use history::{AppliedCommand, Operation, Outcome as Ended};
use thiserror::Error;

use crate::certificate::{Certificate, certify, is_answered_by_the_clock, is_serializable};
use crate::explain::{Explanation, Unit, explain};
use crate::model::{History, Model, NEVER, Timed};
use crate::models::append::Append;
use crate::models::kv::Kv;
use crate::models::register::Register;
use crate::parse::Stored;
use crate::replay::{Agreement, agreement};
use crate::revisions::by_revisions;
use crate::search::{Budget, Outcome, search};
use crate::servers::with_servers;
use crate::words;
use crate::zones;

/// A level of the stack (CHECKS.md), cheapest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The certificate: the history against the final applied log; where that decides nothing about the values, the search.
    L0,
    /// Statement A from responses alone: their revisions determine the order.
    L1,
    /// The values of each key by themselves, by zones. It refutes; it proves only where each value is written once.
    L2,
    /// The general search, from the history alone.
    L3,
    /// The cheapest that decides: L0 if there is a log, else L1 for the revisions and L3 for the values, and L2 where L3 ran out of budget.
    All,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::L0 => "l0",
            Level::L1 => "l1",
            Level::L2 => "l2",
            Level::L3 => "l3",
            Level::All => "all",
        })
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let level = [Level::L0, Level::L1, Level::L2, Level::L3, Level::All].into_iter().find(|level| level.to_string() == s);
        level.ok_or_else(|| format!("`{s}` is not a level; accepted are l0, l1, l2, l3 and all"))
    }
}

/// What became of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The history is linearizable (and the log, if given, is its certificate).
    Ok,
    /// It is not.
    Illegal,
    /// The budget ended before it was decided, or the level that was asked cannot decide it.
    Unknown,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Ok => "ok",
            Verdict::Illegal => "illegal",
            Verdict::Unknown => "unknown",
        })
    }
}

/// What is illegal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// What clients saw: no order of the operations explains it.
    History,
    /// Revisions, or the order of synced responses (statement A).
    Revisions,
    /// The values that clients saw can be explained, but not by the final log: the log lies (or no search decided the values).
    Log,
    /// A serializable read that is of no prefix of the log.
    Prefix,
}

/// A verdict with its reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// The level that decided.
    pub level: Level,
    /// What is illegal, if it is.
    pub finding: Option<Finding>,
    /// One sentence; empty if the verdict is ok.
    pub message: String,
    /// Ids of the operations that the message is about.
    pub operations: Vec<u64>,
    /// For a history that no order explains: why.
    pub explanation: Option<Explanation>,
}

impl Judgement {
    pub(crate) fn ok(level: Level) -> Self {
        Judgement { verdict: Verdict::Ok, level, finding: None, message: String::new(), operations: Vec::new(), explanation: None }
    }

    pub(crate) fn illegal(level: Level, finding: Finding, message: String, operations: Vec<u64>) -> Self {
        Judgement { verdict: Verdict::Illegal, level, finding: Some(finding), message, operations, explanation: None }
    }

    pub(crate) fn unknown(level: Level, message: String) -> Self {
        Judgement { verdict: Verdict::Unknown, level, finding: None, message, operations: Vec::new(), explanation: None }
    }
}

/// Why a history cannot be judged as asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum JudgeError {
    /// That level says nothing of such a history.
    #[error("level {0} does not judge a history of {1}; accepted are {2}")]
    NotFor(Level, &'static str, &'static str),
    /// The certificate needs what is not there.
    #[error("level l0 needs the final applied log, which a history alone does not have; accepted are l1, l2, l3 and all")]
    NoLog,
    /// An operation's record contradicts itself.
    #[error("{0}")]
    Malformed(String),
}

/// Judges one of our histories. `applied_log`: the commands of the final log in order, duplicates that had no effect left out.
///
/// # Errors
/// [`JudgeError`]: the level lacks its log, or an operation's record contradicts itself.
pub fn judge(history: &[Operation], applied_log: Option<&[AppliedCommand]>, level: Level, budget: Budget) -> Result<Judgement, JudgeError> {
    if let Some(wrong) = history.iter().find_map(Operation::contradiction) {
        return Err(JudgeError::Malformed(wrong));
    }
    match (level, applied_log) {
        (Level::L0, None) => Err(JudgeError::NoLog),
        (Level::L1, log) => Ok(by_revisions(&with_servers(history, log), budget)),
        (Level::L2, log) => Ok(by_zones(&with_servers(history, log))),
        (Level::L3, log) => Ok(by_search(&with_servers(history, log), budget, true)),
        (Level::All, None) => {
            let all = with_servers(history, None);
            let values = by_values(&all, budget);
            let revisions = by_revisions(&all, budget);
            Ok(if values.verdict == Verdict::Illegal || revisions.verdict == Verdict::Ok { values } else { revisions })
        }
        (Level::L0 | Level::All, Some(log)) => {
            Ok(by_certificate(&certify(history, log), || by_values(&with_servers(history, Some(log)), budget)))
        }
    }
}

/// What follows from a certificate; `search` is asked only where it does not decide.
fn by_certificate(certificate: &Certificate, search: impl FnOnce() -> Judgement) -> Judgement {
    if certificate.holds() {
        return Judgement::ok(Level::L0);
    }
    if certificate.values.is_empty() && certificate.revisions.is_empty() {
        return match certificate.prefixes.first().cloned() {
            Some(objection) => Judgement::illegal(Level::L0, Finding::Prefix, objection.message, objection.operations),
            None => search(),
        };
    }
    let searched = if certificate.values.is_empty() { Judgement::ok(Level::L0) } else { search() };
    if searched.verdict == Verdict::Illegal {
        return searched;
    }
    // Either statement may fall first; values are what a user sees.
    let objection = certificate.values.first().or(certificate.revisions.first());
    let Some(objection) = objection.cloned() else { return searched };
    if certificate.values.is_empty() {
        return Judgement::illegal(Level::L0, Finding::Revisions, objection.message, objection.operations);
    }
    let but = match searched.verdict {
        Verdict::Ok => "the values that clients saw can be explained, but not by the final log",
        _ => "the final log does not explain what clients saw, and whether another order does was not decided within the budget",
    };
    Judgement::illegal(Level::L0, Finding::Log, format!("{but}: {}", objection.message), objection.operations)
}

/// The search, which explains best; where it ran out of budget, the zones may still refute.
fn by_values(history: &[Operation], budget: Budget) -> Judgement {
    or_refuted(by_search(history, budget, true), || zones::of_kv(history))
}

/// Zones judge key by key, without versions: what they find contradicts every order, what they do not find proves nothing of the whole.
fn or_refuted(searched: Judgement, by_zones: impl FnOnce() -> Judgement) -> Judgement {
    let undecided = searched.verdict == Verdict::Unknown;
    undecided.then(by_zones).filter(|zones| zones.verdict == Verdict::Illegal).unwrap_or(searched)
}

/// The search alone.
fn by_search(history: &[Operation], budget: Budget, explained: bool) -> Judgement {
    if let Some((message, id)) = answered_twice(history) {
        return Judgement::illegal(Level::L3, Finding::History, message, vec![id]);
    }
    let model = Kv::of(history.iter().map(|operation| &operation.op));
    let timed = first_responses(history);
    if explained {
        return judge_model(&model, timed, budget, Unit::Nanoseconds);
    }
    match search(&model, timed, budget).legal() {
        Some(true) => Judgement::ok(Level::L3),
        Some(false) => Judgement::illegal(Level::L3, Finding::History, String::new(), Vec::new()),
        None => Judgement::unknown(Level::L3, String::new()),
    }
}

/// An operation whose two answers contradict each other.
fn answered_twice(history: &[Operation]) -> Option<(String, u64)> {
    history.iter().find_map(|operation| {
        let (fast, synced) = (operation.fast.as_ref()?, operation.synced.as_ref()?);
        let words = |response| words::response(&operation.op, response);
        let message =
            || format!("{} was answered twice, first {} and then {}", words::request(&operation.op), words(fast), words(&synced.response));
        (agreement(&synced.response, fast, None) == Agreement::None).then(|| (message(), operation.id))
    })
}

/// The zones alone.
fn by_zones(history: &[Operation]) -> Judgement {
    match answered_twice(history) {
        Some((message, id)) => Judgement::illegal(Level::L2, Finding::History, message, vec![id]),
        None => zones::of_kv(history),
    }
}

/// Whether linearizability is what an operation promises: not of a read of any prefix, nor of what the leader's clock answers.
pub(crate) fn is_linearizable(operation: &Operation) -> bool {
    !is_serializable(&operation.op) && !is_answered_by_the_clock(&operation.op)
}

/// A history as statement B sees it: intervals end at first responses; failed operations are left out, and what promises no such thing.
pub fn first_responses(history: &[Operation]) -> History<Kv> {
    let happened = history.iter().filter(|operation| operation.outcome != Ended::Fail && is_linearizable(operation));
    let timed = happened.map(|operation| {
        let fast = operation.fast.as_ref().filter(|_| operation.first_response_at() == operation.fast_at);
        let ret = fast.or(operation.synced.as_ref().map(|synced| &synced.response)).cloned();
        let end = operation.first_response_at().unwrap_or(NEVER);
        Timed { id: operation.id, op: operation.op.clone(), ret, invoke: operation.invoke, end }
    });
    timed.collect()
}

/// Judges a history of any model by the search.
pub fn judge_model<M: Model>(model: &M, history: History<M>, budget: Budget, unit: Unit) -> Judgement {
    match search(model, history, budget) {
        Outcome::Legal => Judgement::ok(Level::L3),
        Outcome::Unknown => Judgement::unknown(Level::L3, "the search ran out of budget before it was decided".into()),
        Outcome::Illegal(stuck) => {
            let why = explain(&stuck, unit);
            let message = why.sentence.clone();
            Judgement { explanation: Some(why.clone()), ..Judgement::illegal(Level::L3, Finding::History, message, why.operations) }
        }
    }
}

/// The verdict of the search alone, without an explanation: what a measurement of the search should call.
pub fn decide(stored: &Stored, budget: Budget) -> Verdict {
    let legal = match stored {
        Stored::Kv(history) => return by_search(&with_servers(history, None), budget, false).verdict,
        Stored::Register(history) => search(&Register::default(), history.clone(), budget).legal(),
        Stored::Append(history) => search(&Append::default(), history.clone(), budget).legal(),
    };
    legal.map_or(Verdict::Unknown, |legal| if legal { Verdict::Ok } else { Verdict::Illegal })
}

/// Judges a stored history of any format. Other tools' histories have no log.
///
/// # Errors
/// As [`judge()`].
pub fn judge_stored(stored: &Stored, level: Level, budget: Budget) -> Result<Judgement, JudgeError> {
    match (stored, level) {
        (Stored::Kv(history), _) => judge(history, None, level, budget),
        (Stored::Append(_), Level::L0 | Level::L1 | Level::L2) => {
            Err(JudgeError::NotFor(level, "strings that are appended to", "l3 and all"))
        }
        (Stored::Register(_), Level::L0 | Level::L1) => Err(JudgeError::NotFor(level, "a register", "l2, l3 and all")),
        (Stored::Register(history), Level::L2) => Ok(zones::of_register(history)),
        (Stored::Register(history), _) => {
            let searched = judge_model(&Register::default(), history.clone(), budget, Unit::Lines);
            // Of one register they prove, too.
            let undecided = level == Level::All && searched.verdict == Verdict::Unknown;
            let zones = undecided.then(|| zones::of_register(history)).filter(|zones| zones.verdict != Verdict::Unknown);
            Ok(zones.unwrap_or(searched))
        }
        (Stored::Append(history), _) => Ok(judge_model(&Append::default(), history.clone(), budget, Unit::Lines)),
    }
}

/// What the levels say, each alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrossCheck {
    /// L0.
    pub certificate: Certificate,
    /// L1.
    pub revisions: Judgement,
    /// L2.
    pub zones: Judgement,
    /// L3.
    pub search: Judgement,
    /// What follows, as [`judge()`] would have it.
    pub judgement: Judgement,
    /// Set if two contradict each other: then a checker is wrong, and this says how.
    pub disagreement: Option<String>,
}

/// Lets each level judge alone. A certificate that proves a statement, and another level that finds it broken, contradict each other. (A
/// certificate that is refused proves nothing, so a level that finds an order does not contradict it.)
///
/// # Errors
/// [`JudgeError::Malformed`].
pub fn cross_check(history: &[Operation], applied_log: &[AppliedCommand], budget: Budget) -> Result<CrossCheck, JudgeError> {
    if let Some(wrong) = history.iter().find_map(Operation::contradiction) {
        return Err(JudgeError::Malformed(wrong));
    }
    let certificate = certify(history, applied_log);
    let all = with_servers(history, Some(applied_log));
    let (search, zones, revisions) = (by_search(&all, budget, true), by_zones(&all), by_revisions(&all, budget));
    let proved = |objections: &[_]| objections.is_empty() && certificate.unplaced.is_none();
    let says = |judgement: &Judgement, verdict| judgement.verdict == verdict;
    let disagreement = if proved(&certificate.values) && says(&search, Verdict::Illegal) {
        Some(format!("the log certifies the values (l0), but the search finds no order (l3): {}", search.message))
    } else if says(&zones, Verdict::Illegal) && (proved(&certificate.values) || says(&search, Verdict::Ok)) {
        let by = if proved(&certificate.values) { "the log certifies the values (l0)" } else { "the search finds an order (l3)" };
        Some(format!("{by}, but those of one key contradict each other (l2): {}", zones.message))
    } else if proved(&certificate.values) && proved(&certificate.revisions) && says(&revisions, Verdict::Illegal) {
        Some(format!("the log certifies the revisions (l0), but the responses alone contradict each other (l1): {}", revisions.message))
    } else {
        None
    };
    let judgement = by_certificate(&certificate, || or_refuted(search.clone(), || zones.clone()));
    Ok(CrossCheck { certificate, revisions, zones, search, judgement, disagreement })
}
