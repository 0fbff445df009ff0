//! Commuting commands may complete in any order, and the store cannot tell afterwards.

mod common;

use common::run::{Run, Step, TERM};
use common::*;
use curp::{CommandExecutor, ConflictCheck};
use kv::*;
use proptest::prelude::*;
use proptest::sample::Index;

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

/// Whether the store is what the model is: keys, leases with what is attached to them, and hashes.
fn same_state(store: &Store, model: &Model) -> Result<(), TestCaseError> {
    prop_assert_eq!(store.revision(), model.revision());
    prop_assert_eq!(store.applied_revision(), model.revision());
    prop_assert_eq!(store.compacted_revision(), model.compacted);
    prop_assert_eq!(store.live().collect::<Vec<_>>(), model.map.values().cloned().collect::<Vec<_>>());
    let leases: Vec<_> = store.leases().iter().map(|(id, l)| (id, l.ttl, l.keys.iter().cloned().collect::<Vec<_>>())).collect();
    prop_assert_eq!(leases, model.leases.iter().map(|(id, ttl)| (*id, *ttl, model.attached(*id))).collect::<Vec<_>>());
    prop_assert_eq!(store.full_hash(), store.hash());
    // A read as of any revision, and any read now.
    for (revision, map) in model.past.iter().enumerate().skip(1) {
        let request = RangeRequest { revision: revision as u64, ..everything() };
        let expected = if (revision as u64) < model.compacted { Response::Error(Error::Compacted) } else { model::range(map, &request) };
        prop_assert_eq!(store.read(&request, model.revision()), expected, "as of {}", revision);
    }
    let future = RangeRequest { revision: model.revision() + 1, ..everything() };
    prop_assert_eq!(store.read(&future, model.revision()), Response::Error(Error::FutureRevision));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Random commands, completed in a random order that the conflict check allows: revisions, responses, state and state
    /// hashes are those of a model that takes them one after the other; so is every read of the past, and what a snapshot restores.
    #[test]
    fn any_allowed_order_is_log_order(commands in prop::collection::vec(command(), 1..40), choices in prop::collection::vec(any::<Index>(), 80)) {
        let mut model = Model::new();
        let mut attached: Vec<Vec<(LeaseId, Vec<Bytes>)>> = Vec::new();
        let expected: Vec<_> = commands.iter().map(|c| {
            let result = model.apply_in(TERM, c);
            attached.push(model.leases.keys().map(|id| (*id, model.attached(*id))).collect());
            result
        }).collect();

        let mut run = Run::new(commands.clone());
        for choice in choices {
            let possible = run.possible();
            let Some(&step) = possible.get(choice.index(possible.len().max(1))) else { break };
            if let Step::Applied(i) = step
                && commands[i].fast_allowed()
            {
                let fast = run.store.execute(&commands[i]);
                prop_assert_eq!(with_own_revision(fast, run.revisions[i]), expected[i].1.clone(), "fast result of {:?}", commands[i]);
            }
            run.step(step);
            match step {
                Step::Prepared(i) => prop_assert_eq!(run.revisions[i], expected[i].0),
                Step::Applied(i) => prop_assert_eq!(run.responses[i].as_ref(), Some(&expected[i].1), "{:?}", commands[i]),
            }
            // A read at the low-water mark does not see what completed before its turn.
            let low = run.low();
            let revision = if low == 0 { REVISION_FIRST } else { run.revisions[low - 1] };
            prop_assert_eq!(run.store.read(&everything(), revision), model::range(&model.past[revision as usize], &everything()));
            prop_assert!(run.store.applied_revision() >= revision);
            for (lease, keys) in low.checked_sub(1).map_or(&[][..], |last| &attached[last]) {
                prop_assert_eq!(&run.store.attached_at(*lease, revision), keys, "whatever was attached and detached since");
            }
        }
        prop_assert_eq!(run.low(), commands.len(), "80 choices are enough for 40 commands");
        same_state(&run.store, &model)?;
        let restored = run.restored();
        same_state(&restored, &model)?;
        prop_assert_eq!((restored.state_sum(), restored.snapshot()), (run.store.state_sum(), run.store.snapshot()));

        // The deltas in log order give the hash after every command of an execution in log order.
        let mut in_order = Store::new();
        let mut hash = 0u64;
        for (command, delta) in commands.iter().zip(run.deltas) {
            let revision = in_order.prepare_entry(Some(TERM), command);
            let (_, same) = in_order.apply_entry(Some(TERM), revision, command);
            prop_assert_eq!(Some(same), delta);
            hash = hash.wrapping_add(same);
            prop_assert_eq!((hash, hash), (in_order.hash(), in_order.full_hash()));
        }
        prop_assert_eq!(in_order.snapshot(), run.store.snapshot());
    }

    /// Any read, of the present and of the past, with all its options.
    #[test]
    fn reads(commands in prop::collection::vec(command(), 1..24), reads in prop::collection::vec(random_range(), 1..12)) {
        let (mut model, mut store) = (Model::new(), Store::new());
        for command in &commands {
            model.apply_in(TERM, command);
            run_in(&mut store, TERM, command.clone());
        }
        for read in reads {
            let (revision, expected) = model.apply(&Request::Range(read.clone()));
            prop_assert_eq!(store.read(&read, revision), expected);
        }
    }

    /// A txn that writes a key more than once is refused by `check`; should one arrive all the same, every replica does the same
    /// with it, one request after the other.
    #[test]
    fn keys_written_twice(txns in prop::collection::vec(prop::collection::vec(simple(), 0..8), 1..6)) {
        let (mut model, mut store) = (Model::new(), Store::new());
        for requests in txns {
            let request = txn(vec![], requests, vec![]);
            prop_assert_eq!(run_in(&mut store, 0, request.clone()), model.apply(&request));
            prop_assert_eq!(store.live().collect::<Vec<_>>(), model.map.values().cloned().collect::<Vec<_>>());
        }
    }

    /// Commands that do not conflict give the same responses and the same state in either order, revisions apart.
    #[test]
    fn what_does_not_conflict_commutes(setup in prop::collection::vec(command(), 0..12), a in command(), b in command()) {
        prop_assert_eq!(a.conflicts(&b), b.conflicts(&a));
        if a.conflicts(&b) {
            return Ok(());
        }
        prop_assert!(a.fast_allowed() && b.fast_allowed(), "what may not be fast conflicts with everything");
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
            (responses, model.map, model.leases)
        };
        let ([first, second], map, leases) = run(&a, &b);
        let ([second_alone, first_after], other_map, other_leases) = run(&b, &a);
        prop_assert_eq!((first, second), (first_after, second_alone));
        prop_assert_eq!((map, leases), (other_map, other_leases));
    }
}

/// Two commuting puts: the later one is done first, and has the later revision all the same.
#[test]
fn revisions_are_given_in_log_order() {
    let mut store = Store::new();
    let (first, second) = (put("a", "1"), put("b", "1"));
    let revisions = [&first, &second].map(|command| store.prepare_entry(Some(TERM), command));
    assert_eq!(store.apply_entry(Some(TERM), revisions[1], &second).0.revision, 3);
    assert_eq!(store.apply_entry(Some(TERM), revisions[0], &first).0.revision, 2);
}

#[test]
fn known_bugs_are_noticed() {
    fails_with(mutants::Mutant::RevisionAfterExecute, revisions_are_given_in_log_order);
}
