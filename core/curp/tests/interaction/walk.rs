//! Random walks: the same cluster as the scripts', driven by chance instead. Messages of nodes and clients arrive in any order, twice, or
//! never; writes end record by record; executions end late; nodes lose power or are killed at any point. Snapshots are made often, nothing
//! much trails behind them, and they travel in small pieces, so that who was away for a while is sent one.
//!
//! Every command adds one to a number, so that an answer tells its place among all others, and what must hold is easily said:
//! whoever asks after an answer gets a greater one; a fast answer is the final one; in the end every command has taken effect once,
//! every replica has the same state, and no pool holds anything. The simulator does all this with real disks, clocks and
//! clients, for longer; here a failure is a short list of steps on the bare protocol.

use std::collections::BTreeMap;
use std::sync::Arc;

use curp::{Admin, Config, ConfigChange, NodeId, Proposal, ProposeId, ReadId, Request, Term};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::cluster::Cluster;
use crate::common::Cmd;

const SESSION: u64 = 2;
/// Ids of commands that must not be fast come after this.
const SUMS: u64 = 1 << 32;
const KEYS: [&str; 2] = ["x", "y"];
/// The most ids that are given: a mask has a bit for each.
const NODES_MAX: NodeId = 7;

#[derive(Clone, Debug)]
enum Step {
    Deliver(Index),
    DeliverCopy(Index),
    Drop(Index),
    Persist(Index, bool),
    /// A file of a snapshot is durable.
    Save(Index),
    /// An operator wants a snapshot.
    TakeSnapshot(Index),
    /// A node is told that another cannot be reached.
    Unreachable(Index, Index),
    Exec(Index),
    Heartbeat(Index),
    /// Silence for an election timeout, and a node that notices.
    Timeout(Index),
    /// The same, and the election among the nodes in the mask goes on until it is won or there is nothing left to do.
    Elect(Index, u8),
    Crash(Index, bool),
    Restart(Index),
    /// A client sends a new command to a node, or to the leader that the node knows of, and Records to the others.
    Invoke(Index, usize),
    /// A client asks again.
    Retry(Index, Index),
    /// A client's request arrives; if so, it will arrive once more.
    Arrive(Index, bool),
    Read(Index, usize),
    /// A command's whole fast round at a leader, done at once: the witnesses in the first mask get the Record, the disks and
    /// processors of those in the second are quick.
    Round(usize, u8, u8),
    /// A leader proposes a command of its own, which conflicts with everything.
    Own(Index),
    /// A client's round of a command that must not be fast: Propose to a node, Records to all.
    Sum(Index),
    DropAll,
    Settle,
    /// An operator asks a leader for a change of its configuration: of this kind, about this member.
    Change(u8, Index),
    /// An operator asks a leader to hand over to this voter.
    MoveLeader(Index),
}

fn step() -> impl Strategy<Value = Step> {
    let i = any::<Index>;
    let mask = || prop_oneof![2 => Just(u8::MAX), 1 => any::<u8>()];
    let nodes = prop_oneof![
        14 => i().prop_map(Step::Deliver),
        2 => i().prop_map(Step::DeliverCopy),
        2 => i().prop_map(Step::Drop),
        8 => (i(), any::<bool>()).prop_map(|(node, all)| Step::Persist(node, all)),
        3 => i().prop_map(Step::Save),
        1 => i().prop_map(Step::TakeSnapshot),
        1 => (i(), i()).prop_map(|(node, of)| Step::Unreachable(node, of)),
        6 => i().prop_map(Step::Exec),
        2 => i().prop_map(Step::Heartbeat),
        1 => i().prop_map(Step::Timeout),
        2 => (i(), mask()).prop_map(|(node, with)| Step::Elect(node, with)),
        1 => (i(), any::<bool>()).prop_map(|(node, power)| Step::Crash(node, power)),
        2 => i().prop_map(Step::Restart),
        1 => i().prop_map(Step::Own),
        1 => i().prop_map(Step::Sum),
        1 => Just(Step::DropAll),
        2 => Just(Step::Settle),
    ];
    let clients = prop_oneof![
        3 => (i(), 0..KEYS.len()).prop_map(|(node, key)| Step::Invoke(node, key)),
        1 => (i(), i()).prop_map(|(op, node)| Step::Retry(op, node)),
        6 => (i(), prop::bool::weighted(0.1)).prop_map(|(request, twice)| Step::Arrive(request, twice)),
        2 => (i(), 0..KEYS.len()).prop_map(|(node, key)| Step::Read(node, key)),
        4 => (0..KEYS.len(), mask(), mask()).prop_map(|(key, records, quick)| Step::Round(key, records, quick)),
    ];
    let operators = prop_oneof![
        3 => (0..4u8, i()).prop_map(|(kind, member)| Step::Change(kind, member)),
        1 => i().prop_map(Step::MoveLeader),
    ];
    prop_oneof![15 => nodes, 5 => clients, 1 => operators]
}

/// A command, by its sequence number less one.
struct Op {
    key: usize,
    /// The greatest answer that anyone had for the key when it was invoked.
    floor: u64,
    answer: Option<u64>,
}

struct Walk {
    cluster: Cluster,
    ops: Vec<Op>,
    /// Clients' requests on their way.
    requests: Vec<(NodeId, Request<Cmd>)>,
    /// Reads on their way: key, and the greatest answer anyone had at the time.
    reads: BTreeMap<ReadId, (usize, u64)>,
    /// The greatest answer that anyone has, by key.
    floor: [u64; KEYS.len()],
    leaders: BTreeMap<Term, NodeId>,
    fast: usize,
    /// Commands that must not be fast, so far.
    sums: u64,
}

impl Walk {
    fn new(voters: u32) -> Result<Walk, String> {
        let limits = Config {
            hand_over_after: 100_000_000,
            append_entries_max: 2,
            appends_in_flight_max: 2,
            snapshot_every: 6,
            trailing_entries: 1,
            snapshot_chunk_bytes: 32,
            ..Config::default()
        };
        let mut cluster = Cluster::new(voters, limits);
        let all = cluster.up();
        cluster.pass(1, 150_000_000)?;
        cluster.input(1, |raw, _, now| raw.tick(now))?;
        cluster.settle(&all, None)?;
        cluster.input(1, |raw, _, now| raw.request(9, Request::BeginSession { nonce: 0 }, now))?;
        cluster.settle(&all, None)?;
        let (leaders, reads) = (BTreeMap::from([(1, 1)]), BTreeMap::new());
        Ok(Walk { cluster, ops: Vec::new(), requests: Vec::new(), reads, floor: [0; KEYS.len()], leaders, fast: 0, sums: 0 })
    }

    fn step(&mut self, step: Step) -> Result<(), String> {
        let up = self.cluster.up();
        let pick = |index: Index| (!up.is_empty()).then(|| up[index.index(up.len())]);
        match step {
            Step::Deliver(i) | Step::DeliverCopy(i) | Step::Drop(i) => {
                let flights = self.cluster.in_flight();
                if flights > 0 {
                    let flight = self.cluster.take_flight(i.index(flights));
                    match step {
                        Step::Drop(_) => {}
                        Step::Deliver(_) => self.cluster.deliver(flight)?,
                        _ => {
                            let copy = flight.clone();
                            self.cluster.put_back(copy);
                            self.cluster.deliver(flight)?;
                        }
                    }
                }
            }
            Step::Persist(i, all) => {
                if let Some(node) = pick(i) {
                    self.cluster.persist(node, (!all).then_some(1))?;
                }
            }
            Step::Exec(i) => {
                if let Some((node, task)) = self.cluster.tasks().get(i.index(self.cluster.tasks().len().max(1))) {
                    self.cluster.exec(*node, Some(*task))?;
                }
            }
            Step::Save(i) => {
                let saving = self.cluster.saving();
                if let Some(node) = saving.get(i.index(saving.len().max(1))) {
                    self.cluster.save(*node)?;
                }
            }
            Step::TakeSnapshot(i) => {
                if let Some(node) = pick(i) {
                    let request = Request::Admin { nonce: 0, wish: Admin::TakeSnapshot };
                    self.cluster.input(node, |raw, _, now| raw.request(9, request, now))?;
                }
            }
            Step::Unreachable(i, of) => {
                if let (Some(node), Some(of)) = (pick(i), pick(of)) {
                    self.cluster.input(node, |raw, _, _| raw.report_unreachable(of))?;
                }
            }
            Step::Heartbeat(i) | Step::Timeout(i) => {
                let timeout = matches!(step, Step::Timeout(_));
                for &node in up.iter().filter(|_| timeout) {
                    self.cluster.pass(node, 150_000_000)?;
                }
                if let Some(node) = pick(i) {
                    self.cluster.pass(node, if timeout { 0 } else { 50_000_000 })?;
                    self.cluster.input(node, |raw, _, now| raw.tick(now))?;
                }
            }
            Step::Elect(i, with) => {
                if let Some(node) = pick(i) {
                    up.iter().try_for_each(|&node| self.cluster.pass(node, 150_000_000))?;
                    self.cluster.input(node, |raw, _, now| raw.tick(now))?;
                    let among: Vec<NodeId> = up.into_iter().filter(|&other| other == node || with & (1 << other) != 0).collect();
                    self.cluster.settle(&among, Some(node))?;
                }
            }
            Step::Crash(i, power) => {
                if let Some(node) = pick(i) {
                    self.cluster.crash(node, power)?;
                }
            }
            Step::Restart(i) => {
                let down = self.cluster.down();
                if let Some(node) = down.get(i.index(down.len().max(1))) {
                    self.cluster.start(*node)?;
                }
            }
            Step::Invoke(i, key) => {
                self.ops.push(Op { key, floor: self.floor[key], answer: None });
                if let Some(node) = pick(i) {
                    self.send(self.ops.len(), node)?;
                }
            }
            Step::Retry(op, i) => {
                if let (false, Some(node)) = (self.ops.is_empty(), pick(i)) {
                    self.send(op.index(self.ops.len()) + 1, node)?;
                }
            }
            Step::Arrive(i, twice) => {
                if !self.requests.is_empty() {
                    let at = i.index(self.requests.len());
                    let (node, request) = if twice { self.requests[at].clone() } else { self.requests.swap_remove(at) };
                    if up.contains(&node) {
                        self.cluster.input(node, |raw, _, now| raw.request(2, request, now))?;
                    }
                }
            }
            Step::Read(i, key) => {
                if let Some(node) = pick(i) {
                    // Noted first: a read may be answered at once.
                    let floor = self.floor[key];
                    let read = self.cluster.client_read(node, 9, Cmd::Get { key: KEYS[key].to_owned() })?;
                    self.reads.insert(read, (key, floor));
                }
            }
            Step::Round(key, records, quick) => self.round(key, records, quick)?,
            Step::Own(i) => {
                if let Some(node) = pick(i) {
                    self.cluster.propose_own(node, Cmd::Sum)?;
                }
            }
            Step::Sum(i) => {
                if let Some(node) = pick(i) {
                    self.sum(node)?;
                }
            }
            Step::DropAll => drop(self.cluster.take_flights(false, |_| true)),
            Step::Settle => self.cluster.settle(&up, None)?,
            Step::Change(kind, member) => self.change(kind, member)?,
            Step::MoveLeader(voter) => {
                if let Some(leader) = self.leader() {
                    let voters = &self.cluster.raw(leader)?.membership().voters;
                    let to = voters[voter.index(voters.len())];
                    self.wish(leader, Admin::MoveLeader { to })?;
                }
            }
        }
        self.look()
    }

    /// A client asks for what depends on the state. Nobody may promise to remember it, or answer it early.
    fn sum(&mut self, leader: NodeId) -> Result<(), String> {
        self.sums += 1;
        let id = ProposeId { client: SESSION, seq: SUMS + self.sums };
        let (first_incomplete, command) = (1, Arc::new(Cmd::Sum));
        let proposal = Arc::new(Proposal { id, first_incomplete, command });
        for node in self.cluster.up() {
            let raw = self.cluster.raw(node)?;
            let (term, config, proposal) = (raw.leadership().term, raw.membership().version, proposal.clone());
            let request = if node == leader { Request::Propose { proposal } } else { Request::Record { term, config, proposal } };
            self.cluster.input(node, |raw, _, now| raw.request(2, request, now))?;
        }
        Ok(())
    }

    /// A node that leads, or thinks so.
    fn leader(&mut self) -> Option<NodeId> {
        let up = self.cluster.up();
        up.into_iter().find(|&node| self.cluster.raw(node).is_ok_and(curp::RawCurp::is_leader))
    }

    fn wish(&mut self, leader: NodeId, wish: Admin) -> Result<(), String> {
        self.cluster.input(leader, |raw, _, now| raw.request(9, Request::Admin { nonce: 0, wish }, now))
    }

    /// A change of the leader's configuration, if one of that kind can be made. Ids are never given twice.
    fn change(&mut self, kind: u8, member: Index) -> Result<(), String> {
        let Some(leader) = self.leader() else { return Ok(()) };
        let membership = self.cluster.raw(leader)?.membership().clone();
        let members: Vec<NodeId> = membership.members().collect();
        let (base, node, newest) = (membership.version, members[member.index(members.len())], self.cluster.newest());
        let change = match kind {
            0 if newest < NODES_MAX => {
                self.cluster.join(newest + 1)?;
                ConfigChange::AddLearner { node: newest + 1, address: String::new() }
            }
            1 if !membership.learners.is_empty() => {
                ConfigChange::Promote { node: membership.learners[member.index(membership.learners.len())] }
            }
            2 => ConfigChange::Remove { node },
            _ => ConfigChange::Update { node, address: format!("{}", base.index) },
        };
        self.wish(leader, Admin::ChangeMembership { base, change })
    }

    fn round(&mut self, key: usize, records: u8, quick: u8) -> Result<(), String> {
        let up = self.cluster.up();
        let Some(leader) = self.leader() else { return Ok(()) };
        self.ops.push(Op { key, floor: self.floor[key], answer: None });
        let sent = self.requests.len();
        self.send(self.ops.len(), leader)?;
        for (to, request) in self.requests.split_off(sent) {
            if up.contains(&to) && (to == leader || records & (1 << to) != 0) {
                self.cluster.input(to, |raw, _, now| raw.request(2, request, now))?;
            }
        }
        for node in up.into_iter().filter(|node| quick & (1 << node) != 0) {
            self.cluster.persist(node, None)?;
            for (_, task) in self.cluster.tasks().into_iter().filter(|(of, _)| *of == node) {
                self.cluster.exec(node, Some(task))?;
            }
        }
        Ok(())
    }

    /// Propose and Records of command number `seq`, for the term and the leader that `node` knows of.
    fn send(&mut self, seq: usize, node: NodeId) -> Result<(), String> {
        let known = self.cluster.raw(node)?.leadership();
        let leader = known.leader.unwrap_or(node);
        // The synced results that the client has without a gap.
        let synced = |seq: &u64| self.cluster.told(ProposeId { client: SESSION, seq: *seq }).synced.is_none();
        let first_incomplete = (1..).find(synced).expect("there is an end to it");
        let id = ProposeId { client: SESSION, seq: seq as u64 };
        let command = Arc::new(Cmd::Inc { key: KEYS[self.ops[seq - 1].key].to_owned() });
        let proposal = Arc::new(Proposal { id, first_incomplete: first_incomplete.min(id.seq), command });
        let membership = self.cluster.raw(node)?.membership().clone();
        let others = membership.witnesses().filter(|witness| *witness != leader);
        for to in std::iter::once(leader).chain(others) {
            let (term, config, proposal) = (known.term, membership.version, proposal.clone());
            let request = if to == leader { Request::Propose { proposal } } else { Request::Record { term, config, proposal } };
            self.requests.push((to, request));
        }
        Ok(())
    }

    /// What must hold after every step.
    fn look(&mut self) -> Result<(), String> {
        for node in self.cluster.up() {
            let raw = self.cluster.raw(node)?;
            let kept = raw.pool_ids().into_iter().find(|id| id.seq > SUMS);
            ensure(kept.is_none(), || format!("{node} holds {kept:?} in its pool"))?;
            if raw.is_leader() {
                let term = raw.leadership().term;
                let first = *self.leaders.entry(term).or_insert(node);
                ensure(first == node, || format!("{first} and {node} lead in term {term}"))?;
            }
        }
        for seq in 1..=self.sums {
            let id = ProposeId { client: SESSION, seq: SUMS + seq };
            ensure(!self.cluster.is_answered_early(id), || format!("{id} was answered early"))?;
        }
        let before = self.floor;
        for (op, seq) in self.ops.iter_mut().zip(1..) {
            let id = ProposeId { client: SESSION, seq };
            let (fast, synced) = (self.cluster.fast(id), self.cluster.told(id).synced);
            if let (Some(fast), Some(synced)) = (fast, synced) {
                ensure(fast == synced, || format!("{id} was answered {fast:?}, and then {synced:?}"))?;
            }
            if let (None, Some(answer)) = (op.answer, fast.or(synced)) {
                let answer = answer.ok_or_else(|| format!("{id}: an increment gives a number"))?;
                self.fast += usize::from(fast.is_some());
                ensure(answer > op.floor, || format!("{id} got {answer}, but {} was answered before it was asked", op.floor))?;
                op.answer = Some(answer);
                self.floor[op.key] = self.floor[op.key].max(answer);
            }
        }
        for (read, value) in std::mem::take(&mut self.cluster.read) {
            let Some((key, floor)) = self.reads.remove(&read) else { continue };
            let value = value.unwrap_or(0);
            ensure(value >= floor, || format!("read {read:?} got {value}, but {floor} was answered before it was asked"))?;
            self.floor[key] = self.floor[key].max(value).max(before[key]);
        }
        Ok(())
    }

    /// Everything comes back, the clients ask until they know, and then nothing may be left over.
    fn converge(&mut self) -> Result<(), String> {
        for node in self.cluster.down() {
            self.cluster.start(node)?;
        }
        let all = self.cluster.up();
        for round in 0..60 {
            let node = all[round % all.len()];
            let open = |cluster: &mut Cluster, node| cluster.raw(node).is_ok_and(curp::RawCurp::is_open);
            if round % 8 == 0 {
                all.iter().try_for_each(|&node| self.cluster.pass(node, 100_000_000))?;
            }
            all.iter().try_for_each(|&node| self.cluster.pass(node, 50_000_000))?;
            match all.iter().copied().find(|&node| open(&mut self.cluster, node)) {
                Some(leader) => {
                    self.cluster.input(leader, |raw, _, now| raw.tick(now))?;
                    self.cluster.settle(&all, None)?;
                    for seq in 1..=self.ops.len() {
                        self.send(seq, leader)?;
                    }
                    for (to, request) in std::mem::take(&mut self.requests) {
                        self.cluster.input(to, |raw, _, now| raw.request(2, request, now))?;
                    }
                    // Hand-overs.
                    all.iter().try_for_each(|&node| self.cluster.input(node, |raw, _, now| raw.tick(now)))?;
                }
                None => self.cluster.input(node, |raw, _, now| raw.tick(now))?,
            }
            self.cluster.settle(&all, None)?;
            self.look()?;
        }
        for (key, name) in KEYS.iter().enumerate() {
            let mut answers: Vec<_> = self.ops.iter().filter(|op| op.key == key).map(|op| op.answer).collect();
            answers.sort_unstable();
            let expected: Vec<_> = (1..=answers.len() as u64).map(Some).collect();
            ensure(answers == expected, || format!("the increments of {name} gave {answers:?}"))?;
        }
        let leader = self.leader().ok_or("nobody leads")?;
        let (last, members) = (self.cluster.raw(leader)?.last_index(), self.cluster.raw(leader)?.membership().clone());
        // Whoever was removed may have missed it, and more.
        for node in members.members() {
            let raw = self.cluster.raw(node)?;
            let (applied, pool) = (raw.applied(), raw.pool_ids());
            ensure(applied == last, || format!("{node} has applied {applied} of {last} entries"))?;
            ensure(pool.is_empty(), || format!("{node} still holds {pool:?}"))?;
        }
        Ok(())
    }
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_walks(voters in 1..=5u32, steps in prop::collection::vec(step(), 0..300)) {
        let mut walk = Walk::new(voters).expect("a healthy cluster elects node 1");
        let outcome = steps.into_iter().try_for_each(|step| walk.step(step)).and_then(|()| walk.converge());
        prop_assert!(outcome.is_ok(), "{}\n{}", walk.cluster.out, outcome.unwrap_err());
    }
}
