//! Hand-made histories of a register whose verdicts the literature gives, and the sentences that explain them.

use check::explain::Unit;
use check::model::{NEVER, Timed};
use check::models::register::{Op, Register, Ret};
use check::{Budget, Judgement, Verdict, judge_model};

type Line = (Op, Option<Ret>, u64, u64);

fn w(value: i64, from: u64, to: u64) -> Line {
    (Op::Write(value), (to != NEVER).then_some(Ret::Written), from, to)
}

fn r(value: i64, from: u64, to: u64) -> Line {
    (Op::Read, Some(Ret::Value(Some(value))), from, to)
}

fn nil(from: u64, to: u64) -> Line {
    (Op::Read, Some(Ret::Value(None)), from, to)
}

fn cas(a: i64, b: i64, done: bool, from: u64, to: u64) -> Line {
    (Op::Cas(a, b), (to != NEVER).then_some(Ret::Swapped(done)), from, to)
}

fn judged(lines: &[Line]) -> Judgement {
    let timed = lines.iter().enumerate().map(|(i, (op, ret, invoke, end))| Timed {
        id: i as u64,
        op: op.clone(),
        ret: *ret,
        invoke: *invoke,
        end: *end,
    });
    judge_model(&Register::default(), timed.collect(), Budget::default(), Unit::Nanoseconds)
}

#[track_caller]
fn ok(lines: &[Line]) {
    let judgement = judged(lines);
    assert_eq!(judgement.verdict, Verdict::Ok, "{}", judgement.message);
}

/// Illegal, with this sentence and these operations.
#[track_caller]
fn illegal(lines: &[Line], sentence: &str, core: &[u64]) {
    let judgement = judged(lines);
    assert_eq!(judgement.verdict, Verdict::Illegal);
    assert_eq!((judgement.message.as_str(), &judgement.operations[..]), (sentence, core));
    let why = judgement.explanation.expect("an illegal history is explained");
    assert!(why.minimal && !why.states.is_empty(), "{why}");
}

#[test]
fn nothing_is_legal() {
    ok(&[]);
    ok(&[nil(0, 1)]);
}

#[test]
fn sequential_histories() {
    ok(&[w(1, 0, 1), r(1, 2, 3), w(2, 4, 5), r(2, 6, 7)]);
    illegal(&[r(1, 0, 1)], "read() → 1, but nothing that can have happened by then gives that answer", &[0]);
}

/// Herlihy and Wing 1990, figure 1-style: overlapping operations may take effect in either order.
#[test]
fn overlapping_writes_take_either_order() {
    ok(&[w(1, 0, 10), w(2, 0, 10), r(1, 11, 12)]);
    ok(&[w(1, 0, 10), w(2, 0, 10), r(2, 11, 12)]);
    ok(&[w(1, 0, 10), r(1, 1, 3), nil(0, 2)]);
    illegal(
        &[w(1, 0, 10), w(2, 0, 10), r(1, 11, 12), r(2, 13, 14)],
        "read() → 2 was invoked 1 ns after read() → 1 had been answered, and no order of the other operations makes both right",
        &[1, 2, 3],
    );
}

/// Herlihy and Wing: linearizability, unlike sequential consistency, forbids to return the old value to a later reader.
#[test]
fn stale_read() {
    let sentence = "read() → 1 was invoked 2 ns after write(2) had been acknowledged, and nothing overwrote it";
    illegal(&[w(1, 0, 1), w(2, 2, 3), r(1, 5, 6)], sentence, &[0, 1, 2]);
    let sentence = "read() → nil was invoked 565 ms after write(1) had been acknowledged, and nothing overwrote it";
    illegal(&[w(1, 0, 1), nil(565_000_001, 565_000_002)], sentence, &[0, 1]);
}

/// Lamport's regular register is not atomic: two reads during one write, the new value before the old one.
#[test]
fn new_old_inversion() {
    ok(&[w(1, 0, 1), w(2, 2, 20), r(1, 3, 4), r(2, 5, 6)]);
    illegal(
        &[w(1, 0, 1), w(2, 2, 20), r(2, 3, 4), r(1, 5, 6)],
        "read() → 1 was invoked 1 ns after read() → 2 had been answered, and no order of the other operations makes both right",
        &[0, 2, 3],
    );
}

#[test]
fn lost_update() {
    let j = judged(&[w(0, 0, 1), cas(0, 1, true, 2, 10), cas(0, 2, true, 3, 11)]);
    assert_eq!((j.verdict, &j.operations[..]), (Verdict::Illegal, &[1, 2][..]), "{}", j.message);
    ok(&[w(0, 0, 1), cas(0, 1, true, 2, 10), cas(0, 2, false, 3, 11), r(1, 12, 13)]);
    ok(&[w(0, 0, 1), cas(0, 1, true, 2, 10), cas(1, 2, true, 3, 11), r(2, 12, 13)]);
}

#[test]
fn an_unknown_write_may_have_happened_at_any_time_or_never() {
    ok(&[w(1, 0, 1), w(2, 2, NEVER), r(1, 3, 4), r(1, 5, 6)]);
    ok(&[w(1, 0, 1), w(2, 2, NEVER), r(1, 3, 4), r(2, 1000, 1001)]);
    illegal(
        &[w(1, 0, 1), w(2, 2, NEVER), r(2, 3, 4), r(1, 5, 6)],
        "read() → 1 was invoked 1 ns after read() → 2 had been answered, and no order of the other operations makes both right",
        &[0, 2, 3],
    );
    let j = judged(&[r(2, 0, 1), w(2, 2, NEVER)]);
    assert_eq!(j.verdict, Verdict::Illegal, "but not before it was invoked");
}

/// Each unknown operation happens once at most, however alike they are.
#[test]
fn identical_unknown_operations_are_counted() {
    let twice = [w(0, 0, 1), w(7, 2, NEVER), w(7, 2, NEVER), r(7, 3, 4), w(0, 5, 6), r(7, 7, 8)];
    ok(&twice);
    let mut thrice = twice.to_vec();
    thrice.extend([w(0, 9, 10), r(7, 11, 12)]);
    assert_eq!(judged(&thrice).verdict, Verdict::Illegal);
}

/// A write that nobody reads still explains why a compare-and-set failed.
#[test]
fn an_unread_unknown_write_fails_a_compare_and_set() {
    ok(&[w(1, 0, 1), w(9, 2, NEVER), cas(1, 2, false, 3, 4)]);
    assert_eq!(judged(&[w(1, 0, 1), cas(1, 2, false, 3, 4)]).verdict, Verdict::Illegal);
    ok(&[w(1, 0, 1), w(9, 2, NEVER), cas(1, 2, false, 3, 4), w(1, 5, 6), w(8, 6, NEVER), cas(1, 2, false, 7, 8)]);
}

/// At equal times, operations overlap.
#[test]
fn touching_intervals_overlap() {
    ok(&[w(1, 0, 5), nil(5, 6)]);
    assert_eq!(judged(&[w(1, 0, 5), nil(6, 7)]).verdict, Verdict::Illegal);
}

#[test]
fn out_of_budget_is_unknown() {
    let lines: Vec<Line> = (0..12).map(|i| w(i, 0, 100)).chain([r(99, 101, 102)]).collect();
    let timed = lines.iter().enumerate().map(|(i, (op, ret, invoke, end))| Timed {
        id: i as u64,
        op: op.clone(),
        ret: *ret,
        invoke: *invoke,
        end: *end,
    });
    let budget = Budget { steps: 20, ..Budget::default() };
    assert_eq!(judge_model(&Register::default(), timed.collect(), budget, Unit::Lines).verdict, Verdict::Unknown);
}
