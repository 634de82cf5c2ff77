//! Rows on their way to the queue: a block of one lane, as it was encoded, or compressed already.

use crate::privacy::Quarantined;
use crate::record::Mark;
use crate::row::minutes::Minutes;

/// Rows of a block before compression. zstd-1 makes about a quarter of it, 16 to 32 KiB: sled
/// keeps larger values badly, and smaller ones compress badly.
pub const BLOCK_BYTES: usize = 128 << 10;

/// zstd level of stored blocks: level 1 costs half the CPU of level 3 for 1 % more bytes.
pub const ZSTD_LEVEL: i32 = 1;

/// Consecutive rows of one lane, encoded but not yet compressed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct RowBlock {
    /// Kafka offset of the first message it covers.
    pub first: i64,
    /// Kafka offset after the last message it covers.
    pub next: i64,
    /// Number of rows in `bytes`; less than `next - first` where offsets have gaps or messages
    /// were quarantined.
    pub rows: u32,
    /// The rows as RowBinary, see [`crate::row::encode`]; none if `packed` has them.
    pub bytes: Vec<u8>,
    /// The rows compressed already, where they are many bytes.
    pub packed: Option<PackedRows>,
    /// The rows by minute, not yet [merged](Minutes::merge).
    pub minutes: Minutes,
    /// Messages of this span that could not become rows.
    pub quarantined: Vec<Quarantined>,
    /// When Kafka says that the first message came, Unix ms; not above 0 if it does not say.
    pub kafka_ms: i64,
    /// The last message, if it is to be known again. All messages are of its leader epoch.
    pub last: Option<Mark>,
}

/// Rows as one zstd frame.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct PackedRows {
    /// Bytes of the rows before compression.
    pub raw_len: u32,
    /// The frame.
    pub frame: Vec<u8>,
}
