//! The plan's operations. A caller runs its own one after another: it invokes, waits, and goes on when an answer comes or its
//! patience ends. What it saw is the history.

use client::Notice;
use curp::Synced;
use history::{ClientEvent, Header, Operation, Outcome, SyncedResponse};
use kv::{Bytes, KeyValue, Request, Response};
use plan::{Op, Plan};
use std::collections::BTreeMap;
use world::US;

use crate::cluster::{Cluster, Next};
use crate::hosts::Hosts;
use crate::observe::probe;

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
    /// The operation it waits for: its id.
    pub(crate) waits_for: Option<u64>,
    /// What it last observed of each key: the last pair, or none.
    seen: BTreeMap<Bytes, Option<KeyValue>>,
    /// Commands since the session began, and after how many it ends the session.
    pub(crate) session_ops: u64,
    pub(crate) session_length: u64,
}

impl Caller {
    pub(crate) fn new(address: u32, plan: &Plan, session_length: u64) -> Self {
        let ops = plan.op.iter().enumerate().filter(|(_, op)| op.client == address).map(|(i, _)| i).collect();
        Caller { address, up: false, life: 0, ops, next: 0, waits_for: None, seen: BTreeMap::new(), session_ops: 0, session_length }
    }

    /// The operation to run next.
    pub(crate) fn next_op<'p>(&self, plan: &'p Plan) -> Option<&'p Op> {
        self.ops.get(self.next).map(|&i| &plan.op[i])
    }

    /// Takes the next operation: the request it becomes, by what was last observed.
    pub(crate) fn take_op(&mut self, plan: &Plan) -> Option<(u64, Request)> {
        let op = self.next_op(plan)?;
        self.next += 1;
        let seen = op.action.compares().and_then(|key| self.seen.get(key)).and_then(Option::as_ref);
        let request = op.action.request(op.id, seen);
        self.waits_for = Some(op.id);
        Some((op.id, request))
    }

    /// Whether all its operations have ended.
    pub(crate) fn is_done(&self) -> bool {
        self.next == self.ops.len() && self.waits_for.is_none()
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

    pub(crate) fn schedule_invoke(&mut self, client: u32) {
        let caller = &self.callers[client as usize - 1];
        if let Some(op) = caller.next_op(&self.plan).filter(|_| caller.up && caller.waits_for.is_none()) {
            let at = (op.at_us * US).max(self.now);
            self.queue.push(at, Next::Invoke { client });
        }
    }

    pub(crate) fn invoke(&mut self, hosts: &mut impl Hosts, client: u32) {
        let (plan, now) = (self.plan.clone(), self.now);
        let caller = self.caller(client);
        let due = caller.next_op(&plan).is_some_and(|op| op.at_us * US <= now);
        if !due || !caller.up || caller.waits_for.is_some() {
            return;
        }
        if caller.session_ops >= caller.session_length {
            caller.session_ops = 0;
            hosts.tell_client(self, client, client::Input::EndSession);
        }
        let caller = self.caller(client);
        let Some((op, request)) = caller.take_op(&plan) else { return };
        if !matches!(request, Request::Range(_)) {
            caller.session_ops += 1;
        }
        self.history.invoke(op, client, request.clone(), now);
        self.queue.push(now + plan.workload.patience_us * US, Next::Patience { client, op });
        hosts.tell_client(self, client, client::Input::Invoke { op, request });
    }

    pub(crate) fn lose_patience(&mut self, hosts: &mut impl Hosts, client: u32, op: u64) {
        if self.caller(client).waits_for == Some(op) && self.caller(client).up {
            self.give_up(client, op);
            hosts.tell_client(self, client, client::Input::Abandon { op });
            self.schedule_invoke(client);
        }
    }

    /// The operation's outcome is unknown to its caller from here on.
    pub(crate) fn give_up(&mut self, client: u32, op: u64) {
        self.caller(client).waits_for = None;
        self.observer.client(client, ClientEvent::GiveUp { op });
        self.observer.fire(const { probe("unknown_outcome") }, None);
    }

    /// The caller's operation has ended: on to the next.
    pub(crate) fn operation_ended(&mut self, client: u32, op: u64) {
        if self.caller(client).waits_for == Some(op) {
            self.caller(client).waits_for = None;
            self.schedule_invoke(client);
        }
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

    pub(crate) fn get(&self, op: u64) -> &Operation {
        &self.operations[self.places[&op]]
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
            Notice::Proposed { op, id, .. } => self.get_mut(*op).propose_id = *id,
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
