//! A cluster in which everything that consensus does goes well at once: for tests of what stands on it. It promises nothing durable, so only some
//! of the checks are to be asked what they think of it.

use std::sync::Arc;

use curp::{Applied, Event as NodeEvent, Index, NodeId, Payload, Proposal, ProposeId, Synced, Term};
use history::{ClientEvent, Event, Stamped, TraceHeader, WorldEvent};
use kv::{LeaseEvent, LeaseGrantRequest, LeaseId, LeaseRevokeRequest, PutRequest, Request, Response};

use super::super::disk::Entry;
use super::super::{Monitor, Violation};
use crate::replay::Replay;

const MS: u64 = 1_000_000;
pub const CLIENT: u32 = 7;

pub fn put(key: &str, value: &str, lease: LeaseId) -> Request {
    Request::Put(PutRequest { key: key.into(), value: value.into(), lease, ..PutRequest::default() })
}

pub fn grant(id: LeaseId, ttl: i64) -> Request {
    Request::LeaseGrant(LeaseGrantRequest { ttl, id })
}

pub fn revoke(id: LeaseId, stamp: Option<Term>) -> Request {
    Request::LeaseRevoke(LeaseRevokeRequest { id, stamp })
}

pub struct Stage {
    pub monitor: Monitor,
    pub store: Replay,
    pub leader: NodeId,
    pub term: Term,
    t: u64,
    i: u64,
    pub index: Index,
    seq: u64,
    round: u64,
}

impl Stage {
    /// Node 1 leads in term 1, at 0 ms.
    pub fn new(drift_ppm: u32) -> Stage {
        let header = TraceHeader { format: 1, engine: "direct".into(), scenario: "test".into(), seed: 0, voters: vec![1, 2, 3], drift_ppm };
        let monitor = Monitor::new(&header);
        let mut stage = Stage { monitor, store: Replay::default(), leader: 1, term: 1, t: 0, i: 0, index: 0, seq: 0, round: 0 };
        stage.lead(1, 1);
        stage
    }

    pub fn at(&mut self, ms: u64) -> &mut Stage {
        self.t = ms * MS;
        self
    }

    fn emit(&mut self, node: Option<NodeId>, client: Option<u32>, event: Event) {
        self.monitor.observe(&Stamped { i: self.i, t: self.t, node, client, event });
        self.i += 1;
    }

    pub fn node(&mut self, node: NodeId, event: NodeEvent<Request>) {
        self.emit(Some(node), None, Event::Node(event));
    }

    pub fn lease(&mut self, node: NodeId, event: LeaseEvent) {
        self.emit(Some(node), None, Event::Lease(event));
    }

    pub fn client(&mut self, event: ClientEvent) {
        self.client_of(CLIENT, event);
    }

    pub fn client_of(&mut self, client: u32, event: ClientEvent) {
        self.emit(None, Some(client), Event::Client(event));
    }

    pub fn world(&mut self, node: NodeId, event: WorldEvent) {
        self.emit(Some(node), None, Event::World(event));
    }

    pub fn heal(&mut self) {
        self.emit(None, None, Event::World(WorldEvent::Heal));
    }

    /// The reading of every clock.
    pub fn now(&self) -> u64 {
        self.t
    }

    /// A node takes office, and promotes the leases.
    pub fn lead(&mut self, node: NodeId, term: Term) {
        if node != self.leader {
            let (old, over) = (self.leader, self.term);
            self.node(old, NodeEvent::UpdateTerm { term });
            self.lease(old, LeaseEvent::DemoteLeases { term: over });
        }
        (self.leader, self.term) = (node, term);
        self.index += 1;
        let entry = Arc::new(Entry { term, index: self.index, payload: Payload::Noop });
        self.node(node, NodeEvent::BecomeLeader { term, quorum: vec![1, 2], entries: vec![Arc::clone(&entry)] });
        self.agree(&entry);
        self.applied(node, &entry, Applied::Nothing);
        self.node(node, NodeEvent::OpenFastPath { term });
        self.lease(node, LeaseEvent::PromoteLeases { term, now: self.t });
    }

    fn agree(&mut self, entry: &Arc<Entry>) {
        let (term, from) = (self.term, self.leader);
        for to in (1..=3).filter(|to| *to != from) {
            self.node(to, NodeEvent::AcceptEntries { term, from, truncated: false, entries: vec![Arc::clone(entry)] });
        }
        self.node(from, NodeEvent::AdvanceCommit { term, commit: entry.index, counted: true });
    }

    pub fn applied(&mut self, node: NodeId, entry: &Entry, outcome: Applied<Response>) {
        self.node(node, NodeEvent::Apply { index: entry.index, id: entry.id(), outcome, state_hash: entry.index });
    }

    /// The leader's log gets an entry, and it is committed.
    pub fn append(&mut self, payload: Payload<Request>) -> Arc<Entry> {
        self.index += 1;
        let entry = Arc::new(Entry { term: self.term, index: self.index, payload });
        self.node(self.leader, NodeEvent::LeaderPropose { entry: Arc::clone(&entry), fast: false });
        self.agree(&entry);
        entry
    }

    /// A client proposes, as this operation of the plan; the entry is committed.
    pub fn propose(&mut self, op: u64, request: &Request) -> Arc<Entry> {
        self.seq += 1;
        let id = ProposeId { client: 2, seq: self.seq };
        self.client(ClientEvent::Propose { op, id: Some(id), first_incomplete: Some(1), read: None, request: request.clone() });
        self.append(Payload::Command(Arc::new(Proposal { id, first_incomplete: 1, command: Arc::new(request.clone()) })))
    }

    /// Applies an entry as it should be, on the leader.
    pub fn take(&mut self, entry: &Entry) -> Synced<Response> {
        let response = self.store.apply_in(Some(entry.term), entry.command().expect("a command"));
        let synced = Synced { revision: self.store.revision(), response };
        self.applied(self.leader, entry, Applied::Done(synced.clone()));
        synced
    }

    /// A client's request from its proposal to its answer.
    pub fn run(&mut self, op: u64, request: &Request) -> Synced<Response> {
        let entry = self.propose(op, request);
        let synced = self.take(&entry);
        let id = entry.id().expect("a client's");
        self.client(ClientEvent::SyncedComplete { op, id, synced: synced.clone() });
        synced
    }

    /// The leader's own command, committed.
    pub fn own(&mut self, request: Request) -> Arc<Entry> {
        self.append(Payload::Own { command: Arc::new(request) })
    }

    /// A lease expires as it should.
    pub fn expire(&mut self, lease: LeaseId) {
        let (leader, term, now) = (self.leader, self.term, self.t);
        self.lease(leader, LeaseEvent::DecideExpiry { term, lease, now });
        let entry = self.own(revoke(lease, Some(term)));
        self.take(&entry);
    }

    /// A leader begins a round for a read, and learns that it led.
    pub fn confirm(&mut self, read: (u32, u64)) {
        self.round += 1;
        let (leader, term, round, index) = (self.leader, self.term, self.round, self.index);
        self.node(leader, NodeEvent::ReadRequest { term, round, read, index });
        self.node(leader, NodeEvent::ReadIndex { term, round, quorum: vec![1, 2] });
    }

    /// A keep-alive that was sent at this moment is received and answered now.
    pub fn keep_alive(&mut self, lease: LeaseId, number: u64, sent_ms: u64, ttl: i64) {
        let (t, read) = (self.t, (CLIENT, number));
        self.at(sent_ms).client(ClientEvent::SendKeepAlive { op: 90, lease, read });
        self.t = t;
        self.confirm(read);
        let (leader, term) = (self.leader, self.term);
        let deadline = Some(t + u64::try_from(ttl).unwrap_or(0) * 1_000 * MS);
        self.lease(leader, LeaseEvent::ReceiveKeepAlive { term, lease, read, now: t, deadline });
        self.lease(leader, LeaseEvent::AnswerKeepAlive { term, lease, read, ttl });
        self.client(ClientEvent::KeptAlive { op: 90, lease, read, ttl });
    }

    /// What these checks found.
    fn found(&mut self, checks: &[&str]) -> Vec<Violation> {
        self.monitor.finish();
        self.monitor.violations().iter().filter(|v| checks.contains(&v.check)).cloned().collect()
    }

    /// Nothing that stands on consensus objects.
    #[track_caller]
    pub fn quiet(&mut self) {
        let checks = ["leases", "watch", "revisions", "lock", "registry", "authorisation", "zookeeper"];
        let found = self.found(&checks);
        assert!(found.is_empty(), "{found:#?}");
    }

    /// This rule was broken, and the sentence says so.
    #[track_caller]
    pub fn broken(&mut self, check: &str, rule: &str, says: &str) {
        let found = self.found(&[check]);
        let Some(violation) = found.iter().find(|v| v.rule == rule) else { panic!("{check}: `{rule}` was not reported, but {found:#?}") };
        assert!(violation.message.contains(says), "{}", violation.message);
    }
}
