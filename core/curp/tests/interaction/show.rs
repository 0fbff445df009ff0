//! How a transcript spells what nodes say: one short line each. An entry is `INDEX@TERM what`, a record `#NUMBER what`; events have the
//! names of the specification's actions.

use std::fmt::Display;

use curp::{
    AdminDone, AdminRefusal, Applied, ConfigChange, Entry, Event, Leadership, LogBase, Membership, Message, Payload, PeerMessage, Proposal,
    ProposeId, Record, Reply, StateChange, Synced,
};

use crate::common::Cmd;

/// Any list, with commas.
pub fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() { "nothing".to_owned() } else { items.join(", ") }
}

pub fn proposal(p: &Proposal<Cmd>) -> String {
    let first = if p.first_incomplete > 1 { format!(" first={}", p.first_incomplete) } else { String::new() };
    format!("{} {}{first}", p.id, p.command)
}

pub fn entry(entry: &Entry<Cmd>) -> String {
    let what = match &entry.payload {
        Payload::Noop => "no-op".to_owned(),
        Payload::Command(p) => proposal(p),
        Payload::SessionBegin { .. } => format!("begin session {}", entry.index),
        Payload::SessionEnd { client } => format!("end session {client}"),
        Payload::Config { change, membership } => format!("{}, then {}", config_change(change), config(membership)),
        Payload::Own { command } => format!("the leader's own {command}"),
        Payload::Shutdown => "shutdown".to_owned(),
    };
    format!("{}@{} {what}", entry.index, entry.term)
}

/// Voters, learners in brackets, version.
pub fn config(membership: &Membership) -> String {
    let learners = if membership.learners.is_empty() { String::new() } else { format!(" and learners {}", list(&membership.learners)) };
    format!("voters {}{learners}, version {}@{}", list(&membership.voters), membership.version.index, membership.version.term)
}

fn config_change(change: &ConfigChange) -> String {
    match change {
        ConfigChange::AddLearner { node, .. } => format!("add learner {node}"),
        ConfigChange::Promote { node } => format!("promote {node}"),
        ConfigChange::Remove { node } => format!("remove {node}"),
        ConfigChange::Update { node, address } => format!("{node} is at {address}"),
    }
}

/// What an application is told of.
pub fn change(change: &StateChange) -> String {
    match change {
        StateChange::Role(role) => format!("role {role:?}"),
        StateChange::Leader(Leadership { term, leader: Some(leader) }) => format!("{leader} leads term {term}"),
        StateChange::Leader(Leadership { term, leader: None }) => format!("no leader of term {term} is known"),
        StateChange::Configuration(membership) => format!("configuration {}", config(membership)),
    }
}

/// Where a log begins, if it does not begin at 1.
fn from(base: LogBase, snapshot: u64) -> String {
    if snapshot == 0 { String::new() } else { format!("begins after {}, snapshot {snapshot}, ", base.index) }
}

pub fn record(record: &Record<Cmd>) -> String {
    match record {
        Record::HardState(s) => {
            let vote = s.vote.map_or("nobody".to_owned(), |vote| vote.to_string());
            format!("term {}, vote {vote}, commit {}", s.term, s.commit)
        }
        Record::Entry(e) => format!("entry {}", entry(e)),
        Record::PoolInsert(p) => format!("pool + {}", proposal(p)),
        Record::PoolRemove(id) => format!("pool - {id}"),
        Record::Snapshot(meta) => format!("snapshot {}@{}", meta.index, meta.term),
        Record::Checkpoint(base) => format!("checkpoint after {}@{}", base.index, base.term),
    }
}

pub fn value(value: &Option<u64>) -> String {
    value.map_or("nothing".to_owned(), |value| value.to_string())
}

fn synced(s: &Synced<Option<u64>>) -> String {
    format!("{} at revision {}", value(&s.response), s.revision)
}

fn read_name(read: &(u32, u64)) -> String {
    format!("read {}/{}", read.0, read.1)
}

/// The name by which a script picks a message.
pub fn type_name(body: &PeerMessage<Cmd>) -> &'static str {
    match body {
        PeerMessage::PreVote { .. } => "PreVote",
        PeerMessage::PreVoteReply { .. } => "PreVoteReply",
        PeerMessage::Vote { .. } => "Vote",
        PeerMessage::VoteReply { .. } => "VoteReply",
        PeerMessage::Append { .. } => "Append",
        PeerMessage::Appended { .. } => "Appended",
        PeerMessage::AppendRejected { .. } => "AppendRejected",
        PeerMessage::Commit { .. } => "Commit",
        PeerMessage::Heartbeat { .. } => "Heartbeat",
        PeerMessage::HeartbeatReply { .. } => "HeartbeatReply",
        PeerMessage::ReadIndex { .. } => "ReadIndex",
        PeerMessage::ReadIndexReply { .. } => "ReadIndexReply",
        PeerMessage::InstallSnapshot { .. } => "InstallSnapshot",
        PeerMessage::SnapshotReceived { .. } => "SnapshotReceived",
        PeerMessage::TimeoutNow => "TimeoutNow",
        PeerMessage::HandOver { .. } => "HandOver",
    }
}

fn body(body: &PeerMessage<Cmd>) -> String {
    use PeerMessage as M;
    let yes = |granted: &bool| if *granted { "yes" } else { "no" };
    match body {
        M::PreVote { last_term, last_index } | M::Vote { last_term, last_index } => format!("log ends at {last_index}@{last_term}"),
        M::PreVoteReply { asked, granted } => format!("{} (asked in term {asked})", yes(granted)),
        M::VoteReply { pool: None } => "no".to_owned(),
        M::VoteReply { pool: Some(pool) } => format!("yes, pool: {}", list(pool.iter().map(|p| proposal(p)))),
        M::Append { prev_index, prev_term, entries, commit } => {
            format!("after {prev_index}@{prev_term}: {}; commit {commit}", list(entries.iter().map(|e| entry(e))))
        }
        M::Appended { index } => format!("up to {index}"),
        M::AppendRejected { prev_index, hint_index, hint_term } => format!("{prev_index}; perhaps {hint_index}@{hint_term}"),
        M::Commit { commit } => format!("{commit}"),
        M::Heartbeat { commit, round } => format!("round {round}, commit {commit}"),
        M::HeartbeatReply { round } => format!("round {round}"),
        M::ReadIndex { read, command } => format!("{}: {command}", read_name(read)),
        M::ReadIndexReply { read, index: Some(index) } => format!("{}: {index}", read_name(read)),
        M::ReadIndexReply { read, index: None } => format!("{}: not now", read_name(read)),
        M::InstallSnapshot { meta, total, offset, data, .. } => {
            format!("{}@{}, bytes {offset} to {} of {total}", meta.index, meta.term, offset + data.len() as u64)
        }
        M::SnapshotReceived { index, next } => format!("{next} bytes of snapshot {index}"),
        M::TimeoutNow => String::new(),
        M::HandOver { proposals } => list(proposals.iter().map(|p| proposal(p))),
    }
}

fn reply(reply: &Reply<Cmd>) -> String {
    match reply {
        Reply::Executed { id, term, config, response } => {
            let version = if config.index == 0 { String::new() } else { format!(", version {}@{}", config.index, config.term) };
            format!("Executed {id}: {} (term {term}{version})", value(response))
        }
        Reply::Conflict { id, term } => format!("Conflict {id} (term {term})"),
        Reply::Synced { id, synced: s } => format!("Synced {id}: {}", synced(s)),
        Reply::Recorded { id, term, accepted, current, .. } => {
            format!("Recorded {id}: {} (asked in term {term}, is in {current})", if *accepted { "accepted" } else { "no" })
        }
        Reply::Refused { id, why } => format!("Refused {id}: {why:?}"),
        Reply::SessionBegun { client, .. } => format!("SessionBegun {client}"),
        Reply::SessionEnded { client } => format!("SessionEnded {client}"),
        Reply::SessionRefused { cluster } => format!("SessionRefused: {cluster:?}"),
        Reply::Read { read, applied, synced: s } => format!("{} at index {applied}: {}", read_name(read), synced(s)),
        Reply::ReadRefused { read, cluster } => format!("{} refused: {cluster:?}", read_name(read)),
        Reply::Cluster { leadership, membership } => format!("Cluster {leadership:?} of {}", config(membership)),
        Reply::Admin { result: Ok(done), .. } => match done {
            AdminDone::Changed(membership) => format!("Changed to {}", config(membership)),
            AdminDone::LeaderMoved(leadership) => format!("LeaderMoved: {leadership:?}"),
            AdminDone::ShutDown => "ShutDown".to_owned(),
            AdminDone::SnapshotTaken { index } => format!("SnapshotTaken at {index}"),
        },
        Reply::Admin { result: Err(AdminRefusal::Stale(membership)), .. } => format!("Admin refused: stale, it is {}", config(membership)),
        Reply::Admin { result: Err(why), .. } => format!("Admin refused: {why:?}"),
        Reply::Watch { .. } | Reply::Answer { .. } => unreachable!("the node's, not consensus'"),
    }
}

pub fn message(message: &Message<Cmd>) -> String {
    match message {
        Message::Peer { term, body: b } => format!("{} (term {term}) {}", type_name(b), body(b)),
        Message::Reply(r) => reply(r),
        Message::Request(_) => unreachable!("a node sends no requests"),
    }
}

fn outcome(outcome: &Applied<Option<u64>>) -> String {
    match outcome {
        Applied::Nothing => "no-op".to_owned(),
        Applied::Done(s) => synced(s),
        Applied::Duplicate => "duplicate, no effect".to_owned(),
        Applied::Refused => "refused by the session table".to_owned(),
        Applied::SessionBegun => "session begun".to_owned(),
        Applied::SessionEnded => "session ended".to_owned(),
        Applied::Configured => "configured".to_owned(),
        Applied::ShutDown => "shut down".to_owned(),
    }
}

pub fn event(event: &Event<Cmd>) -> String {
    let ids = |pool: &[ProposeId]| list(pool);
    match event {
        Event::Restart { term, vote, commit, last_index, last_term, pool, base, snapshot, .. } => {
            let vote = vote.map_or("nobody".to_owned(), |vote| vote.to_string());
            format!(
                "Restart term {term}, vote {vote}, commit {commit}, log {}ends at {last_index}@{last_term}, pool: {}",
                from(*base, *snapshot),
                ids(pool)
            )
        }
        Event::UpdateTerm { term } => format!("UpdateTerm {term}"),
        Event::StepDown { term } => format!("StepDown from term {term}"),
        Event::Campaign { term } => format!("Campaign for term {term}"),
        Event::GrantVote { term, candidate, pool } => format!("GrantVote to {candidate} in term {term}, pool: {}", ids(pool)),
        Event::RepeatVote { term, candidate, pool } => format!("RepeatVote to {candidate} in term {term}, pool: {}", ids(pool)),
        Event::BecomeLeader { term, quorum, entries } => {
            format!("BecomeLeader of term {term} by {}; appends {}", list(quorum), list(entries.iter().map(|e| entry(e))))
        }
        Event::OpenFastPath { term } => format!("OpenFastPath of term {term}"),
        Event::LeaderPropose { entry: e, fast } => format!("LeaderPropose {}, {}", entry(e), if *fast { "fast" } else { "slow" }),
        Event::WitnessRecord { proposal: p, accepted, inserted, .. } => {
            let answer = match (accepted, inserted) {
                (true, true) => "accepted",
                (true, false) => "accepted, is in the pool already",
                (false, _) => "no",
            };
            format!("WitnessRecord {}: {answer}", proposal(p))
        }
        Event::AcceptEntries { truncated, entries, .. } => {
            let cut = if *truncated { ", cutting off what was there" } else { "" };
            format!("AcceptEntries {}{cut}", list(entries.iter().map(|e| entry(e))))
        }
        Event::Matched { peer, index, .. } => format!("Matched {peer} up to {index}"),
        Event::AdvanceCommit { commit, counted, .. } => format!("AdvanceCommit {commit}, {}", if *counted { "counted" } else { "told" }),
        Event::Execute { id, response, .. } => format!("Execute {id}: {}", value(response)),
        Event::Apply { index, id, outcome: o, .. } => {
            format!("Apply {index}{}: {}", id.map_or(String::new(), |id| format!(" ({id})")), outcome(o))
        }
        Event::PoolDrop { id } => format!("PoolDrop {id}"),
        Event::ReadRequest { round, read, index, .. } => format!("ReadRequest {}: index {index}, waits for round {round}", read_name(read)),
        Event::ReadIndex { round, quorum, .. } => format!("ReadIndex: round {round} was answered by {}", list(quorum)),
        Event::UseConfig { membership, cause, .. } => format!("UseConfig {} ({cause:?})", config(membership)),
        Event::TakeSnapshot { index, term, .. } => format!("TakeSnapshot at {index}@{term}"),
        Event::CompactLog { base } => format!("CompactLog up to {}@{}", base.index, base.term),
        Event::InstallSnapshot { term, from, index, last_term, .. } => {
            format!("InstallSnapshot {index}@{last_term} from {from} in term {term}")
        }
        Event::TransferLeader { term, to } => format!("TransferLeader of term {term} to {to}"),
        Event::SaveState { index } => format!("SaveState up to {index}"),
        Event::LoadState { index, .. } => format!("LoadState up to {index}"),
        Event::ShutDown { index } => format!("ShutDown by {index}"),
        Event::ServeRead { read, read_index, applied } => format!("ServeRead {}: index {read_index}, applied {applied}", read_name(read)),
    }
}
