//! What a node stands on, on a real machine.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use curp::{Nanos, NodeId, Outgoing, TaskId, splitmix64};
use kv::Request;
use node::{Event, Node, Write};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Duration;

use super::clock::Begun;
use super::files::Files;
use crate::host::{Clock, Host, Processor, Storage, Transport};
use crate::rpc::PeerCalls;

/// No timer is set for less.
const TICK_MIN: Duration = Duration::from_millis(1);

/// Why a node is no more.
pub(super) enum Ending {
    /// For this reason.
    Failed(String),
    /// The cluster is shut down.
    ShutDown,
}

pub(super) struct MachineHost {
    begun: Begun,
    storage: Files,
    calls: PeerCalls,
    ending: UnboundedSender<Ending>,
}

impl MachineHost {
    /// With the way to hear why the node stopped.
    pub(super) fn new(storage: Files, calls: PeerCalls) -> (Self, UnboundedReceiver<Ending>) {
        let (ending, ended) = unbounded_channel();
        (MachineHost { begun: Begun::now(), storage, calls, ending }, ended)
    }
}

/// Different in every process.
pub(super) fn entropy() -> u64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    splitmix64(time ^ splitmix64(u64::from(std::process::id())))
}

impl Clock for MachineHost {
    fn now(&self) -> Nanos {
        self.begun.elapsed()
    }

    fn until(&self, due: Nanos) -> Duration {
        Duration::from_nanos(due.saturating_sub(self.now())).max(TICK_MIN)
    }
}

impl Storage for MachineHost {
    fn submit(&self, write: Write) {
        self.storage.submit(write);
    }
}

impl Transport for MachineHost {
    type Note = ();

    fn note(&self, _: &Node, _: &Outgoing<Request>) {}

    fn send(&self, outgoing: Outgoing<Request>, (): ()) {
        self.calls.send(outgoing.to, outgoing.message);
    }

    fn learn(&self, addresses: &BTreeMap<NodeId, String>) {
        self.calls.learn(addresses);
    }
}

impl Processor for MachineHost {
    async fn execute(&self, _: TaskId) {
        // The time that a command takes is spent in the node, when its result is computed.
        tokio::task::yield_now().await;
    }
}

impl Host for MachineHost {
    fn event(&self, event: Event) {
        tracing::debug!(?event);
    }

    fn fatal(&self, reason: String) {
        let _ = self.ending.send(Ending::Failed(reason));
    }

    fn shut_down(&self) {
        let _ = self.ending.send(Ending::ShutDown);
    }
}
