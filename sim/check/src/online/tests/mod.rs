//! Each rule accepts a lawful sequence of events and rejects a broken one. `cluster` plays a small cluster by the book; a test departs from the
//! book by emitting an event of its own.

mod cluster;
mod fast;
mod legal;
mod membership;
mod promises;
mod raft;
mod results;
mod snapshots;
