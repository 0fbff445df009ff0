//! A node with its disk, driven by hand.
#![allow(dead_code, reason = "each test uses a part")]

#[path = "../../../storage/tests/common/disk.rs"]
pub mod disk;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use curp::{Address, Config, Event, Membership, Message, Nanos, NodeId, Outgoing, Proposal, ProposeId, Reply, Request as Ask};
use disk::Disk;
use kv::{Bytes, PutRequest, Request};
use node::{Input, Node, Output, Start, Write};
use storage::StateStore;

pub type Files = BTreeMap<String, Vec<u8>>;

pub const MS: Nanos = 1_000_000;
pub const CLIENT: Address = Address::Client(9);

pub fn config() -> Config {
    Config { election_timeout: (150 * MS, 150 * MS), snapshot_every: 3, trailing_entries: 1, snapshot_chunk_bytes: 64, ..Config::default() }
}

pub fn put(seq: u64) -> Message<Request> {
    let key = Bytes::from(format!("k{seq}").into_bytes());
    let command =
        Request::Put(PutRequest { key, value: Bytes::from(seq.to_string().into_bytes()), prev_kv: false, ..PutRequest::default() });
    let id = ProposeId { client: 2, seq };
    Message::Request(Ask::Propose { proposal: Arc::new(Proposal { id, first_incomplete: seq, command: Arc::new(command) }) })
}

/// A node with its disk. Writes wait until they are told to end.
pub struct Host {
    pub id: NodeId,
    pub voters: u32,
    pub now: Nanos,
    pub node: Node,
    pub out: Output,
    pub disk: Disk,
    pub writes: VecDeque<Write>,
    pub waiting: Vec<Outgoing<Request>>,
    /// The last token of a synced write that has ended.
    pub synced: u64,
    pub sent: Vec<Outgoing<Request>>,
    pub events: Vec<Event<Request>>,
    /// Why it stopped, if it did.
    pub fatal: Option<String>,
}

impl Host {
    pub fn start(id: NodeId, voters: u32, files: &Files, now: Nanos) -> Result<Host, String> {
        Host::start_with(id, voters, files, None, now)
    }

    /// With a store for its state machine.
    pub fn start_with(id: NodeId, voters: u32, files: &Files, state: Option<Box<dyn StateStore>>, now: Nanos) -> Result<Host, String> {
        let mut out = Output::default();
        let membership = Membership::initial(1..=voters);
        let start = Start { id, config: config(), membership, files, state, first: files.is_empty(), entropy: now, now };
        let (node, _) = Node::start(start, &mut out).map_err(|e| e.to_string())?;
        let (disk, writes, waiting, sent, events) = (Disk::holding(files), VecDeque::new(), Vec::new(), Vec::new(), Vec::new());
        let mut host = Host { id, voters, now, node, out, disk, writes, waiting, synced: 0, sent, events, fatal: None };
        host.take();
        Ok(host)
    }

    pub fn give(&mut self, input: Input) {
        self.node.handle(self.now, input, &mut self.out);
        self.take();
    }

    pub fn take(&mut self) {
        self.fatal = self.fatal.take().or(self.out.fatal.take());
        for write in self.out.writes.drain(..) {
            self.disk.submit(&write.ops);
            self.writes.push_back(write);
        }
        self.waiting.append(&mut self.out.messages);
        self.events.extend(self.out.events.drain(..).filter_map(|event| match event {
            node::Event::Curp(event) => Some(event),
            node::Event::Lease(_) => None,
        }));
        self.let_go();
        for task in std::mem::take(&mut self.out.tasks) {
            self.give(Input::ExecDone(task));
        }
    }

    pub fn let_go(&mut self) {
        let (ready, waiting) = std::mem::take(&mut self.waiting).into_iter().partition(|m: &Outgoing<Request>| m.after <= self.synced);
        self.waiting = waiting;
        self.sent.extend::<Vec<_>>(ready);
    }

    /// The oldest write ends; false if there is none.
    pub fn end_write(&mut self) -> bool {
        let Some(write) = self.writes.pop_front() else { return false };
        self.disk.complete();
        if write.sync {
            self.synced = write.token;
            self.let_go();
        }
        self.give(Input::DiskDone(write.token));
        true
    }

    pub fn tick(&mut self, time: Nanos) {
        self.now += time;
        self.give(Input::Tick);
    }

    /// Numbers of the puts whose synced answers have left.
    pub fn answered(&self) -> Vec<u64> {
        let seq = |m: &Outgoing<Request>| match &m.message {
            Message::Reply(Reply::Synced { id, .. }) => Some(id.seq),
            _ => None,
        };
        self.sent.iter().filter_map(seq).collect()
    }

    pub fn values(&self) -> Vec<String> {
        self.node.store().live().map(|kv| String::from_utf8_lossy(kv.value.as_slice()).into_owned()).collect()
    }
}
