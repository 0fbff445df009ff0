//! Between the words of core/kv and those of etcd's wire, both ways. What a request says here is what it says there: the way out and in again
//! ends where it began.
//!
//! Revisions, versions and limits are signed on the wire. A negative one is taken for what etcd makes of it: no limit, the present, or
//! a comparison that never, or always, holds.
//!
//! | file | what it converts |
//! | --- | --- |
//! | `requests.rs` | what is asked |
//! | `answers.rs` | what is answered |
//! | `watch.rs` | what is said on a stream of watchers |

mod answers;
mod requests;
mod watch;

use kv::{Bytes, Error, KeyValue};
use prost::Message;
use tonic::{Code, Status};

use super::wire::{etcdserverpb as w, mvccpb};

pub use answers::{answer_in, answer_out};
pub use requests::{request_in, request_out};
pub use watch::{create_in, create_out, watch_in, watch_out};

/// A call that becomes a request of core/kv.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each is the call of its name")]
pub enum Call {
    Range(w::RangeRequest),
    Put(w::PutRequest),
    DeleteRange(w::DeleteRangeRequest),
    Txn(w::TxnRequest),
    Compact(w::CompactionRequest),
    Grant(w::LeaseGrantRequest),
    Revoke(w::LeaseRevokeRequest),
    KeepAlive(w::LeaseKeepAliveRequest),
    TimeToLive(w::LeaseTimeToLiveRequest),
    Leases(w::LeaseLeasesRequest),
}

impl Call {
    /// How long it is on the wire.
    pub fn encoded_len(&self) -> usize {
        match self {
            Call::Range(call) => call.encoded_len(),
            Call::Put(call) => call.encoded_len(),
            Call::DeleteRange(call) => call.encoded_len(),
            Call::Txn(call) => call.encoded_len(),
            Call::Compact(call) => call.encoded_len(),
            Call::Grant(call) => call.encoded_len(),
            Call::Revoke(call) => call.encoded_len(),
            Call::KeepAlive(call) => call.encoded_len(),
            Call::TimeToLive(call) => call.encoded_len(),
            Call::Leases(call) => call.encoded_len(),
        }
    }
}

/// Its answer.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each is the answer to the call of its name")]
pub enum Answer {
    Range(w::RangeResponse),
    Put(w::PutResponse),
    DeleteRange(w::DeleteRangeResponse),
    Txn(w::TxnResponse),
    Compact(w::CompactionResponse),
    Grant(w::LeaseGrantResponse),
    Revoke(w::LeaseRevokeResponse),
    KeepAlive(w::LeaseKeepAliveResponse),
    TimeToLive(w::LeaseTimeToLiveResponse),
    Leases(w::LeaseLeasesResponse),
}

/// What came over the wire asks for nothing that there is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("etcdserver: {0}")]
pub struct Malformed(String);

type Result<T> = std::result::Result<T, Malformed>;

impl From<Malformed> for Status {
    fn from(malformed: Malformed) -> Status {
        Status::invalid_argument(malformed.to_string())
    }
}

/// An error of the API as the wire has it.
pub fn status(error: Error) -> Status {
    Status::new(Code::from(error.code() as i32), error.message())
}

/// The way back; `None`: it is none of the API's.
pub fn error_of(status: &Status) -> Option<Error> {
    Error::ALL.iter().copied().find(|error| Code::from(error.code() as i32) == status.code() && error.message() == status.message())
}

fn unknown(what: &str, number: i32) -> Malformed {
    Malformed(format!("{number} is no {what}"))
}

/// A revision, version, limit or number: what is negative counts as none.
fn natural(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// No end stands for none: a range that ends before every key would hold nothing.
fn end_in(end: Vec<u8>) -> Option<Bytes> {
    (!end.is_empty()).then(|| Bytes::from(end))
}

fn end_out(end: Option<&Bytes>) -> Vec<u8> {
    end.map_or_else(Vec::new, bytes)
}

fn bytes(bytes: &Bytes) -> Vec<u8> {
    bytes.as_slice().to_vec()
}

fn pair_out(pair: &KeyValue) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: bytes(&pair.key),
        value: bytes(&pair.value),
        create_revision: signed(pair.create_revision),
        mod_revision: signed(pair.mod_revision),
        version: signed(pair.version),
        lease: pair.lease,
    }
}

fn pair_in(pair: mvccpb::KeyValue) -> KeyValue {
    KeyValue {
        key: pair.key.into(),
        value: pair.value.into(),
        create_revision: natural(pair.create_revision),
        mod_revision: natural(pair.mod_revision),
        version: natural(pair.version),
        lease: pair.lease,
    }
}
