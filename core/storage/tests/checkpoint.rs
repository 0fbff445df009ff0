//! Checkpoints, the removal of what they replace, and snapshots: power fails, or the process is killed, at every moment of them, and of the
//! repairs after that; every byte is damaged, and every file cut.

mod common;

use common::disk::Disk;
use common::*;
use curp::{Durable, HardState, Record, SnapshotFile};
use storage::{Corruption, Damage, Fault, FileOp, Lsn, Reader, Wal, recover, segment_name, snapshot_name};

/// What a node can find: the fold of the records, and the snapshot that they refer to.
type State = (Durable<Blob>, Option<SnapshotFile>);

fn found(files: &Files) -> Result<State, Corruption> {
    recover::<Blob>(files).map(|recovered| (recovered.durable, recovered.snapshot))
}

/// A node's life, told batch by batch to whoever wants to see what a crash would leave then.
struct Story<'a> {
    disk: Disk,
    wal: Wal,
    /// How many batches may be in flight.
    depth: usize,
    in_flight: Vec<(Lsn, bool, usize)>,
    /// What was true after each batch that changed it, and where the log ended.
    states: Vec<(State, Lsn)>,
    /// The last of them that is sure to be durable.
    sure: usize,
    /// The mark of the last frame that is durable.
    marks: Vec<(Lsn, Lsn)>,
    see: Option<&'a mut dyn FnMut(&Story<'_>)>,
}

impl Story<'_> {
    fn durable(&self) -> Durable<Blob> {
        self.states.last().expect("at least one").0.0.clone()
    }

    fn make_room(&mut self) {
        if self.in_flight.len() == self.depth {
            self.complete();
        }
    }

    fn submit(&mut self, ops: &[FileOp], sync: bool) {
        self.disk.submit(ops);
        self.in_flight.push((self.wal.end(), sync, self.states.len() - 1));
        self.show();
    }

    fn complete(&mut self) {
        self.disk.complete();
        let (end, sync, state) = self.in_flight.remove(0);
        if sync {
            self.wal.synced(end);
            self.sure = state;
        }
        self.show();
    }

    fn show(&mut self) {
        let see = self.see.take().expect("it is put back");
        see(self);
        self.see = Some(see);
    }

    fn settle(&mut self) {
        while !self.in_flight.is_empty() {
            self.complete();
        }
    }

    fn records(&mut self, records: &[Record<Blob>], snapshot: Option<SnapshotFile>, sync: bool) {
        self.make_room();
        let mark = self.wal.synced_up_to();
        let checkpoint = matches!(records.first(), Some(Record::Checkpoint(_)));
        let appended = if checkpoint { self.wal.checkpoint(records) } else { self.wal.append(records, sync) };
        let mut state = self.states.last().expect("at least one").0.clone();
        records.iter().for_each(|record| state.0.apply(record.clone()).expect("no gap"));
        state.1 = snapshot.or(state.1);
        self.states.push((state, appended.end));
        self.marks.push((appended.end, mark));
        self.submit(&appended.ops, sync);
    }

    fn entries(&mut self, n: usize, bytes: usize, sync: bool) {
        let mut durable = self.durable();
        let records: Vec<_> = (0..n).map(|i| place(Step::Entry { back: 0, blob: vec![i as u8; bytes] }, &mut durable)).collect();
        self.records(&records, None, sync);
    }

    fn snapshot(&mut self, behind: u64, bytes: usize) {
        let file = snapshot_of(&self.durable(), behind, vec![3; bytes]).expect("there are new entries");
        self.make_room();
        let ops = self.wal.save_snapshot(&file);
        self.submit(&ops, false);
        self.settle();
        self.records(&[Record::Snapshot(file.meta.clone())], Some(file), true);
    }

    fn checkpoint(&mut self, trailing: u64) {
        let records = checkpoint_records(&self.durable(), trailing);
        self.records(&records, None, true);
    }

    /// One removal, if there is one to be done now.
    fn obsolete(&mut self) -> bool {
        self.make_room();
        let mark = self.wal.synced_up_to();
        let Some(appended) = self.wal.obsolete::<Blob>() else { return false };
        self.marks.push((appended.end, mark));
        self.submit(&appended.ops, true);
        true
    }

    /// The states that a crash may leave.
    fn possible(&self) -> Vec<&State> {
        self.states[self.sure..].iter().map(|(state, _)| state).collect()
    }
}

/// Two snapshots, two checkpoints, and all that goes with them, with so many batches in flight.
fn tell(depth: usize, see: &mut dyn FnMut(&Story<'_>)) {
    let mut files = Files::new();
    let recovered = start(&mut files);
    let wal = recovered.wal.with_segment_bytes_max(250);
    let states = vec![((recovered.durable, None), wal.end())];
    let disk = Disk::holding(&files);
    let mut story = Story { disk, wal, depth, in_flight: Vec::new(), states, sure: 0, marks: Vec::new(), see: Some(see) };
    for i in 0..4 {
        story.entries(2, 60, i != 2);
    }
    story.records(&[Record::HardState(HardState { term: 1, vote: Some(2), commit: 6 })], None, true);
    story.snapshot(2, 40);
    story.entries(1, 10, false);
    story.checkpoint(1);
    // With batches in flight the first removal waits for the checkpoint, and each for the one before.
    while story.obsolete() || !story.in_flight.is_empty() {
        story.obsolete();
        if !story.in_flight.is_empty() {
            story.complete();
        }
    }
    story.entries(1, 10, true);
    story.entries(2, 60, true);
    story.snapshot(0, 20);
    story.checkpoint(0);
    story.checkpoint(0);
    story.settle();
    assert!(story.obsolete(), "the first segment of the old log");
    story.entries(1, 5, true);
    story.settle();
    while story.obsolete() {
        story.settle();
    }
    story.entries(1, 5, false);
    story.entries(1, 5, true);
    story.settle();
    let files = story.disk.read();
    let snapshots = files.keys().filter(|file| file.starts_with("snapshot")).count();
    assert!(files.len() <= 3 && snapshots == 1, "what is obsolete is gone: {:?}", files.keys());
}

/// The repairs, then the removal of what is obsolete: power fails at every moment of it, and `left` says what may be found while repairing, and
/// what must be found once that is done.
fn start_again(mut disk: Disk, repairing: &[&State], repaired: &State) {
    let recovered = recover::<Blob>(&disk.read()).expect("found before");
    disk.submit(&recovered.repairs);
    disk.power_fails(|files| {
        let state = found(files).unwrap_or_else(|e| panic!("while repairing: {e}"));
        assert!(repairing.contains(&&state), "while repairing");
    });
    disk.complete();
    let mut wal = recovered.wal;
    while let Some(appended) = wal.obsolete::<Blob>() {
        disk.submit(&appended.ops);
        disk.power_fails(|files| assert_eq!(found(files).as_ref(), Ok(repaired), "while removing"));
        disk.complete();
        wal.synced(appended.end);
    }
    let files = disk.durable();
    assert_eq!(files, disk.read(), "all is durable");
    assert_eq!(found(&files).as_ref(), Ok(repaired));
    let count = |prefix: &str| files.keys().filter(|file| file.starts_with(prefix)).count();
    assert_eq!(count("snapshot"), usize::from(repaired.1.is_some()), "{:?}", files.keys());
    let again = recover::<Blob>(&files).expect("just found");
    assert_eq!(again.cut, 0);
    assert_eq!({ again.wal }.obsolete::<Blob>(), None, "nothing is left to remove");
}

/// Power fails at any moment: some state that was true is found, and none before what was sure to be durable. While that is repaired it fails again.
#[test]
fn power_failures() {
    for depth in 1..=2 {
        let (mut seen, mut moments) = (0, 0);
        tell(depth, &mut |story| {
            moments += 1;
            let possible = story.possible();
            story.disk.power_fails(|files| {
                seen += 1;
                let state = found(files).unwrap_or_else(|e| panic!("{e} in {:?}", files.keys()));
                assert!(possible.contains(&&state), "found a state that is not one of {}", possible.len());
                if seen % 7 == 0 {
                    start_again(Disk::holding(files), &[&state], &state);
                }
            });
        });
        assert!(moments > 40 && seen > 400, "{moments} moments, {seen} states of the disk");
    }
}

/// The process is killed: all it wrote is found, much of it only in the page cache, when power fails while that is repaired.
#[test]
fn kills() {
    for depth in 1..=2 {
        tell(depth, &mut |story| {
            let mut disk = story.disk.clone();
            disk.kill();
            let last = &story.states.last().expect("at least one").0;
            assert_eq!(found(&disk.read()).as_ref(), Ok(last));
            start_again(disk, &story.possible(), last);
        });
    }
}

/// Every byte that is there is damaged in turn, at every moment and in every state a removal leaves: what was told by a mark to be durable is found,
/// or the damage is.
#[test]
fn every_damaged_byte() {
    let mut damage = |story: &Story<'_>| {
        let synced = story.wal.synced_up_to();
        let mark = story.marks.iter().filter(|(end, _)| *end <= synced).map(|(_, mark)| *mark).max().unwrap_or(0);
        let from = story.states.iter().rposition(|(_, end)| *end <= mark).unwrap_or(0);
        let possible: Vec<_> = story.states[from..].iter().map(|(state, _)| state).collect();
        let mut seen = std::collections::BTreeSet::new();
        story.disk.power_fails(|files| {
            // Contents apart, which `power_failures` is about.
            if !seen.insert(files.keys().cloned().collect::<Vec<_>>()) {
                return;
            }
            let intact = found(files).expect("a crash is no corruption");
            let snapshot = intact.1.as_ref().map(|file| snapshot_name(file.meta.index));
            for (file, bytes) in files {
                for at in 0..bytes.len() {
                    let mut files = files.clone();
                    files.get_mut(file).expect("it is there")[at] ^= 0x41;
                    match found(&files) {
                        Ok(state) => assert!(possible.contains(&&state) && Some(file) != snapshot.as_ref(), "byte {at} of {file}"),
                        Err(e) => assert_eq!(&e.file, file, "byte {at}: {e}"),
                    }
                }
            }
        });
    };
    tell(1, &mut damage);
    tell(2, &mut damage);
}

/// Every file is cut at every byte, at every moment, and lost: a state that was true once is found, or the damage is.
#[test]
fn every_cut() {
    tell(1, &mut |story| {
        let files = story.disk.durable();
        let snapshot = story.states[story.sure].0.1.as_ref().map(|file| snapshot_name(file.meta.index));
        for (file, bytes) in &files {
            for len in 0..=bytes.len() {
                let mut files = files.clone();
                // The name too is lost where nothing is left.
                match len.checked_sub(1) {
                    Some(len) => files.get_mut(file).expect("it is there").truncate(len),
                    None => drop(files.remove(file)),
                }
                if let Ok(state) = found(&files) {
                    assert!(story.states.iter().any(|(was, _)| *was == state), "{file} cut to {len}");
                    assert_ne!(Some(file), snapshot.as_ref());
                }
            }
        }
    });
}

/// The reader follows what is durable, and whatever a crash then leaves.
#[test]
fn the_reader_says_the_same() {
    let of_reader = |reader: &Reader<Blob>| -> Result<State, Corruption> {
        let snapshot = reader.snapshot().map_err(Clone::clone)?.cloned();
        Ok((reader.durable().map_err(Clone::clone)?.clone(), snapshot))
    };
    let follow = |reader: &mut Reader<Blob>, files: &Files| {
        let gone: Vec<_> = reader.files().keys().filter(|file| !files.contains_key(*file)).cloned().collect();
        gone.iter().for_each(|file| reader.remove(file));
        for (file, bytes) in files {
            let held = reader.files().get(file).map_or(&[][..], |held| held);
            let same = held.iter().zip(bytes).take_while(|(a, b)| a == b).count();
            if !reader.files().contains_key(file) || same < held.len().max(bytes.len()) {
                reader.change(file, same as u64, &bytes[same..]);
            }
        }
    };
    let mut reader = Reader::new();
    tell(1, &mut |story| {
        follow(&mut reader, &story.disk.durable());
        assert_eq!(of_reader(&reader), found(&story.disk.durable()));
        let mut n = 0;
        let mut crashed = Reader::new();
        story.disk.power_fails(|files| {
            n += 1;
            if n % 7 == 0 {
                follow(&mut crashed, files);
                assert_eq!(of_reader(&crashed), found(files));
            }
        });
    });
}

/// A log in which a checkpoint has replaced two segments, all of it known to be synced.
fn replaced() -> (Files, Wal, State) {
    let mut last = None;
    let mut n = 0;
    tell(1, &mut |story| {
        n += usize::from(story.in_flight.is_empty() && story.wal.end() == story.wal.synced_up_to());
        last = Some((story.disk.durable(), story.wal.clone(), story.states[story.sure].0.clone()));
    });
    assert!(n > 10);
    last.expect("a story")
}

/// Where the beginning of a log is damaged, and nothing before it is there any more, file and offset are named.
#[test]
fn a_log_without_a_beginning() {
    let (files, _, state) = replaced();
    let (file, _) = files.iter().find(|(file, _)| file.starts_with("wal-")).expect("a segment");
    let damaged = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut files = files.clone();
        change(files.get_mut(file).expect("it is there"));
        found(&files).map(|_| ())
    };
    let corruption = |offset, what| Err(Corruption { file: file.clone(), offset, what });
    assert_eq!(damaged(&|bytes| bytes[20] ^= 1), corruption(0, Damage::Header(Fault::Checksum)));
    assert_eq!(damaged(&|bytes| bytes[90] ^= 1), corruption(40, Damage::Frame(Fault::Checksum)));
    assert_eq!(damaged(&|bytes| bytes.truncate(90)), corruption(40, Damage::Frame(Fault::Short)));
    let snapshot = snapshot_name(state.1.as_ref().expect("there is one").meta.index);
    let without = |name: &str| {
        let mut files = files.clone();
        files.remove(name).expect("it is there");
        found(&files).map(|_| ())
    };
    assert_eq!(without(&snapshot), Err(Corruption { file: snapshot.clone(), offset: 0, what: Damage::MissingSnapshot }));
    assert_eq!(without(file), Err(Corruption { file: file.clone(), offset: 0, what: Damage::MissingSegment }));
    // A snapshot without any log is no fresh node.
    let alone = files.iter().filter(|(file, _)| **file == snapshot).map(|(file, bytes)| (file.clone(), bytes.clone())).collect();
    let lost = Corruption { file: segment_name(1), offset: 0, what: Damage::MissingSegment };
    assert_eq!(found(&alone).map(|_| ()), Err(lost));
}

/// Other snapshots than the one referred to, and what was left of a save.
#[test]
fn unfinished_snapshots_go() {
    let (mut files, _, state) = replaced();
    for name in [snapshot_name(1), snapshot_name(99), snapshot_name(99) + ".tmp", "snapshot-1.snap".to_owned()] {
        files.insert(name, b"whatever".to_vec());
    }
    let recovered = recover::<Blob>(&files).expect("nobody looks into them");
    assert_eq!((&recovered.durable, &recovered.snapshot), (&state.0, &state.1));
    perform(&mut files, &recovered.repairs);
    assert!(files.contains_key(&snapshot_name(1)), "the record of the newer one may yet be lost");
    assert!(!files.contains_key(&snapshot_name(99)) && !files.contains_key(&(snapshot_name(99) + ".tmp")));
    perform(&mut files, &{ recovered.wal }.obsolete::<Blob>().expect("an older snapshot").ops);
    assert!(!files.contains_key(&snapshot_name(1)));
    assert!(files.contains_key("snapshot-1.snap"), "not one of ours");
}

/// A checkpoint: the old segment is synced, the new name made durable, the frame synced; then the old log's first segment goes alone.
#[test]
fn operations_of_a_checkpoint() {
    let mut files = Files::new();
    let recovered = start(&mut files);
    let mut wal = recovered.wal.with_segment_bytes_max(60);
    for commit in 0..2 {
        let appended = wal.append(&[Record::<Blob>::HardState(HardState { term: 1, vote: None, commit })], true);
        perform(&mut files, &appended.ops);
        wal.synced(appended.end);
    }
    wal = wal.with_segment_bytes_max(1000);
    let checkpoint = wal.checkpoint(&checkpoint_records(&Durable::default(), 0));
    let (old, new) = (segment_name(2), segment_name(3));
    let [sync_old, create, sync_dir, FileOp::Append { file, .. }, sync_new] = &checkpoint.ops[..] else { panic!("{:?}", checkpoint.ops) };
    assert_eq!(
        (sync_old, create, sync_dir),
        (&FileOp::Sync { file: old.clone() }, &FileOp::Create { file: new.clone() }, &FileOp::SyncDir)
    );
    assert_eq!((file, sync_new), (&new, &FileOp::Sync { file: new.clone() }));
    assert_eq!(wal.obsolete::<Blob>(), None, "not before it is durable");
    wal.synced(checkpoint.end);
    for removed in [segment_name(1), old] {
        let obsolete = wal.obsolete::<Blob>().expect("there are old segments");
        let [remove, sync_dir, FileOp::Append { .. }, ..] = &obsolete.ops[..] else { panic!("{:?}", obsolete.ops) };
        assert_eq!((remove, sync_dir), (&FileOp::Remove { file: removed }, &FileOp::SyncDir));
        assert!(obsolete.ops.iter().any(|op| matches!(op, FileOp::Sync { .. })));
        assert_eq!(wal.obsolete::<Blob>(), None, "one after the other");
        wal.synced(obsolete.end);
    }
    assert_eq!(wal.obsolete::<Blob>(), None);
}

/// The records of a checkpoint are read before they are written.
#[test]
#[should_panic(expected = "a checkpoint that says something else")]
fn a_snapshot_before_the_entries_it_covers() {
    let mut files = Files::new();
    let mut wal = start(&mut files).wal;
    let mut durable = Durable::default();
    for _ in 0..3 {
        place(Step::Entry { back: 0, blob: vec![] }, &mut durable);
    }
    let file = snapshot_of(&durable, 0, vec![]).expect("three entries");
    durable.apply(Record::Snapshot(file.meta)).expect("no gap");
    let mut records = checkpoint_records(&durable, 1);
    records.swap(2, 3);
    wal.checkpoint(&records);
}
