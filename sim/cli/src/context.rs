//! Which events of a trace tell the story of a finding: its evidence, the fault just before, and, where that is little, what else became of the
//! same commands, and the turning points before it (elections, crashes, restarts). And which faults were at work.

use curp::{Event as NodeEvent, NodeId, ProposeId};
use harness::Finding;
use history::{ClientEvent, Event, Stamped, WorldEvent};
use std::collections::BTreeMap;

use crate::events;
use crate::term::duration;

const EVENTS_MIN: usize = 8;
const EVENTS_MAX: usize = 10;
const FAULTS_MAX: usize = 5;

/// Eight to ten events, in order; fewer if there are not as many.
pub fn events<'a>(trace: &'a [Stamped], finding: &Finding) -> Vec<&'a Stamped> {
    let mut chosen: Vec<usize> = finding.evidence.iter().chain(&finding.event).filter_map(|i| position(trace, *i)).collect();
    chosen.sort_unstable();
    chosen.dedup();
    let end = end(trace, finding);
    let fault = trace[..chosen.last().copied().unwrap_or(end)].iter().rposition(|e| begins_fault(&e.event));
    if chosen.len() >= EVENTS_MAX {
        // The beginning says how it came about, the end what went wrong.
        let tail = EVENTS_MAX / 2;
        let head = EVENTS_MAX - 1 - tail;
        chosen.drain(head..chosen.len() - tail);
    }
    chosen.extend(fault);
    chosen.sort_unstable();
    chosen.dedup();
    let ids: Vec<ProposeId> = chosen.iter().filter_map(|i| id_of(&trace[*i].event)).collect();
    let before = || trace[..end].iter().enumerate().rev();
    let related = before().filter(|(_, e)| id_of(&e.event).is_some_and(|id| ids.contains(&id))).map(|(i, _)| i);
    let turning_points = before().filter(|(_, e)| turns(e)).map(|(i, _)| i);
    // The last turning point has a place in any case.
    fill(&mut chosen, related, EVENTS_MIN - 1);
    fill(&mut chosen, turning_points, EVENTS_MIN);
    chosen.sort_unstable();
    chosen.into_iter().map(|i| &trace[i]).collect()
}

fn fill(chosen: &mut Vec<usize>, from: impl Iterator<Item = usize>, least: usize) {
    for i in from {
        if chosen.len() >= least {
            break;
        }
        if !chosen.contains(&i) {
            chosen.push(i);
        }
    }
}

/// The one command that the event is about.
fn id_of(event: &Event) -> Option<ProposeId> {
    match event {
        Event::Node(NodeEvent::LeaderPropose { entry, .. }) => entry.id(),
        Event::Node(NodeEvent::WitnessRecord { proposal, inserted: true, .. }) => Some(proposal.id),
        Event::Node(NodeEvent::Execute { id, .. } | NodeEvent::PoolDrop { id }) => Some(*id),
        Event::Node(NodeEvent::Apply { id, .. }) | Event::Client(ClientEvent::Propose { id, .. }) => *id,
        Event::Client(ClientEvent::FastComplete { id, .. } | ClientEvent::SyncedComplete { id, .. }) => Some(*id),
        _ => None,
    }
}

/// The faults at work when it showed, and the last that had ended by then.
pub fn faults(trace: &[Stamped], finding: &Finding) -> Vec<String> {
    let upto = &trace[..end(trace, finding)];
    let mut active: BTreeMap<Key, &Stamped> = BTreeMap::new();
    let mut ended: Vec<(&Stamped, u64)> = Vec::new();
    for event in upto {
        if is_instant(&event.event) {
            ended.push((event, event.t));
        } else if let Some(key) = begins(event) {
            active.insert(key, event);
        }
        if let Some(key) = ends(event)
            && let Some(began) = active.remove(&key)
        {
            ended.push((began, event.t));
        }
        if matches!(event.event, Event::World(WorldEvent::Heal)) {
            ended.extend(std::mem::take(&mut active).into_values().map(|began| (began, event.t)));
        }
    }
    let ago = |t: u64| duration(finding.t.saturating_sub(t));
    let mut at_work: Vec<&Stamped> = active.into_values().collect();
    at_work.sort_by_key(|e| std::cmp::Reverse(e.i));
    let mut lines: Vec<String> =
        at_work.iter().take(FAULTS_MAX).map(|began| format!("at work since {} before: {}", ago(began.t), fault_line(began))).collect();
    let rest = FAULTS_MAX - lines.len();
    for (began, end) in ended.iter().rev().take(rest.min(2)) {
        let when = if began.t == *end { ago(*end) } else { format!("from {} to {}", ago(began.t), ago(*end)) };
        lines.push(format!("{when} before: {}", fault_line(began)));
    }
    lines
}

/// One past the event at which the finding showed; of one that names no event, the last at its time.
fn end(trace: &[Stamped], finding: &Finding) -> usize {
    match finding.event.and_then(|i| position(trace, i)) {
        Some(i) => i + 1,
        None => trace.partition_point(|e| e.t <= finding.t),
    }
}

fn position(trace: &[Stamped], i: u64) -> Option<usize> {
    trace.binary_search_by_key(&i, |e| e.i).ok()
}

/// What a beginning and an end have in common.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Fault(u32),
    Down(Option<NodeId>),
    Paused(Option<NodeId>),
}

fn begins(event: &Stamped) -> Option<Key> {
    match &event.event {
        Event::World(WorldEvent::Fault { kind, .. }) if has_own_events(kind) => None,
        Event::World(WorldEvent::Fault { fault, .. }) => Some(Key::Fault(*fault)),
        Event::World(WorldEvent::Crash { .. } | WorldEvent::Fatal { .. }) => Some(Key::Down(event.node)),
        Event::World(WorldEvent::Pause) => Some(Key::Paused(event.node)),
        _ => None,
    }
}

fn ends(event: &Stamped) -> Option<Key> {
    match &event.event {
        Event::World(WorldEvent::FaultEnd { fault }) => Some(Key::Fault(*fault)),
        Event::Node(NodeEvent::Restart { .. }) => Some(Key::Down(event.node)),
        Event::World(WorldEvent::Resume) => Some(Key::Paused(event.node)),
        _ => None,
    }
}

/// Faults that the plan orders and that nodes report themselves, when they stop and when they go on.
fn has_own_events(kind: &str) -> bool {
    matches!(kind, "crash" | "crash_all" | "pause")
}

fn is_instant(event: &Event) -> bool {
    matches!(event, Event::World(WorldEvent::Fault { kind, .. }) if matches!(kind.as_str(), "client_crash" | "wall_clock_step"))
}

fn begins_fault(event: &Event) -> bool {
    use WorldEvent as W;
    matches!(event, Event::World(W::Crash { .. } | W::Fatal { .. } | W::Pause | W::Fault { .. }))
}

fn turns(event: &Stamped) -> bool {
    match &event.event {
        // Every node starts once.
        Event::Node(NodeEvent::Restart { .. }) => event.t > 0,
        Event::Node(NodeEvent::BecomeLeader { .. } | NodeEvent::OpenFastPath { .. }) => true,
        Event::World(WorldEvent::FaultEnd { .. }) => false,
        event => events::is_fault(event),
    }
}

fn fault_line(event: &Stamped) -> String {
    match &event.event {
        Event::World(WorldEvent::Fault { kind, what, .. }) => format!("{kind}: {what}"),
        _ => events::line(event),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn eight_to_ten_events_with_the_fault_before() {
        let (report, trace) = samples::lost_write();
        let mut finding = report.findings[0].clone();
        for evidence in [vec![], vec![1], (0..trace.len() as u64).collect::<Vec<_>>()] {
            finding.evidence = evidence;
            let chosen = events(&trace, &finding);
            assert!(chosen.len() <= EVENTS_MAX && chosen.windows(2).all(|w| w[0].i < w[1].i), "{} events", chosen.len());
            assert!(chosen.iter().any(|e| begins_fault(&e.event)), "no fault");
            assert!(chosen.iter().any(|e| Some(e.i) == finding.event), "not the event itself");
        }
        finding.evidence.clear();
        assert_eq!(events(&[], &finding).len(), 0);
    }

    #[test]
    fn a_restart_ends_a_crash() {
        let (report, trace) = samples::lost_write();
        let lines = faults(&trace, &report.findings[0]);
        assert!(lines.iter().any(|l| l.starts_with("at work") && l.contains("partition")), "{lines:?}");
        assert!(lines.iter().any(|l| l.starts_with("from") && l.contains("loses power")), "{lines:?}");
    }
}
