//! What the tests of the store share: short ways to write requests, random requests, a model that is nothing but maps, and logs that
//! are executed in any order the conflict check allows.
#![allow(dead_code)] // Each test uses a part.

pub mod model;
pub mod run;

use kv::*;
use proptest::prelude::*;

#[allow(unused_imports)] // As above.
pub use model::Model;

pub fn put(key: &str, value: &str) -> Request {
    Request::Put(PutRequest { key: key.into(), value: value.into(), prev_kv: true, ..PutRequest::default() })
}

pub fn get(key: &str) -> Request {
    Request::Range(RangeRequest { key: key.into(), range_end: None, limit: 0, ..RangeRequest::default() })
}

pub fn range(key: &str, end: &str, limit: u64) -> Request {
    Request::Range(RangeRequest { key: key.into(), range_end: Some(end.into()), limit, ..RangeRequest::default() })
}

pub fn delete(key: &str) -> Request {
    Request::DeleteRange(DeleteRangeRequest { key: key.into(), range_end: None, prev_kv: true })
}

pub fn delete_range(key: &str, end: &str) -> Request {
    Request::DeleteRange(DeleteRangeRequest { key: key.into(), range_end: Some(end.into()), prev_kv: true })
}

pub fn txn(compare: Vec<Compare>, success: Vec<Request>, failure: Vec<Request>) -> Request {
    Request::Txn(TxnRequest { compare, success, failure })
}

pub fn compare(key: &str, result: CompareResult, target: CompareTarget) -> Compare {
    Compare { key: key.into(), result, target, ..Compare::default() }
}

pub fn kv(key: &str, value: &str, create_revision: u64, mod_revision: u64, version: u64) -> KeyValue {
    KeyValue { key: key.into(), value: value.into(), create_revision, mod_revision, version, ..KeyValue::default() }
}

pub fn grant(id: LeaseId, ttl: i64) -> Request {
    Request::LeaseGrant(LeaseGrantRequest { id, ttl })
}

pub fn revoke(id: LeaseId) -> Request {
    Request::LeaseRevoke(LeaseRevokeRequest { id, stamp: None })
}

pub fn attach(key: &str, value: &str, lease: LeaseId) -> Request {
    Request::Put(PutRequest { key: key.into(), value: value.into(), lease, ..PutRequest::default() })
}

pub fn compact(revision: u64) -> Request {
    Request::Compact(CompactionRequest { revision, physical: false })
}

/// Executes one command, giving the revision after it and its response.
pub fn run(store: &mut Store, request: Request) -> (u64, Response) {
    request.check().expect("a valid request");
    run_in(store, 0, request)
}

/// The same, in an entry of a term.
pub fn run_in(store: &mut Store, term: u64, request: Request) -> (u64, Response) {
    let revision = store.prepare_entry(Some(term), &request);
    let (synced, _) = store.apply_entry(Some(term), revision, &request);
    assert_eq!(store.full_hash(), store.hash());
    (synced.revision, synced.response)
}

/// Whether a test that passes fails when a known bug is planted.
pub fn fails_with(mutant: mutants::Mutant, test: fn()) {
    test();
    mutants::plant(Some(mutant));
    let outcome = std::panic::catch_unwind(test);
    mutants::plant(None);
    assert!(outcome.is_err(), "nobody notices {mutant}");
}

/// Every key there is.
pub fn everything() -> RangeRequest {
    RangeRequest { key: "\0".into(), range_end: Some("\0".into()), limit: 0, ..RangeRequest::default() }
}

/// Keys of random requests: few, so that they meet, and some a prefix of others.
pub const KEYS: [&str; 7] = ["a", "aa", "b", "c", "ca", "d", "e"];

fn key() -> impl Strategy<Value = Bytes> {
    prop::sample::select(&KEYS[..]).prop_map(Bytes::from)
}

fn end() -> impl Strategy<Value = Option<Bytes>> {
    prop_oneof![3 => Just(None), 4 => key().prop_map(Some), 1 => Just(Some(Bytes::from("\0"))), 1 => Just(Some(Bytes::from("")))]
}

fn value() -> impl Strategy<Value = Bytes> {
    prop::sample::select(&["", "x", "y"][..]).prop_map(Bytes::from)
}

/// Names of random leases: few, so that they meet.
fn lease() -> impl Strategy<Value = LeaseId> {
    1..4i64
}

/// A revision that may be there; mostly none.
fn some_revision() -> impl Strategy<Value = u64> {
    prop_oneof![6 => Just(0), 1 => 1..12u64]
}

fn random_put() -> impl Strategy<Value = Request> {
    let lease = prop_oneof![3 => Just(0), 2 => lease()];
    (key(), value(), any::<bool>(), lease, prop::bool::weighted(0.1), prop::bool::weighted(0.1)).prop_map(
        |(key, value, prev_kv, lease, ignore_value, ignore_lease)| {
            let value = if ignore_value { Bytes::default() } else { value };
            let lease = if ignore_lease { 0 } else { lease };
            Request::Put(PutRequest { key, value, prev_kv, lease, ignore_value, ignore_lease })
        },
    )
}

pub fn random_range() -> impl Strategy<Value = RangeRequest> {
    use SortTarget::{Create, Key, Mod, Value, Version};
    let order = prop::sample::select(vec![SortOrder::None, SortOrder::Ascend, SortOrder::Descend]);
    let target = prop::sample::select(vec![Key, Version, Create, Mod, Value]);
    let bounds = (some_revision(), some_revision(), some_revision(), some_revision());
    (key(), end(), 0..3u64, some_revision(), order, target, bounds, any::<bool>(), prop::bool::weighted(0.1)).prop_map(
        |(key, range_end, limit, revision, sort_order, sort_target, bounds, keys_only, count_only)| {
            let (min_mod_revision, max_mod_revision, min_create_revision, max_create_revision) = bounds;
            RangeRequest {
                key,
                range_end,
                limit,
                revision,
                sort_order,
                sort_target,
                serializable: false,
                keys_only,
                count_only,
                min_mod_revision,
                max_mod_revision,
                min_create_revision,
                max_create_revision,
            }
        },
    )
}

/// A range as most are.
fn plain_range() -> impl Strategy<Value = RangeRequest> {
    (key(), end(), 0..3u64).prop_map(|(key, range_end, limit)| RangeRequest { key, range_end, limit, ..RangeRequest::default() })
}

/// A put, range or delete.
pub fn simple() -> impl Strategy<Value = Request> {
    prop_oneof![
        6 => random_put(),
        2 => plain_range().prop_map(Request::Range),
        1 => random_range().prop_map(Request::Range),
        3 => (key(), end(), any::<bool>())
            .prop_map(|(key, range_end, prev_kv)| Request::DeleteRange(DeleteRangeRequest { key, range_end, prev_kv })),
    ]
}

fn random_compare() -> impl Strategy<Value = Compare> {
    use CompareResult::{Equal, Greater, Less, NotEqual};
    let target = prop_oneof![
        (0..3u64).prop_map(CompareTarget::Version),
        (0..8u64).prop_map(CompareTarget::CreateRevision),
        (0..8u64).prop_map(CompareTarget::ModRevision),
        value().prop_map(CompareTarget::Value),
        (0..3i64).prop_map(CompareTarget::Lease),
    ];
    (key(), prop::sample::select(vec![Equal, NotEqual, Greater, Less]), target, end())
        .prop_map(|(key, result, target, range_end)| Compare { key, result, target, range_end })
}

/// The requests, without those that would make a branch of them invalid.
fn valid_branch(requests: Vec<Request>) -> Vec<Request> {
    requests.into_iter().fold(Vec::new(), |mut branch, request| {
        branch.push(request);
        if txn(vec![], branch.clone(), vec![]).check().is_err() {
            branch.pop();
        }
        branch
    })
}

/// A valid txn, with others within it.
pub fn random_txn() -> impl Strategy<Value = Request> {
    let leaf = prop_oneof![4 => simple(), 1 => Just(get("a"))];
    let nested = leaf.prop_recursive(2, 10, 3, |inner| {
        let branch = || prop::collection::vec(inner.clone(), 0..4).prop_map(valid_branch);
        (prop::collection::vec(random_compare(), 0..2), branch(), branch()).prop_map(|(compare, then, other)| txn(compare, then, other))
    });
    let branch = move || prop::collection::vec(nested.clone(), 0..5).prop_map(valid_branch);
    (prop::collection::vec(random_compare(), 0..3), branch(), branch()).prop_map(|(compare, success, failure)| {
        let request = txn(compare, success, failure);
        assert_eq!(request.check(), Ok(()));
        request
    })
}

/// A valid request on keys.
pub fn request() -> impl Strategy<Value = Request> {
    prop_oneof![3 => simple(), 1 => random_txn()]
}

/// A valid request of any kind that may stand in a log.
pub fn command() -> impl Strategy<Value = Request> {
    let stamp = prop::option::of(1..3u64);
    prop_oneof![
        16 => request(),
        4 => (lease(), -1..5i64).prop_map(|(id, ttl)| grant(id, ttl)),
        2 => (lease(), stamp).prop_map(|(id, stamp)| Request::LeaseRevoke(LeaseRevokeRequest { id, stamp })),
        1 => (0..16u64).prop_map(compact),
    ]
}

pub fn in_range(key: &Bytes, first: &Bytes, end: Option<&Bytes>) -> bool {
    match end {
        None => key == first,
        Some(end) if end.as_slice() == b"\0" => key >= first,
        Some(end) => key >= first && key < end,
    }
}

/// Calls `f` with every pair in a response.
pub fn each_kv(response: &mut Response, f: &mut dyn FnMut(&mut KeyValue)) {
    match response {
        Response::Put { prev_kv } => prev_kv.iter_mut().for_each(f),
        Response::Range { kvs, .. } => kvs.iter_mut().for_each(f),
        Response::DeleteRange { prev_kvs, .. } => prev_kvs.iter_mut().for_each(f),
        Response::Txn { responses, .. } => responses.iter_mut().for_each(|r| each_kv(r, f)),
        _ => {}
    }
}
