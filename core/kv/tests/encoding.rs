//! Requests and responses come back as they were, in postcard (log, wire) and in JSON (histories, plans). Keys and values are any bytes:
//! text that is not UTF-8, and text that looks like the notation for such bytes, included.

use std::sync::Arc;

use curp::{Entry, Payload, Proposal, ProposeId, Record, Reply, Synced};
use kv::*;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

fn bytes() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..12).prop_map(Bytes::from),
        any::<String>().prop_map(Bytes::from),
        "(hex:)?[0-9a-f:]{0,6}".prop_map(Bytes::from),
    ]
}

fn compare() -> impl Strategy<Value = Compare> {
    use CompareResult::{Equal, Greater, Less, NotEqual};
    let target = prop_oneof![
        any::<u64>().prop_map(CompareTarget::Version),
        any::<u64>().prop_map(CompareTarget::CreateRevision),
        any::<u64>().prop_map(CompareTarget::ModRevision),
        bytes().prop_map(CompareTarget::Value),
        any::<i64>().prop_map(CompareTarget::Lease),
    ];
    let result = prop::sample::select(vec![Equal, NotEqual, Greater, Less]);
    (bytes(), result, target, end()).prop_map(|(key, result, target, range_end)| Compare { key, result, target, range_end })
}

fn end() -> impl Strategy<Value = Option<Bytes>> {
    prop::option::of(bytes())
}

fn put() -> impl Strategy<Value = Request> {
    (bytes(), bytes(), any::<[bool; 3]>(), any::<i64>()).prop_map(|(key, value, [prev_kv, ignore_value, ignore_lease], lease)| {
        Request::Put(PutRequest { key, value, prev_kv, lease, ignore_value, ignore_lease })
    })
}

fn range() -> impl Strategy<Value = Request> {
    use SortTarget::{Create, Key, Mod, Value, Version};
    let order = prop::sample::select(vec![SortOrder::None, SortOrder::Ascend, SortOrder::Descend]);
    let target = prop::sample::select(vec![Key, Version, Create, Mod, Value]);
    (bytes(), end(), order, target, any::<[bool; 3]>(), any::<[u64; 6]>()).prop_map(
        |(key, range_end, sort_order, sort_target, [serializable, keys_only, count_only], numbers)| {
            let [limit, revision, min_mod_revision, max_mod_revision, min_create_revision, max_create_revision] = numbers;
            Request::Range(RangeRequest {
                key,
                range_end,
                limit,
                revision,
                sort_order,
                sort_target,
                serializable,
                keys_only,
                count_only,
                min_mod_revision,
                max_mod_revision,
                min_create_revision,
                max_create_revision,
            })
        },
    )
}

/// Any request, valid or not, with txns three deep.
fn request() -> impl Strategy<Value = Request> {
    let simple = prop_oneof![
        put(),
        range(),
        (bytes(), end(), any::<bool>()).prop_map(|(key, range_end, prev_kv)| Request::DeleteRange(DeleteRangeRequest {
            key,
            range_end,
            prev_kv
        })),
        (any::<u64>(), any::<bool>()).prop_map(|(revision, physical)| Request::Compact(CompactionRequest { revision, physical })),
        any::<(i64, i64)>().prop_map(|(ttl, id)| Request::LeaseGrant(LeaseGrantRequest { ttl, id })),
        any::<(i64, Option<u64>)>().prop_map(|(id, stamp)| Request::LeaseRevoke(LeaseRevokeRequest { id, stamp })),
        any::<i64>().prop_map(|id| Request::LeaseKeepAlive(LeaseKeepAliveRequest { id })),
        any::<(i64, bool)>().prop_map(|(id, keys)| Request::LeaseTimeToLive(LeaseTimeToLiveRequest { id, keys })),
        Just(Request::LeaseLeases),
    ];
    simple.prop_recursive(3, 12, 3, |inner| {
        let branch = || prop::collection::vec(inner.clone(), 0..3);
        (prop::collection::vec(compare(), 0..3), branch(), branch())
            .prop_map(|(compare, success, failure)| Request::Txn(TxnRequest { compare, success, failure }))
    })
}

fn key_value() -> impl Strategy<Value = KeyValue> {
    (bytes(), bytes(), any::<[u64; 3]>(), any::<i64>()).prop_map(|(key, value, [create_revision, mod_revision, version], lease)| KeyValue {
        key,
        value,
        create_revision,
        mod_revision,
        version,
        lease,
    })
}

fn error() -> impl Strategy<Value = Error> {
    prop::sample::select(Error::ALL)
}

fn response() -> impl Strategy<Value = Response> {
    let kvs = || prop::collection::vec(key_value(), 0..3);
    let keys = prop::collection::vec(bytes(), 0..3);
    let simple = prop_oneof![
        prop::option::of(key_value()).prop_map(|prev_kv| Response::Put { prev_kv }),
        (kvs(), any::<u64>(), any::<bool>()).prop_map(|(kvs, count, more)| Response::Range { kvs, count, more }),
        (any::<u64>(), kvs()).prop_map(|(deleted, prev_kvs)| Response::DeleteRange { deleted, prev_kvs }),
        Just(Response::Compact),
        any::<(i64, i64)>().prop_map(|(id, ttl)| Response::LeaseGrant { id, ttl }),
        Just(Response::LeaseRevoke),
        any::<(i64, i64)>().prop_map(|(id, ttl)| Response::LeaseKeepAlive { id, ttl }),
        (any::<[i64; 3]>(), keys).prop_map(|([id, ttl, granted_ttl], keys)| Response::LeaseTimeToLive { id, ttl, granted_ttl, keys }),
        any::<Vec<i64>>().prop_map(|leases| Response::LeaseLeases { leases }),
        error().prop_map(Response::Error),
    ];
    simple.prop_recursive(3, 12, 3, |inner| {
        (any::<bool>(), prop::collection::vec(inner, 0..3)).prop_map(|(succeeded, responses)| Response::Txn { succeeded, responses })
    })
}

fn watch_request() -> impl Strategy<Value = WatchCreateRequest> {
    let filters = prop::collection::vec(prop::sample::select(vec![WatchFilter::NoPut, WatchFilter::NoDelete]), 0..3);
    (bytes(), end(), any::<u64>(), any::<[bool; 2]>(), filters).prop_map(
        |(key, range_end, start_revision, [progress_notify, prev_kv], filters)| WatchCreateRequest {
            key,
            range_end,
            start_revision,
            progress_notify,
            filters,
            prev_kv,
        },
    )
}

fn watch_response() -> impl Strategy<Value = WatchResponse> {
    let kind = prop::sample::select(vec![EventKind::Put, EventKind::Delete]);
    let event = (kind, key_value(), prop::option::of(key_value())).prop_map(|(kind, kv, prev_kv)| WatchEvent { kind, kv, prev_kv });
    let events = prop::collection::vec(event, 0..3);
    (any::<i64>(), any::<[u64; 2]>(), any::<[bool; 2]>(), prop::option::of(error()), events).prop_map(
        |(watch_id, [revision, compact_revision], [created, canceled], cancel_reason, events)| WatchResponse {
            watch_id,
            revision,
            created,
            canceled,
            compact_revision,
            cancel_reason,
            events,
        },
    )
}

fn survives<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) -> Result<(), TestCaseError> {
    let bytes = postcard::to_stdvec(value).expect("it encodes");
    prop_assert_eq!(&postcard::from_bytes::<T>(&bytes).expect("it was encoded"), value);
    let json = serde_json::to_string(value).expect("it encodes");
    prop_assert_eq!(&serde_json::from_str::<T>(&json).expect("it was encoded"), value);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_in_every_format(bytes in bytes()) {
        survives(&bytes)?;
    }

    /// Alone, and in the log entry that carries it.
    #[test]
    fn requests(request in request(), client in any::<u64>(), seq in any::<u64>(), index in any::<u64>()) {
        survives(&request)?;
        let proposal = Proposal { id: ProposeId { client, seq }, first_incomplete: seq, command: Arc::new(request) };
        survives(&Record::Entry(Arc::new(Entry { term: client, index, payload: Payload::Command(Arc::new(proposal)) })))?;
    }

    /// Alone, and in the reply that carries it.
    #[test]
    fn responses(response in response(), revision in any::<u64>(), seq in any::<u64>()) {
        survives(&response)?;
        survives(&Reply::<Request>::Synced { id: ProposeId { client: revision, seq }, synced: Synced { revision, response } })?;
    }

    #[test]
    fn watches(request in watch_request(), response in watch_response()) {
        survives(&request)?;
        survives(&response)?;
    }
}

/// What histories held before there were leases.
#[test]
fn requests_of_old() {
    let request: Request = serde_json::from_str(r#"{"range":{"key":"a","range_end":null,"limit":3}}"#).expect("fields may be missing");
    assert_eq!(request, Request::Range(RangeRequest { key: "a".into(), limit: 3, ..RangeRequest::default() }));
    let request: Request = serde_json::from_str(r#"{"put":{"key":"a","value":"1"}}"#).expect("fields may be missing");
    assert_eq!(request, Request::Put(PutRequest { key: "a".into(), value: "1".into(), ..PutRequest::default() }));
    let compare: Compare = serde_json::from_str(r#"{"key":"a","result":"equal","target":{"version":0}}"#).expect("fields may be missing");
    assert_eq!(compare, Compare { key: "a".into(), ..Compare::default() });
    let pair = r#"{"key":"a","value":"1","create_revision":2,"mod_revision":3,"version":2}"#;
    let response: Response = serde_json::from_str(&format!(r#"{{"range":{{"kvs":[{pair}],"count":1}}}}"#)).expect("fields may be missing");
    let kv = KeyValue { key: "a".into(), value: "1".into(), create_revision: 2, mod_revision: 3, version: 2, lease: 0 };
    assert_eq!(response, Response::Range { kvs: vec![kv], count: 1, more: false });
}
