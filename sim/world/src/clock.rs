//! A node's two clocks. The monotonic one runs at its own rate and through pauses and restarts; the wall clock starts with an offset,
//! runs at the same rate, and can be stepped.
//!
//! Invariant: the monotonic clock never goes back, and [`Clock::real_after`] is exactly the first moment at which a timer is due.

use crate::{ClockParams, Draws, US};

/// One node's clocks.
#[derive(Clone, Debug)]
pub struct Clock {
    rate_ppm: i32,
    start: u64,
    wall_offset: i64,
}

impl Clock {
    /// The clocks of `node`. The monotonic one starts at a drawn reading below an hour: nothing may rely on it being 0 or alike on
    /// two nodes.
    pub fn new(draws: Draws, node: u32, params: &ClockParams) -> Self {
        let start = draws.draw("clock", u64::from(node), 0).below(3_600_000_000_000);
        Clock { rate_ppm: params.rate_ppm.max(-900_000), start, wall_offset: params.wall_offset_us.saturating_mul(US as i64) }
    }

    /// Reading of the monotonic clock, nanoseconds.
    #[inline]
    pub fn mono(&self, now: u64) -> u64 {
        self.start + self.elapsed(now)
    }

    /// Reading of the wall clock, nanoseconds since its epoch; at 0 of virtual time a right one reads a million seconds.
    pub fn wall(&self, now: u64) -> u64 {
        (1_000_000_000_000_000 + self.elapsed(now)).saturating_add_signed(self.wall_offset)
    }

    /// Moves the wall clock.
    pub fn step_wall(&mut self, by_us: i64) {
        self.wall_offset = self.wall_offset.saturating_add(by_us.saturating_mul(US as i64));
    }

    /// Virtual nanoseconds from `now` until the monotonic clock has advanced by `local_delay`: when to fire a timer.
    pub fn real_after(&self, now: u64, local_delay: u64) -> u64 {
        if self.rate_ppm == 0 {
            return local_delay;
        }
        let target = self.elapsed(now) + local_delay;
        let rate = (1_000_000 + i64::from(self.rate_ppm)) as u128;
        // elapsed(t) = floor(t·rate / 10⁶), so the first t with elapsed(t) ≥ target is ceil(target·10⁶ / rate).
        let due = (u128::from(target) * 1_000_000).div_ceil(rate) as u64;
        due.saturating_sub(now)
    }

    #[inline]
    fn elapsed(&self, now: u64) -> u64 {
        if self.rate_ppm == 0 {
            return now;
        }
        (u128::from(now) * (1_000_000 + i64::from(self.rate_ppm)) as u128 / 1_000_000) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn clock(rate_ppm: i32) -> Clock {
        Clock::new(Draws::new(3), 1, &ClockParams { rate_ppm, wall_offset_us: 0 })
    }

    #[test]
    fn a_fast_clock_gains_and_a_wall_clock_steps() {
        let mut c = clock(100_000);
        assert_eq!(c.mono(1_000_000) - c.mono(0), 1_100_000);
        let before = c.wall(5);
        c.step_wall(-7);
        assert_eq!(before - c.wall(5), 7_000);
        assert_eq!(clock(0).wall(9), 1_000_000_000_000_009);
    }

    proptest! {
        #[test]
        fn a_timer_is_due_at_the_first_moment(rate in -900_000i32..1_000_000, now in 0u64..1 << 50, delay in 0u64..1 << 40) {
            let c = clock(rate);
            let after = c.real_after(now, delay);
            prop_assert!(c.mono(now + after) >= c.mono(now) + delay);
            prop_assert!(after == 0 || c.mono(now + after - 1) < c.mono(now) + delay);
        }

        #[test]
        fn the_monotonic_clock_never_goes_back(rate in -900_000i32..1_000_000, a in 0u64..1 << 50, b in 0u64..1 << 50) {
            let c = clock(rate);
            prop_assert!(c.mono(a.min(b)) <= c.mono(a.max(b)));
        }
    }
}
