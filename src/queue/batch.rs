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
    /// Bytes of its frames: the body of the insert.
    pub bytes: u64,
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
}
