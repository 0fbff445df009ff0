//! The two facts on which recovery rests, by counting voters and not by formula: over all sets of voters where they can be listed, over
//! the worst sets for every cluster up to 64, and that no smaller numbers would do.

use curp::quorum::{quorum, recover, super_quorum};

/// All sets of `size` voters out of those in `of`, as bit masks.
fn sets(of: u64, size: usize) -> Vec<u64> {
    // Every subset of a mask, by counting down through it.
    let subsets = std::iter::successors(Some(of), |&set| if set == 0 { None } else { Some((set - 1) & of) });
    subsets.filter(|set| set.count_ones() as usize == size).collect()
}

fn first(n: usize) -> u64 {
    u64::MAX >> (64 - n)
}

#[test]
fn a_super_quorum_meets_every_quorum_in_enough_voters() {
    for n in 1..=10 {
        for super_quorum in sets(first(n), super_quorum(n)) {
            for quorum in sets(first(n), quorum(n)) {
                let common = (super_quorum & quorum).count_ones() as usize;
                assert!(common >= recover(n), "n = {n}: {super_quorum:b} and {quorum:b} have {common} voters in common");
            }
        }
    }
}

#[test]
fn two_sets_that_recover_share_a_voter_whose_pool_commutes() {
    for n in 1..=10 {
        // Which quorum does not matter: only its size does.
        let sets = sets(first(quorum(n)), recover(n));
        for a in &sets {
            assert!(sets.iter().all(|b| a & b != 0), "n = {n}: {a:b} and another set share nobody");
        }
    }
}

#[test]
fn two_quorums_share_a_voter() {
    for n in 1..=10 {
        let quorums = sets(first(n), quorum(n));
        for a in &quorums {
            assert!(quorums.iter().all(|b| a & b != 0), "n = {n}");
        }
    }
}

/// The least overlap is that of the first and the last voters.
#[test]
fn the_worst_sets_for_every_cluster_size() {
    for n in 1..=64 {
        let (quorum, recover, super_quorum) = (quorum(n), recover(n), super_quorum(n));
        let last = |size: usize, of: usize| first(size) << (of - size);
        assert!((1..=n).contains(&super_quorum), "n = {n}: no fast round is possible");
        assert!((first(super_quorum) & last(quorum, n)).count_ones() as usize >= recover, "n = {n}");
        assert!(first(recover) & last(recover, quorum) != 0, "n = {n}");
        assert!(first(quorum) & last(quorum, n) != 0, "n = {n}");
        // One voter fewer in any of the three, and a fact fails: rivals could both be recovered, or a completed command be missed.
        if recover > 1 {
            assert!(first(recover - 1) & last(recover - 1, quorum) == 0, "n = {n}: recover could be smaller");
        }
        if super_quorum > 1 {
            assert!(((first(super_quorum - 1) & last(quorum, n)).count_ones() as usize) < recover, "n = {n}: super could be smaller");
        }
    }
}

/// A change of one voter, coming or going: any quorum before it and any quorum after it share a voter, so that two leaders of one term,
/// or two histories, cannot each find one. With two changes at once they need not.
#[test]
fn quorums_before_and_after_one_change_share_a_voter() {
    let overlap = |n: usize, m: usize| {
        let after = sets(first(m), quorum(m));
        sets(first(n), quorum(n)).iter().all(|before| after.iter().all(|after| before & after != 0))
    };
    for n in 1..=9 {
        assert!(overlap(n, n + 1) && overlap(n + 1, n), "{n} and {} voters", n + 1);
        assert_eq!(overlap(n, n + 2), n.is_multiple_of(2), "{n} and {} voters", n + 2);
    }
    for n in 1..=63 {
        // Of n voters the first, of n + 1 the last.
        assert!(first(quorum(n)) & (first(quorum(n + 1)) << (n + 1 - quorum(n + 1))) != 0, "n = {n}");
    }
}
