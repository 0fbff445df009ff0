//! Changes to what nodes and clients say of leases: which can be seen, and why the others cannot.
//!
//! An answer binds nobody but the client that has it, so it may be missing; so may a question for the time to live.

use curp::{Event as NodeEvent, NodeId, Payload, ReadId, Term};
use history::{ClientEvent, Event};
use kv::{LeaseEvent, LeaseId, Request};

use super::view::View;
use super::{Candidate, Change};

/// Nanoseconds: further than any clock drifts in a run.
const LONG: u64 = 500_000_000_000;
const MILLISECOND: u64 = 1_000_000;
/// A request that no client made.
const NOBODY: ReadId = (9999, 9999);
/// More seconds than that are not told exactly.
const EXACT: i64 = 900;

impl View<'_> {
    /// Each lease is a trace for TraceLease.tla: without one, nobody looks at promotions.
    pub(super) fn names_a_lease(&self) -> bool {
        let of_one =
            |e: &Event| matches!(e, Event::Lease(e) if !matches!(e, LeaseEvent::PromoteLeases { .. } | LeaseEvent::DemoteLeases { .. }));
        self.events.iter().any(|event| of_one(&event.event))
    }

    fn lease_event(&self, at: usize) -> Option<(NodeId, &LeaseEvent)> {
        match (&self.events[at].event, self.events[at].node) {
            (Event::Lease(event), Some(node)) => Some((node, event)),
            _ => None,
        }
    }

    /// The node's own events of leases after a position, up to its next crash.
    fn lease_life(&self, at: usize, of: NodeId) -> impl Iterator<Item = (usize, &LeaseEvent)> {
        let end = self.crash(at, of).unwrap_or(self.events.len());
        (at + 1..end).filter_map(move |q| self.lease_event(q).filter(|(node, _)| *node == of).map(|(_, event)| (q, event)))
    }

    fn receipts(&self, of: ReadId) -> impl Iterator<Item = (usize, NodeId, Term)> {
        (0..self.events.len()).filter_map(move |q| match self.lease_event(q) {
            Some((node, LeaseEvent::ReceiveKeepAlive { read, term, .. })) if *read == of => Some((q, node, *term)),
            _ => None,
        })
    }

    /// Whether that node received the keep-alive once in that term: then its answer is of that receipt.
    fn received_once(&self, of: ReadId, by: NodeId, in_term: Term) -> bool {
        self.receipts(of).filter(|(_, node, term)| (*node, *term) == (by, in_term)).count() == 1
    }

    fn answer(&self, at: usize, node: NodeId, of: ReadId, in_term: Term) -> Option<usize> {
        let answers = |e: &LeaseEvent| matches!(e, LeaseEvent::AnswerKeepAlive { read, term, .. } if (*read, *term) == (of, in_term));
        self.lease_life(at, node).find(|(_, e)| answers(e)).map(|(q, _)| q)
    }

    /// The entry with the revoke that was decided.
    fn own_revoke(&self, at: usize, node: NodeId, of: LeaseId, in_term: Term) -> Option<usize> {
        let revokes = |e: &NodeEvent<Request>| match e {
            NodeEvent::LeaderPropose { entry, .. } if entry.term == in_term => match &entry.payload {
                Payload::Own { command } => matches!(&**command, Request::LeaseRevoke(revoke) if revoke.id == of),
                _ => false,
            },
            _ => false,
        };
        self.life(at, node).find(|(_, _, e)| revokes(e)).map(|(q, _, _)| q)
    }

    /// Whether the request was made as an operation of its own, which says of its sending as well.
    fn proposed(&self, of: ReadId) -> bool {
        self.events.iter().any(|e| matches!(&e.event, Event::Client(ClientEvent::Propose { read: Some(read), .. }) if *read == of))
    }
}

/// Whether something later needs the event at this position.
pub(super) fn dropped(view: &View<'_>, at: usize) -> bool {
    if let Event::Client(ClientEvent::SendKeepAlive { read, .. }) = &view.events[at].event {
        return !view.proposed(*read) && view.receipts(*read).next().is_some();
    }
    let Some((node, event)) = view.lease_event(at) else { return false };
    match event {
        LeaseEvent::PromoteLeases { .. } => view.lease_life(at, node).next().is_some(),
        // Nothing but this may follow its cause.
        LeaseEvent::DemoteLeases { .. } => view
            .life(at, node)
            .any(|(_, _, e)| matches!(e, NodeEvent::UpdateTerm { .. } | NodeEvent::Campaign { .. } | NodeEvent::BecomeLeader { .. })),
        LeaseEvent::ReceiveKeepAlive { term, read, .. } => {
            view.received_once(*read, node, *term) && view.answer(at, node, *read, *term).is_some()
        }
        LeaseEvent::DecideExpiry { term, lease, .. } => view.own_revoke(at, node, *lease, *term).is_some(),
        LeaseEvent::AnswerKeepAlive { .. } | LeaseEvent::AnswerTimeToLive { .. } => false,
    }
}

/// Whether the event cannot happen twice in a row.
pub(super) fn doubled(view: &View<'_>, at: usize) -> bool {
    let Some((node, event)) = view.lease_event(at) else { return false };
    match event {
        LeaseEvent::PromoteLeases { .. } | LeaseEvent::DemoteLeases { .. } | LeaseEvent::DecideExpiry { .. } => true,
        // The second has no read index; with no grant before it there is nothing to wait for.
        LeaseEvent::ReceiveKeepAlive { deadline, .. } => deadline.is_some(),
        LeaseEvent::AnswerKeepAlive { read, term, .. } => view.received_once(*read, node, *term),
        LeaseEvent::AnswerTimeToLive { .. } => false,
    }
}

/// Later events that depend on the one at this position.
pub(super) fn dependents(view: &View<'_>, at: usize) -> Vec<(&'static str, usize)> {
    if let Event::Client(ClientEvent::SendKeepAlive { read, .. }) = &view.events[at].event {
        let receipt = view.receipts(*read).next().filter(|_| !view.proposed(*read));
        return receipt.map(|(q, _, _)| ("SendKeepAlive, ReceiveKeepAlive", q)).into_iter().collect();
    }
    let Some((node, event)) = view.lease_event(at) else { return Vec::new() };
    let pair = match event {
        LeaseEvent::PromoteLeases { .. } => ("PromoteLeases, what it lets happen", view.lease_life(at, node).next().map(|(q, _)| q)),
        LeaseEvent::ReceiveKeepAlive { term, read, .. } => {
            let once = view.received_once(*read, node, *term);
            ("ReceiveKeepAlive, AnswerKeepAlive", view.answer(at, node, *read, *term).filter(|_| once))
        }
        LeaseEvent::DecideExpiry { term, lease, .. } => ("DecideExpiry, AppendOwn", view.own_revoke(at, node, *lease, *term)),
        LeaseEvent::DemoteLeases { .. } | LeaseEvent::AnswerKeepAlive { .. } | LeaseEvent::AnswerTimeToLive { .. } => return Vec::new(),
    };
    pair.1.map(|q| (pair.0, q)).into_iter().collect()
}

/// Every alteration of the event at a position.
pub(super) fn alterations(view: &View<'_>, at: usize) -> Vec<Candidate> {
    let mut out = Vec::new();
    let node = view.events[at].node;
    if let Event::Client(event @ ClientEvent::SendKeepAlive { read, .. }) = &view.events[at].event {
        if !view.proposed(*read) && view.receipts(*read).next().is_some() {
            let mut event = event.clone();
            if let ClientEvent::SendKeepAlive { read, .. } = &mut event {
                *read = NOBODY;
            }
            out.push(Candidate { at, label: "SendKeepAlive.read", change: Change::Alter(Box::new(Event::Client(event)), node) });
        }
        return out;
    }
    let Some((own, event)) = view.lease_event(at) else { return out };
    let mut with = |label: &'static str, change: &dyn Fn(&mut LeaseEvent)| {
        let mut event = event.clone();
        change(&mut event);
        out.push(Candidate { at, label, change: Change::Alter(Box::new(Event::Lease(event)), node) });
    };
    match event {
        LeaseEvent::PromoteLeases { .. } => {
            with("PromoteLeases.term", &|e| *term(e) += 1);
            // The clock was read once more before it stopped, and must agree.
            let again = view.lease_life(at, own).any(|(_, e)| reading(&mut e.clone()).is_some());
            if again {
                with("PromoteLeases.now", &|e| later(e));
            }
        }
        LeaseEvent::DemoteLeases { .. } => with("DemoteLeases.term", &|e| *term(e) += 1),
        LeaseEvent::ReceiveKeepAlive { deadline, .. } => {
            with("ReceiveKeepAlive.term", &|e| *term(e) += 1);
            with("ReceiveKeepAlive.now", &|e| later(e));
            with("ReceiveKeepAlive.read", &|e| {
                if let LeaseEvent::ReceiveKeepAlive { read, .. } = e {
                    *read = NOBODY;
                }
            });
            let set = |to: Option<u64>| {
                move |e: &mut LeaseEvent| {
                    if let LeaseEvent::ReceiveKeepAlive { deadline, .. } = e {
                        *deadline = to;
                    }
                }
            };
            match *deadline {
                Some(until) => {
                    with("ReceiveKeepAlive.deadline: later", &set(Some(until + MILLISECOND)));
                    with("ReceiveKeepAlive.deadline: earlier", &set(Some(until - MILLISECOND)));
                    with("ReceiveKeepAlive.deadline: none", &set(None));
                }
                None => with("ReceiveKeepAlive.deadline: some", &set(Some(LONG))),
            }
        }
        LeaseEvent::AnswerKeepAlive { .. } => {
            with("AnswerKeepAlive.term", &|e| *term(e) += 1);
            with("AnswerKeepAlive.read", &|e| {
                if let LeaseEvent::AnswerKeepAlive { read, .. } = e {
                    *read = NOBODY;
                }
            });
            with("AnswerKeepAlive.ttl", &|e| {
                if let LeaseEvent::AnswerKeepAlive { ttl, .. } = e {
                    *ttl = if *ttl == 0 { 1 } else { 0 };
                }
            });
            if let Some(other) = view.other_node(own) {
                let change = Change::Alter(Box::new(Event::Lease(event.clone())), Some(other));
                out.push(Candidate { at, label: "AnswerKeepAlive.node", change });
            }
        }
        LeaseEvent::AnswerTimeToLive { ttl, .. } if *ttl < EXACT => {
            with("AnswerTimeToLive.term", &|e| *term(e) += 1);
            with("AnswerTimeToLive.now", &|e| later(e));
            with("AnswerTimeToLive.ttl", &|e| {
                if let LeaseEvent::AnswerTimeToLive { ttl, .. } = e {
                    *ttl += EXACT;
                }
            });
        }
        LeaseEvent::AnswerTimeToLive { .. } => {}
        LeaseEvent::DecideExpiry { .. } => {
            with("DecideExpiry.term", &|e| *term(e) += 1);
            with("DecideExpiry.now", &|e| later(e));
            // There is no such lease.
            with("DecideExpiry.lease", &|e| {
                if let LeaseEvent::DecideExpiry { lease, .. } = e {
                    *lease = LeaseId::MAX;
                }
            });
        }
    }
    out
}

/// The name of what an event says of leases.
pub(super) fn name(event: &LeaseEvent) -> &'static str {
    match event {
        LeaseEvent::PromoteLeases { .. } => "PromoteLeases",
        LeaseEvent::DemoteLeases { .. } => "DemoteLeases",
        LeaseEvent::ReceiveKeepAlive { .. } => "ReceiveKeepAlive",
        LeaseEvent::AnswerKeepAlive { .. } => "AnswerKeepAlive",
        LeaseEvent::AnswerTimeToLive { .. } => "AnswerTimeToLive",
        LeaseEvent::DecideExpiry { .. } => "DecideExpiry",
    }
}

fn term(event: &mut LeaseEvent) -> &mut Term {
    match event {
        LeaseEvent::PromoteLeases { term, .. }
        | LeaseEvent::DemoteLeases { term }
        | LeaseEvent::ReceiveKeepAlive { term, .. }
        | LeaseEvent::AnswerKeepAlive { term, .. }
        | LeaseEvent::AnswerTimeToLive { term, .. }
        | LeaseEvent::DecideExpiry { term, .. } => term,
    }
}

fn reading(event: &mut LeaseEvent) -> Option<&mut u64> {
    match event {
        LeaseEvent::PromoteLeases { now, .. }
        | LeaseEvent::ReceiveKeepAlive { now, .. }
        | LeaseEvent::AnswerTimeToLive { now, .. }
        | LeaseEvent::DecideExpiry { now, .. } => Some(now),
        LeaseEvent::DemoteLeases { .. } | LeaseEvent::AnswerKeepAlive { .. } => None,
    }
}

/// Its clock is further on.
fn later(event: &mut LeaseEvent) {
    if let Some(now) = reading(event) {
        *now += LONG;
    }
}
