//! What is answered.

use curp::Synced;
use kv::Response;

use super::w::response_op;
use super::{Answer, Malformed, Result, bytes, natural, pair_in, pair_out, signed, w};

/// The answer as its call has it, with this header.
///
/// # Errors
/// It is an error of the API, which is a status on this wire.
pub fn answer_out(header: w::ResponseHeader, response: &Response) -> std::result::Result<Answer, kv::Error> {
    let header = Some(header);
    Ok(match response {
        Response::Range { .. } => Answer::Range(range_out(header, response)),
        Response::Put { .. } => Answer::Put(put_out(header, response)),
        Response::DeleteRange { .. } => Answer::DeleteRange(delete_out(header, response)),
        Response::Txn { .. } => Answer::Txn(txn_out(header, response)),
        Response::Compact => Answer::Compact(w::CompactionResponse { header }),
        Response::LeaseGrant { id, ttl } => Answer::Grant(w::LeaseGrantResponse { header, id: *id, ttl: *ttl, ..Default::default() }),
        Response::LeaseRevoke => Answer::Revoke(w::LeaseRevokeResponse { header }),
        Response::LeaseKeepAlive { id, ttl } => Answer::KeepAlive(w::LeaseKeepAliveResponse { header, id: *id, ttl: *ttl }),
        Response::LeaseTimeToLive { id, ttl, granted_ttl, keys } => {
            let keys = keys.iter().map(bytes).collect();
            Answer::TimeToLive(w::LeaseTimeToLiveResponse { header, id: *id, ttl: *ttl, granted_ttl: *granted_ttl, keys })
        }
        Response::LeaseLeases { leases } => {
            let leases = leases.iter().map(|id| w::LeaseStatus { id: *id }).collect();
            Answer::Leases(w::LeaseLeasesResponse { header, leases })
        }
        Response::Error(error) => return Err(*error),
    })
}

/// The way back, with the revision that stands in the header.
///
/// # Errors
/// It is no answer.
pub fn answer_in(answer: Answer) -> Result<Synced<Response>> {
    let (header, response) = match answer {
        Answer::Range(a) => (a.header, range_in(a)),
        Answer::Put(a) => (a.header, put_in(a)),
        Answer::DeleteRange(a) => (a.header, delete_in(a)),
        Answer::Txn(a) => (a.header, txn_in(a)?),
        Answer::Compact(a) => (a.header, Response::Compact),
        Answer::Grant(a) => (a.header, Response::LeaseGrant { id: a.id, ttl: a.ttl }),
        Answer::Revoke(a) => (a.header, Response::LeaseRevoke),
        Answer::KeepAlive(a) => (a.header, Response::LeaseKeepAlive { id: a.id, ttl: a.ttl }),
        Answer::TimeToLive(a) => {
            let keys = a.keys.into_iter().map(Into::into).collect();
            (a.header, Response::LeaseTimeToLive { id: a.id, ttl: a.ttl, granted_ttl: a.granted_ttl, keys })
        }
        Answer::Leases(a) => (a.header, Response::LeaseLeases { leases: a.leases.iter().map(|lease| lease.id).collect() }),
    };
    let header = header.ok_or_else(|| Malformed("an answer without a header".to_owned()))?;
    Ok(Synced { revision: natural(header.revision), response })
}

fn range_out(header: Option<w::ResponseHeader>, response: &Response) -> w::RangeResponse {
    let Response::Range { kvs, count, more } = response else { unreachable!("looked at by the caller") };
    w::RangeResponse { header, kvs: kvs.iter().map(pair_out).collect(), more: *more, count: signed(*count) }
}

fn range_in(range: w::RangeResponse) -> Response {
    Response::Range { kvs: range.kvs.into_iter().map(pair_in).collect(), count: natural(range.count), more: range.more }
}

fn put_out(header: Option<w::ResponseHeader>, response: &Response) -> w::PutResponse {
    let Response::Put { prev_kv } = response else { unreachable!("looked at by the caller") };
    w::PutResponse { header, prev_kv: prev_kv.as_ref().map(pair_out) }
}

fn put_in(put: w::PutResponse) -> Response {
    Response::Put { prev_kv: put.prev_kv.map(pair_in) }
}

fn delete_out(header: Option<w::ResponseHeader>, response: &Response) -> w::DeleteRangeResponse {
    let Response::DeleteRange { deleted, prev_kvs } = response else { unreachable!("looked at by the caller") };
    w::DeleteRangeResponse { header, deleted: signed(*deleted), prev_kvs: prev_kvs.iter().map(pair_out).collect() }
}

fn delete_in(delete: w::DeleteRangeResponse) -> Response {
    Response::DeleteRange { deleted: natural(delete.deleted), prev_kvs: delete.prev_kvs.into_iter().map(pair_in).collect() }
}

/// Within a txn the headers say the revision alone.
fn txn_out(header: Option<w::ResponseHeader>, response: &Response) -> w::TxnResponse {
    let Response::Txn { succeeded, responses } = response else { unreachable!("looked at by the caller") };
    let inner = header.map(|header| w::ResponseHeader { revision: header.revision, ..Default::default() });
    let op = |response: &Response| {
        let response = match response {
            Response::Range { .. } => Some(response_op::Response::ResponseRange(range_out(inner, response))),
            Response::Put { .. } => Some(response_op::Response::ResponsePut(put_out(inner, response))),
            Response::DeleteRange { .. } => Some(response_op::Response::ResponseDeleteRange(delete_out(inner, response))),
            Response::Txn { .. } => Some(response_op::Response::ResponseTxn(txn_out(inner, response))),
            // No request that may stand in a txn is answered so; an error is the whole txn's.
            _ => None,
        };
        w::ResponseOp { response }
    };
    w::TxnResponse { header, succeeded: *succeeded, responses: responses.iter().map(op).collect() }
}

fn txn_in(txn: w::TxnResponse) -> Result<Response> {
    let op = |op: w::ResponseOp| match op.response {
        Some(response_op::Response::ResponseRange(range)) => Ok(range_in(range)),
        Some(response_op::Response::ResponsePut(put)) => Ok(put_in(put)),
        Some(response_op::Response::ResponseDeleteRange(delete)) => Ok(delete_in(delete)),
        Some(response_op::Response::ResponseTxn(txn)) => txn_in(txn),
        None => Err(Malformed("an answer within a txn is none".to_owned())),
    };
    Ok(Response::Txn { succeeded: txn.succeeded, responses: txn.responses.into_iter().map(op).collect::<Result<_>>()? })
}
