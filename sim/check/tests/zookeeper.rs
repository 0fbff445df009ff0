//! The model of ZooKeeper's tree: by hand, and by small random histories of a plain tree, honest and not, whose verdicts brute force gives.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use check::explain::Unit;
use check::model::{History, NEVER, Timed};
use check::models::zk::{Op, SessionName, Zk, number};
use check::search::{Budget, search};
use check::{Judgement, Verdict, judge_model};
use history::{ZkError, ZkOp, ZkResult};
use kv::Bytes;
use support::{Rng, brute};

fn create(path: &str, ephemeral: bool, sequential: bool) -> ZkOp {
    ZkOp::Create { path: path.into(), data: "1".into(), ephemeral, sequential }
}

fn set(path: &str, version: Option<u64>) -> ZkOp {
    ZkOp::SetData { path: path.into(), data: "2".into(), version }
}

fn delete(path: &str, version: Option<u64>) -> ZkOp {
    ZkOp::Delete { path: path.into(), version }
}

fn children(path: &str) -> ZkOp {
    ZkOp::GetChildren { path: path.into() }
}

fn made(path: &str) -> Option<ZkResult> {
    Some(ZkResult::Created { path: path.into() })
}

fn names(names: &[&str]) -> Option<ZkResult> {
    Some(ZkResult::Children { names: names.iter().map(|n| (*n).into()).collect() })
}

fn refused(error: ZkError) -> Option<ZkResult> {
    Some(ZkResult::Refused(error))
}

/// One after the other, each in the session of this client; without an answer it stays open.
fn judged(ops: &[(u32, ZkOp, Option<ZkResult>)]) -> Judgement {
    let mut history: History<Zk> = Vec::new();
    for (i, (client, op, ret)) in ops.iter().enumerate() {
        let invoke = 10 * i as u64;
        let end = if ret.is_some() { invoke + 5 } else { NEVER };
        history.push(Timed { id: i as u64, op: Op::Client((*client, 0), op.clone()), ret: ret.clone(), invoke, end });
    }
    let model = Zk::of(&history);
    judge_model(&model, history, Budget::default(), Unit::Nanoseconds)
}

#[track_caller]
fn ok(ops: &[(u32, ZkOp, Option<ZkResult>)]) {
    let judgement = judged(ops);
    assert_eq!(judgement.verdict, Verdict::Ok, "{}", judgement.message);
}

#[track_caller]
fn illegal(ops: &[(u32, ZkOp, Option<ZkResult>)], says: &str) {
    let judgement = judged(ops);
    assert_eq!(judgement.verdict, Verdict::Illegal);
    assert!(judgement.message.contains(says), "{}", judgement.message);
}

#[test]
fn nodes_and_versions() {
    let data = |data: &str, version| Some(ZkResult::Data { data: data.into(), version });
    let get = |path: &str| ZkOp::GetData { path: path.into() };
    ok(&[
        (1, create("/a", false, false), made("/a")),
        (1, create("/a", false, false), refused(ZkError::NodeExists)),
        (1, create("/b/c", false, false), refused(ZkError::NoNode)),
        (1, get("/a"), data("1", 0)),
        (2, set("/a", Some(0)), Some(ZkResult::Set { version: 1 })),
        (2, set("/a", Some(0)), refused(ZkError::BadVersion)),
        (1, create("/a/b", false, false), made("/a/b")),
        (1, children("/"), names(&["a"])),
        (1, children("/a"), names(&["b"])),
        (1, delete("/a", None), refused(ZkError::NotEmpty)),
        (1, delete("/a/b", Some(0)), Some(ZkResult::Deleted)),
        (1, delete("/a", Some(1)), Some(ZkResult::Deleted)),
        (1, get("/a"), refused(ZkError::NoNode)),
        (1, ZkOp::Sync, Some(ZkResult::Synced)),
    ]);
    let a = (1, create("/a", false, false), made("/a"));
    illegal(
        &[a.clone(), (1, create("/a", false, false), made("/a"))],
        "c1: create(/a, 1) → /a was invoked 5 ns after c1: create(/a, 1) → /a",
    );
    illegal(&[a.clone(), (1, get("/a"), data("1", 1))], "c1: get(/a) → 1 (version 1)");
    illegal(&[a.clone(), (1, create("/a/b", false, false), made("/a/b")), (1, delete("/a", None), Some(ZkResult::Deleted))], "");
    illegal(&[(1, create("/a/b", false, false), made("/a/b"))], "nothing that can have happened by then gives that answer");
    illegal(&[a, (1, children("/"), names(&[]))], "children(/) → []");
}

#[test]
fn ephemerals_and_sessions() {
    let e = (1, create("/e", true, false), made("/e"));
    let close_of = |client| (client, ZkOp::CloseSession, Some(ZkResult::Closed));
    let close = close_of(1);
    ok(&[e.clone(), close.clone(), (2, children("/"), names(&[])), (1, create("/e", true, false), refused(ZkError::SessionExpired))]);
    illegal(&[e.clone(), close.clone(), (2, children("/"), names(&["e"]))], "after c1: close() → done had been acknowledged");
    illegal(&[e.clone(), close, (1, create("/f", true, false), made("/f"))], "");
    illegal(&[e.clone(), (2, children("/"), names(&[]))], "children(/) → []");
    ok(&[e.clone(), (2, create("/e/x", false, false), refused(ZkError::NoChildrenForEphemerals))]);
    // Nothing has ended that session; and in one that has ended, nothing is written.
    illegal(&[e.clone(), (1, set("/e", None), refused(ZkError::SessionExpired))], "SessionExpired");
    illegal(&[e.clone(), close_of(1), (1, create("/f", false, false), made("/f"))], "");
    ok(&[e.clone(), close_of(1), (1, ZkOp::Multi { ops: vec![create("/f", false, false)] }, refused(ZkError::SessionExpired))]);
    // An unanswered end of the session explains it.
    ok(&[e, (1, ZkOp::CloseSession, None), (2, children("/"), names(&[]))]);
}

#[test]
fn sequential_nodes() {
    let n = |op: u64| made(&format!("/n-{op:010}"));
    let numbered = || create("/n-", false, true);
    ok(&[(1, numbered(), n(0)), (2, numbered(), n(3)), (1, children("/"), names(&["n-0000000000", "n-0000000003"]))]);
    illegal(&[(1, numbered(), n(3)), (2, numbered(), n(2))], "");
    illegal(&[(1, numbered(), n(3)), (1, delete("/n-0000000003", None), Some(ZkResult::Deleted)), (2, numbered(), n(3))], "");
    illegal(&[(1, numbered(), made("/n-17"))], "");
    // One that was never answered is seen by another.
    ok(&[(1, numbered(), None), (2, children("/"), names(&["n-0000000004"])), (2, numbered(), n(5))]);
    illegal(&[(1, numbered(), None), (2, children("/"), names(&["n-0000000004"])), (2, numbered(), n(4))], "");
}

#[test]
fn all_or_nothing() {
    let multi = |ops: Vec<ZkOp>| ZkOp::Multi { ops };
    let both = || multi(vec![create("/a", false, false), create("/a/b", false, false), set("/a", Some(0))]);
    let results = vec![made("/a").expect("some"), made("/a/b").expect("some"), ZkResult::Set { version: 1 }];
    ok(&[(1, both(), Some(ZkResult::Multi { results: results.clone() })), (1, children("/a"), names(&["b"]))]);
    ok(&[(1, both(), Some(ZkResult::Multi { results: results.clone() })), (1, both(), refused(ZkError::NodeExists))]);
    let half = || multi(vec![create("/x", false, false), delete("/y", None)]);
    ok(&[(1, half(), refused(ZkError::NoNode)), (1, children("/"), names(&[]))]);
    illegal(&[(1, half(), refused(ZkError::NoNode)), (1, children("/"), names(&["x"]))], "children(/) → [x]");
    illegal(&[(1, half(), refused(ZkError::BadVersion))], "");
    illegal(&[(1, half(), Some(ZkResult::Multi { results }))], "");
}

/// A tree as plain as can be.
#[derive(Default)]
struct Plain {
    nodes: BTreeMap<String, (String, u64, Option<SessionName>)>,
    numbers: BTreeMap<String, u64>,
    ended: BTreeSet<SessionName>,
}

impl Plain {
    fn apply(&mut self, op: &Op) -> ZkResult {
        let (session, op) = match op {
            Op::Client(session, op) => (*session, op),
            Op::Expire(session) => {
                self.end(*session);
                return ZkResult::Closed;
            }
        };
        let no = ZkResult::Refused;
        let above = |path: &str| path[..path.rfind('/').unwrap_or(0)].to_owned();
        let writes = matches!(op, ZkOp::Create { .. } | ZkOp::SetData { .. } | ZkOp::Delete { .. });
        if writes && self.ended.contains(&session) {
            return no(ZkError::SessionExpired);
        }
        match op {
            ZkOp::Create { path, data, ephemeral, sequential } => {
                let mut path = path.to_string();
                let parent = above(&path);
                match self.nodes.get(&parent) {
                    None if !parent.is_empty() => return no(ZkError::NoNode),
                    Some((_, _, Some(_))) => return no(ZkError::NoChildrenForEphemerals),
                    _ => {}
                }
                if *sequential {
                    let next = self.numbers.entry(parent).or_default();
                    while self.nodes.contains_key(&format!("{path}{next:010}")) {
                        *next += 1;
                    }
                    path += &format!("{next:010}");
                    *next += 1;
                } else if self.nodes.contains_key(&path) {
                    return no(ZkError::NodeExists);
                }
                self.nodes.insert(path.clone(), (data.to_string(), 0, ephemeral.then_some(session)));
                ZkResult::Created { path: path.into() }
            }
            ZkOp::SetData { path, data, version } => match self.nodes.get_mut(&path.to_string()) {
                None => no(ZkError::NoNode),
                Some(node) if version.is_some_and(|v| v != node.1) => no(ZkError::BadVersion),
                Some(node) => {
                    (node.0, node.1) = (data.to_string(), node.1 + 1);
                    ZkResult::Set { version: node.1 }
                }
            },
            ZkOp::Delete { path, version } => match self.nodes.get(&path.to_string()) {
                None => no(ZkError::NoNode),
                Some(node) if version.is_some_and(|v| v != node.1) => no(ZkError::BadVersion),
                Some(_) if self.nodes.keys().any(|other| above(other) == path.to_string()) => no(ZkError::NotEmpty),
                Some(_) => {
                    self.nodes.remove(&path.to_string());
                    self.numbers.remove(&path.to_string());
                    ZkResult::Deleted
                }
            },
            ZkOp::GetData { path } => match self.nodes.get(&path.to_string()) {
                None => no(ZkError::NoNode),
                Some(node) => ZkResult::Data { data: node.0.as_str().into(), version: node.1 },
            },
            ZkOp::GetChildren { path } => {
                let path = if path.to_string() == "/" { String::new() } else { path.to_string() };
                if !path.is_empty() && !self.nodes.contains_key(&path) {
                    return no(ZkError::NoNode);
                }
                let names = self.nodes.keys().filter(|other| above(other) == path).map(|other| Bytes::from(&other[path.len() + 1..]));
                ZkResult::Children { names: names.collect() }
            }
            ZkOp::Sync => ZkResult::Synced,
            ZkOp::CloseSession => {
                self.end(session);
                ZkResult::Closed
            }
            ZkOp::Multi { .. } => panic!("by hand only"),
        }
    }

    fn end(&mut self, session: SessionName) {
        self.nodes.retain(|_, node| node.2 != Some(session));
        self.ended.insert(session);
    }
}

fn random_op(rng: &mut Rng, i: u64) -> Op {
    let session = (1 + rng.below(2) as u32, 0);
    let path = ["/a", "/b", "/a/c", "/a/n-0000000000"][rng.below(4) as usize];
    let version = rng.chance(30).then(|| rng.below(2));
    Op::Client(
        session,
        match rng.below(10) {
            0..3 => ZkOp::Create { path: path.into(), data: format!("{i}").into(), ephemeral: rng.chance(30), sequential: false },
            3 | 4 => create(["/n-", "/a/n-"][rng.below(2) as usize], rng.chance(30), true),
            5 => set(path, version),
            6 => delete(path, version),
            7 => ZkOp::GetData { path: path.into() },
            8 => children(["/", "/a"][rng.below(2) as usize]),
            _ if rng.chance(40) => ZkOp::CloseSession,
            _ => return Op::Expire(session),
        },
    )
}

#[test]
fn the_search_agrees_with_brute_force() {
    let (mut rng, mut legal) = (Rng(31), 0);
    for case in 0..6_000 {
        let (mut plain, mut history): (Plain, History<Zk>) = (Plain::default(), Vec::new());
        for id in 0..2 + rng.below(6) {
            let (op, invoke) = (random_op(&mut rng, id), (3 * id).saturating_sub(rng.below(6)));
            let (mut ret, unknown) = (Some(plain.apply(&op)), rng.chance(12));
            if rng.chance(10) {
                ret = match ret {
                    Some(ZkResult::Created { .. }) => refused(ZkError::NodeExists),
                    Some(ZkResult::Data { data, version }) => Some(ZkResult::Data { data, version: version + 1 }),
                    Some(ZkResult::Children { mut names }) => {
                        names.pop();
                        Some(ZkResult::Children { names })
                    }
                    Some(ZkResult::Refused(_)) => Some(ZkResult::Deleted),
                    other => other,
                };
            }
            let answered = !unknown && !matches!(op, Op::Expire(_));
            let end = if answered { 3 * id + 1 + rng.below(4) } else { NEVER };
            history.push(Timed { id, op, ret: ret.filter(|_| answered), invoke, end });
        }
        let model = Zk::of(&history);
        let expected = brute(&model, &history);
        assert_eq!(search(&model, history.clone(), Budget::default()).legal(), Some(expected), "case {case}: {history:#?}");
        legal += u32::from(expected);
    }
    assert!((1_800..5_600).contains(&legal), "{legal} of 6000 are legal");
}

/// What a plain tree does is legal, whatever it is.
#[test]
fn a_plain_tree_is_legal() {
    for seed in 0..3_000 {
        let (mut rng, mut plain, mut history): (Rng, Plain, History<Zk>) = (Rng(seed), Plain::default(), Vec::new());
        for id in 0..20 {
            let op = random_op(&mut rng, id);
            let ret = plain.apply(&op);
            history.push(Timed { id, op, ret: Some(ret), invoke: 3 * id, end: 3 * id + rng.below(6) });
        }
        let model = Zk::of(&history);
        let judgement = judge_model(&model, history, Budget::default(), Unit::Nanoseconds);
        assert_eq!(judgement.verdict, Verdict::Ok, "seed {seed}: {}", judgement.message);
    }
}

#[test]
fn numbers() {
    assert_eq!(number(&"/n-".into(), &"/n-0000000012".into()), Some(12));
    assert_eq!(number(&"/n-".into(), &"/n-12".into()), None);
    assert_eq!(number(&"/n-".into(), &"/m-0000000012".into()), None);
}
