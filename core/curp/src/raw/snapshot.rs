//! Snapshots: taking one, compacting the log behind it, sending it to a follower that needs what is gone, installing it there.
//!
//! What stays true: a snapshot is the state after exactly the entries up to its index; its file is durable before any record
//! names it; the log loses only what a durable record covers; what is committed here is never undone by one, and term and vote
//! are never touched.
//!
//! **Taking.** Commuting entries finish in any order, so at most moments the state machine holds more than the applied index says. When a snapshot
//! is wanted no further entry starts until all that were started are applied (a barrier); at that instant it is made.
//!
//! Deliberately not here: files. [`Output::save`](super::Output::save) asks for one, [`RawCurp::snapshot_saved`] says that it is
//! durable; how it lies on the disk is `storage`'s.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::progress::Pace;
use super::{RawCurp, Role};
use crate::sessions::Sessions;
use crate::{
    AdminDone, AdminRefusal, ClientAddress, Command, CommandExecutor, Event, FoundState, Index, LogBase, Nanos, NodeId, PeerMessage,
    Record, Reply, SnapshotFile, SnapshotMeta, Stored, Term,
};
use mutants::Mutant;

/// Why a node cannot start from the snapshot that its records name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotError {
    /// There is no file of it.
    Missing(Index),
    /// The file is of another snapshot.
    Other {
        /// Index in the record.
        record: Index,
        /// Index in the file.
        file: Index,
    },
    /// It does not decode.
    Undecodable(String),
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SnapshotError::Missing(index) => write!(f, "the log names a snapshot at {index}, but its file is missing"),
            SnapshotError::Other { record, file } => write!(f, "the log names a snapshot at {record}, but the file is of one at {file}"),
            SnapshotError::Undecodable(why) => write!(f, "the snapshot does not decode: {why}"),
        }
    }
}

impl std::error::Error for SnapshotError {}

/// A node's own part in snapshots.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    /// The latest whose file is durable.
    pub(super) latest: Option<SnapshotFile>,
    /// A file being written.
    saving: Option<Saving>,
    /// A snapshot being received.
    incoming: Option<Incoming>,
    /// Operators who wait for a snapshot at this index or a later one: client, nonce, index.
    waiting: Vec<(ClientAddress, u64, Index)>,
    /// Sequence number of the record of `latest`, until that is durable and the log is compacted.
    recorded: Option<u64>,
    /// What is still true is to be said again at the end of the present output.
    checkpoint: bool,
}

impl Snapshots {
    pub(super) fn found(latest: Option<SnapshotFile>) -> Self {
        Snapshots { latest, ..Snapshots::default() }
    }

    pub(super) fn index(&self) -> Index {
        self.latest.as_ref().map_or(0, |s| s.meta.index)
    }
}

#[derive(Debug)]
struct Saving {
    file: SnapshotFile,
    /// Who sent it, in which term; `None`: it is of this node's own state.
    sent: Option<(NodeId, Term)>,
}

#[derive(Debug)]
struct Incoming {
    from: NodeId,
    term: Term,
    meta: SnapshotMeta,
    total: u64,
    checksum: u32,
    /// What has come, in order.
    data: Vec<u8>,
}

impl Incoming {
    fn is_complete(&self) -> bool {
        self.data.len() as u64 == self.total
    }
}

/// One piece, as it came.
pub(super) struct Piece {
    pub(super) meta: SnapshotMeta,
    pub(super) total: u64,
    pub(super) checksum: u32,
    pub(super) offset: u64,
    pub(super) data: Arc<Vec<u8>>,
    pub(super) chunk_checksum: u32,
}

/// What a snapshot's bytes hold, all of it replicated state.
#[derive(Serialize, Deserialize)]
#[serde(bound(serialize = "R: Serialize", deserialize = "R: Deserialize<'de>"))]
pub(super) struct State<R> {
    pub(super) applied_revision: u64,
    pub(super) hash_chain: u64,
    pub(super) sessions: Sessions<R>,
    /// The state machine's own bytes.
    machine: Vec<u8>,
}

/// The state in a snapshot, put back into the state machine; what else it holds.
pub(super) fn restore<C: Command, E: CommandExecutor<C>>(data: &[u8], executor: &mut E) -> Result<State<C::Response>, String> {
    let state: State<C::Response> = postcard::from_bytes(data).map_err(|e| e.to_string())?;
    executor.restore(&state.machine)?;
    Ok(state)
}

impl<C: Command> RawCurp<C> {
    /// Starts from the snapshot found, if there is one.
    pub(super) fn restore_found<E: CommandExecutor<C>>(
        &mut self,
        state: Option<FoundState<C::Response>>,
        executor: &mut E,
    ) -> Result<(), SnapshotError> {
        if mutants::on(Mutant::ReplayFromOne) {
            self.applied = self.log.base().index;
            return Ok(());
        }
        if let Some(state) = state.filter(|state| state.index > self.applied) {
            let FoundState { index, revision, hash_chain, membership, last_session, sessions } = state;
            self.applied = index;
            self.hard_state.commit = self.hard_state.commit.max(index);
            self.found_commit = self.hard_state.commit;
            (self.applied_revision, self.hash_chain) = (revision, hash_chain);
            self.sessions = Sessions::from_rows(last_session, sessions);
            self.hash_sum = executor.state_sum();
            self.configuration.found_applied(membership);
            self.out.events.push(Event::LoadState { index, state_hash: self.state_hash() });
            return Ok(());
        }
        if let Some(file) = &self.snapshots.latest {
            let state = restore::<C, E>(&file.data, executor).map_err(SnapshotError::Undecodable)?;
            (self.applied_revision, self.hash_chain, self.sessions) = (state.applied_revision, state.hash_chain, state.sessions);
            self.hash_sum = executor.state_sum();
        }
        Ok(())
    }

    /// The log, and what belongs to it.
    pub fn storage(&self) -> Stored<'_, C> {
        Stored { hard_state: self.hard_state, membership: self.membership(), log: &self.log, snapshot: self.snapshots.latest.as_ref() }
    }

    /// Index of the latest durable snapshot; 0 if there is none.
    pub fn snapshot_index(&self) -> Index {
        self.snapshots.index()
    }

    /// What stands before the first entry of the log.
    pub fn log_base(&self) -> LogBase {
        self.log.base()
    }

    /// An operator wants a snapshot of the present state.
    pub(super) fn on_take_snapshot(&mut self, from: ClientAddress, nonce: u64) {
        let index = self.applied;
        if index == 0 {
            return self.reply(from, Reply::Admin { nonce, result: Err(AdminRefusal::NotReady) }, 0);
        }
        if index == self.snapshots.index() {
            return self.reply(from, Reply::Admin { nonce, result: Ok(AdminDone::SnapshotTaken { index }) }, 0);
        }
        self.snapshots.waiting.push((from, nonce, index));
    }

    /// Makes a snapshot if one is wanted and everything started is applied. True while it is wanted and that is not so: nothing
    /// may start.
    pub(super) fn snapshot_barrier<E: CommandExecutor<C>>(&mut self, executor: &E) -> bool {
        if self.snapshots.saving.is_some() || self.applied <= self.snapshots.index() {
            return false;
        }
        let every = self.config.snapshot_every;
        let due = every > 0 && self.applied - self.snapshots.index() >= every;
        if !due && self.snapshots.waiting.is_empty() {
            return false;
        }
        if !self.queue.is_idle() && !mutants::on(Mutant::SnapshotWrongIndex) {
            return true;
        }
        self.take_snapshot(executor);
        false
    }

    fn take_snapshot<E: CommandExecutor<C>>(&mut self, executor: &E) {
        // Nothing is started and not applied: this is the applied index.
        let index = self.applied + self.queue.started() as Index;
        let term = self.log.term(index).expect("what is applied is in the log, or before it is the snapshot");
        let sessions = std::mem::take(&mut self.sessions);
        let (empty, forgotten) = (Sessions::default(), mutants::on(Mutant::SessionsNotInSnapshot));
        let kept = if forgotten { &empty } else { &sessions };
        // The fields of `State`, in its order.
        let state = (self.applied_revision, self.hash_chain, kept, executor.snapshot());
        let data = Arc::new(postcard::to_allocvec(&state).expect("plain data encodes"));
        self.sessions = sessions;
        let file = SnapshotFile { meta: SnapshotMeta { index, term, membership: self.membership_at(index) }, data };
        tracing::info!(index, bytes = file.data.len(), "takes a snapshot");
        self.out.events.push(Event::TakeSnapshot { index, term, state_hash: self.state_hash() });
        self.out.save = Some(file.clone());
        if mutants::on(Mutant::SnapshotMetaFirst) {
            return self.own_snapshot_saved(file);
        }
        self.snapshots.saving = Some(Saving { file, sent: None });
    }

    /// The file of the snapshot at `index`, asked for by [`Output::save`](super::Output::save), is complete and durable.
    pub fn snapshot_saved<E: CommandExecutor<C>>(&mut self, index: Index, executor: &mut E) {
        let Some(Saving { file, sent }) = self.snapshots.saving.take_if(|s| s.file.meta.index == index) else { return };
        match sent {
            None => self.own_snapshot_saved(file),
            // Since the file was begun there may be another term, or the entries may have come after all.
            Some((_, term)) if self.refuses_snapshot(term, &file.meta) => tracing::debug!(index, "a snapshot that is not needed any more"),
            Some((from, _)) => self.install(from, file, executor),
        }
        self.save_incoming();
    }

    fn own_snapshot_saved(&mut self, file: SnapshotFile) {
        let seq = self.write(Record::Snapshot(file.meta.clone()));
        self.snapshot_is_latest(file, seq);
    }

    /// The record of this snapshot has number `seq`: once it is durable, the log before it may go.
    fn snapshot_is_latest(&mut self, file: SnapshotFile, seq: u64) {
        let index = file.meta.index;
        self.snapshots.latest = Some(file);
        self.snapshots.recorded = Some(seq);
        let (done, waiting) = std::mem::take(&mut self.snapshots.waiting).into_iter().partition(|(.., wanted)| *wanted <= index);
        self.snapshots.waiting = waiting;
        let done: Vec<(ClientAddress, u64, Index)> = done;
        for (client, nonce, _) in done {
            self.reply(client, Reply::Admin { nonce, result: Ok(AdminDone::SnapshotTaken { index }) }, seq);
        }
    }

    /// Drops what the latest snapshot covers, trailing entries apart, once its record is durable.
    pub(super) fn compact_log(&mut self) {
        if self.snapshots.recorded.take_if(|seq| *seq <= self.durable).is_none() {
            return;
        }
        let base = self.snapshots.index().saturating_sub(self.config.trailing_entries).min(self.applied);
        if self.log.compact(base) {
            self.out.events.push(Event::CompactLog { base: self.log.base() });
        }
        // Even if no entry went: older snapshots may go, and what an installed one replaced.
        self.snapshots.checkpoint = true;
    }

    /// What is still true, if older records are to be forgotten. At the end of an output: nothing comes after it there.
    pub(super) fn write_checkpoint(&mut self) {
        if !std::mem::take(&mut self.snapshots.checkpoint) {
            return;
        }
        let Some(latest) = &self.snapshots.latest else { return };
        let base = self.log.base();
        let mut records = vec![Record::Checkpoint(base), Record::HardState(self.hard_state)];
        records.extend(self.log.after(base.index, usize::MAX).iter().cloned().map(Record::Entry));
        // After the entries: before them it would take their place.
        records.push(Record::Snapshot(latest.meta.clone()));
        if !mutants::on(Mutant::VolatileWitness) {
            records.extend(self.pool.proposals().into_iter().map(Record::PoolInsert));
        }
        self.written += records.len() as u64;
        self.out.checkpoint = records;
    }

    /// Sends a follower the present piece of the snapshot that it is being sent.
    pub(super) fn send_piece(&mut self, to: NodeId) {
        let bytes_max = self.config.snapshot_chunk_bytes;
        let Some(Pace::Snapshot(sending)) = self.progress(to).map(|p| &p.pace) else { return };
        let data = sending.piece(bytes_max);
        let piece = PeerMessage::InstallSnapshot {
            meta: sending.file.meta.clone(),
            total: sending.file.data.len() as u64,
            checksum: sending.checksum,
            offset: sending.at,
            chunk_checksum: crc32fast::hash(&data),
            data,
        };
        self.send(to, piece, 0);
    }

    /// The follower needs entries that the log no longer has.
    pub(super) fn begin_snapshot(&mut self, to: NodeId) {
        let Some(file) = self.snapshots.latest.clone() else { return };
        tracing::info!(to, index = file.meta.index, "sends a snapshot");
        if let Some(progress) = self.progress(to) {
            progress.send_snapshot(file);
            self.send_piece(to);
        }
    }

    pub(super) fn on_snapshot_received(&mut self, from: NodeId, index: Index, next: u64) {
        if self.heard_from(from).is_some_and(|progress| progress.received(index, next)) {
            self.send_piece(from);
        }
    }

    /// The transport could not reach a node: what was sent to it lately may be lost.
    pub fn report_unreachable(&mut self, node: NodeId) {
        if let Some(progress) = self.progress(node) {
            progress.unreachable();
        }
    }

    /// For a transport that carries snapshots in its own way: it has given one up (`ok` is false), or all of it has arrived. Then
    /// nothing is to be done, since the follower says so itself.
    pub fn report_snapshot(&mut self, node: NodeId, ok: bool) {
        if let Some(progress) = self.progress(node).filter(|p| !ok && matches!(p.pace, Pace::Snapshot(_))) {
            progress.probe();
        }
    }

    pub(super) fn progress(&mut self, node: NodeId) -> Option<&mut super::Progress> {
        let Role::Leader(leader) = &mut self.role else { return None };
        leader.progress.iter_mut().find(|(peer, _)| *peer == node).map(|(_, p)| p)
    }

    /// Whether a snapshot that was sent in `term` must not be installed: that term is over, or everything in it is in the log here.
    fn refuses_snapshot(&self, term: Term, meta: &SnapshotMeta) -> bool {
        if term < self.hard_state.term {
            return self.is_leader() || !mutants::on(Mutant::SnapshotStaleTerm);
        }
        meta.index <= self.hard_state.commit || self.log.term(meta.index) == Some(meta.term)
    }

    pub(super) fn on_install_snapshot(&mut self, from: NodeId, term: Term, piece: Piece, now: Nanos) {
        let leads = self.hear_leader(from, term, now);
        let index = piece.meta.index;
        if self.refuses_snapshot(term, &piece.meta) {
            if !leads {
                return self.answer_deposed(from);
            }
            self.snapshots.incoming = None;
            if index > self.hard_state.commit {
                self.commit_to(index, false);
            }
            return self.send_appended(from, self.hard_state.commit);
        }
        let next = self.receive(from, term, piece);
        if let Some(next) = next {
            self.send(from, PeerMessage::SnapshotReceived { index, next }, 0);
        }
        self.save_incoming();
    }

    /// Takes a piece in. What to answer: so many bytes are here; nothing yet if this was the last.
    fn receive(&mut self, from: NodeId, term: Term, piece: Piece) -> Option<u64> {
        let Piece { meta, total, checksum, offset, data, chunk_checksum } = piece;
        if let Some(Saving { file, sent: Some(sent) }) = &self.snapshots.saving
            && (*sent, &file.meta) == ((from, term), &meta)
        {
            return Some(total);
        }
        let same = |i: &&mut Incoming| (i.from, i.term, &i.meta, i.total, i.checksum) == (from, term, &meta, total, checksum);
        if self.snapshots.incoming.as_mut().filter(same).is_none() {
            if offset > 0 {
                return Some(0);
            }
            self.snapshots.incoming = Some(Incoming { from, term, meta, total, checksum, data: Vec::new() });
        }
        let incoming = self.snapshots.incoming.as_mut()?;
        if crc32fast::hash(&data) != chunk_checksum {
            tracing::warn!(from, offset, "a piece of a snapshot came damaged");
            self.snapshots.incoming = None;
            return Some(0);
        }
        if offset != incoming.data.len() as u64 || data.is_empty() {
            return Some(incoming.data.len() as u64);
        }
        incoming.data.extend_from_slice(&data);
        if !incoming.is_complete() {
            return Some(incoming.data.len() as u64);
        }
        if crc32fast::hash(&incoming.data) != checksum {
            tracing::warn!(from, "a snapshot came damaged, though no piece of it did");
            self.snapshots.incoming = None;
            return Some(0);
        }
        None
    }

    /// Asks for the file of a snapshot that has come, unless another is being written.
    fn save_incoming(&mut self) {
        if self.snapshots.saving.is_some() || !self.snapshots.incoming.as_ref().is_some_and(Incoming::is_complete) {
            return;
        }
        let Some(Incoming { from, term, meta, data, .. }) = self.snapshots.incoming.take() else { return };
        if self.refuses_snapshot(term, &meta) {
            return;
        }
        let file = SnapshotFile { meta, data: Arc::new(data) };
        self.out.save = Some(file.clone());
        self.snapshots.saving = Some(Saving { file, sent: Some((from, term)) });
    }

    /// Everything here is replaced by the snapshot, whose file is durable. Except: term and vote, and of the pool what is not settled.
    fn install<E: CommandExecutor<C>>(&mut self, from: NodeId, file: SnapshotFile, executor: &mut E) {
        let state = match restore::<C, E>(&file.data, executor) {
            Ok(state) => state,
            // Its checksums are right, so the sender made it so. A node that cannot use it is better off behind.
            Err(why) => return tracing::error!(from, why, "a snapshot does not decode"),
        };
        let State { applied_revision, hash_chain, sessions, .. } = state;
        let SnapshotMeta { index, term: last_term, ref membership } = file.meta;
        let membership = membership.clone();
        (self.applied_revision, self.hash_chain, self.sessions) = (applied_revision, hash_chain, sessions);
        self.hash_sum = executor.state_sum();
        self.applied = index;
        self.hard_state.commit = index;
        self.queue.clear();
        let seq = self.write(Record::Snapshot(file.meta.clone()));
        let base = LogBase { index, term: last_term };
        if mutants::on(Mutant::RejoinKeepsTail) {
            self.log.replace_keeping_tail(base, seq);
        } else {
            self.log.replace(base, seq);
        }
        self.unapplied.clear();
        self.index_unapplied_from(index + 1);
        if mutants::on(Mutant::SnapshotLowersTerm) {
            self.hard_state.term = last_term;
            self.hard_state.vote = None;
            self.persist_hard_state();
        }
        let (term, state_hash) = (self.hard_state.term, self.state_hash());
        tracing::info!(term, index, from, "installs a snapshot");
        self.out.events.push(Event::InstallSnapshot { term, from, index, last_term, state_hash });
        self.install_config(&membership);
        self.drop_settled(mutants::on(Mutant::PoolClearAtSnapshot));
        self.snapshot_is_latest(file, seq);
        self.send_appended(from, self.log.last_index());
    }

    /// Drops exactly what the session table settles from the pool: at an install, and at a start from a snapshot, for what was applied
    /// before it is not applied here any more. `all`: a planted bug's way.
    pub(super) fn drop_settled(&mut self, all: bool) {
        for id in self.pool.ids() {
            if all || self.sessions.settled(id) {
                self.drop_from_pool(id);
            }
        }
    }

    /// "My log equals yours up to `index`", once that is durable.
    pub(super) fn send_appended(&mut self, to: NodeId, index: Index) {
        let after = self.log.written(index);
        self.send(to, PeerMessage::Appended { index }, after);
    }
}
