//! What a node reports of itself, one event per protocol action, made inside the handler's atomic section. The names are those
//! of the actions in `tla/Curp.tla`; a field is there when the action changes it.

use serde::{Deserialize, Serialize};
use std::sync::Arc;

use crate::{Command, ConfigVersion, Entry, Index, LogBase, Membership, NodeId, Proposal, ProposeId, Synced, Term};

/// One protocol action of one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(bound = "C: Command", tag = "event")]
pub enum Event<C: Command> {
    /// The node started from what its disk held.
    Restart {
        /// Durable term.
        term: Term,
        /// Durable vote in that term.
        vote: Option<NodeId>,
        /// Commit index found, within the log found.
        commit: Index,
        /// Last index of the log found.
        last_index: Index,
        /// Term of the entry there.
        last_term: Term,
        /// Ids in the spec pool found.
        pool: Vec<ProposeId>,
        /// What stands before the first entry of the log found.
        base: LogBase,
        /// Index of the snapshot the state machine starts from; 0: it starts empty; unless its store held a later state ([`Event::LoadState`]).
        snapshot: Index,
        /// Hash of the replicated state it starts from.
        state_hash: u64,
        /// The configuration in force.
        membership: Membership,
    },
    /// It learned of a later term (and follows, whatever it was before).
    UpdateTerm {
        /// The later term.
        term: Term,
    },
    /// A leader stepped down in its own term: it heard of no quorum for an election timeout, or its own removal is applied.
    StepDown {
        /// Its term.
        term: Term,
    },
    /// It stands for election, having voted for itself.
    Campaign {
        /// The new term.
        term: Term,
    },
    /// It granted its vote, and its spec pool went with it.
    GrantVote {
        /// Term of the election.
        term: Term,
        /// Who got the vote.
        candidate: NodeId,
        /// Ids in the pool as of that instant.
        pool: Vec<ProposeId>,
    },
    /// It repeated a vote granted before, to a candidate that asked again; the pool is that of this instant.
    RepeatVote {
        /// Term of the election.
        term: Term,
        /// Who has the vote.
        candidate: NodeId,
        /// Ids in the pool as of that instant.
        pool: Vec<ProposeId>,
    },
    /// It won, counted the pools of exactly a quorum of voters, and appended a no-op and what must be recovered.
    BecomeLeader {
        /// The term won.
        term: Term,
        /// The voters whose pools were counted, itself among them if its latest configuration has it as one.
        quorum: Vec<NodeId>,
        /// The entries appended: the no-op, then the recovered commands.
        entries: Vec<Arc<Entry<C>>>,
    },
    /// The no-op and every recovered command of this term are committed and applied: fast answers and reads from here on.
    OpenFastPath {
        /// The leader's term.
        term: Term,
    },
    /// The leader appended a proposal (a command, or a session's begin or end).
    LeaderPropose {
        /// The entry.
        entry: Arc<Entry<C>>,
        /// Whether it went into the leader's own pool and will be answered before commit.
        fast: bool,
    },
    /// A voter was asked to record a command.
    WitnessRecord {
        /// The voter's term.
        term: Term,
        /// The term asked in.
        asked: Term,
        /// The configuration asked in.
        config: ConfigVersion,
        /// The command.
        proposal: Arc<Proposal<C>>,
        /// Whether it is in the pool now.
        accepted: bool,
        /// Whether the pool changed (a repeated Record is accepted without a change).
        inserted: bool,
    },
    /// A follower's log changed at a leader's word.
    AcceptEntries {
        /// The leader's term.
        term: Term,
        /// The leader.
        from: NodeId,
        /// Whether entries from the first new one's index on were cut off first.
        truncated: bool,
        /// The entries appended.
        entries: Vec<Arc<Entry<C>>>,
    },
    /// The leader learned that a follower's log equals its own, durably, up to `index`: further than it knew.
    Matched {
        /// The leader's term, in which it was acknowledged.
        term: Term,
        /// The follower.
        peer: NodeId,
        /// Up to here.
        index: Index,
    },
    /// The commit index rose.
    AdvanceCommit {
        /// The node's term.
        term: Term,
        /// The new commit index.
        commit: Index,
        /// True on the leader, which counted; false on a follower, which was told.
        counted: bool,
    },
    /// A leader executed a fast command against the applied state.
    Execute {
        /// The leader's term.
        term: Term,
        /// The command.
        id: ProposeId,
        /// Its index in the leader's log.
        index: Index,
        /// The result, which the client will see if the fast round completes.
        response: C::Response,
    },
    /// Everything up to `index` is applied here, this entry last.
    Apply {
        /// The entry's index.
        index: Index,
        /// The command, if the entry holds one.
        id: Option<ProposeId>,
        /// What became of it.
        outcome: Applied<C::Response>,
        /// Hash of the replicated state (store and sessions) after entries 1 to `index`.
        state_hash: u64,
    },
    /// A command left the spec pool: the session table holds it as applied.
    PoolDrop {
        /// The command.
        id: ProposeId,
    },
    /// The leader took a linearizable read, and began a heartbeat round to confirm that it still leads.
    ReadRequest {
        /// The leader's term.
        term: Term,
        /// The heartbeat round; with the term, it names this request.
        round: u64,
        /// The read. A reader that asks again makes another request of the same read.
        read: (u32, u64),
        /// The read index: of the last conflicting entry in the log, and at least the commit index.
        index: Index,
    },
    /// The leader gave the read index out: it led after the read came, and the index is committed.
    ReadIndex {
        /// The leader's term.
        term: Term,
        /// The request's heartbeat round.
        round: u64,
        /// The voters who answered that round or a later one, the leader among them if it is a voter.
        quorum: Vec<NodeId>,
    },
    /// Another configuration is in force here: the latest in the log, or else the snapshot's.
    UseConfig {
        /// The node's term.
        term: Term,
        /// The configuration.
        membership: Membership,
        /// Why.
        cause: ConfigCause,
    },
    /// The node made a snapshot of its applied state; its file is being written.
    TakeSnapshot {
        /// The applied index.
        index: Index,
        /// Term of the entry there.
        term: Term,
        /// Hash of the replicated state there.
        state_hash: u64,
    },
    /// Entries up to here left the log: a durable snapshot covers them.
    CompactLog {
        /// The log now begins after this.
        base: LogBase,
    },
    /// A snapshot from the leader took the place of the node's state. Its file is durable.
    InstallSnapshot {
        /// The node's term.
        term: Term,
        /// Who sent it.
        from: NodeId,
        /// Index of the snapshot: applied here now.
        index: Index,
        /// Term of the entry there.
        last_term: Term,
        /// Hash of the state restored from it.
        state_hash: u64,
    },
    /// A leader told another voter to stand for election at once.
    TransferLeader {
        /// The leader's term.
        term: Term,
        /// The voter.
        to: NodeId,
    },
    /// The node applied the shutdown of the cluster, and stops.
    ShutDown {
        /// Index of the entry.
        index: Index,
    },
    /// A linearizable read was served.
    ServeRead {
        /// The reader's own number for the read, with the client's address: unique in a run.
        read: (u32, u64),
        /// The read index it waited for.
        read_index: Index,
        /// The applied index at which it was served.
        applied: Index,
    },
    /// The state up to here, which is applied, is in the state machine's store, durably.
    SaveState {
        /// The applied index.
        index: Index,
    },
    /// What starts, by the [`Event::Restart`] that follows, has its state from the state machine's store: it is later than the snapshot's.
    LoadState {
        /// The index it is of.
        index: Index,
        /// Hash of the replicated state there.
        state_hash: u64,
    },
}

/// What applying an entry came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Applied<R> {
    /// An entry without effect: a no-op.
    Nothing,
    /// The command took effect, with this result.
    Done(Synced<R>),
    /// The session table held the id as applied already.
    Duplicate,
    /// The session is unknown, has ended, or has acknowledged the id.
    Refused,
    /// A session began.
    SessionBegun,
    /// A session ended (or there was none).
    SessionEnded,
    /// A configuration is committed.
    Configured,
    /// The cluster shuts down.
    ShutDown,
}

/// Why another configuration is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfigCause {
    /// Its entry was appended.
    Appended,
    /// A later one's entry was cut off.
    Undone,
    /// A snapshot brought it.
    Installed,
}
