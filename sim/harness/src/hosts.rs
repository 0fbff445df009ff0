//! What the cluster under test asks of the engine that runs it: the processes of nodes and clients are the engine's, everything
//! around them (faults, network, disks, clocks, workload, observation) is [`Cluster`]'s and the same for every engine.

use curp::{Address, Message, NodeId};
use kv::Request;
use node::Node;

use crate::cluster::Cluster;

/// The processes of a run.
pub(crate) trait Hosts {
    /// Starts a node from what its disk holds, unless it must not start.
    fn start_node(&mut self, cluster: &mut Cluster, id: NodeId);
    /// The node's process is gone, with all that it held in memory.
    fn stop_node(&mut self, id: NodeId);
    /// The node stands still from here on; what comes meanwhile waits.
    fn pause_node(&mut self, id: NodeId);
    /// It goes on: everything that came meanwhile is there at once.
    fn resume_node(&mut self, cluster: &mut Cluster, id: NodeId);
    /// A message has arrived at a node that is up, or for its gateway.
    fn deliver(&mut self, cluster: &mut Cluster, id: NodeId, from: Address, message: Message<Request>);
    /// A write has ended. `synced`: the log is durable up to its token now.
    fn disk_done(&mut self, cluster: &mut Cluster, id: NodeId, token: u64, synced: bool);
    /// A write's sync failed.
    fn disk_failed(&mut self, cluster: &mut Cluster, id: NodeId, token: u64);
    /// An execution's time is over.
    fn executed(&mut self, cluster: &mut Cluster, id: NodeId, task: u64);
    /// A node's timer, for engines that keep timers in the queue.
    fn node_tick(&mut self, cluster: &mut Cluster, id: NodeId);
    /// The timer of its gateway.
    fn gateway_tick(&mut self, cluster: &mut Cluster, id: NodeId);

    /// Starts a client's process.
    fn start_client(&mut self, cluster: &mut Cluster, client: u32, life: u32, entropy: u64);
    /// A client's process is gone.
    fn stop_client(&mut self, client: u32);
    /// Hands a client an input.
    fn tell_client(&mut self, cluster: &mut Cluster, client: u32, input: client::Input);
    /// A client's timer, for engines that keep timers in the queue.
    fn client_tick(&mut self, cluster: &mut Cluster, client: u32);

    /// Shows a node that is up.
    fn look(&self, id: NodeId, see: &mut dyn FnMut(&Node));
    /// Whether nothing is under way at a node's gateway, if it has one.
    fn gateway_is_idle(&self, id: NodeId) -> bool;
    /// Whether nothing is under way at a client; false if it is down.
    fn client_is_idle(&self, client: u32) -> bool;
}
