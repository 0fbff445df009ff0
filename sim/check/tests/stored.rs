//! Histories of other tools: recognised, read, refused with their line.

use check::model::NEVER;
use check::models::register::{Op, Ret};
use check::parse::{Stored, parse_any};
use check::{Budget, JudgeError, Level, Verdict, decide, judge_stored};

fn error(text: &str) -> String {
    parse_any("file", text).expect_err("it is wrong").to_string()
}

const JEPSEN: &str = "\
INFO  jepsen.util - 0\t:invoke\t:write\t1
some other line
INFO  jepsen.util - :nemesis\t:info\t:start\tnil
INFO  jepsen.util - 1\t:invoke\t:read\tnil
INFO  jepsen.util - 0\t:ok\t:write\t1
INFO  jepsen.util - 1\t:ok\t:read\tnil
INFO  jepsen.util - 2\t:invoke\t:cas\t[1 2]
INFO  jepsen.util - 3\t:invoke\t:read\tnil
INFO  jepsen.util - 2\t:info\t:cas\t:timed-out
INFO  jepsen.util - 3\t:fail\t:read\t:timed-out
INFO  jepsen.util - 0\t:invoke\t:cas\t[7 8]
INFO  jepsen.util - 0\t:fail\t:cas\t[7 8]
";

#[test]
fn jepsen_logs() {
    let stored = parse_any("etcd.log", JEPSEN).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((stored.model(), stored.len()), ("cas-register", 4), "the failed read says nothing");
    let Stored::Register(history) = &stored else { panic!("not a register") };
    assert_eq!((&history[2].op, history[2].ret, history[2].end), (&Op::Cas(1, 2), None, NEVER));
    assert_eq!((&history[3].op, history[3].ret, history[3].end), (&Op::Cas(7, 8), Some(Ret::Swapped(false)), 12));
    assert_eq!(decide(&stored, Budget::default()), Verdict::Ok);
    assert_eq!(judge_stored(&stored, Level::All, Budget::default()).map(|j| j.verdict), Ok(Verdict::Ok));
    // The failed compare-and-set is more than zones can tell.
    assert_eq!(judge_stored(&stored, Level::L2, Budget::default()).map(|j| j.verdict), Ok(Verdict::Unknown));
    assert_eq!(judge_stored(&stored, Level::L1, Budget::default()), Err(JudgeError::NotFor(Level::L1, "a register", "l2, l3 and all")));

    assert!(error(&JEPSEN.replace("[7 8]", "[7]")).starts_with("file, line 11: `:cas [7]` is not an operation; accepted is `INFO"));
    assert!(error(&JEPSEN.replace("3\t:fail", "4\t:fail")).contains("line 10: process 4 ends an operation that it did not invoke"));
    assert!(error(&JEPSEN.replace("1\t:ok\t:read\tnil", "1\t:ok\t:read\tx")).contains("line 6: a read returned `x`, which is no number"));
}

const PORCUPINE: &str = r#"{:process 0, :type :invoke, :f :append, :key "k", :value "x 0 0 y"}
{:process 1, :type :invoke, :f :get, :key "k", :value nil}
{:process 1, :type :ok, :f :get, :key "k", :value "x 0 0 y"}
{:process 0, :type :ok, :f :append, :key "k", :value "x 0 0 y"}
{:process 1, :type :invoke, :f :get, :key "k", :value nil}
{:process 1, :type :ok, :f :get, :key "k", :value ""}
"#;

#[test]
fn porcupine_histories() {
    let stored = parse_any("c01.txt", PORCUPINE).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((stored.model(), stored.len()), ("append", 3));
    let judgement = judge_stored(&stored, Level::L3, Budget::default()).expect("it is a history");
    assert_eq!(judgement.verdict, Verdict::Illegal);
    assert_eq!(
        judgement.message,
        r#"get(k) → "" was invoked 1 line after append(k, "x 0 0 y") had been acknowledged, and nothing overwrote it"#
    );
    assert!(error(&PORCUPINE.replace(":f :append", ":f :add")).contains("line 1: there is no operation `:add`"));
    assert!(error(&PORCUPINE[..PORCUPINE.len() - 10]).contains("line 6: this is not an event; accepted is"));
    let twice = format!("{PORCUPINE}{PORCUPINE}").replacen(r#"{:process 0, :type :ok, :f :append, :key "k", :value "x 0 0 y"}"#, "", 1);
    assert!(error(&twice).contains("line 7: the process invokes an operation while another one is pending"));
}

#[test]
fn our_histories() {
    let line = r#"{"id":3,"client":1,"op":{"put":{"key":"k","value":"1"}},"invoke":5,"return":null,"outcome":"unknown","colour":"red"}"#;
    let stored = parse_any("history.jsonl", line).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((stored.model(), stored.len()), ("kv", 1));
    assert_eq!(decide(&stored, Budget::default()), Verdict::Ok);
    assert!(error(&line[..40]).contains("line 1: the file ends in the middle of this line"));
}

#[test]
fn unknown_formats() {
    assert!(error("").contains("the file is empty"));
    assert!(error("<html>").contains("line 1: no known history begins with `<html>`; accepted is a history.jsonl, a Jepsen log"));
}
