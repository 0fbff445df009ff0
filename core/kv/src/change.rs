//! What commands change in the store, row by row, for whoever keeps it on a disk: a [`Store`] made again from all changes, or from the
//! rows they come to, is the store they were taken from.
//!
//! Invariant: the changes of an index are complete when its command has been applied, and are given out only then, in the order of indexes,
//! however commuting commands finish: so what is kept is the state at an index, never one between two.

use crate::history::Version;
use crate::{Bytes, LeaseId};

/// One change of one row. Applied in order they are idempotent.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A key holds this from a revision on.
    Version {
        /// The key.
        key: Bytes,
        /// What it holds from its revision on.
        held: Held,
    },
    /// What a key held from this revision on is compacted.
    Dropped {
        /// The key.
        key: Bytes,
        /// The revision.
        revision: u64,
    },
    /// A revision wrote this key.
    Wrote {
        /// The revision.
        revision: u64,
        /// The place of the key among those that it wrote, from 0.
        place: u64,
        /// The key.
        key: Bytes,
    },
    /// Compacted to this revision: which keys earlier ones wrote is forgotten.
    Compacted(u64),
    /// There is a lease.
    Lease {
        /// Its name.
        id: LeaseId,
        /// Its time to live in seconds.
        ttl: i64,
    },
    /// There is no such lease any more, and nothing is attached to it.
    NoLease(LeaseId),
    /// A key is attached to a lease.
    Attached {
        /// The lease.
        lease: LeaseId,
        /// The key.
        key: Bytes,
    },
    /// It is not any more.
    Detached {
        /// The lease.
        lease: LeaseId,
        /// The key.
        key: Bytes,
    },
}

/// What a key held from a revision on.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// The revision.
    pub mod_revision: u64,
    /// The revision that made the key; 0 if it is deleted.
    pub create_revision: u64,
    /// How often it was put since; 0 if it is deleted.
    pub version: u64,
    /// The value; `None` if it is deleted.
    pub value: Option<Bytes>,
    /// The lease it names; 0 if none.
    pub lease: LeaseId,
}

impl From<&Version> for Held {
    fn from(version: &Version) -> Self {
        let Version { mod_revision, create_revision, version, ref value, lease, hash: _ } = *version;
        Held { mod_revision, create_revision, version, value: value.clone(), lease }
    }
}

/// The changes that nobody has taken yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal {
    /// Whether anyone will.
    pub on: bool,
    /// The index of the command being applied.
    pub index: u64,
    /// Each with the index that it is of.
    changes: Vec<(u64, Change)>,
    /// The store is another altogether.
    replaced: bool,
}

impl Journal {
    /// Notes a change; it is made only if someone wants it.
    pub fn note(&mut self, change: impl FnOnce() -> Change) {
        if self.on {
            self.changes.push((self.index, change()));
        }
    }

    /// Takes the changes up to an index.
    pub fn take(&mut self, upto: u64) -> Vec<Change> {
        self.changes.extract_if(.., |(index, _)| *index <= upto).map(|(_, change)| change).collect()
    }

    /// Another store took the place of this one: what was noted is of no interest.
    pub fn replace(&mut self) {
        self.changes.clear();
        self.replaced = self.on;
    }

    /// Whether that happened since it was asked last.
    pub fn take_replaced(&mut self) -> bool {
        std::mem::take(&mut self.replaced)
    }
}
