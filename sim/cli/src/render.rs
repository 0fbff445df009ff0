//! The report of one run. Of a failure, the first forty lines let a stranger say what was lost and which fault came just before. Nothing is
//! guessed: every line is from the report, the trace, or the specification, and a line without evidence is left out.

use harness::{Finding, RunReport, Verdict};
use history::Stamped;

use crate::checks;
use crate::context;
use crate::events;
use crate::term::{Paint, at, duration, percent, plural, thousands, wrap};

/// Columns of a report.
const WIDTH: usize = 132;
/// Lines of a report, unless everything is asked for: what a stranger reads.
const LINES_MAX: usize = 40;
/// Lines of it after the details: files and commands.
const LINES_LAST: usize = 5;

/// What a failure's report is made of.
pub struct Failure<'a> {
    /// The run.
    pub report: &'a RunReport,
    /// Its trace, if the run left one.
    pub trace: Option<&'a [Stamped]>,
    /// The words after `cargo sim repro` and `cargo sim shrink`.
    pub arguments: &'a str,
    /// Whether shrinking can help: not for a run that is not the same twice.
    pub shrinks: bool,
    /// The directory of its files.
    pub files: Option<&'a str>,
    /// All of the details, not only their first lines.
    pub full: bool,
}

/// The report of a failure.
pub fn failure(shown: &Failure<'_>, paint: Paint) -> String {
    let report = shown.report;
    let Some(first) = report.first() else { return pass(report, paint) };
    let mut out = format!("{}: {}\n\n", paint.bad(&headline(first)), wrap(&first.message, 4, WIDTH));
    let mut row = |name: &str, text: &str| {
        out.push_str(&format!("  {}  {}\n", paint.bold(&format!("{name:<5}")), wrap(text, 9, WIDTH)));
    };
    row("What", &what(report, first));
    row("When", &when(report, first));
    let shown_at = shown.trace.zip(first.event).and_then(|(trace, i)| trace.get(i as usize)).map(events::place);
    if let Some(place) = first.node.map(|node| format!("node {node}")).or(shown_at) {
        row("Where", &place);
    }
    if let Some(trace) = shown.trace {
        let chosen = context::events(trace, first);
        if !chosen.is_empty() {
            out.push_str(&format!("\n{}\n", paint.bold("Events")));
            for event in chosen {
                let mark = if first.event == Some(event.i) { paint.bad(">") } else { " ".to_owned() };
                let place = format!("{:<9}", events::place(event));
                let what = clip(&events::what(&event.event), WIDTH - 34);
                out.push_str(&format!("{mark} {:>7}  {}  {place}  {what}\n", event.i, at(event.t).trim_start()));
            }
        }
    }
    if let Some(check) = checks::by_name(&first.check).filter(|c| !c.specification.is_empty()) {
        out.push_str(&format!("\n{}\n  {}\n", paint.bold("What the specification says"), wrap(check.specification, 2, WIDTH)));
    }
    if let Some(trace) = shown.trace {
        let faults = context::faults(trace, first);
        if !faults.is_empty() {
            out.push_str(&format!("\n{}\n", paint.bold("Faults")));
            faults.iter().for_each(|line| out.push_str(&format!("  {}\n", clip(line, WIDTH - 2))));
        }
    }
    let others = other_checks(report, first);
    if !others.is_empty() {
        out.push_str(&format!("\n{}\n", paint.bold("Other checks")));
        others.iter().for_each(|line| out.push_str(&format!("  {}\n", wrap(line, 4, WIDTH))));
    }
    details(&mut out, first, shown, paint);
    if let Some(files) = shown.files {
        out.push_str(&format!("\n{}      {files}\n", paint.bold("Files")));
    }
    out.push_str(&format!("\n{}  cargo sim repro {}\n", paint.bold("Reproduce"), shown.arguments));
    if shown.shrinks {
        out.push_str(&format!("{}     cargo sim shrink {}\n", paint.bold("Shrink"), shown.arguments));
    }
    out
}

/// The report of a run in which nothing failed.
pub fn pass(report: &RunReport, paint: Paint) -> String {
    let seed = report.seed;
    let planted = report.mutant.as_deref().map(|m| format!(" with the mutant {m} planted")).unwrap_or_default();
    let mut out = format!("{}: seed {seed} of {}{planted}: everything judged held\n\n", paint.good("PASS"), report.scenario);
    let answered = report.fast + report.slow;
    let row = |name: &str, text: String| format!("  {}  {}\n", paint.bold(&format!("{name:<9}")), wrap(&text, 13, WIDTH));
    out += &row(
        "Run",
        format!("{} of virtual time, {} events, trace {}", duration(report.sim_ns), thousands(report.events), report.trace_hash),
    );
    out += &row(
        "Clients",
        format!(
            "{}: {:.0} % of {} answered writes were fast, {} unknown",
            plural(report.ops, "operation", "operations"),
            percent(report.fast, answered),
            thousands(answered),
            thousands(report.unknown)
        ),
    );
    out += &counts("Faults", &report.faults, paint);
    out += &counts("Probes", &report.probes, paint);
    out += &counts("Judged", &report.evaluations, paint);
    out
}

fn counts(name: &str, map: &std::collections::BTreeMap<String, u64>, paint: Paint) -> String {
    let fired: Vec<String> = map.iter().filter(|(_, n)| **n > 0).map(|(k, n)| format!("{k} {}", thousands(*n))).collect();
    if fired.is_empty() {
        return String::new();
    }
    format!("  {}  {}\n", paint.bold(&format!("{name:<9}")), wrap(&fired.join(" · "), 13, WIDTH))
}

fn headline(first: &Finding) -> String {
    match first.verdict {
        Verdict::Violation => format!("VIOLATION of {}", first.check),
        Verdict::Crash => format!("CRASH ({})", first.check),
        Verdict::Liveness => "NO PROGRESS (liveness)".to_owned(),
        verdict => format!("{} ({})", verdict.name().to_uppercase(), first.check),
    }
}

fn what(report: &RunReport, first: &Finding) -> String {
    let planted = report.mutant.as_deref().map(|m| format!(", mutant {m} planted")).unwrap_or_default();
    let judged = checks::by_name(&first.check).map(|c| format!(" ({})", c.what)).unwrap_or_default();
    format!("{}{judged}; rule: {}; seed {} of {}{planted}", first.check, first.rule, report.seed, report.scenario)
}

fn when(report: &RunReport, first: &Finding) -> String {
    // A run that took its process down has no virtual time to tell.
    if report.trace_hash.is_empty() {
        return format!("after {} of wall-clock time; the run left no trace", duration(report.wall_ns));
    }
    let event = first.event.map(|i| format!(", at event {i} of {}", report.events)).unwrap_or_default();
    format!("{} of virtual time{event}; the run ended at {}", at(first.t).trim_start(), at(report.sim_ns).trim_start())
}

fn other_checks(report: &RunReport, first: &Finding) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for finding in report.findings.iter().filter(|f| *f != first).take(3) {
        lines.push(format!("{} {} at {}: {}", finding.check, finding.verdict.name(), at(finding.t).trim_start(), finding.message));
    }
    let more = report.findings.len().saturating_sub(lines.len() + 1);
    if more > 0 {
        lines.push(format!("and {} more in verdict.json", plural(more as u64, "finding", "findings")));
    }
    let held: Vec<&str> = report.checks.iter().filter(|(_, v)| **v == Verdict::Pass).map(|(name, _)| name.as_str()).collect();
    if !held.is_empty() {
        lines.push(format!("held: {}", held.join(", ")));
    }
    lines
}

fn details(out: &mut String, first: &Finding, shown: &Failure<'_>, paint: Paint) {
    if first.details.is_empty() {
        return;
    }
    // A heading before them and a remark after them.
    let room = LINES_MAX.saturating_sub(out.lines().count() + LINES_LAST + 3);
    let max = if shown.full { usize::MAX } else { room };
    out.push_str(&format!("\n{}\n", paint.bold("Details")));
    for line in first.details.iter().take(max) {
        out.push_str(&format!("  {}\n", if shown.full { line.clone() } else { clip(line, WIDTH - 2) }));
    }
    if first.details.len() > max {
        let rest = plural((first.details.len() - max) as u64, "more line", "more lines");
        out.push_str(&paint.dim(&format!("  {rest} with `repro`, or in verdict.json\n")));
    }
}

fn clip(text: &str, chars_max: usize) -> String {
    let flat = text.replace('\n', " ");
    match flat.char_indices().nth(chars_max) {
        Some(_) => flat.chars().take(chars_max - 1).chain(['…']).collect(),
        None => flat,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn a_failure_in_forty_lines() {
        let (report, trace) = samples::lost_write();
        let shown = Failure {
            report: &report,
            trace: Some(&trace),
            arguments: "7 --scenario standard",
            shrinks: true,
            files: Some("findings/standard-7-recovery-0badcafe"),
            full: false,
        };
        let text = failure(&shown, Paint::PLAIN);
        assert!(text.lines().count() <= 40, "{} lines:\n{text}", text.lines().count());
        assert!(text.ends_with("cargo sim shrink 7 --scenario standard\n"));
        assert!(!text.contains('\x1b'));
        insta::assert_snapshot!(text);
    }

    #[test]
    fn without_a_trace_nothing_is_guessed() {
        let (mut report, _) = samples::lost_write();
        report.trace_hash = String::new();
        let shown = Failure { report: &report, trace: None, arguments: "7", shrinks: false, files: None, full: false };
        let text = failure(&shown, Paint::PLAIN);
        for absent in ["Events", "Faults", "Shrink", "Files"] {
            assert!(!text.contains(absent), "{absent} in\n{text}");
        }
        assert!(text.ends_with("cargo sim repro 7\n"));
    }

    #[test]
    fn a_pass_is_pleasant() {
        insta::assert_snapshot!(pass(&samples::passed(), Paint::PLAIN));
    }
}
