//! Requests, answers and what watchers are told come back from etcd's wire as they were; what is no request is refused.

use curp::Synced;
use kv::{
    CompactionRequest, Compare, CompareResult, CompareTarget, DeleteRangeRequest, Error, EventKind, KeyValue, LeaseGrantRequest,
    LeaseKeepAliveRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest, PutRequest, RangeRequest, Request, Response, SortOrder, SortTarget,
    TxnRequest, WatchCreateRequest, WatchEvent, WatchFilter, WatchResponse,
};
use proptest::prelude::*;
use prost::Message;
use server::etcd::convert::{self, Answer, Call};
use server::etcd::wire::etcdserverpb as w;

/// Through bytes and back.
fn over<M: Message + Default>(message: M) -> M {
    M::decode(&message.encode_to_vec()[..]).expect("what was encoded decodes")
}

fn call_over(call: Call) -> Call {
    match call {
        Call::Range(c) => Call::Range(over(c)),
        Call::Put(c) => Call::Put(over(c)),
        Call::DeleteRange(c) => Call::DeleteRange(over(c)),
        Call::Txn(c) => Call::Txn(over(c)),
        Call::Compact(c) => Call::Compact(over(c)),
        Call::Grant(c) => Call::Grant(over(c)),
        Call::Revoke(c) => Call::Revoke(over(c)),
        Call::KeepAlive(c) => Call::KeepAlive(over(c)),
        Call::TimeToLive(c) => Call::TimeToLive(over(c)),
        Call::Leases(c) => Call::Leases(over(c)),
    }
}

fn answer_over(answer: Answer) -> Answer {
    match answer {
        Answer::Range(a) => Answer::Range(over(a)),
        Answer::Put(a) => Answer::Put(over(a)),
        Answer::DeleteRange(a) => Answer::DeleteRange(over(a)),
        Answer::Txn(a) => Answer::Txn(over(a)),
        Answer::Compact(a) => Answer::Compact(over(a)),
        Answer::Grant(a) => Answer::Grant(over(a)),
        Answer::Revoke(a) => Answer::Revoke(over(a)),
        Answer::KeepAlive(a) => Answer::KeepAlive(over(a)),
        Answer::TimeToLive(a) => Answer::TimeToLive(over(a)),
        Answer::Leases(a) => Answer::Leases(over(a)),
    }
}

fn bytes() -> impl Strategy<Value = kv::Bytes> {
    proptest::collection::vec(any::<u8>(), 0..9).prop_map(Into::into)
}

/// An end that is there is not empty: an empty one is none.
fn end() -> impl Strategy<Value = Option<kv::Bytes>> {
    proptest::option::of(proptest::collection::vec(any::<u8>(), 1..9).prop_map(Into::into))
}

/// What the wire's signed numbers can say.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 0..i64::MAX as u64]
}

fn range() -> impl Strategy<Value = Request> {
    use SortTarget as T;
    let order = prop_oneof![Just(SortOrder::None), Just(SortOrder::Ascend), Just(SortOrder::Descend)];
    let target = prop_oneof![Just(T::Key), Just(T::Version), Just(T::Create), Just(T::Mod), Just(T::Value)];
    let revisions = (number(), number(), number(), number());
    (bytes(), end(), number(), number(), order, target, any::<[bool; 3]>(), revisions).prop_map(
        |(key, range_end, limit, revision, sort_order, sort_target, [serializable, keys_only, count_only], revisions)| {
            let (min_mod_revision, max_mod_revision, min_create_revision, max_create_revision) = revisions;
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

fn put() -> impl Strategy<Value = Request> {
    (bytes(), bytes(), any::<i64>(), any::<[bool; 3]>()).prop_map(|(key, value, lease, [prev_kv, ignore_value, ignore_lease])| {
        Request::Put(PutRequest { key, value, prev_kv, lease, ignore_value, ignore_lease })
    })
}

fn compare() -> impl Strategy<Value = Compare> {
    use CompareResult as R;
    let result = prop_oneof![Just(R::Equal), Just(R::NotEqual), Just(R::Greater), Just(R::Less)];
    let target = prop_oneof![
        number().prop_map(CompareTarget::Version),
        number().prop_map(CompareTarget::CreateRevision),
        number().prop_map(CompareTarget::ModRevision),
        bytes().prop_map(CompareTarget::Value),
        any::<i64>().prop_map(CompareTarget::Lease),
    ];
    (bytes(), result, target, end()).prop_map(|(key, result, target, range_end)| Compare { key, result, target, range_end })
}

fn request() -> impl Strategy<Value = Request> {
    let delete = (bytes(), end(), any::<bool>())
        .prop_map(|(key, range_end, prev_kv)| Request::DeleteRange(DeleteRangeRequest { key, range_end, prev_kv }));
    let of_txn = prop_oneof![range(), put(), delete].prop_recursive(3, 12, 3, |inner| {
        let branch = proptest::collection::vec(inner, 0..3);
        (proptest::collection::vec(compare(), 0..3), branch.clone(), branch)
            .prop_map(|(compare, success, failure)| Request::Txn(TxnRequest { compare, success, failure }))
    });
    let id = any::<i64>;
    prop_oneof![
        4 => of_txn,
        1 => (number(), any::<bool>()).prop_map(|(revision, physical)| Request::Compact(CompactionRequest { revision, physical })),
        1 => (id(), id()).prop_map(|(ttl, id)| Request::LeaseGrant(LeaseGrantRequest { ttl, id })),
        1 => id().prop_map(|id| Request::LeaseRevoke(LeaseRevokeRequest { id, stamp: None })),
        1 => id().prop_map(|id| Request::LeaseKeepAlive(LeaseKeepAliveRequest { id })),
        1 => (id(), any::<bool>()).prop_map(|(id, keys)| Request::LeaseTimeToLive(LeaseTimeToLiveRequest { id, keys })),
        1 => Just(Request::LeaseLeases),
    ]
}

fn pair() -> impl Strategy<Value = KeyValue> {
    (bytes(), bytes(), number(), number(), number(), any::<i64>()).prop_map(
        |(key, value, create_revision, mod_revision, version, lease)| KeyValue {
            key,
            value,
            create_revision,
            mod_revision,
            version,
            lease,
        },
    )
}

fn response() -> impl Strategy<Value = Response> {
    let pairs = || proptest::collection::vec(pair(), 0..3);
    let id = any::<i64>;
    let of_txn = prop_oneof![
        proptest::option::of(pair()).prop_map(|prev_kv| Response::Put { prev_kv }),
        (pairs(), number(), any::<bool>()).prop_map(|(kvs, count, more)| Response::Range { kvs, count, more }),
        (number(), pairs()).prop_map(|(deleted, prev_kvs)| Response::DeleteRange { deleted, prev_kvs }),
    ]
    .prop_recursive(3, 12, 3, |inner| {
        let responses = proptest::collection::vec(inner, 0..3);
        (any::<bool>(), responses).prop_map(|(succeeded, responses)| Response::Txn { succeeded, responses })
    });
    prop_oneof![
        4 => of_txn,
        1 => Just(Response::Compact),
        1 => (id(), id()).prop_map(|(id, ttl)| Response::LeaseGrant { id, ttl }),
        1 => Just(Response::LeaseRevoke),
        1 => (id(), id()).prop_map(|(id, ttl)| Response::LeaseKeepAlive { id, ttl }),
        1 => (id(), id(), id(), proptest::collection::vec(bytes(), 0..3))
            .prop_map(|(id, ttl, granted_ttl, keys)| Response::LeaseTimeToLive { id, ttl, granted_ttl, keys }),
        1 => proptest::collection::vec(id(), 0..3).prop_map(|leases| Response::LeaseLeases { leases }),
    ]
}

fn told() -> impl Strategy<Value = WatchResponse> {
    let event = (any::<bool>(), pair(), proptest::option::of(pair())).prop_map(|(put, kv, prev_kv)| WatchEvent {
        kind: if put { EventKind::Put } else { EventKind::Delete },
        kv,
        prev_kv,
    });
    let reason = proptest::option::of(proptest::sample::select(Error::ALL));
    (any::<i64>(), number(), any::<[bool; 2]>(), number(), reason, proptest::collection::vec(event, 0..3)).prop_map(
        |(watch_id, revision, [created, canceled], compact_revision, cancel_reason, events)| WatchResponse {
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

fn watch() -> impl Strategy<Value = WatchCreateRequest> {
    let filter = prop_oneof![Just(WatchFilter::NoPut), Just(WatchFilter::NoDelete)];
    (bytes(), end(), number(), any::<[bool; 2]>(), proptest::collection::vec(filter, 0..3)).prop_map(
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

fn header(revision: u64) -> w::ResponseHeader {
    w::ResponseHeader { cluster_id: 1, member_id: 2, revision: i64::try_from(revision).expect("small enough"), raft_term: 3 }
}

proptest! {
    #[test]
    fn requests_come_back(request in request()) {
        prop_assert_eq!(convert::request_in(call_over(convert::request_out(&request))), Ok(request));
    }

    #[test]
    fn answers_come_back(response in response(), revision in number()) {
        let answer = convert::answer_out(header(revision), &response).expect("it is no error");
        prop_assert_eq!(convert::answer_in(answer_over(answer)), Ok(Synced { revision, response }));
    }

    #[test]
    fn watchers_come_back(create in watch(), told in told()) {
        prop_assert_eq!(convert::create_in(over(convert::create_out(7, &create))), Ok(create));
        let out = over(convert::watch_out(header(0), told.watch_id, &told));
        prop_assert_eq!(convert::watch_in(out), Ok(told));
    }
}

#[test]
fn errors_are_statuses_of_their_code_and_words() {
    for error in Error::ALL {
        let status = convert::status(*error);
        assert_eq!((status.code() as i32, status.message()), (error.code() as i32, error.message()));
        assert_eq!(convert::error_of(&status), Some(*error));
        assert_eq!(convert::answer_out(header(1), &Response::Error(*error)), Err(*error));
    }
}

#[test]
fn what_there_is_not_is_refused() {
    let range = |sort_order, sort_target| Call::Range(w::RangeRequest { sort_order, sort_target, ..Default::default() });
    let compare = |result, target| w::Compare { result, target, ..Default::default() };
    let txn = |compare| Call::Txn(w::TxnRequest { compare: vec![compare], ..Default::default() });
    let none = w::TxnRequest { success: vec![w::RequestOp { request: None }], ..Default::default() };
    for call in [range(3, 0), range(0, 5), range(-1, 0), txn(compare(4, 0)), txn(compare(0, 5)), Call::Txn(none)] {
        let refused = convert::request_in(call.clone()).expect_err("there is no such thing");
        assert_eq!(tonic::Status::from(refused).code(), tonic::Code::InvalidArgument, "{call:?}");
    }
    assert!(convert::create_in(w::WatchCreateRequest { filters: vec![2], ..Default::default() }).is_err());
}

/// Keys have versions and revisions from 0 on, so what holds of a negative constant holds of all, or of none.
#[test]
fn negative_constants_compare_as_they_are() {
    for (result, holds) in
        [(CompareResult::Equal, false), (CompareResult::Less, false), (CompareResult::NotEqual, true), (CompareResult::Greater, true)]
    {
        let compare = Compare { key: "k".into(), result, target: CompareTarget::Version(0), range_end: None };
        let Call::Txn(mut call) = convert::request_out(&Request::Txn(TxnRequest { compare: vec![compare], ..TxnRequest::default() }))
        else {
            panic!("it is a txn");
        };
        call.compare[0].target_union = Some(w::compare::TargetUnion::Version(-5));
        let request = convert::request_in(Call::Txn(call)).expect("it is one");
        let mut store = kv::Store::new();
        for version in 0..3 {
            let (synced, _) = store.apply(store.revision(), &request);
            assert!(matches!(synced.response, Response::Txn { succeeded, .. } if succeeded == holds), "{result:?}, version {version}");
            let put = Request::Put(PutRequest { key: "k".into(), ..PutRequest::default() });
            let revision = store.prepare_entry(None, &put);
            store.apply(revision, &put);
        }
    }
}
