//! Which operations of a history belong together: those that share a key or a lease, directly or through others. A revoke shares every key that
//! some put attaches to its lease. An unanswered write that nobody can have observed is left out.

use kv::{LEASE_NONE, Request, Response};

use super::Kv;
use super::names::Span;
use crate::model::{History, Model};

impl Kv {
    /// Calls `f` with every span of keys and leases that the operation may touch, and whether it observes it (or else only writes). Leases are
    /// numbered after the keys.
    fn touched(&self, request: &Request, ret: Option<&Response>, f: &mut impl FnMut(Span, bool)) {
        let (names, answered) = (&*self.names, ret.is_some());
        let first_lease = names.keys.len() as u32;
        let lease = |id| {
            let at = first_lease + names.leases.range(..id).count() as u32;
            (at, at + 1)
        };
        match request {
            Request::Put(put) => {
                f(names.span(&put.key, None), (put.prev_kv && answered) || put.ignore_value || put.ignore_lease);
                if put.lease != LEASE_NONE {
                    f(lease(put.lease), true);
                }
            }
            // What a revision held is not the values' business.
            Request::Range(range) if range.revision != 0 => {}
            Request::Range(range) => f(names.span(&range.key, range.range_end.as_ref()), true),
            Request::DeleteRange(delete) => f(names.span(&delete.key, delete.range_end.as_ref()), answered),
            Request::Txn(txn) => {
                txn.compare.iter().for_each(|c| f(names.span(&c.key, c.range_end.as_ref()), true));
                let taken = match ret {
                    Some(Response::Txn { succeeded: true, .. }) => [Some(&txn.success), None],
                    Some(Response::Txn { succeeded: false, .. }) => [None, Some(&txn.failure)],
                    _ => [Some(&txn.success), Some(&txn.failure)],
                };
                // Inside, everything that could observe is taken to: a set too large only keeps more operations.
                let answered = Some(&Response::Put { prev_kv: None });
                taken.into_iter().flatten().flatten().for_each(|request| self.touched(request, answered, f));
            }
            Request::LeaseGrant(grant) => f(lease(grant.id), answered),
            Request::LeaseRevoke(revoke) => {
                f(lease(revoke.id), answered);
                let keys = names.leases.get(&revoke.id).into_iter().flatten();
                keys.for_each(|key| f((*key, key + 1), false));
            }
            Request::LeaseLeases => f((first_lease, first_lease + names.leases.len() as u32), true),
            Request::Compact(_) | Request::LeaseKeepAlive(_) | Request::LeaseTimeToLive(_) => {}
        }
    }

    fn things(&self) -> usize {
        self.names.keys.len() + self.names.leases.len()
    }

    pub(super) fn parts(&self, mut history: History<Self>) -> Vec<(Self, History<Self>)> {
        self.drop_unobserved(&mut history);
        let mut root: Vec<u32> = (0..self.things() as u32).collect();
        let mut first_of: Vec<Option<u32>> = Vec::with_capacity(history.len());
        for op in &history {
            let mut first: Option<u32> = None;
            self.touched(&op.op, op.ret.as_ref(), &mut |(from, to), _| {
                for thing in from..to {
                    let (a, b) = (find(&mut root, *first.get_or_insert(thing)), find(&mut root, thing));
                    root[a as usize] = b;
                }
            });
            first_of.push(first);
        }
        let mut parts: Vec<(Self, History<Self>)> = Vec::new();
        let mut part_of: Vec<Option<usize>> = vec![None; root.len()];
        for (op, first) in history.into_iter().zip(first_of) {
            let part = match first.map(|first| find(&mut root, first) as usize) {
                Some(root) => part_of[root],
                // It touches nothing that exists: alone, its answer must be empty.
                None => None,
            };
            match part {
                Some(part) => parts[part].1.push(op),
                None => {
                    if let Some(first) = first {
                        part_of[find(&mut root, first) as usize] = Some(parts.len());
                    }
                    parts.push((self.clone(), vec![op]));
                }
            }
        }
        parts
    }

    fn drop_unobserved(&self, history: &mut History<Self>) {
        if history.iter().all(|op| op.is_complete()) {
            return;
        }
        // For each key and lease, when the last operation that observes it ends.
        let mut observed_until: Vec<Option<u64>> = vec![None; self.things()];
        history.retain(|op| op.is_complete() || !self.reads_only(&op.op, None));
        for op in history.iter() {
            self.touched(&op.op, op.ret.as_ref(), &mut |(from, to), observes| {
                for thing in (from..to).filter(|_| observes) {
                    observed_until[thing as usize] = observed_until[thing as usize].max(Some(op.end));
                }
            });
        }
        history.retain(|op| {
            let mut needed = op.is_complete();
            self.touched(&op.op, None, &mut |(from, to), _| {
                needed |= (from..to).any(|thing| observed_until[thing as usize].is_some_and(|until| until >= op.invoke));
            });
            needed
        });
    }
}

fn find(root: &mut [u32], mut thing: u32) -> u32 {
    while root[thing as usize] != thing {
        root[thing as usize] = root[root[thing as usize] as usize];
        thing = root[thing as usize];
    }
    thing
}
