//! A cluster by hand: events and durable bytes as nodes make them, and a trace in which members come and go, a snapshot is installed, leadership
//! is handed over, a change is undone, and all is shut down. TLC judges it and its mutations, where it is.

use curp::{
    Applied, ConfigCause, ConfigChange, ConfigVersion, Entry, Event as NodeEvent, HardState, Index, LogBase, Membership, NodeId, Payload,
    Record, SnapshotMeta, Synced, Term,
};
use history::{Stamped, WorldEvent};
use kv::{CompactionRequest, Request, Response};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::mutate::{Family, Kind, mutations};
use crate::samples::{Bytes, Trace, other};
use crate::{Batch, Tlc, Verdict};

type Log = Vec<Arc<Entry<Request>>>;

#[derive(Default)]
struct Node {
    bytes: Option<Bytes>,
    records: Vec<Record<Request>>,
    hard: HardState,
    log: Log,
    applied: Index,
    snapshot: Index,
    base: LogBase,
    used: Membership,
}

#[derive(Default)]
struct Cluster {
    trace: Trace,
    nodes: BTreeMap<NodeId, Node>,
}

fn first() -> Membership {
    Membership::initial([1, 2, 3])
}

impl Cluster {
    fn node(&mut self, n: NodeId) -> &mut Node {
        self.nodes.entry(n).or_default()
    }

    fn say(&mut self, n: NodeId, event: NodeEvent<Request>) {
        self.trace.node(n, event);
    }

    fn last(&mut self, n: NodeId) -> (Term, Index) {
        self.node(n).log.last().map_or((0, 0), |e| (e.term, e.index))
    }

    fn hard(&mut self, n: NodeId, change: impl FnOnce(&mut HardState)) {
        let node = self.node(n);
        change(&mut node.hard);
        node.records.push(Record::HardState(node.hard));
    }

    /// What was written becomes durable.
    fn sync(&mut self, n: NodeId) {
        let node = self.node(n);
        let records = std::mem::take(&mut node.records);
        let data = node.bytes.as_mut().expect("it started").append(&records);
        self.trace.disk(n, data);
    }

    fn start(&mut self, n: NodeId) {
        let node = self.node(n);
        if node.bytes.is_none() {
            let mut bytes = Bytes::new();
            let repairs = bytes.repairs();
            (node.bytes, node.used) = (Some(bytes), first());
            repairs.into_iter().for_each(|data| self.trace.disk(n, data));
        }
        let (last_term, last_index) = self.last(n);
        let node = self.node(n);
        node.applied = node.snapshot;
        let HardState { term, vote, commit } = node.hard;
        let (base, snapshot, membership) = (node.base, node.snapshot, node.used.clone());
        self.say(
            n,
            NodeEvent::Restart { term, vote, commit, last_index, last_term, pool: vec![], base, snapshot, state_hash: 0, membership },
        );
    }

    fn crash(&mut self, n: NodeId) {
        self.trace.world(Some(n), WorldEvent::Crash { power: false, in_flight: 0, lost_bytes: 0 });
    }

    fn hears(&mut self, n: NodeId, term: Term) {
        self.say(n, NodeEvent::UpdateTerm { term });
        self.hard(n, |h| (h.term, h.vote) = (term, None));
    }

    /// `n` stands for election, `by` votes for it, and it leads.
    fn elect(&mut self, n: NodeId, by: NodeId) {
        let term = self.node(n).hard.term + 1;
        self.say(n, NodeEvent::Campaign { term });
        self.hard(n, |h| (h.term, h.vote) = (term, Some(n)));
        self.sync(n);
        self.hears(by, term);
        self.say(by, NodeEvent::GrantVote { term, candidate: n, pool: vec![] });
        self.hard(by, |h| h.vote = Some(n));
        self.sync(by);
        let noop = other(term, self.last(n).1 + 1, Payload::Noop);
        let mut quorum = vec![n, by];
        quorum.sort_unstable();
        self.say(n, NodeEvent::BecomeLeader { term, quorum, entries: vec![Arc::clone(&noop)] });
        self.append(n, noop);
        self.sync(n);
    }

    fn append(&mut self, n: NodeId, entry: Arc<Entry<Request>>) {
        let node = self.node(n);
        node.log.truncate(entry.index as usize - 1);
        node.log.push(Arc::clone(&entry));
        node.records.push(Record::Entry(entry));
    }

    /// Another configuration may be in force.
    fn uses(&mut self, n: NodeId, cause: ConfigCause) {
        let node = self.node(n);
        let membership = node.log.iter().rev().find_map(|e| e.membership()).map_or_else(first, |m| (**m).clone());
        if membership != node.used {
            node.used = membership.clone();
            let term = node.hard.term;
            self.say(n, NodeEvent::UseConfig { term, membership, cause });
        }
    }

    fn propose(&mut self, n: NodeId, payload: impl FnOnce(ConfigVersion) -> Payload<Request>) {
        let (term, index) = (self.node(n).hard.term, self.last(n).1 + 1);
        let entry = other(term, index, payload(ConfigVersion { term, index }));
        self.say(n, NodeEvent::LeaderPropose { entry: Arc::clone(&entry), fast: false });
        self.append(n, entry);
        self.uses(n, ConfigCause::Appended);
        self.sync(n);
    }

    fn configure(&mut self, n: NodeId, voters: &[NodeId], learners: &[NodeId]) {
        self.propose(n, |version| {
            let membership = Membership { version, voters: voters.into(), learners: learners.into(), ..Membership::default() };
            // What changed is for the checkers.
            Payload::Config { change: ConfigChange::Remove { node: 9 }, membership: Arc::new(membership) }
        });
    }

    /// `to` takes what it lacks of the log of `from`, who hears of it.
    fn replicate(&mut self, from: NodeId, to: NodeId, cause: ConfigCause) {
        let log = self.node(from).log.clone();
        let own = self.node(to).log.clone();
        let same = log.iter().zip(&own).take_while(|(a, b)| a == b).count();
        let (term, index) = (self.node(from).hard.term, log.len() as u64);
        if same < log.len() {
            let entries = log[same..].to_vec();
            let event = NodeEvent::AcceptEntries { term, from, truncated: same < own.len(), entries: entries.clone() };
            self.say(to, event);
            entries.into_iter().for_each(|entry| self.append(to, entry));
            self.uses(to, cause);
            self.sync(to);
        }
        self.say(from, NodeEvent::Matched { term, peer: to, index });
    }

    fn commit(&mut self, n: NodeId, counted: bool) {
        let commit = self.last(n).1;
        let term = self.node(n).hard.term;
        self.say(n, NodeEvent::AdvanceCommit { term, commit, counted });
        self.hard(n, |h| h.commit = commit);
        self.sync(n);
        self.apply(n);
    }

    fn apply(&mut self, n: NodeId) {
        let node = self.node(n);
        let entries: Log = node.log[node.applied as usize..node.hard.commit as usize].to_vec();
        node.applied = node.hard.commit;
        for entry in entries {
            let outcome = match entry.payload {
                Payload::Config { .. } => Applied::Configured,
                Payload::Shutdown => Applied::ShutDown,
                Payload::Own { .. } => Applied::Done(Synced { revision: 1, response: Response::Compact }),
                _ => Applied::Nothing,
            };
            self.say(n, NodeEvent::Apply { index: entry.index, id: None, outcome, state_hash: 0 });
        }
    }

    /// To all of them, and committed everywhere.
    fn settle(&mut self, leader: NodeId, followers: &[NodeId]) {
        followers.iter().for_each(|to| self.replicate(leader, *to, ConfigCause::Appended));
        self.commit(leader, true);
        followers.iter().for_each(|to| self.commit(*to, false));
    }

    fn meta(&mut self, n: NodeId) -> SnapshotMeta {
        let (node, initial) = (self.node(n), first());
        let (index, log) = (node.applied, &node.log[..node.applied as usize]);
        let membership = log.iter().rev().find_map(|e| e.membership()).map_or(initial, |m| (**m).clone());
        SnapshotMeta { index, term: log.last().map_or(0, |e| e.term), membership }
    }

    /// The file is durable before its record is written.
    fn save(&mut self, n: NodeId, meta: SnapshotMeta) {
        let node = self.node(n);
        let (file, data) = node.bytes.as_mut().expect("it started").save_file(meta.clone());
        node.records.push(Record::Snapshot(meta));
        self.trace.world(Some(n), WorldEvent::Disk { file, offset: 0, data: data.into() });
    }

    fn snapshot(&mut self, n: NodeId) {
        let meta = self.meta(n);
        let base = LogBase { index: meta.index, term: meta.term };
        self.say(n, NodeEvent::TakeSnapshot { index: base.index, term: base.term, state_hash: 0 });
        self.save(n, meta);
        self.sync(n);
        self.say(n, NodeEvent::CompactLog { base });
    }

    fn install(&mut self, from: NodeId, to: NodeId) {
        let meta = self.meta(from);
        let log = self.node(from).log[..meta.index as usize].to_vec();
        let base = LogBase { index: meta.index, term: meta.term };
        let term = self.node(to).hard.term;
        self.say(to, NodeEvent::InstallSnapshot { term, from, index: base.index, last_term: base.term, state_hash: 0 });
        let node = self.node(to);
        (node.log, node.applied, node.snapshot, node.base, node.hard.commit) = (log, base.index, base.index, base, base.index);
        self.save(to, meta);
        self.uses(to, ConfigCause::Installed);
        self.sync(to);
        self.say(from, NodeEvent::Matched { term, peer: to, index: base.index });
    }
}

fn story() -> Vec<Stamped> {
    let mut c = Cluster::default();
    [1, 2, 3].into_iter().for_each(|n| c.start(n));
    c.elect(1, 2);
    c.settle(1, &[2]);
    c.say(1, NodeEvent::OpenFastPath { term: 1 });
    // A learner, which begins from a snapshot, and is promoted.
    c.configure(1, &[1, 2, 3], &[4]);
    // A command of the leader's own; what it asks for makes no difference here.
    c.propose(1, |_| Payload::Own { command: Arc::new(Request::Compact(CompactionRequest::default())) });
    c.settle(1, &[2]);
    c.snapshot(1);
    c.start(4);
    c.hears(4, 1);
    c.sync(4);
    c.install(1, 4);
    c.configure(1, &[1, 2, 3, 4], &[]);
    c.settle(1, &[2, 4]);
    c.snapshot(4);
    // It starts again from its snapshot.
    c.crash(4);
    (c.node(4).snapshot, c.node(4).base) = (4, LogBase { index: 4, term: 1 });
    c.start(4);
    // The leader is removed, and hands over.
    c.configure(1, &[2, 3, 4], &[]);
    c.settle(1, &[2, 4]);
    c.say(1, NodeEvent::TransferLeader { term: 1, to: 4 });
    c.say(1, NodeEvent::StepDown { term: 1 });
    c.elect(4, 2);
    c.settle(4, &[2]);
    c.say(4, NodeEvent::OpenFastPath { term: 2 });
    c.snapshot(2);
    // A change that nobody else heard of is undone. Another node had no part in anything so far.
    c.configure(4, &[2, 4], &[]);
    c.elect(2, 3);
    c.hears(4, 3);
    c.replicate(2, 4, ConfigCause::Undone);
    c.commit(2, true);
    c.say(2, NodeEvent::OpenFastPath { term: 3 });
    c.snapshot(2);
    c.install(2, 3);
    // An observer, and the end.
    c.configure(2, &[2, 3, 4], &[1]);
    c.settle(2, &[3, 4]);
    c.say(2, NodeEvent::TransferLeader { term: 3, to: 3 });
    c.propose(2, |_| Payload::Shutdown);
    c.settle(2, &[3, 4]);
    for n in [4, 3, 2] {
        let index = c.last(n).1;
        c.hard(n, |_| ());
        c.say(n, NodeEvent::ShutDown { index });
        c.sync(n);
        c.crash(n);
    }
    c.start(3);
    c.apply(3);
    c.trace.events
}

#[test]
fn members_snapshots_and_a_shutdown_conform_and_their_mutations_do_not() {
    let events = story();
    let all = mutations(&[&events], 4);
    let of_interest = |family: Family| matches!(family, Family::Membership | Family::Snapshots);
    let changed: Vec<_> = all.iter().filter(|m| of_interest(m.family)).collect();
    for family in [Family::Membership, Family::Snapshots] {
        for kind in Kind::ALL {
            let count = changed.iter().filter(|m| (m.family, m.kind) == (family, kind)).count();
            assert!(count >= 4, "{family}, {kind}: {count}");
        }
    }
    for label in ["AppendOwn", "AppendOwn.term", "AppendOwn.index"] {
        assert!(all.iter().any(|m| m.label == label), "{label}");
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let tlc = match Tlc::find(&root) {
        Ok(tlc) => tlc,
        Err(missing) => return println!("SKIPPED: {missing}"),
    };
    let mut batch = Batch::new(&[1, 2, 3], 0);
    batch.add(&events).expect("steps");
    for mutation in &all {
        batch.add(&mutation.events).expect("steps");
    }
    let verdicts = batch.check(&tlc).expect("TLC comes to its end");
    let place = |verdict: &Verdict| match verdict {
        Verdict::Accepted => None,
        Verdict::Rejected(rejection) => Some(rejection.position),
    };
    assert_eq!(verdicts[0], Verdict::Accepted, "{:?}", place(&verdicts[0]).map(|at| &events[at]));
    let wrong: Vec<String> = all
        .iter()
        .zip(&verdicts[1..])
        .filter(|(mutation, verdict)| place(verdict).is_none_or(|at| at < mutation.from))
        .map(|(mutation, verdict)| {
            format!("{} {} {} at event {}: {verdict:?}", mutation.family, mutation.kind, mutation.label, mutation.event)
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
