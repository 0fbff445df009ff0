//! `conform`: traces held against the TLA+ specification. Every trace is read and told in steps before the first is judged, so that bad input is
//! noticed before anything ran. The judge is TLC; the specification's Rust model is not built yet.

mod golden;
mod suite;

use ::conform::{Batch, Missing, Rejection, Tlc, Verdict};
use history::{Stamped, TraceHeader};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Instant;

use crate::args::Conform;
use crate::error::usage;
use crate::events;
use crate::findings::root;
use crate::json::Lines;
use crate::status::EXIT_NOTHING;
use crate::term::{self, Paint, duration, plural};

/// JVMs side by side: each may want some gigabytes.
const JVMS_MAX: usize = 2;
/// Events of the same node that are shown before a rejected one.
const BEFORE: usize = 5;
/// Exit status if a verdict is not the one there should be.
const EXIT_REJECTED: i32 = 1;
/// The file of a run or a finding.
const TRACE_FILE: &str = "trace.ndjson";

/// A trace, read.
struct Loaded {
    path: PathBuf,
    header: TraceHeader,
    events: Vec<Stamped>,
}

/// Runs the command: 0 if all is as it should be, 1 if not, 4 without what TLC needs.
///
/// # Errors
/// Bad input, before anything ran; or TLC came to no verdict.
pub fn conform(args: &Conform) -> anyhow::Result<i32> {
    if !args.tlc {
        return Err(usage("conform: the specification's Rust model is not built yet; accepted: `conform --tlc`, which has TLC judge"));
    }
    let golden = if args.trace.is_empty() { Some(golden::Golden::read()?) } else { None };
    let traces = match &golden {
        Some(golden) => golden.traces(args.suite)?,
        None => named(&args.trace)?,
    };
    let tlc = match Tlc::find(&root()) {
        Ok(tlc) => tlc,
        Err(missing @ (Missing::Java | Missing::Jar(_))) => {
            term::out(&format!("conform: SKIPPED, no trace was held against the specification: {missing}\n"));
            return Ok(EXIT_NOTHING);
        }
        Err(missing @ Missing::Specification(_)) => return Err(missing.into()),
    };
    let mut json = Lines::open(args.json.as_deref())?;
    let status = match (&golden, args.suite) {
        (_, true) => suite::run(&tlc, &traces, &mut json)?,
        (Some(golden), false) => golden.run(&tlc, &traces, &mut json)?,
        (None, false) => run(&tlc, &traces, &mut json)?,
    };
    json.finish()?;
    Ok(status)
}

fn run(tlc: &Tlc, traces: &[Loaded], json: &mut Lines) -> anyhow::Result<i32> {
    let paint = Paint::for_stdout();
    let mut rejected = 0;
    judge(tlc, traces, |trace, verdict, wall_ns| {
        rejected += u64::from(*verdict != Verdict::Accepted);
        json.write(&line(trace, verdict, wall_ns))?;
        term::out(&said(trace, verdict, wall_ns, paint));
        Ok(())
    })?;
    let all = traces.len() as u64;
    term::out(&format!("\n{}: {} accepted, {rejected} rejected\n", plural(all, "trace", "traces"), all - rejected));
    Ok(if rejected > 0 { EXIT_REJECTED } else { 0 })
}

/// Holds each trace against the specification; `each` is told in the order of the traces.
fn judge(tlc: &Tlc, traces: &[Loaded], mut each: impl FnMut(&Loaded, &Verdict, u64) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let batches = traces.iter().map(batch).collect::<anyhow::Result<Vec<Batch>>>()?;
    side_by_side(&batches, |batch| Ok(batch.check(tlc)?.remove(0)), |place, verdict, wall_ns| each(&traces[place], &verdict, wall_ns))
}

fn batch(trace: &Loaded) -> anyhow::Result<Batch> {
    let mut batch = Batch::new(&trace.header.voters, trace.header.drift_ppm);
    let bad = |what: String| usage(format!("{}: {what}", trace.path.display()));
    match batch.add(&trace.events) {
        Err(error) => Err(bad(error.to_string())),
        Ok(0) => Err(bad("there is no step of the specification in this trace; accepted: the trace of a run".to_owned())),
        Ok(_) => Ok(batch),
    }
}

/// Does `work` for each item, up to two at a time; `each` is told in order, as soon as it can be.
fn side_by_side<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> anyhow::Result<R> + Sync,
    mut each: impl FnMut(usize, R, u64) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let next = AtomicUsize::new(0);
    let (sender, results) = channel();
    let (next, work) = (&next, &work);
    std::thread::scope(|scope| {
        for _ in 0..JVMS_MAX.min(items.len()) {
            let sender = sender.clone();
            scope.spawn(move || {
                while let Some((place, item)) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|place| Some((place, items.get(place)?)))
                {
                    let begun = Instant::now();
                    let result = work(item);
                    let wall_ns = begun.elapsed().as_nanos() as u64;
                    if sender.send((place, result, wall_ns)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut waiting = std::collections::BTreeMap::new();
        let mut told = 0;
        for (place, result, wall_ns) in results {
            // The other one ends its item, and finds nobody listening.
            waiting.insert(place, (result?, wall_ns));
            while let Some((result, wall_ns)) = waiting.remove(&told) {
                each(told, result, wall_ns)?;
                told += 1;
            }
        }
        Ok(())
    })
}

fn line(trace: &Loaded, verdict: &Verdict, wall_ns: u64) -> Value {
    let rejection = match verdict {
        Verdict::Accepted => None,
        Verdict::Rejected(rejection) => Some(rejection),
    };
    json!({
        "kind": "conform", "trace": trace.path.display().to_string(), "events": trace.events.len(),
        "verdict": if rejection.is_none() { "accepted" } else { "rejected" }, "rejected_at": rejection.map(|r| r.event),
        "action": rejection.map(|r| r.action), "lease": rejection.and_then(|r| r.lease), "conjunct": Value::Null, "wall_ns": wall_ns,
    })
}

fn said(trace: &Loaded, verdict: &Verdict, wall_ns: u64, paint: Paint) -> String {
    let events = plural(trace.events.len() as u64, "event", "events");
    let head = |word: &str| format!("{word}  {}  ({events}, {})\n", trace.path.display(), duration(wall_ns));
    match verdict {
        Verdict::Accepted => head(&paint.good("accepted")),
        Verdict::Rejected(rejection) => head(&paint.bad("rejected")) + &told(&trace.events, rejection, paint),
    }
}

/// What was refused, and the few events before it at the same place.
fn told(trace: &[Stamped], rejection: &Rejection, paint: Paint) -> String {
    let row =
        |event: &Stamped| format!("      {:>6}  {}  {}\n", event.i, term::at(event.t), term::wrap(&events::what(&event.event), 29, 140));
    let refused = &trace[rejection.position];
    let place = (refused.node, refused.client);
    let before =
        trace[..rejection.position].iter().rev().filter(|event| (event.node, event.client) == place && !is_send(event)).take(BEFORE);
    let before: Vec<&Stamped> = before.collect();
    let of_lease = rejection.lease.map_or(String::new(), |lease| format!(" of lease {lease}"));
    let mut text = format!(
        "    event {}, {}, {}: the specification{of_lease} does not allow this {} here\n",
        refused.i,
        term::at(refused.t).trim_start(),
        events::place(refused),
        rejection.action
    );
    for event in before.into_iter().rev() {
        text += &paint.dim(&row(event));
    }
    text + &paint.bad(&row(refused))
}

/// Promises are no steps, and would hide what is.
fn is_send(event: &Stamped) -> bool {
    matches!(event.event, history::Event::World(history::WorldEvent::Send { .. }))
}

/// The traces that the command line names.
fn named(paths: &[PathBuf]) -> anyhow::Result<Vec<Loaded>> {
    let mut files = Vec::new();
    for path in paths {
        let before = files.len();
        collect(path, true, &mut files)?;
        if files.len() == before {
            return Err(usage(format!("{}: there is no trace in it; accepted: {ACCEPTED}", path.display())));
        }
    }
    files.iter().map(|path| load(path)).collect()
}

const ACCEPTED: &str = "a trace.ndjson, the directory of a run or a finding, or a directory of traces";

fn collect(path: &Path, named: bool, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let cannot = |e: std::io::Error| usage(format!("{}: cannot be read: {e}; accepted: {ACCEPTED}", path.display()));
    if !std::fs::metadata(path).map_err(cannot)?.is_dir() {
        if named || path.extension().is_some_and(|e| e == "ndjson") {
            files.push(path.to_owned());
        }
        return Ok(());
    }
    let of_run = path.join(TRACE_FILE);
    if of_run.is_file() {
        files.push(of_run);
        return Ok(());
    }
    let mut entries = std::fs::read_dir(path).map_err(cannot)?.collect::<Result<Vec<_>, _>>().map_err(cannot)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    entries.iter().try_for_each(|entry| collect(&entry.path(), false, files))
}

fn load(path: &Path) -> anyhow::Result<Loaded> {
    let (header, events) = history::read_trace(path).map_err(|e| usage(e.to_string()))?;
    Ok(Loaded { path: path.to_owned(), header, events })
}
