//! The ghost: what an observer of all events knows of the cluster, which no node knows. The checks read it and never write it.
//!
//! Per node: its log and spec pool in memory, its disk, term, commit, applied, the configuration it says is in force. Over all nodes: the entry
//! that each (index, term) stands for, the committed prefix, every configuration, the leader of each term, what the first node to apply an entry made of
//! it, and what happened to each command.
//!
//! Logs are kept whole, in memory and on disk: what a node compacted or a snapshot brought it is filled in from the committed prefix, so that
//! indexes mean the same everywhere. Nodes may join: a slot is given to an id when it first appears, and kept.
//!
//! Invariant: the ghost follows the events even where they are nonsense (a gap in a log, a commit beyond it); judging is the checks' business.
//! They are asked before and after it takes an event in, so that they can compare.

use std::collections::BTreeMap;
use std::sync::Arc;

use curp::{Applied, ConfigVersion, Event as NodeEvent, Index, LogBase, Membership, NodeId, ProposeId, Synced, Term};
use history::{ClientEvent, Event, Promise, Stamped, TraceHeader, WorldEvent};
use kv::{Request, Response};

use crate::replay::Replay;

pub(super) use super::disk::{DiskChange, Entry, Log, Proposal, at, last};
pub(super) use super::facts::*;
use super::quorum::{Elections, Set};

/// Everything known.
pub(super) struct Ghost {
    pub nodes: Vec<Node>,
    /// Which elections the disks allow.
    pub elections: Elections,
    /// By index - 1, one for each term seen there.
    pub seen: Vec<Vec<Seen>>,
    pub committed: Vec<Committed>,
    /// The committed entries as a log.
    pub prefix: Log,
    /// Every configuration that was ever appended, and the initial one, by the place of its entry.
    pub configs: BTreeMap<ConfigVersion, Configuration>,
    /// The first to become leader of each term, and the event.
    pub leaders: BTreeMap<Term, (NodeId, u64)>,
    /// Hash of the state before any entry, as the first node to start from it told.
    pub empty_hash: Option<u64>,
    /// By index - 1.
    pub applied: Vec<FirstApplied>,
    pub commands: BTreeMap<ProposeId, Command>,
    /// The store after everything applied anywhere.
    pub store: Replay,
    /// Time of the last event.
    pub now: u64,
    /// Found while taking in the event just taken in.
    pub clashes: Vec<Clash>,
    /// What the event just taken in did to a disk.
    pub disk_change: Option<(Slot, DiskChange)>,
    /// Length of the committed prefix before the event just taken in.
    pub committed_before: usize,
}

impl Ghost {
    pub fn new(header: &TraceHeader) -> Ghost {
        let mut ghost = Ghost {
            nodes: Vec::new(),
            elections: Elections::default(),
            seen: Vec::new(),
            committed: Vec::new(),
            prefix: Log::default(),
            configs: BTreeMap::new(),
            leaders: BTreeMap::new(),
            empty_hash: None,
            applied: Vec::new(),
            commands: BTreeMap::new(),
            store: Replay::default(),
            now: 0,
            clashes: Vec::new(),
            disk_change: None,
            committed_before: 0,
        };
        ghost.configuration(ConfigVersion::default(), &Membership::initial(header.voters.iter().copied()));
        for slot in 0..ghost.nodes.len() {
            ghost.electable(slot);
        }
        ghost
    }

    /// The slot of a node; a new one for a node not heard of before.
    pub fn slot(&mut self, id: NodeId) -> Slot {
        self.find(id).unwrap_or_else(|| {
            assert!(self.nodes.len() < Set::BITS as usize, "more than {} nodes in one run", Set::BITS);
            self.nodes.push(Node::new(id));
            self.nodes.len() - 1
        })
    }

    pub fn find(&self, id: NodeId) -> Option<Slot> {
        self.nodes.iter().position(|n| n.id == id)
    }

    /// Ids of the nodes in a set.
    pub fn ids(&self, set: Set) -> impl Iterator<Item = NodeId> {
        super::quorum::slots(set).filter_map(|slot| self.nodes.get(slot)).map(|node| node.id)
    }

    /// The latest configuration in a whole log. (An entry that claims to be one was seen before it is in a log.)
    pub fn latest(&self, log: &Log) -> &Configuration {
        self.config(log.version(log.config()))
    }

    /// The configuration before the latest in a whole log; the same where there is only one.
    pub fn before_latest(&self, log: &Log) -> &Configuration {
        self.config(log.version(log.config_at(log.config().saturating_sub(1))))
    }

    /// The configuration of that version; the initial one where there is none.
    pub fn config(&self, version: ConfigVersion) -> &Configuration {
        self.configs.get(&version).unwrap_or_else(|| &self.configs[&ConfigVersion::default()])
    }

    /// By which configuration a node is to count: the latest in its log. Where its log is a guess, its word must do.
    pub fn config_of(&self, slot: Slot) -> &Configuration {
        let node = &self.nodes[slot];
        if node.guess.is_some() { self.config(node.in_force) } else { self.latest(&node.log) }
    }

    /// The configuration as of an index of the committed prefix.
    pub fn config_at(&self, index: Index) -> &Configuration {
        self.config(self.prefix.version(self.prefix.config_at(index)))
    }

    /// Takes a configuration in, under the place of its entry.
    fn configuration(&mut self, version: ConfigVersion, membership: &Membership) {
        if self.configs.contains_key(&version) {
            return;
        }
        let voters = membership.voters.iter().fold(0, |set, &id| set | 1 << self.slot(id));
        self.configs.insert(version, Configuration { membership: membership.clone(), voters });
    }

    /// What a node's disk says about elections has changed.
    fn electable(&mut self, slot: Slot) {
        let disk = &self.nodes[slot].disk;
        let (last, voters, before) = (disk.last(), self.latest(&disk.log).voters, self.before_latest(&disk.log).voters);
        self.elections.set(slot, last, voters, before);
    }

    /// A command for a sentence.
    pub fn tell(&self, id: ProposeId) -> String {
        super::describe::command(id, self.commands.get(&id).and_then(|c| c.request.as_ref()))
    }

    pub fn command(&self, id: ProposeId) -> Option<&Command> {
        self.commands.get(&id)
    }

    /// Where a log has the command, if it does.
    pub fn place(&self, id: ProposeId, log: &[Arc<Entry>]) -> Option<Index> {
        let places = &self.commands.get(&id)?.places;
        places.iter().filter(|(index, term)| at(log, *index).is_some_and(|e| e.term == *term)).map(|p| p.0).min()
    }

    /// Where the committed prefix has the command, if it does.
    pub fn committed_place(&self, id: ProposeId) -> Option<Index> {
        let places = &self.commands.get(&id)?.places;
        let there = |&&(index, term): &&(Index, Term)| self.committed.get(index as usize - 1).is_some_and(|c| c.entry.term == term);
        places.iter().filter(there).map(|p| p.0).min()
    }

    /// Takes an event in.
    pub fn take(&mut self, stamped: &Stamped) {
        self.clashes.clear();
        self.disk_change = None;
        self.committed_before = self.committed.len();
        self.now = stamped.t;
        let slot = stamped.node.map(|id| self.slot(id));
        match (&stamped.event, slot) {
            (Event::Node(event), Some(slot)) => self.node_event(slot, event, stamped.i),
            (Event::World(event), Some(slot)) => self.world_event(slot, event, stamped.i),
            (Event::Client(event), _) => self.client_event(event, stamped.i),
            _ => {}
        }
    }

    fn node_event(&mut self, slot: Slot, event: &NodeEvent<Request>, i: u64) {
        let node = &mut self.nodes[slot];
        match event {
            NodeEvent::Restart { term, last_index, last_term, pool, base, snapshot, state_hash, membership, .. } => {
                node.in_force = membership.version;
                self.restart(slot, *term, (*last_term, *last_index), pool, *base);
                let from = self.nodes[slot].loaded.take().unwrap_or(*snapshot);
                self.applied_up_to(slot, from);
                if from == 0 {
                    self.empty_hash.get_or_insert(*state_hash);
                }
            }
            NodeEvent::UpdateTerm { term } => node.learn(*term),
            NodeEvent::StepDown { .. } => node.leads = None,
            NodeEvent::Campaign { term } => {
                node.learn(*term);
                node.leads = None;
                node.stood_with = last(&node.log);
            }
            NodeEvent::GrantVote { term, .. } => node.learn(*term),
            NodeEvent::BecomeLeader { term, entries, .. } => {
                node.learn(*term);
                self.leaders.entry(*term).or_insert((node.id, i));
                self.append(slot, entries, i);
                let node = &mut self.nodes[slot];
                node.leads = Some(Reign { term: *term, last_recovered: node.log.len() as Index, open: false });
            }
            NodeEvent::OpenFastPath { .. } => {
                if let Some(reign) = &mut node.leads {
                    reign.open = true;
                }
            }
            NodeEvent::LeaderPropose { entry, fast } => {
                if let Some(proposal) = entry.proposal().filter(|_| *fast) {
                    node.insert(proposal);
                }
                self.append(slot, std::slice::from_ref(entry), i);
            }
            NodeEvent::WitnessRecord { term, proposal, accepted, inserted, .. } => {
                if *inserted {
                    node.insert(proposal);
                }
                if *accepted {
                    let config = if node.guess.is_some() { node.in_force } else { node.log.version(node.log.config()) };
                    let command = self.commands.entry(proposal.id).or_default();
                    command.accepts.push(Accept { slot, term: *term, config });
                    command.request.get_or_insert_with(|| (*proposal.command).clone());
                }
            }
            NodeEvent::AcceptEntries { term, entries, .. } => {
                node.learn(*term);
                self.append(slot, entries, i);
            }
            NodeEvent::AdvanceCommit { term, commit, counted } => {
                node.commit = node.commit.max(*commit);
                if *counted {
                    self.commit(slot, *term, *commit, i);
                }
            }
            NodeEvent::Execute { term, id, index, response } => {
                let reflects = node.applied.min(index.saturating_sub(1));
                let execution = Execution { slot, term: *term, reflects, response: response.clone(), event: i };
                self.commands.entry(*id).or_default().executions.push(execution);
            }
            NodeEvent::Apply { index, id, outcome, state_hash } => self.apply(slot, *index, *id, outcome, *state_hash, i),
            NodeEvent::PoolDrop { id } => {
                node.pool.retain(|p| p.id != *id);
                self.commands.entry(*id).or_default().dropped |= 1 << slot;
            }
            NodeEvent::UseConfig { membership, .. } => node.in_force = membership.version,
            NodeEvent::InstallSnapshot { term, index, last_term, .. } => {
                node.learn(*term);
                if !node.log.has(*index, *last_term) {
                    node.log = self.prefix.up_to(LogBase { index: *index, term: *last_term });
                    node.guess = None;
                }
                node.commit = node.commit.max(*index);
                self.applied_up_to(slot, *index);
            }
            // It stops as a process does: what it wrote stays in the page cache.
            NodeEvent::ShutDown { .. } => {
                node.power_lost = false;
                node.leads = None;
            }
            NodeEvent::SaveState { index } => node.saved = *index,
            NodeEvent::LoadState { index, .. } => node.loaded = Some(*index),
            NodeEvent::TakeSnapshot { .. }
            | NodeEvent::CompactLog { .. }
            | NodeEvent::TransferLeader { .. }
            | NodeEvent::RepeatVote { .. }
            | NodeEvent::Matched { .. }
            | NodeEvent::ReadRequest { .. }
            | NodeEvent::ReadIndex { .. }
            | NodeEvent::ServeRead { .. } => {}
        }
    }

    /// A node starts with a log that ends so, as it says.
    fn restart(&mut self, slot: Slot, term: Term, (last_term, last_index): (Term, Index), pool: &[ProposeId], base: LogBase) {
        for command in self.commands.values_mut() {
            command.applied &= !(1 << slot);
        }
        self.nodes[slot].returned = self.nodes[slot].disk_lost;
        if let Some(change) = self.nodes[slot].disk.start(&self.prefix) {
            self.disk_changed(slot, change);
        }
        let node = &mut self.nodes[slot];
        let before = std::mem::take(&mut node.log);
        node.log.clone_from(&node.disk.log);
        node.guess = (!node.power_lost).then_some(Guess { known_from: last_index + 1 });
        if !node.power_lost && last_index > node.log.len() as Index && before.len() as Index >= last_index {
            // The page cache kept what had been written: most likely a prefix of what was in memory.
            node.log.clone_from(&before);
        }
        if !node.power_lost {
            // The page cache may also have held a cut that was not durable, with or without what then came in place of that, or a snapshot.
            if !node.log.has(last_index, last_term) && before.has(last_index, last_term) {
                node.log.clone_from(&before);
            }
            node.log.truncate(last_index as usize);
            if base.index > 0 && !node.log.has(base.index, base.term) {
                node.log = if before.has(base.index, base.term) { before } else { self.prefix.up_to(base) };
                node.log.truncate(last_index as usize);
            }
        }
        let known = node.disk.pool.iter().chain(&node.pool).filter(|p| pool.contains(&p.id));
        let mut found: Vec<Arc<Proposal>> = Vec::new();
        for proposal in known {
            if found.iter().all(|p| p.id != proposal.id) {
                found.push(Arc::clone(proposal));
            }
        }
        node.pool = found;
        node.term = term;
        node.leads = None;
        (node.commit, node.applied, node.revision) = (0, 0, 1);
    }

    /// A snapshot brought the node's state to an index, whatever it was before.
    fn applied_up_to(&mut self, slot: Slot, index: Index) {
        let from = self.nodes[slot].applied.min(index) as usize;
        for id in self.prefix.iter().take(index as usize).skip(from).filter_map(|e| e.id()) {
            self.commands.entry(id).or_default().applied |= 1 << slot;
        }
        let node = &mut self.nodes[slot];
        node.applied = index;
        node.commit = node.commit.max(index);
        node.revision = index.checked_sub(1).and_then(|i| self.applied.get(i as usize)).map_or(1, |a| a.revision);
    }

    /// Puts entries where they say they belong, cutting what stood there.
    fn append(&mut self, slot: Slot, entries: &[Arc<Entry>], i: u64) {
        for entry in entries {
            let len = self.nodes[slot].log.len() as Index;
            if entry.index == 0 || entry.index > len + 1 {
                continue;
            }
            if let Some(membership) = entry.membership() {
                let version = ConfigVersion { term: entry.term, index: entry.index };
                self.configuration(version, membership);
            }
            let Node { log, guess, .. } = &mut self.nodes[slot];
            if let Some(guess) = guess {
                guess.known_from = guess.known_from.min(entry.index);
            }
            // What stands before the first entry that is known is a guess, and nothing to compare with.
            let guessed = guess.is_some_and(|guess| entry.index > 1 && entry.index == guess.known_from);
            log.truncate(entry.index as usize - 1);
            let prev = log.last().map_or(0, |e| e.term);
            log.push(Arc::clone(entry));
            if !guessed {
                self.register(slot, entry, prev, i);
            }
        }
    }

    /// Compares an entry with what its (index, term) stands for.
    fn register(&mut self, slot: Slot, entry: &Arc<Entry>, prev: Term, i: u64) {
        let at = entry.index as usize - 1;
        if self.seen.len() <= at {
            self.seen.resize_with(at + 1, Vec::new);
        }
        match self.seen[at].iter().find(|s| s.term == entry.term) {
            Some(seen) => {
                let payload = !Arc::ptr_eq(&seen.entry, entry) && seen.entry.payload != entry.payload;
                if payload || seen.prev != prev {
                    let (first, first_event) = (seen.slot, seen.event);
                    self.clashes.push(Clash { slot, index: entry.index, term: entry.term, first, first_event, payload });
                }
            }
            None => {
                self.seen[at].push(Seen { term: entry.term, prev, entry: Arc::clone(entry), slot, event: i });
                if let Some(membership) = entry.membership() {
                    self.configuration(ConfigVersion { term: entry.term, index: entry.index }, membership);
                }
                if let Some(proposal) = entry.proposal() {
                    let command = self.commands.entry(proposal.id).or_default();
                    command.places.push((entry.index, entry.term));
                    command.request.get_or_insert_with(|| (*proposal.command).clone());
                }
            }
        }
    }

    fn commit(&mut self, slot: Slot, by: Term, commit: Index, event: u64) {
        let log = &self.nodes[slot].log;
        let end = log.len().min(commit as usize);
        if let Some(new) = log.get(self.committed.len()..end) {
            self.prefix.extend(new.iter().cloned());
            self.committed.extend(new.iter().map(|entry| Committed { entry: Arc::clone(entry), by, event }));
        }
    }

    fn apply(&mut self, slot: Slot, index: Index, id: Option<ProposeId>, outcome: &Applied<Response>, state_hash: u64, event: u64) {
        let node = &mut self.nodes[slot];
        node.applied = index;
        if let Applied::Done(Synced { revision, .. }) = outcome {
            node.revision = *revision;
        }
        if let Some(id) = id {
            let command = self.commands.entry(id).or_default();
            command.applied |= 1 << slot;
            match outcome {
                Applied::Done(_) => command.done = command.done.or(Some(index)),
                Applied::Refused => command.refused = command.refused.or(Some((index, event))),
                _ => {}
            }
        }
        if index == self.applied.len() as Index + 1 {
            let revision = self.nodes[slot].revision;
            let before = self.store.revision();
            let entry = self.committed.get(index as usize - 1).map(|c| &c.entry).filter(|_| matches!(outcome, Applied::Done(_)));
            let expected = entry.and_then(|entry| {
                let response = self.store.apply_in(Some(entry.term), entry.command()?);
                Some(Synced { revision: self.store.revision(), response })
            });
            let writes = self.store.revision() > before;
            let (outcome, t) = (outcome.clone(), self.now);
            self.applied.push(FirstApplied { outcome, expected, writes, state_hash, revision, slot, t, event });
        }
    }

    fn world_event(&mut self, slot: Slot, event: &WorldEvent, i: u64) {
        let Ghost { nodes, prefix, .. } = self;
        let node = &mut nodes[slot];
        let change = match event {
            WorldEvent::Disk { file, offset, data } => node.disk.change(file, *offset, data.as_slice(), prefix),
            WorldEvent::DiskRemove { file } => node.disk.remove(file, prefix),
            WorldEvent::DiskLost => {
                node.disk_lost = Some(i);
                node.power_lost = true;
                node.leads = None;
                node.saved = 0;
                Some(node.disk.lose())
            }
            WorldEvent::Crash { power, .. } => {
                node.power_lost = *power;
                node.leads = None;
                None
            }
            WorldEvent::Fatal { .. } => {
                node.power_lost = false;
                node.leads = None;
                None
            }
            WorldEvent::Send { promise, .. } => {
                if let Promise::Term { term } | Promise::Vote { term } = promise {
                    node.promised = node.promised.max(*term);
                }
                None
            }
            _ => None,
        };
        if let Some(change) = change {
            self.disk_changed(slot, change);
        }
    }

    fn disk_changed(&mut self, slot: Slot, change: DiskChange) {
        let node = &mut self.nodes[slot];
        if let Some(guess) = node.guess.filter(|g| node.disk.log.len() as Index + 1 >= g.known_from) {
            // What was found is durable by now.
            let (found, known) = (guess.known_from as usize - 1, std::mem::take(&mut node.log));
            node.log.extend(node.disk.log.iter().take(found).cloned());
            node.log.extend(known.iter().skip(found).cloned());
            node.guess = None;
        }
        self.disk_change = Some((slot, change));
        // What stands before the base was never seen on its own, and is what is committed.
        for k in change.log_kept.max(self.nodes[slot].disk.base.index as usize)..self.nodes[slot].disk.log.len() {
            let log = &self.nodes[slot].disk.log;
            let (entry, prev) = (Arc::clone(&log[k]), k.checked_sub(1).map_or(0, |p| log[p].term));
            self.register(slot, &entry, prev, 0);
        }
        self.electable(slot);
    }

    fn client_event(&mut self, event: &ClientEvent, i: u64) {
        match event {
            ClientEvent::Propose { id: Some(id), request, .. } => {
                let command = self.commands.entry(*id).or_default();
                command.proposed.get_or_insert(i);
                command.request.get_or_insert_with(|| request.clone());
            }
            ClientEvent::FastComplete { id, term, response, .. } => {
                let command = self.commands.entry(*id).or_default();
                let executed = command.executions.iter().find(|e| e.term == *term).map(|e| e.reflects);
                // Without an execution (the recovery check says so) the leader's log is the next best guess.
                let guess = command.places.iter().find(|p| p.1 == *term).map_or(0, |p| p.0 - 1);
                let reflects = executed.unwrap_or(guess);
                command.fast.get_or_insert_with(|| Fast { term: *term, response: response.clone(), event: i, reflects });
            }
            ClientEvent::SyncedComplete { id, .. } => {
                self.commands.entry(*id).or_default().synced.get_or_insert(i);
            }
            _ => {}
        }
    }
}
