//! Recovery: from the bytes of the files to what the node had promised, or a refusal.
//!
//! Invariant: nothing before the greatest mark is ever dropped, and nothing after the first hole is ever used. Arbitrary bytes give a
//! result, never a panic. It repairs only what a crash can leave; damage to promised bytes is reported, not mended.

use std::collections::BTreeMap;
use std::fmt;

use curp::{Command, Durable, Index, LogGap, Record, SnapshotFile};
use mutants::Mutant;

use crate::format::{self, ALIGN, FIRST_SEGMENT, Frame, HEADER_BYTES, Header, HeaderFault};
use crate::{FileOp, Lsn, Wal, snapshot};

/// What recovery found.
#[derive(Clone, Debug)]
pub struct Recovered<C: Command> {
    /// The records up to the first hole, folded.
    pub durable: Durable<C>,
    /// The snapshot that they refer to.
    pub snapshot: Option<SnapshotFile>,
    /// The writer, which continues there, once the repairs have returned.
    pub wal: Wal,
    /// Cuts what a crash left of unsynced writes, and syncs what is kept but not covered by a mark: after a process kill the files are read from
    /// the page cache, and a power loss could still take back what the node is about to rely on. To be done, in order,
    /// before anything is appended or sent. Files that a checkpoint or a newer snapshot made obsolete are not among what is removed here: what
    /// replaces them may be in the page cache alone. [`Wal::obsolete`] removes them.
    pub repairs: Vec<FileOp>,
    /// Number of bytes cut.
    pub cut: u64,
}

/// Bytes that were promised to be durable are damaged or missing: the node must not start from them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file} at offset {offset}: {what}")]
pub struct Corruption {
    /// The file.
    pub file: String,
    /// Offset in the file at which the damaged header or frame begins (or should).
    pub offset: u64,
    /// What is wrong there.
    pub what: Damage,
}

/// A kind of [`Corruption`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// A segment is missing.
    #[error("the segment is missing, but later ones are there, or it was synced")]
    MissingSegment,
    /// The file of the snapshot that the log refers to is missing.
    #[error("the snapshot that the log refers to is missing")]
    MissingSnapshot,
    /// The file of the snapshot that the log refers to is not valid.
    #[error("snapshot: {0}")]
    Snapshot(Fault),
    /// The header is not valid, though it was synced.
    #[error("segment header: {0}")]
    Header(Fault),
    /// A frame is not valid, though it was synced.
    #[error("frame: {0}")]
    Frame(Fault),
    /// The header is intact and of a version this program does not know.
    #[error("unknown format version {0}")]
    Version(u32),
    /// A valid frame whose records do not decode.
    #[error("undecodable: {0}")]
    Undecodable(String),
    /// A valid frame that holds a checkpoint and should not, or should and does not.
    #[error("a checkpoint where none belongs, or none where one does")]
    Checkpoint,
    /// The state machine's store is not what was written, or not what this program writes.
    #[error("the state machine's store: {0}")]
    State(String),
    /// A valid entry that does not follow the log before it.
    #[error("{0}")]
    Gap(LogGap),
}

impl From<String> for Damage {
    fn from(what: String) -> Self {
        Damage::Undecodable(what)
    }
}

/// Why a header, frame or snapshot is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The file ends within it, or before it.
    Short,
    /// The file goes on after it.
    Long,
    /// It does not begin as one should.
    Magic,
    /// Its checksum does not match.
    Checksum,
    /// It says it belongs elsewhere.
    Place,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Short => "the file ends too early",
            Fault::Long => "the file goes on after its end",
            Fault::Magic => "does not begin with the magic bytes",
            Fault::Checksum => "the checksum does not match",
            Fault::Place => "it says it belongs elsewhere",
        })
    }
}

/// Why [`Replay::frames`] stopped before the end of the file.
pub(crate) enum Stop {
    /// A frame that is not valid: torn or corrupt, as the marks will tell.
    Hole(Fault),
    /// A valid frame that cannot be used: corrupt in any case.
    Unusable(Damage),
}

/// Records folded so far.
pub(crate) struct Replay<C: Command> {
    pub durable: Durable<C>,
    /// The greatest mark seen.
    pub mark: Lsn,
    /// Number of records folded.
    pub records: u64,
    /// How many of them tell nothing new: those that are the checkpoint itself, and snapshots of what the log has.
    pub repeats: u64,
}

impl<C: Command> Replay<C> {
    pub(crate) fn new() -> Self {
        Replay { durable: Durable::default(), mark: 0, records: 0, repeats: 0 }
    }

    /// Folds the frames of a segment's bytes from `offset` on, where the segment begins at `start`; `checkpoint`: the first of them must be one.
    /// Returns the offset after the last one folded, and why it stopped if that is not the end.
    pub(crate) fn frames(&mut self, bytes: &[u8], start: Lsn, mut offset: usize, mut checkpoint: bool) -> (usize, Option<Stop>) {
        while offset < bytes.len() {
            let frame = match self.frame(&bytes[offset..], start + offset as Lsn) {
                Ok(frame) => frame,
                Err(fault) => return (offset, Some(Stop::Hole(fault))),
            };
            self.mark = self.mark.max(frame.mark);
            self.records += u64::from(frame.records);
            let repeats = checkpoint;
            let decoded = frame.decode(|record| {
                if matches!(record, Record::Checkpoint(_)) != std::mem::take(&mut checkpoint) {
                    return Err(Damage::Checkpoint);
                }
                let (snapshot, base) = (matches!(record, Record::Snapshot(_)), self.durable.base);
                self.durable.apply(record).map_err(Damage::Gap)?;
                self.repeats += u64::from(repeats || (snapshot && self.durable.base == base));
                Ok(())
            });
            if let Err(damage) = decoded {
                return (offset, Some(Stop::Unusable(damage)));
            }
            offset += frame.bytes;
        }
        (offset, None)
    }

    fn frame<'a>(&self, bytes: &'a [u8], lsn: Lsn) -> Result<Frame<'a>, Fault> {
        let frame = Frame::parse(bytes, Some(lsn));
        if mutants::on(Mutant::TornTailAccepted) && frame == Err(Fault::Checksum) {
            let torn = Frame::unchecked(bytes, Some(lsn))?;
            let mut scratch = self.durable.clone();
            return torn.decode(|record| scratch.apply(record).map_err(Damage::Gap)).map(|()| torn).or(frame);
        }
        frame
    }
}

/// Where the usable log ends although there are, or may be, more bytes.
struct Hole {
    sequence: u64,
    offset: usize,
    /// The hole's place in the log.
    lsn: Lsn,
    damage: Damage,
}

/// A segment of which at least the header is valid.
struct Kept {
    sequence: u64,
    start: Lsn,
    len: usize,
}

/// What [`scan`] found: the usable log.
pub(crate) struct Scan<C: Command> {
    pub replay: Replay<C>,
    /// The segment with which the log begins.
    pub first: u64,
    kept: Vec<Kept>,
    hole: Option<Hole>,
}

impl<C: Command> Scan<C> {
    /// Where the usable log begins and ends.
    pub(crate) fn span(&self) -> (Lsn, Lsn) {
        let begin = self.kept.first().map_or(0, |kept| kept.start);
        (begin, self.kept.last().map_or(begin, |kept| kept.start + kept.len as Lsn))
    }

    /// File, start and length of the last segment if the log ends exactly where the last file does, hence can be read on from there.
    pub(crate) fn tail(&self) -> Option<(String, Lsn, usize)> {
        match (&self.hole, self.kept.last()) {
            (None, Some(last)) => Some((format::segment_name(last.sequence), last.start, last.len)),
            _ => None,
        }
    }
}

type Segments<'a> = BTreeMap<u64, &'a [u8]>;

/// Reads the log and the snapshot it refers to from the bytes of the node's files. Files that are neither are ignored. No segment at all is a fresh
/// node, whose repairs make the first one.
///
/// # Errors
/// [`Corruption`], if bytes are damaged that a mark says were synced, or that are intact but unusable; or if the snapshot is damaged.
pub fn recover<C: Command>(files: &BTreeMap<String, Vec<u8>>) -> Result<Recovered<C>, Corruption> {
    let segments = segments(files);
    let Scan { replay, first, kept, hole } = scan(files)?;
    let snapshot = snapshot::load(files, replay.durable.snapshot.as_ref())?;
    let referred = snapshot.as_ref().map(|file| file.meta.index);
    let (mut repairs, cut) = repairs(&segments, &kept, hole.as_ref(), replay.mark);
    remove_unfinished(files, referred, &mut repairs);
    let mut wal = match kept.last() {
        Some(last) => Wal::resume(last.sequence, last.start, last.start + last.len as Lsn, replay.mark),
        None => Wal::fresh(),
    };
    // A damaged header may be that of a beginning.
    let begins = |(&sequence, &bytes): (&u64, &&[u8])| {
        (sequence, sequence == FIRST_SEGMENT || Header::parse(bytes, sequence).map_or(true, |header| header.checkpoint))
    };
    wal.found_segments(first, segments.iter().map(begins));
    wal.found_snapshots(referred, snapshot::indexes(files, |index| referred.is_some_and(|referred| index < referred)));
    Ok(Recovered { durable: replay.durable, snapshot, wal, repairs, cut })
}

/// The files that are segments, by number.
fn segments(files: &BTreeMap<String, Vec<u8>>) -> Segments<'_> {
    files.iter().filter_map(|(file, bytes)| Some((format::segment_sequence(file)?, bytes.as_slice()))).collect()
}

/// Finds where the log begins, folds everything up to the first hole, and judges the hole by the marks beyond it.
pub(crate) fn scan<C: Command>(files: &BTreeMap<String, Vec<u8>>) -> Result<Scan<C>, Corruption> {
    let segments = &segments(files);
    let (first, mut end) = match beginning(segments) {
        Some(found) => found,
        // No log was ever there, and a snapshot comes later than the log.
        None if segments.is_empty() && snapshot::indexes(files, |_| true).next().is_none() => (FIRST_SEGMENT, 0),
        None => return Err(no_beginning(segments)),
    };
    let mut scan = Scan { replay: Replay::new(), first, kept: Vec::new(), hole: None };
    for sequence in first..=u64::MAX {
        let Some(&bytes) = segments.get(&sequence) else {
            if segments.range(sequence..).next().is_some() {
                scan.hole = Some(Hole { sequence, offset: 0, lsn: end, damage: Damage::MissingSegment });
            }
            break;
        };
        scan.hole = scan_segment(&mut scan.replay, &mut scan.kept, sequence, bytes, end)?;
        if scan.hole.is_some() {
            break;
        }
        end += bytes.len() as Lsn;
    }
    if let Some(hole) = &scan.hole {
        scan.replay.mark = scan.replay.mark.max(mark_beyond(segments, hole)?);
        if scan.replay.mark > hole.lsn {
            return Err(corruption(hole.sequence, hole.offset, hole.damage.clone()));
        }
    }
    Ok(scan)
}

/// The segment with which the log begins, and its place: the last that begins with a whole checkpoint, or else the first of all.
fn beginning(segments: &Segments<'_>) -> Option<(u64, Lsn)> {
    let checkpoint = |(&sequence, &bytes): (&u64, &&[u8])| {
        let header = Header::parse(bytes, sequence).ok().filter(|header| header.checkpoint)?;
        Frame::parse(&bytes[HEADER_BYTES..], Some(header.start + HEADER_BYTES as Lsn)).ok()?;
        Some((sequence, header.start))
    };
    segments.iter().rev().find_map(checkpoint).or_else(|| segments.contains_key(&FIRST_SEGMENT).then_some((FIRST_SEGMENT, 0)))
}

/// There are files, but none with which a log begins. No crash does that: the first segment is removed only when a checkpoint is durable.
fn no_beginning(segments: &Segments<'_>) -> Corruption {
    for (&sequence, bytes) in segments {
        match Header::parse(bytes, sequence) {
            Ok(header) if header.checkpoint => {
                let torn = Frame::parse(&bytes[HEADER_BYTES..], Some(header.start + HEADER_BYTES as Lsn));
                return corruption(sequence, HEADER_BYTES, Damage::Frame(torn.err().unwrap_or(Fault::Place)));
            }
            Ok(_) => {}
            Err(HeaderFault::Version(version)) => return corruption(sequence, 0, Damage::Version(version)),
            Err(HeaderFault::Bad(fault)) => return corruption(sequence, 0, Damage::Header(fault)),
        }
    }
    corruption(segments.keys().next().map_or(FIRST_SEGMENT, |first| first - 1), 0, Damage::MissingSegment)
}

/// Folds one segment, which should begin at `end`.
fn scan_segment<C: Command>(
    replay: &mut Replay<C>,
    kept: &mut Vec<Kept>,
    sequence: u64,
    bytes: &[u8],
    end: Lsn,
) -> Result<Option<Hole>, Corruption> {
    let checkpoint = match Header::parse(bytes, sequence) {
        Ok(header) if header.start == end => {
            replay.mark = replay.mark.max(header.mark);
            header.checkpoint
        }
        // The header is intact, so the segment before it was longer, or shorter, once.
        Ok(_) => {
            let (sequence, offset, damage) = match kept.last() {
                Some(before) => (before.sequence, before.len, Damage::Frame(Fault::Short)),
                None => (sequence, 0, Damage::Header(Fault::Place)),
            };
            return Ok(Some(Hole { sequence, offset, lsn: end, damage }));
        }
        Err(HeaderFault::Version(version)) => return Err(corruption(sequence, 0, Damage::Version(version))),
        Err(HeaderFault::Bad(fault)) => return Ok(Some(Hole { sequence, offset: 0, lsn: end, damage: Damage::Header(fault) })),
    };
    let (len, stop) = replay.frames(bytes, end, HEADER_BYTES, checkpoint);
    if checkpoint && len == HEADER_BYTES && !matches!(stop, Some(Stop::Unusable(_))) {
        // Nothing may be appended to it: it would no longer begin with a checkpoint.
        let damage = Damage::Frame(if let Some(Stop::Hole(fault)) = stop { fault } else { Fault::Short });
        return Ok(Some(Hole { sequence, offset: len, lsn: end + len as Lsn, damage }));
    }
    kept.push(Kept { sequence, start: end, len });
    match stop {
        None => Ok(None),
        Some(Stop::Hole(fault)) => Ok(Some(Hole { sequence, offset: len, lsn: end + len as Lsn, damage: Damage::Frame(fault) })),
        Some(Stop::Unusable(damage)) => Err(corruption(sequence, len, damage)),
    }
}

/// The greatest mark in any valid header or frame beyond the hole, at whatever aligned position.
fn mark_beyond(segments: &Segments<'_>, hole: &Hole) -> Result<Lsn, Corruption> {
    let mut mark = 0;
    for (&sequence, &bytes) in segments.range(hole.sequence..) {
        let start = match Header::parse(bytes, sequence) {
            Ok(header) => {
                mark = mark.max(header.mark);
                Some(header.start)
            }
            Err(HeaderFault::Version(version)) => return Err(corruption(sequence, 0, Damage::Version(version))),
            // Without its header a segment's place is not known. A frame that lies elsewhere than it says is then believed: it can only
            // make recovery refuse.
            Err(HeaderFault::Bad(_)) => (sequence == FIRST_SEGMENT).then_some(0),
        };
        // A frame that is not valid may have a wrong length, so every aligned position is tried, even within valid ones.
        let from = if sequence == hole.sequence { hole.offset } else { 0 };
        for offset in (from..bytes.len()).step_by(ALIGN) {
            if let Ok(frame) = Frame::parse(&bytes[offset..], start.map(|start| start.saturating_add(offset as Lsn))) {
                mark = mark.max(frame.mark);
            }
        }
    }
    Ok(mark)
}

fn corruption(sequence: u64, offset: usize, what: Damage) -> Corruption {
    Corruption { file: format::segment_name(sequence), offset: offset as u64, what }
}

/// The operations that make the files what was kept of them, durably, and the number of bytes cut.
fn repairs(segments: &Segments<'_>, kept: &[Kept], hole: Option<&Hole>, mark: Lsn) -> (Vec<FileOp>, u64) {
    let mut ops = Vec::new();
    let mut cut = 0;
    let last = kept.last().map_or(FIRST_SEGMENT, |k| k.sequence);
    // Backwards, so that a crash during repairs leaves no gap between segments.
    for (&sequence, bytes) in segments.range(last + 1..).rev() {
        cut += bytes.len() as u64;
        ops.push(FileOp::Remove { file: format::segment_name(sequence) });
    }
    let removed = !ops.is_empty();
    if kept.is_empty() {
        let file = format::segment_name(FIRST_SEGMENT);
        let found = segments.get(&FIRST_SEGMENT);
        ops.push(match found {
            Some(_) => FileOp::Truncate { file: file.clone(), len: 0 },
            None => FileOp::Create { file: file.clone() },
        });
        cut += found.map_or(0, |bytes| bytes.len() as u64);
        let mut data = Vec::with_capacity(HEADER_BYTES);
        Header { sequence: FIRST_SEGMENT, start: 0, mark: 0, checkpoint: false }.write(&mut data);
        ops.extend([FileOp::Append { file: file.clone(), data }, FileOp::Sync { file }, FileOp::SyncDir]);
        return (ops, cut);
    }
    let mut synced_any = false;
    for segment in kept {
        let file = format::segment_name(segment.sequence);
        let len = segments[&segment.sequence].len();
        // Only the last one kept can be longer than what is kept of it.
        if len > segment.len {
            debug_assert!(hole.is_some());
            cut += (len - segment.len) as u64;
            ops.push(FileOp::Truncate { file: file.clone(), len: segment.len as u64 });
        }
        if len > segment.len || segment.start + segment.len as Lsn > mark {
            synced_any = true;
            ops.push(FileOp::Sync { file });
        }
    }
    if removed || synced_any {
        ops.push(FileOp::SyncDir);
    }
    (ops, cut)
}

/// Adds what removes the snapshot files that nothing refers to: temporary ones, and complete ones whose record never came to be. Without
/// their record they mean nothing, so it does not matter which of them a crash brings back.
fn remove_unfinished(files: &BTreeMap<String, Vec<u8>>, referred: Option<Index>, ops: &mut Vec<FileOp>) {
    let unfinished =
        |file: &String| snapshot::is_temporary(file) || snapshot::snapshot_index(file).is_some_and(|index| Some(index) > referred);
    let before = ops.len();
    ops.extend(files.keys().filter(|&file| unfinished(file)).map(|file| FileOp::Remove { file: file.clone() }));
    if ops.len() > before {
        ops.push(FileOp::SyncDir);
    }
}
