//! Outgoing calls: a question of a node or a client becomes a call, and its answer a message that arrives. A call that fails is a
//! message that was lost. A node is told that its peer was not reached, and what that means is its own affair; a client is told nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use curp::{Address, ClientAddress, Message, NodeId, ProposeId, Reply, Request as Ask};
use kv::Request;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Duration, timeout};
use tonic::transport::{Channel, Error};
use tonic::{Code, Status};

use super::board::Board;
use super::convert::{self, ClientCall, PeerAnswer, PeerCall};
use super::service::Inbox;
use super::ways::Ways;
use super::wire::{self, curp_client::CurpClient, peer_client::PeerClient};
use crate::node::Arrival;

/// A call takes at most so long; whoever asked asks again by himself.
pub(super) const CALL_MAX: Duration = Duration::from_secs(1);
/// A synced result may take longer: it waits for commit and apply.
const WAIT_SYNCED_MAX: Duration = Duration::from_secs(4);
/// What an operator wants may take a commit, or an election.
pub(super) const ADMIN_MAX: Duration = WAIT_SYNCED_MAX;
/// Calls under way from one node to another; further messages are lost, as with a full socket. So a node that answers late gets less, and
/// can catch up.
const PEER_CALLS_MAX: usize = 32;
/// Calls under way from a client to a node.
pub(super) const CLIENT_CALLS_MAX: usize = 8;
/// Calls under way from a gateway to a node: it asks for many at a time, and each of its watchers has a question open.
const GATEWAY_CALLS_MAX: usize = 4096;

/// A node's side: the transport over gRPC.
pub struct PeerCalls {
    id: NodeId,
    ways: Ways,
    inbox: Inbox,
    board: Arc<Board>,
}

impl PeerCalls {
    /// The calls of node `id` to the `members` (host:port for peers, by node), whose answers go to its inbox; what it answers goes to the board.
    ///
    /// # Errors
    /// An address that is none.
    pub fn new(id: NodeId, members: &BTreeMap<NodeId, String>, inbox: Inbox, board: Arc<Board>) -> Result<Self, Error> {
        Ok(PeerCalls { id, ways: Ways::new(members, PEER_CALLS_MAX)?, inbox, board })
    }

    /// Where members are reached, for those whose address is in the configuration in force.
    pub fn learn(&self, addresses: &BTreeMap<NodeId, String>) {
        self.ways.learn(addresses, |place| Some(place.peer));
    }

    /// A message of the node leaves.
    pub fn send(&self, to: Address, message: Message<Request>) {
        let call = match (to, &message) {
            (Address::Node(peer), Message::Peer { term, body }) => convert::peer_call(self.id, *term, body).map(|call| (peer, call)),
            _ => None,
        };
        let Some((peer, call)) = call else { return self.board.answer(to, message) };
        let inbox = self.inbox.clone();
        let unreachable = move || drop(inbox.send(Arrival::Unreachable(peer)));
        let Some((channel, calls)) = self.ways.get(peer) else { return unreachable() };
        let Ok(permit) = calls.try_acquire_owned() else { return unreachable() };
        let (client, inbox) = (super::peer_client(channel), self.inbox.clone());
        tokio::spawn(async move {
            let answer = timeout(CALL_MAX, call_peer(client, call)).await;
            drop(permit);
            match answer {
                Ok(Ok(Some(answer))) => {
                    if let Ok(Some(message)) = convert::peer_message(answer) {
                        let _ = inbox.send(Arrival::Message { from: Address::Node(peer), message });
                    }
                }
                Ok(Ok(None)) => {}
                // It was reached, and has not answered.
                Ok(Err(status)) if status.code() == Code::DeadlineExceeded => {}
                Ok(Err(_)) | Err(_) => unreachable(),
            }
        });
    }
}

async fn call_peer(mut peer: PeerClient<Channel>, call: PeerCall) -> Result<Option<PeerAnswer>, Status> {
    Ok(match call {
        PeerCall::Vote(request) => Some(PeerAnswer::Vote(peer.vote(request).await?.into_inner())),
        PeerCall::AppendEntries(request) => Some(PeerAnswer::AppendEntries(peer.append_entries(request).await?.into_inner())),
        PeerCall::ReadIndex(request) => Some(PeerAnswer::ReadIndex(peer.read_index(request).await?.into_inner())),
        PeerCall::HandOver(request) => {
            peer.hand_over(request).await?;
            None
        }
        PeerCall::InstallSnapshot(request) => Some(PeerAnswer::InstallSnapshot(peer.install_snapshot(request).await?.into_inner())),
        PeerCall::TimeoutNow(request) => {
            peer.timeout_now(request).await?;
            None
        }
    })
}

/// A client's side.
pub struct ClientCalls {
    client: ClientAddress,
    ways: Ways,
    /// Commands whose synced result is being waited for, with the node.
    waits: Arc<Mutex<BTreeSet<(NodeId, ProposeId)>>>,
    inbox: UnboundedSender<client::Input>,
}

impl ClientCalls {
    /// The calls of the client at this address to the `members` (host:port for clients, by node), whose answers go to its inbox.
    ///
    /// # Errors
    /// An address that is none.
    pub fn new(client: ClientAddress, members: &BTreeMap<NodeId, String>, inbox: UnboundedSender<client::Input>) -> Result<Self, Error> {
        Ok(ClientCalls { client, ways: Ways::new(members, CLIENT_CALLS_MAX)?, waits: Arc::default(), inbox })
    }

    /// The calls of the gateway of node `id`.
    ///
    /// # Errors
    /// An address that is none.
    pub fn of_gateway(id: NodeId, members: &BTreeMap<NodeId, String>, inbox: UnboundedSender<client::Input>) -> Result<Self, Error> {
        let client = client::gateway_address(id);
        Ok(ClientCalls { client, ways: Ways::new(members, GATEWAY_CALLS_MAX)?, waits: Arc::default(), inbox })
    }

    /// A message of the client leaves. After a proposal that was taken, the same node is asked for the synced result.
    pub fn send(&self, to: NodeId, message: Message<Request>) {
        let Message::Request(request) = message else { return };
        let Some((channel, calls)) = self.ways.get(to) else { return };
        // A watcher's question stands open for as long as there is nothing to tell: a few of them must not keep everything else from the node.
        let permit = match &request {
            Ask::Watch { .. } | Ask::Unwatch { .. } => None,
            _ => match calls.try_acquire_owned() {
                Ok(permit) => Some(permit),
                Err(_) => return,
            },
        };
        let (mut node, inbox, client) = (super::curp_client(channel), self.inbox.clone(), self.client);
        let (waits, ways) = (self.waits.clone(), self.ways.clone());
        tokio::spawn(async move {
            let patience = match request {
                // These are answered when there is something to say.
                Ask::Admin { .. } | Ask::Watch { .. } => ADMIN_MAX,
                _ => CALL_MAX,
            };
            let answer = timeout(patience, call_node(&mut node, client, &request)).await;
            drop(permit);
            let Ok(Ok(Some(reply))) = answer else { return };
            if let Reply::Cluster { membership, .. } = &reply {
                ways.learn(&membership.addresses, |place| place.client);
            }
            let taken = match &reply {
                Reply::Executed { id, .. } | Reply::Conflict { id, .. } => Some(*id),
                _ => None,
            };
            let _ = inbox.send(client::Input::Message { from: to, reply });
            if let Some(wait) = taken.map(|id| (to, id)).filter(|wait| lock(&waits).insert(*wait)) {
                let id = Some(wire::ProposeId { client: wait.1.client, seq: wait.1.seq });
                let call = node.wait_synced(wire::WaitSyncedRequest { client, id });
                if let Ok(Ok(response)) = timeout(WAIT_SYNCED_MAX, call).await
                    && let Ok(reply) = convert::wait_synced_reply(&response.into_inner())
                {
                    let _ = inbox.send(client::Input::Message { from: to, reply });
                }
                lock(&waits).remove(&wait);
            }
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `None`: that is not asked by a call of ours, or not answered.
async fn call_node(
    node: &mut CurpClient<Channel>,
    client: ClientAddress,
    request: &Ask<Request>,
) -> Result<Option<Reply<Request>>, Status> {
    let Some(call) = convert::client_call(client, request) else { return Ok(None) };
    let reply = match call {
        ClientCall::Propose(request) => convert::propose_reply(&node.propose(request).await?.into_inner()),
        ClientCall::Record(request) => convert::record_reply(&node.record(request).await?.into_inner()),
        ClientCall::Read(request) => convert::read_reply(&node.read(request).await?.into_inner()),
        ClientCall::BeginSession(request) => convert::session_reply(&node.begin_session(request).await?.into_inner()),
        ClientCall::EndSession(request) => convert::session_reply(&node.end_session(request).await?.into_inner()),
        ClientCall::FetchCluster(request) => convert::cluster_reply(&node.fetch_cluster(request).await?.into_inner()),
        ClientCall::Admin(request) => convert::admin_reply(&node.admin(request).await?.into_inner()),
        ClientCall::Watch(request) => convert::watch_reply(&node.watch(request).await?.into_inner()),
        ClientCall::Unwatch(request) => return node.unwatch(request).await.map(|_| None),
    };
    Ok(Some(reply?))
}
