//! `lock`, `registry`, `authorisation`, `zookeeper`: each rule broken.

use history::{ClientEvent, Recipe, RecipeResult, ZkError, ZkOp, ZkResult};
use kv::Request;

use super::super::applications as a;
use super::super::zookeeper as z;
use super::stage::{Stage, grant, put, revoke};

fn begin(s: &mut Stage, client: u32, op: u64, recipe: Recipe) {
    s.client_of(client, ClientEvent::Begin { op, recipe });
}

fn end(s: &mut Stage, client: u32, op: u64, result: RecipeResult) {
    s.client_of(client, ClientEvent::End { op, result: Some(result) });
}

fn delete(key: &str) -> Request {
    Request::DeleteRange(kv::DeleteRangeRequest { key: key.into(), range_end: None, prev_kv: false })
}

#[test]
fn a_lock_that_two_believe_in() {
    let lock = || kv::Bytes::from("lock/1");
    let mut s = Stage::new(0);
    s.client_of(1, ClientEvent::Hold { op: 1, lock: lock(), lease: 5 });
    s.client_of(1, ClientEvent::LetGo { op: 1, lock: lock() });
    s.client_of(2, ClientEvent::Hold { op: 2, lock: lock(), lease: 6 });
    s.client_of(3, ClientEvent::Hold { op: 4, lock: "lock/2".into(), lease: 8 });
    s.client_of(2, ClientEvent::ClientCrash);
    s.client_of(1, ClientEvent::Hold { op: 3, lock: lock(), lease: 7 });
    s.quiet();
    s.client_of(2, ClientEvent::Hold { op: 5, lock: lock(), lease: 9 });
    s.broken(
        "lock",
        a::HELD_ONCE,
        "lock lock/1 is held by client c2 with lease 9 (operation 5), while client c1 with lease 7 (operation 3)",
    );
}

#[test]
fn a_lock_that_was_not_had() {
    let mut s = Stage::new(0);
    for held in [true, false] {
        let op = 3 + u64::from(held);
        begin(&mut s, 1, op, Recipe::Lock { lock: "lock/1".into() });
        s.run(op << 32 | 1, &grant(op.cast_signed(), 10));
        if held {
            s.run(op << 32 | 2, &put("lock/1", "x", op.cast_signed()));
        }
        end(&mut s, 1, op, RecipeResult::Held { lease: op.cast_signed() });
        if held {
            s.quiet();
        }
    }
    s.broken("lock", a::HELD_BY_LEASE, "it held lock lock/1, which lease 3 did not have");
}

#[test]
fn a_registry() {
    let register = |s: &mut Stage, op: u64, name: &str, put_it: bool| {
        begin(s, 1, op, Recipe::Register { service: "svc/".into(), instance: name.into() });
        s.run(op << 32 | 1, &grant(op.cast_signed(), 10));
        if put_it {
            s.run(op << 32 | 2, &put(&format!("svc/{name}"), "x", op.cast_signed()));
        }
        end(s, 1, op, RecipeResult::Registered { lease: op.cast_signed() });
    };
    let discover = |s: &mut Stage, op: u64, names: &[&str]| {
        begin(s, 2, op, Recipe::Discover { service: "svc/".into() });
        end(s, 2, op, RecipeResult::Instances { instances: names.iter().map(|n| (*n).into()).collect() });
    };
    let two = || {
        let mut s = Stage::new(0);
        register(&mut s, 1, "a", true);
        register(&mut s, 2, "b", true);
        s
    };
    let mut s = two();
    discover(&mut s, 3, &["a", "b"]);
    begin(&mut s, 2, 4, Recipe::Discover { service: "svc/".into() });
    s.at(10_040).expire(1);
    for (op, names) in [(4, vec!["a", "b"]), (5, vec!["b"])] {
        if op == 5 {
            begin(&mut s, 2, 5, Recipe::Discover { service: "svc/".into() });
        }
        end(&mut s, 2, op, RecipeResult::Instances { instances: names.into_iter().map(Into::into).collect() });
    }
    s.quiet();
    discover(&mut s, 6, &["a", "b"]);
    s.broken("registry", a::NOT_LISTED, "svc/a was listed, and was not registered at all");
    let mut s = two();
    discover(&mut s, 3, &["b"]);
    s.broken("registry", a::LISTED, "svc/a was not listed, and was registered all the while");
    let mut s = two();
    register(&mut s, 3, "c", false);
    s.broken("registry", a::REGISTERED, "svc/c was registered with lease 3, and was not there");
}

#[test]
fn a_delegated_right() {
    let token = || kv::Bytes::from("token/1");
    let authorised = || {
        let mut s = Stage::new(0);
        begin(&mut s, 1, 1, Recipe::Authorise { token: token() });
        s.run(1 << 32 | 1, &grant(5, 10));
        s.run(1 << 32 | 2, &put("token/1", "x", 5));
        end(&mut s, 1, 1, RecipeResult::Authorised { lease: 5 });
        s
    };
    let used = |s: &mut Stage, op: u64, writes: bool, result: RecipeResult| {
        begin(s, 2, op, Recipe::Use { token: token(), key: "data".into() });
        if writes {
            s.run(op << 32 | 1, &put("data", &(op << 32 | 1).to_string(), 0));
        }
        end(s, 2, op, result);
    };
    let withdraw = |s: &mut Stage, really: bool| {
        begin(s, 1, 9, Recipe::Withdraw { token: token() });
        if really {
            s.run(9 << 32 | 1, &revoke(5, None));
        }
        end(s, 1, 9, RecipeResult::Withdrawn);
    };
    let mut s = authorised();
    used(&mut s, 2, true, RecipeResult::Allowed);
    withdraw(&mut s, true);
    used(&mut s, 3, false, RecipeResult::Denied);
    s.quiet();
    used(&mut s, 4, true, RecipeResult::Allowed);
    s.broken("authorisation", a::ALLOWED, "its use of token token/1 was allowed, which was not there");
    let mut s = authorised();
    used(&mut s, 2, false, RecipeResult::Denied);
    s.broken("authorisation", a::DENIED, "was refused, which was there all the while");
    let mut s = Stage::new(0);
    used(&mut s, 2, true, RecipeResult::Denied);
    s.broken("authorisation", a::DENIED_WRITES, "was refused, and it wrote data all the same");
    let mut s = authorised();
    withdraw(&mut s, false);
    s.broken("authorisation", a::WITHDRAWN, "was withdrawn, and was there all the while");
    let mut s = Stage::new(0);
    begin(&mut s, 1, 1, Recipe::Authorise { token: token() });
    s.run(1 << 32 | 1, &delete("token/1"));
    end(&mut s, 1, 1, RecipeResult::Authorised { lease: 5 });
    s.broken("authorisation", a::AUTHORISED, "token token/1 was granted with lease 5, and was not there");
}

fn create(path: &str, ephemeral: bool, sequential: bool) -> ZkOp {
    ZkOp::Create { path: path.into(), data: "1".into(), ephemeral, sequential }
}

fn did(s: &mut Stage, client: u32, op: u64, what: ZkOp, result: ZkResult) {
    begin(s, client, op, Recipe::Zk(what));
    let t = s.now() / 1_000_000;
    s.at(t + 1);
    end(s, client, op, RecipeResult::Zk(result));
    s.at(t + 2);
}

fn made(path: &str) -> ZkResult {
    ZkResult::Created { path: path.into() }
}

#[test]
fn a_tree() {
    let begun = || {
        let mut s = Stage::new(0);
        begin(&mut s, 1, 1, Recipe::Zk(create("/a", false, false)));
        s.run(1 << 32 | 1, &grant(5, 10));
        end(&mut s, 1, 1, RecipeResult::Zk(made("/a")));
        s.at(2);
        did(&mut s, 1, 2, create("/a/e", true, false), made("/a/e"));
        did(&mut s, 1, 3, create("/a/n-", false, true), made("/a/n-0000000004"));
        did(&mut s, 2, 4, create("/a/n-", false, true), made("/a/n-0000000005"));
        s
    };
    let mut s = begun();
    did(&mut s, 2, 5, create("/a/e/x", false, false), ZkResult::Refused(ZkError::NoChildrenForEphemerals));
    did(&mut s, 2, 6, ZkOp::GetData { path: "/a/e".into() }, ZkResult::Data { data: "1".into(), version: 0 });
    did(&mut s, 1, 7, ZkOp::CloseSession, ZkResult::Closed);
    did(&mut s, 2, 8, ZkOp::GetData { path: "/a/e".into() }, ZkResult::Refused(ZkError::NoNode));
    did(&mut s, 1, 9, create("/a/e", true, false), made("/a/e"));
    s.quiet();
    // Whether it was closed is not known: the client's next session is another one, whatever became of the first.
    let close_unheard = |s: &mut Stage, op: u64, done: bool| {
        begin(s, 1, op, Recipe::Zk(ZkOp::CloseSession));
        if done {
            s.run(op << 32 | 1, &revoke(5, None));
        }
        s.client_of(1, ClientEvent::End { op, result: None });
    };
    let none = || ZkResult::Refused(ZkError::NoNode);
    let mut s = begun();
    close_unheard(&mut s, 7, true);
    did(&mut s, 2, 8, ZkOp::GetData { path: "/a/e".into() }, none());
    did(&mut s, 1, 9, create("/a/e", true, false), made("/a/e"));
    s.quiet();
    // It is there still, although its session is closed.
    let mut s = begun();
    did(&mut s, 1, 5, ZkOp::CloseSession, ZkResult::Closed);
    did(&mut s, 2, 6, ZkOp::GetData { path: "/a/e".into() }, ZkResult::Data { data: "1".into(), version: 0 });
    s.broken("zookeeper", z::LINEARIZABLE, "c2: get(/a/e) → 1 (version 0) was invoked 1 ms after c1: close() → done had been acknowledged");
    // Whether it is closed its client never heard; what it does from then on is of another session, which outlives it.
    let mut s = begun();
    close_unheard(&mut s, 5, true);
    did(&mut s, 1, 6, create("/e", true, false), made("/e"));
    did(&mut s, 2, 7, ZkOp::GetData { path: "/a/e".into() }, ZkResult::Refused(ZkError::NoNode));
    did(&mut s, 2, 8, ZkOp::GetData { path: "/e".into() }, ZkResult::Data { data: "1".into(), version: 0 });
    s.quiet();
    // The log has no end of the session: nothing took its node away.
    let mut s = begun();
    close_unheard(&mut s, 5, false);
    did(&mut s, 2, 6, ZkOp::GetData { path: "/a/e".into() }, none());
    s.broken("zookeeper", z::LINEARIZABLE, "get(/a/e) → NoNode");
    // Two nodes whose names nobody was ever told (zookeeper 64122971).
    let mut s = begun();
    for (client, op) in [(1, 5), (2, 6)] {
        begin(&mut s, client, op, Recipe::Zk(create("/a/m-", false, true)));
        let put = put(&format!("z2/a/m-{op:010}"), "1", 0);
        s.run(op << 32 | 1, &Request::Txn(kv::TxnRequest { compare: vec![], success: vec![put], failure: vec![] }));
        s.client_of(client, ClientEvent::End { op, result: None });
    }
    did(&mut s, 2, 7, ZkOp::GetData { path: "/a/e".into() }, ZkResult::Data { data: "1".into(), version: 0 });
    s.quiet();
    // A client that never had the use of its lease closes nothing.
    let mut s = Stage::new(0);
    begin(&mut s, 1, 1, Recipe::Zk(create("/a", false, false)));
    s.run(1 << 32 | 1, &grant(5, 1));
    s.client_of(1, ClientEvent::End { op: 1, result: None });
    s.at(1_010).expire(5);
    s.at(2_000);
    did(&mut s, 1, 2, ZkOp::CloseSession, ZkResult::Closed);
    s.quiet();
    // It expires.
    let expired = || {
        let mut s = begun();
        s.at(10_005).expire(5);
        s.at(10_006);
        s
    };
    let mut s = expired();
    did(&mut s, 2, 5, ZkOp::GetData { path: "/a/e".into() }, none());
    did(&mut s, 1, 6, create("/b", false, false), ZkResult::Refused(ZkError::SessionExpired));
    s.quiet();
    let mut s = expired();
    did(&mut s, 1, 5, create("/b", false, false), made("/b"));
    s.broken("zookeeper", z::LINEARIZABLE, "create(/b");
    let mut s = expired();
    did(&mut s, 2, 5, ZkOp::GetData { path: "/a/e".into() }, ZkResult::Data { data: "1".into(), version: 0 });
    s.broken("zookeeper", z::LINEARIZABLE, "get(/a/e) → 1 (version 0)");
    let mut s = begun();
    did(&mut s, 1, 5, create("/b", false, false), ZkResult::Refused(ZkError::SessionExpired));
    s.broken("zookeeper", z::LINEARIZABLE, "SessionExpired");
    let mut s = begun();
    did(&mut s, 3, 5, create("/a/n-", false, true), made("/a/n-0000000005"));
    s.broken("zookeeper", z::NUMBERED, "/a/n-0000000005 was made by operation 4 and by operation 5");
    let mut s = begun();
    did(&mut s, 3, 5, create("/a/n-", false, true), made("/a/n-0000000003"));
    s.broken("zookeeper", z::NUMBERED, "operation 5 was given /a/n-0000000003 after that");
}

#[test]
fn a_search_without_budget_leaves_the_tree_undecided() {
    let mut s = Stage::new(0);
    s.monitor.zookeeper.steps = 1;
    let path = |op: u64| kv::Bytes::from(format!("/{op}"));
    for op in 1..=3 {
        let create = ZkOp::Create { path: path(op), data: "1".into(), ephemeral: false, sequential: false };
        begin(&mut s, op as u32, op, Recipe::Zk(create));
    }
    for op in 1..=3 {
        end(&mut s, op as u32, op, RecipeResult::Zk(ZkResult::Created { path: path(op) }));
    }
    s.quiet();
    assert_eq!(s.monitor.evaluations()["zookeeper"], 0);
    let [(check, why)] = s.monitor.undecided() else { panic!("{:?}", s.monitor.undecided()) };
    assert!(*check == "zookeeper" && why.contains("ran out of 1 steps"), "{check}: {why}");
}
