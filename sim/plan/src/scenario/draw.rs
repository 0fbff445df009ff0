//! Drawing a plan from a scenario: swarm testing. Each run switches off a random subset of what the scenario offers, and draws wildly
//! different numbers for the rest, so that no two runs are busy with the same things.

use super::attack::{Context, faults};
use super::ops::name_leases;
use super::spec::{Attack, Clock, Disk, Network, Scenario, Snapshots, Span, Timing};
use crate::{Cluster, End, Heal, Op, PLAN_VERSION, Plan, Store, Workload};
use world::{ClockParams, DiskParams, Draws, ExecutionParams, NetworkParams, Sequence};

impl Scenario {
    /// The plan of a seed.
    pub fn draw(&self, seed: u64) -> Plan {
        let draws = Draws::new(seed);
        let mut run = draws.sequence("plan.run", 0);
        let voters = run.pick(&self.voters).copied().unwrap_or(3);
        let clients = self.clients.draw(&mut run) as u32;
        let keys = self.keys.draw(&mut run) as u32;
        let heal_us = run.draw().range(self.heal_ms.0 * 1000..=self.heal_ms.1 * 1000);
        let (patience_us, retry_us) = (self.patience_us.draw(&mut run), self.retry_us.draw(&mut run));
        let workload = Workload { clients, keys, patience_us, retry_us, etcd_clients: self.etcd_clients(draws, clients) };
        let execution_us_max = self.execution_us.draw(&mut run);
        let network = self.network.draw(&mut draws.sequence("plan.network", 0));
        let disk = self.disk.draw(&mut draws.sequence("plan.disk", 0));
        let mut cluster = self.timing.draw(&mut draws.sequence("plan.timing", 0), voters);
        self.snapshots.draw(&mut draws.sequence("plan.snapshots", 0), &mut cluster);
        leave_time(&mut cluster, &network, &disk, self.clock.rate_ppm.1);
        let ready_us = 4 * cluster.election_timeout_ms_max * 1000;
        let bursts = self.bursts(&mut draws.sequence("plan.bursts", 0), ready_us.min(self.calm_ms * 1000 / 2), heal_us);
        let (calm_us, grows) = (self.calm_ms * 1000, self.attack.iter().any(Attack::grows));
        let redb = draws.sequence("plan.store", 0).draw().below(100) < self.redb_percent;
        cluster.store = if redb { Store::Redb } else { Store::Memory };
        let context = Context { voters, clients, calm_us, heal_us, bursts: &bursts.starts_us, grows, redb };
        let fault = faults(draws, &self.attack, &context);
        let nodes = fault.iter().filter_map(|f| f.kind.joiner()).fold(voters, u32::max);
        Plan {
            version: PLAN_VERSION,
            scenario: self.name.clone(),
            seed,
            required_probes: self.required_probes.clone(),
            cluster,
            network,
            disk,
            clock: (1..=nodes).map(|n| self.clock.draw(&mut draws.sequence("plan.clock", n.into()))).collect(),
            client_clock: (1..=clients).map(|c| self.clock.draw(&mut draws.sequence("plan.client_clock", c.into()))).collect(),
            execution: ExecutionParams { delay_us_min: 1, delay_us_max: execution_us_max.max(1) },
            workload,
            heal: Heal { at_us: heal_us },
            end: End { at_us_min: self.end_ms_min * 1000, liveness_bound_us: self.liveness_bound_ms * 1000 },
            fault,
            op: self.ops(draws, &bursts, clients, keys),
        }
    }

    /// How many of the clients come through etcd's API.
    fn etcd_clients(&self, draws: Draws, clients: u32) -> u32 {
        let mut s = draws.sequence("plan.etcd", 0);
        let (some, all, number) = (s.draw().below(100) < self.etcd_percent, s.draw().chance(0.25), s.draw().range(1..=clients.into()));
        match (some, all) {
            (false, _) => 0,
            (true, true) => clients,
            (true, false) => number as u32,
        }
    }

    /// When bursts begin. The first comes in the calm before the faults, so that no run is without a fast round; the last come after the heal.
    fn bursts(&self, s: &mut Sequence, first_us: u64, heal_us: u64) -> Bursts {
        let ops = s.draw().range(self.ops.0..=self.ops.1);
        let size = self.burst.draw(s).clamp(1, ops);
        let spread_us = self.burst_us.draw(s);
        let mut starts_us: Vec<u64> = (0..ops.div_ceil(size)).map(|_| s.draw().range(first_us..=heal_us + 500_000)).collect();
        starts_us.sort_unstable();
        starts_us[0] = first_us;
        Bursts { ops, size, spread_us, hot_percent: self.hot_percent.draw(s), starts_us }
    }

    fn ops(&self, draws: Draws, bursts: &Bursts, clients: u32, keys: u32) -> Vec<Op> {
        let kinds = self.mix.draw(&mut draws.sequence("plan.mix", 0), &self.applications, keys);
        let stream = draws.stream("plan.op");
        let mut ops: Vec<(u64, Op)> = (0..bursts.ops)
            .map(|i| {
                let mut s = stream.sequence(i);
                let burst = i / bursts.size;
                let at_us = bursts.starts_us[burst as usize] + s.draw().range(0..=bursts.spread_us);
                let client = s.draw().below(clients.into()) as u32 + 1;
                let hot = draws.draw("plan.hot", burst, 0).below(keys.into()) as usize;
                let mut key = || {
                    let (is_hot, any) = (s.draw().below(100) < bursts.hot_percent, s.draw().below(keys.into()) as usize);
                    if is_hot { hot } else { any }
                };
                let (first, second) = (key(), key());
                let action = kinds.action(&mut s, i, first, second);
                (i, Op { id: 0, client, at_us, action })
            })
            .collect();
        ops.sort_by_key(|(_, op)| op.at_us);
        for (id, (_, op)) in (1..).zip(&mut ops) {
            op.id = id;
        }
        name_leases(draws, &mut ops);
        ops.into_iter().map(|(_, op)| op).collect()
    }
}

struct Bursts {
    ops: u64,
    size: u64,
    spread_us: u64,
    hot_percent: u64,
    starts_us: Vec<u64>,
}

impl Timing {
    fn draw(&self, s: &mut Sequence, voters: u32) -> Cluster {
        let heartbeat_ms = self.heartbeat_ms.draw(s).max(1);
        let tick_us = self.tick_us.draw(s).min(heartbeat_ms * 1000 / 2);
        let election_timeout_ms_min = heartbeat_ms * self.election_heartbeats.draw(s).max(2);
        let spread = election_timeout_ms_min * self.election_spread_percent.draw(s) / 100;
        Cluster {
            voters,
            tick_us,
            heartbeat_ms,
            election_timeout_ms_min,
            election_timeout_ms_max: election_timeout_ms_min + spread,
            append_entries_max: self.append_entries_max.draw(s).max(1) as u32,
            hand_over_ms: self.hand_over_ms.draw(s),
            append_bytes_max: self.append_bytes_max.draw(s).max(1),
            appends_in_flight_max: self.appends_in_flight_max.draw(s).max(1) as u32,
            snapshot_every: 0,
            trailing_entries: Cluster::trailing_entries(),
            snapshot_chunk_bytes: Cluster::snapshot_chunk_bytes(),
            store: Store::Memory,
        }
    }
}

impl Snapshots {
    fn draw(&self, s: &mut Sequence, cluster: &mut Cluster) {
        let (on, every) = (s.draw().below(100) < self.on_percent, self.every.draw(s));
        cluster.snapshot_every = if on { every } else { 0 };
        cluster.trailing_entries = self.trailing_entries.draw(s);
        cluster.snapshot_chunk_bytes = self.chunk_bytes.draw(s).max(1);
    }
}

/// Makes election timeouts long enough for an election on this network and these disks, however badly clocks agree: timing may be
/// hostile, but a cluster that cannot elect even after the heal tells nothing.
fn leave_time(cluster: &mut Cluster, network: &NetworkParams, disk: &DiskParams, rate_ppm_max: u64) {
    let heartbeats_us = 2 * cluster.heartbeat_ms * 1000 + 2 * cluster.tick_us;
    let rounds_us = 4 * (network.latency_us_max + network.jitter_us_max) + 3 * (disk.sync_us_max + disk.write_us_max);
    let needed_us = (heartbeats_us + rounds_us) * (1_000_000 + 3 * rate_ppm_max) / 1_000_000;
    let more_ms = needed_us.div_ceil(1000).saturating_sub(cluster.election_timeout_ms_min);
    cluster.election_timeout_ms_min += more_ms;
    cluster.election_timeout_ms_max += more_ms;
    // Timeouts that all fall into one tick, or closer together than a vote takes, split the vote again and again, for ever.
    let apart_us = 3 * cluster.tick_us + rounds_us;
    cluster.election_timeout_ms_max = cluster.election_timeout_ms_max.max(cluster.election_timeout_ms_min + apart_us.div_ceil(1000));
}

/// A chance that is switched off in a third of the runs.
fn sometimes(s: &mut Sequence, span: Span) -> u32 {
    let (on, ppm) = (s.draw().chance(0.67), span.draw(s));
    if on { ppm as u32 } else { 0 }
}

/// Two values of a range, the smaller first.
fn ends(s: &mut Sequence, span: Span) -> (u64, u64) {
    let (a, b) = (span.draw(s), span.draw(s));
    (a.min(b), a.max(b))
}

impl Network {
    fn draw(&self, s: &mut Sequence) -> NetworkParams {
        let (latency_us_min, latency_us_max) = ends(s, self.latency_us);
        NetworkParams {
            latency_us_min,
            latency_us_max,
            jitter_us_max: self.jitter_us.draw(s),
            tail_ppm: sometimes(s, self.tail_ppm),
            tail_us_max: self.tail_us.draw(s),
            loss_ppm: sometimes(s, self.loss_ppm),
            duplicate_ppm: sometimes(s, self.duplicate_ppm),
            reorder_ppm: sometimes(s, self.reorder_ppm),
            reorder_us_max: self.reorder_us.draw(s),
            late_ppm: sometimes(s, self.late_ppm),
            late_us_max: self.late_us.draw(s),
        }
    }
}

impl Disk {
    fn draw(&self, s: &mut Sequence) -> DiskParams {
        let (write_us_min, write_us_max) = ends(s, self.write_us);
        let (sync_us_min, sync_us_max) = ends(s, self.sync_us);
        DiskParams {
            write_us_min,
            write_us_max,
            sync_us_min,
            sync_us_max,
            tail_ppm: sometimes(s, self.tail_ppm),
            tail_us_max: self.tail_us.draw(s),
        }
    }
}

impl Clock {
    fn draw(&self, s: &mut Sequence) -> ClockParams {
        let mut signed = |span: Span| {
            let (back, value) = (s.draw().chance(0.5), span.draw(s) as i64);
            if back { -value } else { value }
        };
        ClockParams { rate_ppm: signed(self.rate_ppm) as i32, wall_offset_us: signed(self.wall_offset_us) }
    }
}
