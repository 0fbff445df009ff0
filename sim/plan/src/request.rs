//! What an operation becomes when its client comes to it: a request, by what the client knows by then.

use kv::{
    Bytes, CompactionRequest, Compare, CompareResult, CompareTarget, DeleteRangeRequest, KeyValue, LEASE_NONE, LEASE_TTL_MAX,
    LeaseGrantRequest, LeaseId, LeaseKeepAliveRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest, PutRequest, RangeRequest, Request,
    SortOrder, TXN_OPS_MAX, TxnRequest, WatchCreateRequest, WatchFilter,
};

use crate::{Action, CasBy, Mistake, Query, Watch};

/// What a client knows.
pub trait Known {
    /// What it last observed of a key; `None` if it never did, or saw the key missing.
    fn pair(&self, key: &Bytes) -> Option<&KeyValue>;
    /// The last revision that it has seen; 0: none.
    fn revision(&self) -> u64;
    /// The lease that an operation has granted, or is to grant.
    fn lease(&self, op: u64) -> LeaseId;
}

impl Action {
    /// The request that operation `id` makes; `None` if it makes several, or goes on in the background.
    pub fn request(&self, id: u64, known: &impl Known) -> Option<Request> {
        // Every other write asks for what it replaces: that pins its place in the history.
        let prev_kv = id & 1 == 0;
        let lease = |op: u64| if op == 0 { LEASE_NONE } else { known.lease(op) };
        Some(match self {
            Action::Put { key, lease: op, ignore_value, ignore_lease } => Request::Put(PutRequest {
                key: key.clone(),
                value: if *ignore_value { Bytes::default() } else { value(id) },
                prev_kv,
                lease: lease(*op),
                ignore_value: *ignore_value,
                ignore_lease: *ignore_lease,
            }),
            Action::Get { key } => get(key),
            Action::Range { from, to } => {
                Request::Range(RangeRequest { key: from.clone(), range_end: Some(to.clone()), ..RangeRequest::default() })
            }
            Action::Query(query) => query.request(known),
            Action::Delete { key } => Request::DeleteRange(DeleteRangeRequest { key: key.clone(), range_end: None, prev_kv }),
            Action::DeleteRange { from, to } => {
                Request::DeleteRange(DeleteRangeRequest { key: from.clone(), range_end: Some(to.clone()), prev_kv })
            }
            Action::Cas { key, by } => Request::Txn(TxnRequest {
                compare: vec![compare(key, *by, known)],
                // It reads back what it wrote: a fast answer must not know the revision of that.
                success: vec![put(key, id), get(key)],
                failure: vec![get(key)],
            }),
            Action::Txn { compare: key, compare_to, by, is, put: puts, get: gets, delete, lease: op } => {
                let written = |key: &Bytes| {
                    Request::Put(PutRequest { key: key.clone(), value: value(id), lease: lease(*op), ..PutRequest::default() })
                };
                let deleted = |key: &Bytes| Request::DeleteRange(DeleteRangeRequest { key: key.clone(), range_end: None, prev_kv });
                Request::Txn(TxnRequest {
                    compare: vec![Compare { range_end: compare_to.clone(), result: *is, ..compare(key, *by, known) }],
                    success: puts.iter().map(written).chain(delete.iter().map(deleted)).chain(gets.iter().map(get)).collect(),
                    failure: puts.iter().chain(delete).chain(gets).map(get).collect(),
                })
            }
            Action::Nested { compare: key, by, outer, inner } => Request::Txn(TxnRequest {
                compare: Vec::new(),
                success: vec![
                    put(outer, id),
                    Request::Txn(TxnRequest {
                        compare: vec![compare(key, *by, known)],
                        success: vec![put(inner, id)],
                        failure: vec![Request::DeleteRange(DeleteRangeRequest { key: inner.clone(), range_end: None, prev_kv })],
                    }),
                    get(outer),
                    get(inner),
                ],
                failure: Vec::new(),
            }),
            Action::Compact { at } => {
                Request::Compact(CompactionRequest { revision: known.revision().saturating_add_signed(*at), physical: prev_kv })
            }
            // Left to others to name, it has the name that their answer says.
            Action::Grant { ttl, made: true, .. } => Request::LeaseGrant(LeaseGrantRequest { ttl: *ttl, id: LEASE_NONE }),
            Action::Grant { ttl, lease: op, .. } => {
                Request::LeaseGrant(LeaseGrantRequest { ttl: *ttl, id: known.lease(if *op == 0 { id } else { *op }) })
            }
            Action::Revoke { lease: op } => Request::LeaseRevoke(LeaseRevokeRequest { id: known.lease(*op), stamp: None }),
            Action::KeepAlive { lease: op } => Request::LeaseKeepAlive(LeaseKeepAliveRequest { id: known.lease(*op) }),
            Action::TimeToLive { lease: op, keys } => {
                Request::LeaseTimeToLive(LeaseTimeToLiveRequest { id: known.lease(*op), keys: *keys })
            }
            Action::Leases {} => Request::LeaseLeases,
            Action::Mistake { what } => what.request(id),
            _ => return None,
        })
    }
}

/// What operation `id` writes.
pub fn value(id: u64) -> Bytes {
    Bytes::from(id.to_string())
}

fn get(key: &Bytes) -> Request {
    Request::Range(RangeRequest { key: key.clone(), ..RangeRequest::default() })
}

fn put(key: &Bytes, id: u64) -> Request {
    Request::Put(PutRequest { key: key.clone(), value: value(id), ..PutRequest::default() })
}

fn compare(key: &Bytes, by: CasBy, known: &impl Known) -> Compare {
    let seen = known.pair(key);
    let target = match (by, seen) {
        (CasBy::Value, Some(kv)) => CompareTarget::Value(kv.value.clone()),
        (CasBy::ModRevision, seen) => CompareTarget::ModRevision(seen.map_or(0, |kv| kv.mod_revision)),
        (CasBy::Version, seen) => CompareTarget::Version(seen.map_or(0, |kv| kv.version)),
        (CasBy::CreateRevision, seen) => CompareTarget::CreateRevision(seen.map_or(0, |kv| kv.create_revision)),
        (CasBy::Lease, seen) => CompareTarget::Lease(seen.map_or(0, |kv| kv.lease)),
        (CasBy::Value, None) => CompareTarget::Version(0), // A missing key has no value: compares with one are false.
    };
    Compare { key: key.clone(), result: CompareResult::Equal, target, ..Compare::default() }
}

impl Query {
    fn request(&self, known: &impl Known) -> Request {
        // The first revision is 1; 0 would be no revision at all.
        let revision = |at: Option<i64>| at.map_or(0, |at| known.revision().saturating_add_signed(at).max(1));
        let sorted = self.descend || self.sort != kv::SortTarget::Key;
        let order = if self.descend { SortOrder::Descend } else { SortOrder::Ascend };
        Request::Range(RangeRequest {
            key: self.key.clone(),
            range_end: self.to.clone(),
            limit: self.limit,
            revision: revision(self.at),
            sort_order: if sorted { order } else { SortOrder::None },
            sort_target: self.sort,
            serializable: self.serializable,
            keys_only: self.keys_only,
            count_only: self.count_only,
            min_mod_revision: revision(self.written_since),
            max_mod_revision: revision(self.written_until),
            min_create_revision: revision(self.created_since),
            max_create_revision: revision(self.created_until),
        })
    }
}

impl Watch {
    /// What it asks a node for.
    pub fn request(&self, known: &impl Known) -> WatchCreateRequest {
        let filters = [(self.no_put, WatchFilter::NoPut), (self.no_delete, WatchFilter::NoDelete)];
        WatchCreateRequest {
            key: self.key.clone(),
            range_end: self.to.clone(),
            start_revision: self.at.map_or(0, |at| known.revision().saturating_add_signed(at).max(1)),
            progress_notify: self.progress,
            filters: filters.into_iter().filter(|(on, _)| *on).map(|(_, filter)| filter).collect(),
            prev_kv: self.prev_kv,
        }
    }
}

impl Mistake {
    fn request(self, id: u64) -> Request {
        let txn = |success| Request::Txn(TxnRequest { success, ..TxnRequest::default() });
        let base = PutRequest { key: "k00".into(), value: value(id), ..PutRequest::default() };
        match self {
            Mistake::EmptyKey => Request::Put(PutRequest { key: Bytes::default(), ..base }),
            Mistake::ValueProvided => Request::Put(PutRequest { ignore_value: true, ..base }),
            Mistake::LeaseProvided => Request::Put(PutRequest { lease: 1, ignore_lease: true, ..base }),
            Mistake::TooManyOps => txn(vec![get(&base.key); TXN_OPS_MAX + 1]),
            Mistake::DuplicateKey => txn(vec![Request::Put(base.clone()), Request::Put(base)]),
            Mistake::NotAllowedHere => txn(vec![Request::LeaseGrant(LeaseGrantRequest { ttl: 1, id: 1 })]),
            Mistake::TtlTooLarge => Request::LeaseGrant(LeaseGrantRequest { ttl: LEASE_TTL_MAX + 1, id: i64::try_from(id).unwrap_or(1) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Saw(Option<KeyValue>);

    impl Known for Saw {
        fn pair(&self, _: &Bytes) -> Option<&KeyValue> {
            self.0.as_ref()
        }
        fn revision(&self) -> u64 {
            9
        }
        fn lease(&self, op: u64) -> LeaseId {
            op as LeaseId
        }
    }

    #[test]
    fn a_cas_compares_with_what_was_seen() {
        let cas = Action::Cas { key: "k1".into(), by: CasBy::Value };
        let seen = KeyValue { key: "k1".into(), value: "7".into(), create_revision: 2, mod_revision: 5, version: 3, lease: 4 };
        let target = |request| match request {
            Some(Request::Txn(txn)) => txn.compare[0].target.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(target(cas.request(9, &Saw(Some(seen.clone())))), CompareTarget::Value("7".into()));
        assert_eq!(target(cas.request(9, &Saw(None))), CompareTarget::Version(0));
        for (by, expect) in [
            (CasBy::ModRevision, CompareTarget::ModRevision(5)),
            (CasBy::Version, CompareTarget::Version(3)),
            (CasBy::CreateRevision, CompareTarget::CreateRevision(2)),
            (CasBy::Lease, CompareTarget::Lease(4)),
        ] {
            assert_eq!(target(Action::Cas { key: "k1".into(), by }.request(9, &Saw(Some(seen.clone())))), expect);
        }
    }

    #[test]
    fn a_write_carries_its_own_id_and_a_lease_its_grant_s() {
        let action = Action::Put { key: "k".into(), lease: 3, ignore_value: false, ignore_lease: false };
        let Some(Request::Put(put)) = action.request(12, &Saw(None)) else { panic!("a put makes a put") };
        assert_eq!((put.value, put.lease), ("12".into(), 3));
        let grant = |lease| Action::Grant { ttl: 2, lease, made: false }.request(7, &Saw(None));
        assert_eq!(grant(0), Some(Request::LeaseGrant(LeaseGrantRequest { ttl: 2, id: 7 })));
        assert_eq!(grant(3), Some(Request::LeaseGrant(LeaseGrantRequest { ttl: 2, id: 3 })));
        let unnamed = Action::Grant { ttl: 2, lease: 0, made: true }.request(7, &Saw(None));
        assert_eq!(unnamed, Some(Request::LeaseGrant(LeaseGrantRequest { ttl: 2, id: LEASE_NONE })));
    }

    #[test]
    fn revisions_are_counted_from_the_last_one_seen() {
        let query = |at| match Action::Query(Query { key: "k".into(), at, ..Query::default() }).request(1, &Saw(None)) {
            Some(Request::Range(range)) => range.revision,
            other => panic!("{other:?}"),
        };
        assert_eq!([query(None), query(Some(-3)), query(Some(5)), query(Some(-100))], [0, 6, 14, 1]);
    }

    #[test]
    fn a_mistake_is_refused_for_what_it_is() {
        let refused: Vec<_> = Mistake::ALL.iter().map(|mistake| mistake.request(5).check()).collect();
        assert!(refused.iter().all(Result::is_err), "{refused:?}");
        let mut errors: Vec<String> = refused.into_iter().filter_map(Result::err).map(|e| e.to_string()).collect();
        errors.sort();
        errors.dedup();
        assert_eq!(errors.len(), Mistake::ALL.len());
    }
}
