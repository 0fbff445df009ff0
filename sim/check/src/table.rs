//! The search's memory: states as small numbers, transitions computed once, configurations that are known to fail.
//!
//! Open addressing with a fixed mixing function: the same search does the same steps in every process. Nothing is ever removed.

use std::hash::{Hash, Hasher};

const EMPTY: u32 = u32::MAX;

/// A fast hash for tables that no adversary fills: multiply and rotate (the idea of rustc's FxHash), finished by a fold.
#[derive(Default)]
struct Mix(u64);

const K: u64 = 0x9E37_79B9_7F4A_7C15;

impl Mix {
    fn word(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(K);
    }
}

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
    }
    fn write_u8(&mut self, n: u8) {
        self.word(n.into());
    }
    fn write_u32(&mut self, n: u32) {
        self.word(n.into());
    }
    fn write_u64(&mut self, n: u64) {
        self.word(n);
    }
    fn write_usize(&mut self, n: usize) {
        self.word(n as u64);
    }
    fn finish(&self) -> u64 {
        (self.0 ^ (self.0 >> 32)).wrapping_mul(K)
    }
}

/// Slots that hold numbers of entries kept elsewhere. At most half full.
struct Slots {
    slots: Vec<u32>,
    used: usize,
}

impl Slots {
    fn new() -> Self {
        Slots { slots: vec![EMPTY; 64], used: 0 }
    }

    /// The entry with this hash that `is` accepts, or the slot where it belongs.
    fn find(&self, hash: u64, mut is: impl FnMut(u32) -> bool) -> Result<u32, usize> {
        let mask = self.slots.len() - 1;
        let mut at = (hash >> 20) as usize & mask;
        loop {
            match self.slots[at] {
                EMPTY => return Err(at),
                entry if is(entry) => return Ok(entry),
                _ => at = (at + 1) & mask,
            }
        }
    }

    fn fill(&mut self, slot: usize, entry: u32, hash_of: impl Fn(u32) -> u64) {
        self.slots[slot] = entry;
        self.used += 1;
        if 2 * self.used > self.slots.len() {
            let mask = 2 * self.slots.len() - 1;
            let old = std::mem::replace(&mut self.slots, vec![EMPTY; mask + 1]);
            for entry in old.into_iter().filter(|&e| e != EMPTY) {
                let mut at = (hash_of(entry) >> 20) as usize & mask;
                while self.slots[at] != EMPTY {
                    at = (at + 1) & mask;
                }
                self.slots[at] = entry;
            }
        }
    }
}

/// States, each kept once and known by its number.
pub(crate) struct Interner<S> {
    states: Vec<S>,
    hashes: Vec<u64>,
    slots: Slots,
}

impl<S: Hash + Eq> Interner<S> {
    pub(crate) fn new() -> Self {
        Interner { states: Vec::new(), hashes: Vec::new(), slots: Slots::new() }
    }

    pub(crate) fn get(&self, id: u32) -> &S {
        &self.states[id as usize]
    }

    pub(crate) fn intern(&mut self, state: S) -> u32 {
        let mut mix = Mix::default();
        state.hash(&mut mix);
        let hash = mix.finish();
        match self.slots.find(hash, |e| self.hashes[e as usize] == hash && self.states[e as usize] == state) {
            Ok(id) => id,
            Err(slot) => {
                let id = self.states.len() as u32;
                self.states.push(state);
                self.hashes.push(hash);
                self.slots.fill(slot, id, |e| self.hashes[e as usize]);
                id
            }
        }
    }
}

/// What each operation does to each state, computed once. `None`: it does not answer so there.
pub(crate) struct Transitions {
    entries: Vec<(u64, u32)>,
    slots: Slots,
}

impl Transitions {
    pub(crate) fn new() -> Self {
        Transitions { entries: Vec::new(), slots: Slots::new() }
    }

    pub(crate) fn get_or(&mut self, state: u32, op: u32, compute: impl FnOnce() -> Option<u32>) -> Option<u32> {
        let key = u64::from(state) << 32 | u64::from(op);
        let hash = hash_words(&[key]);
        let found = self.slots.find(hash, |e| self.entries[e as usize].0 == key);
        let next = match found {
            Ok(entry) => self.entries[entry as usize].1,
            Err(slot) => {
                let next = compute().unwrap_or(EMPTY);
                self.entries.push((key, next));
                self.slots.fill(slot, self.entries.len() as u32 - 1, |e| hash_words(&[self.entries[e as usize].0]));
                next
            }
        };
        (next != EMPTY).then_some(next)
    }
}

/// How many of the latest configurations of a key are compared with a new one. All would be better pruning, but a long list
/// costs more than it saves.
const COMPARED_MAX: usize = 32;

/// Configurations that were looked at. One is (key words, set): the same key with a subset of the set is at least as good, so
/// whoever comes with a superset need not be looked at again.
pub(crate) struct Seen {
    key_words: usize,
    set_words: usize,
    /// Entry e: key, set, and the number of the entry of the same key before it.
    arena: Vec<u64>,
    count: u32,
    /// Every entry, by key and set.
    exact: Slots,
    /// For each key a number in `latest`.
    keys: Slots,
    /// The latest entry of each key.
    latest: Vec<u32>,
}

impl Seen {
    pub(crate) fn new(key_words: usize, set_words: usize) -> Self {
        Seen { key_words, set_words, arena: Vec::new(), count: 0, exact: Slots::new(), keys: Slots::new(), latest: Vec::new() }
    }

    /// Remembers the configuration, given as key followed by set; false if a known one is as good.
    pub(crate) fn insert(&mut self, config: &[u64]) -> bool {
        let (words, stride, entry) = (self.key_words, config.len() + 1, self.count);
        let (key, set) = config.split_at(words);
        let arena = &self.arena;
        let Err(exact) = self.exact.find(hash_words(config), |e| arena[e as usize * stride..][..stride - 1] == *config) else {
            return false;
        };
        let is_key = |k: u32| arena[self.latest[k as usize] as usize * stride..][..words] == *key;
        let known_key = self.keys.find(hash_words(key), is_key);
        let before = known_key.map_or(EMPTY, |k| self.latest[k as usize]);
        let mut next = before;
        for _ in 0..COMPARED_MAX {
            if next == EMPTY {
                break;
            }
            let known = &arena[next as usize * stride + words..][..self.set_words + 1];
            if known.iter().zip(set).all(|(known, set)| known & !set == 0) {
                return false;
            }
            next = known[self.set_words] as u32;
        }
        self.arena.extend_from_slice(config);
        self.arena.push(u64::from(before));
        let arena = &self.arena;
        self.exact.fill(exact, entry, |e| hash_words(&arena[e as usize * stride..][..stride - 1]));
        match known_key {
            Ok(k) => self.latest[k as usize] = entry,
            Err(slot) => {
                self.latest.push(entry);
                let latest = &self.latest;
                let hash_of = |k: u32| hash_words(&arena[latest[k as usize] as usize * stride..][..words]);
                self.keys.fill(slot, latest.len() as u32 - 1, hash_of);
            }
        }
        self.count += 1;
        true
    }
}

fn hash_words(words: &[u64]) -> u64 {
    let mut mix = Mix::default();
    words.iter().for_each(|&word| mix.word(word));
    mix.finish()
}
