//! Fields that can be altered so that the specification must see it: for each event the fields that its step carries.
//!
//! Left out are fields that no step carries, which the checkers of sim/check judge: results and revisions (`response`, `synced`), hashes
//! (`state_hash`), nonces, an entry's content apart from its command's id; and a read's and an operation's own numbers, which only name.

mod members;

use curp::{Applied, Entry, Event as NodeEvent, Membership, NodeId, Payload, ProposeId};
use history::{ClientEvent, Event, WorldEvent};
use kv::{LeaseRevokeRequest, Request, Response};
use std::sync::Arc;

use super::leases;
use super::view::{Node, View};
use super::visible::dropped;
use super::{Candidate, Change};

/// Further than any index of the trace.
const FAR: u64 = 1000;
/// Further than the next term. The specification has a table of all terms, so not much further.
const TERMS_FAR: u64 = 4;
/// Number of a command that nobody proposes.
const UNKNOWN_SEQ: u64 = 999;
/// Further than any log goes.
const BEYOND: u64 = 100_000;

struct Alterations<'v, 't> {
    view: &'v View<'t>,
    at: usize,
    node: Option<NodeId>,
    out: Vec<Candidate>,
}

/// Every alteration of the event at a position.
pub(super) fn alterations(view: &View<'_>, at: usize) -> Vec<Candidate> {
    if matches!(view.events[at].event, Event::Lease(_) | Event::Client(ClientEvent::SendKeepAlive { .. })) {
        return leases::alterations(view, at);
    }
    let mut all = Alterations { view, at, node: view.events[at].node, out: Vec::new() };
    match &view.events[at].event {
        Event::Client(event) => all.client(event),
        Event::World(event) => all.world(event),
        Event::Node(event) => all.node(event),
        Event::Lease(_) => {}
    }
    all.out
}

impl Alterations<'_, '_> {
    fn push(&mut self, label: &'static str, event: Event, node: Option<NodeId>) {
        self.out.push(Candidate { at: self.at, label, change: Change::Alter(Box::new(event), node) });
    }

    /// The client's event, changed by `change`.
    fn client_with(&mut self, label: &'static str, event: &ClientEvent, change: impl FnOnce(&mut ClientEvent)) {
        let mut event = event.clone();
        change(&mut event);
        self.push(label, Event::Client(event), None);
    }

    /// The node's event, changed by `change`.
    fn with(&mut self, label: &'static str, event: &Node, change: impl FnOnce(&mut Node)) {
        let mut event = event.clone();
        change(&mut event);
        self.push(label, Event::Node(event), self.node);
    }

    /// The event's own term one later, if it has one.
    fn later_term(&mut self, label: &'static str, event: &Node) {
        self.with(label, event, |event| _ = term_of(event).map(|term| *term += 1));
    }

    fn client(&mut self, event: &ClientEvent) {
        match event {
            ClientEvent::Propose { id: Some(_), first_incomplete: Some(_), .. } => {
                self.client_with("Propose.first_incomplete", event, |e| {
                    if let ClientEvent::Propose { first_incomplete: Some(fi), .. } = e {
                        *fi += 1;
                    }
                });
            }
            ClientEvent::FastComplete { id, term, nodes, .. } => self.fast_complete(event, *id, *term, nodes),
            ClientEvent::SyncedComplete { .. } => {
                // Nobody proposed it, so nobody has its result.
                self.client_with("SyncedComplete.id", event, |e| {
                    if let ClientEvent::SyncedComplete { id, .. } = e {
                        id.seq = UNKNOWN_SEQ;
                    }
                });
            }
            _ => {}
        }
    }

    fn fast_complete(&mut self, event: &ClientEvent, command: ProposeId, in_term: u64, nodes: &[NodeId]) {
        let executed_next =
            |(_, _, e): (usize, NodeId, &Node)| matches!(e, NodeEvent::Execute { id, term, .. } if *id == command && *term == in_term + 1);
        if !self.view.earlier(self.at).any(executed_next) {
            self.client_with("FastComplete.term", event, |e| {
                if let ClientEvent::FastComplete { term, .. } = e {
                    *term += 1;
                }
            });
        }
        self.client_with("FastComplete.config", event, |e| {
            if let ClientEvent::FastComplete { config, .. } = e {
                config.index += 1;
            }
        });
        // One fewer is a super quorum still, if there was one too many.
        let in_config = |e: &ClientEvent| {
            matches!(e, ClientEvent::FastComplete { config, .. } if self.view.voters(*config).is_some_and(|n| {
                let quorum = n / 2 + 1;
                nodes.len() == n - quorum + quorum / 2 + 1
            }))
        };
        if in_config(event) {
            self.client_with("FastComplete.nodes", event, |e| {
                if let ClientEvent::FastComplete { nodes, .. } = e {
                    nodes.pop();
                }
            });
        }
    }

    fn world(&mut self, event: &WorldEvent) {
        match event {
            WorldEvent::Disk { file, offset, data } if dropped(self.view, self.at) => {
                let mut torn = data.as_slice().to_vec();
                // A zero at the end, of a frame's padding, is there all the same once the file goes on after it.
                while torn.pop() == Some(0) {}
                let event = WorldEvent::Disk { file: file.clone(), offset: *offset, data: torn.into() };
                self.push("Persist.data", Event::World(event), self.node);
            }
            // The node that crashed is then up when it restarts.
            WorldEvent::Crash { .. } if dropped(self.view, self.at) => {
                let other = self.node.and_then(|node| self.view.other_node(node));
                if other.is_some() {
                    self.push("Crash.node", Event::World(event.clone()), other);
                }
            }
            _ => {}
        }
    }

    fn node(&mut self, event: &Node) {
        match event {
            NodeEvent::UseConfig { .. } | NodeEvent::TransferLeader { .. } | NodeEvent::ShutDown { .. } => self.membership(event),
            NodeEvent::TakeSnapshot { .. } | NodeEvent::CompactLog { .. } | NodeEvent::InstallSnapshot { .. } => self.snapshot(event),
            NodeEvent::Restart { .. } => self.restart(event),
            NodeEvent::UpdateTerm { term } => {
                // Nobody stands for election in that term.
                if !self.view.campaigns(None, term + 1) {
                    self.later_term("UpdateTerm.term", event);
                }
            }
            NodeEvent::StepDown { .. } => self.later_term("StepDown.term", event),
            NodeEvent::Campaign { .. } => self.later_term("Campaign.term", event),
            NodeEvent::OpenFastPath { .. } => {
                self.later_term("OpenFastPath.term", event);
                let other = self.node.and_then(|node| self.view.other_node(node));
                self.push("OpenFastPath.node", Event::Node(event.clone()), other);
            }
            NodeEvent::GrantVote { .. } => self.vote(event, ["GrantVote.term", "GrantVote.candidate", "GrantVote.pool"]),
            NodeEvent::RepeatVote { .. } => self.vote(event, ["RepeatVote.term", "RepeatVote.candidate", "RepeatVote.pool"]),
            NodeEvent::BecomeLeader { .. } => self.become_leader(event),
            NodeEvent::LeaderPropose { entry, fast } => self.leader_propose(entry, *fast),
            NodeEvent::WitnessRecord { accepted: true, .. } => self.witness_record(event),
            // One that is refused is no step.
            NodeEvent::WitnessRecord { accepted: false, .. } => {}
            NodeEvent::AcceptEntries { entries, .. } if !entries.is_empty() => self.accept_entries(event),
            NodeEvent::AcceptEntries { .. } => {}
            NodeEvent::Matched { .. } => {
                self.later_term("Matched.term", event);
                self.with("Matched.index", event, |e| set_index(e, |index| index + FAR));
                let own = self.node;
                self.with("Matched.peer", event, |e| {
                    if let (NodeEvent::Matched { peer, .. }, Some(own)) = (e, own) {
                        *peer = own;
                    }
                });
            }
            NodeEvent::AdvanceCommit { counted, .. } => self.commit(event, *counted),
            NodeEvent::Execute { .. } => {
                self.later_term("Execute.term", event);
                self.with("Execute.index", event, |e| set_index(e, |index| index + 1));
                self.with("Execute.id", event, |e| {
                    if let NodeEvent::Execute { id, .. } = e {
                        id.seq = UNKNOWN_SEQ;
                    }
                });
            }
            NodeEvent::Apply { .. } => self.apply(event),
            NodeEvent::PoolDrop { .. } => self.with("PoolDrop.id", event, |e| {
                if let NodeEvent::PoolDrop { id } = e {
                    id.seq = UNKNOWN_SEQ;
                }
            }),
            NodeEvent::ReadRequest { .. } | NodeEvent::ReadIndex { .. } | NodeEvent::ServeRead { .. } => self.read(event),
            // Nothing is in a store that was not applied.
            NodeEvent::SaveState { .. } => self.beyond("SaveState.index", event),
            NodeEvent::LoadState { .. } => self.beyond("LoadState.index", event),
        }
    }

    /// A store's index, where no log is.
    fn beyond(&mut self, label: &'static str, event: &Node) {
        self.with(label, event, |e| {
            if let NodeEvent::SaveState { index } | NodeEvent::LoadState { index, .. } = e {
                *index += BEYOND;
            }
        });
    }

    fn vote(&mut self, event: &Node, [of_term, of_candidate, of_pool]: [&'static str; 3]) {
        self.later_term(of_term, event);
        // Nobody asks itself for its vote.
        let own = self.node;
        self.with(of_candidate, event, |e| {
            if let (NodeEvent::GrantVote { candidate, .. } | NodeEvent::RepeatVote { candidate, .. }, Some(own)) = (e, own) {
                *candidate = own;
            }
        });
        let unknown = self.unknown_command();
        self.with(of_pool, event, |e| {
            if let NodeEvent::GrantVote { pool, .. } | NodeEvent::RepeatVote { pool, .. } = e
                && pool.pop().is_none()
            {
                pool.extend(unknown);
            }
        });
    }

    fn become_leader(&mut self, event: &Node) {
        self.later_term("BecomeLeader.term", event);
        let Some(own) = self.node else { return };
        let fewer = |e: &mut Node| {
            if let NodeEvent::BecomeLeader { quorum, .. } = e {
                let other = quorum.iter().rposition(|member| *member != own);
                other.map(|place| quorum.remove(place));
            }
        };
        self.with("BecomeLeader.quorum", event, fewer);
        self.with("BecomeLeader.entries: the no-op", event, |e| {
            if let NodeEvent::BecomeLeader { entries, .. } = e {
                entries.remove(0);
            }
        });
        if matches!(event, NodeEvent::BecomeLeader { entries, .. } if entries.len() > 1) {
            self.with("BecomeLeader.entries: a recovered one", event, |e| {
                if let NodeEvent::BecomeLeader { entries, .. } = e {
                    entries.pop();
                }
            });
        }
    }

    fn leader_propose(&mut self, entry: &Arc<Entry<Request>>, fast: bool) {
        let with_entry = |change: &dyn Fn(&mut Entry<Request>)| {
            let mut entry = (**entry).clone();
            change(&mut entry);
            Node::LeaderPropose { entry: Arc::new(entry), fast }
        };
        let (of_term, of_index) = match &entry.payload {
            Payload::Command(_) | Payload::Noop => ("LeaderPropose.term", "LeaderPropose.index"),
            Payload::SessionBegin { .. } => ("SessionBegin.term", "SessionBegin.index"),
            Payload::SessionEnd { .. } => ("SessionEnd.term", "SessionEnd.index"),
            Payload::Config { .. } => ("AppendConfig.term", "AppendConfig.index"),
            Payload::Shutdown => ("AppendShutdown.term", "AppendShutdown.index"),
            Payload::Own { .. } => ("AppendOwn.term", "AppendOwn.index"),
        };
        self.push(of_term, Event::Node(with_entry(&|e| e.term += 1)), self.node);
        self.push(of_index, Event::Node(with_entry(&|e| e.index += 1)), self.node);
        match &entry.payload {
            Payload::Command(proposal) => {
                let id = proposal.id;
                let mut altered = (**proposal).clone();
                altered.first_incomplete += 1;
                let altered = Arc::new(altered);
                let event = with_entry(&|e| e.payload = Payload::Command(Arc::clone(&altered)));
                self.push("LeaderPropose.first_incomplete", Event::Node(event), self.node);
                // "Conflict" may always be answered; but what was not taken as fast is not executed.
                let executed = self.node.is_some_and(|n| {
                    self.view.life(self.at, n).any(|(_, _, e)| matches!(e, NodeEvent::Execute { id: done, .. } if *done == id))
                });
                if fast && executed {
                    let event = Node::LeaderPropose { entry: Arc::clone(entry), fast: false };
                    self.push("LeaderPropose.fast", Event::Node(event), self.node);
                }
            }
            Payload::SessionEnd { .. } => {
                let event = with_entry(&|e| e.payload = Payload::SessionEnd { client: FAR });
                self.push("SessionEnd.client", Event::Node(event), self.node);
            }
            Payload::Config { change, membership } => {
                // Nobody may be left, and one change is not two.
                let none = Membership { voters: Vec::new(), ..(**membership).clone() };
                let mut two = (**membership).clone();
                two.learners.extend([FAR as NodeId, FAR as NodeId + 1]);
                let mut another = (**membership).clone();
                another.version.index += 1;
                for (label, membership) in
                    [("AppendConfig.voters", none), ("AppendConfig.learners", two), ("AppendConfig.version", another)]
                {
                    let membership = Arc::new(membership);
                    let event =
                        with_entry(&|e| e.payload = Payload::Config { change: change.clone(), membership: Arc::clone(&membership) });
                    self.push(label, Event::Node(event), self.node);
                }
            }
            // What it does is for the specification of its lease.
            Payload::Own { command } => {
                if let Request::LeaseRevoke(revoke) = &**command {
                    let revoke = LeaseRevokeRequest { stamp: revoke.stamp.map(|stamp| stamp + 1), ..revoke.clone() };
                    let command = Arc::new(Request::LeaseRevoke(revoke));
                    let event = with_entry(&|e| e.payload = Payload::Own { command: Arc::clone(&command) });
                    self.push("AppendOwn.stamp", Event::Node(event), self.node);
                }
            }
            Payload::Noop | Payload::SessionBegin { .. } | Payload::Shutdown => {}
        }
    }

    fn witness_record(&mut self, event: &Node) {
        self.later_term("WitnessRecord.term", event);
        self.with("WitnessRecord.asked", event, |e| {
            if let NodeEvent::WitnessRecord { asked, .. } = e {
                *asked += 1;
            }
        });
        self.with("WitnessRecord.config", event, |e| {
            if let NodeEvent::WitnessRecord { config, .. } = e {
                config.index += 1;
            }
        });
        self.with("WitnessRecord.inserted", event, |e| {
            if let NodeEvent::WitnessRecord { inserted, .. } = e {
                *inserted = !*inserted;
            }
        });
        self.with("WitnessRecord.first_incomplete", event, |e| {
            if let NodeEvent::WitnessRecord { proposal, .. } = e {
                let mut altered = (**proposal).clone();
                altered.first_incomplete += 1;
                *proposal = Arc::new(altered);
            }
        });
    }

    fn accept_entries(&mut self, event: &Node) {
        self.later_term("AcceptEntries.term", event);
        let own = self.node;
        self.with("AcceptEntries.from", event, |e| {
            if let (NodeEvent::AcceptEntries { from, .. }, Some(own)) = (e, own) {
                *from = own;
            }
        });
        self.with("AcceptEntries.truncated", event, |e| {
            if let NodeEvent::AcceptEntries { truncated, .. } = e {
                *truncated = !*truncated;
            }
        });
        let first = |e: &mut Node, change: &dyn Fn(&mut Entry<Request>)| {
            if let NodeEvent::AcceptEntries { entries, .. } = e {
                let mut entry = (*entries[0]).clone();
                change(&mut entry);
                entries[0] = Arc::new(entry);
            }
        };
        self.with("AcceptEntries.entries: term", event, |e| first(e, &|entry| entry.term += 1));
        self.with("AcceptEntries.entries: index", event, |e| first(e, &|entry| entry.index += 1));
        let is_command = matches!(event, NodeEvent::AcceptEntries { entries, .. } if entries[0].id().is_some());
        if is_command {
            self.with("AcceptEntries.entries: content", event, |e| first(e, &|entry| entry.payload = Payload::Noop));
        }
        let is_config = matches!(event, NodeEvent::AcceptEntries { entries, .. } if entries[0].membership().is_some());
        if is_config {
            let fewer = |entry: &mut Entry<Request>| {
                if let Payload::Config { membership, .. } = &mut entry.payload {
                    let mut fewer = (**membership).clone();
                    fewer.voters.pop();
                    *membership = Arc::new(fewer);
                }
            };
            self.with("AcceptEntries.entries: voters", event, |e| first(e, &fewer));
        }
    }

    fn commit(&mut self, event: &Node, counted: bool) {
        let [of_term, of_commit, of_counted] = if counted {
            ["AdvanceCommit.term", "AdvanceCommit.commit", "AdvanceCommit.counted"]
        } else {
            ["FollowCommit.term", "FollowCommit.commit", "FollowCommit.counted"]
        };
        self.later_term(of_term, event);
        self.with(of_commit, event, |e| {
            if let NodeEvent::AdvanceCommit { commit, .. } = e {
                *commit += FAR;
            }
        });
        self.with(of_counted, event, |e| {
            if let NodeEvent::AdvanceCommit { counted, .. } = e {
                *counted = !*counted;
            }
        });
    }

    fn apply(&mut self, event: &Node) {
        self.with("Apply.index", event, |e| set_index(e, |index| index + 1));
        self.with("Apply.outcome", event, |e| {
            if let NodeEvent::Apply { outcome, .. } = e {
                *outcome = another(outcome);
            }
        });
        if matches!(event, NodeEvent::Apply { id: Some(_), .. }) {
            self.with("Apply.id", event, |e| {
                if let NodeEvent::Apply { id: Some(id), .. } = e {
                    id.seq = UNKNOWN_SEQ;
                }
            });
        }
    }

    fn read(&mut self, event: &Node) {
        match event {
            NodeEvent::ReadRequest { .. } => {
                self.later_term("ReadRequest.term", event);
                self.with("ReadRequest.index", event, |e| set_index(e, |index| index + 1));
                if dropped(self.view, self.at) {
                    self.with("ReadRequest.round", event, |e| {
                        if let NodeEvent::ReadRequest { round, .. } = e {
                            *round += FAR;
                        }
                    });
                }
            }
            NodeEvent::ReadIndex { .. } => {
                self.later_term("ReadIndex.term", event);
                self.with("ReadIndex.round", event, |e| {
                    if let NodeEvent::ReadIndex { round, .. } = e {
                        *round += FAR;
                    }
                });
                let Some(own) = self.node.filter(|_| self.view.nodes.len() > 1) else { return };
                self.with("ReadIndex.quorum", event, |e| {
                    if let NodeEvent::ReadIndex { quorum, .. } = e {
                        *quorum = vec![own];
                    }
                });
            }
            NodeEvent::ServeRead { .. } => {
                self.with("ServeRead.read_index", event, |e| {
                    if let NodeEvent::ServeRead { read_index, .. } = e {
                        *read_index += FAR;
                    }
                });
                self.with("ServeRead.applied", event, |e| {
                    if let NodeEvent::ServeRead { applied, .. } = e {
                        *applied += 1;
                    }
                });
            }
            _ => {}
        }
    }

    /// An id of a known session that nobody proposed.
    fn unknown_command(&self) -> Option<ProposeId> {
        let client = self.view.ids.first().map_or(1, |id| id.client);
        Some(ProposeId { client, seq: UNKNOWN_SEQ })
    }
}

fn term_of(event: &mut Node) -> Option<&mut u64> {
    match event {
        NodeEvent::Restart { term, .. }
        | NodeEvent::UpdateTerm { term }
        | NodeEvent::StepDown { term }
        | NodeEvent::Campaign { term }
        | NodeEvent::GrantVote { term, .. }
        | NodeEvent::RepeatVote { term, .. }
        | NodeEvent::BecomeLeader { term, .. }
        | NodeEvent::OpenFastPath { term }
        | NodeEvent::WitnessRecord { term, .. }
        | NodeEvent::AcceptEntries { term, .. }
        | NodeEvent::Matched { term, .. }
        | NodeEvent::AdvanceCommit { term, .. }
        | NodeEvent::Execute { term, .. }
        | NodeEvent::ReadRequest { term, .. }
        | NodeEvent::ReadIndex { term, .. }
        | NodeEvent::UseConfig { term, .. }
        | NodeEvent::TakeSnapshot { term, .. }
        | NodeEvent::InstallSnapshot { term, .. }
        | NodeEvent::TransferLeader { term, .. } => Some(term),
        NodeEvent::CompactLog { .. } | NodeEvent::ShutDown { .. } => None,
        NodeEvent::SaveState { .. } | NodeEvent::LoadState { .. } => None,
        NodeEvent::LeaderPropose { .. } | NodeEvent::Apply { .. } | NodeEvent::PoolDrop { .. } | NodeEvent::ServeRead { .. } => None,
    }
}

fn set_index(event: &mut Node, change: impl FnOnce(u64) -> u64) {
    if let NodeEvent::Matched { index, .. }
    | NodeEvent::Execute { index, .. }
    | NodeEvent::Apply { index, .. }
    | NodeEvent::TakeSnapshot { index, .. }
    | NodeEvent::InstallSnapshot { index, .. }
    | NodeEvent::ShutDown { index }
    | NodeEvent::ReadRequest { index, .. } = event
    {
        *index = change(*index);
    }
}

/// Another outcome than this: none of them can be another's.
fn another(outcome: &Applied<Response>) -> Applied<Response> {
    match outcome {
        Applied::Nothing | Applied::SessionBegun | Applied::SessionEnded | Applied::Refused | Applied::Configured | Applied::ShutDown => {
            Applied::Duplicate
        }
        Applied::Done(_) | Applied::Duplicate => Applied::Refused,
    }
}
