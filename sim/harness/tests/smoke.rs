//! A plan without faults: every part of a run is there, and nothing is found.

use harness::{RunOptions, Verdict, run};
use plan::Plan;

fn plan(seed: u64, voters: u32, ops: u64) -> Plan {
    let mut text = format!(
        "version = 1\nscenario = \"smoke\"\nseed = {seed}\n[cluster]\nvoters = {voters}\n[workload]\nclients = 3\n[heal]\nat_us = 1000000\n"
    );
    for id in 1..=ops {
        let (client, key) = (id % 3 + 1, id * 7 % 5);
        let action = match id % 6 {
            0 => format!("get = {{ key = \"k{key}\" }}"),
            1 => format!("cas = {{ key = \"k{key}\", by = \"value\" }}"),
            2 => format!("delete = {{ key = \"k{key}\" }}"),
            3 => "range = { from = \"k0\", to = \"k3\" }".to_owned(),
            _ => format!("put = {{ key = \"k{key}\" }}"),
        };
        text.push_str(&format!("[[op]]\nid = {id}\nclient = {client}\naction = {{ {action} }}\n"));
    }
    Plan::parse(&text, "smoke").unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn quiet_clusters_of_every_size_pass() {
    for voters in 1..=6 {
        let (report, _) = run(&plan(u64::from(voters), voters, 120), &RunOptions { each_level_alone: true, ..RunOptions::default() });
        assert_eq!(report.verdict, Verdict::Pass, "{voters} voters: {:#?}", report.findings);
        assert_eq!((report.ops, report.unknown), (120, 0), "{voters} voters");
        assert!(report.fast > 0, "{voters} voters: no fast round: {:?}", report.probes);
    }
}

#[test]
fn the_same_plan_gives_the_same_run() {
    let plan = plan(7, 5, 60);
    let (a, recorded) = run(&plan, &RunOptions { record: true, ..RunOptions::default() });
    let (b, none) = run(&plan, &RunOptions { judge: false, ..RunOptions::default() });
    assert_eq!(a.trace_hash, b.trace_hash, "recording, logging and judging change nothing");
    assert!(none.is_none());
    let recorded = recorded.expect("asked for");
    assert_eq!(recorded.trace.len() as u64, a.events);
    assert!(!recorded.log.is_empty() && recorded.history.len() == 60);
}
