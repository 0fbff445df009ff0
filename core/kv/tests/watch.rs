//! Watchers: ordered, atomic, unique, complete, whatever order commands complete in and however slowly they are read.

mod common;

use std::collections::BTreeMap;

use common::run::{Run, TERM};
use common::*;
use curp::CommandExecutor;
use kv::*;
use mutants::Mutant;
use proptest::prelude::*;
use proptest::sample::Index;

const LIMITS: WatchLimits = WatchLimits { responses_max: 2, events_max: 3 };
const WIDE: WatchLimits = WatchLimits { responses_max: 1000, events_max: 1000 };

fn all() -> WatchCreateRequest {
    WatchCreateRequest { range_end: Some("\0".into()), prev_kv: true, ..WatchCreateRequest::default() }
}

/// Everything that is queued for a watcher.
fn drain(watchers: &mut Watchers, store: &Store, id: WatchId) -> Vec<WatchResponse> {
    std::iter::from_fn(|| watchers.take(store, id)).collect()
}

fn events(responses: &[WatchResponse]) -> Vec<(EventKind, String, u64, Option<String>)> {
    let all = responses.iter().flat_map(|r| &r.events);
    all.map(|e| (e.kind, e.kv.key.to_string(), e.kv.mod_revision, e.prev_kv.as_ref().map(|kv| kv.value.to_string()))).collect()
}

fn wrote(key: &str, revision: u64, prev: Option<&str>) -> (EventKind, String, u64, Option<String>) {
    (EventKind::Put, key.into(), revision, prev.map(str::to_owned))
}

fn deleted(key: &str, revision: u64, prev: Option<&str>) -> (EventKind, String, u64, Option<String>) {
    (EventKind::Delete, key.into(), revision, prev.map(str::to_owned))
}

#[test]
fn events_of_history_and_of_the_present() {
    let mut store = Store::new();
    for request in [put("a", "1"), put("b", "1"), put("a", "2"), txn(vec![], vec![delete("b"), put("c", "1"), put("a", "3")], vec![])] {
        run(&mut store, request);
    }
    let mut watchers = Watchers::new(WIDE, &store);
    let past = watchers.create(&store, WatchCreateRequest { start_revision: 3, ..all() }).expect("a range");
    let now = watchers.create(&store, all()).expect("a range");
    let b =
        watchers.create(&store, WatchCreateRequest { key: "b".into(), start_revision: 1, ..WatchCreateRequest::default() }).expect("a key");
    run(&mut store, delete_range("a", "c"));
    run(&mut store, delete("no"));
    watchers.advance(&store);
    let told = drain(&mut watchers, &store, past);
    assert!(told[0].created && told[0].events.is_empty());
    let history =
        [wrote("b", 3, None), wrote("a", 4, Some("1")), deleted("b", 5, Some("1")), wrote("c", 5, None), wrote("a", 5, Some("2"))];
    let last = deleted("a", 6, Some("3"));
    assert_eq!(events(&told), history.into_iter().chain([last.clone()]).collect::<Vec<_>>(), "in a revision, in the order of the txn");
    let told = drain(&mut watchers, &store, now);
    assert_eq!((told[0].created, told[0].revision, events(&told)), (true, 5, vec![last]));
    let told = drain(&mut watchers, &store, b);
    assert_eq!(events(&told), [wrote("b", 3, None), deleted("b", 5, None)], "previous pairs were not asked for");
    assert_eq!((told[1].events[0].kv.version, told[1].events[0].kv.create_revision), (1, 3), "it was created");
    assert_eq!(told[1].events[1].kv, KeyValue { key: "b".into(), mod_revision: 5, ..KeyValue::default() });
}

#[test]
fn what_is_not_to_be_told() {
    let mut store = Store::new();
    let mut watchers = Watchers::new(WIDE, &store);
    let mut filtered =
        |filters: &[WatchFilter]| watchers.create(&store, WatchCreateRequest { filters: filters.to_vec(), ..all() }).expect("a range");
    let (no_put, no_delete) = (filtered(&[WatchFilter::NoPut]), filtered(&[WatchFilter::NoDelete]));
    for request in [put("a", "1"), delete("a"), grant(7, 5), attach("b", "1", 7), revoke(7)] {
        run(&mut store, request);
    }
    watchers.advance(&store);
    assert_eq!(events(&drain(&mut watchers, &store, no_put)), [deleted("a", 3, Some("1")), deleted("b", 5, Some("1"))]);
    assert_eq!(events(&drain(&mut watchers, &store, no_delete)), [wrote("a", 2, None), wrote("b", 4, None)]);
    let empty = WatchCreateRequest { key: "b".into(), range_end: Some("a".into()), ..WatchCreateRequest::default() };
    assert_eq!(watchers.create(&store, empty), Err(Error::EmptyWatchRange));
}

#[test]
fn a_revision_is_told_when_all_before_it_are_applied() {
    let mut store = Store::new();
    let mut watchers = Watchers::new(WIDE, &store);
    let id = watchers.create(&store, all()).expect("a range");
    watchers.take(&store, id);
    let (a, b) = (put("a", "1"), put("b", "1"));
    let (first, second) = (store.prepare_entry(None, &a), store.prepare_entry(None, &b));
    store.apply(second, &b);
    watchers.advance(&store);
    assert_eq!(watchers.take(&store, id), None, "revision {first} is not applied yet");
    // One that begins meanwhile hears of both.
    let other = watchers.create(&store, all()).expect("a range");
    store.apply(first, &a);
    watchers.advance(&store);
    for id in [id, other] {
        assert_eq!(events(&drain(&mut watchers, &store, id)), [wrote("a", 2, None), wrote("b", 3, None)]);
    }
}

#[test]
fn a_slow_reader_holds_up_nobody_and_misses_nothing() {
    let mut store = Store::new();
    let mut watchers = Watchers::new(LIMITS, &store);
    let (slow, quick) = (watchers.create(&store, all()).expect("a range"), watchers.create(&store, all()).expect("a range"));
    let mut told = Vec::new();
    for i in 0..20 {
        run(&mut store, put("a", &i.to_string()));
        watchers.advance(&store);
        told.extend(drain(&mut watchers, &store, quick));
    }
    assert!(!watchers.is_synced(slow) && watchers.is_synced(quick));
    let of_quick = events(&told);
    let of_slow = events(&drain(&mut watchers, &store, slow));
    assert_eq!((of_quick.len(), &of_slow), (20, &of_quick));
    assert!(watchers.is_synced(slow));
}

#[test]
fn compaction_is_honest() {
    let mut store = Store::new();
    for request in [put("a", "1"), put("b", "1"), delete("a"), put("b", "2")] {
        run(&mut store, request);
    }
    run(&mut store, compact(4));
    let mut watchers = Watchers::new(WIDE, &store);
    let at = watchers.create(&store, WatchCreateRequest { start_revision: 4, ..all() }).expect("a range");
    let told = drain(&mut watchers, &store, at);
    assert_eq!(events(&told), [deleted("a", 4, None), wrote("b", 5, Some("1"))], "the compacted revision's own events are there");
    let before = watchers.create(&store, WatchCreateRequest { start_revision: 3, ..all() }).expect("a range");
    let told = drain(&mut watchers, &store, before);
    let [created, last] = &told[..] else { panic!("{told:?}") };
    assert!(created.created && !created.canceled && last.canceled);
    assert_eq!((last.compact_revision, last.cancel_reason, last.events.len()), (4, Some(Error::Compacted), 0));
    assert!(!watchers.has_response(at) && !watchers.has_response(before));
    let again = compact(5);
    run(&mut store, again);
    let at = watchers.create(&store, WatchCreateRequest { start_revision: 5, ..all() }).expect("a range");
    assert_eq!(events(&drain(&mut watchers, &store, at)), [wrote("b", 5, None)], "what was before it is gone");
}

#[test]
fn a_slow_reader_is_told_that_it_was_too_slow() {
    let mut store = Store::new();
    let mut watchers = Watchers::new(LIMITS, &store);
    let id = watchers.create(&store, all()).expect("a range");
    for i in 0..6 {
        run(&mut store, put("a", &i.to_string()));
        watchers.advance(&store);
    }
    run(&mut store, compact(6));
    watchers.advance(&store);
    let told = drain(&mut watchers, &store, id);
    assert_eq!(events(&told), [wrote("a", 2, None)], "what was queued, then the end");
    let last = told.last().expect("an end");
    assert_eq!((last.canceled, last.compact_revision, last.revision), (true, 6, 2));
}

#[test]
fn progress_is_truthful() {
    let mut store = Store::new();
    let mut watchers = Watchers::new(LIMITS, &store);
    let id = watchers
        .create(&store, WatchCreateRequest { key: "a".into(), progress_notify: true, ..WatchCreateRequest::default() })
        .expect("a key");
    let future = watchers.create(&store, WatchCreateRequest { start_revision: 5, ..all() }).expect("a range");
    drain(&mut watchers, &store, id);
    drain(&mut watchers, &store, future);
    run(&mut store, put("b", "1"));
    watchers.advance(&store);
    watchers.notify_progress();
    watchers.request_progress(future);
    let told = drain(&mut watchers, &store, id);
    assert_eq!(told, [WatchResponse { watch_id: id, revision: 2, ..WatchResponse::default() }]);
    assert_eq!(drain(&mut watchers, &store, future).len(), 1);
    // A watcher that is behind is not told that it is not.
    for i in 0..4 {
        run(&mut store, put("a", &i.to_string()));
        watchers.advance(&store);
    }
    watchers.request_progress(id);
    watchers.notify_progress();
    let told = drain(&mut watchers, &store, id);
    assert_eq!(events(&told).len(), 4);
    assert_eq!(told.last().map(|r| (r.revision, r.events.len())), Some((6, 0)), "after what was missing");
    // Progress does not move the start.
    assert_eq!(events(&drain(&mut watchers, &store, future)), [wrote("a", 5, Some("1")), wrote("a", 6, Some("2"))]);
}

/// A store whose revisions 2 and 25001 wrote `b`, and all between `a`.
fn long_history() -> Store {
    let mut store = Store::new();
    for revision in 2..=25_001 {
        run(&mut store, put(if revision == 2 || revision == 25_001 { "b" } else { "a" }, "1"));
    }
    store
}

fn from_the_first(key: &str) -> WatchCreateRequest {
    WatchCreateRequest { key: key.into(), start_revision: 1, ..WatchCreateRequest::default() }
}

#[test]
fn a_long_history_is_looked_at_in_parts() {
    let mut store = long_history();
    let mut watchers = Watchers::new(WIDE, &store);
    let ids = ["b", "b"].map(|key| watchers.create(&store, from_the_first(key)).expect("a key"));
    let gone = watchers.create(&store, from_the_first("c")).expect("a key");
    for id in ids {
        let told = drain(&mut watchers, &store, id);
        assert_eq!(events(&told), [wrote("b", 2, None)]);
        assert!(told.len() == 2 && told[1].revision == 10_000, "it says how far it is: {told:?}");
    }
    watchers.remove(gone);
    watchers.request_progress(ids[0]);
    // What is applied meanwhile does not make it look further, and is not told early.
    run(&mut store, put("b", "2"));
    watchers.advance(&store);
    for round in 0..2 {
        for id in ids {
            assert!(watchers.has_stopped() && !watchers.is_synced(id) && !watchers.has_response(id), "round {round}");
            watchers.go_on(&store);
        }
    }
    assert!(!watchers.has_stopped());
    for id in ids {
        let told = drain(&mut watchers, &store, id);
        assert_eq!(events(&told), [wrote("b", 25_001, None), wrote("b", 25_002, None)]);
        assert!(watchers.is_synced(id));
        assert_eq!(told.len(), if id == ids[0] { 2 } else { 1 }, "progress is told at the end: {told:?}");
    }
    watchers.go_on(&store);
    run(&mut store, put("b", "3"));
    watchers.advance(&store);
    assert_eq!(ids.map(|id| events(&drain(&mut watchers, &store, id))), [[wrote("b", 25_003, None)], [wrote("b", 25_003, None)]]);
}

#[test]
fn a_compaction_while_the_history_is_looked_at_is_told() {
    let mut store = long_history();
    let mut watchers = Watchers::new(WIDE, &store);
    let id = watchers.create(&store, from_the_first("b")).expect("a key");
    run(&mut store, compact(20_000));
    watchers.advance(&store);
    watchers.go_on(&store);
    let told = drain(&mut watchers, &store, id);
    assert_eq!(events(&told), [wrote("b", 2, None)]);
    assert!(told.last().is_some_and(|last| last.canceled && (last.revision, last.compact_revision) == (10_000, 20_000)), "{told:?}");
    assert!(!watchers.has_stopped());
}

#[test]
fn a_watcher_whose_reader_is_gone_is_forgotten() {
    let mut store = Store::new();
    let mut watchers = Watchers::new(WIDE, &store);
    let (id, gone) = (watchers.create(&store, all()).expect("a range"), watchers.create(&store, all()).expect("a range"));
    drain(&mut watchers, &store, id);
    watchers.remove(gone);
    run(&mut store, put("a", "1"));
    watchers.advance(&store);
    assert_eq!((watchers.take(&store, gone), watchers.has_response(gone)), (None, false));
    assert_eq!(events(&drain(&mut watchers, &store, id)), [wrote("a", 2, None)], "the other goes on");
}

/// A node that installs a snapshot tells its watchers what happened meanwhile, or that it cannot.
#[test]
fn a_snapshot_is_installed() {
    let mut ahead = Store::new();
    let mut store = Store::new();
    let mut watchers = Watchers::new(WIDE, &store);
    let id = watchers.create(&store, all()).expect("a range");
    for i in 0..5 {
        run(&mut ahead, put("a", &i.to_string()));
        if i < 2 {
            run(&mut store, put("a", &i.to_string()));
            watchers.advance(&store);
        }
    }
    store.restore(&ahead.snapshot()).expect("a snapshot");
    watchers.advance(&store);
    let told = drain(&mut watchers, &store, id);
    assert_eq!(events(&told).iter().map(|e| e.2).collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
    let future = watchers.create(&store, WatchCreateRequest { start_revision: 9, ..all() }).expect("a range");

    for i in 0..5 {
        run(&mut ahead, put("a", &i.to_string()));
    }
    run(&mut ahead, compact(9));
    store.restore(&ahead.snapshot()).expect("a snapshot");
    watchers.advance(&store);
    let told = drain(&mut watchers, &store, id);
    assert_eq!(told.last().map(|r| (r.canceled, r.compact_revision)), Some((true, 9)));
    assert_eq!(events(&drain(&mut watchers, &store, future)).iter().map(|e| e.2).collect::<Vec<_>>(), [9, 10, 11]);
}

/// What a reader has been told, judged as it comes.
struct Reader {
    request: WatchCreateRequest,
    from: u64,
    /// Everything up to here was told.
    upto: u64,
    ended: bool,
}

impl Reader {
    fn hear(&mut self, model: &Model, store: &Store, response: &WatchResponse) -> Result<(), TestCaseError> {
        prop_assert!(!self.ended, "after the end: {response:?}");
        if response.canceled {
            self.ended = true;
            prop_assert!(response.compact_revision > 0 && self.upto + 1 < response.compact_revision, "at {}: {response:?}", self.upto);
        }
        prop_assert!(response.revision <= store.applied_revision(), "{response:?}");
        let upto = response.revision.max(self.upto);
        let mut expected: Vec<WatchEvent> =
            (self.upto.max(self.from - 1) + 1..=upto).flat_map(|r| model.events(&self.request, r)).collect();
        // A previous pair may be compacted by now.
        for (expected, told) in expected.iter_mut().zip(&response.events) {
            if told.prev_kv.is_none() && expected.kv.mod_revision <= model.compacted {
                expected.prev_kv = None;
            }
        }
        prop_assert_eq!(&response.events, &expected, "from {} to {}", self.upto, upto);
        self.upto = upto;
        Ok(())
    }
}

fn watch_request() -> impl Strategy<Value = WatchCreateRequest> {
    let key = || prop::sample::select(&KEYS[..]).prop_map(Bytes::from);
    let end = prop_oneof![1 => Just(None), 2 => Just(Some(Bytes::from("\0"))), 1 => key().prop_map(Some)];
    let start = prop_oneof![1 => Just(0), 2 => 1..20u64];
    let filters = prop_oneof![4 => Just(vec![]), 1 => Just(vec![WatchFilter::NoPut]), 1 => Just(vec![WatchFilter::NoDelete])];
    (key(), end, start, any::<bool>(), filters, any::<bool>()).prop_map(
        |(key, range_end, start_revision, progress_notify, filters, prev_kv)| WatchCreateRequest {
            key,
            range_end,
            start_revision,
            progress_notify,
            filters,
            prev_kv,
        },
    )
}

#[derive(Clone, Debug)]
enum Act {
    Step(Index),
    Create(WatchCreateRequest),
    Take(Index),
    Progress(Index),
    Notify,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        10 => any::<Index>().prop_map(Act::Step),
        1 => watch_request().prop_map(Act::Create),
        4 => any::<Index>().prop_map(Act::Take),
        1 => any::<Index>().prop_map(Act::Progress),
        1 => Just(Act::Notify),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Random watchers, begun and read at random times while random commands complete in any allowed order: what each has been told is, at any
    /// time, exactly what the model says of the revisions it claims to have told; in the end, of all.
    #[test]
    fn every_watcher_is_told_everything(commands in prop::collection::vec(command(), 1..30), acts in prop::collection::vec(act(), 60)) {
        let mut model = Model::new();
        commands.iter().for_each(|c| _ = model.apply_in(TERM, c));
        let mut run = Run::new(commands);
        let mut watchers = Watchers::new(LIMITS, &run.store);
        let mut readers: BTreeMap<WatchId, Reader> = BTreeMap::new();
        let pick = |index: &Index, readers: &BTreeMap<WatchId, Reader>| readers.keys().nth(index.index(readers.len().max(1))).copied();
        for act in &acts {
            match act {
                Act::Step(index) => {
                    let possible = run.possible();
                    if let Some(&step) = possible.get(index.index(possible.len().max(1))) {
                        run.step(step);
                        watchers.advance(&run.store);
                    }
                }
                Act::Create(request) => {
                    if let Ok(id) = watchers.create(&run.store, request.clone()) {
                        let from = if request.start_revision == 0 { run.store.applied_revision() + 1 } else { request.start_revision };
                        let created = watchers.take(&run.store, id).expect("it is told so at once");
                        prop_assert!(created.created && created.events.is_empty() && created.revision < from);
                        readers.insert(id, Reader { request: request.clone(), from, upto: created.revision, ended: false });
                    }
                }
                Act::Take(index) => {
                    if let Some(id) = pick(index, &readers)
                        && let Some(response) = watchers.take(&run.store, id)
                    {
                        readers.get_mut(&id).expect("picked").hear(&model, &run.store, &response)?;
                    }
                }
                Act::Progress(index) => pick(index, &readers).into_iter().for_each(|id| watchers.request_progress(id)),
                Act::Notify => watchers.notify_progress(),
            }
        }
        while let Some(&step) = run.possible().first() {
            run.step(step);
            watchers.advance(&run.store);
        }
        prop_assert!(run.low() == run.commands.len());
        for (id, mut reader) in readers {
            while let Some(response) = watchers.take(&run.store, id) {
                reader.hear(&model, &run.store, &response)?;
            }
            if reader.ended {
                continue;
            }
            prop_assert!(watchers.is_synced(id));
            watchers.request_progress(id);
            let response = watchers.take(&run.store, id).expect("it is synced");
            reader.hear(&model, &run.store, &response)?;
            prop_assert_eq!(reader.upto, model.revision(), "nothing is missing");
        }
    }
}

#[test]
fn known_bugs_are_noticed() {
    fails_with(Mutant::WatchOutOfOrder, a_revision_is_told_when_all_before_it_are_applied);
    fails_with(Mutant::WatchGapAtRegister, a_revision_is_told_when_all_before_it_are_applied);
    fails_with(Mutant::WatchSkipsUndelivered, a_slow_reader_holds_up_nobody_and_misses_nothing);
    fails_with(Mutant::WatchSlowCanceled, a_slow_reader_holds_up_nobody_and_misses_nothing);
    fails_with(Mutant::WatchWrongPrev, events_of_history_and_of_the_present);
    fails_with(Mutant::WatchCompactedDelete, compaction_is_honest);
    fails_with(Mutant::WatchEarlyEvent, progress_is_truthful);
}
