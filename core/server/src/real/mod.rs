//! The shell on a real machine: files, sockets, clocks, signals. Not built for simulation.
//!
//! | file | what it is |
//! | --- | --- |
//! | `args.rs` | the command line and the member list |
//! | `files.rs` | the node's directory, written by a thread of its own |
//! | `host.rs` | what the node stands on |
//!
//! Here, and nowhere else in core/, stand std's clocks, files and threads.

mod args;
mod files;
mod host;

use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use curp::{ConfigVersion, Membership, splitmix64};
use tokio::sync::{mpsc, watch};

use crate::rpc::{self, Board, PeerCalls, Services};
use crate::{CurpNode, Start};
pub use args::{Args, Member, Members};
use host::{MachineHost, entropy};

/// The times of a real cluster.
fn config() -> curp::Config {
    const MS: u64 = 1_000_000;
    curp::Config {
        election_timeout: (500 * MS, 1_000 * MS),
        heartbeat_interval: 100 * MS,
        hand_over_after: 1_000 * MS,
        append_entries_max: 256,
        ..Config::default()
    }
}

/// The whole program: reads the command line (without the program's name), runs one node or all of them, ends at Ctrl-C or SIGTERM.
pub fn main(arguments: impl IntoIterator<Item = String>) -> ExitCode {
    let args = match Args::try_parse_from(std::iter::once("server".to_owned()).chain(arguments)) {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 64 } else { 0 });
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("the runtime cannot start: {error}")),
    };
    match runtime.block_on(run(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => failed(&sentence),
    }
}

fn failed(sentence: &str) -> ExitCode {
    eprintln!("server: {sentence}");
    ExitCode::FAILURE
}

/// One node, or every node of the list, until a signal or the first that fails.
async fn run(args: Args) -> Result<(), String> {
    let members = Members::read(&args.members)?;
    if args.until_stdin_ends {
        std::thread::spawn(|| {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            std::process::exit(0);
        });
    }
    let ids = match args.id {
        Some(id) if members.contains(id) => vec![id],
        Some(id) => return Err(format!("{}: there is no member {id}", args.members.display())),
        None => members.ids(),
    };
    let (stop, stopped) = watch::channel(false);
    let mut nodes = tokio::task::JoinSet::new();
    for id in ids {
        let dir = args.data.join(format!("node-{id}"));
        let mut stopped = stopped.clone();
        let stop = async move {
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        nodes.spawn(run_node(id, members.clone(), dir, stop));
    }
    let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(|error| format!("SIGTERM cannot be handled: {error}"))?;
    let ended = tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => Ok(()),
        _ = term.recv() => Ok(()),
        ended = nodes.join_next() => match ended {
            Some(Ok(result)) => result,
            Some(Err(panic)) => Err(format!("a node panicked: {panic}")),
            None => Ok(()),
        },
    };
    let _ = stop.send(true);
    nodes.shutdown().await;
    ended
}

/// One node, until `stop` ends or the node does.
async fn run_node(id: u32, members: Members, dir: std::path::PathBuf, stop: impl Future<Output = ()> + Send) -> Result<(), String> {
    let here = members.get(id).ok_or_else(|| format!("there is no member {id}"))?.clone();
    let (found, storage, mut ends) = files::open(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let (inbox, messages) = mpsc::unbounded_channel();
    let board = Arc::<Board>::default();
    let calls = PeerCalls::new(id, &members.peers(), inbox.clone(), board.clone()).map_err(|error| format!("a peer's address: {error}"))?;
    let (host, mut fatal) = MachineHost::new(storage, calls);
    let membership = Membership::initial(members.ids());
    let start =
        Start { id, config: config(), membership, first: found.is_empty(), files: found, entropy: splitmix64(entropy() ^ u64::from(id)) };
    let (node, recovery) = CurpNode::start(Arc::new(host), start).map_err(|damage| format!("{}: {damage}", dir.display()))?;
    eprintln!(
        "node {id} serves clients at {} and peers at {}; {} commands in its pool, {} bytes of unsynced writes cut",
        here.client, here.peer, recovery.pool, recovery.cut
    );
    let services = Services::new(inbox, board);
    let disk = async {
        while let Some(end) = ends.recv().await {
            match end {
                Ok((token, synced)) => node.disk_done(token, synced),
                Err(token) => node.disk_failed(token),
            }
        }
    };
    let address = |text: &str| text.parse().map_err(|_| format!("member {id}: `{text}` is not an address like 127.0.0.1:2379"));
    let (client, peer) = (address(&here.client)?, address(&here.peer)?);
    let ended = tokio::select! {
        biased;
        () = stop => Ok(()),
        Some(reason) = fatal.recv() => Err(format!("node {id} stopped: {reason}")),
        served = rpc::serve_clients(services.clone(), client, std::future::pending()) => Err(format!("{}: {served:?}", here.client)),
        served = rpc::serve_peers(services.clone(), peer, std::future::pending()) => Err(format!("{}: {served:?}", here.peer)),
        () = disk => Err(format!("node {id}: its disk is gone")),
        () = node.serve(messages) => Err(format!("node {id}: nothing can reach it any more")),
    };
    node.stop();
    ended
}
