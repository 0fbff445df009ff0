//! The probes of answers: every kind of operation, every option, every error. Requests are taken apart field by field, so that a new kind or
//! option does not compile without a probe, or a word here why it needs none.

use kv::{
    CompactionRequest, Compare, CompareResult, CompareTarget, DeleteRangeRequest, Error, LEASE_NONE, LeaseGrantRequest,
    LeaseKeepAliveRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest, PutRequest, RangeRequest, Request, Response, SortOrder, SortTarget,
    TxnRequest, WatchCreateRequest, WatchFilter,
};

use crate::observe::probe;

/// An error's probe. [`Error::LeaderChanged`] has none: it cannot happen while `core/` is right.
pub(crate) fn of_error(error: Error) -> Option<usize> {
    Some(match error {
        Error::EmptyKey => const { probe("error_empty_key") },
        Error::KeyNotFound => const { probe("error_key_not_found") },
        Error::ValueProvided => const { probe("error_value_provided") },
        Error::LeaseProvided => const { probe("error_lease_provided") },
        Error::TooManyOps => const { probe("error_too_many_ops") },
        Error::DuplicateKey => const { probe("error_duplicate_key") },
        Error::NotAllowedHere => const { probe("error_not_allowed_here") },
        Error::Compacted => const { probe("error_compacted") },
        Error::FutureRevision => const { probe("error_future_revision") },
        Error::LeaseNotFound => const { probe("error_lease_not_found") },
        Error::LeaseExists => const { probe("error_lease_exists") },
        Error::LeaseTtlTooLarge => const { probe("error_lease_ttl_too_large") },
        Error::LeaderChanged => return None,
        Error::EmptyWatchRange => const { probe("error_empty_watch_range") },
    })
}

/// The probe of a request that a client of etcd's API has the answer to, if it was done.
pub(crate) fn of_call(request: &Request, response: &Response) -> Option<usize> {
    if response.error().is_some() || matches!(response, Response::LeaseKeepAlive { ttl: ..=0, .. }) {
        return None;
    }
    Some(match request {
        Request::Put(_) => const { probe("call_put") },
        Request::Range(_) => const { probe("call_range") },
        Request::DeleteRange(_) => const { probe("call_delete_range") },
        Request::Txn(_) => const { probe("call_txn") },
        Request::Compact(_) => const { probe("call_compact") },
        Request::LeaseGrant(_) => const { probe("call_lease_grant") },
        Request::LeaseRevoke(_) => const { probe("call_lease_revoke") },
        Request::LeaseKeepAlive(_) => const { probe("call_lease_keep_alive") },
        Request::LeaseTimeToLive(_) => const { probe("call_lease_time_to_live") },
        Request::LeaseLeases => const { probe("call_lease_leases") },
    })
}

/// The probes of a watch that a node has begun, which had applied this revision, or all up to where the watch begins.
pub(crate) fn of_watch(request: &WatchCreateRequest, applied: u64) -> Vec<usize> {
    // The key is whatever it is; what asks for the previous pair and for progress shows when it is told.
    let WatchCreateRequest { key: _, range_end, start_revision, progress_notify: _, filters, prev_kv: _ } = request;
    let mut probes = vec![match *start_revision {
        0 => const { probe("watch_from_present") },
        at if at <= applied + 1 => const { probe("watch_from_past") },
        _ => const { probe("watch_from_future") },
    }];
    probes.extend(range_end.is_some().then_some(const { probe("watch_of_range") }));
    probes.extend(filters.iter().map(|filter| match filter {
        WatchFilter::NoPut => const { probe("watch_without_puts") },
        WatchFilter::NoDelete => const { probe("watch_without_deletes") },
    }));
    probes
}

/// The probes of an operation that was answered so.
pub(crate) fn of_answer(request: &Request, response: &Response) -> Vec<usize> {
    if let Response::Error(error) = response {
        return of_error(*error).into_iter().collect();
    }
    let mut probes = Vec::new();
    let mut fire = |on: bool, probe: usize| probes.extend(on.then_some(probe));
    match request {
        Request::Put(PutRequest { key: _, value: _, prev_kv: _, lease, ignore_value, ignore_lease }) => {
            fire(true, const { probe("op_put") });
            fire(*lease != LEASE_NONE, const { probe("op_put_with_lease") });
            fire(*ignore_value, const { probe("op_put_ignore_value") });
            fire(*ignore_lease, const { probe("op_put_ignore_lease") });
            fire(matches!(response, Response::Put { prev_kv: Some(_) }), const { probe("op_put_prev_kv") });
        }
        Request::Range(range) => of_range(range, response, &mut fire),
        Request::DeleteRange(DeleteRangeRequest { key: _, range_end, prev_kv: _ }) => {
            let told = matches!(response, Response::DeleteRange { prev_kvs, .. } if !prev_kvs.is_empty());
            fire(true, const { probe("op_delete_range") });
            fire(range_end.is_some(), const { probe("op_delete_range_wide") });
            fire(told, const { probe("op_delete_range_prev_kv") });
        }
        Request::Txn(txn) => of_txn(txn, response, &mut fire),
        Request::Compact(CompactionRequest { revision: _, physical }) => {
            fire(true, const { probe("op_compact") });
            fire(*physical, const { probe("op_compact_physical") });
        }
        // By the time of the answer it has a name, whoever gave it one: the plan knows (`op_lease_grant_unnamed`).
        Request::LeaseGrant(LeaseGrantRequest { ttl: _, id: _ }) => fire(true, const { probe("op_lease_grant") }),
        // A client has no stamp to put on it.
        Request::LeaseRevoke(LeaseRevokeRequest { id: _, stamp: _ }) => fire(true, const { probe("op_lease_revoke") }),
        Request::LeaseKeepAlive(LeaseKeepAliveRequest { id: _ }) => {
            let gone = matches!(response, Response::LeaseKeepAlive { ttl: 0, .. });
            fire(gone, const { probe("op_lease_keep_alive_gone") });
            fire(!gone, const { probe("op_lease_keep_alive") });
        }
        Request::LeaseTimeToLive(LeaseTimeToLiveRequest { id: _, keys: _ }) => {
            let Response::LeaseTimeToLive { ttl, keys, .. } = response else { return probes };
            fire(true, const { probe("op_lease_time_to_live") });
            fire(!keys.is_empty(), const { probe("op_lease_time_to_live_keys") });
            fire(*ttl < 0, const { probe("op_lease_time_to_live_gone") });
        }
        Request::LeaseLeases => fire(true, const { probe("op_lease_leases") }),
    }
    probes
}

fn of_range(range: &RangeRequest, response: &Response, fire: &mut impl FnMut(bool, usize)) {
    let RangeRequest {
        key: _,
        range_end,
        // That it cuts something off shows in the answer.
        limit: _,
        revision,
        sort_order,
        sort_target,
        serializable,
        keys_only,
        count_only,
        min_mod_revision,
        max_mod_revision,
        min_create_revision,
        max_create_revision,
    } = range;
    fire(true, const { probe("op_range") });
    fire(range_end.is_some(), const { probe("op_range_wide") });
    fire(*revision > 0, const { probe("op_range_historic") });
    fire(*serializable, const { probe("op_range_serializable") });
    let by = match sort_target {
        SortTarget::Key => const { probe("op_range_sorted_key") },
        SortTarget::Version => const { probe("op_range_sorted_version") },
        SortTarget::Create => const { probe("op_range_sorted_create") },
        SortTarget::Mod => const { probe("op_range_sorted_mod") },
        SortTarget::Value => const { probe("op_range_sorted_value") },
    };
    match sort_order {
        SortOrder::None => {}
        SortOrder::Ascend => fire(true, by),
        SortOrder::Descend => {
            fire(true, by);
            fire(true, const { probe("op_range_descending") });
        }
    }
    fire(matches!(response, Response::Range { more: true, .. }), const { probe("op_range_limited") });
    fire(*min_mod_revision > 0, const { probe("op_range_min_mod") });
    fire(*max_mod_revision > 0, const { probe("op_range_max_mod") });
    fire(*min_create_revision > 0, const { probe("op_range_min_create") });
    fire(*max_create_revision > 0, const { probe("op_range_max_create") });
    fire(*keys_only, const { probe("op_range_keys_only") });
    fire(*count_only, const { probe("op_range_count_only") });
}

fn of_txn(txn: &TxnRequest, response: &Response, fire: &mut impl FnMut(bool, usize)) {
    let TxnRequest { compare, success, failure } = txn;
    let Response::Txn { succeeded, responses } = response else { return };
    fire(*succeeded, const { probe("op_txn_succeeded") });
    fire(!succeeded, const { probe("op_txn_failed") });
    let compares = compare.iter().chain([success, failure].into_iter().flatten().flat_map(|request| match request {
        Request::Txn(inner) => &inner.compare[..],
        _ => &[],
    }));
    for Compare { key: _, result, target, range_end } in compares {
        fire(
            true,
            match target {
                CompareTarget::Version(_) => const { probe("op_txn_compares_version") },
                CompareTarget::CreateRevision(_) => const { probe("op_txn_compares_create") },
                CompareTarget::ModRevision(_) => const { probe("op_txn_compares_mod") },
                CompareTarget::Value(_) => const { probe("op_txn_compares_value") },
                CompareTarget::Lease(_) => const { probe("op_txn_compares_lease") },
            },
        );
        fire(
            true,
            match result {
                CompareResult::Equal => const { probe("op_txn_equal") },
                CompareResult::NotEqual => const { probe("op_txn_not_equal") },
                CompareResult::Greater => const { probe("op_txn_greater") },
                CompareResult::Less => const { probe("op_txn_less") },
            },
        );
        fire(range_end.is_some(), const { probe("op_txn_compares_range") });
    }
    for response in responses {
        let Response::Txn { succeeded, .. } = response else { continue };
        fire(true, const { probe("op_txn_nested") });
        fire(*succeeded, const { probe("op_txn_nested_succeeded") });
        fire(!succeeded, const { probe("op_txn_nested_failed") });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plan::PROBES;

    #[test]
    fn every_error_has_its_probe_but_the_one_that_cannot_happen() {
        let mut names: Vec<&str> = Error::ALL.iter().filter_map(|error| of_error(*error)).map(|probe| PROBES[probe].0).collect();
        names.sort_unstable();
        let all: Vec<&str> = PROBES.iter().map(|(name, _)| *name).filter(|name| name.starts_with("error_")).collect();
        assert_eq!((names, all.len()), (all.clone(), Error::ALL.len() - 1));
    }

    #[test]
    fn options_have_theirs() {
        let range = RangeRequest { sort_order: SortOrder::Descend, max_mod_revision: 3, count_only: true, ..RangeRequest::default() };
        let response = Response::Range { kvs: Vec::new(), count: 0, more: true };
        let names: Vec<&str> = of_answer(&Request::Range(range), &response).into_iter().map(|probe| PROBES[probe].0).collect();
        assert_eq!(
            names,
            ["op_range", "op_range_sorted_key", "op_range_descending", "op_range_limited", "op_range_max_mod", "op_range_count_only"]
        );
    }
}
