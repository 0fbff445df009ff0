//! What one node's disk holds durably, and what each change of its bytes comes to as a step. The bytes are decoded by core/storage's own
//! recovery; nothing here judges.

use curp::{Durable, HardState, Index, LogBase, ProposeId, Term};
use kv::Request;
use std::cmp::Ordering;
use std::sync::Arc;
use storage::{Extent, Reader};

type Entry = curp::Entry<Request>;

/// One disk.
#[derive(Default)]
pub(crate) struct Disk {
    reader: Reader<Request>,
    generation: u64,
    /// Of the log as it was read last.
    extent: Extent,
    readable: bool,
    /// What stands before `log`: the specification keeps the log whole, and entries that a snapshot covers are the same there.
    base: LogBase,
    log: Vec<Arc<Entry>>,
    snapshot: LogBase,
    pool: Vec<ProposeId>,
    hard: HardState,
}

/// A change of what is durable.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    /// Records of the protocol's handlers.
    Written(Written),
    /// The record of a snapshot that takes no entry's place: the node's own, or of what its log has.
    Saved {
        /// It reflects entries 1 to this one.
        index: Index,
        /// Term of the entry there.
        term: Term,
    },
}

/// What records came to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Written {
    /// How many records more are durable; 0 if there are fewer, or the disk cannot be read.
    pub records: u64,
    /// A checkpoint came before these, and some of the log before it was not durable: how many records that was its bytes do not tell, as it says
    /// at once what they came to.
    pub unseen: bool,
    pub hard: HardState,
    /// Leading log entries that stayed, those before the base among them.
    pub kept: Index,
    /// The log's entries after those.
    pub entries: Vec<Arc<Entry>>,
    pub pool: Vec<ProposeId>,
    /// Index and term of the durable snapshot, (0, 0) if there is none.
    pub snapshot: LogBase,
    /// That snapshot took the place of the log: `entries` are those after it, and none stayed.
    pub cut: bool,
}

impl Disk {
    /// Bytes changed. Nothing: they mean the same as before.
    pub fn change(&mut self, file: &str, offset: u64, data: &[u8]) -> Vec<Change> {
        self.reader.change(file, offset, data);
        self.refresh()
    }

    /// A file went.
    pub fn remove(&mut self, file: &str) -> Vec<Change> {
        self.reader.remove(file);
        self.refresh()
    }

    fn refresh(&mut self) -> Vec<Change> {
        let extent = self.reader.extent();
        if self.reader.generation() == self.generation {
            // A frame without records makes the log longer.
            self.extent = extent;
            return Vec::new();
        }
        self.generation = self.reader.generation();
        let Ok(durable) = self.reader.durable() else {
            // A disk that a node would not start from: said once, and refused.
            let news = std::mem::replace(&mut self.readable, false) || self.extent.records == 0;
            self.extent = extent;
            return if news { vec![Change::Written(self.unreadable())] } else { Vec::new() };
        };
        let snapshot = durable.snapshot.as_ref().map_or(LogBase::default(), |s| LogBase { index: s.index, term: s.term });
        let cut = snapshot != self.snapshot && !self.has(snapshot);
        let saved = snapshot.index > self.snapshot.index && !cut;
        let kept = if cut { snapshot.index } else { self.kept(durable) };
        let last = durable.last().1;
        let same_log = !cut && kept == self.base.index + self.log.len() as u64 && kept == last;
        let fell_back = snapshot.index < self.snapshot.index;
        // A snapshot says that what it reflects is committed.
        let commit = durable.hard_state.commit.max(snapshot.index);
        let hard = HardState { commit, ..durable.hard_state };
        let same = same_log && hard == self.hard && self.same_pool(durable) && !fell_back;
        let before = std::mem::replace(&mut self.extent, extent);
        // A checkpoint of a log that is durable up to there says nothing new.
        let (records, unseen) = match extent.begin.cmp(&before.begin) {
            Ordering::Less => (0, false),
            Ordering::Equal => (extent.records.saturating_sub(before.records), false),
            Ordering::Greater => (extent.records, before.end < extent.begin),
        };
        let entries = durable.log.get((kept.max(durable.base.index) - durable.base.index) as usize..).unwrap_or_default().to_vec();
        // A snapshot that takes no entry's place is told after the records.
        let told = if saved { self.snapshot } else { snapshot };
        (self.base, self.snapshot, self.hard) = (durable.base, snapshot, hard);
        self.log.clone_from(&durable.log);
        self.pool = durable.pool.iter().map(|p| p.id).collect();
        self.readable = true;
        let mut changes = Vec::new();
        if !same || records > 0 || unseen {
            let (hard, pool) = (self.hard, self.pool.clone());
            changes.push(Change::Written(Written { records, unseen, hard, kept, entries, pool, snapshot: told, cut }));
        }
        if saved {
            changes.push(Change::Saved { index: snapshot.index, term: snapshot.term });
        }
        changes
    }

    fn unreadable(&self) -> Written {
        Written {
            records: 0,
            unseen: false,
            hard: self.hard,
            kept: self.base.index + self.log.len() as u64,
            entries: Vec::new(),
            pool: self.pool.clone(),
            snapshot: self.snapshot,
            cut: false,
        }
    }

    /// Whether the log that was durable has that entry, or had it before it was compacted.
    fn has(&self, place: LogBase) -> bool {
        match place.index.checked_sub(self.base.index) {
            None => true,
            Some(0) => self.base.term == place.term,
            Some(after) => self.log.get(after as usize - 1).is_some_and(|entry| entry.term == place.term),
        }
    }

    /// How many leading entries are the same as before.
    fn kept(&self, durable: &Durable<Request>) -> Index {
        let from = self.base.index.max(durable.base.index);
        fn after(log: &[Arc<Entry>], place: u64) -> &[Arc<Entry>] {
            log.get(place as usize..).unwrap_or_default()
        }
        from + common(after(&self.log, from - self.base.index), after(&durable.log, from - durable.base.index)) as u64
    }

    fn same_pool(&self, durable: &Durable<Request>) -> bool {
        self.pool.iter().copied().eq(durable.pool.iter().map(|p| p.id))
    }
}

/// How many leading entries are the same. The reader keeps an entry's `Arc` while it stands, so the last common pointer usually tells at once.
fn common(old: &[Arc<Entry>], new: &[Arc<Entry>]) -> usize {
    let mut kept = old.len().min(new.len());
    while kept > 0 && !Arc::ptr_eq(&old[kept - 1], &new[kept - 1]) && old[kept - 1] != new[kept - 1] {
        kept -= 1;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{self, Bytes, hard_state, noop_record, pool_record, snapshot_record};
    use curp::Record;

    struct Node(Disk, Bytes);

    impl Node {
        fn new() -> Node {
            let (mut disk, mut bytes) = (Disk::default(), Bytes::new());
            for (offset, data) in bytes.repairs() {
                assert_eq!(disk.change(Bytes::FILE, offset, &data), [], "an empty log is no news");
            }
            Node(disk, bytes)
        }

        /// The file of a snapshot, which its record refers to, comes first.
        fn save(&mut self, term: u64, index: u64) -> Record<Request> {
            let (file, data) = self.1.save(term, index);
            assert_eq!(self.0.change(&file, 0, &data), [], "a file that no record refers to");
            snapshot_record(term, index)
        }

        fn append(&mut self, records: &[Record<Request>]) -> Vec<Change> {
            let (offset, data) = self.1.append(records);
            let changes = self.0.change(Bytes::FILE, offset, &data);
            assert_eq!(self.0.change(Bytes::FILE, offset, &data), [], "the same bytes again");
            changes
        }
    }

    /// The one change, of records.
    fn written(changes: &[Change]) -> Written {
        let [Change::Written(written)] = changes else { panic!("{changes:?}") };
        written.clone()
    }

    #[test]
    fn appended_records_are_counted_and_told() {
        let mut node = Node::new();
        let change = written(&node.append(&[hard_state(1, Some(2), 0), noop_record(1, 1)]));
        assert_eq!((change.records, change.hard.term, change.kept, change.entries.len()), (2, 1, 0, 1));
        let change = written(&node.append(&[pool_record(samples::id(1))]));
        assert_eq!((change.records, change.kept, change.entries.len(), change.pool), (1, 1, 0, vec![samples::id(1)]));
    }

    #[test]
    fn a_new_entry_replaces_what_followed() {
        let mut node = Node::new();
        node.append(&[noop_record(1, 1), noop_record(1, 2), noop_record(1, 3)]);
        let change = written(&node.append(&[noop_record(2, 2)]));
        assert_eq!((change.records, change.kept, change.entries.len()), (1, 1, 1));
    }

    #[test]
    fn lost_and_damaged_records_show_as_none_more() {
        let Node(mut disk, mut bytes) = Node::new();
        let (first, data) = bytes.append(&[noop_record(1, 1)]);
        disk.change(Bytes::FILE, first, &data);
        let (offset, data) = bytes.append(&[noop_record(1, 2)]);
        disk.change(Bytes::FILE, offset, &data);
        let change = written(&disk.change(Bytes::FILE, offset, &[]));
        assert_eq!((change.records, change.kept, change.entries.len()), (0, 1, 0), "the second record is gone");
        let change = written(&disk.remove(Bytes::FILE));
        assert_eq!((change.records, change.kept, change.entries.len()), (0, 0, 0), "everything is gone");
    }

    #[test]
    fn a_snapshot_of_what_the_log_has_is_told_for_itself() {
        let mut node = Node::new();
        node.append(&[noop_record(1, 1), noop_record(2, 2), hard_state(2, None, 2)]);
        let record = node.save(1, 1);
        assert_eq!(node.append(&[record]), [Change::Saved { index: 1, term: 1 }]);
        let record = node.save(2, 2);
        let changes = node.append(&[record, noop_record(2, 3)]);
        let [Change::Written(change), saved] = &changes[..] else { panic!("{changes:?}") };
        assert_eq!((change.records, change.kept, change.snapshot.index, change.cut), (1, 2, 1, false), "the snapshot comes after");
        assert_eq!(*saved, Change::Saved { index: 2, term: 2 });
    }

    #[test]
    fn a_snapshot_of_what_the_log_lacks_takes_its_place() {
        let mut node = Node::new();
        node.append(&[noop_record(1, 1), noop_record(1, 2)]);
        let record = node.save(2, 2);
        let change = written(&node.append(&[record, noop_record(2, 3)]));
        assert_eq!((change.records, change.cut, change.snapshot), (2, true, LogBase { index: 2, term: 2 }));
        assert_eq!(change.entries.len(), 1, "those after it");
        let change = written(&node.append(&[noop_record(2, 4)]));
        assert_eq!((change.records, change.kept, change.cut, change.entries.len()), (1, 3, false, 1), "places are those of the whole log");
    }

    #[test]
    fn snapshots_are_not_counted_among_records() {
        let mut node = Node::new();
        node.append(&[noop_record(1, 1), noop_record(1, 2)]);
        let records = [node.save(1, 1), noop_record(1, 3), node.save(1, 2), noop_record(1, 4)];
        let changes = node.append(&records);
        let [Change::Written(change), saved] = &changes[..] else { panic!("{changes:?}") };
        assert_eq!((change.records, change.unseen), (2, false), "two entries");
        assert_eq!(*saved, Change::Saved { index: 2, term: 1 });
    }

    /// A node that wrote two entries, a command, and a snapshot of the first entry; and what its checkpoint says.
    fn saved() -> (Node, Vec<Record<Request>>) {
        let mut node = Node::new();
        node.append(&[noop_record(1, 1), noop_record(1, 2), pool_record(samples::id(1)), hard_state(1, None, 2)]);
        let record = node.save(1, 1);
        node.append(std::slice::from_ref(&record));
        let base = Record::Checkpoint(LogBase { index: 1, term: 1 });
        let records = [base, hard_state(1, None, 2), noop_record(1, 2), record, pool_record(samples::id(1))];
        (node, records.to_vec())
    }

    #[test]
    fn a_checkpoint_says_nothing_new() {
        let (mut node, records) = saved();
        let (file, data) = node.1.checkpoint(&records, &[]);
        assert_eq!(node.0.change(&file, 0, &[]), [], "a new file is empty first");
        assert_eq!(node.0.change(&file, 0, &data), []);
        assert_eq!(node.0.remove(Bytes::FILE), []);
    }

    #[test]
    fn records_after_a_checkpoint_are_counted_though_they_come_with_it() {
        let (mut node, records) = saved();
        let (offset, data) = node.1.mark();
        assert_eq!(node.0.change(Bytes::FILE, offset, &data), [], "the log is longer by it all the same");
        let (file, data) = node.1.checkpoint(&records, &[noop_record(1, 3), noop_record(1, 4)]);
        let change = written(&node.0.change(&file, 0, &data));
        assert_eq!((change.records, change.unseen, change.kept, change.entries.len()), (2, false, 2, 2));
        assert_eq!(node.0.remove(Bytes::FILE), []);
    }

    #[test]
    fn a_checkpoint_of_what_was_not_durable_hides_how_much_that_was() {
        let (mut node, mut records) = saved();
        node.1.append(&[noop_record(1, 3), noop_record(2, 3)]);
        records.insert(3, noop_record(2, 3));
        let (file, data) = node.1.checkpoint(&records, &[noop_record(2, 4)]);
        let change = written(&node.0.change(&file, 0, &data));
        assert_eq!((change.records, change.unseen, change.kept, change.entries.len()), (1, true, 2, 2), "at least the one after it");
        let change = written(&node.0.remove(&file));
        assert_eq!((change.records, change.unseen, change.kept), (0, false, 2), "it is gone, and the log before it begins again");
    }

    #[test]
    fn what_a_checkpoint_changes_no_record_tells() {
        let (mut node, mut records) = saved();
        records.pop();
        let (file, data) = node.1.checkpoint(&records, &[]);
        let change = written(&node.0.change(&file, 0, &data));
        assert_eq!((change.records, change.unseen, change.pool), (0, false, vec![]), "the specification has no such step");
    }

    #[test]
    fn a_snapshot_that_goes_is_news() {
        let Node(mut disk, mut bytes) = Node::new();
        let (file, data) = bytes.save(1, 1);
        disk.change(&file, 0, &data);
        let (offset, data) = bytes.append(&[noop_record(1, 1)]);
        disk.change(Bytes::FILE, offset, &data);
        let (offset, data) = bytes.append(&[snapshot_record(1, 1)]);
        disk.change(Bytes::FILE, offset, &data);
        let change = written(&disk.change(Bytes::FILE, offset, &[]));
        assert_eq!((change.records, change.snapshot.index), (0, 0));
    }
}
