//! The protocol over gRPC. Node and client speak in messages; here questions become calls and answers their responses.
//!
//! | file | what it is |
//! | --- | --- |
//! | `../../proto/curp.proto` | the services and their messages |
//! | `convert.rs` | between the protocol's messages and those of the wire |
//! | `service.rs` | incoming calls |
//! | `board.rs` | the cmd board: which open call a message of the node answers |
//! | `calls.rs` | outgoing calls |
//!
//! There is no InstallSnapshot yet: the protocol's messages have no such type.

mod board;
mod calls;
pub mod convert;
mod service;

/// Types, clients and servers generated from `proto/curp.proto`.
#[allow(missing_docs, clippy::all, clippy::disallowed_types, reason = "generated")]
pub mod wire {
    tonic::include_proto!("curp");
}

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

pub use board::Board;
pub use calls::{ClientCalls, PeerCalls};
pub use service::{Inbox, Services};

/// Serves a node's calls at this address until `stop` ends.
///
/// # Errors
/// The address cannot be served.
pub async fn serve(services: Services, at: SocketAddr, stop: impl Future<Output = ()>) -> Result<(), tonic::transport::Error> {
    let services = Arc::new(services);
    tonic::transport::Server::builder()
        .add_service(wire::curp_server::CurpServer::from_arc(services.clone()))
        .add_service(wire::peer_server::PeerServer::from_arc(services))
        .serve_with_shutdown(at, stop)
        .await
}
