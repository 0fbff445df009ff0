//! [`CurpNode`], the asynchronous front of a replica. Behind it, under a lock, is the synchronous [`Node`]: inputs come from several
//! tasks (messages, the timer, the ends of writes and of executions) and are handled one at a time, each to its end.
//!
//! It does not know the protocol: it neither reads a message nor decides to send, drop or repeat one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use curp::{Address, Config, Membership, Message, Nanos, NodeId, RoleKind, StateChange, TaskId};
use kv::Request;
use node::{Input, Limits, Node, Output, Recovery, StartError, Token};
use storage::StateStore;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use crate::host::Host;
use crate::outbox::{self, Post};
use crate::time::sleep;

/// Command workers: so many executions are under way at a time; commuting commands end in any order.
const WORKERS: usize = 8;

/// What a node starts from.
#[derive(Debug)]
pub struct Start {
    /// The node.
    pub id: NodeId,
    /// Times and limits.
    pub config: Config,
    /// The cluster as it was made.
    pub membership: Membership,
    /// The files found in the node's directory, but for the state machine's store.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Where the state machine is kept.
    pub state: Option<Box<dyn StateStore>>,
    /// The operator says that this id has never run before.
    pub first: bool,
    /// Different in every life of the node.
    pub entropy: u64,
    /// Limits beside the protocol.
    pub limits: Limits,
}

/// What reaches a node from outside.
#[derive(Clone, Debug)]
pub enum Arrival {
    /// A message.
    Message {
        /// From whom.
        from: Address,
        /// What.
        message: Message<Request>,
    },
    /// The transport could not reach this node: what was sent to it lately may be lost.
    Unreachable(NodeId),
}

/// A replica that runs.
pub struct CurpNode<H: Host> {
    shared: Arc<Shared<H>>,
}

impl<H: Host> Clone for CurpNode<H> {
    fn clone(&self) -> Self {
        CurpNode { shared: self.shared.clone() }
    }
}

struct Shared<H: Host> {
    host: Arc<H>,
    behind: Mutex<Behind>,
    /// The timer must be set earlier.
    rearm: Notify,
    /// The node has stopped in good order.
    shut_down: Notify,
    outbox: UnboundedSender<Post<H::Note>>,
    workers: Vec<UnboundedSender<TaskId>>,
    /// The timer's task and the workers', which hold this and so must be ended by name.
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// The synchronous side.
struct Behind {
    node: Node,
    out: Output,
    /// What the timer is set for, on the node's clock.
    armed: Nanos,
    stopped: bool,
    /// The last change of each kind.
    known: [StateChange; 3],
    subscribers: Vec<UnboundedSender<StateChange>>,
}

impl<H: Host> CurpNode<H> {
    /// Starts a replica from the files found, with its tasks.
    ///
    /// # Errors
    /// The node must not start from what its disk holds.
    pub fn start(host: Arc<H>, start: Start) -> Result<(Self, Recovery), StartError> {
        let mut out = Output::default();
        let Start { id, config, membership, files, state, first, entropy, limits } = start;
        let start = node::Start { id, config, membership, files: &files, state, first, entropy, now: host.now() };
        let (mut node, recovery) = Node::start(start, &mut out)?;
        node.set_limits(limits);
        let (outbox, posts) = unbounded_channel();
        let (workers, tasks): (Vec<_>, Vec<_>) = (0..WORKERS).map(|_| unbounded_channel()).unzip();
        let armed = Nanos::MAX;
        host.learn(&node.raw().membership().addresses);
        let (leadership, membership) = (node.raw().leadership(), node.raw().membership().clone());
        let known = [StateChange::Role(RoleKind::Follower), StateChange::Leader(leadership), StateChange::Configuration(membership)];
        let behind = Mutex::new(Behind { node, out, armed, stopped: false, known, subscribers: Vec::new() });
        let (rearm, shut_down, running) = (Notify::new(), Notify::new(), Mutex::new(Vec::new()));
        let shared = Arc::new(Shared { host: host.clone(), behind, rearm, shut_down, outbox, workers, tasks: running });
        outbox::spawn(outbox::run(host, posts), entropy);
        let timer = tokio::spawn(keep_time(shared.clone()));
        let workers = tasks.into_iter().map(|tasks| tokio::spawn(work(shared.clone(), tasks)));
        let running: Vec<_> = std::iter::once(timer).chain(workers).collect();
        *shared.tasks.lock().unwrap_or_else(PoisonError::into_inner) = running;
        shared.hand_on(&mut shared.lock());
        Ok((CurpNode { shared }, recovery))
    }

    /// Gives the node everything that arrives, as it arrives, until the sender is gone or the node has stopped in good order.
    pub async fn serve(&self, inbox: UnboundedReceiver<Arrival>) {
        self.serve_beside(inbox, Some).await;
    }

    /// The same, with someone in the node's process who takes first what is for him, and gives back what is not.
    pub async fn serve_beside(&self, mut inbox: UnboundedReceiver<Arrival>, mut take: impl FnMut(Arrival) -> Option<Arrival>) {
        loop {
            let arrival = tokio::select! {
                biased;
                () = self.shared.shut_down.notified() => return,
                arrival = inbox.recv() => arrival,
            };
            let Some(arrival) = arrival else { return };
            match take(arrival) {
                Some(Arrival::Message { from, message }) => self.receive(from, message),
                Some(Arrival::Unreachable(node)) => self.shared.give(Input::Unreachable(node)),
                None => {}
            }
        }
    }

    /// Tells the node's role, its leader and the configuration in force, as they are now and whenever they change, in order. The receiver has
    /// no bound: whoever subscribes reads, or drops it.
    pub fn subscribe(&self) -> UnboundedReceiver<StateChange> {
        let (subscriber, changes) = unbounded_channel();
        let mut behind = self.shared.lock();
        for change in &behind.known {
            let _ = subscriber.send(change.clone());
        }
        behind.subscribers.push(subscriber);
        changes
    }

    /// A message has arrived.
    pub fn receive(&self, from: Address, message: Message<Request>) {
        self.shared.give(Input::Message { from, message });
    }

    /// The write with this token, and all before it, have ended; `synced` says whether the log is durable up to it.
    pub fn disk_done(&self, token: Token, synced: bool) {
        if synced {
            let _ = self.shared.outbox.send(Post::Durable(token));
        }
        self.shared.give(Input::DiskDone(token));
    }

    /// A write failed. The node stops.
    pub fn disk_failed(&self, token: Token) {
        self.shared.give(Input::DiskFailed(token));
    }

    /// Ends the node's tasks, in a process that goes on without it. Nothing leaves from here on.
    pub fn stop(&self) {
        let _ = self.shared.outbox.send(Post::Stop);
        self.shared.lock().stopped = true;
        for task in self.shared.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }

    /// Looks at the node between two inputs.
    pub fn inspect<R>(&self, look: impl FnOnce(&Node) -> R) -> R {
        look(&self.shared.lock().node)
    }
}

impl<H: Host> Shared<H> {
    fn lock(&self) -> MutexGuard<'_, Behind> {
        // A panic under the lock is a broken invariant of the node: whoever asks for it next meets the same.
        self.behind.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give(&self, input: Input) {
        let mut behind = self.lock();
        let Behind { node, out, .. } = &mut *behind;
        node.set_wall(self.host.wall());
        node.handle(self.host.now(), input, out);
        self.hand_on(&mut behind);
    }

    /// Hands on what the node wants done, in order, before anyone can give it another input.
    fn hand_on(&self, behind: &mut Behind) {
        let Behind { node, out, armed, stopped, known, subscribers } = behind;
        for event in out.events.drain(..) {
            self.host.event(event);
        }
        for change in out.changes.drain(..) {
            if let StateChange::Configuration(membership) = &change {
                self.host.learn(&membership.addresses);
            }
            subscribers.retain(|subscriber| subscriber.send(change.clone()).is_ok());
            let kind = match change {
                StateChange::Role(_) => 0,
                StateChange::Leader(_) => 1,
                StateChange::Configuration(_) => 2,
            };
            known[kind] = change;
        }
        for write in out.writes.drain(..) {
            self.host.submit(write);
        }
        for task in out.tasks.drain(..) {
            let _ = self.workers[(task % WORKERS as u64) as usize].send(task);
        }
        for outgoing in out.messages.drain(..) {
            let note = self.host.note(node, &outgoing);
            let _ = self.outbox.send(Post::Say(outgoing, note));
        }
        if let Some(reason) = out.fatal.take() {
            // What waits for the failed write must never leave, whatever later writes come to.
            let _ = self.outbox.send(Post::Stop);
            *stopped = true;
            self.host.fatal(reason);
        }
        if std::mem::take(&mut out.shut_down) {
            // What the node said before may still leave; it says nothing more.
            *stopped = true;
            self.shut_down.notify_one();
            self.host.shut_down();
        }
        let due = node.next_due();
        if due < *armed {
            *armed = due;
            self.rearm.notify_one();
        }
        self.host.settled();
    }
}

/// Tells the node the time when it is due. A tick that comes early does no harm, so the timer is only ever set earlier.
async fn keep_time<H: Host>(shared: Arc<Shared<H>>) {
    loop {
        let wait = {
            let mut behind = shared.lock();
            if behind.stopped {
                return;
            }
            behind.armed = behind.node.next_due();
            shared.host.until(behind.armed)
        };
        tokio::select! {
            biased;
            () = shared.rearm.notified() => {}
            () = sleep(wait) => shared.give(Input::Tick),
        }
    }
}

/// A command worker.
async fn work<H: Host>(shared: Arc<Shared<H>>, mut tasks: UnboundedReceiver<TaskId>) {
    while let Some(task) = tasks.recv().await {
        shared.host.execute(task).await;
        shared.give(Input::ExecDone(task));
    }
}
