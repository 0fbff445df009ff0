//! What a batch came to, on one screen: what was injected, what was judged, how the mix was, how fast it went.

use harness::Verdict;
use std::collections::BTreeMap;

use crate::mix::{Mix, RUNS_MIN};
use crate::tally::Tally;
use crate::term::{Paint, duration, percent, plural, thousands, wrap};

const WIDTH: usize = 132;
const INDENT: usize = 13;

/// The facts about a batch that its counters do not hold.
pub struct Batch<'a> {
    /// Wall-clock time.
    pub elapsed_ns: u64,
    /// Worker processes.
    pub jobs: usize,
    /// The command that makes the same batch again.
    pub again: &'a str,
    /// The mix, if the batch was over general scenarios without a mutant.
    pub mix: Option<Mix>,
    /// Why the batch is vacuous, if it is.
    pub vacuous: &'a [String],
    /// Failures by what they are, with how many and an example's seed.
    pub failures: &'a BTreeMap<(String, String, String), (u64, String)>,
    /// Whether Ctrl-C ended it.
    pub interrupted: bool,
}

/// The summary.
pub fn render(tally: &Tally, batch: &Batch<'_>, paint: Paint) -> String {
    let seconds = (batch.elapsed_ns as f64 / 1e9).max(1e-9);
    let mut out = String::from("\n");
    let head = match (tally.runs, tally.failed, tally.status) {
        (0, ..) => paint.odd("nothing ran"),
        (_, 0, 0) if batch.vacuous.is_empty() => paint.good(&format!("{} passed", plural(tally.runs, "run", "runs"))),
        (runs, 0, _) => paint.odd(&format!("{}, none failed", plural(runs, "run", "runs"))),
        (runs, failed, _) => paint.bad(&format!("{}, {} failed", plural(runs, "run", "runs"), thousands(failed))),
    };
    out += &format!("{head}{}\n\n", if batch.interrupted { " (interrupted)" } else { "" });
    let mut row = |name: &str, text: String| {
        if !text.is_empty() {
            out += &format!("  {}  {}\n", paint.bold(&format!("{name:<9}")), wrap(&text, INDENT, WIDTH));
        }
    };
    for ((check, rule, verdict), (n, example)) in batch.failures {
        let rule = if rule.is_empty() { String::new() } else { format!(" ({rule})") };
        row("Failed", format!("{} {verdict} {check}{rule}; for example: cargo sim repro {example}", thousands(*n)));
    }
    for (seed, scenario) in &tally.vacuous_seeds {
        row("Vacuous", format!("a run that did not reach what it is for: cargo sim repro {seed} --scenario {scenario}"));
    }
    for sentence in batch.vacuous {
        row("Vacuous", sentence.clone());
    }
    if tally.runs > 0 {
        row("Runs", runs(tally));
        row("Injected", counts(&tally.faults));
        row("Judged", counts(&tally.evaluations));
        row("Reported", reported(tally));
        row("Probes", counts(&tally.probes));
        row("Calm only", calm_only(tally));
        row("Mix", mix(tally, batch.mix.as_ref()));
        row("Time", time(tally, batch, seconds));
    }
    row("Again", batch.again.to_owned());
    out
}

fn runs(tally: &Tally) -> String {
    let by_verdict: Vec<String> = tally.verdicts.iter().map(|(name, n)| format!("{} {name}", thousands(*n))).collect();
    let by_scenario: Vec<String> = tally.scenarios.iter().map(|(name, of)| format!("{name} {}", thousands(of.runs))).collect();
    let replayed = if tally.replayed == 0 { String::new() } else { format!("; {} replayed", thousands(tally.replayed)) };
    format!("{}{replayed}; {}", by_verdict.join(" · "), by_scenario.join(" · "))
}

fn counts(map: &BTreeMap<String, u64>) -> String {
    let silent: Vec<&str> = map.iter().filter(|(_, n)| **n == 0).map(|(name, _)| name.as_str()).collect();
    let mut out: Vec<String> = map.iter().filter(|(_, n)| **n > 0).map(|(name, n)| format!("{name} {}", thousands(*n))).collect();
    if !silent.is_empty() {
        out.push(format!("never: {}", silent.join(", ")));
    }
    out.join(" · ")
}

/// Probes that fired, and never between a run's first fault and its heal.
fn calm_only(tally: &Tally) -> String {
    let under = |name: &String| tally.under_faults.get(name).copied().unwrap_or(0);
    let calm: Vec<&str> = tally.probes.iter().filter(|(name, n)| **n > 0 && under(name) == 0).map(|(name, _)| name.as_str()).collect();
    calm.join(" · ")
}

fn reported(tally: &Tally) -> String {
    let shown: Vec<String> =
        tally.reported.iter().map(|((check, verdict), n)| format!("{check} {verdict} in {}", plural(*n, "run", "runs"))).collect();
    shown.join(" · ")
}

fn mix(tally: &Tally, bands: Option<&Mix>) -> String {
    let mix = Mix::of(tally);
    let judged = match bands {
        Some(bands) if bands.runs >= RUNS_MIN && bands.misses().is_empty() => " (within its bands)",
        _ => "",
    };
    format!(
        "{:.1} % of {} answered writes fast · {:.1} % conflicts · {:.2} % of {} operations unknown · {} used a pool · {} held back by a write in \
         flight · {} with a write in flight{judged}",
        mix.fast,
        thousands(tally.fast + tally.slow),
        mix.conflicts,
        percent(tally.unknown_ops, tally.ops),
        thousands(tally.ops),
        plural(mix.pool_recoveries, "recovery", "recoveries"),
        plural(mix.held_back, "message", "messages"),
        plural(mix.crashes_in_flight, "crash", "crashes"),
    )
}

fn time(tally: &Tally, batch: &Batch<'_>, seconds: f64) -> String {
    format!(
        "{} of virtual time ({:.2} hours) in {} on {}: {:.1} seeds/s, {:.0} simulated seconds per second, {} events/s",
        duration(tally.sim_ns),
        tally.sim_ns as f64 / 3.6e12,
        duration(batch.elapsed_ns),
        plural(batch.jobs as u64, "worker", "workers"),
        tally.runs as f64 / seconds,
        tally.sim_ns as f64 / 1e9 / seconds,
        thousands((tally.events as f64 / seconds) as u64),
    )
}

/// Whether a batch's exit status is worse for being vacuous.
pub fn vacuous_exit(status: i32, vacuous: &[String]) -> i32 {
    if vacuous.is_empty() { status } else { crate::status::worse(status, Verdict::Vacuous.exit_code()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn a_batch_on_one_screen() {
        let mut tally = Tally::default();
        (0..41).for_each(|_| tally.add(&samples::passed(), false));
        tally.add(&samples::lost_write().0, true);
        let key = ("recovery".to_owned(), "a fast write survives".to_owned(), "violation".to_owned());
        let failures = BTreeMap::from([(key, (1, "7 --scenario standard".to_owned()))]);
        let batch = Batch {
            elapsed_ns: 2_000_000_000,
            jobs: 2,
            again: "cargo sim fuzz --from 7 --seeds 41",
            mix: None,
            vacuous: &[],
            failures: &failures,
            interrupted: false,
        };
        insta::assert_snapshot!(render(&tally, &batch, Paint::PLAIN));
    }

    #[test]
    fn an_empty_batch_says_so() {
        let batch = Batch { elapsed_ns: 1, jobs: 1, again: "x", mix: None, vacuous: &[], failures: &BTreeMap::new(), interrupted: true };
        assert!(render(&Tally::default(), &batch, Paint::PLAIN).starts_with("\nnothing ran (interrupted)"));
    }

    #[test]
    fn vacuity_never_hides_a_failure() {
        let why = ["no recovery used a pool".to_owned()];
        assert_eq!([0, 1, 3].map(|status| vacuous_exit(status, &why)), [5, 1, 3]);
        assert_eq!(vacuous_exit(0, &[]), 0);
    }
}
