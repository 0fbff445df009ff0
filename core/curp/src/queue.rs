//! The conflict-checked queue between commit and apply. Entries enter in log order; an entry starts when no earlier conflicting
//! one is unfinished, so commuting commands run side by side and finish in any order; they leave, applied, in log order again.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::{Applied, ClientId, Command, Entry, Index, Payload};

/// Names an execution handed to the engine, so that its end can be reported. Never reused in a node's life.
pub type TaskId = u64;

/// How far an entry is.
#[derive(Debug)]
pub enum Stage<R> {
    /// Not started.
    Waiting,
    /// Prepared at this revision; the engine will report the end of the task.
    Running {
        /// The task.
        task: TaskId,
        /// What `prepare` returned.
        revision: u64,
    },
    /// Finished, with the change of the state's hash; waits for its predecessors.
    Finished {
        /// What it came to.
        outcome: Applied<R>,
        /// Change of the hash of the state.
        delta: u64,
    },
}

/// An entry in the queue.
#[derive(Debug)]
pub struct Item<C: Command> {
    /// The entry.
    pub entry: Arc<Entry<C>>,
    /// How far it is.
    pub stage: Stage<C::Response>,
}

/// An entry that has left the queue, what it came to, and the change of the hash of the state.
pub type AppliedEntry<C> = (Arc<Entry<C>>, Applied<<C as Command>::Response>, u64);

/// The queue. Its first item is the entry after the applied index.
#[derive(Debug)]
pub struct Queue<C: Command> {
    items: VecDeque<Item<C>>,
    /// Items before this position are started.
    started: usize,
}

impl<C: Command> Default for Queue<C> {
    fn default() -> Self {
        Queue { items: VecDeque::new(), started: 0 }
    }
}

impl<C: Command> Queue<C> {
    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether everything started has been applied.
    pub fn is_idle(&self) -> bool {
        self.started == 0
    }

    /// Number of entries started and not applied; they come right after the applied index.
    pub fn started(&self) -> usize {
        self.started
    }

    /// Forgets everything: a snapshot takes its place.
    pub fn clear(&mut self) {
        self.items.clear();
        self.started = 0;
    }

    /// Adds the next committed entry.
    pub fn push(&mut self, entry: Arc<Entry<C>>) {
        self.items.push_back(Item { entry, stage: Stage::Waiting });
    }

    /// The next entry to start, if nothing earlier that conflicts with it is unfinished. Starting is serial, in log order, since
    /// `prepare` is; so one that must wait holds up all later ones.
    pub fn startable(&mut self) -> Option<&mut Item<C>> {
        let next = self.items.get(self.started)?;
        let unfinished = |item: &&Item<C>| !matches!(item.stage, Stage::Finished { .. });
        let blocked =
            self.items.range(..self.started).filter(unfinished).any(|item| payloads_conflict(&item.entry.payload, &next.entry.payload));
        if blocked {
            return None;
        }
        self.started += 1;
        self.items.get_mut(self.started - 1)
    }

    /// The running item of a task.
    pub fn running(&mut self, id: TaskId) -> Option<&mut Item<C>> {
        self.items.iter_mut().find(|item| matches!(item.stage, Stage::Running { task, .. } if task == id))
    }

    /// Takes the first entry if it is finished: it is applied now.
    pub fn pop_finished(&mut self) -> Option<AppliedEntry<C>> {
        if !matches!(self.items.front()?.stage, Stage::Finished { .. }) {
            return None;
        }
        let item = self.items.pop_front()?;
        self.started -= 1;
        match item.stage {
            Stage::Finished { outcome, delta } => Some((item.entry, outcome, delta)),
            Stage::Waiting | Stage::Running { .. } => unreachable!("looked at above"),
        }
    }

    /// Whether the entry at an index has finished and waits for its predecessors.
    pub fn is_finished(&self, index: Index) -> bool {
        self.items.iter().any(|item| item.entry.index == index && matches!(item.stage, Stage::Finished { .. }))
    }

    /// Index of the last entry in it.
    pub fn last_index(&self) -> Option<Index> {
        self.items.back().map(|item| item.entry.index)
    }
}

/// Whether two entries must keep their order. A session's end conflicts with all of its session's commands, a configuration and a shutdown
/// with everything.
pub fn payloads_conflict<C: Command>(a: &Payload<C>, b: &Payload<C>) -> bool {
    let ends = |client: ClientId, payload: &Payload<C>| match payload {
        Payload::Command(proposal) => proposal.id.client == client,
        Payload::SessionBegin { .. } | Payload::SessionEnd { .. } => true,
        Payload::Own { .. } | Payload::Noop | Payload::Config { .. } | Payload::Shutdown => false,
    };
    match (a, b) {
        (Payload::Config { .. } | Payload::Shutdown, _) | (_, Payload::Config { .. } | Payload::Shutdown) => true,
        (Payload::Command(a), Payload::Command(b)) => a.command.conflicts(&b.command),
        (Payload::Command(client), Payload::Own { command }) | (Payload::Own { command }, Payload::Command(client)) => {
            command.conflicts(&client.command)
        }
        (Payload::Own { command: a }, Payload::Own { command: b }) => a.conflicts(b),
        (Payload::SessionEnd { client }, other) | (other, Payload::SessionEnd { client }) => ends(*client, other),
        _ => false,
    }
}
