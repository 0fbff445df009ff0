//! The shell around one node, on the madsim runtime: what leaves, when, and what does not.
#![cfg(madsim)]

use curp::{Address, Config, Membership, Message, Nanos, NodeId, Outgoing, Reply, Request as Ask, RoleKind, StateChange, TaskId};
use kv::Request;
use node::{Node, Write};
use server::{Arrival, Clock, CurpNode, Host, Processor, Start, Storage, Transport, sleep};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Duration, Instant};

const MS: Nanos = 1_000_000;

/// A host whose writes end when the test says so.
#[derive(Default)]
struct Bench {
    writes: Mutex<Vec<Write>>,
    sent: Mutex<Vec<(Instant, Outgoing<Request>)>>,
    fatal: Mutex<Vec<String>>,
    held: Mutex<u64>,
    learned: Mutex<Vec<BTreeMap<NodeId, String>>>,
    shut_down: Mutex<u32>,
}

fn now() -> Nanos {
    madsim::time::TimeHandle::current().elapsed().as_nanos() as Nanos
}

impl Clock for Bench {
    fn now(&self) -> Nanos {
        now()
    }

    fn until(&self, due: Nanos) -> Duration {
        Duration::from_nanos(due.saturating_sub(now()).max(1))
    }
}

impl Storage for Bench {
    fn submit(&self, write: Write) {
        self.writes.lock().unwrap().push(write);
    }
}

impl Transport for Bench {
    type Note = ();

    fn note(&self, _: &Node, _: &Outgoing<Request>) {}

    fn held(&self) {
        *self.held.lock().unwrap() += 1;
    }

    fn send(&self, outgoing: Outgoing<Request>, (): ()) {
        self.sent.lock().unwrap().push((Instant::now(), outgoing));
    }

    fn learn(&self, addresses: &BTreeMap<NodeId, String>) {
        self.learned.lock().unwrap().push(addresses.clone());
    }
}

impl Processor for Bench {
    async fn execute(&self, _: TaskId) {
        sleep(Duration::from_micros(10)).await;
    }
}

impl Host for Bench {
    fn event(&self, _: node::Event) {}

    fn fatal(&self, reason: String) {
        self.fatal.lock().unwrap().push(reason);
    }

    fn shut_down(&self) {
        *self.shut_down.lock().unwrap() += 1;
    }
}

impl Bench {
    /// Ends every write handed in so far.
    fn end_writes(&self, node: &CurpNode<Bench>) -> usize {
        let writes = std::mem::take(&mut *self.writes.lock().unwrap());
        writes.iter().for_each(|write| node.disk_done(write.token, write.sync));
        writes.len()
    }

    fn replies(&self) -> Vec<Reply<Request>> {
        let sent = self.sent.lock().unwrap();
        let reply = |(_, outgoing): &(Instant, Outgoing<Request>)| match &outgoing.message {
            Message::Reply(reply) => Some(reply.clone()),
            _ => None,
        };
        sent.iter().filter_map(reply).collect()
    }
}

fn start(bench: &Arc<Bench>) -> CurpNode<Bench> {
    let config = curp::Config {
        election_timeout: (50 * MS, 100 * MS),
        heartbeat_interval: 20 * MS,
        hand_over_after: 500 * MS,
        append_entries_max: 16,
        ..Config::default()
    };
    let membership = Membership::initial([1]);
    let start =
        Start { id: 1, config, membership, files: BTreeMap::new(), state: None, first: true, entropy: 7, limits: node::Limits::default() };
    CurpNode::start(bench.clone(), start).expect("an empty directory is not damaged").0
}

fn simulate<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let run = move || {
        let runtime = madsim::runtime::Runtime::with_seed_and_config(1, madsim::Config::default());
        runtime.block_on(test());
    };
    std::thread::spawn(run).join().unwrap();
}

/// Lets everything that is ready run.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

fn ask(node: &CurpNode<Bench>, request: Ask<Request>) {
    node.receive(Address::Client(3), Message::Request(request));
}

#[test]
fn an_answer_waits_for_the_write_it_depends_on() {
    simulate(|| async {
        let bench = Arc::<Bench>::default();
        let node = start(&bench);
        for _ in 0..200 {
            settle().await;
            bench.end_writes(&node);
        }
        assert!(node.inspect(|node| node.raw().is_open()), "a single node elects itself by its own timer");
        ask(&node, Ask::BeginSession { nonce: 5 });
        settle().await;
        assert_eq!(bench.replies(), [], "the session's entry is not durable yet");
        assert_eq!(bench.end_writes(&node), 1);
        settle().await;
        assert!(matches!(bench.replies()[..], [Reply::SessionBegun { nonce: 5, .. }]), "{:?}", bench.replies());
    });
}

#[test]
fn after_a_failed_write_nothing_leaves_whatever_later_writes_come_to() {
    simulate(|| async {
        let bench = Arc::<Bench>::default();
        let node = start(&bench);
        for _ in 0..200 {
            settle().await;
            bench.end_writes(&node);
        }
        ask(&node, Ask::BeginSession { nonce: 5 });
        settle().await;
        let write = bench.writes.lock().unwrap().pop().expect("the entry is written");
        node.disk_failed(write.token);
        node.disk_done(write.token + 1, true);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(bench.replies(), []);
        assert_eq!(bench.fatal.lock().unwrap().len(), 1);
        assert_eq!(bench.end_writes(&node), 0, "a node that has stopped writes nothing");
    });
}

/// A node of its own cluster, in the middle of its life.
async fn leader(bench: &Arc<Bench>) -> CurpNode<Bench> {
    let node = start(bench);
    for _ in 0..200 {
        settle().await;
        bench.end_writes(&node);
    }
    assert!(node.inspect(|node| node.raw().is_open()));
    node
}

#[test]
fn changes_are_told_to_whoever_subscribes() {
    simulate(|| async {
        let bench = Arc::<Bench>::default();
        let node = start(&bench);
        let mut early = node.subscribe();
        drop(node.subscribe());
        for _ in 0..200 {
            settle().await;
            bench.end_writes(&node);
        }
        let mut late = node.subscribe();
        let place = "h:1/h:2".to_owned();
        let change = curp::ConfigChange::AddLearner { node: 2, address: place.clone() };
        ask(&node, Ask::Admin { nonce: 1, wish: curp::Admin::ChangeMembership { base: Default::default(), change } });
        settle().await;
        let told = |changes: &mut UnboundedReceiver<StateChange>| std::iter::from_fn(|| changes.try_recv().ok()).collect::<Vec<_>>();
        let (early, late) = (told(&mut early), told(&mut late));
        let leader = |change: &StateChange| matches!(change, StateChange::Leader(of) if of.leader == Some(1));
        assert_eq!(early[0], StateChange::Role(RoleKind::Follower), "what is so at the start comes first");
        assert!(early.contains(&StateChange::Role(RoleKind::Leader)) && early.iter().any(leader), "{early:?}");
        assert!(late[0] == StateChange::Role(RoleKind::Leader) && leader(&late[1]), "{late:?}");
        let Some(StateChange::Configuration(membership)) = early.last() else { panic!("{early:?}") };
        assert_eq!((&membership.learners[..], late.last()), (&[2][..], early.last()), "in force when it is appended");
        let learned = bench.learned.lock().unwrap();
        assert_eq!(learned[..], [BTreeMap::new(), BTreeMap::from([(2, place)])], "so does the transport");
    });
}

#[test]
fn a_cluster_that_is_shut_down_ends_its_nodes() {
    simulate(|| async {
        let bench = Arc::<Bench>::default();
        let node = leader(&bench).await;
        let (inbox, arrivals) = tokio::sync::mpsc::unbounded_channel();
        let serving = node.clone();
        let served = tokio::spawn(async move { serving.serve(arrivals).await });
        let message = Message::Request(Ask::Admin { nonce: 8, wish: curp::Admin::Shutdown });
        inbox.send(Arrival::Message { from: Address::Client(3), message }).expect("the node serves");
        for _ in 0..200 {
            settle().await;
            bench.end_writes(&node);
        }
        assert_eq!(*bench.shut_down.lock().unwrap(), 1);
        let done = Reply::Admin { nonce: 8, result: Ok(curp::AdminDone::ShutDown) };
        assert_eq!(bench.replies(), [done], "its last words left");
        assert!(served.is_finished() && bench.fatal.lock().unwrap().is_empty());
        let sent = bench.sent.lock().unwrap().len();
        ask(&node, Ask::BeginSession { nonce: 5 });
        sleep(Duration::from_secs(1)).await;
        assert_eq!((bench.end_writes(&node), bench.sent.lock().unwrap().len()), (0, sent), "it does nothing more");
    });
}

#[test]
fn sleep_is_exact_below_a_millisecond() {
    simulate(|| async {
        let begun = Instant::now();
        sleep(Duration::from_micros(10)).await;
        let slept = begun.elapsed();
        assert!(slept >= Duration::from_micros(10) && slept < Duration::from_micros(12), "{slept:?}");
    });
}

#[test]
fn a_node_that_is_stopped_is_silent() {
    simulate(|| async {
        let bench = Arc::<Bench>::default();
        let node = start(&bench);
        node.stop();
        sleep(Duration::from_secs(2)).await;
        assert!(bench.sent.lock().unwrap().is_empty() && !node.inspect(|node| node.raw().is_leader()), "its timer is gone");
    });
}
