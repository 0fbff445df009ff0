//! [`RawCurp`]: CURP's fast path on a Raft backend, sans-IO. It reads no clock, draws nothing, owns no disk and sends nothing: it is
//! called with inputs, and what it wants done is in its [`Output`].
//!
//! **Storage is asynchronous** (as in etcd's raft library with asynchronous storage writes). Every [`Record`] the node wants written
//! has a sequence number, 2, 3, 4, … (1 is what was found at start); they become durable in that order, and [`RawCurp::durable`] tells how far. Every outgoing
//! message names the sequence number it must wait for. Nothing here waits.
//!
//! The files: `election` (pre-vote, votes, recovery), `replication` (append, commit), `propose` (fast and slow rounds, records,
//! sessions), `apply` (queue, execution, the opening of the fast path), `read` (read index), `progress` (flow control per follower),
//! `snapshot` (taking, compaction, sending, installing), `membership` (configurations and their changes), `transfer` (going away in good
//! order: leadership handed over, the cluster shut down), `status` (what an application may know).

mod apply;
mod election;
mod membership;
mod progress;
mod propose;
mod read;
mod replication;
mod snapshot;
mod status;
mod transfer;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::board::Board;
use crate::draw::splitmix64;
use crate::log::Log;
use crate::pool::SpecPool;
use crate::queue::{Queue, TaskId};
use crate::sessions::Sessions;
use crate::{
    Address, ClientAddress, ClientId, Command, CommandExecutor, Entry, Event, Found, HardState, Index, Leadership, LogBase, Membership,
    Message, Nanos, NodeId, PeerMessage, ProposeId, ReadId, Record, Reply, SessionChange, SnapshotFile, Storage, Term,
};
use membership::Configuration;
pub use membership::has_change;
use mutants::Mutant;
use progress::Progress;
use read::PendingRead;
pub use snapshot::SnapshotError;
use snapshot::{Piece, Snapshots};
use status::Seen;
pub use status::{ProgressStatus, SoftState, Status};
use transfer::{Stop, Transfer};

/// Times and limits, the same on every node.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// A follower that hears of no leader for a time drawn from this range (nanoseconds, on its own clock) stands for election.
    pub election_timeout: (Nanos, Nanos),
    /// A leader sends heartbeats at this interval.
    pub heartbeat_interval: Nanos,
    /// A command that has been in a pool for so long is handed to the leader.
    pub hand_over_after: Nanos,
    /// The most entries in one Append.
    pub append_entries_max: usize,
    /// The most bytes of commands in one Append, as [`Command::bytes`] counts them; one entry always goes.
    pub append_bytes_max: usize,
    /// The most Appends on their way to one follower that it has not answered.
    pub appends_in_flight_max: usize,
    /// After so many applied entries since the last one a node makes a snapshot; 0: only when it is asked to.
    pub snapshot_every: u64,
    /// So many entries before a snapshot's index stay in the log for slow followers.
    pub trailing_entries: u64,
    /// The most bytes in one piece of a snapshot.
    pub snapshot_chunk_bytes: usize,
}

impl Default for Config {
    /// For a cluster on one site.
    fn default() -> Self {
        let ms = 1_000_000;
        Config {
            election_timeout: (150 * ms, 300 * ms),
            heartbeat_interval: 40 * ms,
            hand_over_after: 500 * ms,
            append_entries_max: 64,
            append_bytes_max: 1 << 20,
            appends_in_flight_max: 64,
            snapshot_every: 10_000,
            trailing_entries: 1_000,
            snapshot_chunk_bytes: 64 << 10,
        }
    }
}

/// A message with what it must wait for.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing<C: Command> {
    /// To whom.
    pub to: Address,
    /// What.
    pub message: Message<C>,
    /// Records up to this sequence number must be durable before it leaves.
    pub after: u64,
}

/// A read whose index is known: serve it once that much is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadState {
    /// The read.
    pub read: ReadId,
    /// What must be applied; `None`: not now, the client must ask again.
    pub index: Option<Index>,
}

/// What a node is in its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleKind {
    /// It follows, or waits for a leader.
    Follower,
    /// It asks around whether it could win.
    PreCandidate,
    /// It stands for election.
    Candidate,
    /// It leads.
    Leader,
}

/// Something an application may want to know at once. Volatile, like etcd's `SoftState`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateChange {
    /// The node's own role.
    Role(RoleKind),
    /// Who leads, as far as the node knows.
    Leader(Leadership),
    /// The configuration in force.
    Configuration(Membership),
}

/// What one input led to, in order.
#[derive(Debug)]
pub struct Output<C: Command> {
    /// To be written, numbered on from the last.
    pub records: Vec<Record<C>>,
    /// What is still true, to be written after `records` as one frame, synced, in a new segment: it is all there or not at all, and
    /// once it is durable everything before it may go. Its records are numbered on after `records`. Empty: nothing to forget.
    pub checkpoint: Vec<Record<C>>,
    /// Whether one of the records must be synced before anything that depends on it.
    pub sync: bool,
    /// To be sent.
    pub messages: Vec<Outgoing<C>>,
    /// Executions that may run: report each end by [`RawCurp::task_done`].
    pub tasks: Vec<TaskId>,
    /// Reads of this node's own clients.
    pub reads: Vec<ReadState>,
    /// A snapshot whose file is to be written: report its end by [`RawCurp::snapshot_saved`]. Nothing refers to it before.
    pub save: Option<SnapshotFile>,
    /// Role, leader or configuration changed.
    pub changes: Vec<StateChange>,
    /// The cluster's shutdown is applied, and the hard state that says so is among the records: stop once they are durable.
    pub shut_down: bool,
    /// What applied entries did to the sessions, in order, if it is [noted](RawCurp::note_sessions).
    pub sessions: Vec<SessionChange<C::Response>>,
    /// What happened, for the trace.
    pub events: Vec<Event<C>>,
}

impl<C: Command> Default for Output<C> {
    fn default() -> Self {
        Output {
            records: Vec::new(),
            checkpoint: Vec::new(),
            sync: false,
            messages: Vec::new(),
            tasks: Vec::new(),
            reads: Vec::new(),
            save: None,
            changes: Vec::new(),
            shut_down: false,
            sessions: Vec::new(),
            events: Vec::new(),
        }
    }
}

/// A vote with the pool it carried.
type Ballot<C> = (NodeId, Vec<Arc<crate::Proposal<C>>>);

/// What a node is in its term.
#[derive(Debug)]
enum Role<C: Command> {
    Follower,
    /// Asking around before disturbing anyone, with those who said yes.
    PreCandidate(Vec<NodeId>),
    Candidate(Vec<Ballot<C>>),
    Leader(Leader),
}

/// A leader's own state.
#[derive(Debug)]
struct Leader {
    /// By member, itself apart. One whose removal is not applied yet is still among them.
    progress: Vec<(NodeId, Progress)>,
    /// Last of the no-op and the recovered commands: the fast path opens when it is applied.
    opens_at: Index,
    open: bool,
    heartbeat_due: Nanos,
    /// Number of the last heartbeat round.
    round: u64,
    /// Reads that wait for a round.
    reads: Vec<PendingRead>,
    /// When to look whether a quorum was heard of.
    quorum_check_due: Nanos,
    /// It has appended a shutdown, and takes no more proposals in this term.
    shutting_down: bool,
}

/// An early execution under way, in this term.
#[derive(Debug)]
struct EarlyTask {
    task: TaskId,
    id: ProposeId,
}

/// Sequence number that stands for all that was found on the disk at start. It counts as durable once the node's driver has made
/// sure of it: after a process was killed, files are read from the page cache, and a power loss could still take them back.
pub const FOUND: u64 = 1;

/// One node's consensus state.
#[derive(Debug)]
pub struct RawCurp<C: Command> {
    id: NodeId,
    config: Config,
    configuration: Configuration,
    /// Seeds this life's election timeouts.
    entropy: u64,
    draws: u64,

    hard_state: HardState,
    /// Record that made the current term and vote durable.
    hard_state_written: u64,
    log: Log<C>,
    pool: SpecPool<C>,
    /// Ids of entries beyond the applied index: a leader's uncommitted pool, and its own log's share of deduplication.
    unapplied: BTreeMap<ProposeId, Index>,

    role: Role<C>,
    leader: Option<NodeId>,
    election_due: Nanos,
    /// When a leader was last heard of: its lease against pre-votes.
    leader_heard: Option<Nanos>,
    /// The term in which this node stopped leading, until the state machine has been told.
    deposed: Option<Term>,
    hand_over_due: Nanos,
    /// Leadership on its way to another voter, or one's own wait for it to arrive.
    transfer: Option<Transfer>,
    /// Commit index found at start: a shutdown up to there was another life's.
    found_commit: Index,
    /// The shutdown of the cluster, once it is applied.
    stop: Option<Stop>,
    /// The clock's latest reading, for what comes without one.
    clock: Nanos,
    /// Role, leader and configuration as last reported.
    seen: Seen,

    sessions: Sessions<C::Response>,
    /// Someone keeps the sessions, and is told what changes them.
    sessions_noted: bool,
    queue: Queue<C>,
    applied: Index,
    /// Revision after the applied index.
    applied_revision: u64,
    /// Hash of the state at the applied index: a sum over the store, and a chain over what was applied.
    hash_sum: u64,
    hash_chain: u64,
    board: Board<C>,
    early: Vec<EarlyTask>,
    next_task: TaskId,
    snapshots: Snapshots,

    /// Records handed out, and how many of them are durable.
    written: u64,
    durable: u64,
    out: Output<C>,
}

impl<C: Command> RawCurp<C> {
    /// A node that starts, at its clock's `now`, from what its disk holds. `membership` is the one the cluster was made with. `entropy`
    /// must differ from life to life.
    ///
    /// The state machine, which is empty, is restored from the snapshot found; entries are applied from there on as the commit index
    /// allows. Without a snapshot it stays empty, and all entries are. If [a later state](Found::state) was found, the state machine holds it
    /// already, and entries are applied from there on.
    ///
    /// # Errors
    /// The records name a snapshot that is not there or does not decode. The node must not start.
    pub fn new<E: CommandExecutor<C>>(
        id: NodeId,
        config: Config,
        membership: Membership,
        found: Found<C>,
        entropy: u64,
        now: Nanos,
        executor: &mut E,
    ) -> Result<Self, SnapshotError> {
        let (hard_state, _) = found.initial_state();
        let configuration = Configuration::recovered(membership, &found.durable);
        let (first, last) = (found.first_index(), found.last_index());
        let entries = found.entries(first, last + 1, usize::MAX).expect("all there is");
        let base = LogBase { index: first - 1, term: found.term(first - 1).expect("the base has a term") };
        let snapshot = match &found.durable.snapshot {
            None => None,
            Some(meta) => {
                let file = found.snapshot().map_err(|_| SnapshotError::Missing(meta.index))?;
                if file.meta != *meta {
                    return Err(SnapshotError::Other { record: meta.index, file: file.meta.index });
                }
                Some(file)
            }
        };
        let applied = snapshot.as_ref().map_or(base.index, |s| s.meta.index);
        let mut raw = RawCurp {
            id,
            seen: Seen::at_start(hard_state.term, configuration.in_force().clone()),
            configuration,
            entropy,
            draws: 0,
            // A snapshot is of what was committed; hard states lag.
            hard_state: HardState { commit: hard_state.commit.min(last).max(applied), ..hard_state },
            hard_state_written: FOUND,
            unapplied: BTreeMap::new(),
            pool: SpecPool::recovered(found.durable.pool, FOUND, now),
            log: Log::recovered(base, entries, FOUND),
            role: Role::Follower,
            leader: None,
            election_due: 0,
            leader_heard: None,
            deposed: None,
            hand_over_due: now + config.hand_over_after,
            transfer: None,
            found_commit: hard_state.commit.min(last).max(applied),
            stop: None,
            clock: now,
            sessions: Sessions::default(),
            sessions_noted: false,
            queue: Queue::default(),
            applied,
            applied_revision: 1,
            hash_sum: 0,
            hash_chain: 0,
            board: Board::default(),
            early: Vec::new(),
            next_task: 0,
            snapshots: Snapshots::found(snapshot),
            written: FOUND,
            durable: 0,
            out: Output::default(),
            config,
        };
        raw.restore_found(found.state, executor)?;
        raw.index_unapplied_from(raw.applied + 1);
        raw.reset_election_timer(now);
        let HardState { term, vote, commit } = raw.hard_state;
        let event = Event::Restart {
            term,
            vote,
            commit,
            last_index: raw.log.last_index(),
            last_term: raw.log.last_term(),
            pool: raw.pool.ids(),
            base,
            snapshot: raw.snapshots.index(),
            state_hash: raw.state_hash(),
            membership: raw.membership().clone(),
        };
        raw.out.events.push(event);
        if raw.applied > 0 {
            raw.drop_settled(false);
        }
        Ok(raw)
    }

    /// Time passed. Due at [`next_due`](Self::next_due); more often does no harm.
    pub fn tick(&mut self, now: Nanos) {
        self.clock = now;
        match &self.role {
            Role::Leader(_) => self.tick_leader(now),
            Role::Follower | Role::PreCandidate(_) | Role::Candidate(_) if now >= self.election_due => self.pre_campaign(now),
            Role::Follower | Role::PreCandidate(_) | Role::Candidate(_) => {}
        }
        if now >= self.hand_over_due {
            self.hand_over(now);
        }
        self.tick_transfer(now);
    }

    /// A message from another node, sent in its term `term`.
    pub fn step(&mut self, from: NodeId, term: Term, message: PeerMessage<C>, now: Nanos) {
        use PeerMessage as M;
        self.clock = now;
        // Pre-votes speak of a term that nobody is in yet.
        let binding = !matches!(message, M::PreVote { .. } | M::PreVoteReply { granted: true, .. });
        if binding && term > self.hard_state.term {
            self.update_term(term, now);
        }
        let current = term == self.hard_state.term;
        match message {
            M::PreVote { last_term, last_index } => self.on_pre_vote(from, term, last_term, last_index, now),
            M::PreVoteReply { asked, granted } => self.on_pre_vote_reply(from, asked, granted, now),
            M::Vote { last_term, last_index } => self.on_vote(from, term, last_term, last_index, now),
            M::VoteReply { pool } if current => self.on_vote_reply(from, pool, now),
            M::Append { prev_index, prev_term, entries, commit } => self.on_append(from, term, prev_index, prev_term, entries, commit, now),
            M::Appended { index } if current => self.on_appended(from, index),
            M::AppendRejected { prev_index, hint_index, hint_term } if current => {
                self.on_append_rejected(from, prev_index, hint_index, hint_term);
            }
            M::Commit { commit } => self.on_commit(from, term, commit, now),
            M::Heartbeat { commit, round } => self.on_heartbeat(from, term, commit, round, now),
            M::HeartbeatReply { round } if current => self.on_heartbeat_reply(from, round),
            M::ReadIndex { read, command } => self.on_read_index(from, read, &command, now),
            M::ReadIndexReply { read, index } => self.out.reads.push(ReadState { read, index }),
            M::InstallSnapshot { meta, total, checksum, offset, data, chunk_checksum } => {
                self.on_install_snapshot(from, term, Piece { meta, total, checksum, offset, data, chunk_checksum }, now);
            }
            M::SnapshotReceived { index, next } if current => self.on_snapshot_received(from, index, next),
            M::TimeoutNow => self.on_timeout_now(from, term, now),
            M::HandOver { proposals } => self.on_hand_over(&proposals, now),
            // Answers to what was asked in an earlier term.
            M::VoteReply { .. } | M::Appended { .. } | M::AppendRejected { .. } | M::HeartbeatReply { .. } | M::SnapshotReceived { .. } => {
            }
        }
    }

    /// Records up to sequence number `durable` are on the disk for good.
    pub fn durable(&mut self, durable: u64) {
        self.durable = self.durable.max(durable);
        self.maybe_win(self.clock);
        self.maybe_commit();
        self.start_entries();
        self.compact_log();
    }

    /// Takes what has accumulated since the last call, leaving `spare` (emptied) to be filled next.
    pub fn take_output(&mut self, spare: Output<C>) -> Output<C> {
        self.write_checkpoint();
        self.note_changes();
        std::mem::replace(&mut self.out, spare)
    }

    /// When the next tick has something to do; earlier ticks do nothing.
    pub fn next_due(&self) -> Nanos {
        let role = match &self.role {
            Role::Leader(leader) => leader.heartbeat_due.min(leader.quorum_check_due),
            Role::Follower | Role::PreCandidate(_) | Role::Candidate(_) => self.election_due,
        };
        let departure = self.transfer.as_ref().map(|t| t.due).into_iter().chain(self.stop.as_ref().and_then(Stop::due)).min();
        role.min(self.hand_over_due).min(departure.unwrap_or(Nanos::MAX))
    }

    /// Term at an index: `None` before the log's base and beyond its last entry.
    pub fn log_term(&self, index: Index) -> Option<Term> {
        self.log.term(index)
    }

    /// Last sequence number given to a record.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Gives a sequence number to something else that is written, so that it has a place of its own among the records.
    pub fn take_number(&mut self) -> u64 {
        self.written += 1;
        self.written
    }

    /// Everything up to this index is applied here.
    pub fn applied(&self) -> Index {
        self.applied
    }

    /// The commands in the log beyond the applied index, in its order.
    pub fn unapplied(&self) -> impl Iterator<Item = &C> {
        self.log.after(self.applied, usize::MAX).iter().filter_map(|entry| entry.command())
    }

    /// Whether what makes the applied index is durable: the log up to it, or the record of the snapshot that was installed.
    pub fn applied_is_durable(&self) -> bool {
        self.log.written(self.applied) <= self.durable
    }

    /// From here on outputs say what applied entries do to the sessions.
    pub fn note_sessions(&mut self) {
        self.sessions_noted = true;
    }

    /// The sessions, as changes of none. Exact at the applied index if nothing beyond it has started.
    pub fn session_rows(&self) -> impl Iterator<Item = SessionChange<C::Response>> {
        self.sessions.rows()
    }

    /// The last session that began; exact when [`session_rows`](Self::session_rows) is.
    pub fn last_session(&self) -> ClientId {
        self.sessions.last_begun()
    }

    /// Revision of the state at the applied index.
    pub fn applied_revision(&self) -> u64 {
        self.applied_revision
    }

    /// Commit index.
    pub fn commit(&self) -> Index {
        self.hard_state.commit
    }

    /// Last index of the log.
    pub fn last_index(&self) -> Index {
        self.log.last_index()
    }

    /// Term, and its leader if known.
    pub fn leadership(&self) -> Leadership {
        Leadership { term: self.hard_state.term, leader: self.leader }
    }

    /// Whether this node leads.
    pub fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// Whether this node leads and its fast path is open.
    pub fn is_open(&self) -> bool {
        matches!(&self.role, Role::Leader(leader) if leader.open)
    }

    /// Ids in the spec pool.
    pub fn pool_ids(&self) -> Vec<ProposeId> {
        self.pool.ids()
    }

    /// Configuration in force.
    pub fn membership(&self) -> &Membership {
        self.configuration.in_force()
    }

    /// Whether the queue between commit and apply is empty.
    pub fn is_quiescent(&self) -> bool {
        self.queue.is_empty()
    }

    /// The sum part of the state's hash: the changes that the state machine reported for entries up to the applied index.
    pub fn hash_sum(&self) -> u64 {
        self.hash_sum
    }

    /// The other part: of what was applied, in order, whatever it changed.
    pub fn hash_chain(&self) -> u64 {
        self.hash_chain
    }

    /// Hash of the replicated state at the applied index.
    pub fn state_hash(&self) -> u64 {
        splitmix64(self.hash_sum ^ self.hash_chain)
    }

    fn quorum(&self) -> usize {
        crate::quorum::quorum(self.membership().voters.len())
    }

    /// Adds a record that must be synced; its sequence number.
    fn write(&mut self, record: Record<C>) -> u64 {
        self.out.sync = true;
        self.write_unsynced(record)
    }

    /// Adds a record that may ride along with a later sync.
    fn write_unsynced(&mut self, record: Record<C>) -> u64 {
        self.out.records.push(record);
        self.written += 1;
        self.written
    }

    /// Sends to a node. Whatever is said in a term waits until the term and the vote in it are durable.
    fn send(&mut self, to: NodeId, body: PeerMessage<C>, after: u64) {
        self.send_in(self.hard_state.term, to, body, after);
    }

    fn send_in(&mut self, term: Term, to: NodeId, body: PeerMessage<C>, after: u64) {
        let after = after.max(self.hard_state_written);
        self.out.messages.push(Outgoing { to: Address::Node(to), message: Message::Peer { term, body }, after });
    }

    fn reply(&mut self, to: ClientAddress, reply: Reply<C>, after: u64) {
        let after = after.max(self.hard_state_written);
        self.out.messages.push(Outgoing { to: Address::Client(to), message: Message::Reply(reply), after });
    }

    /// Makes term and vote durable.
    fn persist_hard_state(&mut self) {
        if mutants::on(Mutant::VoteNotPersisted) {
            return;
        }
        self.hard_state_written = self.write(Record::HardState(self.hard_state));
    }

    /// Puts an entry at the end of the log, which is where it belongs.
    fn append(&mut self, entry: Arc<Entry<C>>) {
        let seq = self.write(Record::Entry(entry.clone()));
        if let Some(id) = entry.id() {
            self.unapplied.entry(id).or_insert(entry.index);
        }
        self.log.append(entry, seq);
    }

    fn index_unapplied_from(&mut self, index: Index) {
        for entry in self.log.after(index - 1, usize::MAX) {
            if let Some(id) = entry.id() {
                self.unapplied.entry(id).or_insert(entry.index);
            }
        }
    }

    /// Learns of a later term: whatever this node was, it follows.
    fn update_term(&mut self, term: Term, now: Nanos) {
        self.hard_state.term = term;
        self.hard_state.vote = None;
        self.leader = None;
        self.leader_heard = None;
        self.out.events.push(Event::UpdateTerm { term });
        self.persist_hard_state();
        self.follow(now);
    }

    /// Gives up whatever this node was in its term.
    fn follow(&mut self, now: Nanos) {
        if let Role::Leader(leader) = std::mem::replace(&mut self.role, Role::Follower) {
            self.deposed = Some(self.hard_state.term);
            self.board.clear();
            self.early.clear();
            for read in leader.reads {
                self.refuse_read(read.from, read.read);
            }
        }
        self.reset_election_timer(now);
    }

    fn reset_election_timer(&mut self, now: Nanos) {
        let (min, max) = self.config.election_timeout;
        self.draws += 1;
        self.election_due = now + min + splitmix64(self.entropy.wrapping_add(self.draws)) % (max - min + 1);
    }
}
