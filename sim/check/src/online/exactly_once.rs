//! Exactly once: an operation takes effect at most once, under one id, and its client gets that result.
//!
//! Invariant judged: an id is applied with effect at one index; ids and operations match one to one where they take effect; an answered command
//! is not refused; a client acknowledges only what it has final results of. Applying an id again without effect (`Duplicate`) is no fault, nor
//! is refusing a stale duplicate after it took effect.

use std::collections::{BTreeMap, BTreeSet};

use curp::{Applied, ClientId, Event as NodeEvent, Index, ProposeId};
use history::{ClientEvent, Event, Stamped};

use super::ghost::{Ghost, Proposal, Slot};
use super::report::{At, Check, Report};

pub(super) const ONCE: &str = "a command takes effect at one place in the log";
pub(super) const ONE_ID: &str = "an operation takes effect under one id only";
pub(super) const ONE_OP: &str = "an id names one operation";
pub(super) const PROPOSED: &str = "only what a client proposed takes effect";
pub(super) const NOT_REFUSED: &str = "a command that its client got an answer for is not refused";
pub(super) const ACKNOWLEDGED: &str = "a client acknowledges only commands whose synced result it has";
pub(super) const SAME_RESULT: &str = "a final result is the one that was applied";
pub(super) const FAILED: &str = "a command that failed for its client never takes effect";
pub(super) const NOT_TWICE: &str = "a leader does not append a command that its log has";

const CHECK: Check = Check::ExactlyOnce;

/// Operations, ids, and what clients are still waiting for.
#[derive(Default)]
pub(super) struct ExactlyOnce {
    /// Ids under which an operation was proposed.
    ids: BTreeMap<u64, Vec<ProposeId>>,
    ops: BTreeMap<ProposeId, (u64, u64)>,
    /// By session: numbers proposed whose fate the client does not know.
    open: BTreeMap<ClientId, BTreeSet<u64>>,
    /// Operations that ended in a definite error, with the event.
    failed: Vec<(u64, u64)>,
}

impl ExactlyOnce {
    /// Before the ghost takes the event in.
    pub fn before(&mut self, g: &Ghost, stamped: &Stamped, at: At, r: &mut Report) {
        match &stamped.event {
            Event::Node(event) => {
                let Some(slot) = at.node.and_then(|id| g.find(id)) else { return };
                self.node_event(g, slot, event, at, r);
            }
            Event::Client(ClientEvent::Propose { op, id: Some(id), .. }) => {
                self.carries(g, *op, *id, at, r);
                self.open.entry(id.client).or_default().insert(id.seq);
            }
            Event::Client(ClientEvent::FastComplete { op, id, .. }) => {
                self.carries(g, *op, *id, at, r);
                refused(g, *id, "fast", at, r);
            }
            Event::Client(ClientEvent::SyncedComplete { op, id, synced }) => {
                self.carries(g, *op, *id, at, r);
                self.close(*id);
                refused(g, *id, "final", at, r);
                let done = g.command(*id).and_then(|c| c.done).and_then(|index| g.applied.get(index.checked_sub(1)? as usize));
                let same = matches!(done.map(|d| &d.outcome), Some(Applied::Done(applied)) if applied.response == synced.response);
                r.expect(CHECK, SAME_RESULT, at, same, || {
                    let came = done.map_or_else(|| "nobody has applied it".to_owned(), |d| format!("it came to {:?}", d.outcome));
                    (
                        format!("the client of {} was finally told {:?}, but {came}", g.tell(*id), synced.response),
                        done.map(|d| d.event).into_iter().collect(),
                    )
                });
            }
            Event::Client(ClientEvent::Fail { op }) => {
                for id in self.ids.get(op).cloned().unwrap_or_default() {
                    self.close(id);
                }
                self.failed.push((*op, at.event));
            }
            _ => {}
        }
    }

    /// At the end of the run: an error that was definite stayed so.
    pub fn finish(&self, g: &Ghost, at: At, r: &mut Report) {
        for (op, event) in &self.failed {
            let done = self.ids.get(op).into_iter().flatten().find_map(|id| Some((*id, g.command(*id)?.done?)));
            r.expect(CHECK, FAILED, at, done.is_none(), || {
                let (id, index) = done.expect("judged above");
                (format!("the client was told that {} failed, but it took effect at index {index}", g.tell(id)), vec![*event])
            });
        }
    }

    fn node_event(&self, g: &Ghost, slot: Slot, event: &NodeEvent<kv::Request>, at: At, r: &mut Report) {
        match event {
            NodeEvent::LeaderPropose { entry, .. } => {
                if let Some(proposal) = entry.proposal() {
                    self.acknowledges(g, proposal, at, r);
                    not_twice(g, slot, proposal.id, at, r);
                }
            }
            NodeEvent::BecomeLeader { entries, .. } => {
                for id in entries.iter().filter_map(|e| e.id()) {
                    not_twice(g, slot, id, at, r);
                }
            }
            NodeEvent::WitnessRecord { proposal, .. } => self.acknowledges(g, proposal, at, r),
            NodeEvent::Apply { index, id: Some(id), outcome, .. } => match outcome {
                Applied::Done(_) => self.takes_effect(g, *index, *id, at, r),
                Applied::Refused => {
                    let answered = g.command(*id).filter(|c| c.done.is_none_or(|done| done > *index));
                    let answered = answered.and_then(|c| c.synced.or(c.fast.as_ref().map(|f| f.event)));
                    r.expect(CHECK, NOT_REFUSED, at, answered.is_none(), || {
                        let message = format!("{} was refused at index {index}, though its client had got an answer for it", g.tell(*id));
                        (message, answered.into_iter().collect())
                    });
                }
                _ => {}
            },
            _ => {}
        }
    }

    fn carries(&mut self, g: &Ghost, op: u64, id: ProposeId, at: At, r: &mut Report) {
        let (first, event) = *self.ops.entry(id).or_insert((op, at.event));
        r.expect(CHECK, ONE_OP, at, first == op, || {
            (format!("{} was given to operation {first} and to operation {op}", g.tell(id)), vec![event])
        });
        let ids = self.ids.entry(op).or_default();
        if !ids.contains(&id) {
            ids.push(id);
        }
        // Both may have taken effect before the client says that they belong together.
        self.one_id(g, id, None, at, r);
    }

    fn takes_effect(&self, g: &Ghost, index: Index, id: ProposeId, at: At, r: &mut Report) {
        let command = g.command(id);
        let done = command.and_then(|c| c.done).filter(|&done| done != index);
        r.expect(CHECK, ONCE, at, done.is_none(), || {
            (format!("{} took effect at index {} and again at index {index}", g.tell(id), done.unwrap_or(0)), Vec::new())
        });
        r.expect(CHECK, PROPOSED, at, self.ops.contains_key(&id), || {
            (format!("{} took effect at index {index}, and no client proposed it under that id", g.tell(id)), Vec::new())
        });
        self.one_id(g, id, Some(id), at, r);
    }

    /// Of the ids of this one's operation only one took effect (`now` counts as such).
    fn one_id(&self, g: &Ghost, id: ProposeId, now: Option<ProposeId>, at: At, r: &mut Report) {
        let Some(ids) = self.ops.get(&id).and_then(|(op, _)| self.ids.get(op)) else { return };
        if ids.len() < 2 {
            r.judged(CHECK);
            return;
        }
        let effective: Vec<_> = ids.iter().filter(|&&i| now == Some(i) || g.command(i).is_some_and(|c| c.done.is_some())).collect();
        r.expect(CHECK, ONE_ID, at, effective.len() < 2, || {
            let (a, b) = (*effective[0], *effective[1]);
            let message = format!(
                "one operation was proposed under two ids, {} and {}, and both took effect: it was done twice",
                g.tell(a),
                g.tell(b)
            );
            (message, [a, b].iter().filter_map(|i| g.command(*i)?.proposed).collect())
        });
    }

    fn close(&mut self, id: ProposeId) {
        if let Some(open) = self.open.get_mut(&id.client) {
            open.remove(&id.seq);
        }
    }

    /// A proposal says which results its client has.
    fn acknowledges(&self, g: &Ghost, proposal: &Proposal, at: At, r: &mut Report) {
        let lowest = self.open.get(&proposal.id.client).and_then(|open| open.first().copied());
        let missing = lowest.filter(|&seq| seq < proposal.first_incomplete);
        r.expect(CHECK, ACKNOWLEDGED, at, missing.is_none(), || {
            let id = ProposeId { client: proposal.id.client, seq: missing.unwrap_or(0) };
            let message = format!(
                "{} acknowledges {}, of which its client has no synced result: were it retried, it would be refused",
                g.tell(proposal.id),
                g.tell(id)
            );
            (message, g.command(id).into_iter().flat_map(|c| c.proposed.into_iter().chain(c.fast.as_ref().map(|f| f.event))).collect())
        });
    }
}

fn refused(g: &Ghost, id: ProposeId, what: &str, at: At, r: &mut Report) {
    let refused = g.command(id).filter(|c| c.done.is_none()).and_then(|c| c.refused);
    r.expect(CHECK, NOT_REFUSED, at, refused.is_none(), || {
        let (index, event) = refused.unwrap_or((0, 0));
        (format!("the client got a {what} result of {}, which was refused at index {index}", g.tell(id)), vec![event])
    });
}

fn not_twice(g: &Ghost, slot: Slot, id: ProposeId, at: At, r: &mut Report) {
    let node = &g.nodes[slot];
    let place = g.place(id, &node.log);
    // An id of an ended session means nothing any more, wherever it is.
    let ended = || node.log.iter().any(|e| matches!(e.payload, curp::Payload::SessionEnd { client } if client == id.client));
    r.expect(CHECK, NOT_TWICE, at, place.is_none() || ended(), || {
        (format!("node {} appended {} again, which its log has at index {}", node.id, g.tell(id), place.unwrap_or(0)), Vec::new())
    });
}
