//! `watch`: each rule broken, after the known bugs that break it; and the real watchers of a node, in any order of what happens.

use curp::{CommandExecutor, Synced};
use history::ClientEvent;
use kv::*;

use super::super::watches as w;
use super::stage::{Stage, grant, put, revoke};

const CHECK: &str = "watch";

fn event(kind: EventKind, kv: &KeyValue, prev: Option<&KeyValue>) -> WatchEvent {
    WatchEvent { kind, kv: kv.clone(), prev_kv: prev.cloned() }
}

/// Revision 2: a = 1; 3: b and c by a txn; 4: a = 2; 5: the keys of lease 5, which are m, k and l, put in that order by 5, 6 and 7; 8: they go.
struct Play {
    s: Stage,
}

impl Play {
    fn new(request: WatchCreateRequest) -> Play {
        let mut s = Stage::new(0);
        s.run(1, &put("a", "1", 0));
        let both = vec![put("b", "1", 0), put("c", "1", 0)];
        s.run(2, &Request::Txn(TxnRequest { compare: vec![], success: both, failure: vec![] }));
        s.run(3, &put("a", "2", 0));
        s.run(4, &grant(5, 10));
        for (op, key) in [(5, "m"), (6, "k"), (7, "l")] {
            s.run(op, &put(key, "x", 5));
        }
        s.run(8, &revoke(5, None));
        let start_revision = request.start_revision;
        s.client(ClientEvent::Watch { op: 50, request });
        s.client(ClientEvent::Register { op: 50, to: 2, start_revision });
        let mut play = Play { s };
        play.told(WatchResponse { revision: start_revision.saturating_sub(1), created: true, ..WatchResponse::default() });
        play
    }

    fn told(&mut self, response: WatchResponse) {
        self.s.client(ClientEvent::WatchTold { op: 50, from: 2, response });
    }

    /// What the store says of these revisions, in order.
    fn truth(&self, revisions: std::ops::RangeInclusive<u64>, prev: bool) -> Vec<WatchEvent> {
        let store = &self.s.store;
        let each = revisions.flat_map(|revision| store.written(revision).iter().map(move |key| (revision, key)));
        let events = each.map(|(revision, key)| {
            let before = store.at(key, revision - 1).filter(|_| prev);
            match store.at(key, revision) {
                Some(kv) => event(EventKind::Put, kv, before),
                None => event(EventKind::Delete, &KeyValue { key: key.clone(), mod_revision: revision, ..KeyValue::default() }, before),
            }
        });
        events.collect()
    }

    fn events(&mut self, revision: u64, events: Vec<WatchEvent>) {
        self.told(WatchResponse { revision, events, ..WatchResponse::default() });
    }

    #[track_caller]
    fn broken(&mut self, rule: &str, says: &str) {
        self.s.broken(CHECK, rule, says);
    }
}

fn all(start_revision: u64) -> WatchCreateRequest {
    WatchCreateRequest { range_end: Some("\0".into()), start_revision, ..WatchCreateRequest::default() }
}

#[test]
fn all_that_happened() {
    for prev_kv in [false, true] {
        let mut p = Play::new(WatchCreateRequest { prev_kv, ..all(2) });
        let (first, rest) = (p.truth(2..=4, prev_kv), p.truth(5..=8, prev_kv));
        p.events(4, first);
        p.told(WatchResponse { revision: 4, ..WatchResponse::default() });
        p.s.client(ClientEvent::Register { op: 50, to: 1, start_revision: 5 });
        p.told(WatchResponse { revision: 3, created: true, ..WatchResponse::default() });
        p.events(8, rest);
        p.s.quiet();
    }
    let mut p = Play::new(WatchCreateRequest { filters: vec![WatchFilter::NoPut], key: "l".into(), range_end: Some("n".into()), ..all(2) });
    let gone: Vec<WatchEvent> = p.truth(8..=8, false).into_iter().filter(|e| e.kv.key != "k".into()).collect();
    assert_eq!(gone.len(), 2);
    p.events(8, gone);
    p.s.quiet();
}

#[test]
fn an_order_that_was_not() {
    // Revision 3 is done before 2, and told first.
    let mut p = Play::new(all(2));
    let mut events = p.truth(3..=3, false);
    events.extend(p.truth(2..=2, false));
    p.events(3, events);
    p.broken(w::ORDERED, "put a: 1 (version 1) at revision 2 after put c: 1 (version 1) at revision 3");
    // The keys of a revoke, in another order than that of keys.
    let mut p = Play::new(all(8));
    let mut events = p.truth(8..=8, false);
    events.swap(0, 1);
    p.events(8, events);
    p.broken(w::ORDERED, "delete k at revision 8 after delete l at revision 8");
    // A node that is further behind goes on where the watch is.
    let mut p = Play::new(all(2));
    let events = p.truth(2..=4, false);
    p.events(4, events);
    p.told(WatchResponse { revision: 3, ..WatchResponse::default() });
    p.s.quiet();
}

#[test]
fn half_a_revision() {
    let mut p = Play::new(all(3));
    let events = p.truth(3..=3, false);
    p.events(3, events[..1].to_vec());
    p.broken(w::ATOMIC, "a part of revision 3, without what revision 3 did to c");
}

#[test]
fn an_event_twice() {
    let mut p = Play::new(all(2));
    let events = p.truth(2..=3, false);
    p.events(3, events.clone());
    p.events(4, [events, p.truth(4..=4, false)].concat());
    p.broken(w::UNIQUE, "put a: 1 (version 1) at revision 2 again");
}

#[test]
fn a_gap() {
    let mut p = Play::new(all(2));
    let events = p.truth(4..=4, false);
    p.events(4, events);
    p.broken(w::COMPLETE, "all up to revision 4, without what revision 2 did to a");
    // Its deletion stands at the revision compacted to.
    let mut p = Play::new(all(8));
    p.s.run(9, &Request::Compact(CompactionRequest { revision: 8, physical: false }));
    p.s.run(10, &put("a", "3", 0));
    let events = p.truth(9..=9, false);
    p.events(9, events);
    p.broken(w::COMPLETE, "without what revision 8 did to k");
}

#[test]
fn events_from_before_its_start() {
    let mut p = Play::new(all(20));
    let events = p.truth(8..=8, false);
    p.events(8, events);
    p.broken(w::FROM_START, "delete k at revision 8, and it began with revision 20");
}

#[test]
fn a_watch_goes_on_elsewhere() {
    let told_three = |start_revision| {
        let mut p = Play::new(all(2));
        let events = p.truth(2..=3, false);
        p.events(3, events);
        p.s.client(ClientEvent::Register { op: 50, to: 1, start_revision });
        p
    };
    told_three(2).broken(w::RESUMES, "from revision 2, though it has been told all up to 3");
    // It goes on behind what it was not told.
    let mut p = told_three(5);
    let events = p.truth(5..=8, false);
    p.events(8, events);
    p.broken(w::COMPLETE, "all up to revision 8, without what revision 4 did to a");
    // The response before was on its way.
    let mut p = told_three(5);
    let (late, events) = (p.truth(4..=4, false), p.truth(5..=8, false));
    p.events(4, late);
    p.events(8, events);
    p.s.quiet();
}

#[test]
fn what_is_not_applied_yet() {
    let mut p = Play::new(all(9));
    let kv = KeyValue { key: "a".into(), value: "3".into(), create_revision: 2, mod_revision: 9, version: 3, lease: 0 };
    p.events(9, vec![event(EventKind::Put, &kv, None)]);
    p.broken(w::APPLIED, "no node has applied more than revision 8");
}

#[test]
fn another_pair_than_was_written() {
    let mut p = Play::new(all(4));
    let mut events = p.truth(4..=4, false);
    events[0].kv.value = "9".into();
    p.events(4, events);
    p.broken(w::CONTENT, "put a: 9 (version 2) at revision 4, where a: 2 (version 2) was written");
    let mut p = Play::new(all(4));
    let mut events = p.truth(4..=4, false);
    events[0].kv.version = 1;
    events[0].kv.create_revision = 4;
    p.events(4, events);
    p.broken(w::CREATED, "as version 1 created at revision 4");
}

#[test]
fn a_pair_before_that_was_not() {
    let mut p = Play::new(WatchCreateRequest { prev_kv: true, ..all(4) });
    let mut events = p.truth(4..=4, true);
    events[0].prev_kv = Some(events[0].kv.clone());
    p.events(4, events);
    p.broken(w::PREV_KV, "with a: 2 (version 2) before it, not a: 1 (version 1)");
    let mut p = Play::new(all(4));
    let events = p.truth(4..=4, true);
    p.events(4, events);
    p.broken(w::PREV_KV, "not nothing");
    // What was there before the compacted revision need not be known any more.
    let mut p = Play::new(WatchCreateRequest { prev_kv: true, ..all(4) });
    p.s.run(9, &Request::Compact(CompactionRequest { revision: 4, physical: false }));
    let events = p.truth(4..=4, false);
    p.events(4, events);
    p.s.quiet();
}

#[test]
fn what_was_not_asked_for() {
    let mut p = Play::new(WatchCreateRequest { filters: vec![WatchFilter::NoDelete], ..all(8) });
    let events = p.truth(8..=8, false);
    p.events(8, events);
    p.broken(w::FILTERED, "delete k at revision 8, which it did not ask for");
    let mut p = Play::new(WatchCreateRequest { key: "a".into(), range_end: None, ..all(3) });
    let events = p.truth(3..=3, false);
    p.events(3, events);
    p.broken(w::FILTERED, "put b: 1 (version 1) at revision 3");
}

#[test]
fn progress_that_is_not_true() {
    let mut p = Play::new(all(2));
    p.told(WatchResponse { revision: 4, ..WatchResponse::default() });
    p.broken(w::PROGRESS, "all up to revision 4, without what revision 2 did to a");
    let mut p = Play::new(WatchCreateRequest { key: "zz".into(), range_end: None, ..all(2) });
    p.told(WatchResponse { revision: 8, ..WatchResponse::default() });
    p.s.quiet();
    p.told(WatchResponse { revision: 9, ..WatchResponse::default() });
    p.broken(w::PROGRESS, "all up to revision 9, and no node has applied more than 8");
}

#[test]
fn compacted_or_not() {
    let canceled = |compact_revision| WatchResponse {
        revision: 1,
        canceled: true,
        compact_revision,
        cancel_reason: Some(Error::Compacted),
        ..WatchResponse::default()
    };
    let mut p = Play::new(all(2));
    p.told(canceled(3));
    p.broken(w::COMPACTED, "that revision 3 is compacted, when 0 was, and it needed 2 next");
    let compacted = |start| {
        let mut p = Play::new(all(start));
        p.s.run(9, &Request::Compact(CompactionRequest { revision: 3, physical: false }));
        p
    };
    let mut p = compacted(2);
    p.told(canceled(3));
    p.s.quiet();
    p.told(WatchResponse { revision: 8, ..WatchResponse::default() });
    p.broken(w::ENDED, "more after its last response");
    let mut p = compacted(3);
    p.told(WatchResponse { revision: 2, ..canceled(3) });
    p.broken(w::COMPACTED, "and it needed 3 next");
}

#[test]
fn canceled_for_no_reason() {
    let canceled = |cancel_reason| WatchResponse { revision: 1, canceled: true, cancel_reason, ..WatchResponse::default() };
    for reason in [None, Some(Error::EmptyWatchRange), Some(Error::FutureRevision)] {
        let mut p = Play::new(all(2));
        p.told(canceled(reason));
        p.broken(w::CANCELED, "all up to revision 1 having been told");
    }
    let refused = WatchResponse { created: true, ..canceled(Some(Error::EmptyWatchRange)) };
    for (end, honest) in [(Some("a"), true), (Some("b"), true), (Some("c"), false), (None, false), (Some("\0"), false)] {
        let mut s = Stage::new(0);
        let request = WatchCreateRequest { key: "b".into(), range_end: end.map(Into::into), ..WatchCreateRequest::default() };
        s.client(ClientEvent::Watch { op: 50, request });
        s.client(ClientEvent::WatchTold { op: 50, from: 1, response: WatchResponse { revision: 0, ..refused.clone() } });
        if honest {
            s.quiet();
        } else {
            s.broken(CHECK, w::CANCELED, "that it is canceled for");
        }
    }
}

/// What a client was told just before it crashed is judged, too.
#[test]
fn told_before_a_crash() {
    let mut p = Play::new(all(2));
    let mut events = p.truth(2..=4, false);
    events[0].kv.value = "another".into();
    events[0].kv.mod_revision = 99;
    p.events(99, events);
    p.s.client(ClientEvent::ClientCrash);
    p.broken(w::APPLIED, "and no node has applied more than revision 8");
}

/// SplitMix64.
fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (*seed ^ (*seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The watchers of core/kv, asked for all kinds of things while all kinds of things happen, with small queues, slow readers, compactions and
/// new beginnings: nothing to object to.
#[test]
fn real_watchers_are_right() {
    let mut told = 0;
    for seed in 0..150u64 {
        let (mut s, mut store, mut rng) = (Stage::new(0), Store::new(), seed);
        let mut watchers = Watchers::new(WatchLimits { responses_max: 2, events_max: 3 }, &store);
        let mut open: Vec<(u64, WatchId, WatchCreateRequest, u64)> = Vec::new();
        for op in 1..80u64 {
            let key = format!("k{}", next(&mut rng) % 4);
            let lease = 1 + (next(&mut rng) % 2).cast_signed();
            let request = match next(&mut rng) % 12 {
                0..5 => put(&key, &op.to_string(), if next(&mut rng).is_multiple_of(3) { lease } else { 0 }),
                5 => Request::DeleteRange(DeleteRangeRequest { key: key.as_str().into(), range_end: Some("\0".into()), prev_kv: false }),
                6 | 7 => grant(lease, 10),
                8 => revoke(lease, None),
                9 if next(&mut rng).is_multiple_of(3) => {
                    Request::Compact(CompactionRequest { revision: store.revision(), physical: false })
                }
                9 | 10 => {
                    let two = vec![put("k0", "t", 0), put("k3", "t", 0)];
                    Request::Txn(TxnRequest { compare: vec![], success: two, failure: vec![] })
                }
                _ => {
                    let start_revision = [0, store.revision().saturating_sub(3), store.revision() + 3][(next(&mut rng) % 3) as usize];
                    let filters = [vec![], vec![WatchFilter::NoPut], vec![WatchFilter::NoDelete]][(next(&mut rng) % 3) as usize].clone();
                    let prev_kv = next(&mut rng).is_multiple_of(2);
                    let range_end = next(&mut rng).is_multiple_of(2).then(|| "\0".into());
                    let request =
                        WatchCreateRequest { key: key.as_str().into(), range_end, start_revision, filters, prev_kv, progress_notify: true };
                    s.client(ClientEvent::Watch { op: 1000 + op, request: request.clone() });
                    s.client(ClientEvent::Register { op: 1000 + op, to: 1, start_revision });
                    let id = watchers.create(&store, request.clone()).expect("it holds a key");
                    open.push((1000 + op, id, request, start_revision.saturating_sub(1)));
                    continue;
                }
            };
            let synced: Synced<Response> = s.run(op, &request);
            let revision = store.prepare(1, op, &request);
            assert_eq!(store.after_sync(1, op, revision, &request), synced, "seed {seed}: {request:?}");
            watchers.advance(&store);
            if next(&mut rng).is_multiple_of(5) {
                watchers.notify_progress();
            }
            let mut i = 0;
            while i < open.len() {
                let (watch, id, ref request, ref mut known) = open[i];
                if next(&mut rng).is_multiple_of(2) {
                    i += 1;
                    continue;
                }
                if next(&mut rng).is_multiple_of(20) && *known > 0 {
                    // It goes on with another watcher.
                    watchers.remove(id);
                    let request = WatchCreateRequest { start_revision: *known + 1, ..request.clone() };
                    s.client(ClientEvent::Register { op: watch, to: 1, start_revision: *known + 1 });
                    open[i].1 = watchers.create(&store, request).expect("it holds a key");
                    i += 1;
                    continue;
                }
                if let Some(response) = watchers.take(&store, id) {
                    told += 1;
                    if !response.created || request.start_revision == 0 {
                        *known = response.revision.max(*known);
                    }
                    let canceled = response.canceled;
                    s.client(ClientEvent::WatchTold { op: watch, from: 1, response });
                    if canceled {
                        open.remove(i);
                        continue;
                    }
                }
                i += 1;
            }
        }
        s.quiet();
    }
    assert!(told > 5_000, "{told} responses");
}
