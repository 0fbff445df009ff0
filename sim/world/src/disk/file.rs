//! Files and names, each as a durable state and the operations on it that are not durable yet.

use super::DurableChange;

/// A change of a file's contents that is not durable.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) seq: u64,
    pub(super) change: Change,
    /// A sync that covered it failed: it can be read until power fails, and nothing makes it durable.
    pub(super) failed: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Change {
    Write { offset: u64, data: Vec<u8> },
    Truncate { len: u64 },
}

impl Change {
    /// Does it to a file's contents; a gap before a write reads as zeros.
    pub(super) fn apply(&self, contents: &mut Vec<u8>) {
        match self {
            Change::Write { offset, data } => {
                let offset = *offset as usize;
                if contents.len() < offset {
                    contents.resize(offset, 0);
                }
                let overlap = data.len().min(contents.len() - offset);
                contents[offset..offset + overlap].copy_from_slice(&data[..overlap]);
                contents.extend_from_slice(&data[overlap..]);
            }
            Change::Truncate { len } => contents.truncate(*len as usize),
        }
    }
}

/// The contents of a file, whatever its name.
#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    durable: Vec<u8>,
    pub(super) pending: Vec<Pending>,
    cached_len: u64,
}

impl Inode {
    pub(super) fn append(&mut self, seq: u64, data: Vec<u8>) {
        let offset = self.cached_len;
        self.cached_len += data.len() as u64;
        self.pending.push(Pending { seq, change: Change::Write { offset, data }, failed: false });
    }

    pub(super) fn truncate(&mut self, seq: u64, len: u64) {
        self.cached_len = self.cached_len.min(len);
        self.pending.push(Pending { seq, change: Change::Truncate { len }, failed: false });
    }

    /// Makes durable what was submitted before `upto`: offset and data of what changed, if anything did.
    pub(super) fn sync(&mut self, upto: u64) -> Option<(u64, Vec<u8>)> {
        let covered = self.pending.iter().take_while(|p| p.seq < upto).count();
        let plain_append = covered == 1 && {
            let first = &self.pending[0];
            !first.failed && matches!(&first.change, Change::Write { offset, .. } if *offset == self.durable.len() as u64)
        };
        if plain_append {
            let Change::Write { offset, data } = self.pending.remove(0).change else { unreachable!("just matched") };
            self.durable.extend_from_slice(&data);
            return Some((offset, data));
        }
        let mut changed_from = None;
        let mut at = 0;
        for _ in 0..covered {
            let pending = &self.pending[at];
            if pending.failed {
                at += 1;
                continue;
            }
            let pending = self.pending.remove(at);
            let low = match pending.change {
                Change::Write { offset, .. } => offset,
                Change::Truncate { len } => {
                    // What a failed sync left beyond the cut is gone for readers too.
                    self.pending.retain(|p| !(p.failed && p.seq < pending.seq && p.change.offset() >= len));
                    at = self.pending.iter().take_while(|p| p.failed && p.seq < pending.seq).count();
                    len
                }
            };
            let low = low.min(self.durable.len() as u64);
            changed_from = Some(changed_from.map_or(low, |from: u64| from.min(low)));
            pending.change.apply(&mut self.durable);
        }
        changed_from.map(|from| (from, self.durable[from as usize..].to_vec()))
    }

    /// A sync of what was submitted before `upto` failed.
    pub(super) fn fail_sync(&mut self, upto: u64) {
        self.pending.iter_mut().filter(|p| p.seq < upto).for_each(|p| p.failed = true);
    }

    /// The contents that a process reads.
    pub(super) fn cached(&self) -> Vec<u8> {
        let mut contents = self.durable.clone();
        self.pending.iter().for_each(|p| p.change.apply(&mut contents));
        contents
    }

    pub(super) fn durable(&self) -> &[u8] {
        &self.durable
    }

    /// After a power loss: these contents survived, and nothing is pending.
    pub(super) fn survive(&mut self, contents: Vec<u8>) {
        self.cached_len = contents.len() as u64;
        self.durable = contents;
        self.pending.clear();
    }
}

impl Change {
    fn offset(&self) -> u64 {
        match self {
            Change::Write { offset, .. } => *offset,
            Change::Truncate { len } => *len,
        }
    }
}

/// A change of the directory that is not durable.
#[derive(Clone, Debug)]
pub(super) struct PendingName {
    pub(super) seq: u64,
    /// The name that goes, if one does.
    unlink: Option<String>,
    /// The name that comes or is replaced, if one does, and what it then names.
    link: Option<(String, usize)>,
}

/// The directory: few files, so lists.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    durable: Vec<(String, usize)>,
    cached: Vec<(String, usize)>,
    pending: Vec<PendingName>,
}

fn apply(names: &mut Vec<(String, usize)>, change: &PendingName) {
    if let Some(name) = &change.unlink {
        names.retain(|(n, _)| n != name);
    }
    if let Some((name, inode)) = &change.link {
        names.retain(|(n, _)| n != name);
        names.push((name.clone(), *inode));
    }
}

impl Names {
    pub(super) fn inode(&self, file: &str) -> usize {
        match self.cached.iter().find(|(name, _)| name == file) {
            Some(&(_, inode)) => inode,
            None => panic!("the disk has no file {file}"),
        }
    }

    pub(super) fn create(&mut self, seq: u64, file: String, inode: usize) {
        self.change(PendingName { seq, unlink: None, link: Some((file, inode)) });
    }

    pub(super) fn rename(&mut self, seq: u64, from: String, to: String) {
        let inode = self.inode(&from);
        self.change(PendingName { seq, unlink: Some(from), link: Some((to, inode)) });
    }

    pub(super) fn remove(&mut self, seq: u64, file: String) {
        self.inode(&file);
        self.change(PendingName { seq, unlink: Some(file), link: None });
    }

    fn change(&mut self, change: PendingName) {
        apply(&mut self.cached, &change);
        self.pending.push(change);
    }

    pub(super) fn durable_name(&self, inode: usize) -> Option<&str> {
        self.durable.iter().find(|&&(_, i)| i == inode).map(|(name, _)| name.as_str())
    }

    /// Makes durable what was submitted before `upto`, and reports what changed.
    pub(super) fn sync(&mut self, upto: u64, inodes: &[Inode], changes: &mut Vec<DurableChange>) {
        let before = self.durable.clone();
        let covered = self.pending.iter().take_while(|p| p.seq < upto).count();
        self.pending.drain(..covered).for_each(|change| apply(&mut self.durable, &change));
        report(&before, &self.durable, inodes, changes);
    }

    /// After a power loss: the pending changes that `keep` picks have happened. The names before and after are the caller's to compare.
    pub(super) fn survive(&mut self, mut keep: impl FnMut() -> bool) -> Vec<(String, usize)> {
        let before = self.durable.clone();
        for change in std::mem::take(&mut self.pending) {
            if keep() {
                apply(&mut self.durable, &change);
            }
        }
        self.cached = self.durable.clone();
        before
    }

    pub(super) fn cached(&self) -> impl Iterator<Item = (&str, usize)> {
        self.cached.iter().map(|(name, inode)| (name.as_str(), *inode))
    }

    pub(super) fn durable(&self) -> impl Iterator<Item = (&str, usize)> {
        self.durable.iter().map(|(name, inode)| (name.as_str(), *inode))
    }
}

/// The changes that lead from one directory to another.
pub(super) fn report(before: &[(String, usize)], after: &[(String, usize)], inodes: &[Inode], changes: &mut Vec<DurableChange>) {
    for (name, _) in before {
        if !after.iter().any(|(n, _)| n == name) {
            changes.push(DurableChange::Removed { file: name.clone() });
        }
    }
    for link in after {
        if !before.contains(link) {
            changes.push(DurableChange::Content { file: link.0.clone(), offset: 0, data: inodes[link.1].durable().to_vec() });
        }
    }
}
