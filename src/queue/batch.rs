//! A batch's durable record.

use serde::{Deserialize, Serialize};

use crate::record::LaneId;

/// Consecutive blocks of one lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The lane.
    pub lane: LaneId,
    /// Blocks start at or above this offset ...
    pub from: i64,
    /// ... and below this one.
    pub to: i64,
    /// Number of blocks.
    pub blocks: u32,
    /// Rows in them.
    pub rows: u64,
    /// Bytes of their frames.
    pub bytes: u64,
}

/// In which of ClickHouse's formats packed rows are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PackedFormat {
    /// Row after row, as they are stored.
    #[default]
    RowBinary,
    /// Column after column, which compresses better.
    Native,
}

impl PackedFormat {
    /// As ClickHouse names it.
    pub fn name(self) -> &'static str {
        match self {
            PackedFormat::RowBinary => "RowBinary",
            PackedFormat::Native => "Native",
        }
    }
}

/// How the rows of a batch are sent when its frames as they are stored would not fit the body: in
/// another order, compressed anew as one frame. The token, not the bytes, is what ClickHouse knows a
/// resend by, so the body may be made again from the blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packed {
    /// zstd level.
    pub level: i32,
    /// Format of the rows.
    #[serde(default)]
    pub format: PackedFormat,
    /// Bytes of the body when it was made for the first time.
    pub bytes: u64,
}

/// Where a batch stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchState {
    /// Fixed; to be inserted, again if need be.
    Sealed,
    /// ClickHouse answered that it is stored; its blocks are being removed.
    Acked,
    /// ClickHouse refused it for its data; kept for a person, with the server's words.
    Rejected {
        /// ClickHouse's code.
        code: u32,
        /// Its text.
        words: String,
    },
    /// ClickHouse has it, and its blocks are kept for a while (`keep_delivered`).
    Delivered {
        /// When ClickHouse said so, Unix ms.
        at_ms: u64,
    },
}

/// A set of blocks that go to ClickHouse as one insert under one token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Its number, never used again.
    pub seq: u64,
    /// Deduplication token: installation id, sequence, digest of the rows.
    pub token: String,
    /// When it was sealed, Unix ms.
    pub sealed_ms: u64,
    /// When its oldest block was appended, Unix ms.
    pub oldest_ms: u64,
    /// Its blocks.
    pub ranges: Vec<Range>,
    /// Rows in it.
    pub rows: u64,
    /// Bytes of its frames: the body of the insert, unless it is packed.
    pub bytes: u64,
    /// How its body is made, if not of the frames as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packed: Option<Packed>,
    /// Settings sent with every attempt, fixed at sealing: a resend cut into other blocks would be
    /// neither dropped nor doubled but mixed.
    pub settings: Vec<(String, String)>,
    /// Attempts begun.
    pub attempts: u32,
    /// When the last attempt that may have stored it began, Unix ms; 0 if there was none.
    #[serde(default)]
    pub ambiguous_ms: u64,
    /// An attempt may have stored it. Set, and synced, before an attempt's first byte; taken back
    /// only where the answer proves that nothing was stored. While it is set the batch is never
    /// regrouped.
    pub may_be_stored: bool,
    /// See [`BatchState`].
    pub state: BatchState,
    /// A person asked for another attempt: a second rejection concerns this batch alone.
    #[serde(default)]
    pub retried: bool,
    /// Its rows are counted as stored. Stays when it is sent once more.
    #[serde(default)]
    pub counted: bool,
    /// `repair` took blocks out that were lost. The token stays, so that ClickHouse knows the rows
    /// if it has them; its digest is that of the whole.
    #[serde(default)]
    pub cut: bool,
}

impl Batch {
    /// Whether the block belongs to it.
    pub fn covers(&self, block: &super::BlockHeader) -> bool {
        self.ranges
            .iter()
            .any(|r| r.lane == block.lane && (r.from..r.to).contains(&block.first))
    }

    /// Whether ClickHouse is known to have it.
    pub fn is_delivered(&self) -> bool {
        matches!(self.state, BatchState::Acked | BatchState::Delivered { .. })
    }
}
