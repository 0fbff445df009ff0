//! A trace with the questions that the choice of changes asks of it: what comes later, on which node, before it crashes.

use curp::{ConfigVersion, Event as NodeEvent, Membership, NodeId, Payload, Proposal, ProposeId, Term};
use history::{ClientEvent, Event, Stamped, WorldEvent};
use kv::Request;
use std::collections::BTreeSet;

pub(super) type Node = NodeEvent<Request>;

/// A trace, and what can be asked of it.
pub(super) struct View<'t> {
    pub events: &'t [Stamped],
    pub nodes: Vec<NodeId>,
    pub ids: Vec<ProposeId>,
}

impl<'t> View<'t> {
    pub fn new(events: &'t [Stamped]) -> View<'t> {
        let nodes: BTreeSet<NodeId> = events.iter().filter_map(|e| e.node).collect();
        let proposed = |e: &Stamped| match &e.event {
            Event::Client(ClientEvent::Propose { id, .. }) => *id,
            _ => None,
        };
        let ids: BTreeSet<ProposeId> = events.iter().filter_map(proposed).collect();
        View { events, nodes: nodes.into_iter().collect(), ids: ids.into_iter().collect() }
    }

    /// The node's event at a position.
    pub fn node_event(&self, at: usize) -> Option<(NodeId, &'t Node)> {
        match (&self.events[at].event, self.events[at].node) {
            (Event::Node(event), Some(node)) => Some((node, event)),
            _ => None,
        }
    }

    /// Nodes' events after a position, with their positions.
    pub fn later(&self, at: usize) -> impl Iterator<Item = (usize, NodeId, &'t Node)> {
        (at + 1..self.events.len()).filter_map(|q| self.node_event(q).map(|(node, event)| (q, node, event)))
    }

    /// The same before it, backwards.
    pub fn earlier(&self, at: usize) -> impl Iterator<Item = (usize, NodeId, &'t Node)> {
        (0..at).rev().filter_map(|q| self.node_event(q).map(|(node, event)| (q, node, event)))
    }

    /// That node's own events after a position, up to its next crash.
    pub fn life(&self, at: usize, of: NodeId) -> impl Iterator<Item = (usize, NodeId, &'t Node)> {
        let end = self.crash(at, of).unwrap_or(self.events.len());
        self.later(at).filter(move |(q, node, _)| *node == of && *q < end)
    }

    /// Position of the node's next crash.
    pub fn crash(&self, at: usize, of: NodeId) -> Option<usize> {
        let crash = |q: &usize| self.events[*q].node == Some(of) && matches!(self.events[*q].event, Event::World(WorldEvent::Crash { .. }));
        (at + 1..self.events.len()).find(crash)
    }

    /// How often what is durable on the node changes after a position, up to its next crash.
    pub fn writes(&self, at: usize, of: NodeId) -> usize {
        let end = self.crash(at, of).unwrap_or(self.events.len());
        let disk = |e: &&Stamped| {
            let news = |e: &Event| matches!(e, Event::World(WorldEvent::Disk { data, .. }) if !data.as_slice().is_empty());
            e.node == Some(of) && of_log(&e.event) && news(&e.event)
        };
        self.events[at + 1..end].iter().filter(disk).count()
    }

    /// The configuration in force on a node before a position, as it said last.
    pub fn in_force(&self, at: usize, of: NodeId) -> Option<&'t Membership> {
        self.earlier(at).find_map(|(_, node, event)| match event {
            Node::Restart { membership, .. } | Node::UseConfig { membership, .. } if node == of => Some(membership),
            _ => None,
        })
    }

    /// The voters of a configuration that some node said to be in force.
    pub fn voters(&self, of: ConfigVersion) -> Option<usize> {
        (0..self.events.len()).filter_map(|q| self.node_event(q)).find_map(|(_, event)| match event {
            Node::Restart { membership, .. } | Node::UseConfig { membership, .. } if membership.version == of => {
                Some(membership.voters.len())
            }
            _ => None,
        })
    }

    /// Clients' events after a position.
    pub fn clients_later(&self, at: usize) -> impl Iterator<Item = (usize, &'t ClientEvent)> {
        (at + 1..self.events.len()).filter_map(|q| match &self.events[q].event {
            Event::Client(event) => Some((q, event)),
            _ => None,
        })
    }

    /// Another node than that one.
    pub fn other_node(&self, node: NodeId) -> Option<NodeId> {
        self.nodes.iter().copied().find(|other| *other != node)
    }

    /// Whether the node stands for election in that term, anywhere in the trace.
    pub fn campaigns(&self, of: Option<NodeId>, in_term: Term) -> bool {
        (0..self.events.len())
            .filter_map(|q| self.node_event(q))
            .any(|(node, event)| of.is_none_or(|of| of == node) && matches!(event, Node::Campaign { term } if *term == in_term))
    }
}

/// Whether it is a change of the log's durable bytes. What is in the files of snapshots is no part of a step.
pub(super) fn of_log(event: &Event) -> bool {
    matches!(event, Event::World(WorldEvent::Disk { file, .. }) if file.starts_with("wal-"))
}

/// The command in an accepted Record or in a leader's new entry.
pub(super) fn taken(event: &Node) -> Option<&Proposal<Request>> {
    match event {
        Node::WitnessRecord { proposal, accepted: true, .. } => Some(proposal),
        Node::LeaderPropose { entry, .. } => match &entry.payload {
            Payload::Command(proposal) => Some(proposal),
            Payload::Noop | Payload::SessionBegin { .. } | Payload::SessionEnd { .. } => None,
            Payload::Own { .. } | Payload::Config { .. } | Payload::Shutdown => None,
        },
        _ => None,
    }
}

/// The action of the specification that an event is.
pub(super) fn name(event: &Event) -> &'static str {
    match event {
        Event::Client(ClientEvent::Propose { .. }) => "Propose",
        Event::Client(ClientEvent::FastComplete { .. }) => "FastComplete",
        Event::Client(ClientEvent::SyncedComplete { .. }) => "SyncedComplete",
        Event::Client(ClientEvent::SendKeepAlive { .. }) => "SendKeepAlive",
        Event::Client(_) => "client",
        Event::World(WorldEvent::Disk { .. }) => "Persist",
        Event::World(WorldEvent::Crash { .. }) => "Crash",
        Event::World(_) => "world",
        Event::Lease(event) => super::leases::name(event),
        Event::Node(event) => match event {
            Node::Restart { .. } => "Restart",
            Node::UpdateTerm { .. } => "UpdateTerm",
            Node::StepDown { .. } => "StepDown",
            Node::Campaign { .. } => "Campaign",
            Node::GrantVote { .. } => "GrantVote",
            Node::RepeatVote { .. } => "RepeatVote",
            Node::BecomeLeader { .. } => "BecomeLeader",
            Node::OpenFastPath { .. } => "OpenFastPath",
            Node::LeaderPropose { entry, .. } => match entry.payload {
                Payload::SessionBegin { .. } => "SessionBegin",
                Payload::SessionEnd { .. } => "SessionEnd",
                Payload::Config { .. } => "AppendConfig",
                Payload::Shutdown => "AppendShutdown",
                Payload::Own { .. } => "AppendOwn",
                Payload::Command(_) | Payload::Noop => "LeaderPropose",
            },
            Node::WitnessRecord { .. } => "WitnessRecord",
            Node::AcceptEntries { .. } => "AcceptEntries",
            Node::Matched { .. } => "Matched",
            Node::AdvanceCommit { counted: true, .. } => "AdvanceCommit",
            Node::AdvanceCommit { counted: false, .. } => "FollowCommit",
            Node::Execute { .. } => "Execute",
            Node::Apply { .. } => "Apply",
            Node::PoolDrop { .. } => "PoolDrop",
            Node::ReadRequest { .. } => "ReadRequest",
            Node::ReadIndex { .. } => "ReadIndex",
            Node::ServeRead { .. } => "ServeRead",
            Node::UseConfig { .. } => "UseConfig",
            Node::TakeSnapshot { .. } => "TakeSnapshot",
            Node::CompactLog { .. } => "CompactLog",
            Node::InstallSnapshot { .. } => "InstallSnapshot",
            Node::TransferLeader { .. } => "TransferLeader",
            Node::ShutDown { .. } => "ShutDown",
            Node::SaveState { .. } => "SaveState",
            Node::LoadState { .. } => "LoadState",
        },
    }
}
