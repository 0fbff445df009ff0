//! L0: hand-made histories with their logs; its real-time criteria against brute force on random instances; and L0 and L3 against
//! each other.

mod support;

use check::certificate::{Certificate, certify};
use check::{Budget, Finding, JudgeError, Judgement, Level, Verdict, cross_check, judge};
use curp::{ConflictCheck, ProposeId};
use history::{AppliedCommand, Operation, Outcome};
use kv::{Bytes, Error, KeyValue, Request, Response};
use support::*;

const OK: Response = Response::Put { prev_kv: None };

fn log(commands: &[(u64, &Operation)]) -> Vec<AppliedCommand> {
    let command = |&(index, op): &(u64, &Operation)| AppliedCommand {
        index,
        id: op.propose_id.expect("a command has an id"),
        command: op.op.clone(),
    };
    commands.iter().map(command).collect()
}

fn one(key: &str, value: &str, create: u64, modified: u64, version: u64) -> Response {
    let kv =
        KeyValue { key: key.into(), value: value.into(), create_revision: create, mod_revision: modified, version, ..KeyValue::default() };
    Response::Range { kvs: vec![kv], count: 1, more: false }
}

fn judged(history: &[Operation], log: &[AppliedCommand]) -> Judgement {
    let judgement = judge(history, Some(log), Level::All, Budget::default()).expect("the history is well-formed");
    let cross = cross_check(history, log, Budget::default()).expect("the history is well-formed");
    assert_eq!(cross.disagreement, None);
    assert_eq!(cross.judgement, judgement);
    judgement
}

#[track_caller]
fn refused(history: &[Operation], log: &[AppliedCommand], finding: Finding, says: &str) {
    let judgement = judged(history, log);
    assert_eq!((judgement.verdict, judgement.finding), (Verdict::Illegal, Some(finding)), "{}", judgement.message);
    assert!(judgement.message.contains(says), "{}", judgement.message);
}

/// put(k, 1) fast then synced, put(j, 2) synced, a read of k, an unknown put.
fn good() -> (Vec<Operation>, Vec<AppliedCommand>) {
    let a = synced(fast(pending(0, put("k", "1"), 0), 10, OK), 30, 2, OK);
    let b = synced(pending(1, put("j", "2"), 12), 40, 3, OK);
    let c = served_at(synced(pending(2, get("k"), 50), 60, 3, one("k", "1", 2, 2, 1)), 7);
    let d = pending(3, put("k", "9"), 52);
    let log = log(&[(4, &a), (5, &b), (9, &d)]);
    (vec![a, b, c, d], log)
}

#[test]
fn a_good_run_is_certified() {
    let (history, log) = good();
    assert_eq!(certify(&history, &log), Certificate::default());
    let judgement = judged(&history, &log);
    assert_eq!((judgement.verdict, judgement.level), (Verdict::Ok, Level::L0));
    assert_eq!(certify(&history, &log[..2]), Certificate::default(), "an unknown operation need not be in the log");
}

#[test]
fn commuting_fast_commands_may_be_recovered_in_another_order() {
    // a was done before b began, but neither conflicts, and recovery appended b first.
    let a = fast(pending(0, put("a", "1"), 0), 10, OK);
    let b = fast(pending(1, put("b", "1"), 20), 30, OK);
    let log = log(&[(2, &b), (3, &a)]);
    assert_eq!(certify(&[a.clone(), b.clone()], &log), Certificate::default());
    // Had both been synced, revisions would give the order away.
    let (a, b) = (synced(a, 11, 3, OK), synced(b, 31, 2, OK));
    refused(&[a, b], &log, Finding::Revisions, "the other way round");
}

#[test]
fn an_acknowledged_write_must_be_in_the_log() {
    let (history, log) = good();
    // Reads still see it, so the values show nothing: only the log lies.
    refused(&history[..2], &log[1..2], Finding::Log, "operation 0, put(k, 1) was acknowledged, but its id 1.1 is not in the final log");
}

#[test]
fn no_id_is_there_twice_and_no_failed_one() {
    let (mut history, mut log) = good();
    log.push(AppliedCommand { index: 20, ..log[2].clone() });
    refused(&history, &log, Finding::Log, "operation 3, put(k, 9) took effect twice, at log index 9 and again at 20");
    log.pop();
    history[3].outcome = Outcome::Fail;
    refused(&history, &log, Finding::Log, "was reported as failed, but it took effect at log index 9");
}

#[test]
fn a_command_that_nobody_asked_for() {
    let (mut history, mut log) = good();
    log.push(AppliedCommand { index: 20, id: ProposeId { client: 8, seq: 1 }, command: put("k", "12") });
    refused(&history, &log, Finding::Log, "which no operation of the history is");
    history.push(Operation { propose_id: None, ..pending(4, put("k", "12"), 1) });
    assert_eq!(judged(&history, &log).verdict, Verdict::Ok, "it may be one whose id was never learned");
    log[1].command = put("j", "3");
    refused(&history, &log, Finding::Log, "has id 1.2, under which the log has put(j, 3)");
}

#[test]
fn a_stale_read_is_illegal_whatever_the_log_says() {
    let a = synced(pending(0, put("k", "12"), 0), 10, 2, OK);
    let b = fast(pending(1, put("k", "17"), 20), 30, OK);
    let c = served_at(synced(pending(2, get("k"), 565_000_030), 565_000_040, 2, one("k", "12", 2, 2, 1)), 2);
    let log = log(&[(2, &a), (3, &b)]);
    let history = [a, b, c];
    let says = "get(k) → 12 (version 1) was invoked 565 ms after put(k, 17) had been acknowledged, and nothing overwrote it";
    refused(&history, &log, Finding::History, says);
    let certificate = certify(&history, &log);
    assert_eq!(certificate.values[0].operations, [2, 1], "{certificate:?}");
}

#[test]
fn revisions_are_held_to_account() {
    let (history, log) = good();
    let mut wrong = history.clone();
    wrong[1].synced.as_mut().expect("it has one").header.revision = 4;
    refused(&wrong, &log, Finding::Revisions, "the header's revision was 4, but the log, replayed up to its place, gives 3");
    let mut wrong = history.clone();
    wrong[2].synced.as_mut().expect("it has one").response = one("k", "1", 2, 3, 1);
    refused(&wrong, &log, Finding::Revisions, "synced answer");
    let mut wrong = history;
    wrong[2].applied_index = Some(4);
    refused(&wrong, &log, Finding::Revisions, "gives 2");
}

/// A fast answer knows the revisions of applied keys, but not its own.
#[test]
fn a_fast_answer_s_own_revision_fits_anything() {
    let a = synced(pending(0, put("k", "1"), 0), 10, 2, OK);
    let request = Request::Txn(kv::TxnRequest { compare: vec![], success: vec![get("k"), put("k", "2"), get("k")], failure: vec![] });
    let answer =
        |modified, own| Response::Txn { succeeded: true, responses: vec![one("k", "1", 2, modified, 1), OK, one("k", "2", 2, own, 2)] };
    let b = fast(pending(1, request.clone(), 20), 30, answer(2, 0));
    let log = log(&[(2, &a), (3, &b)]);
    assert_eq!(judged(&[a.clone(), b], &log).verdict, Verdict::Ok);
    let b = fast(pending(1, request.clone(), 20), 30, answer(0, 0));
    refused(&[a.clone(), b], &log, Finding::Revisions, "fast answer");
    let b = synced(pending(1, request, 20), 30, 3, answer(2, 0));
    refused(&[a, b], &log, Finding::Revisions, "synced answer");
}

#[test]
fn two_answers_of_one_operation_must_agree() {
    let a = synced(pending(0, put("k", "1"), 0), 10, 2, OK);
    let b = synced(fast(pending(1, get("k"), 5), 6, Response::Range { kvs: vec![], count: 0, more: false }), 20, 2, one("k", "1", 2, 2, 1));
    let log = log(&[(2, &a), (3, &b)]);
    refused(&[a, b], &log, Finding::History, "get(k) was answered twice, first nothing and then 1 (version 1)");
}

#[test]
fn what_cannot_be_judged_is_said() {
    let (mut history, log) = good();
    let asked = |history: &[Operation], level| judge(history, None, level, Budget::default()).map(|j| j.verdict);
    assert_eq!(asked(&history, Level::L1), Ok(Verdict::Ok));
    assert_eq!(asked(&history, Level::L2), Ok(Verdict::Ok));
    assert_eq!(asked(&history, Level::L0), Err(JudgeError::NoLog));
    assert_eq!(asked(&history, Level::L3), Ok(Verdict::Ok));
    history[2].applied_index = None;
    assert!(certify(&history, &log).holds(), "its revision tells where it stands");
    history[0] = Operation { propose_id: None, ..fast(pending(0, put("k", "1"), 0), 10, OK) };
    assert!(certify(&history, &log).unplaced.is_some());
    assert_eq!(judged(&history, &log).level, Level::L3, "then the search decides");
    history[2].ret = Some(0);
    assert!(matches!(asked(&history, Level::L3), Err(JudgeError::Malformed(what)) if what.contains("before its `invoke`")));
}

fn attach(key: &str, value: &str, lease: i64) -> Request {
    Request::Put(kv::PutRequest { key: key.into(), value: value.into(), lease, ..kv::PutRequest::default() })
}

fn grant(id: i64) -> Request {
    Request::LeaseGrant(kv::LeaseGrantRequest { ttl: 10, id })
}

fn granted(id: i64) -> Response {
    Response::LeaseGrant { id, ttl: 10 }
}

fn own(index: u64, lease: i64) -> AppliedCommand {
    let command = Request::LeaseRevoke(kv::LeaseRevokeRequest { id: lease, stamp: Some(1) });
    AppliedCommand { index, id: check::servers::servers_id(index), command }
}

#[test]
fn a_lease_that_expires_takes_its_keys_along() {
    let a = synced(pending(0, grant(5), 0), 10, 1, granted(5));
    let b = synced(pending(1, attach("k", "1", 5), 20), 30, 2, OK);
    let nothing = Response::Range { kvs: vec![], count: 0, more: false };
    let c = served_at(synced(pending(2, get("k"), 40), 50, 3, nothing.clone()), 9);
    let mut log = log(&[(2, &a), (3, &b)]);
    let history = [a, b, c];
    // The log has no revoke, so the key cannot be gone.
    refused(&history, &log, Finding::History, "get(k) → nothing was invoked 10 ns after put(k, 1, lease 5) had been acknowledged");
    log.push(own(4, 5));
    assert_eq!(judged(&history, &log).verdict, Verdict::Ok);
    for level in [Level::L1, Level::L3, Level::All] {
        assert_eq!(judge(&history, None, level, Budget::default()).map(|j| j.verdict), Ok(Verdict::Ok), "one that expired explains it");
    }
    let mut torn = history.clone();
    let held = KeyValue { key: "k".into(), value: "1".into(), create_revision: 2, mod_revision: 2, version: 1, lease: 5 };
    let still = Response::Range { kvs: vec![held], count: 1, more: false };
    torn[2] = served_at(synced(pending(2, get("k"), 40), 50, 3, still), 9);
    refused(&torn, &log, Finding::Log, "but the log, replayed up to its place, gives nothing");
}

/// `lease-unknown-accepted`, and `conflict-misses-lease` where a put attaches to a lease that a commuting grant has yet to make.
#[test]
fn a_put_needs_its_lease() {
    let a = synced(pending(0, attach("k", "1", 5), 0), 10, 2, OK);
    refused(std::slice::from_ref(&a), &log(&[(2, &a)]), Finding::History, "put(k, 1, lease 5), but nothing that can have happened by then");
    let missing = Response::Error(Error::LeaseNotFound);
    let g = fast(pending(1, grant(5), 0), 10, granted(5));
    let p = fast(pending(2, attach("k", "1", 5), 20), 30, OK);
    refused(&[g.clone(), p.clone()], &log(&[(2, &p), (3, &g)]), Finding::Log, "operation 2, put(k, 1, lease 5)");
    let late = fast(pending(2, attach("k", "1", 5), 20), 30, missing);
    refused(&[g.clone(), late.clone()], &log(&[(2, &g), (3, &late)]), Finding::History, "requested lease not found");
}

/// `txn-sees-itself`: compares are judged before anything is written.
#[test]
fn a_txn_that_sees_itself() {
    let compare = kv::Compare { key: "k".into(), target: kv::CompareTarget::Version(1), ..kv::Compare::default() };
    let request = Request::Txn(kv::TxnRequest { compare: vec![compare], success: vec![put("k", "1")], failure: vec![] });
    let wrong = synced(pending(0, request.clone(), 0), 10, 2, Response::Txn { succeeded: true, responses: vec![OK] });
    refused(
        std::slice::from_ref(&wrong),
        &log(&[(2, &wrong)]),
        Finding::History,
        "nothing that can have happened by then gives that answer",
    );
}

/// `range-torn`: keys of one moment with values of another.
#[test]
fn a_torn_range() {
    let a = synced(pending(0, put("a", "1"), 0), 10, 2, OK);
    let b = synced(pending(1, put("b", "1"), 20), 30, 3, OK);
    let c = synced(pending(2, put("a", "2"), 20), 60, 4, OK);
    let kv = |key: &str, value: &str, create, modified, version| match one(key, value, create, modified, version) {
        Response::Range { kvs, .. } => kvs[0].clone(),
        _ => unreachable!("it is a range"),
    };
    let torn = Response::Range { kvs: vec![kv("a", "2", 2, 4, 2)], count: 1, more: false };
    let log = log(&[(2, &a), (3, &b), (4, &c)]);
    let read =
        |invoke, applied, revision, response| served_at(synced(pending(3, range("a", "z"), invoke), 70, revision, response), applied);
    refused(&[a.clone(), b.clone(), c.clone(), read(35, 2, 2, torn)], &log, Finding::History, "range(a..z)");
    let whole = Response::Range { kvs: vec![kv("a", "2", 2, 4, 2), kv("b", "1", 3, 3, 1)], count: 2, more: false };
    assert_eq!(judged(&[a, b, c, read(35, 4, 4, whole)], &log).verdict, Verdict::Ok);
}

#[test]
fn a_serializable_read_is_of_a_prefix() {
    let old = Request::Range(kv::RangeRequest { key: "k".into(), serializable: true, ..kv::RangeRequest::default() });
    let (mut history, log) = good();
    // Long after k was written: stale, and right all the same.
    let empty = Response::Range { kvs: vec![], count: 0, more: false };
    history.push(served_at(synced(pending(4, old.clone(), 100), 110, 1, empty.clone()), 3));
    assert_eq!(judged(&history, &log).verdict, Verdict::Ok);
    for level in [Level::L1, Level::L3] {
        assert_eq!(judge(&history, None, level, Budget::default()).map(|j| j.verdict), Ok(Verdict::Ok));
    }
    history[4] = served_at(synced(pending(4, old.clone(), 100), 110, 3, empty), 7);
    refused(&history, &log, Finding::Prefix, "operation 4, get(k, serializable): the synced answer was nothing");
    let mut early = good().0;
    early.push(served_at(synced(pending(4, old, 0), 5, 3, one("k", "1", 2, 2, 1)), 7));
    refused(&early, &log, Finding::Prefix, "was answered from a prefix that has operation 1, put(j, 2), which was invoked only later");
}

#[test]
fn what_the_clock_answers_is_not_the_logs() {
    let (mut history, log) = good();
    let keep = Request::LeaseKeepAlive(kv::LeaseKeepAliveRequest { id: 9 });
    let alive = Response::LeaseKeepAlive { id: 9, ttl: 5 };
    history.push(Operation { propose_id: None, ..synced(pending(4, keep, 0), 10, 1, alive) });
    assert_eq!(judged(&history, &log).verdict, Verdict::Ok);
}

/// Operations that a node proposed for a client that knows no sessions: nothing in the history says where they stand, but for their revisions.
#[test]
fn what_came_in_through_a_node_is_placed_by_its_revision() {
    let unnamed = |op: Operation| Operation { propose_id: None, applied_index: None, ..op };
    let (history, log) = good();
    let history: Vec<Operation> = history.into_iter().map(unnamed).collect();
    assert_eq!(certify(&history, &log), Certificate::default());
    assert_eq!(judged(&history, &log).level, Level::L0);
    let mut wrong = history.clone();
    wrong[1].synced.as_mut().expect("it has one").header.revision = 4;
    refused(
        &wrong,
        &log,
        Finding::Log,
        "operation 1, put(j, 2) was acknowledged, and no command of the final log has its revision and answer",
    );
    let mut wrong = history.clone();
    wrong[2].synced.as_mut().expect("it has one").header.revision = 9;
    refused(&wrong, &log, Finding::Log, "operation 2, get(k) carries revision 9, which the final log never had");
    let mut wrong = history;
    wrong[2] =
        Operation { invoke: 50, ..unnamed(synced(pending(2, get("k"), 0), 60, 1, Response::Range { kvs: vec![], count: 0, more: false })) };
    refused(&wrong, &log, Finding::History, "get(k) → nothing was invoked");
}

/// A read of an old revision, a compaction and a list of leases conflict with everything: fast answers do not pass them.
#[test]
fn what_depends_on_the_state_conflicts_with_all() {
    let leases = |ids: &[i64]| Response::LeaseLeases { leases: ids.to_vec() };
    let g = synced(pending(0, grant(5), 0), 10, 1, granted(5));
    let before = served_at(synced(pending(1, Request::LeaseLeases, 20), 30, 1, leases(&[])), 1);
    let log = log(&[(2, &g)]);
    refused(
        &[g.clone(), before],
        &log,
        Finding::History,
        "leases() → leases [] was invoked 10 ns after grant(lease 5, 10 s) → lease 5 for 10 s",
    );
    let after = served_at(synced(pending(1, Request::LeaseLeases, 20), 30, 1, leases(&[5])), 2);
    assert_eq!(judged(&[g, after], &log).verdict, Verdict::Ok);
}

/// Two reads have no order, however much they read: one that all writes matter to passes nothing on from one read to the next.
#[test]
fn reads_hand_no_order_on() {
    let a = synced(pending(0, put("a", "1"), 0), 15, 2, OK);
    let b = synced(pending(1, put("b", "1"), 0), 50, 3, OK);
    let c = synced(fast(pending(2, put("c", "1"), 0), 10, OK), 60, 4, OK);
    let read = served_at(synced(pending(3, get("j"), 20), 30, 2, Response::Range { kvs: vec![], count: 0, more: false }), 2);
    let leases = served_at(synced(pending(4, Request::LeaseLeases, 0), 40, 3, Response::LeaseLeases { leases: vec![] }), 3);
    let log = log(&[(2, &a), (3, &b), (4, &c)]);
    // In the log: a, the read, b, the list, c; and c was answered before the read began.
    assert_eq!(judged(&[a.clone(), b.clone(), c.clone(), read.clone(), leases.clone()], &log).verdict, Verdict::Ok);
    // A write between the two that they conflict with hands it on.
    let j = synced(Operation { op: put("j", "1"), ..b }, 50, 3, OK);
    let log = [log[0].clone(), AppliedCommand { command: j.op.clone(), ..log[1].clone() }, log[2].clone()];
    refused(&[a, j, c, read, leases], &log, Finding::Log, "conflicting directly or through others");
}

/// Positions of the history in log order: `instance` makes them so. Whether `a` must stay before `b`.
fn conflicts(history: &[Operation], a: usize, b: usize) -> bool {
    a < b && history[a].op.conflicts(&history[b].op) && (writes(&history[a].op) || writes(&history[b].op))
}

fn writes(request: &Request) -> bool {
    match request {
        Request::Range(_) | Request::LeaseLeases | Request::LeaseKeepAlive(_) | Request::LeaseTimeToLive(_) => false,
        // From a key to one that is not after it there is none.
        Request::DeleteRange(delete) => delete.range_end.as_ref().is_none_or(|end| *end == Bytes::from("\0") || *end > delete.key),
        Request::Txn(txn) => txn.success.iter().chain(&txn.failure).any(writes),
        _ => true,
    }
}

#[test]
fn real_time_criteria_agree_with_brute_force() {
    let mut rng = Rng(19);
    let (mut legal, mut by_search) = ([0u32; 2], 0u32);
    for _ in 0..30_000 {
        let (history, log) = instance(&mut rng);
        let certificate = certify(&history, &log);
        assert_eq!(certificate.unplaced, None);
        let n = history.len();
        let end = |i: usize| history[i].first_response_at().unwrap_or(u64::MAX);
        // B: conflict order and real time, closed transitively, have no cycle.
        let must = |a: usize, b: usize| conflicts(&history, a, b) || end(a) < history[b].invoke;
        let mut before: Vec<Vec<bool>> = (0..n).map(|a| (0..n).map(|b| must(a, b)).collect()).collect();
        for via in 0..n {
            let after = before[via].clone();
            for row in before.iter_mut().filter(|row| row[via]) {
                row.iter_mut().zip(&after).for_each(|(to, &also)| *to |= also);
            }
        }
        let acyclic = (0..n).all(|i| !before[i][i]);
        assert_eq!(certificate.values.is_empty(), acyclic, "{history:#?}\n{certificate:#?}");
        // A: no later operation has its synced answer before an earlier one is invoked. Reads of one gap are not ordered.

        let place = |i: usize| match history[i].propose_id {
            Some(id) => (log.iter().position(|c| c.id == id).expect("it is there") as u64, 1),
            None => (log.partition_point(|c| Some(c.index) <= history[i].applied_index) as u64, 0),
        };
        let ordered = (0..n).all(|a| (0..n).all(|b| place(a) >= place(b) || history[b].synced_at.unwrap_or(u64::MAX) >= history[a].invoke));
        assert_eq!(certificate.revisions.is_empty(), ordered, "{history:#?}\n{certificate:#?}");
        legal[0] += u32::from(acyclic);
        legal[1] += u32::from(ordered);
        // A certificate for the values is a linearization: the search must find one.
        let cross = cross_check(&history, &log, Budget::default()).expect("the history is well-formed");
        assert_eq!(cross.disagreement, None, "{history:#?}");
        by_search += u32::from(cross.search.verdict == Verdict::Ok);
    }
    println!("of 30000: B holds {}, A holds {}, the search finds an order {by_search}", legal[0], legal[1]);
    assert!(legal.iter().all(|&legal| (2_000..28_000).contains(&legal)) && by_search >= legal[0]);
}

/// Whatever one changes in the answers of a certified run, the certificate notices.
#[test]
fn a_changed_answer_is_noticed() {
    fn change(response: &mut Response, rng: &mut Rng) {
        match response {
            Response::Put { prev_kv: prev @ Some(_) } => *prev = None,
            Response::Put { prev_kv } => {
                *prev_kv = Some(KeyValue {
                    key: "k".into(),
                    value: "?".into(),
                    create_revision: 0,
                    mod_revision: 0,
                    version: 1,
                    ..KeyValue::default()
                })
            }
            Response::Range { kvs, count, .. } if kvs.is_empty() || rng.chance(30) => *count += 1,
            Response::Range { kvs, .. } => kvs[0].version += 1,
            Response::DeleteRange { deleted, .. } => *deleted += 1,
            Response::Txn { succeeded, .. } => *succeeded = !*succeeded,
            Response::LeaseGrant { ttl, .. } => *ttl += 1,
            Response::LeaseLeases { leases } => leases.push(9),
            Response::Compact | Response::LeaseRevoke => *response = Response::Error(Error::LeaseExists),
            _ => *response = Response::Compact,
        }
    }
    let (mut rng, mut noticed) = (Rng(7), 0);
    while noticed < 3000 {
        let (mut history, log) = instance(&mut rng);
        if !certify(&history, &log).holds() {
            continue;
        }
        let i = rng.below(history.len() as u64) as usize;
        let operation = &mut history[i];
        match (&mut operation.synced, &mut operation.fast) {
            (Some(synced), _) if rng.chance(20) => synced.header.revision += 1,
            (Some(synced), _) => change(&mut synced.response, &mut rng),
            (None, Some(fast)) => change(fast, &mut rng),
            (None, None) => continue,
        }
        assert!(!certify(&history, &log).holds(), "{history:#?}");
        assert_eq!(judged(&history, &log).verdict, Verdict::Illegal);
        noticed += 1;
    }
}
