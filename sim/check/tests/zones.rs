//! L2 by hand: what zones refute, in which words, and what they leave open.

mod support;

use check::model::{NEVER, Timed};
use check::models::register::{Op, Ret};
use check::parse::Stored;
use check::replay::Replay;
use check::{Budget, Judgement, Level, Verdict, cross_check, judge, judge_stored};
use history::Operation;
use kv::*;
use support::{Rng, delete, get, instance, pending, put, random_request, range, synced};

type Line = (Op, Option<Ret>, u64, u64);

fn w(value: i64, invoke: u64, end: u64) -> Line {
    (Op::Write(value), Some(Ret::Written), invoke, end)
}

fn r(value: i64, invoke: u64, end: u64) -> Line {
    (Op::Read, Some(Ret::Value(Some(value))), invoke, end)
}

fn nil(invoke: u64, end: u64) -> Line {
    (Op::Read, Some(Ret::Value(None)), invoke, end)
}

fn cas(from: i64, to: i64, done: bool, invoke: u64, end: u64) -> Line {
    (Op::Cas(from, to), Some(Ret::Swapped(done)), invoke, end)
}

fn stored(lines: &[Line]) -> Stored {
    let timed = |(i, (op, ret, invoke, end)): (usize, &Line)| Timed {
        id: i as u64,
        op: op.clone(),
        ret: ret.filter(|_| *end != NEVER),
        invoke: *invoke,
        end: *end,
    };
    Stored::Register(lines.iter().enumerate().map(timed).collect())
}

fn judged(lines: &[Line]) -> Judgement {
    judge_stored(&stored(lines), Level::L2, Budget::default()).expect("zones judge registers")
}

fn is(lines: &[Line], verdict: Verdict) {
    let judgement = judged(lines);
    assert_eq!(judgement.verdict, verdict, "{}", judgement.message);
}

fn illegal(lines: &[Line], message: &str, operations: &[u64]) {
    let judgement = judged(lines);
    assert_eq!((judgement.verdict, &judgement.message[..], &judgement.operations[..]), (Verdict::Illegal, message, operations));
}

#[test]
fn what_fits_is_proved() {
    is(&[], Verdict::Ok);
    is(&[nil(0, 1), w(1, 2, 3), r(1, 4, 5), w(2, 6, 7), r(2, 8, 9)], Verdict::Ok);
    is(&[w(1, 0, 10), w(2, 0, 10), r(1, 11, 12)], Verdict::Ok);
    is(&[w(1, 0, 1), w(2, 2, 20), r(1, 3, 4), r(2, 5, 6)], Verdict::Ok);
    // At equal times operations overlap.
    is(&[w(1, 0, 5), nil(5, 6)], Verdict::Ok);
    is(&[w(1, 0, 1), cas(1, 2, true, 2, 10), cas(2, 3, true, 2, 11), r(3, 12, 13)], Verdict::Ok);
    // An unanswered write has happened if it was read, and if what it expected was written by another such, that one, too.
    is(&[w(1, 0, 1), w(2, 2, NEVER), r(1, 3, 4), r(1, 5, 6)], Verdict::Ok);
    is(&[w(1, 0, 1), cas(1, 2, true, 2, NEVER), cas(2, 3, true, 2, NEVER), r(3, 5, 6)], Verdict::Ok);
}

#[test]
fn what_cannot_be_is_refuted_in_a_sentence() {
    illegal(&[r(1, 0, 1)], "read() → 1 was answered, but nothing wrote 1 to the register", &[0]);
    illegal(
        &[r(2, 0, 1), w(2, 3, NEVER)],
        "read() → 2 was answered 2 lines before write(2) was invoked, and nothing else wrote 2",
        &[0, 1],
    );
    illegal(
        &[w(1, 0, 1), w(2, 2, 3), r(1, 5, 6)],
        "the register held 1 from when write(1) was answered until read() → 1 was invoked, 4 lines later, but write(2) was invoked and answered in between",
        &[0, 1, 2],
    );
    illegal(
        &[w(1, 0, 1), nil(5, 6)],
        "the register held nothing from the beginning until read() → nil was invoked, but write(1) was invoked and answered in between",
        &[0, 1],
    );
    // The new value before the old one.
    illegal(
        &[w(1, 0, 1), w(2, 2, 20), r(2, 3, 4), r(1, 5, 6)],
        "the register held 1 from when write(1) was answered until read() → 1 was invoked, 4 lines later, \
         but read() → 2 was invoked and answered in between",
        &[0, 2, 3],
    );
    // Two that overlap.
    illegal(
        &[w(1, 0, 1), w(2, 0, 3), r(1, 6, 9), r(2, 6, 7)],
        "the register held 1 from when write(1) was answered until read() → 1 was invoked, 5 lines later, \
         but read() → 2 and write(2) say that it held something else in between",
        &[0, 1, 2, 3],
    );
    illegal(
        &[w(0, 0, 1), cas(0, 1, true, 2, 10), cas(0, 2, true, 3, 11)],
        "cas(0, 1) → ok and cas(0, 2) → ok each found 0 and left something else, but the register held that once only",
        &[1, 2],
    );
    illegal(
        &[cas(1, 2, true, 0, 10), cas(2, 1, true, 0, 10)],
        "each of these found what the one before it left, all the way round: cas(1, 2) → ok; cas(2, 1) → ok",
        &[0, 1],
    );
    illegal(
        &[w(1, 0, 1), cas(1, 2, true, 2, 20), r(2, 3, 4), r(1, 6, 7)],
        "read() → 2 was answered 2 lines before read() → 1 was invoked, but the register held 1 before 2, and not again",
        &[2, 3],
    );
    // Nothing comes between a value and what was put in its place.
    illegal(
        &[w(1, 0, 1), w(9, 2, 3), cas(1, 2, true, 4, 5)],
        "the register held 1 from when write(1) was answered until cas(1, 2) → ok was invoked, 3 lines later, but write(9) was invoked and answered in between",
        &[0, 1, 2],
    );
}

/// Where a value does not name its write, the rest still contradicts itself, or is not proved.
#[test]
fn what_is_written_twice_is_left_open() {
    is(&[w(1, 0, 1), w(1, 2, 3), r(1, 4, 5)], Verdict::Unknown);
    is(&[w(1, 0, 1), w(1, 2, 3), w(2, 4, 5)], Verdict::Ok);
    is(&[w(1, 0, 1), cas(1, 2, false, 2, 3)], Verdict::Unknown);
    // 1 is outside the block of 2, whoever wrote it.
    is(&[w(1, 0, 1), w(2, 2, 3), w(1, 2, 30), r(1, 5, 6), r(2, 7, 8)], Verdict::Illegal);
}

/// Out of budget the search does not know; zones may.
#[test]
fn where_the_search_ends_without_a_verdict_zones_are_asked() {
    let budget = Budget { steps: 20, ..Budget::default() };
    let asked = |lines: &[Line], level| judge_stored(&stored(lines), level, budget).map(|j| (j.verdict, j.level));
    let mut lines: Vec<Line> = (0..12).map(|i| w(i, 0, 100)).collect();
    lines.push(r(99, 101, 102));
    assert_eq!(asked(&lines, Level::L3), Ok((Verdict::Unknown, Level::L3)));
    assert_eq!(asked(&lines, Level::All), Ok((Verdict::Illegal, Level::L2)));
    lines[12] = r(5, 101, 102);
    lines.extend([w(20, 103, 104), r(20, 105, 106)]);
    let tight = Budget { steps: 5, ..Budget::default() };
    assert_eq!(judge_stored(&stored(&lines), Level::L3, tight).map(|j| j.verdict), Ok(Verdict::Unknown));
    assert_eq!(judge_stored(&stored(&lines), Level::All, tight).map(|j| (j.verdict, j.level)), Ok((Verdict::Ok, Level::L2)));
}

fn of_kv(history: &[Operation]) -> Judgement {
    judge(history, None, Level::L2, Budget::default()).expect("the history is well-formed")
}

fn kv(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.into(), value: value.into(), create_revision: 2, mod_revision: 2, version: 1, ..KeyValue::default() }
}

fn found(pairs: &[KeyValue]) -> Response {
    Response::Range { kvs: pairs.to_vec(), count: pairs.len() as u64, more: false }
}

fn did_put() -> Response {
    Response::Put { prev_kv: None }
}

/// Operations answered one after the other, each at ten times its place.
fn in_turn(ops: Vec<(Request, Response)>) -> Vec<Operation> {
    let one =
        |(i, (op, response)): (usize, (Request, Response))| synced(pending(i as u64, op, 10 * i as u64), 10 * i as u64 + 5, 2, response);
    ops.into_iter().enumerate().map(one).collect()
}

#[test]
fn keys_by_themselves() {
    let stale = in_turn(vec![(put("k3", "12"), did_put()), (put("k3", "17"), did_put()), (get("k3"), found(&[kv("k3", "12")]))]);
    let judgement = of_kv(&stale);
    let sentence = "k3 held 12 from when put(k3, 12) was answered until get(k3) → 12 (version 1) was invoked, 15 ns later, \
                    but put(k3, 17) was invoked and answered in between";
    assert_eq!((judgement.verdict, &judgement.message[..]), (Verdict::Illegal, sentence));
    // A range says of each of its keys what it held.
    let range_of = |pairs: &[KeyValue]| (range("k1", "k9"), found(pairs));
    let torn = in_turn(vec![(put("k1", "1"), did_put()), (put("k2", "2"), did_put()), range_of(&[kv("k2", "2")])]);
    assert_eq!(of_kv(&torn).verdict, Verdict::Illegal, "k1 is missing");
    let whole = in_turn(vec![(put("k1", "1"), did_put()), (put("k2", "2"), did_put()), range_of(&[kv("k1", "1"), kv("k2", "2")])]);
    assert_eq!(of_kv(&whole).verdict, Verdict::Ok);
}

#[test]
fn what_is_absent_after_a_delete_does_not_say_since_when() {
    let deleted = |n| Response::DeleteRange { deleted: n, prev_kvs: Vec::new() };
    let then = |last: (Request, Response)| {
        of_kv(&in_turn(vec![(put("k", "1"), did_put()), (delete("k", None), deleted(1)), (put("k", "2"), did_put()), last])).verdict
    };
    assert_eq!(then((get("k"), found(&[kv("k", "1")]))), Verdict::Illegal, "it was deleted in between");
    assert_eq!(then((get("k"), found(&[]))), Verdict::Unknown, "nobody knows that it was not deleted again by an order of its own");
    // But it was not absent while it held something.
    let history = in_turn(vec![
        (put("k", "1"), did_put()),
        (get("k"), found(&[])),
        (get("k"), found(&[kv("k", "1")])),
        (delete("k", None), deleted(1)),
    ]);
    let judgement = of_kv(&history);
    assert_eq!(judgement.verdict, Verdict::Illegal);
    assert!(judgement.message.ends_with("but put(k, 1) was invoked and answered in between"), "{}", judgement.message);
}

/// Two that each create a key by a compare with its absence, the recipe of a lock.
#[test]
fn a_key_is_created_once() {
    let create = |value: &str| {
        let absent =
            Compare { key: "lock".into(), range_end: None, result: CompareResult::Equal, target: CompareTarget::CreateRevision(0) };
        Request::Txn(TxnRequest { compare: vec![absent], success: vec![put("lock", value)], failure: vec![get("lock")] })
    };
    let done = || Response::Txn { succeeded: true, responses: vec![did_put()] };
    let judgement = of_kv(&in_turn(vec![(create("a"), done()), (create("b"), done())]));
    assert_eq!(judgement.verdict, Verdict::Illegal);
    assert!(
        judgement.message.ends_with("each found nothing and left something else, but lock held that once only"),
        "{}",
        judgement.message
    );
    // Unanswered, the first may have taken the other branch, unless somebody saw what it wrote.
    let mut history = vec![pending(0, create("a"), 0)];
    history.extend(in_turn(vec![(get("x"), found(&[])), (create("b"), done())]).split_off(1));
    assert_ne!(of_kv(&history).verdict, Verdict::Illegal);
    history.push(synced(pending(7, get("lock"), 100), 101, 2, found(&[kv("lock", "a")])));
    assert_eq!(of_kv(&history).verdict, Verdict::Illegal);
}

/// Whatever a txn says, in all its parts, it says of the keys it names.
#[test]
fn txns_say_all_they_say() {
    let txn = |compare: Vec<Compare>, success: Vec<Request>, failure: Vec<Request>| Request::Txn(TxnRequest { compare, success, failure });
    let is = |target| Compare { key: "k".into(), range_end: None, result: CompareResult::Equal, target };
    let value = |text: &str| is(CompareTarget::Value(text.into()));
    let then = |responses| Response::Txn { succeeded: true, responses };
    let verdict = |ops| of_kv(&in_turn(ops)).verdict;
    // Either way of an inner txn may have been gone, if nobody was told.
    let either = txn(vec![], vec![txn(vec![is(CompareTarget::Version(0))], vec![put("k", "a")], vec![put("k", "b")])], vec![]);
    for seen in ["a", "b"] {
        let mut history = vec![pending(0, either.clone(), 0)];
        history.extend(in_turn(vec![(get("x"), found(&[])), (get("k"), found(&[kv("k", seen)]))]).split_off(1));
        assert_ne!(of_kv(&history).verdict, Verdict::Illegal, "{seen}");
    }
    // What it finds after its own write is what it wrote; that it is not, the search says.
    let own = |seen| verdict(vec![(txn(vec![], vec![put("k", "1"), get("k")], vec![]), then(vec![did_put(), found(&[kv("k", seen)])]))]);
    assert_eq!([own("1"), own("2")], [Verdict::Ok, Verdict::Unknown]);
    // Inner compares see what was there before.
    let inner = txn(vec![], vec![put("k", "1"), txn(vec![value("7")], vec![], vec![])], vec![]);
    assert_eq!(verdict(vec![(inner, then(vec![did_put(), then(vec![])]))]), Verdict::Illegal, "nobody wrote 7");
    // Nobody wrote these, either.
    assert_eq!(verdict(vec![(txn(vec![value("5")], vec![], vec![]), then(vec![]))]), Verdict::Illegal);
    let taken = Response::DeleteRange { deleted: 1, prev_kvs: vec![kv("k", "5")] };
    let take = Request::DeleteRange(DeleteRangeRequest { key: "k".into(), range_end: None, prev_kv: true });
    assert_eq!(verdict(vec![(take, taken)]), Verdict::Illegal);
    // And pairs that do not belong are for another level to refuse.
    assert_eq!(verdict(vec![(get("a"), found(&[kv("z", "5")]))]), Verdict::Unknown);
    assert_eq!(verdict(vec![(put("a", "1"), did_put()), (range("a", "c"), found(&[kv("a", "1"), kv("a", "2")]))]), Verdict::Illegal);
    // What was never answered took effect, since somebody saw it, and must have found what it compares.
    let mut history = vec![pending(0, txn(vec![value("1")], vec![put("k", "2")], vec![]), 0)];
    history.extend(in_turn(vec![(get("x"), found(&[])), (get("k"), found(&[kv("k", "2")]))]).split_off(1));
    let sentence =
        "get(k) → 2 (version 1) was answered, so that txn(if k value = 1 then put(k, 2)) must have taken effect, but nothing wrote 1 to k";
    assert_eq!((of_kv(&history).message, of_kv(&history).operations), (sentence.to_owned(), vec![0, 1]));
}

/// A lease that has expired takes its keys along, and no client is told.
#[test]
fn what_a_lease_holds_may_go() {
    let attached = Request::Put(PutRequest { key: "k".into(), value: "1".into(), lease: 5, ..PutRequest::default() });
    let granted = |id| (Request::LeaseGrant(LeaseGrantRequest { ttl: 9, id }), Response::LeaseGrant { id, ttl: 9 });
    let gone = |lease| of_kv(&in_turn(vec![granted(lease), (attached.clone(), did_put()), (get("k"), found(&[]))])).verdict;
    assert_eq!(gone(5), Verdict::Unknown);
    assert_eq!(gone(6), Verdict::Illegal, "lease 6 has nothing to do with it");
}

/// Gives every put another value.
fn distinct(request: &mut Request, next: &mut u64) {
    match request {
        Request::Put(put) if !put.ignore_value => {
            *next += 1;
            put.value = format!("{next}").into();
        }
        Request::Txn(txn) => txn.success.iter_mut().chain(&mut txn.failure).for_each(|request| distinct(request, next)),
        _ => {}
    }
}

/// Histories that are legal because a store made them, each operation at an instant within its time: not one is refuted.
#[test]
fn what_a_store_answers_is_never_refuted() {
    let mut rng = Rng(31);
    let (mut told, mut values) = (0, 0);
    for case in 0..20_000 {
        let (keys, count, mut store) = (1 + rng.below(2), 3 + rng.below(12), Replay::default());
        let history: Vec<Operation> = (0..count)
            .map(|id| {
                let mut request = random_request(&mut rng, keys, id);
                distinct(&mut request, &mut values);
                let at = 10 * (id + 1);
                let op = pending(id, request, at.saturating_sub(rng.below(40)));
                match rng.below(6) {
                    0 => op,
                    1 => {
                        store.apply(&op.op);
                        op
                    }
                    _ => {
                        let response = store.apply(&op.op);
                        let end = at + [2, 40, 200][rng.below(3) as usize];
                        synced(op, at + rng.below(end - at), store.revision(), response)
                    }
                }
            })
            .collect();
        told += history.iter().filter(|op| op.synced.is_some()).count();
        let judgement = of_kv(&history);
        assert_ne!(judgement.verdict, Verdict::Illegal, "case {case}: {}\n{history:#?}", judgement.message);
    }
    println!("{told} answers");
}

/// On thousands of runs that nobody made zones never contradict the search, and they refute a good part of what it does.
#[test]
fn zones_and_the_search_agree() {
    let mut rng = Rng(23);
    let (mut by_search, mut by_zones, mut proved) = (0, 0, 0);
    for _ in 0..20_000 {
        let (history, log) = instance(&mut rng);
        let cross = cross_check(&history, &log, Budget::default()).expect("the history is well-formed");
        assert_eq!(cross.disagreement, None, "{history:#?}");
        by_search += u32::from(cross.search.verdict == Verdict::Illegal);
        by_zones += u32::from(cross.zones.verdict == Verdict::Illegal);
        proved += u32::from(cross.zones.verdict == Verdict::Ok);
    }
    println!("of 20000: the search refutes {by_search}, zones {by_zones}; zones prove {proved}");
    assert!(by_zones > by_search / 10 && by_zones < by_search && proved > 1_000, "{by_zones} of {by_search}, {proved}");
}
