//! `durability` and `election-safety`: each rule broken.

use std::sync::Arc;

use curp::{Event as NodeEvent, HardState, Payload, Record};
use history::{ClientEvent, Promise, WorldEvent};
use kv::Response;

use super::super::{durability as d, election_safety as e};
use super::cluster::{Cluster, entry, id, put};

#[test]
fn a_message_of_a_term_that_is_not_durable() {
    let mut c = Cluster::ready(3);
    c.update_term(3, 2);
    c.send(3, Some(1), Promise::Term { term: 2 });
    c.broken("durability", d::TERM_FIRST);
}

#[test]
fn a_vote_that_is_not_durable_is_given_twice() {
    let mut c = Cluster::ready(3);
    c.campaign(2, 2);
    c.update_term(3, 2);
    c.node(3, NodeEvent::GrantVote { term: 2, candidate: 2, pool: Vec::new() });
    c.send(3, Some(2), Promise::Vote { term: 2 });
    c.broken("durability", d::VOTE_FIRST);
    c.broken("election-safety", e::ON_DISK);
    let last_index = c.last(3);
    c.world(3, WorldEvent::Crash { power: true, in_flight: 0, lost_bytes: 0 });
    c.node(
        3,
        NodeEvent::Restart {
            term: 1,
            vote: Some(1),
            commit: 0,
            last_index,
            last_term: 1,
            pool: Vec::new(),
            base: curp::LogBase::default(),
            snapshot: 0,
            state_hash: 0,
            membership: curp::Membership::default(),
        },
    );
    c.broken("durability", d::PROMISED_TERM);
    c.broken("election-safety", e::REMEMBERED);
    c.nodes.get_mut(&3).expect("node 3").term = 1;
    c.campaign(1, 2);
    c.grant(3, 2, 1);
    c.broken("election-safety", e::ONE_VOTE);
    c.become_leader(2, 2, &[2, 3], &[]);
    c.become_leader(1, 2, &[1, 3], &[]);
    c.broken("election-safety", e::ONE_LEADER);
}

#[test]
fn a_candidacy_that_is_not_durable() {
    let mut c = Cluster::ready(3);
    c.node(2, NodeEvent::Campaign { term: 2 });
    c.send(2, None, Promise::Term { term: 2 });
    c.broken("election-safety", e::ON_DISK);
}

#[test]
fn a_vote_of_a_term_lower_than_one_promised() {
    let mut c = Cluster::ready(3);
    c.campaign(2, 3);
    c.node(2, NodeEvent::GrantVote { term: 2, candidate: 1, pool: Vec::new() });
    c.broken("election-safety", e::NO_OLD_VOTE);
    c.broken("durability", d::TERM_RISES);
}

#[test]
fn a_leader_without_a_quorum_of_votes() {
    let mut c = Cluster::ready(3);
    c.campaign(2, 2);
    c.become_leader(2, 2, &[2, 3], &[]);
    let v = c.broken("election-safety", e::BY_QUORUM);
    assert!(v.message.contains("on the word of nodes 2 and 3, but of its voters only nodes 2 voted"), "{}", v.message);
}

#[test]
fn acknowledgements_before_their_writes() {
    let mut c = Cluster::ready(3);
    let p = c.propose(1, &put("a", "1"));
    let new = entry(1, 3, &p);
    c.node(1, NodeEvent::LeaderPropose { entry: Arc::clone(&new), fast: true });
    c.send(1, None, Promise::Fast { term: 1, id: id(1) });
    c.broken("durability", d::FAST_FIRST);
    c.node(2, NodeEvent::AcceptEntries { term: 1, from: 1, truncated: false, entries: vec![new] });
    c.send(2, Some(1), Promise::Append { term: 1, index: 3, entry_term: 1 });
    c.broken("durability", d::APPEND_FIRST);
    c.node(
        3,
        NodeEvent::WitnessRecord { term: 1, asked: 1, config: curp::ConfigVersion::default(), proposal: p, accepted: true, inserted: true },
    );
    c.send(3, None, Promise::Record { term: 1, id: id(1) });
    c.broken("durability", d::RECORD_FIRST);
    c.node(1, NodeEvent::AdvanceCommit { term: 1, commit: 3, counted: true });
    let v = c.broken("durability", d::COUNTED);
    assert!(
        v.message.contains("counted put(a, 1) (2.1) at index 3 as committed, but of its voters only nodes none have it on disk"),
        "{}",
        v.message
    );
    c.node(1, NodeEvent::Apply { index: 3, id: Some(id(1)), outcome: curp::Applied::Duplicate, state_hash: 0 });
    c.broken("durability", d::APPLIED);
}

#[test]
fn an_old_acknowledgement_of_an_entry_that_a_later_term_replaced() {
    let mut c = Cluster::ready(3);
    let p = c.propose(1, &put("a", "1"));
    c.execute(1, &p);
    c.elect(2, 2, &[3]);
    c.settle(2);
    c.send(1, None, Promise::Fast { term: 1, id: id(1) });
    c.send(1, Some(3), Promise::Append { term: 1, index: 3, entry_term: 1 });
    c.legal();
}

#[test]
fn a_final_answer_before_commit() {
    let mut c = Cluster::ready(3);
    c.fast(1, &put("a", "1"), &[1, 2, 3]);
    c.send(1, None, Promise::Synced { id: id(1) });
    c.broken("durability", d::SYNCED_FIRST);
    c.synced(1, 2, Response::Put { prev_kv: None });
    c.broken("durability", d::ACKNOWLEDGED);
}

#[test]
fn a_committed_entry_is_cut_or_replaced() {
    let mut c = Cluster::ready(3);
    c.fast(1, &put("a", "1"), &[1, 2, 3]);
    c.settle(1);
    let q = c.propose(2, &put("b", "2"));
    let r = entry(2, 3, &q);
    c.update_term(3, 2);
    c.node(3, NodeEvent::AcceptEntries { term: 2, from: 2, truncated: true, entries: vec![r] });
    let v = c.broken("durability", d::KEPT);
    assert_eq!(v.message, "node 3 cut put(a, 1) (2.1) at index 3 from its log, which was committed in term 1");
}

#[test]
fn commit_and_term_go_back() {
    let mut c = Cluster::ready(3);
    c.node(2, NodeEvent::AdvanceCommit { term: 1, commit: 1, counted: false });
    c.broken("durability", d::COMMIT_RISES);
    c.node(2, NodeEvent::AdvanceCommit { term: 1, commit: 9, counted: false });
    c.broken("durability", d::COMMIT_KNOWN);

    let mut c = Cluster::ready(3);
    c.write(2, &[Record::HardState(HardState { term: 0, vote: None, commit: 0 })]);
    c.broken("durability", d::TERM_RISES);
    let mut c = Cluster::ready(3);
    c.write(2, &[Record::HardState(HardState { term: 1, vote: Some(1), commit: 2 })]);
    c.legal();
    c.write(2, &[Record::HardState(HardState { term: 1, vote: Some(1), commit: 1 })]);
    c.broken("durability", d::COMMIT_RISES);
}

#[test]
fn a_restart_that_does_not_find_the_disk() {
    let mut c = Cluster::ready(3);
    c.world(2, WorldEvent::Crash { power: true, in_flight: 0, lost_bytes: 0 });
    c.node(
        2,
        NodeEvent::Restart {
            term: 1,
            vote: Some(1),
            commit: 0,
            last_index: 1,
            last_term: 1,
            pool: Vec::new(),
            base: curp::LogBase::default(),
            snapshot: 0,
            state_hash: 0,
            membership: curp::Membership::default(),
        },
    );
    c.broken("durability", d::FINDS_DISK);
}

#[test]
fn a_start_from_a_damaged_log() {
    let mut c = Cluster::ready(3);
    let file = storage::segment_name(1);
    // One byte of an early frame; the later frames' marks tell that it was synced.
    c.damage(3, &file, 60);
    c.world(3, WorldEvent::Crash { power: true, in_flight: 0, lost_bytes: 0 });
    c.node(
        3,
        NodeEvent::Restart {
            term: 1,
            vote: None,
            commit: 0,
            last_index: 2,
            last_term: 1,
            pool: Vec::new(),
            base: curp::LogBase::default(),
            snapshot: 0,
            state_hash: 0,
            membership: curp::Membership::default(),
        },
    );
    c.broken("durability", d::CORRUPT);
}

#[test]
fn giving_up_and_dying_clients_promise_nothing() {
    let mut c = Cluster::ready(3);
    let p = c.propose(1, &put("a", "1"));
    c.append(1, Payload::Command(p), false);
    c.client(ClientEvent::GiveUp { op: 1 });
    c.client(ClientEvent::ClientCrash);
    c.settle(1);
    c.legal();
}

#[test]
fn a_follower_counted_without_its_word() {
    let mut c = Cluster::ready(3);
    let p = c.propose(1, &put("a", "1"));
    c.append(1, Payload::Command(p), false);
    let last = c.last(1);
    c.node(1, NodeEvent::Matched { term: 1, peer: 2, index: last });
    c.broken("durability", d::MATCHED);
    c.replicate(1, 2);
    let before = c.violations().len();
    c.node(1, NodeEvent::Matched { term: 1, peer: 2, index: last });
    assert_eq!(c.violations().len(), before, "now it has the entries on its disk");
}
