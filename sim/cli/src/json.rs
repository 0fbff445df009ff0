//! `--json FILE`: one object per line. Lines go to `FILE.partial` as they come and the file gets its name at the end, so that a
//! reader sees all or nothing, an old file stays until there is a new one, and what ran before a crash is not lost.

use anyhow::Context;
use harness::RunReport;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::usage;

/// Where lines go; nowhere without `--json`.
pub struct Lines {
    out: Option<Out>,
}

struct Out {
    to: BufWriter<Box<dyn Write>>,
    /// The name it has, and the one it gets.
    rename: Option<(PathBuf, PathBuf)>,
}

impl Out {
    fn new(to: impl Write + 'static, rename: Option<(PathBuf, PathBuf)>) -> Out {
        Out { to: BufWriter::new(Box::new(to)), rename }
    }
}

impl Lines {
    /// Opens the file, `-` for stdout. Nothing is overwritten yet.
    ///
    /// # Errors
    /// A usage error if the file cannot be made.
    pub fn open(file: Option<&Path>) -> anyhow::Result<Lines> {
        let Some(file) = file else { return Ok(Lines { out: None }) };
        if file == Path::new("-") {
            return Ok(Lines { out: Some(Out::new(std::io::stdout(), None)) });
        }
        let cannot = |e: std::io::Error| {
            usage(format!("--json {}: cannot be written: {e}; accepted: a file in a directory that exists", file.display()))
        };
        // A pipe or a device has no name to take over.
        let special = std::fs::metadata(file).is_ok_and(|m| !m.is_file() && !m.is_dir());
        let (path, rename) = if special {
            (file.to_owned(), None)
        } else if file.is_dir() {
            return Err(usage(format!("--json {}: this is a directory; accepted: a file", file.display())));
        } else {
            let partial = partial_name(file);
            (partial.clone(), Some((partial, file.to_owned())))
        };
        let out = if special { std::fs::OpenOptions::new().write(true).open(&path) } else { File::create(&path) };
        Ok(Lines { out: Some(Out::new(out.map_err(cannot)?, rename)) })
    }

    /// Writes one line.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&mut self, value: &Value) -> anyhow::Result<()> {
        if let Some(Out { to: out, .. }) = &mut self.out {
            serde_json::to_writer(&mut *out, value).context("--json: writing")?;
            out.write_all(b"\n").and_then(|()| out.flush()).context("--json: writing")?;
        }
        Ok(())
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// The file cannot be renamed.
    pub fn finish(self) -> anyhow::Result<()> {
        if let Some(Out { to: mut out, rename }) = self.out {
            out.flush().context("--json: writing")?;
            drop(out);
            if let Some((from, to)) = rename {
                std::fs::rename(&from, &to).with_context(|| format!("--json: renaming {} to {}", from.display(), to.display()))?;
            }
        }
        Ok(())
    }
}

fn partial_name(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

/// The object of one run.
pub fn run_line(report: &RunReport, finding: Option<&str>) -> Value {
    let first = report.first();
    json!({
        "kind": "run", "scenario": report.scenario, "engine": report.engine, "seed": report.seed, "mutant": report.mutant,
        "verdict": report.verdict.name(), "check": first.map(|f| &f.check), "rule": first.map(|f| &f.rule), "message": first.map(|f| &f.message),
        "ops": report.ops, "events": report.events, "sim_ns": report.sim_ns, "wall_ns": report.wall_ns, "trace_hash": report.trace_hash,
        "finding": finding, "checks": report.checks, "evaluations": report.evaluations, "probes": report.probes,
        "under_faults": report.under_faults, "faults": report.faults,
        "fast": report.fast, "slow": report.slow, "unknown": report.unknown,
    })
}
