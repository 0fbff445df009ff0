//! The replay against the store of `core/kv`: two implementations, written apart, of one documentation.

mod support;

use check::replay::{Agreement, Replay, agreement};
use curp::CommandExecutor;
use kv::{RangeRequest, Request, Response, Store};
use support::{Rng, random_request};

#[test]
fn replay_and_store_answer_alike() {
    let (mut errors, mut revoked) = (0, 0);
    for seed in 0..4000 {
        let (mut rng, mut replay, mut store) = (Rng(seed), Replay::default(), Store::new());
        for index in 1..40 {
            let request = random_request(&mut rng, 4, index);
            if request.is_leaders() {
                continue;
            }
            let term = Some(1 + rng.below(2));
            let revision = store.prepare_entry(term, &request);
            let early = request.fast_allowed().then(|| store.execute(&request));
            let (synced, _) = store.apply_entry(term, revision, &request);
            let before = replay.revision();
            let expected = replay.apply_in(term, &request);
            assert_eq!((&expected, replay.revision()), (&synced.response, synced.revision), "seed {seed}, {request:?}");
            let own = (replay.revision() > before).then(|| replay.revision());
            if let Some(early) = early {
                assert_eq!(agreement(&expected, &early, own), Agreement::Full, "seed {seed}, {request:?}");
            }
            errors += u32::from(expected.error().is_some());
            revoked += u32::from(matches!(request, Request::LeaseRevoke(_)) && own.is_some());
            let leases: Vec<_> = store.leases().iter().map(|(id, lease)| (id, lease.ttl, lease.keys.iter().cloned().collect())).collect();
            let replayed: Vec<_> = replay.leases().iter().map(|(id, ttl)| (*id, *ttl, replay.attached(*id))).collect();
            assert_eq!((leases, store.compacted_revision()), (replayed, replay.compacted()), "seed {seed}, {request:?}");
        }
        for revision in store.compacted_revision().max(1)..=store.revision() {
            let all = RangeRequest { key: "\0".into(), range_end: Some("\0".into()), ..RangeRequest::default() };
            let Response::Range { kvs, .. } = replay.read(&all, revision) else { panic!("it is a range") };
            assert_eq!(kvs, store.range_at(&all, revision).0, "seed {seed}, revision {revision}");
        }
    }
    assert!(errors > 10_000 && revoked > 500, "{errors} errors, {revoked} revokes with keys");
}
