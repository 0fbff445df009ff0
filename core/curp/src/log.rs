//! The log in memory. Indexes are consecutive from 1; terms never fall; how much of it is durable is known by the sequence
//! number of the record that carried each entry to the disk.

use std::sync::Arc;

use crate::{Command, Entry, Index, Term};

/// The log of one node.
#[derive(Debug)]
pub struct Log<C: Command> {
    /// `entries[i]` has index i + 1.
    entries: Vec<Arc<Entry<C>>>,
    /// For each entry, the sequence number of its record.
    written: Vec<u64>,
}

impl<C: Command> Log<C> {
    /// The log found on the disk, durable from sequence number `found` on.
    pub fn recovered(entries: Vec<Arc<Entry<C>>>, found: u64) -> Self {
        let written = vec![found; entries.len()];
        Log { entries, written }
    }

    /// Index of the last entry, 0 if there is none.
    pub fn last_index(&self) -> Index {
        self.entries.len() as Index
    }

    /// Term of the last entry, 0 if there is none.
    pub fn last_term(&self) -> Term {
        self.entries.last().map_or(0, |e| e.term)
    }

    /// Term at an index: 0 before the first entry, `None` beyond the last.
    pub fn term(&self, index: Index) -> Option<Term> {
        if index == 0 { Some(0) } else { self.get(index).map(|e| e.term) }
    }

    /// The entry at an index.
    pub fn get(&self, index: Index) -> Option<&Arc<Entry<C>>> {
        self.entries.get((index as usize).checked_sub(1)?)
    }

    /// Entries after `index`, at most `limit` of them.
    pub fn after(&self, index: Index, limit: usize) -> &[Arc<Entry<C>>] {
        let from = (index as usize).min(self.entries.len());
        let to = self.entries.len().min(from.saturating_add(limit));
        &self.entries[from..to]
    }

    /// Appends an entry whose record has sequence number `seq`.
    pub fn append(&mut self, entry: Arc<Entry<C>>, seq: u64) {
        assert_eq!(entry.index, self.last_index() + 1, "log entries are consecutive");
        self.entries.push(entry);
        self.written.push(seq);
    }

    /// Drops the entries from `index` on.
    pub fn truncate_from(&mut self, index: Index) {
        self.entries.truncate(index as usize - 1);
        self.written.truncate(index as usize - 1);
    }

    /// Sequence number of the record that carries the entry at `index`; 0 for index 0.
    pub fn written(&self, index: Index) -> u64 {
        if index == 0 { 0 } else { self.written[index as usize - 1] }
    }

    /// Last index whose record is durable, when records up to `durable` are.
    pub fn durable_index(&self, durable: u64) -> Index {
        self.written.partition_point(|&seq| seq <= durable) as Index
    }

    /// The greatest index at or below `index` whose term is at most `term`: where a leader and a follower may agree at best.
    pub fn last_at_or_below_term(&self, index: Index, term: Term) -> Index {
        let prefix = &self.entries[..(index as usize).min(self.entries.len())];
        prefix.partition_point(|e| e.term <= term) as Index
    }
}
