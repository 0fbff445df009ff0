//! Leases, watches and what applications build on them, by hand-written plans without faults, on both engines: what each operation comes
//! to is in the trace, and every run passes.

use harness::{Artifacts, Engine, RunOptions, RunReport, Verdict, run};
use history::{ClientEvent, Event, RecipeResult, ZkError, ZkResult};
use plan::Plan;

/// Operations, each a client, a time (ms) and an action, on three nodes.
fn plan(clients: u32, ops: &[(u32, u64, &str)]) -> Plan {
    let mut text = format!(
        "version = 1\nscenario = \"applications\"\nseed = 5\ncluster = {{ voters = 3 }}\n\
         client_clock = [{{ rate_ppm = -10000 }}, {{ rate_ppm = 10000 }}]\nclock = [{{ rate_ppm = 10000 }}, {{ rate_ppm = -10000 }}]\n\
         workload = {{ clients = {clients} }}\nheal = {{ at_us = 9000000 }}\nop = [\n"
    );
    for (id, (client, at_ms, action)) in (1..).zip(ops) {
        text.push_str(&format!("{{ id = {id}, client = {client}, at_us = {}, action.{action} }},\n", at_ms * 1_000));
    }
    text.push_str("]\n");
    Plan::parse(&text, "applications").unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// Runs it on both engines, shows what was recorded.
fn passes(plan: &Plan, look: impl Fn(&RunReport, &[(u32, u64, ClientEvent)])) {
    for engine in [Engine::Direct, Engine::Madsim] {
        let options = RunOptions { engine, record: true, each_level_alone: true, ..RunOptions::default() };
        let (report, artifacts) = run(plan, &options);
        assert_eq!(report.verdict, Verdict::Pass, "{}: {:#?}", engine.name(), report.findings);
        let Some(Artifacts { trace, .. }) = artifacts else { panic!("it was recorded") };
        let events: Vec<_> = trace
            .into_iter()
            .filter_map(|e| match e.event {
                Event::Client(event) => Some((e.client.unwrap_or_default(), e.t / 1_000_000, event)),
                _ => None,
            })
            .collect();
        look(&report, &events);
    }
}

/// What each recipe came to, by operation.
fn results(events: &[(u32, u64, ClientEvent)]) -> Vec<(u64, RecipeResult)> {
    let mut results: Vec<_> = events
        .iter()
        .filter_map(|(.., event)| match event {
            ClientEvent::End { op, result } => Some((*op, result.clone().expect("nothing is unknown without faults"))),
            _ => None,
        })
        .collect();
    results.sort_by_key(|(op, _)| *op);
    results
}

#[test]
fn a_lock_is_held_by_one_at_a_time_and_no_longer_than_its_lease() {
    let lock = |hold_us: u64, renew: bool, leave: &str| {
        format!("lock = {{ lock = \"lock/0\", ttl = 1, hold_us = {hold_us}, renew = {renew}, leave = \"{leave}\" }}")
    };
    let (long, short, other) = (lock(3_000_000, true, "delete"), lock(3_000_000, false, "expire"), lock(1_000, false, "revoke"));
    let ops = [(1, 1_000, &long[..]), (2, 2_500, &other[..]), (2, 4_200, &short[..]), (1, 5_000, &other[..]), (1, 6_000, &other[..])];
    passes(&plan(2, &ops), |report, events| {
        let held: Vec<bool> = results(events).iter().map(|(_, result)| matches!(result, RecipeResult::Held { .. })).collect();
        assert_eq!(held, [true, false, true, false, true]);
        let time = |op: u64, begins: bool| {
            let found = events.iter().find(|(.., event)| match event {
                ClientEvent::Hold { op: this, .. } => begins && *this == op,
                ClientEvent::LetGo { op: this, .. } => !begins && *this == op,
                _ => false,
            });
            found.map(|(_, t, _)| *t).expect("it was held")
        };
        assert!((2_990..=3_060).contains(&(time(1, false) - time(1, true))), "kept alive, it is held for longer than its lease");
        assert!((900..1_000).contains(&(time(3, false) - time(3, true))), "not kept alive, it is let go before the lease ends");
        assert_eq!((report.probes["lock_time_over"], report.probes["lock_refused"]), (1, 2));
    });
}

#[test]
fn an_instance_is_found_while_it_keeps_its_lease_alive() {
    let register = "register = { service = \"svc/0/\", instance = \"i1\", ttl = 1, for_us = 2500000, leave = \"expire\" }";
    let discover = "discover = { service = \"svc/0/\" }";
    let ops = [(1, 1_000, register), (2, 900, discover), (2, 3_300, discover), (2, 5_500, discover)];
    passes(&plan(2, &ops), |_, events| {
        let found: Vec<usize> = results(events)
            .iter()
            .filter_map(|(_, result)| match result {
                RecipeResult::Instances { instances } => Some(instances.len()),
                _ => None,
            })
            .collect();
        assert_eq!(found, [0, 1, 0]);
    });
}

#[test]
fn a_token_allows_until_it_is_withdrawn() {
    let (authorise, used) = ("authorise = { token = \"token/0\", ttl = 4 }", "use = { token = \"token/0\", key = \"k1\" }");
    let ops = [(1, 900, used), (1, 1_000, authorise), (2, 1_500, used), (1, 2_000, "withdraw = { token = \"token/0\" }"), (2, 2_500, used)];
    passes(&plan(2, &ops), |_, events| {
        let results: Vec<RecipeResult> = results(events).into_iter().map(|(_, result)| result).collect();
        assert_eq!(results[0], RecipeResult::Denied);
        assert!(matches!(results[1], RecipeResult::Authorised { .. }));
        assert_eq!(results[2..], [RecipeResult::Allowed, RecipeResult::Withdrawn, RecipeResult::Denied]);
    });
}

#[test]
fn zookeeper_s_words() {
    let ops = [
        "zk.create = { path = \"/a/x\" }",
        "zk.create = { path = \"/a\" }",
        "zk.create = { path = \"/a\" }",
        "zk.create = { path = \"/a/s\", sequential = true }",
        "zk.create = { path = \"/a/s\", sequential = true, ephemeral = true }",
        "zk.create = { path = \"/a/e\", ephemeral = true }",
        "zk.create = { path = \"/a/e/x\" }",
        "zk.set_data = { path = \"/a\" }",
        "zk.set_data = { path = \"/a\", seen = true }",
        "zk.delete = { path = \"/a\" }",
        "zk.get_children = { path = \"/a\" }",
        "zk.multi = { ops = [{ delete = { path = \"/a/s0000000000\" } }, { create = { path = \"/b\" } }] }",
        "zk.multi = { ops = [{ create = { path = \"/c\" } }, { delete = { path = \"/d\" } }] }",
        "zk = \"close_session\"",
        "zk.get_children = { path = \"/a\" }",
        "zk.get_children = { path = \"/\" }",
        "zk = \"sync\"",
    ];
    let ops: Vec<(u32, u64, &str)> = ops.into_iter().map(|action| (1, 900, action)).collect();
    passes(&plan(2, &ops), |_, events| {
        let results: Vec<ZkResult> = results(events)
            .into_iter()
            .map(|(_, result)| match result {
                RecipeResult::Zk(result) => result,
                other => panic!("{other:?}"),
            })
            .collect();
        let created = |path: &str| ZkResult::Created { path: path.into() };
        let names = |names: &[&str]| ZkResult::Children { names: names.iter().map(|name| (*name).into()).collect() };
        assert_eq!(
            results,
            [
                ZkResult::Refused(ZkError::NoNode),
                created("/a"),
                ZkResult::Refused(ZkError::NodeExists),
                created("/a/s0000000000"),
                created("/a/s0000000001"),
                created("/a/e"),
                ZkResult::Refused(ZkError::NoChildrenForEphemerals),
                ZkResult::Set { version: 1 },
                ZkResult::Set { version: 2 },
                ZkResult::Refused(ZkError::NotEmpty),
                names(&["e", "s0000000000", "s0000000001"]),
                ZkResult::Multi { results: vec![ZkResult::Deleted, created("/b")] },
                ZkResult::Refused(ZkError::NoNode),
                ZkResult::Closed,
                names(&[]),
                names(&["a", "b"]),
                ZkResult::Synced,
            ]
        );
    });
}

#[test]
fn a_slow_watcher_is_told_everything_once() {
    let mut ops = vec![(1, 900, "watch = { key = \"k0\", to = \"k9\", prev_kv = true, pace_us = 100000 }")];
    ops.extend([(2, 1_000, "grant = { ttl = 1 }"), (2, 1_000, "put = { key = \"k1\", lease = 2 }")]);
    ops.extend((0..30).map(|_| (2, 1_000, "put = { key = \"k2\" }")));
    ops.extend([(2, 8_000, "compact = { at = -3 }"), (1, 8_200, "watch = { key = \"k2\", at = -20 }")]);
    passes(&plan(2, &ops), |report, events| {
        let told = |watch: u64| {
            let responses = events.iter().filter_map(move |(.., event)| match event {
                ClientEvent::WatchTold { op, response, .. } if *op == watch => Some(response.clone()),
                _ => None,
            });
            responses.collect::<Vec<_>>()
        };
        let revisions: Vec<u64> = told(1).iter().flat_map(|r| &r.events).map(|event| event.kv.mod_revision).collect();
        // The key of the lease, thirty puts, and somewhere among them or after them the lease's end.
        assert_eq!(revisions, (2..34).collect::<Vec<u64>>());
        assert!(told(35).iter().any(|r| r.canceled && r.compact_revision > 0), "{:?}", told(35));
        assert_eq!(report.probes["watch_compacted"], 1);
    });
}
