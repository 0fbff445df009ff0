//! The processes of a madsim run: each node and each client is a madsim node, started, killed, restarted, paused and resumed by madsim.

use curp::{Address, Message, NodeId};
use kv::Request;
use node::Node;
use server::etcd::EtcdFront;
use server::rpc::{ClientCalls, EtcdCalls, Inbox};
use server::{Arrival, CurpClient, CurpNode, Start};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use world::Endpoint;

use super::client::{CallerHost, Calls};
use super::gateway::{self, GatewayHost};
use super::grpc::{self, Grpc, GrpcCaller, Members};
use super::node::{Executions, NodeHost};
use super::stage::Stage;
use crate::cluster::{Birth, Cluster};
use crate::hosts::Hosts;
use crate::process::Timing;

type MadsimId = madsim::task::NodeId;

/// How a write ended.
enum WriteEnd {
    Done { token: u64, synced: bool },
    Failed { token: u64 },
}

/// What reaches a node in one of its lives.
struct NodeLink {
    inbox: Inbox,
    disk: UnboundedSender<WriteEnd>,
    executions: Arc<Executions>,
}

/// What a life of a node begins with.
struct NodeLaunch {
    birth: Birth,
    timing: Timing,
    /// Into its own inbox, for runs over gRPC, with the members' addresses.
    grpc: Option<(Inbox, Arc<Members>)>,
    inbox: UnboundedReceiver<Arrival>,
    disk: UnboundedReceiver<WriteEnd>,
    executions: Arc<Executions>,
}

/// What a life of a client begins with.
struct ClientLaunch {
    life: u32,
    entropy: u64,
    grpc: Option<(UnboundedSender<client::Input>, Arc<Members>)>,
    inbox: UnboundedReceiver<client::Input>,
}

/// What the first task of a madsim node finds when it starts, and what it leaves for others to look at.
struct Slot<L, R> {
    launch: Option<L>,
    running: Option<R>,
}

type Shared<L, R> = Arc<Mutex<Slot<L, R>>>;

fn slot<L, R>() -> Shared<L, R> {
    Arc::new(Mutex::new(Slot { launch: None, running: None }))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct NodeProcess {
    madsim: Option<MadsimId>,
    link: Option<NodeLink>,
    slot: Shared<NodeLaunch, CurpNode<NodeHost>>,
    /// Beside it.
    gateway: Shared<(), EtcdFront<GatewayHost>>,
}

struct ClientProcess {
    madsim: Option<MadsimId>,
    inbox: Option<UnboundedSender<client::Input>>,
    slot: Shared<ClientLaunch, CurpClient<CallerHost>>,
}

/// The processes of a run.
pub(crate) struct Processes {
    stage: Arc<Stage>,
    runtime: madsim::runtime::Handle,
    nodes: Vec<NodeProcess>,
    clients: Vec<ClientProcess>,
    grpc: Option<Grpc>,
}

impl Processes {
    /// None started. Must be called inside the runtime.
    pub(crate) fn new(stage: &Arc<Stage>) -> Self {
        let (nodes, clients) = stage.with(|cluster| (cluster.processes.len(), cluster.clients()));
        Processes {
            stage: stage.clone(),
            runtime: madsim::runtime::Handle::current(),
            nodes: (0..nodes).map(|_| NodeProcess { madsim: None, link: None, slot: slot(), gateway: slot() }).collect(),
            clients: (0..clients).map(|_| ClientProcess { madsim: None, inbox: None, slot: slot() }).collect(),
            grpc: stage.with(Grpc::drawn),
        }
    }

    /// Over gRPC: clogs the links that a partition cuts, and unclogs the others.
    pub(crate) fn update_links(&mut self, cluster: &Cluster) {
        let Some(grpc) = &mut self.grpc else { return };
        let nodes = self.nodes.iter().zip(1..).map(|(p, id)| (p.madsim, Endpoint::Node(id)));
        let clients = self.clients.iter().zip(1..).map(|(p, id)| (p.madsim, Endpoint::Client(id)));
        let processes: Vec<(MadsimId, Endpoint)> = nodes.chain(clients).filter_map(|(madsim, end)| Some((madsim?, end))).collect();
        grpc.update_links(cluster, &processes);
    }

    /// Ends every process, so that its memory can be freed.
    pub(crate) fn kill_all(self) {
        for id in self.nodes.iter().filter_map(|n| n.madsim).chain(self.clients.iter().filter_map(|c| c.madsim)) {
            self.runtime.kill(id);
        }
    }

    fn link(&self, id: NodeId) -> Option<&NodeLink> {
        self.nodes[id as usize - 1].link.as_ref()
    }
}

/// The first task of a node's process.
async fn run_node(stage: Arc<Stage>, id: NodeId, slot: Shared<NodeLaunch, CurpNode<NodeHost>>, beside: Shared<(), EtcdFront<GatewayHost>>) {
    let Some(NodeLaunch { birth, timing, grpc, inbox, mut disk, executions }) = lock(&slot).launch.take() else { return };
    let gateway = stage.with(|cluster| cluster.has_gateways().then(|| cluster.gateway(id, &birth)));
    let (calls, services) = grpc
        .as_ref()
        .map(|(inbox, members)| grpc::serve_peers(id, inbox.clone(), members))
        .map_or((None, None), |(c, s)| (Some(c), Some(s)));
    let within = grpc.as_ref().map(|(inbox, _)| inbox.clone());
    let host = Arc::new(NodeHost { stage: stage.clone(), id, life: birth.life, timing, executions, calls, within });
    let below = host.clone();
    let Birth { config, membership, first, files, state, entropy, .. } = birth;
    let state = crate::state::open(state);
    let limits = stage.with(|cluster| cluster.limits.clone());
    let started = state.and_then(|state| CurpNode::start(host, Start { id, config, membership, first, files, state, entropy, limits }));
    let node = match started {
        Ok((node, recovery)) => {
            stage.with(|cluster| cluster.note_recovery(id, recovery));
            node
        }
        Err(reason) => return stage.with(|cluster| cluster.refuse(id, &reason)),
    };
    lock(&slot).running = Some(node.clone());
    let storage = node.clone();
    tokio::spawn(async move {
        while let Some(end) = disk.recv().await {
            match end {
                WriteEnd::Done { token, synced } => storage.disk_done(token, synced),
                WriteEnd::Failed { token } => storage.disk_failed(token),
            }
        }
    });
    let served = services.zip(grpc.map(|(_, members)| members));
    match gateway {
        Some(gateway) => {
            let front = gateway::start(below, node.clone(), gateway, served.as_ref().map(|(_, members)| members.as_ref()));
            lock(&beside).running = Some(front.clone());
            if let Some((services, members)) = &served {
                grpc::serve_clients(id, members, services, Some(&front));
            }
            node.serve_beside(inbox, |arrival| front.take(arrival)).await;
        }
        None => {
            if let Some((services, members)) = &served {
                grpc::serve_clients::<GatewayHost>(id, members, services, None);
            }
            node.serve(inbox).await;
        }
    }
}

/// The first task of a client's process.
async fn run_client(stage: Arc<Stage>, client: u32, slot: Shared<ClientLaunch, CurpClient<CallerHost>>) {
    let Some(ClientLaunch { life, entropy, grpc, inbox }) = lock(&slot).launch.take() else { return };
    let (config, membership) = stage.with(|cluster| (cluster.client_config.clone(), cluster.members.committed.clone()));
    let is_etcd = stage.with(|cluster| cluster.plan.workload.is_etcd(client));
    let calls = grpc.map(|(inbox, members)| {
        let nodes = members.at(GrpcCaller::Client(client));
        let calls = if is_etcd {
            EtcdCalls::new(client, &nodes, inbox).map(Calls::Etcd)
        } else {
            ClientCalls::new(client, &nodes, inbox).map(Calls::Native)
        };
        calls.expect("the addresses are addresses")
    });
    let clock = stage.with(|cluster| cluster.callers.get(client as usize - 1).map(|caller| caller.clock.clone()));
    let host = Arc::new(CallerHost { stage, client, clock, calls });
    let caller = if is_etcd {
        CurpClient::start_etcd(host, client, life, config, membership, entropy)
    } else {
        CurpClient::start(host, client, life, config, membership, entropy)
    };
    lock(&slot).running = Some(caller.clone());
    caller.serve(inbox).await;
}

impl Hosts for Processes {
    fn start_node(&mut self, cluster: &mut Cluster, id: NodeId) {
        let Some(birth) = cluster.begin_life(id) else { return };
        let (inbox, messages) = unbounded_channel();
        let (disk, ends) = unbounded_channel();
        let executions = Arc::<Executions>::default();
        let timing = cluster.process(id).timing.clone();
        let grpc = self.grpc.as_ref().map(|grpc| (inbox.clone(), grpc.members.clone()));
        let process = &mut self.nodes[id as usize - 1];
        lock(&process.slot).launch = Some(NodeLaunch { birth, timing, grpc, inbox: messages, disk: ends, executions: executions.clone() });
        process.link = Some(NodeLink { inbox, disk, executions });
        match process.madsim {
            Some(madsim) => self.runtime.restart(madsim),
            None => {
                let (stage, slot, beside) = (self.stage.clone(), process.slot.clone(), process.gateway.clone());
                let first_task = move || run_node(stage.clone(), id, slot.clone(), beside.clone());
                process.madsim =
                    Some(self.runtime.create_node().name(format!("n{id}")).init(first_task).ip(grpc::node_ip(id)).build().id());
            }
        }
    }

    fn stop_node(&mut self, id: NodeId) {
        let process = &mut self.nodes[id as usize - 1];
        if let Some(madsim) = process.madsim {
            self.runtime.kill(madsim);
        }
        process.link = None;
        lock(&process.gateway).running = None;
        let mut slot = lock(&process.slot);
        (slot.launch, slot.running) = (None, None);
    }

    fn pause_node(&mut self, id: NodeId) {
        if let Some(madsim) = self.nodes[id as usize - 1].madsim {
            self.runtime.pause(madsim);
        }
    }

    fn resume_node(&mut self, _: &mut Cluster, id: NodeId) {
        if let Some(madsim) = self.nodes[id as usize - 1].madsim {
            self.runtime.resume(madsim);
        }
    }

    fn deliver(&mut self, _: &mut Cluster, id: NodeId, from: Address, message: Message<Request>) {
        if let Some(link) = self.link(id) {
            let _ = link.inbox.send(Arrival::Message { from, message });
        }
    }

    fn disk_done(&mut self, _: &mut Cluster, id: NodeId, token: u64, synced: bool) {
        if let Some(link) = self.link(id) {
            let _ = link.disk.send(WriteEnd::Done { token, synced });
        }
    }

    fn disk_failed(&mut self, _: &mut Cluster, id: NodeId, token: u64) {
        if let Some(link) = self.link(id) {
            let _ = link.disk.send(WriteEnd::Failed { token });
        }
    }

    fn executed(&mut self, _: &mut Cluster, id: NodeId, task: u64) {
        if let Some(link) = self.link(id) {
            link.executions.end(task);
        }
    }

    fn node_tick(&mut self, _: &mut Cluster, _: NodeId) {}

    fn gateway_tick(&mut self, _: &mut Cluster, _: NodeId) {}

    fn start_client(&mut self, _: &mut Cluster, client: u32, life: u32, entropy: u64) {
        let (send, inbox) = unbounded_channel();
        let grpc = self.grpc.as_ref().map(|grpc| (send.clone(), grpc.members.clone()));
        let process = &mut self.clients[client as usize - 1];
        lock(&process.slot).launch = Some(ClientLaunch { life, entropy, grpc, inbox });
        process.inbox = Some(send);
        match process.madsim {
            Some(madsim) => self.runtime.restart(madsim),
            None => {
                let (stage, slot) = (self.stage.clone(), process.slot.clone());
                let first_task = move || run_client(stage.clone(), client, slot.clone());
                process.madsim =
                    Some(self.runtime.create_node().name(format!("c{client}")).init(first_task).ip(grpc::client_ip(client)).build().id());
            }
        }
    }

    fn stop_client(&mut self, client: u32) {
        let process = &mut self.clients[client as usize - 1];
        if let Some(madsim) = process.madsim {
            self.runtime.kill(madsim);
        }
        process.inbox = None;
        let mut slot = lock(&process.slot);
        (slot.launch, slot.running) = (None, None);
    }

    fn tell_client(&mut self, _: &mut Cluster, client: u32, input: client::Input) {
        if let Some(inbox) = &self.clients[client as usize - 1].inbox {
            let _ = inbox.send(input);
        }
    }

    fn client_tick(&mut self, _: &mut Cluster, _: u32) {}

    fn look(&self, id: NodeId, see: &mut dyn FnMut(&Node)) {
        if let Some(node) = &lock(&self.nodes[id as usize - 1].slot).running {
            node.inspect(|node| see(node));
        }
    }

    fn gateway_is_idle(&self, id: NodeId) -> bool {
        lock(&self.nodes[id as usize - 1].gateway).running.as_ref().is_none_or(EtcdFront::is_idle)
    }

    fn client_is_idle(&self, client: u32) -> bool {
        lock(&self.clients[client as usize - 1].slot).running.as_ref().is_some_and(CurpClient::is_idle)
    }
}
