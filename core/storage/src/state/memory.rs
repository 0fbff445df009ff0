//! A store in memory, for machines that need not outlive their process, and the model that the other store is held against.

use std::collections::BTreeMap;

use super::{RowChange, See, StateError, StateStore};
use crate::{Corruption, Damage};

/// Rows in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryStore {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl MemoryStore {
    /// An empty one.
    pub fn new() -> Self {
        MemoryStore::default()
    }
}

impl StateStore for MemoryStore {
    fn transact(&mut self, changes: Vec<RowChange>) -> Result<(), StateError> {
        for change in changes {
            match change {
                RowChange::Put { key, value } => _ = self.rows.insert(key, value),
                RowChange::Remove { key } => _ = self.rows.remove(&key),
                RowChange::RemoveRange { from, to } => {
                    if from < to {
                        self.rows.extract_if(from..to, |_, _| true).for_each(drop);
                    }
                }
            }
        }
        Ok(())
    }

    fn scan(&self, see: &mut See<'_>) -> Result<(), StateError> {
        let senseless = |why| Corruption { file: "memory".to_owned(), offset: 0, what: Damage::State(why) };
        self.rows.iter().try_for_each(|(key, value)| see(key, value)).map_err(|why| senseless(why).into())
    }

    fn survives(&self) -> bool {
        false
    }
}
