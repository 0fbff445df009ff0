//! Snapshots, compaction, installs and the shutdown, by the book and not.

use curp::{Event as NodeEvent, LogBase, Payload, Record, SnapshotMeta};
use history::WorldEvent;

use super::super::{durability as d, election_safety as e, log_matching as m, recovery as q, snapshots as s, state_agreement as a};
use super::cluster::{Cluster, id, put};

/// Node 1 leads, with a snapshot of everything and a log that begins just before its last entry; node 3 lacks three entries.
fn compacted() -> Cluster {
    let mut c = Cluster::ready(3);
    for seq in 1..=3 {
        let p = c.propose(seq, &put("a", &seq.to_string()));
        c.append(1, Payload::Command(p), false);
    }
    c.fast(4, &put("b", "4"), &[1, 2, 3]);
    c.settle_with(1, &[1, 2]);
    c.take_snapshot(1);
    let last = c.last(1);
    c.compact(1, last - 1);
    c
}

#[test]
fn a_log_is_compacted_and_its_node_starts_from_the_snapshot() {
    let mut c = compacted();
    c.take_snapshot(2);
    let last = c.last(2);
    c.compact(2, last);
    for node in [1, 2] {
        c.reboot(node);
    }
    c.elect(2, 2, &[1]);
    c.settle_with(2, &[1, 2]);
    c.node(2, NodeEvent::OpenFastPath { term: 2 });
    c.update_term(3, 2);
    c.write_hard_state(3);
    c.fast(5, &put("a", "5"), &[2, 1, 3]);
    c.settle_with(2, &[1, 2]);
    c.legal();
    assert_eq!(c.monitor.applied_log().len(), 5, "nobody has the whole log any more, but the observer");
}

#[test]
fn a_follower_that_lags_behind_installs_a_snapshot_and_goes_on() {
    let mut c = compacted();
    assert_eq!(c.ids(3), [id(4)]);
    c.install(1, 3);
    assert!(c.ids(3).is_empty());
    c.fast(5, &put("b", "5"), &[1, 2, 3]);
    c.settle(1);
    c.reboot(3);
    c.elect(3, 2, &[2]);
    c.settle(3);
    c.legal();
    assert_eq!(c.monitor.applied_log().len(), 5);
}

#[test]
fn a_configuration_comes_with_a_snapshot() {
    let mut c = Cluster::ready(3);
    c.empty(4);
    c.started(4);
    c.change(1, &curp::ConfigChange::AddLearner { node: 4, address: "there".to_owned() });
    c.settle_with(1, &[1, 2, 3]);
    c.take_snapshot(1);
    let last = c.last(1);
    c.compact(1, last);
    c.install(1, 4);
    assert_eq!(c.config(4).learners, [4]);
    c.change(1, &curp::ConfigChange::Promote { node: 4 });
    c.settle(1);
    c.reboot(4);
    c.elect(4, 2, &[2, 3]);
    c.settle(4);
    c.legal();
}

#[test]
fn a_killed_process_finds_an_installed_snapshot_in_the_page_cache() {
    let mut c = compacted();
    let meta = c.nodes[&1].snapshot.clone().expect("a snapshot");
    let state_hash = c.nodes[&1].saved.hash;
    c.node(3, NodeEvent::InstallSnapshot { term: 1, from: 1, index: meta.index, last_term: 1, state_hash });
    c.node(3, NodeEvent::PoolDrop { id: id(4) });
    c.world(3, WorldEvent::Crash { power: false, in_flight: 1, lost_bytes: 0 });
    let (log, saved) = (c.nodes[&1].log.clone(), c.nodes[&1].saved.clone());
    let node = c.nodes.get_mut(&3).expect("node 3");
    (node.log, node.base) = (log, LogBase { index: meta.index, term: 1 });
    (node.commit, node.done, node.store) = (meta.index, meta.index, saved.clone());
    (node.snapshot, node.saved) = (Some(meta.clone()), saved);
    node.pool.clear();
    c.started(3);
    c.file(3, &meta);
    c.write(3, &[Record::Snapshot(meta), Record::PoolRemove(id(4))]);
    c.fast(5, &put("b", "5"), &[1, 2, 3]);
    c.settle(1);
    c.legal();
}

#[test]
fn a_snapshot_with_a_wrong_label() {
    let mut c = Cluster::ready(3);
    let p = c.propose(1, &put("a", "1"));
    c.append(1, Payload::Command(p), false);
    let state_hash = c.nodes[&1].store.hash;
    c.node(1, NodeEvent::TakeSnapshot { index: 3, term: 1, state_hash });
    c.broken("state-agreement", s::APPLIED);
    c.broken("state-agreement", s::COMMITTED);
}

#[test]
fn a_snapshot_of_another_state() {
    let mut c = Cluster::ready(3);
    c.node(1, NodeEvent::TakeSnapshot { index: 2, term: 1, state_hash: 7 });
    c.broken("state-agreement", s::SAME_STATE);
    let mut c = compacted();
    let index = c.nodes[&1].done;
    c.node(3, NodeEvent::InstallSnapshot { term: 1, from: 1, index, last_term: 1, state_hash: 7 });
    c.broken("state-agreement", s::SAME_STATE);
    let mut c = compacted();
    c.nodes.get_mut(&1).expect("node 1").saved.hash += 1;
    c.reboot(1);
    c.broken("state-agreement", s::SAME_STATE);
}

#[test]
fn a_record_of_a_snapshot_that_is_not_of_committed_entries() {
    let mut c = Cluster::ready(3);
    let p = c.propose(1, &put("a", "1"));
    c.append(1, Payload::Command(p), false);
    let meta = SnapshotMeta { index: 3, term: 1, membership: c.config(1) };
    c.save(1, meta, super::cluster::Store::default());
    c.broken("state-agreement", s::COMMITTED);
    // Beyond every log.
    let mut c = Cluster::ready(3);
    let meta = SnapshotMeta { index: 9, term: 4, membership: c.config(1) };
    c.save(1, meta, super::cluster::Store::default());
    let v = c.broken("state-agreement", s::COMMITTED);
    assert_eq!(v.message, "node 1's disk refers to a snapshot of entry 9 of term 4, but only 2 entries are committed");
}

#[test]
fn a_snapshot_with_the_configuration_of_another_index() {
    let mut c = Cluster::ready(3);
    c.change(1, &curp::ConfigChange::AddLearner { node: 4, address: String::new() });
    // The latest in the log, and not the one as of entry 2.
    let meta = SnapshotMeta { index: 2, term: 1, membership: c.config(1) };
    let saved = c.nodes[&1].store.clone();
    c.save(1, meta, saved);
    c.broken("state-agreement", s::SAME_CONFIG);
}

#[test]
fn an_install_that_goes_back() {
    let mut c = compacted();
    let p = c.propose(5, &put("c", "5"));
    c.append(1, Payload::Command(p), false);
    c.settle_with(1, &[1, 2]);
    let (index, state_hash) = (c.nodes[&1].snapshot.clone().expect("a snapshot").index, c.nodes[&1].saved.hash);
    c.node(2, NodeEvent::InstallSnapshot { term: 1, from: 1, index, last_term: 1, state_hash });
    c.broken("state-agreement", s::FORWARD);
}

#[test]
fn an_install_at_the_word_of_a_deposed_leader() {
    let mut c = compacted();
    c.elect(2, 2, &[3]);
    c.legal();
    let (index, state_hash) = (c.nodes[&1].done, c.nodes[&1].saved.hash);
    c.node(3, NodeEvent::InstallSnapshot { term: 2, from: 1, index, last_term: 1, state_hash });
    let v = c.broken("log-matching", m::INSTALLS);
    assert_eq!(
        v.message,
        format!("node 3, which was in term 2, installed the snapshot of entry {index} from node 1, but term 2 is led by node 2")
    );
}

#[test]
fn an_install_that_takes_the_term_back() {
    let mut c = compacted();
    c.campaign(3, 2);
    let (index, state_hash) = (c.nodes[&1].done, c.nodes[&1].saved.hash);
    c.node(3, NodeEvent::InstallSnapshot { term: 1, from: 1, index, last_term: 1, state_hash });
    c.broken("election-safety", e::TERM_KEPT);
    c.broken("log-matching", m::INSTALLS);
    let mut c = compacted();
    c.campaign(3, 2);
    c.legal();
    c.write(3, &[Record::HardState(curp::HardState { term: 1, vote: None, commit: 0 })]);
    c.broken("election-safety", e::TERM_KEPT);
}

#[test]
fn an_install_clears_the_pool() {
    let mut c = compacted();
    // Completed after the snapshot: it does not cover it.
    c.fast(5, &put("c", "5"), &[1, 2, 3]);
    c.install(1, 3);
    assert_eq!(c.ids(3), [id(5)]);
    c.legal();
    c.node(3, NodeEvent::PoolDrop { id: id(5) });
    c.broken("recovery", q::POOL_KEEPS);
}

#[test]
fn a_log_is_compacted_beyond_the_durable_snapshot() {
    let mut c = compacted();
    let p = c.propose(5, &put("c", "5"));
    c.append(1, Payload::Command(p), false);
    c.settle_with(1, &[1, 2]);
    let last = c.last(1);
    c.node(1, NodeEvent::CompactLog { base: LogBase { index: last, term: 1 } });
    c.broken("durability", d::COVERED);
    let mut c = Cluster::ready(3);
    c.node(1, NodeEvent::CompactLog { base: LogBase { index: 1, term: 1 } });
    c.broken("durability", d::COVERED);
}

#[test]
fn a_restart_replays_from_the_first_entry_or_forgets_its_snapshot() {
    let mut c = compacted();
    c.reboot(1);
    c.legal();
    c.node(1, NodeEvent::Apply { index: 1, id: None, outcome: curp::Applied::Nothing, state_hash: c.nodes[&1].store.hash });
    c.broken("state-agreement", a::IN_ORDER);
    let mut c = compacted();
    let node = c.nodes.get_mut(&1).expect("node 1");
    (node.snapshot, node.saved) = (None, super::cluster::Store::default());
    c.reboot(1);
    c.broken("durability", d::FINDS_DISK);
}

#[test]
fn the_cluster_shuts_down_and_starts_again() {
    let mut c = Cluster::ready(3);
    c.append(1, Payload::Shutdown, false);
    c.settle(1);
    let index = c.last(1);
    for node in [1, 2, 3] {
        c.node(node, NodeEvent::ShutDown { index });
        c.reboot(node);
    }
    c.elect(2, 2, &[3]);
    c.settle(2);
    c.legal();
}

#[test]
fn a_node_stops_before_it_has_applied_the_shutdown() {
    let mut c = Cluster::ready(3);
    c.append(1, Payload::Shutdown, false);
    c.replicate(1, 2);
    let index = c.last(2);
    c.node(2, NodeEvent::ShutDown { index });
    c.broken("state-agreement", s::STOPS);
}

#[test]
fn a_record_refers_to_a_snapshot_before_its_file_is_there() {
    let mut c = Cluster::ready(3);
    let meta = SnapshotMeta { index: 2, term: 1, membership: c.config(1) };
    c.write(1, &[Record::Snapshot(meta.clone())]);
    let v = c.broken("durability", d::FILE_FIRST);
    assert!(v.message.contains("the snapshot that the log refers to is missing"), "{}", v.message);
}

#[test]
fn the_file_of_the_snapshot_that_a_start_needs_is_removed_or_damaged() {
    let mut c = compacted();
    let file = storage::snapshot_name(c.nodes[&1].done);
    c.world(1, WorldEvent::DiskRemove { file: file.clone() });
    c.broken("durability", d::FILE_FIRST);
    // From outside it is nobody's fault, and the node cannot be elected.
    let mut c = compacted();
    c.damage(1, &file, 50);
    c.fast(5, &put("c", "5"), &[1, 2, 3]);
    c.elect(2, 2, &[3]);
    c.legal();
    // It does not start.
    c.reboot(1);
    c.broken("durability", d::CORRUPT);
}
