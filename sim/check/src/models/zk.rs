//! A tree of nodes in ZooKeeper's words (`history::ZkOp`): create, persistent, ephemeral and sequential, set and delete with versions, multi, sync,
//! and the end of a session. It is what the recipes over txns and leases must look like from outside, and knows nothing of them.
//!
//! Taken from ZooKeeper's documentation: versions count changes of the data from 0; an ephemeral node has no children and goes with its session;
//! the number of a sequential node is greater than those of every sequential child that its parent had before. Where several errors are true at
//! once any of them may be given. A session is found to have expired only when its nodes are gone, and from then on it writes nothing.

use std::collections::{BTreeMap, BTreeSet};

use history::{ZkError, ZkOp, ZkResult};
use kv::Bytes;

use crate::model::{History, Model};

/// Names a session: the client, and its number there.
pub type SessionName = (u32, u32);

/// What is done, and in which session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// By a client.
    Client(SessionName, ZkOp),
    /// By the servers: the session is over, its ephemeral nodes go.
    Expire(SessionName),
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Node {
    data: Bytes,
    version: u64,
    owner: Option<SessionName>,
    /// The highest number that a sequential child had; 1 more, so that 0 is none.
    numbered: u64,
}

/// The nodes by path, and the sessions that are over. The root is the node of the empty path, and always there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tree {
    nodes: BTreeMap<Bytes, Node>,
    ended: BTreeSet<SessionName>,
}

/// The model. It knows the numbered paths that were seen and that no answered create made: an unanswered one may have made them.
#[derive(Clone, Debug, Default)]
pub struct Zk {
    unclaimed: BTreeSet<Bytes>,
}

/// Digits that a sequential node's path ends with.
pub const DIGITS: usize = 10;

/// The path of a node's parent; of a child of the root it is empty.
pub fn parent(path: &Bytes) -> Bytes {
    let at = path.as_slice().iter().rposition(|&c| c == b'/').unwrap_or(0);
    Bytes::from(path.as_slice()[..at].to_vec())
}

/// The number at the end of a sequential node's path, if it was asked for as `asked`.
pub fn number(asked: &Bytes, path: &Bytes) -> Option<u64> {
    let digits = path.as_slice().strip_prefix(asked.as_slice()).filter(|d| d.len() == DIGITS)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The root's path is written `/`, and kept empty.
fn key(path: &Bytes) -> Bytes {
    if path.as_slice() == b"/" { Bytes::default() } else { path.clone() }
}

impl Tree {
    fn has_children(&self, path: &Bytes) -> bool {
        self.nodes.keys().any(|other| !other.as_slice().is_empty() && parent(other) == *path)
    }

    fn end(&mut self, session: SessionName) {
        self.nodes.retain(|_, node| node.owner != Some(session));
        self.ended.insert(session);
    }

    /// The errors that an operation may give; empty: it can be done.
    fn errors(&self, session: SessionName, op: &ZkOp) -> Vec<ZkError> {
        let mut errors = Vec::new();
        let mut object = |holds: bool, error| {
            if holds {
                errors.push(error);
            }
        };
        let writes = matches!(op, ZkOp::Create { .. } | ZkOp::SetData { .. } | ZkOp::Delete { .. });
        object(writes && self.ended.contains(&session), ZkError::SessionExpired);
        match op {
            ZkOp::Create { path, sequential, .. } => {
                let above = self.nodes.get(&parent(path));
                object(above.is_none(), ZkError::NoNode);
                object(above.is_some_and(|node| node.owner.is_some()), ZkError::NoChildrenForEphemerals);
                // A node that was made by its full name can be in a number's way.
                let taken = |other: &Bytes| if *sequential { number(path, other).is_some() } else { *other == key(path) };
                object(self.nodes.keys().any(taken), ZkError::NodeExists);
            }
            ZkOp::SetData { path, version, .. } => {
                let node = self.nodes.get(&key(path));
                object(node.is_none(), ZkError::NoNode);
                object(node.zip(*version).is_some_and(|(node, version)| node.version != version), ZkError::BadVersion);
            }
            ZkOp::Delete { path, version } => {
                let node = self.nodes.get(&key(path));
                object(node.is_none(), ZkError::NoNode);
                object(node.zip(*version).is_some_and(|(node, version)| node.version != version), ZkError::BadVersion);
                object(self.has_children(&key(path)), ZkError::NotEmpty);
            }
            ZkOp::GetData { path } | ZkOp::GetChildren { path } => object(!self.nodes.contains_key(&key(path)), ZkError::NoNode),
            ZkOp::Multi { .. } | ZkOp::Sync | ZkOp::CloseSession => {}
        }
        errors
    }

    /// Does what can be done; what it answers. `made`: the path of a sequential node.
    fn run(&mut self, session: SessionName, op: &ZkOp, made: Option<&Bytes>) -> ZkResult {
        match op {
            ZkOp::Create { path, data, ephemeral, sequential } => {
                let path = made.filter(|_| *sequential).unwrap_or(path).clone();
                if let Some(above) = self.nodes.get_mut(&parent(&path)).filter(|_| *sequential) {
                    let digits = path.as_slice().len().saturating_sub(DIGITS);
                    let number = number(&Bytes::from(path.as_slice()[..digits].to_vec()), &path);
                    above.numbered = above.numbered.max(number.map_or(0, |n| n + 1));
                }
                let node = Node { data: data.clone(), version: 0, owner: ephemeral.then_some(session), numbered: 0 };
                self.nodes.insert(path.clone(), node);
                ZkResult::Created { path }
            }
            ZkOp::SetData { path, data, .. } => {
                let node = self.nodes.entry(key(path)).or_default();
                node.data = data.clone();
                node.version += 1;
                ZkResult::Set { version: node.version }
            }
            ZkOp::Delete { path, .. } => {
                self.nodes.remove(&key(path));
                ZkResult::Deleted
            }
            ZkOp::GetData { path } => {
                let node = self.nodes.get(&key(path)).cloned().unwrap_or_default();
                ZkResult::Data { data: node.data, version: node.version }
            }
            ZkOp::GetChildren { path } => {
                let above = key(path);
                let below = self.nodes.keys().filter(|path| !path.as_slice().is_empty() && parent(path) == above);
                ZkResult::Children {
                    names: below.map(|path| Bytes::from(path.as_slice()[above.as_slice().len() + 1..].to_vec())).collect(),
                }
            }
            ZkOp::Sync => ZkResult::Synced,
            ZkOp::CloseSession => {
                self.end(session);
                ZkResult::Closed
            }
            ZkOp::Multi { .. } => ZkResult::Multi { results: Vec::new() },
        }
    }
}

impl Zk {
    /// The model for a history.
    pub fn of(history: &History<Zk>) -> Zk {
        let (mut seen, mut claimed) = (BTreeSet::new(), BTreeSet::new());
        for timed in history {
            if let Op::Client(_, op) = &timed.op {
                collect(op, timed.ret.as_ref(), &mut seen, &mut claimed);
            }
        }
        Zk { unclaimed: seen.difference(&claimed).cloned().collect() }
    }

    /// What an unanswered sequential create may have made, if others saw it.
    fn candidates(&self, op: &ZkOp) -> Vec<&Bytes> {
        match op {
            ZkOp::Create { path, sequential: true, .. } => self.unclaimed.iter().filter(|seen| number(path, seen).is_some()).collect(),
            _ => Vec::new(),
        }
    }

    fn one(&self, tree: &mut Tree, session: SessionName, op: &ZkOp, ret: Option<&ZkResult>, branch: u32) -> bool {
        if let ZkOp::Multi { ops } = op {
            return self.multi(tree, session, ops, ret);
        }
        let errors = tree.errors(session, op);
        match ret {
            Some(ZkResult::Refused(ZkError::SessionExpired)) => tree.ended.contains(&session),
            Some(ZkResult::Refused(error)) => errors.contains(error),
            _ if errors.iter().any(|error| !is_sequential(op) || *error != ZkError::NodeExists) => ret.is_none(),
            None => {
                // Unless others saw it, its name is its own secret, and not to be found in any list.
                let secret = Bytes::from(format!("{}?", if let ZkOp::Create { path, .. } = op { path.to_string() } else { String::new() }));
                let made = self.candidates(op).get(branch as usize).copied().cloned().unwrap_or(secret);
                let free = !is_sequential(op) || (!tree.nodes.contains_key(&made) && rises(tree, op, &made));
                free && {
                    tree.run(session, op, Some(&made));
                    true
                }
            }
            Some(ZkResult::Created { path }) if is_sequential(op) => {
                let ZkOp::Create { path: asked, .. } = op else { return false };
                let fits = number(asked, path).is_some() && !tree.nodes.contains_key(path) && rises(tree, op, path);
                fits && tree.run(session, op, Some(path)) == ZkResult::Created { path: path.clone() }
            }
            Some(given) => tree.run(session, op, None) == *given,
        }
    }

    /// All or nothing, each seeing what those before it did; what refuses it may also be judged on the tree before it.
    fn multi(&self, tree: &mut Tree, session: SessionName, ops: &[ZkOp], ret: Option<&ZkResult>) -> bool {
        let mut after = tree.clone();
        match ret {
            Some(ZkResult::Refused(ZkError::SessionExpired)) => tree.ended.contains(&session),
            Some(refused @ ZkResult::Refused(_)) => ops.iter().any(|op| {
                let refuses = |tree: &Tree| self.one(&mut tree.clone(), session, op, Some(refused), 0);
                let refused_here = refuses(&after) || refuses(tree);
                refused_here || !self.one(&mut after, session, op, None, 0)
            }),
            Some(ZkResult::Multi { results }) => {
                let fit = results.len() == ops.len()
                    && ops.iter().zip(results).all(|(op, result)| self.one(&mut after, session, op, Some(result), 0));
                *tree = after;
                fit
            }
            Some(_) => false,
            None => {
                // If one cannot be done, none is.
                let mut can = true;
                for op in ops {
                    can &= after.errors(session, op).is_empty() && self.one(&mut after, session, op, None, 0);
                }
                if can {
                    *tree = after;
                }
                true
            }
        }
    }
}

fn is_sequential(op: &ZkOp) -> bool {
    matches!(op, ZkOp::Create { sequential: true, .. })
}

/// Whether a sequential node's number is greater than those that its parent had given; one that nobody saw has none.
fn rises(tree: &Tree, op: &ZkOp, path: &Bytes) -> bool {
    let ZkOp::Create { path: asked, .. } = op else { return true };
    let before = tree.nodes.get(&parent(path)).map_or(0, |node| node.numbered);
    number(asked, path).is_none_or(|number| number >= before)
}

/// The paths that an operation's answer shows or that it names, and those that it says it made.
fn collect(op: &ZkOp, ret: Option<&ZkResult>, seen: &mut BTreeSet<Bytes>, claimed: &mut BTreeSet<Bytes>) {
    match (op, ret) {
        (ZkOp::GetChildren { path }, Some(ZkResult::Children { names })) => {
            let above = key(path);
            seen.extend(names.iter().map(|name| Bytes::from([above.as_slice(), b"/", name.as_slice()].concat())));
        }
        (ZkOp::Create { .. }, Some(ZkResult::Created { path })) => _ = claimed.insert(path.clone()),
        (ZkOp::SetData { path, .. } | ZkOp::Delete { path, .. } | ZkOp::GetData { path }, Some(_)) => _ = seen.insert(path.clone()),
        (ZkOp::Multi { ops }, Some(ZkResult::Multi { results })) => {
            ops.iter().zip(results).for_each(|(op, result)| collect(op, Some(result), seen, claimed));
        }
        _ => {}
    }
}

impl Model for Zk {
    type Op = Op;
    type Ret = ZkResult;
    type State = Tree;

    fn initial(&self) -> Tree {
        Tree { nodes: BTreeMap::from([(Bytes::default(), Node::default())]), ended: BTreeSet::new() }
    }

    fn step(&self, state: &Tree, op: &Op, ret: Option<&ZkResult>, branch: u32) -> Option<Tree> {
        let mut tree = state.clone();
        match op {
            Op::Expire(session) => {
                tree.end(*session);
                Some(tree)
            }
            Op::Client(session, op) => self.one(&mut tree, *session, op, ret, branch).then_some(tree),
        }
    }

    fn branches(&self, op: &Op, ret: Option<&ZkResult>) -> u32 {
        match (op, ret) {
            (Op::Client(_, op), None) => 1 + self.candidates(op).len() as u32,
            _ => 1,
        }
    }

    fn reads_only(&self, op: &Op, ret: Option<&ZkResult>) -> bool {
        match (op, ret) {
            (Op::Client(_, ZkOp::GetData { .. } | ZkOp::GetChildren { .. } | ZkOp::Sync), _) => true,
            (_, ret) => matches!(ret, Some(ZkResult::Refused(_))),
        }
    }

    fn interchangeable(&self, a: &Op, b: &Op) -> bool {
        a == b
    }

    fn describe(&self, op: &Op, ret: Option<&ZkResult>) -> String {
        let what = match op {
            Op::Expire((client, session)) => return format!("session {session} of client c{client} expires"),
            Op::Client((client, _), op) => format!("c{client}: {}", say(op)),
        };
        ret.map_or(what.clone(), |ret| format!("{what} → {}", answer(ret)))
    }

    fn describe_state(&self, state: &Tree) -> String {
        let nodes = state.nodes.iter().filter(|(path, _)| !path.as_slice().is_empty());
        let node = |(path, node): (&Bytes, &Node)| format!("{path}: {} (version {})", node.data, node.version);
        format!("{{{}}}", nodes.map(node).collect::<Vec<_>>().join(", "))
    }
}

fn say(op: &ZkOp) -> String {
    let version = |version: &Option<u64>| version.map_or(String::new(), |v| format!(", version {v}"));
    match op {
        ZkOp::Create { path, data, ephemeral, sequential } => {
            let (e, s) = (if *ephemeral { ", ephemeral" } else { "" }, if *sequential { ", sequential" } else { "" });
            format!("create({path}, {data}{e}{s})")
        }
        ZkOp::SetData { path, data, version: v } => format!("set({path}, {data}{})", version(v)),
        ZkOp::Delete { path, version: v } => format!("delete({path}{})", version(v)),
        ZkOp::GetData { path } => format!("get({path})"),
        ZkOp::GetChildren { path } => format!("children({path})"),
        ZkOp::Multi { ops } => format!("multi({})", ops.iter().map(say).collect::<Vec<_>>().join(", ")),
        ZkOp::Sync => "sync()".into(),
        ZkOp::CloseSession => "close()".into(),
    }
}

fn answer(result: &ZkResult) -> String {
    match result {
        ZkResult::Created { path } => path.to_string(),
        ZkResult::Set { version } => format!("version {version}"),
        ZkResult::Data { data, version } => format!("{data} (version {version})"),
        ZkResult::Children { names } => format!("[{}]", names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
        ZkResult::Multi { results } => format!("[{}]", results.iter().map(answer).collect::<Vec<_>>().join(", ")),
        ZkResult::Deleted | ZkResult::Synced | ZkResult::Closed => "done".into(),
        ZkResult::Refused(error) => format!("{error:?}"),
    }
}
