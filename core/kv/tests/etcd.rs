//! The store against what etcd answers, computed by hand.

mod common;

use common::*;
use curp::CommandExecutor;
use kv::CompareResult::{Equal, Greater, Less, NotEqual};
use kv::CompareTarget::{CreateRevision, ModRevision, Value, Version};
use kv::*;

fn put_response(prev_kv: Option<KeyValue>) -> Response {
    Response::Put { prev_kv }
}

fn range_response(kvs: Vec<KeyValue>) -> Response {
    Response::Range { count: kvs.len() as u64, kvs, more: false }
}

fn delete_response(prev_kvs: Vec<KeyValue>) -> Response {
    Response::DeleteRange { deleted: prev_kvs.len() as u64, prev_kvs }
}

#[test]
fn revisions_and_versions() {
    let mut store = Store::new();
    assert_eq!(run(&mut store, get("a")), (1, range_response(vec![])), "an empty store has revision 1");
    assert_eq!(run(&mut store, put("a", "1")), (2, put_response(None)), "the first write gets 2");
    assert_eq!(run(&mut store, put("a", "2")), (3, put_response(Some(kv("a", "1", 2, 2, 1)))));
    assert_eq!(run(&mut store, put("b", "1")), (4, put_response(None)));
    assert_eq!(run(&mut store, get("a")), (4, range_response(vec![kv("a", "2", 2, 3, 2)])), "the header's revision is the store's");
    assert_eq!(run(&mut store, delete("a")), (5, delete_response(vec![kv("a", "2", 2, 3, 2)])));
    assert_eq!(run(&mut store, delete("a")), (5, delete_response(vec![])), "nothing deleted, no revision");
    assert_eq!(run(&mut store, put("a", "3")), (6, put_response(None)));
    assert_eq!(run(&mut store, get("a")), (6, range_response(vec![kv("a", "3", 6, 6, 1)])), "a new life begins at version 1");
    let Response::Put { prev_kv: None } =
        run(&mut store, Request::Put(PutRequest { key: "a".into(), value: "4".into(), prev_kv: false, ..PutRequest::default() })).1
    else {
        panic!("prev_kv was not asked for")
    };
}

#[test]
fn ranges() {
    let mut store = Store::new();
    for key in ["a", "aa", "b", "c"] {
        run(&mut store, put(key, key));
    }
    let (a, aa, b, c) = (kv("a", "a", 2, 2, 1), kv("aa", "aa", 3, 3, 1), kv("b", "b", 4, 4, 1), kv("c", "c", 5, 5, 1));
    let mut read = |request| run(&mut store, request).1;
    assert_eq!(read(range("a", "b", 0)), range_response(vec![a.clone(), aa.clone()]), "the end is exclusive");
    assert_eq!(read(range("aa", "z", 0)), range_response(vec![aa.clone(), b.clone(), c.clone()]));
    assert_eq!(
        read(range("a", "z", 2)),
        Response::Range { kvs: vec![a.clone(), aa.clone()], count: 4, more: true },
        "count does not heed the limit"
    );
    assert_eq!(read(range("a", "z", 9)), range_response(vec![a.clone(), aa.clone(), b.clone(), c.clone()]));
    for (key, end) in [("b", "b"), ("b", "a"), ("x", "z")] {
        assert_eq!(read(range(key, end, 0)), range_response(vec![]), "{key} {end}");
        assert_eq!(read(delete_range(key, end)), delete_response(vec![]), "{key} {end}");
    }
    assert_eq!(read(range("b", "\0", 0)), range_response(vec![b.clone(), c.clone()]), "an end of one zero byte is no end");
    assert_eq!(run(&mut store, delete_range("aa", "c")), (6, delete_response(vec![aa, b])), "one revision for all that a request deletes");
    assert_eq!(run(&mut store, range("\0", "\0", 0)), (6, range_response(vec![a.clone(), c.clone()])));
    assert_eq!(run(&mut store, delete_range("\0", "\0")), (7, delete_response(vec![a, c])));
}

#[test]
fn history_stays() {
    let mut store = Store::new();
    for request in [put("a", "1"), put("b", "1"), put("a", "2"), delete("a"), put("a", "3"), delete_range("a", "z")] {
        run(&mut store, request);
    }
    let (a1, a2, a3) = (kv("a", "1", 2, 2, 1), kv("a", "2", 2, 4, 2), kv("a", "3", 6, 6, 1));
    let b = kv("b", "1", 3, 3, 1);
    let expected =
        [vec![], vec![], vec![a1.clone()], vec![a1, b.clone()], vec![a2, b.clone()], vec![b.clone()], vec![a3.clone(), b.clone()], vec![]];
    for (revision, kvs) in expected.into_iter().enumerate() {
        let count = kvs.len() as u64;
        assert_eq!(store.range_at(&everything(), revision as u64), (kvs, count), "revision {revision}");
    }
    let one = RangeRequest { limit: 1, ..everything() };
    assert_eq!(store.range_at(&one, 6), (vec![a3], 2));
    let point = RangeRequest { key: "b".into(), range_end: None, limit: 0, ..RangeRequest::default() };
    assert_eq!(store.range_at(&point, 5), (vec![b], 1));
}

#[test]
fn compares() {
    let mut store = Store::new();
    run(&mut store, put("x", "0"));
    run(&mut store, put("a", "m"));
    run(&mut store, put("a", "m"));
    // a: create revision 3, mod revision 4, version 2; `no` does not exist.
    let cases = [
        (compare("a", Equal, Version(2)), true),
        (compare("a", Greater, Version(2)), false),
        (compare("a", Greater, Version(1)), true),
        (compare("a", Less, Version(3)), true),
        (compare("a", NotEqual, Version(2)), false),
        (compare("a", Equal, CreateRevision(3)), true),
        (compare("a", Equal, ModRevision(4)), true),
        (compare("a", Less, ModRevision(4)), false),
        (compare("a", Equal, Value("m".into())), true),
        (compare("a", Greater, Value("l".into())), true),
        (compare("a", Less, Value("ma".into())), true),
        (compare("a", NotEqual, Value("m".into())), false),
        (compare("no", Equal, Version(0)), true),
        (compare("no", Equal, CreateRevision(0)), true),
        (compare("no", Less, ModRevision(1)), true),
        (compare("no", NotEqual, Version(0)), false),
        (compare("no", Equal, Value("".into())), false),
        (compare("no", NotEqual, Value("m".into())), false),
    ];
    for (compare, holds) in cases {
        let request = txn(vec![compare.clone()], vec![], vec![]);
        assert_eq!(run(&mut store, request), (4, Response::Txn { succeeded: holds, responses: vec![] }), "{compare:?}");
    }
    let both = txn(vec![compare("a", Equal, Version(2)), compare("no", Equal, Version(1))], vec![get("a")], vec![get("x")]);
    let x = range_response(vec![kv("x", "0", 2, 2, 1)]);
    assert_eq!(run(&mut store, both).1, Response::Txn { succeeded: false, responses: vec![x] }, "all must hold");
    assert_eq!(run(&mut store, txn(vec![], vec![], vec![get("a")])).1, Response::Txn { succeeded: true, responses: vec![] });
}

#[test]
fn a_txn_is_one_revision_and_sees_itself() {
    let mut store = Store::new();
    run(&mut store, put("b", "old"));
    let requests =
        vec![put("a", "1"), get("a"), delete_range("b", "d"), range("a", "z", 0), put("e", "2"), range("a", "z", 1), delete("b")];
    // The compare sees the state before the txn, not its writes.
    let request = txn(vec![compare("a", Equal, Version(0))], requests, vec![]);
    let before = store.execute(&request);
    let responses = vec![
        put_response(None),
        range_response(vec![kv("a", "1", 3, 3, 1)]),
        delete_response(vec![kv("b", "old", 2, 2, 1)]),
        range_response(vec![kv("a", "1", 3, 3, 1)]),
        put_response(None),
        Response::Range { kvs: vec![kv("a", "1", 3, 3, 1)], count: 2, more: true },
        delete_response(vec![]),
    ];
    assert_eq!(run(&mut store, request), (3, Response::Txn { succeeded: true, responses }));
    assert_eq!(run(&mut store, range("a", "z", 0)), (3, range_response(vec![kv("a", "1", 3, 3, 1), kv("e", "2", 3, 3, 1)])));

    // The fast result was the same, but for the revision that was not known.
    let Response::Txn { responses, .. } = before else { panic!("{before:?}") };
    assert_eq!(responses[1], range_response(vec![kv("a", "1", REVISION_UNKNOWN, REVISION_UNKNOWN, 1)]));

    let nothing = txn(vec![], vec![get("a"), delete("no"), range("x", "z", 0)], vec![put("a", "2")]);
    assert_eq!(run(&mut store, nothing).0, 3, "a txn that writes nothing makes no revision");
    let failed = txn(vec![compare("a", Equal, Version(9))], vec![put("a", "2")], vec![delete("a")]);
    assert_eq!(
        run(&mut store, failed),
        (4, Response::Txn { succeeded: false, responses: vec![delete_response(vec![kv("a", "1", 3, 3, 1)])] })
    );
}

#[test]
fn execute_changes_nothing() {
    let mut store = Store::new();
    run(&mut store, put("a", "1"));
    for request in [put("a", "2"), delete("a"), txn(vec![], vec![put("b", "1"), delete("a")], vec![])] {
        let hash = store.hash();
        store.execute(&request);
        assert_eq!((store.revision(), store.hash(), store.full_hash()), (2, hash, hash));
    }
    let before = store.hash();
    let revision = store.prepare(1, 0, &delete("a"));
    store.after_sync(1, 0, revision, &delete("a"));
    assert_eq!(store.take_delta(), 0u64.wrapping_sub(before), "an empty store hashes to 0");
    assert_eq!((store.take_delta(), store.hash()), (0, 0));
}

#[test]
fn definite_errors() {
    let ok = |request: Request| assert_eq!(request.validate(), Ok(()), "{request:?}");
    let refused = |request: Request, why: &str| assert_eq!(request.validate(), Err(why.to_owned()), "{request:?}");
    let in_txn = |requests| txn(vec![], vec![], requests);
    for request in [put("", "v"), get(""), range("", "z", 0), delete(""), delete_range("", "z")] {
        refused(request.clone(), "etcdserver: key is not provided");
        refused(in_txn(vec![request]), "etcdserver: key is not provided");
    }
    refused(txn(vec![compare("", Equal, Version(0))], vec![], vec![]), "etcdserver: key is not provided");
    for request in [put("a", ""), range("b", "a", 0), range("a", "a", 0), delete_range("b", "a"), txn(vec![], vec![], vec![])] {
        ok(request);
    }
    let duplicate = "etcdserver: duplicate key given in txn request";
    refused(in_txn(vec![put("a", "1"), put("b", "1"), put("a", "2")]), duplicate);
    refused(in_txn(vec![put("a", "1"), delete("a")]), duplicate);
    refused(in_txn(vec![delete_range("a", "c"), put("b", "1")]), duplicate);
    refused(in_txn(vec![delete_range("a", "\0"), put("z", "1")]), duplicate);
    ok(in_txn(vec![delete_range("a", "c"), put("c", "1"), delete_range("a", "b"), delete("a")]));
    ok(in_txn(vec![put("a", "1"), get("a"), delete_range("a", "a")]));
    ok(txn(vec![], vec![put("a", "1")], vec![put("a", "2")]));
    ok(in_txn(vec![get("a"); 128]));
    refused(in_txn(vec![get("a"); 129]), "etcdserver: too many operations in txn request");
}

#[test]
fn writes_and_reads() {
    for (request, writes) in [
        (put("a", "1"), true),
        (delete_range("a", "b"), true),
        (get("a"), false),
        (txn(vec![], vec![get("a")], vec![get("b")]), false),
        (txn(vec![], vec![get("a")], vec![delete("b")]), true),
    ] {
        assert_eq!(request.is_write(), writes, "{request:?}");
    }
}

/// What histories and scenarios hold.
#[test]
fn bytes_as_text() {
    for (bytes, text) in
        [(b"a".to_vec(), "\"a\""), (vec![0xff, 0], "\"hex:ff00\""), (b"hex:x".to_vec(), "\"hex:6865783a78\""), (vec![0], "\"\\u0000\"")]
    {
        let json = serde_json::to_string(&Bytes::from(bytes.clone())).expect("a string");
        assert_eq!(json, text);
        assert_eq!(serde_json::from_str::<Bytes>(&json).expect("what was written"), Bytes::from(bytes));
    }
    assert!(serde_json::from_str::<Bytes>("\"hex:f\"").is_err());
}
