//! etcd's own v3 services: the way in for clients that know nothing of sessions and rounds. Any node serves them. A call goes to the
//! node's gateway ([`client::Gateway`]), which is a native client in the node's process, and is answered with the synced result only: a
//! fast one has no revision, and every answer here has.
//!
//! | file | what it is |
//! | --- | --- |
//! | `../../proto/etcd/` | the services and their messages |
//! | `convert/` | between the words of core/kv and those of the wire |
//! | `front.rs` | [`EtcdFront`]: the asynchronous front of a gateway |
//! | `keys.rs` | KV and Lease |
//! | `watch.rs` | Watch |
//! | `cluster.rs` | Cluster and Maintenance |
//!
//! Deliberately not here: authentication, alarms, defragmentation, downgrades; fragments of a watch's response.

mod cluster;
pub mod convert;
mod front;
mod keys;
mod watch;

use std::pin::Pin;
use std::task::{Context, Poll};

use curp::{CallError, Synced};
use tokio::sync::mpsc::Receiver;
use tokio::time::Duration;
use tonic::codegen::tokio_stream::Stream;
use tonic::metadata::MetadataMap;
use tonic::{Response, Status};

pub use front::{CallName, Caller, EtcdFront, EtcdHost, Here, Watching};

/// Types, clients and servers generated from `proto/etcd/`.
pub mod wire {
    #[allow(missing_docs, clippy::all, clippy::disallowed_types, reason = "generated")]
    pub mod mvccpb {
        tonic::include_proto!("mvccpb");
    }
    #[allow(missing_docs, clippy::all, clippy::disallowed_types, reason = "generated")]
    pub mod etcdserverpb {
        tonic::include_proto!("etcdserverpb");
    }
}

use wire::etcdserverpb as w;

type Answered<T> = Result<Response<T>, Status>;

/// The version that these services say they are of: what clients may expect of them.
const VERSION: &str = "3.4.0";

/// The longest request that is taken, in bytes as it comes over the wire: etcd's default.
pub(crate) const REQUEST_MAX: usize = 3 * 512 * 1024;

/// Under this key a call may have a name: the client's address and a number, with a slash between.
const NAME_KEY: &str = "x-call-name";
/// Under this key an error that is a request's result has the revision that stands in every other answer's header.
const REVISION_KEY: &str = "x-revision";

/// Under this key a client says whether it would rather have no answer than one of a node that knows no leader: clientv3's `WithRequireLeader`.
const LEADER_KEY: &str = "hasleader";
/// A stream of such a client ends when no leader has been known at so many looks in a row, as in etcd.
const LEADERLESS_LOOKS: u32 = 3;
/// From one look to the next: the shortest election timeout of a real node.
const LEADER_LOOK_AFTER: Duration = Duration::from_millis(500);

/// Whether a client wants to be told that no leader is known.
fn requires_leader(metadata: &MetadataMap) -> bool {
    metadata.get(LEADER_KEY).is_some_and(|value| value == "true")
}

fn no_leader() -> Status {
    Status::unavailable("etcdserver: no leader")
}

/// The name of a call, if it has one.
fn name_of(metadata: &MetadataMap) -> Option<CallName> {
    let (client, number) = metadata.get(NAME_KEY)?.to_str().ok()?.split_once('/')?;
    Some((client.parse().ok()?, number.parse().ok()?))
}

/// A call by this name.
pub(crate) fn named<T>(name: CallName, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    if let Ok(name) = format!("{}/{}", name.0, name.1).parse() {
        request.metadata_mut().insert(NAME_KEY, name);
    }
    request
}

/// An error that is a request's result as of this revision.
fn result_status(error: kv::Error, revision: u64) -> Status {
    let mut status = convert::status(error);
    status.metadata_mut().insert(REVISION_KEY, revision.into());
    status
}

/// The way back of all that a gateway says instead of an answer; `None`: no gateway said that.
pub(crate) fn status_in(status: &Status) -> Option<Result<Synced<kv::Response>, CallError>> {
    let revision = || status.metadata().get(REVISION_KEY)?.to_str().ok()?.parse().ok();
    match (convert::error_of(status), revision()) {
        (Some(error), Some(revision)) => Some(Ok(Synced { revision, response: kv::Response::Error(error) })),
        (Some(error), None) => Some(Err(CallError::Invalid(error.message().to_owned()))),
        (None, _) => keys::not_done(status).map(Err),
    }
}

/// All of etcd's services of a node.
pub struct EtcdServices<H: EtcdHost> {
    front: EtcdFront<H>,
}

impl<H: EtcdHost> Clone for EtcdServices<H> {
    fn clone(&self) -> Self {
        EtcdServices { front: self.front.clone() }
    }
}

impl<H: EtcdHost> EtcdServices<H> {
    /// Services that give their calls to this gateway.
    pub fn new(front: EtcdFront<H>) -> Self {
        EtcdServices { front }
    }

    /// Refuses what requires a leader while none is known.
    fn refuse_without_leader(&self, metadata: &MetadataMap) -> Result<(), Status> {
        if requires_leader(metadata) && self.front.here().leader.is_none() { Err(no_leader()) } else { Ok(()) }
    }

    /// Ends when no leader has been known for a while; never, if none is `required`.
    async fn leaderless(self, required: bool) {
        if !required {
            return std::future::pending().await;
        }
        let mut looks = 0;
        while looks < LEADERLESS_LOOKS {
            tokio::time::sleep(LEADER_LOOK_AFTER).await;
            looks = if self.front.here().leader.is_none() { looks + 1 } else { 0 };
        }
    }

    /// The header of an answer as of this revision.
    fn header(&self, revision: u64) -> w::ResponseHeader {
        let Here { cluster, id, term, .. } = self.front.here();
        w::ResponseHeader {
            cluster_id: cluster,
            member_id: u64::from(id),
            revision: i64::try_from(revision).unwrap_or(i64::MAX),
            raft_term: term,
        }
    }
}

/// What a call streams back: an end without an error when the sender is gone.
pub struct Streamed<T>(Receiver<Result<T, Status>>);

impl<T> Stream for Streamed<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}
