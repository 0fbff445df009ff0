//! The second way in: clients of etcd's API call a node, and the node's gateway, a native client in its process, does for them what they
//! ask for. What it does is written down as theirs, so that the checks see one operation with one id: they know sessions and ids, not who keeps
//! them. When an operation is answered is what its own client saw.

use client::{Gateway, GatewayConfig, Notice, Outcome, gateway_address};
use curp::{Address, CallError, Message, NodeId, ReadId, Request as Ask, Synced};
use history::ClientEvent;
use kv::{LeaseId, Request, Response};
use server::rpc::keep_alive_name;
use std::collections::BTreeMap;

use crate::cluster::{Birth, Cluster};
use crate::observe::probe;

/// Calls that wait at a gateway at a time.
const CALLS_MAX: usize = 64;

/// Who called, by what name of the try.
pub(crate) type CallName = (u32, u64);

/// The calls of a run.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    calls: BTreeMap<CallName, Call>,
    keep_alives: BTreeMap<CallName, KeepAlive>,
}

/// A keep-alive of a stream, which each try of it calls a gateway for. Each gateway asks for it by a name of its own.
#[derive(Debug)]
struct KeepAlive {
    op: u64,
    lease: LeaseId,
    /// By gateway and the gateway's own number for it.
    asked: BTreeMap<(NodeId, u64), ReadId>,
    /// A name under which it was answered.
    answered: Option<ReadId>,
}

/// A call.
#[derive(Debug)]
struct Call {
    /// The operation that it is a try of.
    op: u64,
    /// Applied index at which it was served, if it is a read that was.
    applied: Option<u64>,
    /// The gateway has completed a fast round for it, and kept that to itself.
    fast: bool,
}

/// What came of a call, as it is said in a message.
pub(crate) fn call_result(answer: Result<Outcome, CallError>) -> Result<Synced<Response>, CallError> {
    match answer? {
        Outcome::Synced(synced) | Outcome::Read { synced, .. } => Ok(synced),
        // Nobody calls for that.
        Outcome::Operated(_) => Err(CallError::Unknown),
    }
}

impl Cluster {
    /// Whether nodes have gateways in this run.
    pub(crate) fn has_gateways(&self) -> bool {
        self.plan.workload.etcd_clients > 0
    }

    /// The gateway of a node that begins a life. It gives up a little before its callers do, now and then.
    pub(crate) fn gateway<K: Clone>(&self, id: NodeId, birth: &Birth) -> Gateway<K> {
        let (config, membership) = (self.client_config.clone(), self.members.committed.clone());
        let patience = config.retry_after_max / 4 * 3;
        let entropy = curp::splitmix64(birth.entropy);
        let client = client::Client::new(gateway_address(id), birth.life, config, membership, entropy);
        Gateway::new(id, client, GatewayConfig { patience, calls_max: CALLS_MAX }, entropy)
    }

    /// A message that goes over a connection: to which node, in which life of it.
    pub(crate) fn connection(&mut self, to: Address, message: &Message<Request>) -> Option<(NodeId, u32)> {
        match (to, message) {
            (Address::Node(to), Message::Request(Ask::Call { .. })) => Some((to, self.process(to).life)),
            _ => None,
        }
    }

    /// A client calls a node for an operation.
    pub(crate) fn note_call(&mut self, client: u32, op: u64, nonce: u64) {
        self.calls.calls.insert((client, nonce), Call { op, applied: None, fast: false });
        self.observer.fire(const { probe("call_sent") }, None);
    }

    /// A client has the answer to a call. Of several tries of a read, this is the one that counts.
    pub(crate) fn note_answer(&mut self, client: u32, nonce: u64, synced: Synced<Response>) {
        self.observer.fire(const { probe("call_answered") }, None);
        let Some(&Call { op, applied: Some(applied), .. }) = self.calls.calls.get(&(client, nonce)) else { return };
        self.history.get_mut(op).applied_index = Some(applied);
        self.observer.client(client, ClientEvent::ReadComplete { op, applied, synced });
    }

    /// A client's stream has sent a keep-alive. Where it goes through gateways, it is written down as they ask for it.
    pub(crate) fn note_sent_keep_alive(&mut self, client: u32, op: u64, lease: LeaseId, read: ReadId) {
        if self.etcd_services && self.plan.workload.is_etcd(client) {
            self.calls.keep_alives.insert(keep_alive_name(read), KeepAlive { op, lease, asked: BTreeMap::new(), answered: None });
        } else {
            self.observer.client(client, ClientEvent::SendKeepAlive { op, lease, read });
        }
    }

    /// The name under which the nodes know a keep-alive that is answered.
    pub(crate) fn answered_keep_alive(&self, read: ReadId) -> ReadId {
        self.calls.keep_alives.get(&keep_alive_name(read)).and_then(|keep| keep.answered).unwrap_or(read)
    }

    /// Writes what a gateway did for a call into the trace, as its client's.
    pub(crate) fn note_gateway_notice(&mut self, node: NodeId, call: Option<CallName>, notice: Notice) {
        let Some(call) = call else {
            if let Notice::SessionOpen { session } = notice {
                self.observer.client(gateway_address(node), ClientEvent::SessionOpen { session });
                self.observer.fire(const { probe("session_begun") }, None);
            }
            return;
        };
        let client = call.0;
        if let Some(keep) = self.calls.keep_alives.get_mut(&call) {
            match notice {
                Notice::Proposed { op: asked, read: Some(read), .. } => {
                    keep.asked.insert((node, asked), read);
                    let (op, lease) = (keep.op, keep.lease);
                    self.observer.client(client, ClientEvent::SendKeepAlive { op, lease, read });
                }
                Notice::Read { op: asked, .. } if keep.answered.is_none() => keep.answered = keep.asked.get(&(node, asked)).copied(),
                _ => {}
            }
            return;
        }
        let Some(call) = self.calls.calls.get_mut(&call) else { return };
        let op = call.op;
        let event = match notice {
            Notice::Proposed { id, first_incomplete, read, request, .. } => {
                self.history.propose(op, id, &request);
                self.observer.fire(const { probe("call_proposed") }, Some(node));
                ClientEvent::Propose { op, id, first_incomplete, read, request }
            }
            Notice::Retried { .. } => return self.observer.fire(const { probe("retry_sent") }, None),
            Notice::Fast { id, term, config, nodes, response, .. } => {
                call.fast = true;
                self.observer.fire(const { probe("fast_round_completed") }, self.leader.map(|(_, leader)| leader));
                ClientEvent::FastComplete { op, id, term, config, nodes, response }
            }
            Notice::Synced { id, synced, .. } => {
                self.observer.fire(const { probe("synced_completed") }, None);
                if call.fast {
                    self.observer.fire(const { probe("fast_then_synced") }, None);
                }
                ClientEvent::SyncedComplete { op, id, synced }
            }
            Notice::Read { applied, .. } => {
                call.applied = Some(applied);
                return;
            }
            _ => return,
        };
        self.observer.client(client, event);
    }
}
