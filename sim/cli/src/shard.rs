//! Which part of a batch this process runs: `--shard K/N`, or what a fleet sets in the environment.

/// Part `k` of `n`, `k` from 0. Run i belongs to part i mod n, so that every part sees every scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    k: u64,
    n: u64,
}

impl Shard {
    /// The whole batch.
    pub const ALL: Shard = Shard { k: 0, n: 1 };

    /// Whether run `i` of the batch is this part's.
    pub fn has(self, i: u64) -> bool {
        i % self.n == self.k
    }

    /// Whether this is the whole batch.
    pub fn is_all(self) -> bool {
        self.n == 1
    }

    /// Reads `K/N`, K from 1 to N.
    ///
    /// # Errors
    /// One sentence that names what is accepted.
    pub fn parse(text: &str) -> Result<Shard, String> {
        let parts = text.split_once('/').and_then(|(k, n)| Some((k.parse::<u64>().ok()?, n.parse::<u64>().ok()?)));
        match parts {
            Some((k, n)) if k >= 1 && k <= n => Ok(Shard { k: k - 1, n }),
            _ => Err(format!("`{text}` is not a shard; accepted: K/N with K from 1 to N, for example 2/8")),
        }
    }

    /// What the fleet says, if this process is part of one: Kubernetes' indexed jobs (JOB_COMPLETION_INDEX from 0, with JOB_COMPLETIONS),
    /// Slurm's arrays (SLURM_ARRAY_TASK_ID from SLURM_ARRAY_TASK_MIN, with SLURM_ARRAY_TASK_COUNT), and CI_NODE_INDEX from 1 with
    /// CI_NODE_TOTAL. An index without its total is not a shard.
    ///
    /// # Errors
    /// One sentence that names the variable that is wrong.
    pub fn from_env(get: impl Fn(&str) -> Option<String>) -> Result<Option<Shard>, String> {
        const FLEETS: [(&str, &str, u64, Option<&str>); 3] = [
            ("JOB_COMPLETION_INDEX", "JOB_COMPLETIONS", 0, None),
            ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", 0, Some("SLURM_ARRAY_TASK_MIN")),
            ("CI_NODE_INDEX", "CI_NODE_TOTAL", 1, None),
        ];
        for (index, total, first, first_var) in FLEETS {
            let (Some(index_text), Some(total_text)) = (get(index), get(total)) else { continue };
            let number = |name: &str, text: String| text.parse::<u64>().map_err(|_| format!("{name} is `{text}`; accepted: a number"));
            let (k, n) = (number(index, index_text)?, number(total, total_text)?);
            let first = match first_var.and_then(|name| get(name).map(|text| (name, text))) {
                Some((name, text)) => number(name, text)?,
                None => first,
            };
            return match k.checked_sub(first) {
                Some(k) if k < n => Ok(Some(Shard { k, n })),
                _ => Err(format!("{index} is {k} and {total} is {n}; accepted: an index from {first} on, below the total")),
            };
        }
        Ok(None)
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.k + 1, self.n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn env(pairs: &[(&str, &str)]) -> Result<Option<Shard>, String> {
        let map: BTreeMap<String, String> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Shard::from_env(|name| map.get(name).cloned())
    }

    #[test]
    fn parts_are_disjoint_and_complete() {
        let shards: Vec<Shard> = (1..=3).map(|k| Shard::parse(&format!("{k}/3")).unwrap()).collect();
        for i in 0..30 {
            assert_eq!(shards.iter().filter(|s| s.has(i)).count(), 1);
        }
        assert!((0..30).all(|i| Shard::ALL.has(i)));
    }

    #[test]
    fn wrong_parts_are_refused() {
        for wrong in ["", "1", "0/4", "5/4", "1/0", "a/b", "1/2/3", "-1/2"] {
            assert!(Shard::parse(wrong).is_err(), "{wrong} was accepted");
        }
    }

    #[test]
    fn fleets_count_from_different_numbers() {
        let second = Shard::parse("2/4").ok();
        assert_eq!(env(&[("JOB_COMPLETION_INDEX", "1"), ("JOB_COMPLETIONS", "4")]).unwrap(), second);
        assert_eq!(env(&[("CI_NODE_INDEX", "2"), ("CI_NODE_TOTAL", "4")]).unwrap(), second);
        let slurm = [("SLURM_ARRAY_TASK_ID", "8"), ("SLURM_ARRAY_TASK_MIN", "7"), ("SLURM_ARRAY_TASK_COUNT", "4")];
        assert_eq!(env(&slurm).unwrap(), second);
        assert_eq!(env(&[("CI_NODE_INDEX", "2")]).unwrap(), None);
        assert!(env(&[("CI_NODE_INDEX", "5"), ("CI_NODE_TOTAL", "4")]).unwrap_err().contains("CI_NODE_INDEX"));
        assert!(env(&[("CI_NODE_INDEX", "x"), ("CI_NODE_TOTAL", "4")]).is_err());
    }
}
