//! Watches on whole nodes: whatever happens to nodes and messages, a client is told every event once, in order.

mod common;

use client::{Input as Ask, Notice};
use common::{Cluster, MS};
use curp::{Address, Message, NodeId, Outgoing, Reply, Request as Wire};
use kv::{Bytes, CompactionRequest, EventKind, PutRequest, Request, WatchCreateRequest, WatchLimits, WatchResponse};
use node::{Input, Limits};

const WATCHER: usize = 1;

fn put(key: &str, value: u64) -> Request {
    Request::Put(PutRequest { key: Bytes::from(key), value: Bytes::from(value.to_string().into_bytes()), ..PutRequest::default() })
}

fn everything(start_revision: u64) -> WatchCreateRequest {
    WatchCreateRequest { range_end: Some(Bytes::from("\0")), start_revision, ..WatchCreateRequest::default() }
}

/// What a watch was told, in order.
fn told(cluster: &Cluster, op: u64) -> Vec<WatchResponse> {
    let of = |(_, notice): &(u64, Notice)| match notice {
        Notice::Watch { op: of, response, .. } if *of == op => Some(response.clone()),
        _ => None,
    };
    cluster.callers[WATCHER].told.iter().filter_map(of).collect()
}

fn revisions(told: &[WatchResponse]) -> Vec<u64> {
    told.iter().flat_map(|response| &response.events).map(|event| event.kv.mod_revision).collect()
}

/// Lets time pass while a caller asks for every next response of a watch as soon as it has one.
fn follow(cluster: &mut Cluster, op: u64, milliseconds: u64) {
    for _ in 0..milliseconds {
        cluster.run(1);
        cluster.say(WATCHER, Ask::WatchNext { op });
    }
}

fn registered(cluster: &Cluster) -> Vec<(NodeId, u64)> {
    let of = |(_, notice): &(u64, Notice)| match notice {
        Notice::Registered { to, start_revision, .. } => Some((*to, *start_revision)),
        _ => None,
    };
    cluster.callers[WATCHER].told.iter().filter_map(of).collect()
}

fn watching(at: NodeId) -> Cluster {
    let mut cluster = Cluster::new(3, 2);
    cluster.until_led();
    cluster.call(0, 1, put("k", 1));
    cluster.run(50);
    cluster.say(WATCHER, Ask::Watch { op: 1, request: everything(1), node: Some(at) });
    follow(&mut cluster, 1, 50);
    let told = told(&cluster, 1);
    assert!(told[0].created && told[1..].iter().all(|r| !r.created));
    assert_eq!(revisions(&told), [2]);
    cluster
}

#[test]
fn a_watch_is_told_as_things_happen() {
    let mut cluster = watching(1);
    for n in 2..=20 {
        cluster.call(0, n, put("k", n));
    }
    follow(&mut cluster, 1, 100);
    let all = told(&cluster, 1);
    assert_eq!(revisions(&all), (2..=21).collect::<Vec<_>>());
    assert_eq!(registered(&cluster), [(1, 1)], "one watcher is enough");
    // Quiet for long: the client sees that the node is there, and the caller hears nothing.
    follow(&mut cluster, 1, 5_000);
    assert_eq!((told(&cluster, 1).len(), registered(&cluster).len()), (all.len(), 1));
    cluster.say(WATCHER, Ask::WatchProgress { op: 1 });
    follow(&mut cluster, 1, 100);
    let last = told(&cluster, 1).pop().expect("progress");
    assert!(last.events.is_empty() && last.revision == 21 && told(&cluster, 1).len() == all.len() + 1);
    cluster.say(WATCHER, Ask::EndWatch { op: 1 });
    cluster.run(20);
    assert!(cluster.callers[WATCHER].client.next_due().is_none());
}

#[test]
fn a_watch_goes_on_after_its_node_crashed() {
    for restarts in [false, true] {
        let mut cluster = watching(2);
        for n in 2..=30 {
            if n == 10 {
                cluster.crash(2);
                cluster.until_led();
            }
            if n == 12 && restarts {
                cluster.restart(2);
            }
            cluster.call(0, n, put("k", n));
            follow(&mut cluster, 1, 5);
        }
        follow(&mut cluster, 1, 4_000);
        assert_eq!(revisions(&told(&cluster, 1)), (2..=31).collect::<Vec<_>>(), "restarts: {restarts}");
        assert_eq!(told(&cluster, 1).iter().filter(|r| r.created).count(), 1, "it begins once");
        assert!(registered(&cluster).len() > 1);
    }
}

/// A node that was away is sent a snapshot. Its watcher is told what the history still has, and no more than that is missing.
#[test]
fn a_watcher_sees_through_the_install_of_a_snapshot() {
    let mut cluster = Cluster::new(3, 2);
    let leader = cluster.until_led();
    let away = leader % 3 + 1;
    cluster.call(0, 1, put("k", 1));
    cluster.run(50);
    cluster.say(WATCHER, Ask::Watch { op: 1, request: everything(1), node: Some(away) });
    follow(&mut cluster, 1, 50);
    cluster.cut_off.insert(away);
    for n in 2..=20 {
        cluster.call(0, n, put("k", n));
    }
    // Short enough for the client to stay with its node.
    cluster.cut_off.clear();
    follow(&mut cluster, 1, 3_000);
    let installed = cluster.host(away).events.iter().any(|e| matches!(e, curp::Event::InstallSnapshot { .. }));
    assert!(installed, "what it lacks is gone from the log");
    assert_eq!(revisions(&told(&cluster, 1)), (2..=21).collect::<Vec<_>>());
}

#[test]
fn a_compaction_while_nobody_listened_is_told() {
    let mut cluster = watching(2);
    cluster.crash(2);
    cluster.until_led();
    for n in 2..=10 {
        cluster.call(0, n, put("k", n));
    }
    cluster.call(0, 11, Request::Compact(CompactionRequest { revision: 8, physical: false }));
    follow(&mut cluster, 1, 4_000);
    let told = told(&cluster, 1);
    let last = told.last().expect("an end");
    assert_eq!((last.canceled, last.compact_revision, revisions(&told)), (true, 8, vec![2]));
    cluster.run(1_000);
    assert!(cluster.callers[WATCHER].client.next_due().is_none());
}

/// A reader that asks for nothing holds up neither the node nor other readers, and is told everything once it asks.
#[test]
fn a_slow_reader_falls_back_to_history() {
    let mut cluster = Cluster::new(3, 2);
    cluster.until_led();
    let limits = Limits { watch: WatchLimits { responses_max: 2, events_max: 3 }, ..Limits::default() };
    cluster.hosts.iter_mut().for_each(|host| host.node.set_limits(limits.clone()));
    for op in [1, 2] {
        cluster.say(WATCHER, Ask::Watch { op, request: everything(1), node: Some(1) });
    }
    for n in 1..=40 {
        cluster.call(0, n, put("k", n));
        follow(&mut cluster, 1, 2);
    }
    follow(&mut cluster, 1, 100);
    assert_eq!(revisions(&told(&cluster, 1)), (2..=41).collect::<Vec<_>>());
    assert_eq!(told(&cluster, 2).len(), 1, "it asked once");
    follow(&mut cluster, 2, 100);
    assert_eq!(revisions(&told(&cluster, 2)), (2..=41).collect::<Vec<_>>());
    assert!(told(&cluster, 2).iter().any(|r| r.events.len() == 3), "some of them together");
}

/// The questions of a client, by hand, to a node.
struct Asker<'a> {
    cluster: &'a mut Cluster,
    name: u64,
}

impl Asker<'_> {
    /// The answer given in the same step: `None` if it is yet to come.
    fn pull(&mut self, pull: u64, start: u64, progress: bool) -> Option<Option<WatchResponse>> {
        let watch = (9, self.name);
        let request = Wire::Watch { watch, pull, create: everything(start).into(), progress };
        let host = self.cluster.host(1);
        host.sent.clear();
        host.give(Input::Message { from: Address::Client(9), message: Message::Request(request) });
        let answer = |m: &Outgoing<Request>| match &m.message {
            Message::Reply(Reply::Watch { watch: of, pull: to, response }) if (*of, *to) == (watch, pull) => Some(response.clone()),
            _ => None,
        };
        host.sent.iter().find_map(answer)
    }
}

/// The history is long, and what the watcher wants stands at its end. Nothing else happens: the node goes on by itself.
#[test]
fn a_long_history_is_looked_at_to_its_end() {
    let mut cluster = Cluster::new(1, 2);
    cluster.until_led();
    for n in 1..=250 {
        for i in 0..100 {
            cluster.say(0, Ask::Invoke { op: n * 100 + i, request: put("k", n) });
        }
        cluster.run(10);
    }
    let (_, last) = cluster.call(0, 1, put("wanted", 1));
    assert!(matches!(last, kv::Response::Put { .. }));
    cluster.run(100);
    let applied = cluster.host(1).node.store().applied_revision();
    assert_eq!(applied, 25_002);
    let request = WatchCreateRequest { key: Bytes::from("wanted"), start_revision: 1, ..WatchCreateRequest::default() };
    cluster.say(WATCHER, Ask::Watch { op: 1, request, node: Some(1) });
    follow(&mut cluster, 1, 20);
    assert_eq!(revisions(&told(&cluster, 1)), [applied]);
}

#[test]
fn a_question_is_answered_once_and_repeated_as_often_as_it_is() {
    let mut cluster = watching(1);
    let mut asker = Asker { cluster: &mut cluster, name: 1 };
    let created = asker.pull(1, 2, false).flatten().expect("at once");
    assert!(created.created && created.revision == 1);
    assert_eq!(asker.pull(1, 2, false), Some(Some(created)), "as before");
    let first = asker.pull(2, 2, false).flatten().expect("history");
    assert_eq!((first.revision, first.events[0].kind), (2, EventKind::Put));
    assert_eq!(asker.pull(1, 2, false), None, "that is over");
    assert_eq!(asker.pull(2, 2, true), Some(Some(first)), "as before");
    assert_eq!(asker.pull(3, 3, false), None, "nothing to tell");
    assert_eq!(asker.pull(3, 3, false), None);
    let progress = asker.pull(3, 3, true).flatten().expect("how far it is");
    assert_eq!((progress.revision, progress.events.len()), (2, 0));
    assert_eq!(asker.pull(4, 3, false), None);
    // Nobody asks for long.
    let host = asker.cluster.host(1);
    host.now += 11_000 * MS;
    host.give(Input::Tick);
    assert_eq!(asker.pull(4, 3, false), Some(None), "it is gone");
    assert_eq!(asker.pull(5, 3, false), Some(None));
}

/// After a restart a late first question makes a watcher that begins later than the client's. It must not be taken for that.
#[test]
fn a_watcher_made_by_a_late_question_is_not_gone_on_with() {
    let mut cluster = watching(1);
    let mut asker = Asker { cluster: &mut cluster, name: 1 };
    let created = asker.pull(1, 0, false).flatten().expect("at once");
    assert_eq!(created.revision, 2);
    for n in 2..=3 {
        asker.cluster.call(0, n, put("k", n));
    }
    asker.cluster.run(100);
    asker.cluster.crash(1);
    asker.cluster.restart(1);
    asker.cluster.until_led();
    asker.cluster.run(500);
    let late = asker.pull(1, 0, false).flatten().expect("at once");
    assert_eq!(late.revision, 4);
    assert_eq!(asker.pull(2, 3, false), Some(None), "a gap between the two");
}

#[test]
fn a_range_without_keys_is_refused() {
    let mut cluster = watching(1);
    let request = WatchCreateRequest { key: Bytes::from("b"), range_end: Some(Bytes::from("a")), ..WatchCreateRequest::default() };
    cluster.say(WATCHER, Ask::Watch { op: 5, request, node: None });
    cluster.run(20);
    let told = told(&cluster, 5);
    assert!(matches!(told[..], [WatchResponse { canceled: true, cancel_reason: Some(kv::Error::EmptyWatchRange), .. }]), "{told:?}");
}
