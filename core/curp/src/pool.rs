//! The spec pool: a voter's witness (CURP paper §3.2.2, "witness"). It holds the commands this voter promised to remember until
//! they are applied here; any two of them commute.

use std::sync::Arc;

use crate::{Command, Nanos, Proposal, ProposeId};

/// A remembered command.
#[derive(Debug)]
pub struct Held<C: Command> {
    /// The command.
    pub proposal: Arc<Proposal<C>>,
    /// Sequence number of the record that makes it durable.
    pub written: u64,
    /// Since when, on this node's clock.
    pub since: Nanos,
}

/// A voter's spec pool.
#[derive(Debug)]
pub struct SpecPool<C: Command> {
    held: Vec<Held<C>>,
}

impl<C: Command> SpecPool<C> {
    /// The pool found on the disk, durable from sequence number `found` on.
    pub fn recovered(pool: Vec<Arc<Proposal<C>>>, found: u64, now: Nanos) -> Self {
        SpecPool { held: pool.into_iter().map(|proposal| Held { proposal, written: found, since: now }).collect() }
    }

    /// The command with this id, if held.
    pub fn get(&self, id: ProposeId) -> Option<&Held<C>> {
        self.held.iter().find(|h| h.proposal.id == id)
    }

    /// Whether the proposal conflicts with another command in the pool.
    pub fn conflicts(&self, proposal: &Proposal<C>) -> bool {
        self.held.iter().any(|h| h.proposal.id != proposal.id && h.proposal.command.conflicts(&proposal.command))
    }

    /// Adds a command, whose record has sequence number `written`.
    pub fn insert(&mut self, proposal: Arc<Proposal<C>>, written: u64, now: Nanos) {
        debug_assert!(self.get(proposal.id).is_none());
        self.held.push(Held { proposal, written, since: now });
    }

    /// Drops a command; true if it was there.
    pub fn remove(&mut self, id: ProposeId) -> bool {
        let before = self.held.len();
        self.held.retain(|h| h.proposal.id != id);
        self.held.len() < before
    }

    /// The commands, in order of insertion.
    pub fn iter(&self) -> impl Iterator<Item = &Held<C>> {
        self.held.iter()
    }

    /// Their ids, in order of insertion.
    pub fn ids(&self) -> Vec<ProposeId> {
        self.held.iter().map(|h| h.proposal.id).collect()
    }

    /// The commands themselves, as a granted vote carries them.
    pub fn proposals(&self) -> Vec<Arc<Proposal<C>>> {
        self.held.iter().map(|h| h.proposal.clone()).collect()
    }
}
