//! The state machine's store of a real node: a redb database in its directory. A thread commits what the node hands in, one batch at a time, so
//! that the node never waits for the disk; meanwhile what is applied gathers in the node, and goes with the next batch.
//!
//! That a batch was taken says nothing of the disk, and nothing depends on it: the log that leads to it is durable, and stays until a
//! snapshot is. A commit that failed is told at the next opportunity, and the node stops over it.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::backends::FileBackend;
use storage::{RedbStore, RowChange, See, StateError, StateStore};

/// The file's name.
pub(super) const FILE: &str = "state.redb";

/// Opens the store in a node's directory; it is made if it is not there.
///
/// # Errors
/// It is damaged, another process has it, or it cannot be opened.
pub(super) fn open(dir: &Path) -> Result<Box<dyn StateStore>, StateError> {
    let failed = |error: &dyn std::fmt::Display| StateError::Failed(format!("{}: {error}", dir.join(FILE).display()));
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(dir.join(FILE)).map_err(|e| failed(&e))?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| failed(&e))?;
    let store = RedbStore::open(FileBackend::new(file).map_err(|e| failed(&e))?, FILE)?;
    let (store, status) = (Arc::new(Mutex::new(store)), Arc::<Mutex<Status>>::default());
    let (batches, handed_in) = channel();
    let behind = (store.clone(), status.clone());
    std::thread::Builder::new().name("state".to_owned()).spawn(move || commit(&behind.0, &behind.1, &handed_in)).map_err(|e| failed(&e))?;
    Ok(Box::new(Committer { store, status, batches }))
}

/// How the last batch is doing.
#[derive(Debug, Default)]
struct Status {
    committing: bool,
    failed: Option<StateError>,
}

/// The node's end.
#[derive(Debug)]
struct Committer {
    store: Arc<Mutex<RedbStore>>,
    status: Arc<Mutex<Status>>,
    batches: Sender<Vec<RowChange>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread. It ends with the node, or with the first batch that fails.
fn commit(store: &Mutex<RedbStore>, status: &Mutex<Status>, batches: &Receiver<Vec<RowChange>>) {
    for batch in batches {
        let done = lock(store).transact(batch);
        let mut status = lock(status);
        status.committing = false;
        if let Err(error) = done {
            tracing::error!("{error}");
            status.failed = Some(error);
            return;
        }
    }
}

impl StateStore for Committer {
    fn transact(&mut self, changes: Vec<RowChange>) -> Result<(), StateError> {
        lock(&self.status).committing = true;
        self.batches.send(changes).map_err(|_| StateError::Failed("its thread is gone".to_owned()))
    }

    fn scan(&self, see: &mut See<'_>) -> Result<(), StateError> {
        lock(&self.store).scan(see)
    }

    fn survives(&self) -> bool {
        true
    }

    fn is_ready(&self) -> Result<bool, StateError> {
        let status = lock(&self.status);
        status.failed.clone().map_or(Ok(!status.committing), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use storage::Batch;

    /// A directory that is removed when this is dropped.
    struct Place(std::path::PathBuf);

    impl Place {
        fn new(test: &str) -> Place {
            let dir = std::env::temp_dir().join(format!("server-state-{test}-{}", std::process::id()));
            std::fs::create_dir_all(&dir).expect("it can be made");
            Place(dir)
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// Opens it as soon as the thread that had it before has ended.
    fn reopen(dir: &Path) -> Result<Box<dyn StateStore>, StateError> {
        for _ in 0..500 {
            match open(dir) {
                Err(StateError::Failed(_)) => std::thread::sleep(std::time::Duration::from_millis(10)),
                opened => return opened,
            }
        }
        panic!("the file is free when its thread has ended");
    }

    fn rows(store: &dyn StateStore) -> (Option<Vec<u8>>, usize) {
        let mut rows = 0;
        let mark = store.load(&mut |_, _| {
            rows += 1;
            Ok(())
        });
        (mark.expect("it is whole"), rows)
    }

    #[test]
    fn what_was_committed_is_there_again() {
        let place = Place::new("again");
        let mut store = open(&place.0).expect("a new file");
        assert_eq!(rows(&*store), (None, 0));
        for n in 1..=5u8 {
            while !store.is_ready().expect("nothing fails") {
                std::thread::yield_now();
            }
            store.commit(Batch { rows: vec![RowChange::Put { key: vec![n], value: vec![n; 3] }], mark: vec![n] }).expect("it is taken");
        }
        drop(store);
        assert_eq!(rows(&*reopen(&place.0).expect("closed in good order")), (Some(vec![5]), 5));
    }

    #[test]
    fn damage_is_reported_with_file_and_place() {
        let place = Place::new("damage");
        let mut store = open(&place.0).expect("a new file");
        store.commit(Batch { rows: vec![RowChange::Put { key: vec![1], value: vec![7; 3000] }], mark: vec![1] }).expect("it is taken");
        drop(store);
        // A copy of what a killed process would leave.
        let again = reopen(&place.0).expect("closed in good order");
        assert_eq!(rows(&*again), (Some(vec![1]), 1));
        let mut bytes = std::fs::read(place.0.join(FILE)).expect("it is there");
        let copy = Place::new("damage-copy");
        let at = bytes.windows(100).position(|window| window == [7; 100]).expect("the value is in it");
        bytes[at + 50] ^= 1;
        std::fs::write(copy.0.join(FILE), bytes).expect("it can be written");
        let error = open(&copy.0).map(drop).expect_err("it is damaged").to_string();
        assert!(error.starts_with("state.redb at offset "), "{error}");
    }
}
