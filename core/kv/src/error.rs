//! Why a request did nothing: etcd's errors, in its words and with its gRPC codes.
//!
//! An error is definite in one of two ways (PROTOCOL.md, failed or unknown): every node decides it from the request alone
//! ([`Request::check`](crate::Request::check)), or it is the result of applying the command ([`Response::Error`](crate::Response::Error)),
//! the same on every replica. Refusals of a node that may yet change ("not the leader") are not here: they are consensus'.

use serde::{Deserialize, Serialize};
use std::fmt;

/// gRPC's status codes, as far as they occur here, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// The request makes no sense, whatever the state.
    InvalidArgument = 3,
    /// What it names is not there.
    NotFound = 5,
    /// It is there, and must not be.
    FailedPrecondition = 9,
    /// A revision that is gone or has not come; a number too large.
    OutOfRange = 11,
    /// Not now.
    Unavailable = 14,
}

macro_rules! errors {
    ($($(#[doc = $doc:literal])+ $variant:ident = $code:ident, $message:literal;)*) => {
        /// An error of the API.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Error { $($(#[doc = $doc])+ $variant),* }

        impl Error {
            /// Every error.
            pub const ALL: &'static [Error] = &[$(Error::$variant),*];

            /// Its gRPC code.
            pub fn code(self) -> Code { match self { $(Error::$variant => Code::$code),* } }

            /// Its message.
            pub fn message(self) -> &'static str { match self { $(Error::$variant => $message),* } }
        }
    };
}

errors! {
    /// A key is empty.
    EmptyKey = InvalidArgument, "etcdserver: key is not provided";
    /// A put is to keep the value or lease of a key that does not exist.
    KeyNotFound = InvalidArgument, "etcdserver: key not found";
    /// A put brings a value although it is to keep the old one.
    ValueProvided = InvalidArgument, "etcdserver: value is provided";
    /// A put brings a lease although it is to keep the old one.
    LeaseProvided = InvalidArgument, "etcdserver: lease is provided";
    /// A txn has too many compares or requests.
    TooManyOps = InvalidArgument, "etcdserver: too many operations in txn request";
    /// One way through a txn writes a key twice, other than by deleting it again.
    DuplicateKey = InvalidArgument, "etcdserver: duplicate key given in txn request";
    /// A request stands where it cannot: what is no key-value request in a txn, a leader's own answer in a log.
    NotAllowedHere = InvalidArgument, "etcdserver: invalid request";
    /// The revision is compacted, or is to be compacted again.
    Compacted = OutOfRange, "etcdserver: mvcc: required revision has been compacted";
    /// The revision has not been given yet.
    FutureRevision = OutOfRange, "etcdserver: mvcc: required revision is a future revision";
    /// There is no such lease (any more).
    LeaseNotFound = NotFound, "etcdserver: requested lease not found";
    /// There is such a lease already.
    LeaseExists = FailedPrecondition, "etcdserver: lease already exists";
    /// The lease would live too long.
    LeaseTtlTooLarge = OutOfRange, "etcdserver: too large lease TTL";
    /// A leader's revoke got into the log under a later leader, and is void.
    ///
    /// A leader decides and appends in one step, in which its term cannot change, it stamps each attempt with the term of that step, a term's
    /// end forgets what it had decided, and a client's revoke has no stamp: as long as all of this holds nobody ever sees this error. It
    /// is there so that a replica need not trust that it does. What it would do is tested where a command is applied; a replica that compares
    /// the stamp with something else than the entry's term gives it in vain (mutant `lease-stamp-vs-current`).
    LeaderChanged = Unavailable, "etcdserver: leader changed";
    /// The range of a watch holds no key.
    EmptyWatchRange = InvalidArgument, "mvcc: watcher range is empty";
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for Error {}
