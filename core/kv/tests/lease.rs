//! Leases: as replicated state, and the leader's deadlines.

mod common;

use std::collections::BTreeMap;

use common::*;
use curp::CommandExecutor;
use kv::*;
use mutants::Mutant;
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;

fn attached(store: &Store, id: LeaseId) -> Vec<String> {
    store.leases().get(id).map_or(vec![], |lease| lease.keys.iter().map(Bytes::to_string).collect())
}

fn stamped(id: LeaseId, term: u64) -> Request {
    Request::LeaseRevoke(LeaseRevokeRequest { id, stamp: Some(term) })
}

#[test]
fn grant_attach_detach_revoke() {
    let mut store = Store::new();
    assert_eq!(run(&mut store, grant(7, 5)), (1, Response::LeaseGrant { id: 7, ttl: 5 }), "a grant makes no revision");
    assert_eq!(run(&mut store, grant(7, 9)).1, Response::Error(Error::LeaseExists));
    assert_eq!(run(&mut store, grant(8, -3)).1, Response::LeaseGrant { id: 8, ttl: LEASE_TTL_MIN });
    for (key, lease) in [("b", 7), ("a", 7), ("c", 8), ("d", 7)] {
        run(&mut store, attach(key, "x", lease));
    }
    assert_eq!(store.revision(), 5);
    assert_eq!((attached(&store, 7), attached(&store, 8)), (vec!["a".into(), "b".into(), "d".into()], vec!["c".to_owned()]));
    // A put without a lease detaches, as does one with another; a delete, too.
    run(&mut store, put("a", "y"));
    run(&mut store, attach("b", "y", 8));
    assert_eq!((attached(&store, 7), attached(&store, 8)), (vec!["d".to_owned()], vec!["b".into(), "c".into()]));
    run(&mut store, delete("d"));
    assert_eq!(attached(&store, 7), [""; 0]);
    assert_eq!(run(&mut store, revoke(7)), (8, Response::LeaseRevoke), "no keys, no revision");
    assert_eq!(run(&mut store, revoke(7)), (8, Response::Error(Error::LeaseNotFound)));
    assert_eq!(run(&mut store, revoke(8)), (9, Response::LeaseRevoke), "one revision for all keys");
    assert_eq!(store.live().map(|kv| kv.key.to_string()).collect::<Vec<_>>(), ["a"]);
    assert_eq!(store.leases().iter().count(), 0);
    assert_eq!(run(&mut store, attach("a", "z", 8)), (9, Response::Error(Error::LeaseNotFound)));
    assert_eq!(run(&mut store, txn(vec![], vec![put("q", "1"), attach("a", "z", 8)], vec![])).1, Response::Error(Error::LeaseNotFound));
    assert_eq!(run(&mut store, get("q")).0, 9, "an error in a txn undoes all of it");
}

#[test]
fn keeping_value_and_lease() {
    let mut store = Store::new();
    run(&mut store, grant(7, 5));
    run(&mut store, attach("a", "1", 7));
    let keep = |ignore_value, ignore_lease, value: &str| {
        Request::Put(PutRequest { key: "a".into(), value: value.into(), ignore_value, ignore_lease, ..PutRequest::default() })
    };
    run(&mut store, keep(false, true, "2"));
    let held = |store: &Store| store.live().map(|kv| (kv.value.to_string(), kv.lease, kv.version)).collect::<Vec<_>>();
    assert_eq!((held(&store), attached(&store, 7)), (vec![("2".into(), 7, 2)], vec!["a".to_owned()]));
    run(&mut store, keep(true, false, ""));
    assert_eq!((held(&store), attached(&store, 7).len()), (vec![("2".into(), 0, 3)], 0));
    run(&mut store, delete("a"));
    for request in [keep(true, false, ""), keep(false, true, "2")] {
        assert_eq!(run(&mut store, request), (5, Response::Error(Error::KeyNotFound)));
    }
    let neither = PutRequest { key: "a".into(), ignore_value: true, lease: 99, ..PutRequest::default() };
    assert_eq!(run(&mut store, Request::Put(neither.clone())), (5, Response::Error(Error::LeaseNotFound)), "of two reasons the lease");
    let within = txn(vec![], vec![Request::Put(neither)], vec![]);
    assert_eq!(run(&mut store, within), (5, Response::Error(Error::KeyNotFound)), "but within a txn the key");
    assert_eq!(keep(true, false, "2").check(), Err(Error::ValueProvided));
    let both = Request::Put(PutRequest { key: "a".into(), lease: 7, ignore_lease: true, ..PutRequest::default() });
    assert_eq!(both.check(), Err(Error::LeaseProvided));
    let by_lease = |lease| txn(vec![compare("b", CompareResult::Equal, CompareTarget::Lease(lease))], vec![], vec![]);
    run(&mut store, attach("b", "1", 7));
    assert_eq!(run(&mut store, by_lease(7)).1, Response::Txn { succeeded: true, responses: vec![] });
    assert_eq!(run(&mut store, by_lease(0)).1, Response::Txn { succeeded: false, responses: vec![] });
}

#[test]
fn what_is_refused_by_its_words_alone() {
    assert_eq!(grant(7, LEASE_TTL_MAX).check(), Ok(()));
    assert_eq!(grant(7, LEASE_TTL_MAX + 1).check(), Err(Error::LeaseTtlTooLarge));
    assert_eq!(grant(0, 5).check(), Err(Error::LeaseNotFound), "the server makes the name before");
    assert_eq!(revoke(0).check(), Err(Error::LeaseNotFound));
    assert_eq!(txn(vec![], vec![grant(7, 5)], vec![]).check(), Err(Error::NotAllowedHere));
    let names: Vec<LeaseId> = (0..100).flat_map(|client| (0..100).map(move |seq| made_lease_id(client, seq))).collect();
    assert!(names.iter().all(|id| *id > 0) && names.iter().collect::<std::collections::BTreeSet<_>>().len() == names.len());
    assert_eq!(made_lease_id(3, 4), made_lease_id(3, 4), "a retry has the same name");
}

/// The term of the decision must be that of the entry, whatever term the replica is in.
#[test]
fn a_revoke_from_an_older_term_is_void() {
    let mut store = Store::new();
    run(&mut store, grant(7, 5));
    run(&mut store, attach("a", "1", 7));
    assert_eq!(run_in(&mut store, 4, stamped(7, 3)), (2, Response::Error(Error::LeaderChanged)));
    assert_eq!(attached(&store, 7), ["a"]);
    assert_eq!(run_in(&mut store, 4, stamped(7, 4)), (3, Response::LeaseRevoke));
}

#[test]
fn a_snapshot_holds_leases() {
    let mut store = Store::new();
    for request in [grant(7, 5), attach("a", "1", 7), put("b", "1"), compact(3)] {
        run(&mut store, request);
    }
    let mut other = Store::new();
    run(&mut other, grant(9, 5));
    other.restore(&store.snapshot()).expect("a snapshot");
    assert_eq!((other.leases(), other.hash(), other.full_hash()), (store.leases(), store.hash(), store.hash()));
    assert_eq!((other.compacted_revision(), other.applied_revision()), (3, 3));
    assert_eq!(run(&mut other, revoke(7)), (4, Response::LeaseRevoke));
    assert!(other.restore(&[1, 2, 3]).is_err());
    assert_eq!(other.revision(), 4, "nothing changed");
}

/// The events of a revoke stand in key order, in whatever order the keys were attached.
#[test]
fn a_revoke_deletes_in_key_order() {
    let mut store = Store::new();
    run(&mut store, grant(7, 5));
    for key in ["f", "b", "e", "a", "d", "c"] {
        run(&mut store, attach(key, "1", 7));
    }
    let limits = WatchLimits { responses_max: 9, events_max: 9 };
    let mut watchers = Watchers::new(limits, &store);
    let all = WatchCreateRequest { range_end: Some("\0".into()), ..WatchCreateRequest::default() };
    let id = watchers.create(&store, all).expect("a range");
    watchers.take(&store, id);
    run(&mut store, revoke(7));
    watchers.advance(&store);
    let told = watchers.take(&store, id).expect("events");
    assert_eq!(told.events.iter().map(|e| e.kv.key.to_string()).collect::<Vec<_>>(), ["a", "b", "c", "d", "e", "f"]);
}

/// A leader of term 3 since 0 with leases 7 (5 s) and 8 (9 s).
fn leader() -> (Store, Expiry) {
    let mut store = Store::new();
    run(&mut store, grant(7, 5));
    run(&mut store, grant(8, 9));
    let mut expiry = Expiry::new(SECOND);
    expiry.promote(store.leases().iter(), 3, 0);
    (store, expiry)
}

fn tick(expiry: &mut Expiry, now: u64) -> Vec<LeaseRevokeRequest> {
    expiry.tick(now).into_iter().map(|decision| decision.revoke).collect()
}

fn revokes(ids: &[LeaseId]) -> Vec<LeaseRevokeRequest> {
    ids.iter().map(|id| LeaseRevokeRequest { id: *id, stamp: Some(3) }).collect()
}

#[test]
fn leases_expire_after_their_full_time() {
    let (_, mut expiry) = leader();
    assert_eq!(expiry.next_due(), Some(5 * SECOND));
    assert_eq!(tick(&mut expiry, 5 * SECOND - 1), revokes(&[]));
    assert_eq!(tick(&mut expiry, 5 * SECOND), revokes(&[7]));
    // It is tried until it is in the log.
    assert_eq!(tick(&mut expiry, 5 * SECOND), revokes(&[]));
    assert_eq!(tick(&mut expiry, 6 * SECOND), revokes(&[7]));
    expiry.appended(7);
    assert_eq!((tick(&mut expiry, 8 * SECOND), expiry.next_due()), (revokes(&[]), Some(9 * SECOND)));
    expiry.applied(&revoke(7), &Response::LeaseRevoke, 8 * SECOND);
    assert_eq!(tick(&mut expiry, 9 * SECOND), revokes(&[8]));
    expiry.applied(&stamped(8, 3), &Response::LeaseRevoke, 9 * SECOND);
    assert_eq!((tick(&mut expiry, 100 * SECOND), expiry.next_due()), (revokes(&[]), None));
    // A name that is used again has its own time.
    expiry.applied(&grant(7, 2), &Response::LeaseGrant { id: 7, ttl: 2 }, 100 * SECOND);
    assert_eq!((tick(&mut expiry, 101 * SECOND), tick(&mut expiry, 102 * SECOND)), (revokes(&[]), revokes(&[7])));
}

#[test]
fn a_keep_alive_counts_from_its_own_receipt() {
    let (_, mut expiry) = leader();
    tick(&mut expiry, SECOND);
    let receipt = expiry.receive(7, 4 * SECOND).expect("it leads");
    assert_eq!(tick(&mut expiry, 9 * SECOND - 1), revokes(&[]), "not five seconds after the last tick");
    assert_eq!(expiry.confirm(receipt), Some(Response::LeaseKeepAlive { id: 7, ttl: 5 }));
    assert_eq!(tick(&mut expiry, 9 * SECOND), revokes(&[7, 8]));
    let unknown = expiry.receive(99, 9 * SECOND).expect("it leads");
    assert_eq!(expiry.confirm(unknown), Some(Response::LeaseKeepAlive { id: 99, ttl: 0 }));
}

#[test]
fn no_keep_alive_after_the_decision() {
    let (_, mut expiry) = leader();
    let before = expiry.receive(8, 0).expect("it leads");
    tick(&mut expiry, 9 * SECOND);
    let after = expiry.receive(8, 9 * SECOND).expect("it leads");
    for receipt in [before, after] {
        assert_eq!(expiry.confirm(receipt), Some(Response::LeaseKeepAlive { id: 8, ttl: 0 }));
    }
    assert_eq!(tick(&mut expiry, 10 * SECOND), revokes(&[7, 8]), "it goes all the same");
}

#[test]
fn a_new_leader_gives_the_full_time() {
    let (store, mut expiry) = leader();
    let asked = expiry.receive(7, SECOND).expect("it leads");
    tick(&mut expiry, 5 * SECOND + SECOND / 2);
    expiry.demote();
    assert_eq!((expiry.term(), tick(&mut expiry, 99 * SECOND), expiry.next_due()), (None, vec![], None));
    assert_eq!((expiry.receive(7, 99 * SECOND), expiry.confirm(asked)), (None, None));
    expiry.promote(store.leases().iter(), 5, 100 * SECOND);
    assert_eq!(expiry.confirm(asked), None, "its term is over");
    assert_eq!(tick(&mut expiry, 105 * SECOND - 1), vec![]);
    assert_eq!(tick(&mut expiry, 105 * SECOND), [LeaseRevokeRequest { id: 7, stamp: Some(5) }]);
}

/// A leader of term 3 since 0 with leases 1 to 1000, of 2 s the odd ones and of 1 s the even ones.
fn leader_of_many() -> (Store, Expiry) {
    let mut store = Store::new();
    for id in 1..=1000 {
        run(&mut store, grant(id, 1 + id % 2));
    }
    let mut expiry = Expiry::new(SECOND);
    expiry.promote(store.leases().iter(), 3, 0);
    (store, expiry)
}

#[test]
fn of_many_that_are_due_the_earliest_go_first() {
    let (_, mut expiry) = leader_of_many();
    let now = 2 * SECOND;
    let mut gone = Vec::new();
    for size in [256, 256, 256, 232] {
        assert!(expiry.next_due().is_some_and(|due| due <= now), "the driver comes again at once");
        // What has not been decided may still be kept alive, and is not told to be given up.
        assert_eq!(expiry.deadline(999), Some(2 * SECOND));
        let some: Vec<LeaseId> = expiry.tick(now).into_iter().map(|decision| decision.revoke.id).collect();
        assert_eq!(some.len(), size);
        some.iter().for_each(|id| expiry.appended(*id));
        gone.extend(some);
    }
    assert_eq!(gone, (2..=1000).step_by(2).chain((1..1000).step_by(2)).collect::<Vec<_>>(), "by deadline, then by name");
    assert_eq!((expiry.deadline(999), expiry.next_due(), expiry.tick(now)), (None, None, vec![]));
}

#[test]
fn what_was_not_decided_is_kept_alive_or_comes_later() {
    let (store, mut expiry) = leader_of_many();
    assert_eq!(expiry.tick(2 * SECOND).len(), EXPIRE_MAX);
    let late = expiry.receive(1000, 2 * SECOND).expect("it leads");
    assert_eq!(expiry.confirm(late), Some(Response::LeaseKeepAlive { id: 1000, ttl: 1 }));
    let decided = expiry.receive(2, 2 * SECOND).expect("it leads");
    assert_eq!(expiry.confirm(decided), Some(Response::LeaseKeepAlive { id: 2, ttl: 0 }));
    expiry.demote();
    assert_eq!((expiry.tick(2 * SECOND), expiry.next_due()), (vec![], None));
    expiry.promote(store.leases().iter(), 5, 3 * SECOND);
    assert_eq!(expiry.tick(4 * SECOND - 1), vec![]);
    let all: Vec<LeaseId> = std::iter::repeat_with(|| expiry.tick(5 * SECOND))
        .take(4)
        .flatten()
        .map(|decision| {
            assert!(decision.first && decision.revoke.stamp == Some(5));
            decision.revoke.id
        })
        .collect();
    assert_eq!(all, (2..=1000).step_by(2).chain((1..1000).step_by(2)).collect::<Vec<_>>(), "none is lost");
}

#[test]
fn time_to_live() {
    let (mut store, mut expiry) = leader();
    run(&mut store, attach("b", "1", 7));
    run(&mut store, attach("a", "1", 7));
    let ask = |id, keys, now| expiry.time_to_live(store.leases(), &LeaseTimeToLiveRequest { id, keys }, now);
    let left = |ttl, keys| Some(Response::LeaseTimeToLive { id: 7, ttl, granted_ttl: 5, keys });
    assert_eq!(ask(7, false, 0), left(5, vec![]));
    assert_eq!(ask(7, true, 1), left(4, vec!["a".into(), "b".into()]));
    assert_eq!(ask(99, true, 1), Some(Response::LeaseTimeToLive { id: 99, ttl: -1, granted_ttl: 0, keys: vec![] }));
    tick(&mut expiry, 6 * SECOND);
    assert_eq!(expiry.time_to_live(store.leases(), &LeaseTimeToLiveRequest { id: 7, keys: false }, 0), left(0, vec![]));
    expiry.demote();
    assert_eq!(expiry.time_to_live(store.leases(), &LeaseTimeToLiveRequest { id: 7, keys: false }, 0), None);
}

#[derive(Clone, Debug)]
enum Act {
    Wait(u64),
    Tick,
    Grant(LeaseId, i64),
    Revoke(LeaseId),
    KeepAlive(LeaseId),
    Appended(LeaseId),
    Promote,
    Demote,
}

fn act() -> impl Strategy<Value = Act> {
    let id = || 1..4i64;
    prop_oneof![
        4 => (0..2500u64).prop_map(|ms| Act::Wait(ms * 1_000_000)),
        4 => Just(Act::Tick),
        3 => (id(), 1..4i64).prop_map(|(id, ttl)| Act::Grant(id, ttl)),
        1 => id().prop_map(Act::Revoke),
        3 => id().prop_map(Act::KeepAlive),
        1 => id().prop_map(Act::Appended),
        1 => Just(Act::Promote),
        1 => Just(Act::Demote),
    ]
}

/// What is known of a lease: the reading until which it must not expire, whether it was given up, and whether its revoke is in the log.
struct Known {
    ttl: i64,
    until: u64,
    decided: bool,
    appended: bool,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    /// A lease is given up exactly at the first tick at or after its deadline, which is its time after the last of: its grant, a keep-alive, the
    /// promotion; from then on no keep-alive succeeds, and it is offered again until its revoke is in the log.
    #[test]
    fn deadlines(acts in prop::collection::vec(act(), 1..60)) {
        let mut store = Store::new();
        let mut expiry = Expiry::new(SECOND);
        let (mut now, mut term) = (0, 1);
        let mut known: BTreeMap<LeaseId, Known> = BTreeMap::new();
        let mut last_offer: BTreeMap<LeaseId, u64> = BTreeMap::new();
        for act in acts {
            match act {
                Act::Wait(time) => now += time,
                Act::Tick => {
                    let offered: Vec<LeaseId> = tick(&mut expiry, now).into_iter().map(|r| {
                        assert_eq!(r.stamp, Some(term));
                        r.id
                    }).collect();
                    for (id, lease) in &mut known {
                        let due = if lease.decided { !lease.appended && now >= last_offer[id] + SECOND } else { now >= lease.until };
                        prop_assert_eq!(offered.contains(id), due && expiry.term().is_some(), "lease {} at {}", id, now);
                        if offered.contains(id) {
                            lease.decided = true;
                            last_offer.insert(*id, now);
                        }
                    }
                    prop_assert!(offered.iter().all(|id| known.contains_key(id)));
                }
                Act::Grant(id, ttl) => {
                    let request = grant(id, ttl);
                    let (_, response) = run(&mut store, request.clone());
                    expiry.applied(&request, &response, now);
                    if response.error().is_none() {
                        known.insert(id, Known { ttl, until: now + ttl as u64 * SECOND, decided: false, appended: false });
                    }
                }
                Act::Revoke(id) => {
                    let (_, response) = run(&mut store, revoke(id));
                    expiry.applied(&revoke(id), &response, now);
                    known.remove(&id);
                }
                Act::KeepAlive(id) => {
                    let Some(receipt) = expiry.receive(id, now) else {
                        prop_assert_eq!(expiry.term(), None);
                        continue;
                    };
                    let alive = known.get_mut(&id).filter(|lease| !lease.decided);
                    let ttl = alive.map_or(0, |lease| {
                        lease.until = lease.until.max(now + lease.ttl as u64 * SECOND);
                        lease.ttl
                    });
                    prop_assert_eq!(expiry.confirm(receipt), Some(Response::LeaseKeepAlive { id, ttl }));
                }
                Act::Appended(id) => {
                    expiry.appended(id);
                    known.get_mut(&id).filter(|lease| lease.decided).into_iter().for_each(|lease| lease.appended = true);
                }
                Act::Promote => {
                    term += 1;
                    expiry.promote(store.leases().iter(), term, now);
                    for lease in known.values_mut() {
                        *lease = Known { ttl: lease.ttl, until: now + lease.ttl as u64 * SECOND, decided: false, appended: false };
                    }
                }
                Act::Demote => expiry.demote(),
            }
        }
    }
}

#[test]
fn known_bugs_are_noticed() {
    fails_with(Mutant::LeaseRevokeOrder, a_revoke_deletes_in_key_order);
    fails_with(Mutant::LeaseRevokeBumps, grant_attach_detach_revoke);
    fails_with(Mutant::LeaseUnknownAccepted, grant_attach_detach_revoke);
    fails_with(Mutant::LeaseReattachKeepsOld, grant_attach_detach_revoke);
    fails_with(Mutant::LeasePopNoRetry, leases_expire_after_their_full_time);
    fails_with(Mutant::LeaseKeepaliveAfterExpiry, no_keep_alive_after_the_decision);
    fails_with(Mutant::LeaseStaleTick, a_keep_alive_counts_from_its_own_receipt);
    fails_with(Mutant::LeaseNoPromote, a_new_leader_gives_the_full_time);
    fails_with(Mutant::SnapshotForgetsLeases, a_snapshot_holds_leases);
}
