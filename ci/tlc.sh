#!/usr/bin/env bash
# Runs the models of tla/models.tsv:  ci/tlc.sh [--quick|--full] [--markdown] [--keep] [MODEL...]
# --quick (default) runs the rows of the quick set, --full every row, MODEL... just those
# (a trailing * matches the rest of a name). Exits nonzero if a verdict is not the expected one.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if ! command -v java >/dev/null; then
  echo "tlc: SKIPPED, no java here (17 is needed); the specification was not checked"
  exit 0
fi
jar=$("$here/tlc-fetch.sh")
exec python3 "$here/tlc.py" "$jar" "$@"
