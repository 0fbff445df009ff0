//! CURP's fast path (Park and Ousterhout, NSDI'19) on a Raft backend (Ongaro and Ousterhout, ATC'14), as a state machine without
//! IO, clock or randomness of its own.
//!
//! [`RawCurp`] is one node's consensus: it is given inputs, and says what to write, what to send and what to execute. The state
//! machine behind it is reached through the traits of `command`. `core/node` puts the two together with a log on disk.
//!
//! What stays true: every message waits for the records it depends on; the log is only cut from the first entry that conflicts;
//! a command leaves a spec pool only when it is applied; two commands in one spec pool commute.

mod board;
mod command;
mod draw;
mod event;
mod log;
mod message;
mod pool;
mod queue;
pub mod quorum;
mod raw;
mod sessions;
mod storage;
#[cfg(test)]
mod test_command;
mod types;

pub use command::*;
pub use draw::splitmix64;
pub use event::*;
pub use message::*;
pub use queue::TaskId;
pub use raw::{
    Config, FOUND, Outgoing, Output, ProgressStatus, RawCurp, ReadState, RoleKind, SnapshotError, SoftState, StateChange, Status,
    has_change,
};
pub use sessions::SessionChange;
pub use storage::{Found, FoundState, Storage, StorageError, Stored, entry_bytes};
pub use types::*;
