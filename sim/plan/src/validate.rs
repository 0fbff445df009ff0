//! Whether a plan makes sense: what the types alone cannot say.

mod action;

use crate::{Fault, FaultKind, Member, PLAN_VERSION, Plan, Shape, Target, When, is_probe};
use action::check_action;

/// What is wrong, and where.
#[derive(Debug)]
pub(crate) struct Invalid {
    pub(crate) place: Place,
    pub(crate) message: String,
}

/// A part of a plan.
#[derive(Debug)]
pub(crate) enum Place {
    /// A top-level field.
    Part(&'static str),
    /// The i-th fault.
    Fault(usize),
    /// The i-th operation.
    Op(usize),
}

/// Most nodes and clients: tables of links are quadratic in them.
const VOTERS_MAX: u32 = 9;
const NODES_MAX: u32 = 16;
const CLIENTS_MAX: u32 = 100;
/// The highest id of an operation.
const ID_MAX: u64 = i32::MAX as u64;
/// An hour. No time in a plan is later, no duration longer.
const US_MAX: u64 = 3_600_000_000;

type Check = Result<(), String>;

fn ensure(ok: bool, message: impl FnOnce() -> String) -> Check {
    if ok { Ok(()) } else { Err(message()) }
}

impl Plan {
    /// Whether the plan makes sense, for plans that were not read from a file.
    ///
    /// # Errors
    /// The first thing that does not, in a sentence.
    pub fn validate(&self) -> Result<(), String> {
        self.check().map_err(|invalid| invalid.message)
    }

    pub(crate) fn check(&self) -> Result<(), Invalid> {
        let part = |name, check: Check| check.map_err(|message| Invalid { place: Place::Part(name), message });
        part("version", ensure(self.version == PLAN_VERSION, || format!("plan version {} is not {PLAN_VERSION}", self.version)))?;
        part("cluster", self.check_cluster())?;
        part("network", self.network.validate().map_err(|e| e.to_string()))?;
        part("disk", self.disk.validate().map_err(|e| e.to_string()))?;
        part("execution", self.execution.validate().map_err(|e| e.to_string()))?;
        part("clock", self.clock.iter().try_for_each(|c| c.validate().map_err(|e| e.to_string())))?;
        let clocks = self.clock.len();
        part("clock", ensure(clocks <= NODES_MAX as usize, || format!("there are {clocks} clocks; there are at most {NODES_MAX} nodes")))?;
        let (clocks, clients) = (&self.client_clock, self.workload.clients as usize);
        part("client_clock", clocks.iter().try_for_each(|c| c.validate().map_err(|e| e.to_string())))?;
        part("client_clock", ensure(clocks.len() <= clients, || format!("there are {} clocks of {clients} clients", clocks.len())))?;
        part("workload", self.check_workload())?;
        part("heal", ensure(self.heal.at_us <= US_MAX, || format!("heal.at_us is {}; it can be at most {US_MAX}", self.heal.at_us)))?;
        let end = self.end.at_us_min.max(self.end.liveness_bound_us);
        part("end", ensure(end <= US_MAX, || format!("end holds {end}; its times can be at most {US_MAX}")))?;
        part("required_probes", self.required_probes.iter().try_for_each(|p| known_probe(p)))?;
        for (i, fault) in self.fault.iter().enumerate() {
            let check = self.check_fault(fault);
            check.map_err(|m| Invalid { place: Place::Fault(i), message: format!("fault {}: {m}", fault.id) })?;
        }
        for (i, op) in self.op.iter().enumerate() {
            let check = self.check_client(op.client).and_then(|()| check_time("at_us", op.at_us)).and_then(|()| check_action(&op.action));
            check.map_err(|m| Invalid { place: Place::Op(i), message: format!("operation {}: {m}", op.id) })?;
        }
        self.check_ids()
    }

    fn check_cluster(&self) -> Check {
        let c = &self.cluster;
        ensure((1..=VOTERS_MAX).contains(&c.voters), || format!("voters is {}; a cluster has from 1 to {VOTERS_MAX}", c.voters))?;
        ensure((1..=1_000_000).contains(&c.tick_us), || format!("tick_us is {}; it is from 1 to 1000000", c.tick_us))?;
        ensure(c.election_timeout_ms_min <= c.election_timeout_ms_max && c.election_timeout_ms_max <= 60_000, || {
            "election_timeout_ms_min must not be above election_timeout_ms_max, and that not above 60000".to_owned()
        })?;
        ensure(c.heartbeat_ms > 0 && c.heartbeat_ms < c.election_timeout_ms_min, || {
            format!("heartbeat_ms is {}; it is from 1 to below election_timeout_ms_min", c.heartbeat_ms)
        })?;
        ensure(c.hand_over_ms <= 3_600_000, || format!("hand_over_ms is {}; it can be at most 3600000", c.hand_over_ms))?;
        ensure(c.append_entries_max > 0, || "append_entries_max is 0; it is at least 1".to_owned())?;
        ensure(c.append_bytes_max > 0, || "append_bytes_max is 0; it is at least 1".to_owned())?;
        ensure(c.appends_in_flight_max > 0, || "appends_in_flight_max is 0; it is at least 1".to_owned())?;
        ensure(c.snapshot_chunk_bytes > 0, || "snapshot_chunk_bytes is 0; it is at least 1".to_owned())
    }

    fn check_workload(&self) -> Check {
        let w = &self.workload;
        ensure((1..=CLIENTS_MAX).contains(&w.clients), || format!("clients is {}; there are from 1 to {CLIENTS_MAX}", w.clients))?;
        ensure(w.etcd_clients <= w.clients, || {
            format!("etcd_clients is {}, which is more than all of the {} clients", w.etcd_clients, w.clients)
        })?;
        ensure(w.retry_us > 0, || "retry_us is 0; it is at least 1".to_owned())?;
        check_time("patience_us", w.patience_us)?;
        check_time("retry_us", w.retry_us)
    }

    fn check_ids(&self) -> Result<(), Invalid> {
        let mut faults: Vec<(u32, usize)> = self.fault.iter().enumerate().map(|(i, f)| (f.id, i)).collect();
        let mut ops: Vec<(u64, usize)> = self.op.iter().enumerate().map(|(i, o)| (o.id, i)).collect();
        faults.sort_unstable();
        ops.sort_unstable();
        if let Some(w) = faults.windows(2).find(|w| w[0].0 == w[1].0) {
            return Err(Invalid { place: Place::Fault(w[1].1), message: format!("there are two faults with the id {}", w[0].0) });
        }
        if let Some(w) = ops.windows(2).find(|w| w[0].0 == w[1].0) {
            return Err(Invalid { place: Place::Op(w[1].1), message: format!("there are two operations with the id {}", w[0].0) });
        }
        let mut joiners: Vec<(u32, usize)> = self.fault.iter().enumerate().filter_map(|(i, f)| Some((f.kind.joiner()?, i))).collect();
        joiners.sort_unstable();
        if let Some(w) = joiners.windows(2).find(|w| w[0].0 == w[1].0) {
            let message = format!("n{} joins twice; an id is used once", w[0].0);
            return Err(Invalid { place: Place::Fault(w[1].1), message });
        }
        match ops.last() {
            // The steps of an operation of several steps have numbers of their own above these.
            Some(&(id, i)) if id > ID_MAX => Err(Invalid { place: Place::Op(i), message: format!("operation {id}: ids end at {ID_MAX}") }),
            _ => Ok(()),
        }
    }

    fn check_client(&self, client: u32) -> Check {
        let clients = self.workload.clients;
        ensure((1..=clients).contains(&client), || {
            format!("client {client} is not one of the {clients} clients, which are c1 to c{clients}")
        })
    }

    fn check_fault(&self, fault: &Fault) -> Check {
        let anchored = match &fault.when {
            When::AtUs(at) => {
                ensure(*at < self.heal.at_us, || {
                    format!("it begins at {at}, but the plan heals at {}; it must begin earlier", self.heal.at_us)
                })?;
                false
            }
            When::After { probe, n, delay_us } => {
                known_probe(probe)?;
                ensure(*n > 0, || "n is 0; the first occurrence of a probe is 1".to_owned())?;
                check_time("delay_us", *delay_us)?;
                true
            }
        };
        if let Some(us) = fault.kind.duration_us() {
            check_time("its duration", us)?;
        }
        if let Some(target) = fault.kind.target() {
            self.check_target(target, anchored)?;
        }
        let set = |set: &[Member]| set.iter().try_for_each(|&m| self.check_member(m, anchored));
        match &fault.kind {
            FaultKind::SlowLink { from, to, extra_us, .. } => {
                check_time("extra_us", *extra_us)?;
                set(from)?;
                set(to)
            }
            FaultKind::Storm { loss_ppm, duplicate_ppm, reorder_ppm, reorder_us_max, late_ppm, late_us_max, .. } => {
                check_time("reorder_us_max", *reorder_us_max)?;
                check_time("late_us_max", *late_us_max)?;
                [loss_ppm, duplicate_ppm, reorder_ppm, late_ppm].into_iter().try_for_each(|&ppm| check_ppm(ppm))
            }
            FaultKind::SyncError { chance_ppm, down_us, .. } => check_time("down_us", *down_us).and_then(|()| check_ppm(*chance_ppm)),
            FaultKind::SlowDisk { factor, .. } | FaultKind::SlowCpu { factor, .. } => {
                ensure((1..=100_000).contains(factor), || format!("factor is {factor}; it is from 1 to 100000"))
            }
            FaultKind::StoreCut { call, .. } => ensure(*call > 0, || "call is 0; the next one is 1".to_owned()),
            FaultKind::ClientCrash { client, .. } => self.check_client(*client),
            FaultKind::WallClockStep { by_us, .. } => check_time("by_us", by_us.unsigned_abs()),
            FaultKind::Partition { shape, .. } => self.check_shape(shape, set),
            FaultKind::AddMember { node, .. } | FaultKind::LoseDisk { replace: Some(node), .. } => {
                let voters = self.cluster.voters;
                ensure((voters + 1..=NODES_MAX).contains(node), || {
                    format!("n{node} cannot join {voters} voters: an id that was never used is from {} to {NODES_MAX}", voters + 1)
                })
            }
            FaultKind::Crash { .. }
            | FaultKind::CrashAll { .. }
            | FaultKind::Pause { .. }
            | FaultKind::RemoveMember { .. }
            | FaultKind::LoseDisk { replace: None, .. }
            | FaultKind::UpdateMember { .. }
            | FaultKind::MoveLeader { .. }
            | FaultKind::TakeSnapshot { .. }
            | FaultKind::Shutdown { .. } => Ok(()),
        }
    }

    fn check_shape(&self, shape: &Shape, set: impl Fn(&[Member]) -> Check) -> Check {
        let enough = |groups: &[Vec<Member>]| ensure(groups.len() >= 2, || "a partition has at least two groups".to_owned());
        match shape {
            Shape::Symmetric { groups } => {
                enough(groups)?;
                groups.iter().try_for_each(|g| set(g))
            }
            Shape::Flapping { groups, on_us, off_us } => {
                enough(groups)?;
                check_time("on_us", *on_us)?;
                check_time("off_us", *off_us)?;
                ensure(*on_us > 0, || "on_us is 0; the partition would never block".to_owned())?;
                groups.iter().try_for_each(|g| set(g))
            }
            Shape::OneWay { from: a, to: b } | Shape::Bridge { left: a, right: b } => set(a).and_then(|()| set(b)),
            Shape::Isolate { with, without, .. } => set(with).and_then(|()| set(without)),
            Shape::Ring { order } => set(order),
            Shape::MajorityMinority { size, first, with, without, .. } => {
                let voters = self.cluster.voters;
                ensure((1..voters).contains(size), || {
                    format!("size is {size}; of {voters} nodes, from 1 to {} can be cut off", voters - 1)
                })?;
                ensure(*first < 1_000, || format!("first is {first}; it is below 1000"))?;
                set(with).and_then(|()| set(without))
            }
            Shape::Swizzle { clog, unclog, step_us } => {
                check_time("step_us", *step_us)?;
                set(clog).and_then(|()| set(unclog))
            }
        }
    }

    fn check_target(&self, target: Target, anchored: bool) -> Check {
        let voters = self.cluster.voters;
        match target {
            Target::Node(n) => {
                let joins = || self.fault.iter().any(|f| f.kind.joiner() == Some(n));
                ensure(n <= voters || joins(), || {
                    format!("n{n} is not one of the {voters} nodes, which are n1 to n{voters}, and never joins")
                })
            }
            Target::Follower(k) => {
                // A role among those who are members then: taking out a joiner makes no plan senseless.
                let nodes = if self.fault.iter().any(|f| f.kind.is_wish()) { NODES_MAX } else { voters };
                ensure(k < nodes, || format!("follower{k} is beyond the {} followers of {nodes} nodes", nodes - 1))
            }
            Target::AnchorNode => {
                ensure(anchored, || "`anchor` is the node of the fault's anchor, and it has none: use when.after".to_owned())
            }
            Target::Leader | Target::Newest => Ok(()),
        }
    }

    fn check_member(&self, member: Member, anchored: bool) -> Check {
        match member {
            Member::Node(target) => self.check_target(target, anchored),
            Member::Client(c) => self.check_client(c),
            Member::Nodes | Member::Followers | Member::Clients => Ok(()),
        }
    }
}

pub(crate) fn known_probe(probe: &str) -> Check {
    ensure(is_probe(probe), || {
        let names: Vec<&str> = crate::PROBES.iter().map(|(name, _)| *name).collect();
        format!("there is no probe `{probe}`; there are {}", names.join(", "))
    })
}

fn check_time(name: &str, us: u64) -> Check {
    ensure(us <= US_MAX, || format!("{name} is {us} µs; it can be at most {US_MAX} (an hour)"))
}

fn check_ppm(ppm: u32) -> Check {
    ensure(ppm <= 1_000_000, || format!("a chance is {ppm}; parts per million are from 0 to 1000000"))
}
