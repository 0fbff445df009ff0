//! Whether a batch did what it is for (CHECKS.md): over a thousand general runs the mix is within its bands, and over a thousand runs of a scenario
//! every probe that it aims at fired under faults. A green batch that never took the path it is about is not green. (What a scenario requires of every
//! single run is judged by the harness.)

use crate::tally::Tally;
use crate::term::percent;

/// From so many runs of general scenarios on, the bands hold.
pub const RUNS_MIN: u64 = 1000;

/// The mix of a batch over general scenarios.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mix {
    /// Runs.
    pub runs: u64,
    /// Fast rounds among answered writes, percent.
    pub fast: f64,
    /// Proposals that conflicted, among answered writes, percent.
    pub conflicts: f64,
    /// Operations whose outcome is unknown, percent.
    pub unknown: f64,
    /// Elections that recovered a command from spec pools.
    pub pool_recoveries: u64,
    /// Messages that waited for a write in flight.
    pub held_back: u64,
    /// Crashes while a write was in flight.
    pub crashes_in_flight: u64,
}

impl Mix {
    /// The mix of what was counted.
    pub fn of(tally: &Tally) -> Mix {
        let answered = tally.fast + tally.slow;
        Mix {
            runs: tally.runs,
            fast: percent(tally.fast, answered),
            conflicts: percent(tally.probe("conflict_answered"), answered),
            unknown: percent(tally.unknown_ops, tally.ops),
            pool_recoveries: tally.probe("recovering_pools"),
            held_back: tally.probe("message_held_by_write"),
            crashes_in_flight: tally.probe("crash_with_write_in_flight"),
        }
    }

    /// The bands it misses, in a sentence each. Too few runs miss none.
    pub fn misses(&self) -> Vec<String> {
        if self.runs < RUNS_MIN {
            return Vec::new();
        }
        let mut misses = Vec::new();
        let mut expect = |holds: bool, sentence: String| {
            if !holds {
                misses.push(sentence);
            }
        };
        expect((20.0..=80.0).contains(&self.fast), format!("{:.1} % of the answered writes were fast; expected 20 to 80 %", self.fast));
        expect(self.conflicts >= 5.0, format!("{:.1} % of the writes conflicted; expected at least 5 %", self.conflicts));
        expect(self.unknown >= 1.0, format!("{:.2} % of the outcomes are unknown; expected at least 1 %", self.unknown));
        // A hundred for every thousand runs.
        let least = self.runs / 10;
        let counted = [
            (self.pool_recoveries, "recoveries used a spec pool"),
            (self.held_back, "messages were held back by a write in flight"),
            (self.crashes_in_flight, "crashes had a write in flight"),
        ];
        for (n, what) in counted {
            expect(n >= least, format!("{n} {what}; expected at least {least} in {} runs", self.runs));
        }
        misses
    }
}

/// Probes that a scenario aims at and that never fired under faults, in a sentence each; of a scenario that has no faults, that
/// never fired at all. Too few runs miss none.
pub fn silent_aims(tally: &Tally, aims: impl Fn(&str) -> Vec<String>) -> Vec<String> {
    let mut silent = Vec::new();
    for (scenario, of) in tally.scenarios.iter().filter(|(_, of)| of.runs >= RUNS_MIN) {
        let (fired, when) = if of.under_faults.values().all(|n| *n == 0) { (&of.probes, "") } else { (&of.under_faults, " under faults") };
        for probe in aims(scenario) {
            if fired.get(&probe).copied().unwrap_or(0) == 0 {
                silent.push(format!("the probe {probe}, which {scenario} aims at, never fired{when} in {} runs", of.runs));
            }
        }
    }
    silent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probes_exist() {
        for probe in ["conflict_answered", "recovering_pools", "message_held_by_write", "crash_with_write_in_flight"] {
            assert!(plan::is_probe(probe), "{probe}");
        }
    }

    const GOOD: Mix =
        Mix { runs: 1000, fast: 55.0, conflicts: 12.0, unknown: 1.5, pool_recoveries: 100, held_back: 5000, crashes_in_flight: 400 };

    #[test]
    fn bands_are_those_of_the_page() {
        assert_eq!(GOOD.misses(), Vec::<String>::new());
        let wrong = [
            Mix { fast: 19.9, ..GOOD },
            Mix { fast: 80.1, ..GOOD },
            Mix { conflicts: 4.9, ..GOOD },
            Mix { unknown: 0.9, ..GOOD },
            Mix { pool_recoveries: 99, ..GOOD },
            Mix { held_back: 0, ..GOOD },
            Mix { crashes_in_flight: 0, ..GOOD },
            Mix { runs: 3000, ..GOOD },
        ];
        for mix in wrong {
            assert_eq!(mix.misses().len(), 1, "{mix:?}: {:?}", mix.misses());
        }
        assert!(Mix { runs: 999, fast: 0.0, ..GOOD }.misses().is_empty());
    }

    #[test]
    fn an_aim_must_be_reached_once_there_were_enough_runs() {
        let mut tally = Tally::default();
        let aims = |_: &str| vec!["recovery used a spec pool".to_owned(), "never".to_owned()];
        (1..RUNS_MIN).for_each(|_| tally.add(&crate::samples::passed(), false));
        assert!(silent_aims(&tally, aims).is_empty());
        tally.add(&crate::samples::passed(), false);
        assert_eq!(silent_aims(&tally, aims).len(), 1);
    }
}
