//! Leader completeness: what is committed is in the log of every later leader, and of every node that could be elected from what is on the disks.
//!
//! Its cause is judged too: a vote goes only to a candidate whose (last term, last index) is not behind the voter's, compared
//! lexicographically. It does not judge commands that only completed on the fast path (`recovery`).

use curp::{Event as NodeEvent, Index, Term};
use history::{Event, Stamped};

use super::ghost::{Ghost, Slot, last};
use super::report::{At, Check, Report};

pub(super) const LEADER_HAS_ALL: &str = "a leader's log has every entry committed in earlier terms";
pub(super) const COULD: &str = "every node that could win an election now has every committed entry";
pub(super) const UP_TO_DATE: &str = "a vote goes to a candidate whose log is at least as up to date";

const CHECK: Check = Check::LeaderCompleteness;

/// Before the ghost takes the event in.
pub(super) fn before(g: &Ghost, stamped: &Stamped, at: At, r: &mut Report) {
    let Event::Node(event) = &stamped.event else { return };
    let Some(slot) = at.node.and_then(|id| g.find(id)) else { return };
    match event {
        NodeEvent::GrantVote { term, candidate, .. } => {
            let Some(to) = g.find(*candidate) else { return };
            let (own, theirs) = (last(&g.nodes[slot].log), g.nodes[to].stood_with);
            let known = g.nodes[slot].guess.is_none();
            r.expect(CHECK, UP_TO_DATE, at, theirs >= own || !known, || {
                let message = format!(
                    "node {} voted for node {candidate} in term {term}, whose log ends with term {} at index {}, behind its own: term {} at index {}",
                    g.nodes[slot].id, theirs.0, theirs.1, own.0, own.1
                );
                (message, Vec::new())
            });
        }
        NodeEvent::BecomeLeader { term, .. } => has_all(g, slot, *term, at, r),
        _ => {}
    }
}

/// After the ghost took the event in.
pub(super) fn after(g: &Ghost, at: At, r: &mut Report) {
    let disk = g.disk_change.is_some_and(|(slot, c)| c.readable || c.log_kept < c.log_before || c.log_kept < g.nodes[slot].disk.log.len());
    if g.committed.len() == g.committed_before && !disk {
        return;
    }
    r.judged(CHECK);
    let Some(end) = g.committed.last() else { return };
    let lacks = |slot: &Slot| !g.nodes[*slot].disk.log_has(end.entry.index, end.entry.term);
    // Log matching makes the last entry stand for all before it.
    let lacking = (0..g.nodes.len()).filter(lacks).filter(|&s| g.nodes[s].disk.corrupt.is_none());
    for slot in lacking {
        if g.elections.can_win(slot) {
            r.violate(CHECK, COULD, at.on(g.nodes[slot].id), || {
                let what = end.entry.id().map_or_else(|| "an entry".to_owned(), |id| g.tell(id));
                let message = format!(
                    "{what} was committed at index {} in term {}, and node {} does not have it on its disk and could win an election now",
                    end.entry.index, end.by, g.nodes[slot].id
                );
                (message, vec![end.event])
            });
            return;
        }
    }
}

/// A term may be won late, by votes given before a higher term's leader committed anything: only what earlier terms committed counts.
fn has_all(g: &Ghost, slot: Slot, term: Term, at: At, r: &mut Report) {
    let node = &g.nodes[slot];
    let bound = g.committed.partition_point(|c| c.by < term);
    let wrong = |c: &&super::ghost::Committed| node.entry(c.entry.index).is_none_or(|e| e.term != c.entry.term);
    let missing = g.committed[..bound].iter().find(wrong);
    r.expect(CHECK, LEADER_HAS_ALL, at, missing.is_none(), || {
        let missing = missing.expect("judged above");
        let index: Index = missing.entry.index;
        let what = missing.entry.id().map_or_else(|| "an entry".to_owned(), |id| g.tell(id));
        let message = format!(
            "{what} was committed at index {index} in term {}, and node {} became leader of term {term} without it",
            missing.by, node.id
        );
        (message, vec![missing.event])
    });
}
