//! What goes on while a caller goes on: watches, with readers quick and slow, and renewals of leases.

use client::Input;
use history::ClientEvent;
use kv::{LeaseId, WatchCreateRequest, WatchResponse};
use plan::Watch;
use world::US;

use crate::cluster::{Cluster, Next};
use crate::hosts::Hosts;
use crate::observe::probe;
use crate::probes;

/// After the heal every watch is asked how far it is, this often: that it is told everything must show.
const ASK_AFTER_HEAL: u64 = 200_000 * US;

/// A client's watch.
#[derive(Debug)]
pub(crate) struct Watching {
    pace: u64,
    ask: u64,
    /// Everything up to this revision has been told.
    pub(crate) told: u64,
    /// The node at which it goes on.
    node: Option<u32>,
    /// It has been told something.
    begun: bool,
    /// What it asks a node for.
    request: WatchCreateRequest,
}

/// What is to be done for a watch.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WatchStep {
    /// The caller is ready for the next response.
    Read,
    /// It asks how far the watch is.
    Ask,
    /// It wants no more.
    End,
}

impl Cluster {
    pub(crate) fn begin_watch(&mut self, hosts: &mut impl Hosts, client: u32, op: u64, watch: &Watch, request: WatchCreateRequest) {
        // Half of the watches begin at a node of the plan's choice, the others at one of the client's.
        let draw = self.draws.draw("watch", op, 0);
        let node = draw.chance(0.5).then(|| self.draws.draw("watch", op, 1).below(self.plan.cluster.voters.into()) as u32 + 1);
        let watching =
            Watching { pace: watch.pace_us * US, ask: watch.ask_us * US, told: 0, node: None, begun: false, request: request.clone() };
        let caller = self.caller(client);
        caller.watches.insert(op, watching);
        let life = caller.life;
        if let Some(for_us) = watch.for_us {
            self.queue.push(self.now + for_us * US, Next::Watch { client, life, op, what: WatchStep::End });
        }
        if watch.ask_us > 0 || self.healed {
            let wait = if self.healed { ASK_AFTER_HEAL } else { watch.ask_us * US };
            self.queue.push(self.now + wait, Next::Watch { client, life, op, what: WatchStep::Ask });
        }
        self.observer.client(client, ClientEvent::Watch { op, request: request.clone() });
        hosts.tell_client(self, client, Input::Watch { op, request, node });
    }

    pub(crate) fn step_watch(&mut self, hosts: &mut impl Hosts, client: u32, life: u32, op: u64, what: WatchStep) {
        let (now, healed) = (self.now, self.healed);
        let caller = self.caller(client);
        if caller.life != life || !caller.up {
            return;
        }
        let Some(watching) = caller.watches.get(&op) else { return };
        match what {
            WatchStep::Read => hosts.tell_client(self, client, Input::WatchNext { op }),
            WatchStep::Ask => {
                let again = if healed { ASK_AFTER_HEAL } else { watching.ask };
                self.queue.push(now + again.max(1), Next::Watch { client, life, op, what });
                hosts.tell_client(self, client, Input::WatchProgress { op });
            }
            WatchStep::End => {
                caller.watches.remove(&op);
                self.observer.client(client, ClientEvent::EndWatch { op });
                self.observer.fire(const { probe("watch_ended") }, None);
                hosts.tell_client(self, client, Input::EndWatch { op });
            }
        }
    }

    /// A watcher is made at a node.
    pub(crate) fn watch_registered(&mut self, client: u32, op: u64, to: u32, start_revision: u64) {
        self.observer.client(client, ClientEvent::Register { op, to, start_revision });
        let Some(watching) = self.caller(client).watches.get_mut(&op) else { return };
        let (begun, before) = (watching.begun, watching.node.replace(to));
        if begun {
            self.observer.fire(const { probe("watch_resumed") }, Some(to));
        }
        if before.is_some_and(|before| before != to) {
            self.observer.fire(const { probe("watch_moved") }, Some(to));
        }
    }

    /// A watch is told something; its reader takes its time over it.
    pub(crate) fn watch_told(&mut self, client: u32, op: u64, from: u32, response: WatchResponse) {
        let (now, healed) = (self.now, self.healed);
        let caller = self.caller(client);
        let life = caller.life;
        let Some(watching) = caller.watches.get_mut(&op) else {
            if caller.canceled_watches.contains(&op) {
                // It must not: the check is to see it.
                self.observer.client(client, ClientEvent::WatchTold { op, from, response });
            }
            return;
        };
        watching.told = watching.told.max(response.revision);
        let first = !watching.begun;
        watching.begun |= !response.canceled;
        let options = if first && response.created { probes::of_watch(&watching.request, response.revision) } else { Vec::new() };
        let pace = if healed { 0 } else { watching.pace };
        for event in &response.events {
            caller.revision = caller.revision.max(event.kv.mod_revision);
        }
        let fire = |cluster: &mut Cluster, probe| cluster.observer.fire(probe, Some(from));
        if response.canceled {
            caller.watches.remove(&op);
            caller.canceled_watches.insert(op);
            if response.compact_revision > 0 {
                fire(self, const { probe("watch_compacted") });
            }
            if let Some(probe) = response.cancel_reason.and_then(probes::of_error) {
                fire(self, probe);
            }
        } else {
            if response.created {
                fire(self, const { probe("watch_begun") });
            } else if response.events.is_empty() {
                fire(self, const { probe("watch_progress") });
            } else {
                fire(self, const { probe("watch_told") });
                if response.events.iter().any(|event| event.prev_kv.is_some()) {
                    fire(self, const { probe("watch_prev_kv") });
                }
            }
            options.into_iter().for_each(|probe| fire(self, probe));
            self.queue.push(now + pace, Next::Watch { client, life, op, what: WatchStep::Read });
        }
        self.observer.client(client, ClientEvent::WatchTold { op, from, response });
    }

    pub(crate) fn begin_renewal(&mut self, hosts: &mut impl Hosts, client: u32, op: u64, lease: LeaseId, for_us: u64) {
        if self.healed {
            return; // From here on leases are to expire.
        }
        let caller = self.caller(client);
        caller.renewals.insert(op);
        let life = caller.life;
        self.queue.push(self.now + for_us * US, Next::EndRenewal { client, life, op });
        hosts.tell_client(self, client, Input::KeepAlive { op, lease });
    }

    pub(crate) fn end_renewal(&mut self, hosts: &mut impl Hosts, client: u32, op: u64) {
        if self.caller(client).renewals.remove(&op) {
            hosts.tell_client(self, client, Input::EndKeepAlive { op });
        }
    }

    /// The faults are over: watches are asked how far they are, and what was to go on for a while ends.
    pub(crate) fn hurry_background(&mut self, hosts: &mut impl Hosts) {
        for client in 1..=self.plan.workload.clients {
            let caller = self.caller(client);
            if !caller.up {
                continue;
            }
            let (life, watches) = (caller.life, caller.watches.keys().copied().collect::<Vec<_>>());
            for op in watches {
                for what in [WatchStep::Read, WatchStep::Ask] {
                    let wait = if matches!(what, WatchStep::Ask) { ASK_AFTER_HEAL } else { 0 };
                    self.queue.push(self.now + wait, Next::Watch { client, life, op, what });
                }
            }
            for op in self.caller(client).renewals.clone() {
                self.end_renewal(hosts, client, op);
            }
            self.tell_recipe(client, crate::recipes::Heard::Hurry);
            self.wind_down(hosts, client);
        }
    }

    /// A caller that has nothing left to do after the heal keeps no lease alive any more: all that it had by one is to go.
    pub(crate) fn wind_down(&mut self, hosts: &mut impl Hosts, client: u32) {
        let healed = self.healed;
        let caller = self.caller(client);
        if healed
            && caller.up
            && caller.is_done()
            && let Some(session) = caller.zk.take()
        {
            hosts.tell_client(self, client, Input::EndKeepAlive { op: session.stream });
        }
    }
}
