//! L1: do the synced responses of a history contradict each other? Statement A of CHECKS.md without the log.
//!
//! A response carries the revision after its operation, so it forces its place: a write is the one that made its revision, the rest stands between that
//! write and the next. What is left to find out is little:
//!
//! - a revision that no answered operation made was made by an unanswered one. Often others observed it (a pair with that modification revision),
//!   which leaves one candidate; else all are tried, in order of invocation;
//! - whether a revoke made its revision hangs on what was attached, which the replay knows;
//! - within one revision, reads are placed as soon as they fit; grants, empty revokes and compactions are tried in every order that real time
//!   allows, and unanswered ones are slipped in where something that is stuck names the same lease, or reads as of a revision.
//!
//! So the walk over the revisions is straight but for rare choices, to which it comes back when it is stuck. Real time is kept on the way: nothing is
//! placed that was invoked after the answer of something not placed yet. Out of budget is `unknown`.

mod observed;

use std::collections::{BTreeMap, BTreeSet};

use history::{Operation, Outcome};
use kv::{LeaseId, Request, Response};

use crate::conflict::may_write;
use crate::judge::{Finding, Judgement, Level, is_linearizable};
use crate::replay::{Agreement, FIRST_REVISION, Mark, Replay, agreement};
use crate::search::Budget;
use crate::words;
use observed::Observed;

/// Judges the synced responses of a history. The servers' own commands are among its unanswered operations.
pub fn by_revisions(history: &[Operation], budget: Budget) -> Judgement {
    let levels = match Levels::of(history) {
        Ok(levels) => levels,
        Err((message, operations)) => return Judgement::illegal(Level::L1, Finding::Revisions, message, operations),
    };
    Walk::new(history, levels).run(budget.steps)
}

/// Whether an operation that answered so made a revision; `None`: that hangs on what was attached to the lease.
fn made_one(request: &Request, response: &Response) -> Option<bool> {
    match (request, response) {
        (Request::LeaseRevoke(_), Response::LeaseRevoke) => None,
        _ => Some(wrote(request, response)),
    }
}

fn wrote(request: &Request, response: &Response) -> bool {
    match (request, response) {
        (Request::Put(_), Response::Put { .. }) => true,
        (Request::DeleteRange(_), Response::DeleteRange { deleted, .. }) => *deleted > 0,
        (Request::Txn(txn), Response::Txn { succeeded, responses }) => {
            let branch = if *succeeded { &txn.success } else { &txn.failure };
            branch.iter().zip(responses).any(|(request, response)| wrote(request, response))
        }
        _ => false,
    }
}

/// Whether one that wrote no key changed something all the same.
fn changed_other(response: &Response) -> bool {
    matches!(response, Response::LeaseGrant { .. } | Response::LeaseRevoke | Response::Compact)
}

/// The operations whose responses carry one revision, by their positions in the history.
#[derive(Clone, Default)]
struct AtRevision {
    /// The one that surely made it.
    writer: Option<usize>,
    /// Revokes: each made it, or came after it and found nothing attached.
    revokes: Vec<usize>,
    /// What came after it, and made none.
    others: Vec<usize>,
    /// The earliest answer among all with a later revision.
    earliest_later: u64,
}

struct Levels {
    levels: BTreeMap<u64, AtRevision>,
    last: u64,
    /// What may have happened, by invocation.
    unanswered: Vec<usize>,
    observed: Observed,
}

impl Levels {
    fn of(history: &[Operation]) -> Result<Levels, (String, Vec<u64>)> {
        let mut levels: BTreeMap<u64, AtRevision> = BTreeMap::new();
        let (mut unanswered, mut observed) = (Vec::new(), Observed::default());
        for (i, operation) in history.iter().enumerate().filter(|(_, o)| o.outcome != Outcome::Fail && is_linearizable(o)) {
            let Some(synced) = &operation.synced else {
                if may_write(&operation.op) {
                    unanswered.push(i);
                }
                continue;
            };
            let revision = synced.header.revision;
            let made = made_one(&operation.op, &synced.response);
            if revision < FIRST_REVISION + u64::from(made == Some(true)) {
                let message = format!("{} was answered with revision {revision}, which nothing can have", say(operation));
                return Err((message, vec![operation.id]));
            }
            observed.response(&operation.op, &synced.response, revision - u64::from(made != Some(false)));
            let level = levels.entry(revision).or_default();
            match made {
                None => level.revokes.push(i),
                Some(false) => level.others.push(i),
                Some(true) => {
                    if let Some(other) = level.writer.replace(i).map(|other| &history[other]) {
                        let message = format!("{} and {} were both told that they made revision {revision}", say(other), say(operation));
                        return Err((message, vec![other.id, operation.id]));
                    }
                }
            }
        }
        unanswered.sort_by_key(|&i| (history[i].invoke, i));
        let mut earliest = u64::MAX;
        for level in levels.values_mut().rev() {
            level.earliest_later = earliest;
            let all = level.others.iter().chain(&level.revokes).chain(&level.writer);
            earliest = all.fold(earliest, |earliest, &i| earliest.min(history[i].synced_at.unwrap_or(u64::MAX)));
        }
        let last = levels.keys().next_back().copied().unwrap_or(FIRST_REVISION);
        Ok(Levels { levels, last, unanswered, observed })
    }

    /// The earliest answer with a later revision.
    fn earliest_after(&self, history: &[Operation], revision: u64) -> u64 {
        match self.levels.range(revision..).next() {
            Some((at, level)) if *at == revision => level.earliest_later,
            // Between two that were answered.
            Some((_, level)) => {
                let all = level.others.iter().chain(&level.revokes).chain(&level.writer);
                all.fold(level.earliest_later, |earliest, &i| earliest.min(history[i].synced_at.unwrap_or(u64::MAX)))
            }
            None => u64::MAX,
        }
    }
}

/// What can come next.
#[derive(Clone, Copy, Debug)]
enum Move {
    /// An answered operation of this revision that changes something, but no key.
    Other(usize),
    /// The one that makes the next revision, answered or not.
    Write(usize),
    /// An unanswered one that makes no revision.
    Slip(usize),
}

/// Where the walk can go on if it gets stuck.
struct Choice {
    mark: Mark,
    rest: Vec<usize>,
    used: BTreeSet<usize>,
    moves: Vec<Move>,
}

struct Walk<'a> {
    history: &'a [Operation],
    levels: Levels,
    store: Replay,
    /// Operations of the present revision that are not placed yet.
    rest: Vec<usize>,
    /// Unanswered ones that are placed.
    used: BTreeSet<usize>,
    /// The highest revision at which it got stuck, and why.
    stuck: Option<(u64, String, Vec<u64>)>,
}

impl<'a> Walk<'a> {
    fn new(history: &'a [Operation], levels: Levels) -> Self {
        let mut walk = Walk { history, levels, store: Replay::default(), rest: Vec::new(), used: BTreeSet::new(), stuck: None };
        walk.arrive(None);
        walk
    }

    fn run(mut self, mut steps: u64) -> Judgement {
        let mut choices: Vec<Choice> = Vec::new();
        loop {
            self.place_reads();
            let mut moves = if self.rest.is_empty() && self.store.revision() >= self.levels.last {
                return Judgement::ok(Level::L1);
            } else {
                self.moves()
            };
            // Take the first move that can be taken, here or at the last choice.
            loop {
                if steps == 0 {
                    return Judgement::unknown(Level::L1, "the walk over the revisions ran out of budget before it was decided".into());
                }
                steps -= 1;
                let Some(next) = moves.pop() else {
                    self.note_stuck();
                    let Some(choice) = choices.pop() else {
                        let (_, message, operations) = self.stuck.unwrap_or_default();
                        return Judgement::illegal(Level::L1, Finding::Revisions, message, operations);
                    };
                    self.store.back_to(&choice.mark);
                    (self.rest, self.used, moves) = (choice.rest, choice.used, choice.moves);
                    continue;
                };
                let (mark, rest, used) = (self.store.mark(), self.rest.clone(), self.used.clone());
                if self.take(next) {
                    if !moves.is_empty() {
                        choices.push(Choice { mark, rest, used, moves });
                    }
                    break;
                }
                self.store.back_to(&mark);
                (self.rest, self.used) = (rest, used);
            }
        }
    }

    /// What can come next, the likeliest last.
    fn moves(&self) -> Vec<Move> {
        let changes = |i: &usize| self.history[*i].synced.as_ref().is_some_and(|synced| changed_other(&synced.response));
        let mut moves = Vec::new();
        let mut wanted: Vec<usize> = self.rest.clone();
        let mut writes = Vec::new();
        if self.rest.is_empty() {
            let next = self.levels.levels.get(&(self.store.revision() + 1));
            match next {
                Some(AtRevision { writer: Some(writer), .. }) => writes.push(*writer),
                next => {
                    let latest = self.levels.earliest_after(self.history, self.store.revision());
                    let free = |i: &&usize| !self.used.contains(i) && self.history[**i].invoke <= latest;
                    writes.extend(self.levels.unanswered.iter().rev().filter(free));
                    writes.extend(next.into_iter().flat_map(|level| &level.revokes));
                }
            }
            wanted.extend(&writes);
        }
        // Unanswered grants, revokes and compactions that could explain what is stuck here.
        let (mut leases, mut of_revisions) = (BTreeSet::new(), false);
        for i in &wanted {
            names(&self.history[*i].op, &mut leases, &mut of_revisions);
        }
        let all = wanted.iter().any(|i| self.history[*i].op == Request::LeaseLeases);
        for &i in self.levels.unanswered.iter().rev().filter(|i| !self.used.contains(i)) {
            match &self.history[i].op {
                Request::LeaseGrant(grant) if all || leases.contains(&grant.id) => moves.push(Move::Slip(i)),
                Request::LeaseRevoke(revoke) if all || leases.contains(&revoke.id) => moves.push(Move::Slip(i)),
                Request::Compact(_) if of_revisions => moves.push(Move::Slip(i)),
                _ => {}
            }
        }
        moves.extend(writes.into_iter().map(Move::Write));
        moves.extend(self.rest.iter().rev().filter(|i| changes(i)).map(|i| Move::Other(*i)));
        moves
    }

    /// Does it; false if it cannot be done here. Then all must be put back.
    fn take(&mut self, next: Move) -> bool {
        let before = self.store.revision();
        let (Move::Other(i) | Move::Write(i) | Move::Slip(i)) = next;
        if self.blocked(i).is_some() {
            return false;
        }
        let operation = &self.history[i];
        let response = self.store.apply(&operation.op);
        let wrote = self.store.revision() > before;
        let answered = operation.synced.as_ref();
        let fits = answered.is_none_or(|synced| agreement(&response, &synced.response, None) == Agreement::Full);
        match next {
            Move::Other(_) => {
                self.rest.retain(|other| *other != i);
                fits && !wrote
            }
            Move::Slip(_) => {
                self.used.insert(i);
                !wrote && response.error().is_none()
            }
            Move::Write(_) => {
                let good = fits && wrote && self.levels.observed.allows(&self.store, before + 1);
                if answered.is_none() {
                    self.used.insert(i);
                }
                if good {
                    self.arrive(Some(i));
                }
                good
            }
        }
    }

    /// A new revision: what stands at it is to be placed, but for the one that made it.
    fn arrive(&mut self, by: Option<usize>) {
        let level = self.levels.levels.get(&self.store.revision());
        let all = level.into_iter().flat_map(|level| level.others.iter().chain(&level.revokes));
        self.rest = all.copied().filter(|i| Some(*i) != by).collect();
    }

    /// Whose answer came before this was invoked, though it is not placed yet.
    fn blocked(&self, i: usize) -> Option<usize> {
        let invoke = self.history[i].invoke;
        let before = |other: &usize| self.history[*other].synced_at.is_some_and(|at| at < invoke);
        if let Some(other) = self.rest.iter().copied().find(|other| *other != i && before(other)) {
            return Some(other);
        }
        if self.levels.earliest_after(self.history, self.store.revision()) >= invoke {
            return None;
        }
        let later = self.levels.levels.range(self.store.revision() + 1..);
        later.flat_map(|(_, l)| l.others.iter().chain(&l.revokes).chain(&l.writer)).copied().find(|other| *other != i && before(other))
    }

    /// Places what changes nothing and fits here: to place it later could help nobody.
    fn place_reads(&mut self) {
        loop {
            let reads = |i: &&usize| self.history[**i].synced.as_ref().is_some_and(|synced| !changed_other(&synced.response));
            let ready: Vec<usize> = self.rest.iter().filter(reads).filter(|i| self.blocked(**i).is_none()).copied().collect();
            let placed: Vec<usize> = ready.into_iter().filter(|i| self.expected(*i) == Agreement::Full).collect();
            if placed.is_empty() {
                return;
            }
            self.rest.retain(|i| !placed.contains(i));
        }
    }

    /// How far an answer agrees with what the store gives here. The store stays as it is.
    fn expected(&mut self, i: usize) -> Agreement {
        let Some(synced) = &self.history[i].synced else { return Agreement::None };
        let mark = self.store.mark();
        let response = self.store.apply(&self.history[i].op);
        let wrote = self.store.revision() > mark.revision();
        self.store.back_to(&mark);
        if wrote { Agreement::None } else { agreement(&response, &synced.response, None) }
    }

    /// Remembers why there is no way on from here, if no other was stuck further on.
    fn note_stuck(&mut self) {
        let revision = self.store.revision();
        if self.stuck.as_ref().is_some_and(|(furthest, ..)| *furthest >= revision) {
            return;
        }
        let history = self.history;
        let waiting = |i: usize, other: usize| {
            let (this, other) = (&history[i], &history[other]);
            let apart = words::span(this.invoke - other.synced_at.unwrap_or(this.invoke));
            let message = format!(
                "{} was invoked {apart} after {} had been answered, and yet has a revision that comes before it",
                say(this),
                say(other)
            );
            (message, vec![this.id, other.id])
        };
        let next = self.levels.levels.get(&(revision + 1)).and_then(|level| level.writer);
        let (message, operations) = match (self.rest.first().copied(), next) {
            (Some(i), _) => match self.blocked(i) {
                Some(other) => waiting(i, other),
                None => {
                    let message = format!(
                        "{} was answered with revision {revision}, and what had been written by then does not give that",
                        say(&history[i])
                    );
                    (message, vec![history[i].id])
                }
            },
            (None, Some(writer)) => match self.blocked(writer) {
                Some(other) => waiting(writer, other),
                None => {
                    let message = format!(
                        "{} cannot have made revision {}: what was there before does not give that answer",
                        say(&history[writer]),
                        revision + 1
                    );
                    (message, vec![history[writer].id])
                }
            },
            (None, None) => {
                let shows = self.levels.observed.at(revision + 1).map(|kv| format!(", at which {} was read", words::key_value(kv)));
                (format!("nothing that was asked for can have made revision {}{}", revision + 1, shows.unwrap_or_default()), Vec::new())
            }
        };
        self.stuck = Some((revision, message, operations));
    }
}

fn say(operation: &Operation) -> String {
    let what = words::operation(&operation.op, operation.synced.as_ref().map(|synced| &synced.response));
    format!("operation {}, {what}", operation.id)
}

/// The leases that a request names, and whether it reads as of a revision, or compacts.
fn names(request: &Request, leases: &mut BTreeSet<LeaseId>, of_revisions: &mut bool) {
    match request {
        Request::Put(put) => _ = leases.insert(put.lease),
        Request::LeaseGrant(grant) => _ = leases.insert(grant.id),
        Request::LeaseRevoke(revoke) => _ = leases.insert(revoke.id),
        Request::Range(range) => *of_revisions |= range.revision != 0,
        Request::Compact(_) => *of_revisions = true,
        Request::Txn(txn) => txn.success.iter().chain(&txn.failure).for_each(|request| names(request, leases, of_revisions)),
        _ => {}
    }
}
