//! Requests and responses, in the words of etcd's API. They are what clients send, what the log holds, and what histories record.
//!
//! A field that is not given has the value that etcd's wire format gives it: zero, false, none. What a watch says is in
//! [`crate::watch`]: it is no request of the log.

use serde::{Deserialize, Serialize};

use crate::{Bytes, Error};

/// Names a lease; 0 is none.
pub type LeaseId = i64;

/// No lease.
pub const LEASE_NONE: LeaseId = 0;

/// A request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Writes one key.
    Put(PutRequest),
    /// Reads a key or a range of keys.
    Range(RangeRequest),
    /// Deletes a key or a range of keys.
    DeleteRange(DeleteRangeRequest),
    /// Compares, then does one of two lists of requests, atomically.
    Txn(TxnRequest),
    /// Forgets what keys held before a revision.
    Compact(CompactionRequest),
    /// Makes a lease.
    LeaseGrant(LeaseGrantRequest),
    /// Ends a lease, and deletes the keys attached to it.
    LeaseRevoke(LeaseRevokeRequest),
    /// Makes a lease live its full time from now on. The leader's alone: it is never in a log.
    LeaseKeepAlive(LeaseKeepAliveRequest),
    /// How long a lease has still to live. The leader's alone: it is never in a log.
    LeaseTimeToLive(LeaseTimeToLiveRequest),
    /// Which leases there are. The leader's alone: it is never in a log.
    LeaseLeases,
}

/// Put.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PutRequest {
    /// The key; not empty.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// Whether to return what the key held before.
    #[serde(default)]
    pub prev_kv: bool,
    /// The lease to attach the key to, instead of the one it may have; 0: none.
    #[serde(default)]
    pub lease: LeaseId,
    /// Keep the value; the key must exist, and `value` be empty.
    #[serde(default)]
    pub ignore_value: bool,
    /// Keep the lease; the key must exist, and `lease` be 0.
    #[serde(default)]
    pub ignore_lease: bool,
}

/// Range: the keys from `key` up to, not including, `range_end`; the one key without it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RangeRequest {
    /// First key.
    pub key: Bytes,
    /// The end, exclusive. `None`: the one key. One zero byte (`"\0"`): every key from `key` on, as in etcd.
    #[serde(default)]
    pub range_end: Option<Bytes>,
    /// The most pairs to return; 0 is no limit. `count` does not heed it.
    #[serde(default)]
    pub limit: u64,
    /// Read as of this revision; 0: the present.
    #[serde(default)]
    pub revision: u64,
    /// Order of the pairs, before the limit is applied.
    #[serde(default)]
    pub sort_order: SortOrder,
    /// By what they are ordered.
    #[serde(default)]
    pub sort_target: SortTarget,
    /// Whether any node may answer at once from what it has applied: a prefix of the log, not the latest.
    #[serde(default)]
    pub serializable: bool,
    /// Leave the values out.
    #[serde(default)]
    pub keys_only: bool,
    /// Give the count only.
    #[serde(default)]
    pub count_only: bool,
    /// Leave out what was last written before this revision; 0: nothing. `count` heeds none of these four.
    #[serde(default)]
    pub min_mod_revision: u64,
    /// Leave out what was last written after this revision; 0: nothing.
    #[serde(default)]
    pub max_mod_revision: u64,
    /// Leave out what was created before this revision; 0: nothing.
    #[serde(default)]
    pub min_create_revision: u64,
    /// Leave out what was created after this revision; 0: nothing.
    #[serde(default)]
    pub max_create_revision: u64,
}

/// Which way to sort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SortOrder {
    /// As [`Ascend`](SortOrder::Ascend).
    #[default]
    None,
    /// Smallest first.
    Ascend,
    /// Greatest first.
    Descend,
}

/// What to sort by. Pairs that are equal in it stand in key order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SortTarget {
    /// The key.
    #[default]
    Key,
    /// The number of writes since the key was created.
    Version,
    /// The revision that created it.
    Create,
    /// The revision that last wrote it.
    Mod,
    /// The value.
    Value,
}

/// Delete the keys from `key` up to, not including, `range_end`; the one key without it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeleteRangeRequest {
    /// First key.
    pub key: Bytes,
    /// The end, exclusive. `None`: the one key. One zero byte (`"\0"`): every key from `key` on, as in etcd.
    #[serde(default)]
    pub range_end: Option<Bytes>,
    /// Whether to return what was deleted.
    #[serde(default)]
    pub prev_kv: bool,
}

/// If every compare holds, `success`, else `failure`; one revision for all of it. Requests in a branch see the earlier ones' effects;
/// compares, those of txns within it too, see the state before all of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TxnRequest {
    /// All must hold.
    pub compare: Vec<Compare>,
    /// Done if they do.
    #[serde(deserialize_with = "crate::nested::list")]
    pub success: Vec<Request>,
    /// Done if one does not.
    #[serde(default, deserialize_with = "crate::nested::list")]
    pub failure: Vec<Request>,
}

/// One comparison of a key's state with a constant. A missing key has versions and revisions 0, no value and no lease.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Compare {
    /// The key.
    pub key: Bytes,
    /// How.
    pub result: CompareResult,
    /// With what.
    pub target: CompareTarget,
    /// The end of a range of keys, as in [`RangeRequest`], all of which must compare so. A range that holds none compares as a missing key does.
    #[serde(default)]
    pub range_end: Option<Bytes>,
}

/// How to compare: the key's own value stands left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CompareResult {
    /// =
    #[default]
    Equal,
    /// ≠
    NotEqual,
    /// >
    Greater,
    /// <
    Less,
}

/// What is compared, with the constant to compare it with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CompareTarget {
    /// Number of writes since the key was created.
    Version(u64),
    /// Revision that created it.
    CreateRevision(u64),
    /// Revision that last wrote it.
    ModRevision(u64),
    /// Its value; a missing key compares false, whatever the comparison (as in etcd).
    Value(Bytes),
    /// The lease it is attached to; 0 if none.
    Lease(LeaseId),
}

impl Default for CompareTarget {
    fn default() -> Self {
        CompareTarget::Version(0)
    }
}

/// Forget what keys held before a revision. Reads as of that revision and watches from it on stay possible.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CompactionRequest {
    /// The revision.
    pub revision: u64,
    /// Whether to answer only once the space is free, which here it always is.
    #[serde(default)]
    pub physical: bool,
}

/// Make a lease.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LeaseGrantRequest {
    /// How long it is to live without a keep-alive, in seconds. Less than the minimum is taken for the minimum.
    pub ttl: i64,
    /// Its name. 0: the server makes one, before the command is recorded or logged (see [`made_lease_id`](crate::made_lease_id)).
    #[serde(default)]
    pub id: LeaseId,
}

/// End a lease.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LeaseRevokeRequest {
    /// The lease.
    pub id: LeaseId,
    /// A leader's revoke of an expired lease: the term in which it decided. Void in a log entry of another term.
    #[serde(default)]
    pub stamp: Option<curp::Term>,
}

/// Keep a lease alive.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LeaseKeepAliveRequest {
    /// The lease.
    pub id: LeaseId,
}

/// Ask how long a lease has still to live.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LeaseTimeToLiveRequest {
    /// The lease.
    pub id: LeaseId,
    /// Whether to name the keys attached to it.
    #[serde(default)]
    pub keys: bool,
}

/// A key with its value and revisions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// Revision that created it.
    pub create_revision: u64,
    /// Revision that last wrote it.
    pub mod_revision: u64,
    /// Writes since it was created; the first has 1.
    pub version: u64,
    /// The lease it is attached to; 0 if none.
    #[serde(default)]
    pub lease: LeaseId,
}

/// A response. The header's revision stands apart, in [`curp::Synced`]: a fast answer has none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// Of a put.
    Put {
        /// What the key held before, if asked for.
        prev_kv: Option<KeyValue>,
    },
    /// Of a range.
    Range {
        /// The pairs, in the order asked for, up to the limit.
        kvs: Vec<KeyValue>,
        /// Number of pairs in the range.
        count: u64,
        /// Whether the limit cut some off.
        #[serde(default)]
        more: bool,
    },
    /// Of a delete.
    DeleteRange {
        /// How many keys were deleted.
        deleted: u64,
        /// What they held, if asked for.
        prev_kvs: Vec<KeyValue>,
    },
    /// Of a txn.
    Txn {
        /// Whether the compares held.
        succeeded: bool,
        /// The responses of the branch taken.
        #[serde(deserialize_with = "crate::nested::list")]
        responses: Vec<Response>,
    },
    /// Of a compaction.
    Compact,
    /// Of a grant.
    LeaseGrant {
        /// The lease.
        id: LeaseId,
        /// The time it was given, in seconds.
        ttl: i64,
    },
    /// Of a revoke.
    LeaseRevoke,
    /// Of a keep-alive.
    LeaseKeepAlive {
        /// The lease.
        id: LeaseId,
        /// The time it has now, in seconds; 0 if there is no such lease, or it is about to go.
        ttl: i64,
    },
    /// Of a question for the time to live.
    LeaseTimeToLive {
        /// The lease.
        id: LeaseId,
        /// Whole seconds left; −1 if there is no such lease.
        ttl: i64,
        /// The time it was granted, in seconds.
        granted_ttl: i64,
        /// The keys attached to it, in order, if asked for.
        keys: Vec<Bytes>,
    },
    /// Of a question for all leases.
    LeaseLeases {
        /// They, in order.
        leases: Vec<LeaseId>,
    },
    /// The command was applied, changed nothing, and this is why.
    Error(Error),
}

impl Response {
    /// Why the command did nothing, if that is its result.
    pub fn error(&self) -> Option<Error> {
        match self {
            Response::Error(error) => Some(*error),
            _ => None,
        }
    }
}
