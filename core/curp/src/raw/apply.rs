//! From commit to apply: the queue, early execution on a leader, and the opening of the fast path.

use super::{RawCurp, Role};
use crate::board::Early;
use crate::draw::splitmix64;
use crate::queue::{Stage, TaskId};
use crate::sessions::Known;
use crate::{AdminDone, Applied, Command, CommandExecutor, Entry, Event, Payload, ProposeId, Reply, RoleChange, SessionChange};
use mutants::Mutant;

impl<C: Command> RawCurp<C> {
    pub(super) fn new_task(&mut self) -> TaskId {
        self.next_task += 1;
        self.next_task
    }

    /// Lets committed entries into the queue, as far as they are durable here.
    pub(super) fn start_entries(&mut self) {
        let durable = if mutants::on(Mutant::ApplyBeforePersist) { u64::MAX } else { self.log.durable_index(self.durable) };
        let until = self.hard_state.commit.min(durable);
        let mut last = self.queue.last_index().unwrap_or(self.applied);
        while last < until {
            last += 1;
            self.queue.push(self.log.get(last).expect("committed entries are in the log").clone());
        }
    }

    /// Prepares, in log order, every entry that need not wait for an earlier one. Call after every input.
    pub fn pump<E: CommandExecutor<C> + RoleChange>(&mut self, executor: &mut E) {
        self.tell_deposed(executor);
        loop {
            self.apply_finished(executor);
            self.maybe_open(executor);
            if self.snapshot_barrier(executor) {
                break;
            }
            let task = self.next_task + 1;
            let Some(item) = self.queue.startable() else { break };
            let entry = item.entry.clone();
            item.stage = match &entry.payload {
                Payload::Noop => {
                    if mutants::on(Mutant::SessionsLeaderLocal) {
                        self.sessions.forget_results();
                    }
                    Stage::Finished { outcome: Applied::Nothing, delta: 0 }
                }
                Payload::SessionBegin { .. } => {
                    self.sessions.begin(entry.index);
                    Stage::Finished { outcome: Applied::SessionBegun, delta: 0 }
                }
                Payload::SessionEnd { client } => {
                    self.sessions.end(*client);
                    Stage::Finished { outcome: Applied::SessionEnded, delta: 0 }
                }
                Payload::Config { .. } => Stage::Finished { outcome: Applied::Configured, delta: 0 },
                Payload::Shutdown => Stage::Finished { outcome: Applied::ShutDown, delta: 0 },
                Payload::Own { command } => {
                    let revision = executor.prepare(entry.term, entry.index, command);
                    self.next_task = task;
                    self.out.tasks.push(task);
                    Stage::Running { task, revision }
                }
                Payload::Command(proposal) => match self.sessions.known(proposal.id) {
                    Known::New => {
                        self.sessions.admit(proposal.id, proposal.first_incomplete);
                        let revision = executor.prepare(entry.term, entry.index, &proposal.command);
                        self.next_task = task;
                        self.out.tasks.push(task);
                        Stage::Running { task, revision }
                    }
                    Known::Applying | Known::Applied(_) => Stage::Finished { outcome: Applied::Duplicate, delta: 0 },
                    Known::NoSession | Known::Acknowledged => Stage::Finished { outcome: Applied::Refused, delta: 0 },
                },
            };
        }
        self.maybe_stop();
        self.tell_deposed(executor);
    }

    /// Tells the state machine that this node's leadership is over.
    fn tell_deposed<E: RoleChange>(&mut self, executor: &mut E) {
        if let Some(term) = self.deposed.take() {
            executor.on_follower(term);
        }
    }

    /// The engine reports that an execution's time has come: its result is computed now, in one step.
    pub fn task_done<E: CommandExecutor<C> + RoleChange>(&mut self, task: TaskId, executor: &mut E) {
        if let Some(i) = self.early.iter().position(|t| t.task == task) {
            let early = self.early.swap_remove(i);
            self.early_done(early.id, executor);
        } else if let Some(item) = self.queue.running(task) {
            let (Stage::Running { revision, .. }, Some(command)) = (&item.stage, item.entry.command()) else {
                unreachable!("only commands run")
            };
            let synced = executor.after_sync(item.entry.term, item.entry.index, *revision, command);
            item.stage = Stage::Finished { outcome: Applied::Done(synced), delta: executor.take_delta() };
        }
        self.pump(executor);
    }

    /// A fast command is executed: its ER goes to whoever waits, once its log entry and its pool entry are durable.
    fn early_done<E: CommandExecutor<C>>(&mut self, id: ProposeId, executor: &E) {
        let (term, config, changing) = (self.hard_state.term, self.membership().version, self.is_changing());
        let Some(card) = self.board.get_mut(id) else { return };
        let index = card.index;
        if self.queue.is_finished(index) {
            // Committed and done meanwhile: the state has its effect already, and the final answer is on its way.
            return card.early = Early::None;
        }
        if changing {
            // Nothing is fast under a configuration that is not applied, and the one it was proposed in is not in force any more.
            card.early = Early::None;
            let waiters = card.waiters.clone();
            return waiters.into_iter().for_each(|client| self.reply(client, Reply::Conflict { id, term }, 0));
        }
        let Some(proposal) = self.log.get(index).and_then(|e| e.proposal()) else { return };
        let response = executor.execute(&proposal.command);
        let after = self.log.written(index).max(self.pool.get(id).map_or(0, |h| h.written));
        card.early = Early::Done { response: response.clone(), after, config };
        let waiters = card.waiters.clone();
        if mutants::on(Mutant::PoolDropAtExecute) {
            self.drop_from_pool(id);
        }
        self.out.events.push(Event::Execute { term, id, index, response: response.clone() });
        for client in waiters {
            self.reply(client, Reply::Executed { id, term, config, response: response.clone() }, after);
        }
    }

    /// Applies, in log order, what has finished.
    fn apply_finished<E: CommandExecutor<C> + RoleChange>(&mut self, executor: &mut E) {
        while let Some((entry, outcome, delta)) = self.queue.pop_finished() {
            self.applied = entry.index;
            self.hash_sum = self.hash_sum.wrapping_add(delta);
            self.hash_chain = splitmix64(self.hash_chain ^ splitmix64(entry.index) ^ fingerprint(&outcome));
            let id = entry.id();
            if id.is_some_and(|id| self.unapplied.get(&id) == Some(&entry.index)) {
                self.unapplied.remove(&id.expect("just looked at"));
            }
            if let Applied::Done(synced) = &outcome {
                self.applied_revision = synced.revision;
                if let Some(id) = id {
                    self.sessions.complete(id, synced.clone());
                }
            }
            if self.sessions_noted {
                self.out.sessions.extend(session_change(&entry, &outcome));
            }
            let state_hash = self.state_hash();
            self.out.events.push(Event::Apply { index: entry.index, id, outcome: outcome.clone(), state_hash });
            executor.applied(entry.index);
            self.answer(&entry, &outcome);
            self.leave_pool(&entry);
            match &entry.payload {
                Payload::Config { membership, .. } => self.applied_config(membership, entry.index),
                Payload::Shutdown => self.applied_shutdown(entry.index),
                Payload::Noop | Payload::Command(_) | Payload::Own { .. } | Payload::SessionBegin { .. } | Payload::SessionEnd { .. } => {}
            }
            self.maybe_open(executor);
        }
    }

    /// Answers those who wait for the entry just applied.
    fn answer(&mut self, entry: &Entry<C>, outcome: &Applied<C::Response>) {
        match (&entry.payload, outcome) {
            (Payload::Command(proposal), outcome) => {
                let Some(card) = self.board.remove(proposal.id) else { return };
                for client in card.waiters {
                    let id = proposal.id;
                    let reply = match (outcome, self.sessions.known(id)) {
                        (Applied::Done(synced), _) => Reply::Synced { id, synced: synced.clone() },
                        (_, Known::Applied(synced)) => Reply::Synced { id, synced: synced.clone() },
                        (_, Known::Acknowledged) => Reply::Refused { id, why: crate::Refusal::Acknowledged },
                        _ => Reply::Refused { id, why: crate::Refusal::NoSession },
                    };
                    self.reply(client, reply, 0);
                }
            }
            (Payload::SessionBegin { .. }, _) => {
                for (client, nonce) in self.board.take_entry(entry.index) {
                    self.reply(client, Reply::SessionBegun { nonce, client: entry.index }, 0);
                }
            }
            (Payload::SessionEnd { .. }, _) => {
                for (client, session) in self.board.take_entry(entry.index) {
                    self.reply(client, Reply::SessionEnded { client: session }, 0);
                }
            }
            (Payload::Config { membership, .. }, _) => {
                self.answer_admin(entry.index, AdminDone::Changed((**membership).clone()));
            }
            (Payload::Shutdown, _) => self.answer_admin(entry.index, AdminDone::ShutDown),
            (Payload::Noop | Payload::Own { .. }, _) => {}
        }
    }

    /// The one exit from the pool: the session table holds the command as applied, or its session has ended.
    fn leave_pool(&mut self, entry: &Entry<C>) {
        match &entry.payload {
            Payload::Command(proposal) if self.sessions.settled(proposal.id) => self.drop_from_pool(proposal.id),
            Payload::SessionEnd { client } => {
                for id in self.pool.ids().into_iter().filter(|id| id.client == *client) {
                    self.drop_from_pool(id);
                }
            }
            _ => {}
        }
    }

    /// The fast path opens when the no-op and every recovered command of this term are applied. Without this, four and five nodes
    /// break: a command recovered but not applied is in no pool that the leader looks at.
    fn maybe_open<E: RoleChange>(&mut self, executor: &mut E) {
        let Role::Leader(leader) = &mut self.role else { return };
        if !leader.open && (self.applied >= leader.opens_at || mutants::on(Mutant::FastBeforeNoop)) {
            leader.open = true;
            let term = self.hard_state.term;
            tracing::info!(term, applied = self.applied, "fast path opens");
            self.out.events.push(Event::OpenFastPath { term });
            executor.on_leader(term);
        }
    }
}

/// What an applied entry did to the sessions.
fn session_change<C: Command>(entry: &Entry<C>, outcome: &Applied<C::Response>) -> Option<SessionChange<C::Response>> {
    match (&entry.payload, outcome) {
        (Payload::SessionBegin { .. }, _) => Some(SessionChange::Open { client: entry.index, first_incomplete: 1 }),
        (Payload::SessionEnd { client }, _) => Some(SessionChange::Ended { client: *client }),
        (Payload::Command(proposal), Applied::Done(synced)) => {
            let (id, first_incomplete) = (proposal.id, proposal.first_incomplete);
            Some(SessionChange::Applied { id, first_incomplete, synced: synced.clone() })
        }
        _ => None,
    }
}

/// What an outcome adds to the chain of the state's hash.
fn fingerprint<R>(outcome: &Applied<R>) -> u64 {
    match outcome {
        Applied::Nothing => 1,
        Applied::Done(synced) => 2 + synced.revision,
        Applied::Duplicate => u64::MAX,
        Applied::Refused => u64::MAX - 1,
        Applied::SessionBegun => u64::MAX - 2,
        Applied::SessionEnded => u64::MAX - 3,
        Applied::Configured => u64::MAX - 4,
        Applied::ShutDown => u64::MAX - 5,
    }
}
