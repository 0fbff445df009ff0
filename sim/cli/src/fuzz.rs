//! `fuzz`: open findings, then regression plans, then new seeds; each run judged, what failed kept, all of it summed up.

use anyhow::Context;
use harness::Verdict;
use mutants::Mutant;
use plan::Scenario;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::args::{Engine, Fuzz};
use crate::batch::{self, Ended, Item, Settings, kind};
use crate::error::{EXIT_HARNESS, usage};
use crate::findings::{self, Store, root};
use crate::json::{Lines, run_line};
use crate::junit::Junit;
use crate::mix::{Mix, silent_aims};
use crate::progress::{Length, Progress};
use crate::render::{self, Failure};
use crate::scenarios;
use crate::seed::{parse_seed, random_seed};
use crate::shard::Shard;
use crate::status::{EXIT_NOTHING, is_kept};
use crate::summary::{self, Batch};
use crate::tally::Tally;
use crate::target::{Origin, Target, open_findings, regressions, shell};
use crate::term::{self, Paint};
use crate::worker::Work;

/// New seeds if neither --seeds nor --for says how many.
const SEEDS_DEFAULT: u64 = 1000;
/// Failures whose whole report is printed while the batch runs; the others get a line.
const REPORTS_MAX: usize = 3;

/// Runs the command: the batch's exit status.
///
/// # Errors
/// Bad input, before anything ran or was written; or the harness itself failed.
pub fn fuzz(args: &Fuzz) -> anyhow::Result<i32> {
    let scenarios = scenarios::select(&args.scenario)?;
    let mutant = args.mutant.as_deref().map(scenarios::mutant).transpose()?;
    let shard = match &args.shard {
        Some(text) => Shard::parse(text).map_err(|e| usage(format!("--shard: {e}")))?,
        None => Shard::from_env(|name| std::env::var(name).ok()).map_err(usage)?.unwrap_or(Shard::ALL),
    };
    let seeds = if args.duration.is_some() { None } else { Some(args.seeds.unwrap_or(SEEDS_DEFAULT)) };
    let from = match &args.from {
        Some(text) => parse_seed(text).map_err(|e| usage(format!("--from: {e}")))?,
        None => random_seed(),
    };
    if seeds.is_some_and(|n| n > 0 && from.checked_add(n - 1).is_none()) {
        return Err(usage(format!("--from {from} and --seeds: the last seed would be out of range; accepted: up to {}", u64::MAX)));
    }
    let store = args.out.clone().map_or_else(Store::default_place, Store::new);
    let replays = if args.from.is_some() { Vec::new() } else { replays(&store, mutant, &scenarios, args.engine)? };
    let json = Lines::open(args.json.as_deref())?;
    if let Some(path) = &args.junit {
        require_directory("--junit", path)?;
    }
    let again = again(args, from);
    term::err(&format!("seeds from {from}{}; {again}", if shard.is_all() { String::new() } else { format!(", part {shard}") }));

    let jobs = args.jobs.map_or_else(cores, |n| n as usize);
    let settings = Settings { jobs, run_limit: args.limits.run_timeout, mutant, store: Some(store.clone()) };
    let stop = Arc::new(AtomicBool::new(false));
    let interrupted = interrupts(&stop)?;
    // A planted bug may well change the mix.
    let general = mutant.is_none() && scenarios::are_general(&scenarios);
    let until = args.duration.map(|d| Instant::now() + d);
    let mut work = Source { replays: replays.into(), scenarios, engine: args.engine, from, seeds, shard, i: 0, engines: [].iter(), until };
    let length = match args.duration {
        Some(time) => Length::Time(time),
        None => Length::Runs((0..seeds.unwrap_or(0)).filter(|i| shard.has(*i)).map(|i| args.engine.of_seed(from + i).len() as u64).sum()),
    };
    let mut batch = Listener {
        args,
        store,
        json,
        general,
        junit: Junit::default(),
        tally: Tally::default(),
        new: Tally::default(),
        failures: BTreeMap::new(),
        printed: Vec::new(),
    };
    let begun = Instant::now();
    let mut progress = Progress::begin(length);
    let result = batch::run(
        &settings,
        &stop,
        || work.next(),
        |ended| {
            if let Some(ended) = ended {
                let failed = batch.hear(&ended, &progress)?;
                if failed && args.fail_fast {
                    stop.store(true, Ordering::Relaxed);
                }
            }
            progress.show(batch.tally.runs - batch.tally.replayed, batch.tally.runs, batch.tally.failed);
            Ok(())
        },
    );
    progress.end();
    let code = batch.finish(begun.elapsed(), jobs, from, &again, interrupted.load(Ordering::Relaxed), result.is_err())?;
    result.map(|()| code)
}

/// What is run, in order.
struct Source {
    replays: std::collections::VecDeque<Item>,
    scenarios: Vec<&'static Scenario>,
    from: u64,
    seeds: Option<u64>,
    shard: Shard,
    engine: Engine,
    /// Seeds begun; the last of them has these engines left.
    i: u64,
    engines: std::slice::Iter<'static, harness::Engine>,
    until: Option<Instant>,
}

impl Source {
    fn next(&mut self) -> Option<Item> {
        if self.until.is_some_and(|until| Instant::now() >= until) {
            return None;
        }
        if let Some(item) = self.replays.pop_front() {
            return Some(item);
        }
        loop {
            if let Some(engine) = self.engines.next() {
                let (i, seed) = (self.i - 1, self.from.checked_add(self.i - 1)?);
                let scenario = scenarios::drawn(seed, &self.scenarios).name.clone();
                return Some(Item { work: Work::Seed { scenario, seed }, engine: *engine, origin: Origin::Seed, number: Some(i) });
            }
            if self.seeds.is_some_and(|seeds| self.i >= seeds) {
                return None;
            }
            if self.shard.has(self.i) {
                self.engines = self.engine.of_seed(self.from.checked_add(self.i)?).iter();
            }
            self.i += 1;
        }
    }
}

/// Open findings of the chosen scenarios, each on the engine that showed it, then regression plans of theirs, on every engine asked for. A
/// finding that cannot be read any more is no reason not to test.
fn replays(store: &Store, mutant: Option<Mutant>, scenarios: &[&'static Scenario], engine: Engine) -> anyhow::Result<Vec<Item>> {
    let (open, unreadable) = open_findings(store, mutant)?;
    unreadable.iter().for_each(|sentence| term::err(&format!("not replayed: {sentence}")));
    // A regression plan may name a scenario of its own: it is left out only if another one was asked for.
    let all = scenarios.len() == plan::scenarios().len();
    let chosen = |target: &Target| all || scenarios.iter().any(|s| s.name == target.plan.scenario);
    let findings = open.into_iter().map(|(_, target)| target);
    let plans = regressions()?.into_iter().flat_map(|plan| engine.all().iter().map(move |&engine| Target { engine, ..plan.clone() }));
    let targets = findings.chain(plans).filter(chosen);
    Ok(targets.map(|t| Item { work: t.work, engine: t.engine, origin: t.origin, number: None }).collect())
}

/// Hears of every run: counts it, prints it if it failed, and writes its line.
struct Listener<'a> {
    args: &'a Fuzz,
    store: Store,
    json: Lines,
    junit: Junit,
    tally: Tally,
    /// The new seeds alone, each once, for the mix.
    new: Tally,
    /// Whether the mix must be within its bands.
    general: bool,
    failures: BTreeMap<(String, String, String), (u64, String)>,
    printed: Vec<(String, String)>,
}

impl Listener<'_> {
    /// Whether the run failed.
    fn hear(&mut self, ended: &Ended, progress: &Progress) -> anyhow::Result<bool> {
        let report = &ended.report;
        let replay = ended.item.number.is_none();
        self.tally.add(report, replay);
        let again = self.args.engine == Engine::Both && ended.item.engine == harness::Engine::Madsim;
        if !replay && !again {
            self.new.add(report, false);
        }
        let files = match &ended.item.origin {
            Origin::Finding { dir, .. } => Some(dir.clone()),
            _ => ended.finding.as_ref().map(|id| self.store.path(id)),
        };
        let id = files.as_ref().and_then(|dir| dir.file_name()).map(|id| id.to_string_lossy());
        self.json.write(&run_line(report, id.as_deref()))?;
        if !is_kept(report.verdict) {
            if let (Origin::Finding { name, dir, .. }, Verdict::Pass) = (&ended.item.origin, report.verdict)
                && findings::close(dir)?
            {
                progress.around(|| term::out(&format!("finding {name} passes now: closed\n")));
            }
            return Ok(false);
        }
        let arguments = ended.item.origin.arguments(&report.scenario, report.seed, report.mutant.as_deref(), &report.engine);
        self.junit.add(report, &arguments);
        let (_, check, rule, _) = kind(report);
        let entry = self.failures.entry((check.clone(), rule.clone(), report.verdict.name().to_owned())).or_insert((0, arguments.clone()));
        entry.0 += 1;
        let nth = entry.0;
        let paint = Paint::for_stdout();
        let text = if self.printed.len() < REPORTS_MAX && !self.printed.contains(&(check.clone(), rule.clone())) {
            self.printed.push((check, rule));
            let trace = files.as_ref().and_then(|dir| history::read_trace(&dir.join("trace.ndjson")).ok());
            let files = files.map(|dir| dir.display().to_string());
            let shrinks = report.verdict != Verdict::Nondeterministic;
            let trace = trace.as_ref().map(|(_, trace)| trace.as_slice());
            let shown = Failure { report, trace, arguments: &arguments, shrinks, files: files.as_deref(), full: false };
            format!("\n{}\n", render::failure(&shown, paint))
        } else if nth <= 10 {
            let what = format!("{} {}", report.verdict.name(), report.first().map_or("", |f| f.check.as_str()));
            let kept = files.map(|dir| format!(" → {}", dir.display())).unwrap_or_default();
            format!("{}  seed {} of {}{kept}\n", paint.bad(&what), report.seed, report.scenario)
        } else {
            String::new()
        };
        progress.around(|| term::out(&text));
        Ok(true)
    }

    fn finish(mut self, elapsed: Duration, jobs: usize, from: u64, again: &str, interrupted: bool, broke: bool) -> anyhow::Result<i32> {
        let mix = self.general.then(|| Mix::of(&self.new));
        let mut vacuous = mix.map(|mix| mix.misses()).unwrap_or_default();
        if self.args.mutant.is_none() {
            vacuous.extend(silent_aims(&self.new, scenarios::aims));
        }
        let code = if broke {
            EXIT_HARNESS
        } else if self.tally.runs == 0 {
            EXIT_NOTHING
        } else {
            summary::vacuous_exit(self.tally.status, &vacuous)
        };
        let elapsed_ns = elapsed.as_nanos() as u64;
        let batch = Batch { elapsed_ns, jobs, again, mix, vacuous: &vacuous, failures: &self.failures, interrupted };
        term::out(&summary::render(&self.tally, &batch, Paint::for_stdout()));
        self.json.write(&self.tally.summary_line(elapsed_ns, code, Some(from), &vacuous))?;
        self.json.finish()?;
        if let Some(path) = &self.args.junit {
            self.junit.write(path, &self.tally, elapsed)?;
        }
        Ok(code)
    }
}

/// Sets `stop` at the first Ctrl-C, and ends at the second. The flag returned says whether there was one.
///
/// # Errors
/// The handler cannot be set.
pub fn interrupts(stop: &Arc<AtomicBool>) -> anyhow::Result<Arc<AtomicBool>> {
    let pressed = Arc::new(AtomicBool::new(false));
    let (stop, seen) = (stop.clone(), pressed.clone());
    ctrlc::set_handler(move || {
        stop.store(true, Ordering::Relaxed);
        if seen.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        term::err("ending: the runs under way are finished first (Ctrl-C again to quit at once)");
    })
    .context("Ctrl-C cannot be handled")?;
    Ok(pressed)
}

/// The command that makes the same batch again.
fn again(args: &Fuzz, from: u64) -> String {
    let mut words = vec!["cargo sim fuzz".to_owned()];
    words.extend(args.scenario.iter().map(|s| shell(s)));
    words.push(format!("--from {from}"));
    match args.duration {
        Some(time) => words.push(format!("--for {}s", time.as_secs().max(1))),
        None => words.push(format!("--seeds {}", args.seeds.unwrap_or(SEEDS_DEFAULT))),
    }
    if args.engine != Engine::Both {
        words.push(format!("--engine {}", args.engine.of_seed(1)[0].name()));
    }
    words.extend(args.shard.as_ref().map(|s| format!("--shard {}", shell(s))));
    words.extend(args.mutant.as_ref().map(|m| format!("--mutant {m}")));
    words.join(" ")
}

/// Worker processes without --jobs.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A file that is written at the end must have a place to go, or a night's work is lost.
fn require_directory(flag: &str, path: &std::path::Path) -> anyhow::Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).map_or_else(|| root().join("."), std::path::Path::to_owned);
    if path.is_dir() || !parent.is_dir() {
        return Err(usage(format!("{flag} {}: cannot be written; accepted: a file in a directory that exists", path.display())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(seeds: u64, shard: &str) -> Source {
        let shard = Shard::parse(shard).unwrap();
        let scenarios = plan::scenarios().iter().collect();
        let engine = Engine::Direct;
        Source {
            replays: Default::default(),
            scenarios,
            engine,
            from: 100,
            seeds: Some(seeds),
            shard,
            i: 0,
            engines: [].iter(),
            until: None,
        }
    }

    fn seeds(mut source: Source) -> Vec<u64> {
        std::iter::from_fn(|| source.next()).map(|item| if let Work::Seed { seed, .. } = item.work { seed } else { 0 }).collect()
    }

    #[test]
    fn run_i_has_seed_from_plus_i() {
        assert_eq!(seeds(source(4, "1/1")), [100, 101, 102, 103]);
        assert_eq!(seeds(source(5, "2/2")), [101, 103]);
        assert_eq!(seeds(source(0, "1/1")), [] as [u64; 0]);
    }

    #[test]
    fn both_engines_run_every_twentieth_seed() {
        let both = Source { engine: Engine::Both, ..source(41, "1/1") };
        let twice: Vec<u64> = seeds(both).windows(2).filter(|w| w[0] == w[1]).map(|w| w[0]).collect();
        assert_eq!(twice, [100, 120, 140]);
    }

    #[test]
    fn a_seed_has_the_scenario_that_repro_draws() {
        let mut source = source(50, "1/1");
        while let Some(Item { work: Work::Seed { scenario, seed }, .. }) = source.next() {
            assert_eq!(scenario, scenarios::drawn_from_all(seed).name);
        }
    }
}
