//! What requests touch, as sets of small numbers.
//!
//! The ends of all ranges cut the space of keys into elementary intervals; a range is the set of the numbers of those it consists of. Each
//! lease has a number of its own besides. A request whose touch depends on the state (a revoke, a compaction, a read as of a revision)
//! touches all.
//! Invariant: two ranges have a key in common exactly if their sets have a number in common. What a request touches is reckoned
//! here from its words alone, and not asked of the store, which is under test.

use kv::{Bytes, LEASE_NONE, LeaseId, RangeRequest, Request};
use std::collections::BTreeSet;

/// Something that a request may touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// A range of keys; never empty.
    Keys {
        first: Vec<u8>,
        /// Exclusive; `None`: no end.
        end: Option<Vec<u8>>,
        writes: bool,
    },
    /// Whether there is this lease.
    Lease { id: LeaseId, writes: bool },
    /// What depends on the state.
    All,
}

/// Everything that the request may touch, in either branch.
pub(crate) fn accesses(request: &Request) -> Vec<Access> {
    let mut out = Vec::new();
    add(request, &mut out);
    // What it asks of revisions that it may itself make depends on how many others were made.
    if writes(request) && asks_of_revisions(request) {
        out.push(Access::All);
    }
    out
}

fn writes(request: &Request) -> bool {
    match request {
        Request::Put(_) | Request::DeleteRange(_) => true,
        Request::Txn(txn) => txn.success.iter().chain(&txn.failure).any(writes),
        _ => false,
    }
}

fn asks_of_revisions(request: &Request) -> bool {
    match request {
        Request::Range(RangeRequest { min_mod_revision, max_mod_revision, min_create_revision, max_create_revision, .. }) => {
            [min_mod_revision, max_mod_revision, min_create_revision, max_create_revision].iter().any(|bound| **bound > 0)
        }
        Request::Txn(txn) => txn.success.iter().chain(&txn.failure).any(asks_of_revisions),
        _ => false,
    }
}

fn add(request: &Request, out: &mut Vec<Access>) {
    match request {
        Request::Put(put) => {
            out.extend(access(&put.key, None, true));
            if put.lease != LEASE_NONE {
                out.push(Access::Lease { id: put.lease, writes: false });
            }
        }
        Request::Range(range) if range.revision > 0 => out.push(Access::All),
        Request::Range(range) => out.extend(access(&range.key, range.range_end.as_ref(), false)),
        Request::DeleteRange(delete) => out.extend(access(&delete.key, delete.range_end.as_ref(), true)),
        Request::Txn(txn) => {
            out.extend(txn.compare.iter().filter_map(|compare| access(&compare.key, compare.range_end.as_ref(), false)));
            txn.success.iter().chain(&txn.failure).for_each(|request| add(request, out));
        }
        Request::LeaseGrant(grant) => out.push(Access::Lease { id: grant.id, writes: true }),
        Request::LeaseKeepAlive(keep) => out.push(Access::Lease { id: keep.id, writes: false }),
        // Which keys are attached is the state's to say.
        Request::LeaseTimeToLive(ask) if ask.keys => out.push(Access::All),
        Request::LeaseTimeToLive(ask) => out.push(Access::Lease { id: ask.id, writes: false }),
        Request::LeaseRevoke(_) | Request::Compact(_) | Request::LeaseLeases => out.push(Access::All),
    }
}

/// `None` if the range is empty, which etcd allows.
fn access(key: &Bytes, end: Option<&Bytes>, writes: bool) -> Option<Access> {
    let first = key.as_slice().to_vec();
    let end = match end.map(Bytes::as_slice) {
        // The next key after k is k followed by a zero byte.
        None => Some([key.as_slice(), &[0]].concat()),
        Some([0]) => None,
        Some(end) => Some(end.to_vec()),
    };
    let empty = end.as_ref().is_some_and(|end| *end <= first);
    (!empty).then_some(Access::Keys { first, end, writes })
}

/// The elementary intervals of a trace, and its leases.
#[derive(Debug, Default)]
pub(crate) struct Intervals {
    /// Where they begin; the last has no end.
    from: BTreeSet<Vec<u8>>,
    leases: BTreeSet<LeaseId>,
}

/// A request's footprint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footprint {
    /// Intervals and leases that it may read, through accesses that do not write.
    pub reads: BTreeSet<u64>,
    /// Intervals and leases that it may write.
    pub writes: BTreeSet<u64>,
    /// It may touch anything.
    pub all: bool,
}

impl Intervals {
    /// Cuts at the ends of these ranges.
    pub fn cut(&mut self, accesses: &[Access]) {
        for access in accesses {
            match access {
                Access::Keys { first, end, .. } => {
                    self.from.insert(first.clone());
                    self.from.extend(end.clone());
                }
                Access::Lease { id, .. } => _ = self.leases.insert(*id),
                Access::All => {}
            }
        }
    }

    /// The numbers, from 1, of the intervals that these ranges consist of, and after those the numbers of leases; ends and leases must have
    /// been cut at.
    pub fn footprint(&self, accesses: &[Access]) -> Footprint {
        let mut footprint = Footprint::default();
        for access in accesses {
            let (numbers, writes): (Vec<u64>, bool) = match access {
                Access::Keys { first, end, writes } => {
                    let inside = |from: &Vec<u8>| from >= first && end.as_ref().is_none_or(|end| from < end);
                    (self.from.iter().zip(1..).filter(|(from, _)| inside(from)).map(|(_, number)| number).collect(), *writes)
                }
                Access::Lease { id, writes } => {
                    let before = self.leases.range(..id).count() + self.from.len();
                    (vec![before as u64 + 1], *writes)
                }
                Access::All => {
                    footprint.all = true;
                    continue;
                }
            };
            if writes { footprint.writes.extend(numbers) } else { footprint.reads.extend(numbers) }
        }
        footprint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use curp::ConflictCheck;
    use kv::{CompactionRequest, LeaseGrantRequest, LeaseKeepAliveRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest};
    use kv::{Compare, CompareResult, CompareTarget, DeleteRangeRequest, PutRequest, RangeRequest, TxnRequest};

    /// A linear congruence: the tests need variety, not chance.
    struct Draws(u64);

    impl Draws {
        fn below(&mut self, n: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % n
        }

        fn key(&mut self) -> Bytes {
            ["a", "aa", "b", "ba", "b\0", "c", "d", "e"][self.below(8) as usize].into()
        }

        fn end(&mut self) -> Option<Bytes> {
            match self.below(4) {
                0 => None,
                1 => Some("\0".into()),
                _ => Some(self.key()),
            }
        }

        fn simple(&mut self) -> Request {
            match self.below(6) {
                0 => Request::Put(PutRequest { key: self.key(), value: "v".into(), prev_kv: false, ..PutRequest::default() }),
                1 => Request::Put(PutRequest { key: self.key(), value: "v".into(), lease: self.lease(), ..PutRequest::default() }),
                2 | 3 => {
                    let (key, range_end) = (self.key(), self.end());
                    let revision = u64::from(self.below(10) == 0);
                    let min_mod_revision = u64::from(self.below(10) == 0);
                    Request::Range(RangeRequest { key, range_end, revision, min_mod_revision, ..RangeRequest::default() })
                }
                _ => Request::DeleteRange(DeleteRangeRequest { key: self.key(), range_end: self.end(), prev_kv: false }),
            }
        }

        fn lease(&mut self) -> LeaseId {
            1 + self.below(3) as LeaseId
        }

        fn of_leases(&mut self) -> Request {
            match self.below(12) {
                0..5 => Request::LeaseGrant(LeaseGrantRequest { id: self.lease(), ttl: 1 }),
                5..8 => Request::LeaseKeepAlive(LeaseKeepAliveRequest { id: self.lease() }),
                8 | 9 => Request::LeaseTimeToLive(LeaseTimeToLiveRequest { id: self.lease(), keys: self.below(2) == 0 }),
                10 => Request::LeaseRevoke(LeaseRevokeRequest { id: self.lease(), stamp: None }),
                _ if self.below(2) == 0 => Request::Compact(CompactionRequest { revision: 1, physical: false }),
                _ => Request::LeaseLeases,
            }
        }

        fn request(&mut self) -> Request {
            match self.below(9) {
                0 => return self.of_leases(),
                1..6 => return self.simple(),
                _ => {}
            }
            let compare =
                Compare { key: self.key(), result: CompareResult::Equal, target: CompareTarget::Version(0), ..Compare::default() };
            let success = (0..self.below(3)).map(|_| self.simple()).collect();
            let failure = (0..self.below(2)).map(|_| self.request()).collect();
            Request::Txn(TxnRequest { compare: vec![compare], success, failure })
        }
    }

    fn conflicts(a: &Footprint, b: &Footprint) -> bool {
        let common = |x: &BTreeSet<u64>, y: &BTreeSet<u64>| !x.is_disjoint(y);
        a.all || b.all || common(&a.writes, &b.writes) || common(&a.writes, &b.reads) || common(&a.reads, &b.writes)
    }

    #[test]
    fn requests_conflict_exactly_if_their_footprints_do() {
        let mut draws = Draws(7);
        let requests: Vec<Request> = (0..300).map(|_| draws.request()).collect();
        let mut intervals = Intervals::default();
        requests.iter().for_each(|request| intervals.cut(&accesses(request)));
        let footprints: Vec<Footprint> = requests.iter().map(|request| intervals.footprint(&accesses(request))).collect();
        let mut seen = [0u32; 2];
        for (a, of_a) in requests.iter().zip(&footprints) {
            for (b, of_b) in requests.iter().zip(&footprints) {
                let expected = a.conflicts(b);
                assert_eq!(conflicts(of_a, of_b), expected, "{a:?} and {b:?}");
                seen[usize::from(expected)] += 1;
            }
        }
        assert!(seen.iter().all(|n| *n > 1000), "both answers occur: {seen:?}");
        let leaders = |r: &Request| matches!(r, Request::LeaseKeepAlive(_) | Request::LeaseTimeToLive(_) | Request::LeaseLeases);
        for (request, footprint) in requests.iter().zip(&footprints).filter(|(request, _)| !leaders(request)) {
            assert_eq!(footprint.all, !request.fast_allowed(), "never fast: {request:?}");
        }
    }

    #[test]
    fn ranges_share_a_number_exactly_if_they_share_a_key() {
        let keys = ["a", "aa", "b", "b\0", "c"];
        let ends: Vec<Option<&str>> = keys.iter().map(|k| Some(*k)).chain([Some("\0"), None]).collect();
        let ranges: Vec<(&str, Option<&str>)> = keys.iter().flat_map(|k| ends.iter().map(move |e| (*k, *e))).collect();
        let of = |(key, end): (&str, Option<&str>)| {
            accesses(&Request::Range(RangeRequest {
                key: key.into(),
                range_end: end.map(Bytes::from),
                limit: 0,
                ..RangeRequest::default()
            }))
        };
        let holds = |(key, end): (&str, Option<&str>), probe: &str| match end {
            None => probe == key,
            Some("\0") => probe >= key,
            Some(end) => probe >= key && probe < end,
        };
        let mut intervals = Intervals::default();
        ranges.iter().for_each(|range| intervals.cut(&of(*range)));
        for a in &ranges {
            for b in &ranges {
                let shared = !intervals.footprint(&of(*a)).reads.is_disjoint(&intervals.footprint(&of(*b)).reads);
                // Two ranges that overlap have the greater of their first keys in common.
                let first = a.0.max(b.0);
                assert_eq!(shared, holds(*a, first) && holds(*b, first), "{a:?} and {b:?}");
            }
        }
    }
}
