//! The golden traces of traces/, without TLC: they can be told in steps, and changed in all the ways that the suite wants.

use std::collections::BTreeMap;
use std::path::Path;

use conform::Batch;
use conform::mutate::{Family, Kind, mutations};
use history::{Stamped, TraceHeader};

/// Changes for each family and kind.
const EACH: usize = 4;

fn accepted() -> Vec<(TraceHeader, Vec<Stamped>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../traces/accepted");
    let mut paths: Vec<_> = std::fs::read_dir(dir).expect("traces/accepted").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths.iter().map(|path| history::read_trace(path).expect("a trace")).collect()
}

#[test]
fn golden_traces_have_steps_of_every_action() {
    let mut actions = BTreeMap::new();
    for (header, events) in accepted() {
        let mut batch = Batch::new(&header.voters, header.drift_ppm);
        batch.add(&events).expect("steps");
        batch.traces().flatten().for_each(|step| *actions.entry(step.action).or_insert(0) += 1);
    }
    let seen: Vec<&str> = actions.into_keys().collect();
    // RepeatVote takes a lost vote, and shows nothing that GrantVote does not; the shutdown and a lost disk are in the trace by hand and in runs.
    let expected = [
        "AcceptEntries",
        "AdvanceCommit",
        "AppendConfig",
        "AppendOwn",
        "Apply",
        "BecomeLeader",
        "Campaign",
        "CompactLog",
        "Crash",
        "Execute",
        "FastComplete",
        "FollowCommit",
        "GrantVote",
        "InstallSnapshot",
        "LeaderPropose",
        "Matched",
        "OpenFastPath",
        "Persist",
        "PoolDrop",
        "Propose",
        "ReadIndex",
        "ReadRequest",
        "Restart",
        "SaveSnapshot",
        "SaveState",
        "ServeRead",
        "SessionBegin",
        "SessionEnd",
        "StepDown",
        "SyncedComplete",
        "TakeSnapshot",
        "TransferLeader",
        "UpdateTerm",
        "UseConfig",
        "WitnessRecord",
    ];
    assert_eq!(seen, expected);
}

#[test]
fn every_family_and_kind_is_changed_and_always_in_the_same_way() {
    let traces = accepted();
    let events: Vec<&[Stamped]> = traces.iter().map(|(_, events)| events.as_slice()).collect();
    let made = mutations(&events, EACH);
    assert!(made.len() >= 80, "{}", made.len());
    // The lease by hand is in the unit tests; a golden one may come with the next making of these traces.
    let with_leases = events.iter().any(|trace| trace.iter().any(|e| matches!(e.event, history::Event::Lease(_))));
    for family in Family::ALL.into_iter().filter(|family| *family != Family::Leases || with_leases) {
        for kind in Kind::ALL {
            let count = made.iter().filter(|m| (m.family, m.kind) == (family, kind)).count();
            assert!(count >= EACH, "{family}, {kind}: {count}");
        }
    }
    for mutation in &made {
        let base = events[mutation.base];
        assert_ne!(mutation.events, base, "event {}: {}", mutation.event, mutation.label);
        assert_eq!(mutation.events[..mutation.from], base[..mutation.from], "unchanged before the change");
        let mut batch = Batch::new(&traces[mutation.base].0.voters, 0);
        // It names what the base names, as in the suite.
        batch.add(base).expect("steps");
        batch.add(&mutation.events).expect("a changed trace has steps, which the specification refuses");
    }
    assert_eq!(made, mutations(&events, EACH));
}
