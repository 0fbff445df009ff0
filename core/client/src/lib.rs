//! The client, sans-IO: fast and slow rounds, sessions, leader discovery, retries under the same id.
//!
//! Like a node it is given one input at a time with a reading of its own clock, and says what to send; unlike a node it keeps
//! nothing on disk. What its caller should know comes as [`Notice`]s.
//!
//! What stays true: a command keeps its id through every retry; the session's first incomplete number passes only commands whose
//! *synced* result has come; accepts are counted only with an ER of the same term and configuration, and from distinct voters.
//! After a fast answer the client goes on asking for the synced one.
//!
//! Who takes part it learns from the nodes: whenever a leader's answer names another configuration than the one known, it asks
//! for it. It never forgets a node: should all present members be gone when it wakes up, someone it met once may know the rest.

mod admin;
mod etcd;
mod gateway;
mod leases;
mod rounds;
mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use curp::{
    AdminDone, AdminRefusal, ClientAddress, ClientId, ConfigChange, ConfigVersion, Leadership, Membership, Message, Nanos, NodeId,
    Proposal, ProposeId, ReadId, Refusal, Reply, Synced, Term, splitmix64,
};
use kv::{LEASE_NONE, LeaseGrantRequest, LeaseId, Request, Response, WatchCreateRequest, WatchResponse, made_lease_id};
use mutants::Mutant;

use admin::PendingAdmin;
pub use etcd::{AnyClient, EtcdCaller};
pub use gateway::{Gateway, GatewayConfig, GatewayInput, GatewayOutput, Outcome, gateway_address, gateway_node};
use leases::KeepAlives;
use watch::Watch;

/// Times, the same for every client, in nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Wait for an answer before the first retry; it doubles from retry to retry.
    pub retry_after_min: Nanos,
    /// The most it grows to.
    pub retry_after_max: Nanos,
}

/// What can happen to a client.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time passed; due at [`Client::next_due`].
    Tick,
    /// A node's reply.
    Message {
        /// The node.
        from: NodeId,
        /// What it says.
        reply: Reply<Request>,
    },
    /// The caller wants this done. What only reads goes as a read (a range, and what a leader answers of leases); everything else is proposed.
    Invoke {
        /// The caller's number for it.
        op: u64,
        /// What.
        request: Request,
    },
    /// The caller has stopped waiting. A read is forgotten; a command is pursued until its synced result has come, since only
    /// then may the session forget it. An operator's wish is forgotten, too; it may still be done.
    Abandon {
        /// The caller's number.
        op: u64,
    },
    /// End the session as soon as nothing is outstanding; the next command begins a new one. Without an open session it says nothing.
    EndSession,
    /// The caller wants to be told of what happens to keys. What it is told comes as [`Notice::Watch`], one response at a time: after each,
    /// the caller says when it wants the next.
    Watch {
        /// The caller's number for it.
        op: u64,
        /// What of.
        request: WatchCreateRequest,
        /// The node to begin with; `None`: any. The client goes on at another when that one does not answer.
        node: Option<NodeId>,
    },
    /// The caller is ready for the next response of a watch.
    WatchNext {
        /// The caller's number.
        op: u64,
    },
    /// The caller wants to know how far a watch is, if there is nothing to tell.
    WatchProgress {
        /// The caller's number.
        op: u64,
    },
    /// The caller wants no more of a watch.
    EndWatch {
        /// The caller's number.
        op: u64,
    },
    /// Keep a lease alive, until it is gone or the caller wants no more: a keep-alive is sent whenever a third of its time is over.
    KeepAlive {
        /// The caller's number for it.
        op: u64,
        /// The lease.
        lease: LeaseId,
    },
    /// Keep it alive no more.
    EndKeepAlive {
        /// The caller's number.
        op: u64,
    },
    /// The caller, an operator, wants this done. It is asked for until it is done or definitely refused.
    Admin {
        /// The caller's number for it.
        op: u64,
        /// The node asked, for what any node can do; `None`: the leader.
        node: Option<NodeId>,
        /// What.
        wish: AdminWish,
    },
}

/// What an operator wants of the cluster, before the client has found out the configuration it is to be done in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminWish {
    /// Change the configuration, whatever it is when the leader is asked, unless it has the change already.
    Change(ConfigChange),
    /// Let this voter lead.
    MoveLeader(NodeId),
    /// Stop the whole cluster.
    Shutdown,
    /// Make a snapshot now.
    TakeSnapshot,
}

/// What the caller should know.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// A session is open.
    SessionOpen {
        /// Its id.
        session: ClientId,
    },
    /// The session was ended in good order.
    SessionEnded {
        /// Its id.
        session: ClientId,
    },
    /// First sending of a command or (without id) a read.
    Proposed {
        /// The caller's number.
        op: u64,
        /// The command's id.
        id: Option<ProposeId>,
        /// The lowest number of its session without a synced result then.
        first_incomplete: Option<u64>,
        /// The read's own name, which its retries keep.
        read: Option<ReadId>,
        /// What is asked.
        request: Request,
    },
    /// A request was sent again.
    Retried {
        /// The caller's number.
        op: u64,
    },
    /// The fast round is complete.
    Fast {
        /// The caller's number.
        op: u64,
        /// The command.
        id: ProposeId,
        /// Term of all that was counted.
        term: Term,
        /// Configuration of all that was counted.
        config: ConfigVersion,
        /// The leader and the voters that accepted, rising.
        nodes: Vec<NodeId>,
        /// The result.
        response: Response,
    },
    /// The final result.
    Synced {
        /// The caller's number.
        op: u64,
        /// The command.
        id: ProposeId,
        /// The result.
        synced: Synced<Response>,
    },
    /// A read's result.
    Read {
        /// The caller's number.
        op: u64,
        /// Applied index at which it was served.
        applied: u64,
        /// The node that served it.
        node: NodeId,
        /// The result.
        synced: Synced<Response>,
    },
    /// A node is called. Of an [`EtcdCaller`] only.
    Called {
        /// The caller's number.
        op: u64,
        /// The node.
        node: NodeId,
        /// Names this try.
        nonce: u64,
    },
    /// The result of a call: the final one, through a node's gateway. Of an [`EtcdCaller`] only.
    Answered {
        /// The caller's number.
        op: u64,
        /// The node.
        node: NodeId,
        /// Which try it answers.
        nonce: u64,
        /// The result.
        synced: Synced<Response>,
    },
    /// The request is one that no node would take, whatever its state: it did not happen.
    Invalid {
        /// The caller's number.
        op: u64,
        /// etcd's words.
        error: String,
    },
    /// The session is gone, and the command's fate will never be known.
    Lost {
        /// The caller's number.
        op: u64,
    },
    /// A watcher is made at a node, to begin or to go on with a watch.
    Registered {
        /// The caller's number.
        op: u64,
        /// The node.
        to: NodeId,
        /// The first revision asked for; 0: the next one.
        start_revision: u64,
    },
    /// What a watch is told. After a response with `canceled` there is none.
    Watch {
        /// The caller's number.
        op: u64,
        /// By which node.
        node: NodeId,
        /// What.
        response: WatchResponse,
    },
    /// A keep-alive of a stream is sent for the first time.
    SentKeepAlive {
        /// The caller's number.
        op: u64,
        /// The lease.
        lease: LeaseId,
        /// Its name, which its retries keep.
        read: ReadId,
    },
    /// A keep-alive of a stream is answered. After one with `ttl` 0 there is none.
    KeptAlive {
        /// The caller's number.
        op: u64,
        /// The lease.
        lease: LeaseId,
        /// Which of them.
        read: ReadId,
        /// When it was first sent, by the client's clock: the lease's time runs from there.
        sent: Nanos,
        /// The lease's time, in seconds; 0: it is gone.
        ttl: i64,
    },
    /// What came of an operator's wish.
    Admin {
        /// The caller's number.
        op: u64,
        /// Done, or a refusal that asking again would not change.
        result: Result<AdminDone, AdminRefusal>,
    },
}

/// What a client wants done, in order.
#[derive(Debug, Default)]
pub struct Output {
    /// To be sent.
    pub messages: Vec<(NodeId, Message<Request>)>,
    /// For the caller.
    pub notices: Vec<Notice>,
}

/// A command under way.
#[derive(Debug)]
struct Pending {
    op: u64,
    proposal: Arc<Proposal<Request>>,
    /// The latest ER: its term and configuration, who gave it, the result.
    executed: Option<(Term, ConfigVersion, NodeId, Response)>,
    /// Accepted Records: by whom, for which term and configuration.
    accepts: Vec<(NodeId, Term, ConfigVersion)>,
    /// The caller has its fast answer.
    fast: bool,
    retry: Retry,
}

/// A read under way.
#[derive(Debug)]
struct PendingRead {
    op: u64,
    command: Arc<Request>,
    retry: Retry,
    /// It belongs to a stream of keep-alives.
    stream: bool,
    /// When it was first sent.
    sent: Option<Nanos>,
}

/// When to try again.
#[derive(Clone, Copy, Debug)]
struct Retry {
    due: Nanos,
    attempts: u32,
    /// Not before this, whatever is learned: a client that answered every piece of news with a new round would, between two nodes
    /// that disagree about the leader, flood the cluster.
    earliest: Nanos,
}

impl Retry {
    fn first(now: Nanos) -> Self {
        Retry { due: now, attempts: 0, earliest: now }
    }

    fn hurry(&mut self) {
        self.due = self.due.min(self.earliest);
    }
}

/// The client's session.
#[derive(Debug)]
enum Session {
    None,
    Beginning { nonce: u64, retry: Retry },
    Open { id: ClientId, next: u64, ending: Option<Retry> },
}

/// One client.
#[derive(Debug)]
pub struct Client {
    address: ClientAddress,
    config: Config,
    membership: Membership,
    /// Every node it ever heard of, with the last address given for it (empty: none).
    nodes: BTreeMap<NodeId, String>,
    entropy: u64,
    draws: u64,
    /// The leader as far as known, with its term.
    leader: Option<(Term, NodeId)>,
    /// When to ask the next node who leads, while it is not known.
    discover_due: Nanos,
    /// Before this, no leader is asked again for the configuration that its answers name.
    config_due: Nanos,
    session: Session,
    /// Commands that wait for the session.
    waiting: VecDeque<(u64, Request)>,
    /// Commands under way, by number.
    pending: BTreeMap<u64, Pending>,
    reads: BTreeMap<u64, PendingRead>,
    /// Operators' wishes under way, by nonce.
    admins: BTreeMap<u64, PendingAdmin>,
    /// That a learner lags is an answer, as in etcd's API, and no reason to try again.
    no_waiting_for_learners: bool,
    /// The node that this client lives in, if it does. What any node may answer is asked of that one first: its answers do not go back.
    home: Option<NodeId>,
    /// Leases that are kept alive, by the caller's number.
    keep_alives: BTreeMap<u64, KeepAlives>,
    /// Watches, by the caller's number.
    watches: BTreeMap<u64, Watch>,
    /// The last number given to a read or a watcher.
    last_number: u64,
}

impl Client {
    /// A client that is reached at `address` and knows the voters. `life` counts the processes that had this address before, and
    /// `entropy` must differ from client to client and life to life: late answers to another life must not be taken for this one's.
    pub fn new(address: ClientAddress, life: u32, config: Config, membership: Membership, entropy: u64) -> Self {
        let mut client = Client {
            address,
            config,
            nodes: BTreeMap::new(),
            membership: Membership::default(),
            entropy,
            draws: 0,
            leader: None,
            discover_due: 0,
            config_due: 0,
            session: Session::None,
            waiting: VecDeque::new(),
            pending: BTreeMap::new(),
            reads: BTreeMap::new(),
            admins: BTreeMap::new(),
            no_waiting_for_learners: false,
            home: None,
            keep_alives: BTreeMap::new(),
            watches: BTreeMap::new(),
            last_number: u64::from(life) << 32,
        };
        client.remember(&membership);
        client.membership = membership;
        client
    }

    /// Handles one input at the client's clock reading `now`.
    pub fn handle(&mut self, now: Nanos, input: Input, out: &mut Output) {
        match input {
            Input::Tick => {}
            Input::Message { from, reply } => self.on_reply(from, reply, now, out),
            Input::Invoke { op, request } => self.invoke(op, request, now, out),
            Input::Abandon { op } => {
                self.reads.retain(|_, read| read.op != op || read.stream);
                self.admins.retain(|_, admin| admin.op != op);
            }
            Input::Admin { op, node, wish } => self.wish(op, node, wish, now),
            Input::Watch { op, request, node } => self.watch(op, request, node, now),
            Input::WatchNext { op } => self.watch_next(op, now),
            Input::WatchProgress { op } => self.watch_progress(op, now),
            Input::EndWatch { op } => self.end_watch(op, out),
            Input::KeepAlive { op, lease } => self.keep_alive(op, lease, now),
            Input::EndKeepAlive { op } => self.end_keep_alive(op),
            Input::EndSession => {
                if let Session::Open { ending: ending @ None, .. } = &mut self.session {
                    *ending = Some(Retry::first(now));
                }
            }
        }
        self.run_timers(now, out);
    }

    /// When it next wants a tick; `None` while nothing is under way.
    pub fn next_due(&self) -> Option<Nanos> {
        let commands = self.pending.values().map(|p| p.retry.due);
        let reads = self.reads.values().map(|r| r.retry.due).chain(self.admins.values().map(|a| a.retry.due));
        let session = match &self.session {
            Session::Beginning { retry, .. } => Some(retry.due),
            Session::Open { ending: Some(retry), .. } if self.pending.is_empty() => Some(retry.due),
            Session::None | Session::Open { .. } => None,
        };
        let discover = self.looks_for_leader().then_some(self.discover_due);
        let streams = self.keep_alives.values().filter_map(KeepAlives::due).chain(self.watches.values().filter_map(Watch::due));
        commands.chain(reads).chain(streams).chain(session).chain(discover).min()
    }

    /// The configuration as far as known.
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// Every node it ever heard of, with the last address given for it through the log (empty: none was).
    pub fn nodes(&self) -> &BTreeMap<NodeId, String> {
        &self.nodes
    }

    /// Whether nothing is under way that ends by itself, in front of the caller or behind. Watches and streams of keep-alives do not count: they
    /// go on for as long as the caller wants.
    pub fn is_idle(&self) -> bool {
        let session_busy = match &self.session {
            Session::Beginning { .. } => true,
            Session::Open { ending, .. } => ending.is_some(),
            Session::None => false,
        };
        let reads = self.reads.values().any(|read| !read.stream);
        self.pending.is_empty() && !reads && self.waiting.is_empty() && self.admins.is_empty() && !session_busy
    }

    /// Whether it must find out who leads.
    pub(crate) fn looks_for_leader(&self) -> bool {
        self.leader.is_none() && !(self.is_idle() && self.keep_alives.is_empty())
    }

    fn invoke(&mut self, op: u64, request: Request, now: Nanos, out: &mut Output) {
        // A grant without a name gets one with its id: until then any name stands for it.
        let named = matches!(request, Request::LeaseGrant(LeaseGrantRequest { id: LEASE_NONE, .. })).then(|| with_lease_id(&request, 1));
        if let Err(error) = named.as_ref().unwrap_or(&request).validate() {
            return out.notices.push(Notice::Invalid { op, error });
        }
        if matches!(request, Request::Range(_)) || request.is_leaders() {
            let number = self.new_number();
            let command = Arc::new(request.clone());
            let read = Some(self.read_id(number));
            out.notices.push(Notice::Proposed { op, id: None, first_incomplete: None, read, request });
            self.reads.insert(number, PendingRead { op, command, retry: Retry::first(now), stream: false, sent: None });
        } else {
            self.waiting.push_back((op, request));
            self.propose_waiting(now, out);
        }
    }

    /// Gives the waiting commands their numbers, once there is a session; begins one if there is none.
    fn propose_waiting(&mut self, now: Nanos, out: &mut Output) {
        match &mut self.session {
            Session::Open { id: client, next, ending: None } => {
                while let Some((op, request)) = self.waiting.pop_front() {
                    let id = ProposeId { client: *client, seq: *next };
                    *next += 1;
                    let request = with_lease_id(&request, made_lease_id(id.client, id.seq));
                    let unsynced = |p: &&Pending| !(p.fast && mutants::on(Mutant::SessionAdvanceOnFast));
                    let first_incomplete = self.pending.values().find(unsynced).map_or(id.seq, |p| p.proposal.id.seq);
                    let (first, asked) = (Some(first_incomplete), request.clone());
                    out.notices.push(Notice::Proposed { op, id: Some(id), first_incomplete: first, read: None, request: asked });
                    let proposal = Arc::new(Proposal { id, first_incomplete, command: Arc::new(request) });
                    let retry = Retry::first(now);
                    self.pending.insert(id.seq, Pending { op, proposal, executed: None, accepts: Vec::new(), fast: false, retry });
                }
            }
            Session::None if !self.waiting.is_empty() => {
                self.draws += 1;
                let nonce = splitmix64(self.entropy.wrapping_add(self.draws));
                self.session = Session::Beginning { nonce, retry: Retry::first(now) };
            }
            Session::None | Session::Beginning { .. } | Session::Open { .. } => {}
        }
    }

    fn on_reply(&mut self, from: NodeId, reply: Reply<Request>, now: Nanos, out: &mut Output) {
        match reply {
            Reply::Executed { id, term, config, response } => {
                self.learn(Leadership { term, leader: Some(from) });
                if config != self.membership.version {
                    self.fetch_config(from, now, out);
                }
                self.on_executed(from, id, term, config, response, out);
            }
            Reply::Admin { nonce, result } => self.on_admin_reply(from, nonce, result, now, out),
            Reply::Watch { watch, pull, response } => self.on_watch_reply(watch, pull, response, now, out),
            Reply::Answer { .. } => {}
            Reply::Conflict { term, .. } => self.learn(Leadership { term, leader: Some(from) }),
            Reply::Synced { id, synced } => self.on_synced(id, synced, out),
            Reply::Recorded { id, term, config, accepted, current } => {
                self.on_recorded(from, id, (term, config), accepted.then_some(()).ok_or(current), now, out)
            }
            Reply::Refused { id, why } => self.on_refused(from, id, why, now, out),
            Reply::SessionBegun { nonce, client } => {
                if matches!(&self.session, Session::Beginning { nonce: mine, .. } if *mine == nonce) {
                    self.session = Session::Open { id: client, next: 1, ending: None };
                    out.notices.push(Notice::SessionOpen { session: client });
                    self.propose_waiting(now, out);
                }
            }
            Reply::SessionEnded { client } => {
                if matches!(&self.session, Session::Open { id, ending: Some(_), .. } if *id == client) {
                    self.session = Session::None;
                    out.notices.push(Notice::SessionEnded { session: client });
                    self.propose_waiting(now, out);
                }
            }
            Reply::SessionRefused { cluster } => self.redirect(from, cluster),
            Reply::Read { read, applied, synced } => {
                if read.0 != self.address {
                    return;
                }
                let Some(pending) = self.reads.remove(&read.1) else { return };
                if pending.stream {
                    self.on_kept_alive(read.1, &pending, &synced.response, out);
                } else {
                    out.notices.push(Notice::Read { op: pending.op, applied, node: from, synced });
                }
            }
            Reply::ReadRefused { read, cluster } => {
                self.redirect(from, cluster);
                let wait = self.backoff(1);
                if let Some(pending) = self.reads.get_mut(&read.1) {
                    pending.retry.due = pending.retry.due.min(now + wait);
                }
            }
            Reply::Cluster { leadership, membership } => {
                self.redirect(from, leadership);
                let leads = leadership.leader == Some(from) && self.leader == Some((leadership.term, from));
                self.learn_membership(membership, leads, out);
            }
        }
    }

    /// Asks a leader for its configuration, not too often.
    fn fetch_config(&mut self, node: NodeId, now: Nanos, out: &mut Output) {
        if now >= self.config_due {
            out.messages.push((node, Message::Request(curp::Request::FetchCluster)));
            self.config_due = now + self.config.retry_after_min / 4;
        }
    }

    fn remember(&mut self, membership: &Membership) {
        for node in membership.members() {
            let address = self.nodes.entry(node).or_default();
            if let Some(given) = membership.addresses.get(&node) {
                address.clone_from(given);
            }
        }
    }

    /// Takes in who takes part. A later configuration is believed of anyone; the leader's own, `of_leader`, in any case: what another node
    /// has appended may have been cut off since, and its version is then no longer one that can be overtaken.
    fn learn_membership(&mut self, membership: Membership, of_leader: bool, out: &mut Output) {
        self.remember(&membership);
        if membership == self.membership || !(of_leader || membership.version > self.membership.version) {
            return;
        }
        self.membership = membership;
        self.hurry();
        // What was answered under this configuration before it was known may be complete.
        for id in self.pending.values().map(|p| p.proposal.id).collect::<Vec<_>>() {
            self.complete_if_fast(id, out);
        }
    }

    /// Takes in who leads.
    fn learn(&mut self, seen: Leadership) {
        let Some(leader) = seen.leader else { return };
        self.nodes.entry(leader).or_default();
        if self.leader.is_none_or(|(term, _)| seen.term >= term) {
            if self.leader != Some((seen.term, leader)) {
                // What is under way is of no use at an earlier leader: go to the new one at once.
                self.hurry();
            }
            self.leader = Some((seen.term, leader));
        }
    }

    /// `from` says it does not lead. If it was thought to, it is no longer.
    fn redirect(&mut self, from: NodeId, seen: Leadership) {
        let stale = self.leader.is_some_and(|(term, leader)| leader == from || seen.term > term);
        if stale && seen.leader != Some(from) {
            self.leader = None;
        }
        self.learn(seen);
    }

    /// Retries that wait may go out at the next timer run.
    fn hurry(&mut self) {
        self.pending.values_mut().for_each(|p| p.retry.hurry());
        self.admins.values_mut().for_each(|a| a.retry.hurry());
        self.reads.values_mut().filter(|read| read.command.is_leaders()).for_each(|read| read.retry.hurry());
        match &mut self.session {
            Session::Beginning { retry, .. } | Session::Open { ending: Some(retry), .. } => retry.hurry(),
            Session::None | Session::Open { .. } => {}
        }
    }

    fn on_refused(&mut self, from: NodeId, id: ProposeId, why: Refusal, now: Nanos, out: &mut Output) {
        let session = matches!(&self.session, Session::Open { id: session, .. } if *session == id.client);
        if !session || !self.pending.contains_key(&id.seq) {
            return;
        }
        match why {
            Refusal::NotLeader(seen) => self.redirect(from, seen),
            Refusal::NotReady => {
                let wait = self.backoff(1);
                if let Some(pending) = self.pending.get_mut(&id.seq) {
                    pending.retry.due = now + wait;
                }
            }
            Refusal::NoSession => {
                for (_, pending) in std::mem::take(&mut self.pending) {
                    out.notices.push(Notice::Lost { op: pending.op });
                }
                self.session = Session::None;
                self.propose_waiting(now, out);
            }
            Refusal::Invalid => {
                if let Some(pending) = self.pending.remove(&id.seq) {
                    out.notices.push(Notice::Invalid { op: pending.op, error: "refused as invalid".to_owned() });
                }
            }
            Refusal::Acknowledged => {
                if let Some(pending) = self.pending.remove(&id.seq) {
                    out.notices.push(Notice::Lost { op: pending.op });
                }
            }
        }
    }

    /// Wait before the next try after `attempts` tries: doubling, half of it random.
    fn backoff(&mut self, attempts: u32) -> Nanos {
        self.draws += 1;
        let full = (self.config.retry_after_min << attempts.saturating_sub(1).min(16)).min(self.config.retry_after_max);
        full / 2 + splitmix64(self.entropy.wrapping_add(self.draws)) % (full / 2 + 1)
    }

    /// A member, drawn; now and then a node that is none any more, as far as known: what is known may be very old.
    fn any_node(&mut self) -> NodeId {
        self.draw_node(|_| true).unwrap_or_default()
    }

    /// One of those that will do, mostly a member, if there is one.
    fn draw_node(&mut self, will_do: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        self.draws += 1;
        let draw = splitmix64(self.entropy.wrapping_add(self.draws));
        let (membership, will_do) = (&self.membership, |node: &NodeId| will_do(*node));
        let members: Vec<NodeId> = membership.members().filter(will_do).collect();
        let others: Vec<NodeId> = self.nodes.keys().copied().filter(|node| !membership.is_member(*node) && will_do(node)).collect();
        let of_members = others.is_empty() || !members.is_empty() && !(draw >> 32).is_multiple_of(4);
        let pool = if of_members { members } else { others };
        let at = draw.checked_rem(pool.len() as u64)?;
        Some(pool[at as usize])
    }

    /// One node after the other, of all that it ever heard of: drawn ones might all be gone, for as long as one likes.
    fn node_in_turn(&self, attempts: u32) -> NodeId {
        let turn = attempts as usize % self.nodes.len().max(1);
        self.nodes.keys().nth(turn).copied().unwrap_or_default()
    }

    fn read_id(&self, number: u64) -> ReadId {
        (self.address, number)
    }

    /// A number for a read or a watcher, never given away again.
    fn new_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}

/// The request; a grant that leaves its name to the server, with this one.
fn with_lease_id(request: &Request, made: LeaseId) -> Request {
    match request {
        Request::LeaseGrant(grant) if grant.id == LEASE_NONE => Request::LeaseGrant(LeaseGrantRequest { id: made, ..grant.clone() }),
        request => request.clone(),
    }
}

#[cfg(test)]
mod tests;
