//! Scenarios: distributions over plans, one TOML file each in `scenarios/`, and the registry of those that are built in.
//!
//! Invariant: the plan of a seed is a function of the scenario's text and the seed; every plan drawn is valid.

mod attack;
mod draw;
mod ops;
mod spec;

pub use spec::{Scenario, ScenarioError};

use spec::{Attack, Shapes, Span, Step, StepKind, Who};
use std::sync::OnceLock;
use world::Draws;

/// The files, by name. A test holds this list against the directory.
const FILES: &[(&str, &str)] = &[
    ("contention", include_str!("../../../../scenarios/contention.toml")),
    ("elections", include_str!("../../../../scenarios/elections.toml")),
    ("even", include_str!("../../../../scenarios/even.toml")),
    ("fault-free", include_str!("../../../../scenarios/fault-free.toml")),
    ("leases", include_str!("../../../../scenarios/leases.toml")),
    ("locks", include_str!("../../../../scenarios/locks.toml")),
    ("membership", include_str!("../../../../scenarios/membership.toml")),
    ("partitions", include_str!("../../../../scenarios/partitions.toml")),
    ("power", include_str!("../../../../scenarios/power.toml")),
    ("reads", include_str!("../../../../scenarios/reads.toml")),
    ("recovery", include_str!("../../../../scenarios/recovery.toml")),
    ("registry", include_str!("../../../../scenarios/registry.toml")),
    ("sessions", include_str!("../../../../scenarios/sessions.toml")),
    ("snapshots", include_str!("../../../../scenarios/snapshots.toml")),
    ("standard", include_str!("../../../../scenarios/standard.toml")),
    ("transfers", include_str!("../../../../scenarios/transfers.toml")),
    ("watches", include_str!("../../../../scenarios/watches.toml")),
    ("zookeeper", include_str!("../../../../scenarios/zookeeper.toml")),
];

/// Every scenario, in alphabetical order.
pub fn scenarios() -> &'static [Scenario] {
    static ALL: OnceLock<Vec<Scenario>> = OnceLock::new();
    ALL.get_or_init(|| {
        let parse = |&(name, text): &(&str, &str)| match Scenario::parse(text, &format!("scenarios/{name}.toml")) {
            Ok(scenario) => scenario,
            Err(e) => panic!("a built-in scenario is read by a test: {e}"),
        };
        FILES.iter().map(parse).collect()
    })
}

/// The scenario of this name.
pub fn scenario(name: &str) -> Option<&'static Scenario> {
    scenarios().iter().find(|s| s.name == name)
}

/// The scenario that a seed draws among these, by their weights; `None` among none. Their order does not matter.
pub fn pick(seed: u64, among: &[&'static Scenario]) -> Option<&'static Scenario> {
    let mut sorted = among.to_vec();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let total = sorted.iter().map(|s| u64::from(s.weight)).sum();
    let mut left = Draws::new(seed).draw("scenario", 0, 0).below(total);
    sorted.into_iter().find(|s| {
        let here = left < u64::from(s.weight);
        left = left.saturating_sub(u64::from(s.weight));
        here
    })
}

#[cfg(test)]
mod tests;
