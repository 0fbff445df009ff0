//! What the shell stands on. The simulation implements these over the models of the world, the server over sockets and files.
//!
//! None of the methods may block or call back into the node: each is called while the node is locked.

use curp::{Nanos, NodeId, Outgoing, TaskId};
use kv::Request;
use node::{Event, Node, Write};
use std::collections::BTreeMap;
use std::future::Future;
use tokio::time::Duration;

/// The node's own monotonic clock.
pub trait Clock: Send + Sync + 'static {
    /// Its reading, in nanoseconds since an arbitrary start.
    fn now(&self) -> Nanos;
    /// How long to sleep until it reads `due`; never zero.
    fn until(&self, due: Nanos) -> Duration;
    /// What the wall clock shows, which anyone may set. The protocol never asks: of use to one known bug only.
    fn wall(&self) -> Nanos {
        self.now()
    }
}

/// The node's directory.
pub trait Storage: Send + Sync + 'static {
    /// Begins a write. It ends later, never within the call, and writes end in the order submitted: each end is reported by
    /// [`CurpNode::disk_done`](crate::CurpNode::disk_done) or [`disk_failed`](crate::CurpNode::disk_failed).
    fn submit(&self, write: Write);
}

/// The way to other nodes and to clients.
pub trait Transport: Send + Sync + 'static {
    /// Made when the node says a message, and handed back when the message leaves; for those who watch. `()` for real servers.
    type Note: Send + 'static;
    /// Makes the note.
    fn note(&self, node: &Node, outgoing: &Outgoing<Request>) -> Self::Note;
    /// A message must wait for a write.
    fn held(&self) {}
    /// A message leaves. It may be lost; nobody is told.
    fn send(&self, outgoing: Outgoing<Request>, note: Self::Note);
    /// Where members are reached, for those whose address is in the configuration in force: at the start, and after every change of it.
    fn learn(&self, _addresses: &BTreeMap<NodeId, String>) {}
}

/// Where commands are executed.
pub trait Processor: Send + Sync + 'static {
    /// Takes as long as executing the command takes. The result is computed by the node afterwards, in one step: a worker reads and
    /// writes nothing.
    fn execute(&self, task: TaskId) -> impl Future<Output = ()> + Send;
}

/// All of it, and who is told what happens.
pub trait Host: Clock + Storage + Transport + Processor {
    /// The node did this. Called before anything that follows from it leaves.
    fn event(&self, event: Event);
    /// Everything that the node wanted done after an input is handed on.
    fn settled(&self) {}
    /// The node has stopped for good.
    fn fatal(&self, reason: String);
    /// The node has stopped in good order: the cluster shuts down.
    fn shut_down(&self) {}
}
