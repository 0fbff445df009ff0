//! Recovery from everything a crash can leave, and refusal of everything else.

mod common;

use common::*;
use curp::{HardState, Record};
use proptest::prelude::*;
use storage::{Corruption, Damage, Fault, FileOp, Lsn, recover, segment_name};

fn blob_entry(fill: u8, bytes: usize) -> Batch {
    Batch { steps: vec![Step::Entry { back: 0, blob: vec![fill; bytes] }], sync: true, delay: 0 }
}

/// A dozen batches in four segments; all but the last two known to be synced.
fn small() -> Written {
    let mut batches: Vec<Batch> = (1..=10).map(|i| blob_entry(i, (usize::from(i) * 37) % 90)).collect();
    batches.push(Batch { steps: vec![Step::PoolInsert(3, vec![3; 20]), Step::PoolInsert(4, vec![])], sync: false, delay: 0 });
    batches.push(Batch {
        steps: vec![Step::PoolRemove(3), Step::HardState(HardState { term: 3, vote: Some(1), commit: 2 })],
        sync: false,
        delay: 0,
    });
    let written = write(batches, 400);
    assert!(written.files.len() >= 3, "{} segments", written.files.len());
    written
}

/// Recovers, compares with what is expected, and sees that the node can go on from there.
fn judge(files: &Files, expected: &Result<(curp::Durable<Blob>, Lsn), (String, u64)>, context: &str) {
    match (recover::<Blob>(files), expected) {
        (Ok(recovered), Ok((durable, kept))) => {
            assert_eq!(&recovered.durable, durable, "{context}");
            let total: usize = files.values().map(Vec::len).sum();
            assert!(recovered.cut as usize <= total, "{context}");
            goes_on(files, durable, context);
            if *kept >= HEADER_BYTES as Lsn {
                // A hole at a later segment's header leaves the log at the end of the one before.
                assert_eq!(recovered.wal.end(), *kept, "{context}");
                assert_eq!(recovered.cut, total as u64 - *kept, "{context}");
            }
        }
        (Err(Corruption { file, offset, .. }), Err(expected)) => assert_eq!(&(file, offset), expected, "{context}"),
        (got, expected) => panic!("{context}: got {:?}, expected {expected:?}", got.map(|r| (r.durable, r.cut))),
    }
}

/// A crash after any number of repairs changes nothing; after all of them, the log is whole and can be appended to.
fn goes_on(files: &Files, durable: &curp::Durable<Blob>, context: &str) {
    let repairs = recover::<Blob>(files).expect("recovered before").repairs;
    for done in 0..=repairs.len() {
        let mut files = files.clone();
        perform(&mut files, &repairs[..done]);
        let again = recover::<Blob>(&files).unwrap_or_else(|e| panic!("{context}: after {done} repairs: {e}"));
        assert_eq!(&again.durable, durable, "{context}: after {done} repairs");
        assert!(done < repairs.len() || again.cut == 0, "{context}: {} bytes to cut after the repairs", again.cut);
    }
    let mut files = files.clone();
    let mut wal = start(&mut files).wal.with_segment_bytes_max(300);
    let mut durable = durable.clone();
    for i in 0..3 {
        let record = place(Step::Entry { back: 0, blob: vec![i; 60] }, &mut durable);
        let appended = wal.append(&[record], true);
        perform(&mut files, &appended.ops);
        wal.synced(appended.end);
    }
    assert_eq!(recover::<Blob>(&files).unwrap_or_else(|e| panic!("{context}: going on: {e}")).durable, durable, "{context}");
}

#[test]
fn an_empty_directory_is_a_fresh_node() {
    let mut files = Files::new();
    let recovered = recover::<Blob>(&files).expect("nothing to be corrupt");
    let file = segment_name(1);
    let [create, append, sync, sync_dir] = &recovered.repairs[..] else { panic!("{:?}", recovered.repairs) };
    assert_eq!(create, &FileOp::Create { file: file.clone() });
    assert!(matches!(append, FileOp::Append { file: f, data } if f == &file && data.len() == HEADER_BYTES));
    assert_eq!((sync, sync_dir), (&FileOp::Sync { file }, &FileOp::SyncDir));
    assert_eq!((recovered.cut, recovered.durable), (0, curp::Durable::default()));
    perform(&mut files, &recovered.repairs);
    assert_eq!(recover::<Blob>(&files).expect("just made").durable, curp::Durable::default());
}

#[test]
fn other_files_are_ignored() {
    let mut written = small();
    for name in ["snapshot", "wal-1.log", "wal-0000000000000009.log.tmp"] {
        written.files.insert(name.to_owned(), b"whatever".to_vec());
    }
    assert_eq!(recover::<Blob>(&written.files).expect("an intact log").durable, written.durable);
}

/// A new segment: the old one is synced first, and the new name made durable before anything relies on it.
#[test]
fn rotation_in_crash_safe_order() {
    let mut files = Files::new();
    let mut wal = start(&mut files).wal.with_segment_bytes_max(100);
    let record = |term| [Record::<Blob>::HardState(HardState { term, vote: None, commit: 0 })];
    assert!(matches!(&wal.append(&record(1), false).ops[..], [FileOp::Append { file, .. }] if *file == segment_name(1)));
    let appended = wal.append(&record(2), true);
    let (old, new) = (segment_name(1), segment_name(2));
    let [sync_old, create, sync_dir, FileOp::Append { file, data }, sync_new] = &appended.ops[..] else { panic!("{:?}", appended.ops) };
    assert_eq!((sync_old, create, sync_dir), (&FileOp::Sync { file: old }, &FileOp::Create { file: new.clone() }, &FileOp::SyncDir));
    assert_eq!((file, data.len() % 8, sync_new), (&new, 0, &FileOp::Sync { file: new.clone() }));
}

/// A batch that is larger than a segment gets one of its own.
#[test]
fn large_batches() {
    let written = write((1..=4).map(|i| blob_entry(i, 1000)).collect(), 200);
    assert_eq!(written.files.len(), 4);
    assert_eq!(recover::<Blob>(&written.files).expect("an intact log").durable, written.durable);
}

/// The log after a process kill comes from the page cache: what no mark covers is synced before the node relies on it.
#[test]
fn what_no_mark_covers_is_synced_at_start() {
    let mut written = small();
    let last = written.pieces.last().expect("pieces").file.clone();
    let repairs = recover::<Blob>(&written.files).expect("an intact log").repairs;
    assert_eq!(repairs, [FileOp::Sync { file: last }, FileOp::SyncDir]);
    // A mark that covers everything but itself leaves nothing but itself to sync, and is not written twice.
    written.wal.synced(written.wal.end());
    let mark = written.wal.mark::<Blob>().expect("the last frame's mark is out of date");
    perform(&mut written.files, &mark.ops);
    written.wal.synced(mark.end);
    assert_eq!(written.wal.mark::<Blob>(), None);
    assert_eq!(recover::<Blob>(&written.files).expect("an intact log").durable, written.durable);
    // Now damage to the last batch is no torn write any more.
    let piece = written.pieces.last().expect("pieces");
    written.files.get_mut(&piece.file).expect("its file")[piece.offset + 33] ^= 1;
    let corruption = recover::<Blob>(&written.files).expect_err("a damaged frame before the mark");
    assert_eq!(corruption, Corruption { file: piece.file.clone(), offset: piece.offset as u64, what: Damage::Frame(Fault::Checksum) });
    assert_eq!(corruption.to_string(), format!("{} at offset {}: frame: the checksum does not match", piece.file, piece.offset));
}

/// Power fails at every byte: whatever was whole by then is there.
#[test]
fn every_prefix() {
    let written = small();
    let total = written.wal.end();
    for len in 0..=total {
        let mut files = Files::new();
        let mut rest = len as usize;
        for (file, bytes) in &written.files {
            let kept = rest.min(bytes.len());
            rest -= kept;
            files.insert(file.clone(), bytes[..kept].to_vec());
            if rest == 0 {
                break;
            }
        }
        let expected = match written.pieces.iter().find(|p| p.lsn + p.len as Lsn > len) {
            Some(torn) => Ok((torn.before.clone(), torn.lsn)),
            None => Ok((written.durable.clone(), total)),
        };
        judge(&files, &expected, &format!("the first {len} bytes of {total}"));
    }
}

/// Every single bit flipped: before the mark it is corruption, with file and offset; beyond it, it is cut.
#[test]
fn every_flipped_bit() {
    let written = small();
    let (mut corrupt, mut cut) = (0, 0);
    for (i, piece) in written.pieces.iter().enumerate() {
        let expected = expected(&written, &[i]);
        *if expected.is_err() { &mut corrupt } else { &mut cut } += 1;
        for bit in 0..piece.len * 8 {
            let mut files = written.files.clone();
            files.get_mut(&piece.file).expect("its file")[piece.offset + bit / 8] ^= 1 << (bit % 8);
            let context = format!("bit {bit} of the piece at {} {}", piece.file, piece.offset);
            match recover::<Blob>(&files) {
                Ok(recovered) => assert_eq!(Some(&recovered.durable), expected.as_ref().ok().map(|(d, _)| d), "{context}"),
                Err(e) => assert_eq!(Some(&(e.file, e.offset)), expected.as_ref().err(), "{context}"),
            }
        }
    }
    assert!(corrupt > 5 && cut >= 2, "{corrupt} corrupt and {cut} cut: the log is not what the test is about");
}

/// A whole segment gone, or cut short at a frame's end, while a later one is there.
#[test]
fn missing_segments() {
    let written = small();
    let first = segment_name(1);
    let mut files = written.files.clone();
    files.remove(&first);
    assert_eq!(recover::<Blob>(&files).err(), Some(Corruption { file: first.clone(), offset: 0, what: Damage::MissingSegment }));
    let mut files = written.files.clone();
    files.remove(&segment_name(2));
    assert_eq!(recover::<Blob>(&files).err(), Some(Corruption { file: segment_name(2), offset: 0, what: Damage::MissingSegment }));
    let last = written.pieces.iter().rfind(|p| p.file == first).expect("pieces in the first segment");
    let mut files = written.files.clone();
    files.get_mut(&first).expect("it is there").truncate(last.offset);
    let corruption = Corruption { file: first, offset: last.offset as u64, what: Damage::Frame(Fault::Short) };
    assert_eq!(recover::<Blob>(&files).err(), Some(corruption));
}

/// A valid frame that does not continue the log is corruption, wherever it lies: no crash writes one.
#[test]
fn a_gap_in_the_log_is_corruption() {
    let mut files = Files::new();
    let mut wal = start(&mut files).wal;
    let mut far = curp::Durable::default();
    place(Step::Entry { back: 0, blob: vec![] }, &mut far);
    let second = place(Step::Entry { back: 0, blob: vec![] }, &mut far);
    perform(&mut files, &wal.append(&[second], true).ops);
    let gap = Damage::Gap(curp::LogGap { index: 2, last: 0 });
    assert_eq!(recover::<Blob>(&files).err(), Some(Corruption { file: segment_name(1), offset: 40, what: gap }));
}

/// A client's value that holds a copy of a frame is not taken for one, not even beyond a hole.
#[test]
fn frames_inside_values() {
    let mut files = Files::new();
    let mut wal = start(&mut files).wal;
    let mut durable = curp::Durable::default();
    for i in 0..3 {
        let record = place(Step::Entry { back: 0, blob: vec![i; 10] }, &mut durable);
        let appended = wal.append(&[record], true);
        perform(&mut files, &appended.ops);
        wal.synced(appended.end);
    }
    let before = durable.clone();
    // Every alignment, so that one of the copies is aligned to 8 bytes in the file.
    let copies: Vec<u8> = (0..8).flat_map(|pad| [vec![0; pad], files[&segment_name(1)].clone()].concat()).collect();
    let record = place(Step::Entry { back: 0, blob: copies }, &mut durable);
    let offset = files[&segment_name(1)].len();
    perform(&mut files, &wal.append(&[record], true).ops);
    assert_eq!(recover::<Blob>(&files).expect("an intact log").durable, durable);
    files.get_mut(&segment_name(1)).expect("it is there")[offset] ^= 1;
    assert_eq!(recover::<Blob>(&files).expect("a torn write").durable, before);
}

/// How a piece of the log is destroyed.
#[derive(Clone, Debug)]
enum Destroy {
    Zeros,
    Garbage(u8),
    /// The first bytes arrived, the others did not.
    Torn(prop::sample::Index),
    /// Another piece's bytes lie there.
    Misdirected(prop::sample::Index),
}

fn destroy() -> impl Strategy<Value = Destroy> {
    prop_oneof![
        Just(Destroy::Zeros),
        (1..=255u8).prop_map(Destroy::Garbage),
        any::<prop::sample::Index>().prop_map(Destroy::Torn),
        any::<prop::sample::Index>().prop_map(Destroy::Misdirected)
    ]
}

fn destroy_piece(written: &Written, files: &mut Files, i: usize, how: &Destroy) -> bool {
    let piece = &written.pieces[i];
    let original = written.files[&piece.file][piece.offset..piece.offset + piece.len].to_vec();
    let mut bytes = original.clone();
    match how {
        Destroy::Zeros => bytes.fill(0),
        Destroy::Garbage(seed) => bytes.iter_mut().enumerate().for_each(|(i, b)| *b ^= seed.wrapping_mul(i as u8 | 1) | 1),
        Destroy::Torn(at) => {
            let at = at.index(bytes.len());
            bytes[at..].fill(0);
        }
        Destroy::Misdirected(other) => {
            let other = other.get(&written.pieces);
            let source = &written.files[&other.file][other.offset..other.offset + other.len];
            let len = bytes.len().min(source.len());
            bytes[..len].copy_from_slice(&source[..len]);
        }
    }
    let destroyed = bytes != original;
    files.get_mut(&piece.file).expect("its file")[piece.offset..piece.offset + piece.len].copy_from_slice(&bytes);
    destroyed
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back(batches in batches(0..30), limit in 60..2000u64) {
        let written = write(batches, limit);
        judge(&written.files, &expected(&written, &[]), "intact");
    }

    /// Any set of pieces destroyed, whether synced or not: the marks of those that survive decide.
    #[test]
    fn any_pieces_destroyed(
        batches in batches(1..20),
        limit in prop_oneof![Just(1 << 20), 150..1000u64],
        which in prop::collection::vec((any::<prop::sample::Index>(), destroy()), 1..4),
        late in any::<bool>(),
    ) {
        let written = write(batches, limit);
        let mut files = written.files.clone();
        let mut destroyed = Vec::new();
        for (index, how) in &which {
            // Half the time only among the last few, where unsynced frames are.
            let n = written.pieces.len();
            let i = if late { n - 1 - index.index(n.min(4)) } else { index.index(n) };
            if !destroyed.contains(&i) && destroy_piece(&written, &mut files, i, how) {
                destroyed.push(i);
            }
        }
        // In a segment without its header, frames that were misdirected there count too: their marks are true.
        let headless = destroyed.iter().any(|&i| written.pieces[i].is_header());
        let misdirected = which.iter().any(|(_, how)| matches!(how, Destroy::Misdirected(_)));
        match recover::<Blob>(&files) {
            Err(e) if headless && misdirected => {
                let hole = &written.pieces[*destroyed.iter().min().expect("a header is among them")];
                prop_assert_eq!((e.file, e.offset), (hole.file.clone(), hole.offset as u64));
            }
            _ => judge(&files, &expected(&written, &destroyed), &format!("{destroyed:?} of {} pieces destroyed", written.pieces.len())),
        }
    }

    /// A power loss takes any of the unsynced frames, and the file's length with them, and never gives corruption.
    #[test]
    fn a_crash_is_never_corruption(
        batches in batches(1..20),
        limit in prop_oneof![Just(1 << 20), 150..1000u64],
        lost in prop::collection::vec(prop::option::of(destroy()), 20),
        cut in any::<prop::sample::Index>(),
        remove in any::<bool>(),
    ) {
        let written = write(batches, limit);
        let synced = written.wal.synced_up_to();
        let mut files = written.files.clone();
        let mut first_lost = written.wal.end();
        for (i, piece) in written.pieces.iter().enumerate().filter(|(_, p)| p.lsn >= synced) {
            if let Some(how) = &lost[i % lost.len()] && destroy_piece(&written, &mut files, i, how) {
                first_lost = first_lost.min(piece.lsn);
            }
        }
        // The last segment loses its end, or its name.
        let last = written.pieces.last().expect("a header at least").file.clone();
        let start = written.pieces.iter().find(|p| p.file == last).expect("a header at least").lsn;
        let bytes = files.get_mut(&last).expect("it is there");
        if remove && start >= synced {
            files.remove(&last);
            first_lost = first_lost.min(start);
        } else {
            let from = synced.saturating_sub(start) as usize;
            let len = from + cut.index(bytes.len() - from + 1);
            bytes.truncate(len);
            first_lost = first_lost.min(start + len as Lsn);
        }
        let recovered = recover::<Blob>(&files);
        prop_assert!(recovered.is_ok(), "{:?}", recovered.err());
        let torn = written.pieces.iter().find(|p| p.lsn + p.len as Lsn > first_lost);
        let expected = torn.map_or(&written.durable, |p| &p.before);
        prop_assert_eq!(&recovered.unwrap().durable, expected);
        goes_on(&files, expected, "after a crash");
    }

    /// Arbitrary bytes give an answer.
    #[test]
    fn garbage_is_no_panic(files in prop::collection::btree_map((1..5u64).prop_map(segment_name), prop::collection::vec(any::<u8>(), 0..300), 0..4)) {
        if let Ok(recovered) = recover::<Blob>(&files) {
            prop_assert_eq!(recovered.durable, curp::Durable::default());
        }
    }

    /// Arbitrary changes of a real log give an answer too, also where the checksum is made to fit.
    #[test]
    fn arbitrary_changes_are_no_panic(
        batches in batches(1..10),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..6),
        forge in any::<bool>(),
    ) {
        let mut written = write(batches, 500);
        for (piece, at, byte) in edits {
            let piece = piece.get(&written.pieces);
            let bytes = &mut written.files.get_mut(&piece.file).expect("its file")[piece.offset..piece.offset + piece.len];
            bytes[at.index(piece.len)] = byte;
            if forge {
                let at = if piece.is_header() { 12 } else { 28 };
                let crc = crc32fast::hash(&[&bytes[..at], &bytes[at + 4..]].concat());
                bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
            }
        }
        if let Ok(recovered) = recover::<Blob>(&written.files) {
            perform(&mut written.files, &recovered.repairs);
            prop_assert_eq!(recover::<Blob>(&written.files).map(|r| r.durable), Ok(recovered.durable));
        }
    }
}
