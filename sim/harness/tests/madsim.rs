//! The madsim engine: the same plan gives the same run whatever ran before it on whichever thread.

use harness::{Engine, RunOptions, Verdict, run};
use plan::{Plan, scenario};
use std::collections::BTreeMap;

fn drawn(name: &str, seed: u64) -> Plan {
    scenario(name).expect("the scenario exists").draw(seed)
}

fn on_madsim(plan: &Plan, options: RunOptions) -> String {
    run(plan, &RunOptions { engine: Engine::Madsim, ..options }).0.trace_hash
}

#[test]
fn a_plan_is_one_run_whatever_ran_before() {
    let seeds: Vec<u64> = (1..=8).collect();
    let hash = |seed: &u64| (*seed, on_madsim(&drawn("elections", *seed), RunOptions::default()));
    let forward: BTreeMap<u64, String> = seeds.iter().map(hash).collect();
    // A hash map on this thread takes the keys that a run here would otherwise take from its seed.
    #[allow(clippy::disallowed_types, reason = "it is what must do no harm")]
    let _keys = std::collections::HashMap::<u8, u8>::new();
    let backward: BTreeMap<u64, String> = seeds.iter().rev().map(hash).collect();
    assert_eq!(forward, backward);
    let elsewhere = std::thread::spawn(move || seeds.iter().map(hash).collect::<BTreeMap<_, _>>()).join().expect("no panic");
    assert_eq!(forward, elsewhere);
}

#[test]
fn recording_logging_and_judging_change_nothing() {
    for seed in [1, 4] {
        let plan = drawn("sessions", seed);
        let plain = on_madsim(&plan, RunOptions { judge: false, ..RunOptions::default() });
        let recorded = on_madsim(&plan, RunOptions { record: true, log: "trace".to_owned(), ..RunOptions::default() });
        assert_eq!(plain, recorded, "seed {seed}");
    }
}

#[test]
fn a_quarter_of_the_runs_go_over_grpc() {
    let plan = |seed| drawn("fault-free", seed);
    let over = |seed| {
        let (report, _) = run(&plan(seed), &RunOptions { engine: Engine::Madsim, ..RunOptions::default() });
        assert_eq!(report.verdict, Verdict::Pass, "seed {seed}: {:#?}", report.findings);
        report.probes["over_grpc"]
    };
    let runs = 40;
    let over: u64 = (1..=runs).map(over).sum();
    assert!((5..=15).contains(&over), "{over} of {runs}");
}

#[test]
fn partitions_become_clogs_over_grpc() {
    let (mut over, mut swallowed) = (0, 0);
    for seed in 1..=24 {
        let (report, _) = run(&drawn("partitions", seed), &RunOptions { engine: Engine::Madsim, ..RunOptions::default() });
        assert_eq!(report.verdict, Verdict::Pass, "seed {seed}: {:#?}", report.findings);
        if report.probes["over_grpc"] == 1 {
            over += 1;
            swallowed += report.faults.iter().filter(|(kind, _)| kind.starts_with("partition")).map(|(_, times)| times).sum::<u64>();
            assert!(!report.faults.contains_key("message_lost"), "the world's network carries nothing");
        }
    }
    assert!(over > 0 && swallowed > 0, "{swallowed} messages in {over} runs");
}
