//! Events of a trace in a line each, for people.

use curp::{Applied, ConfigCause, ConfigChange, Entry, Event as NodeEvent, NodeId, Payload, ProposeId};
use history::{ClientEvent, Event, Promise, Stamped, WorldEvent};
use kv::{Bytes, EventKind, KeyValue, LeaseEvent, Request, Response, WatchEvent};

/// Characters of a value that are shown.
const VALUE_CHARS_MAX: usize = 40;

/// Who it happened to: `node 2`, `client 1`, or `world`.
pub fn place(event: &Stamped) -> String {
    match (event.node, event.client) {
        (Some(node), _) => format!("node {node}"),
        (None, Some(client)) => format!("client {client}"),
        (None, None) => "world".to_owned(),
    }
}

/// Place and event.
pub fn line(event: &Stamped) -> String {
    format!("{}: {}", place(event), what(&event.event))
}

/// The event alone.
pub fn what(event: &Event) -> String {
    match event {
        Event::Node(event) => node(event),
        Event::Lease(event) => lease(event),
        Event::Client(event) => client(event),
        Event::World(event) => world(event),
    }
}

/// Whether the event is a fault taking effect or ending.
pub fn is_fault(event: &Event) -> bool {
    use WorldEvent as W;
    matches!(event, Event::World(W::Crash { .. } | W::Fatal { .. } | W::Pause | W::Resume | W::Fault { .. } | W::FaultEnd { .. } | W::Heal))
        || matches!(event, Event::Client(ClientEvent::ClientCrash))
}

fn node(event: &NodeEvent<Request>) -> String {
    use NodeEvent as E;
    match event {
        E::Restart { term, vote, last_index, pool, .. } => {
            let vote = vote.map_or_else(|| "no vote".to_owned(), |v| format!("vote for {v}"));
            format!("restarts with term {term}, {vote}, log to {last_index}, pool {}", ids(pool))
        }
        E::UpdateTerm { term } => format!("learns of term {term}"),
        E::StepDown { term } => format!("steps down as leader of term {term}"),
        E::Campaign { term } => format!("stands for election in term {term}"),
        E::GrantVote { term, candidate, pool } => format!("votes for {candidate} in term {term}, sending its pool {}", ids(pool)),
        E::RepeatVote { term, candidate, pool } => format!("votes for {candidate} in term {term} again, sending its pool {}", ids(pool)),
        E::BecomeLeader { term, quorum, entries } => {
            format!("becomes leader of term {term} by the votes of {}; appends {}", nodes(quorum), list(entries))
        }
        E::OpenFastPath { term } => format!("opens the fast path of term {term}"),
        E::LeaderPropose { entry, fast } => format!("appends {} as leader{}", self::entry(entry), if *fast { ", fast" } else { "" }),
        E::WitnessRecord { term, asked, proposal, accepted, inserted, .. } => {
            let how = match (accepted, inserted) {
                (true, true) => "records",
                (true, false) => "has already recorded",
                (false, _) => "refuses to record",
            };
            let late = if asked == term { String::new() } else { format!(", asked in term {asked}") };
            format!("{how} {} {} in term {term}{late}", proposal.id, request(&proposal.command))
        }
        E::AcceptEntries { term, from, truncated, entries } => {
            let cut = if *truncated { "cuts its log and " } else { "" };
            format!("{cut}accepts {} from {from} in term {term}", list(entries))
        }
        E::Matched { term, peer, index } => format!("knows {peer} to have its log up to {index} in term {term}"),
        E::AdvanceCommit { term, commit, counted } => {
            format!("{} everything up to {commit} committed in term {term}", if *counted { "counts" } else { "hears" })
        }
        E::Execute { term, id, index, response } => format!("executes {id} (index {index}, term {term}): {}", self::response(response)),
        E::Apply { index, id, outcome, state_hash } => {
            let id = id.map(|id| format!(" {id}")).unwrap_or_default();
            format!("applies {index}:{id} {} (state {:08x})", applied(outcome), state_hash >> 32)
        }
        E::PoolDrop { id } => format!("drops {id} from its pool"),
        E::ReadRequest { term, round, read, index } => {
            format!("takes read {}.{} at read index {index}, to be confirmed by round {round} of term {term}", read.0, read.1)
        }
        E::ReadIndex { term, round, quorum } => {
            format!("gives out the read index of round {round} of term {term}, confirmed by {}", nodes(quorum))
        }
        E::UseConfig { term, membership, cause } => {
            let why = match cause {
                ConfigCause::Appended => "appended",
                ConfigCause::Undone => "a later one was cut off",
                ConfigCause::Installed => "from a snapshot",
            };
            let learners = match &membership.learners[..] {
                [] => String::new(),
                learners => format!(", learners {}", nodes(learners)),
            };
            format!("uses the configuration of voters {}{learners} in term {term} ({why})", nodes(&membership.voters))
        }
        E::TakeSnapshot { index, state_hash, .. } => format!("makes a snapshot at {index} (state {:08x})", state_hash >> 32),
        E::SaveState { index } => format!("has its state up to {index} in its store"),
        E::LoadState { index, .. } => format!("finds its state up to {index} in its store"),
        E::CompactLog { base } => format!("drops its log up to {}", base.index),
        E::InstallSnapshot { term, from, index, state_hash, .. } => {
            format!("installs a snapshot at {index} from {from} in term {term} (state {:08x})", state_hash >> 32)
        }
        E::TransferLeader { term, to } => format!("tells {to} to take over from it as leader of term {term}"),
        E::ShutDown { index } => format!("stops: it applied the cluster's shutdown, entry {index}"),
        E::ServeRead { read, read_index, applied } => {
            format!("serves read {}.{} at applied index {applied} (read index {read_index})", read.0, read.1)
        }
    }
}

fn lease(event: &LeaseEvent) -> String {
    use LeaseEvent as E;
    match event {
        E::PromoteLeases { term, .. } => format!("gives every lease its full time, as leader of term {term}"),
        E::DemoteLeases { term } => format!("says nothing of leases any more, after term {term}"),
        E::ReceiveKeepAlive { lease, deadline, .. } => match deadline {
            Some(deadline) => format!("keeps lease {lease} alive until its clock reads {} ms", deadline / 1_000_000),
            None => format!("refuses to keep lease {lease} alive: it is not there, or given up"),
        },
        E::AnswerKeepAlive { lease, ttl, .. } => format!("answers a keep-alive of lease {lease}: {ttl} s"),
        E::AnswerTimeToLive { lease, ttl, .. } => format!("says that lease {lease} has {ttl} s to live"),
        E::DecideExpiry { lease, term, now } => {
            format!("decides, its clock at {} ms, that lease {lease} has expired (term {term})", now / 1_000_000)
        }
    }
}

fn watch_event(event: &WatchEvent) -> String {
    let kind = match event.kind {
        EventKind::Put => "put",
        EventKind::Delete => "delete",
    };
    format!("{kind} {}@{}", short(&event.kv.key), event.kv.mod_revision)
}

fn client(event: &ClientEvent) -> String {
    use ClientEvent as E;
    match event {
        E::SessionOpen { session } => format!("has session {session}"),
        E::Propose { op, id, request, .. } => {
            let id = id.map(|id| format!(" as {id}")).unwrap_or_default();
            format!("op {op}: invokes {}{id}", self::request(request))
        }
        E::FastComplete { op, id, term, nodes: by, response, .. } => {
            format!("op {op}: fast answer to {id}: {} (term {term}, accepted by {})", self::response(response), nodes(by))
        }
        E::SyncedComplete { op, id, synced } => {
            format!("op {op}: synced answer to {id}: {} at revision {}", response(&synced.response), synced.revision)
        }
        E::ReadComplete { op, applied, synced } => {
            format!("op {op}: read answered: {} at revision {} (applied index {applied})", response(&synced.response), synced.revision)
        }
        E::GiveUp { op } => format!("op {op}: gives up; the outcome is unknown"),
        E::Fail { op } => format!("op {op}: failed for certain"),
        E::ClientCrash => "the client dies".to_owned(),
        E::Watch { op, request } => {
            let end = request.range_end.as_ref().map(|end| format!("..{}", short(end))).unwrap_or_default();
            format!("op {op}: watches {}{end} from revision {}", short(&request.key), request.start_revision)
        }
        E::Register { op, to, start_revision } => format!("op {op}: asks node {to} for a watcher from revision {start_revision}"),
        E::WatchTold { op, from, response } => {
            let events: Vec<String> = response.events.iter().map(watch_event).collect();
            let said = match (response.created, response.canceled, events.is_empty()) {
                (true, _, true) => "it watches".to_owned(),
                (_, true, _) => format!("no more (compacted revision {})", response.compact_revision),
                (_, _, true) => "nothing new".to_owned(),
                _ => events.join(", "),
            };
            format!("op {op}: node {from} tells up to revision {}: {said}", response.revision)
        }
        E::EndWatch { op } => format!("op {op}: watches no more"),
        E::SendKeepAlive { op, lease, read } => format!("op {op}: sends a keep-alive of lease {lease} ({}.{})", read.0, read.1),
        E::KeptAlive { op, lease, read, ttl } => format!("op {op}: lease {lease} has {ttl} s since keep-alive {}.{}", read.0, read.1),
        E::Hold { op, lock, lease } => format!("op {op}: believes that it holds {} by lease {lease}", short(lock)),
        E::LetGo { op, lock } => format!("op {op}: does not believe any more that it holds {}", short(lock)),
        E::Begin { op, recipe } => format!("op {op}: begins {recipe:?}"),
        E::End { op, result } => match result {
            Some(result) => format!("op {op}: ends: {result:?}"),
            None => format!("op {op}: ends; what came of it is unknown"),
        },
    }
}

fn world(event: &WorldEvent) -> String {
    use WorldEvent as E;
    match event {
        E::Disk { file, offset, data } => format!("{} bytes of {file} from {offset} on are durable", data.as_slice().len()),
        E::DiskRemove { file } => format!("{file} is durably removed"),
        E::DiskLost => "the disk is lost: an empty one is in its place".to_owned(),
        E::Send { to, promise } => {
            let to = to.map_or_else(|| "a client".to_owned(), |to| format!("node {to}"));
            format!("promises {to}: {}", self::promise(promise))
        }
        E::Crash { power, in_flight, lost_bytes } => {
            let how = if *power { "loses power" } else { "is killed" };
            format!("{how} with {in_flight} writes in flight; {lost_bytes} bytes are lost")
        }
        E::Fatal { reason } => format!("stops itself: {reason}"),
        E::Pause => "stands still".to_owned(),
        E::Resume => "goes on".to_owned(),
        E::Fault { fault, kind, what } => format!("fault {fault} ({kind}) begins: {what}"),
        E::FaultEnd { fault } => format!("fault {fault} ends"),
        E::Heal => "all faults are removed".to_owned(),
    }
}

fn promise(promise: &Promise) -> String {
    match promise {
        Promise::Term { term } => format!("my term is at least {term}"),
        Promise::Vote { term } => format!("my vote in term {term}"),
        Promise::Append { term, index, entry_term } => format!("my log holds yours to {index} (entry of term {entry_term}), term {term}"),
        Promise::Record { term, id } => format!("{id} is in my pool, term {term}"),
        Promise::Fast { term, id } => format!("{id} is in my log and my pool, term {term}"),
        Promise::Synced { id } => format!("{id} is committed"),
    }
}

fn applied(outcome: &Applied<Response>) -> String {
    match outcome {
        Applied::Nothing => "no-op".to_owned(),
        Applied::Done(synced) => format!("{} at revision {}", response(&synced.response), synced.revision),
        Applied::Duplicate => "already applied".to_owned(),
        Applied::Refused => "refused".to_owned(),
        Applied::SessionBegun => "a session begins".to_owned(),
        Applied::SessionEnded => "a session ends".to_owned(),
        Applied::Configured => "a configuration is committed".to_owned(),
        Applied::ShutDown => "the cluster shuts down".to_owned(),
    }
}

/// `put(k3, 17)`.
pub fn request(request: &Request) -> String {
    match request {
        Request::Put(put) => {
            let value = if put.ignore_value { "its value".to_owned() } else { short(&put.value) };
            let lease = match put.lease {
                0 if put.ignore_lease => ", its lease".to_owned(),
                0 => String::new(),
                lease => format!(", lease {lease}"),
            };
            format!("put({}, {value}{lease})", short(&put.key))
        }
        Request::Range(range) => {
            let at = if range.revision > 0 { format!(" at revision {}", range.revision) } else { String::new() };
            let how = if range.serializable { " serializable" } else { "" };
            format!("get({}{at}{how})", keys(&range.key, range.range_end.as_ref()))
        }
        Request::DeleteRange(delete) => format!("delete({})", keys(&delete.key, delete.range_end.as_ref())),
        Request::Txn(txn) => {
            let branch = |requests: &[Request]| requests.iter().map(self::request).collect::<Vec<_>>().join(", ");
            let keys: Vec<String> = txn.compare.iter().map(|c| short(&c.key)).collect();
            format!("txn(if {} then [{}] else [{}])", keys.join(", "), branch(&txn.success), branch(&txn.failure))
        }
        Request::Compact(compact) => format!("compact({})", compact.revision),
        Request::LeaseGrant(grant) => format!("grant(lease {}, {} s)", grant.id, grant.ttl),
        Request::LeaseRevoke(revoke) => match revoke.stamp {
            Some(term) => format!("revoke(lease {}, decided in term {term})", revoke.id),
            None => format!("revoke(lease {})", revoke.id),
        },
        Request::LeaseKeepAlive(keep) => format!("keep_alive(lease {})", keep.id),
        Request::LeaseTimeToLive(ask) => format!("time_to_live(lease {})", ask.id),
        Request::LeaseLeases => "leases()".to_owned(),
    }
}

/// `→ 17`.
pub fn response(response: &Response) -> String {
    match response {
        Response::Put { prev_kv: None } => "ok".to_owned(),
        Response::Put { prev_kv: Some(kv) } => format!("ok, was {}", pair(kv)),
        Response::Range { kvs, count: 0, .. } if kvs.is_empty() => "nothing".to_owned(),
        Response::Range { kvs, count, .. } if kvs.len() as u64 == *count => pairs(kvs),
        Response::Range { kvs, count, .. } => format!("{} of {count}", pairs(kvs)),
        Response::DeleteRange { deleted, prev_kvs } if prev_kvs.is_empty() => format!("{deleted} deleted"),
        Response::DeleteRange { deleted, prev_kvs } => format!("{deleted} deleted: {}", pairs(prev_kvs)),
        Response::Txn { succeeded, responses } => {
            let inner: Vec<String> = responses.iter().map(self::response).collect();
            format!("{} [{}]", if *succeeded { "then" } else { "else" }, inner.join(", "))
        }
        Response::Compact => "compacted".to_owned(),
        Response::LeaseGrant { id, ttl } | Response::LeaseKeepAlive { id, ttl } => format!("lease {id} has {ttl} s"),
        Response::LeaseRevoke => "revoked".to_owned(),
        Response::LeaseTimeToLive { ttl: -1, .. } => "no such lease".to_owned(),
        Response::LeaseTimeToLive { ttl, keys, .. } => {
            let keys: Vec<String> = keys.iter().map(short).collect();
            format!("{ttl} s left [{}]", keys.join(", "))
        }
        Response::LeaseLeases { leases } => format!("{leases:?}"),
        Response::Error(error) => error.to_string(),
    }
}

fn pairs(kvs: &[KeyValue]) -> String {
    kvs.iter().map(pair).collect::<Vec<_>>().join(", ")
}

fn pair(kv: &KeyValue) -> String {
    format!("{}={} (mod {}, version {})", short(&kv.key), short(&kv.value), kv.mod_revision, kv.version)
}

fn keys(key: &Bytes, end: Option<&Bytes>) -> String {
    end.map_or_else(|| short(key), |end| format!("{}..{}", short(key), short(end)))
}

fn short(bytes: &Bytes) -> String {
    let text = bytes.to_string();
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

fn entry(entry: &Entry<Request>) -> String {
    let what = match &entry.payload {
        Payload::Noop => "no-op".to_owned(),
        Payload::Command(proposal) => format!("{} {}", proposal.id, request(&proposal.command)),
        Payload::SessionBegin { nonce } => format!("session begin {nonce:x}"),
        Payload::SessionEnd { client } => format!("end of session {client}"),
        Payload::Config { change, .. } => match change {
            ConfigChange::AddLearner { node, .. } => format!("configuration: learner {node} joins"),
            ConfigChange::Promote { node } => format!("configuration: {node} becomes a voter"),
            ConfigChange::Remove { node } => format!("configuration: {node} leaves"),
            ConfigChange::Update { node, address } => format!("configuration: {node} is at {address}"),
        },
        Payload::Own { command } => format!("the leader's own {}", request(command)),
        Payload::Shutdown => "shutdown".to_owned(),
    };
    format!("{}: {what} (term {})", entry.index, entry.term)
}

fn list(entries: &[std::sync::Arc<Entry<Request>>]) -> String {
    const SHOWN_MAX: usize = 3;
    let shown: Vec<String> = entries.iter().take(SHOWN_MAX).map(|e| entry(e)).collect();
    match entries.len() {
        0 => "nothing".to_owned(),
        n if n > SHOWN_MAX => format!("[{} and {} more]", shown.join(", "), n - SHOWN_MAX),
        _ => format!("[{}]", shown.join(", ")),
    }
}

fn ids(ids: &[ProposeId]) -> String {
    let shown: Vec<String> = ids.iter().map(ProposeId::to_string).collect();
    if ids.is_empty() { "empty".to_owned() } else { format!("{{{}}}", shown.join(", ")) }
}

fn nodes(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(", ")
}
