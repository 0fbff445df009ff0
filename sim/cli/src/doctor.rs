//! `doctor`: is this machine ready? Each line is one thing looked at; what is only missing for commands that are not built is a remark.

use harness::Engine;
use std::process::Command;
use std::time::Duration;

use crate::bench::resident_bytes;
use crate::confirm::same;
use crate::error::EXIT_HARNESS;
use crate::findings::root;
use crate::fuzz::cores;
use crate::lane::Lane;
use crate::scenarios;
use crate::status::worse;
use crate::target::regressions;
use crate::term::{self, Paint, duration};
use crate::worker::{Job, Work};

/// The seed that is made twice.
const SEED: u64 = 1;

enum Health {
    Well(String),
    Remark(String),
    Ill(String),
}
use Health::{Ill, Remark, Well};

type Look = fn() -> Health;

/// Runs the command: 0 if the machine is ready.
///
/// # Errors
/// None: whatever is wrong is a line.
pub fn doctor() -> anyhow::Result<i32> {
    let paint = Paint::for_stdout();
    let looks: [(&str, Look); 9] = [
        ("build", build),
        ("environment", environment),
        ("cores", || Well(format!("{} for worker processes", cores()))),
        ("memory", memory),
        ("limits", limits),
        ("disk", disk),
        ("scenarios", read_scenarios),
        ("determinism", determinism),
        ("tla", tla),
    ];
    let mut status = 0;
    for (name, look) in looks {
        let (mark, text) = match look() {
            Well(text) => (paint.good("ok  "), text),
            Remark(text) => (paint.odd("note"), text),
            Ill(text) => {
                status = worse(status, EXIT_HARNESS);
                (paint.bad("ill "), text)
            }
        };
        term::out(&format!("{mark}  {name:<12} {text}\n"));
    }
    term::out(if status == 0 { "\nready\n" } else { "\nnot ready\n" });
    Ok(status)
}

fn build() -> Health {
    let profile = if cfg!(debug_assertions) { "; a debug build: `cargo sim` builds the fast one" } else { "" };
    if cfg!(madsim) {
        Well(format!("--cfg madsim is on, {}{profile}", env!("SIM_RUSTC")))
    } else {
        Ill("built without --cfg madsim".to_owned())
    }
}

fn environment() -> Health {
    let set: Vec<&str> = ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"].into_iter().filter(|name| std::env::var_os(name).is_some()).collect();
    match set.first() {
        Some(name) => Ill(format!("{name} is set, which replaces the flags of .cargo/config.toml: unset it")),
        None => Well("RUSTFLAGS is not set".to_owned()),
    }
}

fn memory() -> Health {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find(|l| l.starts_with("MemAvailable:"));
    let kb = line.and_then(|l| l.split_whitespace().nth(1)?.parse::<u64>().ok());
    match kb {
        // A worker takes well under this.
        Some(kb) if kb / 1024 < 256 * cores() as u64 => {
            Remark(format!("{} MB free, little for {} workers: use --jobs", kb / 1024, cores()))
        }
        Some(kb) => Well(format!("{:.1} GB free; this process has {:.0} MB", kb as f64 / 1e6, resident_bytes().unwrap_or(0) as f64 / 1e6)),
        None => Remark("not known here (no /proc/meminfo)".to_owned()),
    }
}

fn limits() -> Health {
    let text = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let soft =
        |name: &str| text.lines().find_map(|l| l.strip_prefix(name)).and_then(|rest| rest.split_whitespace().next()).map(str::to_owned);
    let Some(stack) = soft("Max stack size") else { return Remark("not known here (no /proc/self/limits)".to_owned()) };
    let cores = match soft("Max core file size").as_deref() {
        Some("0") | None => "no core files".to_owned(),
        Some(size) => format!("core files up to {size} bytes: runs that abort leave one"),
    };
    match stack.parse::<u64>() {
        Ok(bytes) if bytes < 4 << 20 => Ill(format!("a stack of {bytes} bytes is too small: `ulimit -s 8192`")),
        Ok(bytes) => Well(format!("stack {} MB, {cores}", bytes >> 20)),
        Err(_) => Well(format!("stack {stack}, {cores}")),
    }
}

fn disk() -> Health {
    let place = root().join(".");
    let output = Command::new("df").arg("-Pk").arg(&place).output();
    let text = output.ok().and_then(|o| String::from_utf8(o.stdout).ok()).unwrap_or_default();
    let kb = text.lines().nth(1).and_then(|l| l.split_whitespace().nth(3)?.parse::<u64>().ok());
    let probe = place.join(format!(".sim-doctor-{}", std::process::id()));
    let writable = std::fs::write(&probe, b"").is_ok();
    let _ = std::fs::remove_file(&probe);
    match kb {
        _ if !writable => Ill("findings/ cannot be written here".to_owned()),
        Some(kb) if kb < 1 << 20 => Remark(format!("{} MB free for findings", kb / 1024)),
        Some(kb) => Well(format!("{:.1} GB free for findings", kb as f64 / 1e6)),
        None => Remark("free space is not known here (no df)".to_owned()),
    }
}

fn read_scenarios() -> Health {
    let scenarios = scenarios::names();
    match regressions() {
        Ok(plans) => Well(format!("{} scenarios and {} regression plans are read", scenarios.len(), plans.len())),
        Err(error) => Ill(format!("{error:#}")),
    }
}

fn determinism() -> Health {
    let scenario = scenarios::drawn_from_all(SEED).name.clone();
    let mut shown = Vec::new();
    for engine in [Engine::Direct, Engine::Madsim] {
        let work = Work::Seed { scenario: scenario.clone(), seed: SEED };
        let job = Job { work, engine, mutant: None, record: None, log: "error".to_owned() };
        let run = || Lane::new(Duration::from_secs(60)).run(&job);
        match (run(), run()) {
            (Ok(a), Ok(b)) if same(&a, &b) => shown.push(format!("{} {}, {} a run", engine.name(), a.trace_hash, duration(a.wall_ns))),
            (Ok(a), Ok(b)) => {
                return Ill(format!("seed {SEED} of {scenario} came to {} and to {} on {}", a.trace_hash, b.trace_hash, engine.name()));
            }
            (Err(error), _) | (_, Err(error)) => return Ill(format!("a worker failed: {error:#}")),
        }
    }
    Well(format!("seed {SEED} of {scenario} twice, in fresh processes, the same both times: {}", shown.join("; ")))
}

fn tla() -> Health {
    match ::conform::Tlc::find(&root()) {
        Ok(_) => Well("java and TLC are here".to_owned()),
        Err(missing) => Remark(format!("{missing}; only `conform --tlc` needs it")),
    }
}
