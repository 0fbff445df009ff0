//! Watches: what each watcher is told, held against the store replayed from the log.
//!
//! Of a watch it is known how far all has been told: that boundary starts where it was asked for, and each response moves it to its own revision.
//! A response must hold every event beyond the boundary and up to its revision that the watch asks for, each once, in order, all of a revision
//! together and in the order in which its request wrote, with the pair written and, if asked for, the pair before. What a compaction
//! took it may say that it cannot tell.
//!
//! Deliberately not here: how soon a watcher is told.

use std::collections::{BTreeMap, VecDeque};

use curp::NodeId;
use history::{ClientEvent, Event, Stamped};
use kv::{Error, EventKind, KeyValue, WatchCreateRequest, WatchEvent, WatchFilter, WatchResponse};

use super::ghost::Ghost;
use super::report::{At, Check, Report};
use crate::replay::{Replay, is_unbounded, lies_in};
use crate::words;

pub(super) const ORDERED: &str = "a watcher is told events in the order of revisions, and within one as its request wrote";
pub(super) const ATOMIC: &str = "a watcher is told all events of a revision in one response";
pub(super) const UNIQUE: &str = "a watcher is told no event twice";
pub(super) const COMPLETE: &str = "a watcher misses no event";
pub(super) const FROM_START: &str = "a watcher is told nothing from before the revision it asked for";
pub(super) const RESUMES: &str = "a watch does not go back to what it was told already";
pub(super) const APPLIED: &str = "a watcher is told only what is applied";
pub(super) const CONTENT: &str = "an event shows what was written";
pub(super) const CREATED: &str = "an event shows a creation exactly if the key was not there";
pub(super) const PREV_KV: &str = "an event shows what the key held before, if that was asked for";
pub(super) const FILTERED: &str = "a watcher is told only of what it asked for";
pub(super) const PROGRESS: &str = "what a watcher is told of its progress is true";
pub(super) const COMPACTED: &str = "a watcher is canceled for a compaction only if what comes next is compacted";
pub(super) const CANCELED: &str = "a watcher is canceled only for a compaction, or at once for a range that holds no key";
pub(super) const ENDED: &str = "a watcher is told nothing after its end";

const CHECK: Check = Check::Watch;

/// A client's watch.
struct Watch {
    request: WatchCreateRequest,
    /// Everything up to this revision has been told. `None`: it asked for "from now on", and has not been told where that is.
    told: Option<u64>,
    /// The event by which it began, and its last response.
    began: u64,
    latest: u64,
    ended: bool,
    /// Responses that tell of more than every node says it has applied, with what came after them. Commands that commute finish in any order, and an
    /// entry counts as applied only when all before it are, be it that these write nothing: so a revision can be complete a little earlier.
    waiting: VecDeque<(NodeId, WatchResponse, At)>,
}

#[derive(Default)]
pub(super) struct Watches {
    watches: BTreeMap<u64, Watch>,
    /// The revision applied when it was looked at last.
    applied: u64,
}

impl Watches {
    /// After the ghost took the event in.
    pub fn after(&mut self, g: &Ghost, stamped: &Stamped, at: At, r: &mut Report) {
        if g.store.revision() > self.applied {
            self.applied = g.store.revision();
            self.watches
                .iter_mut()
                .filter(|(_, watch)| !watch.waiting.is_empty())
                .for_each(|(op, watch)| watch.judge(&g.store, *op, false, r));
        }
        let Event::Client(event) = &stamped.event else { return };
        match event {
            ClientEvent::Watch { op, request } => {
                let told = request.start_revision.checked_sub(1);
                let mut request = request.clone();
                if request.key.as_slice().is_empty() {
                    // The least key there is.
                    request.key = "\0".into();
                }
                let watch = Watch { request, told, began: at.event, latest: at.event, ended: false, waiting: VecDeque::new() };
                self.watches.insert(*op, watch);
            }
            ClientEvent::Register { op, to, start_revision } => {
                let Some(watch) = self.watches.get_mut(op) else { return };
                // It may go on behind a response that its caller has not taken yet; if there was none, what is missing will show.
                let next = watch.told.map_or(0, |told| told + 1);
                r.expect(CHECK, RESUMES, at, *start_revision >= next, || {
                    let message = format!(
                        "watch {op} went on at node {to} from revision {start_revision}, though it has been told all up to {}",
                        next.saturating_sub(1)
                    );
                    (message, vec![watch.latest])
                });
            }
            ClientEvent::WatchTold { op, from, response } => {
                let Some(watch) = self.watches.get_mut(op) else { return };
                watch.waiting.push_back((*from, response.clone(), at));
                watch.judge(&g.store, *op, false, r);
            }
            ClientEvent::EndWatch { op } => {
                // What came before it and waits to be judged did not come after it.
                if let Some(watch) = self.watches.get_mut(op).filter(|watch| watch.waiting.is_empty()) {
                    watch.ended = true;
                }
            }
            _ => {}
        }
    }

    /// At the end of the run: what is not applied by now never was.
    pub fn finish(&mut self, g: &Ghost, r: &mut Report) {
        self.watches.iter_mut().for_each(|(op, watch)| watch.judge(&g.store, *op, true, r));
    }
}

impl Watch {
    /// Judges the responses that can be judged by now; `all`: those too that tell of what was never applied.
    fn judge(&mut self, store: &Replay, op: u64, all: bool, r: &mut Report) {
        let reaches =
            |response: &WatchResponse| response.events.iter().map(|e| e.kv.mod_revision).max().unwrap_or(0).max(response.revision);
        while let Some((from, response, at)) = self.waiting.pop_front() {
            if !all && reaches(&response) > store.revision() {
                self.waiting.push_front((from, response, at));
                return;
            }
            self.is_told(store, (op, from), &response, at, r);
            self.latest = at.event;
        }
    }

    fn is_told(&mut self, store: &Replay, (op, from): (u64, NodeId), response: &WatchResponse, at: At, r: &mut Report) {
        let WatchResponse { revision, ref events, .. } = *response;
        let mut wrong = |rule, holds: bool, what: &dyn Fn() -> String| {
            r.expect(CHECK, rule, at, holds, || {
                let keys = words::keys(&self.request.key, self.request.range_end.as_ref());
                (format!("watch {op} of {keys} was told by node {from} {}", what()), vec![self.began, self.latest])
            });
        };
        wrong(ENDED, !self.ended, &|| "more after its last response".to_owned());
        self.ended |= response.canceled;
        if let Some(early) = events.iter().find(|e| e.kv.mod_revision > store.revision()) {
            wrong(APPLIED, false, &|| format!("{}, and no node has applied more than revision {}", words::event(early), store.revision()));
            return;
        }
        if response.compact_revision != 0 || response.cancel_reason == Some(Error::Compacted) {
            let honest = response.canceled
                && self.told.is_some_and(|told| told + 1 < response.compact_revision)
                && response.compact_revision <= store.compacted();
            wrong(COMPACTED, honest, &|| {
                let (next, truth) = (self.told.map_or(0, |told| told + 1), store.compacted());
                format!("that revision {} is compacted, when {truth} was, and it needed {next} next", response.compact_revision)
            });
        }
        if response.canceled && response.cancel_reason != Some(Error::Compacted) {
            let (key, end) = (&self.request.key, self.request.range_end.as_ref());
            let empty = end.is_some_and(|end| !is_unbounded(end) && end <= key);
            let honest = response.created && self.latest == self.began && empty && response.cancel_reason == Some(Error::EmptyWatchRange);
            wrong(CANCELED, honest && events.is_empty(), &|| {
                let why = response.cancel_reason.map_or("nothing", |reason| reason.message());
                format!("that it is canceled for \"{why}\", all up to revision {} having been told", self.told.unwrap_or(0))
            });
            // It never began.
            return;
        }
        if response.created {
            wrong(CONTENT, events.is_empty(), &|| "events in the response that says it is made".to_owned());
            wrong(PROGRESS, revision <= store.revision(), &|| {
                format!("that it begins after revision {revision}, and no node has applied more than {}", store.revision())
            });
            self.told.get_or_insert(revision);
            return;
        }
        let Some(told) = self.told else {
            wrong(PROGRESS, false, &|| "something before where it begins".to_owned());
            return;
        };
        wrong(PROGRESS, revision <= store.revision(), &|| {
            format!("all up to revision {revision}, and no node has applied more than {}", store.revision())
        });
        self.each(store, told, events, &mut wrong);
        self.all(store, told, response, &mut wrong);
        self.told = Some(told.max(revision));
    }

    /// Each event on its own: one that was asked for, of its time, as it was written.
    fn each(&self, store: &Replay, told: u64, events: &[WatchEvent], wrong: &mut impl FnMut(&'static str, bool, &dyn Fn() -> String)) {
        let order: Vec<(u64, usize)> = events.iter().map(|event| place(store, event)).collect();
        for (i, event) in events.iter().enumerate() {
            let (revision, key) = (event.kv.mod_revision, &event.kv.key);
            let say = || words::event(event);
            wrong(FROM_START, revision >= self.request.start_revision, &|| {
                format!("{}, and it began with revision {}", say(), self.request.start_revision)
            });
            wrong(UNIQUE, revision > told && !events[..i].iter().any(|e| (e.kv.mod_revision, &e.kv.key) == (revision, key)), &|| {
                format!("{} again", say())
            });
            wrong(ORDERED, i == 0 || order[i - 1] <= order[i], &|| {
                format!("{} after {}", say(), words::event(&events[i.saturating_sub(1)]))
            });
            wrong(FILTERED, self.wants(key, event.kind), &|| format!("{}, which it did not ask for", say()));
            let written = store.written(revision).contains(key);
            let truth = store.at(key, revision);
            let gone = KeyValue { key: key.clone(), mod_revision: revision, ..KeyValue::default() };
            let same = match event.kind {
                EventKind::Put => truth == Some(&event.kv),
                EventKind::Delete => truth.is_none() && event.kv == gone,
            };
            let before = store.at(key, revision.saturating_sub(1));
            let made = event.kind == EventKind::Put && before.is_none();
            let says_made = event.kv.version == 1 && event.kv.create_revision == revision;
            wrong(CREATED, !written || event.kind == EventKind::Delete || made == says_made, &|| {
                format!("{} as version {} created at revision {}", say(), event.kv.version, event.kv.create_revision)
            });
            wrong(CONTENT, written && same, &|| match truth.filter(|_| written) {
                Some(kv) => format!("{}, where {} was written", say(), words::key_value(kv)),
                None if written => format!("{}, where it was deleted", say()),
                None => format!("{}, and that revision did not write this key", say()),
            });
            // What was there before the compacted revision is gone.
            let forgotten = event.prev_kv.is_none() && revision <= store.compacted();
            let prev = if self.request.prev_kv { before } else { None };
            wrong(PREV_KV, forgotten || event.prev_kv.as_ref() == prev, &|| {
                let say_kv = |kv: Option<&KeyValue>| kv.map_or("nothing".to_owned(), words::key_value);
                format!("{} with {} before it, not {}", say(), say_kv(event.prev_kv.as_ref()), say_kv(prev))
            });
        }
    }

    /// All events up to the response's revision.
    fn all(&self, store: &Replay, told: u64, response: &WatchResponse, wrong: &mut impl FnMut(&'static str, bool, &dyn Fn() -> String)) {
        let up_to = response.revision.max(response.events.last().map_or(0, |e| e.kv.mod_revision)).min(store.revision());
        for revision in told + 1..=up_to {
            let has = |key: &kv::Bytes| response.events.iter().any(|e| e.kv.mod_revision == revision && e.kv.key == *key);
            let wanted = |key: &&kv::Bytes| {
                let kind = if store.at(key, revision).is_some() { EventKind::Put } else { EventKind::Delete };
                self.wants(key, kind)
            };
            let mut missing = store.written(revision).iter().filter(wanted).filter(|key| !has(key));
            let some = response.events.iter().any(|e| e.kv.mod_revision == revision);
            let rule = match (some, response.events.is_empty()) {
                (true, _) => ATOMIC,
                (false, true) => PROGRESS,
                (false, false) => COMPLETE,
            };
            let first = missing.next();
            wrong(rule, first.is_none(), &|| {
                let key = first.map_or(String::new(), ToString::to_string);
                let what =
                    if some { format!("a part of revision {revision}") } else { format!("all up to revision {}", response.revision) };
                format!("{what}, without what revision {revision} did to {key}")
            });
        }
    }

    fn wants(&self, key: &kv::Bytes, kind: EventKind) -> bool {
        let unwanted = match kind {
            EventKind::Put => WatchFilter::NoPut,
            EventKind::Delete => WatchFilter::NoDelete,
        };
        lies_in(key, &self.request.key, self.request.range_end.as_ref()) && !self.request.filters.contains(&unwanted)
    }
}

/// Where an event stands among all.
fn place(store: &Replay, event: &WatchEvent) -> (u64, usize) {
    let within = store.written(event.kv.mod_revision).iter().position(|key| *key == event.kv.key);
    (event.kv.mod_revision, within.unwrap_or(usize::MAX))
}
