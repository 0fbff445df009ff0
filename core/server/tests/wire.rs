//! Every message comes back from the wire as it was: through its protobuf form, encoded and decoded. The simulation passes the
//! protobuf types by reference and encodes nothing, so this is tested apart.

use curp::{
    Address, Admin, AdminDone, AdminRefusal, ConfigChange, ConfigVersion, Entry, Leadership, Membership, Message, Payload, PeerMessage,
    Proposal, ProposeId, Refusal, Reply, Request as Ask, SnapshotMeta, Synced,
};
use kv::{DeleteRangeRequest, KeyValue, PutRequest, RangeRequest, Request, Response, TxnRequest};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use server::rpc::convert::{self, ClientCall, PeerAnswer, PeerCall};
use server::rpc::wire;
use std::sync::Arc;

/// Through bytes and back.
fn over<M: prost::Message + Default>(message: M) -> M {
    M::decode(&message.encode_to_vec()[..]).expect("what was encoded decodes")
}

fn bytes() -> impl Strategy<Value = kv::Bytes> {
    proptest::collection::vec(any::<u8>(), 0..12).prop_map(|bytes| bytes.into())
}

fn command() -> impl Strategy<Value = Request> {
    let leaf = prop_oneof![
        (bytes(), bytes(), any::<bool>()).prop_map(|(key, value, prev_kv)| Request::Put(PutRequest {
            key,
            value,
            prev_kv,
            ..PutRequest::default()
        })),
        (bytes(), proptest::option::of(bytes()), any::<u64>()).prop_map(|(key, range_end, limit)| Request::Range(RangeRequest {
            key,
            range_end,
            limit,
            ..RangeRequest::default()
        })),
        (bytes(), proptest::option::of(bytes()), any::<bool>())
            .prop_map(|(key, range_end, prev_kv)| Request::DeleteRange(DeleteRangeRequest { key, range_end, prev_kv })),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| {
        let branch = proptest::collection::vec(inner, 0..3);
        (branch.clone(), branch).prop_map(|(success, failure)| Request::Txn(TxnRequest { compare: Vec::new(), success, failure }))
    })
}

fn response() -> impl Strategy<Value = Response> {
    let fields = || (bytes(), bytes(), any::<u64>(), any::<u64>(), any::<u64>());
    let pair = || {
        fields().prop_map(|(key, value, create_revision, mod_revision, version)| KeyValue {
            key,
            value,
            create_revision,
            mod_revision,
            version,
            ..KeyValue::default()
        })
    };
    prop_oneof![
        proptest::option::of(pair()).prop_map(|prev_kv| Response::Put { prev_kv }),
        (proptest::collection::vec(pair(), 0..3), any::<u64>()).prop_map(|(kvs, count)| Response::Range { kvs, count, more: false }),
    ]
}

fn id() -> impl Strategy<Value = ProposeId> {
    (any::<u64>(), any::<u64>()).prop_map(|(client, seq)| ProposeId { client, seq })
}

fn version() -> impl Strategy<Value = ConfigVersion> {
    (any::<u64>(), any::<u64>()).prop_map(|(term, index)| ConfigVersion { term, index })
}

fn leadership() -> impl Strategy<Value = Leadership> {
    (any::<u64>(), proptest::option::of(any::<u32>())).prop_map(|(term, leader)| Leadership { term, leader })
}

fn proposal() -> impl Strategy<Value = Arc<Proposal<Request>>> {
    (id(), any::<u64>(), command())
        .prop_map(|(id, first_incomplete, command)| Arc::new(Proposal { id, first_incomplete, command: Arc::new(command) }))
}

fn synced() -> impl Strategy<Value = Synced<Response>> {
    (any::<u64>(), response()).prop_map(|(revision, response)| Synced { revision, response })
}

fn membership() -> impl Strategy<Value = Membership> {
    let ids = || proptest::collection::vec(any::<u32>(), 0..6);
    let addresses = proptest::collection::btree_map(any::<u32>(), "[a-z0-9.:/]{0,20}", 0..4);
    (version(), ids(), ids(), addresses).prop_map(|(version, voters, learners, addresses)| Membership {
        version,
        voters,
        learners,
        addresses,
    })
}

fn change() -> impl Strategy<Value = ConfigChange> {
    let (node, address) = (any::<u32>(), "[a-z0-9.:/]{0,20}");
    prop_oneof![
        (node, address).prop_map(|(node, address)| ConfigChange::AddLearner { node, address }),
        node.prop_map(|node| ConfigChange::Promote { node }),
        node.prop_map(|node| ConfigChange::Remove { node }),
        (node, address).prop_map(|(node, address)| ConfigChange::Update { node, address }),
    ]
}

fn wish() -> impl Strategy<Value = Admin> {
    prop_oneof![
        (version(), change()).prop_map(|(base, change)| Admin::ChangeMembership { base, change }),
        any::<u32>().prop_map(|to| Admin::MoveLeader { to }),
        Just(Admin::Shutdown),
        Just(Admin::TakeSnapshot),
    ]
}

fn ask() -> impl Strategy<Value = Ask<Request>> {
    prop_oneof![
        proposal().prop_map(|proposal| Ask::Propose { proposal }),
        (any::<u64>(), version(), proposal()).prop_map(|(term, config, proposal)| Ask::Record { term, config, proposal }),
        (any::<u64>(), command()).prop_map(|(number, command)| Ask::Read { read: (9, number), command: Arc::new(command) }),
        any::<u64>().prop_map(|nonce| Ask::BeginSession { nonce }),
        any::<u64>().prop_map(|client| Ask::EndSession { client }),
        Just(Ask::FetchCluster),
        (any::<u64>(), wish()).prop_map(|(nonce, wish)| Ask::Admin { nonce, wish }),
        (any::<u64>(), any::<u64>(), any::<bool>(), any::<u64>()).prop_map(|(number, pull, progress, start_revision)| {
            let create = Arc::new(kv::WatchCreateRequest { key: "k".into(), start_revision, ..kv::WatchCreateRequest::default() });
            Ask::Watch { watch: (9, number), pull, create, progress }
        }),
        any::<u64>().prop_map(|number| Ask::Unwatch { watch: (9, number) }),
    ]
}

fn admin_refusal() -> impl Strategy<Value = AdminRefusal> {
    let plain = [
        AdminRefusal::NotReady,
        AdminRefusal::Busy,
        AdminRefusal::NotCaughtUp,
        AdminRefusal::NoSuchMember,
        AdminRefusal::IdUsed,
        AdminRefusal::LastVoter,
        AdminRefusal::TransferFailed,
    ];
    prop_oneof![
        leadership().prop_map(AdminRefusal::NotLeader),
        membership().prop_map(AdminRefusal::Stale),
        proptest::sample::select(plain.to_vec())
    ]
}

fn admin_done() -> impl Strategy<Value = AdminDone> {
    prop_oneof![
        membership().prop_map(AdminDone::Changed),
        leadership().prop_map(AdminDone::LeaderMoved),
        Just(AdminDone::ShutDown),
        any::<u64>().prop_map(|index| AdminDone::SnapshotTaken { index }),
    ]
}

fn refusal() -> impl Strategy<Value = Refusal> {
    let plain = [Refusal::NotReady, Refusal::NoSession, Refusal::Acknowledged, Refusal::Invalid];
    prop_oneof![leadership().prop_map(Refusal::NotLeader), proptest::sample::select(plain.to_vec())]
}

fn reply() -> impl Strategy<Value = Reply<Request>> {
    let (n, read) = (any::<u64>(), (any::<u32>(), any::<u64>()));
    prop_oneof![
        (id(), n, version(), response()).prop_map(|(id, term, config, response)| Reply::Executed { id, term, config, response }),
        (id(), n).prop_map(|(id, term)| Reply::Conflict { id, term }),
        (id(), synced()).prop_map(|(id, synced)| Reply::Synced { id, synced }),
        (id(), n, version(), any::<bool>(), n).prop_map(|(id, term, config, accepted, current)| Reply::Recorded {
            id,
            term,
            config,
            accepted,
            current
        }),
        (id(), refusal()).prop_map(|(id, why)| Reply::Refused { id, why }),
        (n, n).prop_map(|(nonce, client)| Reply::SessionBegun { nonce, client }),
        n.prop_map(|client| Reply::SessionEnded { client }),
        leadership().prop_map(|cluster| Reply::SessionRefused { cluster }),
        (read, n, synced()).prop_map(|(read, applied, synced)| Reply::Read { read, applied, synced }),
        (read, leadership()).prop_map(|(read, cluster)| Reply::ReadRefused { read, cluster }),
        (leadership(), membership()).prop_map(|(leadership, membership)| Reply::Cluster { leadership, membership }),
        (n, admin_done()).prop_map(|(nonce, done)| Reply::Admin { nonce, result: Ok(done) }),
        (n, admin_refusal()).prop_map(|(nonce, why)| Reply::Admin { nonce, result: Err(why) }),
        (read, n, proptest::option::of(told())).prop_map(|(watch, pull, response)| Reply::Watch { watch, pull, response }),
    ]
}

fn told() -> impl Strategy<Value = kv::WatchResponse> {
    let event = (any::<bool>(), any::<u64>()).prop_map(|(put, mod_revision)| kv::WatchEvent {
        kind: if put { kv::EventKind::Put } else { kv::EventKind::Delete },
        kv: kv::KeyValue { key: "k".into(), mod_revision, ..kv::KeyValue::default() },
        prev_kv: None,
    });
    (any::<i64>(), any::<u64>(), any::<bool>(), proptest::collection::vec(event, 0..3)).prop_map(
        |(watch_id, revision, canceled, events)| {
            let cancel_reason = canceled.then_some(kv::Error::Compacted);
            kv::WatchResponse { watch_id, revision, canceled, cancel_reason, events, ..kv::WatchResponse::default() }
        },
    )
}

fn entry() -> impl Strategy<Value = Arc<Entry<Request>>> {
    let payload = prop_oneof![
        Just(Payload::Noop),
        proposal().prop_map(Payload::Command),
        any::<u64>().prop_map(|nonce| Payload::SessionBegin { nonce }),
        any::<u64>().prop_map(|client| Payload::SessionEnd { client }),
        (change(), membership()).prop_map(|(change, membership)| Payload::Config { change, membership: Arc::new(membership) }),
        Just(Payload::Shutdown),
        command().prop_map(|command| Payload::Own { command: Arc::new(command) }),
    ];
    (any::<u64>(), any::<u64>(), payload).prop_map(|(term, index, payload)| Arc::new(Entry { term, index, payload }))
}

fn peer() -> impl Strategy<Value = PeerMessage<Request>> {
    let (n, read) = (any::<u64>(), (any::<u32>(), any::<u64>()));
    let pool = || proptest::collection::vec(proposal(), 0..3);
    prop_oneof![
        (n, n).prop_map(|(last_term, last_index)| PeerMessage::PreVote { last_term, last_index }),
        (n, any::<bool>()).prop_map(|(asked, granted)| PeerMessage::PreVoteReply { asked, granted }),
        (n, n).prop_map(|(last_term, last_index)| PeerMessage::Vote { last_term, last_index }),
        proptest::option::of(pool()).prop_map(|pool| PeerMessage::VoteReply { pool }),
        (n, n, proptest::collection::vec(entry(), 0..3), n).prop_map(|(prev_index, prev_term, entries, commit)| PeerMessage::Append {
            prev_index,
            prev_term,
            entries,
            commit
        }),
        n.prop_map(|index| PeerMessage::Appended { index }),
        (n, n, n).prop_map(|(prev_index, hint_index, hint_term)| PeerMessage::AppendRejected { prev_index, hint_index, hint_term }),
        n.prop_map(|commit| PeerMessage::Commit { commit }),
        (n, n).prop_map(|(commit, round)| PeerMessage::Heartbeat { commit, round }),
        n.prop_map(|round| PeerMessage::HeartbeatReply { round }),
        (read, command()).prop_map(|(read, command)| PeerMessage::ReadIndex { read, command: Arc::new(command) }),
        (read, proptest::option::of(n)).prop_map(|(read, index)| PeerMessage::ReadIndexReply { read, index }),
        pool().prop_map(|proposals| PeerMessage::HandOver { proposals }),
        install(),
        (n, n).prop_map(|(index, next)| PeerMessage::SnapshotReceived { index, next }),
        Just(PeerMessage::TimeoutNow),
    ]
}

fn install() -> impl Strategy<Value = PeerMessage<Request>> {
    let meta = (any::<u64>(), any::<u64>(), membership()).prop_map(|(index, term, membership)| SnapshotMeta { index, term, membership });
    let piece = (any::<u64>(), proptest::collection::vec(any::<u8>(), 0..50), any::<u32>());
    (meta, any::<u64>(), any::<u32>(), piece).prop_map(|(meta, total, checksum, (offset, data, chunk_checksum))| {
        PeerMessage::InstallSnapshot { meta, total, checksum, offset, data: Arc::new(data), chunk_checksum }
    })
}

/// Every kind of message, by name: a new one does not compile before it is named here, and is not tested before a strategy makes it.
fn kind(message: &Message<Request>) -> &'static str {
    match message {
        Message::Peer { body, .. } => match body {
            PeerMessage::PreVote { .. } => "pre_vote",
            PeerMessage::PreVoteReply { .. } => "pre_vote_reply",
            PeerMessage::Vote { .. } => "vote",
            PeerMessage::VoteReply { .. } => "vote_reply",
            PeerMessage::Append { .. } => "append",
            PeerMessage::Appended { .. } => "appended",
            PeerMessage::AppendRejected { .. } => "append_rejected",
            PeerMessage::Commit { .. } => "commit",
            PeerMessage::Heartbeat { .. } => "heartbeat",
            PeerMessage::HeartbeatReply { .. } => "heartbeat_reply",
            PeerMessage::ReadIndex { .. } => "read_index",
            PeerMessage::ReadIndexReply { .. } => "read_index_reply",
            PeerMessage::InstallSnapshot { .. } => "install_snapshot",
            PeerMessage::SnapshotReceived { .. } => "snapshot_received",
            PeerMessage::TimeoutNow => "timeout_now",
            PeerMessage::HandOver { .. } => "hand_over",
        },
        Message::Request(request) => match request {
            Ask::Propose { .. } => "propose",
            Ask::Record { .. } => "record",
            Ask::Read { .. } => "read",
            Ask::BeginSession { .. } => "begin_session",
            Ask::EndSession { .. } => "end_session",
            Ask::FetchCluster => "fetch_cluster",
            Ask::Admin { .. } => "admin",
            Ask::Watch { .. } => "watch",
            Ask::Unwatch { .. } => "unwatch",
            // A client of etcd's API calls its services, which are tested apart.
            Ask::Call { .. } => "call",
        },
        Message::Reply(reply) => match reply {
            Reply::Executed { .. } => "executed",
            Reply::Conflict { .. } => "conflict",
            Reply::Synced { .. } => "synced",
            Reply::Recorded { .. } => "recorded",
            Reply::Refused { .. } => "refused",
            Reply::SessionBegun { .. } => "session_begun",
            Reply::SessionEnded { .. } => "session_ended",
            Reply::SessionRefused { .. } => "session_refused",
            Reply::Read { .. } => "read_result",
            Reply::ReadRefused { .. } => "read_refused",
            Reply::Cluster { .. } => "cluster",
            Reply::Admin { .. } => "admin_result",
            Reply::Watch { .. } => "told",
            Reply::Answer { .. } => "answer",
        },
    }
}

#[test]
fn every_kind_is_tested() {
    let message = prop_oneof![
        peer().prop_map(|body| Message::Peer { term: 1, body }),
        ask().prop_map(Message::Request),
        reply().prop_map(Message::Reply),
    ];
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut kinds = std::collections::BTreeSet::new();
    for _ in 0..2_000 {
        kinds.insert(kind(&message.new_tree(&mut runner).expect("nothing is filtered").current()));
    }
    assert_eq!(kinds.len(), 16 + 9 + 13, "{kinds:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_client_s_request_comes_back(request in ask()) {
        let call = match convert::client_call(9, &request).expect("it has a call") {
            ClientCall::Propose(call) => ClientCall::Propose(over(call)),
            ClientCall::Record(call) => ClientCall::Record(over(call)),
            ClientCall::Read(call) => ClientCall::Read(over(call)),
            ClientCall::BeginSession(call) => ClientCall::BeginSession(over(call)),
            ClientCall::EndSession(call) => ClientCall::EndSession(over(call)),
            ClientCall::FetchCluster(call) => ClientCall::FetchCluster(over(call)),
            ClientCall::Admin(call) => ClientCall::Admin(over(call)),
            ClientCall::Watch(call) => ClientCall::Watch(over(call)),
            ClientCall::Unwatch(call) => ClientCall::Unwatch(over(call)),
        };
        prop_assert_eq!(convert::client_request(call), Ok((9, request)));
    }

    #[test]
    fn a_reply_comes_back_in_every_response_that_carries_it(reply in reply()) {
        let back = [
            convert::propose_response(&reply).map(|r| convert::propose_reply(&over(r))),
            convert::wait_synced_response(&reply).map(|r| convert::wait_synced_reply(&over(r))),
            convert::record_response(&reply).map(|r| convert::record_reply(&over(r))),
            convert::read_response(&reply).map(|r| convert::read_reply(&over(r))),
            convert::session_response(&reply).map(|r| convert::session_reply(&over(r))),
            convert::cluster_response(&reply).map(|r| convert::cluster_reply(&over(r))),
            convert::admin_response(&reply).map(|r| convert::admin_reply(&over(r))),
            convert::watch_response(&reply).map(|r| convert::watch_reply(&over(r))),
        ];
        let back: Vec<_> = back.into_iter().flatten().collect();
        prop_assert!(!back.is_empty(), "no response carries it");
        for back in back {
            prop_assert_eq!(back.as_ref(), Ok(&reply));
        }
    }

    #[test]
    fn a_peer_s_message_comes_back(term in any::<u64>(), body in peer()) {
        let call = convert::peer_call(4, term, &body).map(|call| match call {
            PeerCall::Vote(call) => PeerCall::Vote(over(call)),
            PeerCall::AppendEntries(call) => PeerCall::AppendEntries(over(call)),
            PeerCall::ReadIndex(call) => PeerCall::ReadIndex(over(call)),
            PeerCall::HandOver(call) => PeerCall::HandOver(over(call)),
            PeerCall::InstallSnapshot(call) => PeerCall::InstallSnapshot(over(call)),
            PeerCall::TimeoutNow(call) => PeerCall::TimeoutNow(over(call)),
        });
        let answer = convert::peer_answer(term, &body).map(|answer| match answer {
            PeerAnswer::Vote(answer) => PeerAnswer::Vote(over(answer)),
            PeerAnswer::AppendEntries(answer) => PeerAnswer::AppendEntries(over(answer)),
            PeerAnswer::ReadIndex(answer) => PeerAnswer::ReadIndex(over(answer)),
            PeerAnswer::InstallSnapshot(answer) => PeerAnswer::InstallSnapshot(over(answer)),
        });
        prop_assert!(call.is_some() != answer.is_some(), "each is a question or an answer");
        let message = Message::Peer { term, body };
        if let Some(call) = call {
            prop_assert_eq!(convert::peer_question(call), Ok((Address::Node(4), message)));
        } else if let Some(answer) = answer {
            // What ends a snapshot comes back in the form of its own call, too.
            if let Some(install) = convert::install_response(answer.clone()) {
                let answer = PeerAnswer::InstallSnapshot(over(install));
                prop_assert_eq!(convert::peer_message(answer), Ok(Some(message.clone())));
            }
            prop_assert_eq!(convert::peer_message(answer), Ok(Some(message)));
        }
    }
}

#[test]
fn what_is_no_message_is_refused_in_one_sentence() {
    let error = convert::client_request(ClientCall::Propose(Default::default())).expect_err("there is no proposal in it");
    assert_eq!(error.to_string(), "a proposal is missing or does not decode");
}

/// So many txns, each in the one before.
fn nested(levels: usize) -> Request {
    (1..levels)
        .fold(Request::Txn(TxnRequest::default()), |inner, _| Request::Txn(TxnRequest { success: vec![inner], ..TxnRequest::default() }))
}

/// Decoding recurses: unbounded, one such message ends the process of whoever gets it.
#[test]
fn txns_that_stand_too_deep_in_txns_are_refused_and_the_deepest_that_is_valid_is_not() {
    let read = |command| {
        let read = Some(wire::ReadId { client: 9, number: 1 });
        convert::client_request(ClientCall::Read(wire::ReadRequest { read, command }))
    };
    // A txn is 3, then how many compares and requests.
    let deep = [3, 0, 1].repeat(33_333);
    let error = read(deep).expect_err("it never ends");
    assert_eq!(error.to_string(), "a command is missing or does not decode");
    let (valid, beyond) = (nested(kv::TXN_OPS_MAX + 1), nested(kv::TXN_OPS_MAX + 2));
    assert_eq!((valid.validate(), beyond.validate().is_err()), (Ok(()), true));
    let bytes = |request: &Request| postcard::to_stdvec(request).expect("plain data has an encoding");
    assert!(read(bytes(&beyond)).is_err());
    // The one that was refused has left no trace.
    for _ in 0..2 {
        assert_eq!(read(bytes(&valid)), Ok((9, Ask::Read { read: (9, 1), command: Arc::new(valid.clone()) })));
    }
    let response = [3, 1, 1].repeat(33_333);
    let result = wire::read_response::Answer::Result(wire::ReadResult { applied: 1, revision: 1, response });
    let told = wire::ReadResponse { read: Some(wire::ReadId { client: 9, number: 1 }), answer: Some(result) };
    assert!(convert::read_reply(&told).is_err());
}
