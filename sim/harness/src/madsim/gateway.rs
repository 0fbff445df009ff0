//! What the gateway beside a node stands on in a madsim run: the node's clock, and the ways that messages of the run go.

use client::{Gateway, Notice};
use curp::{Address, ClientAddress, Message, Nanos, NodeId, Reply};
use kv::Request;
use node::Node;
use server::etcd::{Caller, EtcdFront, EtcdHost};
use server::rpc::ClientCalls;
use server::{Arrival, Clock, CurpNode};
use std::sync::Arc;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::Duration;

use super::grpc::{GrpcCaller, Members};
use super::node::NodeHost;
use crate::profile::{self, Part};

/// One life of a gateway.
pub(crate) struct GatewayHost {
    below: Arc<NodeHost>,
    node: CurpNode<NodeHost>,
    /// The real transport, in runs that use it.
    calls: Option<ClientCalls>,
}

/// Starts the gateway of a node, from a task of the node on.
pub(crate) fn start(
    below: Arc<NodeHost>,
    node: CurpNode<NodeHost>,
    gateway: Gateway<Caller>,
    members: Option<&Members>,
) -> EtcdFront<GatewayHost> {
    let (inbox, mut replies) = unbounded_channel();
    let calls = members
        .map(|m| ClientCalls::of_gateway(below.id, &m.at(GrpcCaller::Gateway(below.id)), inbox).expect("the addresses are addresses"));
    let front = EtcdFront::start(Arc::new(GatewayHost { below, node, calls }), gateway);
    let receiver = front.clone();
    tokio::spawn(async move {
        while let Some(input) = replies.recv().await {
            if let client::Input::Message { from, reply } = input {
                receiver.receive(from, reply);
            }
        }
    });
    front
}

impl Clock for GatewayHost {
    fn now(&self) -> Nanos {
        self.below.now()
    }

    fn until(&self, due: Nanos) -> Duration {
        self.below.until(due)
    }
}

impl EtcdHost for GatewayHost {
    fn send(&self, to: NodeId, message: Message<Request>) {
        let from = Address::Client(client::gateway_address(self.below.id));
        if self.calls.is_some() {
            self.below.stage.with(|cluster| cluster.note_ask(&message));
        }
        match (&self.calls, &self.below.within) {
            (Some(_), Some(within)) if to == self.below.id => drop(within.send(Arrival::Message { from, message })),
            (Some(calls), _) => calls.send(to, message),
            (None, _) => self.below.stage.with(|cluster| cluster.send(from, Address::Node(to), message)),
        }
    }

    fn answer(&self, to: ClientAddress, reply: Reply<Request>) {
        let (from, to, message) = (Address::Node(self.below.id), Address::Client(to), Message::Reply(reply));
        match &self.below.calls {
            Some(calls) => calls.send(to, message),
            None => self.below.stage.with(|cluster| cluster.send(from, to, message)),
        }
    }

    fn look<R>(&self, look: impl FnOnce(&Node) -> R) -> R {
        self.node.inspect(look)
    }

    fn cluster(&self) -> u64 {
        1
    }

    fn notice(&self, caller: Option<Caller>, notice: Notice) {
        let call = match caller {
            Some(Caller::Message(client, nonce) | Caller::Named(_, (client, nonce))) => Some((client, nonce)),
            Some(Caller::Here(_)) => return,
            None => None,
        };
        self.below.stage.with(|cluster| cluster.note_gateway_notice(self.below.id, call, notice));
    }

    fn settled(&self) {
        profile::set(Part::Scheduler);
    }
}
