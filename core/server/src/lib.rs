//! The async shell around [`node::Node`] and [`client::Client`]: tasks, channels, timers, a transport and storage. It decides *when*
//! the sans-IO machines are called and carries out what they ask for; it decides nothing about the protocol. README.md says why.
//!
//! Written against madsim-tokio and madsim-tonic: the same source is the simulated server (with `--cfg madsim`) and the real one.
//!
//! | file | what it is |
//! | --- | --- |
//! | `host.rs` | what the shell stands on, as traits: [`Clock`], [`Storage`], [`Transport`], [`Processor`] |
//! | `node.rs` | [`CurpNode`]: the asynchronous front of a replica; behind it, under a lock, the synchronous node |
//! | `outbox.rs` | the task that lets a message go when the write it waits for has ended |
//! | `alarm.rs` | wakes the client's and the gateway's tasks when their time has come |
//! | `client.rs` | [`CurpClient`]: the same around the client |
//! | `real/` | the shell on a real machine (not built for simulation) |
//! | `rpc/` | gRPC: services, the cmd board, outgoing calls |
//!
//! Invariants: a machine is called by one task at a time, and no lock is held over an `await`; what a machine wants done is handed on
//! before the next input, in order; a message leaves only when the write it names has ended; every task of a node ends with it.
//!
//! What would make two simulated runs of a seed differ is not used here: `select!` without `biased`, `sync::watch`, `sync::Barrier`,
//! clocks, threads and generators of std, hash maps with random keys. `sim/harness/tests/dependencies.rs` reads the sources for them.

mod alarm;
mod client;
pub mod etcd;
mod host;
mod node;
mod outbox;
#[cfg(not(madsim))]
pub mod real;
pub mod rpc;
mod time;

pub use client::{ClientHost, CurpClient};
pub use host::{Clock, Host, Processor, Storage, Transport};
pub use node::{Arrival, CurpNode, Start};
pub use time::sleep;
