//! L2 and L3 against a checker that tries every order, on thousands of small random histories, legal and broken.

mod support;

use std::cell::Cell;

use check::model::{History, Model, NEVER, Timed};
use check::models::append::{self, Append};
use check::models::kv::Kv;
use check::models::register::{self, Register};
use check::parse::Stored;
use check::replay::Replay;
use check::search::{Budget, search};
use check::{Level, Verdict, judge_stored};
use kv::{Error, Response};
use proptest::prelude::*;
use support::{Rng, brute, random_request};

/// One operation to be: the numbers are cut down to what the model needs.
#[derive(Clone, Debug)]
struct Raw {
    kind: u64,
    a: u64,
    b: u64,
    invoke: u64,
    length: u64,
    /// When within its interval it takes effect.
    at: u64,
    /// 0: it is never answered, nor takes effect; 1: it takes effect without an answer; else it is answered.
    fate: u64,
    /// 0: the answer is made up.
    honest: u64,
}

fn raw() -> impl Strategy<Value = Vec<Raw>> {
    let one = (0..100u64, 0..4u64, 0..4u64, 0..14u64, 0..8u64, 0..8u64, 0..9u64, 0..5u64);
    let one = one.prop_map(|(kind, a, b, invoke, length, at, fate, honest)| Raw { kind, a, b, invoke, length, at, fate, honest });
    prop::collection::vec(one, 2..9)
}

/// Lets the operations take effect in order of their instants; `execute` gives the true answer (none: any will do), `lie` another one.
fn play<O: Clone, R>(
    raw: &[Raw],
    make: impl Fn(usize, &Raw) -> O,
    mut execute: impl FnMut(&O) -> R,
    mut lie: impl FnMut(&O, R, &Raw) -> R,
) -> Vec<Timed<O, R>> {
    let mut order: Vec<usize> = (0..raw.len()).collect();
    order.sort_by_key(|&i| (raw[i].invoke + raw[i].at.min(raw[i].length), i));
    let mut timed: Vec<Timed<O, R>> = Vec::new();
    for i in order {
        let (raw, op) = (&raw[i], make(i, &raw[i]));
        let truth = (raw.fate != 0).then(|| execute(&op));
        let (ret, end) = match truth {
            Some(truth) if raw.fate > 1 => (Some(if raw.honest == 0 { lie(&op, truth, raw) } else { truth }), raw.invoke + raw.length),
            _ => (None, NEVER),
        };
        timed.push(Timed { id: i as u64, op, ret, invoke: raw.invoke, end });
    }
    timed
}

fn agree<M: Model>(plain: &M, history: &History<M>) -> Result<(), TestCaseError> {
    agree_with(brute(plain, history), plain, history)
}

fn agree_with<M: Model>(expected: bool, plain: &M, history: &History<M>) -> Result<(), TestCaseError> {
    for threads in [1, 2] {
        let found = search(plain, history.clone(), Budget { threads, ..Budget::default() }).legal();
        prop_assert_eq!(found, Some(expected), "{:#?}", history);
    }
    Ok(())
}

fn register_history(raw: &[Raw], kinds: u64) -> History<Register> {
    use register::{Op, Ret};
    let make = |_: usize, raw: &Raw| match raw.kind % kinds {
        0 => Op::Read,
        1 => Op::Write(raw.a as i64),
        _ => Op::Cas(raw.a as i64, raw.b as i64),
    };
    let mut held = None;
    let execute = |op: &Op| match *op {
        Op::Read => Ret::Value(held),
        Op::Write(value) => {
            held = Some(value);
            Ret::Written
        }
        Op::Cas(from, to) => {
            let done = held == Some(from);
            held = if done { Some(to) } else { held };
            Ret::Swapped(done)
        }
    };
    let lie = |_: &Op, truth: Ret, raw: &Raw| match truth {
        Ret::Value(_) => Ret::Value(Some(raw.b as i64)),
        Ret::Swapped(done) => Ret::Swapped(!done),
        Ret::Written => Ret::Written,
    };
    play(raw, make, execute, lie)
}

/// Every value is written once, by the operation of its number; `kinds`: 2 without compare-and-sets, 3 with.
fn unique_history(raw: &[Raw], kinds: u64) -> History<Register> {
    use register::{Op, Ret};
    let held = Cell::new(None);
    let make = |i: usize, raw: &Raw| match raw.kind % kinds {
        0 => Op::Read,
        1 => Op::Write(i as i64),
        // Mostly of what is there, so that most succeed.
        _ => Op::Cas(held.get().filter(|_| raw.a > 0).unwrap_or((raw.a + raw.b) as i64), i as i64),
    };
    let execute = |op: &Op| match *op {
        Op::Read => Ret::Value(held.get()),
        Op::Write(value) => {
            held.set(Some(value));
            Ret::Written
        }
        Op::Cas(from, to) => {
            let done = held.get() == Some(from);
            held.set(if done { Some(to) } else { held.get() });
            Ret::Swapped(done)
        }
    };
    let lie = |_: &Op, truth: Ret, raw: &Raw| match truth {
        Ret::Value(_) => Ret::Value(Some(raw.b as i64).filter(|_| raw.a > 0)),
        Ret::Swapped(done) => Ret::Swapped(!done),
        Ret::Written => Ret::Written,
    };
    play(raw, make, execute, lie)
}

fn by_zones(history: &History<Register>) -> Verdict {
    judge_stored(&Stored::Register(history.clone()), Level::L2, Budget::default()).expect("zones judge registers").verdict
}

/// What zones decide is so.
fn zones_agree(history: &History<Register>) -> Result<(), TestCaseError> {
    let legal = brute(&Register::default(), history);
    let allowed = if legal { Verdict::Ok } else { Verdict::Illegal };
    let found = by_zones(history);
    prop_assert!(found == allowed || found == Verdict::Unknown, "{}: {:#?}", found, history);
    // They decide whatever has no compare-and-set that failed, if each value has one writer.
    let failed = |op: &Timed<register::Op, register::Ret>| op.ret == Some(register::Ret::Swapped(false));
    let mut written: Vec<i64> = history
        .iter()
        .filter_map(|op| match op.op {
            register::Op::Write(to) | register::Op::Cas(_, to) => Some(to),
            _ => None,
        })
        .collect();
    let writes = written.len();
    written.sort_unstable();
    written.dedup();
    prop_assert!(found != Verdict::Unknown || history.iter().any(failed) || written.len() < writes, "{:#?}", history);
    Ok(())
}

/// `unique`: every written value is another, none begins another; else they are short and alike.
fn append_history(raw: &[Raw], unique: bool) -> History<Append> {
    use append::{Action, Op, Ret};
    let make = |i: usize, raw: &Raw| {
        let value = if unique { format!("<{i}>") } else { ["", "a", "aa", "b"][raw.b as usize].to_string() };
        let action = match raw.kind % 5 {
            0 | 1 => Action::Get,
            2 => Action::Put(value),
            _ => Action::Append(value),
        };
        Op { key: format!("{}", raw.a % 2), action }
    };
    let mut held = [String::new(), String::new()];
    let execute = |op: &Op| {
        let held = &mut held[usize::from(op.key == "1")];
        match &op.action {
            Action::Get => return Ret::Value(held.clone()),
            Action::Put(value) => *held = value.clone(),
            Action::Append(value) => held.push_str(value),
        }
        Ret::Done
    };
    let lie = |_: &Op, truth: Ret, raw: &Raw| match truth {
        Ret::Value(text) if raw.b == 0 => Ret::Value(text + "x"),
        Ret::Value(text) => Ret::Value(text.chars().skip(if unique { 3 } else { 1 }).collect()),
        Ret::Done => Ret::Done,
    };
    play(raw, make, execute, lie)
}

/// The model is that of one key.
fn brute_by_key(history: &History<Append>) -> bool {
    ["0", "1"].into_iter().all(|key| {
        let part: History<Append> = history.iter().filter(|op| op.op.key == key).cloned().collect();
        brute(&Append::default(), &part)
    })
}

fn kv_history(raw: &[Raw], seed: u64) -> History<Kv> {
    let make = |i: usize, raw: &Raw| random_request(&mut Rng(seed ^ raw.kind ^ raw.a << 8 ^ raw.b << 16 ^ (i as u64) << 24), 3, raw.a);
    let mut store = Replay::default();
    let lie = |_: &kv::Request, truth: Response, raw: &Raw| match truth {
        Response::Put { prev_kv: Some(_) } => Response::Put { prev_kv: None },
        Response::Range { kvs, count, more } if kvs.is_empty() => Response::Range { kvs, count: count + 1, more },
        Response::Range { mut kvs, count, more } => {
            match raw.b {
                0 => kvs[0].version += 1,
                1 => kvs[0].value = "1".into(),
                _ => kvs[0].mod_revision += 1,
            }
            Response::Range { kvs, count, more }
        }
        Response::DeleteRange { deleted, prev_kvs } => Response::DeleteRange { deleted: deleted ^ 1, prev_kvs },
        Response::Txn { succeeded, responses } if raw.b == 0 => Response::Txn { succeeded: !succeeded, responses },
        Response::LeaseGrant { .. } => Response::Error(Error::LeaseExists),
        Response::LeaseRevoke if raw.b == 0 => Response::Error(Error::LeaseNotFound),
        Response::LeaseLeases { mut leases } => {
            leases.pop();
            Response::LeaseLeases { leases }
        }
        Response::Error(Error::LeaseNotFound) => Response::Put { prev_kv: None },
        other => other,
    };
    play(raw, make, |op| store.apply(op), lie)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn plain_registers(raw in raw()) {
        agree(&Register::default(), &register_history(&raw, 2))?;
    }

    #[test]
    fn cas_registers(raw in raw()) {
        agree(&Register::default(), &register_history(&raw, 3))?;
    }

    #[test]
    fn zones_of_plain_registers(raw in raw()) {
        zones_agree(&unique_history(&raw, 2))?;
    }

    #[test]
    fn zones_of_cas_registers(raw in raw()) {
        zones_agree(&unique_history(&raw, 3))?;
    }

    #[test]
    fn zones_of_values_written_again(raw in raw()) {
        zones_agree(&register_history(&raw, 3))?;
    }

    #[test]
    fn appends_of_unique_values(raw in raw()) {
        let history = append_history(&raw, true);
        agree_with(brute_by_key(&history), &Append::default(), &history)?;
    }

    #[test]
    fn appends_of_any_values(raw in raw()) {
        let history = append_history(&raw, false);
        agree_with(brute_by_key(&history), &Append::default(), &history)?;
    }

    #[test]
    fn key_value_stores(raw in raw(), seed in any::<u64>()) {
        let history = kv_history(&raw, seed);
        agree(&Kv::of(history.iter().map(|op| &op.op)), &history)?;
    }
}

/// The random histories are worth something: a good part of them is legal, and a good part is not.
#[test]
fn both_verdicts_are_common() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut legal = [0; 4];
    for i in 0..1000 {
        let raw = raw().new_tree(&mut runner).expect("the strategy rejects nothing").current();
        legal[0] += u32::from(brute(&Register::default(), &register_history(&raw, 3)));
        legal[1] += u32::from(brute_by_key(&append_history(&raw, true)));
        legal[2] += u32::from(brute_by_key(&append_history(&raw, false)));
        let history = kv_history(&raw, i);
        legal[3] += u32::from(brute(&Kv::of(history.iter().map(|op| &op.op)), &history));
    }
    println!("legal of 1000: {legal:?}");
    // And the zones decide most of them, each way.
    for kinds in [2, 3] {
        let histories = (0..1000).map(|_| raw().new_tree(&mut runner).expect("the strategy rejects nothing").current());
        let found: Vec<Verdict> = histories.map(|raw| by_zones(&unique_history(&raw, kinds))).collect();
        let count = |verdict| found.iter().filter(|found| **found == verdict).count();
        let [ok, illegal] = [Verdict::Ok, Verdict::Illegal].map(count);
        println!("zones of 1000 with {kinds} kinds: {ok} ok, {illegal} illegal");
        assert!(ok >= 200 && illegal >= 150, "{ok} ok, {illegal} illegal");
    }
    assert!(legal.iter().all(|&legal| (300..=950).contains(&legal)), "{legal:?}");
}
