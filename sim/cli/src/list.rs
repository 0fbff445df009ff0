//! `list`: what there is.

use mutants::Mutant;
use std::fmt::Write;

use crate::args::Listed;
use crate::checks::{self, CHECKS};
use crate::findings::Store;
use crate::term::{self, Paint};

/// Runs the command.
///
/// # Errors
/// The findings cannot be read.
pub fn list(what: Listed) -> anyhow::Result<i32> {
    let paint = Paint::for_stdout();
    let text = match what {
        Listed::Scenarios => table(plan::scenarios().iter().map(|s| (s.name.clone(), s.about.clone())), paint),
        Listed::Mutants => table(
            Mutant::ALL
                .iter()
                .map(|m| (m.name().to_owned(), format!("{} (caught by {})", m.what(), checks::of_letters(m.checks()).join(", ")))),
            paint,
        ),
        Listed::Checks => table(CHECKS.iter().map(|c| (c.name.to_owned(), check(c))), paint),
        Listed::Probes => table(plan::PROBES.iter().map(|(name, what)| ((*name).to_owned(), format!("{what}{}", aimed_at(name)))), paint),
        Listed::Faults => table(plan::FAULTS.iter().map(|(name, what)| ((*name).to_owned(), (*what).to_owned())), paint),
        Listed::Findings => findings(paint)?,
    };
    term::out(&text);
    Ok(0)
}

/// The scenarios that must reach a probe: in every run, or under faults over a batch.
fn aimed_at(probe: &str) -> String {
    let of = |required: bool| {
        let wanted =
            plan::scenarios().iter().filter(|s| if required { &s.required_probes } else { &s.aims }.iter().any(|name| name == probe));
        wanted.map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let said = [("required by", of(true)), ("under faults aimed at by", of(false))];
    let said: Vec<String> = said.into_iter().filter(|(_, who)| !who.is_empty()).map(|(how, who)| format!("{how} {who}")).collect();
    if said.is_empty() { String::new() } else { format!(" ({})", said.join("; ")) }
}

fn check(check: &checks::Check) -> String {
    let letter = check.letter.map(|l| format!("{l}  ")).unwrap_or_else(|| "   ".to_owned());
    format!("{letter}{}{}", check.what, if check.built { "" } else { " (not built yet)" })
}

fn table(rows: impl Iterator<Item = (String, String)>, paint: Paint) -> String {
    let rows: Vec<(String, String)> = rows.collect();
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    rows.iter().fold(String::new(), |mut out, (name, what)| {
        let _ = writeln!(out, "{}  {what}", paint.bold(&format!("{name:<width$}")));
        out
    })
}

fn findings(paint: Paint) -> anyhow::Result<String> {
    let store = Store::default_place();
    let (list, latest) = (store.list()?, store.latest());
    if list.is_empty() {
        return Ok("no findings\n".to_owned());
    }
    let rows = list.into_iter().map(|(id, run)| {
        let rule = run.rule.map(|r| format!(": {r}")).unwrap_or_default();
        let planted = run.mutant.map(|m| format!(" (mutant {m})")).unwrap_or_default();
        let mark = if store.is_closed(&id) { ", closed" } else { "" };
        let newest = if latest.as_deref() == Some(&id) { ", latest" } else { "" };
        (id, format!("{} {}{rule}{planted}{mark}{newest}", run.verdict, run.check.unwrap_or_default()))
    });
    Ok(table(rows, paint))
}
