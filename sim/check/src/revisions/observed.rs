//! What responses say of the writes of others: a pair carries the revision that last wrote it, so there it was written, so, and from then until it was
//! seen it was not. An unanswered operation that is to have made a revision must agree.

use std::collections::BTreeMap;

use kv::{Bytes, KeyValue, Request, Response};

use crate::replay::Replay;

/// Of all synced responses.
#[derive(Default)]
pub(super) struct Observed {
    /// Pairs, by the revision that wrote them.
    written: BTreeMap<u64, Vec<KeyValue>>,
    /// By key: after the first revision and up to the second it was not written.
    quiet: BTreeMap<Bytes, Vec<(u64, u64)>>,
}

impl Observed {
    /// A response; `before`: the revision of the last write before it.
    pub fn response(&mut self, request: &Request, response: &Response, before: u64) {
        match (request, response) {
            (Request::Put(_), Response::Put { prev_kv }) => prev_kv.iter().for_each(|kv| self.pair(kv, before)),
            (Request::Range(range), Response::Range { kvs, .. }) if !range.keys_only => {
                let at = if range.revision == 0 { before } else { range.revision };
                kvs.iter().for_each(|kv| self.pair(kv, at));
            }
            (_, Response::DeleteRange { prev_kvs, .. }) => prev_kvs.iter().for_each(|kv| self.pair(kv, before)),
            (Request::Txn(txn), Response::Txn { succeeded, responses }) => {
                let branch = if *succeeded { &txn.success } else { &txn.failure };
                branch.iter().zip(responses).for_each(|(request, response)| self.response(request, response, before));
            }
            _ => {}
        }
    }

    fn pair(&mut self, kv: &KeyValue, until: u64) {
        let there = self.written.entry(kv.mod_revision).or_default();
        if !there.contains(kv) {
            there.push(kv.clone());
        }
        if kv.mod_revision < until {
            self.quiet.entry(kv.key.clone()).or_default().push((kv.mod_revision, until));
        }
    }

    /// A pair that some response says a revision wrote.
    pub fn at(&self, revision: u64) -> Option<&KeyValue> {
        self.written.get(&revision)?.first()
    }

    /// Whether the revision just made is as it was seen.
    pub fn allows(&self, store: &Replay, revision: u64) -> bool {
        let seen = self.written.get(&revision).into_iter().flatten().all(|kv| store.at(&kv.key, revision) == Some(kv));
        let is_quiet =
            |key: &Bytes| self.quiet.get(key).is_some_and(|spans| spans.iter().any(|(from, to)| *from < revision && revision <= *to));
        seen && !store.written(revision).iter().any(is_quiet)
    }
}
