//! Watches: told from one node at a time, by questions, and gone on with elsewhere when that node does not answer or has forgotten.
//!
//! Invariant: `next` is the first revision of which the caller has not been told everything, and every question says so; a watcher
//! anywhere that begins there goes on without a gap or a duplicate. A watcher has a number of its own, never used twice, so no late answer of
//! an earlier one is taken for its; an answer counts once, for the question that is being asked.
//!
//! A node that has nothing to tell says nothing. Whether it is still there the client finds out by asking now and then how far it is, which the
//! caller is not told unless it wanted to know.

use std::sync::Arc;

use curp::{Message, Nanos, NodeId, Request as Ask, WatchName};
use kv::{WatchCreateRequest, WatchResponse};

use crate::{Client, Notice, Output, Retry};

/// From this try on a question asks for progress, too: a node that is there and up to date then has something to say.
const PROBE_ATTEMPT: u32 = 2;
/// So many questions without an answer, and the watch goes on elsewhere.
const ATTEMPTS_MAX: u32 = 4;

/// A watch of the caller's.
#[derive(Debug)]
pub(crate) struct Watch {
    request: WatchCreateRequest,
    /// The first revision not told; 0: whatever is next where it begins.
    next: u64,
    /// The greatest revision up to which a node said that all was told. A watch of the future is told of lower ones than `next`.
    told: u64,
    /// Where its watcher is.
    node: NodeId,
    /// The watcher's number; each has its own.
    number: u64,
    /// The last question asked of it.
    pull: u64,
    /// That one is not answered yet.
    asking: bool,
    /// The caller wants to know how far it is.
    progress: bool,
    /// The caller knows that it has begun.
    begun: bool,
    /// The caller knows of this watcher.
    registered: bool,
    /// How often it has gone on elsewhere.
    moves: u32,
    retry: Retry,
}

impl Watch {
    /// When it is to be asked again, if it is.
    pub(crate) fn due(&self) -> Option<Nanos> {
        self.asking.then_some(self.retry.due)
    }

    /// The next question is asked at the next timer run.
    fn ask(&mut self, now: Nanos) {
        self.pull += 1;
        self.asking = true;
        self.retry = Retry::first(now);
    }
}

impl Client {
    pub(crate) fn watch(&mut self, op: u64, request: WatchCreateRequest, node: Option<NodeId>, now: Nanos) {
        let node = node.unwrap_or_else(|| self.any_node());
        let number = self.new_number();
        let (next, retry) = (request.start_revision, Retry::first(now));
        let (told, pull, moves) = (0, 1, 0);
        let (asking, progress, begun, registered) = (true, false, false, false);
        let watch = Watch { request, next, told, node, number, pull, asking, progress, begun, registered, moves, retry };
        self.watches.insert(op, watch);
    }

    pub(crate) fn watch_next(&mut self, op: u64, now: Nanos) {
        if let Some(watch) = self.watches.get_mut(&op).filter(|watch| !watch.asking) {
            watch.ask(now);
        }
    }

    pub(crate) fn watch_progress(&mut self, op: u64, now: Nanos) {
        if let Some(watch) = self.watches.get_mut(&op) {
            // Each try counts: a caller that asks over and over must not keep the watch at a node that is silent.
            watch.progress = true;
            watch.retry.due = watch.retry.due.min(watch.retry.earliest.max(now));
        }
    }

    pub(crate) fn end_watch(&mut self, op: u64, out: &mut Output) {
        if let Some(watch) = self.watches.remove(&op) {
            let name = (self.address, watch.number);
            out.messages.push((watch.node, Message::Request(Ask::Unwatch { watch: name })));
        }
    }

    /// Asks what is due; elsewhere, if the node has not answered for long.
    pub(crate) fn run_watches(&mut self, now: Nanos, out: &mut Output) {
        let due: Vec<u64> = self.watches.iter().filter(|(_, w)| w.due().is_some_and(|due| now >= due)).map(|(op, _)| *op).collect();
        for op in due {
            let attempts = self.watches[&op].retry.attempts;
            if attempts >= ATTEMPTS_MAX {
                self.go_on_elsewhere(op, now, out);
            }
            self.send_pull(op, now, out);
        }
    }

    fn send_pull(&mut self, op: u64, now: Nanos, out: &mut Output) {
        let attempts = self.watches[&op].retry.attempts;
        let (wait, gap) = (self.backoff(attempts + 2), self.config.retry_after_min / 4);
        let watch = self.watches.get_mut(&op).expect("looked up above");
        watch.retry = Retry { due: now + wait, attempts: attempts + 1, earliest: now + gap };
        let create = Arc::new(WatchCreateRequest { start_revision: watch.next, ..watch.request.clone() });
        if !std::mem::replace(&mut watch.registered, true) {
            out.notices.push(Notice::Registered { op, to: watch.node, start_revision: watch.next });
        }
        let (name, progress) = ((self.address, watch.number), watch.progress || attempts >= PROBE_ATTEMPT);
        out.messages.push((watch.node, Message::Request(Ask::Watch { watch: name, pull: watch.pull, create, progress })));
    }

    /// A new watcher at another node goes on from where this one is, not before the earliest time for another question. Asks who is there,
    /// meanwhile: a client that has nothing but watches learns it in no other way, and all the nodes it knows may have left since.
    fn go_on_elsewhere(&mut self, op: u64, now: Nanos, out: &mut Output) {
        let (number, drawn) = (self.new_number(), self.any_node());
        let watch = self.watches.get_mut(&op).expect("the caller looked it up");
        let after = self.membership.members().skip_while(|node| *node != watch.node).nth(1);
        let other = after.or_else(|| self.membership.members().next()).filter(|_| drawn == watch.node);
        (watch.node, watch.number, watch.pull) = (other.unwrap_or(drawn), number, 1);
        (watch.asking, watch.registered) = (true, false);
        watch.retry = Retry { due: watch.retry.earliest.max(now), attempts: 0, earliest: watch.retry.earliest };
        watch.moves += 1;
        let moves = watch.moves;
        out.messages.push((self.node_in_turn(moves), Message::Request(Ask::FetchCluster)));
    }

    pub(crate) fn on_watch_reply(&mut self, name: WatchName, pull: u64, response: Option<WatchResponse>, now: Nanos, out: &mut Output) {
        let asked = |watch: &Watch| watch.number == name.1 && watch.asking && watch.pull == pull;
        let Some((&op, watch)) = self.watches.iter_mut().find(|(_, watch)| asked(watch)).filter(|_| name.0 == self.address) else { return };
        let Some(response) = response else { return self.go_on_elsewhere(op, now, out) };
        let node = watch.node;
        watch.asking = false;
        let progress = response.is_progress();
        // Of a node that lags behind the one before: for the caller it would go back.
        let stale = progress && response.revision < watch.told;
        watch.next = watch.next.max(response.revision + 1);
        watch.told = watch.told.max(response.revision);
        let wanted = if progress {
            !stale && (std::mem::take(&mut watch.progress) || watch.request.progress_notify)
        } else {
            !(response.created && watch.begun) || response.canceled
        };
        watch.begun |= response.created;
        if stale {
            // It counts as no answer: should the node go on lagging, the watch goes on elsewhere.
            let retry = watch.retry;
            watch.ask(now);
            watch.retry = retry;
        } else if !wanted {
            watch.ask(now);
        } else {
            if response.canceled {
                self.watches.remove(&op);
            }
            out.notices.push(Notice::Watch { op, node, response });
        }
    }
}
