//! The words of the ghost: what is known of one node, one entry, one command, one configuration. Facts alone; `ghost` gathers them from the events.

use std::sync::Arc;

use curp::{Applied, ConfigVersion, Index, Membership, NodeId, ProposeId, Synced, Term};
use kv::{Request, Response};

use super::disk::{Disk, Entry, Log, Proposal, at};
use super::quorum::{Set, quorum, recover, super_quorum};

/// A node's place in [`Ghost::nodes`].
pub(super) type Slot = usize;

/// A configuration, and whom it means.
pub(super) struct Configuration {
    pub membership: Membership,
    /// Its voters.
    pub voters: Set,
}

impl Configuration {
    pub fn n(&self) -> usize {
        self.voters.count_ones() as usize
    }

    pub fn quorum(&self) -> usize {
        quorum(self.n())
    }

    pub fn recover(&self) -> usize {
        recover(self.n())
    }

    pub fn super_quorum(&self) -> usize {
        super_quorum(self.n())
    }

    pub fn has_voter(&self, slot: Slot) -> bool {
        self.voters >> slot & 1 == 1
    }
}

/// One node.
pub(super) struct Node {
    pub id: NodeId,
    pub term: Term,
    pub commit: Index,
    pub applied: Index,
    /// The revision after the last applied command.
    pub revision: u64,
    pub log: Log,
    /// Version of the configuration that it said is in force.
    pub in_force: ConfigVersion,
    pub pool: Vec<Arc<Proposal>>,
    /// The term it leads, if it does.
    pub leads: Option<Reign>,
    /// (last term, last index) when it last stood for election: nothing is appended to a candidate's log in its term.
    pub stood_with: (Term, Index),
    /// The highest term that a message of it promised.
    pub promised: Term,
    pub disk: Disk,
    /// Event at which its disk was lost, and with it all that it had promised.
    pub disk_lost: Option<u64>,
    /// Up to here its state is in its state machine's store; 0 if nothing is known to be.
    pub saved: Index,
    /// What it starts with, by the restart that comes next, has its state up to here from there.
    pub loaded: Option<Index>,
    /// That event, if it has started again since, which it should not.
    pub returned: Option<u64>,
    /// How it last stopped: true for a power loss, after which it finds exactly what is durable.
    pub power_lost: bool,
    /// It started from files that may hold more than is durable (a killed process leaves its page cache), so the log in memory is a guess
    /// until the disk changes: recovery syncs what it found first.
    pub guess: Option<Guess>,
}

/// What is known of a log that was found and not seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guess {
    /// From here on entries were appended since, and are known.
    pub known_from: Index,
}

/// A leader's term of office.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reign {
    pub term: Term,
    /// Last of the entries it began with: no-op and recovered commands.
    pub last_recovered: Index,
    pub open: bool,
}

/// What an (index, term) stands for, as first seen.
pub(super) struct Seen {
    pub term: Term,
    /// Term of the entry before it.
    pub prev: Term,
    pub entry: Arc<Entry>,
    pub slot: Slot,
    pub event: u64,
}

/// Two logs that differ where they must not.
pub(super) struct Clash {
    pub slot: Slot,
    pub index: Index,
    pub term: Term,
    pub first: Slot,
    pub first_event: u64,
    /// True: other contents. False: the same entry after another one.
    pub payload: bool,
}

/// A committed entry; [`Ghost::prefix`] has the entry alone.
pub(super) struct Committed {
    pub entry: Arc<Entry>,
    /// Term of the leader that counted it.
    pub by: Term,
    pub event: u64,
}

/// What the first node to apply an entry made of it.
pub(super) struct FirstApplied {
    pub outcome: Applied<Response>,
    /// What the replay of the log gives, if the entry took effect.
    pub expected: Option<Synced<Response>>,
    /// Whether it makes a revision by that.
    pub writes: bool,
    pub state_hash: u64,
    /// The revision then.
    pub revision: u64,
    pub slot: Slot,
    /// Time and event.
    pub t: u64,
    pub event: u64,
}

/// A leader's execution of a fast command.
pub(super) struct Execution {
    pub slot: Slot,
    pub term: Term,
    /// The applied prefix that the result reflects.
    pub reflects: Index,
    pub response: Response,
    pub event: u64,
}

/// The fast round of a command completed.
pub(super) struct Fast {
    pub term: Term,
    pub response: Response,
    pub event: u64,
    /// The result reflects the conflicting commands in the committed prefix up to here, and no others.
    pub reflects: Index,
}

/// A Record was accepted.
pub(super) struct Accept {
    pub slot: Slot,
    /// The voter's term then.
    pub term: Term,
    /// The configuration that it went by.
    pub config: ConfigVersion,
}

/// The life of a command.
#[derive(Default)]
pub(super) struct Command {
    pub request: Option<Request>,
    /// Event at which a client first proposed it.
    pub proposed: Option<u64>,
    pub executions: Vec<Execution>,
    /// Records accepted.
    pub accepts: Vec<Accept>,
    /// Where entries with it stand or stood.
    pub places: Vec<(Index, Term)>,
    pub fast: Option<Fast>,
    /// Event at which the client got its synced result.
    pub synced: Option<u64>,
    /// Where it took effect.
    pub done: Option<Index>,
    /// Where it was refused, and the event.
    pub refused: Option<(Index, u64)>,
    /// Nodes that have it applied (whatever came of it) since they started.
    pub applied: Set,
    /// Nodes that ever dropped it from their pool.
    pub dropped: Set,
}

impl Node {
    pub fn new(id: NodeId) -> Node {
        Node {
            id,
            term: 0,
            commit: 0,
            applied: 0,
            revision: 1,
            log: Log::default(),
            in_force: ConfigVersion::default(),
            pool: Vec::new(),
            leads: None,
            stood_with: (0, 0),
            promised: 0,
            disk: Disk::default(),
            disk_lost: None,
            saved: 0,
            loaded: None,
            returned: None,
            power_lost: false,
            guess: None,
        }
    }

    /// The entry at an index of the log in memory.
    pub fn entry(&self, index: Index) -> Option<&Arc<Entry>> {
        at(&self.log, index)
    }

    pub fn pool_has(&self, id: ProposeId) -> bool {
        self.pool.iter().any(|p| p.id == id)
    }

    /// A term that it now knows of.
    pub fn learn(&mut self, term: Term) {
        if term > self.term {
            self.term = term;
            self.leads = None;
        }
    }

    /// A command enters its spec pool.
    pub fn insert(&mut self, proposal: &Arc<Proposal>) {
        if !self.pool_has(proposal.id) {
            self.pool.push(Arc::clone(proposal));
        }
    }
}
