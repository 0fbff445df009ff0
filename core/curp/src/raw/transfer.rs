//! Going away in good order: leadership handed to another voter, a removed leader's last act, the shutdown of the cluster.
//!
//! A transfer (Raft dissertation §3.10) hurries an election, and is no part of its safety: the heir wins, or does not, by the votes and
//! pools of a quorum like any candidate. What the old leader promises is to append nothing meanwhile, at most for an election timeout.

use super::{RawCurp, Role};
use crate::{AdminDone, AdminRefusal, ClientAddress, Command, Event, Index, Nanos, NodeId, Payload, PeerMessage, Record, Reply, Term};

/// Leadership on its way.
#[derive(Debug)]
pub(super) struct Transfer {
    /// The voter that is to lead.
    pub(super) to: NodeId,
    /// Term of the leader that hands over.
    term: Term,
    /// When it has failed.
    pub(super) due: Nanos,
    /// The heir has all entries, and was told to stand for election.
    told: bool,
    /// Who waits for it.
    waiters: Vec<(ClientAddress, u64)>,
}

/// The cluster's shutdown, applied here.
#[derive(Debug)]
pub(super) struct Stop {
    /// Index of its entry.
    index: Index,
    /// Until when a leader stays to tell the others.
    due: Nanos,
    /// The node's driver has been told to stop.
    done: bool,
}

impl Stop {
    /// When there is something to do.
    pub(super) fn due(&self) -> Option<Nanos> {
        (!self.done).then_some(self.due)
    }
}

impl<C: Command> RawCurp<C> {
    /// Whether this leader takes no more proposals: it hands over, or has appended the cluster's shutdown. Clients try again later, or
    /// elsewhere, under the same ids.
    pub(super) fn is_leaving(&self) -> bool {
        let Role::Leader(leader) = &self.role else { return false };
        leader.shutting_down || self.stop.is_some() || self.transfer.is_some()
    }

    pub(super) fn move_leader(&mut self, waiter: (ClientAddress, u64), to: NodeId, now: Nanos) -> Result<Option<AdminDone>, AdminRefusal> {
        if to == self.id {
            return Ok(Some(AdminDone::LeaderMoved(self.leadership())));
        }
        if let Some(transfer) = self.transfer.as_mut().filter(|t| t.to == to) {
            if !transfer.waiters.contains(&waiter) {
                transfer.waiters.push(waiter);
            }
            return Ok(None);
        }
        if !self.is_open() || self.is_leaving() {
            return Err(AdminRefusal::NotReady);
        }
        if !self.membership().is_voter(to) {
            return Err(AdminRefusal::NoSuchMember);
        }
        let (term, due) = (self.hard_state.term, now + self.config.election_timeout.1);
        self.transfer = Some(Transfer { to, term, due, told: false, waiters: vec![waiter] });
        self.replicate(to, false);
        self.push_transfer();
        Ok(None)
    }

    /// Tells the heir to stand for election, once it has every entry.
    pub(super) fn push_transfer(&mut self) {
        let (Role::Leader(leader), Some(transfer)) = (&self.role, &mut self.transfer) else { return };
        let (to, last) = (transfer.to, self.log.last_index());
        let complete = leader.progress.iter().any(|(peer, p)| *peer == to && p.matched == last);
        if complete && !transfer.told {
            transfer.told = true;
            self.hand_leadership_to(to);
        }
    }

    fn hand_leadership_to(&mut self, to: NodeId) {
        tracing::info!(term = self.hard_state.term, to, "hands its leadership over");
        self.out.events.push(Event::TransferLeader { term: self.hard_state.term, to });
        self.send(to, PeerMessage::TimeoutNow, 0);
    }

    /// The heir stands for election at once: nobody need be asked whether there is a leader, since that leader wants it.
    pub(super) fn on_timeout_now(&mut self, from: NodeId, term: Term, now: Nanos) {
        if self.hear_leader(from, term, now) && self.may_campaign() {
            self.campaign(now);
        }
    }

    /// A transfer that took too long is over: the leader, if it still is one, goes on.
    pub(super) fn tick_transfer(&mut self, now: Nanos) {
        if let Some(transfer) = self.transfer.take_if(|t| now >= t.due) {
            self.answer_transfer(transfer, Err(AdminRefusal::TransferFailed));
        }
    }

    /// Someone leads a later term than the one whose leader handed over: those who wait hear whether it is the heir.
    pub(super) fn end_transfer(&mut self) {
        let term = self.hard_state.term;
        if let Some(transfer) = self.transfer.take_if(|t| t.term < term) {
            let moved = self.leader == Some(transfer.to);
            let result = if moved { Ok(AdminDone::LeaderMoved(self.leadership())) } else { Err(AdminRefusal::TransferFailed) };
            self.answer_transfer(transfer, result);
        }
    }

    fn answer_transfer(&mut self, transfer: Transfer, result: Result<AdminDone, AdminRefusal>) {
        for (client, nonce) in transfer.waiters {
            self.reply(client, Reply::Admin { nonce, result: result.clone() }, 0);
        }
    }

    /// A leader whose own removal is applied steps down. Its followers would notice; the one that has most of its log need not wait.
    pub(super) fn retire(&mut self) {
        let Role::Leader(leader) = &self.role else { return };
        let voters = leader.progress.iter().filter(|(peer, _)| self.membership().is_voter(*peer));
        let heir = voters.rev().max_by_key(|(_, p)| p.matched).map(|(peer, _)| *peer);
        if let Some(to) = heir {
            self.hand_leadership_to(to);
        }
        self.out.events.push(Event::StepDown { term: self.hard_state.term });
        self.leader = None;
        self.follow(self.clock);
    }

    pub(super) fn shut_down(&mut self, (from, nonce): (ClientAddress, u64), now: Nanos) -> Result<Option<AdminDone>, AdminRefusal> {
        if self.stop.is_some() {
            return Ok(Some(AdminDone::ShutDown));
        }
        let Role::Leader(leader) = &mut self.role else { return Err(AdminRefusal::NotReady) };
        if leader.shutting_down {
            let unapplied = self.log.after(self.applied, usize::MAX).iter().rev();
            let index = unapplied.filter(|e| matches!(e.payload, Payload::Shutdown)).map(|e| e.index).next();
            index.into_iter().for_each(|index| self.board.await_entry(index, from, nonce));
            return Ok(None);
        }
        if !leader.open || self.transfer.is_some() {
            return Err(AdminRefusal::NotReady);
        }
        leader.shutting_down = true;
        let index = self.propose(Payload::Shutdown, false, now);
        self.board.await_entry(index, from, nonce);
        self.start_entries();
        Ok(None)
    }

    /// The cluster's shutdown is applied. One that an earlier life of this node knew to be committed has been obeyed.
    pub(super) fn applied_shutdown(&mut self, index: Index) {
        if index > self.found_commit && self.stop.is_none() {
            self.stop = Some(Stop { index, due: self.clock + self.config.election_timeout.1, done: false });
        }
    }

    /// Stops the node once the shutdown is applied. A leader first sees to it that the others know, since nobody else would tell them;
    /// one that is down costs it an election timeout.
    pub(super) fn maybe_stop(&mut self) {
        let (clock, role) = (self.clock, &self.role);
        let told = |index: Index| match role {
            Role::Leader(leader) => leader.progress.iter().all(|(_, p)| p.told >= index),
            Role::Follower | Role::PreCandidate(_) | Role::Candidate(_) => true,
        };
        let Some(stop) = self.stop.as_mut().filter(|stop| !stop.done && (clock >= stop.due || told(stop.index))) else { return };
        stop.done = true;
        let index = stop.index;
        self.write(Record::HardState(self.hard_state));
        self.out.events.push(Event::ShutDown { index });
        self.out.shut_down = true;
    }
}
