//! Delegated authorisation: a token is a key with a lease. Who uses the right compares, in the same txn as its write, that the token is
//! there; who gave it withdraws it by revoking the lease, or lets it expire.

use history::RecipeResult;
use kv::{Bytes, Compare, CompareResult, CompareTarget, LEASE_NONE, LeaseId, Request, Response, TxnRequest};

use super::{Desk, Do, Heard, get, one, revoke};

#[derive(Debug)]
pub(crate) struct Authorise {
    token: Bytes,
    ttl: i64,
    lease: LeaseId,
}

impl Authorise {
    pub(super) fn new(token: Bytes, ttl: i64) -> Self {
        Authorise { token, ttl, lease: LEASE_NONE }
    }

    pub(super) fn hear(&mut self, heard: Heard, desk: &mut Desk, out: &mut Vec<Do>) {
        out.push(match heard {
            Heard::Begun => desk.grant(self.ttl),
            Heard::Answer(Response::LeaseGrant { id, .. }) => {
                self.lease = id;
                Do::Ask(desk.put(&self.token, id))
            }
            Heard::Answer(Response::Put { .. }) => Do::End(Some(RecipeResult::Authorised { lease: self.lease })),
            Heard::Answer(_) | Heard::Unknown => Do::End(None),
            _ => return,
        });
    }
}

#[derive(Debug)]
pub(crate) struct Use {
    token: Bytes,
    key: Bytes,
}

impl Use {
    pub(super) fn new(token: Bytes, key: Bytes) -> Self {
        Use { token, key }
    }

    pub(super) fn hear(&mut self, heard: Heard, desk: &mut Desk, out: &mut Vec<Do>) {
        out.push(match heard {
            Heard::Begun => Do::Ask(Request::Txn(TxnRequest {
                compare: vec![Compare {
                    key: self.token.clone(),
                    result: CompareResult::Greater,
                    target: CompareTarget::Version(0),
                    ..Compare::default()
                }],
                success: vec![desk.put(&self.key, LEASE_NONE)],
                failure: vec![get(&self.token)],
            })),
            Heard::Answer(Response::Txn { succeeded: true, .. }) => Do::End(Some(RecipeResult::Allowed)),
            Heard::Answer(Response::Txn { .. }) => Do::End(Some(RecipeResult::Denied)),
            Heard::Answer(_) | Heard::Unknown => Do::End(None),
            _ => return,
        });
    }
}

/// It gives up after so many rounds in which somebody granted the token anew.
const ROUNDS_MAX: u32 = 5;

#[derive(Debug)]
pub(crate) struct Withdraw {
    token: Bytes,
    rounds: u32,
    revoking: bool,
}

impl Withdraw {
    pub(super) fn new(token: Bytes) -> Self {
        Withdraw { token, rounds: 0, revoking: false }
    }

    pub(super) fn hear(&mut self, heard: Heard, out: &mut Vec<Do>) {
        out.push(match heard {
            Heard::Begun => Do::Ask(get(&self.token)),
            Heard::Unknown => Do::End(None),
            // Somebody may have granted it anew meanwhile, and then it is there by another lease.
            Heard::Answer(_) if std::mem::take(&mut self.revoking) => Do::Ask(get(&self.token)),
            Heard::Answer(response) => match one(&response).map(|kv| kv.lease) {
                Some(_) if self.rounds == ROUNDS_MAX => Do::End(None),
                Some(lease) => {
                    (self.revoking, self.rounds) = (true, self.rounds + 1);
                    revoke(lease)
                }
                None => Do::End(Some(RecipeResult::Withdrawn)),
            },
            _ => return,
        });
    }
}
