//! etcd's semantics a second time, as a sequential machine with revisions: what the certificate (L0) replays a log on, and what the online
//! checks of leases and watches hold against what clients saw.
//!
//! Written from etcd's API documentation, apart from `core/kv`'s store, so that the two do not share their errors. It forgets nothing: a
//! compaction is a number that makes reads and watches of earlier revisions fail. Time is not here: a lease goes when a revoke is applied.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;

use curp::Term;
use kv::{
    Bytes, Compare, CompareResult, CompareTarget, Error, KeyValue, LEASE_NONE, LeaseId, RangeRequest, Request, Response, SortOrder,
    SortTarget,
};

/// Revision of the empty store; the first write makes 2.
pub const FIRST_REVISION: u64 = 1;

/// The least and the longest time that a lease is given, in seconds (etcd's).
const TTL: std::ops::RangeInclusive<i64> = 1..=9_000_000_000;

/// What a key holds from a revision on; `None`: it is deleted.
type Past = Vec<(u64, Option<KeyValue>)>;

/// The store after a prefix of the log, with everything that it held before.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    keys: BTreeMap<Bytes, Past>,
    /// Keys written by each revision after the first, in the order in which its request wrote them.
    written: Vec<Vec<Bytes>>,
    /// Time to live of each lease, in seconds. What is attached to one is what names it.
    leases: BTreeMap<LeaseId, i64>,
    compacted: u64,
}

/// A state to come back to.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    revision: u64,
    leases: BTreeMap<LeaseId, i64>,
    compacted: u64,
}

impl Mark {
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }
}

/// The branches that the txns of a request take, outermost first, as decided on the state before it.
type Taken = Vec<bool>;

impl Replay {
    /// The revision so far: etcd's `header.revision`.
    pub fn revision(&self) -> u64 {
        FIRST_REVISION + self.written.len() as u64
    }

    /// The revision compacted to; 0 if never.
    pub fn compacted(&self) -> u64 {
        self.compacted
    }

    /// Every lease with its time to live in seconds, by name.
    pub fn leases(&self) -> &BTreeMap<LeaseId, i64> {
        &self.leases
    }

    /// The keys attached to a lease, in order.
    pub fn attached(&self, id: LeaseId) -> Vec<Bytes> {
        self.attached_at(id, u64::MAX)
    }

    /// The keys that were attached to a lease at a revision, in order.
    pub fn attached_at(&self, id: LeaseId, revision: u64) -> Vec<Bytes> {
        let named = self.keys.iter().filter(|(_, past)| as_of(past, revision).is_some_and(|kv| kv.lease == id));
        named.map(|(key, _)| key.clone()).collect()
    }

    /// What a key held at a revision.
    pub fn at(&self, key: &Bytes, revision: u64) -> Option<&KeyValue> {
        as_of(self.keys.get(key)?, revision)
    }

    /// Every key that was ever written, in order.
    pub fn keys(&self) -> impl Iterator<Item = &Bytes> {
        self.keys.keys()
    }

    /// What a key held at a revision, and after each later one that wrote it, up to another.
    pub fn held(&self, key: &Bytes, from: u64, to: u64) -> impl Iterator<Item = Option<&KeyValue>> {
        let past = self.keys.get(key).map_or(&[][..], Vec::as_slice);
        let after = past.iter().filter(move |(revision, _)| (from + 1..=to).contains(revision));
        std::iter::once(self.at(key, from)).chain(after.map(|(_, kv)| kv.as_ref()))
    }

    /// The keys that a revision wrote, in the order in which its request did.
    pub fn written(&self, revision: u64) -> &[Bytes] {
        let place = revision.checked_sub(FIRST_REVISION + 1).map(|i| i as usize);
        place.and_then(|i| self.written.get(i)).map_or(&[], Vec::as_slice)
    }

    /// Answers a range as it would have been at an earlier revision, `now`, had nothing been compacted since.
    pub fn read(&self, range: &RangeRequest, now: u64) -> Response {
        answer(range, self.between(&range.key, range.range_end.as_ref(), if range.revision == 0 { now } else { range.revision }))
    }

    /// Applies a request of the log; its response. One that writes makes one revision, whatever it writes; one that does not makes none.
    pub fn apply(&mut self, request: &Request) -> Response {
        self.apply_in(None, request)
    }

    /// Applies a request that stands in an entry of this term: a leader's revoke of another term is void.
    pub fn apply_in(&mut self, term: Option<Term>, request: &Request) -> Response {
        let mut taken = Taken::new();
        if let Err(error) = self.decide(term, request, &mut taken) {
            return Response::Error(error);
        }
        let mut writes = Vec::new();
        let response = self.run(request, &mut taken.into_iter(), &mut writes);
        if !writes.is_empty() {
            self.written.push(writes);
        }
        response
    }

    /// Marks this state.
    pub(crate) fn mark(&self) -> Mark {
        Mark { revision: self.revision(), leases: self.leases.clone(), compacted: self.compacted }
    }

    /// Undoes what was applied since the mark.
    pub(crate) fn back_to(&mut self, mark: &Mark) {
        while self.revision() > mark.revision {
            for key in self.written.pop().unwrap_or_default() {
                if let Some(past) = self.keys.get_mut(&key) {
                    past.pop();
                    if past.is_empty() {
                        self.keys.remove(&key);
                    }
                }
            }
        }
        self.leases.clone_from(&mark.leases);
        self.compacted = mark.compacted;
    }

    /// Whether the request is refused, and which branches it takes: all judged before any of it is done.
    fn decide(&self, term: Option<Term>, request: &Request, taken: &mut Taken) -> Result<(), Error> {
        let refuse_if = |refused, error| if refused { Err(error) } else { Ok(()) };
        match request {
            Request::Put(put) => {
                let no_key = (put.ignore_value || put.ignore_lease) && self.at(&put.key, u64::MAX).is_none();
                let no_lease = put.lease != LEASE_NONE && !self.leases.contains_key(&put.lease);
                // Of two reasons etcd gives the lease first, but within a txn, where a branch was taken before, the key.
                refuse_if(no_key && !(no_lease && taken.is_empty()), Error::KeyNotFound)?;
                refuse_if(no_lease, Error::LeaseNotFound)
            }
            Request::Range(range) if range.revision == 0 => Ok(()),
            Request::Range(range) => {
                refuse_if(range.revision > self.revision(), Error::FutureRevision)?;
                refuse_if(range.revision < self.compacted, Error::Compacted)
            }
            Request::DeleteRange(_) | Request::LeaseLeases => Ok(()),
            Request::Txn(txn) => {
                let succeeded = txn.compare.iter().all(|compare| self.holds(compare));
                taken.push(succeeded);
                let branch = if succeeded { &txn.success } else { &txn.failure };
                branch.iter().try_for_each(|request| self.decide(term, request, taken))
            }
            Request::Compact(compaction) => {
                refuse_if(compaction.revision > self.revision(), Error::FutureRevision)?;
                refuse_if(compaction.revision <= self.compacted, Error::Compacted)
            }
            Request::LeaseGrant(grant) => refuse_if(self.leases.contains_key(&grant.id), Error::LeaseExists),
            Request::LeaseRevoke(revoke) => {
                let decided_elsewhere = revoke.stamp.is_some_and(|stamp| term.is_some_and(|term| term != stamp));
                refuse_if(decided_elsewhere, Error::LeaderChanged)?;
                refuse_if(!self.leases.contains_key(&revoke.id), Error::LeaseNotFound)
            }
            Request::LeaseKeepAlive(_) | Request::LeaseTimeToLive(_) => Err(Error::NotAllowedHere),
        }
    }

    /// Does what was decided. `writes`: the keys written so far.
    fn run(&mut self, request: &Request, taken: &mut impl Iterator<Item = bool>, writes: &mut Vec<Bytes>) -> Response {
        let now = self.revision() + 1;
        match request {
            Request::Put(put) => {
                let before = self.at(&put.key, u64::MAX).cloned();
                let after = KeyValue {
                    key: put.key.clone(),
                    value: before.as_ref().filter(|_| put.ignore_value).map_or(&put.value, |kv| &kv.value).clone(),
                    create_revision: before.as_ref().map_or(now, |kv| kv.create_revision),
                    mod_revision: now,
                    version: before.as_ref().map_or(0, |kv| kv.version) + 1,
                    lease: before.as_ref().filter(|_| put.ignore_lease).map_or(put.lease, |kv| kv.lease),
                };
                self.write(&put.key, Some(after), writes);
                Response::Put { prev_kv: before.filter(|_| put.prev_kv) }
            }
            Request::Range(range) => {
                // A txn's own writes carry the revision that it is about to make, so a read of a given one does not see them.
                let revision = if range.revision == 0 { u64::MAX } else { range.revision };
                answer(range, self.between(&range.key, range.range_end.as_ref(), revision))
            }
            Request::DeleteRange(delete) => {
                let found: Vec<KeyValue> = self.between(&delete.key, delete.range_end.as_ref(), u64::MAX).cloned().collect();
                found.iter().for_each(|kv| self.write(&kv.key, None, writes));
                Response::DeleteRange { deleted: found.len() as u64, prev_kvs: if delete.prev_kv { found } else { Vec::new() } }
            }
            Request::Txn(txn) => {
                let succeeded = taken.next().unwrap_or(false);
                let branch = if succeeded { &txn.success } else { &txn.failure };
                Response::Txn { succeeded, responses: branch.iter().map(|request| self.run(request, taken, writes)).collect() }
            }
            Request::Compact(compaction) => {
                self.compacted = compaction.revision;
                Response::Compact
            }
            Request::LeaseGrant(grant) => {
                let ttl = grant.ttl.clamp(*TTL.start(), *TTL.end());
                self.leases.insert(grant.id, ttl);
                Response::LeaseGrant { id: grant.id, ttl }
            }
            Request::LeaseRevoke(revoke) => {
                self.attached(revoke.id).iter().for_each(|key| self.write(key, None, writes));
                self.leases.remove(&revoke.id);
                Response::LeaseRevoke
            }
            Request::LeaseLeases => Response::LeaseLeases { leases: self.leases.keys().copied().collect() },
            Request::LeaseKeepAlive(_) | Request::LeaseTimeToLive(_) => Response::Error(Error::NotAllowedHere),
        }
    }

    fn write(&mut self, key: &Bytes, after: Option<KeyValue>, writes: &mut Vec<Bytes>) {
        let now = self.revision() + 1;
        let past = self.keys.entry(key.clone()).or_default();
        match past.last_mut() {
            Some((revision, held)) if *revision == now => *held = after,
            _ => {
                past.push((now, after));
                writes.push(key.clone());
            }
        }
    }

    /// What there was from `key` up to, not including, `end` at a revision; of `key` alone without one.
    fn between<'a>(&'a self, key: &'a Bytes, end: Option<&'a Bytes>, revision: u64) -> impl Iterator<Item = &'a KeyValue> {
        let end = match end {
            Some(end) if is_unbounded(end) => Some(Bound::Unbounded),
            // A range that ends before it begins is empty; BTreeMap would panic.
            Some(end) => (key < end).then_some(Bound::Excluded(end)),
            None => Some(Bound::Included(key)),
        };
        let found = end.map(|end| self.keys.range::<Bytes, _>((Bound::Included(key), end)));
        found.into_iter().flatten().filter_map(move |(_, past)| as_of(past, revision))
    }

    fn holds(&self, compare: &Compare) -> bool {
        let mut found = self.between(&compare.key, compare.range_end.as_ref(), u64::MAX).peekable();
        if found.peek().is_none() { is_so(compare, None) } else { found.all(|kv| is_so(compare, Some(kv))) }
    }
}

/// What stood there at a revision.
fn as_of(past: &Past, revision: u64) -> Option<&KeyValue> {
    let last = past.last()?;
    let at = if last.0 <= revision { last } else { &past[past.partition_point(|(r, _)| *r <= revision).checked_sub(1)?] };
    at.1.as_ref()
}

/// Whether a pair, or a key that is not there, compares so.
fn is_so(compare: &Compare, held: Option<&KeyValue>) -> bool {
    let number = |of: fn(&KeyValue) -> u64, with: &u64| held.map_or(0, of).cmp(with);
    let order = match &compare.target {
        CompareTarget::Version(with) => number(|kv| kv.version, with),
        CompareTarget::CreateRevision(with) => number(|kv| kv.create_revision, with),
        CompareTarget::ModRevision(with) => number(|kv| kv.mod_revision, with),
        CompareTarget::Lease(with) => held.map_or(LEASE_NONE, |kv| kv.lease).cmp(with),
        CompareTarget::Value(with) => match held {
            Some(kv) => kv.value.cmp(with),
            None => return false,
        },
    };
    compares(compare.result, order)
}

/// Whether an order of what is held and what it is compared with is the one wanted.
pub(crate) fn compares(result: CompareResult, order: Ordering) -> bool {
    match result {
        CompareResult::Equal => order.is_eq(),
        CompareResult::NotEqual => order.is_ne(),
        CompareResult::Greater => order.is_gt(),
        CompareResult::Less => order.is_lt(),
    }
}

/// The answer to a range that finds these pairs, which stand in key order: the count is of all; then filters, order, limit, keys only.
fn answer<'a>(range: &RangeRequest, found: impl Iterator<Item = &'a KeyValue>) -> Response {
    let mut count = 0;
    let mut kvs: Vec<KeyValue> = Vec::new();
    let admits = |min: u64, max: u64, revision: u64| min <= revision && (max == 0 || revision <= max);
    for kv in found {
        count += 1;
        let wanted = admits(range.min_mod_revision, range.max_mod_revision, kv.mod_revision)
            && admits(range.min_create_revision, range.max_create_revision, kv.create_revision);
        if wanted && !range.count_only {
            kvs.push(kv.clone());
        }
    }
    let limit = if range.limit == 0 { u64::MAX } else { range.limit };
    let filters = [range.min_mod_revision, range.max_mod_revision, range.min_create_revision, range.max_create_revision];
    if range.sort_order == SortOrder::None && filters == [0; 4] {
        // etcd fetches no more than it needs in key order, and sorts these by whatever is named.
        kvs.truncate(usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1));
    }
    sort(&mut kvs, range);
    let more = kvs.len() as u64 > limit;
    kvs.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    if range.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value = Bytes::default());
    }
    Response::Range { kvs, count, more }
}

/// Puts pairs that stand in key order into the order asked for. Equal ones stay in key order.
fn sort(kvs: &mut [KeyValue], range: &RangeRequest) {
    kvs.sort_by(|a, b| {
        let order = match range.sort_target {
            SortTarget::Key => a.key.cmp(&b.key),
            SortTarget::Version => a.version.cmp(&b.version),
            SortTarget::Create => a.create_revision.cmp(&b.create_revision),
            SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
            SortTarget::Value => a.value.cmp(&b.value),
        };
        if range.sort_order == SortOrder::Descend { order.reverse() } else { order }
    });
}

/// Whether a `range_end` is none at all: one zero byte means every key from the first on.
pub(crate) fn is_unbounded(end: &Bytes) -> bool {
    end.as_slice() == [0]
}

/// Whether a key lies in a range: from the first up to, not including, the end; without an end it is the one key.
pub(crate) fn lies_in(key: &Bytes, first: &Bytes, end: Option<&Bytes>) -> bool {
    match end {
        None => key == first,
        Some(end) => key >= first && (is_unbounded(end) || key < end),
    }
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
        if a.key != b.key || a.value != b.value || a.version != b.version || a.lease != b.lease {
            return Agreement::None;
        }
        let fits = |a: u64, b: u64| a == b || Some(a) == own;
        let revisions = fits(a.create_revision, b.create_revision) && fits(a.mod_revision, b.mod_revision);
        if revisions { Agreement::Full } else { Agreement::Values }
    };
    let kvs = |a: &[KeyValue], b: &[KeyValue]| all(a, b, kv);
    match (expected, given) {
        (Response::Put { prev_kv: a }, Response::Put { prev_kv: b }) => kvs(a.as_slice(), b.as_slice()),
        (Response::Range { kvs: a, count: m, more: x }, Response::Range { kvs: b, count: n, more: y }) if (m, x) == (n, y) => kvs(a, b),
        (Response::DeleteRange { deleted: m, prev_kvs: a }, Response::DeleteRange { deleted: n, prev_kvs: b }) if m == n => kvs(a, b),
        (Response::Txn { succeeded: m, responses: a }, Response::Txn { succeeded: n, responses: b }) if m == n => {
            all(a, b, |a, b| agreement(a, b, own))
        }
        // The rest tells no revisions.
        (a, b) if a == b => Agreement::Full,
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
