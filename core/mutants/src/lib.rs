//! Known bugs, as switches. Each [`Mutant`] stands for a defect of a released system; the code in `core/` asks [`on`] at the
//! one place where that defect stood.
//!
//! Without the feature `planted` the answer is the constant `false` and the branch is compiled out. With it, the answer is a
//! value of the current *thread*, set by the harness before a run: a run lives on one thread, and runs on other threads are not
//! touched. The feature never reaches a real server: a build with `planted` and without `--cfg madsim` does not compile.

#[cfg(all(feature = "planted", not(madsim)))]
compile_error!(
    "the feature `planted` is for simulation only: build with `--cfg madsim` (set in .cargo/config.toml; is RUSTFLAGS set in the environment?)"
);

macro_rules! mutants {
    ($($variant:ident = $name:literal, $checks:literal, $what:literal;)*) => {
        /// A known bug that can be planted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Mutant { $(#[doc = $what] $variant),* }

        impl Mutant {
            /// Every mutant, in the order of the catalogue.
            pub const ALL: &'static [Mutant] = &[$(Mutant::$variant),*];

            /// The name used on the command line, for example `read-local-leader`.
            pub fn name(self) -> &'static str { match self { $(Mutant::$variant => $name),* } }

            /// The letters of the checks that may report it (`CLI.md`'s table), for example `"QL"`.
            pub fn checks(self) -> &'static str { match self { $(Mutant::$variant => $checks),* } }

            /// What is planted, in one sentence.
            pub fn what(self) -> &'static str { match self { $(Mutant::$variant => $what),* } }
        }
    };
}

mutants! {
    SuperQuorumMajority = "super-quorum-majority", "QL", "the client counts a fast round complete at a majority of accepts";
    SuperQuorumEven = "super-quorum-even", "Q", "the super quorum is one short for an even number of voters";
    RecoverOneLess = "recover-one-less", "QL", "recovery wants one pool fewer: an incomplete rival is recovered too";
    RecoverOneMore = "recover-one-more", "QL", "recovery wants one pool more than recover(n)";
    RecordNoTerm = "record-no-term", "QC", "a Record is not fenced by its term: late ones count";
    VolatileWitness = "volatile-witness", "Q", "the spec pool is lost at a restart";
    WitnessAckBeforeSync = "witness-ack-before-sync", "QD", "a Record is acknowledged before it is durable";
    IgnoreUncommittedPool = "ignore-uncommitted-pool", "L", "the leader checks only its spec pool for conflicts";
    FastBeforeNoop = "fast-before-noop", "QLC", "the leader opens the fast path before its no-op and the recovered commands are applied";
    PoolDropAtExecute = "pool-drop-at-execute", "LQ", "a command leaves the leader's pool when it is executed, not when it is applied";
    PoolDropAtAppend = "pool-drop-at-append", "Q", "a witness drops a command when it is appended";
    PoolDropAtTruncate = "pool-drop-at-truncate", "Q", "a witness drops a command when its entry is truncated";
    LeaderSkipsOwnPool = "leader-skips-own-pool", "Q", "the leader does not keep a fast command in its own durable pool";
    LeaderIgnoresOwnPool = "leader-ignores-own-pool", "QLC", "the leader checks its uncommitted pool but not its own spec pool";
    SessionAdvanceOnFast = "session-advance-on-fast", "QX", "the client acknowledges past commands for which it has only a fast answer";
    RecoverNoDedup = "recover-no-dedup", "XL", "recovery skips what is in the log, but not what the sessions have applied";
    ConflictMissesRangeEnd = "conflict-misses-range-end", "L", "the conflict test ignores the end of a range";
    FastReturnsRevision = "fast-returns-revision", "RL", "a speculative revision is handed out as final";
    ReadIndexIsCommit = "read-index-is-commit", "L", "the read index is the commit index, so a fast-completed write is missed";
    ReadIndexUncommitted = "read-index-uncommitted", "L", "the read index is given out before it is committed: another entry may take its place";
    RetryNewId = "retry-new-id", "XL", "the client retries under a new ProposeId";
    VoteNotPersisted = "vote-not-persisted", "E", "term and vote are kept in memory only";
    OwnVoteNotPersisted = "own-vote-not-persisted", "E", "a candidate's own term and vote are not persisted";
    VoteResetSameTerm = "vote-reset-same-term", "E", "the vote is forgotten although the term did not change";
    VoteUptodateAnd = "vote-uptodate-and", "MD", "the voter compares index and term independently, accepting either";
    CommitOldTerm = "commit-old-term", "DMQ", "entries of older terms are committed by counting";
    AppendTruncatesAlways = "append-truncates-always", "DM", "AppendEntries truncates even when the entries match";
    CommitMovesBack = "commit-moves-back", "DS", "the commit index is set to the leader's, unguarded";
    DeposedLeaderAppends = "deposed-leader-appends", "MC", "a proposal that reaches a leader just deposed is appended all the same";
    ApplyBeforePersist = "apply-before-persist", "D", "entries are applied before they are durable here";
    AckBeforeFsync = "ack-before-fsync", "D", "a batch is acknowledged before its sync returned";
    FsyncErrorRetried = "fsync-error-retried", "D", "a failed sync is retried and then trusted";
    RenameWithoutDirSync = "rename-without-dir-sync", "D", "a new segment or a renamed snapshot is relied on without a sync of the directory";
    AppliedIndexApart = "applied-index-apart", "SR", "the state machine's store saves the applied index in a transaction of its own, before the data";
    TornTailAccepted = "torn-tail-accepted", "DMS", "a record whose checksum does not match is accepted at a start if it decodes";
    ReadLocalLeader = "read-local-leader", "L", "a leader serves reads without confirming its leadership";
    ReadBeforeNoop = "read-before-noop", "L", "a new leader serves reads before its no-op applies";
    SessionsNotInSnapshot = "sessions-not-in-snapshot", "XS", "a snapshot leaves the sessions out";
    SnapshotWrongIndex = "snapshot-wrong-index", "S", "a snapshot is made at once, and labelled with the last entry that was started, not the last applied";
    SnapshotStaleTerm = "snapshot-stale-term", "SDMC", "the snapshot of a leader of an earlier term is installed";
    SnapshotLowersTerm = "snapshot-lowers-term", "EC", "installing a snapshot sets the term back to that of its last entry, and forgets the vote";
    SnapshotMetaFirst = "snapshot-meta-first", "DS", "the record that names a snapshot does not wait for the snapshot's file";
    PoolClearAtSnapshot = "pool-clear-at-snapshot", "QC", "installing a snapshot empties the spec pool";
    RejoinKeepsTail = "rejoin-keeps-tail", "SMD", "installing a snapshot keeps the entries beyond it, though those before them differed";
    ReplayFromOne = "replay-from-one", "S", "a restart replays the log into an empty state machine, though its beginning was compacted";
    TxnSeesItself = "txn-sees-itself", "L", "a txn's compares are evaluated after its own writes";
    RangeTorn = "range-torn", "L", "a read decides which keys there are at its revision, and reads their values at a later one";
    RevokeIsFast = "revoke-is-fast", "SL", "a revoke is recorded and fast, and judged by its lease alone";
    RevisionAfterExecute = "revision-after-execute", "RS", "a command's revision is given when its execution ends, not in log order";
    ConflictMissesLease = "conflict-misses-lease", "LT", "the lease is not part of the conflict set";
    LeaseRevokeOrder = "lease-revoke-order", "SW", "the keys of a revoked lease are deleted in hash order";
    LeaseRevokeBumps = "lease-revoke-bumps", "R", "a revoke without keys makes a revision";
    LeaseUnknownAccepted = "lease-unknown-accepted", "T", "a put with an unknown lease is accepted";
    LeaseReattachKeepsOld = "lease-reattach-keeps-old", "T", "a key that is attached to another lease is still deleted with its first";
    LeasePopNoRetry = "lease-pop-no-retry", "TV", "an expired lease is popped from the queue, and its revoke never tried again";
    LeaseKeepaliveAfterExpiry = "lease-keepalive-after-expiry", "T", "a keep-alive is granted after the lease's revoke was decided";
    LeaseStaleTick = "lease-stale-tick", "T", "a keep-alive's deadline is made from the last tick's clock reading, not its own";
    LeaseStampVsCurrent = "lease-stamp-vs-current", "S", "a stamped revoke is compared with the replica's current term, not with its entry's";
    LeaseFollowerExpires = "lease-follower-expires", "T", "a leader that was deposed goes on expiring leases, and hands its unstamped revokes to the new leader";
    LeaseWallClock = "lease-wall-clock", "T", "leases expire by the wall clock";
    LeaseKeepaliveStale = "lease-keepalive-stale", "T", "a keep-alive is answered without a round that confirms the leadership";
    TimeToLiveStale = "time-to-live-stale", "T", "a time to live is told at once, without a round that confirms the leadership, and before what conflicts with it is applied";
    LeaseNoPromote = "lease-no-promote", "T", "a new leader keeps the deadlines it had instead of giving every lease its full time";
    SnapshotForgetsLeases = "snapshot-forgets-leases", "TS", "installing a snapshot reloads the keys, but not the leases";
    WatchOutOfOrder = "watch-out-of-order", "W", "events are delivered in the order in which commuting commands complete";
    WatchGapAtRegister = "watch-gap-at-register", "W", "history is read up to what is applied, but new events come only from the next revision given";
    WatchSkipsUndelivered = "watch-skips-undelivered", "W", "a slow watcher's position moves past the events it had no room for";
    WatchSlowCanceled = "watch-slow-canceled", "W", "a watcher whose reader is slow is canceled instead of told from the history later";
    WatchWrongPrev = "watch-wrong-prev", "W", "the previous pair is read after the write";
    WatchCompactedDelete = "watch-compacted-delete", "W", "a compaction drops the deletion at the compacted revision itself";
    WatchEarlyEvent = "watch-early-event", "W", "after a progress notification a watch from a future revision gets older events";
    AnswerBeforeWrite = "answer-before-write", "D", "the shell sends a client's answer before the write it depends on has ended";
    RecordNoConfig = "record-no-config", "QC", "a Record is not fenced by its configuration: a voter that has another one accepts it";
    LearnerCounts = "learner-counts", "QC", "a learner accepts Records, and the client counts it in the super quorum";
    ConfigVersionNumber = "config-version-number", "QC", "configurations are versioned by a counter: a truncated change and its successor have the same version";
    ConfigNotRolledBack = "config-not-rolled-back", "EQ", "a configuration whose entry was truncated stays in force";
    ConfigTwoAtOnce = "config-two-at-once", "E", "a second change is taken before the first is applied";
    ConfigBeforeNoop = "config-before-noop", "E", "a change is taken before the leader's no-op is committed";
    RepairedNodeVotes = "repaired-node-votes", "QE", "a node that finds an empty disk starts all the same, and votes and witnesses again under its id";
    GcByClientExpiry = "gc-by-client-expiry", "Q", "a command that has been in a pool for long, its client vanished, is dropped instead of handed to the leader";
    SessionsLeaderLocal = "sessions-leader-local", "XQ", "what earlier leaders applied is not known to the sessions under a new one: a retry is executed again";
    VoteUptodateStrict = "vote-uptodate-strict", "V", "the voter compares index and term independently, wanting both";
    TaskSurvivesCrash = "task-survives-crash", "D", "the shell's outbox outlives its node's crash, and sends what it still held";
    LostWakeUp = "lost-wake-up", "V", "a call waits on the cmd board only after its answer was looked for: one that came meanwhile wakes nobody";
    StaleLeaderRetry = "stale-leader-retry", "V", "the shell's retries go to the leader that the command was first sent to";
}

impl Mutant {
    /// Whether it stands in `core/server`, so that only engines that run the shell can show it.
    pub fn is_of_shell(self) -> bool {
        matches!(self, Mutant::AnswerBeforeWrite | Mutant::TaskSurvivesCrash | Mutant::LostWakeUp | Mutant::StaleLeaderRetry)
    }
}

impl std::fmt::Display for Mutant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Mutant {
    type Err = UnknownMutant;

    fn from_str(name: &str) -> Result<Self, UnknownMutant> {
        let found = Mutant::ALL.iter().copied().find(|m| m.name() == name);
        found.ok_or_else(|| UnknownMutant(name.to_owned()))
    }
}

/// The name is not one of the catalogue's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownMutant(pub String);

impl std::fmt::Display for UnknownMutant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "there is no mutant `{}`; `cargo sim list mutants` names them", self.0)
    }
}

impl std::error::Error for UnknownMutant {}

#[cfg(feature = "planted")]
mod switch {
    use super::Mutant;
    use std::cell::Cell;

    thread_local! { static ON: Cell<Option<Mutant>> = const { Cell::new(None) }; }

    /// Whether this bug is planted in the runs of the current thread.
    #[inline]
    pub fn on(mutant: Mutant) -> bool {
        ON.with(|on| on.get() == Some(mutant))
    }

    /// Plants one bug, or none, for the runs of the current thread from here on.
    pub fn plant(mutant: Option<Mutant>) {
        ON.with(|on| on.set(mutant));
    }
}

#[cfg(not(feature = "planted"))]
mod switch {
    use super::Mutant;

    /// Always false: this build has no bugs planted.
    #[inline(always)]
    pub const fn on(_: Mutant) -> bool {
        false
    }
}

pub use switch::*;
