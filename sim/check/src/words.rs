//! Requests, responses and spans of time, in the words that explanations use.

use kv::{
    Bytes, Compare, CompareResult, CompareTarget, EventKind, KeyValue, LEASE_NONE, PutRequest, RangeRequest, Request, Response, SortOrder,
    SortTarget, WatchEvent,
};

/// An operation with its answer: `get(k3) → 12`, `put(k3, 17)`.
pub fn operation(request: &Request, response: Option<&Response>) -> String {
    match response {
        // Says no more than that it was done.
        None | Some(Response::Put { prev_kv: None }) => self::request(request),
        Some(response) => format!("{} → {}", self::request(request), self::response(request, response)),
    }
}

/// A request: `get(k3)`, `range(k1..k9)`, `put(k3, 17)`, `delete(k3)`, `txn(if k3 value = 1 then put(k3, 2) else get(k3))`.
pub fn request(request: &Request) -> String {
    match request {
        Request::Put(put) => self::put(put),
        Request::Range(range) => self::range(range),
        Request::DeleteRange(delete) => format!("delete({})", keys(&delete.key, delete.range_end.as_ref())),
        Request::Txn(txn) => {
            let list = |requests: &[Request]| requests.iter().map(self::request).collect::<Vec<_>>().join(", ");
            let mut text = "txn(".to_string();
            if !txn.compare.is_empty() {
                text += &format!("if {} then ", txn.compare.iter().map(compare).collect::<Vec<_>>().join(" and "));
            }
            text += &list(&txn.success);
            if !txn.failure.is_empty() {
                text += &format!(" else {}", list(&txn.failure));
            }
            text + ")"
        }
        Request::Compact(compaction) => format!("compact({})", compaction.revision),
        Request::LeaseGrant(grant) => format!("grant(lease {}, {} s)", grant.id, grant.ttl),
        Request::LeaseRevoke(revoke) => match revoke.stamp {
            None => format!("revoke(lease {})", revoke.id),
            Some(term) => format!("revoke(lease {}, expired in term {term})", revoke.id),
        },
        Request::LeaseKeepAlive(keep) => format!("keep-alive(lease {})", keep.id),
        Request::LeaseTimeToLive(ask) => format!("time-to-live(lease {})", ask.id),
        Request::LeaseLeases => "leases()".into(),
    }
}

fn put(put: &PutRequest) -> String {
    let value = if put.ignore_value { "as before".into() } else { short(&put.value) };
    let lease = match put.lease {
        _ if put.ignore_lease => ", lease as before".into(),
        LEASE_NONE => String::new(),
        id => format!(", lease {id}"),
    };
    format!("put({}, {value}{lease})", put.key)
}

fn range(range: &RangeRequest) -> String {
    let mut text = match &range.range_end {
        None => format!("get({}", range.key),
        Some(end) => format!("range({}", keys(&range.key, Some(end))),
    };
    let mut number = |name: &str, n: u64| {
        if n != 0 {
            text += &format!(", {name} {n}");
        }
    };
    number("limit", range.limit);
    number("revision", range.revision);
    number("mod from", range.min_mod_revision);
    number("mod to", range.max_mod_revision);
    number("create from", range.min_create_revision);
    number("create to", range.max_create_revision);
    if range.sort_target != SortTarget::Key || range.sort_order == SortOrder::Descend {
        let how = if range.sort_order == SortOrder::Descend { "falling" } else { "rising" };
        text += &format!(", by {how} {}", format!("{:?}", range.sort_target).to_lowercase());
    }
    for (name, is_set) in [("keys only", range.keys_only), ("count only", range.count_only), ("serializable", range.serializable)] {
        if is_set {
            text += &format!(", {name}");
        }
    }
    text + ")"
}

/// A response, given what was asked.
pub fn response(request: &Request, response: &Response) -> String {
    match (request, response) {
        (_, Response::Put { prev_kv: None }) => "done".into(),
        (_, Response::Put { prev_kv: Some(kv) }) => format!("before it {}", key_value(kv)),
        (Request::Range(range), Response::Range { kvs, count, .. }) if range.range_end.is_none() => match &kvs[..] {
            [] if *count == 0 => "nothing".into(),
            [kv] if *count == 1 && kv.lease == LEASE_NONE => format!("{} (version {})", short(&kv.value), kv.version),
            _ => format!("{} of {count}", list(kvs)),
        },
        (_, Response::Range { kvs, count, .. }) if kvs.len() as u64 == *count => list(kvs),
        (_, Response::Range { kvs, count, .. }) => format!("{} of {count}", list(kvs)),
        (_, Response::DeleteRange { deleted, prev_kvs }) if prev_kvs.is_empty() => format!("{deleted} deleted"),
        (_, Response::DeleteRange { deleted, prev_kvs }) => format!("{deleted} deleted: {}", list(prev_kvs)),
        (Request::Txn(txn), Response::Txn { succeeded, responses }) => {
            let branch = if *succeeded { &txn.success } else { &txn.failure };
            let each = branch.iter().zip(responses).map(|(request, response)| self::response(request, response));
            format!("{}[{}]", if *succeeded { "then " } else { "else " }, each.collect::<Vec<_>>().join(", "))
        }
        (_, Response::Txn { succeeded, responses }) => format!("txn {succeeded} with {} responses", responses.len()),
        (_, Response::Error(error)) => error.to_string(),
        (_, Response::Compact | Response::LeaseRevoke) => "done".into(),
        (_, Response::LeaseGrant { id, ttl }) => format!("lease {id} for {ttl} s"),
        (_, Response::LeaseKeepAlive { ttl: 0, .. }) => "no such lease".into(),
        (_, Response::LeaseKeepAlive { ttl, .. }) => format!("alive for {ttl} s"),
        (_, Response::LeaseTimeToLive { ttl: -1, .. }) => "no such lease".into(),
        (_, Response::LeaseTimeToLive { ttl, granted_ttl, keys, .. }) if keys.is_empty() => format!("{ttl} s of {granted_ttl} s"),
        (_, Response::LeaseTimeToLive { ttl, granted_ttl, keys, .. }) => {
            format!("{ttl} s of {granted_ttl} s, keys {}", keys.iter().map(Bytes::to_string).collect::<Vec<_>>().join(", "))
        }
        (_, Response::LeaseLeases { leases }) => format!("leases {leases:?}"),
    }
}

/// What a watcher is told: `put k3: 17 (version 2) at revision 12`.
pub fn event(event: &WatchEvent) -> String {
    match event.kind {
        EventKind::Put => format!("put {} at revision {}", key_value(&event.kv), event.kv.mod_revision),
        EventKind::Delete => format!("delete {} at revision {}", event.kv.key, event.kv.mod_revision),
    }
}

/// A span of virtual time, to three digits: `565 ms`, `1.25 s`, `17 ns`.
pub fn span(ns: u64) -> String {
    let (unit, name) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => (1e3, "µs"),
        1_000_000..1_000_000_000 => (1e6, "ms"),
        _ => (1e9, "s"),
    };
    let value = ns as f64 / unit;
    let digits = if value >= 100.0 { 0 } else { 2 };
    let text = format!("{value:.digits$}");
    let text = if digits > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} {name}")
}

/// A key, or a range of them: `k3`, `k1..k9`.
pub fn keys(key: &Bytes, end: Option<&Bytes>) -> String {
    end.map_or(key.to_string(), |end| format!("{key}..{end}"))
}

fn list(kvs: &[KeyValue]) -> String {
    format!("{{{}}}", kvs.iter().map(key_value).collect::<Vec<_>>().join(", "))
}

/// A pair: `k3: 17 (version 2, lease 5)`.
pub fn key_value(kv: &KeyValue) -> String {
    let lease = if kv.lease == LEASE_NONE { String::new() } else { format!(", lease {}", kv.lease) };
    format!("{}: {} (version {}{lease})", kv.key, short(&kv.value), kv.version)
}

fn short(bytes: &Bytes) -> String {
    let text = bytes.to_string();
    if text.chars().count() <= 40 { text } else { text.chars().take(40).chain(['…']).collect() }
}

fn compare(compare: &Compare) -> String {
    let how = match compare.result {
        CompareResult::Equal => "=",
        CompareResult::NotEqual => "≠",
        CompareResult::Greater => ">",
        CompareResult::Less => "<",
    };
    let (what, with) = match &compare.target {
        CompareTarget::Version(v) => ("version", v.to_string()),
        CompareTarget::CreateRevision(r) => ("create revision", r.to_string()),
        CompareTarget::ModRevision(r) => ("mod revision", r.to_string()),
        CompareTarget::Value(value) => ("value", short(value)),
        CompareTarget::Lease(lease) => ("lease", lease.to_string()),
    };
    format!("{} {what} {how} {with}", keys(&compare.key, compare.range_end.as_ref()))
}
