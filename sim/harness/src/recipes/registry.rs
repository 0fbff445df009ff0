//! A registry of services: an instance is a key under its service's prefix, attached to a lease that the instance keeps alive.

use curp::Nanos;
use history::RecipeResult;
use kv::{Bytes, LeaseId, RangeRequest, Request, Response};
use plan::Leave;

use super::{Desk, Do, Heard, prefix_end, revoke};

#[derive(Debug)]
pub(crate) struct Register {
    key: Bytes,
    ttl: i64,
    stay: Nanos,
    leave: Leave,
    lease: LeaseId,
    state: State,
}

#[derive(Debug)]
enum State {
    Granting,
    Writing,
    /// It serves, until then.
    Serving(Nanos),
    Leaving,
}

impl Register {
    pub(super) fn new(service: &Bytes, instance: &Bytes, ttl: i64, stay: Nanos, leave: Leave) -> Self {
        let key = [service.as_slice(), instance.as_slice()].concat().into();
        Register { key, ttl, stay, leave, lease: 0, state: State::Granting }
    }

    pub(super) fn hear(&mut self, heard: Heard, desk: &mut Desk, out: &mut Vec<Do>) {
        let registered = Some(RecipeResult::Registered { lease: self.lease });
        match (&self.state, heard) {
            (State::Granting, Heard::Begun) => out.push(desk.grant(self.ttl)),
            (State::Granting, Heard::Answer(Response::LeaseGrant { id, .. })) => {
                self.lease = id;
                self.state = State::Writing;
                out.push(Do::Ask(desk.put(&self.key, id)));
                out.push(Do::Keep(id));
            }
            (State::Writing, Heard::Answer(Response::Put { .. })) => {
                self.state = State::Serving(desk.now + self.stay);
                out.push(Do::WakeAt(desk.now + self.stay));
            }
            (State::Granting | State::Writing, Heard::Answer(_) | Heard::Unknown) => {
                out.extend([Do::StopKeeping, Do::End(None)]);
            }
            // The lease is gone, and the instance with it.
            (State::Serving(_), Heard::Kept { ttl: 0, .. }) => out.extend([Do::StopKeeping, Do::End(registered)]),
            (State::Serving(until), Heard::Woken) if desk.now < *until => out.push(Do::WakeAt(*until)),
            (State::Serving(_), Heard::Woken | Heard::Hurry) => {
                out.push(Do::StopKeeping);
                if self.leave == Leave::Expire {
                    return out.push(Do::End(registered));
                }
                out.push(revoke(self.lease));
                self.state = State::Leaving;
            }
            (State::Leaving, Heard::Answer(_) | Heard::Unknown) => out.push(Do::End(registered)),
            (_, Heard::Hurry) => self.stay = 0,
            _ => {}
        }
    }
}

#[derive(Debug)]
pub(crate) struct Discover {
    service: Bytes,
}

impl Discover {
    pub(super) fn new(service: Bytes) -> Self {
        Discover { service }
    }

    pub(super) fn hear(&mut self, heard: Heard, out: &mut Vec<Do>) {
        let name = |key: &Bytes| Bytes::from(key.as_slice()[self.service.as_slice().len()..].to_vec());
        out.push(match heard {
            Heard::Begun => {
                let range_end = Some(prefix_end(&self.service));
                Do::Ask(Request::Range(RangeRequest { key: self.service.clone(), range_end, ..RangeRequest::default() }))
            }
            Heard::Answer(Response::Range { kvs, .. }) => {
                Do::End(Some(RecipeResult::Instances { instances: kvs.iter().map(|kv| name(&kv.key)).collect() }))
            }
            Heard::Answer(_) | Heard::Unknown => Do::End(None),
            _ => return,
        });
    }
}
