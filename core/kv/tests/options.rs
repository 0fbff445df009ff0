//! The options of requests, and compaction, against what etcd answers, computed by hand.

mod common;

use common::*;
use kv::CompareResult::{Equal, Greater};
use kv::*;
use mutants::Mutant;

/// Keys a, b, c with versions 1, 2, 1; b was written last and holds the least value.
fn store() -> Store {
    let mut store = Store::new();
    for (key, value) in [("a", "z"), ("b", "m"), ("c", "y"), ("b", "k")] {
        run(&mut store, put(key, value));
    }
    store
}

fn read(store: &Store, request: RangeRequest) -> (Vec<String>, u64, bool) {
    match store.read(&RangeRequest { key: "a".into(), range_end: Some("\0".into()), ..request }, store.revision()) {
        Response::Range { kvs, count, more } => (kvs.iter().map(|kv| format!("{}={}", kv.key, kv.value)).collect(), count, more),
        other => panic!("{other:?}"),
    }
}

#[test]
fn order_limit_and_filters() {
    let store = store();
    let plain = RangeRequest::default;
    let keys = |kvs: &[&str], count, more| (kvs.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>(), count, more);
    assert_eq!(read(&store, plain()), keys(&["a=z", "b=k", "c=y"], 3, false));
    assert_eq!(read(&store, RangeRequest { limit: 2, ..plain() }), keys(&["a=z", "b=k"], 3, true));
    assert_eq!(read(&store, RangeRequest { limit: 3, ..plain() }), keys(&["a=z", "b=k", "c=y"], 3, false));
    assert_eq!(read(&store, RangeRequest { keys_only: true, ..plain() }), keys(&["a=", "b=", "c="], 3, false));
    assert_eq!(read(&store, RangeRequest { count_only: true, limit: 1, ..plain() }), keys(&[], 3, false));
    let sorted = |sort_target, sort_order, limit| read(&store, RangeRequest { sort_target, sort_order, limit, ..plain() });
    assert_eq!(sorted(SortTarget::Value, SortOrder::None, 0), keys(&["b=k", "c=y", "a=z"], 3, false), "without an order it ascends");
    assert_eq!(sorted(SortTarget::Key, SortOrder::Descend, 1), keys(&["c=y"], 3, true), "sorted before the limit");
    assert_eq!(sorted(SortTarget::Mod, SortOrder::Descend, 2), keys(&["b=k", "c=y"], 3, true));
    assert_eq!(sorted(SortTarget::Create, SortOrder::Descend, 0), keys(&["c=y", "b=k", "a=z"], 3, false));
    assert_eq!(sorted(SortTarget::Version, SortOrder::Descend, 0), keys(&["b=k", "a=z", "c=y"], 3, false), "equals in key order");
    let by_value = RangeRequest { sort_target: SortTarget::Value, keys_only: true, ..plain() };
    assert_eq!(read(&store, by_value), keys(&["b=", "c=", "a="], 3, false), "sorted by values that are not shown");
    assert_eq!(read(&store, RangeRequest { min_mod_revision: 4, ..plain() }), keys(&["b=k", "c=y"], 3, false), "the count is of all");
    assert_eq!(read(&store, RangeRequest { max_mod_revision: 4, limit: 1, ..plain() }), keys(&["a=z"], 3, true));
    assert_eq!(read(&store, RangeRequest { min_create_revision: 3, max_create_revision: 3, ..plain() }), keys(&["b=k"], 3, false));
    assert_eq!(read(&store, RangeRequest { revision: 4, ..plain() }), keys(&["a=z", "b=m", "c=y"], 3, false));
}

/// A txn's range sees its own writes as the latest, even where they have no revision yet.
#[test]
fn order_within_a_txn() {
    let mut store = store();
    let by_mod = RangeRequest { key: "a".into(), range_end: Some("\0".into()), sort_target: SortTarget::Mod, ..RangeRequest::default() };
    let request = txn(vec![], vec![put("a", "new"), Request::Range(by_mod)], vec![]);
    let keys = |response: Response| {
        let Response::Txn { responses, .. } = response else { panic!("{response:?}") };
        let Response::Range { kvs, .. } = &responses[1] else { panic!("{responses:?}") };
        kvs.iter().map(|kv| kv.key.to_string()).collect::<Vec<_>>()
    };
    let fast = keys(curp::CommandExecutor::execute(&store, &request));
    assert_eq!(
        (fast, keys(run(&mut store, request).1)),
        (vec!["c".into(), "b".into(), "a".into()], vec!["c".into(), "b".into(), "a".into()])
    );
}

#[test]
fn compaction() {
    let mut store = store();
    let as_of = |revision| Request::Range(RangeRequest { revision, ..everything() });
    assert_eq!(run(&mut store, compact(6)), (5, Response::Error(Error::FutureRevision)));
    assert_eq!(run(&mut store, compact(4)), (5, Response::Compact), "a compaction makes no revision");
    for revision in [3, 4] {
        assert_eq!(run(&mut store, compact(revision)).1, Response::Error(Error::Compacted), "{revision} is compacted already");
    }
    assert_eq!(run(&mut store, as_of(3)).1, Response::Error(Error::Compacted));
    assert_eq!(run(&mut store, as_of(6)).1, Response::Error(Error::FutureRevision));
    let (a, b, c) = (kv("a", "z", 2, 2, 1), kv("b", "m", 3, 3, 1), kv("c", "y", 4, 4, 1));
    assert_eq!(store.range_at(&RangeRequest { revision: 4, ..everything() }, 5), (vec![a, b, c], 3), "the revision itself stays");
    // In a txn the error is that of the whole.
    assert_eq!(run(&mut store, txn(vec![], vec![put("a", "1"), as_of(3)], vec![])), (5, Response::Error(Error::Compacted)));
    assert_eq!(run(&mut store, txn(vec![], vec![put("a", "1"), as_of(6)], vec![])), (5, Response::Error(Error::FutureRevision)));
    let Response::Txn { responses, .. } = run(&mut store, txn(vec![], vec![put("a", "1"), as_of(5)], vec![])).1 else { panic!("a txn") };
    let Response::Range { kvs, .. } = &responses[1] else { panic!("{responses:?}") };
    assert_eq!(kvs[0], kv("a", "z", 2, 2, 1), "as of a revision before the txn it does not see itself");
    // Deleted keys go, and come back as new ones.
    run(&mut store, delete("c"));
    run(&mut store, put("d", "1"));
    run(&mut store, compact(8));
    assert_eq!(run(&mut store, put("c", "2")).0, 9);
    assert_eq!(run(&mut store, get("c")).1, Response::Range { kvs: vec![kv("c", "2", 9, 9, 1)], count: 1, more: false });
}

#[test]
fn compares_of_ranges() {
    let mut store = store();
    let all = |target, result, end: &str| Compare { key: "a".into(), range_end: Some(end.into()), result, target };
    for (compare, holds) in [
        (all(CompareTarget::Version(0), Greater, "\0"), true),
        (all(CompareTarget::Version(1), Greater, "\0"), false),
        (all(CompareTarget::CreateRevision(1), Greater, "c"), true),
        (all(CompareTarget::Version(0), Equal, "a"), true), // No key: as a missing one.
        (all(CompareTarget::Value("".into()), Equal, "a"), false),
        (all(CompareTarget::Lease(0), Equal, "\0"), true),
    ] {
        let request = txn(vec![compare.clone()], vec![], vec![]);
        assert_eq!(run(&mut store, request).1, Response::Txn { succeeded: holds, responses: vec![] }, "{compare:?}");
    }
}

#[test]
fn a_txn_compares_what_was_before_it() {
    let mut store = store();
    let swap = txn(vec![compare("a", Equal, CompareTarget::Value("z".into()))], vec![put("a", "1")], vec![]);
    let Response::Txn { succeeded, .. } = run(&mut store, swap).1 else { panic!("a txn") };
    assert!(succeeded);
}

/// All compares, those of inner txns too, see the state before the whole; everything else sees what came before it.
#[test]
fn txns_within_txns() {
    let mut store = Store::new();
    let inner = txn(vec![compare("a", Equal, CompareTarget::Version(0))], vec![put("b", "then"), get("a")], vec![put("b", "else")]);
    let responses = |response: Response| match response {
        Response::Txn { succeeded, responses } => (succeeded, responses),
        other => panic!("{other:?}"),
    };
    let (revision, response) = run(&mut store, txn(vec![], vec![put("a", "1"), inner.clone(), get("b")], vec![]));
    let (_, outer) = responses(response);
    let (succeeded, within) = responses(outer[1].clone());
    assert!(succeeded, "`a` did not exist before");
    assert_eq!((revision, &within[1]), (2, &Response::Range { kvs: vec![kv("a", "1", 2, 2, 1)], count: 1, more: false }));
    assert_eq!(outer[2], Response::Range { kvs: vec![kv("b", "then", 2, 2, 1)], count: 1, more: false });
    let (revision, response) = run(&mut store, txn(vec![], vec![inner], vec![]));
    let (succeeded, _) = responses(responses(response).1[0].clone());
    assert_eq!((revision, succeeded), (3, false));
}

#[test]
fn what_is_refused_in_nested_txns() {
    let in_txn = |requests| txn(vec![], requests, vec![]);
    let either = |a, b| txn(vec![], vec![a], vec![b]);
    for (requests, expected) in [
        (vec![in_txn(vec![put("a", "1")]), put("b", "1")], Ok(())),
        (vec![in_txn(vec![put("a", "1")]), put("a", "2")], Err(Error::DuplicateKey)),
        (vec![put("a", "2"), in_txn(vec![delete("a")])], Err(Error::DuplicateKey)),
        (vec![in_txn(vec![delete_range("a", "c")]), in_txn(vec![put("b", "2")])], Err(Error::DuplicateKey)),
        (vec![in_txn(vec![put("b", "2")]), in_txn(vec![delete_range("a", "c")])], Err(Error::DuplicateKey)),
        (vec![either(put("a", "1"), put("a", "2"))], Ok(())),
        (vec![either(put("a", "1"), delete("a"))], Ok(())),
        (vec![either(put("a", "1"), put("b", "2")), put("b", "3")], Err(Error::DuplicateKey)),
        (vec![in_txn(vec![put("", "1")])], Err(Error::EmptyKey)),
        (vec![in_txn(vec![compact(1)])], Err(Error::NotAllowedHere)),
        (vec![Request::LeaseLeases], Err(Error::NotAllowedHere)),
    ] {
        assert_eq!(in_txn(requests.clone()).check(), expected, "{requests:?}");
    }
    // An inner txn has what the outer one leaves.
    assert_eq!(in_txn(vec![in_txn(vec![get("a"); 127])]).check(), Ok(()));
    assert_eq!(in_txn(vec![in_txn(vec![get("a"); 128])]).check(), Err(Error::TooManyOps));
    let deep = (0..129).fold(get("a"), |inner, _| in_txn(vec![inner]));
    assert_eq!(deep.check(), Err(Error::TooManyOps));
}

#[test]
fn errors_are_etcds() {
    for (error, code, message) in [
        (Error::Compacted, 11, "etcdserver: mvcc: required revision has been compacted"),
        (Error::FutureRevision, 11, "etcdserver: mvcc: required revision is a future revision"),
        (Error::LeaseNotFound, 5, "etcdserver: requested lease not found"),
        (Error::LeaseExists, 9, "etcdserver: lease already exists"),
        (Error::EmptyKey, 3, "etcdserver: key is not provided"),
    ] {
        assert_eq!((error.code() as u8, error.to_string()), (code, message.to_owned()));
    }
    assert_eq!(put("", "1").validate(), Err("etcdserver: key is not provided".to_owned()));
}

/// A read at what is applied is not touched by a later command that has been done already.
#[test]
fn a_read_is_of_one_revision() {
    let mut store = store();
    let (first, second) = (put("x", "1"), put("a", "later"));
    let revisions = [&first, &second].map(|request| store.prepare_entry(None, request));
    store.apply(revisions[1], &second);
    assert_eq!(store.applied_revision(), 5);
    let (kvs, _) = store.range_at(&RangeRequest { limit: 1, ..everything() }, store.applied_revision());
    assert_eq!(kvs, [kv("a", "z", 2, 2, 1)]);
}

#[test]
fn known_bugs_are_noticed() {
    fails_with(Mutant::TxnSeesItself, a_txn_compares_what_was_before_it);
    fails_with(Mutant::RangeTorn, a_read_is_of_one_revision);
}
