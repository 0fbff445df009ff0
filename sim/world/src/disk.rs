//! One node's disk: writes take time, several batches are in flight, and a crash loses what was not synced, in a seeded subset.
//!
//! The model has two views. The *cache* is what a running process reads: everything submitted. The *platter* is what is durable: file
//! contents up to the last completed sync of the file, and names up to the last completed sync of the directory. Batches complete in the
//! order submitted; a sync makes durable everything submitted to its file before it.
//!
//! Invariant: what was durable once stays, until the program itself truncates, replaces or removes it. A sync that fails makes nothing
//! durable, and neither does a later one for the same bytes (PostgreSQL's lesson: the kernel has marked them clean).
//!
//! What it does not do: schedule completions (the engine calls [`Disk::complete`] at the time it was given), know what the bytes mean, or
//! damage what is durable.

mod block;
mod crash;
mod file;

use crate::{DiskFault, DiskParams, Draw, Draws, Stream, US};
use block::Block;
use file::{Inode, Names};
use std::collections::{BTreeMap, VecDeque};
use storage::FileOp;

pub use block::{BlockError, BlockFile};
pub use crash::CrashReport;

/// A change of what is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DurableChange {
    /// From `offset` on the file holds `data`, and ends there. A file that does not exist yet is made.
    Content {
        /// File name.
        file: String,
        /// Where the change begins; at most the old durable length.
        offset: u64,
        /// What stands there now.
        data: Vec<u8>,
    },
    /// The directory no longer has this file.
    Removed {
        /// File name.
        file: String,
    },
}

/// What a batch came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completion {
    /// Done; what became durable by it, in order. Nothing, if it had no sync.
    Done(Vec<DurableChange>),
    /// Its sync failed: nothing became durable, and what it covered never will. It is fatal for the node.
    SyncFailed,
}

/// How often things happened to a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskEffects {
    /// Batches submitted.
    pub batches: u64,
    /// Batches that a slow-disk fault delayed.
    pub slowed: u64,
    /// Syncs that failed.
    pub sync_errors: u64,
    /// Crashes with at least one write in flight.
    pub crashes_in_flight: u64,
    /// Bytes lost at power losses.
    pub lost_bytes: u64,
    /// Power losses that left the last write torn.
    pub torn: u64,
    /// Power losses that left a hole of zeros.
    pub holes: u64,
}

/// The most that a slow-disk fault makes of one batch's time: a second.
const SLOW_NS_MAX: u64 = 1_000_000_000;

/// A batch in flight.
#[derive(Clone, Debug)]
struct Batch {
    token: u64,
    /// Everything submitted before this is covered by its syncs.
    syncs: Vec<(SyncOf, u64)>,
    fails: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum SyncOf {
    Inode(usize),
    Names,
}

/// One node's disk.
#[derive(Clone, Debug)]
pub struct Disk {
    params: DiskParams,
    stream: Stream,
    node: u64,
    inodes: Vec<Inode>,
    names: Names,
    /// Numbers operations in order of submission.
    submitted: u64,
    in_flight: VecDeque<Batch>,
    last_completion: u64,
    crashes: u64,
    faults: Vec<(u32, DiskFault)>,
    effects: DiskEffects,
    /// The one file that is written in place.
    block: Block,
}

impl Disk {
    /// An empty disk of `node`.
    pub fn new(draws: Draws, node: u32, params: &DiskParams) -> Self {
        Disk {
            params: params.clone(),
            stream: draws.stream("disk"),
            node: u64::from(node),
            inodes: Vec::new(),
            names: Names::default(),
            submitted: 0,
            in_flight: VecDeque::new(),
            last_completion: 0,
            crashes: 0,
            faults: Vec::new(),
            effects: DiskEffects::default(),
            block: Block::new(draws.stream("block"), u64::from(node)),
        }
    }

    /// Opens the file that is written in place, made if it is not there: for the process that starts now, and no earlier one.
    pub fn open_block(&mut self) -> BlockFile {
        self.block.open()
    }

    /// Whoever had it open does nothing to it any more.
    pub fn close_block(&mut self) {
        self.block.detach();
    }

    /// Power fails at the `call`-th call on that file, counted from now on; the disk's owner is told by [`block_was_cut`](Self::block_was_cut).
    pub fn cut_block(&mut self, call: u64) {
        self.block.cut_in(Some(call.max(1)));
    }

    /// Whether power has failed there, and [`crash`](Self::crash) has not been called since.
    pub fn block_was_cut(&self) -> bool {
        self.block.was_cut()
    }

    /// Takes a batch of operations; gives the time at which to call [`Disk::complete`] with this token, always later than `now` and than the
    /// completion of every batch before it. The batch can be read back at once.
    ///
    /// # Panics
    /// If an operation names a file that does not exist: the program under test would have got an error it does not handle.
    pub fn submit(&mut self, now: u64, ops: Vec<FileOp>, token: u64) -> u64 {
        let mut syncs = Vec::new();
        let mut sync_count = 0;
        let writes = !ops.is_empty();
        for op in ops {
            let seq = self.submitted;
            self.submitted += 1;
            match op {
                FileOp::Create { file } => {
                    self.inodes.push(Inode::default());
                    self.names.create(seq, file, self.inodes.len() - 1);
                }
                FileOp::Append { file, data } => self.inode(&file).append(seq, data),
                FileOp::Truncate { file, len } => self.inode(&file).truncate(seq, len),
                FileOp::Rename { from, to } => self.names.rename(seq, from, to),
                FileOp::Remove { file } => self.names.remove(seq, file),
                FileOp::Sync { file } => {
                    let inode = self.names.inode(&file);
                    syncs.push((SyncOf::Inode(inode), seq));
                    sync_count += 1;
                }
                FileOp::SyncDir => {
                    syncs.push((SyncOf::Names, seq));
                    sync_count += 1;
                }
            }
        }
        let n = self.effects.batches;
        self.effects.batches += 1;
        let fails = sync_count > 0 && self.fails(n);
        self.in_flight.push_back(Batch { token, syncs, fails });
        let due = now + self.duration(n, writes, sync_count);
        self.last_completion = due.max(self.last_completion + 1);
        self.last_completion
    }

    /// The oldest batch in flight is done.
    ///
    /// # Panics
    /// If `token` is not the oldest batch in flight: batches complete in the order submitted.
    pub fn complete(&mut self, token: u64) -> Completion {
        let batch = self.in_flight.pop_front().expect("a batch that completes was submitted and no crash dropped it");
        assert_eq!(batch.token, token, "batches complete in the order submitted");
        if batch.fails {
            self.effects.sync_errors += 1;
            for (of, upto) in batch.syncs {
                match of {
                    SyncOf::Inode(inode) => self.inodes[inode].fail_sync(upto),
                    SyncOf::Names => {} // They stay pending: a directory's names are kept or lost at a power loss, as before.
                }
            }
            return Completion::SyncFailed;
        }
        let mut changes = Vec::new();
        for (of, upto) in batch.syncs {
            match of {
                SyncOf::Inode(inode) => {
                    if let Some((offset, data)) = self.inodes[inode].sync(upto)
                        && let Some(file) = self.names.durable_name(inode)
                    {
                        changes.push(DurableChange::Content { file: file.to_owned(), offset, data });
                    }
                }
                SyncOf::Names => self.names.sync(upto, &self.inodes, &mut changes),
            }
        }
        Completion::Done(changes)
    }

    /// Everything is lost, what was durable too; what was in flight never ends. It goes on as an empty disk.
    pub fn wipe(&mut self) {
        (self.inodes, self.names) = (Vec::new(), Names::default());
        self.in_flight.clear();
        self.block.wipe();
    }

    /// What a process started now reads: names and contents, durable or only in the cache.
    pub fn read_all(&self) -> BTreeMap<String, Vec<u8>> {
        self.names.cached().map(|(name, inode)| (name.to_owned(), self.inodes[inode].cached())).collect()
    }

    /// What is durable: what [`Disk::read_all`] would give if power failed now and everything that may be lost were lost.
    pub fn durable(&self) -> BTreeMap<String, Vec<u8>> {
        self.names.durable().map(|(name, inode)| (name.to_owned(), self.inodes[inode].durable().to_vec())).collect()
    }

    /// Batches submitted and not completed.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.len() as u32
    }

    /// A fault begins.
    pub fn begin(&mut self, fault: u32, what: DiskFault) {
        self.faults.push((fault, what));
        self.tell_block();
    }

    /// The fault ends. Batches submitted meanwhile keep the completion times they were given.
    pub fn end(&mut self, fault: u32) {
        self.faults.retain(|(f, _)| *f != fault);
        self.tell_block();
    }

    /// All faults end.
    pub fn heal(&mut self) {
        self.faults.clear();
        self.block.cut_in(None);
        self.tell_block();
    }

    /// How often things happened.
    pub fn effects(&self) -> DiskEffects {
        DiskEffects { sync_errors: self.effects.sync_errors + self.block.failed_syncs(), ..self.effects }
    }

    fn inode(&mut self, file: &str) -> &mut Inode {
        let inode = self.names.inode(file);
        &mut self.inodes[inode]
    }

    /// Commands to the device overlap: a batch takes its own time, and waits only for the completion of those before it.
    fn duration(&mut self, n: u64, writes: bool, syncs: u64) -> u64 {
        let p = &self.params;
        let bits = self.draw(4 * n).0;
        // Three 20-bit values from one draw; squared, so that small times are likelier.
        let skewed = |bits: u64, min: u64, max: u64| {
            let x = bits & 0xf_ffff;
            min * US + (((max - min) * US * ((x * x) >> 20)) >> 20)
        };
        let mut time = 1;
        if writes {
            time += skewed(bits, p.write_us_min, p.write_us_max);
        }
        if syncs > 0 {
            time += skewed(bits >> 20, p.sync_us_min, p.sync_us_max) * syncs;
        }
        if (((bits >> 40) & 0xf_ffff) * 1_000_000) >> 20 < u64::from(p.tail_ppm) {
            time += self.draw(4 * n + 1).below(p.tail_us_max * US + 1);
        }
        let slow = self.faults.iter().filter_map(|(_, f)| if let DiskFault::Slow { factor } = *f { Some(factor) } else { None }).max();
        if let Some(factor) = slow {
            // A slow disk is slow, not stuck: what was submitted under the fault ends soon after it, or the heal would not heal.
            time = time.max(time.saturating_mul(u64::from(factor)).min(SLOW_NS_MAX));
            self.effects.slowed += 1;
        }
        time
    }

    fn fails(&self, n: u64) -> bool {
        let chance = self.sync_error_ppm();
        chance.is_some_and(|ppm| self.draw(4 * n + 2).chance_ppm(ppm))
    }

    fn sync_error_ppm(&self) -> Option<u32> {
        self.faults.iter().map(|(_, f)| if let DiskFault::SyncError { chance_ppm } = *f { chance_ppm } else { 0 }).max()
    }

    fn tell_block(&self) {
        self.block.set_sync_error(self.sync_error_ppm().unwrap_or(0));
    }

    fn draw(&self, counter: u64) -> Draw {
        self.stream.draw(self.node, counter)
    }
}

#[cfg(test)]
mod tests;
