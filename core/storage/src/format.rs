//! Bytes of headers and frames: one function to write and one to read each. The diagram is in the crate's documentation.
//!
//! Invariant: whatever a `parse` here accepts was written by the `write` beside it, for that very place in the log, up to a
//! collision of CRC-32. It does not judge what a hole means; [`mod@crate::recover`] does.

use curp::{Command, Record};

use crate::Fault;

/// A logical offset: a position in the concatenation of all segments, headers included.
pub type Lsn = u64;

/// Sequence number of the first segment.
pub(crate) const FIRST_SEGMENT: u64 = 1;
/// Length of a segment's header in bytes.
pub(crate) const HEADER_BYTES: usize = 40;
/// Length of a frame's header in bytes.
pub(crate) const FRAME_HEADER_BYTES: usize = 32;
/// Frames begin at multiples of this many bytes.
pub(crate) const ALIGN: usize = 8;

/// The lower half of the header's version field.
const VERSION: u32 = 3;
/// In the upper half: the segment's first frame is a checkpoint.
const CHECKPOINT: u32 = 1 << 16;
/// No log grows to here; so sums of places and lengths do not overflow, whatever a file says.
const LSN_MAX: Lsn = 1 << 62;
const SEGMENT_MAGIC: [u8; 8] = *b"CURPWAL\n";
/// No byte of it is 0 or 0xff, which disks are filled with.
const FRAME_MAGIC: [u8; 4] = [0xb7, b'f', b'r', 0x1a];

/// The name of segment number `sequence`.
pub fn segment_name(sequence: u64) -> String {
    format!("wal-{sequence:016x}.log")
}

/// The number in a segment's name; `None` for any other file.
pub(crate) fn segment_sequence(file: &str) -> Option<u64> {
    let digits = file.strip_prefix("wal-")?.strip_suffix(".log")?;
    let sequence = u64::from_str_radix(digits, 16).ok()?;
    // One number has one name: no capitals, no sign, no missing zeros.
    (sequence >= FIRST_SEGMENT && segment_name(sequence) == file).then_some(sequence)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("a slice of 4 bytes"))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("a slice of 8 bytes"))
}

/// CRC-32 of `bytes` without the four at `crc_at`, which hold it.
pub(crate) fn crc_around(bytes: &[u8], crc_at: usize) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..crc_at]);
    hasher.update(&bytes[crc_at + 4..]);
    hasher.finalize()
}

/// What a valid segment header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub sequence: u64,
    pub start: Lsn,
    pub mark: Lsn,
    /// The first frame is a checkpoint: nothing before this segment is needed once that frame is durable.
    pub checkpoint: bool,
}

/// Why a header was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// Torn or damaged.
    Bad(Fault),
    /// Intact, and of another version: never to be cut as torn.
    Version(u32),
}

impl Header {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let base = out.len();
        out.extend_from_slice(&SEGMENT_MAGIC);
        let version = if self.checkpoint { VERSION | CHECKPOINT } else { VERSION };
        out.extend_from_slice(&version.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        for field in [self.sequence, self.start, self.mark] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        let crc = crc_around(&out[base..], 12);
        out[base + 12..base + 16].copy_from_slice(&crc.to_le_bytes());
    }

    /// The header of segment `sequence`, from the beginning of its file.
    pub(crate) fn parse(file: &[u8], sequence: u64) -> Result<Header, HeaderFault> {
        let Some(bytes) = file.get(..HEADER_BYTES) else { return Err(HeaderFault::Bad(Fault::Short)) };
        if bytes[..8] != SEGMENT_MAGIC {
            return Err(HeaderFault::Bad(Fault::Magic));
        }
        if u32_at(bytes, 12) != crc_around(bytes, 12) {
            return Err(HeaderFault::Bad(Fault::Checksum));
        }
        let version = u32_at(bytes, 8);
        if version & !CHECKPOINT != VERSION {
            return Err(HeaderFault::Version(version));
        }
        let checkpoint = version & CHECKPOINT != 0;
        let header = Header { sequence: u64_at(bytes, 16), start: u64_at(bytes, 24), mark: u64_at(bytes, 32), checkpoint };
        if header.sequence != sequence || header.mark > header.start || header.start > LSN_MAX {
            return Err(HeaderFault::Bad(Fault::Place));
        }
        Ok(header)
    }
}

/// A valid frame, its records not yet decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub mark: Lsn,
    pub records: u32,
    pub payload: &'a [u8],
    /// Length with header and padding.
    pub bytes: usize,
}

impl<'a> Frame<'a> {
    /// The frame at the beginning of `bytes`, which lies at `lsn`; `None` if that is not known, and then any place is accepted.
    pub(crate) fn parse(bytes: &'a [u8], lsn: Option<Lsn>) -> Result<Frame<'a>, Fault> {
        let frame = Frame::unchecked(bytes, lsn)?;
        if u32_at(bytes, 28) != crc_around(&bytes[..frame.bytes], 28) {
            return Err(Fault::Checksum);
        }
        Ok(frame)
    }

    /// The same without a look at the checksum.
    pub(crate) fn unchecked(bytes: &'a [u8], lsn: Option<Lsn>) -> Result<Frame<'a>, Fault> {
        let Some(header) = bytes.get(..FRAME_HEADER_BYTES) else { return Err(Fault::Short) };
        if header[..4] != FRAME_MAGIC {
            return Err(Fault::Magic);
        }
        // Before the checksum: a client's value full of magics must not make the search for marks quadratic.
        if lsn.is_some_and(|lsn| lsn != u64_at(header, 8)) || u64_at(header, 16) > u64_at(header, 8) {
            return Err(Fault::Place);
        }
        let length = u32_at(header, 4) as usize;
        let total = FRAME_HEADER_BYTES + length.next_multiple_of(ALIGN);
        let Some(frame) = bytes.get(..total) else { return Err(Fault::Short) };
        let payload = &frame[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + length];
        Ok(Frame { mark: u64_at(header, 16), records: u32_at(header, 24), payload, bytes: total })
    }

    /// Decodes the records, giving each to `f`. The error says which record of the frame did not decode, and why.
    pub(crate) fn decode<C: Command, E: From<String>>(&self, mut f: impl FnMut(Record<C>) -> Result<(), E>) -> Result<(), E> {
        let mut rest = self.payload;
        for i in 0..self.records {
            let (record, after) =
                postcard::take_from_bytes(rest).map_err(|e| format!("record {} of {} in the frame: {e}", i + 1, self.records))?;
            rest = after;
            f(record)?;
        }
        if rest.is_empty() { Ok(()) } else { Err(format!("{} bytes after the frame's {} records", rest.len(), self.records).into()) }
    }
}

/// Appends the frame of one batch, which will lie at `lsn`.
pub(crate) fn write_frame<C: Command>(records: &[Record<C>], lsn: Lsn, mark: Lsn, out: &mut Vec<u8>) {
    let base = out.len();
    out.extend_from_slice(&FRAME_MAGIC);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&lsn.to_le_bytes());
    out.extend_from_slice(&mark.to_le_bytes());
    out.extend_from_slice(&u32::try_from(records.len()).expect("a batch of less than 2^32 records").to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    for record in records {
        // It fails only for types of unknown length (a map or sequence without a size hint), which no command should be.
        *out = postcard::to_extend(record, std::mem::take(out)).expect("a record encodes");
    }
    let length = out.len() - base - FRAME_HEADER_BYTES;
    out.resize(base + FRAME_HEADER_BYTES + length.next_multiple_of(ALIGN), 0);
    out[base + 4..base + 8].copy_from_slice(&u32::try_from(length).expect("a batch of less than 4 GiB").to_le_bytes());
    let crc = crc_around(&out[base..], 28);
    out[base + 28..base + 32].copy_from_slice(&crc.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_has_one_name() {
        assert_eq!(segment_name(26), "wal-000000000000001a.log");
        assert_eq!(segment_sequence("wal-000000000000001a.log"), Some(26));
        for other in [
            "wal-000000000000001A.log",
            "wal-1a.log",
            "wal-+00000000000001a.log",
            "wal-0000000000000000.log",
            "wal-000000000000001a.log.tmp",
            "snap",
            "",
        ] {
            assert_eq!(segment_sequence(other), None, "{other}");
        }
    }

    #[test]
    fn a_header_is_read_back_and_every_flipped_bit_is_noticed() {
        for checkpoint in [false, true] {
            let header = Header { sequence: 7, start: 4096, mark: 4000, checkpoint };
            let mut bytes = Vec::new();
            header.write(&mut bytes);
            assert_eq!(bytes.len(), HEADER_BYTES);
            assert_eq!(Header::parse(&bytes, 7), Ok(header));
            assert_eq!(Header::parse(&bytes, 8), Err(HeaderFault::Bad(Fault::Place)));
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(matches!(Header::parse(&flipped, 7), Err(HeaderFault::Bad(_))), "bit {bit}");
            }
        }
    }

    #[test]
    fn an_intact_header_of_another_version_is_no_torn_write() {
        let mut bytes = Vec::new();
        Header { sequence: 1, start: 0, mark: 0, checkpoint: false }.write(&mut bytes);
        bytes[8] = 2;
        let crc = crc_around(&bytes, 12);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Header::parse(&bytes, 1), Err(HeaderFault::Version(2)), "the format before leases");
    }
}
