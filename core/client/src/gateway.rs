//! The way in for clients of etcd's API, sans-IO: a native client that lives in a node's process and does for them what they know nothing
//! of: sessions, ids, rounds, retries, finding the leader.
//!
//! What stays true: a call is answered at most once, and with a *synced* result only. A command is never asked for under a second id. What is
//! not answered in time is `Unknown` to its caller, unless it was never asked for, and the client inside pursues it all the same: only so
//! may the session forget it. A lease without a name has one before the command is recorded anywhere.
//!
//! It dies with its node, and nobody ends its session. What it had proposed by then is committed, or waits in pools until it is handed over.

use std::collections::BTreeMap;

use curp::{AdminDone, AdminRefusal, CallError, ClientAddress, Index, Message, Nanos, NodeId, Reply, Synced};
use kv::{LEASE_NONE, Request, Response, WatchCreateRequest, WatchResponse, made_lease_id};

use crate::{AdminWish, Client, Input, Notice, Output};

/// Times and limits of a gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayConfig {
    /// How long a call is waited for.
    pub patience: Nanos,
    /// Calls waited for at a time; more are refused. Commands are refused as well while so many are pursued, be they waited for or not.
    pub calls_max: usize,
}

/// What can happen to a gateway. `K` is what the driver knows a call by.
#[derive(Debug)]
pub enum GatewayInput<K> {
    /// Time passed; due at [`Gateway::next_due`].
    Tick,
    /// A node's reply to the client inside.
    Message {
        /// The node.
        from: NodeId,
        /// What it says.
        reply: Reply<Request>,
    },
    /// Someone wants this done.
    Call {
        /// Who.
        caller: K,
        /// What.
        request: Request,
    },
    /// Someone wants this done with the cluster itself.
    Operate {
        /// Who.
        caller: K,
        /// The node asked, for what any node can do; `None`: the leader.
        node: Option<NodeId>,
        /// What.
        wish: AdminWish,
    },
    /// Someone watches. One response at a time, as of the client's [`Input::Watch`].
    Watch {
        /// The driver's number for it, which it never uses twice.
        watch: u64,
        /// What.
        request: WatchCreateRequest,
        /// The node to begin with.
        node: NodeId,
    },
    /// The watcher is ready for the next response.
    WatchNext {
        /// Which.
        watch: u64,
    },
    /// The watcher wants to know how far it is.
    WatchProgress {
        /// Which.
        watch: u64,
    },
    /// The watcher has gone.
    EndWatch {
        /// Which.
        watch: u64,
    },
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The synced result of a request.
    Synced(Synced<Response>),
    /// The result of a read.
    Read {
        /// What the node that served it had applied: all that was committed when it was asked for.
        applied: Index,
        /// The result.
        synced: Synced<Response>,
    },
    /// What came of a wish.
    Operated(Result<AdminDone, AdminRefusal>),
}

/// What a gateway wants done, in order.
#[derive(Debug)]
pub struct GatewayOutput<K> {
    /// To be sent, in the name of the client inside.
    pub messages: Vec<(NodeId, Message<Request>)>,
    /// Calls that ended.
    pub answers: Vec<(K, Result<Outcome, CallError>)>,
    /// What watchers are told.
    pub watches: Vec<(u64, WatchResponse)>,
    /// What the client inside did, and for which call; for those who watch.
    pub notices: Vec<(Option<K>, Notice)>,
}

impl<K> Default for GatewayOutput<K> {
    fn default() -> Self {
        GatewayOutput { messages: Vec::new(), answers: Vec::new(), watches: Vec::new(), notices: Vec::new() }
    }
}

/// A call under way.
#[derive(Debug)]
struct Call<K> {
    caller: K,
    /// When it is no longer waited for; `None`: it is not any more, and is here only because the client pursues it.
    until: Option<Nanos>,
    /// Whether the client pursues it though nobody waits.
    pursued: bool,
}

/// Where the client in a node's gateway is reached: no other client has such an address.
pub fn gateway_address(node: NodeId) -> ClientAddress {
    GATEWAYS | node
}

/// The node whose gateway this is, if it is one.
pub fn gateway_node(address: ClientAddress) -> Option<NodeId> {
    (address & GATEWAYS != 0).then_some(address & !GATEWAYS)
}

const GATEWAYS: ClientAddress = 1 << 31;

/// Operations of the client from here on are watchers.
const WATCHES: u64 = 1 << 63;

/// The gateway of a node.
#[derive(Debug)]
pub struct Gateway<K> {
    client: Client,
    patience: Nanos,
    calls_max: usize,
    /// By the client's number.
    calls: BTreeMap<u64, Call<K>>,
    last_op: u64,
    entropy: u64,
    leases: u64,
    spare: Output,
}

impl<K: Clone> Gateway<K> {
    /// The gateway of this node, around this client, which nobody else uses. `entropy` must differ from gateway to gateway and life to life:
    /// leases are named after it.
    pub fn new(node: NodeId, mut client: Client, config: GatewayConfig, entropy: u64) -> Self {
        let GatewayConfig { patience, calls_max } = config;
        // Should all that the client was told of be gone, the node will know who has come.
        client.nodes.entry(node).or_default();
        client.no_waiting_for_learners = true;
        client.home = Some(node);
        Gateway { client, patience, calls_max, calls: BTreeMap::new(), last_op: 0, entropy, leases: 0, spare: Output::default() }
    }

    /// Handles one input at the node's clock reading `now`.
    pub fn handle(&mut self, now: Nanos, input: GatewayInput<K>, out: &mut GatewayOutput<K>) {
        let input = match input {
            GatewayInput::Tick => Input::Tick,
            GatewayInput::Message { from, reply } => Input::Message { from, reply },
            GatewayInput::Call { caller, request } => {
                let request = self.named(request);
                let Some(op) = self.begin(caller, request.is_write() || matches!(request, Request::Txn(_)), now, out) else { return };
                Input::Invoke { op, request }
            }
            GatewayInput::Operate { caller, node, wish } => {
                let Some(op) = self.begin(caller, false, now, out) else { return };
                Input::Admin { op, node, wish }
            }
            GatewayInput::Watch { watch, request, node } => Input::Watch { op: WATCHES | watch, request, node: Some(node) },
            GatewayInput::WatchNext { watch } => Input::WatchNext { op: WATCHES | watch },
            GatewayInput::WatchProgress { watch } => Input::WatchProgress { op: WATCHES | watch },
            GatewayInput::EndWatch { watch } => Input::EndWatch { op: WATCHES | watch },
        };
        self.give(now, input, out);
        self.end_patience(now, out);
    }

    /// When it next wants a tick; `None` while nothing is under way.
    pub fn next_due(&self) -> Option<Nanos> {
        self.calls.values().filter_map(|call| call.until).chain(self.client.next_due()).min()
    }

    /// The client inside.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Whether nothing is under way, in front of a caller or behind.
    pub fn is_idle(&self) -> bool {
        self.client.is_idle()
    }

    /// A number for a call, unless there are too many.
    fn begin(&mut self, caller: K, pursued: bool, now: Nanos, out: &mut GatewayOutput<K>) -> Option<u64> {
        let waited_for = self.calls.values().filter(|call| call.until.is_some()).count();
        if waited_for >= self.calls_max || pursued && self.calls.len() >= self.calls_max {
            out.answers.push((caller, Err(CallError::Unavailable)));
            return None;
        }
        self.last_op += 1;
        self.calls.insert(self.last_op, Call { caller, until: Some(now + self.patience), pursued });
        Some(self.last_op)
    }

    /// A lease that is to be named by the server is named here, once and for all tries.
    fn named(&mut self, mut request: Request) -> Request {
        if let Request::LeaseGrant(grant) = &mut request
            && grant.id == LEASE_NONE
        {
            self.leases += 1;
            grant.id = made_lease_id(self.entropy, self.leases);
        }
        request
    }

    fn give(&mut self, now: Nanos, input: Input, out: &mut GatewayOutput<K>) {
        let mut spare = std::mem::take(&mut self.spare);
        self.client.handle(now, input, &mut spare);
        out.messages.append(&mut spare.messages);
        for notice in spare.notices.drain(..) {
            self.note(notice, out);
        }
        self.spare = spare;
    }

    fn note(&mut self, notice: Notice, out: &mut GatewayOutput<K>) {
        let (op, result) = match &notice {
            Notice::Synced { op, synced, .. } => (*op, Some(Ok(Outcome::Synced(synced.clone())))),
            Notice::Read { op, applied, synced, .. } => (*op, Some(Ok(Outcome::Read { applied: *applied, synced: synced.clone() }))),
            Notice::Admin { op, result } => (*op, Some(Ok(Outcome::Operated(result.clone())))),
            Notice::Invalid { op, error } => (*op, Some(Err(CallError::Invalid(error.clone())))),
            Notice::Lost { op } => (*op, Some(Err(CallError::Unknown))),
            // An early result is kept to itself: it has no revision.
            Notice::Proposed { op, .. } | Notice::Retried { op } | Notice::Fast { op, .. } => (*op, None),
            Notice::Watch { op, response, .. } => return out.watches.push((*op & !WATCHES, response.clone())),
            Notice::SessionOpen { .. } => return out.notices.push((None, notice)),
            Notice::SessionEnded { .. }
            | Notice::Called { .. }
            | Notice::Answered { .. }
            | Notice::Registered { .. }
            | Notice::SentKeepAlive { .. }
            | Notice::KeptAlive { .. } => return,
        };
        let Some(call) = self.calls.get(&op) else { return };
        let (caller, waits) = (call.caller.clone(), call.until.is_some());
        out.notices.push((Some(caller.clone()), notice));
        if let Some(result) = result {
            self.calls.remove(&op);
            if waits {
                out.answers.push((caller, result));
            }
        }
    }

    /// Calls that were waited for long enough.
    fn end_patience(&mut self, now: Nanos, out: &mut GatewayOutput<K>) {
        let late: Vec<u64> =
            self.calls.iter().filter(|(_, call)| call.until.is_some_and(|until| now >= until)).map(|(op, _)| *op).collect();
        for op in late {
            if let Some(call) = self.calls.get_mut(&op) {
                call.until = None;
                out.answers.push((call.caller.clone(), Err(CallError::Unknown)));
                if !call.pursued {
                    self.calls.remove(&op);
                }
            }
            self.give(now, Input::Abandon { op }, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use curp::{Leadership, Membership, ProposeId, Request as Ask};
    use kv::{LeaseGrantRequest, PutRequest, RangeRequest};

    const MS: Nanos = 1_000_000;

    fn gateway() -> Gateway<u32> {
        let config = Config { retry_after_min: 10 * MS, retry_after_max: 100 * MS };
        let client = Client::new(9, 0, config, Membership::initial([1, 2, 3]), 5);
        Gateway::new(9, client, GatewayConfig { patience: 1_000 * MS, calls_max: 2 }, 5)
    }

    fn call(gateway: &mut Gateway<u32>, now: Nanos, caller: u32, request: Request) -> GatewayOutput<u32> {
        step(gateway, now, GatewayInput::Call { caller, request })
    }

    fn step(gateway: &mut Gateway<u32>, now: Nanos, input: GatewayInput<u32>) -> GatewayOutput<u32> {
        let mut out = GatewayOutput::default();
        gateway.handle(now, input, &mut out);
        out
    }

    fn reply(gateway: &mut Gateway<u32>, now: Nanos, reply: Reply<Request>) -> GatewayOutput<u32> {
        step(gateway, now, GatewayInput::Message { from: 1, reply })
    }

    fn put() -> Request {
        Request::Put(PutRequest { key: "k".into(), value: "v".into(), ..PutRequest::default() })
    }

    /// A gateway that knows its leader and has a session with a call for each of `requests` proposed.
    fn proposed(requests: Vec<Request>) -> (Gateway<u32>, Vec<Request>) {
        let mut gateway = gateway();
        for (request, caller) in requests.into_iter().zip(1..) {
            call(&mut gateway, 0, caller, request);
        }
        let leadership = Leadership { term: 1, leader: Some(1) };
        let out = reply(&mut gateway, MS, Reply::Cluster { leadership, membership: Membership::initial([1, 2, 3]) });
        let nonce = out.messages.iter().find_map(|(_, message)| match message {
            Message::Request(Ask::BeginSession { nonce }) => Some(*nonce),
            _ => None,
        });
        let nonce = match nonce {
            Some(nonce) => nonce,
            None => step(&mut gateway, 50 * MS, GatewayInput::Tick)
                .messages
                .iter()
                .find_map(|(_, message)| match message {
                    Message::Request(Ask::BeginSession { nonce }) => Some(*nonce),
                    _ => None,
                })
                .expect("a session is begun"),
        };
        let out = reply(&mut gateway, 60 * MS, Reply::SessionBegun { nonce, client: 7 });
        let asked = out.messages.iter().filter_map(|(_, message)| match message {
            Message::Request(Ask::Propose { proposal }) => Some((*proposal.command).clone()),
            _ => None,
        });
        let asked = asked.collect();
        (gateway, asked)
    }

    fn synced(seq: u64, response: Response) -> Reply<Request> {
        Reply::Synced { id: ProposeId { client: 7, seq }, synced: Synced { revision: 2, response } }
    }

    #[test]
    fn a_fast_result_is_not_an_answer() {
        let (mut gateway, _) = proposed(vec![put()]);
        let id = ProposeId { client: 7, seq: 1 };
        let response = Response::Put { prev_kv: None };
        let config = Membership::initial([1, 2, 3]).version;
        let mut answers = reply(&mut gateway, 70 * MS, Reply::Executed { id, term: 1, config, response: response.clone() }).answers;
        for node in [2, 3] {
            let recorded = Reply::Recorded { id, term: 1, config, accepted: true, current: 1 };
            let out = step(&mut gateway, 70 * MS, GatewayInput::Message { from: node, reply: recorded });
            assert_eq!(out.notices.iter().any(|(_, notice)| matches!(notice, Notice::Fast { .. })), node == 3);
            answers.extend(out.answers);
        }
        assert_eq!(answers, []);
        let out = reply(&mut gateway, 80 * MS, synced(1, response.clone()));
        assert_eq!(out.answers, [(1, Ok(Outcome::Synced(Synced { revision: 2, response: response.clone() })))]);
        assert_eq!(reply(&mut gateway, 80 * MS, synced(1, response)).answers, [], "and only once");
    }

    #[test]
    fn a_learner_that_lags_is_not_waited_for() {
        let mut gateway = gateway();
        let leadership = Leadership { term: 1, leader: Some(1) };
        reply(&mut gateway, MS, Reply::Cluster { leadership, membership: Membership::initial([1, 2, 3]) });
        let wish = AdminWish::Change(curp::ConfigChange::Promote { node: 4 });
        let out = step(&mut gateway, 2 * MS, GatewayInput::Operate { caller: 1, node: None, wish });
        let nonce = out.messages.iter().find_map(|(_, message)| match message {
            Message::Request(Ask::Admin { nonce, .. }) => Some(*nonce),
            _ => None,
        });
        let lags = Reply::Admin { nonce: nonce.expect("it is asked for"), result: Err(AdminRefusal::NotCaughtUp) };
        let out = reply(&mut gateway, 3 * MS, lags);
        assert_eq!(out.answers, [(1, Ok(Outcome::Operated(Err(AdminRefusal::NotCaughtUp))))]);
    }

    #[test]
    fn patience_ends_and_the_command_goes_on() {
        let (mut gateway, _) = proposed(vec![put()]);
        let out = step(&mut gateway, 1_000 * MS, GatewayInput::Tick);
        assert_eq!(out.answers, [(1, Err(CallError::Unknown))]);
        let again = step(&mut gateway, 2_000 * MS, GatewayInput::Tick);
        let same = |(_, message): &(NodeId, Message<Request>)| matches!(message, Message::Request(Ask::Propose { proposal }) if proposal.id == ProposeId { client: 7, seq: 1 });
        assert!(again.messages.iter().any(same), "under the id it had: {:?}", again.messages);
        let out = reply(&mut gateway, 2_001 * MS, synced(1, Response::Put { prev_kv: None }));
        assert_eq!((out.answers, out.notices.len(), gateway.is_idle()), (vec![], 1, true), "nobody waits, and it is done");
    }

    /// As at a member of etcd: what it is asked twice it does not answer with an older state the second time.
    #[test]
    fn what_any_node_may_answer_its_own_does() {
        let local = || Request::Range(RangeRequest { key: "k".into(), serializable: true, ..RangeRequest::default() });
        let reads = |out: &GatewayOutput<u32>| -> Vec<NodeId> {
            let read = |(to, message): &(NodeId, Message<Request>)| matches!(message, Message::Request(Ask::Read { .. })).then_some(*to);
            out.messages.iter().filter_map(read).collect()
        };
        for entropy in 0..20 {
            let config = Config { retry_after_min: 10 * MS, retry_after_max: 100 * MS };
            let client = Client::new(2, 0, config, Membership::initial([1, 2, 3]), entropy);
            let mut gateway = Gateway::new(2, client, GatewayConfig { patience: 9_000 * MS, calls_max: 2 }, entropy);
            assert_eq!(reads(&call(&mut gateway, 0, 1, local())), [2]);
            let mut others: Vec<NodeId> = (1..40).flat_map(|i| reads(&step(&mut gateway, 100 * i * MS, GatewayInput::Tick))).collect();
            others.sort_unstable();
            others.dedup();
            assert_eq!(others, [1, 2, 3], "unless it does not answer");
        }
    }

    #[test]
    fn a_lease_has_its_name_before_it_is_asked_for() {
        let grant = |id| Request::LeaseGrant(LeaseGrantRequest { ttl: 5, id });
        let (_, asked) = proposed(vec![grant(0), grant(0)]);
        let [Request::LeaseGrant(a), Request::LeaseGrant(b)] = &asked[..] else { panic!("{asked:?}") };
        assert!(a.id > 0 && b.id > 0 && a.id != b.id);
        let (_, asked) = proposed(vec![grant(77)]);
        assert_eq!(asked, [grant(77)]);
    }

    #[test]
    fn what_no_node_would_take_and_what_is_too_much_is_refused_at_once() {
        let mut gateway = gateway();
        let empty = Request::Range(RangeRequest::default());
        let words = kv::Error::EmptyKey.message().to_owned();
        assert_eq!(call(&mut gateway, 0, 4, empty).answers, [(4, Err(CallError::Invalid(words)))]);
        for caller in [5, 6] {
            assert_eq!(call(&mut gateway, 0, caller, put()).answers, []);
        }
        assert_eq!(call(&mut gateway, 0, 7, put()).answers, [(7, Err(CallError::Unavailable))]);
        // Nobody waits for those two any more, but they are pursued: that leaves room for what ends with its caller's patience.
        step(&mut gateway, 1_000 * MS, GatewayInput::Tick);
        assert_eq!(call(&mut gateway, 1_000 * MS, 8, put()).answers, [(8, Err(CallError::Unavailable))]);
        let get = Request::Range(RangeRequest { key: "k".into(), ..RangeRequest::default() });
        assert_eq!(call(&mut gateway, 1_000 * MS, 9, get).answers, []);
    }
}
