//! Applications built on leases and txns: a lock, a service registry, delegated authorisation. Each is held to what its users rely on.
//!
//! - **Lock:** two holders never believe in it at the same time, each trusting its own clock for as long as it may ([`ClientEvent::Hold`]).
//! - **Registry:** who asks for the instances of a service gets all that were registered all the while, and none that was not at all.
//! - **Authorisation:** a use is allowed only if the token was there at some moment of it, refused only if it was not there at some moment, and then
//!   writes nothing.
//!
//! What was there is told by the store replayed from the log, between the revisions applied before the operation began and when it ended, or its
//! own steps were applied, which after a fast answer is later. So all but the lock is judged at the end of the run. That each step is right is
//! the linearizability check's business.

use std::collections::BTreeMap;

use curp::ProposeId;
use history::{ClientEvent, Event, Recipe, RecipeResult, Stamped};
use kv::{Bytes, KeyValue, LeaseId};

use super::ghost::Ghost;
use super::report::{At, Check, Report};

pub(super) const HELD_ONCE: &str = "a lock is never held by two who may both believe in it";
pub(super) const HELD_BY_LEASE: &str = "who is told that it holds the lock had it by its lease";
pub(super) const REGISTERED: &str = "an instance that was registered is there with its lease";
pub(super) const LISTED: &str = "an instance that was registered all the while is listed";
pub(super) const NOT_LISTED: &str = "an instance that was not registered at all is not listed";
pub(super) const AUTHORISED: &str = "a token that was granted is there with its lease";
pub(super) const ALLOWED: &str = "a right is used only while its token is there";
pub(super) const DENIED: &str = "a right is refused only while its token is not there";
pub(super) const DENIED_WRITES: &str = "a use that was refused writes nothing";
pub(super) const WITHDRAWN: &str = "a token that was withdrawn is gone";

/// An operation of several steps, as far as it went.
pub(super) struct Run {
    pub client: u32,
    pub recipe: Recipe,
    /// Time and event at which it began, and the revision applied by then.
    pub began: (u64, u64),
    from: u64,
    /// The same of its end, and what came of it.
    pub ended: Option<(u64, u64)>,
    to: u64,
    pub result: Option<RecipeResult>,
    /// The commands that it proposed.
    pub steps: Vec<ProposeId>,
}

/// Who believes in a lock.
struct Holder {
    op: u64,
    client: u32,
    lease: LeaseId,
    event: u64,
}

#[derive(Default)]
pub(super) struct Applications {
    pub runs: BTreeMap<u64, Run>,
    holders: BTreeMap<Bytes, Vec<Holder>>,
}

impl Applications {
    /// After the ghost took the event in.
    pub fn after(&mut self, g: &Ghost, stamped: &Stamped, at: At, r: &mut Report) {
        let Event::Client(event) = &stamped.event else { return };
        let client = stamped.client.unwrap_or(0);
        match event {
            ClientEvent::Begin { op, recipe } => {
                let (began, from) = ((at.t, at.event), g.store.revision());
                let run = Run { client, recipe: recipe.clone(), began, from, ended: None, to: from, result: None, steps: Vec::new() };
                self.runs.insert(*op, run);
            }
            ClientEvent::End { op, result } => {
                if let Some(run) = self.runs.get_mut(op) {
                    (run.ended, run.to, run.result) = (Some((at.t, at.event)), g.store.revision(), result.clone());
                }
            }
            ClientEvent::Propose { op, id: Some(id), .. } => {
                // A step of operation 0 has the number of an operation of its own.
                if let Some(run) = self.runs.get_mut(&(op >> 32)).filter(|_| op >> 32 > 0) {
                    run.steps.push(*id);
                }
            }
            ClientEvent::Hold { op, lock, lease } => {
                let holders = self.holders.entry(lock.clone()).or_default();
                let other = holders.iter().find(|holder| holder.op != *op);
                r.expect(Check::Lock, HELD_ONCE, at, other.is_none(), || {
                    let holder = other.expect("judged above");
                    let message = format!(
                        "lock {lock} is held by client c{client} with lease {lease} (operation {op}), while client c{} with lease {} (operation {}) still believes in it",
                        holder.client, holder.lease, holder.op
                    );
                    (message, vec![holder.event])
                });
                holders.push(Holder { op: *op, client, lease: *lease, event: at.event });
            }
            ClientEvent::LetGo { op, lock } => {
                if let Some(holders) = self.holders.get_mut(lock) {
                    holders.retain(|holder| holder.op != *op);
                }
            }
            ClientEvent::ClientCrash => self.holders.values_mut().for_each(|holders| holders.retain(|holder| holder.client != client)),
            _ => {}
        }
    }

    /// At the end of the run.
    pub fn finish(&self, g: &Ghost, r: &mut Report) {
        for (op, run) in &self.runs {
            let (Some((t, event)), Some(result)) = (run.ended, &run.result) else { continue };
            let Some(to) = run.until(g, *op) else { continue };
            Seen { g, op: *op, run, to }.judge(result, At { t, event, node: None }, r);
        }
    }
}

impl Run {
    /// The revision up to which its end may reflect what was applied: its own steps may be applied only after its caller was answered. `None`: one
    /// of them is not applied yet, in a run that was cut short.
    fn until(&self, g: &Ghost, op: u64) -> Option<u64> {
        let mut until = if op == 0 { g.store.revision() } else { self.to };
        for command in self.steps.iter().filter_map(|id| g.command(*id)) {
            match command.done.and_then(|index| g.applied.get(index.checked_sub(1)? as usize)) {
                Some(applied) => until = until.max(applied.revision),
                None if command.fast.is_some() => return None,
                None => {}
            }
        }
        Some(until)
    }
}

/// An operation and what was there meanwhile.
struct Seen<'a> {
    g: &'a Ghost,
    op: u64,
    run: &'a Run,
    to: u64,
}

impl Seen<'_> {
    fn any(&self, key: &Bytes, is: impl Fn(Option<&KeyValue>) -> bool) -> bool {
        self.g.store.held(key, self.run.from, self.to).any(is)
    }

    fn judge(&self, result: &RecipeResult, at: At, r: &mut Report) {
        let Run { recipe, client, .. } = self.run;
        let when = || format!("between revisions {} and {}", self.run.from, self.to);
        let mut expect = |check, rule, holds: bool, what: &dyn Fn() -> String| {
            r.expect(check, rule, at, holds, || (format!("operation {} of client c{client}: {}", self.op, what()), vec![self.run.began.1]));
        };
        let by = |lease: LeaseId| move |kv: Option<&KeyValue>| kv.is_some_and(|kv| kv.lease == lease);
        match (recipe, result) {
            (Recipe::Lock { lock }, RecipeResult::Held { lease }) => {
                expect(Check::Lock, HELD_BY_LEASE, self.any(lock, by(*lease)), &|| {
                    format!("it held lock {lock}, which lease {lease} did not have {}", when())
                });
            }
            (Recipe::Register { service, instance }, RecipeResult::Registered { lease }) => {
                let key = Bytes::from([service.as_slice(), instance.as_slice()].concat());
                expect(Check::Registry, REGISTERED, self.any(&key, by(*lease)), &|| {
                    format!("{key} was registered with lease {lease}, and was not there {}", when())
                });
            }
            (Recipe::Discover { service }, RecipeResult::Instances { instances }) => {
                for key in self.g.store.keys().filter(|key| key.as_slice().starts_with(service.as_slice())) {
                    let name = Bytes::from(key.as_slice()[service.as_slice().len()..].to_vec());
                    let (listed, always) = (instances.contains(&name), !self.any(key, |kv| kv.is_none()));
                    expect(Check::Registry, LISTED, listed || !always, &|| {
                        format!("{key} was not listed, and was registered all the while {}", when())
                    });
                }
                for name in instances {
                    let key = Bytes::from([service.as_slice(), name.as_slice()].concat());
                    expect(Check::Registry, NOT_LISTED, self.any(&key, |kv| kv.is_some()), &|| {
                        format!("{key} was listed, and was not registered at all {}", when())
                    });
                }
            }
            (Recipe::Authorise { token }, RecipeResult::Authorised { lease }) => {
                expect(Check::Authorisation, AUTHORISED, self.any(token, by(*lease)), &|| {
                    format!("token {token} was granted with lease {lease}, and was not there {}", when())
                });
            }
            (Recipe::Use { token, .. }, RecipeResult::Allowed) => {
                expect(Check::Authorisation, ALLOWED, self.any(token, |kv| kv.is_some()), &|| {
                    format!("its use of token {token} was allowed, which was not there {}", when())
                });
            }
            (Recipe::Use { token, key }, RecipeResult::Denied) => {
                expect(Check::Authorisation, DENIED, self.any(token, |kv| kv.is_none()), &|| {
                    format!("its use of token {token} was refused, which was there all the while {}", when())
                });
                let own =
                    |kv: Option<&KeyValue>| kv.is_some_and(|kv| kv.value.to_string().parse().is_ok_and(|id: u64| id >> 32 == self.op));
                let wrote = self.g.store.held(key, 0, u64::MAX).any(own);
                expect(Check::Authorisation, DENIED_WRITES, !wrote, &|| {
                    format!("its use of token {token} was refused, and it wrote {key} all the same")
                });
            }
            (Recipe::Withdraw { token }, RecipeResult::Withdrawn) => {
                expect(Check::Authorisation, WITHDRAWN, self.any(token, |kv| kv.is_none()), &|| {
                    format!("token {token} was withdrawn, and was there all the while {}", when())
                });
            }
            _ => {}
        }
    }
}
