//! One run, told from top to bottom.

use history::{TRACE_FORMAT, TraceHeader};
use plan::Plan;
use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;
use world::US;

use crate::cluster::Cluster;
use crate::direct::Direct;
use crate::hosts::Hosts;
use crate::profile::{self, Part};
use crate::{Artifacts, Engine, Finding, RunOptions, RunReport, judge};

/// After the heal, how often to see whether everything has come to rest (virtual).
const LOOK_INTERVAL: u64 = 50_000 * US;

/// Stack of a run's own thread.
const STACK_BYTES: usize = 8 << 20;

/// Runs a plan and judges it.
///
/// A panic of the system under test is a verdict ([`crate::Verdict::Crash`]), not a panic of the caller's; what had been seen until then
/// is judged all the same. The plan must have been validated ([`Plan::parse`] does).
pub fn run(plan: &Plan, options: &RunOptions) -> (RunReport, Option<Artifacts>) {
    match options.engine {
        Engine::Direct => run_here(plan, options),
        // A thread of its own: std's hash maps, which madsim uses, take their keys once a thread.
        Engine::Madsim => std::thread::scope(|scope| {
            let run = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, || run_here(plan, options));
            run.expect("a thread can be started").join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        }),
    }
}

fn run_here(plan: &Plan, options: &RunOptions) -> (RunReport, Option<Artifacts>) {
    let began = Instant::now();
    let _running = profile::enter(Part::Scheduler);
    mutants::plant(options.mutant);
    let (outcome, log) =
        if options.record { crate::log::with_log(&options.log, || play(plan, options)) } else { (play(plan, options), Vec::new()) };
    mutants::plant(None);
    let Played { mut cluster, header, findings, at_rest } = outcome;

    let _judging = profile::enter(Part::Checks);
    // Judge: what the online checks found, what is judged at the end, and whether the run went where its scenario says.
    let verdicts = judge::judge(&mut cluster, findings, &at_rest, options);
    let report = judge::report(&cluster, plan, options, verdicts, began);
    let artifacts = options.record.then(|| Artifacts {
        header,
        trace: cluster.observer.take_recorded(),
        history: std::mem::take(&mut cluster.history).into_operations(),
        log,
    });
    (report, artifacts)
}

/// A run before it is judged.
struct Played {
    cluster: Cluster,
    header: TraceHeader,
    /// What stopped it or kept it from ending well.
    findings: Vec<Finding>,
    /// Nodes at rest at the end, and the hashes of their states.
    at_rest: Vec<judge::AtRest>,
}

/// Plan → world → loop → heal → converge.
fn play(plan: &Plan, options: &RunOptions) -> Played {
    let header = TraceHeader {
        format: TRACE_FORMAT,
        engine: options.engine.name().to_owned(),
        scenario: plan.scenario.clone(),
        seed: plan.seed,
        voters: (1..=plan.cluster.voters).collect(),
        drift_ppm: plan.drift_ppm(),
    };
    let cluster = Cluster::new(plan, &header, options);
    let (cluster, caught) = match options.engine {
        Engine::Direct => play_directly(cluster, Ending::new(plan), options.record),
        Engine::Madsim => crate::madsim::play(cluster, Ending::new(plan), options.record),
    };
    let (findings, at_rest) = match caught {
        Ok((missing, at_rest)) if missing.is_empty() => (Vec::new(), at_rest),
        Ok((missing, _)) => (vec![judge::not_live(&cluster, missing)], Vec::new()),
        Err(panic) => (vec![judge::panicked(&cluster, &panic.message, panic.backtrace)], Vec::new()),
    };
    Played { cluster, header, findings, at_rest }
}

/// What has not come to rest at the end, and the nodes at rest if everything has.
pub(crate) type Ended = (Vec<String>, Vec<judge::AtRest>);

/// The loop of the direct engine; that of the other is `conduct` in `madsim/mod.rs`.
fn play_directly(mut cluster: Cluster, mut ending: Ending, backtrace: bool) -> (Cluster, Result<Ended, Caught>) {
    let mut hosts = Direct::new(cluster.plan.nodes(), cluster.clients());
    let caught = catch(backtrace, || {
        cluster.start(&mut hosts);
        // Each step takes the next thing from the queue (a message, a write's end, a timer, an operation, a fault), does it, lets
        // anchored faults react, and shows every event to the observer.
        while cluster.step(&mut hosts) {
            if let Some(missing) = ending.look(&cluster, &hosts) {
                return missing;
            }
        }
        judge::unfinished(&cluster, &hosts)
    });
    let ended = caught.map(|missing| {
        let at_rest = if missing.is_empty() { judge::at_rest(&cluster, &hosts) } else { Vec::new() };
        (missing, at_rest)
    });
    (cluster, ended)
}

/// When a run ends: at rest, or too late.
pub(crate) struct Ending {
    at_min: u64,
    deadline: u64,
    look_at: u64,
}

impl Ending {
    pub(crate) fn new(plan: &Plan) -> Self {
        let deadline = (plan.heal.at_us + plan.end.bound_us()) * US;
        Ending { at_min: plan.end.at_us_min * US, deadline, look_at: 0 }
    }

    /// Now and then after the heal, sees whether everything has come to rest. `Some` ends the run, with what is missing.
    pub(crate) fn look(&mut self, cluster: &Cluster, hosts: &impl Hosts) -> Option<Vec<String>> {
        if !cluster.healed || cluster.now < self.look_at {
            return None;
        }
        self.look_at = cluster.now + LOOK_INTERVAL;
        let missing = judge::unfinished(cluster, hosts);
        let over = if missing.is_empty() { cluster.now >= self.at_min } else { cluster.now >= self.deadline.max(self.at_min) };
        over.then_some(missing)
    }
}

/// A panic, caught.
pub(crate) struct Caught {
    message: String,
    backtrace: Vec<String>,
}

thread_local! {
    /// Whether a panic on this thread is the system under test's, to be caught without a word; and whether to take its backtrace.
    static CATCHING: RefCell<Option<bool>> = const { RefCell::new(None) };
    static CAUGHT: RefCell<Option<Caught>> = const { RefCell::new(None) };
}

/// Runs `f`; a panic in it becomes a value. Backtraces are slow, so they are taken only for runs that are recorded.
pub(crate) fn catch<R>(backtrace: bool, f: impl FnOnce() -> R) -> Result<R, Caught> {
    static HOOK: std::sync::Once = std::sync::Once::new();
    HOOK.call_once(|| {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| match CATCHING.with(|catching| *catching.borrow()) {
            None => default(info),
            Some(backtrace) => {
                let at = info.location().map_or_else(String::new, |l| format!(" ({}:{})", l.file(), l.line()));
                let message = format!("{}{at}", info.payload_as_str().unwrap_or("panic"));
                let backtrace = if backtrace { own_frames(&Backtrace::force_capture()) } else { Vec::new() };
                CAUGHT.with(|caught| *caught.borrow_mut() = Some(Caught { message, backtrace }));
            }
        }));
    });
    CATCHING.with(|catching| *catching.borrow_mut() = Some(backtrace));
    let result = catch_unwind(AssertUnwindSafe(f));
    CATCHING.with(|catching| *catching.borrow_mut() = None);
    result.map_err(|_| {
        let caught = CAUGHT.with(|caught| caught.borrow_mut().take());
        caught.unwrap_or_else(|| Caught { message: "panic".to_owned(), backtrace: Vec::new() })
    })
}

/// The frames of a backtrace that lie in this workspace, innermost first.
fn own_frames(backtrace: &Backtrace) -> Vec<String> {
    let text = backtrace.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let frames = lines.windows(2).filter(|pair| pair[1].starts_with("at ./") || pair[1].contains("/core/") && !pair[1].contains("/rustc/"));
    frames.map(|pair| format!("{} {}", pair[0], pair[1])).take(12).collect()
}
