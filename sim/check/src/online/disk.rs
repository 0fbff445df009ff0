//! What one node's disk holds: the durable bytes, decoded by core/storage's own recovery, and what the last change to them did.
//!
//! Invariant: `log`, `pool` and `hard` are what the node would find if it lost power now; while `corrupt`, they are what it would have
//! found before the damage. Nothing here judges.

use std::sync::Arc;

use curp::{Durable, HardState, Index, ProposeId, Term};
use kv::Request;
use storage::Reader;

pub(super) type Entry = curp::Entry<Request>;
pub(super) type Proposal = curp::Proposal<Request>;

/// One disk.
#[derive(Default)]
pub(super) struct Disk {
    reader: Reader<Request>,
    generation: u64,
    pub log: Vec<Arc<Entry>>,
    pub pool: Vec<Arc<Proposal>>,
    pub hard: HardState,
    /// Why a node would not start from it.
    pub corrupt: Option<String>,
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
    /// Hard state before.
    pub hard_before: HardState,
    /// Whether it became or ceased to be readable.
    pub readable: bool,
}

impl Disk {
    /// Bytes changed. `None`: they mean the same as before.
    pub fn change(&mut self, file: &str, offset: u64, data: &[u8]) -> Option<DiskChange> {
        self.reader.change(file, offset, data);
        self.refresh()
    }

    /// A file went.
    pub fn remove(&mut self, file: &str) -> Option<DiskChange> {
        self.reader.remove(file);
        self.refresh()
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
        at(&self.log, index).is_some_and(|e| e.term == term)
    }

    fn refresh(&mut self) -> Option<DiskChange> {
        if self.reader.generation() == self.generation {
            return None;
        }
        self.generation = self.reader.generation();
        let (log_before, hard_before, was_corrupt) = (self.log.len(), self.hard, self.corrupt.is_some());
        let (log_kept, pool) = match self.reader.durable() {
            Ok(durable) => {
                self.corrupt = None;
                self.hard = durable.hard_state;
                (take_log(&mut self.log, durable), take_pool(&mut self.pool, durable))
            }
            Err(corruption) => {
                self.corrupt = Some(corruption.to_string());
                (log_before, false)
            }
        };
        Some(DiskChange { log_kept, log_before, pool, hard_before, readable: was_corrupt != self.corrupt.is_some() })
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
fn take_log(old: &mut Vec<Arc<Entry>>, durable: &Durable<Request>) -> usize {
    let new = &durable.log;
    let mut kept = old.len().min(new.len());
    while kept > 0 && !Arc::ptr_eq(&old[kept - 1], &new[kept - 1]) && old[kept - 1] != new[kept - 1] {
        kept -= 1;
    }
    let same = if kept > 0 && Arc::ptr_eq(&old[kept - 1], &new[kept - 1]) { kept } else { 0 };
    old.truncate(same);
    old.extend_from_slice(&new[same..]);
    kept
}

fn take_pool(old: &mut Vec<Arc<Proposal>>, durable: &Durable<Request>) -> bool {
    let same = old.len() == durable.pool.len() && old.iter().zip(&durable.pool).all(|(a, b)| Arc::ptr_eq(a, b));
    if !same {
        old.clone_from(&durable.pool);
    }
    !same
}
