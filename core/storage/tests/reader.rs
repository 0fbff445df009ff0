//! The incremental reader says what recovery from scratch says, after every change.

mod common;

use common::*;
use proptest::prelude::*;
use storage::{FileOp, Reader, recover, segment_name};

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
            _ => perform(files, op),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn incremental_is_from_scratch(changes in prop::collection::vec(change(), 1..30), limit in prop_oneof![Just(1 << 20), 150..1000u64]) {
        let mut files = Files::new();
        let mut reader = Reader::<Blob>::new();
        let mut wal = None;
        let mut durable = curp::Durable::default();
        for change in std::iter::once(Change::Restart).chain(changes) {
            let (generation, before) = (reader.generation(), reader.durable().cloned().map_err(Clone::clone));
            let pick = |files: &Files, index: prop::sample::Index| files.keys().nth(index.index(files.len().max(1))).cloned();
            match change {
                Change::Append(batch, pieces) => {
                    let Some(wal) = wal.as_mut() else { continue };
                    let wal: &mut storage::Wal = wal;
                    let records: Vec<_> = batch.steps.into_iter().map(|step| place(step, &mut durable)).collect();
                    let appended = wal.append(&records, batch.sync);
                    perform_reported(&mut files, &mut reader, &appended.ops, pieces);
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
                        wal = Some(recovered.wal.with_segment_bytes_max(limit));
                        durable = recovered.durable;
                    }
                }
            }
            prop_assert_eq!(reader.files(), &files);
            let scratch = recover::<Blob>(&files).map(|r| r.durable);
            prop_assert_eq!(reader.durable().cloned().map_err(Clone::clone), scratch);
            let after = reader.durable().cloned().map_err(Clone::clone);
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
