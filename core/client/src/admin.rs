//! Operators' wishes: asked of the leader, or of the node that is named, until they are done or refused for good. The caller hears of each
//! once, at its end.
//!
//! A change of the configuration names the one it is to be made in. That stays the same from try to try, until a leader says that it
//! is another one by now: then either the change is in it, made by a try whose answer was lost, or it is asked for on the new base. So
//! no change is made twice.

use curp::{Admin, AdminDone, AdminRefusal, ConfigVersion, Message, Nanos, NodeId, Request as Ask, has_change, splitmix64};

use crate::{AdminWish, Client, Notice, Output, Retry};

/// A wish under way.
#[derive(Debug)]
pub(crate) struct PendingAdmin {
    pub(crate) op: u64,
    node: Option<NodeId>,
    wish: AdminWish,
    /// The configuration that a change is to be made in.
    base: ConfigVersion,
    pub(crate) retry: Retry,
}

impl Client {
    pub(crate) fn wish(&mut self, op: u64, node: Option<NodeId>, wish: AdminWish, now: Nanos) {
        self.draws += 1;
        let nonce = splitmix64(self.entropy.wrapping_add(self.draws));
        let base = self.membership.version;
        self.admins.insert(nonce, PendingAdmin { op, node, wish, base, retry: Retry::first(now) });
    }

    /// One try of a wish.
    pub(crate) fn send_admin(&mut self, nonce: u64, now: Nanos, out: &mut Output) {
        let attempts = self.admins[&nonce].retry.attempts;
        let (wait, gap) = (self.backoff(attempts + 1), self.config.retry_after_min / 4);
        let leader = self.leader.map(|(_, leader)| leader);
        let pending = self.admins.get_mut(&nonce).expect("looked up above");
        let anyone_can = matches!(pending.wish, AdminWish::TakeSnapshot);
        let Some(to) = pending.node.filter(|_| anyone_can).or(leader) else {
            // Nobody to send to; discovery runs, and hurries this along when it finds someone.
            pending.retry.due = now + wait;
            return;
        };
        pending.retry = Retry { due: now + wait, attempts: attempts + 1, earliest: now + gap };
        if attempts > 0 {
            out.notices.push(Notice::Retried { op: pending.op });
        }
        let base = pending.base;
        let wish = match pending.wish.clone() {
            AdminWish::Change(change) => Admin::ChangeMembership { base, change },
            AdminWish::MoveLeader(to) => Admin::MoveLeader { to },
            AdminWish::Shutdown => Admin::Shutdown,
            AdminWish::TakeSnapshot => Admin::TakeSnapshot,
        };
        out.messages.push((to, Message::Request(Ask::Admin { nonce, wish })));
        self.ask_around(attempts, out);
    }

    pub(crate) fn on_admin_reply(
        &mut self,
        from: NodeId,
        nonce: u64,
        result: Result<AdminDone, AdminRefusal>,
        now: Nanos,
        out: &mut Output,
    ) {
        if !self.admins.contains_key(&nonce) {
            return;
        }
        let wait = self.backoff(1);
        let end = match result {
            Err(AdminRefusal::NotLeader(seen)) => return self.redirect(from, seen),
            Err(why @ AdminRefusal::NotCaughtUp) if self.no_waiting_for_learners => Err(why),
            Err(AdminRefusal::NotReady | AdminRefusal::Busy | AdminRefusal::NotCaughtUp) => {
                self.admins.entry(nonce).and_modify(|pending| pending.retry.due = now + wait);
                return;
            }
            Err(AdminRefusal::Stale(membership)) => {
                let leads = self.leader.is_some_and(|(_, leader)| leader == from);
                self.learn_membership(membership.clone(), leads, out);
                let Some(pending) = self.admins.get_mut(&nonce) else { return };
                let AdminWish::Change(change) = &pending.wish else { return };
                if !has_change(&membership, change) {
                    pending.base = membership.version;
                    return pending.retry.hurry();
                }
                Ok(AdminDone::Changed(membership))
            }
            Ok(done) => {
                match &done {
                    AdminDone::Changed(membership) => self.learn_membership(membership.clone(), false, out),
                    AdminDone::LeaderMoved(leadership) => self.learn(*leadership),
                    AdminDone::ShutDown | AdminDone::SnapshotTaken { .. } => {}
                }
                Ok(done)
            }
            Err(why @ (AdminRefusal::NoSuchMember | AdminRefusal::IdUsed | AdminRefusal::LastVoter | AdminRefusal::TransferFailed)) => {
                Err(why)
            }
        };
        if let Some(pending) = self.admins.remove(&nonce) {
            out.notices.push(Notice::Admin { op: pending.op, result: end });
        }
    }
}
