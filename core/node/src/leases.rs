//! The leader's side of leases: what only it can answer, from its clock, and what it decides ([`kv::Expiry`] has the rules).
//!
//! A keep-alive, a question for the time to live and one for all leases come as reads, and only a leader that has promoted takes them. Each is received
//! at once, in its own input, with that input's clock reading; is answered when the read index round that began after that is over and its index
//! applied, hence after every conflicting command in the log; and then only if the term is still that of the receipt.
//!
//! A lease that has expired is given up, and its revoke, stamped with the term, proposed until it is in the log.

use std::collections::BTreeSet;
use std::sync::Arc;

use curp::{Address, Message, Nanos, Outgoing, Proposal, ProposeId, ReadId, Term};
use kv::{Decision, LeaseEvent, LeaseId, LeaseRevokeRequest, Request, Response};
use mutants::Mutant;

use crate::{Node, Output};

/// How a request for the leader's leases came.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Receipt {
    /// A keep-alive.
    KeepAlive(kv::Receipt),
    /// A question, in this term.
    Question(Term),
}

impl Receipt {
    pub(crate) fn term(self) -> Term {
        match self {
            Receipt::KeepAlive(receipt) => receipt.term(),
            Receipt::Question(term) => term,
        }
    }
}

impl Node {
    /// Receives a request that is the leader's. `None`: this node does not lead, or has not promoted yet.
    pub(crate) fn receive(&mut self, read: ReadId, command: &Request) -> Option<Receipt> {
        let (expiry, now) = (&mut self.machine.expiry, self.machine.clock);
        let term = expiry.term().filter(|_| self.raw.is_leader())?;
        let Request::LeaseKeepAlive(keep) = command else { return Some(Receipt::Question(term)) };
        let receipt = expiry.receive(keep.id, now)?;
        let deadline = expiry.deadline(keep.id);
        self.lease_events.push(LeaseEvent::ReceiveKeepAlive { term, lease: keep.id, read, now, deadline });
        Some(Receipt::KeepAlive(receipt))
    }

    /// Answers a request of that receipt, whose round is over. `None`: this node does not lead in that term any more.
    pub(crate) fn answer_of_leases(&mut self, read: ReadId, command: &Request, receipt: Receipt) -> Option<Response> {
        let (now, term) = (self.machine.clock, receipt.term());
        let machine = &mut self.machine;
        match (command, receipt) {
            (Request::LeaseKeepAlive(keep), Receipt::KeepAlive(receipt)) => {
                let response = machine.expiry.confirm(receipt)?;
                if let Response::LeaseKeepAlive { ttl, .. } = response {
                    self.lease_events.push(LeaseEvent::AnswerKeepAlive { term, lease: keep.id, read, ttl });
                }
                Some(response)
            }
            _ if machine.expiry.term() != Some(term) => None,
            (Request::LeaseTimeToLive(ask), _) => {
                let mut response = machine.expiry.time_to_live(machine.store.leases(), ask, now)?;
                if let Response::LeaseTimeToLive { ttl, keys, .. } = &mut response {
                    if ask.keys && *ttl >= 0 {
                        *keys = machine.store.attached_at(ask.id, self.raw.applied_revision());
                    }
                    self.lease_events.push(LeaseEvent::AnswerTimeToLive { term, lease: ask.id, read, now, ttl: *ttl });
                }
                Some(response)
            }
            (Request::LeaseLeases, _) => Some(Response::LeaseLeases { leases: machine.leases().map(|(id, _)| id).collect() }),
            _ => None,
        }
    }

    /// The reading that counts for leases: of the clock that runs on through pauses, and that nobody sets.
    pub(crate) fn leases_clock(&self) -> Nanos {
        if mutants::on(Mutant::LeaseWallClock) { self.wall } else { self.clock }
    }

    /// When a lease may have expired, if ever.
    pub(crate) fn leases_due(&self) -> Option<Nanos> {
        let due = self.machine.expiry.next_due().filter(|_| self.stop_after.is_none())?;
        Some(self.clock.saturating_add(due.saturating_sub(self.machine.clock)))
    }

    /// Decides which leases have expired, and has them revoked.
    pub(crate) fn expire(&mut self, now: Nanos, out: &mut Output) {
        let decisions = self.machine.expiry.tick(self.machine.clock);
        if decisions.is_empty() {
            return;
        }
        let replaced = self.being_replaced();
        for Decision { revoke, first } in decisions {
            let (lease, Some(term)) = (revoke.id, revoke.stamp) else { continue };
            if first {
                tracing::info!(lease, term, "a lease has expired");
                out.events.push(crate::Event::Lease(LeaseEvent::DecideExpiry { term, lease, now: self.machine.clock }));
            }
            if mutants::on(Mutant::LeaseFollowerExpires) {
                self.forward(lease, now, out);
            } else if !replaced.contains(&lease) && self.raw.propose_own(Request::LeaseRevoke(revoke), now).is_some() {
                self.machine.expiry.appended(lease);
            }
        }
        self.finish(out);
    }

    /// The names of which a revoke or a grant is in the log and not applied. There may be a new lease then, which a revoke of the old one must
    /// not hit: it is tried again later, should it still be needed.
    fn being_replaced(&self) -> BTreeSet<LeaseId> {
        let named = |command: &Request| match command {
            Request::LeaseRevoke(revoke) => Some(revoke.id),
            Request::LeaseGrant(grant) => Some(grant.id),
            _ => None,
        };
        self.raw.unapplied().filter_map(named).collect()
    }

    /// A known bug (mutant `lease-follower-expires`): whoever thinks that it decides has a lease revoked, unstamped, by who leads now. It takes
    /// more than one place, as nothing is forwarded here otherwise: who was deposed does not demote, sends, and who leads takes it.
    fn forward(&mut self, id: LeaseId, now: Nanos, out: &mut Output) {
        let revoke = Request::LeaseRevoke(LeaseRevokeRequest { id, stamp: None });
        match self.raw.leadership().leader {
            Some(_) if self.raw.is_leader() => drop(self.raw.propose_own(revoke, now).map(|_| self.machine.expiry.appended(id))),
            Some(leader) => {
                let proposal = Proposal { id: ProposeId { client: 0, seq: 0 }, first_incomplete: 0, command: Arc::new(revoke) };
                let message = Message::Request(curp::Request::Propose { proposal: Arc::new(proposal) });
                out.messages.push(Outgoing { to: Address::Node(leader), message, after: 0 });
            }
            None => {}
        }
    }

    /// The other end of [`forward`](Self::forward).
    pub(crate) fn take_forwarded(&mut self, request: curp::Request<Request>, now: Nanos) {
        if let curp::Request::Propose { proposal } = request {
            let _ = self.raw.propose_own((*proposal.command).clone(), now);
        }
    }

    /// Hands on the events of consensus, with the changes of the leader's leases that go with them.
    pub(crate) fn tell(&mut self, events: impl Iterator<Item = curp::Event<Request>>, out: &mut Output) {
        for event in events {
            let opened = if let curp::Event::OpenFastPath { term } = &event { Some(*term) } else { None };
            let over = matches!(event, curp::Event::UpdateTerm { .. } | curp::Event::StepDown { .. });
            out.events.push(crate::Event::Curp(event));
            if let Some(term) = self.promoted.take_if(|_| over) {
                out.events.push(crate::Event::Lease(LeaseEvent::DemoteLeases { term }));
            }
            if let Some(term) = opened {
                self.promoted = Some(term);
                out.events.push(crate::Event::Lease(LeaseEvent::PromoteLeases { term, now: self.machine.clock }));
            }
        }
        out.events.extend(self.lease_events.drain(..).map(crate::Event::Lease));
    }
}
