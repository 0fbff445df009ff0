//! The gRPC services of a node: a call's question is given to the node, and its answer waited for on the board.

use std::sync::Arc;

use curp::{Address, Message, PeerMessage, Reply, Request as Ask};
use kv::Request as Command;
use mutants::Mutant;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Duration, timeout};
use tonic::{Request, Response, Status};

use super::board::{Board, Key};
use super::convert::{self, ClientCall, Malformed, PeerAnswer, PeerCall};
use super::wire;
use crate::node::Arrival;

/// A client's call that is not answered for so long ends. Whoever asked has asked again long before.
const CLIENT_CALL_MAX: Duration = Duration::from_secs(5);
/// A peer's call stands open for less time than its caller waits: a call whose caller has gone would take an answer to nobody.
const PEER_CALL_MAX: Duration = Duration::from_millis(500);

/// Where questions go: the inbox that [`CurpNode::serve`](crate::CurpNode::serve) reads.
pub type Inbox = UnboundedSender<Arrival>;

/// Both services of a node.
#[derive(Clone)]
pub struct Services {
    inbox: Inbox,
    board: Arc<Board>,
}

type Answered<T> = Result<Response<T>, Status>;

impl Services {
    /// Services that put their questions into this inbox and wait on this board.
    pub fn new(inbox: Inbox, board: Arc<Board>) -> Self {
        Services { inbox, board }
    }

    fn give(&self, from: Address, message: Message<Command>) -> Result<(), Status> {
        self.inbox.send(Arrival::Message { from, message }).map_err(|_| Status::unavailable("the node has stopped"))
    }

    /// On the board first, then to the node: an answer that comes at once finds the call there.
    async fn ask(&self, key: Key, from: Address, message: Message<Command>) -> Result<Message<Command>, Status> {
        let open = if mutants::on(Mutant::LostWakeUp) && matches!(key, Key::Propose(..)) {
            self.give(from, message)?;
            crate::sleep(Duration::from_millis(1)).await;
            self.board.open(key)
        } else {
            let open = self.board.open(key);
            self.give(from, message)?;
            open
        };
        let wait = if matches!(from, Address::Client(_)) { CLIENT_CALL_MAX } else { PEER_CALL_MAX };
        let answer = timeout(wait, open.answered()).await.map_err(|_| Status::deadline_exceeded("no answer in time"))?;
        answer.ok_or_else(|| Status::unavailable("the node has stopped"))
    }

    async fn ask_as_client(&self, call: ClientCall) -> Result<Reply<Command>, Status> {
        let (client, request) = convert::client_request(call)?;
        let key = match &request {
            Ask::Propose { proposal } => Key::Propose(client, proposal.id),
            Ask::Record { proposal, .. } => Key::Record(client, proposal.id),
            Ask::Read { read, .. } => Key::Read(*read),
            Ask::BeginSession { .. } | Ask::EndSession { .. } => Key::Session(client),
            Ask::FetchCluster => Key::Cluster(client),
            Ask::Admin { nonce, .. } => Key::Admin(client, *nonce),
            Ask::Watch { watch, pull, .. } => Key::Watch(*watch, *pull),
            Ask::Unwatch { .. } | Ask::Call { .. } => return Err(Status::internal("nobody answers that")),
        };
        match self.ask(key, Address::Client(client), Message::Request(request)).await? {
            Message::Reply(reply) => Ok(reply),
            _ => Err(Status::internal("a client is answered by replies")),
        }
    }

    /// `None`: the call is one that is not answered.
    async fn ask_as_peer(&self, call: PeerCall) -> Result<Option<PeerAnswer>, Status> {
        let (from, message) = convert::peer_question(call)?;
        let (Address::Node(node), Message::Peer { body, .. }) = (from, &message) else {
            return Err(Status::internal("a peer is a node"));
        };
        let key = match body {
            PeerMessage::PreVote { .. } => Key::PreVote(node),
            PeerMessage::Vote { .. } => Key::Vote(node),
            PeerMessage::Append { .. } => Key::Append(node),
            PeerMessage::Heartbeat { .. } => Key::Heartbeat(node),
            PeerMessage::ReadIndex { read, .. } => Key::ReadIndex(node, *read),
            PeerMessage::InstallSnapshot { .. } => Key::Snapshot(node),
            _ => return self.give(from, message).map(|()| None),
        };
        match self.ask(key, from, message).await? {
            Message::Peer { term, body } => Ok(convert::peer_answer(term, &body)),
            _ => Err(Status::internal("a peer is answered by peer messages")),
        }
    }
}

impl From<Malformed> for Status {
    fn from(malformed: Malformed) -> Status {
        Status::invalid_argument(malformed.to_string())
    }
}

/// The answer in the form of the call, which every answer on its card has.
fn answer<T>(response: Option<T>) -> Answered<T> {
    response.map(Response::new).ok_or_else(|| Status::internal("an answer of another kind"))
}

#[tonic::async_trait]
impl wire::curp_server::Curp for Services {
    async fn propose(&self, request: Request<wire::ProposeRequest>) -> Answered<wire::ProposeResponse> {
        answer(convert::propose_response(&self.ask_as_client(ClientCall::Propose(request.into_inner())).await?))
    }

    async fn wait_synced(&self, request: Request<wire::WaitSyncedRequest>) -> Answered<wire::WaitSyncedResponse> {
        let wire::WaitSyncedRequest { client, id } = request.into_inner();
        let id = convert::id_in(id)?;
        let open = self.board.open(Key::Synced(client, id));
        let synced = match self.board.kept(client, id) {
            Some(kept) => Some(kept),
            None => timeout(CLIENT_CALL_MAX, open.answered()).await.map_err(|_| Status::deadline_exceeded("no result in time"))?,
        };
        match synced {
            Some(Message::Reply(reply)) => answer(convert::wait_synced_response(&reply)),
            _ => Err(Status::unavailable("the node has stopped")),
        }
    }

    async fn record(&self, request: Request<wire::RecordRequest>) -> Answered<wire::RecordResponse> {
        answer(convert::record_response(&self.ask_as_client(ClientCall::Record(request.into_inner())).await?))
    }

    async fn read(&self, request: Request<wire::ReadRequest>) -> Answered<wire::ReadResponse> {
        answer(convert::read_response(&self.ask_as_client(ClientCall::Read(request.into_inner())).await?))
    }

    async fn begin_session(&self, request: Request<wire::BeginSessionRequest>) -> Answered<wire::SessionResponse> {
        answer(convert::session_response(&self.ask_as_client(ClientCall::BeginSession(request.into_inner())).await?))
    }

    async fn end_session(&self, request: Request<wire::EndSessionRequest>) -> Answered<wire::SessionResponse> {
        answer(convert::session_response(&self.ask_as_client(ClientCall::EndSession(request.into_inner())).await?))
    }

    async fn fetch_leader(&self, request: Request<wire::FetchRequest>) -> Answered<wire::Leadership> {
        let reply = self.ask_as_client(ClientCall::FetchCluster(request.into_inner())).await?;
        answer(convert::cluster_response(&reply).and_then(|cluster| cluster.leadership))
    }

    async fn fetch_cluster(&self, request: Request<wire::FetchRequest>) -> Answered<wire::FetchClusterResponse> {
        answer(convert::cluster_response(&self.ask_as_client(ClientCall::FetchCluster(request.into_inner())).await?))
    }

    async fn admin(&self, request: Request<wire::AdminRequest>) -> Answered<wire::AdminResponse> {
        answer(convert::admin_response(&self.ask_as_client(ClientCall::Admin(request.into_inner())).await?))
    }

    async fn watch(&self, request: Request<wire::WatchRequest>) -> Answered<wire::WatchResponse> {
        answer(convert::watch_response(&self.ask_as_client(ClientCall::Watch(request.into_inner())).await?))
    }

    async fn unwatch(&self, request: Request<wire::UnwatchRequest>) -> Answered<wire::Nothing> {
        let (client, request) = convert::client_request(ClientCall::Unwatch(request.into_inner()))?;
        self.give(Address::Client(client), Message::Request(request))?;
        answer(Some(wire::Nothing {}))
    }
}

#[tonic::async_trait]
impl wire::peer_server::Peer for Services {
    async fn vote(&self, request: Request<wire::VoteRequest>) -> Answered<wire::VoteResponse> {
        match self.ask_as_peer(PeerCall::Vote(request.into_inner())).await? {
            Some(PeerAnswer::Vote(response)) => answer(Some(response)),
            _ => answer(None),
        }
    }

    async fn append_entries(&self, request: Request<wire::AppendEntriesRequest>) -> Answered<wire::AppendEntriesResponse> {
        match self.ask_as_peer(PeerCall::AppendEntries(request.into_inner())).await? {
            Some(PeerAnswer::AppendEntries(response)) => answer(Some(response)),
            None => {
                let none = wire::append_entries_response::Answer::None(wire::Nothing {});
                answer(Some(wire::AppendEntriesResponse { term: 0, answer: Some(none) }))
            }
            _ => answer(None),
        }
    }

    async fn read_index(&self, request: Request<wire::ReadIndexRequest>) -> Answered<wire::ReadIndexResponse> {
        match self.ask_as_peer(PeerCall::ReadIndex(request.into_inner())).await? {
            Some(PeerAnswer::ReadIndex(response)) => answer(Some(response)),
            _ => answer(None),
        }
    }

    async fn hand_over(&self, request: Request<wire::HandOverRequest>) -> Answered<wire::Nothing> {
        self.ask_as_peer(PeerCall::HandOver(request.into_inner())).await?;
        answer(Some(wire::Nothing {}))
    }

    async fn install_snapshot(&self, request: Request<wire::InstallSnapshotRequest>) -> Answered<wire::InstallSnapshotResponse> {
        let response = self.ask_as_peer(PeerCall::InstallSnapshot(request.into_inner())).await?;
        answer(response.and_then(convert::install_response))
    }

    async fn timeout_now(&self, request: Request<wire::TimeoutNowRequest>) -> Answered<wire::Nothing> {
        self.ask_as_peer(PeerCall::TimeoutNow(request.into_inner())).await?;
        answer(Some(wire::Nothing {}))
    }
}
