//! TLC: what it needs, how it is started, and what its output says.
//!
//! TLC walks `tla/TraceCurp.tla` or `tla/TraceLease.tla`, which print `<<"AT", trace, l>>` whenever they have got further in a trace: l − 1 steps of it are allowed. A
//! verdict is read from that only if TLC then ended well.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Where ci/tlc-fetch.sh puts the jar.
const JAR: &str = "target/tlc/tla2tools.jar";
/// A literal of ten thousand steps is parsed by recursion.
const JVM: [&str; 3] = ["-XX:+UseSerialGC", "-Xmx6g", "-Xss64m"];
/// Longer than any trace takes that leaves few choices open. One that leaves many multiplies states, and would take for ever.
const LIMIT: Duration = Duration::from_secs(1200);
/// What TLC prints at its end.
const WELL: &str = "Model checking completed. No error has been found.";

/// A specification constrained by traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Specification {
    /// Of consensus.
    Curp,
    /// Of one lease.
    Lease,
}

impl Specification {
    fn name(self) -> &'static str {
        match self {
            Specification::Curp => "TraceCurp",
            Specification::Lease => "TraceLease",
        }
    }

    /// The generated module, which it extends.
    fn data(self) -> &'static str {
        match self {
            Specification::Curp => "TraceData",
            Specification::Lease => "LeaseData",
        }
    }
}

/// TLC on this machine, for the specification of this repository.
#[derive(Clone, Debug)]
pub struct Tlc {
    root: PathBuf,
    jar: PathBuf,
    specification: PathBuf,
}

/// What TLC lacks here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// No java.
    #[error("there is no java here (17 is needed)")]
    Java,
    /// No jar.
    #[error("there is no tla2tools.jar at {0} (`ci/tlc-fetch.sh` puts it there)")]
    Jar(String),
    /// No specification.
    #[error("there is no {0}, the specification constrained by a trace")]
    Specification(String),
}

/// TLC came to no verdict.
#[derive(Debug, thiserror::Error)]
pub enum TlcError {
    /// Its files cannot be written, or it cannot be started.
    #[error("{what}: {source}")]
    Io {
        /// What was done.
        what: String,
        /// Why not.
        source: std::io::Error,
    },
    /// It failed: a module that does not parse, a formula that cannot be evaluated, no memory.
    #[error("TLC came to no verdict: {message}; see {}", output.display())]
    Failed {
        /// Its own words.
        message: String,
        /// All it said; the generated module is beside it.
        output: PathBuf,
    },
}

impl Tlc {
    /// TLC, for the repository at `root`.
    ///
    /// # Errors
    /// [`Missing`]: the first thing that is not there.
    pub fn find(root: &Path) -> Result<Tlc, Missing> {
        let java = Command::new("java").arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !java.is_ok_and(|status| status.success()) {
            return Err(Missing::Java);
        }
        let jar = std::env::var_os("TLA2TOOLS").map_or_else(|| root.join(JAR), PathBuf::from);
        if !jar.is_file() {
            return Err(Missing::Jar(jar.display().to_string()));
        }
        let specification = root.join("tla");
        for of in [Specification::Curp, Specification::Lease] {
            let module = specification.join(format!("{}.tla", of.name()));
            if !module.is_file() {
                return Err(Missing::Specification(module.display().to_string()));
            }
        }
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        Ok(Tlc { root: absolute(root.join(".")), jar: absolute(jar), specification: absolute(specification) })
    }

    /// Walks along the traces of a generated module, given as definitions; gives for each the number of steps that are allowed.
    ///
    /// # Errors
    /// [`TlcError`]; the working directory is then kept.
    pub(crate) fn run(&self, of: Specification, definitions: &str, traces: usize) -> Result<Vec<usize>, TlcError> {
        let name = of.data();
        let module = format!("---- MODULE {name} ----\nEXTENDS Integers, Sequences\n{definitions}====\n");
        let work = self.fresh_directory()?;
        let output = work.join("tlc.out");
        std::fs::write(work.join(format!("{name}.tla")), module).map_err(io("writing the generated module"))?;
        let said = File::create(&output).map_err(io("making TLC's output file"))?;
        let both = said.try_clone().map_err(io("making TLC's output file"))?;
        let java = self.command(of, &work).stdin(Stdio::null()).stdout(said).stderr(both).spawn().map_err(io("starting java"))?;
        let Some(status) = ended(java).map_err(io("waiting for java"))? else {
            return Err(TlcError::Failed { message: format!("it did not come to its end in {} s", LIMIT.as_secs()), output });
        };
        let text = std::fs::read(&output).map_err(io("reading TLC's output"))?;
        let text = String::from_utf8_lossy(&text);
        match reached(&text, traces) {
            Ok(reached) if status.success() => {
                // What stays behind by accident is small, and under target/.
                let _ = std::fs::remove_dir_all(&work);
                Ok(reached)
            }
            Ok(_) => Err(TlcError::Failed { message: format!("java ended with {status}"), output }),
            Err(message) => Err(TlcError::Failed { message, output }),
        }
    }

    fn command(&self, of: Specification, work: &Path) -> Command {
        let name = of.name();
        let mut command = Command::new("java");
        command.args(JVM);
        command.arg(format!("-DTLA-Library={}:{}", work.display(), self.specification.display()));
        command.arg(format!("-Djava.io.tmpdir={}", work.display()));
        command.arg("-cp").arg(&self.jar).arg("tlc2.TLC");
        command.args(["-workers", "1", "-deadlock", "-metadir"]).arg(work.join("meta"));
        // TLC looks for the configuration where the module is, and takes no path to it.
        command.args(["-config", &format!("{name}.cfg")]);
        command.arg(self.specification.join(format!("{name}.tla"))).current_dir(work);
        command
    }

    /// A new directory under target/conform/.
    fn fresh_directory(&self) -> Result<PathBuf, TlcError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let all = self.root.join("target").join("conform");
        std::fs::create_dir_all(&all).map_err(io("making target/conform"))?;
        loop {
            let work = all.join(format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
            match std::fs::create_dir(&work) {
                Ok(()) => return Ok(work),
                // An earlier process of the same number left it.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(io("making a directory under target/conform")(error)),
            }
        }
    }
}

/// How it ended; `None` if it had to be killed.
fn ended(mut java: Child) -> std::io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        if let Some(status) = java.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    java.kill()?;
    java.wait()?;
    Ok(None)
}

fn io(what: &str) -> impl Fn(std::io::Error) -> TlcError {
    move |source| TlcError::Io { what: what.to_owned(), source }
}

/// The number of allowed steps of each trace, or TLC's own words of what went wrong.
fn reached(output: &str, traces: usize) -> Result<Vec<usize>, String> {
    if let Some(message) = error(output) {
        return Err(message);
    }
    if !output.contains(WELL) {
        let last = output.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        return Err(format!("it did not come to its end, and said last: {last}"));
    }
    let mut reached = vec![0; traces];
    for (trace, l) in output.lines().filter_map(progress) {
        let Some(most) = trace.checked_sub(1).and_then(|place| reached.get_mut(place)) else {
            return Err(format!("it spoke of trace {trace}, and there are {traces}"));
        };
        *most = l.saturating_sub(1).max(*most);
    }
    Ok(reached)
}

/// `<<"AT", 2, 17>>`: in trace 2, step 17 is the next.
fn progress(line: &str) -> Option<(usize, usize)> {
    let inner = line.trim().strip_prefix("<<")?.strip_suffix(">>")?;
    let mut parts = inner.split(',').map(str::trim);
    let (tag, trace, l) = (parts.next()?, parts.next()?, parts.next()?);
    (tag == "\"AT\"" && parts.next().is_none()).then_some(())?;
    Some((trace.parse().ok()?, l.parse().ok()?))
}

/// The lines of TLC's (or its parser's) message, if there is one.
fn error(output: &str) -> Option<String> {
    let begins = |line: &str| {
        ["Error:", "*** Errors", "*** Parse Error", "***Parse Error", "Fatal errors", "Exception in"].iter().any(|e| line.starts_with(e))
    };
    let boilerplate = ["This was probably caused by an error in the spec", "See the User Output or TLC Console"];
    let mut lines = output.lines().skip_while(|line| !begins(line)).peekable();
    lines.peek()?;
    // What follows is the behaviour, which the output file has.
    let behaviour = |line: &&str| line.starts_with("Error: The behavior up to this point is") || line.starts_with("State 1:");
    let of_message = |line: &&str| !line.is_empty() && progress(line).is_none() && !boilerplate.iter().any(|b| line.starts_with(b));
    let mut message: Vec<&str> = lines.take_while(|line| !behaviour(line)).map(str::trim).filter(of_message).collect();
    // In the middle stands a value, over many lines; before it what was done with it, and after it why that is wrong.
    const ENDS: usize = 4;
    if message.len() > 2 * ENDS {
        message.splice(ENDS..message.len() - ENDS, ["…"]);
    }
    Some(message.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "TLC2 Version 2.15 of Day Month 20??\nComputing initial states...\n";

    #[test]
    fn the_furthest_step_of_each_trace_counts() {
        let output = format!(
            "{HEAD}<<\"AT\", 1, 1>>\n<<\"AT\", 2, 1>>\n<<\"AT\", 1, 2>>\n<<\"AT\", 1, 3>>\n<<\"OTHER\", 1, 9>>\n<< \"AT\", 2, 2 >>\n<<\"AT\", 1, 2>>\n{WELL}\n"
        );
        assert_eq!(reached(&output, 3), Ok(vec![2, 1, 0]));
    }

    #[test]
    fn what_is_no_end_is_an_error() {
        let message = reached(&format!("{HEAD}<<\"AT\", 1, 2>>\n"), 1).unwrap_err();
        assert!(message.contains("did not come to its end") && message.contains("AT"), "{message}");
        assert!(reached("", 1).unwrap_err().contains("it said nothing"));
        assert!(reached(&format!("<<\"AT\", 2, 2>>\n{WELL}\n"), 1).is_err());
    }

    #[test]
    fn tlcs_own_words_are_given() {
        let output = format!(
            "{HEAD}<<\"AT\", 1, 2>>\nError: TLC threw an unexpected exception.\nThis was probably caused by an error in the spec or model.\n\
             See the User Output or TLC Console for clues to what happened.\nThe exception was a java.lang.RuntimeException\n: Attempted to apply \
             function\n(1 :> 2)\nto argument 7, which is not in the domain of the function.\nError: The behavior up to this point is:\nState 1: <Initial>\n"
        );
        let message = reached(&output, 1).unwrap_err();
        assert!(message.contains("not in the domain") && !message.contains("Initial"), "{message}");
        assert!(!message.contains("Console"), "{message}");
        let long = format!("Error: It went wrong.\nApplied to\n{}which is no number.\n", "a value\n".repeat(50));
        let message = reached(&long, 1).unwrap_err();
        assert!(
            message.starts_with("Error: It went wrong. Applied to") && message.ends_with("… a value a value a value which is no number."),
            "{message}"
        );
        let parse = "***Parse Error***\nWas expecting \"==== or more Module body\"\nEncountered \"]\" at line 3\n";
        assert!(reached(parse, 1).unwrap_err().contains("at line 3"));
    }
}
