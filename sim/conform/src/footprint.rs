//! What requests touch, as sets of small numbers.
//!
//! The ends of all ranges cut the space of keys into elementary intervals; a range is the set of the numbers of those it consists of.
//! Invariant: two ranges have a key in common exactly if their sets have a number in common. Which keys a request touches is reckoned
//! here from its words alone, and not asked of the store, which is under test.

use kv::{Bytes, Request};
use std::collections::BTreeSet;

/// A range of keys that a request may touch; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    first: Vec<u8>,
    /// Exclusive; `None`: no end.
    end: Option<Vec<u8>>,
    writes: bool,
}

/// Every range of keys that the request may touch, in either branch.
pub(crate) fn accesses(request: &Request) -> Vec<Access> {
    let mut out = Vec::new();
    add(request, &mut out);
    out
}

fn add(request: &Request, out: &mut Vec<Access>) {
    match request {
        Request::Put(put) => out.extend(access(&put.key, None, true)),
        Request::Range(range) => out.extend(access(&range.key, range.range_end.as_ref(), false)),
        Request::DeleteRange(delete) => out.extend(access(&delete.key, delete.range_end.as_ref(), true)),
        Request::Txn(txn) => {
            out.extend(txn.compare.iter().filter_map(|compare| access(&compare.key, compare.range_end.as_ref(), false)));
            txn.success.iter().chain(&txn.failure).for_each(|request| add(request, out));
        }
        // Leases and compaction are not modelled yet.
        _ => {}
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
    (!empty).then_some(Access { first, end, writes })
}

/// The elementary intervals of a trace.
#[derive(Debug, Default)]
pub(crate) struct Intervals {
    /// Where they begin; the last has no end.
    from: BTreeSet<Vec<u8>>,
}

/// A request's footprint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footprint {
    /// Intervals that it may read, through accesses that do not write.
    pub reads: BTreeSet<u64>,
    /// Intervals that it may write.
    pub writes: BTreeSet<u64>,
}

impl Intervals {
    /// Cuts at the ends of these ranges.
    pub fn cut(&mut self, accesses: &[Access]) {
        for access in accesses {
            self.from.insert(access.first.clone());
            self.from.extend(access.end.clone());
        }
    }

    /// The numbers, from 1, of the intervals that these ranges consist of; their ends must have been cut at.
    pub fn footprint(&self, accesses: &[Access]) -> Footprint {
        let mut footprint = Footprint::default();
        for access in accesses {
            let inside = |from: &Vec<u8>| *from >= access.first && access.end.as_ref().is_none_or(|end| from < end);
            let numbers = self.from.iter().zip(1..).filter(|(from, _)| inside(from)).map(|(_, number)| number);
            if access.writes { footprint.writes.extend(numbers) } else { footprint.reads.extend(numbers) }
        }
        footprint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use check::conflict::conflict;
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
            match self.below(3) {
                0 => Request::Put(PutRequest { key: self.key(), value: "v".into(), prev_kv: false, ..PutRequest::default() }),
                1 => Request::Range(RangeRequest { key: self.key(), range_end: self.end(), limit: 0, ..RangeRequest::default() }),
                _ => Request::DeleteRange(DeleteRangeRequest { key: self.key(), range_end: self.end(), prev_kv: false }),
            }
        }

        fn request(&mut self) -> Request {
            if self.below(3) > 0 {
                return self.simple();
            }
            let compare =
                Compare { key: self.key(), result: CompareResult::Equal, target: CompareTarget::Version(0), ..Compare::default() };
            let success = (0..self.below(3)).map(|_| self.simple()).collect();
            let failure = (0..self.below(2)).map(|_| self.simple()).collect();
            Request::Txn(TxnRequest { compare: vec![compare], success, failure })
        }
    }

    fn conflicts(a: &Footprint, b: &Footprint) -> bool {
        let common = |x: &BTreeSet<u64>, y: &BTreeSet<u64>| !x.is_disjoint(y);
        common(&a.writes, &b.writes) || common(&a.writes, &b.reads) || common(&a.reads, &b.writes)
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
                let expected = conflict(a, b);
                assert_eq!(conflicts(of_a, of_b), expected, "{a:?} and {b:?}");
                seen[usize::from(expected)] += 1;
            }
        }
        assert!(seen.iter().all(|n| *n > 1000), "both answers occur: {seen:?}");
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
