//! [`CurpClient`], the asynchronous front of a client: a timer and a way in around [`client::Client`], which does the rest.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use client::{AnyClient, Client, Config, EtcdCaller, Input, Notice, Output};
use curp::{ClientAddress, Membership, Message, Nanos, NodeId, ProposeId, Request as Ask};
use kv::Request;
use mutants::Mutant;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::alarm::Alarm;
use crate::host::Clock;

/// What a client stands on. None of the methods may block or call back into the client.
pub trait ClientHost: Clock {
    /// A message leaves. It may be lost; nobody is told.
    fn send(&self, to: NodeId, message: Message<Request>);
    /// The caller should know this.
    fn notice(&self, notice: Notice);
    /// Everything that the client wanted done after an input is handed on.
    fn settled(&self) {}
}

/// A client that runs.
pub struct CurpClient<H: ClientHost> {
    shared: Arc<Shared<H>>,
}

impl<H: ClientHost> Clone for CurpClient<H> {
    fn clone(&self) -> Self {
        CurpClient { shared: self.shared.clone() }
    }
}

struct Shared<H> {
    host: Arc<H>,
    behind: Mutex<Behind>,
    /// Wakes the task that keeps the time.
    alarm: Alarm,
}

struct Behind {
    client: AnyClient,
    out: Output,
    /// What the timer is set for; `None`: nothing.
    armed: Option<Nanos>,
    /// Where each command was sent first: of use to one known bug only.
    first: BTreeMap<ProposeId, NodeId>,
}

impl<H: ClientHost> CurpClient<H> {
    /// Starts a client that is reached at `address`; `life` and `entropy` as for [`Client::new`].
    pub fn start(host: Arc<H>, address: ClientAddress, life: u32, config: Config, membership: Membership, entropy: u64) -> Self {
        let client = AnyClient::Native(Box::new(Client::new(address, life, config, membership, entropy)));
        Self::start_any(host, client)
    }

    /// The same with a client of etcd's API.
    pub fn start_etcd(host: Arc<H>, address: ClientAddress, life: u32, config: Config, membership: Membership, entropy: u64) -> Self {
        Self::start_any(host, AnyClient::Etcd(Box::new(EtcdCaller::new(address, life, config, membership, entropy))))
    }

    fn start_any(host: Arc<H>, client: AnyClient) -> Self {
        let behind = Behind { client, out: Output::default(), armed: None, first: BTreeMap::new() };
        let shared = Arc::new(Shared { host, behind: Mutex::new(behind), alarm: Alarm::default() });
        tokio::spawn(keep_time(shared.clone()));
        CurpClient { shared }
    }

    /// Gives the client everything that comes, until the sender is gone.
    pub async fn serve(&self, mut inbox: UnboundedReceiver<Input>) {
        while let Some(input) = inbox.recv().await {
            self.give(input);
        }
    }

    /// Gives it one input.
    pub fn give(&self, input: Input) {
        self.shared.give(input);
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.shared.lock().client.is_idle()
    }
}

impl<H: ClientHost> Shared<H> {
    fn lock(&self) -> MutexGuard<'_, Behind> {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give(&self, input: Input) {
        let mut behind = self.lock();
        let Behind { client, out, armed, first } = &mut *behind;
        client.handle(self.host.now(), input, out);
        for notice in out.notices.drain(..) {
            self.host.notice(notice);
        }
        for (to, message) in out.messages.drain(..) {
            let to = if mutants::on(Mutant::StaleLeaderRetry) { first_target(first, to, &message) } else { to };
            self.host.send(to, message);
        }
        self.alarm.set(armed, client.next_due());
        self.host.settled();
    }
}

/// Where this command was sent first.
fn first_target(first: &mut BTreeMap<ProposeId, NodeId>, to: NodeId, message: &Message<Request>) -> NodeId {
    match message {
        Message::Request(Ask::Propose { proposal }) => *first.entry(proposal.id).or_insert(to),
        _ => to,
    }
}

/// Tells the client the time when it is due.
async fn keep_time<H: ClientHost>(shared: Arc<Shared<H>>) {
    let arm = || {
        let mut behind = shared.lock();
        behind.armed = behind.client.next_due();
        behind.armed.map(|due| shared.host.until(due))
    };
    shared.alarm.keep_time(arm, || shared.give(Input::Tick)).await;
}
