//! The replicated state machine: a key-value store with etcd's API and etcd's revisions.
//!
//! [`Request`] is the command consensus orders, [`Response`] its result, [`Store`] what executes it. When two requests must keep their
//! order is [`curp::ConflictCheck`] for `Request`; which ones are refused outright is [`Request::validate`].
//!
//! Deliberately not here yet: watch, leases, compaction, nested txns, sort orders and keys-only ranges.

mod api;
mod conflict;
mod history;
mod store;
mod validate;

pub use api::*;
pub use store::{REVISION_FIRST, REVISION_UNKNOWN, Store};
pub use validate::{ERROR_DUPLICATE_KEY, ERROR_EMPTY_KEY, ERROR_NESTED_TXN, ERROR_TOO_MANY_OPS, TXN_OPS_MAX};
