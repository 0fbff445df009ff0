//! Pure seeded models of the world around the system under test: network, disks, clocks, processes. Every engine uses these, so
//! that a plan means the same on each of them.
//!
//! Invariants: no IO, no clock, no state outside the values; virtual time is a `u64` of nanoseconds passed in. Every random value is
//! a hash of (seed, label, entity, counter), see [`Draws`]: what happens to one message does not depend on how many others there were.
//!
//! What this crate never does: order events (an engine's queue does), know what a message or a file holds, or decide *which* fault
//! comes *when* (the plan does).

mod clock;
mod disk;
mod draw;
mod endpoint;
mod fault;
mod network;
mod params;
mod process;

pub use clock::Clock;
pub use disk::{BlockError, BlockFile, Completion, CrashReport, Disk, DiskEffects, DurableChange};
pub use draw::{Draw, Draws, Sequence, Stream};
pub use endpoint::{Endpoint, EndpointError};
pub use fault::{Direction, DiskFault, NetFault};
pub use network::{Fate, Network};
pub use params::{ClockParams, DiskParams, ExecutionParams, NetworkParams, ParamError};
pub use process::Cpu;

/// Virtual nanoseconds in a microsecond: plans count microseconds, the world counts nanoseconds.
pub const US: u64 = 1_000;
