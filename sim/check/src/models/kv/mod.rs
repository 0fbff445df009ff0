//! Our key-value store by its values: what a history alone says, without the log (CHECKS.md, statement B).
//!
//! Commuting operations may have been reordered, so revisions are ignored: in answers, in what a range leaves out or sorts by them, and in
//! compares, where only "none" (0) can be told from "some". What hangs on a revision is believed: which branch a txn took that compares one,
//! what a read as of one found, whether one was compacted. Versions stay: puts of one key conflict, and keep their order.
//!
//! - `names`: keys, values and leases by number; `range`: whether an answer to a range fits; `parts`: which operations belong together.
//! - Here: what each operation does to the state.

mod names;
mod parts;
mod range;

use std::sync::Arc;

use kv::{Bytes, Compare, CompareTarget, Error, KeyValue, LEASE_NONE, LeaseId, PutRequest, Request, Response};

use crate::conflict::filters;
use crate::model::{History, Model};
use crate::replay::compares;
use crate::words;
use names::Names;

/// What a key holds, by numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Cell {
    key: u32,
    value: u32,
    version: u32,
    /// 0: none.
    lease: LeaseId,
}

/// The cells present, in key order, and the leases that there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    cells: Vec<Cell>,
    leases: Vec<LeaseId>,
}

/// The store.
#[derive(Clone, Debug)]
pub struct Kv {
    names: Arc<Names>,
}

/// Most txns in one request whose branch is left open, if it is unanswered; more are taken to succeed.
const OPEN_TXNS_MAX: u32 = 6;

/// What becomes of a request, as far as the state before it says.
#[derive(PartialEq, Eq)]
enum Decision {
    /// It takes the branches noted.
    Done,
    /// It does nothing.
    Refused,
    /// It cannot have answered so.
    Misfit,
}

impl Kv {
    /// The model for a history: it knows the keys, values and leases that occur in these requests.
    pub fn of<'a>(requests: impl Iterator<Item = &'a Request>) -> Kv {
        Kv { names: Arc::new(Names::of(requests)) }
    }

    /// Whether the request may be refused so. An error that the request alone is to blame for is believed, and so is what hangs on a revision.
    fn may_refuse(&self, state: &State, request: &Request, in_txn: bool, error: Error) -> bool {
        let of_revision = matches!(error, Error::Compacted | Error::FutureRevision);
        match (request, error) {
            (Request::Put(put), Error::KeyNotFound | Error::LeaseNotFound) => self.refuses_put(state, put, in_txn) == Some(error),
            (Request::Range(range), Error::Compacted | Error::FutureRevision) => range.revision != 0,
            (Request::Compact(_), _) => of_revision,
            (Request::LeaseGrant(grant), Error::LeaseExists) => state.leases.contains(&grant.id),
            (Request::LeaseRevoke(revoke), Error::LeaseNotFound) => !state.leases.contains(&revoke.id),
            (Request::LeaseRevoke(revoke), Error::LeaderChanged) => revoke.stamp.is_some(),
            (Request::Txn(txn), _) => {
                let holds = self.all_hold(&state.cells, &txn.compare);
                let refuses = |branch: &[Request]| branch.iter().any(|request| self.may_refuse(state, request, true, error));
                (holds != Some(false) && refuses(&txn.success)) || (holds != Some(true) && refuses(&txn.failure))
            }
            (_, Error::KeyNotFound | Error::LeaseNotFound | Error::LeaseExists | Error::LeaderChanged) => false,
            (_, Error::Compacted | Error::FutureRevision) => false,
            (_, error) => {
                let alone = matches!(error, Error::EmptyKey | Error::ValueProvided | Error::LeaseProvided | Error::TooManyOps);
                alone || matches!(error, Error::DuplicateKey | Error::NotAllowedHere | Error::LeaseTtlTooLarge)
            }
        }
    }

    /// Of two reasons the lease comes first, but within a txn the key: as in etcd.
    fn refuses_put(&self, state: &State, put: &PutRequest, in_txn: bool) -> Option<Error> {
        let keeps = put.ignore_value || put.ignore_lease;
        let no_key = (keeps && self.cell(&state.cells, &put.key).is_none()).then_some(Error::KeyNotFound);
        let no_lease = (put.lease != LEASE_NONE && !state.leases.contains(&put.lease)).then_some(Error::LeaseNotFound);
        if in_txn { no_key.or(no_lease) } else { no_lease.or(no_key) }
    }

    /// What becomes of a request that was not refused, or not answered. `open`: a bit for each txn whose branch neither state nor answer tells.
    fn decide(&self, state: &State, request: &Request, ret: Option<&Response>, open: &mut u32, taken: &mut Vec<bool>) -> Decision {
        match request {
            Request::Put(put) if self.refuses_put(state, put, false).is_some() => Decision::Refused,
            Request::LeaseGrant(grant) if state.leases.contains(&grant.id) => Decision::Refused,
            Request::LeaseRevoke(revoke) if !state.leases.contains(&revoke.id) => Decision::Refused,
            Request::Txn(txn) => {
                let holds = self.all_hold(&state.cells, &txn.compare);
                let (succeeded, responses) = match ret {
                    Some(Response::Txn { succeeded, responses }) if holds.is_none_or(|holds| holds == *succeeded) => {
                        (*succeeded, Some(responses))
                    }
                    Some(_) => return Decision::Misfit,
                    None => {
                        let bit = names::hangs_on_revision(&txn.compare) && *open & 1 == 1;
                        *open >>= u32::from(names::hangs_on_revision(&txn.compare));
                        match holds {
                            // The other branch is the same move.
                            Some(_) if bit => return Decision::Misfit,
                            holds => (holds.unwrap_or(!bit), None),
                        }
                    }
                };
                taken.push(succeeded);
                let branch = if succeeded { &txn.success } else { &txn.failure };
                if responses.is_some_and(|responses| responses.len() != branch.len()) {
                    return Decision::Misfit;
                }
                for (i, request) in branch.iter().enumerate() {
                    match self.decide(state, request, responses.map(|responses| &responses[i]), open, taken) {
                        Decision::Done => {}
                        other => return other,
                    }
                }
                Decision::Done
            }
            _ => Decision::Done,
        }
    }

    /// Executes in place what was decided; false if the answer does not fit.
    fn run(&self, state: &mut State, request: &Request, ret: Option<&Response>, taken: &mut impl Iterator<Item = bool>) -> bool {
        match (request, ret) {
            (Request::Put(put), None | Some(Response::Put { .. })) => {
                let before = self.cell(&state.cells, &put.key).copied();
                self.put(&mut state.cells, put);
                match (ret, before) {
                    (Some(Response::Put { prev_kv: Some(kv) }), Some(cell)) => put.prev_kv && self.is(cell, kv),
                    (Some(Response::Put { prev_kv: Some(_) }), None) => false,
                    (Some(Response::Put { prev_kv: None }), before) => before.is_none() || !put.prev_kv,
                    _ => true,
                }
            }
            (Request::Range(_), None) => true,
            (Request::Range(range), Some(Response::Range { kvs, count, more })) => {
                let found = &state.cells[within(&state.cells, self.names.span(&range.key, range.range_end.as_ref()))];
                range.revision != 0 || self.fits(found, range, kvs, *count, *more)
            }
            (Request::DeleteRange(delete), None | Some(Response::DeleteRange { .. })) => {
                let within = within(&state.cells, self.names.span(&delete.key, delete.range_end.as_ref()));
                let gone: Vec<Cell> = state.cells.drain(within).collect();
                match ret {
                    Some(Response::DeleteRange { deleted, prev_kvs }) => {
                        let shown = if delete.prev_kv { &gone[..] } else { &[] };
                        *deleted == gone.len() as u64 && self.are(shown, prev_kvs)
                    }
                    _ => true,
                }
            }
            (Request::Txn(txn), None | Some(Response::Txn { .. })) => {
                let branch = if taken.next().unwrap_or(false) { &txn.success } else { &txn.failure };
                let responses = match ret {
                    Some(Response::Txn { responses, .. }) => Some(responses),
                    _ => None,
                };
                branch.iter().enumerate().all(|(i, request)| self.run(state, request, responses.and_then(|all| all.get(i)), taken))
            }
            (Request::Compact(_), None | Some(Response::Compact)) => true,
            (Request::LeaseGrant(grant), None | Some(Response::LeaseGrant { .. })) => {
                let at = state.leases.partition_point(|id| *id < grant.id);
                state.leases.insert(at, grant.id);
                !matches!(ret, Some(Response::LeaseGrant { id, .. }) if *id != grant.id)
            }
            (Request::LeaseRevoke(revoke), None | Some(Response::LeaseRevoke)) => {
                state.leases.retain(|id| *id != revoke.id);
                state.cells.retain(|cell| cell.lease != revoke.id);
                true
            }
            (Request::LeaseLeases, None) => true,
            (Request::LeaseLeases, Some(Response::LeaseLeases { leases })) => *leases == state.leases,
            _ => false,
        }
    }

    fn put(&self, cells: &mut Vec<Cell>, put: &PutRequest) {
        let (key, _) = self.names.span(&put.key, None);
        let value = self.names.value(&put.value);
        match cells.binary_search_by_key(&key, |cell| cell.key) {
            Ok(at) => {
                let cell = &mut cells[at];
                cell.version += 1;
                cell.value = if put.ignore_value { cell.value } else { value };
                cell.lease = if put.ignore_lease { cell.lease } else { put.lease };
            }
            Err(at) => cells.insert(at, Cell { key, value, version: 1, lease: put.lease }),
        }
    }

    fn cell<'a>(&self, cells: &'a [Cell], key: &Bytes) -> Option<&'a Cell> {
        let (key, _) = self.names.span(key, None);
        cells.binary_search_by_key(&key, |cell| cell.key).ok().map(|at| &cells[at])
    }

    fn is(&self, cell: Cell, kv: &KeyValue) -> bool {
        let names = &*self.names;
        let same = names.keys[cell.key as usize] == kv.key && names.values[cell.value as usize] == kv.value;
        same && u64::from(cell.version) == kv.version && cell.lease == kv.lease
    }

    fn are(&self, cells: &[Cell], kvs: &[KeyValue]) -> bool {
        cells.len() == kvs.len() && cells.iter().zip(kvs).all(|(cell, kv)| self.is(*cell, kv))
    }

    /// Whether all compares hold; `None` if that hangs on a revision.
    fn all_hold(&self, cells: &[Cell], list: &[Compare]) -> Option<bool> {
        let mut all = Some(true);
        for compare in list {
            let found = &cells[within(cells, self.names.span(&compare.key, compare.range_end.as_ref()))];
            let each = if found.is_empty() {
                vec![self.holds(compare, None)]
            } else {
                found.iter().map(|c| self.holds(compare, Some(c))).collect()
            };
            for holds in each {
                match holds {
                    Some(false) => return Some(false),
                    Some(true) => {}
                    None => all = None,
                }
            }
        }
        all
    }

    fn holds(&self, compare: &Compare, cell: Option<&Cell>) -> Option<bool> {
        let order = match (&compare.target, cell) {
            (CompareTarget::Version(with), cell) => cell.map_or(0, |c| u64::from(c.version)).cmp(with),
            (CompareTarget::Lease(with), cell) => cell.map_or(LEASE_NONE, |c| c.lease).cmp(with),
            (CompareTarget::CreateRevision(with) | CompareTarget::ModRevision(with), None) => 0.cmp(with),
            // A key that exists has revision 2 or later; which, only the log says.
            (CompareTarget::CreateRevision(0 | 1) | CompareTarget::ModRevision(0 | 1), Some(_)) => std::cmp::Ordering::Greater,
            (CompareTarget::CreateRevision(_) | CompareTarget::ModRevision(_), Some(_)) => return None,
            (CompareTarget::Value(with), Some(cell)) => self.names.values[cell.value as usize].cmp(with),
            (CompareTarget::Value(_), None) => return Some(false),
        };
        Some(compares(compare.result, order))
    }
}

fn within(cells: &[Cell], span: names::Span) -> std::ops::Range<usize> {
    cells.partition_point(|cell| cell.key < span.0)..cells.partition_point(|cell| cell.key < span.1)
}

impl Model for Kv {
    type Op = Request;
    type Ret = Response;
    type State = State;

    fn initial(&self) -> State {
        State::default()
    }

    fn step(&self, state: &State, op: &Request, ret: Option<&Response>, branch: u32) -> Option<State> {
        if let Some(Response::Error(error)) = ret {
            return self.may_refuse(state, op, false, *error).then(|| state.clone());
        }
        let (mut open, mut taken) = (branch, Vec::new());
        match self.decide(state, op, ret, &mut open, &mut taken) {
            Decision::Misfit => None,
            // Unanswered, it may have been refused.
            Decision::Refused => ret.is_none().then(|| state.clone()),
            Decision::Done => {
                let mut next = state.clone();
                self.run(&mut next, op, ret, &mut taken.into_iter()).then_some(next)
            }
        }
    }

    fn branches(&self, op: &Request, ret: Option<&Response>) -> u32 {
        if ret.is_some() { 1 } else { 1 << names::open_txns(op).min(OPEN_TXNS_MAX) }
    }

    fn reads_only(&self, op: &Request, ret: Option<&Response>) -> bool {
        match (op, ret) {
            (_, Some(Response::Error(_))) => true,
            (Request::Range(_) | Request::Compact(_) | Request::LeaseLeases, _) => true,
            (Request::DeleteRange(_), Some(Response::DeleteRange { deleted: 0, .. })) => true,
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

    fn partition(&self, history: History<Self>) -> Vec<(Self, History<Self>)> {
        self.parts(history)
    }

    fn describe(&self, op: &Request, ret: Option<&Response>) -> String {
        words::operation(op, ret)
    }

    fn describe_state(&self, state: &State) -> String {
        let names = &*self.names;
        let cell = |cell: &Cell| {
            let (key, value) = (&names.keys[cell.key as usize], &names.values[cell.value as usize]);
            let lease = if cell.lease == LEASE_NONE { String::new() } else { format!(", lease {}", cell.lease) };
            format!("{key}: {value} (version {}{lease})", cell.version)
        };
        let cells = state.cells.iter().map(cell).collect::<Vec<_>>().join(", ");
        let cells = if state.cells.is_empty() { "empty".into() } else { format!("{{{cells}}}") };
        match &state.leases[..] {
            [] => cells,
            leases => format!("{cells} with leases {leases:?}"),
        }
    }
}
