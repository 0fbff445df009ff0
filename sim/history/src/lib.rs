//! Histories and traces: what a run leaves behind, their file formats, and the trace hash.
//!
//! - [`Operation`]: one client operation as the client saw it; a history is a list of them (`history.jsonl`).
//! - [`Stamped`]: one event of a run, where and when; a trace is a header and a list of them (`trace.ndjson`).
//! - [`AppliedCommand`]: one command of the final log, which a certificate check holds a history against.
//! - [`TraceHash`]: what two runs must agree in to be the same run.
//!
//! Invariants: a value written and read back is equal, and hashes alike; fields may be added to the formats, never renamed; every
//! error names the file, the line, what is wrong there and what would be accepted.
//!
//! Deliberately absent: judging (that is `check`), and any notion of how a run is made. The formats are described in this
//! crate's README.md and by the JSON schemas in `schema/`.

mod error;
mod hash;
mod io;
mod operation;
mod recipe;
mod trace;

pub use error::FormatError;
pub use hash::TraceHash;
pub use io::{parse_history, parse_trace, read_history, read_trace, write_history, write_trace};
pub use operation::*;
pub use recipe::*;
pub use trace::*;

/// Version of `trace.ndjson`.
pub const TRACE_FORMAT: u32 = 4;
