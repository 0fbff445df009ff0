//! The cluster under test with the world around it, as every engine sees it: what happens next, on which network, disks, clocks and
//! processors, to which operations, under whose eyes. The processes themselves are the engine's ([`Hosts`]).
//!
//! Invariant: whatever is drawn here is drawn the same way on every engine, so that a plan means the same on each.

use curp::{Address, Membership, Message, NodeId, Outgoing, PeerMessage, Request as Ask, WatchName};
use history::{Promise, TraceHeader, WorldEvent};
use kv::{LeaseId, Request};
use node::{Recovery, StartError, Write};
use plan::{Plan, Store};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use world::{Clock, Completion, Cpu, Disk, Draws, DurableChange, Endpoint, Network, US};

use crate::RunOptions;
use crate::background::WatchStep;
use crate::gateways::Calls;
use crate::hosts::Hosts;
use crate::members::Members;
use crate::observe::{Observer, probe};
use crate::operator::Operator;
use crate::process::{Process, Timing};
use crate::profile::{self, Part};
use crate::queue::Queue;
use crate::state::Place;
use crate::workload::{Caller, History};

/// How long a message takes that stays in its process.
const WITHIN_PROCESS: u64 = US;

/// What can happen next.
#[derive(Debug)]
pub(crate) enum Next {
    /// A message arrives.
    Deliver { from: Address, to: Address, message: Message<Request> },
    /// The oldest write in flight of a node ends.
    Disk { node: NodeId, life: u32, token: u64 },
    /// An execution ends.
    Executed { node: NodeId, life: u32, task: u64 },
    /// A node's timer.
    NodeTick { node: NodeId },
    /// A client's timer.
    ClientTick { client: u32 },
    /// A gateway's timer.
    GatewayTick { node: NodeId },
    /// A call arrives at a node, in this life of it: it came over a connection, which is gone with the node.
    Call { from: Address, to: NodeId, life: u32, message: Message<Request> },
    /// A caller may invoke its next operation.
    Invoke { client: u32 },
    /// A caller's patience ends.
    Patience { client: u32, op: u64 },
    /// The recipe that a client is at has something to hear.
    Recipe { client: u32 },
    /// A recipe's time has come.
    Wake { client: u32, op: u64, at: u64 },
    /// Something is to be done for a watch.
    Watch { client: u32, life: u32, op: u64, what: WatchStep },
    /// A renewal ends.
    EndRenewal { client: u32, life: u32, op: u64 },
    /// A fault of the plan begins; with the node at which its anchor fired.
    Fault { index: usize, anchor: Option<NodeId> },
    /// It ends.
    FaultEnd { index: usize },
    /// A node that a fault stopped starts again.
    Restart { node: NodeId, life: u32 },
    /// A client that a fault killed starts again.
    ClientRestart { client: u32, life: u32 },
    /// A node stopped itself: its process ends now.
    Fatal { node: NodeId, life: u32 },
    /// A node stopped in good order: its process ends now.
    ShutDown { node: NodeId, life: u32 },
    /// A node that was removed ends for good.
    Depart { node: NodeId },
    /// Clients hear that a node is no more, and who takes part.
    Spread { gone: NodeId },
    /// The operator may go on.
    Operate,
    /// The operator's patience with what it asked for under this number ends.
    OperatorPatience { asked: u64 },
    /// The faults end for good.
    Heal,
}

/// What a node starts from.
pub(crate) struct Birth {
    pub(crate) life: u32,
    pub(crate) config: curp::Config,
    pub(crate) membership: Membership,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// Where the state machine is kept.
    pub(crate) state: Place,
    /// It never had anything durable.
    pub(crate) first: bool,
    pub(crate) entropy: u64,
    /// Reading of the node's clock.
    pub(crate) clock: u64,
}

/// One run's cluster and world.
pub(crate) struct Cluster {
    pub(crate) plan: Arc<Plan>,
    pub(crate) now: u64,
    pub(crate) queue: Queue<Next>,
    pub(crate) draws: Draws,
    pub(crate) network: Network,
    /// Node 1, 2, …, those too that start later or never.
    pub(crate) processes: Vec<Process>,
    /// Client 1, 2, …
    pub(crate) callers: Vec<Caller>,
    pub(crate) operator: Operator,
    pub(crate) members: Members,
    /// The node that joined last.
    pub(crate) newest: Option<NodeId>,
    /// Nodes whose processes end so long (µs) after their removal.
    pub(crate) departures: BTreeMap<NodeId, u64>,
    pub(crate) history: History,
    /// The leases that operations have granted, by operation.
    pub(crate) leases: BTreeMap<u64, LeaseId>,
    /// When nodes that stood still went on.
    pub(crate) resumed: BTreeMap<NodeId, u64>,
    /// The latest term for which a node stood for election, and when.
    pub(crate) campaign: (u64, u64),
    /// The calls of clients of etcd's API: which operation each is a try of.
    pub(crate) calls: Calls,
    /// They call etcd's own services, rather than by messages.
    pub(crate) etcd_services: bool,
    pub(crate) observer: Observer,
    /// Faults that took effect, apart from those the network and the disks count.
    pub(crate) effects: BTreeMap<&'static str, u64>,
    /// Anchored faults that have not begun: (probe, occurrence, place in the plan).
    pub(crate) anchored: Vec<(usize, u64, usize)>,
    pub(crate) healed: bool,
    /// Latest term that had a leader, and the leader.
    pub(crate) leader: Option<(u64, NodeId)>,
    /// The last time a leader told another voter to take over: its term, and the voter.
    pub(crate) transfer: Option<(u64, NodeId)>,
    /// Index and offset of the last piece of a snapshot from one node to another.
    pieces: BTreeMap<(NodeId, NodeId), (u64, u64)>,
    /// Watchers that were asked, at some time, how far they are.
    pub(crate) progress_asked: BTreeSet<WatchName>,
    /// Nodes that could not start, and why.
    pub(crate) refusals: Vec<(NodeId, u64, String)>,
    /// Messages sent, and the planted disturbance from the thousandth on.
    sent: u64,
    disturb: u64,
    config: curp::Config,
    pub(crate) limits: node::Limits,
    pub(crate) client_config: client::Config,
    /// The configuration that the cluster is made with.
    membership: Membership,
}

impl Cluster {
    /// The world of a plan, with nothing started.
    pub(crate) fn new(plan: &Plan, header: &TraceHeader, options: &RunOptions) -> Self {
        let draws = Draws::new(plan.seed);
        let c = &plan.cluster;
        let ms = 1_000 * US;
        let clocks = |id: NodeId| plan.clock.get(id as usize - 1).cloned().unwrap_or_default();
        let process = |id: NodeId| Process {
            id,
            up: false,
            life: 0,
            paused_by: Vec::new(),
            disk: Disk::new(draws, id, &plan.disk),
            timing: Timing {
                clock: Clock::new(draws, id, &clocks(id)),
                tick: c.tick_us.max(1) * US,
                phase: draws.draw("tick", u64::from(id), 0).below(c.tick_us.max(1) * US),
            },
            cpu: Cpu::new(draws, id, &plan.execution),
            gone: false,
            lost_by: None,
            store_cut_down_us: 0,
            from_store: false,
            had_data: false,
            executing: VecDeque::new(),
        };
        let operator = Operator::new(plan);
        let clients = operator.address.unwrap_or(plan.workload.clients);
        Cluster {
            plan: Arc::new(plan.clone()),
            now: 0,
            queue: Queue::new(),
            draws,
            network: Network::new(draws, &plan.network, plan.nodes(), clients),
            processes: (1..=plan.nodes()).map(process).collect(),
            callers: (1..=plan.workload.clients).map(|client| Caller::new(draws, client, plan)).collect(),
            operator,
            members: Members::new(Membership::initial(1..=c.voters)),
            newest: None,
            departures: BTreeMap::new(),
            history: History::default(),
            leases: BTreeMap::new(),
            resumed: BTreeMap::new(),
            campaign: (0, 0),
            calls: Calls::default(),
            etcd_services: false,
            observer: Observer::new(header, options.judge, options.record),
            effects: BTreeMap::new(),
            anchored: Vec::new(),
            healed: false,
            leader: None,
            transfer: None,
            pieces: BTreeMap::new(),
            progress_asked: BTreeSet::new(),
            refusals: Vec::new(),
            sent: 0,
            disturb: options.disturb,
            config: curp::Config {
                election_timeout: (c.election_timeout_ms_min * ms, c.election_timeout_ms_max * ms),
                heartbeat_interval: c.heartbeat_ms * ms,
                hand_over_after: c.hand_over_ms * ms,
                append_entries_max: c.append_entries_max as usize,
                append_bytes_max: c.append_bytes_max as usize,
                appends_in_flight_max: c.appends_in_flight_max as usize,
                snapshot_every: c.snapshot_every,
                trailing_entries: c.trailing_entries,
                snapshot_chunk_bytes: c.snapshot_chunk_bytes as usize,
            },
            limits: limits(draws),
            client_config: client::Config {
                retry_after_min: plan.workload.retry_us * US,
                retry_after_max: plan.workload.retry_us * US * 16,
            },
            membership: Membership::initial(1..=c.voters),
        }
    }

    /// Starts every node and client, and schedules the plan.
    pub(crate) fn start(&mut self, hosts: &mut impl Hosts) {
        for node in 1..=self.plan.cluster.voters {
            hosts.start_node(self, node);
        }
        for client in 1..=self.plan.workload.clients {
            self.start_client(hosts, client);
        }
        self.start_operator(hosts);
        self.schedule_faults();
        self.queue.push(self.plan.heal.at_us * US, Next::Heal);
        self.react();
    }

    /// Time has come to this moment.
    pub(crate) fn set_time(&mut self, now: u64) {
        self.now = now;
        self.observer.set_time(now);
    }

    /// Does the next thing. False if nothing is left to do.
    pub(crate) fn step(&mut self, hosts: &mut impl Hosts) -> bool {
        let Some((at, next)) = self.queue.pop() else { return false };
        self.set_time(at);
        self.happen(hosts, next);
        true
    }

    /// Something happens, now.
    pub(crate) fn happen(&mut self, hosts: &mut impl Hosts, next: Next) {
        match next {
            Next::Deliver { from, to, message } => self.deliver(hosts, from, to, message),
            Next::Disk { node, life, token } => self.disk_done(hosts, node, life, token),
            Next::Executed { node, life, task } => self.executed(hosts, node, life, task),
            Next::NodeTick { node } => hosts.node_tick(self, node),
            Next::ClientTick { client } => hosts.client_tick(self, client),
            Next::GatewayTick { node } => hosts.gateway_tick(self, node),
            Next::Call { from, to, life, message } => {
                if self.process(to).life == life {
                    self.deliver(hosts, from, Address::Node(to), message);
                }
            }
            Next::Invoke { client } => self.invoke(hosts, client),
            Next::Patience { client, op } => self.lose_patience(hosts, client, op),
            Next::Recipe { client } => self.run_recipe(hosts, client),
            Next::Wake { client, op, at } => self.wake_recipe(hosts, client, op, at),
            Next::Watch { client, life, op, what } => self.step_watch(hosts, client, life, op, what),
            Next::EndRenewal { client, life, op } => {
                if self.caller(client).life == life {
                    self.end_renewal(hosts, client, op);
                }
            }
            Next::Fault { index, anchor } => self.begin_fault(hosts, index, anchor),
            Next::FaultEnd { index } => self.end_fault(hosts, index),
            Next::Restart { node, life } => {
                if self.process(node).life == life && !self.process(node).up {
                    hosts.start_node(self, node);
                }
            }
            Next::ClientRestart { client, life } => {
                if self.caller(client).life == life && !self.caller(client).up {
                    self.start_client(hosts, client);
                }
            }
            Next::Fatal { node, life } => {
                if self.process(node).life == life {
                    self.stop_after_fatal(hosts, node);
                }
            }
            Next::ShutDown { node, life } => {
                if self.process(node).life == life {
                    self.shut_down(hosts, node);
                }
            }
            Next::Depart { node } => self.depart(hosts, node),
            Next::Spread { gone } => self.spread(hosts, gone),
            Next::Operate => self.operate(hosts),
            Next::OperatorPatience { asked } => self.operator_gives_up(hosts, asked),
            Next::Heal => self.heal(hosts),
        }
        self.react();
    }

    pub(crate) fn process(&mut self, node: NodeId) -> &mut Process {
        &mut self.processes[node as usize - 1]
    }

    pub(crate) fn caller(&mut self, client: u32) -> &mut Caller {
        &mut self.callers[client as usize - 1]
    }

    /// A fault took effect.
    pub(crate) fn took_effect(&mut self, kind: &'static str, times: u64) {
        *self.effects.entry(kind).or_default() += times;
    }

    // ---- nodes ----

    /// A node's process begins: what it starts from, unless it must not start.
    pub(crate) fn begin_life(&mut self, id: NodeId) -> Option<Birth> {
        let (config, membership, now, draws) = (self.config.clone(), self.membership.clone(), self.now, self.draws);
        let store = self.plan.cluster.store;
        let process = self.process(id);
        if process.gone {
            return None;
        }
        process.life += 1;
        process.up = true;
        let life = process.life;
        let entropy = draws.u64("node", u64::from(id), u64::from(life));
        let (files, clock, first) = (process.disk.read_all(), process.timing.clock.mono(now), !process.had_data);
        let state = match store {
            Store::Redb => Place::File(process.disk.open_block()),
            Store::Memory if draws.draw("memory store", 0, 0).below(4) == 0 => Place::Memory,
            Store::Memory => Place::Nowhere,
        };
        crate::log::set_node(Some(id));
        Some(Birth { life, config, membership, first, files, state, entropy, clock })
    }

    /// The node found this on its disk.
    pub(crate) fn note_recovery(&mut self, id: NodeId, recovery: Recovery) {
        if recovery.cut > 0 {
            self.observer.fire(const { probe("torn_tail_cut") }, Some(id));
        }
        if recovery.pool > 0 {
            self.observer.fire(const { probe("pool_recovered_at_restart") }, Some(id));
        }
    }

    /// The node stopped itself, or so it seems: power may have failed under it. Its process ends now.
    pub(crate) fn note_fatal(&mut self, id: NodeId, reason: String) {
        if !self.process(id).disk.block_was_cut() {
            self.observer.world(Some(id), WorldEvent::Fatal { reason });
        }
    }

    /// The node cannot start from its disk: as it must not, if the plan took that away.
    pub(crate) fn refuse(&mut self, id: NodeId, why: &StartError) {
        if matches!(why, StartError::StateFailed(_)) {
            // Its store failed under it, at the start as it may later.
            self.note_fatal(id, why.to_string());
            let life = self.process(id).life;
            return self.queue.push(self.now, Next::Fatal { node: id, life });
        }
        let process = self.process(id);
        process.gone = true;
        process.up = false;
        self.observer.world(Some(id), WorldEvent::Fatal { reason: why.to_string() });
        if matches!(why, StartError::DiskLost(_)) && self.members.has_lost(id) {
            self.observer.fire(const { probe("disk_lost_refused") }, Some(id));
            self.queue.push(self.now, Next::Spread { gone: id });
            self.replace_lost(id);
        } else {
            self.refusals.push((id, self.now, why.to_string()));
        }
    }

    /// Hands a node's write to its disk.
    pub(crate) fn submit(&mut self, id: NodeId, write: Write) {
        let _modelling = profile::enter(Part::World);
        let now = self.now;
        let process = self.process(id);
        let (life, token) = (process.life, write.token << 1 | u64::from(write.sync));
        let due = process.disk.submit(now, write.ops, token);
        self.queue.push(due, Next::Disk { node: id, life, token });
    }

    /// A node begins to execute a command.
    pub(crate) fn begin_execution(&mut self, id: NodeId, task: u64) {
        let now = self.now;
        let process = self.process(id);
        process.executing.push_back(task);
        let (at, life) = (now + process.cpu.execution_time(), process.life);
        self.queue.push(at, Next::Executed { node: id, life, task });
    }

    /// The write has ended: what it synced is durable.
    fn disk_done(&mut self, hosts: &mut impl Hosts, id: NodeId, life: u32, token: u64) {
        let process = self.process(id);
        if process.life != life || !process.up {
            return;
        }
        let completion = {
            let _modelling = profile::enter(Part::World);
            process.disk.complete(token)
        };
        let (token, synced) = (token >> 1, token & 1 == 1);
        match completion {
            Completion::Done(changes) => {
                self.note_durable(id, changes);
                hosts.disk_done(self, id, token, synced);
            }
            Completion::SyncFailed => hosts.disk_failed(self, id, token),
        }
    }

    /// Tells the trace what is durable now.
    pub(crate) fn note_durable(&mut self, id: NodeId, changes: Vec<DurableChange>) {
        self.process(id).had_data |= !changes.is_empty();
        for change in changes {
            if matches!(&change, DurableChange::Content { file, .. } if file.starts_with("snapshot-") && file.ends_with(".snap")) {
                self.observer.fire(const { probe("snapshot_saved") }, Some(id));
            }
            let event = match change {
                DurableChange::Content { file, offset, data } => WorldEvent::Disk { file, offset, data: data.into() },
                DurableChange::Removed { file } => WorldEvent::DiskRemove { file },
            };
            self.observer.world(Some(id), event);
        }
    }

    fn executed(&mut self, hosts: &mut impl Hosts, id: NodeId, life: u32, task: u64) {
        let process = self.process(id);
        if process.life != life || !process.up {
            return;
        }
        let place = process.executing.iter().position(|t| *t == task);
        process.executing.retain(|t| *t != task);
        if place.is_some_and(|place| place > 0) {
            self.observer.fire(const { probe("out_of_order_execution") }, Some(id));
        }
        hosts.executed(self, id, task);
    }

    // ---- messages ----

    /// A message leaves a node, with what it promises.
    pub(crate) fn note_send(&mut self, id: NodeId, outgoing: &Outgoing<Request>, promise: Option<Promise>) {
        if let Some(promise) = promise {
            let to = if let Address::Node(to) = outgoing.to { Some(to) } else { None };
            self.observer.world(Some(id), WorldEvent::Send { to, promise });
        }
        if let (Address::Node(to), Message::Peer { body: PeerMessage::InstallSnapshot { meta, offset, .. }, .. }) =
            (outgoing.to, &outgoing.message)
            && let Some((index, before)) = self.pieces.insert((id, to), (meta.index, *offset))
            && index == meta.index
            && *offset <= before
        {
            self.observer.fire(const { probe("snapshot_piece_repeated") }, Some(id));
        }
        self.note_message(id, &outgoing.message);
    }

    /// A message leaves a node for the network.
    pub(crate) fn send_from_node(&mut self, id: NodeId, outgoing: Outgoing<Request>, promise: Option<Promise>) {
        let _sending = profile::enter(Part::Transport);
        self.note_send(id, &outgoing, promise);
        self.send(Address::Node(id), outgoing.to, outgoing.message);
    }

    /// A client, or a gateway, is about to send a message.
    pub(crate) fn note_ask(&mut self, message: &Message<Request>) {
        if let Message::Request(Ask::Watch { watch, progress: true, .. }) = message {
            self.progress_asked.insert(*watch);
        }
    }

    /// A message is on the network: its fate is decided.
    pub(crate) fn send(&mut self, from: Address, to: Address, message: Message<Request>) {
        let _sending = profile::enter(Part::Transport);
        self.note_ask(&message);
        if endpoint(from) == endpoint(to) {
            // Between a node and its gateway, which share a process.
            return self.queue.push(self.now + WITHIN_PROCESS, Next::Deliver { from, to, message });
        }
        let fate = {
            let _modelling = profile::enter(Part::World);
            self.network.send(self.now, endpoint(from), endpoint(to))
        };
        self.sent += 1;
        let disturbance = if self.sent >= 1_000 { self.disturb } else { 0 };
        if let Some((to, life)) = self.connection(to, &message) {
            // A connection repeats nothing.
            if let Some(at) = fate.arrivals().first() {
                self.queue.push(at + disturbance, Next::Call { from, to, life, message });
            }
            return;
        }
        let Some((last, others)) = fate.arrivals().split_last() else { return };
        for at in others {
            self.queue.push(at + disturbance, Next::Deliver { from, to, message: message.clone() });
        }
        self.queue.push(last + disturbance, Next::Deliver { from, to, message });
    }

    /// A message is given to a transport that is not the world's: if a partition is in its way, that has an effect.
    pub(crate) fn note_clog(&mut self, from: Address, to: Address) {
        let _ = self.network.deliver(endpoint(from), endpoint(to), self.now);
    }

    fn deliver(&mut self, hosts: &mut impl Hosts, from: Address, to: Address, message: Message<Request>) {
        let _delivering = profile::enter(Part::Transport);
        if endpoint(from) != endpoint(to) && self.network.deliver(endpoint(from), endpoint(to), self.now).is_err() {
            return;
        }
        let gateway = if let Address::Client(client) = to { client::gateway_node(client) } else { None };
        match (gateway.map_or(to, Address::Node), message) {
            (Address::Node(id), message) => {
                if self.process(id).up {
                    hosts.deliver(self, id, from, message);
                }
            }
            (Address::Client(client), Message::Reply(reply)) => {
                if let Address::Node(from) = from {
                    hosts.tell_client(self, client, client::Input::Message { from, reply });
                }
            }
            (Address::Client(_), _) => {}
        }
    }
}

/// How much waits for watchers in this run, and for how long: often so little that slow ones fall behind.
fn limits(draws: Draws) -> node::Limits {
    let mut s = draws.sequence("limits", 0);
    let mut drawn = |range| s.draw().log_range(range);
    node::Limits {
        watch: kv::WatchLimits { responses_max: drawn(1..=64) as usize, events_max: drawn(1..=256) as usize },
        watch_idle: drawn(2_000_000..=20_000_000) * US,
        watch_progress_every: drawn(50_000..=20_000_000) * US,
        revoke_retry: drawn(20_000..=500_000) * US,
        ..node::Limits::default()
    }
}

/// The world's name for an address. A gateway is where its node is.
pub(crate) fn endpoint(address: Address) -> Endpoint {
    match address {
        Address::Node(n) => Endpoint::Node(n),
        Address::Client(c) => client::gateway_node(c).map_or(Endpoint::Client(c), Endpoint::Node),
    }
}
