//! Our key-value store by its values: what a history alone says, without the log (CHECKS.md, statement B).
//!
//! Commuting operations may have been reordered, so revisions are ignored: in answers, and in compares, where only "none" (0) can be
//! told from "some". A txn that compares revisions is believed which branch it took. Versions stay: puts of one key
//! conflict, and keep their order.

use std::sync::Arc;

use kv::{Bytes, Compare, CompareResult, CompareTarget, KeyValue, Request, Response};

use crate::model::{History, Model};
use crate::replay::is_unbounded;
use crate::words;

/// Keys and values by number, in rising order.
#[derive(Debug, Default)]
struct Names {
    keys: Vec<Bytes>,
    values: Vec<Bytes>,
}

/// What a key holds: number of the key, number of the value, version.
type Cell = (u32, u32, u32);

/// The store. Its state is the cells present, in key order.
#[derive(Clone, Debug)]
pub struct Kv {
    names: Arc<Names>,
}

/// Numbers of keys, the end exclusive.
type Span = (u32, u32);

impl Kv {
    /// The model for a history: it knows the keys and values that occur in these requests.
    pub fn of<'a>(requests: impl Iterator<Item = &'a Request>) -> Kv {
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        requests.for_each(|request| collect(request, &mut keys, &mut values));
        for list in [&mut keys, &mut values] {
            list.sort_unstable();
            list.dedup();
        }
        Kv { names: Arc::new(Names { keys, values }) }
    }

    fn span(&self, key: &Bytes, end: Option<&Bytes>) -> Span {
        let keys = &self.names.keys;
        let from = keys.partition_point(|k| k < key) as u32;
        let to = match end {
            Some(end) if is_unbounded(end) => keys.len() as u32,
            Some(end) => keys.partition_point(|k| k < end) as u32,
            None => keys.partition_point(|k| k <= key) as u32,
        };
        (from, to.max(from))
    }

    /// Calls `f` with every span the operation may touch and whether it observes it (or else only writes).
    fn touched(&self, request: &Request, ret: Option<&Response>, f: &mut impl FnMut(Span, bool)) {
        match (request, ret) {
            (Request::Put(put), _) => f(self.span(&put.key, None), put.prev_kv && ret.is_some()),
            (Request::Range(range), _) => f(self.span(&range.key, range.range_end.as_ref()), true),
            (Request::DeleteRange(delete), _) => f(self.span(&delete.key, delete.range_end.as_ref()), ret.is_some()),
            (Request::Txn(txn), ret) => {
                txn.compare.iter().for_each(|c| f(self.span(&c.key, None), true));
                let taken = match ret {
                    Some(Response::Txn { succeeded: true, .. }) => [Some(&txn.success), None],
                    Some(Response::Txn { succeeded: false, .. }) => [None, Some(&txn.failure)],
                    _ => [Some(&txn.success), Some(&txn.failure)],
                };
                // Inside, everything that could observe is taken to: a set too large only keeps more operations.
                let answered = Some(&Response::Put { prev_kv: None });
                taken.into_iter().flatten().flatten().for_each(|request| self.touched(request, answered, f));
            }
            // Leases and compaction are not modelled yet.
            _ => {}
        }
    }

    /// Executes in place; false if the answer does not fit.
    fn run(&self, cells: &mut Vec<Cell>, request: &Request, ret: Option<&Response>, branch: u32) -> bool {
        match (request, ret) {
            (Request::Put(put), _) => {
                let (key, _) = self.span(&put.key, None);
                let at = cells.binary_search_by_key(&key, |cell| cell.0);
                let fits = match ret {
                    None => true,
                    Some(Response::Put { prev_kv }) => match (prev_kv, at) {
                        (Some(kv), Ok(at)) => put.prev_kv && self.is(cells[at], kv),
                        (None, Ok(_)) => !put.prev_kv,
                        (prev_kv, Err(_)) => prev_kv.is_none(),
                    },
                    Some(_) => false,
                };
                let value = self.names.values.partition_point(|v| *v < put.value) as u32;
                match at {
                    Ok(at) => cells[at] = (key, value, cells[at].2 + 1),
                    Err(at) => cells.insert(at, (key, value, 1)),
                }
                fits
            }
            (Request::Range(_), None) => true,
            (Request::Range(range), Some(Response::Range { kvs, count, .. })) => {
                let found = &cells[self.within(cells, self.span(&range.key, range.range_end.as_ref()))];
                let most = if range.limit == 0 { usize::MAX } else { usize::try_from(range.limit).unwrap_or(usize::MAX) };
                *count == found.len() as u64 && self.are(&found[..found.len().min(most)], kvs)
            }
            (Request::DeleteRange(delete), _) => {
                let within = self.within(cells, self.span(&delete.key, delete.range_end.as_ref()));
                let fits = match ret {
                    None => true,
                    Some(Response::DeleteRange { deleted, prev_kvs }) => {
                        let shown = if delete.prev_kv { &cells[within.clone()] } else { &[] };
                        *deleted == within.len() as u64 && self.are(shown, prev_kvs)
                    }
                    Some(_) => false,
                };
                cells.drain(within);
                fits
            }
            (Request::Txn(txn), ret) => {
                let holds = self.all_hold(cells, &txn.compare);
                let (succeeded, responses) = match (ret, holds) {
                    (Some(Response::Txn { succeeded, responses }), holds) if holds.is_none_or(|holds| holds == *succeeded) => {
                        (*succeeded, Some(responses))
                    }
                    (None, Some(holds)) if branch == 0 => (holds, None),
                    (None, None) => (branch == 0, None),
                    _ => return false,
                };
                let taken = if succeeded { &txn.success } else { &txn.failure };
                let response = |i: usize| responses.and_then(|responses| responses.get(i));
                responses.is_none_or(|responses| responses.len() == taken.len())
                    && taken.iter().enumerate().all(|(i, request)| self.run(cells, request, response(i), 0))
            }
            _ => false,
        }
    }

    fn within(&self, cells: &[Cell], span: Span) -> std::ops::Range<usize> {
        cells.partition_point(|cell| cell.0 < span.0)..cells.partition_point(|cell| cell.0 < span.1)
    }

    fn is(&self, cell: Cell, kv: &KeyValue) -> bool {
        let names = &*self.names;
        names.keys[cell.0 as usize] == kv.key && names.values[cell.1 as usize] == kv.value && u64::from(cell.2) == kv.version
    }

    fn are(&self, cells: &[Cell], kvs: &[KeyValue]) -> bool {
        cells.len() == kvs.len() && cells.iter().zip(kvs).all(|(cell, kv)| self.is(*cell, kv))
    }

    /// Whether all compares hold; `None` if that hangs on a revision.
    fn all_hold(&self, cells: &[Cell], compares: &[Compare]) -> Option<bool> {
        let mut all = Some(true);
        for compare in compares {
            match self.holds(cells, compare) {
                Some(false) => return Some(false),
                Some(true) => {}
                None => all = None,
            }
        }
        all
    }

    fn holds(&self, cells: &[Cell], compare: &Compare) -> Option<bool> {
        let (key, _) = self.span(&compare.key, None);
        let cell = cells.binary_search_by_key(&key, |cell| cell.0).ok().map(|at| cells[at]);
        let order = match (&compare.target, cell) {
            (CompareTarget::Version(with), cell) => cell.map_or(0, |c| u64::from(c.2)).cmp(with),
            (CompareTarget::CreateRevision(with) | CompareTarget::ModRevision(with), None) => 0.cmp(with),
            // A key that exists has revision 2 or later; which, only the log says.
            (CompareTarget::CreateRevision(0 | 1) | CompareTarget::ModRevision(0 | 1), Some(_)) => std::cmp::Ordering::Greater,
            (CompareTarget::CreateRevision(_) | CompareTarget::ModRevision(_), Some(_)) => return None,
            (CompareTarget::Value(with), Some(cell)) => self.names.values[cell.1 as usize].cmp(with),
            (CompareTarget::Value(_), None) => return Some(false),
            (CompareTarget::Lease(_), _) => return None,
        };
        Some(match compare.result {
            CompareResult::Equal => order.is_eq(),
            CompareResult::NotEqual => order.is_ne(),
            CompareResult::Greater => order.is_gt(),
            CompareResult::Less => order.is_lt(),
        })
    }
}

impl Model for Kv {
    type Op = Request;
    type Ret = Response;
    type State = Vec<Cell>;

    fn initial(&self) -> Vec<Cell> {
        Vec::new()
    }

    fn step(&self, state: &Vec<Cell>, op: &Request, ret: Option<&Response>, branch: u32) -> Option<Vec<Cell>> {
        let mut cells = state.clone();
        self.run(&mut cells, op, ret, branch).then_some(cells)
    }

    fn branches(&self, op: &Request, ret: Option<&Response>) -> u32 {
        let on_revision = |c: &Compare| matches!(c.target, CompareTarget::CreateRevision(2..) | CompareTarget::ModRevision(2..));
        match (op, ret) {
            (Request::Txn(txn), None) if txn.compare.iter().any(on_revision) => 2,
            _ => 1,
        }
    }

    fn reads_only(&self, op: &Request, ret: Option<&Response>) -> bool {
        match (op, ret) {
            (Request::Range(_), _) | (Request::DeleteRange(_), Some(Response::DeleteRange { deleted: 0, .. })) => true,
            (Request::Put(_) | Request::DeleteRange(_), _) => false,
            (Request::Txn(txn), Some(Response::Txn { succeeded, responses })) => {
                let taken = if *succeeded { &txn.success } else { &txn.failure };
                taken.iter().enumerate().all(|(i, request)| self.reads_only(request, responses.get(i)))
            }
            (Request::Txn(txn), _) => txn.success.iter().chain(&txn.failure).all(|request| self.reads_only(request, None)),
            _ => false,
        }
    }

    fn interchangeable(&self, a: &Request, b: &Request) -> bool {
        a == b
    }

    /// Operations that share a key, directly or through others, belong together; an unanswered write that nobody can have
    /// observed is left out.
    fn partition(&self, mut history: History<Self>) -> Vec<(Self, History<Self>)> {
        self.drop_unobserved(&mut history);
        let mut root: Vec<u32> = (0..self.names.keys.len() as u32).collect();
        let mut first_of: Vec<Option<u32>> = Vec::with_capacity(history.len());
        for op in &history {
            let mut first: Option<u32> = None;
            self.touched(&op.op, op.ret.as_ref(), &mut |(from, to), _| {
                for key in from..to {
                    let (a, b) = (find(&mut root, *first.get_or_insert(key)), find(&mut root, key));
                    root[a as usize] = b;
                }
            });
            first_of.push(first);
        }
        let mut parts: Vec<(Self, History<Self>)> = Vec::new();
        let mut part_of: Vec<Option<usize>> = vec![None; root.len()];
        for (op, first) in history.into_iter().zip(first_of) {
            let part = match first.map(|first| find(&mut root, first) as usize) {
                Some(root) => part_of[root],
                // It touches no key that exists: alone, its answer must be empty.
                None => None,
            };
            match part {
                Some(part) => parts[part].1.push(op),
                None => {
                    if let Some(first) = first {
                        part_of[find(&mut root, first) as usize] = Some(parts.len());
                    }
                    parts.push((self.clone(), vec![op]));
                }
            }
        }
        parts
    }

    fn describe(&self, op: &Request, ret: Option<&Response>) -> String {
        words::operation(op, ret)
    }

    fn describe_state(&self, state: &Vec<Cell>) -> String {
        let names = &*self.names;
        let cell =
            |&(key, value, version): &Cell| format!("{}: {} (version {version})", names.keys[key as usize], names.values[value as usize]);
        if state.is_empty() { "empty".into() } else { format!("{{{}}}", state.iter().map(cell).collect::<Vec<_>>().join(", ")) }
    }
}

impl Kv {
    fn drop_unobserved(&self, history: &mut History<Self>) {
        if history.iter().all(|op| op.is_complete()) {
            return;
        }
        // For each key, when the last operation that observes it ends.
        let mut observed_until: Vec<Option<u64>> = vec![None; self.names.keys.len()];
        history.retain(|op| op.is_complete() || !self.reads_only(&op.op, None));
        for op in history.iter() {
            self.touched(&op.op, op.ret.as_ref(), &mut |(from, to), observes| {
                for key in (from..to).filter(|_| observes) {
                    observed_until[key as usize] = observed_until[key as usize].max(Some(op.end));
                }
            });
        }
        history.retain(|op| {
            let mut needed = op.is_complete();
            self.touched(&op.op, None, &mut |(from, to), _| {
                needed |= (from..to).any(|key| observed_until[key as usize].is_some_and(|until| until >= op.invoke));
            });
            needed
        });
    }
}

fn collect(request: &Request, keys: &mut Vec<Bytes>, values: &mut Vec<Bytes>) {
    match request {
        Request::Put(put) => {
            keys.push(put.key.clone());
            values.push(put.value.clone());
        }
        // A key that is only read or deleted holds nothing, ever; but a single one is kept, so that it has a span.
        Request::Range(range) => keys.push(range.key.clone()),
        Request::DeleteRange(delete) => keys.push(delete.key.clone()),
        Request::Txn(txn) => {
            keys.extend(txn.compare.iter().map(|c| c.key.clone()));
            txn.success.iter().chain(&txn.failure).for_each(|request| collect(request, keys, values));
        }
        _ => {}
    }
}

fn find(root: &mut [u32], mut key: u32) -> u32 {
    while root[key as usize] != key {
        root[key as usize] = root[root[key as usize] as usize];
        key = root[key as usize];
    }
    key
}
