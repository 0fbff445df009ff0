//! Commands that the servers make themselves: the revokes of leases that have expired. No client asked for them and nobody is answered, so a
//! history does not have them; but they take effect, and who judges a history must allow for them.
//!
//! In an applied log they stand under the client [`SERVERS`], which no session has, with their index for a number.

use std::collections::BTreeMap;

use curp::{Index, ProposeId};
use history::{AppliedCommand, Operation, Outcome};
use kv::{LEASE_NONE, LeaseId, LeaseRevokeRequest, Request, Response};

/// The client of commands that no client asked for.
pub const SERVERS: u64 = 0;

/// The id under which an applied log has a server's own command.
pub fn servers_id(index: Index) -> ProposeId {
    ProposeId { client: SERVERS, seq: index }
}

/// Whether the command is a server's own.
pub(crate) fn is_servers(command: &AppliedCommand) -> bool {
    command.id.client == SERVERS
}

/// First number of the operations added here; plans number theirs from 0, and steps of recipes from 2³².
const FIRST_ID: u64 = 1 << 63;

/// The history with the servers' own commands as operations that were never answered. With the log, those that it has; without, one possible
/// expiry for each grant, and each lease that was there before the history began has none. Each is invoked no earlier than the first that
/// asked for the lease it ends.
pub(crate) fn with_servers(history: &[Operation], log: Option<&[AppliedCommand]>) -> Vec<Operation> {
    let mut all = history.to_vec();
    if history.iter().any(|o| matches!(&o.op, Request::LeaseRevoke(revoke) if revoke.stamp.is_some())) {
        return all;
    }
    let granted = |o: &Operation| match (&o.op, &o.synced) {
        _ if o.outcome == Outcome::Fail => None,
        (Request::LeaseGrant(_), Some(synced)) if matches!(synced.response, Response::Error(_)) => None,
        (Request::LeaseGrant(grant), _) => Some((grant.id, o.invoke)),
        _ => None,
    };
    let mut first: BTreeMap<LeaseId, u64> = BTreeMap::new();
    for (id, invoke) in history.iter().filter_map(granted) {
        first.entry(id).and_modify(|at| *at = invoke.min(*at)).or_insert(invoke);
    }
    let expiries: Vec<(Request, u64)> = match log {
        Some(log) => {
            let own = log.iter().filter(|command| is_servers(command)).map(|command| &command.command);
            own.map(|request| (request.clone(), first.get(&lease_of(request)).copied().unwrap_or(0))).collect()
        }
        None => {
            let revoke = |id| Request::LeaseRevoke(LeaseRevokeRequest { id, stamp: Some(0) });
            history.iter().filter_map(granted).map(|(id, invoke)| (revoke(id), invoke)).collect()
        }
    };
    all.extend(expiries.into_iter().enumerate().map(|(i, (op, invoke))| Operation {
        id: FIRST_ID + i as u64,
        client: u32::MAX,
        op,
        invoke,
        ret: None,
        outcome: Outcome::Unknown,
        fast: None,
        fast_at: None,
        synced: None,
        synced_at: None,
        propose_id: None,
        applied_index: None,
    }));
    all
}

fn lease_of(request: &Request) -> LeaseId {
    match request {
        Request::LeaseRevoke(revoke) => revoke.id,
        _ => LEASE_NONE,
    }
}
