//! Election safety: one leader per term, elected by a quorum of the voters of its own latest configuration, whose members each voted once in that
//! term and never forgot it. A node that lost its disk may have forgotten, so it never votes again under its id.
//!
//! A vote counts as given once it left the node or a leader counted it: a vote that a crash took before it was durable was never heard of,
//! and the node may vote anew. It does not judge whom a voter may choose (`leader_completeness`).

use std::collections::BTreeMap;

use curp::{Event as NodeEvent, NodeId, Term};
use history::{Event, Promise, Stamped, WorldEvent};

use super::describe;
use super::ghost::{Ghost, Slot};
use super::report::{At, Check, Report};

pub(super) const ONE_LEADER: &str = "a term has at most one leader";
pub(super) const ONE_VOTE: &str = "a node votes for at most one candidate in a term";
pub(super) const NO_OLD_VOTE: &str = "a node never votes in a term lower than one it promised";
pub(super) const BY_QUORUM: &str = "a leader has the votes of a quorum, each given to it in its term";
pub(super) const ON_DISK: &str = "vote and candidacy are on disk before they are sent";
pub(super) const REMEMBERED: &str = "a restarted node remembers the vote it gave";
pub(super) const NEVER_AGAIN: &str = "a node that lost its disk never votes again under its id";
pub(super) const TERM_KEPT: &str = "neither a snapshot nor anything else takes a node's term back";

const CHECK: Check = Check::ElectionSafety;

/// A node's vote in a term.
#[derive(Clone, Copy)]
struct Vote {
    candidate: NodeId,
    event: u64,
    /// It left the node, or was counted.
    given: bool,
    /// Number of the node's start in which it was cast.
    start: u32,
}

/// Votes and leaders so far.
#[derive(Default)]
pub(super) struct ElectionSafety {
    votes: BTreeMap<(Term, Slot), Vec<Vote>>,
    starts: BTreeMap<Slot, u32>,
}

impl ElectionSafety {
    /// Before the ghost takes the event in.
    pub fn before(&mut self, g: &Ghost, stamped: &Stamped, at: At, r: &mut Report) {
        let Some(slot) = at.node.and_then(|id| g.find(id)) else { return };
        let node = &g.nodes[slot];
        match &stamped.event {
            Event::Node(NodeEvent::Restart { term, vote, .. }) => {
                *self.starts.entry(slot).or_default() += 1;
                self.remembered(g, slot, *term, *vote, at, r);
            }
            Event::Node(NodeEvent::Campaign { term }) => {
                never_again(g, slot, *term, at, r);
                self.votes_for(g, slot, *term, node.id, at, r);
            }
            Event::Node(NodeEvent::RepeatVote { term, .. }) => never_again(g, slot, *term, at, r),
            Event::Node(NodeEvent::InstallSnapshot { term, .. }) => r.expect(CHECK, TERM_KEPT, at, *term >= node.term, || {
                (format!("node {} installed a snapshot and went from term {} to term {term}", node.id, node.term), Vec::new())
            }),
            Event::Node(NodeEvent::GrantVote { term, candidate, .. }) => {
                never_again(g, slot, *term, at, r);
                r.expect(CHECK, NO_OLD_VOTE, at, *term >= node.promised, || {
                    (format!("node {} voted in term {term}, though it had sent messages of term {}", node.id, node.promised), Vec::new())
                });
                self.votes_for(g, slot, *term, *candidate, at, r);
            }
            Event::Node(NodeEvent::BecomeLeader { term, quorum, .. }) => self.elected(g, slot, *term, quorum, at, r),
            Event::World(WorldEvent::Send { to, promise }) => self.sent(g, slot, *to, promise, at, r),
            _ => {}
        }
    }

    /// After the ghost took the event in.
    pub fn after(&self, g: &Ghost, stamped: &Stamped, at: At, r: &mut Report) {
        let (Event::World(_), Some((slot, change))) = (&stamped.event, g.disk_change) else { return };
        let (node, before) = (&g.nodes[slot], change.hard_before.term);
        r.expect(CHECK, TERM_KEPT, at, node.disk.hard.term >= before, || {
            let what = format!(
                "the term on node {}'s disk went back from {before} to {}: it has forgotten whom it voted for",
                node.id, node.disk.hard.term
            );
            (what, Vec::new())
        });
    }

    fn votes_for(&mut self, g: &Ghost, slot: Slot, term: Term, candidate: NodeId, at: At, r: &mut Report) {
        let start = self.starts.get(&slot).copied().unwrap_or(0);
        let votes = self.votes.entry((term, slot)).or_default();
        let other = votes.iter().find(|v| v.candidate != candidate && (v.given || v.start == start)).copied();
        r.expect(CHECK, ONE_VOTE, at, other.is_none(), || {
            let other = other.expect("judged above");
            let message = format!("node {} voted for node {} and for node {candidate} in term {term}", g.nodes[slot].id, other.candidate);
            (message, vec![other.event])
        });
        votes.push(Vote { candidate, event: at.event, given: false, start });
    }

    fn elected(&mut self, g: &Ghost, slot: Slot, term: Term, voters: &[NodeId], at: At, r: &mut Report) {
        let node = &g.nodes[slot];
        let first = g.leaders.get(&term);
        r.expect(CHECK, ONE_LEADER, at, first.is_none(), || {
            let first = first.expect("judged above");
            (format!("nodes {} and {} both became leader of term {term}", first.0, node.id), vec![first.1])
        });
        let config = g.config_of(slot);
        let mut counted = Vec::new();
        let mut evidence = Vec::new();
        for voter in voters.iter().filter_map(|&id| g.find(id)).filter(|&s| config.has_voter(s)) {
            let votes = self.votes.get_mut(&(term, voter)).map_or(&mut [][..], Vec::as_mut_slice);
            if let Some(vote) = votes.iter_mut().find(|v| v.candidate == node.id)
                && !counted.contains(&g.nodes[voter].id)
            {
                vote.given = true;
                counted.push(g.nodes[voter].id);
                evidence.push(vote.event);
            }
        }
        r.expect(CHECK, BY_QUORUM, at, counted.len() >= config.quorum() && counted.len() == voters.len() && counted.contains(&node.id), || {
            let message = format!(
                "node {} became leader of term {term} on the word of nodes {}, but of its voters only nodes {} voted for it, and a quorum is {}",
                node.id,
                describe::nodes(voters.iter().copied()),
                describe::nodes(counted.iter().copied()),
                config.quorum()
            );
            (message, evidence)
        });
    }

    fn sent(&mut self, g: &Ghost, slot: Slot, to: Option<NodeId>, promise: &Promise, at: At, r: &mut Report) {
        let node = &g.nodes[slot];
        // A message of the term in which the node stands is its candidacy, or depends on it.
        let (term, candidate) = match (promise, to) {
            (Promise::Vote { term }, Some(to)) => (*term, to),
            (Promise::Term { term }, _) => (*term, node.id),
            _ => return,
        };
        let Some(votes) = self.votes.get_mut(&(term, slot)) else { return };
        let Some(vote) = votes.iter_mut().rev().find(|v| v.candidate == candidate) else { return };
        if std::mem::replace(&mut vote.given, true) || node.disk.corrupt.is_some() {
            return;
        }
        let (hard, event) = (node.disk.hard, vote.event);
        r.expect(CHECK, ON_DISK, at, hard.term > term || hard.term == term && hard.vote == Some(candidate), || {
            let what = if candidate == node.id { "asked for votes".to_owned() } else { format!("gave node {candidate} its vote") };
            let message =
                format!("node {} {what} in term {term} before that was on its disk: after a power loss it could vote for another", node.id);
            (message, vec![event])
        });
    }

    fn remembered(&self, g: &Ghost, slot: Slot, term: Term, vote: Option<NodeId>, at: At, r: &mut Report) {
        let given = self
            .votes
            .range((term, slot)..)
            .filter(|((_, s), _)| *s == slot)
            .flat_map(|((t, _), votes)| votes.iter().map(move |v| (*t, v)));
        let forgotten = given.filter(|(_, v)| v.given).find(|(t, v)| *t > term || vote != Some(v.candidate));
        r.expect(CHECK, REMEMBERED, at, forgotten.is_none(), || {
            let (t, v) = forgotten.expect("judged above");
            let message = format!(
                "node {} restarted in term {term} and has forgotten that it voted for node {} in term {t}",
                g.nodes[slot].id, v.candidate
            );
            (message, vec![v.event])
        });
    }
}

fn never_again(g: &Ghost, slot: Slot, term: Term, at: At, r: &mut Report) {
    let node = &g.nodes[slot];
    let lost = node.returned;
    r.expect(CHECK, NEVER_AGAIN, at, lost.is_none(), || {
        let what = format!("node {} voted in term {term} although its disk, with every vote it had given, was lost before", node.id);
        (what, lost.into_iter().collect())
    });
}
