//! The command line, and the list of members: a TOML file, the same for every node.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Parser;
use serde::Deserialize;

/// A node of a replicated key-value store, or a whole cluster of them in one process.
#[derive(Debug, Parser)]
#[command(name = "server", bin_name = "cargo server", version)]
pub struct Args {
    /// The list of members: `[[member]]` with id, client (host:port) and peer (host:port)
    #[arg(long, value_name = "FILE")]
    pub members: PathBuf,
    /// Where the nodes' directories are
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// The member to be; all of them, in this process, by default
    #[arg(long)]
    pub id: Option<u32>,
    /// End when stdin does: for tests that must leave no process behind
    #[arg(long, hide = true)]
    pub until_stdin_ends: bool,
}

/// One member.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// The node.
    pub id: u32,
    /// Where clients reach it.
    pub client: String,
    /// Where peers reach it.
    pub peer: String,
}

/// The members, by id.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Members {
    member: Vec<Member>,
}

impl Members {
    /// Reads the list.
    ///
    /// # Errors
    /// One sentence: it cannot be read, does not parse, is empty, or names an id twice.
    pub fn read(path: &Path) -> Result<Members, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: cannot be read: {error}", path.display()))?;
        let mut members: Members = toml::from_str(&text).map_err(|error| format!("{}: {}", path.display(), error.message()))?;
        members.member.sort_by_key(|member| member.id);
        if members.member.is_empty() || members.member.windows(2).any(|pair| pair[0].id == pair[1].id) {
            return Err(format!("{}: there must be members, each with an id of its own", path.display()));
        }
        Ok(members)
    }

    /// Their ids, rising.
    pub fn ids(&self) -> Vec<u32> {
        self.member.iter().map(|member| member.id).collect()
    }

    /// Whether there is one of this id.
    pub fn contains(&self, id: u32) -> bool {
        self.get(id).is_some()
    }

    /// The one of this id.
    pub fn get(&self, id: u32) -> Option<&Member> {
        self.member.iter().find(|member| member.id == id)
    }

    /// Where peers reach each.
    pub fn peers(&self) -> BTreeMap<u32, String> {
        self.member.iter().map(|member| (member.id, member.peer.clone())).collect()
    }

    /// Where clients reach each.
    pub fn clients(&self) -> BTreeMap<u32, String> {
        self.member.iter().map(|member| (member.id, member.client.clone())).collect()
    }
}
