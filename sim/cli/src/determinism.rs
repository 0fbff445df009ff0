//! `determinism`: each seed twice on each engine, the second time in a fresh process. Two runs that differ are the finding, and the first
//! event in which they do is named.

use harness::{RunReport, Verdict};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;

use crate::args::Determinism;
use crate::confirm::{confirm, same};
use crate::error::usage;
use crate::fuzz::{cores, interrupts};
use crate::lane::Lane;
use crate::repro::Scratch;
use crate::scenarios;
use crate::seed::{parse_seed, random_seed};
use crate::status::EXIT_NOTHING;
use crate::term::{self, Paint, plural};
use crate::worker::{Job, Work};

/// Runs the command: 0 if every seed came to the same twice.
///
/// # Errors
/// Bad input; or the harness itself failed.
pub fn determinism(args: &Determinism) -> anyhow::Result<i32> {
    let from = match &args.from {
        Some(text) => parse_seed(text).map_err(|e| usage(format!("--from: {e}")))?,
        None => random_seed().min(u64::MAX - args.seeds),
    };
    if from.checked_add(args.seeds).is_none() {
        return Err(usage(format!("--from {from}: the last seed would be out of range; accepted: up to {}", u64::MAX)));
    }
    term::err(&format!("seeds from {from}; cargo sim determinism {} --from {from}", args.seeds));
    let stop = Arc::new(AtomicBool::new(false));
    interrupts(&stop)?;
    let next = AtomicU64::new(0);
    let (send, compared) = channel();
    let (mut runs, mut differ, mut failure) = (0, 0, None);
    std::thread::scope(|scope| {
        for _ in 0..cores() {
            let (send, next, stop) = (send.clone(), &next, &stop);
            scope.spawn(move || {
                let mut lane = Lane::new(args.limits.run_timeout);
                while !stop.load(Ordering::Relaxed) {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    if i >= args.seeds {
                        break;
                    }
                    for &engine in args.engine.all() {
                        let seed = from + i;
                        let work = Work::Seed { scenario: scenarios::drawn_from_all(seed).name.clone(), seed };
                        let job = Job { work, engine, mutant: None, record: None, log: "debug".to_owned() };
                        let _ = send.send(twice(&job, &mut lane, args));
                    }
                }
            });
        }
        drop(send);
        let paint = Paint::for_stdout();
        for outcome in compared {
            match outcome {
                Ok(None) => runs += 1,
                Ok(Some(report)) => {
                    (runs, differ) = (runs + 1, differ + 1);
                    let message = report.first().map_or("it differs", |f| f.message.as_str());
                    let name = format!("seed {} of {} on {}", report.seed, report.scenario, report.engine);
                    term::out(&format!("{} {name}: {message}\n", paint.bad("NOT THE SAME")));
                }
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    failure.get_or_insert(error);
                }
            }
        }
    });
    if let Some(error) = failure {
        return Err(error);
    }
    let each = plural(runs, "run, made twice,", "runs, each made twice,");
    term::out(&format!("{each} {differ} of them not the same in a fresh process\n"));
    Ok(match (runs, differ) {
        (0, _) => EXIT_NOTHING,
        (_, 0) => 0,
        _ => Verdict::Nondeterministic.exit_code(),
    })
}

/// Makes the run here and in a fresh process; a report if they differ, with the first event that does.
fn twice(job: &Job, lane: &mut Lane, args: &Determinism) -> anyhow::Result<Option<RunReport>> {
    let first = lane.run(job)?;
    let second = Lane::new(args.limits.run_timeout).run(job)?;
    if same(&first, &second) {
        return Ok(None);
    }
    let scratch = Scratch::new()?;
    let confirmed = confirm(job, first.clone(), lane, args.limits.run_timeout, Some(scratch.0.join("run")))?;
    // If the recorded runs happen to agree, the difference stands all the same.
    Ok(Some(if confirmed.report.verdict == Verdict::Nondeterministic { confirmed.report } else { first }))
}
