//! Each kind of event, and the steps it gives.

use super::*;
use crate::samples::{self, Bytes, Trace, command, done, id, other};
use curp::{ConfigChange, LogBase};
use std::sync::Arc;

fn membership() -> Membership {
    let version = ConfigVersion { term: 1, index: 4 };
    Membership { version, voters: vec![1, 2], learners: vec![3], ..Membership::default() }
}

fn config() -> Payload<Request> {
    Payload::Config { change: ConfigChange::AddLearner { node: 3, address: String::new() }, membership: Arc::new(membership()) }
}

/// The steps of a trace, as the module has them, without the brackets.
fn told(trace: &Trace) -> Vec<String> {
    let steps = steps(&mut Tables::new(&[1, 2, 3]), &trace.events).expect("a trace");
    steps.iter().map(|step| step.record.to_string().trim_matches(['[', ']']).replace("a |-> ", "")).collect()
}

/// The one step of an event on node 2 that follows a Propose of command 1.
fn one(event: NodeEvent<Request>) -> String {
    let mut trace = Trace::new();
    trace.propose(id(1), "k");
    trace.node(2, event);
    let told = told(&trace);
    assert_eq!(told.len(), 2, "{told:?}");
    told[1].strip_suffix(']').unwrap_or(&told[1]).to_owned()
}

#[test]
fn events_of_elections() {
    let pool = vec![id(1)];
    let restart = NodeEvent::Restart {
        term: 3,
        vote: None,
        commit: 2,
        last_index: 4,
        last_term: 2,
        pool: pool.clone(),
        base: LogBase { index: 1, term: 1 },
        snapshot: 2,
        state_hash: 0,
        membership: membership(),
    };
    assert_eq!(
        one(restart),
        r#""Restart", i |-> 1, n |-> 2, t |-> 3, v |-> 0, com |-> 2, last |-> 4, lt |-> 2, pool |-> {1}, base |-> 1, snap |-> 2, st |-> 2, ver |-> <<1, 4>>, vs |-> {1, 2}, ls |-> {3}"#
    );
    assert_eq!(one(NodeEvent::UpdateTerm { term: 3 }), r#""UpdateTerm", i |-> 1, n |-> 2, t |-> 3"#);
    assert_eq!(one(NodeEvent::StepDown { term: 3 }), r#""StepDown", i |-> 1, n |-> 2, t |-> 3"#);
    assert_eq!(one(NodeEvent::Campaign { term: 3 }), r#""Campaign", i |-> 1, n |-> 2, t |-> 3"#);
    assert_eq!(one(NodeEvent::OpenFastPath { term: 3 }), r#""OpenFastPath", i |-> 1, n |-> 2, t |-> 3"#);
    let vote = NodeEvent::GrantVote { term: 3, candidate: 1, pool: pool.clone() };
    assert_eq!(one(vote), r#""GrantVote", i |-> 1, n |-> 2, to |-> 1, t |-> 3, pool |-> {1}"#);
    let again = NodeEvent::RepeatVote { term: 3, candidate: 1, pool };
    assert_eq!(one(again), r#""RepeatVote", i |-> 1, n |-> 2, to |-> 1, t |-> 3, pool |-> {1}"#);
    let entries = vec![other(3, 5, Payload::Noop), command(3, 6, id(1), "k")];
    assert_eq!(
        one(NodeEvent::BecomeLeader { term: 3, quorum: vec![1, 2], entries }),
        r#""BecomeLeader", i |-> 1, n |-> 2, t |-> 3, q |-> {1, 2}, es |-> <<[t |-> 3, k |-> "noop", v |-> 0, cfg |-> {}, lrn |-> {}, fi |-> 0], [t |-> 3, k |-> "cmd", v |-> 1, cfg |-> {}, lrn |-> {}, fi |-> 1]>>"#
    );
}

#[test]
fn events_of_rounds() {
    let propose = |entry, fast| one(NodeEvent::LeaderPropose { entry, fast });
    assert_eq!(
        propose(command(1, 3, id(1), "k"), true),
        r#""LeaderPropose", i |-> 1, n |-> 2, c |-> 1, t |-> 1, idx |-> 3, fast |-> TRUE, fi |-> 1"#
    );
    let begin = Payload::SessionBegin { nonce: 7 };
    assert_eq!(propose(other(1, 3, begin), false), r#""SessionBegin", i |-> 1, n |-> 2, t |-> 1, idx |-> 3"#);
    let end = Payload::SessionEnd { client: 2 };
    assert_eq!(propose(other(1, 3, end), false), r#""SessionEnd", i |-> 1, n |-> 2, t |-> 1, idx |-> 3, cl |-> 2"#);
    assert!(propose(other(1, 3, Payload::Noop), false).starts_with(r#""LeaderProposeNoop""#), "no action of that name: refused");
    assert_eq!(
        one(samples::witness_record(id(1), "k")),
        r#""WitnessRecord", i |-> 1, n |-> 2, c |-> 1, t |-> 1, asked |-> 1, ver |-> <<0, 0>>, new |-> TRUE, fi |-> 1"#
    );
    let response = Response::Put { prev_kv: None };
    let execute = NodeEvent::Execute { term: 1, id: id(1), index: 3, response };
    assert_eq!(one(execute), r#""Execute", i |-> 1, n |-> 2, c |-> 1, t |-> 1, idx |-> 3"#);
    assert_eq!(one(NodeEvent::PoolDrop { id: id(1) }), r#""PoolDrop", i |-> 1, n |-> 2, c |-> 1"#);
}

#[test]
fn events_of_membership() {
    let append = |payload| one(NodeEvent::LeaderPropose { entry: other(1, 4, payload), fast: false });
    assert_eq!(append(config()), r#""AppendConfig", i |-> 1, n |-> 2, t |-> 1, idx |-> 4, ver |-> <<1, 4>>, vs |-> {1, 2}, ls |-> {3}"#);
    assert_eq!(append(Payload::Shutdown), r#""AppendShutdown", i |-> 1, n |-> 2, t |-> 1, idx |-> 4"#);
    for (cause, word) in [(ConfigCause::Appended, "appended"), (ConfigCause::Undone, "undone"), (ConfigCause::Installed, "installed")] {
        let uses = one(NodeEvent::UseConfig { term: 2, membership: membership(), cause });
        let expected =
            format!(r#""UseConfig", i |-> 1, n |-> 2, t |-> 2, ver |-> <<1, 4>>, vs |-> {{1, 2}}, ls |-> {{3}}, why |-> "{word}""#);
        assert_eq!(uses, expected);
    }
    assert_eq!(one(NodeEvent::TransferLeader { term: 2, to: 3 }), r#""TransferLeader", i |-> 1, n |-> 2, to |-> 3, t |-> 2"#);
    assert_eq!(one(NodeEvent::ShutDown { index: 5 }), r#""ShutDown", i |-> 1, n |-> 2, idx |-> 5"#);
    let mut trace = Trace::new();
    let entries = vec![other(1, 4, config()), other(1, 5, Payload::Shutdown)];
    trace.node(3, NodeEvent::AcceptEntries { term: 1, from: 1, truncated: false, entries });
    let told = told(&trace);
    assert!(told[0].contains(r#"e |-> [t |-> 1, k |-> "config", v |-> 0, cfg |-> {1, 2}, lrn |-> {3}, fi |-> 0]"#), "{}", told[0]);
    assert!(told[1].contains(r#"e |-> [t |-> 1, k |-> "shut", v |-> 0, cfg |-> {}, lrn |-> {}, fi |-> 0]"#), "{}", told[1]);
}

#[test]
fn events_of_snapshots() {
    let take = NodeEvent::TakeSnapshot { index: 4, term: 2, state_hash: 9 };
    assert_eq!(one(take), r#""TakeSnapshot", i |-> 1, n |-> 2, idx |-> 4, st |-> 2"#);
    let compact = NodeEvent::CompactLog { base: LogBase { index: 3, term: 2 } };
    assert_eq!(one(compact), r#""CompactLog", i |-> 1, n |-> 2, idx |-> 3, st |-> 2"#);
    let install = NodeEvent::InstallSnapshot { term: 3, from: 1, index: 4, last_term: 2, state_hash: 9 };
    assert_eq!(one(install), r#""InstallSnapshot", i |-> 1, n |-> 2, l |-> 1, t |-> 3, idx |-> 4, st |-> 2"#);
    let (mut trace, mut bytes) = (Trace::new(), Bytes::new());
    bytes.repairs().into_iter().for_each(|data| trace.disk(2, data));
    trace.disk(2, bytes.append(&[samples::noop_record(1, 1)]));
    for (term, index) in [(1, 1), (2, 5)] {
        let (file, data) = bytes.save(term, index);
        trace.world(Some(2), WorldEvent::Disk { file, offset: 0, data: data.into() });
    }
    trace.disk(2, bytes.append(&[samples::hard_state(1, None, 1), samples::noop_record(1, 2), samples::snapshot_record(1, 1)]));
    trace.disk(2, bytes.append(&[samples::snapshot_record(2, 5)]));
    let told = told(&trace);
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(told[1].ends_with("snap |-> 0, st |-> 0, cut |-> FALSE"), "{}", told[1]);
    assert_eq!(told[2], r#""SaveSnapshot", i |-> 4, n |-> 2, idx |-> 1, st |-> 1"#);
    assert!(told[3].ends_with("es |-> <<>>, pool |-> {}, snap |-> 5, st |-> 2, cut |-> TRUE"), "{}", told[3]);
}

#[test]
fn a_refused_record_is_no_step() {
    let mut trace = Trace::new();
    let NodeEvent::WitnessRecord { proposal, .. } = samples::witness_record(id(1), "k") else { unreachable!() };
    let config = ConfigVersion::default();
    trace.node(2, NodeEvent::WitnessRecord { term: 1, asked: 1, config, proposal, accepted: false, inserted: false });
    assert!(told(&trace).is_empty());
}

#[test]
fn events_of_replication() {
    let mut trace = Trace::new();
    let entries = vec![command(2, 4, id(1), "k"), other(2, 5, Payload::SessionBegin { nonce: 1 })];
    trace.node(3, NodeEvent::AcceptEntries { term: 2, from: 1, truncated: true, entries });
    assert_eq!(
        told(&trace),
        [
            r#""AcceptEntries", i |-> 0, n |-> 3, l |-> 1, t |-> 2, idx |-> 4, e |-> [t |-> 2, k |-> "cmd", v |-> 1, cfg |-> {}, lrn |-> {}, fi |-> 1], cut |-> TRUE"#,
            r#""AcceptEntries", i |-> 0, n |-> 3, l |-> 1, t |-> 2, idx |-> 5, e |-> [t |-> 2, k |-> "begin", v |-> 5, cfg |-> {}, lrn |-> {}, fi |-> 0], cut |-> FALSE"#,
        ]
    );
    assert_eq!(one(NodeEvent::Matched { term: 2, peer: 3, index: 5 }), r#""Matched", i |-> 1, n |-> 2, m |-> 3, t |-> 2, k |-> 5"#);
    let commit = |counted| one(NodeEvent::AdvanceCommit { term: 2, commit: 5, counted });
    assert_eq!(commit(true), r#""AdvanceCommit", i |-> 1, n |-> 2, t |-> 2, k |-> 5"#);
    assert_eq!(commit(false), r#""FollowCommit", i |-> 1, n |-> 2, t |-> 2, k |-> 5"#);
    let apply = |id, outcome| one(NodeEvent::Apply { index: 5, id, outcome, state_hash: 9 });
    assert_eq!(apply(Some(id(1)), done()), r#""Apply", i |-> 1, n |-> 2, idx |-> 5, c |-> 1, out |-> "done""#);
    let outcomes = [
        (Applied::Nothing, "nothing"),
        (Applied::Duplicate, "dup"),
        (Applied::Refused, "refused"),
        (Applied::SessionBegun, "begun"),
        (Applied::SessionEnded, "ended"),
        (Applied::Configured, "configured"),
        (Applied::ShutDown, "shutdown"),
    ];
    for (outcome, word) in outcomes {
        assert_eq!(apply(None, outcome), format!(r#""Apply", i |-> 1, n |-> 2, idx |-> 5, c |-> 0, out |-> "{word}""#));
    }
}

#[test]
fn events_of_clients() {
    let mut trace = Trace::new();
    trace.propose(id(1), "k");
    trace.client(1, ClientEvent::SessionOpen { session: 2 });
    let (config, response) = (ConfigVersion { term: 1, index: 4 }, Response::Put { prev_kv: None });
    trace.client(1, ClientEvent::FastComplete { op: 1, id: id(1), term: 3, config, nodes: vec![1, 2, 3], response: response.clone() });
    trace.client(1, ClientEvent::SyncedComplete { op: 1, id: id(1), synced: Synced { revision: 2, response: response.clone() } });
    trace.client(1, ClientEvent::ReadComplete { op: 1, applied: 3, synced: Synced { revision: 2, response } });
    trace.client(1, ClientEvent::GiveUp { op: 1 });
    trace.client(1, ClientEvent::Fail { op: 1 });
    trace.client(1, ClientEvent::ClientCrash);
    let expected = [
        r#""Propose", i |-> 0, c |-> 1, fi |-> 1"#,
        r#""FastComplete", i |-> 2, c |-> 1, t |-> 3, ver |-> <<1, 4>>, q |-> {1, 2, 3}"#,
        r#""SyncedComplete", i |-> 3, c |-> 1"#,
    ];
    assert_eq!(told(&trace), expected);
}

#[test]
fn every_request_of_a_read_has_a_number_and_serving_names_them_all() {
    let mut trace = Trace::new();
    let read = |n: u64| (7, (n << 32) + 1);
    trace.ask(read(1), "a");
    trace.crash_of_client(7);
    trace.ask(read(2), "b");
    let request = |round, read| NodeEvent::ReadRequest { term: 1, round, read, index: 3 };
    [request(4, read(2)), request(5, read(1)), request(6, read(2))].into_iter().for_each(|event| trace.node(1, event));
    trace.node(1, NodeEvent::ReadIndex { term: 1, round: 6, quorum: vec![1, 2] });
    trace.node(3, NodeEvent::ServeRead { read: read(2), read_index: 3, applied: 4 });
    let told = told(&trace);
    assert_eq!(told[0], r#""ReadRequest", i |-> 3, n |-> 1, r |-> 1, t |-> 1, idx |-> 3"#);
    assert_eq!(told[3], r#""ReadIndex", i |-> 6, n |-> 1, r |-> 3, t |-> 1, q |-> {1, 2}"#);
    assert_eq!(told[4], r#""ServeRead", i |-> 7, n |-> 3, rs |-> {1, 3}, idx |-> 3, app |-> 4"#);
    let mut tables = Tables::new(&[1, 2, 3]);
    steps(&mut tables, &trace.events).unwrap();
    let [.., (_, reads)] = tables.definitions();
    assert_eq!(
        reads.to_string(),
        "<<[keys |-> {3}, all |-> FALSE], [keys |-> {1}, all |-> FALSE], [keys |-> {3}, all |-> FALSE]>>",
        "a and b are apart"
    );
}

#[test]
fn what_becomes_durable_is_a_step_and_other_things_of_the_world_are_not() {
    let (mut trace, mut bytes) = (Trace::new(), Bytes::new());
    bytes.repairs().into_iter().for_each(|data| trace.disk(2, data));
    trace.disk(2, bytes.append(&[samples::hard_state(1, Some(3), 0), samples::noop_record(1, 1), samples::pool_record(id(1))]));
    trace.world(None, WorldEvent::Heal);
    trace.world(Some(2), WorldEvent::Pause);
    trace.world(Some(2), WorldEvent::Resume);
    trace.world(Some(2), WorldEvent::Fatal { reason: "so".into() });
    trace.world(Some(2), WorldEvent::Crash { power: true, in_flight: 0, lost_bytes: 0 });
    trace.world(Some(2), WorldEvent::DiskRemove { file: Bytes::FILE.into() });
    let told = told(&trace);
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].ends_with(r#"n |-> 2, k |-> 3, unseen |-> FALSE, t |-> 1, v |-> 3, com |-> 0, kept |-> 0, es |-> <<[t |-> 1, k |-> "noop", v |-> 0, cfg |-> {}, lrn |-> {}, fi |-> 0]>>, pool |-> {1}, snap |-> 0, st |-> 0, cut |-> FALSE"#), "{}", told[0]);
    assert!(told[1].starts_with(r#""FailStart""#), "it never said what it starts from");
    assert!(
        told[2].contains(r#"k |-> 0, unseen |-> FALSE, t |-> 0, v |-> 0, com |-> 0, kept |-> 0, es |-> <<>>, pool |-> {}"#),
        "{}",
        told[2]
    );
}

#[test]
fn a_start_that_fails_for_a_reason_is_no_crash() {
    let mut trace = Trace::new();
    let crash = |trace: &mut Trace, node| trace.world(Some(node), WorldEvent::Crash { power: true, in_flight: 0, lost_bytes: 0 });
    let cut = |kind: &str| WorldEvent::Fault { fault: 1, kind: kind.into(), what: "so".into() };
    crash(&mut trace, 1);
    trace.world(Some(1), WorldEvent::Fatal { reason: "so".into() });
    crash(&mut trace, 1);
    crash(&mut trace, 1);
    trace.world(Some(2), cut("crash"));
    crash(&mut trace, 2);
    trace.world(Some(2), cut(STORE_CUT));
    crash(&mut trace, 2);
    crash(&mut trace, 3);
    let names: Vec<_> = told(&trace).into_iter().map(|step| step.split('"').nth(1).unwrap_or_default().to_owned()).collect();
    assert_eq!(names, ["Crash", "FailStart", "Crash", "Crash", "FailStart", "Crash"]);
}

#[test]
fn a_lost_disk_is_lost_at_once_and_for_ever() {
    let (mut trace, mut bytes) = (Trace::new(), Bytes::new());
    bytes.repairs().into_iter().for_each(|data| trace.disk(2, data));
    trace.disk(2, bytes.append(&[samples::noop_record(1, 1)]));
    trace.world(Some(2), WorldEvent::DiskLost);
    trace.world(Some(2), WorldEvent::DiskRemove { file: Bytes::FILE.into() });
    let told = told(&trace);
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[1], r#""LoseDisk", i |-> 2, n |-> 2"#);
}

#[test]
fn a_trace_that_contradicts_itself_is_no_rejection() {
    let mut trace = Trace::new();
    trace.node(1, NodeEvent::ReadRequest { term: 1, round: 1, read: (7, 1), index: 3 });
    let error = steps(&mut Tables::new(&[1]), &trace.events).unwrap_err();
    assert_eq!(error, ConvertError::UnknownRead { event: 0, read: (7, 1) });
    let mut trace = Trace::new();
    trace.world(None, WorldEvent::Crash { power: true, in_flight: 0, lost_bytes: 0 });
    assert_eq!(steps(&mut Tables::new(&[1]), &trace.events), Err(ConvertError::NoNode(0)));
    let mut trace = Trace::new();
    trace.node(1, NodeEvent::Campaign { term: INT_MAX + 1 });
    assert_eq!(steps(&mut Tables::new(&[1]), &trace.events), Err(ConvertError::TooLarge { event: 0, number: INT_MAX + 1 }));
}
