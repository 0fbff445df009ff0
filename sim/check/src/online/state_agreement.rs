//! State-machine agreement: every replica that has applied the same prefix has the same state and told the same results.
//!
//! Invariant judged: entries are applied in order, once in each run of a node, only when committed, and with the outcome and state hash that
//! the first node to apply them had. A restarted node applies all again, so its own past is compared too. Whether the state is
//! *right* is judged by the linearizability check.

use curp::Event as NodeEvent;
use history::{Event, Stamped};

use super::ghost::Ghost;
use super::report::{At, Check, Report};

pub(super) const IN_ORDER: &str = "entries are applied one after the other";
pub(super) const COMMITTED: &str = "only committed entries are applied";
pub(super) const SAME_COMMAND: &str = "what is applied at an index is what is committed there";
pub(super) const SAME_OUTCOME: &str = "an entry has the same outcome on every replica";
pub(super) const SAME_STATE: &str = "replicas that applied the same entries have the same state";

const CHECK: Check = Check::StateAgreement;

/// Before the ghost takes the event in.
pub(super) fn before(g: &Ghost, stamped: &Stamped, at: At, r: &mut Report) {
    let Event::Node(NodeEvent::Apply { index, id, outcome, state_hash }) = &stamped.event else { return };
    let Some(slot) = at.node.and_then(|id| g.find(id)) else { return };
    let node = &g.nodes[slot];
    r.expect(CHECK, IN_ORDER, at, *index == node.applied + 1, || {
        (format!("node {} applied entry {index} after entry {}", node.id, node.applied), Vec::new())
    });
    let Some(place) = index.checked_sub(1).map(|i| i as usize) else { return };
    let committed = g.committed.get(place);
    r.expect(CHECK, COMMITTED, at, committed.is_some(), || {
        (format!("node {} applied entry {index}, and only {} entries are committed", node.id, g.committed.len()), Vec::new())
    });
    if let Some(committed) = committed {
        r.expect(CHECK, SAME_COMMAND, at, committed.entry.id() == *id, || {
            let what = |id: Option<curp::ProposeId>| id.map_or_else(|| "no command".to_owned(), |id| g.tell(id));
            let message =
                format!("node {} applied {} at index {index}, where {} is committed", node.id, what(*id), what(committed.entry.id()));
            (message, vec![committed.event])
        });
    }
    let Some(first) = g.applied.get(place) else { return };
    let other = &g.nodes[first.slot];
    r.expect(CHECK, SAME_OUTCOME, at, first.outcome == *outcome, || {
        let what = id.map_or_else(|| "the entry".to_owned(), |id| g.tell(id));
        let message =
            format!("{what} at index {index} came to {outcome:?} on node {}, and to {:?} on node {}", node.id, first.outcome, other.id);
        (message, vec![first.event])
    });
    r.expect(CHECK, SAME_STATE, at, first.state_hash == *state_hash, || {
        let what = if first.slot == slot { "before it restarted".to_owned() } else { format!("on node {}", other.id) };
        let message = format!(
            "after entry {index} the state of node {} differs from that {what}: {state_hash:016x} and {:016x}",
            node.id, first.state_hash
        );
        (message, vec![first.event])
    });
}
