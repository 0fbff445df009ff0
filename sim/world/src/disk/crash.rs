//! What a crash leaves on a disk.

use super::file::{Change, Pending, report};
use super::{Disk, DurableChange};
use crate::Sequence;

/// What a crash did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CrashReport {
    /// Batches in flight at that moment; they never complete.
    pub in_flight: u32,
    /// Bytes submitted and lost. 0 unless power failed.
    pub lost_bytes: u64,
    /// Files whose last surviving write is torn: a part of it, or a part of it and garbage.
    pub torn: u32,
    /// Files with a hole of zeros, where a lost write is followed by one that survived.
    pub holes: u32,
    /// What became durable by surviving, in order.
    pub changes: Vec<DurableChange>,
}

/// How much a power loss takes. Some lose nothing and some everything, since those are the cases programs get wrong too.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Mood {
    LoseAll,
    KeepAll,
    Each,
}

impl Mood {
    /// Whether one write survives.
    pub(super) fn keeps(self, sequence: &mut Sequence) -> bool {
        match self {
            Mood::LoseAll => false,
            Mood::KeepAll => true,
            Mood::Each => sequence.draw().chance(0.5),
        }
    }
}

impl Disk {
    /// The node stops. With `power`, of everything not synced a seeded subset survives, the last write possibly torn, and is durable from
    /// then on. Without, the process was killed: the cache stays, to be read at the next start and to become durable with a later sync.
    pub fn crash(&mut self, now: u64, power: bool) -> CrashReport {
        let in_flight = self.in_flight();
        self.in_flight.clear();
        self.last_completion = self.last_completion.min(now);
        self.effects.crashes_in_flight += u64::from(in_flight > 0);
        let mut out = CrashReport { in_flight, ..CrashReport::default() };
        if !power {
            self.block.crash(None, self.crashes);
            return out;
        }
        let mut sequence = self.crash_draws();
        let mood = match sequence.draw().below(4) {
            0 => Mood::LoseAll,
            1 => Mood::KeepAll,
            _ => Mood::Each,
        };
        let before = self.names.survive(|| mood.keeps(&mut sequence));
        report(&before, &self.names.durable().map(|(n, i)| (n.to_owned(), i)).collect::<Vec<_>>(), &self.inodes, &mut out.changes);
        for i in 0..self.inodes.len() {
            if self.inodes[i].pending.is_empty() {
                continue;
            }
            let contents = self.surviving(i, mood, &mut sequence, &mut out);
            let common = contents.iter().zip(self.inodes[i].durable()).take_while(|(a, b)| a == b).count();
            if contents != self.inodes[i].durable()
                && let Some(file) = self.names.durable_name(i)
            {
                let change = DurableChange::Content { file: file.to_owned(), offset: common as u64, data: contents[common..].to_vec() };
                out.changes.push(change);
            }
            self.inodes[i].survive(contents);
        }
        let block = self.block.crash(Some(mood), self.crashes);
        out.lost_bytes += block.lost_bytes;
        out.torn += u32::from(block.torn);
        self.effects.lost_bytes += out.lost_bytes;
        self.effects.torn += u64::from(out.torn > 0);
        self.effects.holes += u64::from(out.holes > 0);
        out
    }

    /// The contents of a file after power failed.
    fn surviving(&self, inode: usize, mood: Mood, sequence: &mut Sequence, out: &mut CrashReport) -> Vec<u8> {
        let mut contents = self.inodes[inode].durable().to_vec();
        let kept: Vec<bool> = self.inodes[inode].pending.iter().map(|p| !p.failed && mood.keeps(sequence)).collect();
        let last = kept.iter().rposition(|&k| k);
        let mut hole = false;
        for (p, Pending { change, .. }) in self.inodes[inode].pending.iter().enumerate() {
            match change {
                Change::Write { data, .. } if !kept[p] => out.lost_bytes += data.len() as u64,
                Change::Write { offset, data }
                    if Some(p) == last && mood == Mood::Each && data.len() > 1 && sequence.draw().chance(0.5) =>
                {
                    hole |= contents.len() < *offset as usize;
                    let (torn, lost) = tear(data, sequence);
                    out.torn += 1;
                    out.lost_bytes += lost;
                    Change::Write { offset: *offset, data: torn }.apply(&mut contents);
                }
                Change::Write { offset, .. } => {
                    hole |= contents.len() < *offset as usize;
                    change.apply(&mut contents);
                }
                Change::Truncate { .. } if kept[p] => change.apply(&mut contents),
                Change::Truncate { .. } => {}
            }
        }
        out.holes += u32::from(hole);
        contents
    }

    fn crash_draws(&mut self) -> Sequence {
        self.crashes += 1;
        self.stream.sequence(self.node << 32 | self.crashes)
    }
}

/// A part of a write: its first bytes, half of the time followed by garbage up to some length. With it, how many bytes were lost.
fn tear(data: &[u8], sequence: &mut Sequence) -> (Vec<u8>, u64) {
    let whole = sequence.draw().below(data.len() as u64) as usize;
    let mut torn = data[..whole].to_vec();
    if sequence.draw().chance(0.5) {
        let garbage = sequence.draw().range(1..=(data.len() - whole) as u64);
        torn.extend((0..garbage).map(|_| sequence.draw().0 as u8));
    }
    (torn, (data.len() - whole) as u64)
}
