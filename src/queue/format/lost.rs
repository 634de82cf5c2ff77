//! Offsets that were not read and will not be: named, never silent.

/// Offsets that Kafka no longer had when we came for them, or that may be lost for another reason.
#[derive(
    Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
pub struct LostRange {
    /// Kafka topic.
    pub topic: String,
    /// Kafka partition.
    pub partition: i32,
    /// First offset lost.
    pub from: i64,
    /// Offset after the last one lost.
    pub to: i64,
    /// When it was noticed, Unix ms.
    pub noticed_ms: u64,
    /// Kafka's log was cut and grew again, and it cannot be told whether these were read before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unsure: bool,
}

/// Name under which the queue keeps the list of [`LostRange`]s.
pub const LOST_RANGES: &str = "lost_ranges";
