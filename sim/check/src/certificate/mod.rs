//! L0, the certificate: holds a history against the final applied log (CHECKS.md, statements A and B).
//!
//! Given the log, nothing needs to be searched: every command has a place, a read stands at its recorded applied index, a replay
//! says what each must have answered, and two sweeps say whether real time allows it. About n log n for n operations.
//!
//! - **A, revisions:** intervals end at synced responses; the order is the log's; replay matches with revisions.
//! - **B, values:** intervals end at first responses; the order is any that keeps conflicting operations as in the log.
//! - Serializable reads promise only a prefix: each must fit the log at its applied index, and that prefix must not be of the future.
//!
//! Keep-alives and questions for the time to live are answered by the clock, not the log; the online check of leases judges them.
//!
//! An objection to B proves only that this log is no certificate: another order might still do, and [`crate::judge()`] asks the
//! search. Deliberately absent: anything but linearizability (durability and the rest have their own checks).

mod place;
mod prefix;
mod realtime;
mod unnamed;

use history::{AppliedCommand, Operation, Outcome};
use kv::{Request, Response};

use crate::conflict::may_write;
use crate::replay::{Agreement, Replay, agreement};
use crate::words;
use place::Places;

/// Which of the two statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statement {
    /// A: synced responses, with revisions, in log order.
    Revisions,
    /// B: first responses, without revisions, up to reordering of commuting operations.
    Values,
    /// A serializable read is of some prefix of the log.
    Prefix,
}

/// Why a history and a log do not fit together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// Which statement falls.
    pub statement: Statement,
    /// One sentence.
    pub message: String,
    /// The operations in it, by id.
    pub operations: Vec<u64>,
}

/// What the certificate says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// What stands against A, in order of discovery; empty: A holds.
    pub revisions: Vec<Objection>,
    /// What stands against B; empty: B holds.
    pub values: Vec<Objection>,
    /// What stands against serializable reads.
    pub prefixes: Vec<Objection>,
    /// Set if the two cannot be compared, and why: an answered operation without a place in the log. Then neither is proved.
    pub unplaced: Option<String>,
}

/// Of each statement no more objections than this are kept.
const OBJECTIONS_MAX: usize = 8;

impl Certificate {
    /// Whether all statements are proved.
    pub fn holds(&self) -> bool {
        self.revisions.is_empty() && self.values.is_empty() && self.prefixes.is_empty() && self.unplaced.is_none()
    }

    fn object(&mut self, statement: Statement, operations: Vec<u64>, message: String) {
        let list = match statement {
            Statement::Revisions => &mut self.revisions,
            Statement::Values => &mut self.values,
            Statement::Prefix => &mut self.prefixes,
        };
        if list.len() < OBJECTIONS_MAX {
            list.push(Objection { statement, message, operations });
        }
    }
}

/// Judges both statements. `log`: the final applied log, in log order, duplicates that had no effect left out.
pub fn certify(history: &[Operation], log: &[AppliedCommand]) -> Certificate {
    let mut certificate = Certificate::default();
    let places = Places::find(history, log, &mut certificate);
    replay(history, log, &places, &mut certificate);
    prefix::not_of_the_future(history, &places, &mut certificate);
    realtime::by_log_order(history, &places, &mut certificate);
    realtime::by_conflict_order(history, log, &places, &mut certificate);
    certificate
}

/// Every answer against the log's replay at its place.
fn replay(history: &[Operation], log: &[AppliedCommand], places: &Places, certificate: &mut Certificate) {
    let mut store = Replay::default();
    for gap in 0..=log.len() {
        for &read in places.reads(gap) {
            let operation = &history[read as usize];
            if may_write(&operation.op) {
                let message = format!("{} was served as a read, yet it can write", named(operation));
                certificate.object(Statement::Values, vec![operation.id], message);
                continue;
            }
            let expected = store.apply(&operation.op);
            answers(operation, &expected, store.revision(), None, certificate);
        }
        let Some(command) = log.get(gap) else { break };
        let before = store.revision();
        let expected = store.apply(&command.command);
        if let Some(operation) = places.operation_at(gap).map(|i| &history[i as usize]).filter(|o| o.op == command.command) {
            let own = (store.revision() > before).then(|| store.revision());
            answers(operation, &expected, store.revision(), own, certificate);
        }
    }
}

/// An operation's answers against the expected one. `own`: the revision that it made, which a fast answer cannot know.
fn answers(operation: &Operation, expected: &Response, revision: u64, own: Option<u64>, certificate: &mut Certificate) {
    let mut object = |statement, what: &str, given: String, should: String| {
        let statement = if is_serializable(&operation.op) { Statement::Prefix } else { statement };
        let message = format!("{}: the {what} was {given}, but the log, replayed up to its place, gives {should}", named(operation));
        certificate.object(statement, vec![operation.id], message);
    };
    let say = |response: &Response| words::response(&operation.op, response);
    if let Some(fast) = &operation.fast {
        match agreement(expected, fast, own) {
            Agreement::Full => {}
            Agreement::None => object(Statement::Values, "fast answer", say(fast), say(expected)),
            Agreement::Values => object(Statement::Revisions, "fast answer", format!("{fast:?}"), format!("{expected:?}")),
        }
    }
    if let Some(synced) = &operation.synced {
        match agreement(expected, &synced.response, None) {
            Agreement::Full => {}
            Agreement::None => object(Statement::Values, "synced answer", say(&synced.response), say(expected)),
            Agreement::Values => object(Statement::Revisions, "synced answer", format!("{:?}", synced.response), format!("{expected:?}")),
        }
        if synced.header.revision != revision {
            object(Statement::Revisions, "header's revision", synced.header.revision.to_string(), revision.to_string());
        }
    }
}

/// The operation by number and words: `operation 7, put(k3, 17)`.
fn named(operation: &Operation) -> String {
    format!("operation {}, {}", operation.id, words::request(&operation.op))
}

/// Whether the operation surely happened: it has an answer, whether or not its caller still waited for it.
fn is_answered(operation: &Operation) -> bool {
    operation.fast.is_some() || operation.synced.is_some()
}

/// Whether it surely did not.
fn has_failed(operation: &Operation) -> bool {
    operation.outcome == Outcome::Fail
}

/// Whether a request is a read that any node may answer from a prefix of the log.
pub(crate) fn is_serializable(request: &Request) -> bool {
    matches!(request, Request::Range(range) if range.serializable)
}

/// Whether a request is answered by the leader's clock: it has no place in the log.
pub(crate) fn is_answered_by_the_clock(request: &Request) -> bool {
    matches!(request, Request::LeaseKeepAlive(_) | Request::LeaseTimeToLive(_))
}

/// Whether `request` reads only, and so may be served without the log.
fn is_read(request: &Request) -> bool {
    !may_write(request)
}
