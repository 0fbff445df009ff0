//! The fast and the slow round from the client's side, and the timers that repeat whatever got no answer.

use curp::{ConfigVersion, Message, Nanos, NodeId, Proposal, ProposeId, Request as Ask, Synced, Term};
use kv::{Request, Response};
use mutants::Mutant;
use std::sync::Arc;

use crate::{Client, Notice, Output, Pending, PendingRead, Retry, Session};

impl Client {
    /// The pending command of an id, if it belongs to the present session.
    fn pending_mut(&mut self, id: ProposeId) -> Option<&mut Pending> {
        self.pending.get_mut(&id.seq).filter(|p| p.proposal.id == id)
    }

    pub(crate) fn on_executed(
        &mut self,
        from: NodeId,
        id: ProposeId,
        term: Term,
        config: ConfigVersion,
        response: Response,
        out: &mut Output,
    ) {
        if let Some(pending) = self.pending_mut(id)
            && pending.executed.as_ref().is_none_or(|(seen, ..)| term >= *seen)
        {
            pending.executed = Some((term, config, from, response));
        }
        self.complete_if_fast(id, out);
    }

    pub(crate) fn on_recorded(
        &mut self,
        from: NodeId,
        id: ProposeId,
        asked: (Term, ConfigVersion),
        accepted: Result<(), Term>,
        now: Nanos,
        out: &mut Output,
    ) {
        if let Err(current) = accepted {
            if self.leader.is_some_and(|(term, _)| current > term) && now >= self.discover_due {
                // It is in a later term than the leader we know: it may know a later leader, too.
                out.messages.push((from, Message::Request(Ask::FetchCluster)));
                self.discover_due = now + self.config.retry_after_min / 4;
            }
            return;
        }
        if let Some(pending) = self.pending_mut(id)
            && !pending.accepts.contains(&(from, asked.0, asked.1))
        {
            pending.accepts.push((from, asked.0, asked.1));
        }
        self.complete_if_fast(id, out);
    }

    /// The fast round is complete when the leader's ER and the accepts of distinct voters, all of one term and one
    /// configuration, make a super quorum. A leader that its own configuration removes is no witness in it.
    pub(crate) fn complete_if_fast(&mut self, id: ProposeId, out: &mut Output) {
        let membership = self.membership.clone();
        let Some(pending) = self.pending_mut(id).filter(|p| !p.fast) else { return };
        let Some((term, config, leader, response)) = &pending.executed else { return };
        if *config != membership.version {
            return;
        }
        let witness = |node: &NodeId| membership.witnesses().any(|witness| witness == *node);
        let counts = |(node, t, c): &&(NodeId, Term, ConfigVersion)| {
            (*t == *term || mutants::on(Mutant::RecordNoTerm)) && c == config && witness(node) && node != leader
        };
        let mut nodes: Vec<NodeId> =
            pending.accepts.iter().filter(counts).map(|(node, ..)| *node).chain([*leader].into_iter().filter(witness)).collect();
        nodes.sort_unstable();
        nodes.dedup();
        if nodes.len() < curp::quorum::super_quorum(membership.voters.len()) {
            return;
        }
        let notice = Notice::Fast { op: pending.op, id, term: *term, config: *config, nodes, response: response.clone() };
        pending.fast = true;
        out.notices.push(notice);
    }

    pub(crate) fn on_synced(&mut self, id: ProposeId, synced: Synced<Response>, out: &mut Output) {
        if self.pending_mut(id).is_none() {
            return;
        }
        if let Some(pending) = self.pending.remove(&id.seq) {
            out.notices.push(Notice::Synced { op: pending.op, id, synced });
        }
    }

    /// Sends whatever is due.
    pub(crate) fn run_timers(&mut self, now: Nanos, out: &mut Output) {
        let due: Vec<u64> = self.pending.iter().filter(|(_, p)| now >= p.retry.due).map(|(seq, _)| *seq).collect();
        for seq in due {
            self.send_round(seq, now, out);
        }
        self.run_keep_alives(now);
        let due: Vec<u64> = self.reads.iter().filter(|(_, r)| now >= r.retry.due).map(|(number, _)| *number).collect();
        for number in due {
            self.send_read(number, now, out);
        }
        let due: Vec<u64> = self.admins.iter().filter(|(_, a)| now >= a.retry.due).map(|(nonce, _)| *nonce).collect();
        for nonce in due {
            self.send_admin(nonce, now, out);
        }
        self.run_watches(now, out);
        self.send_session(now, out);
        if self.looks_for_leader() && now >= self.discover_due {
            let node = self.any_node();
            out.messages.push((node, Message::Request(Ask::FetchCluster)));
            let wait = self.backoff(1);
            self.discover_due = now + wait;
        }
    }

    /// One try of a command: to the leader the proposal, to every other voter the record, at once.
    fn send_round(&mut self, seq: u64, now: Nanos, out: &mut Output) {
        let attempts = self.pending[&seq].retry.attempts;
        let Some((term, leader)) = self.leader else {
            // Nobody to send to; discovery runs, and hurries this along when it finds someone.
            let wait = self.backoff(attempts + 1);
            return self.pending.get_mut(&seq).expect("looked up above").retry.due = now + wait;
        };
        let (wait, gap) = (self.backoff(attempts + 1), self.config.retry_after_min / 4);
        self.ask_around(attempts, out);
        let (config, witnesses) = (self.membership.version, self.membership.witnesses().collect::<Vec<_>>());
        let pending = self.pending.get_mut(&seq).expect("looked up above");
        pending.retry = Retry { due: now + wait, attempts: attempts + 1, earliest: now + gap };
        if attempts > 0 {
            out.notices.push(Notice::Retried { op: pending.op });
        }
        let proposal = pending.proposal.clone();
        out.messages.push((leader, Message::Request(Ask::Propose { proposal: proposal.clone() })));
        if !pending.fast {
            for voter in witnesses.into_iter().filter(|voter| *voter != leader && !pending.accepts.contains(&(*voter, term, config))) {
                out.messages.push((voter, Message::Request(Ask::Record { term, config, proposal: proposal.clone() })));
            }
        }
        if mutants::on(Mutant::RetryNewId) && attempts > 0 {
            self.renumber(seq);
        }
    }

    /// After so many tries nobody has answered: perhaps the leader leads no longer. Asks who does, meanwhile.
    pub(crate) fn ask_around(&mut self, attempts: u32, out: &mut Output) {
        let node = match attempts {
            0..2 => return,
            2..4 if attempts.is_multiple_of(2) => self.any_node(),
            2..4 => return,
            _ => self.node_in_turn(attempts),
        };
        out.messages.push((node, Message::Request(Ask::FetchCluster)));
    }

    /// A known bug (mutant `retry-new-id`): from the second try on, a command goes by another id.
    fn renumber(&mut self, seq: u64) {
        if let (Some(mut pending), Session::Open { next, .. }) = (self.pending.remove(&seq), &mut self.session) {
            let id = ProposeId { seq: *next, ..pending.proposal.id };
            *next += 1;
            pending.proposal = Arc::new(Proposal { id, ..(*pending.proposal).clone() });
            self.pending.insert(id.seq, pending);
        }
    }

    /// One try of a read: to the leader, or, as often, to any node, which then asks the leader for its read index. What only the leader can
    /// answer goes to it alone; what any node may answer, to its own, if it lives in one, or else to any.
    fn send_read(&mut self, number: u64, now: Nanos, out: &mut Output) {
        let anyone = self.any_node();
        let read = self.read_id(number);
        let PendingRead { op, ref command, retry: Retry { attempts, .. }, .. } = self.reads[&number];
        let (leaders, local) = (command.is_leaders(), matches!(&**command, Request::Range(range) if range.serializable));
        let (wait, gap) = (self.backoff(attempts + 1), self.config.retry_after_min / 4);
        let leader = self.leader.map(|(_, leader)| leader);
        let to = match self.home.filter(|_| local && attempts == 0) {
            _ if leaders => leader,
            Some(home) => Some(home),
            None => Some(leader.filter(|_| wait.is_multiple_of(2) && !local).unwrap_or(anyone)),
        };
        let pending = self.reads.get_mut(&number).expect("looked up above");
        let Some(to) = to else {
            // Nobody to send to; discovery runs, and hurries this along when it finds someone.
            pending.retry.due = now + wait;
            return;
        };
        pending.retry = Retry { due: now + wait, attempts: attempts + 1, earliest: now + gap };
        pending.sent.get_or_insert(now);
        let command = pending.command.clone();
        match &*command {
            _ if attempts > 0 => out.notices.push(Notice::Retried { op }),
            Request::LeaseKeepAlive(keep) if pending.stream => out.notices.push(Notice::SentKeepAlive { op, lease: keep.id, read }),
            _ => {}
        }
        out.messages.push((to, Message::Request(Ask::Read { read, command })));
        self.ask_around(attempts, out);
    }

    /// Begins or ends the session, if that is due.
    fn send_session(&mut self, now: Nanos, out: &mut Output) {
        let request = match &self.session {
            Session::Beginning { nonce, retry } if now >= retry.due => Ask::<Request>::BeginSession { nonce: *nonce },
            Session::Open { id, ending: Some(retry), .. } if now >= retry.due && self.pending.is_empty() => Ask::EndSession { client: *id },
            _ => return,
        };
        if let Some((_, leader)) = self.leader {
            out.messages.push((leader, Message::Request(request)));
        }
        let attempts = match &self.session {
            Session::Beginning { retry, .. } | Session::Open { ending: Some(retry), .. } => retry.attempts + 1,
            _ => 1,
        };
        self.ask_around(attempts, out);
        let (wait, gap) = (self.backoff(attempts), self.config.retry_after_min / 4);
        if let Session::Beginning { retry, .. } | Session::Open { ending: Some(retry), .. } = &mut self.session {
            *retry = Retry { due: now + wait, attempts, earliest: now + gap };
        }
    }
}
