//! What consensus drives: the store, and beside it what every node has for itself of leases and watches, each told of a command when it
//! may know of it.
//!
//! Invariant: a leader's [`Expiry`] knows of exactly the grants and revokes of entries up to the applied index, though commuting ones may have
//! run beyond it, and [`Watchers`] have seen all that [`Store::applied_revision`] bounds. So what the leader says of leases agrees with
//! one place in the log: the applied index at which it says it.

use std::collections::BTreeMap;

use curp::{CommandExecutor, Index, Nanos, RoleChange, Synced, Term};
use kv::{Expiry, Lease, LeaseId, Request, Response, Store, Watchers};
use mutants::Mutant;

use crate::Limits;

/// The state machine with its listeners.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) store: Store,
    /// The leader's deadlines.
    pub(crate) expiry: Expiry,
    /// This node's watchers.
    pub(crate) watchers: Watchers,
    /// The clock's reading that came with the input.
    pub(crate) clock: Nanos,
    /// The node's term. What becomes of a command must not depend on it: it is another one on other replicas.
    pub(crate) term: Term,
    /// There may be something new for a watcher to be told.
    pub(crate) news: bool,
    /// Grants and revokes that have run, with their results, by entry: those beyond the applied index.
    ahead: BTreeMap<Index, (Request, Response)>,
}

impl Machine {
    pub(crate) fn new(store: Store, limits: &Limits, clock: Nanos) -> Self {
        let (expiry, watchers) = (Expiry::new(limits.revoke_retry), Watchers::new(limits.watch, &store));
        Machine { store, expiry, watchers, clock, term: 0, news: false, ahead: BTreeMap::new() }
    }

    /// Times and limits, before anything has happened.
    pub(crate) fn set_limits(&mut self, limits: &Limits) {
        (self.expiry, self.watchers) = (Expiry::new(limits.revoke_retry), Watchers::new(limits.watch, &self.store));
    }

    /// The term by which a stamped revoke is judged, of an entry of this term.
    fn judged_in(&self, term: Term) -> Term {
        if mutants::on(Mutant::LeaseStampVsCurrent) { self.term } else { term }
    }

    fn advance_watchers(&mut self) {
        self.watchers.advance(&self.store);
        self.news = true;
    }

    /// The leases at the applied index. A revoke that has run is applied, since it conflicts with everything; a grant may be ahead.
    pub(crate) fn leases(&self) -> impl Iterator<Item = (LeaseId, &Lease)> {
        self.store.leases().iter().filter(|(id, _)| !is_ahead(&self.ahead, *id))
    }
}

fn is_ahead(ahead: &BTreeMap<Index, (Request, Response)>, lease: LeaseId) -> bool {
    ahead.values().any(|(_, response)| matches!(response, Response::LeaseGrant { id, .. } if *id == lease))
}

impl CommandExecutor<Request> for Machine {
    fn prepare(&mut self, term: Term, index: Index, command: &Request) -> u64 {
        self.store.prepare(self.judged_in(term), index, command)
    }

    fn execute(&self, command: &Request) -> Response {
        self.store.execute(command)
    }

    fn after_sync(&mut self, term: Term, index: Index, revision: u64, command: &Request) -> Synced<Response> {
        let synced = self.store.after_sync(self.judged_in(term), index, revision, command);
        if matches!(synced.response, Response::LeaseGrant { .. } | Response::LeaseRevoke) {
            self.ahead.insert(index, (command.clone(), synced.response.clone()));
        }
        self.advance_watchers();
        synced
    }

    fn applied(&mut self, index: Index) {
        while let Some(first) = self.ahead.first_entry().filter(|first| *first.key() <= index) {
            let (command, response) = first.remove();
            self.expiry.applied(&command, &response, self.clock);
        }
    }

    fn take_delta(&mut self) -> u64 {
        self.store.take_delta()
    }

    fn snapshot(&self) -> Vec<u8> {
        self.store.snapshot()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        self.store.restore(snapshot)?;
        self.ahead.clear();
        self.expiry.forget_gone(self.store.leases());
        self.advance_watchers();
        Ok(())
    }

    fn state_sum(&self) -> u64 {
        self.store.state_sum()
    }
}

impl RoleChange for Machine {
    fn on_leader(&mut self, term: Term) {
        let (leases, ahead) = (self.store.leases().iter(), &self.ahead);
        self.expiry.promote(leases.filter(|(id, _)| !is_ahead(ahead, *id)), term, self.clock);
    }

    fn on_follower(&mut self, _term: Term) {
        if !mutants::on(Mutant::LeaseFollowerExpires) {
            self.expiry.demote();
        }
    }
}
