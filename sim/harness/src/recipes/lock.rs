//! A lock: a key that is there while somebody has it, attached to its holder's lease. The holder believes in it by its own clock.

use curp::Nanos;
use history::RecipeResult;
use kv::{Bytes, Compare, CompareResult, CompareTarget, LeaseId, Request, Response, TxnRequest};
use plan::Leave;

use super::{Desk, Do, Heard, SLACK, delete, get, revoke};

#[derive(Debug)]
pub(crate) struct Lock {
    lock: Bytes,
    ttl: i64,
    hold: Nanos,
    renew: bool,
    leave: Leave,
    lease: LeaseId,
    /// Until when it may believe in its lease.
    belief: Nanos,
    /// The value that it wrote into the lock.
    own: Bytes,
    state: State,
}

#[derive(Debug)]
enum State {
    Granting,
    Taking,
    /// Until when it wants it.
    Holding(Nanos),
    Leaving(Option<RecipeResult>),
}

impl Lock {
    pub(super) fn new(lock: Bytes, ttl: i64, hold: Nanos, renew: bool, leave: Leave) -> Self {
        Lock { lock, ttl, hold, renew, leave, lease: 0, belief: 0, own: Bytes::default(), state: State::Granting }
    }

    pub(super) fn hear(&mut self, heard: Heard, desk: &mut Desk, out: &mut Vec<Do>) {
        match (&self.state, heard) {
            (State::Granting, Heard::Begun) => out.push(desk.grant(self.ttl)),
            (State::Granting, Heard::Answer(Response::LeaseGrant { id, ttl })) => {
                self.lease = id;
                self.belief = desk.belief(desk.asked, ttl);
                self.own = plan::value(desk.next);
                self.state = State::Taking;
                out.push(Do::Ask(Request::Txn(TxnRequest {
                    compare: vec![Compare { key: self.lock.clone(), target: CompareTarget::Version(0), ..Compare::default() }],
                    success: vec![desk.put(&self.lock, id)],
                    failure: vec![get(&self.lock)],
                })));
                out.extend(self.renew.then_some(Do::Keep(id)));
            }
            (State::Granting, Heard::Answer(_) | Heard::Unknown) => out.push(Do::End(None)),
            (State::Taking, Heard::Answer(Response::Txn { succeeded: true, .. })) => {
                if desk.now + SLACK >= self.belief {
                    // It has it, and cannot know for how long.
                    return self.leave(Leave::Revoke, None, out);
                }
                self.state = State::Holding(desk.now + self.hold);
                out.push(Do::Hold { lock: self.lock.clone(), lease: self.lease });
                out.push(Do::WakeAt((desk.now + self.hold).min(self.belief - SLACK)));
            }
            (State::Taking, Heard::Answer(_)) => {
                let how = if self.leave == Leave::Expire { Leave::Expire } else { Leave::Revoke };
                self.leave(how, Some(RecipeResult::NotHeld), out);
            }
            (State::Taking, Heard::Unknown) => self.leave(Leave::Revoke, None, out),
            (State::Leaving(_), Heard::Answer(_) | Heard::Unknown) => {
                let State::Leaving(result) = &mut self.state else { return };
                out.push(Do::End(result.take()));
            }
            (State::Leaving(_), _) => {}
            (_, Heard::Kept { sent, ttl }) => {
                self.belief = if ttl > 0 { self.belief.max(desk.belief(sent, ttl)) } else { 0 };
                self.look(desk, out);
            }
            (_, Heard::Hurry) => {
                self.hold = 0;
                if let State::Holding(until) = &mut self.state {
                    *until = desk.now;
                }
                self.look(desk, out);
            }
            (_, _) => self.look(desk, out),
        }
    }

    /// Whether it is still to hold it.
    fn look(&mut self, desk: &Desk, out: &mut Vec<Do>) {
        let State::Holding(until) = self.state else { return };
        let late = desk.now + SLACK >= self.belief;
        if !late && desk.now < until {
            return out.push(Do::WakeAt(until.min(self.belief - SLACK)));
        }
        out.push(Do::LetGo { lock: self.lock.clone(), late });
        self.leave(self.leave, Some(RecipeResult::Held { lease: self.lease }), out);
    }

    fn leave(&mut self, how: Leave, result: Option<RecipeResult>, out: &mut Vec<Do>) {
        out.push(Do::StopKeeping);
        match how {
            Leave::Expire => return out.push(Do::End(result)),
            Leave::Revoke => out.push(revoke(self.lease)),
            Leave::Delete => out.push(Do::Ask(Request::Txn(TxnRequest {
                compare: vec![Compare {
                    key: self.lock.clone(),
                    result: CompareResult::Equal,
                    target: CompareTarget::Value(self.own.clone()),
                    ..Compare::default()
                }],
                success: vec![delete(&self.lock)],
                failure: vec![get(&self.lock)],
            }))),
        }
        self.state = State::Leaving(result);
    }
}
