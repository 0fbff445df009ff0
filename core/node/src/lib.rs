//! One whole replica, sans-IO: consensus ([`RawCurp`]), the store, and the log on disk, put together.
//!
//! The contract follows etcd's raft library with asynchronous storage writes. A [`Node`] is given one [`Input`] at a time, with its own
//! clock's reading, and what it wants done is added to an [`Output`]:
//!
//! - **writes**, each a batch of file operations with a token; the driver performs them in order and reports each end by
//!   [`Input::DiskDone`]. Several may be in flight.
//! - **messages**, each naming the token it must wait for: it may leave when a *synced* write with that token or a later one has
//!   ended. The driver enforces it; the node does not wait.
//! - **tasks**: executions that may run now. The driver reports each end by [`Input::ExecDone`], in any order, at any later time;
//!   the result is computed inside the node at that instant, atomically.
//! - **events**, for the trace.
//!
//! The node never blocks, reads no clock, draws nothing and owns no disk. A failed sync is fatal: what the kernel did with the dirty
//! pages is unknown, so nothing may be trusted that was not read back.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use curp::{
    Address, Config, Event, Membership, Message, Nanos, NodeId, Outgoing, RawCurp, ReadId, ReadState, Record, Refusal, Reply,
    Request as Ask, StateChange, Synced, TaskId,
};
use kv::{Request, Response, Store};
use mutants::Mutant;
use storage::{Corruption, FileOp, Lsn, Wal};

/// Writes in flight at a time; further records wait in memory and go out as one batch (group commit).
const WRITES_IN_FLIGHT_MAX: usize = 4;

/// Names a write; rising.
pub type Token = u64;

/// What can happen to a node.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time passed: due at [`Node::next_due`]. Timers are looked at here only.
    Tick,
    /// A message came.
    Message {
        /// From whom.
        from: Address,
        /// What.
        message: Message<Request>,
    },
    /// The write with this token, and all before it, have ended.
    DiskDone(Token),
    /// A write failed.
    DiskFailed(Token),
    /// The execution's time has come.
    ExecDone(TaskId),
    /// The transport could not reach a node: what was sent to it lately may be lost.
    Unreachable(NodeId),
}

/// What a node starts from.
#[derive(Clone, Debug)]
pub struct Start<'a> {
    /// The node.
    pub id: NodeId,
    /// Times and limits.
    pub config: Config,
    /// The cluster as it was made. A node that joins later is not in it.
    pub membership: Membership,
    /// The files found in the node's directory.
    pub files: &'a BTreeMap<String, Vec<u8>>,
    /// The operator says that this id has never run before. Without it an empty directory is a lost disk, and the node does not start.
    pub first: bool,
    /// Different in every life of the node.
    pub entropy: u64,
    /// The node's clock.
    pub now: Nanos,
}

/// Why a node must not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The log or the snapshot is damaged in a place that had been synced.
    #[error(transparent)]
    Corruption(#[from] Corruption),
    /// There is nothing in the directory of a node that ran before.
    #[error("node {0} finds an empty disk: what it promised is lost, so it must not vote again; remove it and add a new id")]
    DiskLost(NodeId),
}

/// File operations to be done in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// Reported back when they have ended.
    pub token: Token,
    /// The operations.
    pub ops: Vec<FileOp>,
    /// Whether they make the log durable up to here; if not, nothing waits for them.
    pub sync: bool,
}

/// What a node wants done, in order.
#[derive(Debug, Default)]
pub struct Output {
    /// Writes.
    pub writes: Vec<Write>,
    /// Messages, each with the token it waits for in `after`.
    pub messages: Vec<Outgoing<Request>>,
    /// Executions that may run.
    pub tasks: Vec<TaskId>,
    /// What happened.
    pub events: Vec<Event<Request>>,
    /// Role, leader or configuration changed; for an application that wants to know.
    pub changes: Vec<StateChange>,
    /// The node has stopped for good, and why. It ignores all further input; a restart may help, or not.
    pub fatal: Option<String>,
    /// The node has stopped in good order: it applied the cluster's shutdown, and all it wrote is durable. It ignores all further input.
    pub shut_down: bool,
}

/// How a node came up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Bytes of unsynced writes cut off the end of the log.
    pub cut: u64,
    /// Commands found in the spec pool.
    pub pool: usize,
}

/// One replica.
#[derive(Debug)]
pub struct Node {
    raw: RawCurp<Request>,
    store: Store,
    wal: Wal,
    /// Records not handed to the disk yet, and whether one of them needs a sync.
    pending: Vec<Record<Request>>,
    pending_sync: bool,
    /// Writes in flight: token, where the log ends after it, whether it is synced then.
    in_flight: VecDeque<(Token, Lsn, bool)>,
    /// Reads whose index is asked for, or waited for.
    reads: BTreeMap<ReadId, PendingRead>,
    spare: curp::Output<Request>,
    /// The repairs of the log found at start have ended. Before that nothing may be appended: a frame says how far the log is synced,
    /// and until then that is not true of what was found.
    repaired: bool,
    /// It has stopped, after a failure or in good order, and ignores all further input.
    failed: bool,
    /// The cluster's shutdown is applied: the node stops when records up to here are durable.
    stops_at: Option<Token>,
}

#[derive(Debug)]
struct PendingRead {
    command: Arc<Request>,
    /// Known read index.
    ready: Option<ReadState>,
}

impl Node {
    /// Starts from what the disk holds.
    ///
    /// # Errors
    /// The node must not start from it.
    pub fn start(start: Start<'_>, out: &mut Output) -> Result<(Node, Recovery), StartError> {
        let Start { id, config, membership, files, first, entropy, now } = start;
        let recovered = storage::recover::<Request>(files)?;
        if files.is_empty() && !first && !mutants::on(Mutant::RepairedNodeVotes) {
            return Err(StartError::DiskLost(id));
        }
        let recovery = Recovery { cut: recovered.cut, pool: recovered.durable.pool.len() };
        let raw = RawCurp::new(id, config, membership, recovered.durable, entropy, now);
        let mut node = Node {
            raw,
            store: Store::new(),
            wal: recovered.wal,
            pending: Vec::new(),
            pending_sync: false,
            in_flight: VecDeque::new(),
            reads: BTreeMap::new(),
            spare: curp::Output::default(),
            repaired: false,
            failed: false,
            stops_at: None,
        };
        let token = node.raw.written();
        node.in_flight.push_back((token, node.wal.end(), true));
        out.writes.push(Write { token, ops: recovered.repairs, sync: true });
        node.finish(out);
        Ok((node, recovery))
    }

    /// Handles one input at the node's clock reading `now`.
    pub fn handle(&mut self, now: Nanos, input: Input, out: &mut Output) {
        if self.failed {
            return;
        }
        let is_tick = matches!(input, Input::Tick);
        match input {
            Input::Tick => self.raw.tick(now),
            Input::Message { from: Address::Node(from), message: Message::Peer { term, body } } => self.raw.step(from, term, body, now),
            Input::Message { from: Address::Client(from), message: Message::Request(request) } => self.request(from, request, now, out),
            Input::Message { .. } => tracing::warn!("a message that nobody sends to a node"),
            Input::DiskDone(token) => self.disk_done(token, out),
            Input::DiskFailed(token) if mutants::on(Mutant::FsyncErrorRetried) => self.disk_done(token, out),
            Input::DiskFailed(token) => {
                self.failed = true;
                out.fatal = Some(format!("write {token} could not be synced; what the disk holds of it is unknown"));
                return;
            }
            Input::ExecDone(task) => self.raw.task_done(task, &mut self.store),
            Input::Unreachable(_) => {}
        }
        self.finish(out);
        if is_tick {
            self.flush(out, true);
        }
    }

    /// When it next wants a tick, on its own clock.
    pub fn next_due(&self) -> Nanos {
        self.raw.next_due()
    }

    /// The consensus state, for tests and checks of a live node.
    pub fn raw(&self) -> &RawCurp<Request> {
        &self.raw
    }

    /// The state machine, for tests and checks of a live node.
    pub fn store(&self) -> &Store {
        &self.store
    }

    fn request(&mut self, from: u32, request: Ask<Request>, now: Nanos, out: &mut Output) {
        if let Ask::Propose { proposal } | Ask::Record { proposal, .. } = &request
            && proposal.command.validate().is_err()
        {
            // Neither log nor pool may hold it: what a pool holds may be recovered, and every replica would have to execute it.
            return self.reply(from, Reply::Refused { id: proposal.id, why: Refusal::Invalid }, out);
        }
        if let Ask::Read { read, command } = &request {
            // A client has one read at a time: older ones are of no interest to it any more.
            self.reads.retain(|(client, number), _| *client != read.0 || *number >= read.1);
            self.reads.insert(*read, PendingRead { command: command.clone(), ready: None });
        }
        self.raw.request(from, request, now);
    }

    fn disk_done(&mut self, token: Token, out: &mut Output) {
        self.repaired = true;
        while let Some(&(done, end, synced)) = self.in_flight.front()
            && done <= token
        {
            self.in_flight.pop_front();
            if synced {
                self.wal.synced(end);
                self.raw.durable(done);
                if self.stops_at.is_some_and(|at| at <= done) {
                    self.failed = true;
                    out.shut_down = true;
                }
            }
        }
    }

    /// Runs what can run, and hands out what the input led to.
    fn finish(&mut self, out: &mut Output) {
        self.raw.pump(&mut self.store);
        let mut raw_out = self.raw.take_output(std::mem::take(&mut self.spare));
        self.read_states(&mut raw_out, out);
        self.pending.append(&mut raw_out.records);
        self.pending_sync |= std::mem::take(&mut raw_out.sync);
        out.messages.append(&mut raw_out.messages);
        out.tasks.append(&mut raw_out.tasks);
        out.events.append(&mut raw_out.events);
        out.changes.append(&mut raw_out.changes);
        if std::mem::take(&mut raw_out.shut_down) {
            self.stops_at = Some(self.raw.written());
        }
        self.spare = raw_out;
        self.flush(out, false);
    }

    /// Hands records to the disk: at once if something waits for them and the disk is not busy; on a tick, whatever there is.
    fn flush(&mut self, out: &mut Output, even_unsynced: bool) {
        if !self.repaired || self.in_flight.len() >= WRITES_IN_FLIGHT_MAX {
            return;
        }
        let due = self.pending_sync || (even_unsynced && !self.pending.is_empty());
        if !due {
            // An idle moment: say how far the log is synced, so that later damage to its end is told from a torn write.
            if even_unsynced && let Some(mark) = self.wal.mark::<Request>() {
                self.in_flight.push_back((self.raw.written(), mark.end, false));
                out.writes.push(Write { token: self.raw.written(), ops: mark.ops, sync: false });
            }
            return;
        }
        let token = self.raw.written();
        let appended = self.wal.append(&self.pending, self.pending_sync);
        self.in_flight.push_back((token, appended.end, self.pending_sync));
        out.writes.push(Write { token, ops: appended.ops, sync: self.pending_sync });
        self.pending.clear();
        self.pending_sync = false;
    }

    /// Notes the read indexes that came, and serves every read that has been applied up to its own.
    fn read_states(&mut self, raw_out: &mut curp::Output<Request>, out: &mut Output) {
        for state in raw_out.reads.drain(..) {
            if state.index.is_none() {
                if self.reads.remove(&state.read).is_some() {
                    let refused = Reply::ReadRefused { read: state.read, cluster: self.raw.leadership() };
                    self.reply(state.read.0, refused, out);
                }
            } else if let Some(read) = self.reads.get_mut(&state.read) {
                read.ready = Some(state);
            }
        }
        if self.reads.is_empty() {
            return;
        }
        let applied = self.raw.applied();
        let ready: Vec<ReadId> = self
            .reads
            .iter()
            .filter(|(_, read)| read.ready.as_ref().and_then(|r| r.index).is_some_and(|index| index <= applied))
            .map(|(id, _)| *id)
            .collect();
        for id in ready {
            if let Some(PendingRead { command, ready: Some(state) }) = self.reads.remove(&id) {
                let read_index = state.index.unwrap_or(0);
                raw_out.events.push(Event::ServeRead { read: state.read, read_index, applied });
                self.serve(&command, &state, out);
            }
        }
    }

    /// Serves a read at the applied index: commuting commands beyond it may have run already, so it reads at that index's revision.
    fn serve(&mut self, command: &Request, state: &ReadState, out: &mut Output) {
        let Request::Range(range) = command else { return };
        let revision = self.raw.applied_revision();
        let (kvs, count) = self.store.range_at(range, revision);
        let synced = Synced { revision, response: Response::Range { kvs, count } };
        self.reply(state.read.0, Reply::Read { read: state.read, applied: self.raw.applied(), synced }, out);
    }

    fn reply(&self, to: u32, reply: Reply<Request>, out: &mut Output) {
        out.messages.push(Outgoing { to: Address::Client(to), message: Message::Reply(reply), after: 0 });
    }
}
