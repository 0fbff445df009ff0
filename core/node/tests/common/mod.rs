//! Nodes on disks that lose power, a network without surprises, and clients: a small cluster in one process, a millisecond at a time.

// Not every test file uses all of it.
#![allow(dead_code)]

#[path = "../../../storage/tests/common/disk.rs"]
pub mod disk;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use client::{Client, Notice};
use curp::{Address, Config, Event, Membership, Message, Nanos, NodeId, Outgoing, Proposal, ProposeId, Reply, Request as Ask};
use disk::Disk;
use kv::{Bytes, LeaseEvent, LeaseGrantRequest, LeaseId, PutRequest, Request};
use node::{Input, Node, Output, Start, Write};
use storage::StateStore;

pub type Files = BTreeMap<String, Vec<u8>>;

pub const MS: Nanos = 1_000_000;
pub const SECOND: Nanos = 1_000 * MS;
pub const CLIENT: Address = Address::Client(9);
pub const LEASE: LeaseId = 5;

/// The first makes a lease that never expires here, the others attach a key each to it.
pub fn put(seq: u64) -> Message<Request> {
    let key = Bytes::from(format!("k{seq}").into_bytes());
    let value = Bytes::from(seq.to_string().into_bytes());
    let command = match seq {
        1 => Request::LeaseGrant(LeaseGrantRequest { id: LEASE, ttl: 1_000_000 }),
        _ => Request::Put(PutRequest { key, value, lease: LEASE, ..PutRequest::default() }),
    };
    let id = ProposeId { client: 2, seq };
    Message::Request(Ask::Propose { proposal: Arc::new(Proposal { id, first_incomplete: seq, command: Arc::new(command) }) })
}

pub fn config() -> Config {
    Config { election_timeout: (150 * MS, 150 * MS), snapshot_every: 3, trailing_entries: 1, snapshot_chunk_bytes: 64, ..Config::default() }
}

/// As in a cluster that elects.
pub fn timeouts() -> Config {
    Config { election_timeout: (150 * MS, 300 * MS), ..config() }
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
    waiting: Vec<Outgoing<Request>>,
    /// The last token of a synced write that has ended.
    pub synced: u64,
    pub sent: Vec<Outgoing<Request>>,
    pub events: Vec<Event<Request>>,
    /// Events of leases, with the time.
    pub leases: Vec<(Nanos, LeaseEvent)>,
    /// Its state machine's store may fail under it.
    may_stop: bool,
    /// Why it stopped, if it did.
    pub fatal: Option<String>,
}

impl Host {
    pub fn start(id: NodeId, voters: u32, files: &Files, now: Nanos) -> Result<Host, String> {
        Host::start_as(config(), id, voters, files, now)
    }

    pub fn start_as(config: Config, id: NodeId, voters: u32, files: &Files, now: Nanos) -> Result<Host, String> {
        Host::start_with(config, id, voters, files, None, now)
    }

    /// With a store for its state machine.
    pub fn start_with(
        config: Config,
        id: NodeId,
        voters: u32,
        files: &Files,
        state: Option<Box<dyn StateStore>>,
        now: Nanos,
    ) -> Result<Host, String> {
        let may_stop = state.is_some();
        let mut out = Output::default();
        let membership = Membership::initial(1..=voters);
        let start = Start { id, config, membership, files, state, first: files.is_empty(), entropy: now + u64::from(id), now };
        let (node, _) = Node::start(start, &mut out).map_err(|e| e.to_string())?;
        let (disk, writes, waiting, sent, events) = (Disk::holding(files), VecDeque::new(), Vec::new(), Vec::new(), Vec::new());
        let (leases, fatal) = (Vec::new(), None);
        let mut host = Host { id, voters, now, node, out, disk, writes, waiting, synced: 0, sent, events, leases, may_stop, fatal };
        host.take();
        Ok(host)
    }

    pub fn give(&mut self, input: Input) {
        self.node.handle(self.now, input, &mut self.out);
        self.take();
    }

    pub fn take(&mut self) {
        self.fatal = self.fatal.take().or(self.out.fatal.take());
        assert!(self.may_stop || self.fatal.is_none(), "{:?}", self.fatal);
        for write in self.out.writes.drain(..) {
            self.disk.submit(&write.ops);
            self.writes.push_back(write);
        }
        self.waiting.append(&mut self.out.messages);
        for event in self.out.events.drain(..) {
            match event {
                node::Event::Curp(event) => self.events.push(event),
                node::Event::Lease(event) => self.leases.push((self.now, event)),
            }
        }
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

/// A client with what it was told, and when.
pub struct Caller {
    pub client: Client,
    pub told: Vec<(Nanos, Notice)>,
}

/// Nodes 1 to n, and clients with addresses from 1 on.
pub struct Cluster {
    pub now: Nanos,
    config: Config,
    pub hosts: Vec<Host>,
    pub callers: Vec<Caller>,
    /// Nodes whose process is gone.
    pub down: BTreeSet<NodeId>,
    /// Nodes that take no step. What is sent to them waits.
    pub paused: BTreeSet<NodeId>,
    /// Nodes that no message reaches or leaves.
    pub cut_off: BTreeSet<NodeId>,
    on_the_way: VecDeque<(Address, Address, Message<Request>)>,
    kept: Vec<(Address, Address, Message<Request>)>,
}

impl Cluster {
    pub fn new(voters: u32, clients: u32) -> Self {
        Cluster::of(timeouts(), voters, clients)
    }

    pub fn of(nodes: Config, voters: u32, clients: u32) -> Self {
        let now = SECOND;
        let start = |id| Host::start_as(nodes.clone(), id, voters, &Files::new(), now).expect("an empty disk");
        let hosts = (1..=voters).map(start).collect();
        let config = client::Config { retry_after_min: 50 * MS, retry_after_max: 400 * MS };
        let caller = |address: u32| Caller {
            client: Client::new(address, 0, config.clone(), Membership::initial(1..=voters), u64::from(address)),
            told: Vec::new(),
        };
        let (down, paused, cut_off) = Default::default();
        let callers = (1..=clients).map(caller).collect();
        Cluster { now, config: nodes, hosts, callers, down, paused, cut_off, on_the_way: VecDeque::new(), kept: Vec::new() }
    }

    pub fn host(&mut self, id: NodeId) -> &mut Host {
        &mut self.hosts[id as usize - 1]
    }

    /// The node that leads in the latest term, of those that run.
    pub fn leader(&self) -> Option<NodeId> {
        let runs = |host: &&Host| !self.down.contains(&host.id) && !self.paused.contains(&host.id);
        let leads = self.hosts.iter().filter(runs).filter(|host| host.node.raw().is_open());
        leads.max_by_key(|host| host.node.raw().leadership().term).map(|host| host.id)
    }

    pub fn until_led(&mut self) -> NodeId {
        for _ in 0..5_000 {
            if let Some(leader) = self.leader() {
                return leader;
            }
            self.run(1);
        }
        panic!("nobody leads");
    }

    pub fn say(&mut self, caller: usize, input: client::Input) {
        let mut out = client::Output::default();
        let Caller { client, told } = &mut self.callers[caller];
        client.handle(self.now, input, &mut out);
        told.extend(out.notices.into_iter().map(|notice| (self.now, notice)));
        let address = Address::Client(caller as u32 + 1);
        self.on_the_way.extend(out.messages.into_iter().map(|(to, message)| (address, Address::Node(to), message)));
    }

    /// Invokes a command and runs until its final result is there.
    pub fn call(&mut self, caller: usize, op: u64, request: Request) -> (Nanos, kv::Response) {
        self.say(caller, client::Input::Invoke { op, request });
        for _ in 0..20_000 {
            let ended = |(at, notice): &(Nanos, Notice)| match notice {
                Notice::Synced { op: of, synced, .. } | Notice::Read { op: of, synced, .. } if *of == op => {
                    Some((*at, synced.response.clone()))
                }
                _ => None,
            };
            if let Some(end) = self.callers[caller].told.iter().find_map(ended) {
                return end;
            }
            self.run(1);
        }
        panic!("operation {op} does not end: {:?}", self.callers[caller].told);
    }

    pub fn crash(&mut self, id: NodeId) {
        self.down.insert(id);
    }

    pub fn restart(&mut self, id: NodeId) {
        let (now, files) = (self.now, self.host(id).disk.durable());
        let voters = self.host(id).voters;
        *self.host(id) = Host::start_as(self.config.clone(), id, voters, &files, now).expect("its own files");
        self.down.remove(&id);
    }

    /// So many milliseconds go by. A message takes one, and so does a write.
    pub fn run(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds {
            self.now += MS;
            let arriving: Vec<_> = self.kept.drain(..).chain(self.on_the_way.drain(..)).collect();
            for (from, to, message) in arriving {
                self.deliver(from, to, message);
            }
            for id in 1..=self.hosts.len() as NodeId {
                if self.down.contains(&id) || self.paused.contains(&id) {
                    continue;
                }
                let now = self.now;
                let host = self.host(id);
                host.now = now;
                while host.end_write() {}
                if host.node.next_due() <= now {
                    host.give(Input::Tick);
                }
                let sent = std::mem::take(&mut host.sent);
                self.on_the_way.extend(sent.into_iter().map(|m| (Address::Node(id), m.to, m.message)));
            }
            for caller in 0..self.callers.len() {
                if self.callers[caller].client.next_due().is_some_and(|due| due <= self.now) {
                    self.say(caller, client::Input::Tick);
                }
            }
        }
    }

    fn deliver(&mut self, from: Address, to: Address, message: Message<Request>) {
        let node = |address| if let Address::Node(id) = address { Some(id) } else { None };
        if [from, to].into_iter().filter_map(node).any(|id| self.cut_off.contains(&id)) {
            return;
        }
        match (to, message) {
            (Address::Client(address), Message::Reply(reply)) if address as usize <= self.callers.len() => {
                let from = node(from).expect("nodes reply");
                self.say(address as usize - 1, client::Input::Message { from, reply });
            }
            (Address::Node(id), message) if self.paused.contains(&id) => self.kept.push((from, Address::Node(id), message)),
            (Address::Node(id), message) if !self.down.contains(&id) => {
                let now = self.now;
                let host = self.host(id);
                host.now = now;
                host.give(Input::Message { from, message });
            }
            _ => {}
        }
    }
}
