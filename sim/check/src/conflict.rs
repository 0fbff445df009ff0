//! When two requests must keep their order, by the checkers' own reckoning. They must not ask the system under test: a conflict test
//! that misses a range would then be wrong in the same way on both sides.

use kv::{Bytes, Request};

/// Keys that a request touches: from the first up to, not including, the end; without an end the one key.
struct Access<'a> {
    first: &'a Bytes,
    end: Option<&'a Bytes>,
    writes: bool,
}

impl Access<'_> {
    fn contains(&self, key: &Bytes) -> bool {
        match self.end.map(Bytes::as_slice) {
            None => key == self.first,
            // The end of one zero byte is none at all, as in etcd.
            Some([0]) => key >= self.first,
            Some(end) => key >= self.first && key.as_slice() < end,
        }
    }
}

/// Calls `f` with each range of keys the request may touch, and whether it may write there: the conflict rule, from the request's
/// words alone.
pub(crate) fn accesses<'a>(request: &'a Request, f: &mut dyn FnMut(&'a Bytes, Option<&'a Bytes>, bool)) {
    match request {
        Request::Put(put) => f(&put.key, None, true),
        Request::Range(range) => f(&range.key, range.range_end.as_ref(), false),
        Request::DeleteRange(delete) => f(&delete.key, delete.range_end.as_ref(), true),
        Request::Txn(txn) => {
            txn.compare.iter().for_each(|compare| f(&compare.key, compare.range_end.as_ref(), false));
            txn.success.iter().chain(&txn.failure).for_each(|request| accesses(request, f));
        }
        // Leases and compaction are not modelled yet.
        _ => {}
    }
}

fn list(request: &Request) -> Vec<Access<'_>> {
    let mut out = Vec::new();
    accesses(request, &mut |first, end, writes| out.push(Access { first, end, writes }));
    out
}

/// Whether one of the two may observe or change what the other changes: a key that both touch, and one of them writes.
pub fn conflict(a: &Request, b: &Request) -> bool {
    if let (Request::Put(a), Request::Put(b)) = (a, b) {
        return a.key == b.key;
    }
    let (of_a, of_b) = (list(a), list(b));
    // Two ranges share a key exactly if the greater of their first keys is in both.
    of_a.iter().any(|a| of_b.iter().any(|b| (a.writes || b.writes) && a.contains(a.first.max(b.first)) && b.contains(a.first.max(b.first))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use curp::ConflictCheck;
    use kv::{DeleteRangeRequest, PutRequest, RangeRequest, TxnRequest};

    /// Every request on up to three keys, with all ends.
    fn requests() -> Vec<Request> {
        let keys: Vec<Bytes> = ["a", "b", "c"].map(Bytes::from).to_vec();
        let ends: Vec<Option<Bytes>> = ["a", "b", "c", "d", "\0"].map(|end| Some(Bytes::from(end))).into_iter().chain([None]).collect();
        let mut all = Vec::new();
        for key in &keys {
            all.push(Request::Put(PutRequest { key: key.clone(), value: "v".into(), prev_kv: false, ..PutRequest::default() }));
            for end in &ends {
                all.push(Request::Range(RangeRequest { key: key.clone(), range_end: end.clone(), limit: 0, ..RangeRequest::default() }));
                all.push(Request::DeleteRange(DeleteRangeRequest { key: key.clone(), range_end: end.clone(), prev_kv: false }));
            }
        }
        let txns: Vec<_> = all
            .windows(2)
            .map(|pair| Request::Txn(TxnRequest { compare: vec![], success: vec![pair[0].clone()], failure: vec![pair[1].clone()] }))
            .collect();
        all.extend(txns);
        all
    }

    #[test]
    fn the_checkers_and_the_store_agree_on_every_pair() {
        let all = requests();
        let mut conflicts = 0;
        for a in &all {
            for b in &all {
                assert_eq!(conflict(a, b), a.conflicts(b), "{a:?} and {b:?}");
                conflicts += u32::from(conflict(a, b));
            }
        }
        assert!(conflicts > 100 && conflicts < (all.len() * all.len()) as u32, "both answers occur");
    }
}
