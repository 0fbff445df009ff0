//! A client with a caller in it: it asks, waits, and goes on when an answer comes or its patience ends. What it saw is the history.

use client::{Config, Notice};
use curp::{Membership, Message, Nanos, NodeId};
use history::{Header, Operation, Outcome, SyncedResponse};
use kv::Request;
use server::rpc::ClientCalls;
use server::{ClientHost, Clock, CurpClient};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Duration, timeout};

use crate::cluster::Cluster;

/// Longer, and the outcome is unknown.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);
const MS: Nanos = 1_000_000;

/// The history as it grows, on one clock for all clients.
pub(crate) struct Book {
    begun: Instant,
    pages: Mutex<Pages>,
}

#[derive(Default)]
struct Pages {
    operations: Vec<Operation>,
    /// Who waits, by operation: told whether there was an answer.
    waiting: BTreeMap<u64, oneshot::Sender<bool>>,
}

impl Default for Book {
    fn default() -> Self {
        Book { begun: Instant::now(), pages: Mutex::default() }
    }
}

impl Book {
    fn now(&self) -> Nanos {
        self.begun.elapsed().as_nanos() as Nanos
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn invoke(&self, client: u32, request: Request) -> (u64, oneshot::Receiver<bool>) {
        let (tell, answered) = oneshot::channel();
        let mut pages = self.lock();
        let id = pages.operations.len() as u64;
        pages.operations.push(Operation {
            id,
            client,
            op: request,
            invoke: self.now(),
            ret: None,
            outcome: Outcome::Unknown,
            fast: None,
            fast_at: None,
            synced: None,
            synced_at: None,
            propose_id: None,
            applied_index: None,
        });
        pages.waiting.insert(id, tell);
        (id, answered)
    }

    /// The caller has stopped waiting.
    pub(crate) fn give_up(&self, id: u64) {
        self.lock().waiting.remove(&id);
    }

    pub(crate) fn note(&self, notice: Notice) {
        let now = self.now();
        let mut pages = self.lock();
        let (id, outcome) = match notice {
            Notice::Proposed { op, id, .. } => {
                pages.operations[op as usize].propose_id = id;
                return;
            }
            Notice::Fast { op, response, .. } => {
                let operation = &mut pages.operations[op as usize];
                (operation.fast, operation.fast_at) = (Some(response), Some(now));
                (op, Outcome::Ok)
            }
            Notice::Synced { op, synced, .. } | Notice::Read { op, synced, .. } | Notice::Answered { op, synced, .. } => {
                let operation = &mut pages.operations[op as usize];
                operation.synced = Some(SyncedResponse { header: Header { revision: synced.revision }, response: synced.response });
                operation.synced_at = Some(now);
                (op, Outcome::Ok)
            }
            Notice::Invalid { op, .. } => (op, Outcome::Fail),
            Notice::Lost { op } => (op, Outcome::Unknown),
            Notice::SessionOpen { .. } | Notice::SessionEnded { .. } | Notice::Retried { .. } | Notice::Admin { .. } => return,
            Notice::Called { .. } => return,
            Notice::Registered { .. } | Notice::Watch { .. } | Notice::SentKeepAlive { .. } | Notice::KeptAlive { .. } => return,
        };
        // The first answer ends it, for a caller that still waits.
        if let Some(tell) = pages.waiting.remove(&id) {
            let operation = &mut pages.operations[id as usize];
            operation.outcome = outcome;
            operation.ret = (outcome != Outcome::Unknown).then_some(now);
            let _ = tell.send(outcome == Outcome::Ok);
        }
    }

    /// All of it.
    pub(crate) fn take(&self) -> Vec<Operation> {
        std::mem::take(&mut *self.lock()).operations
    }
}

/// What the client stands on.
struct Machine {
    book: Arc<Book>,
    calls: ClientCalls,
}

impl Clock for Machine {
    fn now(&self) -> Nanos {
        self.book.now()
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
        self.book.note(notice);
    }
}

/// A client and its caller.
#[derive(Clone)]
pub(crate) struct Caller {
    address: u32,
    client: CurpClient<Machine>,
    book: Arc<Book>,
}

impl Caller {
    pub(crate) fn new(address: u32, cluster: &Cluster, book: Arc<Book>) -> Result<Caller, String> {
        let (inbox, answers) = mpsc::unbounded_channel();
        let calls = ClientCalls::new(address, &cluster.client_addresses(), inbox).map_err(|error| error.to_string())?;
        let machine = Arc::new(Machine { book: book.clone(), calls });
        let membership = Membership::initial(cluster.ids());
        let config = Config { retry_after_min: 100 * MS, retry_after_max: 1_000 * MS };
        let entropy = curp::splitmix64(u64::from(std::process::id()) << 32 | u64::from(address));
        let client = CurpClient::start(machine, address, 1, config, membership, entropy);
        let serve = client.clone();
        tokio::spawn(async move { serve.serve(answers).await });
        Ok(Caller { address, client, book })
    }

    pub(crate) fn address(&self) -> u32 {
        self.address
    }

    /// Asks, and waits for the first answer; false if none came.
    pub(crate) async fn request(&self, request: Request) -> bool {
        let (op, answered) = self.book.invoke(self.address, request.clone());
        self.client.give(client::Input::Invoke { op, request });
        match timeout(PATIENCE, answered).await {
            Ok(Ok(answered)) => answered,
            _ => {
                self.book.give_up(op);
                self.client.give(client::Input::Abandon { op });
                false
            }
        }
    }
}
