//! What one node's disk holds: the durable bytes, decoded by core/storage's own recovery, and what the last change to them did.
//!
//! Invariant: `log`, `pool`, `hard` and `snapshot` are what the node would find if it lost power now, the log made whole again from what is
//! committed; while `corrupt`, they are what it would have found before the damage or the loss. Nothing here judges.

use std::sync::Arc;

use curp::{Durable, HardState, Index, LogBase, ProposeId, SnapshotMeta, Term};
use kv::Request;
use storage::Reader;

pub(super) use super::log::Log;

pub(super) type Entry = curp::Entry<Request>;
pub(super) type Proposal = curp::Proposal<Request>;

/// One disk.
#[derive(Default)]
pub(super) struct Disk {
    reader: Reader<Request>,
    generation: u64,
    /// Whole: what was compacted is filled in.
    pub log: Log,
    /// Where the log on the disk begins.
    pub base: LogBase,
    pub pool: Vec<Arc<Proposal>>,
    pub hard: HardState,
    /// The snapshot that a start would begin from.
    pub snapshot: Option<SnapshotMeta>,
    /// Why a node would not start from it.
    pub corrupt: Option<String>,
    /// The file in which the damage is; none is named when all are lost.
    pub damaged: Option<String>,
    /// Its files are gone, and the node has not started since.
    lost: bool,
}

/// What a change of bytes came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct DiskChange {
    /// Leading log entries that stayed.
    pub log_kept: usize,
    /// Log entries before the change.
    pub log_before: usize,
    /// Whether the pool changed.
    pub pool: bool,
    /// Whether it refers to another snapshot.
    pub snapshot: bool,
    /// Hard state before.
    pub hard_before: HardState,
    /// Whether it became or ceased to be readable.
    pub readable: bool,
}

impl Disk {
    /// Bytes changed. `None`: they mean the same as before. A compacted prefix is taken from `committed`.
    pub fn change(&mut self, file: &str, offset: u64, data: &[u8], committed: &Log) -> Option<DiskChange> {
        self.reader.change(file, offset, data);
        self.refresh(committed)
    }

    /// A file went.
    pub fn remove(&mut self, file: &str, committed: &Log) -> Option<DiskChange> {
        self.reader.remove(file);
        self.refresh(committed)
    }

    /// All files went.
    pub fn lose(&mut self) -> DiskChange {
        self.reader = Reader::new();
        self.generation = self.reader.generation();
        self.lost = true;
        let was_corrupt = self.corrupt.replace("the disk was lost, and an empty one is in its place".to_owned()).is_some();
        let len = self.log.len();
        DiskChange { log_kept: len, log_before: len, pool: false, snapshot: false, hard_before: self.hard, readable: !was_corrupt }
    }

    /// The node starts all the same after its disk was lost: what is on the new one counts.
    pub fn start(&mut self, committed: &Log) -> Option<DiskChange> {
        if !std::mem::take(&mut self.lost) {
            return None;
        }
        self.read(committed)
    }

    /// Term and index of the last entry; `None` if a node would not start from this disk.
    pub fn last(&self) -> Option<(Term, Index)> {
        self.corrupt.is_none().then(|| last(&self.log))
    }

    pub fn pool_has(&self, id: ProposeId) -> bool {
        self.pool.iter().any(|p| p.id == id)
    }

    /// Whether the log has an entry of that term at that index.
    pub fn log_has(&self, index: Index, term: Term) -> bool {
        self.log.has(index, term)
    }

    /// Index of the snapshot, 0 without one.
    pub fn snapshot_index(&self) -> Index {
        self.snapshot.as_ref().map_or(0, |s| s.index)
    }

    fn refresh(&mut self, committed: &Log) -> Option<DiskChange> {
        // What a node that refuses to start writes on an empty disk gives it nothing back.
        if self.lost || self.reader.generation() == self.generation {
            return None;
        }
        self.read(committed)
    }

    fn read(&mut self, committed: &Log) -> Option<DiskChange> {
        self.generation = self.reader.generation();
        let (log_before, hard_before, was_corrupt) = (self.log.len(), self.hard, self.corrupt.is_some());
        let (log_kept, pool, snapshot) = match self.reader.durable() {
            Ok(durable) => {
                self.corrupt = None;
                self.hard = durable.hard_state;
                let kept = take_log(&mut self.log, durable, committed);
                self.base = durable.base;
                let place = |s: &Option<SnapshotMeta>| s.as_ref().map(|s| (s.index, s.term));
                let snapshot = place(&self.snapshot) != place(&durable.snapshot);
                if snapshot {
                    self.snapshot.clone_from(&durable.snapshot);
                }
                (kept, take_pool(&mut self.pool, durable), snapshot)
            }
            Err(corruption) => {
                self.corrupt = Some(corruption.to_string());
                self.damaged = Some(corruption.file.clone());
                (log_before, false, false)
            }
        };
        Some(DiskChange { log_kept, log_before, pool, snapshot, hard_before, readable: was_corrupt != self.corrupt.is_some() })
    }
}

/// The entry at an index.
pub(super) fn at(log: &[Arc<Entry>], index: Index) -> Option<&Arc<Entry>> {
    log.get(usize::try_from(index.checked_sub(1)?).ok()?)
}

/// (last term, last index), (0, 0) for an empty log.
pub(super) fn last(log: &[Arc<Entry>]) -> (Term, Index) {
    log.last().map_or((0, 0), |e| (e.term, e.index))
}

/// Brings `old` up to date; gives how many leading entries stayed. The reader keeps an entry's `Arc` while it stands, and a new entry
/// replaces all that follow, so one pointer tells that everything before it is as it was. Only where the reader had to read all again are values compared.
fn take_log(old: &mut Log, durable: &Durable<Request>, committed: &Log) -> usize {
    let (base, new) = (durable.base.index as usize, &durable.log);
    if base > 0 && !old.has(durable.base.index, durable.base.term) {
        // Installed: nothing that stood here leads up to it.
        let mut whole = committed.up_to(durable.base);
        whole.extend(new.iter().cloned());
        let kept = old.shared(&whole);
        *old = whole;
        return kept;
    }
    let mut kept = old.len().min(base + new.len());
    while kept > base && !Arc::ptr_eq(&old[kept - 1], &new[kept - 1 - base]) && old[kept - 1] != new[kept - 1 - base] {
        kept -= 1;
    }
    let same = if kept > base && Arc::ptr_eq(&old[kept - 1], &new[kept - 1 - base]) { kept } else { base };
    old.truncate(same);
    old.extend(new[same - base..].iter().cloned());
    kept
}

fn take_pool(old: &mut Vec<Arc<Proposal>>, durable: &Durable<Request>) -> bool {
    let same = old.len() == durable.pool.len() && old.iter().zip(&durable.pool).all(|(a, b)| Arc::ptr_eq(a, b));
    if !same {
        old.clone_from(&durable.pool);
    }
    !same
}
