//! A client of etcd's API, sans-IO: it knows nodes that serve it, and nothing of sessions, ids and rounds. Each request is one call to some
//! node, whose [gateway](crate::Gateway) has it done.
//!
//! It takes the same inputs as [`Client`] and gives the same notices, so that a driver may have either. It differs in what it can know: there is
//! one answer, the synced one ([`Notice::Answered`]), and a write whose call was not answered in time is [`Notice::Lost`], since repeating it could
//! do it twice. Reads are asked for again, elsewhere.
//!
//! Watches, and streams of keep-alives, are read-only questions that any node can be asked: a native client inside asks them. It never has a
//! session.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use curp::{CallError, ClientAddress, Membership, Message, Nanos, NodeId, Reply, Request as Ask};
use kv::{LEASE_NONE, Request};

use crate::{Client, Config, Input, Notice, Output};

/// A call under way.
#[derive(Debug)]
struct Call {
    op: u64,
    request: Arc<Request>,
    node: NodeId,
    /// When it is given up, or asked for elsewhere.
    due: Nanos,
    tries: u32,
    /// Someone may have taken it, or may yet.
    asked: bool,
}

/// One client of etcd's API.
#[derive(Debug)]
pub struct EtcdCaller {
    client: Client,
    /// A call is waited for so long.
    call_max: Nanos,
    /// By nonce, which is used for one try.
    calls: BTreeMap<u64, Call>,
    last_nonce: u64,
    /// The node that answered last: it is asked first.
    endpoint: Option<NodeId>,
    /// Nodes that did not answer when they were last asked: others are asked before them. By chance alone a client may ask the same one, long
    /// gone, for as long as one likes.
    doubted: BTreeSet<NodeId>,
}

impl EtcdCaller {
    /// A client that is reached at `address` and knows the members; `life` and `entropy` as for [`Client::new`]. It waits for a call for as long
    /// as a native client may let pass between two tries.
    pub fn new(address: ClientAddress, life: u32, config: Config, membership: Membership, entropy: u64) -> Self {
        let call_max = config.retry_after_max;
        let client = Client::new(address, life, config, membership, entropy);
        let last_nonce = u64::from(life) << 32;
        EtcdCaller { client, call_max, calls: BTreeMap::new(), last_nonce, endpoint: None, doubted: BTreeSet::new() }
    }

    /// Handles one input at the client's clock reading `now`.
    pub fn handle(&mut self, now: Nanos, input: Input, out: &mut Output) {
        match input {
            Input::Invoke { op, request } => self.invoke(op, request, now, out),
            Input::Message { from, reply: Reply::Answer { nonce, result } } => {
                let Some(call) = self.calls.remove(&nonce) else { return };
                match result {
                    Ok(synced) => {
                        self.endpoint = Some(from);
                        self.doubted.remove(&from);
                        out.notices.push(Notice::Answered { op: call.op, node: from, nonce, synced });
                    }
                    Err(CallError::Invalid(error)) => out.notices.push(Notice::Invalid { op: call.op, error }),
                    // It was not proposed: to ask again cannot do it twice.
                    Err(CallError::Unavailable) => self.again_later(call, now),
                    Err(CallError::Unknown) => self.unknown(call, now, out),
                }
            }
            Input::Abandon { op } => {
                for (_, call) in self.calls.extract_if(.., |_, call| call.op == op).collect::<Vec<_>>() {
                    self.doubt(call.node, out);
                }
            }
            Input::Tick => {
                self.run_timers(now, out);
                self.client.handle(now, Input::Tick, out);
            }
            // It has none.
            Input::EndSession => {}
            other => self.client.handle(now, other, out),
        }
    }

    /// When it next wants a tick; `None` while nothing is under way.
    pub fn next_due(&self) -> Option<Nanos> {
        self.calls.values().map(|call| call.due).chain(self.client.next_due()).min()
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.calls.is_empty() && self.client.is_idle()
    }

    fn invoke(&mut self, op: u64, request: Request, now: Nanos, out: &mut Output) {
        // A lease without a name is given one by the gateway.
        let unnamed = matches!(&request, Request::LeaseGrant(grant) if grant.id == LEASE_NONE);
        if let Err(error) = request.validate()
            && !unnamed
        {
            return out.notices.push(Notice::Invalid { op, error });
        }
        let node = self.endpoint.unwrap_or_else(|| self.any_node(None));
        self.ask(Call { op, request: Arc::new(request), node, due: now, tries: 0, asked: false }, now, out);
    }

    fn ask(&mut self, mut call: Call, now: Nanos, out: &mut Output) {
        self.last_nonce += 1;
        (call.due, call.asked) = (now + self.call_max, true);
        call.tries += 1;
        out.notices.push(Notice::Called { op: call.op, node: call.node, nonce: self.last_nonce });
        if call.tries > 1 {
            out.notices.push(Notice::Retried { op: call.op });
        }
        let ask = Ask::Call { nonce: self.last_nonce, command: call.request.clone() };
        out.messages.push((call.node, Message::Request(ask)));
        self.calls.insert(self.last_nonce, call);
    }

    /// A try that nobody took: the next one a little later, elsewhere.
    fn again_later(&mut self, call: Call, now: Nanos) {
        self.last_nonce += 1;
        let node = self.any_node(Some(call.node));
        let later = Call { node, due: now + self.call_max / 4, asked: false, ..call };
        self.calls.insert(self.last_nonce, later);
    }

    /// A try that may have been taken.
    fn unknown(&mut self, call: Call, now: Nanos, out: &mut Output) {
        self.doubt(call.node, out);
        // A txn that only reads is in the log, too: there it would be twice.
        if matches!(*call.request, Request::Range(_)) || call.request.is_leaders() {
            let node = self.any_node(Some(call.node));
            self.ask(Call { node, ..call }, now, out);
        } else {
            out.notices.push(Notice::Lost { op: call.op });
        }
    }

    fn run_timers(&mut self, now: Nanos, out: &mut Output) {
        let due: Vec<u64> = self.calls.iter().filter(|(_, call)| now >= call.due).map(|(nonce, _)| *nonce).collect();
        for nonce in due {
            let Some(call) = self.calls.remove(&nonce) else { continue };
            if call.asked {
                self.unknown(call, now, out);
            } else {
                self.ask(call, now, out);
            }
        }
    }

    /// A node did not answer in time: it may be gone, and others may know who is there by now.
    fn doubt(&mut self, node: NodeId, out: &mut Output) {
        self.endpoint = self.endpoint.filter(|endpoint| *endpoint != node);
        self.doubted.insert(node);
        let other = self.undoubted(Some(node)).unwrap_or_else(|| self.client.any_node());
        out.messages.push((other, Message::Request(Ask::FetchCluster)));
    }

    /// A node drawn, another than `not` if there is one. When all are doubted, doubt begins anew.
    fn any_node(&mut self, not: Option<NodeId>) -> NodeId {
        let found = self.undoubted(not).or_else(|| {
            self.doubted.clear();
            self.undoubted(not)
        });
        found.unwrap_or_else(|| self.client.any_node())
    }

    fn undoubted(&mut self, not: Option<NodeId>) -> Option<NodeId> {
        self.client.draw_node(|node| Some(node) != not && !self.doubted.contains(&node))
    }
}

/// A client of either kind.
#[derive(Debug)]
pub enum AnyClient {
    /// A native one.
    Native(Box<Client>),
    /// One of etcd's API.
    Etcd(Box<EtcdCaller>),
}

impl AnyClient {
    /// Handles one input at the client's clock reading `now`.
    pub fn handle(&mut self, now: Nanos, input: Input, out: &mut Output) {
        match self {
            AnyClient::Native(client) => client.handle(now, input, out),
            AnyClient::Etcd(caller) => caller.handle(now, input, out),
        }
    }

    /// When it next wants a tick; `None` while nothing is under way.
    pub fn next_due(&self) -> Option<Nanos> {
        match self {
            AnyClient::Native(client) => client.next_due(),
            AnyClient::Etcd(caller) => caller.next_due(),
        }
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        match self {
            AnyClient::Native(client) => client.is_idle(),
            AnyClient::Etcd(caller) => caller.is_idle(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use curp::Synced;
    use kv::{LeaseGrantRequest, PutRequest, RangeRequest, Response};

    const MS: Nanos = 1_000_000;

    fn caller() -> EtcdCaller {
        let config = Config { retry_after_min: 10 * MS, retry_after_max: 100 * MS };
        EtcdCaller::new(4, 2, config, Membership::initial([1, 2, 3]), 5)
    }

    fn step(caller: &mut EtcdCaller, now: Nanos, input: Input) -> Output {
        let mut out = Output::default();
        caller.handle(now, input, &mut out);
        out
    }

    fn invoke(caller: &mut EtcdCaller, request: Request) -> Output {
        step(caller, 0, Input::Invoke { op: 8, request })
    }

    /// The one call in it.
    fn asked(out: &Output) -> (NodeId, u64) {
        let call = |(node, message): &(NodeId, Message<Request>)| match message {
            Message::Request(Ask::Call { nonce, .. }) => Some((*node, *nonce)),
            _ => None,
        };
        let calls: Vec<_> = out.messages.iter().filter_map(call).collect();
        assert_eq!(calls.len(), 1, "{:?}", out.messages);
        calls[0]
    }

    fn put() -> Request {
        Request::Put(PutRequest { key: "k".into(), ..PutRequest::default() })
    }

    fn get() -> Request {
        Request::Range(RangeRequest { key: "k".into(), ..RangeRequest::default() })
    }

    fn answer(from: NodeId, nonce: u64, result: Result<Synced<Response>, CallError>) -> Input {
        Input::Message { from, reply: Reply::Answer { nonce, result } }
    }

    #[test]
    fn a_write_is_asked_for_once_and_is_lost_when_nobody_answers() {
        let mut caller = caller();
        let (node, nonce) = asked(&invoke(&mut caller, put()));
        assert_eq!(caller.next_due(), Some(100 * MS));
        let out = step(&mut caller, 100 * MS, Input::Tick);
        assert_eq!(out.notices, [Notice::Lost { op: 8 }]);
        assert!(matches!(out.messages[..], [(_, Message::Request(Ask::FetchCluster))]), "{:?}", out.messages);
        let late = Ok(Synced { revision: 2, response: Response::Put { prev_kv: None } });
        assert_eq!(step(&mut caller, 101 * MS, answer(node, nonce, late)).notices, []);
        assert!(caller.is_idle());
    }

    #[test]
    fn a_read_is_asked_for_elsewhere_under_another_nonce() {
        let mut caller = caller();
        let first = asked(&invoke(&mut caller, get()));
        let out = step(&mut caller, 100 * MS, Input::Tick);
        let second = asked(&out);
        assert_eq!(out.notices, [Notice::Called { op: 8, node: second.0, nonce: second.1 }, Notice::Retried { op: 8 }]);
        assert!(first.0 != second.0 && first.1 != second.1);
        let third = asked(&step(&mut caller, 110 * MS, answer(second.0, second.1, Err(CallError::Unknown))));
        let synced = Synced { revision: 2, response: Response::Range { kvs: vec![], count: 0, more: false } };
        let out = step(&mut caller, 120 * MS, answer(third.0, third.1, Ok(synced.clone())));
        assert_eq!(out.notices, [Notice::Answered { op: 8, node: third.0, nonce: third.1, synced }]);
    }

    #[test]
    fn who_did_not_answer_is_asked_after_all_others() {
        let mut caller = caller();
        // Four has left: it is known still, and drawn at times.
        caller.client.nodes.entry(4).or_default();
        for _ in 0..20 {
            let mut asked_in_turn: Vec<NodeId> = Vec::new();
            for _ in 0..4 {
                let (node, _) = asked(&invoke(&mut caller, put()));
                step(&mut caller, 0, Input::Abandon { op: 8 });
                asked_in_turn.push(node);
            }
            asked_in_turn.sort_unstable();
            assert_eq!(asked_in_turn, [1, 2, 3, 4]);
        }
        // One that answers stays the first to be asked.
        let (node, nonce) = asked(&invoke(&mut caller, get()));
        let synced = Synced { revision: 2, response: Response::Range { kvs: vec![], count: 0, more: false } };
        step(&mut caller, 0, answer(node, nonce, Ok(synced)));
        assert_eq!(asked(&invoke(&mut caller, get())).0, node);
    }

    #[test]
    fn what_was_not_proposed_is_asked_for_again_even_if_it_writes() {
        let mut caller = caller();
        let first = asked(&invoke(&mut caller, put()));
        let out = step(&mut caller, MS, answer(first.0, first.1, Err(CallError::Unavailable)));
        assert_eq!((out.notices, out.messages.len()), (vec![], 0));
        let second = asked(&step(&mut caller, 30 * MS, Input::Tick));
        assert!(first.0 != second.0);
        let words = "no".to_owned();
        let out = step(&mut caller, 31 * MS, answer(second.0, second.1, Err(CallError::Invalid(words.clone()))));
        assert_eq!(out.notices, [Notice::Invalid { op: 8, error: words }]);
    }

    #[test]
    fn a_request_that_nobody_would_take_is_not_sent_but_a_lease_needs_no_name() {
        let mut caller = caller();
        let empty = Request::Range(RangeRequest::default());
        assert!(matches!(invoke(&mut caller, empty).notices[..], [Notice::Invalid { op: 8, .. }]));
        asked(&invoke(&mut caller, Request::LeaseGrant(LeaseGrantRequest { ttl: 5, id: 0 })));
    }
}
