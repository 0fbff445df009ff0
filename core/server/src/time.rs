//! Sleeping to the nanosecond.

use std::pin::pin;
use tokio::time::{Duration, Instant};

/// Waits for exactly `duration`. Tokio's own `sleep` rounds up to a millisecond, under madsim as well; a deadline that is reset is taken
/// as it is (and real tokio's timer wheel rounds it as it does every deadline).
pub async fn sleep(duration: Duration) {
    let mut sleep = pin!(tokio::time::sleep(duration));
    sleep.as_mut().reset(Instant::now() + duration);
    sleep.await;
}
