//! When something that waits for its time is to be told it: a task sleeps until then, and is woken if the time comes nearer.

use curp::Nanos;
use tokio::sync::Notify;
use tokio::time::Duration;

use crate::time::sleep;

/// Wakes the task that keeps the time.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    nearer: Notify,
}

impl Alarm {
    /// The time wanted is `due` now. `armed` is the one that the task sleeps until.
    pub(crate) fn set(&self, armed: &mut Option<Nanos>, due: Option<Nanos>) {
        if due.is_some_and(|due| armed.is_none_or(|armed| due < armed)) {
            *armed = due;
            self.nearer.notify_one();
        }
    }

    /// The task: sleeps for as long as `arm` says, or while it says nothing, and then tells the time by `tick`.
    pub(crate) async fn keep_time(&self, mut arm: impl FnMut() -> Option<Duration>, mut tick: impl FnMut()) {
        loop {
            let Some(wait) = arm() else {
                self.nearer.notified().await;
                continue;
            };
            tokio::select! {
                biased;
                () = self.nearer.notified() => {}
                () = sleep(wait) => tick(),
            }
        }
    }
}
