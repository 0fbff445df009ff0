//! The three sizes on which safety rests, for n voters (PROTOCOL.md, Terms; CURP paper §3.4 for the idea).
//!
//! A super quorum meets any quorum in at least [`recover`] voters, so what completed on the fast path is found by any election;
//! two sets of [`recover`] voters inside one quorum intersect, so no two conflicting commands are both found.

use mutants::Mutant;

/// Voters that elect a leader and commit an entry: a majority.
pub fn quorum(n: usize) -> usize {
    n / 2 + 1
}

/// Pools of a quorum that must hold a command for it to be recovered.
pub fn recover(n: usize) -> usize {
    let recover = quorum(n) / 2 + 1;
    if mutants::on(Mutant::RecoverOneMore) {
        return recover + 1;
    }
    if mutants::on(Mutant::RecoverOneLess) {
        return recover - 1;
    }
    recover
}

/// Voters, the leader among them, that must hold a command for its fast round to be complete.
pub fn super_quorum(n: usize) -> usize {
    if mutants::on(Mutant::SuperQuorumMajority) {
        return quorum(n);
    }
    let exact = n - quorum(n) + quorum(n) / 2 + 1;
    if mutants::on(Mutant::SuperQuorumEven) && n.is_multiple_of(2) {
        return exact - 1;
    }
    exact
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_table() {
        let table = [(1, 1, 1, 1), (2, 2, 2, 2), (3, 2, 2, 3), (4, 3, 2, 3), (5, 3, 2, 4), (6, 4, 3, 5), (7, 4, 3, 6), (9, 5, 3, 7)];
        for (n, q, r, s) in table {
            assert_eq!((quorum(n), recover(n), super_quorum(n)), (q, r, s), "n = {n}");
        }
    }

    #[test]
    fn the_two_facts_for_every_cluster_size() {
        for n in 1..=1000 {
            assert!(super_quorum(n) <= n, "a fast round is possible with all {n} voters up");
            // Smallest overlap of a super quorum and a quorum.
            assert!(super_quorum(n) + quorum(n) >= n + recover(n), "n = {n}");
            // Two sets of recover(n) voters inside one quorum.
            assert!(2 * recover(n) > quorum(n), "n = {n}");
        }
    }
}
