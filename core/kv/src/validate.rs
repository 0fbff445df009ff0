//! What can be said of a request from the request alone: whether it is refused, whether it may write, whether it may be fast. Every
//! node, and the client, comes to the same answer, so a refusal here is definite (PROTOCOL.md, failed or unknown).
//!
//! Duty of the caller: a request that is not valid must not get into a log or a spec pool, nor one that [is for the leader
//! alone](Request::is_leaders). [`crate::Store`] gives them an error, the same on every replica, should one come all the same.

use std::collections::BTreeSet;

use mutants::Mutant;

use crate::keys::KeySet;
use crate::{Bytes, Compare, DeleteRangeRequest, Error, LEASE_NONE, LEASE_TTL_MAX, PutRequest, RangeRequest, Request, TxnRequest};

/// The most compares, and the most requests in a branch, of a txn (etcd's default of `--max-txn-ops`). A txn within another has what the
/// longest list of that leaves, so this bounds the depth too.
pub const TXN_OPS_MAX: usize = 128;

impl Request {
    /// Whether the request is acceptable, with the words to refuse it.
    ///
    /// # Errors
    /// Why not, in etcd's words.
    pub fn validate(&self) -> Result<(), String> {
        self.check().map_err(|error| error.to_string())
    }

    /// Whether the request is acceptable. A `range_end` at or before the key is: it names no keys.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), Error> {
        match self {
            Request::Put(put) => check_put(put),
            Request::Range(RangeRequest { key, .. }) | Request::DeleteRange(DeleteRangeRequest { key, .. }) => check_key(key),
            Request::Txn(txn) => {
                check_txn(txn, TXN_OPS_MAX)?;
                check_writes(&txn.success)?;
                check_writes(&txn.failure)
            }
            Request::LeaseGrant(grant) if grant.ttl > LEASE_TTL_MAX => Err(Error::LeaseTtlTooLarge),
            // A grant has its name before it gets here: one made while applying could not be in a fast answer.
            Request::LeaseGrant(grant) if grant.id == LEASE_NONE => Err(Error::LeaseNotFound),
            Request::LeaseRevoke(revoke) if revoke.id == LEASE_NONE => Err(Error::LeaseNotFound),
            Request::LeaseGrant(_) | Request::LeaseRevoke(_) | Request::Compact(_) => Ok(()),
            Request::LeaseKeepAlive(_) | Request::LeaseTimeToLive(_) | Request::LeaseLeases => Ok(()),
        }
    }

    /// Whether it may change the store. Whether it does depends on the state: a delete may find nothing.
    pub fn is_write(&self) -> bool {
        match self {
            Request::Put(_) | Request::DeleteRange(_) | Request::Compact(_) | Request::LeaseGrant(_) | Request::LeaseRevoke(_) => true,
            Request::Range(_) | Request::LeaseKeepAlive(_) | Request::LeaseTimeToLive(_) | Request::LeaseLeases => false,
            Request::Txn(txn) => txn.success.iter().chain(&txn.failure).any(Request::is_write),
        }
    }

    /// Whether only a leader can answer it, from its clock, after it confirmed that it leads. Such a request is never proposed, recorded
    /// or logged.
    pub fn is_leaders(&self) -> bool {
        matches!(self, Request::LeaseKeepAlive(_) | Request::LeaseTimeToLive(_) | Request::LeaseLeases)
    }

    /// Whether it may be recorded by witnesses and answered before it is committed. Not if what it touches, or what it answers, depends
    /// on more than the keys and leases it names: a witness that lags could not judge it.
    pub fn fast_allowed(&self) -> bool {
        !self.is_leaders() && !self.touches_unnamed()
    }

    /// Whether what the request observes or changes depends on the state: a revoke deletes what is attached, a compaction changes what
    /// can be read at all, a read as of a revision (and a txn that looks for the revision it will itself get) observes how many writes there
    /// were. It conflicts with everything.
    pub(crate) fn touches_unnamed(&self) -> bool {
        match self {
            Request::LeaseRevoke(_) => !mutants::on(Mutant::RevokeIsFast),
            Request::Compact(_) | Request::LeaseLeases => true,
            Request::LeaseTimeToLive(ask) => ask.keys,
            Request::Put(_) | Request::DeleteRange(_) | Request::LeaseGrant(_) | Request::LeaseKeepAlive(_) => false,
            Request::Range(range) => range.revision != 0,
            Request::Txn(txn) => {
                let mut requests = txn.success.iter().chain(&txn.failure);
                requests.any(Request::touches_unnamed) || (self.is_write() && self.picks_by_revision())
            }
        }
    }

    /// Whether it leaves out pairs by their revisions. Those that its own txn wrote have none yet in a fast answer.
    fn picks_by_revision(&self) -> bool {
        match self {
            Request::Range(r) => [r.min_mod_revision, r.max_mod_revision, r.min_create_revision, r.max_create_revision] != [0; 4],
            Request::Txn(txn) => txn.success.iter().chain(&txn.failure).any(Request::picks_by_revision),
            _ => false,
        }
    }
}

fn check_key(key: &Bytes) -> Result<(), Error> {
    if key.as_slice().is_empty() { Err(Error::EmptyKey) } else { Ok(()) }
}

fn check_put(put: &PutRequest) -> Result<(), Error> {
    check_key(&put.key)?;
    if put.ignore_value && !put.value.as_slice().is_empty() {
        return Err(Error::ValueProvided);
    }
    if put.ignore_lease && put.lease != LEASE_NONE {
        return Err(Error::LeaseProvided);
    }
    Ok(())
}

fn check_txn(txn: &TxnRequest, ops_max: usize) -> Result<(), Error> {
    let TxnRequest { compare, success, failure } = txn;
    let longest = compare.len().max(success.len()).max(failure.len());
    let Some(left) = ops_max.checked_sub(longest) else { return Err(Error::TooManyOps) };
    compare.iter().try_for_each(|Compare { key, .. }| check_key(key))?;
    success.iter().chain(failure).try_for_each(|request| match request {
        Request::Txn(inner) => check_txn(inner, left),
        Request::Put(_) | Request::Range(_) | Request::DeleteRange(_) => request.check(),
        _ => Err(Error::NotAllowedHere),
    })
}

/// What a way through a list of requests may write.
#[derive(Default)]
struct Written<'a> {
    puts: BTreeSet<&'a Bytes>,
    /// Which delete names a key does not matter, as deletes may overlap.
    deletes: KeySet<'a>,
}

impl<'a> Written<'a> {
    /// Whether a key would be put twice, or put and deleted, if both were written. The smaller side is looked up in the larger.
    fn clashes(&self, other: &Written<'a>) -> bool {
        let (few, many) = if self.puts.len() < other.puts.len() { (self, other) } else { (other, self) };
        few.puts.iter().any(|put| many.puts.contains(*put)) || self.deletes.has_one_of(&other.puts) || other.deletes.has_one_of(&self.puts)
    }

    /// Adds what the other writes: the less to the more.
    fn extend(&mut self, mut other: Written<'a>) {
        if self.puts.len() < other.puts.len() {
            std::mem::swap(&mut self.puts, &mut other.puts);
        }
        self.puts.extend(other.puts);
        self.deletes.extend(other.deletes);
    }
}

/// One revision can write a key once, so no key may be put twice, or put and deleted, on one way through the requests; deletes may
/// overlap, and the two branches of a txn exclude each other, as in etcd. Of txns side by side etcd looks at a put and a later delete only in
/// the other order; here both are refused.
fn check_writes(requests: &[Request]) -> Result<(), Error> {
    written(requests).map(|_| ())
}

fn written(requests: &[Request]) -> Result<Written<'_>, Error> {
    let mut all = Written::default();
    for request in requests {
        let one = match request {
            Request::Put(put) => Written { puts: BTreeSet::from([&put.key]), ..Written::default() },
            Request::DeleteRange(delete) => Written { deletes: KeySet::of((&delete.key, delete.range_end.as_ref())), ..Written::default() },
            Request::Txn(txn) => {
                let mut either = written(&txn.success)?;
                // A key that both branches put counts once.
                either.extend(written(&txn.failure)?);
                either
            }
            _ => continue,
        };
        if all.clashes(&one) {
            return Err(Error::DuplicateKey);
        }
        all.extend(one);
    }
    Ok(all)
}
