//! A node as a process in the world: what it stands on, and whether it runs. What it does is the engine's business.

use curp::{Address, Message, NodeId, Outgoing, PeerMessage, Reply};
use history::Promise;
use kv::Request;
use node::Node;
use std::collections::VecDeque;
use world::{Clock, Cpu, Disk};

/// One node's process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) id: NodeId,
    /// Whether it runs (or stands still).
    pub(crate) up: bool,
    /// Counts its lives, 0 before the first; what was scheduled for an earlier life does not happen.
    pub(crate) life: u32,
    /// Faults that hold it up; it goes on when none is left.
    pub(crate) paused_by: Vec<u32>,
    pub(crate) disk: Disk,
    pub(crate) timing: Timing,
    pub(crate) cpu: Cpu,
    /// It never starts again: it must not start from what its disk holds, or was removed and has ended.
    pub(crate) gone: bool,
    /// The fault (its place in the plan) that took its disk.
    pub(crate) lost_by: Option<usize>,
    /// If power fails at a call on its store's file, it starts again after this time.
    pub(crate) store_cut_down_us: u64,
    /// What it starts from now is what its store held.
    pub(crate) from_store: bool,
    /// Something of it has been durable.
    pub(crate) had_data: bool,
    /// Executions under way, in the order given out.
    pub(crate) executing: VecDeque<u64>,
}

impl Process {
    pub(crate) fn is_paused(&self) -> bool {
        !self.paused_by.is_empty()
    }
}

/// A node's clock, and when the node is told what it reads.
#[derive(Clone, Debug)]
pub(crate) struct Timing {
    pub(crate) clock: Clock,
    /// At multiples of this, nanoseconds …
    pub(crate) tick: u64,
    /// … and this.
    pub(crate) phase: u64,
}

impl Timing {
    /// The tick at or after the moment at which the node's clock reads `due`, in virtual time; later than `now`.
    pub(crate) fn tick_time(&self, now: u64, due: u64) -> u64 {
        let wait = due.saturating_sub(self.clock.mono(now));
        let due = (now + self.clock.real_after(now, wait)).max(now + 1);
        (due + self.tick - self.phase).div_ceil(self.tick) * self.tick - self.tick + self.phase
    }
}

/// What a message lets its receiver rely on. Looked at when the node says it; the same must hold on its disk when it leaves.
pub(crate) fn promise(node: &Node, outgoing: &Outgoing<Request>) -> Option<Promise> {
    match (&outgoing.to, &outgoing.message) {
        (Address::Node(_), Message::Peer { term, body }) => match body {
            PeerMessage::Vote { .. } | PeerMessage::InstallSnapshot { .. } => Some(Promise::Term { term: *term }),
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
