//! The cluster as the tasks of a run share it. All of them are on one thread, and no lock is held over an `await`, so a lock is always
//! free when it is asked for.

use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::time::Duration;

use super::processes::Processes;
use crate::cluster::Cluster;
use crate::run::Ending;

/// The conductor looks around at least this often (virtual): whether the run is over, and which links pass.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// The shared cluster.
pub(crate) struct Stage {
    inner: Mutex<Inner>,
    /// Something is due earlier than the conductor thinks.
    earlier: Notify,
}

struct Inner {
    /// Taken when the run is over.
    cluster: Option<Cluster>,
    /// Until when the conductor sleeps.
    armed: u64,
}

/// Virtual time, nanoseconds since the run began.
pub(crate) fn now() -> u64 {
    madsim::time::TimeHandle::current().elapsed().as_nanos() as u64
}

impl Stage {
    pub(crate) fn new(cluster: Cluster) -> Self {
        Stage { inner: Mutex::new(Inner { cluster: Some(cluster), armed: u64::MAX }), earlier: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something to the cluster, now; anchored faults react to what it fires.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Cluster) -> R) -> R {
        let mut inner = self.lock();
        let Inner { cluster, armed } = &mut *inner;
        let cluster = cluster.as_mut().expect("the run is not over while its tasks run");
        cluster.set_time(now());
        let result = f(cluster);
        cluster.react();
        if cluster.queue.next_at().is_some_and(|at| at < *armed) {
            *armed = 0;
            self.earlier.notify_one();
        }
        result
    }

    /// Lets everything happen that is due: when the next thing is, or, at the end, what is missing.
    pub(crate) fn let_happen(&self, processes: &mut Processes, ending: &mut Ending) -> Result<Option<u64>, Vec<String>> {
        let mut inner = self.lock();
        let Inner { cluster, armed } = &mut *inner;
        let cluster = cluster.as_mut().expect("the run is not over while the conductor runs");
        let now = now();
        cluster.set_time(now);
        while cluster.queue.next_at().is_some_and(|at| at <= now) {
            let Some((_, next)) = cluster.queue.pop() else { break };
            cluster.happen(processes, next);
            if let Some(missing) = ending.look(cluster, processes) {
                return Err(missing);
            }
        }
        if let Some(missing) = ending.look(cluster, processes) {
            return Err(missing);
        }
        processes.update_links(cluster);
        let next_at = cluster.queue.next_at();
        *armed = next_at.unwrap_or(u64::MAX);
        Ok(next_at)
    }

    /// Sleeps until then, or until something is due earlier.
    pub(crate) async fn wait_until(&self, at: Option<u64>) {
        let wait = at.map_or(LOOK_INTERVAL, |at| Duration::from_nanos(at.saturating_sub(now())).min(LOOK_INTERVAL));
        tokio::select! {
            biased;
            () = self.earlier.notified() => {}
            () = server::sleep(wait) => {}
        }
    }

    /// The cluster, when the run is over.
    pub(crate) fn take(&self) -> Cluster {
        self.lock().cluster.take().expect("taken once")
    }
}
