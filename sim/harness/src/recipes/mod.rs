//! Recipes: operations of several requests, as applications build them on leases and txns. Each is a small state machine: it hears what came
//! of its last step and says what to do next. Steps are operations of their own in the history.
//!
//! Invariant: a caller believes in what it has by a lease no longer than its own clock allows. From the moment it first sent an answered grant
//! or keep-alive, that is TTL·(1−ρ)/(1+ρ) (PROTOCOL.md, Leases).
//!
//! Deliberately absent: knowing what the nodes do, and the true time.

mod authorisation;
mod lock;
mod registry;
mod run;
mod zk;

use curp::Nanos;
use history::{Recipe, RecipeResult};
use kv::{
    Bytes, DeleteRangeRequest, KeyValue, LeaseGrantRequest, LeaseId, LeaseRevokeRequest, PutRequest, RangeRequest, Request, Response,
};
use plan::Action;
use std::collections::{BTreeMap, VecDeque};
use world::US;

pub(crate) use zk::Session;

/// Who lets go does so a little early: to be late by a hair would be too late.
const SLACK: Nanos = 5_000 * US;

const SECOND: Nanos = 1_000_000 * US;

/// What a recipe hears.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Its client has come to it.
    Begun,
    /// Its step is answered.
    Answer(Response),
    /// What came of its step is not known, and never will be.
    Unknown,
    /// A keep-alive, first sent at this reading of the client's clock, is answered: the lease's time in seconds, 0 if it is gone.
    Kept { sent: Nanos, ttl: i64 },
    /// The time it waited for is come.
    Woken,
    /// The faults have ended: it is to come to an end, too.
    Hurry,
}

/// What a recipe wants done.
#[derive(Debug)]
pub(crate) enum Do {
    /// The next step.
    Ask(Request),
    /// Be woken at this reading of the client's clock, instead of what was said before.
    WakeAt(Nanos),
    /// Keep a lease alive from here on.
    Keep(LeaseId),
    /// Do so no more.
    StopKeeping,
    /// Say that the caller believes in its lock from here on.
    Hold { lock: Bytes, lease: LeaseId },
    /// Say that it does not any more.
    LetGo {
        lock: Bytes,
        /// Since its time was over.
        late: bool,
    },
    /// That was it.
    End(Option<RecipeResult>),
}

/// What a recipe knows when it hears something.
pub(crate) struct Desk<'a> {
    pub(crate) client: u32,
    /// Its operation's number.
    pub(crate) op: u64,
    /// The number that the next step has.
    pub(crate) next: u64,
    /// The client's clock.
    pub(crate) now: Nanos,
    /// What it read when the last step was asked for.
    pub(crate) asked: Nanos,
    pub(crate) drift_ppm: u32,
    /// The client's session with ZooKeeper.
    pub(crate) session: &'a mut Option<Session>,
    /// A session's time to live, in seconds.
    pub(crate) session_ttl: i64,
}

impl Desk<'_> {
    /// Until when one may believe in a lease that had this many seconds when its grant or keep-alive was sent.
    fn belief(&self, sent: Nanos, ttl: i64) -> Nanos {
        let (ttl, drift) = (u128::from(ttl.unsigned_abs()) * u128::from(SECOND), u128::from(self.drift_ppm.min(1_000_000)));
        sent + (ttl * (1_000_000 - drift) / (1_000_000 + drift)) as Nanos
    }

    /// Grants a lease with the next step's number for its name.
    fn grant(&self, ttl: i64) -> Do {
        Do::Ask(Request::LeaseGrant(LeaseGrantRequest { ttl, id: self.next as LeaseId }))
    }

    /// A write of the next step.
    fn put(&self, key: &Bytes, lease: LeaseId) -> Request {
        Request::Put(PutRequest { key: key.clone(), value: plan::value(self.next), lease, ..PutRequest::default() })
    }
}

fn revoke(lease: LeaseId) -> Do {
    Do::Ask(Request::LeaseRevoke(LeaseRevokeRequest { id: lease, stamp: None }))
}

fn get(key: &Bytes) -> Request {
    Request::Range(RangeRequest { key: key.clone(), ..RangeRequest::default() })
}

fn delete(key: &Bytes) -> Request {
    Request::DeleteRange(DeleteRangeRequest { key: key.clone(), range_end: None, prev_kv: true })
}

/// The end of the keys that begin with these bytes, of which the last is not 255.
fn prefix_end(prefix: &Bytes) -> Bytes {
    let mut end = prefix.as_slice().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end.into()
}

/// The one pair of a range's answer.
fn one(response: &Response) -> Option<&KeyValue> {
    match response {
        Response::Range { kvs, .. } => kvs.first(),
        _ => None,
    }
}

/// The state machine of a recipe.
#[derive(Debug)]
pub(crate) enum Machine {
    Lock(lock::Lock),
    Register(registry::Register),
    Discover(registry::Discover),
    Authorise(authorisation::Authorise),
    Use(authorisation::Use),
    Withdraw(authorisation::Withdraw),
    Zk(zk::Zk),
}

impl Machine {
    /// Of operation `op`; `None` if it is a single request. `seen`: what the client last observed of keys.
    pub(crate) fn of(op: u64, action: &Action, seen: &BTreeMap<Bytes, Option<KeyValue>>) -> Option<(Machine, Recipe)> {
        Some(match action {
            Action::Lock { lock, ttl, hold_us, renew, leave } => {
                let machine = lock::Lock::new(lock.clone(), *ttl, hold_us * US, *renew, *leave);
                (Machine::Lock(machine), Recipe::Lock { lock: lock.clone() })
            }
            Action::Register { service, instance, ttl, for_us, leave } => {
                let machine = registry::Register::new(service, instance, *ttl, for_us * US, *leave);
                (Machine::Register(machine), Recipe::Register { service: service.clone(), instance: instance.clone() })
            }
            Action::Discover { service } => {
                (Machine::Discover(registry::Discover::new(service.clone())), Recipe::Discover { service: service.clone() })
            }
            Action::Authorise { token, ttl } => {
                (Machine::Authorise(authorisation::Authorise::new(token.clone(), *ttl)), Recipe::Authorise { token: token.clone() })
            }
            Action::Use { token, key } => {
                let machine = authorisation::Use::new(token.clone(), key.clone());
                (Machine::Use(machine), Recipe::Use { token: token.clone(), key: key.clone() })
            }
            Action::Withdraw { token } => {
                (Machine::Withdraw(authorisation::Withdraw::new(token.clone())), Recipe::Withdraw { token: token.clone() })
            }
            Action::Zk(action) => {
                let op = zk::op(op, action, seen);
                (Machine::Zk(zk::Zk::new(op.clone())), Recipe::Zk(op))
            }
            _ => return None,
        })
    }

    /// Hears something, and says what to do.
    pub(crate) fn hear(&mut self, heard: Heard, desk: &mut Desk, out: &mut Vec<Do>) {
        match self {
            Machine::Lock(machine) => machine.hear(heard, desk, out),
            Machine::Register(machine) => machine.hear(heard, desk, out),
            Machine::Discover(machine) => machine.hear(heard, out),
            Machine::Authorise(machine) => machine.hear(heard, desk, out),
            Machine::Use(machine) => machine.hear(heard, desk, out),
            Machine::Withdraw(machine) => machine.hear(heard, out),
            Machine::Zk(machine) => machine.hear(heard, desk, out),
        }
    }
}

/// A recipe under way at a client.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) op: u64,
    pub(crate) what: Recipe,
    /// Steps asked for.
    pub(crate) steps: u64,
    /// What the client's clock read when the last one was asked for.
    pub(crate) asked: Nanos,
    pub(crate) machine: Machine,
    /// When it is to be woken, in virtual time; earlier wakes are void.
    pub(crate) wake_at: Option<u64>,
    /// A lease is kept alive for it.
    pub(crate) keeps: bool,
    /// It believes in a lock, whether or not its lease is kept alive.
    pub(crate) holds: bool,
    /// What it has not heard yet.
    pub(crate) heard: VecDeque<Heard>,
}

impl Running {
    fn new(op: u64, machine: Machine, what: &Recipe) -> Self {
        Running { op, what: what.clone(), steps: 0, asked: 0, machine, wake_at: None, keeps: false, holds: false, heard: VecDeque::new() }
    }

    /// The number of its step of this rank.
    pub(crate) fn step(&self, rank: u64) -> u64 {
        self.op << 32 | rank
    }
}
