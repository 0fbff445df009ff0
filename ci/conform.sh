#!/usr/bin/env bash
# Holds the implementation against the specification:  ci/conform.sh [--quick | --golden]
# The golden traces, the mutation suite over them, a fresh run of every scenario (which must be accepted), and runs with known bugs planted
# (which must be rejected). --quick leaves the fresh runs out; --golden makes the golden traces again instead, and judges nothing.
# Exits nonzero if anything is not as expected. Skips, visibly, without java.
set -euo pipefail
cd "$(dirname "$0")/.."
unset RUSTFLAGS
seed=1
case ${1:-} in
  --golden) exec python3 traces/make.py cargo sim ;;
  --quick | "") ;;
  *) echo "conform.sh: accepted: --quick, --golden" >&2; exit 64 ;;
esac
if ! command -v java >/dev/null; then
  echo "conform: SKIPPED, no java here (17 is needed); nothing was held against the specification"
  exit 0
fi
ci/tlc-fetch.sh >/dev/null
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
wrong=0
rows=()
# row WHAT EXPECTED FOUND [REMARK]
row() {
  local mark=ok
  [ "$2" = "$3" ] || { mark=WRONG; wrong=$((wrong + 1)); }
  rows+=("$(printf '%-5s  %-44s  %-9s  %s' "$mark" "$1" "$3" "${4:-}")")
}
field() { sed -nE "s/.*\"$1\":\"?([^\",}]*)\"?.*/\1/p" "$2"; }
# judge WHAT EXPECTED DIRECTORY REMARK: one run's trace
judge() {
  local status=0 found
  cargo sim conform --tlc --json "$work/verdict" "$3" || status=$?
  found=$([ -s "$work/verdict" ] && field verdict "$work/verdict" || echo "exit $status")
  local remark=$4
  [ "$found" = rejected ] && remark="$remark event $(field rejected_at "$work/verdict") ($(field action "$work/verdict"))"
  row "$1" "$2" "$found" "$remark"
  rm -f "$work/verdict"
}

status=0; cargo sim conform --tlc || status=$?
row "golden traces" "exit 0" "exit $status"
status=0; cargo sim conform --tlc --suite || status=$?
row "mutation suite" "exit 0" "exit $status"

if [ "${1:-}" != --quick ]; then
  for file in scenarios/*.toml; do
    scenario=$(basename "$file" .toml)
    [ "$scenario" != mutants ] || continue
    status=0; cargo sim repro "$seed" --scenario "$scenario" --out "$work/$scenario" >"$work/log" 2>&1 || status=$?
    if [ "$status" -ne 0 ]; then
      cat "$work/log"
      row "$scenario $seed: the run itself" "exit 0" "exit $status"
    fi
    judge "$scenario $seed" accepted "$work/$scenario" "$(wc -l <"$work/$scenario/trace.ndjson") lines"
  done
fi
# Plans, not seeds: what a seed draws changes, and the bug must act. Each is named for its bug.
for plan in traces/drawn/*.toml; do
  name=$(basename "$plan" .toml)
  # A bug may fail the run as well.
  cargo sim repro "$plan" --mutant "$name" --out "$work/$name" >"$work/log" 2>&1 || true
  judge "$name ($(sed -nE 's/^scenario = "(.*)"/\1/p' "$plan"))" rejected "$work/$name" ""
done

printf '\n'
printf '%s\n' "${rows[@]}"
printf '\n%s rows, %s not as expected\n' "${#rows[@]}" "$wrong"
[ "$wrong" -eq 0 ]
