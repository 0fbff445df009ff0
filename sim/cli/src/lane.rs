//! The parent's side of a worker process: gives it a job, waits for the report, and when the process hangs or dies instead, says so in
//! the run's place. A lane survives whatever a run does; the next job gets a fresh process.

use anyhow::{Context, bail};
use harness::{Finding, RunReport, Verdict};
use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::usage;
use crate::worker::{Job, Reply};

/// Lines of a dead worker's stderr that are kept.
const STDERR_LINES_MAX: usize = 40;
/// The check that a run is reported under when it takes its process down.
pub const CHECK_PROCESS: &str = "assertion";
/// Rule: the process ended.
pub const RULE_DIED: &str = "a run leaves its process alive";
/// Rule: the run did not end.
pub const RULE_HANG: &str = "every run ends";

/// A place in which one run at a time is made.
pub struct Lane {
    run_limit: Duration,
    program: fn() -> anyhow::Result<Command>,
    process: Option<Process>,
}

struct Process {
    child: Child,
    stdin: ChildStdin,
    replies: Receiver<String>,
    stderr: Arc<Mutex<VecDeque<String>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Lane {
    /// A lane whose runs may take `run_limit` of wall-clock time each.
    pub fn new(run_limit: Duration) -> Lane {
        Lane { run_limit, program: this_program, process: None }
    }

    /// Makes one run. A run that hangs or takes the process down comes back as a report with verdict `crash`.
    ///
    /// # Errors
    /// A usage error if the job is refused (an unknown scenario, a plan that does not parse); any other when no worker can be started, or
    /// when one talks nonsense.
    pub fn run(&mut self, job: &Job) -> anyhow::Result<RunReport> {
        let begun = Instant::now();
        let line = serde_json::to_string(job)? + "\n";
        let mut process = match self.process.take() {
            Some(process) => process,
            None => Process::start((self.program)()?)?,
        };
        if process.stdin.write_all(line.as_bytes()).is_err() {
            // It died between two jobs, for reasons of its own (someone killed it).
            process.end();
            process = Process::start((self.program)()?)?;
            process.stdin.write_all(line.as_bytes()).context("a fresh worker does not take jobs")?;
        }
        let mut deadline = begun + self.run_limit;
        let mut running = None;
        loop {
            match process.replies.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => match serde_json::from_str(&line).with_context(|| format!("a worker said `{line}`"))? {
                    Reply::Begin { seed, scenario } => {
                        running = Some((scenario, seed));
                        deadline = Instant::now() + self.run_limit;
                    }
                    Reply::Done(report) => {
                        self.process = Some(process);
                        return Ok(*report);
                    }
                    Reply::Refused(sentence) => {
                        self.process = Some(process);
                        return Err(usage(sentence));
                    }
                },
                Err(reason) => {
                    let hung = reason == RecvTimeoutError::Timeout;
                    let (status, stderr) = process.end();
                    let Some((scenario, seed)) = running else {
                        bail!("a worker ended before it began a run ({status}): {}", stderr.join(" / "));
                    };
                    let finding = if hung { hang(self.run_limit, stderr) } else { death(status, stderr) };
                    return Ok(crashed(scenario, seed, job, finding, begun.elapsed()));
                }
            }
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            process.end();
        }
    }
}

impl Process {
    fn start(mut command: Command) -> anyhow::Result<Process> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own: Ctrl-C is for the parent, which lets the runs end.
        command.process_group(0).env("RUST_BACKTRACE", "1");
        let mut child = command.spawn().context("a worker process cannot be started")?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else { bail!("a worker has no pipes") };
        let (send, replies) = channel();
        let from_stdout = std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        let kept = tail.clone();
        let from_stderr = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut kept = kept.lock().expect("no holder panics");
                if kept.len() == STDERR_LINES_MAX {
                    kept.pop_front();
                }
                kept.push_back(line);
            }
        });
        Ok(Process { child, stdin, replies, stderr: tail, readers: vec![from_stdout, from_stderr] })
    }

    /// Ends the process, whatever it is at: how it ended, and its last words.
    fn end(mut self) -> (ExitStatus, Vec<String>) {
        drop(self.stdin);
        // A worker between jobs ends when its stdin does, one that is at a run must be killed; which it is does not matter to us.
        let status = match self.child.try_wait() {
            Ok(Some(status)) => status,
            _ => {
                // Its stdout may close a moment before it can be waited for.
                std::thread::sleep(Duration::from_millis(20));
                match self.child.try_wait() {
                    Ok(Some(status)) => status,
                    _ => {
                        let _ = self.child.kill();
                        self.child.wait().unwrap_or_default()
                    }
                }
            }
        };
        for reader in self.readers {
            let _ = reader.join();
        }
        let lines = self.stderr.lock().expect("no holder panics").drain(..).collect();
        (status, lines)
    }
}

fn this_program() -> anyhow::Result<Command> {
    // The link stays valid when the binary is built anew while a batch runs.
    let link = std::path::Path::new("/proc/self/exe");
    let exe = if link.exists() { link.to_owned() } else { std::env::current_exe().context("which program is this?")? };
    let mut command = Command::new(exe);
    command.arg("worker");
    Ok(command)
}

fn hang(limit: Duration, stderr: Vec<String>) -> Finding {
    let message = format!("the run did not end within {} of wall-clock time", crate::term::duration(limit.as_nanos() as u64));
    finding(RULE_HANG, message, stderr)
}

fn death(status: ExitStatus, stderr: Vec<String>) -> Finding {
    let how = match status.signal() {
        _ if stderr.iter().any(|line| line.contains("has overflowed its stack")) => "the run overflowed the stack".to_owned(),
        Some(6) => "the run aborted its process (SIGABRT)".to_owned(),
        Some(9) => "the run's process was killed (SIGKILL), as it is when memory runs out".to_owned(),
        Some(11) => "the run's process ended by a segmentation fault (SIGSEGV)".to_owned(),
        Some(signal) => format!("the run's process was ended by signal {signal}"),
        None => format!("the run's process ended with status {}", status.code().unwrap_or_default()),
    };
    finding(RULE_DIED, how, stderr)
}

fn finding(rule: &str, message: String, stderr: Vec<String>) -> Finding {
    let details = stderr.into_iter().map(|line| format!("stderr: {line}")).collect();
    let check = CHECK_PROCESS.to_owned();
    Finding { check, rule: rule.to_owned(), verdict: Verdict::Crash, t: 0, event: None, node: None, message, evidence: Vec::new(), details }
}

/// The report of a run that could not write its own.
fn crashed(scenario: String, seed: u64, job: &Job, finding: Finding, wall: Duration) -> RunReport {
    RunReport {
        scenario,
        engine: job.engine.name().to_owned(),
        seed,
        mutant: job.mutant.clone(),
        verdict: Verdict::Crash,
        checks: BTreeMap::from([(finding.check.clone(), Verdict::Crash)]),
        findings: vec![finding],
        evaluations: BTreeMap::new(),
        probes: BTreeMap::new(),
        under_faults: BTreeMap::new(),
        faults: BTreeMap::new(),
        ops: 0,
        fast: 0,
        slow: 0,
        unknown: 0,
        events: 0,
        sim_ns: 0,
        wall_ns: wall.as_nanos() as u64,
        trace_hash: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::Work;

    fn lane(program: fn() -> anyhow::Result<Command>) -> Lane {
        Lane { run_limit: Duration::from_millis(300), program, process: None }
    }

    fn shell(script: &str) -> anyhow::Result<Command> {
        let mut command = Command::new("sh");
        command.arg("-c").arg(script);
        Ok(command)
    }

    fn job() -> Job {
        let work = Work::Seed { scenario: "standard".into(), seed: 7 };
        Job { work, engine: harness::Engine::Direct, mutant: Some("x".into()), record: None, log: String::new() }
    }

    #[test]
    fn a_hang_is_the_runs_own_and_the_lane_goes_on() {
        let mut lane = lane(|| shell(r#"read job; echo '{"begin":{"seed":7,"scenario":"standard"}}'; echo stuck >&2; exec sleep 60"#));
        for _ in 0..2 {
            let report = lane.run(&job()).unwrap();
            let first = report.first().unwrap();
            assert_eq!((report.verdict, report.seed, first.rule.as_str()), (Verdict::Crash, 7, RULE_HANG));
            assert_eq!(first.details, ["stderr: stuck"]);
        }
    }

    #[test]
    fn a_death_says_how() {
        let mut aborted = lane(|| shell(r#"read job; echo '{"begin":{"seed":7,"scenario":"standard"}}'; kill -ABRT $$"#));
        let report = aborted.run(&job()).unwrap();
        assert!(report.first().unwrap().message.contains("SIGABRT"));
        assert_eq!(report.mutant.as_deref(), Some("x"));
        let mut overflown = lane(|| {
            shell(r#"read job; echo '{"begin":{"seed":7,"scenario":"s"}}'; echo "thread 'main' has overflowed its stack" >&2; exit 134"#)
        });
        assert!(overflown.run(&job()).unwrap().first().unwrap().message.contains("overflowed the stack"));
    }

    #[test]
    fn a_worker_that_never_begins_is_our_failure() {
        let mut lane = lane(|| shell("read job; exit 3"));
        assert_eq!(crate::error::exit_code(&lane.run(&job()).unwrap_err()), 70);
    }

    #[test]
    fn a_refused_job_is_the_callers() {
        let mut lane = lane(|| shell(r#"while read job; do echo '{"refused":"no such scenario"}'; done"#));
        for _ in 0..2 {
            assert_eq!(crate::error::exit_code(&lane.run(&job()).unwrap_err()), 64);
        }
    }
}
