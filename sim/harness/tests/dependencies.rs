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
    let allowed =
        ["mutants", "curp", "kv", "storage", "node", "client", "serde", "postcard", "crc32fast", "thiserror", "tracing", "xxhash-rust"];
    for package in packages("core") {
        let extra: Vec<_> = dependencies(&package).into_iter().filter(|d| !allowed.contains(&d.as_str())).collect();
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
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for package in packages("core") {
        let mut files = vec![root.join(&package).join("src")];
        while let Some(path) = files.pop() {
            if path.is_dir() {
                files.extend(fs::read_dir(&path).expect("readable").map(|e| e.expect("readable").path()));
                continue;
            }
            let text = fs::read_to_string(&path).expect("readable");
            // Unit tests may use what they like.
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for word in forbidden {
                let found = code.lines().find(|line| line.contains(word) && !line.trim_start().starts_with("//"));
                assert!(found.is_none(), "{}: `{word}` in `{}`", path.display(), found.unwrap_or_default().trim());
            }
        }
    }
}
