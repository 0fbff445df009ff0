//! The shell on a real machine: files, sockets, clocks, signals. Not built for simulation.
//!
//! | file | what it is |
//! | --- | --- |
//! | `args.rs` | the command line and the member list |
//! | `operator.rs` | what an operator wants of a cluster that runs |
//! | `files.rs` | the node's directory, written by a thread of its own |
//! | `state.rs` | the state machine's store, committed by a thread of its own |
//! | `host.rs` | what the node stands on |
//! | `clock.rs` | its clock |
//! | `gateway.rs` | what its gateway stands on |
//!
//! Here, and nowhere else in core/, stand std's clocks, files and threads.

mod args;
mod clock;
mod files;
mod gateway;
mod host;
mod operator;
mod state;

use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;

use curp::{Membership, splitmix64};
use node::{Limits, StartError};
use tokio::sync::{mpsc, watch};
use tokio::time::Duration;

use crate::etcd::EtcdServices;
use crate::rpc::{self, Board, PeerCalls, Services};
use crate::{CurpNode, Start};
pub use args::{Args, Member, Members, Wish};
use files::Opened;
use host::{Ending, MachineHost, entropy};

/// What a node said last before it stopped in good order leaves within this time.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The times of a real cluster.
fn config() -> curp::Config {
    const MS: u64 = 1_000_000;
    curp::Config {
        election_timeout: (500 * MS, 1_000 * MS),
        heartbeat_interval: 100 * MS,
        hand_over_after: 1_000 * MS,
        append_entries_max: 256,
        ..curp::Config::default()
    }
}

/// The whole program: reads the command line (without the program's name), runs one node or all of them, ends at Ctrl-C or SIGTERM, or
/// when the cluster is shut down; or carries an operator's wish to a cluster that runs.
pub fn main(arguments: impl IntoIterator<Item = String>) -> ExitCode {
    let args = match Args::read(std::iter::once("server".to_owned()).chain(arguments)) {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 64 } else { 0 });
        }
    };
    end_at_panics();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("the runtime cannot start: {error}")),
    };
    let done = match args.wish.clone() {
        Some(wish) => runtime.block_on(operator::ask(&args.members, wish)),
        None => runtime.block_on(run(args)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => failed(&sentence),
    }
}

/// A panic is a broken invariant. In a task or thread of its own it would end that alone, and leave a node that votes and leads, and applies
/// nothing any more: the whole process ends instead, and its log starts it again.
fn end_at_panics() {
    let say = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        say(panic);
        std::process::abort();
    }));
}

fn failed(sentence: &str) -> ExitCode {
    eprintln!("server: {sentence}");
    ExitCode::FAILURE
}

/// One node, or every node of the list, until a signal, the end of the last, or the first that fails.
async fn run(args: Args) -> Result<(), String> {
    let members = Members::read(&args.members)?;
    let Some(data) = args.data else { return Err("--data says where the nodes' directories are".to_owned()) };
    if args.until_stdin_ends {
        std::thread::spawn(|| {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            std::process::exit(0);
        });
    }
    // The cluster as it was made: a node that joins is not in it.
    let membership = Membership::initial(members.ids());
    let (ids, members) = match (args.id, &args.at) {
        (Some(id), Some(place)) => (vec![id], members.with(id, place)?),
        (Some(id), None) if members.contains(id) => (vec![id], members),
        (Some(id), None) => {
            return Err(format!("{}: there is no member {id}; --at says where a node that joins serves", args.members.display()));
        }
        (None, _) => (members.ids(), members),
    };
    let (stop, stopped) = watch::channel(false);
    let mut nodes = tokio::task::JoinSet::new();
    for id in ids {
        let dir = data.join(format!("node-{id}"));
        let mut stopped = stopped.clone();
        let stop = async move {
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        nodes.spawn(run_node(id, members.clone(), membership.clone(), dir, args.join, stop));
    }
    let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(|error| format!("SIGTERM cannot be handled: {error}"))?;
    let ended = loop {
        tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => break Ok(()),
            _ = term.recv() => break Ok(()),
            ended = nodes.join_next() => match ended {
                // It was shut down, and the others will be.
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(sentence))) => break Err(sentence),
                Some(Err(panic)) => break Err(format!("a node panicked: {panic}")),
                None => break Ok(()),
            },
        }
    };
    let _ = stop.send(true);
    nodes.shutdown().await;
    ended
}

/// One node, until `stop` ends or the node does.
async fn run_node(
    id: u32,
    members: Members,
    membership: Membership,
    dir: std::path::PathBuf,
    join: bool,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), String> {
    let here = members.get(id).ok_or_else(|| format!("there is no member {id}"))?.clone();
    let Opened { found, made, files, mut ends } = files::open(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    // Peers do not stand in line behind clients: a leader that hears of nobody in time leads no longer.
    let (of_peers, peers_say) = mpsc::unbounded_channel();
    let (of_clients, clients_say) = mpsc::unbounded_channel();
    let board = Arc::<Board>::default();
    let calls =
        PeerCalls::new(id, &members.peers(), of_peers.clone(), board.clone()).map_err(|error| format!("a peer's address: {error}"))?;
    let (host, mut ending) = MachineHost::new(files, calls);
    let entropy = splitmix64(entropy() ^ u64::from(id));
    let initial = membership.clone();
    let started = state::open(&dir).map_err(StartError::from).and_then(|state| {
        let state = Some(state);
        let start =
            Start { id, config: config(), membership, first: made || join, files: found, state, entropy, limits: Limits::default() };
        CurpNode::start(Arc::new(host), start)
    });
    let (node, recovery) = started.map_err(|error| match error {
        StartError::DiskLost(_) => format!(
            "{} is empty: if node {id} ever ran, what it promised is lost with its disk: remove it and add a new id; if it never ran, say --join",
            dir.display()
        ),
        damage => format!("{}: {damage}", dir.display()),
    })?;
    eprintln!(
        "node {id} serves clients at {} and peers at {}; {} commands in its pool, {} bytes of unsynced writes cut",
        here.client, here.peer, recovery.pool, recovery.cut
    );
    let front = gateway::start(&node, &members, initial, board.clone(), entropy).map_err(|error| format!("a member's address: {error}"))?;
    let (peer_services, services) = (Services::new(of_peers, board.clone()), Services::new(of_clients, board));
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
    // After it has stopped in good order, calls are served a while longer.
    let serve = async {
        tokio::select! {
            biased;
            () = node.serve_beside(peers_say, |arrival| front.take(arrival)) => {}
            () = node.serve_beside(clients_say, |arrival| front.take(arrival)) => {}
        }
        std::future::pending().await
    };
    let ended = async {
        match ending.recv().await {
            Some(Ending::Failed(reason)) => Err(format!("node {id} stopped: {reason}")),
            Some(Ending::ShutDown) => {
                tokio::time::sleep(LAST_WORDS).await;
                eprintln!("node {id} is shut down");
                Ok(())
            }
            None => Err(format!("node {id} is gone")),
        }
    };
    let ended = tokio::select! {
        biased;
        () = stop => Ok(()),
        ended = ended => ended,
        served = rpc::serve_all_clients(services, EtcdServices::new(front.clone()), client, std::future::pending()) => {
            Err(format!("{}: {served:?}", here.client))
        }
        served = rpc::serve_peers(peer_services, peer, std::future::pending()) => Err(format!("{}: {served:?}", here.peer)),
        () = disk => Err(format!("node {id}: its disk is gone")),
        () = serve => Ok(()),
    };
    front.stop();
    node.stop();
    ended
}
