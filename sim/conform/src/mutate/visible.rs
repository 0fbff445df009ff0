//! Which events can be dropped or doubled so that the specification must see it, and why the others cannot.

use curp::{Event as NodeEvent, Index, NodeId, Term};
use history::{ClientEvent, Event, WorldEvent};
use kv::Request;

use super::leases;
use super::view::{Node, View, taken};

/// A node's write shows once it is durable: by the second change of its disk at the latest, since one change may be of what was written before.
const WRITES: usize = 2;
/// Missing bytes show when a later frame says that they were durable. Its writer may learn that one or two frames late.
const FRAMES: usize = 3;

/// Whether something later needs the event at this position.
pub(super) fn dropped(view: &View<'_>, at: usize) -> bool {
    match &view.events[at].event {
        Event::Client(ClientEvent::SendKeepAlive { .. }) => leases::dropped(view, at),
        Event::Client(event) => client_dropped(view, at, event),
        Event::World(WorldEvent::Crash { .. }) => {
            // Of the crashes before a start, the others were of starts that failed.
            let runs = |node| view.earlier(at).find(|(_, n, _)| *n == node).is_some_and(|(q, ..)| view.crash(q, node) == Some(at));
            let restart = |node| view.later(at).find(|(_, n, e)| *n == node && matches!(e, NodeEvent::Restart { .. }));
            let begins = |node| restart(node).is_some_and(|(q, ..)| view.crash(at, node).is_none_or(|crash| crash > q));
            view.events[at].node.is_some_and(|node| runs(node) && begins(node) && !stopped(view, at, node))
        }
        Event::World(WorldEvent::Disk { .. }) => view.events[at].node.is_some_and(|node| view.writes(at, node) >= FRAMES),
        Event::World(_) => false,
        Event::Lease(_) => leases::dropped(view, at),
        Event::Node(event) => view.events[at].node.is_some_and(|node| node_dropped(view, at, node, event)),
    }
}

fn client_dropped(view: &View<'_>, at: usize, event: &ClientEvent) -> bool {
    match event {
        ClientEvent::Propose { id: Some(id), .. } => view.later(at).any(|(_, _, e)| taken(e).is_some_and(|p| p.id == *id)),
        // Its client acknowledges later what it would not have a result of.
        ClientEvent::SyncedComplete { id, .. } => view.clients_later(at).any(|(_, e)| match e {
            ClientEvent::Propose { id: Some(next), first_incomplete: Some(fi), .. } => next.client == id.client && *fi > id.seq,
            _ => false,
        }),
        // A client that completed a fast round need not: the synced result comes all the same.
        ClientEvent::FastComplete { .. } => false,
        _ => false,
    }
}

fn node_dropped(view: &View<'_>, at: usize, node: NodeId, event: &Node) -> bool {
    let written = view.writes(at, node) >= WRITES;
    match event {
        // What these write is missed when it becomes durable.
        NodeEvent::UpdateTerm { .. } | NodeEvent::Campaign { .. } | NodeEvent::GrantVote { .. } => written,
        NodeEvent::BecomeLeader { .. } | NodeEvent::LeaderPropose { .. } | NodeEvent::AcceptEntries { .. } => written,
        NodeEvent::AdvanceCommit { .. } | NodeEvent::PoolDrop { .. } => written,
        NodeEvent::WitnessRecord { accepted, inserted, .. } => *accepted && *inserted && written,
        // Nothing but this may follow its cause.
        NodeEvent::UseConfig { .. } => written || view.life(at, node).any(|(_, _, e)| matches!(e, NodeEvent::Apply { .. })),
        NodeEvent::InstallSnapshot { .. } => view.life(at, node).any(|(_, _, e)| matches!(e, NodeEvent::Apply { .. })),
        NodeEvent::TakeSnapshot { .. } => saved(view, at, node),
        NodeEvent::CompactLog { .. } => found_short(view, at, node),
        // The other voter may stand for election unasked, and a node that has stopped is as one that crashed.
        NodeEvent::TransferLeader { .. } | NodeEvent::ShutDown { .. } => false,
        // A vote repeated and a Record repeated repeat what is known.
        NodeEvent::RepeatVote { .. } => false,
        NodeEvent::Restart { .. } => view.life(at, node).next().is_some(),
        // Whoever follows can stand, accept and record; a leader cannot.
        NodeEvent::StepDown { .. } => {
            let role = |(_, _, e): &(usize, NodeId, &Node)| match e {
                NodeEvent::Campaign { .. } | NodeEvent::AcceptEntries { .. } | NodeEvent::WitnessRecord { accepted: true, .. } => {
                    Some(true)
                }
                NodeEvent::UpdateTerm { .. } => Some(false),
                _ => None,
            };
            view.life(at, node).find_map(|e| role(&e)) == Some(true)
        }
        NodeEvent::OpenFastPath { term } => view.life(at, node).any(|(_, _, e)| match e {
            NodeEvent::LeaderPropose { entry, fast } => *fast && entry.term == *term,
            NodeEvent::ReadRequest { term: t, .. } => t == term,
            _ => false,
        }),
        NodeEvent::Matched { term, peer, index } => counts(view, at, node, (*term, *peer, *index)),
        NodeEvent::Execute { term, id, .. } => {
            view.clients_later(at).any(|(_, e)| matches!(e, ClientEvent::FastComplete { id: done, term: t, .. } if done == id && t == term))
        }
        NodeEvent::Apply { index, .. } => {
            view.life(at, node).any(|(_, _, e)| matches!(e, NodeEvent::Apply { index: next, .. } if *next == index + 1))
        }
        NodeEvent::ReadRequest { term, round, .. } => {
            view.life(at, node).any(|(_, _, e)| matches!(e, NodeEvent::ReadIndex { term: t, round: r, .. } if (t, r) == (term, round)))
        }
        NodeEvent::ReadIndex { term, round, .. } => granted_alone(view, at, *term, *round),
        // That a read was served changes nothing.
        NodeEvent::ServeRead { .. } => false,
        // That something was stored need not be said; what was said to be stored must be found.
        NodeEvent::SaveState { .. } => false,
        NodeEvent::LoadState { .. } => stored(view, at, node),
    }
}

/// Whether the node's next commit by counting lacks a quorum without this acknowledgement.
fn counts(view: &View<'_>, at: usize, leader: NodeId, (term, peer, index): (Term, NodeId, Index)) -> bool {
    let commit = view.life(at, leader).find_map(|(q, _, e)| match e {
        NodeEvent::AdvanceCommit { term: t, commit, counted: true } if *t == term => Some((q, *commit)),
        _ => None,
    });
    let Some((q, commit)) = commit.filter(|(_, commit)| *commit <= index) else { return false };
    let acknowledged = |of: NodeId| {
        let matched = |(p, n, e): (usize, NodeId, &Node)| {
            let counted = matches!(e, NodeEvent::Matched { term: t, peer, index } if *t == term && *peer == of && *index >= commit);
            n == leader && p != at && counted
        };
        view.earlier(q).any(matched)
    };
    let Some(in_force) = view.in_force(q, leader) else { return false };
    let others = in_force.voters.iter().filter(|of| **of != leader && acknowledged(**of)).count();
    let own = usize::from(in_force.is_voter(leader));
    in_force.is_voter(peer) && !acknowledged(peer) && others + own < in_force.voters.len() / 2 + 1
}

/// Whether the node's store had more, as it had said, than the snapshot from which it would start without it.
fn stored(view: &View<'_>, at: usize, node: NodeId) -> bool {
    let snapshot =
        view.life(at, node).find_map(|(_, _, e)| if let NodeEvent::Restart { snapshot, .. } = e { Some(*snapshot) } else { None });
    let more = |snapshot| view.earlier(at).any(|(_, n, e)| n == node && matches!(e, NodeEvent::SaveState { index } if *index > snapshot));
    snapshot.is_some_and(more)
}

/// Whether the snapshot's record became durable for certain: entries were dropped after it, and no other one can have been the reason.
fn saved(view: &View<'_>, at: usize, node: NodeId) -> bool {
    let of_snapshots = |e: &Node| matches!(e, NodeEvent::TakeSnapshot { .. } | NodeEvent::CompactLog { .. } | NodeEvent::Restart { .. });
    let before = view.earlier(at).find(|(_, n, e)| *n == node && of_snapshots(e));
    let after = view.life(at, node).find(|(_, _, e)| of_snapshots(e));
    let waits = before.is_some_and(|(_, _, e)| matches!(e, NodeEvent::TakeSnapshot { .. }));
    !waits && after.is_some_and(|(_, _, e)| matches!(e, NodeEvent::CompactLog { .. }))
}

/// Whether the node's next start finds a log that begins where only this event can have made it begin.
fn found_short(view: &View<'_>, at: usize, node: NodeId) -> bool {
    let restart = view.later(at).find_map(|(q, n, e)| match e {
        NodeEvent::Restart { base, .. } if n == node => Some((q, base.index)),
        _ => None,
    });
    let Some((q, found)) = restart else { return false };
    let reasons = view.earlier(q).filter(|(p, n, _)| *n == node && *p != at).map(|(_, _, e)| match e {
        NodeEvent::CompactLog { base } | NodeEvent::Restart { base, .. } => base.index,
        NodeEvent::InstallSnapshot { index, .. } => *index,
        _ => 0,
    });
    reasons.max().unwrap_or(0) < found
}

/// Whether the read was requested once, so that it is served by this grant or not at all.
fn granted_alone(view: &View<'_>, at: usize, term: Term, round: u64) -> bool {
    let Some(id) = read_of(view, at, term, round) else { return false };
    let requests =
        view.earlier(view.events.len()).filter(|(_, _, e)| matches!(e, NodeEvent::ReadRequest { read, .. } if *read == id)).count();
    requests == 1 && view.later(at).any(|(_, _, e)| matches!(e, NodeEvent::ServeRead { read, .. } if *read == id))
}

/// The read that a round confirms.
pub(super) fn read_of(view: &View<'_>, at: usize, term: Term, round: u64) -> Option<(u32, u64)> {
    view.earlier(at).find_map(|(_, _, e)| match e {
        NodeEvent::ReadRequest { term: t, round: r, read, .. } if (*t, *r) == (term, round) => Some(*read),
        _ => None,
    })
}

/// Whether the node has stopped by itself: a crash takes nothing then.
pub(super) fn stopped(view: &View<'_>, at: usize, node: NodeId) -> bool {
    let last = view.earlier(at).find(|(_, n, _)| *n == node);
    last.is_some_and(|(_, _, e)| matches!(e, NodeEvent::ShutDown { .. }))
}

/// Whether an event cannot happen twice in a row.
pub(super) fn doubled(view: &View<'_>, at: usize) -> bool {
    match &view.events[at].event {
        Event::Client(event) => match event {
            ClientEvent::Propose { id, .. } => id.is_some(),
            ClientEvent::FastComplete { .. } | ClientEvent::SyncedComplete { .. } => true,
            _ => false,
        },
        Event::World(WorldEvent::Crash { .. }) => true,
        // The same bytes again are no change.
        Event::World(_) => false,
        Event::Lease(_) => leases::doubled(view, at),
        Event::Node(event) => node_doubled(event),
    }
}

fn node_doubled(event: &NodeEvent<Request>) -> bool {
    match event {
        // A Record, a vote, a serving may be repeated.
        NodeEvent::WitnessRecord { accepted, inserted, .. } => *accepted && *inserted,
        NodeEvent::RepeatVote { .. } | NodeEvent::ServeRead { .. } => false,
        NodeEvent::SaveState { .. } | NodeEvent::LoadState { .. } => false,
        // It may be said twice.
        NodeEvent::TransferLeader { .. } => false,
        NodeEvent::UseConfig { .. } | NodeEvent::ShutDown { .. } => true,
        NodeEvent::TakeSnapshot { .. } | NodeEvent::CompactLog { .. } | NodeEvent::InstallSnapshot { .. } => true,
        NodeEvent::AcceptEntries { entries, .. } => !entries.is_empty(),
        NodeEvent::Restart { .. } | NodeEvent::UpdateTerm { .. } | NodeEvent::StepDown { .. } | NodeEvent::Campaign { .. } => true,
        NodeEvent::GrantVote { .. } | NodeEvent::BecomeLeader { .. } | NodeEvent::OpenFastPath { .. } => true,
        NodeEvent::LeaderPropose { .. } | NodeEvent::Matched { .. } | NodeEvent::AdvanceCommit { .. } => true,
        NodeEvent::Execute { .. } | NodeEvent::Apply { .. } | NodeEvent::PoolDrop { .. } => true,
        NodeEvent::ReadRequest { .. } | NodeEvent::ReadIndex { .. } => true,
    }
}
