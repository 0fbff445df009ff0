#!/usr/bin/env bash
# The README's terminal session: runs the commands and puts what they print between the README's markers. With --check it changes
# nothing, and fails where the README shows something else. Wall-clock figures are cut, since they differ from run to run.
set -euo pipefail
cd "$(dirname "$0")/.."
unset RUSTFLAGS
export NO_COLOR=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# show STATUS COMMAND… : the prompt, what it prints without wall-clock figures, at most $lines lines. Any other exit status than STATUS
# ends this script: a session that went wrong is not one to print.
show() {
  local expected=$1 status=0
  shift
  printf '$ cargo sim %s\n' "$*" | sed "s#$work/##g"
  cargo sim "$@" > "$work/said" 2>&1 || status=$?
  if [ "$status" -ne "$expected" ]; then
    { echo "cargo sim $*: exit $status, not $expected:"; cat "$work/said"; } >&2
    exit 1
  fi
  < "$work/said" grep -vE '^ *(Time|Judged|Probes|Injected|Again|Files|Vacuous) |^[0-9,]+ runs: |runs so far|^ {13}|^$' |
    sed -E "s#$work/##g; s/ in [0-9.]+ (s|ms|min)( on .*)?\$//; s/[[:space:]]+\$//" |
    head -n "${lines:-40}"
  printf '\n'
}

{
  printf '```console\n'
  lines=4 show 0 fuzz standard recovery --from 1 --seeds 400 --out "$work/findings"
  lines=12 show 1 fuzz reads --mutant read-local-leader --from 1 --seeds 100 --fail-fast --jobs 1 --out "$work/findings"
  # The seed that was found is the one to go on with, whatever it is after the next change of core/.
  seed=$(sed -nE 's/^Reproduce +cargo sim repro ([0-9]+) .*/\1/p' "$work/said" | head -n 1)
  lines=9 show 1 shrink "$seed" --scenario reads --mutant read-local-leader --out "$work/small.toml"
  lines=1 show 1 repro "$work/small.toml" --mutant read-local-leader
  lines=2 show 0 repro "$work/small.toml"
  printf '```\n'
} > "$work/session"

awk -v session="$work/session" '
  /<!-- session begins/ { print; while ((getline line < session) > 0) print line; skip = 1; next }
  /<!-- session ends/ { skip = 0 }
  !skip { print }
' README.md > "$work/README.md"

if [ "${1:-}" = --check ]; then
  diff -u README.md "$work/README.md" || { echo "the README's session is not what the commands print: run ci/session.sh"; exit 1; }
  echo "the README's session is what the commands print"
else
  cp "$work/README.md" README.md
fi
