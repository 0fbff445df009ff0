//! The fast round and the slow round, from the servers' side; sessions; the way out of a pool for commands whose client vanished.

use std::sync::Arc;

use super::{EarlyTask, RawCurp, Role};
use crate::board::Early;
use crate::queue::payloads_conflict;
use crate::sessions::Known;
use crate::{
    ClientAddress, Command, ConfigVersion, Entry, Event, Index, Nanos, Payload, PeerMessage, Proposal, ProposeId, Record, Refusal, Reply,
    Request, Term,
};
use mutants::Mutant;

impl<C: Command> RawCurp<C> {
    /// A request of a client, at the node's clock reading `now`. Reads of other nodes' clients come through `step`.
    pub fn request(&mut self, from: ClientAddress, request: Request<C>, now: Nanos) {
        self.clock = now;
        match request {
            Request::Propose { proposal } => self.on_propose(from, &proposal, now),
            Request::Record { term, config, proposal } => self.on_record(from, term, config, proposal, now),
            Request::Read { read, command } => self.on_client_read(read, command, now),
            Request::BeginSession { nonce } => self.on_begin_session(from, nonce, now),
            Request::EndSession { client } => self.on_end_session(from, client, now),
            Request::FetchCluster => {
                let reply = Reply::Cluster { leadership: self.leadership(), membership: self.membership().clone() };
                self.reply(from, reply, 0);
            }
            Request::Admin { nonce, wish } => self.on_admin(from, nonce, wish, now),
            // The node's own, which knows the state machine and the watchers.
            Request::Watch { .. } | Request::Unwatch { .. } | Request::Call { .. } => {
                tracing::warn!("consensus was asked for what is the node's")
            }
        }
    }

    fn on_propose(&mut self, from: ClientAddress, proposal: &Arc<Proposal<C>>, now: Nanos) {
        let id = proposal.id;
        let open = match &self.role {
            Role::Leader(leader) => leader.open,
            Role::Follower if self.leader.is_none() && mutants::on(Mutant::DeposedLeaderAppends) => false,
            _ => return self.refuse(from, id, Refusal::NotLeader(self.leadership())),
        };
        match self.sessions.known(id) {
            // A leader that is open has applied the beginning of every session that has begun.
            Known::NoSession if open => return self.refuse(from, id, Refusal::NoSession),
            Known::NoSession => return self.refuse(from, id, Refusal::NotReady),
            Known::Acknowledged => return self.refuse(from, id, Refusal::Acknowledged),
            Known::Applied(synced) => {
                let synced = synced.clone();
                return self.reply(from, Reply::Synced { id, synced }, 0);
            }
            Known::New | Known::Applying => {}
        }
        if let Some(&index) = self.unapplied.get(&id) {
            return self.repeat(from, id, index);
        }
        if self.is_leaving() {
            return self.refuse(from, id, Refusal::NotReady);
        }
        let fast = open && proposal.command.fast_allowed() && self.commutes(proposal);
        let index = self.propose(Payload::Command(proposal.clone()), fast, now);
        let task = fast.then(|| self.new_task());
        let card = self.board.card(id, index);
        card.await_by(from);
        match task {
            Some(task) => {
                card.early = Early::Running;
                self.early.push(EarlyTask { task, id });
                self.out.tasks.push(task);
            }
            None => self.reply(from, Reply::Conflict { id, term: self.hard_state.term }, 0),
        }
    }

    /// The id is in the log: it is never executed again. An ER is repeated only by the leader, and in the term, that gave it; the
    /// board, which is cleared with leadership, sees to that.
    fn repeat(&mut self, from: ClientAddress, id: ProposeId, index: Index) {
        let term = self.hard_state.term;
        let card = self.board.card(id, index);
        card.await_by(from);
        match &card.early {
            Early::None => self.reply(from, Reply::Conflict { id, term }, 0),
            Early::Running => {}
            Early::Done { response, after, config } => {
                let (reply, after) = (Reply::Executed { id, term, config: *config, response: response.clone() }, *after);
                self.reply(from, reply, after);
            }
        }
    }

    /// Whether a command may be answered before commit: it conflicts with nothing that is in the log and not applied, and with
    /// nothing that this node, as a witness, may have helped to complete in an earlier term.
    fn commutes(&self, proposal: &Arc<Proposal<C>>) -> bool {
        let payload = Payload::Command(proposal.clone());
        let uncommitted = self.log.after(self.applied, usize::MAX).iter().any(|e| payloads_conflict(&e.payload, &payload));
        let in_pool = self.pool.conflicts(proposal);
        (!uncommitted || mutants::on(Mutant::IgnoreUncommittedPool)) && (!in_pool || mutants::on(Mutant::LeaderIgnoresOwnPool))
    }

    /// A leader appends. A fast command goes into its own pool as well, since its ER counts as a witness's accept.
    pub(super) fn propose(&mut self, payload: Payload<C>, fast: bool, now: Nanos) -> Index {
        let index = self.log.last_index() + 1;
        let entry = Arc::new(Entry { term: self.hard_state.term, index, payload });
        self.append(entry.clone());
        if let Some(proposal) = entry.proposal().filter(|_| fast && !mutants::on(Mutant::LeaderSkipsOwnPool))
            && self.pool.get(proposal.id).is_none()
        {
            self.insert_in_pool(proposal.clone(), now);
        }
        self.out.events.push(Event::LeaderPropose { entry: entry.clone(), fast });
        self.use_appended([&entry]);
        self.replicate_to_all();
        self.maybe_commit();
        index
    }

    /// Proposes a command of the leader's own. Gives its place; `None` if this node does not lead, its fast path is not open, or it is leaving.
    pub fn propose_own(&mut self, command: C, now: Nanos) -> Option<Index> {
        self.clock = now;
        if !self.is_open() || self.is_leaving() {
            return None;
        }
        Some(self.propose(Payload::Own { command: Arc::new(command) }, false, now))
    }

    fn refuse(&mut self, to: ClientAddress, id: ProposeId, why: Refusal) {
        self.reply(to, Reply::Refused { id, why }, 0);
    }

    fn on_record(&mut self, from: ClientAddress, term: Term, config: ConfigVersion, proposal: Arc<Proposal<C>>, now: Nanos) {
        let (id, current) = (proposal.id, self.hard_state.term);
        let in_term = term == current || mutants::on(Mutant::RecordNoTerm);
        let of_config = config == self.membership().version || mutants::on(Mutant::RecordNoConfig);
        let voter = self.membership().witnesses().any(|witness| witness == self.id) && !self.is_leader();
        let new = matches!(self.sessions.known(id), Known::New | Known::Applying);
        let accepted = in_term && of_config && voter && new && proposal.command.fast_allowed() && !self.pool.conflicts(&proposal);
        let mut after = 0;
        let mut inserted = false;
        if accepted {
            after = match self.pool.get(id) {
                Some(held) => held.written,
                None => {
                    inserted = true;
                    self.insert_in_pool(proposal.clone(), now)
                }
            };
        }
        if mutants::on(Mutant::WitnessAckBeforeSync) {
            after = 0;
        }
        self.out.events.push(Event::WitnessRecord { term: current, asked: term, config, proposal, accepted, inserted });
        self.reply(from, Reply::Recorded { id, term, config, accepted, current }, after);
    }

    fn on_begin_session(&mut self, from: ClientAddress, nonce: u64, now: Nanos) {
        if !self.is_leader() || self.is_leaving() {
            return self.reply(from, Reply::SessionRefused { cluster: self.leadership() }, 0);
        }
        let asked = |entry: &&Arc<Entry<C>>| matches!(entry.payload, Payload::SessionBegin { nonce: this } if this == nonce);
        let earlier = self.log.after(self.applied, usize::MAX).iter().find(asked).map(|entry| entry.index);
        // A repetition waits for the session that is on its way: of a second one nobody would know.
        let index = earlier.unwrap_or_else(|| self.propose(Payload::SessionBegin { nonce }, false, now));
        self.board.await_entry(index, from, nonce);
        self.start_entries();
    }

    fn on_end_session(&mut self, from: ClientAddress, client: u64, now: Nanos) {
        let Role::Leader(leader) = &self.role else {
            return self.reply(from, Reply::SessionRefused { cluster: self.leadership() }, 0);
        };
        let open = leader.open;
        let gone = matches!(self.sessions.known(ProposeId { client, seq: u64::MAX }), Known::NoSession);
        if self.is_leaving() || (gone && !open) {
            return self.reply(from, Reply::SessionRefused { cluster: self.leadership() }, 0);
        }
        if gone {
            return self.reply(from, Reply::SessionEnded { client }, 0);
        }
        let index = self.propose(Payload::SessionEnd { client }, false, now);
        self.board.await_entry(index, from, client);
        self.start_entries();
    }

    /// Commands that have been in the pool for long go to the leader as ordinary proposals; their clients may have vanished, and
    /// a pool has one exit only.
    pub(super) fn hand_over(&mut self, now: Nanos) {
        self.hand_over_due = now + self.config.hand_over_after;
        let age = self.config.hand_over_after;
        let stuck: Vec<_> = self.pool.iter().filter(|h| now >= h.since + age).map(|h| h.proposal.clone()).collect();
        if stuck.is_empty() {
            return;
        }
        if mutants::on(Mutant::GcByClientExpiry) {
            return stuck.iter().for_each(|p| self.drop_from_pool(p.id));
        }
        match self.leader {
            Some(leader) if leader == self.id => self.on_hand_over(&stuck, now),
            Some(leader) => self.send(leader, PeerMessage::HandOver { proposals: stuck }, 0),
            None => {}
        }
    }

    pub(super) fn on_hand_over(&mut self, proposals: &[Arc<Proposal<C>>], now: Nanos) {
        if !self.is_open() || self.is_leaving() {
            return;
        }
        for proposal in proposals {
            let id = proposal.id;
            if matches!(self.sessions.known(id), Known::New) && !self.unapplied.contains_key(&id) {
                self.propose(Payload::Command(proposal.clone()), false, now);
            }
        }
    }

    /// Puts a command in the pool; the sequence number that makes it durable there.
    fn insert_in_pool(&mut self, proposal: Arc<Proposal<C>>, now: Nanos) -> u64 {
        let volatile = mutants::on(Mutant::VolatileWitness);
        let seq = if volatile { 0 } else { self.write(Record::PoolInsert(proposal.clone())) };
        self.pool.insert(proposal, seq, now);
        seq
    }

    /// Drops a command from the pool: the one exit, for commands that the session table holds as applied.
    pub(super) fn drop_from_pool(&mut self, id: ProposeId) {
        if self.pool.remove(id) {
            self.out.events.push(Event::PoolDrop { id });
            self.write_unsynced(Record::PoolRemove(id));
        }
    }
}
