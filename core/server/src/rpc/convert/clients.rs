//! What clients ask, and the answers.

use std::sync::Arc;

use curp::{ClientAddress, Reply, Request as Ask, Synced};
use kv::Request;

use super::super::wire::{
    self, propose_response as proposed, read_response as read_back, record_response as recorded, session_response as session,
    wait_synced_response as waited,
};
use super::admin::{wish_in, wish_out};
use super::*;

/// A client's request as a call.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientCall {
    /// See the service.
    Propose(wire::ProposeRequest),
    /// See the service.
    Record(wire::RecordRequest),
    /// See the service.
    Read(wire::ReadRequest),
    /// See the service.
    BeginSession(wire::BeginSessionRequest),
    /// See the service.
    EndSession(wire::EndSessionRequest),
    /// See the service.
    FetchCluster(wire::FetchRequest),
    /// See the service.
    Admin(wire::AdminRequest),
    /// See the service.
    Watch(wire::WatchRequest),
    /// See the service.
    Unwatch(wire::UnwatchRequest),
}

/// The call that carries a request; `None` for those of etcd's API, which has services of its own.
pub fn client_call(client: ClientAddress, request: &Ask<Request>) -> Option<ClientCall> {
    Some(match request {
        Ask::Propose { proposal } => ClientCall::Propose(wire::ProposeRequest { client, proposal: Some(proposal_out(proposal)) }),
        Ask::Record { term, config, proposal } => {
            let proposal = Some(proposal_out(proposal));
            ClientCall::Record(wire::RecordRequest { client, term: *term, config: config_out(*config), proposal })
        }
        Ask::Read { read, command } => ClientCall::Read(wire::ReadRequest { read: read_out(*read), command: bytes(&**command) }),
        Ask::BeginSession { nonce } => ClientCall::BeginSession(wire::BeginSessionRequest { client, nonce: *nonce }),
        Ask::EndSession { client: session } => ClientCall::EndSession(wire::EndSessionRequest { client, session: *session }),
        Ask::FetchCluster => ClientCall::FetchCluster(wire::FetchRequest { client }),
        Ask::Admin { nonce, wish } => ClientCall::Admin(wire::AdminRequest { client, nonce: *nonce, wish: Some(wish_out(wish)) }),
        Ask::Watch { watch: (client, number), pull, create, progress } => {
            let (client, number, create) = (*client, *number, bytes(&**create));
            ClientCall::Watch(wire::WatchRequest { client, number, pull: *pull, create, progress: *progress })
        }
        Ask::Unwatch { watch: (client, number) } => ClientCall::Unwatch(wire::UnwatchRequest { client: *client, number: *number }),
        Ask::Call { .. } => return None,
    })
}

/// The request that a call carries, and who asks.
///
/// # Errors
/// It is none.
pub fn client_request(call: ClientCall) -> Result<(ClientAddress, Ask<Request>)> {
    Ok(match call {
        ClientCall::Propose(call) => (call.client, Ask::Propose { proposal: proposal_in(some(call.proposal, "a proposal")?)? }),
        ClientCall::Record(call) => {
            let (config, proposal) = (config_in(call.config)?, proposal_in(some(call.proposal, "a proposal")?)?);
            (call.client, Ask::Record { term: call.term, config, proposal })
        }
        ClientCall::Read(call) => {
            let read = read_in(call.read)?;
            (read.0, Ask::Read { read, command: Arc::new(value(&call.command, "a command")?) })
        }
        ClientCall::BeginSession(call) => (call.client, Ask::BeginSession { nonce: call.nonce }),
        ClientCall::EndSession(call) => (call.client, Ask::EndSession { client: call.session }),
        ClientCall::FetchCluster(call) => (call.client, Ask::FetchCluster),
        ClientCall::Admin(call) => {
            (call.client, Ask::Admin { nonce: call.nonce, wish: wish_in(some(call.wish, "what an operator wants")?)? })
        }
        ClientCall::Watch(call) => {
            let (watch, create) = ((call.client, call.number), Arc::new(value(&call.create, "what to watch")?));
            (call.client, Ask::Watch { watch, pull: call.pull, create, progress: call.progress })
        }
        ClientCall::Unwatch(call) => (call.client, Ask::Unwatch { watch: (call.client, call.number) }),
    })
}

/// What answers a Propose; `None` for other replies.
pub fn propose_response(reply: &Reply<Request>) -> Option<wire::ProposeResponse> {
    let answer = match reply {
        Reply::Executed { id, term, config, response } => {
            let (id, config, response) = (id_out(*id), config_out(*config), bytes(response));
            proposed::Answer::Executed(wire::Executed { id, term: *term, config, response })
        }
        Reply::Conflict { id, term } => proposed::Answer::Conflict(wire::Conflict { id: id_out(*id), term: *term }),
        Reply::Synced { id, synced } => proposed::Answer::Synced(synced_out(*id, synced)),
        Reply::Refused { id, why } => proposed::Answer::Refused(refused_out(*id, *why)),
        _ => return None,
    };
    Some(wire::ProposeResponse { answer: Some(answer) })
}

/// The way back.
///
/// # Errors
/// It is no answer.
pub fn propose_reply(response: &wire::ProposeResponse) -> Result<Reply<Request>> {
    match some(response.answer.as_ref(), "the answer to a proposal")? {
        proposed::Answer::Executed(e) => {
            let (id, config, response) = (id_in(e.id)?, config_in(e.config)?, value(&e.response, "a response")?);
            Ok(Reply::Executed { id, term: e.term, config, response })
        }
        proposed::Answer::Conflict(c) => Ok(Reply::Conflict { id: id_in(c.id)?, term: c.term }),
        proposed::Answer::Synced(synced) => synced_in(synced),
        proposed::Answer::Refused(refused) => refused_in(refused),
    }
}

/// What answers a WaitSynced; `None` for other replies.
pub fn wait_synced_response(reply: &Reply<Request>) -> Option<wire::WaitSyncedResponse> {
    let answer = match reply {
        Reply::Synced { id, synced } => waited::Answer::Synced(synced_out(*id, synced)),
        Reply::Refused { id, why } => waited::Answer::Refused(refused_out(*id, *why)),
        _ => return None,
    };
    Some(wire::WaitSyncedResponse { answer: Some(answer) })
}

/// The way back.
///
/// # Errors
/// It is no answer.
pub fn wait_synced_reply(response: &wire::WaitSyncedResponse) -> Result<Reply<Request>> {
    match some(response.answer.as_ref(), "a synced answer")? {
        waited::Answer::Synced(synced) => synced_in(synced),
        waited::Answer::Refused(refused) => refused_in(refused),
    }
}

/// What answers a Record; `None` for other replies.
pub fn record_response(reply: &Reply<Request>) -> Option<wire::RecordResponse> {
    let answer = match *reply {
        Reply::Recorded { id, term, config, accepted, current } => {
            recorded::Answer::Recorded(wire::Recorded { id: id_out(id), term, config: config_out(config), accepted, current })
        }
        Reply::Refused { id, why } => recorded::Answer::Refused(refused_out(id, why)),
        _ => return None,
    };
    Some(wire::RecordResponse { answer: Some(answer) })
}

/// The way back.
///
/// # Errors
/// It is no answer.
pub fn record_reply(response: &wire::RecordResponse) -> Result<Reply<Request>> {
    match some(response.answer.as_ref(), "the answer to a record")? {
        recorded::Answer::Recorded(r) => {
            let (id, config) = (id_in(r.id)?, config_in(r.config)?);
            Ok(Reply::Recorded { id, term: r.term, config, accepted: r.accepted, current: r.current })
        }
        recorded::Answer::Refused(refused) => refused_in(refused),
    }
}

/// What answers a Read; `None` for other replies.
pub fn read_response(reply: &Reply<Request>) -> Option<wire::ReadResponse> {
    let (read, answer) = match reply {
        Reply::Read { read, applied, synced } => {
            let response = bytes(&synced.response);
            (read, read_back::Answer::Result(wire::ReadResult { applied: *applied, revision: synced.revision, response }))
        }
        Reply::ReadRefused { read, cluster } => (read, read_back::Answer::Refused(leadership_out(*cluster))),
        _ => return None,
    };
    Some(wire::ReadResponse { read: read_out(*read), answer: Some(answer) })
}

/// The way back.
///
/// # Errors
/// It is no answer.
pub fn read_reply(response: &wire::ReadResponse) -> Result<Reply<Request>> {
    let read = read_in(response.read)?;
    Ok(match some(response.answer.as_ref(), "the answer to a read")? {
        read_back::Answer::Result(r) => {
            let synced = Synced { revision: r.revision, response: value(&r.response, "a response")? };
            Reply::Read { read, applied: r.applied, synced }
        }
        read_back::Answer::Refused(cluster) => Reply::ReadRefused { read, cluster: leadership_in(*cluster) },
    })
}

/// What answers a session's begin or end; `None` for other replies.
pub fn session_response(reply: &Reply<Request>) -> Option<wire::SessionResponse> {
    let answer = match *reply {
        Reply::SessionBegun { nonce, client } => session::Answer::Begun(wire::SessionBegun { nonce, session: client }),
        Reply::SessionEnded { client } => session::Answer::Ended(client),
        Reply::SessionRefused { cluster } => session::Answer::Refused(leadership_out(cluster)),
        _ => return None,
    };
    Some(wire::SessionResponse { answer: Some(answer) })
}

/// The way back.
///
/// # Errors
/// It is no answer.
pub fn session_reply(response: &wire::SessionResponse) -> Result<Reply<Request>> {
    Ok(match some(response.answer.as_ref(), "the answer about a session")? {
        session::Answer::Begun(begun) => Reply::SessionBegun { nonce: begun.nonce, client: begun.session },
        session::Answer::Ended(client) => Reply::SessionEnded { client: *client },
        session::Answer::Refused(cluster) => Reply::SessionRefused { cluster: leadership_in(*cluster) },
    })
}

/// What answers a Watch; `None` for other replies.
pub fn watch_response(reply: &Reply<Request>) -> Option<wire::WatchResponse> {
    let Reply::Watch { watch: (client, number), pull, response } = reply else { return None };
    Some(wire::WatchResponse { client: *client, number: *number, pull: *pull, response: response.as_ref().map(bytes) })
}

/// The way back.
///
/// # Errors
/// It is no answer.
pub fn watch_reply(response: &wire::WatchResponse) -> Result<Reply<Request>> {
    let said = response.response.as_ref().map(|said| value(said, "what a watcher is told")).transpose()?;
    Ok(Reply::Watch { watch: (response.client, response.number), pull: response.pull, response: said })
}

/// What answers a FetchCluster; `None` for other replies.
pub fn cluster_response(reply: &Reply<Request>) -> Option<wire::FetchClusterResponse> {
    let Reply::Cluster { leadership, membership } = reply else { return None };
    Some(wire::FetchClusterResponse { leadership: Some(leadership_out(*leadership)), membership: Some(membership_out(membership)) })
}

/// The way back.
///
/// # Errors
/// It is no answer.
pub fn cluster_reply(response: &wire::FetchClusterResponse) -> Result<Reply<Request>> {
    let leadership = leadership_in(some(response.leadership, "who leads")?);
    let membership = membership_in(some(response.membership.as_ref(), "who votes")?)?;
    Ok(Reply::Cluster { leadership, membership })
}
