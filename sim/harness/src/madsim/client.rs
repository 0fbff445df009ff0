//! What the shell of a client stands on in a madsim run.

use client::Notice;
use curp::{Address, Message, Nanos, NodeId};
use kv::Request;
use server::rpc::{ClientCalls, EtcdCalls};
use server::{ClientHost, Clock};
use std::sync::Arc;
use tokio::time::Duration;

use super::stage::{Stage, now};
use crate::profile::{self, Part};

/// The real transport, by the client's kind.
pub(crate) enum Calls {
    Native(ClientCalls),
    Etcd(EtcdCalls),
}

/// One life of a client, as its shell sees the world.
pub(crate) struct CallerHost {
    pub(crate) stage: Arc<Stage>,
    pub(crate) client: u32,
    /// Its process's own clock; an operator's is perfect.
    pub(crate) clock: Option<world::Clock>,
    /// The real transport, in runs that use it.
    pub(crate) calls: Option<Calls>,
}

impl Clock for CallerHost {
    fn now(&self) -> Nanos {
        profile::set(Part::Node);
        let now = now();
        crate::log::set_time(now);
        crate::log::set_node(None);
        self.clock.as_ref().map_or(now, |clock| clock.mono(now))
    }

    fn until(&self, due: Nanos) -> Duration {
        let now = now();
        let wait = match &self.clock {
            Some(clock) => clock.real_after(now, due.saturating_sub(clock.mono(now))),
            None => due.saturating_sub(now),
        };
        Duration::from_nanos(wait.max(1))
    }
}

impl ClientHost for CallerHost {
    fn send(&self, to: NodeId, message: Message<Request>) {
        let (from, to_node) = (Address::Client(self.client), Address::Node(to));
        let Some(calls) = &self.calls else {
            return self.stage.with(|cluster| cluster.send(from, to_node, message));
        };
        self.stage.with(|cluster| {
            cluster.note_ask(&message);
            cluster.note_clog(from, to_node);
        });
        match calls {
            Calls::Native(calls) => calls.send(to, message),
            Calls::Etcd(calls) => calls.send(to, message),
        }
    }

    fn settled(&self) {
        profile::set(Part::Scheduler);
    }

    fn notice(&self, notice: Notice) {
        self.stage.with(|cluster| cluster.note_client_notice(self.client, notice));
    }
}
