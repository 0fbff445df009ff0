//! What nodes say to each other.

use std::sync::Arc;

use curp::{Address, Entry, Message, NodeId, PeerMessage, SnapshotMeta, Term};
use kv::Request;

use super::super::wire::{
    self, append_entries_request as append, append_entries_response as appended, install_snapshot_response as installed,
    vote_response as vote,
};
use super::*;

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
    /// See the service.
    InstallSnapshot(wire::InstallSnapshotRequest),
    /// See the service.
    TimeoutNow(wire::TimeoutNowRequest),
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
    /// To an InstallSnapshot.
    InstallSnapshot(wire::InstallSnapshotResponse),
}

/// The call that carries a question; `None` for answers.
pub fn peer_call(from: NodeId, term: Term, body: &PeerMessage<Request>) -> Option<PeerCall> {
    let nothing = wire::Nothing {};
    let append = |commit: u64, what| PeerCall::AppendEntries(wire::AppendEntriesRequest { from, term, commit, what: Some(what) });
    Some(match body {
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
        PeerMessage::InstallSnapshot { meta, total, checksum, offset, data, chunk_checksum } => {
            PeerCall::InstallSnapshot(wire::InstallSnapshotRequest {
                from,
                term,
                index: meta.index,
                snapshot_term: meta.term,
                membership: Some(membership_out(&meta.membership)),
                total: *total,
                checksum: *checksum,
                offset: *offset,
                data: data.to_vec(),
                chunk_checksum: *chunk_checksum,
            })
        }
        PeerMessage::TimeoutNow => PeerCall::TimeoutNow(wire::TimeoutNowRequest { from, term }),
        PeerMessage::PreVoteReply { .. }
        | PeerMessage::SnapshotReceived { .. }
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
        PeerCall::InstallSnapshot(call) => {
            let membership = membership_in(some(call.membership.as_ref(), "a snapshot's configuration")?)?;
            let body = PeerMessage::InstallSnapshot {
                meta: SnapshotMeta { index: call.index, term: call.snapshot_term, membership },
                total: call.total,
                checksum: call.checksum,
                offset: call.offset,
                data: Arc::new(call.data),
                chunk_checksum: call.chunk_checksum,
            };
            (call.from, call.term, body)
        }
        PeerCall::TimeoutNow(call) => (call.from, call.term, PeerMessage::TimeoutNow),
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
        PeerMessage::SnapshotReceived { index, next } => {
            let received = installed::Answer::Received(wire::SnapshotReceived { index: *index, next: *next });
            PeerAnswer::InstallSnapshot(wire::InstallSnapshotResponse { term, answer: Some(received) })
        }
        PeerMessage::PreVote { .. }
        | PeerMessage::Vote { .. }
        | PeerMessage::Append { .. }
        | PeerMessage::Commit { .. }
        | PeerMessage::Heartbeat { .. }
        | PeerMessage::ReadIndex { .. }
        | PeerMessage::InstallSnapshot { .. }
        | PeerMessage::TimeoutNow
        | PeerMessage::HandOver { .. } => return None,
    })
}

/// The answer in the form of an InstallSnapshot's: the last piece of a snapshot, and one that is not needed, are answered as an append is.
pub fn install_response(answer: PeerAnswer) -> Option<wire::InstallSnapshotResponse> {
    match answer {
        PeerAnswer::InstallSnapshot(response) => Some(response),
        PeerAnswer::AppendEntries(wire::AppendEntriesResponse { term, answer: Some(answer) }) => {
            let answer = match answer {
                appended::Answer::Appended(index) => installed::Answer::Appended(index),
                appended::Answer::Rejected(rejected) => installed::Answer::Rejected(rejected),
                _ => return None,
            };
            Some(wire::InstallSnapshotResponse { term, answer: Some(answer) })
        }
        _ => None,
    }
}

fn rejected_in(r: wire::Rejected) -> PeerMessage<Request> {
    PeerMessage::AppendRejected { prev_index: r.prev_index, hint_index: r.hint_index, hint_term: r.hint_term }
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
                appended::Answer::Rejected(rejected) => rejected_in(rejected),
                appended::Answer::HeartbeatRound(round) => PeerMessage::HeartbeatReply { round },
                appended::Answer::None(_) => return Ok(None),
            };
            (response.term, body)
        }
        PeerAnswer::ReadIndex(response) => {
            (response.term, PeerMessage::ReadIndexReply { read: read_in(response.read)?, index: response.index })
        }
        PeerAnswer::InstallSnapshot(response) => {
            let body = match some(response.answer, "the answer to a snapshot")? {
                installed::Answer::Received(r) => PeerMessage::SnapshotReceived { index: r.index, next: r.next },
                installed::Answer::Appended(index) => PeerMessage::Appended { index },
                installed::Answer::Rejected(rejected) => rejected_in(rejected),
            };
            (response.term, body)
        }
    };
    Ok(Some(Message::Peer { term, body }))
}
