//! Lawful runs that look odd: none may raise an alarm.

use std::sync::Arc;

use curp::{Event as NodeEvent, Payload, Record};
use history::{Promise, WorldEvent};
use kv::Response;

use super::cluster::{Cluster, entry, id, put};

#[test]
fn fast_rounds_commit_and_are_answered() {
    for n in [1, 2, 3, 4, 5, 6, 7] {
        let mut c = Cluster::ready(n);
        let everyone: Vec<_> = (1..=n).collect();
        let needed = super::super::quorum::super_quorum(n as usize);
        for seq in 1..=5 {
            c.fast(seq, &put(&format!("k{seq}"), "v"), &everyone[..needed]);
        }
        c.settle(1);
        for seq in 1..=5 {
            c.send(1, None, Promise::Synced { id: id(seq) });
            c.synced(seq, seq + 1, Response::Put { prev_kv: None });
        }
        c.legal();
        assert_eq!(c.monitor.applied_log().len(), 5);
        // Leases, watches and applications have their own tests.
        let of_consensus =
            ["recovery", "durability", "election-safety", "log-matching", "leader-completeness", "state-agreement", "revisions"];
        let evaluations = c.monitor.evaluations();
        assert!(of_consensus.iter().chain(&["exactly-once"]).all(|check| evaluations[check] > 0), "{evaluations:?}");
    }
}

#[test]
fn a_leader_dies_after_a_fast_round_and_the_next_recovers_it() {
    for (n, voters) in [(3, vec![3]), (4, vec![3, 4]), (5, vec![3, 4])] {
        let mut c = Cluster::ready(n);
        let needed = super::super::quorum::super_quorum(n as usize);
        let nodes: Vec<_> = (1..=n).collect();
        c.fast(1, &put("a", "1"), &nodes[..needed]);
        c.elect(2, 2, &voters);
        c.settle_with(2, &nodes[1..]);
        c.node(2, NodeEvent::OpenFastPath { term: 2 });
        c.reboot(1);
        c.settle(2);
        c.legal();
        assert_eq!(c.monitor.applied_log()[0].id, id(1));
    }
}

#[test]
fn the_result_of_a_fast_round_arrives_after_the_leader_was_deposed() {
    let mut c = Cluster::ready(3);
    let p = c.propose(1, &put("a", "1"));
    let response = c.execute(1, &p);
    c.record(2, &p);
    c.record(3, &p);
    c.elect(2, 2, &[3]);
    c.complete(1, 1, &[1, 2, 3], response);
    c.settle(2);
    c.legal();
}

#[test]
fn the_result_of_a_fast_round_arrives_after_the_commit() {
    let mut c = Cluster::ready(3);
    let p = c.propose(1, &put("a", "1"));
    let response = c.execute(1, &p);
    c.record(2, &p);
    c.record(3, &p);
    c.settle(1);
    c.fast(2, &put("a", "2"), &[1, 2, 3]);
    c.complete(1, 1, &[1, 2, 3], response);
    c.legal();
}

#[test]
fn an_incomplete_round_may_vanish_and_a_conflicting_one_may_take_its_place() {
    let mut c = Cluster::ready(3);
    let p = c.propose(1, &put("a", "1"));
    c.execute(1, &p);
    c.elect(2, 2, &[3]);
    c.settle_with(2, &[2, 3]);
    c.node(2, NodeEvent::OpenFastPath { term: 2 });
    let q = c.propose(2, &put("a", "2"));
    c.append(2, Payload::Command(q), false);
    c.settle(2);
    c.append(2, Payload::Command(p), false);
    c.settle(2);
    c.legal();
}

#[test]
fn a_retry_with_the_same_id_is_recovered_or_appended_by_the_next_leader() {
    let mut c = Cluster::ready(5);
    let p = c.propose(1, &put("a", "1"));
    let response = c.execute(1, &p);
    for witness in [2, 3, 4] {
        c.record(witness, &p);
    }
    // Node 5 leads with 1 and 2: recovered, and the round completes late.
    c.elect(5, 2, &[2, 3]);
    c.complete(1, 1, &[1, 2, 3, 4], response);
    c.settle(5);
    c.node(5, NodeEvent::OpenFastPath { term: 2 });
    c.fast(2, &put("a", "2"), &[5, 1, 2, 3]);
    c.settle(5);
    c.legal();
}

#[test]
fn a_stale_pool_entry_of_a_command_in_the_winners_log_is_skipped() {
    let mut c = Cluster::ready(3);
    c.fast(1, &put("a", "1"), &[1, 2, 3]);
    // Node 3 does not hear of the commit: its pool keeps the id, and it is in the next leader's log.
    c.settle_with(1, &[1, 2]);
    c.elect(2, 2, &[3]);
    c.settle(2);
    c.legal();
}

#[test]
fn a_vote_that_a_crash_took_may_be_given_anew() {
    let mut c = Cluster::ready(3);
    c.campaign(1, 2);
    c.update_term(3, 2);
    c.write_hard_state(3);
    c.node(3, NodeEvent::GrantVote { term: 2, candidate: 1, pool: Vec::new() });
    c.reboot(3);
    c.elect(2, 2, &[3]);
    c.settle(2);
    c.legal();
}

#[test]
fn everyone_restarts_and_applies_everything_again() {
    let mut c = Cluster::ready(3);
    for seq in 1..=3 {
        c.fast(seq, &put("a", &seq.to_string()), &[1, 2, 3]);
        c.settle(1);
    }
    for node in [1, 2, 3] {
        c.reboot(node);
    }
    c.elect(3, 2, &[1]);
    c.settle(3);
    c.node(3, NodeEvent::OpenFastPath { term: 2 });
    c.fast(4, &put("a", "4"), &[3, 1, 2]);
    c.settle(3);
    c.legal();
    assert_eq!(c.monitor.applied_log().len(), 4);
}

#[test]
fn a_killed_process_finds_in_the_page_cache_what_was_not_durable() {
    let mut c = Cluster::ready(3);
    let p = c.propose(1, &put("a", "1"));
    let e = entry(1, 3, &p);
    c.node(1, NodeEvent::LeaderPropose { entry: Arc::clone(&e), fast: false });
    c.world(1, WorldEvent::Crash { power: false, in_flight: 1, lost_bytes: 0 });
    c.node(
        1,
        NodeEvent::Restart {
            term: 1,
            vote: Some(1),
            commit: 0,
            last_index: 3,
            last_term: 1,
            pool: Vec::new(),
            base: curp::LogBase::default(),
            snapshot: 0,
            state_hash: 0,
            membership: curp::Membership::default(),
        },
    );
    // The repair's sync.
    c.write(1, &[Record::Entry(Arc::clone(&e))]);
    let m = c.nodes.get_mut(&1).expect("node 1");
    m.log.push(e);
    m.done = 0;
    m.commit = 0;
    m.store = super::cluster::Store::default();
    c.elect(1, 2, &[2]);
    c.settle(1);
    c.legal();
}

#[test]
fn a_killed_process_finds_in_the_page_cache_a_cut_that_was_not_durable() {
    let mut c = Cluster::ready(3);
    for seq in 1..=2 {
        let p = c.propose(seq, &put("a", "1"));
        c.append(1, Payload::Command(p), false);
    }
    c.elect(2, 2, &[3]);
    let noop = Arc::clone(&c.nodes[&2].log[2]);
    c.update_term(1, 2);
    c.node(1, NodeEvent::AcceptEntries { term: 2, from: 2, truncated: true, entries: vec![Arc::clone(&noop)] });
    c.world(1, WorldEvent::Crash { power: false, in_flight: 1, lost_bytes: 0 });
    c.node(
        1,
        NodeEvent::Restart {
            term: 2,
            vote: None,
            commit: 0,
            last_index: 3,
            last_term: 2,
            pool: Vec::new(),
            base: curp::LogBase::default(),
            snapshot: 0,
            state_hash: 0,
            membership: curp::Membership::default(),
        },
    );
    // The repair's sync.
    let hard_state = curp::HardState { term: 2, vote: None, commit: 0 };
    c.write(1, &[Record::HardState(hard_state), Record::Entry(Arc::clone(&noop))]);
    let m = c.nodes.get_mut(&1).expect("node 1");
    (m.done, m.commit, m.store) = (0, 0, super::cluster::Store::default());
    m.log.truncate(2);
    m.log.push(noop);
    let p = c.propose(3, &put("b", "1"));
    c.append(2, Payload::Command(p), false);
    c.settle(2);
    c.legal();
}

/// Found on a correct run (recovery 9065243): the entry in the page cache has the index of the one on the disk, and another term.
#[test]
fn a_killed_process_goes_on_from_a_replaced_entry_that_was_not_durable() {
    let mut c = Cluster::ready(3);
    let p = c.propose(1, &put("a", "1"));
    c.append(1, Payload::Command(p), false);
    c.elect(2, 2, &[3]);
    let noop = Arc::clone(&c.nodes[&2].log[2]);
    c.update_term(1, 2);
    c.node(1, NodeEvent::AcceptEntries { term: 2, from: 2, truncated: true, entries: vec![noop] });
    c.world(1, WorldEvent::Crash { power: false, in_flight: 1, lost_bytes: 0 });
    c.node(
        1,
        NodeEvent::Restart {
            term: 2,
            vote: None,
            commit: 0,
            last_index: 3,
            last_term: 2,
            pool: Vec::new(),
            base: curp::LogBase::default(),
            snapshot: 0,
            state_hash: 0,
            membership: curp::Membership::default(),
        },
    );
    let p = c.propose(3, &put("b", "1"));
    c.append(2, Payload::Command(p), false);
    let next = Arc::clone(&c.nodes[&2].log[3]);
    c.node(1, NodeEvent::AcceptEntries { term: 2, from: 2, truncated: false, entries: vec![next] });
    c.legal();
}

/// Found on a correct run (registry 64043233): the same, and the first that is heard of the process is that the entry is committed.
#[test]
fn a_killed_process_commits_a_replaced_entry_that_was_not_durable() {
    let mut c = Cluster::ready(3);
    let p = c.propose(1, &put("a", "1"));
    c.append(1, Payload::Command(p), false);
    c.elect(2, 2, &[3]);
    let noop = Arc::clone(&c.nodes[&2].log[2]);
    c.settle_with(2, &[2, 3]);
    c.update_term(1, 2);
    c.node(1, NodeEvent::AcceptEntries { term: 2, from: 2, truncated: true, entries: vec![noop] });
    c.world(1, WorldEvent::Crash { power: false, in_flight: 1, lost_bytes: 0 });
    c.node(
        1,
        NodeEvent::Restart {
            term: 2,
            vote: None,
            commit: 0,
            last_index: 3,
            last_term: 2,
            pool: Vec::new(),
            base: curp::LogBase::default(),
            snapshot: 0,
            state_hash: 0,
            membership: curp::Membership::default(),
        },
    );
    c.node(1, NodeEvent::AdvanceCommit { term: 2, commit: 3, counted: false });
    c.legal();
}

#[test]
fn a_late_vote_makes_a_leader_of_an_old_term_after_a_later_one_committed() {
    let mut c = Cluster::ready(5);
    c.campaign(2, 2);
    for voter in [3, 4] {
        c.grant(voter, 2, 2);
    }
    // The votes are on their way; meanwhile term 3 elects and commits without node 2.
    c.elect(5, 3, &[3, 4]);
    c.settle_with(5, &[5, 3, 4]);
    c.become_leader(2, 2, &[2, 3, 4], &[]);
    c.settle(5);
    c.legal();
}

#[test]
fn an_uncommitted_tail_is_replaced_and_its_pool_record_stays() {
    let mut c = Cluster::ready(3);
    let p = c.propose(1, &put("a", "1"));
    c.execute(1, &p);
    c.elect(2, 2, &[3]);
    c.settle(2);
    assert_eq!(c.ids(1), [id(1)]);
    c.legal();
}

#[test]
fn a_damaged_disk_is_not_electable() {
    let mut c = Cluster::ready(3);
    c.fast(1, &put("a", "1"), &[1, 2, 3]);
    c.damage(3, &storage::segment_name(1), 60);
    c.elect(1, 2, &[2]);
    c.settle_with(1, &[1, 2]);
    c.legal();
}
