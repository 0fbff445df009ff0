//! Watches and streams of keep-alives, by hand.

use super::*;
use kv::{Error, EventKind, KeyValue, LeaseKeepAliveRequest, WatchEvent};

const LEASE: LeaseId = 7;

/// The questions sent since the last call: to whom, the watcher's number, the question's, where the client stands, whether progress is wanted.
fn pulls(out: &mut Output) -> Vec<(NodeId, u64, u64, u64, bool)> {
    let pull = |(to, message): (NodeId, Message<Request>)| match message {
        Message::Request(curp::Request::Watch { watch, pull, create, progress }) => {
            assert_eq!(watch.0, 1, "the client's address");
            Some((to, watch.1, pull, create.start_revision, progress))
        }
        _ => None,
    };
    std::mem::take(&mut out.messages).into_iter().filter_map(pull).collect()
}

fn pull(out: &mut Output) -> (NodeId, u64, u64, u64, bool) {
    let pulls = pulls(out);
    let [one] = pulls[..] else { panic!("not one question: {pulls:?}") };
    one
}

/// The revisions told of since the last call, and the responses without events.
fn told(out: &mut Output) -> (Vec<u64>, Vec<WatchResponse>) {
    let response = |notice| if let Notice::Watch { response, .. } = notice { Some(response) } else { None };
    let all: Vec<_> = std::mem::take(&mut out.notices).into_iter().filter_map(response).collect();
    let (with, without): (Vec<_>, Vec<_>) = all.into_iter().partition(|r: &WatchResponse| !r.events.is_empty());
    (with.iter().flat_map(|r| &r.events).map(|e| e.kv.mod_revision).collect(), without)
}

fn created(revision: u64) -> WatchResponse {
    WatchResponse { revision, created: true, ..WatchResponse::default() }
}

fn progress(revision: u64) -> WatchResponse {
    WatchResponse { revision, ..WatchResponse::default() }
}

fn events(revisions: std::ops::RangeInclusive<u64>) -> WatchResponse {
    let event = |mod_revision| WatchEvent { kind: EventKind::Put, kv: KeyValue { mod_revision, ..KeyValue::default() }, prev_kv: None };
    WatchResponse { revision: *revisions.end(), events: revisions.map(event).collect(), ..WatchResponse::default() }
}

/// A client that watches from a revision on, asked of node 2 first; the watcher's number.
fn watching(start_revision: u64) -> (Client, Output, u64) {
    let (mut client, mut out) = busy();
    (out.messages, out.notices) = (vec![], vec![]);
    let request = WatchCreateRequest { start_revision, ..WatchCreateRequest::default() };
    client.handle(START, Input::Watch { op: 5, request, node: Some(2) }, &mut out);
    let (to, number, first, start, asked) = pull(&mut out);
    assert_eq!((to, first, start, asked), (2, 1, start_revision, false));
    assert_eq!(out.notices, [Notice::Registered { op: 5, to: 2, start_revision }]);
    (client, out, number)
}

fn answer(client: &mut Client, out: &mut Output, now: Nanos, number: u64, pull: u64, response: Option<WatchResponse>) {
    client.handle(now, Input::Message { from: 2, reply: Reply::Watch { watch: (1, number), pull, response } }, out);
}

/// Lets time pass until the watch is asked at another node; when, and the question.
fn elsewhere(client: &mut Client, out: &mut Output, mut now: Nanos) -> (Nanos, (NodeId, u64, u64, u64, bool)) {
    for _ in 0..10_000 {
        now += MS;
        client.handle(now, Input::Tick, out);
        if let Some(asked) = pulls(out).into_iter().find(|(_, _, pull, ..)| *pull == 1) {
            return (now, asked);
        }
    }
    panic!("it stays where it is");
}

#[test]
fn a_watch_asks_when_its_caller_is_ready() {
    let (mut client, mut out, number) = watching(3);
    answer(&mut client, &mut out, START, number, 1, Some(created(2)));
    assert_eq!(told(&mut out), (vec![], vec![created(2)]));
    client.handle(START + 5_000 * MS, Input::Tick, &mut out);
    assert_eq!(pulls(&mut out), [], "the caller has not asked");
    client.handle(START, Input::WatchNext { op: 5 }, &mut out);
    assert_eq!(pull(&mut out), (2, number, 2, 3, false));
    client.handle(START, Input::WatchNext { op: 5 }, &mut out);
    assert_eq!(pulls(&mut out), [], "one question at a time");
    answer(&mut client, &mut out, START, number, 2, Some(events(3..=6)));
    answer(&mut client, &mut out, START, number, 2, Some(events(3..=6)));
    assert_eq!(told(&mut out), (vec![3, 4, 5, 6], vec![]), "a repeated answer is told once");
    client.handle(START, Input::WatchNext { op: 5 }, &mut out);
    assert_eq!(pull(&mut out), (2, number, 3, 7, false), "it says where it stands");
    answer(&mut client, &mut out, START, number, 2, Some(events(3..=6)));
    answer(&mut client, &mut out, START, number + 1, 3, Some(events(7..=7)));
    assert_eq!(told(&mut out), (vec![], vec![]), "late, and another watcher's");
    client.handle(START, Input::EndWatch { op: 5 }, &mut out);
    let ended = Message::Request(curp::Request::Unwatch { watch: (1, number) });
    assert_eq!(out.messages.last(), Some(&(2, ended)));
    answer(&mut client, &mut out, START, number, 3, Some(events(7..=7)));
    assert_eq!(told(&mut out), (vec![], vec![]));
}

#[test]
fn a_lost_question_is_repeated_as_it_was() {
    let (mut client, mut out, number) = watching(3);
    let (mut now, mut asked) = (START, Vec::new());
    while asked.len() < 3 {
        now += MS;
        client.handle(now, Input::Tick, &mut out);
        asked.extend(pulls(&mut out));
    }
    // From the third on the node is to say something even if there is nothing to tell.
    assert_eq!(asked, [(2, number, 1, 3, false), (2, number, 1, 3, true), (2, number, 1, 3, true)]);
    let registered = out.notices.iter().filter(|n| matches!(n, Notice::Registered { .. })).count();
    assert_eq!(registered, 1, "it is the same watcher");
}

#[test]
fn a_watch_goes_on_elsewhere_without_a_gap_or_a_duplicate() {
    let (mut client, mut out, number) = watching(0);
    answer(&mut client, &mut out, START, number, 1, Some(created(9)));
    client.handle(START, Input::WatchNext { op: 5 }, &mut out);
    answer(&mut client, &mut out, START, number, 2, Some(events(10..=12)));
    told(&mut out);
    client.handle(START, Input::WatchNext { op: 5 }, &mut out);
    pulls(&mut out);
    // The node has crashed: nothing comes.
    let (now, (to, next, first, start, _)) = elsewhere(&mut client, &mut out, START);
    assert!(to != 2 && next != number, "another watcher, at another node");
    assert_eq!((first, start), (1, 13));
    assert_eq!(out.notices.last(), Some(&Notice::Registered { op: 5, to, start_revision: 13 }));
    told(&mut out);
    // Late news of the first one.
    answer(&mut client, &mut out, now, number, 3, Some(events(13..=14)));
    assert_eq!(told(&mut out), (vec![], vec![]));
    // The new node lags. That it has begun the caller knows.
    answer(&mut client, &mut out, now, next, 1, Some(created(11)));
    assert_eq!(pull(&mut out), (to, next, 2, 13, false), "the caller is still waiting");
    answer(&mut client, &mut out, now, next, 2, Some(events(13..=14)));
    assert_eq!(told(&mut out), (vec![13, 14], vec![]));
    // A node that has forgotten the watcher says so.
    client.handle(now, Input::WatchNext { op: 5 }, &mut out);
    pulls(&mut out);
    answer(&mut client, &mut out, now, next, 3, None);
    let (_, (again, third, first, start, _)) = elsewhere(&mut client, &mut out, now);
    assert!(again != to && third != next);
    assert_eq!((first, start), (1, 15));
}

#[test]
fn a_compaction_while_it_was_away_ends_a_watch() {
    let (mut client, mut out, number) = watching(3);
    answer(&mut client, &mut out, START, number, 1, None);
    let (now, (_, next, ..)) = elsewhere(&mut client, &mut out, START);
    let last = WatchResponse {
        revision: 2,
        canceled: true,
        compact_revision: 8,
        cancel_reason: Some(Error::Compacted),
        ..WatchResponse::default()
    };
    answer(&mut client, &mut out, now, next, 1, Some(created(2)));
    client.handle(now, Input::WatchNext { op: 5 }, &mut out);
    answer(&mut client, &mut out, now, next, 2, Some(last.clone()));
    assert_eq!(told(&mut out).1, [created(2), last]);
    pulls(&mut out);
    client.handle(now + 5_000 * MS, Input::WatchNext { op: 5 }, &mut out);
    assert_eq!(pulls(&mut out), [], "it has ended");
}

#[test]
fn progress_is_told_if_it_was_wanted() {
    let (mut client, mut out, number) = watching(0);
    answer(&mut client, &mut out, START, number, 1, Some(created(9)));
    told(&mut out);
    client.handle(START, Input::WatchNext { op: 5 }, &mut out);
    pulls(&mut out);
    answer(&mut client, &mut out, START, number, 2, Some(progress(11)));
    assert_eq!(told(&mut out), (vec![], vec![]), "nobody wanted to know");
    assert_eq!(pull(&mut out), (2, number, 3, 12, false), "the caller is still waiting, and stands further on");
    let later = START + 100 * MS;
    client.handle(later, Input::WatchProgress { op: 5 }, &mut out);
    assert_eq!(pull(&mut out), (2, number, 3, 12, true));
    answer(&mut client, &mut out, later, number, 3, Some(progress(11)));
    assert_eq!(told(&mut out), (vec![], vec![progress(11)]));
}

/// Found by the harness: what a node says of a watch that begins in the future was taken for news of one that lags, and the watch
/// went from node to node for ever.
#[test]
fn a_watch_of_the_future_is_told_how_far_it_is() {
    let (mut client, mut out, number) = watching(65);
    answer(&mut client, &mut out, START, number, 1, Some(created(52)));
    told(&mut out);
    client.handle(START, Input::WatchProgress { op: 5 }, &mut out);
    client.handle(START, Input::WatchNext { op: 5 }, &mut out);
    assert_eq!(pull(&mut out), (2, number, 2, 65, true));
    answer(&mut client, &mut out, START, number, 2, Some(progress(55)));
    assert_eq!(told(&mut out), (vec![], vec![progress(55)]));
}

/// Found by the harness: a caller that asked every 200 ms how far its watch was kept it for ever at a node that was down.
#[test]
fn a_caller_that_keeps_asking_does_not_keep_its_watch_at_a_silent_node() {
    let (mut client, mut out, number) = watching(3);
    answer(&mut client, &mut out, START, number, 1, Some(created(2)));
    client.handle(START, Input::WatchNext { op: 5 }, &mut out);
    let mut now = START;
    loop {
        now += 20 * MS;
        client.handle(now, Input::WatchProgress { op: 5 }, &mut out);
        if pulls(&mut out).into_iter().any(|(to, ..)| to != 2) {
            break;
        }
        assert!(now < START + 5_000 * MS, "it stays where it is");
    }
    let registered = out.notices.iter().filter(|n| matches!(n, Notice::Registered { .. })).count();
    assert_eq!(registered, 2);
}

/// Found by the harness: a client that had nothing but a watch never asked who was there, and went for ever among nodes that had left.
#[test]
fn a_watch_finds_out_that_every_node_it_knows_has_left() {
    for entropy in 0..20 {
        let config = Config { retry_after_min: 100 * MS, retry_after_max: 1_600 * MS };
        let (mut client, mut out) = (Client::new(1, 0, config, membership(), entropy), Output::default());
        client.handle(START, Input::Watch { op: 5, request: WatchCreateRequest::default(), node: None }, &mut out);
        let (there, _) = later(9, &[6], &[]);
        let mut now = START;
        let found = loop {
            now += 10 * MS;
            assert!(now < START + 60_000 * MS, "entropy {entropy}: it stays among those that have left");
            for (to, message) in std::mem::take(&mut out.messages) {
                match message {
                    // Node 3 alone still runs: it knows that it was removed, and serves no watch.
                    Message::Request(curp::Request::FetchCluster) if to == 3 => client.handle(now, cluster(3, 6, &there), &mut out),
                    Message::Request(curp::Request::Watch { watch, pull, .. }) if to == 3 => {
                        client.handle(now, Input::Message { from: 3, reply: Reply::Watch { watch, pull, response: None } }, &mut out);
                    }
                    _ => {}
                }
            }
            if out.notices.iter().any(|n| matches!(n, Notice::Registered { to: 6, .. })) {
                break now;
            }
            client.handle(now, Input::Tick, &mut out);
        };
        // Five moves ask every node of five; each is made after four waits of 1.6 s at most.
        assert!(found < START + 40_000 * MS, "entropy {entropy}: after {} ms", (found - START) / MS);
    }
}

/// Found by the harness: at a node that lags, a watch was told how far it was, and that was less than it had been told before.
#[test]
fn progress_never_goes_back() {
    let (mut client, mut out, number) = watching(3);
    answer(&mut client, &mut out, START, number, 1, None);
    let (mut now, (_, next, ..)) = elsewhere(&mut client, &mut out, START);
    answer(&mut client, &mut out, now, next, 1, Some(created(2)));
    client.handle(now, Input::WatchNext { op: 5 }, &mut out);
    answer(&mut client, &mut out, now, next, 2, Some(events(3..=9)));
    told(&mut out);
    pulls(&mut out);
    client.handle(now, Input::WatchNext { op: 5 }, &mut out);
    answer(&mut client, &mut out, now, next, 3, None);
    client.handle(now + 1_000 * MS, Input::Tick, &mut out);
    let (_, lagging, first, 10, _) = pulls(&mut out).pop().expect("a question") else { panic!("it stands at 10") };
    now += 1_000 * MS;
    assert_eq!(first, 1);
    answer(&mut client, &mut out, now, lagging, 1, Some(created(4)));
    client.handle(now, Input::WatchProgress { op: 5 }, &mut out);
    let mut asked = pulls(&mut out).len();
    for (tries, pull) in (0..50).zip(2..) {
        answer(&mut client, &mut out, now, lagging, pull, Some(progress(4)));
        now += 100 * MS;
        client.handle(now, Input::Tick, &mut out);
        let questions = pulls(&mut out);
        asked += questions.len();
        if questions.iter().any(|(_, number, ..)| *number != lagging) {
            assert_eq!(told(&mut out), (vec![], vec![]));
            // Four waits, each up to twice the one before: three seconds at most.
            assert!(tries < 31 && asked < 10, "{tries} tries, {asked} questions");
            return;
        }
    }
    panic!("it stays where it is");
}

#[test]
fn a_grant_without_a_name_is_named_by_its_id() {
    let (mut client, mut out) = busy();
    out.messages.clear();
    client.handle(START, Input::Invoke { op: 2, request: Request::LeaseGrant(LeaseGrantRequest { ttl: 3, id: 0 }) }, &mut out);
    client.handle(START + 5_000 * MS, Input::Tick, &mut out);
    let grants = out.messages.iter().filter_map(|(_, message)| match message {
        Message::Request(curp::Request::Propose { proposal } | curp::Request::Record { proposal, .. }) => {
            matches!(&*proposal.command, Request::LeaseGrant(_)).then(|| (proposal.id, (*proposal.command).clone()))
        }
        _ => None,
    });
    let grants: Vec<_> = grants.collect();
    let id = ProposeId { client: 3, seq: 2 };
    let named = Request::LeaseGrant(LeaseGrantRequest { ttl: 3, id: made_lease_id(3, 2) });
    assert!(grants.len() > 5 && grants.iter().all(|grant| *grant == (id, named.clone())), "at every try: {grants:?}");
    let proposed = out.notices.iter().any(|n| matches!(n, Notice::Proposed { op: 2, request, .. } if *request == named));
    assert!(proposed, "and the caller knows");
}

/// The keep-alives sent since the last call: to whom, under which name.
fn keep_alives(out: &mut Output) -> Vec<(NodeId, ReadId)> {
    let wanted = Request::LeaseKeepAlive(LeaseKeepAliveRequest { id: LEASE });
    let read = |(to, message)| match message {
        Message::Request(curp::Request::Read { read, command }) if *command == wanted => Some((to, read)),
        _ => None,
    };
    std::mem::take(&mut out.messages).into_iter().filter_map(read).collect()
}

fn kept(client: &mut Client, out: &mut Output, now: Nanos, read: ReadId, ttl: i64) {
    let synced = Synced { revision: 1, response: Response::LeaseKeepAlive { id: LEASE, ttl } };
    client.handle(now, Input::Message { from: 1, reply: Reply::Read { read, applied: 9, synced } }, out);
}

#[test]
fn a_kept_lease_s_time_runs_from_the_first_sending() {
    let (mut client, mut out) = busy();
    (out.messages, out.notices) = (vec![], vec![]);
    client.handle(START, Input::KeepAlive { op: 5, lease: LEASE }, &mut out);
    let first = keep_alives(&mut out);
    let [(1, read)] = first[..] else { panic!("to the leader: {first:?}") };
    assert_eq!(out.notices, [Notice::SentKeepAlive { op: 5, lease: LEASE, read }]);
    // It is lost, and the next, too. Retries have its name, and the answer may be to any of them.
    let mut now = START;
    while now < START + 700 * MS {
        now += MS;
        client.handle(now, Input::Tick, &mut out);
    }
    let again = keep_alives(&mut out);
    assert!(again.len() >= 2 && again.iter().all(|(_, same)| *same == read), "{again:?}");
    out.notices.clear();
    kept(&mut client, &mut out, now, read, 3);
    kept(&mut client, &mut out, now, read, 3);
    assert_eq!(out.notices, [Notice::KeptAlive { op: 5, lease: LEASE, read, sent: START, ttl: 3 }], "once");
    // A third of the time after that moment, not after the answer.
    client.handle(START + 999 * MS, Input::Tick, &mut out);
    assert_eq!(keep_alives(&mut out), []);
    client.handle(START + 1_000 * MS, Input::Tick, &mut out);
    let next = keep_alives(&mut out);
    let [(1, second)] = next[..] else { panic!("{next:?}") };
    assert_ne!(second, read);
    out.notices.clear();
    // A late answer to the first is no answer to the second.
    kept(&mut client, &mut out, START + 1_001 * MS, read, 3);
    assert_eq!(out.notices, []);
    kept(&mut client, &mut out, START + 1_002 * MS, second, 0);
    assert_eq!(out.notices, [Notice::KeptAlive { op: 5, lease: LEASE, read: second, sent: START + 1_000 * MS, ttl: 0 }]);
    client.handle(START + 9_000 * MS, Input::Tick, &mut out);
    assert_eq!(keep_alives(&mut out), [], "the lease is gone, and so is the stream");
}

#[test]
fn a_keep_alive_follows_the_leader_and_ends_when_it_is_told() {
    let (mut client, mut out) = busy();
    client.handle(START, Input::KeepAlive { op: 5, lease: LEASE }, &mut out);
    let [(1, read)] = keep_alives(&mut out)[..] else { panic!("to the leader") };
    let cluster = Leadership { term: 5, leader: Some(3) };
    client.handle(START + 50 * MS, Input::Message { from: 1, reply: Reply::ReadRefused { read, cluster } }, &mut out);
    client.handle(START + 200 * MS, Input::Tick, &mut out);
    assert_eq!(keep_alives(&mut out).first(), Some(&(3, read)), "to the new leader, under the same name");
    // An abandoned operation of the same number is not the stream.
    client.handle(START + 200 * MS, Input::Abandon { op: 5 }, &mut out);
    assert!(client.next_due().is_some());
    client.handle(START + 200 * MS, Input::EndKeepAlive { op: 5 }, &mut out);
    out.notices.clear();
    kept(&mut client, &mut out, START + 201 * MS, read, 3);
    client.handle(START + 5_000 * MS, Input::Tick, &mut out);
    assert!(keep_alives(&mut out).is_empty() && !out.notices.iter().any(|n| matches!(n, Notice::KeptAlive { .. })));
}
