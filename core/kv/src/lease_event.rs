//! What a node does about leases, for the trace. That one is granted or revoked is said by the log, in which those commands stand.

use curp::{Nanos, ReadId, Term};
use serde::{Deserialize, Serialize};

use crate::LeaseId;

/// A step of the leader's side of leases. `now` is the reading of the node's own clock that came with the input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event")]
pub enum LeaseEvent {
    /// The node leads and its no-op is applied: every lease has its full time from here on.
    PromoteLeases {
        /// The leader's term.
        term: Term,
        /// Its clock.
        now: Nanos,
    },
    /// It leads no more, and says nothing of leases from here on.
    DemoteLeases {
        /// The term in which it led.
        term: Term,
    },
    /// A keep-alive came, and put the deadline off unless the lease is not there or is given up.
    ReceiveKeepAlive {
        /// The leader's term.
        term: Term,
        /// The lease.
        lease: LeaseId,
        /// The request.
        read: ReadId,
        /// The leader's clock.
        now: Nanos,
        /// The deadline on that clock after it; `None`: no such lease, or given up.
        deadline: Option<Nanos>,
    },
    /// It is answered: the node led after it came, and leads in the same term still.
    AnswerKeepAlive {
        /// The leader's term.
        term: Term,
        /// The lease.
        lease: LeaseId,
        /// The request.
        read: ReadId,
        /// The time the lease has, in seconds; 0 if it is not there, or given up.
        ttl: i64,
    },
    /// A question for the time to live is answered.
    AnswerTimeToLive {
        /// The leader's term.
        term: Term,
        /// The lease.
        lease: LeaseId,
        /// The request.
        read: ReadId,
        /// The leader's clock.
        now: Nanos,
        /// Whole seconds left; −1 if there is no such lease.
        ttl: i64,
    },
    /// The leader decides that a lease has expired: from here on it keeps it alive no more. The first time it is decided in a term; the revoke
    /// is then proposed until it is in the log.
    DecideExpiry {
        /// The leader's term, which stamps the revoke.
        term: Term,
        /// The lease.
        lease: LeaseId,
        /// The leader's clock.
        now: Nanos,
    },
}
