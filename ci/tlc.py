"""Runs TLC on the rows of tla/models.tsv and compares each verdict with the expected one.

A row is a base configuration (tla/*.cfg) with changes; the derived .cfg, TLC's output and its
metadata live under target/tlc/ for the time of the run (a failing row's files are kept).
Two TLC processes run side by side, each with one worker: so a counterexample found by
breadth-first search is a shortest one, and its length and the verdicts do not vary. Times are of the CPU
(user and system), so that a busy machine does not show.
"""
import concurrent.futures, csv, fnmatch, os, pathlib, re, shutil, subprocess, sys, tempfile, threading, time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TLA, WORK = ROOT / "tla", ROOT / "target" / "tlc"
TIMEOUT_S = int(os.environ.get("TLC_TIMEOUT_S", 3600))
JOBS = int(os.environ.get("TLC_JOBS", 2))


def derive_cfg(row):
    """The base configuration with the row's changes: `name=value` replaces the line of that
    name (or adds it), `Bugs` comes from the column rule_off."""
    lines = (TLA / row["cfg"]).read_text().splitlines()
    changes = [c.strip() for c in row["changes"].split(";") if c.strip() not in ("", "-")]
    if row["rule_off"] != "-":
        changes.append("Bugs={%s}" % ", ".join('"%s"' % b for b in row["rule_off"].split("+")))
    for change in changes:
        name, value = (s.strip() for s in change.split("=", 1))
        section = name in ("INIT", "NEXT", "SYMMETRY", "INVARIANTS", "PROPERTIES", "CONSTRAINT", "VIEW")
        if section:
            lines = [l for l in lines if not l.startswith(name)]
            if value != "none":
                lines.append(f"{name} {value}")
            continue
        sign = "" if value.startswith("<-") else "= "
        at = [i for i, l in enumerate(lines) if re.match(rf"\s+{name}\s*(=|<-)", l)]
        if not at:
            raise SystemExit(f"{row['model']}: no constant {name} in {row['cfg']}")
        lines[at[0]] = f"  {name} {sign}{value}"
    return "\n".join(lines) + "\n"


def run(jar, row):
    work = pathlib.Path(tempfile.mkdtemp(prefix=row["model"] + ".", dir=WORK))
    cfg, out, meta = work / "model.cfg", work / "tlc.out", work / "meta"
    meta.mkdir()
    cfg.write_text(derive_cfg(row))
    mode = row["mode"].split()           # exhaust | reach | simulate num=N depth=D seed=S
    opts = dict(o.split("=") for o in mode[1:])
    # the quick compiler halves the cost of short runs
    jit = ["-XX:TieredStopAtLevel=1"] if row["set"] == "quick" else []
    cmd = ["java", "-XX:+UseSerialGC", *jit, "-Xmx4g", "-Xss64m",
           f"-Djava.io.tmpdir={meta}", "-cp", jar, "tlc2.TLC", "-workers", "1", "-deadlock",
           "-metadir", str(meta), "-config", str(cfg)]
    if mode[0] == "simulate":
        cmd += ["-simulate", "num=" + opts["num"], "-depth", opts["depth"], "-seed", opts["seed"]]
    cmd.append(row["module"] + ".tla")
    with out.open("w") as f:
        tlc = subprocess.Popen(["nice", "-n", "19"] + cmd, cwd=TLA, stdout=f, stderr=f)
        killer = threading.Timer(TIMEOUT_S, tlc.kill)
        killer.start()
        _, status, used = os.wait4(tlc.pid, 0)
        tlc.returncode = os.waitstatus_to_exitcode(status)
        late = not killer.is_alive()
        killer.cancel()
    text = out.read_text()
    result = read_output(text, mode[0], late)
    result["seconds"] = used.ru_utime + used.ru_stime
    result["ok"] = result["verdict"] in row["expected"].split("|")
    result["work"] = work
    shutil.rmtree(meta, ignore_errors=True)
    return result


def read_output(text, mode, late):
    found = re.search(r"(?:Invariant|property) (\w+)[^\n]* is violated", text)
    action = re.search(r"Error: Action property (?:(\w+)|[^\n]*) (?:of module \w+ )?is violated", text)
    states = re.findall(r"([\d,]+) distinct states found, (\d+) states left", text)
    sampled = re.findall(r"(?:The number of states generated|Progress): ([\d,]+)", text)
    steps = [int(n) for n in re.findall(r"^State (\d+):", text, re.M)]
    if late:
        verdict = "timeout"
    elif found or action:
        verdict = (found or action).group(1) or "action-property"
    elif "Model checking completed. No error has been found." in text:
        verdict = "holds"
    elif mode == "simulate" and "Error" not in text:
        verdict = "none-found"
    else:
        verdict = "error"
    return {"verdict": verdict, "length": str(max(steps) - 1) if steps else "-",
            "states": states[-1][0] if states else (sampled[-1] + " visited" if sampled else "-")}


def main():
    jar, args = sys.argv[1], sys.argv[2:]
    flags = {a for a in args if a.startswith("--")}
    names = [a for a in args if not a.startswith("--")]
    if flags - {"--quick", "--full", "--markdown", "--keep"}:
        raise SystemExit(__doc__ + "\nunknown option; see ci/tlc.sh")
    with (TLA / "models.tsv").open() as f:
        rows = list(csv.DictReader((l for l in f if not l.startswith("#") and l.strip()), delimiter="\t"))
    if names:
        for n in names:
            if not any(fnmatch.fnmatch(r["model"], n) for r in rows):
                raise SystemExit(f"tlc: no model {n} in tla/models.tsv")
        rows = [r for r in rows if any(fnmatch.fnmatch(r["model"], n) for n in names)]
    elif "--full" not in flags:
        rows = [r for r in rows if r["set"] == "quick"]
    WORK.mkdir(parents=True, exist_ok=True)

    head = ["model", "rule off", "mode", "changes to the base model", "distinct states", "steps", "CPU time", "verdict"]
    if "--markdown" in flags:
        def show(cells):
            print("| " + " | ".join(c.replace("|", "/") for c in cells) + " |", flush=True)
        show(head)
        print("| " + " | ".join("---" for _ in head) + " |")
    else:
        widths = [24, 26, 8, 44, 18, 5, 8, 0]
        def show(cells):
            print("  ".join(c.ljust(w) for c, w in zip(cells, widths)), flush=True)
        show(head)
    wrong, start = 0, time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        for row, result in zip(rows, pool.map(lambda r: run(jar, r), rows)):
            verdict = result["verdict"] if result["ok"] else f"{result['verdict']} — EXPECTED {row['expected']}"
            show([row["model"], row["rule_off"], row["mode"].split()[0], row["changes"],
                  result["states"], result["length"], f"{result['seconds']:.0f} s", verdict])
            if not result["ok"]:
                wrong += 1
                print(f"  see {result['work']}/tlc.out", file=sys.stderr)
            elif "--keep" not in flags:
                shutil.rmtree(result["work"], ignore_errors=True)
    print(f"\n{len(rows)} models, {wrong} with an unexpected verdict, {time.monotonic() - start:.0f} s")
    sys.exit(1 if wrong else 0)


main()
