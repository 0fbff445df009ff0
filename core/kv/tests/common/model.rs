//! The store as a list: what every key held at every revision, copied. Slow, and plain enough to be believed.

use std::collections::BTreeMap;

use kv::*;

use super::in_range;

pub type Map = BTreeMap<Bytes, KeyValue>;

/// A map, changed in place, and a copy of it for each revision.
#[derive(Clone, Debug)]
pub struct Model {
    pub map: Map,
    /// `past[r]` is the map at revision r.
    pub past: Vec<Map>,
    /// `changes[r]` are the keys that revision r wrote, in the order in which it did.
    pub changes: Vec<Vec<Bytes>>,
    /// Time to live by name. What is attached to a lease is what names it.
    pub leases: BTreeMap<LeaseId, i64>,
    pub compacted: u64,
}

impl Model {
    pub fn new() -> Self {
        // Revision 0 is never; revision 1 is empty.
        Model { map: Map::new(), past: vec![Map::new(); 2], changes: vec![vec![]; 2], leases: BTreeMap::new(), compacted: 0 }
    }

    pub fn revision(&self) -> u64 {
        self.past.len() as u64 - 1
    }

    pub fn attached(&self, id: LeaseId) -> Vec<Bytes> {
        self.map.values().filter(|kv| kv.lease == id).map(|kv| kv.key.clone()).collect()
    }

    /// The revision after the request, which stands in an entry of this term, and its response.
    pub fn apply_in(&mut self, term: u64, request: &Request) -> (u64, Response) {
        let before = self.clone();
        let mut changes = Vec::new();
        let response = match self.top(term, request, &before, &mut changes) {
            Ok(response) => response,
            Err(error) => {
                *self = before;
                return (self.revision(), Response::Error(error));
            }
        };
        if !changes.is_empty() {
            self.past.push(self.map.clone());
            self.changes.push(changes);
        }
        (self.revision(), response)
    }

    pub fn apply(&mut self, request: &Request) -> (u64, Response) {
        self.apply_in(0, request)
    }

    fn top(&mut self, term: u64, request: &Request, before: &Model, changes: &mut Vec<Bytes>) -> Result<Response, Error> {
        match request {
            Request::Compact(c) if c.revision > self.revision() => Err(Error::FutureRevision),
            Request::Compact(c) if c.revision <= self.compacted => Err(Error::Compacted),
            Request::Compact(c) => {
                self.compacted = c.revision;
                Ok(Response::Compact)
            }
            Request::LeaseGrant(grant) if self.leases.contains_key(&grant.id) => Err(Error::LeaseExists),
            Request::LeaseGrant(grant) => {
                let ttl = grant.ttl.max(LEASE_TTL_MIN);
                self.leases.insert(grant.id, ttl);
                Ok(Response::LeaseGrant { id: grant.id, ttl })
            }
            Request::LeaseRevoke(revoke) if revoke.stamp.is_some_and(|stamp| stamp != term) => Err(Error::LeaderChanged),
            Request::LeaseRevoke(revoke) => {
                self.leases.remove(&revoke.id).ok_or(Error::LeaseNotFound)?;
                changes.extend(self.attached(revoke.id));
                self.map.retain(|_, kv| kv.lease != revoke.id);
                Ok(Response::LeaseRevoke)
            }
            // At the top the lease is looked up before the key.
            Request::Put(put) if put.lease != 0 && !self.leases.contains_key(&put.lease) => Err(Error::LeaseNotFound),
            _ => self.step(request, before, changes),
        }
    }

    fn step(&mut self, request: &Request, before: &Model, changes: &mut Vec<Bytes>) -> Result<Response, Error> {
        let revision = before.revision() + 1;
        let mut changed = |key: &Bytes| {
            if !changes.contains(key) {
                changes.push(key.clone());
            }
        };
        match request {
            Request::Put(put) => {
                if (put.ignore_value || put.ignore_lease) && !before.map.contains_key(&put.key) {
                    return Err(Error::KeyNotFound);
                }
                if put.lease != 0 && !before.leases.contains_key(&put.lease) {
                    return Err(Error::LeaseNotFound);
                }
                changed(&put.key);
                let old = self.map.get(&put.key).cloned();
                let new = KeyValue {
                    key: put.key.clone(),
                    value: old.as_ref().filter(|_| put.ignore_value).map_or(put.value.clone(), |kv| kv.value.clone()),
                    create_revision: old.as_ref().map_or(revision, |kv| kv.create_revision),
                    mod_revision: revision,
                    version: old.as_ref().map_or(1, |kv| kv.version + 1),
                    lease: old.as_ref().filter(|_| put.ignore_lease).map_or(put.lease, |kv| kv.lease),
                };
                self.map.insert(put.key.clone(), new);
                Ok(Response::Put { prev_kv: old.filter(|_| put.prev_kv) })
            }
            Request::Range(r) if r.revision > before.revision() => Err(Error::FutureRevision),
            Request::Range(r) if r.revision != 0 && r.revision < before.compacted => Err(Error::Compacted),
            Request::Range(r) if r.revision != 0 => Ok(range(&before.past[r.revision as usize], r)),
            Request::Range(r) => Ok(range(&self.map, r)),
            Request::DeleteRange(d) => {
                let gone = within(&self.map, &d.key, d.range_end.as_ref());
                for kv in &gone {
                    changed(&kv.key);
                    self.map.remove(&kv.key);
                }
                Ok(Response::DeleteRange { deleted: gone.len() as u64, prev_kvs: if d.prev_kv { gone } else { vec![] } })
            }
            Request::Txn(txn) => {
                let succeeded = txn.compare.iter().all(|c| all_hold(&before.map, c));
                let branch = if succeeded { &txn.success } else { &txn.failure };
                let responses = branch.iter().map(|r| self.step(r, before, changes)).collect::<Result<_, _>>()?;
                Ok(Response::Txn { succeeded, responses })
            }
            other => panic!("not within a txn: {other:?}"),
        }
    }

    /// What a watcher that asks so is told of a revision.
    pub fn events(&self, request: &WatchCreateRequest, revision: u64) -> Vec<WatchEvent> {
        let Some(changes) = self.changes.get(revision as usize) else { return vec![] };
        let mut events = Vec::new();
        for key in changes.iter().filter(|key| in_range(key, &request.key, request.range_end.as_ref())) {
            let held = |r: u64| self.past[r as usize].get(key).cloned();
            let (kind, unwanted) = match held(revision) {
                Some(_) => (EventKind::Put, WatchFilter::NoPut),
                None => (EventKind::Delete, WatchFilter::NoDelete),
            };
            if request.filters.contains(&unwanted) {
                continue;
            }
            let gone = KeyValue { key: key.clone(), mod_revision: revision, ..KeyValue::default() };
            let prev_kv = held(revision - 1).filter(|_| request.prev_kv);
            events.push(WatchEvent { kind, kv: held(revision).unwrap_or(gone), prev_kv });
        }
        events
    }
}

fn within(map: &Map, key: &Bytes, end: Option<&Bytes>) -> Vec<KeyValue> {
    map.values().filter(|kv| in_range(&kv.key, key, end)).cloned().collect()
}

pub fn range(map: &Map, r: &RangeRequest) -> Response {
    let mut kvs = within(map, &r.key, r.range_end.as_ref());
    let count = kvs.len() as u64;
    if r.count_only {
        return Response::Range { kvs: vec![], count, more: false };
    }
    let most = |max: u64| if max == 0 { u64::MAX } else { max };
    kvs.retain(|kv| (r.min_mod_revision..=most(r.max_mod_revision)).contains(&kv.mod_revision));
    kvs.retain(|kv| (r.min_create_revision..=most(r.max_create_revision)).contains(&kv.create_revision));
    let filters = r.min_mod_revision + r.max_mod_revision + r.min_create_revision + r.max_create_revision;
    if r.sort_order == SortOrder::None && filters == 0 && r.limit != 0 {
        // What is sorted is only what was fetched.
        kvs.truncate(r.limit as usize + 1);
    }
    match r.sort_target {
        SortTarget::Key => {}
        SortTarget::Version => kvs.sort_by_key(|kv| kv.version),
        SortTarget::Create => kvs.sort_by_key(|kv| kv.create_revision),
        SortTarget::Mod => kvs.sort_by_key(|kv| kv.mod_revision),
        SortTarget::Value => kvs.sort_by_key(|kv| kv.value.clone()),
    }
    if r.sort_order == SortOrder::Descend {
        // The greatest first, but equals in key order: reversed twice.
        let equal = |a: &KeyValue, b: &KeyValue| match r.sort_target {
            SortTarget::Key => false,
            SortTarget::Version => a.version == b.version,
            SortTarget::Create => a.create_revision == b.create_revision,
            SortTarget::Mod => a.mod_revision == b.mod_revision,
            SortTarget::Value => a.value == b.value,
        };
        kvs = kvs.chunk_by(equal).rev().flatten().cloned().collect();
    }
    let more = r.limit != 0 && kvs.len() as u64 > r.limit;
    if more {
        kvs.truncate(r.limit as usize);
    }
    if r.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value = "".into());
    }
    Response::Range { kvs, count, more }
}

fn all_hold(map: &Map, compare: &Compare) -> bool {
    let found = within(map, &compare.key, compare.range_end.as_ref());
    if found.is_empty() { holds(None, compare) } else { found.iter().all(|kv| holds(Some(kv), compare)) }
}

fn holds(held: Option<&KeyValue>, compare: &Compare) -> bool {
    fn is<T: PartialOrd>(left: T, result: CompareResult, right: T) -> bool {
        match result {
            CompareResult::Equal => left == right,
            CompareResult::NotEqual => left != right,
            CompareResult::Greater => left > right,
            CompareResult::Less => left < right,
        }
    }
    let result = compare.result;
    match (&compare.target, held) {
        (CompareTarget::Version(v), _) => is(held.map_or(0, |kv| kv.version), result, *v),
        (CompareTarget::CreateRevision(r), _) => is(held.map_or(0, |kv| kv.create_revision), result, *r),
        (CompareTarget::ModRevision(r), _) => is(held.map_or(0, |kv| kv.mod_revision), result, *r),
        (CompareTarget::Lease(l), _) => is(held.map_or(0, |kv| kv.lease), result, *l),
        (CompareTarget::Value(value), Some(kv)) => is(&kv.value, result, value),
        (CompareTarget::Value(_), None) => false,
    }
}
