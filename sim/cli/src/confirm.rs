//! A failure found in a batch is made again in a fresh process before anybody hears of it. If it is not the same there, that is the
//! finding: the run is nondeterministic, and the first event that differs is named.

use harness::{Finding, RunReport, Verdict};
use history::Stamped;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::events;
use crate::lane::Lane;
use crate::worker::Job;

/// The check that reports a run which is not the same twice.
pub const CHECK_DETERMINISM: &str = "determinism";

/// What a second look came to.
pub struct Confirmed {
    /// The report to go by.
    pub report: RunReport,
    /// Where the run's files are, if it was recorded.
    pub recorded: Option<PathBuf>,
}

/// Makes the run again in a fresh process, recorded in `scratch` if given, and compares. `own` is the lane that found it, which is asked
/// once more only if the two differ.
///
/// # Errors
/// No worker can be started, or files cannot be written.
pub fn confirm(job: &Job, found: RunReport, own: &mut Lane, limit: Duration, scratch: Option<PathBuf>) -> anyhow::Result<Confirmed> {
    let again = Job { record: scratch.clone(), ..job.clone() };
    let fresh = Lane::new(limit).run(&again)?;
    if same(&found, &fresh) {
        return Ok(Confirmed { report: fresh, recorded: scratch });
    }
    let difference = match &scratch {
        Some(fresh_dir) => {
            let own_dir = fresh_dir.with_extension("again");
            let recorded = own.run(&Job { record: Some(own_dir.clone()), ..job.clone() });
            let difference = recorded.ok().and_then(|_| first_difference(&own_dir, fresh_dir));
            let _ = std::fs::remove_dir_all(&own_dir);
            difference
        }
        None => None,
    };
    Ok(Confirmed { report: nondeterministic(found, &fresh, difference), recorded: scratch })
}

/// Whether two reports are of the same run with the same outcome.
pub fn same(a: &RunReport, b: &RunReport) -> bool {
    let name = |r: &RunReport| (r.verdict, r.first().map(|f| f.check.clone()), r.trace_hash.clone());
    name(a) == name(b)
}

/// The first event in which two recorded traces differ.
#[derive(Debug)]
pub struct Difference {
    /// Its number.
    event: u64,
    /// Its time, in the second trace if it has it.
    t: u64,
    /// For people.
    sentence: String,
}

fn first_difference(a: &Path, b: &Path) -> Option<Difference> {
    let read = |dir: &Path| history::read_trace(&dir.join("trace.ndjson")).ok();
    let ((_, a), (_, b)) = (read(a)?, read(b)?);
    compare(&a, &b)
}

/// The first event in which two traces differ.
pub fn compare(a: &[Stamped], b: &[Stamped]) -> Option<Difference> {
    let i = (0..a.len().max(b.len())).find(|i| a.get(*i) != b.get(*i))?;
    let show = |trace: &[Stamped]| trace.get(i).map_or_else(|| "the end of the run".to_owned(), events::line);
    let t = b.get(i).or(a.get(i)).map_or(0, |e| e.t);
    Some(Difference { event: i as u64, t, sentence: format!("event {i} is {} in one, and {} in the other", show(a), show(b)) })
}

fn nondeterministic(mut found: RunReport, fresh: &RunReport, difference: Option<Difference>) -> RunReport {
    let outcome = |r: &RunReport| {
        let check = r.first().map(|f| format!(" of {}", f.check)).unwrap_or_default();
        let hash = if r.trace_hash.is_empty() { "no trace" } else { &r.trace_hash };
        format!("{}{check} ({hash})", r.verdict.name())
    };
    let differs = match &difference {
        Some(d) => format!("; the first event that differs: {}", d.sentence),
        None if found.trace_hash == fresh.trace_hash => "; the traces are the same, the judgement is not".to_owned(),
        None => String::new(),
    };
    let message = format!("the same seed came to {} first, and to {} in a fresh process{differs}", outcome(&found), outcome(fresh));
    let finding = Finding {
        check: CHECK_DETERMINISM.to_owned(),
        rule: "one seed is one run".to_owned(),
        verdict: Verdict::Nondeterministic,
        t: difference.as_ref().map_or(0, |d| d.t),
        event: difference.as_ref().map(|d| d.event),
        node: None,
        message,
        evidence: difference.iter().map(|d| d.event).collect(),
        details: found.findings.iter().map(|f| format!("found first: {} ({}): {}", f.check, f.rule, f.message)).collect(),
    };
    found.verdict = Verdict::Nondeterministic;
    found.checks.insert(finding.check.clone(), Verdict::Nondeterministic);
    found.findings = vec![finding];
    found
}
