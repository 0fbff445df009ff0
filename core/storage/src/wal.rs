//! The writer: turns batches of records into file operations, remembers how far the log is synced, and which files nobody needs any more.
//!
//! Invariants: every frame handed out carries a mark at or before which everything is durable, whatever a crash does next. A file is
//! removed only when what replaces it is durable, and **the beginning of a log goes, durably, before anything that follows it**: whatever
//! else a crash or damage leaves, an old log is complete or cannot be started from.
//!
//! It keeps no copy of what it wrote, and knows nothing of commit, terms or which records matter: it writes what it is given.

use std::collections::{BTreeMap, BTreeSet};

use curp::{Command, Durable, Index, Record, SnapshotFile};

use crate::format::{self, FIRST_SEGMENT, HEADER_BYTES, Header};
use crate::{FileOp, Lsn, file_op, snapshot};

/// A segment is full at this many bytes, unless [`Wal::with_segment_bytes_max`] says otherwise. A larger batch gets a segment of its own.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 20;

/// What [`Wal::append`], [`Wal::checkpoint`] and [`Wal::obsolete`] ask for.
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
    /// Whether a log can begin with the segment written to.
    begins: bool,
    /// The older segments, and whether a log can begin with each.
    older: BTreeMap<u64, bool>,
    /// The last checkpoint: its segment, and where the log ends after it.
    checkpoint: Option<(u64, Lsn)>,
    /// Snapshot files, complete or on their way.
    snapshots: BTreeSet<Index>,
    /// The snapshot that the log refers to, and where the log ends after the record.
    snapshot: Option<(Index, Lsn)>,
    /// Where the log ends after the last removal.
    removed: Lsn,
}

impl Wal {
    /// The log of a fresh directory, once its first segment is made.
    pub(crate) fn fresh() -> Wal {
        // Nothing to cover with a mark but the header.
        Wal::resume(FIRST_SEGMENT, 0, HEADER_BYTES as Lsn, HEADER_BYTES as Lsn)
    }

    /// Continues the log in segment `sequence`, which begins at `start`; all of it up to `end` is synced.
    pub(crate) fn resume(sequence: u64, start: Lsn, end: Lsn, marked: Lsn) -> Wal {
        Wal {
            sequence,
            file: format::segment_name(sequence),
            start,
            end,
            synced: end,
            marked,
            segment_bytes_max: SEGMENT_BYTES_MAX,
            begins: sequence == FIRST_SEGMENT,
            older: BTreeMap::new(),
            checkpoint: None,
            snapshots: BTreeSet::new(),
            snapshot: None,
            removed: 0,
        }
    }

    /// The log begins with segment `first`; these are all the segments there are, and whether a log can begin with each.
    pub(crate) fn found_segments(&mut self, first: u64, segments: impl Iterator<Item = (u64, bool)>) {
        self.older = segments.filter(|(sequence, _)| *sequence < self.sequence).collect();
        self.begins = first == self.sequence;
        self.checkpoint = (first > FIRST_SEGMENT).then_some((first, self.end));
    }

    /// The log refers to the snapshot at `referred`; these are the older ones still there.
    pub(crate) fn found_snapshots(&mut self, referred: Option<Index>, older: impl Iterator<Item = Index>) {
        self.snapshot = referred.map(|index| (index, self.end));
        self.snapshots = older.chain(referred).collect();
    }

    /// The same writer with another size at which a segment is full.
    #[must_use]
    pub fn with_segment_bytes_max(mut self, bytes: u64) -> Wal {
        self.segment_bytes_max = bytes;
        self
    }

    /// Appends one batch as one frame, with one sync of the file if `sync`. Without records it asks for the sync alone.
    ///
    /// # Panics
    /// If a checkpoint is among the records: [`Wal::checkpoint`] writes those.
    pub fn append<C: Command>(&mut self, records: &[Record<C>], sync: bool) -> Appended {
        assert!(!records.iter().any(|r| matches!(r, Record::Checkpoint(_))), "a checkpoint begins a segment");
        let mut ops = Vec::with_capacity(2);
        if !records.is_empty() {
            self.write(records, &mut ops);
        }
        if sync {
            ops.push(FileOp::Sync { file: self.file.clone() });
        }
        self.refer(records);
        Appended { ops, end: self.end }
    }

    /// Writes all that is still true as one synced frame that begins a new segment: a [`Record::Checkpoint`] first, and the [`Record::Snapshot`]
    /// after the entries (before them it would read as an installed one, and replace them). Once the caller has reported it by
    /// [`Wal::synced`], [`Wal::obsolete`] removes what came before.
    ///
    /// # Panics
    /// If the first record is not the only checkpoint, if the records do not fold to a log with that base, or if the base is beyond the
    /// snapshot; at 4 GiB.
    pub fn checkpoint<C: Command>(&mut self, records: &[Record<C>]) -> Appended {
        let Some(Record::Checkpoint(base)) = records.first() else { panic!("the first record of a checkpoint says so") };
        assert!(!records[1..].iter().any(|r| matches!(r, Record::Checkpoint(_))), "one checkpoint at a time");
        // Rare, and nothing is left to fall back on once it is durable: so it is read once before it is written.
        let mut folded = Durable::default();
        let whole = records.iter().try_for_each(|record| folded.apply(record.clone()));
        assert!(whole.is_ok() && folded.base == *base, "a checkpoint that says something else: {whole:?}, {:?}, {base:?}", folded.base);
        assert!(base.index <= folded.snapshot.map_or(0, |meta| meta.index), "no snapshot holds what stood before {}", base.index);
        let (mut ops, mut data) = (Vec::with_capacity(5), Vec::new());
        self.begin_segment(true, &mut ops, &mut data);
        format::write_frame(records, self.end + HEADER_BYTES as Lsn, self.synced, &mut data);
        self.hand_out(data, &mut ops);
        ops.push(FileOp::Sync { file: self.file.clone() });
        self.checkpoint = Some((self.sequence, self.end));
        self.refer(records);
        Appended { ops, end: self.end }
    }

    /// The operations that write a snapshot's file. They are a write of their own: only when all have returned may a
    /// [`Record::Snapshot`] name it.
    ///
    /// # Panics
    /// If the log refers to the snapshot at this very index: a crash could leave it torn.
    pub fn save_snapshot(&mut self, file: &SnapshotFile) -> Vec<FileOp> {
        let index = file.meta.index;
        assert!(self.snapshot.is_none_or(|(referred, _)| referred != index), "the log refers to the snapshot at {index}");
        self.snapshots.insert(index);
        snapshot::save(file)
    }

    /// Removes files that nobody needs any more: segments before the last checkpoint that is durable, and snapshots before the one that
    /// the durable log refers to. `None`: there are none, or not yet. It is a synced batch of its own, to be asked for whenever
    /// [`Wal::synced`] has been told something; the old segments may take two or three of them, oldest first.
    pub fn obsolete<C: Command>(&mut self) -> Option<Appended> {
        if self.synced < self.removed {
            return None;
        }
        let mut ops = Vec::new();
        if let Some((sequence, end)) = self.checkpoint
            && end <= self.synced
        {
            // Names vanish in any order when power fails. So the beginning of the old log goes alone, or with what an older one left: were
            // the checkpoint damaged later, a beginning with a gap behind it would pass for a log whose end was torn.
            while let Some(oldest) = self.older.first_entry()
                && *oldest.key() < sequence
            {
                let (old, begins) = oldest.remove_entry();
                ops.push(FileOp::Remove { file: format::segment_name(old) });
                if begins {
                    break;
                }
            }
        }
        if let Some((index, end)) = self.snapshot
            && end <= self.synced
        {
            let kept = self.snapshots.split_off(&index);
            let old = std::mem::replace(&mut self.snapshots, kept);
            ops.extend(old.into_iter().map(|index| FileOp::Remove { file: snapshot::snapshot_name(index) }));
        }
        if ops.is_empty() {
            return None;
        }
        ops.push(FileOp::SyncDir);
        // A frame whose sync tells that the removal is over. It carries the mark, too, that covers what replaces the files.
        self.write::<C>(&[], &mut ops);
        ops.push(FileOp::Sync { file: self.file.clone() });
        self.marked = self.end;
        self.removed = self.end;
        Some(Appended { ops, end: self.end })
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
            self.begin_segment(false, ops, &mut data);
            format::write_frame(records, self.end + HEADER_BYTES as u64, self.synced, &mut data);
        }
        self.hand_out(data, ops);
    }

    fn hand_out(&mut self, data: Vec<u8>, ops: &mut Vec<FileOp>) {
        self.end += data.len() as u64;
        self.marked = self.marked.max(self.synced);
        ops.push(FileOp::Append { file: self.file.clone(), data });
    }

    /// The old segment is synced first, since no later sync names it again. The new name is made durable in the same batch: were it
    /// lost after a sync of its contents, so would be what they promise. Recovery does not rely on the order.
    fn begin_segment(&mut self, checkpoint: bool, ops: &mut Vec<FileOp>, data: &mut Vec<u8>) {
        ops.push(FileOp::Sync { file: self.file.clone() });
        self.older.insert(self.sequence, self.begins);
        self.begins = checkpoint;
        self.sequence += 1;
        self.file = format::segment_name(self.sequence);
        self.start = self.end;
        Header { sequence: self.sequence, start: self.start, mark: self.synced, checkpoint }.write(data);
        ops.push(FileOp::Create { file: self.file.clone() });
        file_op::sync_new_name(ops);
    }

    /// Notes which snapshot the log refers to after these records.
    fn refer<C: Command>(&mut self, records: &[Record<C>]) {
        for record in records {
            if let Record::Snapshot(meta) = record
                && self.snapshot.is_none_or(|(index, _)| index != meta.index)
            {
                self.snapshot = Some((meta.index, self.end));
            }
        }
    }
}
