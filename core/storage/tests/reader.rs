//! The incremental reader says what recovery from scratch says, after every change.

mod common;

use common::*;
use proptest::prelude::*;
use storage::{Extent, FileOp, Reader, recover, segment_name};

#[derive(Clone, Debug)]
enum Change {
    /// A batch is written and reaches the disk in this many pieces.
    Append(Batch, usize),
    /// A file is cut and goes on with garbage.
    Overwrite(prop::sample::Index, prop::sample::Index, Vec<u8>),
    /// Some bytes are reported again as they are.
    Repeat(prop::sample::Index, prop::sample::Index),
    /// A file is gone.
    Remove(prop::sample::Index),
    /// A snapshot of the log but so many entries is saved, and then recorded.
    Snapshot(u64, Vec<u8>),
    /// The log keeps so many entries before the snapshot.
    Checkpoint(u64),
    /// What is obsolete goes, one write of it.
    Obsolete,
    /// The node starts again.
    Restart,
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        20 => (batches(1..2), 1..4usize).prop_map(|(mut b, pieces)| Change::Append(b.remove(0), pieces)),
        2 => (index(), index(), prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(f, at, data)| Change::Overwrite(f, at, data)),
        2 => (index(), index()).prop_map(|(f, at)| Change::Repeat(f, at)),
        1 => index().prop_map(Change::Remove),
        5 => (0..3u64, prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(behind, data)| Change::Snapshot(behind, data)),
        3 => (0..3u64).prop_map(Change::Checkpoint),
        8 => Just(Change::Obsolete),
        3 => Just(Change::Restart),
    ]
}

/// Performs the operations, telling the reader of each append in `pieces` pieces.
fn perform_reported(files: &mut Files, reader: &mut Reader<Blob>, ops: &[FileOp], pieces: usize) {
    for op in ops {
        let op = std::slice::from_ref(op);
        match &op[0] {
            FileOp::Append { file, data } => {
                let offset = files[file].len();
                perform(files, op);
                for i in 1..=pieces {
                    let (from, to) = (data.len() * (i - 1) / pieces, data.len() * i / pieces);
                    reader.change(file, (offset + from) as u64, &data[from..to]);
                }
            }
            FileOp::Create { file } => {
                perform(files, op);
                reader.change(file, 0, &[]);
            }
            FileOp::Truncate { file, len } => {
                perform(files, op);
                reader.change(file, *len, &[]);
            }
            FileOp::Remove { file } => {
                perform(files, op);
                reader.remove(file);
            }
            FileOp::Rename { from, to } => {
                perform(files, op);
                reader.remove(from);
                reader.change(to, 0, &files[to]);
            }
            FileOp::Sync { .. } | FileOp::SyncDir => {}
        }
    }
}

/// What both say of the same files.
type Answer = Result<(curp::Durable<Blob>, Option<curp::SnapshotFile>), storage::Corruption>;

fn from_scratch(files: &Files) -> Answer {
    recover::<Blob>(files).map(|recovered| (recovered.durable, recovered.snapshot))
}

fn of_reader(reader: &Reader<Blob>) -> Answer {
    let snapshot = reader.snapshot().map_err(Clone::clone)?;
    Ok((reader.durable().map_err(Clone::clone)?.clone(), snapshot.cloned()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn incremental_is_from_scratch(changes in prop::collection::vec(change(), 1..30), limit in prop_oneof![Just(1 << 20), 150..1000u64]) {
        let mut files = Files::new();
        let mut reader = Reader::<Blob>::new();
        let mut wal = None;
        let mut durable = curp::Durable::default();
        // What the writer knows of the log.
        let mut extent = Extent::default();
        for change in std::iter::once(Change::Restart).chain(changes) {
            let (generation, before) = (reader.generation(), of_reader(&reader));
            let pick = |files: &Files, index: prop::sample::Index| files.keys().nth(index.index(files.len().max(1))).cloned();
            match change {
                Change::Append(batch, pieces) => {
                    let Some(wal) = wal.as_mut() else { continue };
                    let wal: &mut storage::Wal = wal;
                    let records: Vec<_> = batch.steps.into_iter().map(|step| place(step, &mut durable)).collect();
                    let appended = wal.append(&records, batch.sync);
                    extent = Extent { end: appended.end, records: extent.records + records.len() as u64, ..extent };
                    perform_reported(&mut files, &mut reader, &appended.ops, pieces);
                    if batch.sync {
                        wal.synced(appended.end);
                    }
                }
                Change::Snapshot(behind, data) => {
                    let (Some(wal), Some(file)) = (wal.as_mut(), snapshot_of(&durable, behind, data)) else { continue };
                    perform_reported(&mut files, &mut reader, &wal.save_snapshot(&file), 2);
                    prop_assert_eq!(of_reader(&reader), before.clone(), "nothing refers to it yet");
                    let record = curp::Record::Snapshot(file.meta.clone());
                    durable.apply(record.clone()).expect("a snapshot leaves no gap");
                    let appended = wal.append(&[record], true);
                    // Of what the log has.
                    extent.end = appended.end;
                    perform_reported(&mut files, &mut reader, &appended.ops, 1);
                    wal.synced(appended.end);
                    prop_assert_eq!(reader.snapshot().ok().flatten(), Some(&file));
                }
                Change::Checkpoint(trailing) => {
                    let Some(wal) = wal.as_mut() else { continue };
                    let records = checkpoint_records(&durable, trailing);
                    records.iter().for_each(|record| durable.apply(record.clone()).expect("no gap"));
                    let begin = wal.end();
                    let appended = wal.checkpoint(&records);
                    perform_reported(&mut files, &mut reader, &appended.ops, 2);
                    wal.synced(appended.end);
                    extent = Extent { begin, end: appended.end, records: 0 };
                }
                Change::Obsolete => {
                    let Some(appended) = wal.as_mut().and_then(|wal| wal.obsolete::<Blob>()) else { continue };
                    perform_reported(&mut files, &mut reader, &appended.ops, 1);
                    prop_assert_eq!(of_reader(&reader), before.clone(), "nothing that is needed goes");
                    wal.as_mut().expect("it asked for this").synced(appended.end);
                    extent.end = appended.end;
                }
                Change::Overwrite(file, at, data) => {
                    let Some(file) = pick(&files, file) else { continue };
                    let bytes = files.get_mut(&file).expect("picked from the files");
                    bytes.truncate(at.index(bytes.len() + 1));
                    reader.change(&file, bytes.len() as u64, &data);
                    bytes.extend_from_slice(&data);
                    wal = None;
                }
                Change::Repeat(file, at) => {
                    let Some(file) = pick(&files, file) else { continue };
                    let at = at.index(files[&file].len() + 1);
                    reader.change(&file, at as u64, &files[&file][at..]);
                    prop_assert_eq!(reader.generation(), generation, "nothing changed");
                }
                Change::Remove(file) => {
                    let Some(file) = pick(&files, file) else { continue };
                    files.remove(&file);
                    reader.remove(&file);
                    wal = None;
                }
                Change::Restart => {
                    if let Ok(recovered) = recover::<Blob>(&files) {
                        perform_reported(&mut files, &mut reader, &recovered.repairs, 1);
                        extent = reader.extent();
                        prop_assert_eq!(extent.end, recovered.wal.end());
                        wal = Some(recovered.wal.with_segment_bytes_max(limit));
                        durable = recovered.durable;
                    }
                }
            }
            prop_assert_eq!(reader.files(), &files);
            prop_assert_eq!(of_reader(&reader), from_scratch(&files));
            if let (Some(_), Ok((found, _))) = (&wal, of_reader(&reader)) {
                prop_assert_eq!(&found, &durable, "an intact log");
                prop_assert_eq!(reader.extent(), extent);
            }
            let after = of_reader(&reader);
            prop_assert!(before == after || reader.generation() > generation, "a change without a new generation");
        }
    }
}

/// An empty directory is a fresh node for the reader too, and a file beyond its end begins with zeros.
#[test]
fn beginnings() {
    let mut reader = Reader::<Blob>::new();
    assert_eq!(reader.durable(), Ok(&curp::Durable::default()));
    reader.change(&segment_name(1), 8, &[1, 2]);
    assert_eq!(reader.files()[&segment_name(1)], [0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
    reader.change(&segment_name(1), 12, &[3]);
    assert_eq!(reader.files()[&segment_name(1)], [0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 3]);
    assert_eq!(reader.durable(), Ok(&curp::Durable::default()));
}
