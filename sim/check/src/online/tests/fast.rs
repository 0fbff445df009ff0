//! `recovery`: each rule broken, in what happened and in what could happen.

use std::sync::Arc;

use curp::{Event as NodeEvent, Payload, Record};
use kv::Response;

use super::super::recoverable::{COMMITTED_ORDER, LOST, REORDERED};
use super::super::recovery as rules;
use super::cluster::{Cluster, entry, id, put};

const NOTHING: Response = Response::Put { prev_kv: None };

#[test]
fn a_round_without_a_super_quorum() {
    for (n, nodes) in [(3, vec![1, 2]), (4, vec![1, 2]), (5, vec![1, 2, 3]), (6, vec![1, 2, 3, 4])] {
        let mut c = Cluster::ready(n);
        c.fast(1, &put("a", "1"), &nodes);
        c.broken("recovery", rules::SUPER_QUORUM);
        let lost = c.broken("recovery", LOST);
        assert!(lost.message.starts_with("put(a, 1) (2.1) completed on the fast path in term 1, but if nodes"), "{}", lost.message);
        assert_eq!(lost.evidence.len(), 3, "proposed, executed, completed: {:?}", lost.evidence);
    }
}

#[test]
fn a_witness_answered_before_its_disk() {
    let mut c = Cluster::ready(3);
    let p = c.propose(1, &put("a", "1"));
    let response = c.execute(1, &p);
    c.record(2, &p);
    c.node(
        3,
        NodeEvent::WitnessRecord { term: 1, asked: 1, config: curp::ConfigVersion::default(), proposal: p, accepted: true, inserted: true },
    );
    c.complete(1, 1, &[1, 2, 3], response);
    assert_eq!(c.broken("recovery", LOST).node, Some(2), "the first who could win with node 3");
}

#[test]
fn a_pool_dropped_before_apply() {
    let mut c = Cluster::ready(3);
    c.fast(1, &put("a", "1"), &[1, 2, 3]);
    c.replicate(1, 2);
    c.node(2, NodeEvent::PoolDrop { id: id(1) });
    c.broken("recovery", rules::POOL_KEEPS);
}

#[test]
fn a_record_removed_from_the_disk_of_a_witness_before_commit() {
    let mut c = Cluster::ready(5);
    c.fast(1, &put("a", "1"), &[1, 2, 3, 4]);
    c.legal();
    c.write(3, &[Record::PoolRemove(id(1))]);
    let lost = c.broken("recovery", LOST);
    assert!(lost.message.contains("of these only node"), "{}", lost.message);
}

#[test]
fn a_pool_lost_at_restart() {
    let mut c = Cluster::ready(3);
    c.fast(1, &put("a", "1"), &[1, 2, 3]);
    let last_index = c.last(2);
    c.world(2, history::WorldEvent::Crash { power: true, in_flight: 0, lost_bytes: 0 });
    c.node(
        2,
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
    c.broken("recovery", rules::POOL_SURVIVES);
    // It wins without the record: seen at the vote's count and in the log of the leader.
    c.nodes.get_mut(&2).expect("node 2").pool.clear();
    c.elect(2, 2, &[3]);
    let lost = c.broken("recovery", rules::LEADER_HAS_IT);
    assert_eq!(
        lost.message,
        "put(a, 1) (2.1) completed on the fast path in term 1, and node 2, leader of term 2, took office without it: an acknowledged command is lost"
    );
}

#[test]
fn a_vote_without_its_pool() {
    let mut c = Cluster::ready(3);
    c.fast(1, &put("a", "1"), &[1, 2, 3]);
    c.campaign(2, 2);
    c.update_term(3, 2);
    c.node(3, NodeEvent::GrantVote { term: 2, candidate: 2, pool: Vec::new() });
    c.broken("recovery", rules::VOTE_CARRIES_POOL);
}

#[test]
fn recovery_wants_more_pools_than_the_rule() {
    let mut c = Cluster::ready(5);
    c.fast(1, &put("a", "1"), &[1, 2, 3, 4]);
    c.campaign(5, 2);
    c.grant(3, 2, 5);
    c.grant(4, 2, 5);
    c.become_leader(5, 2, &[3, 4, 5], &[]);
    c.broken("recovery", rules::RECOVERS_ENOUGH);
    c.broken("recovery", rules::LEADER_HAS_IT);
}

#[test]
fn recovery_wants_fewer_pools_than_the_rule() {
    let mut c = Cluster::ready(3);
    let p = c.propose(1, &put("a", "1"));
    c.record(2, &p);
    c.campaign(2, 2);
    c.grant(3, 2, 2);
    c.become_leader(2, 2, &[2, 3], &[p]);
    c.broken("recovery", rules::RECOVERS_ONLY);
}

#[test]
fn a_conflicting_pair_is_recovered() {
    let mut c = Cluster::ready(3);
    let (p, q) = (c.propose(1, &put("a", "1")), c.propose(2, &put("a", "2")));
    c.record(2, &p);
    c.record(3, &q);
    c.campaign(2, 2);
    c.grant(3, 2, 2);
    c.become_leader(2, 2, &[2, 3], &[p, q]);
    c.broken("recovery", rules::RECOVERED_COMMUTE);
}

#[test]
fn a_pool_that_does_not_commute() {
    let mut c = Cluster::ready(3);
    let (p, q) = (c.propose(1, &put("a", "1")), c.propose(2, &put("a", "2")));
    c.record(2, &p);
    c.record(2, &q);
    c.broken("recovery", rules::POOL_COMMUTES);
}

#[test]
fn more_than_a_quorum_is_counted() {
    let mut c = Cluster::ready(3);
    c.elect(2, 2, &[1, 3]);
    c.broken("recovery", rules::EXACT_QUORUM);
}

#[test]
fn a_term_without_noop() {
    let mut c = Cluster::ready(3);
    c.campaign(2, 2);
    c.grant(3, 2, 2);
    c.node(2, NodeEvent::BecomeLeader { term: 2, quorum: vec![2, 3], entries: Vec::new() });
    c.broken("recovery", rules::NOOP_FIRST);
}

#[test]
fn the_fast_path_opens_before_the_noop_is_applied() {
    let mut c = Cluster::ready(3);
    c.elect(2, 2, &[3]);
    c.node(2, NodeEvent::OpenFastPath { term: 2 });
    c.broken("recovery", rules::OPENS_LATE);

    let mut c = Cluster::ready(3);
    c.elect(2, 2, &[3]);
    let p = c.propose(1, &put("a", "1"));
    c.execute(2, &p);
    c.broken("recovery", rules::OPENS_LATE);
}

#[test]
fn an_accept_of_another_term_counts() {
    let mut c = Cluster::ready(3);
    let p = c.propose(1, &put("a", "1"));
    let response = c.execute(1, &p);
    c.record(2, &p);
    c.update_term(3, 2);
    c.write_hard_state(3);
    c.record(3, &p);
    c.complete(1, 1, &[1, 2, 3], response);
    c.broken("recovery", rules::ACCEPTED_IN_TERM);
}

#[test]
fn a_result_that_the_leader_did_not_compute() {
    let mut c = Cluster::ready(3);
    let p = c.propose(1, &put("a", "1"));
    c.execute(1, &p);
    c.record(2, &p);
    c.record(3, &p);
    c.complete(1, 1, &[1, 2, 3], Response::Range { kvs: Vec::new(), count: 0, more: false });
    c.settle(1);
    c.broken("recovery", rules::LEADERS_RESULT);
    c.broken("recovery", rules::RESULT_STANDS);
}

/// The leader looks only into its spec pool, where the command before is not: a slow one, uncommitted.
#[test]
fn a_fast_result_ignores_the_uncommitted_pool() {
    let mut c = Cluster::ready(3);
    let slow = c.propose(1, &put("a", "1"));
    c.append(1, Payload::Command(slow), false);
    c.fast(2, &put("a", "2"), &[1, 2, 3]);
    let v = c.broken("recovery", REORDERED);
    assert!(v.message.contains("knew nothing of put(a, 1) (2.1), but put(a, 1) (2.1) stands at index 3 of node 1's disk"), "{}", v.message);
    c.settle(1);
    c.broken("recovery", COMMITTED_ORDER);
    c.broken("recovery", rules::RESULT_STANDS);
}

#[test]
fn a_later_leader_puts_a_conflicting_command_first() {
    let mut c = Cluster::ready(3);
    let p = c.fast(1, &put("a", "1"), &[1, 2, 3]);
    let q = c.propose(2, &put("a", "2"));
    c.campaign(2, 2);
    c.grant(3, 2, 2);
    c.become_leader(2, 2, &[2, 3], &[q, p]);
    c.broken("recovery", rules::LEADER_KEEPS_ORDER);
    c.broken("recovery", REORDERED);
}

#[test]
fn a_session_ended_in_front_of_a_completed_command() {
    let mut c = Cluster::ready(3);
    c.append(1, Payload::SessionEnd { client: super::cluster::SESSION }, false);
    c.fast(1, &put("a", "1"), &[1, 2, 3]);
    c.broken("recovery", REORDERED);
}

#[test]
fn a_duplicate_in_front_of_a_completed_command_is_nothing() {
    let mut c = Cluster::ready(3);
    let p = c.fast(1, &put("a", "1"), &[1, 2, 3]);
    c.settle(1);
    // A leader that does not look into its log: exactly-once says so, recovery has no reason to.
    c.append(1, Payload::Command(p), false);
    c.fast(2, &put("a", "2"), &[1, 2, 3]);
    c.settle(1);
    c.broken("exactly-once", super::super::exactly_once::NOT_TWICE);
    assert_eq!(c.violations().len(), 1, "{:#?}", c.violations());
}

/// Three terms: the only entry is replaced by an intermediate leader's no-op, and then its node's missing record is missed.
#[test]
fn a_leader_that_is_no_witness_loses_the_command_in_the_third_term() {
    let mut c = Cluster::ready(3);
    let p = c.propose(1, &put("a", "1"));
    let e = entry(1, 3, &p);
    c.node(1, NodeEvent::LeaderPropose { entry: Arc::clone(&e), fast: true });
    c.write(1, &[Record::Entry(Arc::clone(&e))]);
    c.nodes.get_mut(&1).expect("node 1").log.push(e);
    c.node(1, NodeEvent::Execute { term: 1, id: p.id, index: 3, response: NOTHING });
    c.record(2, &p);
    c.record(3, &p);
    c.complete(1, 1, &[1, 2, 3], NOTHING);
    c.legal();
    c.campaign(2, 2);
    c.grant(3, 2, 2);
    // Its no-op reaches node 1, the recovered command does not.
    let q = c.to_recover(2, &[2, 3]);
    c.become_leader(2, 2, &[2, 3], &q);
    let noop = Arc::clone(&c.nodes[&2].log[2]);
    c.update_term(1, 2);
    c.node(1, NodeEvent::AcceptEntries { term: 2, from: 2, truncated: true, entries: vec![Arc::clone(&noop)] });
    c.write(1, &[Record::Entry(noop)]);
    c.broken("recovery", LOST);
}
