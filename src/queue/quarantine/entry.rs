//! One message in quarantine, and how it lies on the disk.

use serde::{Deserialize, Serialize};

use crate::privacy::Quarantined;
use crate::privacy::message::Masked;
use crate::queue::format::block;
use crate::queue::{Lane, LaneId, json};

/// A place in the quarantine: lane and offset. Pages go on after one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position(pub(super) u32, pub(super) i64);

/// Which entries are meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Which {
    /// Partition and offset; all, if absent. Several lanes may have read the same offset.
    pub only: Option<(i32, i64)>,
    /// Where the last page ended.
    pub after: Option<Position>,
}

/// A message in quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineEntry {
    /// Lane that read it.
    pub lane: LaneId,
    /// Kafka topic, as in [`Lane::topic`].
    pub topic: String,
    /// Kafka partition.
    pub partition: i32,
    /// When it was read, Unix ms.
    pub read_ms: u64,
    /// Whether Kafka acknowledged the commit that covers it. If not, another instance may have read
    /// it too, and it is not ours to send.
    pub eligible: bool,
    /// What was kept.
    #[serde(flatten)]
    pub message: Quarantined,
}

impl QuarantineEntry {
    /// The topic's name, without its id.
    pub fn topic_name(&self) -> &str {
        self.topic.split('@').next().unwrap_or_default()
    }

    /// Its place, for people.
    pub fn place(&self) -> String {
        let (topic, offset) = (self.topic_name(), self.message.offset);
        format!("{topic} p{} offset {offset}", self.partition)
    }

    /// Its place among all entries.
    pub fn position(&self) -> Position {
        Position(self.lane.0, self.message.offset)
    }
}

/// On the disk; lane and offset are in the key as well.
#[derive(Serialize, Deserialize)]
struct Stored {
    topic: String,
    partition: i32,
    read_ms: u64,
    #[serde(flatten)]
    message: Quarantined,
}

pub(in crate::queue) fn write_entry(lane: &Lane, read_ms: u64, message: &Quarantined) -> Vec<u8> {
    let mut value = json(&Stored {
        topic: lane.topic.clone(),
        partition: lane.partition,
        read_ms,
        message: message.clone(),
    });
    if let Some(kept) = &message.kept {
        value.push(b'\n');
        value.extend_from_slice(kept.as_bytes());
    }
    value
}

/// Whether an entry is what was written.
pub(in crate::queue) fn is_whole(key: &[u8], value: &[u8]) -> bool {
    read_entry(key, value).is_some()
}

pub(super) fn read_entry(key: &[u8], value: &[u8]) -> Option<QuarantineEntry> {
    let (lane, offset) = block::parse_key(key)?;
    let end = value.iter().position(|b| *b == b'\n');
    let (facts, kept) = match end {
        Some(end) => (&value[..end], Some(Masked::from_queue(&value[end + 1..]))),
        None => (value, None),
    };
    let stored: Stored = serde_json::from_slice(facts).ok()?;
    let whole = kept
        .as_ref()
        .is_none_or(|k| k.as_bytes().len() as u64 == stored.message.len);
    (stored.message.offset == offset && whole).then_some(QuarantineEntry {
        lane,
        topic: stored.topic,
        partition: stored.partition,
        read_ms: stored.read_ms,
        eligible: false,
        message: Quarantined {
            kept,
            ..stored.message
        },
    })
}
