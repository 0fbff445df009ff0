//! Traces that must be refused: one change each to a trace that is allowed.
//!
//! Four kinds of change (an event dropped, doubled, exchanged with a later one that depends on it, or with a field altered) to eight families
//! of actions. Which ones are made is a hash of family, kind and a counter, so that the same traces always give the same changes.
//!
//! Invariant: every change is one that the specification can see, from the changed event on. A change that it provably cannot see is not made,
//! with the reason where it is left out: a specification that rejected such a trace would be wrong.

mod alter;
mod leases;
mod swap;
mod view;
mod visible;

use curp::{Event as NodeEvent, NodeId, Payload};
use history::{ClientEvent, Event, Stamped, WorldEvent};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use xxhash_rust::xxh3::xxh3_64;

use view::View;

/// A family of actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// The fast round and the slow one, as client, leader and witness have them.
    Rounds,
    /// Raft's log: entries, acknowledgements, commit, apply, the opening of the fast path.
    Replication,
    /// Terms, votes, and what a new leader recovers.
    Elections,
    /// Crashes, restarts, and what is durable.
    Disks,
    /// Linearizable reads, and sessions' beginnings and ends.
    Reads,
    /// Changes of the configuration, leadership handed over, the cluster's shutdown.
    Membership,
    /// Snapshots taken and installed, entries dropped.
    Snapshots,
    /// What a leader says of leases, and clients of their keep-alives.
    Leases,
}

impl Family {
    /// All of them.
    pub const ALL: [Family; 8] = [
        Family::Rounds,
        Family::Replication,
        Family::Elections,
        Family::Disks,
        Family::Reads,
        Family::Membership,
        Family::Snapshots,
        Family::Leases,
    ];

    /// The family of an event; `None` if it is no action of the specification, or one of which nothing can be changed visibly.
    fn of(event: &Event) -> Option<Family> {
        use NodeEvent as N;
        match event {
            Event::Client(
                ClientEvent::Propose { id: Some(_), .. } | ClientEvent::FastComplete { .. } | ClientEvent::SyncedComplete { .. },
            ) => Some(Family::Rounds),
            // A read's own begin is no step, and its end depends on no more than a ServeRead, which the checkers compare with it.
            Event::Client(ClientEvent::Propose { id: None, .. } | ClientEvent::ReadComplete { .. }) => None,
            Event::Client(
                ClientEvent::SessionOpen { .. } | ClientEvent::GiveUp { .. } | ClientEvent::Fail { .. } | ClientEvent::ClientCrash,
            ) => None,
            Event::Client(ClientEvent::SendKeepAlive { .. }) | Event::Lease(_) => Some(Family::Leases),
            // Watches and recipes are no part of the specification.
            Event::Client(_) => None,
            Event::Node(N::LeaderPropose { entry, .. }) => Some(match entry.payload {
                Payload::Command(_) | Payload::Own { .. } | Payload::Noop => Family::Rounds,
                Payload::SessionBegin { .. } | Payload::SessionEnd { .. } => Family::Reads,
                Payload::Config { .. } | Payload::Shutdown => Family::Membership,
            }),
            Event::Node(N::UseConfig { .. } | N::TransferLeader { .. } | N::ShutDown { .. }) => Some(Family::Membership),
            Event::Node(N::TakeSnapshot { .. } | N::CompactLog { .. } | N::InstallSnapshot { .. }) => Some(Family::Snapshots),
            Event::Node(N::WitnessRecord { .. } | N::Execute { .. } | N::PoolDrop { .. }) => Some(Family::Rounds),
            Event::Node(
                N::AcceptEntries { .. } | N::Matched { .. } | N::AdvanceCommit { .. } | N::Apply { .. } | N::OpenFastPath { .. },
            ) => Some(Family::Replication),
            Event::Node(
                N::UpdateTerm { .. }
                | N::Campaign { .. }
                | N::GrantVote { .. }
                | N::RepeatVote { .. }
                | N::BecomeLeader { .. }
                | N::StepDown { .. },
            ) => Some(Family::Elections),
            Event::Node(N::Restart { .. } | N::SaveState { .. } | N::LoadState { .. }) | Event::World(WorldEvent::Crash { .. }) => {
                Some(Family::Disks)
            }
            Event::World(WorldEvent::Disk { .. }) => view::of_log(event).then_some(Family::Disks),
            Event::Node(N::ReadRequest { .. } | N::ReadIndex { .. } | N::ServeRead { .. }) => Some(Family::Reads),
            Event::World(WorldEvent::DiskRemove { .. } | WorldEvent::Send { .. } | WorldEvent::Fatal { .. } | WorldEvent::Pause) => None,
            Event::World(WorldEvent::DiskLost) => None,
            Event::World(WorldEvent::Resume | WorldEvent::Fault { .. } | WorldEvent::FaultEnd { .. } | WorldEvent::Heal) => None,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Family::Rounds => "rounds",
            Family::Replication => "replication",
            Family::Elections => "elections",
            Family::Disks => "crashes and disks",
            Family::Reads => "reads and sessions",
            Family::Membership => "membership",
            Family::Snapshots => "snapshots",
            Family::Leases => "leases",
        })
    }
}

/// A kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The event is not there.
    Dropped,
    /// It is there a second time, directly after the first.
    Doubled,
    /// It and a later event that depends on it have changed places.
    Swapped,
    /// One of its fields is another.
    Altered,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 4] = [Kind::Dropped, Kind::Doubled, Kind::Swapped, Kind::Altered];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Dropped => "dropped",
            Kind::Doubled => "doubled",
            Kind::Swapped => "swapped",
            Kind::Altered => "altered",
        })
    }
}

/// A changed trace. Events keep their numbers, so a verdict speaks of the events of the trace that was changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Mutation {
    /// Which trace was changed: its place among those given.
    pub base: usize,
    /// Family of the changed event.
    pub family: Family,
    /// What was done.
    pub kind: Kind,
    /// What was changed: an action, and for an altered one its field.
    pub label: &'static str,
    /// Number of the changed event; of the earlier one, if two changed places.
    pub event: u64,
    /// The first position that differs from the base: a rejection before it would be of the base itself.
    pub from: usize,
    /// The last position of the change: a rejection up to here is at the change itself. `None` for a dropped event, which leaves no place.
    pub to: Option<usize>,
    /// The changed trace.
    pub events: Vec<Stamped>,
}

/// A change that could be made to a trace.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    /// Position of the event.
    pub at: usize,
    /// Action, and field.
    pub label: &'static str,
    pub change: Change,
}

#[derive(Clone, Debug)]
pub(crate) enum Change {
    Drop,
    Double,
    /// With the event at this later position.
    Swap(usize),
    /// Into this event, on this node.
    Alter(Box<Event>, Option<NodeId>),
}

/// Changes to the traces: for each family and kind at least `each`, and at least one for each action (and field) that occurs. Fewer only where the
/// traces do not offer more.
pub fn mutations(traces: &[&[Stamped]], each: usize) -> Vec<Mutation> {
    let views: Vec<View<'_>> = traces.iter().map(|trace| View::new(trace)).collect();
    let mut out = Vec::new();
    for family in Family::ALL {
        for kind in Kind::ALL {
            let mut candidates: Vec<(usize, Candidate)> = Vec::new();
            for (base, view) in views.iter().enumerate() {
                candidates.extend(view.candidates(family, kind).into_iter().map(|candidate| (base, candidate)));
            }
            let chosen = choose(family, kind, &candidates, each);
            out.extend(chosen.into_iter().map(|place| {
                let (base, candidate) = &candidates[place];
                made(*base, traces[*base], family, kind, candidate)
            }));
        }
    }
    out
}

/// Places of the chosen candidates: by turns one of each label, drawn by a hash.
fn choose(family: Family, kind: Kind, candidates: &[(usize, Candidate)], each: usize) -> Vec<usize> {
    let mut by_label: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, (_, candidate)) in candidates.iter().enumerate() {
        by_label.entry(candidate.label).or_default().push(place);
    }
    let mut chosen = BTreeSet::new();
    let mut counter = 0u64;
    while chosen.len() < candidates.len() {
        for places in by_label.values_mut().filter(|places| !places.is_empty()) {
            let hash = xxh3_64(format!("{family} {kind} {counter}").as_bytes());
            chosen.insert(places.swap_remove((hash % places.len() as u64) as usize));
            counter += 1;
        }
        if chosen.len() >= each {
            break;
        }
    }
    chosen.into_iter().collect()
}

fn made(base: usize, trace: &[Stamped], family: Family, kind: Kind, candidate: &Candidate) -> Mutation {
    let Candidate { at, label, change } = candidate;
    let mut events = trace.to_vec();
    let (from, to) = match change {
        Change::Drop => {
            events.remove(*at);
            (*at, None)
        }
        Change::Double => {
            events.insert(at + 1, trace[*at].clone());
            (at + 1, Some(at + 1))
        }
        Change::Swap(later) => {
            events.swap(*at, *later);
            (*at, Some(*later))
        }
        Change::Alter(event, node) => {
            events[*at].event = (**event).clone();
            events[*at].node = *node;
            (*at, Some(*at))
        }
    };
    Mutation { base, family, kind, label, event: trace[*at].i, from, to, events }
}

impl View<'_> {
    /// The visible changes of a kind to events of a family, in the trace's order.
    fn candidates(&self, family: Family, kind: Kind) -> Vec<Candidate> {
        if family == Family::Leases && !self.names_a_lease() {
            return Vec::new();
        }
        let places = (0..self.events.len()).filter(|at| Family::of(&self.events[*at].event) == Some(family));
        let mut out = Vec::new();
        for at in places {
            let label = view::name(&self.events[at].event);
            match kind {
                Kind::Dropped => out.extend(visible::dropped(self, at).then_some(Candidate { at, label, change: Change::Drop })),
                Kind::Doubled => out.extend(visible::doubled(self, at).then_some(Candidate { at, label, change: Change::Double })),
                Kind::Swapped => {
                    let swaps = swap::dependents(self, at).into_iter();
                    out.extend(swaps.map(|(label, later)| Candidate { at, label, change: Change::Swap(later) }));
                }
                Kind::Altered => out.extend(alter::alterations(self, at)),
            }
        }
        out
    }
}
