//! The seam between consensus and state machine. Consensus decides *that* and *in which order* commands happen; what they are,
//! when two of them commute, and what they do, is behind these traits.
//!
//! A command passes three stages on every replica:
//!
//! 1. [`CommandExecutor::prepare`]: serially, in log order. Whatever must be the same on every replica although commuting
//!    commands finish in different orders (revisions) is decided here.
//! 2. [`CommandExecutor::execute`]: computes a result (ER) from the applied state, and changes nothing. On a leader it may run
//!    before commit: that is CURP's speculative execution.
//! 3. [`CommandExecutor::after_sync`]: once committed; applies the effects and gives the final result (ASR).

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

use crate::{Index, Term};

/// Whether two commands must keep their order.
pub trait ConflictCheck {
    /// True if one of the two may observe or change what the other changes. Symmetric, and a function of the two commands
    /// alone: a witness that lags must judge as one that does not.
    fn conflicts(&self, other: &Self) -> bool;
}

/// What consensus needs to know of a command.
pub trait Command: ConflictCheck + Clone + PartialEq + Debug + Serialize + DeserializeOwned + 'static {
    /// What a client gets.
    type Response: Clone + PartialEq + Debug + Serialize + DeserializeOwned + 'static;

    /// What a client may ask a node to be told of from now on.
    type Watch: Clone + PartialEq + Debug + Serialize + DeserializeOwned + 'static;

    /// What it is told.
    type WatchResponse: Clone + PartialEq + Debug + Serialize + DeserializeOwned + 'static;

    /// About how many bytes it takes in a message; for limits.
    fn bytes(&self) -> usize;

    /// Whether witnesses may record it and a leader answer it before commit. Not if what it observes or changes depends on the state: a
    /// witness that lags could not judge it.
    fn fast_allowed(&self) -> bool {
        true
    }
}

/// The final result of a command.
#[derive(Clone, Debug, PartialEq, Serialize, serde::Deserialize)]
pub struct Synced<R> {
    /// The state machine's revision after it (etcd's `header.revision`).
    pub revision: u64,
    /// The result.
    pub response: R,
}

/// The state machine.
pub trait CommandExecutor<C: Command> {
    /// Called once for every applied command, in log order, when every earlier command has been prepared and every earlier
    /// *conflicting* one has been through [`after_sync`](Self::after_sync). `term` and `index` are its log entry's. Returns the revision
    /// after this command: its own if it writes, else the last one given.
    fn prepare(&mut self, term: Term, index: Index, command: &C) -> u64;

    /// The command's result on the applied state. Called when no earlier conflicting command is outstanding; changes nothing.
    fn execute(&self, command: &C) -> C::Response;

    /// Applies the command at the revision `prepare` gave it. Commuting commands may come in any order.
    fn after_sync(&mut self, term: Term, index: Index, revision: u64, command: &C) -> Synced<C::Response>;

    /// Everything up to this entry is applied now, whatever later ones have been through [`after_sync`](Self::after_sync). Called once for every
    /// entry, in log order; not for those that a snapshot brings.
    fn applied(&mut self, _index: Index) {}

    /// By how much the last [`after_sync`](Self::after_sync) changed the hash of the state. Such changes add up (wrapping), so that
    /// the hash at an applied index is known although commuting commands finish in different orders.
    fn take_delta(&mut self) -> u64;

    /// Everything that commands have done, and `prepare` has given, so far. Called when every command that was prepared has been through
    /// [`after_sync`](Self::after_sync).
    fn snapshot(&self) -> Vec<u8>;

    /// Replaces all of it by what [`snapshot`](Self::snapshot) gave elsewhere.
    ///
    /// # Errors
    /// The bytes are not a snapshot; nothing has changed then.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String>;

    /// The hash of the present state: the sum of all deltas that led to it.
    fn state_sum(&self) -> u64;
}

/// State machines that must know who leads (leases) listen here.
pub trait RoleChange {
    /// This node won the election of `term` and its no-op is applied.
    fn on_leader(&mut self, term: Term);
    /// This node no longer leads.
    fn on_follower(&mut self, term: Term);
}
