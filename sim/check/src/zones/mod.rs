//! L2: are the values of one key those of one register? By zones, without a search (Gibbons and Korach, "Testing Shared Memories", SIAM
//! Journal on Computing 26(4), 1997), in n log n.
//!
//! Where every value is written once, a read names its write, and the operations of one value form a *block*: in any order of the operations
//! nothing else comes between them. Block A must stand before B if an operation of A is answered before one of B is invoked, that is, if A's
//! first answer is earlier than B's last invocation. Two blocks that must each stand before the other contradict each other; if no two do,
//! there is an order. An operation that reads one value and writes the next (a compare-and-put) ties two blocks into a *chain*, which is one
//! block again once the order within it is right.
//!
//! A value written more than once, or a key that is absent again after a delete, does not name its write. What reads it stands alone then:
//! it is still outside every other block, so that a contradiction is one, but the lack of any is no proof ([`Zones::Undecided`]).
//!
//! - Here: one key. `project`: what each operation of a history says of each key, and the judgement.
//!
//! Deliberately absent: versions, leases, and that an operation on several keys is one ([`crate::search`] has them).

mod project;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::model::NEVER;

pub(crate) use project::{of_kv, of_register};

/// What one operation says of one key. `None` for a value is none: the key is absent.
#[derive(Clone, Debug)]
pub(crate) struct Touch<V> {
    /// The operation, by its place in the caller's list.
    pub op: usize,
    /// When it was invoked.
    pub invoke: u64,
    /// When it was answered; [`NEVER`] for one that may not have happened. Such a one has happened if what it writes was read.
    pub end: u64,
    /// What it found, if it says.
    pub reads: Option<Option<V>>,
    /// What it left, if it wrote.
    pub writes: Option<Option<V>>,
    /// Whether it may have deleted the key, without our knowing.
    pub may_delete: bool,
    /// Whether it says more of the key than these fields do.
    pub says_more: bool,
}

impl<V> Touch<V> {
    fn is_answered(&self) -> bool {
        self.end != NEVER
    }

    fn may_make_absent(&self) -> bool {
        self.may_delete || matches!(self.writes, Some(None))
    }
}

/// What the zones of a key say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Zones<V> {
    /// There is an order that explains everything said of it.
    Linearizable,
    /// Nothing contradicts anything, which proves nothing.
    Undecided,
    /// There is none.
    Illegal(Contradiction<V>),
}

/// Why there is no order. Operations by their places in the caller's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Contradiction<V> {
    /// Nobody wrote what was read. `seen`: the answer that says that the reader took effect, if it was not answered itself.
    Unwritten { read: usize, value: V, seen: Option<usize> },
    /// It was read before it was written.
    Early { read: usize, write: usize, value: V },
    /// Two operations found the same value, and each put another in its place.
    Twice { value: Option<V>, ops: [usize; 2] },
    /// Each found what another of them left, all the way round.
    Circle { ops: Vec<usize> },
    /// One value was put in another's place, but seen before that one was seen for the last time.
    Disorder { first: Option<V>, then: Option<V>, seen: usize, still: usize },
    /// It held the one value from the answer of `from` (none: from the beginning) to the invocation of `until`, and yet what `others` say was
    /// so in between.
    Torn { from: (Option<V>, Option<usize>), until: (Option<V>, usize), others: [usize; 2] },
}

/// Operations between which nothing else comes.
struct Block<V> {
    /// What the key held all the while; `None`: what some operation found or left that has no name.
    value: Option<Option<V>>,
    /// The first answer, and whose.
    first_end: (u64, Option<usize>),
    /// The last invocation, and whose.
    last_invoke: (u64, Option<usize>),
    /// The block that must follow at once, and by which operation.
    next: Option<(usize, usize)>,
    follows: bool,
    /// Whether it is a lone finding of nothing, which may have been of the first absence after all.
    is_absence: bool,
}

impl<V> Block<V> {
    fn new(value: Option<Option<V>>) -> Self {
        Block { value, first_end: (u64::MAX, None), last_invoke: (0, None), next: None, follows: false, is_absence: false }
    }

    /// Instants count from 1: at 0 the key is absent.
    fn take<W>(&mut self, touch: &Touch<W>) {
        let (end, invoke) = (touch.end.saturating_add(1), touch.invoke.saturating_add(1));
        if end < self.first_end.0 || self.first_end.1.is_none() && self.first_end.0 != 0 {
            self.first_end = (end, Some(touch.op));
        }
        if invoke > self.last_invoke.0 {
            self.last_invoke = (invoke, Some(touch.op));
        }
    }
}

/// The block of the key's first absence.
const FIRST: usize = 0;

/// Judges one key.
pub(crate) fn zones<V: Ord + Clone>(touches: &[Touch<V>]) -> Zones<V> {
    match Key::new(touches).judge() {
        Err(contradiction) => Zones::Illegal(contradiction),
        Ok(true) => Zones::Linearizable,
        Ok(false) => Zones::Undecided,
    }
}

struct Key<'a, V> {
    touches: &'a [Touch<V>],
    /// Who may have written each value.
    writers: BTreeMap<&'a V, Vec<usize>>,
    /// When the first operation was invoked that may have made it absent again.
    first_delete: Option<u64>,
    blocks: Vec<Block<V>>,
    /// The block of each value that is written once.
    block_of: BTreeMap<&'a V, usize>,
    /// Whether the lack of a contradiction is a proof.
    proves: bool,
}

/// What an operation found or left.
enum Place {
    /// In a block.
    Block(usize),
    /// It has no name.
    Nameless,
}

impl<'a, V: Ord + Clone> Key<'a, V> {
    fn new(touches: &'a [Touch<V>]) -> Self {
        let mut writers: BTreeMap<&V, Vec<usize>> = BTreeMap::new();
        for (i, touch) in touches.iter().enumerate() {
            if let Some(value) = written(touch) {
                writers.entry(value).or_default().push(i);
            }
        }
        let first_delete = touches.iter().filter(|touch| touch.may_make_absent()).map(|touch| touch.invoke).min();
        let mut first = Block::new(Some(None));
        first.first_end = (0, None);
        let proves = !touches.iter().any(|touch| touch.says_more);
        Key { touches, writers, first_delete, blocks: vec![first], block_of: BTreeMap::new(), proves }
    }

    /// Whether there surely is an order, if nothing contradicts.
    fn judge(mut self) -> Result<bool, Contradiction<V>> {
        for (i, seen) in self.happened() {
            self.place(i, seen)?;
        }
        let chains = self.chains()?;
        between(&chains)?;
        Ok(self.proves)
    }

    /// What was answered, and what wrote a value that one of these read: with the answer that says so.
    fn happened(&self) -> Vec<(usize, Option<usize>)> {
        let answered = (0..self.touches.len()).filter(|&i| self.touches[i].is_answered());
        let mut happened: Vec<(usize, Option<usize>)> = answered.map(|i| (i, None)).collect();
        let mut is_in: Vec<bool> = self.touches.iter().map(Touch::is_answered).collect();
        let mut at = 0;
        while let Some(&(i, seen)) = happened.get(at) {
            at += 1;
            let Some(Some(value)) = &self.touches[i].reads else { continue };
            if let Some(&[writer]) = self.writers.get(value).map(Vec::as_slice)
                && !std::mem::replace(&mut is_in[writer], true)
            {
                happened.push((writer, Some(seen.unwrap_or(self.touches[i].op))));
            }
        }
        happened
    }

    /// Puts an operation into the block it read from, and the one it made.
    fn place(&mut self, i: usize, seen: Option<usize>) -> Result<(), Contradiction<V>> {
        let touch = &self.touches[i];
        let read = match &touch.reads {
            None => None,
            Some(None) if self.first_delete.is_none_or(|delete| touch.end < delete) => Some(Place::Block(FIRST)),
            Some(None) => Some(Place::Nameless),
            Some(Some(value)) => match self.writers.get(value).map(Vec::as_slice) {
                None => return Err(Contradiction::Unwritten { read: touch.op, value: value.clone(), seen }),
                Some(&[writer]) if touch.end < self.touches[writer].invoke => {
                    return Err(Contradiction::Early { read: touch.op, write: self.touches[writer].op, value: value.clone() });
                }
                Some([_]) => Some(Place::Block(self.named(value))),
                Some(_) => Some(Place::Nameless),
            },
        };
        self.proves &= !matches!(read, Some(Place::Nameless));
        let wrote = match (&touch.writes, written(touch)) {
            (_, Some(value)) if self.writers[value].len() == 1 => Some(Place::Block(self.named(value))),
            (Some(None), _) | (_, Some(_)) => Some(Place::Nameless),
            _ => None,
        };
        let mut nameless = None;
        for place in [&read, &wrote].into_iter().flatten() {
            let block = match place {
                Place::Block(block) => *block,
                Place::Nameless => *nameless.get_or_insert_with(|| {
                    self.blocks.push(Block::new(None));
                    self.blocks.len() - 1
                }),
            };
            self.blocks[block].take(touch);
        }
        if let (Some(alone), None) = (nameless, &wrote) {
            self.blocks[alone].is_absence = touch.reads == Some(None);
        }
        let (Some(Place::Block(from)), Some(wrote)) = (read, wrote) else { return Ok(()) };
        let to = match wrote {
            Place::Block(block) => block,
            Place::Nameless => nameless.expect("it was made just now"),
        };
        if let Some((_, other)) = self.blocks[from].next {
            let value = self.blocks[from].value.clone().unwrap_or_default();
            return Err(Contradiction::Twice { value, ops: [self.touches[other].op, touch.op] });
        }
        self.blocks[from].next = Some((to, i));
        self.blocks[to].follows = true;
        Ok(())
    }

    fn named(&mut self, value: &'a V) -> usize {
        *self.block_of.entry(value).or_insert_with(|| {
            self.blocks.push(Block::new(Some(Some(value.clone()))));
            self.blocks.len() - 1
        })
    }

    /// Each chain as one block.
    fn chains(&self) -> Result<Vec<Chain<V>>, Contradiction<V>> {
        let mut seen = vec![false; self.blocks.len()];
        let mut chains = Vec::new();
        for head in (0..self.blocks.len()).filter(|&b| !self.blocks[b].follows) {
            let mut blocks = vec![head];
            while let Some((next, _)) = self.blocks[blocks[blocks.len() - 1]].next {
                blocks.push(next);
            }
            blocks.iter().for_each(|&block| seen[block] = true);
            chains.push(self.chain(&blocks)?);
        }
        let Some(begin) = seen.iter().position(|seen| !seen) else { return Ok(chains) };
        let mut ops = Vec::new();
        let mut block = begin;
        while let Some((next, by)) = self.blocks[block].next {
            ops.push(self.touches[by].op);
            block = next;
            if block == begin {
                break;
            }
        }
        Err(Contradiction::Circle { ops })
    }

    /// One chain, unless its blocks are in disorder.
    fn chain(&self, blocks: &[usize]) -> Result<Chain<V>, Contradiction<V>> {
        let value = |block: usize| self.blocks[block].value.clone().flatten();
        let last = blocks[blocks.len() - 1];
        let mut chain = Chain {
            first_end: self.blocks[last].first_end,
            at_first: value(last),
            last_invoke: self.blocks[last].last_invoke,
            at_last: value(last),
            after_first: None,
            is_absence: self.blocks[last].is_absence,
        };
        for &block in blocks.iter().rev().skip(1) {
            let Block { first_end, last_invoke, .. } = self.blocks[block];
            if let (true, Some(seen), Some(still)) = (chain.first_end.0 < last_invoke.0, chain.first_end.1, last_invoke.1) {
                return Err(Contradiction::Disorder { first: value(block), then: chain.at_first, seen, still });
            }
            if block == FIRST {
                chain.after_first = Some(chain.first_end.0);
            }
            // An operation that is in two blocks finds the one value when it is invoked, and has left the other when it is answered.
            if first_end.0 < chain.first_end.0 {
                (chain.first_end, chain.at_first) = (first_end, value(block));
            }
            if last_invoke.0 >= chain.last_invoke.0 {
                (chain.last_invoke, chain.at_last) = (last_invoke, value(block));
            }
        }
        Ok(chain)
    }
}

/// Blocks that follow each other at once.
struct Chain<V> {
    first_end: (u64, Option<usize>),
    /// What the key held where the first answer is.
    at_first: Option<V>,
    last_invoke: (u64, Option<usize>),
    /// And where the last invocation is.
    at_last: Option<V>,
    /// The first answer that is not of the key's first absence, if it begins with that.
    after_first: Option<u64>,
    is_absence: bool,
}

impl<V: Clone> Chain<V> {
    /// From its first answer to its last invocation the key was surely in it, if that is a time at all (a *forward zone*).
    fn holds(&self) -> bool {
        self.first_end.0 < self.last_invoke.0
    }

    /// A lone absence may be part of the first one, and need not come after it.
    fn must_precede(&self, other: &Self) -> bool {
        let first_end = self.after_first.filter(|_| other.is_absence).unwrap_or(self.first_end.0);
        first_end < other.last_invoke.0
    }

    fn torn_by(&self, other: &Self) -> Contradiction<V> {
        let whose = |(_, op): (u64, Option<usize>)| op.unwrap_or_default();
        Contradiction::Torn {
            from: (self.at_first.clone(), self.first_end.1),
            until: (self.at_last.clone(), whose(self.last_invoke)),
            others: [whose(other.last_invoke), whose(other.first_end)],
        }
    }
}

/// No two chains may each have to precede the other. Of two that do at least one is a forward zone; so these must not overlap, and none may
/// hold another chain's whole time. (Only the earliest may begin with the first absence.)
fn between<V: Clone>(chains: &[Chain<V>]) -> Result<(), Contradiction<V>> {
    let (mut forward, backward): (Vec<_>, Vec<_>) = chains.iter().partition(|chain| chain.holds());
    forward.sort_by_key(|chain| chain.first_end.0);
    for pair in forward.windows(2) {
        // The earlier one's zone is the one that can be named: it may be the first absence, which no operation made.
        if pair[1].must_precede(pair[0]) {
            return Err(pair[0].torn_by(pair[1]));
        }
    }
    for chain in backward {
        let before = forward.partition_point(|zone| zone.first_end.0 < chain.last_invoke.0);
        if let Some(zone) = before.checked_sub(1).map(|at| forward[at])
            && zone.must_precede(chain)
            && chain.must_precede(zone)
        {
            return Err(zone.torn_by(chain));
        }
    }
    Ok(())
}

/// The value an operation wrote; one that leaves the value it found has not written.
fn written<V: PartialEq>(touch: &Touch<V>) -> Option<&V> {
    match &touch.writes {
        Some(Some(value)) if !matches!(&touch.reads, Some(Some(found)) if found == value) => Some(value),
        _ => None,
    }
}
