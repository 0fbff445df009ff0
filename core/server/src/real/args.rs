//! The command line, and the list of members: a TOML file, the same for every node.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};
use serde::Deserialize;

use crate::rpc::Place;

/// A node of a replicated key-value store, or a whole cluster of them in one process.
#[derive(Debug, Parser)]
#[command(name = "server", bin_name = "cargo server", version)]
pub struct Args {
    /// The list of members: `[[member]]` with id, client (host:port) and peer (host:port)
    #[arg(long, value_name = "FILE")]
    pub members: PathBuf,
    /// Where the nodes' directories are
    #[arg(long, value_name = "DIR", required_unless_present = "wish")]
    pub data: Option<PathBuf>,
    /// The node to be; by default all of the list, in this process
    #[arg(long)]
    pub id: Option<u32>,
    /// Where the node serves clients and peers, if it is not in the list: it joins the cluster, or joined it before
    #[arg(long, value_name = "CLIENT/PEER", requires = "id")]
    pub at: Option<Place>,
    /// The node has never run before: its empty directory is not a lost disk (not needed where there is no directory yet)
    #[arg(long, requires = "id")]
    pub join: bool,
    /// End when stdin does: for tests that must leave no process behind
    #[arg(long, hide = true)]
    pub until_stdin_ends: bool,
    /// What an operator wants of a cluster that runs
    #[command(subcommand)]
    pub wish: Option<Wish>,
}

/// What an operator wants.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Wish {
    /// A node that was never a member joins as a learner; start it with --id, --at and --join
    AddLearner {
        /// Its id, never used before
        node: u32,
        /// Where it serves, CLIENT/PEER
        at: Place,
    },
    /// A learner that has caught up becomes a voter
    Promote {
        /// The learner
        node: u32,
    },
    /// A member leaves; its id must not be used again
    Remove {
        /// The member
        node: u32,
    },
    /// A member is reached elsewhere
    Update {
        /// The member
        node: u32,
        /// Where it serves, CLIENT/PEER
        at: Place,
    },
    /// Another voter leads
    MoveLeader {
        /// The voter
        node: u32,
    },
    /// A node makes a snapshot now, and drops the log before it
    Snapshot {
        /// The node; the leader, by default
        node: Option<u32>,
    },
    /// Every node stops, once what was acknowledged is safe
    Shutdown,
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

    /// The list with one that is not in it.
    ///
    /// # Errors
    /// One sentence: it is in the list, or clients have no address of it.
    pub fn with(mut self, id: u32, place: &Place) -> Result<Members, String> {
        if self.contains(id) {
            return Err(format!("member {id} is in the list, which says where it serves: leave out --at"));
        }
        let Some(client) = place.client.clone() else { return Err(format!("`{place}` says nothing of clients: give CLIENT/PEER")) };
        self.member.push(Member { id, client, peer: place.peer.clone() });
        Ok(self)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(std::iter::once("server").chain(words.split_whitespace()))
    }

    #[test]
    fn nodes_and_wishes() {
        let args = parse("--members m.toml --data d --id 4 --at h:1/h:2 --join").expect("a joiner");
        assert_eq!((args.id, args.join, args.wish), (Some(4), true, None));
        let args = parse("--members m.toml add-learner 4 h:1/h:2").expect("a wish needs no directory");
        assert_eq!(args.wish, Some(Wish::AddLearner { node: 4, at: "h:1/h:2".parse().expect("an address") }));
        assert_eq!(parse("--members m.toml snapshot").expect("of the leader").wish, Some(Wish::Snapshot { node: None }));
        for words in
            ["--members m.toml", "--data d", "--members m --data d --join", "--members m --data d --id 4 --at h", "--members m promote"]
        {
            assert!(parse(words).is_err(), "{words}");
        }
    }

    #[test]
    fn a_joiner_is_not_in_the_list() {
        let members: Members = toml::from_str("[[member]]\nid = 1\nclient = 'h:1'\npeer = 'h:2'\n").expect("a list");
        let place: Place = "h:3/h:4".parse().expect("an address");
        let with = members.clone().with(2, &place).expect("not in the list");
        assert_eq!((with.ids(), with.peers()[&2].as_str(), with.clients()[&2].as_str()), (vec![1, 2], "h:4", "h:3"));
        assert!(members.clone().with(1, &place).is_err());
        assert!(members.with(2, &"h:4".parse().expect("an address")).is_err(), "clients must reach it");
    }
}
