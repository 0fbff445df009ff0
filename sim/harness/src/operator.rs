//! The operator: a client of its own that has members added, promoted and removed, leadership moved, snapshots taken and the cluster shut
//! down, as the plan says. It does one wish after another, with patience for each step, and gives up visibly.
//!
//! Invariants: it leaves out, visibly, what makes no sense any more when its turn comes, and what would leave the voters without a majority
//! of disks. A wish under way at the heal is seen through; those that wait are dropped, so that a run ends in a settled configuration.

use client::AdminWish;
use curp::{AdminDone, AdminRefusal as Refusal, ConfigChange, Leadership, NodeId, Reply};
use history::WorldEvent;
use plan::{FaultKind, Plan};
use std::collections::VecDeque;
use world::US;

use crate::cluster::{Cluster, Next};
use crate::hosts::Hosts;
use crate::members::Changed;
use crate::observe::probe;

/// A step that is not done after this time is given up, and its wish with it.
const PATIENCE: u64 = 4_000_000 * US;

/// So long after a refusal that may not be the last word, it asks again.
const PAUSE: u64 = 50_000 * US;

/// What makes up a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The node's process starts, and it becomes a learner.
    Join(NodeId),
    Promote(NodeId),
    Remove(NodeId),
    Update(NodeId),
    Move(NodeId),
    Snapshot(NodeId),
    ShutDown,
}

impl Step {
    fn change(self) -> Option<ConfigChange> {
        match self {
            Step::Join(node) => Some(ConfigChange::AddLearner { node, address: address(node, 0) }),
            Step::Promote(node) => Some(ConfigChange::Promote { node }),
            Step::Remove(node) => Some(ConfigChange::Remove { node }),
            Step::Update(node) => Some(ConfigChange::Update { node, address: address(node, 1) }),
            Step::Move(_) | Step::Snapshot(_) | Step::ShutDown => None,
        }
    }
}

/// Where a node is reached by its peers, in runs over gRPC; of two such places. Other runs go by ids.
fn address(node: NodeId, place: u32) -> String {
    format!("10.0.0.{node}:{}", 2380 + place)
}

/// A wish that waits for its turn.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// The fault's place in the plan.
    index: usize,
    anchor: Option<NodeId>,
    /// The node that lost its disk, for a replacement.
    lost: Option<NodeId>,
}

/// The wish under way.
#[derive(Debug)]
struct Wish {
    fault: u32,
    steps: VecDeque<Step>,
    /// The step that is asked for, and the number it is asked under.
    asked: Option<(Step, u64)>,
    /// The number under which it was first asked for: its patience is named after it.
    first_asked: Option<u64>,
    /// Who led when the step began.
    led: Option<NodeId>,
    /// It is done, or definitely not to be.
    over: bool,
}

/// The operator.
#[derive(Debug)]
pub(crate) struct Operator {
    /// Its address: beyond the workload's clients. `None`: the plan has nothing for it to do.
    pub(crate) address: Option<u32>,
    life: u32,
    waiting: VecDeque<Waiting>,
    wish: Option<Wish>,
    /// Numbers what it asks for.
    asked: u64,
    /// Whether its client is to forget what it was asked for.
    forget: bool,
    /// How long nodes stay down after a shutdown.
    down_us: u64,
}

impl Operator {
    pub(crate) fn new(plan: &Plan) -> Self {
        let busy = plan.fault.iter().any(|f| f.kind.is_wish());
        let address = busy.then_some(plan.workload.clients + 1);
        Operator { address, life: 0, waiting: VecDeque::new(), wish: None, asked: 0, forget: false, down_us: 1_000 }
    }

    /// What it is busy with, for people.
    pub(crate) fn busy_with(&self) -> Option<String> {
        let wish = self.wish.as_ref()?;
        Some(format!("the operator is busy with fault {} of the plan: {:?}", wish.fault, wish.asked.map(|(step, _)| step)))
    }

    /// The change of the configuration that it asks for now.
    pub(crate) fn change(&self) -> Option<ConfigChange> {
        self.wish.as_ref()?.asked.as_ref().and_then(|(step, _)| step.change())
    }

    /// What waits is not done any more.
    pub(crate) fn drop_waiting(&mut self) {
        self.waiting.clear();
    }
}

impl Cluster {
    /// The operator's client, and every process that comes and goes as a client does: the workload's, then it.
    pub(crate) fn clients(&self) -> u32 {
        self.operator.address.unwrap_or(self.plan.workload.clients)
    }

    /// Starts the operator's client: its first life, or one that knows nothing of what was asked before.
    pub(crate) fn start_operator(&mut self, hosts: &mut impl Hosts) {
        let Some(address) = self.operator.address else { return };
        if self.operator.life > 0 {
            hosts.stop_client(address);
        }
        self.operator.life += 1;
        let life = self.operator.life;
        hosts.start_client(self, address, life, self.draws.u64("operator", 0, u64::from(life)));
    }

    /// The operator has a wish more.
    pub(crate) fn wish(&mut self, index: usize, anchor: Option<NodeId>, lost: Option<NodeId>) {
        if self.healed {
            return;
        }
        self.operator.waiting.push_back(Waiting { index, anchor, lost });
        self.queue.push(self.now, Next::Operate);
    }

    /// The operator does what it can do now: ends a wish, begins the next, asks for the next step.
    pub(crate) fn operate(&mut self, hosts: &mut impl Hosts) {
        if std::mem::take(&mut self.operator.forget) {
            self.start_operator(hosts);
        }
        loop {
            let Some(wish) = &self.operator.wish else {
                let Some(waiting) = self.operator.waiting.pop_front() else { return };
                self.begin_wish(waiting);
                continue;
            };
            if wish.asked.is_some() {
                return;
            }
            match wish.steps.front().copied().filter(|_| !wish.over) {
                Some(step) => self.begin_step(hosts, step),
                None => {
                    self.observer.world(None, WorldEvent::FaultEnd { fault: wish.fault });
                    self.operator.wish = None;
                }
            }
        }
    }

    fn begin_wish(&mut self, waiting: Waiting) {
        let plan = self.plan.clone();
        let fault = &plan.fault[waiting.index];
        let node = waiting.lost.or_else(|| fault.kind.target()?.resolve(&self.roles(waiting.anchor)));
        let event = WorldEvent::Fault { fault: fault.id, kind: fault.kind.name().to_owned(), what: fault.kind.to_string() };
        self.observer.world(node, event);
        let steps = match (&fault.kind, node) {
            (&FaultKind::AddMember { node, promote: true }, _) => vec![Step::Join(node), Step::Promote(node)],
            (&FaultKind::AddMember { node, promote: false }, _) => vec![Step::Join(node)],
            (&FaultKind::LoseDisk { replace: Some(fresh), .. }, Some(lost)) => {
                vec![Step::Join(fresh), Step::Promote(fresh), Step::Remove(lost)]
            }
            (FaultKind::RemoveMember { stop_after_us, .. }, Some(node)) => {
                self.departures.extend(stop_after_us.map(|after| (node, after)));
                vec![Step::Remove(node)]
            }
            (FaultKind::UpdateMember { .. }, Some(node)) => vec![Step::Update(node)],
            (FaultKind::MoveLeader { .. }, Some(node)) => vec![Step::Move(node)],
            (FaultKind::TakeSnapshot { .. }, Some(node)) => vec![Step::Snapshot(node)],
            (FaultKind::Shutdown { down_us }, _) => {
                self.operator.down_us = *down_us;
                vec![Step::ShutDown]
            }
            _ => Vec::new(),
        };
        if steps.is_empty() {
            self.skip("it is about a role that nobody has");
        }
        self.operator.wish = Some(Wish { fault: fault.id, steps: steps.into(), asked: None, first_asked: None, led: None, over: false });
    }

    fn begin_step(&mut self, hosts: &mut impl Hosts, step: Step) {
        if let Some(why) = self.senseless(step) {
            self.skip(why);
            if let Some(wish) = &mut self.operator.wish {
                wish.over = true;
            }
            return;
        }
        if let Step::Join(node) = step
            && self.process(node).life == 0
        {
            self.newest = Some(node);
            hosts.start_node(self, node);
        }
        self.operator.asked += 1;
        let (asked, led) = (self.operator.asked, self.leader.map(|(_, node)| node));
        let Some(wish) = &mut self.operator.wish else { return };
        wish.asked = Some((step, asked));
        if wish.first_asked.is_none() {
            (wish.first_asked, wish.led) = (Some(asked), led);
            self.queue.push(self.now + PATIENCE, Next::OperatorPatience { asked });
        }
        let (node, wish) = match step {
            Step::Join(_) | Step::Promote(_) | Step::Remove(_) | Step::Update(_) => (None, step.change().map(AdminWish::Change)),
            Step::Move(to) => (None, Some(AdminWish::MoveLeader(to))),
            Step::Snapshot(node) => (Some(node), Some(AdminWish::TakeSnapshot)),
            Step::ShutDown => (None, Some(AdminWish::Shutdown)),
        };
        if let (Some(address), Some(wish)) = (self.operator.address, wish) {
            hosts.tell_client(self, address, client::Input::Admin { op: asked, node, wish });
        }
    }

    /// Why a step is not to be done, as the cluster is now.
    fn senseless(&mut self, step: Step) -> Option<&'static str> {
        let members = &self.members;
        if step.change().is_some_and(|change| !members.survive(None, Some(&change))) {
            return Some("too few of the voters would have their disks");
        }
        let (voter, member) = match step {
            Step::Join(node) | Step::Promote(node) | Step::Remove(node) | Step::Update(node) | Step::Move(node) | Step::Snapshot(node) => {
                (members.committed.is_voter(node), members.committed.is_member(node))
            }
            Step::ShutDown => (true, true),
        };
        let last = members.committed.voters.len() == 1;
        match step {
            Step::Join(node) if member || self.process(node).gone => Some("it is or was a member"),
            Step::Promote(_) if voter || !member => Some("it is no learner"),
            Step::Remove(_) if !member => Some("it is no member"),
            Step::Remove(_) if voter && last => Some("nobody else votes"),
            Step::Update(_) if !member => Some("it is no member"),
            Step::Move(node) if !voter || self.process(node).gone => Some("it does not vote"),
            Step::Snapshot(node) if !self.process(node).up => Some("it is down"),
            _ => None,
        }
    }

    /// Something that the plan wanted of the operator or a disk is left out.
    pub(crate) fn skip(&mut self, why: &'static str) {
        tracing::info!("the operator leaves a wish out: {why}");
        self.took_effect("operator_skipped", 1);
    }

    /// The operator's client says what came of a step.
    pub(crate) fn operator_heard(&mut self, asked: u64, result: Result<AdminDone, Refusal>) {
        tracing::info!("the operator hears {result:?}");
        let Some(wish) = &mut self.operator.wish else { return };
        let Some((step, _)) = wish.asked.filter(|(_, number)| *number == asked) else { return };
        let led = wish.led;
        wish.asked = None;
        match (step, result) {
            (Step::Move(to), Ok(_)) if led != Some(to) => self.took_effect("move_leader", 1),
            (Step::Snapshot(_), Ok(_)) => self.took_effect("take_snapshot", 1),
            (Step::ShutDown, Ok(_)) => self.operator.forget = true,
            (_, Ok(_)) => {}
            (_, Err(Refusal::NotLeader(_) | Refusal::NotReady | Refusal::Busy | Refusal::Stale(_) | Refusal::NotCaughtUp)) => {
                return self.queue.push(self.now + PAUSE, Next::Operate);
            }
            (_, Err(_)) => wish.over = true,
        }
        self.next_step();
    }

    fn next_step(&mut self) {
        if let Some(wish) = &mut self.operator.wish {
            wish.steps.pop_front();
            wish.first_asked = None;
        }
        self.queue.push(self.now, Next::Operate);
    }

    /// A node stopped because the cluster shuts down: that is what the operator wanted, and it must not ask again.
    pub(crate) fn note_shutdown(&mut self) {
        if let Some(wish) = &mut self.operator.wish
            && wish.asked.take_if(|(step, _)| *step == Step::ShutDown).is_some()
        {
            self.operator.forget = true;
            self.next_step();
        }
    }

    /// The operator has waited long enough for a step.
    pub(crate) fn operator_gives_up(&mut self, hosts: &mut impl Hosts, asked: u64) {
        let Some(wish) = &mut self.operator.wish else { return };
        if wish.first_asked != Some(asked) {
            return;
        }
        (wish.asked, wish.over) = (None, true);
        let Some(step) = wish.steps.front().copied() else { return };
        tracing::info!("the operator gives up: {step:?}");
        if let Some(change) = step.change() {
            self.members.let_loose(change);
        }
        self.took_effect("operator_gave_up", 1);
        self.operator.forget = true;
        self.operate(hosts);
    }

    /// A configuration is known to be committed: this is what it changed, first applied at `node`.
    pub(crate) fn note_changed(&mut self, node: NodeId, changed: Changed) {
        match changed {
            Changed::Added(_) => {
                self.took_effect("add_member", 1);
                self.observer.fire(const { probe("learner_added") }, Some(node));
            }
            Changed::Promoted(_) => self.observer.fire(const { probe("learner_promoted") }, Some(node)),
            Changed::Removed(removed) => {
                self.took_effect("remove_member", 1);
                self.observer.fire(const { probe("member_removed") }, Some(node));
                if self.leader.is_some_and(|(_, leader)| leader == removed) {
                    self.observer.fire(const { probe("leader_removed") }, Some(removed));
                }
                if let Some(after_us) = self.departures.remove(&removed) {
                    self.queue.push(self.now + after_us * US, Next::Depart { node: removed });
                }
            }
            Changed::Updated(_) => self.took_effect("update_member", 1),
        }
    }

    /// A node that was removed ends for good.
    pub(crate) fn depart(&mut self, hosts: &mut impl Hosts, node: NodeId) {
        self.stop(hosts, node, false);
        self.process(node).gone = true;
        self.spread(hosts, node);
    }

    /// A node is no more. Whoever takes the last nodes that a client knows away, tells it where the cluster is now: otherwise no code could
    /// ever find out. It looks like that node's last word, of no term.
    pub(crate) fn spread(&mut self, hosts: &mut impl Hosts, gone: NodeId) {
        for client in 1..=self.clients() {
            let (leadership, membership) = (Leadership::default(), self.members.committed.clone());
            let reply = Reply::Cluster { leadership, membership };
            hosts.tell_client(self, client, client::Input::Message { from: gone, reply });
        }
    }

    /// A node stops in good order, and starts again later.
    pub(crate) fn shut_down(&mut self, hosts: &mut impl Hosts, node: NodeId) {
        if self.stop(hosts, node, false) {
            self.took_effect("shutdown", 1);
            self.restart_later(node, self.operator.down_us);
        }
    }
}
