//! Clients of etcd's API beside native ones, in one run, under the faults of the scenarios, on both engines.

use harness::{Engine, RunOptions, RunReport, Verdict, run};
use plan::{Plan, scenario};

/// A scenario's plan of which half the clients, or all, come through etcd's API.
fn drawn(name: &str, seed: u64) -> Plan {
    let mut plan = scenario(name).expect("the scenario exists").draw(seed);
    plan.workload.etcd_clients = if seed.is_multiple_of(3) { plan.workload.clients } else { plan.workload.clients.div_ceil(2) };
    plan
}

fn passes(engine: Engine, seeds: u64) {
    let mut sums = std::collections::BTreeMap::<&str, u64>::new();
    for name in [
        "standard",
        "recovery",
        "partitions",
        "power",
        "reads",
        "membership",
        "snapshots",
        "leases",
        "watches",
        "locks",
        "registry",
        "zookeeper",
    ] {
        for seed in 1..=seeds {
            let (report, _) = run(&drawn(name, seed), &RunOptions { engine, ..RunOptions::default() });
            let named = format!("seed {seed} of {name} on {}", engine.name());
            let bad = |report: &RunReport| !matches!(report.verdict, Verdict::Pass | Verdict::Vacuous);
            assert!(!bad(&report), "{named}: {:#?}", report.findings);
            for probe in [
                "call_sent",
                "call_proposed",
                "call_answered",
                "unknown_outcome",
                "watch_told",
                "watch_resumed",
                "op_lease_keep_alive",
                "over_grpc",
            ] {
                *sums.entry(probe).or_default() += report.probes[probe];
            }
        }
    }
    for (probe, count) in &sums {
        assert!(*count > 0 || *probe == "over_grpc" && engine == Engine::Direct, "{probe}: {sums:?}");
    }
    assert!(sums["call_answered"] > sums["call_sent"] / 2, "{sums:?}");
}

#[test]
fn both_kinds_of_clients_in_one_run_on_direct() {
    passes(Engine::Direct, 12);
}

#[test]
fn both_kinds_of_clients_in_one_run_on_madsim() {
    passes(Engine::Madsim, 6);
}

#[test]
fn a_plan_is_one_run() {
    for engine in [Engine::Direct, Engine::Madsim] {
        for seed in 1..=4 {
            let hash = || run(&drawn("standard", seed), &RunOptions { engine, ..RunOptions::default() }).0.trace_hash;
            assert_eq!(hash(), hash(), "seed {seed} on {}", engine.name());
        }
    }
}
