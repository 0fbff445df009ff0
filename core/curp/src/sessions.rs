//! Sessions make clients exactly-once (Raft dissertation §6.3). The table is replicated state: it changes only by applying the
//! log, in log order, so every replica has the same one at the same applied index.
//!
//! A session keeps the results at and above its client's first incomplete number. What lies below has been acknowledged by the
//! client: it was applied, and its result is forgotten.
//!
//! The table is part of every snapshot, all of it: without it, a retry would take effect twice.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::{ClientId, ProposeId, Synced};

/// One change of the table, as applying an entry makes it; and one row of it, for who keeps it.
#[derive(Clone, Debug, PartialEq)]
pub enum SessionChange<R> {
    /// A session is open.
    Open {
        /// The client.
        client: ClientId,
        /// The client has the synced results of everything below.
        first_incomplete: u64,
    },
    /// A session has ended, and with it all it remembered.
    Ended {
        /// The client.
        client: ClientId,
    },
    /// A command is applied.
    Applied {
        /// Its id.
        id: ProposeId,
        /// Its client has the synced results of everything below: they are forgotten.
        first_incomplete: u64,
        /// Its result.
        synced: Synced<R>,
    },
}

/// One client's session.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Session<R> {
    /// The client has the synced results of everything below.
    first_incomplete: u64,
    /// Results by number. `None`: admitted in log order, not applied yet.
    results: BTreeMap<u64, Option<Synced<R>>>,
}

/// The session table.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Sessions<R> {
    open: BTreeMap<ClientId, Session<R>>,
    /// Id of the last session that began; a lower id that is not open has ended.
    last_begun: ClientId,
}

/// What the table says of an id.
#[derive(Debug, PartialEq)]
pub enum Known<'a, R> {
    /// Its session has not begun here, or has ended, or never was.
    NoSession,
    /// Not seen.
    New,
    /// Admitted in log order, still being applied.
    Applying,
    /// Applied, with this result.
    Applied(&'a Synced<R>),
    /// Applied, and its result acknowledged and forgotten.
    Acknowledged,
}

impl<R> Default for Sessions<R> {
    fn default() -> Self {
        Sessions { open: BTreeMap::new(), last_begun: 0 }
    }
}

impl<R> Sessions<R> {
    /// What is known of an id.
    pub fn known(&self, id: ProposeId) -> Known<'_, R> {
        let Some(session) = self.open.get(&id.client) else { return Known::NoSession };
        match session.results.get(&id.seq) {
            _ if id.seq < session.first_incomplete => Known::Acknowledged,
            Some(Some(result)) => Known::Applied(result),
            Some(None) => Known::Applying,
            None => Known::New,
        }
    }

    /// Whether the id can have no effect any more: it was applied, or its session has ended.
    pub fn settled(&self, id: ProposeId) -> bool {
        match self.known(id) {
            Known::Applied(_) | Known::Acknowledged => true,
            Known::NoSession => id.client <= self.last_begun,
            Known::New | Known::Applying => false,
        }
    }

    /// A session begins. Its id is the index of the entry that begins it.
    pub fn begin(&mut self, client: ClientId) {
        self.open.insert(client, Session { first_incomplete: 1, results: BTreeMap::new() });
        self.last_begun = self.last_begun.max(client);
    }

    /// A session ends, and with it all it remembers.
    pub fn end(&mut self, client: ClientId) {
        self.open.remove(&client);
    }

    /// A new id is admitted: from here on a second entry with it is a duplicate. Call only where [`known`](Self::known) said `New`.
    pub fn admit(&mut self, id: ProposeId, first_incomplete: u64) {
        if let Some(session) = self.open.get_mut(&id.client) {
            session.results.insert(id.seq, None);
            if first_incomplete > session.first_incomplete {
                session.first_incomplete = first_incomplete;
                session.results = session.results.split_off(&first_incomplete);
            }
        }
    }

    /// The last session that began.
    pub fn last_begun(&self) -> ClientId {
        self.last_begun
    }

    /// The table as changes of an empty one: what is applied, without what is only admitted.
    pub fn rows(&self) -> impl Iterator<Item = SessionChange<R>>
    where
        R: Clone,
    {
        self.open.iter().flat_map(|(&client, session)| {
            let first_incomplete = session.first_incomplete;
            let applied = session.results.iter().filter_map(move |(&seq, result)| {
                Some(SessionChange::Applied { id: ProposeId { client, seq }, first_incomplete, synced: result.clone()? })
            });
            std::iter::once(SessionChange::Open { client, first_incomplete }).chain(applied)
        })
    }

    /// The table that has these rows, each session before what it holds.
    pub fn from_rows(last_begun: ClientId, rows: impl IntoIterator<Item = SessionChange<R>>) -> Self {
        let mut sessions = Sessions { last_begun, ..Sessions::default() };
        for row in rows {
            match row {
                SessionChange::Open { client, first_incomplete } => {
                    sessions.open.insert(client, Session { first_incomplete, results: BTreeMap::new() });
                }
                SessionChange::Ended { client } => sessions.end(client),
                SessionChange::Applied { id, first_incomplete, synced } => {
                    sessions.admit(id, first_incomplete);
                    sessions.complete(id, synced);
                }
            }
        }
        sessions
    }

    /// A known bug (mutant `sessions-leader-local`): what was applied under earlier leaders is not known to be.
    pub fn forget_results(&mut self) {
        self.open.values_mut().for_each(|session| session.results.clear());
    }

    /// The admitted id is applied, with this result.
    pub fn complete(&mut self, id: ProposeId, result: Synced<R>) {
        if let Some(slot) = self.open.get_mut(&id.client).and_then(|s| s.results.get_mut(&id.seq)) {
            *slot = Some(result);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(client: ClientId, seq: u64) -> ProposeId {
        ProposeId { client, seq }
    }

    #[test]
    fn results_are_kept_from_the_first_incomplete_on() {
        let mut sessions = Sessions::default();
        assert_eq!(sessions.known(id(4, 1)), Known::NoSession);
        assert!(!sessions.settled(id(4, 1)), "a session that has not begun may yet begin");
        sessions.begin(4);
        for seq in 1..=3 {
            assert_eq!(sessions.known(id(4, seq)), Known::New);
            sessions.admit(id(4, seq), 1);
            assert_eq!(sessions.known(id(4, seq)), Known::Applying);
            sessions.complete(id(4, seq), Synced { revision: seq + 1, response: seq });
        }
        sessions.admit(id(4, 4), 3);
        assert_eq!(sessions.known(id(4, 2)), Known::Acknowledged);
        assert_eq!(sessions.known(id(4, 3)), Known::Applied(&Synced { revision: 4, response: 3 }));
        assert_eq!(sessions.known(id(4, 4)), Known::Applying);
    }

    #[test]
    fn an_ended_session_settles_its_ids() {
        let mut sessions = Sessions::<()>::default();
        sessions.begin(4);
        assert!(!sessions.settled(id(4, 1)));
        sessions.end(4);
        assert_eq!(sessions.known(id(4, 1)), Known::NoSession);
        assert!(sessions.settled(id(4, 1)));
        assert!(!sessions.settled(id(9, 1)), "session 9 may begin later");
    }

    #[test]
    fn a_table_comes_back_from_a_snapshot_as_it_was() {
        let mut sessions = Sessions::default();
        for client in [4, 9, 11] {
            sessions.begin(client);
            sessions.admit(id(client, 1), 1);
            sessions.complete(id(client, 1), Synced { revision: client, response: Some(client) });
        }
        sessions.admit(id(9, 7), 3);
        sessions.complete(id(9, 7), Synced { revision: 12, response: None });
        sessions.end(11);
        let bytes = postcard::to_allocvec(&sessions).expect("plain data encodes");
        let back: Sessions<Option<u64>> = postcard::from_bytes(&bytes).expect("it decodes");
        assert_eq!(Sessions::from_rows(sessions.last_begun(), sessions.rows()), sessions);
        assert_eq!(back, sessions);
        assert_eq!(back.known(id(9, 2)), Known::Acknowledged);
        assert!(back.settled(id(11, 1)), "the last session that began is remembered though it has ended");
    }
}
