//! `log-matching` and `leader-completeness`: each rule broken.

use std::sync::Arc;

use curp::{Event as NodeEvent, HardState, Payload, Record};

use super::super::{leader_completeness as l, log_matching as m};
use super::cluster::{Cluster, entry, proposal, put};

fn accept(term: u64, truncated: bool, entries: Vec<Arc<curp::Entry<kv::Request>>>) -> NodeEvent<kv::Request> {
    NodeEvent::AcceptEntries { term, from: 1, truncated, entries }
}

#[test]
fn an_index_and_a_term_with_two_contents() {
    let mut c = Cluster::ready(3);
    let p = c.propose(1, &put("a", "1"));
    c.append(1, Payload::Command(p), false);
    c.node(2, accept(1, false, vec![entry(1, 3, &proposal(2, &put("b", "2")))]));
    c.broken("log-matching", m::SAME_ENTRY);
}

#[test]
fn an_entry_on_disk_with_other_contents() {
    let mut c = Cluster::ready(3);
    let p = c.propose(1, &put("a", "1"));
    c.append(1, Payload::Command(p), false);
    c.write(2, &[Record::Entry(entry(1, 3, &proposal(2, &put("b", "2"))))]);
    c.broken("log-matching", m::SAME_ENTRY);
}

#[test]
fn the_same_entry_after_another_one() {
    let mut c = Cluster::ready(3);
    let (p, q) = (proposal(1, &put("a", "1")), proposal(2, &put("b", "2")));
    c.node(2, accept(1, false, vec![entry(1, 3, &p), entry(3, 4, &q)]));
    c.node(3, accept(1, false, vec![entry(2, 3, &p), entry(3, 4, &q)]));
    c.broken("log-matching", m::SAME_PREFIX);
}

#[test]
fn a_gap() {
    let mut c = Cluster::ready(3);
    c.node(2, accept(1, false, vec![entry(1, 4, &proposal(1, &put("a", "1")))]));
    c.broken("log-matching", m::NO_GAP);
}

#[test]
fn a_deposed_leader_appends() {
    let mut c = Cluster::ready(3);
    c.update_term(1, 2);
    let e = entry(1, 3, &proposal(1, &put("a", "1")));
    c.node(1, NodeEvent::LeaderPropose { entry: e, fast: false });
    c.broken("log-matching", m::LEADER_APPENDS);
}

#[test]
fn a_leader_overwrites_its_log() {
    let mut c = Cluster::ready(3);
    let e = entry(1, 2, &proposal(1, &put("a", "1")));
    c.node(1, NodeEvent::LeaderPropose { entry: e, fast: false });
    c.broken("log-matching", m::LEADER_KEEPS);
}

#[test]
fn a_follower_truncates_what_matches() {
    let mut c = Cluster::ready(3);
    let (p, q) = (c.propose(1, &put("a", "1")), c.propose(2, &put("b", "2")));
    let first = c.append(1, Payload::Command(p), false);
    c.append(1, Payload::Command(q), false);
    c.replicate(1, 2);
    c.node(2, accept(1, true, vec![first]));
    c.broken("log-matching", m::CUTS_CONFLICT);
    c.broken("log-matching", m::KEEPS_TERM);
}

#[test]
fn a_conflict_is_truncated() {
    let mut c = Cluster::ready(3);
    let p = c.propose(1, &put("a", "1"));
    c.append(1, Payload::Command(p), false);
    c.elect(2, 2, &[3]);
    c.replicate(2, 1);
    c.legal();
}

#[test]
fn a_vote_for_a_longer_log_of_an_older_term() {
    let mut c = Cluster::ready(3);
    c.elect(2, 2, &[3]);
    c.replicate(2, 3);
    for seq in 1..=3 {
        let p = c.propose(seq, &put("a", "1"));
        c.append(1, Payload::Command(p), false);
    }
    c.campaign(1, 3);
    c.grant(3, 3, 1);
    let v = c.broken("leader-completeness", l::UP_TO_DATE);
    assert_eq!(v.message, "node 3 voted for node 1 in term 3, whose log ends with term 1 at index 5, behind its own: term 2 at index 3");
}

#[test]
fn a_leader_without_a_committed_entry() {
    let mut c = Cluster::ready(3);
    let p = c.propose(1, &put("a", "1"));
    c.append(1, Payload::Command(p), false);
    c.settle_with(1, &[1, 2]);
    c.campaign(3, 2);
    c.update_term(2, 2);
    c.become_leader(3, 2, &[2, 3], &[]);
    c.broken("leader-completeness", l::LEADER_HAS_ALL);
}

/// Figure 8 of the Raft paper: an entry of an old term is on a quorum, counted, and a longer term is on another disk.
#[test]
fn an_old_term_committed_by_counting_could_be_lost() {
    let mut c = Cluster::ready(3);
    let p = c.propose(1, &put("a", "1"));
    c.append(1, Payload::Command(p), false);
    c.elect(3, 2, &[2]);
    c.update_term(2, 3);
    c.write_hard_state(2);
    c.campaign(1, 3);
    c.grant(2, 3, 1);
    c.become_leader(1, 3, &[1, 2], &[]);
    // Only the old entry reaches node 2; the no-op of term 3 does not.
    let old = Arc::clone(&c.nodes[&1].log[2]);
    c.node(2, accept(3, false, vec![Arc::clone(&old)]));
    c.write(2, &[Record::Entry(old)]);
    c.legal();
    c.node(1, NodeEvent::AdvanceCommit { term: 3, commit: 3, counted: true });
    c.broken("durability", super::super::durability::OWN_TERM);
    let v = c.broken("leader-completeness", l::COULD);
    assert!(v.message.contains("node 3 does not have it on its disk and could win an election now"), "{}", v.message);
}

#[test]
fn a_disk_that_forgets_a_committed_entry() {
    let mut c = Cluster::ready(3);
    let p = c.propose(1, &put("a", "1"));
    c.append(1, Payload::Command(p), false);
    c.settle_with(1, &[1, 2]);
    c.legal();
    let noop = curp::Entry { term: 2, index: 3, payload: Payload::Noop };
    c.write(2, &[Record::HardState(HardState { term: 2, vote: None, commit: 0 }), Record::Entry(Arc::new(noop))]);
    c.broken("leader-completeness", l::COULD);
}
