//! Elections, and with them recovery: the winner finds in the pools of exactly a quorum what may have completed on the fast path.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Leader, RawCurp, Role};
use crate::{Command, Entry, Event, Index, Nanos, NodeId, Payload, PeerMessage, Proposal, ProposeId, Term};
use mutants::Mutant;

impl<C: Command> RawCurp<C> {
    /// Asks around whether an election could be won, without disturbing a cluster that has a leader.
    pub(super) fn pre_campaign(&mut self, now: Nanos) {
        if !self.may_campaign() {
            // A learner, a newcomer, or a node that was removed: it asks nobody, and knows no leader if it hears of none.
            self.leader = None;
            return self.reset_election_timer(now);
        }
        tracing::debug!(term = self.hard_state.term, "election timeout: asking for pre-votes");
        self.leader = None;
        if mutants::on(Mutant::VoteResetSameTerm) {
            self.hard_state.vote = None;
        }
        let granted_by: Vec<NodeId> = self.is_voter().then_some(self.id).into_iter().collect();
        let won = granted_by.len() >= self.quorum();
        self.role = Role::PreCandidate(granted_by);
        self.reset_election_timer(now);
        if won {
            return self.campaign(now);
        }
        self.ask_voters(|last_term, last_index| PeerMessage::PreVote { last_term, last_index });
    }

    fn ask_voters(&mut self, question: impl Fn(Term, Index) -> PeerMessage<C>) {
        let (last_term, last_index) = (self.log.last_term(), self.log.last_index());
        for peer in self.other_voters() {
            self.send(peer, question(last_term, last_index), 0);
        }
    }

    /// Whether a log that ends in (`last_term`, `last_index`) has all that this one may have committed.
    fn up_to_date(&self, last_term: Term, last_index: Index) -> bool {
        if mutants::on(Mutant::VoteUptodateAnd) {
            return last_term >= self.log.last_term() || last_index >= self.log.last_index();
        }
        if mutants::on(Mutant::VoteUptodateStrict) {
            return last_term >= self.log.last_term() && last_index >= self.log.last_index();
        }
        (last_term, last_index) >= (self.log.last_term(), self.log.last_index())
    }

    pub(super) fn on_pre_vote(&mut self, from: NodeId, term: Term, last_term: Term, last_index: Index, now: Nanos) {
        let follows = self.leader_heard.is_some_and(|heard| now < heard + self.config.election_timeout.0);
        let granted = term >= self.hard_state.term && !self.is_leader() && !follows && self.up_to_date(last_term, last_index);
        self.send(from, PeerMessage::PreVoteReply { asked: term, granted }, 0);
    }

    pub(super) fn on_pre_vote_reply(&mut self, from: NodeId, asked: Term, granted: bool, now: Nanos) {
        let (quorum, voter) = (self.quorum(), self.membership().is_voter(from));
        if let Role::PreCandidate(granted_by) = &mut self.role
            && granted
            && voter
            && asked == self.hard_state.term
            && !granted_by.contains(&from)
        {
            granted_by.push(from);
            if granted_by.len() >= quorum {
                self.campaign(now);
            }
        }
    }

    /// Stands for election in the next term.
    pub(super) fn campaign(&mut self, now: Nanos) {
        self.hard_state.term += 1;
        self.hard_state.vote = Some(self.id);
        self.leader = None;
        // A node that is no voter any more stands on the votes and pools of the others.
        let ballots: Vec<super::Ballot<C>> = self.is_voter().then(|| (self.id, Vec::new())).into_iter().collect();
        let won = ballots.len() >= self.quorum();
        self.role = Role::Candidate(ballots);
        tracing::info!(term = self.hard_state.term, "stands for election");
        self.out.events.push(Event::Campaign { term: self.hard_state.term });
        if !mutants::on(Mutant::OwnVoteNotPersisted) {
            self.persist_hard_state();
        }
        self.reset_election_timer(now);
        if won {
            return self.become_leader(now);
        }
        self.ask_voters(|last_term, last_index| PeerMessage::Vote { last_term, last_index });
    }

    pub(super) fn on_vote(&mut self, from: NodeId, term: Term, last_term: Term, last_index: Index, now: Nanos) {
        let current = term == self.hard_state.term;
        let free = self.hard_state.vote.is_none_or(|vote| vote == from);
        let granted =
            current && free && matches!(self.role, Role::Follower | Role::PreCandidate(_)) && self.up_to_date(last_term, last_index);
        if !granted {
            return self.send(from, PeerMessage::VoteReply { pool: None }, 0);
        }
        if self.hard_state.vote.is_none() {
            self.hard_state.vote = Some(from);
            self.out.events.push(Event::GrantVote { term, candidate: from, pool: self.pool.ids() });
            self.persist_hard_state();
        } else {
            self.out.events.push(Event::RepeatVote { term, candidate: from, pool: self.pool.ids() });
        }
        self.role = Role::Follower;
        self.reset_election_timer(now);
        self.send(from, PeerMessage::VoteReply { pool: Some(self.pool.proposals()) }, 0);
    }

    pub(super) fn on_vote_reply(&mut self, from: NodeId, pool: Option<Vec<Arc<Proposal<C>>>>, now: Nanos) {
        let (quorum, voter) = (self.quorum(), self.membership().is_voter(from));
        if let (Role::Candidate(ballots), Some(pool)) = (&mut self.role, pool)
            && voter
            && !ballots.iter().any(|(voter, _)| *voter == from)
        {
            ballots.push((from, pool));
            if ballots.len() >= quorum {
                self.become_leader(now);
            }
        }
    }

    /// Leads from here on: a no-op of the new term, then what the pools say must be recovered, then whatever comes.
    fn become_leader(&mut self, now: Nanos) {
        let Role::Candidate(mut ballots) = std::mem::replace(&mut self.role, Role::Follower) else { unreachable!("only a candidate wins") };
        // Its own pool counts as it is now: a command that left it since the campaign began has been applied here.
        ballots.iter_mut().filter(|(voter, _)| *voter == self.id).for_each(|(_, pool)| *pool = self.pool.proposals());
        let recovered = self.recover(&ballots);
        let mut quorum: Vec<NodeId> = ballots.into_iter().map(|(voter, _)| voter).collect();
        quorum.sort_unstable();

        let (term, first) = (self.hard_state.term, self.log.last_index() + 1);
        let payloads = std::iter::once(Payload::Noop).chain(recovered.into_iter().map(Payload::Command));
        let entries: Vec<_> = payloads.zip(first..).map(|(payload, index)| Arc::new(Entry { term, index, payload })).collect();
        entries.iter().for_each(|entry| self.append(entry.clone()));
        tracing::info!(term, ?quorum, recovered = entries.len() - 1, "leads");

        self.leader = Some(self.id);
        self.role = Role::Leader(Leader {
            progress: Vec::new(),
            opens_at: self.log.last_index(),
            open: false,
            heartbeat_due: now,
            round: 0,
            reads: Vec::new(),
            quorum_check_due: now + self.config.election_timeout.1,
            shutting_down: false,
        });
        self.follow_members(first);
        self.end_transfer();
        self.out.events.push(Event::BecomeLeader { term, quorum, entries });
        self.replicate_to_all();
        self.tick_leader(now);
        self.maybe_commit();
    }

    /// The commands in at least recover(n) of a quorum's pools, in the order of their ids, without what the log or the session
    /// table has. They commute: two sets of recover(n) voters in a quorum share one, whose pool commutes within itself.
    fn recover(&self, ballots: &[super::Ballot<C>]) -> Vec<Arc<Proposal<C>>> {
        let mut counts: BTreeMap<ProposeId, (usize, &Arc<Proposal<C>>)> = BTreeMap::new();
        for proposal in ballots.iter().flat_map(|(_, pool)| pool) {
            counts.entry(proposal.id).or_insert((0, proposal)).0 += 1;
        }
        let enough = crate::quorum::recover(self.membership().voters.len());
        let has = |id: ProposeId| self.unapplied.contains_key(&id) || (self.sessions.settled(id) && !mutants::on(Mutant::RecoverNoDedup));
        let recovered: Vec<_> = counts
            .into_iter()
            .filter(|(id, (count, _))| *count >= enough && !has(*id))
            .map(|(_, (_, proposal))| proposal.clone())
            .collect();
        for (i, a) in recovered.iter().enumerate() {
            let rival = recovered[i + 1..].iter().find(|b| a.command.conflicts(&b.command));
            assert!(rival.is_none(), "recovered commands {} and {} conflict", a.id, rival.map_or(a.id, |b| b.id));
        }
        recovered
    }
}
