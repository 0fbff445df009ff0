use super::*;
use proptest::prelude::*;

fn disk(seed: u64) -> Disk {
    Disk::new(Draws::new(seed), 1, &DiskParams::default())
}

fn append(file: &str, data: &[u8]) -> FileOp {
    FileOp::Append { file: file.to_owned(), data: data.to_vec() }
}

fn create(file: &str) -> FileOp {
    FileOp::Create { file: file.to_owned() }
}

fn sync(file: &str) -> FileOp {
    FileOp::Sync { file: file.to_owned() }
}

fn content(file: &str, offset: u64, data: &[u8]) -> DurableChange {
    DurableChange::Content { file: file.to_owned(), offset, data: data.to_vec() }
}

/// A disk with a durable file `a` that holds `0123`.
fn with_file(seed: u64) -> Disk {
    let mut disk = disk(seed);
    disk.submit(0, vec![create("a"), append("a", b"0123"), sync("a"), FileOp::SyncDir], 1);
    assert_eq!(disk.complete(1), Completion::Done(vec![content("a", 0, b"0123")]));
    disk
}

/// Applies changes to a copy of the durable state, as a checker does.
fn follow(mirror: &mut BTreeMap<String, Vec<u8>>, changes: &[DurableChange]) {
    for change in changes {
        match change {
            DurableChange::Content { file, offset, data } => {
                let contents = mirror.entry(file.clone()).or_default();
                assert!(*offset as usize <= contents.len(), "a change begins within the file: {change:?}");
                contents.truncate(*offset as usize);
                contents.extend_from_slice(data);
            }
            DurableChange::Removed { file } => {
                assert!(mirror.remove(file).is_some(), "only what is there is removed: {change:?}");
            }
        }
    }
}

#[test]
fn a_wiped_disk_is_an_empty_one() {
    let mut disk = with_file(1);
    disk.submit(0, vec![append("a", b"45")], 2);
    disk.crash(1, true);
    disk.wipe();
    assert!(disk.read_all().is_empty() && disk.durable().is_empty() && disk.in_flight() == 0);
    disk.submit(2, vec![create("a"), append("a", b"9"), sync("a"), FileOp::SyncDir], 3);
    assert_eq!(disk.complete(3), Completion::Done(vec![content("a", 0, b"9")]));
}

#[test]
fn a_sync_covers_what_was_submitted_before_it() {
    let mut disk = with_file(1);
    let first = disk.submit(10, vec![append("a", b"45")], 2);
    let second = disk.submit(10, vec![append("a", b"67"), sync("a"), append("a", b"8")], 3);
    assert!(10 < first && first < second);
    assert_eq!(disk.in_flight(), 2);
    assert_eq!(disk.complete(2), Completion::Done(vec![]));
    assert_eq!(disk.complete(3), Completion::Done(vec![content("a", 4, b"4567")]));
    assert_eq!(disk.read_all()["a"], b"012345678");
    assert_eq!(disk.durable()["a"], b"01234567");
}

#[test]
fn names_are_durable_with_the_directory_only() {
    let mut disk = disk(1);
    disk.submit(0, vec![create("b"), append("b", b"x"), sync("b")], 1);
    assert_eq!(disk.complete(1), Completion::Done(vec![]));
    assert!(disk.durable().is_empty() && disk.read_all().contains_key("b"));
    disk.submit(1, vec![FileOp::Rename { from: "b".into(), to: "c".into() }, FileOp::SyncDir], 2);
    assert_eq!(disk.complete(2), Completion::Done(vec![content("c", 0, b"x")]));
    disk.submit(2, vec![FileOp::Rename { from: "c".into(), to: "d".into() }, FileOp::SyncDir], 3);
    assert_eq!(disk.complete(3), Completion::Done(vec![DurableChange::Removed { file: "c".into() }, content("d", 0, b"x")]));
    disk.submit(3, vec![FileOp::Remove { file: "d".into() }, FileOp::SyncDir], 4);
    assert_eq!(disk.complete(4), Completion::Done(vec![DurableChange::Removed { file: "d".into() }]));
}

#[test]
fn a_truncation_is_durable_with_its_sync() {
    let mut disk = with_file(1);
    disk.submit(0, vec![FileOp::Truncate { file: "a".into(), len: 2 }, append("a", b"zz9"), sync("a")], 2);
    assert_eq!(disk.durable()["a"], b"0123");
    assert_eq!(disk.complete(2), Completion::Done(vec![content("a", 2, b"zz9")]));
}

#[test]
fn a_killed_process_leaves_its_cache() {
    let mut disk = with_file(1);
    disk.submit(0, vec![append("a", b"45"), sync("a")], 2);
    let report = disk.crash(1, false);
    assert_eq!(report, CrashReport { in_flight: 1, ..CrashReport::default() });
    assert_eq!((disk.read_all()["a"].as_slice(), disk.durable()["a"].as_slice()), (&b"012345"[..], &b"0123"[..]));
    disk.submit(2, vec![append("a", b"6"), sync("a")], 3);
    assert_eq!(disk.complete(3), Completion::Done(vec![content("a", 4, b"456")]));
    assert_eq!(disk.effects().crashes_in_flight, 1);
}

#[test]
fn a_power_loss_has_every_outcome() {
    let (mut lost, mut kept, mut torn, mut hole, mut nameless) = (0, 0, 0, 0, 0);
    for seed in 0..500 {
        let mut disk = with_file(seed);
        disk.submit(0, vec![append("a", b"4567"), create("b"), append("b", b"new")], 2);
        disk.submit(0, vec![append("a", b"89abcdef"), sync("a")], 3);
        let report = disk.crash(1, true);
        let a = disk.read_all()["a"].clone();
        assert_eq!(report.in_flight, 2);
        assert!(a.starts_with(b"0123"), "durable bytes stay");
        assert_eq!(disk.read_all(), disk.durable());
        lost += u32::from(a == b"0123");
        kept += u32::from(a == b"0123456789abcdef");
        torn += report.torn;
        hole += u32::from(report.holes > 0 && a[4..8] == [0; 4]);
        nameless += u32::from(!disk.read_all().contains_key("b"));
    }
    assert!([lost, kept, torn, hole, nameless].iter().all(|&count| count > 20), "{lost} {kept} {torn} {hole} {nameless}");
}

#[test]
fn a_failed_sync_makes_nothing_durable_and_neither_does_the_next() {
    let mut disk = with_file(1);
    disk.begin(1, DiskFault::SyncError { chance_ppm: 1_000_000 });
    disk.submit(0, vec![append("a", b"45"), sync("a")], 2);
    assert_eq!(disk.complete(2), Completion::SyncFailed);
    disk.end(1);
    disk.submit(1, vec![sync("a")], 3);
    assert_eq!(disk.complete(3), Completion::Done(vec![]));
    assert_eq!((disk.read_all()["a"].as_slice(), disk.durable()["a"].as_slice()), (&b"012345"[..], &b"0123"[..]));
    disk.submit(2, vec![append("a", b"6"), sync("a")], 4);
    assert_eq!(disk.complete(4), Completion::Done(vec![content("a", 4, b"\0\x006")]));
    assert_eq!(disk.read_all()["a"], b"0123456");
    disk.crash(3, true);
    assert_eq!(disk.read_all()["a"], b"0123\0\x006");
    assert_eq!(disk.effects().sync_errors, 1);
}

#[test]
fn what_a_failed_sync_left_does_not_come_back_over_newer_bytes() {
    let mut disk = with_file(1);
    disk.begin(1, DiskFault::SyncError { chance_ppm: 1_000_000 });
    disk.submit(0, vec![append("a", b"45"), sync("a")], 2);
    assert_eq!(disk.complete(2), Completion::SyncFailed);
    disk.heal();
    disk.submit(1, vec![FileOp::Truncate { file: "a".into(), len: 4 }, append("a", b"xy"), sync("a")], 3);
    assert_eq!(disk.complete(3), Completion::Done(vec![content("a", 4, b"xy")]));
    assert_eq!(disk.read_all()["a"], b"0123xy");
}

#[test]
fn a_slow_disk_is_slower_for_a_while() {
    let (mut plain, mut slow) = (with_file(1), with_file(1));
    slow.begin(5, DiskFault::Slow { factor: 50 });
    let write = || vec![append("a", b"4"), sync("a")];
    let (a, b) = (plain.submit(1 << 30, write(), 2) - (1 << 30), slow.submit(1 << 30, write(), 2) - (1 << 30));
    assert!(b == a * 50 && slow.effects().slowed == 1);
    slow.end(5);
    assert_eq!(plain.submit(1 << 40, write(), 3), slow.submit(1 << 40, write(), 3));
}

#[test]
#[should_panic(expected = "the disk has no file b")]
fn writing_to_a_file_that_is_not_there_is_a_bug_of_the_program() {
    disk(1).submit(0, vec![append("b", b"x")], 1);
}

#[test]
#[should_panic(expected = "batches complete in the order submitted")]
fn completing_out_of_order_is_a_bug_of_the_engine() {
    let mut disk = with_file(1);
    disk.submit(0, vec![append("a", b"4")], 2);
    disk.submit(0, vec![append("a", b"5")], 3);
    disk.complete(3);
}

/// One step of a random program on files a and b.
#[derive(Clone, Debug)]
enum Do {
    Append(bool, u8, bool),
    Truncate(bool, u64),
    Replace,
    Complete,
    Kill,
    Power,
}

fn any_step() -> impl Strategy<Value = Do> {
    prop_oneof![
        6 => (any::<bool>(), 1u8..20, any::<bool>()).prop_map(|(b, len, sync)| Do::Append(b, len, sync)),
        1 => (any::<bool>(), 0u64..30).prop_map(|(b, len)| Do::Truncate(b, len)),
        1 => Just(Do::Replace),
        6 => Just(Do::Complete),
        1 => Just(Do::Kill),
        1 => Just(Do::Power),
    ]
}

proptest! {
    /// The reported changes, followed by a checker, are the durable state at every moment; durable bytes never change but by the
    /// program's own truncations; a reader sees everything submitted until power fails.
    #[test]
    fn a_checker_can_follow_every_change(seed in any::<u64>(), steps in prop::collection::vec(any_step(), 1..60)) {
        let mut disk = disk(seed);
        let mut mirror = BTreeMap::new();
        let (mut submitted, mut completed, mut now) = (0u64, 0u64, 0u64);
        let mut flying = std::collections::VecDeque::new();
        let mut truncated = false;
        let mut last_durable: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for step in [Do::Replace].into_iter().chain(steps) {
            let power_failed = matches!(step, Do::Power);
            let mut ops = Vec::new();
            let name = |b: bool| if b { "b" } else { "a" }.to_owned();
            match step {
                Do::Append(b, len, with_sync) => {
                    let file = name(b);
                    if disk.read_all().contains_key(&file) {
                        ops.push(FileOp::Append { file: file.clone(), data: vec![b'0' + (submitted % 10) as u8; len.into()] });
                        if with_sync {
                            ops.push(FileOp::Sync { file });
                        }
                    }
                }
                Do::Truncate(b, len) => {
                    let file = name(b);
                    if disk.read_all().contains_key(&file) {
                        truncated = true;
                        ops.push(FileOp::Truncate { file, len });
                    }
                }
                // A file is written aside and renamed over the old one.
                Do::Replace => {
                    truncated = true;
                    ops = vec![create("tmp"), append("tmp", b"fresh"), sync("tmp")];
                    ops.push(FileOp::Rename { from: "tmp".into(), to: "a".into() });
                    ops.extend([FileOp::SyncDir, create("b"), FileOp::SyncDir]);
                }
                Do::Complete => {
                    if let Some((token, at)) = flying.pop_front() {
                        prop_assert!(at > completed, "completions have an order");
                        completed = at;
                        now = now.max(at);
                        match disk.complete(token) {
                            Completion::Done(changes) => follow(&mut mirror, &changes),
                            Completion::SyncFailed => prop_assert!(false, "no fault is active"),
                        }
                    }
                }
                Do::Kill | Do::Power => {
                    let before = disk.read_all();
                    let report = disk.crash(now, power_failed);
                    prop_assert_eq!(report.in_flight as usize, flying.len());
                    flying.clear();
                    completed = now.min(completed);
                    follow(&mut mirror, &report.changes);
                    if power_failed {
                        prop_assert_eq!(disk.read_all(), disk.durable());
                    } else {
                        prop_assert_eq!(disk.read_all(), before);
                    }
                }
            }
            if !ops.is_empty() {
                submitted += 1;
                let at = disk.submit(now, ops, submitted);
                prop_assert!(at > now);
                flying.push_back((submitted, at));
            }
            prop_assert_eq!(&mirror, &disk.durable());
            if !truncated {
                for (file, bytes) in &last_durable {
                    prop_assert!(mirror[file].starts_with(bytes), "no durable byte is ever lost");
                }
            }
            last_durable = mirror.clone();
            // A truncation may wait in the cache for long; only a power loss leaves nothing waiting.
            truncated &= !power_failed;
        }
    }

    /// After a power loss each write stands whole, as zeros, or (the last one) torn.
    #[test]
    fn what_survives_is_a_legal_outcome(seed in any::<u64>(), sizes in prop::collection::vec(1usize..12, 1..8)) {
        let mut disk = with_file(seed);
        for (i, size) in sizes.iter().enumerate() {
            disk.submit(0, vec![append("a", &vec![b'a' + i as u8; *size])], 10 + i as u64);
        }
        let report = disk.crash(1, true);
        let contents = disk.read_all()["a"].clone();
        prop_assert!(contents.starts_with(b"0123"));
        let mut at = 4;
        let mut missing = 0;
        for (i, size) in sizes.iter().enumerate() {
            let end = (at + size).min(contents.len());
            let part = &contents[at.min(end)..end];
            let whole = part.len() == *size && part.iter().all(|b| *b == b'a' + i as u8);
            let zeros = part.len() == *size && part.iter().all(|b| *b == 0);
            let last = at + size >= contents.len();
            prop_assert!(whole || zeros || last, "{:?}", contents);
            missing += if whole { 0 } else { *size as u64 };
            at += size;
        }
        prop_assert!(report.lost_bytes <= missing);
        prop_assert!((report.lost_bytes == 0) == (missing == 0));
    }
}
