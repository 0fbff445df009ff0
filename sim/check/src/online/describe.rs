//! Words for people: commands and sets of nodes, short enough for one sentence.

use curp::{NodeId, ProposeId};
use kv::{Bytes, Request};

fn keys(key: &Bytes, end: Option<&Bytes>) -> String {
    end.map_or_else(|| key.to_string(), |end| format!("{key}..{end}"))
}

/// `put(k3, 17)`, `get(k3)`, `delete(a..b)`, `txn(3 compares, 2 or 1 requests)`.
pub(super) fn request(request: &Request) -> String {
    match request {
        Request::Put(put) => format!("put({}, {})", put.key, put.value),
        Request::Range(range) => format!("get({})", keys(&range.key, range.range_end.as_ref())),
        Request::DeleteRange(delete) => format!("delete({})", keys(&delete.key, delete.range_end.as_ref())),
        Request::Txn(txn) => {
            let branch = |requests: &[Request]| requests.iter().map(self::request).collect::<Vec<_>>().join(", ");
            format!("txn({} compares; {}; else {})", txn.compare.len(), branch(&txn.success), branch(&txn.failure))
        }
        other => crate::words::request(other),
    }
}

/// `put(k3, 17) (3.17)`.
pub(super) fn command(id: ProposeId, of: Option<&Request>) -> String {
    of.map_or_else(|| format!("command {id}"), |r| format!("{} ({id})", request(r)))
}

/// `1, 2 and 4`.
pub(super) fn nodes(ids: impl IntoIterator<Item = NodeId>) -> String {
    let ids: Vec<_> = ids.into_iter().map(|id| id.to_string()).collect();
    match ids.split_last() {
        None => "none".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}
