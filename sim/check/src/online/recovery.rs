//! Recovery, what happened: a command that completed on the fast path is in every later leader's log when it takes office and when it opens,
//! where its client's result stays true; and the steps that make it so were taken by the published numbers.
//!
//! The steps: a fast round is a super quorum of accepts in the leader's term; pools commute, survive restarts, lose only applied commands, and go
//! with each vote whole; a leader recovers what `recover(n)` pools of exactly a quorum hold, and opens only after applying that.
//! What could have happened is in `recoverable`.

use crate::conflict::conflict;
use curp::{Applied, ConfigVersion, Event as NodeEvent, NodeId, Payload, ProposeId, Term};
use history::{ClientEvent, Event, Stamped};
use kv::{KeyValue, Response};
use std::collections::BTreeMap;

use super::describe;
use super::ghost::{Ghost, Proposal, Slot};
use super::recoverable::{Outstanding, evidence};
use super::report::{At, Check, Report};

pub(super) const LEADER_HAS_IT: &str = "every later leader has every completed command";
pub(super) const LEADER_KEEPS_ORDER: &str = "in every later leader's log a completed command comes after exactly what its result reflected";
pub(super) const RESULT_STANDS: &str = "the final result of a completed command is the one its client was told";
pub(super) const LEADERS_RESULT: &str = "the result of a fast round is the one the leader of its term computed";
pub(super) const SUPER_QUORUM: &str = "a fast round completes with a super quorum";
pub(super) const ACCEPTED_IN_TERM: &str = "every accept of a fast round was given in the leader's term";
pub(super) const ACCEPTED_IN_CONFIG: &str = "every accept of a fast round was given by a voter that went by the round's configuration";
pub(super) const CONFIG_EXISTS: &str = "a fast round counts by a configuration that is in a log, named by its place";
pub(super) const SLOW_WHILE_CHANGING: &str = "nothing is fast while a change of the configuration, or the shutdown, is not applied";
pub(super) const NEVER_AGAIN: &str = "a node that lost its disk, with its spec pool, never witnesses again under its id";
pub(super) const POOL_COMMUTES: &str = "the commands of a spec pool commute";
pub(super) const POOL_SURVIVES: &str = "a restarted node has the spec pool that is on its disk";
pub(super) const POOL_KEEPS: &str = "a command leaves a spec pool only once it is applied there";
pub(super) const VOTE_CARRIES_POOL: &str = "a vote carries the voter's whole spec pool";
pub(super) const EXACT_QUORUM: &str = "a new leader counts the pools of exactly a quorum of its voters, its own among them if it is one";
pub(super) const NOOP_FIRST: &str = "a leader begins with a no-op and recovered commands";
pub(super) const RECOVERED_COMMUTE: &str = "the recovered commands commute";
pub(super) const RECOVERS_ENOUGH: &str = "a command in recover(n) pools of the quorum is recovered";
pub(super) const RECOVERS_ONLY: &str = "only a command in recover(n) pools of the quorum is recovered";
pub(super) const OPENS_LATE: &str = "the fast path opens only when the no-op and every recovered command are applied";

const CHECK: Check = Check::Recovery;

/// Pools as votes carried them: by term and voter. A voter that forgot an unsent vote may have two.
#[derive(Default)]
pub(super) struct Recovery {
    votes: BTreeMap<(Term, Slot), Vec<Carried>>,
}

/// The pool that went with a vote.
struct Carried {
    candidate: NodeId,
    pool: Vec<ProposeId>,
}

impl Recovery {
    /// Before the ghost takes the event in.
    pub fn before(&mut self, g: &Ghost, stamped: &Stamped, at: At, r: &mut Report) {
        let Event::Node(event) = &stamped.event else { return };
        let Some(slot) = at.node.and_then(|id| g.find(id)) else { return };
        let node = &g.nodes[slot];
        match event {
            NodeEvent::Restart { pool, .. } => {
                let dropped = |id| g.command(id).is_some_and(|c| c.dropped >> slot & 1 == 1);
                // After a process kill the page cache may hold the removal of a command that the durable bytes do not.
                let lost = node.disk.pool.iter().find(|p| !pool.contains(&p.id) && (node.power_lost || !dropped(p.id)));
                r.expect(CHECK, POOL_SURVIVES, at, lost.is_none() || node.disk.corrupt.is_some(), || {
                    let id = lost.map(|p| p.id).expect("judged above");
                    let message = format!(
                        "node {} restarted without {} in its spec pool, though it is there on its disk: it forgot a promise",
                        node.id,
                        g.tell(id)
                    );
                    (message, evidence(g, id))
                });
            }
            NodeEvent::WitnessRecord { proposal, accepted, inserted, .. } => {
                if *inserted {
                    pool_commutes(g, slot, proposal, at, r);
                }
                let lost = node.returned.filter(|_| *accepted);
                r.expect(CHECK, NEVER_AGAIN, at, lost.is_none(), || {
                    let message = format!(
                        "node {} accepted the Record of {} although it had lost its spec pool with its disk",
                        node.id,
                        g.tell(proposal.id)
                    );
                    (message, lost.into_iter().collect())
                });
            }
            NodeEvent::LeaderPropose { entry, fast: true } => {
                let open = node.leads.is_some_and(|reign| reign.open);
                r.expect(CHECK, OPENS_LATE, at, open, || {
                    (
                        format!("node {} took a proposal on the fast path in term {} before it had opened it", node.id, entry.term),
                        Vec::new(),
                    )
                });
                // The shutdown is the last entry of its term, so it is enough to look there.
                let stops = node.log.last().filter(|e| matches!(e.payload, Payload::Shutdown)).map_or(0, |e| e.index);
                let change = node.log.config().max(stops);
                r.expect(CHECK, SLOW_WHILE_CHANGING, at, change <= node.applied, || {
                    let message = format!(
                        "node {} took a proposal on the fast path with entry {change}, which conflicts with everything, in its log and only {} applied",
                        node.id, node.applied
                    );
                    (message, Vec::new())
                });
                if let Some(proposal) = entry.proposal() {
                    pool_commutes(g, slot, proposal, at, r);
                }
            }
            NodeEvent::PoolDrop { id } => r.expect(CHECK, POOL_KEEPS, at, may_drop(g, slot, *id), || {
                let message = format!("node {} dropped {} from its spec pool before it had applied it", node.id, g.tell(*id));
                (message, evidence(g, *id))
            }),
            NodeEvent::Campaign { term } => self.voted(*term, slot, node.id, node.pool.iter().map(|p| p.id).collect()),
            NodeEvent::GrantVote { term, candidate, pool } => {
                let kept_back = node.pool.iter().find(|p| !pool.contains(&p.id));
                r.expect(CHECK, VOTE_CARRIES_POOL, at, kept_back.is_none(), || {
                    let id = kept_back.map(|p| p.id).expect("judged above");
                    let message =
                        format!("node {} voted for node {candidate} in term {term} and kept back {} of its spec pool", node.id, g.tell(id));
                    (message, evidence(g, id))
                });
                self.voted(*term, slot, *candidate, pool.clone());
            }
            NodeEvent::BecomeLeader { term, quorum, entries } => {
                exact_quorum(g, slot, *term, quorum, at, r);
                let noop = entries.first().is_some_and(|e| matches!(e.payload, Payload::Noop));
                r.expect(CHECK, NOOP_FIRST, at, noop && entries[1..].iter().all(|e| e.id().is_some()), || {
                    (format!("node {} began term {term} with something else than a no-op and recovered commands", node.id), Vec::new())
                });
                let recovered: Vec<_> = entries.iter().filter_map(|e| e.proposal().map(|p| &**p)).collect();
                recovered_commute(g, slot, *term, &recovered, at, r);
                self.recovered_by_the_numbers(g, slot, *term, quorum, &recovered, at, r);
            }
            NodeEvent::OpenFastPath { term } => {
                let last = node.leads.filter(|reign| reign.term == *term).map(|reign| reign.last_recovered);
                r.expect(CHECK, OPENS_LATE, at, last.is_some_and(|last| node.applied >= last), || {
                    let what = last.map_or_else(
                        || "without leading".to_owned(),
                        |last| format!("with entry {} applied, and its recovery ended at {last}", node.applied),
                    );
                    (format!("node {} opened the fast path of term {term} {what}", node.id), Vec::new())
                });
            }
            _ => {}
        }
    }

    /// After the ghost took the event in. `outstanding` are the commands completed and not committed.
    pub fn after(&mut self, g: &Ghost, outstanding: &[Outstanding], stamped: &Stamped, at: At, r: &mut Report) {
        match &stamped.event {
            Event::Node(NodeEvent::BecomeLeader { term, .. } | NodeEvent::OpenFastPath { term }) => {
                let Some(slot) = at.node.and_then(|id| g.find(id)) else { return };
                for command in outstanding.iter().filter(|c| c.term < *term) {
                    leader_has(g, slot, *term, command, at, r);
                }
            }
            Event::Node(NodeEvent::Apply { index, id: Some(id), outcome: Applied::Done(synced), .. }) => {
                let first = g.applied.get(*index as usize - 1).is_some_and(|a| a.event == at.event);
                if let Some(fast) = g.command(*id).and_then(|c| c.fast.as_ref()).filter(|_| first) {
                    result_stands(g, *id, &fast.response, &synced.response, at, r);
                }
            }
            Event::Client(ClientEvent::FastComplete { id, term, config, nodes, response, .. }) => {
                fast_round(g, *id, (*term, *config), nodes, response, at, r);
                if let Some(command) = outstanding.iter().find(|c| c.id == *id) {
                    for slot in 0..g.nodes.len() {
                        if let Some(reign) = g.nodes[slot].leads.filter(|reign| reign.term > *term) {
                            leader_has(g, slot, reign.term, command, at.on(g.nodes[slot].id), r);
                        }
                    }
                }
                let done = g.command(*id).and_then(|c| c.done).and_then(|index| g.applied.get(index as usize - 1));
                if let Some(Applied::Done(synced)) = done.map(|d| &d.outcome) {
                    result_stands(g, *id, response, &synced.response, at, r);
                }
            }
            _ => {}
        }
    }

    fn voted(&mut self, term: Term, slot: Slot, candidate: NodeId, pool: Vec<ProposeId>) {
        self.votes.entry((term, slot)).or_default().push(Carried { candidate, pool });
    }

    /// The recovered set is what the votes' pools and the published numbers make it. A voter that repeats a lost vote may send the pool it has
    /// by then, so for "only" its present pool counts too; what it dropped meanwhile is applied, hence in the winner's log.
    #[allow(clippy::too_many_arguments)]
    fn recovered_by_the_numbers(
        &self,
        g: &Ghost,
        slot: Slot,
        term: Term,
        quorum: &[NodeId],
        recovered: &[&Proposal],
        at: At,
        r: &mut Report,
    ) {
        let node = &g.nodes[slot];
        let enough = g.config_of(slot).recover();
        let slots: Vec<_> = quorum.iter().filter_map(|&id| g.find(id)).collect();
        let pools: Vec<&[ProposeId]> = slots.iter().map(|&s| self.pool_for(term, s, node.id)).collect();
        let count = |id: ProposeId| pools.iter().filter(|p| p.contains(&id)).count();
        r.judged(CHECK);
        for &id in pools.iter().copied().flatten() {
            let skipped = || g.place(id, &node.log).is_some() || recovered.iter().any(|p| p.id == id) || over(g, slot, id);
            if count(id) >= enough && !skipped() {
                r.violate(CHECK, RECOVERS_ENOUGH, at, || {
                    let message = format!(
                        "node {} began term {term} without {}, which is in {} of the {} spec pools it counted: {} are enough to recover it",
                        node.id,
                        g.tell(id),
                        count(id),
                        slots.len(),
                        enough
                    );
                    (message, evidence(g, id))
                });
            }
        }
        for proposal in recovered {
            let now = |s: Slot, pool: &[ProposeId]| pool.contains(&proposal.id) || g.nodes[s].pool_has(proposal.id);
            let most = slots.iter().zip(&pools).filter(|(s, pool)| now(**s, pool)).count();
            if most < enough {
                r.violate(CHECK, RECOVERS_ONLY, at, || {
                    let message = format!(
                        "node {} recovered {} in term {term}, though only {most} of the {} spec pools it counted hold it: it may never have completed, and {} are needed",
                        node.id, g.tell(proposal.id), slots.len(), enough
                    );
                    (message, evidence(g, proposal.id))
                });
            }
        }
    }

    fn pool_for(&self, term: Term, voter: Slot, candidate: NodeId) -> &[ProposeId] {
        let votes = self.votes.get(&(term, voter)).map_or(&[][..], Vec::as_slice);
        votes.iter().rev().find(|v| v.candidate == candidate).map_or(&[], |v| &v.pool)
    }
}

/// Whether the sessions in a node's log settle the id without it: its session ended, or the client has acknowledged it.
fn over(g: &Ghost, slot: Slot, id: ProposeId) -> bool {
    g.nodes[slot].log.iter().any(|entry| match &entry.payload {
        Payload::SessionEnd { client } => *client == id.client,
        Payload::Command(p) => p.id.client == id.client && p.first_incomplete > id.seq,
        _ => false,
    })
}

fn may_drop(g: &Ghost, slot: Slot, id: ProposeId) -> bool {
    if g.command(id).is_some_and(|c| c.applied >> slot & 1 == 1) {
        return true;
    }
    let node = &g.nodes[slot];
    node.log.iter().take(node.applied as usize).any(|entry| match &entry.payload {
        Payload::SessionEnd { client } => *client == id.client,
        Payload::Command(p) => p.id.client == id.client && p.first_incomplete > id.seq,
        _ => false,
    })
}

fn pool_commutes(g: &Ghost, slot: Slot, new: &Proposal, at: At, r: &mut Report) {
    let rival = g.nodes[slot].pool.iter().find(|p| p.id != new.id && conflict(&p.command, &new.command));
    r.expect(CHECK, POOL_COMMUTES, at, rival.is_none(), || {
        let rival = rival.expect("judged above");
        let message = format!(
            "node {} took {} into its spec pool, which holds {}: they conflict, and recovery could not tell which came first",
            g.nodes[slot].id,
            describe::command(new.id, Some(&new.command)),
            g.tell(rival.id)
        );
        (message, evidence(g, rival.id))
    });
}

fn exact_quorum(g: &Ghost, slot: Slot, term: Term, voters: &[NodeId], at: At, r: &mut Report) {
    let config = g.config_of(slot);
    let distinct = voters.iter().enumerate().all(|(i, id)| !voters[..i].contains(id) && g.find(*id).is_some_and(|s| config.has_voter(s)));
    let holds = distinct && voters.len() == config.quorum() && (voters.contains(&g.nodes[slot].id) || !config.has_voter(slot));
    r.expect(CHECK, EXACT_QUORUM, at, holds, || {
        let counted = describe::nodes(voters.iter().copied());
        (
            format!(
                "node {} began term {term} having counted the spec pools of nodes {counted}, of {} voters: exactly {} are to be counted",
                g.nodes[slot].id,
                config.n(),
                config.quorum()
            ),
            Vec::new(),
        )
    });
}

fn recovered_commute(g: &Ghost, slot: Slot, term: Term, recovered: &[&Proposal], at: At, r: &mut Report) {
    let pair =
        recovered.iter().enumerate().find_map(|(i, a)| Some((*a, recovered[..i].iter().find(|b| conflict(&a.command, &b.command))?)));
    r.expect(CHECK, RECOVERED_COMMUTE, at, pair.is_none(), || {
        let (a, b) = pair.expect("judged above");
        let message = format!(
            "node {} recovered both {} and {} in term {term}, which conflict: at most one of them completed",
            g.nodes[slot].id,
            g.tell(b.id),
            g.tell(a.id)
        );
        (message, [evidence(g, a.id), evidence(g, b.id)].concat())
    });
}

/// The leader's log has the command, after what its result reflected and before everything else in conflict.
fn leader_has(g: &Ghost, slot: Slot, term: Term, command: &Outstanding, at: At, r: &mut Report) {
    let node = &g.nodes[slot];
    let (place, blocker) = command.look(&node.log);
    let blocker = blocker.and_then(|index| node.entry(index));
    r.expect(CHECK, LEADER_KEEPS_ORDER, at, blocker.is_none(), || {
        command.tell_order(g, blocker.expect("judged above"), &format!("stands in the log of node {}, leader of term {term},", node.id))
    });
    let there = place.is_some() || g.place(command.id, &node.log).is_some();
    r.expect(CHECK, LEADER_HAS_IT, at, there, || {
        let message = format!(
            "{} completed on the fast path in term {}, and node {}, leader of term {term}, took office without it: an acknowledged command is lost",
            g.tell(command.id), command.term, node.id
        );
        (message, evidence(g, command.id))
    });
}

fn fast_round(
    g: &Ghost,
    id: ProposeId,
    (term, version): (Term, ConfigVersion),
    nodes: &[NodeId],
    response: &Response,
    at: At,
    r: &mut Report,
) {
    r.expect(CHECK, CONFIG_EXISTS, at, g.configs.contains_key(&version), || {
        let ConfigVersion { term: t, index } = version;
        let message = format!(
            "{} completed on the fast path in term {term} by a configuration of version ({t}, {index}), and no log has one there",
            g.tell(id)
        );
        (message, evidence(g, id))
    });
    let config = g.config(version);
    let slots: Vec<_> = nodes.iter().filter_map(|&n| g.find(n)).filter(|&s| config.has_voter(s)).collect();
    let distinct = slots.iter().enumerate().filter(|(i, s)| !slots[..*i].contains(s)).count();
    r.expect(CHECK, SUPER_QUORUM, at, distinct >= config.super_quorum(), || {
        let message = format!(
            "{} completed on the fast path in term {term} with {distinct} of {} voters (nodes {}): a super quorum is {}",
            g.tell(id),
            config.n(),
            describe::nodes(nodes.iter().copied()),
            config.super_quorum()
        );
        (message, evidence(g, id))
    });
    let Some(command) = g.command(id) else { return };
    let execution = command.executions.iter().find(|e| e.term == term && slots.contains(&e.slot));
    r.expect(CHECK, LEADERS_RESULT, at, execution.is_some_and(|e| e.response == *response), || {
        let message = format!("the client was told a result of {} that the leader of term {term} did not compute", g.tell(id));
        (message, evidence(g, id))
    });
    let leader = execution.map(|e| e.slot);
    let accepted = |s: Slot| command.accepts.iter().filter(move |a| a.slot == s && a.term == term);
    let stranger = slots.iter().find(|&&s| Some(s) != leader && accepted(s).next().is_none());
    r.expect(CHECK, ACCEPTED_IN_TERM, at, stranger.is_none(), || {
        let voter = g.nodes[*stranger.expect("judged above")].id;
        let message = format!("{} completed on the fast path in term {term} counting node {voter}, which did not accept it in that term: a later leader may have counted its pool before", g.tell(id));
        (message, evidence(g, id))
    });
    same_config(g, id, (term, version), slots.iter().copied().filter(|&s| Some(s) != leader), at, r);
}

/// Accepts that a fast round of a configuration may count were given by voters that went by the same.
fn same_config(
    g: &Ghost,
    id: ProposeId,
    (term, version): (Term, ConfigVersion),
    mut witnesses: impl Iterator<Item = Slot>,
    at: At,
    r: &mut Report,
) {
    let Some(command) = g.command(id) else { return };
    let other = witnesses.find_map(|s| {
        let mut accepts = command.accepts.iter().filter(|a| a.slot == s && a.term == term).peekable();
        let last = accepts.peek().map(|a| (s, a.config));
        if accepts.any(|a| a.config == version) { None } else { last }
    });
    r.expect(CHECK, ACCEPTED_IN_CONFIG, at, other.is_none(), || {
        let (slot, config) = other.expect("judged above");
        let message = format!(
            "{} completed on the fast path by the configuration of version ({}, {}), counting node {}, which accepted it going by that of \
             version ({}, {}): their quorums need not meet",
            g.tell(id),
            version.term,
            version.index,
            g.nodes[slot].id,
            config.term,
            config.index
        );
        (message, evidence(g, id))
    });
}

fn result_stands(g: &Ghost, id: ProposeId, told: &Response, last: &Response, at: At, r: &mut Report) {
    // Revisions of a command's own writes are not part of a fast result.
    r.expect(CHECK, RESULT_STANDS, at, told == last || without_revisions(told) == without_revisions(last), || {
        let message = format!("the client of {} was told {told:?} on the fast path, but the command came to {last:?}", g.tell(id));
        (message, evidence(g, id))
    });
}

fn without_revisions(response: &Response) -> Response {
    let strip = |kv: &KeyValue| KeyValue { create_revision: 0, mod_revision: 0, ..kv.clone() };
    match response {
        Response::Put { prev_kv } => Response::Put { prev_kv: prev_kv.as_ref().map(strip) },
        Response::Range { kvs, count, more } => Response::Range { kvs: kvs.iter().map(strip).collect(), count: *count, more: *more },
        Response::DeleteRange { deleted, prev_kvs } => {
            Response::DeleteRange { deleted: *deleted, prev_kvs: prev_kvs.iter().map(strip).collect() }
        }
        Response::Txn { succeeded, responses } => {
            Response::Txn { succeeded: *succeeded, responses: responses.iter().map(without_revisions).collect() }
        }
        other => other.clone(),
    }
}
