//! The probes of answers: every kind of operation, every option, every error.

use kv::{CompareTarget, Error, LEASE_NONE, RangeRequest, Request, Response, SortOrder};

use crate::observe::probe;

/// An error's probe.
pub(crate) fn of_error(error: Error) -> usize {
    match error {
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
        Error::LeaderChanged => const { probe("error_leader_changed") },
        Error::EmptyWatchRange => const { probe("error_empty_watch_range") },
    }
}

/// The probes of an operation that was answered so.
pub(crate) fn of_answer(request: &Request, response: &Response) -> Vec<usize> {
    if let Response::Error(error) = response {
        return vec![of_error(*error)];
    }
    let mut probes = Vec::new();
    let mut fire = |on: bool, probe: usize| probes.extend(on.then_some(probe));
    match request {
        Request::Put(put) => {
            fire(true, const { probe("op_put") });
            fire(put.lease != LEASE_NONE, const { probe("op_put_with_lease") });
            fire(put.ignore_value, const { probe("op_put_ignore_value") });
            fire(put.ignore_lease, const { probe("op_put_ignore_lease") });
            fire(matches!(response, Response::Put { prev_kv: Some(_) }), const { probe("op_put_prev_kv") });
        }
        Request::Range(range) => probes.extend(of_range(range, response)),
        Request::DeleteRange(_) => fire(true, const { probe("op_delete_range") }),
        Request::Txn(txn) => {
            let succeeded = matches!(response, Response::Txn { succeeded: true, .. });
            let mut requests = txn.success.iter().chain(&txn.failure);
            fire(succeeded, const { probe("op_txn_succeeded") });
            fire(!succeeded, const { probe("op_txn_failed") });
            fire(requests.any(|request| matches!(request, Request::Txn(_))), const { probe("op_txn_nested") });
            let lease = txn.compare.iter().any(|compare| matches!(compare.target, CompareTarget::Lease(_)));
            fire(lease, const { probe("op_txn_lease") });
        }
        Request::Compact(_) => fire(true, const { probe("op_compact") }),
        Request::LeaseGrant(_) => fire(true, const { probe("op_lease_grant") }),
        Request::LeaseRevoke(_) => fire(true, const { probe("op_lease_revoke") }),
        Request::LeaseKeepAlive(_) => {
            let gone = matches!(response, Response::LeaseKeepAlive { ttl: 0, .. });
            fire(gone, const { probe("op_lease_keep_alive_gone") });
            fire(!gone, const { probe("op_lease_keep_alive") });
        }
        Request::LeaseTimeToLive(_) => fire(true, const { probe("op_lease_time_to_live") }),
        Request::LeaseLeases => fire(true, const { probe("op_lease_leases") }),
    }
    probes
}

fn of_range(range: &RangeRequest, response: &Response) -> impl Iterator<Item = usize> {
    let bounds = [range.min_mod_revision, range.max_mod_revision, range.min_create_revision, range.max_create_revision];
    [
        (true, const { probe("op_range") }),
        (range.revision > 0, const { probe("op_range_historic") }),
        (range.serializable, const { probe("op_range_serializable") }),
        (range.sort_order != SortOrder::None, const { probe("op_range_sorted") }),
        (matches!(response, Response::Range { more: true, .. }), const { probe("op_range_limited") }),
        (bounds != [0; 4], const { probe("op_range_filtered") }),
        (range.keys_only, const { probe("op_range_keys_only") }),
        (range.count_only, const { probe("op_range_count_only") }),
    ]
    .into_iter()
    .filter(|(on, _)| *on)
    .map(|(_, probe)| probe)
}
