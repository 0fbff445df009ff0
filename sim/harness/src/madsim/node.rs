//! What the shell of a node stands on in a madsim run: the world's clock, disk, network and processor.

use curp::{Address, Nanos, NodeId, Outgoing, TaskId};
use history::Promise;
use kv::Request;
use node::{Event, Node, Write};
use server::rpc::PeerCalls;
use server::{Arrival, Clock, Host, Processor, Storage, Transport};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use tokio::time::Duration;

use super::stage::{Stage, now};
use crate::cluster::Next;
use crate::observe::probe;
use crate::process::{Timing, promise};
use crate::profile::{self, Part};

/// Executions under way in one life of a node, each with the way to say that its time is over.
#[derive(Default)]
pub(crate) struct Executions(Mutex<BTreeMap<TaskId, oneshot::Sender<()>>>);

impl Executions {
    /// The execution's time is over.
    pub(crate) fn end(&self, task: TaskId) {
        let ended = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&task);
        if let Some(ended) = ended {
            let _ = ended.send(());
        }
    }

    fn begin(&self, task: TaskId) -> oneshot::Receiver<()> {
        let (end, ended) = oneshot::channel();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(task, end);
        ended
    }
}

/// One life of a node, as its shell sees the world.
pub(crate) struct NodeHost {
    pub(crate) stage: Arc<Stage>,
    pub(crate) id: NodeId,
    pub(crate) life: u32,
    pub(crate) timing: Timing,
    pub(crate) executions: Arc<Executions>,
    /// The real transport, in runs that use it.
    pub(crate) calls: Option<PeerCalls>,
    /// Its own way in, in runs over the real transport: what it and its gateway say to each other stays in their process.
    pub(crate) within: Option<UnboundedSender<Arrival>>,
}

impl Clock for NodeHost {
    fn now(&self) -> Nanos {
        // The shell asks before every input: from here on, what is logged is this node's.
        profile::set(Part::Node);
        let now = now();
        crate::log::set_time(now);
        crate::log::set_node(Some(self.id));
        self.timing.clock.mono(now)
    }

    fn until(&self, due: Nanos) -> Duration {
        let now = now();
        Duration::from_nanos(self.timing.tick_time(now, due) - now)
    }

    fn wall(&self) -> Nanos {
        // Faults step it while the node lives.
        self.stage.with(|cluster| {
            let now = cluster.now;
            cluster.process(self.id).timing.clock.wall(now)
        })
    }
}

impl Storage for NodeHost {
    fn submit(&self, write: Write) {
        self.stage.with(|cluster| cluster.submit(self.id, write));
    }
}

impl Transport for NodeHost {
    type Note = Option<Promise>;

    fn note(&self, node: &Node, outgoing: &Outgoing<Request>) -> Self::Note {
        promise(node, outgoing)
    }

    fn held(&self) {
        self.stage.with(|cluster| cluster.observer.fire(const { probe("message_held_by_write") }, Some(self.id)));
    }

    fn send(&self, outgoing: Outgoing<Request>, note: Self::Note) {
        let Some(calls) = &self.calls else {
            return self.stage.with(|cluster| cluster.send_from_node(self.id, outgoing, note));
        };
        self.stage.with(|cluster| {
            cluster.note_send(self.id, &outgoing, note);
            cluster.note_clog(Address::Node(self.id), outgoing.to);
        });
        match &self.within {
            Some(within) if outgoing.to == Address::Client(client::gateway_address(self.id)) => {
                let _ = within.send(Arrival::Message { from: Address::Node(self.id), message: outgoing.message });
            }
            _ => calls.send(outgoing.to, outgoing.message),
        }
    }

    fn learn(&self, addresses: &BTreeMap<NodeId, String>) {
        if let Some(calls) = &self.calls {
            calls.learn(addresses);
        }
    }
}

impl Processor for NodeHost {
    async fn execute(&self, task: TaskId) {
        let ended = self.executions.begin(task);
        self.stage.with(|cluster| cluster.begin_execution(self.id, task));
        // An error means that the node's life is over, and so is this task.
        let _ = ended.await;
    }
}

impl Host for NodeHost {
    fn event(&self, event: Event) {
        self.stage.with(|cluster| {
            cluster.note_node_event(self.id, &event);
            cluster.observer.node(self.id, event);
        });
    }

    fn settled(&self) {
        profile::set(Part::Scheduler);
    }

    fn fatal(&self, reason: String) {
        let (node, life) = (self.id, self.life);
        self.stage.with(|cluster| {
            cluster.note_fatal(node, reason);
            let now = cluster.now;
            cluster.queue.push(now, Next::Fatal { node, life });
        });
    }

    fn shut_down(&self) {
        let (node, life) = (self.id, self.life);
        self.stage.with(|cluster| {
            let now = cluster.now;
            cluster.queue.push(now, Next::ShutDown { node, life });
        });
    }
}
