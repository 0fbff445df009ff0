//! What may depend on what, read from the manifests: core/ names neither sim/ nor anything that would let time, chance or IO in;
//! checkers, plans and the world build without an engine or an async runtime.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Names in the `[dependencies]` table of a manifest.
fn dependencies(package: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(package).join("Cargo.toml");
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let manifest: toml::Table = text.parse().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let table = manifest.get("dependencies").and_then(toml::Value::as_table);
    table.map(|t| t.keys().cloned().collect()).unwrap_or_default()
}

fn packages(folder: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let entries = fs::read_dir(root.join(folder)).expect("the workspace has this folder");
    let mut names: Vec<String> = entries.map(|e| format!("{folder}/{}", e.expect("readable").file_name().to_string_lossy())).collect();
    names.retain(|name| root.join(name).join("Cargo.toml").exists());
    names.sort();
    names
}

#[test]
fn core_depends_on_core_and_pure_crates_only() {
    // redb performs no IO of its own where it is given a backend; its file backend is named in the shell alone.
    let allowed = [
        "mutants",
        "curp",
        "kv",
        "storage",
        "node",
        "client",
        "serde",
        "postcard",
        "crc32fast",
        "redb",
        "thiserror",
        "tracing",
        "xxhash-rust",
    ];
    // The shell is where tasks, timers and sockets come in.
    let shell = ["tokio", "tonic", "tonic-prost", "prost"];
    for package in packages("core") {
        let may = |d: &str| allowed.contains(&d) || package == "core/server" && shell.contains(&d);
        let extra: Vec<_> = dependencies(&package).into_iter().filter(|d| !may(d)).collect();
        assert!(extra.is_empty(), "{package} depends on {extra:?}; core/ may depend on {allowed:?}");
    }
}

#[test]
fn checkers_plans_and_world_need_no_engine() {
    for package in ["sim/world", "sim/history", "sim/check", "sim/plan"] {
        let engines: Vec<_> = dependencies(package)
            .into_iter()
            .filter(|d| {
                ["harness", "node", "client", "sim", "tracing"].contains(&d.as_str()) || d.starts_with("madsim") || d.starts_with("tokio")
            })
            .collect();
        assert!(engines.is_empty(), "{package} depends on {engines:?}");
    }
}

#[test]
fn only_the_command_line_and_the_harness_plant_mutants() {
    for package in packages("sim") {
        if !["sim/cli", "sim/harness"].contains(&package.as_str()) {
            assert!(!dependencies(&package).contains("mutants"), "{package} knows of mutants: a checker must not");
        }
    }
}

#[test]
fn core_names_no_clock_file_thread_or_generator() {
    let forbidden =
        ["std::time", "std::fs", "std::thread", "std::env", "std::net", "rand::", "getrandom", "HashMap", "HashSet", "RandomState"];
    for package in packages("core") {
        for (path, code) in simulated_sources(&package) {
            // The shell's transport has addresses, which are values; sockets are tonic's.
            let code = if package == "core/server" { without_addresses(&code) } else { code };
            for word in forbidden {
                let found = code.lines().find(|line| line.contains(word));
                assert!(found.is_none(), "{path}: `{word}` in `{}`", found.unwrap_or_default().trim());
            }
        }
    }
}

fn without_addresses(code: &str) -> String {
    ["SocketAddr", "Ipv4Addr"].iter().fold(code.to_owned(), |code, name| code.replace(&format!("std::net::{name}"), name))
}

/// The sources of a package that are built for simulation, without comments at line beginnings and without unit tests, which may use what
/// they like. The shell's side on a real machine is not among them.
fn simulated_sources(package: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = vec![root.join(package).join("src")];
    let mut sources = Vec::new();
    while let Some(path) = files.pop() {
        if path.ends_with("core/server/src/real") || path.ends_with("core/server/src/main.rs") {
            continue;
        }
        if path.is_dir() {
            files.extend(fs::read_dir(&path).expect("readable").map(|e| e.expect("readable").path()));
            continue;
        }
        let text = fs::read_to_string(&path).expect("readable");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let lines: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        sources.push((path.display().to_string(), lines.join("\n")));
    }
    assert!(!sources.is_empty(), "{package} has sources");
    sources
}

#[test]
fn tasks_use_nothing_of_tokio_that_draws_outside_the_seed() {
    // Each draws from tokio's own generator, which is seeded from a counter of the process: the same seed would depend on what ran
    // before it. `select!` is fair by such draws unless it is biased. A `watch` of our own is none of tokio's: those have a channel.
    let channels = ["sync::watch", "watch::channel", "watch::Sender", "watch::Receiver"];
    let others = ["Barrier", "spawn_blocking", "thread_rng", "rand::", "getrandom", "std::thread::spawn"];
    for package in ["core/server", "sim/harness"] {
        for (path, code) in simulated_sources(package) {
            for word in channels.iter().chain(&others) {
                assert!(!code.contains(word), "{path}: `{word}`");
            }
            for (at, _) in code.match_indices("select! {") {
                let first = code[at..].lines().nth(1).unwrap_or_default().trim();
                assert_eq!(first, "biased;", "{path}: a `select!` whose first line is not `biased;`");
            }
        }
    }
}

#[test]
fn the_server_is_built_without_planted_bugs() {
    for package in ["core/server", "sim/real"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(package).join("Cargo.toml");
        let text = fs::read_to_string(&path).expect("readable");
        assert!(!text.contains("planted"), "{package} asks for planted bugs");
        for dependency in dependencies(package) {
            assert!(!["harness", "sim"].contains(&dependency.as_str()), "{package} depends on {dependency}, which plants bugs");
        }
    }
}
