//! Recovery, all of it: every way in which one command, or two that conflict, can lie in the pools of the voters that an election
//! counts. Real nodes hold the elections; the table beside the scripts says what each came to.
//!
//! What lies in the pools of voters that are not counted changes nothing, since the winner never sees it: so an election has as many
//! cases as there are arrangements in a quorum.

use std::fmt::Write;
use std::sync::Arc;

use curp::quorum::{quorum, recover, super_quorum};
use curp::{
    Address, Config, Durable, Entry, Event, HardState, Membership, Message, NodeId, Output, Payload, PeerMessage, Proposal, ProposeId,
    RawCurp,
};

use crate::common::Cmd;

/// The session that all commands belong to: entry 2 begins it.
const SESSION: u64 = 2;
const NOW: u64 = 1_000_000_000;

/// Two commands that conflict.
fn command(seq: u64) -> Arc<Proposal<Cmd>> {
    let command = Cmd::Put { key: "x".to_owned(), value: seq };
    Arc::new(Proposal { id: ProposeId { client: SESSION, seq }, first_incomplete: 1, command: Arc::new(command) })
}

/// A voter that starts with this pool, and with a log in which the session has begun.
fn voter(n: usize, id: NodeId, pool: Vec<Arc<Proposal<Cmd>>>) -> RawCurp<Cmd> {
    let config = Config {
        election_timeout: (1, 1),
        heartbeat_interval: 1,
        hand_over_after: u64::MAX / 2,
        append_entries_max: 64,
        ..Config::default()
    };
    let membership = Membership::initial(1..=n as NodeId);
    let payloads = [Payload::Noop, Payload::SessionBegin { nonce: 0 }];
    let log = payloads.into_iter().zip(1..).map(|(payload, index)| Arc::new(Entry { term: 1, index, payload })).collect();
    let durable = Durable { hard_state: HardState { term: 1, vote: Some(1), commit: 2 }, log, pool, ..Durable::default() };
    let mut kv = crate::common::Kv::default();
    let mut raw = RawCurp::new(id, config, membership, durable.into(), 0, NOW, &mut kv).expect("there is no snapshot");
    raw.durable(raw.written());
    raw.pump(&mut kv);
    raw.take_output(Output::default());
    raw
}

/// Gives a message to a node, and takes what it says to another node.
fn step(raw: &mut RawCurp<Cmd>, from: NodeId, term: u64, body: PeerMessage<Cmd>, to: NodeId) -> Vec<(u64, PeerMessage<Cmd>)> {
    raw.step(from, term, body, NOW + 1);
    let messages = raw.take_output(Output::default()).messages;
    let to_node = messages.into_iter().filter(|m| m.to == Address::Node(to));
    to_node.filter_map(|m| if let Message::Peer { term, body } = m.message { Some((term, body)) } else { None }).collect()
}

/// The commands that node 1 recovers when it wins by its own vote and those of nodes 2, 3, …, whose pools these are.
fn recovered(n: usize, pools: &[Vec<u64>]) -> Vec<u64> {
    assert_eq!(pools.len(), quorum(n), "exactly a quorum is counted");
    let mut voters: Vec<_> = pools.iter().zip(1..).map(|(pool, id)| voter(n, id, pool.iter().copied().map(command).collect())).collect();
    let (candidate, others) = voters.split_first_mut().expect("a quorum has a member");
    candidate.tick(NOW + 1);
    let mut out = candidate.take_output(Output::default());
    // Pre-votes, then votes: what it asks each voter is answered at once.
    for _ in 0..2 {
        let asked: Vec<_> = std::mem::take(&mut out.messages);
        for (voter, id) in others.iter_mut().zip(2..) {
            let question = asked.iter().find(|m| m.to == Address::Node(id)).map(|m| m.message.clone());
            let Some(Message::Peer { term, body }) = question else { continue };
            for (term, answer) in step(voter, 1, term, body, 1) {
                candidate.step(id, term, answer, NOW + 1);
            }
        }
        let mut more = candidate.take_output(Output::default());
        out.messages.append(&mut more.messages);
        out.events.append(&mut more.events);
    }
    let entries = out.events.iter().find_map(|e| if let Event::BecomeLeader { entries, .. } = e { Some(entries.clone()) } else { None });
    let entries = entries.expect("a quorum has voted for node 1");
    assert_eq!(entries[0].payload, Payload::Noop, "the no-op comes first");
    entries[1..].iter().map(|e| e.id().expect("a command").seq).collect()
}

/// All ways to give each of `voters` one of `choices`.
fn arrangements(voters: usize, choices: &[Vec<u64>]) -> Vec<Vec<Vec<u64>>> {
    (0..voters).fold(vec![vec![]], |all, _| {
        all.iter().flat_map(|some| choices.iter().map(move |choice| [some.clone(), vec![choice.clone()]].concat())).collect()
    })
}

const HEAD: &str = "\
# What an election recovers. The winner counts the pools of exactly quorum(n) voters, its own among them, and appends what is in at
# least recover(n) of them. A command whose fast round is complete is in super(n) pools, hence in at least recover(n) of any
# quorum: `least` is how many of a quorum's pools hold it when all n - quorum(n) others do. It is found whoever wins.
# Two commands that conflict are in no pool together. At most one of them is recovered: two sets of recover(n) voters in a quorum share one.
";

#[test]
fn recovery_table() {
    let mut table = HEAD.to_owned();
    for n in 1..=7 {
        let (quorum, recover, super_quorum) = (quorum(n), recover(n), super_quorum(n));
        let least = super_quorum - (n - quorum);
        writeln!(table, "\nn = {n}: quorum {quorum}, recover {recover}, super {super_quorum}, least {least}").expect("a string");
        let mut by_count = vec![Vec::new(); quorum + 1];
        for pools in arrangements(quorum, &[vec![], vec![1]]) {
            let count = pools.iter().filter(|pool| !pool.is_empty()).count();
            by_count[count].push(recovered(n, &pools) == [1]);
        }
        for (count, found) in by_count.iter().enumerate() {
            assert!(found.iter().all(|f| *f == found[0]), "it matters how many pools hold a command, not which");
            let verdict = if found[0] { "recovered" } else { "not recovered" };
            let complete = if count >= least { "; its fast round may be complete" } else { "" };
            let arrangements = found.len();
            writeln!(table, "  in {count} of {quorum} pools, {arrangements} arrangements: {verdict}{complete}").expect("a string");
            assert!(found[0] || count < least, "a completed command is lost");
        }
        let (mut neither, mut one, mut other, mut all) = (0, 0, 0, 0);
        for pools in arrangements(quorum, &[vec![], vec![1], vec![2]]) {
            all += 1;
            match recovered(n, &pools)[..] {
                [] => neither += 1,
                [1] => one += 1,
                [2] => other += 1,
                ref both => panic!("{both:?} are recovered from {pools:?}"),
            }
        }
        writeln!(table, "  two rivals, {all} arrangements: neither {neither}, one {one}, the other {other}, both never").expect("a string");
    }
    crate::golden("10-recovery-table", &table);
}
