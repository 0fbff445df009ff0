//! `--junit FILE`: for continuous integration. One suite for each scenario; in it one case for each failure that is shown, and one that stands for
//! the runs that passed, since a case for each of a million runs helps nobody.

use anyhow::Context;
use harness::{RunReport, Verdict};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::tally::Tally;

/// Failing cases that are written out; the rest is in the counts.
const CASES_MAX: usize = 1000;

/// Collects failures as they come.
#[derive(Default)]
pub struct Junit {
    suites: BTreeMap<String, Vec<TestCase>>,
    cases: usize,
}

impl Junit {
    /// Takes in a run that did not pass.
    pub fn add(&mut self, report: &RunReport, command: &str) {
        if report.verdict == Verdict::Pass || self.cases == CASES_MAX {
            return;
        }
        self.cases += 1;
        let kind = if report.verdict == Verdict::Crash { NonSuccessKind::Error } else { NonSuccessKind::Failure };
        let mut status = TestCaseStatus::non_success(kind);
        status.set_type(report.verdict.name());
        if let Some(first) = report.first() {
            status.set_message(format!("{}: {}", first.check, first.message));
        }
        status.set_description(format!("cargo sim repro {command}"));
        let mut case = TestCase::new(format!("seed {}", report.seed), status);
        case.set_classname(report.scenario.clone()).set_time(Duration::from_nanos(report.wall_ns));
        self.suites.entry(report.scenario.clone()).or_default().push(case);
    }

    /// Writes the report, to a temporary name first.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(self, path: &Path, tally: &Tally, elapsed: Duration) -> anyhow::Result<()> {
        let mut report = Report::new("cargo sim fuzz");
        report.set_time(elapsed);
        let mut failing = self.suites;
        for (scenario, of) in &tally.scenarios {
            let mut suite = TestSuite::new(scenario.clone());
            let passed = of.runs - of.failed;
            if passed > 0 {
                let mut case = TestCase::new(format!("{passed} of {} runs did not fail", of.runs), TestCaseStatus::success());
                case.set_classname(scenario.clone());
                suite.add_test_case(case);
            }
            suite.add_test_cases(failing.remove(scenario).unwrap_or_default());
            report.add_test_suite(suite);
        }
        let text = report.to_string().context("--junit: serialising")?;
        let partial = path.with_extension("partial");
        std::fs::write(&partial, text).with_context(|| format!("--junit {}: writing", path.display()))?;
        std::fs::rename(&partial, path).with_context(|| format!("--junit {}: renaming", path.display()))
    }
}
