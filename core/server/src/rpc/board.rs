//! The cmd board of the front: calls that wait for what the node will say. The node knows addresses, not calls; the board knows which
//! open call a message answers.
//!
//! A call is put on the board *before* its question is given to the node: an answer that comes at once finds it there. A synced result
//! that no open call waits for is kept for the WaitSynced that will ask for it. Anything else that nobody waits for is dropped, as a
//! network would drop it: whoever needs it asks again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use curp::{Address, ClientAddress, Message, NodeId, PeerMessage, ProposeId, ReadId, Reply, WatchName};
use kv::Request;
use tokio::sync::oneshot;

/// Synced results kept at most; the oldest goes first.
const KEPT_MAX: usize = 1024;

/// What a call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Propose(ClientAddress, ProposeId),
    Synced(ClientAddress, ProposeId),
    Record(ClientAddress, ProposeId),
    Read(ReadId),
    /// A client begins or ends one session at a time.
    Session(ClientAddress),
    Cluster(ClientAddress),
    /// An operator's wish, by its nonce.
    Admin(ClientAddress, u64),
    /// A watcher's next response, by the question's number.
    Watch(WatchName, u64),
    PreVote(NodeId),
    Vote(NodeId),
    Append(NodeId),
    Heartbeat(NodeId),
    ReadIndex(NodeId, ReadId),
    Snapshot(NodeId),
}

type Answer = Message<Request>;

#[derive(Default)]
struct Cards {
    open: BTreeMap<Key, VecDeque<oneshot::Sender<Answer>>>,
    kept: BTreeMap<(ClientAddress, ProposeId), Answer>,
    kept_order: VecDeque<(ClientAddress, ProposeId)>,
}

/// The board of one node.
#[derive(Default)]
pub struct Board(Mutex<Cards>);

/// An open call. Dropping it takes it off the board.
pub(super) struct OpenCall {
    board: Arc<Board>,
    key: Key,
    answer: oneshot::Receiver<Answer>,
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.answer.close();
        let mut cards = self.board.lock();
        if let Some(calls) = cards.open.get_mut(&self.key) {
            calls.retain(|call| !call.is_closed());
            if calls.is_empty() {
                cards.open.remove(&self.key);
            }
        }
    }
}

impl OpenCall {
    /// The answer; `None` if the board is gone.
    pub(super) async fn answered(mut self) -> Option<Answer> {
        (&mut self.answer).await.ok()
    }
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Cards> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a call on the board.
    pub(super) fn open(self: &Arc<Self>, key: Key) -> OpenCall {
        let (send, answer) = oneshot::channel();
        self.lock().open.entry(key).or_default().push_back(send);
        OpenCall { board: self.clone(), key, answer }
    }

    /// Takes the synced result that came before it was asked for.
    pub(super) fn kept(&self, client: ClientAddress, id: ProposeId) -> Option<Answer> {
        self.lock().kept.remove(&(client, id))
    }

    /// The node says this to that address.
    pub(crate) fn answer(&self, to: Address, message: Answer) {
        let mut cards = self.lock();
        match (&message, to) {
            // Whoever waits for the command, in whatever call, has the final result now.
            (Message::Reply(Reply::Synced { id, .. }), Address::Client(client)) => {
                let waiting = [Key::Propose(client, *id), Key::Synced(client, *id)];
                let calls: Vec<_> = waiting.iter().filter_map(|key| cards.open.remove(key)).flatten().collect();
                let mut heard = false;
                for call in calls {
                    heard |= call.send(message.clone()).is_ok();
                }
                if !heard {
                    cards.keep((client, *id), message);
                }
            }
            // Repetitions of one question: all have the answer now. The oldest alone would not do, since its caller may be long gone.
            (_, Address::Client(_)) => {
                let calls = keys(to, &message).iter().find_map(|key| cards.open.remove(key)).unwrap_or_default();
                for call in calls {
                    let _ = call.send(message.clone());
                }
            }
            // Questions that follow each other: an answer each. Which call it rides on does not matter, since it says what it answers.
            (_, Address::Node(_)) => {
                if let Some(call) = keys(to, &message).iter().find_map(|key| cards.first(*key)) {
                    let _ = call.send(message);
                }
            }
        }
    }
}

impl Cards {
    /// The oldest call with this key that is still waited for.
    fn first(&mut self, key: Key) -> Option<oneshot::Sender<Answer>> {
        let calls = self.open.get_mut(&key)?;
        let mut first = calls.pop_front();
        while first.as_ref().is_some_and(oneshot::Sender::is_closed) {
            first = calls.pop_front();
        }
        if calls.is_empty() {
            self.open.remove(&key);
        }
        first
    }

    fn keep(&mut self, key: (ClientAddress, ProposeId), answer: Answer) {
        if self.kept.insert(key, answer).is_none() {
            self.kept_order.push_back(key);
        }
        if self.kept_order.len() > KEPT_MAX
            && let Some(oldest) = self.kept_order.pop_front()
        {
            self.kept.remove(&oldest);
        }
    }
}

/// The calls that a message may answer, in order of preference.
fn keys(to: Address, message: &Answer) -> Vec<Key> {
    match (to, message) {
        (Address::Client(c), Message::Reply(reply)) => match reply {
            Reply::Executed { id, .. } | Reply::Conflict { id, .. } => vec![Key::Propose(c, *id)],
            Reply::Synced { id, .. } => vec![Key::Propose(c, *id), Key::Synced(c, *id)],
            Reply::Refused { id, .. } => vec![Key::Propose(c, *id), Key::Record(c, *id), Key::Synced(c, *id)],
            Reply::Recorded { id, .. } => vec![Key::Record(c, *id)],
            Reply::Read { read, .. } | Reply::ReadRefused { read, .. } => vec![Key::Read(*read)],
            Reply::SessionBegun { .. } | Reply::SessionEnded { .. } | Reply::SessionRefused { .. } => vec![Key::Session(c)],
            Reply::Cluster { .. } => vec![Key::Cluster(c)],
            Reply::Admin { nonce, .. } => vec![Key::Admin(c, *nonce)],
            Reply::Watch { watch, pull, .. } => vec![Key::Watch(*watch, *pull)],
            // To a call that came as a message, where no transport is.
            Reply::Answer { .. } => Vec::new(),
        },
        (Address::Node(n), Message::Peer { body, .. }) => match body {
            PeerMessage::PreVoteReply { .. } => vec![Key::PreVote(n)],
            PeerMessage::VoteReply { .. } => vec![Key::Vote(n)],
            PeerMessage::Appended { .. } | PeerMessage::AppendRejected { .. } => vec![Key::Append(n), Key::Snapshot(n)],
            PeerMessage::SnapshotReceived { .. } => vec![Key::Snapshot(n)],
            PeerMessage::HeartbeatReply { .. } => vec![Key::Heartbeat(n)],
            PeerMessage::ReadIndexReply { read, .. } => vec![Key::ReadIndex(n, *read)],
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kv::Response;

    const ID: ProposeId = ProposeId { client: 7, seq: 1 };

    fn synced() -> Answer {
        Message::Reply(Reply::Synced { id: ID, synced: curp::Synced { revision: 2, response: Response::Put { prev_kv: None } } })
    }

    fn answer_of(mut call: OpenCall) -> Option<Answer> {
        call.answer.try_recv().ok()
    }

    #[test]
    fn an_answer_goes_to_its_own_call() {
        let board = Arc::<Board>::default();
        let (propose, record) = (board.open(Key::Propose(3, ID)), board.open(Key::Record(3, ID)));
        let conflict = Message::Reply(Reply::Conflict { id: ID, term: 4 });
        board.answer(Address::Client(3), conflict.clone());
        assert_eq!(answer_of(propose), Some(conflict));
        assert_eq!(answer_of(record), None);
    }

    #[test]
    fn a_result_that_comes_early_is_kept_and_given_once() {
        let board = Arc::<Board>::default();
        drop(board.open(Key::Synced(3, ID)));
        board.answer(Address::Client(3), synced());
        assert_eq!(board.kept(3, ID), Some(synced()));
        assert_eq!(board.kept(3, ID), None);
    }

    /// Found by the harness: calls whose callers had gone, but that stood open, took every answer meant for the repetitions after them.
    #[test]
    fn every_repetition_of_a_question_has_the_answer() {
        let board = Arc::<Board>::default();
        let calls = [board.open(Key::Session(3)), board.open(Key::Session(3))];
        let begun = Message::Reply(Reply::SessionBegun { nonce: 1, client: 9 });
        board.answer(Address::Client(3), begun.clone());
        assert_eq!(calls.map(answer_of), [Some(begun.clone()), Some(begun)]);
    }

    /// A snapshot's last piece is answered as an append is, and an append that waits takes that answer as well.
    #[test]
    fn a_snapshot_s_end_answers_an_append_or_else_its_last_piece() {
        let board = Arc::<Board>::default();
        let snapshot = board.open(Key::Snapshot(2));
        let append = board.open(Key::Append(2));
        let appended = |index| Message::Peer { term: 1, body: PeerMessage::Appended { index } };
        board.answer(Address::Node(2), appended(4));
        board.answer(Address::Node(2), appended(5));
        assert_eq!([append, snapshot].map(answer_of), [Some(appended(4)), Some(appended(5))]);
    }

    #[test]
    fn a_call_that_was_given_up_takes_no_answer_from_the_next() {
        let board = Arc::<Board>::default();
        let (first, second) = (board.open(Key::Heartbeat(2)), board.open(Key::Heartbeat(2)));
        drop(first);
        let reply = Message::Peer { term: 1, body: PeerMessage::HeartbeatReply { round: 9 } };
        board.answer(Address::Node(2), reply.clone());
        assert_eq!(answer_of(second), Some(reply));
        assert!(board.lock().open.is_empty());
    }
}
