//! ZooKeeper's create path as recipes: the operations of a run are linearizable by the model of a tree ([`crate::models::zk`]), and the numbers of
//! sequential nodes are unique and rise. Judged at the end of the run, from what clients asked and were told.
//!
//! A client has one session after the other: the next begins after it asked for the end of one, was told that it has expired, or crashed.
//!
//! What clients were not told, the log knows, and without it the search would have to try every moment for it: whether an operation without an
//! answer happened, and which sessions expired. Each then took effect before it was applied first; when before, only the answers tell. A
//! search that runs out of budget leaves the run undecided.

use std::collections::{BTreeMap, BTreeSet};

use curp::Payload;
use history::{ClientEvent, Event, Recipe, RecipeResult, Stamped, ZkError, ZkOp, ZkResult};
use kv::{Bytes, LeaseId, Request, Response};

use super::applications::Run;
use super::ghost::Ghost;
use super::report::{At, Check, Report};
use crate::explain::{Unit, explain};
use crate::model::{History, NEVER, Timed};
use crate::models::zk::{Op, SessionName, Zk, number, parent};
use crate::search::{Budget, Outcome, search};

pub(super) const LINEARIZABLE: &str = "what clients of the tree were told fits one order of all they did";
pub(super) const NUMBERED: &str = "the numbers of sequential nodes are unique, and rise";

const CHECK: Check = Check::Zookeeper;
/// Of the search.
const STEPS: u64 = 300_000;
/// Numbers of the sessions' ends among the operations: plans number theirs from 0.
const EXPIRY: u64 = 1 << 62;

pub(super) struct Zookeeper {
    /// How many the search may take.
    pub(super) steps: u64,
    /// The number of each client's session.
    sessions: BTreeMap<u32, u32>,
    /// The session in which each operation began.
    of: BTreeMap<u64, SessionName>,
    /// Those that are to end a session.
    closing: BTreeSet<u64>,
}

/// What the log says of a session.
#[derive(Default)]
struct Session {
    /// A write of it that succeeded began then: it had not expired before.
    last_write: u64,
    /// The lease granted for it last, and when that operation began. Earlier ones the client gave up before it had used them.
    lease: Option<(u64, LeaseId)>,
}

impl Zookeeper {
    pub fn new() -> Zookeeper {
        Zookeeper { steps: STEPS, sessions: BTreeMap::new(), of: BTreeMap::new(), closing: BTreeSet::new() }
    }

    pub fn after(&mut self, stamped: &Stamped) {
        let Event::Client(event) = &stamped.event else { return };
        let client = stamped.client.unwrap_or(0);
        match event {
            ClientEvent::Begin { op, recipe: Recipe::Zk(asked) } => {
                self.of.insert(*op, (client, self.sessions.get(&client).copied().unwrap_or(0)));
                if *asked == ZkOp::CloseSession {
                    self.closing.insert(*op);
                }
            }
            // Its end is asked for: whether it came or not, the client has done with it.
            ClientEvent::End { op, result: None } if self.closing.contains(op) => *self.sessions.entry(client).or_default() += 1,
            ClientEvent::End { result: Some(RecipeResult::Zk(ZkResult::Closed | ZkResult::Refused(ZkError::SessionExpired))), .. }
            | ClientEvent::ClientCrash => *self.sessions.entry(client).or_default() += 1,
            _ => {}
        }
    }

    /// At the end of the run, given all its operations.
    pub fn finish(&self, g: &Ghost, runs: &BTreeMap<u64, Run>, at: At, r: &mut Report) {
        let mut history: History<Zk> = Vec::new();
        let mut sessions: BTreeMap<SessionName, Session> = BTreeMap::new();
        for (id, run) in runs {
            let (Recipe::Zk(op), Some(name)) = (&run.recipe, self.of.get(id)) else { continue };
            let session = sessions.entry(*name).or_default();
            let granted = taken(g, run).find_map(|(_, response)| match response {
                Response::LeaseGrant { id, .. } => Some((run.began.0, *id)),
                _ => None,
            });
            session.lease = session.lease.max(granted);
            let ret = match &run.result {
                Some(RecipeResult::Zk(result)) => Some(result.clone()),
                _ => None,
            };
            let (invoke, ended) = (run.began.0, run.ended.map(|(t, _)| t).filter(|_| ret.is_some()));
            if ret.as_ref().is_some_and(|ret| !matches!(ret, ZkResult::Refused(_) | ZkResult::Closed)) && writes(op) {
                session.last_write = session.last_write.max(invoke);
            }
            let happened =
                || taken(g, run).find(|(_, response)| matches!(response, Response::Txn { succeeded: true, .. } | Response::LeaseRevoke));
            let Some(end) = ended.or_else(|| happened().map(|(t, _)| t)) else { continue };
            // What a sequential node was named only the others can tell, if they saw it; if not, it is as good as not there.
            let unnamed = ret.is_none() && matches!(op, ZkOp::Create { sequential: true, .. });
            let end = if unnamed { NEVER } else { end };
            history.push(Timed { id: *id, op: Op::Client(*name, op.clone()), ret, invoke, end });
        }
        if history.is_empty() {
            return;
        }
        numbered(&history, runs, at, r);
        let gone = expired(g);
        let expiry = |(i, (name, session)): (usize, (&SessionName, &Session))| {
            let end = *gone.get(&session.lease?.1)?;
            // A write that succeeded later is for the search to find.
            Some(Timed { id: EXPIRY + i as u64, op: Op::Expire(*name), ret: None, invoke: session.last_write.min(end), end })
        };
        history.extend(sessions.iter().enumerate().filter_map(expiry));
        let model = Zk::of(&history);
        let operations = history.len();
        match search(&model, history, Budget { steps: self.steps, wall: None, threads: 1 }) {
            Outcome::Legal => r.judged(CHECK),
            Outcome::Illegal(stuck) => {
                r.judged(CHECK);
                r.violate(CHECK, LINEARIZABLE, at, || {
                    let why = explain(&stuck, Unit::Nanoseconds);
                    let events = why.operations.iter().filter_map(|id| Some(runs.get(id)?.began.1)).collect();
                    (why.sentence, events)
                });
            }
            Outcome::Unknown => {
                r.undecided(
                    CHECK,
                    format!("{operations} operations on the tree: the search ran out of {} steps before it was decided", self.steps),
                );
            }
        }
    }
}

/// When each lease that a server revoked was gone.
fn expired(g: &Ghost) -> BTreeMap<LeaseId, u64> {
    let entries = g.committed.iter().map(|committed| &committed.entry.payload).zip(&g.applied);
    let gone = entries.filter_map(|(payload, applied)| match payload {
        Payload::Own { command } => match (&**command, &applied.expected.as_ref()?.response) {
            (Request::LeaseRevoke(revoke), Response::LeaseRevoke) => Some((revoke.id, applied.t)),
            _ => None,
        },
        _ => None,
    });
    gone.collect()
}

/// What came of the commands that an operation proposed, as far as they took effect, and when they were applied first.
fn taken<'a>(g: &'a Ghost, run: &'a Run) -> impl Iterator<Item = (u64, &'a Response)> {
    let places = run.steps.iter().filter_map(|id| g.command(*id)?.done?.checked_sub(1));
    places.filter_map(|place| {
        let applied = g.applied.get(place as usize)?;
        Some((applied.t, &applied.expected.as_ref()?.response))
    })
}

/// Whether an operation needs the session.
fn writes(op: &ZkOp) -> bool {
    !matches!(op, ZkOp::GetData { .. } | ZkOp::GetChildren { .. } | ZkOp::Sync)
}

/// A sequential node: its number, its path, and the create that made it.
type Made<'a> = (u64, &'a Bytes, &'a Timed<Op, ZkResult>);

/// Says of two sequential creates what an order of all would say, but in fewer words. A parent that was made anew may number anew.
fn numbered(history: &History<Zk>, runs: &BTreeMap<u64, Run>, at: At, r: &mut Report) {
    let mut made: BTreeMap<Bytes, Vec<Made<'_>>> = BTreeMap::new();
    for timed in history {
        if let (Op::Client(_, ZkOp::Create { path: asked, sequential: true, .. }), Some(ZkResult::Created { path })) =
            (&timed.op, &timed.ret)
            && let Some(number) = number(asked, path)
        {
            made.entry(parent(asked)).or_default().push((number, path, timed));
        }
    }
    let deletes = |op: &ZkOp, above: &Bytes| matches!(op, ZkOp::Delete { path, .. } if path == above);
    for (above, mut list) in made {
        let anew = history.iter().any(|timed| match &timed.op {
            Op::Client(_, ZkOp::Multi { ops }) => ops.iter().any(|op| deletes(op, &above)),
            Op::Client(_, op) => deletes(op, &above),
            Op::Expire(_) => false,
        });
        if anew {
            continue;
        }
        // In order of numbers nobody was answered before one with a smaller number began; swept from the end.
        list.sort_by_key(|(number, _, timed)| (*number, timed.invoke));
        let mut earliest: Option<&Made<'_>> = None;
        for (i, this) in list.iter().enumerate().rev() {
            let same = list.get(i + 1).filter(|other| other.0 == this.0);
            let clash = same.or(earliest.filter(|other| other.2.end < this.2.invoke));
            r.expect(CHECK, NUMBERED, at, clash.is_none(), || {
                let (same, path, other) = clash.expect("judged above");
                let message = if *same == this.0 {
                    format!("{path} was made by operation {} and by operation {}", this.2.id, other.id)
                } else {
                    format!("{path} was made by operation {}, and operation {} was given {} after that", other.id, this.2.id, this.1)
                };
                (message, [other.id, this.2.id].iter().filter_map(|id| Some(runs.get(id)?.began.1)).collect())
            });
            if earliest.is_none_or(|other| this.2.end <= other.2.end) {
                earliest = Some(this);
            }
        }
    }
}
