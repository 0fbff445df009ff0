//! The cmd board: results waiting for clients, and clients waiting for results. A leader's, and of one term: it is cleared when
//! leadership ends, and clients ask again under the same ids.

use std::collections::BTreeMap;

use crate::{ClientAddress, Command, ConfigVersion, Index, ProposeId};

/// What the leader's early execution of a command has come to.
#[derive(Debug)]
pub enum Early<R> {
    /// It conflicted: no answer before commit.
    None,
    /// Being executed.
    Running,
    /// Executed in this term: the ER, and the sequence number that must be durable before it leaves.
    Done {
        /// The result.
        response: R,
        /// Last of the records of its log entry and its pool entry.
        after: u64,
        /// The configuration that the ER names: the one it was given in, also when it is repeated after a change.
        config: ConfigVersion,
    },
}

/// One command on the board.
#[derive(Debug)]
pub struct Card<R> {
    /// Index of its entry.
    pub index: Index,
    /// Early execution.
    pub early: Early<R>,
    /// Who waits for it, in order of arrival.
    pub waiters: Vec<ClientAddress>,
}

/// The board.
#[derive(Debug)]
pub struct Board<C: Command> {
    cards: BTreeMap<ProposeId, Card<C::Response>>,
    /// Who waits for the session, configuration or shutdown at an index.
    entries: BTreeMap<Index, Vec<(ClientAddress, u64)>>,
}

impl<C: Command> Default for Board<C> {
    fn default() -> Self {
        Board { cards: BTreeMap::new(), entries: BTreeMap::new() }
    }
}

impl<C: Command> Board<C> {
    /// The card of a command, made if there is none.
    pub fn card(&mut self, id: ProposeId, index: Index) -> &mut Card<C::Response> {
        self.cards.entry(id).or_insert_with(|| Card { index, early: Early::None, waiters: Vec::new() })
    }

    /// The card of a command.
    pub fn get_mut(&mut self, id: ProposeId) -> Option<&mut Card<C::Response>> {
        self.cards.get_mut(&id)
    }

    /// Takes a command off the board.
    pub fn remove(&mut self, id: ProposeId) -> Option<Card<C::Response>> {
        self.cards.remove(&id)
    }

    /// A client waits for the entry at `index`, which holds no command; `token` is echoed to it.
    pub fn await_entry(&mut self, index: Index, client: ClientAddress, token: u64) {
        let waiting = self.entries.entry(index).or_default();
        if !waiting.contains(&(client, token)) {
            waiting.push((client, token));
        }
    }

    /// Takes those who wait for the entry at `index`.
    pub fn take_entry(&mut self, index: Index) -> Vec<(ClientAddress, u64)> {
        self.entries.remove(&index).unwrap_or_default()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.cards.clear();
        self.entries.clear();
    }
}

impl<R> Card<R> {
    /// Adds a waiter, once.
    pub fn await_by(&mut self, client: ClientAddress) {
        if !self.waiters.contains(&client) {
            self.waiters.push(client);
        }
    }
}
