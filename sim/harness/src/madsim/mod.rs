//! The madsim engine: every node and client is a madsim node that runs the shell of `core/server`; madsim's seeded scheduler
//! interleaves their tasks. Crash, restart and pause are madsim's own.
//!
//! | file | what it is |
//! | --- | --- |
//! | `mod.rs` | one run: the runtime, and the conductor, which lets the world's events happen at their times |
//! | `stage.rs` | the cluster as tasks share it |
//! | `processes.rs` | the processes: how they start, stop, stand still, and are handed what arrives |
//! | `node.rs`, `client.rs` | what the shell of a node, and of a client, stands on |
//! | `gateway.rs` | what the gateway beside a node stands on |
//! | `grpc.rs` | runs over the real transport |
//!
//! Messages travel over the world's network model and writes go to its disks, so that a plan means the same as on the direct engine. In a
//! quarter of the runs messages go over gRPC instead.
//!
//! Determinism: one fresh thread a run, since std's hash maps take their keys once a thread; every madsim node is killed before the run
//! ends, since madsim frees nothing that a blocked task holds.

mod client;
mod gateway;
mod grpc;
mod node;
mod processes;
mod stage;

use std::sync::Arc;
use tokio::time::Duration;

use crate::cluster::Cluster;
use crate::judge;
use crate::run::{Caught, Ended, Ending, catch};
use processes::Processes;
use stage::Stage;

/// Plays a run. Needs a thread of its own.
pub(crate) fn play(cluster: Cluster, ending: Ending, backtrace: bool) -> (Cluster, Result<Ended, Caught>) {
    let seed = cluster.plan.seed;
    let stage = Arc::new(Stage::new(cluster));
    let caught = catch(backtrace, || {
        let runtime = madsim::runtime::Runtime::with_seed_and_config(seed, madsim::Config::default());
        runtime.block_on(conduct(stage.clone(), ending))
    });
    (stage.take(), caught)
}

/// Lets everything in the queue happen at its time, until the run is over.
async fn conduct(stage: Arc<Stage>, mut ending: Ending) -> Ended {
    let mut processes = Processes::new(&stage);
    stage.with(|cluster| cluster.start(&mut processes));
    let missing = loop {
        match stage.let_happen(&mut processes, &mut ending) {
            Ok(next_at) => stage.wait_until(next_at).await,
            Err(missing) => break missing,
        }
    };
    let at_rest = if missing.is_empty() { stage.with(|cluster| judge::at_rest(cluster, &processes)) } else { Vec::new() };
    processes.kill_all();
    // Nothing is ready when a timer fires: by then the killed tasks are dropped.
    tokio::time::sleep(Duration::from_millis(1)).await;
    (missing, at_rest)
}
