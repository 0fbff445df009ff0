//! When two requests must keep their order: one may observe or change what the other changes. A function of the two requests
//! alone, never of state, since witnesses lag (PROTOCOL.md, Terms).
//!
//! Keys are observed and changed; so are leases: a grant changes the lease it names, a put that attaches to a lease observes whether
//! there is one (two that attach to the same lease commute: its keys are a set). A request whose footprint depends on the state conflicts
//! with everything ([`Request::fast_allowed`] is false of it).

use std::collections::BTreeSet;

use curp::{Command, ConflictCheck};
use mutants::Mutant;

use crate::history::is_unbounded;
use crate::keys::KeySet;
use crate::{Bytes, Compare, DeleteRangeRequest, LEASE_NONE, LeaseId, RangeRequest, Request, Response, WatchCreateRequest, WatchResponse};

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

/// Something a request may observe or change.
#[derive(Clone, Copy)]
enum Place<'a> {
    Keys(Keys<'a>),
    Lease(LeaseId),
}

impl Place<'_> {
    fn meets(self, other: Place<'_>) -> bool {
        match (self, other) {
            (Place::Keys(a), Place::Keys(b)) if mutants::on(Mutant::ConflictMissesRangeEnd) => a.0 == b.0,
            (Place::Keys(a), Place::Keys(b)) => overlap(a, b),
            (Place::Lease(a), Place::Lease(b)) => a == b && !mutants::on(Mutant::ConflictMissesLease),
            _ => false,
        }
    }
}

/// Calls `f` with every place the request may touch and whether it may change it, until one call gives true. Requests that touch what
/// they do not name are not asked.
fn any_access<'a>(request: &'a Request, f: &mut dyn FnMut(Place<'a>, bool) -> bool) -> bool {
    match request {
        Request::Put(put) => f(Place::Keys((&put.key, None)), true) || (put.lease != LEASE_NONE && f(Place::Lease(put.lease), false)),
        Request::Range(range) => f(Place::Keys((&range.key, range.range_end.as_ref())), false),
        Request::DeleteRange(delete) => f(Place::Keys((&delete.key, delete.range_end.as_ref())), true),
        Request::Txn(txn) => {
            txn.compare.iter().any(|Compare { key, range_end, .. }| f(Place::Keys((key, range_end.as_ref())), false))
                || txn.success.iter().chain(&txn.failure).any(|request| any_access(request, f))
        }
        Request::LeaseGrant(grant) => f(Place::Lease(grant.id), true),
        Request::LeaseKeepAlive(keep) => f(Place::Lease(keep.id), false),
        Request::LeaseTimeToLive(ask) => f(Place::Lease(ask.id), false),
        // Of what is attached to it the request says nothing: asked only where a planted bug believes that this is all.
        Request::LeaseRevoke(revoke) => f(Place::Lease(revoke.id), true),
        Request::Compact(_) | Request::LeaseLeases => true,
    }
}

/// If both requests touch more places than this, sets are made of them first.
const PLACES_MAX: usize = 64;

/// All places that a request may touch.
#[derive(Default)]
struct Footprint<'a> {
    observed: KeySet<'a>,
    changed: KeySet<'a>,
    leases_observed: BTreeSet<LeaseId>,
    leases_changed: BTreeSet<LeaseId>,
}

impl<'a> Footprint<'a> {
    fn of(request: &'a Request) -> Self {
        let mut all = Footprint::default();
        any_access(request, &mut |place, writes| {
            match place {
                Place::Keys(keys) if writes => all.changed.insert(keys),
                Place::Keys(keys) => all.observed.insert(keys),
                Place::Lease(lease) => _ = if writes { &mut all.leases_changed } else { &mut all.leases_observed }.insert(lease),
            }
            false
        });
        all
    }

    fn conflicts(&self, other: &Footprint<'_>) -> bool {
        let changes =
            |a: &Footprint<'_>, b: &Footprint<'_>| a.changed.meets(&b.observed) || !a.leases_changed.is_disjoint(&b.leases_observed);
        let both_change = self.changed.meets(&other.changed) || !self.leases_changed.is_disjoint(&other.leases_changed);
        both_change || changes(self, other) || changes(other, self)
    }
}

/// How many places a request may touch.
fn places(request: &Request) -> usize {
    let mut count = 0;
    any_access(request, &mut |_, _| {
        count += 1;
        false
    });
    count
}

impl ConflictCheck for Request {
    fn conflicts(&self, other: &Self) -> bool {
        if self.touches_unnamed() || other.touches_unnamed() {
            return true;
        }
        // The planted bugs are in how two places meet.
        let planted = mutants::on(Mutant::ConflictMissesRangeEnd) || mutants::on(Mutant::ConflictMissesLease);
        let many = |request| matches!(request, &Request::Txn(_)) && places(request) > PLACES_MAX;
        if many(self) && many(other) && !planted {
            return Footprint::of(self).conflicts(&Footprint::of(other));
        }
        any_access(self, &mut |a, a_writes| any_access(other, &mut |b, b_writes| (a_writes || b_writes) && a.meets(b)))
    }
}

impl Command for Request {
    type Response = Response;
    type Watch = WatchCreateRequest;
    type WatchResponse = WatchResponse;

    fn fast_allowed(&self) -> bool {
        Request::fast_allowed(self)
    }

    fn bytes(&self) -> usize {
        let range = |key: &Bytes, end: &Option<Bytes>| key.as_slice().len() + end.as_ref().map_or(0, |end| end.as_slice().len());
        match self {
            Request::Put(put) => put.key.as_slice().len() + put.value.as_slice().len(),
            Request::Range(RangeRequest { key, range_end, .. }) | Request::DeleteRange(DeleteRangeRequest { key, range_end, .. }) => {
                range(key, range_end)
            }
            Request::Txn(txn) => {
                let compares = txn.compare.iter().map(|c| range(&c.key, &c.range_end) + 16).sum::<usize>();
                compares + txn.success.iter().chain(&txn.failure).map(Command::bytes).sum::<usize>()
            }
            Request::Compact(_)
            | Request::LeaseGrant(_)
            | Request::LeaseRevoke(_)
            | Request::LeaseKeepAlive(_)
            | Request::LeaseTimeToLive(_)
            | Request::LeaseLeases => 16,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{PutRequest, TxnRequest};

    fn key() -> impl Strategy<Value = Bytes> {
        prop::sample::select(vec!["a", "a\0", "b", "c", "d"]).prop_map(Bytes::from)
    }

    fn request() -> impl Strategy<Value = Request> {
        let end = || prop::option::of(prop_oneof![Just(Bytes::from("\0")), key()]);
        prop_oneof![
            (key(), 0..4i64).prop_map(|(key, lease)| Request::Put(PutRequest { key, lease, ..PutRequest::default() })),
            (key(), end()).prop_map(|(key, range_end)| Request::Range(RangeRequest { key, range_end, ..RangeRequest::default() })),
            (key(), end()).prop_map(|(key, range_end)| Request::DeleteRange(DeleteRangeRequest { key, range_end, prev_kv: false })),
            (1..4i64).prop_map(|id| Request::LeaseGrant(crate::LeaseGrantRequest { id, ttl: 1 })),
        ]
    }

    fn txn() -> impl Strategy<Value = Request> {
        let list = || prop::collection::vec(request(), 0..4);
        (list(), list()).prop_map(|(success, failure)| Request::Txn(TxnRequest { compare: vec![], success, failure }))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 5000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn sets_of_places_meet_as_places_do(a in txn(), b in txn()) {
            let by_pairs = any_access(&a, &mut |x, x_writes| any_access(&b, &mut |y, y_writes| (x_writes || y_writes) && x.meets(y)));
            prop_assert_eq!(Footprint::of(&a).conflicts(&Footprint::of(&b)), by_pairs);
            prop_assert_eq!(a.conflicts(&b), by_pairs);
        }
    }
}
