//! Online protocol checks: invariants judged event by event, during a run or again from its stored trace. All that they know comes from the
//! stream of [`history::Stamped`] events.
//!
//! - `ghost`, in the words of `facts`: what an omniscient observer knows; `log`: logs as if nothing were ever compacted; `disk`: a node's durable
//!   state, decoded by core/storage; `quorum`: the published numbers, and the elections that the disks allow.
//! - one file per check of CLI.md: `recovery` with `recoverable` (what happened, what could), `durability`, `election_safety` with `configuration`,
//!   `log_matching`, `leader_completeness`, `state_agreement` with `snapshots`, `revisions`, `exactly_once`, `leases`, `watches`; of applications
//!   built on them `applications` (lock, registry, authorisation) and `zookeeper`.
//!
//! Every check sees each event before and after the ghost takes it in. A check goes on after its first violation; each (check, rule) is reported
//! once. After a violation the cluster is no longer what the rules suppose, so later reports may be its consequences.
//!
//! Deliberately not here: clients' histories (linearizability), and the protocol's guards as such (conformance).

mod applications;
mod configuration;
mod describe;
mod disk;
mod durability;
mod election_safety;
mod exactly_once;
mod facts;
mod ghost;
mod leader_completeness;
mod leases;
mod log;
mod log_matching;
mod quorum;
mod recoverable;
mod recovery;
mod report;
mod revisions;
mod snapshots;
mod state_agreement;
#[cfg(test)]
mod tests;
mod watches;
mod zookeeper;

use std::collections::BTreeMap;

use curp::{Applied, Payload};
use history::{AppliedCommand, Stamped, TraceHeader};

pub use report::Violation;

use crate::servers::servers_id;

use applications::Applications;
use election_safety::ElectionSafety;
use exactly_once::ExactlyOnce;
use ghost::Ghost;
use leases::Leases;
use recoverable::Recoverable;
use recovery::Recovery;
use report::{At, Report};
use revisions::Revisions;
use watches::Watches;
use zookeeper::Zookeeper;

/// All online checks over one run.
pub struct Monitor {
    ghost: Ghost,
    report: Report,
    recovery: Recovery,
    recoverable: Recoverable,
    elections: ElectionSafety,
    revisions: Revisions,
    exactly_once: ExactlyOnce,
    leases: Leases,
    watches: Watches,
    applications: Applications,
    zookeeper: Zookeeper,
    /// Time and number of the last event.
    last: (u64, u64),
}

impl Monitor {
    /// For the run that the header describes, before its first event.
    pub fn new(header: &TraceHeader) -> Monitor {
        Monitor {
            ghost: Ghost::new(header),
            report: Report::default(),
            recovery: Recovery::default(),
            recoverable: Recoverable::default(),
            elections: ElectionSafety::default(),
            revisions: Revisions::default(),
            exactly_once: ExactlyOnce::default(),
            leases: Leases::new(header.drift_ppm),
            watches: Watches::default(),
            applications: Applications::default(),
            zookeeper: Zookeeper::new(),
            last: (0, 0),
        }
    }

    /// Judges the next event of the run.
    pub fn observe(&mut self, event: &Stamped) {
        let Monitor { ghost: g, report: r, .. } = self;
        let at = At { t: event.t, event: event.i, node: event.node };
        self.last = (event.t, event.i);

        self.recovery.before(g, event, at, r);
        durability::before(g, event, at, r);
        self.elections.before(g, event, at, r);
        configuration::before(g, event, at, r);
        log_matching::before(g, event, at, r);
        leader_completeness::before(g, event, at, r);
        state_agreement::before(g, event, at, r);
        snapshots::before(g, event, at, r);
        self.exactly_once.before(g, event, at, r);

        g.take(event);

        self.recoverable.after(g, event, at, r);
        self.recovery.after(g, &self.recoverable.outstanding, event, at, r);
        durability::after(g, event, at, r);
        self.elections.after(g, event, at, r);
        configuration::after(g, event, at, r);
        snapshots::after(g, at, r);
        log_matching::after(g, at, r);
        leader_completeness::after(g, at, r);
        self.revisions.after(g, event, at, r);
        self.leases.after(g, event, at, r);
        self.watches.after(g, event, at, r);
        self.applications.after(g, event, at, r);
        self.zookeeper.after(event);
    }

    /// The first violation of each (check, rule), in the order found.
    pub fn violations(&self) -> &[Violation] {
        self.report.violations()
    }

    /// The checks that ran out of budget before they could judge, and over what. Known once the run is finished.
    pub fn undecided(&self) -> &[(&'static str, String)] {
        self.report.all_undecided()
    }

    /// Judges what can only be judged at the end of the run, taken to end with its last event.
    pub fn finish(&mut self) {
        self.finish_at(0);
    }

    /// The same, by one who knows when the run ended: where something never happens, the last event may be long past.
    pub fn finish_at(&mut self, end: u64) {
        let (t, event) = (self.last.0.max(end), self.last.1);
        let (g, at, r) = (&self.ghost, At { t, event, node: None }, &mut self.report);
        self.exactly_once.finish(g, at, r);
        self.leases.finish(at, r);
        self.watches.finish(g, r);
        self.applications.finish(g, r);
        self.zookeeper.finish(g, &self.applications.runs, at, r);
    }

    /// The final committed log: the commands that took effect, in order, the servers' own among them. The monitor followed it from the first entry on, so it is whole
    /// whatever the nodes have compacted, and whoever is still there.
    pub fn applied_log(&self) -> Vec<AppliedCommand> {
        let effective = self.ghost.applied.iter().zip(&self.ghost.committed).filter(|(a, _)| matches!(a.outcome, Applied::Done(_)));
        let commands = effective.filter_map(|(a, c)| {
            let index = c.entry.index;
            let refused = matches!(&a.outcome, Applied::Done(synced) if synced.response.error().is_some());
            match &c.entry.payload {
                // A revoke that is void, or came too late, did nothing.
                Payload::Own { .. } if refused => None,
                Payload::Own { command } => Some(AppliedCommand { index, id: servers_id(index), command: (**command).clone() }),
                Payload::Command(p) => Some(AppliedCommand { index, id: p.id, command: (*p.command).clone() }),
                _ => None,
            }
        });
        commands.collect()
    }

    /// How often each check judged something. A check that never did says nothing by its silence.
    pub fn evaluations(&self) -> BTreeMap<&'static str, u64> {
        self.report.evaluations()
    }
}
