//! Keys and their versions: what every key held at every revision.
//!
//! Invariant: a key's versions stand in order of revision. Writes of one key conflict, hence arrive in order, although
//! revisions of different keys may arrive in any. Nothing is forgotten: there is no compaction yet.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Bound;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::conflict::Keys;
use crate::{Bytes, KeyValue};

/// What a key held from a revision on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Version {
    pub mod_revision: u64,
    pub create_revision: u64,
    /// 0 if the key is deleted.
    pub version: u64,
    /// `None` if the key is deleted.
    pub value: Option<Bytes>,
    /// The live key's part of the state hash; 0 if it is deleted.
    pub hash: u64,
}

impl Version {
    /// The version a put makes, on top of the live version before it.
    pub fn put(key: &Bytes, value: &Bytes, revision: u64, before: Option<&Version>) -> Version {
        let (create_revision, version) = before.map_or((revision, 1), |b| (b.create_revision, b.version + 1));
        let hash = hash(key, value, create_revision, revision, version);
        Version { mod_revision: revision, create_revision, version, value: Some(value.clone()), hash }
    }

    /// The version a delete makes.
    pub fn deleted(revision: u64) -> Version {
        Version { mod_revision: revision, create_revision: 0, version: 0, value: None, hash: 0 }
    }

    pub fn is_live(&self) -> bool {
        self.value.is_some()
    }

    /// The pair a client sees; `None` if the key is deleted.
    pub fn key_value(&self, key: &Bytes) -> Option<KeyValue> {
        let Version { mod_revision, create_revision, version, ref value, .. } = *self;
        value.as_ref().map(|value| KeyValue { key: key.clone(), value: value.clone(), create_revision, mod_revision, version })
    }
}

/// Fixed-width parts have a hash of their own, which seeds the key's, which seeds the value's: no two different pairs are the same
/// bytes, and nothing is copied.
fn hash(key: &Bytes, value: &Bytes, create_revision: u64, mod_revision: u64, version: u64) -> u64 {
    let mut numbers = [0; 24];
    for (bytes, number) in numbers.chunks_exact_mut(8).zip([create_revision, mod_revision, version]) {
        bytes.copy_from_slice(&number.to_le_bytes());
    }
    let seed = xxh3_64_with_seed(&numbers, 0);
    xxh3_64_with_seed(value.as_slice(), xxh3_64_with_seed(key.as_slice(), seed))
}

/// Every version of every key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct History {
    keys: BTreeMap<Bytes, Vec<Version>>,
}

impl History {
    /// The version of `key` that was live at `revision`.
    pub fn get(&self, key: &Bytes, revision: u64) -> Option<&Version> {
        at(self.keys.get(key)?, revision)
    }

    /// Keys in `range` that were live at `revision`, in order.
    pub fn range<'a>(&'a self, (key, end): Keys<'a>, revision: u64) -> impl Iterator<Item = (&'a Bytes, &'a Version)> {
        let upper = match end {
            None => Bound::Included(key),
            Some(end) if is_unbounded(end) => Bound::Unbounded,
            // BTreeMap panics on a reversed range.
            Some(end) => Bound::Excluded(end.max(key)),
        };
        // `Included(key)..Excluded(key)` is empty, as it should be.
        let keys = self.keys.range::<Bytes, _>((Bound::Included(key), upper));
        keys.filter_map(move |(key, versions)| Some((key, at(versions, revision)?)))
    }

    /// Every live key with its latest version.
    pub fn live(&self) -> impl Iterator<Item = (&Bytes, &Version)> {
        self.keys.iter().filter_map(|(key, versions)| Some((key, at(versions, u64::MAX)?)))
    }

    /// Adds a version, and returns how the sum of all live hashes changes.
    pub fn push(&mut self, key: Bytes, version: Version) -> u64 {
        let added = version.hash;
        let versions = self.keys.entry(key).or_default();
        let removed = versions.last().map_or(0, |last| {
            assert!(last.mod_revision <= version.mod_revision, "revision {} after {}", version.mod_revision, last.mod_revision);
            last.hash
        });
        versions.push(version);
        added.wrapping_sub(removed)
    }
}

/// etcd's word for "no end": a range end of one zero byte.
pub(crate) fn is_unbounded(range_end: &Bytes) -> bool {
    range_end.as_slice() == [0]
}

fn at(versions: &[Version], revision: u64) -> Option<&Version> {
    // Almost always the latest is asked for.
    let last = versions.last()?;
    let found = if last.mod_revision <= revision {
        last
    } else {
        &versions[versions.partition_point(|v| v.mod_revision <= revision).checked_sub(1)?]
    };
    found.is_live().then_some(found)
}

/// The hash of one pair, recomputed.
pub(crate) fn hash_of(kv: &KeyValue) -> u64 {
    hash(&kv.key, &kv.value, kv.create_revision, kv.mod_revision, kv.version)
}
