//! The conflict test against brute force: two requests conflict if and only if some key is touched by both and written by one of them.
//! Which keys a request touches is asked key by key here, never by comparing ends of ranges.

mod common;

use common::*;
use curp::ConflictCheck;
use kv::*;
use proptest::prelude::*;

/// Whether the request may read or write the key, and whether it may write it.
fn touches(request: &Request, key: &Bytes) -> (bool, bool) {
    match request {
        Request::Put(put) => (put.key == *key, put.key == *key),
        Request::Range(r) => (in_range(key, &r.key, r.range_end.as_ref()), false),
        Request::DeleteRange(d) => (in_range(key, &d.key, d.range_end.as_ref()), in_range(key, &d.key, d.range_end.as_ref())),
        Request::Txn(txn) => {
            let compares = (txn.compare.iter().any(|c| c.key == *key), false);
            let branches = txn.success.iter().chain(&txn.failure).map(|r| touches(r, key));
            branches.fold(compares, |(touch, write), (t, w)| (touch || t, write || w))
        }
    }
}

fn conflict(a: &Request, b: &Request, keys: &[Bytes]) -> bool {
    keys.iter().any(|key| {
        let ((a_touches, a_writes), (b_touches, b_writes)) = (touches(a, key), touches(b, key));
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
            all.push(Request::Range(RangeRequest { key: key.into(), range_end: range_end.clone(), limit: 1 }));
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
    fn random_requests(a in request(), b in request()) {
        prop_assert_eq!(a.conflicts(&b), conflict(&a, &b, &KEYS.map(Bytes::from)));
    }
}
