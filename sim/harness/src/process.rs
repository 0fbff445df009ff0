//! A node as a process in the world: what it stands on, and whether it runs.

use curp::{Address, Message, NodeId, Outgoing, PeerMessage, Reply};
use history::Promise;
use kv::Request;
use node::{Input, Node, Token};
use std::collections::VecDeque;
use world::{Clock, Cpu, Disk};

/// A message that waits for a write.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) outgoing: Outgoing<Request>,
    /// What it promises, as of the moment the node said it.
    pub(crate) promise: Option<Promise>,
}

/// One node's process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) id: NodeId,
    /// `None`: down.
    pub(crate) node: Option<Node>,
    /// Counts its lives; what was scheduled for an earlier life does not happen.
    pub(crate) life: u32,
    /// Faults that hold it up; it goes on when none is left.
    pub(crate) paused_by: Vec<u32>,
    /// What came while it stood still.
    pub(crate) backlog: VecDeque<Input>,
    /// Records up to this token are durable.
    pub(crate) durable: Token,
    /// Messages that wait for a later one.
    pub(crate) held: Vec<Held>,
    pub(crate) disk: Disk,
    pub(crate) clock: Clock,
    pub(crate) cpu: Cpu,
    /// The tick that counts; others scheduled are void.
    pub(crate) tick_at: Option<u64>,
    /// What it is for: the reading of the node's clock at which it is due.
    pub(crate) tick_due: u64,
    /// Phase of its ticks within the tick interval.
    pub(crate) tick_phase: u64,
    /// It must not start from what its disk holds.
    pub(crate) refused: bool,
    /// Executions under way, in the order given out.
    pub(crate) executing: VecDeque<u64>,
}

impl Process {
    pub(crate) fn is_up(&self) -> bool {
        self.node.is_some()
    }

    pub(crate) fn is_paused(&self) -> bool {
        !self.paused_by.is_empty()
    }
}

/// What a message lets its receiver rely on. Looked at when the node says it; the same must hold on its disk when it leaves.
pub(crate) fn promise(node: &Node, outgoing: &Outgoing<Request>) -> Option<Promise> {
    match (&outgoing.to, &outgoing.message) {
        (Address::Node(_), Message::Peer { term, body }) => match body {
            PeerMessage::Vote { .. } => Some(Promise::Term { term: *term }),
            PeerMessage::VoteReply { pool: Some(_) } => Some(Promise::Vote { term: *term }),
            PeerMessage::Appended { index } if *index > 0 => {
                Some(Promise::Append { term: *term, index: *index, entry_term: node.raw().log_term(*index)? })
            }
            _ => None,
        },
        (Address::Client(_), Message::Reply(reply)) => match reply {
            Reply::Executed { id, term, .. } => Some(Promise::Fast { term: *term, id: *id }),
            Reply::Recorded { id, term, accepted: true, .. } => Some(Promise::Record { term: *term, id: *id }),
            Reply::Synced { id, .. } => Some(Promise::Synced { id: *id }),
            _ => None,
        },
        _ => None,
    }
}
