#!/usr/bin/env bash
# The specification, all of it:  ci/spec.sh [--quick]
# Every model of tla/models.tsv (the quick set with --quick), and runs of the implementation held against it (without the fresh ones
# with --quick). Exits nonzero if anything is not as expected; skips visibly where there is no Java.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
status=0
"$here/tlc.sh" "${1:---full}" || status=1
"$here/conform.sh" ${1:+"$1"} || status=1
exit "$status"
