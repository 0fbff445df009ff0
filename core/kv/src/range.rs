//! What a range request answers, given the versions it finds: limit, order, filters, keys only, count only. As in etcd: pairs are left out
//! first, then sorted, then cut off at the limit; the count is of all that was found. Of a request that names what to sort by, but no order and no
//! filter, etcd fetches no more than the limit and one in key order, and sorts these: so it is here.
//!
//! It knows nothing of revisions but to compare them: which versions are found is the store's affair.

use std::cmp::Ordering;

use crate::history::Version;
use crate::{Bytes, KeyValue, REVISION_UNKNOWN, RangeRequest, Response, SortOrder, SortTarget};

/// The answer to `request` if these are the live keys in its range, in order, with the version it is to see of each.
pub(crate) fn answer<'a>(request: &RangeRequest, found: impl Iterator<Item = (&'a Bytes, &'a Version)>) -> Response {
    let limit = if request.limit == 0 { usize::MAX } else { usize::try_from(request.limit).unwrap_or(usize::MAX) };
    let unordered = request.sort_order == SortOrder::None && !has_filter(request);
    let fetched = if unordered { limit.saturating_add(1) } else { usize::MAX };
    let in_key_order = request.sort_target == SortTarget::Key && request.sort_order != SortOrder::Descend;
    let (mut kvs, mut count, mut more) = (Vec::new(), 0, false);
    for (key, version) in found {
        count += 1;
        if request.count_only || !is_wanted(request, version) {
            continue;
        }
        // In key order nothing later can take the place of what is there.
        if in_key_order && kvs.len() == limit {
            more = true;
        } else if kvs.len() < fetched {
            kvs.extend(version.key_value(key));
        }
    }
    if !in_key_order {
        sort(&mut kvs, request.sort_target, request.sort_order);
        more = kvs.len() > limit;
        kvs.truncate(limit);
    }
    if request.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value = Bytes::default());
    }
    Response::Range { kvs, count, more }
}

fn has_filter(request: &RangeRequest) -> bool {
    [request.min_mod_revision, request.max_mod_revision, request.min_create_revision, request.max_create_revision].iter().any(|r| *r != 0)
}

fn is_wanted(request: &RangeRequest, version: &Version) -> bool {
    let within = |revision, min, max| (min == 0 || known(revision) >= min) && (max == 0 || known(revision) <= max);
    within(version.mod_revision, request.min_mod_revision, request.max_mod_revision)
        && within(version.create_revision, request.min_create_revision, request.max_create_revision)
}

/// A revision as far as its place among others goes. One that is not known yet is the command's own, hence later than all that it sees.
fn known(revision: u64) -> u64 {
    if revision == REVISION_UNKNOWN { u64::MAX } else { revision }
}

/// Sorts pairs that stand in key order; equal ones stay in it.
fn sort(kvs: &mut [KeyValue], target: SortTarget, order: SortOrder) {
    let by = |a: &KeyValue, b: &KeyValue| -> Ordering {
        match target {
            SortTarget::Key => a.key.cmp(&b.key),
            SortTarget::Version => a.version.cmp(&b.version),
            SortTarget::Create => known(a.create_revision).cmp(&known(b.create_revision)),
            SortTarget::Mod => known(a.mod_revision).cmp(&known(b.mod_revision)),
            SortTarget::Value => a.value.cmp(&b.value),
        }
    };
    match order {
        SortOrder::None | SortOrder::Ascend => kvs.sort_by(by),
        SortOrder::Descend => kvs.sort_by(|a, b| by(b, a)),
    }
}
