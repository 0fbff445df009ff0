//! A store restored from a snapshot cannot be told from the one it was made of.

mod common;

use common::*;
use curp::CommandExecutor;
use kv::*;
use proptest::prelude::*;

/// Applies a command as the log would.
fn apply(store: &mut Store, command: &Request) -> (curp::Synced<Response>, u64) {
    let revision = store.prepare(1, 0, command);
    let synced = store.after_sync(1, 0, revision, command);
    (synced, store.take_delta())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// The same answers about present and past, the same hashes, the same revisions for whatever comes afterwards; and the same bytes
    /// again, so that replicas at one index have one snapshot. What was in the restored store before is gone.
    #[test]
    fn there_and_back(
        before in prop::collection::vec(request(), 0..30),
        elsewhere in prop::collection::vec(request(), 0..10),
        after in prop::collection::vec(request(), 0..20),
    ) {
        let mut original = Store::new();
        before.iter().for_each(|command| drop(apply(&mut original, command)));
        let snapshot = original.snapshot();

        let mut restored = Store::new();
        elsewhere.iter().for_each(|command| drop(apply(&mut restored, command)));
        restored.restore(&snapshot).expect("a snapshot");
        prop_assert_eq!(restored.snapshot(), snapshot);
        prop_assert_eq!((restored.state_sum(), restored.full_hash()), (original.state_sum(), original.hash()));
        prop_assert_eq!(restored.take_delta(), 0);
        for revision in 0..=original.revision() + 1 {
            prop_assert_eq!(restored.range_at(&everything(), revision), original.range_at(&everything(), revision));
        }
        for command in &after {
            prop_assert_eq!(restored.execute(command), original.execute(command));
            prop_assert_eq!(apply(&mut restored, command), apply(&mut original, command));
        }
        prop_assert_eq!((restored.revision(), restored.hash()), (original.revision(), original.hash()));
    }

    /// What is not a snapshot is refused, and changes nothing.
    #[test]
    fn a_torn_snapshot_is_refused(commands in prop::collection::vec(request(), 1..20), cut in any::<prop::sample::Index>()) {
        let mut store = Store::new();
        commands.iter().for_each(|command| drop(apply(&mut store, command)));
        let mut snapshot = store.snapshot();
        snapshot.truncate(cut.index(snapshot.len()));
        let (hash, revision) = (store.hash(), store.revision());
        prop_assert!(store.restore(&snapshot).is_err());
        prop_assert_eq!((store.hash(), store.revision()), (hash, revision));
    }
}
