//! Durability: nothing is promised, counted, applied or acknowledged before it is on the disks it must be on, and nothing goes back.
//!
//! Invariant judged: every message that is a promise (`WorldEvent::Send`) leaves after the write it depends on; what a leader counts as committed is on
//! a quorum of disks; a node applies what it has durably; a restarted node finds what it promised; term and commit only rise;
//! a committed entry is never replaced; a snapshot's file is durable before anything refers to it, and a log begins where a durable snapshot has it.
//!
//! It does not judge what elections would make of the disks (`recoverable`, `leader_completeness`), nor votes (`election_safety`).

use curp::{Event as NodeEvent, Index, LogBase, NodeId, ProposeId, Term};
use history::{ClientEvent, Event, Promise, Stamped, WorldEvent};

use super::describe;
use super::ghost::{DiskChange, Ghost, Slot};
use super::quorum::slots;
use super::report::{At, Check, Report};

pub(super) const TERM_FIRST: &str = "a message leaves after its term is durable";
pub(super) const VOTE_FIRST: &str = "a vote leaves after it is durable";
pub(super) const APPEND_FIRST: &str = "entries are acknowledged after they are durable";
pub(super) const RECORD_FIRST: &str = "a Record is accepted after it is durable";
pub(super) const FAST_FIRST: &str = "a leader's fast result leaves after its log entry and its pool record are durable";
pub(super) const SYNCED_FIRST: &str = "a synced result leaves after its command is committed";
pub(super) const MATCHED: &str = "a follower matches its leader up to where its disk does";
pub(super) const COUNTED: &str = "an entry counted as committed is on a quorum of disks";
pub(super) const OWN_TERM: &str = "a leader commits by counting only entries of its own term";
pub(super) const APPLIED: &str = "a node applies only what is durable there";
pub(super) const KEPT: &str = "a committed entry is never replaced";
pub(super) const ACKNOWLEDGED: &str = "an acknowledged command is committed";
pub(super) const TERM_RISES: &str = "a node's term never goes back";
pub(super) const COMMIT_RISES: &str = "a node's commit index never goes back";
pub(super) const COMMIT_KNOWN: &str = "a node's committed entries are those that a leader counted";
pub(super) const PROMISED_TERM: &str = "a restarted node remembers every term it promised";
pub(super) const FINDS_DISK: &str = "a restarted node starts from exactly what its disk holds";
pub(super) const CORRUPT: &str = "a node does not start from a damaged log";
pub(super) const NEVER_AGAIN: &str = "a node that lost its disk promises nothing again under its id";
pub(super) const FILE_FIRST: &str = "the file of a durable snapshot is durable and whole";
pub(super) const STATE_KEPT: &str = "a state that was saved in a state machine's store is found there again";
pub(super) const STATE_LOGGED: &str = "a state machine's store reflects only what the log holds durably";
pub(super) const COVERED: &str = "what leaves a log is covered by a durable snapshot";

const CHECK: Check = Check::Durability;

/// Before the ghost takes the event in.
pub(super) fn before(g: &Ghost, stamped: &Stamped, at: At, r: &mut Report) {
    let Some(slot) = at.node.and_then(|id| g.find(id)) else { return };
    match &stamped.event {
        Event::Node(event) => node_event(g, slot, event, at, r),
        Event::World(WorldEvent::Send { to, promise }) => promised(g, slot, *to, promise, at, r),
        _ => {}
    }
}

/// After the ghost took the event in.
pub(super) fn after(g: &Ghost, stamped: &Stamped, at: At, r: &mut Report) {
    match &stamped.event {
        Event::Node(NodeEvent::AdvanceCommit { counted, commit, .. }) => {
            let Some(slot) = at.node.and_then(|id| g.find(id)) else { return };
            if *counted {
                for index in g.committed_before..g.committed.len() {
                    on_a_quorum(g, slot, index as Index + 1, at, r);
                }
            }
            let known = g.nodes[slot].log.len().min(g.committed.len()) as Index;
            r.expect(CHECK, COMMIT_KNOWN, at, *commit <= known, || {
                let message = format!(
                    "node {} takes entries up to {commit} for committed, but leaders counted only up to {}, and its log ends at {}",
                    g.nodes[slot].id,
                    g.committed.len(),
                    g.nodes[slot].log.len()
                );
                (message, Vec::new())
            });
        }
        Event::Client(ClientEvent::SyncedComplete { id, .. }) => {
            r.expect(CHECK, ACKNOWLEDGED, at, g.committed_place(*id).is_some(), || {
                (format!("the client got a final result of {}, which is not committed", g.tell(*id)), proposed(g, *id))
            });
        }
        Event::World(event) => {
            let Some((slot, change)) = g.disk_change else { return };
            let (node, before) = (&g.nodes[slot], change.hard_before);
            let file = match event {
                WorldEvent::Disk { file, .. } | WorldEvent::DiskRemove { file } => Some(file.as_str()),
                _ => None,
            };
            snapshot_on_disk(g, slot, change, file.map(|file| (file, matches!(event, WorldEvent::DiskRemove { .. }))), at, r);
            r.expect(CHECK, TERM_RISES, at, node.disk.hard.term >= before.term, || {
                (format!("the term on node {}'s disk went back from {} to {}", node.id, before.term, node.disk.hard.term), Vec::new())
            });
            r.expect(CHECK, COMMIT_RISES, at, node.disk.hard.commit >= before.commit, || {
                (
                    format!("the commit index on node {}'s disk went back from {} to {}", node.id, before.commit, node.disk.hard.commit),
                    Vec::new(),
                )
            });
        }
        _ => {}
    }
}

fn proposed(g: &Ghost, id: ProposeId) -> Vec<u64> {
    g.command(id).and_then(|c| c.proposed).into_iter().collect()
}

fn node_event(g: &Ghost, slot: Slot, event: &NodeEvent<kv::Request>, at: At, r: &mut Report) {
    let node = &g.nodes[slot];
    let mut term_is = |term: Term, rises: bool| {
        r.expect(CHECK, TERM_RISES, at, term >= node.term + Term::from(rises), || {
            (format!("node {} went from term {} to term {term}", node.id, node.term), Vec::new())
        });
    };
    match event {
        NodeEvent::UpdateTerm { term } | NodeEvent::Campaign { term } => term_is(*term, true),
        NodeEvent::GrantVote { term, .. } | NodeEvent::BecomeLeader { term, .. } | NodeEvent::WitnessRecord { term, .. } => {
            term_is(*term, false)
        }
        NodeEvent::AcceptEntries { term, entries, .. } => {
            term_is(*term, false);
            if let Some(first) = entries.first().filter(|_| node.guess.is_none()) {
                keeps_committed(g, slot, first.index, entries, at, r);
            }
        }
        NodeEvent::Matched { term, peer, index } => {
            term_is(*term, false);
            matched(g, slot, (*term, *peer, *index), at, r);
        }
        NodeEvent::AdvanceCommit { term, commit, counted } => {
            term_is(*term, false);
            if *counted {
                let last = node.entry(*commit).map(|e| e.term);
                r.expect(CHECK, OWN_TERM, at, last == Some(*term), || {
                    let of = last.map_or_else(
                        || "which it does not have".to_owned(),
                        |t| format!("which is of term {t}: a later leader may never have seen it"),
                    );
                    (format!("node {}, leader of term {term}, committed up to entry {commit} by counting, {of}", node.id), Vec::new())
                });
            }
            r.expect(CHECK, COMMIT_RISES, at, *commit > node.commit, || {
                (format!("node {}'s commit index went from {} to {commit}", node.id, node.commit), Vec::new())
            });
            agrees_with_committed(g, slot, node.commit, *commit, at, r);
        }
        NodeEvent::Apply { index, .. } => {
            let term = node.entry(*index).map(|e| e.term);
            let durable = node.disk.corrupt.is_some() || term.is_some_and(|term| node.disk.log_has(*index, term));
            r.expect(CHECK, APPLIED, at, durable, || {
                (format!("node {} applied entry {index} before it was on its disk", node.id), Vec::new())
            });
        }
        NodeEvent::Restart { term, last_index, base, snapshot, .. } => {
            restarts(g, slot, *term, (*base, *last_index, *snapshot), at, r);
            if node.saved > 0 || node.loaded.is_some() {
                store_found(g, slot, *snapshot, at, r);
            }
        }
        NodeEvent::InstallSnapshot { term, .. } => term_is(*term, false),
        NodeEvent::CompactLog { base } => {
            let durable = node.disk.snapshot_index();
            let holds = base.index <= durable && node.entry(base.index).is_some_and(|e| e.term == base.term);
            r.expect(CHECK, COVERED, at, holds || node.guess.is_some() || node.disk.corrupt.is_some(), || {
                let what = format!(
                    "node {} dropped its log up to entry {} of term {}, while the snapshot on its disk reflects {durable}",
                    node.id, base.index, base.term
                );
                (what, Vec::new())
            });
        }
        _ => {}
    }
}

/// A leader took an answer for the follower's word that it has the leader's entries. One that has since gone on to a later term may have
/// given them up again; any other still has them.
fn matched(g: &Ghost, slot: Slot, (term, peer, index): (Term, NodeId, Index), at: At, r: &mut Report) {
    let (Some(entry), Some(follower)) = (g.nodes[slot].entry(index), g.find(peer)) else { return };
    let disk = &g.nodes[follower].disk;
    r.expect(CHECK, MATCHED, at, disk.hard.term > term || disk.log_has(index, entry.term), || {
        let what = format!(
            "node {}, leader of term {term}, counts node {peer} as having its entries up to {index}, whose disk does not hold entry {index} of term {}",
            g.nodes[slot].id, entry.term
        );
        (what, Vec::new())
    });
}

/// A follower is about to replace its log from `from` on.
fn keeps_committed(g: &Ghost, slot: Slot, from: Index, new: &[std::sync::Arc<super::ghost::Entry>], at: At, r: &mut Report) {
    let node = &g.nodes[slot];
    r.judged(CHECK);
    let end = node.log.len().min(g.committed.len()) as Index;
    for index in from..=end {
        let committed = &g.committed[index as usize - 1];
        let stays = new.get((index - from) as usize).is_some_and(|e| e.term == committed.entry.term);
        if !stays && node.entry(index).is_some_and(|e| e.term == committed.entry.term) {
            r.violate(CHECK, KEPT, at, || {
                let what = committed.entry.id().map_or_else(|| "its entry".to_owned(), |id| g.tell(id));
                let message =
                    format!("node {} cut {what} at index {index} from its log, which was committed in term {}", node.id, committed.by);
                (message, vec![committed.event])
            });
            return;
        }
    }
}

/// What a node newly takes for committed is what was committed there before.
fn agrees_with_committed(g: &Ghost, slot: Slot, from: Index, to: Index, at: At, r: &mut Report) {
    let node = &g.nodes[slot];
    r.judged(CHECK);
    for index in from + 1..=to.min(g.committed.len() as Index) {
        let committed = &g.committed[index as usize - 1];
        let Some(entry) = node.entry(index).filter(|e| e.term != committed.entry.term) else { continue };
        r.violate(CHECK, KEPT, at, || {
            let message = format!(
                "node {} takes an entry of term {} at index {index} for committed, where one of term {} was committed before",
                node.id, entry.term, committed.entry.term
            );
            (message, vec![committed.event])
        });
        return;
    }
}

fn on_a_quorum(g: &Ghost, slot: Slot, index: Index, at: At, r: &mut Report) {
    let entry = &g.committed[index as usize - 1].entry;
    let config = g.config_of(slot);
    let holders = || slots(config.voters).map(|s| &g.nodes[s]).filter(|v| v.disk.log_has(index, entry.term));
    r.expect(CHECK, COUNTED, at, holders().count() >= config.quorum(), || {
        let what = entry.id().map_or_else(|| "the entry".to_owned(), |id| g.tell(id));
        let message = format!(
            "node {} counted {what} at index {index} as committed, but of its voters only nodes {} have it on disk, and a quorum is {}",
            g.nodes[slot].id,
            describe::nodes(holders().map(|v| v.id)),
            config.quorum()
        );
        (message, entry.id().map(|id| proposed(g, id)).unwrap_or_default())
    });
}

/// A disk refers to another snapshot, or became unreadable, by a change to a file, which was perhaps removed.
fn snapshot_on_disk(g: &Ghost, slot: Slot, change: DiskChange, file: Option<(&str, bool)>, at: At, r: &mut Report) {
    let (node, disk) = (&g.nodes[slot], &g.nodes[slot].disk);
    if !change.snapshot && !change.readable {
        return;
    }
    // Damage to a file's own bytes comes from outside. That a record refers to a snapshot which is not there, or that the file goes
    // while a record refers to it, is the node's deed.
    let damaged = disk.damaged.as_deref().filter(|file| disk.corrupt.is_some() && file.starts_with("snapshot-"));
    let own_deed = damaged.zip(file).is_some_and(|(damaged, (file, removed))| removed || damaged != file);
    r.expect(CHECK, FILE_FIRST, at, !own_deed, || {
        let why = disk.corrupt.clone().unwrap_or_default();
        (format!("a record on node {}'s disk refers to a snapshot whose file is not there whole: {why}", node.id), Vec::new())
    });
    if disk.corrupt.is_none() {
        r.expect(CHECK, COVERED, at, disk.base.index <= disk.snapshot_index(), || {
            let what = format!(
                "the log on node {}'s disk begins after entry {}, and its snapshot reflects {}: what lies between is lost",
                node.id,
                disk.base.index,
                disk.snapshot_index()
            );
            (what, Vec::new())
        });
    }
}

fn restarts(g: &Ghost, slot: Slot, term: Term, (base, last_index, snapshot): (LogBase, Index, Index), at: At, r: &mut Report) {
    let node = &g.nodes[slot];
    r.expect(CHECK, PROMISED_TERM, at, term >= node.promised, || {
        (format!("node {} restarted in term {term}, though it had sent messages of term {}", node.id, node.promised), Vec::new())
    });
    let damaged = node.power_lost && node.disk.corrupt.is_some();
    r.expect(CHECK, CORRUPT, at, !damaged, || {
        (format!("node {} started although its log is damaged: {}", node.id, node.disk.corrupt.clone().unwrap_or_default()), Vec::new())
    });
    // A killed process leaves more than what is durable; after a power loss there is nothing else.
    let (found, last) = (node.disk.hard.term, node.disk.log.len() as Index);
    let begins = (base, snapshot) == (node.disk.base, node.disk.snapshot_index());
    let same = if node.power_lost { term == found && last_index == last && begins } else { term >= found };
    r.expect(CHECK, FINDS_DISK, at, same || node.disk.corrupt.is_some(), || {
        (
            format!(
                "node {} restarted in term {term} with a snapshot of entry {snapshot} and entries {} to {last_index}, \
                 but its disk holds term {found}, a snapshot of entry {} and entries {} to {last}",
                node.id,
                base.index + 1,
                node.disk.snapshot_index(),
                node.disk.base.index + 1
            ),
            Vec::new(),
        )
    });
}

/// What a state machine's store was said to hold is there again, be it there or in a snapshot that is later; and it holds nothing that the log lost.
fn store_found(g: &Ghost, slot: Slot, snapshot: Index, at: At, r: &mut Report) {
    let node = &g.nodes[slot];
    let from = node.loaded.unwrap_or(snapshot);
    r.expect(CHECK, STATE_KEPT, at, from >= node.saved, || {
        (format!("node {} started from the state at entry {from}, though the one at {} was saved", node.id, node.saved), Vec::new())
    });
    let last = node.disk.log.len() as Index;
    r.expect(CHECK, STATE_LOGGED, at, !node.power_lost || from <= last || node.disk.corrupt.is_some(), || {
        (format!("node {} started from the state at entry {from}, and the log on its disk ends at {last}", node.id), Vec::new())
    });
}

fn promised(g: &Ghost, slot: Slot, to: Option<curp::NodeId>, promise: &Promise, at: At, r: &mut Report) {
    let node = &g.nodes[slot];
    let (disk, hard) = (&node.disk, node.disk.hard);
    if let Some(lost) = node.returned {
        r.expect(CHECK, NEVER_AGAIN, at, false, || {
            (
                format!("node {} gave its word ({promise:?}) after it had lost its disk, and what it had promised before", node.id),
                vec![lost],
            )
        });
    }
    // Damage after the write is not the node's fault, and what it wrote since is not to be known.
    if disk.corrupt.is_some() {
        return;
    }
    let applied = |id: ProposeId| g.command(id).is_some_and(|c| (c.applied | c.dropped) >> slot & 1 == 1);
    let in_pool = |id: ProposeId| disk.pool_has(id) || applied(id);
    let (rule, holds) = match *promise {
        Promise::Term { term } => (TERM_FIRST, hard.term >= term),
        Promise::Vote { term } => {
            let voted = hard.term > term || hard.term == term && hard.vote == to;
            (VOTE_FIRST, voted)
        }
        // Once a later term is durable the answer is an old one, and the entry may be gone.
        Promise::Append { term, index, entry_term } => (APPEND_FIRST, index == 0 || disk.log_has(index, entry_term) || hard.term > term),
        Promise::Record { id, .. } => (RECORD_FIRST, in_pool(id)),
        Promise::Fast { term, id } => {
            let in_log = g.place(id, &disk.log).is_some() || hard.term > term;
            (FAST_FIRST, in_log && in_pool(id))
        }
        Promise::Synced { id } => (SYNCED_FIRST, g.committed_place(id).is_some()),
    };
    r.expect(CHECK, rule, at, holds, || {
        let message = match *promise {
            Promise::Term { term } => format!("node {} sent a message of term {term} while its disk holds term {}", node.id, hard.term),
            Promise::Vote { term } => {
                format!("node {} sent its vote of term {term}, which is not on its disk: after a power loss it could vote again", node.id)
            }
            Promise::Append { index, term, .. } => {
                format!("node {} acknowledged entry {index} to the leader of term {term} before it was on its disk", node.id)
            }
            Promise::Record { id, .. } => format!(
                "node {} accepted the Record of {} before it was on its disk: a power loss would make it forget",
                node.id,
                g.tell(id)
            ),
            Promise::Fast { id, term } => format!(
                "node {}, leader of term {term}, gave the fast result of {} before its log and spec pool had it on disk",
                node.id,
                g.tell(id)
            ),
            Promise::Synced { id } => format!("node {} gave the final result of {}, which is not committed", node.id, g.tell(id)),
        };
        (
            message,
            match *promise {
                Promise::Record { id, .. } | Promise::Fast { id, .. } | Promise::Synced { id } => proposed(g, id),
                _ => Vec::new(),
            },
        )
    });
}
