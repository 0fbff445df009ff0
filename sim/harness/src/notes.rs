//! What is made of what nodes and clients say of themselves: probes, the leader, the history, the clients' trace events.

use client::Notice;
use curp::{AdminRefusal, Applied, ConfigCause, Event, Message, Nanos, NodeId, PeerMessage, Refusal, Reply};
use history::ClientEvent;
use kv::{Request, Response};
use world::US;

use crate::cluster::Cluster;
use crate::observe::probe;
use crate::probes;
use crate::recipes::Heard;

/// Who went on so short a while ago acts on what it missed.
const JUST_RESUMED: u64 = 30_000 * US;

impl Cluster {
    fn note_lease_event(&mut self, id: NodeId, event: &kv::LeaseEvent) {
        use kv::LeaseEvent as L;
        let probe = match event {
            L::PromoteLeases { .. } => const { probe("leases_promoted") },
            L::DemoteLeases { .. } => const { probe("leases_demoted") },
            L::ReceiveKeepAlive { .. } => const { probe("keep_alive_received") },
            L::AnswerKeepAlive { .. } => const { probe("keep_alive_answered") },
            L::AnswerTimeToLive { .. } => const { probe("time_to_live_answered") },
            L::DecideExpiry { term, .. } => {
                // Somebody stands for a later term, nobody leads it yet, and the time for that is not over.
                let (stood_for, at) = self.campaign;
                let under_way = self.now - at <= self.plan.cluster.election_timeout_ms_max * 1_000 * US;
                if stood_for > *term && under_way && self.leader.is_some_and(|(led, _)| led < stood_for) {
                    self.observer.fire(const { probe("lease_expired_during_election") }, Some(id));
                }
                if self.resumed.get(&id).is_some_and(|at| self.now - at <= JUST_RESUMED) {
                    self.observer.fire(const { probe("lease_expired_after_pause") }, Some(id));
                }
                const { probe("lease_expired") }
            }
        };
        self.observer.fire(probe, Some(id));
    }

    /// Fires the probes of a node's event, and keeps track of who leads.
    pub(crate) fn note_node_event(&mut self, id: NodeId, event: &node::Event) {
        let event = match event {
            node::Event::Curp(event) => event,
            node::Event::Lease(event) => return self.note_lease_event(id, event),
        };
        for changed in self.members.note(id, event) {
            self.note_changed(id, changed);
        }
        let probe = match event {
            Event::Campaign { term } => {
                if *term >= self.campaign.0 {
                    self.campaign = (*term, self.now);
                }
                const { probe("campaign") }
            }
            Event::Apply { id: None, outcome: Applied::Done(synced), .. } if synced.response.error().is_none() => {
                const { probe("lease_revoke_applied") }
            }
            Event::GrantVote { .. } => const { probe("vote_granted") },
            Event::BecomeLeader { term, entries, .. } => {
                if self.leader.is_none_or(|(latest, _)| *term >= latest) {
                    self.leader = Some((*term, id));
                }
                if self.transfer.take_if(|(before, to)| *to == id && term > before).is_some() {
                    self.observer.fire(const { probe("leader_transferred") }, Some(id));
                }
                if entries.len() > 1 {
                    self.observer.fire(const { probe("recovering_pools") }, Some(id));
                }
                const { probe("leader_elected") }
            }
            Event::OpenFastPath { .. } => const { probe("fast_path_opened") },
            Event::StepDown { .. } => const { probe("leader_stepped_down") },
            Event::WitnessRecord { accepted: false, .. } => const { probe("record_refused") },
            Event::AcceptEntries { truncated: true, .. } => const { probe("entries_truncated") },
            Event::AdvanceCommit { counted: true, .. } => const { probe("commit_advanced") },
            Event::Apply { outcome: Applied::Duplicate, .. } => const { probe("duplicate_refused") },
            Event::LoadState { .. } => {
                self.process(id).from_store = true;
                const { probe("started_from_store") }
            }
            Event::Restart { .. } if std::mem::take(&mut self.process(id).from_store) => return,
            Event::SaveState { .. } => const { probe("state_saved") },
            Event::Restart { snapshot: 1.., .. } => const { probe("started_from_snapshot") },
            Event::LeaderPropose { entry, .. } if entry.membership().is_some() => const { probe("config_appended") },
            Event::UseConfig { cause: ConfigCause::Undone, .. } => const { probe("config_undone") },
            Event::TakeSnapshot { .. } => const { probe("snapshot_taken") },
            Event::CompactLog { .. } => const { probe("log_compacted") },
            Event::InstallSnapshot { .. } => const { probe("snapshot_installed") },
            Event::TransferLeader { term, to } => {
                self.transfer = Some((*term, *to));
                const { probe("transfer_begun") }
            }
            Event::ShutDown { .. } => {
                self.note_shutdown();
                const { probe("cluster_shut_down") }
            }
            Event::ServeRead { .. } => {
                if self.members.committed.learners.contains(&id) {
                    self.observer.fire(const { probe("read_served_learner") }, Some(id));
                }
                if self.leader.is_some_and(|(_, leader)| leader == id) {
                    const { probe("read_served_leader") }
                } else {
                    const { probe("read_served_follower") }
                }
            }
            _ => return,
        };
        self.observer.fire(probe, Some(id));
    }

    /// Fires the probes of a message that leaves a node.
    pub(crate) fn note_message(&mut self, id: NodeId, message: &Message<Request>) {
        let probe = match message {
            Message::Peer { body: PeerMessage::AppendRejected { .. }, .. } => const { probe("append_rejected") },
            Message::Peer { body: PeerMessage::HandOver { .. }, .. } => const { probe("handover_sent") },
            Message::Reply(Reply::Conflict { .. }) => const { probe("conflict_answered") },
            Message::Reply(Reply::Recorded { term, current, accepted: false, .. }) if term < current => const { probe("late_record") },
            Message::Reply(Reply::Admin { result: Err(why), .. }) => match why {
                AdminRefusal::TransferFailed => const { probe("transfer_failed") },
                AdminRefusal::NotLeader(_) | AdminRefusal::NotReady => return,
                _ => const { probe("config_refused") },
            },
            Message::Reply(Reply::Refused { why: Refusal::Acknowledged, .. }) => const { probe("duplicate_refused") },
            // A question may be answered later than the next one: only a watcher that was never asked says it of the node's own accord.
            Message::Reply(Reply::Watch { watch, response: Some(response), .. })
                if response.is_progress() && !self.progress_asked.contains(watch) =>
            {
                const { probe("watch_notified") }
            }
            _ => return,
        };
        self.observer.fire(probe, Some(id));
    }

    /// Writes a client's notice into the history and the trace, fires its probes, and lets its caller go on.
    pub(crate) fn note_client_notice(&mut self, client: u32, notice: Notice) {
        if let Notice::Admin { op, result } = notice {
            return self.operator_heard(op, result);
        }
        if self.operator.address == Some(client) {
            return;
        }
        let now = self.now;
        let waiting = |op: u64, this: &mut Self| this.caller(client).waits_for == Some(op);
        let op = match &notice {
            Notice::Proposed { op, .. }
            | Notice::Retried { op }
            | Notice::Fast { op, .. }
            | Notice::Synced { op, .. }
            | Notice::Read { op, .. }
            | Notice::Called { op, .. }
            | Notice::Answered { op, .. }
            | Notice::Invalid { op, .. }
            | Notice::Lost { op } => Some(*op),
            Notice::Admin { .. } | Notice::SessionOpen { .. } | Notice::SessionEnded { .. } => None,
            // These name what goes on, not what is waited for.
            Notice::Registered { .. } | Notice::Watch { .. } | Notice::SentKeepAlive { .. } | Notice::KeptAlive { .. } => None,
        };
        let waits = op.is_some_and(|op| waiting(op, self));
        self.history.note(&notice, now, waits);
        match &notice {
            Notice::Proposed { op, id: Some(_), .. } => self.caller(client).unsynced.insert(*op),
            Notice::Synced { op, .. } | Notice::Lost { op } | Notice::Invalid { op, .. } => self.caller(client).unsynced.remove(op),
            _ => false,
        };
        match notice {
            Notice::SessionOpen { session } => {
                self.observer.client(client, ClientEvent::SessionOpen { session });
                self.observer.fire(const { probe("session_begun") }, None);
            }
            Notice::SessionEnded { .. } | Notice::Admin { .. } => {}
            Notice::Proposed { op, id, first_incomplete, read, request } => {
                self.observer.client(client, ClientEvent::Propose { op, id, first_incomplete, read, request });
            }
            Notice::Retried { op } => {
                let read = self.history.get(op).is_none_or(history::Operation::is_read);
                self.observer.fire(if read { const { probe("read_retried") } } else { const { probe("retry_sent") } }, None);
            }
            Notice::Fast { op, id, term, config, nodes, response } => {
                self.observe(client, op, &response, None, waits);
                self.observer.fire(const { probe("fast_round_completed") }, self.leader.map(|(_, leader)| leader));
                if matches!(response, Response::LeaseGrant { .. }) {
                    self.observer.fire(const { probe("fast_grant") }, self.leader.map(|(_, leader)| leader));
                }
                let heard = Heard::Answer(response.clone());
                self.observer.client(client, ClientEvent::FastComplete { op, id, term, config, nodes, response });
                self.operation_ended(client, op, heard);
            }
            Notice::Synced { op, id, synced } => {
                self.observe(client, op, &synced.response, Some(synced.revision), waits);
                let heard = Heard::Answer(synced.response.clone());
                self.observer.client(client, ClientEvent::SyncedComplete { op, id, synced });
                self.observer.fire(const { probe("synced_completed") }, None);
                if self.history.get(op).is_some_and(|operation| operation.fast.is_some()) {
                    self.observer.fire(const { probe("fast_then_synced") }, None);
                }
                self.operation_ended(client, op, heard);
            }
            Notice::Read { op, applied, synced, .. } => {
                self.observe(client, op, &synced.response, Some(synced.revision), waits);
                let heard = Heard::Answer(synced.response.clone());
                self.observer.client(client, ClientEvent::ReadComplete { op, applied, synced });
                self.operation_ended(client, op, heard);
            }
            Notice::Called { op, nonce, .. } => self.note_call(client, op, nonce),
            Notice::Answered { op, nonce, synced, .. } => {
                self.observe(client, op, &synced.response, Some(synced.revision), waits);
                if let Some(called) = self.history.get(op).and_then(|operation| probes::of_call(&operation.op, &synced.response)) {
                    self.observer.fire(called, None);
                }
                let heard = Heard::Answer(synced.response.clone());
                self.note_answer(client, nonce, synced);
                self.operation_ended(client, op, heard);
            }
            Notice::Invalid { op, error } => {
                self.observer.client(client, ClientEvent::Fail { op });
                if let Some(error) = kv::Error::ALL.iter().find(|known| known.message() == error)
                    && let Some(probe) = probes::of_error(*error)
                {
                    self.observer.fire(probe, None);
                }
                self.operation_ended(client, op, Heard::Unknown);
            }
            Notice::Registered { op, to, start_revision } => self.watch_registered(client, op, to, start_revision),
            Notice::Watch { op, node, response } => self.watch_told(client, op, node, response),
            Notice::SentKeepAlive { op, lease, read } => self.note_sent_keep_alive(client, op, lease, read),
            Notice::KeptAlive { op, lease, read, sent, ttl } => {
                let read = self.answered_keep_alive(read);
                self.observer.client(client, ClientEvent::KeptAlive { op, lease, read, ttl });
                self.kept_alive(client, op, sent, ttl);
            }
            Notice::Lost { op } => {
                if waits {
                    self.give_up(client, op);
                    self.goes_on(client, Heard::Unknown);
                }
            }
        }
    }

    /// An answer came: what its caller learns from it, whether or not it still waits.
    fn observe(&mut self, client: u32, op: u64, response: &Response, revision: Option<u64>, waits: bool) {
        let Some(request) = self.history.get(op).map(|operation| operation.op.clone()) else { return };
        let caller = self.caller(client);
        caller.observe(&request, response);
        caller.revision = caller.revision.max(revision.unwrap_or(0));
        if let Response::LeaseGrant { id, .. } = response {
            self.leases.insert(op, *id);
        }
        if waits {
            for probe in probes::of_answer(&request, response) {
                self.observer.fire(probe, None);
            }
            let left_unnamed = |planned: &plan::Op| planned.id == op && matches!(planned.action, plan::Action::Grant { made: true, .. });
            if matches!(response, Response::LeaseGrant { .. }) && self.plan.op.iter().any(left_unnamed) {
                self.observer.fire(const { probe("op_lease_grant_unnamed") }, None);
            }
        }
    }

    /// A keep-alive of a stream is answered.
    fn kept_alive(&mut self, client: u32, op: u64, sent: Nanos, ttl: i64) {
        let caller = self.caller(client);
        if ttl == 0 {
            caller.renewals.remove(&op);
        }
        if caller.recipe.as_ref().is_some_and(|running| running.op == op) {
            self.tell_recipe(client, Heard::Kept { sent, ttl });
        }
        let gone = const { probe("op_lease_keep_alive_gone") };
        self.observer.fire(if ttl > 0 { const { probe("op_lease_keep_alive") } } else { gone }, None);
    }
}
