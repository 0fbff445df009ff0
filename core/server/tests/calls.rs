//! Calls between nodes, on madsim's simulated streams: where they go, what comes back, and what a node is told of those that fail.
#![cfg(madsim)]

use curp::{Address, Admin, AdminDone, Membership, Message, NodeId, PeerMessage, Reply, Request as Ask, SnapshotMeta};
use kv::Request;
use madsim::runtime::{Handle, Runtime};
use server::Arrival;
use server::rpc::{self, Board, ClientCalls, PeerCalls, Services};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Duration, timeout};

const CLIENTS: u16 = 2379;
const PEERS: u16 = 2380;

fn ip(id: NodeId) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, id as u8).into()
}

fn address(id: NodeId, port: u16) -> String {
    SocketAddr::new(ip(id), port).to_string()
}

fn simulate<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let run = move || Runtime::with_seed_and_config(1, madsim::Config::default()).block_on(test());
    std::thread::spawn(run).join().expect("the test holds");
}

/// Messages as they arrived somewhere.
type Heard = Arc<Mutex<Vec<Message<Request>>>>;

/// A node that answers every question as `answer` says.
fn serve(
    id: NodeId,
    answer: impl Fn(&Message<Request>) -> Option<Message<Request>> + Clone + Send + 'static,
) -> (madsim::task::NodeId, Heard) {
    let heard = Heard::default();
    let node = Handle::current().create_node().ip(ip(id)).build();
    let (messages, served) = (heard.clone(), node.id());
    node.spawn(async move {
        let (inbox, mut arrivals) = unbounded_channel();
        let board = Arc::<Board>::default();
        let services = Services::new(inbox.clone(), board.clone());
        let calls = PeerCalls::new(id, &BTreeMap::new(), inbox, board).expect("no address is none");
        tokio::spawn(rpc::serve_clients(services.clone(), SocketAddr::new(ip(id), CLIENTS), std::future::pending()));
        tokio::spawn(rpc::serve_peers(services, SocketAddr::new(ip(id), PEERS), std::future::pending()));
        while let Some(Arrival::Message { from, message }) = arrivals.recv().await {
            if let Some(answer) = answer(&message) {
                calls.send(from, answer);
            }
            messages.lock().unwrap().push(message);
        }
    });
    (served, heard)
}

fn peer(body: PeerMessage<Request>) -> Message<Request> {
    Message::Peer { term: 3, body }
}

fn piece() -> PeerMessage<Request> {
    let meta = SnapshotMeta { index: 9, term: 2, membership: Membership::initial([1, 2]) };
    PeerMessage::InstallSnapshot { meta, total: 4, checksum: 1, offset: 0, data: Arc::new(vec![1, 2]), chunk_checksum: 2 }
}

async fn next(arrivals: &mut UnboundedReceiver<Arrival>) -> Arrival {
    timeout(Duration::from_secs(3), arrivals.recv()).await.expect("something arrives").expect("the calls hold the sender")
}

async fn answered(arrivals: &mut UnboundedReceiver<Arrival>, by: NodeId) -> Message<Request> {
    match next(arrivals).await {
        Arrival::Message { from: Address::Node(from), message } if from == by => message,
        other => panic!("{other:?}"),
    }
}

fn is_unreachable(arrival: &Arrival, node: NodeId) -> bool {
    matches!(arrival, Arrival::Unreachable(of) if *of == node)
}

#[test]
fn snapshots_and_transfers_arrive_and_failures_are_told() {
    simulate(|| async {
        let (two, heard) = serve(2, |message| match message {
            Message::Peer { body: PeerMessage::InstallSnapshot { offset: 0, .. }, .. } => {
                Some(peer(PeerMessage::SnapshotReceived { index: 9, next: 2 }))
            }
            Message::Peer { body: PeerMessage::InstallSnapshot { .. }, .. } => Some(peer(PeerMessage::Appended { index: 9 })),
            _ => None,
        });
        let one = Handle::current().create_node().ip(ip(1)).build();
        let own = one.id();
        let test = one.spawn(async move {
            let (inbox, mut arrivals) = unbounded_channel();
            // Nobody is at the third address.
            let members = [(2, address(2, PEERS)), (3, address(3, PEERS))].into();
            let calls = PeerCalls::new(1, &members, inbox, Arc::default()).expect("addresses");
            calls.send(Address::Node(2), peer(piece()));
            assert_eq!(answered(&mut arrivals, 2).await, peer(PeerMessage::SnapshotReceived { index: 9, next: 2 }));
            let PeerMessage::InstallSnapshot { meta, total, checksum, data, chunk_checksum, .. } = piece() else {
                unreachable!("it is one")
            };
            let last = PeerMessage::InstallSnapshot { meta, total, checksum, offset: 2, data, chunk_checksum };
            calls.send(Address::Node(2), peer(last));
            assert_eq!(answered(&mut arrivals, 2).await, peer(PeerMessage::Appended { index: 9 }), "the end is answered as an append is");
            calls.send(Address::Node(2), peer(PeerMessage::TimeoutNow));
            calls.send(Address::Node(3), peer(PeerMessage::TimeoutNow));
            calls.send(Address::Node(4), peer(PeerMessage::TimeoutNow));
            // The one without any address is known to be out of reach at once.
            assert!(is_unreachable(&next(&mut arrivals).await, 4));
            assert!(is_unreachable(&next(&mut arrivals).await, 3));
            // A node that was reached and does not answer is not one that was not reached.
            calls.send(Address::Node(2), peer(PeerMessage::Heartbeat { commit: 1, round: 1 }));
            assert!(timeout(Duration::from_millis(900), arrivals.recv()).await.is_err());
            madsim::net::NetSim::current().clog_link(own, two);
            calls.send(Address::Node(2), peer(PeerMessage::TimeoutNow));
            assert!(is_unreachable(&next(&mut arrivals).await, 2));
        });
        test.await.expect("the caller's side holds");
        let heard = heard.lock().unwrap();
        assert_eq!(heard[0], peer(piece()));
        assert_eq!(heard.iter().filter(|m| **m == peer(PeerMessage::TimeoutNow)).count(), 1);
    });
}

#[test]
fn addresses_come_from_the_configuration_too() {
    simulate(|| async {
        let (_, heard) = serve(2, |message| match message {
            Message::Peer { .. } => Some(peer(PeerMessage::HeartbeatReply { round: 1 })),
            _ => None,
        });
        let one = Handle::current().create_node().ip(ip(1)).build();
        let test = one.spawn(async move {
            let (inbox, mut arrivals) = unbounded_channel();
            let calls = PeerCalls::new(1, &[(2, address(9, PEERS))].into(), inbox, Arc::default()).expect("an address");
            let heartbeat = || peer(PeerMessage::Heartbeat { commit: 1, round: 1 });
            let both = format!("{}/{}", address(2, CLIENTS), address(2, PEERS));
            // The member moved; and another one, at the same place, is not in the list at all.
            calls.learn(&[(2, both), (4, address(2, PEERS)), (5, "nonsense".to_owned()), (6, String::new())].into());
            for id in [2, 4] {
                calls.send(Address::Node(id), heartbeat());
                assert_eq!(answered(&mut arrivals, id).await, peer(PeerMessage::HeartbeatReply { round: 1 }));
            }
            // The change was undone: it is where the list says, where nobody is.
            calls.learn(&BTreeMap::new());
            calls.send(Address::Node(2), heartbeat());
            assert!(is_unreachable(&next(&mut arrivals).await, 2));
        });
        test.await.expect("the caller's side holds");
        assert_eq!(heard.lock().unwrap().len(), 2);
    });
}

#[test]
fn clients_learn_where_nodes_are_and_operators_are_answered() {
    simulate(|| async {
        let place = format!("{}/{}", address(2, CLIENTS), address(2, PEERS));
        let cluster = Reply::Cluster {
            leadership: Default::default(),
            membership: Membership { addresses: [(2, place)].into(), ..Membership::initial([1, 2]) },
        };
        let told = cluster.clone();
        let (_, _) = serve(1, move |message| match message {
            Message::Request(Ask::FetchCluster) => Some(Message::Reply(told.clone())),
            _ => None,
        });
        let done = |nonce| Reply::Admin { nonce, result: Ok(AdminDone::SnapshotTaken { index: 5 }) };
        let (_, _) = serve(2, move |message| match message {
            Message::Request(Ask::Admin { nonce, .. }) => Some(Message::Reply(done(*nonce))),
            _ => None,
        });
        let client = Handle::current().create_node().ip(ip(99)).build();
        let test = client.spawn(async move {
            let (inbox, mut inputs) = unbounded_channel();
            let calls = ClientCalls::new(7, &[(1, address(1, CLIENTS))].into(), inbox).expect("an address");
            let mut reply = async || match inputs.recv().await {
                Some(client::Input::Message { reply, .. }) => reply,
                other => panic!("{other:?}"),
            };
            calls.send(1, Message::Request(Ask::FetchCluster));
            assert_eq!(reply().await, cluster);
            for nonce in [3, 4] {
                calls.send(2, Message::Request(Ask::Admin { nonce, wish: Admin::TakeSnapshot }));
                assert_eq!(reply().await, done(nonce));
            }
        });
        test.await.expect("the client's side holds");
    });
}
