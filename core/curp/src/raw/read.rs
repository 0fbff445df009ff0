//! Linearizable reads by read index (Raft dissertation §6.4), with one addition: a write that completed on the fast path is in
//! the leader's log, but perhaps not committed, so the commit index alone would miss it. And what is not committed has no final
//! place: under another leader a no-op may take it, so the index is given out only once it is committed.

use std::sync::Arc;

use super::{RawCurp, ReadState, Role};
use crate::{Command, Event, Index, Nanos, NodeId, PeerMessage, ReadId};
use mutants::Mutant;

/// A read that waits for its leader to be confirmed.
#[derive(Debug)]
pub(super) struct PendingRead {
    /// The read.
    pub(super) read: ReadId,
    /// The node that asked; itself for its own clients'.
    pub(super) from: NodeId,
    /// Its read index.
    index: Index,
    /// The heartbeat round begun after it arrived.
    round: u64,
}

impl<C: Command> RawCurp<C> {
    /// A client's read came to this node: find its read index here or at the leader.
    pub(super) fn on_client_read(&mut self, read: ReadId, command: Arc<C>, now: Nanos) {
        match self.leader {
            Some(leader) if leader == self.id => self.on_read_index(self.id, read, &command, now),
            Some(leader) => self.send(leader, PeerMessage::ReadIndex { read, command }, 0),
            None => self.out.reads.push(ReadState { read, index: None }),
        }
    }

    /// The leader takes a read: its index is that of the last conflicting entry in the log, and at least the commit index; it
    /// counts once a round of heartbeats that began after this moment has reached a quorum.
    pub(super) fn on_read_index(&mut self, from: NodeId, read: ReadId, command: &C, now: Nanos) {
        let ready = self.is_open() || (self.is_leader() && mutants::on(Mutant::ReadBeforeNoop));
        if !ready {
            return self.refuse_read(from, read);
        }
        let commit = self.hard_state.commit;
        let conflicting = |e: &&Arc<crate::Entry<C>>| e.command().is_some_and(|other| other.conflicts(command));
        let in_log = self.log.after(commit, usize::MAX).iter().rev().find(conflicting).map_or(commit, |e| e.index);
        let index = if mutants::on(Mutant::ReadIndexIsCommit) { commit } else { in_log };
        let round = self.heartbeat(now);
        self.out.events.push(Event::ReadRequest { term: self.hard_state.term, round, read, index });
        let Role::Leader(leader) = &mut self.role else { unreachable!("looked at above") };
        leader.reads.push(PendingRead { read, from, index, round });
        self.confirm_reads();
    }

    /// Grants the reads whose round has reached a quorum and whose index is committed.
    pub(super) fn confirm_reads(&mut self) {
        let (quorum, commit) = (self.quorum(), self.hard_state.commit);
        let (id, term, voters) = (self.id, self.hard_state.term, self.membership().voters.clone());
        let Role::Leader(leader) = &mut self.role else { return };
        let progress = &leader.progress;
        let answered = |round: u64| {
            let peers = progress.iter().filter(move |(_, p)| p.round >= round).map(|(peer, _)| *peer);
            peers.chain([id]).filter(|node| voters.contains(node))
        };
        let led = |read: &PendingRead| answered(read.round).count() >= quorum || mutants::on(Mutant::ReadLocalLeader);
        let confirmed = |read: &PendingRead| led(read) && (read.index <= commit || mutants::on(Mutant::ReadIndexUncommitted));
        let (granted, waiting) = std::mem::take(&mut leader.reads).into_iter().partition::<Vec<_>, _>(confirmed);
        leader.reads = waiting;
        for read in &granted {
            let mut quorum: Vec<NodeId> = answered(read.round).collect();
            quorum.sort_unstable();
            self.out.events.push(Event::ReadIndex { term, round: read.round, quorum });
        }
        for read in granted {
            self.tell_read(read.from, read.read, Some(read.index));
        }
    }

    /// Not now: the reader asks again.
    pub(super) fn refuse_read(&mut self, from: NodeId, read: ReadId) {
        self.tell_read(from, read, None);
    }

    fn tell_read(&mut self, to: NodeId, read: ReadId, index: Option<Index>) {
        if to == self.id {
            self.out.reads.push(ReadState { read, index });
        } else {
            self.send(to, PeerMessage::ReadIndexReply { read, index }, 0);
        }
    }
}
