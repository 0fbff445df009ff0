//! What is asked.

use kv::{
    CompactionRequest, Compare, CompareResult, CompareTarget, DeleteRangeRequest, Error, LeaseGrantRequest, LeaseKeepAliveRequest,
    LeaseRevokeRequest, LeaseTimeToLiveRequest, PutRequest, RangeRequest, Request, SortOrder, SortTarget, TxnRequest,
};

use super::w::{compare, range_request, request_op};
use super::{Call, Malformed, Result, bytes, end_in, end_out, natural, signed, unknown, w};

/// What a call asks for.
///
/// # Errors
/// It asks for nothing that there is.
pub fn request_in(call: Call) -> Result<Request> {
    Ok(match call {
        Call::Range(call) => Request::Range(range_in(call)?),
        Call::Put(call) => Request::Put(put_in(call)),
        Call::DeleteRange(call) => Request::DeleteRange(delete_in(call)),
        Call::Txn(call) => Request::Txn(txn_in(call)?),
        Call::Compact(call) => Request::Compact(CompactionRequest { revision: natural(call.revision), physical: call.physical }),
        Call::Grant(call) => Request::LeaseGrant(LeaseGrantRequest { ttl: call.ttl, id: call.id }),
        Call::Revoke(call) => Request::LeaseRevoke(LeaseRevokeRequest { id: call.id, stamp: None }),
        Call::KeepAlive(call) => Request::LeaseKeepAlive(LeaseKeepAliveRequest { id: call.id }),
        Call::TimeToLive(call) => Request::LeaseTimeToLive(LeaseTimeToLiveRequest { id: call.id, keys: call.keys }),
        Call::Leases(_) => Request::LeaseLeases,
    })
}

/// The call that asks for it. A revoke's stamp is a leader's and nobody else's: it does not go over this wire.
pub fn request_out(request: &Request) -> Call {
    match request {
        Request::Range(range) => Call::Range(range_out(range)),
        Request::Put(put) => Call::Put(put_out(put)),
        Request::DeleteRange(delete) => Call::DeleteRange(delete_out(delete)),
        Request::Txn(txn) => Call::Txn(txn_out(txn)),
        Request::Compact(compact) => Call::Compact(w::CompactionRequest { revision: signed(compact.revision), physical: compact.physical }),
        Request::LeaseGrant(grant) => Call::Grant(w::LeaseGrantRequest { ttl: grant.ttl, id: grant.id }),
        Request::LeaseRevoke(revoke) => Call::Revoke(w::LeaseRevokeRequest { id: revoke.id }),
        Request::LeaseKeepAlive(keep) => Call::KeepAlive(w::LeaseKeepAliveRequest { id: keep.id }),
        Request::LeaseTimeToLive(ask) => Call::TimeToLive(w::LeaseTimeToLiveRequest { id: ask.id, keys: ask.keys }),
        Request::LeaseLeases => Call::Leases(w::LeaseLeasesRequest {}),
    }
}

fn range_in(range: w::RangeRequest) -> Result<RangeRequest> {
    let sort_order = match range_request::SortOrder::try_from(range.sort_order) {
        Ok(range_request::SortOrder::None) => SortOrder::None,
        Ok(range_request::SortOrder::Ascend) => SortOrder::Ascend,
        Ok(range_request::SortOrder::Descend) => SortOrder::Descend,
        Err(_) => return Err(unknown("order to sort in", range.sort_order)),
    };
    let sort_target = match range_request::SortTarget::try_from(range.sort_target) {
        Ok(range_request::SortTarget::Key) => SortTarget::Key,
        Ok(range_request::SortTarget::Version) => SortTarget::Version,
        Ok(range_request::SortTarget::Create) => SortTarget::Create,
        Ok(range_request::SortTarget::Mod) => SortTarget::Mod,
        Ok(range_request::SortTarget::Value) => SortTarget::Value,
        Err(_) => return Err(unknown("thing to sort by", range.sort_target)),
    };
    // Nothing was written before a negative revision; the greatest one, as the least, says the same.
    let least = |least: i64, most: i64| if most < 0 { u64::MAX } else { natural(least) };
    Ok(RangeRequest {
        key: range.key.into(),
        range_end: end_in(range.range_end),
        limit: natural(range.limit),
        revision: natural(range.revision),
        sort_order,
        sort_target,
        serializable: range.serializable,
        keys_only: range.keys_only,
        count_only: range.count_only,
        min_mod_revision: least(range.min_mod_revision, range.max_mod_revision),
        max_mod_revision: natural(range.max_mod_revision),
        min_create_revision: least(range.min_create_revision, range.max_create_revision),
        max_create_revision: natural(range.max_create_revision),
    })
}

fn range_out(range: &RangeRequest) -> w::RangeRequest {
    let sort_order = match range.sort_order {
        SortOrder::None => range_request::SortOrder::None,
        SortOrder::Ascend => range_request::SortOrder::Ascend,
        SortOrder::Descend => range_request::SortOrder::Descend,
    };
    let sort_target = match range.sort_target {
        SortTarget::Key => range_request::SortTarget::Key,
        SortTarget::Version => range_request::SortTarget::Version,
        SortTarget::Create => range_request::SortTarget::Create,
        SortTarget::Mod => range_request::SortTarget::Mod,
        SortTarget::Value => range_request::SortTarget::Value,
    };
    w::RangeRequest {
        key: bytes(&range.key),
        range_end: end_out(range.range_end.as_ref()),
        limit: signed(range.limit),
        revision: signed(range.revision),
        sort_order: sort_order.into(),
        sort_target: sort_target.into(),
        serializable: range.serializable,
        keys_only: range.keys_only,
        count_only: range.count_only,
        min_mod_revision: signed(range.min_mod_revision),
        max_mod_revision: signed(range.max_mod_revision),
        min_create_revision: signed(range.min_create_revision),
        max_create_revision: signed(range.max_create_revision),
    }
}

fn put_in(put: w::PutRequest) -> PutRequest {
    let w::PutRequest { key, value, lease, prev_kv, ignore_value, ignore_lease } = put;
    PutRequest { key: key.into(), value: value.into(), prev_kv, lease, ignore_value, ignore_lease }
}

fn put_out(put: &PutRequest) -> w::PutRequest {
    let PutRequest { key, value, prev_kv, lease, ignore_value, ignore_lease } = put.clone();
    w::PutRequest { key: bytes(&key), value: bytes(&value), lease, prev_kv, ignore_value, ignore_lease }
}

fn delete_in(delete: w::DeleteRangeRequest) -> DeleteRangeRequest {
    DeleteRangeRequest { key: delete.key.into(), range_end: end_in(delete.range_end), prev_kv: delete.prev_kv }
}

fn delete_out(delete: &DeleteRangeRequest) -> w::DeleteRangeRequest {
    w::DeleteRangeRequest { key: bytes(&delete.key), range_end: end_out(delete.range_end.as_ref()), prev_kv: delete.prev_kv }
}

fn txn_in(txn: w::TxnRequest) -> Result<TxnRequest> {
    let branch = |ops: Vec<w::RequestOp>| ops.into_iter().map(op_in).collect::<Result<Vec<_>>>();
    Ok(TxnRequest {
        compare: txn.compare.into_iter().map(compare_in).collect::<Result<_>>()?,
        success: branch(txn.success)?,
        failure: branch(txn.failure)?,
    })
}

fn txn_out(txn: &TxnRequest) -> w::TxnRequest {
    let branch = |requests: &[Request]| requests.iter().map(op_out).collect();
    w::TxnRequest { compare: txn.compare.iter().map(compare_out).collect(), success: branch(&txn.success), failure: branch(&txn.failure) }
}

fn op_in(op: w::RequestOp) -> Result<Request> {
    Ok(match op.request {
        Some(request_op::Request::RequestRange(range)) => Request::Range(range_in(range)?),
        Some(request_op::Request::RequestPut(put)) => Request::Put(put_in(put)),
        Some(request_op::Request::RequestDeleteRange(delete)) => Request::DeleteRange(delete_in(delete)),
        Some(request_op::Request::RequestTxn(txn)) => Request::Txn(txn_in(txn)?),
        // Such is etcd's word for an operation that is none.
        None => return Err(Malformed(Error::KeyNotFound.message().trim_start_matches("etcdserver: ").to_owned())),
    })
}

fn op_out(request: &Request) -> w::RequestOp {
    let request = match request {
        Request::Range(range) => Some(request_op::Request::RequestRange(range_out(range))),
        Request::Put(put) => Some(request_op::Request::RequestPut(put_out(put))),
        Request::DeleteRange(delete) => Some(request_op::Request::RequestDeleteRange(delete_out(delete))),
        Request::Txn(txn) => Some(request_op::Request::RequestTxn(txn_out(txn))),
        // None of these may stand in a txn, and none has a place in one.
        Request::Compact(_)
        | Request::LeaseGrant(_)
        | Request::LeaseRevoke(_)
        | Request::LeaseKeepAlive(_)
        | Request::LeaseTimeToLive(_)
        | Request::LeaseLeases => None,
    };
    w::RequestOp { request }
}

fn compare_in(compare: w::Compare) -> Result<Compare> {
    let w::Compare { result, target, key, target_union, range_end } = compare;
    let mut how = match compare::CompareResult::try_from(result) {
        Ok(compare::CompareResult::Equal) => CompareResult::Equal,
        Ok(compare::CompareResult::NotEqual) => CompareResult::NotEqual,
        Ok(compare::CompareResult::Greater) => CompareResult::Greater,
        Ok(compare::CompareResult::Less) => CompareResult::Less,
        Err(_) => return Err(unknown("way to compare", result)),
    };
    // A constant that is negative is below everything: what it is compared with is greater, and not equal. The greatest number, which nothing
    // is, says the same of equality.
    let mut number = |number: i64| {
        u64::try_from(number).unwrap_or_else(|_| {
            how = match how {
                CompareResult::Equal | CompareResult::Less => CompareResult::Equal,
                CompareResult::NotEqual | CompareResult::Greater => CompareResult::NotEqual,
            };
            u64::MAX
        })
    };
    // A constant of another kind than the target counts as none.
    use w::compare::TargetUnion as Constant;
    let target = match (compare::CompareTarget::try_from(target), target_union) {
        (Ok(compare::CompareTarget::Version), Some(Constant::Version(version))) => CompareTarget::Version(number(version)),
        (Ok(compare::CompareTarget::Version), _) => CompareTarget::Version(0),
        (Ok(compare::CompareTarget::Create), Some(Constant::CreateRevision(revision))) => CompareTarget::CreateRevision(number(revision)),
        (Ok(compare::CompareTarget::Create), _) => CompareTarget::CreateRevision(0),
        (Ok(compare::CompareTarget::Mod), Some(Constant::ModRevision(revision))) => CompareTarget::ModRevision(number(revision)),
        (Ok(compare::CompareTarget::Mod), _) => CompareTarget::ModRevision(0),
        (Ok(compare::CompareTarget::Value), Some(Constant::Value(value))) => CompareTarget::Value(value.into()),
        (Ok(compare::CompareTarget::Value), _) => CompareTarget::Value(Default::default()),
        (Ok(compare::CompareTarget::Lease), Some(Constant::Lease(lease))) => CompareTarget::Lease(lease),
        (Ok(compare::CompareTarget::Lease), _) => CompareTarget::Lease(0),
        (Err(_), _) => return Err(unknown("thing to compare", target)),
    };
    Ok(Compare { key: key.into(), result: how, target, range_end: end_in(range_end) })
}

fn compare_out(compare: &Compare) -> w::Compare {
    use w::compare::TargetUnion as Constant;
    let result = match compare.result {
        CompareResult::Equal => compare::CompareResult::Equal,
        CompareResult::NotEqual => compare::CompareResult::NotEqual,
        CompareResult::Greater => compare::CompareResult::Greater,
        CompareResult::Less => compare::CompareResult::Less,
    };
    let (target, constant) = match &compare.target {
        CompareTarget::Version(version) => (compare::CompareTarget::Version, Constant::Version(signed(*version))),
        CompareTarget::CreateRevision(revision) => (compare::CompareTarget::Create, Constant::CreateRevision(signed(*revision))),
        CompareTarget::ModRevision(revision) => (compare::CompareTarget::Mod, Constant::ModRevision(signed(*revision))),
        CompareTarget::Value(value) => (compare::CompareTarget::Value, Constant::Value(bytes(value))),
        CompareTarget::Lease(lease) => (compare::CompareTarget::Lease, Constant::Lease(*lease)),
    };
    w::Compare {
        result: result.into(),
        target: target.into(),
        key: bytes(&compare.key),
        target_union: Some(constant),
        range_end: end_out(compare.range_end.as_ref()),
    }
}
