//! The plan's faults: when they begin, what they do to the world, how they end; and the heal, after which there are none.

use curp::NodeId;
use history::{ClientEvent, WorldEvent};
use plan::{FaultKind, PROBES, Roles, When};
use world::US;

use crate::cluster::{Cluster, Next};
use crate::hosts::Hosts;
use crate::observe::probe;

impl Cluster {
    /// Schedules the faults that come at a time, and notes those that wait for a probe.
    pub(crate) fn schedule_faults(&mut self) {
        for (index, fault) in self.plan.fault.iter().enumerate() {
            match &fault.when {
                When::AtUs(at) => self.queue.push(at * US, Next::Fault { index, anchor: None }),
                When::After { probe, n, .. } => {
                    let probe = PROBES.iter().position(|(name, _)| name == probe).expect("plans are validated");
                    self.anchored.push((probe, *n, index));
                }
            }
        }
    }

    /// Lets the faults react that are anchored to the probes just fired.
    pub(crate) fn react(&mut self) {
        self.observer.faulty = !self.healed && (self.observer.faulty || self.has_suffered());
        let mut fired = std::mem::take(&mut self.observer.fired);
        if !self.healed {
            for fired in &fired {
                let mut due = Vec::new();
                self.anchored.retain(|&(probe, n, index)| {
                    let now = probe == fired.probe && n == fired.count;
                    if now {
                        due.push(index);
                    }
                    !now
                });
                for index in due {
                    let When::After { delay_us, .. } = self.plan.fault[index].when else { continue };
                    let anchor = fired.node.or(self.leader.map(|(_, node)| node));
                    self.queue.push(self.now + delay_us * US, Next::Fault { index, anchor });
                }
            }
        }
        fired.clear();
        self.observer.fired = fired;
    }

    /// Whether a fault has taken effect: not merely begun, not the base network's ordinary losses, and no mere wish of the operator's.
    fn has_suffered(&self) -> bool {
        const WISHES: [&str; 8] = [
            "add_member",
            "move_leader",
            "operator_gave_up",
            "operator_skipped",
            "remove_member",
            "shutdown",
            "take_snapshot",
            "update_member",
        ];
        self.effects.keys().any(|kind| !WISHES.contains(kind))
            || self.network.effects().any(|(kind, times)| times > 0 && !kind.starts_with("message_"))
    }

    pub(crate) fn roles(&self, anchor: Option<NodeId>) -> Roles {
        let mut nodes: Vec<NodeId> = self.members.committed.members().collect();
        nodes.sort_unstable();
        let (newest, clients, leader) = (self.newest, self.plan.workload.clients, self.leader.map(|(_, node)| node));
        Roles { nodes, newest, clients, leader, anchor }
    }

    /// Every node's id, of those too that start later or never.
    fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        1..=self.processes.len() as NodeId
    }

    /// A fault begins, unless the plan has healed or it is about a role that nobody has.
    pub(crate) fn begin_fault(&mut self, hosts: &mut impl Hosts, index: usize, anchor: Option<NodeId>) {
        if self.healed {
            return;
        }
        let plan = self.plan.clone();
        let fault = &plan.fault[index];
        if fault.kind.is_wish() && !matches!(fault.kind, FaultKind::LoseDisk { .. }) {
            return self.wish(index, anchor, None);
        }
        let roles = self.roles(anchor);
        let target = fault.kind.target().map(|target| target.resolve(&roles));
        if target == Some(None) {
            return;
        }
        let node = target.flatten();
        let event = WorldEvent::Fault { fault: fault.id, kind: fault.kind.name().to_owned(), what: fault.kind.to_string() };
        self.observer.world(node, event);
        if let Some(net) = fault.kind.net_fault(&roles) {
            self.network.begin(fault.id, &net, self.now);
        }
        match (&fault.kind, node) {
            (FaultKind::Crash { power, down_us, .. }, Some(node)) => {
                if self.crash(hosts, node, *power, "crash") {
                    self.restart_later(node, *down_us);
                }
                return;
            }
            (FaultKind::CrashAll { power, down_us }, _) => {
                for node in self.ids() {
                    if self.crash(hosts, node, *power, "crash_all") {
                        self.restart_later(node, *down_us);
                    }
                }
                return;
            }
            (FaultKind::LoseDisk { down_us, .. }, Some(node)) => return self.lose_disk(hosts, node, *down_us, index),
            (FaultKind::StoreCut { call, down_us, .. }, Some(node)) => {
                let process = self.process(node);
                process.disk.cut_block(*call);
                process.store_cut_down_us = *down_us;
                return;
            }
            (FaultKind::Pause { .. }, Some(node)) => self.pause(hosts, node, fault.id),
            (FaultKind::SlowDisk { .. } | FaultKind::SyncError { .. }, Some(node)) => {
                let disk_fault = fault.kind.disk_fault().expect("these are the disk's");
                self.process(node).disk.begin(fault.id, disk_fault);
            }
            (FaultKind::SlowCpu { factor, .. }, Some(node)) => self.process(node).cpu.begin_slow(fault.id, *factor),
            (FaultKind::WallClockStep { by_us, .. }, Some(node)) => {
                self.process(node).timing.clock.step_wall(*by_us);
                self.took_effect("wall_clock_step", 1);
            }
            (FaultKind::ClientCrash { client, down_us }, _) => {
                self.crash_client(hosts, *client, *down_us);
                return;
            }
            _ => {}
        }
        if let Some(for_us) = fault.kind.duration_us() {
            self.queue.push(self.now + for_us * US, Next::FaultEnd { index });
        }
    }

    /// A fault that lasts ends.
    pub(crate) fn end_fault(&mut self, hosts: &mut impl Hosts, index: usize) {
        if self.healed {
            return;
        }
        let fault = self.plan.fault[index].id;
        self.observer.world(None, WorldEvent::FaultEnd { fault });
        self.network.end(fault);
        for node in self.ids() {
            let process = self.process(node);
            process.disk.end(fault);
            process.cpu.end(fault);
            self.resume(hosts, node, Some(fault));
        }
    }

    /// Stops a node, which counts as an effect; false if it is down already, and then nothing happens.
    fn crash(&mut self, hosts: &mut impl Hosts, id: NodeId, power: bool, kind: &'static str) -> bool {
        let stopped = self.stop(hosts, id, power);
        if stopped {
            self.took_effect(kind, 1);
        }
        stopped
    }

    /// Ends a node's process; false if there is none.
    pub(crate) fn stop(&mut self, hosts: &mut impl Hosts, id: NodeId, power: bool) -> bool {
        let now = self.now;
        let process = self.process(id);
        if !process.up {
            return false;
        }
        // Before the process is taken apart: a store that is dropped would be closed in good order.
        process.disk.close_block();
        hosts.stop_node(id);
        process.up = false;
        process.life += 1;
        process.paused_by.clear();
        process.executing.clear();
        let report = process.disk.crash(now, power);
        let (in_flight, lost_bytes) = (report.in_flight, report.lost_bytes);
        self.observer.world(Some(id), WorldEvent::Crash { power, in_flight, lost_bytes });
        self.note_durable(id, report.changes);
        if in_flight > 0 {
            self.observer.fire(const { probe("crash_with_write_in_flight") }, Some(id));
        }
        true
    }

    pub(crate) fn restart_later(&mut self, id: NodeId, down_us: u64) {
        let (at, life) = (self.now + down_us * US, self.process(id).life);
        self.queue.push(at, Next::Restart { node: id, life });
    }

    /// A node dies and its disk with it, unless too few would be left. A node that never had anything durable loses nothing by it.
    fn lose_disk(&mut self, hosts: &mut impl Hosts, id: NodeId, down_us: u64, index: usize) {
        if !self.members.survive(Some(id), self.operator.change().as_ref()) {
            return self.skip("too few of the voters would have their disks");
        }
        if !self.crash(hosts, id, true, "lose_disk") {
            return;
        }
        let process = self.process(id);
        process.disk.wipe();
        if process.had_data {
            process.lost_by = Some(index);
            self.members.lose(id);
        }
        self.observer.world(Some(id), WorldEvent::DiskLost);
        self.restart_later(id, down_us);
    }

    /// A node whose disk was lost has refused to start: if the plan says so, the operator replaces it.
    pub(crate) fn replace_lost(&mut self, id: NodeId) {
        let Some(index) = self.process(id).lost_by else { return };
        if self.plan.fault[index].kind.is_wish() {
            self.wish(index, None, Some(id));
        }
    }

    /// The node stopped itself over a failed sync. What its cache holds cannot be trusted any more, so its power is failed, too. Or else that
    /// came first, at a call on its store's file, and the node has only noticed.
    pub(crate) fn stop_after_fatal(&mut self, hosts: &mut impl Hosts, id: NodeId) {
        if self.process(id).disk.block_was_cut() {
            self.crash(hosts, id, true, "store_cut");
            let down_us = self.process(id).store_cut_down_us;
            return self.restart_later(id, down_us);
        }
        self.crash(hosts, id, true, "stopped_over_sync_error");
        let down =
            self.plan.fault.iter().find_map(|f| if let FaultKind::SyncError { down_us, .. } = f.kind { Some(down_us) } else { None });
        self.restart_later(id, down.unwrap_or(1_000));
    }

    fn pause(&mut self, hosts: &mut impl Hosts, id: NodeId, fault: u32) {
        let process = self.process(id);
        if process.up {
            process.paused_by.push(fault);
            hosts.pause_node(id);
            self.observer.world(Some(id), WorldEvent::Pause);
            self.took_effect("pause", 1);
        }
    }

    /// A pause ends (`None`: all of them).
    fn resume(&mut self, hosts: &mut impl Hosts, id: NodeId, fault: Option<u32>) {
        let process = self.process(id);
        let before = process.paused_by.len();
        process.paused_by.retain(|by| fault.is_some_and(|fault| fault != *by));
        if before > 0 && process.paused_by.is_empty() {
            self.observer.world(Some(id), WorldEvent::Resume);
            self.resumed.insert(id, self.now);
            hosts.resume_node(self, id);
        }
    }

    fn crash_client(&mut self, hosts: &mut impl Hosts, client: u32, down_us: u64) {
        let caller = self.caller(client);
        if !caller.up {
            return;
        }
        hosts.stop_client(client);
        caller.up = false;
        let (life, op) = (caller.life, caller.waits_for);
        let by_lease = |running: &crate::recipes::Running| running.keeps || running.holds;
        let has_lease = caller.zk.take().is_some() || caller.recipe.as_ref().is_some_and(by_lease);
        caller.unsynced.clear();
        let (watched, renewed) = (std::mem::take(&mut caller.watches), std::mem::take(&mut caller.renewals));
        self.observer.client(client, ClientEvent::ClientCrash);
        if let Some(op) = op {
            self.give_up(client, op);
        }
        self.end_recipe(client, None);
        if has_lease || !renewed.is_empty() {
            self.observer.fire(const { probe("client_crash_with_lease") }, None);
        }
        if !watched.is_empty() {
            self.observer.fire(const { probe("client_crash_with_watch") }, None);
        }
        self.took_effect("client_crash", 1);
        self.queue.push(self.now + down_us * US, Next::ClientRestart { client, life });
    }

    /// The faults end: none is active any more, what the plan stopped goes on. Nothing else is touched.
    pub(crate) fn heal(&mut self, hosts: &mut impl Hosts) {
        self.healed = true;
        self.observer.faulty = false;
        self.observer.world(None, WorldEvent::Heal);
        self.network.heal();
        self.operator.drop_waiting();
        for node in self.ids() {
            let process = self.process(node);
            process.disk.heal();
            process.cpu.heal();
            self.resume(hosts, node, None);
            if self.process(node).life > 0 && !self.process(node).up {
                hosts.start_node(self, node);
            }
        }
        self.hurry_background(hosts);
    }
}
