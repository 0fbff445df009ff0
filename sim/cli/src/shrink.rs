//! `shrink`: the smallest plan for which the same rule of the same check still fails. Faults and operations are taken out by delta debugging,
//! then what remains is made simpler, until neither helps. Every candidate is run by a worker, so that one that hangs costs only its time.
//! The plan written is run once more in a fresh process before it is called smaller.

use anyhow::{Context, bail};
use harness::{Finding, RunReport, Verdict};
use plan::{Plan, Simplification, Unit};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::args::Shrink;
use crate::ddmin::ddmin;
use crate::error::usage;
use crate::findings::Store;
use crate::fuzz::interrupts;
use crate::lane::Lane;
use crate::target::{Origin, Target, shell};
use crate::term::{self, duration, plural};
use crate::worker::{Job, Work};

/// Runs the command: the exit status of the failure that was shrunk.
///
/// # Errors
/// Bad input, among it a run that does not fail; or the harness itself failed.
pub fn shrink(args: &Shrink) -> anyhow::Result<i32> {
    let engine = args.engine.map(crate::args::Engine::one).transpose()?;
    let target = Target::resolve(&args.what, args.scenario.as_deref(), args.mutant.as_deref(), engine, &Store::default_place())?;
    if let Some(out) = &args.out {
        require_new(out)?;
    }
    let mutant = target.mutant.map(|m| m.name().to_owned());
    let job = |plan: &Plan| {
        let work = Work::Plan { file: "candidate".to_owned(), text: plan.to_toml() };
        Job { work, engine: target.engine, mutant: mutant.clone(), record: None, log: "error".to_owned() }
    };
    let mut lane = Lane::new(args.limits.run_timeout);
    let report = lane.run(&job(&target.plan))?;
    let goal = goal(&report, &args.what)?.clone();
    term::err(&format!("{} ({}): {}", goal.check, goal.rule, goal.message));

    let stop = Arc::new(AtomicBool::new(false));
    interrupts(&stop)?;
    let mut search = Search { best: target.plan.clone(), tries: 0, tries_max: args.tries, begun: Instant::now(), told: Instant::now() };
    search.run(|plan| {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        Ok(Some(fails_alike(&lane.run(&job(plan))?, &goal)))
    })?;

    let smaller = search.best;
    let report = Lane::new(args.limits.run_timeout).run(&job(&smaller))?;
    if !fails_alike(&report, &goal) {
        bail!("the smaller plan does not fail in a fresh process: the run is nondeterministic; nothing was written");
    }
    let path = write(args.out.as_deref(), &smaller, &goal)?;
    let arguments = Origin::Plan(path.clone()).arguments(&smaller.scenario, smaller.seed, mutant.as_deref(), target.engine.name());
    let (before, after) = (Size::of(&target.plan), Size::of(&smaller));
    term::out(&format!(
        "{} ({}) still fails\n  {before}\n  {after}\nafter {} in {}\n\n{}\n\nReproduce  cargo sim repro {arguments}\n",
        goal.check,
        goal.rule,
        plural(search.tries, "run", "runs"),
        duration(search.begun.elapsed().as_nanos() as u64),
        story(&smaller),
    ));
    Ok(report.verdict.exit_code())
}

/// What must go on failing: what the run is named by.
fn goal<'a>(report: &'a RunReport, what: &str) -> anyhow::Result<&'a Finding> {
    match report.verdict {
        Verdict::Pass => Err(usage(format!("`{what}` passes, so there is nothing to shrink; accepted: a run that fails"))),
        Verdict::Vacuous => Err(usage(format!("`{what}` is only vacuous, which a smaller plan would be too; accepted: a run that fails"))),
        _ => report.first().context("a run failed without a finding"),
    }
}

/// Whether the run breaks the same rule of the same check.
fn fails_alike(report: &RunReport, goal: &Finding) -> bool {
    report.findings.iter().any(|f| f.verdict == goal.verdict && f.check == goal.check && f.rule == goal.rule)
}

/// The search for a smaller plan.
struct Search {
    best: Plan,
    tries: u64,
    tries_max: u64,
    begun: Instant,
    told: Instant,
}

impl Search {
    /// Makes `best` as small as it gets. `fails` runs a plan; it gives `None` when the search shall end.
    fn run(&mut self, mut fails: impl FnMut(&Plan) -> anyhow::Result<Option<bool>>) -> anyhow::Result<()> {
        let mut failure = None;
        // None: out of budget, told to end, or the harness failed. The best so far counts.
        let mut test = |search: &mut Tries, plan: &Plan| -> Option<bool> {
            if failure.is_some() || !search.take() {
                return None;
            }
            match fails(plan) {
                Ok(outcome) => outcome,
                Err(error) => {
                    failure = Some(error);
                    None
                }
            }
        };
        let mut tries = Tries { left: self.tries_max };
        loop {
            let before = self.best.clone();
            // Faults first: each one less makes the story much shorter. Then operations.
            for of_faults in [true, false] {
                let units: Vec<Unit> = self.best.units().into_iter().filter(|u| matches!(u, Unit::Fault(_)) == of_faults).collect();
                let plan = self.best.clone();
                let without = |kept: &[usize]| {
                    let gone: Vec<Unit> = (0..units.len()).filter(|i| kept.binary_search(i).is_err()).map(|i| units[i]).collect();
                    plan.without(&gone)
                };
                let kept = ddmin(units.len(), |kept| {
                    let candidate = without(kept);
                    let failed = test(&mut tries, &candidate);
                    self.tell(&candidate, failed);
                    failed
                });
                self.best = without(&kept);
            }
            for how in Simplification::ALL {
                while let Some(candidate) = self.best.simplified(*how) {
                    let failed = test(&mut tries, &candidate);
                    self.tell(&candidate, failed);
                    if failed != Some(true) {
                        break;
                    }
                    self.best = candidate;
                }
            }
            // Everything sooner: half the quiet time, then half of that.
            while let Some(candidate) = sooner(&self.best) {
                let failed = test(&mut tries, &candidate);
                self.tell(&candidate, failed);
                if failed != Some(true) {
                    break;
                }
                self.best = candidate;
            }
            if self.best == before || tries.left == 0 {
                break;
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// A line of progress now and then.
    fn tell(&mut self, candidate: &Plan, failed: Option<bool>) {
        self.tries += u64::from(failed.is_some());
        if failed == Some(true) && self.told.elapsed().as_millis() >= 1000 {
            self.told = Instant::now();
            term::err(&format!("{} so far: {}", plural(self.tries, "run", "runs"), Size::of(candidate)));
        }
    }
}

/// The plan with every time in half; `None` if that would change nothing that matters, or leave a plan that makes no sense.
fn sooner(plan: &Plan) -> Option<Plan> {
    let mut sooner = plan.clone();
    let starts = sooner.fault.iter_mut().filter_map(|f| if let plan::When::AtUs(at) = &mut f.when { Some(at) } else { None });
    let times = sooner.op.iter_mut().map(|op| &mut op.at_us).chain(starts).chain([&mut sooner.heal.at_us]);
    // Below a millisecond, sooner explains nothing more.
    times.filter(|at| **at > 1_000).for_each(|at| *at /= 2);
    (sooner != *plan && Plan::parse(&sooner.to_toml(), "candidate").is_ok()).then_some(sooner)
}

struct Tries {
    left: u64,
}

impl Tries {
    fn take(&mut self) -> bool {
        let some = self.left > 0;
        self.left = self.left.saturating_sub(1);
        some
    }
}

/// How big a plan is, for people.
struct Size {
    faults: usize,
    ops: usize,
    voters: u32,
    clients: u32,
    heal_us: u64,
}

impl Size {
    fn of(plan: &Plan) -> Size {
        let (voters, clients) = (plan.cluster.voters, plan.workload.clients);
        Size { faults: plan.fault.len(), ops: plan.op.len(), voters, clients, heal_us: plan.heal.at_us }
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let faults = plural(self.faults as u64, "fault", "faults");
        let ops = plural(self.ops as u64, "operation", "operations");
        let clients = plural(u64::from(self.clients), "client", "clients");
        write!(f, "{faults}, {ops}, {} nodes, {clients}, heal at {}", self.voters, duration(self.heal_us * 1000))
    }
}

/// What is left of the plan, if it fits a screen.
fn story(plan: &Plan) -> String {
    const LINES_MAX: usize = 24;
    let mut lines: Vec<String> = plan.fault.iter().map(|f| format!("  fault {}: {} ({})", f.id, f.kind, when(&f.when))).collect();
    lines.extend(plan.op.iter().map(|op| format!("  op {}: client {} {:?}", op.id, op.client, op.action)));
    if lines.len() > LINES_MAX {
        let rest = lines.len() - LINES_MAX;
        lines.truncate(LINES_MAX);
        lines.push(format!("  and {rest} more"));
    }
    lines.join("\n")
}

fn when(when: &plan::When) -> String {
    match when {
        plan::When::AtUs(at) => format!("at {}", duration(at * 1000)),
        plan::When::After { probe, n, delay_us } => format!("{} after {probe} number {n}", duration(delay_us * 1000)),
    }
}

fn require_new(path: &Path) -> anyhow::Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    if path.exists() {
        return Err(usage(format!("--out {}: this file exists, and nothing is overwritten; accepted: a new name", path.display())));
    }
    if parent.is_some_and(|p| !p.is_dir()) {
        return Err(usage(format!("--out {}: there is no such directory; accepted: a new file in one that exists", path.display())));
    }
    Ok(())
}

/// Writes the plan under a name that is not taken.
fn write(out: Option<&Path>, plan: &Plan, goal: &Finding) -> anyhow::Result<PathBuf> {
    let stem = format!("shrunk-{}-{}-{}", plan.scenario, plan.seed, goal.check);
    let mut n = 1;
    loop {
        let path = match out {
            Some(out) => out.to_owned(),
            None if n == 1 => PathBuf::from(format!("{stem}.toml")),
            None => PathBuf::from(format!("{stem}-{n}.toml")),
        };
        match std::fs::OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(mut file) => {
                file.write_all(plan.to_toml().as_bytes()).with_context(|| format!("{}: writing", path.display()))?;
                return Ok(path);
            }
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && out.is_none() => n += 1,
            Err(e) => {
                return Err(usage(format!(
                    "{}: cannot be written: {e}; --out FILE names another place",
                    shell(&path.display().to_string())
                )));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(plan: &Plan, tries_max: u64) -> Search {
        Search { best: plan.clone(), tries: 0, tries_max, begun: Instant::now(), told: Instant::now() }
    }

    #[test]
    fn what_does_not_matter_is_taken_out() {
        let plan = plan::scenario("standard").expect("the yardstick exists").draw(3);
        let wanted = plan.op[plan.op.len() / 2].id;
        let mut search = search(&plan, 100_000);
        search.run(|candidate| Ok(Some(candidate.op.iter().any(|op| op.id == wanted)))).unwrap();
        assert_eq!(search.best.op.iter().map(|op| op.id).collect::<Vec<_>>(), [wanted]);
        assert!(search.best.fault.is_empty() && search.best.cluster.voters < plan.cluster.voters);
        assert!(search.tries > 0);
        assert_eq!(Plan::parse(&search.best.to_toml(), "best").unwrap(), search.best);
    }

    #[test]
    fn the_budget_is_kept_and_the_best_so_far_counts() {
        let plan = plan::scenario("standard").expect("the yardstick exists").draw(3);
        let mut search = search(&plan, 7);
        search.run(|candidate| Ok(Some(candidate.op.len() > 10))).unwrap();
        assert_eq!(search.tries, 7);
        assert!(search.best.op.len() > 10 && search.best.op.len() <= plan.op.len());
    }
}
