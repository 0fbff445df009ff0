use super::*;
use crate::{Action, FAULTS, FaultKind, Plan, When};
use std::collections::BTreeSet;

const SEEDS: std::ops::Range<u64> = 0..300;

#[test]
fn every_file_is_built_in_and_named_after_itself() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scenarios");
    let files = std::fs::read_dir(dir).expect("the directory of scenarios is part of the project");
    let mut names: BTreeSet<String> =
        files.filter_map(|f| f.expect("readable").file_name().into_string().ok()?.strip_suffix(".toml").map(str::to_owned)).collect();
    assert!(names.remove("mutants"), "the catalogue of the known bugs' seeds lies among the scenarios");
    assert_eq!(names, FILES.iter().map(|(name, _)| (*name).to_owned()).collect());
    for ((file, _), scenario) in FILES.iter().zip(scenarios()) {
        assert_eq!(*file, scenario.name);
    }
}

#[test]
fn every_plan_drawn_makes_sense_and_round_trips() {
    for scenario in scenarios() {
        for seed in SEEDS {
            let plan = scenario.draw(seed);
            assert_eq!(plan.validate(), Ok(()), "{} {seed}", scenario.name);
            assert_eq!(plan, scenario.draw(seed));
            if seed % 20 == 0 {
                let text = plan.to_toml();
                assert_eq!(Plan::parse(&text, "drawn").as_ref(), Ok(&plan), "{} {seed}\n{text}", scenario.name);
            }
        }
    }
}

#[test]
fn the_yardstick_keeps_its_promise() {
    for seed in SEEDS {
        let plan = scenario("standard").expect("is built in").draw(seed);
        assert!(plan.cluster.voters == 5 && plan.op.len() >= 200 && plan.end.at_us_min >= 20_000_000);
        assert!(plan.heal.at_us < plan.end.at_us_min);
    }
}

#[test]
fn fault_free_is_free_of_faults() {
    for seed in SEEDS {
        let plan = scenario("fault-free").expect("is built in").draw(seed);
        assert!(plan.fault.is_empty());
        let n = &plan.network;
        assert_eq!(n.loss_ppm + n.duplicate_ppm + n.late_ppm + n.reorder_ppm + n.tail_ppm, 0);
        assert!(plan.op.iter().any(|op| matches!(op.action, Action::Put { .. })) && plan.op.iter().any(|op| op.action.is_read()));
    }
}

#[test]
fn every_fault_kind_and_every_action_is_drawn() {
    let plans: Vec<Plan> = scenarios().iter().flat_map(|s| (0..60).map(|seed| s.draw(seed))).collect();
    let drawn: BTreeSet<&str> = plans.iter().flat_map(|p| &p.fault).map(|f| f.kind.name()).collect();
    let known: BTreeSet<&str> = FAULTS.iter().map(|(name, _)| *name).filter(|name| !by_chance(name)).collect();
    assert_eq!(drawn, known);
    let actions: BTreeSet<&str> = plans.iter().flat_map(|p| &p.op).map(|op| op.action.kind()).collect();
    assert_eq!(actions.len(), 25, "{actions:?}");
}

#[test]
fn a_swarm_is_diverse() {
    let plans: Vec<Plan> = SEEDS.map(|seed| scenario("standard").expect("is built in").draw(seed)).collect();
    for (kind, _) in FAULTS.iter().filter(|(name, _)| ["pause", "storm", "slow_disk", "client_crash"].contains(name)) {
        let with = plans.iter().filter(|p| p.fault.iter().any(|f| f.kind.name() == *kind)).count();
        assert!((plans.len() / 2..plans.len() * 9 / 10).contains(&with), "{kind} is in {with} plans");
    }
    let faults: Vec<usize> = plans.iter().map(|p| p.fault.len()).collect();
    assert!(faults.iter().min() < Some(&10) && faults.iter().max() > Some(&20), "{faults:?}");
    let lossless = plans.iter().filter(|p| p.network.loss_ppm == 0).count();
    assert!((50..150).contains(&lossless), "{lossless}");
}

#[test]
fn some_runs_have_clients_of_etcd_and_differ_in_nothing_else() {
    for scenario in scenarios() {
        let native = Scenario { etcd_percent: 0, ..scenario.clone() };
        let (mut some, mut all) = (0, 0);
        for seed in SEEDS {
            let mut plan = scenario.draw(seed);
            some += usize::from(plan.workload.etcd_clients > 0);
            all += usize::from(plan.workload.etcd_clients == plan.workload.clients);
            plan.workload.etcd_clients = 0;
            assert_eq!(plan, native.draw(seed));
        }
        assert!((50..110).contains(&some) && (10..60).contains(&all), "{some} and {all} of {SEEDS:?} in {}", scenario.name);
    }
}

#[test]
fn elections_have_time_after_the_heal() {
    for plan in scenarios().iter().flat_map(|s| (0..100).map(|seed| s.draw(seed))) {
        let round_us = 2 * (plan.network.latency_us_max + plan.network.jitter_us_max) + plan.disk.sync_us_max;
        assert!(plan.cluster.election_timeout_ms_min * 1000 > round_us + plan.cluster.heartbeat_ms * 1000);
        assert!(plan.cluster.tick_us * 2 <= plan.cluster.heartbeat_ms * 1000);
    }
}

#[test]
fn no_fault_begins_in_the_calm_or_after_the_heal() {
    for scenario in scenarios() {
        for fault in SEEDS.flat_map(|seed| scenario.draw(seed).fault) {
            if let When::AtUs(at) = fault.when {
                assert!(at >= scenario.calm_ms * 1000, "{fault:?}");
            }
            assert_ne!(fault.id, 0);
        }
    }
}

#[test]
fn who_joins_has_an_id_of_its_own_whatever_is_taken_out() {
    let mut joined = BTreeSet::new();
    for plan in
        ["membership", "snapshots", "standard"].iter().flat_map(|s| (0..60).map(|seed| scenario(s).expect("is built in").draw(seed)))
    {
        let joiners: Vec<u32> = plan.fault.iter().filter_map(|f| f.kind.joiner()).collect();
        let expect: Vec<u32> = (1..).map(|i| plan.cluster.voters + i).take(joiners.len()).collect();
        assert_eq!(joiners, expect, "in the order of the plan's faults");
        assert!(plan.clock.len() == plan.nodes() as usize);
        let Some(first) = plan.fault.iter().find(|f| f.kind.joiner().is_some()) else { continue };
        let fewer = plan.without(&[crate::Unit::Fault(first.id)]);
        assert_eq!(fewer.validate(), Ok(()));
        assert_eq!(fewer.fault.iter().filter_map(|f| f.kind.joiner()).collect::<Vec<_>>(), joiners[1..]);
        joined.insert(joiners.len());
    }
    assert!(joined.len() > 3, "{joined:?}");
}

#[test]
fn plans_of_old_make_no_snapshots() {
    let plan = Plan::parse(
        "version = 1\nscenario = \"old\"\nseed = 1\ncluster = { voters = 3 }\nworkload = { clients = 1 }\nheal = { at_us = 1 }\n",
        "p",
    );
    let cluster = plan.expect("is a plan").cluster;
    assert_eq!((cluster.snapshot_every, cluster.appends_in_flight_max), (0, 64));
    for seed in SEEDS {
        assert_eq!(scenario("recovery").expect("is built in").draw(seed).cluster.snapshot_every, 0);
        assert!(scenario("snapshots").expect("is built in").draw(seed).cluster.snapshot_every > 0);
    }
}

#[test]
fn quick_restarts_within_elections_are_common() {
    // What catches a vote that is not persisted: a voter that is back within 20 ms of its vote.
    let quick = SEEDS
        .filter(|&seed| {
            let faults = scenario("elections").expect("is built in").draw(seed).fault;
            faults.iter().any(|f| {
                let voted = matches!(&f.when, When::After { probe, delay_us, .. } if probe == "vote_granted" && *delay_us <= 3_000);
                voted && matches!(f.kind, FaultKind::Crash { down_us, .. } if down_us <= 20_000)
            })
        })
        .count();
    assert!(quick > 200, "{quick}");
}

#[test]
fn picking_is_weighted_and_does_not_depend_on_order() {
    let all: Vec<&Scenario> = scenarios().iter().collect();
    let reversed: Vec<&Scenario> = scenarios().iter().rev().collect();
    let name = |seed, among: &[&'static Scenario]| pick(seed, among).map(|s| s.name.clone());
    let mut seen = BTreeSet::new();
    for seed in SEEDS {
        assert_eq!(name(seed, &all), name(seed, &reversed));
        seen.extend(name(seed, &all));
    }
    assert_eq!(seen.len(), all.len());
    assert!(pick(1, &[]).is_none());
}

#[test]
fn a_scenario_with_a_mistake_gets_a_sentence() {
    let text = FILES[0].1.replace("conflict_answered", "conflict");
    let error = Scenario::parse(&text, "x.toml").expect_err("there is no such probe");
    assert!(error.to_string().contains("there is no probe `conflict`"), "{error}");
    let error = Scenario::parse("name = \"x\"\nclients = [3, 1]\n", "x.toml").expect_err("an empty range");
    assert!(error.to_string().starts_with("x.toml:2: the range [3, 1] is empty"), "{error}");
}

/// Effects that no plan schedules.
fn by_chance(name: &str) -> bool {
    name.starts_with("message_")
        || ["hole", "operator_gave_up", "operator_skipped", "stopped_over_sync_error", "torn_write", "unsynced_bytes_lost"].contains(&name)
}
