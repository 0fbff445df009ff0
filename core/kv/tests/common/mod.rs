//! What the tests of the store share: short ways to write requests, random requests, and a model that is nothing but a map.
#![allow(dead_code)] // Each test uses a part.

use std::collections::BTreeMap;

use kv::*;
use proptest::prelude::*;

pub fn put(key: &str, value: &str) -> Request {
    Request::Put(PutRequest { key: key.into(), value: value.into(), prev_kv: true })
}

pub fn get(key: &str) -> Request {
    Request::Range(RangeRequest { key: key.into(), range_end: None, limit: 0 })
}

pub fn range(key: &str, end: &str, limit: u64) -> Request {
    Request::Range(RangeRequest { key: key.into(), range_end: Some(end.into()), limit })
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
    Compare { key: key.into(), result, target }
}

pub fn kv(key: &str, value: &str, create_revision: u64, mod_revision: u64, version: u64) -> KeyValue {
    KeyValue { key: key.into(), value: value.into(), create_revision, mod_revision, version }
}

/// Every key there is.
pub fn everything() -> RangeRequest {
    RangeRequest { key: "\0".into(), range_end: Some("\0".into()), limit: 0 }
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

/// A put, range or delete.
pub fn simple() -> impl Strategy<Value = Request> {
    prop_oneof![
        4 => (key(), value(), any::<bool>()).prop_map(|(key, value, prev_kv)| Request::Put(PutRequest { key, value, prev_kv })),
        2 => (key(), end(), 0..3u64).prop_map(|(key, range_end, limit)| Request::Range(RangeRequest { key, range_end, limit })),
        2 => (key(), end(), any::<bool>())
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
    ];
    (key(), prop::sample::select(vec![Equal, NotEqual, Greater, Less]), target).prop_map(|(key, result, target)| Compare {
        key,
        result,
        target,
    })
}

/// The requests, without those that would make a branch of them invalid.
fn branch() -> impl Strategy<Value = Vec<Request>> {
    prop::collection::vec(simple(), 0..5).prop_map(|requests| {
        requests.into_iter().fold(Vec::new(), |mut branch, request| {
            branch.push(request);
            if txn(vec![], branch.clone(), vec![]).validate().is_err() {
                branch.pop();
            }
            branch
        })
    })
}

/// A valid request.
pub fn request() -> impl Strategy<Value = Request> {
    let txn = (prop::collection::vec(random_compare(), 0..3), branch(), branch());
    prop_oneof![3 => simple(), 1 => txn.prop_map(|(compare, success, failure)| txn_request(compare, success, failure))]
}

fn txn_request(compare: Vec<Compare>, success: Vec<Request>, failure: Vec<Request>) -> Request {
    let request = txn(compare, success, failure);
    assert_eq!(request.validate(), Ok(()));
    request
}

pub fn in_range(key: &Bytes, first: &Bytes, end: Option<&Bytes>) -> bool {
    match end {
        None => key == first,
        Some(end) if end.as_slice() == b"\0" => key >= first,
        Some(end) => key >= first && key < end,
    }
}

/// One map, changed in place, and a copy of it for each revision.
#[derive(Clone, Debug)]
pub struct Model {
    pub map: BTreeMap<Bytes, KeyValue>,
    /// `past[r]` is the map at revision r.
    pub past: Vec<BTreeMap<Bytes, KeyValue>>,
}

impl Model {
    pub fn new() -> Self {
        // Revision 0 is never; revision 1 is empty.
        Model { map: BTreeMap::new(), past: vec![BTreeMap::new(); 2] }
    }

    pub fn revision(&self) -> u64 {
        self.past.len() as u64 - 1
    }

    /// The revision after the request, and its response.
    pub fn apply(&mut self, request: &Request) -> (u64, Response) {
        let mut wrote = false;
        let next = self.revision() + 1;
        let response = Model::step(&mut self.map, request, next, &mut wrote);
        if wrote {
            self.past.push(self.map.clone());
        }
        (self.revision(), response)
    }

    fn step(map: &mut BTreeMap<Bytes, KeyValue>, request: &Request, revision: u64, wrote: &mut bool) -> Response {
        match request {
            Request::Put(put) => {
                *wrote = true;
                let (create_revision, version) = map.get(&put.key).map_or((revision, 1), |kv| (kv.create_revision, kv.version + 1));
                let (key, value) = (put.key.clone(), put.value.clone());
                let before = map.insert(key.clone(), KeyValue { key, value, create_revision, mod_revision: revision, version });
                Response::Put { prev_kv: before.filter(|_| put.prev_kv) }
            }
            Request::Range(r) => {
                let all: Vec<_> = map.values().filter(|kv| in_range(&kv.key, &r.key, r.range_end.as_ref())).cloned().collect();
                let limit = if r.limit == 0 { all.len() } else { r.limit as usize };
                Response::Range { count: all.len() as u64, kvs: all.into_iter().take(limit).collect() }
            }
            Request::DeleteRange(d) => {
                let gone: Vec<_> = map.values().filter(|kv| in_range(&kv.key, &d.key, d.range_end.as_ref())).cloned().collect();
                map.retain(|key, _| !in_range(key, &d.key, d.range_end.as_ref()));
                *wrote |= !gone.is_empty();
                Response::DeleteRange { deleted: gone.len() as u64, prev_kvs: if d.prev_kv { gone } else { vec![] } }
            }
            Request::Txn(txn) => {
                let succeeded = txn.compare.iter().all(|c| Model::holds(map.get(&c.key), c));
                let branch = if succeeded { &txn.success } else { &txn.failure };
                Response::Txn { succeeded, responses: branch.iter().map(|r| Model::step(map, r, revision, wrote)).collect() }
            }
        }
    }

    fn holds(held: Option<&KeyValue>, compare: &Compare) -> bool {
        fn is<T: PartialOrd>(left: T, result: CompareResult, right: T) -> bool {
            match result {
                CompareResult::Equal => left == right,
                CompareResult::NotEqual => left != right,
                CompareResult::Greater => left > right,
                CompareResult::Less => left < right,
            }
        }
        let result = compare.result;
        match (&compare.target, held) {
            (CompareTarget::Version(v), _) => is(held.map_or(0, |kv| kv.version), result, *v),
            (CompareTarget::CreateRevision(r), _) => is(held.map_or(0, |kv| kv.create_revision), result, *r),
            (CompareTarget::ModRevision(r), _) => is(held.map_or(0, |kv| kv.mod_revision), result, *r),
            (CompareTarget::Value(value), Some(kv)) => is(&kv.value, result, value),
            (CompareTarget::Value(_), None) => false,
        }
    }
}

/// Calls `f` with every pair in a response.
pub fn each_kv(response: &mut Response, f: &mut dyn FnMut(&mut KeyValue)) {
    match response {
        Response::Put { prev_kv } => prev_kv.iter_mut().for_each(f),
        Response::Range { kvs, .. } => kvs.iter_mut().for_each(f),
        Response::DeleteRange { prev_kvs, .. } => prev_kvs.iter_mut().for_each(f),
        Response::Txn { responses, .. } => responses.iter_mut().for_each(|r| each_kv(r, f)),
    }
}
