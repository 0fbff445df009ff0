//! Watchers: who wants to know of which writes, and what of it they have not been told yet. Volatile, and each node's own; a watcher
//! that loses its node goes on at another, from the revision after the last it was told.
//!
//! Invariant: what is queued for a watcher is every event that it asked for, of every revision from its start up to a boundary that only
//! rises, in order, each once, all of a revision in one response. The revision in a response says so: nothing up to it is missing. Hence no event
//! of a revision is shown before every lower revision is applied, although commuting commands finish in any order:
//! [`Store::applied_revision`] is that boundary.
//!
//! A watcher is *synced* if its boundary is the last one seen: it gets the new revisions as they come. One whose queue is full when an event comes
//! falls out of sync, and is filled from the history as its reader takes what there is; it holds up nobody. If a compaction is faster than the
//! reader, the watcher ends with the compacted revision, after what was queued. One that stopped although there is room, since there was much to look
//! at, waits for [`Watchers::go_on`]: nothing else makes it go on.
//!
//! Deliberately not here: streams, and cutting responses into fragments. Who reads a watcher calls [`Watchers::take`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use mutants::Mutant;
use serde::{Deserialize, Serialize};

use crate::conflict::overlap;
use crate::{Bytes, Error, KeyValue, Store};

/// The most revisions looked at for a watcher that is behind, in one go: a long history with little for it must not hold up the node.
const LOOK_MAX: u64 = 10_000;

/// Names a watcher of a node; never used again while the node lives.
pub type WatchId = i64;

/// What to watch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WatchCreateRequest {
    /// First key; if empty, the least there is.
    pub key: Bytes,
    /// The end, exclusive, as in [`RangeRequest`](crate::RangeRequest).
    #[serde(default)]
    pub range_end: Option<Bytes>,
    /// The first revision to tell of; 0: the next one.
    #[serde(default)]
    pub start_revision: u64,
    /// Whether to be told, now and then, how far all is told although there is nothing to tell.
    #[serde(default)]
    pub progress_notify: bool,
    /// What not to tell of.
    #[serde(default)]
    pub filters: Vec<WatchFilter>,
    /// Whether to tell what the key held before.
    #[serde(default)]
    pub prev_kv: bool,
}

impl WatchCreateRequest {
    /// Whether there is anything to watch.
    ///
    /// # Errors
    /// The range holds no key.
    pub fn check(&self) -> Result<(), Error> {
        let least = Bytes::from("\0");
        let range = (if self.key.as_slice().is_empty() { &least } else { &self.key }, self.range_end.as_ref());
        if overlap(range, range) { Ok(()) } else { Err(Error::EmptyWatchRange) }
    }
}

/// Events to leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WatchFilter {
    /// Puts.
    NoPut,
    /// Deletes.
    NoDelete,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// It was written; created, if its pair's version is 1.
    Put,
    /// It was deleted.
    Delete,
}

/// A write of one key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WatchEvent {
    /// What happened.
    pub kind: EventKind,
    /// The pair after it; of a delete, only the key and the revision, in `mod_revision`.
    pub kv: KeyValue,
    /// What the key held before, if asked for, if it existed, and if that is not compacted.
    #[serde(default)]
    pub prev_kv: Option<KeyValue>,
}

/// What a watcher is told. Without events, and neither created nor canceled, it tells progress.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WatchResponse {
    /// Whose it is.
    pub watch_id: WatchId,
    /// Everything up to this revision has been told, this response included.
    pub revision: u64,
    /// The first response of a watcher.
    #[serde(default)]
    pub created: bool,
    /// The last one.
    #[serde(default)]
    pub canceled: bool,
    /// If it was canceled since what comes next is compacted: the compacted revision.
    #[serde(default)]
    pub compact_revision: u64,
    /// Why it was canceled, unless because the client wanted it.
    #[serde(default)]
    pub cancel_reason: Option<Error>,
    /// Events in order; all of a revision or none.
    #[serde(default)]
    pub events: Vec<WatchEvent>,
}

impl WatchResponse {
    /// Whether it tells nothing but how far the watcher is.
    #[must_use]
    pub fn is_progress(&self) -> bool {
        self.events.is_empty() && !self.created && !self.canceled
    }
}

/// How much waits for a slow reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchLimits {
    /// The most responses queued for a watcher.
    pub responses_max: usize,
    /// A response made from the history ends with the revision that makes it this many events.
    pub events_max: usize,
}

#[derive(Clone, Debug)]
struct Watcher {
    request: WatchCreateRequest,
    /// Events of lower revisions are not for it.
    from: u64,
    /// Every event of a lower revision that is for it is queued, or taken.
    next: u64,
    synced: bool,
    queue: VecDeque<WatchResponse>,
    /// The client wants to know how far it is, and the answer is not queued yet.
    progress_wanted: bool,
    /// The last response is queued.
    ended: bool,
}

/// The watchers of a node.
#[derive(Clone, Debug)]
pub struct Watchers {
    limits: WatchLimits,
    watchers: BTreeMap<WatchId, Watcher>,
    last_id: WatchId,
    /// The boundary up to which synced watchers are told everything.
    seen: u64,
    /// Those behind that stopped with room in their queues.
    stopped: BTreeSet<WatchId>,
    /// Which of them went on last.
    went_on: WatchId,
    /// Shown before their turn: always empty but in a mutant.
    early: BTreeSet<u64>,
}

impl Watchers {
    /// None yet, at a node with this store.
    pub fn new(limits: WatchLimits, store: &Store) -> Self {
        assert!(limits.responses_max > 0 && limits.events_max > 0, "no response could ever be queued");
        let (stopped, early) = Default::default();
        Watchers { limits, watchers: BTreeMap::new(), last_id: 0, seen: store.applied_revision(), stopped, went_on: 0, early }
    }

    /// Begins to watch. What there is to tell, beginning with "created", is for [`take`](Self::take); a start that is compacted is told so there.
    ///
    /// # Errors
    /// The range holds no key.
    pub fn create(&mut self, store: &Store, mut request: WatchCreateRequest) -> Result<WatchId, Error> {
        request.check()?;
        if request.key.as_slice().is_empty() {
            request.key = Bytes::from("\0");
        }
        self.advance(store);
        self.last_id += 1;
        let id = self.last_id;
        let from = if request.start_revision == 0 { self.seen + 1 } else { request.start_revision };
        let created = WatchResponse { watch_id: id, revision: self.seen.min(from - 1), created: true, ..WatchResponse::default() };
        let queue = VecDeque::from([created]);
        self.watchers.insert(id, Watcher { request, from, next: from, synced: false, queue, progress_wanted: false, ended: false });
        self.catch_up(store, id);
        Ok(id)
    }

    /// Forgets a watcher whose reader is gone.
    pub fn remove(&mut self, id: WatchId) {
        self.watchers.remove(&id);
        self.stopped.remove(&id);
    }

    /// Whether one has stopped and waits for [`go_on`](Self::go_on), which is to be called soon then.
    pub fn has_stopped(&self) -> bool {
        !self.stopped.is_empty()
    }

    /// Has one that has stopped go on, each in its turn.
    pub fn go_on(&mut self, store: &Store) {
        let next = self.stopped.range(self.went_on + 1..).next().or_else(|| self.stopped.first());
        if let Some(&id) = next {
            self.went_on = id;
            self.stopped.remove(&id);
            self.catch_up(store, id);
        }
    }

    /// Tells the synced watchers what the store has applied since the last call, and the others what there is room for. To be called after
    /// every command applied, and after a snapshot was installed.
    pub fn advance(&mut self, store: &Store) {
        let boundary = store.applied_revision();
        if mutants::on(Mutant::WatchOutOfOrder) {
            for revision in store.applied_ahead() {
                if self.early.insert(revision) {
                    self.tell(store, revision);
                }
            }
        }
        if self.seen + 1 < store.compacted_revision() {
            // A snapshot was installed that begins later: who waits for what lies between must be told.
            self.watchers.values_mut().filter(|w| w.next <= boundary).for_each(|w| w.synced = false);
        } else {
            for revision in self.seen + 1..=boundary {
                if !self.early.remove(&revision) {
                    self.tell(store, revision);
                }
            }
        }
        self.seen = boundary.max(self.seen);
        let behind: Vec<WatchId> = self.watchers.iter().filter(|(_, w)| !w.synced && !w.ended).map(|(id, _)| *id).collect();
        behind.into_iter().for_each(|id| self.catch_up(store, id));
    }

    /// Queues the events of a revision for the synced watchers.
    fn tell(&mut self, store: &Store, revision: u64) {
        for (&id, watcher) in &mut self.watchers {
            if !watcher.synced || watcher.ended || revision < watcher.from {
                continue;
            }
            let events = events_of(store, &watcher.request, revision);
            if !events.is_empty() {
                if watcher.queue.len() >= self.limits.responses_max {
                    if mutants::on(Mutant::WatchSlowCanceled) {
                        let told = revision - 1;
                        watcher.end(WatchResponse { watch_id: id, revision: told, ..WatchResponse::default() });
                        continue;
                    }
                    watcher.synced = false;
                    watcher.next = if mutants::on(Mutant::WatchSkipsUndelivered) { revision + 1 } else { revision };
                    continue;
                }
                watcher.queue.push_back(WatchResponse { watch_id: id, revision, events, ..WatchResponse::default() });
            }
            watcher.next = watcher.next.max(revision + 1);
        }
    }

    /// Fills the queue of a watcher that is behind from the history, unless it has stopped. With nothing left to tell, it is synced.
    fn catch_up(&mut self, store: &Store, id: WatchId) {
        if self.stopped.contains(&id) {
            return;
        }
        let Some(watcher) = self.watchers.get_mut(&id).filter(|w| !w.synced && !w.ended) else { return };
        let compact_revision = store.compacted_revision();
        if watcher.next < compact_revision {
            let revision = watcher.next - 1;
            let cancel_reason = Some(Error::Compacted);
            return watcher.end(WatchResponse { watch_id: id, revision, compact_revision, cancel_reason, ..WatchResponse::default() });
        }
        let last = self.seen.min(watcher.next.saturating_add(LOOK_MAX - 1));
        while watcher.next <= last && watcher.queue.len() < self.limits.responses_max {
            let mut events = Vec::new();
            while watcher.next <= last && events.len() < self.limits.events_max {
                events.extend(events_of(store, &watcher.request, watcher.next));
                watcher.next += 1;
            }
            if !events.is_empty() {
                watcher.queue.push_back(WatchResponse { watch_id: id, revision: watcher.next - 1, events, ..WatchResponse::default() });
            }
        }
        if watcher.next > self.seen {
            watcher.synced = true;
            if mutants::on(Mutant::WatchGapAtRegister) {
                // It listens from the next revision that will be given, not from the next that will be applied.
                watcher.from = watcher.from.max(store.revision() + 1);
            }
        } else if watcher.queue.len() < self.limits.responses_max {
            self.stopped.insert(id);
        }
        watcher.tell_progress(id, self.seen, self.limits);
    }

    /// Takes the next response for a watcher, if there is one.
    pub fn take(&mut self, store: &Store, id: WatchId) -> Option<WatchResponse> {
        let watcher = self.watchers.get_mut(&id)?;
        let response = watcher.queue.pop_front()?;
        if response.canceled {
            self.watchers.remove(&id);
        } else {
            watcher.tell_progress(id, self.seen, self.limits);
            self.catch_up(store, id);
        }
        Some(response)
    }

    /// Whether there is something to [`take`](Self::take) for a watcher.
    pub fn has_response(&self, id: WatchId) -> bool {
        self.watchers.get(&id).is_some_and(|w| !w.queue.is_empty())
    }

    /// Whether the watcher is told new revisions as they come.
    pub fn is_synced(&self, id: WatchId) -> bool {
        self.watchers.get(&id).is_some_and(|w| w.synced)
    }

    /// The client wants to know how far it is: it is told once it is synced.
    pub fn request_progress(&mut self, id: WatchId) {
        if let Some(watcher) = self.watchers.get_mut(&id) {
            watcher.progress_wanted = true;
            watcher.tell_progress(id, self.seen, self.limits);
        }
    }

    /// Tells those that asked for it how far they are, unless something else is on its way to them. To be called now and then.
    pub fn notify_progress(&mut self) {
        for (&id, watcher) in &mut self.watchers {
            if watcher.request.progress_notify && watcher.queue.is_empty() {
                watcher.progress_wanted = true;
                watcher.tell_progress(id, self.seen, self.limits);
            }
        }
    }
}

impl Watcher {
    fn end(&mut self, last: WatchResponse) {
        self.queue.push_back(WatchResponse { canceled: true, ..last });
        self.ended = true;
        self.synced = false;
    }

    /// Queues the answer to "how far am I?" if it is wanted and true.
    fn tell_progress(&mut self, watch_id: WatchId, seen: u64, limits: WatchLimits) {
        if !self.progress_wanted || !self.synced || self.queue.len() >= limits.responses_max {
            return;
        }
        self.progress_wanted = false;
        self.queue.push_back(WatchResponse { watch_id, revision: seen, ..WatchResponse::default() });
        if mutants::on(Mutant::WatchEarlyEvent) {
            // As if the progress told where it began.
            self.from = seen + 1;
        }
    }
}

/// The events of a revision that are for a watcher, in the order in which its request wrote.
fn events_of(store: &Store, request: &WatchCreateRequest, revision: u64) -> Vec<WatchEvent> {
    let range = (&request.key, request.range_end.as_ref());
    let written = store.history.written_at(revision).filter(|(key, _)| overlap((key, None), range));
    let events = written.map(|(key, version)| {
        let (kind, kv) = match version.key_value(key) {
            Some(kv) => (EventKind::Put, kv),
            None => (EventKind::Delete, KeyValue { key: key.clone(), mod_revision: revision, ..KeyValue::default() }),
        };
        let before = if mutants::on(Mutant::WatchWrongPrev) { revision } else { revision - 1 };
        let prev_kv = if request.prev_kv { store.history.get(key, before).and_then(|v| v.key_value(key)) } else { None };
        WatchEvent { kind, kv, prev_kv }
    });
    let unwanted = |kind| match kind {
        EventKind::Put => request.filters.contains(&WatchFilter::NoPut),
        EventKind::Delete => request.filters.contains(&WatchFilter::NoDelete),
    };
    events.filter(|event| !unwanted(event.kind)).collect()
}
