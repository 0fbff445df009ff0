//! The checks: names, letters, what each judges, and what the protocol says about it. Names and letters are a contract (CLI.md).

/// One check.
pub struct Check {
    /// The name used everywhere.
    pub name: &'static str,
    /// The letter in the catalogue of mutants; several checks can share one.
    pub letter: Option<char>,
    /// What it judges, in one sentence.
    pub what: &'static str,
    /// What the protocol says.
    pub specification: &'static str,
    /// Whether it is built.
    pub built: bool,
}

const fn check(name: &'static str, letter: char, what: &'static str, specification: &'static str) -> Check {
    Check { name, letter: Some(letter), what, specification, built: true }
}

/// Every check, in the order of CLI.md.
pub const CHECKS: &[Check] = &[
    check(
        "linearizability",
        'L',
        "every answer a client had fits one order of all operations that respects real time",
        "Every operation seems to happen at one instant between its invocation and its first answer; a read served by any replica has applied \
         every conflicting entry that was in the leader's log when the read arrived.",
    ),
    check(
        "recovery",
        'Q',
        "what completed on the fast path survives every possible election",
        "A fast round completes at super(n) voters, so any quorum holds the command in at least recover(n) spec pools. The winner of an election \
         recovers every command found in recover(n) pools of exactly a quorum, before it opens the fast path; a command leaves a pool only when \
         that node has applied it.",
    ),
    check(
        "durability",
        'D',
        "nothing is promised before it is on disk, and nothing acknowledged is lost",
        "Term, vote, log entries and pool records are durable before any message that depends on them leaves; a failed sync stops the node; \
         what is acknowledged stays on enough disks.",
    ),
    check(
        "election-safety",
        'E',
        "at most one leader in a term",
        "A node votes once in a term, and its term and vote are durable before the vote is sent; so a term has at most one leader.",
    ),
    check(
        "log-matching",
        'M',
        "logs that agree on an entry agree on everything before it",
        "If two logs hold an entry of the same index and term, they are equal up to it; a follower cuts its log only from the first entry that \
         conflicts.",
    ),
    check(
        "leader-completeness",
        'M',
        "a leader's log holds every entry that was committed before",
        "A vote goes only to a candidate whose log is at least as up to date by (last term, last index), and only entries of the leader's own \
         term are committed by counting; so every later leader has every committed entry.",
    ),
    check(
        "state-agreement",
        'S',
        "replicas that applied the same log have the same state",
        "Replicas apply the same entries in the same order with the same effects: at equal applied index their states are equal.",
    ),
    check(
        "revisions",
        'R',
        "one write, one revision: unique, rising, without gaps, and final once seen",
        "There is one global revision; a request that writes takes exactly one, in log order, and one that writes nothing takes none. A fast answer \
         carries no revision, since recovery may reorder commuting commands.",
    ),
    check(
        "watch",
        'W',
        "watch events are ordered, atomic, unique and complete",
        "A watcher is told every event it asked for from its revision on, in order, each once, all of a revision together; it goes on elsewhere \
         after the last revision it was told, and hears of a compaction only if what comes next is gone.",
    ),
    check(
        "leases",
        'T',
        "a lease lives as long as its holder may rely on, and not much longer",
        "From the sending of a keep-alive that was answered, the lease lives TTL/(1 + rho); from the decision to expire on it is kept alive no more, \
         and a revoke is void unless its stamp is its entry's term; a revoke takes all attached keys in one revision.",
    ),
    check(
        "exactly-once",
        'X',
        "no command takes effect twice",
        "Every retry of a command carries the same id, and applying an id that the session has applied is a no-op; a client acknowledges only \
         commands whose synced result it has.",
    ),
    check(
        "liveness",
        'V',
        "once all faults are removed, the cluster recovers within a bound",
        "When a majority runs and can talk, a leader is elected, every pending operation ends, and replicas converge.",
    ),
    Check { built: false, ..check("conformance", 'C', "every step is one that the TLA+ specification allows", "") },
    Check {
        name: "assertion",
        letter: None,
        what: "no broken invariant inside core/: a panic, an abort or a hang of the system under test",
        specification: "An assertion in core/ is an invariant that no sequence of messages, crashes and timers may break.",
        built: true,
    },
    Check {
        name: "lock",
        letter: None,
        what: "a lock built on a lease is never held by two at once",
        specification: "A holder that trusts its own clock for TTL (1 - rho)/(1 + rho) from the sending of its last answered keep-alive is right.",
        built: true,
    },
    Check {
        name: "registry",
        letter: None,
        what: "a service registry built on leases lists those whose leases live",
        specification: "A key goes with its lease: an instance is listed from its registration until its lease ends, and not after.",
        built: true,
    },
    Check {
        name: "authorisation",
        letter: None,
        what: "a right delegated by a lease is good while the lease lives, and never after it was withdrawn",
        specification: "A txn that compares the token and writes does both at one revision; a revoke takes the token at one revision.",
        built: true,
    },
    Check {
        name: "zookeeper",
        letter: None,
        what: "ZooKeeper's operations, built on txns and leases, fit one order of all of them that respects real time",
        specification: "A tree of nodes with versions: creations, changes and deletions are atomic, sequential numbers rise, ephemeral nodes go with \
                        their session.",
        built: true,
    },
    Check {
        name: "determinism",
        letter: None,
        what: "the same seed makes the same run, event by event, in a fresh process",
        specification: "A run is a function of its plan: no clock, no hash order and no randomness of its own.",
        built: true,
    },
];

/// The check of this name.
pub fn by_name(name: &str) -> Option<&'static Check> {
    CHECKS.iter().find(|check| check.name == name)
}

/// The names behind a row's letters, for example `QL`.
pub fn of_letters(letters: &str) -> Vec<&'static str> {
    letters.chars().flat_map(|letter| CHECKS.iter().filter(move |c| c.letter == Some(letter)).map(|c| c.name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutant_names_checks_that_exist() {
        for mutant in mutants::Mutant::ALL {
            for letter in mutant.checks().chars() {
                assert!(!of_letters(&letter.to_string()).is_empty(), "{mutant}: no check has the letter {letter}");
            }
        }
        assert_eq!(of_letters("MQ"), ["log-matching", "leader-completeness", "recovery"]);
    }

    #[test]
    fn names_are_unique() {
        for (i, check) in CHECKS.iter().enumerate() {
            assert!(CHECKS[i + 1..].iter().all(|other| other.name != check.name));
        }
    }
}
