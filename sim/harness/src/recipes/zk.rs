//! ZooKeeper's operations as txns: one txn decides, and reads what tells why if it did nothing.
//!
//! A node `/a/b` is the key `z2/a/b`: `z`, the path's length in names, the path; so a node's children are neighbours. Its version is one less
//! than its key's. A sequential node's number is the version of its parent's counter (`c1/a`), which is never deleted. A client's session is
//! a lease with a key of its own attached to it (`s/client/operation`), which every operation that writes compares: who has lost the
//! session learns so, and does nothing. Ephemeral nodes are attached to the lease.

use history::{RecipeResult, ZkError, ZkOp, ZkResult};
use kv::{
    Bytes, Compare, CompareResult, CompareTarget, KeyValue, LEASE_NONE, LeaseId, PutRequest, RangeRequest, Request, Response, TxnRequest,
};
use plan::ZkAction;
use std::collections::BTreeMap;

use super::{Desk, Do, Heard, delete, get, one, prefix_end, revoke};

/// A sequential create gives up after so many numbers that others were quicker to take.
const ATTEMPTS_MAX: u32 = 20;

/// A client's session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) lease: LeaseId,
    key: Bytes,
    /// The number under which it is kept alive: that of the operation that began it.
    pub(crate) stream: u64,
}

/// What a plan's operation asks for, by what its client last observed.
pub(super) fn op(id: u64, action: &ZkAction, seen: &BTreeMap<Bytes, Option<KeyValue>>) -> ZkOp {
    let data = plan::value(id);
    let version = |path: &Bytes, by_version: bool| {
        by_version.then(|| seen.get(&node_key(path)).and_then(Option::as_ref).map_or(0, |kv| kv.version.saturating_sub(1)))
    };
    match action {
        ZkAction::Create { path, ephemeral, sequential } => {
            ZkOp::Create { path: path.clone(), data, ephemeral: *ephemeral, sequential: *sequential }
        }
        ZkAction::SetData { path, seen } => ZkOp::SetData { path: path.clone(), data, version: version(path, *seen) },
        ZkAction::Delete { path, seen } => ZkOp::Delete { path: path.clone(), version: version(path, *seen) },
        ZkAction::GetData { path } => ZkOp::GetData { path: path.clone() },
        ZkAction::GetChildren { path } => ZkOp::GetChildren { path: path.clone() },
        ZkAction::Multi { ops } => ZkOp::Multi { ops: ops.iter().map(|action| op(id, action, seen)).collect() },
        ZkAction::Sync => ZkOp::Sync,
        ZkAction::CloseSession => ZkOp::CloseSession,
    }
}

fn text(path: &Bytes) -> &str {
    std::str::from_utf8(path.as_slice()).expect("a plan's paths are text: it was validated")
}

fn is_root(path: &Bytes) -> bool {
    path.as_slice() == b"/"
}

/// The path's key, with this first letter. The root has the length 0 and no path.
fn key(letter: char, path: &Bytes) -> Bytes {
    if is_root(path) {
        return format!("{letter}0").into();
    }
    let path = text(path);
    format!("{letter}{}{path}", path.matches('/').count()).into()
}

fn node_key(path: &Bytes) -> Bytes {
    key('z', path)
}

/// The prefix of the keys of a node's children.
fn children(path: &Bytes) -> Bytes {
    if is_root(path) {
        return "z1/".into();
    }
    let path = text(path);
    format!("z{}{path}/", path.matches('/').count() + 1).into()
}

fn parent(path: &Bytes) -> Bytes {
    match text(path).rsplit_once('/') {
        Some(("", _)) | None => "/".into(),
        Some((parent, _)) => parent.into(),
    }
}

fn version(key: Bytes, result: CompareResult, version: u64) -> Compare {
    Compare { key, result, target: CompareTarget::Version(version), ..Compare::default() }
}

fn list(path: &Bytes, count_only: bool) -> Request {
    let key = children(path);
    let range_end = Some(prefix_end(&key));
    Request::Range(RangeRequest { key, range_end, count_only, ..RangeRequest::default() })
}

/// One operation's part of the txn.
#[derive(Default)]
struct Part {
    compare: Vec<Compare>,
    success: Vec<Request>,
    failure: Vec<Request>,
}

impl Part {
    /// `session`: the lease of ephemeral nodes.
    fn of(op: &ZkOp, session: LeaseId) -> Part {
        let expected = |key: Bytes, wanted: Option<u64>| match wanted {
            Some(wanted) => version(key, CompareResult::Equal, wanted + 1),
            None => version(key, CompareResult::Greater, 0),
        };
        let mut part = Part::default();
        match op {
            ZkOp::Create { path, data, ephemeral, .. } => {
                let (node, above) = (node_key(path), parent(path));
                if !is_root(&above) {
                    let above = node_key(&above);
                    part.compare.push(version(above.clone(), CompareResult::Greater, 0));
                    part.compare.push(Compare { key: above.clone(), target: CompareTarget::Lease(LEASE_NONE), ..Compare::default() });
                    part.failure.push(get(&above));
                }
                part.compare.push(version(node.clone(), CompareResult::Equal, 0));
                let lease = if *ephemeral { session } else { LEASE_NONE };
                part.failure.push(get(&node));
                part.success.push(Request::Put(PutRequest { key: node, value: data.clone(), lease, ..PutRequest::default() }));
            }
            ZkOp::SetData { path, data, version } => {
                let node = node_key(path);
                part.compare.push(expected(node.clone(), *version));
                let put = PutRequest { key: node.clone(), value: data.clone(), ignore_lease: true, ..PutRequest::default() };
                part.success.extend([Request::Put(put), get(&node)]);
                part.failure.push(get(&node));
            }
            ZkOp::Delete { path, version: wanted } => {
                let (node, first) = (node_key(path), children(path));
                part.compare.push(expected(node.clone(), *wanted));
                part.compare.push(Compare { range_end: Some(prefix_end(&first)), ..version(first, CompareResult::Equal, 0) });
                part.success.push(delete(&node));
                part.failure.extend([get(&node), list(path, true)]);
            }
            ZkOp::GetData { .. } | ZkOp::GetChildren { .. } | ZkOp::Multi { .. } | ZkOp::Sync | ZkOp::CloseSession => {}
        }
        part
    }

    /// What it came to, from the answers to its part of `success`.
    fn done(op: &ZkOp, answers: &[Response]) -> ZkResult {
        match op {
            ZkOp::Create { path, .. } => ZkResult::Created { path: path.clone() },
            ZkOp::SetData { .. } => ZkResult::Set { version: answers.iter().find_map(one).map_or(0, |kv| kv.version.saturating_sub(1)) },
            _ => ZkResult::Deleted,
        }
    }

    /// Why it did nothing, from the answers to its part of `failure`; `None`: not because of this one.
    fn refused(op: &ZkOp, answers: &[Response]) -> Option<ZkError> {
        let wrong = |kv: &KeyValue, wanted: &Option<u64>| wanted.is_some_and(|wanted| kv.version != wanted + 1);
        match op {
            ZkOp::Create { path, .. } => {
                let (above, node) = if is_root(&parent(path)) { (None, answers.first()) } else { (answers.first(), answers.get(1)) };
                match above.map(one) {
                    Some(None) => Some(ZkError::NoNode),
                    _ if node.and_then(one).is_some() => Some(ZkError::NodeExists),
                    Some(Some(above)) if above.lease != LEASE_NONE => Some(ZkError::NoChildrenForEphemerals),
                    _ => None,
                }
            }
            ZkOp::SetData { version, .. } => match answers.first().and_then(one) {
                None => Some(ZkError::NoNode),
                Some(kv) => wrong(kv, version).then_some(ZkError::BadVersion),
            },
            ZkOp::Delete { version, .. } => match (answers.first().and_then(one), answers.get(1)) {
                (None, _) => Some(ZkError::NoNode),
                (Some(kv), _) if wrong(kv, version) => Some(ZkError::BadVersion),
                (_, Some(Response::Range { count: 1.., .. })) => Some(ZkError::NotEmpty),
                _ => None,
            },
            _ => None,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Zk {
    op: ZkOp,
    state: State,
    attempts: u32,
}

#[derive(Debug)]
enum State {
    Begin,
    Granting,
    /// The session's lease is granted; its key is being written.
    Opening(Session),
    /// The parent's counter is read.
    Counting,
    /// With the counter's version, for a sequential create.
    Deciding(u64),
    Reading,
    Closing,
}

impl Zk {
    pub(super) fn new(op: ZkOp) -> Self {
        Zk { op, state: State::Begin, attempts: 0 }
    }

    pub(super) fn hear(&mut self, heard: Heard, desk: &mut Desk, out: &mut Vec<Do>) {
        let heard = match heard {
            Heard::Begun => return self.begin(desk, out),
            Heard::Answer(response) => response,
            Heard::Unknown => {
                if matches!(self.state, State::Closing) {
                    *desk.session = None;
                }
                return out.push(Do::End(None));
            }
            Heard::Kept { .. } | Heard::Woken | Heard::Hurry => return,
        };
        match (&mut self.state, heard) {
            (State::Granting, Response::LeaseGrant { id, .. }) => {
                let session = Session { lease: id, key: format!("s/{}/{}", desk.client, desk.op).into(), stream: desk.op };
                out.push(Do::Ask(desk.put(&session.key, id)));
                self.state = State::Opening(session);
            }
            (State::Opening(session), Response::Put { .. }) => {
                out.push(Do::Keep(session.lease));
                *desk.session = Some(session.clone());
                self.write(desk, out);
            }
            (State::Counting, response) => self.decide(one(&response).map_or(0, |kv| kv.version), desk, out),
            (State::Deciding(number), Response::Txn { succeeded, responses }) => {
                let number = *number;
                self.decided(number, succeeded, &responses, desk, out);
            }
            (State::Deciding(_) | State::Closing, Response::Error(_)) => {
                *desk.session = None;
                out.push(end(ZkResult::Refused(ZkError::SessionExpired)));
            }
            (State::Closing, _) => {
                *desk.session = None;
                out.push(end(ZkResult::Closed));
            }
            (State::Reading, response) => out.push(self.read(&response)),
            _ => out.push(Do::End(None)),
        }
    }

    fn begin(&mut self, desk: &mut Desk, out: &mut Vec<Do>) {
        let request = match &self.op {
            ZkOp::GetData { path } => get(&node_key(path)),
            ZkOp::GetChildren { path } if is_root(path) => list(path, false),
            // The node and its children at one moment.
            ZkOp::GetChildren { path } => {
                Request::Txn(TxnRequest { success: vec![get(&node_key(path)), list(path, false)], ..TxnRequest::default() })
            }
            ZkOp::Sync => get(&node_key(&"/".into())),
            ZkOp::CloseSession => {
                let Some(session) = desk.session else { return out.push(end(ZkResult::Closed)) };
                self.state = State::Closing;
                return out.push(revoke(session.lease));
            }
            ZkOp::Create { .. } | ZkOp::SetData { .. } | ZkOp::Delete { .. } | ZkOp::Multi { .. } => {
                if desk.session.is_some() {
                    return self.write(desk, out);
                }
                self.state = State::Granting;
                return out.push(desk.grant(desk.session_ttl));
            }
        };
        self.state = State::Reading;
        out.push(Do::Ask(request));
    }

    /// The session is there: on to the operation itself.
    fn write(&mut self, desk: &Desk, out: &mut Vec<Do>) {
        match &self.op {
            ZkOp::Create { path, sequential: true, .. } => {
                self.state = State::Counting;
                out.push(Do::Ask(get(&key('c', &parent(path)))));
            }
            _ => self.decide(0, desk, out),
        }
    }

    /// The operations of the txn, the sequential one with its number.
    fn parts(&self, number: u64) -> Vec<ZkOp> {
        match &self.op {
            ZkOp::Multi { ops } => ops.clone(),
            ZkOp::Create { path, data, ephemeral, sequential: true } => {
                let path = format!("{}{number:010}", text(path)).into();
                vec![ZkOp::Create { path, data: data.clone(), ephemeral: *ephemeral, sequential: false }]
            }
            op => vec![op.clone()],
        }
    }

    fn decide(&mut self, number: u64, desk: &Desk, out: &mut Vec<Do>) {
        let Some(session) = desk.session.as_ref() else { return out.push(end(ZkResult::Refused(ZkError::SessionExpired))) };
        let mut txn = TxnRequest {
            compare: vec![version(session.key.clone(), CompareResult::Greater, 0)],
            success: Vec::new(),
            failure: vec![get(&session.key)],
        };
        if let ZkOp::Create { path, data, sequential: true, .. } = &self.op {
            let counter = key('c', &parent(path));
            txn.compare.push(version(counter.clone(), CompareResult::Equal, number));
            txn.failure.push(get(&counter));
            txn.success.push(Request::Put(PutRequest { key: counter, value: data.clone(), ..PutRequest::default() }));
        }
        for op in self.parts(number) {
            let part = Part::of(&op, session.lease);
            txn.compare.extend(part.compare);
            txn.success.extend(part.success);
            txn.failure.extend(part.failure);
        }
        self.state = State::Deciding(number);
        out.push(Do::Ask(Request::Txn(txn)));
    }

    fn decided(&mut self, number: u64, succeeded: bool, mut answers: &[Response], desk: &mut Desk, out: &mut Vec<Do>) {
        let lease = desk.session.as_ref().map_or(LEASE_NONE, |session| session.lease);
        let sequential = matches!(self.op, ZkOp::Create { sequential: true, .. });
        let mut take = |count: usize| {
            let (here, rest) = answers.split_at(count.min(answers.len()));
            answers = rest;
            here
        };
        if succeeded {
            take(usize::from(sequential));
            let mut results: Vec<ZkResult> =
                self.parts(number).iter().map(|op| Part::done(op, take(Part::of(op, lease).success.len()))).collect();
            return out.push(end(match (&self.op, results.pop()) {
                (ZkOp::Multi { .. }, last) => ZkResult::Multi { results: results.into_iter().chain(last).collect() },
                (_, last) => last.expect("an operation has a part"),
            }));
        }
        if take(1).first().and_then(one).is_none() {
            *desk.session = None;
            return out.push(end(ZkResult::Refused(ZkError::SessionExpired)));
        }
        let counted = take(usize::from(sequential)).first().and_then(one).map_or(0, |kv| kv.version);
        if sequential && counted != number && self.attempts < ATTEMPTS_MAX {
            // Somebody else took the number; whatever else is wrong shows with the next one.
            self.attempts += 1;
            return self.decide(counted, desk, out);
        }
        let why = self.parts(number).iter().find_map(|op| Part::refused(op, take(Part::of(op, lease).failure.len())));
        match why {
            Some(why) if !sequential || counted == number => out.push(end(ZkResult::Refused(why))),
            _ => out.push(Do::End(None)),
        }
    }

    fn read(&self, response: &Response) -> Do {
        let no_node = ZkResult::Refused(ZkError::NoNode);
        let names = |prefix: Bytes, kvs: &[KeyValue]| {
            let names = kvs.iter().map(|kv| Bytes::from(kv.key.as_slice()[prefix.as_slice().len()..].to_vec())).collect();
            ZkResult::Children { names }
        };
        end(match (&self.op, response) {
            (ZkOp::GetData { .. }, response) => {
                one(response).map_or(no_node, |kv| ZkResult::Data { data: kv.value.clone(), version: kv.version.saturating_sub(1) })
            }
            (ZkOp::GetChildren { path }, Response::Range { kvs, .. }) => names(children(path), kvs),
            (ZkOp::GetChildren { path }, Response::Txn { responses, .. }) => match &responses[..] {
                [node, Response::Range { kvs, .. }] if one(node).is_some() => names(children(path), kvs),
                _ => no_node,
            },
            _ => ZkResult::Synced,
        })
    }
}

fn end(result: ZkResult) -> Do {
    Do::End(Some(RecipeResult::Zk(result)))
}
