//! What an application may know of a node: its status when asked, and changes as they come. Nothing here changes anything.

use super::{RawCurp, Role, RoleKind, StateChange};
use crate::{Command, HardState, Index, Leadership, Membership, NodeId, Term};

/// What is forgotten at a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoftState {
    /// The node's own role.
    pub role: RoleKind,
    /// Who leads, as far as the node knows.
    pub leadership: Leadership,
}

/// What a leader knows of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgressStatus {
    /// The member.
    pub node: NodeId,
    /// Whether it votes.
    pub voter: bool,
    /// Its log equals the leader's up to here, durably.
    pub matched: Index,
    /// Next entry to send.
    pub next: Index,
    /// Commit index that it was told.
    pub told: Index,
}

/// A node at an instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The node.
    pub id: NodeId,
    /// Term, vote and commit index, perhaps not durable yet.
    pub hard_state: HardState,
    /// Role and leader.
    pub soft_state: SoftState,
    /// Everything up to here is applied.
    pub applied: Index,
    /// Configuration in force.
    pub membership: Membership,
    /// By member, the leader itself apart; empty unless the node leads.
    pub progress: Vec<ProgressStatus>,
    /// The voter to which leadership is being handed.
    pub transfer: Option<NodeId>,
}

/// Role, leader and configuration as last reported.
#[derive(Debug)]
pub(super) struct Seen {
    soft_state: SoftState,
    membership: Membership,
}

impl Seen {
    /// What a node that starts is taken to be.
    pub(super) fn at_start(term: Term, membership: Membership) -> Self {
        let soft_state = SoftState { role: RoleKind::Follower, leadership: Leadership { term, leader: None } };
        Seen { soft_state, membership }
    }
}

impl<C: Command> RawCurp<C> {
    /// The node as it is now.
    pub fn status(&self) -> Status {
        let progress = match &self.role {
            Role::Leader(leader) => {
                let voter = |node: NodeId| self.membership().is_voter(node);
                let status =
                    |node, p: &super::Progress| ProgressStatus { node, voter: voter(node), matched: p.matched, next: p.next, told: p.told };
                leader.progress.iter().map(|(node, p)| status(*node, p)).collect()
            }
            Role::Follower | Role::PreCandidate(_) | Role::Candidate(_) => Vec::new(),
        };
        Status {
            id: self.id,
            hard_state: self.hard_state,
            soft_state: self.soft_state(),
            applied: self.applied,
            membership: self.membership().clone(),
            progress,
            transfer: self.transfer.as_ref().filter(|_| self.is_leader()).map(|t| t.to),
        }
    }

    /// Role and leader.
    pub fn soft_state(&self) -> SoftState {
        let role = match &self.role {
            Role::Follower => RoleKind::Follower,
            Role::PreCandidate(_) => RoleKind::PreCandidate,
            Role::Candidate(_) => RoleKind::Candidate,
            Role::Leader(_) => RoleKind::Leader,
        };
        SoftState { role, leadership: self.leadership() }
    }

    /// Reports what differs from what was reported last: once per input, however often it changed on the way.
    pub(super) fn note_changes(&mut self) {
        let now = self.soft_state();
        let before = std::mem::replace(&mut self.seen.soft_state, now);
        if now.role != before.role {
            self.out.changes.push(StateChange::Role(now.role));
        }
        if now.leadership != before.leadership {
            self.out.changes.push(StateChange::Leader(now.leadership));
        }
        if self.seen.membership != *self.membership() {
            self.seen.membership = self.membership().clone();
            self.out.changes.push(StateChange::Configuration(self.seen.membership.clone()));
        }
    }
}
