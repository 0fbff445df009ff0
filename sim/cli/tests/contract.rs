//! The contract of the command line (CLI.md), held against the binary: exit statuses, sentences for bad input, files that are never
//! overwritten, and the shape of `--json`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory of its own for a test, with nothing of the project in it.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        // A root of its own: the project's findings and regression plans are not the test's.
        std::fs::create_dir_all(dir.join("scenarios")).expect("the target directory can be written");
        Place(dir)
    }

    fn sim(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sim"));
        for fleet in ["JOB_COMPLETION_INDEX", "SLURM_ARRAY_TASK_ID", "CI_NODE_INDEX"] {
            command.env_remove(fleet);
        }
        command.args(args).current_dir(&self.0).output().expect("the binary runs")
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).expect("the target directory can be written");
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    fn json(&self, name: &str) -> Vec<serde_json::Value> {
        self.read(name).lines().map(|line| serde_json::from_str(line).expect("every line is an object")).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it is not killed")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn bad_input_is_one_sentence_and_exit_64() {
    let place = Place::new("bad-input");
    place.write("broken.toml", "version = 1\nscenario = \n");
    place.write("future.toml", "version = 99\n");
    place.write("truncated.jsonl", "{\"id\":1,\"client\":1,\"op\":{\"put\":");
    place.write("nonsense.txt", "hello\n");
    place.write("old.toml", "precious");
    let cases: &[(&[&str], &[&str])] = &[
        (&["fuzz", "nope"], &["nope", "standard"]),
        (&["fuzz", "--from", "99999999999999999999"], &["out of range", "0xffffffffffffffff"]),
        (&["fuzz", "--from", "18446744073709551615", "--seeds", "2"], &["out of range"]),
        (&["fuzz", "--shard", "3/2"], &["K/N"]),
        (&["fuzz", "--mutant", "nope"], &["nope", "read-local-leader"]),
        (&["repro", "1", "--engine", "both"], &["one run", "direct or madsim"]),
        (&["determinism", "--from", "18446744073709551615"], &["out of range"]),
        (&["fuzz", "--engine", "quantum"], &["quantum"]),
        (&["fuzz", "--for", "10"], &["30s"]),
        (&["fuzz", "--for", "10s", "--seeds", "3"], &["cannot be used with"]),
        (&["fuzz", "--seeds", "1", "--json", "no/such/directory/x.json"], &["no/such/directory/x.json"]),
        (&["fuzz", "--seeds", "1", "--junit", "no/such/directory/x.xml"], &["no/such/directory/x.xml"]),
        (&["repro", "nope"], &["nope", "seed", "plan file", "latest"]),
        (&["repro", "latest"], &["latest", "no finding"]),
        (&["repro", "18446744073709551616"], &["out of range"]),
        (&["repro", "1", "--scenario", "nope"], &["nope", "standard"]),
        (&["repro", "1", "--log", "loud"], &["loud", "debug"]),
        (&["repro", "broken.toml"], &["broken.toml:2"]),
        (&["repro", "future.toml"], &["future.toml:1", "version"]),
        (&["shrink", "1", "--scenario", "fault-free", "--out", "old.toml"], &["old.toml", "nothing is overwritten"]),
        (&["shrink", "1", "--scenario", "fault-free"], &["passes"]),
        (&["check", "missing.jsonl"], &["missing.jsonl"]),
        (&["check", "truncated.jsonl"], &["truncated.jsonl", "line 1", "truncated"]),
        (&["check", "nonsense.txt"], &["nonsense.txt", "line 1"]),
        (&["check", "nonsense.txt", "--level", "l9"], &["l9", "l0"]),
        (&["check", "nonsense.txt", "--model", "queue"], &["queue", "cas-register"]),
        (&["mutants", "nope"], &["nope", "read-local-leader"]),
        (&["list", "everything"], &["everything", "scenarios"]),
        (&["conform"], &["not built yet"]),
        (&["conform", "--tlc", "traces/x"], &["traces/x", "cannot be read"]),
        (&["explore"], &["not built yet"]),
        (&["report", "latest", "-o", "x.html"], &["not built yet"]),
        (&["frobnicate"], &["frobnicate"]),
        (&[], &["Usage"]),
    ];
    for (args, words) in cases {
        let output = place.sim(args);
        let said = stderr(&output);
        assert_eq!(code(&output), 64, "{args:?} said {said}");
        assert!(words.iter().all(|word| said.contains(word)), "{args:?} said {said}");
        assert!(stdout(&output).is_empty(), "{args:?} printed {}", stdout(&output));
        assert!(!said.contains("panicked at"), "{args:?} said {said}");
    }
    assert_eq!(place.read("old.toml"), "precious");
    let mut left: Vec<String> =
        std::fs::read_dir(&place.0).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    left.sort();
    assert_eq!(left, ["broken.toml", "future.toml", "nonsense.txt", "old.toml", "scenarios", "truncated.jsonl"]);
}

#[test]
fn nothing_ran_is_4_and_help_is_0() {
    let place = Place::new("nothing");
    assert_eq!(code(&place.sim(&["fuzz", "--seeds", "0"])), 4);
    assert_eq!(code(&place.sim(&["check", "scenarios"])), 4);
    let help = place.sim(&["--help"]);
    assert_eq!(code(&help), 0);
    assert!(stdout(&help).contains("64 usage"));
    assert_eq!(code(&place.sim(&["fuzz", "--help"])), 0);
}

#[test]
fn a_batch_writes_a_line_a_run_and_a_summary() {
    let place = Place::new("batch");
    let output =
        place.sim(&["fuzz", "fault-free", "--seeds", "6", "--from", "0x10", "--json", "runs.json", "--junit", "runs.xml", "--jobs", "2"]);
    assert_eq!(code(&output), 0, "{}\n{}", stdout(&output), stderr(&output));
    let lines = place.json("runs.json");
    let (summary, runs) = lines.split_last().expect("there are lines");
    let mut seeds: Vec<(u64, &str)> = runs.iter().map(|run| (run["seed"].as_u64().unwrap(), run["engine"].as_str().unwrap())).collect();
    seeds.sort_unstable();
    let on_both = [(20, "direct"), (20, "madsim")];
    assert_eq!(seeds, [&[16, 17, 18, 19].map(|seed| (seed, "direct"))[..], &on_both, &[(21, "direct")]].concat());
    let fields = [
        "kind",
        "scenario",
        "engine",
        "seed",
        "mutant",
        "verdict",
        "check",
        "message",
        "ops",
        "events",
        "sim_ns",
        "wall_ns",
        "trace_hash",
        "finding",
        "checks",
        "probes",
        "faults",
        "fast",
        "slow",
        "unknown",
    ];
    for run in runs {
        assert!(fields.iter().all(|field| run.get(field).is_some()), "{run}");
        assert_eq!((run["kind"].as_str(), run["verdict"].as_str()), (Some("run"), Some("pass")));
    }
    let fields = ["kind", "runs", "passed", "failed", "unknown", "seeds_per_s", "sim_s_per_wall_s", "ops_per_s", "elapsed_ns"];
    assert!(fields.iter().all(|field| summary.get(field).is_some()), "{summary}");
    assert_eq!((summary["kind"].as_str(), summary["runs"].as_u64(), summary["passed"].as_u64()), (Some("summary"), Some(7), Some(7)));
    assert!(place.read("runs.xml").contains("7 of 7 runs did not fail"));
    assert!(!place.0.join("findings").exists(), "green runs leave only a counter");

    let again = place.sim(&["repro", "16", "--scenario", "fault-free", "--json", "one.json", "--out", "kept"]);
    assert_eq!(code(&again), 0);
    let one = &place.json("one.json")[0];
    let same = runs.iter().find(|run| run["seed"] == 16).unwrap();
    assert_eq!(one["trace_hash"], same["trace_hash"]);
    for file in ["run.json", "plan.toml", "history.jsonl", "trace.ndjson", "log.jsonl", "verdict.json"] {
        assert!(place.0.join("kept").join(file).is_file(), "{file} is missing");
    }
    // The plan is the run: it reproduces it, and its files are judged again.
    assert_eq!(code(&place.sim(&["repro", "kept/plan.toml", "--json", "plan.json"])), 0);
    assert_eq!(place.json("plan.json")[0]["trace_hash"], same["trace_hash"]);
    let checked = place.sim(&["check", "kept", "--json", "check.json"]);
    assert_eq!(code(&checked), 0, "{}", stdout(&checked));
    assert!(place.json("check.json").iter().all(|line| line["verdict"] == "ok"));
    // Something else's files are not overwritten.
    assert_eq!(code(&place.sim(&["repro", "16", "--scenario", "fault-free", "--engine", "madsim", "--out", "kept"])), 64);
    assert_eq!(code(&place.sim(&["repro", "17", "--scenario", "fault-free", "--out", "kept"])), 64);
    assert_eq!(code(&place.sim(&["repro", "16", "--scenario", "fault-free", "--out", "kept"])), 0);
}

#[test]
fn shards_are_parts_of_the_batch() {
    let place = Place::new("shards");
    let mut seeds = Vec::new();
    for shard in ["1/2", "2/2"] {
        let file = format!("{}.json", &shard[..1]);
        assert_eq!(code(&place.sim(&["fuzz", "fault-free", "--seeds", "5", "--from", "1", "--shard", shard, "--json", &file])), 0);
        seeds.extend(place.json(&file).iter().filter_map(|line| line["seed"].as_u64()));
    }
    seeds.sort_unstable();
    assert_eq!(seeds, [1, 2, 3, 4, 5]);
}

#[test]
fn a_planted_bug_is_found_kept_reproduced_and_shrunk() {
    let place = Place::new("planted");
    let mutant = "super-quorum-majority";
    let output = place.sim(&["fuzz", "--seeds", "10", "--from", "1", "--mutant", mutant, "--fail-fast", "--json", "runs.json"]);
    assert_eq!(code(&output), 1, "{}", stdout(&output));
    let report = stdout(&output);
    assert!(report.contains("Reproduce  cargo sim repro") && report.contains(&format!("--mutant {mutant}")), "{report}");
    let lines = place.json("runs.json");
    let failed = lines.iter().find(|line| line["finding"].is_string()).expect("a finding is kept");
    let id = failed["finding"].as_str().unwrap();
    assert_eq!(failed["check"], "recovery");

    // By id, as the latest, and by its directory: each brings its mutant along.
    for what in [id, "latest", &format!("findings/{id}")] {
        assert_eq!(code(&place.sim(&["repro", what, "--json", "again.json"])), 1);
    }
    assert_eq!(code(&place.sim(&["repro", id, "--json", "again.json"])), 1);
    assert_eq!(place.json("again.json")[0]["trace_hash"], failed["trace_hash"]);
    // Without --from an open finding is replayed first, and kept once.
    let replay = place.sim(&["fuzz", "--seeds", "0", "--mutant", mutant]);
    assert_eq!(code(&replay), 1, "{}", stdout(&replay));
    assert!(stdout(&replay).contains("replayed"));

    let shrunk = place.sim(&["shrink", id, "--out", "small.toml"]);
    assert_eq!(code(&shrunk), 1, "{}", stderr(&shrunk));
    assert!(stdout(&shrunk).contains(&format!("cargo sim repro small.toml --mutant {mutant}")));
    assert_eq!(code(&place.sim(&["repro", "small.toml", "--mutant", mutant])), 1);
    assert_eq!(code(&place.sim(&["repro", "small.toml"])), 0, "without the bug the plan passes");
    let small = place.read("small.toml").lines().count();
    let whole = place.read(&format!("findings/{id}/plan.toml")).lines().count();
    assert!(small < whole / 3, "{small} of {whole} lines");

    let caught = place.sim(&["mutants", mutant, "--budget", "10", "--json", "mutants.json", "--write-fixed"]);
    assert_eq!(code(&caught), 0, "{}", stdout(&caught));
    let line = &place.json("mutants.json")[0];
    assert_eq!((line["kind"].as_str(), line["caught"].as_bool(), line["check"].as_str()), (Some("mutant"), Some(true), Some("recovery")));
    let engines: Vec<_> = place.json("mutants.json").iter().filter_map(|line| line["engine"].as_str().map(str::to_owned)).collect();
    assert_eq!(engines, ["direct", "madsim"]);
    assert_eq!(code(&place.sim(&["mutants", mutant, "--fixed"])), 0);
}

/// What never happens shows at the end of the run, long after its last event: the stored trace is judged up to there, too.
#[test]
fn a_trace_is_checked_up_to_the_end_of_its_run() {
    let (place, mutant) = (Place::new("to-the-end"), "lease-pop-no-retry");
    let fixed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/mutants.toml");
    let fixed = std::fs::read_to_string(fixed).expect("the mutants' fixed seeds");
    let row = fixed.split("[[mutant]]").find(|row| row.contains(mutant) && row.contains("direct")).expect("a row of it");
    let value =
        |key: &str| row.lines().find_map(|line| line.strip_prefix(key)).expect("it is there").trim_matches([' ', '=', '"']).to_owned();
    let (scenario, seed) = (value("scenario"), value("seed"));
    let run = place.sim(&["repro", &seed, "--scenario", &scenario, "--mutant", mutant, "--engine", "direct", "--out", "kept"]);
    assert_eq!(code(&run), 1, "{}", stderr(&run));
    let check = || {
        let checked = place.sim(&["check", "kept/trace.ndjson", "--json", "check.json"]);
        (code(&checked), place.json("check.json")[0]["verdict"].as_str().map(str::to_owned))
    };
    assert_eq!(check(), (1, Some("illegal".to_owned())));
    // One that was written before the end was noted can still be read.
    let run: serde_json::Value = serde_json::from_str(&place.read("kept/run.json")).expect("an object");
    let mut older = run.as_object().expect("an object").clone();
    assert!(older.remove("ended_ns").is_some_and(|end| end.as_u64() > Some(0)));
    place.write("kept/run.json", &serde_json::to_string(&older).expect("it is an object"));
    assert_eq!(check(), (0, Some("ok".to_owned())), "up to its last event nothing is wrong");
}
