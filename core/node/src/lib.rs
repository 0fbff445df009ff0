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
//! A snapshot's file is a write of its own, and so is the removal of what a checkpoint replaced. Neither makes a record durable, so nothing
//! waits for their tokens; but what they are for goes on only when they have ended: in one batch, or in two that are in flight
//! together, a crash may keep the second and lose the first.
//!
//! The node never blocks, reads no clock, draws nothing and owns no disk. A failed sync is fatal: what the kernel did with the dirty
//! pages is unknown, so nothing may be trusted that was not read back.

mod leases;
mod machine;
mod reads;
mod state;
mod watches;

use std::collections::{BTreeMap, VecDeque};

use curp::{
    Address, Config, FOUND, Found, Index, Membership, Message, Nanos, NodeId, Outgoing, RawCurp, ReadId, Record, Refusal, Reply,
    Request as Ask, SnapshotError, SnapshotFile, StateChange, Storage, TaskId, Term,
};
use kv::{LeaseEvent, Request, Store, WatchLimits};
use machine::Machine;
use mutants::Mutant;
use reads::PendingRead;
use state::Keeper;
use storage::{Corruption, FileOp, Lsn, StateError, StateStore, Wal};
use watches::{Pull, Readers};

/// Writes in flight at a time; further records wait in memory and go out as one batch (group commit).
const WRITES_IN_FLIGHT_MAX: usize = 4;

const SECOND: Nanos = 1_000_000_000;

/// Names a write; rising.
pub type Token = u64;

/// Times and limits of what a node has beside consensus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How much waits for a slow watcher.
    pub watch: WatchLimits,
    /// A watcher is dropped when nobody has asked for its next response for so long; longer than a client waits before it asks again.
    pub watch_idle: Nanos,
    /// Watchers that want it are told how far they are at this interval.
    pub watch_progress_every: Nanos,
    /// A read is forgotten when nobody has asked for it for so long; longer than a client waits before it asks again.
    pub read_idle: Nanos,
    /// Time between two attempts to get the revoke of an expired lease into the log.
    pub revoke_retry: Nanos,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            watch: WatchLimits { responses_max: 64, events_max: 256 },
            watch_idle: 10 * SECOND,
            watch_progress_every: 60 * SECOND,
            read_idle: 10 * SECOND,
            revoke_retry: SECOND / 4,
        }
    }
}

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
#[derive(Debug)]
pub struct Start<'a> {
    /// The node.
    pub id: NodeId,
    /// Times and limits.
    pub config: Config,
    /// The cluster as it was made. A node that joins later is not in it.
    pub membership: Membership,
    /// The files found in the node's directory, but for the state machine's store.
    pub files: &'a BTreeMap<String, Vec<u8>>,
    /// Where the state machine is kept. Without it a start begins from the snapshot.
    pub state: Option<Box<dyn StateStore>>,
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
    /// The snapshot that the log names cannot be used.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The state machine's store could not be read.
    #[error("{0}")]
    StateFailed(String),
    /// The state machine's store reflects what the log does not have.
    #[error("the state machine's store reflects entry {index} of term {term}, which the log does not have: it lost what was applied")]
    StateAhead {
        /// The entry's index.
        index: Index,
        /// The entry's term.
        term: Term,
    },
    /// There is nothing in the directory of a node that ran before.
    #[error("node {0} finds an empty disk: what it promised is lost, so it must not vote again; remove it and add a new id")]
    DiskLost(NodeId),
}

impl From<StateError> for StartError {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Damaged(corruption) => StartError::Corruption(corruption),
            StateError::Failed(why) => StartError::StateFailed(why),
        }
    }
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

/// What happened on a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// In the protocol.
    Curp(curp::Event<Request>),
    /// To leases.
    Lease(LeaseEvent),
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
    pub events: Vec<Event>,
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
    machine: Machine,
    keeper: Option<Keeper>,
    wal: Wal,
    limits: Limits,
    /// The clock's last reading, and the wall clock's as far as it is told.
    clock: Nanos,
    wall: Nanos,
    /// Records not handed to the disk yet, and whether one of them needs a sync.
    pending: Vec<Record<Request>>,
    pending_sync: bool,
    /// A snapshot whose file is not handed to the disk yet.
    save: Option<SnapshotFile>,
    /// Writes in flight, in order.
    in_flight: VecDeque<(Token, InFlight)>,
    /// The last token of a write that another could be mistaken for.
    last_token: Token,
    /// The disk holds more than before, for good: there may be files that nobody needs any more.
    tidy: bool,
    /// Reads whose index is asked for, or waited for.
    reads: BTreeMap<ReadId, PendingRead>,
    /// Those who wait for a watcher's next response.
    readers: Readers,
    /// The term in which the trace has this node's leases promoted.
    promoted: Option<Term>,
    /// What this input meant for leases.
    lease_events: Vec<LeaseEvent>,
    spare: curp::Output<Request>,
    /// The repairs of the log found at start have ended. Before that nothing may be appended: a frame says how far the log is synced,
    /// and until then that is not true of what was found.
    repaired: bool,
    /// It has stopped, after a failure or in good order, and ignores all further input.
    failed: bool,
    /// The cluster's shutdown is applied: the node stops when records up to here are durable.
    stop_after: Option<Token>,
}

/// What a write is, to know what its end means.
#[derive(Clone, Copy, Debug)]
enum InFlight {
    /// Records: where the log ends after them, and whether it is synced then.
    Log { end: Lsn, synced: bool },
    /// A snapshot's file.
    Snapshot(Index),
    /// The removal of files; it ends with a sync of the log, up to here.
    Removal { end: Lsn },
}

impl Node {
    /// Starts from what the disk holds.
    ///
    /// # Errors
    /// The node must not start from it.
    pub fn start(start: Start<'_>, out: &mut Output) -> Result<(Node, Recovery), StartError> {
        let Start { id, config, membership, files, state, first, entropy, now } = start;
        let recovered = storage::recover::<Request>(files)?;
        if !files.keys().any(|file| file.starts_with("wal-")) && !first && !mutants::on(Mutant::RepairedNodeVotes) {
            return Err(StartError::DiskLost(id));
        }
        let recovery = Recovery { cut: recovered.cut, pool: recovered.durable.pool.len() };
        let mut found = Found { durable: recovered.durable, snapshot: recovered.snapshot, state: None };
        let (mut store, mut keeper) = (Store::new(), None);
        if let Some(state) = state {
            let (kept, loaded) = Keeper::load(state)?;
            keeper = Some(kept);
            if let Some(loaded) = loaded.filter(|loaded| Some(loaded.mark.index) > found.snapshot.as_ref().map(|file| file.meta.index)) {
                let (index, term) = (loaded.mark.index, loaded.mark.term);
                if found.term(index) != Ok(term) {
                    return Err(StartError::StateAhead { index, term });
                }
                let (kept, state) = loaded.split();
                (store, found.state) = (kept, Some(state));
            }
            store.note_changes();
        }
        let limits = Limits::default();
        let mut machine = Machine::new(store, &limits, now);
        let mut raw = RawCurp::new(id, config, membership, found, entropy, now, &mut machine)?;
        if keeper.is_some() {
            raw.note_sessions();
        }
        let mut node = Node {
            raw,
            machine,
            keeper,
            limits,
            clock: now,
            wall: 0,
            wal: recovered.wal,
            pending: Vec::new(),
            pending_sync: false,
            save: None,
            in_flight: VecDeque::new(),
            last_token: FOUND,
            tidy: false,
            reads: BTreeMap::new(),
            readers: Readers::default(),
            promoted: None,
            lease_events: Vec::new(),
            spare: curp::Output::default(),
            repaired: false,
            failed: false,
            stop_after: None,
        };
        node.in_flight.push_back((FOUND, InFlight::Log { end: node.wal.end(), synced: true }));
        out.writes.push(Write { token: FOUND, ops: recovered.repairs, sync: true });
        node.keep_replaced();
        node.finish(out);
        Ok((node, recovery))
    }

    /// Other times and limits than the usual, from the first input on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.machine.set_limits(&limits);
        self.limits = limits;
    }

    /// What the wall clock reads with the next input, in nanoseconds. Nothing asks for it but a planted bug.
    pub fn set_wall(&mut self, wall: Nanos) {
        self.wall = wall;
    }

    /// Handles one input at the node's clock reading `now`.
    pub fn handle(&mut self, now: Nanos, input: Input, out: &mut Output) {
        if self.failed {
            return;
        }
        if let Some(last) = self.stop_after {
            return self.stop(last, &input, out);
        }
        let is_tick = matches!(input, Input::Tick);
        self.clock = now;
        self.machine.clock = self.leases_clock();
        if let Err(why) = self.save_state(is_tick, out) {
            self.failed = true;
            out.fatal = Some(why.to_string());
            return;
        }
        match input {
            Input::Tick => self.raw.tick(now),
            Input::Message { from: Address::Node(from), message: Message::Peer { term, body } } => self.raw.step(from, term, body, now),
            Input::Message { from: Address::Client(from), message: Message::Request(request) } => self.request(from, request, now, out),
            Input::Message { from: Address::Node(_), message: Message::Request(request) } if mutants::on(Mutant::LeaseFollowerExpires) => {
                self.take_forwarded(request, now);
            }
            Input::Message { .. } => tracing::warn!("a message that nobody sends to a node"),
            Input::DiskDone(token) => self.disk_done(token),
            Input::DiskFailed(token) if mutants::on(Mutant::FsyncErrorRetried) => self.disk_done(token),
            Input::DiskFailed(token) => {
                self.failed = true;
                out.fatal = Some(format!("write {token} could not be synced; what the disk holds of it is unknown"));
                return;
            }
            Input::ExecDone(task) => self.raw.task_done(task, &mut self.machine),
            Input::Unreachable(node) => self.raw.report_unreachable(node),
        }
        if is_tick {
            self.forget_reads(now);
            self.tick_watchers(now);
        }
        self.finish(out);
        if is_tick {
            self.expire(now, out);
            self.flush(out, true);
        }
    }

    /// When it next wants a tick, on its own clock.
    pub fn next_due(&self) -> Nanos {
        let due = [self.leases_due(), self.watchers_due()];
        due.into_iter().flatten().fold(self.raw.next_due(), Nanos::min)
    }

    /// The consensus state, for tests and checks of a live node.
    pub fn raw(&self) -> &RawCurp<Request> {
        &self.raw
    }

    /// The state machine, for tests and checks of a live node.
    pub fn store(&self) -> &Store {
        &self.machine.store
    }

    /// Whether the state machine's store holds the state as it is, for tests and checks of a live node at rest; false if it has none, or lags.
    ///
    /// # Errors
    /// It holds another state of the applied index.
    pub fn is_kept(&self) -> Result<bool, String> {
        self.keeper.as_ref().map_or(Ok(false), |keeper| keeper.compare(&self.raw, &self.machine.store))
    }

    fn request(&mut self, from: u32, request: Ask<Request>, now: Nanos, out: &mut Output) {
        match request {
            Ask::Propose { proposal } | Ask::Record { proposal, .. }
                if proposal.command.validate().is_err() || proposal.command.is_leaders() =>
            {
                // Neither log nor pool may hold it: what a pool holds may be recovered, and every replica would have to execute it.
                self.reply(from, Reply::Refused { id: proposal.id, why: Refusal::Invalid }, out);
            }
            Ask::Read { read, command } => self.read(read, command, now, out),
            Ask::Watch { watch, pull: number, create, progress } => self.pull(Pull { watch, number, create, progress }, now, out),
            Ask::Unwatch { watch } => self.drop_reader(watch),
            request => self.raw.request(from, request, now),
        }
    }

    fn disk_done(&mut self, token: Token) {
        self.repaired = true;
        while let Some(&(done, write)) = self.in_flight.front()
            && done <= token
        {
            self.in_flight.pop_front();
            match write {
                InFlight::Log { end, synced: true } => {
                    self.wal.synced(end);
                    self.tidy = true;
                    self.raw.durable(done);
                }
                InFlight::Log { synced: false, .. } => {}
                InFlight::Snapshot(index) => {
                    self.raw.snapshot_saved(index, &mut self.machine);
                    self.keep_replaced();
                }
                InFlight::Removal { end } => {
                    self.wal.synced(end);
                    self.tidy = true;
                }
            }
        }
    }

    /// The state machine was restored from a snapshot: its store is to hold that.
    fn keep_replaced(&mut self) {
        if self.machine.store.take_replaced()
            && let Some(keeper) = &mut self.keeper
        {
            keeper.replace(&self.raw, &self.machine.store);
        }
    }

    /// Commits what is applied to the state machine's store, if it is time. That is of what earlier inputs led to, and all that has been told.
    fn save_state(&mut self, timer: bool, out: &mut Output) -> Result<(), StateError> {
        let Some(keeper) = &mut self.keeper else { return Ok(()) };
        if let Some(index) = keeper.save(timer, &self.raw, &mut self.machine.store)? {
            out.events.push(Event::Curp(curp::Event::SaveState { index }));
        }
        Ok(())
    }

    /// The shutdown is applied: nothing happens here any more but that records up to `last` become durable.
    fn stop(&mut self, last: Token, input: &Input, out: &mut Output) {
        match *input {
            Input::DiskDone(token) => {
                self.repaired = true;
                while let Some(&(done, write)) = self.in_flight.front()
                    && done <= token
                {
                    self.in_flight.pop_front();
                    if matches!(write, InFlight::Log { synced: true, .. }) && done >= last {
                        self.failed = true;
                        out.shut_down = true;
                    }
                }
                self.flush(out, false);
            }
            Input::DiskFailed(token) => {
                self.failed = true;
                out.fatal = Some(format!("write {token} could not be synced; what the disk holds of it is unknown"));
            }
            _ => {}
        }
    }

    /// Runs what can run, and hands out what the input led to.
    fn finish(&mut self, out: &mut Output) {
        self.machine.term = self.raw.leadership().term;
        self.raw.pump(&mut self.machine);
        let mut raw_out = self.raw.take_output(std::mem::take(&mut self.spare));
        self.read_states(&mut raw_out, out);
        self.tell_watchers(out);
        match &mut self.keeper {
            Some(keeper) => keeper.note(raw_out.sessions.drain(..)),
            None => debug_assert!(raw_out.sessions.is_empty(), "nobody asked for them"),
        }
        self.pending.append(&mut raw_out.records);
        self.pending_sync |= std::mem::take(&mut raw_out.sync);
        out.messages.append(&mut raw_out.messages);
        out.tasks.append(&mut raw_out.tasks);
        self.tell(raw_out.events.drain(..), out);
        out.changes.append(&mut raw_out.changes);
        if std::mem::take(&mut raw_out.shut_down) {
            self.stop_after = Some(self.raw.written());
            self.pending_sync = true;
        }
        self.checkpoint(&mut raw_out.checkpoint, out);
        if let Some(file) = raw_out.save.take() {
            let before = self.save.replace(file);
            assert!(before.is_none(), "one snapshot at a time");
        }
        self.spare = raw_out;
        self.save_and_tidy(out);
        self.flush(out, false);
    }

    /// Hands records to the disk: at once if something waits for them and the disk is not busy; on a tick, whatever there is.
    fn flush(&mut self, out: &mut Output, even_unsynced: bool) {
        if !self.repaired || self.in_flight.len() >= WRITES_IN_FLIGHT_MAX {
            return;
        }
        let due = self.pending_sync || (even_unsynced && !self.pending.is_empty());
        if due {
            let token = self.token();
            return self.write_pending(token, out);
        }
        // An idle moment: say how far the log is synced, so that later damage to its end is told from a torn write.
        if even_unsynced && let Some(mark) = self.wal.mark::<Request>() {
            self.in_flight.push_back((self.raw.written(), InFlight::Log { end: mark.end, synced: false }));
            out.writes.push(Write { token: self.raw.written(), ops: mark.ops, sync: false });
        }
    }

    fn write_pending(&mut self, token: Token, out: &mut Output) {
        let appended = self.wal.append(&self.pending, self.pending_sync);
        self.in_flight.push_back((token, InFlight::Log { end: appended.end, synced: self.pending_sync }));
        out.writes.push(Write { token, ops: appended.ops, sync: self.pending_sync });
        self.pending.clear();
        self.pending_sync = false;
    }

    /// The token of a write after which everything numbered so far is handed out: the last number, or one more if a write
    /// has that already whose end means something else.
    fn token(&mut self) -> Token {
        self.last_token = if self.raw.written() > self.last_token { self.raw.written() } else { self.raw.take_number() };
        self.last_token
    }

    /// Hands a checkpoint to the disk, after all that comes before it. It is a frame of its own, in a new segment, and rare enough not to
    /// wait for others in flight.
    fn checkpoint(&mut self, records: &mut Vec<Record<Request>>, out: &mut Output) {
        if records.is_empty() {
            return;
        }
        if !self.pending.is_empty() || self.pending_sync {
            // Its token lies before the checkpoint's last record, and nothing waits for those between.
            self.last_token = (self.raw.written() - records.len() as Token).max(self.last_token + 1);
            self.write_pending(self.last_token, out);
        }
        let appended = self.wal.checkpoint(records);
        let token = self.token();
        self.in_flight.push_back((token, InFlight::Log { end: appended.end, synced: true }));
        out.writes.push(Write { token, ops: appended.ops, sync: true });
        records.clear();
    }

    /// Writes the file of a snapshot, and removes what nobody needs any more. These say nothing of records that are not handed out yet:
    /// their tokens are their own, and nothing waits for them.
    fn save_and_tidy(&mut self, out: &mut Output) {
        if !self.repaired {
            return;
        }
        if let Some(file) = self.save.take() {
            let ops = self.wal.save_snapshot(&file);
            // Records first, if they may go: a record that names the snapshot, which would be a bug, is then seen to be one.
            self.flush(out, false);
            let token = self.token();
            self.in_flight.push_back((token, InFlight::Snapshot(file.meta.index)));
            out.writes.push(Write { token, ops, sync: false });
        }
        if std::mem::take(&mut self.tidy)
            && let Some(removal) = self.wal.obsolete::<Request>()
        {
            let token = self.token();
            self.in_flight.push_back((token, InFlight::Removal { end: removal.end }));
            out.writes.push(Write { token, ops: removal.ops, sync: false });
        }
    }
}
