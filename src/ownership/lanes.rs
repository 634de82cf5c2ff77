//! What ownership needs of the queue, so that its rules can be tested against a model of one.

use std::ops::Range;

use super::{LOST_RANGES, LostRange};
use crate::queue::{Lane, Queue, QueueError};
use crate::record::LaneId;

/// The lanes of one data dir; each method is [`Queue`]'s of that name.
#[allow(missing_docs, reason = "described at `Queue`")]
pub trait Lanes {
    fn installation(&self) -> &str;
    fn open_lane(&self, topic: &str, partition: i32, start: i64) -> Result<LaneId, QueueError>;
    fn acknowledge(&self, lane: LaneId, offset: i64) -> Result<(), QueueError>;
    fn end_lane(&self, lane: LaneId) -> Result<(), QueueError>;
    fn hold_lane(&self, lane: LaneId, why: &str) -> Result<(), QueueError>;
    fn settle(&self, lane: LaneId, eligible: i64, drop: Range<i64>) -> Result<bool, QueueError>;
    fn lane(&self, lane: LaneId) -> Option<Lane>;
    fn tails(&self) -> Vec<Lane>;
    fn eligible_next(&self, topic: &str, partition: i32) -> Result<Option<i64>, QueueError>;
    fn sync(&self) -> Result<(), QueueError>;
    fn is_synced(&self) -> bool;
    /// The incarnation (see [`Lane::topic`]) last known of a topic.
    fn incarnation(&self, topic: &str) -> Result<Option<String>, QueueError>;
    /// Keeps it.
    fn keep_incarnation(&self, topic: &str, incarnation: &str) -> Result<(), QueueError>;
    /// Keeps a lost range, durably.
    fn record_lost(&self, lost: LostRange) -> Result<(), QueueError>;
}

impl Lanes for Queue {
    fn installation(&self) -> &str {
        Queue::installation(self)
    }

    fn open_lane(&self, topic: &str, partition: i32, start: i64) -> Result<LaneId, QueueError> {
        Queue::open_lane(self, topic, partition, start)
    }

    fn acknowledge(&self, lane: LaneId, offset: i64) -> Result<(), QueueError> {
        Queue::acknowledge(self, lane, offset)
    }

    fn end_lane(&self, lane: LaneId) -> Result<(), QueueError> {
        Queue::end_lane(self, lane)
    }

    fn hold_lane(&self, lane: LaneId, why: &str) -> Result<(), QueueError> {
        Queue::hold_lane(self, lane, why)
    }

    fn settle(&self, lane: LaneId, eligible: i64, drop: Range<i64>) -> Result<bool, QueueError> {
        Queue::settle(self, lane, eligible, drop)
    }

    fn lane(&self, lane: LaneId) -> Option<Lane> {
        Queue::lane(self, lane)
    }

    fn tails(&self) -> Vec<Lane> {
        Queue::tails(self)
    }

    fn eligible_next(&self, topic: &str, partition: i32) -> Result<Option<i64>, QueueError> {
        Queue::eligible_next(self, topic, partition)
    }

    fn sync(&self) -> Result<(), QueueError> {
        Queue::sync(self)
    }

    fn is_synced(&self) -> bool {
        Queue::is_synced(self)
    }

    fn incarnation(&self, topic: &str) -> Result<Option<String>, QueueError> {
        self.load(&format!("incarnation of {topic}"))
    }

    fn keep_incarnation(&self, topic: &str, incarnation: &str) -> Result<(), QueueError> {
        self.save(&format!("incarnation of {topic}"), &incarnation)
    }

    fn record_lost(&self, lost: LostRange) -> Result<(), QueueError> {
        let mut all: Vec<LostRange> = self.load(LOST_RANGES)?.unwrap_or_default();
        all.push(lost);
        self.save(LOST_RANGES, &all)?;
        Queue::sync(self)
    }
}
