//! What a leader knows of a follower, and the pace at which it sends: flow control (after etcd's raft library).
//!
//! - **Probe**: it does not know where their logs agree. One Append at a time, and the next when that was answered.
//! - **Replicate**: it knows. Appends follow each other without waiting for answers, up to a window.
//! - **Snapshot**: the follower needs entries that the log no longer has. One piece of a snapshot at a time.
//!
//! Invariant: whatever is lost, an answer to a heartbeat gets it going again: a probe may ask once more, a full window lets a question
//! through, a piece that was not answered since the last such answer is sent once more. Nothing here decides what is committed.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::{Index, SnapshotFile};

/// One follower.
#[derive(Debug)]
pub(super) struct Progress {
    /// The follower's log equals the leader's up to here, durably.
    pub(super) matched: Index,
    /// Next entry to send.
    pub(super) next: Index,
    pub(super) pace: Pace,
    /// Commit index that the follower was told since it had the entries.
    pub(super) told: Index,
    /// The last heartbeat round answered.
    pub(super) round: u64,
    /// Heard of since the last look.
    pub(super) heard: bool,
}

/// How fast to send.
#[derive(Debug)]
pub(super) enum Pace {
    /// One Append at a time.
    Probe {
        /// One is under way.
        asked: bool,
    },
    /// One after the other.
    Replicate {
        /// The last index of each Append that was not answered.
        in_flight: VecDeque<Index>,
    },
    /// In pieces.
    Snapshot(Sending),
}

/// What may be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allowance {
    /// Nothing.
    Nothing,
    /// An Append without entries: where does it stand?
    Question,
    /// An Append.
    Entries,
    /// The present piece of the snapshot.
    Piece,
}

/// A snapshot on its way.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) file: SnapshotFile,
    /// CRC-32 of all of it.
    pub(super) checksum: u32,
    /// Where the present piece begins: so much has arrived.
    pub(super) at: u64,
    /// A piece was sent, or answered, since the last answer to a heartbeat.
    moved: bool,
}

impl Sending {
    pub(super) fn new(file: SnapshotFile) -> Self {
        let checksum = crc32fast::hash(&file.data);
        Sending { file, checksum, at: 0, moved: true }
    }

    /// The follower has so much. True if the next piece is to be sent: what is said twice is answered once, or two rows of pieces
    /// would run side by side to the end.
    fn received(&mut self, next: u64) -> bool {
        if next == self.at || next > self.file.data.len() as u64 {
            return false;
        }
        self.at = next;
        self.moved = true;
        next < self.file.data.len() as u64
    }

    /// The present piece. Empty once everything has arrived: a question.
    pub(super) fn piece(&self, bytes_max: usize) -> Arc<Vec<u8>> {
        let data = &self.file.data;
        let from = (self.at as usize).min(data.len());
        let to = from.saturating_add(bytes_max.max(1)).min(data.len());
        if to - from == data.len() { data.clone() } else { Arc::new(data[from..to].to_vec()) }
    }
}

impl Progress {
    /// Nothing is known but where the leader's own log ended.
    pub(super) fn new(next: Index) -> Self {
        Progress { matched: 0, next, pace: Pace::Probe { asked: false }, told: 0, round: 0, heard: false }
    }

    /// What may be sent, if `window` Appends may be under way. `answered`: it has just answered a heartbeat, so something must go.
    pub(super) fn allowance(&mut self, window: usize, answered: bool) -> Allowance {
        match &mut self.pace {
            Pace::Probe { asked: true } => Allowance::Nothing,
            Pace::Probe { asked: false } => Allowance::Entries,
            Pace::Replicate { in_flight } if in_flight.len() < window.max(1) => Allowance::Entries,
            Pace::Replicate { .. } => {
                if answered {
                    Allowance::Question
                } else {
                    Allowance::Nothing
                }
            }
            Pace::Snapshot(sending) => {
                let stuck = answered && !std::mem::take(&mut sending.moved);
                if stuck { Allowance::Piece } else { Allowance::Nothing }
            }
        }
    }

    /// An Append with so many entries from `next` on was sent.
    pub(super) fn sent(&mut self, entries: usize) {
        match &mut self.pace {
            Pace::Probe { asked } => *asked = true,
            Pace::Replicate { in_flight } if entries > 0 => {
                self.next += entries as Index;
                in_flight.push_back(self.next - 1);
            }
            Pace::Replicate { .. } | Pace::Snapshot(_) => {}
        }
    }

    /// Anything was heard.
    pub(super) fn answered(&mut self) {
        self.heard = true;
        if let Pace::Probe { asked } = &mut self.pace {
            *asked = false;
        }
    }

    /// The follower's log equals the leader's up to `index`, where the leader's begins after `base`. True if that is news.
    pub(super) fn appended(&mut self, index: Index, base: Index) -> bool {
        let news = index > self.matched;
        self.matched = self.matched.max(index);
        self.next = self.next.max(index + 1);
        match &mut self.pace {
            Pace::Replicate { in_flight } => {
                while in_flight.front().is_some_and(|last| *last <= index) {
                    in_flight.pop_front();
                }
            }
            Pace::Probe { .. } => self.pace = Pace::Replicate { in_flight: VecDeque::new() },
            // Even if the log has gone on since, and another snapshot must follow this one.
            Pace::Snapshot(sending) if self.matched >= base.min(sending.file.meta.index) => {
                self.pace = Pace::Replicate { in_flight: VecDeque::new() };
            }
            Pace::Snapshot(_) => {}
        }
        news
    }

    /// The follower's log has nothing like the leader's at `prev_index`; they may agree at `agree`. False if it is a late refusal: it says
    /// nothing about a follower that has since agreed up to there, or is asked about another place, or sent a snapshot.
    pub(super) fn rejected(&mut self, prev_index: Index, agree: Index) -> bool {
        let late = match self.pace {
            Pace::Probe { .. } => self.next != prev_index + 1,
            Pace::Replicate { .. } => false,
            Pace::Snapshot(_) => true,
        };
        if late || prev_index <= self.matched {
            return false;
        }
        self.next = (agree + 1).min(prev_index).max(self.matched + 1);
        self.pace = Pace::Probe { asked: false };
        true
    }

    /// What was sent lately may be lost. It is asked where it stands, but not before it is heard of again, or there is something new.
    pub(super) fn unreachable(&mut self) {
        if let Pace::Replicate { .. } = self.pace {
            self.probe();
        }
    }

    /// Back to finding out where it stands.
    pub(super) fn probe(&mut self) {
        self.next = self.matched + 1;
        self.pace = Pace::Probe { asked: false };
    }

    /// It needs a snapshot.
    pub(super) fn send_snapshot(&mut self, file: SnapshotFile) {
        self.next = self.matched + 1;
        self.pace = Pace::Snapshot(Sending::new(file));
    }

    /// It has so many bytes of the snapshot of that index. True if the next piece is to be sent.
    pub(super) fn received(&mut self, index: Index, next: u64) -> bool {
        match &mut self.pace {
            Pace::Snapshot(sending) if sending.file.meta.index == index => sending.received(next),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SnapshotMeta;

    fn replicating(matched: Index) -> Progress {
        let mut progress = Progress::new(matched + 1);
        progress.sent(0);
        progress.answered();
        assert_eq!(progress.appended(matched, 0), matched > 0);
        progress
    }

    fn snapshot(index: Index, bytes: usize) -> SnapshotFile {
        SnapshotFile { meta: SnapshotMeta { index, ..SnapshotMeta::default() }, data: Arc::new(vec![7; bytes]) }
    }

    #[test]
    fn a_probe_waits_for_its_answer() {
        let mut progress = Progress::new(5);
        assert_eq!(progress.allowance(8, false), Allowance::Entries);
        progress.sent(3);
        assert_eq!((progress.next, progress.allowance(8, true)), (5, Allowance::Nothing));
        progress.answered();
        assert_eq!(progress.allowance(8, true), Allowance::Entries);
        assert!(!progress.rejected(7, 2), "that was not asked");
        assert!(progress.rejected(4, 2));
        assert_eq!(progress.next, 3);
        assert!(progress.appended(2, 0));
        assert!(matches!(progress.pace, Pace::Replicate { .. }));
    }

    #[test]
    fn a_full_window_lets_only_a_question_through() {
        let mut progress = replicating(4);
        progress.sent(2);
        progress.sent(2);
        assert_eq!(
            (progress.next, progress.allowance(2, false), progress.allowance(2, true)),
            (9, Allowance::Nothing, Allowance::Question)
        );
        progress.sent(0);
        progress.appended(6, 0);
        assert_eq!(progress.allowance(2, false), Allowance::Entries);
        progress.sent(1);
        progress.appended(9, 0);
        assert_eq!(progress.allowance(1, false), Allowance::Entries, "an answer covers all Appends before it");
    }

    #[test]
    fn a_refusal_of_what_was_matched_since_is_late() {
        let mut progress = replicating(4);
        progress.sent(2);
        assert!(!progress.rejected(4, 1));
        assert!(progress.rejected(6, 1));
        assert_eq!(progress.next, 5, "never below what is matched");
    }

    #[test]
    fn after_a_loss_it_starts_again_from_what_is_matched() {
        let mut progress = replicating(4);
        progress.sent(3);
        progress.unreachable();
        assert_eq!((progress.next, progress.allowance(1, false)), (5, Allowance::Entries));
        progress.sent(3);
        progress.unreachable();
        assert_eq!(progress.allowance(1, true), Allowance::Nothing, "a probe has at most one under way anyway");
    }

    #[test]
    fn pieces_go_one_at_a_time_and_again_when_stuck() {
        let mut progress = replicating(4);
        progress.send_snapshot(snapshot(9, 10));
        assert_eq!(progress.allowance(1, false), Allowance::Nothing);
        assert_eq!([progress.allowance(1, true), progress.allowance(1, true)], [Allowance::Nothing, Allowance::Piece]);
        assert!(!progress.received(8, 4), "of another snapshot");
        assert!(!progress.received(9, 11), "more than there is");
        assert!(progress.received(9, 4));
        assert!(!progress.received(9, 4), "said twice, answered once");
        assert_eq!([progress.allowance(1, true), progress.allowance(1, true)], [Allowance::Nothing, Allowance::Piece]);
        assert!(progress.received(9, 0), "it lost what it had");
        assert!(!progress.received(9, 10), "all of it has arrived");
        let Pace::Snapshot(sending) = &progress.pace else { panic!("a snapshot is under way") };
        assert!(sending.piece(4).is_empty(), "then only a question remains");
        assert!(!progress.rejected(8, 1), "a refusal from before says nothing");
        assert!(!progress.appended(4, 8));
        assert!(matches!(progress.pace, Pace::Snapshot(_)));
        assert!(progress.appended(9, 8));
        assert!(matches!(progress.pace, Pace::Replicate { .. }));
        assert_eq!(progress.next, 10);
    }

    #[test]
    fn a_snapshot_that_has_arrived_is_over_though_the_log_has_gone_on() {
        let mut progress = replicating(4);
        progress.send_snapshot(snapshot(9, 10));
        assert!(progress.appended(9, 20));
        assert_eq!(progress.allowance(1, false), Allowance::Entries, "and what is to be sent shows that it needs another");
    }

    #[test]
    fn pieces_make_the_whole() {
        let file = SnapshotFile { data: Arc::new((0..10).collect()), ..snapshot(9, 0) };
        let mut sending = Sending::new(file.clone());
        let mut bytes = Vec::new();
        while sending.at < 10 {
            let piece = sending.piece(4);
            bytes.extend_from_slice(&piece);
            let next = sending.at + piece.len() as u64;
            assert_eq!(sending.received(next), next < 10);
        }
        assert_eq!(bytes, *file.data);
        assert_eq!(Sending::new(file.clone()).piece(64), file.data);
    }
}
