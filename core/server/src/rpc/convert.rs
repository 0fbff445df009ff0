//! Between the protocol's messages and what goes over the wire. Every message has one form there, and comes back the same.

use std::sync::Arc;

use curp::{
    Address, ClientAddress, ConfigVersion, Entry, Leadership, Membership, Message, NodeId, PeerMessage, Proposal, ProposeId, ReadId,
    Refusal, Reply, Request as Ask, Synced, Term,
};
use kv::{Request, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::wire;
use super::wire::{
    append_entries_request as append, append_entries_response as appended, propose_response as proposed, read_response as read_back,
    record_response as recorded, refused, session_response as session, vote_response as vote, wait_synced_response as waited,
};

/// What came over the wire is no message of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is missing or does not decode")]
pub struct Malformed(&'static str);

type Result<T> = std::result::Result<T, Malformed>;

fn bytes<T: Serialize>(value: &T) -> Vec<u8> {
    // The types are plain data: postcard refuses only what has no length or no fixed shape.
    postcard::to_stdvec(value).expect("plain data has an encoding")
}

fn value<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> Result<T> {
    postcard::from_bytes(bytes).map_err(|_| Malformed(what))
}

fn some<T>(field: Option<T>, what: &'static str) -> Result<T> {
    field.ok_or(Malformed(what))
}

// ---- words ----

fn id_out(id: ProposeId) -> Option<wire::ProposeId> {
    Some(wire::ProposeId { client: id.client, seq: id.seq })
}

pub(super) fn id_in(id: Option<wire::ProposeId>) -> Result<ProposeId> {
    some(id, "a propose id").map(|id| ProposeId { client: id.client, seq: id.seq })
}

fn config_out(config: ConfigVersion) -> Option<wire::ConfigVersion> {
    Some(wire::ConfigVersion { term: config.term, index: config.index })
}

fn config_in(config: Option<wire::ConfigVersion>) -> Result<ConfigVersion> {
    some(config, "a configuration's version").map(|c| ConfigVersion { term: c.term, index: c.index })
}

fn leadership_out(leadership: Leadership) -> wire::Leadership {
    wire::Leadership { term: leadership.term, leader: leadership.leader }
}

fn leadership_in(leadership: wire::Leadership) -> Leadership {
    Leadership { term: leadership.term, leader: leadership.leader }
}

fn proposal_out(proposal: &Proposal<Request>) -> wire::Proposal {
    let command = bytes(&*proposal.command);
    wire::Proposal { id: id_out(proposal.id), first_incomplete: proposal.first_incomplete, command }
}

fn proposal_in(proposal: wire::Proposal) -> Result<Arc<Proposal<Request>>> {
    let command = Arc::new(value(&proposal.command, "a command")?);
    Ok(Arc::new(Proposal { id: id_in(proposal.id)?, first_incomplete: proposal.first_incomplete, command }))
}

fn read_out(read: ReadId) -> Option<wire::ReadId> {
    Some(wire::ReadId { client: read.0, number: read.1 })
}

fn read_in(read: Option<wire::ReadId>) -> Result<ReadId> {
    some(read, "a read's name").map(|read| (read.client, read.number))
}

fn synced_out(id: ProposeId, synced: &Synced<Response>) -> wire::Synced {
    wire::Synced { id: id_out(id), revision: synced.revision, response: bytes(&synced.response) }
}

fn synced_in(synced: &wire::Synced) -> Result<Reply<Request>> {
    let response = value(&synced.response, "a response")?;
    Ok(Reply::Synced { id: id_in(synced.id)?, synced: Synced { revision: synced.revision, response } })
}

fn refused_out(id: ProposeId, why: Refusal) -> wire::Refused {
    let nothing = wire::Nothing {};
    let why = match why {
        Refusal::NotLeader(leadership) => refused::Why::NotLeader(leadership_out(leadership)),
        Refusal::NotReady => refused::Why::NotReady(nothing),
        Refusal::NoSession => refused::Why::NoSession(nothing),
        Refusal::Acknowledged => refused::Why::Acknowledged(nothing),
        Refusal::Invalid => refused::Why::Invalid(nothing),
    };
    wire::Refused { id: id_out(id), why: Some(why) }
}

fn refused_in(refused: &wire::Refused) -> Result<Reply<Request>> {
    let why = match some(refused.why, "why a proposal was refused")? {
        refused::Why::NotLeader(leadership) => Refusal::NotLeader(leadership_in(leadership)),
        refused::Why::NotReady(_) => Refusal::NotReady,
        refused::Why::NoSession(_) => Refusal::NoSession,
        refused::Why::Acknowledged(_) => Refusal::Acknowledged,
        refused::Why::Invalid(_) => Refusal::Invalid,
    };
    Ok(Reply::Refused { id: id_in(refused.id)?, why })
}

// ---- clients ----

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
}

/// The call that carries a request.
pub fn client_call(client: ClientAddress, request: &Ask<Request>) -> ClientCall {
    match request {
        Ask::Propose { proposal } => ClientCall::Propose(wire::ProposeRequest { client, proposal: Some(proposal_out(proposal)) }),
        Ask::Record { term, config, proposal } => {
            let proposal = Some(proposal_out(proposal));
            ClientCall::Record(wire::RecordRequest { client, term: *term, config: config_out(*config), proposal })
        }
        Ask::Read { read, command } => ClientCall::Read(wire::ReadRequest { read: read_out(*read), command: bytes(&**command) }),
        Ask::BeginSession { nonce } => ClientCall::BeginSession(wire::BeginSessionRequest { client, nonce: *nonce }),
        Ask::EndSession { client: session } => ClientCall::EndSession(wire::EndSessionRequest { client, session: *session }),
        Ask::FetchCluster => ClientCall::FetchCluster(wire::FetchRequest { client }),
        Ask::Admin { .. } => unreachable!("CONTRACT: not carried yet"),
    }
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

/// What answers a FetchCluster; `None` for other replies.
pub fn cluster_response(reply: &Reply<Request>) -> Option<wire::FetchClusterResponse> {
    let Reply::Cluster { leadership, membership } = reply else { return None };
    let membership = wire::Membership { version: config_out(membership.version), voters: membership.voters.clone() };
    Some(wire::FetchClusterResponse { leadership: Some(leadership_out(*leadership)), membership: Some(membership) })
}

/// The way back.
///
/// # Errors
/// It is no answer.
pub fn cluster_reply(response: &wire::FetchClusterResponse) -> Result<Reply<Request>> {
    let leadership = leadership_in(some(response.leadership, "who leads")?);
    let membership = some(response.membership.as_ref(), "who votes")?;
    let membership = Membership { version: config_in(membership.version)?, voters: membership.voters.clone(), ..Membership::default() };
    Ok(Reply::Cluster { leadership, membership })
}

// ---- nodes ----

/// A node's question to another as a call.
#[derive(Clone, Debug, PartialEq)]
pub enum PeerCall {
    /// See the service.
    Vote(wire::VoteRequest),
    /// See the service.
    AppendEntries(wire::AppendEntriesRequest),
    /// See the service.
    ReadIndex(wire::ReadIndexRequest),
    /// See the service.
    HandOver(wire::HandOverRequest),
}

/// A node's answer to another.
#[derive(Clone, Debug, PartialEq)]
pub enum PeerAnswer {
    /// To a Vote.
    Vote(wire::VoteResponse),
    /// To an AppendEntries.
    AppendEntries(wire::AppendEntriesResponse),
    /// To a ReadIndex.
    ReadIndex(wire::ReadIndexResponse),
}

/// The call that carries a question; `None` for answers.
pub fn peer_call(from: NodeId, term: Term, body: &PeerMessage<Request>) -> Option<PeerCall> {
    let nothing = wire::Nothing {};
    let append = |commit: u64, what| PeerCall::AppendEntries(wire::AppendEntriesRequest { from, term, commit, what: Some(what) });
    Some(match body {
        PeerMessage::InstallSnapshot { .. } | PeerMessage::SnapshotReceived { .. } | PeerMessage::TimeoutNow => {
            unreachable!("CONTRACT: not carried yet")
        }
        PeerMessage::PreVote { last_term, last_index } | PeerMessage::Vote { last_term, last_index } => {
            let pre = matches!(body, PeerMessage::PreVote { .. });
            PeerCall::Vote(wire::VoteRequest { from, term, pre, last_term: *last_term, last_index: *last_index })
        }
        PeerMessage::Append { prev_index, prev_term, entries, commit } => {
            let entry = |e: &Arc<Entry<Request>>| wire::LogEntry { term: e.term, index: e.index, payload: bytes(&e.payload) };
            let entries = entries.iter().map(entry).collect();
            append(*commit, append::What::Entries(wire::Entries { prev_index: *prev_index, prev_term: *prev_term, entries }))
        }
        PeerMessage::Heartbeat { commit, round } => append(*commit, append::What::HeartbeatRound(*round)),
        PeerMessage::Commit { commit } => append(*commit, append::What::CommitOnly(nothing)),
        PeerMessage::ReadIndex { read, command } => {
            PeerCall::ReadIndex(wire::ReadIndexRequest { from, term, read: read_out(*read), command: bytes(&**command) })
        }
        PeerMessage::HandOver { proposals } => {
            PeerCall::HandOver(wire::HandOverRequest { from, term, proposals: proposals.iter().map(|p| proposal_out(p)).collect() })
        }
        PeerMessage::PreVoteReply { .. }
        | PeerMessage::VoteReply { .. }
        | PeerMessage::Appended { .. }
        | PeerMessage::AppendRejected { .. }
        | PeerMessage::HeartbeatReply { .. }
        | PeerMessage::ReadIndexReply { .. } => return None,
    })
}

/// The question that a call carries, and who asks.
///
/// # Errors
/// It is none.
pub fn peer_question(call: PeerCall) -> Result<(Address, Message<Request>)> {
    let (from, term, body) = match call {
        PeerCall::Vote(wire::VoteRequest { from, term, pre, last_term, last_index }) => {
            let body = if pre { PeerMessage::PreVote { last_term, last_index } } else { PeerMessage::Vote { last_term, last_index } };
            (from, term, body)
        }
        PeerCall::AppendEntries(call) => {
            let commit = call.commit;
            let body = match some(call.what, "what to append")? {
                append::What::Entries(e) => {
                    let entry = |e: &wire::LogEntry| {
                        let payload = value(&e.payload, "a log entry")?;
                        Ok(Arc::new(Entry { term: e.term, index: e.index, payload }))
                    };
                    let entries = e.entries.iter().map(entry).collect::<Result<Vec<_>>>()?;
                    PeerMessage::Append { prev_index: e.prev_index, prev_term: e.prev_term, entries, commit }
                }
                append::What::HeartbeatRound(round) => PeerMessage::Heartbeat { commit, round },
                append::What::CommitOnly(_) => PeerMessage::Commit { commit },
            };
            (call.from, call.term, body)
        }
        PeerCall::ReadIndex(call) => {
            let command = Arc::new(value(&call.command, "a command")?);
            (call.from, call.term, PeerMessage::ReadIndex { read: read_in(call.read)?, command })
        }
        PeerCall::HandOver(call) => {
            let proposals = call.proposals.into_iter().map(proposal_in).collect::<Result<Vec<_>>>()?;
            (call.from, call.term, PeerMessage::HandOver { proposals })
        }
    };
    Ok((Address::Node(from), Message::Peer { term, body }))
}

/// The answer that a message is; `None` for questions.
pub fn peer_answer(term: Term, body: &PeerMessage<Request>) -> Option<PeerAnswer> {
    let append = |answer| PeerAnswer::AppendEntries(wire::AppendEntriesResponse { term, answer: Some(answer) });
    let vote = |answer| PeerAnswer::Vote(wire::VoteResponse { term, answer: Some(answer) });
    Some(match body {
        PeerMessage::PreVoteReply { asked, granted } => vote(vote::Answer::Pre(wire::PreVote { asked: *asked, granted: *granted })),
        PeerMessage::VoteReply { pool: Some(pool) } => {
            vote(vote::Answer::Granted(wire::Pool { proposals: pool.iter().map(|p| proposal_out(p)).collect() }))
        }
        PeerMessage::VoteReply { pool: None } => vote(vote::Answer::Refused(wire::Nothing {})),
        PeerMessage::Appended { index } => append(appended::Answer::Appended(*index)),
        PeerMessage::AppendRejected { prev_index, hint_index, hint_term } => {
            let rejected = wire::Rejected { prev_index: *prev_index, hint_index: *hint_index, hint_term: *hint_term };
            append(appended::Answer::Rejected(rejected))
        }
        PeerMessage::HeartbeatReply { round } => append(appended::Answer::HeartbeatRound(*round)),
        PeerMessage::ReadIndexReply { read, index } => {
            PeerAnswer::ReadIndex(wire::ReadIndexResponse { term, read: read_out(*read), index: *index })
        }
        _ => return None,
    })
}

/// The message that an answer is; `None` if the call is one that is not answered.
///
/// # Errors
/// It is no answer.
pub fn peer_message(answer: PeerAnswer) -> Result<Option<Message<Request>>> {
    let (term, body) = match answer {
        PeerAnswer::Vote(response) => {
            let body = match some(response.answer, "the answer to a vote")? {
                vote::Answer::Pre(pre) => PeerMessage::PreVoteReply { asked: pre.asked, granted: pre.granted },
                vote::Answer::Granted(pool) => {
                    PeerMessage::VoteReply { pool: Some(pool.proposals.into_iter().map(proposal_in).collect::<Result<Vec<_>>>()?) }
                }
                vote::Answer::Refused(_) => PeerMessage::VoteReply { pool: None },
            };
            (response.term, body)
        }
        PeerAnswer::AppendEntries(response) => {
            let body = match some(response.answer, "the answer to an append")? {
                appended::Answer::Appended(index) => PeerMessage::Appended { index },
                appended::Answer::Rejected(r) => {
                    PeerMessage::AppendRejected { prev_index: r.prev_index, hint_index: r.hint_index, hint_term: r.hint_term }
                }
                appended::Answer::HeartbeatRound(round) => PeerMessage::HeartbeatReply { round },
                appended::Answer::None(_) => return Ok(None),
            };
            (response.term, body)
        }
        PeerAnswer::ReadIndex(response) => {
            (response.term, PeerMessage::ReadIndexReply { read: read_in(response.read)?, index: response.index })
        }
    };
    Ok(Some(Message::Peer { term, body }))
}
