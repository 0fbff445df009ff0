//! The replay against the store of `core/kv`: two implementations, written apart, of one documentation.

mod support;

use check::replay::{Agreement, Replay, agreement};
use curp::CommandExecutor;
use kv::Store;
use support::{Rng, random_request};

#[test]
fn replay_and_store_answer_alike() {
    for seed in 0..2000 {
        let (mut rng, mut replay, mut store) = (Rng(seed), Replay::default(), Store::new());
        for index in 1..40 {
            let request = random_request(&mut rng, 4, index);
            let revision = store.prepare(1, index, &request);
            let early = store.execute(&request);
            let synced = store.after_sync(1, index, revision, &request);
            let before = replay.revision();
            let expected = replay.apply(&request);
            assert_eq!((&expected, replay.revision()), (&synced.response, synced.revision), "seed {seed}, {request:?}");
            let own = (replay.revision() > before).then(|| replay.revision());
            assert_eq!(agreement(&expected, &early, own), Agreement::Full, "seed {seed}, {request:?}");
        }
    }
}
