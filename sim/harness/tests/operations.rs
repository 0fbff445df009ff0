//! Operations on the cluster itself, on both engines: members that come and go, lost disks, moved leaders, snapshots, shutdowns. What
//! the plan asks for takes effect, and the run ends in a settled configuration.

use harness::{Engine, RunOptions, RunReport, Verdict, run};
use plan::{Plan, scenario};

const ENGINES: [Engine; 2] = [Engine::Direct, Engine::Madsim];

/// A busy cluster of so many voters, without faults but these (`when` and `kind`).
fn plan(seed: u64, voters: u32, cluster: &str, faults: &[(u64, &str)]) -> Plan {
    let mut text = format!(
        "version = 1\nscenario = \"operations\"\nseed = {seed}\n[cluster]\nvoters = {voters}\n{cluster}\n[workload]\nclients = 3\n\
         [heal]\nat_us = 9000000\n[end]\nat_us_min = 9100000\n"
    );
    for id in 1..=150 {
        let (client, key, at_us) = (id % 3 + 1, id * 7 % 5, 400_000 + id * 60_000);
        let action = if id % 4 == 0 { "get" } else { "put" };
        text.push_str(&format!("[[op]]\nid = {id}\nclient = {client}\nat_us = {at_us}\naction.{action} = {{ key = \"k{key}\" }}\n"));
    }
    for (id, (at_ms, kind)) in (1..).zip(faults) {
        text.push_str(&format!("[[fault]]\nid = {id}\nwhen.at_us = {}\nkind.{kind}\n", at_ms * 1_000));
    }
    Plan::parse(&text, "operations").unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// Runs it on both engines, over the world's network and over gRPC; each run must pass.
fn passes(voters: u32, cluster: &str, faults: &[(u64, &str)], look: impl Fn(&RunReport, &str)) {
    for engine in ENGINES {
        for seed in 1..=6 {
            let (report, _) = run(&plan(seed, voters, cluster, faults), &RunOptions { engine, ..RunOptions::default() });
            let name = format!("seed {seed} on {} ({} over gRPC)", engine.name(), report.probes["over_grpc"]);
            assert_eq!(report.verdict, Verdict::Pass, "{name}: {:#?}", report.findings);
            look(&report, &name);
        }
    }
}

fn effects(report: &RunReport, kind: &str) -> u64 {
    report.faults.get(kind).copied().unwrap_or(0)
}

#[test]
fn a_member_joins_and_the_leader_leaves() {
    let faults = [
        (1_500, "add_member = { node = 4, promote = true }"),
        (3_000, "remove_member = { node = \"leader\", stop_after_us = 50000 }"),
        (4_500, "add_member = { node = 6, promote = false }"),
        (6_000, "update_member = { node = \"newest\" }"),
        (7_000, "remove_member = { node = \"follower1\" }"),
    ];
    passes(3, "", &faults, |report, name| {
        assert_eq!((effects(report, "add_member"), effects(report, "remove_member")), (2, 2), "{name}");
        assert_eq!((effects(report, "update_member"), effects(report, "operator_skipped")), (1, 0), "{name}");
        for probe in ["learner_added", "learner_promoted", "leader_removed", "leader_transferred", "config_appended"] {
            assert!(report.probes[probe] > 0, "{name}: {probe}");
        }
    });
}

#[test]
fn a_lost_disk_is_refused_and_its_node_replaced() {
    let faults = [(1_500, "lose_disk = { node = \"leader\", down_us = 100000, replace = 4 }")];
    passes(3, "", &faults, |report, name| {
        assert_eq!((effects(report, "lose_disk"), effects(report, "add_member"), effects(report, "remove_member")), (1, 1, 1), "{name}");
        assert_eq!(report.probes["disk_lost_refused"], 1, "{name}");
    });
}

#[test]
fn no_majority_of_disks_is_lost() {
    let faults = [
        (1_500, "lose_disk = { node = \"n1\", down_us = 100000 }"),
        (2_500, "lose_disk = { node = \"n2\", down_us = 100000 }"),
        (3_500, "remove_member = { node = \"n3\" }"),
        (4_500, "remove_member = { node = \"n1\" }"),
    ];
    passes(3, "", &faults, |report, name| {
        assert_eq!((effects(report, "lose_disk"), effects(report, "remove_member")), (1, 1), "{name}");
        assert_eq!(effects(report, "operator_skipped"), 2, "{name}");
    });
}

#[test]
fn leadership_moves_and_the_cluster_shuts_down_and_comes_back() {
    let faults = [
        (1_500, "move_leader = { to = \"follower1\" }"),
        (3_000, "move_leader = { to = \"follower2\" }"),
        (4_500, "shutdown = { down_us = 200000 }"),
    ];
    passes(3, "", &faults, |report, name| {
        assert_eq!((effects(report, "move_leader"), effects(report, "shutdown")), (2, 3), "{name}");
        assert!(report.probes["leader_transferred"] >= 2 && report.probes["cluster_shut_down"] == 3, "{name}");
    });
}

#[test]
fn logs_are_compacted_and_who_missed_much_gets_a_snapshot() {
    let cluster = "snapshot_every = 10\ntrailing_entries = 2\nsnapshot_chunk_bytes = 100\n";
    let faults = [
        (1_500, "take_snapshot = { node = \"follower1\" }"),
        (2_500, "crash = { node = \"follower2\", power = true, down_us = 2500000 }"),
        (6_000, "add_member = { node = 4, promote = true }"),
    ];
    passes(3, cluster, &faults, |report, name| {
        for probe in
            ["snapshot_taken", "snapshot_saved", "log_compacted", "snapshot_installed", "started_from_snapshot", "learner_promoted"]
        {
            assert!(report.probes[probe] > 0, "{name}: {probe}");
        }
        assert_eq!(effects(report, "take_snapshot"), 1, "{name}");
    });
}

#[test]
fn an_operator_changes_no_other_draw() {
    // One wish more, which is left out: nodes and clients do exactly what they did.
    let quiet = plan(3, 3, "", &[]);
    let asked = plan(3, 3, "", &[(4_000, "update_member = { node = \"newest\" }")]);
    let ops = |plan| run(plan, &RunOptions::default()).0;
    let (quiet, asked) = (ops(&quiet), ops(&asked));
    assert_eq!((quiet.fast, quiet.slow, quiet.sim_ns), (asked.fast, asked.slow, asked.sim_ns));
    assert_eq!((quiet.events + 2, effects(&asked, "operator_skipped")), (asked.events, 1));
}

#[test]
fn what_scenarios_draw_is_done_on_both_engines() {
    for name in ["membership", "snapshots", "transfers"] {
        let mut reports = Vec::new();
        for engine in ENGINES {
            for seed in 1..=8 {
                let plan = scenario(name).expect("is built in").draw(seed);
                let (report, _) = run(&plan, &RunOptions { engine, ..RunOptions::default() });
                let at = format!("{name} {seed} on {}", engine.name());
                assert!(matches!(report.verdict, Verdict::Pass | Verdict::Unknown), "{at}: {:#?}", report.findings);
                reports.push(report);
            }
        }
        let reached = |probe: &str| assert!(reports.iter().any(|r| r.probes[probe] > 0), "{name}: {probe} never fired");
        match name {
            "membership" => ["learner_added", "learner_promoted", "member_removed"].into_iter().for_each(reached),
            "snapshots" => ["log_compacted", "snapshot_installed", "started_from_snapshot"].into_iter().for_each(reached),
            _ => ["leader_transferred", "cluster_shut_down"].into_iter().for_each(reached),
        }
    }
}
