//! The commands of a script. A script is lines: `# a comment`, an empty line, or a command; its transcript is the same lines, each
//! command followed by what the nodes made of it.
//!
//! | command | what happens |
//! | --- | --- |
//! | `cluster voters=3 [hand-over=1000ms] [append-max=64] [changes=true] …` | fresh nodes 1, 2, 3, whose clocks agree; election timeout 150 ms, heartbeats every 50 ms; `changes` shows state changes |
//! | `… [append-bytes=N] [window=64] [snapshot-every=0] [trailing=0] [chunk=65536]` | limits of the same command; a `put` counts 16 bytes; by default snapshots are made when asked for, and nothing trails |
//! | `wait 150ms [nodes=1,2]` | clocks go on, nobody looks at them |
//! | `tick 1 [150ms]` | node 1's clock goes on, and it looks at its timers |
//! | `elect 1 [with=1,2]` | 150 ms of silence, node 1's timer, and everything that follows among these nodes; it must win |
//! | `campaign 1 [with=1,2]` | the same, but time stops the moment it has won |
//! | `deliver` / `drop` / `hold` / `copy` `[from=1] [to=2] [type=Append]` | what is on its way now arrives, is lost, is held back, is held back in a copy |
//! | `release [from=1] [to=2] [type=Append]` | what was held back arrives |
//! | `isolate 3`, `rejoin 3` | all messages of a node, and to it, are lost, until it rejoins |
//! | `persist 2 [records=1]` | the next records of node 2, or all, become durable |
//! | `exec 1 [task=3]` | an execution of node 1 ends, or all of them do |
//! | `settle [with=1,2]` | writes, executions and messages go on until nothing is left to do |
//! | `crash 2 power`, `crash 2 kill` | what was not synced is lost, or not |
//! | `restart 2` | node 2 starts from its disk; record #1 of its new life is all that it found |
//! | `session 1`, `end-session 1 2` | a client begins a session, or ends session 2, at node 1 |
//! | `propose 1 2.1 put x 1 [first=1] [from=9]` | Propose to node 1; `first` is the first incomplete number, `from` the client's address |
//! | `record 2 2.1 put x 1 [term=1] [config=2@1] [first=1]` | Record to node 2, in its own term unless another is given |
//! | `round 1 2.1 put x 1` | a client's whole round: Propose to node 1, Record to every other node that is up, in node 1's term |
//! | `own 1 sum` | node 1 proposes a command of its own, if it may |
//! | `snapshot 1`, `save 1` | an operator wants a snapshot of node 1's state; the file that node 1 writes is durable |
//! | `damage [from=1] [to=2] [mended=yes]` | a bit of a piece of a snapshot is flipped; or so that only the whole one's checksum shows it |
//! | `unreachable 1 3` | node 1's transport cannot reach node 3: what is on its way is lost |
//! | `read 2 get x [from=9]` | a linearizable read at node 2 |
//! | `client 2.1` | what the command's client has been told so far, and whether its fast round is complete |
//! | `new 4` | node 4, which never ran before, starts |
//! | `change 1 add 4 [at=ADDRESS] [base=7@2]` | node 1 is asked to add learner 4 to its own configuration, or to another one; also `promote 4`, `remove 2`, `update 2 at=ADDRESS` |
//! | `move-leader 1 2`, `shutdown 1` | node 1 is asked to hand its leadership to node 2, to stop the cluster |
//! | `status [1]`, `log 1`, `pool 1` | what the nodes know |
//!
//! `quiet COMMAND` does the same and says nothing.

use std::sync::Arc;

use curp::{Admin, ClientAddress, Config, ConfigVersion, NodeId, Proposal, ProposeId, Request, Term};

use crate::cluster::{Cluster, Flight};
use crate::common::Cmd;
use crate::script::{Duration, Line};

/// Runs a script, and adds to its transcript. The error names file and line.
pub fn run(file: &str, script: &str, transcript: &mut String) -> Result<(), String> {
    let mut cluster = None;
    for (i, line) in script.lines().enumerate() {
        let command = line.trim();
        if command.is_empty() || command.starts_with('#') {
            *transcript += &format!("{command}\n");
            continue;
        }
        *transcript += &format!("> {command}\n");
        let quiet = command.strip_prefix("quiet ");
        step(&mut cluster, &mut Line::new(quiet.unwrap_or(command))).map_err(|e| format!("{file}:{}: `{command}`: {e}", i + 1))?;
        if let Some(cluster) = &mut cluster {
            let said = std::mem::take(&mut cluster.out);
            *transcript += if quiet.is_some() { "" } else { &said };
        }
    }
    Ok(())
}

fn step(cluster: &mut Option<Cluster>, line: &mut Line<'_>) -> Result<(), String> {
    let name = line.word("a command")?;
    if name == "cluster" {
        let voters = line.option("voters")?.ok_or("voters=N is missing")?;
        let hand_over = line.option("hand-over")?.unwrap_or(Duration(1_000_000_000));
        let limits = Config {
            hand_over_after: hand_over.0,
            append_entries_max: line.option("append-max")?.unwrap_or(64),
            append_bytes_max: line.option("append-bytes")?.unwrap_or(1 << 20),
            appends_in_flight_max: line.option("window")?.unwrap_or(64),
            snapshot_every: line.option("snapshot-every")?.unwrap_or(0),
            trailing_entries: line.option("trailing")?.unwrap_or(0),
            snapshot_chunk_bytes: line.option("chunk")?.unwrap_or(64 << 10),
            ..Config::default()
        };
        let changes = line.option("changes")?.unwrap_or(false);
        line.done()?;
        let new = cluster.insert(Cluster::new(voters, limits));
        new.changes = changes;
        return Ok(());
    }
    let cluster = cluster.as_mut().ok_or("a script begins with `cluster voters=N`")?;
    match name {
        "deliver" | "drop" | "hold" | "copy" | "release" | "damage" => network(cluster, name, line),
        "session" | "end-session" | "snapshot" | "own" | "propose" | "record" | "round" | "read" | "client" => client(cluster, name, line),
        "new" | "change" | "move-leader" | "shutdown" => crate::admin::run(cluster, name, line),
        _ => node(cluster, name, line),
    }
}

/// Commands about messages on their way.
fn network(cluster: &mut Cluster, name: &str, line: &mut Line<'_>) -> Result<(), String> {
    let (from, to, kind) = (line.nodes("from")?, line.nodes("to")?, line.text("type"));
    let kind = if name == "damage" { Some("InstallSnapshot") } else { kind };
    let mended = name == "damage" && line.text("mended").is_some();
    line.done()?;
    let among = |nodes: &Option<Vec<NodeId>>, node| nodes.as_ref().is_none_or(|nodes| nodes.contains(&node));
    let which = |f: &Flight| among(&from, f.from) && among(&to, f.to) && kind.is_none_or(|kind| kind == f.type_name());
    let flights = cluster.take_flights(name == "release", which);
    if flights.is_empty() {
        return Err("there is no such message".to_owned());
    }
    for flight in flights {
        match name {
            "deliver" | "release" => cluster.deliver(flight)?,
            "drop" => cluster.lose(&flight),
            "hold" => cluster.hold(flight),
            "damage" => cluster.damage(flight, mended)?,
            _ => cluster.copy(flight),
        }
    }
    Ok(())
}

/// Commands that are a client's.
fn client(cluster: &mut Cluster, name: &str, line: &mut Line<'_>) -> Result<(), String> {
    if name == "client" {
        let id = propose_id(line)?;
        line.done()?;
        cluster.client(id);
        return Ok(());
    }
    let node: NodeId = line.value("node")?;
    if name == "own" {
        let command = line.rest()?;
        line.done()?;
        return cluster.propose_own(node, command);
    }
    let from: Option<ClientAddress> = line.option("from")?;
    let request = match name {
        "session" => Request::BeginSession { nonce: line.option("nonce")?.unwrap_or(0) },
        "snapshot" => Request::Admin { nonce: 0, wish: Admin::TakeSnapshot },
        "end-session" => Request::EndSession { client: line.value("session")? },
        "read" => {
            let command = line.rest()?;
            line.done()?;
            return cluster.client_read(node, from.unwrap_or(9), command).map(|_| ());
        }
        _ => return proposal(cluster, name, node, from, line),
    };
    line.done()?;
    cluster.input(node, |raw, _, now| raw.request(from.unwrap_or(9), request, now))
}

/// Propose, Record, or a whole round of both.
fn proposal(cluster: &mut Cluster, name: &str, node: NodeId, from: Option<ClientAddress>, line: &mut Line<'_>) -> Result<(), String> {
    let id = propose_id(line)?;
    let (first, term) = (line.option("first")?.unwrap_or(1), line.option::<Term>("term")?);
    let config = line.text("config").filter(|_| name == "record").map(config_version).transpose()?;
    let command: Cmd = line.rest()?;
    line.done()?;
    let from = from.unwrap_or(id.client as ClientAddress);
    let proposal = Arc::new(Proposal { id, first_incomplete: first, command: Arc::new(command) });
    let term = match term {
        Some(term) if name == "record" => term,
        Some(_) => return Err("only a Record has a term".to_owned()),
        None => cluster.raw(node)?.leadership().term,
    };
    if name != "record" {
        let proposal = proposal.clone();
        cluster.input(node, |raw, _, now| raw.request(from, Request::Propose { proposal }, now))?;
    }
    let config = config.unwrap_or(cluster.raw(node)?.membership().version);
    let others = cluster.up().into_iter().filter(|&other| other != node);
    let witnesses: Vec<NodeId> = match name {
        "propose" => vec![],
        "record" => vec![node],
        _ => others.collect(),
    };
    for witness in witnesses {
        let request = Request::Record { term, config, proposal: proposal.clone() };
        cluster.input(witness, |raw, _, now| raw.request(from, request, now))?;
    }
    Ok(())
}

/// Commands about nodes and their clocks and disks.
fn node(cluster: &mut Cluster, name: &str, line: &mut Line<'_>) -> Result<(), String> {
    if matches!(name, "wait" | "settle" | "status") {
        let time = if name == "wait" { line.value::<Duration>("duration")?.0 } else { 0 };
        let option = if name == "wait" { "nodes" } else { "with" };
        let nodes = line.nodes(option)?.unwrap_or_else(|| cluster.up());
        let one = line.maybe_word().filter(|_| name == "status").map(|node| node.parse().map_err(|_| "a node is a number"));
        line.done()?;
        return match name {
            "wait" => nodes.into_iter().try_for_each(|node| cluster.pass(node, time)),
            "settle" => cluster.settle(&nodes, None),
            _ => match one {
                Some(node) => cluster.status_of(node?),
                None => {
                    cluster.status();
                    Ok(())
                }
            },
        };
    }
    let names =
        ["tick", "elect", "campaign", "persist", "exec", "save", "crash", "restart", "isolate", "rejoin", "unreachable", "log", "pool"];
    if !names.contains(&name) {
        return Err("there is no such command; tests/interaction/run.rs lists them".to_owned());
    }
    let node = line.value("node")?;
    match name {
        "tick" => {
            let time = line.maybe_word().map(str::parse::<Duration>).transpose()?;
            line.done()?;
            cluster.pass(node, time.map_or(0, |time| time.0))?;
            cluster.input(node, |raw, _, now| raw.tick(now))
        }
        "elect" | "campaign" => {
            let with = line.nodes("with")?.unwrap_or_else(|| cluster.up());
            line.done()?;
            elect(cluster, node, &with, name == "campaign")
        }
        "persist" => {
            let records = line.option("records")?;
            line.done()?;
            cluster.persist(node, records)
        }
        "exec" => {
            let task = line.option("task")?;
            line.done()?;
            cluster.exec(node, task)
        }
        "unreachable" => {
            let to = line.value("node")?;
            line.done()?;
            let lost = cluster.take_flights(false, |f| f.from == node && f.to == to);
            lost.iter().for_each(|flight| cluster.lose(flight));
            cluster.input(node, |raw, _, _| raw.report_unreachable(to))
        }
        "crash" => {
            let power = match line.word("`power` or `kill`")? {
                "power" => true,
                "kill" => false,
                other => return Err(format!("`{other}` is not a way to crash; accepted: power, kill")),
            };
            line.done()?;
            cluster.crash(node, power)
        }
        _ => {
            line.done()?;
            match name {
                "restart" => cluster.start(node),
                "save" => cluster.save(node),
                "isolate" => cluster.isolate(node),
                "rejoin" => cluster.rejoin(node),
                _ => cluster.show_records(node, name == "pool"),
            }
        }
    }
}

fn elect(cluster: &mut Cluster, node: NodeId, with: &[NodeId], stop: bool) -> Result<(), String> {
    if cluster.raw(node)?.is_leader() {
        return Err(format!("node {node} leads already"));
    }
    for up in cluster.up() {
        cluster.pass(up, 150_000_000)?;
    }
    cluster.input(node, |raw, _, now| raw.tick(now))?;
    cluster.settle(with, Some(node).filter(|_| stop))?;
    if cluster.raw(node)?.is_leader() { Ok(()) } else { Err(format!("node {node} did not win")) }
}

fn propose_id(line: &mut Line<'_>) -> Result<ProposeId, String> {
    line.word("propose id")?.parse()
}

pub fn config_version(s: &str) -> Result<ConfigVersion, String> {
    let parsed = s.split_once('@').and_then(|(index, term)| Some(ConfigVersion { term: term.parse().ok()?, index: index.parse().ok()? }));
    parsed.ok_or_else(|| format!("`{s}` is not a configuration; one looks like 2@1"))
}
