//! Runs over the real transport: a quarter of them, drawn from the seed, go over gRPC as real servers do, on madsim's simulated
//! streams, instead of the world's network. The plan's partitions become madsim's clogs; its other network faults (loss, duplicates,
//! slow links, storms) have no counterpart there and have no effect.

use curp::NodeId;
use plan::FaultKind;
use server::etcd::{EtcdFront, EtcdHost, EtcdServices};
use server::rpc::{self, Board, Inbox, PeerCalls, Services};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::time::Duration;
use world::Endpoint;

use crate::cluster::Cluster;
use crate::observe::probe;

const PEER_PORT: u16 = 2380;
/// Where the peers of a node whose address was changed find it.
const OTHER_PEER_PORT: u16 = 2381;
/// The ports for clients and gateways are those after this. madsim's server accepts one call of a port at a time, which takes a message's way: each
/// caller has a port of its own at every node, so that none waits for the calls of the others. On a real network nobody would.
const FIRST_CALLER_PORT: u16 = 3000;

/// Who calls a node as a client does.
#[derive(Clone, Copy)]
pub(crate) enum GrpcCaller {
    /// A client.
    Client(u32),
    /// The gateway of a node.
    Gateway(NodeId),
}

/// Where each node is.
pub(crate) struct Members {
    nodes: NodeId,
    clients: u32,
    /// For peers.
    pub(crate) peers: BTreeMap<NodeId, String>,
    /// Whether the plan gives nodes other addresses.
    pub(crate) moves: bool,
}

/// The transport of a run over gRPC.
pub(crate) struct Grpc {
    pub(crate) members: Arc<Members>,
    /// Links that are clogged now.
    clogged: BTreeSet<(usize, usize)>,
}

pub(crate) fn node_ip(id: NodeId) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, id as u8).into()
}

pub(crate) fn client_ip(client: u32) -> IpAddr {
    Ipv4Addr::new(10, 0, 1, client as u8).into()
}

fn addresses(nodes: NodeId, port: u16) -> BTreeMap<NodeId, String> {
    (1..=nodes).map(|id| (id, SocketAddr::new(node_ip(id), port).to_string())).collect()
}

impl Members {
    fn callers(&self) -> impl Iterator<Item = GrpcCaller> {
        (1..=self.clients).map(GrpcCaller::Client).chain((1..=self.nodes).map(GrpcCaller::Gateway))
    }

    fn port(&self, caller: GrpcCaller) -> u16 {
        let place = match caller {
            GrpcCaller::Client(client) => client,
            GrpcCaller::Gateway(id) => self.clients + id,
        };
        FIRST_CALLER_PORT + place as u16
    }

    /// Where this caller finds each node.
    pub(crate) fn at(&self, caller: GrpcCaller) -> BTreeMap<NodeId, String> {
        addresses(self.nodes, self.port(caller))
    }
}

impl Grpc {
    /// The transport, if the run's seed draws it. Latencies are the plan's.
    pub(crate) fn drawn(cluster: &mut Cluster) -> Option<Grpc> {
        if cluster.draws.draw("transport", 0, 0).below(4) > 0 {
            return None;
        }
        cluster.observer.fire(const { probe("over_grpc") }, None);
        cluster.etcd_services = true;
        let network = &cluster.plan.network;
        let (min, max) = (network.latency_us_min, network.latency_us_max + network.jitter_us_max);
        let latency = Duration::from_micros(min)..Duration::from_micros(max.max(min) + 1);
        madsim::net::NetSim::current().update_config(|config| config.send_latency = latency);
        let peers = addresses(cluster.plan.nodes(), PEER_PORT);
        let moves = cluster.plan.fault.iter().any(|f| matches!(f.kind, FaultKind::UpdateMember { .. }));
        let members = Members { nodes: cluster.plan.nodes(), clients: cluster.clients(), peers, moves };
        Some(Grpc { members: Arc::new(members), clogged: BTreeSet::new() })
    }

    /// Clogs the links that a partition cuts now, and unclogs the others.
    pub(crate) fn update_links(&mut self, cluster: &Cluster, processes: &[(madsim::task::NodeId, Endpoint)]) {
        if self.clogged.is_empty() && !cluster.network.is_disturbed() {
            return;
        }
        let net = madsim::net::NetSim::current();
        for (i, (from, from_end)) in processes.iter().enumerate() {
            for (j, (to, to_end)) in processes.iter().enumerate().filter(|(j, _)| *j != i) {
                let cut = cluster.network.passes(*from_end, *to_end, cluster.now).is_err();
                if cut && self.clogged.insert((i, j)) {
                    net.clog_link(*from, *to);
                } else if !cut && self.clogged.remove(&(i, j)) {
                    net.unclog_link(*from, *to);
                }
            }
        }
    }
}

/// Serves a node's clients, through a gateway those of etcd's API too, from a task of the node on.
pub(crate) fn serve_clients<H: EtcdHost>(id: NodeId, members: &Members, services: &Services, gateway: Option<&EtcdFront<H>>) {
    for caller in members.callers() {
        let (services, gateway) = (services.clone(), gateway.cloned());
        let (at, ever) = (SocketAddr::new(node_ip(id), members.port(caller)), std::future::pending());
        tokio::spawn(async move {
            let served = match gateway {
                Some(gateway) => rpc::serve_all_clients(services, EtcdServices::new(gateway), at, ever).await,
                None => rpc::serve_clients(services, at, ever).await,
            };
            tracing::error!("node {id} does not serve {at} any more: {served:?}");
        });
    }
}

/// Serves a node's peers, from a task of the node on, and gives its way out, and what its clients are to be served by.
pub(crate) fn serve_peers(id: NodeId, inbox: Inbox, members: &Members) -> (PeerCalls, Services) {
    let board = Arc::<Board>::default();
    let services = Services::new(inbox.clone(), board.clone());
    for port in std::iter::once(PEER_PORT).chain(members.moves.then_some(OTHER_PEER_PORT)) {
        let peers = services.clone();
        tokio::spawn(async move {
            let served = rpc::serve_peers(peers, SocketAddr::new(node_ip(id), port), std::future::pending()).await;
            tracing::error!("node {id} does not serve peers any more: {served:?}");
        });
    }
    (PeerCalls::new(id, &members.peers, inbox, board).expect("the addresses are addresses"), services)
}
