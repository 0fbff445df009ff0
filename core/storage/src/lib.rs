//! The write-ahead log and the snapshots of one node: formats, writer, recovery. It performs no IO: the writer hands out [`FileOp`]s, recovery
//! takes the bytes of the files. Beside them the [state machine's store](StateStore), which is synchronous, and performs its IO through what it is given.
//!
//! # The format
//!
//! The log is a row of segments, `wal-0000000000000001.log` and so on. A logical offset ([`Lsn`]) is a position in the
//! concatenation of all segments there ever were, headers included. Integers are little-endian; everything is aligned to 8 bytes.
//!
//! ```text
//! segment    ┌────────────┬───────┬───────┬─ … ─┐
//!            │ header, 40 │ frame │ frame │     │
//!            └────────────┴───────┴───────┴─ … ─┘
//!
//! header     0        8     10     12     16         24       32     40
//!            ┌────────┬─────┬──────┬──────┬──────────┬────────┬──────┐   start: the lsn of this header
//!            │ magic  │ ver.│ flags│ crc  │ sequence │ start  │ mark │   flags: 1, if the first frame is a checkpoint
//!            └────────┴─────┴──────┴──────┴──────────┴────────┴──────┘
//!
//! frame      0        4        8        16       24       28     32
//!            ┌────────┬────────┬────────┬────────┬────────┬──────┬───────────┬─────────┐
//!            │ magic  │ length │  lsn   │  mark  │records │ crc  │ payload … │ 0 … 0   │   lsn: of this frame
//!            └────────┴────────┴────────┴────────┴────────┴──────┴───────────┴─────────┘
//!
//! snapshot   0        8        12     16       24            32            40         44    48
//!            ┌────────┬────────┬──────┬────────┬─────────────┬─────────────┬──────────┬─────┬────────┬────────┐
//!            │ magic  │version │ crc  │ index  │ meta length │ data length │ body crc │  0  │ meta … │ data … │
//!            └────────┴────────┴──────┴────────┴─────────────┴─────────────┴──────────┴─────┴────────┴────────┘
//! ```
//!
//! `crc` is CRC-32 of everything else in the header or frame, the padding included. The payload is the `records` of one batch, each a
//! [`curp::Record`] in postcard's encoding; `length` is its length without the padding. A frame that says it begins at
//! another place than where it was read is not valid: a misdirected write or read is noticed, and so is a frame in a client's value.
//!
//! `mark` is how far the writer knew the log to be synced when it wrote the frame. So any valid frame, wherever it is found,
//! proves that the bytes before its mark were once durable.
//!
//! A **checkpoint** is one frame that says again all that is still true, so that no record before it is needed: [`curp::Record::Checkpoint`] first.
//! It always begins a segment, whose header has the flag. Once it is durable, the segments before go.
//!
//! A **snapshot** is a file of its own, `snapshot-` and 16 hexadecimal digits of its index, `.snap`: written under another name (`.tmp` after
//! it), synced, renamed. It means something only once a [`curp::Record::Snapshot`] in the log names it. `body crc` is of meta and data.
//!
//! # Recovery
//!
//! The log begins with the last segment that has the flag and whose first frame is whole, or else with segment 1; files but neither is
//! [`Corruption`]. [`recover`] reads frames from there up to the first hole: a frame or header that is not valid, or a segment that is missing. Beyond a
//! hole it looks at every aligned position for valid frames, only for their marks. A hole at or beyond the greatest mark is what a
//! crash leaves of unsynced writes, whichever of them survived: the log is cut there. A hole before the mark is [`Corruption`]: something
//! promised is lost, and the node must not start from it. A frame that is valid but does not decode is always corruption; so is a snapshot that
//! the log refers to and that is missing or damaged.
//!
//! A checkpoint that is torn is such a hole, at the end of the log before it, which is still there: nothing of it is removed before the
//! checkpoint is durable. Then its first segment goes first, and the others when that is durable. So if the checkpoint is damaged
//! later, either all of the old log is there, or nothing that a log could begin with.
//!
//! The last batch before a crash is covered by no mark unless something was written after its sync returned, so damage to
//! it looks like a torn write. [`Wal::mark`] narrows this for a node that has nothing else to write.
//!
//! # Duties of the caller
//!
//! - Perform the operations of one batch in order, and batches in order; a `Sync` covers all that was handed out before it for that file.
//! - Perform [`Recovered::repairs`], and wait for them, before anything is asked of the [`Wal`] or sent.
//! - Call [`Wal::synced`] only when every operation of the batch, and of all batches before it, has returned without an error.
//! - Write a [`curp::Record::Snapshot`] only when the write of that snapshot's file ([`Wal::save_snapshot`]) has ended: within one write, and among writes in
//!   flight, a crash keeps any of the operations and loses any.
//! - Ask [`Wal::obsolete`] after [`Wal::synced`], and treat what it gives as any other synced batch.
//! - **A failed sync is fatal**: stop the node. The kernel may have dropped the dirty pages and marked them clean, so that a second sync
//!   succeeds without the data being on the disk (PostgreSQL's lesson). A failed write, create or rename is no different.
//!
//! Deliberately not here: what a checkpoint or a snapshot must hold and when one is due, and any repair of corruption: a replica that lost what it
//! promised returns under a new id (PROTOCOL.md, Membership).

mod file_op;
mod format;
mod reader;
mod recover;
mod snapshot;
mod state;
mod wal;

pub use file_op::FileOp;
pub use format::{Lsn, segment_name};
pub use reader::{Extent, Reader};
pub use recover::{Corruption, Damage, Fault, Recovered, recover};
pub use snapshot::snapshot_name;
pub use state::{Batch, MemoryStore, RedbStore, RowChange, See, StateError, StateStore};
pub use wal::{Appended, SEGMENT_BYTES_MAX, Wal};
