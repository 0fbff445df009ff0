//! A small cluster that does everything by the book, one step at a time, with real durable bytes. Tests lead it where they want it and
//! then emit what a bug would.

use std::collections::BTreeMap;
use std::sync::Arc;

use curp::{
    Applied, ConfigCause, ConfigChange, ConfigVersion, Event as NodeEvent, HardState, Index, LogBase, Membership, NodeId, Payload,
    ProposeId, Record, SnapshotFile, SnapshotMeta, Synced, Term,
};
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
    Request::Put(PutRequest { key: key.into(), value: value.into(), prev_kv: true, ..PutRequest::default() })
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
            Payload::Own { .. } => panic!("no leases here"),
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
            ..KeyValue::default()
        };
        self.keys.insert(put.key.to_string(), kv);
        self.revision = revision;
        Applied::Done(Synced { revision, response })
    }
}

fn config_in(log: &[Arc<Entry>], initial: &Membership) -> Membership {
    log.iter().rev().find_map(|e| e.membership()).map_or_else(|| initial.clone(), |m| (**m).clone())
}

/// A node as it should be.
pub struct Model {
    pub term: Term,
    pub vote: Option<NodeId>,
    /// Whole, whatever was compacted.
    pub log: Vec<Arc<Entry>>,
    pub base: LogBase,
    pub snapshot: Option<SnapshotMeta>,
    /// The state in the snapshot.
    pub saved: Store,
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
    initial: Membership,
    i: u64,
}

impl Cluster {
    pub fn new(n: u32) -> Cluster {
        let voters: Vec<_> = (1..=n).collect();
        let header =
            TraceHeader { format: 1, engine: "direct".into(), scenario: "test".into(), seed: 0, voters: voters.clone(), drift_ppm: 0 };
        let initial = Membership::initial(voters.clone());
        let mut cluster =
            Cluster { monitor: Monitor::new(&header), nodes: BTreeMap::new(), events: Vec::new(), keep: false, initial, i: 0 };
        for node in voters {
            cluster.empty(node);
        }
        cluster
    }

    /// A node with an empty disk.
    pub fn empty(&mut self, node: NodeId) {
        let recovered = storage::recover::<Request>(&BTreeMap::new()).expect("an empty directory");
        let model = Model {
            term: 0,
            vote: None,
            log: Vec::new(),
            base: LogBase::default(),
            snapshot: None,
            saved: Store::default(),
            pool: Vec::new(),
            commit: 0,
            durable_commit: 0,
            done: 0,
            store: Store::default(),
            wal: recovered.wal,
            files: BTreeMap::new(),
        };
        self.nodes.insert(node, model);
        self.perform(node, recovered.repairs);
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
            match op {
                FileOp::Create { file } => {
                    self.model(node).files.insert(file.clone(), Vec::new());
                    self.world(node, WorldEvent::Disk { file, offset: 0, data: Vec::new().into() });
                }
                FileOp::Append { file, data } => {
                    let bytes = self.model(node).files.entry(file.clone()).or_default();
                    let offset = bytes.len() as u64;
                    bytes.extend_from_slice(&data);
                    self.world(node, WorldEvent::Disk { file, offset, data: data.into() });
                }
                FileOp::Rename { from, to } => {
                    let bytes = self.model(node).files.remove(&from).expect("a file");
                    self.model(node).files.insert(to.clone(), bytes.clone());
                    self.world(node, WorldEvent::Disk { file: to, offset: 0, data: bytes.into() });
                    self.world(node, WorldEvent::DiskRemove { file: from });
                }
                FileOp::Remove { file } => {
                    self.model(node).files.remove(&file);
                    self.world(node, WorldEvent::DiskRemove { file });
                }
                _ => {}
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
        let enough = super::super::quorum::recover(self.config(node).voters.len());
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

    /// The latest configuration in a node's log.
    pub fn config(&self, node: NodeId) -> Membership {
        config_in(&self.nodes[&node].log, &self.initial)
    }

    fn use_config(&mut self, node: NodeId, before: &Membership, cause: ConfigCause) {
        let membership = self.config(node);
        if membership != *before {
            let term = self.nodes[&node].term;
            self.node(node, NodeEvent::UseConfig { term, membership, cause });
        }
    }

    /// The configuration that a change makes of a node's latest, at the end of its log.
    pub fn changed(&self, node: NodeId, change: &ConfigChange) -> Payload<Request> {
        let mut new = self.config(node);
        match change {
            ConfigChange::AddLearner { node, address } => {
                new.learners.push(*node);
                if !address.is_empty() {
                    new.addresses.insert(*node, address.clone());
                }
            }
            ConfigChange::Promote { node } => {
                new.learners.retain(|n| n != node);
                new.voters.push(*node);
                new.voters.sort_unstable();
            }
            ConfigChange::Remove { node } => {
                new.learners.retain(|n| n != node);
                new.voters.retain(|n| n != node);
            }
            ConfigChange::Update { node, address } => _ = new.addresses.insert(*node, address.clone()),
        }
        new.version = ConfigVersion { term: self.nodes[&node].term, index: self.last(node) + 1 };
        Payload::Config { change: change.clone(), membership: Arc::new(new) }
    }

    /// The leader appends a change of the configuration and makes it durable.
    pub fn change(&mut self, leader: NodeId, change: &ConfigChange) -> Arc<Entry> {
        let payload = self.changed(leader, change);
        self.append(leader, payload, false)
    }

    /// A node that is in no configuration starts with an empty disk, is added, catches up and is promoted.
    pub fn join(&mut self, leader: NodeId, node: NodeId) {
        self.empty(node);
        self.started(node);
        self.change(leader, &ConfigChange::AddLearner { node, address: String::new() });
        self.settle(leader);
        self.change(leader, &ConfigChange::Promote { node });
        self.settle(leader);
    }

    /// The node's state as of what it has applied becomes a snapshot, with the record that says so.
    pub fn take_snapshot(&mut self, node: NodeId) {
        let m = &self.nodes[&node];
        let (index, saved) = (m.done, m.store.clone());
        let term = m.log[index as usize - 1].term;
        self.node(node, NodeEvent::TakeSnapshot { index, term, state_hash: saved.hash });
        let membership = config_in(&self.nodes[&node].log[..index as usize], &self.initial);
        self.save(node, SnapshotMeta { index, term, membership }, saved);
    }

    /// A snapshot's file, and then the record that refers to it.
    pub fn save(&mut self, node: NodeId, meta: SnapshotMeta, saved: Store) {
        self.file(node, &meta);
        self.write(node, &[Record::Snapshot(meta.clone())]);
        let m = self.model(node);
        (m.snapshot, m.saved) = (Some(meta), saved);
    }

    /// One frame at the beginning of a new segment; then the older files go.
    fn checkpoint(&mut self, node: NodeId, records: &[Record<Request>]) {
        let mut next = Some(self.model(node).wal.checkpoint(records));
        while let Some(appended) = next {
            self.perform(node, appended.ops);
            let wal = &mut self.model(node).wal;
            wal.synced(appended.end);
            next = wal.obsolete::<Request>();
        }
    }

    /// A snapshot's file.
    pub fn file(&mut self, node: NodeId, meta: &SnapshotMeta) {
        let data = Arc::new(b"what the state machine and the sessions hold".to_vec());
        let ops = self.model(node).wal.save_snapshot(&SnapshotFile { meta: meta.clone(), data });
        self.perform(node, ops);
    }

    /// What a start needs is said again, and the log begins after `index`.
    pub fn compact(&mut self, node: NodeId, index: Index) {
        let m = self.model(node);
        m.base = LogBase { index, term: m.log[index as usize - 1].term };
        let base = m.base;
        let mut records = vec![Record::Checkpoint(base)];
        records.push(Record::HardState(HardState { term: m.term, vote: m.vote, commit: m.durable_commit }));
        // After the entries: a snapshot of what the log does not have would be an installed one.
        records.extend(m.log.iter().skip(index as usize).cloned().map(Record::Entry));
        records.extend(m.snapshot.clone().map(Record::Snapshot));
        records.extend(m.pool.iter().cloned().map(Record::PoolInsert));
        self.node(node, NodeEvent::CompactLog { base });
        self.checkpoint(node, &records);
    }

    /// The leader's snapshot takes the place of a follower's state.
    pub fn install(&mut self, leader: NodeId, to: NodeId) {
        let term = self.nodes[&leader].term;
        self.update_term(to, term);
        let (meta, saved) = (self.nodes[&leader].snapshot.clone().expect("a snapshot"), self.nodes[&leader].saved.clone());
        let before = self.config(to);
        self.file(to, &meta);
        let log = self.nodes[&leader].log[..meta.index as usize].to_vec();
        let (index, last_term) = (meta.index, meta.term);
        let state_hash = saved.hash;
        let m = self.model(to);
        (m.log, m.base) = (log, LogBase { index, term: last_term });
        (m.commit, m.done, m.store) = (index, index, saved.clone());
        (m.snapshot, m.saved) = (Some(meta.clone()), saved);
        self.node(to, NodeEvent::InstallSnapshot { term, from: leader, index, last_term, state_hash });
        self.use_config(to, &before, ConfigCause::Installed);
        let settled: Vec<_> = self.ids(to).into_iter().filter(|id| self.nodes[&to].log.iter().any(|e| e.id() == Some(*id))).collect();
        self.model(to).pool.retain(|p| !settled.contains(&p.id));
        settled.iter().for_each(|&id| self.node(to, NodeEvent::PoolDrop { id }));
        self.write_hard_state(to);
        let mut records = vec![Record::Snapshot(meta)];
        records.extend(settled.into_iter().map(Record::PoolRemove));
        self.write(to, &records);
        self.send(to, Some(leader), Promise::Append { term, index, entry_term: last_term });
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
        if let Some(membership) = e.membership() {
            let (term, membership) = (e.term, (**membership).clone());
            self.node(leader, NodeEvent::UseConfig { term, membership, cause: ConfigCause::Appended });
        }
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
            let before = self.config(to);
            self.node(to, NodeEvent::AcceptEntries { term, from: leader, truncated, entries: entries.clone() });
            self.model(to).log.truncate(same);
            self.model(to).log.extend(entries.iter().cloned());
            self.use_config(to, &before, if truncated { ConfigCause::Undone } else { ConfigCause::Appended });
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
        let config = self.config(nodes[0]).version;
        self.complete_by(seq, (term, config), nodes, response);
    }

    pub fn complete_by(&mut self, seq: u64, (term, config): (Term, ConfigVersion), nodes: &[NodeId], response: Response) {
        self.client(ClientEvent::FastComplete { op: seq, id: id(seq), term, config, nodes: nodes.to_vec(), response });
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
        let snapshot = m.snapshot.as_ref().map_or(0, |s| s.index);
        (m.commit, m.done, m.store) = (m.durable_commit.max(snapshot), snapshot, m.saved.clone());
        self.started(node);
    }

    /// The node starts from what the book says it has.
    pub fn started(&mut self, node: NodeId) {
        let event = self.restart(node);
        self.node(node, event);
    }

    /// The event of a start by the book.
    pub fn restart(&self, node: NodeId) -> NodeEvent<Request> {
        let m = &self.nodes[&node];
        NodeEvent::Restart {
            term: m.term,
            vote: m.vote,
            commit: m.commit,
            last_index: m.log.len() as Index,
            last_term: m.log.last().map_or(0, |e| e.term),
            pool: self.ids(node),
            base: m.base,
            snapshot: m.snapshot.as_ref().map_or(0, |s| s.index),
            state_hash: m.saved.hash,
            membership: self.config(node),
        }
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
