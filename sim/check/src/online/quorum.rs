//! The published numbers (PROTOCOL.md, Terms), and what an election could recover.
//!
//! Written a second time on purpose: a check that asked core/curp for its arithmetic would believe its mistakes.

use curp::{Index, Term};

/// A set of nodes: bit i is the node in slot i.
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

/// The slots in a set.
pub(super) fn slots(set: Set) -> impl Iterator<Item = usize> {
    (0..Set::BITS as usize).filter(move |slot| set >> slot & 1 == 1)
}

/// Which elections are possible from what is on the disks.
///
/// A candidate counts by the voters of its own latest configuration, and wins with any quorum of them, itself included, none of which has a log more
/// up to date; what configuration a supporter knows is no matter. So all the quorums it can win with are the subsets of one set, its
/// `supporters`; a statement about each quorum needs no enumeration, only its worst case by counting.
/// A test compares that with the enumeration.
#[derive(Default)]
pub(super) struct Elections {
    disks: Vec<Candidate>,
    supporters: Vec<Set>,
}

/// What an election asks of one disk.
#[derive(Clone, Copy, Default, PartialEq)]
struct Candidate {
    /// Last term and last index; `None`: the node would refuse to start.
    last: Option<(Term, Index)>,
    /// Voters of the latest configuration there.
    voters: Set,
}

impl Elections {
    /// The durable log of the node in `slot` ends with (last term, last index) now, or it would refuse to start (`None`), and these are the
    /// voters of its latest configuration.
    pub fn set(&mut self, slot: usize, last: Option<(Term, Index)>, voters: Set) {
        if self.disks.len() <= slot {
            self.disks.resize(slot + 1, Candidate::default());
            self.supporters.resize(slot + 1, 0);
        }
        let new = Candidate { last, voters };
        if std::mem::replace(&mut self.disks[slot], new) != new {
            self.recompute();
        }
    }

    fn recompute(&mut self) {
        for (w, supporters) in self.supporters.iter_mut().enumerate() {
            let Candidate { last, voters } = self.disks[w];
            let supports = |disk: &Candidate| last.is_some() && disk.last.is_some() && disk.last <= last;
            let all = self.disks.iter().enumerate().filter(|(_, disk)| supports(disk)).fold(0, |set: Set, (m, _)| set | 1 << m);
            let set = all & voters;
            let elect = set >> w & 1 == 1 && set.count_ones() as usize >= quorum(voters.count_ones() as usize);
            *supporters = if elect { set } else { 0 };
        }
    }

    /// Everyone who could win.
    pub fn winners(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.disks.len()).filter(|&w| self.supporters[w] != 0)
    }

    /// Whether `w` could win.
    pub fn can_win(&self, w: usize) -> bool {
        self.supporters.get(w).is_some_and(|&set| set != 0)
    }

    /// Number of voters by which `w` would count.
    pub fn n(&self, w: usize) -> usize {
        self.disks[w].voters.count_ones() as usize
    }

    /// A quorum that elects `w` and has the fewest members in `pools`.
    pub fn worst_quorum(&self, w: usize, pools: Set) -> Set {
        let mut chosen = 1 << w;
        let others = self.supporters[w] & !chosen;
        for m in slots(others & !pools).chain(slots(others & pools)) {
            if (chosen.count_ones() as usize) < quorum(self.n(w)) {
                chosen |= 1 << m;
            }
        }
        chosen
    }

    /// Whether every quorum that elects `w` has `recover(n)` members in `pools`.
    pub fn always_recovers(&self, w: usize, pools: Set) -> bool {
        let own = pools >> w & 1;
        let without = (self.supporters[w] & !(1 << w) & !pools).count_ones() as usize;
        own as usize + (quorum(self.n(w)) - 1).saturating_sub(without) >= recover(self.n(w))
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

    /// All quorums of the winner's voters, by bitmask, as CHECKS.md words it.
    fn enumerated(disks: &[(Option<(Term, Index)>, Set)], w: usize, pools: Set) -> (bool, bool) {
        let (last, voters) = disks[w];
        let n = voters.count_ones() as usize;
        let quorums = (0..1u64 << disks.len()).filter(|q| q & !voters == 0 && q.count_ones() as usize == quorum(n) && q >> w & 1 == 1);
        let electing = |q: &Set| slots(*q).all(|m| disks[m].0.is_some() && disks[m].0 <= last);
        let electing: Vec<_> = quorums.filter(electing).collect();
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
        let mut won = 0;
        for round in 0..30_000 {
            let n = 1 + draw(7) as usize;
            let everyone = (1 << n) - 1;
            let disks: Vec<_> = (0..n)
                .map(|_| {
                    let last = if draw(8) == 0 { None } else { Some((draw(3), draw(3))) };
                    // All by one configuration, or each by its own, the empty one included.
                    (last, if round % 2 == 0 { everyone } else { draw(1 << n) })
                })
                .collect();
            let pools = draw(1 << n);
            let mut elections = Elections::default();
            disks.iter().enumerate().for_each(|(i, (last, voters))| elections.set(i, *last, *voters));
            for w in 0..n {
                let (can, recovers) = enumerated(&disks, w, pools);
                assert_eq!(elections.can_win(w), can, "{disks:?} {w}");
                if can {
                    won += 1;
                    let voters = disks[w].1.count_ones() as usize;
                    assert_eq!(elections.always_recovers(w, pools), recovers, "{disks:?} {w} {pools:b}");
                    let worst = elections.worst_quorum(w, pools);
                    assert_eq!((worst & pools).count_ones() as usize >= recover(voters), recovers);
                    assert_eq!((worst.count_ones() as usize, worst & !disks[w].1), (quorum(voters), 0));
                }
            }
        }
        assert!(won > 10_000, "{won}");
    }

    #[test]
    fn a_node_that_is_no_voter_by_its_own_configuration_cannot_win_and_can_support() {
        let mut elections = Elections::default();
        // Three voters, and a learner whose log is longer than any.
        for slot in 0..3 {
            elections.set(slot, Some((1, 5)), 0b0111);
        }
        elections.set(3, Some((1, 9)), 0b0111);
        assert_eq!(elections.winners().collect::<Vec<_>>(), [0, 1, 2]);
        // Promoted by node 0's log alone: of its four voters it needs three, and the newcomer may be one.
        elections.set(0, Some((2, 6)), 0b1111);
        elections.set(1, None, 0b0111);
        elections.set(2, Some((1, 5)), 0b0111);
        assert_eq!(elections.winners().collect::<Vec<_>>(), [0]);
        assert_eq!(elections.worst_quorum(0, 0), 0b1101);
        assert!(elections.always_recovers(0, 0b1001) && !elections.always_recovers(0, 0b0010));
    }
}
