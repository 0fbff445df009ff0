//! Watchers of this node's clients, one question at a time: a client asks for its watcher's next response, and by asking for the one after
//! that it says that the last has come ([`curp::Request::Watch`]).
//!
//! Invariant: a response is given for one question only, and again whenever that is repeated, until it is acknowledged; so a
//! network that loses and repeats loses no event and tells none twice. The question that acknowledges also says where the client stands: a watcher
//! that stands elsewhere is another one of the same name, made anew by a late repetition of the first question, and is gone for the client.
//!
//! A reader holds up nobody: what waits for it is bounded ([`kv::WatchLimits`]), and a watcher whose reader does not ask for a while is dropped.

use std::collections::BTreeMap;
use std::sync::Arc;

use curp::{Nanos, Reply, WatchName};
use kv::{WatchCreateRequest, WatchId, WatchResponse};

use crate::{Node, Output};

/// The client's side of a watcher.
#[derive(Debug)]
struct Reader {
    id: WatchId,
    /// The first revision of which the client has not been told, as far as is acknowledged; 0: whatever was next when it began.
    next: u64,
    /// The question that is to be answered, or was last.
    pull: u64,
    /// Its answer, once given.
    answer: Option<WatchResponse>,
    /// When it was asked last.
    asked: Nanos,
}

/// The readers of this node's watchers.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    by_name: BTreeMap<WatchName, Reader>,
    /// When those that want it are next told how far they are.
    progress_due: Nanos,
}

/// A client's question.
#[derive(Debug)]
pub(crate) struct Pull {
    pub(crate) watch: WatchName,
    pub(crate) number: u64,
    pub(crate) create: Arc<WatchCreateRequest>,
    pub(crate) progress: bool,
}

impl Node {
    /// A client asks for its watcher's next response.
    pub(crate) fn pull(&mut self, pull: Pull, now: Nanos, out: &mut Output) {
        let Pull { watch, number, create, progress } = pull;
        self.machine.news = true;
        let leaderless = self.raw.leadership().leader.is_none();
        let Some(reader) = self.readers.by_name.get_mut(&watch) else {
            return if number == 1 { self.register(watch, &create, now, out) } else { self.answer_watch(watch, number, None, out) };
        };
        if number == reader.pull {
            reader.asked = now;
            if let Some(answer) = reader.answer.clone() {
                return self.answer_watch(watch, number, Some(answer), out);
            }
            if leaderless && progress {
                // It knows of nobody who could tell it anything new: the client may find a better node.
                self.drop_reader(watch);
                return self.answer_watch(watch, number, None, out);
            }
        } else if number == reader.pull + 1
            && let Some(answer) = reader.answer.take_if(|answer| !answer.canceled)
            && create.start_revision == reader.next.max(answer.revision + 1)
        {
            (reader.next, reader.pull, reader.asked) = (create.start_revision, number, now);
        } else if number < reader.pull {
            return tracing::debug!(?watch, number, "a late question");
        } else {
            self.drop_reader(watch);
            return self.answer_watch(watch, number, None, out);
        }
        let id = self.readers.by_name[&watch].id;
        if progress && !self.machine.watchers.has_response(id) {
            self.machine.watchers.request_progress(id);
        }
    }

    fn register(&mut self, watch: WatchName, create: &WatchCreateRequest, now: Nanos, out: &mut Output) {
        match self.machine.watchers.create(&self.machine.store, create.clone()) {
            Ok(id) => {
                let reader = Reader { id, next: create.start_revision, pull: 1, answer: None, asked: now };
                self.readers.by_name.insert(watch, reader);
            }
            Err(error) => {
                let refused = WatchResponse { created: true, canceled: true, cancel_reason: Some(error), ..WatchResponse::default() };
                self.answer_watch(watch, 1, Some(refused), out);
            }
        }
    }

    /// A client wants no more of a watch.
    pub(crate) fn drop_reader(&mut self, watch: WatchName) {
        if let Some(reader) = self.readers.by_name.remove(&watch) {
            self.machine.watchers.remove(reader.id);
        }
    }

    /// Answers every question for which there is something.
    pub(crate) fn tell_watchers(&mut self, out: &mut Output) {
        if !std::mem::take(&mut self.machine.news) {
            return;
        }
        for (&watch, reader) in &mut self.readers.by_name {
            if reader.answer.is_some() {
                continue;
            }
            if let Some(answer) = self.machine.watchers.take(&self.machine.store, reader.id) {
                reader.answer = Some(answer.clone());
                let reply = Reply::Watch { watch, pull: reader.pull, response: Some(answer) };
                out.messages.push(crate::reads::to_client(watch.0, reply));
            }
        }
    }

    /// When a watcher that stopped in the middle of the history is to go on: at once, but other inputs may come first.
    pub(crate) fn watchers_due(&self) -> Option<Nanos> {
        (self.machine.watchers.has_stopped() && self.stop_after.is_none()).then_some(self.clock)
    }

    /// Time passed: drops the watchers whose readers are gone, has one that stopped go on, and has all told now and then how far they are.
    pub(crate) fn tick_watchers(&mut self, now: Nanos) {
        let idle = self.limits.watch_idle;
        let gone = |reader: &Reader| now >= reader.asked.saturating_add(idle);
        let names: Vec<WatchName> = self.readers.by_name.iter().filter(|(_, reader)| gone(reader)).map(|(name, _)| *name).collect();
        names.into_iter().for_each(|name| self.drop_reader(name));
        if self.machine.watchers.has_stopped() {
            self.machine.watchers.go_on(&self.machine.store);
            self.machine.news = true;
        }
        if now >= self.readers.progress_due {
            self.readers.progress_due = now.saturating_add(self.limits.watch_progress_every);
            self.machine.watchers.notify_progress();
            self.machine.news = true;
        }
    }

    fn answer_watch(&self, watch: WatchName, pull: u64, response: Option<WatchResponse>, out: &mut Output) {
        self.reply(watch.0, Reply::Watch { watch, pull, response }, out);
    }
}
