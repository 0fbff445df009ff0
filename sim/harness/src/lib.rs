//! One run, from plan to verdict. Start reading at [`run()`](run()) in `run.rs`: it tells the whole story.
//!
//! | file | what it is |
//! | --- | --- |
//! | `run.rs` | plan → world → loop { fault, workload, step, observe } → heal → converge → judge → verdict |
//! | `cluster.rs` | the cluster under test and the world around it: what every engine shares |
//! | `hosts.rs` | what an engine is: the processes of nodes and clients |
//! | `direct.rs` | the direct engine: a bare event loop that calls nodes and clients |
//! | `madsim/` | the madsim engine: the shell of `core/server` around them, on a simulated runtime |
//! | `process.rs` | a node as a process: its disk, clock and processor; what its messages promise |
//! | `nemesis.rs` | the plan's faults: when they begin, what they do, how they end |
//! | `probes.rs` | the probes of answers: every operation, option and error |
//! | `operator.rs` | the plan's wishes to change the cluster: who asks for them, one after another |
//! | `members.rs` | who takes part, as far as the events tell |
//! | `notes.rs` | what nodes and clients say of themselves: probes, the leader, the history |
//! | `workload.rs` | the plan's operations: callers who invoke, wait, lose patience; the history |
//! | `background.rs` | what goes on while a caller goes on: watches, renewals of leases |
//! | `recipes/` | operations of several requests: a lock, a registry of services, delegated authorisation, ZooKeeper's |
//! | `observe.rs` | the one stream of events: hashed, judged online, recorded; probes |
//! | `judge.rs` | what is judged at the end: linearizability, liveness, vacuity |
//! | `profile.rs` | which part of a run the processor is at |
//! | `log.rs` | the log: tracing, stamped with virtual time and node |
//!
//! Invariants: a run is a function of (engine, plan, mutant) alone; what is judged is the event stream and the history, never a
//! node's memory; observing, recording and logging change nothing that happens.

#[cfg(not(madsim))]
compile_error!(
    "the simulation is built with `--cfg madsim`, which .cargo/config.toml sets; a RUSTFLAGS in the environment replaces it: unset it"
);

mod background;
mod cluster;
mod direct;
mod gateways;
mod hosts;
mod judge;
mod log;
mod madsim;
mod members;
mod nemesis;
mod notes;
mod observe;
mod operator;
mod probes;
mod process;
pub mod profile;
mod queue;
mod recipes;
mod report;
mod run;
mod state;
mod workload;

pub use report::*;
pub use run::run;
