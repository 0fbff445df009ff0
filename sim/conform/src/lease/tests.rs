//! Leases by hand: a trace in which a lease is kept alive, is decided about by a leader that others have deposed, expires at its successor, and is
//! granted again; and changes of it. What consensus does is told only as far as leases need it. TLC judges, where it is.

use std::path::Path;
use std::sync::Arc;

use curp::{Event as NodeEvent, LogBase, Membership, Proposal, Synced, Term};
use history::WorldEvent;
use kv::{Error, LeaseGrantRequest, LeaseRevokeRequest};

use super::*;
use crate::mutate::{Family, Kind, mutations};
use crate::samples::{id, other};
use crate::tlc::Tlc;
use crate::{Batch, Rejection};

const MS: u64 = 1_000_000;
const LEASE: LeaseId = 7;
/// Parts per million: what the clocks below drift at most.
const DRIFT: u32 = 1000;

/// A trace of three nodes in the making.
#[derive(Default)]
struct Story {
    events: Vec<Stamped>,
    t: u64,
}

impl Story {
    fn push(&mut self, node: Option<NodeId>, client: Option<u32>, event: Event) {
        let i = self.events.len() as u64;
        self.events.push(Stamped { i, t: self.t, node, client, event });
    }

    fn node(&mut self, node: NodeId, event: NodeEvent<Request>) {
        self.push(Some(node), None, Event::Node(event));
    }

    fn lease(&mut self, node: NodeId, event: LeaseEvent) {
        self.push(Some(node), None, Event::Lease(event));
    }

    /// Milliseconds since the run began.
    fn at(&mut self, ms: u64) -> &mut Story {
        self.t = ms * MS;
        self
    }

    /// Each node's clock has a beginning and a rate of its own.
    fn clock(&self, node: NodeId) -> u64 {
        let drift = self.t / 1_000_000 * 300 * u64::from(node);
        77_000 * u64::from(node) + self.t + drift
    }

    fn start(&mut self, node: NodeId, term: Term, last: (Term, Index), snapshot: Index) {
        self.node(
            node,
            NodeEvent::Restart {
                term,
                vote: None,
                commit: snapshot,
                last_index: last.1,
                last_term: last.0,
                pool: vec![],
                base: LogBase::default(),
                snapshot,
                state_hash: 0,
                membership: Membership::initial([1, 2, 3]),
            },
        );
    }

    fn accept(&mut self, from: NodeId, to: &[NodeId], term: Term, entry: &Arc<Entry<Request>>) {
        for node in to {
            let entries = vec![entry.clone()];
            self.node(*node, NodeEvent::AcceptEntries { term, from, truncated: false, entries });
        }
    }

    fn elect(&mut self, node: NodeId, by: NodeId, term: Term, index: Index) {
        self.node(node, NodeEvent::Campaign { term });
        self.node(by, NodeEvent::UpdateTerm { term });
        let noop = other(term, index, Payload::Noop);
        self.node(node, NodeEvent::BecomeLeader { term, quorum: vec![node, by], entries: vec![noop.clone()] });
        self.accept(node, &[by], term, &noop);
        self.node(node, NodeEvent::AdvanceCommit { term, commit: index, counted: true });
        self.apply(&[node], index, None, Applied::Nothing);
        self.node(node, NodeEvent::OpenFastPath { term });
        let now = self.clock(node);
        self.lease(node, LeaseEvent::PromoteLeases { term, now });
    }

    fn append(&mut self, node: NodeId, term: Term, index: Index, payload: Payload<Request>) -> Arc<Entry<Request>> {
        let entry = other(term, index, payload);
        self.node(node, NodeEvent::LeaderPropose { entry: entry.clone(), fast: false });
        entry
    }

    fn command(&mut self, node: NodeId, (term, index): (Term, Index), command: Request) -> Arc<Entry<Request>> {
        let proposal = Proposal { id: id(index), first_incomplete: 1, command: Arc::new(command) };
        self.append(node, term, index, Payload::Command(Arc::new(proposal)))
    }

    fn own(&mut self, node: NodeId, (term, index): (Term, Index), stamp: Term) -> Arc<Entry<Request>> {
        let command = Arc::new(Request::LeaseRevoke(LeaseRevokeRequest { id: LEASE, stamp: Some(stamp) }));
        self.append(node, term, index, Payload::Own { command })
    }

    fn apply(&mut self, nodes: &[NodeId], index: Index, id: Option<ProposeId>, outcome: Applied<Response>) {
        for node in nodes {
            self.node(*node, NodeEvent::Apply { index, id, outcome: outcome.clone(), state_hash: 0 });
        }
    }

    fn commit(&mut self, node: NodeId, term: Term, commit: Index) {
        self.node(node, NodeEvent::AdvanceCommit { term, commit, counted: true });
    }

    /// The lease is granted, and applied.
    fn grant(&mut self, node: NodeId, to: &[NodeId], (term, index): (Term, Index), ttl: i64) {
        let entry = self.command(node, (term, index), Request::LeaseGrant(LeaseGrantRequest { ttl, id: LEASE }));
        self.accept(node, to, term, &entry);
        self.commit(node, term, index);
        self.apply(&[node], index, Some(id(index)), done(Response::LeaseGrant { id: LEASE, ttl }));
        self.apply(to, index, Some(id(index)), done(Response::LeaseGrant { id: LEASE, ttl }));
    }

    fn send(&mut self, number: u64) {
        self.push(None, Some(9), Event::Client(ClientEvent::SendKeepAlive { op: 1, lease: LEASE, read: (9, number) }));
    }

    /// A keep-alive comes; `ttl`: so many seconds it is put off.
    fn receive(&mut self, node: NodeId, term: Term, number: u64, index: Index, ttl: Option<u64>) {
        let read = (9, number);
        self.node(node, NodeEvent::ReadRequest { term, round: 100 + number, read, index });
        let now = self.clock(node);
        let deadline = ttl.map(|seconds| now + seconds * 1000 * MS);
        self.lease(node, LeaseEvent::ReceiveKeepAlive { term, lease: LEASE, read, now, deadline });
    }

    fn confirm(&mut self, node: NodeId, term: Term, number: u64) {
        self.node(node, NodeEvent::ReadIndex { term, round: 100 + number, quorum: vec![1, 2] });
    }

    fn answer(&mut self, node: NodeId, term: Term, number: u64, ttl: i64) {
        self.lease(node, LeaseEvent::AnswerKeepAlive { term, lease: LEASE, read: (9, number), ttl });
    }

    fn decide(&mut self, node: NodeId, term: Term) {
        let now = self.clock(node);
        self.lease(node, LeaseEvent::DecideExpiry { term, lease: LEASE, now });
    }
}

fn done(response: Response) -> Applied<Response> {
    Applied::Done(Synced { revision: 1, response })
}

/// The lease is granted in term 1, for two seconds, and kept alive.
fn begun() -> Story {
    let mut s = Story::default();
    [1, 2, 3].into_iter().for_each(|node| s.start(node, 0, (0, 0), 0));
    s.at(10).elect(1, 2, 1, 1);
    s.node(3, NodeEvent::UpdateTerm { term: 1 });
    s.accept(1, &[3], 1, &other(1, 1, Payload::Noop));
    s.at(50).apply(&[2, 3], 1, None, Applied::Nothing);
    s.at(100).grant(1, &[2, 3], (1, 2), 2);
    s.at(500).send(1);
    s.at(510).receive(1, 1, 1, 2, Some(2));
    s.at(520).confirm(1, 1, 1);
    s.answer(1, 1, 1, 2);
    s
}

/// Node 2 leads, in term 2, with a no-op at 3, which is applied.
fn succeeded(s: &mut Story) {
    s.elect(2, 3, 2, 3);
    s.apply(&[3], 3, None, Applied::Nothing);
}

fn revoked(s: &mut Story, own: &Arc<Entry<Request>>) {
    s.accept(2, &[3], 2, own);
    s.commit(2, 2, own.index);
    s.apply(&[2, 3], own.index, None, done(Response::LeaseRevoke));
}

fn story() -> Vec<Stamped> {
    let mut s = begun();
    let now = s.at(600).clock(1);
    s.lease(1, LeaseEvent::AnswerTimeToLive { term: 1, lease: LEASE, read: (8, 1), now, ttl: 1 });
    // The leader is cut off: the second request comes, and no round ends any more. The client asks the next one.
    s.at(1200).send(2);
    s.at(1210).receive(1, 1, 2, 2, Some(2));
    s.at(1500);
    succeeded(&mut s);
    s.at(2000).node(2, NodeEvent::ReadRequest { term: 2, round: 1, read: (9, 2), index: 3 });
    let now = s.clock(2);
    let deadline = Some(now + 2000 * MS);
    s.lease(2, LeaseEvent::ReceiveKeepAlive { term: 2, lease: LEASE, read: (9, 2), now, deadline });
    s.at(2010).node(2, NodeEvent::ReadIndex { term: 2, round: 1, quorum: vec![2, 3] });
    s.answer(2, 2, 2, 2);
    // A leader that stood still for a while decides by its own clock, and does not know that it leads no more.
    s.at(3300).decide(1, 1);
    s.own(1, (1, 3), 1);
    s.at(3400).node(1, NodeEvent::UpdateTerm { term: 2 });
    s.lease(1, LeaseEvent::DemoteLeases { term: 1 });
    let noop = other(2, 3, Payload::Noop);
    s.node(1, NodeEvent::AcceptEntries { term: 2, from: 2, truncated: true, entries: vec![noop] });
    s.apply(&[1], 3, None, Applied::Nothing);
    // It has expired.
    s.at(4100).decide(2, 2);
    let own = s.own(2, (2, 4), 2);
    s.at(4120).send(3);
    s.at(4130).receive(2, 2, 3, 4, None);
    s.confirm(2, 2, 3);
    s.at(4150);
    revoked(&mut s, &own);
    s.accept(2, &[1], 2, &own);
    s.apply(&[1], 4, None, done(Response::LeaseRevoke));
    s.answer(2, 2, 3, 0);
    // Again, for longer; and a client ends it.
    s.at(4300).grant(2, &[3], (2, 5), 3);
    s.at(4400).send(4);
    s.at(4410).receive(2, 2, 4, 5, Some(3));
    s.confirm(2, 2, 4);
    s.answer(2, 2, 4, 3);
    let revoke = s.command(2, (2, 6), Request::LeaseRevoke(LeaseRevokeRequest { id: LEASE, stamp: None }));
    s.accept(2, &[3], 2, &revoke);
    s.commit(2, 2, 6);
    s.apply(&[2, 3], 6, Some(id(6)), done(Response::LeaseRevoke));
    s.node(1, NodeEvent::InstallSnapshot { term: 2, from: 2, index: 6, last_term: 2, state_hash: 0 });
    // It is all applied again, after a snapshot.
    s.push(Some(3), None, Event::World(WorldEvent::Crash { power: false, in_flight: 0, lost_bytes: 0 }));
    s.at(4500).start(3, 2, (2, 6), 3);
    s.apply(&[3], 4, None, done(Response::LeaseRevoke));
    s.apply(&[3], 5, Some(id(5)), done(Response::LeaseGrant { id: LEASE, ttl: 3 }));
    s.apply(&[3], 6, Some(id(6)), done(Response::LeaseRevoke));
    s.node(2, NodeEvent::StepDown { term: 2 });
    s.lease(2, LeaseEvent::DemoteLeases { term: 2 });
    s.at(4600).elect(2, 1, 3, 7);
    s.events
}

/// Traces that are wrong, each with the action that must be refused, of its last event but for what is said otherwise.
fn wrong() -> Vec<(&'static str, Vec<Stamped>, &'static str)> {
    let mut all = Vec::new();
    let mut add = |what, action, make: &dyn Fn(&mut Story)| {
        let mut s = begun();
        make(&mut s);
        all.push((what, s.events, action));
    };
    add("a decision before the deadline", "DecideExpiry", &|s| s.at(2500).decide(1, 1));
    add("a decision by a clock that runs too fast", "Elapse", &|s| {
        let now = s.at(2400).clock(1) + 200 * MS;
        s.lease(1, LeaseEvent::DecideExpiry { term: 1, lease: LEASE, now });
    });
    add("an answer without a round", "AnswerKeepAlive", &|s| {
        s.at(1000).send(2);
        s.receive(1, 1, 2, 2, Some(2));
        s.answer(1, 1, 2, 2);
    });
    add("a round of a leader that had a successor when the keep-alive came", "ConfirmRound", &|s| {
        s.at(1000);
        succeeded(s);
        s.at(1500).send(2);
        s.receive(1, 1, 2, 2, Some(2));
        s.confirm(1, 1, 2);
    });
    add("an answer that does not wait for the revoke in the log", "ReceiveKeepAlive", &|s| {
        s.at(2600).decide(1, 1);
        s.own(1, (1, 3), 1);
        s.send(2);
        s.receive(1, 1, 2, 2, None);
    });
    add("a keep-alive of a lease that is given up", "ReceiveKeepAlive", &|s| {
        s.at(2600).decide(1, 1);
        s.at(2610).send(2);
        s.receive(1, 1, 2, 2, Some(2));
    });
    add("the successor keeps the old deadline", "DecideExpiry", &|s| {
        s.at(2000);
        succeeded(s);
        s.at(2600).decide(2, 2);
    });
    add("a revoke of another term's decision", "AppendOwn", &|s| {
        s.at(2600).decide(1, 1);
        s.own(1, (1, 3), 2);
    });
    add("a revoke that nobody decided", "AppendOwn", &|s| _ = s.at(2600).own(1, (1, 3), 1));
    add("a revoke twice", "AppendOwn", &|s| {
        s.at(2600).decide(1, 1);
        s.own(1, (1, 3), 1);
        s.own(1, (1, 4), 1);
    });
    add("a revoke without effect", "Apply", &|s| {
        s.at(2600).decide(1, 1);
        let own = s.own(1, (1, 3), 1);
        s.accept(1, &[2], 1, &own);
        s.commit(1, 1, 3);
        s.apply(&[2], 3, None, done(Response::Error(Error::LeaderChanged)));
    });
    add("a grant of another time to live", "Apply", &|s| {
        s.at(1000);
        let revoke = s.command(1, (1, 3), Request::LeaseRevoke(LeaseRevokeRequest { id: LEASE, stamp: None }));
        s.accept(1, &[2], 1, &revoke);
        s.commit(1, 1, 3);
        s.apply(&[1], 3, Some(id(3)), done(Response::LeaseRevoke));
        let entry = s.command(1, (1, 4), Request::LeaseGrant(LeaseGrantRequest { ttl: 9, id: LEASE }));
        s.accept(1, &[2], 1, &entry);
        s.commit(1, 1, 4);
        s.apply(&[1], 4, Some(id(4)), done(Response::LeaseGrant { id: LEASE, ttl: 8 }));
    });
    add("silence about the demotion", "Campaign", &|s| {
        s.at(1000).node(1, NodeEvent::StepDown { term: 1 });
        s.node(1, NodeEvent::Campaign { term: 2 });
    });
    add("a clock that goes back", "Elapse", &|s| {
        s.at(1000).send(2);
        s.receive(1, 1, 2, 2, Some(2));
        s.at(1100).send(3);
        s.node(1, NodeEvent::ReadRequest { term: 1, round: 103, read: (9, 3), index: 2 });
        let now = s.clock(1) - 200 * MS;
        let deadline = Some(now + 2000 * MS);
        s.lease(1, LeaseEvent::ReceiveKeepAlive { term: 1, lease: LEASE, read: (9, 3), now, deadline });
    });
    all
}

fn tlc() -> Option<Tlc> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    Tlc::find(&root).map_err(|missing| println!("SKIPPED: {missing}")).ok()
}

/// The first step of each trace that the specification of leases does not allow.
fn judged(traces: &[Vec<Stamped>]) -> Option<Vec<Option<Rejection>>> {
    let tlc = tlc()?;
    let mut batch = Batch::new(&[1, 2, 3], DRIFT);
    for trace in traces {
        batch.add(trace).expect("steps");
    }
    Some(batch.check_leases(&tlc).expect("TLC comes to its end"))
}

#[test]
fn a_lease_that_expires_during_an_election_conforms_and_its_mutations_do_not() {
    let base = story();
    let all: Vec<_> =
        mutations(&[&base], 4).into_iter().filter(|m| m.family == Family::Leases || m.label.starts_with("AppendOwn")).collect();
    for kind in Kind::ALL {
        let count = all.iter().filter(|m| (m.family, m.kind) == (Family::Leases, kind)).count();
        assert!(count >= 4, "{kind}: {count}");
    }
    assert!(all.iter().any(|m| m.label == "AppendOwn.stamp"));
    let traces: Vec<Vec<Stamped>> = [base.clone()].into_iter().chain(all.iter().map(|m| m.events.clone())).collect();
    let Some(verdicts) = judged(&traces) else { return };
    assert_eq!(verdicts[0], None, "{:?}", verdicts[0].as_ref().map(|r| &base[r.position]));
    let wrong: Vec<String> = all
        .iter()
        .zip(&verdicts[1..])
        .filter(|(mutation, verdict)| verdict.as_ref().is_none_or(|found| found.position < mutation.from))
        .map(|(mutation, verdict)| format!("{} {} at event {}: {verdict:?}", mutation.kind, mutation.label, mutation.event))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_rule_of_leases_is_held() {
    let all = wrong();
    let traces: Vec<Vec<Stamped>> = all.iter().map(|(_, trace, _)| trace.clone()).collect();
    let Some(verdicts) = judged(&traces) else { return };
    for ((what, trace, action), verdict) in all.iter().zip(verdicts) {
        let found = verdict.unwrap_or_else(|| panic!("accepted: {what}"));
        assert_eq!((found.action, found.position), (*action, trace.len() - 1), "{what}: {found:?}");
    }
}

#[test]
fn leases_are_told_apart_and_times_are_relative() {
    let mut s = begun();
    let entry = s.command(1, (1, 3), Request::LeaseGrant(LeaseGrantRequest { ttl: 0, id: 8 }));
    s.commit(1, 1, entry.index);
    let mut bounds = Bounds::default();
    let found = projections(&mut bounds, &s.events).expect("steps");
    let leases: Vec<LeaseId> = found.iter().map(|p| p.lease).collect();
    assert_eq!(leases, [7, 8]);
    let told = |p: &Projection, action: &str| {
        p.steps.iter().filter(|step| step.action == action).map(|s| s.record.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(told(&found[1], "AppendGrant"), [r#"[a |-> "AppendGrant", i |-> 27, n |-> 1, t |-> 1, p |-> 2, v |-> 1000000]"#]);
    let receipt = told(&found[0], "ReceiveKeepAlive");
    assert_eq!(receipt.len(), 1);
    assert!(receipt[0].contains("k |-> 1, c |-> 510150, x |-> 2, until |-> 2510150"), "{receipt:?}");
    assert!(told(&found[1], "ReceiveKeepAlive").is_empty());
    let definitions: Vec<String> = bounds.definitions(DRIFT).iter().map(|(name, value)| format!("{name} == {value}")).collect();
    assert_eq!(definitions, ["TNode == {1, 2, 3}", "TMaxTerm == 2", "TKa == {1}", "TTtl == 2000000", "TD == 1000"]);
}
