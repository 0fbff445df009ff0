//! The tests' own state machine: numbers by key. It is as small as a state machine can be that shows what a protocol may get wrong:
//! `inc` tells one execution from two, `get` tells one order from another, and commands on different keys commute.
#![allow(dead_code)] // Each test uses a part.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use curp::{Command, CommandExecutor, ConflictCheck, Index, RoleChange, Synced, Term, splitmix64};
use serde::{Deserialize, Serialize};

/// What a client can ask for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Cmd {
    /// `put KEY NUMBER`
    Put { key: String, value: u64 },
    /// `inc KEY`: one more; a key that was never written counts as 0.
    Inc { key: String },
    /// `get KEY`
    Get { key: String },
    /// `sum`: the key `sum` is to hold the sum of all others. What it looks at depends on what there is.
    Sum,
}

impl Cmd {
    fn key(&self) -> &str {
        match self {
            Cmd::Put { key, .. } | Cmd::Inc { key } | Cmd::Get { key } => key,
            Cmd::Sum => "sum",
        }
    }

    fn writes(&self) -> bool {
        !matches!(self, Cmd::Get { .. })
    }
}

impl ConflictCheck for Cmd {
    fn conflicts(&self, other: &Self) -> bool {
        let all = !self.fast_allowed() || !other.fast_allowed();
        all || (self.key() == other.key() && (self.writes() || other.writes()))
    }
}

impl Command for Cmd {
    /// What the key holds after the command; `None` if it was never written.
    type Response = Option<u64>;
    type Watch = ();
    type WatchResponse = u64;

    fn bytes(&self) -> usize {
        16
    }

    fn fast_allowed(&self) -> bool {
        !matches!(self, Cmd::Sum)
    }
}

impl fmt::Display for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cmd::Put { key, value } => write!(f, "put {key} {value}"),
            Cmd::Inc { key } => write!(f, "inc {key}"),
            Cmd::Get { key } => write!(f, "get {key}"),
            Cmd::Sum => f.write_str("sum"),
        }
    }
}

impl FromStr for Cmd {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let words: Vec<&str> = s.split_whitespace().collect();
        match words[..] {
            ["put", key, value] => {
                let value = value.parse().map_err(|_| format!("`{value}` is not a number"))?;
                Ok(Cmd::Put { key: key.to_owned(), value })
            }
            ["inc", key] => Ok(Cmd::Inc { key: key.to_owned() }),
            ["get", key] => Ok(Cmd::Get { key: key.to_owned() }),
            ["sum"] => Ok(Cmd::Sum),
            _ => Err(format!("`{s}` is not a command; accepted: put KEY NUMBER, inc KEY, get KEY, sum")),
        }
    }
}

/// The state.
#[derive(Clone, Debug)]
pub struct Kv {
    map: BTreeMap<String, u64>,
    revision: u64,
    delta: u64,
}

impl Default for Kv {
    fn default() -> Self {
        Kv { map: BTreeMap::new(), revision: 1, delta: 0 }
    }
}

impl CommandExecutor<Cmd> for Kv {
    fn prepare(&mut self, _: Term, _: Index, command: &Cmd) -> u64 {
        self.revision += u64::from(command.writes());
        self.revision
    }

    fn execute(&self, command: &Cmd) -> Option<u64> {
        let now = self.map.get(command.key()).copied();
        match command {
            Cmd::Put { value, .. } => Some(*value),
            Cmd::Inc { .. } => Some(now.unwrap_or(0) + 1),
            Cmd::Get { .. } => now,
            Cmd::Sum => Some(self.map.iter().filter(|(key, _)| *key != "sum").fold(0, |sum: u64, (_, value)| sum.wrapping_add(*value))),
        }
    }

    fn after_sync(&mut self, _: Term, _: Index, revision: u64, command: &Cmd) -> Synced<Option<u64>> {
        let response = self.execute(command);
        if let Some(value) = response.filter(|_| command.writes()) {
            let key = command.key();
            let before = self.map.insert(key.to_owned(), value).map_or(0, |before| hash(key, before));
            self.delta = self.delta.wrapping_add(hash(key, value)).wrapping_sub(before);
        }
        Synced { revision, response }
    }

    fn take_delta(&mut self) -> u64 {
        std::mem::take(&mut self.delta)
    }

    fn snapshot(&self) -> Vec<u8> {
        postcard::to_allocvec(&(self.revision, &self.map)).expect("plain data encodes")
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        let (revision, map) = postcard::from_bytes(snapshot).map_err(|e| e.to_string())?;
        *self = Kv { revision, map, delta: 0 };
        Ok(())
    }

    fn state_sum(&self) -> u64 {
        self.map.iter().fold(0, |sum, (key, value)| sum.wrapping_add(hash(key, *value)))
    }
}

/// One pair's part of the state's hash.
fn hash(key: &str, value: u64) -> u64 {
    splitmix64(key.bytes().fold(value, |hash, byte| splitmix64(hash ^ u64::from(byte))))
}

impl RoleChange for Kv {
    fn on_leader(&mut self, _: Term) {}
    fn on_follower(&mut self, _: Term) {}
}
