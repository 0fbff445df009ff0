//! A disk that can lose power at any moment, and tells everything that could then be left.

use std::collections::{BTreeMap, VecDeque};

use storage::FileOp;

use super::Files;

/// Contents and names, each as what is durable and what was done since.
#[derive(Clone, Default)]
pub struct Disk {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    cached: BTreeMap<String, usize>,
    pending_names: Vec<(usize, Name)>,
    /// Operations submitted.
    ops: usize,
    /// Syncs of each batch in flight.
    in_flight: VecDeque<Vec<(Option<usize>, usize)>>,
}

#[derive(Clone, Default)]
struct Inode {
    durable: Vec<u8>,
    pending: Vec<(usize, Change)>,
    cached: Vec<u8>,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Cut(usize),
}

#[derive(Clone)]
struct Name {
    goes: Option<String>,
    comes: Option<(String, usize)>,
}

impl Name {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        if let Some(name) = &self.goes {
            names.remove(name);
        }
        if let Some((name, inode)) = &self.comes {
            names.insert(name.clone(), *inode);
        }
    }
}

/// What became of one change of contents.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Lost,
    Kept,
    /// The first bytes arrived, in this many eighths.
    Torn(usize),
    /// The length arrived, and half of the bytes.
    Garbage,
}

const FATES: [Fate; 5] = [Fate::Lost, Fate::Kept, Fate::Torn(3), Fate::Torn(7), Fate::Garbage];

impl Change {
    fn apply(&self, fate: Fate, bytes: &mut Vec<u8>) {
        let (offset, mut data) = match (self, fate) {
            (_, Fate::Lost) => return,
            (Change::Cut(len), _) => return bytes.truncate(*len),
            (Change::Write(offset, data), _) => (*offset, data.clone()),
        };
        match fate {
            Fate::Torn(eighths) => data.truncate(data.len() * eighths / 8),
            Fate::Garbage => {
                let half = data.len() / 2;
                data[half..].iter_mut().for_each(|b| *b ^= 0x5a);
            }
            _ => {}
        }
        if bytes.len() < offset + data.len() {
            bytes.resize(offset + data.len(), 0);
        }
        bytes[offset..offset + data.len()].copy_from_slice(&data);
    }
}

impl Disk {
    /// All of this is durable.
    pub fn holding(files: &Files) -> Disk {
        let mut disk = Disk::default();
        for (name, bytes) in files {
            disk.names.insert(name.clone(), disk.inodes.len());
            disk.inodes.push(Inode { durable: bytes.clone(), pending: Vec::new(), cached: bytes.clone() });
        }
        disk.cached = disk.names.clone();
        disk
    }

    /// A batch sets out. Nothing of it is sure before it has completed.
    pub fn submit(&mut self, ops: &[FileOp]) {
        let mut syncs = Vec::new();
        for op in ops {
            self.ops += 1;
            let name = match op {
                FileOp::Create { file } => {
                    assert!(!self.cached.contains_key(file), "{file} is there already");
                    self.inodes.push(Inode::default());
                    Name { goes: None, comes: Some((file.clone(), self.inodes.len() - 1)) }
                }
                FileOp::Rename { from, to } => Name { goes: Some(from.clone()), comes: Some((to.clone(), self.cached[from])) },
                FileOp::Remove { file } => {
                    assert!(self.cached.contains_key(file), "{file} is not there");
                    Name { goes: Some(file.clone()), comes: None }
                }
                FileOp::Append { file, data } => {
                    let inode = &mut self.inodes[self.cached[file]];
                    inode.pending.push((self.ops, Change::Write(inode.cached.len(), data.clone())));
                    inode.cached.extend_from_slice(data);
                    continue;
                }
                FileOp::Truncate { file, len } => {
                    let inode = &mut self.inodes[self.cached[file]];
                    inode.pending.push((self.ops, Change::Cut(*len as usize)));
                    inode.cached.truncate(*len as usize);
                    continue;
                }
                FileOp::Sync { file } => {
                    syncs.push((Some(self.cached[file]), self.ops));
                    continue;
                }
                FileOp::SyncDir => {
                    syncs.push((None, self.ops));
                    continue;
                }
            };
            name.apply(&mut self.cached);
            self.pending_names.push((self.ops, name));
        }
        self.in_flight.push_back(syncs);
    }

    /// The oldest batch in flight has completed.
    pub fn complete(&mut self) {
        for (what, upto) in self.in_flight.pop_front().expect("a batch in flight") {
            if let Some(inode) = what.map(|i| &mut self.inodes[i]) {
                let covered = inode.pending.iter().take_while(|(op, _)| *op < upto).count();
                inode.pending.drain(..covered).for_each(|(_, change)| change.apply(Fate::Kept, &mut inode.durable));
            } else {
                let covered = self.pending_names.iter().take_while(|(op, _)| *op < upto).count();
                self.pending_names.drain(..covered).for_each(|(_, name)| name.apply(&mut self.names));
            }
        }
    }

    /// The process is killed: what it wrote stays readable, and is no more durable than before.
    pub fn kill(&mut self) {
        self.in_flight.clear();
    }

    /// What a process reads.
    pub fn read(&self) -> Files {
        self.cached.iter().map(|(name, &inode)| (name.clone(), self.inodes[inode].cached.clone())).collect()
    }

    /// What is sure to be left if power fails now.
    pub fn durable(&self) -> Files {
        self.names.iter().map(|(name, &inode)| (name.clone(), self.inodes[inode].durable.clone())).collect()
    }

    /// Everything that can be left if power fails now: every subset of the names' changes, with every combination of fates of the contents'.
    pub fn power_fails(&self, mut see: impl FnMut(&Files)) {
        let changes: Vec<usize> = self.inodes.iter().flat_map(|inode| (0..inode.pending.len()).map(|_| FATES.len())).collect();
        let combinations: usize = changes.iter().product();
        assert!(combinations << self.pending_names.len() <= 1 << 20, "{} and {} pending changes", changes.len(), self.pending_names.len());
        for combination in 0..combinations {
            let (mut rest, mut contents) = (combination, Vec::new());
            for inode in &self.inodes {
                let mut bytes = inode.durable.clone();
                for (_, change) in &inode.pending {
                    change.apply(FATES[rest % FATES.len()], &mut bytes);
                    rest /= FATES.len();
                }
                contents.push(bytes);
            }
            for subset in 0..1usize << self.pending_names.len() {
                let mut names = self.names.clone();
                let survived = self.pending_names.iter().enumerate().filter(|(i, _)| subset >> i & 1 == 1);
                survived.for_each(|(_, (_, name))| name.apply(&mut names));
                see(&names.iter().map(|(name, &inode)| (name.clone(), contents[inode].clone())).collect());
            }
        }
    }
}
