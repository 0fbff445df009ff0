//! Who takes part, as far as the nodes' events tell: which configuration is committed, and which ones nodes have in force. What an
//! operator may still ask for, and how many disks may still be lost, is decided by it.
//!
//! It follows events only, like a checker, and is no check itself: it believes what nodes say.

use curp::{ConfigCause, ConfigChange, ConfigVersion, Entry, Event, Index, Membership, NodeId};
use kv::Request;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a newly committed configuration changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    /// A node is a learner.
    Added(NodeId),
    /// A learner votes.
    Promoted(NodeId),
    /// A member is none any more.
    Removed(NodeId),
    /// A member has another address.
    Updated(NodeId),
}

/// The configurations of a run.
#[derive(Debug)]
pub(crate) struct Members {
    /// The latest configuration that some node has applied.
    pub(crate) committed: Membership,
    /// The last one that each node has appended at an index.
    appended: BTreeMap<(NodeId, Index), Arc<Membership>>,
    /// The one in force at each node, as of its last event.
    in_force: BTreeMap<NodeId, Membership>,
    /// Nodes whose disks are lost.
    lost: BTreeSet<NodeId>,
    /// Changes that were asked for, and given up, under a committed configuration: they may still be made.
    loose: Vec<(ConfigVersion, ConfigChange)>,
}

impl Members {
    /// Of a cluster that begins.
    pub(crate) fn new(initial: Membership) -> Self {
        Members { committed: initial, appended: BTreeMap::new(), in_force: BTreeMap::new(), lost: BTreeSet::new(), loose: Vec::new() }
    }

    /// A node's event: what it says about the committed configuration that was not known before.
    pub(crate) fn note(&mut self, node: NodeId, event: &Event<Request>) -> Vec<Changed> {
        match event {
            Event::LeaderPropose { entry, .. } => self.append(node, std::slice::from_ref(entry)),
            Event::AcceptEntries { entries, .. } | Event::BecomeLeader { entries, .. } => self.append(node, entries),
            Event::Restart { membership, .. } => {
                let index = membership.version.index;
                self.appended.entry((node, index)).or_insert_with(|| Arc::new(membership.clone()));
                self.in_force.insert(node, membership.clone());
            }
            Event::UseConfig { membership, cause, .. } => {
                self.in_force.insert(node, membership.clone());
                if *cause == ConfigCause::Installed {
                    return self.commit(membership.clone());
                }
            }
            Event::Apply { index, outcome: curp::Applied::Configured, .. } => {
                if let Some(applied) = self.appended.get(&(node, *index)) {
                    return self.commit(Membership::clone(applied));
                }
            }
            _ => {}
        }
        Vec::new()
    }

    fn append(&mut self, node: NodeId, entries: &[Arc<Entry<Request>>]) {
        for entry in entries {
            if let Some(membership) = entry.membership() {
                self.appended.insert((node, entry.index), membership.clone());
            }
        }
    }

    fn commit(&mut self, membership: Membership) -> Vec<Changed> {
        if membership.version <= self.committed.version {
            return Vec::new();
        }
        let old = std::mem::replace(&mut self.committed, membership);
        let new = &self.committed;
        let mut changes: Vec<Changed> = old.members().filter(|n| !new.is_member(*n)).map(Changed::Removed).collect();
        for node in new.members() {
            match (old.is_voter(node), old.is_member(node)) {
                (_, false) => changes.push(Changed::Added(node)),
                (false, true) if new.is_voter(node) => changes.push(Changed::Promoted(node)),
                _ if old.addresses.get(&node) != new.addresses.get(&node) => changes.push(Changed::Updated(node)),
                _ => {}
            }
        }
        changes
    }

    /// A disk is lost.
    pub(crate) fn lose(&mut self, node: NodeId) {
        self.lost.insert(node);
        self.in_force.remove(&node);
    }

    /// Whether the node has lost its disk.
    pub(crate) fn has_lost(&self, node: NodeId) -> bool {
        self.lost.contains(&node)
    }

    /// An operator gave up asking for a change; it may be made all the same.
    pub(crate) fn let_loose(&mut self, change: ConfigChange) {
        self.loose.push((self.committed.version, change));
    }

    /// Whether at most f disks of every configuration that is in force anywhere, or may come into force, would be lost, were this node's
    /// too and this change made.
    pub(crate) fn survive(&self, another: Option<NodeId>, change: Option<&ConfigChange>) -> bool {
        let later = self.in_force.values().filter(|m| m.version > self.committed.version);
        let known: Vec<&Membership> = std::iter::once(&self.committed).chain(later).collect();
        let loose = self.loose.iter().filter(|(version, _)| *version >= self.committed.version).map(|(_, change)| change);
        let changes: Vec<Option<&ConfigChange>> = std::iter::once(None).chain(change.into_iter().chain(loose).map(Some)).collect();
        known.iter().all(|m| {
            changes.iter().all(|change| {
                let mut voters = m.voters.clone();
                match change {
                    Some(ConfigChange::Promote { node }) if !voters.contains(node) => voters.push(*node),
                    Some(ConfigChange::Remove { node }) => voters.retain(|v| v != node),
                    _ => {}
                }
                let lost = voters.iter().filter(|v| self.lost.contains(v) || another == Some(**v)).count();
                !voters.is_empty() && lost <= (voters.len() - 1) / 2
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(node: NodeId, term: u64, index: Index, voters: &[NodeId], learners: &[NodeId]) -> (Event<Request>, Event<Request>) {
        let version = ConfigVersion { term, index };
        let membership = Membership { version, voters: voters.to_vec(), learners: learners.to_vec(), ..Membership::default() };
        let change = ConfigChange::Promote { node };
        let payload = curp::Payload::Config { change, membership: Arc::new(membership) };
        let entry = Arc::new(Entry { term, index, payload });
        let apply = Event::Apply { index, id: None, outcome: curp::Applied::Configured, state_hash: 0 };
        (Event::LeaderPropose { entry, fast: false }, apply)
    }

    #[test]
    fn a_configuration_counts_once_it_is_applied() {
        let mut members = Members::new(Membership::initial([1, 2, 3]));
        let (propose, apply) = configured(4, 2, 9, &[1, 2, 3], &[4]);
        assert_eq!(members.note(1, &propose), []);
        assert!(!members.committed.is_member(4));
        assert_eq!(members.note(1, &apply), [Changed::Added(4)]);
        assert_eq!(members.note(1, &apply), [], "once");
        let (propose, apply) = configured(4, 2, 12, &[2, 3, 4], &[]);
        members.note(1, &propose);
        assert_eq!(members.note(1, &apply), [Changed::Removed(1), Changed::Promoted(4)]);
    }

    #[test]
    fn a_minority_of_disks_may_be_lost() {
        let mut members = Members::new(Membership::initial([1, 2, 3]));
        assert!(members.survive(Some(3), None));
        assert!(!members.survive(Some(3), Some(&ConfigChange::Remove { node: 1 })), "one of two would be too many");
        members.lose(3);
        assert!(!members.survive(Some(2), None) && !members.survive(None, Some(&ConfigChange::Remove { node: 1 })));
        assert!(members.survive(None, Some(&ConfigChange::Remove { node: 3 })));
        members.let_loose(ConfigChange::Promote { node: 4 });
        assert!(members.survive(Some(9), None), "no voter");
    }
}
