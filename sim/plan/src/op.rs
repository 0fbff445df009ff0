//! The operations of a plan, and the requests they become.

use kv::{Bytes, Compare, CompareResult, CompareTarget, DeleteRangeRequest, KeyValue, PutRequest, RangeRequest, Request, TxnRequest};
use serde::{Deserialize, Serialize};

/// One operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Op {
    /// Its id, unique in the plan; the value it writes is this number.
    pub id: u64,
    /// The client that runs it.
    pub client: u32,
    /// Not before this moment, and not before the client's operation before it has ended.
    #[serde(default)]
    pub at_us: u64,
    /// What is asked.
    pub action: Action,
}

/// What an operation asks for. Whatever it writes has the operation's id, in decimal, as its value: written values are unique.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Writes a key.
    Put {
        /// The key.
        key: Bytes,
    },
    /// Reads a key.
    Get {
        /// The key.
        key: Bytes,
    },
    /// Reads the keys from `from` up to, not including, `to`.
    Range {
        /// The first key.
        from: Bytes,
        /// The end, exclusive.
        to: Bytes,
    },
    /// Deletes a key.
    Delete {
        /// The key.
        key: Bytes,
    },
    /// Deletes the keys from `from` up to, not including, `to`.
    DeleteRange {
        /// The first key.
        from: Bytes,
        /// The end, exclusive.
        to: Bytes,
    },
    /// Writes a key if it is as the client last observed it, else reads it.
    Cas {
        /// The key.
        key: Bytes,
        /// What is compared.
        by: CasBy,
    },
    /// If `compare` is as the client last observed it, writes the keys of `put` and reads those of `get`, else reads all of them; atomically.
    Txn {
        /// The key compared.
        compare: Bytes,
        /// What of it is compared.
        by: CasBy,
        /// Keys written.
        #[serde(default)]
        put: Vec<Bytes>,
        /// Keys read.
        #[serde(default)]
        get: Vec<Bytes>,
    },
}

/// What a compare looks at. The constant comes from what the client last observed of the key, at invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CasBy {
    /// Its value; of a key not observed, that its version is 0.
    Value,
    /// The revision that last wrote it; 0 of a key not observed.
    ModRevision,
    /// The number of writes since it was created; 0 of a key not observed.
    Version,
}

impl Action {
    /// The kind's name: the one in the plan's text.
    pub fn kind(&self) -> &'static str {
        match self {
            Action::Put { .. } => "put",
            Action::Get { .. } => "get",
            Action::Range { .. } => "range",
            Action::Delete { .. } => "delete",
            Action::DeleteRange { .. } => "delete_range",
            Action::Cas { .. } => "cas",
            Action::Txn { .. } => "txn",
        }
    }

    /// Whether it changes nothing, whatever the state.
    pub fn is_read(&self) -> bool {
        matches!(self, Action::Get { .. } | Action::Range { .. })
    }

    /// The key whose last observation the request depends on.
    pub fn compares(&self) -> Option<&Bytes> {
        match self {
            Action::Cas { key, .. } | Action::Txn { compare: key, .. } => Some(key),
            _ => None,
        }
    }

    /// The request that operation `id` makes. `seen` is what its client last observed of the key that [`Action::compares`] names; `None`
    /// if it never did, or saw the key missing.
    pub fn request(&self, id: u64, seen: Option<&KeyValue>) -> Request {
        let get = |key: &Bytes| Request::Range(RangeRequest { key: key.clone(), range_end: None, limit: 0, ..RangeRequest::default() });
        let put = |key: &Bytes| {
            Request::Put(PutRequest { key: key.clone(), value: Bytes::from(id.to_string()), prev_kv: false, ..PutRequest::default() })
        };
        // Every other write asks for what it replaces: that pins its place in the history.
        let prev_kv = id & 1 == 0;
        match self {
            Action::Put { key } => {
                Request::Put(PutRequest { key: key.clone(), value: Bytes::from(id.to_string()), prev_kv, ..PutRequest::default() })
            }
            Action::Get { key } => get(key),
            Action::Range { from, to } => {
                Request::Range(RangeRequest { key: from.clone(), range_end: Some(to.clone()), limit: 0, ..RangeRequest::default() })
            }
            Action::Delete { key } => Request::DeleteRange(DeleteRangeRequest { key: key.clone(), range_end: None, prev_kv }),
            Action::DeleteRange { from, to } => {
                Request::DeleteRange(DeleteRangeRequest { key: from.clone(), range_end: Some(to.clone()), prev_kv })
            }
            Action::Cas { key, by } => {
                Request::Txn(TxnRequest {
                    compare: vec![compare(key, *by, seen)], // It reads back what it wrote: a fast answer must not know the revision of that.
                    success: vec![put(key), get(key)],
                    failure: vec![get(key)],
                })
            }
            Action::Txn { compare: key, by, put: writes, get: reads } => Request::Txn(TxnRequest {
                compare: vec![compare(key, *by, seen)],
                success: writes.iter().map(put).chain(reads.iter().map(get)).collect(),
                failure: writes.iter().chain(reads).map(get).collect(),
            }),
        }
    }
}

fn compare(key: &Bytes, by: CasBy, seen: Option<&KeyValue>) -> Compare {
    let target = match (by, seen) {
        (CasBy::Value, Some(kv)) => CompareTarget::Value(kv.value.clone()),
        (CasBy::ModRevision, seen) => CompareTarget::ModRevision(seen.map_or(0, |kv| kv.mod_revision)),
        (CasBy::Version, seen) => CompareTarget::Version(seen.map_or(0, |kv| kv.version)),
        (CasBy::Value, None) => CompareTarget::Version(0), // A missing key has no value: compares with one are false.
    };
    Compare { key: key.clone(), result: CompareResult::Equal, target, ..Compare::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cas_compares_with_what_was_seen() {
        let cas = Action::Cas { key: "k1".into(), by: CasBy::Value };
        let seen = KeyValue { key: "k1".into(), value: "7".into(), create_revision: 2, mod_revision: 5, version: 3, ..KeyValue::default() };
        let target = |request| match request {
            Request::Txn(txn) => txn.compare[0].target.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(target(cas.request(9, Some(&seen))), CompareTarget::Value("7".into()));
        assert_eq!(target(cas.request(9, None)), CompareTarget::Version(0));
        let by_revision = Action::Cas { key: "k1".into(), by: CasBy::ModRevision };
        assert_eq!(target(by_revision.request(9, Some(&seen))), CompareTarget::ModRevision(5));
    }

    #[test]
    fn a_write_carries_its_own_id() {
        let Request::Put(put) = (Action::Put { key: "k".into() }).request(12, None) else { panic!("a put makes a put") };
        assert_eq!(put.value, "12".into());
    }
}
