//! Plans as data: everything that distinguishes one run from another, and how a scenario draws it from a seed.
//!
//! A [`Plan`] is explicit: every operation and every fault is an entry with an id, to be printed, edited, removed and replayed. Taking
//! one out changes no other, since whatever is still random in a run is a hash of the seed and of ids (`world::Draws`). It is
//! independent of the engine and lives in a TOML file; `README.md` describes the format.
//!
//! A [`Scenario`] is a distribution over plans, drawn by swarm testing: each run switches off a random subset of fault kinds and operation
//! kinds, and draws wildly different rates for the rest.
//!
//! What this crate does not do: run anything, or know which checks judge a run.

mod fault;
mod op;
mod parse;
mod probe;
mod request;
mod resolve;
mod scenario;
mod shrink;
mod validate;
mod write;

pub use fault::{FAULTS, Fault, FaultKind, Shape, When};
pub use op::{Action, CasBy, Leave, Mistake, Op, Query, Watch, ZkAction};
pub use parse::PlanError;
pub use probe::{PROBES, is_probe};
pub use request::{Known, value};
pub use resolve::{Member, MemberError, Roles, Target};
pub use scenario::{Scenario, ScenarioError, pick, scenario, scenarios};
pub use shrink::{Simplification, Unit};

use serde::{Deserialize, Serialize};
use world::{ClockParams, DiskParams, ExecutionParams, NetworkParams};

/// Version of the plan format that this code reads and writes.
pub const PLAN_VERSION: u32 = 1;

/// One run, as data. Times are virtual: microseconds since the run began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Version of the format: [`PLAN_VERSION`].
    pub version: u32,
    /// The scenario it was drawn from, or a name of one's own.
    pub scenario: String,
    /// Seed of everything that the plan does not spell out: message fates, latencies, what a crash loses.
    #[serde(with = "seed")]
    pub seed: u64,
    /// Probes that must fire, by the names of [`PROBES`]; a run without one of them is vacuous.
    #[serde(default)]
    pub required_probes: Vec<String>,
    /// The nodes and their timing.
    pub cluster: Cluster,
    /// The network while no fault is active.
    #[serde(default)]
    pub network: NetworkParams,
    /// The disks while no fault is active.
    #[serde(default)]
    pub disk: DiskParams,
    /// Clocks of nodes 1, 2, …; nodes beyond the list have perfect ones.
    #[serde(default)]
    pub clock: Vec<ClockParams>,
    /// Clocks of clients 1, 2, …; clients beyond the list have perfect ones.
    #[serde(default, skip_serializing_if = "op::plain")]
    pub client_clock: Vec<ClockParams>,
    /// How long commands take to execute.
    #[serde(default)]
    pub execution: ExecutionParams,
    /// The clients.
    pub workload: Workload,
    /// When the faults end for good.
    pub heal: Heal,
    /// When the run ends.
    #[serde(default)]
    pub end: End,
    /// The faults, with distinct ids.
    #[serde(default)]
    pub fault: Vec<Fault>,
    /// The operations, with distinct ids. A client runs its own in the order given, one after another.
    #[serde(default)]
    pub op: Vec<Op>,
}

/// The nodes and their timing. The voters that the cluster is made of have the ids 1, 2, …; those that join have higher ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// How many nodes the cluster is made of; all vote.
    pub voters: u32,
    /// How often a node is told its clock's reading.
    #[serde(default = "Cluster::tick_us")]
    pub tick_us: u64,
    /// A leader sends heartbeats this often.
    #[serde(default = "Cluster::heartbeat_ms")]
    pub heartbeat_ms: u64,
    /// A node that hears of no leader for a time drawn from here …
    #[serde(default = "Cluster::election_timeout_ms_min")]
    pub election_timeout_ms_min: u64,
    /// … to here stands for election. A narrow range makes candidates compete.
    #[serde(default = "Cluster::election_timeout_ms_max")]
    pub election_timeout_ms_max: u64,
    /// The most entries in one AppendEntries; a small number makes replication partial.
    #[serde(default = "Cluster::append_entries_max")]
    pub append_entries_max: u32,
    /// A command that sat in a pool for so long is handed to the leader.
    #[serde(default = "Cluster::hand_over_ms")]
    pub hand_over_ms: u64,
    /// The most bytes of commands in one AppendEntries.
    #[serde(default = "Cluster::append_bytes_max")]
    pub append_bytes_max: u64,
    /// The most AppendEntries on their way to one follower.
    #[serde(default = "Cluster::appends_in_flight_max")]
    pub appends_in_flight_max: u32,
    /// A node makes a snapshot after so many applied entries; 0: only when asked to.
    #[serde(default)]
    pub snapshot_every: u64,
    /// So many entries before a snapshot stay in the log.
    #[serde(default = "Cluster::trailing_entries")]
    pub trailing_entries: u64,
    /// The most bytes in one piece of a snapshot.
    #[serde(default = "Cluster::snapshot_chunk_bytes")]
    pub snapshot_chunk_bytes: u64,
    /// What state machines are kept in.
    #[serde(default, skip_serializing_if = "Store::is_memory")]
    pub store: Store,
}

/// What state machines are kept in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Store {
    /// In memory, which is gone with the process: a start begins from the snapshot.
    #[default]
    Memory,
    /// In a redb database on the node's disk: a start goes on from there.
    Redb,
}

impl Store {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this signature")]
    fn is_memory(&self) -> bool {
        *self == Store::Memory
    }
}

impl Cluster {
    fn tick_us() -> u64 {
        10_000
    }
    fn heartbeat_ms() -> u64 {
        40
    }
    fn election_timeout_ms_min() -> u64 {
        150
    }
    fn election_timeout_ms_max() -> u64 {
        300
    }
    fn append_entries_max() -> u32 {
        64
    }
    fn hand_over_ms() -> u64 {
        500
    }
    pub(crate) fn append_bytes_max() -> u64 {
        1 << 20
    }
    pub(crate) fn appends_in_flight_max() -> u32 {
        64
    }
    pub(crate) fn trailing_entries() -> u64 {
        1_000
    }
    pub(crate) fn snapshot_chunk_bytes() -> u64 {
        64 << 10
    }
}

impl Plan {
    /// The highest id of a node, joiners included.
    pub fn nodes(&self) -> u32 {
        self.fault.iter().filter_map(|f| f.kind.joiner()).fold(self.cluster.voters, u32::max)
    }

    /// The bound on the drift of all its clocks, in parts per million: what leases rely on.
    pub fn drift_ppm(&self) -> u32 {
        self.clock.iter().chain(&self.client_clock).map(|clock| clock.rate_ppm.unsigned_abs()).max().unwrap_or(0)
    }
}

/// The clients and the keys. Clients are counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// How many clients there are.
    pub clients: u32,
    /// How many keys were drawn from; for reports only, the operations name their keys.
    #[serde(default)]
    pub keys: u32,
    /// A client that has no answer after this time gives up: the outcome is unknown. (It goes on asking for the synced result.)
    #[serde(default = "Workload::patience_us")]
    pub patience_us: u64,
    /// A client that has no answer sends again after this time.
    #[serde(default = "Workload::retry_us")]
    pub retry_us: u64,
    /// So many of the clients, the last ones, come through etcd's API: they call a node, whose gateway has done what they ask for.
    #[serde(default, skip_serializing_if = "is_none")]
    pub etcd_clients: u32,
}

fn is_none(number: &u32) -> bool {
    *number == 0
}

impl Workload {
    /// Whether this client comes through etcd's API.
    pub fn is_etcd(&self, client: u32) -> bool {
        client <= self.clients && client > self.clients.saturating_sub(self.etcd_clients)
    }

    fn patience_us() -> u64 {
        2_000_000
    }
    fn retry_us() -> u64 {
        100_000
    }
}

/// When the faults end for good. From then on the engine removes network and disk faults, restarts what the plan crashed, and resumes
/// what it paused; an anchored fault that becomes due later does not happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heal {
    /// The moment.
    pub at_us: u64,
}

/// When the run ends: as soon as every operation has ended and the replicas have converged, but not before `at_us_min`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// Not before this moment.
    #[serde(default)]
    pub at_us_min: u64,
    /// Converging later than this after the heal is a failure of liveness; 0 stands for ten seconds.
    #[serde(default)]
    pub liveness_bound_us: u64,
}

impl End {
    /// Converging later than this after the heal is a failure of liveness.
    pub fn bound_us(&self) -> u64 {
        if self.liveness_bound_us == 0 { 10_000_000 } else { self.liveness_bound_us }
    }
}

/// TOML's integers end at 2^63 − 1: a greater seed is written as a hexadecimal string. Both forms are read.
mod seed {
    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};
    use std::fmt;

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this signature")]
    pub(super) fn serialize<S: Serializer>(seed: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        match i64::try_from(*seed) {
            Ok(small) => serializer.serialize_i64(small),
            Err(_) => serializer.collect_str(&format_args!("{seed:#x}")),
        }
    }

    struct Seed;

    impl Visitor<'_> for Seed {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a seed: a number from 0 to 18446744073709551615, as a string like \"0x2a\" from 2^63 on")
        }

        fn visit_i64<E: Error>(self, value: i64) -> Result<u64, E> {
            u64::try_from(value).map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(value), &self))
        }

        fn visit_u64<E: Error>(self, value: u64) -> Result<u64, E> {
            Ok(value)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
            let parsed = match text.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16),
                None => text.parse(),
            };
            parsed.map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_any(Seed)
    }
}
