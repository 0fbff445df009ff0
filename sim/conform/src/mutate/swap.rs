//! Pairs of events of which the later one cannot happen before the earlier one. Pairs of different nodes without such a dependence may change
//! places without anybody seeing it, and are not here.

use curp::{Applied, Event as NodeEvent, Payload};
use history::{ClientEvent, Event, WorldEvent};

use super::leases;
use super::view::{Node, View, of_log, taken};
use super::visible::{dropped, read_of, stopped};

type Pair = (&'static str, usize);

/// For the event at a position: later events that depend on it, each with what the pair is called. At most one of each kind of pair: the first.
pub(super) fn dependents(view: &View<'_>, at: usize) -> Vec<Pair> {
    match &view.events[at].event {
        Event::Client(ClientEvent::Propose { id: Some(id), .. }) => {
            let first = view.later(at).find(|(_, _, e)| taken(e).is_some_and(|p| p.id == *id));
            first.map(|(q, _, _)| ("Propose, its first Record or entry", q)).into_iter().collect()
        }
        Event::Client(ClientEvent::SendKeepAlive { .. }) => leases::dependents(view, at),
        Event::Client(_) => Vec::new(),
        Event::World(WorldEvent::Crash { .. }) => {
            let Some(node) = view.events[at].node.filter(|node| !stopped(view, at, *node)) else { return Vec::new() };
            let restart = view.later(at).find(|(_, n, e)| *n == node && matches!(e, NodeEvent::Restart { .. }));
            restart.map(|(q, _, _)| ("Crash, Restart", q)).into_iter().collect()
        }
        Event::World(WorldEvent::Disk { .. }) => disk(view, at),
        Event::World(_) => Vec::new(),
        Event::Lease(_) => leases::dependents(view, at),
        Event::Node(event) => node(view, at, event),
    }
}

/// What becomes durable, and what waits for it.
fn disk(view: &View<'_>, at: usize) -> Vec<Pair> {
    let Some(node) = view.events[at].node else { return Vec::new() };
    // Only bytes that are missed for certain, and directly before what waits for them: other writes may be enough for what comes later.
    let next = view.events[at + 1..].iter().position(|e| e.node == Some(node) && of_log(&e.event));
    let Some(next) = next.map(|distance| at + 1 + distance).filter(|_| dropped(view, at)) else { return Vec::new() };
    vec![("Persist, the next Persist", next)]
}

fn node(view: &View<'_>, at: usize, event: &Node) -> Vec<Pair> {
    let Some(n) = view.events[at].node else { return Vec::new() };
    let mut out = Vec::new();
    let mut pair = |label: &'static str, first: Option<usize>| out.extend(first.map(|q| (label, q)));
    let own = |of: &dyn Fn(&Node) -> bool| view.life(at, n).find(|(_, _, e)| of(e)).map(|(q, _, _)| q);
    match event {
        NodeEvent::LeaderPropose { entry, .. } => {
            let accepts = view.later(at).find(|(_, _, e)| match e {
                NodeEvent::AcceptEntries { entries, .. } => entries.first().is_some_and(|e| (e.term, e.index) == (entry.term, entry.index)),
                _ => false,
            });
            pair("an entry, AcceptEntries", accepts.map(|(q, _, _)| q));
            if let Payload::Config { membership, .. } = &entry.payload {
                let uses = |e: &Node| matches!(e, NodeEvent::UseConfig { membership: m, .. } if m.version == membership.version);
                pair("AppendConfig, UseConfig", own(&uses));
            }
            let id = entry.id();
            pair("LeaderPropose, Execute", own(&|e| matches!(e, NodeEvent::Execute { id: done, .. } if Some(*done) == id)));
        }
        NodeEvent::WitnessRecord { proposal, accepted: true, inserted: true, .. } => {
            pair("WitnessRecord, PoolDrop", own(&|e| matches!(e, NodeEvent::PoolDrop { id } if *id == proposal.id)));
        }
        NodeEvent::Execute { id, term, .. } => {
            let done = |e: &ClientEvent| matches!(e, ClientEvent::FastComplete { id: i, term: t, .. } if (i, t) == (id, term));
            pair("Execute, FastComplete", view.clients_later(at).find(|(_, e)| done(e)).map(|(q, _)| q));
        }
        NodeEvent::AcceptEntries { term, entries, .. } => {
            let first = entries.first().map_or(u64::MAX, |e| e.index);
            let matched =
                |e: &Node| matches!(e, NodeEvent::Matched { term: t, peer, index } if (*t, *peer) == (*term, n) && *index >= first);
            pair("AcceptEntries, Matched", view.later(at).find(|(_, _, e)| matched(e)).map(|(q, _, _)| q));
        }
        NodeEvent::Matched { .. } if dropped(view, at) => {
            pair("Matched, AdvanceCommit", own(&|e| matches!(e, NodeEvent::AdvanceCommit { counted: true, .. })));
        }
        NodeEvent::AdvanceCommit { commit, .. } => {
            let before = view.earlier(at).find_map(|(_, m, e)| match e {
                NodeEvent::AdvanceCommit { commit, .. } | NodeEvent::Restart { commit, .. } if m == n => Some(*commit),
                _ => None,
            });
            let newly = before.unwrap_or(0) + 1..=*commit;
            pair("a commit, Apply", own(&|e| matches!(e, NodeEvent::Apply { index, .. } if newly.contains(index))));
        }
        NodeEvent::Apply { index, id, outcome, .. } => {
            pair("Apply, the next Apply", own(&|e| matches!(e, NodeEvent::Apply { index: next, .. } if *next == index + 1)));
            pair("Apply, SaveState", own(&|e| matches!(e, NodeEvent::SaveState { index: i } if i == index)));
            pair("Apply, TakeSnapshot", own(&|e| matches!(e, NodeEvent::TakeSnapshot { index: i, .. } if i == index)));
            pair("Apply, ServeRead", own(&|e| matches!(e, NodeEvent::ServeRead { applied, .. } if applied == index)));
            if matches!(outcome, Applied::Done(_)) {
                let mut next = view.life(at, n);
                // Once a later entry of the session has said so, the id counts as acknowledged all the same.
                let dropped = next.find(|(_, _, e)| matches!(e, NodeEvent::Apply { .. } | NodeEvent::PoolDrop { .. }));
                let drops = |e: &Node| matches!(e, NodeEvent::PoolDrop { id: gone } if Some(*gone) == *id);
                pair("Apply, PoolDrop", dropped.filter(|(_, _, e)| drops(e)).map(|(q, _, _)| q));
            }
        }
        NodeEvent::OpenFastPath { term } => {
            pair(
                "OpenFastPath, a fast LeaderPropose",
                own(&|e| matches!(e, NodeEvent::LeaderPropose { entry, fast: true } if entry.term == *term)),
            );
            pair("OpenFastPath, ReadRequest", own(&|e| matches!(e, NodeEvent::ReadRequest { term: t, .. } if t == term)));
        }
        NodeEvent::UpdateTerm { term } => {
            pair("UpdateTerm, GrantVote", own(&|e| matches!(e, NodeEvent::GrantVote { term: t, .. } if t == term)));
            pair("UpdateTerm, AcceptEntries", own(&|e| matches!(e, NodeEvent::AcceptEntries { term: t, .. } if t == term)));
        }
        NodeEvent::Campaign { term } => {
            let granted = |e: &Node| matches!(e, NodeEvent::GrantVote { term: t, candidate, .. } if (*t, *candidate) == (*term, n));
            pair("Campaign, GrantVote", view.later(at).find(|(_, _, e)| granted(e)).map(|(q, _, _)| q));
            pair("Campaign, BecomeLeader", own(&|e| matches!(e, NodeEvent::BecomeLeader { term: t, .. } if t == term)));
        }
        NodeEvent::GrantVote { term, candidate, .. } => {
            let counted = |e: &Node| matches!(e, NodeEvent::BecomeLeader { term: t, quorum, .. } if t == term && quorum.contains(&n));
            pair("GrantVote, BecomeLeader", view.later(at).find(|(_, m, e)| m == candidate && counted(e)).map(|(q, _, _)| q));
        }
        NodeEvent::BecomeLeader { term, .. } => {
            let heard = |e: &Node| matches!(e, NodeEvent::AcceptEntries { term: t, from, .. } if (*t, *from) == (*term, n));
            pair("BecomeLeader, AcceptEntries", view.later(at).find(|(_, _, e)| heard(e)).map(|(q, _, _)| q));
            pair("BecomeLeader, AdvanceCommit", own(&|e| matches!(e, NodeEvent::AdvanceCommit { term: t, .. } if t == term)));
        }
        NodeEvent::StepDown { .. } if dropped(view, at) => {
            pair("StepDown, Campaign", own(&|e| matches!(e, NodeEvent::Campaign { .. })));
        }
        NodeEvent::Restart { .. } => pair("Restart, what it does next", own(&|_| true)),
        NodeEvent::ReadRequest { term, round, .. } => {
            pair(
                "ReadRequest, ReadIndex",
                own(&|e| matches!(e, NodeEvent::ReadIndex { term: t, round: r, .. } if (t, r) == (term, round))),
            );
        }
        NodeEvent::ReadIndex { term, round, .. } if dropped(view, at) => {
            let read = read_of(view, at, *term, *round);
            let served = |e: &Node| matches!(e, NodeEvent::ServeRead { read: id, .. } if Some(*id) == read);
            pair("ReadIndex, ServeRead", view.later(at).find(|(_, _, e)| served(e)).map(|(q, _, _)| q));
        }
        // Without a dependence that is certain, or with one that another event of the same kind may stand in for.
        NodeEvent::WitnessRecord { .. } | NodeEvent::Matched { .. } | NodeEvent::StepDown { .. } | NodeEvent::ReadIndex { .. } => {}
        NodeEvent::UseConfig { .. } => {
            let acts = |e: &Node| {
                matches!(
                    e,
                    NodeEvent::Apply { .. } | NodeEvent::AdvanceCommit { .. } | NodeEvent::Matched { .. } | NodeEvent::PoolDrop { .. }
                )
            };
            pair("UseConfig, what it does next", own(&acts));
        }
        NodeEvent::TakeSnapshot { index, .. } => {
            pair("TakeSnapshot, the next Apply", own(&|e| matches!(e, NodeEvent::Apply { index: next, .. } if *next == index + 1)));
            if dropped(view, at) {
                pair("TakeSnapshot, CompactLog", own(&|e| matches!(e, NodeEvent::CompactLog { .. })));
            }
        }
        NodeEvent::CompactLog { .. } if dropped(view, at) => {
            let restart = view.later(at).find(|(_, m, e)| *m == n && matches!(e, NodeEvent::Restart { .. }));
            pair("CompactLog, Restart", restart.map(|(q, _, _)| q));
        }
        NodeEvent::InstallSnapshot { term, index, .. } => {
            pair("InstallSnapshot, the next Apply", own(&|e| matches!(e, NodeEvent::Apply { .. })));
            pair("InstallSnapshot, UseConfig", own(&|e| matches!(e, NodeEvent::UseConfig { .. })));
            let matched =
                |e: &Node| matches!(e, NodeEvent::Matched { term: t, peer, index: up_to } if (*t, *peer) == (*term, n) && up_to >= index);
            pair("InstallSnapshot, Matched", view.later(at).find(|(_, _, e)| matched(e)).map(|(q, _, _)| q));
        }
        NodeEvent::ShutDown { .. } => {
            let restart = view.later(at).find(|(_, m, e)| *m == n && matches!(e, NodeEvent::Restart { .. }));
            pair("ShutDown, Restart", restart.map(|(q, _, _)| q));
        }
        // Any voter may stand for election, told to or not.
        NodeEvent::TransferLeader { .. } | NodeEvent::CompactLog { .. } => {}
        NodeEvent::SaveState { .. } => {}
        NodeEvent::LoadState { .. } if dropped(view, at) => pair("LoadState, Restart", own(&|e| matches!(e, NodeEvent::Restart { .. }))),
        NodeEvent::LoadState { .. } => {}
        NodeEvent::RepeatVote { .. } | NodeEvent::PoolDrop { .. } | NodeEvent::ServeRead { .. } => {}
    }
    out
}
