//! Snapshots, and states found in state machines' stores: each says what it truly reflects, and installing one takes a node forward along the
//! committed prefix, never back.
//!
//! Invariant judged: a snapshot is of the taker's applied state, at a committed entry, with the state hash that every replica had there and the
//! configuration as of there; whoever starts from one has that state, too; an install raises the applied index; a node stops only at a
//! shutdown that it has applied. Reported under state-agreement. When a snapshot's file is durable is `durability`'s, whose word it may be installed at
//! `log_matching`'s.

use curp::{Event as NodeEvent, Index, Payload, Term};
use history::{Event, Stamped};

use super::describe;
use super::ghost::{Ghost, Slot};
use super::report::{At, Check, Report};

pub(super) const APPLIED: &str = "a snapshot is labelled with the index that is applied";
pub(super) const COMMITTED: &str = "a snapshot reflects a prefix of what is committed";
pub(super) const SAME_STATE: &str = "a snapshot holds the state that replicas had at its index";
pub(super) const SAME_STORE: &str = "a state machine's store holds the state that replicas had at its index";
pub(super) const SAME_CONFIG: &str = "a snapshot holds the configuration as of its index";
pub(super) const FORWARD: &str = "installing a snapshot never takes a node back";
pub(super) const STOPS: &str = "a node stops only at a shutdown that it has applied";

const CHECK: Check = Check::StateAgreement;

/// Before the ghost takes the event in.
pub(super) fn before(g: &Ghost, stamped: &Stamped, at: At, r: &mut Report) {
    let Event::Node(event) = &stamped.event else { return };
    if let NodeEvent::Restart { snapshot, state_hash, base, .. } = event {
        let Some(id) = at.node else { return };
        // A node started for the first time is not known before it starts.
        let what = || format!("node {id} started from the snapshot of entry {snapshot}");
        if base.index > 0 {
            is_committed(
                g,
                (base.index, base.term),
                || format!("node {id} started with a log that begins after entry {}", base.index),
                at,
                r,
            );
        }
        // What came from the store instead was judged when that was said.
        let loaded = g.find(id).is_some_and(|slot| g.nodes[slot].loaded.is_some());
        if !loaded {
            has_state(g, *snapshot, *state_hash, what, at, r);
        }
        return;
    }
    let Some(slot) = at.node.and_then(|id| g.find(id)) else { return };
    let node = &g.nodes[slot];
    match event {
        NodeEvent::LoadState { index, state_hash } => {
            let what = || format!("node {} started from a store that reflects entry {index}", node.id);
            r.expect(CHECK, COMMITTED, at, *index <= g.prefix.len() as Index, || {
                (format!("{}, but only {} entries are committed", what(), g.prefix.len()), Vec::new())
            });
            has_state_by(SAME_STORE, g, (*index, *state_hash), what, at, r);
        }
        NodeEvent::TakeSnapshot { index, term, state_hash } => {
            r.expect(CHECK, APPLIED, at, *index == node.applied, || {
                (format!("node {} labelled a snapshot with entry {index}, and has applied up to {}", node.id, node.applied), Vec::new())
            });
            let what = || format!("node {} made a snapshot of entry {index}", node.id);
            is_committed(g, (*index, *term), what, at, r);
            has_state(g, *index, *state_hash, what, at, r);
        }
        NodeEvent::InstallSnapshot { from, index, last_term, state_hash, .. } => {
            r.expect(CHECK, FORWARD, at, *index > node.applied && *index >= node.commit, || {
                let what = format!(
                    "node {} installed the snapshot of entry {index} from node {from}, and had applied up to {} and known {} to be committed",
                    node.id, node.applied, node.commit
                );
                (what, Vec::new())
            });
            let what = || format!("node {} installed the snapshot of entry {index} from node {from}", node.id);
            is_committed(g, (*index, *last_term), what, at, r);
            has_state(g, *index, *state_hash, what, at, r);
        }
        NodeEvent::ShutDown { index } => {
            let entry = index.checked_sub(1).and_then(|i| g.prefix.get(i as usize));
            let shutdown = entry.is_some_and(|e| matches!(e.payload, Payload::Shutdown)) && node.applied >= *index;
            r.expect(CHECK, STOPS, at, shutdown, || {
                (format!("node {} stopped at entry {index}, which is no shutdown that it has applied", node.id), Vec::new())
            });
        }
        _ => {}
    }
}

/// After the ghost took the event in: what a disk refers to.
pub(super) fn after(g: &Ghost, at: At, r: &mut Report) {
    let Some((slot, _)) = g.disk_change.filter(|c| c.1.snapshot) else { return };
    let Some(meta) = &g.nodes[slot].disk.snapshot else { return };
    let what = || format!("node {}'s disk refers to a snapshot of entry {}", g.nodes[slot].id, meta.index);
    is_committed(g, (meta.index, meta.term), what, at, r);
    holds_configuration(g, slot, at, r);
}

fn is_committed(g: &Ghost, (index, term): (Index, Term), what: impl Fn() -> String, at: At, r: &mut Report) {
    r.expect(CHECK, COMMITTED, at, g.prefix.has(index, term), || {
        let there = index.checked_sub(1).and_then(|i| g.committed.get(i as usize));
        let instead = match there {
            Some(c) => format!("one of term {} is committed there", c.entry.term),
            None => format!("only {} entries are committed", g.committed.len()),
        };
        (format!("{} of term {term}, but {instead}", what()), there.map(|c| c.event).into_iter().collect())
    });
}

fn has_state(g: &Ghost, index: Index, state_hash: u64, what: impl Fn() -> String, at: At, r: &mut Report) {
    has_state_by(SAME_STATE, g, (index, state_hash), what, at, r);
}

fn has_state_by(rule: &'static str, g: &Ghost, (index, state_hash): (Index, u64), what: impl Fn() -> String, at: At, r: &mut Report) {
    let first = index.checked_sub(1).and_then(|i| g.applied.get(i as usize));
    let expected = if index == 0 { g.empty_hash } else { first.map(|f| f.state_hash) };
    // Nobody has applied it: that it is not committed is reported.
    let Some(expected) = expected else { return };
    r.expect(CHECK, rule, at, state_hash == expected, || {
        let of = first.map_or_else(|| "the empty state".to_owned(), |f| format!("the state of node {} there", g.nodes[f.slot].id));
        (
            format!("{}, and its state differs from {of}: {state_hash:016x} and {expected:016x}", what()),
            first.map(|f| f.event).into_iter().collect(),
        )
    });
}

fn holds_configuration(g: &Ghost, slot: Slot, at: At, r: &mut Report) {
    let node = &g.nodes[slot];
    let Some(meta) = node.disk.snapshot.as_ref().filter(|meta| meta.index <= g.prefix.len() as Index) else { return };
    let right = &g.config_at(meta.index).membership;
    r.expect(CHECK, SAME_CONFIG, at, meta.membership == *right, || {
        let of = |m: &curp::Membership| {
            format!("version ({}, {}) with voters {}", m.version.term, m.version.index, describe::nodes(m.voters.iter().copied()))
        };
        let what = format!(
            "the snapshot of entry {} on node {}'s disk holds the configuration of {}, while the one as of that entry is that of {}",
            meta.index,
            node.id,
            of(&meta.membership),
            of(right)
        );
        (what, Vec::new())
    });
}
