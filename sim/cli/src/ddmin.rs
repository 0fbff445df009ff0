//! Delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002): the smallest part of a list
//! for which a test still fails, in the sense that leaving out any one element more makes it pass.

/// Indices, in rising order, of a 1-minimal part of `0..count` for which `fails` still holds. `fails` gets the indices kept. It is assumed to
/// hold for all of them and never asked so. When `fails` gives `None` (out of budget), the best so far is returned.
pub fn ddmin(count: usize, mut fails: impl FnMut(&[usize]) -> Option<bool>) -> Vec<usize> {
    let mut kept: Vec<usize> = (0..count).collect();
    // Nothing at all first: with luck the list does not matter.
    if kept.is_empty() {
        return kept;
    }
    match fails(&[]) {
        None => return kept,
        Some(true) => return Vec::new(),
        Some(false) => {}
    }
    let mut parts = 2;
    while kept.len() >= 2 {
        let size = kept.len().div_ceil(parts);
        let mut reduced = None;
        for start in (0..kept.len()).step_by(size) {
            let end = (start + size).min(kept.len());
            let without: Vec<usize> = kept[..start].iter().chain(&kept[end..]).copied().collect();
            match fails(&without) {
                None => return kept,
                Some(true) => {
                    reduced = Some(without);
                    break;
                }
                Some(false) => {}
            }
        }
        match reduced {
            Some(smaller) => {
                kept = smaller;
                parts = (parts - 1).max(2);
            }
            None if parts >= kept.len() => break,
            None => parts = (parts * 2).min(kept.len()),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_elements_that_matter() {
        for wanted in [vec![], vec![3], vec![0, 99], vec![17, 18, 80], (0..100).collect()] {
            let found = ddmin(100, |kept| Some(wanted.iter().all(|w| kept.contains(w))));
            assert_eq!(found, wanted);
        }
        assert!(ddmin(0, |_| Some(true)).is_empty());
    }

    #[test]
    fn a_result_is_minimal_though_the_test_is_not_monotone() {
        // Fails with an even number of elements, at least two of them below ten.
        let fails = |kept: &[usize]| kept.len().is_multiple_of(2) && kept.iter().filter(|i| **i < 10).count() >= 2;
        let found = ddmin(64, |kept| Some(fails(kept)));
        assert!(fails(&found));
        for leave_out in 0..found.len() {
            let mut smaller = found.clone();
            smaller.remove(leave_out);
            assert!(!fails(&smaller));
        }
    }

    #[test]
    fn an_exhausted_budget_keeps_the_best_so_far() {
        let mut budget = 5;
        let found = ddmin(100, |kept| {
            budget -= 1;
            (budget > 0).then_some(kept.contains(&3))
        });
        assert!(found.contains(&3) && found.len() < 100);
    }
}
