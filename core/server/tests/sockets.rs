//! Calls over real sockets: what madsim's streams, which hand over values, cannot show.
#![cfg(not(madsim))]

use curp::{Address, Entry, Message, Payload, PeerMessage, Proposal, ProposeId, Reply, Request as Ask, Synced};
use kv::{PutRequest, Request, Response};
use server::Arrival;
use server::rpc::{self, Board, ClientCalls, PeerCalls, Services};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Duration, timeout};

/// An address where nobody serves.
fn free() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there are ports");
    listener.local_addr().expect("it has one")
}

/// A node that answers every question as `answer` says, with where it serves clients and peers.
fn serve(answer: impl Fn(Message<Request>) -> Message<Request> + Send + 'static) -> [SocketAddr; 2] {
    let (inbox, mut arrivals) = unbounded_channel();
    let board = Arc::<Board>::default();
    let services = Services::new(inbox.clone(), board.clone());
    let calls = PeerCalls::new(2, &BTreeMap::new(), inbox, board).expect("no address is none");
    let [clients, peers] = [free(), free()];
    tokio::spawn(rpc::serve_clients(services.clone(), clients, std::future::pending()));
    tokio::spawn(rpc::serve_peers(services, peers, std::future::pending()));
    tokio::spawn(async move {
        while let Some(Arrival::Message { from, message }) = arrivals.recv().await {
            calls.send(from, answer(message));
        }
    });
    [clients, peers]
}

fn large(seq: u64) -> Arc<Proposal<Request>> {
    let put = PutRequest { key: "k".into(), value: vec![seq as u8; 1 << 20].into(), ..PutRequest::default() };
    Arc::new(Proposal { id: ProposeId { client: 7, seq }, first_incomplete: 1, command: Arc::new(Request::Put(put)) })
}

fn peer(body: PeerMessage<Request>) -> Message<Request> {
    Message::Peer { term: 3, body }
}

async fn next<T>(inbox: &mut UnboundedReceiver<T>) -> T {
    timeout(Duration::from_secs(5), inbox.recv()).await.expect("something arrives").expect("the calls hold the sender")
}

/// By tonic's default no message over 4 MiB is decoded: it counts as lost, and is said again for ever.
#[tokio::test]
async fn long_messages_between_nodes_arrive() {
    let pool = || PeerMessage::VoteReply { pool: Some((1..=6).map(large).collect()) };
    let [_, at] = serve(move |message| match message {
        Message::Peer { body: PeerMessage::Append { entries, .. }, .. } => {
            peer(PeerMessage::Appended { index: entries.last().map_or(0, |entry| entry.index) })
        }
        _ => peer(pool()),
    });
    let (inbox, mut arrivals) = unbounded_channel();
    let calls = PeerCalls::new(1, &[(2, at.to_string())].into(), inbox, Arc::default()).expect("an address");
    let mut answered = async |message| {
        // Until it serves, it is out of reach.
        for _ in 0..50 {
            calls.send(Address::Node(2), peer(Clone::clone(&message)));
            match next(&mut arrivals).await {
                Arrival::Message { message, .. } => return message,
                Arrival::Unreachable(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        panic!("no answer to {}", if matches!(message, PeerMessage::Vote { .. }) { "a vote" } else { "an append" });
    };
    assert_eq!(answered(PeerMessage::Vote { last_term: 2, last_index: 4 }).await, peer(pool()));
    let entry = |index| Arc::new(Entry { term: 3, index, payload: Payload::Command(large(index)) });
    let append = PeerMessage::Append { prev_index: 4, prev_term: 2, entries: (5..=10).map(entry).collect(), commit: 4 };
    assert_eq!(answered(append).await, peer(PeerMessage::Appended { index: 10 }));
}

#[tokio::test]
async fn long_results_arrive_at_clients() {
    let id = ProposeId { client: 7, seq: 1 };
    let pair = kv::KeyValue { key: "k".into(), value: vec![7; 5 << 20].into(), ..Default::default() };
    let synced = Reply::Synced { id, synced: Synced { revision: 2, response: Response::Put { prev_kv: Some(pair) } } };
    let told = synced.clone();
    let [at, _] = serve(move |_| Message::Reply(told.clone()));
    let (inbox, mut inputs) = unbounded_channel();
    let calls = ClientCalls::new(7, &[(2, at.to_string())].into(), inbox).expect("an address");
    let mut tries = 0;
    let reply = loop {
        calls.send(2, Message::Request(Ask::Propose { proposal: large(1) }));
        // Until it serves, nothing is heard of it.
        match timeout(Duration::from_millis(500), inputs.recv()).await {
            Ok(Some(client::Input::Message { reply, .. })) => break reply,
            Ok(other) => panic!("{other:?}"),
            Err(_) if tries < 10 => tries += 1,
            Err(_) => panic!("no result"),
        }
    };
    assert!(reply == synced, "another reply");
}
