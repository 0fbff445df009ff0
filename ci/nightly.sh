#!/usr/bin/env bash
# The nightly run: what takes too long for every change. Findings and reports stay in target/nightly.
set -uo pipefail
cd "$(dirname "$0")/.."
unset RUSTFLAGS
mkdir -p target/nightly
status=0

# Eight hours of fresh seeds over every scenario, or as long as the first argument says (30m, 8h).
cargo sim fuzz --for "${1:-8h}" --out target/nightly/findings --json target/nightly/runs.jsonl --junit target/nightly/runs.xml || status=$?
# Every seed twice.
cargo sim determinism 2000 || status=$?
# Every known bug hunted anew, on the first two thousand seeds.
cargo sim mutants --json target/nightly/mutants.jsonl || status=$?
# Every model of the specification, and traces held against it.
ci/spec.sh || status=$?
exit "$status"
