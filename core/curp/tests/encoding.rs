//! What goes over the wire and onto the disk comes back as it was: in postcard, which the log uses and a transport will, and in JSON,
//! which histories use. Bytes that are no message are an error, never a panic and never another message.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;

use common::Cmd;
use curp::*;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

fn n() -> impl Strategy<Value = u64> + Clone {
    // Small ones meet in tests of equality; great ones take every length in the encoding.
    prop_oneof![0..4u64, any::<u64>(), Just(u64::MAX)]
}

fn command() -> impl Strategy<Value = Cmd> {
    let key = || prop_oneof![Just(String::new()), any::<String>()];
    prop_oneof![
        (key(), n()).prop_map(|(key, value)| Cmd::Put { key, value }),
        key().prop_map(|key| Cmd::Inc { key }),
        key().prop_map(|key| Cmd::Get { key }),
        Just(Cmd::Sum),
    ]
}

fn propose_id() -> impl Strategy<Value = ProposeId> {
    (n(), n()).prop_map(|(client, seq)| ProposeId { client, seq })
}

fn config() -> impl Strategy<Value = ConfigVersion> {
    (n(), n()).prop_map(|(term, index)| ConfigVersion { term, index })
}

fn proposal() -> impl Strategy<Value = Arc<Proposal<Cmd>>> {
    (propose_id(), n(), command())
        .prop_map(|(id, first_incomplete, command)| Arc::new(Proposal { id, first_incomplete, command: Arc::new(command) }))
}

fn membership() -> impl Strategy<Value = Membership> {
    let few = || prop::collection::vec(any::<u32>(), 0..6);
    let addresses = prop::collection::btree_map(any::<u32>(), any::<String>(), 0..3);
    (config(), few(), few(), addresses).prop_map(|(version, voters, learners, addresses)| Membership {
        version,
        voters,
        learners,
        addresses,
    })
}

fn change() -> impl Strategy<Value = ConfigChange> {
    prop_oneof![
        (any::<u32>(), any::<String>()).prop_map(|(node, address)| ConfigChange::AddLearner { node, address }),
        any::<u32>().prop_map(|node| ConfigChange::Promote { node }),
        any::<u32>().prop_map(|node| ConfigChange::Remove { node }),
        (any::<u32>(), any::<String>()).prop_map(|(node, address)| ConfigChange::Update { node, address }),
    ]
}

fn snapshot() -> impl Strategy<Value = SnapshotMeta> {
    (n(), n(), membership()).prop_map(|(index, term, membership)| SnapshotMeta { index, term, membership })
}

fn entry() -> impl Strategy<Value = Arc<Entry<Cmd>>> {
    let payload = prop_oneof![
        Just(Payload::Noop),
        proposal().prop_map(Payload::Command),
        n().prop_map(|nonce| Payload::SessionBegin { nonce }),
        n().prop_map(|client| Payload::SessionEnd { client }),
        (change(), membership()).prop_map(|(change, membership)| Payload::Config { change, membership: Arc::new(membership) }),
        Just(Payload::Shutdown),
        command().prop_map(|command| Payload::Own { command: Arc::new(command) }),
    ];
    (n(), n(), payload).prop_map(|(term, index, payload)| Arc::new(Entry { term, index, payload }))
}

fn record() -> impl Strategy<Value = Record<Cmd>> {
    prop_oneof![
        (n(), any::<Option<u32>>(), n()).prop_map(|(term, vote, commit)| Record::HardState(HardState { term, vote, commit })),
        entry().prop_map(Record::Entry),
        proposal().prop_map(Record::PoolInsert),
        propose_id().prop_map(Record::PoolRemove),
        snapshot().prop_map(Record::Snapshot),
        (n(), n()).prop_map(|(index, term)| Record::Checkpoint(LogBase { index, term })),
    ]
}

fn read() -> impl Strategy<Value = ReadId> {
    (any::<u32>(), n())
}

fn peer() -> impl Strategy<Value = PeerMessage<Cmd>> {
    use PeerMessage as M;
    let few = || prop::collection::vec(proposal(), 0..4);
    let logs = prop_oneof![
        (n(), n()).prop_map(|(last_term, last_index)| M::PreVote { last_term, last_index }),
        (n(), any::<bool>()).prop_map(|(asked, granted)| M::PreVoteReply { asked, granted }),
        (n(), n()).prop_map(|(last_term, last_index)| M::Vote { last_term, last_index }),
        prop::option::of(few()).prop_map(|pool| M::VoteReply { pool }),
        (n(), n(), prop::collection::vec(entry(), 0..4), n()).prop_map(|(prev_index, prev_term, entries, commit)| M::Append {
            prev_index,
            prev_term,
            entries,
            commit
        }),
        n().prop_map(|index| M::Appended { index }),
        (n(), n(), n()).prop_map(|(prev_index, hint_index, hint_term)| M::AppendRejected { prev_index, hint_index, hint_term }),
    ];
    let rest = prop_oneof![
        n().prop_map(|commit| M::Commit { commit }),
        (n(), n()).prop_map(|(commit, round)| M::Heartbeat { commit, round }),
        n().prop_map(|round| M::HeartbeatReply { round }),
        (read(), command()).prop_map(|(read, command)| M::ReadIndex { read, command: Arc::new(command) }),
        (read(), prop::option::of(n())).prop_map(|(read, index)| M::ReadIndexReply { read, index }),
        few().prop_map(|proposals| M::HandOver { proposals }),
    ];
    let bytes = prop::collection::vec(any::<u8>(), 0..40);
    let snapshots = prop_oneof![
        (snapshot(), n(), any::<u32>(), n(), bytes, any::<u32>()).prop_map(|(meta, total, checksum, offset, data, chunk_checksum)| {
            M::InstallSnapshot { meta, total, checksum, offset, data: Arc::new(data), chunk_checksum }
        }),
        (n(), n()).prop_map(|(index, next)| M::SnapshotReceived { index, next }),
        Just(M::TimeoutNow),
    ];
    prop_oneof![2 => logs, 2 => rest, 1 => snapshots]
}

fn request() -> impl Strategy<Value = Request<Cmd>> {
    prop_oneof![
        proposal().prop_map(|proposal| Request::Propose { proposal }),
        (n(), config(), proposal()).prop_map(|(term, config, proposal)| Request::Record { term, config, proposal }),
        (read(), command()).prop_map(|(read, command)| Request::Read { read, command: Arc::new(command) }),
        n().prop_map(|nonce| Request::BeginSession { nonce }),
        n().prop_map(|client| Request::EndSession { client }),
        Just(Request::FetchCluster),
        (n(), wish()).prop_map(|(nonce, wish)| Request::Admin { nonce, wish }),
        (read(), n(), any::<bool>()).prop_map(|(watch, pull, progress)| Request::Watch { watch, pull, create: Arc::new(()), progress }),
        read().prop_map(|watch| Request::Unwatch { watch }),
        (n(), command()).prop_map(|(nonce, command)| Request::Call { nonce, command: Arc::new(command) }),
    ]
}

fn wish() -> impl Strategy<Value = Admin> {
    prop_oneof![
        (config(), change()).prop_map(|(base, change)| Admin::ChangeMembership { base, change }),
        any::<u32>().prop_map(|to| Admin::MoveLeader { to }),
        Just(Admin::Shutdown),
        Just(Admin::TakeSnapshot),
    ]
}

fn granted() -> impl Strategy<Value = Result<AdminDone, AdminRefusal>> {
    let done = prop_oneof![
        membership().prop_map(AdminDone::Changed),
        leadership().prop_map(AdminDone::LeaderMoved),
        Just(AdminDone::ShutDown),
        n().prop_map(|index| AdminDone::SnapshotTaken { index }),
    ];
    let refused = prop_oneof![
        leadership().prop_map(AdminRefusal::NotLeader),
        Just(AdminRefusal::NotReady),
        Just(AdminRefusal::Busy),
        membership().prop_map(AdminRefusal::Stale),
        Just(AdminRefusal::NotCaughtUp),
        Just(AdminRefusal::NoSuchMember),
        Just(AdminRefusal::IdUsed),
        Just(AdminRefusal::LastVoter),
        Just(AdminRefusal::TransferFailed),
    ];
    prop_oneof![done.prop_map(Ok), refused.prop_map(Err)]
}

fn leadership() -> impl Strategy<Value = Leadership> {
    (n(), any::<Option<u32>>()).prop_map(|(term, leader)| Leadership { term, leader })
}

fn synced() -> impl Strategy<Value = Synced<Option<u64>>> {
    (n(), prop::option::of(n())).prop_map(|(revision, response)| Synced { revision, response })
}

fn reply() -> impl Strategy<Value = Reply<Cmd>> {
    let why = prop_oneof![
        leadership().prop_map(Refusal::NotLeader),
        Just(Refusal::NotReady),
        Just(Refusal::NoSession),
        Just(Refusal::Acknowledged),
        Just(Refusal::Invalid),
    ];
    let commands = prop_oneof![
        (propose_id(), n(), config(), prop::option::of(n())).prop_map(|(id, term, config, response)| Reply::Executed {
            id,
            term,
            config,
            response
        }),
        (propose_id(), n()).prop_map(|(id, term)| Reply::Conflict { id, term }),
        (propose_id(), synced()).prop_map(|(id, synced)| Reply::Synced { id, synced }),
        (propose_id(), n(), config(), any::<bool>(), n()).prop_map(|(id, term, config, accepted, current)| Reply::Recorded {
            id,
            term,
            config,
            accepted,
            current
        }),
        (propose_id(), why).prop_map(|(id, why)| Reply::Refused { id, why }),
    ];
    let rest = prop_oneof![
        (n(), n()).prop_map(|(nonce, client)| Reply::SessionBegun { nonce, client }),
        n().prop_map(|client| Reply::SessionEnded { client }),
        leadership().prop_map(|cluster| Reply::SessionRefused { cluster }),
        (read(), n(), synced()).prop_map(|(read, applied, synced)| Reply::Read { read, applied, synced }),
        (read(), leadership()).prop_map(|(read, cluster)| Reply::ReadRefused { read, cluster }),
        (leadership(), membership()).prop_map(|(leadership, membership)| Reply::Cluster { leadership, membership }),
        (n(), granted()).prop_map(|(nonce, result)| Reply::Admin { nonce, result }),
        (read(), n(), any::<Option<u64>>()).prop_map(|(watch, pull, response)| Reply::Watch { watch, pull, response }),
        (n(), prop_oneof![synced().prop_map(Ok), call_error().prop_map(Err)]).prop_map(|(nonce, result)| Reply::Answer { nonce, result }),
    ];
    prop_oneof![commands, rest]
}

fn call_error() -> impl Strategy<Value = CallError> {
    prop_oneof!["[a-z ]{0,9}".prop_map(CallError::Invalid), Just(CallError::Unavailable), Just(CallError::Unknown)]
}

fn message() -> impl Strategy<Value = Message<Cmd>> {
    prop_oneof![
        3 => (n(), peer()).prop_map(|(term, body)| Message::Peer { term, body }),
        1 => request().prop_map(Message::Request),
        2 => reply().prop_map(Message::Reply),
    ]
}

/// Its kind. Without a wildcard: a new kind of message does not compile until it is here, and then not pass until it is drawn above.
fn kind(message: &Message<Cmd>) -> u32 {
    use PeerMessage as M;
    match message {
        Message::Peer { body: M::PreVote { .. }, .. } => 0,
        Message::Peer { body: M::PreVoteReply { .. }, .. } => 1,
        Message::Peer { body: M::Vote { .. }, .. } => 2,
        Message::Peer { body: M::VoteReply { .. }, .. } => 3,
        Message::Peer { body: M::Append { .. }, .. } => 4,
        Message::Peer { body: M::Appended { .. }, .. } => 5,
        Message::Peer { body: M::AppendRejected { .. }, .. } => 6,
        Message::Peer { body: M::Commit { .. }, .. } => 7,
        Message::Peer { body: M::Heartbeat { .. }, .. } => 8,
        Message::Peer { body: M::HeartbeatReply { .. }, .. } => 9,
        Message::Peer { body: M::ReadIndex { .. }, .. } => 10,
        Message::Peer { body: M::ReadIndexReply { .. }, .. } => 11,
        Message::Peer { body: M::HandOver { .. }, .. } => 12,
        Message::Request(Request::Propose { .. }) => 13,
        Message::Request(Request::Record { .. }) => 14,
        Message::Request(Request::Read { .. }) => 15,
        Message::Request(Request::BeginSession { .. }) => 16,
        Message::Request(Request::EndSession { .. }) => 17,
        Message::Request(Request::FetchCluster) => 18,
        Message::Reply(Reply::Executed { .. }) => 19,
        Message::Reply(Reply::Conflict { .. }) => 20,
        Message::Reply(Reply::Synced { .. }) => 21,
        Message::Reply(Reply::Recorded { .. }) => 22,
        Message::Reply(Reply::Refused { .. }) => 23,
        Message::Reply(Reply::SessionBegun { .. }) => 24,
        Message::Reply(Reply::SessionEnded { .. }) => 25,
        Message::Reply(Reply::SessionRefused { .. }) => 26,
        Message::Reply(Reply::Read { .. }) => 27,
        Message::Reply(Reply::ReadRefused { .. }) => 28,
        Message::Reply(Reply::Cluster { .. }) => 29,
        Message::Peer { body: M::InstallSnapshot { .. }, .. } => 30,
        Message::Peer { body: M::SnapshotReceived { .. }, .. } => 31,
        Message::Peer { body: M::TimeoutNow, .. } => 32,
        Message::Request(Request::Admin { .. }) => 33,
        Message::Reply(Reply::Admin { .. }) => 34,
        Message::Request(Request::Watch { .. }) => 35,
        Message::Request(Request::Unwatch { .. }) => 36,
        Message::Request(Request::Call { .. }) => 37,
        Message::Reply(Reply::Watch { .. }) => 38,
        Message::Reply(Reply::Answer { .. }) => 39,
    }
}

#[test]
fn every_kind_of_message_is_drawn() {
    let mut runner = TestRunner::deterministic();
    let drawn = (0..2000).map(|_| kind(&message().new_tree(&mut runner).expect("no value is refused").current()));
    assert_eq!(drawn.collect::<BTreeSet<_>>(), (0..40).collect());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn messages(message in message()) {
        let bytes = postcard::to_stdvec(&message).expect("a message encodes");
        prop_assert_eq!(postcard::from_bytes::<Message<Cmd>>(&bytes), Ok(message.clone()));
        let json = serde_json::to_string(&message).expect("a message encodes");
        prop_assert_eq!(serde_json::from_str::<Message<Cmd>>(&json).expect("it was encoded"), message);
    }

    /// Records follow one another without a length between them: each must end by itself.
    #[test]
    fn records(records in prop::collection::vec(record(), 1..6)) {
        let mut bytes = Vec::new();
        for record in &records {
            bytes = postcard::to_extend(record, bytes).expect("a record encodes");
            let json = serde_json::to_string(record).expect("a record encodes");
            prop_assert_eq!(&serde_json::from_str::<Record<Cmd>>(&json).expect("it was encoded"), record);
        }
        let mut rest = bytes.as_slice();
        for record in &records {
            let (read, after) = postcard::take_from_bytes::<Record<Cmd>>(rest).expect("it was encoded");
            prop_assert_eq!(&read, record);
            rest = after;
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn a_message_cut_short_is_none(message in message()) {
        let bytes = postcard::to_stdvec(&message).expect("a message encodes");
        for len in 0..bytes.len() {
            prop_assert!(postcard::from_bytes::<Message<Cmd>>(&bytes[..len]).is_err(), "{} of {} bytes of {:?}", len, bytes.len(), message);
        }
    }

    /// Whatever decodes is a message that encodes and decodes to itself.
    #[test]
    fn garbage(bytes in prop::collection::vec(any::<u8>(), 0..60), small in any::<bool>()) {
        // Small numbers are lengths and variants that exist.
        let bytes: Vec<u8> = bytes.into_iter().map(|b| if small { b % 14 } else { b }).collect();
        if let Ok(message) = postcard::from_bytes::<Message<Cmd>>(&bytes) {
            let again = postcard::to_stdvec(&message).expect("a message encodes");
            prop_assert_eq!(postcard::from_bytes::<Message<Cmd>>(&again), Ok(message));
        }
    }

    #[test]
    fn propose_ids_are_read_back_from_their_text(id in propose_id()) {
        prop_assert_eq!(id.to_string().parse(), Ok(id));
    }
}
