//! A made-up run for the tests of this crate.

use curp::{Applied, ConfigVersion, Entry, Event as NodeEvent, Payload, Proposal, ProposeId, Synced};
use harness::{Finding, RunReport, Verdict};
use history::{ClientEvent, Event, Stamped, WorldEvent};
use kv::{PutRequest, Request, Response};
use std::collections::BTreeMap;
use std::sync::Arc;

fn map<V>(pairs: impl IntoIterator<Item = (&'static str, V)>) -> BTreeMap<String, V> {
    pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
}

/// A run that passed.
pub fn passed() -> RunReport {
    RunReport {
        scenario: "standard".into(),
        engine: "direct".into(),
        seed: 7,
        mutant: None,
        verdict: Verdict::Pass,
        findings: Vec::new(),
        checks: map([("linearizability", Verdict::Pass), ("recovery", Verdict::Pass)]),
        evaluations: map([("linearizability", 1), ("recovery", 1234)]),
        probes: map([("fast round completed", 150), ("recovery used a spec pool", 2), ("never", 0)]),
        under_faults: map([("fast round completed", 150), ("recovery used a spec pool", 2), ("never", 0)]),
        faults: map([("crash", 3), ("partition", 57)]),
        ops: 230,
        fast: 150,
        slow: 60,
        unknown: 4,
        events: 12345,
        sim_ns: 25_000_000_000,
        wall_ns: 12_000_000,
        trace_hash: "00c0ffee00c0ffee".into(),
    }
}

/// A run in which a fast write was lost: its report and its trace.
pub fn lost_write() -> (RunReport, Vec<Stamped>) {
    let id = ProposeId { client: 3, seq: 17 };
    let request = Request::Put(PutRequest { key: "k3".into(), value: "17".into(), prev_kv: false, ..PutRequest::default() });
    let proposal = Arc::new(Proposal { id, first_incomplete: 17, command: Arc::new(request.clone()) });
    let entry = Arc::new(Entry { term: 2, index: 40, payload: Payload::Command(proposal.clone()) });
    let noop = Arc::new(Entry { term: 3, index: 40, payload: Payload::Noop });
    let ok = Response::Put { prev_kv: None };
    let fault = WorldEvent::Fault { fault: 2, kind: "partition".into(), what: "the leader is cut off from everybody".into() };
    let config = ConfigVersion::default();
    let record =
        |accepted| NodeEvent::WitnessRecord { term: 2, asked: 2, config, proposal: proposal.clone(), accepted, inserted: accepted };
    let applied = Applied::Done(Synced { revision: 9, response: ok.clone() });
    let nodes = vec![1, 2, 3, 4];
    let crash = WorldEvent::Crash { power: true, in_flight: 2, lost_bytes: 96 };
    let restart = NodeEvent::Restart {
        term: 2,
        vote: Some(1),
        commit: 38,
        last_index: 39,
        last_term: 2,
        pool: vec![id],
        base: curp::LogBase::default(),
        snapshot: 0,
        state_hash: 0,
        membership: curp::Membership::default(),
    };
    let happened: Vec<(Option<u32>, Option<u32>, Event)> = vec![
        (Some(1), None, Event::Node(NodeEvent::BecomeLeader { term: 2, quorum: vec![1, 2, 3], entries: vec![] })),
        (Some(1), None, Event::Node(NodeEvent::OpenFastPath { term: 2 })),
        (Some(1), None, Event::Node(NodeEvent::Apply { index: 39, id: None, outcome: applied, state_hash: 0xdead_beef_0000_0000 })),
        (None, Some(1), Event::Client(ClientEvent::Propose { op: 12, id: Some(id), first_incomplete: Some(1), read: None, request })),
        (Some(1), None, Event::Node(NodeEvent::LeaderPropose { entry, fast: true })),
        (Some(2), None, Event::Node(record(true))),
        (Some(3), None, Event::Node(record(true))),
        (Some(4), None, Event::Node(record(true))),
        (Some(5), None, Event::Node(record(false))),
        (
            None,
            Some(1),
            Event::Client(ClientEvent::FastComplete { op: 12, id, term: 2, config: ConfigVersion::default(), nodes, response: ok }),
        ),
        (Some(2), None, Event::World(crash)),
        (Some(2), None, Event::Node(restart)),
        (None, None, Event::World(fault)),
        (Some(4), None, Event::Node(NodeEvent::Campaign { term: 3 })),
        (Some(5), None, Event::Node(NodeEvent::GrantVote { term: 3, candidate: 4, pool: vec![] })),
        (Some(4), None, Event::Node(NodeEvent::BecomeLeader { term: 3, quorum: vec![3, 4, 5], entries: vec![noop] })),
        (None, None, Event::World(WorldEvent::Heal)),
    ];
    let stamp = |(i, (node, client, event))| Stamped { i: i as u64, t: 1_000_000 * (1 + i as u64 * i as u64), node, client, event };
    let trace: Vec<Stamped> = happened.into_iter().enumerate().map(stamp).collect();
    let finding = |check: &str, rule: &str, event: u64, message: &str, evidence: Vec<u64>| Finding {
        check: check.into(),
        rule: rule.into(),
        verdict: Verdict::Violation,
        t: trace[event as usize].t,
        event: Some(event),
        node: Some(4),
        message: message.into(),
        evidence,
        details: Vec::new(),
    };
    let mut lost = finding(
        "recovery",
        "a command that completed on the fast path is in the log of every later leader",
        15,
        "put(k3, 17) (3.17) was answered on the fast path of term 2, and node 4 leads term 3 without it",
        vec![3, 5, 6, 7, 9, 14, 15],
    );
    lost.details = (1..=9).map(|n| format!("pool of node {n}: …")).collect();
    let later =
        finding("linearizability", "values", 16, "get(k3) → nothing was invoked 3 ms after put(k3, 17) had been acknowledged", vec![]);
    let mut report = passed();
    report.verdict = Verdict::Violation;
    report.checks.insert("recovery".into(), Verdict::Violation);
    report.checks.insert("linearizability".into(), Verdict::Violation);
    report.checks.insert("durability".into(), Verdict::Pass);
    report.findings = vec![lost, later];
    (report, trace)
}
