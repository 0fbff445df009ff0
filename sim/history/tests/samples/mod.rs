//! One of every event, request and response.

// Each test file uses some of these.
#![allow(dead_code)]

use std::sync::Arc;

use curp::{
    Applied, ConfigCause, ConfigChange, ConfigVersion, Entry, Event as NodeEvent, LogBase, Membership, Payload, Proposal, ProposeId, Synced,
};
use history::*;
use kv::*;

pub(crate) fn id(client: u64, seq: u64) -> ProposeId {
    ProposeId { client, seq }
}

fn kv_of(key: &str, value: Bytes) -> KeyValue {
    KeyValue { key: key.into(), value, create_revision: 2, mod_revision: u64::MAX, version: 3, ..KeyValue::default() }
}

pub(crate) fn requests() -> Vec<Request> {
    let put = Request::Put(PutRequest { key: "k1".into(), value: vec![0xff, 0].into(), prev_kv: true, ..PutRequest::default() });
    let range = Request::Range(RangeRequest { key: "hex:61".into(), range_end: Some("z".into()), limit: 7, ..RangeRequest::default() });
    let delete = Request::DeleteRange(DeleteRangeRequest { key: "3.17".into(), range_end: None, prev_kv: false });
    let target = [
        CompareTarget::Version(1),
        CompareTarget::CreateRevision(0),
        CompareTarget::ModRevision(u64::MAX),
        CompareTarget::Value("null".into()),
        CompareTarget::Lease(i64::MAX),
    ];
    let result = [CompareResult::Equal, CompareResult::NotEqual, CompareResult::Greater, CompareResult::Less, CompareResult::Equal];
    let compare =
        target.into_iter().zip(result).map(|(target, result)| Compare { key: "k".into(), result, target, ..Compare::default() }).collect();
    let txn = Request::Txn(TxnRequest { compare, success: vec![put.clone(), range.clone()], failure: vec![delete.clone()] });
    let nested = TxnRequest { success: vec![txn.clone()], ..TxnRequest::default() };
    let sorted = RangeRequest {
        key: "k".into(),
        revision: 7,
        sort_order: SortOrder::Descend,
        sort_target: SortTarget::Mod,
        serializable: true,
        count_only: true,
        max_create_revision: 9,
        ..RangeRequest::default()
    };
    vec![
        put,
        range,
        delete,
        txn,
        Request::Txn(nested),
        Request::Range(sorted),
        Request::Put(PutRequest { key: "k".into(), ignore_value: true, lease: i64::MAX, ..PutRequest::default() }),
        Request::Compact(CompactionRequest { revision: 3, physical: true }),
        Request::LeaseGrant(LeaseGrantRequest { ttl: -1, id: 7 }),
        Request::LeaseRevoke(LeaseRevokeRequest { id: 7, stamp: Some(3) }),
        Request::LeaseKeepAlive(LeaseKeepAliveRequest { id: 7 }),
        Request::LeaseTimeToLive(LeaseTimeToLiveRequest { id: 7, keys: true }),
        Request::LeaseLeases,
    ]
}

pub(crate) fn responses() -> Vec<Response> {
    let put = Response::Put { prev_kv: Some(kv_of("k1", "12".into())) };
    let none = Response::Put { prev_kv: None };
    let range = Response::Range { kvs: vec![kv_of("a", vec![1, 2, 255].into()), kv_of("b", "".into())], count: 9, more: true };
    let delete = Response::DeleteRange { deleted: 1, prev_kvs: vec![kv_of("d", "true".into())] };
    let txn = Response::Txn { succeeded: false, responses: vec![put.clone(), range.clone(), delete.clone()] };
    let lease = [
        Response::Compact,
        Response::LeaseGrant { id: 7, ttl: 2 },
        Response::LeaseRevoke,
        Response::LeaseKeepAlive { id: 7, ttl: 0 },
        Response::LeaseTimeToLive { id: 7, ttl: -1, granted_ttl: 2, keys: vec!["k1".into()] },
        Response::LeaseLeases { leases: vec![1, i64::MAX] },
    ];
    let errors = Error::ALL.iter().map(|error| Response::Error(*error));
    [put, none, range, delete, txn].into_iter().chain(lease).chain(errors).collect()
}

pub(crate) fn membership() -> Membership {
    let addresses = [(7, "127.0.0.1:2380".to_owned()), (9, String::new())].into();
    Membership { version: ConfigVersion { term: 4, index: u64::MAX }, voters: vec![1, 2, 7], learners: vec![9], addresses }
}

fn changes() -> Vec<ConfigChange> {
    let address = || "127.0.0.1:2380".to_owned();
    vec![
        ConfigChange::AddLearner { node: 7, address: address() },
        ConfigChange::Promote { node: 7 },
        ConfigChange::Remove { node: u32::MAX },
        ConfigChange::Update { node: 7, address: address() },
    ]
}

fn events() -> Vec<Event> {
    let proposals = requests().into_iter().enumerate();
    let proposals: Vec<_> = proposals
        .map(|(i, command)| Arc::new(Proposal { id: id(u64::MAX, i as u64 + 1), first_incomplete: 1, command: Arc::new(command) }))
        .collect();
    let mut payloads: Vec<Payload<Request>> = proposals.iter().map(|p| Payload::Command(p.clone())).collect();
    payloads.push(Payload::Own { command: Arc::new(requests()[0].clone()) });
    payloads.extend([Payload::Noop, Payload::SessionBegin { nonce: u64::MAX }, Payload::SessionEnd { client: 4 }, Payload::Shutdown]);
    payloads.extend(changes().into_iter().map(|change| Payload::Config { change, membership: Arc::new(membership()) }));
    let entries: Vec<_> =
        payloads.into_iter().enumerate().map(|(i, payload)| Arc::new(Entry { term: 2, index: i as u64 + 1, payload })).collect();
    let synced = |response: &Response| Synced { revision: 41, response: response.clone() };

    let mut node: Vec<NodeEvent<Request>> = vec![
        NodeEvent::Restart {
            term: 1,
            vote: None,
            commit: 0,
            last_index: 0,
            last_term: 0,
            pool: vec![],
            base: LogBase::default(),
            snapshot: 0,
            state_hash: 0,
            membership: Membership::initial([3, 1, 2]),
        },
        NodeEvent::Restart {
            term: 3,
            vote: Some(2),
            commit: 9,
            last_index: 17,
            last_term: 3,
            pool: vec![id(3, 1), id(3, 2)],
            base: LogBase { index: 8, term: 2 },
            snapshot: 9,
            state_hash: u64::MAX,
            membership: membership(),
        },
        NodeEvent::UpdateTerm { term: 4 },
        NodeEvent::StepDown { term: 4 },
        NodeEvent::Campaign { term: 5 },
        NodeEvent::GrantVote { term: 5, candidate: 1, pool: vec![id(9, 9)] },
        NodeEvent::RepeatVote { term: 5, candidate: 1, pool: vec![id(9, 9)] },
        NodeEvent::BecomeLeader { term: 5, quorum: vec![1, 2, 3], entries: entries.clone() },
        NodeEvent::OpenFastPath { term: 5 },
        NodeEvent::AcceptEntries { term: 5, from: 1, truncated: true, entries: entries.clone() },
        NodeEvent::Matched { term: 5, peer: 2, index: 12 },
        NodeEvent::AdvanceCommit { term: 5, commit: 12, counted: true },
        NodeEvent::PoolDrop { id: id(3, 1) },
        NodeEvent::ReadRequest { term: 5, round: 8, read: (7, u64::MAX), index: 3 },
        NodeEvent::ReadIndex { term: 5, round: 8, quorum: vec![1, 2, 3] },
        NodeEvent::ServeRead { read: (7, u64::MAX), read_index: 3, applied: 4 },
        NodeEvent::TakeSnapshot { index: 9, term: 2, state_hash: u64::MAX },
        NodeEvent::CompactLog { base: LogBase { index: 8, term: 2 } },
        NodeEvent::InstallSnapshot { term: 5, from: 1, index: 9, last_term: 2, state_hash: 1 << 63 },
        NodeEvent::TransferLeader { term: 5, to: 2 },
        NodeEvent::ShutDown { index: 12 },
        NodeEvent::SaveState { index: 13 },
        NodeEvent::LoadState { index: 13, state_hash: u64::MAX },
    ];
    let causes = [ConfigCause::Appended, ConfigCause::Undone, ConfigCause::Installed];
    node.extend(causes.map(|cause| NodeEvent::UseConfig { term: 5, membership: membership(), cause }));
    node.extend(entries.iter().map(|entry| NodeEvent::LeaderPropose { entry: entry.clone(), fast: false }));
    let config = ConfigVersion { term: 1, index: 2 };
    let record = |p: &Arc<Proposal<Request>>| (p.clone(), true, false);
    node.extend(proposals.iter().map(record).map(|(proposal, accepted, inserted)| NodeEvent::WitnessRecord {
        term: 1,
        asked: 1,
        config,
        proposal,
        accepted,
        inserted,
    }));
    node.extend(responses().into_iter().map(|response| NodeEvent::Execute { term: 1, id: id(1, 2), index: 3, response }));
    let mut outcomes: Vec<Applied<Response>> = responses().iter().map(|response| Applied::Done(synced(response))).collect();
    outcomes.extend([Applied::Nothing, Applied::Duplicate, Applied::Refused, Applied::SessionBegun, Applied::SessionEnded]);
    outcomes.extend([Applied::Configured, Applied::ShutDown]);
    node.extend(outcomes.into_iter().map(|outcome| NodeEvent::Apply { index: 8, id: Some(id(1, 2)), outcome, state_hash: u64::MAX }));
    node.push(NodeEvent::Apply { index: 8, id: None, outcome: Applied::Nothing, state_hash: 1 << 63 });

    let mut client =
        vec![ClientEvent::SessionOpen { session: 2 }, ClientEvent::GiveUp { op: 3 }, ClientEvent::Fail { op: 3 }, ClientEvent::ClientCrash];
    for request in requests() {
        client.push(ClientEvent::Propose { op: 1, id: Some(id(2, 1)), first_incomplete: Some(1), read: None, request: request.clone() });
        client.push(ClientEvent::Propose { op: 1, id: None, first_incomplete: None, read: Some((7, u64::MAX)), request });
    }
    for response in responses() {
        let nodes = vec![1, 2, 4];
        client.push(ClientEvent::FastComplete { op: 1, id: id(2, 1), term: 3, config, nodes, response: response.clone() });
        client.push(ClientEvent::SyncedComplete { op: 1, id: id(2, 1), synced: synced(&response) });
        client.push(ClientEvent::ReadComplete { op: 1, applied: 77, synced: synced(&response) });
    }

    let promises = [
        Promise::Term { term: 1 },
        Promise::Vote { term: 1 },
        Promise::Append { term: 1, index: 2, entry_term: 1 },
        Promise::Record { term: 1, id: id(2, 1) },
        Promise::Fast { term: 1, id: id(2, 1) },
        Promise::Synced { id: id(2, 1) },
    ];
    let mut world = vec![
        WorldEvent::Disk { file: "log.0".into(), offset: 0, data: vec![].into() },
        WorldEvent::Disk { file: "log.0".into(), offset: 1 << 40, data: (0..=255).collect::<Vec<u8>>().into() },
        WorldEvent::DiskRemove { file: "log.0".into() },
        WorldEvent::DiskLost,
        WorldEvent::Crash { power: true, in_flight: 3, lost_bytes: 4096 },
        WorldEvent::Fatal { reason: "sync failed: \"disk\"\n".into() },
        WorldEvent::Pause,
        WorldEvent::Resume,
        WorldEvent::Fault { fault: 1, kind: "partition".into(), what: "1 | 2 3".into() },
        WorldEvent::FaultEnd { fault: 1 },
        WorldEvent::Heal,
    ];
    world.extend(promises.into_iter().flat_map(|promise| [None, Some(2)].map(|to| WorldEvent::Send { to, promise })));

    let told = WatchResponse {
        watch_id: 1,
        revision: 9,
        events: vec![WatchEvent {
            kind: EventKind::Delete,
            kv: KeyValue { key: "k1".into(), mod_revision: 9, ..KeyValue::default() },
            prev_kv: None,
        }],
        ..WatchResponse::default()
    };
    client.extend([
        ClientEvent::Watch { op: 4, request: WatchCreateRequest { key: "k".into(), start_revision: 3, ..WatchCreateRequest::default() } },
        ClientEvent::Register { op: 4, to: 2, start_revision: 3 },
        ClientEvent::WatchTold { op: 4, from: 2, response: told },
        ClientEvent::EndWatch { op: 4 },
        ClientEvent::SendKeepAlive { op: 4, lease: 7, read: (7, u64::MAX) },
        ClientEvent::KeptAlive { op: 4, lease: 7, read: (7, u64::MAX), ttl: 2 },
        ClientEvent::Hold { op: 4, lock: "lock/1".into(), lease: 7 },
        ClientEvent::LetGo { op: 4, lock: "lock/1".into() },
        ClientEvent::Begin {
            op: 5,
            recipe: Recipe::Zk(ZkOp::Create { path: "/a".into(), data: "1".into(), ephemeral: true, sequential: false }),
        },
        ClientEvent::End { op: 5, result: Some(RecipeResult::Zk(ZkResult::Refused(ZkError::NoNode))) },
        ClientEvent::End { op: 6, result: None },
    ]);
    let lease = [
        LeaseEvent::PromoteLeases { term: 3, now: 1 },
        LeaseEvent::DemoteLeases { term: 3 },
        LeaseEvent::ReceiveKeepAlive { term: 3, lease: 7, read: (7, 1), now: 5, deadline: Some(u64::MAX) },
        LeaseEvent::ReceiveKeepAlive { term: 3, lease: 7, read: (7, 1), now: 5, deadline: None },
        LeaseEvent::AnswerKeepAlive { term: 3, lease: i64::MAX, read: (7, 1), ttl: 2 },
        LeaseEvent::AnswerTimeToLive { term: 3, lease: 7, read: (7, 1), now: 6, ttl: -1 },
        LeaseEvent::DecideExpiry { term: 3, lease: 7, now: 6 },
    ];
    let node = node.into_iter().map(Event::Node).chain(lease.into_iter().map(Event::Lease));
    node.chain(client.into_iter().map(Event::Client)).chain(world.into_iter().map(Event::World)).collect()
}

/// Fails to compile when an event is added: then it belongs into `events`, too.
pub(crate) fn name(event: &Event) -> &'static str {
    match event {
        Event::Node(event) => match event {
            NodeEvent::Restart { .. } => "Restart",
            NodeEvent::UpdateTerm { .. } => "UpdateTerm",
            NodeEvent::StepDown { .. } => "StepDown",
            NodeEvent::Campaign { .. } => "Campaign",
            NodeEvent::GrantVote { .. } => "GrantVote",
            NodeEvent::BecomeLeader { .. } => "BecomeLeader",
            NodeEvent::OpenFastPath { .. } => "OpenFastPath",
            NodeEvent::LeaderPropose { .. } => "LeaderPropose",
            NodeEvent::WitnessRecord { .. } => "WitnessRecord",
            NodeEvent::RepeatVote { .. } => "RepeatVote",
            NodeEvent::Matched { .. } => "Matched",
            NodeEvent::ReadRequest { .. } => "ReadRequest",
            NodeEvent::ReadIndex { .. } => "ReadIndex",
            NodeEvent::AcceptEntries { .. } => "AcceptEntries",
            NodeEvent::AdvanceCommit { .. } => "AdvanceCommit",
            NodeEvent::Execute { .. } => "Execute",
            NodeEvent::Apply { .. } => "Apply",
            NodeEvent::PoolDrop { .. } => "PoolDrop",
            NodeEvent::ServeRead { .. } => "ServeRead",
            NodeEvent::UseConfig { .. } => "UseConfig",
            NodeEvent::TakeSnapshot { .. } => "TakeSnapshot",
            NodeEvent::CompactLog { .. } => "CompactLog",
            NodeEvent::InstallSnapshot { .. } => "InstallSnapshot",
            NodeEvent::TransferLeader { .. } => "TransferLeader",
            NodeEvent::ShutDown { .. } => "ShutDown",
            NodeEvent::SaveState { .. } => "SaveState",
            NodeEvent::LoadState { .. } => "LoadState",
        },
        Event::Client(event) => match event {
            ClientEvent::SessionOpen { .. } => "SessionOpen",
            ClientEvent::Propose { .. } => "Propose",
            ClientEvent::FastComplete { .. } => "FastComplete",
            ClientEvent::SyncedComplete { .. } => "SyncedComplete",
            ClientEvent::ReadComplete { .. } => "ReadComplete",
            ClientEvent::GiveUp { .. } => "GiveUp",
            ClientEvent::Fail { .. } => "Fail",
            ClientEvent::ClientCrash => "ClientCrash",
            ClientEvent::Watch { .. } => "Watch",
            ClientEvent::Register { .. } => "Register",
            ClientEvent::WatchTold { .. } => "WatchTold",
            ClientEvent::EndWatch { .. } => "EndWatch",
            ClientEvent::SendKeepAlive { .. } => "SendKeepAlive",
            ClientEvent::KeptAlive { .. } => "KeptAlive",
            ClientEvent::Hold { .. } => "Hold",
            ClientEvent::LetGo { .. } => "LetGo",
            ClientEvent::Begin { .. } => "Begin",
            ClientEvent::End { .. } => "End",
        },
        Event::Lease(event) => match event {
            LeaseEvent::PromoteLeases { .. } => "PromoteLeases",
            LeaseEvent::DemoteLeases { .. } => "DemoteLeases",
            LeaseEvent::ReceiveKeepAlive { .. } => "ReceiveKeepAlive",
            LeaseEvent::AnswerKeepAlive { .. } => "AnswerKeepAlive",
            LeaseEvent::AnswerTimeToLive { .. } => "AnswerTimeToLive",
            LeaseEvent::DecideExpiry { .. } => "DecideExpiry",
        },
        Event::World(event) => match event {
            WorldEvent::Disk { .. } => "Disk",
            WorldEvent::DiskRemove { .. } => "DiskRemove",
            WorldEvent::DiskLost => "DiskLost",
            WorldEvent::Send { .. } => "Send",
            WorldEvent::Crash { .. } => "Crash",
            WorldEvent::Fatal { .. } => "Fatal",
            WorldEvent::Pause => "Pause",
            WorldEvent::Resume => "Resume",
            WorldEvent::Fault { .. } => "Fault",
            WorldEvent::FaultEnd { .. } => "FaultEnd",
            WorldEvent::Heal => "Heal",
        },
    }
}

pub(crate) fn stamped() -> Vec<Stamped> {
    let mut all: Vec<Stamped> = Vec::new();
    for event in events() {
        for (node, client) in [(Some(1), None), (None, Some(u32::MAX)), (None, None)] {
            all.push(Stamped { i: all.len() as u64, t: u64::MAX, node, client, event: event.clone() });
        }
    }
    all
}
