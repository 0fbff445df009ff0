//! Exit status of a batch, and the facts about verdicts that a batch needs: which fail, which are kept, which is worst.

use harness::Verdict;

use crate::error::EXIT_HARNESS;

/// Exit status when nothing ran.
pub const EXIT_NOTHING: i32 = 4;

/// The worst first (CLI.md).
const ORDER: [i32; 7] = [EXIT_HARNESS, 7, 1, 6, 3, 2, 5];

/// The worse of two exit statuses: 70, 7, 1, 6, 3, 2, 5, and 0 last.
pub fn worse(a: i32, b: i32) -> i32 {
    let rank = |code: i32| ORDER.iter().position(|c| *c == code).unwrap_or(ORDER.len());
    if rank(b) < rank(a) { b } else { a }
}

/// Whether a run with this verdict is kept as a finding. A vacuous run did nothing wrong: it is counted, and its seed named.
pub fn is_kept(verdict: Verdict) -> bool {
    !matches!(verdict, Verdict::Pass | Verdict::Vacuous)
}

/// Whether a run with this verdict counts as failed: neither passed nor unknown.
pub fn is_failed(verdict: Verdict) -> bool {
    !matches!(verdict, Verdict::Pass | Verdict::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_a_batch_wins() {
        for (i, worst) in ORDER.iter().enumerate() {
            for other in ORDER[i..].iter().chain(&[0]) {
                assert_eq!(worse(*worst, *other), *worst);
                assert_eq!(worse(*other, *worst), *worst);
            }
        }
        assert_eq!(worse(0, 0), 0);
    }

    #[test]
    fn exit_order_and_severity_agree() {
        use Verdict::*;
        let mut all = [Pass, Violation, Unknown, Liveness, Vacuous, Nondeterministic, Crash];
        all.sort_by_key(|v| std::cmp::Reverse(v.severity()));
        let codes: Vec<i32> = all.iter().map(|v| v.exit_code()).collect();
        assert_eq!(codes, [7, 1, 6, 3, 2, 5, 0]);
    }
}
