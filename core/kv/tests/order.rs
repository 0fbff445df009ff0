//! Commuting commands may complete in any order, and the store cannot tell afterwards.

mod common;

use common::*;
use curp::{CommandExecutor, ConflictCheck};
use kv::*;
use proptest::prelude::*;

/// The same response with the command's own revision in the places where a fast result has none.
fn with_own_revision(mut response: Response, revision: u64) -> Response {
    each_kv(&mut response, &mut |kv| {
        for field in [&mut kv.create_revision, &mut kv.mod_revision] {
            if *field == REVISION_UNKNOWN {
                *field = revision;
            }
        }
    });
    response
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Random requests, completed in a random order that the conflict check allows: revisions, responses, state and state
    /// hashes are those of a model that takes them one after the other; so is every read of the past.
    #[test]
    fn any_allowed_order_is_log_order(commands in prop::collection::vec(request(), 1..40), choices in prop::collection::vec(any::<prop::sample::Index>(), 80)) {
        let mut model = Model::new();
        let expected: Vec<_> = commands.iter().map(|c| model.apply(c)).collect();

        let mut store = Store::new();
        let mut revisions = Vec::new();
        let mut deltas: Vec<Option<u64>> = vec![None; commands.len()];
        for choice in choices {
            let next = revisions.len();
            let ready = next < commands.len() && (0..next).all(|i| deltas[i].is_some() || !commands[i].conflicts(&commands[next]));
            let mut running: Vec<usize> = (0..next).filter(|&i| deltas[i].is_none()).collect();
            if ready {
                running.push(next);
            }
            let Some(&i) = running.get(choice.index(running.len().max(1))) else { break };
            if i == next {
                let revision = store.prepare(i as u64 + 1, &commands[i]);
                prop_assert_eq!(revision, expected[i].0);
                revisions.push(revision);
                continue;
            }
            let fast = store.execute(&commands[i]);
            prop_assert_eq!(with_own_revision(fast, revisions[i]), expected[i].1.clone(), "fast result of {:?}", commands[i]);
            let synced = store.after_sync(i as u64 + 1, revisions[i], &commands[i]);
            prop_assert_eq!(&(synced.revision, synced.response), &expected[i], "{:?}", commands[i]);
            deltas[i] = Some(store.take_delta());
            // A read at the low-water mark does not see what completed before its turn.
            let low = deltas.iter().take_while(|d| d.is_some()).count();
            let revision = if low == 0 { REVISION_FIRST } else { revisions[low - 1] };
            let past: Vec<KeyValue> = model.past[revision as usize].values().cloned().collect();
            prop_assert_eq!(store.range_at(&everything(), revision).0, past);
        }
        prop_assert!(deltas.iter().all(Option::is_some), "80 choices are enough for 40 commands");
        prop_assert_eq!(store.revision(), model.revision());
        prop_assert_eq!(store.live().collect::<Vec<_>>(), model.map.values().cloned().collect::<Vec<_>>());
        prop_assert_eq!(store.full_hash(), store.hash());

        // The deltas in log order give the hash after every command of an execution in log order.
        let mut in_order = Store::new();
        let mut hash = 0u64;
        for (command, delta) in commands.iter().zip(deltas) {
            let revision = in_order.prepare(0, command);
            let (_, same) = in_order.apply(revision, command);
            prop_assert_eq!(Some(same), delta);
            hash = hash.wrapping_add(same);
            prop_assert_eq!((hash, hash), (in_order.hash(), in_order.full_hash()));
        }
        for (revision, map) in model.past.iter().enumerate() {
            let (kvs, count) = store.range_at(&everything(), revision as u64);
            prop_assert_eq!(count, map.len() as u64);
            prop_assert_eq!(kvs, map.values().cloned().collect::<Vec<_>>());
        }
    }

    /// A txn that writes a key more than once is refused by `validate`; should one arrive all the same, every replica does the same
    /// with it, one request after the other.
    #[test]
    fn keys_written_twice(txns in prop::collection::vec(prop::collection::vec(simple(), 0..8), 1..6)) {
        let (mut model, mut store) = (Model::new(), Store::new());
        for requests in txns {
            let request = txn(vec![], requests, vec![]);
            let revision = store.prepare(0, &request);
            let (synced, _) = store.apply(revision, &request);
            prop_assert_eq!((synced.revision, synced.response), model.apply(&request));
            prop_assert_eq!(store.live().collect::<Vec<_>>(), model.map.values().cloned().collect::<Vec<_>>());
            prop_assert_eq!(store.full_hash(), store.hash());
        }
    }

    /// Commands that do not conflict give the same responses and the same state in either order, revisions apart.
    #[test]
    fn what_does_not_conflict_commutes(setup in prop::collection::vec(request(), 0..12), a in request(), b in request()) {
        prop_assert_eq!(a.conflicts(&b), b.conflicts(&a));
        if a.conflicts(&b) {
            return Ok(());
        }
        let mut before = Model::new();
        for request in &setup {
            before.apply(request);
        }
        let revision = before.revision();
        let apart = |kv: &mut KeyValue| {
            for field in [&mut kv.create_revision, &mut kv.mod_revision] {
                *field = if *field > revision { 0 } else { *field };
            }
        };
        let run = |first: &Request, second: &Request| {
            let mut model = before.clone();
            let mut responses = [model.apply(first).1, model.apply(second).1];
            responses.iter_mut().for_each(|r| each_kv(r, &mut { apart }));
            model.map.values_mut().for_each(apart);
            (responses, model.map)
        };
        let ([first, second], map) = run(&a, &b);
        let ([second_alone, first_after], other_map) = run(&b, &a);
        prop_assert_eq!((first, second), (first_after, second_alone));
        prop_assert_eq!(map, other_map);
    }
}
