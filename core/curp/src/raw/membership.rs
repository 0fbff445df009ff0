//! Configurations and their changes. The one in force is the latest in the log, committed or not, so it comes with an append and goes
//! with a truncation. One change at a time, of one voter, and none before a leader has applied an entry of its own term: then the
//! majorities of any two configurations that can be in force at once overlap (Raft dissertation §4.1, and its erratum of 2015).
//!
//! Votes are not fenced by configuration, here or anywhere: the winner counts those of the voters in its own latest one. Records are
//! fenced (`propose`).

use std::sync::Arc;

use super::{RawCurp, Role};
use crate::raw::progress::Progress;
use crate::{
    Admin, AdminDone, AdminRefusal, ClientAddress, Command, ConfigCause, ConfigChange, ConfigVersion, Durable, Entry, Event, Index,
    Membership, Nanos, NodeId, Payload, Reply,
};
use mutants::Mutant;

/// What a node knows of configurations.
#[derive(Debug)]
pub(super) struct Configuration {
    /// The latest in the log, or else the last applied one.
    in_force: Arc<Membership>,
    /// Index of its entry, 0 for the one the cluster was made with.
    index: Index,
    /// As of the applied index: what a snapshot made now is to say, and what holds where the log beyond has no other.
    applied: Arc<Membership>,
    /// Index of its entry.
    applied_index: Index,
}

impl Configuration {
    /// What the disk says; `initial` is the configuration the cluster was made with.
    pub(super) fn recovered<C: Command>(initial: Membership, durable: &Durable<C>) -> Self {
        let applied = Arc::new(durable.snapshot.as_ref().map_or(initial, |snapshot| snapshot.membership.clone()));
        let applied_index = applied.version.index;
        let latest = durable.log.iter().rev().find_map(|e| Some((e.membership()?.clone(), e.index)));
        let (in_force, index) = latest.unwrap_or_else(|| (applied.clone(), applied_index));
        Configuration { in_force, index, applied, applied_index }
    }

    /// The configuration in force.
    pub(super) fn in_force(&self) -> &Membership {
        &self.in_force
    }

    /// The state that the node starts from is later than the snapshot: this is applied there.
    pub(super) fn found_applied(&mut self, membership: Membership) {
        self.applied_index = membership.version.index;
        self.applied = Arc::new(membership);
    }
}

impl<C: Command> RawCurp<C> {
    /// An operator's wish. What only a leader can do is refused elsewhere; what takes time is answered when it is done.
    pub(super) fn on_admin(&mut self, from: ClientAddress, nonce: u64, wish: Admin, now: Nanos) {
        let result = match wish {
            Admin::TakeSnapshot => return self.on_take_snapshot(from, nonce),
            _ if !self.is_leader() => Err(AdminRefusal::NotLeader(self.leadership())),
            Admin::ChangeMembership { base, change } => self.change_membership((from, nonce), base, change, now),
            Admin::MoveLeader { to } => self.move_leader((from, nonce), to, now),
            Admin::Shutdown => self.shut_down((from, nonce), now),
        };
        if let Some(result) = result.transpose() {
            self.reply(from, Reply::Admin { nonce, result }, 0);
        }
    }

    /// Answers those who wait for the entry at an index.
    pub(super) fn answer_admin(&mut self, index: Index, done: AdminDone) {
        for (client, nonce) in self.board.take_entry(index) {
            self.reply(client, Reply::Admin { nonce, result: Ok(done.clone()) }, 0);
        }
    }

    fn change_membership(
        &mut self,
        (from, nonce): (ClientAddress, u64),
        base: ConfigVersion,
        change: ConfigChange,
        now: Nanos,
    ) -> Result<Option<AdminDone>, AdminRefusal> {
        let open = self.is_open() || mutants::on(Mutant::ConfigBeforeNoop);
        if !open || self.is_leaving() {
            return Err(AdminRefusal::NotReady);
        }
        if self.is_changing() && !mutants::on(Mutant::ConfigTwoAtOnce) {
            return Err(AdminRefusal::Busy);
        }
        let present = self.membership();
        if base != present.version {
            return Err(AdminRefusal::Stale(present.clone()));
        }
        let mut version = ConfigVersion { term: self.hard_state.term, index: self.log.last_index() + 1 };
        if mutants::on(Mutant::ConfigVersionNumber) {
            version = ConfigVersion { term: 0, index: present.version.index + 1 };
        }
        let membership = changed(present, &change, version)?;
        if matches!(change, ConfigChange::Promote { .. }) && !self.has_caught_up(change.node()) {
            return Err(AdminRefusal::NotCaughtUp);
        }
        tracing::info!(?change, voters = ?membership.voters, "changes the configuration");
        let index = self.propose(Payload::Config { change, membership: Arc::new(membership) }, false, now);
        self.board.await_entry(index, from, nonce);
        self.start_entries();
        Ok(None)
    }

    /// Whether the configuration in force is not applied yet.
    pub(super) fn is_changing(&self) -> bool {
        self.configuration.index > self.applied
    }

    /// Whether one more Append would bring a learner all that is committed: a voter that lags would hold up every commit.
    fn has_caught_up(&self, learner: NodeId) -> bool {
        let Role::Leader(leader) = &self.role else { return false };
        let matched = leader.progress.iter().find(|(peer, _)| *peer == learner).map_or(0, |(_, p)| p.matched);
        matched + self.config.append_entries_max as Index >= self.hard_state.commit
    }

    /// Entries were appended: the last configuration among them is in force.
    pub(super) fn use_appended<'a>(&mut self, entries: impl IntoIterator<Item = &'a Arc<Entry<C>>>) {
        let configs = entries.into_iter().filter_map(|e| Some((e.membership()?.clone(), e.index)));
        if let Some((membership, index)) = configs.last() {
            self.use_config(membership, index, ConfigCause::Appended);
        }
    }

    /// A follower's log changed: what was cut off is undone, unless another configuration took its place at once.
    pub(super) fn use_cut_or_appended(&mut self, truncated: bool, entries: &[Arc<Entry<C>>]) {
        if truncated && !mutants::on(Mutant::ConfigNotRolledBack) && !entries.iter().any(|e| e.membership().is_some()) {
            let (membership, index) = self.latest_config();
            self.use_config(membership, index, ConfigCause::Undone);
        }
        self.use_appended(entries);
    }

    /// A snapshot took the place of the state: `membership` is applied, and in force unless the log beyond has a later one.
    pub(super) fn install_config(&mut self, membership: &Membership) {
        self.configuration.applied = Arc::new(membership.clone());
        self.configuration.applied_index = membership.version.index;
        let (latest, index) = self.latest_config();
        self.use_config(latest, index, ConfigCause::Installed);
    }

    /// The configuration as of an index that is not before the applied one.
    pub(super) fn membership_at(&self, index: Index) -> Membership {
        let unapplied = self.log.after(self.applied, index.saturating_sub(self.applied) as usize);
        let in_log = unapplied.iter().rev().find_map(|e| e.membership());
        (**in_log.unwrap_or(&self.configuration.applied)).clone()
    }

    /// The latest configuration in the log beyond the applied index, or else the applied one.
    fn latest_config(&self) -> (Arc<Membership>, Index) {
        let unapplied = self.log.after(self.applied, usize::MAX).iter().rev();
        let latest = unapplied.filter_map(|e| Some((e.membership()?.clone(), e.index))).next();
        latest.unwrap_or_else(|| (self.configuration.applied.clone(), self.configuration.applied_index))
    }

    fn use_config(&mut self, membership: Arc<Membership>, index: Index, cause: ConfigCause) {
        self.configuration.index = index;
        if self.configuration.in_force == membership {
            return;
        }
        let (term, used) = (self.hard_state.term, (*membership).clone());
        self.out.events.push(Event::UseConfig { term, membership: used, cause });
        self.configuration.in_force = membership;
        self.follow_members(self.log.last_index());
    }

    /// A configuration is applied. A leader that is not in it any more has done its last duty.
    pub(super) fn applied_config(&mut self, membership: &Arc<Membership>, index: Index) {
        self.configuration.applied = membership.clone();
        self.configuration.applied_index = index;
        self.follow_members(self.log.last_index());
        if self.is_leader() && !membership.is_voter(self.id) && !self.is_voter() {
            self.retire();
        }
    }

    /// Makes a leader's progress that of the members: of those in the configuration in force, and, until it is applied, of those in the
    /// one before it, so that a node that leaves learns of it. A newcomer is probed with the entry at `next`.
    pub(super) fn follow_members(&mut self, next: Index) {
        let Role::Leader(leader) = &mut self.role else { return };
        let (present, applied) = (&self.configuration.in_force, &self.configuration.applied);
        leader.progress.retain(|(peer, _)| present.is_member(*peer) || applied.is_member(*peer));
        for member in present.members().chain(applied.members()).filter(|member| *member != self.id) {
            if !leader.progress.iter().any(|(peer, _)| *peer == member) {
                leader.progress.push((member, Progress::new(next)));
            }
        }
        leader.progress.sort_unstable_by_key(|(peer, _)| *peer);
    }

    /// Configuration as of the applied index.
    pub fn applied_membership(&self) -> &Membership {
        &self.configuration.applied
    }

    /// Whether this node votes, by its own configuration.
    pub(super) fn is_voter(&self) -> bool {
        self.membership().is_voter(self.id)
    }

    /// Whether this node may stand for election: it votes, or did before a change that is not committed yet as far as it knows. The
    /// change may be in its log alone; then nobody else can win its vote, nor without it (Raft dissertation §4.2.2).
    pub(super) fn may_campaign(&self) -> bool {
        let pending = self.configuration.index > self.hard_state.commit;
        self.is_voter() || pending && self.config_before(self.configuration.index).is_voter(self.id)
    }

    /// The configuration before the entry at `index`, which is beyond the applied one.
    fn config_before(&self, index: Index) -> &Membership {
        let between = self.log.after(self.applied, (index - 1).saturating_sub(self.applied) as usize);
        between.iter().rev().find_map(|e| e.membership()).unwrap_or(&self.configuration.applied)
    }

    pub(super) fn other_voters(&self) -> Vec<NodeId> {
        self.membership().voters.iter().copied().filter(|voter| *voter != self.id).collect()
    }

    /// The nodes a leader sends its log to.
    pub(super) fn replicated_to(&self) -> Vec<NodeId> {
        let Role::Leader(leader) = &self.role else { return Vec::new() };
        leader.progress.iter().map(|(peer, _)| *peer).collect()
    }
}

/// The configuration after a change, or why there is none. Who has left is forgotten: an id that is used again is not noticed.
fn changed(present: &Membership, change: &ConfigChange, version: ConfigVersion) -> Result<Membership, AdminRefusal> {
    let node = change.node();
    let mut next = Membership { version, ..present.clone() };
    match change {
        ConfigChange::AddLearner { .. } if present.is_member(node) => return Err(AdminRefusal::IdUsed),
        ConfigChange::Promote { .. } if !present.learners.contains(&node) => return Err(AdminRefusal::NoSuchMember),
        ConfigChange::Remove { .. } | ConfigChange::Update { .. } if !present.is_member(node) => return Err(AdminRefusal::NoSuchMember),
        ConfigChange::Remove { .. } if present.voters == [node] => return Err(AdminRefusal::LastVoter),
        ConfigChange::AddLearner { address, .. } => {
            insert(&mut next.learners, node);
            if !address.is_empty() {
                next.addresses.insert(node, address.clone());
            }
        }
        ConfigChange::Promote { .. } => {
            next.learners.retain(|learner| *learner != node);
            insert(&mut next.voters, node);
        }
        ConfigChange::Remove { .. } => {
            next.learners.retain(|learner| *learner != node);
            next.voters.retain(|voter| *voter != node);
            next.addresses.remove(&node);
        }
        ConfigChange::Update { address, .. } => {
            next.addresses.insert(node, address.clone());
        }
    }
    Ok(next)
}

fn insert(nodes: &mut Vec<NodeId>, node: NodeId) {
    nodes.push(node);
    nodes.sort_unstable();
}

/// Whether a configuration has a change already: so an operator who lost the answer finds out what came of the question.
pub fn has_change(membership: &Membership, change: &ConfigChange) -> bool {
    match change {
        ConfigChange::AddLearner { node, .. } => membership.is_member(*node),
        ConfigChange::Promote { node } => membership.is_voter(*node),
        ConfigChange::Remove { node } => !membership.is_member(*node),
        ConfigChange::Update { node, address } => membership.addresses.get(node) == Some(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEXT: ConfigVersion = ConfigVersion { term: 2, index: 9 };

    fn present() -> Membership {
        Membership { learners: vec![5], ..Membership::initial([1, 2, 3]) }
    }

    #[test]
    fn a_change_gives_the_next_configuration_and_is_found_in_it() {
        let address = || "there:1".to_owned();
        for (change, voters, learners) in [
            (ConfigChange::AddLearner { node: 4, address: address() }, vec![1, 2, 3], vec![4, 5]),
            (ConfigChange::Promote { node: 5 }, vec![1, 2, 3, 5], vec![]),
            (ConfigChange::Remove { node: 2 }, vec![1, 3], vec![5]),
            (ConfigChange::Remove { node: 5 }, vec![1, 2, 3], vec![]),
            (ConfigChange::Update { node: 2, address: address() }, vec![1, 2, 3], vec![5]),
        ] {
            let next = changed(&present(), &change, NEXT).expect("a change that can be made");
            assert_eq!((&next.voters, &next.learners, next.version), (&voters, &learners, NEXT), "{change:?}");
            assert!(has_change(&next, &change) && !has_change(&present(), &change), "{change:?}");
        }
    }

    #[test]
    fn a_change_that_makes_no_sense_is_refused() {
        let alone = Membership::initial([1]);
        let address = String::new();
        for (membership, change, why) in [
            (present(), ConfigChange::AddLearner { node: 1, address: address.clone() }, AdminRefusal::IdUsed),
            (present(), ConfigChange::AddLearner { node: 5, address: address.clone() }, AdminRefusal::IdUsed),
            (present(), ConfigChange::Promote { node: 1 }, AdminRefusal::NoSuchMember),
            (present(), ConfigChange::Promote { node: 7 }, AdminRefusal::NoSuchMember),
            (present(), ConfigChange::Remove { node: 7 }, AdminRefusal::NoSuchMember),
            (present(), ConfigChange::Update { node: 7, address }, AdminRefusal::NoSuchMember),
            (alone, ConfigChange::Remove { node: 1 }, AdminRefusal::LastVoter),
        ] {
            assert_eq!(changed(&membership, &change, NEXT), Err(why), "{change:?}");
        }
    }
}
