//! The log as the disk holds it, followed change by change: what a node would recover if it lost power now. Checkers ask this of
//! the simulated disk's durable bytes thousands of times in a run.
//!
//! Invariant: at any time the answer is what [`crate::recover`] gives for the same files. It uses the same decoding; an append to the last
//! segment is read alone, a segment before the last checkpoint is not read at all, a snapshot file only if the log refers to it and one of the
//! two changed. After any other change the log is read again from its last checkpoint.

use std::collections::BTreeMap;

use curp::{Command, Durable, SnapshotFile};

use crate::recover::{self, Replay};
use crate::{Corruption, Lsn, format, snapshot};

/// What [`Reader::durable`] is folded from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Where the log begins: with its last checkpoint, if there is one.
    pub begin: Lsn,
    /// Where it ends.
    pub end: Lsn,
    /// How many records in between tell something new: those that are the checkpoint itself do not, nor do snapshots of what the log has.
    pub records: u64,
}

/// Follows the durable files of one node.
pub struct Reader<C: Command> {
    files: BTreeMap<String, Vec<u8>>,
    state: Result<State<C>, Corruption>,
    /// The snapshot that the log refers to; none while there is no such log.
    snapshot: Result<Option<SnapshotFile>, Corruption>,
    generation: u64,
}

struct State<C: Command> {
    replay: Replay<C>,
    /// The segment with which the log begins.
    first: u64,
    /// Where the log begins and ends.
    span: (Lsn, Lsn),
    /// The last segment's file, start and length, if the log can be read on from its end.
    tail: Option<(String, Lsn, usize)>,
}

impl<C: Command> Default for Reader<C> {
    fn default() -> Self {
        let state = State { replay: Replay::new(), first: 1, span: (0, 0), tail: None };
        Reader { files: BTreeMap::new(), state: Ok(state), snapshot: Ok(None), generation: 0 }
    }
}

impl<C: Command> Reader<C> {
    /// A reader of an empty directory.
    pub fn new() -> Self {
        Reader::default()
    }

    /// The durable contents of `file` from `offset` (bytes) on are now `data`, and the file ends with them. An offset beyond the
    /// file's end leaves a hole of zeros, as in any file system.
    pub fn change(&mut self, file: &str, offset: u64, data: &[u8]) {
        let offset = usize::try_from(offset).expect("a file that fits into memory");
        let Some(bytes) = self.files.get_mut(file) else {
            let mut bytes = vec![0; offset];
            bytes.extend_from_slice(data);
            self.files.insert(file.to_owned(), bytes);
            return self.changed(file);
        };
        // What is written again as it was is no change: disks may report whole blocks.
        let same = bytes.get(offset..).unwrap_or_default();
        let append = if offset <= bytes.len() { data.strip_prefix(same) } else { None };
        match append {
            Some([]) => {}
            Some(new) => {
                bytes.extend_from_slice(new);
                self.read_on(file);
            }
            None => {
                bytes.resize(offset, 0);
                bytes.extend_from_slice(data);
                self.changed(file);
            }
        }
    }

    /// The file is durably gone.
    pub fn remove(&mut self, file: &str) {
        if self.files.remove(file).is_some() {
            self.changed(file);
        }
    }

    /// What a node would recover from these files, or why it would not start.
    ///
    /// # Errors
    /// The [`Corruption`] that [`crate::recover`] reports.
    pub fn durable(&self) -> Result<&Durable<C>, &Corruption> {
        let state = self.state.as_ref()?;
        self.snapshot.as_ref().map(|_| &state.replay.durable)
    }

    /// The snapshot that the log refers to, from which a node would start.
    ///
    /// # Errors
    /// The same as [`Reader::durable`]'s.
    pub fn snapshot(&self) -> Result<Option<&SnapshotFile>, &Corruption> {
        self.state.as_ref()?;
        self.snapshot.as_ref().map(Option::as_ref)
    }

    /// A number that rises whenever the answer of [`Reader::durable`] or [`Reader::snapshot`] may have changed.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What [`Reader::durable`] is folded from; where that is an error, nothing.
    pub fn extent(&self) -> Extent {
        match &self.state {
            Ok(State { replay, span: (begin, end), .. }) if self.snapshot.is_ok() => {
                Extent { begin: *begin, end: *end, records: replay.records - replay.repeats }
            }
            _ => Extent::default(),
        }
    }

    /// The files' durable contents.
    pub fn files(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.files
    }

    /// `file` has grown: decodes the new bytes alone if they are whole frames at the end of the log.
    fn read_on(&mut self, file: &str) {
        if let Ok(State { replay, span, tail: Some((last, start, len)), .. }) = &mut self.state
            && last == file
        {
            let bytes = &self.files[file];
            let before = replay.records;
            // Not the first frame of the segment, unless it has no flag: only a segment with all that its header promises is a log's end.
            let (end, stop) = replay.frames(bytes, *start, *len, false);
            self.generation += u64::from(replay.records > before);
            *len = end;
            span.1 = *start + end as Lsn;
            if stop.is_none() {
                return self.follow_snapshot();
            }
        }
        self.changed(file);
    }

    /// `file` came, went, or is otherwise than it was.
    fn changed(&mut self, file: &str) {
        let segment = format::segment_sequence(file);
        match &self.state {
            Ok(State { first, .. }) if segment.is_some_and(|sequence| sequence < *first) => {}
            Ok(State { replay, .. }) if segment.is_none() && replay.records > 0 => {
                let referred = replay.durable.snapshot.as_ref().map(|meta| meta.index);
                if referred.is_some() && snapshot::snapshot_index(file) == referred {
                    self.load_snapshot();
                }
            }
            _ => self.read_again(),
        }
    }

    fn read_again(&mut self) {
        self.generation += 1;
        self.state = recover::scan(&self.files).map(|scan| {
            let (span, tail) = (scan.span(), scan.tail());
            State { replay: scan.replay, first: scan.first, span, tail }
        });
        self.follow_snapshot();
    }

    /// Reads the snapshot if the log refers to another one than before.
    fn follow_snapshot(&mut self) {
        let referred = self.state.as_ref().ok().and_then(|state| state.replay.durable.snapshot.as_ref());
        if !matches!(&self.snapshot, Ok(loaded) if loaded.as_ref().map(|file| &file.meta) == referred) {
            self.load_snapshot();
        }
    }

    fn load_snapshot(&mut self) {
        self.generation += 1;
        let referred = self.state.as_ref().ok().and_then(|state| state.replay.durable.snapshot.as_ref());
        self.snapshot = snapshot::load(&self.files, referred);
    }
}
