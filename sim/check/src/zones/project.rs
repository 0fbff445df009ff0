//! What each operation of a history says of each key, and what follows for the history.

use std::collections::{BTreeMap, BTreeSet};

use history::Operation;
use kv::{Bytes, Compare, CompareResult, CompareTarget, KeyValue, LEASE_NONE, LeaseId, Request, Response};

use super::{Contradiction, Touch, Zones, zones};
use crate::conflict::filters;
use crate::explain::{Unit, apart};
use crate::judge::{Finding, Judgement, Level, first_responses};
use crate::model::{History, Model, Timed};
use crate::models::kv::Kv;
use crate::models::register::{Op, Register, Ret};
use crate::replay::lies_in;
use crate::words;

/// Judges the values of each key of our histories, by first responses, as statement B has them.
pub(crate) fn of_kv(history: &[Operation]) -> Judgement {
    let timed = first_responses(history);
    let world = World::of(&timed);
    let mut touches: BTreeMap<&Bytes, Vec<Touch<&Bytes>>> = world.keys.iter().map(|key| (*key, Vec::new())).collect();
    for (op, timed) in timed.iter().enumerate() {
        for (key, said) in world.said(&timed.op, timed.ret.as_ref().filter(|_| timed.is_complete())) {
            touches.entry(key).or_default().push(said.touch(op, timed));
        }
    }
    let mut undecided = Vec::new();
    for (key, touches) in &touches {
        match zones(touches) {
            Zones::Linearizable => {}
            Zones::Undecided => undecided.push(key.to_string()),
            Zones::Illegal(why) => {
                let say = |op: usize| words::operation(&timed[op].op, timed[op].ret.as_ref());
                return illegal(&why, &key.to_string(), &timed, say, |value| value.to_string(), Unit::Nanoseconds);
            }
        }
    }
    if undecided.is_empty() {
        return Judgement::ok(Level::L2);
    }
    let some = undecided.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
    let more = if undecided.len() > 3 { ", …" } else { "" };
    Judgement::unknown(
        Level::L2,
        format!(
            "no key's values contradict each other, but zones do not decide {} of {} keys ({some}{more})",
            undecided.len(),
            touches.len()
        ),
    )
}

/// Judges one register: exactly, if every value was written once and no compare-and-set failed.
pub(crate) fn of_register(history: &History<Register>) -> Judgement {
    let touch = |(op, timed): (usize, &Timed<Op, Ret>)| {
        let mut said = Said::default();
        match (&timed.op, timed.ret.filter(|_| timed.is_complete())) {
            (Op::Read, Some(Ret::Value(value))) => said.reads = Some(value),
            (Op::Read, _) => {}
            (Op::Write(value), _) => said.writes = Some(Some(*value)),
            (Op::Cas(_, _), Some(Ret::Swapped(false))) => said.says_more = true,
            (Op::Cas(from, to), _) => (said.reads, said.writes) = (Some(Some(*from)), Some(Some(*to))),
        }
        said.touch(op, timed)
    };
    let touches: Vec<Touch<i64>> = history.iter().enumerate().map(touch).collect();
    match zones(&touches) {
        Zones::Linearizable => Judgement::ok(Level::L2),
        Zones::Undecided => {
            let why = "no two values contradict each other, but zones decide only where each is written once and no compare-and-set fails";
            Judgement::unknown(Level::L2, why.into())
        }
        Zones::Illegal(why) => {
            let say = |op: usize| Register::default().describe(&history[op].op, history[op].ret.as_ref());
            illegal(&why, "the register", history, say, i64::to_string, Unit::Lines)
        }
    }
}

/// What an operation says of a key: see [`Touch`].
#[derive(Clone, Debug)]
struct Said<V> {
    reads: Option<Option<V>>,
    writes: Option<Option<V>>,
    may_delete: bool,
    says_more: bool,
}

impl<V> Default for Said<V> {
    fn default() -> Self {
        Said { reads: None, writes: None, may_delete: false, says_more: false }
    }
}

impl<V: PartialEq> Said<V> {
    fn touch<O, R>(self, op: usize, timed: &Timed<O, R>) -> Touch<V> {
        let Said { reads, writes, may_delete, says_more } = self;
        // To delete what is not there leaves things as they were.
        let writes = writes.filter(|value| value.is_some() || reads != Some(None));
        Touch { op, invoke: timed.invoke, end: timed.end, reads, writes, may_delete, says_more }
    }

    /// It found this when it began. Two such that differ are no matter for zones.
    fn began_with(&mut self, value: Option<V>) {
        self.says_more |= self.reads.as_ref().is_some_and(|before| *before != value);
        self.reads.get_or_insert(value);
    }

    /// It found this, within a txn after what that had done so far.
    fn found(&mut self, value: Option<V>) {
        match &self.writes {
            Some(wrote) => self.says_more |= *wrote != value,
            None => self.began_with(value),
        }
    }
}

/// What is said of each key.
type Answered<'a> = BTreeMap<&'a Bytes, Said<&'a Bytes>>;

/// What the operations of a history name.
#[derive(Default)]
struct World<'a> {
    keys: BTreeSet<&'a Bytes>,
    /// The keys that some put attaches to a lease.
    attached: BTreeMap<LeaseId, BTreeSet<&'a Bytes>>,
}

impl<'a> World<'a> {
    fn of(history: &'a History<Kv>) -> Self {
        let mut world = World::default();
        history.iter().for_each(|timed| world.name(&timed.op, timed.ret.as_ref()));
        world
    }

    fn name(&mut self, request: &'a Request, response: Option<&'a Response>) {
        match request {
            Request::Put(put) => {
                self.keys.insert(&put.key);
                if put.lease != LEASE_NONE {
                    self.attached.entry(put.lease).or_default().insert(&put.key);
                }
            }
            Request::Range(range) => self.name_one(&range.key, range.range_end.as_ref()),
            Request::DeleteRange(delete) => self.name_one(&delete.key, delete.range_end.as_ref()),
            Request::Txn(txn) => {
                txn.compare.iter().for_each(|compare| self.name_one(&compare.key, compare.range_end.as_ref()));
                let (taken, responses) = match response {
                    Some(Response::Txn { succeeded, responses }) => (Some(*succeeded), &responses[..]),
                    _ => (None, &[][..]),
                };
                for (branch, which) in [(&txn.success, true), (&txn.failure, false)] {
                    let responses = if taken == Some(which) { responses } else { &[] };
                    branch.iter().enumerate().for_each(|(i, request)| self.name(request, responses.get(i)));
                }
            }
            _ => {}
        }
        if let Some(Response::Range { kvs, .. } | Response::DeleteRange { prev_kvs: kvs, .. }) = response {
            self.keys.extend(kvs.iter().map(|kv| &kv.key));
        }
    }

    fn name_one(&mut self, key: &'a Bytes, end: Option<&Bytes>) {
        if end.is_none() {
            self.keys.insert(key);
        }
    }

    /// The keys of a range.
    fn within(&self, first: &'a Bytes, end: Option<&Bytes>) -> Vec<&'a Bytes> {
        let from = self.keys.range::<&Bytes, _>(first..).copied();
        from.take_while(|key| lies_in(key, first, end)).collect()
    }

    /// What an operation says of each key; of one that was not answered, each of the ways it may have gone.
    fn said(&self, request: &'a Request, response: Option<&'a Response>) -> Vec<(&'a Bytes, Said<&'a Bytes>)> {
        let mut all = Answered::new();
        match (request, response) {
            (_, Some(Response::Error(_))) => Vec::new(),
            (Request::LeaseRevoke(revoke), _) => {
                let gone = || Said { may_delete: true, ..Said::default() };
                self.attached.get(&revoke.id).into_iter().flatten().map(|key| (*key, gone())).collect()
            }
            (_, Some(response)) => {
                self.answered(request, response, &mut all);
                all.into_iter().collect()
            }
            (_, None) => {
                let mut ways = Vec::new();
                self.unanswered(request, Some(&all), &mut ways);
                let mut writes: BTreeMap<&Bytes, u32> = BTreeMap::new();
                ways.iter().for_each(|(key, said)| *writes.entry(*key).or_default() += u32::from(said.writes.is_some()));
                // It can have gone one of them only.
                ways.iter_mut().for_each(|(key, said)| said.says_more |= writes[*key] > 1);
                ways
            }
        }
    }

    /// Adds what an answer says, after what was said before it in the same txn.
    fn answered(&self, request: &'a Request, response: &'a Response, all: &mut Answered<'a>) {
        match (request, response) {
            (Request::Put(put), Response::Put { prev_kv }) => {
                let said = all.entry(&put.key).or_default();
                match prev_kv {
                    Some(kv) => said.found(Some(&kv.value)),
                    None if put.prev_kv => said.found(None),
                    None => said.says_more |= put.ignore_value,
                }
                if !put.ignore_value {
                    said.writes = Some(Some(&put.value));
                }
            }
            (Request::Range(range), Response::Range { kvs, count, .. }) if range.revision == 0 => {
                let shown = by_key(kvs);
                let keys = self.within(&range.key, range.range_end.as_ref());
                let cut = range.count_only || filters(range) || (range.limit != 0 && kvs.len() as u64 >= range.limit);
                // Pairs that are none of the range's, or are there twice.
                let odd = shown.len() != kvs.len() || kvs.iter().any(|kv| !lies_in(&kv.key, &range.key, range.range_end.as_ref()));
                for key in keys {
                    let said = all.entry(key).or_default();
                    said.says_more |= odd;
                    match shown.get(key) {
                        Some(_) if range.keys_only => said.says_more = true,
                        Some(kv) => said.found(Some(&kv.value)),
                        None if *count == 0 || !cut => said.found(None),
                        None => said.says_more = true,
                    }
                }
            }
            (Request::DeleteRange(delete), Response::DeleteRange { deleted, prev_kvs }) => {
                let shown = by_key(prev_kvs);
                let odd = delete.prev_kv && *deleted != shown.len() as u64;
                for key in self.within(&delete.key, delete.range_end.as_ref()) {
                    let said = all.entry(key).or_default();
                    said.says_more |= odd;
                    match shown.get(key) {
                        _ if *deleted == 0 => said.found(None),
                        None if delete.prev_kv => said.found(None),
                        Some(kv) => {
                            said.found(Some(&kv.value));
                            said.writes = Some(None);
                        }
                        None => (said.says_more, said.writes) = (true, Some(None)),
                    }
                }
            }
            (Request::Txn(txn), Response::Txn { succeeded, responses }) => {
                self.compares(&txn.compare, *succeeded, all);
                let branch = if *succeeded { &txn.success } else { &txn.failure };
                branch.iter().zip(responses).for_each(|(request, response)| self.answered(request, response, all));
            }
            _ => {}
        }
    }

    /// Adds what the compares of a txn say, given which way it went. Those of a txn within another see what was there before both, as in etcd.
    fn compares(&self, compares: &'a [Compare], succeeded: bool, all: &mut Answered<'a>) {
        for compare in compares {
            let equal = succeeded && compare.range_end.is_none() && compare.result == CompareResult::Equal;
            for key in self.within(&compare.key, compare.range_end.as_ref()) {
                let said = all.entry(key).or_default();
                match &compare.target {
                    CompareTarget::Value(value) if equal => said.began_with(Some(value)),
                    CompareTarget::Version(0) | CompareTarget::CreateRevision(0) | CompareTarget::ModRevision(0) if equal => {
                        said.began_with(None);
                    }
                    _ => said.says_more = true,
                }
            }
        }
    }

    /// Adds what a request may have written. `before`: what it must have found for that; `None`: that is not known.
    fn unanswered(&self, request: &'a Request, before: Option<&Answered<'a>>, ways: &mut Vec<(&'a Bytes, Said<&'a Bytes>)>) {
        match request {
            Request::Put(put) if !put.ignore_value => {
                let unknown = || Said { says_more: true, ..Said::default() };
                let found = before.map_or_else(unknown, |before| before.get(&put.key).cloned().unwrap_or_default());
                ways.push((&put.key, Said { writes: Some(Some(&put.value)), ..found }));
            }
            Request::DeleteRange(delete) => {
                let gone = || Said { may_delete: true, ..Said::default() };
                ways.extend(self.within(&delete.key, delete.range_end.as_ref()).into_iter().map(|key| (key, gone())));
            }
            Request::Txn(txn) => {
                // Which way an inner one went is not known, and hardly worth knowing.
                let held = before.filter(|before| before.is_empty()).map(|_| {
                    let mut held = Answered::new();
                    self.compares(&txn.compare, true, &mut held);
                    held
                });
                txn.success.iter().for_each(|request| match request {
                    Request::Txn(_) => self.unanswered(request, None, ways),
                    _ => self.unanswered(request, held.as_ref(), ways),
                });
                txn.failure.iter().for_each(|request| self.unanswered(request, None, ways));
            }
            _ => {}
        }
    }
}

fn by_key(kvs: &[KeyValue]) -> BTreeMap<&Bytes, &KeyValue> {
    kvs.iter().map(|kv| (&kv.key, kv)).collect()
}

/// The contradiction in a sentence.
fn illegal<O, R, V>(
    why: &Contradiction<V>,
    key: &str,
    history: &[Timed<O, R>],
    say: impl Fn(usize) -> String,
    name: impl Fn(&V) -> String,
    unit: Unit,
) -> Judgement {
    let held = |value: &Option<V>| value.as_ref().map_or("nothing".to_owned(), &name);
    let after = |op: usize, before: usize| apart(history[op].invoke.saturating_sub(history[before].end), unit);
    let (message, ops) = match why {
        Contradiction::Unwritten { read, value, seen: None } => {
            (format!("{} was answered, but nothing wrote {} to {key}", say(*read), name(value)), vec![*read])
        }
        Contradiction::Unwritten { read, value, seen: Some(seen) } => (
            format!(
                "{} was answered, so that {} must have taken effect, but nothing wrote {} to {key}",
                say(*seen),
                say(*read),
                name(value)
            ),
            vec![*read, *seen],
        ),
        Contradiction::Early { read, write, value } => (
            format!(
                "{} was answered {} before {} was invoked, and nothing else wrote {}",
                say(*read),
                after(*write, *read),
                say(*write),
                name(value)
            ),
            vec![*read, *write],
        ),
        Contradiction::Twice { value, ops: [a, b] } => (
            format!("{} and {} each found {} and left something else, but {key} held that once only", say(*a), say(*b), held(value)),
            vec![*a, *b],
        ),
        Contradiction::Circle { ops } => {
            let all = ops.iter().map(|op| say(*op)).collect::<Vec<_>>().join("; ");
            (format!("each of these found what the one before it left, all the way round: {all}"), ops.clone())
        }
        Contradiction::Disorder { first, then, seen, still } => {
            let [first, then] = [first, then].map(held);
            let message = format!(
                "{} was answered {} before {} was invoked, but {key} held {first} before {then}, and not again",
                say(*seen),
                after(*still, *seen),
                say(*still)
            );
            (message, vec![*seen, *still])
        }
        Contradiction::Torn { from: (begin, from), until: (end, until), others } => {
            let what = match (held(begin), held(end)) {
                (begin, end) if begin == end => begin,
                (begin, end) => format!("{begin} and what was put in its place, up to {end},"),
            };
            let since = match from {
                Some(from) => {
                    format!("from when {} was answered until {} was invoked, {} later", say(*from), say(*until), after(*until, *from))
                }
                None => format!("from the beginning until {} was invoked", say(*until)),
            };
            // One that lies in between says enough.
            let since_end = from.map_or(0, |from| history[from].end);
            let lies_between =
                |op: &&usize| (from.is_none() || since_end < history[**op].invoke) && history[**op].end < history[*until].invoke;
            let others = others.iter().find(lies_between).map_or(others.to_vec(), |one| vec![*one]);
            let between = match &others[..] {
                [one] => format!("{} was invoked and answered in between", say(*one)),
                _ => format!(
                    "{} say that it held something else in between",
                    others.iter().map(|op| say(*op)).collect::<Vec<_>>().join(" and ")
                ),
            };
            (format!("{key} held {what} {since}, but {between}"), from.iter().copied().chain([*until]).chain(others).collect())
        }
    };
    let mut operations: Vec<u64> = ops.iter().map(|op| history[*op].id).collect();
    operations.sort_unstable();
    operations.dedup();
    Judgement::illegal(Level::L2, Finding::History, message, operations)
}
