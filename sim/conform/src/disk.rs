//! What one node's disk holds durably, and what each change of its bytes comes to as a step. The bytes are decoded by core/storage's own
//! recovery; nothing here judges.

use curp::{Durable, HardState, ProposeId};
use kv::Request;
use std::sync::Arc;
use storage::Reader;

type Entry = curp::Entry<Request>;

/// One disk.
#[derive(Default)]
pub(crate) struct Disk {
    reader: Reader<Request>,
    generation: u64,
    records: u64,
    readable: bool,
    log: Vec<Arc<Entry>>,
    pool: Vec<ProposeId>,
    hard: HardState,
}

/// A change of what is durable.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    /// How many records more are durable; 0 if there are fewer, or the disk cannot be read.
    pub records: u64,
    pub hard: HardState,
    /// Leading log entries that stayed.
    pub kept: usize,
    /// The log's entries after those.
    pub entries: Vec<Arc<Entry>>,
    pub pool: Vec<ProposeId>,
}

impl Disk {
    /// Bytes changed. `None`: they mean the same as before.
    pub fn change(&mut self, file: &str, offset: u64, data: &[u8]) -> Option<Change> {
        self.reader.change(file, offset, data);
        self.refresh()
    }

    /// A file went.
    pub fn remove(&mut self, file: &str) -> Option<Change> {
        self.reader.remove(file);
        self.refresh()
    }

    fn refresh(&mut self) -> Option<Change> {
        if self.reader.generation() == self.generation {
            return None;
        }
        self.generation = self.reader.generation();
        let Ok(durable) = self.reader.durable() else {
            // A disk that a node would not start from: said once, and refused.
            let news = std::mem::replace(&mut self.readable, false) || self.records == 0;
            self.records = 0;
            return news.then(|| self.unreadable());
        };
        let (records, before) = (self.reader.records(), self.records);
        let kept = kept(&self.log, &durable.log);
        let same = kept == self.log.len() && kept == durable.log.len() && durable.hard_state == self.hard && self.same_pool(durable);
        self.records = records;
        self.readable = true;
        if same && records == before {
            return None;
        }
        self.log.clone_from(&durable.log);
        self.pool = durable.pool.iter().map(|p| p.id).collect();
        self.hard = durable.hard_state;
        Some(Change {
            records: records.saturating_sub(before),
            hard: self.hard,
            kept,
            entries: self.log[kept..].to_vec(),
            pool: self.pool.clone(),
        })
    }

    fn unreadable(&self) -> Change {
        Change { records: 0, hard: self.hard, kept: self.log.len(), entries: Vec::new(), pool: self.pool.clone() }
    }

    fn same_pool(&self, durable: &Durable<Request>) -> bool {
        self.pool.iter().copied().eq(durable.pool.iter().map(|p| p.id))
    }
}

/// How many leading entries are the same. The reader keeps an entry's `Arc` while it stands, so the last common pointer usually tells at once.
fn kept(old: &[Arc<Entry>], new: &[Arc<Entry>]) -> usize {
    let mut kept = old.len().min(new.len());
    while kept > 0 && !Arc::ptr_eq(&old[kept - 1], &new[kept - 1]) && old[kept - 1] != new[kept - 1] {
        kept -= 1;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{self, Bytes};

    #[test]
    fn appended_records_are_counted_and_told() {
        let (mut disk, mut bytes) = (Disk::default(), Bytes::new());
        for (offset, data) in bytes.repairs() {
            assert_eq!(disk.change(Bytes::FILE, offset, &data), None, "an empty log is no news");
        }
        let (offset, data) = bytes.append(&[samples::hard_state(1, Some(2), 0), samples::noop_record(1, 1)]);
        let change = disk.change(Bytes::FILE, offset, &data).expect("two records");
        assert_eq!((change.records, change.hard.term, change.kept, change.entries.len()), (2, 1, 0, 1));
        assert_eq!(disk.change(Bytes::FILE, offset, &data), None, "the same bytes again");
        let (offset, data) = bytes.append(&[samples::pool_record(samples::id(1))]);
        let change = disk.change(Bytes::FILE, offset, &data).expect("a record");
        assert_eq!((change.records, change.kept, change.entries.len(), change.pool), (1, 1, 0, vec![samples::id(1)]));
    }

    #[test]
    fn a_new_entry_replaces_what_followed() {
        let (mut disk, mut bytes) = (Disk::default(), Bytes::new());
        bytes.repairs().into_iter().for_each(|(offset, data)| _ = disk.change(Bytes::FILE, offset, &data));
        let (offset, data) = bytes.append(&[samples::noop_record(1, 1), samples::noop_record(1, 2), samples::noop_record(1, 3)]);
        disk.change(Bytes::FILE, offset, &data);
        let (offset, data) = bytes.append(&[samples::noop_record(2, 2)]);
        let change = disk.change(Bytes::FILE, offset, &data).expect("a record");
        assert_eq!((change.records, change.kept, change.entries.len()), (1, 1, 1));
    }

    #[test]
    fn lost_and_damaged_records_show_as_none_more() {
        let (mut disk, mut bytes) = (Disk::default(), Bytes::new());
        bytes.repairs().into_iter().for_each(|(offset, data)| _ = disk.change(Bytes::FILE, offset, &data));
        let (first, data) = bytes.append(&[samples::noop_record(1, 1)]);
        disk.change(Bytes::FILE, first, &data);
        let (offset, data) = bytes.append(&[samples::noop_record(1, 2)]);
        disk.change(Bytes::FILE, offset, &data);
        let change = disk.change(Bytes::FILE, offset, &[]).expect("the second record is gone");
        assert_eq!((change.records, change.kept, change.entries.len()), (0, 1, 0));
        let change = disk.remove(Bytes::FILE).expect("everything is gone");
        assert_eq!((change.records, change.kept, change.entries.len()), (0, 0, 0));
    }
}
