//! The log as the disk holds it, followed change by change: what a node would recover if it lost power now. Checkers ask this of
//! the simulated disk's durable bytes thousands of times in a run.
//!
//! Invariant: at any time the answer is what [`crate::recover`] gives for the same files. It uses the same decoding; only an append to the last
//! segment is read alone, everything else is read again from the beginning.

use std::collections::BTreeMap;

use curp::{Command, Durable};

use crate::recover::{self, Replay};
use crate::{Corruption, Lsn};

/// Follows the durable files of one node.
pub struct Reader<C: Command> {
    files: BTreeMap<String, Vec<u8>>,
    state: Result<State<C>, Corruption>,
    generation: u64,
}

struct State<C: Command> {
    replay: Replay<C>,
    /// The last segment's file, start and length, if the log can be read on from its end.
    tail: Option<(String, Lsn, usize)>,
}

impl<C: Command> Default for Reader<C> {
    fn default() -> Self {
        Reader { files: BTreeMap::new(), state: Ok(State { replay: Replay::new(), tail: None }), generation: 0 }
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
            return self.read_again();
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
                self.read_again();
            }
        }
    }

    /// The file is durably gone.
    pub fn remove(&mut self, file: &str) {
        if self.files.remove(file).is_some() {
            self.read_again();
        }
    }

    /// What a node would recover from these files, or why it would not start.
    ///
    /// # Errors
    /// The [`Corruption`] that [`crate::recover`] reports.
    pub fn durable(&self) -> Result<&Durable<C>, &Corruption> {
        self.state.as_ref().map(|state| &state.replay.durable)
    }

    /// A number that rises whenever the answer of [`Reader::durable`] may have changed.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How many records [`Reader::durable`] is folded from; 0 where it is an error.
    pub fn records(&self) -> u64 {
        self.state.as_ref().map_or(0, |state| state.replay.records)
    }

    /// The files' durable contents.
    pub fn files(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.files
    }

    /// `file` has grown: decodes the new bytes alone if they are whole frames at the end of the log.
    fn read_on(&mut self, file: &str) {
        if let Ok(State { replay, tail: Some((last, start, len)) }) = &mut self.state
            && last == file
        {
            let bytes = &self.files[file];
            let before = replay.records;
            let (end, stop) = replay.frames(bytes, *start, *len);
            self.generation += u64::from(replay.records > before);
            *len = end;
            if stop.is_none() {
                return;
            }
        }
        self.read_again();
    }

    fn read_again(&mut self) {
        self.generation += 1;
        self.state = recover::scan(&recover::segments(&self.files)).map(|scan| {
            let tail = scan.tail();
            State { replay: scan.replay, tail }
        });
    }
}
