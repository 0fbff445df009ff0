//! The conflict test against brute force: two requests conflict if and only if some key is touched by both and written by one of them.
//! Which keys a request touches is asked key by key here, never by comparing ends of ranges.

mod common;

use common::*;
use curp::ConflictCheck;
use kv::*;
use mutants::Mutant;
use proptest::prelude::*;

/// What a request may touch: a key, or a lease.
enum Place<'a> {
    Key(&'a Bytes),
    Lease(LeaseId),
}

/// Whether the request may observe the place, and whether it may change it.
fn touches(request: &Request, place: &Place<'_>) -> (bool, bool) {
    let within = |first: &Bytes, end: Option<&Bytes>| matches!(place, Place::Key(key) if in_range(key, first, end));
    let lease = |id: LeaseId| matches!(place, Place::Lease(other) if *other == id);
    match request {
        Request::Put(put) => (within(&put.key, None) || (put.lease != 0 && lease(put.lease)), within(&put.key, None)),
        Request::Range(r) => (within(&r.key, r.range_end.as_ref()), false),
        Request::DeleteRange(d) => (within(&d.key, d.range_end.as_ref()), within(&d.key, d.range_end.as_ref())),
        Request::Txn(txn) => {
            let compares = (txn.compare.iter().any(|c| within(&c.key, c.range_end.as_ref())), false);
            let branches = txn.success.iter().chain(&txn.failure).map(|r| touches(r, place));
            branches.fold(compares, |(touch, write), (t, w)| (touch || t, write || w))
        }
        Request::LeaseGrant(grant) => (lease(grant.id), lease(grant.id)),
        Request::LeaseKeepAlive(keep) => (lease(keep.id), false),
        Request::LeaseTimeToLive(ask) => (lease(ask.id), false),
        _ => (true, true),
    }
}

fn conflict(a: &Request, b: &Request, keys: &[Bytes]) -> bool {
    let leases = (0..5).map(Place::Lease);
    !a.fast_allowed() && !a.is_leaders()
        || !b.fast_allowed() && !b.is_leaders()
        || keys.iter().map(Place::Key).chain(leases).any(|place| {
            let ((a_touches, a_writes), (b_touches, b_writes)) = (touches(a, &place), touches(b, &place));
            (a_writes && b_touches) || (b_writes && a_touches)
        })
}

/// Every put, range and delete on these keys and ends, whether it makes sense or not: witnesses judge before anyone validates.
fn simple_requests(keys: &[&str], ends: &[Option<&str>]) -> Vec<Request> {
    let mut all = Vec::new();
    for &key in keys {
        all.push(put(key, "v"));
        for end in ends {
            let range_end = end.map(Bytes::from);
            all.push(Request::Range(RangeRequest { key: key.into(), range_end: range_end.clone(), limit: 1, ..RangeRequest::default() }));
            all.push(Request::DeleteRange(DeleteRangeRequest { key: key.into(), range_end, prev_kv: false }));
        }
    }
    all
}

/// Keys that meet in every way: before, within and after one another, a prefix, the successor of another (`a` and one zero byte), and
/// zero bytes, of which one alone as an end means "no end". A range that holds any key holds its own first key, so these
/// are all the keys at which two such requests can meet.
const UNIVERSE: [&str; 6] = ["\0", "a", "a\0", "aa", "b", "c"];
const ENDS: [Option<&str>; 9] = [None, Some(""), Some("\0"), Some("a"), Some("a\0"), Some("aa"), Some("b"), Some("c"), Some("\0\0")];

#[test]
fn every_pair_of_simple_requests() {
    let all = simple_requests(&UNIVERSE, &ENDS);
    let keys = UNIVERSE.map(Bytes::from);
    let mut conflicts = 0;
    for a in &all {
        for b in &all {
            let expected = conflict(a, b, &keys);
            assert_eq!(a.conflicts(b), expected, "{a:?} and {b:?}");
            conflicts += usize::from(expected);
        }
    }
    assert!(conflicts > all.len() && conflicts < all.len() * all.len() / 2, "{conflicts} of {}: both answers occur", all.len().pow(2));
}

/// In a txn everything counts: compares as reads, both branches whichever is taken, and txns within them.
#[test]
fn every_pair_with_a_txn() {
    let (names, ends) = (["a", "b", "c"], [None, Some("b"), Some("c"), Some("\0")]);
    let simple = simple_requests(&names, &ends);
    let compares = names.map(|key| txn(vec![compare(key, CompareResult::Equal, CompareTarget::Version(0))], vec![], vec![]));
    let branches = simple.iter().flat_map(|r| [txn(vec![], vec![r.clone()], vec![]), txn(vec![], vec![], vec![r.clone()])]);
    let nested = simple.iter().map(|r| txn(vec![], vec![txn(vec![], vec![], vec![r.clone()])], vec![get("c")]));
    let both = simple.windows(2).map(|pair| txn(vec![], vec![pair[0].clone()], vec![pair[1].clone()]));
    let txns: Vec<Request> = compares.into_iter().chain(branches).chain(nested).chain(both).collect();
    let keys = names.map(Bytes::from);
    for a in &txns {
        for b in simple.iter().chain(&txns) {
            let expected = conflict(a, b, &keys);
            assert_eq!(a.conflicts(b), expected, "{a:?} and {b:?}");
            assert_eq!(b.conflicts(a), expected, "{b:?} and {a:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Larger requests. Range ends and keys are drawn from [`KEYS`], so that any overlap holds one of them.
    #[test]
    fn random_requests(a in command(), b in command()) {
        prop_assert_eq!(a.conflicts(&b), conflict(&a, &b, &KEYS.map(Bytes::from)));
    }
}

/// Leases are touched by name; what is attached to one is not named, so a revoke is never fast and conflicts with everything.
#[test]
fn leases_and_what_depends_on_the_state() {
    let fast = |request: &Request| request.fast_allowed();
    let (one, two) = (grant(1, 5), grant(2, 5));
    assert!(one.conflicts(&one) && !one.conflicts(&two) && fast(&one));
    assert!(one.conflicts(&attach("a", "x", 1)) && !one.conflicts(&attach("a", "x", 2)) && !one.conflicts(&put("a", "x")));
    assert!(one.conflicts(&txn(vec![], vec![], vec![attach("a", "x", 1)])), "both branches count");
    assert!(!attach("a", "x", 1).conflicts(&attach("b", "x", 1)) && fast(&attach("a", "x", 1)), "a lease's keys are a set");

    let as_of = |revision| Request::Range(RangeRequest { key: "a".into(), revision, ..RangeRequest::default() });
    let newer = Request::Range(RangeRequest { key: "a".into(), min_mod_revision: 5, ..RangeRequest::default() });
    let sees_own = txn(vec![], vec![put("a", "x"), newer.clone()], vec![]);
    for never in [revoke(1), compact(3), as_of(3), txn(vec![], vec![], vec![as_of(3)]), sees_own] {
        assert!(!fast(&never), "{never:?}");
        for other in [put("z", "x"), get("z"), two.clone(), revoke(2), compact(2), txn(vec![], vec![], vec![])] {
            assert!(never.conflicts(&other) && other.conflicts(&never), "{never:?} and {other:?}");
        }
    }
    assert!(fast(&as_of(0)) && fast(&newer) && fast(&txn(vec![], vec![newer], vec![])), "revisions of what is applied are final");

    let keep = Request::LeaseKeepAlive(LeaseKeepAliveRequest { id: 1 });
    let left = |keys| Request::LeaseTimeToLive(LeaseTimeToLiveRequest { id: 1, keys });
    for (request, by_name) in [(keep, true), (left(false), true), (left(true), false), (Request::LeaseLeases, false)] {
        assert!(request.is_leaders() && !request.is_write() && !fast(&request), "{request:?}");
        assert!(request.conflicts(&one) && request.conflicts(&revoke(1)));
        assert_eq!(request.conflicts(&put("a", "x")), !by_name, "{request:?} waits for what may detach a key if it names them");
    }
}

#[test]
fn known_bugs_are_noticed() {
    fails_with(Mutant::RevokeIsFast, leases_and_what_depends_on_the_state);
    fails_with(Mutant::ConflictMissesLease, leases_and_what_depends_on_the_state);
    fails_with(Mutant::ConflictMissesRangeEnd, every_pair_of_simple_requests);
}
