//! Leases as every replica has them: which there are, how long each may live without a keep-alive, and which keys are attached to it.
//!
//! Invariant: the keys attached to a lease are exactly the live keys whose latest version names it; no live key names a lease that is
//! not here. [`crate::Store`] keeps it: every write of a key passes through it.
//!
//! Deliberately not here: time. When a lease expires is the leader's to say, by its clock, and is not replicated
//! ([`crate::Expiry`]); here a lease goes when a revoke is applied.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{Bytes, Change, LEASE_NONE, LeaseId};

/// The least time to live, in seconds: shorter ones are granted this.
pub const LEASE_TTL_MIN: i64 = 1;

/// The longest time to live, in seconds (etcd's).
pub const LEASE_TTL_MAX: i64 = 9_000_000_000;

/// A lease's name, made by the server for a client that leaves the choice to it: from the id of the proposal, so that every retry has
/// the same name. It must stand in the command before that is sent anywhere: the conflict test goes by it.
pub fn made_lease_id(client: u64, seq: u64) -> LeaseId {
    let hash = xxh3_64_with_seed(&seq.to_le_bytes(), client) & i64::MAX as u64;
    LeaseId::try_from(hash).unwrap_or(LeaseId::MAX).max(LEASE_NONE + 1)
}

/// A lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// How long it lives without a keep-alive, in seconds.
    pub ttl: i64,
    /// The keys attached to it.
    pub keys: BTreeSet<Bytes>,
}

/// Every lease. What changes it returns by how much the sum of all hashes changes, which commuting changes do in any order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseCollection {
    leases: BTreeMap<LeaseId, Lease>,
}

impl LeaseCollection {
    /// The lease of this name.
    pub fn get(&self, id: LeaseId) -> Option<&Lease> {
        self.leases.get(&id)
    }

    /// Whether there is one of this name.
    pub fn contains(&self, id: LeaseId) -> bool {
        self.leases.contains_key(&id)
    }

    /// Every lease, in order of names.
    pub fn iter(&self) -> impl Iterator<Item = (LeaseId, &Lease)> {
        self.leases.iter().map(|(id, lease)| (*id, lease))
    }

    /// The time a lease is granted that asks for `ttl` seconds.
    pub fn bounded(ttl: i64) -> i64 {
        ttl.clamp(LEASE_TTL_MIN, LEASE_TTL_MAX)
    }

    /// Adds a lease, which there must not be yet.
    pub(crate) fn grant(&mut self, id: LeaseId, ttl: i64) -> u64 {
        let before = self.leases.insert(id, Lease { ttl, keys: BTreeSet::new() });
        assert!(before.is_none(), "lease {id} is granted twice");
        hash_of_lease(id, ttl)
    }

    /// Removes a lease, with its attachments; nothing if there is none.
    pub(crate) fn revoke(&mut self, id: LeaseId) -> u64 {
        self.leases.remove(&id).map_or(0, |lease| 0u64.wrapping_sub(hash_of(id, &lease)))
    }

    /// Attaches a key. Nothing if there is no such lease, which [`crate::Store`] refuses before.
    pub(crate) fn attach(&mut self, id: LeaseId, key: &Bytes) -> u64 {
        let added = self.leases.get_mut(&id).is_some_and(|lease| lease.keys.insert(key.clone()));
        if added { hash_of_attachment(id, key) } else { 0 }
    }

    /// Detaches a key.
    pub(crate) fn detach(&mut self, id: LeaseId, key: &Bytes) -> u64 {
        let removed = self.leases.get_mut(&id).is_some_and(|lease| lease.keys.remove(key));
        if removed { 0u64.wrapping_sub(hash_of_attachment(id, key)) } else { 0 }
    }

    /// All leases with what is attached to them, as changes of nothing.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Change> {
        self.leases.iter().flat_map(|(&id, lease)| {
            let attached = lease.keys.iter().map(move |key| Change::Attached { lease: id, key: key.clone() });
            std::iter::once(Change::Lease { id, ttl: lease.ttl }).chain(attached)
        })
    }

    /// A row comes back: a lease before what is attached to it.
    pub(crate) fn restore(&mut self, change: Change) -> Result<(), String> {
        match change {
            Change::Lease { id, ttl } => _ = self.leases.insert(id, Lease { ttl, keys: BTreeSet::new() }),
            Change::Attached { lease, key } => {
                let attached =
                    self.leases.get_mut(&lease).ok_or_else(|| format!("a key is attached to lease {lease}, which is not there"))?;
                attached.keys.insert(key);
            }
            other => return Err(format!("no row: {other:?}")),
        }
        Ok(())
    }

    /// The sum of all hashes, recomputed.
    pub(crate) fn hash(&self) -> u64 {
        self.leases.iter().fold(0, |sum, (id, lease)| sum.wrapping_add(hash_of(*id, lease)))
    }
}

fn hash_of(id: LeaseId, lease: &Lease) -> u64 {
    lease.keys.iter().fold(hash_of_lease(id, lease.ttl), |sum, key| sum.wrapping_add(hash_of_attachment(id, key)))
}

fn hash_of_lease(id: LeaseId, ttl: i64) -> u64 {
    xxh3_64_with_seed(&ttl.to_le_bytes(), xxh3_64_with_seed(&id.to_le_bytes(), 1))
}

fn hash_of_attachment(id: LeaseId, key: &Bytes) -> u64 {
    xxh3_64_with_seed(key.as_slice(), xxh3_64_with_seed(&id.to_le_bytes(), 2))
}
