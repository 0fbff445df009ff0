"""Makes the golden traces again: `ci/conform.sh --golden` calls this with the program.

An accepted trace is the run of a plan. A rejected one is an accepted one with one change, or the run of a plan with a known bug planted; its `make`
table in golden.toml says which. Everything is deterministic: the same code gives the same bytes.

make = { from = FILE, at = [EVENT, NODE, NTH], ... }: of that accepted trace the NTH event (from 1) of that name on that node (0: anywhere) is
  double = true: there twice;  before = [EVENT, NODE, NTH]: moved before another;  set = { FIELD = VALUE }: given other values
make = { plan = FILE, mutant = NAME }
"""
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import tomllib

HERE = pathlib.Path(__file__).resolve().parent


def run(program, words):
    """A run's trace, as lines. A run with a bug in it may fail; that it ran is what counts."""
    with tempfile.TemporaryDirectory() as work:
        out = pathlib.Path(work) / "run"
        subprocess.run([*program, "repro", *words, "--out", str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return (out / "trace.ndjson").read_text().splitlines()


def find(events, at):
    """The place of the nth event of a name on a node."""
    name, node, nth = at
    places = [i for i, e in enumerate(events) if e["event"] == name and (not node or e.get("node") == node)]
    if len(places) < nth:
        raise SystemExit(f"there is no {nth}th {name} on {node or 'any node'}")
    return places[nth - 1]


def change(events, make):
    """One change; what follows is numbered anew, since a trace's events are."""
    place = find(events, make["at"])
    event = events[place]
    if make.get("double"):
        events.insert(place, dict(event))
    elif "before" in make:
        del events[place]
        events.insert(find(events, make["before"]), event)
    else:
        for field, value in make["set"].items():
            if field not in event:
                raise SystemExit(f"{event['event']} has no field {field}")
            event[field] = value
    for i, e in enumerate(events):
        e["i"] = i
    return events


def write(file, lines):
    file.parent.mkdir(exist_ok=True)
    file.write_text("\n".join(lines) + "\n")
    print(f"{file.relative_to(HERE.parent)}: {len(lines)} lines")


def main():
    program = sys.argv[1:]
    golden = tomllib.loads((HERE / "golden.toml").read_text())
    for kind in ("accepted", "rejected"):
        shutil.rmtree(HERE / kind, ignore_errors=True)
    for one in golden["accepted"]:
        write(HERE / one["file"], run(program, [str(HERE / one["plan"])]))
    for one in golden["rejected"]:
        make = one["make"]
        if "mutant" in make:
            write(HERE / one["file"], run(program, [str(HERE / make["plan"]), "--mutant", make["mutant"]]))
            continue
        header, *lines = (HERE / make["from"]).read_text().splitlines()
        events = change([json.loads(line) for line in lines], make)
        write(HERE / one["file"], [header] + [json.dumps(e, separators=(",", ":")) for e in events])


main()
