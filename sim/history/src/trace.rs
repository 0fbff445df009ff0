//! `trace.ndjson`: one event per protocol step, client step, fault and durable change, stamped with virtual time. The stream is
//! all that the online checks see, so a stored trace can be judged again by the same code.

use curp::{ClientId, ConfigVersion, Event as NodeEvent, Index, NodeId, ProposeId, Synced, Term};
use kv::{Bytes, LeaseEvent, LeaseId, Request, Response, WatchCreateRequest, WatchResponse};
use serde::{Deserialize, Serialize};

use crate::{Recipe, RecipeResult};

/// First line of a trace file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceHeader {
    /// Version of this format: [`crate::TRACE_FORMAT`].
    pub format: u32,
    /// `direct` or `madsim`.
    pub engine: String,
    /// Scenario.
    pub scenario: String,
    /// Seed.
    pub seed: u64,
    /// The voters the cluster was made with. A node that joins later appears by its first event; who votes by then is in the log.
    pub voters: Vec<NodeId>,
    /// The bound on the drift of clocks, ρ, in parts per million: no clock of the run, a node's or a client's, is further from true time.
    #[serde(default)]
    pub drift_ppm: u32,
}

/// One event, where and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stamped {
    /// Its number in the run, from 0.
    pub i: u64,
    /// Virtual time, nanoseconds since the run began.
    pub t: u64,
    /// The node it happened on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// The client it happened on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<u32>,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Event {
    /// On a node, in the protocol.
    Node(NodeEvent<Request>),
    /// On a client.
    Client(ClientEvent),
    /// To the world around them.
    World(WorldEvent),
    /// On a node, to leases.
    Lease(LeaseEvent),
}

/// A client's side of the protocol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event")]
pub enum ClientEvent {
    /// A session is open: its first number is 1.
    SessionOpen {
        /// The session.
        session: ClientId,
    },
    /// The client proposes a command for the first time, or starts a read (`id` is then absent).
    Propose {
        /// Number of the operation in the plan.
        op: u64,
        /// The command's id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<ProposeId>,
        /// The lowest number of the command's session whose synced result the client lacks: it acknowledges what lies below.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        first_incomplete: Option<u64>,
        /// A read's name: the client's address and its number there, the same in every retry.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        read: Option<(u32, u64)>,
        /// What is asked.
        request: Request,
    },
    /// The fast round completed: the leader's ER and enough accepts, all of one term and one configuration.
    FastComplete {
        /// Number of the operation in the plan.
        op: u64,
        /// The command.
        id: ProposeId,
        /// Their term.
        term: Term,
        /// Their configuration.
        config: ConfigVersion,
        /// The leader and the voters that accepted, in rising order.
        nodes: Vec<NodeId>,
        /// The result given to the caller.
        response: Response,
    },
    /// The synced result came.
    SyncedComplete {
        /// Number of the operation in the plan.
        op: u64,
        /// The command.
        id: ProposeId,
        /// The result.
        synced: Synced<Response>,
    },
    /// A read was answered.
    ReadComplete {
        /// Number of the operation in the plan.
        op: u64,
        /// Applied index at which it was served.
        applied: Index,
        /// The result.
        synced: Synced<Response>,
    },
    /// The caller's patience ended before an answer came: the outcome is unknown. The client may go on asking for the synced result.
    GiveUp {
        /// Number of the operation in the plan.
        op: u64,
    },
    /// The command surely did not and will not happen.
    Fail {
        /// Number of the operation in the plan.
        op: u64,
    },
    /// The client process died; whatever was pending is unknown, and its session is abandoned.
    ClientCrash,
    /// The caller wants to watch. Its watch goes on, whatever the nodes do, until `EndWatch`, the last response, or a crash of the client.
    Watch {
        /// Number of the operation in the plan; names the watch.
        op: u64,
        /// What it asked for.
        request: WatchCreateRequest,
    },
    /// The client makes a watcher at a node, to begin or to go on.
    Register {
        /// The watch.
        op: u64,
        /// The node.
        to: NodeId,
        /// The first revision asked for; 0: the next one.
        start_revision: u64,
    },
    /// The caller was told this.
    WatchTold {
        /// The watch.
        op: u64,
        /// By which node.
        from: NodeId,
        /// What.
        response: WatchResponse,
    },
    /// The caller wants no more of it.
    EndWatch {
        /// The watch.
        op: u64,
    },
    /// A keep-alive of a stream is sent for the first time.
    SendKeepAlive {
        /// Number of the operation in the plan that keeps the lease alive.
        op: u64,
        /// The lease.
        lease: LeaseId,
        /// The request.
        read: (u32, u64),
    },
    /// It is answered.
    KeptAlive {
        /// Number of the operation in the plan that keeps the lease alive.
        op: u64,
        /// The lease.
        lease: LeaseId,
        /// The request.
        read: (u32, u64),
        /// The time the lease has, in seconds, from when that request was sent on; 0: it is gone.
        ttl: i64,
    },
    /// The caller, which has a lock by a lease, believes in it from here on: by its own clock, until `LetGo`.
    Hold {
        /// Number of the operation in the plan.
        op: u64,
        /// The lock.
        lock: Bytes,
        /// The lease.
        lease: LeaseId,
    },
    /// It does not believe in it any more: it gave it up, or its time, by its own clock, is over.
    LetGo {
        /// Number of the operation in the plan.
        op: u64,
        /// The lock.
        lock: Bytes,
    },
    /// An operation of several steps begins; the steps are operations of their own, numbered `op << 32 | step`.
    Begin {
        /// Number of the operation in the plan.
        op: u64,
        /// What it is to do.
        recipe: Recipe,
    },
    /// It ended. `None`: what came of it is unknown.
    End {
        /// Number of the operation in the plan.
        op: u64,
        /// What came of it.
        result: Option<RecipeResult>,
    },
}

/// What a node lets others rely on by sending a message: each must be on its disk already.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "promise", rename_all = "snake_case")]
pub enum Promise {
    /// "My term is at least this": any message of a term.
    Term {
        /// The term.
        term: Term,
    },
    /// "I voted for you."
    Vote {
        /// The term.
        term: Term,
    },
    /// "My log holds yours up to here."
    Append {
        /// The term asked in.
        term: Term,
        /// Last matching index.
        index: Index,
        /// Term of the entry there.
        entry_term: Term,
    },
    /// "The command is in my pool."
    Record {
        /// The term asked in.
        term: Term,
        /// The command.
        id: ProposeId,
    },
    /// The leader's ER: "it is in my log and in my pool".
    Fast {
        /// The term.
        term: Term,
        /// The command.
        id: ProposeId,
    },
    /// The final result: "it is committed".
    Synced {
        /// The command.
        id: ProposeId,
    },
}

/// The world's side: durable changes, faults that took effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event")]
pub enum WorldEvent {
    /// The durable content of a file changed: from `offset` on it is `data` now, and the file ends there. A file that does not
    /// exist yet is made. Bytes that are only in flight are not durable and not here.
    Disk {
        /// File name.
        file: String,
        /// Where the change begins; at most the old durable length.
        offset: u64,
        /// What stands there now.
        data: Bytes,
    },
    /// The durable directory no longer has this file.
    DiskRemove {
        /// File name.
        file: String,
    },
    /// The node's disk was replaced by an empty one: all its files are gone, durable or not, and with them what the node promised. It
    /// happens to a node that is down. A [`WorldEvent::DiskRemove`] for each file may follow, and says nothing more.
    DiskLost,
    /// A message that is a promise left the node (after the writes it waits for, or so it must be).
    Send {
        /// To which node; absent for a client.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<NodeId>,
        /// What it promises.
        #[serde(flatten)]
        promise: Promise,
    },
    /// The node stopped.
    Crash {
        /// Power loss (what was not synced is lost, in a seeded subset); else the process was killed and the page cache kept.
        power: bool,
        /// Writes in flight at that moment.
        in_flight: u32,
        /// Bytes written and lost.
        lost_bytes: u64,
    },
    /// The node's own code stopped it: a failed sync, a log it cannot start from.
    Fatal {
        /// Why.
        reason: String,
    },
    /// The node stands still while time goes on.
    Pause,
    /// It goes on.
    Resume,
    /// A fault of the plan began (crashes and pauses have their own events).
    Fault {
        /// Its number in the plan.
        fault: u32,
        /// Its kind, one of `cargo sim list faults`.
        kind: String,
        /// What it does, for people.
        what: String,
    },
    /// It ended.
    FaultEnd {
        /// Its number in the plan.
        fault: u32,
    },
    /// All faults are removed, and what they stopped was started again: from here on the cluster must recover.
    Heal,
}
