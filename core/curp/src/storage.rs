//! What consensus asks of the log it is given: etcd's six questions. They are answered by what a node finds on its disk at start
//! ([`Found`]) and by what it holds in memory afterwards ([`Stored`]); a leader that replicates asks the second, and learns by
//! [`StorageError::Compacted`] that a follower needs a snapshot.

use std::fmt;
use std::sync::Arc;

use crate::log::Log;
use crate::{ClientId, Command, Durable, Entry, HardState, Index, Membership, SessionChange, SnapshotFile, Term};

/// Why a question has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageError {
    /// The log no longer goes back so far: a snapshot covers it.
    Compacted,
    /// The log does not go so far.
    Unavailable,
    /// There is a snapshot or will be one, but not now; ask again.
    SnapshotTemporarilyUnavailable,
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StorageError::Compacted => "compacted",
            StorageError::Unavailable => "beyond the end of the log",
            StorageError::SnapshotTemporarilyUnavailable => "no snapshot now",
        })
    }
}

impl std::error::Error for StorageError {}

/// A log with what belongs to it.
pub trait Storage<C: Command> {
    /// Hard state, and the configuration in force; `None`: the one the cluster was made with.
    fn initial_state(&self) -> (HardState, Option<Membership>);

    /// Entries from `from` to before `to`: as many as fit in `bytes_max` bytes of commands ([`entry_bytes`]), the first in any case.
    ///
    /// # Errors
    /// `Compacted` if `from` is not after the log's base, `Unavailable` if `to - 1` is beyond its end.
    fn entries(&self, from: Index, to: Index, bytes_max: usize) -> Result<Vec<Arc<Entry<C>>>, StorageError>;

    /// Term at an index, the one before the first entry included.
    ///
    /// # Errors
    /// `Compacted` or `Unavailable`.
    fn term(&self, index: Index) -> Result<Term, StorageError>;

    /// Index of the first entry there is, or would be.
    fn first_index(&self) -> Index;

    /// Index of the last entry; that before the first if there is none.
    fn last_index(&self) -> Index;

    /// The latest snapshot whose file is durable.
    ///
    /// # Errors
    /// `SnapshotTemporarilyUnavailable` if there is none.
    fn snapshot(&self) -> Result<SnapshotFile, StorageError>;
}

/// About how many bytes an entry's command takes in a message; the other kinds are small, and count as nothing.
pub fn entry_bytes<C: Command>(entry: &Entry<C>) -> usize {
    entry.proposal().map_or(0, |p| p.command.bytes())
}

/// What a node finds on its disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Found<C: Command> {
    /// Records, folded.
    pub durable: Durable<C>,
    /// The file of the snapshot that they name.
    pub snapshot: Option<SnapshotFile>,
    /// A state that was kept by itself. It is used if it is of a later index than the snapshot, and the executor holds it already.
    pub state: Option<FoundState<C::Response>>,
}

/// A state found, but for what the executor holds of it.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundState<R> {
    /// The index it is of, which is in the log, or the base's.
    pub index: Index,
    /// Revision there.
    pub revision: u64,
    /// The part of the state's hash that the executor does not know: [`RawCurp::hash_chain`](crate::RawCurp::hash_chain).
    pub hash_chain: u64,
    /// The configuration applied there.
    pub membership: Membership,
    /// The last session that had begun.
    pub last_session: ClientId,
    /// The sessions, as changes of no sessions.
    pub sessions: Vec<SessionChange<R>>,
}

impl<C: Command> Default for Found<C> {
    fn default() -> Self {
        Found { durable: Durable::default(), snapshot: None, state: None }
    }
}

/// A log that was never compacted.
impl<C: Command> From<Durable<C>> for Found<C> {
    fn from(durable: Durable<C>) -> Self {
        Found { durable, snapshot: None, state: None }
    }
}

impl<C: Command> Storage<C> for Found<C> {
    fn initial_state(&self) -> (HardState, Option<Membership>) {
        (self.durable.hard_state, self.durable.membership().cloned())
    }

    fn entries(&self, from: Index, to: Index, bytes_max: usize) -> Result<Vec<Arc<Entry<C>>>, StorageError> {
        within(self, from, to)?;
        let base = self.durable.base.index + 1;
        Ok(fitting(&self.durable.log[(from - base) as usize..(to - base) as usize], bytes_max))
    }

    fn term(&self, index: Index) -> Result<Term, StorageError> {
        self.durable.term(index).ok_or_else(|| missing(self, index))
    }

    fn first_index(&self) -> Index {
        self.durable.base.index + 1
    }

    fn last_index(&self) -> Index {
        self.durable.last().1
    }

    fn snapshot(&self) -> Result<SnapshotFile, StorageError> {
        self.snapshot.clone().ok_or(StorageError::SnapshotTemporarilyUnavailable)
    }
}

/// What a running node holds in memory.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a, C: Command> {
    pub(crate) hard_state: HardState,
    pub(crate) membership: &'a Membership,
    pub(crate) log: &'a Log<C>,
    pub(crate) snapshot: Option<&'a SnapshotFile>,
}

impl<C: Command> Storage<C> for Stored<'_, C> {
    fn initial_state(&self) -> (HardState, Option<Membership>) {
        (self.hard_state, Some(self.membership.clone()))
    }

    fn entries(&self, from: Index, to: Index, bytes_max: usize) -> Result<Vec<Arc<Entry<C>>>, StorageError> {
        within(self, from, to)?;
        Ok(fitting(self.log.after(from - 1, (to - from) as usize), bytes_max))
    }

    fn term(&self, index: Index) -> Result<Term, StorageError> {
        self.log.term(index).ok_or_else(|| missing(self, index))
    }

    fn first_index(&self) -> Index {
        self.log.base().index + 1
    }

    fn last_index(&self) -> Index {
        self.log.last_index()
    }

    fn snapshot(&self) -> Result<SnapshotFile, StorageError> {
        self.snapshot.cloned().ok_or(StorageError::SnapshotTemporarilyUnavailable)
    }
}

fn within<C: Command>(storage: &impl Storage<C>, from: Index, to: Index) -> Result<(), StorageError> {
    if from < storage.first_index() {
        return Err(StorageError::Compacted);
    }
    if to < from || to > storage.last_index() + 1 { Err(StorageError::Unavailable) } else { Ok(()) }
}

/// Why a term is not known.
fn missing<C: Command>(storage: &impl Storage<C>, index: Index) -> StorageError {
    if index < storage.first_index() { StorageError::Compacted } else { StorageError::Unavailable }
}

fn fitting<C: Command>(entries: &[Arc<Entry<C>>], bytes_max: usize) -> Vec<Arc<Entry<C>>> {
    let mut bytes = 0usize;
    let fits = |(i, entry): &(usize, &Arc<Entry<C>>)| {
        bytes = bytes.saturating_add(entry_bytes(entry));
        *i == 0 || bytes <= bytes_max
    };
    entries.iter().enumerate().take_while(fits).map(|(_, entry)| entry.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_command::Nothing;
    use crate::{LogBase, Payload, Proposal, ProposeId, Record, SnapshotMeta};

    /// A log after (4, 2) with entries 5 to 7, of which each command counts 10 bytes.
    fn found() -> Found<Nothing> {
        let base = LogBase { index: 4, term: 2 };
        let meta = SnapshotMeta { index: 5, term: 2, membership: Membership::initial([1, 2, 3]) };
        let mut durable = Durable::default();
        let entry = |index, term| {
            let proposal = Proposal { id: ProposeId { client: 2, seq: index }, first_incomplete: 1, command: Arc::new(Nothing(10)) };
            Record::Entry(Arc::new(Entry { term, index, payload: Payload::Command(Arc::new(proposal)) }))
        };
        // A checkpoint says the entries before the snapshot, which else would take their place.
        let records = [Record::Checkpoint(base), entry(5, 2), entry(6, 3), entry(7, 3), Record::Snapshot(meta.clone())];
        records.into_iter().for_each(|record| durable.apply(record).expect("no gaps"));
        Found { durable, snapshot: Some(SnapshotFile { meta, data: Arc::new(vec![1]) }), state: None }
    }

    fn the_six_questions(storage: &impl Storage<Nothing>, found: &Found<Nothing>) {
        use StorageError::{Compacted, Unavailable};
        let indexes = |from, to, bytes| storage.entries(from, to, bytes).map(|e| e.iter().map(|e| e.index).collect::<Vec<_>>());
        assert_eq!(storage.initial_state(), (HardState::default(), Some(Membership::initial([1, 2, 3]))));
        assert_eq!((storage.first_index(), storage.last_index()), (5, 7));
        assert_eq!([3, 4, 5, 7, 8].map(|i| storage.term(i)), [Err(Compacted), Ok(2), Ok(2), Ok(3), Err(Unavailable)]);
        assert_eq!(indexes(4, 6, 100), Err(Compacted));
        assert_eq!(indexes(5, 9, 100), Err(Unavailable));
        assert_eq!(indexes(5, 8, 100), Ok(vec![5, 6, 7]));
        assert_eq!(indexes(5, 8, 29), Ok(vec![5, 6]));
        assert_eq!(indexes(5, 8, 0), Ok(vec![5]), "one always goes");
        assert_eq!(indexes(8, 8, 0), Ok(vec![]));
        assert_eq!(storage.snapshot(), Ok(found.snapshot.clone().expect("there is one")));
    }

    #[test]
    fn on_the_disk_and_in_memory() {
        let found = found();
        the_six_questions(&found, &found);
        let log = Log::recovered(found.durable.base, found.durable.log.clone(), 1);
        let membership = Membership::initial([1, 2, 3]);
        let stored = Stored { hard_state: HardState::default(), membership: &membership, log: &log, snapshot: found.snapshot.as_ref() };
        the_six_questions(&stored, &found);
        let none = Stored { snapshot: None, ..stored };
        assert_eq!(none.snapshot(), Err(StorageError::SnapshotTemporarilyUnavailable));
    }
}
