//! The plan's operations. A caller runs its own one after another: it invokes, waits, and goes on when an answer comes or its
//! patience ends. What it saw is the history.

use client::Notice;
use curp::{Nanos, ProposeId, Synced};
use history::{ClientEvent, Header, Operation, Outcome, SyncedResponse};
use kv::{Bytes, KeyValue, LeaseId, Request, Response};
use plan::{Action, Known, Op, Plan};
use std::collections::{BTreeMap, BTreeSet};
use world::{Clock, Draws, US};

use crate::background::Watching;
use crate::cluster::{Cluster, Next};
use crate::hosts::Hosts;
use crate::observe::probe;
use crate::recipes::{Heard, Running, Session};

/// Clocks of clients are drawn as those of nodes with numbers from here on.
const CLOCK_FIRST: u32 = 1_000;

/// A client process with the caller in it.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) address: u32,
    /// Whether the process is alive.
    pub(crate) up: bool,
    /// Counts its lives.
    pub(crate) life: u32,
    /// Positions in the plan's operations, in order.
    ops: Vec<usize>,
    /// The next of them.
    next: usize,
    /// The operation, or the step of one, that it waits for: its id.
    pub(crate) waits_for: Option<u64>,
    /// Commands that were proposed in this life and have no synced result yet.
    pub(crate) unsynced: BTreeSet<u64>,
    /// The operation of several steps that it is at.
    pub(crate) recipe: Option<Running>,
    /// Its session with ZooKeeper.
    pub(crate) zk: Option<Session>,
    /// Its watches and renewals, by operation.
    pub(crate) watches: BTreeMap<u64, Watching>,
    /// Watches that a node has ended: of these nothing more is to come.
    pub(crate) canceled_watches: BTreeSet<u64>,
    pub(crate) renewals: BTreeSet<u64>,
    /// The process's own clock.
    pub(crate) clock: Clock,
    /// What it last observed of each key: the last pair, or none.
    pub(crate) seen: BTreeMap<Bytes, Option<KeyValue>>,
    /// The last revision it has seen.
    pub(crate) revision: u64,
    /// Commands since the session began, and after how many it ends the session.
    pub(crate) session_ops: u64,
    pub(crate) session_length: u64,
}

impl Caller {
    pub(crate) fn new(draws: Draws, address: u32, plan: &Plan) -> Self {
        let params = plan.client_clock.get(address as usize - 1).cloned().unwrap_or_default();
        Caller {
            address,
            up: false,
            life: 0,
            ops: plan.op.iter().enumerate().filter(|(_, op)| op.client == address).map(|(i, _)| i).collect(),
            next: 0,
            waits_for: None,
            unsynced: BTreeSet::new(),
            recipe: None,
            zk: None,
            watches: BTreeMap::new(),
            canceled_watches: BTreeSet::new(),
            renewals: BTreeSet::new(),
            clock: Clock::new(draws, CLOCK_FIRST + address, &params),
            seen: BTreeMap::new(),
            revision: 0,
            session_ops: 0,
            session_length: draws.draw("session", u64::from(address), 0).log_range(5..=200),
        }
    }

    /// The operation to run next.
    pub(crate) fn next_op<'p>(&self, plan: &'p Plan) -> Option<&'p Op> {
        self.ops.get(self.next).map(|&i| &plan.op[i])
    }

    /// Whether it can go on to its next operation.
    pub(crate) fn is_free(&self) -> bool {
        self.up && self.waits_for.is_none() && self.recipe.is_none()
    }

    /// Takes the next operation.
    fn take_op<'p>(&mut self, plan: &'p Plan) -> Option<&'p Op> {
        let op = self.next_op(plan)?;
        self.next += 1;
        Some(op)
    }

    /// Whether all its operations have ended.
    pub(crate) fn is_done(&self) -> bool {
        self.next == self.ops.len() && self.waits_for.is_none() && self.recipe.is_none()
    }

    /// Learns from a response what its keys hold.
    pub(crate) fn observe(&mut self, request: &Request, response: &Response) {
        match (request, response) {
            (Request::Range(range), Response::Range { kvs, .. }) => {
                if range.range_end.is_none() {
                    self.seen.insert(range.key.clone(), kvs.first().cloned());
                }
                for kv in kvs {
                    self.seen.insert(kv.key.clone(), Some(kv.clone()));
                }
            }
            (Request::Txn(txn), Response::Txn { succeeded, responses }) => {
                let branch = if *succeeded { &txn.success } else { &txn.failure };
                for (request, response) in branch.iter().zip(responses) {
                    self.observe(request, response);
                }
            }
            _ => {}
        }
    }
}

impl Cluster {
    /// Starts a client process: its first life, or the next.
    pub(crate) fn start_client(&mut self, hosts: &mut impl Hosts, client: u32) {
        let draws = self.draws;
        let caller = self.caller(client);
        caller.life += 1;
        caller.session_ops = 0;
        caller.up = true;
        let life = caller.life;
        hosts.start_client(self, client, life, draws.u64("client", u64::from(client), u64::from(life)));
        self.schedule_invoke(client);
    }

    /// What a client's clock reads now. An operator's is perfect.
    pub(crate) fn client_clock(&self, client: u32) -> Nanos {
        self.callers.get(client as usize - 1).map_or(self.now, |caller| caller.clock.mono(self.now))
    }

    /// When a client's clock will read `due`: later than now.
    pub(crate) fn client_time(&self, client: u32, due: Nanos) -> u64 {
        let wait = due.saturating_sub(self.client_clock(client));
        let real = self.callers.get(client as usize - 1).map_or(wait, |caller| caller.clock.real_after(self.now, wait));
        self.now + real.max(1)
    }

    pub(crate) fn schedule_invoke(&mut self, client: u32) {
        let caller = &self.callers[client as usize - 1];
        if caller.is_free() {
            let at = caller.next_op(&self.plan).map_or(0, |op| op.at_us * US);
            self.queue.push(at.max(self.now), Next::Invoke { client });
        }
    }

    pub(crate) fn invoke(&mut self, hosts: &mut impl Hosts, client: u32) {
        let (plan, now) = (self.plan.clone(), self.now);
        self.wind_down(hosts, client);
        let caller = self.caller(client);
        let due = caller.next_op(&plan).is_some_and(|op| op.at_us * US <= now);
        if !due || !caller.is_free() {
            return;
        }
        let Some(op) = caller.take_op(&plan) else { return };
        let known = Knowledge { caller: &self.callers[client as usize - 1], leases: &self.leases };
        if let Some(request) = op.action.request(op.id, &known) {
            return self.ask(hosts, client, op.id, request);
        }
        match &op.action {
            Action::Watch(watch) => {
                let request = watch.request(&known);
                self.begin_watch(hosts, client, op.id, watch, request);
            }
            Action::Renew { lease, for_us } => {
                let lease = known.lease(*lease);
                self.begin_renewal(hosts, client, op.id, lease, *for_us);
            }
            action => self.begin_recipe(hosts, client, op.id, action),
        }
        self.schedule_invoke(client);
    }

    /// Invokes a request, under this number, for which its caller then waits.
    pub(crate) fn ask(&mut self, hosts: &mut impl Hosts, client: u32, op: u64, request: Request) {
        let (patience_us, now) = (self.plan.workload.patience_us, self.now);
        if self.caller(client).session_ops >= self.caller(client).session_length {
            self.caller(client).session_ops = 0;
            hosts.tell_client(self, client, client::Input::EndSession);
        }
        let caller = self.caller(client);
        caller.waits_for = Some(op);
        self.history.invoke(op, client, request.clone(), now);
        if !self.history.get(op).is_some_and(Operation::is_read) {
            self.caller(client).session_ops += 1;
        }
        self.queue.push(now + patience_us * US, Next::Patience { client, op });
        hosts.tell_client(self, client, client::Input::Invoke { op, request });
    }

    pub(crate) fn lose_patience(&mut self, hosts: &mut impl Hosts, client: u32, op: u64) {
        if self.caller(client).waits_for == Some(op) && self.caller(client).up {
            hosts.tell_client(self, client, client::Input::Abandon { op });
            self.give_up(client, op);
            self.goes_on(client, Heard::Unknown);
        }
    }

    /// The operation's outcome is unknown to its caller from here on.
    pub(crate) fn give_up(&mut self, client: u32, op: u64) {
        self.caller(client).waits_for = None;
        self.observer.client(client, ClientEvent::GiveUp { op });
        self.observer.fire(const { probe("unknown_outcome") }, None);
    }

    /// The caller's operation, or its step, has ended.
    pub(crate) fn operation_ended(&mut self, client: u32, op: u64, heard: Heard) {
        if self.caller(client).waits_for == Some(op) {
            self.caller(client).waits_for = None;
            self.goes_on(client, heard);
        }
    }

    /// Nothing keeps the caller from its next step, or its next operation.
    pub(crate) fn goes_on(&mut self, client: u32, heard: Heard) {
        if self.caller(client).recipe.is_some() {
            self.tell_recipe(client, heard);
        } else {
            self.schedule_invoke(client);
        }
    }
}

/// What a caller knows; and the names of leases, which callers tell each other.
struct Knowledge<'a> {
    caller: &'a Caller,
    leases: &'a BTreeMap<u64, LeaseId>,
}

impl Known for Knowledge<'_> {
    fn pair(&self, key: &Bytes) -> Option<&KeyValue> {
        self.caller.seen.get(key).and_then(Option::as_ref)
    }

    fn revision(&self) -> u64 {
        self.caller.revision
    }

    fn lease(&self, id: u64) -> LeaseId {
        // One that others were to name, and of which no answer told: there is none of the name that it has here.
        self.leases.get(&id).copied().unwrap_or(id as LeaseId)
    }
}

/// The history as it grows.
#[derive(Debug, Default)]
pub(crate) struct History {
    operations: Vec<Operation>,
    /// Operation id → position.
    places: BTreeMap<u64, usize>,
}

impl History {
    pub(crate) fn invoke(&mut self, op: u64, client: u32, request: Request, now: u64) {
        self.places.insert(op, self.operations.len());
        self.operations.push(Operation {
            id: op,
            client,
            op: request,
            invoke: now,
            ret: None,
            outcome: Outcome::Unknown,
            fast: None,
            fast_at: None,
            synced: None,
            synced_at: None,
            propose_id: None,
            applied_index: None,
        });
    }

    /// It is proposed, as this: a lease that had no name has one now.
    pub(crate) fn propose(&mut self, op: u64, id: Option<ProposeId>, request: &Request) {
        let operation = self.get_mut(op);
        operation.propose_id = id;
        if matches!(request, Request::LeaseGrant(_)) {
            operation.op = request.clone();
        }
    }

    /// What is known of it; watches and renewals are no part of the history.
    pub(crate) fn get(&self, op: u64) -> Option<&Operation> {
        self.places.get(&op).map(|&place| &self.operations[place])
    }

    pub(crate) fn get_mut(&mut self, op: u64) -> &mut Operation {
        &mut self.operations[self.places[&op]]
    }

    /// Writes down what the client said, at `now`. `waiting`: whether the caller still waits for the operation. The first answer
    /// ends it; a synced result that comes later is kept, but an outcome once unknown stays so.
    pub(crate) fn note(&mut self, notice: &Notice, now: u64, waiting: bool) {
        let synced_response =
            |synced: &Synced<Response>| SyncedResponse { header: Header { revision: synced.revision }, response: synced.response.clone() };
        match notice {
            Notice::Proposed { op, id, request, .. } => self.propose(*op, *id, request),
            Notice::Fast { op, response, .. } => {
                let operation = self.get_mut(*op);
                operation.fast = Some(response.clone());
                operation.fast_at = Some(now);
                operation.end(now, waiting);
            }
            Notice::Synced { op, synced, .. } => {
                let operation = self.get_mut(*op);
                operation.synced = Some(synced_response(synced));
                operation.synced_at = Some(now);
                operation.end(now, waiting);
            }
            Notice::Read { op, applied, synced, .. } => {
                let operation = self.get_mut(*op);
                operation.synced = Some(synced_response(synced));
                operation.synced_at = Some(now);
                operation.applied_index = Some(*applied);
                operation.end(now, waiting);
            }
            Notice::Answered { op, synced, .. } => {
                let operation = self.get_mut(*op);
                operation.synced = Some(synced_response(synced));
                operation.synced_at = Some(now);
                operation.end(now, waiting);
            }
            Notice::Invalid { op, .. } => {
                let operation = self.get_mut(*op);
                operation.outcome = Outcome::Fail;
                operation.ret = Some(now);
            }
            Notice::Lost { .. }
            | Notice::SessionOpen { .. }
            | Notice::SessionEnded { .. }
            | Notice::Retried { .. }
            | Notice::Called { .. }
            | Notice::Registered { .. }
            | Notice::Watch { .. }
            | Notice::SentKeepAlive { .. }
            | Notice::KeptAlive { .. }
            | Notice::Admin { .. } => {}
        }
    }

    pub(crate) fn operations(&self) -> &[Operation] {
        &self.operations
    }

    pub(crate) fn into_operations(self) -> Vec<Operation> {
        self.operations
    }
}

/// The first answer ends an operation for its caller, if the caller is still there.
trait End {
    fn end(&mut self, now: u64, waiting: bool);
}

impl End for Operation {
    fn end(&mut self, now: u64, waiting: bool) {
        if waiting && self.ret.is_none() {
            self.ret = Some(now);
            self.outcome = Outcome::Ok;
        }
    }
}
