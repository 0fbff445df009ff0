//! What a scenario file says. A range `[lo, hi]` is drawn log-uniformly once per run or per fault: small values are as likely as large ones.

use crate::parse::readable;
use crate::{Cluster, Member};
use serde::Deserialize;
use std::fmt;
use world::{Direction, Sequence};

/// A distribution over plans.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name, also that of its file.
    pub name: String,
    /// What it is about, for people.
    pub about: String,
    /// How likely it is drawn among several.
    #[serde(default = "Scenario::default_weight")]
    pub weight: u32,
    /// Probes that every run must fire, else the run is vacuous.
    #[serde(default)]
    pub required_probes: Vec<String>,
    /// Probes that the scenario is about: over a batch of a thousand seeds each must fire, though not in every run.
    #[serde(default)]
    pub aims: Vec<String>,
    /// Number of voters: one of these.
    pub voters: Vec<u32>,
    /// Number of clients.
    pub clients: Span,
    /// Number of operations.
    pub ops: Span,
    /// Number of keys.
    pub keys: Span,
    /// Chance, in percent, that an operation goes to its burst's hot key rather than to any.
    pub hot_percent: Span,
    /// How many operations come in one burst …
    pub burst: Span,
    /// … within how much time.
    pub burst_us: Span,
    /// A client gives up after this.
    pub patience_us: Span,
    /// A client sends again after this.
    pub retry_us: Span,
    /// No fault before this.
    #[serde(default = "Scenario::default_calm_ms")]
    pub calm_ms: u64,
    /// The heal.
    pub heal_ms: Span,
    /// The run lasts at least so long.
    pub end_ms_min: u64,
    /// The bound of liveness after the heal.
    pub liveness_bound_ms: u64,
    /// Timing of the nodes.
    pub timing: Timing,
    /// Snapshots and compaction; without it, nodes make none of their own accord.
    #[serde(default)]
    pub snapshots: Snapshots,
    /// Weights of the kinds of operations.
    pub mix: Mix,
    /// What leases, watches and applications are about.
    #[serde(default)]
    pub applications: Applications,
    /// The network's numbers; chances and latencies are drawn from 0 or from the ranges.
    #[serde(default)]
    pub network: Network,
    /// The disks' numbers.
    #[serde(default)]
    pub disk: Disk,
    /// The clocks' numbers.
    #[serde(default)]
    pub clock: Clock,
    /// Execution takes at most so long.
    pub execution_us: Span,
    /// Chance, in percent, that a run keeps its state machines in redb.
    #[serde(default = "Scenario::default_redb_percent")]
    pub redb_percent: u64,
    /// Chance, in percent, that a run has clients of etcd's API: some of its clients, or now and then all.
    #[serde(default = "Scenario::default_etcd_percent")]
    pub etcd_percent: u64,
    /// What is done to the cluster.
    #[serde(default)]
    pub attack: Vec<Attack>,
}

impl Scenario {
    fn default_weight() -> u32 {
        10
    }
    fn default_calm_ms() -> u64 {
        1_200
    }
    fn default_redb_percent() -> u64 {
        10
    }
    fn default_etcd_percent() -> u64 {
        25
    }

    /// Reads a scenario from its TOML; `file` is for error messages.
    ///
    /// # Errors
    /// It is no TOML, not a scenario, or draws plans that make no sense.
    pub fn parse(text: &str, file: &str) -> Result<Scenario, ScenarioError> {
        let error = |line, message| ScenarioError { file: file.to_owned(), line, message };
        let scenario: Scenario = toml::from_str(text).map_err(|e| {
            let (line, message) = readable(text, &e);
            error(line, message)
        })?;
        scenario.check().map_err(|message| error(1, message))?;
        Ok(scenario)
    }

    fn check(&self) -> Result<(), String> {
        let probes = self
            .required_probes
            .iter()
            .chain(&self.aims)
            .chain(self.attack.iter().filter_map(|a| a.after.as_ref()).flat_map(|a| &a.probes));
        for probe in probes {
            crate::validate::known_probe(probe)?;
        }
        if let Some(kind) = self.mix.keep.iter().chain(&self.mix.first).find(|kind| !Mix::KINDS.contains(&kind.as_str())) {
            return Err(format!("there is no kind of operation `{kind}`; there are {}", Mix::KINDS.join(", ")));
        }
        if self.voters.is_empty() || self.weight == 0 {
            return Err("a scenario has at least one number of voters, and a weight of at least 1".to_owned());
        }
        if self.heal_ms.0 <= self.calm_ms {
            return Err(format!("heal_ms begins at {}; it must be after calm_ms, which is {}", self.heal_ms.0, self.calm_ms));
        }
        // Drawing is cheap: a scenario whose plans make no sense is found when it is read.
        (0..20).try_for_each(|seed| self.draw(seed).validate().map_err(|e| format!("seed {seed} draws a plan that makes no sense: {e}")))
    }
}

/// A scenario that cannot be used. Displayed as `file:line: sentence`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioError {
    /// The file's name, as given.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}

impl std::error::Error for ScenarioError {}

/// A range, both ends included; written `[lo, hi]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "(u64, u64)")]
pub struct Span(pub u64, pub u64);

impl TryFrom<(u64, u64)> for Span {
    type Error = String;

    fn try_from((lo, hi): (u64, u64)) -> Result<Self, String> {
        if lo <= hi { Ok(Span(lo, hi)) } else { Err(format!("the range [{lo}, {hi}] is empty; write the smaller number first")) }
    }
}

impl Span {
    /// A log-uniform value of it.
    pub(super) fn draw(self, sequence: &mut Sequence) -> u64 {
        sequence.draw().log_range(self.0..=self.1)
    }
}

/// Timing of the nodes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    pub(super) tick_us: Span,
    pub(super) heartbeat_ms: Span,
    /// The shortest election timeout, in heartbeats.
    pub(super) election_heartbeats: Span,
    /// How much longer the longest is, in percent: little makes candidates compete.
    pub(super) election_spread_percent: Span,
    pub(super) append_entries_max: Span,
    pub(super) hand_over_ms: Span,
    #[serde(default = "Timing::append_bytes_max")]
    pub(super) append_bytes_max: Span,
    #[serde(default = "Timing::appends_in_flight_max")]
    pub(super) appends_in_flight_max: Span,
}

impl Timing {
    fn append_bytes_max() -> Span {
        Span(Cluster::append_bytes_max(), Cluster::append_bytes_max())
    }
    fn appends_in_flight_max() -> Span {
        Span(Cluster::appends_in_flight_max().into(), Cluster::appends_in_flight_max().into())
    }
}

/// When nodes make snapshots, what stays of the log then, and in what pieces they travel.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Snapshots {
    /// Chance, in percent, that a run has nodes that make snapshots of their own accord.
    pub(super) on_percent: u64,
    pub(super) every: Span,
    pub(super) trailing_entries: Span,
    pub(super) chunk_bytes: Span,
}

impl Default for Snapshots {
    fn default() -> Self {
        let once = |value| Span(value, value);
        let (trailing_entries, chunk_bytes) = (once(Cluster::trailing_entries()), once(Cluster::snapshot_chunk_bytes()));
        Snapshots { on_percent: 0, every: Span(0, 0), trailing_entries, chunk_bytes }
    }
}

macro_rules! mix {
    ($($kind:ident),* $(,)?) => {
        /// Weights of the kinds of operations. Each run switches some off, and weighs the others anew; what is named in `keep` stays on.
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Mix {
            $(pub(super) $kind: u32,)*
            #[serde(default = "Mix::keep_puts")]
            pub(super) keep: Vec<String>,
            /// The first operations, in the calm before the faults, are of these kinds: what a run is about surely happens in it.
            #[serde(default)]
            pub(super) first: Vec<String>,
        }

        impl Mix {
            /// The kinds there are.
            const KINDS: &'static [&'static str] = &[$(stringify!($kind)),*];

            fn keep_puts() -> Vec<String> {
                vec!["put".to_owned()]
            }

            /// Every kind with its weight.
            pub(super) fn weights(&self) -> impl Iterator<Item = (&'static str, u32)> {
                [$((stringify!($kind), self.$kind)),*].into_iter()
            }
        }
    };
}

// New kinds are added at the end: what a seed draws for the others stays what it was.
mix!(
    put,
    get,
    range,
    delete,
    delete_range,
    cas,
    txn,
    put_lease,
    put_ignore,
    query,
    nested,
    compact,
    grant,
    revoke,
    keep_alive,
    time_to_live,
    leases,
    renew,
    watch,
    mistake,
    lock,
    register,
    discover,
    authorise,
    use_token,
    withdraw,
    zk,
);

/// What leases, watches and applications are about.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Applications {
    /// Time to live of a lease, in seconds.
    pub(super) ttl_s: Span,
    /// How long a lock is held, an instance registered, a lease renewed.
    pub(super) hold_us: Span,
    /// How long a watch lasts that ends before the run.
    pub(super) watch_us: Span,
    /// How long a slow reader takes over a response.
    pub(super) pace_us: Span,
    /// How many locks …
    pub(super) locks: Span,
    /// … services …
    pub(super) services: Span,
    /// … tokens …
    pub(super) tokens: Span,
    /// … and nodes in ZooKeeper's tree, sequential ones apart; at most eight.
    pub(super) paths: Span,
}

impl Default for Applications {
    fn default() -> Self {
        Applications {
            ttl_s: Span(1, 4),
            hold_us: Span(1_000, 3_000_000),
            watch_us: Span(10_000, 3_000_000),
            pace_us: Span(1_000, 400_000),
            locks: Span(1, 3),
            services: Span(1, 2),
            tokens: Span(1, 3),
            paths: Span(2, 8),
        }
    }
}

/// The network's numbers. Each of tail, loss, duplicates, reordering and lateness is switched off in a third of the runs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    pub(super) latency_us: Span,
    pub(super) jitter_us: Span,
    pub(super) tail_ppm: Span,
    pub(super) tail_us: Span,
    pub(super) loss_ppm: Span,
    pub(super) duplicate_ppm: Span,
    pub(super) reorder_ppm: Span,
    pub(super) reorder_us: Span,
    pub(super) late_ppm: Span,
    pub(super) late_us: Span,
}

/// The disks' numbers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Disk {
    pub(super) write_us: Span,
    pub(super) sync_us: Span,
    pub(super) tail_ppm: Span,
    pub(super) tail_us: Span,
}

/// The clocks' numbers; signs are drawn too.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Clock {
    pub(super) rate_ppm: Span,
    pub(super) wall_offset_us: Span,
}

/// One or several faults that belong together, done some number of times in a run.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attack {
    /// What it is meant to lead to.
    pub about: String,
    /// How often it is done in a run.
    pub count: Span,
    /// Chance, in percent, that a run does not have it at all.
    #[serde(default = "Attack::default_off_percent")]
    pub off_percent: u64,
    /// Begins at an occurrence of a probe; without, at a time, half of the times close to a burst of operations.
    pub after: Option<After>,
    /// Its faults.
    pub step: Vec<Step>,
}

impl Attack {
    fn default_off_percent() -> u64 {
        33
    }
}

/// An anchor.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct After {
    /// One of these.
    pub probes: Vec<String>,
    /// Which occurrence.
    pub n: Span,
}

/// One fault of an attack.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// So many occurrences of the probe after the attack's.
    #[serde(default)]
    pub n_plus: Span,
    /// So much later.
    #[serde(default)]
    pub delay_us: Span,
    /// How often, one after another …
    #[serde(default = "Step::once")]
    pub times: Span,
    /// … at this distance.
    #[serde(default)]
    pub every_us: Span,
    /// What.
    pub kind: StepKind,
}

impl Step {
    fn once() -> Span {
        Span(1, 1)
    }
}

/// Whom a fault hits; one of a list is drawn, and a name given twice is twice as likely.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// The leader at that moment.
    Leader,
    /// One of the others.
    Follower,
    /// The node of the anchor.
    Anchor,
    /// The node that joined last.
    Newest,
    /// Some node, leader or not.
    Any,
}

/// A fault with ranges for its numbers; see [`crate::FaultKind`].
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[allow(missing_docs, reason = "the fields are those of FaultKind")]
pub enum StepKind {
    /// A node stops and starts again.
    Crash { node: Vec<Who>, power_percent: u64, down_us: Span },
    /// All nodes stop and start again.
    CrashAll { power_percent: u64, down_us: Span },
    /// A node stands still.
    Pause { node: Vec<Who>, for_us: Span },
    /// A partition of a drawn shape; some clients take a side.
    Partition { shapes: Vec<Shapes>, for_us: Span },
    /// A node is cut off from the others.
    Isolate { node: Vec<Who>, directions: Vec<Direction>, for_us: Span },
    /// Messages from one set to another take longer.
    SlowLink { from: Vec<Member>, to: Vec<Member>, extra_us: Span, for_us: Span },
    /// Nothing passes from one set to another.
    Cut { from: Vec<Member>, to: Vec<Member>, for_us: Span },
    /// A drawn subset of loss, duplicates, reordering and lateness.
    Storm { loss_ppm: Span, duplicate_ppm: Span, reorder_ppm: Span, late_ppm: Span, late_us: Span, for_us: Span },
    /// A slow disk.
    SlowDisk { node: Vec<Who>, factor: Span, for_us: Span },
    /// A failing disk.
    SyncError { node: Vec<Who>, chance_ppm: Span, for_us: Span, down_us: Span },
    /// Power fails at a call on the file of the state machine's store. Left out of runs whose stores have no file.
    StoreCut { node: Vec<Who>, call: Span, down_us: Span },
    /// A slow processor.
    SlowCpu { node: Vec<Who>, factor: Span, for_us: Span },
    /// A client dies and comes back.
    ClientCrash { down_us: Span },
    /// A wall clock is stepped, forth or back.
    WallClockStep { by_us: Span },
    /// A node that never ran joins. Its id is given out when all faults are drawn.
    AddMember { promote_percent: u64 },
    /// A member is removed.
    RemoveMember { node: Vec<Who>, stop_percent: u64, stop_after_us: Span },
    /// A node loses its disk.
    LoseDisk { node: Vec<Who>, down_us: Span, replace_percent: u64 },
    /// A member is given a new address.
    UpdateMember { node: Vec<Who> },
    /// Leadership is moved.
    MoveLeader { to: Vec<Who> },
    /// A node is asked for a snapshot.
    TakeSnapshot { node: Vec<Who> },
    /// The cluster shuts down.
    Shutdown { down_us: Span },
}

/// Shapes of partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names are those of Shape")]
pub enum Shapes {
    Symmetric,
    OneWay,
    Isolate,
    Bridge,
    Ring,
    MajorityMinority,
    Flapping,
    Swizzle,
}
