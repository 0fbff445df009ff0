//! The faults that network and disk models know, with everything resolved: no "leader" here, only endpoints. Plans describe faults by
//! role; an engine resolves them when they begin.

use crate::Endpoint;
use serde::{Deserialize, Serialize};

/// Which way an isolated node is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// It hears nothing.
    In,
    /// Nobody hears it.
    Out,
    /// Both.
    Both,
}

/// A fault of the network. Whoever it does not name is not affected. A black hole is silence, not an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetFault {
    /// Groups that cannot talk to each other; an endpoint named twice belongs to the first group that names it.
    Symmetric {
        /// The groups.
        groups: Vec<Vec<Endpoint>>,
    },
    /// Nothing passes from one set to the other; the way back works.
    OneWay {
        /// Senders.
        from: Vec<Endpoint>,
        /// Receivers.
        to: Vec<Endpoint>,
    },
    /// One node, with the clients on its side, is cut off from the others.
    Isolate {
        /// The node and the clients on its side.
        side: Vec<Endpoint>,
        /// Those it is cut off from. Clients in neither set reach both.
        others: Vec<Endpoint>,
        /// Which way, as seen from `side`.
        direction: Direction,
    },
    /// Two sets that hear each other only through the endpoints that neither names: those reach both.
    Bridge {
        /// One set.
        left: Vec<Endpoint>,
        /// The other.
        right: Vec<Endpoint>,
    },
    /// Each of these hears only its two neighbours in the ring.
    Ring {
        /// The ring, in order.
        order: Vec<Endpoint>,
    },
    /// A minority of the nodes, with the clients on its side, is cut off from the majority.
    MajorityMinority {
        /// The minority's side.
        minority: Vec<Endpoint>,
        /// The majority's side. Clients in neither set reach both.
        majority: Vec<Endpoint>,
    },
    /// A symmetric partition that comes and goes, beginning with "on".
    Flapping {
        /// The groups.
        groups: Vec<Vec<Endpoint>>,
        /// How long it blocks.
        on_us: u64,
        /// How long it then lets everything pass.
        off_us: u64,
    },
    /// Endpoints are cut off from everybody, one by one, then let go one by one in another order.
    Swizzle {
        /// Order of cutting off: the i-th at i steps after the beginning.
        clog: Vec<Endpoint>,
        /// Order of letting go: the i-th at `clog.len() + i` steps after the beginning.
        unclog: Vec<Endpoint>,
        /// Time between two changes.
        step_us: u64,
    },
    /// Messages from one set to the other take longer; nothing is lost, and the way back is as fast as ever.
    SlowLink {
        /// Senders.
        from: Vec<Endpoint>,
        /// Receivers.
        to: Vec<Endpoint>,
        /// How much longer.
        extra_us: u64,
    },
    /// The whole network loses, duplicates, reorders and delays more than it usually does: each chance is the greater of the two.
    Storm {
        /// Chance of loss.
        loss_ppm: u32,
        /// Chance of arriving twice.
        duplicate_ppm: u32,
        /// Chance of being overtaken.
        reorder_ppm: u32,
        /// Longest time a message is held back to be overtaken.
        reorder_us_max: u64,
        /// Chance of being very late.
        late_ppm: u32,
        /// Longest lateness.
        late_us_max: u64,
    },
}

impl NetFault {
    /// Its kind, by the name used in plans, traces and `cargo sim list faults`.
    pub fn kind(&self) -> &'static str {
        match self {
            NetFault::Symmetric { .. } => "partition_symmetric",
            NetFault::OneWay { .. } => "partition_one_way",
            NetFault::Isolate { .. } => "partition_isolate",
            NetFault::Bridge { .. } => "partition_bridge",
            NetFault::Ring { .. } => "partition_ring",
            NetFault::MajorityMinority { .. } => "partition_majority_minority",
            NetFault::Flapping { .. } => "partition_flapping",
            NetFault::Swizzle { .. } => "partition_swizzle",
            NetFault::SlowLink { .. } => "slow_link",
            NetFault::Storm { .. } => "storm",
        }
    }
}

/// A fault of one disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// Everything takes this many times as long.
    Slow {
        /// The factor, at least 1.
        factor: u32,
    },
    /// Each batch with a sync fails with this chance.
    SyncError {
        /// The chance.
        chance_ppm: u32,
    },
}

impl DiskFault {
    /// Its kind, by the name used in plans, traces and `cargo sim list faults`.
    pub fn kind(&self) -> &'static str {
        match self {
            DiskFault::Slow { .. } => "slow_disk",
            DiskFault::SyncError { .. } => "sync_error",
        }
    }
}
