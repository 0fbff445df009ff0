//! Power fails at every byte of a log's unsynced end, and what is left there is nothing, zeros or garbage; and every byte that was
//! promised is damaged in turn. `recovery` destroys frames and headers as wholes, in any combination; here it is one place, to the byte.

mod common;

use common::*;
use proptest::prelude::*;
use storage::{Corruption, Lsn, recover};

/// What lies on the disk where the last writes did not arrive.
#[derive(Clone, Copy, Debug)]
enum Tail {
    /// The file ends there; later segments were never made.
    Short,
    /// The file ends there, but a later segment's name and bytes arrived.
    ShortWithLater,
    /// The files are as long as they should be, filled with zeros.
    Zeros,
    /// Whatever the disk held there before.
    Garbage(u8),
}

/// The files when everything from `cut` (a position in the whole log) on did not arrive.
fn torn(written: &Written, cut: Lsn, tail: Tail) -> Files {
    let mut files = written.files.clone();
    let mut start = 0;
    let mut cut_here = false;
    for (file, bytes) in &written.files {
        let keep = usize::try_from(cut.saturating_sub(start)).expect("a small log").min(bytes.len());
        let torn = files.get_mut(file).expect("a copy of it");
        match tail {
            Tail::Short if keep == 0 => drop(files.remove(file)),
            Tail::ShortWithLater if cut_here => {}
            Tail::Short | Tail::ShortWithLater => torn.truncate(keep),
            Tail::Zeros => torn[keep..].fill(0),
            Tail::Garbage(seed) => torn[keep..].iter_mut().enumerate().for_each(|(i, b)| *b ^= seed.wrapping_mul(i as u8 | 1) | 1),
        }
        cut_here |= keep < bytes.len();
        start += bytes.len() as Lsn;
    }
    files
}

/// The first header or frame that is not there any more as it was written.
fn first_lost<'a>(written: &'a Written, files: &Files) -> Option<&'a Piece> {
    let bytes = |files: &Files, p: &Piece| files.get(&p.file).and_then(|f| f.get(p.offset..p.offset + p.len)).map(<[u8]>::to_vec);
    written.pieces.iter().find(|p| bytes(files, p) != bytes(&written.files, p))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// Never an error, and exactly the batches before the first that did not arrive whole: all that was synced, and nothing torn.
    #[test]
    fn every_byte_of_the_unsynced_end(batches in batches(1..8), limit in prop_oneof![Just(1 << 20), 100..600u64], seed in any::<u8>()) {
        let written = write(batches, limit);
        let synced = written.wal.synced_up_to();
        for cut in synced..=written.wal.end() {
            for tail in [Tail::Short, Tail::ShortWithLater, Tail::Zeros, Tail::Garbage(seed)] {
                let files = torn(&written, cut, tail);
                let lost = first_lost(&written, &files);
                prop_assert!(lost.is_none_or(|p| p.lsn >= synced), "only what was not synced is torn");
                let expected = lost.map_or(&written.durable, |p| &p.before);
                match recover::<Blob>(&files) {
                    Ok(recovered) => prop_assert_eq!(&recovered.durable, expected, "cut at {} of {}, {:?}", cut, written.wal.end(), tail),
                    Err(e) => prop_assert!(false, "cut at {cut} of {}, {tail:?}: {e}", written.wal.end()),
                }
            }
        }
    }

    /// Every byte before the last mark, damaged, is reported with the file and the offset of the header or frame that it is in.
    #[test]
    fn every_byte_before_the_mark(batches in batches(2..8), limit in prop_oneof![Just(1 << 20), 100..600u64], damage in 1..=255u8) {
        let mut written = write(batches, limit);
        // All of it is synced, and a frame says so.
        written.wal.synced(written.wal.end());
        let mark = written.wal.end();
        let marking = written.wal.mark::<Blob>().expect("the last mark is older");
        perform(&mut written.files, &marking.ops);
        let intact = recover::<Blob>(&written.files).map(|r| r.durable);
        prop_assert_eq!(intact, Ok(written.durable.clone()));
        for piece in written.pieces.iter().filter(|p| p.lsn < mark) {
            for byte in piece.offset..piece.offset + piece.len {
                let mut files = written.files.clone();
                files.get_mut(&piece.file).expect("its file")[byte] ^= damage;
                match recover::<Blob>(&files) {
                    Err(Corruption { file, offset, .. }) => {
                        prop_assert_eq!((&file, offset), (&piece.file, piece.offset as u64), "byte {} of {}", byte, piece.file);
                    }
                    Ok(_) => prop_assert!(false, "byte {byte} of {} is damaged, and nobody noticed", piece.file),
                }
            }
        }
    }

    /// A segment is full at its limit: only one that a single batch fills may be longer, and no segment is empty.
    #[test]
    fn segments_roll(batches in batches(1..40), limit in 100..1500u64) {
        let written = write(batches, limit);
        let names: Vec<_> = (1..=written.files.len() as u64).map(storage::segment_name).collect();
        prop_assert_eq!(written.files.keys().cloned().collect::<Vec<_>>(), names, "numbered without a gap");
        for (file, bytes) in &written.files {
            let frames = written.pieces.iter().filter(|p| p.file == *file && !p.is_header()).count();
            prop_assert!(frames >= 1, "{file} is empty");
            prop_assert!(frames == 1 || bytes.len() as u64 <= limit, "{file}: {} bytes in {frames} frames, limit {limit}", bytes.len());
        }
        for pair in written.files.keys().zip(written.files.keys().skip(1)) {
            let next = written.pieces.iter().find(|p| p.file == *pair.1 && !p.is_header()).expect("no segment is empty");
            prop_assert!((written.files[pair.0].len() + next.len) as u64 > limit, "{} could have held the next frame", pair.0);
        }
    }
}
