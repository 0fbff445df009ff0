//! Recovery, what could happen: from what is on the disks right now, EVERY quorum that could elect a leader would recover every command
//! that completed on the fast path, in the order that its client's result reflects.
//!
//! Judged when a fast round completes and whenever a disk changes, until the command is committed; from then on it is the committed entries'
//! business (`leader_completeness`). So a hole is seen in the run in which it exists, before any crash.
//!
//! A winner counts by the voters of its own latest durable configuration. Its log after recovery is its durable log, with what a snapshot stands for,
//! followed by the commands in `recover(n)` pools of its quorum. Its result holds if nothing in
//! conflict stands between the prefix it reflects and the command. Whether the recovered commands commute needs no test here: two sets of
//! `recover(n)` pools of a quorum share a pool, and each pool commutes (`recovery` judges that).
//!
//! It does not ask who is up, or who voted already: a crash and a timeout later everyone is electable but those with damaged disks.

use std::sync::Arc;

use crate::conflict::conflict;
use curp::{Event as NodeEvent, Index, Payload, ProposeId, Term};
use history::{ClientEvent, Event, Stamped};
use kv::Request;

use super::describe;
use super::ghost::{Entry, Ghost, Slot, at};
use super::quorum::{self, Set};
use super::report::{At, Check, Report};

pub(super) const LOST: &str = "every quorum that could elect a leader now would recover a completed command";
pub(super) const REORDERED: &str = "no election possible now would put an unseen conflicting command before a completed one";
pub(super) const COMMITTED_ORDER: &str = "a completed command is committed after exactly the conflicting commands its result reflected";

/// What a log says of one outstanding command, and how far it was read.
#[derive(Clone, Copy, Default)]
struct View {
    /// Entries up to here were looked at.
    scanned: Index,
    /// Where the command is; 0: nowhere.
    place: Index,
    /// The first entry in its way: in conflict, effective, and not reflected; 0: none.
    blocker: Index,
}

/// A command that completed and is not committed yet.
pub(super) struct Outstanding {
    pub id: ProposeId,
    pub term: Term,
    request: Request,
    reflects: Index,
    /// By slot: what the node's durable log says. Slots that came later are not there yet.
    views: Vec<View>,
    /// Nodes whose durable pool has it.
    pools: Set,
}

impl Outstanding {
    /// The first effective entry of `log` in `from..` that would make the command's result wrong if it came before it; or the command.
    fn scan(&self, log: &[Arc<Entry>], mut view: View) -> View {
        let from = view.scanned.max(self.reflects) as usize;
        for entry in log.get(from..).unwrap_or_default() {
            if view.place == 0 && view.blocker == 0 {
                if entry.id() == Some(self.id) {
                    view.place = entry.index;
                } else if self.in_the_way(log, entry) {
                    view.blocker = entry.index;
                }
            }
        }
        view.scanned = log.len() as Index;
        view
    }

    fn in_the_way(&self, log: &[Arc<Entry>], entry: &Entry) -> bool {
        match &entry.payload {
            // Commands in conflict, unless the session table makes them nothing (a duplicate, say).
            Payload::Command(p) if p.id.client == self.id.client && p.first_incomplete > self.id.seq => takes_effect(log, entry.index),
            Payload::Command(p) => conflict(&p.command, &self.request) && takes_effect(log, entry.index),
            Payload::Own { command } => conflict(command, &self.request) && !is_void(command, entry.term),
            Payload::SessionEnd { client } => *client == self.id.client,
            _ => false,
        }
    }

    /// Place and blocker in some log.
    pub fn look(&self, log: &[Arc<Entry>]) -> (Option<Index>, Option<Index>) {
        let view = self.scan(log, View::default());
        (Some(view.place).filter(|&i| i > 0), Some(view.blocker).filter(|&i| i > 0))
    }

    /// The log of the node in `slot` was cut to `kept` entries and perhaps grew.
    fn update_log(&mut self, slot: Slot, log: &[Arc<Entry>], kept: usize) {
        if self.views.len() <= slot {
            self.views.resize(slot + 1, View::default());
        }
        let mut view = self.views[slot];
        let kept = kept as Index;
        view.scanned = view.scanned.min(kept);
        if view.place > kept {
            view.place = 0;
        }
        if view.blocker > kept {
            view.blocker = 0;
        }
        self.views[slot] = self.scan(log, view);
    }
}

/// The check's state.
#[derive(Default)]
pub(super) struct Recoverable {
    pub outstanding: Vec<Outstanding>,
}

impl Recoverable {
    /// After the ghost took the event in.
    pub fn after(&mut self, g: &Ghost, stamped: &Stamped, at: At, r: &mut Report) {
        if let Some((slot, change)) = g.disk_change {
            let node = &g.nodes[slot];
            let log = change.log_kept < change.log_before || change.log_kept < node.disk.log.len();
            if self.outstanding.is_empty() || !(log || change.readable || change.pool) {
                return;
            }
            for command in &mut self.outstanding {
                if log {
                    command.update_log(slot, &node.disk.log, change.log_kept);
                }
                if change.pool {
                    command.pools &= !(1 << slot);
                    command.pools |= Set::from(node.disk.pool_has(command.id)) << slot;
                }
            }
            for command in &self.outstanding {
                self.judge(g, command, at, r);
            }
        }
        match &stamped.event {
            Event::Client(ClientEvent::FastComplete { id, .. }) => self.completed(g, *id, at, r),
            Event::Node(NodeEvent::AdvanceCommit { counted: true, .. }) => {
                self.outstanding.retain(|command| !Self::committed(g, command, g.committed_before, at, r));
            }
            _ => {}
        }
    }

    fn completed(&mut self, g: &Ghost, id: ProposeId, at: At, r: &mut Report) {
        if self.outstanding.iter().any(|c| c.id == id) {
            return;
        }
        let Some((command, fast)) = g.command(id).and_then(|c| Some((c, c.fast.as_ref()?))) else { return };
        let Some(request) = command.request.clone() else { return };
        let mut new =
            Outstanding { id, term: fast.term, request, reflects: fast.reflects, views: vec![View::default(); g.nodes.len()], pools: 0 };
        if Self::committed(g, &new, fast.reflects as usize, at, r) {
            return;
        }
        for (slot, node) in g.nodes.iter().enumerate() {
            new.views[slot] = new.scan(&node.disk.log, View::default());
            new.pools |= Set::from(node.disk.pool_has(id)) << slot;
        }
        self.judge(g, &new, at, r);
        self.outstanding.push(new);
    }

    /// Looks at the committed entries from `from` on: true once the command is among them. What came before it must be what it reflected.
    fn committed(g: &Ghost, command: &Outstanding, from: usize, at: At, r: &mut Report) -> bool {
        let new = g.committed.get(from.max(command.reflects as usize)..).unwrap_or_default();
        for committed in new {
            if committed.entry.id() == Some(command.id) {
                r.judged(Check::Recovery);
                return true;
            }
            let suspect = match &committed.entry.payload {
                Payload::Command(p) => conflict(&p.command, &command.request),
                Payload::Own { command: own } => conflict(own, &command.request),
                Payload::SessionEnd { client } => *client == command.id.client,
                _ => false,
            };
            if suspect && !r.known(Check::Recovery, COMMITTED_ORDER) && command.in_the_way(&g.prefix, &committed.entry) {
                r.violate(Check::Recovery, COMMITTED_ORDER, at, || command.tell_order(g, &committed.entry, "was committed"));
            }
        }
        // An older place than what it reflects is no place for a command executed once; if it is there all the same it is committed.
        g.committed_place(command.id).is_some()
    }

    fn judge(&self, g: &Ghost, command: &Outstanding, at: At, r: &mut Report) {
        r.judged(Check::Recovery);
        for winner in g.elections.winners() {
            let view = command.views.get(winner).copied().unwrap_or_default();
            if view.blocker != 0 {
                if !r.known(Check::Recovery, REORDERED) {
                    let log = &g.nodes[winner].disk.log;
                    let Some(blocker) = self::at(log, view.blocker) else { continue };
                    let would =
                        format!("stands at index {} of node {}'s disk, which could win an election now,", view.blocker, g.nodes[winner].id);
                    r.violate(Check::Recovery, REORDERED, at.on(g.nodes[winner].id), || command.tell_order(g, blocker, &would));
                }
            } else if view.place == 0 && !g.elections.always_recovers(winner, command.pools) {
                r.violate(Check::Recovery, LOST, at.on(g.nodes[winner].id), || self.tell_lost(g, command, winner));
            }
        }
    }

    fn tell_lost(&self, g: &Ghost, command: &Outstanding, winner: Slot) -> (String, Vec<u64>) {
        let names = |set: Set| describe::nodes(g.ids(set));
        let quorum = g.elections.worst_quorum(winner, command.pools);
        let holders = quorum & command.pools;
        let message = format!(
            "{} completed on the fast path in term {}, but if nodes {} elected node {} now, from what is on their disks, it would be lost: \
             the winner's log does not have it, and of these only {} {} it in the spec pool, where {} are needed",
            g.tell(command.id),
            command.term,
            names(quorum),
            g.nodes[winner].id,
            if holders == 0 { "none".to_owned() } else { format!("node {}", names(holders)) },
            if holders.count_ones() > 1 { "have" } else { "has" },
            quorum::recover(g.elections.n(winner)),
        );
        (message, evidence(g, command.id))
    }
}

impl Outstanding {
    /// The sentence for an entry in the way.
    pub fn tell_order(&self, g: &Ghost, blocker: &Entry, how: &str) -> (String, Vec<u64>) {
        let what = match &blocker.payload {
            Payload::SessionEnd { client } => format!("the end of session {client}"),
            _ => blocker.id().map_or_else(|| format!("entry {}", blocker.index), |id| g.tell(id)),
        };
        let message = format!(
            "{} completed on the fast path in term {} with a result that knew nothing of {what}, but {what} {how} before it: \
             the client was told something that is not true",
            g.tell(self.id),
            self.term,
        );
        let mut events = evidence(g, self.id);
        events.extend(blocker.id().and_then(|id| g.command(id)?.proposed));
        (message, events)
    }
}

/// Proposed, executed, completed.
pub(super) fn evidence(g: &Ghost, id: ProposeId) -> Vec<u64> {
    let Some(command) = g.command(id) else { return Vec::new() };
    let fast = command.fast.as_ref();
    let executed = command.executions.iter().find(|e| fast.is_some_and(|f| f.term == e.term)).map(|e| e.event);
    command.proposed.into_iter().chain(executed).chain(fast.map(|f| f.event)).collect()
}

/// Whether the entry at `index` of a log takes effect when it is applied there, as far as sessions decide it: the session began and has not
/// ended, the client has not acknowledged the id, and the id is not in the log before. Reads the log from its start: for suspicions only.
fn takes_effect(log: &[Arc<Entry>], index: Index) -> bool {
    let Some(proposal) = at(log, index).and_then(|e| e.proposal()) else { return false };
    let id = proposal.id;
    let (mut alive, mut first_incomplete, mut there) = (false, 0, false);
    for entry in &log[..index as usize - 1] {
        match &entry.payload {
            Payload::SessionBegin { .. } => alive |= entry.index == id.client,
            Payload::SessionEnd { client } => alive &= *client != id.client,
            Payload::Command(p) if p.id.client == id.client => {
                first_incomplete = first_incomplete.max(p.first_incomplete);
                there |= p.id == id;
            }
            _ => {}
        }
    }
    alive && id.seq >= first_incomplete && !there
}

/// Whether a leader's own command does nothing, since it was decided in another term.
fn is_void(command: &Request, term: Term) -> bool {
    matches!(command, Request::LeaseRevoke(revoke) if revoke.stamp.is_some_and(|stamp| stamp != term))
}
