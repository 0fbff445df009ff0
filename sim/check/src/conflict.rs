//! When two requests must keep their order, by the checkers' own reckoning. They must not ask the system under test: a conflict test
//! that misses a range would then be wrong in the same way on both sides.

use kv::{Bytes, LEASE_NONE, LeaseId, RangeRequest, Request};

use crate::replay::lies_in;

/// What a request may touch.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    /// The keys from the first up to, not including, the end; without an end the one key.
    Keys(&'a Bytes, Option<&'a Bytes>),
    /// A lease.
    Lease(LeaseId),
    /// Whatever there is: what it touches depends on the state.
    All,
}

impl Place<'_> {
    fn meets(self, other: Place<'_>) -> bool {
        match (self, other) {
            (Place::All, _) | (_, Place::All) => true,
            // Two ranges share a key exactly if the greater of their first keys is in both.
            (Place::Keys(a, to), Place::Keys(b, until)) => lies_in(a.max(b), a, to) && lies_in(a.max(b), b, until),
            (Place::Lease(a), Place::Lease(b)) => a == b,
            _ => false,
        }
    }
}

/// Whether what the request observes or changes is more than the keys and leases it names: a revoke deletes what is attached, a compaction
/// changes what can be read at all, a read of a revision, or one that picks what its own txn wrote by revision, sees how many writes there were.
pub(crate) fn depends_on_state(request: &Request) -> bool {
    let any = |requests: &[Request], f: fn(&Request) -> bool| requests.iter().any(f);
    match request {
        Request::Compact(_) | Request::LeaseRevoke(_) | Request::LeaseLeases => true,
        Request::LeaseTimeToLive(ask) => ask.keys,
        Request::Range(range) => range.revision != 0,
        Request::Txn(txn) => {
            let picks = any(&txn.success, picks_by_revision) || any(&txn.failure, picks_by_revision);
            any(&txn.success, depends_on_state) || any(&txn.failure, depends_on_state) || (picks && may_write(request))
        }
        Request::Put(_) | Request::DeleteRange(_) | Request::LeaseGrant(_) | Request::LeaseKeepAlive(_) => false,
    }
}

fn picks_by_revision(request: &Request) -> bool {
    match request {
        Request::Range(range) => filters(range),
        Request::Txn(txn) => txn.success.iter().chain(&txn.failure).any(picks_by_revision),
        _ => false,
    }
}

/// Whether a range leaves pairs out by their revisions.
pub(crate) fn filters(range: &RangeRequest) -> bool {
    range.min_mod_revision != 0 || range.max_mod_revision != 0 || range.min_create_revision != 0 || range.max_create_revision != 0
}

/// Whether a request can change anything, by its words alone.
pub(crate) fn may_write(request: &Request) -> bool {
    match request {
        Request::Put(_) | Request::DeleteRange(_) | Request::Compact(_) | Request::LeaseGrant(_) | Request::LeaseRevoke(_) => true,
        Request::Range(_) | Request::LeaseKeepAlive(_) | Request::LeaseTimeToLive(_) | Request::LeaseLeases => false,
        Request::Txn(txn) => txn.success.iter().chain(&txn.failure).any(may_write),
    }
}

/// Calls `f` with each place the request may touch, and whether it may write there: the conflict rule, from the request's words alone. Two that
/// write nothing change nothing for each other, however much they read: of them alone `conflict` says more than this, as the protocol does.
pub(crate) fn accesses<'a>(request: &'a Request, f: &mut dyn FnMut(Place<'a>, bool)) {
    if depends_on_state(request) { f(Place::All, may_change(request)) } else { named(request, f) }
}

/// Whether a request can change anything: it may write, and not only where there is no key.
fn may_change(request: &Request) -> bool {
    match request {
        Request::DeleteRange(delete) => lies_in(&delete.key, &delete.key, delete.range_end.as_ref()),
        Request::Txn(txn) => txn.success.iter().chain(&txn.failure).any(may_change),
        other => may_write(other),
    }
}

fn named<'a>(request: &'a Request, f: &mut dyn FnMut(Place<'a>, bool)) {
    match request {
        Request::Put(put) => {
            f(Place::Keys(&put.key, None), true);
            if put.lease != LEASE_NONE {
                f(Place::Lease(put.lease), false);
            }
        }
        Request::Range(range) => f(Place::Keys(&range.key, range.range_end.as_ref()), false),
        Request::DeleteRange(delete) => f(Place::Keys(&delete.key, delete.range_end.as_ref()), true),
        Request::Txn(txn) => {
            txn.compare.iter().for_each(|compare| f(Place::Keys(&compare.key, compare.range_end.as_ref()), false));
            txn.success.iter().chain(&txn.failure).for_each(|request| named(request, f));
        }
        Request::LeaseGrant(grant) => f(Place::Lease(grant.id), true),
        Request::LeaseKeepAlive(keep) => f(Place::Lease(keep.id), false),
        Request::LeaseTimeToLive(ask) => f(Place::Lease(ask.id), false),
        Request::Compact(_) | Request::LeaseRevoke(_) | Request::LeaseLeases => {}
    }
}

/// Whether one of the two may observe or change what the other changes. One that depends on the state conflicts with all, empty requests too.
pub fn conflict(a: &Request, b: &Request) -> bool {
    if let (Request::Put(a), Request::Put(b)) = (a, b) {
        return a.key == b.key;
    }
    let list = |request| {
        let mut out: Vec<(Place<'_>, bool)> = Vec::new();
        accesses(request, &mut |place, writes| out.push((place, writes)));
        out
    };
    let (of_a, of_b) = (list(a), list(b));
    let meet = |&(a, x): &(Place<'_>, bool), &(b, y): &(Place<'_>, bool)| (x || y) && a.meets(b);
    depends_on_state(a) || depends_on_state(b) || of_a.iter().any(|a| of_b.iter().any(|b| meet(a, b)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use curp::ConflictCheck;
    use kv::*;

    /// Every request on up to three keys, with all ends.
    fn requests() -> Vec<Request> {
        let keys: Vec<Bytes> = ["a", "b", "c"].map(Bytes::from).to_vec();
        let ends: Vec<Option<Bytes>> = ["a", "b", "c", "d", "\0"].map(|end| Some(Bytes::from(end))).into_iter().chain([None]).collect();
        let mut all = Vec::new();
        for key in &keys {
            all.push(Request::Put(PutRequest { key: key.clone(), value: "v".into(), prev_kv: false, ..PutRequest::default() }));
            for end in &ends {
                all.push(Request::Range(RangeRequest { key: key.clone(), range_end: end.clone(), limit: 0, ..RangeRequest::default() }));
                all.push(Request::DeleteRange(DeleteRangeRequest { key: key.clone(), range_end: end.clone(), prev_kv: false }));
            }
        }
        for id in 1..3 {
            all.push(Request::LeaseGrant(LeaseGrantRequest { ttl: 5, id }));
            all.push(Request::LeaseRevoke(LeaseRevokeRequest { id, stamp: None }));
            all.push(Request::LeaseKeepAlive(LeaseKeepAliveRequest { id }));
            all.push(Request::LeaseTimeToLive(LeaseTimeToLiveRequest { id, keys: id == 1 }));
            all.push(Request::Put(PutRequest { key: "a".into(), lease: id, ..PutRequest::default() }));
        }
        all.push(Request::LeaseLeases);
        all.push(Request::Compact(CompactionRequest { revision: 2, physical: false }));
        all.push(Request::Range(RangeRequest { key: "b".into(), revision: 3, ..RangeRequest::default() }));
        all.push(Request::Range(RangeRequest { key: "b".into(), min_mod_revision: 3, ..RangeRequest::default() }));
        let txns: Vec<_> = all
            .windows(2)
            .map(|pair| Request::Txn(TxnRequest { compare: vec![], success: vec![pair[0].clone()], failure: vec![pair[1].clone()] }))
            .collect();
        all.extend(txns);
        all
    }

    #[test]
    fn the_checkers_and_the_store_agree_on_every_pair() {
        let all = requests();
        let mut conflicts = 0;
        for a in &all {
            for b in &all {
                assert_eq!(conflict(a, b), a.conflicts(b), "{a:?} and {b:?}");
                conflicts += u32::from(conflict(a, b));
            }
        }
        assert!(conflicts > 100 && conflicts < (all.len() * all.len()) as u32, "both answers occur");
    }
}
