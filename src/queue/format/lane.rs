//! A lane's durable record, and what may be done with its rows.

use serde::{Deserialize, Serialize};

use crate::queue::Trail;

/// One unbroken ownership of one Kafka partition by this instance: its *ownership epoch*.
///
/// Rows are stored, made eligible, sealed and dropped a lane at a time, so a partition that comes
/// back after a rebalance never mixes with what was read before it went.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct LaneId(pub u32);

impl std::fmt::Display for LaneId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "lane {}", self.0)
    }
}

/// Where a lane stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LaneState {
    /// This process holds the partition without a break since the lane was opened.
    Open,
    /// The partition went away, or the process that held it ended. Rows from `eligible` on (the
    /// tail) wait to be resolved against the committed offset.
    Ended,
    /// The tail cannot be resolved without a person; the text says why.
    Held(String),
}

/// One unbroken ownership of a partition, as offsets that only grow:
///
/// ```text
///      released      sealed          eligible        next
/// ---------|------------|----------------|-------------|
///  gone     in a batch   may be sealed    the tail:
///  (acked)               (commit acked)   appended, commit not known to be acked
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Lane {
    /// Its number, never used again.
    pub id: LaneId,
    /// Kafka topic, with `@` and its id where the brokers told it, and `#` and a number where the
    /// partition's log was cut: one incarnation of the log.
    pub topic: String,
    /// Kafka partition.
    pub partition: i32,
    /// Rows below are in a sealed batch, or delivered.
    pub sealed: i64,
    /// Rows below are covered by a commit that Kafka acknowledged.
    pub eligible: i64,
    /// Where reading goes on: everything below is appended.
    pub next: i64,
    /// Rows below are in the counts.
    pub counted: i64,
    /// Rows stored (sealed ones included).
    pub rows: u64,
    /// Bytes stored: frames, without sled's overhead.
    pub bytes: u64,
    /// See [`LaneState`].
    pub state: LaneState,
    /// The records below `next`, also those of earlier lanes. Queues of before it was kept have none.
    #[serde(default, skip_serializing_if = "Trail::is_empty")]
    #[schemars(with = "serde_json::Value")]
    pub trail: Trail,
}

/// A topic's name, without the id behind it.
pub(in crate::queue) fn topic_name(topic: &str) -> &str {
    // No topic name contains them (Kafka allows letters, digits, `.`, `_`, `-`).
    topic.split(['@', '#']).next().unwrap_or_default()
}

impl Lane {
    /// The topic of lanes that hold retried messages: no name that Kafka takes.
    pub const RETRIED: &'static str = "(quarantine)";

    /// A lane that starts reading at `start`.
    pub fn new(id: LaneId, topic: &str, partition: i32, start: i64) -> Lane {
        Lane {
            id,
            topic: topic.to_owned(),
            partition,
            sealed: start,
            eligible: start,
            next: start,
            counted: start,
            rows: 0,
            bytes: 0,
            state: LaneState::Open,
            trail: Trail::default(),
        }
    }

    /// The topic's name, without its id.
    pub fn topic_name(&self) -> &str {
        topic_name(&self.topic)
    }

    /// A lane of `rows` rows that came out of quarantine. Its offsets are only the rows' numbers; all
    /// are eligible, since those of their messages were.
    pub fn of_retried(id: LaneId, rows: u32, bytes: u64) -> Lane {
        Lane {
            eligible: rows.into(),
            next: rows.into(),
            rows: rows.into(),
            bytes,
            state: LaneState::Ended,
            ..Lane::new(id, Lane::RETRIED, -1, 0)
        }
    }

    /// A lane whose record is gone: which partition it was cannot be told, so its rows are held.
    pub fn unknown(id: LaneId, start: i64) -> Lane {
        let why =
            "repair: the record that tells topic and partition is lost; `export` has the rows";
        Lane {
            state: LaneState::Held(why.to_owned()),
            ..Lane::new(id, "?", -1, start)
        }
    }

    /// Whether its tail waits for a person.
    pub fn is_held(&self) -> bool {
        matches!(self.state, LaneState::Held(_))
    }

    /// Whether rows wait for their commit to be acknowledged or resolved.
    pub fn has_tail(&self) -> bool {
        self.next > self.eligible
    }

    /// Whether nothing is left to do with it.
    pub fn is_spent(&self) -> bool {
        self.state != LaneState::Open && !self.has_tail() && self.rows == 0 && self.bytes == 0
    }
}
