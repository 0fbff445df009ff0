//! Keys and their versions: what every key held at every revision from the compacted one on, and which keys each revision wrote.
//!
//! Invariant: a key's versions stand in order of revision. Writes of one key conflict, hence arrive in order, although
//! revisions of different keys may arrive in any.
//!
//! A compaction to revision r keeps all that reads as of r or later, and watches from r on, need: of each key the version that was live
//! at r and everything after it, a deletion at r itself included. What a key held before a write at r is gone: an event of revision r then has
//! no previous pair.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Bound;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use mutants::Mutant;

use crate::conflict::Keys;
use crate::{Bytes, Change, Held, KeyValue, LEASE_NONE, LeaseId};

/// What a key held from a revision on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Version {
    pub mod_revision: u64,
    pub create_revision: u64,
    /// 0 if the key is deleted.
    pub version: u64,
    /// `None` if the key is deleted.
    pub value: Option<Bytes>,
    /// The lease the key is attached to; 0 if none.
    pub lease: LeaseId,
    /// The live key's part of the state hash; 0 if it is deleted.
    pub hash: u64,
}

impl Version {
    /// The version a put makes, on top of the live version before it.
    pub fn put(key: &Bytes, value: &Bytes, lease: LeaseId, revision: u64, before: Option<&Version>) -> Version {
        let (create_revision, version) = before.map_or((revision, 1), |b| (b.create_revision, b.version + 1));
        let hash = hash(key, value, lease, create_revision, revision, version);
        Version { mod_revision: revision, create_revision, version, value: Some(value.clone()), lease, hash }
    }

    /// The version a delete makes.
    pub fn deleted(revision: u64) -> Version {
        Version { mod_revision: revision, create_revision: 0, version: 0, value: None, lease: LEASE_NONE, hash: 0 }
    }

    /// The version that was kept as `held`.
    fn restored(key: &Bytes, held: Held) -> Version {
        let Held { mod_revision, create_revision, version, value, lease } = held;
        let hash = value.as_ref().map_or(0, |value| hash(key, value, lease, create_revision, mod_revision, version));
        Version { mod_revision, create_revision, version, value, lease, hash }
    }

    pub fn is_live(&self) -> bool {
        self.value.is_some()
    }

    /// The pair a client sees; `None` if the key is deleted.
    pub fn key_value(&self, key: &Bytes) -> Option<KeyValue> {
        let Version { mod_revision, create_revision, version, lease, ref value, .. } = *self;
        value.as_ref().map(|value| KeyValue { key: key.clone(), value: value.clone(), create_revision, mod_revision, version, lease })
    }
}

/// Fixed-width parts have a hash of their own, which seeds the key's, which seeds the value's: no two different pairs are the same
/// bytes, and nothing is copied.
fn hash(key: &Bytes, value: &Bytes, lease: LeaseId, create_revision: u64, mod_revision: u64, version: u64) -> u64 {
    let mut numbers = [0; 24];
    for (bytes, number) in numbers.chunks_exact_mut(8).zip([create_revision, mod_revision, version]) {
        bytes.copy_from_slice(&number.to_le_bytes());
    }
    let seed = xxh3_64_with_seed(&numbers, lease.cast_unsigned());
    xxh3_64_with_seed(value.as_slice(), xxh3_64_with_seed(key.as_slice(), seed))
}

/// Every version of every key, as far as it is not compacted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct History {
    keys: BTreeMap<Bytes, Vec<Version>>,
    /// The keys that each revision wrote, in the order in which its request wrote them.
    changes: BTreeMap<u64, Vec<Bytes>>,
    /// The revision compacted to; 0 if never.
    compacted: u64,
}

impl History {
    /// The version of `key` that was live at `revision`.
    pub fn get(&self, key: &Bytes, revision: u64) -> Option<&Version> {
        at(self.keys.get(key)?, revision).filter(|v| v.is_live())
    }

    /// Keys in `range` that were live at `revision`, in order.
    pub fn range<'a>(&'a self, keys: Keys<'a>, revision: u64) -> impl Iterator<Item = (&'a Bytes, &'a Version)> {
        let keys = self.keys.range::<Bytes, _>(bounds(keys));
        keys.filter_map(move |(key, versions)| Some((key, at(versions, revision).filter(|v| v.is_live())?)))
    }

    /// Every live key with its latest version.
    pub fn live(&self) -> impl Iterator<Item = (&Bytes, &Version)> {
        self.keys.iter().filter_map(|(key, versions)| Some((key, versions.last().filter(|v| v.is_live())?)))
    }

    /// How many keys a revision wrote.
    pub fn written_count(&self, revision: u64) -> usize {
        self.changes.get(&revision).map_or(0, Vec::len)
    }

    /// All versions, and all that revisions wrote, as changes of nothing.
    pub fn rows(&self) -> impl Iterator<Item = Change> {
        let compacted = (self.compacted > 0).then_some(Change::Compacted(self.compacted));
        let held = |(key, versions): (&Bytes, &Vec<Version>)| {
            let key = key.clone();
            versions.iter().map(move |version| Change::Version { key: key.clone(), held: version.into() }).collect::<Vec<_>>()
        };
        let wrote = |(&revision, keys): (&u64, &Vec<Bytes>)| {
            let keys = keys.iter().zip(0..);
            keys.map(|(key, place)| Change::Wrote { revision, place, key: key.clone() }).collect::<Vec<_>>()
        };
        compacted.into_iter().chain(self.keys.iter().flat_map(held)).chain(self.changes.iter().flat_map(wrote))
    }

    /// A row comes back: each key's in order of revisions, each revision's in order of places, and a compaction before both.
    pub fn restore(&mut self, change: Change) -> Result<(), String> {
        match change {
            Change::Compacted(revision) => self.compacted = revision,
            Change::Version { key, held } => {
                let version = Version::restored(&key, held);
                let versions = self.keys.entry(key).or_default();
                if versions.last().is_some_and(|last| last.mod_revision >= version.mod_revision) {
                    return Err(format!("a key's revision {} does not come last", version.mod_revision));
                }
                versions.push(version);
            }
            Change::Wrote { revision, place, key } => {
                let keys = self.changes.entry(revision).or_default();
                if place != keys.len() as u64 || !self.keys.contains_key(&key) {
                    return Err(format!("write {place} of revision {revision} does not fit"));
                }
                keys.push(key);
            }
            other => return Err(format!("no row: {other:?}")),
        }
        Ok(())
    }

    /// What a revision wrote, in the order in which its request did. Complete from [`compacted`](Self::compacted) on.
    pub fn written_at(&self, revision: u64) -> impl Iterator<Item = (&Bytes, &Version)> {
        let keys = self.changes.get(&revision).into_iter().flatten();
        keys.filter_map(move |key| Some((key, at(self.keys.get(key)?, revision)?)))
    }

    /// The keys written after a revision, as often as they were.
    pub fn written_after(&self, revision: u64) -> impl Iterator<Item = &Bytes> {
        self.changes.range(revision + 1..).flat_map(|(_, keys)| keys)
    }

    /// The revision compacted to; 0 if never.
    pub fn compacted(&self) -> u64 {
        self.compacted
    }

    /// Adds a version, and returns how the sum of all live hashes changes.
    pub fn push(&mut self, key: Bytes, version: Version) -> u64 {
        let added = version.hash;
        let versions = self.keys.entry(key.clone()).or_default();
        let last = versions.last();
        let removed = last.map_or(0, |last| {
            assert!(last.mod_revision <= version.mod_revision, "revision {} after {}", version.mod_revision, last.mod_revision);
            last.hash
        });
        if last.is_none_or(|last| last.mod_revision != version.mod_revision) {
            self.changes.entry(version.mod_revision).or_default().push(key);
        }
        versions.push(version);
        added.wrapping_sub(removed)
    }

    /// Forgets what keys held before `revision`, and returns how the hash changes. Live keys keep theirs. `dropped` is told what goes.
    pub fn compact(&mut self, revision: u64, mut dropped: impl FnMut(&Bytes, u64)) -> u64 {
        let before = self.compaction_hash();
        self.keys.retain(|key, versions| {
            let after = versions.partition_point(|v| v.mod_revision <= revision);
            let kept = |v: &Version| v.is_live() || (v.mod_revision == revision && !mutants::on(Mutant::WatchCompactedDelete));
            let first = after.checked_sub(1).filter(|&i| kept(&versions[i])).unwrap_or(after);
            versions.drain(..first).for_each(|version| dropped(key, version.mod_revision));
            !versions.is_empty()
        });
        self.changes = self.changes.split_off(&revision);
        self.compacted = revision;
        self.compaction_hash().wrapping_sub(before)
    }

    /// The sum of all hashes, recomputed.
    pub fn hash(&self) -> u64 {
        let live = self.live().filter_map(|(key, version)| version.key_value(key));
        live.fold(self.compaction_hash(), |sum, kv| sum.wrapping_add(hash_of(&kv)))
    }

    fn compaction_hash(&self) -> u64 {
        if self.compacted == 0 { 0 } else { xxh3_64_with_seed(&self.compacted.to_le_bytes(), 3) }
    }
}

/// A range of keys as the collections of std take it.
pub(crate) fn bounds((key, end): Keys<'_>) -> (Bound<&Bytes>, Bound<&Bytes>) {
    let upper = match end {
        None => Bound::Included(key),
        Some(end) if is_unbounded(end) => Bound::Unbounded,
        // BTreeMap panics on a reversed range.
        Some(end) => Bound::Excluded(end.max(key)),
    };
    // `Included(key)..Excluded(key)` is empty, as it should be.
    (Bound::Included(key), upper)
}

/// etcd's word for "no end": a range end of one zero byte.
pub(crate) fn is_unbounded(range_end: &Bytes) -> bool {
    range_end.as_slice() == [0]
}

/// The latest version up to a revision, be it a deletion.
fn at(versions: &[Version], revision: u64) -> Option<&Version> {
    // Almost always the latest is asked for.
    let last = versions.last()?;
    if last.mod_revision <= revision {
        return Some(last);
    }
    Some(&versions[versions.partition_point(|v| v.mod_revision <= revision).checked_sub(1)?])
}

/// The hash of one pair, recomputed.
fn hash_of(kv: &KeyValue) -> u64 {
    hash(&kv.key, &kv.value, kv.lease, kv.create_revision, kv.mod_revision, kv.version)
}
