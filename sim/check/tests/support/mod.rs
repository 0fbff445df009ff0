//! What the tests share: a generator, a brute-force checker, and makers of histories.

// Each test file uses some of these.
#![allow(dead_code)]

use check::model::{History, Model};
use check::replay::Replay;
use curp::ProposeId;
use history::{AppliedCommand, Header, Operation, Outcome, SyncedResponse};
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

/// A random request over a handful of keys and two leases.
pub(crate) fn random_request(rng: &mut Rng, keys: u64, value: u64) -> Request {
    let id = 1 + rng.below(2) as LeaseId;
    match rng.below(20) {
        0 | 1 => Request::LeaseGrant(LeaseGrantRequest { ttl: 1 + rng.below(9) as i64, id }),
        2 => Request::LeaseRevoke(LeaseRevokeRequest { id, stamp: rng.chance(30).then(|| 1 + rng.below(2)) }),
        3 if rng.chance(50) => Request::Compact(CompactionRequest { revision: rng.below(value + 2), physical: rng.chance(50) }),
        3 => Request::LeaseLeases,
        4..7 => loop {
            // Some of these put a key twice, and would be refused by every node.
            let txn = random_txn(rng, keys, value, 2);
            if txn.check().is_ok() {
                return txn;
            }
        },
        _ => random_single(rng, keys, value),
    }
}

fn random_single(rng: &mut Rng, keys: u64, value: u64) -> Request {
    let name = |k: u64| format!("k{k}");
    let key: Bytes = name(rng.below(keys)).into();
    let end: Bytes = if rng.chance(10) { "\0".into() } else { name(rng.below(keys + 1)).into() };
    match rng.below(10) {
        0..4 => {
            let (ignore_value, ignore_lease) = (rng.chance(10), rng.chance(10));
            let value = if ignore_value { Bytes::default() } else { format!("{value}").into() };
            let lease = if !ignore_lease && rng.chance(30) { 1 + rng.below(2) as LeaseId } else { LEASE_NONE };
            Request::Put(PutRequest { key, value, prev_kv: rng.chance(30), lease, ignore_value, ignore_lease })
        }
        4..7 => Request::Range(RangeRequest { key, ..RangeRequest::default() }),
        7 => Request::Range(random_range(rng, key, end, value)),
        8 => Request::DeleteRange(DeleteRangeRequest { key, range_end: None, prev_kv: rng.chance(50) }),
        _ => Request::DeleteRange(DeleteRangeRequest { key, range_end: Some(end), prev_kv: rng.chance(50) }),
    }
}

fn random_range(rng: &mut Rng, key: Bytes, end: Bytes, value: u64) -> RangeRequest {
    let mut range = RangeRequest { key, range_end: Some(end), limit: rng.below(3), ..RangeRequest::default() };
    if rng.chance(50) {
        use SortTarget::*;
        range.sort_order = [SortOrder::None, SortOrder::Ascend, SortOrder::Descend][rng.below(3) as usize];
        range.sort_target = [Key, Version, Create, Mod, Value][rng.below(5) as usize];
    }
    match rng.below(9) {
        0 => range.revision = rng.below(value + 3),
        1 => range.keys_only = true,
        2 => range.count_only = true,
        3 => range.min_mod_revision = rng.below(value + 3),
        4 => range.max_create_revision = rng.below(value + 3),
        5 => (range.max_mod_revision, range.min_create_revision) = (rng.below(value + 3), rng.below(3)),
        _ => {}
    }
    range
}

fn random_txn(rng: &mut Rng, keys: u64, value: u64, depth: u64) -> Request {
    let name = |k: u64| Bytes::from(format!("k{k}"));
    let target = match rng.below(5) {
        0 => CompareTarget::Version(rng.below(3)),
        1 => CompareTarget::CreateRevision(rng.below(2) * rng.below(5)),
        2 => CompareTarget::ModRevision(rng.below(6)),
        3 => CompareTarget::Lease(rng.below(3) as LeaseId),
        _ => CompareTarget::Value(format!("{}", rng.below(value + 1)).into()),
    };
    let result = [CompareResult::Equal, CompareResult::NotEqual, CompareResult::Greater, CompareResult::Less][rng.below(4) as usize];
    let range_end = rng.chance(20).then(|| name(rng.below(keys + 1)));
    let compare = Compare { key: name(rng.below(keys)), result, target, range_end };
    let mut branch = |requests| {
        let one = |rng: &mut Rng| {
            if depth > 1 && rng.chance(20) { random_txn(rng, keys, value, depth - 1) } else { random_single(rng, keys, value) }
        };
        (0..requests).map(|_| one(rng)).collect::<Vec<_>>()
    };
    Request::Txn(TxnRequest { compare: vec![compare], success: branch(1 + value % 2), failure: branch(1) })
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

/// A run that nobody made: commands in a random log order, at random times, with the answers that the log gives.
pub(crate) fn instance(rng: &mut Rng) -> (Vec<Operation>, Vec<AppliedCommand>) {
    let mut store = Replay::default();
    let (mut history, mut log) = (Vec::new(), Vec::new());
    for id in 0..2 + rng.below(6) {
        let invoke = rng.below(12);
        let end = invoke + rng.below(8);
        let op = pending(id, random_request(rng, 4, id), invoke);
        let read = matches!(op.op, Request::Range(_)) && rng.chance(70);
        let before = store.revision();
        let response = store.apply(&op.op);
        let revision = store.revision();
        if read {
            history.push(served_at(synced(op, end, revision, response), id));
            continue;
        }
        log.push(AppliedCommand { index: id + 1, id: op.propose_id.expect("it has one"), command: op.op.clone() });
        history.push(match rng.below(4) {
            0 => op,
            1 => synced(op, end, revision, response),
            // With the revisions of the replay: `own` fits anything.
            2 => fast(op, end, response),
            _ => synced(fast(op, end, response.clone()), end + rng.below(6), revision, response),
        });
        assert!(before <= revision);
    }
    (history, log)
}
