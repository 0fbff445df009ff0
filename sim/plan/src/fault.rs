//! The faults of a plan. Each kind is a variant with a sentence; each is done by an engine, with the models of `world`.

use crate::{Member, Target};
use serde::{Deserialize, Serialize};
use std::fmt;
use world::Direction;

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Its id, unique in the plan.
    pub id: u32,
    /// When it begins.
    pub when: When,
    /// What it does.
    pub kind: FaultKind,
}

/// When a fault begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum When {
    /// At this moment.
    AtUs(u64),
    /// When a probe fires for the n-th time in the run, and a delay later.
    After {
        /// The probe, by a name of [`crate::PROBES`].
        probe: String,
        /// Which of its occurrences, over all nodes; the first is 1.
        n: u64,
        /// How much later. At 0 the fault comes right after the step in which the probe fired.
        #[serde(default)]
        delay_us: u64,
    },
}

/// What a fault does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultKind {
    /// A node stops, losing what it did not sync (power) or only its memory (process kill), and starts again later.
    Crash {
        /// The node.
        node: Target,
        /// Whether power fails; else the process is killed and the page cache kept.
        power: bool,
        /// It starts again after this time.
        down_us: u64,
    },
    /// All nodes stop at once, and start again later, at once.
    CrashAll {
        /// Whether power fails; else the processes are killed and the page caches kept.
        power: bool,
        /// They start again after this time.
        down_us: u64,
    },
    /// A node stands still while time goes on; what arrives meanwhile waits for it.
    Pause {
        /// The node.
        node: Target,
        /// For how long.
        for_us: u64,
    },
    /// The network is cut along a shape.
    Partition {
        /// The shape.
        shape: Shape,
        /// For how long.
        for_us: u64,
    },
    /// Messages from one set to another take longer.
    SlowLink {
        /// Senders.
        from: Vec<Member>,
        /// Receivers.
        to: Vec<Member>,
        /// How much longer.
        extra_us: u64,
        /// For how long.
        for_us: u64,
    },
    /// The whole network loses, duplicates, reorders and delays more than usual; each chance is the greater of this and the usual one.
    Storm {
        /// Chance of loss.
        #[serde(default)]
        loss_ppm: u32,
        /// Chance of arriving twice.
        #[serde(default)]
        duplicate_ppm: u32,
        /// Chance of being held back and overtaken.
        #[serde(default)]
        reorder_ppm: u32,
        /// Longest time held back.
        #[serde(default)]
        reorder_us_max: u64,
        /// Chance of being very late.
        #[serde(default)]
        late_ppm: u32,
        /// Longest lateness.
        #[serde(default)]
        late_us_max: u64,
        /// For how long.
        for_us: u64,
    },
    /// A node's disk takes a multiple of its time.
    SlowDisk {
        /// The node.
        node: Target,
        /// The multiple.
        factor: u32,
        /// For how long.
        for_us: u64,
    },
    /// Syncs of a node's disk fail. The node must stop by itself; the engine then fails its power (a cache after a failed sync cannot be
    /// trusted) and starts it again.
    SyncError {
        /// The node.
        node: Target,
        /// Chance that a batch with a sync fails.
        chance_ppm: u32,
        /// For how long.
        for_us: u64,
        /// Once it has stopped over this, it starts again after this time.
        down_us: u64,
    },
    /// Power fails at a node at the k-th call on the file of its state machine's store, counted from this fault's begin over restarts. It
    /// does nothing if the store has no file.
    StoreCut {
        /// The node.
        node: Target,
        /// At which call: 1 is the next.
        call: u64,
        /// It starts again after this time.
        down_us: u64,
    },
    /// A node executes commands in a multiple of the usual time.
    SlowCpu {
        /// The node.
        node: Target,
        /// The multiple.
        factor: u32,
        /// For how long.
        for_us: u64,
    },
    /// A client process dies; its pending operation is unknown. It comes back with a new session and goes on with its next operation.
    ClientCrash {
        /// The client.
        client: u32,
        /// It comes back after this time.
        down_us: u64,
    },
    /// A node's wall clock is stepped.
    WallClockStep {
        /// The node.
        node: Target,
        /// By how much; negative is back.
        by_us: i64,
    },
    /// A node that never ran starts with an empty disk, and the operator makes it a member: a learner first.
    AddMember {
        /// Its id: above the voters', and no other fault's. It is said here, so that taking out a fault renumbers no other's node.
        node: u32,
        /// Whether it votes as soon as it has caught up.
        promote: bool,
    },
    /// The operator removes a member.
    RemoveMember {
        /// The member.
        node: Target,
        /// Its process ends for good so long after the removal was applied somewhere; absent: it runs on, and nobody talks to it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stop_after_us: Option<u64>,
    },
    /// A node dies and loses its disk. It is started again under its old id, and must refuse. At most f disks of a configuration are lost:
    /// one more, and the fault does not happen.
    LoseDisk {
        /// The node.
        node: Target,
        /// It is started again after this time.
        down_us: u64,
        /// The operator then adds a node of this id, which never ran, promotes it, and removes the lost one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replace: Option<u32>,
    },
    /// The operator gives a member a new address. It is reached at both.
    UpdateMember {
        /// The member.
        node: Target,
    },
    /// The operator has leadership moved.
    MoveLeader {
        /// Who shall lead.
        to: Target,
    },
    /// The operator asks a node for a snapshot.
    TakeSnapshot {
        /// The node.
        node: Target,
    },
    /// The operator shuts the cluster down, through the log. Each node that stopped starts again later.
    Shutdown {
        /// So much later.
        down_us: u64,
    },
}

/// How a partition cuts. Who is not named is not affected; of clients, only those named are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Shape {
    /// Groups that cannot talk to each other; who is named twice belongs to the first group.
    Symmetric {
        /// The groups.
        groups: Vec<Vec<Member>>,
    },
    /// Nothing passes from one set to the other; the way back works.
    OneWay {
        /// Senders.
        from: Vec<Member>,
        /// Receivers.
        to: Vec<Member>,
    },
    /// One node, usually the leader, is cut off from all other nodes.
    Isolate {
        /// The node.
        node: Target,
        /// Whether it hears nothing, is not heard, or both.
        direction: Direction,
        /// Clients on its side: cut off from the other nodes.
        #[serde(default)]
        with: Vec<Member>,
        /// Clients cut off from it.
        #[serde(default)]
        without: Vec<Member>,
    },
    /// Two sets of nodes hear each other only through the nodes that neither names.
    Bridge {
        /// One set.
        left: Vec<Member>,
        /// The other.
        right: Vec<Member>,
    },
    /// Each node hears only its two neighbours in the ring.
    Ring {
        /// The ring, in order.
        order: Vec<Member>,
    },
    /// Some nodes, with or without the leader among them, are cut off from the rest.
    MajorityMinority {
        /// How many nodes are on the small side.
        size: u32,
        /// Whether the leader is one of them.
        with_leader: bool,
        /// Which followers are: from the `first`-th after the leader on.
        #[serde(default)]
        first: u32,
        /// Clients on the small side: cut off from the other nodes.
        #[serde(default)]
        with: Vec<Member>,
        /// Clients cut off from the small side.
        #[serde(default)]
        without: Vec<Member>,
    },
    /// A symmetric partition that comes and goes.
    Flapping {
        /// The groups.
        groups: Vec<Vec<Member>>,
        /// How long it blocks …
        on_us: u64,
        /// … before it lets everything pass for this long.
        off_us: u64,
    },
    /// Nodes are cut off from everybody one by one, then let go one by one in another order.
    Swizzle {
        /// Order of cutting off.
        clog: Vec<Member>,
        /// Order of letting go.
        unclog: Vec<Member>,
        /// Time between two changes.
        step_us: u64,
    },
}

/// Every kind of fault with what it does, by name: those that a plan schedules, what the network does by chance, and what crashes
/// did to a disk.
pub const FAULTS: &[(&str, &str)] = &[
    ("add_member", "a node that never ran joins as a learner, and votes once it has caught up"),
    ("client_crash", "a client process dies, and comes back with a new session"),
    ("crash", "a node stops, by power loss or process kill, and starts again later"),
    ("crash_all", "all nodes stop at once, and start again later"),
    ("hole", "a power loss left a hole of zeros where a lost write is followed by one that survived"),
    ("lose_disk", "a node dies and loses its disk; under its old id it must not start again, but it may be replaced"),
    ("message_duplicated", "the network delivers a message twice, by chance"),
    ("message_late", "the network delivers a message very late, by chance"),
    ("message_lost", "the network loses a message, by chance"),
    ("message_reordered", "the network holds a message back until later ones have overtaken it, by chance"),
    ("move_leader", "an operator has leadership moved"),
    ("operator_gave_up", "an operator's wish was not done in time, and not asked for any more"),
    (
        "operator_skipped",
        "an operator's wish or a lost disk was left out: it made no sense any more, or too few disks would have been left",
    ),
    ("partition_bridge", "two sets of nodes hear each other only through the rest"),
    ("partition_flapping", "a symmetric partition comes and goes"),
    ("partition_isolate", "one node, usually the leader, is cut off from the other nodes: inwards, outwards or both"),
    ("partition_majority_minority", "some nodes, with or without the leader, are cut off from the rest"),
    ("partition_one_way", "nothing passes from one set to another; the way back works"),
    ("partition_ring", "each node hears only its two neighbours"),
    ("partition_swizzle", "nodes are cut off one by one, then let go in another order"),
    ("partition_symmetric", "groups cannot talk to each other"),
    ("pause", "a node stands still while time goes on"),
    ("remove_member", "a member is removed; its process ends, or runs on with nobody to talk to"),
    ("shutdown", "the cluster shuts down through the log; a node that stopped starts again later"),
    ("slow_cpu", "a node executes commands more slowly"),
    ("slow_disk", "a node's disk is slower"),
    ("slow_link", "messages from one set to another take longer"),
    ("stopped_over_sync_error", "a node stopped itself over a failed sync"),
    ("store_cut", "power fails at a node in the middle of a transaction of its state machine's store"),
    ("storm", "the whole network loses, duplicates, reorders and delays more than usual"),
    ("sync_error", "syncs of a node's disk fail"),
    ("take_snapshot", "an operator asked a node for a snapshot, and it is durable"),
    ("torn_write", "a power loss left a part of the last surviving write"),
    ("unsynced_bytes_lost", "bytes written and not synced that a power loss took"),
    ("update_member", "a member is given a new address"),
    ("wall_clock_step", "a node's wall clock is stepped"),
];

impl FaultKind {
    /// Its name, one of [`FAULTS`]; a partition has the name of its shape.
    pub fn name(&self) -> &'static str {
        match self {
            FaultKind::Crash { .. } => "crash",
            FaultKind::CrashAll { .. } => "crash_all",
            FaultKind::Pause { .. } => "pause",
            FaultKind::Partition { shape, .. } => match shape {
                Shape::Symmetric { .. } => "partition_symmetric",
                Shape::OneWay { .. } => "partition_one_way",
                Shape::Isolate { .. } => "partition_isolate",
                Shape::Bridge { .. } => "partition_bridge",
                Shape::Ring { .. } => "partition_ring",
                Shape::MajorityMinority { .. } => "partition_majority_minority",
                Shape::Flapping { .. } => "partition_flapping",
                Shape::Swizzle { .. } => "partition_swizzle",
            },
            FaultKind::SlowLink { .. } => "slow_link",
            FaultKind::Storm { .. } => "storm",
            FaultKind::SlowDisk { .. } => "slow_disk",
            FaultKind::SyncError { .. } => "sync_error",
            FaultKind::StoreCut { .. } => "store_cut",
            FaultKind::SlowCpu { .. } => "slow_cpu",
            FaultKind::ClientCrash { .. } => "client_crash",
            FaultKind::WallClockStep { .. } => "wall_clock_step",
            FaultKind::AddMember { .. } => "add_member",
            FaultKind::RemoveMember { .. } => "remove_member",
            FaultKind::LoseDisk { .. } => "lose_disk",
            FaultKind::UpdateMember { .. } => "update_member",
            FaultKind::MoveLeader { .. } => "move_leader",
            FaultKind::TakeSnapshot { .. } => "take_snapshot",
            FaultKind::Shutdown { .. } => "shutdown",
        }
    }

    /// Whether an operator does it: asks the cluster for it, one wish after another. A lost disk is none, but its replacement is.
    pub fn is_wish(&self) -> bool {
        match self {
            FaultKind::AddMember { .. }
            | FaultKind::RemoveMember { .. }
            | FaultKind::UpdateMember { .. }
            | FaultKind::MoveLeader { .. }
            | FaultKind::TakeSnapshot { .. }
            | FaultKind::Shutdown { .. } => true,
            FaultKind::LoseDisk { replace, .. } => replace.is_some(),
            _ => false,
        }
    }

    /// The node that it brings into the cluster, if it does.
    pub fn joiner(&self) -> Option<u32> {
        match *self {
            FaultKind::AddMember { node, .. } => Some(node),
            FaultKind::LoseDisk { replace, .. } => replace,
            _ => None,
        }
    }

    pub(crate) fn joiner_mut(&mut self) -> Option<&mut u32> {
        match self {
            FaultKind::AddMember { node, .. } => Some(node),
            FaultKind::LoseDisk { replace, .. } => replace.as_mut(),
            _ => None,
        }
    }

    /// How long it lasts: until it is ended, or until what it stopped starts again. `None` for what happens in an instant.
    pub fn duration_us(&self) -> Option<u64> {
        match *self {
            FaultKind::Crash { down_us, .. }
            | FaultKind::CrashAll { down_us, .. }
            | FaultKind::ClientCrash { down_us, .. }
            | FaultKind::LoseDisk { down_us, .. }
            | FaultKind::StoreCut { down_us, .. }
            | FaultKind::Shutdown { down_us } => Some(down_us),
            FaultKind::RemoveMember { stop_after_us, .. } => stop_after_us,
            FaultKind::Pause { for_us, .. }
            | FaultKind::Partition { for_us, .. }
            | FaultKind::SlowLink { for_us, .. }
            | FaultKind::Storm { for_us, .. }
            | FaultKind::SlowDisk { for_us, .. }
            | FaultKind::SyncError { for_us, .. }
            | FaultKind::SlowCpu { for_us, .. } => Some(for_us),
            FaultKind::WallClockStep { .. }
            | FaultKind::AddMember { .. }
            | FaultKind::UpdateMember { .. }
            | FaultKind::MoveLeader { .. }
            | FaultKind::TakeSnapshot { .. } => None,
        }
    }

    /// The one node it is about, if it is about one.
    pub fn target(&self) -> Option<Target> {
        match *self {
            FaultKind::Crash { node, .. }
            | FaultKind::Pause { node, .. }
            | FaultKind::SlowDisk { node, .. }
            | FaultKind::SyncError { node, .. }
            | FaultKind::StoreCut { node, .. }
            | FaultKind::SlowCpu { node, .. }
            | FaultKind::WallClockStep { node, .. }
            | FaultKind::RemoveMember { node, .. }
            | FaultKind::LoseDisk { node, .. }
            | FaultKind::UpdateMember { node }
            | FaultKind::MoveLeader { to: node }
            | FaultKind::TakeSnapshot { node }
            | FaultKind::Partition { shape: Shape::Isolate { node, .. }, .. } => Some(node),
            _ => None,
        }
    }

    pub(crate) fn duration_mut(&mut self) -> Option<&mut u64> {
        match self {
            FaultKind::Crash { down_us, .. }
            | FaultKind::CrashAll { down_us, .. }
            | FaultKind::ClientCrash { down_us, .. }
            | FaultKind::LoseDisk { down_us, .. }
            | FaultKind::StoreCut { down_us, .. }
            | FaultKind::Shutdown { down_us } => Some(down_us),
            FaultKind::RemoveMember { stop_after_us, .. } => stop_after_us.as_mut(),
            FaultKind::Pause { for_us, .. }
            | FaultKind::Partition { for_us, .. }
            | FaultKind::SlowLink { for_us, .. }
            | FaultKind::Storm { for_us, .. }
            | FaultKind::SlowDisk { for_us, .. }
            | FaultKind::SyncError { for_us, .. }
            | FaultKind::SlowCpu { for_us, .. } => Some(for_us),
            FaultKind::WallClockStep { .. }
            | FaultKind::AddMember { .. }
            | FaultKind::UpdateMember { .. }
            | FaultKind::MoveLeader { .. }
            | FaultKind::TakeSnapshot { .. } => None,
        }
    }
}

/// What it does, for people, in one line.
impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = |power: bool| if power { "loses power" } else { "is killed" };
        match self {
            FaultKind::Crash { node, power, down_us } => write!(f, "{node} {}, back after {}", how(*power), Ms(*down_us)),
            FaultKind::CrashAll { power, down_us } => write!(f, "every node {}, back after {}", how(*power), Ms(*down_us)),
            FaultKind::Pause { node, for_us } => write!(f, "{node} stands still for {}", Ms(*for_us)),
            FaultKind::Partition { shape, for_us } => write!(f, "{shape}, for {}", Ms(*for_us)),
            FaultKind::SlowLink { from, to, extra_us, for_us } => {
                write!(f, "{} → {} takes {} longer, for {}", Set(from), Set(to), Ms(*extra_us), Ms(*for_us))
            }
            FaultKind::Storm { loss_ppm, duplicate_ppm, reorder_ppm, late_ppm, for_us, .. } => write!(
                f,
                "storm: {} lost, {} twice, {} overtaken, {} very late, for {}",
                Percent(*loss_ppm),
                Percent(*duplicate_ppm),
                Percent(*reorder_ppm),
                Percent(*late_ppm),
                Ms(*for_us)
            ),
            FaultKind::SlowDisk { node, factor, for_us } => write!(f, "the disk of {node} is {factor} times slower for {}", Ms(*for_us)),
            FaultKind::SyncError { node, chance_ppm, for_us, .. } => {
                write!(f, "{} of the syncs of {node} fail for {}", Percent(*chance_ppm), Ms(*for_us))
            }
            FaultKind::StoreCut { node, call, down_us } => {
                write!(f, "{node} loses power at call {call} on its store's file, back after {}", Ms(*down_us))
            }
            FaultKind::SlowCpu { node, factor, for_us } => write!(f, "{node} executes {factor} times slower for {}", Ms(*for_us)),
            FaultKind::ClientCrash { client, down_us } => write!(f, "client c{client} dies, back after {}", Ms(*down_us)),
            FaultKind::WallClockStep { node, by_us } => write!(f, "the wall clock of {node} is stepped by {by_us} µs"),
            FaultKind::AddMember { node, promote: true } => write!(f, "n{node} joins and is promoted"),
            FaultKind::AddMember { node, promote: false } => write!(f, "n{node} joins as a learner"),
            FaultKind::RemoveMember { node, stop_after_us: Some(us) } => write!(f, "{node} is removed, and stops {} later", Ms(*us)),
            FaultKind::RemoveMember { node, stop_after_us: None } => write!(f, "{node} is removed, and runs on"),
            FaultKind::LoseDisk { node, down_us, replace } => {
                write!(f, "{node} dies and loses its disk, started again after {}", Ms(*down_us))?;
                replace.map_or(Ok(()), |by| write!(f, ", replaced by n{by}"))
            }
            FaultKind::UpdateMember { node } => write!(f, "{node} is given a new address"),
            FaultKind::MoveLeader { to } => write!(f, "leadership is moved to {to}"),
            FaultKind::TakeSnapshot { node } => write!(f, "{node} is asked for a snapshot"),
            FaultKind::Shutdown { down_us } => write!(f, "the cluster shuts down, each node is back after {}", Ms(*down_us)),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups = |groups: &[Vec<Member>]| groups.iter().map(|g| Set(g).to_string()).collect::<Vec<_>>().join(" | ");
        match self {
            Shape::Symmetric { groups: g } => write!(f, "partition {}", groups(g)),
            Shape::OneWay { from, to } => write!(f, "nothing passes {} → {}", Set(from), Set(to)),
            Shape::Isolate { node, direction, with, .. } => {
                let way = match direction {
                    Direction::In => "hears no other node",
                    Direction::Out => "is heard by no other node",
                    Direction::Both => "is cut off from the other nodes",
                };
                write!(f, "{node} {way}")?;
                if with.is_empty() { Ok(()) } else { write!(f, ", with {}", Set(with)) }
            }
            Shape::Bridge { left, right } => write!(f, "partition {} | {} with a bridge", Set(left), Set(right)),
            Shape::Ring { order } => write!(f, "ring {}", Set(order)),
            Shape::MajorityMinority { size, with_leader, .. } => {
                write!(f, "{size} nodes, the leader {}, are cut off from the rest", if *with_leader { "among them" } else { "not" })
            }
            Shape::Flapping { groups: g, on_us, off_us } => write!(f, "partition {}, {} on, {} off", groups(g), Ms(*on_us), Ms(*off_us)),
            Shape::Swizzle { clog, unclog, step_us } => {
                write!(f, "cut off {} and let go {}, one every {}", Set(clog), Set(unclog), Ms(*step_us))
            }
        }
    }
}

struct Ms(u64);

impl fmt::Display for Ms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 10_000 { write!(f, "{} µs", self.0) } else { write!(f, "{} ms", self.0 / 1000) }
    }
}

struct Percent(u32);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} %", self.0 / 10_000, self.0 % 10_000 / 1_000)
    }
}

struct Set<'a>(&'a [Member]);

impl fmt::Display for Set<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, member) in self.0.iter().enumerate() {
            write!(f, "{}{member}", if i == 0 { "" } else { " " })?;
        }
        f.write_str("}")
    }
}
