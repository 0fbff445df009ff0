//! A small cluster that does everything by the book, one step at a time, with real durable bytes. Tests lead it where they want it and
//! then emit what a bug would.

use std::collections::BTreeMap;
use std::sync::Arc;

use curp::{Applied, ConfigVersion, Event as NodeEvent, HardState, Index, NodeId, Payload, ProposeId, Record, Synced, Term};
use history::{ClientEvent, Event, Promise, Stamped, TraceHeader, WorldEvent};
use kv::{KeyValue, PutRequest, Request, Response};
use storage::{FileOp, Wal};

use super::super::disk::{Entry, Proposal};
use super::super::{Monitor, Violation};

/// The one session of the tests: its SessionBegin is entry 2, after the first leader's no-op.
pub const SESSION: u64 = 2;

pub fn id(seq: u64) -> ProposeId {
    ProposeId { client: SESSION, seq }
}

/// A put that asks for what was there: two puts of one key observe each other.
pub fn put(key: &str, value: &str) -> Request {
    Request::Put(PutRequest { key: key.into(), value: value.into(), prev_kv: true })
}

pub fn proposal(seq: u64, request: &Request) -> Arc<Proposal> {
    Arc::new(Proposal { id: id(seq), first_incomplete: 1, command: Arc::new(request.clone()) })
}

pub fn entry(term: Term, index: Index, proposal: &Arc<Proposal>) -> Arc<Entry> {
    Arc::new(Entry { term, index, payload: Payload::Command(Arc::clone(proposal)) })
}

/// The state machine: puts only.
#[derive(Clone, Default)]
pub struct Store {
    pub keys: BTreeMap<String, KeyValue>,
    pub revision: u64,
    applied: Vec<ProposeId>,
    pub hash: u64,
}

impl Store {
    pub fn execute(&self, request: &Request) -> Response {
        let Request::Put(put) = request else { panic!("puts only") };
        Response::Put { prev_kv: self.keys.get(&put.key.to_string()).cloned() }
    }

    fn apply(&mut self, entry: &Entry) -> Applied<Response> {
        self.hash = self.hash.wrapping_mul(31).wrapping_add(entry.index * 1000 + entry.term);
        let proposal = match &entry.payload {
            Payload::Command(proposal) => proposal,
            Payload::Noop => return Applied::Nothing,
            Payload::SessionBegin { .. } => return Applied::SessionBegun,
            Payload::SessionEnd { .. } => return Applied::SessionEnded,
            Payload::Config { .. } => return Applied::Configured,
            Payload::Shutdown => return Applied::ShutDown,
        };
        if self.applied.contains(&proposal.id) {
            return Applied::Duplicate;
        }
        self.applied.push(proposal.id);
        let response = self.execute(&proposal.command);
        let Request::Put(put) = &*proposal.command else { panic!("puts only") };
        let revision = self.revision.max(1) + 1;
        let old = self.keys.get(&put.key.to_string());
        let kv = KeyValue {
            key: put.key.clone(),
            value: put.value.clone(),
            create_revision: old.map_or(revision, |kv| kv.create_revision),
            mod_revision: revision,
            version: old.map_or(1, |kv| kv.version + 1),
        };
        self.keys.insert(put.key.to_string(), kv);
        self.revision = revision;
        Applied::Done(Synced { revision, response })
    }
}

/// A node as it should be.
pub struct Model {
    pub term: Term,
    pub vote: Option<NodeId>,
    pub log: Vec<Arc<Entry>>,
    pub pool: Vec<Arc<Proposal>>,
    pub commit: Index,
    durable_commit: Index,
    pub done: Index,
    pub store: Store,
    wal: Wal,
    files: BTreeMap<String, Vec<u8>>,
}

/// The cluster, the monitor that watches it, and how many events there were.
pub struct Cluster {
    pub monitor: Monitor,
    pub nodes: BTreeMap<NodeId, Model>,
    pub events: Vec<Stamped>,
    /// Keep the events, for measurements.
    pub keep: bool,
    i: u64,
}

impl Cluster {
    pub fn new(n: u32) -> Cluster {
        let voters: Vec<_> = (1..=n).collect();
        let header = TraceHeader { format: 1, engine: "direct".into(), scenario: "test".into(), seed: 0, voters: voters.clone() };
        let mut cluster = Cluster { monitor: Monitor::new(&header), nodes: BTreeMap::new(), events: Vec::new(), keep: false, i: 0 };
        for node in voters {
            let recovered = storage::recover::<Request>(&BTreeMap::new()).expect("an empty directory");
            let model = Model {
                term: 0,
                vote: None,
                log: Vec::new(),
                pool: Vec::new(),
                commit: 0,
                durable_commit: 0,
                done: 0,
                store: Store::default(),
                wal: recovered.wal,
                files: BTreeMap::new(),
            };
            cluster.nodes.insert(node, model);
            cluster.perform(node, recovered.repairs);
        }
        cluster
    }

    /// Node 1 leads term 1 with an open fast path, and session [`SESSION`] is open; everyone has applied everything.
    pub fn ready(n: u32) -> Cluster {
        let mut c = Cluster::new(n);
        let voters: Vec<_> = (2..=n / 2 + 1).collect();
        c.elect(1, 1, &voters);
        c.settle(1);
        c.node(1, NodeEvent::OpenFastPath { term: 1 });
        c.append(1, Payload::SessionBegin { nonce: 7 }, false);
        c.settle(1);
        c
    }

    pub fn emit(&mut self, node: Option<NodeId>, event: Event) {
        let stamped = Stamped { i: self.i, t: self.i * 1000, node, client: None, event };
        self.i += 1;
        self.monitor.observe(&stamped);
        if self.keep {
            self.events.push(stamped);
        }
    }

    pub fn node(&mut self, node: NodeId, event: NodeEvent<Request>) {
        self.emit(Some(node), Event::Node(event));
    }

    pub fn client(&mut self, event: ClientEvent) {
        self.emit(None, Event::Client(event));
    }

    pub fn world(&mut self, node: NodeId, event: WorldEvent) {
        self.emit(Some(node), Event::World(event));
    }

    pub fn send(&mut self, node: NodeId, to: Option<NodeId>, promise: Promise) {
        self.world(node, WorldEvent::Send { to, promise });
    }

    fn perform(&mut self, node: NodeId, ops: Vec<FileOp>) {
        for op in ops {
            if let FileOp::Create { file } = &op {
                self.world(node, WorldEvent::Disk { file: file.clone(), offset: 0, data: Vec::new().into() });
            }
            if let FileOp::Append { file, data } = op {
                let bytes = self.model(node).files.entry(file.clone()).or_default();
                let offset = bytes.len() as u64;
                bytes.extend_from_slice(&data);
                self.world(node, WorldEvent::Disk { file, offset, data: data.into() });
            }
        }
    }

    /// Makes records durable.
    pub fn write(&mut self, node: NodeId, records: &[Record<Request>]) {
        let wal = &mut self.model(node).wal;
        let appended = wal.append(records, true);
        wal.synced(appended.end);
        self.perform(node, appended.ops);
    }

    /// Turns a bit over, on the disk and for good.
    pub fn damage(&mut self, node: NodeId, file: &str, offset: usize) {
        let bytes = self.model(node).files.get_mut(file).expect("a file");
        bytes[offset] ^= 1;
        let data = bytes[offset..].to_vec().into();
        self.world(node, WorldEvent::Disk { file: file.to_owned(), offset: offset as u64, data });
    }

    pub fn write_hard_state(&mut self, node: NodeId) {
        let m = self.model(node);
        m.durable_commit = m.commit;
        let record = Record::HardState(HardState { term: m.term, vote: m.vote, commit: m.commit });
        self.write(node, &[record]);
    }

    fn model(&mut self, node: NodeId) -> &mut Model {
        self.nodes.get_mut(&node).expect("a node of the test")
    }

    pub fn ids(&self, node: NodeId) -> Vec<ProposeId> {
        self.nodes[&node].pool.iter().map(|p| p.id).collect()
    }

    pub fn last(&self, node: NodeId) -> Index {
        self.nodes[&node].log.len() as Index
    }

    pub fn update_term(&mut self, node: NodeId, term: Term) {
        if self.nodes[&node].term < term {
            self.model(node).term = term;
            self.model(node).vote = None;
            self.node(node, NodeEvent::UpdateTerm { term });
        }
    }

    pub fn campaign(&mut self, node: NodeId, term: Term) {
        self.model(node).term = term;
        self.model(node).vote = Some(node);
        self.node(node, NodeEvent::Campaign { term });
        self.write_hard_state(node);
        self.send(node, None, Promise::Term { term });
    }

    pub fn grant(&mut self, node: NodeId, term: Term, candidate: NodeId) {
        self.update_term(node, term);
        self.model(node).vote = Some(candidate);
        let pool = self.ids(node);
        self.node(node, NodeEvent::GrantVote { term, candidate, pool });
        self.write_hard_state(node);
        self.send(node, Some(candidate), Promise::Vote { term });
    }

    /// What the book says that a leader with those pools recovers.
    pub fn to_recover(&self, node: NodeId, quorum: &[NodeId]) -> Vec<Arc<Proposal>> {
        let enough = super::super::quorum::recover(self.nodes.len());
        let mut all: Vec<_> = quorum.iter().flat_map(|v| self.nodes[v].pool.iter().cloned()).collect();
        all.sort_by_key(|p| p.id);
        all.dedup_by_key(|p| p.id);
        let count = |p: &Arc<Proposal>| quorum.iter().filter(|v| self.ids(**v).contains(&p.id)).count();
        all.retain(|p| count(p) >= enough && self.nodes[&node].log.iter().all(|e| e.id() != Some(p.id)));
        all
    }

    pub fn become_leader(&mut self, node: NodeId, term: Term, quorum: &[NodeId], recovered: &[Arc<Proposal>]) {
        let next = self.last(node) + 1;
        let mut entries = vec![Arc::new(Entry { term, index: next, payload: Payload::Noop })];
        entries.extend(recovered.iter().zip(next + 1..).map(|(p, index)| entry(term, index, p)));
        self.node(node, NodeEvent::BecomeLeader { term, quorum: quorum.to_vec(), entries: entries.clone() });
        self.take_entries(node, &entries);
    }

    fn take_entries(&mut self, node: NodeId, entries: &[Arc<Entry>]) {
        for e in entries {
            self.model(node).log.truncate(e.index as usize - 1);
            self.model(node).log.push(Arc::clone(e));
        }
        let records: Vec<_> = entries.iter().map(|e| Record::Entry(Arc::clone(e))).collect();
        self.write(node, &records);
    }

    /// A whole election: `voters` and the candidate are the quorum.
    pub fn elect(&mut self, node: NodeId, term: Term, voters: &[NodeId]) {
        self.campaign(node, term);
        for &voter in voters {
            self.grant(voter, term, node);
        }
        let quorum: Vec<_> = std::iter::once(node).chain(voters.iter().copied()).collect();
        let recovered = self.to_recover(node, &quorum);
        self.become_leader(node, term, &quorum, &recovered);
    }

    /// The leader appends something and makes it durable.
    pub fn append(&mut self, leader: NodeId, payload: Payload<Request>, fast: bool) -> Arc<Entry> {
        let e = Arc::new(Entry { term: self.nodes[&leader].term, index: self.last(leader) + 1, payload });
        self.node(leader, NodeEvent::LeaderPropose { entry: Arc::clone(&e), fast });
        if let Some(p) = e.proposal().filter(|_| fast) {
            self.model(leader).pool.push(Arc::clone(p));
            self.write(leader, &[Record::PoolInsert(Arc::clone(p))]);
        }
        self.take_entries(leader, std::slice::from_ref(&e));
        e
    }

    /// The follower's log becomes the leader's.
    pub fn replicate(&mut self, leader: NodeId, to: NodeId) {
        let term = self.nodes[&leader].term;
        self.update_term(to, term);
        let (ours, theirs) = (self.nodes[&leader].log.clone(), &self.nodes[&to].log);
        let same = ours.iter().zip(theirs).take_while(|(a, b)| a.term == b.term).count();
        let (entries, truncated) = (ours[same..].to_vec(), theirs.len() > same);
        if !entries.is_empty() {
            self.node(to, NodeEvent::AcceptEntries { term, from: leader, truncated, entries: entries.clone() });
            self.write_hard_state(to);
            self.take_entries(to, &entries);
        }
        let last = ours.last().map_or((0, 0), |e| (e.index, e.term));
        self.send(to, Some(leader), Promise::Append { term, index: last.0, entry_term: last.1 });
    }

    pub fn commit(&mut self, node: NodeId, commit: Index, counted: bool) {
        if self.nodes[&node].commit < commit {
            let term = self.nodes[&node].term;
            self.model(node).commit = commit;
            self.node(node, NodeEvent::AdvanceCommit { term, commit, counted });
        }
    }

    pub fn apply(&mut self, node: NodeId, up_to: Index) {
        for index in self.nodes[&node].done + 1..=up_to {
            let m = self.model(node);
            let e = Arc::clone(&m.log[index as usize - 1]);
            let outcome = m.store.apply(&e);
            let state_hash = m.store.hash;
            m.done = index;
            self.node(node, NodeEvent::Apply { index, id: e.id(), outcome, state_hash });
            if let Some(id) = e.id().filter(|id| self.ids(node).contains(id)) {
                self.model(node).pool.retain(|p| p.id != id);
                self.node(node, NodeEvent::PoolDrop { id });
                self.write(node, &[Record::PoolRemove(id)]);
            }
        }
    }

    /// Replicates to everyone, commits and applies everywhere.
    pub fn settle(&mut self, leader: NodeId) {
        let all: Vec<_> = self.nodes.keys().copied().collect();
        self.settle_with(leader, &all);
    }

    pub fn settle_with(&mut self, leader: NodeId, nodes: &[NodeId]) {
        for &to in nodes.iter().filter(|&&to| to != leader) {
            self.replicate(leader, to);
        }
        let last = self.last(leader);
        self.commit(leader, last, true);
        self.apply(leader, last);
        for &to in nodes.iter().filter(|&&to| to != leader) {
            self.commit(to, last, false);
            self.apply(to, last);
        }
    }

    pub fn propose(&mut self, seq: u64, request: &Request) -> Arc<Proposal> {
        self.client(ClientEvent::Propose { op: seq, id: Some(id(seq)), first_incomplete: Some(1), read: None, request: request.clone() });
        proposal(seq, request)
    }

    pub fn record(&mut self, node: NodeId, p: &Arc<Proposal>) {
        let term = self.nodes[&node].term;
        let inserted = !self.ids(node).contains(&p.id);
        self.node(
            node,
            NodeEvent::WitnessRecord {
                term,
                asked: term,
                config: ConfigVersion::default(),
                proposal: Arc::clone(p),
                accepted: true,
                inserted,
            },
        );
        if inserted {
            self.model(node).pool.push(Arc::clone(p));
            self.write(node, &[Record::PoolInsert(Arc::clone(p))]);
        }
        self.send(node, None, Promise::Record { term, id: p.id });
    }

    /// The leader's half of a fast round.
    pub fn execute(&mut self, leader: NodeId, p: &Arc<Proposal>) -> Response {
        let e = self.append(leader, Payload::Command(Arc::clone(p)), true);
        let response = self.nodes[&leader].store.execute(&p.command);
        self.node(leader, NodeEvent::Execute { term: e.term, id: p.id, index: e.index, response: response.clone() });
        self.send(leader, None, Promise::Fast { term: e.term, id: p.id });
        response
    }

    pub fn complete(&mut self, seq: u64, term: Term, nodes: &[NodeId], response: Response) {
        self.client(ClientEvent::FastComplete {
            op: seq,
            id: id(seq),
            term,
            config: ConfigVersion::default(),
            nodes: nodes.to_vec(),
            response,
        });
    }

    /// A whole fast round: `nodes` are the leader and the witnesses.
    pub fn fast(&mut self, seq: u64, request: &Request, nodes: &[NodeId]) -> Arc<Proposal> {
        let p = self.propose(seq, request);
        let term = self.nodes[&nodes[0]].term;
        let response = self.execute(nodes[0], &p);
        for &witness in &nodes[1..] {
            self.record(witness, &p);
        }
        self.complete(seq, term, nodes, response);
        p
    }

    /// The final answer, from what node 1 or another applied.
    pub fn synced(&mut self, seq: u64, revision: u64, response: Response) {
        self.client(ClientEvent::SyncedComplete { op: seq, id: id(seq), synced: Synced { revision, response } });
    }

    /// Power loss, and a start from what the disk holds.
    pub fn reboot(&mut self, node: NodeId) {
        self.world(node, WorldEvent::Crash { power: true, in_flight: 0, lost_bytes: 0 });
        let m = self.model(node);
        (m.commit, m.done, m.store) = (m.durable_commit, 0, Store::default());
        let (term, vote, commit, last_index) = (m.term, m.vote, m.commit, m.log.len() as Index);
        let last_term = m.log.last().map_or(0, |e| e.term);
        let pool = self.ids(node);
        self.node(
            node,
            NodeEvent::Restart {
                term,
                vote,
                commit,
                last_index,
                last_term,
                pool,
                base: curp::LogBase::default(),
                snapshot: 0,
                state_hash: 0,
                membership: curp::Membership::default(),
            },
        );
    }

    pub fn violations(&self) -> &[Violation] {
        self.monitor.violations()
    }

    /// No rule was broken.
    #[track_caller]
    pub fn legal(&mut self) {
        self.monitor.finish();
        assert!(self.violations().is_empty(), "{:#?}", self.violations());
    }

    /// This rule was broken, whatever else was.
    #[track_caller]
    pub fn broken(&mut self, check: &str, rule: &str) -> Violation {
        self.monitor.finish();
        let found = self.violations().iter().find(|v| v.check == check && v.rule == rule);
        found.unwrap_or_else(|| panic!("{check}: `{rule}` was not reported, but {:#?}", self.violations())).clone()
    }
}
