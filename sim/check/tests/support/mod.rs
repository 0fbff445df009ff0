//! What the tests share: a generator, a brute-force checker, and makers of histories.

// Each test file uses some of these.
#![allow(dead_code)]

use check::model::{History, Model};
use curp::ProposeId;
use history::{Header, Operation, Outcome, SyncedResponse};
use kv::*;

/// SplitMix64: the same numbers everywhere.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// Whether some order of the operations is legal: tries them all, knows no trick. Give it the plain model.
pub(crate) fn brute<M: Model>(model: &M, history: &History<M>) -> bool {
    fn go<M: Model>(model: &M, state: &M::State, left: &History<M>) -> bool {
        if left.iter().all(|op| !op.is_complete()) {
            return true;
        }
        // Next may be whatever was invoked before every answer that is still to come.
        let first_end = left.iter().map(|op| op.end).min().expect("one is left");
        (0..left.len()).filter(|&i| left[i].invoke <= first_end).any(|i| {
            let mut rest = left.clone();
            let op = rest.remove(i);
            (0..model.branches(&op.op, op.ret.as_ref()))
                .filter_map(|branch| model.step(state, &op.op, op.ret.as_ref(), branch))
                .any(|next| go(model, &next, &rest))
        })
    }
    go(model, &model.initial(), history)
}

pub(crate) fn put(key: &str, value: &str) -> Request {
    Request::Put(PutRequest { key: key.into(), value: value.into(), prev_kv: false, ..PutRequest::default() })
}

pub(crate) fn get(key: &str) -> Request {
    Request::Range(RangeRequest { key: key.into(), range_end: None, limit: 0, ..RangeRequest::default() })
}

pub(crate) fn range(key: &str, end: &str) -> Request {
    Request::Range(RangeRequest { key: key.into(), range_end: Some(end.into()), limit: 0, ..RangeRequest::default() })
}

pub(crate) fn delete(key: &str, end: Option<&str>) -> Request {
    Request::DeleteRange(DeleteRangeRequest { key: key.into(), range_end: end.map(Bytes::from), prev_kv: false })
}

/// A random request over a handful of keys.
pub(crate) fn random_request(rng: &mut Rng, keys: u64, value: u64) -> Request {
    let name = |k: u64| format!("k{k}");
    let key = name(rng.below(keys));
    let end = if rng.chance(10) { "\0".to_string() } else { name(rng.below(keys + 1)) };
    let single = match rng.below(10) {
        0..4 => Request::Put(PutRequest {
            key: key.as_str().into(),
            value: format!("{value}").into(),
            prev_kv: rng.chance(30),
            ..PutRequest::default()
        }),
        4..7 => get(&key),
        7 => Request::Range(RangeRequest {
            key: key.as_str().into(),
            range_end: Some(end.into()),
            limit: rng.below(3),
            ..RangeRequest::default()
        }),
        8 => Request::DeleteRange(DeleteRangeRequest { key: key.as_str().into(), range_end: None, prev_kv: rng.chance(50) }),
        _ => Request::DeleteRange(DeleteRangeRequest { key: key.as_str().into(), range_end: Some(end.into()), prev_kv: rng.chance(50) }),
    };
    if !rng.chance(20) {
        return single;
    }
    let target = match rng.below(4) {
        0 => CompareTarget::Version(rng.below(3)),
        1 => CompareTarget::CreateRevision(rng.below(2) * rng.below(5)),
        2 => CompareTarget::ModRevision(rng.below(6)),
        _ => CompareTarget::Value(format!("{}", rng.below(value + 1)).into()),
    };
    let result = [CompareResult::Equal, CompareResult::NotEqual, CompareResult::Greater, CompareResult::Less][rng.below(4) as usize];
    let compare = Compare { key: name(rng.below(keys)).into(), result, target, ..Compare::default() };
    Request::Txn(TxnRequest { compare: vec![compare], success: vec![single], failure: vec![get(&name(rng.below(keys)))] })
}

/// An operation with nothing known of it but its invocation.
pub(crate) fn pending(id: u64, op: Request, invoke: u64) -> Operation {
    Operation {
        id,
        client: id as u32,
        op,
        invoke,
        ret: None,
        outcome: Outcome::Unknown,
        fast: None,
        fast_at: None,
        synced: None,
        synced_at: None,
        propose_id: Some(ProposeId { client: 1, seq: id + 1 }),
        applied_index: None,
    }
}

/// The operation with a fast answer.
pub(crate) fn fast(mut op: Operation, at: u64, response: Response) -> Operation {
    (op.fast, op.fast_at) = (Some(response), Some(at));
    op.ret = Some(op.ret.map_or(at, |ret| ret.min(at)));
    op.outcome = Outcome::Ok;
    op
}

/// The operation with a synced answer.
pub(crate) fn synced(mut op: Operation, at: u64, revision: u64, response: Response) -> Operation {
    op.synced = Some(SyncedResponse { header: Header { revision }, response });
    op.synced_at = Some(at);
    op.ret = Some(op.ret.map_or(at, |ret| ret.min(at)));
    op.outcome = Outcome::Ok;
    op
}

/// The operation as a read by read index, served at an applied index.
pub(crate) fn served_at(mut op: Operation, applied: u64) -> Operation {
    (op.propose_id, op.applied_index) = (None, Some(applied));
    op
}
