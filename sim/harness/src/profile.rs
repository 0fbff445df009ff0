//! Which part of a run the processor is at, for `cargo sim bench`: a marker that runs move and a sampler elsewhere reads. A clock would not do:
//! inside madsim every clock shows virtual time. The marker is one for the process: whoever samples makes one run at a time.

use std::sync::atomic::{AtomicU8, Ordering};

/// A part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// No run is under way.
    Outside,
    /// The event loop, or madsim's executor with tasks, channels and timers; and whatever is none of the others.
    Scheduler,
    /// From the moment a message leaves until it is handed to its receiver, the network's model apart.
    Transport,
    /// Nodes and clients.
    Node,
    /// The models of network, disks and processors.
    World,
    /// Hashing and judging.
    Checks,
}

impl Part {
    /// All of them, in the order of their numbers.
    pub const ALL: [Part; 6] = [Part::Outside, Part::Scheduler, Part::Transport, Part::Node, Part::World, Part::Checks];

    /// The word in reports.
    pub fn name(self) -> &'static str {
        match self {
            Part::Outside => "outside",
            Part::Scheduler => "scheduler",
            Part::Transport => "transport",
            Part::Node => "node",
            Part::World => "world",
            Part::Checks => "checks",
        }
    }
}

static AT: AtomicU8 = AtomicU8::new(0);

/// Where the run is now.
pub fn sample() -> Part {
    Part::ALL[usize::from(AT.load(Ordering::Relaxed)).min(Part::ALL.len() - 1)]
}

/// The run is at this part from here on.
pub(crate) fn set(part: Part) {
    AT.store(part as u8, Ordering::Relaxed);
}

/// The run is at this part until the guard is dropped.
pub(crate) fn enter(part: Part) -> Entered {
    // Not a swap: that locks the bus, several times an event, and nobody else writes.
    let before = AT.load(Ordering::Relaxed);
    set(part);
    Entered { before }
}

/// Goes back to the part before.
#[must_use = "dropped at once, it marks nothing"]
pub(crate) struct Entered {
    before: u8,
}

impl Drop for Entered {
    fn drop(&mut self) {
        AT.store(self.before, Ordering::Relaxed);
    }
}
