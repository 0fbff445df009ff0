//! The state machine's store: both kinds hold the same; power may fail at every call of redb's backend, and damage is seen.

#[path = "common/block.rs"]
mod block;

use std::collections::BTreeMap;

use block::{File, chance};
use proptest::prelude::*;
use storage::{Batch, MemoryStore, RedbStore, RowChange, StateError, StateStore};

const FILE: &str = "state.redb";

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

fn load(store: &dyn StateStore) -> Result<(Option<Vec<u8>>, Rows), StateError> {
    let mut rows = Rows::new();
    let mark = store.load(&mut |key, value| {
        rows.insert(key.to_vec(), value.to_vec());
        Ok(())
    })?;
    Ok((mark, rows))
}

fn open(file: &File) -> Result<RedbStore, StateError> {
    RedbStore::open(file.clone(), FILE)
}

/// Batch number `n` of a history: every batch touches rows of those before it.
fn batch(n: u64) -> Batch {
    let key = |i: u64| format!("row {:03}", i % 40).into_bytes();
    let put = |i: u64| RowChange::Put { key: key(i), value: vec![n as u8; 20 + (i as usize * 37) % 300] };
    let mut rows: Vec<RowChange> = (n * 3..n * 3 + 6).map(put).collect();
    rows.push(RowChange::Remove { key: key(n * 7) });
    if n % 5 == 4 {
        rows.push(RowChange::RemoveRange { from: key(n), to: key(n + 9) });
    }
    Batch { rows, mark: n.to_be_bytes().to_vec() }
}

/// What a store holds after so many batches.
fn after(batches: u64) -> (Option<Vec<u8>>, Rows) {
    let mut memory = MemoryStore::new();
    (1..=batches).for_each(|n| memory.commit(batch(n)).expect("memory does not fail"));
    load(&memory).expect("it makes sense")
}

#[test]
fn power_may_fail_at_every_call() {
    const BATCHES: u64 = 6;
    let states: Vec<_> = (0..=BATCHES).map(after).collect();
    let run = |cut_at: Option<u64>| {
        let file = File::default();
        file.bytes().cut_at = cut_at;
        let mut done = 0;
        if let Ok(mut store) = open(&file) {
            done = (1..=BATCHES).take_while(|n| store.commit(batch(*n)).is_ok()).count() as u64;
            // What a dead process drops is not closed.
            let calls = file.bytes().calls;
            file.bytes().cut_at.get_or_insert(calls + 1);
        }
        (file, done)
    };
    let calls = {
        let (file, done) = run(None);
        assert_eq!(done, BATCHES);
        let bytes = file.bytes();
        bytes.cut_at.expect("just set")
    };
    assert!(calls > 60, "{calls} calls");
    let mut cut_commits = 0;
    for cut_at in 1..=calls {
        let (file, done) = run(Some(cut_at));
        let mut lefts = vec![file.left(|| false), file.left(|| true)];
        lefts.extend((0..6).map(|seed| file.left(chance(cut_at << 8 | seed))));
        for left in lefts {
            // It fails again, at some call of the repair, and then no more.
            for again in [None, Some(1 + cut_at % 11)] {
                let second = File::of(left.clone());
                second.bytes().cut_at = again;
                let opened = open(&second).map(|store| load(&store));
                drop(opened);
                let third = File::of(if again.is_some() { second.left(chance(cut_at)) } else { left.clone() });
                let mut store = open(&third).unwrap_or_else(|e| panic!("cut at call {cut_at}, then {again:?}: {e}"));
                let found = load(&store).expect("just opened");
                let which = states.iter().position(|state| *state == found);
                let which = which.unwrap_or_else(|| panic!("cut at call {cut_at}: mark {:?} with other rows than its own", found.0)) as u64;
                assert!(which == done || which == done + 1, "cut at call {cut_at}: {done} were committed, and {which} are there");
                cut_commits += u64::from(which == done + 1);
                // It goes on from there.
                store.commit(batch(which + 1)).expect("power is back");
                assert_eq!(load(&store).expect("just committed"), after(which + 1));
            }
        }
    }
    assert!(cut_commits > 0, "no commit that was cut had happened");
}

#[test]
fn the_same_batches_make_the_same_bytes() {
    let run = || {
        let file = File::default();
        let mut store = open(&file).expect("empty");
        (1..=30).for_each(|n| store.commit(batch(n)).expect("nothing fails"));
        let bytes = file.bytes();
        (bytes.calls, bytes.durable.clone())
    };
    assert_eq!(run(), run());
}

#[test]
fn every_damage_is_reported_or_harms_nothing() {
    let file = File::default();
    let mut store = open(&file).expect("empty");
    (1..=12).for_each(|n| store.commit(batch(n)).expect("nothing fails"));
    let durable = file.bytes().durable.clone();
    let (mut reported, mut harmless, mut before) = (0, 0, 0);
    let pages = durable.chunks(4096).enumerate().filter(|(_, page)| page.iter().any(|byte| *byte != 0)).map(|(page, _)| page * 4096);
    let header = (0..320).flat_map(|byte| (0..8).map(move |bit| (byte, bit)));
    let body = pages.flat_map(|page| (page + usize::from(page == 0) * 320..page + 4096).step_by(13)).map(|byte| (byte, byte % 8));
    for (byte, bit) in header.chain(body) {
        let mut damaged = durable.clone();
        let Some(hit) = damaged.get_mut(byte) else { continue };
        *hit ^= 1 << bit;
        match open(&File::of(damaged)).and_then(|store| load(&store)) {
            Ok(found) if found == after(12) => harmless += 1,
            // The byte that says which commit is the present: the one before it is whole, too, and the log goes on from there.
            Ok(found) if found == after(11) && byte == 9 => before += 1,
            Ok(found) => panic!("bit {bit} of byte {byte}: mark {:?}", found.0),
            Err(StateError::Damaged(corruption)) => {
                assert_eq!(corruption.file, FILE);
                assert!(corruption.offset <= durable.len() as u64);
                reported += 1;
            }
            Err(StateError::Failed(why)) => panic!("bit {bit} of byte {byte} is told as a failure: {why}"),
        }
    }
    assert!(reported > 200 && before <= 1, "{reported} reported, {harmless} harmless, {before} back");
}

#[test]
fn what_is_no_database_is_reported() {
    for bytes in [b"no database at all".to_vec(), vec![7; 5000], vec![0xff; 70_000]] {
        let refused = open(&File::of(bytes)).err();
        assert!(matches!(&refused, Some(StateError::Damaged(c)) if c.file == FILE), "{refused:?}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<RowChange>, u8),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let key = || proptest::collection::vec(1u8..4, 1..4);
    let change = prop_oneof![
        4 => (key(), proptest::collection::vec(any::<u8>(), 0..40)).prop_map(|(key, value)| RowChange::Put { key, value }),
        1 => key().prop_map(|key| RowChange::Remove { key }),
        1 => (key(), key()).prop_map(|(from, to)| RowChange::RemoveRange { from, to }),
    ];
    prop_oneof![
        4 => (proptest::collection::vec(change, 0..8), any::<u8>()).prop_map(|(rows, mark)| Step::Commit(rows, mark)),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn both_stores_hold_the_same(steps in proptest::collection::vec(step(), 1..30)) {
        let file = File::default();
        let (mut memory, mut redb) = (MemoryStore::new(), open(&file).expect("empty"));
        for step in steps {
            match step {
                Step::Commit(rows, mark) => {
                    let batch = Batch { rows, mark: vec![mark] };
                    memory.commit(batch.clone()).expect("memory does not fail");
                    redb.commit(batch).expect("nothing fails");
                }
                Step::Reopen => {
                    drop(redb);
                    redb = open(&file).expect("closed in good order");
                }
            }
            prop_assert_eq!(load(&memory).expect("it makes sense"), load(&redb).expect("it is whole"));
        }
    }
}
