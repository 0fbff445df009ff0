//! Operations of several steps, as applications build them on leases and txns, and what they come to. The checks of applications read
//! these; the steps are judged as the operations they are.

use kv::{Bytes, LeaseId};
use serde::{Deserialize, Serialize};

/// What an operation of several steps is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Recipe {
    /// Grants a lease, takes the lock with it if it is free, holds it for a while, keeping the lease alive, and gives it up.
    Lock {
        /// The lock's key.
        lock: Bytes,
    },
    /// Grants a lease and registers an instance of a service with it, keeps it alive for a while, then stops doing so, or deregisters.
    Register {
        /// The service: a prefix of keys, ending in a slash.
        service: Bytes,
        /// The instance: the rest of the key.
        instance: Bytes,
    },
    /// Lists the instances of a service.
    Discover {
        /// The service.
        service: Bytes,
    },
    /// Grants a token: a key with a lease, which delegates a right until the lease ends or is revoked.
    Authorise {
        /// The token's key.
        token: Bytes,
    },
    /// Uses the right: writes, if the token is there at that moment.
    Use {
        /// The token's key.
        token: Bytes,
        /// The key written.
        key: Bytes,
    },
    /// Withdraws the right, by revoking the lease of the token.
    Withdraw {
        /// The token's key.
        token: Bytes,
    },
    /// An operation in the words of ZooKeeper.
    Zk(ZkOp),
}

/// An operation in the words of ZooKeeper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ZkOp {
    /// Makes a node. Its parent must exist, unless that is the root, and be no ephemeral one.
    Create {
        /// The path, absolute; with `sequential` a number is added to it.
        path: Bytes,
        /// Its data.
        data: Bytes,
        /// It goes with the client's session.
        #[serde(default)]
        ephemeral: bool,
        /// Ten decimal digits are added to the path: greater than those of every sequential child its parent had before.
        #[serde(default)]
        sequential: bool,
    },
    /// Sets the data.
    SetData {
        /// The path.
        path: Bytes,
        /// The data.
        data: Bytes,
        /// The version the node must have; `None`: any.
        #[serde(default)]
        version: Option<u64>,
    },
    /// Deletes a node, which must have no children.
    Delete {
        /// The path.
        path: Bytes,
        /// The version the node must have; `None`: any.
        #[serde(default)]
        version: Option<u64>,
    },
    /// Reads the data and the version.
    GetData {
        /// The path.
        path: Bytes,
    },
    /// Lists the children.
    GetChildren {
        /// The path.
        path: Bytes,
    },
    /// All of these or none.
    Multi {
        /// Create, SetData and Delete only.
        ops: Vec<ZkOp>,
    },
    /// What follows sees everything that ended before this began.
    Sync,
    /// Ends the session: its ephemeral nodes go.
    CloseSession,
}

/// What an operation of several steps came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecipeResult {
    /// The lock was held, by this lease.
    Held {
        /// The lease.
        lease: LeaseId,
    },
    /// The lock was another's.
    NotHeld,
    /// The instance was registered, with this lease.
    Registered {
        /// The lease.
        lease: LeaseId,
    },
    /// The instances of the service.
    Instances {
        /// They, in order.
        instances: Vec<Bytes>,
    },
    /// The token is there, with this lease.
    Authorised {
        /// The lease.
        lease: LeaseId,
    },
    /// The token was there, and the write done.
    Allowed,
    /// The token was not there, and nothing written.
    Denied,
    /// The right is withdrawn; or there was none.
    Withdrawn,
    /// What a ZooKeeper operation came to.
    Zk(ZkResult),
}

/// What a ZooKeeper operation came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ZkResult {
    /// The node was made.
    Created {
        /// Its path, with the number.
        path: Bytes,
    },
    /// The data was set.
    Set {
        /// The version after it; the first is 0.
        version: u64,
    },
    /// The node is gone.
    Deleted,
    /// The data.
    Data {
        /// It.
        data: Bytes,
        /// Its version.
        version: u64,
    },
    /// The children.
    Children {
        /// Their names, in order.
        names: Vec<Bytes>,
    },
    /// All were done.
    Multi {
        /// What each came to.
        results: Vec<ZkResult>,
    },
    /// What follows sees what came before.
    Synced,
    /// The session is over.
    Closed,
    /// Nothing was done.
    Refused(ZkError),
}

/// Why a ZooKeeper operation did nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ZkError {
    /// There is no such node, or no parent.
    NoNode,
    /// There is one already.
    NodeExists,
    /// Its version is another.
    BadVersion,
    /// It has children.
    NotEmpty,
    /// Ephemeral nodes have no children.
    NoChildrenForEphemerals,
    /// The session is gone.
    SessionExpired,
}
