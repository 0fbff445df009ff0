//! What is made of what nodes and clients say of themselves: probes, the leader, the history, the clients' trace events.

use client::Notice;
use curp::{AdminRefusal, Applied, ConfigCause, Event, Message, NodeId, PeerMessage, Refusal, Reply};
use history::ClientEvent;
use kv::Request;

use crate::cluster::Cluster;
use crate::observe::probe;

impl Cluster {
    fn note_lease_event(&mut self, id: NodeId, event: &kv::LeaseEvent) {
        use kv::LeaseEvent as L;
        let probe = match event {
            L::PromoteLeases { .. } => const { probe("leases_promoted") },
            L::DemoteLeases { .. } => const { probe("leases_demoted") },
            L::ReceiveKeepAlive { .. } => const { probe("keep_alive_received") },
            L::AnswerKeepAlive { .. } => const { probe("keep_alive_answered") },
            L::AnswerTimeToLive { .. } => const { probe("time_to_live_answered") },
            L::DecideExpiry { .. } => const { probe("lease_expired") },
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
            Event::Campaign { .. } => const { probe("campaign") },
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
            | Notice::Invalid { op, .. }
            | Notice::Lost { op } => Some(*op),
            Notice::Admin { .. } | Notice::SessionOpen { .. } | Notice::SessionEnded { .. } => None,
            // These name what goes on, not what is waited for.
            Notice::Registered { .. } | Notice::Watch { .. } | Notice::SentKeepAlive { .. } | Notice::KeptAlive { .. } => None,
        };
        let waits = op.is_some_and(|op| waiting(op, self));
        self.history.note(&notice, now, waits);
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
                let read = self.history.get(op).is_read();
                self.observer.fire(if read { const { probe("read_retried") } } else { const { probe("retry_sent") } }, None);
            }
            Notice::Fast { op, id, term, config, nodes, response } => {
                self.observe(client, op, &response);
                self.observer.client(client, ClientEvent::FastComplete { op, id, term, config, nodes, response });
                self.observer.fire(const { probe("fast_round_completed") }, self.leader.map(|(_, leader)| leader));
                self.operation_ended(client, op);
            }
            Notice::Synced { op, id, synced } => {
                self.observe(client, op, &synced.response);
                self.observer.client(client, ClientEvent::SyncedComplete { op, id, synced });
                self.observer.fire(const { probe("synced_completed") }, None);
                if self.history.get(op).fast.is_some() {
                    self.observer.fire(const { probe("fast_then_synced") }, None);
                }
                self.operation_ended(client, op);
            }
            Notice::Read { op, applied, synced, .. } => {
                self.observe(client, op, &synced.response);
                self.observer.client(client, ClientEvent::ReadComplete { op, applied, synced });
                self.operation_ended(client, op);
            }
            Notice::Invalid { op, .. } => {
                self.observer.client(client, ClientEvent::Fail { op });
                self.operation_ended(client, op);
            }
            Notice::Registered { op, to, start_revision } => {
                self.observer.client(client, ClientEvent::Register { op, to, start_revision });
            }
            Notice::Watch { op, node, response } => {
                self.observer.client(client, ClientEvent::WatchTold { op, from: node, response });
            }
            Notice::SentKeepAlive { op, lease, read } => {
                self.observer.client(client, ClientEvent::SendKeepAlive { op, lease, read });
            }
            Notice::KeptAlive { op, lease, read, ttl, .. } => {
                self.observer.client(client, ClientEvent::KeptAlive { op, lease, read, ttl });
            }
            Notice::Lost { op } => {
                if waits {
                    self.give_up(client, op);
                    self.schedule_invoke(client);
                }
            }
        }
    }

    fn observe(&mut self, client: u32, op: u64, response: &kv::Response) {
        let request = self.history.get(op).op.clone();
        self.caller(client).observe(&request, response);
    }
}
