//! Snapshot files: names, bytes, and the one that the log refers to. The diagram is in the crate's documentation.
//!
//! Invariant: a file is used only if it is byte for byte what was written under its name, up to a collision of CRC-32, and if it is of the very
//! snapshot that the log's last [`curp::Record::Snapshot`] names. No other file is ever looked into.

use std::collections::BTreeMap;
use std::sync::Arc;

use curp::{Index, SnapshotFile, SnapshotMeta};

use crate::format::{crc_around, u32_at, u64_at};
use crate::{Corruption, Damage, Fault, FileOp, file_op};

/// Length of a snapshot file's header in bytes.
pub(crate) const HEADER_BYTES: usize = 48;

const VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"CURPSNP\n";
const TEMPORARY: &str = ".tmp";

/// The name of the file of the snapshot at `index`.
pub fn snapshot_name(index: Index) -> String {
    format!("snapshot-{index:016x}.snap")
}

/// The index in a snapshot file's name; `None` for any other file.
pub(crate) fn snapshot_index(file: &str) -> Option<Index> {
    let index = u64::from_str_radix(file.strip_prefix("snapshot-")?.strip_suffix(".snap")?, 16).ok()?;
    (snapshot_name(index) == file).then_some(index)
}

/// Whether it is what a save that was cut short left.
pub(crate) fn is_temporary(file: &str) -> bool {
    file.strip_suffix(TEMPORARY).is_some_and(|name| snapshot_index(name).is_some())
}

/// The operations that make the file, whole and durable once all have returned. What a crash leaves of them nothing refers to.
pub(crate) fn save(file: &SnapshotFile) -> Vec<FileOp> {
    let name = snapshot_name(file.meta.index);
    let temporary = format!("{name}{TEMPORARY}");
    let mut ops = vec![
        FileOp::Create { file: temporary.clone() },
        FileOp::Append { file: temporary.clone(), data: encode(file) },
        FileOp::Sync { file: temporary.clone() },
        FileOp::Rename { from: temporary, to: name },
    ];
    file_op::sync_new_name(&mut ops);
    ops
}

fn encode(file: &SnapshotFile) -> Vec<u8> {
    let meta = postcard::to_allocvec(&file.meta).expect("a snapshot's meta data encode");
    let mut out = Vec::with_capacity(HEADER_BYTES + meta.len() + file.data.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    for field in [file.meta.index, meta.len() as u64, file.data.len() as u64] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    out.extend_from_slice(&body_crc(&meta, &file.data).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    let crc = crc_around(&out, 12);
    out[12..16].copy_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&meta);
    out.extend_from_slice(&file.data);
    out
}

fn body_crc(meta: &[u8], data: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(meta);
    hasher.update(data);
    hasher.finalize()
}

/// The file of the snapshot `meta`; else offset and kind of the damage.
fn decode(bytes: &[u8], meta: &SnapshotMeta) -> Result<SnapshotFile, (usize, Damage)> {
    let header = |fault| (0, Damage::Snapshot(fault));
    let body = |fault| (HEADER_BYTES, Damage::Snapshot(fault));
    let Some((head, rest)) = bytes.split_at_checked(HEADER_BYTES) else { return Err(header(Fault::Short)) };
    if head[..8] != MAGIC {
        return Err(header(Fault::Magic));
    }
    if u32_at(head, 12) != crc_around(head, 12) {
        return Err(header(Fault::Checksum));
    }
    if u32_at(head, 8) != VERSION {
        return Err((0, Damage::Version(u32_at(head, 8))));
    }
    if u64_at(head, 16) != meta.index {
        return Err(header(Fault::Place));
    }
    let (meta_bytes, data_bytes) = (u64_at(head, 24), u64_at(head, 32));
    match meta_bytes.checked_add(data_bytes).map(|total| total.cmp(&(rest.len() as u64))) {
        Some(std::cmp::Ordering::Equal) => {}
        Some(std::cmp::Ordering::Less) => return Err(body(Fault::Long)),
        _ => return Err(body(Fault::Short)),
    }
    let (found, data) = rest.split_at(meta_bytes as usize);
    if u32_at(head, 40) != body_crc(found, data) {
        return Err(body(Fault::Checksum));
    }
    let found: SnapshotMeta = postcard::from_bytes(found).map_err(|e| (HEADER_BYTES, Damage::Undecodable(e.to_string())))?;
    if found != *meta {
        return Err(body(Fault::Place));
    }
    Ok(SnapshotFile { meta: found, data: Arc::new(data.to_vec()) })
}

/// The snapshot that the log refers to.
pub(crate) fn load(files: &BTreeMap<String, Vec<u8>>, meta: Option<&SnapshotMeta>) -> Result<Option<SnapshotFile>, Corruption> {
    let Some(meta) = meta else { return Ok(None) };
    let file = snapshot_name(meta.index);
    let Some(bytes) = files.get(&file) else { return Err(Corruption { file, offset: 0, what: Damage::MissingSnapshot }) };
    decode(bytes, meta).map(Some).map_err(|(offset, what)| Corruption { file, offset: offset as u64, what })
}

/// The snapshot files whose index `wanted` picks.
pub(crate) fn indexes(files: &BTreeMap<String, Vec<u8>>, wanted: impl Fn(Index) -> bool) -> impl Iterator<Item = Index> {
    files.keys().filter_map(|file| snapshot_index(file)).filter(move |&index| wanted(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_index_has_one_name() {
        assert_eq!(snapshot_name(26), "snapshot-000000000000001a.snap");
        assert_eq!(snapshot_index("snapshot-000000000000001a.snap"), Some(26));
        for other in ["snapshot-1a.snap", "snapshot-000000000000001A.snap", "snapshot-000000000000001a.snap.tmp", "snapshot", ""] {
            assert_eq!(snapshot_index(other), None, "{other}");
        }
        assert!(is_temporary("snapshot-000000000000001a.snap.tmp"));
        assert!(!is_temporary("snapshot-1a.snap.tmp") && !is_temporary("snapshot-000000000000001a.snap"));
    }

    #[test]
    fn every_flipped_bit_and_every_other_length_is_noticed() {
        let meta = SnapshotMeta { index: 9, term: 3, membership: curp::Membership::initial([1, 2, 3]) };
        for data in [vec![], vec![7; 50]] {
            let file = SnapshotFile { meta: meta.clone(), data: Arc::new(data) };
            let bytes = encode(&file);
            assert_eq!(decode(&bytes, &meta), Ok(file.clone()));
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let expected = if bit / 8 < HEADER_BYTES { 0 } else { HEADER_BYTES };
                assert!(matches!(decode(&flipped, &meta), Err((offset, Damage::Snapshot(_))) if offset == expected), "bit {bit}");
            }
            for len in 0..bytes.len() {
                assert!(matches!(decode(&bytes[..len], &meta), Err((_, Damage::Snapshot(Fault::Short)))), "{len} bytes");
            }
            let longer = [&bytes[..], &[0]].concat();
            assert_eq!(decode(&longer, &meta), Err((HEADER_BYTES, Damage::Snapshot(Fault::Long))));
            for other in [SnapshotMeta { index: 8, ..meta.clone() }, SnapshotMeta { term: 2, ..meta.clone() }] {
                assert!(matches!(decode(&bytes, &other), Err((_, Damage::Snapshot(Fault::Place)))));
            }
        }
    }
}
