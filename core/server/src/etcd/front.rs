//! [`EtcdFront`], the asynchronous front of a [`Gateway`]: a timer and ways in. Behind it, under a lock that is never held over an `await`,
//! is the gateway, which does the rest. It lives and dies with its node.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use client::{AdminWish, Gateway, GatewayInput, GatewayOutput, Notice, Outcome};
use curp::{
    Address, AdminDone, AdminRefusal, CallError, ClientAddress, Index, Membership, Message, Nanos, NodeId, Reply, Request as Ask, Synced,
    Term,
};
use kv::{Bytes, RangeRequest, Request, Response, WatchCreateRequest, WatchResponse};
use node::Node;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Duration, timeout};

use crate::alarm::Alarm;
use crate::host::Clock;
use crate::node::Arrival;
use crate::rpc::Place;

/// A node that lags is waited for so long.
const CATCH_UP_MAX: Duration = Duration::from_secs(4);
/// How far it is, is looked at again after this time.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(5);

/// What a gateway stands on. None of the methods may block or call back into it.
pub trait EtcdHost: Clock {
    /// A message of the client inside leaves. It may be lost; nobody is told.
    fn send(&self, to: NodeId, message: Message<Request>);
    /// An answer to a call that came as a message leaves. It may be lost, too.
    fn answer(&self, to: ClientAddress, reply: Reply<Request>);
    /// Looks at the node it belongs to.
    fn look<R>(&self, look: impl FnOnce(&Node) -> R) -> R;
    /// Names the cluster: the same at every node, for ever.
    fn cluster(&self) -> u64;
    /// Where a member is reached, as far as the operator said so outside of the configuration.
    fn place(&self, _: NodeId) -> Option<Place> {
        None
    }
    /// The client inside did this, for this call; for those who watch.
    fn notice(&self, _: Option<Caller>, _: Notice) {}
    /// Everything that the gateway wanted done after an input is handed on.
    fn settled(&self) {}
}

/// What a client calls one of its calls: its address, and a number that it uses once. Answers do not depend on it.
pub type CallName = (ClientAddress, u64);

/// Who called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Caller {
    /// A call of [`EtcdFront::call`] or [`EtcdFront::operate`], by its number.
    Here(u64),
    /// The same, of which the caller said a name.
    Named(u64, CallName),
    /// A client's message, by its nonce.
    Message(ClientAddress, u64),
}

/// What a gateway knows of its node, without asking anyone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Here {
    /// The cluster.
    pub cluster: u64,
    /// The node.
    pub id: NodeId,
    /// Its term.
    pub term: Term,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    /// The end of what is committed, as far as it knows.
    pub commit: Index,
    /// What it has applied.
    pub applied: Index,
    /// The revision up to which it has applied everything, or one that was told to somebody here, if that is later.
    pub revision: u64,
    /// The configuration in force.
    pub membership: Membership,
}

/// A gateway that runs.
pub struct EtcdFront<H: EtcdHost> {
    shared: Arc<Shared<H>>,
}

impl<H: EtcdHost> Clone for EtcdFront<H> {
    fn clone(&self) -> Self {
        EtcdFront { shared: self.shared.clone() }
    }
}

impl<H: EtcdHost> fmt::Debug for EtcdFront<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdFront").finish_non_exhaustive()
    }
}

struct Shared<H> {
    host: Arc<H>,
    behind: Mutex<Behind>,
    /// Wakes the task that keeps the time.
    alarm: Alarm,
    timer: Mutex<Option<JoinHandle<()>>>,
}

type Answer = Result<Outcome, CallError>;

struct Behind {
    gateway: Gateway<Caller>,
    out: GatewayOutput<Caller>,
    /// What the timer is set for; `None`: nothing.
    armed: Option<Nanos>,
    /// Who waits, by number.
    calls: BTreeMap<u64, oneshot::Sender<Answer>>,
    watches: BTreeMap<u64, UnboundedSender<WatchResponse>>,
    last: u64,
    /// The latest revision that an answer had.
    revision: u64,
}

impl<H: EtcdHost> EtcdFront<H> {
    /// Starts a gateway.
    pub fn start(host: Arc<H>, gateway: Gateway<Caller>) -> Self {
        let behind = Behind {
            gateway,
            out: GatewayOutput::default(),
            armed: None,
            calls: BTreeMap::new(),
            watches: BTreeMap::new(),
            last: 0,
            revision: 0,
        };
        let shared = Arc::new(Shared { host, behind: Mutex::new(behind), alarm: Alarm::default(), timer: Mutex::new(None) });
        let timer = tokio::spawn(keep_time(shared.clone()));
        *shared.timer.lock().unwrap_or_else(PoisonError::into_inner) = Some(timer);
        EtcdFront { shared }
    }

    /// Ends it: no call is answered any more.
    pub fn stop(&self) {
        if let Some(timer) = self.shared.timer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            timer.abort();
        }
        let mut behind = self.shared.lock();
        behind.calls.clear();
        behind.watches.clear();
    }

    /// A node's reply to the client inside has come.
    pub fn receive(&self, from: NodeId, reply: Reply<Request>) {
        self.shared.give(GatewayInput::Message { from, reply });
    }

    /// A call has come as a message.
    pub fn receive_call(&self, from: ClientAddress, nonce: u64, request: Request) {
        self.shared.give(GatewayInput::Call { caller: Caller::Message(from, nonce), request });
    }

    /// Takes what arrived in the node's process and is for the gateway; gives back what is not.
    pub fn take(&self, arrival: Arrival) -> Option<Arrival> {
        match arrival {
            Arrival::Message { from: Address::Node(from), message: Message::Reply(reply) } => self.receive(from, reply),
            Arrival::Message { from: Address::Client(from), message: Message::Request(Ask::Call { nonce, command }) } => {
                self.receive_call(from, nonce, (*command).clone());
            }
            other => return Some(other),
        }
        None
    }

    /// Has a request done by the cluster.
    ///
    /// # Errors
    /// It was refused, or its fate is unknown. An error that is the request's own result is no error here.
    pub async fn call(&self, request: Request) -> Result<Synced<Response>, CallError> {
        self.call_named(None, request).await
    }

    /// The same, for a caller that may have given the call a name.
    ///
    /// # Errors
    /// As of [`EtcdFront::call`].
    pub async fn call_named(&self, name: Option<CallName>, request: Request) -> Result<Synced<Response>, CallError> {
        match self.ask(name, |caller| GatewayInput::Call { caller, request }).await? {
            Outcome::Synced(synced) | Outcome::Read { synced, .. } => Ok(synced),
            Outcome::Operated(_) => Err(CallError::Unknown),
        }
    }

    /// Has something done with the cluster itself.
    ///
    /// # Errors
    /// There was no answer in time, or there is too much to do. A refusal is no error here.
    pub async fn operate(&self, wish: AdminWish) -> Result<Result<AdminDone, AdminRefusal>, CallError> {
        match self.ask(None, |caller| GatewayInput::Operate { caller, node: None, wish }).await? {
            Outcome::Operated(result) => Ok(result),
            Outcome::Synced(_) | Outcome::Read { .. } => Err(CallError::Unknown),
        }
    }

    /// Waits until this node has applied all that was committed when this was called: what it knows by itself is then not older.
    ///
    /// # Errors
    /// The cluster does not answer, or the node does not come so far, in time.
    pub async fn catch_up(&self) -> Result<(), CallError> {
        let any = RangeRequest { key: Bytes::from("\0"), count_only: true, ..RangeRequest::default() };
        let read = |caller| GatewayInput::Call { caller, request: Request::Range(any) };
        // Whoever served the read may be ahead of this node.
        let Outcome::Read { applied, .. } = self.ask(None, read).await? else { return Err(CallError::Unknown) };
        let there = async {
            while self.here().applied < applied {
                crate::sleep(LOOK_AGAIN_AFTER).await;
            }
        };
        timeout(CATCH_UP_MAX, there).await.map_err(|_| CallError::Unknown)
    }

    async fn ask(&self, name: Option<CallName>, input: impl FnOnce(Caller) -> GatewayInput<Caller>) -> Answer {
        let (tell, answer) = oneshot::channel();
        let call = {
            let mut behind = self.shared.lock();
            behind.last += 1;
            let call = behind.last;
            behind.calls.insert(call, tell);
            call
        };
        self.shared.give(input(name.map_or(Caller::Here(call), |name| Caller::Named(call, name))));
        // A gateway that is gone has left it open what became of the call.
        answer.await.unwrap_or(Err(CallError::Unknown))
    }

    /// Watches. Without a revision to begin with, it begins after what this node has applied and its clients were told, so that nothing is
    /// missed that anyone here could know of.
    pub fn watch(&self, mut request: WatchCreateRequest) -> Watching<H> {
        let here = self.here();
        if request.start_revision == 0 {
            request.start_revision = here.revision + 1;
        }
        let (tell, told) = unbounded_channel();
        let watch = {
            let mut behind = self.shared.lock();
            behind.last += 1;
            let watch = behind.last;
            behind.watches.insert(watch, tell);
            watch
        };
        self.shared.give(GatewayInput::Watch { watch, request, node: here.id });
        Watching { front: self.clone(), watch, told, wanted: true }
    }

    /// What is known here.
    pub fn here(&self) -> Here {
        let told = self.shared.lock().revision;
        let cluster = self.shared.host.cluster();
        self.shared.host.look(|node| {
            let status = node.raw().status();
            Here {
                cluster,
                id: status.id,
                term: status.hard_state.term,
                leader: status.soft_state.leadership.leader,
                commit: status.hard_state.commit,
                applied: status.applied,
                revision: node.store().applied_revision().max(told),
                membership: status.membership,
            }
        })
    }

    /// Looks at the node.
    pub fn look<R>(&self, look: impl FnOnce(&Node) -> R) -> R {
        self.shared.host.look(look)
    }

    /// Where a member is reached: as the configuration in force says, else as the operator did.
    pub fn place(&self, membership: &Membership, id: NodeId) -> Option<Place> {
        let configured = membership.addresses.get(&id).and_then(|address| address.parse().ok());
        configured.or_else(|| self.shared.host.place(id))
    }

    /// Every node that the client inside ever heard of.
    pub fn nodes(&self) -> Vec<NodeId> {
        self.shared.lock().gateway.client().nodes().keys().copied().collect()
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.shared.lock().gateway.is_idle()
    }
}

/// A watch under way. Dropping it ends it.
pub struct Watching<H: EtcdHost> {
    front: EtcdFront<H>,
    watch: u64,
    told: UnboundedReceiver<WatchResponse>,
    /// The next response is asked for.
    wanted: bool,
}

impl<H: EtcdHost> Watching<H> {
    /// The next response; `None` after the last, or when the gateway is gone. Nothing is asked for before this is called: whoever reads slowly
    /// has nothing pile up.
    pub async fn next(&mut self) -> Option<WatchResponse> {
        if !std::mem::replace(&mut self.wanted, true) {
            self.front.shared.give(GatewayInput::WatchNext { watch: self.watch });
        }
        let response = self.told.recv().await?;
        self.wanted = false;
        Some(response)
    }

    /// What asks how far the watch is: answered by a response.
    pub fn progress(&self) -> impl Fn() + Send + Sync + use<H> {
        let (front, watch) = (self.front.clone(), self.watch);
        move || front.shared.give(GatewayInput::WatchProgress { watch })
    }
}

impl<H: EtcdHost> Drop for Watching<H> {
    fn drop(&mut self) {
        self.front.shared.lock().watches.remove(&self.watch);
        self.front.shared.give(GatewayInput::EndWatch { watch: self.watch });
    }
}

impl<H: EtcdHost> Shared<H> {
    fn lock(&self) -> MutexGuard<'_, Behind> {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give(&self, input: GatewayInput<Caller>) {
        let mut behind = self.lock();
        let Behind { gateway, out, armed, calls, watches, revision, .. } = &mut *behind;
        gateway.handle(self.host.now(), input, out);
        for (caller, notice) in out.notices.drain(..) {
            self.host.notice(caller, notice);
        }
        for (to, message) in out.messages.drain(..) {
            self.host.send(to, message);
        }
        for (caller, answer) in out.answers.drain(..) {
            if let Ok(Outcome::Synced(synced) | Outcome::Read { synced, .. }) = &answer {
                *revision = synced.revision.max(*revision);
            }
            match caller {
                Caller::Here(call) | Caller::Named(call, _) => {
                    if let Some(tell) = calls.remove(&call) {
                        let _ = tell.send(answer);
                    }
                }
                Caller::Message(client, nonce) => {
                    let result = match answer {
                        Ok(Outcome::Synced(synced) | Outcome::Read { synced, .. }) => Ok(synced),
                        Ok(Outcome::Operated(_)) => Err(CallError::Unknown),
                        Err(error) => Err(error),
                    };
                    self.host.answer(client, Reply::Answer { nonce, result });
                }
            }
        }
        for (watch, response) in out.watches.drain(..) {
            *revision = response.revision.max(*revision);
            let last = response.canceled;
            if let Some(tell) = watches.get(&watch) {
                let _ = tell.send(response);
            }
            if last {
                watches.remove(&watch);
            }
        }
        self.alarm.set(armed, gateway.next_due());
        self.host.settled();
    }
}

/// Tells the gateway the time when it is due.
async fn keep_time<H: EtcdHost>(shared: Arc<Shared<H>>) {
    let arm = || {
        let mut behind = shared.lock();
        behind.armed = behind.gateway.next_due();
        behind.armed.map(|due| shared.host.until(due))
    };
    shared.alarm.keep_time(arm, || shared.give(GatewayInput::Tick)).await;
}
