//! Streams of keep-alives: each lease is kept alive by one read after another, the next sent when a third of the lease's time is over since
//! the last one was.
//!
//! What a holder may rely on runs from the moment at which a keep-alive that was answered was *first* sent: its retries have its name, and the
//! answer may be to any of them, so [`Notice::KeptAlive`] gives that moment. Keep-alives of a stream do not overlap.

use std::sync::Arc;

use curp::Nanos;
use kv::{LeaseId, LeaseKeepAliveRequest, Request, Response};

use crate::{Client, Notice, Output, PendingRead, Retry};

const SECOND: Nanos = 1_000_000_000;

/// A lease that is kept alive.
#[derive(Debug)]
pub(crate) struct KeepAlives {
    lease: LeaseId,
    /// When the next is to be sent; `None`: the last is not answered yet.
    due: Option<Nanos>,
}

impl KeepAlives {
    pub(crate) fn due(&self) -> Option<Nanos> {
        self.due
    }
}

impl Client {
    pub(crate) fn keep_alive(&mut self, op: u64, lease: LeaseId, now: Nanos) {
        self.keep_alives.insert(op, KeepAlives { lease, due: Some(now) });
    }

    pub(crate) fn end_keep_alive(&mut self, op: u64) {
        self.keep_alives.remove(&op);
        self.reads.retain(|_, read| !(read.stream && read.op == op));
    }

    /// Begins the keep-alives that are due.
    pub(crate) fn run_keep_alives(&mut self, now: Nanos) {
        let due: Vec<u64> = self.keep_alives.iter().filter(|(_, k)| k.due.is_some_and(|due| now >= due)).map(|(op, _)| *op).collect();
        for op in due {
            let number = self.new_number();
            let keep_alives = self.keep_alives.get_mut(&op).expect("just listed");
            keep_alives.due = None;
            let command = Arc::new(Request::LeaseKeepAlive(LeaseKeepAliveRequest { id: keep_alives.lease }));
            self.reads.insert(number, PendingRead { op, command, retry: Retry::first(now), stream: true, sent: None });
        }
    }

    /// A keep-alive of a stream is answered.
    pub(crate) fn on_kept_alive(&mut self, number: u64, read: &PendingRead, response: &Response, out: &mut Output) {
        let (&Response::LeaseKeepAlive { ttl, .. }, Some(sent)) = (response, read.sent) else { return };
        let Some(keep_alives) = self.keep_alives.get_mut(&read.op) else { return };
        let lease = keep_alives.lease;
        out.notices.push(Notice::KeptAlive { op: read.op, lease, read: (self.address, number), sent, ttl });
        match u64::try_from(ttl) {
            Ok(seconds) if seconds > 0 => keep_alives.due = Some(sent.saturating_add(seconds.saturating_mul(SECOND / 3))),
            _ => drop(self.keep_alives.remove(&read.op)),
        }
    }
}
