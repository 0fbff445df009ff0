//! Log matching: two logs that have an entry of the same index and term are the same up to there.
//!
//! Judged entry by entry, in memory and on disk: the first log to have an (index, term) fixes its contents and the term before it; by induction the
//! prefixes agree. And the steps that keep it: indexes without gaps, only the term's leader appends, a leader only appends, a follower cuts only
//! from the first entry that conflicts, and its log is replaced by a snapshot only at the word of its term's leader. Logs are compared whole, whatever
//! was compacted. What is committed is another check's business.

use curp::Event as NodeEvent;
use history::{Event, Stamped};

use super::ghost::{Ghost, Slot};
use super::report::{At, Check, Report};

pub(super) const SAME_ENTRY: &str = "an index and a term stand for one entry";
pub(super) const SAME_PREFIX: &str = "logs that share an entry share everything before it";
pub(super) const NO_GAP: &str = "the indexes of a log have no gaps";
pub(super) const LEADER_APPENDS: &str = "only the leader of a term appends entries of it";
pub(super) const LEADER_KEEPS: &str = "a leader never overwrites its own log";
pub(super) const CUTS_CONFLICT: &str = "a follower truncates only from the first entry that conflicts";
pub(super) const INSTALLS: &str = "a snapshot is installed only from the leader of the node's own term";
pub(super) const KEEPS_TERM: &str = "a follower never truncates entries of the leader's own term";

const CHECK: Check = Check::LogMatching;

/// Before the ghost takes the event in.
pub(super) fn before(g: &Ghost, stamped: &Stamped, at: At, r: &mut Report) {
    let Event::Node(event) = &stamped.event else { return };
    let Some(slot) = at.node.and_then(|id| g.find(id)) else { return };
    let node = &g.nodes[slot];
    match event {
        NodeEvent::BecomeLeader { term, entries, .. } => {
            no_gap(g, slot, entries.iter().map(|e| e.index), node.log.len() as u64 + 1, at, r);
            let foreign = entries.iter().find(|e| e.term != *term);
            r.expect(CHECK, LEADER_APPENDS, at, foreign.is_none(), || {
                (
                    format!("node {}, leader of term {term}, appended an entry of term {}", node.id, foreign.expect("judged above").term),
                    Vec::new(),
                )
            });
        }
        NodeEvent::LeaderPropose { entry, .. } => {
            let leads = node.leads.is_some_and(|reign| reign.term == entry.term);
            r.expect(CHECK, LEADER_APPENDS, at, leads, || {
                let what = entry.id().map_or_else(|| "a proposal".to_owned(), |id| g.tell(id));
                (
                    format!("node {} appended {what} at index {} in term {}, which it does not lead", node.id, entry.index, entry.term),
                    Vec::new(),
                )
            });
            r.expect(CHECK, LEADER_KEEPS, at, entry.index > node.log.len() as u64, || {
                (format!("node {} appended at index {}, but its log ends at {}", node.id, entry.index, node.log.len()), Vec::new())
            });
            no_gap(g, slot, [entry.index].into_iter(), node.log.len() as u64 + 1, at, r);
        }
        NodeEvent::InstallSnapshot { term, from, index, .. } => {
            let leader = g.leaders.get(term).map(|l| l.0);
            r.expect(CHECK, INSTALLS, at, *term >= node.term && leader == Some(*from) && *from != node.id, || {
                let led = leader.map_or_else(|| "has no leader".to_owned(), |id| format!("is led by node {id}"));
                let what = format!(
                    "node {}, which was in term {}, installed the snapshot of entry {index} from node {from}, but term {} {led}",
                    node.id,
                    node.term,
                    node.term.max(*term)
                );
                (what, Vec::new())
            });
        }
        NodeEvent::AcceptEntries { term, from, truncated, entries } => {
            let leads = node.leads.is_some_and(|reign| reign.term == *term);
            r.expect(CHECK, LEADER_KEEPS, at, !leads, || {
                (format!("node {} took entries from node {from} in term {term}, which it leads itself", node.id), Vec::new())
            });
            let len = node.log.len() as u64;
            let Some(first) = entries.first() else {
                r.expect(CHECK, CUTS_CONFLICT, at, !truncated, || {
                    (
                        format!("node {} cut its log at the word of node {from} in term {term}, though no new entry conflicts", node.id),
                        Vec::new(),
                    )
                });
                return;
            };
            let start = if *truncated { first.index.min(len + 1) } else { len + 1 };
            no_gap(g, slot, entries.iter().map(|e| e.index), start, at, r);
            if node.guess.is_some() {
                return;
            }
            let same = node.entry(first.index).filter(|e| e.term == first.term);
            r.expect(CHECK, CUTS_CONFLICT, at, !(*truncated && same.is_some()), || {
                let message = format!(
                    "node {} cut its log from index {} at the word of node {from}, leader of term {term}, though the entry it has there is the leader's own: \
                     {} entries after it are gone",
                    node.id,
                    first.index,
                    len - first.index
                );
                (message, Vec::new())
            });
            let cut = node.log.get(first.index.saturating_sub(1) as usize..).unwrap_or_default();
            let own = cut.iter().find(|e| e.term >= *term);
            r.expect(CHECK, KEEPS_TERM, at, own.is_none(), || {
                let own = own.expect("judged above");
                (
                    format!(
                        "node {} replaced its entry {} of term {} at the word of the leader of term {term}",
                        node.id, own.index, own.term
                    ),
                    Vec::new(),
                )
            });
        }
        _ => {}
    }
}

/// After the ghost took the event in.
pub(super) fn after(g: &Ghost, at: At, r: &mut Report) {
    for clash in &g.clashes {
        let (node, first) = (&g.nodes[clash.slot], &g.nodes[clash.first]);
        let (rule, what) = if clash.payload { (SAME_ENTRY, "hold something else") } else { (SAME_PREFIX, "follow another entry") };
        r.violate(CHECK, rule, at, || {
            let message = format!(
                "entry {} of term {} was made to {what} in the log of node {} than in that of node {}",
                clash.index, clash.term, node.id, first.id
            );
            (message, vec![clash.first_event])
        });
    }
}

fn no_gap(g: &Ghost, slot: Slot, indexes: impl Iterator<Item = u64>, start: u64, at: At, r: &mut Report) {
    let wrong = indexes.zip(start..).find(|(index, expected)| index != expected);
    r.expect(CHECK, NO_GAP, at, wrong.is_none(), || {
        let (index, expected) = wrong.expect("judged above");
        (format!("node {} put an entry with index {index} where {expected} comes next", g.nodes[slot].id), Vec::new())
    });
}
