//! Replication: appending, matching, committing; heartbeats and the leader's watch over its quorum.

use std::sync::Arc;

use super::progress::Allowance;
pub(super) use super::progress::Progress;
use super::{RawCurp, Role};
use crate::{Command, Entry, Event, Index, Nanos, NodeId, PeerMessage, Record, Storage, StorageError, Term};
use mutants::Mutant;

impl<C: Command> RawCurp<C> {
    pub(super) fn tick_leader(&mut self, now: Nanos) {
        let (id, quorum, voters) = (self.id, self.quorum(), &self.configuration.in_force().voters);
        let Role::Leader(leader) = &mut self.role else { return };
        if now >= leader.quorum_check_due {
            leader.quorum_check_due = now + self.config.election_timeout.1;
            let peers = leader.progress.iter().filter(|(_, p)| p.heard).map(|(peer, _)| *peer);
            let heard = peers.chain([id]).filter(|node| voters.contains(node)).count();
            leader.progress.iter_mut().for_each(|(_, p)| p.heard = false);
            if heard < quorum {
                tracing::info!(term = self.hard_state.term, heard, "steps down: heard of no quorum");
                self.out.events.push(Event::StepDown { term: self.hard_state.term });
                self.leader = None;
                return self.follow(now);
            }
        }
        if now >= leader.heartbeat_due {
            self.heartbeat(now);
        }
    }

    /// Begins a heartbeat round; its number.
    pub(super) fn heartbeat(&mut self, now: Nanos) -> u64 {
        let commit = self.hard_state.commit;
        let Role::Leader(leader) = &mut self.role else { unreachable!("only a leader has heartbeats") };
        leader.round += 1;
        leader.heartbeat_due = now + self.config.heartbeat_interval;
        let round = leader.round;
        for (peer, matched) in leader.progress.iter().map(|(peer, p)| (*peer, p.matched)).collect::<Vec<_>>() {
            self.send(peer, PeerMessage::Heartbeat { commit: commit.min(matched), round }, 0);
        }
        round
    }

    pub(super) fn replicate_to_all(&mut self) {
        for peer in self.replicated_to() {
            self.replicate(peer, false);
        }
    }

    /// Sends a follower what it lacks, as far as it may be sent now. `answered`: it has answered a heartbeat and lacks something, so it is
    /// asked where it stands even if there is nothing to send.
    pub(super) fn replicate(&mut self, to: NodeId, answered: bool) {
        let window = self.config.appends_in_flight_max;
        let Some(progress) = self.progress(to) else { return };
        let (allowance, next) = (progress.allowance(window, answered), progress.next);
        let limit = match allowance {
            Allowance::Nothing => return,
            Allowance::Piece => return self.send_piece(to),
            Allowance::Question => 0,
            Allowance::Entries => self.config.append_entries_max,
        };
        let log = self.storage();
        let end = next.saturating_add(limit as Index).min(log.last_index() + 1);
        let found = log.term(next - 1).and_then(|term| Ok((term, log.entries(next, end, self.config.append_bytes_max)?)));
        let (prev_term, entries) = match found {
            Ok(found) => found,
            Err(StorageError::Compacted) => return self.begin_snapshot(to),
            Err(error) => unreachable!("a leader never sends from beyond its log: {error}"),
        };
        if entries.is_empty() && !answered {
            return;
        }
        if let Some(progress) = self.progress(to) {
            progress.sent(entries.len());
        }
        let append = PeerMessage::Append { prev_index: next - 1, prev_term, entries, commit: self.hard_state.commit };
        self.send(to, append, 0);
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one message")]
    pub(super) fn on_append(
        &mut self,
        from: NodeId,
        term: Term,
        prev_index: Index,
        prev_term: Term,
        entries: Vec<Arc<Entry<C>>>,
        commit: Index,
        now: Nanos,
    ) {
        if !self.hear_leader(from, term, now) {
            return self.answer_deposed(from);
        }
        if prev_index < self.log.base().index {
            // A late Append, or a leader that begins to find out: what a snapshot covers is committed, hence the same in both logs.
            return self.send_appended(from, self.hard_state.commit);
        }
        if self.log.term(prev_index) != Some(prev_term) {
            // The last place where this log can agree with one whose entry at `prev_index` is of `prev_term`.
            let below = self.log.last_index().min(prev_index.saturating_sub(1));
            let hint_index = self.log.last_at_or_below_term(below, prev_term);
            let hint_term = self.log.term(hint_index).unwrap_or(0);
            return self.send(from, PeerMessage::AppendRejected { prev_index, hint_index, hint_term }, 0);
        }
        let last_new = prev_index + entries.len() as Index;
        self.accept(from, term, entries);
        self.commit_to(commit.min(last_new), false);
        let after = if mutants::on(Mutant::AckBeforeFsync) { 0 } else { self.log.written(last_new) };
        self.send(from, PeerMessage::Appended { index: last_new }, after);
    }

    /// Takes a leader's entries into the log. Only from the first that conflicts is anything cut off: a late, repeated Append must
    /// not undo what a later one brought.
    fn accept(&mut self, from: NodeId, term: Term, mut entries: Vec<Arc<Entry<C>>>) {
        let known = entries.iter().take_while(|e| self.log.term(e.index) == Some(e.term)).count();
        if !mutants::on(Mutant::AppendTruncatesAlways) {
            entries.drain(..known);
        }
        let Some(first) = entries.first().map(|e| e.index) else { return };
        let truncated = first <= self.log.last_index();
        if truncated {
            assert!(first > self.hard_state.commit, "entry {first} is committed here and would be cut off");
            self.truncate_from(first);
        }
        self.out.events.push(Event::AcceptEntries { term, from, truncated, entries: entries.clone() });
        for entry in &entries {
            if let Some(id) = entry.id().filter(|_| mutants::on(Mutant::PoolDropAtAppend)) {
                self.drop_from_pool(id);
            }
            self.append(entry.clone());
        }
        self.use_cut_or_appended(truncated, &entries);
    }

    fn truncate_from(&mut self, index: Index) {
        let cut: Vec<_> = self.log.after(index - 1, usize::MAX).iter().filter_map(|e| e.id()).collect();
        self.log.truncate_from(index);
        for id in cut {
            self.unapplied.remove(&id);
            if mutants::on(Mutant::PoolDropAtTruncate) {
                self.drop_from_pool(id);
            }
        }
    }

    /// Tells the leader of an earlier term that there is a later one. It must not echo anything of the question: the message may be very
    /// late, its sender may lead again, in the present term, and would take the answer for one to a question of this term.
    pub(super) fn answer_deposed(&mut self, to: NodeId) {
        self.send(to, PeerMessage::HeartbeatReply { round: 0 }, 0);
    }

    /// A message that only the leader of `term` sends has come; false if that is over.
    pub(super) fn hear_leader(&mut self, from: NodeId, term: Term, now: Nanos) -> bool {
        if term < self.hard_state.term {
            return false;
        }
        assert!(!self.is_leader(), "node {from} also leads in term {term}");
        self.leader = Some(from);
        self.leader_heard = Some(now);
        self.role = Role::Follower;
        self.end_transfer();
        self.reset_election_timer(now);
        true
    }

    pub(super) fn on_appended(&mut self, from: NodeId, index: Index) {
        let (index, term, base) = (index.min(self.log.last_index()), self.hard_state.term, self.log.base().index);
        let Some(progress) = self.heard_from(from) else { return };
        if progress.appended(index, base) {
            self.out.events.push(Event::Matched { term, peer: from, index });
        }
        self.maybe_commit();
        self.tell_commit();
        self.replicate(from, false);
        self.push_transfer();
    }

    pub(super) fn on_append_rejected(&mut self, from: NodeId, prev_index: Index, hint_index: Index, hint_term: Term) {
        let agree = self.log.last_at_or_below_term(hint_index, hint_term);
        let Some(progress) = self.heard_from(from) else { return };
        if progress.rejected(prev_index, agree) {
            self.replicate(from, true);
        }
    }

    pub(super) fn on_heartbeat(&mut self, from: NodeId, term: Term, commit: Index, round: u64, now: Nanos) {
        if !self.hear_leader(from, term, now) {
            return self.answer_deposed(from);
        }
        self.commit_to(commit, false);
        self.send(from, PeerMessage::HeartbeatReply { round }, 0);
    }

    pub(super) fn on_heartbeat_reply(&mut self, from: NodeId, round: u64) {
        let last = self.log.last_index();
        let Some(progress) = self.heard_from(from) else { return };
        progress.round = progress.round.max(round);
        if progress.matched < last {
            // Something was lost on the way, or is still on it: ask.
            self.replicate(from, true);
        }
        self.confirm_reads();
    }

    pub(super) fn heard_from(&mut self, from: NodeId) -> Option<&mut Progress> {
        let Role::Leader(leader) = &mut self.role else { return None };
        let progress = leader.progress.iter_mut().find(|(peer, _)| *peer == from).map(|(_, p)| p)?;
        progress.answered();
        Some(progress)
    }

    /// Commits what a quorum has on its disks, if the last of it is of this term: older entries may still be overwritten by a
    /// leader that never saw them, however many hold them (Raft paper, figure 8).
    pub(super) fn maybe_commit(&mut self) {
        let quorum = self.quorum();
        let Role::Leader(leader) = &self.role else { return };
        let own = if mutants::on(Mutant::AckBeforeFsync) { self.log.last_index() } else { self.log.durable_index(self.durable) };
        let peers = leader.progress.iter().map(|(peer, p)| (*peer, p.matched));
        let voters = peers.chain([(self.id, own)]).filter(|(node, _)| self.membership().is_voter(*node));
        let mut matched: Vec<Index> = voters.map(|(_, matched)| matched).collect();
        matched.sort_unstable_by(|a, b| b.cmp(a));
        let held = matched[quorum - 1];
        let of_this_term = self.log.term(held) == Some(self.hard_state.term) || mutants::on(Mutant::CommitOldTerm);
        if held > self.hard_state.commit && of_this_term {
            self.commit_to(held, true);
            self.confirm_reads();
            self.tell_commit();
        }
    }

    /// Tells followers how far the entries they have are committed: their witnesses are busy until they apply.
    fn tell_commit(&mut self) {
        let commit = self.hard_state.commit;
        let Role::Leader(leader) = &mut self.role else { return };
        let mut news = Vec::new();
        for (peer, progress) in &mut leader.progress {
            let known = commit.min(progress.matched);
            if known > progress.told {
                progress.told = known;
                news.push((*peer, known));
            }
        }
        for (peer, commit) in news {
            self.send(peer, PeerMessage::Commit { commit }, 0);
        }
    }

    pub(super) fn on_commit(&mut self, from: NodeId, term: Term, commit: Index, now: Nanos) {
        if !self.hear_leader(from, term, now) {
            return self.answer_deposed(from);
        }
        self.commit_to(commit, false);
    }

    /// Raises the commit index; it never falls.
    pub(super) fn commit_to(&mut self, commit: Index, counted: bool) {
        if commit <= self.hard_state.commit && !(mutants::on(Mutant::CommitMovesBack) && commit < self.hard_state.commit) {
            return;
        }
        self.hard_state.commit = commit;
        self.out.events.push(Event::AdvanceCommit { term: self.hard_state.term, commit, counted });
        if !mutants::on(Mutant::VoteNotPersisted) {
            self.write_unsynced(Record::HardState(self.hard_state));
        }
        self.start_entries();
    }
}
