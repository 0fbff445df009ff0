//! What the tests of the log share: a command, a disk without surprises, and a log whose every frame is known.
#![allow(dead_code)] // Each test uses a part.

pub mod disk;

use std::collections::BTreeMap;
use std::sync::Arc;

use curp::{
    Command, ConflictCheck, Durable, Entry, HardState, LogBase, Membership, Payload, Proposal, ProposeId, Record, SnapshotFile,
    SnapshotMeta,
};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use storage::{FileOp, Lsn, Recovered, Wal, recover};

/// A command of any length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Blob(pub Vec<u8>);

impl ConflictCheck for Blob {
    fn conflicts(&self, _: &Self) -> bool {
        true
    }
}

impl Command for Blob {
    type Response = ();
    type Watch = ();
    type WatchResponse = ();

    fn bytes(&self) -> usize {
        0
    }
}

pub type Files = BTreeMap<String, Vec<u8>>;

pub const HEADER_BYTES: usize = 40;

/// Does what is asked, at once.
pub fn perform(files: &mut Files, ops: &[FileOp]) {
    for op in ops {
        match op {
            FileOp::Create { file } => assert!(files.insert(file.clone(), Vec::new()).is_none(), "{file} is there already"),
            FileOp::Append { file, data } => files.get_mut(file).expect("a file that was created").extend_from_slice(data),
            FileOp::Truncate { file, len } => {
                let bytes = files.get_mut(file).expect("a file that was created");
                assert!(*len <= bytes.len() as u64, "truncation never grows a file");
                bytes.truncate(*len as usize);
            }
            FileOp::Rename { from, to } => {
                let bytes = files.remove(from).expect("a file that was created");
                files.insert(to.clone(), bytes);
            }
            FileOp::Remove { file } => assert!(files.remove(file).is_some(), "{file} is not there"),
            FileOp::Sync { file } => assert!(files.contains_key(file), "{file} is not there"),
            FileOp::SyncDir => {}
        }
    }
}

/// A node starting: recovers, and repairs.
pub fn start(files: &mut Files) -> Recovered<Blob> {
    let recovered = recover::<Blob>(files).expect("an intact log");
    perform(files, &recovered.repairs);
    recovered
}

/// A record yet without its place: entries must follow the log.
#[derive(Clone, Debug)]
pub enum Step {
    HardState(HardState),
    /// An entry that overwrites this many at the end of the log.
    Entry {
        back: u64,
        blob: Vec<u8>,
    },
    PoolInsert(u64, Vec<u8>),
    PoolRemove(u64),
}

pub fn step() -> impl Strategy<Value = Step> {
    let blob = || prop_oneof![9 => prop::collection::vec(any::<u8>(), 0..40), 1 => prop::collection::vec(any::<u8>(), 300..500)];
    prop_oneof![
        1 => (0..9u64, prop::option::of(0..5u32), 0..9u64).prop_map(|(term, vote, commit)| Step::HardState(HardState { term, vote, commit })),
        4 => (prop_oneof![6 => Just(0), 1 => 1..4u64], blob()).prop_map(|(back, blob)| Step::Entry { back, blob }),
        2 => (0..8u64, blob()).prop_map(|(seq, blob)| Step::PoolInsert(seq, blob)),
        2 => (0..8u64).prop_map(Step::PoolRemove),
    ]
}

fn proposal(seq: u64, blob: Vec<u8>) -> Arc<Proposal<Blob>> {
    Arc::new(Proposal { id: ProposeId { client: 1, seq }, first_incomplete: 1, command: Arc::new(Blob(blob)) })
}

/// The record, and `durable` with it.
pub fn place(step: Step, durable: &mut Durable<Blob>) -> Record<Blob> {
    let record = match step {
        Step::HardState(hard_state) => Record::HardState(hard_state),
        Step::Entry { back, blob } => {
            let kept = durable.snapshot.as_ref().map_or(0, |meta| meta.index);
            let index = (durable.last().1 + 1).saturating_sub(back).max(kept + 1);
            Record::Entry(Arc::new(Entry { term: 1, index, payload: Payload::Command(proposal(index, blob)) }))
        }
        Step::PoolInsert(seq, blob) => Record::PoolInsert(proposal(seq, blob)),
        Step::PoolRemove(seq) => Record::PoolRemove(ProposeId { client: 1, seq }),
    };
    durable.apply(record.clone()).expect("indexes are chosen to follow the log");
    record
}

/// A snapshot of the log's last entry but `behind`, at least the base; `None` if there is none newer than the last snapshot.
pub fn snapshot_of(durable: &Durable<Blob>, behind: u64, data: Vec<u8>) -> Option<SnapshotFile> {
    let index = durable.last().1.saturating_sub(behind).max(durable.base.index);
    if index <= durable.snapshot.as_ref().map_or(0, |meta| meta.index) {
        return None;
    }
    let meta = SnapshotMeta { index, term: durable.term(index)?, membership: Membership::initial([1, 2, 3]) };
    Some(SnapshotFile { meta, data: Arc::new(data) })
}

/// Everything that is still true when the log keeps `trailing` entries before the snapshot, as the records of a checkpoint.
pub fn checkpoint_records(durable: &Durable<Blob>, trailing: u64) -> Vec<Record<Blob>> {
    let snapshot = durable.snapshot.clone();
    let index = snapshot.as_ref().map_or(0, |meta| meta.index.saturating_sub(trailing)).max(durable.base.index);
    let base = LogBase { index, term: durable.term(index).expect("the log has it") };
    let mut records = vec![Record::Checkpoint(base), Record::HardState(durable.hard_state)];
    // After the entries: before them it would read as one that was installed, and replace them.
    records.extend(durable.log.iter().filter(|e| e.index > index).cloned().map(Record::Entry));
    records.extend(snapshot.map(Record::Snapshot));
    records.extend(durable.pool.iter().cloned().map(Record::PoolInsert));
    records
}

/// One batch to write: records, whether to sync, and how many later batches are written before it is known to be synced.
#[derive(Clone, Debug)]
pub struct Batch {
    pub steps: Vec<Step>,
    pub sync: bool,
    pub delay: usize,
}

pub fn batches(n: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Vec<Batch>> {
    let batch = (prop::collection::vec(step(), 1..4), any::<bool>(), 0..4usize);
    prop::collection::vec(batch.prop_map(|(steps, sync, delay)| Batch { steps, sync, delay }), n)
}

/// A header or a frame of a written log.
#[derive(Clone, Debug)]
pub struct Piece {
    pub file: String,
    pub offset: usize,
    pub len: usize,
    pub lsn: Lsn,
    pub mark: Lsn,
    /// What the log up to this piece, and without it, folds to.
    pub before: Durable<Blob>,
}

impl Piece {
    pub fn is_header(&self) -> bool {
        self.offset == 0
    }
}

/// A log, and where each of its pieces lies.
#[derive(Clone, Debug)]
pub struct Written {
    pub files: Files,
    pub pieces: Vec<Piece>,
    pub durable: Durable<Blob>,
    pub wal: Wal,
}

pub fn write(batches: Vec<Batch>, segment_bytes_max: u64) -> Written {
    let mut files = Files::new();
    let recovered = start(&mut files);
    let mut wal = recovered.wal.with_segment_bytes_max(segment_bytes_max);
    let mut durable = recovered.durable;
    let header = Piece { file: storage::segment_name(1), offset: 0, len: HEADER_BYTES, lsn: 0, mark: 0, before: durable.clone() };
    let mut pieces = vec![header];
    let mut syncing: Vec<(usize, Lsn)> = Vec::new();
    for (i, batch) in batches.into_iter().enumerate() {
        // In order, as a disk's queue is: a sync is known to have returned only when those before it are.
        while syncing.first().is_some_and(|&(due, _)| due <= i) {
            wal.synced(syncing.remove(0).1);
        }
        let (before, mark, mut lsn) = (durable.clone(), wal.synced_up_to(), wal.end());
        let records: Vec<_> = batch.steps.into_iter().map(|step| place(step, &mut durable)).collect();
        let appended = wal.append(&records, batch.sync);
        for op in &appended.ops {
            let FileOp::Append { file, data } = op else { continue };
            let offset = files.get(file).map_or(0, Vec::len);
            let mut piece = |offset: usize, len: usize| {
                pieces.push(Piece { file: file.clone(), offset, len, lsn, mark, before: before.clone() });
                lsn += len as Lsn;
            };
            if offset == 0 {
                piece(0, HEADER_BYTES);
                piece(HEADER_BYTES, data.len() - HEADER_BYTES);
            } else {
                piece(offset, data.len());
            }
        }
        assert_eq!(appended.end, wal.end());
        perform(&mut files, &appended.ops);
        if batch.sync {
            syncing.push((i + batch.delay, appended.end));
        }
    }
    Written { files, pieces, durable, wal }
}

/// What recovery must make of a written log in which the pieces with these numbers are no longer valid: the state and the number of bytes
/// kept, or file and offset of the corruption.
pub fn expected(written: &Written, destroyed: &[usize]) -> Result<(Durable<Blob>, Lsn), (String, u64)> {
    let Some(&first) = destroyed.iter().min() else { return Ok((written.durable.clone(), written.wal.end())) };
    let hole = &written.pieces[first];
    let mark = written.pieces.iter().enumerate().filter(|(i, _)| !destroyed.contains(i)).map(|(_, p)| p.mark).max().unwrap_or(0);
    if mark > hole.lsn { Err((hole.file.clone(), hole.offset as u64)) } else { Ok((hole.before.clone(), hole.lsn)) }
}
