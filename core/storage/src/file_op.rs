//! What the log asks of a disk. The node owns none: it hands these out, in order, and whoever drives it does them.

use mutants::Mutant;

/// One operation on the node's directory. Operations take effect in the order given; none is durable before a later `Sync` of
/// its file (contents, length) or `SyncDir` (names) has returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileOp {
    /// Makes an empty file. Its name is durable after the next `SyncDir`.
    Create {
        /// Name.
        file: String,
    },
    /// Appends bytes.
    Append {
        /// Name.
        file: String,
        /// The bytes.
        data: Vec<u8>,
    },
    /// Cuts the file to a length.
    Truncate {
        /// Name.
        file: String,
        /// New length in bytes.
        len: u64,
    },
    /// Makes the file's contents durable.
    Sync {
        /// Name.
        file: String,
    },
    /// Renames a file over whatever has the new name. Durable after the next `SyncDir`.
    Rename {
        /// Old name.
        from: String,
        /// New name.
        to: String,
    },
    /// Removes a file. Durable after the next `SyncDir`.
    Remove {
        /// Name.
        file: String,
    },
    /// Makes the directory's names durable.
    SyncDir,
}

/// Asks for new names to be made durable. Without it a file that is whole on the disk may be under its old name, or under none, after a
/// power loss (etcd #6368).
pub(crate) fn sync_new_name(ops: &mut Vec<FileOp>) {
    if !mutants::on(Mutant::RenameWithoutDirSync) {
        ops.push(FileOp::SyncDir);
    }
}
