//! The changes that a store notes, against the store: folded row by row up to an index, they make the store that commands up to that index
//! make, whatever else has been applied, in whatever order.

mod common;

use std::collections::BTreeMap;

use common::*;
use curp::{CommandExecutor, ConflictCheck};
use kv::*;
use proptest::prelude::*;

const TERM: u64 = 2;

/// Rows by kind and key, in the order in which a store is made from them.
type Rows = BTreeMap<(u8, Vec<u8>, u64), Change>;

/// Does a change to the rows, as who keeps them would.
fn fold(rows: &mut Rows, change: Change) {
    let lease = |id: i64, key: &Bytes| (2, key.as_slice().to_vec(), id.cast_unsigned());
    match &change {
        Change::Lease { id, .. } => _ = rows.insert((1, Vec::new(), id.cast_unsigned()), change),
        Change::NoLease(id) => rows.retain(|(kind, _, number), _| *kind > 2 || *number != id.cast_unsigned()),
        Change::Attached { lease: id, key } => _ = rows.insert(lease(*id, key), change),
        Change::Detached { lease: id, key } => _ = rows.remove(&lease(*id, key)),
        Change::Compacted(revision) => {
            let revision = *revision;
            rows.retain(|(kind, _, number), _| *kind != 5 || number >> 16 >= revision);
            rows.insert((3, Vec::new(), 0), change);
        }
        Change::Version { key, held } => _ = rows.insert((4, key.as_slice().to_vec(), held.mod_revision), change),
        Change::Dropped { key, revision } => _ = rows.remove(&(4, key.as_slice().to_vec(), *revision)),
        Change::Wrote { revision, place, .. } => _ = rows.insert((5, Vec::new(), revision << 16 | place), change),
    }
}

fn rebuilt(revision: u64, rows: &Rows) -> Store {
    Store::from_rows(revision, rows.values().cloned()).expect("rows of a store")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn folded_changes_are_the_store_at_their_index(
        commands in prop::collection::vec(command(), 1..40),
        choices in prop::collection::vec(any::<prop::sample::Index>(), 120),
        takes in prop::collection::vec(prop::bool::weighted(0.3), 120),
    ) {
        let (mut store, mut serial) = (Store::new(), Store::new());
        store.note_changes();
        let (mut rows, mut taken) = (Rows::new(), 0);
        let mut revisions: Vec<u64> = Vec::new();
        let mut applied = vec![false; commands.len()];
        for (choice, take) in choices.iter().zip(takes) {
            let next = revisions.len();
            let mut steps: Vec<usize> = (0..next).filter(|&i| !applied[i]).collect();
            if next < commands.len() && steps.iter().all(|&i| !commands[i].conflicts(&commands[next])) {
                steps.push(next);
            }
            let Some(&i) = (!steps.is_empty()).then(|| choice.get(&steps)) else { break };
            if i == next {
                revisions.push(store.prepare(TERM, i as u64 + 1, &commands[i]));
            } else {
                store.after_sync(TERM, i as u64 + 1, revisions[i], &commands[i]);
                applied[i] = true;
            }
            let low = applied.iter().take_while(|done| **done).count();
            if take && low > taken {
                for (command, index) in commands.iter().zip(1..).take(low).skip(taken) {
                    let revision = serial.prepare(TERM, index, command);
                    serial.after_sync(TERM, index, revision, command);
                }
                taken = low;
                store.take_changes(low as u64).into_iter().for_each(|change| fold(&mut rows, change));
                let again = rebuilt(serial.revision(), &rows);
                prop_assert_eq!(again.snapshot(), serial.snapshot());
                prop_assert_eq!(again.full_hash(), serial.hash());
                // All its rows at once make it, too.
                let mut all = Rows::new();
                serial.rows().for_each(|change| fold(&mut all, change));
                prop_assert_eq!(&all, &rows);
            }
        }
    }
}

#[test]
fn a_restored_store_says_so() {
    let mut store = Store::new();
    store.note_changes();
    let put = |key: &str| Request::Put(PutRequest { key: Bytes::from(key), value: Bytes::from("x"), ..PutRequest::default() });
    let snapshot = store.snapshot();
    let revision = store.prepare(TERM, 1, &put("a"));
    store.after_sync(TERM, 1, revision, &put("a"));
    assert!(!store.take_replaced());
    store.restore(&snapshot).expect("its own");
    assert!(store.take_replaced() && !store.take_replaced());
    assert_eq!(store.take_changes(9), Vec::new(), "of the state that is gone");
}
