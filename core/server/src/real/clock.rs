//! The node's clock.

use curp::Nanos;
use rustix::time::{ClockId, clock_gettime};

/// It goes on while the machine is suspended, as everybody else's time does: a lease that ran out meanwhile has run out.
#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOCK: ClockId = ClockId::Boottime;
/// No clock of this system is known to go on while it is suspended and to be set by nobody: a lease lives longer by that time.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOCK: ClockId = ClockId::Monotonic;

fn reading() -> Nanos {
    let now = clock_gettime(CLOCK);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// What has passed since it was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun(Nanos);

impl Begun {
    pub(super) fn now() -> Self {
        Begun(reading())
    }

    pub(super) fn elapsed(self) -> Nanos {
        reading().saturating_sub(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn it_goes() {
        let begun = Begun::now();
        std::thread::sleep(Duration::from_millis(50));
        assert!(begun.elapsed() >= 50_000_000);
    }

    /// Since the machine was started, as the kernel says, which counts what it was suspended for.
    #[cfg(target_os = "linux")]
    #[test]
    fn it_counts_from_the_machine_s_start() {
        let text = std::fs::read_to_string("/proc/uptime").expect("there is one");
        let uptime: f64 = text.split_whitespace().next().and_then(|word| word.parse().ok()).expect("seconds");
        let difference = reading() as f64 / 1e9 - uptime;
        assert!(difference.abs() < 5.0, "{difference} s from {uptime} s");
    }
}
