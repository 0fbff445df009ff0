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
    ];
    let result = prop::sample::select(vec![Equal, NotEqual, Greater, Less]);
    (bytes(), result, target).prop_map(|(key, result, target)| Compare { key, result, target })
}

/// Any request, valid or not, with txns three deep.
fn request() -> impl Strategy<Value = Request> {
    let end = || prop::option::of(bytes());
    let simple = prop_oneof![
        (bytes(), bytes(), any::<bool>()).prop_map(|(key, value, prev_kv)| Request::Put(PutRequest { key, value, prev_kv })),
        (bytes(), end(), any::<u64>()).prop_map(|(key, range_end, limit)| Request::Range(RangeRequest { key, range_end, limit })),
        (bytes(), end(), any::<bool>()).prop_map(|(key, range_end, prev_kv)| Request::DeleteRange(DeleteRangeRequest {
            key,
            range_end,
            prev_kv
        })),
    ];
    simple.prop_recursive(3, 12, 3, |inner| {
        let branch = || prop::collection::vec(inner.clone(), 0..3);
        (prop::collection::vec(compare(), 0..3), branch(), branch())
            .prop_map(|(compare, success, failure)| Request::Txn(TxnRequest { compare, success, failure }))
    })
}

fn key_value() -> impl Strategy<Value = KeyValue> {
    (bytes(), bytes(), any::<u64>(), any::<u64>(), any::<u64>()).prop_map(|(key, value, create_revision, mod_revision, version)| KeyValue {
        key,
        value,
        create_revision,
        mod_revision,
        version,
    })
}

fn response() -> impl Strategy<Value = Response> {
    let kvs = || prop::collection::vec(key_value(), 0..3);
    let simple = prop_oneof![
        prop::option::of(key_value()).prop_map(|prev_kv| Response::Put { prev_kv }),
        (kvs(), any::<u64>()).prop_map(|(kvs, count)| Response::Range { kvs, count }),
        (any::<u64>(), kvs()).prop_map(|(deleted, prev_kvs)| Response::DeleteRange { deleted, prev_kvs }),
    ];
    simple.prop_recursive(3, 12, 3, |inner| {
        (any::<bool>(), prop::collection::vec(inner, 0..3)).prop_map(|(succeeded, responses)| Response::Txn { succeeded, responses })
    })
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
}
