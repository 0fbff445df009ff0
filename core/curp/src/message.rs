//! What nodes and clients say to each other.

use serde::{Deserialize, Serialize};
use std::sync::Arc;

use crate::{
    ClientId, Command, ConfigChange, ConfigVersion, Entry, Index, Membership, NodeId, Proposal, ProposeId, SnapshotMeta, Synced, Term,
};

/// Where a client is to be answered. Not its session: a client may have several in its life.
pub type ClientAddress = u32;

/// A read's name: the client that asked, and its own number for it.
pub type ReadId = (ClientAddress, u64);

/// Either end of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Address {
    /// A replica.
    Node(NodeId),
    /// A client.
    Client(ClientAddress),
}

/// Between nodes. Each carries the sender's term; an answer is matched to the term it was asked in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(bound = "C: Command", rename_all = "snake_case")]
pub enum PeerMessage<C: Command> {
    /// "Would you vote for me in the next term?" Changes nothing at the receiver.
    PreVote {
        /// The sender's own last log term.
        last_term: Term,
        /// The sender's own last log index.
        last_index: Index,
    },
    /// The answer. `asked` is the term of the question.
    PreVoteReply {
        /// Term of the question.
        asked: Term,
        /// Yes or no.
        granted: bool,
    },
    /// "Vote for me in my term."
    Vote {
        /// The candidate's last log term.
        last_term: Term,
        /// The candidate's last log index.
        last_index: Index,
    },
    /// The answer; a granted vote carries the voter's spec pool as of that instant.
    VoteReply {
        /// `None`: refused.
        pool: Option<Vec<Arc<Proposal<C>>>>,
    },
    /// Log entries after (`prev_index`, `prev_term`).
    Append {
        /// Index before the first entry.
        prev_index: Index,
        /// Term there.
        prev_term: Term,
        /// The entries; may be empty.
        entries: Vec<Arc<Entry<C>>>,
        /// The leader's commit index.
        commit: Index,
    },
    /// "My log equals yours up to `index`", durably.
    Appended {
        /// Last matching index.
        index: Index,
    },
    /// "My log has nothing like that at `prev_index`."
    AppendRejected {
        /// The `prev_index` refused.
        prev_index: Index,
        /// Where the logs may agree, as far as the follower can tell.
        hint_index: Index,
        /// The follower's term there.
        hint_term: Term,
    },
    /// The commit index rose. Not answered; should it be lost, a heartbeat says the same.
    Commit {
        /// Commit index, as far as the receiver is known to have the entries.
        commit: Index,
    },
    /// Leadership alone.
    Heartbeat {
        /// Commit index, as far as the receiver is known to have the entries.
        commit: Index,
        /// Counts the leader's rounds: a read waits for one that began after it arrived.
        round: u64,
    },
    /// The answer.
    HeartbeatReply {
        /// Of the question.
        round: u64,
    },
    /// A follower asks for a read index.
    ReadIndex {
        /// The read.
        read: ReadId,
        /// What will be read.
        command: Arc<C>,
    },
    /// The leader's answer, after its leadership was confirmed.
    ReadIndexReply {
        /// The read.
        read: ReadId,
        /// `None`: not now (not the leader, or not open yet).
        index: Option<Index>,
    },
    /// One piece of a snapshot, for a follower that lacks entries the leader's log no longer has. The pieces of one snapshot come in
    /// order; the next is sent when the last was answered.
    InstallSnapshot {
        /// What the whole is of.
        meta: SnapshotMeta,
        /// Bytes of the whole.
        total: u64,
        /// CRC-32 of the whole.
        checksum: u32,
        /// Where this piece begins.
        offset: u64,
        /// The piece.
        data: Arc<Vec<u8>>,
        /// CRC-32 of the piece.
        chunk_checksum: u32,
    },
    /// "I have so much of it": the next piece is wanted. The end of the last one is answered by `Appended`, once all of it is durable and
    /// installed.
    SnapshotReceived {
        /// Which snapshot.
        index: Index,
        /// Bytes received in order; 0 also where a checksum failed, and all must come again.
        next: u64,
    },
    /// "Stand for election now, without asking around": the leader hands its leadership over.
    TimeoutNow,
    /// Commands that have been in the sender's pool for long: their clients may have vanished. The leader treats them as proposals.
    HandOver {
        /// The commands.
        proposals: Vec<Arc<Proposal<C>>>,
    },
}

/// From a client to a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(bound = "C: Command", rename_all = "snake_case")]
pub enum Request<C: Command> {
    /// To the leader: order and execute this. A repetition is answered with what is known.
    Propose {
        /// The command.
        proposal: Arc<Proposal<C>>,
    },
    /// To every other voter: remember this.
    Record {
        /// Term for which the client asks.
        term: Term,
        /// Configuration for which it asks.
        config: ConfigVersion,
        /// The command.
        proposal: Arc<Proposal<C>>,
    },
    /// To any node: a linearizable read.
    Read {
        /// Its name.
        read: ReadId,
        /// What to read.
        command: Arc<C>,
    },
    /// To the leader: begin a session.
    BeginSession {
        /// Echoed in the answer.
        nonce: u64,
    },
    /// To the leader: end a session.
    EndSession {
        /// The session.
        client: ClientId,
    },
    /// To any node: who leads, who votes?
    FetchCluster,
    /// An operator's wish.
    Admin {
        /// Echoed in the answer.
        nonce: u64,
        /// What.
        wish: Admin,
    },
    /// To any node: tell me of this, from here on. Each question is for one response: the first makes the watcher, each following one says that
    /// the response before it came, and waits for the next; a repeated one is answered as before. So nothing is lost or told twice on
    /// a network that loses and repeats, and a slow reader holds up nobody. The watcher is gone with the node, or when nobody asks any
    /// more: the client then goes on with a new one, here or elsewhere.
    Watch {
        /// Its name.
        watch: WatchName,
        /// 1 makes it.
        pull: u64,
        /// What of, from the first revision on of which the client has not been told. A node that does not know the watcher any more, or knows
        /// it to stand elsewhere, makes none but for `pull` 1: it answers that it is gone.
        create: Arc<C::Watch>,
        /// Whether to say how far all has been told, if there is nothing to tell.
        progress: bool,
    },
    /// To a node: no more of this.
    Unwatch {
        /// Its name.
        watch: WatchName,
    },
    /// To any node: have this done by the cluster, and answer when it is committed. The way in of clients that know nothing of sessions.
    Call {
        /// Echoed in the answer. A repeated one is a new call.
        nonce: u64,
        /// What.
        command: Arc<C>,
    },
}

/// Names a watcher: the client, and its number for it, which it never uses twice.
pub type WatchName = (ClientAddress, u64);

/// Why a call was not answered with a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallError {
    /// No node would take it, whatever its state; these are the words. It did not happen.
    Invalid(String),
    /// It was not proposed to anyone: it did not happen.
    Unavailable,
    /// It may have happened, or may yet.
    Unknown,
}

/// What an operator may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Admin {
    /// To the leader: change the configuration `base`. A repetition after it was done finds another configuration and is refused as stale, so
    /// it is never done twice.
    ChangeMembership {
        /// Version of the configuration that the change was made for.
        base: ConfigVersion,
        /// The change.
        change: ConfigChange,
    },
    /// To the leader: let this voter lead.
    MoveLeader {
        /// The voter.
        to: NodeId,
    },
    /// To the leader: stop the whole cluster.
    Shutdown,
    /// To any node: make a snapshot of the applied state now, and drop the log before it, trailing entries apart.
    TakeSnapshot,
}

/// What came of an operator's wish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminDone {
    /// Committed and applied; the configuration after it.
    Changed(Membership),
    /// The other voter leads (or this one, if it was asked for itself).
    LeaderMoved(Leadership),
    /// Committed and applied here: the node stops.
    ShutDown,
    /// The snapshot's file is durable.
    SnapshotTaken {
        /// Of the state at this index.
        index: Index,
    },
}

/// Why an operator's wish was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminRefusal {
    /// This node does not lead.
    NotLeader(Leadership),
    /// The fast path is not open yet, or leadership is being handed over: try again.
    NotReady,
    /// An earlier change is not applied yet: try again.
    Busy,
    /// The configuration is another one; this is it.
    Stale(Membership),
    /// The learner's log is too far behind: try again.
    NotCaughtUp,
    /// No member of that id (or not one of the kind that is needed).
    NoSuchMember,
    /// The id is a member's. Of one that was, nothing is known: not to use it again is the operator's duty.
    IdUsed,
    /// Nobody would be left to vote.
    LastVoter,
    /// The other voter did not take over in time, or leadership was lost on the way.
    TransferFailed,
}

/// From a node to a client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(bound = "C: Command", rename_all = "snake_case")]
pub enum Reply<C: Command> {
    /// The leader's ER: executed, in the leader's log and pool, not committed yet.
    Executed {
        /// The command.
        id: ProposeId,
        /// The leader's term.
        term: Term,
        /// Its latest appended configuration.
        config: ConfigVersion,
        /// The result. Neither a header revision nor the command's own is in it.
        response: C::Response,
    },
    /// In the leader's log, but not to be answered before commit.
    Conflict {
        /// The command.
        id: ProposeId,
        /// The leader's term.
        term: Term,
    },
    /// The final result (ASR).
    Synced {
        /// The command.
        id: ProposeId,
        /// The result.
        synced: Synced<C::Response>,
    },
    /// A Record's answer.
    Recorded {
        /// The command.
        id: ProposeId,
        /// Term for which was asked.
        term: Term,
        /// Configuration for which was asked.
        config: ConfigVersion,
        /// Whether it is in the pool, durably.
        accepted: bool,
        /// The voter's own term.
        current: Term,
    },
    /// A proposal that was not taken.
    Refused {
        /// The command.
        id: ProposeId,
        /// Why.
        why: Refusal,
    },
    /// A session is open.
    SessionBegun {
        /// Of the request.
        nonce: u64,
        /// The session.
        client: ClientId,
    },
    /// A session is no more.
    SessionEnded {
        /// The session.
        client: ClientId,
    },
    /// A session's begin or end was not taken: this node does not lead, or is not ready.
    SessionRefused {
        /// Who leads, as far as the node knows.
        cluster: Leadership,
    },
    /// A read's answer.
    Read {
        /// Its name.
        read: ReadId,
        /// Applied index at which it was served.
        applied: Index,
        /// The result.
        synced: Synced<C::Response>,
    },
    /// A read that was not served; try again.
    ReadRefused {
        /// Its name.
        read: ReadId,
        /// Who leads, as far as the node knows.
        cluster: Leadership,
    },
    /// The cluster.
    Cluster {
        /// Who leads, as far as the node knows.
        leadership: Leadership,
        /// Who takes part: the latest configuration in the node's log.
        membership: Membership,
    },
    /// What came of an operator's wish.
    Admin {
        /// From the request.
        nonce: u64,
        /// What came of it.
        result: Result<AdminDone, AdminRefusal>,
    },
    /// What a watcher is told.
    Watch {
        /// Its name.
        watch: WatchName,
        /// The question that this answers.
        pull: u64,
        /// What; `None`: there is no such watcher here any more.
        response: Option<C::WatchResponse>,
    },
    /// What came of a call.
    Answer {
        /// From the request.
        nonce: u64,
        /// The synced result.
        result: Result<Synced<C::Response>, CallError>,
    },
}

/// Who leads, as far as a node knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leadership {
    /// The node's term.
    pub term: Term,
    /// The leader of that term, if known.
    pub leader: Option<NodeId>,
}

/// Why a proposal was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// This node does not lead; nothing is known of the command.
    NotLeader(Leadership),
    /// The leader has not applied enough to know the session, or is handing leadership over; try again.
    NotReady,
    /// The session has ended or never was: the command's fate is unknown to the client for ever.
    NoSession,
    /// The client itself said that it has the result.
    Acknowledged,
    /// No node would take the command, whatever its state: it did not happen, and will not.
    Invalid,
}

/// Anything on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(bound = "C: Command", rename_all = "snake_case")]
pub enum Message<C: Command> {
    /// Between nodes.
    Peer {
        /// The sender's term.
        term: Term,
        /// What it says.
        body: PeerMessage<C>,
    },
    /// A client's request.
    Request(Request<C>),
    /// A node's reply.
    Reply(Reply<C>),
}
