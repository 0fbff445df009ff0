//! The node's directory. One thread performs the writes in the order submitted and reports each end; the node is never blocked. The
//! first error ends it: what was to be written after a failed write is not.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use node::{Token, Write};
use storage::FileOp;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::state::FILE;

/// How a write ended: its token and whether it was a synced one; or the token of the one that failed.
pub(super) type End = Result<(Token, bool), Token>;

/// What is in the directory, by name.
pub(super) type Found = BTreeMap<String, Vec<u8>>;

/// Where writes are handed in.
pub(super) struct Files {
    writes: std::sync::mpsc::Sender<Write>,
}

impl Files {
    /// Hands in a write.
    pub(super) fn submit(&self, write: Write) {
        // The thread ends only after it has reported an error, and the node stops over that.
        let _ = self.writes.send(write);
    }
}

/// A node's directory.
pub(super) struct Opened {
    /// What is in it.
    pub found: Found,
    /// It was not there before.
    pub made: bool,
    /// The way to write to it.
    pub files: Files,
    /// How writes ended.
    pub ends: UnboundedReceiver<End>,
}

/// Opens a node's directory, which is made if it is not there.
///
/// # Errors
/// It cannot be made or read, or another process has it.
pub(super) fn open(dir: &Path) -> io::Result<Opened> {
    let made = !dir.try_exists()?;
    std::fs::create_dir_all(dir)?;
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        File::open(parent)?.sync_all()?;
    }
    // Beside the directory's files, which are the log's own.
    let lock = File::create(dir.with_extension("lock"))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(io::Error::other("another process has this directory")),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let mut found = Found::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        // The store's is read by the store.
        if let Ok(name) = entry.file_name().into_string()
            && name != FILE
        {
            found.insert(name, std::fs::read(entry.path())?);
        }
    }
    let (writes, submitted) = std::sync::mpsc::channel();
    let (ended, ends) = unbounded_channel();
    let directory = Directory { dir: dir.to_owned(), handles: BTreeMap::new(), _lock: lock };
    std::thread::Builder::new().name("disk".to_owned()).spawn(move || directory.serve(&submitted, &ended))?;
    Ok(Opened { found, made, files: Files { writes }, ends })
}

struct Directory {
    dir: PathBuf,
    handles: BTreeMap<String, File>,
    /// Held as long as the thread lives.
    _lock: File,
}

impl Directory {
    fn serve(mut self, submitted: &std::sync::mpsc::Receiver<Write>, ended: &UnboundedSender<End>) {
        for write in submitted {
            let done = write.ops.iter().try_for_each(|op| self.perform(op));
            let end = match done {
                Ok(()) => Ok((write.token, write.sync)),
                Err(error) => {
                    tracing::error!("write {} to {} failed: {error}", write.token, self.dir.display());
                    Err(write.token)
                }
            };
            let failed = end.is_err();
            if ended.send(end).is_err() || failed {
                return;
            }
        }
    }

    fn perform(&mut self, op: &FileOp) -> io::Result<()> {
        match op {
            FileOp::Create { file } => {
                let handle = OpenOptions::new().append(true).create(true).open(self.dir.join(file))?;
                handle.set_len(0)?;
                self.handles.insert(file.clone(), handle);
                Ok(())
            }
            FileOp::Append { file, data } => self.handle(file)?.write_all(data),
            FileOp::Truncate { file, len } => self.handle(file)?.set_len(*len),
            FileOp::Sync { file } => self.handle(file)?.sync_all(),
            FileOp::Rename { from, to } => {
                self.handles.remove(from);
                self.handles.remove(to);
                std::fs::rename(self.dir.join(from), self.dir.join(to))
            }
            FileOp::Remove { file } => {
                self.handles.remove(file);
                std::fs::remove_file(self.dir.join(file))
            }
            FileOp::SyncDir => File::open(&self.dir)?.sync_all(),
        }
    }

    fn handle(&mut self, file: &str) -> io::Result<&mut File> {
        if !self.handles.contains_key(file) {
            let handle = OpenOptions::new().append(true).open(self.dir.join(file))?;
            self.handles.insert(file.to_owned(), handle);
        }
        Ok(self.handles.get_mut(file).expect("it was just put there"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that is not there yet; with its parent it is removed when this is dropped.
    struct Place(PathBuf);

    impl Place {
        fn new(test: &str) -> Place {
            Place(std::env::temp_dir().join(format!("server-files-{test}-{}", std::process::id())).join("node-1"))
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(self.0.parent().expect("it has one"));
        }
    }

    /// Opens it as soon as the thread that had it before has ended.
    fn reopen(dir: &Path) -> Opened {
        for _ in 0..500 {
            match open(dir) {
                Ok(opened) => return opened,
                Err(_) => std::thread::sleep(std::time::Duration::from_millis(10)),
            }
        }
        panic!("the lock is gone with its thread");
    }

    #[test]
    fn what_was_written_is_found_and_the_directory_is_locked() {
        let place = Place::new("written");
        let Opened { found, made, files, mut ends } = open(&place.0).expect("a new directory");
        assert!(found.is_empty() && made);
        assert!(open(&place.0).is_err(), "two processes in one directory");
        let (file, data) = ("wal".to_owned(), b"abcdef".to_vec());
        let ops = vec![
            FileOp::Create { file: file.clone() },
            FileOp::Append { file: file.clone(), data },
            FileOp::Truncate { file: file.clone(), len: 3 },
            FileOp::Sync { file: file.clone() },
            FileOp::SyncDir,
        ];
        files.submit(Write { token: 7, ops, sync: true });
        assert_eq!(ends.blocking_recv(), Some(Ok((7, true))));
        files.submit(Write { token: 8, ops: vec![FileOp::Append { file: "none".to_owned(), data: vec![1] }], sync: true });
        assert_eq!(ends.blocking_recv(), Some(Err(8)));
        assert_eq!(ends.blocking_recv(), None, "after a failed write there is none");
        drop(files);
        let opened = reopen(&place.0);
        assert_eq!((opened.found, opened.made), (BTreeMap::from([(file, b"abc".to_vec())]), false));
    }

    /// The operations of a snapshot and of a removal: names change, and an open handle is not used under a name it no longer has.
    #[test]
    fn files_are_renamed_and_removed() {
        let place = Place::new("names");
        let Opened { files, mut ends, .. } = open(&place.0).expect("a new directory");
        let name = |name: &str| name.to_owned();
        let write =
            |file: &str, data: &[u8]| [FileOp::Create { file: name(file) }, FileOp::Append { file: name(file), data: data.to_vec() }];
        let mut ops = [write("old", b"old"), write("new.tmp", b"new"), write("gone", b"gone")].concat();
        ops.extend([
            FileOp::Sync { file: name("new.tmp") },
            FileOp::Rename { from: name("new.tmp"), to: name("old") },
            FileOp::Append { file: name("old"), data: b"er".to_vec() },
            FileOp::Sync { file: name("old") },
            FileOp::Remove { file: name("gone") },
            FileOp::SyncDir,
        ]);
        files.submit(Write { token: 1, ops, sync: true });
        assert_eq!(ends.blocking_recv(), Some(Ok((1, true))));
        // A name that was removed, or renamed away, is free again.
        let ops = [write("gone", b"again"), write("new.tmp", b"next")].concat();
        files.submit(Write { token: 2, ops, sync: false });
        assert_eq!(ends.blocking_recv(), Some(Ok((2, false))));
        files.submit(Write { token: 3, ops: vec![FileOp::Remove { file: name("never") }], sync: true });
        assert_eq!(ends.blocking_recv(), Some(Err(3)), "a file that is not there cannot be removed");
        drop(files);
        let expected = [("gone", &b"again"[..]), ("new.tmp", b"next"), ("old", b"newer")];
        assert_eq!(reopen(&place.0).found, expected.map(|(file, data)| (name(file), data.to_vec())).into());
    }
}
