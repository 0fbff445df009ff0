//! Operations of a plan, drawn from a scenario's mix.

use super::spec::{Applications, Mix};
use crate::{Action, CasBy, Leave, Mistake, Op, Query, Watch, ZkAction};
use kv::{Bytes, CompareResult, SortTarget};
use world::{Draws, Sequence};

/// A lease that is named when all operations have their ids.
const TO_BE_NAMED: u64 = u64::MAX;

/// What is drawn from in one run.
pub(super) struct Kinds<'a> {
    /// Kinds of operations with their weights.
    weights: Vec<(&'static str, u64)>,
    total: u64,
    first: Vec<String>,
    applications: &'a Applications,
    /// The generic keys, and the end of the last.
    keys: Vec<Bytes>,
    locks: Vec<Bytes>,
    services: Vec<Bytes>,
    tokens: Vec<Bytes>,
    paths: Vec<Bytes>,
}

impl Mix {
    /// The kinds of one run: some are off, the others weigh what is drawn.
    pub(super) fn draw<'a>(&self, s: &mut Sequence, applications: &'a Applications, keys: u32) -> Kinds<'a> {
        let mut weights: Vec<(&'static str, u64)> = self.weights().map(|(name, weight)| (name, u64::from(weight))).collect();
        for (name, weight) in &mut weights {
            let off = s.draw().chance(0.25) && !self.keep.iter().any(|k| k == name);
            *weight = if off { 0 } else { *weight * s.draw().log_range(1..=8) };
        }
        if weights.iter().all(|(_, w)| *w == 0) {
            weights[0].1 = 1;
        }
        let total = weights.iter().map(|(_, w)| w).sum();
        let numbered = |count: u64, name: &str| (0..count.max(1)).map(|i| Bytes::from(format!("{name}{i}"))).collect::<Vec<_>>();
        let services = (0..applications.services.draw(s).max(1)).map(|i| Bytes::from(format!("svc/{i}/"))).collect();
        Kinds {
            weights,
            total,
            first: self.first.clone(),
            applications,
            keys: (0..=keys).map(|k| Bytes::from(format!("k{k:02}"))).collect(),
            locks: numbered(applications.locks.draw(s), "lock/"),
            services,
            tokens: numbered(applications.tokens.draw(s), "token/"),
            paths: paths(applications.paths.draw(s)),
        }
    }
}

/// A small tree, its first nodes at the root.
fn paths(count: u64) -> Vec<Bytes> {
    let tree = ["/a", "/a/x", "/b", "/a/y", "/a/x/q", "/b/x", "/c", "/a/x/r"];
    tree.into_iter().take(count.max(1) as usize).map(Bytes::from).collect()
}

fn pick<T: Clone>(s: &mut Sequence, among: &[T]) -> T {
    s.pick(among).cloned().expect("there is always something to pick from")
}

impl Kinds<'_> {
    /// The operation drawn i-th, on the keys of these two numbers, or on something else.
    pub(super) fn action(&self, s: &mut Sequence, i: u64, first: usize, second: usize) -> Action {
        let mut left = s.draw().below(self.total);
        let mut kind: &str = "put";
        for (name, weight) in &self.weights {
            if left < *weight {
                kind = name;
                break;
            }
            left -= weight;
        }
        if let Some(first) = self.first.get(i as usize) {
            kind = first;
        }
        let key = self.keys[first].clone();
        let other = self.keys[second].clone();
        let (from, to) = (self.keys[first.min(second)].clone(), self.keys[first.max(second) + 1].clone());
        let by = pick(s, &[CasBy::Value, CasBy::ModRevision, CasBy::Version, CasBy::Value, CasBy::ModRevision, CasBy::CreateRevision]);
        match kind {
            "put" => put(key, 0),
            "put_lease" => put(key, TO_BE_NAMED),
            "put_ignore" => {
                let (ignore_value, lease) = pick(s, &[(true, 0), (false, 0), (true, 0), (true, TO_BE_NAMED)]);
                let ignore_lease = lease == 0 && (!ignore_value || s.draw().chance(0.3));
                Action::Put { key, lease, ignore_value, ignore_lease }
            }
            "get" => Action::Get { key },
            "range" => Action::Range { from, to },
            "query" => self.query(s, from, to),
            "delete" => Action::Delete { key },
            "delete_range" => Action::DeleteRange { from, to },
            "cas" => Action::Cas { key, by: if s.draw().chance(0.1) { CasBy::Lease } else { by } },
            "nested" if first != second => Action::Nested { compare: pick(s, &[key.clone(), other.clone()]), by, outer: key, inner: other },
            "compact" => {
                let back = s.draw().log_range(0..=40) as i64;
                Action::Compact { at: if s.draw().chance(0.05) { 1_000 } else { -back } }
            }
            "grant" => self.grant(s),
            "revoke" => Action::Revoke { lease: TO_BE_NAMED },
            "keep_alive" => Action::KeepAlive { lease: TO_BE_NAMED },
            "time_to_live" => Action::TimeToLive { lease: TO_BE_NAMED, keys: s.draw().chance(0.5) },
            "leases" => Action::Leases {},
            "renew" => Action::Renew { lease: TO_BE_NAMED, for_us: self.applications.hold_us.draw(s) },
            "watch" => Action::Watch(self.watch(s, &key, from, to)),
            "mistake" => Action::Mistake { what: pick(s, Mistake::ALL) },
            "lock" => Action::Lock {
                lock: pick(s, &self.locks),
                ttl: self.ttl(s),
                hold_us: self.applications.hold_us.draw(s),
                renew: s.draw().chance(0.6),
                leave: pick(s, &[Leave::Revoke, Leave::Delete, Leave::Expire]),
            },
            "register" => Action::Register {
                service: pick(s, &self.services),
                instance: Bytes::from(format!("i{}", s.draw().below(4))),
                ttl: self.ttl(s),
                for_us: self.applications.hold_us.draw(s),
                leave: pick(s, &[Leave::Revoke, Leave::Expire]),
            },
            "discover" => Action::Discover { service: pick(s, &self.services) },
            "authorise" => Action::Authorise { token: pick(s, &self.tokens), ttl: self.ttl(s) },
            "use_token" => Action::Use { token: pick(s, &self.tokens), key },
            "withdraw" => Action::Withdraw { token: pick(s, &self.tokens) },
            "zk" => Action::Zk(self.zk(s)),
            _ => txn(s, (key, first), (other, second), (from, to), by),
        }
    }

    /// Seconds; now and then none at all, or so many that no run is long enough.
    fn ttl(&self, s: &mut Sequence) -> i64 {
        let ttl = self.applications.ttl_s.draw(s) as i64;
        match s.draw().below(20) {
            0 => 0,
            1 => 1_000,
            _ => ttl,
        }
    }

    fn grant(&self, s: &mut Sequence) -> Action {
        let ttl = self.ttl(s);
        let (again, made) = (s.draw().chance(0.1), s.draw().chance(0.4));
        Action::Grant { ttl, lease: if again { TO_BE_NAMED } else { 0 }, made: made && !again }
    }

    fn query(&self, s: &mut Sequence, from: Bytes, to: Bytes) -> Action {
        let mut some = |chance: f64| s.draw().chance(chance);
        let (all, old, serializable, limited, sorted) = (some(0.3), some(0.35), some(0.4), some(0.4), some(0.4));
        let (descend, keys_only, count_only, filtered) = (some(0.5), some(0.15), some(0.15), some(0.3));
        let back = |s: &mut Sequence| -(s.draw().log_range(0..=40) as i64);
        let mut query = Query { key: from, to: Some(to), serializable, keys_only, count_only, ..Query::default() };
        if all {
            (query.key, query.to) = ("k".into(), Some("l".into()));
        }
        if old {
            query.at = Some(if s.draw().chance(0.08) { 1_000 } else { back(s) });
        }
        if limited {
            query.limit = s.draw().range(1..=4);
        }
        if sorted {
            query.sort = pick(s, &[SortTarget::Key, SortTarget::Version, SortTarget::Create, SortTarget::Mod, SortTarget::Value]);
            query.descend = descend;
        }
        if filtered {
            let bound = Some(back(s));
            let field = pick(s, &[0, 1, 2, 3]);
            *[&mut query.written_since, &mut query.written_until, &mut query.created_since, &mut query.created_until][field] = bound;
        }
        Action::Query(query)
    }

    fn watch(&self, s: &mut Sequence, key: &Bytes, from: Bytes, to: Bytes) -> Watch {
        let (kind, start) = (s.draw().below(10), s.draw().below(10));
        let (key, to) = match kind {
            0..4 => (key.clone(), None),
            4..7 => (from, Some(to)),
            7 => (key.clone(), Some(key.clone())), // Holds no key: refused.
            8 => ("k".into(), Some("\0".into())),
            _ => (pick(s, &["lock/", "svc/", "z", "token/"]).into(), Some("\0".into())),
        };
        let back = s.draw().log_range(0..=60) as i64;
        let at = match start {
            0..5 => None,
            5..9 => Some(-back),
            _ => Some(back + 1),
        };
        let mut some = |chance: f64| s.draw().chance(chance);
        let (prev_kv, filtered, no_put, progress, slow, asks, ends) =
            (some(0.5), some(0.2), some(0.5), some(0.4), some(0.4), some(0.4), some(0.4));
        let (pace, ask, for_us) =
            (self.applications.pace_us.draw(s), s.draw().log_range(5_000..=500_000), self.applications.watch_us.draw(s));
        Watch {
            key,
            to,
            at,
            prev_kv,
            no_put: filtered && no_put,
            no_delete: filtered && !no_put,
            progress,
            pace_us: if slow { pace } else { 0 },
            ask_us: if asks { ask } else { 0 },
            for_us: ends.then_some(for_us),
        }
    }

    fn zk(&self, s: &mut Sequence) -> ZkAction {
        let path = pick(s, &self.paths);
        let seen = s.draw().chance(0.4);
        match s.draw().below(32) {
            0..8 => ZkAction::Create { path, ephemeral: s.draw().chance(0.3), sequential: false },
            8..13 => ZkAction::Create { path, ephemeral: s.draw().chance(0.6), sequential: true },
            13..17 => ZkAction::SetData { path, seen },
            17..21 => ZkAction::Delete { path, seen },
            21..24 => ZkAction::GetData { path },
            24..27 => ZkAction::GetChildren { path: if seen { "/".into() } else { path } },
            27..30 => self.multi(s),
            30 => ZkAction::Sync,
            _ => ZkAction::CloseSession,
        }
    }

    fn multi(&self, s: &mut Sequence) -> ZkAction {
        let mut ops: Vec<ZkAction> = Vec::new();
        for _ in 0..s.draw().range(1..=4) {
            let (path, seen) = (pick(s, &self.paths), s.draw().chance(0.3));
            let near = |other: &Bytes| path.as_slice().starts_with(other.as_slice()) || other.as_slice().starts_with(path.as_slice());
            if ops.iter().filter_map(ZkAction::path).any(near) {
                continue;
            }
            ops.push(match s.draw().below(4) {
                0 | 1 => ZkAction::Create { path, ephemeral: s.draw().chance(0.3), sequential: false },
                2 => ZkAction::SetData { path, seen },
                _ => ZkAction::Delete { path, seen },
            });
        }
        ZkAction::Multi { ops }
    }
}

fn put(key: Bytes, lease: u64) -> Action {
    Action::Put { key, lease, ignore_value: false, ignore_lease: false }
}

fn txn(s: &mut Sequence, (key, first): (Bytes, usize), (other, second): (Bytes, usize), (_, to): (Bytes, Bytes), by: CasBy) -> Action {
    let (deletes, leased, ranged, how) = (s.draw().chance(0.15), s.draw().chance(0.05), s.draw().chance(0.1), s.draw().below(10));
    let (mut put, mut get, mut delete) = (vec![], vec![], vec![]);
    match s.draw().below(3) {
        0 => put.push(other),
        1 => get.push(other),
        _ if first == second => put.push(key.clone()),
        _ => put.extend([key.clone(), other]),
    }
    if deletes && let Some(key) = put.pop() {
        delete.push(key);
    }
    let is = match how {
        0 => CompareResult::NotEqual,
        1 => CompareResult::Greater,
        2 => CompareResult::Less,
        _ => CompareResult::Equal,
    };
    let lease = if leased && !put.is_empty() { TO_BE_NAMED } else { 0 };
    Action::Txn { compare: key, compare_to: ranged.then_some(to), by, is, put, get, delete, lease }
}

/// Gives the operations, which are in order, the names of their leases: mostly of one that was granted a short while before.
pub(super) fn name_leases(draws: Draws, ops: &mut [(u64, Op)]) {
    let granted = |op: &Op| matches!(op.action, Action::Grant { lease: 0, .. });
    let grants: Vec<u64> = ops.iter().filter(|(_, op)| granted(op)).map(|(_, op)| op.id).collect();
    let stream = draws.stream("plan.lease");
    for (i, op) in ops {
        let id = op.id;
        let Some(lease) = op.action.lease_mut().filter(|lease| **lease == TO_BE_NAMED) else { continue };
        let mut s = stream.sequence(*i);
        let before = &grants[..grants.partition_point(|grant| *grant < id)];
        let among = match s.draw().below(10) {
            0 => &grants[..],
            1 => before,
            _ => &before[before.len().saturating_sub(4)..],
        };
        // Without any, it names itself: there is no such lease.
        *lease = s.pick(among).copied().unwrap_or(id);
    }
}
