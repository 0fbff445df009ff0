//! When leases expire: the leader's side, which is volatile and not replicated. Deadlines are readings of the leader's own monotonic
//! clock; a lease goes when a revoke is applied, everywhere at once ([`crate::LeaseCollection`]).
//!
//! The rules (PROTOCOL.md, Leases):
//! - A keep-alive sets the deadline at its receipt, from the clock reading of that very input: between the client's sending and the
//!   deadline there is then at least the full time to live. A reading taken before the receipt would be too early.
//! - It is answered only when a round of leadership begun after the receipt is over, and then only if the term is still that of the receipt and
//!   the lease was not given up meanwhile ([`Expiry::confirm`]).
//! - From the decision to expire on, keep-alives of that lease fail. The decision is tried until the leader's log has the revoke; while it
//!   leads, that entry will be committed, and another could hit a new lease of the same name.
//! - The revoke is stamped with the term of the decision. A new leader gives every lease its full time, as it cannot know what the old one
//!   has promised.
//!
//! Duties of the caller: [`promote`](Expiry::promote) when the no-op of the new term is applied, [`demote`](Expiry::demote) at once when it no
//! longer leads, [`applied`](Expiry::applied) for every command applied, [`tick`](Expiry::tick) at [`next_due`](Expiry::next_due); `now`
//! is always the reading that came with the input, and never goes back.

use std::collections::{BTreeMap, BTreeSet};

use curp::{Nanos, Term};
use mutants::Mutant;

use crate::{Lease, LeaseCollection, LeaseId, LeaseRevokeRequest, LeaseTimeToLiveRequest, Request, Response};

const SECOND: Nanos = 1_000_000_000;

/// The most leases to decide about in one tick: a leader that handles one input for too long is deposed.
pub const EXPIRE_MAX: usize = 256;

/// A keep-alive that came, until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    id: LeaseId,
    term: Term,
    at: Nanos,
}

impl Receipt {
    /// The term in which it came.
    pub fn term(&self) -> Term {
        self.term
    }
}

/// A revoke to propose.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// It, stamped.
    pub revoke: LeaseRevokeRequest,
    /// Decided just now; otherwise it is tried again.
    pub first: bool,
}

/// What the leader knows of a lease.
#[derive(Clone, Copy, Debug)]
struct Deadline {
    /// It expires then.
    at: Nanos,
    /// Its time to live, in seconds.
    ttl: i64,
    /// It has expired, and its revoke is on its way: no keep-alive any more.
    decided: bool,
    /// Where it stands in the queue: at its deadline, or at the next attempt to have it revoked. `None`: in the log.
    queued: Option<Nanos>,
}

/// The deadlines of all leases, and the queue of those that expire.
#[derive(Clone, Debug)]
pub struct Expiry {
    /// The term in which this node leads and has promoted. Otherwise nothing below means anything.
    leading: Option<Term>,
    leases: BTreeMap<LeaseId, Deadline>,
    /// What to look at, and when.
    queue: BTreeSet<(Nanos, LeaseId)>,
    /// Time between two attempts to have a lease revoked.
    retry_after: Nanos,
    /// The reading of the last tick.
    ticked: Nanos,
}

impl Expiry {
    /// Of a node that does not lead.
    pub fn new(retry_after: Nanos) -> Self {
        Expiry { leading: None, leases: BTreeMap::new(), queue: BTreeSet::new(), retry_after, ticked: 0 }
    }

    /// The term in which this node decides about leases, if it does.
    pub fn term(&self) -> Option<Term> {
        self.leading
    }

    /// This node leads from now on, and has applied the no-op of its term: every lease has its full time.
    pub fn promote<'a>(&mut self, leases: impl Iterator<Item = (LeaseId, &'a Lease)>, term: Term, now: Nanos) {
        self.leading = Some(term);
        let old = std::mem::take(&mut self.leases);
        self.queue.clear();
        for (id, lease) in leases {
            let full = after(now, lease.ttl);
            let at = match old.get(&id) {
                Some(old) if mutants::on(Mutant::LeaseNoPromote) => old.at,
                _ => full,
            };
            self.set(id, Deadline { at, ttl: lease.ttl, decided: false, queued: Some(at) });
        }
    }

    /// This node does not lead any more. What it had decided and not yet sent it forgets; what it had sent is void, or in a log.
    pub fn demote(&mut self) {
        self.leading = None;
        self.queue.clear();
    }

    /// A command was applied here, with this result, whoever leads.
    pub fn applied(&mut self, command: &Request, response: &Response, now: Nanos) {
        match (command, response) {
            (Request::LeaseGrant(_), Response::LeaseGrant { id, ttl }) => {
                let at = after(now, *ttl);
                self.set(*id, Deadline { at, ttl: *ttl, decided: false, queued: Some(at) });
            }
            (Request::LeaseRevoke(revoke), Response::LeaseRevoke) => self.remove(revoke.id),
            _ => {}
        }
    }

    /// A snapshot took the place of what was applied: leases that it does not have are gone.
    pub fn forget_gone(&mut self, leases: &LeaseCollection) {
        let gone: Vec<LeaseId> = self.leases.keys().copied().filter(|id| !leases.contains(*id)).collect();
        gone.into_iter().for_each(|id| self.remove(id));
    }

    /// A keep-alive came. Sets the deadline, if the lease may still live; whether it did, [`confirm`](Self::confirm) will tell. `None`: this node
    /// does not lead.
    pub fn receive(&mut self, id: LeaseId, now: Nanos) -> Option<Receipt> {
        let now = if mutants::on(Mutant::LeaseStaleTick) { self.ticked } else { now };
        let receipt = Receipt { id, term: self.leading?, at: now };
        self.extend(receipt);
        Some(receipt)
    }

    /// The answer to a keep-alive, once this node knows that it led after the receipt, and what conflicted with it is applied. `None`: its term
    /// is over, and the client must ask again.
    pub fn confirm(&mut self, receipt: Receipt) -> Option<Response> {
        if self.leading != Some(receipt.term) {
            return None;
        }
        // A lease whose grant was not applied at the receipt has its deadline from the grant: no earlier than this one.
        let ttl = self.extend(receipt).unwrap_or(0);
        Some(Response::LeaseKeepAlive { id: receipt.id, ttl })
    }

    /// Puts the deadline off, never forward. Gives the time to live, `None` if the lease is gone or given up.
    fn extend(&mut self, receipt: Receipt) -> Option<i64> {
        let Deadline { at, ttl, decided, .. } = *self.leases.get(&receipt.id)?;
        if decided && !mutants::on(Mutant::LeaseKeepaliveAfterExpiry) {
            return None;
        }
        let later = after(receipt.at, ttl);
        if later > at && !decided {
            self.set(receipt.id, Deadline { at: later, ttl, decided, queued: Some(later) });
        }
        Some(ttl)
    }

    /// Decides which leases expire, and gives the revokes to propose: new ones, and old ones that are not known to be in the log after a while.
    /// The earliest [`EXPIRE_MAX`] of them, ties by name. The others stay undecided, and may still be kept alive;
    /// [`next_due`](Self::next_due) is past then.
    pub fn tick(&mut self, now: Nanos) -> Vec<Decision> {
        self.ticked = now;
        let mut due = Vec::new();
        let Some(term) = self.leading else { return due };
        while let Some(&(at, id)) = self.queue.first().filter(|(at, _)| *at <= now && due.len() < EXPIRE_MAX) {
            self.queue.remove(&(at, id));
            let Some(lease) = self.leases.get_mut(&id) else { continue };
            let first = !lease.decided;
            lease.decided = true;
            lease.queued = None;
            if !mutants::on(Mutant::LeasePopNoRetry) {
                let again = now.saturating_add(self.retry_after);
                lease.queued = Some(again);
                self.queue.insert((again, id));
            }
            due.push(Decision { revoke: LeaseRevokeRequest { id, stamp: Some(term) }, first });
        }
        due
    }

    /// The revoke of a lease is in this leader's log: as long as it leads there is no need for another.
    pub fn appended(&mut self, id: LeaseId) {
        let Some(lease) = self.leases.get_mut(&id) else { return };
        if lease.decided
            && let Some(at) = lease.queued.take()
        {
            self.queue.remove(&(at, id));
        }
    }

    /// When [`tick`](Self::tick) has something to do, if ever.
    pub fn next_due(&self) -> Option<Nanos> {
        self.queue.first().filter(|_| self.leading.is_some()).map(|(at, _)| *at)
    }

    /// The deadline of a lease that is not given up, if this node leads.
    pub fn deadline(&self, id: LeaseId) -> Option<Nanos> {
        self.leading?;
        self.leases.get(&id).filter(|lease| !lease.decided).map(|lease| lease.at)
    }

    /// Answers how long a lease has still to live; under the same conditions as [`confirm`](Self::confirm). `None`: this node does not lead.
    pub fn time_to_live(&self, leases: &LeaseCollection, request: &LeaseTimeToLiveRequest, now: Nanos) -> Option<Response> {
        self.leading?;
        let id = request.id;
        let found = leases.get(id).zip(self.leases.get(&id));
        Some(match found {
            None => Response::LeaseTimeToLive { id, ttl: -1, granted_ttl: 0, keys: Vec::new() },
            Some((lease, deadline)) => {
                let left = if deadline.decided { 0 } else { deadline.at.saturating_sub(now) / SECOND };
                let keys = if request.keys { lease.keys.iter().cloned().collect() } else { Vec::new() };
                Response::LeaseTimeToLive { id, ttl: i64::try_from(left).unwrap_or(i64::MAX), granted_ttl: lease.ttl, keys }
            }
        })
    }

    fn set(&mut self, id: LeaseId, deadline: Deadline) {
        self.remove(id);
        if let (Some(at), Some(_)) = (deadline.queued, self.leading) {
            self.queue.insert((at, id));
        }
        self.leases.insert(id, deadline);
    }

    fn remove(&mut self, id: LeaseId) {
        if let Some(Deadline { queued: Some(at), .. }) = self.leases.remove(&id) {
            self.queue.remove(&(at, id));
        }
    }
}

/// So many seconds later.
fn after(now: Nanos, ttl: i64) -> Nanos {
    now.saturating_add(u64::try_from(ttl).unwrap_or(0).saturating_mul(SECOND))
}
