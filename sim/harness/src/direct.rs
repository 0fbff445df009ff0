//! The direct engine: a bare discrete-event loop over the world's models. Nodes and clients are called one input at a time; whatever
//! they want done becomes an event in the queue.
//!
//! It enforces the node's contract: a message leaves when the write it names has ended, and not before; what a dead process had
//! asked for does not happen; an execution ends when its drawn time is over, so commuting commands finish in any order.

use client::Client;
use curp::{Address, Membership, Message, NodeId, Outgoing};
use history::{ClientEvent, Promise, TraceHeader, WorldEvent};
use kv::Request;
use node::{Input, Node, Output};
use plan::Plan;
use std::collections::{BTreeMap, VecDeque};
use world::{Clock, Completion, Cpu, Disk, Draws, DurableChange, Endpoint, Network, US};

use crate::observe::{Observer, probe};
use crate::process::{Held, Process, promise};
use crate::queue::Queue;
use crate::workload::{Caller, History};

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
    /// A caller may invoke its next operation.
    Invoke { client: u32 },
    /// A caller's patience ends.
    Patience { client: u32, op: u64 },
    /// A fault of the plan begins; with the node at which its anchor fired.
    Fault { index: usize, anchor: Option<NodeId> },
    /// It ends.
    FaultEnd { index: usize },
    /// A node that a fault stopped starts again.
    Restart { node: NodeId, life: u32 },
    /// A client that a fault killed starts again.
    ClientRestart { client: u32, life: u32 },
    /// The faults end for good.
    Heal,
}

/// One run on the direct engine.
pub(crate) struct Direct<'p> {
    pub(crate) plan: &'p Plan,
    pub(crate) now: u64,
    pub(crate) queue: Queue<Next>,
    pub(crate) draws: Draws,
    pub(crate) network: Network,
    /// Node 1, 2, …
    pub(crate) processes: Vec<Process>,
    /// Client 1, 2, …
    pub(crate) callers: Vec<Caller>,
    pub(crate) history: History,
    pub(crate) observer: Observer,
    /// Faults that took effect, apart from those the network and the disks count.
    pub(crate) effects: BTreeMap<&'static str, u64>,
    /// Anchored faults that have not begun: (probe, occurrence, place in the plan).
    pub(crate) anchored: Vec<(usize, u64, usize)>,
    pub(crate) healed: bool,
    /// Latest term that had a leader, and the leader.
    pub(crate) leader: Option<(u64, NodeId)>,
    /// Nodes that could not start, and why.
    pub(crate) refusals: Vec<(NodeId, u64, String)>,
    /// Messages sent, and the planted disturbance from the thousandth on.
    sent: u64,
    pub(crate) disturb: u64,
    config: curp::Config,
    client_config: client::Config,
    membership: Membership,
    node_out: Output,
    client_out: client::Output,
}

impl<'p> Direct<'p> {
    /// The world of a plan, with nothing started.
    pub(crate) fn new(plan: &'p Plan, header: &TraceHeader, judge: bool, record: bool) -> Self {
        let draws = Draws::new(plan.seed);
        let c = &plan.cluster;
        let ms = 1_000 * US;
        let clocks = |id: NodeId| plan.clock.get(id as usize - 1).cloned().unwrap_or_default();
        let process = |id: NodeId| Process {
            id,
            node: None,
            life: 0,
            paused_by: Vec::new(),
            backlog: VecDeque::new(),
            durable: 0,
            held: Vec::new(),
            disk: Disk::new(draws, id, &plan.disk),
            clock: Clock::new(draws, id, &clocks(id)),
            cpu: Cpu::new(draws, id, &plan.execution),
            tick_at: None,
            tick_due: 0,
            tick_phase: draws.draw("tick", u64::from(id), 0).below(c.tick_us.max(1) * US),
            refused: false,
            executing: VecDeque::new(),
        };
        let session_length = |client: u32| draws.draw("session", u64::from(client), 0).log_range(5..=200);
        Direct {
            plan,
            now: 0,
            queue: Queue::new(),
            draws,
            network: Network::new(draws, &plan.network, c.voters, plan.workload.clients),
            processes: (1..=c.voters).map(process).collect(),
            callers: (1..=plan.workload.clients).map(|client| Caller::new(client, plan, session_length(client))).collect(),
            history: History::default(),
            observer: Observer::new(header, judge, record),
            effects: BTreeMap::new(),
            anchored: Vec::new(),
            healed: false,
            leader: None,
            refusals: Vec::new(),
            sent: 0,
            disturb: 0,
            config: curp::Config {
                election_timeout: (c.election_timeout_ms_min * ms, c.election_timeout_ms_max * ms),
                heartbeat_interval: c.heartbeat_ms * ms,
                hand_over_after: c.hand_over_ms * ms,
                append_entries_max: c.append_entries_max as usize,
            },
            client_config: client::Config {
                retry_after_min: plan.workload.retry_us * US,
                retry_after_max: plan.workload.retry_us * US * 16,
            },
            membership: Membership { version: curp::ConfigVersion::default(), voters: (1..=c.voters).collect() },
            node_out: Output::default(),
            client_out: client::Output::default(),
        }
    }

    /// Starts every node and client, and schedules the plan.
    pub(crate) fn start(&mut self) {
        for node in 1..=self.plan.cluster.voters {
            self.start_node(node);
        }
        for client in 1..=self.plan.workload.clients {
            self.start_client(client);
        }
        self.schedule_faults();
        self.queue.push(self.plan.heal.at_us * US, Next::Heal);
        self.react();
    }

    /// Does the next thing. False if nothing is left to do.
    pub(crate) fn step(&mut self) -> bool {
        let Some((at, next)) = self.queue.pop() else { return false };
        self.now = at;
        self.observer.set_time(at);
        match next {
            Next::Deliver { from, to, message } => self.deliver(from, to, message),
            Next::Disk { node, life, token } => self.disk_done(node, life, token),
            Next::Executed { node, life, task } => self.executed(node, life, task),
            Next::NodeTick { node } => {
                let process = self.process(node);
                if process.tick_at == Some(at) {
                    process.tick_at = None;
                    self.give(node, Input::Tick);
                }
            }
            Next::ClientTick { client } => {
                let caller = self.caller(client);
                if caller.tick_at == Some(at) {
                    caller.tick_at = None;
                    self.tell_client(client, client::Input::Tick);
                }
            }
            Next::Invoke { client } => self.invoke(client),
            Next::Patience { client, op } => self.lose_patience(client, op),
            Next::Fault { index, anchor } => self.begin_fault(index, anchor),
            Next::FaultEnd { index } => self.end_fault(index),
            Next::Restart { node, life } => {
                if self.process(node).life == life && !self.process(node).is_up() {
                    self.start_node(node);
                }
            }
            Next::ClientRestart { client, life } => {
                if self.caller(client).life == life && self.caller(client).client.is_none() {
                    self.start_client(client);
                }
            }
            Next::Heal => self.heal(),
        }
        self.react();
        true
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

    /// Starts a node from what its disk holds.
    pub(crate) fn start_node(&mut self, id: NodeId) {
        let (config, membership, now) = (self.config.clone(), self.membership.clone(), self.now);
        let (draws, mut out) = (self.draws, std::mem::take(&mut self.node_out));
        let process = self.process(id);
        if process.refused {
            self.node_out = out;
            return;
        }
        process.life += 1;
        process.durable = 0;
        let entropy = draws.u64("node", u64::from(id), u64::from(process.life));
        let (files, clock) = (process.disk.read_all(), process.clock.mono(now));
        crate::log::set_node(Some(id));
        match Node::start(id, config, membership, &files, entropy, clock, &mut out) {
            Ok((node, recovery)) => {
                process.node = Some(node);
                self.take_output(id, out);
                if recovery.cut > 0 {
                    self.observer.fire(const { probe("torn_tail_cut") }, Some(id));
                }
                if recovery.pool > 0 {
                    self.observer.fire(const { probe("pool_recovered_at_restart") }, Some(id));
                }
            }
            Err(corruption) => {
                process.refused = true;
                self.node_out = out;
                self.observer.world(Some(id), WorldEvent::Fatal { reason: corruption.to_string() });
                self.refusals.push((id, now, corruption.to_string()));
            }
        }
    }

    /// Hands a node an input, or keeps it for a node that stands still.
    fn give(&mut self, id: NodeId, input: Input) {
        let now = self.now;
        let mut out = std::mem::take(&mut self.node_out);
        let process = self.process(id);
        if process.is_paused() {
            process.backlog.push_back(input);
            self.node_out = out;
            return;
        }
        let clock = process.clock.mono(now);
        crate::log::set_node(Some(id));
        if let Some(node) = &mut process.node {
            node.handle(clock, input, &mut out);
        }
        self.take_output(id, out);
    }

    /// A node goes on: everything that came meanwhile is there at once.
    pub(crate) fn wake(&mut self, id: NodeId) {
        while let Some(input) = self.process(id).backlog.pop_front() {
            self.give(id, input);
        }
        self.give(id, Input::Tick);
    }

    /// Does what a node wants done.
    fn take_output(&mut self, id: NodeId, mut out: Output) {
        let now = self.now;
        for event in out.events.drain(..) {
            self.note_node_event(id, &event);
            self.observer.node(id, event);
        }
        let process = &mut self.processes[id as usize - 1];
        let life = process.life;
        for write in out.writes.drain(..) {
            let due = process.disk.submit(now, write.ops, write.token << 1 | u64::from(write.sync));
            self.queue.push(due, Next::Disk { node: id, life, token: write.token << 1 | u64::from(write.sync) });
        }
        for task in out.tasks.drain(..) {
            process.executing.push_back(task);
            self.queue.push(now + process.cpu.execution_time(), Next::Executed { node: id, life, task });
        }
        let mut messages = std::mem::take(&mut out.messages);
        for outgoing in messages.drain(..) {
            let process = &mut self.processes[id as usize - 1];
            let promise = process.node.as_ref().and_then(|node| promise(node, &outgoing));
            if outgoing.after > process.durable {
                process.held.push(Held { outgoing, promise });
                self.observer.fire(const { probe("message_held_by_write") }, Some(id));
            } else {
                self.send_from_node(id, outgoing, promise);
            }
        }
        out.messages = messages;
        let fatal = out.fatal.take();
        self.node_out = out;
        if let Some(reason) = fatal {
            self.observer.world(Some(id), WorldEvent::Fatal { reason });
            self.stop_after_fatal(id);
        }
        self.schedule_tick(id);
    }

    fn schedule_tick(&mut self, id: NodeId) {
        let (now, tick) = (self.now, self.plan.cluster.tick_us.max(1) * US);
        let process = &mut self.processes[id as usize - 1];
        let Some(node) = &process.node else { return };
        let due_local = node.next_due();
        if process.tick_at.is_some() && due_local >= process.tick_due {
            // The tick that is scheduled comes first, and schedules the next.
            return;
        }
        let wait = due_local.saturating_sub(process.clock.mono(now));
        let due = (now + process.clock.real_after(now, wait)).max(now + 1);
        let at = (due + tick - process.tick_phase).div_ceil(tick) * tick - tick + process.tick_phase;
        if process.tick_at.is_none_or(|scheduled| at < scheduled) {
            process.tick_at = Some(at);
            self.queue.push(at, Next::NodeTick { node: id });
        }
        process.tick_due = due_local;
    }

    /// The write has ended: what it synced is durable, and so may leave what waited for it.
    fn disk_done(&mut self, id: NodeId, life: u32, token: u64) {
        let process = self.process(id);
        if process.life != life || !process.is_up() {
            return;
        }
        let (token, synced, completion) = (token >> 1, token & 1 == 1, process.disk.complete(token));
        match completion {
            Completion::Done(changes) => {
                self.note_durable(id, changes);
                if synced {
                    let process = self.process(id);
                    process.durable = process.durable.max(token);
                    let durable = process.durable;
                    let free: Vec<Held> = process.held.extract_if(.., |h| h.outgoing.after <= durable).collect();
                    for held in free {
                        self.send_from_node(id, held.outgoing, held.promise);
                    }
                }
                self.give(id, Input::DiskDone(token));
            }
            Completion::SyncFailed => self.give(id, Input::DiskFailed(token)),
        }
    }

    /// Tells the trace what is durable now.
    pub(crate) fn note_durable(&mut self, id: NodeId, changes: Vec<DurableChange>) {
        for change in changes {
            let event = match change {
                DurableChange::Content { file, offset, data } => WorldEvent::Disk { file, offset, data: data.into() },
                DurableChange::Removed { file } => WorldEvent::DiskRemove { file },
            };
            self.observer.world(Some(id), event);
        }
    }

    fn executed(&mut self, id: NodeId, life: u32, task: u64) {
        let process = self.process(id);
        if process.life != life || !process.is_up() {
            return;
        }
        let place = process.executing.iter().position(|t| *t == task);
        process.executing.retain(|t| *t != task);
        if place.is_some_and(|place| place > 0) {
            self.observer.fire(const { probe("out_of_order_execution") }, Some(id));
        }
        self.give(id, Input::ExecDone(task));
    }

    // ---- messages ----

    fn send_from_node(&mut self, id: NodeId, outgoing: Outgoing<Request>, promise: Option<Promise>) {
        if let Some(promise) = promise {
            let to = if let Address::Node(to) = outgoing.to { Some(to) } else { None };
            self.observer.world(Some(id), WorldEvent::Send { to, promise });
        }
        self.note_message(id, &outgoing.message);
        self.send(Address::Node(id), outgoing.to, outgoing.message);
    }

    fn send(&mut self, from: Address, to: Address, message: Message<Request>) {
        let fate = self.network.send(self.now, endpoint(from), endpoint(to));
        self.sent += 1;
        let disturbance = if self.sent >= 1_000 { self.disturb } else { 0 };
        let Some((last, others)) = fate.arrivals().split_last() else { return };
        for at in others {
            self.queue.push(at + disturbance, Next::Deliver { from, to, message: message.clone() });
        }
        self.queue.push(last + disturbance, Next::Deliver { from, to, message });
    }

    fn deliver(&mut self, from: Address, to: Address, message: Message<Request>) {
        if self.network.deliver(endpoint(from), endpoint(to), self.now).is_err() {
            return;
        }
        match (to, message) {
            (Address::Node(id), message) => {
                if self.process(id).is_up() {
                    self.give(id, Input::Message { from, message });
                }
            }
            (Address::Client(client), Message::Reply(reply)) => {
                if let Address::Node(from) = from {
                    self.tell_client(client, client::Input::Message { from, reply });
                }
            }
            (Address::Client(_), _) => {}
        }
    }

    // ---- clients ----

    /// Starts a client process: its first life, or the next.
    fn start_client(&mut self, client: u32) {
        let (draws, config, membership) = (self.draws, self.client_config.clone(), self.membership.clone());
        let caller = self.caller(client);
        caller.life += 1;
        caller.session_ops = 0;
        let entropy = draws.u64("client", u64::from(client), u64::from(caller.life));
        caller.client = Some(Client::new(client, caller.life, config, membership, entropy));
        self.schedule_invoke(client);
    }

    pub(crate) fn schedule_invoke(&mut self, client: u32) {
        let (plan, now) = (self.plan, self.now);
        let caller = self.caller(client);
        if let Some(op) = caller.next_op(plan).filter(|_| caller.client.is_some() && caller.waits_for.is_none()) {
            let at = (op.at_us * US).max(now);
            self.queue.push(at, Next::Invoke { client });
        }
    }

    fn invoke(&mut self, client: u32) {
        let (plan, now) = (self.plan, self.now);
        let caller = self.caller(client);
        let due = caller.next_op(plan).is_some_and(|op| op.at_us * US <= now);
        if !due || caller.client.is_none() || caller.waits_for.is_some() {
            return;
        }
        if caller.session_ops >= caller.session_length {
            caller.session_ops = 0;
            self.tell_client(client, client::Input::EndSession);
        }
        let caller = self.caller(client);
        let Some((op, request)) = caller.take_op(plan) else { return };
        if !matches!(request, Request::Range(_)) {
            caller.session_ops += 1;
        }
        self.history.invoke(op, client, request.clone(), now);
        self.queue.push(now + plan.workload.patience_us * US, Next::Patience { client, op });
        self.tell_client(client, client::Input::Invoke { op, request });
    }

    fn lose_patience(&mut self, client: u32, op: u64) {
        if self.caller(client).waits_for == Some(op) && self.caller(client).client.is_some() {
            self.give_up(client, op);
            self.tell_client(client, client::Input::Abandon { op });
            self.schedule_invoke(client);
        }
    }

    /// The operation's outcome is unknown to its caller from here on.
    pub(crate) fn give_up(&mut self, client: u32, op: u64) {
        self.caller(client).waits_for = None;
        self.observer.client(client, ClientEvent::GiveUp { op });
        self.observer.fire(const { probe("unknown_outcome") }, None);
    }

    fn tell_client(&mut self, id: u32, input: client::Input) {
        let now = self.now;
        let mut out = std::mem::take(&mut self.client_out);
        let Some(client) = &mut self.callers[id as usize - 1].client else {
            self.client_out = out;
            return;
        };
        crate::log::set_node(None);
        client.handle(now, input, &mut out);
        for notice in out.notices.drain(..) {
            self.note_client_notice(id, notice);
        }
        let mut messages = std::mem::take(&mut out.messages);
        self.client_out = out;
        for (to, message) in messages.drain(..) {
            self.send(Address::Client(id), Address::Node(to), message);
        }
        self.client_out.messages = messages;
        self.schedule_client_tick(id);
    }

    fn schedule_client_tick(&mut self, id: u32) {
        let caller = &mut self.callers[id as usize - 1];
        let Some(due) = caller.client.as_ref().and_then(Client::next_due) else { return };
        let at = due.max(self.now + 1);
        if caller.tick_at.is_none_or(|scheduled| at < scheduled) {
            caller.tick_at = Some(at);
            self.queue.push(at, Next::ClientTick { client: id });
        }
    }

    /// The caller's operation has ended: on to the next.
    pub(crate) fn operation_ended(&mut self, client: u32, op: u64) {
        if self.caller(client).waits_for == Some(op) {
            self.caller(client).waits_for = None;
            self.schedule_invoke(client);
        }
    }
}

fn endpoint(address: Address) -> Endpoint {
    match address {
        Address::Node(n) => Endpoint::Node(n),
        Address::Client(c) => Endpoint::Client(c),
    }
}
