//! Many runs at once: lanes (threads, each with its worker process) take jobs from a source, confirm what failed, and hand reports to
//! one listener. Nothing is kept of a run that passed.

use harness::{Engine, RunReport};
use mutants::Mutant;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::confirm::confirm;
use crate::findings::Store;
use crate::lane::Lane;
use crate::status::is_kept;
use crate::target::Origin;
use crate::worker::{Job, Work};

/// Failures of one kind that are kept in full; of the rest only the number.
const EXAMPLES_MAX: u64 = 3;

/// One run to make.
#[derive(Clone, Debug)]
pub struct Item {
    /// What to run.
    pub work: Work,
    /// On what.
    pub engine: Engine,
    /// Where it comes from.
    pub origin: Origin,
    /// Its number among the new seeds of the batch; `None` for a replay.
    pub number: Option<u64>,
}

/// One run that ended.
#[derive(Debug)]
pub struct Ended {
    /// What was run.
    pub item: Item,
    /// What it came to, confirmed if it failed.
    pub report: RunReport,
    /// The id of the finding it was kept as.
    pub finding: Option<String>,
}

/// How a batch is run.
pub struct Settings {
    /// Worker processes.
    pub jobs: usize,
    /// Wall-clock limit of one run.
    pub run_limit: Duration,
    /// The bug to plant.
    pub mutant: Option<Mutant>,
    /// Where failures are confirmed and kept; without it they are only reported, unconfirmed.
    pub store: Option<Store>,
}

/// (scenario, check, rule, mutant).
type Kind = (String, String, String, Option<String>);

/// Runs what `next` gives until it gives nothing or `stop` is set, and tells `listen` of each run as it ends, and of nothing ten times a second.
///
/// # Errors
/// The first failure of the harness itself, or a job that was refused; the runs in flight are ended first.
pub fn run(
    settings: &Settings,
    stop: &Arc<AtomicBool>,
    next: impl FnMut() -> Option<Item> + Send,
    mut listen: impl FnMut(Option<Ended>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let next = Mutex::new(next);
    let kinds: Mutex<BTreeMap<Kind, u64>> = Mutex::new(BTreeMap::new());
    let scratch = AtomicU64::new(0);
    let (send, ended) = channel();
    let mut failure = None;
    std::thread::scope(|scope| {
        for _ in 0..settings.jobs {
            let send = send.clone();
            let (next, kinds, scratch) = (&next, &kinds, &scratch);
            scope.spawn(move || {
                let mut lane = Lane::new(settings.run_limit);
                while !stop.load(Ordering::Relaxed) {
                    let item = (next.lock().expect("no source panics"))();
                    let Some(item) = item else { break };
                    let result = one(settings, &mut lane, item, kinds, scratch);
                    let failed = result.is_err();
                    if send.send(result).is_err() || failed {
                        break;
                    }
                }
            });
        }
        drop(send);
        loop {
            let heard = match ended.recv_timeout(Duration::from_millis(100)) {
                Ok(Ok(run)) => listen(Some(run)),
                Ok(Err(error)) => Err(error),
                Err(RecvTimeoutError::Timeout) => listen(None),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if let Err(error) = heard {
                stop.store(true, Ordering::Relaxed);
                failure.get_or_insert(error);
            }
        }
    });
    failure.map_or(Ok(()), Err)
}

fn one(settings: &Settings, lane: &mut Lane, item: Item, kinds: &Mutex<BTreeMap<Kind, u64>>, scratch: &AtomicU64) -> anyhow::Result<Ended> {
    let mutant = settings.mutant.map(|m| m.name().to_owned());
    let job = Job { work: item.work.clone(), engine: item.engine, mutant, record: None, log: "debug".to_owned() };
    let report = lane.run(&job)?;
    let Some(store) = settings.store.as_ref().filter(|_| is_kept(report.verdict)) else {
        return Ok(Ended { item, report, finding: None });
    };
    let dir: Option<PathBuf> = {
        let mut kinds = kinds.lock().expect("no holder panics");
        let seen = kinds.entry(kind(&report)).or_insert(0);
        *seen += 1;
        (*seen <= EXAMPLES_MAX).then(|| store.scratch(&scratch.fetch_add(1, Ordering::Relaxed).to_string()))
    };
    let confirmed = confirm(&job, report, lane, settings.run_limit, dir)?;
    let finding = match &confirmed.recorded {
        // A finding that was replayed is there already.
        Some(recorded) if matches!(item.origin, Origin::Finding { .. }) => {
            let _ = std::fs::remove_dir_all(recorded);
            None
        }
        Some(recorded) => Some(store.keep(recorded, &confirmed.report, item.origin.is_drawn())?),
        None => None,
    };
    Ok(Ended { item, report: confirmed.report, finding })
}

/// What makes two failures the same, for people.
pub fn kind(report: &RunReport) -> Kind {
    let (check, rule) = report.first().map_or(("", ""), |f| (f.check.as_str(), f.rule.as_str()));
    (report.scenario.clone(), check.to_owned(), rule.to_owned(), report.mutant.clone())
}
