//! A file that is read and written in place and at once, as a database does it. What was not synced is lost when power fails, in a seeded
//! subset; and power may fail at a call of one's choice.
//!
//! Invariant: what was synced stays. A write is torn between sectors only: a disk that tore within one, or wrote garbage there, would take
//! every database's word with it. Whoever had the file open before a crash does nothing to it any more.
//!
//! It takes no time: a process that waits for its disk does nothing else meanwhile, so nobody could tell. Its bytes are not in the trace: they
//! would be most of it, and what they come to is there when a node starts from them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::crash::Mood;
use super::file::Change;
use crate::{Sequence, Stream};

/// What is written at once or not at all.
const SECTOR_BYTES: usize = 512;

/// Why a call did nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockError {
    /// Power has failed, or a process that is no more asks.
    NoPower,
    /// A sync failed; nothing works any more.
    SyncFailed,
    /// What is to be read lies beyond the end.
    BeyondEnd,
}

impl std::fmt::Display for BlockError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            BlockError::NoPower => "power failed",
            BlockError::SyncFailed => "the sync failed",
            BlockError::BeyondEnd => "the file ends before",
        })
    }
}

impl std::error::Error for BlockError {}

#[derive(Debug, Default)]
struct Inner {
    durable: Vec<u8>,
    cached: Vec<u8>,
    /// Not synced, in order.
    pending: Vec<Change>,
    /// Counts those who had it open.
    life: u32,
    /// Power fails at this call from now on, counted from 1.
    cut_in: Option<u64>,
    /// It did.
    cut: bool,
    syncs: u64,
    sync_error_ppm: u32,
    failed: bool,
    failed_syncs: u64,
}

/// The file as its disk knows it.
#[derive(Clone, Debug)]
pub(super) struct Block {
    inner: Arc<Mutex<Inner>>,
    stream: Stream,
    node: u64,
}

/// The file as one process has it open.
#[derive(Clone, Debug)]
pub struct BlockFile {
    block: Block,
    life: u32,
}

/// What a power loss did to the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BlockCrash {
    pub(super) lost_bytes: u64,
    pub(super) torn: bool,
}

impl Block {
    pub(super) fn new(stream: Stream, node: u64) -> Self {
        Block { inner: Arc::default(), stream, node }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic under it is the database's, and the run is over.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A process opens it: nobody else has it any more.
    pub(super) fn open(&self) -> BlockFile {
        BlockFile { block: self.clone(), life: self.detach() }
    }

    /// Whoever had it open does nothing to it any more.
    pub(super) fn detach(&self) -> u32 {
        let mut inner = self.lock();
        inner.life += 1;
        inner.life
    }

    /// Power fails at the `call`-th call from now on; `None`: it does not.
    pub(super) fn cut_in(&self, call: Option<u64>) {
        self.lock().cut_in = call;
    }

    /// Whether power has failed at a call, and the crash has not been yet.
    pub(super) fn was_cut(&self) -> bool {
        self.lock().cut
    }

    pub(super) fn failed_syncs(&self) -> u64 {
        self.lock().failed_syncs
    }

    pub(super) fn set_sync_error(&self, chance_ppm: u32) {
        self.lock().sync_error_ppm = chance_ppm;
    }

    pub(super) fn wipe(&self) {
        let mut inner = self.lock();
        (inner.durable, inner.cached, inner.pending) = (Vec::new(), Vec::new(), Vec::new());
    }

    /// The process is gone. With `mood`, power failed, which takes so much of what was not synced.
    pub(super) fn crash(&self, power: Option<Mood>, crashes: u64) -> BlockCrash {
        let mut inner = self.lock();
        inner.life += 1;
        (inner.cut, inner.failed) = (false, false);
        let Some(mood) = power else { return BlockCrash::default() };
        let mut sequence = self.stream.sequence(self.node << 32 | crashes);
        let mut out = BlockCrash::default();
        let pending = std::mem::take(&mut inner.pending);
        let kept: Vec<bool> = pending.iter().map(|_| mood.keeps(&mut sequence)).collect();
        let last = kept.iter().rposition(|&kept| kept);
        for (i, change) in pending.into_iter().enumerate() {
            match change {
                Change::Write { data, .. } if !kept[i] => out.lost_bytes += data.len() as u64,
                Change::Truncate { .. } if !kept[i] => {}
                Change::Write { offset, data }
                    if Some(i) == last && mood == Mood::Each && data.len() > SECTOR_BYTES && sequence.draw().chance(0.5) =>
                {
                    let torn = torn(&data, &mut sequence);
                    out.torn = true;
                    out.lost_bytes += (data.len() - torn.len()) as u64;
                    Change::Write { offset, data: torn }.apply(&mut inner.durable);
                }
                change => apply(&change, &mut inner.durable),
            }
        }
        inner.cached = inner.durable.clone();
        out
    }
}

/// The first sectors of a write.
fn torn(data: &[u8], sequence: &mut Sequence) -> Vec<u8> {
    let sectors = data.len().div_ceil(SECTOR_BYTES) as u64;
    data[..sequence.draw().below(sectors) as usize * SECTOR_BYTES].to_vec()
}

/// Here a length may also grow.
fn apply(change: &Change, bytes: &mut Vec<u8>) {
    match change {
        Change::Truncate { len } => bytes.resize(*len as usize, 0),
        change => change.apply(bytes),
    }
}

impl BlockFile {
    /// Its length.
    ///
    /// # Errors
    /// Nothing works any more.
    pub fn len(&self) -> Result<u64, BlockError> {
        Ok(self.call(None)?.cached.len() as u64)
    }

    /// Whether it has no bytes.
    ///
    /// # Errors
    /// Nothing works any more.
    pub fn is_empty(&self) -> Result<bool, BlockError> {
        self.len().map(|len| len == 0)
    }

    /// Reads bytes.
    ///
    /// # Errors
    /// They lie beyond the end, or nothing works any more.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), BlockError> {
        let inner = self.call(None)?;
        let found = usize::try_from(offset).ok().and_then(|from| inner.cached.get(from..from.checked_add(out.len())?));
        out.copy_from_slice(found.ok_or(BlockError::BeyondEnd)?);
        Ok(())
    }

    /// Writes bytes; not durable before a sync.
    ///
    /// # Errors
    /// Nothing works any more.
    pub fn write(&self, offset: u64, data: &[u8]) -> Result<(), BlockError> {
        self.call(Some(Change::Write { offset, data: data.to_vec() })).map(drop)
    }

    /// Cuts the file, or lengthens it with zeros; not durable before a sync.
    ///
    /// # Errors
    /// Nothing works any more.
    pub fn set_len(&self, len: u64) -> Result<(), BlockError> {
        self.call(Some(Change::Truncate { len })).map(drop)
    }

    /// Makes everything durable that was written.
    ///
    /// # Errors
    /// It failed, and nothing became durable; or nothing works any more.
    pub fn sync(&self) -> Result<(), BlockError> {
        let mut inner = self.call(None)?;
        inner.syncs += 1;
        let draw = self.block.stream.draw(self.block.node | 1 << 63, inner.syncs);
        if draw.chance_ppm(inner.sync_error_ppm) {
            (inner.failed, inner.failed_syncs) = (true, inner.failed_syncs + 1);
            return Err(BlockError::SyncFailed);
        }
        let Inner { durable, pending, .. } = &mut *inner;
        pending.drain(..).for_each(|change| apply(&change, durable));
        Ok(())
    }

    /// A call, which would change this. At the call at which power fails it is under way: it may or may not have happened.
    fn call(&self, change: Option<Change>) -> Result<MutexGuard<'_, Inner>, BlockError> {
        let mut inner = self.block.lock();
        if inner.life != self.life || inner.cut {
            return Err(BlockError::NoPower);
        }
        if inner.failed {
            return Err(BlockError::SyncFailed);
        }
        if let Some(change) = change {
            apply(&change, &mut inner.cached);
            inner.pending.push(change);
        }
        if let Some(left) = inner.cut_in.as_mut() {
            *left -= 1;
            if *left == 0 {
                (inner.cut_in, inner.cut) = (None, true);
                return Err(BlockError::NoPower);
            }
        }
        Ok(inner)
    }
}
