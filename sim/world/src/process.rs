//! A node's processor: how long commands take to execute, and slow-processor faults. Crashes and pauses are the engine's: they are
//! about which events it still hands to the node.

use crate::{Draws, ExecutionParams, Stream, US};

/// The most that a slow-processor fault makes of one command's time: a second.
const SLOW_US_MAX: u64 = 1_000_000;

/// One node's processor.
#[derive(Clone, Debug)]
pub struct Cpu {
    params: ExecutionParams,
    stream: Stream,
    node: u64,
    executed: u64,
    slow: Vec<(u32, u32)>,
    slowed: u64,
}

impl Cpu {
    /// The processor of `node`.
    pub fn new(draws: Draws, node: u32, params: &ExecutionParams) -> Self {
        Cpu { params: params.clone(), stream: draws.stream("cpu"), node: u64::from(node), executed: 0, slow: Vec::new(), slowed: 0 }
    }

    /// Nanoseconds that the next command takes to execute; longer by the greatest factor of the slow-processor faults that are active.
    pub fn execution_time(&mut self) -> u64 {
        let draw = self.stream.draw(self.node, self.executed);
        self.executed += 1;
        let mut us = draw.log_range(self.params.delay_us_min..=self.params.delay_us_max);
        if let Some(factor) = self.slow.iter().map(|&(_, factor)| factor).max() {
            self.slowed += 1;
            // A slow processor is slow, not stuck: what began under the fault ends soon after it, or the heal would not heal.
            us = us.max(us.saturating_mul(u64::from(factor)).min(SLOW_US_MAX));
        }
        // Nanoseconds below the microsecond keep two commands from finishing at the same instant.
        us * US + (draw.0 & 0x1ff)
    }

    /// A fault slows the processor down.
    pub fn begin_slow(&mut self, fault: u32, factor: u32) {
        self.slow.push((fault, factor.max(1)));
    }

    /// The fault ends.
    pub fn end(&mut self, fault: u32) {
        self.slow.retain(|&(f, _)| f != fault);
    }

    /// All faults end.
    pub fn heal(&mut self) {
        self.slow.clear();
    }

    /// How many commands a slow-processor fault delayed.
    pub fn slowed(&self) -> u64 {
        self.slowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_processor_is_slower_and_recovers() {
        let mut plain = Cpu::new(Draws::new(1), 2, &ExecutionParams::default());
        let mut slow = plain.clone();
        slow.begin_slow(1, 10);
        let (a, b) = (plain.execution_time(), slow.execution_time());
        assert!(b >= 9 * a && slow.slowed() == 1);
        slow.end(1);
        assert_eq!(plain.execution_time(), slow.execution_time());
    }
}
