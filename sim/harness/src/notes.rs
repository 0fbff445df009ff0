//! What the engine makes of what nodes and clients say of themselves: probes, the leader, the history, the clients' trace events.

use client::Notice;
use curp::{Applied, Event, Message, NodeId, PeerMessage, Refusal, Reply};
use history::ClientEvent;
use kv::Request;

use crate::direct::Direct;

impl Direct<'_> {
    /// Fires the probes of a node's event, and keeps track of who leads.
    pub(crate) fn note_node_event(&mut self, id: NodeId, event: &Event<Request>) {
        let probe = match event {
            Event::Campaign { .. } => "campaign",
            Event::GrantVote { .. } => "vote_granted",
            Event::BecomeLeader { term, entries, .. } => {
                if self.leader.is_none_or(|(latest, _)| *term >= latest) {
                    self.leader = Some((*term, id));
                }
                if entries.len() > 1 {
                    self.observer.fire("recovering_pools", Some(id));
                }
                "leader_elected"
            }
            Event::OpenFastPath { .. } => "fast_path_opened",
            Event::StepDown { .. } => "leader_stepped_down",
            Event::WitnessRecord { term, accepted: false, .. } => {
                let _ = term;
                "record_refused"
            }
            Event::AcceptEntries { truncated: true, .. } => "entries_truncated",
            Event::AdvanceCommit { counted: true, .. } => "commit_advanced",
            Event::Apply { outcome: Applied::Duplicate, .. } => "duplicate_refused",
            Event::ServeRead { .. } => {
                if self.leader.is_some_and(|(_, leader)| leader == id) {
                    "read_served_leader"
                } else {
                    "read_served_follower"
                }
            }
            _ => return,
        };
        self.observer.fire(probe, Some(id));
    }

    /// Fires the probes of a message that leaves a node.
    pub(crate) fn note_message(&mut self, id: NodeId, message: &Message<Request>) {
        let probe = match message {
            Message::Peer { body: PeerMessage::AppendRejected { .. }, .. } => "append_rejected",
            Message::Peer { body: PeerMessage::HandOver { .. }, .. } => "handover_sent",
            Message::Reply(Reply::Conflict { .. }) => "conflict_answered",
            Message::Reply(Reply::Recorded { term, current, accepted: false, .. }) if term < current => "late_record",
            Message::Reply(Reply::Refused { why: Refusal::Acknowledged, .. }) => "duplicate_refused",
            _ => return,
        };
        self.observer.fire(probe, Some(id));
    }

    /// Writes a client's notice into the history and the trace, fires its probes, and lets its caller go on.
    pub(crate) fn note_client_notice(&mut self, client: u32, notice: Notice) {
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
            Notice::SessionOpen { .. } | Notice::SessionEnded { .. } => None,
        };
        let waits = op.is_some_and(|op| waiting(op, self));
        self.history.note(&notice, now, waits);
        match notice {
            Notice::SessionOpen { session } => {
                self.observer.client(client, ClientEvent::SessionOpen { session });
                self.observer.fire("session_begun", None);
            }
            Notice::SessionEnded { .. } => {}
            Notice::Proposed { op, id, request } => self.observer.client(client, ClientEvent::Propose { op, id, request }),
            Notice::Retried { op } => {
                let read = self.history.get(op).is_read();
                self.observer.fire(if read { "read_retried" } else { "retry_sent" }, None);
            }
            Notice::Fast { op, id, term, config, nodes, response } => {
                self.observe(client, op, &response);
                self.observer.client(client, ClientEvent::FastComplete { op, id, term, config, nodes, response });
                self.observer.fire("fast_round_completed", self.leader.map(|(_, leader)| leader));
                self.operation_ended(client, op);
            }
            Notice::Synced { op, id, synced } => {
                self.observe(client, op, &synced.response);
                self.observer.client(client, ClientEvent::SyncedComplete { op, id, synced });
                self.observer.fire("synced_completed", None);
                if self.history.get(op).fast.is_some() {
                    self.observer.fire("fast_then_synced", None);
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
