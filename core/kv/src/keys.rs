//! Sets of keys made of very many ranges, for what would otherwise hold every range against every other.

use std::collections::{BTreeMap, BTreeSet};

use crate::Bytes;
use crate::conflict::{Keys, overlap};
use crate::history::is_unbounded;

/// Where a range of keys ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Upto<'a> {
    /// It has no end: the rest says nothing.
    unbounded: bool,
    key: &'a Bytes,
    /// The key is in the range, as the last one.
    included: bool,
}

impl Upto<'_> {
    /// Whether the key lies before the end.
    fn reaches(self, key: &Bytes) -> bool {
        self.unbounded || key < self.key || (self.included && key == self.key)
    }
}

/// The keys in some ranges: ranges without a key in common, from the first key of each to its end.
#[derive(Default)]
pub(crate) struct KeySet<'a>(BTreeMap<&'a Bytes, Upto<'a>>);

impl<'a> KeySet<'a> {
    /// Those of one range.
    pub fn of(keys: Keys<'a>) -> Self {
        let mut set = KeySet::default();
        set.insert(keys);
        set
    }

    pub fn insert(&mut self, keys: Keys<'a>) {
        if overlap(keys, keys) {
            let (from, end) = keys;
            self.add(from, Upto { unbounded: end.is_some_and(is_unbounded), key: end.unwrap_or(from), included: end.is_none() });
        }
    }

    /// Adds those of another: the fewer ranges to the more.
    pub fn extend(&mut self, mut other: KeySet<'a>) {
        if self.0.len() < other.0.len() {
            std::mem::swap(self, &mut other);
        }
        other.0.into_iter().for_each(|(from, upto)| self.add(from, upto));
    }

    /// Adds a range, which is not empty, and makes one of all that it overlaps.
    fn add(&mut self, mut from: &'a Bytes, mut upto: Upto<'a>) {
        if let Some((&before, &end)) = self.0.range::<&Bytes, _>(..=from).next_back().filter(|(_, end)| end.reaches(from)) {
            (from, upto) = (before, upto.max(end));
        }
        while let Some((&next, &end)) = self.0.range::<&Bytes, _>(from..).next().filter(|(next, _)| upto.reaches(next)) {
            self.0.remove(next);
            upto = upto.max(end);
        }
        self.0.insert(from, upto);
    }

    /// Whether some key is in both.
    pub fn meets(&self, other: &KeySet<'_>) -> bool {
        let (few, many) = if self.0.len() < other.0.len() { (&self.0, &other.0) } else { (&other.0, &self.0) };
        few.iter().any(|(from, upto)| {
            let before = many.range::<&Bytes, _>(..=from).next_back();
            let after = many.range::<&Bytes, _>(from..).next();
            before.is_some_and(|(_, end)| end.reaches(from)) || after.is_some_and(|(next, _)| upto.reaches(next))
        })
    }

    /// Whether some of the keys are in it.
    pub fn has_one_of(&self, keys: &BTreeSet<&Bytes>) -> bool {
        if keys.len() < self.0.len() {
            let is_in = |key: &Bytes| self.0.range::<&Bytes, _>(..=key).next_back().is_some_and(|(_, upto)| upto.reaches(key));
            keys.iter().any(|key| is_in(key))
        } else {
            self.0.iter().any(|(from, upto)| keys.range::<&Bytes, _>(from..).next().is_some_and(|key| upto.reaches(key)))
        }
    }
}
