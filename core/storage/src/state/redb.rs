//! A store in a redb database: one table of rows, in one file, through whatever backend it is given.
//!
//! Commits are redb's two-phase ones: the pages are synced before the one byte that makes them the present. So the pages of the present
//! are never half written, and what does not match its checksum at an open is damage, not a commit that power cut short; with a
//! commit of one sync redb cannot tell the two apart, and takes the state before it without a word.
//!
//! Every checksum is verified at every open: the machine in memory is made from all rows anyway.

use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ::redb::{BackendError, Builder, Database, ReadableDatabase, StorageBackend, TableDefinition, TableError};

use super::{RowChange, See, StateError, StateStore};
use crate::{Corruption, Damage};

const ROWS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("rows");

/// Bytes of pages that redb keeps in memory. The rows are read once in a node's life.
const CACHE_BYTES: usize = 1 << 22;

/// A page of redb's, and how its first begins if the database is whole: not with zeros.
const PAGE_BYTES: u64 = 4096;
const MAGIC_BYTES: usize = 9;

/// Rows in a redb database.
pub struct RedbStore {
    database: Database,
    file: String,
    /// Where the backend was last read.
    read_at: Arc<AtomicU64>,
}

impl std::fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedbStore").field("file", &self.file).finish_non_exhaustive()
    }
}

impl RedbStore {
    /// Opens the database in a backend, which is made one if it is empty. `file` is its name, for reports.
    ///
    /// # Errors
    /// It is damaged, or is no such database, or the backend failed.
    pub fn open(backend: impl StorageBackend, file: &str) -> Result<Self, StateError> {
        let read_at = Arc::<AtomicU64>::default();
        let watched = Watched { inner: backend, read_at: read_at.clone() };
        watched.clear_begun()?;
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
        let opened = builder.create_with_backend(watched);
        let database = opened.map_err(|error| judge(file, &read_at, &error.into()))?;
        Ok(RedbStore { database, file: file.to_owned(), read_at })
    }

    fn try_transact(&mut self, changes: &[RowChange]) -> Result<(), ::redb::Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_two_phase_commit(true);
        {
            let mut rows = transaction.open_table(ROWS)?;
            for change in changes {
                match change {
                    RowChange::Put { key, value } => _ = rows.insert(key.as_slice(), value.as_slice())?,
                    RowChange::Remove { key } => _ = rows.remove(key.as_slice())?,
                    RowChange::RemoveRange { from, to } => {
                        if from < to {
                            rows.retain_in(from.as_slice()..to.as_slice(), |_, _| false)?;
                        }
                    }
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// Shows the rows; the inner error is that of `see`.
    fn try_scan(&self, see: &mut See<'_>) -> Result<Result<(), String>, ::redb::Error> {
        let transaction = self.database.begin_read()?;
        let rows = match transaction.open_table(ROWS) {
            Ok(rows) => rows,
            Err(TableError::TableDoesNotExist(_)) => return Ok(Ok(())),
            Err(error) => return Err(error.into()),
        };
        for row in rows.range::<&[u8]>(..)? {
            let (key, value) = row?;
            if let Err(why) = see(key.value(), value.value()) {
                return Ok(Err(why));
            }
        }
        Ok(Ok(()))
    }

    fn senseless(&self, why: String) -> StateError {
        Corruption { file: self.file.clone(), offset: self.read_at.load(Ordering::Relaxed), what: Damage::State(why) }.into()
    }
}

impl StateStore for RedbStore {
    fn transact(&mut self, changes: Vec<RowChange>) -> Result<(), StateError> {
        self.try_transact(&changes).map_err(|error| judge(&self.file, &self.read_at, &error))
    }

    fn scan(&self, see: &mut See<'_>) -> Result<(), StateError> {
        match self.try_scan(see) {
            Ok(seen) => seen.map_err(|why| self.senseless(why)),
            Err(error) => Err(judge(&self.file, &self.read_at, &error)),
        }
    }

    fn survives(&self) -> bool {
        true
    }
}

/// Tells damage from a backend that fails. redb names no place, but it reads a page to find it bad: that is where the backend was last read.
fn judge(file: &str, read_at: &AtomicU64, error: &::redb::Error) -> StateError {
    use ::redb::Error;
    let failed = match error {
        // It does not take the file for a database at all, or the file refers to what lies beyond its end.
        Error::Io(error) => error.kind() != io::ErrorKind::InvalidData,
        Error::PreviousIo | Error::DatabaseAlreadyOpen | Error::DatabaseClosed | Error::LockPoisoned(_) => true,
        _ => false,
    };
    if failed {
        return StateError::Failed(error.to_string());
    }
    Corruption { file: file.to_owned(), offset: read_at.load(Ordering::Relaxed), what: Damage::State(error.to_string()) }.into()
}

/// A backend of which it is known where it was last read.
#[derive(Debug)]
struct Watched<B> {
    inner: B,
    read_at: Arc<AtomicU64>,
}

impl<B: StorageBackend> Watched<B> {
    /// Empties a file that a power loss left of a database being made. Only under the file's lock, where it has one: another process may be
    /// making it.
    fn clear_begun(&self) -> Result<(), StateError> {
        let failed = |error: io::Error| StateError::Failed(error.to_string());
        let whole = (Bound::Unbounded, Bound::Unbounded);
        let locked = match self.try_lock_range(whole.0, whole.1) {
            Ok(true) => true,
            Ok(false) => return Err(StateError::Failed(::redb::DatabaseError::DatabaseAlreadyOpen.to_string())),
            Err(BackendError::Unsupported) => false,
            Err(error) => return Err(failed(error.into())),
        };
        if self.is_begun_only().map_err(failed)? {
            self.set_len(0).map_err(failed)?;
        }
        if locked {
            self.unlock_range(whole.0, whole.1).map_err(|error| failed(error.into()))?;
        }
        Ok(())
    }

    /// Whether the file is what a power loss left of a database being made: the magic bytes, which come last, are missing, and nothing was
    /// ever written to a page. redb would take it for something else than a database.
    fn is_begun_only(&self) -> io::Result<bool> {
        let len = self.len()?;
        let mut page = vec![0; PAGE_BYTES as usize];
        for offset in (0..len).step_by(PAGE_BYTES as usize) {
            let page = &mut page[..PAGE_BYTES.min(len - offset) as usize];
            self.read(offset, page)?;
            let looked_at = if offset == 0 { MAGIC_BYTES.min(page.len()) } else { page.len() };
            if page[..looked_at].iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
        }
        Ok(len > 0)
    }
}

impl<B: StorageBackend> StorageBackend for Watched<B> {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.read_at.store(offset, Ordering::Relaxed);
        let read = self.inner.read(offset, out);
        // A length or a page number that is damaged: the file does not go so far.
        if read.is_err()
            && let Ok(len) = self.inner.len()
            && len < offset.saturating_add(out.len() as u64)
        {
            self.read_at.store(offset.min(len), Ordering::Relaxed);
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the file ends before what it refers to"));
        }
        read
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    // Locks keep a second process from the file, if the backend has them: without these, redb would take it for one that has none.
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}
