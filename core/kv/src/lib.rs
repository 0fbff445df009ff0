//! The replicated state machine: a key-value store with etcd's API, revisions, leases and watches.
//!
//! [`Request`] is the command consensus orders, [`Response`] its result, [`Store`] what executes it. When two requests must keep their
//! order is [`curp::ConflictCheck`] for `Request`; which ones are refused outright is [`Request::check`]; which may be answered before they are
//! committed is [`Request::fast_allowed`].
//!
//! Replicated, and in the snapshot, is what [`Store`] holds. Beside it stand two machines that every node has for itself, and loses with its
//! life: [`Expiry`], the leader's deadlines of leases, and [`Watchers`]. All are pure: what time it is, and what is applied, they are told.
//!
//! Deliberately not here: sessions, terms but for a revoke's, streams.

mod api;
mod bytes;
mod change;
mod compute;
mod conflict;
mod error;
mod expiry;
mod history;
mod keys;
mod lease;
mod lease_event;
mod nested;
mod range;
mod store;
mod validate;
pub mod watch;

pub use api::*;
pub use bytes::Bytes;
pub use change::{Change, Held};
pub use error::{Code, Error};
pub use expiry::{Decision, EXPIRE_MAX, Expiry, Receipt};
pub use lease::{LEASE_TTL_MAX, LEASE_TTL_MIN, Lease, LeaseCollection, made_lease_id};
pub use lease_event::LeaseEvent;
pub use store::{REVISION_FIRST, REVISION_UNKNOWN, Store};
pub use validate::TXN_OPS_MAX;
pub use watch::{EventKind, WatchCreateRequest, WatchEvent, WatchFilter, WatchId, WatchLimits, WatchResponse, Watchers};
