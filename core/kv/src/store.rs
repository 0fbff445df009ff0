//! The store: executes requests against the versions of every key.
//!
//! Invariant: whatever order commuting commands complete in, the versions kept, every response, and the sum of the deltas of the state
//! hash are those of completion in log order. It holds because a revision is decided in `prepare`, in log order, from keys that only
//! earlier conflicting commands could have changed; those have been applied by then.
//!
//! It knows nothing of sessions, terms or indexes: which commands are applied, and once, is decided above it.

use mutants::Mutant;

use curp::{CommandExecutor, Index, RoleChange, Synced, Term};

use crate::conflict::Keys;
use crate::history::{self, History, Version};
use crate::{
    Bytes, Compare, CompareResult, CompareTarget, DeleteRangeRequest, KeyValue, PutRequest, RangeRequest, Request, Response, TxnRequest,
};

/// The revision of an empty store, as in etcd; the first write gets the next.
pub const REVISION_FIRST: u64 = 1;

/// Stands in a fast result for the revision the command itself will get, which recovery may yet change: a txn that reads its own
/// write sees this as that key's modification (and perhaps creation) revision.
pub const REVISION_UNKNOWN: u64 = 0;

/// The latest version, whatever its revision.
const LATEST: u64 = u64::MAX;

/// What a request writes, while it is computed: a txn's later requests read it.
type Writes = Vec<(Bytes, Version)>;

/// An MVCC key-value store.
#[derive(Clone, Debug)]
pub struct Store {
    history: History,
    /// The last revision given by `prepare`.
    revision: u64,
    /// The wrapping sum of the live keys' hashes.
    hash: u64,
    /// What the last `after_sync` added to it, for `take_delta`.
    delta: u64,
    /// Kept for its capacity; empty between commands.
    writes: Writes,
}

impl Default for Store {
    fn default() -> Self {
        Store { history: History::default(), revision: REVISION_FIRST, hash: 0, delta: 0, writes: Vec::new() }
    }
}

impl Store {
    /// An empty store.
    pub fn new() -> Self {
        Store::default()
    }

    /// The last revision given to a command, applied or not.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Applies a command at the revision [`prepare`](CommandExecutor::prepare) gave it. Returns its final result, and what it adds, wrapping,
    /// to the hash of the state. The deltas of commuting commands add up in any order, so the caller can fold
    /// them in log order to have the hash of the state after every entry.
    pub fn apply(&mut self, revision: u64, command: &Request) -> (Synced<Response>, u64) {
        debug_assert!(revision <= self.revision, "revision {revision} was not given by prepare, which is at {}", self.revision);
        let mut writes = std::mem::take(&mut self.writes);
        let response = self.compute(command, revision, &mut writes);
        let mut delta = 0u64;
        for (key, version) in writes.drain(..) {
            delta = delta.wrapping_add(self.history.push(key, version));
        }
        self.writes = writes;
        self.hash = self.hash.wrapping_add(delta);
        (Synced { revision, response }, delta)
    }

    /// The range as it was at `revision`: the pairs up to the limit, and the number of pairs without it. Exact if every command with
    /// that revision or a lower one is applied, whatever later ones are.
    pub fn range_at(&self, request: &RangeRequest, revision: u64) -> (Vec<KeyValue>, u64) {
        let limit = if request.limit == 0 { usize::MAX } else { usize::try_from(request.limit).unwrap_or(usize::MAX) };
        let mut kvs = Vec::new();
        let mut count = 0;
        for (key, version) in self.history.range((&request.key, request.range_end.as_ref()), revision) {
            count += 1;
            if kvs.len() < limit {
                kvs.extend(version.key_value(key));
            }
        }
        (kvs, count)
    }

    /// Every live pair, in key order.
    pub fn live(&self) -> impl Iterator<Item = KeyValue> {
        self.history.live().filter_map(|(key, version)| version.key_value(key))
    }

    /// The hash of the state: the wrapping sum of XXH3-64 over (key, value, create and mod revision, version) of each live key, that is, of all
    /// deltas so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The same, recomputed from the pairs.
    pub fn full_hash(&self) -> u64 {
        self.live().fold(0, |sum, kv| sum.wrapping_add(history::hash_of(&kv)))
    }

    /// Whether the request writes anything in the present state.
    fn writes(&self, request: &Request) -> bool {
        match request {
            Request::Put(_) => true,
            Request::Range(_) => false,
            Request::DeleteRange(delete) => self.history.range((&delete.key, delete.range_end.as_ref()), LATEST).next().is_some(),
            // A branch with a put writes; in one without, every delete but the first finds what was there before the txn, or less.
            Request::Txn(txn) => self.branch(txn).1.iter().any(|request| self.writes(request)),
        }
    }

    /// The result of a request, and what it writes at `revision`, added to `writes`.
    fn compute(&self, request: &Request, revision: u64, writes: &mut Writes) -> Response {
        match request {
            Request::Put(put) => self.put(put, revision, writes),
            Request::Range(range) if writes.is_empty() => {
                let (kvs, count) = self.range_at(range, LATEST);
                Response::Range { kvs, count }
            }
            Request::Range(range) => self.range_over(range, writes),
            Request::DeleteRange(delete) => self.delete(delete, revision, writes),
            Request::Txn(txn) => {
                let (succeeded, branch) = self.branch(txn);
                let step = |request: &Request| {
                    assert!(!matches!(request, Request::Txn(_)), "a nested txn: `Request::validate` refuses it");
                    self.compute(request, revision, writes)
                };
                Response::Txn { succeeded, responses: branch.iter().map(step).collect() }
            }
        }
    }

    fn put(&self, put: &PutRequest, revision: u64, writes: &mut Writes) -> Response {
        let before = match written(writes, &put.key) {
            Some(version) => Some(version).filter(|v| v.is_live()),
            None => self.history.get(&put.key, LATEST),
        };
        let prev_kv = if put.prev_kv { before.and_then(|v| v.key_value(&put.key)) } else { None };
        let version = Version::put(&put.key, &put.value, revision, before);
        writes.push((put.key.clone(), version));
        Response::Put { prev_kv }
    }

    fn delete(&self, delete: &DeleteRangeRequest, revision: u64, writes: &mut Writes) -> Response {
        let keys = (&delete.key, delete.range_end.as_ref());
        let found = self.live_over(keys, writes);
        writes.extend(found.iter().map(|kv| (kv.key.clone(), Version::deleted(revision))));
        Response::DeleteRange { deleted: found.len() as u64, prev_kvs: if delete.prev_kv { found } else { Vec::new() } }
    }

    /// A range that sees what its txn wrote before it.
    fn range_over(&self, range: &RangeRequest, writes: &Writes) -> Response {
        let mut kvs = self.live_over((&range.key, range.range_end.as_ref()), writes);
        let count = kvs.len() as u64;
        if range.limit != 0 {
            kvs.truncate(usize::try_from(range.limit).unwrap_or(usize::MAX));
        }
        Response::Range { kvs, count }
    }

    /// The live pairs in a range, in key order, after `writes`.
    fn live_over(&self, keys: Keys<'_>, writes: &Writes) -> Vec<KeyValue> {
        let stored = self.history.range(keys, LATEST).filter(|(key, _)| written(writes, key).is_none());
        let mut found: Vec<KeyValue> = stored.filter_map(|(key, version)| version.key_value(key)).collect();
        if !writes.is_empty() {
            for (i, (key, version)) in writes.iter().enumerate() {
                let overwritten = writes[i + 1..].iter().any(|(later, _)| later == key);
                if !overwritten && crate::conflict::overlap((key, None), keys) {
                    found.extend(version.key_value(key));
                }
            }
            found.sort_by(|a, b| a.key.cmp(&b.key));
        }
        found
    }

    /// Whether the compares hold, and the branch to take. They are judged before anything of the txn is written.
    fn branch<'a>(&self, txn: &'a TxnRequest) -> (bool, &'a [Request]) {
        let succeeded = txn.compare.iter().all(|compare| self.holds(compare));
        (succeeded, if succeeded { &txn.success } else { &txn.failure })
    }

    fn holds(&self, compare: &Compare) -> bool {
        let version = self.history.get(&compare.key, LATEST);
        let order = match &compare.target {
            CompareTarget::Version(v) => version.map_or(0, |x| x.version).cmp(v),
            CompareTarget::CreateRevision(r) => version.map_or(0, |x| x.create_revision).cmp(r),
            CompareTarget::ModRevision(r) => version.map_or(0, |x| x.mod_revision).cmp(r),
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
}

/// What `writes` last did to the key.
fn written<'a>(writes: &'a Writes, key: &Bytes) -> Option<&'a Version> {
    writes.iter().rev().find(|(written, _)| written == key).map(|(_, version)| version)
}

impl CommandExecutor<Request> for Store {
    fn prepare(&mut self, _index: Index, command: &Request) -> u64 {
        if self.writes(command) {
            self.revision += 1;
        }
        self.revision
    }

    fn execute(&self, command: &Request) -> Response {
        let own = if mutants::on(Mutant::FastReturnsRevision) { self.revision + 1 } else { REVISION_UNKNOWN };
        self.compute(command, own, &mut Vec::new())
    }

    fn after_sync(&mut self, _index: Index, revision: u64, command: &Request) -> Synced<Response> {
        let (synced, delta) = self.apply(revision, command);
        self.delta = delta;
        synced
    }

    fn take_delta(&mut self) -> u64 {
        std::mem::take(&mut self.delta)
    }

    fn snapshot(&self) -> Vec<u8> {
        postcard::to_allocvec(&(self.revision, &self.history)).expect("plain data encodes")
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        let (revision, history) = postcard::from_bytes(snapshot).map_err(|e| format!("the store in the snapshot does not decode: {e}"))?;
        *self = Store { revision, history, ..Store::default() };
        self.hash = self.full_hash();
        Ok(())
    }

    fn state_sum(&self) -> u64 {
        self.hash
    }
}

/// Nothing yet: leases will promote and demote here.
impl RoleChange for Store {
    fn on_leader(&mut self, _term: Term) {}

    fn on_follower(&mut self, _term: Term) {}
}
