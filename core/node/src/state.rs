//! The node and its state machine's store: what is kept there as which row, when it is committed, and what a start finds.
//!
//! Invariant: what is committed is the state at one applied index, with its mark: keys, leases, sessions, revision, hash, configuration. That index
//! is durable in the log, or in the snapshot that was installed. So a start finds nothing in the store that the log does not lead to;
//! if it does, the log has lost what it promised, and the node does not start.
//!
//! Commits are batched: after so many entries, or when a timer comes; and between inputs, so that what a commit covers has been said
//! before, and nothing that an input leads to leaves if the commit before it fails.
//!
//! | first byte | key | value |
//! | --- | --- | --- |
//! | 1 | client | its first incomplete number |
//! | 2 | client, number | the synced result |
//! | 3 | lease | its time to live |
//! | 4 | lease, key attached | |
//! | 5 | | the revision compacted to |
//! | 6 | key, revision | what the key held from then on |
//! | 7 | revision, place | the key written |
//!
//! Numbers in keys are big-endian, so rows come in the order in which a store is made from them.

use std::collections::BTreeMap;

use curp::{ClientId, FoundState, Index, Membership, ProposeId, RawCurp, SessionChange, Synced, Term};
use kv::{Bytes, Change, Held, LeaseId, Request, Response, Store};
use serde::{Deserialize, Serialize};
use storage::{Batch, RowChange, StateError, StateStore};

/// Committed after so many applied entries, if no timer comes before.
const COMMIT_EVERY: Index = 256;

/// Format of the rows and the mark.
const VERSION: u32 = 1;

const SESSIONS: u8 = 1;
const RESULTS: u8 = 2;
const LEASES: u8 = 3;
const ATTACHED: u8 = 4;
const COMPACTED: u8 = 5;
const VERSIONS: u8 = 6;
const WROTE: u8 = 7;

/// What the rows reflect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Mark {
    version: u32,
    pub index: Index,
    pub term: Term,
    revision: u64,
    hash_chain: u64,
    last_session: ClientId,
    membership: Membership,
}

/// A state found in a store.
pub(crate) struct Loaded {
    pub mark: Mark,
    pub store: Store,
    sessions: Vec<SessionChange<Response>>,
}

impl Loaded {
    /// The machine, and the rest of the state.
    pub fn split(self) -> (Store, FoundState<Response>) {
        let Mark { index, revision, hash_chain, last_session, membership, .. } = self.mark;
        (self.store, FoundState { index, revision, hash_chain, membership, last_session, sessions: self.sessions })
    }
}

/// A node's hand on its state machine's store.
#[derive(Debug)]
pub(crate) struct Keeper {
    store: Box<dyn StateStore>,
    /// The index last committed.
    saved: Index,
    /// Rows to go with the next commit: all of a state that took the place of another, and what sessions became.
    rows: Vec<RowChange>,
    /// By client, the first incomplete number in the rows.
    first_incomplete: BTreeMap<ClientId, u64>,
    /// The last session that began, as of what was applied when rows were last added.
    last_session: ClientId,
    /// What is in the store is of another state altogether.
    replaced: bool,
}

impl Keeper {
    /// Reads what is there.
    pub fn load(store: Box<dyn StateStore>) -> Result<(Keeper, Option<Loaded>), StateError> {
        let loaded = load(&*store)?;
        let mut keeper = Keeper { store, saved: 0, rows: Vec::new(), first_incomplete: BTreeMap::new(), last_session: 0, replaced: false };
        if let Some(Loaded { mark, sessions, .. }) = &loaded {
            (keeper.saved, keeper.last_session) = (mark.index, mark.last_session);
            let open = |change: &SessionChange<Response>| {
                if let SessionChange::Open { client, first_incomplete } = change { Some((*client, *first_incomplete)) } else { None }
            };
            keeper.first_incomplete = sessions.iter().filter_map(open).collect();
        }
        Ok((keeper, loaded))
    }

    /// Whether what is in the store is the state at the applied index, beyond which nothing has started; false if it is of an earlier index. For
    /// checks of a live node.
    ///
    /// # Errors
    /// It is another state.
    pub fn compare(&self, raw: &RawCurp<Request>, store: &Store) -> Result<bool, String> {
        let Some(loaded) = load(&*self.store).map_err(|error| error.to_string())? else { return Ok(false) };
        if loaded.mark.index != raw.applied() {
            return Ok(false);
        }
        let Mark { revision, hash_chain, last_session, ref membership, .. } = loaded.mark;
        let marked = (revision, hash_chain, last_session, membership);
        if marked != (raw.applied_revision(), raw.hash_chain(), raw.last_session(), raw.applied_membership()) {
            return Err(format!("its mark is {:?}", loaded.mark));
        }
        if !loaded.store.rows().eq(store.rows()) || loaded.store.full_hash() != store.full_hash() {
            return Err("it holds other keys, versions or leases".to_owned());
        }
        let same = sorted(loaded.sessions) == sorted(raw.session_rows());
        if same { Ok(true) } else { Err("it holds other sessions".to_owned()) }
    }

    /// The state is another altogether, from a snapshot: nothing beyond its index has started.
    pub fn replace(&mut self, raw: &RawCurp<Request>, store: &Store) {
        self.replaced = true;
        self.rows = vec![RowChange::RemoveRange { from: vec![SESSIONS], to: vec![WROTE + 1] }];
        self.first_incomplete.clear();
        self.note(raw.session_rows());
        self.last_session = raw.last_session();
        store.rows().for_each(|change| encode(change, &mut self.rows));
    }

    /// Applied entries did this to the sessions.
    pub fn note(&mut self, changes: impl IntoIterator<Item = SessionChange<Response>>) {
        for change in changes {
            self.note_session(change);
        }
    }

    fn note_session(&mut self, change: SessionChange<Response>) {
        let rows = &mut self.rows;
        match change {
            SessionChange::Open { client, first_incomplete } => {
                self.last_session = self.last_session.max(client);
                self.first_incomplete.insert(client, first_incomplete);
                rows.push(put(key(SESSIONS, &[client], &[]), &first_incomplete));
            }
            SessionChange::Ended { client } => {
                if self.first_incomplete.remove(&client).is_some() {
                    rows.push(RowChange::Remove { key: key(SESSIONS, &[client], &[]) });
                    rows.push(RowChange::RemoveRange { from: key(RESULTS, &[client], &[]), to: key(RESULTS, &[client + 1], &[]) });
                }
            }
            SessionChange::Applied { id, first_incomplete, synced } => {
                let Some(known) = self.first_incomplete.get_mut(&id.client) else { return };
                if first_incomplete > *known {
                    *known = first_incomplete;
                    rows.push(put(key(SESSIONS, &[id.client], &[]), &first_incomplete));
                    let (from, to) = (key(RESULTS, &[id.client], &[]), key(RESULTS, &[id.client, first_incomplete], &[]));
                    rows.push(RowChange::RemoveRange { from, to });
                }
                if id.seq >= *known {
                    rows.push(put(key(RESULTS, &[id.client, id.seq], &[]), &synced));
                }
            }
        }
    }

    /// Commits the state at the applied index, if it is time and the log is durable so far. Gives the index if that is something to tell.
    pub fn save(&mut self, timer: bool, raw: &RawCurp<Request>, store: &mut Store) -> Result<Option<Index>, StateError> {
        let index = raw.applied();
        let new = index.saturating_sub(self.saved);
        let due = self.replaced || new >= COMMIT_EVERY || (timer && new > 0);
        if !self.store.is_ready()? || !due || !raw.applied_is_durable() {
            return Ok(None);
        }
        let mut rows = std::mem::take(&mut self.rows);
        store.take_changes(index).into_iter().for_each(|change| encode(change, &mut rows));
        let term = raw.log_term(index).expect("what is applied is in the log, or its base");
        let mark = Mark {
            version: VERSION,
            index,
            term,
            revision: raw.applied_revision(),
            hash_chain: raw.hash_chain(),
            last_session: self.last_session,
            membership: raw.applied_membership().clone(),
        };
        self.store.commit(Batch { rows, mark: write(&mark) })?;
        (self.saved, self.replaced) = (index, false);
        Ok(self.store.survives().then_some(index))
    }
}

/// Reads a store.
fn load(store: &dyn StateStore) -> Result<Option<Loaded>, StateError> {
    let (mut rows, mut sessions) = (Vec::new(), Vec::new());
    let mark = store.load(&mut |key, value| {
        match decode(key, value)? {
            Row::Of(change) => rows.push(change),
            Row::Session(change) => sessions.push(change),
        }
        Ok(())
    })?;
    let Some(mark) = mark else { return Ok(None) };
    let made = read::<Mark>(&mark)
        .and_then(|mark| if mark.version == VERSION { Ok(mark) } else { Err(format!("unknown format {}", mark.version)) })
        .and_then(|mark| Ok((Store::from_rows(mark.revision, rows)?, mark)));
    match made {
        Ok((store, mark)) => Ok(Some(Loaded { mark, store, sessions })),
        // Each row is whole, but not all of them together: the store itself says whose it is.
        Err(why) => Err(store.scan(&mut |_, _| Err(why.clone())).err().unwrap_or(StateError::Failed(why))),
    }
}

/// Open sessions, and what is applied in them, each in order.
type Sessions = (BTreeMap<ClientId, u64>, BTreeMap<ProposeId, Synced<Response>>);

fn sorted(rows: impl IntoIterator<Item = SessionChange<Response>>) -> Sessions {
    let mut sessions = Sessions::default();
    for row in rows {
        match row {
            SessionChange::Open { client, first_incomplete } => _ = sessions.0.insert(client, first_incomplete),
            SessionChange::Applied { id, synced, .. } => _ = sessions.1.insert(id, synced),
            SessionChange::Ended { .. } => {}
        }
    }
    sessions
}

/// A row of either kind.
enum Row {
    Of(Change),
    Session(SessionChange<Response>),
}

fn write(value: &impl Serialize) -> Vec<u8> {
    postcard::to_allocvec(value).expect("plain data encodes")
}

fn read<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Result<T, String> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(format!("{} bytes too many", rest.len())),
        Err(error) => Err(error.to_string()),
    }
}

fn put(key: Vec<u8>, value: &impl Serialize) -> RowChange {
    RowChange::Put { key, value: write(value) }
}

fn key(table: u8, numbers: &[u64], rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + 8 * numbers.len() + rest.len());
    key.push(table);
    numbers.iter().for_each(|number| key.extend_from_slice(&number.to_be_bytes()));
    key.extend_from_slice(rest);
    key
}

/// The row key of a version. Of one key they are in order of revisions; those of longer keys may stand between them.
fn version_key(of: &Bytes, revision: u64) -> Vec<u8> {
    let mut row = key(VERSIONS, &[], of.as_slice());
    row.extend_from_slice(&revision.to_be_bytes());
    row
}

/// The rows that a change comes to.
fn encode(change: Change, rows: &mut Vec<RowChange>) {
    let row = match change {
        Change::Version { key, held } => {
            let Held { mod_revision, create_revision, version, value, lease } = held;
            put(version_key(&key, mod_revision), &(create_revision, version, value, lease))
        }
        Change::Dropped { key, revision } => RowChange::Remove { key: version_key(&key, revision) },
        Change::Wrote { revision, place, key: written } => put(key(WROTE, &[revision, place], &[]), &written),
        Change::Compacted(revision) => {
            rows.push(put(key(COMPACTED, &[], &[]), &revision));
            RowChange::RemoveRange { from: key(WROTE, &[], &[]), to: key(WROTE, &[revision], &[]) }
        }
        Change::Lease { id, ttl } => put(key(LEASES, &[id.cast_unsigned()], &[]), &ttl),
        Change::NoLease(id) => {
            let id = id.cast_unsigned();
            let to = id.checked_add(1).map_or_else(|| key(ATTACHED + 1, &[], &[]), |next| key(ATTACHED, &[next], &[]));
            rows.push(RowChange::RemoveRange { from: key(ATTACHED, &[id], &[]), to });
            RowChange::Remove { key: key(LEASES, &[id], &[]) }
        }
        Change::Attached { lease, key: attached } => put(key(ATTACHED, &[lease.cast_unsigned()], attached.as_slice()), &()),
        Change::Detached { lease, key: attached } => {
            RowChange::Remove { key: key(ATTACHED, &[lease.cast_unsigned()], attached.as_slice()) }
        }
    };
    rows.push(row);
}

/// The change that makes a row.
fn decode(key: &[u8], value: &[u8]) -> Result<Row, String> {
    let (&table, rest) = key.split_first().ok_or("a row without a key")?;
    let fits = |wanted: usize| if rest.len() == wanted { Ok(()) } else { Err(format!("a key of {} bytes in table {table}", key.len())) };
    let number = |at: usize| Ok::<u64, String>(u64::from_be_bytes(rest.get(at..at + 8).ok_or("a short key")?.try_into().expect("8 bytes")));
    let lease = |at: usize| number(at).map(u64::cast_signed);
    Ok(match table {
        SESSIONS => {
            fits(8)?;
            Row::Session(SessionChange::Open { client: number(0)?, first_incomplete: read(value)? })
        }
        RESULTS => {
            fits(16)?;
            let (id, synced): (_, Synced<Response>) = (ProposeId { client: number(0)?, seq: number(8)? }, read(value)?);
            // What is below the session's own was removed.
            Row::Session(SessionChange::Applied { id, first_incomplete: 1, synced })
        }
        LEASES => {
            fits(8)?;
            Row::Of(Change::Lease { id: lease(0)?, ttl: read(value)? })
        }
        ATTACHED => Row::Of(Change::Attached { lease: lease(0)?, key: Bytes::from(rest[8..].to_vec()) }),
        COMPACTED => {
            fits(0)?;
            Row::Of(Change::Compacted(read(value)?))
        }
        VERSIONS => {
            let at = rest.len().checked_sub(8).ok_or("a short key")?;
            let (create_revision, version, value, lease): (u64, u64, Option<Bytes>, LeaseId) = read(value)?;
            let held = Held { mod_revision: number(at)?, create_revision, version, value, lease };
            Row::Of(Change::Version { key: Bytes::from(rest[..at].to_vec()), held })
        }
        WROTE => {
            fits(16)?;
            Row::Of(Change::Wrote { revision: number(0)?, place: number(8)?, key: read(value)? })
        }
        other => return Err(format!("a row of table {other}")),
    })
}
