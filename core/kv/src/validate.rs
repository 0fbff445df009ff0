//! What can be said of a request from the request alone: whether it is refused, and whether it may write. Every node, and the
//! client, comes to the same answer, so a refusal here is definite (PROTOCOL.md, failed or unknown).
//!
//! Duty of the caller: a request that is not valid must not get into a log or a spec pool. [`crate::Store`] asserts what it relies on.

use crate::conflict::overlap;
use crate::{Bytes, Request};

/// The most compares, and the most requests in a branch, of a txn (etcd's default of `--max-txn-ops`).
pub const TXN_OPS_MAX: usize = 128;

/// etcd's ErrEmptyKey.
pub const ERROR_EMPTY_KEY: &str = "etcdserver: key is not provided";
/// etcd's ErrDuplicateKey: a branch puts a key twice, or puts and deletes it.
pub const ERROR_DUPLICATE_KEY: &str = "etcdserver: duplicate key given in txn request";
/// etcd's ErrTooManyOps.
pub const ERROR_TOO_MANY_OPS: &str = "etcdserver: too many operations in txn request";
/// Not etcd's, which nests txns.
pub const ERROR_NESTED_TXN: &str = "nested txns are not supported";

impl Request {
    /// Whether the request is acceptable. A `range_end` at or before the key is: it names no keys.
    ///
    /// # Errors
    /// Why not, in etcd's words.
    pub fn validate(&self) -> Result<(), String> {
        self.check().map_err(str::to_owned)
    }

    /// Whether it may change the store. Whether it does depends on the state: a delete may find nothing.
    pub fn is_write(&self) -> bool {
        match self {
            Request::Put(_) | Request::DeleteRange(_) => true,
            Request::Range(_) => false,
            Request::Txn(txn) => txn.success.iter().chain(&txn.failure).any(Request::is_write),
        }
    }

    /// Whether it only ever reads, and may be served as a read.
    pub fn is_read_only(&self) -> bool {
        !self.is_write()
    }

    fn check(&self) -> Result<(), &'static str> {
        match self {
            Request::Put(put) => check_key(&put.key),
            Request::Range(range) => check_key(&range.key),
            Request::DeleteRange(delete) => check_key(&delete.key),
            Request::Txn(txn) => {
                if [txn.compare.len(), txn.success.len(), txn.failure.len()].into_iter().any(|len| len > TXN_OPS_MAX) {
                    return Err(ERROR_TOO_MANY_OPS);
                }
                txn.compare.iter().try_for_each(|compare| check_key(&compare.key))?;
                txn.success.iter().chain(&txn.failure).try_for_each(|request| match request {
                    Request::Txn(_) => Err(ERROR_NESTED_TXN),
                    _ => request.check(),
                })?;
                check_branch(&txn.success)?;
                check_branch(&txn.failure)
            }
        }
    }
}

fn check_key(key: &Bytes) -> Result<(), &'static str> {
    if key.as_slice().is_empty() { Err(ERROR_EMPTY_KEY) } else { Ok(()) }
}

/// One revision can write a key once, so no key may be put twice, or put and deleted; deletes may overlap, as in etcd.
fn check_branch(requests: &[Request]) -> Result<(), &'static str> {
    for (i, request) in requests.iter().enumerate() {
        let Request::Put(put) = request else { continue };
        let duplicate = requests.iter().enumerate().any(|(j, other)| match other {
            Request::Put(other) => j < i && other.key == put.key,
            Request::DeleteRange(delete) => overlap((&put.key, None), (&delete.key, delete.range_end.as_ref())),
            _ => false,
        });
        if duplicate {
            return Err(ERROR_DUPLICATE_KEY);
        }
    }
    Ok(())
}
