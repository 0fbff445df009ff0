//! Revisions: one for each command that writes, without gaps, in committed order; the others see the last one. The store starts at 1.
//!
//! And no client sees one too early: a final result has the revision that was applied, and a fast result only revisions of entries
//! that its leader had applied when it computed it. Which keys carry which revision is judged by the linearizability check.

use curp::{Applied, Event as NodeEvent};
use history::{ClientEvent, Event, Stamped};
use kv::{KeyValue, Request, Response};

use super::describe;
use super::ghost::Ghost;
use super::report::{At, Check, Report};

pub(super) const ONE_EACH: &str = "each write has the revision after the last one, and nothing else has a new one";
pub(super) const SYNCED_SAME: &str = "a final result carries the revision at which its command was applied";
pub(super) const NOT_AHEAD: &str = "a fast result carries no revision that is not applied";

const CHECK: Check = Check::Revisions;

/// The revision after the last entry of the applied prefix.
pub(super) struct Revisions {
    last: u64,
}

impl Default for Revisions {
    fn default() -> Self {
        Revisions { last: 1 }
    }
}

impl Revisions {
    /// After the ghost took the event in.
    pub fn after(&mut self, g: &Ghost, stamped: &Stamped, at: At, r: &mut Report) {
        match &stamped.event {
            Event::Node(NodeEvent::Apply { index, outcome: Applied::Done(synced), .. }) => {
                let Some(place) = index.checked_sub(1).map(|i| i as usize) else { return };
                let first = g.applied.get(place).filter(|a| a.event == at.event);
                let Some((first, entry)) = first.zip(g.committed.get(place).map(|c| &c.entry)) else { return };
                let Some(request) = entry.command() else { return };
                // Whether a revoke does hangs on what was attached, which the replay knows.
                let by_state = matches!(request, Request::LeaseRevoke(_));
                let expected = self.last + u64::from(if by_state { first.writes } else { writes(request, &synced.response) });
                r.expect(CHECK, ONE_EACH, at, synced.revision == expected, || {
                    let message = format!(
                        "{} was applied at revision {}: the last one was {}, so it should be {expected}",
                        entry.id().map_or_else(|| describe::request(request), |id| g.tell(id)),
                        synced.revision,
                        self.last
                    );
                    (message, Vec::new())
                });
                self.last = synced.revision;
            }
            Event::Node(NodeEvent::Execute { id, response, .. }) => {
                let Some(node) = at.node.and_then(|id| g.find(id)).map(|slot| &g.nodes[slot]) else { return };
                let highest = highest_revision(response);
                r.expect(CHECK, NOT_AHEAD, at, highest <= node.revision, || {
                    let message = format!(
                        "the fast result of {} carries revision {highest}, but node {} has applied only up to {}",
                        g.tell(*id),
                        node.id,
                        node.revision
                    );
                    (message, Vec::new())
                });
            }
            Event::Client(ClientEvent::SyncedComplete { id, synced, .. }) => {
                let done = g.command(*id).and_then(|c| c.done).and_then(|index| g.applied.get(index.checked_sub(1)? as usize));
                let Some((Applied::Done(applied), event)) = done.map(|a| (&a.outcome, a.event)) else { return };
                r.expect(CHECK, SYNCED_SAME, at, applied.revision == synced.revision, || {
                    let message = format!(
                        "the client of {} was told revision {}, but it was applied at revision {}",
                        g.tell(*id),
                        synced.revision,
                        applied.revision
                    );
                    (message, vec![event])
                });
            }
            _ => {}
        }
    }
}

/// Whether the command wrote something, from what it came to.
fn writes(request: &Request, response: &Response) -> bool {
    match (request, response) {
        (Request::Put(_), Response::Put { .. }) => true,
        (Request::DeleteRange(_), Response::DeleteRange { deleted, .. }) => *deleted > 0,
        (Request::Txn(txn), Response::Txn { succeeded, responses }) => {
            let branch = if *succeeded { &txn.success } else { &txn.failure };
            branch.iter().zip(responses).any(|(request, response)| writes(request, response))
        }
        _ => false,
    }
}

fn highest_revision(response: &Response) -> u64 {
    let of = |kv: &KeyValue| kv.mod_revision.max(kv.create_revision);
    match response {
        Response::Put { prev_kv } => prev_kv.as_ref().map_or(0, of),
        Response::Range { kvs, .. } => kvs.iter().map(of).max().unwrap_or(0),
        Response::DeleteRange { prev_kvs, .. } => prev_kvs.iter().map(of).max().unwrap_or(0),
        Response::Txn { responses, .. } => responses.iter().map(highest_revision).max().unwrap_or(0),
        _ => 0,
    }
}
