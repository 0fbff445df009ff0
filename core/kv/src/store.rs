//! The store: executes requests against the versions of every key, and the leases.
//!
//! Invariant: whatever order commuting commands complete in, the versions kept, every response, and the sum of the deltas of the state
//! hash are those of completion in log order. It holds because a revision is decided in `prepare`, in log order, from keys and leases that
//! only earlier conflicting commands could have changed; those have been applied by then. A command whose footprint depends on the
//! state conflicts with everything, so it finds everything before it applied and nothing after it.
//!
//! It knows nothing of sessions or indexes: which commands are applied, and once, is decided above it. Of terms it knows one thing:
//! a revoke decided in another term than its entry's is void. What is volatile is elsewhere: deadlines in [`crate::Expiry`],
//! watchers in [`crate::Watchers`]; all that is here is in the snapshot.

use std::collections::BTreeSet;

use mutants::Mutant;

use curp::{CommandExecutor, Index, RoleChange, Synced, Term};

use crate::change::Journal;
use crate::compute::{LATEST, Writes};
use crate::history::{History, Version};
use crate::lease::LeaseCollection;
use crate::{Bytes, Change, Error, KeyValue, LEASE_NONE, LeaseId, RangeRequest, Request, Response, range};

/// The revision of an empty store, as in etcd; the first write gets the next.
pub const REVISION_FIRST: u64 = 1;

/// Stands in a fast result for the revision the command itself will get, which recovery may yet change: a txn that reads its own
/// write sees this as that key's modification (and perhaps creation) revision.
pub const REVISION_UNKNOWN: u64 = 0;

/// An MVCC key-value store with leases.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) history: History,
    pub(crate) leases: LeaseCollection,
    /// The last revision given by `prepare`.
    revision: u64,
    /// Every revision up to this is applied.
    pub(crate) applied: u64,
    /// Revisions applied beyond that: a lower one is not yet.
    ahead: BTreeSet<u64>,
    /// The wrapping sum of all hashes.
    hash: u64,
    /// What the last `after_sync` added to it, for `take_delta`.
    delta: u64,
    /// Kept for its capacity; empty between commands.
    writes: Writes,
    /// What changed, for who keeps it.
    journal: Journal,
}

impl Default for Store {
    fn default() -> Self {
        Store {
            history: History::default(),
            leases: LeaseCollection::default(),
            revision: REVISION_FIRST,
            applied: REVISION_FIRST,
            ahead: BTreeSet::new(),
            hash: 0,
            delta: 0,
            writes: Writes::default(),
            journal: Journal::default(),
        }
    }
}

impl Store {
    /// An empty store.
    pub fn new() -> Self {
        Store::default()
    }

    /// The last revision given to a command, applied or not.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The revision up to which every one is applied: what may be shown to watchers. Commands that commute may have got further.
    pub fn applied_revision(&self) -> u64 {
        self.applied
    }

    /// The revisions that are applied although a lower one is not.
    pub fn applied_ahead(&self) -> impl Iterator<Item = u64> {
        self.ahead.iter().copied()
    }

    /// The revision compacted to: reads as of it, and watches from it on, are possible; of earlier ones they are not. 0 if never.
    pub fn compacted_revision(&self) -> u64 {
        self.history.compacted()
    }

    /// The leases.
    pub fn leases(&self) -> &LeaseCollection {
        &self.leases
    }

    /// Gives a command its revision: its own if it writes, else the last one given. `entry_term` is the term of its log entry; `None`: a
    /// revoke is taken at its word.
    pub fn prepare_entry(&mut self, entry_term: Option<Term>, command: &Request) -> u64 {
        if !mutants::on(Mutant::RevisionAfterExecute) {
            self.revision += u64::from(self.refusal(entry_term, command).is_none() && self.would_write(command));
        }
        self.revision
    }

    /// Applies a command at the revision that [`prepare_entry`](Self::prepare_entry) gave it in the entry of the same term. Returns its
    /// final result, and what it adds, wrapping, to the hash of the state. The deltas of commuting commands add up in any order, so the caller
    /// can fold them in log order to have the hash of the state after every entry.
    pub fn apply_entry(&mut self, entry_term: Option<Term>, revision: u64, command: &Request) -> (Synced<Response>, u64) {
        let mut revision = revision;
        if mutants::on(Mutant::RevisionAfterExecute) {
            self.revision += u64::from(self.refusal(entry_term, command).is_none() && self.would_write(command));
            revision = self.revision;
        }
        debug_assert!(revision <= self.revision, "revision {revision} was not given by prepare, which is at {}", self.revision);
        let mut writes = std::mem::take(&mut self.writes);
        let response = self.compute(entry_term, command, revision, &mut writes);
        let wrote = match (command, &response) {
            (Request::LeaseRevoke(_), Response::LeaseRevoke) => self.would_write(command),
            _ => !writes.is_empty(),
        };
        let mut delta = 0u64;
        for (key, version) in writes.drain() {
            delta = delta.wrapping_add(self.write(key, version));
        }
        self.writes = writes;
        delta = delta.wrapping_add(match (command, &response) {
            (Request::LeaseGrant(_), Response::LeaseGrant { id, ttl }) => {
                self.journal.note(|| Change::Lease { id: *id, ttl: *ttl });
                self.leases.grant(*id, *ttl)
            }
            (Request::LeaseRevoke(revoke), Response::LeaseRevoke) => {
                self.journal.note(|| Change::NoLease(revoke.id));
                self.leases.revoke(revoke.id)
            }
            (Request::Compact(compaction), Response::Compact) => self.compact(compaction.revision),
            _ => 0,
        });
        self.hash = self.hash.wrapping_add(delta);
        if wrote {
            self.ahead.insert(revision);
            while self.ahead.remove(&(self.applied + 1)) {
                self.applied += 1;
            }
        }
        (Synced { revision, response }, delta)
    }

    /// [`apply_entry`](Self::apply_entry) of an entry of unknown term.
    pub fn apply(&mut self, revision: u64, command: &Request) -> (Synced<Response>, u64) {
        self.apply_entry(None, revision, command)
    }

    /// Writes a version of a key, and keeps its attachment in step.
    fn write(&mut self, key: Bytes, version: Version) -> u64 {
        let old = self.history.get(&key, LATEST).map_or(LEASE_NONE, |v| v.lease);
        let new = version.lease;
        let mut delta = 0u64;
        if old != new {
            let keeps_old = mutants::on(Mutant::LeaseReattachKeepsOld) && new != LEASE_NONE;
            if old != LEASE_NONE && !keeps_old {
                self.journal.note(|| Change::Detached { lease: old, key: key.clone() });
                delta = delta.wrapping_add(self.leases.detach(old, &key));
            }
            if new != LEASE_NONE {
                self.journal.note(|| Change::Attached { lease: new, key: key.clone() });
                delta = delta.wrapping_add(self.leases.attach(new, &key));
            }
        }
        let (revision, journal) = (version.mod_revision, &mut self.journal);
        if journal.on {
            let place = self.history.written_count(revision) as u64;
            journal.note(|| Change::Version { key: key.clone(), held: (&version).into() });
            journal.note(|| Change::Wrote { revision, place, key: key.clone() });
        }
        delta.wrapping_add(self.history.push(key, version))
    }

    fn compact(&mut self, revision: u64) -> u64 {
        let journal = &mut self.journal;
        journal.note(|| Change::Compacted(revision));
        self.history.compact(revision, |key, revision| journal.note(|| Change::Dropped { key: key.clone(), revision }))
    }

    /// From here on the store notes what changes, to be taken by [`take_changes`](Self::take_changes).
    pub fn note_changes(&mut self) {
        self.journal.on = true;
    }

    /// What commands up to `upto` changed since this was asked last, in an order that leads from the state then to the state after `upto`.
    pub fn take_changes(&mut self, upto: Index) -> Vec<Change> {
        self.journal.take(upto)
    }

    /// Whether the store was [restored](CommandExecutor::restore) since this was asked last: then changes say too little, and
    /// [`rows`](Self::rows) are wanted.
    pub fn take_replaced(&mut self) -> bool {
        self.journal.take_replaced()
    }

    /// Everything in it, as changes that lead here from an empty store. Exact at an index if nothing beyond it is applied.
    pub fn rows(&self) -> impl Iterator<Item = Change> {
        self.leases.rows().chain(self.history.rows())
    }

    /// The store at `revision` that has these [rows](Self::rows). Leases come before what is attached to them, a compaction before
    /// versions, versions before what revisions wrote, and each of these in order.
    ///
    /// # Errors
    /// They make no sense together.
    pub fn from_rows(revision: u64, rows: impl IntoIterator<Item = Change>) -> Result<Store, String> {
        let mut store = Store { revision, applied: revision, ..Store::default() };
        for row in rows {
            match row {
                Change::Lease { .. } | Change::Attached { .. } => store.leases.restore(row)?,
                row => store.history.restore(row)?,
            }
        }
        store.hash = store.full_hash();
        Ok(store)
    }

    /// Answers a range as it is at revision `now`: that of the present for whoever asks. Exact if every command with that revision or a
    /// lower one is applied, whatever later ones are.
    pub fn read(&self, request: &RangeRequest, now: u64) -> Response {
        match self.refuses_revision(request.revision, now) {
            Some(error) => Response::Error(error),
            None => {
                let revision = if request.revision == 0 { now } else { request.revision };
                let found = self.history.range((&request.key, request.range_end.as_ref()), revision);
                // Which keys there are is decided as of `revision`; what they hold is read later.
                if mutants::on(Mutant::RangeTorn) && request.revision == 0 {
                    return range::answer(request, found.map(|(key, v)| (key, self.history.get(key, LATEST).unwrap_or(v))));
                }
                range::answer(request, found)
            }
        }
    }

    /// The pairs of a range at `revision`, and their number; nothing if that revision is not there.
    pub fn range_at(&self, request: &RangeRequest, revision: u64) -> (Vec<KeyValue>, u64) {
        match self.read(request, revision) {
            Response::Range { kvs, count, .. } => (kvs, count),
            _ => (Vec::new(), 0),
        }
    }

    /// Why a read as of `revision` is refused if the present is `now`.
    pub(crate) fn refuses_revision(&self, revision: u64, now: u64) -> Option<Error> {
        match revision {
            0 => None,
            r if r > now => Some(Error::FutureRevision),
            r if r < self.history.compacted() => Some(Error::Compacted),
            _ => None,
        }
    }

    /// The keys attached to a lease at `revision`, in order; commands of later revisions may have been applied already.
    pub fn attached_at(&self, id: LeaseId, revision: u64) -> Vec<Bytes> {
        let now = self.leases.get(id).into_iter().flat_map(|lease| &lease.keys);
        // What is not attached any more, or not yet, was written since.
        let candidates: BTreeSet<&Bytes> = now.chain(self.history.written_after(revision)).collect();
        let attached = |key: &&Bytes| self.history.get(key, revision).is_some_and(|version| version.lease == id);
        candidates.into_iter().filter(attached).cloned().collect()
    }

    /// Every live pair, in key order.
    pub fn live(&self) -> impl Iterator<Item = KeyValue> {
        self.history.live().filter_map(|(key, version)| version.key_value(key))
    }

    /// The hash of the state: the wrapping sum of XXH3-64 over (key, value, lease, create and mod revision, version) of each live key, each
    /// lease, each attachment and the compacted revision, that is, of all deltas so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The same, recomputed.
    pub fn full_hash(&self) -> u64 {
        self.history.hash().wrapping_add(self.leases.hash())
    }
}

impl CommandExecutor<Request> for Store {
    fn prepare(&mut self, term: Term, _index: Index, command: &Request) -> u64 {
        self.prepare_entry(Some(term), command)
    }

    fn execute(&self, command: &Request) -> Response {
        let own = if mutants::on(Mutant::FastReturnsRevision) { self.revision + 1 } else { REVISION_UNKNOWN };
        self.compute(None, command, own, &mut Writes::default())
    }

    fn after_sync(&mut self, term: Term, index: Index, revision: u64, command: &Request) -> Synced<Response> {
        self.journal.index = index;
        let (synced, delta) = self.apply_entry(Some(term), revision, command);
        self.delta = delta;
        synced
    }

    fn take_delta(&mut self) -> u64 {
        std::mem::take(&mut self.delta)
    }

    fn snapshot(&self) -> Vec<u8> {
        debug_assert_eq!(self.applied, self.revision, "a snapshot is of a state at an index");
        postcard::to_allocvec(&(self.revision, &self.history, &self.leases)).expect("plain data encodes")
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        let (revision, history, leases): (u64, History, LeaseCollection) =
            postcard::from_bytes(snapshot).map_err(|e| format!("the store in the snapshot does not decode: {e}"))?;
        let leases = if mutants::on(Mutant::SnapshotForgetsLeases) { std::mem::take(&mut self.leases) } else { leases };
        let mut journal = std::mem::take(&mut self.journal);
        journal.replace();
        *self = Store { revision, applied: revision, history, leases, journal, ..Store::default() };
        self.hash = self.full_hash();
        Ok(())
    }

    fn state_sum(&self) -> u64 {
        self.hash
    }
}

/// The store itself does not care who leads: what does is [`crate::Expiry`], which needs the clock's reading too.
impl RoleChange for Store {
    fn on_leader(&mut self, _term: Term) {}

    fn on_follower(&mut self, _term: Term) {}
}
