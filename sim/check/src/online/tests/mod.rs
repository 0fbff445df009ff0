//! Each rule accepts a lawful sequence of events and rejects a broken one. `cluster` plays a small cluster by the book; a test departs from the
//! book by emitting an event of its own. `stage` is a smaller one, for what a run says of leases, watches and applications.

mod applications;
mod cluster;
mod fast;
mod leases;
mod legal;
mod membership;
mod promises;
mod raft;
mod results;
mod snapshots;
mod stage;
mod watches;
