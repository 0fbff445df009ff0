//! Same seed, same trace hash, on each engine: in any process, alone or in a batch, in any order, debug or release. And that a difference would be
//! found: a nondeterminism is planted, and the first event that differs is named.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const FROM: u64 = 4_711;
const SEEDS: u64 = 20;

/// The binary under test, built as the tests are.
fn debug() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_sim"))
}

/// The same program, optimized.
fn release() -> PathBuf {
    let built = Command::new(env!("CARGO")).args(["build", "--release", "--quiet", "--package", "sim", "--bin", "sim"]).status();
    assert!(built.expect("cargo runs").success(), "the release build fails");
    let target = debug().ancestors().nth(2).expect("target/debug/sim").to_owned();
    target.join("release/sim")
}

/// A folder of this test's own, empty.
fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("the target folder can be written");
    dir
}

fn sim(binary: &Path, dir: &Path, args: &[&str]) -> Output {
    Command::new(binary).args(args).current_dir(dir).output().expect("the binary runs")
}

/// Seed → trace hash, of the run lines in a file written by `--json`.
fn hashes(file: &Path) -> BTreeMap<u64, String> {
    let text = std::fs::read_to_string(file).expect("--json writes its file");
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON lines"));
    let runs = lines.filter(|line| line["kind"] == "run");
    runs.map(|run| (run["seed"].as_u64().expect("a seed"), run["trace_hash"].as_str().expect("a hash").to_owned())).collect()
}

/// One batch in one folder.
fn batch(binary: &Path, dir: &Path, engine: &str, jobs: &str) -> BTreeMap<u64, String> {
    let (from, seeds) = (FROM.to_string(), SEEDS.to_string());
    let file = dir.join(format!("batch-{jobs}.jsonl"));
    let out = dir.join("findings");
    let (file_name, out) = (file.to_str().expect("UTF-8"), out.to_str().expect("UTF-8"));
    let args = ["fuzz", "--from", &from, "--seeds", &seeds, "--engine", engine, "--jobs", jobs, "--json", file_name, "--out", out];
    let output = sim(binary, dir, &args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    hashes(&file)
}

/// One run in a process of its own.
fn alone(binary: &Path, dir: &Path, args: &[&str]) -> String {
    let file = dir.join("alone.jsonl");
    let _ = std::fs::remove_file(&file);
    let all = [&["repro"], args, &["--json", file.to_str().expect("UTF-8")]].concat();
    let output = sim(binary, dir, &all);
    assert!(file.exists(), "{}", String::from_utf8_lossy(&output.stderr));
    hashes(&file).into_values().next().expect("one run")
}

fn a_seed_is_one_run(engine: &str) {
    let dir = scratch(&format!("determinism-{engine}"));
    let together = batch(&debug(), &dir, engine, "1");
    assert_eq!(together.len() as u64, SEEDS);
    assert_eq!(together.values().collect::<BTreeSet<_>>().len() as u64, SEEDS, "distinct seeds give distinct runs");

    let shared: BTreeMap<_, _> = batch(&debug(), &dir, engine, "2");
    assert_eq!(shared, together, "two workers that share the batch");
    let own_process = |seed: u64| alone(&debug(), &dir, &[&seed.to_string(), "--engine", engine]);
    let reversed: BTreeMap<_, _> = (FROM..FROM + SEEDS).rev().map(|seed| (seed, own_process(seed))).collect();
    assert_eq!(reversed, together, "each seed in a process of its own, the last first");
    assert_eq!(batch(&release(), &dir, engine, "1"), together, "the optimized build");
}

#[test]
fn a_seed_is_one_run_on_direct_in_any_process_and_order_debug_or_release() {
    a_seed_is_one_run("direct");
}

#[test]
fn a_seed_is_one_run_on_madsim_in_any_process_and_order_debug_or_release() {
    a_seed_is_one_run("madsim");
}

#[test]
fn the_command_compares_both_engines() {
    let dir = scratch("determinism-command");
    let output = sim(&debug(), &dir, &["determinism", "4", "--from", "8"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("8 runs, each made twice, 0 of them"), "{text}");
}

#[test]
fn a_plan_is_its_run_and_another_plan_or_a_mutant_is_another() {
    let dir = scratch("determinism-plans");
    let (seed, out) = (FROM.to_string(), dir.join("run"));
    let hash = alone(&debug(), &dir, &[&seed, "--scenario", "standard", "--out", out.to_str().expect("UTF-8")]);
    let plan = out.join("plan.toml");
    assert_eq!(alone(&debug(), &dir, &[plan.to_str().expect("UTF-8")]), hash, "the plan alone says all of it");

    let text = std::fs::read_to_string(&plan).expect("a run with --out has its plan");
    let operation = text.lines().find(|line| line.contains("put = ")).expect("standard has puts");
    let edited = dir.join("edited.toml");
    std::fs::write(&edited, text.replace(operation, "")).expect("the folder can be written");
    assert_ne!(alone(&debug(), &dir, &[edited.to_str().expect("UTF-8")]), hash, "one operation fewer");
    assert_ne!(alone(&debug(), &dir, &[&seed, "--scenario", "standard", "--mutant", "volatile-witness"]), hash, "a bug planted");
}

#[test]
fn a_planted_nondeterminism_is_found_and_named() {
    let dir = scratch("determinism-disturbed");
    // Delays messages by the process's id: no two processes make the same run.
    let disturbed = |args: &[&str]| {
        let output = Command::new(debug()).args(args).current_dir(&dir).env("SIM_DISTURB", "1").output().expect("the binary runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(6), "{text}");
        assert!(text.contains("the first event that differs"), "{text}");
    };
    let fuzz =
        ["fuzz", "standard", "--from", "3", "--seeds", "1", "--engine", "direct", "--mutant", "volatile-witness", "--out", "findings"];
    let output = sim(&debug(), &dir, &fuzz);
    assert_eq!(output.status.code(), Some(1), "without it, the mutant's violation is confirmed");
    disturbed(&fuzz);
    for engine in ["direct", "madsim"] {
        disturbed(&["determinism", "1", "--from", "3", "--engine", engine]);
    }
}
