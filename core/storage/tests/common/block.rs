//! A file that is read and written in place, whose power can fail at any call.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;

/// What a disk may write at once.
const SECTOR: usize = 512;

/// A file whose power can fail: at a call, and then nothing works any more.
#[derive(Clone, Debug, Default)]
pub struct File(Arc<Mutex<Bytes>>);

#[derive(Clone, Debug, Default)]
pub struct Bytes {
    pub durable: Vec<u8>,
    cached: Vec<u8>,
    /// Not synced, in order.
    pending: Vec<Change>,
    pub calls: u64,
    /// Power fails at this call.
    pub cut_at: Option<u64>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::Write(offset, data) => {
                bytes.resize(bytes.len().max(offset + data.len()), 0);
                bytes[*offset..offset + data.len()].copy_from_slice(data);
            }
            Change::SetLen(len) => bytes.resize(*len, 0),
        }
    }
}

impl File {
    pub fn of(durable: Vec<u8>) -> File {
        File(Arc::new(Mutex::new(Bytes { cached: durable.clone(), durable, ..Bytes::default() })))
    }

    pub fn bytes(&self) -> MutexGuard<'_, Bytes> {
        self.0.lock().expect("no test panics under it")
    }

    /// A call; `change`: what it would do. When power fails at it, it may or may not have happened.
    fn call(&self, change: Option<Change>) -> io::Result<MutexGuard<'_, Bytes>> {
        let mut bytes = self.bytes();
        bytes.calls += 1;
        let cut = bytes.cut_at.is_some_and(|at| bytes.calls >= at);
        if let Some(change) = change
            && (!cut || bytes.cut_at == Some(bytes.calls))
        {
            change.apply(&mut bytes.cached);
            bytes.pending.push(change);
        }
        if cut { Err(io::Error::other("no power")) } else { Ok(bytes) }
    }

    /// What is left when power has failed: of what was not synced, each that `keep` says, the last of them perhaps torn.
    pub fn left(&self, mut keep: impl FnMut() -> bool) -> Vec<u8> {
        let bytes = self.bytes();
        let mut left = bytes.durable.clone();
        let kept: Vec<&Change> = bytes.pending.iter().filter(|_| keep()).collect();
        for (i, change) in kept.iter().enumerate() {
            match change {
                Change::Write(offset, data) if i + 1 == kept.len() && data.len() > SECTOR && keep() => {
                    Change::Write(*offset, data[..data.len() / 2 / SECTOR * SECTOR].to_vec()).apply(&mut left);
                }
                change => change.apply(&mut left),
            }
        }
        left
    }
}

impl StorageBackend for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.call(None)?.cached.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.call(None)?;
        let offset = offset as usize;
        let found = bytes.cached.get(offset..offset + out.len()).ok_or_else(|| io::Error::other("beyond the end"))?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.call(Some(Change::SetLen(len as usize))).map(drop)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut bytes = self.call(None)?;
        bytes.durable = bytes.cached.clone();
        bytes.pending.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.call(Some(Change::Write(offset as usize, data.to_vec()))).map(drop)
    }
}

/// Chance that is the same every time.
pub fn chance(seed: u64) -> impl FnMut() -> bool {
    let mut state = curp::splitmix64(seed);
    move || {
        state = curp::splitmix64(state);
        state & 1 == 1
    }
}
