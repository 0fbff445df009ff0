//! What a request comes to in the present state: whether it is refused, whether it writes, its response and the versions it makes.
//! Nothing here changes the store.
//!
//! Invariant: the three answers agree, and depend only on what the request touches by the conflict test: a refused request writes nothing,
//! and one that [would write](Store::would_write) makes a version. Refusals and compares, those of inner txns too, are judged on the state
//! before the request; ranges, deletes and puts within a txn see what it wrote before them.

use std::collections::BTreeMap;

use mutants::Mutant;

use curp::Term;

use crate::conflict::Keys;
use crate::history::{Version, bounds};
use crate::store::REVISION_UNKNOWN;
use crate::{
    Bytes, Compare, CompareResult, CompareTarget, DeleteRangeRequest, Error, LEASE_NONE, LeaseCollection, LeaseRevokeRequest, PutRequest,
    Request, Response, Store, TxnRequest, range,
};

/// The latest version, whatever its revision.
pub(crate) const LATEST: u64 = u64::MAX;

/// What a request writes, while it is computed: a txn's later requests read it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writes {
    /// In the order in which they were made. A key that is written again is there again.
    made: Vec<(Bytes, Version)>,
    /// Where the last write of each key stands, of the first `indexed`: what is never read, as a single put, needs no index.
    last: BTreeMap<Bytes, usize>,
    indexed: usize,
}

impl Writes {
    pub(crate) fn is_empty(&self) -> bool {
        self.made.is_empty()
    }

    /// Takes all, in order, and keeps the capacity.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = (Bytes, Version)> {
        self.last.clear();
        self.indexed = 0;
        self.made.drain(..)
    }

    fn written(&mut self) -> Written<'_> {
        for (place, (key, _)) in self.made.iter().enumerate().skip(self.indexed) {
            self.last.insert(key.clone(), place);
        }
        self.indexed = self.made.len();
        Written { made: &self.made, last: &self.last }
    }
}

/// What a request has written so far, by key.
#[derive(Clone, Copy)]
struct Written<'a> {
    made: &'a [(Bytes, Version)],
    last: &'a BTreeMap<Bytes, usize>,
}

impl<'a> Written<'a> {
    /// What was last done to the key.
    fn get(self, key: &Bytes) -> Option<&'a Version> {
        self.last.get(key).map(|&place| &self.made[place].1)
    }

    /// What was last done to each key in a range, in key order.
    fn range(self, keys: Keys<'_>) -> impl Iterator<Item = (&'a Bytes, &'a Version)> {
        self.last.range::<Bytes, _>(bounds(keys)).map(move |(key, &place)| (key, &self.made[place].1))
    }
}

impl Store {
    /// Why the request does nothing in the present state.
    pub(crate) fn refusal(&self, entry_term: Option<Term>, request: &Request) -> Option<Error> {
        match request {
            Request::Put(put) => self.refuses_put(put, false),
            // One that asks for a revision finds all before it applied.
            Request::Range(range) => self.refuses_revision(range.revision, self.applied),
            Request::DeleteRange(_) => None,
            Request::Txn(txn) => self.branch(txn).1.iter().find_map(|request| match request {
                Request::Put(put) => self.refuses_put(put, true),
                other => self.refusal(entry_term, other),
            }),
            Request::Compact(compaction) => match compaction.revision {
                r if r > self.applied => Some(Error::FutureRevision),
                // Revision 0, too: nothing is lost by that, and etcd itself takes it once only.
                r if r <= self.history.compacted() => Some(Error::Compacted),
                _ => None,
            },
            Request::LeaseGrant(grant) => self.leases.contains(grant.id).then_some(Error::LeaseExists),
            Request::LeaseRevoke(revoke) => self.refuses_revoke(entry_term, revoke),
            Request::LeaseKeepAlive(_) | Request::LeaseTimeToLive(_) | Request::LeaseLeases => Some(Error::NotAllowedHere),
        }
    }

    /// Of two reasons etcd gives the lease first, but within a txn the key.
    fn refuses_put(&self, put: &PutRequest, in_txn: bool) -> Option<Error> {
        let keeps = put.ignore_value || put.ignore_lease;
        let no_key = (keeps && self.history.get(&put.key, LATEST).is_none()).then_some(Error::KeyNotFound);
        let unknown = put.lease != LEASE_NONE && !self.leases.contains(put.lease);
        let no_lease = (unknown && !mutants::on(Mutant::LeaseUnknownAccepted)).then_some(Error::LeaseNotFound);
        if in_txn { no_key.or(no_lease) } else { no_lease.or(no_key) }
    }

    /// A leader's revoke holds only in the term in which it was decided: in a later one the lease may have been kept alive elsewhere.
    fn refuses_revoke(&self, entry_term: Option<Term>, revoke: &LeaseRevokeRequest) -> Option<Error> {
        let stale = revoke.stamp.zip(entry_term).is_some_and(|(stamp, term)| stamp != term);
        let refused = if stale { Some(Error::LeaderChanged) } else { None };
        refused.or_else(|| (!self.leases.contains(revoke.id)).then_some(Error::LeaseNotFound))
    }

    /// Whether the request, which is not refused, writes a key in the present state.
    pub(crate) fn would_write(&self, request: &Request) -> bool {
        match request {
            Request::Put(_) => true,
            Request::DeleteRange(delete) => self.history.range((&delete.key, delete.range_end.as_ref()), LATEST).next().is_some(),
            // A branch with a put writes; in one without, every delete but the first finds what was there before the txn, or less.
            Request::Txn(txn) => self.branch(txn).1.iter().any(|request| self.would_write(request)),
            Request::LeaseRevoke(revoke) => {
                let empty = self.leases.get(revoke.id).is_none_or(|lease| lease.keys.is_empty());
                !empty || mutants::on(Mutant::LeaseRevokeBumps)
            }
            Request::Range(_) | Request::Compact(_) | Request::LeaseGrant(_) => false,
            Request::LeaseKeepAlive(_) | Request::LeaseTimeToLive(_) | Request::LeaseLeases => false,
        }
    }

    /// The result of a request, and what it writes at `revision`, added to `writes`.
    pub(crate) fn compute(&self, entry_term: Option<Term>, request: &Request, revision: u64, writes: &mut Writes) -> Response {
        match self.refusal(entry_term, request) {
            Some(error) => Response::Error(error),
            None => self.step(request, revision, writes),
        }
    }

    fn step(&self, request: &Request, revision: u64, writes: &mut Writes) -> Response {
        match request {
            Request::Put(put) => self.put(put, revision, writes),
            Request::Range(range) if writes.is_empty() || range.revision != 0 => {
                let at = if range.revision == 0 { LATEST } else { range.revision };
                range::answer(range, self.history.range((&range.key, range.range_end.as_ref()), at))
            }
            Request::Range(range) => {
                range::answer(range, self.live_over((&range.key, range.range_end.as_ref()), writes.written()).into_iter())
            }
            Request::DeleteRange(delete) => self.delete(delete, revision, writes),
            Request::Txn(txn) => {
                let (succeeded, branch) = self.branch(txn);
                Response::Txn { succeeded, responses: branch.iter().map(|request| self.step(request, revision, writes)).collect() }
            }
            Request::Compact(_) => Response::Compact,
            Request::LeaseGrant(grant) => Response::LeaseGrant { id: grant.id, ttl: LeaseCollection::bounded(grant.ttl) },
            Request::LeaseRevoke(revoke) => self.revoke(revoke, revision, writes),
            Request::LeaseKeepAlive(_) | Request::LeaseTimeToLive(_) | Request::LeaseLeases => Response::Error(Error::NotAllowedHere),
        }
    }

    fn put(&self, put: &PutRequest, revision: u64, writes: &mut Writes) -> Response {
        let before = self.get_over(&put.key, writes.written());
        let prev_kv = if put.prev_kv { before.and_then(|v| v.key_value(&put.key)) } else { None };
        let kept = before.and_then(|v| v.value.as_ref()).filter(|_| put.ignore_value);
        let lease = before.map(|v| v.lease).filter(|_| put.ignore_lease);
        let version = Version::put(&put.key, kept.unwrap_or(&put.value), lease.unwrap_or(put.lease), revision, before);
        writes.made.push((put.key.clone(), version));
        Response::Put { prev_kv }
    }

    fn delete(&self, delete: &DeleteRangeRequest, revision: u64, writes: &mut Writes) -> Response {
        let found = self.live_over((&delete.key, delete.range_end.as_ref()), writes.written());
        let deleted = found.len() as u64;
        let shown = if delete.prev_kv { &found[..] } else { &[] };
        let prev_kvs = shown.iter().filter_map(|(key, version)| version.key_value(key)).collect();
        let gone: Vec<Bytes> = found.into_iter().map(|(key, _)| key.clone()).collect();
        writes.made.extend(gone.into_iter().map(|key| (key, Version::deleted(revision))));
        Response::DeleteRange { deleted, prev_kvs }
    }

    /// Deletes what is attached to the lease, in key order: the order of the events is the same on every replica.
    fn revoke(&self, revoke: &LeaseRevokeRequest, revision: u64, writes: &mut Writes) -> Response {
        let keys = self.leases.get(revoke.id).into_iter().flat_map(|lease| &lease.keys);
        writes.made.extend(keys.map(|key| (key.clone(), Version::deleted(revision))));
        if mutants::on(Mutant::LeaseRevokeOrder) {
            writes.made.sort_by_key(|(key, _)| xxhash_rust::xxh3::xxh3_64(key.as_slice()));
        }
        Response::LeaseRevoke
    }

    /// The live version of a key, after what was written.
    fn get_over<'a>(&'a self, key: &Bytes, written: Written<'a>) -> Option<&'a Version> {
        match written.get(key) {
            Some(version) => Some(version).filter(|v| v.is_live()),
            None => self.history.get(key, LATEST),
        }
    }

    /// The live keys in a range, in order, with their versions, after what was written.
    fn live_over<'a>(&'a self, keys: Keys<'a>, written: Written<'a>) -> Vec<(&'a Bytes, &'a Version)> {
        let stored = self.history.range(keys, LATEST).filter(|(key, _)| written.get(key).is_none());
        let mut found: Vec<_> = stored.collect();
        let of_store = found.len();
        found.extend(written.range(keys).filter(|(_, version)| version.is_live()));
        if found.len() > of_store {
            // Two sorted runs: the sort merges them.
            found.sort_by_key(|(key, _)| *key);
        }
        found
    }

    /// Whether the compares hold, and the branch to take. They are judged before anything of the whole request is written.
    fn branch<'a>(&self, txn: &'a TxnRequest) -> (bool, &'a [Request]) {
        let mut before = Writes::default();
        if mutants::on(Mutant::TxnSeesItself) {
            txn.success.iter().for_each(|request| drop(self.step(request, REVISION_UNKNOWN, &mut before)));
        }
        let before = before.written();
        let succeeded = txn.compare.iter().all(|compare| self.holds(compare, before));
        (succeeded, if succeeded { &txn.success } else { &txn.failure })
    }

    fn holds(&self, compare: &Compare, before: Written<'_>) -> bool {
        match &compare.range_end {
            None => is_so(compare, self.get_over(&compare.key, before)),
            Some(_) => {
                let found = self.live_over((&compare.key, compare.range_end.as_ref()), before);
                if found.is_empty() { is_so(compare, None) } else { found.into_iter().all(|(_, version)| is_so(compare, Some(version))) }
            }
        }
    }
}

/// Whether a key with this live version, or none, compares as wanted.
fn is_so(compare: &Compare, version: Option<&Version>) -> bool {
    let order = match &compare.target {
        CompareTarget::Version(v) => version.map_or(0, |x| x.version).cmp(v),
        CompareTarget::CreateRevision(r) => version.map_or(0, |x| x.create_revision).cmp(r),
        CompareTarget::ModRevision(r) => version.map_or(0, |x| x.mod_revision).cmp(r),
        CompareTarget::Lease(lease) => version.map_or(LEASE_NONE, |x| x.lease).cmp(lease),
        CompareTarget::Value(value) => match version.and_then(|x| x.value.as_ref()) {
            Some(held) => held.cmp(value),
            // Whatever the comparison, `NotEqual` too: etcd's choice.
            None => return false,
        },
    };
    match compare.result {
        CompareResult::Equal => order.is_eq(),
        CompareResult::NotEqual => order.is_ne(),
        CompareResult::Greater => order.is_gt(),
        CompareResult::Less => order.is_lt(),
    }
}
