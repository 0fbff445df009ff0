//! The log in memory. Indexes are consecutive from the base on, which is 0 for a log that was never compacted; how much of
//! it is durable is known by the sequence number of the record that carried each entry to the disk.
//!
//! What the base covers is gone: nobody may ask for it as if it were there. Terms are known from the base on.

use std::sync::Arc;

use crate::{Command, Entry, Index, LogBase, Term};

/// The log of one node.
#[derive(Debug)]
pub struct Log<C: Command> {
    /// What stands before the first entry: committed and applied, and in a durable snapshot.
    base: LogBase,
    /// Sequence number of the record that makes the base durable.
    base_written: u64,
    /// `entries[i]` has index `base.index` + i + 1.
    entries: Vec<Arc<Entry<C>>>,
    /// For each entry, the sequence number of its record.
    written: Vec<u64>,
}

impl<C: Command> Log<C> {
    /// The log found on the disk, durable from sequence number `found` on.
    pub fn recovered(base: LogBase, entries: Vec<Arc<Entry<C>>>, found: u64) -> Self {
        let written = vec![found; entries.len()];
        Log { base, base_written: found, entries, written }
    }

    /// What stands before the first entry.
    pub fn base(&self) -> LogBase {
        self.base
    }

    /// Index of the last entry, or of the base if there is none.
    pub fn last_index(&self) -> Index {
        self.base.index + self.entries.len() as Index
    }

    /// Term of the last entry, or of the base if there is none.
    pub fn last_term(&self) -> Term {
        self.entries.last().map_or(self.base.term, |e| e.term)
    }

    /// Term at an index: `None` before the base and beyond the last entry.
    pub fn term(&self, index: Index) -> Option<Term> {
        if index == self.base.index { Some(self.base.term) } else { self.get(index).map(|e| e.term) }
    }

    /// The entry at an index; `None` at the base, before it, and beyond the last entry.
    pub fn get(&self, index: Index) -> Option<&Arc<Entry<C>>> {
        self.entries.get((index.checked_sub(self.base.index)? as usize).checked_sub(1)?)
    }

    /// Entries after `index`, at most `limit` of them. `index` is nothing before the base: who may ask for less asks
    /// [`Storage`](crate::Storage).
    pub fn after(&self, index: Index, limit: usize) -> &[Arc<Entry<C>>] {
        assert!(index >= self.base.index, "entries after {index} are compacted: the log begins after {}", self.base.index);
        let from = self.place(index).min(self.entries.len());
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
        assert!(index > self.base.index, "entry {index} is compacted: the log begins after {}", self.base.index);
        let keep = self.place(index) - 1;
        self.entries.truncate(keep);
        self.written.truncate(keep);
    }

    /// Drops the entries up to `index`, which a durable snapshot covers. False if none was left of them.
    pub fn compact(&mut self, index: Index) -> bool {
        let Some(term) = self.term(index).filter(|_| index > self.base.index) else { return false };
        self.base_written = self.written(index);
        let gone = self.place(index);
        self.entries.drain(..gone);
        self.written.drain(..gone);
        self.base = LogBase { index, term };
        true
    }

    /// The log is empty, and begins after what a snapshot stands for, whose record has sequence number `seq`.
    pub fn replace(&mut self, base: LogBase, seq: u64) {
        *self = Log { base, base_written: seq, entries: Vec::new(), written: Vec::new() };
    }

    /// A planted bug's way: begins after `base`, but keeps what stood beyond it, whatever that is.
    pub fn replace_keeping_tail(&mut self, base: LogBase, seq: u64) {
        let gone = self.place(base.index).min(self.entries.len());
        self.entries.drain(..gone);
        self.written.drain(..gone);
        (self.base, self.base_written) = (base, seq);
    }

    /// Sequence number of the record that carries the entry at `index`, or makes the base durable.
    pub fn written(&self, index: Index) -> u64 {
        match self.place(index) {
            0 => {
                if index == 0 {
                    0
                } else {
                    self.base_written
                }
            }
            place => self.written[place - 1],
        }
    }

    /// Last index whose record is durable, when records up to `durable` are. The base counts as durable.
    pub fn durable_index(&self, durable: u64) -> Index {
        self.base.index + self.written.partition_point(|&seq| seq <= durable) as Index
    }

    /// The greatest index at or below `index` whose term is at most `term`: where a leader and a follower may agree at best. What lies
    /// before the base is not known any more: then it is the base, or the index before that if even the base's term is greater.
    pub fn last_at_or_below_term(&self, index: Index, term: Term) -> Index {
        let end = (index.saturating_sub(self.base.index) as usize).min(self.entries.len());
        let place = self.entries[..end].partition_point(|e| e.term <= term) as Index;
        if place == 0 && self.base.term > term {
            return self.base.index.saturating_sub(1).min(index);
        }
        (self.base.index + place).min(index)
    }

    /// How many entries lie between the base and `index`, that one included.
    fn place(&self, index: Index) -> usize {
        let place = index.checked_sub(self.base.index);
        place.unwrap_or_else(|| panic!("index {index} is compacted: the log begins after {}", self.base.index)) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Payload;
    use crate::test_command::Nothing;

    fn log(base: LogBase, terms: &[Term]) -> Log<Nothing> {
        let entry = |(&term, index)| Arc::new(Entry { term, index, payload: Payload::Noop });
        Log::recovered(base, terms.iter().zip(base.index + 1..).map(entry).collect(), 1)
    }

    #[test]
    fn terms_are_known_from_the_base_on() {
        let log = log(LogBase { index: 4, term: 2 }, &[2, 3]);
        assert_eq!((3..=7).map(|i| log.term(i)).collect::<Vec<_>>(), [None, Some(2), Some(2), Some(3), None]);
        assert_eq!((log.last_index(), log.last_term()), (6, 3));
        assert_eq!((log.get(4), log.get(5).map(|e| e.index)), (None, Some(5)));
        let empty = self::log(LogBase { index: 4, term: 2 }, &[]);
        assert_eq!((empty.last_index(), empty.last_term()), (4, 2));
    }

    #[test]
    fn compaction_keeps_what_comes_after() {
        let mut log = log(LogBase::default(), &[1, 1, 2, 2]);
        log.append(Arc::new(Entry { term: 3, index: 5, payload: Payload::Noop }), 9);
        assert!(!log.compact(6), "beyond the end");
        assert!(log.compact(3));
        assert_eq!(log.base(), LogBase { index: 3, term: 2 });
        assert!(!log.compact(3) && !log.compact(2), "done already");
        assert_eq!(log.after(3, usize::MAX).iter().map(|e| e.index).collect::<Vec<_>>(), [4, 5]);
        assert_eq!((log.written(3), log.written(5), log.durable_index(1), log.durable_index(9)), (1, 9, 4, 5));
        log.truncate_from(4);
        assert_eq!((log.last_index(), log.last_term()), (3, 2));
    }

    #[test]
    fn a_replaced_log_is_empty_and_as_durable_as_the_snapshot() {
        let mut log = log(LogBase::default(), &[1, 1]);
        log.replace(LogBase { index: 7, term: 3 }, 12);
        assert_eq!((log.last_index(), log.last_term(), log.written(7), log.durable_index(0)), (7, 3, 12, 7));
    }

    #[test]
    #[should_panic(expected = "entries after 2 are compacted")]
    fn nobody_reads_before_the_base() {
        log(LogBase { index: 4, term: 2 }, &[2]).after(2, 1);
    }

    #[test]
    fn hints_do_not_go_below_what_is_known() {
        let log = log(LogBase { index: 4, term: 2 }, &[2, 3, 5]);
        assert_eq!(log.last_at_or_below_term(9, 4), 6);
        assert_eq!(log.last_at_or_below_term(6, 2), 5);
        assert_eq!(log.last_at_or_below_term(7, 1), 3, "even the base is of a later term");
        assert_eq!(log.last_at_or_below_term(2, 5), 2, "below the base: as was asked");
    }
}
