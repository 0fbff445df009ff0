//! The nodes of a script with their disks, the network between them, and what their clients have been told.
//!
//! Nothing happens by itself: no message arrives, no write ends and no execution ends before the script says so. What must stay true
//! is asserted on the way: replicas that have applied equally much have equal state hashes.
//!
//! Deliberately not here: bytes. A disk holds records; `storage` is about how they lie on it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use curp::{
    Address, ClientAddress, Config, ConfigVersion, Durable, Event, Found, Index, Membership, Message, Nanos, NodeId, Outgoing, Output,
    PeerMessage, ProposeId, RawCurp, ReadId, Record, Reply, SnapshotFile, TaskId, Term,
};

use crate::common::{Cmd, Kv};
use crate::show;

/// Adds a line to the transcript.
macro_rules! say {
    ($cluster:expr, $($arg:tt)*) => { writeln!($cluster.out, "  {}", format_args!($($arg)*)).expect("a string takes any text") };
}

mod inspect;
mod member;

/// Every clock's reading at the start: not 0, so that "never" and "at the start" differ.
const START: Nanos = 1_000_000_000;

/// A node's disk: every record written in its lives, of which those from `synced` on are in a cache only.
#[derive(Default)]
struct Disk {
    records: Vec<Record<Cmd>>,
    synced: usize,
    /// Records found when the present life began: together they are number 1 of that life.
    found: usize,
    /// Where checkpoints stand among the records: each is durable as a whole, or not at all.
    checkpoints: Vec<std::ops::Range<usize>>,
    /// Snapshots, by index.
    files: BTreeMap<Index, SnapshotFile>,
}

/// A node that runs.
struct Life {
    raw: RawCurp<Cmd>,
    kv: Kv,
    /// Records of this life up to this number are durable; 0 before it is sure of what it found.
    durable: u64,
    /// Messages that wait for records.
    waiting: Vec<Outgoing<Cmd>>,
    tasks: Vec<TaskId>,
    /// A snapshot whose file is being written.
    saving: Option<SnapshotFile>,
    /// Reads that came here, and their index once it is known.
    reads: BTreeMap<ReadId, (Cmd, Option<Index>)>,
    /// It stops when its records up to this number are durable.
    stops_at: Option<u64>,
}

struct Node {
    now: Nanos,
    lives: u64,
    disk: Disk,
    life: Option<Life>,
}

/// A message between nodes, on its way.
#[derive(Clone)]
pub struct Flight {
    pub from: NodeId,
    pub to: NodeId,
    term: Term,
    body: PeerMessage<Cmd>,
    /// Held back by the script.
    held: bool,
}

impl Flight {
    pub fn type_name(&self) -> &'static str {
        show::type_name(&self.body)
    }

    fn show(&self) -> String {
        format!("{} -> {} {}", self.from, self.to, show::message(&Message::Peer { term: self.term, body: self.body.clone() }))
    }
}

/// What the client of a command has been told.
#[derive(Default)]
pub struct Told {
    /// Early results.
    executed: Vec<Executed>,
    /// Accepts, by node.
    accepted: Vec<(NodeId, Term, ConfigVersion)>,
    /// The final result.
    pub synced: Option<Option<u64>>,
}

/// A leader's early result.
struct Executed {
    leader: NodeId,
    term: Term,
    config: ConfigVersion,
    response: Option<u64>,
}

pub struct Cluster {
    config: Config,
    membership: Membership,
    nodes: BTreeMap<NodeId, Node>,
    flights: Vec<Flight>,
    isolated: BTreeSet<NodeId>,
    told: BTreeMap<ProposeId, Told>,
    reads: BTreeMap<ClientAddress, u64>,
    /// Answers to reads.
    pub read: Vec<(ReadId, Option<u64>)>,
    hashes: BTreeMap<Index, u64>,
    /// Every configuration that a node has used, by version.
    configs: BTreeMap<ConfigVersion, Membership>,
    /// Whether state changes are shown.
    pub changes: bool,
    /// The transcript.
    pub out: String,
}

impl Cluster {
    /// `voters` fresh nodes, 1, 2, 3, …, whose clocks show the same. Of the limits given, times are overwritten.
    pub fn new(voters: u32, limits: Config) -> Self {
        // No range to draw from: whose timer fires first is the script's to say.
        let config = Config { election_timeout: (150_000_000, 150_000_000), heartbeat_interval: 50_000_000, ..limits };
        let membership = Membership::initial(1..=voters);
        let mut cluster = Cluster {
            config,
            membership: membership.clone(),
            nodes: BTreeMap::new(),
            flights: Vec::new(),
            isolated: BTreeSet::new(),
            told: BTreeMap::new(),
            reads: BTreeMap::new(),
            read: Vec::new(),
            hashes: BTreeMap::new(),
            configs: BTreeMap::new(),
            changes: false,
            out: String::new(),
        };
        cluster.configs.insert(membership.version, membership);
        for id in 1..=voters {
            cluster.nodes.insert(id, Node { now: START, lives: 0, disk: Disk::default(), life: None });
            cluster.start(id).and_then(|()| cluster.persist(id, None)).expect("a fresh node starts");
        }
        cluster.out.clear();
        cluster
    }

    fn node(&mut self, id: NodeId) -> Result<&mut Node, String> {
        self.nodes.get_mut(&id).ok_or_else(|| format!("there is no node {id}"))
    }

    fn life(&mut self, id: NodeId) -> Result<&mut Life, String> {
        self.node(id)?.life.as_mut().ok_or_else(|| format!("node {id} is down"))
    }

    pub fn up(&self) -> Vec<NodeId> {
        self.nodes.iter().filter(|(_, node)| node.life.is_some()).map(|(id, _)| *id).collect()
    }

    pub fn down(&self) -> Vec<NodeId> {
        self.nodes.iter().filter(|(_, node)| node.life.is_none()).map(|(id, _)| *id).collect()
    }

    /// The greatest id that a node has.
    pub fn newest(&self) -> NodeId {
        self.nodes.keys().copied().max().unwrap_or(0)
    }

    /// Executions under way.
    pub fn tasks(&self) -> Vec<(NodeId, TaskId)> {
        let tasks = |(id, node): (&NodeId, &Node)| node.life.iter().flat_map(|l| &l.tasks).map(|t| (*id, *t)).collect::<Vec<_>>();
        self.nodes.iter().flat_map(tasks).collect()
    }

    pub fn raw(&mut self, id: NodeId) -> Result<&RawCurp<Cmd>, String> {
        self.life(id).map(|life| &life.raw)
    }

    /// Gives a node an input, and takes in what it leads to.
    pub fn input(&mut self, id: NodeId, input: impl FnOnce(&mut RawCurp<Cmd>, &mut Kv, Nanos)) -> Result<(), String> {
        let now = self.node(id)?.now;
        let life = self.life(id)?;
        input(&mut life.raw, &mut life.kv, now);
        self.take_output(id)
    }

    fn take_output(&mut self, id: NodeId) -> Result<(), String> {
        let life = self.life(id)?;
        life.raw.pump(&mut life.kv);
        let mut output = life.raw.take_output(Output::default());
        let (durable, written) = (life.durable, life.raw.written());
        life.tasks.extend(&output.tasks);
        for state in &output.reads {
            if let Some((_, index)) = life.reads.get_mut(&state.read) {
                *index = state.index;
            }
        }
        for event in &output.events {
            if let Event::Apply { index, state_hash, .. } = event {
                let first = *self.hashes.entry(*index).or_insert(*state_hash);
                assert_eq!(first, *state_hash, "node {id} has another state after entry {index} than the first to apply it");
            }
            if let Event::TakeSnapshot { index, state_hash, .. }
            | Event::InstallSnapshot { index, state_hash, .. }
            | Event::Restart { snapshot: index, state_hash, .. } = event
                && *index > 0
            {
                assert_eq!(self.hashes.get(index), Some(state_hash), "node {id} has another state in its snapshot of {index}");
            }
            if let Event::UseConfig { membership, .. } = event {
                self.configs.insert(membership.version, membership.clone());
            }
            say!(self, "{id} {}", show::event(event));
        }
        let first = written + 1 - (output.records.len() + output.checkpoint.len()) as u64;
        for (record, number) in output.records.iter().chain(&output.checkpoint).zip(first..) {
            say!(self, "{id} writes #{number} {}", show::record(record));
        }
        let disk = &mut self.node(id)?.disk;
        disk.records.append(&mut output.records);
        if !output.checkpoint.is_empty() {
            disk.checkpoints.push(disk.records.len()..disk.records.len() + output.checkpoint.len());
            disk.records.append(&mut output.checkpoint);
        }
        if let Some(file) = output.save {
            say!(self, "{id} writes the file of snapshot {}@{}, {} bytes", file.meta.index, file.meta.term, file.data.len());
            let before = self.life(id)?.saving.replace(file);
            assert_eq!(before, None, "node {id} writes two files at a time");
        }
        for outgoing in output.messages {
            if outgoing.after <= durable {
                self.send(id, outgoing, "");
            } else {
                say!(self, "{id} -> {} {}; waits for #{}", to(outgoing.to), show::message(&outgoing.message), outgoing.after);
                self.life(id)?.waiting.push(outgoing);
            }
        }
        for change in output.changes.iter().filter(|_| self.changes) {
            say!(self, "{id} reports: {}", show::change(change));
        }
        if output.shut_down {
            self.life(id)?.stops_at = Some(written);
        }
        for task in output.tasks {
            say!(self, "{id} may run task {task}");
        }
        for state in output.reads {
            let index = state.index.map_or("not now, ask again".to_owned(), |index| format!("may be served once {index} is applied"));
            say!(self, "{id} read {}/{} {index}", state.read.0, state.read.1);
        }
        self.serve_reads(id)
    }

    /// Answers the reads whose index is applied here, as a node does.
    fn serve_reads(&mut self, id: NodeId) -> Result<(), String> {
        let life = self.life(id)?;
        let applied = life.raw.applied();
        let ready: Vec<ReadId> = life.reads.iter().filter(|(_, (_, index))| index.is_some_and(|i| i <= applied)).map(|(r, _)| *r).collect();
        for read in ready {
            let life = self.life(id)?;
            let (command, _) = life.reads.remove(&read).expect("just found");
            let value = curp::CommandExecutor::execute(&life.kv, &command);
            let text = show::value(&value);
            say!(self, "{id} -> client {}: read {}/{} {command}: {text} (applied {applied})", read.0, read.0, read.1);
            self.read.push((read, value));
        }
        Ok(())
    }

    /// A message leaves its node.
    fn send(&mut self, from: NodeId, outgoing: Outgoing<Cmd>, lead: &str) {
        let Outgoing { to: dest, message, .. } = outgoing;
        let text = show::message(&message);
        match (dest, message) {
            (Address::Node(to), Message::Peer { term, body }) => {
                let lost = self.isolated.contains(&from) || self.isolated.contains(&to);
                say!(self, "{lead}{from} -> {to} {text}{}", if lost { "; lost" } else { "" });
                if !lost {
                    self.flights.push(Flight { from, to, term, body, held: false });
                }
            }
            (dest, message) => {
                say!(self, "{lead}{from} -> {} {text}", to(dest));
                if let Message::Reply(reply) = message {
                    self.tell(from, reply);
                }
            }
        }
    }

    fn tell(&mut self, from: NodeId, reply: Reply<Cmd>) {
        match reply {
            Reply::Executed { id, term, config, response } => {
                self.told.entry(id).or_default().executed.push(Executed { leader: from, term, config, response });
            }
            Reply::Recorded { id, term, config, accepted: true, .. } => {
                self.told.entry(id).or_default().accepted.push((from, term, config));
            }
            Reply::Synced { id, synced } => self.told.entry(id).or_default().synced = Some(synced.response),
            _ => {}
        }
    }

    /// A node proposes a command of its own, if it leads and may.
    pub fn propose_own(&mut self, id: NodeId, command: Cmd) -> Result<(), String> {
        let mut place = None;
        self.input(id, |raw, _, now| place = raw.propose_own(command, now))?;
        if place.is_none() {
            say!(self, "{id} does not propose it");
        }
        Ok(())
    }

    /// A client's read comes to a node.
    pub fn client_read(&mut self, id: NodeId, client: ClientAddress, command: Cmd) -> Result<ReadId, String> {
        let number = self.reads.entry(client).or_default();
        *number += 1;
        let read = (client, *number);
        self.life(id)?.reads.insert(read, (command.clone(), None));
        let command = std::sync::Arc::new(command);
        self.input(id, |raw, _, now| raw.request(client, curp::Request::Read { read, command }, now))?;
        Ok(read)
    }

    /// Time passes on a node's clock. Nothing looks at it before the next input.
    pub fn pass(&mut self, id: NodeId, time: Nanos) -> Result<(), String> {
        self.node(id)?.now += time;
        Ok(())
    }

    /// The next `records` records of a node, or all, become durable.
    pub fn persist(&mut self, id: NodeId, records: Option<u64>) -> Result<(), String> {
        let life = self.life(id)?;
        let (before, written) = (life.durable, life.raw.written());
        let durable = records.map_or(written, |n| written.min(before + n));
        if durable == before {
            say!(self, "{id} has nothing to write");
            return Ok(());
        }
        let disk = &self.node(id)?.disk;
        let end = disk.found + durable as usize - 1;
        let checkpoint = disk.checkpoints.iter().find(|c| c.contains(&end) && c.start < end);
        let durable = durable + checkpoint.map_or(0, |c| c.end - end) as u64;
        let life = self.life(id)?;
        life.durable = durable;
        let (ready, waiting) = std::mem::take(&mut life.waiting).into_iter().partition(|m| m.after <= durable);
        life.waiting = waiting;
        let disk = &mut self.node(id)?.disk;
        disk.synced = disk.found + durable as usize - 1;
        if disk.checkpoints.last().is_some_and(|c| c.end <= disk.synced) {
            let latest = disk.folded(disk.synced).snapshot.map_or(0, |meta| meta.index);
            disk.files.retain(|index, _| *index >= latest);
        }
        let range = if durable == before + 1 { format!("#{durable} is") } else { format!("#{} to #{durable} are", before + 1) };
        say!(self, "{id} {range} durable");
        self.life(id)?.raw.durable(durable);
        let ready: Vec<Outgoing<Cmd>> = ready;
        for outgoing in ready {
            self.send(id, outgoing, "now ");
        }
        self.take_output(id)?;
        self.stop_if_told(id)
    }

    /// The file of a node's snapshot is durable.
    pub fn save(&mut self, id: NodeId) -> Result<(), String> {
        let file = self.life(id)?.saving.take().ok_or_else(|| format!("node {id} writes no snapshot"))?;
        let index = file.meta.index;
        say!(self, "{id} the file of snapshot {index} is durable");
        self.node(id)?.disk.files.insert(index, file);
        self.input(id, |raw, kv, _| raw.snapshot_saved(index, kv))
    }

    /// Nodes that write the file of a snapshot.
    pub fn saving(&self) -> Vec<NodeId> {
        self.nodes.iter().filter(|(_, node)| node.life.as_ref().is_some_and(|l| l.saving.is_some())).map(|(id, _)| *id).collect()
    }

    /// Executions of a node end: one, or all there are.
    pub fn exec(&mut self, id: NodeId, task: Option<TaskId>) -> Result<(), String> {
        let tasks = &mut self.life(id)?.tasks;
        let ended: Vec<TaskId> = tasks.iter().copied().filter(|t| task.is_none_or(|task| task == *t)).collect();
        tasks.retain(|t| !ended.contains(t));
        if ended.is_empty() {
            return Err(format!("node {id} has no such task"));
        }
        ended.into_iter().try_for_each(|task| {
            say!(self, "{id} task {task} ends");
            self.input(id, |raw, kv, _| raw.task_done(task, kv))
        })
    }

    /// Messages on their way for which `which` holds, and that are held or not, are taken off the network.
    pub fn take_flights(&mut self, held: bool, which: impl Fn(&Flight) -> bool) -> Vec<Flight> {
        let (taken, left) = std::mem::take(&mut self.flights).into_iter().partition(|f| f.held == held && which(f));
        self.flights = left;
        taken
    }

    /// A message arrives.
    pub fn deliver(&mut self, flight: Flight) -> Result<(), String> {
        if self.nodes.get(&flight.to).is_none_or(|node| node.life.is_none()) {
            say!(self, "{}; lost, {} is down", flight.show(), flight.to);
            return Ok(());
        }
        say!(self, "[{}]", flight.show());
        let Flight { from, to, term, body, .. } = flight;
        self.input(to, |raw, _, now| raw.step(from, term, body, now))
    }

    pub fn lose(&mut self, flight: &Flight) {
        say!(self, "lost: {}", flight.show());
    }

    /// A bit of a piece of a snapshot is flipped on its way; `mended`: and the piece's checksum is made right again.
    pub fn damage(&mut self, mut flight: Flight, mended: bool) -> Result<(), String> {
        let PeerMessage::InstallSnapshot { data, chunk_checksum, .. } = &mut flight.body else {
            return Err("only pieces of snapshots can be damaged".to_owned());
        };
        let mut bytes = data.to_vec();
        *bytes.first_mut().ok_or("there is nothing in it")? ^= 1;
        if mended {
            *chunk_checksum = crc32fast::hash(&bytes);
        }
        *data = std::sync::Arc::new(bytes);
        say!(self, "damaged: {}", flight.show());
        self.flights.push(flight);
        Ok(())
    }

    /// The network keeps a message until the script lets go of it.
    pub fn hold(&mut self, flight: Flight) {
        say!(self, "held: {}", flight.show());
        self.flights.push(Flight { held: true, ..flight });
    }

    /// The network keeps a copy of a message that goes on its way.
    pub fn copy(&mut self, flight: Flight) {
        say!(self, "a copy is held: {}", flight.show());
        let copy = Flight { held: true, ..flight.clone() };
        self.flights.extend([flight, copy]);
    }

    /// Number of messages on their way.
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Takes the message at this place off the network.
    pub fn take_flight(&mut self, at: usize) -> Flight {
        self.flights.swap_remove(at)
    }

    /// A message is on its way again.
    pub fn put_back(&mut self, flight: Flight) {
        self.flights.push(flight);
    }

    /// From here on all messages of a node, and to it, are lost.
    pub fn isolate(&mut self, id: NodeId) -> Result<(), String> {
        self.node(id)?;
        self.isolated.insert(id);
        let lost = self.take_flights(false, |f| f.from == id || f.to == id);
        lost.iter().for_each(|flight| self.lose(flight));
        Ok(())
    }

    pub fn rejoin(&mut self, id: NodeId) -> Result<(), String> {
        self.isolated.remove(&id).then_some(()).ok_or_else(|| format!("node {id} was not isolated"))
    }

    /// Writes, executions and messages among `among`, again and again, until there is nothing left to do, or until `winner` leads. Held
    /// messages stay.
    pub fn settle(&mut self, among: &[NodeId], winner: Option<NodeId>) -> Result<(), String> {
        for _ in 0..1000 {
            let mut busy = false;
            for id in self.up().into_iter().filter(|id| among.contains(id)) {
                let life = self.life(id)?;
                if life.durable < life.raw.written() {
                    busy = true;
                    self.persist(id, None)?;
                }
                if self.node(id)?.life.is_none() {
                    // It has stopped: the cluster shuts down.
                    continue;
                }
                if self.node(id)?.life.as_ref().is_some_and(|life| !life.tasks.is_empty()) {
                    busy = true;
                    self.exec(id, None)?;
                }
                if self.life(id)?.saving.is_some() {
                    busy = true;
                    self.save(id)?;
                }
            }
            let mut flights = self.take_flights(false, |f| among.contains(&f.from) && among.contains(&f.to)).into_iter();
            for flight in flights.by_ref() {
                busy = true;
                self.deliver(flight)?;
                if let Some(winner) = winner
                    && self.raw(winner)?.is_leader()
                {
                    self.flights.splice(0..0, flights);
                    return Ok(());
                }
            }
            if !busy {
                return Ok(());
            }
        }
        Err("the cluster does not settle: a thousand rounds of messages led to more".to_owned())
    }

    /// A node stops. After a power loss its disk has only what was synced; after a kill, all that was written.
    pub fn crash(&mut self, id: NodeId, power: bool) -> Result<(), String> {
        self.life(id)?;
        let node = self.node(id)?;
        node.life = None;
        let disk = &mut node.disk;
        let lost = if power { disk.records.split_off(disk.synced) } else { Vec::new() };
        disk.checkpoints.retain(|c| c.end <= disk.records.len());
        for record in lost {
            say!(self, "{id} lost {}", show::record(&record));
        }
        Ok(())
    }

    /// A node that was down starts from its disk.
    pub fn start(&mut self, id: NodeId) -> Result<(), String> {
        let (config, membership) = (self.config.clone(), self.membership.clone());
        let node = self.node(id)?;
        if node.life.is_some() {
            return Err(format!("node {id} runs already"));
        }
        node.lives += 1;
        node.disk.found = node.disk.records.len();
        let mut kv = Kv::default();
        let raw = RawCurp::new(id, config, membership, node.disk.found(), node.lives, node.now, &mut kv).map_err(|e| e.to_string())?;
        let (waiting, tasks, reads) = (Vec::new(), Vec::new(), BTreeMap::new());
        node.life = Some(Life { raw, kv, durable: 0, waiting, tasks, saving: None, reads, stops_at: None });
        self.take_output(id)
    }
}

impl Disk {
    /// What a node would find, if this much of it were there.
    fn folded(&self, records: usize) -> Durable<Cmd> {
        let mut durable = Durable::default();
        for record in &self.records[..records] {
            durable.apply(record.clone()).expect("a node writes no gaps");
        }
        durable
    }

    /// What a node finds.
    fn found(&self) -> Found<Cmd> {
        let durable = self.folded(self.records.len());
        let snapshot = durable.snapshot.as_ref().and_then(|meta| self.files.get(&meta.index)).cloned();
        Found { durable, snapshot, state: None }
    }
}

fn to(address: Address) -> String {
    match address {
        Address::Node(node) => node.to_string(),
        Address::Client(client) => format!("client {client}:"),
    }
}
