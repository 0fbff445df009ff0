//! The names of a trace as small numbers, as the specification's constants have them: nodes, sessions, commands, reads.
//!
//! Several traces may share the tables: a base trace and its mutations, which name the same things. Numbers are given out in the order of
//! first appearance and never change. Nothing here judges: an id that nobody proposed gets a number too, and the specification refuses it.

use curp::{ClientId, NodeId, Proposal, ProposeId, Term};
use kv::Request;
use std::collections::{BTreeMap, BTreeSet};

use crate::footprint::{Access, Intervals, accesses};
use crate::value::Value;

/// A read of a client, as the trace names it: the client's address and its own number for the read.
pub(crate) type ReadId = (u32, u64);

/// The tables that traces share.
#[derive(Debug, Default)]
pub struct Tables {
    voters: BTreeSet<NodeId>,
    nodes: BTreeSet<NodeId>,
    term_max: Term,
    sessions: BTreeSet<ClientId>,
    numbers: BTreeMap<ProposeId, usize>,
    commands: Vec<Command>,
    rounds: BTreeMap<(Term, u64), usize>,
    requests: Vec<Option<ReadId>>,
    reads: BTreeMap<ReadId, Vec<Access>>,
}

#[derive(Debug)]
struct Command {
    id: ProposeId,
    first_incomplete: u64,
    /// Whether the client's own Propose was seen: its word counts.
    proposed: bool,
    accesses: Option<Vec<Access>>,
}

impl Tables {
    /// Tables of a cluster that was made with these voters.
    pub fn new(voters: &[NodeId]) -> Tables {
        let voters: BTreeSet<NodeId> = voters.iter().copied().collect();
        Tables { nodes: voters.clone(), voters, ..Tables::default() }
    }

    /// How many commands there are.
    pub fn commands(&self) -> usize {
        self.commands.len()
    }

    /// A node, by its own number.
    pub(crate) fn node(&mut self, node: NodeId) -> Value {
        self.nodes.insert(node);
        Value::Int(node.into())
    }

    pub(crate) fn node_set(&mut self, nodes: &[NodeId]) -> Value {
        Value::Set(nodes.iter().map(|node| self.node(*node)).collect())
    }

    pub(crate) fn term(&mut self, term: Term) -> Value {
        self.term_max = self.term_max.max(term);
        Value::Int(term)
    }

    pub(crate) fn session(&mut self, client: ClientId) -> Value {
        self.sessions.insert(client);
        Value::Int(client)
    }

    /// A command's number.
    pub(crate) fn command(&mut self, id: ProposeId) -> Value {
        Value::Int(self.number(id) as u64 + 1)
    }

    pub(crate) fn command_set(&mut self, ids: impl IntoIterator<Item = ProposeId>) -> Value {
        Value::Set(ids.into_iter().map(|id| self.command(id)).collect())
    }

    /// A command's number, where its content is seen as well.
    pub(crate) fn proposal(&mut self, proposal: &Proposal<Request>) -> Value {
        let number = self.number(proposal.id);
        let command = &mut self.commands[number];
        if command.accesses.is_none() {
            command.accesses = Some(accesses(&proposal.command));
            command.first_incomplete = proposal.first_incomplete;
        }
        Value::Int(number as u64 + 1)
    }

    /// A command's number, where its client proposes it.
    pub(crate) fn propose(&mut self, id: ProposeId, first_incomplete: u64, request: &Request) -> Value {
        let number = self.number(id);
        let command = &mut self.commands[number];
        if !command.proposed {
            *command = Command { id, first_incomplete, proposed: true, accesses: Some(accesses(request)) };
        }
        Value::Int(number as u64 + 1)
    }

    /// A client asks for a read.
    pub(crate) fn read(&mut self, id: ReadId, request: &Request) {
        self.reads.entry(id).or_insert_with(|| accesses(request));
    }

    /// Whether a client asked for it.
    pub(crate) fn knows_read(&self, id: ReadId) -> bool {
        self.reads.contains_key(&id)
    }

    /// The number of the read request that began heartbeat round `round` of `term`; `read` is given where the request is seen.
    pub(crate) fn read_request(&mut self, term: Term, round: u64, read: Option<ReadId>) -> u64 {
        let next = self.requests.len();
        let number = *self.rounds.entry((term, round)).or_insert(next);
        if number == next {
            self.requests.push(None);
        }
        let request = &mut self.requests[number];
        *request = request.or(read);
        number as u64 + 1
    }

    fn number(&mut self, id: ProposeId) -> usize {
        self.sessions.insert(id.client);
        let next = self.commands.len();
        let number = *self.numbers.entry(id).or_insert(next);
        if number == next {
            self.commands.push(Command { id, first_incomplete: 0, proposed: false, accesses: None });
        }
        number
    }

    /// The definitions of the generated module, in its order.
    pub(crate) fn definitions(&self) -> [(&'static str, Value); 6] {
        let mut intervals = Intervals::default();
        self.commands.iter().filter_map(|c| c.accesses.as_ref()).chain(self.reads.values()).for_each(|a| intervals.cut(a));
        let set = |numbers: BTreeSet<u64>| Value::Set(numbers.into_iter().map(Value::Int).collect());
        let command = |command: &Command| {
            let footprint = intervals.footprint(command.accesses.as_deref().unwrap_or_default());
            Value::Record(vec![
                ("cl", Value::Int(command.id.client)),
                ("seq", Value::Int(command.id.seq)),
                ("fi", Value::Int(command.first_incomplete)),
                ("rd", set(footprint.reads)),
                ("wr", set(footprint.writes)),
                ("all", Value::Bool(footprint.all)),
            ])
        };
        let read = |id: &Option<ReadId>| {
            let accesses = id.and_then(|id| self.reads.get(&id));
            let footprint = intervals.footprint(accesses.map(Vec::as_slice).unwrap_or_default());
            Value::Record(vec![("keys", set(footprint.reads)), ("all", Value::Bool(footprint.all))])
        };
        [
            ("TNode", Value::ints(self.nodes.iter().copied())),
            ("TVoters", Value::ints(self.voters.iter().copied())),
            ("TMaxTerm", Value::Int(self.term_max + 1)),
            ("TClients", Value::ints(self.sessions.iter().copied())),
            ("TCmds", Value::Seq(self.commands.iter().map(command).collect())),
            ("TReads", Value::Seq(self.requests.iter().map(read).collect())),
        ]
    }
}
