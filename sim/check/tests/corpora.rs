//! Public histories with known verdicts (Porcupine's test data).

use std::path::PathBuf;
use std::time::{Duration, Instant};

use check::models::{append::Append, register::Register};
use check::parse::{Stored, read_any};
use check::search::{Budget, search};
use check::{Level, Verdict, judge_stored};

/// Where the histories are: env CORPORA, else next to the workspace.
fn corpora() -> Option<PathBuf> {
    let base =
        std::env::var_os("CORPORA").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let found = [base.join("histories"), base.clone()].into_iter().find(|dir| dir.join("verdicts.tsv").exists());
    if found.is_none() {
        println!("SKIPPED: no verdicts.tsv under {} (set CORPORA)", base.display());
    }
    found
}

#[test]
fn every_public_verdict_is_reached() {
    let Some(dir) = corpora() else { return };
    let verdicts = std::fs::read_to_string(dir.join("verdicts.tsv")).expect("it was found");
    let mut decided = 0;
    let mut took: Vec<(Duration, String)> = Vec::new();
    for line in verdicts.lines().skip(1) {
        let [file, model, verdict] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("verdicts.tsv: `{line}`") };
        let stored = read_any(&dir.join(file)).unwrap_or_else(|e| panic!("{e}"));
        let name = stored.model();
        assert!(name == model || (name == "register" && model == "cas-register"), "{file}: {name}");
        // Most of these write a value again, which zones leave open.
        if let Stored::Register(_) = stored {
            let zones = judge_stored(&stored, Level::L2, Budget::default()).expect("zones judge registers").verdict;
            assert!(zones != if verdict == "ok" { Verdict::Illegal } else { Verdict::Ok }, "{file}: zones say {zones}");
            decided += u32::from(zones != Verdict::Unknown);
        }
        let begun = Instant::now();
        let legal = match stored {
            Stored::Kv(_) => panic!("{file} is not ours"),
            Stored::Register(history) => search(&Register::default(), history, Budget::default()).legal(),
            Stored::Append(history) => search(&Append::default(), history, Budget::default()).legal(),
        };
        took.push((begun.elapsed(), file.to_string()));
        assert_eq!(legal, Some(verdict == "ok"), "{file}");
    }
    took.sort();
    let sum = |part: &str| took.iter().filter(|(_, file)| file.contains(part)).map(|(t, _)| *t).sum::<Duration>();
    println!("zones decide {decided} of the registers");
    println!("{} files: jepsen {:?}, kv {:?}; slowest {:?}", took.len(), sum("jepsen"), sum("kv"), &took[took.len().saturating_sub(5)..]);
}
