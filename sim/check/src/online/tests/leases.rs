//! `leases`: each rule broken, after the known bugs that break it; and a long life that breaks none.

use curp::{Applied, Synced};
use history::{ClientEvent, WorldEvent};
use kv::{LeaseEvent, LeaseTimeToLiveRequest, Request, Response};

use super::super::leases as l;
use super::stage::{CLIENT, Stage, grant, put, revoke};

const CHECK: &str = "leases";

/// Lease 5 of 10 s, granted at 100 ms, with keys b and a.
fn granted(drift_ppm: u32) -> Stage {
    let mut s = Stage::new(drift_ppm);
    s.at(100).run(1, &grant(5, 10));
    s.run(2, &put("b", "1", 5));
    s.run(3, &put("a", "2", 5));
    s
}

fn ask(s: &mut Stage, op: u64, sent_ms: u64, ttl: i64, keys: &[&str]) {
    let (applied, revision, granted_ttl) = (s.index, s.store.revision(), if ttl < 0 { 0 } else { 10 });
    asked(s, op, sent_ms, ttl);
    told(s, op, (applied, revision), (ttl, granted_ttl), keys);
}

/// A question sent then, and a leader's answer to it now.
fn asked(s: &mut Stage, op: u64, sent_ms: u64, ttl: i64) {
    let (t, read) = (s.now() / 1_000_000, (CLIENT, 500 + op));
    let request = Request::LeaseTimeToLive(LeaseTimeToLiveRequest { id: 5, keys: true });
    s.at(sent_ms).client(ClientEvent::Propose { op, id: None, first_incomplete: None, read: Some(read), request });
    s.at(t).confirm(read);
    let (leader, term, now) = (s.leader, s.term, s.now());
    s.lease(leader, LeaseEvent::AnswerTimeToLive { term, lease: 5, read, now, ttl });
}

/// What its client is told: as of an applied index and a revision, so many of so many seconds.
fn told(s: &mut Stage, op: u64, (applied, revision): (u64, u64), (ttl, granted_ttl): (i64, i64), keys: &[&str]) {
    let response = Response::LeaseTimeToLive { id: 5, ttl, granted_ttl, keys: keys.iter().map(|k| (*k).into()).collect() };
    s.client(ClientEvent::ReadComplete { op, applied, synced: Synced { revision, response } });
}

#[test]
fn a_life_by_the_book() {
    let mut s = granted(0);
    s.at(1000);
    ask(&mut s, 10, 900, 9, &["a", "b"]);
    s.at(5000).keep_alive(5, 1, 4900, 10);
    ask(&mut s, 11, 4950, 10, &["a", "b"]);
    s.at(6000).lead(2, 3);
    ask(&mut s, 12, 5950, 10, &["a", "b"]);
    s.at(9000).keep_alive(5, 2, 8000, 10);
    s.run(4, &put("a", "3", 0));
    ask(&mut s, 13, 8950, 9, &["b"]);
    s.at(19_000).expire(5);
    ask(&mut s, 14, 19_000, -1, &[]);
    // A new one of the same name, ended by its client.
    s.at(20_000).run(5, &grant(5, 10));
    s.at(21_000).keep_alive(5, 3, 20_500, 10);
    s.at(21_500).run(6, &revoke(5, None));
    // A revoke that comes too late finds nothing, one of another term is void.
    let (term, now) = (s.term, s.now());
    s.run(7, &grant(5, 10));
    s.lease(2, LeaseEvent::DecideExpiry { term, lease: 5, now: now + 10_000_000_000 });
    s.at(31_600).lead(1, 4);
    let entry = s.own(revoke(5, Some(3)));
    s.take(&entry);
    s.heal();
    s.at(41_640).expire(5);
    s.at(80_000).run(8, &put("z", "1", 0));
    s.quiet();
}

#[test]
fn a_lease_expires_before_its_time() {
    let mut s = granted(0);
    s.at(10_099).expire(5);
    s.broken(CHECK, l::NOT_EARLY, "lease 5 of 10 s expired 10 s after its grant was sent, 1 ms too early");
    let mut s = granted(0);
    s.at(10_100).expire(5);
    s.quiet();
    // Clocks that may drift leave a client less to rely on.
    let mut s = granted(100_000);
    s.at(9_200).expire(5);
    s.quiet();
    let mut s = granted(100_000);
    s.at(9_100).expire(5);
    s.broken(CHECK, l::NOT_EARLY, "too early for a client that trusts clocks to 100000 ppm");
}

#[test]
fn a_keep_alive_that_was_answered_counts_from_its_sending() {
    let mut s = granted(0);
    s.at(5000).keep_alive(5, 1, 4000, 10);
    s.at(13_900).expire(5);
    s.broken(CHECK, l::NOT_EARLY, "after a keep-alive that was answered was sent, 100 ms too early");
    // The answer comes when the lease is gone already.
    let mut s = granted(0);
    let read = (CLIENT, 1);
    s.at(9_000).client(ClientEvent::SendKeepAlive { op: 90, lease: 5, read });
    s.at(10_200).expire(5);
    s.client(ClientEvent::KeptAlive { op: 90, lease: 5, read, ttl: 10 });
    s.broken(CHECK, l::NOT_EARLY, "after a keep-alive that was granted was sent");
}

#[test]
fn a_keep_alive_of_what_is_gone() {
    let mut s = granted(0);
    s.at(11_000).expire(5);
    let read = (CLIENT, 1);
    s.at(12_000).client(ClientEvent::SendKeepAlive { op: 90, lease: 5, read });
    s.client(ClientEvent::KeptAlive { op: 90, lease: 5, read, ttl: 10 });
    s.broken(CHECK, l::KEPT_ONLY_ALIVE, "a keep-alive of lease 5 was granted, which had been gone for 1 s when it was sent");
}

#[test]
fn a_deposed_leader_answers() {
    let mut s = granted(0);
    let read = (CLIENT, 1);
    s.lead(2, 3);
    s.lease(1, LeaseEvent::AnswerKeepAlive { term: 1, lease: 5, read, ttl: 10 });
    s.broken(CHECK, l::LEADS, "node 1 speaks of lease 5 in term 1");
    // One that does not know of the other yet, and did not ask whether it leads.
    let mut s = granted(0);
    s.lease(1, LeaseEvent::AnswerKeepAlive { term: 1, lease: 5, read, ttl: 10 });
    s.broken(CHECK, l::CONFIRMED, "no round of heartbeats begun after it was asked says that it still led");
    // Who leads promotes; others do not.
    let mut s = granted(0);
    s.lease(3, LeaseEvent::PromoteLeases { term: 1, now: 0 });
    s.broken(CHECK, l::LEADS, "node 3 promoted the leases in term 1, whose leader it is not");
}

#[test]
fn what_is_given_up_stays_so() {
    let read = (CLIENT, 1);
    let decided = || {
        let mut s = granted(0);
        s.at(10_100).lease(1, LeaseEvent::DecideExpiry { term: 1, lease: 5, now: 10_100_000_000 });
        s.confirm(read);
        s
    };
    let mut s = decided();
    s.lease(1, LeaseEvent::AnswerKeepAlive { term: 1, lease: 5, read, ttl: 10 });
    s.broken(CHECK, l::GIVEN_UP, "had decided in term 1 that lease 5 has expired, and then kept it alive");
    let mut s = decided();
    s.lease(1, LeaseEvent::ReceiveKeepAlive { term: 1, lease: 5, read, now: 10_100_000_000, deadline: Some(u64::MAX) });
    s.broken(CHECK, l::GIVEN_UP, "put its deadline off");
    let mut s = decided();
    s.lease(1, LeaseEvent::AnswerKeepAlive { term: 1, lease: 5, read, ttl: 0 });
    s.quiet();
}

#[test]
fn a_keep_alive_of_what_is_there_is_refused() {
    let refuse = |s: &mut Stage, sent_ms: u64| {
        let (t, read) = (s.now() / 1_000_000, (CLIENT, 1));
        s.at(sent_ms).client(ClientEvent::SendKeepAlive { op: 90, lease: 5, read });
        s.at(t).confirm(read);
        let (leader, term) = (s.leader, s.term);
        s.lease(leader, LeaseEvent::AnswerKeepAlive { term, lease: 5, read, ttl: 0 });
    };
    let mut s = granted(0);
    s.at(5000);
    refuse(&mut s, 4000);
    s.broken(CHECK, l::REFUSED, "node 1 refused in term 1 to keep lease 5 alive, which was granted before that was asked");
    // Granted while the question was on its way, or ended.
    let mut s = granted(0);
    s.at(5000);
    refuse(&mut s, 99);
    s.at(5000).run(4, &revoke(5, None));
    refuse(&mut s, 4999);
    s.quiet();
    // A grant that its client has the fast answer to is as good as applied.
    let mut s = Stage::new(0);
    let entry = s.at(100).propose(1, &grant(5, 10));
    let (id, config) = (entry.id().expect("a client's"), curp::ConfigVersion::default());
    let response = Response::LeaseGrant { id: 5, ttl: 10 };
    s.client(ClientEvent::FastComplete { op: 1, id, term: 1, config, nodes: vec![1, 2, 3], response });
    s.at(200);
    refuse(&mut s, 150);
    s.broken(CHECK, l::REFUSED, "which was granted before that was asked");
}

/// A question that is asked again by another gateway, and answered as the first was: what counts is when it was first asked.
#[test]
fn a_question_that_went_two_ways() {
    let mut s = Stage::new(0);
    let request = || Request::LeaseTimeToLive(LeaseTimeToLiveRequest { id: 5, keys: false });
    let asked = |s: &mut Stage, gateway: u32| {
        s.client(ClientEvent::Propose { op: 10, id: None, first_incomplete: None, read: Some((gateway, 1)), request: request() });
    };
    s.at(100);
    asked(&mut s, 91);
    s.at(200).run(1, &grant(5, 10));
    s.at(250);
    asked(&mut s, 92);
    s.confirm((91, 1));
    s.lease(1, LeaseEvent::AnswerTimeToLive { term: 1, lease: 5, read: (91, 1), now: 0, ttl: -1 });
    s.at(300);
    told(&mut s, 10, (1, 1), (-1, 0), &[]);
    s.quiet();
}

#[test]
fn a_stale_clock_reading_at_the_receipt() {
    let mut s = granted(0);
    s.at(5000).lease(
        1,
        LeaseEvent::ReceiveKeepAlive { term: 1, lease: 5, read: (CLIENT, 1), now: 5_000_000_000, deadline: Some(13_000_000_000) },
    );
    s.broken(CHECK, l::FROM_RECEIPT, "set its deadline only 8 s after the reading of that moment");
}

#[test]
fn a_time_to_live_grows() {
    let mut s = granted(0);
    s.at(5000);
    ask(&mut s, 10, 4900, 5, &["a", "b"]);
    ask(&mut s, 11, 4900, 6, &["a", "b"]);
    s.broken(CHECK, l::NOT_GROWING, "has 6 s to live, after 5 s");
}

#[test]
fn who_is_there_and_with_which_keys() {
    let mut s = granted(0);
    s.at(500);
    ask(&mut s, 10, 400, -1, &[]);
    s.broken(CHECK, l::THERE, "lease 5 is not there, and it was, all the while");
    let mut s = granted(0);
    s.at(500);
    ask(&mut s, 10, 400, 9, &["a"]);
    s.broken(CHECK, l::KEYS, "was said to have the keys [a] at revision 3, where it has [a, b]");
    let mut s = granted(0);
    s.run(4, &revoke(5, None));
    s.at(500);
    ask(&mut s, 10, 400, 9, &[]);
    s.broken(CHECK, l::THERE, "lease 5 is there, and it was gone before that was asked");
}

/// Entry 1 is the leader's no-op, 2 the grant, 3 and 4 the puts of b and a, which make revisions 2 and 3.
#[test]
fn a_time_to_live_is_that_of_its_place() {
    let tell = |place, ttls: (i64, i64), keys: &[&str]| {
        let mut s = granted(0);
        s.at(500);
        asked(&mut s, 10, 400, ttls.0);
        told(&mut s, 10, place, ttls, keys);
        s
    };
    tell((4, 3), (9, 10), &["a", "b"]).quiet();
    let says = "a client was told at log index 4 and revision 3 that lease 5 has 10 s of 9 s to live: by the log it was granted 10 s, at revision 3";
    tell((4, 3), (10, 9), &["a", "b"]).broken(CHECK, l::AS_SERVED, says);
    tell((4, 3), (11, 10), &["a", "b"]).broken(CHECK, l::AS_SERVED, "has 11 s of 10 s to live");
    tell((4, 2), (9, 10), &["b"]).broken(CHECK, l::AS_SERVED, "at log index 4 and revision 2");
    tell((4, 3), (-1, 0), &[]).broken(CHECK, l::AS_SERVED, "has -1 s of 0 s to live: by the log it was granted 10 s");
    tell((1, 1), (9, 10), &[]).broken(CHECK, l::AS_SERVED, "by the log it is not there, at revision 1");
    tell((4, 3), (9, 10), &["b"]).broken(CHECK, l::KEYS, "was said to have the keys [b] at revision 3, where it has [a, b]");
    // A place that nobody has reached, whatever the revision.
    tell((5, 3), (9, 10), &["a", "b"]).broken(CHECK, l::REACHED, "as of log index 5, and nobody has applied more than 4");
    // Right for its place, and the put of a was acknowledged before.
    tell((3, 2), (9, 10), &["b"]).broken(CHECK, l::UP_TO_DATE, "as of log index 3, without");
}

#[test]
fn a_time_to_live_may_be_of_any_state_since_it_was_asked() {
    let mut s = granted(0);
    asked(&mut s, 10, 100, 9);
    s.at(200).run(4, &put("c", "1", 5));
    told(&mut s, 10, (4, 3), (9, 10), &["a", "b"]);
    s.quiet();
    // Who does not ask for the keys has only grants and revokes of that lease to see.
    let ask_without_keys = |mut s: Stage, op, ttls: (i64, i64), revision| {
        let (read, request) = ((CLIENT, op), Request::LeaseTimeToLive(LeaseTimeToLiveRequest { id: 5, keys: false }));
        s.client(ClientEvent::Propose { op, id: None, first_incomplete: None, read: Some(read), request });
        s.confirm(read);
        s.lease(1, LeaseEvent::AnswerTimeToLive { term: 1, lease: 5, read, now: 0, ttl: ttls.0 });
        told(&mut s, op, (if ttls.0 < 0 { 1 } else { 3 }, revision), ttls, &[]);
        s
    };
    ask_without_keys(granted(0), 10, (9, 10), 2).quiet();
    ask_without_keys(granted(0), 10, (-1, 0), 1).broken(CHECK, l::UP_TO_DATE, "as of log index 1, without");
}

#[test]
fn a_client_is_told_what_no_leader_said() {
    let mut s = granted(0);
    s.at(500);
    asked(&mut s, 10, 400, 9);
    told(&mut s, 10, (4, 3), (8, 10), &["a", "b"]);
    s.broken(CHECK, l::AS_SAID, "a client was told that lease 5 has 8 s to live, and the leaders had answered 9 s");
    let keep = |said: i64, told: i64| {
        let (mut s, read) = (granted(0), (CLIENT, 1));
        s.at(500).client(ClientEvent::SendKeepAlive { op: 90, lease: 5, read });
        s.confirm(read);
        s.lease(1, LeaseEvent::AnswerKeepAlive { term: 1, lease: 5, read, ttl: said });
        s.client(ClientEvent::KeptAlive { op: 90, lease: 5, read, ttl: told });
        s
    };
    keep(10, 10).quiet();
    keep(10, 0).broken(CHECK, l::AS_SAID, "lease 5 has 0 s to live, and the leaders had answered 10 s");
    keep(9, 9).broken(CHECK, l::GRANTED, "a keep-alive of lease 5 gave it 9 s, and it was granted 10 s");
    // By another gateway than the one that asked first.
    let (mut s, reads) = (granted(0), [(91, 1), (92, 1)]);
    reads.iter().for_each(|read| s.client(ClientEvent::SendKeepAlive { op: 90, lease: 5, read: *read }));
    s.run(4, &revoke(5, None));
    s.confirm(reads[1]);
    s.lease(1, LeaseEvent::AnswerKeepAlive { term: 1, lease: 5, read: reads[1], ttl: 0 });
    s.client(ClientEvent::KeptAlive { op: 90, lease: 5, read: reads[0], ttl: 0 });
    s.quiet();
}

#[test]
fn a_time_to_live_that_nobody_confirmed() {
    let mut s = granted(0);
    s.lease(1, LeaseEvent::AnswerTimeToLive { term: 1, lease: 5, read: (CLIENT, 1), now: 0, ttl: 9 });
    s.broken(CHECK, l::CONFIRMED, "node 1 told 9 s to live of lease 5 in term 1, and no round of heartbeats");
}

#[test]
fn a_server_revokes_without_a_decision() {
    let mut s = granted(0);
    let entry = s.at(20_000).own(revoke(5, None));
    s.take(&entry);
    s.broken(CHECK, l::STAMPED, "node 1 proposed to revoke lease 5, without a stamp");
    let mut s = granted(0);
    let entry = s.at(20_000).own(revoke(5, Some(1)));
    s.take(&entry);
    s.broken(CHECK, l::STAMPED, "stamped with term 1, in which nobody decided so");
    let mut s = granted(0);
    s.at(20_000).lease(2, LeaseEvent::DecideExpiry { term: 1, lease: 5, now: 1 });
    s.broken(CHECK, l::LEADS, "node 2 speaks of lease 5 in term 1");
}

#[test]
fn a_deposed_leaders_revoke_takes_effect() {
    let mut s = granted(0);
    s.at(10_100).lease(1, LeaseEvent::DecideExpiry { term: 1, lease: 5, now: 10_100_000_000 });
    s.lead(2, 3);
    let entry = s.own(revoke(5, Some(1)));
    s.applied(2, &entry, Applied::Done(Synced { revision: 4, response: Response::LeaseRevoke }));
    s.broken(CHECK, l::VOID, "came to done at revision 4 on node 2, in entry 6 of term 3");
}

#[test]
fn a_revoke_that_deletes_too_much_or_makes_a_revision_of_nothing() {
    // The key was attached to another lease since, and deleted with its first all the same.
    let mut s = granted(0);
    s.run(4, &grant(6, 10));
    s.run(5, &put("a", "3", 6));
    s.run(6, &put("b", "3", 6));
    let entry = s.propose(7, &revoke(5, None));
    s.applied(1, &entry, Applied::Done(Synced { revision: 6, response: Response::LeaseRevoke }));
    s.broken(CHECK, l::TOGETHER, "came to done at revision 6 on node 1, in entry 8 of term 1: by the log it comes to done at revision 5");
    s.broken("revisions", super::super::revisions::ONE_EACH, "so it should be 5");
}

#[test]
fn a_put_with_an_unknown_lease() {
    let mut s = Stage::new(0);
    let entry = s.propose(1, &put("a", "1", 9));
    s.applied(1, &entry, Applied::Done(Synced { revision: 2, response: Response::Put { prev_kv: None } }));
    s.broken(CHECK, l::UNKNOWN, "put(a, 1, lease 9) came to done at revision 2");
}

#[test]
fn a_replica_without_its_leases() {
    let mut s = Stage::new(0);
    let entry = s.propose(1, &grant(5, 10));
    s.applied(1, &entry, Applied::Done(Synced { revision: 1, response: Response::LeaseGrant { id: 5, ttl: 10 } }));
    s.applied(2, &entry, Applied::Done(Synced { revision: 1, response: Response::Error(kv::Error::LeaseExists) }));
    s.broken(CHECK, l::AS_LOGGED, "came to etcdserver: lease already exists at revision 1 on node 2");
}

#[test]
fn an_expired_lease_that_never_goes() {
    // Its leader has decided, and its revoke does not get into the log.
    let decided = || {
        let mut s = granted(0);
        s.at(1000).heal();
        let (term, now) = (s.term, 10_100_000_000);
        s.at(10_100).lease(1, LeaseEvent::DecideExpiry { term, lease: 5, now });
        s
    };
    let mut s = decided();
    s.at(13_500).run(4, &put("z", "1", 0));
    s.quiet();
    let mut s = decided();
    s.at(13_600).run(4, &put("z", "1", 0));
    s.broken(CHECK, l::NOT_LATE, "lease 5 of 10 s is still there 12.6 s after it was last kept alive or promoted");
    let mut s = decided();
    let entry = s.at(13_600).own(revoke(5, Some(1)));
    s.take(&entry);
    s.broken(CHECK, l::NOT_LATE, "lease 5 of 10 s went only 12.6 s after");
}

#[test]
fn a_leader_decides_late_or_not_at_all() {
    let mut s = granted(0);
    s.at(10_150).expire(5);
    s.quiet();
    let mut s = granted(0);
    s.at(10_151).expire(5);
    s.broken(CHECK, l::IN_TIME, "node 1 leads, and had not decided that lease 5 has expired 1 ms after");
    // Clocks may drift.
    let mut s = granted(100_000);
    s.at(11_200).expire(5);
    s.quiet();
    // A keep-alive and a promotion give it time.
    let mut s = granted(0);
    s.at(5000).keep_alive(5, 1, 4900, 10);
    s.at(12_000).lead(2, 3);
    s.at(22_040).expire(5);
    s.quiet();
    // It never decides, and is deposed.
    let mut s = granted(0);
    s.at(11_150).lead(2, 3);
    s.broken(CHECK, l::IN_TIME, "node 1 leads, and had not decided that lease 5 has expired 1 s after");
    // Who stands still decides when it goes on.
    let stood_still = |until| {
        let mut s = granted(0);
        s.at(9000).world(1, WorldEvent::Pause);
        s.at(30_000).world(1, WorldEvent::Resume);
        s.at(until).expire(5);
        s
    };
    stood_still(30_050).quiet();
    stood_still(30_060).broken(CHECK, l::IN_TIME, "10 ms after");
}
