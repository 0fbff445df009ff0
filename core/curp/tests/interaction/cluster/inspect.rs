//! What a script asks without doing anything: what nodes and clients know.

use std::collections::BTreeSet;
use std::fmt::Write;

use curp::{ConfigVersion, Membership, NodeId, ProposeId, Term};

use super::{Cluster, Executed, Told};
use crate::show;

impl Cluster {
    /// What the client of a command has been told.
    pub fn told(&mut self, id: ProposeId) -> &Told {
        self.told.entry(id).or_default()
    }

    /// Whether a leader has given an early result, or a voter has accepted a Record.
    pub fn is_answered_early(&self, id: ProposeId) -> bool {
        self.told.get(&id).is_some_and(|told| !told.executed.is_empty() || !told.accepted.is_empty())
    }

    /// The voters in whose pools a command is, as far as its client can count: the leader's early result and the accepts of distinct
    /// voters, of one term and configuration.
    fn counted(told: &Told, executed: &Executed, membership: &Membership) -> BTreeSet<NodeId> {
        let same = |(_, term, config): &&(NodeId, Term, ConfigVersion)| (term, config) == (&executed.term, &executed.config);
        told.accepted
            .iter()
            .filter(same)
            .map(|(node, ..)| *node)
            .chain([executed.leader])
            .filter(|node| membership.witnesses().any(|witness| witness == *node))
            .collect()
    }

    /// The nodes counted for an early result, and how many they must be.
    fn count(&self, id: ProposeId, executed: &Executed) -> (BTreeSet<NodeId>, usize) {
        let membership = &self.configs[&executed.config];
        let nodes = self.told.get(&id).map_or_else(BTreeSet::new, |told| Self::counted(told, executed, membership));
        (nodes, curp::quorum::super_quorum(membership.voters.len()))
    }

    /// The result of a command's fast round, if that is complete.
    pub fn fast(&mut self, id: ProposeId) -> Option<Option<u64>> {
        let complete = |executed: &&Executed| {
            let (nodes, enough) = self.count(id, executed);
            nodes.len() >= enough
        };
        self.told.get(&id)?.executed.iter().find(complete).map(|executed| executed.response)
    }

    /// Counts what a client has been told, as clients do.
    pub fn client(&mut self, id: ProposeId) {
        self.told(id);
        let told = &self.told[&id];
        let mut lines = Vec::new();
        for executed in &told.executed {
            let (nodes, enough) = self.count(id, executed);
            let (term, leader) = (executed.term, executed.leader);
            let verdict = if nodes.len() >= enough { "the fast round is complete" } else { "not complete" };
            lines.push(format!(
                "term {term}: ER of {leader}, in the pools of {}: {} of {enough}, {verdict}",
                show::list(&nodes),
                nodes.len()
            ));
        }
        if told.executed.is_empty() {
            lines.push("no ER".to_owned());
        }
        lines.push(if told.synced.is_some() { "the synced result has come".to_owned() } else { "no synced result yet".to_owned() });
        lines.dedup();
        for line in lines {
            say!(self, "client of {id}: {line}");
        }
    }

    /// One line for each node.
    pub fn status(&mut self) {
        let mut lines = Vec::new();
        for (id, node) in &self.nodes {
            let Some(life) = &node.life else {
                lines.push(format!("{id} is down"));
                continue;
            };
            let raw = &life.raw;
            let leadership = raw.leadership();
            let role = match leadership.leader {
                Some(leader) if leader == *id => if raw.is_open() { "leads, open" } else { "leads, not open yet" }.to_owned(),
                Some(leader) => format!("follows {leader}"),
                None => "knows no leader".to_owned(),
            };
            let (last, commit, applied) = (raw.last_index(), raw.commit(), raw.applied());
            let last_term = raw.log_term(last).unwrap_or(0);
            let pool = show::list(raw.pool_ids());
            let term = leadership.term;
            lines.push(format!(
                "{id} term {term}, {role}; log ends at {last}@{last_term}, commit {commit}, applied {applied}; pool: {pool}"
            ));
        }
        lines.into_iter().for_each(|line| say!(self, "{line}"));
    }

    /// A node's log, or its pool, as its records have it.
    pub fn show_records(&mut self, id: NodeId, pool: bool) -> Result<(), String> {
        let disk = &self.node(id)?.disk;
        let (all, durable) = (disk.folded(disk.records.len()), disk.folded(disk.synced));
        let mark = |durable: bool| if durable { "" } else { "; not durable yet" };
        let lines: Vec<String> = if pool {
            all.pool.iter().map(|p| format!("{}{}", show::proposal(p), mark(durable.pool.contains(p)))).collect()
        } else {
            all.log.iter().map(|e| format!("{}{}", show::entry(e), mark(durable.log.contains(e)))).collect()
        };
        if !pool && all.base.index > 0 {
            let (base, snapshot) = (all.base, all.snapshot.map_or(0, |meta| meta.index));
            say!(self, "{id} begins after {}@{}, snapshot {snapshot}", base.index, base.term);
        }
        if lines.is_empty() {
            say!(self, "{id} nothing");
        }
        lines.into_iter().for_each(|line| say!(self, "{id} {line}"));
        Ok(())
    }
}
