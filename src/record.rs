//! The nouns that the stages pass to each other.

use crate::minutes::Minutes;
use crate::quarantine::Masked;

/// One HTTP request as the edge server logged it, borrowed from the Kafka message.
///
/// `remote_addr` is the plaintext client address: this type has no `Debug` on purpose, and only
/// [`crate::anonymize`] turns it into something that may be stored.
pub struct Record<'a> {
    /// Milliseconds since 1970-01-01 UTC.
    pub timestamp_ms: u64,
    /// Resource (customer site) that the request was for.
    pub resource_id: u64,
    /// Response size in bytes.
    pub bytes_sent: u64,
    /// Time the request took, in milliseconds.
    pub request_time_ms: u64,
    /// HTTP status.
    pub response_status: u16,
    /// `HIT`, `MISS` and the like; any bytes.
    pub cache_status: &'a [u8],
    /// HTTP method; any bytes.
    pub method: &'a [u8],
    /// The client's address, unmasked.
    pub remote_addr: &'a [u8],
    /// The URL; any bytes.
    pub url: &'a [u8],
}

/// One unbroken ownership of one Kafka partition by this instance: its *ownership epoch*.
///
/// Rows are stored, made eligible, sealed and dropped a lane at a time, so a partition that comes
/// back after a rebalance never mixes with what was read before it went.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct LaneId(pub u32);

impl std::fmt::Display for LaneId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "lane {}", self.0)
    }
}

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
    /// The rows as RowBinary, see [`crate::encode`].
    pub bytes: Vec<u8>,
    /// The rows by minute, not yet [merged](Minutes::merge).
    pub minutes: Minutes,
    /// Messages of this span that could not become rows.
    pub quarantined: Vec<Quarantined>,
}

/// A message that could not become a row. It keeps no byte of the message but [`Masked`] ones: what
/// cannot be shown clean of addresses must not reach the disk. Made by [`Quarantined::of`].
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Quarantined {
    /// Kafka offset of the message.
    pub offset: i64,
    /// Why it could not become a row; never contains bytes of the message.
    pub reason: String,
    /// Message length in bytes.
    pub len: u64,
    /// XXH3-128 of the message as it was, in hex, to recognise it in Kafka while retention lasts.
    pub hash: String,
    /// Its bytes, masked. Kept beside the other facts, not in their JSON.
    #[serde(skip)]
    pub kept: Option<Masked>,
    /// Why they are not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_kept: Option<String>,
}
