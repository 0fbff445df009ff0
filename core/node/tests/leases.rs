//! Leases on whole nodes: who may say what of them, and when they go.

mod common;

use client::{AdminWish, Input as Ask, Notice};
use common::{Cluster, Host, MS, SECOND};
use curp::{Config, Message, Nanos, NodeId, Reply, Request as Wire, Synced};
use kv::{
    Bytes, LeaseEvent, LeaseGrantRequest, LeaseId, LeaseKeepAliveRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest, PutRequest,
    RangeRequest, Request, Response,
};
use mutants::Mutant;
use node::Input;

const LEASE: LeaseId = 7;
const TTL: i64 = 2;

fn grant(id: LeaseId, ttl: i64) -> Request {
    Request::LeaseGrant(LeaseGrantRequest { id, ttl })
}

fn attach(key: &str, lease: LeaseId) -> Request {
    Request::Put(PutRequest { key: Bytes::from(key), value: Bytes::from("v"), lease, ..PutRequest::default() })
}

fn time_to_live(id: LeaseId) -> Request {
    Request::LeaseTimeToLive(LeaseTimeToLiveRequest { id, keys: true })
}

/// Three nodes with a leader, a client, and a lease with two keys, granted at the time given.
fn with_lease() -> (Cluster, NodeId, Nanos) {
    with_lease_in(Cluster::new(3, 2))
}

fn with_lease_in(mut cluster: Cluster) -> (Cluster, NodeId, Nanos) {
    let leader = cluster.until_led();
    let (granted, response) = cluster.call(0, 1, grant(LEASE, TTL));
    assert_eq!(response, Response::LeaseGrant { id: LEASE, ttl: TTL });
    cluster.call(0, 2, attach("b", LEASE));
    cluster.call(0, 3, attach("a", LEASE));
    (cluster, leader, granted)
}

fn alive(cluster: &mut Cluster, at: NodeId) -> bool {
    let store = cluster.host(at).node.store();
    let (lease, keys) = (store.leases().contains(LEASE), store.live().count());
    assert_eq!(keys, if lease { 2 } else { 0 }, "keys and lease go together");
    lease
}

/// When the lease is gone at a node, looked at every millisecond.
fn gone(cluster: &mut Cluster, at: NodeId) -> Nanos {
    for _ in 0..20_000 {
        if !alive(cluster, at) {
            return cluster.now;
        }
        cluster.run(1);
    }
    panic!("the lease never goes: {:?}", cluster.host(at).leases);
}

/// When the nodes decided that the lease has expired, and in which term.
fn decisions(cluster: &Cluster) -> Vec<(Nanos, u64)> {
    let of = |(at, event): &(Nanos, LeaseEvent)| match event {
        LeaseEvent::DecideExpiry { term, lease: LEASE, .. } => Some((*at, *term)),
        _ => None,
    };
    let mut all: Vec<_> = cluster.hosts.iter().flat_map(|host| host.leases.iter().filter_map(of)).collect();
    all.sort_unstable();
    all
}

#[test]
fn a_lease_expires_with_its_keys_everywhere() {
    let (mut cluster, leader, granted) = with_lease();
    let revision = cluster.host(leader).node.store().applied_revision();
    let full = TTL as u64 * SECOND;
    let went = gone(&mut cluster, leader);
    assert!((full..full + 20 * MS).contains(&(went - granted)), "granted at {granted}, gone at {went}");
    cluster.run(100);
    for id in 1..=3 {
        assert!(!alive(&mut cluster, id));
        assert_eq!(cluster.host(id).node.store().applied_revision(), revision + 1, "one revision for both keys");
    }
    assert_eq!(decisions(&cluster).len(), 1);
}

#[test]
fn a_stream_of_keep_alives_holds_a_lease_until_it_ends() {
    let (mut cluster, leader, _) = with_lease();
    cluster.say(0, Ask::KeepAlive { op: 9, lease: LEASE });
    cluster.run(10_000);
    assert!(alive(&mut cluster, leader));
    let sent: Vec<Nanos> = cluster.callers[0].told.iter().filter_map(|(_, n)| kept_alive(n)).map(|(sent, _)| sent).collect();
    assert!(sent.len() >= 14 && sent.windows(2).all(|w| w[1] - w[0] <= 670 * MS), "a third of two seconds: {sent:?}");
    cluster.say(0, Ask::EndKeepAlive { op: 9 });
    let went = gone(&mut cluster, leader);
    let last = sent.last().expect("many");
    assert!((2 * SECOND..2 * SECOND + 700 * MS).contains(&(went - last)), "sent at {last}, gone at {went}");
    cluster.say(0, Ask::KeepAlive { op: 10, lease: LEASE });
    cluster.run(1_000);
    let answers: Vec<_> = cluster.callers[0].told.iter().filter_map(|(_, n)| kept_alive(n)).skip(sent.len()).map(|(_, ttl)| ttl).collect();
    assert_eq!(answers, [0], "one for a lease that is gone, and no more");
    assert!(cluster.callers[0].client.next_due().is_none());
}

fn kept_alive(notice: &Notice) -> Option<(Nanos, i64)> {
    if let Notice::KeptAlive { sent, ttl, .. } = notice { Some((*sent, *ttl)) } else { None }
}

#[test]
fn only_the_leader_answers_and_says_how_long() {
    let (mut cluster, leader, _) = with_lease();
    let follower = leader % 3 + 1;
    let (keep, ask) = (Request::LeaseKeepAlive(LeaseKeepAliveRequest { id: LEASE }), time_to_live(LEASE));
    for (n, command) in [keep.clone(), ask.clone(), Request::LeaseLeases].into_iter().enumerate() {
        let read = Wire::Read { read: (1, 1_000 + n as u64), command: command.clone().into() };
        let host = cluster.host(follower);
        host.give(Input::Message { from: curp::Address::Client(1), message: Message::Request(read) });
        let refused =
            |m: &curp::Outgoing<Request>| matches!(&m.message, Message::Reply(Reply::ReadRefused { read, .. }) if read.1 >= 1_000);
        assert!(host.sent.iter().any(refused), "{command:?}");
        // Nor does it get into a log.
        let proposal = curp::Proposal { id: curp::ProposeId { client: 1, seq: 90 }, first_incomplete: 1, command: command.into() };
        let proposed = Wire::Propose { proposal: proposal.into() };
        let host = cluster.host(leader);
        host.give(Input::Message { from: curp::Address::Client(1), message: Message::Request(proposed) });
        let invalid =
            |m: &curp::Outgoing<Request>| matches!(&m.message, Message::Reply(Reply::Refused { why: curp::Refusal::Invalid, .. }));
        assert!(host.sent.iter().any(invalid));
    }
    cluster.run(500);
    let (_, Response::LeaseTimeToLive { id: LEASE, ttl: 1, granted_ttl: TTL, keys }) = cluster.call(0, 10, ask.clone()) else {
        panic!("one whole second is left")
    };
    assert_eq!(keys, [Bytes::from("a"), Bytes::from("b")]);
    assert_eq!(cluster.call(0, 11, Request::LeaseLeases).1, Response::LeaseLeases { leases: vec![LEASE] });
    assert_eq!(cluster.call(0, 12, keep).1, Response::LeaseKeepAlive { id: LEASE, ttl: TTL });
    let (_, Response::LeaseTimeToLive { ttl: 1, .. }) = cluster.call(0, 13, ask.clone()) else { panic!("nearly two are left") };
    gone(&mut cluster, leader);
    let none = Response::LeaseTimeToLive { id: LEASE, ttl: -1, granted_ttl: 0, keys: vec![] };
    assert_eq!(cluster.call(0, 14, ask).1, none);
    // A grant without a name gets one, and a revoke by hand takes the keys with it.
    let (_, Response::LeaseGrant { id, ttl: 5 }) = cluster.call(0, 15, grant(0, 5)) else { panic!("a name is made") };
    cluster.call(0, 16, attach("c", id));
    let stamp = None;
    assert_eq!(cluster.call(0, 17, Request::LeaseRevoke(LeaseRevokeRequest { id, stamp })).1, Response::LeaseRevoke);
    assert_eq!(cluster.host(leader).node.store().live().count(), 0);
}

/// Until a round confirms that the node leads, no keep-alive is answered; then it is answered once, however often it was asked.
#[test]
fn a_read_that_is_repeated_counts_from_its_first_receipt() {
    let (mut cluster, leader, _) = with_lease();
    // No round can be confirmed.
    cluster.cut_off.extend((1..=3).filter(|id| *id != leader));
    let keep = Wire::Read { read: (1, 5_000), command: Request::LeaseKeepAlive(LeaseKeepAliveRequest { id: LEASE }).into() };
    for _ in 0..3 {
        let message = Message::Request(keep.clone());
        cluster.host(leader).give(Input::Message { from: curp::Address::Client(1), message });
        cluster.run(20);
    }
    let host = cluster.host(leader);
    let received = host.leases.iter().filter(|(_, e)| matches!(e, LeaseEvent::ReceiveKeepAlive { read: (1, 5_000), .. })).count();
    let answered = host.leases.iter().filter(|(_, e)| matches!(e, LeaseEvent::AnswerKeepAlive { .. })).count();
    assert_eq!((received, answered), (3, 0));
    cluster.cut_off.clear();
    cluster.run(100);
    let host = cluster.host(leader);
    assert_eq!(host.leases.iter().filter(|(_, e)| matches!(e, LeaseEvent::AnswerKeepAlive { ttl: TTL, .. })).count(), 1);
}

/// Nor is a time to live told before a round confirms that the node leads.
#[test]
fn a_time_to_live_waits_for_a_round() {
    let (mut cluster, leader, _) = with_lease();
    cluster.cut_off.extend((1..=3).filter(|id| *id != leader));
    let ask = Wire::Read { read: (1, 5_000), command: time_to_live(LEASE).into() };
    cluster.host(leader).give(Input::Message { from: curp::Address::Client(1), message: Message::Request(ask) });
    cluster.run(20);
    let told = |host: &Host| host.leases.iter().filter(|(_, e)| matches!(e, LeaseEvent::AnswerTimeToLive { .. })).count();
    assert_eq!(told(cluster.host(leader)), 0);
    cluster.cut_off.clear();
    cluster.run(100);
    assert_eq!(told(cluster.host(leader)), 1);
}

/// The old leader dies just before the lease would expire: the new one, which cannot know what was promised, gives it the full time.
#[test]
fn an_election_gives_every_lease_its_full_time() {
    let (mut cluster, leader, granted) = with_lease();
    while cluster.now < granted + 1_900 * MS {
        cluster.run(1);
    }
    cluster.crash(leader);
    let next = cluster.until_led();
    let promoted = cluster.now;
    assert_ne!(next, leader);
    assert!(promoted > granted + TTL as u64 * SECOND, "its time was over during the election: {}", promoted - granted);
    let full = TTL as u64 * SECOND;
    let went = gone(&mut cluster, next);
    assert!((full..full + 20 * MS).contains(&(went - promoted)), "promoted at {promoted}, gone at {went}");
    cluster.restart(leader);
    cluster.run(500);
    assert!(!alive(&mut cluster, leader));
    let events: Vec<_> = cluster.host(next).leases.iter().map(|(_, event)| event.clone()).collect();
    assert!(matches!(events[..], [LeaseEvent::PromoteLeases { .. }, LeaseEvent::DecideExpiry { .. }]), "{events:?}");
}

/// A leader sleeps past the deadline while another keeps the lease alive. When it wakes up it may believe for a moment that it leads.
#[test]
fn a_leader_that_slept_revokes_nothing() {
    let (mut cluster, leader, _) = with_lease();
    cluster.say(1, Ask::KeepAlive { op: 9, lease: LEASE });
    cluster.run(100);
    cluster.paused.insert(leader);
    let next = cluster.until_led();
    cluster.run(3_000);
    assert!(alive(&mut cluster, next));
    cluster.paused.clear();
    cluster.run(3_000);
    for id in 1..=3 {
        assert!(alive(&mut cluster, id));
    }
    let decided = cluster.host(leader).leases.iter().filter(|(_, e)| matches!(e, LeaseEvent::DecideExpiry { .. })).count();
    assert!(decided <= 1);
    let demoted = cluster.host(leader).leases.iter().any(|(_, e)| matches!(e, LeaseEvent::DemoteLeases { .. }));
    assert!(demoted, "{:?}", cluster.host(leader).leases);
}

/// A new leader gives all leases their time from one moment on, so all that nobody keeps alive expire in one.
#[test]
fn many_that_expire_together_go_in_several_inputs() {
    let mut cluster = Cluster::new(3, 1);
    let old = cluster.until_led();
    for id in 1..=600 {
        cluster.say(0, Ask::Invoke { op: id as u64, request: grant(id, 5) });
    }
    cluster.run(200);
    let count = |cluster: &mut Cluster, id| cluster.host(id).node.store().leases().iter().count();
    assert_eq!(count(&mut cluster, old), 600);
    cluster.crash(old);
    let new = cluster.until_led();
    cluster.run(6_000);
    let decided: Vec<(Nanos, u64)> = cluster
        .host(new)
        .leases
        .iter()
        .filter_map(|(at, event)| match event {
            LeaseEvent::DecideExpiry { term, .. } => Some((*at, *term)),
            _ => None,
        })
        .collect();
    let times: Vec<usize> = decided.chunk_by(|a, b| a.0 == b.0).map(<[_]>::len).collect();
    assert_eq!(times, [256, 256, 88]);
    assert_eq!(decided[599].0 - decided[0].0, 2 * MS, "one tick after the other");
    assert_eq!((cluster.leader(), count(&mut cluster, new)), (Some(new), 0));
    assert!(decided.iter().all(|(_, term)| *term == decided[0].1), "it leads on");
}

/// While leadership is on its way to another, nothing can be proposed: what has expired is revoked later.
#[test]
fn a_revoke_is_tried_until_it_is_in_the_log() {
    let (mut cluster, leader, granted) = with_lease();
    while cluster.now < granted + 1_950 * MS {
        cluster.run(1);
    }
    let other = leader % 3 + 1;
    cluster.cut_off.insert(other);
    cluster.say(0, Ask::Admin { op: 9, node: None, wish: AdminWish::MoveLeader(other) });
    cluster.run(100);
    assert_eq!(decisions(&cluster).len(), 1, "it is decided");
    assert!(alive(&mut cluster, leader), "and cannot be proposed");
    gone(&mut cluster, leader);
    assert_eq!(decisions(&cluster).len(), 1, "one decision, however often it is tried");
}

/// A client revokes a lease and makes a new one of the same name. Meanwhile the old one expires: that must not hit the new one.
#[test]
fn a_new_lease_of_the_same_name_has_its_own_time() {
    let (mut cluster, leader, granted) = with_lease();
    while cluster.now < granted + 1_900 * MS {
        cluster.run(1);
    }
    // Nothing is committed for a while.
    cluster.cut_off.extend((1..=3).filter(|id| *id != leader));
    let (revoke, again) = (Request::LeaseRevoke(LeaseRevokeRequest { id: LEASE, stamp: None }), grant(LEASE, TTL));
    cluster.say(0, Ask::Invoke { op: 20, request: revoke });
    cluster.say(0, Ask::Invoke { op: 21, request: again });
    cluster.run(130);
    assert_eq!(decisions(&cluster).len(), 1);
    cluster.cut_off.clear();
    cluster.run(1_700);
    let synced =
        |n: &(Nanos, Notice)| matches!(n.1, Notice::Synced { op: 21, synced: Synced { response: Response::LeaseGrant { .. }, .. }, .. });
    let (again, _) = *cluster.callers[0].told.iter().find(|n| synced(n)).expect("it is granted");
    assert!(cluster.host(leader).node.store().leases().contains(LEASE), "granted at {again}, gone at {}", cluster.now);
    cluster.run(500);
    assert!(!cluster.host(leader).node.store().leases().contains(LEASE));
}

/// A revoke is void if its stamp is not its own entry's term; in which term a replica applies it, or applies it again, is nothing to it.
#[test]
fn a_revoke_of_an_earlier_term_is_replayed_as_it_was() {
    let config = Config { snapshot_every: 0, ..common::timeouts() };
    let (mut cluster, leader, _) = with_lease_in(Cluster::of(config, 3, 2));
    gone(&mut cluster, leader);
    cluster.run(100);
    cluster.crash(leader);
    let next = cluster.until_led();
    let other = 6 - leader - next;
    cluster.run(100);
    cluster.crash(other);
    cluster.restart(leader);
    cluster.restart(other);
    cluster.run(1_000);
    for id in 1..=3 {
        assert!(!alive(&mut cluster, id));
        let raw = cluster.host(id).node.raw();
        let (applied, hash) = (raw.applied(), raw.state_hash());
        let raw = cluster.host(next).node.raw();
        assert_eq!((applied, hash), (raw.applied(), raw.state_hash()));
    }
}

#[test]
fn a_serializable_read_is_answered_by_any_node_at_once() {
    let (mut cluster, leader, _) = with_lease();
    let follower = leader % 3 + 1;
    cluster.run(100);
    cluster.cut_off.insert(follower);
    let range = RangeRequest { key: Bytes::from("a"), serializable: true, ..RangeRequest::default() };
    let read = Wire::Read { read: (1, 7_000), command: Request::Range(range).into() };
    let host = cluster.host(follower);
    host.give(Input::Message { from: curp::Address::Client(1), message: Message::Request(read) });
    let answer = host.sent.iter().find_map(|m| match &m.message {
        Message::Reply(Reply::Read { read: (1, 7_000), synced, .. }) => Some(synced.response.clone()),
        _ => None,
    });
    assert!(matches!(answer, Some(Response::Range { count: 1, .. })), "{answer:?}");
    assert!(!host.events.iter().any(|e| matches!(e, curp::Event::ServeRead { read: (1, 7_000), .. })), "it is no linearizable read");
}

/// Plants a bug, and tells whether the test notices.
fn fails_with(mutant: Mutant, test: fn()) {
    mutants::plant(Some(mutant));
    let failed = std::panic::catch_unwind(test).is_err();
    mutants::plant(None);
    assert!(failed, "{mutant} is not noticed");
}

#[test]
fn known_bugs_are_noticed() {
    fails_with(Mutant::LeasePopNoRetry, a_revoke_is_tried_until_it_is_in_the_log);
    fails_with(Mutant::LeaseKeepaliveStale, a_read_that_is_repeated_counts_from_its_first_receipt);
    fails_with(Mutant::TimeToLiveStale, a_time_to_live_waits_for_a_round);
    fails_with(Mutant::LeaseFollowerExpires, a_leader_that_slept_revokes_nothing);
    fails_with(Mutant::LeaseStampVsCurrent, a_revoke_of_an_earlier_term_is_replayed_as_it_was);
    fails_with(Mutant::LeaseWallClock, a_lease_expires_with_its_keys_everywhere);
}
