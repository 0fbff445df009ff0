//! Outgoing calls of a client of etcd's API, over etcd's own services. The client speaks in messages; here what it asks becomes the calls that
//! any client of etcd makes: a call of KV or Lease for each of its calls, a stream of Lease for each keep-alive, a stream of Watch for each of
//! its watchers. An answer that does not come is a message that was lost.
//!
//! Who takes part it asks as native clients do.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use curp::{ClientAddress, Message, NodeId, ReadId, Reply, Request as Ask, Synced, WatchName};
use kv::{Request, Response, WatchCreateRequest, WatchId, WatchResponse};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Duration, timeout};
use tonic::codegen::tokio_stream::Stream;
use tonic::transport::{Channel, Error};
use tonic::{Status, Streaming};

use super::calls::{ADMIN_MAX, CALL_MAX, CLIENT_CALLS_MAX, ClientCalls};
use super::ways::Ways;
use crate::etcd::convert::{self, Answer, Call};
use crate::etcd::wire::etcdserverpb::{self as w, watch_request::RequestUnion};
use crate::etcd::{CallName, named, status_in};

/// A watcher that is asked nothing for so long, after its last response was taken, is no more wanted.
const IDLE_MAX: Duration = Duration::from_secs(20);
/// Who waits for a response asks again and again: after this time without a question the client has gone on elsewhere.
const FORSAKEN_MAX: Duration = ADMIN_MAX;
/// The watcher's name on its stream, where it is alone.
const WATCHER: WatchId = 0;

/// Calls by this name are keep-alives of a stream, and the number without the bit is the client's read.
const KEEP_ALIVES: u64 = 1 << 63;

/// The name that a keep-alive of a stream has, which is a read of its client's.
pub fn keep_alive_name(read: ReadId) -> CallName {
    (read.0, KEEP_ALIVES | read.1)
}

/// A question to a watcher: its number, and whether progress is wanted.
type Pull = (u64, bool);

/// A client's side, over etcd's services.
pub struct EtcdCalls {
    client: ClientAddress,
    ways: Ways,
    native: ClientCalls,
    /// Watchers by number: how they are asked.
    watchers: Arc<Mutex<BTreeMap<u64, UnboundedSender<Pull>>>>,
    inbox: UnboundedSender<client::Input>,
}

impl EtcdCalls {
    /// The calls of the client at this address to the `members` (host:port for clients, by node), whose answers go to its inbox.
    ///
    /// # Errors
    /// An address that is none.
    pub fn new(client: ClientAddress, members: &BTreeMap<NodeId, String>, inbox: UnboundedSender<client::Input>) -> Result<Self, Error> {
        let native = ClientCalls::new(client, members, inbox.clone())?;
        Ok(EtcdCalls { client, ways: Ways::new(members, CLIENT_CALLS_MAX)?, native, watchers: Arc::default(), inbox })
    }

    /// A message of the client leaves.
    pub fn send(&self, to: NodeId, message: Message<Request>) {
        match message {
            Message::Request(Ask::Call { nonce, command }) => self.call(to, nonce, &command),
            Message::Request(Ask::Read { read, command }) => self.keep_alive(to, read, &command),
            Message::Request(Ask::Watch { watch, pull, create, progress }) => self.pull(to, watch, (pull, progress), &create),
            Message::Request(Ask::Unwatch { watch }) => drop(lock(&self.watchers).remove(&watch.1)),
            other => self.native.send(to, other),
        }
    }

    fn call(&self, to: NodeId, nonce: u64, command: &Request) {
        let Some((channel, calls)) = self.ways.get(to) else { return };
        let Ok(permit) = calls.try_acquire_owned() else { return };
        let (inbox, call, name) = (self.inbox.clone(), convert::request_out(command), (self.client, nonce));
        tokio::spawn(async move {
            let answer = timeout(ADMIN_MAX, call_node(channel, name, call)).await;
            drop(permit);
            let result = match answer {
                Ok(Ok(answer)) => convert::answer_in(answer).map_err(|malformed| Status::internal(malformed.to_string())),
                Ok(Err(status)) => Err(status),
                Err(_) => return,
            };
            let result = match result {
                Ok(synced) => Some(Ok(synced)),
                Err(status) => status_in(&status),
            };
            if let Some(result) = result {
                let _ = inbox.send(client::Input::Message { from: to, reply: Reply::Answer { nonce, result } });
            }
        });
    }

    /// The one read that a client of etcd's API has by itself.
    fn keep_alive(&self, to: NodeId, read: ReadId, command: &Request) {
        let Call::KeepAlive(request) = convert::request_out(command) else { return };
        let Some((channel, calls)) = self.ways.get(to) else { return };
        let Ok(permit) = calls.try_acquire_owned() else { return };
        let inbox = self.inbox.clone();
        tokio::spawn(async move {
            let answer = timeout(CALL_MAX, keep_alive_once(channel, keep_alive_name(read), request)).await;
            drop(permit);
            if let Ok(Some(synced)) = answer {
                // At which index it was served is the gateway's to know.
                let _ = inbox.send(client::Input::Message { from: to, reply: Reply::Read { read, applied: 0, synced } });
            }
        });
    }

    /// Asks a watcher; with the first question it is made.
    fn pull(&self, to: NodeId, watch: WatchName, pull: Pull, create: &WatchCreateRequest) {
        let mut watchers = lock(&self.watchers);
        if let Some(watcher) = watchers.get(&watch.1) {
            let _ = watcher.send(pull);
            return;
        }
        if pull.0 > 1 {
            // Its stream has ended: it is forgotten.
            let reply = Reply::Watch { watch, pull: pull.0, response: None };
            let _ = self.inbox.send(client::Input::Message { from: to, reply });
            return;
        }
        let Some((channel, _)) = self.ways.get(to) else { return };
        let (ask, pulls) = unbounded_channel();
        let _ = ask.send(pull);
        watchers.insert(watch.1, ask);
        let (inbox, watchers) = (self.inbox.clone(), self.watchers.clone());
        let watcher = Watcher { node: to, watch, begins: create.start_revision, told: None, wanted: None, inbox };
        let create = convert::create_out(WATCHER, create);
        tokio::spawn(async move {
            let wanted = watcher.follow(channel, create, pulls).await;
            lock(&watchers).remove(&watch.1);
            wanted.end();
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a client streams.
struct Asking<T>(UnboundedReceiver<T>);

impl<T> Stream for Asking<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.poll_recv(context)
    }
}

/// One watcher, alone on its stream.
struct Watcher {
    node: NodeId,
    watch: WatchName,
    /// The revision that it was to begin with; 0: whatever came next.
    begins: u64,
    /// The last question that was answered, and how.
    told: Option<(u64, WatchResponse)>,
    /// The question that is not answered.
    wanted: Option<u64>,
    inbox: UnboundedSender<client::Input>,
}

impl Watcher {
    /// Answers questions until the stream ends, the watcher is canceled, or nobody asks any more.
    async fn follow(mut self, channel: Channel, create: w::WatchCreateRequest, mut pulls: UnboundedReceiver<Pull>) -> Self {
        let (ask, asking) = unbounded_channel();
        let say = |union| drop(ask.send(w::WatchRequest { request_union: Some(union) }));
        say(RequestUnion::CreateRequest(create));
        let mut client = super::watch_client(channel);
        let Ok(Ok(stream)) = timeout(CALL_MAX, client.watch(Asking(asking))).await else { return self };
        let mut stream: Streaming<w::WatchResponse> = stream.into_inner();
        loop {
            tokio::select! {
                biased;
                pull = timeout(if self.wanted.is_some() { FORSAKEN_MAX } else { IDLE_MAX }, pulls.recv()) => match pull {
                    Ok(Some((pull, progress))) => {
                        if self.asked(pull) && progress {
                            say(RequestUnion::ProgressRequest(w::WatchProgressRequest {}));
                        }
                    }
                    Ok(None) | Err(_) => {
                        self.wanted = None;
                        return self;
                    }
                },
                said = stream.message(), if self.wanted.is_some() => match said {
                    Ok(Some(response)) => {
                        if !self.says(response) {
                            return self;
                        }
                    }
                    Ok(None) | Err(_) => return self,
                },
            }
        }
    }

    /// A question has come: true if it is to be answered by what comes next.
    fn asked(&mut self, pull: u64) -> bool {
        if let Some((_, response)) = self.told.as_ref().filter(|(told, _)| *told == pull) {
            self.answer(pull, Some(response.clone()));
            return false;
        }
        self.wanted = Some(pull);
        true
    }

    /// The stream says this: true if it goes on.
    fn says(&mut self, response: w::WatchResponse) -> bool {
        let (Ok(mut response), Some(pull)) = (convert::watch_in(response), self.wanted.take()) else { return false };
        if response.created && self.begins > 0 {
            // The header has the revision of that moment, and of nothing that came before it has the watcher been told.
            response.revision = response.revision.min(self.begins - 1);
        }
        let goes_on = !response.canceled;
        self.told = Some((pull, response.clone()));
        self.answer(pull, Some(response));
        goes_on
    }

    fn answer(&self, pull: u64, response: Option<WatchResponse>) {
        let reply = Reply::Watch { watch: self.watch, pull, response };
        let _ = self.inbox.send(client::Input::Message { from: self.node, reply });
    }

    /// It is no more: who waits for the next response is told so. Who waits for the first asks again.
    fn end(self) {
        if let Some(pull) = self.wanted.filter(|pull| *pull > 1) {
            self.answer(pull, None);
        }
    }
}

async fn keep_alive_once(channel: Channel, name: CallName, request: w::LeaseKeepAliveRequest) -> Option<Synced<Response>> {
    let (ask, asking) = unbounded_channel();
    let _ = ask.send(request);
    let mut client = super::lease_client(channel);
    let mut stream = client.lease_keep_alive(named(name, Asking(asking))).await.ok()?.into_inner();
    let answer = stream.message().await.ok()??;
    convert::answer_in(Answer::KeepAlive(answer)).ok()
}

async fn call_node(channel: Channel, name: CallName, call: Call) -> Result<Answer, Status> {
    let mut kv = super::kv_client(channel.clone());
    let mut lease = super::lease_client(channel);
    Ok(match call {
        Call::Range(request) => Answer::Range(kv.range(named(name, request)).await?.into_inner()),
        Call::Put(request) => Answer::Put(kv.put(named(name, request)).await?.into_inner()),
        Call::DeleteRange(request) => Answer::DeleteRange(kv.delete_range(named(name, request)).await?.into_inner()),
        Call::Txn(request) => Answer::Txn(kv.txn(named(name, request)).await?.into_inner()),
        Call::Compact(request) => Answer::Compact(kv.compact(named(name, request)).await?.into_inner()),
        Call::Grant(request) => Answer::Grant(lease.lease_grant(named(name, request)).await?.into_inner()),
        Call::Revoke(request) => Answer::Revoke(lease.lease_revoke(named(name, request)).await?.into_inner()),
        Call::KeepAlive(request) => {
            let (ask, asking) = unbounded_channel();
            let _ = ask.send(request);
            let mut stream = lease.lease_keep_alive(named(name, Asking(asking))).await?.into_inner();
            Answer::KeepAlive(stream.message().await?.ok_or_else(|| Status::unknown("the stream ended"))?)
        }
        Call::TimeToLive(request) => Answer::TimeToLive(lease.lease_time_to_live(named(name, request)).await?.into_inner()),
        Call::Leases(request) => Answer::Leases(lease.lease_leases(named(name, request)).await?.into_inner()),
    })
}
