//! A tour of the protocol: each script in `tests/scripts` drives a few nodes step by step, and its transcript, with all that the
//! nodes said and wrote, is the file beside it (the idea is etcd/raft's `testdata`). What a command does is written in `run`.
//! `table` tries every arrangement of pools that an election can count; `walk` lets chance drive the same nodes.
//!
//! After a change that is meant: `INSTA_UPDATE=always cargo test -p curp --test interaction`, and read the difference.

#[path = "../common/mod.rs"]
mod common;

mod admin;
mod cluster;
mod run;
mod script;
mod show;
mod table;
mod walk;

use std::path::Path;

fn check(name: &str) {
    let file = format!("tests/scripts/{name}.txt");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{file}: {e}"));
    let mut transcript = String::new();
    if let Err(error) = run::run(&format!("core/curp/{file}"), &text, &mut transcript) {
        panic!("{transcript}\n{error}");
    }
    golden(name, &transcript);
}

/// Compares with the file of that name beside the scripts.
fn golden(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../scripts");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

macro_rules! scripts {
    ($($test:ident = $name:literal;)*) => {
        $(#[test] fn $test() { check($name) })*
        const SCRIPTS: &[&str] = &[$($name),*];
    };
}

scripts! {
    elections = "01-elections";
    split_vote = "02-split-vote";
    late_votes = "03-late-votes";
    check_quorum = "04-check-quorum";
    fast_round = "05-fast-round";
    slow_round = "06-slow-round";
    held_answers = "07-held-answers";
    two_pools = "08-two-pools";
    recovery = "09-recovery";
    opening = "11-opening";
    truncation = "12-truncation";
    figure_8 = "13-figure-8";
    late_records = "14-late-records";
    restarts = "15-restarts";
    sessions = "16-sessions";
    end_of_session = "17-end-of-session";
    hand_over = "18-hand-over";
    reads = "19-reads";
    late_heartbeats = "20-late-heartbeats";
    late_appends = "21-late-appends";
    execution = "22-execution";
    snapshots = "23-snapshots";
    slow_follower = "24-slow-follower";
    lost_pieces = "25-lost-pieces";
    late_snapshots = "26-late-snapshots";
    install = "27-install";
    restart_from_snapshot = "28-restart-from-snapshot";
    flow_control = "29-flow-control";
    single_voter = "30-single-voter";
    add_learner = "32-add-learner";
    promotion = "33-promotion";
    removal = "34-removal";
    remove_leader = "35-remove-leader";
    even_sizes = "36-even-sizes";
    undone_change = "37-undone-change";
    records_and_configurations = "38-records-and-configurations";
    one_at_a_time = "39-one-at-a-time";
    transfer = "40-transfer";
    transfer_fails = "41-transfer-fails";
    shutdown = "42-shutdown";
    learner_reads = "43-learner-reads";
    addresses = "44-addresses";
    state_changes = "45-state-changes";
    removed_leader_stands = "46-removed-leader-stands";
    answers_and_changes = "47-answers-and-changes";
    own_commands = "48-own-commands";
    never_fast = "49-never-fast";
    begun_once = "50-begun-once";
}

#[test]
fn every_script_has_its_test() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let files = std::fs::read_dir(dir).expect("a directory of scripts").map(|file| file.expect("a readable directory").path());
    let scripts = files.filter(|file| file.extension().is_some_and(|e| e == "txt"));
    let mut names: Vec<_> = scripts.map(|file| file.file_stem().expect("a name").to_string_lossy().into_owned()).collect();
    names.sort();
    assert_eq!(names, SCRIPTS, "files on the left, tests on the right");
}

#[test]
fn a_bad_command_is_an_error_with_file_and_line() {
    for (script, error) in [
        ("status", "s.txt:1: `status`: a script begins with `cluster voters=N`"),
        ("cluster", "s.txt:1: `cluster`: voters=N is missing"),
        ("cluster voters=3\n\ndance", "s.txt:3: `dance`: there is no such command; tests/interaction/run.rs lists them"),
        ("cluster voters=3\ntick 4", "s.txt:2: `tick 4`: there is no node 4"),
        ("cluster voters=3\ntick 1 150s", "s.txt:2: `tick 1 150s`: `150s` is not a duration; one looks like 150ms"),
        ("cluster voters=3\nquiet tick 1 150ms soon", "s.txt:2: `quiet tick 1 150ms soon`: `soon` is one word too many"),
        ("cluster voters=3\nsettle until=dawn", "s.txt:2: `settle until=dawn`: the option `until=dawn` is not known here"),
        ("cluster voters=3\ndeliver type=Append", "s.txt:2: `deliver type=Append`: there is no such message"),
        ("cluster voters=3\nexec 1", "s.txt:2: `exec 1`: node 1 has no such task"),
        ("cluster voters=3\ncrash 1 gently", "s.txt:2: `crash 1 gently`: `gently` is not a way to crash; accepted: power, kill"),
        ("cluster voters=3\ncrash 1 kill\nlog 1\ntick 1", "s.txt:4: `tick 1`: node 1 is down"),
        ("cluster voters=3\npropose 1 x", "s.txt:2: `propose 1 x`: `x` is not a propose id; one looks like 3.17 (session 3, number 17)"),
        (
            "cluster voters=3\npropose 1 2.1 sing",
            "s.txt:2: `propose 1 2.1 sing`: `sing` is not a command; accepted: put KEY NUMBER, inc KEY, get KEY, sum",
        ),
        ("cluster voters=3\nnew 3", "s.txt:2: `new 3`: there is a node 3 already"),
        (
            "cluster voters=3\nchange 1 paint 2",
            "s.txt:2: `change 1 paint 2`: `paint` is not a change; accepted: add, promote, remove, update",
        ),
        ("cluster voters=3\nisolate 1\nelect 1", "s.txt:3: `elect 1`: node 1 did not win"),
    ] {
        assert_eq!(run::run("s.txt", script, &mut String::new()).expect_err(script), error);
    }
}
