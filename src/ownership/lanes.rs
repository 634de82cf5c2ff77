//! What ownership needs of the queue, so that its rules can be tested against a model of one.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::queue::{LOST_RANGES, Lane, LaneId, LostRange, Queue, QueueError, Runs, Trail};

/// How often a partition's log was cut below our next offset, and where reading went on the last time.
/// Offsets of before are those of another log: they say nothing of this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// How often.
    pub number: u32,
    /// Where reading went on.
    pub at: i64,
}

/// The lanes of one data dir; each method is [`Queue`]'s of that name.
#[allow(missing_docs, reason = "described at `Queue`")]
pub trait Lanes {
    fn installation(&self) -> &str;
    fn open_lane_behind(
        &self,
        topic: &str,
        partition: i32,
        start: i64,
        trail: Trail,
    ) -> Result<LaneId, QueueError>;
    fn acknowledge(&self, lane: LaneId, offset: i64) -> Result<(), QueueError>;
    fn end_lane(&self, lane: LaneId) -> Result<(), QueueError>;
    fn hold_lane(&self, lane: LaneId, why: &str) -> Result<(), QueueError>;
    fn settle(&self, lane: LaneId, eligible: i64, drop: Range<i64>) -> Result<bool, QueueError>;
    fn lane(&self, lane: LaneId) -> Option<Lane>;
    fn tails(&self) -> Vec<Lane>;
    fn eligible_next(&self, topic: &str, partition: i32) -> Result<Option<i64>, QueueError>;
    fn trail(&self, topic: &str, partition: i32) -> Result<Trail, QueueError>;
    fn sync(&self) -> Result<(), QueueError>;
    fn is_synced(&self) -> bool;
    /// The incarnation (see [`Lane::topic`]) last known of a topic.
    fn incarnation(&self, topic: &str) -> Result<Option<String>, QueueError>;
    /// Keeps it.
    fn keep_incarnation(&self, topic: &str, incarnation: &str) -> Result<(), QueueError>;
    /// How often the log of a partition was cut, of one incarnation of the topic.
    fn cut(&self, incarnation: &str, partition: i32) -> Result<Option<Cut>, QueueError>;
    /// Keeps it.
    fn keep_cut(&self, incarnation: &str, partition: i32, cut: Cut) -> Result<(), QueueError>;
    /// Keeps a lost range, durably.
    fn record_lost(&self, lost: LostRange) -> Result<(), QueueError>;
    fn runs(&self) -> Result<Runs, QueueError>;
    fn keep_runs(&self, runs: &Runs) -> Result<(), QueueError>;
    fn next_batch(&self) -> u64;
    /// Up to where a log was ever read or taken over here.
    fn reached(&self, topic: &str, partition: i32) -> Result<Option<i64>, QueueError>;
    /// Keeps that a commit of ours may cover a log up to there.
    fn keep_reached(&self, topic: &str, partition: i32, offset: i64) -> Result<(), QueueError>;
    /// Keeps that the installation id has another owner, and is the error that says so.
    fn second_owner(&self, words: String) -> QueueError;
}

impl Lanes for Queue {
    fn installation(&self) -> &str {
        Queue::installation(self)
    }

    fn open_lane_behind(
        &self,
        topic: &str,
        partition: i32,
        start: i64,
        trail: Trail,
    ) -> Result<LaneId, QueueError> {
        Queue::open_lane_behind(self, topic, partition, start, trail)
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

    fn trail(&self, topic: &str, partition: i32) -> Result<Trail, QueueError> {
        Queue::trail(self, topic, partition)
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

    fn cut(&self, incarnation: &str, partition: i32) -> Result<Option<Cut>, QueueError> {
        self.load(&format!("cuts of {incarnation} {partition}"))
    }

    fn keep_cut(&self, incarnation: &str, partition: i32, cut: Cut) -> Result<(), QueueError> {
        self.save(&format!("cuts of {incarnation} {partition}"), &cut)
    }

    fn record_lost(&self, lost: LostRange) -> Result<(), QueueError> {
        let mut all: Vec<LostRange> = self.load(LOST_RANGES)?.unwrap_or_default();
        all.push(lost);
        self.save(LOST_RANGES, &all)?;
        Queue::sync(self)
    }

    fn runs(&self) -> Result<Runs, QueueError> {
        Queue::runs(self)
    }

    fn keep_runs(&self, runs: &Runs) -> Result<(), QueueError> {
        Queue::keep_runs(self, runs)
    }

    fn next_batch(&self) -> u64 {
        Queue::next_batch(self)
    }

    fn reached(&self, topic: &str, partition: i32) -> Result<Option<i64>, QueueError> {
        let kept: Option<i64> = self.load(&format!("reached of {topic} {partition}"))?;
        Ok(kept.max(Queue::reached(self, topic, partition)?))
    }

    fn keep_reached(&self, topic: &str, partition: i32, offset: i64) -> Result<(), QueueError> {
        self.save(&format!("reached of {topic} {partition}"), &offset)
    }

    fn second_owner(&self, words: String) -> QueueError {
        match self.keep_second_owner(&words) {
            Ok(()) => QueueError::SecondOwner {
                path: self.dir().path().to_owned(),
                words,
            },
            Err(e) => e,
        }
    }
}
