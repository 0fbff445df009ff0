//! Watch: any number of watchers on a stream. Each has a task that takes its next response when the last one has been sent on: a stream
//! that is read slowly holds up its own watchers and nobody else's.

use std::collections::BTreeMap;
use std::sync::Arc;

use kv::{WatchId, WatchResponse};
use tokio::sync::Notify;
use tokio::sync::mpsc::{Sender, UnboundedReceiver, UnboundedSender, channel, unbounded_channel};
use tokio::task::JoinHandle;
use tonic::{Request, Response, Status, Streaming};

use super::convert;
use super::front::{EtcdHost, Watching};
use super::w::watch_request::RequestUnion as Asked;
use super::{Answered, EtcdServices, Streamed, no_leader, requires_leader, w};

/// Responses sent ahead of a caller that does not read.
const RESPONSES_AHEAD_MAX: usize = 16;
/// What concerns no watcher in particular is told under this name.
const NO_WATCHER: WatchId = -1;

/// What a watcher's task has taken for it: its name on the stream, its serial, and the response.
type Taken = (WatchId, u64, WatchResponse);

/// A watcher of a stream.
struct Watcher {
    /// No two of a stream have the same: a name may be given again while something is on its way to the one that had it.
    serial: u64,
    task: JoinHandle<()>,
    /// Its last response has been sent on.
    sent: Arc<Notify>,
    ask_progress: Box<dyn Fn() + Send + Sync>,
    /// Its own progress is told.
    progress_notify: bool,
    /// The stream's caller waits to hear how far it is.
    progress_wanted: bool,
    /// It is told everything up to here.
    revision: u64,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A stream of watchers.
struct Stream<H: EtcdHost> {
    services: EtcdServices<H>,
    watchers: BTreeMap<WatchId, Watcher>,
    next_id: WatchId,
    last_serial: u64,
    /// The caller waits to hear how far all are.
    progress_wanted: bool,
    tell: Sender<Result<w::WatchResponse, Status>>,
    watched: UnboundedSender<Taken>,
}

/// The caller does not listen any more.
struct Gone;

#[tonic::async_trait]
impl<H: EtcdHost> w::watch_server::Watch for EtcdServices<H> {
    type WatchStream = Streamed<w::WatchResponse>;

    async fn watch(&self, request: Request<Streaming<w::WatchRequest>>) -> Answered<Self::WatchStream> {
        self.refuse_without_leader(request.metadata())?;
        let leaderless = self.clone().leaderless(requires_leader(request.metadata()));
        let (tell, told) = channel(RESPONSES_AHEAD_MAX);
        let (watched, seen) = unbounded_channel();
        let (services, watchers) = (self.clone(), BTreeMap::new());
        let stream = Stream { services, watchers, next_id: 0, last_serial: 0, progress_wanted: false, tell, watched };
        tokio::spawn(stream.run(request.into_inner(), seen, leaderless));
        Ok(Response::new(Streamed(told)))
    }
}

impl<H: EtcdHost> Stream<H> {
    /// Until the caller does not listen any more, or `leaderless` ends. One that asks no more may listen for long.
    async fn run(
        mut self,
        mut asked: Streaming<w::WatchRequest>,
        mut seen: UnboundedReceiver<Taken>,
        leaderless: impl Future<Output = ()>,
    ) {
        let mut asks = true;
        let mut leaderless = std::pin::pin!(leaderless);
        loop {
            let tell = self.tell.clone();
            let done = tokio::select! {
                biased;
                () = tell.closed() => Err(Gone),
                () = &mut leaderless => {
                    let _ = tell.send(Err(no_leader())).await;
                    Err(Gone)
                }
                request = asked.message(), if asks => match request {
                    Ok(Some(request)) => self.asked(request.request_union).await,
                    Ok(None) => {
                        asks = false;
                        Ok(())
                    }
                    Err(_) => Err(Gone),
                },
                Some((id, serial, response)) = seen.recv() => self.told(id, serial, response).await,
            };
            if done.is_err() {
                return;
            }
        }
    }

    async fn send(&self, watch_id: WatchId, response: &WatchResponse) -> Result<(), Gone> {
        let response = convert::watch_out(self.services.header(response.revision), watch_id, response);
        self.tell.send(Ok(response)).await.map_err(|_| Gone)
    }

    async fn asked(&mut self, request: Option<Asked>) -> Result<(), Gone> {
        match request {
            Some(Asked::CreateRequest(create)) => self.create(create).await,
            Some(Asked::CancelRequest(w::WatchCancelRequest { watch_id })) => {
                let Some(watcher) = self.watchers.remove(&watch_id) else { return Ok(()) };
                let revision = watcher.revision;
                self.send(watch_id, &WatchResponse { revision, canceled: true, ..WatchResponse::default() }).await?;
                self.tell_progress().await
            }
            Some(Asked::ProgressRequest(_)) => {
                self.progress_wanted = true;
                for watcher in self.watchers.values_mut() {
                    watcher.progress_wanted = true;
                    (watcher.ask_progress)();
                }
                self.tell_progress().await
            }
            // A kind of request that is not known here.
            None => Ok(()),
        }
    }

    /// A watcher is made at once: it begins after everything that is known here, so what it is told is right whichever node tells it.
    async fn create(&mut self, create: w::WatchCreateRequest) -> Result<(), Gone> {
        let wanted = create.watch_id;
        let here = self.services.front.here().revision;
        let mut request = match convert::create_in(create) {
            Ok(_) if wanted != 0 && self.watchers.contains_key(&wanted) => {
                return self.refuse(here, "mvcc: duplicate watch ID provided on the WatchStream".to_owned()).await;
            }
            // Here, not at the node that is asked: it is known at once, and is to be said in one response.
            Ok(request) => match request.check() {
                Ok(()) => request,
                Err(error) => return self.refuse(here, error.message().to_owned()).await,
            },
            Err(malformed) => return self.refuse(here, malformed.to_string()).await,
        };
        let id = if wanted == 0 { self.free_id() } else { wanted };
        if request.start_revision == 0 {
            request.start_revision = here + 1;
        }
        // Of a watcher of the future nothing is true yet beyond what is known here.
        let (progress_notify, revision) = (request.progress_notify, here.min(request.start_revision - 1));
        let watching = self.services.front.watch(request);
        let (ask_progress, sent) = (Box::new(watching.progress()), Arc::new(Notify::new()));
        self.last_serial += 1;
        let serial = self.last_serial;
        let task = tokio::spawn(follow((id, serial), watching, self.watched.clone(), sent.clone()));
        self.watchers.insert(id, Watcher { serial, task, sent, ask_progress, progress_notify, progress_wanted: false, revision });
        self.send(id, &WatchResponse { revision: here, created: true, ..WatchResponse::default() }).await
    }

    fn free_id(&mut self) -> WatchId {
        while self.watchers.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        self.next_id - 1
    }

    async fn refuse(&self, revision: u64, cancel_reason: String) -> Result<(), Gone> {
        let (header, watch_id) = (Some(self.services.header(revision)), NO_WATCHER);
        let response = w::WatchResponse { header, watch_id, created: true, canceled: true, cancel_reason, ..Default::default() };
        self.tell.send(Ok(response)).await.map_err(|_| Gone)
    }

    /// A watcher is told something.
    async fn told(&mut self, id: WatchId, serial: u64, response: WatchResponse) -> Result<(), Gone> {
        // It was canceled while this was on its way; there may be another of its name.
        let Some(watcher) = self.watchers.get_mut(&id).filter(|watcher| watcher.serial == serial) else { return Ok(()) };
        watcher.revision = response.revision.max(watcher.revision);
        let progress = response.events.is_empty() && !response.canceled;
        if progress && !response.created {
            watcher.progress_wanted = false;
        }
        // That it was made is said already.
        if !progress || watcher.progress_notify && !response.created {
            self.send(id, &WatchResponse { created: false, ..response.clone() }).await?;
        }
        if response.canceled {
            self.watchers.remove(&id);
        } else if let Some(watcher) = self.watchers.get(&id) {
            watcher.sent.notify_one();
        }
        self.tell_progress().await
    }

    /// Says how far all watchers are, once each has said it.
    async fn tell_progress(&mut self) -> Result<(), Gone> {
        if !self.progress_wanted || self.watchers.values().any(|watcher| watcher.progress_wanted) {
            return Ok(());
        }
        self.progress_wanted = false;
        let revision = self.watchers.values().map(|watcher| watcher.revision).min();
        let revision = revision.unwrap_or_else(|| self.services.front.here().revision);
        self.send(NO_WATCHER, &WatchResponse { revision, ..WatchResponse::default() }).await
    }
}

/// Takes a watcher's responses, the next when the last has been sent on.
async fn follow<H: EtcdHost>((id, serial): (WatchId, u64), mut watching: Watching<H>, tell: UnboundedSender<Taken>, sent: Arc<Notify>) {
    while let Some(response) = watching.next().await {
        if tell.send((id, serial, response)).is_err() {
            return;
        }
        sent.notified().await;
    }
}
