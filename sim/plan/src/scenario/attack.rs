//! Faults of a plan, drawn from a scenario's attacks.

use super::{Attack, Shapes, Span, Step, StepKind, Who};
use crate::{Fault, FaultKind, Member, Shape, Target, When};
use world::{Direction, Draws, Sequence};

/// What drawing a fault needs to know of the run.
pub(super) struct Context<'a> {
    pub(super) voters: u32,
    pub(super) clients: u32,
    pub(super) calm_us: u64,
    pub(super) heal_us: u64,
    /// When bursts of operations begin.
    pub(super) bursts: &'a [u64],
    /// Whether the scenario has nodes that join: then partitions name the newest too.
    pub(super) grows: bool,
    /// Whether the nodes' stores have files.
    pub(super) redb: bool,
}

/// The most nodes that join in one run.
const JOINERS_MAX: u32 = 6;

impl Attack {
    /// Whether a node joins in it.
    pub(super) fn grows(&self) -> bool {
        self.step.iter().any(|step| match step.kind {
            StepKind::AddMember { .. } => true,
            StepKind::LoseDisk { replace_percent, .. } => replace_percent > 0,
            _ => false,
        })
    }
}

/// All faults of a run. Each attack and each time it is done has draws of its own.
pub(super) fn faults(draws: Draws, attacks: &[Attack], context: &Context) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (a, attack) in attacks.iter().enumerate() {
        let mut run = draws.sequence("plan.attack", a as u64);
        let (off, count) = (run.draw().below(100) < attack.off_percent, attack.count.draw(&mut run));
        if off {
            continue;
        }
        // Swarm testing of shapes: a run has some of them only.
        let shapes_off = run.draw().0;
        for i in 0..count {
            once(&mut draws.sequence("plan.attack.once", (a as u64) << 32 | i), attack, context, shapes_off, &mut faults);
        }
    }
    faults.retain(|fault| context.redb || !matches!(fault.kind, FaultKind::StoreCut { .. }));
    // In the order of time, those with an anchor last.
    faults.sort_by_key(|f| if let When::AtUs(at) = f.when { at } else { u64::MAX });
    // Nodes that join are numbered in this order, once and for all; those beyond the limit do not join.
    let mut joiner = context.voters;
    faults.retain_mut(|fault| {
        let Some(node) = fault.kind.joiner_mut() else { return true };
        if joiner < context.voters + JOINERS_MAX {
            joiner += 1;
            *node = joiner;
            return true;
        }
        if let FaultKind::LoseDisk { replace, .. } = &mut fault.kind {
            *replace = None;
        }
        !matches!(fault.kind, FaultKind::AddMember { .. })
    });
    for (id, fault) in (1..).zip(&mut faults) {
        fault.id = id;
    }
    faults
}

fn once(sequence: &mut Sequence, attack: &Attack, context: &Context, shapes_off: u64, faults: &mut Vec<Fault>) {
    let start = start(sequence, context);
    let anchor = attack.after.as_ref().map(|after| {
        let probe = sequence.pick(&after.probes).cloned().unwrap_or_default();
        (probe, after.n.draw(sequence))
    });
    for step in &attack.step {
        let mut delay = step.delay_us.draw(sequence);
        let n_plus = step.n_plus.draw(sequence);
        let times = step.times.draw(sequence);
        for _ in 0..times {
            let when = match &anchor {
                Some((probe, n)) => When::After { probe: probe.clone(), n: n + n_plus, delay_us: delay },
                None => When::AtUs((start + delay).min(context.heal_us - 1)),
            };
            faults.push(Fault { id: 0, when, kind: kind(sequence, step, context, shapes_off) });
            delay += step.every_us.draw(sequence);
        }
    }
}

/// Half of the times close to a burst, since a fault in a quiet moment does little.
fn start(sequence: &mut Sequence, context: &Context) -> u64 {
    let anywhere = sequence.draw().range(context.calm_us..=context.heal_us - 1);
    let (close, offset) = (sequence.draw().chance(0.5), sequence.draw().log_range(0..=50_000));
    match sequence.pick(context.bursts) {
        Some(&burst) if close => (burst + offset).clamp(context.calm_us, context.heal_us - 1),
        _ => anywhere,
    }
}

fn kind(s: &mut Sequence, step: &Step, context: &Context, shapes_off: u64) -> FaultKind {
    match &step.kind {
        StepKind::Crash { node, power_percent, down_us } => {
            FaultKind::Crash { node: who(s, node, context), power: percent(s, *power_percent), down_us: down_us.draw(s) }
        }
        StepKind::CrashAll { power_percent, down_us } => {
            FaultKind::CrashAll { power: percent(s, *power_percent), down_us: down_us.draw(s) }
        }
        StepKind::Pause { node, for_us } => FaultKind::Pause { node: who(s, node, context), for_us: for_us.draw(s) },
        StepKind::Partition { shapes, for_us } => {
            let on: Vec<Shapes> = shapes.iter().enumerate().filter(|(i, _)| shapes_off >> i & 1 == 0).map(|(_, &s)| s).collect();
            let drawn = s.pick(if on.is_empty() { shapes } else { &on }).copied().unwrap_or(Shapes::Symmetric);
            let for_us = for_us.draw(s);
            FaultKind::Partition { shape: shape(s, drawn, context, for_us), for_us }
        }
        StepKind::Isolate { node, directions, for_us } => {
            let direction = s.pick(directions).copied().unwrap_or(Direction::Both);
            let node = who(s, node, context);
            FaultKind::Partition { shape: isolate(s, node, direction, context), for_us: for_us.draw(s) }
        }
        StepKind::SlowLink { from, to, extra_us, for_us } => {
            FaultKind::SlowLink { from: from.clone(), to: to.clone(), extra_us: extra_us.draw(s), for_us: for_us.draw(s) }
        }
        StepKind::Cut { from, to, for_us } => {
            FaultKind::Partition { shape: Shape::OneWay { from: from.clone(), to: to.clone() }, for_us: for_us.draw(s) }
        }
        StepKind::Storm { loss_ppm, duplicate_ppm, reorder_ppm, late_ppm, late_us, for_us } => {
            let mut some = |span: &Span| if s.draw().chance(0.6) { span.draw(s) as u32 } else { 0 };
            let (loss_ppm, duplicate_ppm, reorder_ppm, late_ppm) = (some(loss_ppm), some(duplicate_ppm), some(reorder_ppm), some(late_ppm));
            let (late_us_max, reorder_us_max) = (late_us.draw(s), s.draw().log_range(500..=100_000));
            FaultKind::Storm { loss_ppm, duplicate_ppm, reorder_ppm, reorder_us_max, late_ppm, late_us_max, for_us: for_us.draw(s) }
        }
        StepKind::SlowDisk { node, factor, for_us } => {
            FaultKind::SlowDisk { node: who(s, node, context), factor: factor.draw(s).max(1) as u32, for_us: for_us.draw(s) }
        }
        StepKind::SyncError { node, chance_ppm, for_us, down_us } => FaultKind::SyncError {
            node: who(s, node, context),
            chance_ppm: chance_ppm.draw(s) as u32,
            for_us: for_us.draw(s),
            down_us: down_us.draw(s),
        },
        StepKind::StoreCut { node, call, down_us } => {
            FaultKind::StoreCut { node: who(s, node, context), call: call.draw(s).max(1), down_us: down_us.draw(s) }
        }
        StepKind::SlowCpu { node, factor, for_us } => {
            FaultKind::SlowCpu { node: who(s, node, context), factor: factor.draw(s).max(1) as u32, for_us: for_us.draw(s) }
        }
        StepKind::ClientCrash { down_us } => {
            FaultKind::ClientCrash { client: s.draw().below(context.clients.into()) as u32 + 1, down_us: down_us.draw(s) }
        }
        StepKind::WallClockStep { by_us } => {
            let back = s.draw().chance(0.5);
            let by = by_us.draw(s) as i64;
            FaultKind::WallClockStep { node: Target::Node(any(s, context)), by_us: if back { -by } else { by } }
        }
        StepKind::AddMember { promote_percent } => FaultKind::AddMember { node: 0, promote: percent(s, *promote_percent) },
        StepKind::RemoveMember { node, stop_percent, stop_after_us } => {
            let (node, stops, after) = (who(s, node, context), percent(s, *stop_percent), stop_after_us.draw(s));
            FaultKind::RemoveMember { node, stop_after_us: stops.then_some(after) }
        }
        StepKind::LoseDisk { node, down_us, replace_percent } => {
            let (node, down_us) = (who(s, node, context), down_us.draw(s));
            FaultKind::LoseDisk { node, down_us, replace: percent(s, *replace_percent).then_some(0) }
        }
        StepKind::UpdateMember { node } => FaultKind::UpdateMember { node: who(s, node, context) },
        StepKind::MoveLeader { to } => FaultKind::MoveLeader { to: who(s, to, context) },
        StepKind::TakeSnapshot { node } => FaultKind::TakeSnapshot { node: who(s, node, context) },
        StepKind::Shutdown { down_us } => FaultKind::Shutdown { down_us: down_us.draw(s) },
    }
}

fn percent(s: &mut Sequence, percent: u64) -> bool {
    s.draw().below(100) < percent
}

fn any(s: &mut Sequence, context: &Context) -> u32 {
    s.draw().below(context.voters.into()) as u32 + 1
}

fn who(s: &mut Sequence, among: &[Who], context: &Context) -> Target {
    let drawn = s.pick(among).copied().unwrap_or(Who::Any);
    let number = s.draw();
    match drawn {
        Who::Leader => Target::Leader,
        Who::Anchor => Target::AnchorNode,
        Who::Newest => Target::Newest,
        Who::Follower if context.voters > 1 => Target::Follower(number.below(u64::from(context.voters) - 1) as u32 + 1),
        Who::Follower | Who::Any => Target::Node(number.below(context.voters.into()) as u32 + 1),
    }
}

/// The nodes in a drawn order.
fn shuffled(s: &mut Sequence, context: &Context) -> Vec<Member> {
    let mut nodes: Vec<Member> = (1..=context.voters).map(|n| Member::Node(Target::Node(n))).collect();
    nodes.extend(context.grows.then_some(Member::Node(Target::Newest)));
    s.shuffle(&mut nodes);
    nodes
}

/// Clients that take one side, and those that take the other; a third takes none.
fn client_sides(s: &mut Sequence, context: &Context) -> (Vec<Member>, Vec<Member>) {
    let mut sides = (Vec::new(), Vec::new());
    // In a quarter of the cases clients reach everybody: only nodes are cut off from nodes.
    if s.draw().chance(0.25) {
        return sides;
    }
    for c in 1..=context.clients {
        match s.draw().below(3) {
            0 => sides.0.push(Member::Client(c)),
            1 => sides.1.push(Member::Client(c)),
            _ => {}
        }
    }
    sides
}

/// Two groups, each with a part of the nodes and of the clients.
fn groups(s: &mut Sequence, context: &Context) -> (Vec<Member>, Vec<Member>) {
    let mut left = shuffled(s, context);
    let mut right = left.split_off(s.draw().range(1..=(left.len() as u64).max(2) - 1) as usize);
    let (with_left, with_right) = client_sides(s, context);
    left.extend(with_left);
    right.extend(with_right);
    (left, right)
}

fn isolate(s: &mut Sequence, node: Target, direction: Direction, context: &Context) -> Shape {
    let (with, without) = client_sides(s, context);
    Shape::Isolate { node, direction, with, without }
}

fn shape(s: &mut Sequence, shape: Shapes, context: &Context, for_us: u64) -> Shape {
    match shape {
        // Nodes not named in a shape are not affected; with three groups of five nodes nobody has a majority.
        Shapes::Symmetric => {
            let (left, mut right) = groups(s, context);
            let third = if right.len() > 2 && s.draw().chance(0.3) { right.split_off(right.len() / 2) } else { Vec::new() };
            Shape::Symmetric { groups: [left, right, third].into_iter().filter(|g| !g.is_empty()).collect() }
        }
        Shapes::OneWay => {
            let (from, to) = groups(s, context);
            Shape::OneWay { from, to }
        }
        Shapes::Isolate => {
            let node = who(s, &[Who::Leader, Who::Leader, Who::Any], context);
            let direction = s.pick(&[Direction::Both, Direction::In, Direction::Out]).copied().unwrap_or(Direction::Both);
            isolate(s, node, direction, context)
        }
        Shapes::Bridge => {
            let mut nodes = shuffled(s, context);
            nodes.truncate(nodes.len().max(2) - 1); // The last one is the bridge.
            let right = nodes.split_off(nodes.len() / 2);
            Shape::Bridge { left: nodes, right }
        }
        Shapes::Ring => Shape::Ring { order: shuffled(s, context) },
        Shapes::MajorityMinority => {
            let size = s.draw().range(1..=u64::from((context.voters / 2).max(1))) as u32;
            let (with, without) = client_sides(s, context);
            let (with_leader, first) = (s.draw().chance(0.6), s.draw().below(context.voters.into()) as u32);
            Shape::MajorityMinority { size, with_leader, first, with, without }
        }
        Shapes::Flapping => {
            let (left, right) = groups(s, context);
            let longest = for_us.max(4_000) / 2;
            let (on_us, off_us) = (s.draw().log_range(2_000..=longest), s.draw().log_range(2_000..=longest));
            Shape::Flapping { groups: vec![left, right], on_us, off_us }
        }
        Shapes::Swizzle => {
            let mut clog = shuffled(s, context);
            clog.truncate(s.draw().range(1..=clog.len() as u64) as usize);
            let mut unclog = clog.clone();
            s.shuffle(&mut unclog);
            let step_us = for_us / (2 * clog.len() as u64).max(1);
            Shape::Swizzle { clog, unclog, step_us }
        }
    }
}
