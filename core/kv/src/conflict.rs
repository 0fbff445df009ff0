//! When two requests must keep their order: one may observe or change what the other changes. A function of the two requests
//! alone, never of state, since witnesses lag (PROTOCOL.md, Terms).

use curp::{Command, ConflictCheck};
use mutants::Mutant;

use crate::history::is_unbounded;
use crate::{Bytes, DeleteRangeRequest, RangeRequest, Request, Response};

/// A range of keys: the first, and the end, exclusive; without an end it is the one key. The end of one zero byte is none at all:
/// every key from the first on (as in etcd).
pub(crate) type Keys<'a> = (&'a Bytes, Option<&'a Bytes>);

/// Whether some key lies in both ranges. A range whose end is at or before its key is empty, and overlaps nothing.
pub(crate) fn overlap(a: Keys<'_>, b: Keys<'_>) -> bool {
    let before = |x: Keys<'_>, y: Keys<'_>| match x.1 {
        Some(end) if is_unbounded(end) => false,
        Some(end) => end <= y.0,
        None => x.0 < y.0,
    };
    // An empty range is before itself.
    !before(a, b) && !before(b, a) && !before(a, a) && !before(b, b)
}

/// Calls `f` with every range of keys the request may touch and whether it may write there, until one call gives true.
fn any_access<'a>(request: &'a Request, f: &mut dyn FnMut(Keys<'a>, bool) -> bool) -> bool {
    match request {
        Request::Put(put) => f((&put.key, None), true),
        Request::Range(range) => f((&range.key, range.range_end.as_ref()), false),
        Request::DeleteRange(delete) => f((&delete.key, delete.range_end.as_ref()), true),
        Request::Txn(txn) => {
            txn.compare.iter().any(|c| f((&c.key, None), false))
                || txn.success.iter().chain(&txn.failure).any(|request| any_access(request, f))
        }
    }
}

impl ConflictCheck for Request {
    fn conflicts(&self, other: &Self) -> bool {
        if mutants::on(Mutant::ConflictMissesRangeEnd) {
            return any_access(self, &mut |a, a_writes| any_access(other, &mut |b, b_writes| (a_writes || b_writes) && a.0 == b.0));
        }
        any_access(self, &mut |a, a_writes| any_access(other, &mut |b, b_writes| (a_writes || b_writes) && overlap(a, b)))
    }
}

impl Command for Request {
    type Response = Response;

    fn bytes(&self) -> usize {
        match self {
            Request::Put(put) => put.key.as_slice().len() + put.value.as_slice().len(),
            Request::Range(RangeRequest { key, range_end, .. }) | Request::DeleteRange(DeleteRangeRequest { key, range_end, .. }) => {
                key.as_slice().len() + range_end.as_ref().map_or(0, |end| end.as_slice().len())
            }
            Request::Txn(txn) => {
                let compares = txn.compare.iter().map(|c| c.key.as_slice().len() + 16).sum::<usize>();
                compares + txn.success.iter().chain(&txn.failure).map(Command::bytes).sum::<usize>()
            }
        }
    }
}
