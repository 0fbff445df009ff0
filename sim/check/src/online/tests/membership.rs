//! Changes of the configuration, by the book and not: who counts, by which voters, and which lost nodes never come back.

use std::sync::Arc;

use curp::{ConfigChange, ConfigVersion, Entry, Event as NodeEvent, Membership, NodeId, Payload};
use history::{Promise, WorldEvent};
use kv::Response;

use super::super::{configuration as c9n, durability as d, election_safety as e, leader_completeness as l, recoverable, recovery as q};
use super::cluster::{Cluster, put};

fn add(node: NodeId) -> ConfigChange {
    ConfigChange::AddLearner { node, address: "10.0.0.4:2380".to_owned() }
}

fn promote(node: NodeId) -> ConfigChange {
    ConfigChange::Promote { node }
}

fn remove(node: NodeId) -> ConfigChange {
    ConfigChange::Remove { node }
}

/// Three voters and a learner, node 4, which has everything.
fn with_learner() -> Cluster {
    let mut c = Cluster::ready(3);
    c.empty(4);
    c.started(4);
    c.change(1, &add(4));
    c.settle(1);
    c
}

#[test]
fn a_cluster_grows_to_five_and_shrinks_again_with_fast_rounds_and_elections_between() {
    let mut c = Cluster::ready(3);
    c.fast(1, &put("a", "1"), &[1, 2, 3]);
    c.join(1, 4);
    c.fast(2, &put("a", "2"), &[1, 2, 4]);
    c.join(1, 5);
    assert_eq!(c.config(3).voters, [1, 2, 3, 4, 5]);
    c.fast(3, &put("a", "3"), &[1, 2, 4, 5]);
    // The round is recovered from the pools of a quorum of five.
    c.elect(4, 2, &[5, 2]);
    c.settle_with(4, &[2, 3, 4, 5]);
    c.node(4, NodeEvent::OpenFastPath { term: 2 });
    c.settle(4);
    for node in [1, 2] {
        c.change(4, &remove(node));
        c.settle(4);
    }
    c.fast(4, &put("a", "4"), &[4, 3, 5]);
    c.settle(4);
    c.reboot(3);
    c.elect(5, 3, &[4]);
    c.settle_with(5, &[3, 4, 5]);
    c.legal();
    assert_eq!(c.monitor.applied_log().len(), 4);
}

#[test]
fn a_change_that_is_cut_off_is_undone() {
    let mut c = Cluster::ready(3);
    c.change(1, &add(4));
    c.elect(2, 2, &[3]);
    c.settle(2);
    assert!(c.config(1).learners.is_empty());
    c.legal();
}

#[test]
fn a_leader_that_removes_itself_does_not_count_itself() {
    let mut c = Cluster::ready(3);
    c.change(1, &remove(1));
    c.settle(1);
    c.elect(2, 2, &[3]);
    c.settle_with(2, &[2, 3]);
    c.legal();

    let mut c = Cluster::ready(3);
    c.change(1, &remove(1));
    c.replicate(1, 2);
    let last = c.last(1);
    c.commit(1, last, true);
    let v = c.broken("durability", d::COUNTED);
    assert!(v.message.contains("of its voters only nodes 2 have it on disk, and a quorum is 2"), "{}", v.message);
}

#[test]
fn a_configuration_stays_in_force_after_its_entry_was_cut_off() {
    let mut c = Cluster::ready(3);
    c.change(1, &add(4));
    c.elect(2, 2, &[3]);
    c.update_term(1, 2);
    let noop = Arc::clone(&c.nodes[&2].log[2]);
    c.node(1, NodeEvent::AcceptEntries { term: 2, from: 2, truncated: true, entries: vec![noop] });
    c.legal();
    c.node(1, NodeEvent::UpdateTerm { term: 3 });
    let v = c.broken("election-safety", c9n::IN_FORCE);
    assert_eq!(v.message, "node 1 goes by the configuration of version (1, 3), though the latest in its log is that of (0, 0)");
}

#[test]
fn a_node_restarts_with_another_configuration() {
    let mut c = with_learner();
    c.world(2, WorldEvent::Crash { power: true, in_flight: 0, lost_bytes: 0 });
    let NodeEvent::Restart { term, vote, commit, last_index, last_term, pool, base, snapshot, state_hash, .. } = c.restart(2) else {
        unreachable!("a restart")
    };
    let membership = Membership::initial([1, 2, 3]);
    c.node(2, NodeEvent::Restart { term, vote, commit, last_index, last_term, pool, base, snapshot, state_hash, membership });
    c.broken("election-safety", c9n::IN_FORCE);
}

#[test]
fn a_version_that_is_a_number_counted_up() {
    let mut c = Cluster::ready(3);
    let Payload::Config { change, membership } = c.changed(1, &add(4)) else { unreachable!("a configuration") };
    let membership = Arc::new(Membership { version: ConfigVersion { term: 0, index: 1 }, ..(*membership).clone() });
    c.append(1, Payload::Config { change, membership }, false);
    c.broken("election-safety", c9n::VERSION);
}

#[test]
fn a_change_before_the_fast_path_is_open() {
    let mut c = Cluster::ready(3);
    c.elect(2, 2, &[3]);
    c.change(2, &add(4));
    c.broken("election-safety", c9n::OPEN_FIRST);
}

#[test]
fn a_change_of_two_members() {
    let mut c = Cluster::ready(3);
    let Payload::Config { change, membership } = c.changed(1, &add(4)) else { unreachable!("a configuration") };
    let membership = Arc::new(Membership { learners: vec![4, 5], ..(*membership).clone() });
    c.append(1, Payload::Config { change, membership }, false);
    let v = c.broken("election-safety", c9n::ONE_STEP);
    assert!(v.message.contains("to voters 1, 2 and 3 and learners 4 and 5 in one step"), "{}", v.message);
}

/// The first of two changes is not committed, so that two majorities need not meet: both elect, or one commits what the other does not know.
#[test]
fn two_changes_at_once() {
    let mut c = with_learner();
    c.empty(5);
    c.started(5);
    c.change(1, &add(5));
    c.settle(1);
    c.change(1, &promote(4));
    c.legal();
    c.change(1, &promote(5));
    c.broken("election-safety", c9n::ONE_AT_A_TIME);
    for node in [4, 5] {
        c.replicate(1, node);
    }
    let last = c.last(1);
    c.commit(1, last, true);
    let v = c.broken("leader-completeness", l::COULD);
    assert!(v.message.contains("node 2 does not have it on its disk and could win an election now"), "{}", v.message);
}

#[test]
fn a_learner_is_counted() {
    // In a fast round.
    let mut c = with_learner();
    c.fast(1, &put("a", "1"), &[1, 2, 4]);
    c.broken("recovery", q::SUPER_QUORUM);
    c.broken("recovery", recoverable::LOST);
    // In a commit.
    let mut c = with_learner();
    let p = c.propose(1, &put("a", "1"));
    c.append(1, Payload::Command(p), false);
    c.replicate(1, 4);
    let last = c.last(1);
    c.commit(1, last, true);
    c.broken("durability", d::COUNTED);
    // In an election.
    let mut c = with_learner();
    c.elect(2, 2, &[4]);
    c.broken("election-safety", e::BY_QUORUM);
    c.broken("recovery", q::EXACT_QUORUM);
    // As its own voter.
    let mut c = with_learner();
    c.elect(4, 2, &[2, 3]);
    c.broken("election-safety", e::BY_QUORUM);
}

#[test]
fn an_accept_by_another_configuration() {
    let mut c = with_learner();
    c.change(1, &promote(4));
    c.settle_with(1, &[1, 2, 4]);
    // Node 3 has not heard of the promotion.
    let p = c.propose(1, &put("a", "1"));
    let response = c.execute(1, &p);
    c.record(2, &p);
    c.record(3, &p);
    c.complete(1, 1, &[1, 2, 3], response);
    let v = c.broken("recovery", q::ACCEPTED_IN_CONFIG);
    assert!(
        v.message.contains("by the configuration of version (1, 4), counting node 3, which accepted it going by that of version (1, 3)"),
        "{}",
        v.message
    );
}

#[test]
fn a_fast_round_by_a_configuration_that_is_nowhere() {
    let mut c = Cluster::ready(3);
    let p = c.propose(1, &put("a", "1"));
    let response = c.execute(1, &p);
    c.record(2, &p);
    c.record(3, &p);
    c.complete_by(1, (1, ConfigVersion { term: 0, index: 1 }), &[1, 2, 3], response);
    c.broken("recovery", q::CONFIG_EXISTS);
}

#[test]
fn a_command_is_fast_while_a_change_or_the_shutdown_is_not_applied() {
    for payload in [None, Some(Payload::Shutdown)] {
        let mut c = Cluster::ready(3);
        let payload = payload.unwrap_or_else(|| c.changed(1, &add(4)));
        c.append(1, payload, false);
        c.legal();
        let p = c.propose(1, &put("a", "1"));
        c.execute(1, &p);
        c.broken("recovery", q::SLOW_WHILE_CHANGING);
    }
}

#[test]
fn a_node_that_lost_its_disk_is_replaced_under_a_new_id() {
    let mut c = Cluster::ready(3);
    c.fast(1, &put("a", "1"), &[1, 2, 3]);
    c.world(3, WorldEvent::Crash { power: true, in_flight: 0, lost_bytes: 0 });
    c.world(3, WorldEvent::DiskLost);
    c.world(3, WorldEvent::DiskRemove { file: storage::segment_name(1) });
    c.world(3, WorldEvent::Fatal { reason: "the disk is empty, and this is not the first start".to_owned() });
    c.nodes.remove(&3);
    c.settle(1);
    c.join(1, 4);
    c.change(1, &remove(3));
    c.settle(1);
    c.fast(2, &put("a", "2"), &[1, 2, 4]);
    c.elect(4, 2, &[2]);
    c.settle(4);
    c.legal();
}

/// What it acknowledged before the loss was counted with reason.
#[test]
fn an_acknowledgement_arrives_after_its_sender_lost_its_disk() {
    let mut c = Cluster::ready(3);
    let p = c.propose(1, &put("a", "1"));
    c.append(1, Payload::Command(p), false);
    c.replicate(1, 2);
    c.world(2, WorldEvent::Crash { power: true, in_flight: 0, lost_bytes: 0 });
    c.world(2, WorldEvent::DiskLost);
    let last = c.last(1);
    c.node(1, NodeEvent::Matched { term: 1, peer: 2, index: last });
    c.commit(1, last, true);
    c.legal();
}

#[test]
fn a_node_that_lost_its_disk_takes_part_again_under_its_id() {
    let mut c = Cluster::ready(3);
    let p = c.fast(1, &put("a", "1"), &[1, 2, 3]);
    c.world(3, WorldEvent::Crash { power: true, in_flight: 0, lost_bytes: 0 });
    c.world(3, WorldEvent::DiskLost);
    c.legal();
    c.empty(3);
    c.started(3);
    c.broken("durability", d::CORRUPT);
    let lost = c.broken("recovery", recoverable::LOST);
    assert!(lost.message.contains("of these only node 2 has it in the spec pool, where 2 are needed"), "{}", lost.message);
    c.update_term(3, 1);
    c.write_hard_state(3);
    c.record(3, &p);
    c.broken("recovery", q::NEVER_AGAIN);
    c.send(3, None, Promise::Record { term: 1, id: p.id });
    c.broken("durability", d::NEVER_AGAIN);
    c.campaign(2, 2);
    c.grant(3, 2, 2);
    c.broken("election-safety", e::NEVER_AGAIN);
}

/// A configuration's entry is like any other in a log: here one that is not committed is found after a kill, and its node counts by it.
#[test]
fn a_killed_process_finds_a_configuration_in_the_page_cache() {
    let mut c = with_learner();
    let payload = c.changed(1, &promote(4));
    let entry = Arc::new(Entry { term: 1, index: c.last(1) + 1, payload });
    let membership = entry.membership().map(|m| (**m).clone()).expect("a configuration");
    c.node(1, NodeEvent::LeaderPropose { entry: Arc::clone(&entry), fast: false });
    c.node(1, NodeEvent::UseConfig { term: 1, membership, cause: curp::ConfigCause::Appended });
    c.world(1, WorldEvent::Crash { power: false, in_flight: 1, lost_bytes: 0 });
    let m = c.nodes.get_mut(&1).expect("node 1");
    m.log.push(Arc::clone(&entry));
    (m.commit, m.done, m.store) = (0, 0, super::cluster::Store::default());
    c.started(1);
    c.write(1, &[curp::Record::Entry(entry)]);
    c.elect(1, 2, &[2, 3]);
    c.settle(1);
    c.node(1, NodeEvent::OpenFastPath { term: 2 });
    c.legal();
}

#[test]
fn answers_of_a_cluster_that_changed_are_final() {
    let mut c = Cluster::ready(3);
    c.join(1, 4);
    c.fast(1, &put("a", "1"), &[1, 2, 4]);
    c.settle(1);
    c.send(1, None, Promise::Synced { id: super::cluster::id(1) });
    c.synced(1, 2, Response::Put { prev_kv: None });
    c.legal();
}
