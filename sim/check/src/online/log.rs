//! A whole log: the entry of index i at place i - 1, whatever prefix its node has compacted, and where its configurations are.

use std::ops::Deref;
use std::sync::Arc;

use curp::{ConfigVersion, Index, LogBase, Payload, Term};

use super::disk::Entry;

/// Entries from index 1 on.
#[derive(Clone, Default)]
pub(super) struct Log {
    entries: Vec<Arc<Entry>>,
    /// Indexes of the configurations among them, rising.
    configs: Vec<Index>,
}

impl Deref for Log {
    type Target = [Arc<Entry>];

    fn deref(&self) -> &[Arc<Entry>] {
        &self.entries
    }
}

impl Extend<Arc<Entry>> for Log {
    fn extend<I: IntoIterator<Item = Arc<Entry>>>(&mut self, entries: I) {
        entries.into_iter().for_each(|entry| self.push(entry));
    }
}

impl Log {
    pub fn push(&mut self, entry: Arc<Entry>) {
        self.entries.push(entry);
        if self.entries.last().is_some_and(|e| e.membership().is_some()) {
            self.configs.push(self.entries.len() as Index);
        }
    }

    pub fn truncate(&mut self, len: usize) {
        self.entries.truncate(len);
        while self.configs.last().is_some_and(|&index| index > len as Index) {
            self.configs.pop();
        }
    }

    /// Whether it has an entry of that term at that index.
    pub fn has(&self, index: Index, term: Term) -> bool {
        super::disk::at(self, index).is_some_and(|e| e.term == term)
    }

    /// Index of its last configuration; 0: it has none.
    pub fn config(&self) -> Index {
        self.configs.last().copied().unwrap_or(0)
    }

    /// Index of its last configuration up to `index`; 0: it has none.
    pub fn config_at(&self, index: Index) -> Index {
        let before = self.configs.partition_point(|&c| c <= index);
        before.checked_sub(1).map_or(0, |place| self.configs[place])
    }

    /// Version of the configuration at that index of this log, by its place; that of the initial one at 0.
    pub fn version(&self, index: Index) -> ConfigVersion {
        super::disk::at(self, index).map_or_else(ConfigVersion::default, |e| ConfigVersion { term: e.term, index })
    }

    /// What stands up to `base` in a log that was compacted there, of which this is the committed prefix. Where a node claims another
    /// base than what is committed, the ghost follows: no-ops that were never appended make up the number.
    pub fn up_to(&self, base: LogBase) -> Log {
        let known = if self.has(base.index, base.term) { base.index } else { base.index.saturating_sub(1) };
        let mut log = Log::default();
        log.extend(self.entries.iter().take(known as usize).cloned());
        while (log.len() as Index) < base.index {
            log.push(Arc::new(Entry { term: base.term, index: log.len() as Index + 1, payload: Payload::Noop }));
        }
        log
    }

    /// Number of leading entries that two logs share, by log matching: found from the end.
    pub fn shared(&self, other: &[Arc<Entry>]) -> usize {
        let mut shared = self.len().min(other.len());
        while shared > 0 && self[shared - 1].term != other[shared - 1].term {
            shared -= 1;
        }
        shared
    }
}
