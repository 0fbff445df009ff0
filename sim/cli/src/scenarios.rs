//! Looking things up by name, with a sentence that lists what there is when the name is wrong.

use mutants::Mutant;
use plan::{Plan, Scenario};

use crate::error::usage;

/// The names of all scenarios, in alphabetical order.
pub fn names() -> Vec<&'static str> {
    plan::scenarios().iter().map(|s| s.name.as_str()).collect()
}

/// The scenario of this name.
///
/// # Errors
/// A usage error that lists the names.
pub fn by_name(name: &str) -> anyhow::Result<&'static Scenario> {
    plan::scenario(name).ok_or_else(|| usage(format!("there is no scenario `{name}`; accepted: {}", names().join(", "))))
}

/// The scenarios of these names, in alphabetical order and each once; all of them without names. The order matters: a seed's draw must not
/// depend on the order in which they were typed.
///
/// # Errors
/// A usage error that lists the names.
pub fn select(wanted: &[String]) -> anyhow::Result<Vec<&'static Scenario>> {
    for name in wanted {
        by_name(name)?;
    }
    Ok(plan::scenarios().iter().filter(|s| wanted.is_empty() || wanted.contains(&s.name)).collect())
}

/// The scenario that a seed draws among some: a hash of the seed, so that it does not depend on what ran before.
pub fn drawn(seed: u64, among: &[&'static Scenario]) -> &'static Scenario {
    plan::pick(seed, among).expect("a batch has at least one scenario")
}

/// The scenario that `repro SEED`, and a batch over all scenarios, run for a seed.
pub fn drawn_from_all(seed: u64) -> &'static Scenario {
    drawn(seed, &plan::scenarios().iter().collect::<Vec<_>>())
}

/// Whether a batch over these is general, so that its mix must be within the bands: all scenarios together, or the yardstick alone.
pub fn are_general(chosen: &[&'static Scenario]) -> bool {
    chosen.len() == plan::scenarios().len() || chosen.iter().all(|s| s.name == "standard")
}

/// The probes that a scenario aims at over a batch.
pub fn aims(name: &str) -> Vec<String> {
    plan::scenario(name).map(|s| s.aims.clone()).unwrap_or_default()
}

/// Parses a plan.
///
/// # Errors
/// A usage error with file, line and what would be accepted.
pub fn parse_plan(file: &str, text: &str) -> anyhow::Result<Plan> {
    Plan::parse(text, file).map_err(|error| usage(error.to_string()))
}

/// The mutant of this name.
///
/// # Errors
/// A usage error that lists the names.
pub fn mutant(name: &str) -> anyhow::Result<Mutant> {
    name.parse().map_err(|_| {
        let all: Vec<&str> = Mutant::ALL.iter().map(|m| m.name()).collect();
        usage(format!("there is no mutant `{name}`; accepted: {}", all.join(", ")))
    })
}
