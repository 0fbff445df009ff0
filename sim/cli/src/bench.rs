//! `bench`: how fast. One scenario on one core in one process, runs with all checks and runs without any taking turns, so that the ratio is of
//! one machine at one time.

use anyhow::bail;
use harness::{RunOptions, RunReport, Verdict};
use plan::Plan;
use std::time::Instant;

use crate::args::Bench;
use crate::error::usage;
use crate::scenarios;
use crate::seed::parse_seed;
use crate::term::{self, Paint, duration, percent, plural, thousands};

/// Runs before the clock starts.
const WARM_UP: u64 = 5;

/// What one side of the comparison adds up to.
#[derive(Default)]
struct Side {
    runs: u64,
    ns: u64,
    ns_min: u64,
    events: u64,
    ops: u64,
    sim_ns: u64,
}

impl Side {
    fn add(&mut self, report: &RunReport, ns: u64) {
        self.ns_min = if self.runs == 0 { ns } else { self.ns_min.min(ns) };
        self.runs += 1;
        self.ns += ns;
        self.events += report.events;
        self.ops += report.ops;
        self.sim_ns += report.sim_ns;
    }

    fn per_second(&self) -> f64 {
        self.runs as f64 * 1e9 / self.ns.max(1) as f64
    }
}

/// Runs the command.
///
/// # Errors
/// Bad input; or a run that failed, whose speed means nothing.
pub fn bench(args: &Bench) -> anyhow::Result<i32> {
    let scenario = scenarios::by_name(&args.scenario)?;
    let from = parse_seed(&args.from).map_err(|e| usage(format!("--from: {e}")))?;
    let Some(_) = from.checked_add(WARM_UP + args.runs) else {
        return Err(usage(format!("--from {from}: the last seed would be out of range; accepted: up to {}", u64::MAX)));
    };
    let (mut on, mut off) = (Side::default(), Side::default());
    let mut draw_ns = 0;
    let (mut memory_begin, mut failed) = (None, 0);
    for i in 0..WARM_UP + args.runs {
        let begun = Instant::now();
        let plan = scenario.draw(from + i);
        let drawn = begun.elapsed().as_nanos() as u64;
        // Who goes first alternates: the second finds warm caches.
        let order = if i % 2 == 0 { [true, false] } else { [false, true] };
        for judge in order {
            let (report, ns) = timed(&plan, judge);
            if i < WARM_UP {
                continue;
            }
            failed += u64::from(judge && report.verdict != Verdict::Pass);
            if judge { on.add(&report, ns) } else { off.add(&report, ns) }
        }
        if i + 1 == WARM_UP {
            memory_begin = resident_bytes();
        } else if i >= WARM_UP {
            draw_ns += drawn;
        }
    }
    if on.runs == 0 || on.events != off.events {
        bail!(
            "the same seeds made {} events with the checks on and {} with them off: judging must not change a run",
            on.events,
            off.events
        );
    }
    term::out(&render(args, &on, &off, draw_ns, failed));
    if let (Some(begin), Some(end)) = (memory_begin, resident_bytes()) {
        let growth = end.saturating_sub(begin);
        let each = growth as f64 / (2 * args.runs) as f64;
        term::out(&format!(
            "  memory    {:.1} MB resident, {:.1} KB more than after the warm-up ({each:.0} bytes a run)\n",
            end as f64 / 1e6,
            growth as f64 / 1e3
        ));
    }
    Ok(0)
}

fn timed(plan: &Plan, judge: bool) -> (RunReport, u64) {
    let options = RunOptions { judge, ..RunOptions::default() };
    let begun = Instant::now();
    let (report, _) = harness::run(plan, &options);
    (report, begun.elapsed().as_nanos() as u64)
}

fn render(args: &Bench, on: &Side, off: &Side, draw_ns: u64, failed: u64) -> String {
    let paint = Paint::for_stdout();
    let per_event = |ns: u64| ns as f64 / on.events.max(1) as f64;
    let judge_ns = on.ns.saturating_sub(off.ns);
    let mut out = format!(
        "{}: {} of {} from seed {} on one core, all checks on\n\n",
        paint.bold(&format!("{:.1} runs/s", on.per_second())),
        plural(on.runs, "run", "runs"),
        args.scenario,
        args.from
    );
    out += &format!(
        "  checks off  {:.1} runs/s; with the checks on a run takes {:.2} times as long\n",
        off.per_second(),
        ratio(on.ns, off.ns)
    );
    out += &format!(
        "  a run       {} ({} at best), {} events, {} operations, {} of virtual time\n",
        duration(on.ns / on.runs),
        duration(on.ns_min),
        thousands(on.events / on.runs),
        thousands(on.ops / on.runs),
        duration(on.sim_ns / on.runs)
    );
    out += &format!(
        "  events      {}/s with the checks on, {}/s off; {:.0} simulated seconds per second\n",
        thousands((on.events as f64 * 1e9 / on.ns.max(1) as f64) as u64),
        thousands((off.events as f64 * 1e9 / off.ns.max(1) as f64) as u64),
        on.sim_ns as f64 / on.ns.max(1) as f64
    );
    out += &format!(
        "  an event    {:.0} ns: {:.0} ns to run, {:.0} ns to judge ({:.0} %); drawing the plan {:.0} ns\n",
        per_event(on.ns),
        per_event(off.ns),
        per_event(judge_ns),
        percent(judge_ns, on.ns),
        per_event(draw_ns)
    );
    if failed > 0 {
        out += &paint.odd(&format!("  {} did not pass: `cargo sim fuzz {}` shows why\n", plural(failed, "run", "runs"), args.scenario));
    }
    out
}

fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b.max(1) as f64
}

/// Resident memory of this process; `None` off Linux.
pub fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|l| l.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kb| kb * 1024)
}
