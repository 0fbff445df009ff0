//! `state-agreement`, `revisions`, `exactly-once`: each rule broken.

use std::sync::Arc;

use curp::{Applied, Event as NodeEvent, Payload, Synced};
use history::ClientEvent;
use kv::{KeyValue, PutRequest, Request, Response};

use super::super::{exactly_once as x, revisions as r, state_agreement as s};
use super::cluster::{Cluster, SESSION, id, put};

const NOTHING: Response = Response::Put { prev_kv: None };

fn done(revision: u64) -> Applied<Response> {
    Applied::Done(Synced { revision, response: NOTHING })
}

fn apply(c: &mut Cluster, node: u32, index: u64, seq: u64, outcome: Applied<Response>, state_hash: u64) {
    c.node(node, NodeEvent::Apply { index, id: Some(id(seq)), outcome, state_hash });
}

/// One command, at index 3, is committed everywhere and applied nowhere.
fn committed() -> Cluster {
    let mut c = Cluster::ready(3);
    let p = c.propose(1, &put("a", "1"));
    c.append(1, Payload::Command(p), false);
    c.replicate(1, 2);
    c.replicate(1, 3);
    for node in [1, 2, 3] {
        c.commit(node, 3, node == 1);
    }
    c
}

#[test]
fn applied_out_of_order_or_before_commit() {
    let mut c = committed();
    apply(&mut c, 1, 4, 1, done(2), 0);
    c.broken("state-agreement", s::IN_ORDER);
    c.broken("state-agreement", s::COMMITTED);
}

#[test]
fn another_command_is_applied() {
    let mut c = committed();
    apply(&mut c, 1, 3, 9, done(2), 0);
    c.broken("state-agreement", s::SAME_COMMAND);
}

#[test]
fn replicas_that_differ() {
    let mut c = committed();
    apply(&mut c, 1, 3, 1, done(2), 7);
    apply(&mut c, 2, 3, 1, done(2), 7);
    c.legal();
    apply(&mut c, 3, 3, 1, Applied::Duplicate, 8);
    c.broken("state-agreement", s::SAME_OUTCOME);
    c.broken("state-agreement", s::SAME_STATE);
}

#[test]
fn a_restarted_replica_that_differs_from_its_past() {
    let mut c = Cluster::ready(3);
    c.reboot(1);
    c.node(1, NodeEvent::Apply { index: 1, id: None, outcome: Applied::Nothing, state_hash: 1 });
    let v = c.broken("state-agreement", s::SAME_STATE);
    assert!(v.message.contains("differs from that before it restarted"), "{}", v.message);
}

#[test]
fn a_revision_is_left_out() {
    let mut c = committed();
    apply(&mut c, 1, 3, 1, done(3), 0);
    c.broken("revisions", r::ONE_EACH);
}

#[test]
fn a_final_result_with_another_revision() {
    let mut c = committed();
    apply(&mut c, 1, 3, 1, done(2), 0);
    c.synced(1, 3, NOTHING);
    c.broken("revisions", r::SYNCED_SAME);
}

#[test]
fn a_fast_result_with_a_revision_of_its_own() {
    let mut c = Cluster::ready(3);
    let p = c.propose(1, &put("a", "1"));
    let e = c.append(1, Payload::Command(p), true);
    let kv = KeyValue { key: "a".into(), value: "1".into(), create_revision: 2, mod_revision: 2, version: 1, ..KeyValue::default() };
    c.node(1, NodeEvent::Execute { term: 1, id: id(1), index: e.index, response: Response::Put { prev_kv: Some(kv) } });
    c.broken("revisions", r::NOT_AHEAD);
}

#[test]
fn a_write_that_writes_nothing_has_no_revision() {
    let delete = Request::DeleteRange(kv::DeleteRangeRequest { key: "a".into(), range_end: None, prev_kv: false });
    for (revision, legal) in [(1, true), (2, false)] {
        let mut c = Cluster::ready(3);
        let p = c.propose(1, &delete);
        c.append(1, Payload::Command(p), false);
        c.replicate(1, 2);
        c.commit(1, 3, true);
        let response = Response::DeleteRange { deleted: 0, prev_kvs: Vec::new() };
        apply(&mut c, 1, 3, 1, Applied::Done(Synced { revision, response }), 0);
        if legal { c.legal() } else { drop(c.broken("revisions", r::ONE_EACH)) }
    }
}

#[test]
fn a_txn_writes_if_its_branch_does() {
    let branch = vec![Request::Put(PutRequest { key: "a".into(), value: "1".into(), prev_kv: false, ..PutRequest::default() })];
    let txn = Request::Txn(kv::TxnRequest { compare: Vec::new(), success: branch, failure: Vec::new() });
    for (succeeded, revision) in [(true, 2), (false, 1)] {
        let mut c = Cluster::ready(3);
        let p = c.propose(1, &txn);
        c.append(1, Payload::Command(p), false);
        c.replicate(1, 2);
        c.commit(1, 3, true);
        let responses = if succeeded { vec![NOTHING] } else { Vec::new() };
        apply(&mut c, 1, 3, 1, Applied::Done(Synced { revision, response: Response::Txn { succeeded, responses } }), 0);
        c.legal();
    }
}

#[test]
fn a_command_takes_effect_twice() {
    let mut c = Cluster::ready(3);
    let p = c.propose(1, &put("a", "1"));
    c.append(1, Payload::Command(Arc::clone(&p)), false);
    c.append(1, Payload::Command(p), false);
    c.broken("exactly-once", x::NOT_TWICE);
    c.replicate(1, 2);
    c.commit(1, 4, true);
    apply(&mut c, 1, 3, 1, done(2), 0);
    apply(&mut c, 1, 4, 1, done(3), 0);
    c.broken("exactly-once", x::ONCE);
}

#[test]
fn an_operation_is_done_under_two_ids() {
    let mut c = Cluster::ready(3);
    let p = c.propose(1, &put("a", "1"));
    c.client(ClientEvent::Propose { op: 1, id: Some(id(2)), first_incomplete: Some(1), read: None, request: put("a", "1") });
    let q = super::cluster::proposal(2, &put("a", "1"));
    c.append(1, Payload::Command(p), false);
    c.settle(1);
    c.legal();
    c.append(1, Payload::Command(q), false);
    c.settle(1);
    c.broken("exactly-once", x::ONE_ID);
}

#[test]
fn ids_and_operations_are_mixed_up() {
    let mut c = Cluster::ready(3);
    c.propose(1, &put("a", "1"));
    c.client(ClientEvent::Propose { op: 2, id: Some(id(1)), first_incomplete: Some(1), read: None, request: put("b", "1") });
    c.broken("exactly-once", x::ONE_OP);
    c.append(1, Payload::Command(super::cluster::proposal(7, &put("c", "1"))), false);
    c.settle(1);
    c.broken("exactly-once", x::PROPOSED);
}

#[test]
fn an_answered_command_is_refused() {
    let mut c = Cluster::ready(3);
    c.fast(1, &put("a", "1"), &[1, 2, 3]);
    c.replicate(1, 2);
    c.commit(1, 3, true);
    apply(&mut c, 1, 3, 1, Applied::Refused, 0);
    c.broken("exactly-once", x::NOT_REFUSED);

    let mut c = committed();
    apply(&mut c, 1, 3, 1, Applied::Refused, 0);
    c.legal();
    c.synced(1, 2, NOTHING);
    c.broken("exactly-once", x::NOT_REFUSED);
}

#[test]
fn a_stale_duplicate_is_refused_after_it_took_effect() {
    let mut c = committed();
    apply(&mut c, 1, 3, 1, done(2), 0);
    c.synced(1, 2, NOTHING);
    c.append(1, Payload::SessionEnd { client: SESSION }, false);
    let p = super::cluster::proposal(1, &put("a", "1"));
    c.append(1, Payload::Command(p), false);
    c.replicate(1, 2);
    c.commit(1, 5, true);
    c.node(1, NodeEvent::Apply { index: 4, id: None, outcome: Applied::SessionEnded, state_hash: 0 });
    apply(&mut c, 1, 5, 1, Applied::Refused, 0);
    c.legal();
}

#[test]
fn a_client_acknowledges_what_it_has_no_final_result_of() {
    for synced in [true, false] {
        let mut c = committed();
        apply(&mut c, 1, 3, 1, done(2), 0);
        if synced {
            c.synced(1, 2, NOTHING);
        }
        let mut p = (*c.propose(2, &put("b", "2"))).clone();
        p.first_incomplete = 2;
        c.record(3, &Arc::new(p));
        if synced { c.legal() } else { drop(c.broken("exactly-once", x::ACKNOWLEDGED)) }
    }
}

#[test]
fn a_final_result_that_was_not_applied() {
    let mut c = committed();
    apply(&mut c, 1, 3, 1, done(2), 0);
    c.synced(1, 2, Response::Range { kvs: Vec::new(), count: 0, more: false });
    c.broken("exactly-once", x::SAME_RESULT);
}

#[test]
fn a_failed_command_takes_effect() {
    let mut c = committed();
    c.client(ClientEvent::Fail { op: 1 });
    c.legal();
    apply(&mut c, 1, 3, 1, done(2), 0);
    c.broken("exactly-once", x::FAILED);
}
