//! `bench`: how fast. One scenario on one core in one process; runs on direct with all checks and without, and runs on madsim, taking turns, so
//! that the ratios are of one machine at one time. Where the time goes is sampled: a thread looks, many times a run, at which part it is.

use anyhow::bail;
use harness::profile::{self, Part};
use harness::{Engine, RunOptions, RunReport, Verdict};
use plan::Plan;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::args::Bench;
use crate::error::usage;
use crate::scenarios;
use crate::seed::parse_seed;
use crate::term::{self, Paint, duration, percent, plural, thousands};

/// Runs before the clock starts.
const WARM_UP: u64 = 5;
/// Between two looks of the sampler.
const SAMPLE_INTERVAL: Duration = Duration::from_micros(50);

/// What takes turns: the engine, and whether the checks are on.
const SIDES: [(Engine, bool); 3] = [(Engine::Direct, true), (Engine::Direct, false), (Engine::Madsim, true)];
const DIRECT: usize = 0;
const UNJUDGED: usize = 1;
const MADSIM: usize = 2;

/// What one side of the comparison adds up to.
#[derive(Default)]
struct Side {
    runs: u64,
    ns: u64,
    ns_min: u64,
    events: u64,
    ops: u64,
    sim_ns: u64,
    failed: u64,
}

impl Side {
    fn add(&mut self, report: &RunReport, ns: u64) {
        self.ns_min = if self.runs == 0 { ns } else { self.ns_min.min(ns) };
        self.runs += 1;
        self.ns += ns;
        self.events += report.events;
        self.ops += report.ops;
        self.sim_ns += report.sim_ns;
        self.failed += u64::from(report.verdict != Verdict::Pass);
    }

    fn per_second(&self) -> f64 {
        self.runs as f64 * 1e9 / self.ns.max(1) as f64
    }

    fn per_event(&self, ns: u64) -> f64 {
        ns as f64 / self.events.max(1) as f64
    }
}

/// How often each part of each side was seen.
type Seen = [[u64; Part::ALL.len()]; SIDES.len()];

/// Runs the command.
///
/// # Errors
/// Bad input; or runs that judging changed, whose speed means nothing.
pub fn bench(args: &Bench) -> anyhow::Result<i32> {
    let scenario = scenarios::by_name(&args.scenario)?;
    let from = parse_seed(&args.from).map_err(|e| usage(format!("--from: {e}")))?;
    let Some(_) = from.checked_add(WARM_UP + args.runs) else {
        return Err(usage(format!("--from {from}: the last seed would be out of range; accepted: up to {}", u64::MAX)));
    };
    let mut sides: [Side; 3] = Default::default();
    let (mut draw_ns, mut memory_begin) = (0, None);
    let (at, over, seen) = (AtomicUsize::new(usize::MAX), AtomicBool::new(false), Mutex::new(Seen::default()));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                if let Some(of_side) = seen.lock().expect("no holder panics").get_mut(at.load(Ordering::Relaxed)) {
                    of_side[profile::sample() as usize] += 1;
                }
                std::thread::sleep(SAMPLE_INTERVAL);
            }
        });
        for i in 0..WARM_UP + args.runs {
            let begun = Instant::now();
            let plan = scenario.draw(from + i);
            let drawn = begun.elapsed().as_nanos() as u64;
            // Who goes first changes: the next finds warm caches.
            for turn in 0..SIDES.len() {
                let side = (turn + i as usize) % SIDES.len();
                at.store(if i < WARM_UP { usize::MAX } else { side }, Ordering::Relaxed);
                let (report, ns) = timed(&plan, SIDES[side]);
                at.store(usize::MAX, Ordering::Relaxed);
                if i >= WARM_UP {
                    sides[side].add(&report, ns);
                }
            }
            if i + 1 == WARM_UP {
                memory_begin = resident_bytes();
            } else if i >= WARM_UP {
                draw_ns += drawn;
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    if sides[DIRECT].events != sides[UNJUDGED].events {
        let (on, off) = (sides[DIRECT].events, sides[UNJUDGED].events);
        bail!("the same seeds made {on} events with the checks on and {off} with them off: judging must not change a run");
    }
    term::out(&render(args, &sides, &seen.into_inner().expect("no holder panics"), draw_ns));
    if let (Some(begin), Some(end)) = (memory_begin, resident_bytes()) {
        let growth = end.saturating_sub(begin);
        let each = growth as f64 / (SIDES.len() as u64 * args.runs) as f64;
        term::out(&format!(
            "  memory    {:.1} MB resident, {:.1} KB more than after the warm-up ({each:.0} bytes a run)\n",
            end as f64 / 1e6,
            growth as f64 / 1e3
        ));
    }
    Ok(0)
}

fn timed(plan: &Plan, (engine, judge): (Engine, bool)) -> (RunReport, u64) {
    let options = RunOptions { engine, judge, ..RunOptions::default() };
    let begun = Instant::now();
    let (report, _) = harness::run(plan, &options);
    (report, begun.elapsed().as_nanos() as u64)
}

fn render(args: &Bench, sides: &[Side; 3], seen: &Seen, draw_ns: u64) -> String {
    let paint = Paint::for_stdout();
    let (on, off, madsim) = (&sides[DIRECT], &sides[UNJUDGED], &sides[MADSIM]);
    let runs = plural(on.runs, "run", "runs");
    let mut out = format!("{} of {} from seed {} on each engine, on one core, all checks on\n\n", runs, args.scenario, args.from);
    for (name, side) in [("direct", on), ("madsim", madsim)] {
        out += &format!(
            "  {name:<10}{}, {} a run ({} at best): {} events, {} operations, {} of virtual time\n",
            paint.bold(&format!("{:.1} runs/s", side.per_second())),
            duration(side.ns / side.runs),
            duration(side.ns_min),
            thousands(side.events / side.runs),
            thousands(side.ops / side.runs),
            duration(side.sim_ns / side.runs)
        );
    }
    out += &format!(
        "  ratios    a run on madsim takes {:.2} times as long as on direct; with the checks on {:.2} times as long as with them off\n",
        ratio(madsim.ns, on.ns),
        ratio(on.ns, off.ns)
    );
    out += &format!(
        "  events    direct {}/s, madsim {}/s; drawing a plan takes {:.0} ns an event\n\n",
        thousands((on.events as f64 * 1e9 / on.ns.max(1) as f64) as u64),
        thousands((madsim.events as f64 * 1e9 / madsim.ns.max(1) as f64) as u64),
        on.per_event(draw_ns)
    );
    out += "  ns an event, by part, sampled\n";
    out += &format!("  {:<10}{:>10}{:>10}\n", "", "direct", "madsim");
    let part_ns = |side: usize, part: Part| {
        let samples: u64 = seen[side].iter().sum();
        sides[side].per_event(sides[side].ns) * seen[side][part as usize] as f64 / samples.max(1) as f64
    };
    for part in Part::ALL {
        out += &format!("  {:<10}{:>10.0}{:>10.0}\n", part.name(), part_ns(DIRECT, part), part_ns(MADSIM, part));
    }
    out += &format!("  {:<10}{:>10.0}{:>10.0}\n", "all", on.per_event(on.ns), madsim.per_event(madsim.ns));
    let judged = percent(on.ns.saturating_sub(off.ns), on.ns);
    out += &format!("\n  checks off  direct makes {:.1} runs/s: judging is {judged:.0} % of a run\n", off.per_second());
    let failed = on.failed + madsim.failed;
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
