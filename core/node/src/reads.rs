//! Reads: by read index, once that much is applied here; a serializable one at once, from what is.
//!
//! A read is served at the applied index exactly: commuting commands beyond it may have run already, so it is computed at that index's
//! revision. What only a leader can answer goes the same way ([`crate::leases`]).

use std::sync::Arc;

use curp::{Address, Message, Nanos, Outgoing, ReadId, ReadState, Reply, Request as Ask, Synced};
use kv::{Request, Response};
use mutants::Mutant;

use crate::leases::Receipt;
use crate::{Node, Output};

/// A read whose index is asked for, or waited for.
#[derive(Debug)]
pub(crate) struct PendingRead {
    command: Arc<Request>,
    /// Known read index.
    ready: Option<ReadState>,
    /// When it was asked last. Of one whose client is gone the index may never come.
    asked: Nanos,
    /// Of a request for the leader's leases: how it came.
    pub(crate) receipt: Option<Receipt>,
}

impl Node {
    pub(crate) fn read(&mut self, read: ReadId, command: Arc<Request>, now: Nanos, out: &mut Output) {
        if let Request::Range(range) = &*command
            && range.serializable
        {
            return self.answer_read(read, |node, revision| node.machine.store.read(range, revision), out);
        }
        let mut receipt = None;
        if command.is_leaders() {
            receipt = self.receive(read, &command);
            if receipt.is_none() {
                let refused = Reply::ReadRefused { read, cluster: self.raw.leadership() };
                return self.reply(read.0, refused, out);
            }
            let at_once = match &*command {
                Request::LeaseKeepAlive(_) => mutants::on(Mutant::LeaseKeepaliveStale),
                Request::LeaseTimeToLive(_) => mutants::on(Mutant::TimeToLiveStale),
                _ => false,
            };
            if let Some(receipt) = receipt.filter(|_| at_once)
                && let Some(response) = self.answer_of_leases(read, &command, receipt)
            {
                return self.answer_read(read, |_, _| response, out);
            }
        }
        // A repetition waits on as before: the round it began with counts from its first receipt, unless another term's.
        let fresh = || PendingRead { command: command.clone(), ready: None, asked: now, receipt };
        let pending = self.reads.entry(read).or_insert_with(fresh);
        if pending.receipt.map(|r| r.term()) != receipt.map(|r| r.term()) {
            *pending = fresh();
        }
        pending.asked = now;
        self.raw.request(read.0, Ask::Read { read, command }, now);
    }

    /// Forgets reads that nobody asks for any more.
    pub(crate) fn forget_reads(&mut self, now: Nanos) {
        let idle = self.limits.read_idle;
        self.reads.retain(|_, read| now < read.asked.saturating_add(idle));
    }

    /// Notes the read indexes that came, and serves every read that has been applied up to its own.
    pub(crate) fn read_states(&mut self, raw_out: &mut curp::Output<Request>, out: &mut Output) {
        for state in raw_out.reads.drain(..) {
            if state.index.is_none() {
                if self.reads.remove(&state.read).is_some() {
                    let refused = Reply::ReadRefused { read: state.read, cluster: self.raw.leadership() };
                    self.reply(state.read.0, refused, out);
                }
            } else if let Some(read) = self.reads.get_mut(&state.read) {
                // Of several the first: a repetition must not have to wait for more than the question did.
                read.ready.get_or_insert(state);
            }
        }
        if self.reads.is_empty() {
            return;
        }
        let applied = self.raw.applied();
        let ready: Vec<ReadId> = self
            .reads
            .iter()
            .filter(|(_, read)| read.ready.as_ref().and_then(|r| r.index).is_some_and(|index| index <= applied))
            .map(|(id, _)| *id)
            .collect();
        for id in ready {
            if let Some(PendingRead { command, ready: Some(state), receipt, .. }) = self.reads.remove(&id) {
                let read_index = state.index.unwrap_or(0);
                let served = curp::Event::ServeRead { read: state.read, read_index, applied };
                match (&*command, receipt) {
                    (Request::Range(range), _) => {
                        raw_out.events.push(served);
                        self.answer_read(id, |node, revision| node.machine.store.read(range, revision), out);
                    }
                    (command, Some(receipt)) => match self.answer_of_leases(id, command, receipt) {
                        Some(response) => {
                            raw_out.events.push(served);
                            self.answer_read(id, |_, _| response, out);
                        }
                        None => {
                            let refused = Reply::ReadRefused { read: id, cluster: self.raw.leadership() };
                            self.reply(id.0, refused, out);
                        }
                    },
                    _ => {}
                }
            }
        }
    }

    /// Answers a read at the applied index; `response` is given its revision.
    pub(crate) fn answer_read(&self, read: ReadId, response: impl FnOnce(&Node, u64) -> Response, out: &mut Output) {
        let revision = self.raw.applied_revision();
        let synced = Synced { revision, response: response(self, revision) };
        self.reply(read.0, Reply::Read { read, applied: self.raw.applied(), synced }, out);
    }

    pub(crate) fn reply(&self, to: u32, reply: Reply<Request>, out: &mut Output) {
        out.messages.push(to_client(to, reply));
    }
}

/// A reply that says nothing that is not applied, hence durable: it waits for nothing.
pub(crate) fn to_client(to: u32, reply: Reply<Request>) -> Outgoing<Request> {
    Outgoing { to: Address::Client(to), message: Message::Reply(reply), after: 0 }
}
