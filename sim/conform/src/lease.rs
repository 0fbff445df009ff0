//! From the events of a trace to the steps of TraceLease.tla: what the trace says of one lease, for each lease that it names.
//!
//! Of the logs remain the no-ops of elections, and the grants and revokes of the lease: `Lease.tla` numbers those. An index of a real log
//! becomes the number of such entries up to it, in the log of the leader of the term in question; an election the place at which the new leader's log
//! leaves that of an earlier one. What a command is that its session refuses, or that was applied before, TraceCurp.tla judges: here it is
//! nothing. Times are microseconds, of which TLC can count two thousand seconds' worth.
//!
//! Nothing here judges.

use curp::{Applied, Entry, Event as NodeEvent, Index, NodeId, Payload, ProposeId, ReadId, Term};
use history::{ClientEvent, Event, Stamped};
use kv::{LeaseEvent, LeaseId, Request, Response};
use std::collections::{BTreeMap, BTreeSet};

use crate::steps::{ConvertError, Step};
use crate::value::Value;

/// In microseconds: the longest run, and the longest time to live that is told from longer ones.
const LONGEST: u64 = 1_000_000_000;
const SECOND: u64 = 1_000_000;
/// Nanoseconds of a microsecond.
const MICRO: u64 = 1000;

/// What the traces of a batch share: the bounds of the constants.
#[derive(Debug, Default)]
pub(crate) struct Bounds {
    nodes: BTreeSet<NodeId>,
    term: Term,
    keep_alives: u64,
    ttl: u64,
}

impl Bounds {
    /// The definitions of the generated module, in its order. `drift_ppm` bounds the drift of clocks.
    pub fn definitions(&self, drift_ppm: u32) -> [(&'static str, Value); 5] {
        // Exact clocks are as good as the roundings.
        let d = 1_000_000u64.checked_div(drift_ppm.into()).unwrap_or(LONGEST);
        [
            ("TNode", Value::ints(self.nodes.iter().copied())),
            ("TMaxTerm", Value::Int(self.term + 1)),
            ("TKa", Value::ints(1..=self.keep_alives)),
            ("TTtl", Value::Int(self.ttl.max(1))),
            ("TD", Value::Int(d.max(2))),
        ]
    }
}

/// What a trace says of one lease.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Projection {
    pub lease: LeaseId,
    pub steps: Vec<Step>,
}

/// An entry that may be of a lease.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Noop,
    /// With the time to live, in microseconds.
    Grant(LeaseId, u64),
    /// With the stamp, 0 if it has none.
    Revoke(LeaseId, Term),
    /// A leader's own.
    Own(LeaseId, Term),
}

impl Kind {
    fn is_of(self, lease: LeaseId) -> bool {
        match self {
            Kind::Noop => true,
            Kind::Grant(of, _) | Kind::Revoke(of, _) | Kind::Own(of, _) => of == lease,
        }
    }
}

/// Where something stands in a log: an index, in the log of the leader of a term.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Place {
    term: Term,
    index: Index,
}

/// Something that concerns leases or leadership, with what it says of logs resolved.
#[derive(Clone, Debug)]
enum Fact {
    /// A node leads: where its log leaves that of an earlier leader, and what it appended.
    Leads(Place, Vec<(Index, Kind)>),
    Appends(Index, Kind),
    Commits(Place),
    Applies(Place, Kind, Came),
    Hears(Term, &'static str),
    Restarts(Place),
    Installs(Place),
    /// A request of this name, in this round, with this read index.
    Asks(ReadId, u64, Place),
    Confirms(u64),
    Lease(LeaseEvent),
    /// By a client.
    Sends(ReadId, LeaseId),
}

/// What applying it came to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Came {
    Nothing,
    /// With the time to live.
    Granted(u64),
    Revoked,
    Refused,
    /// Something that it cannot come to.
    Other,
}

/// A fact, when and where.
#[derive(Clone, Debug)]
struct Told {
    position: usize,
    event: u64,
    /// Microseconds.
    at: u64,
    node: NodeId,
    term: Term,
    fact: Fact,
}

/// What the trace says of each lease that it names.
///
/// # Errors
/// [`ConvertError`]: the trace contradicts its own format, or is too long.
pub(crate) fn projections(bounds: &mut Bounds, events: &[Stamped]) -> Result<Vec<Projection>, ConvertError> {
    let mut reader = Reader { void: void(events), ..Reader::default() };
    for (position, stamped) in events.iter().enumerate() {
        reader.event(position, stamped)?;
    }
    let Reader { facts, leases, .. } = reader;
    if leases.is_empty() {
        return Ok(Vec::new());
    }
    for told in &facts {
        bounds.term = bounds.term.max(told.term);
        if told.node > 0 {
            bounds.nodes.insert(told.node);
        }
        if told.at > LONGEST {
            return Err(ConvertError::TooLarge { event: told.event, number: told.at });
        }
    }
    let project = |lease| {
        let projection = Projector::new(bounds, lease, &facts).project(&facts);
        projection.map(|steps| Projection { lease, steps })
    };
    leases.into_iter().map(project).collect()
}

/// Entries, by index and id, that were applied without effect: their session refused them, or had them applied. Who applied one first has the word.
fn void(events: &[Stamped]) -> BTreeSet<(Index, ProposeId)> {
    let mut first = BTreeMap::new();
    for stamped in events {
        if let Event::Node(NodeEvent::Apply { index, id: Some(id), outcome, .. }) = &stamped.event {
            first.entry((*index, *id)).or_insert(matches!(outcome, Applied::Duplicate | Applied::Refused));
        }
    }
    first.into_iter().filter(|(_, void)| *void).map(|(entry, _)| entry).collect()
}

/// Follows every node's log, as far as the terms of its entries.
#[derive(Default)]
struct Reader {
    void: BTreeSet<(Index, ProposeId)>,
    /// Per node, the terms of its log's entries.
    logs: BTreeMap<NodeId, Vec<Term>>,
    /// The term of the entry before an entry, which is named by its own term and index.
    before: BTreeMap<(Term, Index), Term>,
    kinds: BTreeMap<(Term, Index), Kind>,
    leases: BTreeSet<LeaseId>,
    /// Nodes about to start from what a store of theirs held, and up to where that is applied.
    loaded: BTreeMap<NodeId, Index>,
    facts: Vec<Told>,
}

impl Reader {
    fn event(&mut self, position: usize, stamped: &Stamped) -> Result<(), ConvertError> {
        let event = stamped.i;
        let node = || stamped.node.ok_or(ConvertError::NoNode(event));
        let found = match &stamped.event {
            Event::Node(of) => self.node(node()?, of),
            Event::Lease(of) => {
                let (term, lease) = named(of);
                self.leases.extend(lease);
                Some((term, Fact::Lease(of.clone())))
            }
            Event::Client(ClientEvent::SendKeepAlive { lease, read, .. }) => Some((0, Fact::Sends(*read, *lease))),
            Event::Client(ClientEvent::Propose { id: None, read: Some(read), request: Request::LeaseKeepAlive(keep), .. }) => {
                Some((0, Fact::Sends(*read, keep.id)))
            }
            Event::Client(_) | Event::World(_) => None,
        };
        if let Some((term, fact)) = found {
            let node = if matches!(fact, Fact::Sends(..)) { 0 } else { node()? };
            self.facts.push(Told { position, event, at: stamped.t / MICRO, node, term, fact });
        }
        Ok(())
    }

    fn node(&mut self, node: NodeId, event: &NodeEvent<Request>) -> Option<(Term, Fact)> {
        Some(match event {
            NodeEvent::BecomeLeader { term, entries, .. } => {
                let log = self.logs.entry(node).or_default();
                let base = Place { term: log.last().copied().unwrap_or(0), index: log.len() as Index };
                let kinds = entries.iter().filter_map(|entry| Some((entry.index, self.append(node, entry)?))).collect();
                (*term, Fact::Leads(base, kinds))
            }
            NodeEvent::LeaderPropose { entry, .. } => {
                let kind = self.append(node, entry)?;
                (entry.term, Fact::Appends(entry.index, kind))
            }
            NodeEvent::AcceptEntries { entries, .. } => {
                entries.iter().for_each(|entry| _ = self.append(node, entry));
                return None;
            }
            NodeEvent::AdvanceCommit { term, commit, counted: true } => (*term, Fact::Commits(Place { term: *term, index: *commit })),
            NodeEvent::Apply { index, outcome, .. } => {
                let place = self.place(node, *index);
                let kind = *self.kinds.get(&(place.term, place.index))?;
                (0, Fact::Applies(place, kind, came(outcome)))
            }
            NodeEvent::UpdateTerm { term } => (*term, Fact::Hears(*term, "UpdateTerm")),
            NodeEvent::Campaign { term } => (*term, Fact::Hears(*term, "Campaign")),
            NodeEvent::StepDown { term } => (*term, Fact::Hears(*term, "StepDown")),
            NodeEvent::Restart { term, last_index, last_term, snapshot, .. } => {
                self.found(node, Place { term: *last_term, index: *last_index });
                let from = self.loaded.remove(&node).unwrap_or(*snapshot);
                (*term, Fact::Restarts(self.place(node, from)))
            }
            NodeEvent::LoadState { index, .. } => {
                self.loaded.insert(node, *index);
                return None;
            }
            NodeEvent::InstallSnapshot { term, index, last_term, .. } => {
                let place = Place { term: *last_term, index: *index };
                if self.place(node, *index) != place {
                    self.found(node, place);
                }
                (*term, Fact::Installs(place))
            }
            NodeEvent::ReadRequest { term, round, read, index } => (*term, Fact::Asks(*read, *round, Place { term: *term, index: *index })),
            NodeEvent::ReadIndex { term, round, .. } => (*term, Fact::Confirms(*round)),
            _ => return None,
        })
    }

    /// The entry is in the node's log, and nothing after it.
    fn append(&mut self, node: NodeId, entry: &Entry<Request>) -> Option<Kind> {
        let log = self.logs.entry(node).or_default();
        let before = usize::try_from(entry.index.saturating_sub(1)).unwrap_or(usize::MAX);
        log.truncate(before);
        // Further on than the log goes there is nothing: a log without holes would not say so.
        if log.len() == before {
            self.before.entry((entry.term, entry.index)).or_insert(log.last().copied().unwrap_or(0));
            log.push(entry.term);
        }
        let kind = self.kind(entry)?;
        if let Kind::Grant(lease, _) | Kind::Revoke(lease, _) | Kind::Own(lease, _) = kind {
            self.leases.insert(lease);
        }
        self.kinds.insert((entry.term, entry.index), kind);
        Some(kind)
    }

    fn kind(&self, entry: &Entry<Request>) -> Option<Kind> {
        match &entry.payload {
            Payload::Noop => Some(Kind::Noop),
            Payload::Command(proposal) if self.void.contains(&(entry.index, proposal.id)) => None,
            Payload::Command(proposal) => match &*proposal.command {
                Request::LeaseGrant(grant) => Some(Kind::Grant(grant.id, ttl(grant.ttl.max(1)))),
                Request::LeaseRevoke(revoke) => Some(Kind::Revoke(revoke.id, revoke.stamp.unwrap_or(0))),
                _ => None,
            },
            Payload::Own { command } => match &**command {
                Request::LeaseRevoke(revoke) => Some(Kind::Own(revoke.id, revoke.stamp.unwrap_or(0))),
                _ => None,
            },
            _ => None,
        }
    }

    /// The log ends in this entry, which says all that comes before it.
    fn found(&mut self, node: NodeId, end: Place) {
        let mut terms = Vec::new();
        let mut at = end;
        while at.index > 0 {
            terms.push(at.term);
            let before = self.before.get(&(at.term, at.index)).copied().unwrap_or(0);
            at = Place { term: before, index: at.index - 1 };
        }
        terms.reverse();
        self.logs.insert(node, terms);
    }

    /// The entry at an index of the node's log.
    fn place(&self, node: NodeId, index: Index) -> Place {
        let place = usize::try_from(index).ok().and_then(|index| index.checked_sub(1));
        let term = place.and_then(|place| self.logs.get(&node)?.get(place).copied());
        term.map_or(Place::default(), |term| Place { term, index })
    }
}

fn came(outcome: &Applied<Response>) -> Came {
    match outcome {
        Applied::Nothing => Came::Nothing,
        Applied::Done(synced) => match &synced.response {
            Response::LeaseGrant { ttl: seconds, .. } => Came::Granted(ttl(*seconds)),
            Response::LeaseRevoke => Came::Revoked,
            Response::Error(_) => Came::Refused,
            _ => Came::Other,
        },
        _ => Came::Other,
    }
}

/// A time to live in microseconds.
fn ttl(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or(0).saturating_mul(SECOND).min(LONGEST)
}

fn named(event: &LeaseEvent) -> (Term, Option<LeaseId>) {
    match event {
        LeaseEvent::PromoteLeases { term, .. } | LeaseEvent::DemoteLeases { term } => (*term, None),
        LeaseEvent::ReceiveKeepAlive { term, lease, .. }
        | LeaseEvent::AnswerKeepAlive { term, lease, .. }
        | LeaseEvent::AnswerTimeToLive { term, lease, .. }
        | LeaseEvent::DecideExpiry { term, lease, .. } => (*term, Some(*lease)),
    }
}

/// Makes the steps of one lease.
struct Projector {
    lease: LeaseId,
    out: Vec<Step>,
    /// Per term, the leader's log, as far as it is of this lease.
    logs: BTreeMap<Term, Vec<(Index, Kind)>>,
    /// Per term, what was said to be committed.
    committed: BTreeMap<Term, u64>,
    /// Keep-alives received, by request, in order.
    attempts: BTreeMap<ReadId, Vec<u64>>,
    received: u64,
    sent: BTreeSet<ReadId>,
    /// The last request of each node: its name, when it came, its term and round, its read index.
    asked: BTreeMap<NodeId, (ReadId, u64, Term, u64, Place)>,
    /// Rounds that confirm a keep-alive.
    rounds: BTreeMap<(NodeId, Term, u64), u64>,
    confirmed: BTreeSet<(NodeId, Term, u64)>,
    /// Where a node's clock begins: first reading, and when.
    clocks: BTreeMap<NodeId, (u64, u64)>,
    now: u64,
    /// The last reading told.
    read: Option<(NodeId, u64, u64)>,
    /// Some grant of it is for longer than can be told.
    long: bool,
}

type Fields = Vec<(&'static str, Value)>;

/// What a node sees of its clock as time goes on.
#[derive(Clone, Copy)]
enum Look {
    /// It does not look.
    Away,
    /// It looks, and does not say what it sees.
    Unsaid,
    /// It says.
    At(u64),
}

impl Projector {
    fn new(bounds: &mut Bounds, lease: LeaseId, facts: &[Told]) -> Projector {
        let mut attempts: BTreeMap<ReadId, Vec<u64>> = BTreeMap::new();
        let mut count = 0;
        let mut long = false;
        for told in facts {
            match &told.fact {
                Fact::Lease(LeaseEvent::ReceiveKeepAlive { lease: of, read, .. }) if *of == lease => {
                    count += 1;
                    attempts.entry(*read).or_default().push(count);
                }
                Fact::Appends(_, Kind::Grant(of, ttl)) if *of == lease => {
                    bounds.ttl = bounds.ttl.max(*ttl);
                    long |= *ttl == LONGEST;
                }
                Fact::Leads(_, kinds) => {
                    let grants = kinds.iter().filter_map(|(_, kind)| if let Kind::Grant(_, ttl) = kind { Some(*ttl) } else { None });
                    bounds.ttl = grants.fold(bounds.ttl, u64::max);
                }
                _ => {}
            }
        }
        bounds.keep_alives = bounds.keep_alives.max(count);
        Projector {
            lease,
            out: Vec::new(),
            logs: BTreeMap::new(),
            committed: BTreeMap::new(),
            attempts,
            received: 0,
            sent: BTreeSet::new(),
            asked: BTreeMap::new(),
            rounds: BTreeMap::new(),
            confirmed: BTreeSet::new(),
            clocks: BTreeMap::new(),
            now: 0,
            read: None,
            long,
        }
    }

    fn project(mut self, facts: &[Told]) -> Result<Vec<Step>, ConvertError> {
        facts.iter().for_each(|told| self.fact(told));
        match self.out.iter().find_map(|step| Some((step.event, step.record.too_large()?))) {
            Some((event, number)) => Err(ConvertError::TooLarge { event, number }),
            None => Ok(self.out),
        }
    }

    /// How many entries up to an index, itself included, the log of that term's leader has.
    fn count(&self, place: Place) -> u64 {
        self.logs.get(&place.term).map_or(0, |log| log.iter().filter(|(index, _)| *index <= place.index).count()) as u64
    }

    /// `action` is the name of the event's action, `name` that of the specification's.
    fn push_as(&mut self, told: &Told, action: &'static str, name: &'static str, fields: Fields) {
        let mut record = vec![("a", Value::Text(name)), ("i", Value::Int(told.event)), ("n", Value::Int(told.node.into()))];
        record.extend(fields);
        self.out.push(Step { position: told.position, event: told.event, action, record: Value::Record(record) });
    }

    fn push(&mut self, told: &Told, name: &'static str, fields: Fields) {
        self.push_as(told, name, name, fields);
    }

    fn push_in_term(&mut self, told: &Told, name: &'static str, fields: Fields) {
        let fields = [("t", Value::Int(told.term))].into_iter().chain(fields).collect();
        self.push(told, name, fields);
    }

    /// Time goes on.
    fn elapse(&mut self, told: &Told, look: Look) {
        let (node, reading) = match look {
            Look::Away => (0, None),
            Look::Unsaid => (told.node, None),
            Look::At(reading) => (told.node, Some(reading)),
        };
        let known = reading.map(|reading| (node, told.at, reading));
        let news = match look {
            Look::Away => false,
            Look::Unsaid => true,
            Look::At(_) => known != self.read,
        };
        if told.at == self.now && !news {
            return;
        }
        (self.now, self.read) = (told.at, known);
        let record = vec![
            ("a", Value::Text("Elapse")),
            ("i", Value::Int(told.event)),
            ("n", Value::Int(node.into())),
            ("at", Value::Int(told.at)),
            ("has", Value::Bool(reading.is_some())),
            ("c", Value::Int(reading.unwrap_or(0))),
        ];
        self.out.push(Step { position: told.position, event: told.event, action: "Elapse", record: Value::Record(record) });
    }

    /// A reading of the node's clock, in microseconds: as if that had begun with the run.
    fn reading(&mut self, told: &Told, now: u64) -> u64 {
        let (first, at) = *self.clocks.entry(told.node).or_insert((now, told.at));
        let since = i128::from(now) - i128::from(first) + i128::from(at) * i128::from(MICRO);
        u64::try_from(since.div_euclid(i128::from(MICRO))).unwrap_or(0).min(LONGEST)
    }

    fn append(&mut self, told: &Told, index: Index, kind: Kind) {
        let log = self.logs.entry(told.term).or_default();
        log.push((index, kind));
        let place = Value::Int(log.len() as u64);
        let (name, value) = match kind {
            // It came with its election.
            Kind::Noop => return,
            Kind::Grant(_, ttl) => ("AppendGrant", ttl),
            Kind::Revoke(_, stamp) => ("AppendRevoke", stamp),
            Kind::Own(_, stamp) => ("AppendOwn", stamp),
        };
        self.push_in_term(told, name, vec![("p", place), ("v", Value::Int(value))]);
    }

    fn fact(&mut self, told: &Told) {
        match &told.fact {
            Fact::Leads(base, kinds) => {
                let kept = self.count(*base);
                let log = self.logs.get(&base.term).map_or(&[][..], |log| &log[..kept as usize]).to_vec();
                self.logs.insert(told.term, log);
                self.push_in_term(told, "BecomeLeader", vec![("b", Value::Int(base.term)), ("k", Value::Int(kept))]);
                let own = kinds.iter().filter(|(_, kind)| kind.is_of(self.lease));
                own.copied().collect::<Vec<_>>().into_iter().for_each(|(index, kind)| self.append(told, index, kind));
            }
            Fact::Appends(index, kind) if kind.is_of(self.lease) => self.append(told, *index, *kind),
            Fact::Appends(..) => {}
            Fact::Commits(place) => {
                let k = self.count(*place);
                let before = self.committed.insert(told.term, k);
                if before != Some(k) {
                    self.push_in_term(told, "AdvanceCommit", vec![("k", Value::Int(k))]);
                }
            }
            Fact::Applies(place, kind, came) if kind.is_of(self.lease) => self.apply(told, *place, *kind, *came),
            Fact::Applies(..) => {}
            Fact::Hears(_, action @ "StepDown") => self.push_in_term(told, action, Vec::new()),
            Fact::Hears(term, action) => self.push_as(told, action, "UpdateTerm", vec![("t", Value::Int(*term))]),
            Fact::Restarts(place) => {
                self.clocks.remove(&told.node);
                self.push_in_term(told, "Restart", vec![("k", Value::Int(self.count(*place)))]);
            }
            Fact::Installs(place) => self.push(told, "InstallSnapshot", vec![("k", Value::Int(self.count(*place)))]),
            Fact::Asks(read, round, place) => _ = self.asked.insert(told.node, (*read, told.at, told.term, *round, *place)),
            Fact::Confirms(round) => {
                let round = (told.node, told.term, *round);
                self.confirmed.insert(round);
                if let Some(k) = self.rounds.get(&round).copied() {
                    self.push_in_term(told, "ConfirmRound", vec![("k", Value::Int(k))]);
                }
            }
            Fact::Sends(read, lease) => {
                if *lease == self.lease && self.sent.insert(*read) && self.attempts.contains_key(read) {
                    self.elapse(told, Look::Away);
                    let ks = Value::ints(self.attempts[read].iter().copied());
                    self.push(told, "SendKeepAlive", vec![("ks", ks)]);
                }
            }
            Fact::Lease(event) => self.lease(told, event),
        }
    }

    fn apply(&mut self, told: &Told, place: Place, kind: Kind, came: Came) {
        match kind {
            Kind::Noop => {}
            Kind::Grant(..) => self.elapse(told, Look::Unsaid),
            Kind::Revoke(..) | Kind::Own(..) => self.elapse(told, Look::Away),
        }
        let (did, ttl) = match came {
            Came::Nothing => ("nothing", 0),
            Came::Granted(ttl) => ("granted", ttl),
            Came::Revoked => ("revoked", 0),
            Came::Refused => ("refused", 0),
            Came::Other => ("other", 0),
        };
        let p = Value::Int(self.count(place));
        self.push(told, "Apply", vec![("p", p), ("did", Value::Text(did)), ("ttl", Value::Int(ttl))]);
    }

    fn lease(&mut self, told: &Told, event: &LeaseEvent) {
        if named(event).1.is_some_and(|lease| lease != self.lease) {
            return;
        }
        let read = |p: &mut Self, now: u64| {
            let c = p.reading(told, now);
            p.elapse(told, Look::At(c));
            c
        };
        match event {
            LeaseEvent::PromoteLeases { now, .. } => {
                let c = read(self, *now);
                self.push_in_term(told, "PromoteLeases", vec![("c", Value::Int(c))]);
            }
            LeaseEvent::DemoteLeases { .. } => self.push_in_term(told, "DemoteLeases", Vec::new()),
            LeaseEvent::ReceiveKeepAlive { read: name, now, deadline, .. } => {
                let c = read(self, *now);
                self.receive(told, *name, *now, c, *deadline);
            }
            LeaseEvent::AnswerKeepAlive { read, ttl: seconds, .. } => {
                self.elapse(told, Look::Away);
                let ks = Value::ints(self.attempts.get(read).into_iter().flatten().copied());
                self.push_in_term(told, "AnswerKeepAlive", vec![("ks", ks), ("ttl", Value::Int(ttl(*seconds)))]);
            }
            // Of so long a time what is left is not told.
            LeaseEvent::AnswerTimeToLive { .. } if self.long => {}
            LeaseEvent::AnswerTimeToLive { now, ttl, .. } => {
                let c = read(self, *now);
                let ttl = u64::try_from(ttl.saturating_add(1)).unwrap_or(0);
                self.push_in_term(told, "AnswerTimeToLive", vec![("c", Value::Int(c)), ("ttl", Value::Int(ttl))]);
            }
            LeaseEvent::DecideExpiry { now, .. } => {
                let c = read(self, *now);
                self.push_in_term(told, "DecideExpiry", vec![("c", Value::Int(c))]);
            }
        }
    }

    fn receive(&mut self, told: &Told, name: ReadId, now: u64, c: u64, deadline: Option<u64>) {
        self.received += 1;
        let k = self.received;
        // The request is of the same input, and its event comes first; so may, where no other voter is asked, the end of its round.
        let asked = self.asked.get(&told.node).copied().filter(|(read, at, term, _, _)| (*read, *at, *term) == (name, told.at, told.term));
        if asked.is_some() {
            self.asked.remove(&told.node);
        }
        // An answer that waits for nothing will not come.
        let x = asked.map_or(0, |(.., place)| self.count(place));
        let until = deadline.map_or(0, |deadline| {
            let of = i128::from(deadline) - i128::from(now);
            c + u64::try_from(of.div_euclid(i128::from(MICRO))).unwrap_or(0).min(LONGEST)
        });
        let fields = vec![("k", Value::Int(k)), ("c", Value::Int(c)), ("x", Value::Int(x)), ("until", Value::Int(until))];
        self.push_in_term(told, "ReceiveKeepAlive", fields);
        if let Some((_, _, term, round, _)) = asked {
            let round = (told.node, term, round);
            self.rounds.insert(round, k);
            if self.confirmed.contains(&round) {
                self.push_in_term(told, "ConfirmRound", vec![("k", Value::Int(k))]);
            }
        }
    }
}

#[cfg(test)]
mod tests;
