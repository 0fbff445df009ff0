//! From the events of a trace to the steps of the specification.
//!
//! A step is a record: `a` names the action, `i` is the event's number, the other fields are what the action says it did. An event gives no step,
//! one, or several (AcceptEntries has one for each entry; a disk one for its records, and one for a snapshot that is complete). Every kind of event
//! is named here, so that a new one must be decided upon. What no field carries (results, revisions, hashes, members' addresses) is for the
//! checkers in sim/check; see traces/README.md.

use curp::{Applied, ConfigCause, ConfigVersion, Event as NodeEvent, Index, Membership, NodeId, Payload, Synced};
use history::{ClientEvent, Event, Stamped, WorldEvent};
use kv::{LeaseKeepAliveRequest, Request, Response};
use std::collections::{BTreeMap, BTreeSet};

use crate::disk::{Change, Disk, Written};
use crate::tables::{ReadId, Tables};
use crate::value::{INT_MAX, Value};

/// The kind of a fault.
const STORE_CUT: &str = "store_cut";

/// One step of the specification.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Position of its event in the trace, from 0.
    pub position: usize,
    /// The event's own number.
    pub event: u64,
    /// The action's name.
    pub action: &'static str,
    /// The record, `a` and `i` included.
    pub record: Value,
}

/// A trace that cannot be told in steps: it contradicts its own format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// An event of a node without the node.
    #[error("event {0} happened on a node, but does not say on which")]
    NoNode(u64),
    /// An event of a client without the client.
    #[error("event {0} happened on a client, but does not say on which")]
    NoClient(u64),
    /// A leader took a read that no client began.
    #[error("event {event} is about read {}.{}, which no client began before it", read.0, read.1)]
    UnknownRead {
        /// The event.
        event: u64,
        /// The read.
        read: (u32, u64),
    },
    /// A number that TLC cannot compute with.
    #[error("event {event} has the number {number}, and TLC computes with numbers up to {INT_MAX} only")]
    TooLarge {
        /// The event.
        event: u64,
        /// The number.
        number: u64,
    },
}

/// The steps of a trace, named by `tables`, which learn what is new to them.
///
/// # Errors
/// [`ConvertError`]: the first event that cannot be told.
pub fn steps(tables: &mut Tables, events: &[Stamped]) -> Result<Vec<Step>, ConvertError> {
    let mut converter = Converter {
        tables,
        disks: BTreeMap::new(),
        lost: BTreeSet::new(),
        asked: BTreeMap::new(),
        loaded: BTreeMap::new(),
        running: BTreeSet::new(),
        stopping: BTreeSet::new(),
        cut: BTreeSet::new(),
        out: Vec::new(),
    };
    for (position, stamped) in events.iter().enumerate() {
        converter.event(stamped)?;
        let Converter { out, .. } = &mut converter;
        for step in out.iter_mut().rev().take_while(|step| step.position == usize::MAX) {
            step.position = position;
            if let Some(number) = step.record.too_large() {
                return Err(ConvertError::TooLarge { event: step.event, number });
            }
        }
    }
    Ok(converter.out)
}

struct Converter<'t> {
    tables: &'t mut Tables,
    disks: BTreeMap<NodeId, Disk>,
    /// Nodes whose disk was lost.
    lost: BTreeSet<NodeId>,
    /// Numbers of the requests made so far for each read.
    asked: BTreeMap<ReadId, Vec<u64>>,
    /// Nodes about to start from what a store of theirs held, and up to where that is applied.
    loaded: BTreeMap<NodeId, Index>,
    /// Nodes that have said what they start from, and did not crash since.
    running: BTreeSet<NodeId>,
    /// Nodes that have stopped by themselves, over what their disk did, and did not crash since.
    stopping: BTreeSet<NodeId>,
    /// Nodes whose power may fail at any call on their store's file.
    cut: BTreeSet<NodeId>,
    out: Vec<Step>,
}

/// The fields of a step.
type Fields = Vec<(&'static str, Value)>;

impl Converter<'_> {
    fn event(&mut self, stamped: &Stamped) -> Result<(), ConvertError> {
        let i = stamped.i;
        match &stamped.event {
            Event::Node(event) => self.node(i, stamped.node.ok_or(ConvertError::NoNode(i))?, event),
            Event::Client(event) => {
                stamped.client.ok_or(ConvertError::NoClient(i))?;
                self.client(i, event);
                Ok(())
            }
            Event::World(event) => self.world(i, stamped.node, event),
            // TraceLease.tla's: crate::lease.
            Event::Lease(_) => Ok(()),
        }
    }

    fn push(&mut self, event: u64, action: &'static str, fields: Fields) {
        let mut record = vec![("a", Value::Text(action)), ("i", Value::Int(event))];
        record.extend(fields);
        self.out.push(Step { position: usize::MAX, event, action, record: Value::Record(record) });
    }

    fn client(&mut self, i: u64, event: &ClientEvent) {
        let t = &mut *self.tables;
        match event {
            ClientEvent::Propose { id: Some(id), first_incomplete, request, .. } => {
                let fi = first_incomplete.unwrap_or(0);
                let c = t.propose(*id, fi, request);
                self.push(i, "Propose", vec![("c", c), ("fi", Value::Int(fi))]);
            }
            ClientEvent::Propose { id: None, read: Some(read), request, .. } => t.read(*read, request),
            // One of a stream begins a read as well.
            ClientEvent::SendKeepAlive { lease, read, .. } => {
                t.read(*read, &Request::LeaseKeepAlive(LeaseKeepAliveRequest { id: *lease }));
            }
            ClientEvent::FastComplete { id, term, config, nodes, .. } => {
                let fields = vec![("c", t.command(*id)), ("t", t.term(*term)), ("ver", version(t, *config)), ("q", t.node_set(nodes))];
                self.push(i, "FastComplete", fields);
            }
            ClientEvent::SyncedComplete { id, .. } => {
                let c = t.command(*id);
                self.push(i, "SyncedComplete", vec![("c", c)]);
            }
            ClientEvent::SessionOpen { session } => _ = t.session(*session),
            ClientEvent::ReadComplete { .. } | ClientEvent::GiveUp { .. } | ClientEvent::Fail { .. } | ClientEvent::ClientCrash => {}
            // No part of CURP's specification.
            _ => {}
        }
    }

    fn world(&mut self, i: u64, node: Option<NodeId>, event: &WorldEvent) -> Result<(), ConvertError> {
        let at = node;
        let node = || at.ok_or(ConvertError::NoNode(i));
        match event {
            WorldEvent::Disk { file, offset, data } => {
                let node = node()?;
                let changes = self.disks.entry(node).or_default().change(file, *offset, data.as_slice());
                self.disk(i, node, changes);
            }
            WorldEvent::DiskRemove { file } => {
                let node = node()?;
                let changes = self.disks.entry(node).or_default().remove(file);
                self.disk(i, node, changes);
            }
            // All at once, and for ever: what is said of its files after that is no news.
            WorldEvent::DiskLost => {
                let node = node()?;
                self.lost.insert(node);
                let n = self.tables.node(node);
                self.push(i, "LoseDisk", vec![("n", n)]);
            }
            // A start that failed before the node could say what it found. Without a reason for that, it is a crash of nothing.
            WorldEvent::Crash { .. } => {
                let node = node()?;
                let reason = self.stopping.remove(&node) || self.cut.contains(&node);
                let failed_start = !self.running.remove(&node) && reason;
                let n = self.tables.node(node);
                self.push(i, if failed_start { "FailStart" } else { "Crash" }, vec![("n", n)]);
            }
            WorldEvent::Fatal { .. } => _ = self.stopping.insert(node()?),
            WorldEvent::Fault { kind, .. } if kind == STORE_CUT => self.cut.extend(at),
            // A message that waits for nothing durable is caught by what its receiver does with it; a node that stops itself does not act.
            WorldEvent::Send { .. } | WorldEvent::Pause | WorldEvent::Resume => {}
            WorldEvent::Fault { .. } | WorldEvent::FaultEnd { .. } | WorldEvent::Heal => {}
        }
        Ok(())
    }

    fn disk(&mut self, i: u64, node: NodeId, changes: Vec<Change>) {
        if self.lost.contains(&node) {
            return;
        }
        for change in changes {
            match change {
                Change::Written(written) => self.persist(i, node, &written),
                Change::Saved { index, term } => {
                    let t = &mut *self.tables;
                    let fields = vec![("n", t.node(node)), ("idx", Value::Int(index)), ("st", t.term(term))];
                    self.push(i, "SaveSnapshot", fields);
                }
            }
        }
    }

    fn persist(&mut self, i: u64, node: NodeId, written: &Written) {
        let entries = written.entries.iter().map(|entry| self.entry(entry)).collect();
        let t = &mut *self.tables;
        let fields = vec![
            ("n", t.node(node)),
            ("k", Value::Int(written.records)),
            ("unseen", Value::Bool(written.unseen)),
            ("t", t.term(written.hard.term)),
            ("v", nobody_or(t, written.hard.vote)),
            ("com", Value::Int(written.hard.commit)),
            ("kept", Value::Int(written.kept)),
            ("es", Value::Seq(entries)),
            ("pool", t.command_set(written.pool.iter().copied())),
            ("snap", Value::Int(written.snapshot.index)),
            ("st", t.term(written.snapshot.term)),
            ("cut", Value::Bool(written.cut)),
        ];
        self.push(i, "Persist", fields);
    }

    fn entry(&mut self, entry: &curp::Entry<Request>) -> Value {
        let t = &mut *self.tables;
        let (kind, value, fi) = match &entry.payload {
            Payload::Noop => ("noop", Value::Int(0), 0),
            Payload::Command(proposal) => ("cmd", t.proposal(proposal), proposal.first_incomplete),
            Payload::SessionBegin { .. } => ("begin", t.session(entry.index), 0),
            Payload::SessionEnd { client } => ("end", t.session(*client), 0),
            Payload::Config { .. } => ("config", Value::Int(0), 0),
            Payload::Shutdown => ("shut", Value::Int(0), 0),
            Payload::Own { .. } => ("own", Value::Int(0), 0),
        };
        let (voters, learners) = entry.membership().map_or((&[][..], &[][..]), |m| (&m.voters, &m.learners));
        Value::Record(vec![
            ("t", t.term(entry.term)),
            ("k", Value::Text(kind)),
            ("v", value),
            ("cfg", t.node_set(voters)),
            ("lrn", t.node_set(learners)),
            ("fi", Value::Int(fi)),
        ])
    }

    fn node(&mut self, i: u64, node: NodeId, event: &NodeEvent<Request>) -> Result<(), ConvertError> {
        let n = self.tables.node(node);
        let t = &mut *self.tables;
        match event {
            NodeEvent::Restart { term, vote, commit, last_index, last_term, pool, base, snapshot, state_hash: _, membership } => {
                let fields = vec![
                    ("n", n),
                    ("t", t.term(*term)),
                    ("v", nobody_or(t, *vote)),
                    ("com", Value::Int(*commit)),
                    ("last", Value::Int(*last_index)),
                    ("lt", t.term(*last_term)),
                    ("pool", t.command_set(pool.iter().copied())),
                    ("base", Value::Int(base.index)),
                    ("snap", Value::Int(*snapshot)),
                    ("st", Value::Int(self.loaded.remove(&node).unwrap_or(*snapshot))),
                ];
                let in_force = members(t, membership);
                self.push(i, "Restart", fields.into_iter().chain(in_force).collect());
                self.running.insert(node);
            }
            NodeEvent::LoadState { index, .. } => _ = self.loaded.insert(node, *index),
            NodeEvent::SaveState { index } => self.push(i, "SaveState", vec![("n", n), ("idx", Value::Int(*index))]),
            NodeEvent::UpdateTerm { term } => self.of_term(i, "UpdateTerm", n, *term),
            NodeEvent::StepDown { term } => self.of_term(i, "StepDown", n, *term),
            NodeEvent::Campaign { term } => self.of_term(i, "Campaign", n, *term),
            NodeEvent::OpenFastPath { term } => self.of_term(i, "OpenFastPath", n, *term),
            NodeEvent::GrantVote { term, candidate, pool } | NodeEvent::RepeatVote { term, candidate, pool } => {
                let action = if matches!(event, NodeEvent::GrantVote { .. }) { "GrantVote" } else { "RepeatVote" };
                let fields =
                    vec![("n", n), ("to", t.node(*candidate)), ("t", t.term(*term)), ("pool", t.command_set(pool.iter().copied()))];
                self.push(i, action, fields);
            }
            NodeEvent::BecomeLeader { term, quorum, entries } => {
                let head = [("n", n), ("t", t.term(*term)), ("q", t.node_set(quorum))];
                let entries = entries.iter().map(|entry| self.entry(entry)).collect();
                self.push(i, "BecomeLeader", head.into_iter().chain([("es", Value::Seq(entries))]).collect());
            }
            NodeEvent::LeaderPropose { entry, fast } => self.leader_propose(i, n, entry, *fast),
            NodeEvent::WitnessRecord { term, asked, config, proposal, accepted, inserted } => {
                let c = t.proposal(proposal);
                if *accepted {
                    let head = [("n", n), ("c", c), ("t", t.term(*term)), ("asked", t.term(*asked)), ("ver", version(t, *config))];
                    let tail = [("new", Value::Bool(*inserted)), ("fi", Value::Int(proposal.first_incomplete))];
                    self.push(i, "WitnessRecord", head.into_iter().chain(tail).collect());
                }
            }
            NodeEvent::AcceptEntries { term, from, truncated, entries } => {
                let (l, t) = (t.node(*from), t.term(*term));
                for (place, entry) in entries.iter().enumerate() {
                    let e = self.entry(entry);
                    let cut = Value::Bool(*truncated && place == 0);
                    let (n, l, t) = (n.clone(), l.clone(), t.clone());
                    self.push(
                        i,
                        "AcceptEntries",
                        vec![("n", n), ("l", l), ("t", t), ("idx", Value::Int(entry.index)), ("e", e), ("cut", cut)],
                    );
                }
            }
            NodeEvent::Matched { term, peer, index } => {
                let fields = vec![("n", n), ("m", t.node(*peer)), ("t", t.term(*term)), ("k", Value::Int(*index))];
                self.push(i, "Matched", fields);
            }
            NodeEvent::AdvanceCommit { term, commit, counted } => {
                let action = if *counted { "AdvanceCommit" } else { "FollowCommit" };
                let fields = vec![("n", n), ("t", t.term(*term)), ("k", Value::Int(*commit))];
                self.push(i, action, fields);
            }
            NodeEvent::Execute { term, id, index, .. } => {
                let fields = vec![("n", n), ("c", t.command(*id)), ("t", t.term(*term)), ("idx", Value::Int(*index))];
                self.push(i, "Execute", fields);
            }
            NodeEvent::Apply { index, id, outcome, .. } => {
                let (c, out) = (id.map_or(Value::Int(0), |id| t.command(id)), applied(outcome));
                self.push(i, "Apply", vec![("n", n), ("idx", Value::Int(*index)), ("c", c), ("out", Value::Text(out))]);
            }
            NodeEvent::PoolDrop { id } => {
                let c = t.command(*id);
                self.push(i, "PoolDrop", vec![("n", n), ("c", c)]);
            }
            NodeEvent::ReadRequest { term, round, read, index } => {
                if !t.knows_read(*read) {
                    return Err(ConvertError::UnknownRead { event: i, read: *read });
                }
                let r = t.read_request(*term, *round, Some(*read));
                self.asked.entry(*read).or_default().push(r);
                let fields = vec![("n", n), ("r", Value::Int(r)), ("t", t.term(*term)), ("idx", Value::Int(*index))];
                self.push(i, "ReadRequest", fields);
            }
            NodeEvent::ReadIndex { term, round, quorum } => {
                let r = Value::Int(t.read_request(*term, *round, None));
                let fields = vec![("n", n), ("r", r), ("t", t.term(*term)), ("q", t.node_set(quorum))];
                self.push(i, "ReadIndex", fields);
            }
            NodeEvent::UseConfig { term, membership, cause } => {
                let head = [("n", n), ("t", t.term(*term))];
                let tail = members(t, membership).into_iter().chain([("why", Value::Text(why(*cause)))]);
                self.push(i, "UseConfig", head.into_iter().chain(tail).collect());
            }
            NodeEvent::TakeSnapshot { index, term, state_hash: _ } => {
                let fields = vec![("n", n), ("idx", Value::Int(*index)), ("st", t.term(*term))];
                self.push(i, "TakeSnapshot", fields);
            }
            NodeEvent::CompactLog { base } => {
                let fields = vec![("n", n), ("idx", Value::Int(base.index)), ("st", t.term(base.term))];
                self.push(i, "CompactLog", fields);
            }
            NodeEvent::InstallSnapshot { term, from, index, last_term, state_hash: _ } => {
                let head = [("n", n), ("l", t.node(*from)), ("t", t.term(*term))];
                let tail = [("idx", Value::Int(*index)), ("st", t.term(*last_term))];
                self.push(i, "InstallSnapshot", head.into_iter().chain(tail).collect());
            }
            NodeEvent::TransferLeader { term, to } => {
                let fields = vec![("n", n), ("to", t.node(*to)), ("t", t.term(*term))];
                self.push(i, "TransferLeader", fields);
            }
            NodeEvent::ShutDown { index } => {
                self.push(i, "ShutDown", vec![("n", n), ("idx", Value::Int(*index))]);
            }
            NodeEvent::ServeRead { read, read_index, applied } => {
                let requests = Value::ints(self.asked.get(read).into_iter().flatten().copied());
                let fields = vec![("n", n), ("rs", requests), ("idx", Value::Int(*read_index)), ("app", Value::Int(*applied))];
                self.push(i, "ServeRead", fields);
            }
        }
        Ok(())
    }

    fn of_term(&mut self, i: u64, action: &'static str, n: Value, term: u64) {
        let t = self.tables.term(term);
        self.push(i, action, vec![("n", n), ("t", t)]);
    }

    fn leader_propose(&mut self, i: u64, n: Value, entry: &curp::Entry<Request>, fast: bool) {
        let t = &mut *self.tables;
        let (term, index) = (t.term(entry.term), Value::Int(entry.index));
        match &entry.payload {
            Payload::Command(proposal) => {
                let head = [("n", n), ("c", t.proposal(proposal)), ("t", term), ("idx", index)];
                let tail = [("fast", Value::Bool(fast)), ("fi", Value::Int(proposal.first_incomplete))];
                self.push(i, "LeaderPropose", head.into_iter().chain(tail).collect());
            }
            Payload::SessionBegin { .. } => {
                t.session(entry.index);
                self.push(i, "SessionBegin", vec![("n", n), ("t", term), ("idx", index)]);
            }
            Payload::SessionEnd { client } => {
                let cl = t.session(*client);
                self.push(i, "SessionEnd", vec![("n", n), ("t", term), ("idx", index), ("cl", cl)]);
            }
            Payload::Config { membership, .. } => {
                let in_force = members(t, membership);
                let head = [("n", n), ("t", term), ("idx", index)];
                self.push(i, "AppendConfig", head.into_iter().chain(in_force).collect());
            }
            Payload::Own { .. } => self.push(i, "AppendOwn", vec![("n", n), ("t", term), ("idx", index)]),
            Payload::Shutdown => self.push(i, "AppendShutdown", vec![("n", n), ("t", term), ("idx", index)]),
            // No leader proposes one: a no-op comes with BecomeLeader. The specification has no such action, and refuses it.
            Payload::Noop => self.push(i, "LeaderProposeNoop", vec![("n", n), ("t", term), ("idx", index)]),
        }
    }
}

fn nobody_or(tables: &mut Tables, vote: Option<NodeId>) -> Value {
    vote.map_or(Value::Int(0), |node| tables.node(node))
}

fn version(tables: &mut Tables, version: ConfigVersion) -> Value {
    Value::Seq(vec![tables.term(version.term), Value::Int(version.index)])
}

/// A configuration's version, voters and learners.
fn members(tables: &mut Tables, membership: &Membership) -> [(&'static str, Value); 3] {
    let version = version(tables, membership.version);
    [("ver", version), ("vs", tables.node_set(&membership.voters)), ("ls", tables.node_set(&membership.learners))]
}

fn why(cause: ConfigCause) -> &'static str {
    match cause {
        ConfigCause::Appended => "appended",
        ConfigCause::Undone => "undone",
        ConfigCause::Installed => "installed",
    }
}

fn applied(outcome: &Applied<Response>) -> &'static str {
    match outcome {
        Applied::Nothing => "nothing",
        Applied::Done(Synced { .. }) => "done",
        Applied::Duplicate => "dup",
        Applied::Refused => "refused",
        Applied::SessionBegun => "begun",
        Applied::SessionEnded => "ended",
        Applied::Configured => "configured",
        Applied::ShutDown => "shutdown",
    }
}

#[cfg(test)]
mod tests;
