//! What is on the disk: keys, and the bytes of a block.
//!
//! Keys are big-endian because sled orders them as bytes; values are little-endian like RowBinary.

use xxhash_rust::xxh3::Xxh3;

use crate::queue::{LaneId, QueueError};
use crate::row::minutes::Minutes;

/// Version of the whole layout, kept under `format` in the `meta` tree. An unknown version is
/// refused, never converted or wiped.
///
/// 2: a block has the minutes of its rows, and there is the tree `counts`. 3: there are fences among the
/// blocks. Nothing reads the first two, which were never released.
pub const FORMAT: u32 = 3;

pub(in crate::queue) const BLOCK_VERSION: u8 = 2;
pub(in crate::queue) const HEADER: usize = 56;
const CHECKSUM_AT: usize = 48;

/// `lane (u32) ++ offset (u64)`: blocks of one lane in offset order, lanes apart from each other.
#[expect(clippy::big_endian_bytes, reason = "sled sorts keys as bytes")]
pub fn key(lane: LaneId, offset: i64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&lane.0.to_be_bytes());
    // Kafka offsets are never negative, so the sign bit cannot break the order.
    key[4..].copy_from_slice(&(offset as u64).to_be_bytes());
    key
}

/// The lane and offset of a [`key`]; `None` if it is not one.
#[expect(clippy::big_endian_bytes, reason = "sled sorts keys as bytes")]
pub fn parse_key(key: &[u8]) -> Option<(LaneId, i64)> {
    let lane = key.get(..4)?.try_into().ok()?;
    let offset = key.get(4..12)?.try_into().ok()?;
    let offset = i64::try_from(u64::from_be_bytes(offset)).ok()?;
    Some((LaneId(u32::from_be_bytes(lane)), offset))
}

/// Key of a batch: its sequence number.
#[expect(clippy::big_endian_bytes, reason = "sled sorts keys as bytes")]
pub fn seq_key(seq: u64) -> [u8; 8] {
    seq.to_be_bytes()
}

/// Key of a lane.
#[expect(clippy::big_endian_bytes, reason = "sled sorts keys as bytes")]
pub fn lane_key(lane: LaneId) -> [u8; 4] {
    lane.0.to_be_bytes()
}

/// A block as stored: a header, its rows by minute, and one zstd frame of RowBinary rows.
///
/// ```text
///  0  u8   version (2)      16  i64  first offset         40  u32  lane
///  1  u24  age, or 0        24  i64  next offset          44  u32  length of the minutes
///  4  u32  rows             32  u64  appended, Unix ms    48  u64  XXH3-64 of all the rest
///  8  u32  length of the rows before compression          56  ...  minutes (Minutes::write)
/// 12  u32  length of the frame                                 ...  zstd frame
/// ```
/// The age is how long Kafka had had its first message when it was appended: whole seconds, rounded up, and one
/// more. 0 is unknown, as in blocks of the first release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    /// Lane that it belongs to.
    pub lane: LaneId,
    /// First offset covered.
    pub first: i64,
    /// Offset after the last one covered.
    pub next: i64,
    /// Rows in it.
    pub rows: u32,
    /// Bytes of the rows before compression.
    pub raw_len: u32,
    /// Bytes of the minutes.
    pub minutes_len: u32,
    /// Bytes of the zstd frame.
    pub frame_len: u32,
    /// When it was appended, in milliseconds of Unix time.
    pub appended_ms: u64,
    /// When Kafka says that its first message came, Unix ms, up to a second too early; `None` if it does not say.
    pub kafka_ms: Option<u64>,
    /// Checksum over the rest of the header, the minutes and the frame.
    pub checksum: u64,
}

/// Writes a block. The lengths and the checksum in `header` are not used.
pub fn write_block(header: &BlockHeader, minutes: &Minutes, frame: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    minutes.write(&mut packed);
    let mut out = Vec::with_capacity(HEADER + packed.len() + frame.len());
    out.push(BLOCK_VERSION);
    out.extend_from_slice(&age(header).to_le_bytes()[..3]);
    out.extend_from_slice(&header.rows.to_le_bytes());
    out.extend_from_slice(&header.raw_len.to_le_bytes());
    out.extend_from_slice(&(frame.len() as u32).to_le_bytes());
    out.extend_from_slice(&header.first.to_le_bytes());
    out.extend_from_slice(&header.next.to_le_bytes());
    out.extend_from_slice(&header.appended_ms.to_le_bytes());
    out.extend_from_slice(&header.lane.0.to_le_bytes());
    out.extend_from_slice(&(packed.len() as u32).to_le_bytes());
    let checksum = checksum(&out, &packed, frame);
    out.extend_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(&packed);
    out.extend_from_slice(frame);
    out
}

/// As it is stored, see [`BlockHeader`]. An age of more than half a year is unknown.
fn age(header: &BlockHeader) -> u32 {
    let age = header
        .kafka_ms
        .map(|ms| header.appended_ms.saturating_sub(ms));
    let stored = age.map_or(0, |ms| ms.div_ceil(1000) + 1);
    u32::try_from(stored)
        .ok()
        .filter(|s| *s < 1 << 24)
        .unwrap_or(0)
}

/// Reads and checks a block stored under `key`. Returns its header and its frame.
///
/// # Errors
/// [`QueueError::Damaged`] naming the block and what is wrong with it.
pub fn read_block<'a>(key: &[u8], value: &'a [u8]) -> Result<(BlockHeader, &'a [u8]), QueueError> {
    let damaged = |what: String| QueueError::Damaged {
        what: match parse_key(key) {
            Some((lane, offset)) => format!("block at offset {offset} of {lane}: {what}"),
            None => format!("block with key {key:02x?}: {what}"),
        },
    };
    if value.len() < HEADER {
        return Err(damaged(format!("{} bytes, too short", value.len())));
    }
    if value[0] != BLOCK_VERSION {
        return Err(damaged(format!(
            "version {}, this program knows {BLOCK_VERSION}",
            value[0]
        )));
    }
    let (head, rest) = value.split_at(HEADER);
    let u32_at = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("4 bytes"));
    let u64_at = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("8 bytes"));
    let header = BlockHeader {
        lane: LaneId(u32_at(40)),
        first: u64_at(16) as i64,
        next: u64_at(24) as i64,
        rows: u32_at(4),
        raw_len: u32_at(8),
        minutes_len: u32_at(44),
        frame_len: u32_at(12),
        appended_ms: u64_at(32),
        kafka_ms: u64::from(u32_at(0) >> 8)
            .checked_sub(1)
            .map(|age| u64_at(32).saturating_sub(age * 1000)),
        checksum: u64_at(CHECKSUM_AT),
    };
    if u64::from(header.minutes_len) + u64::from(header.frame_len) != rest.len() as u64 {
        return Err(damaged(format!(
            "{} bytes behind the header, it says {} + {}",
            rest.len(),
            header.minutes_len,
            header.frame_len
        )));
    }
    let (minutes, frame) = rest.split_at(header.minutes_len as usize);
    let found = checksum(&head[..CHECKSUM_AT], minutes, frame);
    if found != header.checksum {
        return Err(damaged(format!(
            "checksum {found:016x}, the header says {:016x}",
            header.checksum
        )));
    }
    if parse_key(key) != Some((header.lane, header.first)) {
        return Err(damaged(format!(
            "holds offset {} of {}",
            header.first, header.lane
        )));
    }
    Ok((header, frame))
}

/// The rows by minute of a block that [`read_block`] found whole.
///
/// # Errors
/// [`QueueError::Damaged`] if they are none, which the checksum excludes.
pub fn read_minutes(header: &BlockHeader, value: &[u8]) -> Result<Minutes, QueueError> {
    let minutes = value.get(HEADER..HEADER + header.minutes_len as usize);
    let minutes = minutes.and_then(Minutes::read);
    minutes.ok_or_else(|| QueueError::Damaged {
        what: format!(
            "block at offset {} of {}: its rows by minute cannot be read",
            header.first, header.lane
        ),
    })
}

fn checksum(head: &[u8], minutes: &[u8], frame: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(head);
    hash.update(minutes);
    hash.update(frame);
    hash.digest()
}

/// Whether it is a block that was found, or an error. A block's key has 12 bytes.
pub(in crate::queue) fn is_no_fence(found: &sled::Result<(sled::IVec, sled::IVec)>) -> bool {
    !matches!(found, Ok((key, value)) if key.len() == 13 && value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes() -> Minutes {
        [9, 70, 70, 70].into_iter().collect()
    }

    fn block() -> ([u8; 12], Vec<u8>, BlockHeader) {
        let mut header = BlockHeader {
            lane: LaneId(3),
            first: 10,
            next: 15,
            rows: 4,
            raw_len: 99,
            minutes_len: 4,
            frame_len: 5,
            appended_ms: 1_700_000_000_000,
            kafka_ms: Some(1_699_999_999_000),
            checksum: 0,
        };
        let value = write_block(&header, &minutes(), b"frame");
        header.checksum = u64::from_le_bytes(value[48..56].try_into().unwrap());
        (key(LaneId(3), 10), value, header)
    }

    #[test]
    fn a_block_reads_as_it_was_written() {
        let (key, value, header) = block();
        assert_eq!(read_block(&key, &value).unwrap(), (header, &b"frame"[..]));
        assert_eq!(read_minutes(&header, &value).unwrap(), minutes());
    }

    #[test]
    fn a_flipped_bit_anywhere_is_found() {
        let (key, value, _) = block();
        for bit in 0..value.len() * 8 {
            let mut bad = value.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(read_block(&key, &bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_block_cut_anywhere_is_found() {
        let (key, value, _) = block();
        for len in 0..value.len() {
            assert!(read_block(&key, &value[..len]).is_err(), "length {len}");
        }
    }

    #[test]
    fn a_block_under_another_key_is_found() {
        let (_, value, _) = block();
        assert!(read_block(&key(LaneId(3), 11), &value).is_err());
    }

    #[test]
    fn keys_sort_by_lane_then_offset() {
        assert!(key(LaneId(1), i64::MAX) < key(LaneId(2), 0));
        assert!(key(LaneId(1), 255) < key(LaneId(1), 256));
        assert_eq!(parse_key(&key(LaneId(9), 77)), Some((LaneId(9), 77)));
    }
}
