//! `cargo bench -p check`: what the levels cost. Public histories are under env CORPORA, or next to the workspace.

use std::hint::black_box;
use std::path::PathBuf;

use check::certificate::certify;
use check::parse::{Stored, read_any};
use check::replay::Replay;
use check::{Budget, Level, judge, judge_stored};
use criterion::{Criterion, criterion_group, criterion_main};

#[path = "../tests/support/mod.rs"]
mod support;

use history::{AppliedCommand, Operation};
use support::{Rng, fast, pending, random_request, served_at, synced};

/// A run of `n` operations, about six at a time, one in forty unknown, with its log.
fn run(n: u64) -> (Vec<Operation>, Vec<AppliedCommand>) {
    let (mut rng, mut store) = (Rng(5), Replay::default());
    let (mut history, mut log) = (Vec::new(), Vec::new());
    for id in 0..n {
        let op = pending(id, random_request(&mut rng, 12, id), (100 * id).saturating_sub(rng.below(400)));
        let end = 100 * id + 1 + rng.below(300);
        let response = store.apply(&op.op);
        if op.is_read() {
            history.push(served_at(synced(op, end, store.revision(), response), id));
            continue;
        }
        log.push(AppliedCommand { index: id + 1, id: op.propose_id.expect("it has one"), command: op.op.clone() });
        history.push(match rng.below(40) {
            0 => op,
            1..20 => synced(fast(op, end, response.clone()), end + 500, store.revision(), response),
            _ => synced(op, end, store.revision(), response),
        });
    }
    (history, log)
}

fn ours(c: &mut Criterion) {
    let (history, log) = run(300);
    assert!(certify(&history, &log).holds());
    c.bench_function("l0, 300 operations", |b| b.iter(|| certify(black_box(&history), black_box(&log))));
    c.bench_function("l2, 300 operations", |b| b.iter(|| judge(black_box(&history), None, Level::L2, Budget::default())));
    c.bench_function("l3, 300 operations", |b| b.iter(|| judge(black_box(&history), None, Level::L3, Budget::default())));
}

fn public(c: &mut Criterion) {
    let base =
        std::env::var_os("CORPORA").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let Ok(verdicts) = std::fs::read_to_string(base.join("histories/verdicts.tsv")) else {
        println!("SKIPPED: no histories/verdicts.tsv under {} (set CORPORA)", base.display());
        return;
    };
    let files = verdicts.lines().skip(1).filter_map(|line| line.split('\t').next());
    let stored: Vec<(&str, Stored)> = files.filter_map(|file| Some((file, read_any(&base.join("histories").join(file)).ok()?))).collect();
    let all = |family: &str| stored.iter().filter(|(file, _)| file.contains(family)).map(|(_, stored)| stored).collect::<Vec<_>>();
    for family in ["jepsen-etcd", "etcd_002", "c10-ok", "c10-bad", "c50-ok"] {
        let files = all(family);
        c.bench_function(&format!("{family} ({} files), with explanations", files.len()), |b| {
            b.iter(|| files.iter().for_each(|stored| _ = black_box(judge_stored(stored, Level::L3, Budget::default()))))
        });
    }
}

criterion_group! { name = benches; config = Criterion::default().sample_size(20); targets = ours, public }
criterion_main!(benches);
