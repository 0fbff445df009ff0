//! The operations of a plan: requests, what goes on in the background, and recipes of several requests. What they become when their client
//! comes to them is in [`crate::request`].

use kv::{Bytes, CompareResult, SortTarget};
use serde::{Deserialize, Serialize};

/// One operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Op {
    /// Its id, unique in the plan; the value it writes is this number.
    pub id: u64,
    /// The client that runs it.
    pub client: u32,
    /// Not before this moment, and not before the client's operation before it has ended.
    #[serde(default)]
    pub at_us: u64,
    /// What is asked.
    pub action: Action,
}

/// What an operation asks for. Whatever it writes has the operation's id, in decimal, as its value: written values are unique.
///
/// A `lease` is named by the id of the operation that grants it; one that grants none names a lease that there is not. A revision is
/// `at` so many after the last that the client has seen: negative numbers lie in the past.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Writes a key.
    Put {
        /// The key.
        key: Bytes,
        /// The lease to attach it to; 0: none.
        #[serde(default, skip_serializing_if = "plain")]
        lease: u64,
        /// Keep the value: the key must exist.
        #[serde(default, skip_serializing_if = "plain")]
        ignore_value: bool,
        /// Keep the lease: the key must exist.
        #[serde(default, skip_serializing_if = "plain")]
        ignore_lease: bool,
    },
    /// Reads a key.
    Get {
        /// The key.
        key: Bytes,
    },
    /// Reads the keys from `from` up to, not including, `to`.
    Range {
        /// The first key.
        from: Bytes,
        /// The end, exclusive.
        to: Bytes,
    },
    /// Reads with etcd's options.
    Query(Query),
    /// Deletes a key.
    Delete {
        /// The key.
        key: Bytes,
    },
    /// Deletes the keys from `from` up to, not including, `to`.
    DeleteRange {
        /// The first key.
        from: Bytes,
        /// The end, exclusive.
        to: Bytes,
    },
    /// Writes a key if it is as the client last observed it, else reads it.
    Cas {
        /// The key.
        key: Bytes,
        /// What is compared.
        by: CasBy,
    },
    /// If `compare` is as the client last observed it, writes the keys of `put`, deletes those of `delete` and reads those of `get`, else
    /// reads all of them; atomically.
    Txn {
        /// The key compared.
        compare: Bytes,
        /// All keys up to this one are compared, too, with the same.
        #[serde(default, skip_serializing_if = "plain")]
        compare_to: Option<Bytes>,
        /// What of it is compared.
        by: CasBy,
        /// How; equal, if not given.
        #[serde(default, skip_serializing_if = "plain")]
        is: CompareResult,
        /// Keys written.
        #[serde(default)]
        put: Vec<Bytes>,
        /// Keys read.
        #[serde(default)]
        get: Vec<Bytes>,
        /// Keys deleted.
        #[serde(default, skip_serializing_if = "plain")]
        delete: Vec<Bytes>,
        /// The lease that written keys are attached to; 0: none.
        #[serde(default, skip_serializing_if = "plain")]
        lease: u64,
    },
    /// Writes `outer`; then, in a txn within the txn, if `compare` is as the client last observed it, writes `inner`, else deletes it; reads both.
    Nested {
        /// The key compared.
        compare: Bytes,
        /// What of it is compared.
        by: CasBy,
        /// The key written in any case.
        outer: Bytes,
        /// The key that the inner txn writes or deletes.
        inner: Bytes,
    },
    /// Forgets what lies before a revision.
    Compact {
        /// The revision.
        at: i64,
    },
    /// Grants a lease, which is named by this operation's id.
    Grant {
        /// Its time to live, in seconds.
        ttl: i64,
        /// Ask for the name of this lease instead, which may exist already; 0: for its own.
        #[serde(default, skip_serializing_if = "plain")]
        lease: u64,
        /// The caller leaves its name to others: to the native client, by the id that it proposes it under, or to the gateway called.
        #[serde(default, skip_serializing_if = "plain")]
        made: bool,
    },
    /// Ends a lease.
    Revoke {
        /// The lease.
        lease: u64,
    },
    /// Keeps a lease alive, once.
    KeepAlive {
        /// The lease.
        lease: u64,
    },
    /// Asks how long a lease has to live.
    TimeToLive {
        /// The lease.
        lease: u64,
        /// Ask for its keys, too.
        #[serde(default, skip_serializing_if = "plain")]
        keys: bool,
    },
    /// Asks which leases there are.
    Leases {},
    /// Keeps a lease alive for some time, while the client goes on.
    Renew {
        /// The lease.
        lease: u64,
        /// How long.
        for_us: u64,
    },
    /// Watches, while the client goes on.
    Watch(Watch),
    /// Makes a mistake that every node, and the client, refuses.
    Mistake {
        /// Which.
        what: Mistake,
    },
    /// Takes a lock if it is free, holds it for some time, and leaves it.
    Lock {
        /// The lock's key.
        lock: Bytes,
        /// Time to live of its lease, in seconds.
        ttl: i64,
        /// How long it is held, unless its time is over before.
        hold_us: u64,
        /// Whether the lease is kept alive meanwhile.
        #[serde(default)]
        renew: bool,
        /// How it is left.
        leave: Leave,
    },
    /// Registers an instance of a service, keeps it for some time, and leaves it.
    Register {
        /// The service; ends in a slash.
        service: Bytes,
        /// The instance.
        instance: Bytes,
        /// Time to live of its lease, in seconds.
        ttl: i64,
        /// How long it is kept alive.
        for_us: u64,
        /// How it is left.
        leave: Leave,
    },
    /// Lists the instances of a service.
    Discover {
        /// The service.
        service: Bytes,
    },
    /// Grants a token, which delegates a right for as long as its lease lives.
    Authorise {
        /// The token's key.
        token: Bytes,
        /// Time to live of its lease, in seconds.
        ttl: i64,
    },
    /// Writes a key if the token is there.
    Use {
        /// The token's key.
        token: Bytes,
        /// The key.
        key: Bytes,
    },
    /// Withdraws a token.
    Withdraw {
        /// The token's key.
        token: Bytes,
    },
    /// An operation in the words of ZooKeeper.
    Zk(ZkAction),
}

pub(crate) fn plain<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A read with etcd's options.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// The first key.
    pub key: Bytes,
    /// The end, exclusive; without it, the one key.
    #[serde(default, skip_serializing_if = "plain")]
    pub to: Option<Bytes>,
    /// As of which revision; without it, the present.
    #[serde(default, skip_serializing_if = "plain")]
    pub at: Option<i64>,
    /// Any node may answer at once.
    #[serde(default, skip_serializing_if = "plain")]
    pub serializable: bool,
    /// The most pairs; 0: all.
    #[serde(default, skip_serializing_if = "plain")]
    pub limit: u64,
    /// By what they are sorted.
    #[serde(default, skip_serializing_if = "plain")]
    pub sort: SortTarget,
    /// Greatest first.
    #[serde(default, skip_serializing_if = "plain")]
    pub descend: bool,
    /// Without the values.
    #[serde(default, skip_serializing_if = "plain")]
    pub keys_only: bool,
    /// Only how many.
    #[serde(default, skip_serializing_if = "plain")]
    pub count_only: bool,
    /// Only what was last written at this revision or later.
    #[serde(default, skip_serializing_if = "plain")]
    pub written_since: Option<i64>,
    /// Only what was last written at this revision or earlier.
    #[serde(default, skip_serializing_if = "plain")]
    pub written_until: Option<i64>,
    /// Only what was created at this revision or later.
    #[serde(default, skip_serializing_if = "plain")]
    pub created_since: Option<i64>,
    /// Only what was created at this revision or earlier.
    #[serde(default, skip_serializing_if = "plain")]
    pub created_until: Option<i64>,
}

/// A watch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// The first key.
    pub key: Bytes,
    /// The end, exclusive; without it, the one key. One that is not after `key` is refused by the node.
    #[serde(default, skip_serializing_if = "plain")]
    pub to: Option<Bytes>,
    /// From which revision on; without it, the next.
    #[serde(default, skip_serializing_if = "plain")]
    pub at: Option<i64>,
    /// Tell what keys held before.
    #[serde(default, skip_serializing_if = "plain")]
    pub prev_kv: bool,
    /// Do not tell of puts.
    #[serde(default, skip_serializing_if = "plain")]
    pub no_put: bool,
    /// Do not tell of deletes.
    #[serde(default, skip_serializing_if = "plain")]
    pub no_delete: bool,
    /// Tell now and then how far all is told.
    #[serde(default, skip_serializing_if = "plain")]
    pub progress: bool,
    /// The client takes so long over each response: a slow reader. After the heal it is quick.
    #[serde(default, skip_serializing_if = "plain")]
    pub pace_us: u64,
    /// The client asks how far all is told, this often; 0: never.
    #[serde(default, skip_serializing_if = "plain")]
    pub ask_us: u64,
    /// It ends after this time; without it, with the run.
    #[serde(default, skip_serializing_if = "plain")]
    pub for_us: Option<u64>,
}

/// What every node refuses, whatever its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mistake {
    /// A put of the empty key.
    EmptyKey,
    /// A put that brings a value and is to keep the old one.
    ValueProvided,
    /// A put that brings a lease and is to keep the old one.
    LeaseProvided,
    /// A txn of too many requests.
    TooManyOps,
    /// A txn that writes a key twice.
    DuplicateKey,
    /// A txn that grants a lease.
    NotAllowedHere,
    /// A lease that would live for centuries.
    TtlTooLarge,
}

impl Mistake {
    /// Every mistake.
    pub const ALL: &'static [Mistake] = &[
        Mistake::EmptyKey,
        Mistake::ValueProvided,
        Mistake::LeaseProvided,
        Mistake::TooManyOps,
        Mistake::DuplicateKey,
        Mistake::NotAllowedHere,
        Mistake::TtlTooLarge,
    ];
}

/// How one leaves what one has by a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Leave {
    /// The lease is revoked.
    Revoke,
    /// The key is deleted, if it is still one's own.
    Delete,
    /// Nothing is done: the lease expires.
    Expire,
}

/// An operation in the words of ZooKeeper. Paths begin with a slash and end in none. Data is the operation's id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ZkAction {
    /// Makes a node.
    Create {
        /// Its path.
        path: Bytes,
        /// It goes with the client's session.
        #[serde(default, skip_serializing_if = "plain")]
        ephemeral: bool,
        /// A number is added to the path.
        #[serde(default, skip_serializing_if = "plain")]
        sequential: bool,
    },
    /// Sets a node's data.
    SetData {
        /// Its path.
        path: Bytes,
        /// Only if its version is the one that the client last observed.
        #[serde(default, skip_serializing_if = "plain")]
        seen: bool,
    },
    /// Deletes a node.
    Delete {
        /// Its path.
        path: Bytes,
        /// Only if its version is the one that the client last observed.
        #[serde(default, skip_serializing_if = "plain")]
        seen: bool,
    },
    /// Reads a node.
    GetData {
        /// Its path.
        path: Bytes,
    },
    /// Lists a node's children.
    GetChildren {
        /// Its path; `/` is the root.
        path: Bytes,
    },
    /// All of these or none: creates that are not sequential, sets and deletes, of nodes none of which lies below another.
    Multi {
        /// They.
        ops: Vec<ZkAction>,
    },
    /// What follows sees what ended before.
    Sync,
    /// Ends the client's session.
    CloseSession,
}

impl ZkAction {
    /// The node it is about, if one.
    pub fn path(&self) -> Option<&Bytes> {
        match self {
            ZkAction::Create { path, .. }
            | ZkAction::SetData { path, .. }
            | ZkAction::Delete { path, .. }
            | ZkAction::GetData { path }
            | ZkAction::GetChildren { path } => Some(path),
            ZkAction::Multi { .. } | ZkAction::Sync | ZkAction::CloseSession => None,
        }
    }
}

/// What a compare looks at. The constant comes from what the client last observed of the key, at invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CasBy {
    /// Its value; of a key not observed, that its version is 0.
    Value,
    /// The revision that last wrote it; 0 of a key not observed.
    ModRevision,
    /// The number of writes since it was created; 0 of a key not observed.
    Version,
    /// The revision that created it; 0 of a key not observed.
    CreateRevision,
    /// The lease it is attached to; 0 of a key not observed.
    Lease,
}

impl Action {
    /// The kind's name: the one in the plan's text.
    pub fn kind(&self) -> &'static str {
        match self {
            Action::Put { .. } => "put",
            Action::Get { .. } => "get",
            Action::Range { .. } => "range",
            Action::Query(_) => "query",
            Action::Delete { .. } => "delete",
            Action::DeleteRange { .. } => "delete_range",
            Action::Cas { .. } => "cas",
            Action::Txn { .. } => "txn",
            Action::Nested { .. } => "nested",
            Action::Compact { .. } => "compact",
            Action::Grant { .. } => "grant",
            Action::Revoke { .. } => "revoke",
            Action::KeepAlive { .. } => "keep_alive",
            Action::TimeToLive { .. } => "time_to_live",
            Action::Leases {} => "leases",
            Action::Renew { .. } => "renew",
            Action::Watch(_) => "watch",
            Action::Mistake { .. } => "mistake",
            Action::Lock { .. } => "lock",
            Action::Register { .. } => "register",
            Action::Discover { .. } => "discover",
            Action::Authorise { .. } => "authorise",
            Action::Use { .. } => "use",
            Action::Withdraw { .. } => "withdraw",
            Action::Zk(_) => "zk",
        }
    }

    /// Whether it changes nothing, whatever the state.
    pub fn is_read(&self) -> bool {
        matches!(self, Action::Get { .. } | Action::Range { .. } | Action::Query(_) | Action::TimeToLive { .. } | Action::Leases {})
    }

    /// Whether it is made of several requests, one after another.
    pub fn is_recipe(&self) -> bool {
        matches!(
            self,
            Action::Lock { .. }
                | Action::Register { .. }
                | Action::Discover { .. }
                | Action::Authorise { .. }
                | Action::Use { .. }
                | Action::Withdraw { .. }
                | Action::Zk(_)
        )
    }

    /// The name of the lease it is about, to be set or changed.
    pub(crate) fn lease_mut(&mut self) -> Option<&mut u64> {
        match self {
            Action::Put { lease, .. }
            | Action::Txn { lease, .. }
            | Action::Grant { lease, .. }
            | Action::Revoke { lease }
            | Action::KeepAlive { lease }
            | Action::TimeToLive { lease, .. }
            | Action::Renew { lease, .. } => Some(lease),
            _ => None,
        }
    }
}
