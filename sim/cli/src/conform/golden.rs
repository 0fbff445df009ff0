//! The golden traces in traces/, and what should become of each: traces/golden.toml.

use ::conform::{Tlc, Verdict};
use serde::Deserialize;
use std::path::PathBuf;

use super::{EXIT_REJECTED, Loaded, judge, line, load, said};
use crate::error::usage;
use crate::findings::root;
use crate::json::Lines;
use crate::term::{self, Paint, plural};

/// traces/golden.toml.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    accepted: Vec<Accepted>,
    rejected: Vec<Rejected>,
}

/// A trace that the specification allows.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Accepted {
    /// The trace, within traces/.
    file: String,
    /// What it shows.
    #[allow(dead_code, reason = "for people, and for traces/README.md")]
    shows: String,
    /// The plan it is made from, within traces/.
    #[allow(dead_code, reason = "for ci/conform.sh")]
    plan: String,
}

/// A trace that it does not allow.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rejected {
    file: String,
    /// What was changed.
    #[allow(dead_code, reason = "for people, and for traces/README.md")]
    changed: String,
    /// Why it must be refused.
    why: String,
    /// The event that must be refused.
    event: u64,
    /// The action that it claims to be.
    action: String,
    /// How it is made.
    #[allow(dead_code, reason = "for ci/conform.sh")]
    make: toml::Table,
}

impl Golden {
    /// Reads the list.
    ///
    /// # Errors
    /// A usage error: it is not there, or does not parse.
    pub fn read() -> anyhow::Result<Golden> {
        let path = root().join("traces").join("golden.toml");
        let text = std::fs::read_to_string(&path).map_err(|e| {
            usage(format!("{}: cannot be read: {e}; accepted: to run in the project's directory, or to name traces", path.display()))
        })?;
        toml::from_str(&text).map_err(|e| {
            let line = e.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            let what = e.message().trim().to_owned();
            usage(format!("{}:{line}: {what}; accepted: [[accepted]] and [[rejected]] as traces/README.md describes them", path.display()))
        })
    }

    /// All of them, the accepted ones first; `only_accepted` leaves the others out.
    ///
    /// # Errors
    /// A usage error: one cannot be read.
    pub fn traces(&self, only_accepted: bool) -> anyhow::Result<Vec<Loaded>> {
        let rejected = self.rejected.iter().map(|r| &r.file).filter(|_| !only_accepted);
        self.accepted.iter().map(|a| &a.file).chain(rejected).map(|file| load(&place(file))).collect()
    }

    /// Judges each: 0 if every verdict is the one in the list.
    ///
    /// # Errors
    /// TLC came to no verdict.
    pub fn run(&self, tlc: &Tlc, traces: &[Loaded], json: &mut Lines) -> anyhow::Result<i32> {
        let paint = Paint::for_stdout();
        let mut expected = vec![None; self.accepted.len()];
        expected.extend(self.rejected.iter().map(Some));
        let mut expected = expected.into_iter();
        let mut wrong = 0;
        judge(tlc, traces, |trace, verdict, wall_ns| {
            let rejected: Option<&Rejected> = expected.next().flatten();
            let surprise = surprise(rejected, verdict);
            let mut object = line(trace, verdict, wall_ns);
            object["expected"] = surprise.is_none().into();
            json.write(&object)?;
            term::out(&said(trace, verdict, wall_ns, paint));
            if let Some(surprise) = surprise {
                wrong += 1;
                term::out(&format!("    {} {surprise}\n", paint.bad("NOT AS EXPECTED:")));
            } else if let Some(rejected) = rejected {
                term::out(&format!("    as it must be: {}\n", term::wrap(&rejected.why, 4, 140)));
            }
            Ok(())
        })?;
        let all = plural(traces.len() as u64, "golden trace", "golden traces");
        term::out(&format!("\n{all}: {} as expected, {wrong} not\n", traces.len() - wrong));
        Ok(if wrong > 0 { EXIT_REJECTED } else { 0 })
    }
}

fn place(file: &str) -> PathBuf {
    root().join("traces").join(file)
}

/// What is not as expected.
fn surprise(expected: Option<&Rejected>, verdict: &Verdict) -> Option<String> {
    match (expected, verdict) {
        (None, Verdict::Accepted) => None,
        (None, Verdict::Rejected(_)) => Some("the specification should allow this trace".to_owned()),
        (Some(expected), Verdict::Accepted) => Some(format!("event {} should be refused: {}", expected.event, expected.why)),
        (Some(expected), Verdict::Rejected(found)) => {
            let same = (expected.event, expected.action.as_str()) == (found.event, found.action);
            (!same).then(|| format!("event {} ({}) should be the first to be refused: {}", expected.event, expected.action, expected.why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::conform::Rejection;

    #[test]
    fn only_the_expected_event_and_action_will_do() {
        let make = toml::Table::new();
        let expected = Rejected { file: String::new(), changed: String::new(), why: "so".into(), event: 7, action: "Apply".into(), make };
        let at = |event, action| Verdict::Rejected(Rejection { lease: None, step: 0, position: 0, event, action });
        assert_eq!(surprise(None, &Verdict::Accepted), None);
        assert_eq!(surprise(Some(&expected), &at(7, "Apply")), None);
        for wrong in [at(8, "Apply"), at(7, "Matched"), Verdict::Accepted] {
            assert!(surprise(Some(&expected), &wrong).is_some(), "{wrong:?}");
        }
        assert!(surprise(None, &at(7, "Apply")).is_some());
    }
}
