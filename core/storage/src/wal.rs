//! The writer: turns batches of records into file operations, and remembers how far the log is synced.
//!
//! Invariant: every frame handed out carries a mark at or before which everything is durable, whatever a crash does next. It keeps
//! no copy of what it wrote, and knows nothing of commit, terms or which records matter: it writes what it is given.

use curp::{Command, Record};

use crate::format::{self, HEADER_BYTES, Header};
use crate::{FileOp, Lsn};

/// A segment is full at this many bytes, unless [`Wal::with_segment_bytes_max`] says otherwise. A larger batch gets a segment of its own.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 20;

/// What [`Wal::append`] asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The operations, to be done in this order. A batch that begins a segment holds a `Sync` of the old one and a `SyncDir` even if none
    /// was asked for.
    pub ops: Vec<FileOp>,
    /// Where the log ends after them: for [`Wal::synced`], once they have returned, if a sync was asked for.
    pub end: Lsn,
}

/// The writer of one node's log. [`crate::recover`] gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wal {
    /// Number of the segment written to, and its name.
    sequence: u64,
    file: String,
    /// Where that segment begins.
    start: Lsn,
    /// Where the log ends.
    end: Lsn,
    /// How far it is known to be synced.
    synced: Lsn,
    /// The greatest mark handed out.
    marked: Lsn,
    segment_bytes_max: u64,
}

impl Wal {
    /// Continues the log in segment `sequence`, which begins at `start`; all of it up to `end` is synced.
    pub(crate) fn resume(sequence: u64, start: Lsn, end: Lsn, marked: Lsn) -> Wal {
        Wal { sequence, file: format::segment_name(sequence), start, end, synced: end, marked, segment_bytes_max: SEGMENT_BYTES_MAX }
    }

    /// The same writer with another size at which a segment is full.
    #[must_use]
    pub fn with_segment_bytes_max(mut self, bytes: u64) -> Wal {
        self.segment_bytes_max = bytes;
        self
    }

    /// Appends one batch as one frame, with one sync of the file if `sync`. Without records it asks for the sync alone.
    pub fn append<C: Command>(&mut self, records: &[Record<C>], sync: bool) -> Appended {
        let mut ops = Vec::with_capacity(2);
        if !records.is_empty() {
            self.write(records, &mut ops);
        }
        if sync {
            ops.push(FileOp::Sync { file: self.file.clone() });
        }
        Appended { ops, end: self.end }
    }

    /// The log up to `up_to` (an [`Appended::end`]) is durable: that batch and all before it have returned. Later frames say so.
    pub fn synced(&mut self, up_to: Lsn) {
        assert!(up_to <= self.end, "synced up to {up_to}, but the log ends at {}", self.end);
        self.synced = self.synced.max(up_to);
    }

    /// A frame that only carries the mark, if the last frame's is out of date. For idle moments, without a sync: once it is on
    /// the disk, damage to the last batch is told from a torn write.
    pub fn mark<C: Command>(&mut self) -> Option<Appended> {
        // A mark that covers only mark frames protects nothing; without this a node that syncs them would write them for ever.
        (self.synced > self.marked).then(|| {
            let mut ops = Vec::with_capacity(1);
            self.write::<C>(&[], &mut ops);
            self.marked = self.end;
            Appended { ops, end: self.end }
        })
    }

    /// Where the log ends.
    pub fn end(&self) -> Lsn {
        self.end
    }

    /// How far the log is known to be synced.
    pub fn synced_up_to(&self) -> Lsn {
        self.synced
    }

    fn write<C: Command>(&mut self, records: &[Record<C>], ops: &mut Vec<FileOp>) {
        let mut data = Vec::with_capacity(128);
        // Encoded for the current segment, and again if that is full: rare, and then the place in the frame changes.
        format::write_frame(records, self.end, self.synced, &mut data);
        let segment_bytes = self.end - self.start;
        if segment_bytes > HEADER_BYTES as u64 && segment_bytes + data.len() as u64 > self.segment_bytes_max {
            data.clear();
            self.begin_segment(ops, &mut data);
            format::write_frame(records, self.end + HEADER_BYTES as u64, self.synced, &mut data);
        }
        self.end += data.len() as u64;
        self.marked = self.marked.max(self.synced);
        ops.push(FileOp::Append { file: self.file.clone(), data });
    }

    /// The old segment is synced first, since no later sync names it again. The new name is made durable in the same batch: were it
    /// lost after a sync of its contents, so would be what they promise. Recovery does not rely on the order.
    fn begin_segment(&mut self, ops: &mut Vec<FileOp>, data: &mut Vec<u8>) {
        ops.push(FileOp::Sync { file: self.file.clone() });
        self.sequence += 1;
        self.file = format::segment_name(self.sequence);
        self.start = self.end;
        Header { sequence: self.sequence, start: self.start, mark: self.synced }.write(data);
        ops.push(FileOp::Create { file: self.file.clone() });
        ops.push(FileOp::SyncDir);
    }
}
