//! Counts of what really happened: effects, not intentions.

use super::cut::Active;
use crate::NetFault;

/// Counters per kind, and per fault.
#[derive(Clone, Default)]
pub(super) struct Effects {
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    pub(super) reordered: u64,
    pub(super) late: u64,
    by_kind: [u64; KINDS.len()],
    by_fault: Vec<(u32, u64)>,
}

const KINDS: [&str; 10] = [
    "partition_symmetric",
    "partition_one_way",
    "partition_isolate",
    "partition_bridge",
    "partition_ring",
    "partition_majority_minority",
    "partition_flapping",
    "partition_swizzle",
    "slow_link",
    "storm",
];

fn place(net: &NetFault) -> usize {
    match net {
        NetFault::Symmetric { .. } => 0,
        NetFault::OneWay { .. } => 1,
        NetFault::Isolate { .. } => 2,
        NetFault::Bridge { .. } => 3,
        NetFault::Ring { .. } => 4,
        NetFault::MajorityMinority { .. } => 5,
        NetFault::Flapping { .. } => 6,
        NetFault::Swizzle { .. } => 7,
        NetFault::SlowLink { .. } => 8,
        NetFault::Storm { .. } => 9,
    }
}

impl Effects {
    /// The fault did something to a message that would have arrived; gives its id back.
    pub(super) fn took_place(&mut self, fault: &Active) -> u32 {
        self.by_kind[place(&fault.net)] += 1;
        match self.by_fault.iter_mut().rev().find(|(id, _)| *id == fault.fault) {
            Some((_, count)) => *count += 1,
            None => self.by_fault.push((fault.fault, 1)),
        }
        fault.fault
    }

    pub(super) fn of(&self, fault: u32) -> u64 {
        self.by_fault.iter().find(|(id, _)| *id == fault).map_or(0, |&(_, count)| count)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let base = [
            ("message_lost", self.lost),
            ("message_duplicated", self.duplicated),
            ("message_reordered", self.reordered),
            ("message_late", self.late),
        ];
        base.into_iter().chain(KINDS.into_iter().zip(self.by_kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_at_the_place_of_its_name() {
        let endless = |net: NetFault| assert_eq!(KINDS[place(&net)], net.kind());
        endless(NetFault::Symmetric { groups: vec![] });
        endless(NetFault::OneWay { from: vec![], to: vec![] });
        endless(NetFault::Isolate { side: vec![], others: vec![], direction: crate::Direction::In });
        endless(NetFault::Bridge { left: vec![], right: vec![] });
        endless(NetFault::Ring { order: vec![] });
        endless(NetFault::MajorityMinority { minority: vec![], majority: vec![] });
        endless(NetFault::Flapping { groups: vec![], on_us: 0, off_us: 0 });
        endless(NetFault::Swizzle { clog: vec![], unclog: vec![], step_us: 0 });
        endless(NetFault::SlowLink { from: vec![], to: vec![], extra_us: 0 });
        endless(NetFault::Storm { loss_ppm: 0, duplicate_ppm: 0, reorder_ppm: 0, reorder_us_max: 0, late_ppm: 0, late_us_max: 0 });
    }
}
