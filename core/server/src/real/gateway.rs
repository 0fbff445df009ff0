//! What a node's gateway stands on, on a real machine. Its client reaches every node, its own too, as any client does.

use std::sync::Arc;
use std::time::Instant;

use client::{Client, Config, Gateway, GatewayConfig, gateway_address};
use curp::{Address, ClientAddress, Membership, Message, Nanos, NodeId, Reply, splitmix64};
use kv::Request;
use node::Node;
use tokio::sync::mpsc;
use tokio::time::Duration;

use super::args::Members;
use super::host::MachineHost;
use crate::CurpNode;
use crate::etcd::{EtcdFront, EtcdHost};
use crate::host::Clock;
use crate::rpc::{Board, ClientCalls, Place};

const MS: Nanos = 1_000_000;
/// About as long as etcd waits.
const PATIENCE: Nanos = 6_000 * MS;
/// Calls that wait at a time.
const CALLS_MAX: usize = 4096;

pub(super) struct GatewayHost {
    begun: Instant,
    calls: ClientCalls,
    board: Arc<Board>,
    node: CurpNode<MachineHost>,
    members: Members,
    cluster: u64,
}

/// Starts the gateway of a node, with the cluster as it was made.
pub(super) fn start(
    node: &CurpNode<MachineHost>,
    members: &Members,
    membership: Membership,
    board: Arc<Board>,
    entropy: u64,
) -> Result<EtcdFront<GatewayHost>, tonic::transport::Error> {
    let id = node.inspect(|node| node.raw().status().id);
    let (inbox, mut replies) = mpsc::unbounded_channel();
    let calls = ClientCalls::of_gateway(id, &members.clients(), inbox)?;
    // Never 0, which is none.
    let cluster = membership.voters.iter().fold(1, |hash, id| splitmix64(hash ^ u64::from(*id))).max(1);
    let (node, members) = (node.clone(), members.clone());
    let host = Arc::new(GatewayHost { begun: Instant::now(), calls, board, node, members, cluster });
    let config = Config { retry_after_min: 100 * MS, retry_after_max: 1_000 * MS };
    // No two lives of a gateway have the same numbers for what they ask.
    let life = (splitmix64(entropy) >> 33) as u32;
    let client = Client::new(gateway_address(id), life, config, membership, splitmix64(entropy.wrapping_add(1)));
    let gateway = Gateway::new(id, client, GatewayConfig { patience: PATIENCE, calls_max: CALLS_MAX }, entropy);
    let front = EtcdFront::start(host, gateway);
    let receiver = front.clone();
    tokio::spawn(async move {
        while let Some(input) = replies.recv().await {
            if let client::Input::Message { from, reply } = input {
                receiver.receive(from, reply);
            }
        }
    });
    Ok(front)
}

impl Clock for GatewayHost {
    fn now(&self) -> Nanos {
        self.begun.elapsed().as_nanos() as Nanos
    }

    fn until(&self, due: Nanos) -> Duration {
        Duration::from_nanos(due.saturating_sub(self.now())).max(Duration::from_millis(1))
    }
}

impl EtcdHost for GatewayHost {
    fn send(&self, to: NodeId, message: Message<Request>) {
        self.calls.send(to, message);
    }

    fn answer(&self, to: ClientAddress, reply: Reply<Request>) {
        self.board.answer(Address::Client(to), Message::Reply(reply));
    }

    fn look<R>(&self, look: impl FnOnce(&Node) -> R) -> R {
        self.node.inspect(look)
    }

    fn cluster(&self) -> u64 {
        self.cluster
    }

    fn place(&self, node: NodeId) -> Option<Place> {
        self.members.get(node).map(|member| Place { client: Some(member.client.clone()), peer: member.peer.clone() })
    }
}
