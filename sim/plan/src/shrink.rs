//! What a plan can be made of when it is made smaller. Shrinking itself, which must run plans, is elsewhere.

use crate::{Action, FaultKind, Plan, Query, Store};

/// A part of a plan that can be taken out; nothing else changes by that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    /// The operation with this id.
    Op(u64),
    /// The fault with this id.
    Fault(u32),
}

/// A way to make what remains of a plan simpler, to be tried when nothing more can be taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Simplification {
    /// The network loses nothing by chance.
    NoLoss,
    /// The network duplicates nothing by chance.
    NoDuplicates,
    /// The network holds nothing back by chance: no reordering, no very late messages, no heavy tail.
    NoLateness,
    /// Latencies do not jitter.
    NoJitter,
    /// Clocks are perfect.
    PerfectClocks,
    /// Executing takes the shortest time.
    FastExecution,
    /// Every fault lasts half as long.
    ShorterFaults,
    /// The heal comes right after the last operation and the last fault that has a time.
    EarlierHeal,
    /// The run ends as soon as it can.
    EarlierEnd,
    /// One voter fewer: the last.
    FewerVoters,
    /// No more clients than have operations or faults.
    FewerClients,
    /// Nodes make snapshots only when they are asked to.
    NoSnapshots,
    /// A snapshot is sent in one piece.
    WholeSnapshots,
    /// State machines are kept in memory.
    MemoryStore,
    /// Every client is a native one.
    OneWayIn,
    /// Who has something by a lease leaves it at once, and renewals end at once.
    BriefHolds,
    /// Watchers read at once, and ask for nothing but events.
    QuickReaders,
    /// Requests have no options.
    PlainRequests,
    /// Who joins, stays a learner; who is removed, stops at once; a lost disk's node is not replaced.
    PlainChanges,
}

impl Simplification {
    /// All of them, in the order to try them.
    pub const ALL: &'static [Simplification] = &[
        Simplification::FewerVoters,
        Simplification::EarlierHeal,
        Simplification::EarlierEnd,
        Simplification::NoLateness,
        Simplification::NoDuplicates,
        Simplification::NoLoss,
        Simplification::NoJitter,
        Simplification::PerfectClocks,
        Simplification::FastExecution,
        Simplification::ShorterFaults,
        Simplification::FewerClients,
        Simplification::NoSnapshots,
        Simplification::WholeSnapshots,
        Simplification::MemoryStore,
        Simplification::OneWayIn,
        Simplification::PlainChanges,
        Simplification::BriefHolds,
        Simplification::QuickReaders,
        Simplification::PlainRequests,
    ];
}

impl Plan {
    /// What can be taken out: faults, then operations, in the plan's order.
    pub fn units(&self) -> Vec<Unit> {
        self.fault.iter().map(|f| Unit::Fault(f.id)).chain(self.op.iter().map(|o| Unit::Op(o.id))).collect()
    }

    /// The plan without these. Required probes are dropped with them: a shrunk plan is about one failure.
    pub fn without(&self, units: &[Unit]) -> Plan {
        let mut sorted = units.to_vec();
        sorted.sort_unstable();
        let mut plan = self.clone();
        plan.required_probes.clear();
        plan.op.retain(|o| sorted.binary_search(&Unit::Op(o.id)).is_err());
        plan.fault.retain(|f| sorted.binary_search(&Unit::Fault(f.id)).is_err());
        plan
    }

    /// The plan made simpler in one way; `None` if that would change nothing or leave a plan that makes no sense.
    pub fn simplified(&self, how: Simplification) -> Option<Plan> {
        let mut plan = self.clone();
        match how {
            Simplification::NoLoss => plan.network.loss_ppm = 0,
            Simplification::NoDuplicates => plan.network.duplicate_ppm = 0,
            Simplification::NoLateness => {
                plan.network.late_ppm = 0;
                plan.network.reorder_ppm = 0;
                plan.network.tail_ppm = 0;
                plan.disk.tail_ppm = 0;
            }
            Simplification::NoJitter => plan.network.jitter_us_max = 0,
            Simplification::PerfectClocks => {
                plan.clock.clear();
                plan.client_clock.clear();
            }
            Simplification::FastExecution => plan.execution.delay_us_max = plan.execution.delay_us_min,
            Simplification::ShorterFaults => {
                // Below a millisecond, shorter explains nothing more.
                let durations = plan.fault.iter_mut().filter_map(|f| f.kind.duration_mut());
                durations.filter(|us| **us > 1_000).for_each(|us| *us /= 2);
            }
            Simplification::EarlierHeal => plan.heal.at_us = plan.heal.at_us.min(self.last_start_us() + 1),
            Simplification::EarlierEnd => plan.end.at_us_min = 0,
            Simplification::FewerVoters => {
                plan.cluster.voters -= 1;
                plan.clock.truncate(plan.nodes() as usize);
            }
            Simplification::FewerClients => {
                // The last are those of etcd's API: of those that stay, the same are.
                let native = plan.workload.clients.saturating_sub(plan.workload.etcd_clients);
                let crashed = plan.fault.iter().map(|f| if let FaultKind::ClientCrash { client, .. } = f.kind { client } else { 1 });
                plan.workload.clients = plan.op.iter().map(|o| o.client).chain(crashed).max().unwrap_or(1);
                plan.workload.etcd_clients = plan.workload.clients.saturating_sub(native);
            }
            Simplification::NoSnapshots => plan.cluster.snapshot_every = 0,
            Simplification::WholeSnapshots => plan.cluster.snapshot_chunk_bytes = crate::Cluster::snapshot_chunk_bytes(),
            Simplification::MemoryStore => plan.cluster.store = Store::Memory,
            Simplification::OneWayIn => plan.workload.etcd_clients = 0,
            Simplification::PlainChanges => plan.fault.iter_mut().for_each(|f| match &mut f.kind {
                FaultKind::AddMember { promote, .. } => *promote = false,
                FaultKind::RemoveMember { stop_after_us, .. } => *stop_after_us = Some(0),
                FaultKind::LoseDisk { replace, .. } => *replace = None,
                _ => {}
            }),
            Simplification::BriefHolds => plan.op.iter_mut().for_each(|op| match &mut op.action {
                Action::Lock { hold_us: us, .. } | Action::Register { for_us: us, .. } | Action::Renew { for_us: us, .. } => *us = 0,
                _ => {}
            }),
            Simplification::QuickReaders => plan.op.iter_mut().for_each(|op| {
                if let Action::Watch(watch) = &mut op.action {
                    (watch.pace_us, watch.ask_us, watch.progress) = (0, 0, false);
                }
            }),
            Simplification::PlainRequests => plan.op.iter_mut().for_each(|op| match &mut op.action {
                Action::Put { ignore_value, ignore_lease, .. } => (*ignore_value, *ignore_lease) = (false, false),
                Action::Query(query) => *query = Query { key: query.key.clone(), to: query.to.clone(), at: query.at, ..Query::default() },
                Action::Watch(watch) => (watch.prev_kv, watch.no_put, watch.no_delete) = (false, false, false),
                _ => {}
            }),
        }
        (plan != *self && plan.validate().is_ok()).then_some(plan)
    }

    /// The latest moment at which an operation or fault with a time begins.
    fn last_start_us(&self) -> u64 {
        let faults = self.fault.iter().filter_map(|f| if let crate::When::AtUs(at) = f.when { Some(at) } else { None });
        self.op.iter().map(|o| o.at_us).chain(faults).max().unwrap_or(0)
    }
}
