//! Keys, values and leases of a history by number: states are small then, and quick to compare.

use std::collections::BTreeMap;

use kv::{Bytes, Compare, CompareTarget, LEASE_NONE, LeaseId, Request};

use crate::replay::is_unbounded;

/// Numbers, the end exclusive.
pub(super) type Span = (u32, u32);

/// Each list in rising order; its places are the numbers.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub keys: Vec<Bytes>,
    pub values: Vec<Bytes>,
    /// Leases that some request names, each with the numbers of the keys that some put attaches to it.
    pub leases: BTreeMap<LeaseId, Vec<u32>>,
}

impl Names {
    pub fn of<'a>(requests: impl Iterator<Item = &'a Request>) -> Names {
        let mut names = Names::default();
        let mut attached: Vec<(LeaseId, Bytes)> = Vec::new();
        requests.for_each(|request| names.collect(request, &mut attached));
        for list in [&mut names.keys, &mut names.values] {
            list.sort_unstable();
            list.dedup();
        }
        for (id, key) in attached {
            let (key, _) = names.span(&key, None);
            let keys = names.leases.entry(id).or_default();
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        names
    }

    fn collect(&mut self, request: &Request, attached: &mut Vec<(LeaseId, Bytes)>) {
        match request {
            Request::Put(put) => {
                self.keys.push(put.key.clone());
                self.values.push(put.value.clone());
                if put.lease != LEASE_NONE {
                    attached.push((put.lease, put.key.clone()));
                }
            }
            // A key that is only read or deleted holds nothing, ever; but a single one is kept, so that it has a span.
            Request::Range(range) => self.keys.push(range.key.clone()),
            Request::DeleteRange(delete) => self.keys.push(delete.key.clone()),
            Request::Txn(txn) => {
                self.keys.extend(txn.compare.iter().map(|c| c.key.clone()));
                txn.success.iter().chain(&txn.failure).for_each(|request| self.collect(request, attached));
            }
            Request::LeaseGrant(grant) => _ = self.leases.entry(grant.id).or_default(),
            Request::LeaseRevoke(revoke) => _ = self.leases.entry(revoke.id).or_default(),
            Request::Compact(_) | Request::LeaseLeases | Request::LeaseKeepAlive(_) | Request::LeaseTimeToLive(_) => {}
        }
    }

    /// The keys of a range.
    pub fn span(&self, key: &Bytes, end: Option<&Bytes>) -> Span {
        let keys = &self.keys;
        let from = keys.partition_point(|k| k < key) as u32;
        let to = match end {
            Some(end) if is_unbounded(end) => keys.len() as u32,
            Some(end) => keys.partition_point(|k| k < end) as u32,
            None => keys.partition_point(|k| k <= key) as u32,
        };
        (from, to.max(from))
    }

    pub fn value(&self, value: &Bytes) -> u32 {
        self.values.partition_point(|v| v < value) as u32
    }
}

/// Whether compares may hang on a revision that only the log knows.
pub(super) fn hangs_on_revision(compares: &[Compare]) -> bool {
    compares.iter().any(|c| matches!(c.target, CompareTarget::CreateRevision(2..) | CompareTarget::ModRevision(2..)))
}

/// How many txns in a request have such compares.
pub(super) fn open_txns(request: &Request) -> u32 {
    match request {
        Request::Txn(txn) => {
            let within = txn.success.iter().chain(&txn.failure).map(open_txns).sum::<u32>();
            within + u32::from(hangs_on_revision(&txn.compare))
        }
        _ => 0,
    }
}
