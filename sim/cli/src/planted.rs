//! `mutants`: the harness's own test. Each known bug is planted and hunted from a fixed seed on until a check of its row reports it; then the
//! seed must show the same again in three fresh processes, and pass without the bug.

use anyhow::Context;
use harness::{Engine, RunReport, Verdict};
use mutants::Mutant;
use plan::Scenario;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::args::Mutants;
use crate::batch::{self, Item, Settings};
use crate::checks::of_letters;
use crate::confirm::same;
use crate::error::usage;
use crate::findings::root;
use crate::fuzz::{cores, interrupts};
use crate::json::Lines;
use crate::lane::Lane;
use crate::scenarios;
use crate::seed::parse_seed;
use crate::status::{EXIT_NOTHING, worse};
use crate::target::Origin;
use crate::term::{self, Paint, plural};
use crate::worker::{Job, Work};

/// Seeds for each mutant without --budget.
const BUDGET_DEFAULT: u64 = 2000;
/// Times that a catch is made again, each in a fresh process.
const REPRODUCTIONS: usize = 3;

/// What became of one mutant.
struct Hunt {
    mutant: Mutant,
    engine: Engine,
    caught: Option<Catch>,
    seeds_tried: u64,
    /// Checks outside the row that reported something, if the row's did not.
    others: Vec<String>,
}

struct Catch {
    check: String,
    checks: Vec<String>,
    scenario: String,
    seed: u64,
    reproduced: bool,
    passes_without: bool,
}

/// Runs the command: 0 if every mutant was caught by a check of its row, reproducibly, by a seed that passes without it.
///
/// # Errors
/// Bad input, before anything ran or was written; or the harness itself failed.
pub fn mutants(args: &Mutants) -> anyhow::Result<i32> {
    let mut wanted = args.name.iter().map(|name| scenarios::mutant(name)).collect::<anyhow::Result<Vec<Mutant>>>()?;
    if wanted.is_empty() {
        wanted = Mutant::ALL.to_vec();
    }
    let from = parse_seed(&args.from).map_err(|e| usage(format!("--from: {e}")))?;
    let budget = args.budget.unwrap_or(BUDGET_DEFAULT);
    if from.checked_add(budget).is_none() {
        return Err(usage(format!(
            "--from {from} and --budget {budget}: the last seed would be out of range; accepted: up to {}",
            u64::MAX
        )));
    }
    let mut catalogue = Catalogue::read()?;
    let mut json = Lines::open(args.json.as_deref())?;
    let stop = Arc::new(AtomicBool::new(false));
    interrupts(&stop)?;
    let paint = Paint::for_stdout();
    let (mut hunted, mut status) = (0, if wanted.is_empty() { EXIT_NOTHING } else { 0 });
    let mut caught = 0;
    let on = |mutant: Mutant| args.engine.all().iter().map(move |&engine| (mutant, engine));
    let lives = |(mutant, engine): &(Mutant, Engine)| match engine {
        Engine::Direct => !mutant.is_of_shell(),
        Engine::Madsim => !TOO_RARE_FOR_MADSIM.contains(&mutant.name()),
    };
    for (mutant, engine) in wanted.iter().flat_map(|mutant| on(*mutant)).filter(lives) {
        let items = if args.fixed { catalogue.items(mutant, engine) } else { seeds(mutant, engine, from, budget)? };
        let hunt = hunt(mutant, engine, items, args, &stop)?;
        if stop.load(Ordering::Relaxed) && hunt.caught.is_none() {
            break;
        }
        hunted += 1;
        caught += usize::from(hunt.caught.is_some());
        status = worse(status, hunt.status());
        json.write(&hunt.line())?;
        term::out(&hunt.row(paint));
        if let (true, Some(catch)) = (args.write_fixed, &hunt.caught) {
            catalogue.set(mutant, engine, catch);
            catalogue.write()?;
        }
    }
    json.finish()?;
    term::out(&format!("\n{caught} of {} caught\n", plural(hunted, "hunt", "hunts")));
    Ok(if hunted == 0 { EXIT_NOTHING } else { status })
}

/// New seeds, each with the scenario it draws among those that can show the bug.
fn seeds(mutant: Mutant, engine: Engine, from: u64, budget: u64) -> anyhow::Result<Vec<Item>> {
    let among = hinted(mutant)?;
    let item = |i: u64| {
        let scenario = scenarios::drawn(from + i, &among).name.clone();
        Item { work: Work::Seed { scenario, seed: from + i }, engine, origin: Origin::Seed, number: Some(i) }
    };
    Ok((0..budget).map(item).collect())
}

/// Bugs that show in one run of several hundred at best, and so are hunted on the faster engine only: a frame must be torn where what
/// is left of it still decodes.
const TOO_RARE_FOR_MADSIM: &[&str] = &["torn-tail-accepted"];

/// Scenarios that are about what the mutant breaks; all of them for the others.
const HINTS: &[(&str, &[&str])] = &[
    ("super-quorum-even", &["even"]),
    ("read-index-is-commit", &["reads"]),
    ("read-index-uncommitted", &["reads"]),
    ("read-local-leader", &["reads"]),
    ("read-before-noop", &["reads"]),
    ("torn-tail-accepted", &["power"]),
    ("sessions-not-in-snapshot", &["snapshots"]),
    ("snapshot-wrong-index", &["snapshots"]),
    ("snapshot-stale-term", &["snapshots"]),
    ("snapshot-lowers-term", &["snapshots"]),
    ("snapshot-meta-first", &["snapshots"]),
    ("pool-clear-at-snapshot", &["snapshots"]),
    ("rejoin-keeps-tail", &["snapshots"]),
    ("replay-from-one", &["snapshots"]),
    ("applied-index-apart", &["power"]),
    ("rename-without-dir-sync", &["snapshots"]),
    ("record-no-config", &["membership"]),
    ("learner-counts", &["membership"]),
    ("config-version-number", &["membership"]),
    ("config-not-rolled-back", &["membership"]),
    ("config-two-at-once", &["membership"]),
    ("config-before-noop", &["membership"]),
    ("repaired-node-votes", &["membership"]),
    ("vote-uptodate-strict", &["membership"]),
    ("txn-sees-itself", &["standard", "leases"]),
    ("range-torn", &["reads"]),
    ("conflict-misses-lease", &["leases"]),
    ("lease-revoke-order", &["leases", "watches"]),
    ("lease-revoke-bumps", &["leases"]),
    ("lease-unknown-accepted", &["leases"]),
    ("lease-reattach-keeps-old", &["leases"]),
    ("lease-pop-no-retry", &["leases"]),
    ("lease-keepalive-after-expiry", &["leases", "locks"]),
    ("lease-stale-tick", &["leases", "locks"]),
    ("lease-wall-clock", &["leases", "locks"]),
    ("lease-keepalive-stale", &["leases", "locks"]),
    ("time-to-live-stale", &["leases"]),
    ("lease-no-promote", &["leases", "locks"]),
    ("lease-follower-expires", &["leases", "locks"]),
    ("lease-stamp-vs-current", &["leases"]),
    ("snapshot-forgets-leases", &["leases", "zookeeper"]),
    ("revoke-is-fast", &["leases"]),
    ("watch-out-of-order", &["watches"]),
    ("watch-gap-at-register", &["watches"]),
    ("watch-skips-undelivered", &["watches"]),
    ("watch-slow-canceled", &["watches"]),
    ("watch-wrong-prev", &["watches"]),
    ("watch-compacted-delete", &["watches"]),
    ("watch-early-event", &["watches"]),
];

fn hinted(mutant: Mutant) -> anyhow::Result<Vec<&'static Scenario>> {
    match HINTS.iter().find(|(name, _)| *name == mutant.name()) {
        Some((_, names)) => scenarios::select(&names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()),
        None => scenarios::select(&[]),
    }
}

/// Hunts until a run that a check of the row reports, and that passes without the mutant: a seed that fails anyway shows nothing.
fn hunt(mutant: Mutant, engine: Engine, items: Vec<Item>, args: &Mutants, stop: &Arc<AtomicBool>) -> anyhow::Result<Hunt> {
    let row = of_letters(mutant.checks());
    let mut hunt = Hunt { mutant, engine, caught: None, seeds_tried: 0, others: Vec::new() };
    while let Some((number, report)) = first_report(&mut hunt, &items, &row, args, stop)? {
        let catch = verify(mutant, engine, items[number as usize].work.clone(), &report, &row, args)?;
        let good = catch.passes_without;
        hunt.caught = Some(catch);
        hunt.seeds_tried = number + 1;
        if good {
            break;
        }
    }
    Ok(hunt)
}

/// Runs the items from `seeds_tried` on until the first, in their order, whose run a check of the row reports. Which one that is does not depend
/// on the number of workers: those before it are all run.
fn first_report(
    hunt: &mut Hunt,
    items: &[Item],
    row: &[&str],
    args: &Mutants,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<Option<(u64, RunReport)>> {
    let jobs = args.jobs.map_or_else(cores, |n| n as usize).min(items.len().max(1));
    let settings = Settings { jobs, run_limit: args.limits.run_timeout, mutant: Some(hunt.mutant), store: None };
    let (last, next) = (AtomicU64::new(u64::MAX), AtomicU64::new(hunt.seeds_tried));
    let mut best: Option<(u64, RunReport)> = None;
    let source = || {
        let i = next.fetch_add(1, Ordering::Relaxed);
        (i <= last.load(Ordering::Relaxed)).then(|| items.get(i as usize).cloned()).flatten()
    };
    batch::run(&settings, stop, source, |ended| {
        let Some(ended) = ended else { return Ok(()) };
        let number = ended.item.number.unwrap_or(0);
        hunt.seeds_tried = hunt.seeds_tried.max(number + 1);
        if reporting(&ended.report, row).is_empty() {
            for check in failing(&ended.report) {
                if !hunt.others.contains(&check) {
                    hunt.others.push(check);
                }
            }
        } else if best.as_ref().is_none_or(|(n, _)| number < *n) {
            last.fetch_min(number, Ordering::Relaxed);
            best = Some((number, ended.report));
        }
        Ok(())
    })?;
    Ok(best)
}

/// The checks of the row that report something in this run, in the order in which they did.
fn reporting(report: &RunReport, row: &[&str]) -> Vec<String> {
    failing(report).into_iter().filter(|check| row.contains(&check.as_str())).collect()
}

/// Every check that reports a failure, in order, each once.
fn failing(report: &RunReport) -> Vec<String> {
    let mut checks: Vec<String> = Vec::new();
    for finding in &report.findings {
        if crate::status::is_failed(finding.verdict) && finding.verdict != Verdict::Vacuous && !checks.contains(&finding.check) {
            checks.push(finding.check.clone());
        }
    }
    checks
}

fn verify(mutant: Mutant, engine: Engine, work: Work, report: &RunReport, row: &[&str], args: &Mutants) -> anyhow::Result<Catch> {
    let run = |mutant: Option<Mutant>| {
        let mutant = mutant.map(|m| m.name().to_owned());
        Lane::new(args.limits.run_timeout).run(&Job { work: work.clone(), engine, mutant, record: None, log: "error".to_owned() })
    };
    let mut reproduced = true;
    for _ in 0..REPRODUCTIONS {
        reproduced &= same(report, &run(Some(mutant))?);
    }
    let passes_without = run(None)?.verdict == Verdict::Pass;
    let check = reporting(report, row).into_iter().next().context("a catch without a check")?;
    let (scenario, seed) = (report.scenario.clone(), report.seed);
    Ok(Catch { check, checks: failing(report), scenario, seed, reproduced, passes_without })
}

impl Hunt {
    fn status(&self) -> i32 {
        match &self.caught {
            None => Verdict::Violation.exit_code(),
            Some(catch) if !catch.passes_without => Verdict::Violation.exit_code(),
            Some(catch) if !catch.reproduced => Verdict::Nondeterministic.exit_code(),
            Some(_) => 0,
        }
    }

    fn line(&self) -> Value {
        let caught = self.caught.as_ref();
        json!({
            "kind": "mutant", "name": self.mutant.name(), "caught": caught.is_some(), "check": caught.map(|c| &c.check),
            "checks": caught.map_or(&self.others, |c| &c.checks), "scenario": caught.map(|c| &c.scenario), "seed": caught.map(|c| c.seed),
            "seeds_tried": self.seeds_tried, "engine": self.engine.name(), "expected": of_letters(self.mutant.checks()), "what": self.mutant.what(),
            "reproduced": caught.map(|c| c.reproduced), "passes_without": caught.map(|c| c.passes_without),
        })
    }

    fn row(&self, paint: Paint) -> String {
        let name = format!("{:<28} {:<7}", self.mutant.name(), self.engine.name());
        let tried = plural(self.seeds_tried, "seed", "seeds");
        let outcome = match &self.caught {
            None => {
                let others =
                    if self.others.is_empty() { String::new() } else { format!("; only {} reported anything", self.others.join(", ")) };
                let expected = of_letters(self.mutant.checks()).join(", ");
                paint.bad(&format!("NOT CAUGHT in {tried} (expected {expected}){others}"))
            }
            Some(catch) => {
                let also: Vec<&str> = catch.checks.iter().filter(|c| **c != catch.check).map(String::as_str).collect();
                let also = if also.is_empty() { String::new() } else { format!(" (also {})", also.join(", ")) };
                let mut text = format!("{}{also} after {tried}: {} {}", paint.good(&catch.check), catch.scenario, catch.seed);
                if !catch.reproduced {
                    text += &paint.bad(", NOT THE SAME in a fresh process");
                }
                if !catch.passes_without {
                    text += &paint.bad(", and the seed FAILS WITHOUT the mutant");
                }
                text
            }
        };
        format!("{name} {outcome}\n{:<28} {}\n", "", paint.dim(self.mutant.what()))
    }
}

/// scenarios/mutants.toml: for each mutant and engine a scenario and a seed that show it.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Catalogue {
    #[serde(default)]
    mutant: Vec<Fixed>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixed {
    name: String,
    engine: Engine,
    scenario: String,
    seed: u64,
    check: String,
}

impl Catalogue {
    fn path() -> PathBuf {
        root().join("scenarios").join("mutants.toml")
    }

    fn read() -> anyhow::Result<Catalogue> {
        let path = Catalogue::path();
        let Ok(text) = std::fs::read_to_string(&path) else { return Ok(Catalogue::default()) };
        toml::from_str(&text).map_err(|e| {
            let line = e.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            let message = e.message().trim().to_owned();
            usage(format!("{}:{line}: {message}; accepted: [[mutant]] with name, engine, scenario, seed and check", path.display()))
        })
    }

    fn items(&self, mutant: Mutant, engine: Engine) -> Vec<Item> {
        let fixed = self.mutant.iter().filter(|fixed| fixed.name == mutant.name() && fixed.engine == engine);
        let item = |(i, fixed): (usize, &Fixed)| {
            let work = Work::Seed { scenario: fixed.scenario.clone(), seed: fixed.seed };
            Item { work, engine, origin: Origin::Seed, number: Some(i as u64) }
        };
        fixed.enumerate().map(item).collect()
    }

    fn set(&mut self, mutant: Mutant, engine: Engine, catch: &Catch) {
        let (name, scenario) = (mutant.name().to_owned(), catch.scenario.clone());
        let fixed = Fixed { name, engine, scenario, seed: catch.seed, check: catch.check.clone() };
        self.mutant.retain(|other| (&other.name, other.engine) != (&fixed.name, fixed.engine));
        self.mutant.push(fixed);
        let place = |name: &str| Mutant::ALL.iter().position(|m| m.name() == name);
        self.mutant.sort_by_key(|fixed| (place(&fixed.name), fixed.engine));
    }

    fn write(&self) -> anyhow::Result<()> {
        let head = "# For each mutant and engine a seed that shows it: `cargo sim mutants --fixed` runs these. Written by `cargo sim mutants --write-fixed`.\n\n";
        let path = Catalogue::path();
        let text = toml::to_string(self).context("the catalogue as TOML")?;
        let partial = path.with_extension("toml.partial");
        std::fs::create_dir_all(root().join("scenarios")).context("making scenarios/")?;
        std::fs::write(&partial, format!("{head}{text}")).with_context(|| format!("{}: writing", path.display()))?;
        std::fs::rename(&partial, &path).with_context(|| format!("{}: renaming", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn only_checks_of_the_row_catch() {
        let (report, _) = samples::lost_write();
        assert_eq!(reporting(&report, &of_letters("QL")), ["recovery", "linearizability"]);
        assert_eq!(reporting(&report, &of_letters("D")), [] as [&str; 0]);
        assert_eq!(failing(&report), ["recovery", "linearizability"]);
        assert!(failing(&samples::passed()).is_empty());
    }

    #[test]
    fn hints_name_what_exists() {
        for (mutant, names) in HINTS {
            let mutant: Mutant = mutant.parse().unwrap();
            assert_eq!(hinted(mutant).unwrap().len(), names.len());
        }
    }

    #[test]
    fn a_catalogue_is_read_back_in_its_order() {
        let mut catalogue = Catalogue::default();
        let catch = |seed| Catch {
            check: "recovery".into(),
            checks: vec![],
            scenario: "standard".into(),
            seed,
            reproduced: true,
            passes_without: true,
        };
        catalogue.set(Mutant::ALL[2], Engine::Direct, &catch(9));
        catalogue.set(Mutant::ALL[0], Engine::Direct, &catch(8));
        catalogue.set(Mutant::ALL[2], Engine::Direct, &catch(7));
        let again: Catalogue = toml::from_str(&toml::to_string(&catalogue).unwrap()).unwrap();
        assert_eq!(again.mutant.iter().map(|f| f.seed).collect::<Vec<_>>(), [8, 7]);
        assert_eq!(again.items(Mutant::ALL[2], Engine::Direct).len(), 1);
        assert!(again.items(Mutant::ALL[1], Engine::Direct).is_empty());
    }
}
