//! etcd's services of a node of its own cluster, called over madsim's simulated streams by the clients generated from the same messages.
#![cfg(madsim)]

use client::{Client, Gateway, GatewayConfig, gateway_address};
use curp::{
    Address, CallError, ClientAddress, Config, Membership, Message, Nanos, NodeId, Outgoing, Reply, Request as Ask, Synced, TaskId,
};
use kv::Request as Command;
use node::{Node, Write};
use server::etcd::wire::etcdserverpb as w;
use server::etcd::{EtcdFront, EtcdHost, EtcdServices};
use server::rpc::{self, Board, Channel, ClientCalls, EtcdCalls, PeerCalls, Services};
use server::{Clock, CurpNode, Host, Processor, Start, Storage, Transport};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Duration, sleep, timeout};
use tonic::Code;
use tonic::codegen::tokio_stream::Stream;

const MS: Nanos = 1_000_000;
const CLIENTS: u16 = 2379;
const PEERS: u16 = 2380;

fn now() -> Nanos {
    madsim::time::TimeHandle::current().elapsed().as_nanos() as Nanos
}

fn until(due: Nanos) -> Duration {
    Duration::from_nanos(due.saturating_sub(now()).max(1))
}

/// A host whose writes end at once.
struct Bench {
    ends: UnboundedSender<Write>,
    calls: PeerCalls,
}

impl Clock for Bench {
    fn now(&self) -> Nanos {
        now()
    }

    fn until(&self, due: Nanos) -> Duration {
        until(due)
    }
}

impl Storage for Bench {
    fn submit(&self, write: Write) {
        let _ = self.ends.send(write);
    }
}

impl Transport for Bench {
    type Note = ();

    fn note(&self, _: &Node, _: &Outgoing<Command>) {}

    fn send(&self, outgoing: Outgoing<Command>, (): ()) {
        self.calls.send(outgoing.to, outgoing.message);
    }
}

impl Processor for Bench {
    async fn execute(&self, _: TaskId) {}
}

impl Host for Bench {
    fn event(&self, _: node::Event) {}

    fn fatal(&self, reason: String) {
        panic!("{reason}");
    }
}

struct GatewayBench {
    calls: ClientCalls,
    board: Arc<Mutex<PeerCalls>>,
    node: CurpNode<Bench>,
}

impl Clock for GatewayBench {
    fn now(&self) -> Nanos {
        now()
    }

    fn until(&self, due: Nanos) -> Duration {
        until(due)
    }
}

impl EtcdHost for GatewayBench {
    fn send(&self, to: NodeId, message: Message<Command>) {
        self.calls.send(to, message);
    }

    fn answer(&self, to: ClientAddress, reply: Reply<Command>) {
        self.board.lock().unwrap().send(Address::Client(to), Message::Reply(reply));
    }

    fn look<R>(&self, look: impl FnOnce(&Node) -> R) -> R {
        self.node.inspect(look)
    }

    fn cluster(&self) -> u64 {
        77
    }
}

fn address(id: NodeId, port: u16) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::new(10, 0, 0, id as u8).into(), port)
}

/// A node of a cluster of so many, which serves until its process is killed.
async fn serve(id: NodeId, nodes: NodeId) {
    let (inbox, arrivals) = unbounded_channel();
    let (ends, mut writes) = unbounded_channel::<Write>();
    let board = Arc::<Board>::default();
    let all = |port| (1..=nodes).map(|id| (id, address(id, port).to_string())).collect::<BTreeMap<_, _>>();
    let calls = || PeerCalls::new(id, &all(PEERS), inbox.clone(), board.clone()).expect("addresses");
    let config = Config { election_timeout: (50 * MS, 100 * MS), heartbeat_interval: 20 * MS, ..Config::default() };
    let membership = Membership::initial(1..=nodes);
    let start = Start {
        id,
        config,
        membership: membership.clone(),
        files: BTreeMap::new(),
        state: None,
        first: true,
        entropy: 6 + u64::from(id),
        limits: node::Limits::default(),
    };
    let (node, _) = CurpNode::start(Arc::new(Bench { ends, calls: calls() }), start).expect("an empty directory is not damaged");
    let disk = node.clone();
    tokio::spawn(async move {
        while let Some(write) = writes.recv().await {
            disk.disk_done(write.token, write.sync);
        }
    });
    let (replies, mut replied) = unbounded_channel();
    let to_nodes = ClientCalls::of_gateway(id, &all(CLIENTS), replies).expect("addresses");
    let retries = client::Config { retry_after_min: 50 * MS, retry_after_max: 500 * MS };
    let client = Client::new(gateway_address(id), 1, retries, membership, 9);
    let gateway = Gateway::new(id, client, GatewayConfig { patience: 3_000 * MS, calls_max: 64 }, 9);
    let host = GatewayBench { calls: to_nodes, board: Arc::new(Mutex::new(calls())), node: node.clone() };
    let front = EtcdFront::start(Arc::new(host), gateway);
    let receiver = front.clone();
    tokio::spawn(async move {
        while let Some(client::Input::Message { from, reply }) = replied.recv().await {
            receiver.receive(from, reply);
        }
    });
    let services = Services::new(inbox.clone(), board.clone());
    tokio::spawn(rpc::serve_peers(services.clone(), address(id, PEERS), std::future::pending()));
    tokio::spawn(rpc::serve_all_clients(services, EtcdServices::new(front.clone()), address(id, CLIENTS), std::future::pending()));
    node.serve_beside(arrivals, |arrival| front.take(arrival)).await;
}

/// A test, with a way to the services of the only node.
fn simulate<F: Future<Output = ()> + Send + 'static>(test: impl FnOnce(Channel) -> F + Send + 'static) {
    simulate_of(1, |ways| test(ways[0].1.clone()));
}

/// A node's process, and the way to its services.
type Way = (madsim::task::NodeId, Channel);

/// A test, with the nodes of a cluster of so many, from node 1 on.
fn simulate_of<F: Future<Output = ()> + Send + 'static>(nodes: NodeId, test: impl FnOnce(Vec<Way>) -> F + Send + 'static) {
    let run = move || {
        madsim::runtime::Runtime::with_seed_and_config(1, madsim::Config::default()).block_on(async {
            let handle = madsim::runtime::Handle::current();
            let start = |id| {
                let process = handle.create_node().ip(address(id, CLIENTS).ip()).init(move || serve(id, nodes)).build();
                (process.id(), rpc::connect(&address(id, CLIENTS).to_string()).expect("an address"))
            };
            let ways = (1..=nodes).map(start).collect();
            let client = handle.create_node().ip(Ipv4Addr::new(10, 0, 1, 1).into()).build();
            client.spawn(async { timeout(Duration::from_secs(60), test(ways)).await }).await.expect("no panic").expect("in time");
        });
    };
    std::thread::spawn(run).join().expect("the test holds");
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

fn get(key: &str) -> w::RangeRequest {
    w::RangeRequest { key: key.into(), ..Default::default() }
}

fn create(key: &str, start_revision: i64) -> w::WatchRequest {
    let create = w::WatchCreateRequest { key: key.into(), start_revision, ..Default::default() };
    w::WatchRequest { request_union: Some(w::watch_request::RequestUnion::CreateRequest(create)) }
}

#[test]
fn keys_have_headers_and_errors_have_their_words() {
    simulate(|channel| async move {
        let mut kv = w::kv_client::KvClient::new(channel.clone());
        let done = kv.put(put("a", "1")).await.expect("it is taken").into_inner();
        let header = done.header.expect("a synced answer has one");
        assert_eq!((header.cluster_id, header.member_id, header.revision, header.raft_term), (77, 1, 2, 1));
        let got = kv.range(get("a")).await.expect("it is read").into_inner();
        assert_eq!((got.count, got.kvs[0].value.as_slice(), got.kvs[0].mod_revision), (1, b"1".as_slice(), 2));
        let refused = kv.put(put("", "1")).await.expect_err("no key");
        assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, "etcdserver: key is not provided"));
        let refused = kv.put(w::PutRequest { lease: 5, ..put("a", "2") }).await.expect_err("no such lease");
        assert_eq!((refused.code(), refused.message()), (Code::NotFound, "etcdserver: requested lease not found"));
        let refused = kv.range(w::RangeRequest { sort_order: 9, ..get("a") }).await.expect_err("no such order");
        assert_eq!(refused.code(), Code::InvalidArgument);
        kv.compact(w::CompactionRequest { revision: 2, physical: true }).await.expect("it is there");
        let refused = kv.range(w::RangeRequest { revision: 1, ..get("a") }).await.expect_err("it is gone");
        assert_eq!(refused.code(), Code::OutOfRange);
    });
}

#[test]
fn a_request_that_is_too_large_is_refused_as_etcd_does() {
    simulate(|channel| async move {
        let mut kv = w::kv_client::KvClient::new(channel);
        let of_size = |bytes: usize| w::PutRequest { value: vec![7; bytes], ..put("a", "") };
        kv.put(of_size((3 << 19) - 100)).await.expect("it is taken");
        let refused = kv.put(of_size(3 << 19)).await.expect_err("it is too large");
        assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, "etcdserver: request is too large"));
        assert_eq!(kv.range(get("a")).await.expect("it is read").into_inner().kvs[0].value.len(), (3 << 19) - 100);
    });
}

#[test]
fn many_calls_at_once_are_all_answered() {
    simulate(|channel| async move {
        let mut tasks = Vec::new();
        for i in 0..40 {
            let mut kv = w::kv_client::KvClient::new(channel.clone());
            tasks.push(tokio::spawn(async move {
                kv.put(put(&format!("k{i}"), "1")).await.expect("it is taken");
                kv.range(get(&format!("k{i}"))).await.expect("it is read").into_inner().count
            }));
        }
        for task in tasks {
            assert_eq!(task.await.expect("no panic"), 1);
        }
    });
}

#[test]
fn members_and_status() {
    simulate(|channel| async move {
        let mut cluster = w::cluster_client::ClusterClient::new(channel.clone());
        let listed = cluster.member_list(w::MemberListRequest { linearizable: true }).await.expect("it is known").into_inner();
        assert_eq!(listed.members.iter().map(|m| (m.id, m.name.as_str(), m.is_learner)).collect::<Vec<_>>(), [(1, "node-1", false)]);
        let add = w::MemberAddRequest { peer_urls: vec!["http://10.0.0.2:2380".to_owned()], is_learner: true };
        let added = cluster.member_add(add.clone()).await.expect("it joins").into_inner().member.expect("it has a name");
        assert_eq!((added.peer_urls, added.is_learner), (add.peer_urls.clone(), true));
        assert!(added.id > 1 && added.id < 1 << 31, "{}", added.id);
        let refused = cluster.member_add(w::MemberAddRequest { is_learner: false, ..add.clone() }).await.expect_err("not at once");
        assert_eq!(refused.code(), Code::FailedPrecondition);
        let left = cluster.member_remove(w::MemberRemoveRequest { id: added.id }).await.expect("it leaves").into_inner();
        assert_eq!(left.members.len(), 1);
        let again = cluster.member_add(add).await.expect("it joins").into_inner().member.expect("it has a name");
        assert_ne!(again.id, added.id, "the name of one who has left");
        cluster.member_remove(w::MemberRemoveRequest { id: again.id }).await.expect("it leaves");
        let refused = cluster.member_remove(w::MemberRemoveRequest { id: 9 }).await.expect_err("nobody");
        assert_eq!((refused.code(), refused.message()), (Code::NotFound, "etcdserver: member not found"));
        let mut maintenance = w::maintenance_client::MaintenanceClient::new(channel);
        let status = maintenance.status(w::StatusRequest {}).await.expect("it is known").into_inner();
        assert_eq!((status.leader, status.raft_term, status.is_learner), (1, 1, false));
        let hash = |revision| w::HashKvRequest { revision };
        assert_eq!(maintenance.hash_kv(hash(1)).await.expect("it is there").into_inner().hash_revision, 1);
        assert_eq!(maintenance.hash_kv(hash(9)).await.expect_err("it is not").code(), Code::OutOfRange);
        assert_eq!(maintenance.defragment(w::DefragmentRequest {}).await.expect_err("no").code(), Code::Unimplemented);
    });
}

/// The leader may serve the read that comes before, but what is answered is what this node knows.
#[test]
fn a_linearizable_list_of_members_has_what_was_changed_before() {
    simulate_of(3, |ways| async move {
        let list = |node: usize, linearizable| {
            let mut cluster = w::cluster_client::ClusterClient::new(ways[node].1.clone());
            async move {
                let listed = cluster.member_list(w::MemberListRequest { linearizable }).await.expect("it is known").into_inner();
                listed.members.len()
            }
        };
        assert_eq!(list(0, true).await, 3, "there is a leader");
        let status = w::maintenance_client::MaintenanceClient::new(ways[0].1.clone()).status(w::StatusRequest {}).await;
        let leader = status.expect("it is known").into_inner().leader as usize - 1;
        let (other, net) = ((leader + 1) % 3, madsim::net::NetSim::current());
        let between = [(ways[leader].0, ways[other].0), (ways[other].0, ways[leader].0)];
        between.iter().for_each(|(from, to)| net.clog_link(*from, *to));
        let add = w::MemberAddRequest { peer_urls: vec!["http://10.0.0.9:2380".to_owned()], is_learner: true };
        w::cluster_client::ClusterClient::new(ways[leader].1.clone()).member_add(add).await.expect("it joins");
        assert_eq!(list(other, false).await, 3, "it has not heard of it");
        let listed = tokio::spawn(list(other, true));
        sleep(Duration::from_millis(1_500)).await;
        between.iter().for_each(|(from, to)| net.unclog_link(*from, *to));
        assert_eq!(listed.await.expect("no panic"), 4);
    });
}

#[test]
fn who_cannot_be_promoted_is_refused_at_once() {
    simulate(|channel| async move {
        let mut kv = w::kv_client::KvClient::new(channel.clone());
        let mut cluster = w::cluster_client::ClusterClient::new(channel);
        let refused = cluster.member_promote(w::MemberPromoteRequest { id: 1 }).await.expect_err("it votes");
        assert_eq!((refused.code(), refused.message()), (Code::FailedPrecondition, "etcdserver: can only promote a learner member"));
        let refused = cluster.member_promote(w::MemberPromoteRequest { id: 9 }).await.expect_err("nobody");
        assert_eq!(refused.code(), Code::NotFound);
        // More than would be made up for by one message.
        for _ in 0..Config::default().append_entries_max + 10 {
            kv.put(put("a", "1")).await.expect("it is taken");
        }
        let add = w::MemberAddRequest { peer_urls: vec!["http://10.0.0.2:2380".to_owned()], is_learner: true };
        let added = cluster.member_add(add).await.expect("it joins").into_inner().member.expect("it has a name");
        let (begun, lags) = (now(), "etcdserver: can only promote a learner member which is in sync with leader");
        let refused = cluster.member_promote(w::MemberPromoteRequest { id: added.id }).await.expect_err("it lags");
        assert_eq!((refused.code(), refused.message()), (Code::FailedPrecondition, lags));
        assert!(now() - begun < 1_000 * MS, "it is waited for");
    });
}

#[test]
fn two_that_join_at_once_have_different_names() {
    simulate(|channel| async move {
        let add = |host: &str| {
            let (mut cluster, url) = (w::cluster_client::ClusterClient::new(channel.clone()), format!("http://{host}:2380"));
            tokio::spawn(async move {
                let add = w::MemberAddRequest { peer_urls: vec![url.clone()], is_learner: true };
                let added = cluster.member_add(add).await.expect("it joins").into_inner().member.expect("it has a name");
                assert_eq!(added.peer_urls, std::slice::from_ref(&url));
                (added.id, url)
            })
        };
        let [one, other] = [add("10.0.0.2"), add("10.0.0.3")];
        let (one, other) = (one.await.expect("no panic"), other.await.expect("no panic"));
        let mut cluster = w::cluster_client::ClusterClient::new(channel.clone());
        let listed = cluster.member_list(w::MemberListRequest { linearizable: true }).await.expect("it is known").into_inner();
        let mut learners: Vec<_> = listed.members.into_iter().filter(|m| m.is_learner).map(|m| (m.id, m.peer_urls[0].clone())).collect();
        learners.sort_by_key(|(_, url)| url.clone());
        assert_eq!(learners, [one, other]);
    });
}

/// clientv3's `WithRequireLeader`: who asks a node that is cut off is told so, and can go elsewhere.
#[test]
fn who_requires_a_leader_is_told_when_there_is_none() {
    fn requiring<T>(message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert("hasleader", tonic::metadata::MetadataValue::from_static("true"));
        request
    }
    simulate_of(3, |ways| async move {
        let mut kv = w::kv_client::KvClient::new(ways[0].1.clone());
        kv.put(put("a", "1")).await.expect("there is a leader");
        kv.range(requiring(get("a"))).await.expect("there is a leader");
        let mut watch = w::watch_client::WatchClient::new(ways[0].1.clone());
        let (say, said) = unbounded_channel();
        let (say_other, said_other) = unbounded_channel();
        let mut told = watch.watch(requiring(Said(said))).await.expect("it is served").into_inner();
        let mut told_other = watch.watch(Said(said_other)).await.expect("it is served").into_inner();
        for say in [say, say_other] {
            say.send(create("a", 0)).expect("it listens");
        }
        assert!(told.message().await.expect("it is made").expect("it is made").created);
        assert!(told_other.message().await.expect("it is made").expect("it is made").created);
        let net = madsim::net::NetSim::current();
        let links: Vec<_> = [1, 2].into_iter().flat_map(|other| [(ways[0].0, ways[other].0), (ways[other].0, ways[0].0)]).collect();
        links.iter().for_each(|(from, to)| net.clog_link(*from, *to));
        let ended = timeout(Duration::from_secs(5), told.message()).await.expect("it ends").expect_err("with an error");
        assert_eq!((ended.code(), ended.message()), (Code::Unavailable, "etcdserver: no leader"));
        let words = |status: tonic::Status| status.message().to_owned();
        assert_eq!(kv.range(requiring(get("a"))).await.map_err(words).expect_err("no leader"), "etcdserver: no leader");
        let lease = w::lease_client::LeaseClient::new(ways[0].1.clone()).lease_leases(requiring(w::LeaseLeasesRequest {})).await;
        assert_eq!(lease.map_err(words).expect_err("no leader"), "etcdserver: no leader");
        let again = watch.watch(requiring(Said(unbounded_channel::<w::WatchRequest>().1))).await;
        assert_eq!(again.map(|_| ()).map_err(words), Err("etcdserver: no leader".to_owned()));
        // Who does not require one waits.
        assert!(timeout(Duration::from_secs(1), told_other.message()).await.is_err());
        links.iter().for_each(|(from, to)| net.unclog_link(*from, *to));
        kv.put(put("a", "2")).await.expect("there is a leader again");
        assert_eq!(told_other.message().await.expect("it goes on").expect("it goes on").events.len(), 1);
    });
}

#[test]
fn a_stream_of_watchers_tells_each_its_own_in_order() {
    simulate(|channel| async move {
        let mut kv = w::kv_client::KvClient::new(channel.clone());
        kv.put(put("a", "1")).await.expect("it is taken");
        let (say, said) = unbounded_channel();
        let mut watch = w::watch_client::WatchClient::new(channel);
        let mut told = watch.watch(Said(said)).await.expect("it is served").into_inner();
        say.send(create("a", 2)).expect("it listens");
        say.send(create("b", 0)).expect("it listens");
        let mut events = BTreeMap::<i64, Vec<(i64, Vec<u8>)>>::new();
        let (mut created, mut written) = (Vec::new(), false);
        while events.values().map(Vec::len).sum::<usize>() < 6 {
            let next = told.message().await.expect("it goes on").expect("it goes on");
            if next.created {
                created.push(next.watch_id);
            }
            let pairs = next.events.into_iter().map(|event| event.kv.expect("a pair")).map(|pair| (pair.mod_revision, pair.value));
            events.entry(next.watch_id).or_default().extend(pairs);
            if created.len() == 2 && !std::mem::replace(&mut written, true) {
                for (key, value) in [("a", "2"), ("b", "3"), ("a", "4"), ("b", "5"), ("a", "6")] {
                    kv.put(put(key, value)).await.expect("it is taken");
                }
            }
        }
        assert_eq!(created, [0, 1]);
        let values = |id: i64| events[&id].iter().map(|(revision, value)| (*revision, value[0] - b'0')).collect::<Vec<_>>();
        assert_eq!((values(0), values(1)), (vec![(2, 1), (3, 2), (5, 4), (7, 6)], vec![(4, 3), (6, 5)]));
        // How far all are, when asked; then one is canceled.
        let ask = |request| say.send(w::WatchRequest { request_union: Some(request) }).expect("it listens");
        ask(w::watch_request::RequestUnion::ProgressRequest(w::WatchProgressRequest {}));
        let next = told.message().await.expect("it goes on").expect("it goes on");
        assert_eq!((next.watch_id, next.events.len(), next.header.map(|header| header.revision)), (-1, 0, Some(7)));
        ask(w::watch_request::RequestUnion::CancelRequest(w::WatchCancelRequest { watch_id: 0 }));
        let next = told.message().await.expect("it goes on").expect("it goes on");
        assert_eq!((next.watch_id, next.canceled), (0, true));
        kv.compact(w::CompactionRequest { revision: 7, physical: false }).await.expect("it is there");
        say.send(create("a", 3)).expect("it listens");
        let (first, second) = (told.message().await.expect("made").expect("made"), told.message().await.expect("ended").expect("ended"));
        assert_eq!((first.created, second.canceled, second.compact_revision), (true, true, 7));
    });
}

#[test]
fn a_watch_of_nothing_is_refused_in_one_response() {
    simulate(|channel| async move {
        let mut kv = w::kv_client::KvClient::new(channel.clone());
        kv.put(put("a", "1")).await.expect("it is taken");
        let (say, said) = unbounded_channel();
        let mut told = w::watch_client::WatchClient::new(channel).watch(Said(said)).await.expect("it is served").into_inner();
        let nothing = w::WatchCreateRequest { key: "b".into(), range_end: "a".into(), watch_id: 5, ..Default::default() };
        say.send(w::WatchRequest { request_union: Some(w::watch_request::RequestUnion::CreateRequest(nothing)) }).expect("it listens");
        say.send(create("a", 0)).expect("it listens");
        let next = told.message().await.expect("it goes on").expect("it goes on");
        assert_eq!((next.watch_id, next.created, next.canceled), (-1, true, true));
        assert_eq!((next.cancel_reason.as_str(), next.header.map(|h| h.revision)), ("mvcc: watcher range is empty", Some(2)));
        let next = told.message().await.expect("it goes on").expect("it goes on");
        assert_eq!((next.watch_id, next.created, next.canceled), (0, true, false));
        assert!(timeout(Duration::from_secs(5), told.message()).await.is_err(), "nothing more is said");
        // A client that speaks in messages hears of it as of any other node.
        let mut client = Messages::new();
        let create = kv::WatchCreateRequest { key: "b".into(), range_end: Some("a".into()), ..Default::default() };
        client.say(Ask::Watch { watch: (4, 7), pull: 1, create: Arc::new(create), progress: false });
        let Reply::Watch { watch: (4, 7), pull: 1, response: Some(told) } = client.reply().await else { panic!("it is told") };
        assert_eq!((told.created, told.canceled, told.cancel_reason), (true, true, Some(kv::Error::EmptyWatchRange)));
    });
}

#[test]
fn a_client_that_asks_no_more_is_told_all_the_same() {
    simulate(|channel| async move {
        let mut kv = w::kv_client::KvClient::new(channel.clone());
        let (say, said) = unbounded_channel();
        let mut told = w::watch_client::WatchClient::new(channel).watch(Said(said)).await.expect("it is served").into_inner();
        say.send(create("a", 0)).expect("it listens");
        assert!(told.message().await.expect("made").expect("made").created);
        drop(say);
        for value in ["1", "2"] {
            sleep(Duration::from_secs(1)).await;
            kv.put(put("a", value)).await.expect("it is taken");
            let next = told.message().await.expect("it goes on").expect("it goes on");
            assert_eq!(next.events[0].kv.as_ref().map(|pair| pair.value.as_slice()), Some(value.as_bytes()));
        }
    });
}

#[test]
fn a_stream_that_is_not_read_holds_up_no_other() {
    simulate(|channel| async move {
        let mut kv = w::kv_client::KvClient::new(channel.clone());
        let mut watch = w::watch_client::WatchClient::new(channel);
        let streams = [unbounded_channel(), unbounded_channel()];
        let [(slow, slow_said), (fast, fast_said)] = streams;
        for say in [&slow, &fast] {
            say.send(create("a", 0)).expect("it listens");
        }
        let mut unread = watch.watch(Said(slow_said)).await.expect("it is served").into_inner();
        let mut told = watch.watch(Said(fast_said)).await.expect("it is served").into_inner();
        assert!(told.message().await.expect("made").expect("made").created);
        let writes = 300;
        let mut seen = 0;
        for i in 0..writes {
            kv.put(put("a", &i.to_string())).await.expect("it is taken");
            if i % 10 == 0 {
                while seen < i {
                    seen += told.message().await.expect("it goes on").expect("it goes on").events.len();
                }
            }
        }
        // Whoever begins to read late has all of it.
        let mut late = 0;
        while late < writes {
            late += unread.message().await.expect("it goes on").expect("it goes on").events.len();
        }
        assert_eq!(late, writes);
    });
}

#[test]
fn leases_are_named_kept_alive_and_gone() {
    simulate(|channel| async move {
        let mut kv = w::kv_client::KvClient::new(channel.clone());
        let mut leases = w::lease_client::LeaseClient::new(channel);
        let granted = leases.lease_grant(w::LeaseGrantRequest { ttl: 2, id: 0 }).await.expect("it is taken").into_inner();
        assert!(granted.id != 0 && granted.ttl == 2, "{granted:?}");
        kv.put(w::PutRequest { lease: granted.id, ..put("a", "1") }).await.expect("it is there");
        let (say, said) = unbounded_channel();
        let mut kept = leases.lease_keep_alive(Said(said)).await.expect("it is served").into_inner();
        for _ in 0..5 {
            say.send(w::LeaseKeepAliveRequest { id: granted.id }).expect("it listens");
            assert_eq!(kept.message().await.expect("it goes on").expect("it goes on").ttl, 2);
            sleep(Duration::from_millis(900)).await;
        }
        let ask = w::LeaseTimeToLiveRequest { id: granted.id, keys: true };
        let left = leases.lease_time_to_live(ask).await.expect("it is there").into_inner();
        assert_eq!((left.granted_ttl, left.keys), (2, vec![b"a".to_vec()]));
        let listed = leases.lease_leases(w::LeaseLeasesRequest {}).await.expect("they are known").into_inner();
        assert_eq!(listed.leases.iter().map(|lease| lease.id).collect::<Vec<_>>(), [granted.id]);
        sleep(Duration::from_secs(4)).await;
        assert_eq!(kv.range(get("a")).await.expect("it is read").into_inner().count, 0, "its time is over");
        say.send(w::LeaseKeepAliveRequest { id: granted.id }).expect("it listens");
        assert_eq!(kept.message().await.expect("it goes on").expect("it goes on").ttl, 0, "there is none to keep");
    });
}

/// A client of these services that speaks in messages, and what it is answered.
struct Messages {
    calls: EtcdCalls,
    inbox: UnboundedReceiver<client::Input>,
}

impl Messages {
    fn new() -> Self {
        let (answers, inbox) = unbounded_channel();
        Messages { calls: EtcdCalls::new(4, &[(1, "10.0.0.1:2379".to_owned())].into(), answers).expect("an address"), inbox }
    }

    fn say(&self, request: Ask<Command>) {
        self.calls.send(1, Message::Request(request));
    }

    async fn reply(&mut self) -> Reply<Command> {
        match self.inbox.recv().await.expect("the calls are there") {
            client::Input::Message { from: 1, reply } => reply,
            other => panic!("{other:?}"),
        }
    }

    async fn call(&mut self, nonce: u64, command: Command) -> Result<Synced<kv::Response>, CallError> {
        self.say(Ask::Call { nonce, command: Arc::new(command) });
        match self.reply().await {
            Reply::Answer { nonce: answered, result } if answered == nonce => result,
            other => panic!("{other:?}"),
        }
    }

    async fn pull(&mut self, number: u64, pull: u64, start_revision: u64, progress: bool) -> Option<kv::WatchResponse> {
        let create = Arc::new(kv::WatchCreateRequest { key: "a".into(), start_revision, ..Default::default() });
        self.say(Ask::Watch { watch: (4, number), pull, create, progress });
        match self.reply().await {
            Reply::Watch { watch, pull: answered, response } if (watch, answered) == ((4, number), pull) => response,
            other => panic!("{other:?}"),
        }
    }
}

fn put_command(value: &str) -> Command {
    Command::Put(kv::PutRequest { key: "a".into(), value: value.into(), ..Default::default() })
}

#[test]
fn a_client_that_speaks_in_messages_has_the_same_answers() {
    simulate(|_| async {
        let mut client = Messages::new();
        let put = Ok(Synced { revision: 2, response: kv::Response::Put { prev_kv: None } });
        assert_eq!(client.call(1, put_command("1")).await, put);
        // An error that is the result has a revision; what was never done has none.
        let revoke = Command::LeaseRevoke(kv::LeaseRevokeRequest { id: 9, stamp: None });
        let gone = Ok(Synced { revision: 2, response: kv::Response::Error(kv::Error::LeaseNotFound) });
        assert_eq!(client.call(2, revoke).await, gone);
        let long = Command::LeaseGrant(kv::LeaseGrantRequest { ttl: kv::LEASE_TTL_MAX + 1, id: 0 });
        assert_eq!(client.call(3, long).await, Err(CallError::Invalid(kv::Error::LeaseTtlTooLarge.message().to_owned())));
        let mut leases = Vec::new();
        for nonce in 4..=5 {
            let unnamed = Command::LeaseGrant(kv::LeaseGrantRequest { ttl: 30, id: 0 });
            match client.call(nonce, unnamed).await.expect("it is granted").response {
                kv::Response::LeaseGrant { id, ttl: 30 } => leases.push(id),
                other => panic!("{other:?}"),
            }
        }
        assert!(leases[0] > 0 && leases[0] != leases[1], "{leases:?}");
        let keep = Arc::new(Command::LeaseKeepAlive(kv::LeaseKeepAliveRequest { id: leases[0] }));
        client.say(Ask::Read { read: (4, 1), command: keep });
        let Reply::Read { read: (4, 1), synced, .. } = client.reply().await else { panic!("a keep-alive is a read") };
        assert_eq!(synced.response, kv::Response::LeaseKeepAlive { id: leases[0], ttl: 30 });
    });
}

#[test]
fn a_watcher_is_asked_one_response_at_a_time() {
    simulate(|_| async {
        let mut client = Messages::new();
        for (nonce, value) in [(1, "1"), (2, "2")] {
            client.call(nonce, put_command(value)).await.expect("it is written");
        }
        // It says how far it has been told, not how far the store is: who goes on elsewhere begins after that.
        let begun = client.pull(7, 1, 2, false).await.expect("it is there");
        assert_eq!((begun.created, begun.revision), (true, 1));
        assert_eq!(client.pull(7, 1, 2, false).await.as_ref(), Some(&begun), "asked again, it says the same");
        let told = client.pull(7, 2, 2, false).await.expect("it is there");
        assert_eq!((told.events.len(), told.revision), (2, 3));
        let far = client.pull(7, 3, 2, true).await.expect("it is there");
        assert_eq!((far.events.len(), far.revision), (0, 3));
        assert_eq!(client.pull(8, 2, 2, false).await, None, "nobody knows of that one");
        // Of the future it knows no more than anyone.
        let begun = client.pull(9, 1, 50, false).await.expect("it is there");
        assert_eq!((begun.created, begun.revision), (true, 3));
        let far = client.pull(9, 2, 50, true).await.expect("it is there");
        assert!(far.revision <= 3, "{far:?}");
        client.say(Ask::Unwatch { watch: (4, 7) });
        assert_eq!(client.pull(7, 4, 2, false).await, None);
    });
}
