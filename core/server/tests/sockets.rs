//! Calls over real sockets: what madsim's streams, which hand over values, cannot show.
#![cfg(not(madsim))]

use curp::{Address, Entry, Message, Payload, PeerMessage, Proposal, ProposeId, Reply, Request as Ask, Synced};
use kv::{PutRequest, Request, Response};
use server::Arrival;
use server::etcd::wire::etcdserverpb::{self as w, watch_request::RequestUnion};
use server::rpc::{self, Board, Channel, ClientCalls, PeerCalls, Services};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Duration, sleep, timeout};
use tonic::codegen::tokio_stream::Stream;

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
                Arrival::Unreachable(_) => sleep(Duration::from_millis(50)).await,
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

/// A server of its own, which serves until the test's process ends; its directory goes with the test.
struct Server {
    at: SocketAddr,
    dir: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Server {
    async fn start(test: &str) -> (Server, Channel) {
        let (at, peer) = (free(), free());
        let dir = std::env::temp_dir().join(format!("server-sockets-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("it can be made");
        let members = dir.join("members.toml");
        std::fs::write(&members, format!("[[member]]\nid = 1\nclient = '{at}'\npeer = '{peer}'\n")).expect("it can be written");
        let words = ["--members".into(), members, "--data".into(), dir.clone()].map(|word: PathBuf| word.display().to_string());
        std::thread::spawn(move || server::real::main(words));
        let channel = rpc::connect(&at.to_string()).expect("an address");
        // Until it serves and leads.
        let mut kv = w::kv_client::KvClient::new(channel.clone());
        for _ in 0..100 {
            if kv.put(put("begun", "")).await.is_ok() {
                return (Server { at, dir }, channel);
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!("nobody serves at {at}");
    }
}

/// What a test says on a stream.
struct Said<T>(UnboundedReceiver<T>);

impl<T> Stream for Said<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.poll_recv(context)
    }
}

fn put(key: &str, value: &str) -> w::PutRequest {
    w::PutRequest { key: key.into(), value: value.into(), ..Default::default() }
}

fn create(watch_id: i64, key: &str) -> w::WatchRequest {
    let create = w::WatchCreateRequest { key: key.into(), watch_id, ..Default::default() };
    w::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
}

fn cancel(watch_id: i64) -> w::WatchRequest {
    w::WatchRequest { request_union: Some(RequestUnion::CancelRequest(w::WatchCancelRequest { watch_id })) }
}

/// While a stream is not read, responses that its watchers' tasks took wait, and so do requests, which are looked at first.
#[tokio::test]
async fn a_watcher_is_not_told_what_was_meant_for_the_one_before_of_its_name() {
    let (_server, channel) = Server::start("names").await;
    let mut kv = w::kv_client::KvClient::new(channel.clone());
    let (say, said) = unbounded_channel();
    let mut told = w::watch_client::WatchClient::new(channel).watch(Said(said)).await.expect("it is served").into_inner();
    let mut next =
        async || timeout(Duration::from_secs(5), told.message()).await.expect("in time").expect("it goes on").expect("it goes on");
    say.send(create(5, "a")).expect("it listens");
    // More than there is room for on the way.
    let fillers = 100;
    (0..fillers).for_each(|id| say.send(create(100 + id, "full")).expect("it listens"));
    for _ in 0..=fillers {
        assert!(next().await.created);
    }
    kv.put(put("full", &"-".repeat(200_000))).await.expect("it is taken");
    sleep(Duration::from_millis(500)).await;
    kv.put(put("a", "1")).await.expect("it is taken");
    sleep(Duration::from_millis(500)).await;
    for request in [cancel(5), create(5, "b")] {
        say.send(request).expect("it listens");
    }
    sleep(Duration::from_millis(500)).await;
    let (mut made, mut filled) = (1, 0);
    while made < 2 || filled < fillers {
        let next = next().await;
        made += i32::from(next.created);
        filled += i64::from(next.watch_id >= 100);
        assert!(next.watch_id != 5 || next.events.is_empty(), "the watcher of b is told {:?}", next.events);
    }
    kv.put(put("b", "2")).await.expect("it is taken");
    let next = next().await;
    assert_eq!((next.watch_id, next.events[0].kv.as_ref().map(|pair| pair.value.as_slice())), (5, Some(b"2".as_slice())));
}

/// A client that loses its power says nothing, not even that it goes.
#[tokio::test]
async fn a_connection_whose_other_end_is_silent_ends() {
    let (server, _channel) = Server::start("silent").await;
    let mut connection = tokio::net::TcpStream::connect(server.at).await.expect("it serves");
    // The beginning of HTTP/2, with no settings of its own.
    connection.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("it is taken");
    connection.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.expect("it is taken");
    let mut said = Vec::new();
    let ended = timeout(Duration::from_secs(30), connection.read_to_end(&mut said)).await;
    assert!(ended.is_ok(), "it stays for ever");
    // What it was asked is in a frame of 8 bytes, of kind 6.
    assert!(said.windows(4).any(|frame| frame == [0, 0, 8, 6]), "it was not asked: {said:?}");
}
