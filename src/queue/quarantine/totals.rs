//! How much the quarantine holds.

use serde::{Deserialize, Serialize};

/// Name in the `meta` tree.
pub(in crate::queue) const TOTALS: &[u8] = b"quarantine";

/// What the quarantine holds, kept beside it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
pub struct QuarantineTotals {
    /// Entries.
    pub entries: u64,
    /// Their bytes, without sled's overhead.
    pub bytes: u64,
    /// Entries that were dropped for room. Each is a loss.
    pub dropped: u64,
    /// When the last of them was, Unix ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped_ms: Option<u64>,
}

impl QuarantineTotals {
    pub(in crate::queue) fn add(&mut self, value: &[u8]) {
        self.entries += 1;
        self.bytes += value.len() as u64;
    }

    pub(in crate::queue) fn remove(&mut self, value: &[u8]) {
        self.entries = self.entries.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(value.len() as u64);
    }
}
