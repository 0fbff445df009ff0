//! What an operator wants of a cluster that runs: asked by a client of its own, until it is done or definitely refused.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use client::{AdminWish, Config, Input, Notice};
use curp::{AdminDone, AdminRefusal, ConfigChange, Leadership, Membership, Message, Nanos, NodeId, splitmix64};
use kv::Request;
use tokio::sync::mpsc;
use tokio::time::{Duration, timeout};

use super::args::{Members, Wish};
use super::host::entropy;
use crate::rpc::ClientCalls;
use crate::{ClientHost, Clock, CurpClient};

/// An operator waits no longer.
const PATIENCE: Duration = Duration::from_secs(30);
const MS: Nanos = 1_000_000;

/// Says what came of it on stdout.
///
/// # Errors
/// One sentence: why it was not done, or that it is not known.
pub(super) async fn ask(list: &Path, wish: Wish) -> Result<(), String> {
    let members = Members::read(list)?;
    let (inbox, answers) = mpsc::unbounded_channel();
    let (notices, mut told) = mpsc::unbounded_channel();
    let entropy = entropy();
    // Two operators at a time must not be taken for one.
    let address = splitmix64(entropy) as u32;
    let calls = ClientCalls::new(address, &members.clients(), inbox).map_err(|error| format!("a member's address: {error}"))?;
    let config = Config { retry_after_min: 200 * MS, retry_after_max: 1_000 * MS };
    let machine = Arc::new(Machine { begun: Instant::now(), calls, notices });
    let client = CurpClient::start(machine, address, 1, config, Membership::initial(members.ids()), entropy);
    let serve = client.clone();
    tokio::spawn(async move { serve.serve(answers).await });
    let (node, wish) = in_words_of_the_client(&wish);
    client.give(Input::Admin { op: 1, node, wish });
    let told = timeout(PATIENCE, async {
        loop {
            match told.recv().await {
                Some(Notice::Admin { result, .. }) => break Some(result),
                Some(_) => {}
                None => break None,
            }
        }
    });
    match told.await {
        Ok(Some(Ok(done))) => {
            println!("{}", sentence(&done));
            Ok(())
        }
        Ok(Some(Err(why))) => Err(refusal(&why)),
        Ok(None) | Err(_) => Err(format!("no answer within {} s: it may have been done, or be done later", PATIENCE.as_secs())),
    }
}

fn in_words_of_the_client(wish: &Wish) -> (Option<NodeId>, AdminWish) {
    match wish.clone() {
        Wish::AddLearner { node, at } => (None, AdminWish::Change(ConfigChange::AddLearner { node, address: at.to_string() })),
        Wish::Promote { node } => (None, AdminWish::Change(ConfigChange::Promote { node })),
        Wish::Remove { node } => (None, AdminWish::Change(ConfigChange::Remove { node })),
        Wish::Update { node, at } => (None, AdminWish::Change(ConfigChange::Update { node, address: at.to_string() })),
        Wish::MoveLeader { node } => (None, AdminWish::MoveLeader(node)),
        Wish::Snapshot { node } => (node, AdminWish::TakeSnapshot),
        Wish::Shutdown => (None, AdminWish::Shutdown),
    }
}

fn sentence(done: &AdminDone) -> String {
    match done {
        AdminDone::Changed(membership) => format!("done: {}", members(membership)),
        AdminDone::LeaderMoved(Leadership { term, leader: Some(leader) }) => format!("done: node {leader} leads term {term}"),
        AdminDone::LeaderMoved(Leadership { term, leader: None }) => format!("done: term {term} has no leader yet"),
        AdminDone::ShutDown => "done: the cluster stops".to_owned(),
        AdminDone::SnapshotTaken { index } => format!("done: a snapshot of the state at index {index}"),
    }
}

fn refusal(why: &AdminRefusal) -> String {
    match why {
        AdminRefusal::NotLeader(_) => "the node asked does not lead".to_owned(),
        AdminRefusal::NotReady => "the leader is not ready: try again".to_owned(),
        AdminRefusal::Busy => "an earlier change is under way: try again".to_owned(),
        AdminRefusal::Stale(membership) => format!("the configuration is another one: {}", members(membership)),
        AdminRefusal::NotCaughtUp => "the learner's log is too far behind: try again later".to_owned(),
        AdminRefusal::NoSuchMember => "there is no such member, or it is not of the kind that is needed".to_owned(),
        AdminRefusal::IdUsed => "that id is a member's: choose one that was never used".to_owned(),
        AdminRefusal::LastVoter => "nobody would be left to vote".to_owned(),
        AdminRefusal::TransferFailed => "the other voter did not take over in time".to_owned(),
    }
}

fn members(membership: &Membership) -> String {
    let Membership { version, voters, learners, addresses } = membership;
    let list = |ids: &[NodeId]| {
        let place = |id: &NodeId| addresses.get(id).map_or(String::new(), |address| format!(" at {address}"));
        ids.iter().map(|id| format!("{id}{}", place(id))).collect::<Vec<_>>().join(", ")
    };
    let learners = if learners.is_empty() { String::new() } else { format!("; learners {}", list(learners)) };
    format!("voters {}{learners} (configuration {}.{})", list(voters), version.term, version.index)
}

/// What the client stands on.
struct Machine {
    begun: Instant,
    calls: ClientCalls,
    notices: mpsc::UnboundedSender<Notice>,
}

impl Clock for Machine {
    fn now(&self) -> Nanos {
        self.begun.elapsed().as_nanos() as Nanos
    }

    fn until(&self, due: Nanos) -> Duration {
        Duration::from_nanos(due.saturating_sub(self.now())).max(Duration::from_millis(1))
    }
}

impl ClientHost for Machine {
    fn send(&self, to: NodeId, message: Message<Request>) {
        self.calls.send(to, message);
    }

    fn notice(&self, notice: Notice) {
        let _ = self.notices.send(notice);
    }
}
