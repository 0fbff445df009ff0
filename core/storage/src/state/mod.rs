//! The state machine's store: rows that a node's state machine is kept in, durably, and the mark that says which entry they reflect.
//!
//! What computes is the machine in memory. Beside it stands a [`StateStore`], which is told what changed and how far, in one
//! [`Batch`], and from which the machine is made again at a start; the log is replayed from there on. Two implementations: [`MemoryStore`],
//! which lives as long as whoever holds it, and [`RedbStore`], a redb database in one file.
//!
//! Invariant: **rows and mark change in one transaction**, durable when [`StateStore::commit`] returns. Whatever a power loss cuts, a
//! store holds after it exactly the rows of some mark: the one of the last commit that returned, or of the one that was cut. (etcd 3.5 saved its
//! applied index apart from the data for a while: #13766.)
//!
//! Damage is reported with the file and the place that was being read ([`StateError::Damaged`]), and nothing is given out then.
//!
//! Deliberately not here: what the rows mean (`node`), when to commit (`node`), the file (whoever opens it gives a backend).

mod memory;
mod redb;

pub use self::redb::RedbStore;
pub use memory::MemoryStore;

use std::fmt::Debug;

use mutants::Mutant;

use crate::Corruption;

/// The row of the mark. Every other row's key begins with a greater byte.
const MARK_KEY: &[u8] = &[0];

/// One change of the rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowChange {
    /// The row of this key holds this value.
    Put {
        /// The key.
        key: Vec<u8>,
        /// The value.
        value: Vec<u8>,
    },
    /// There is no row of this key.
    Remove {
        /// The key.
        key: Vec<u8>,
    },
    /// There is no row with a key from `from` to before `to`.
    RemoveRange {
        /// The first key.
        from: Vec<u8>,
        /// The key after the last.
        to: Vec<u8>,
    },
}

/// What is to be durable together: rows, in the order of their changes, and the mark of what they reflect then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The changes. No key is empty or begins with a zero byte.
    pub rows: Vec<RowChange>,
    /// The mark.
    pub mark: Vec<u8>,
}

/// Why a store gives nothing, or takes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Its bytes are not what was written: the node must not start from them.
    #[error(transparent)]
    Damaged(#[from] Corruption),
    /// Its file could not be read, written or synced. What it holds now is known only to who reads it again.
    #[error("the state machine's store failed: {0}")]
    Failed(String),
}

/// Is shown rows, key and value, and says if one makes no sense.
pub type See<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), String> + 'a;

/// Where a state machine is kept.
pub trait StateStore: Debug + Send {
    /// Makes all these changes, or none of them, in order; durable when it returns.
    ///
    /// # Errors
    /// It failed. Which of the two is not known, and nothing more can be done with it.
    fn transact(&mut self, changes: Vec<RowChange>) -> Result<(), StateError>;

    /// Shows every row, in order of keys.
    ///
    /// # Errors
    /// The store is damaged or cannot be read; or `see` found that a row makes no sense.
    fn scan(&self, see: &mut See<'_>) -> Result<(), StateError>;

    /// Whether what is committed outlives the process. If not, nobody need be told that it is saved.
    fn survives(&self) -> bool;

    /// Whether it is ready for a commit. For stores that do it elsewhere: the last may still be under way, and then the next is better given later,
    /// and larger.
    ///
    /// # Errors
    /// The last one failed.
    fn is_ready(&self) -> Result<bool, StateError> {
        Ok(true)
    }

    /// Commits a batch.
    ///
    /// # Errors
    /// It failed: what the store holds is the state before the batch or after it.
    fn commit(&mut self, batch: Batch) -> Result<(), StateError> {
        let Batch { mut rows, mark } = batch;
        debug_assert!(rows.iter().all(|row| row.first_key() > MARK_KEY), "a row where the mark stands");
        let mark = RowChange::Put { key: MARK_KEY.to_vec(), value: mark };
        if mutants::on(Mutant::AppliedIndexApart) {
            self.transact(vec![mark])?;
            return self.transact(rows);
        }
        rows.push(mark);
        self.transact(rows)
    }

    /// The mark, and every other row shown to `see`, in order of keys. Without a mark there is nothing: nothing was ever committed.
    ///
    /// # Errors
    /// As for [`scan`](Self::scan).
    fn load(&self, see: &mut See<'_>) -> Result<Option<Vec<u8>>, StateError> {
        let mut mark = None;
        self.scan(&mut |key, value| {
            if key == MARK_KEY {
                mark = Some(value.to_vec());
                return Ok(());
            }
            if mark.is_none() { Err("there are rows, but no mark of what they reflect".to_owned()) } else { see(key, value) }
        })?;
        Ok(mark)
    }
}

impl RowChange {
    /// The first key that it touches.
    fn first_key(&self) -> &[u8] {
        match self {
            RowChange::Put { key, .. } | RowChange::Remove { key } | RowChange::RemoveRange { from: key, .. } => key,
        }
    }
}
