//! Recipes run at their clients: what they hear comes from the clients' notices, what they do becomes operations and events.

use client::Input;
use history::{ClientEvent, Recipe, RecipeResult, ZkError, ZkOp, ZkResult};
use plan::Action;

use super::{Desk, Do, Heard, Machine, Running};
use crate::cluster::{Cluster, Next};
use crate::hosts::Hosts;
use crate::observe::probe;

/// A ZooKeeper session's time to live, in seconds: from 1 to this.
const SESSION_TTL_MAX: u64 = 4;

impl Cluster {
    /// A client comes to an operation of several steps.
    pub(crate) fn begin_recipe(&mut self, hosts: &mut impl Hosts, client: u32, op: u64, action: &Action) {
        let Some((machine, recipe)) = Machine::of(op, action, &self.caller(client).seen) else { return };
        self.caller(client).recipe = Some(Running::new(op, machine, &recipe));
        self.observer.client(client, ClientEvent::Begin { op, recipe });
        if self.healed {
            self.tell_recipe(client, Heard::Hurry);
        }
        self.recipe_hears(hosts, client, Heard::Begun);
    }

    /// The recipe that the client is at, if it is at one, is to hear this as soon as it can.
    pub(crate) fn tell_recipe(&mut self, client: u32, heard: Heard) {
        if let Some(running) = &mut self.caller(client).recipe {
            running.heard.push_back(heard);
            self.queue.push(self.now, Next::Recipe { client });
        }
    }

    pub(crate) fn run_recipe(&mut self, hosts: &mut impl Hosts, client: u32) {
        while let Some(heard) = self.caller(client).recipe.as_mut().and_then(|running| running.heard.pop_front()) {
            self.recipe_hears(hosts, client, heard);
        }
    }

    pub(crate) fn wake_recipe(&mut self, hosts: &mut impl Hosts, client: u32, op: u64, at: u64) {
        let due = |running: &&mut Running| running.op == op && running.wake_at == Some(at);
        if let Some(running) = self.caller(client).recipe.as_mut().filter(due) {
            running.wake_at = None;
            self.recipe_hears(hosts, client, Heard::Woken);
        }
    }

    fn recipe_hears(&mut self, hosts: &mut impl Hosts, client: u32, heard: Heard) {
        let (now, drift_ppm) = (self.client_clock(client), self.plan.drift_ppm());
        let session_ttl = self.draws.draw("zk", u64::from(client), 0).range(1..=SESSION_TTL_MAX) as i64;
        let caller = self.caller(client);
        let Some(running) = &mut caller.recipe else { return };
        let (op, before) = (running.op, caller.zk.clone());
        let mut desk = Desk {
            client,
            op,
            next: running.step(running.steps + 1),
            now,
            asked: running.asked,
            drift_ppm,
            session: &mut caller.zk,
            session_ttl,
        };
        let mut wanted = Vec::new();
        running.machine.hear(heard, &mut desk, &mut wanted);
        let after = caller.zk.clone();
        for wanted in wanted {
            self.do_for_recipe(hosts, client, op, wanted);
        }
        // A session that is no more is not kept alive; whether it was closed in good order may not be known.
        if let Some(session) = before.filter(|before| after.as_ref() != Some(before)) {
            hosts.tell_client(self, client, Input::EndKeepAlive { op: session.stream });
        }
    }

    fn do_for_recipe(&mut self, hosts: &mut impl Hosts, client: u32, op: u64, wanted: Do) {
        match wanted {
            Do::Ask(request) => {
                let now = self.client_clock(client);
                let Some(running) = &mut self.caller(client).recipe else { return };
                running.steps += 1;
                running.asked = now;
                let step = running.step(running.steps);
                self.ask(hosts, client, step, request);
            }
            Do::WakeAt(due) => {
                let at = self.client_time(client, due);
                if let Some(running) = &mut self.caller(client).recipe {
                    running.wake_at = Some(at);
                    self.queue.push(at, Next::Wake { client, op, at });
                }
            }
            Do::Keep(lease) => {
                if let Some(running) = &mut self.caller(client).recipe {
                    running.keeps = true;
                }
                hosts.tell_client(self, client, Input::KeepAlive { op, lease });
            }
            Do::StopKeeping => {
                if self.caller(client).recipe.as_mut().is_some_and(|running| std::mem::take(&mut running.keeps)) {
                    hosts.tell_client(self, client, Input::EndKeepAlive { op });
                }
            }
            Do::Hold { lock, lease } => {
                if let Some(running) = &mut self.caller(client).recipe {
                    running.holds = true;
                }
                self.observer.client(client, ClientEvent::Hold { op, lock, lease });
                self.observer.fire(const { probe("lock_held") }, None);
            }
            Do::LetGo { lock, late } => {
                if let Some(running) = &mut self.caller(client).recipe {
                    running.holds = false;
                }
                self.observer.client(client, ClientEvent::LetGo { op, lock });
                if late {
                    self.observer.fire(const { probe("lock_time_over") }, None);
                }
            }
            Do::End(result) => {
                self.end_recipe(client, result);
                self.schedule_invoke(client);
            }
        }
    }

    /// The recipe that the client is at, if it is at one, is over.
    pub(crate) fn end_recipe(&mut self, client: u32, result: Option<RecipeResult>) {
        let Some(running) = self.caller(client).recipe.take() else { return };
        for probe in probes(&running.what, result.as_ref()) {
            self.observer.fire(probe, None);
        }
        self.observer.client(client, ClientEvent::End { op: running.op, result });
    }
}

/// The probes of a recipe that came to this.
fn probes(recipe: &Recipe, result: Option<&RecipeResult>) -> Vec<usize> {
    let mut probes = Vec::new();
    let Some(result) = result else { return probes };
    probes.push(match result {
        RecipeResult::Held { .. } => const { probe("lock_left") },
        RecipeResult::NotHeld => const { probe("lock_refused") },
        RecipeResult::Registered { .. } => const { probe("instance_registered") },
        RecipeResult::Instances { instances } if instances.is_empty() => const { probe("service_empty") },
        RecipeResult::Instances { .. } => const { probe("service_discovered") },
        RecipeResult::Authorised { .. } => const { probe("token_granted") },
        RecipeResult::Allowed => const { probe("token_used") },
        RecipeResult::Denied => const { probe("token_denied") },
        RecipeResult::Withdrawn => const { probe("token_withdrawn") },
        RecipeResult::Zk(result) => zk_probe(result),
    });
    if let (Recipe::Zk(ZkOp::Create { ephemeral, sequential, .. }), RecipeResult::Zk(ZkResult::Created { .. })) = (recipe, result) {
        probes.extend(ephemeral.then_some(const { probe("zk_created_ephemeral") }));
        probes.extend(sequential.then_some(const { probe("zk_created_sequential") }));
    }
    probes
}

fn zk_probe(result: &ZkResult) -> usize {
    match result {
        ZkResult::Created { .. } => const { probe("zk_created") },
        ZkResult::Set { .. } => const { probe("zk_set") },
        ZkResult::Deleted => const { probe("zk_deleted") },
        ZkResult::Data { .. } => const { probe("zk_read") },
        ZkResult::Children { .. } => const { probe("zk_listed") },
        ZkResult::Multi { .. } => const { probe("zk_multi") },
        ZkResult::Synced => const { probe("zk_synced") },
        ZkResult::Closed => const { probe("zk_closed") },
        ZkResult::Refused(why) => match why {
            ZkError::NoNode => const { probe("zk_no_node") },
            ZkError::NodeExists => const { probe("zk_node_exists") },
            ZkError::BadVersion => const { probe("zk_bad_version") },
            ZkError::NotEmpty => const { probe("zk_not_empty") },
            ZkError::NoChildrenForEphemerals => const { probe("zk_no_children_for_ephemerals") },
            ZkError::SessionExpired => const { probe("zk_session_expired") },
        },
    }
}
