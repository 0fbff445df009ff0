//! Events and bytes for tests.

use curp::{
    Applied, ConfigVersion, Entry, Event as NodeEvent, HardState, Index, Membership, NodeId, Payload, Proposal, ProposeId, Record,
    SnapshotFile, SnapshotMeta, Synced, Term,
};
use history::{ClientEvent, Event, Stamped, WorldEvent};
use kv::{PutRequest, RangeRequest, Request, Response};
use std::collections::BTreeMap;
use std::sync::Arc;
use storage::{FileOp, Wal};

/// A command of session 2.
pub fn id(seq: u64) -> ProposeId {
    ProposeId { client: 2, seq }
}

pub fn put(key: &str) -> Request {
    Request::Put(PutRequest { key: key.into(), value: "v".into(), prev_kv: false, ..PutRequest::default() })
}

pub fn proposal(id: ProposeId, key: &str) -> Arc<Proposal<Request>> {
    Arc::new(Proposal { id, first_incomplete: 1, command: Arc::new(put(key)) })
}

pub fn command(term: Term, index: Index, id: ProposeId, key: &str) -> Arc<Entry<Request>> {
    Arc::new(Entry { term, index, payload: Payload::Command(proposal(id, key)) })
}

pub fn other(term: Term, index: Index, payload: Payload<Request>) -> Arc<Entry<Request>> {
    Arc::new(Entry { term, index, payload })
}

pub fn witness_record(id: ProposeId, key: &str) -> NodeEvent<Request> {
    let proposal = proposal(id, key);
    NodeEvent::WitnessRecord { term: 1, asked: 1, config: ConfigVersion::default(), proposal, accepted: true, inserted: true }
}

pub fn done() -> Applied<Response> {
    Applied::Done(Synced { revision: 2, response: Response::Put { prev_kv: None } })
}

pub fn hard_state(term: Term, vote: Option<NodeId>, commit: Index) -> Record<Request> {
    Record::HardState(HardState { term, vote, commit })
}

pub fn noop_record(term: Term, index: Index) -> Record<Request> {
    Record::Entry(other(term, index, Payload::Noop))
}

pub fn pool_record(id: ProposeId) -> Record<Request> {
    Record::PoolInsert(proposal(id, "k"))
}

/// The snapshot of a cluster's first configuration.
pub fn snapshot_record(term: Term, index: Index) -> Record<Request> {
    Record::Snapshot(SnapshotMeta { index, term, membership: Membership::initial([1, 2, 3]) })
}

/// A trace in the making.
#[derive(Default)]
pub struct Trace {
    pub events: Vec<Stamped>,
}

impl Trace {
    pub fn new() -> Trace {
        Trace::default()
    }

    fn push(&mut self, node: Option<NodeId>, client: Option<u32>, event: Event) {
        let i = self.events.len() as u64;
        self.events.push(Stamped { i, t: i * 1000, node, client, event });
    }

    pub fn node(&mut self, node: NodeId, event: NodeEvent<Request>) {
        self.push(Some(node), None, Event::Node(event));
    }

    pub fn client(&mut self, client: u32, event: ClientEvent) {
        self.push(None, Some(client), Event::Client(event));
    }

    pub fn world(&mut self, node: Option<NodeId>, event: WorldEvent) {
        self.push(node, None, Event::World(event));
    }

    pub fn propose(&mut self, id: ProposeId, key: &str) {
        self.client(1, ClientEvent::Propose { op: id.seq, id: Some(id), first_incomplete: Some(1), read: None, request: put(key) });
    }

    pub fn ask(&mut self, read: (u32, u64), key: &str) {
        let request = Request::Range(RangeRequest { key: key.into(), range_end: None, limit: 0, ..RangeRequest::default() });
        self.client(read.0, ClientEvent::Propose { op: 9, id: None, first_incomplete: None, read: Some(read), request });
    }

    pub fn crash_of_client(&mut self, client: u32) {
        self.client(client, ClientEvent::ClientCrash);
    }

    /// Writes records to a node's disk, durably.
    pub fn disk(&mut self, node: NodeId, (offset, data): (u64, Vec<u8>)) {
        self.world(Some(node), WorldEvent::Disk { file: Bytes::FILE.into(), offset, data: data.into() });
    }
}

/// The bytes that these operations append.
fn appended(ops: Vec<FileOp>) -> Vec<u8> {
    ops.into_iter().flat_map(|op| if let FileOp::Append { data, .. } = op { data } else { Vec::new() }).collect()
}

/// The bytes of one log file.
pub struct Bytes {
    wal: Wal,
    repairs: Vec<FileOp>,
    length: u64,
}

impl Bytes {
    /// The first segment.
    pub const FILE: &'static str = "wal-0000000000000001.log";

    pub fn new() -> Bytes {
        let recovered = storage::recover::<Request>(&BTreeMap::new()).expect("an empty directory");
        Bytes { wal: recovered.wal, repairs: recovered.repairs, length: 0 }
    }

    /// What a node writes at its first start.
    pub fn repairs(&mut self) -> Vec<(u64, Vec<u8>)> {
        let ops = std::mem::take(&mut self.repairs);
        self.written(ops)
    }

    pub fn append(&mut self, records: &[Record<Request>]) -> (u64, Vec<u8>) {
        let appended = self.wal.append(records, true);
        self.wal.synced(appended.end);
        self.written(appended.ops).pop().expect("one file is appended to")
    }

    /// A frame without records.
    pub fn mark(&mut self) -> (u64, Vec<u8>) {
        let marked = self.wal.mark::<Request>().expect("something was synced");
        self.written(marked.ops).pop().expect("one file is appended to")
    }

    /// The file of a snapshot, once it is durable.
    pub fn save(&mut self, term: Term, index: Index) -> (String, Vec<u8>) {
        let Record::Snapshot(meta) = snapshot_record(term, index) else { unreachable!() };
        self.save_file(meta)
    }

    /// The same with these words.
    pub fn save_file(&mut self, meta: SnapshotMeta) -> (String, Vec<u8>) {
        let name = storage::snapshot_name(meta.index);
        let ops = self.wal.save_snapshot(&SnapshotFile { meta, data: Arc::new(Vec::new()) });
        (name, appended(ops))
    }

    /// A new segment that begins with a checkpoint and goes on with other records: its name and its bytes.
    pub fn checkpoint(&mut self, records: &[Record<Request>], after: &[Record<Request>]) -> (String, Vec<u8>) {
        let mut bytes = appended(self.wal.checkpoint(records).ops);
        if !after.is_empty() {
            bytes.extend(appended(self.wal.append(after, true).ops));
        }
        ("wal-0000000000000002.log".to_owned(), bytes)
    }

    fn written(&mut self, ops: Vec<FileOp>) -> Vec<(u64, Vec<u8>)> {
        let mut out = Vec::new();
        for op in ops {
            match op {
                FileOp::Append { file, data } => {
                    assert_eq!(file, Bytes::FILE);
                    out.push((self.length, data.clone()));
                    self.length += data.len() as u64;
                }
                FileOp::Create { .. } | FileOp::Sync { .. } | FileOp::SyncDir => {}
                FileOp::Truncate { .. } | FileOp::Rename { .. } | FileOp::Remove { .. } => panic!("a fresh log only grows"),
            }
        }
        out
    }
}
