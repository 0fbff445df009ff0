//! `conform --suite`: is the specification able to say no? Each trace is changed in many ways, one at a time, and every change must be refused, from
//! the changed event on.

use ::conform::mutate::{Family, Kind, Mutation, mutations};
use ::conform::{Batch, Rejection, Tlc, Verdict};
use anyhow::Context;
use history::Stamped;
use serde_json::json;

use super::{EXIT_REJECTED, Loaded, batch, side_by_side, told};
use crate::json::Lines;
use crate::status::EXIT_NOTHING;
use crate::term::{self, Paint, plural};

/// Changed traces for each family and kind, at least.
const EACH: usize = 4;

/// What became of the changes of one family and kind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Cell {
    mutated: u32,
    rejected: u32,
    /// Those rejected at the changed event; a dropped one leaves none.
    there: u32,
}

/// Runs the suite: 0 if every changed trace is rejected where it may be, and every unchanged one accepted.
///
/// # Errors
/// TLC came to no verdict.
pub fn run(tlc: &Tlc, traces: &[Loaded], json: &mut Lines) -> anyhow::Result<i32> {
    let all: Vec<&[Stamped]> = traces.iter().map(|trace| trace.events.as_slice()).collect();
    let mutations = mutations(&all, EACH);
    let of_base = |base: usize| mutations.iter().filter(move |m| m.base == base);
    // The trace itself first: what it does not get past, no change of it was refused for.
    let batches = (0..traces.len())
        .map(|base| {
            let mut batch = batch(&traces[base])?;
            for mutation in of_base(base) {
                batch.add(&mutation.events).with_context(|| format!("{}: {}", traces[base].path.display(), what(mutation)))?;
            }
            Ok(batch)
        })
        .collect::<anyhow::Result<Vec<Batch>>>()?;
    let paint = Paint::for_stdout();
    let mut cells = [[Cell::default(); Kind::ALL.len()]; Family::ALL.len()];
    let mut wrong = 0u64;
    side_by_side(
        &batches,
        |batch| Ok(batch.check(tlc)?),
        |base, verdicts, wall_ns| {
            let path = traces[base].path.display();
            let mut verdicts = verdicts.into_iter();
            if let Some(Verdict::Rejected(rejection)) = verdicts.next() {
                wrong += 1;
                term::out(&format!("{}  {path}, unchanged\n{}", paint.bad("rejected"), told(&traces[base].events, &rejection, paint)));
            }
            for (mutation, verdict) in of_base(base).zip(verdicts) {
                let cell = &mut cells[place(&Family::ALL, mutation.family)][place(&Kind::ALL, mutation.kind)];
                cell.mutated += 1;
                let judged = judged(mutation, &verdict);
                let rejection = match &verdict {
                    Verdict::Accepted => None,
                    Verdict::Rejected(rejection) => Some(rejection),
                };
                if judged.is_ok() {
                    cell.rejected += 1;
                    cell.there += u32::from(rejection.is_some_and(|r| is_there(mutation, r)));
                }
                if let Err(complaint) = judged {
                    wrong += 1;
                    term::out(&format!("{}  {path}, {}\n", paint.bad(complaint), what(mutation)));
                    if let Some(rejection) = rejection {
                        term::out(&told(&mutation.events, rejection, paint));
                    }
                }
                json.write(&json!({
                    "kind": "conform", "trace": path.to_string(), "events": mutation.events.len(),
                    "verdict": if rejection.is_some() { "rejected" } else { "accepted" }, "rejected_at": rejection.map(|r| r.event),
                    "action": rejection.map(|r| r.action), "conjunct": null, "wall_ns": wall_ns, "expected": judged.is_ok(),
                    "mutation": {
                        "family": mutation.family.to_string(), "kind": mutation.kind.to_string(), "what": mutation.label, "event": mutation.event,
                    },
                }))?;
            }
            Ok(())
        },
    )?;
    term::out(&table(&cells));
    let made = mutations.len() as u64;
    let bases = plural(traces.len() as u64, "trace", "traces");
    term::out(&format!("\n{} of {bases}: {wrong} not as they must be\n", plural(made, "changed trace", "changed traces")));
    Ok(match (wrong, made) {
        (0, 0) => EXIT_NOTHING,
        (0, _) => 0,
        _ => EXIT_REJECTED,
    })
}

fn place<T: PartialEq>(all: &[T], one: T) -> usize {
    all.iter().position(|other| *other == one).unwrap_or(0)
}

fn what(mutation: &Mutation) -> String {
    format!("event {} {}: {}", mutation.event, mutation.kind, mutation.label)
}

/// Whether the change was refused where it may be; else what is wrong.
fn judged(mutation: &Mutation, verdict: &Verdict) -> Result<(), &'static str> {
    match verdict {
        Verdict::Accepted => Err("accepted"),
        Verdict::Rejected(rejection) if rejection.position < mutation.from => Err("rejected too early"),
        // A second copy is refused as such, or what it did is not what it is refused for.
        Verdict::Rejected(rejection) if mutation.kind == Kind::Doubled && !is_there(mutation, rejection) => Err("rejected too late"),
        Verdict::Rejected(_) => Ok(()),
    }
}

fn is_there(mutation: &Mutation, rejection: &Rejection) -> bool {
    mutation.to.is_some_and(|to| (mutation.from..=to).contains(&rejection.position))
}

fn table(cells: &[[Cell; Kind::ALL.len()]; Family::ALL.len()]) -> String {
    let mut text = format!("{:<24}", "changed rejected there");
    text += &Kind::ALL.map(|kind| format!("{kind:>16}")).concat();
    text.push('\n');
    for (family, row) in Family::ALL.iter().zip(cells) {
        text += &format!("{family:<24}");
        for (kind, cell) in Kind::ALL.iter().zip(row) {
            let there = if *kind == Kind::Dropped { "–".to_owned() } else { cell.there.to_string() };
            text += &format!("{:>16}", format!("{} {} {there}", cell.mutated, cell.rejected));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutation(kind: Kind, from: usize, to: Option<usize>) -> Mutation {
        Mutation { base: 0, family: Family::Rounds, kind, label: "Propose", event: 3, from, to, events: Vec::new() }
    }

    fn at(position: usize) -> Verdict {
        Verdict::Rejected(Rejection { lease: None, step: 0, position, event: 0, action: "Apply" })
    }

    #[test]
    fn a_change_is_refused_from_its_place_on_and_a_copy_at_once() {
        let dropped = mutation(Kind::Dropped, 3, None);
        assert_eq!(judged(&dropped, &at(9)), Ok(()));
        assert!(judged(&dropped, &at(2)).is_err());
        assert!(judged(&dropped, &Verdict::Accepted).is_err());
        let doubled = mutation(Kind::Doubled, 4, Some(4));
        assert_eq!(judged(&doubled, &at(4)), Ok(()));
        assert!(judged(&doubled, &at(5)).is_err());
    }

    #[test]
    fn the_table_has_every_cell() {
        let mut cells = [[Cell::default(); Kind::ALL.len()]; Family::ALL.len()];
        cells[Family::ALL.len() - 1][3] = Cell { mutated: 12, rejected: 11, there: 10 };
        let text = table(&cells);
        assert_eq!(text.lines().count(), 1 + Family::ALL.len());
        assert!(text.ends_with("12 11 10\n"), "{text}");
    }
}
