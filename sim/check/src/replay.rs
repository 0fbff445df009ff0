//! etcd's semantics a second time, as a sequential machine with revisions: what the certificate (L0) replays a log on.
//!
//! Written from etcd's API documentation, apart from `core/kv`'s store, so that the two do not share their errors. It keeps the
//! present only: no history, no watch.

use std::collections::BTreeMap;
use std::ops::Bound;

use kv::{Bytes, Compare, CompareResult, CompareTarget, KeyValue, Request, Response};

/// Revision of the empty store; the first write makes 2.
const FIRST_REVISION: u64 = 1;

/// What a key holds.
#[derive(Clone, Debug)]
struct Cell {
    value: Bytes,
    create_revision: u64,
    mod_revision: u64,
    version: u64,
}

impl Cell {
    fn with(&self, key: &Bytes) -> KeyValue {
        KeyValue {
            key: key.clone(),
            value: self.value.clone(),
            create_revision: self.create_revision,
            mod_revision: self.mod_revision,
            version: self.version,
            ..KeyValue::default()
        }
    }
}

/// The store after a prefix of the log.
#[derive(Clone, Debug)]
pub struct Replay {
    cells: BTreeMap<Bytes, Cell>,
    revision: u64,
}

impl Default for Replay {
    fn default() -> Self {
        Replay { cells: BTreeMap::new(), revision: FIRST_REVISION }
    }
}

impl Replay {
    /// The revision so far: etcd's `header.revision`.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Applies a request; its response. One that writes makes one revision, whatever it writes; one that does not makes none.
    pub fn apply(&mut self, request: &Request) -> Response {
        let mut wrote = false;
        let response = self.run(request, &mut wrote);
        self.revision += u64::from(wrote);
        response
    }

    fn run(&mut self, request: &Request, wrote: &mut bool) -> Response {
        let now = self.revision + 1;
        match request {
            Request::Put(put) => {
                *wrote = true;
                let before = self.cells.get_mut(&put.key);
                let prev_kv = before.as_ref().filter(|_| put.prev_kv).map(|cell| cell.with(&put.key));
                match before {
                    Some(cell) => {
                        *cell = Cell {
                            value: put.value.clone(),
                            create_revision: cell.create_revision,
                            mod_revision: now,
                            version: cell.version + 1,
                        }
                    }
                    None => {
                        let cell = Cell { value: put.value.clone(), create_revision: now, mod_revision: now, version: 1 };
                        self.cells.insert(put.key.clone(), cell);
                    }
                }
                Response::Put { prev_kv }
            }
            Request::Range(range) => {
                let most = if range.limit == 0 { u64::MAX } else { range.limit };
                let (mut kvs, mut count) = (Vec::new(), 0);
                for (key, cell) in self.between(&range.key, range.range_end.as_ref()) {
                    if count < most {
                        kvs.push(cell.with(key));
                    }
                    count += 1;
                }
                Response::Range { more: kvs.len() as u64 != count, kvs, count }
            }
            Request::DeleteRange(delete) => {
                let found: Vec<KeyValue> = self.between(&delete.key, delete.range_end.as_ref()).map(|(key, cell)| cell.with(key)).collect();
                found.iter().for_each(|kv| _ = self.cells.remove(&kv.key));
                *wrote |= !found.is_empty();
                Response::DeleteRange { deleted: found.len() as u64, prev_kvs: if delete.prev_kv { found } else { Vec::new() } }
            }
            Request::Txn(txn) => {
                let succeeded = txn.compare.iter().all(|compare| self.holds(compare));
                let branch = if succeeded { &txn.success } else { &txn.failure };
                Response::Txn { succeeded, responses: branch.iter().map(|request| self.run(request, wrote)).collect() }
            }
            other => unreachable!("not modelled yet: {other:?}"),
        }
    }

    /// The cells from `key` up to, not including, `end`; that of `key` without one.
    fn between<'a>(&'a self, key: &'a Bytes, end: Option<&'a Bytes>) -> impl Iterator<Item = (&'a Bytes, &'a Cell)> {
        let end = match end {
            Some(end) if is_unbounded(end) => Some(Bound::Unbounded),
            // A range that ends before it begins is empty; BTreeMap would panic.
            Some(end) => (key < end).then_some(Bound::Excluded(end)),
            None => Some(Bound::Included(key)),
        };
        end.map(|end| self.cells.range::<Bytes, _>((Bound::Included(key), end))).into_iter().flatten()
    }

    fn holds(&self, compare: &Compare) -> bool {
        let cell = self.cells.get(&compare.key);
        let number = |of: fn(&Cell) -> u64, with: &u64| cell.map_or(0, of).cmp(with);
        let order = match &compare.target {
            CompareTarget::Version(with) => number(|c| c.version, with),
            CompareTarget::CreateRevision(with) => number(|c| c.create_revision, with),
            CompareTarget::ModRevision(with) => number(|c| c.mod_revision, with),
            CompareTarget::Value(with) => match cell {
                Some(cell) => cell.value.cmp(with),
                None => return false,
            },
            CompareTarget::Lease(_) => unreachable!("not modelled yet: {compare:?}"),
        };
        match compare.result {
            CompareResult::Equal => order.is_eq(),
            CompareResult::NotEqual => order.is_ne(),
            CompareResult::Greater => order.is_gt(),
            CompareResult::Less => order.is_lt(),
        }
    }
}

/// Whether a `range_end` is none at all: one zero byte means every key from the first on.
pub(crate) fn is_unbounded(end: &Bytes) -> bool {
    end.as_slice() == [0]
}

/// How far two responses agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// In everything (but revisions that the second cannot know).
    Full,
    /// In everything but revisions.
    Values,
    /// Not even in that.
    None,
}

/// Compares a response with the one expected. `own`: the revision that the command itself made, if the given response was made
/// before that revision was known; there it fits anything.
pub fn agreement(expected: &Response, given: &Response, own: Option<u64>) -> Agreement {
    let kv = |a: &KeyValue, b: &KeyValue| {
        if a.key != b.key || a.value != b.value || a.version != b.version {
            return Agreement::None;
        }
        let fits = |a: u64, b: u64| a == b || Some(a) == own;
        let revisions = fits(a.create_revision, b.create_revision) && fits(a.mod_revision, b.mod_revision);
        if revisions { Agreement::Full } else { Agreement::Values }
    };
    let kvs = |a: &[KeyValue], b: &[KeyValue]| all(a, b, kv);
    match (expected, given) {
        (Response::Put { prev_kv: a }, Response::Put { prev_kv: b }) => kvs(a.as_slice(), b.as_slice()),
        (Response::Range { kvs: a, count: m, .. }, Response::Range { kvs: b, count: n, .. }) if m == n => kvs(a, b),
        (Response::DeleteRange { deleted: m, prev_kvs: a }, Response::DeleteRange { deleted: n, prev_kvs: b }) if m == n => kvs(a, b),
        (Response::Txn { succeeded: m, responses: a }, Response::Txn { succeeded: n, responses: b }) if m == n => {
            all(a, b, |a, b| agreement(a, b, own))
        }
        _ => Agreement::None,
    }
}

/// The least agreement of any pair.
fn all<T>(a: &[T], b: &[T], each: impl Fn(&T, &T) -> Agreement) -> Agreement {
    if a.len() != b.len() {
        return Agreement::None;
    }
    a.iter().zip(b).fold(Agreement::Full, |so_far, (a, b)| match (so_far, each(a, b)) {
        (Agreement::None, _) | (_, Agreement::None) => Agreement::None,
        (Agreement::Full, Agreement::Full) => Agreement::Full,
        _ => Agreement::Values,
    })
}
