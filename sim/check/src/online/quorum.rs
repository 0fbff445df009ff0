//! The published numbers (PROTOCOL.md, Terms), and what an election could recover.
//!
//! Written a second time on purpose: a check that asked core/curp for its arithmetic would believe its mistakes.

use curp::{Index, Term};

/// A set of voters: bit i is the i-th voter of the header.
pub(super) type Set = u64;

/// Votes that elect, copies that commit.
pub(super) fn quorum(n: usize) -> usize {
    n / 2 + 1
}

/// Pools of a quorum that must hold a command for it to be recovered.
pub(super) fn recover(n: usize) -> usize {
    quorum(n) / 2 + 1
}

/// Voters, the leader among them, whose word completes a fast round.
pub(super) fn super_quorum(n: usize) -> usize {
    n - quorum(n) + recover(n)
}

/// Which elections are possible from what is on the disks.
///
/// A candidate wins with any quorum, itself included, none of which has a log more up to date. So all the quorums it can win with are the
/// subsets of one set, its `supporters`; a statement about each quorum needs no enumeration, only its worst case by counting.
/// A test compares that with the enumeration.
pub(super) struct Elections {
    last: Vec<Option<(Term, Index)>>,
    supporters: Vec<Set>,
}

impl Elections {
    /// `n` voters with empty logs.
    pub fn new(n: usize) -> Elections {
        let mut elections = Elections { last: vec![Some((0, 0)); n], supporters: vec![0; n] };
        elections.recompute();
        elections
    }

    /// The durable log of voter `i` ends with (last term, last index) now, or it would refuse to start (`None`).
    pub fn set(&mut self, i: usize, last: Option<(Term, Index)>) {
        if std::mem::replace(&mut self.last[i], last) != last {
            self.recompute();
        }
    }

    fn recompute(&mut self) {
        let n = self.last.len();
        for (w, supporters) in self.supporters.iter_mut().enumerate() {
            let last = self.last[w];
            let supports = |m: &usize| last.is_some() && self.last[*m].is_some() && self.last[*m] <= last;
            let set = (0..n).filter(supports).fold(0, |set: Set, m| set | 1 << m);
            *supporters = if (set.count_ones() as usize) < quorum(n) { 0 } else { set };
        }
    }

    /// Everyone who could win.
    pub fn winners(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.last.len()).filter(|&w| self.supporters[w] != 0)
    }

    /// Whether `w` could win.
    pub fn can_win(&self, w: usize) -> bool {
        self.supporters[w] != 0
    }

    /// A quorum that elects `w` and has the fewest members in `pools`.
    pub fn worst_quorum(&self, w: usize, pools: Set) -> Set {
        let mut chosen = 1 << w;
        let others = self.supporters[w] & !chosen;
        for candidates in [others & !pools, others & pools] {
            for m in (0..self.last.len()).filter(|m| candidates >> m & 1 == 1) {
                if (chosen.count_ones() as usize) < quorum(self.last.len()) {
                    chosen |= 1 << m;
                }
            }
        }
        chosen
    }

    /// Whether every quorum that elects `w` has `recover(n)` members in `pools`.
    pub fn always_recovers(&self, w: usize, pools: Set) -> bool {
        let own = pools >> w & 1;
        let without = (self.supporters[w] & !(1 << w) & !pools).count_ones() as usize;
        own as usize + (quorum(self.last.len()) - 1).saturating_sub(without) >= recover(self.last.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_protocol() {
        let table = [(1, 1, 1, 1), (2, 2, 2, 2), (3, 2, 2, 3), (4, 3, 2, 3), (5, 3, 2, 4), (6, 4, 3, 5), (7, 4, 3, 6), (9, 5, 3, 7)];
        for (n, q, r, s) in table {
            assert_eq!((quorum(n), recover(n), super_quorum(n)), (q, r, s), "{n} voters");
        }
    }

    #[test]
    fn a_super_quorum_meets_any_quorum_in_recover_and_two_recover_sets_meet() {
        for n in 1..=99 {
            assert!(super_quorum(n) + quorum(n) - n >= recover(n), "{n}");
            assert!(2 * recover(n) > quorum(n), "{n}");
            assert!(super_quorum(n) <= n, "{n}");
        }
    }

    /// All quorums, by bitmask, as CHECKS.md words it.
    fn enumerated(last: &[Option<(Term, Index)>], w: usize, pools: Set) -> (bool, bool) {
        let n = last.len();
        let quorums = (0..1u64 << n).filter(|q| q.count_ones() as usize == quorum(n) && q >> w & 1 == 1);
        let electing: Vec<_> = quorums.filter(|q| (0..n).all(|m| q >> m & 1 == 0 || last[m].is_some() && last[m] <= last[w])).collect();
        (!electing.is_empty(), electing.iter().all(|q| (q & pools).count_ones() as usize >= recover(n)))
    }

    #[test]
    fn counting_equals_enumerating() {
        let mut x = 0x9e37_79b9_7f4a_7c15_u64;
        let mut draw = |below: u64| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 20) % below
        };
        for _ in 0..20_000 {
            let n = 1 + draw(7) as usize;
            let last: Vec<_> = (0..n).map(|_| if draw(8) == 0 { None } else { Some((draw(3), draw(3))) }).collect();
            let pools = draw(1 << n);
            let mut elections = Elections::new(n);
            last.iter().enumerate().for_each(|(i, last)| elections.set(i, *last));
            for w in 0..n {
                let (can, recovers) = enumerated(&last, w, pools);
                assert_eq!(elections.can_win(w), can, "{last:?} {w}");
                if can {
                    assert_eq!(elections.always_recovers(w, pools), recovers, "{last:?} {w} {pools:b}");
                    let worst = elections.worst_quorum(w, pools);
                    assert_eq!((worst & pools).count_ones() as usize >= recover(n), recovers);
                    assert_eq!(worst.count_ones() as usize, quorum(n));
                }
            }
        }
    }
}
