//! A batch's durable record.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::clickhouse::Server;
use crate::queue::format::block::BlockHeader;
use crate::queue::format::lane::LaneId;

/// Consecutive blocks of one lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
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
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BatchState {
    /// Fixed; to be inserted, again if need be.
    Sealed,
    /// ClickHouse answered that it is stored, or a person dropped it; its blocks are being removed.
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

/// A table when a batch was first sent into it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// ClickHouse's UUID of it.
    pub uuid: String,
    /// How many blocks all writers had written, at least; `None` if unknown.
    pub blocks: Option<u64>,
    /// How often blocks were missing there by then that an earlier look had seen.
    #[serde(default)]
    pub drops: u64,
}

/// What is known of the attempts that may have stored a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Doubt {
    /// The servers that they were made to.
    pub servers: BTreeSet<Server>,
    /// The tables and views, before the first of them.
    pub tables: BTreeMap<String, Mark>,
    /// Attempts that may have been too much for their way, since the last division.
    pub unanswered: u32,
    /// When the server was started, by its own clock; 0 if unknown, or if attempts were made to several.
    pub started: u64,
    /// It was sent again under its token, though all its rows seemed to be there.
    pub resent: bool,
    /// A person looked since the last attempt: the next one may be made.
    pub vouched: bool,
    /// A person saw that ClickHouse has it.
    pub there: bool,
}

/// Whether two moments at which a server was started are one: its clock is read in whole seconds, and set
/// right in small steps. Unknown ones are not.
pub fn is_same_start(a: u64, b: u64) -> bool {
    a > 0 && b > 0 && a.abs_diff(b) <= 5
}

/// A set of blocks that go to ClickHouse as one insert under one token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
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
    /// Its rows are sent behind names and types of the columns, by which ClickHouse refuses them where the
    /// table has others. Not so in batches that an older program sealed, and in Native, which has them.
    #[serde(default)]
    pub has_header: bool,
    /// Settings sent with every attempt, fixed at sealing: a resend cut into other blocks would be
    /// neither dropped nor doubled but mixed.
    pub settings: Vec<(String, String)>,
    /// Attempts begun.
    pub attempts: u32,
    /// When the first attempt that may have stored it began, Unix ms; 0 if there was none.
    #[serde(default)]
    pub ambiguous_ms: u64,
    /// An attempt may have stored it. Set, and synced, before an attempt's first byte; taken back
    /// only where the answer proves that nothing was stored. While it is set the batch is never
    /// regrouped.
    pub may_be_stored: bool,
    /// What those attempts met, while it may be stored.
    #[serde(default)]
    #[schemars(with = "serde_json::Value")]
    pub doubt: Doubt,
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
    /// Marks it before an attempt's first byte: it may be stored from now on. Where and when is kept of
    /// the first such attempt, since the token dates from that.
    pub fn begin_attempt(
        &mut self,
        now_ms: u64,
        server: Server,
        started: u64,
        tables: BTreeMap<String, Mark>,
    ) {
        self.attempts += 1;
        if !self.may_be_stored || self.doubt.tables.is_empty() {
            self.ambiguous_ms = now_ms;
            self.doubt.servers.clear();
            self.doubt.tables = tables;
            self.doubt.started = started;
        } else {
            self.doubt.resent = true;
            if !is_same_start(self.doubt.started, started) {
                self.doubt.started = 0;
            }
        }
        self.doubt.servers.insert(server);
        self.doubt.vouched = false;
        self.may_be_stored = true;
    }

    /// Whether the block belongs to it.
    pub fn covers(&self, block: &BlockHeader) -> bool {
        self.ranges
            .iter()
            .any(|r| r.lane == block.lane && (r.from..r.to).contains(&block.first))
    }

    /// Whether the body begins with names and types of the columns.
    pub fn sends_header(&self) -> bool {
        let format = self.packed.map(|p| p.format).unwrap_or_default();
        self.has_header && format == PackedFormat::RowBinary
    }

    /// The format of its body, as ClickHouse names it.
    pub fn format(&self) -> &'static str {
        match self.packed.map(|p| p.format).unwrap_or_default() {
            PackedFormat::RowBinary if self.has_header => "RowBinaryWithNamesAndTypes",
            format => format.name(),
        }
    }

    /// Whether a person may have to decide: it may be stored, or was refused.
    pub fn is_in_doubt(&self) -> bool {
        match self.state {
            BatchState::Sealed => self.may_be_stored,
            BatchState::Rejected { .. } => true,
            BatchState::Acked | BatchState::Delivered { .. } => false,
        }
    }

    /// Whether ClickHouse is known to have it.
    pub fn is_delivered(&self) -> bool {
        matches!(self.state, BatchState::Acked | BatchState::Delivered { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What ClickHouse has of it under its token was sent without a header; it is one still.
    #[test]
    fn a_batch_that_an_older_program_sealed_goes_on_without_a_header() {
        let sealed = r#"{"seq":1,"token":"t","sealed_ms":0,"oldest_ms":0,"ranges":[],"rows":1,"bytes":9,
            "settings":[],"attempts":1,"may_be_stored":true,"state":"sealed"}"#;
        let mut batch: Batch = serde_json::from_str(sealed).unwrap();
        assert!(!batch.sends_header());
        assert_eq!(batch.format(), "RowBinary");
        batch.has_header = true;
        assert!(batch.sends_header());
        assert_eq!(batch.format(), "RowBinaryWithNamesAndTypes");
        batch.packed = Some(Packed {
            level: 3,
            format: PackedFormat::Native,
            bytes: 9,
        });
        assert!(!batch.sends_header(), "a block of Native names them itself");
        assert_eq!(batch.format(), "Native");
    }
}
