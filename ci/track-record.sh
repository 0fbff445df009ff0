#!/usr/bin/env bash
# The README's track record: plants every known bug on its fixed seed and puts the table between the README's markers. With --check it
# changes nothing, and fails where the README shows something else.
set -euo pipefail
cd "$(dirname "$0")/.."
unset RUSTFLAGS
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cargo sim mutants --fixed --json "$work/mutants.jsonl" > "$work/table"
cat "$work/table"
field() { sed -nE "s/.*\"$1\":\"?([^\",}]*)\"?.*/\1/p" <<< "$2"; }
{
  printf '| planted bug | engine | caught by | the first seed, from 1, that shows it |\n| --- | --- | --- | --- |\n'
  while IFS= read -r line; do
    case $line in *'"kind":"mutant"'*) ;; *) continue ;; esac
    name=$(field name "$line")
    printf '| `%s` | %s | %s | `%s` %s |\n' "$name" "$(field engine "$line")" "$(field check "$line")" "$(field scenario "$line")" "$(field seed "$line")"
  done < "$work/mutants.jsonl"
} > "$work/rows"

awk -v rows="$work/rows" '
  /<!-- mutants begin/ { print; while ((getline line < rows) > 0) print line; skip = 1; next }
  /<!-- mutants end/ { skip = 0 }
  !skip { print }
' README.md > "$work/README.md"
if [ "${1:-}" = --check ]; then
  diff -u README.md "$work/README.md" || { echo "the README's track record is not what the mutants show: run ci/track-record.sh"; exit 1; }
else
  cp "$work/README.md" README.md
fi
