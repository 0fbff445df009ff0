//! The direct engine: nodes and clients are called one input at a time by a bare event loop; whatever they want done becomes an
//! event in the queue. No tasks, no channels, no runtime: the fastest way to run the same code.
//!
//! It enforces the node's contract: a message leaves when the write it names has ended, and not before; what a dead process had
//! asked for does not happen; an execution ends when its drawn time is over, so commuting commands finish in any order.

use client::{AnyClient, Client, EtcdCaller, Gateway, GatewayInput, GatewayOutput};
use curp::{Address, Message, NodeId, Outgoing, Reply, Request as Ask};
use history::Promise;
use kv::Request;
use node::{Input, Node, Output, Start, Token};
use std::collections::VecDeque;

use crate::cluster::{Birth, Cluster, Next};
use crate::gateways::{CallName, call_result};
use crate::hosts::Hosts;
use crate::observe::probe;
use crate::process::promise;
use crate::profile::{self, Part};

/// A message that waits for a write.
struct Held {
    outgoing: Outgoing<Request>,
    /// What it promises, as of the moment the node said it.
    promise: Option<Promise>,
}

/// One node's process.
#[derive(Default)]
struct Host {
    /// `None`: down.
    node: Option<Node>,
    /// Beside it, in runs with clients of etcd's API.
    gateway: Option<Gateway<CallName>>,
    /// What came while it stood still.
    backlog: VecDeque<Came>,
    /// Records up to this token are durable.
    durable: Token,
    /// Messages that wait for a later one.
    held: Vec<Held>,
    /// The tick that counts; others scheduled are void.
    tick_at: Option<u64>,
    /// What it is for: the reading of the node's clock at which it is due.
    tick_due: u64,
    /// The gateway's tick that counts.
    gateway_tick_at: Option<u64>,
}

/// What comes to a node's process.
enum Came {
    ToNode(Input),
    ToGateway(GatewayInput<CallName>),
}

/// One client's process.
#[derive(Default)]
struct ClientHost {
    client: Option<AnyClient>,
    /// The tick that counts.
    tick_at: Option<u64>,
}

/// The processes of a run on the direct engine.
pub(crate) struct Direct {
    nodes: Vec<Host>,
    clients: Vec<ClientHost>,
    node_out: Output,
    gateway_out: GatewayOutput<CallName>,
    client_out: client::Output,
}

impl Direct {
    /// So many of each, none started.
    pub(crate) fn new(nodes: u32, clients: u32) -> Self {
        Direct {
            nodes: (0..nodes).map(|_| Host::default()).collect(),
            clients: (0..clients).map(|_| ClientHost::default()).collect(),
            node_out: Output::default(),
            gateway_out: GatewayOutput::default(),
            client_out: client::Output::default(),
        }
    }

    fn node(&mut self, id: NodeId) -> &mut Host {
        &mut self.nodes[id as usize - 1]
    }

    /// Hands a node an input, or keeps it for a node that stands still.
    fn give(&mut self, cluster: &mut Cluster, id: NodeId, input: Input) {
        let mut out = std::mem::take(&mut self.node_out);
        let (now, process) = (cluster.now, cluster.process(id));
        let host = self.node(id);
        if process.is_paused() {
            host.backlog.push_back(Came::ToNode(input));
            self.node_out = out;
            return;
        }
        let (clock, wall) = (process.timing.clock.mono(now), process.timing.clock.wall(now));
        crate::log::set_node(Some(id));
        if let Some(node) = &mut host.node {
            let _handling = profile::enter(Part::Node);
            node.set_wall(wall);
            node.handle(clock, input, &mut out);
        }
        self.take_output(cluster, id, out);
    }

    /// Hands a node's gateway an input, or keeps it.
    fn give_gateway(&mut self, cluster: &mut Cluster, id: NodeId, input: GatewayInput<CallName>) {
        let (now, process) = (cluster.now, cluster.process(id));
        let host = &mut self.nodes[id as usize - 1];
        if process.is_paused() {
            return host.backlog.push_back(Came::ToGateway(input));
        }
        let Some(gateway) = &mut host.gateway else { return };
        crate::log::set_node(Some(id));
        let out = &mut self.gateway_out;
        {
            let _handling = profile::enter(Part::Node);
            gateway.handle(process.timing.clock.mono(now), input, out);
        }
        let due = gateway.next_due();
        for (call, notice) in out.notices.drain(..) {
            cluster.note_gateway_notice(id, call, notice);
        }
        for (to, message) in out.messages.drain(..) {
            cluster.send(Address::Client(client::gateway_address(id)), Address::Node(to), message);
        }
        for ((client, nonce), answer) in out.answers.drain(..) {
            let reply = Reply::Answer { nonce, result: call_result(answer) };
            cluster.send(Address::Node(id), Address::Client(client), Message::Reply(reply));
        }
        if let Some(due) = due {
            let at = cluster.process(id).timing.tick_time(now, due);
            if host.gateway_tick_at.is_none_or(|scheduled| at < scheduled) {
                host.gateway_tick_at = Some(at);
                cluster.queue.push(at, Next::GatewayTick { node: id });
            }
        }
    }

    /// Does what a node wants done.
    fn take_output(&mut self, cluster: &mut Cluster, id: NodeId, mut out: Output) {
        for event in out.events.drain(..) {
            cluster.note_node_event(id, &event);
            cluster.observer.node(id, event);
        }
        for write in out.writes.drain(..) {
            cluster.submit(id, write);
        }
        for task in out.tasks.drain(..) {
            cluster.begin_execution(id, task);
        }
        let host = self.node(id);
        for outgoing in out.messages.drain(..) {
            let promise = host.node.as_ref().and_then(|node| promise(node, &outgoing));
            if outgoing.after > host.durable {
                host.held.push(Held { outgoing, promise });
                cluster.observer.fire(const { probe("message_held_by_write") }, Some(id));
            } else {
                cluster.send_from_node(id, outgoing, promise);
            }
        }
        let (fatal, shut_down) = (out.fatal.take(), std::mem::take(&mut out.shut_down));
        out.changes.clear();
        self.node_out = out;
        if let Some(reason) = fatal {
            cluster.note_fatal(id, reason);
            cluster.stop_after_fatal(self, id);
        } else if shut_down {
            cluster.shut_down(self, id);
        }
        self.schedule_tick(cluster, id);
    }

    fn schedule_tick(&mut self, cluster: &mut Cluster, id: NodeId) {
        let host = self.node(id);
        let Some(node) = &host.node else { return };
        let due_local = node.next_due();
        if host.tick_at.is_some() && due_local >= host.tick_due {
            // The tick that is scheduled comes first, and schedules the next.
            return;
        }
        let now = cluster.now;
        let at = cluster.process(id).timing.tick_time(now, due_local);
        if host.tick_at.is_none_or(|scheduled| at < scheduled) {
            host.tick_at = Some(at);
            cluster.queue.push(at, Next::NodeTick { node: id });
        }
        host.tick_due = due_local;
    }

    fn schedule_client_tick(&mut self, cluster: &mut Cluster, client: u32) {
        let host = &self.clients[client as usize - 1];
        let Some(due) = host.client.as_ref().and_then(AnyClient::next_due) else { return };
        let at = cluster.client_time(client, due);
        let host = &mut self.clients[client as usize - 1];
        if host.tick_at.is_none_or(|scheduled| at < scheduled) {
            host.tick_at = Some(at);
            cluster.queue.push(at, Next::ClientTick { client });
        }
    }
}

impl Hosts for Direct {
    fn start_node(&mut self, cluster: &mut Cluster, id: NodeId) {
        let Some(birth) = cluster.begin_life(id) else { return };
        let mut out = std::mem::take(&mut self.node_out);
        let gateway = cluster.has_gateways().then(|| cluster.gateway(id, &birth));
        let Birth { config, membership, files, state, first, entropy, clock: now, .. } = birth;
        let state = crate::state::open(state);
        let started =
            state.and_then(|state| Node::start(Start { id, config, membership, files: &files, state, first, entropy, now }, &mut out));
        match started {
            Ok((mut node, recovery)) => {
                node.set_limits(cluster.limits.clone());
                let host = self.node(id);
                host.durable = 0;
                host.node = Some(node);
                host.gateway = gateway;
                self.take_output(cluster, id, out);
                cluster.note_recovery(id, recovery);
            }
            Err(reason) => {
                self.node_out = out;
                cluster.refuse(id, &reason);
            }
        }
    }

    fn stop_node(&mut self, id: NodeId) {
        *self.node(id) = Host::default();
    }

    fn pause_node(&mut self, _: NodeId) {}

    fn resume_node(&mut self, cluster: &mut Cluster, id: NodeId) {
        while let Some(came) = self.node(id).backlog.pop_front() {
            match came {
                Came::ToNode(input) => self.give(cluster, id, input),
                Came::ToGateway(input) => self.give_gateway(cluster, id, input),
            }
        }
        self.give(cluster, id, Input::Tick);
        self.give_gateway(cluster, id, GatewayInput::Tick);
    }

    fn deliver(&mut self, cluster: &mut Cluster, id: NodeId, from: Address, message: Message<Request>) {
        match (from, message) {
            (Address::Node(from), Message::Reply(reply)) => self.give_gateway(cluster, id, GatewayInput::Message { from, reply }),
            (Address::Client(from), Message::Request(Ask::Call { nonce, command })) => {
                self.give_gateway(cluster, id, GatewayInput::Call { caller: (from, nonce), request: (*command).clone() });
            }
            (from, message) => self.give(cluster, id, Input::Message { from, message }),
        }
    }

    fn disk_done(&mut self, cluster: &mut Cluster, id: NodeId, token: u64, synced: bool) {
        if synced {
            let host = self.node(id);
            host.durable = host.durable.max(token);
            let durable = host.durable;
            let free: Vec<Held> = host.held.extract_if(.., |h| h.outgoing.after <= durable).collect();
            for held in free {
                cluster.send_from_node(id, held.outgoing, held.promise);
            }
        }
        self.give(cluster, id, Input::DiskDone(token));
    }

    fn disk_failed(&mut self, cluster: &mut Cluster, id: NodeId, token: u64) {
        self.give(cluster, id, Input::DiskFailed(token));
    }

    fn executed(&mut self, cluster: &mut Cluster, id: NodeId, task: u64) {
        self.give(cluster, id, Input::ExecDone(task));
    }

    fn node_tick(&mut self, cluster: &mut Cluster, id: NodeId) {
        let host = self.node(id);
        if host.tick_at == Some(cluster.now) {
            host.tick_at = None;
            self.give(cluster, id, Input::Tick);
        }
    }

    fn gateway_tick(&mut self, cluster: &mut Cluster, id: NodeId) {
        let host = self.node(id);
        if host.gateway_tick_at == Some(cluster.now) {
            host.gateway_tick_at = None;
            self.give_gateway(cluster, id, GatewayInput::Tick);
        }
    }

    fn start_client(&mut self, cluster: &mut Cluster, client: u32, life: u32, entropy: u64) {
        let (config, membership) = (cluster.client_config.clone(), cluster.members.committed.clone());
        self.clients[client as usize - 1].client = Some(if cluster.plan.workload.is_etcd(client) {
            AnyClient::Etcd(Box::new(EtcdCaller::new(client, life, config, membership, entropy)))
        } else {
            AnyClient::Native(Box::new(Client::new(client, life, config, membership, entropy)))
        });
    }

    fn stop_client(&mut self, client: u32) {
        self.clients[client as usize - 1] = ClientHost::default();
    }

    fn tell_client(&mut self, cluster: &mut Cluster, id: u32, input: client::Input) {
        let mut out = std::mem::take(&mut self.client_out);
        let Some(client) = &mut self.clients[id as usize - 1].client else {
            self.client_out = out;
            return;
        };
        crate::log::set_node(None);
        {
            let _handling = profile::enter(Part::Node);
            client.handle(cluster.client_clock(id), input, &mut out);
        }
        for notice in out.notices.drain(..) {
            cluster.note_client_notice(id, notice);
        }
        for (to, message) in out.messages.drain(..) {
            cluster.send(Address::Client(id), Address::Node(to), message);
        }
        self.client_out = out;
        self.schedule_client_tick(cluster, id);
    }

    fn client_tick(&mut self, cluster: &mut Cluster, client: u32) {
        let host = &mut self.clients[client as usize - 1];
        if host.tick_at == Some(cluster.now) {
            host.tick_at = None;
            self.tell_client(cluster, client, client::Input::Tick);
        }
    }

    fn look(&self, id: NodeId, see: &mut dyn FnMut(&Node)) {
        if let Some(node) = &self.nodes[id as usize - 1].node {
            see(node);
        }
    }

    fn gateway_is_idle(&self, id: NodeId) -> bool {
        self.nodes[id as usize - 1].gateway.as_ref().is_none_or(Gateway::is_idle)
    }

    fn client_is_idle(&self, client: u32) -> bool {
        self.clients[client as usize - 1].client.as_ref().is_some_and(AnyClient::is_idle)
    }
}
