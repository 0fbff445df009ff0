//! Whether an operation makes sense.

use super::{Check, check_time, ensure};
use crate::{Action, Leave, Query, Watch, ZkAction};
use kv::Bytes;

/// The longest time to live, in seconds, that an operation asks for: longer than any run.
const TTL_MAX: i64 = 1_000_000;
/// Revisions are at most so far from the last that was seen.
const AT_MAX: u64 = 1_000_000_000;
/// Most nodes on a path, and most operations in a multi.
const ZK_MAX: usize = 9;

fn key(key: &Bytes) -> Check {
    ensure(!key.as_slice().is_empty(), || "a key is empty; keys have at least one byte".to_owned())
}

fn range(from: &Bytes, to: &Bytes) -> Check {
    key(from)?;
    ensure(from < to, || format!("the range from {from} to {to} is empty; its end must be greater"))
}

fn at(at: Option<i64>) -> Check {
    ensure(at.is_none_or(|at| at.unsigned_abs() <= AT_MAX), || format!("a revision lies more than {AT_MAX} from the last one seen"))
}

fn ttl(ttl: i64) -> Check {
    ensure((-1..=TTL_MAX).contains(&ttl), || format!("ttl is {ttl}; it is from -1 to {TTL_MAX} seconds"))
}

fn lease(lease: u64) -> Check {
    ensure(lease > 0, || "lease is 0; it is the id of the operation that grants it".to_owned())
}

pub(super) fn check_action(action: &Action) -> Check {
    match action {
        Action::Put { key: k, lease, ignore_lease, .. } => {
            key(k)?;
            ensure(*lease == 0 || !ignore_lease, || "a put with ignore_lease has no lease; to make that mistake, use mistake".to_owned())
        }
        Action::Get { key: k } | Action::Delete { key: k } | Action::Cas { key: k, .. } => key(k),
        Action::Range { from, to } | Action::DeleteRange { from, to } => range(from, to),
        Action::Query(query) => check_query(query),
        Action::Txn { compare, compare_to, put, get, delete, .. } => {
            compare_to.as_ref().map_or(Ok(()), |to| range(compare, to))?;
            key(compare)?;
            put.iter().chain(delete).chain(get).try_for_each(key)?;
            let written: Vec<&Bytes> = put.iter().chain(delete).collect();
            let twice = written.iter().enumerate().find(|(i, k)| written[..*i].contains(k));
            ensure(twice.is_none(), || "a txn writes a key twice; its writes must be of distinct keys".to_owned())?;
            let empty = written.is_empty() && get.is_empty();
            ensure(!empty, || "a txn neither writes nor reads; give it put, delete or get".to_owned())
        }
        Action::Nested { compare, outer, inner, .. } => {
            [compare, outer, inner].into_iter().try_for_each(key)?;
            ensure(outer != inner, || "a nested txn writes a key twice; outer and inner must differ".to_owned())
        }
        Action::Compact { at: revision } => at(Some(*revision)),
        Action::Grant { ttl: t, lease, made } => {
            ensure(*lease == 0 || !made, || "a grant of a given lease does not make its name".to_owned())?;
            ttl(*t)
        }
        Action::Revoke { lease: l } | Action::KeepAlive { lease: l } | Action::TimeToLive { lease: l, .. } => lease(*l),
        Action::Renew { lease: l, for_us } => lease(*l).and_then(|()| check_time("for_us", *for_us)),
        Action::Leases {} | Action::Mistake { .. } => Ok(()),
        Action::Watch(watch) => check_watch(watch),
        Action::Lock { lock, ttl: t, hold_us, .. } => {
            key(lock)?;
            ttl(*t)?;
            check_time("hold_us", *hold_us)
        }
        Action::Register { service: s, instance, ttl: t, for_us, leave } => {
            service(s)?;
            key(instance)?;
            ttl(*t)?;
            ensure(*leave != Leave::Delete, || "an instance is left by revoke or expire".to_owned())?;
            check_time("for_us", *for_us)
        }
        Action::Discover { service: s } => service(s),
        Action::Authorise { token, ttl: t } => key(token).and_then(|()| ttl(*t)),
        Action::Use { token, key: k } => {
            ensure(token != k, || "a token does not allow to write itself".to_owned())?;
            key(token).and_then(|()| key(k))
        }
        Action::Withdraw { token } => key(token),
        Action::Zk(action) => check_zk(action),
    }
}

fn check_query(query: &Query) -> Check {
    query.to.as_ref().map_or(Ok(()), |to| range(&query.key, to))?;
    key(&query.key)?;
    [query.at, query.written_since, query.written_until, query.created_since, query.created_until].into_iter().try_for_each(at)
}

fn check_watch(watch: &Watch) -> Check {
    key(&watch.key)?;
    at(watch.at)?;
    ensure(watch.ask_us == 0 || watch.ask_us >= 1_000, || format!("ask_us is {}; it is 0 or at least 1000", watch.ask_us))?;
    check_time("pace_us", watch.pace_us)?;
    check_time("ask_us", watch.ask_us)?;
    check_time("for_us", watch.for_us.unwrap_or(0))
}

fn service(service: &Bytes) -> Check {
    ensure(service.as_slice().len() > 1 && service.as_slice().ends_with(b"/"), || {
        format!("the service {service} does not end in a slash: its instances are the keys that begin with it")
    })
}

fn path(path: &Bytes) -> Check {
    let good = std::str::from_utf8(path.as_slice()).is_ok_and(|path| {
        let mut names = path.split('/');
        names.next() == Some("") && path.split('/').count() <= ZK_MAX && names.all(|name| !name.is_empty())
    });
    ensure(good, || format!("the path {path} is none: it is `/` and a name, up to {} times", ZK_MAX - 1))
}

fn check_zk(action: &ZkAction) -> Check {
    match action {
        ZkAction::GetChildren { path: root } if root.as_slice() == b"/" => Ok(()),
        ZkAction::Multi { ops } => {
            ensure((1..=ZK_MAX).contains(&ops.len()), || format!("a multi has from 1 to {ZK_MAX} operations"))?;
            let mut paths: Vec<&[u8]> = Vec::new();
            for op in ops {
                let fits = match op {
                    ZkAction::Create { sequential, .. } => !sequential,
                    ZkAction::SetData { .. } | ZkAction::Delete { .. } => true,
                    _ => false,
                };
                ensure(fits, || "a multi is made of creates that are not sequential, sets and deletes".to_owned())?;
                check_zk(op)?;
                let here = op.path().map_or(&b""[..], Bytes::as_slice);
                let within = |a: &[u8], b: &[u8]| a.strip_prefix(b).is_some_and(|rest| rest.is_empty() || rest[0] == b'/');
                ensure(!paths.iter().any(|there| within(here, there) || within(there, here)), || {
                    "a multi is about nodes none of which is, or lies below, another".to_owned()
                })?;
                paths.push(here);
            }
            Ok(())
        }
        ZkAction::Sync | ZkAction::CloseSession => Ok(()),
        ZkAction::Create { path: p, .. }
        | ZkAction::SetData { path: p, .. }
        | ZkAction::Delete { path: p, .. }
        | ZkAction::GetData { path: p }
        | ZkAction::GetChildren { path: p } => path(p),
    }
}
