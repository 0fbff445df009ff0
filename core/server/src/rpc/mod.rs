//! The protocol over gRPC. Node and client speak in messages; here questions become calls and answers their responses.
//!
//! | file | what it is |
//! | --- | --- |
//! | `../../proto/curp.proto` | the services and their messages |
//! | `convert/` | between the protocol's messages and those of the wire |
//! | `service.rs` | incoming calls |
//! | `board.rs` | the cmd board: which open call a message of the node answers |
//! | `ways.rs` | where members are reached |
//! | `calls.rs` | outgoing calls |
//! | `etcd.rs` | outgoing calls of a client of etcd's API |

mod board;
mod calls;
pub mod convert;
mod etcd;
mod service;
mod ways;

/// Types, clients and servers generated from `proto/curp.proto`.
#[allow(missing_docs, clippy::all, clippy::disallowed_types, reason = "generated")]
pub mod wire {
    tonic::include_proto!("curp");
}

use std::future::Future;
use std::net::SocketAddr;

use tokio::time::Duration;

use crate::etcd::wire::etcdserverpb as etcd_wire;
use crate::etcd::{EtcdHost, EtcdServices, REQUEST_MAX};

pub use board::Board;
pub use calls::{ClientCalls, PeerCalls};
pub use etcd::{EtcdCalls, keep_alive_name};
pub use service::{Inbox, Services};
pub use tonic::transport::Channel;
pub use ways::Place;

/// What is taken from a node, and by nodes from each other and from native clients: a message of any length. By default no more than 4 MiB
/// would be decoded, and who said more would say it again for ever.
const MESSAGE_MAX: usize = usize::MAX;
/// What is taken from clients of etcd's API: as much as etcd takes, so that a request that is a little too long is refused in words.
const ETCD_MESSAGE_MAX: usize = REQUEST_MAX + 512 * 1024;

/// A connection on which nothing is heard for so long is asked whether anyone is there, …
const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(10);
/// … and ends if there is no answer for so long. A client that lost its power says no farewell, and its watches would stay for ever.
const KEEP_ALIVE_MAX: Duration = Duration::from_secs(10);

fn server() -> tonic::transport::Server {
    let server = tonic::transport::Server::builder();
    server.http2_keepalive_interval(Some(KEEP_ALIVE_AFTER)).http2_keepalive_timeout(Some(KEEP_ALIVE_MAX))
}

fn curp_client(channel: Channel) -> wire::curp_client::CurpClient<Channel> {
    wire::curp_client::CurpClient::new(channel).max_decoding_message_size(MESSAGE_MAX)
}

fn peer_client(channel: Channel) -> wire::peer_client::PeerClient<Channel> {
    wire::peer_client::PeerClient::new(channel).max_decoding_message_size(MESSAGE_MAX)
}

fn kv_client(channel: Channel) -> etcd_wire::kv_client::KvClient<Channel> {
    etcd_wire::kv_client::KvClient::new(channel).max_decoding_message_size(MESSAGE_MAX)
}

fn lease_client(channel: Channel) -> etcd_wire::lease_client::LeaseClient<Channel> {
    etcd_wire::lease_client::LeaseClient::new(channel).max_decoding_message_size(MESSAGE_MAX)
}

fn watch_client(channel: Channel) -> etcd_wire::watch_client::WatchClient<Channel> {
    etcd_wire::watch_client::WatchClient::new(channel).max_decoding_message_size(MESSAGE_MAX)
}

/// A way to a node, made when it is first used.
///
/// # Errors
/// An address that is none.
pub fn connect(address: &str) -> Result<Channel, tonic::transport::Error> {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"))?;
    Ok(endpoint.connect_timeout(calls::CALL_MAX).connect_lazy())
}

/// Serves clients at this address until `stop` ends. Clients and peers have addresses of their own, so that no flood of the former
/// keeps the latter from electing a leader.
///
/// # Errors
/// The address cannot be served.
pub async fn serve_clients(services: Services, at: SocketAddr, stop: impl Future<Output = ()>) -> Result<(), tonic::transport::Error> {
    let service = wire::curp_server::CurpServer::new(services).max_decoding_message_size(MESSAGE_MAX);
    server().add_service(service).serve_with_shutdown(at, stop).await
}

/// Serves clients, etcd's among them, at this address until `stop` ends.
///
/// # Errors
/// The address cannot be served.
pub async fn serve_all_clients<H: EtcdHost>(
    services: Services,
    etcd: EtcdServices<H>,
    at: SocketAddr,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let server = server()
        .add_service(wire::curp_server::CurpServer::new(services).max_decoding_message_size(MESSAGE_MAX))
        .add_service(etcd_wire::kv_server::KvServer::new(etcd.clone()).max_decoding_message_size(ETCD_MESSAGE_MAX))
        .add_service(etcd_wire::watch_server::WatchServer::new(etcd.clone()).max_decoding_message_size(ETCD_MESSAGE_MAX))
        .add_service(etcd_wire::lease_server::LeaseServer::new(etcd.clone()).max_decoding_message_size(ETCD_MESSAGE_MAX))
        .add_service(etcd_wire::cluster_server::ClusterServer::new(etcd.clone()).max_decoding_message_size(ETCD_MESSAGE_MAX))
        .add_service(etcd_wire::maintenance_server::MaintenanceServer::new(etcd).max_decoding_message_size(ETCD_MESSAGE_MAX));
    server.serve_with_shutdown(at, stop).await
}

/// Serves peers at this address until `stop` ends.
///
/// # Errors
/// The address cannot be served.
pub async fn serve_peers(services: Services, at: SocketAddr, stop: impl Future<Output = ()>) -> Result<(), tonic::transport::Error> {
    let service = wire::peer_server::PeerServer::new(services).max_decoding_message_size(MESSAGE_MAX);
    server().add_service(service).serve_with_shutdown(at, stop).await
}
