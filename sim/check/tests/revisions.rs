//! L1: hand-made histories, and thousands of small random ones against a checker that tries every order.

mod support;

use check::replay::{Agreement, Replay, agreement};
use check::{Budget, Judgement, Level, Verdict, judge};
use history::{Operation, Outcome};
use kv::*;
use support::*;

const OK: Response = Response::Put { prev_kv: None };

fn judged(history: &[Operation]) -> Judgement {
    judge(history, None, Level::L1, Budget::default()).expect("the history is well-formed")
}

#[track_caller]
fn ok(history: &[Operation]) {
    let judgement = judged(history);
    assert_eq!(judgement.verdict, Verdict::Ok, "{}", judgement.message);
}

#[track_caller]
fn refused(history: &[Operation], says: &str) {
    let judgement = judged(history);
    assert_eq!(judgement.verdict, Verdict::Illegal);
    assert!(judgement.message.contains(says), "{}", judgement.message);
}

fn attach(key: &str, value: &str, lease: LeaseId) -> Request {
    Request::Put(PutRequest { key: key.into(), value: value.into(), lease, ..PutRequest::default() })
}

fn grant(id: LeaseId) -> Request {
    Request::LeaseGrant(LeaseGrantRequest { ttl: 5, id })
}

fn revoke(id: LeaseId) -> Request {
    Request::LeaseRevoke(LeaseRevokeRequest { id, stamp: None })
}

fn one(key: &str, value: &str, create: u64, modified: u64, version: u64) -> Response {
    let kv = KeyValue { key: key.into(), value: value.into(), create_revision: create, mod_revision: modified, version, lease: 0 };
    Response::Range { kvs: vec![kv], count: 1, more: false }
}

fn nothing() -> Response {
    Response::Range { kvs: vec![], count: 0, more: false }
}

#[test]
fn revisions_in_order() {
    let a = synced(pending(0, put("a", "1"), 0), 10, 2, OK);
    let b = synced(pending(1, put("a", "2"), 20), 30, 3, OK);
    ok(&[b.clone(), a.clone()]);
    ok(&[]);
    refused(
        &[synced(b.clone(), 30, 2, OK), a.clone()],
        "operation 1, put(a, 2) and operation 0, put(a, 1) were both told that they made revision 2",
    );
    refused(
        &[synced(a.clone(), 10, 3, OK), synced(b.clone(), 30, 2, OK)],
        "was invoked 10 ns after operation 0, put(a, 1) had been answered",
    );
    refused(&[synced(a, 10, 1, OK)], "was answered with revision 1, which nothing can have");
}

#[test]
fn a_gap_is_filled_by_what_others_saw() {
    let a = synced(pending(0, put("a", "1"), 0), 10, 2, OK);
    let unknown = [pending(1, put("a", "2"), 5), pending(2, put("a", "3"), 5), pending(3, put("b", "3"), 5)];
    let read = served_at(synced(pending(4, get("a"), 20), 30, 3, one("a", "3", 2, 3, 2)), 7);
    let last = synced(pending(5, put("c", "1"), 20), 30, 4, OK);
    let mut history = vec![a, read, last];
    refused(&history, "nothing that was asked for can have made revision 3, at which a: 3 (version 2) was read");
    history.extend(unknown);
    ok(&history);
    history[1] = served_at(synced(pending(4, get("a"), 20), 30, 3, one("a", "3", 2, 3, 3)), 7);
    refused(&history, "nothing that was asked for can have made revision 3");
    history[1] = served_at(synced(pending(4, get("a"), 20), 30, 3, one("a", "3", 2, 3, 2)), 7);
    history[4].invoke = 31;
    refused(&history, "nothing that was asked for can have made revision 3");
    history[4].outcome = Outcome::Fail;
    refused(&history, "nothing that was asked for can have made revision 3");
}

#[test]
fn a_revoke_makes_one_revision_of_many_keys_or_none() {
    let granted = synced(pending(0, grant(7), 0), 10, 1, Response::LeaseGrant { id: 7, ttl: 5 });
    let a = synced(pending(1, attach("a", "1", 7), 20), 30, 2, OK);
    let b = synced(pending(2, attach("b", "1", 7), 20), 30, 3, OK);
    let gone = synced(pending(3, revoke(7), 40), 50, 4, Response::LeaseRevoke);
    let empty = served_at(synced(pending(4, range("a", "z"), 60), 70, 4, nothing()), 9);
    ok(&[granted.clone(), a.clone(), b.clone(), gone.clone(), empty.clone()]);
    let bumped = synced(pending(1, revoke(7), 40), 50, 2, Response::LeaseRevoke);
    refused(&[granted.clone(), bumped.clone()], "nothing that was asked for can have made revision 2");
    ok(&[granted.clone(), synced(bumped, 50, 1, Response::LeaseRevoke)]);
    // Expired: nobody asked, and both keys went at once.
    ok(&[granted.clone(), a.clone(), b.clone(), empty.clone()]);
    let half = served_at(synced(pending(4, get("a"), 60), 70, 4, nothing()), 9);
    let other = served_at(synced(pending(5, get("b"), 60), 70, 4, one("b", "1", 3, 3, 1)), 9);
    refused(&[granted, a.clone(), b.clone(), half, other], "");
    refused(&[a, b], "operation 1, put(a, 1, lease 7) cannot have made revision 2");
}

#[test]
fn within_a_revision_grants_and_compactions_are_ordered() {
    let exists = Response::Error(Error::LeaseExists);
    let first = synced(pending(0, grant(7), 0), 10, 1, Response::LeaseGrant { id: 7, ttl: 5 });
    let second = synced(pending(1, grant(7), 5), 9, 1, exists.clone());
    ok(&[first.clone(), second.clone()]);
    refused(
        &[synced(pending(0, grant(7), 20), 30, 1, Response::LeaseGrant { id: 7, ttl: 5 }), second.clone()],
        "operation 1, grant(lease 7, 5 s) → etcdserver: lease already exists",
    );
    ok(&[pending(0, grant(7), 0), second]);
    let compacted = Response::Error(Error::Compacted);
    let a = synced(pending(0, put("a", "1"), 0), 10, 2, OK);
    let b = synced(pending(1, put("a", "2"), 0), 10, 3, OK);
    let old = Request::Range(RangeRequest { key: "a".into(), revision: 2, ..RangeRequest::default() });
    let compact = Request::Compact(CompactionRequest { revision: 3, physical: false });
    let done = synced(pending(2, compact.clone(), 20), 30, 3, Response::Compact);
    let seen = served_at(synced(pending(3, old.clone(), 20), 40, 3, one("a", "1", 2, 2, 1)), 5);
    let unseen = served_at(synced(pending(4, old, 20), 40, 3, compacted), 5);
    ok(&[a.clone(), b.clone(), done.clone(), seen.clone(), unseen.clone()]);
    ok(&[a.clone(), b.clone(), pending(2, compact, 20), seen.clone(), unseen.clone()]);
    refused(&[a.clone(), b.clone(), seen.clone(), unseen], "required revision has been compacted");
    refused(
        &[a, b, done, Operation { invoke: 35, ..seen }],
        "operation 3, get(a, revision 2) → 1 (version 1) was answered with revision 3",
    );
}

/// Tries every order of every subset; knows no trick.
fn brute(history: &[Operation], store: &Replay, left: &[usize]) -> bool {
    let answered = |i: &usize| history[*i].synced_at.unwrap_or(u64::MAX);
    let first_end = left.iter().map(answered).min().unwrap_or(u64::MAX);
    if first_end == u64::MAX {
        return true;
    }
    left.iter().filter(|&&i| history[i].invoke <= first_end).any(|&next| {
        let (mut store, operation) = (store.clone(), &history[next]);
        let response = store.apply(&operation.op);
        let fits = operation.synced.as_ref().is_none_or(|synced| {
            synced.header.revision == store.revision() && agreement(&response, &synced.response, None) == Agreement::Full
        });
        let rest: Vec<usize> = left.iter().copied().filter(|&i| i != next).collect();
        fits && brute(history, &store, &rest)
    })
}

#[test]
fn the_walk_agrees_with_brute_force() {
    let mut rng = Rng(23);
    let mut legal = 0;
    for case in 0..20_000 {
        let (mut history, _) = instance(&mut rng);
        if rng.chance(40) {
            let i = rng.below(history.len() as u64) as usize;
            if let Some(synced) = &mut history[i].synced {
                synced.header.revision += rng.below(3);
            }
        }
        if rng.chance(30) {
            let i = rng.below(history.len() as u64) as usize;
            let unknown = pending(history[i].id, history[i].op.clone(), history[i].invoke);
            history[i] = unknown;
        }
        // A stamped revoke says that no others are to be thought of.
        history.push(pending(90, Request::LeaseRevoke(LeaseRevokeRequest { id: 1, stamp: Some(1) }), rng.below(8)));
        let all: Vec<usize> = (0..history.len()).collect();
        let expected = brute(&history, &Replay::default(), &all);
        let found = judged(&history);
        assert_eq!(found.verdict == Verdict::Ok, expected, "case {case}, {}: {history:#?}", found.message);
        legal += u32::from(expected);
    }
    assert!((4_000..16_000).contains(&legal), "{legal} of 20000 are legal");
}
