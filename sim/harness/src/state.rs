//! The state machine's store: on the world's disk, redb over the file that is written in place; or in memory, and then it is gone with the
//! process, and all it shows is whether it holds the state at the end. That costs a seventh of a run, so a quarter of the runs without a
//! file have it, and the others none.

use std::io;

use node::StartError;
use redb::StorageBackend;
use storage::{MemoryStore, RedbStore, StateStore};
use world::{BlockError, BlockFile};

/// The file's name in reports. Its bytes are not in the trace; what a node finds in it is.
const FILE: &str = "state.redb";

/// Where a node's state machine is kept.
pub(crate) enum Place {
    Nowhere,
    Memory,
    File(BlockFile),
}

/// Opens the store for a life of a node.
pub(crate) fn open(place: Place) -> Result<Option<Box<dyn StateStore>>, StartError> {
    Ok(match place {
        Place::Nowhere => None,
        Place::Memory => Some(Box::new(MemoryStore::new())),
        Place::File(file) => Some(Box::new(RedbStore::open(Backend(file), FILE)?)),
    })
}

#[derive(Debug)]
struct Backend(BlockFile);

fn io(error: BlockError) -> io::Error {
    io::Error::other(error)
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.len().map_err(io)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out).map_err(io)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len).map_err(io)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync().map_err(io)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data).map_err(io)
    }
}
