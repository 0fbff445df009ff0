#!/usr/bin/env bash
# The README's track record: plants every known bug on its fixed seeds, one an engine, and puts the table between the README's markers. With --check it
# changes nothing, and fails where the README shows something else.
set -euo pipefail
cd "$(dirname "$0")/.."
unset RUSTFLAGS
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cargo sim mutants --fixed --json "$work/mutants.jsonl" > "$work/table"
cat "$work/table"
field() { sed -nE "s/.*\"$1\":\"?([^\",}]*)\"?.*/\1/p" <<< "$2"; }
# One row a bug, one column an engine. A bug's lines come one after another, direct first; the shell's bugs have no line for direct.
{
  printf '| planted bug | caught by | first seed on direct | on madsim |\n| --- | --- | --- | --- |\n'
  bug= checks= direct=
  while IFS= read -r line; do
    case $line in *'"kind":"mutant"'*) ;; *) continue ;; esac
    name=$(field name "$line") check=$(field check "$line") seed="\`$(field scenario "$line")\` $(field seed "$line")"
    if [ "$(field engine "$line")" = direct ]; then
      bug=$name checks=$check direct=$seed
      continue
    fi
    if [ "$bug" != "$name" ]; then checks=$check direct=-; fi
    if [ "$checks" != "$check" ]; then checks="$checks, $check"; fi
    printf '| `%s` | %s | %s | %s |\n' "$name" "$checks" "$direct" "$seed"
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
