//! etcd's own command line client against the cluster: what it prints is held against what it should. Where it is not installed (Debian's
//! package etcd-client), it is left out, and the test says so.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use tokio::time::Duration;

/// What etcdctl waits for an answer.
const COMMAND_TIMEOUT: &str = "--command-timeout=10s";
/// A line of a command that goes on.
const LINE_MAX: Duration = Duration::from_secs(15);
/// What is bound to happen has happened by then.
const SOON: Duration = Duration::from_secs(20);

pub(crate) struct Etcdctl {
    /// host:port, by commas.
    endpoints: String,
}

/// A command that goes on. Dropping it ends it.
struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn line(&self) -> Result<String, String> {
        self.lines.recv_timeout(LINE_MAX).map_err(|_| "etcdctl says nothing".to_owned())
    }
}

impl Etcdctl {
    /// With these endpoints; `None`: there is no etcdctl of version 3 here.
    pub(crate) fn find(endpoints: impl IntoIterator<Item = String>) -> Option<(Etcdctl, String)> {
        let said = Command::new("etcdctl").arg("version").env("ETCDCTL_API", "3").output().ok()?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let version = said.lines().find_map(|line| line.strip_prefix("etcdctl version: "))?.to_owned();
        let endpoints = endpoints.into_iter().collect::<Vec<_>>().join(",");
        said.contains("API version: 3").then_some((Etcdctl { endpoints }, version))
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").arg(format!("--endpoints={}", self.endpoints)).arg(COMMAND_TIMEOUT).args(words);
        command
    }

    /// What it prints, with this on its stdin.
    fn say(&self, words: &[&str], stdin: &str) -> Result<String, String> {
        let failed = |what: &str| format!("etcdctl {}: {what}", words.join(" "));
        let mut command = self.command(words);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.map_err(|error| failed(&error.to_string()))?;
        if let Some(mut pipe) = child.stdin.take() {
            let _ = pipe.write_all(stdin.as_bytes());
        }
        let output = child.wait_with_output().map_err(|error| failed(&error.to_string()))?;
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).trim()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn expect(&self, words: &[&str], stdin: &str, expected: &str) -> Result<(), String> {
        let said = self.say(words, stdin)?;
        if said != expected {
            return Err(format!("etcdctl {} printed {said:?}, not {expected:?}", words.join(" ")));
        }
        Ok(())
    }

    fn expect_in(&self, words: &[&str], expected: &str) -> Result<String, String> {
        let said = self.say(words, "")?;
        if !said.contains(expected) {
            return Err(format!("etcdctl {} printed {said:?}, without {expected:?}", words.join(" ")));
        }
        Ok(said)
    }

    fn start(&self, words: &[&str]) -> Result<Running, String> {
        let mut child = self
            .command(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("etcdctl {}: {error}", words.join(" ")))?;
        let stdout = child.stdout.take().ok_or("etcdctl has no stdout")?;
        let (tell, lines) = mpsc::channel();
        std::thread::spawn(move || BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        Ok(Running { child, lines })
    }

    /// Until this prints what it should.
    fn until(&self, words: &[&str], done: impl Fn(&str) -> bool) -> Result<(), String> {
        let begun = std::time::Instant::now();
        loop {
            let said = self.say(words, "")?;
            if done(&said) {
                return Ok(());
            }
            if begun.elapsed() > SOON {
                return Err(format!("etcdctl {} still prints {said:?}", words.join(" ")));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// All of it, in a cluster of so many members.
    pub(crate) fn tour(&self, members: usize) -> Result<(), String> {
        self.keys()?;
        self.watch()?;
        self.leases()?;
        self.cluster(members)
    }

    fn keys(&self) -> Result<(), String> {
        self.expect(&["put", "ctl/a", "1"], "", "OK\n")?;
        self.expect(&["get", "ctl/a"], "", "ctl/a\n1\n")?;
        self.expect(&["put", "ctl/a", "2", "--prev-kv"], "", "OK\nctl/a\n1\n")?;
        self.expect(&["put", "ctl/b", "3"], "", "OK\n")?;
        self.expect(&["get", "ctl/", "--prefix", "--order=DESCEND", "--sort-by=KEY"], "", "ctl/b\n3\nctl/a\n2\n")?;
        self.expect(&["get", "ctl/", "--prefix", "--keys-only", "--limit=1"], "", "ctl/a\n\n")?;
        let txn = "value(\"ctl/a\") = \"2\"\n\nput ctl/c 4\nget ctl/a\n\nget ctl/b\n\n";
        self.expect(&["txn"], txn, "SUCCESS\n\nOK\n\nctl/a\n2\n")?;
        let txn = "version(\"ctl/none\") > \"0\"\n\nput ctl/c 5\n\nget ctl/c\n\n";
        self.expect(&["txn"], txn, "FAILURE\n\nctl/c\n4\n")?;
        self.expect(&["del", "ctl/b", "--prev-kv"], "", "1\nctl/b\n3\n")?;
        self.expect(&["del", "ctl/b"], "", "0\n")?;
        match self.say(&["put", "", "x"], "") {
            Err(words) if words.contains("etcdserver: key is not provided") => Ok(()),
            other => Err(format!("etcdctl put of an empty key: {other:?}")),
        }
    }

    /// A watch tells what was, then what comes.
    fn watch(&self) -> Result<(), String> {
        self.expect(&["put", "ctl/w", "1"], "", "OK\n")?;
        let watch = self.start(&["watch", "ctl/w", "--rev=1"])?;
        let mut told = (0..3).map(|_| watch.line()).collect::<Result<Vec<_>, _>>()?;
        self.expect(&["put", "ctl/w", "2"], "", "OK\n")?;
        self.expect(&["del", "ctl/w"], "", "1\n")?;
        told.extend((0..6).map(|_| watch.line()).collect::<Result<Vec<_>, _>>()?);
        let expected = ["PUT", "ctl/w", "1", "PUT", "ctl/w", "2", "DELETE", "ctl/w", ""];
        if told != expected { Err(format!("etcdctl watch printed {told:?}")) } else { Ok(()) }
    }

    fn leases(&self) -> Result<(), String> {
        let grant = |ttl: &str| {
            let said = self.expect_in(&["lease", "grant", ttl], &format!("granted with TTL({ttl}s)"))?;
            said.split_whitespace().nth(1).map(str::to_owned).ok_or_else(|| format!("etcdctl lease grant printed {said:?}"))
        };
        let long = grant("600")?;
        self.expect(&["put", "ctl/l", "1", &format!("--lease={long}")], "", "OK\n")?;
        self.expect_in(&["lease", "list"], &long)?;
        self.expect_in(&["lease", "keep-alive", "--once", &long], "keepalived with TTL(600)")?;
        self.expect_in(&["lease", "timetolive", &long, "--keys"], "attached keys([ctl/l])")?;
        self.expect_in(&["lease", "revoke", &long], "revoked")?;
        self.expect(&["get", "ctl/l"], "", "")?;
        self.expect_in(&["lease", "timetolive", &long], "already expired")?;
        // One that is not kept alive goes, and its key with it.
        let short = grant("2")?;
        self.expect(&["put", "ctl/s", "1", &format!("--lease={short}")], "", "OK\n")?;
        self.expect(&["get", "ctl/s"], "", "ctl/s\n1\n")?;
        self.until(&["get", "ctl/s"], str::is_empty)
    }

    fn cluster(&self, members: usize) -> Result<(), String> {
        let said = self.say(&["member", "list"], "")?;
        if said.lines().filter(|line| line.contains(", started, node-")).count() != members {
            return Err(format!("etcdctl member list printed {said:?}"));
        }
        let said = self.say(&["endpoint", "status"], "")?;
        // Endpoint, id, version, size, whether it leads, …
        let leads = said.lines().filter(|line| line.split(", ").nth(4) == Some("true")).count();
        if said.lines().count() != members || leads != 1 {
            return Err(format!("etcdctl endpoint status printed {said:?}"));
        }
        // Followers may lag a little.
        self.until(&["endpoint", "hashkv"], |said| {
            let hashes: Vec<_> = said.lines().filter_map(|line| line.split(", ").nth(1)).collect();
            hashes.len() == members && hashes.windows(2).all(|pair| pair[0] == pair[1])
        })
    }
}
