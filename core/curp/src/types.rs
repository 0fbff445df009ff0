//! The words of the protocol: ids, terms, proposals, log entries, membership.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::Command;
use mutants::Mutant;

/// A replica.
pub type NodeId = u32;
/// A Raft term; 0 is before the first election.
pub type Term = u64;
/// A position in the log; the first entry has index 1, and 0 is "before the log".
pub type Index = u64;
/// A session: the log index of the entry that began it, hence never used twice.
pub type ClientId = u64;
/// A reading of the node's own monotonic clock, in nanoseconds since an arbitrary start.
pub type Nanos = u64;

/// Names a command for ever: a client never gives the number away again, and every retry carries it (exactly-once, PROTOCOL.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProposeId {
    /// The session the command belongs to.
    pub client: ClientId,
    /// Its number within the session; the first command has 1.
    pub seq: u64,
}

impl fmt::Display for ProposeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.client, self.seq)
    }
}

impl FromStr for ProposeId {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let parsed = s.split_once('.').and_then(|(client, seq)| Some(ProposeId { client: client.parse().ok()?, seq: seq.parse().ok()? }));
        parsed.ok_or_else(|| format!("`{s}` is not a propose id; one looks like 3.17 (session 3, number 17)"))
    }
}

impl Serialize for ProposeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { (self.client, self.seq).serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for ProposeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
        } else {
            let (client, seq) = Deserialize::deserialize(deserializer)?;
            Ok(ProposeId { client, seq })
        }
    }
}

/// A configuration's version: the place of its log entry. Numbers counted up would collide after a truncated change (PROTOCOL.md, Membership).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConfigVersion {
    /// Term of the entry; 0 for the configuration the cluster was made with.
    pub term: Term,
    /// Index of the entry; 0 for the configuration the cluster was made with.
    pub index: Index,
}

/// Who takes part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// Version, which fences Records and fast answers.
    pub version: ConfigVersion,
    /// Nodes that vote and witness, in rising order.
    pub voters: Vec<NodeId>,
    /// Nodes that are sent the log and do neither, in rising order: newcomers that catch up, and read-only observers.
    pub learners: Vec<NodeId>,
    /// Where members are reached, for those whose address was given through the log. Opaque here.
    #[serde(with = "addresses")]
    pub addresses: BTreeMap<NodeId, String>,
}

/// JSON has only strings for a map's keys, and serde does not turn them back into numbers inside a tagged enum, as an event is.
mod addresses {
    use super::{BTreeMap, Deserialize, Deserializer, NodeId, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(of: &BTreeMap<NodeId, String>, serializer: S) -> Result<S::Ok, S::Error> {
        of.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<NodeId, String>, D::Error> {
        if !deserializer.is_human_readable() {
            return Deserialize::deserialize(deserializer);
        }
        let named = BTreeMap::<String, String>::deserialize(deserializer)?.into_iter();
        named.map(|(node, address)| Ok((node.parse().map_err(serde::de::Error::custom)?, address))).collect()
    }
}

impl Membership {
    /// The configuration a cluster is made with: these voters, at version (0, 0).
    pub fn initial(voters: impl IntoIterator<Item = NodeId>) -> Self {
        let mut voters: Vec<NodeId> = voters.into_iter().collect();
        voters.sort_unstable();
        Membership { voters, ..Membership::default() }
    }

    /// Whether the node votes.
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voters.contains(&node)
    }

    /// Whether the node is a voter or a learner.
    pub fn is_member(&self, node: NodeId) -> bool {
        self.is_voter(node) || self.learners.contains(&node)
    }

    /// Nodes whose accepts of a Record count: the voters.
    pub fn witnesses(&self) -> impl Iterator<Item = NodeId> {
        let counted: &[NodeId] = if mutants::on(Mutant::LearnerCounts) { &self.learners } else { &[] };
        self.voters.iter().chain(counted).copied()
    }

    /// Voters, then learners.
    pub fn members(&self) -> impl Iterator<Item = NodeId> {
        self.voters.iter().chain(&self.learners).copied()
    }
}

/// One change of a configuration. Only one voter comes or goes at a time, so that old and new majorities overlap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfigChange {
    /// A node that was never a member joins as a learner.
    AddLearner {
        /// Its id, never used before.
        node: NodeId,
        /// Where it is reached; may be empty where ids are enough.
        address: String,
    },
    /// A learner that has caught up becomes a voter.
    Promote {
        /// The learner.
        node: NodeId,
    },
    /// A voter or learner leaves; its id is never used again.
    Remove {
        /// The member.
        node: NodeId,
    },
    /// A member is reached elsewhere from now on.
    Update {
        /// The member.
        node: NodeId,
        /// Its new address.
        address: String,
    },
}

impl ConfigChange {
    /// The node it is about.
    pub fn node(&self) -> NodeId {
        match self {
            ConfigChange::AddLearner { node, .. }
            | ConfigChange::Promote { node }
            | ConfigChange::Remove { node }
            | ConfigChange::Update { node, .. } => *node,
        }
    }
}

/// A command on its way: what a Propose and a Record carry, and what a spec pool keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(bound = "C: Command")]
pub struct Proposal<C: Command> {
    /// Its id, the same in every retry.
    pub id: ProposeId,
    /// The lowest number of this session whose synced result the client does not have yet; results below may be forgotten.
    pub first_incomplete: u64,
    /// The command.
    pub command: Arc<C>,
}

/// What a log entry holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(bound = "C: Command", rename_all = "snake_case")]
pub enum Payload<C: Command> {
    /// The first entry of a leader's term.
    Noop,
    /// A client's command.
    Command(Arc<Proposal<C>>),
    /// Begins a session, whose id is this entry's index. A retry begins a second one that nobody uses.
    SessionBegin {
        /// Chosen by the client, echoed in the answer.
        nonce: u64,
    },
    /// Ends a session. Its footprint depends on state: never recorded, never fast.
    SessionEnd {
        /// The session that ends.
        client: ClientId,
    },
    /// A configuration, in force from its append on. Its footprint depends on state: never recorded, never fast, in conflict with all.
    Config {
        /// What changed.
        change: ConfigChange,
        /// The configuration after it; its version is this entry's place.
        membership: Arc<Membership>,
    },
    /// The cluster shuts down: each node stops once it has applied this. In conflict with all.
    Shutdown,
    /// A command of the leader's own, which no client asked for: it belongs to no session, is never recorded, never fast, and its result goes to
    /// nobody. Applying it twice must do no more than once.
    Own {
        /// The command.
        command: Arc<C>,
    },
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(bound = "C: Command")]
pub struct Entry<C: Command> {
    /// Term of the leader that appended it.
    pub term: Term,
    /// Its place.
    pub index: Index,
    /// What it holds.
    pub payload: Payload<C>,
}

impl<C: Command> Entry<C> {
    /// The id of the command in it, if it holds one.
    pub fn id(&self) -> Option<ProposeId> {
        self.proposal().map(|p| p.id)
    }

    /// The command in it with its id, if it holds one.
    pub fn proposal(&self) -> Option<&Arc<Proposal<C>>> {
        match &self.payload {
            Payload::Command(proposal) => Some(proposal),
            _ => None,
        }
    }

    /// The command in it, be it a client's or a leader's own.
    pub fn command(&self) -> Option<&C> {
        match &self.payload {
            Payload::Command(proposal) => Some(&proposal.command),
            Payload::Own { command } => Some(command),
            _ => None,
        }
    }

    /// The configuration in it, if it holds one.
    pub fn membership(&self) -> Option<&Arc<Membership>> {
        match &self.payload {
            Payload::Config { membership, .. } => Some(membership),
            _ => None,
        }
    }
}

/// What a node must not forget about elections, and how far it knew the log to be committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardState {
    /// Latest term seen.
    pub term: Term,
    /// Candidate voted for in `term`.
    pub vote: Option<NodeId>,
    /// A commit index known at the time of writing; may lag, since it is written without a sync of its own.
    pub commit: Index,
}

/// What a snapshot is of: the state after applying entries 1 to `index`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotMeta {
    /// The applied index it reflects.
    pub index: Index,
    /// Term of the entry there.
    pub term: Term,
    /// Configuration as of that index.
    pub membership: Membership,
}

/// A snapshot as it is kept in a file and sent to followers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFile {
    /// What it is of.
    pub meta: SnapshotMeta,
    /// Sessions and state machine, encoded. Storage and transport add checksums, and know nothing of what is in it.
    pub data: Arc<Vec<u8>>,
}

/// What stands before the first entry of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogBase {
    /// Index before the first entry: 0 for a log that was never compacted.
    pub index: Index,
    /// Term of the entry that stood there.
    pub term: Term,
}

/// One durable record of a node, in the order written. The log's suffix from an entry's index on is replaced by that entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(bound = "C: Command")]
pub enum Record<C: Command> {
    /// Term, vote, commit.
    HardState(HardState),
    /// A log entry; it truncates what stood at its index and after.
    Entry(Arc<Entry<C>>),
    /// A command enters the spec pool.
    PoolInsert(Arc<Proposal<C>>),
    /// A command leaves the spec pool.
    PoolRemove(ProposeId),
    /// The file of this snapshot is complete and durable; start-up begins from it. A log that has no entry of its term at its index is
    /// replaced by the snapshot (an installed one); one that has stays as it is, until a checkpoint drops the prefix.
    Snapshot(SnapshotMeta),
    /// Forgets all records before this one. What is still true is said again after it, in the same frame: hard state, snapshot, the
    /// entries after `LogBase`, the pool.
    Checkpoint(LogBase),
}

/// What a node finds on its disk at start: [`Record`]s folded in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Durable<C: Command> {
    /// The last hard state written.
    pub hard_state: HardState,
    /// The last snapshot whose file is complete.
    pub snapshot: Option<SnapshotMeta>,
    /// What stands before the first entry. Never beyond the snapshot.
    pub base: LogBase,
    /// Entries in order: `log[i]` has index `base.index` + i + 1.
    pub log: Vec<Arc<Entry<C>>>,
    /// The spec pool, in order of insertion.
    pub pool: Vec<Arc<Proposal<C>>>,
}

impl<C: Command> Default for Durable<C> {
    fn default() -> Self {
        Durable { hard_state: HardState::default(), snapshot: None, base: LogBase::default(), log: Vec::new(), pool: Vec::new() }
    }
}

impl<C: Command> Durable<C> {
    /// Folds one record in.
    ///
    /// # Errors
    /// An entry that would leave a gap in the log, or stands before its base: its index and the last one before it.
    pub fn apply(&mut self, record: Record<C>) -> Result<(), LogGap> {
        match record {
            Record::HardState(hard_state) => self.hard_state = hard_state,
            Record::Entry(entry) => {
                let last = self.last().1;
                if entry.index <= self.base.index || entry.index > last + 1 {
                    return Err(LogGap { index: entry.index, last });
                }
                self.log.truncate((entry.index - self.base.index) as usize - 1);
                self.log.push(entry);
            }
            Record::PoolInsert(proposal) => {
                if !self.pool.iter().any(|p| p.id == proposal.id) {
                    self.pool.push(proposal);
                }
            }
            Record::PoolRemove(id) => self.pool.retain(|p| p.id != id),
            Record::Snapshot(meta) => {
                if self.term(meta.index) != Some(meta.term) && meta.index > self.base.index {
                    self.log.clear();
                    self.base = LogBase { index: meta.index, term: meta.term };
                }
                self.snapshot = Some(meta);
            }
            Record::Checkpoint(base) => *self = Durable { base, ..Durable::default() },
        }
        Ok(())
    }

    /// Term at an index: that of the base there, `None` before the base and beyond the last entry.
    pub fn term(&self, index: Index) -> Option<Term> {
        match index.checked_sub(self.base.index)? {
            0 => Some(self.base.term),
            place => self.log.get(place as usize - 1).map(|e| e.term),
        }
    }

    /// Term and index of the last entry, or of the base, (0, 0) for a log that never had one: what elections compare, lexicographically.
    pub fn last(&self) -> (Term, Index) {
        self.log.last().map_or((self.base.term, self.base.index), |e| (e.term, e.index))
    }

    /// The last configuration in the log, or else the snapshot's; `None`: the one the cluster was made with.
    pub fn membership(&self) -> Option<&Membership> {
        let in_log = self.log.iter().rev().find_map(|e| e.membership()).map(|m| &**m);
        in_log.or_else(|| self.snapshot.as_ref().map(|s| &s.membership))
    }
}

/// A record names an index beyond the end of the log before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogGap {
    /// Index of the entry.
    pub index: Index,
    /// Last index before it.
    pub last: Index,
}

impl fmt::Display for LogGap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {} does not follow the log, which ends at {}", self.index, self.last)
    }
}

impl std::error::Error for LogGap {}
