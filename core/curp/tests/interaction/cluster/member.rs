//! Nodes that join, nodes that stop, and what they report of themselves.

use std::fmt::Write;

use curp::NodeId;

use super::{Cluster, Disk, Node, START};
use crate::show;

impl Cluster {
    /// A node that never ran before starts with an empty disk, knowing the cluster as it was made. Its clock agrees with the others'.
    pub fn join(&mut self, id: NodeId) -> Result<(), String> {
        if self.nodes.contains_key(&id) {
            return Err(format!("there is a node {id} already"));
        }
        let now = self.nodes.values().map(|node| node.now).max().unwrap_or(START);
        self.nodes.insert(id, Node { now, lives: 0, disk: Disk::default(), life: None });
        self.start(id)?;
        self.persist(id, None)
    }

    /// A node that applied the cluster's shutdown is down as soon as what says so is durable.
    pub(super) fn stop_if_told(&mut self, id: NodeId) -> Result<(), String> {
        let life = self.life(id)?;
        if life.stops_at.is_some_and(|at| at <= life.durable) {
            say!(self, "{id} stops");
            self.node(id)?.life = None;
        }
        Ok(())
    }

    /// All that a node says of itself.
    pub fn status_of(&mut self, id: NodeId) -> Result<(), String> {
        let status = self.raw(id)?.status();
        let (role, hard) = (status.soft_state.role, status.hard_state);
        let leader = status.soft_state.leadership.leader.map_or("nobody".to_owned(), |leader| leader.to_string());
        let vote = hard.vote.map_or("nobody".to_owned(), |vote| vote.to_string());
        say!(self, "{id} {role:?} in term {}, vote {vote}, leader {leader}; commit {}, applied {}", hard.term, hard.commit, status.applied);
        say!(self, "{id} {}", show::config(&status.membership));
        for (node, address) in &status.membership.addresses {
            say!(self, "{id} {node} is at {address}");
        }
        for p in &status.progress {
            let kind = if p.voter { "voter" } else { "no voter" };
            say!(self, "{id} {} ({kind}): matched {}, next {}, told of commit {}", p.node, p.matched, p.next, p.told);
        }
        if let Some(to) = status.transfer {
            say!(self, "{id} hands its leadership to {to}");
        }
        Ok(())
    }
}
