//! Txns of very many operations, and what may be written together, by a definition that only counts.

mod common;

use std::collections::BTreeSet;

use common::*;
use curp::ConflictCheck;
use kv::*;
use proptest::prelude::*;

/// Far beyond what anything quadratic ends with in a test's time.
const MANY: usize = 20_000;

fn in_txn(requests: Vec<Request>) -> Request {
    txn(vec![], requests, vec![])
}

/// So many requests in one valid txn: in txns within txns, 35 in each.
fn together(mut requests: Vec<Request>) -> Request {
    while requests.len() > 35 {
        requests = requests.chunks(35).map(|some| in_txn(some.to_vec())).collect();
    }
    in_txn(requests)
}

/// The responses of a txn's requests and of its inner txns', in order.
fn flat(response: Response, all: &mut Vec<Response>) {
    match response {
        Response::Txn { responses, .. } => responses.into_iter().for_each(|inner| flat(inner, all)),
        other => all.push(other),
    }
}

#[test]
fn very_many_operations_are_computed() {
    let mut store = Store::new();
    for i in (0..MANY).step_by(100) {
        run(&mut store, put(&format!("k{i}"), "old"));
    }
    let key = |i: usize| format!("k{i}");
    let puts = (0..MANY).map(|i| put(&key(i), "new"));
    let gets = (0..MANY).map(|i| get(&key(i)));
    let all = puts.chain(gets).chain([range("k", "l", 1), range("k", "\0", 1)]).collect();
    let (revision, response) = run(&mut store, together(all));
    let mut responses = Vec::new();
    flat(response, &mut responses);
    assert_eq!(responses.len(), 2 * MANY + 2);
    for (i, found) in responses[MANY..2 * MANY].iter().enumerate() {
        let Response::Range { kvs, count: 1, more: false } = found else { panic!("{found:?}") };
        assert_eq!((&kvs[0].key, &kvs[0].value, kvs[0].mod_revision), (&key(i).into(), &"new".into(), revision));
    }
    for found in &responses[2 * MANY..] {
        let Response::Range { count, more: true, .. } = found else { panic!("{found:?}") };
        assert_eq!(*count, MANY as u64);
    }
}

#[test]
fn very_many_deletes_beside_puts_are_computed() {
    let mut store = Store::new();
    run(&mut store, put("d7", "old"));
    let deletes = (0..MANY).map(|i| delete_range(&format!("d{i}"), &format!("d{i}\0")));
    let puts = (0..MANY).map(|i| put(&format!("k{i}"), "new"));
    let all: Vec<Request> = deletes.zip(puts).flat_map(|(delete, put)| [delete, put]).collect();
    let (revision, _) = run(&mut store, together(all.clone()));
    assert_eq!((revision, store.live().count()), (3, MANY));
    let clash = all.into_iter().chain([delete("k1234")]).collect();
    assert_eq!(together(clash).check(), Err(Error::DuplicateKey));
}

#[test]
fn very_many_operations_are_held_against_as_many() {
    let all = |prefix: &str| -> Vec<Request> {
        let key = |i: usize| format!("{prefix}{i}");
        (0..MANY).map(|i| put(&key(i), "")).chain((0..MANY).map(|i| get(&key(i)))).collect()
    };
    let (a, b) = (together(all("a")), together(all("b")));
    assert!(a.conflicts(&a) && !a.conflicts(&b) && !b.conflicts(&a));
    let reads = |key| together(all("b").into_iter().chain([get(key)]).collect());
    assert!(a.conflicts(&reads("a19999")) && !a.conflicts(&reads("a20000")));
}

const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];

fn request() -> impl Strategy<Value = Request> {
    let key = || prop::sample::select(&KEYS[..]);
    let end = prop_oneof![Just("\0"), key()];
    let simple = prop_oneof![
        4 => key().prop_map(|key| put(key, "1")),
        1 => key().prop_map(delete),
        2 => (key(), end).prop_map(|(key, end)| delete_range(key, end)),
        1 => key().prop_map(get),
    ];
    simple.prop_recursive(3, 12, 3, |inner| {
        let list = || prop::collection::vec(inner.clone(), 0..3);
        (list(), list()).prop_map(|(success, failure)| txn(vec![], success, failure))
    })
}

/// The keys that some way through the requests puts, and deletes; `None` if some way writes one in two requests, not both deletes.
fn written(requests: &[Request]) -> Option<[BTreeSet<&'static str>; 2]> {
    let mut all = [BTreeSet::new(), BTreeSet::new()];
    for request in requests {
        let of = |first: &Bytes, end: Option<&Bytes>| {
            let named = |key: &Bytes| match end {
                None => key == first,
                Some(end) => key >= first && (key < end || end.as_slice() == [0]),
            };
            KEYS.into_iter().filter(|key| named(&(*key).into())).collect::<BTreeSet<_>>()
        };
        let [puts, deletes] = match request {
            Request::Put(put) => [of(&put.key, None), BTreeSet::new()],
            Request::DeleteRange(delete) => [BTreeSet::new(), of(&delete.key, delete.range_end.as_ref())],
            Request::Txn(txn) => {
                let (then, other) = (written(&txn.success)?, written(&txn.failure)?);
                [&then[0] | &other[0], &then[1] | &other[1]]
            }
            _ => continue,
        };
        if !all[0].is_disjoint(&puts) || !all[0].is_disjoint(&deletes) || !all[1].is_disjoint(&puts) {
            return None;
        }
        all = [&all[0] | &puts, &all[1] | &deletes];
    }
    Some(all)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_key_is_written_twice(requests in prop::collection::vec(request(), 0..6)) {
        let expected = if written(&requests).is_some() { Ok(()) } else { Err(Error::DuplicateKey) };
        prop_assert_eq!(in_txn(requests).check(), expected);
    }
}
