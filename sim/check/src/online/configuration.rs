//! Configurations, as far as elections depend on them: what is in force at a node is the latest configuration in its log, each change is made by a
//! leader with an open fast path from the one before, which is committed, and a version is the place of its entry.
//!
//! So a majority of any configuration that could elect meets a majority of the one before it. Who counts by which configuration is judged where the
//! counting is (`election_safety`, `durability`, `recovery`); reported under election-safety.

use curp::{ConfigChange, ConfigVersion, Event as NodeEvent, Index, Membership, Payload};
use history::{Event, Stamped};

use super::describe;
use super::ghost::{Entry, Ghost, Slot};
use super::report::{At, Check, Report};

pub(super) const IN_FORCE: &str = "the configuration in force at a node is the latest in its log";
pub(super) const VERSION: &str = "a configuration's version is the place of its entry";
pub(super) const OPEN_FIRST: &str = "a configuration changes only once the leader's fast path is open";
pub(super) const ONE_AT_A_TIME: &str = "a configuration changes only once the last change is committed";
pub(super) const ONE_STEP: &str = "a change makes one member come, go, be promoted or move";

const CHECK: Check = Check::ElectionSafety;

/// Before the ghost takes the event in.
pub(super) fn before(g: &Ghost, stamped: &Stamped, at: At, r: &mut Report) {
    let Event::Node(event) = &stamped.event else { return };
    let Some(slot) = at.node.and_then(|id| g.find(id)) else { return };
    let node = &g.nodes[slot];
    // It says so in the same step in which its log changed; what an install drops from the pool may be said first.
    if !matches!(event, NodeEvent::UseConfig { .. } | NodeEvent::Restart { .. } | NodeEvent::PoolDrop { .. }) && node.guess.is_none() {
        let latest = node.log.version(node.log.config());
        r.expect(CHECK, IN_FORCE, at, node.in_force == latest, || {
            let what = format!(
                "node {} goes by the configuration of version {}, though the latest in its log is that of {}",
                node.id,
                tell(node.in_force),
                tell(latest)
            );
            (what, Vec::new())
        });
    }
    if let NodeEvent::LeaderPropose { entry, .. } = event
        && let Payload::Config { change, membership } = &entry.payload
    {
        changes(g, slot, entry, change, membership, at, r);
    }
}

/// After the ghost took the event in.
pub(super) fn after(g: &Ghost, stamped: &Stamped, at: At, r: &mut Report) {
    let Event::Node(NodeEvent::UseConfig { membership, .. } | NodeEvent::Restart { membership, .. }) = &stamped.event else { return };
    let Some(slot) = at.node.and_then(|id| g.find(id)) else { return };
    let node = &g.nodes[slot];
    let latest = &g.latest(&node.log).membership;
    // A node that was killed may have found more than is durable.
    let holds = node.guess.is_some() || node.disk.corrupt.is_some() || membership == latest;
    r.expect(CHECK, IN_FORCE, at, holds, || {
        let what = format!(
            "node {} goes by the configuration of version {} with voters {}, though the latest in its log is that of {} with voters {}",
            node.id,
            tell(membership.version),
            describe::nodes(membership.voters.iter().copied()),
            tell(latest.version),
            describe::nodes(latest.voters.iter().copied())
        );
        (what, Vec::new())
    });
}

fn changes(g: &Ghost, slot: Slot, entry: &Entry, change: &ConfigChange, new: &Membership, at: At, r: &mut Report) {
    let node = &g.nodes[slot];
    let place = ConfigVersion { term: entry.term, index: entry.index };
    r.expect(CHECK, VERSION, at, new.version == place, || {
        let what = format!("node {} gave the configuration at {} the version {}", node.id, tell(place), tell(new.version));
        (what, Vec::new())
    });
    r.expect(CHECK, OPEN_FIRST, at, node.leads.is_some_and(|reign| reign.open), || {
        let what = format!(
            "node {} appended a configuration in term {} before it had opened the fast path: it cannot know what is committed",
            node.id, entry.term
        );
        (what, Vec::new())
    });
    let last: Index = node.log.config();
    r.expect(CHECK, ONE_AT_A_TIME, at, last <= node.commit, || {
        let what = format!(
            "node {} appended a configuration at index {} while the last one, at index {last}, was not committed: their majorities need not meet",
            node.id, entry.index
        );
        (what, Vec::new())
    });
    let base = &g.config_of(slot).membership;
    r.expect(CHECK, ONE_STEP, at, is_step(base, change, new), || {
        let of = |m: &Membership| {
            let learners = describe::nodes(m.learners.iter().copied());
            format!("voters {} and learners {learners}", describe::nodes(m.voters.iter().copied()))
        };
        let what = format!("node {} went from {} to {} in one step, which says {change:?}", node.id, of(base), of(new));
        (what, Vec::new())
    });
}

/// Whether `new` is what the change makes of `old`, versions apart. Written a second time on purpose, as sets.
fn is_step(old: &Membership, change: &ConfigChange, new: &Membership) -> bool {
    let (mut voters, mut learners, mut addresses) = (old.voters.clone(), old.learners.clone(), old.addresses.clone());
    let node = change.node();
    let lawful = match change {
        ConfigChange::AddLearner { address, .. } => {
            learners.push(node);
            learners.sort_unstable();
            if !address.is_empty() {
                addresses.insert(node, address.clone());
            }
            !old.is_member(node)
        }
        ConfigChange::Promote { .. } => {
            learners.retain(|&n| n != node);
            voters.push(node);
            voters.sort_unstable();
            old.learners.contains(&node)
        }
        ConfigChange::Remove { .. } => {
            voters.retain(|&n| n != node);
            learners.retain(|&n| n != node);
            addresses.remove(&node);
            old.is_member(node) && !voters.is_empty()
        }
        ConfigChange::Update { address, .. } => {
            addresses.insert(node, address.clone());
            old.is_member(node)
        }
    };
    // An empty address says nothing, whether it is kept or not.
    let said = |m: &std::collections::BTreeMap<_, String>| {
        m.iter().filter(|(_, a)| !a.is_empty()).map(|(n, a)| (*n, a.clone())).collect::<Vec<_>>()
    };
    lawful && new.voters == voters && new.learners == learners && said(&new.addresses) == said(&addresses)
}

fn tell(version: ConfigVersion) -> String {
    format!("({}, {})", version.term, version.index)
}
