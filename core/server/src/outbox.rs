//! The outbox: holds every message until the write it waits for has ended, and lets it go then. The dependency is data that the node
//! attaches (`Outgoing::after`); here is the one place of the shell that enforces it.

use std::future::Future;
use std::sync::Arc;

use curp::{Message, Outgoing};
use kv::Request;
use mutants::Mutant;
use node::Token;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::host::Host;

/// What the outbox is told.
pub(crate) enum Post<N> {
    /// The node says this.
    Say(Outgoing<Request>, N),
    /// The log is durable up to this token.
    Durable(Token),
    /// The node has stopped: nothing leaves any more.
    Stop,
}

/// Runs until the node is gone. It holds the host but not the node, so that it cannot keep the node alive.
pub(crate) async fn run<H: Host>(host: Arc<H>, mut posts: UnboundedReceiver<Post<H::Note>>) {
    let mut durable: Token = 0;
    let mut held: Vec<(Outgoing<Request>, H::Note)> = Vec::new();
    while let Some(post) = posts.recv().await {
        match post {
            Post::Say(outgoing, note) if outgoing.after <= durable || answers_early(&outgoing) => host.send(outgoing, note),
            Post::Say(outgoing, note) => {
                host.held();
                held.push((outgoing, note));
            }
            Post::Durable(token) => {
                durable = durable.max(token);
                for (outgoing, note) in held.extract_if(.., |(outgoing, _)| outgoing.after <= durable) {
                    host.send(outgoing, note);
                }
            }
            Post::Stop => return,
        }
    }
    if mutants::on(Mutant::TaskSurvivesCrash) {
        held.into_iter().for_each(|(outgoing, note)| host.send(outgoing, note));
    }
}

fn answers_early(outgoing: &Outgoing<Request>) -> bool {
    mutants::on(Mutant::AnswerBeforeWrite) && matches!(outgoing.message, Message::Reply(_))
}

/// Starts the outbox as a task of this node, in the life that `entropy` names.
#[cfg_attr(not(madsim), expect(unused_variables, reason = "it names a process of the simulation"))]
pub(crate) fn spawn(outbox: impl Future<Output = ()> + Send + 'static, entropy: u64) {
    #[cfg(madsim)]
    if mutants::on(Mutant::TaskSurvivesCrash) {
        // A process of its own, which nobody kills. It needs an address, or no call could leave it.
        let [a, b, c, ..] = entropy.to_le_bytes();
        let address = std::net::Ipv4Addr::new(11, a, b, c);
        madsim::runtime::Handle::current().create_node().ip(address.into()).build().spawn(outbox);
        return;
    }
    tokio::spawn(outbox);
}
