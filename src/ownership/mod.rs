//! Who may send a row: the fence that keeps several instances, restarts and zombies from losing a
//! row or sending it twice.
//!
//! # The argument
//! A row is *eligible* for ClickHouse once Kafka acknowledged a commit that covers it, made while
//! this instance held the partition without a break since it read the row (one lane, see
//! [`crate::queue::LaneId`]).
//!
//! 1. Commits of a partition are serialised by the coordinator, and each starts where the one
//!    before it ended: reading starts at the committed offset. So each offset is covered first by
//!    exactly one applied commit, that of one lane of one instance.
//! 2. Only that instance makes the row eligible: either it saw the acknowledgement, or, where the
//!    answer was lost, the commit's note tells it later (`resolve.rs`). Every other instance that
//!    read the row has it in a tail, whose commit was refused or never sent, and drops it.
//! 3. It is not lost: until its commit is applied Kafka's offset stays below it and it is read
//!    again; from then on its instance has it on disk, since append and sync come before commit.
//! 4. A stale member cannot break (1): the broker refuses a commit of an old generation. A commit
//!    is made by one thread, which also handles assignment and revocation, so none is left queued
//!    across a rebalance; it is not sent while not a member, and an acknowledgement counts only
//!    if the membership was the same before and after (an empty group accepts anything).
//!
//! It is an instance that is its installation id, so two data dirs with one id would each take the other's
//! commits for its own, and send what both have under tokens of their own. `fence.rs` finds them.

mod fence;
mod guard;
mod holder;
mod incarnation;
mod lanes;
#[cfg(test)]
mod model;
mod note;
mod parting;
mod resolve;
mod tails;
mod take;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::BTreeMap;

pub use guard::{Looked, Stamped};
pub use lanes::{Cut, Lanes};
pub use note::Note;
pub use resolve::{Committed, Facts, Resolution, resolve};

use crate::queue::{LaneId, QueueError};
use crate::record::Mark;
use watch::Watch;

/// A partition that is held.
struct Held {
    lane: LaneId,
    note: Note,
    /// The group has an offset of it.
    known: bool,
}

/// The partitions held now, and the lanes behind them. Lives in the store thread.
pub struct Ownership<'a, L, G> {
    queue: &'a L,
    group: &'a G,
    topic: String,
    /// The topic with its id, see [`crate::queue::Lane::topic`].
    incarnation: String,
    start_at: StartAt,
    /// The topic was found to be another one, and the client does not know it yet.
    recreated: bool,
    held: BTreeMap<i32, Held>,
    watch: Watch,
    /// The topic's id was asked for.
    identified: bool,
    /// What the next commit tells of batches, and what the last one told.
    sealed: u64,
    told: Option<u64>,
    /// The number of this run's first batch: all before it were sealed by earlier ones.
    first_batch: u64,
}

/// One partition's offset to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommit {
    /// Kafka partition.
    pub partition: i32,
    /// Next offset to read.
    pub offset: i64,
    /// Leader epoch of the last record below it, if it is known.
    pub epoch: Option<i32>,
    /// Commit metadata, see [`Note`].
    pub metadata: String,
}

/// Why a commit does not count as acknowledged. Nothing is lost: its rows stay a tail.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Not a member of the group now, so nothing was sent.
    #[error("not a member of the group")]
    NotMember,
    /// Refused, unanswered, or answered while the membership changed.
    #[error("{0}")]
    Unanswered(String),
}

/// What came of [`Ownership::commit`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a commit that does not count has to be made again"]
pub enum CommitOutcome {
    /// Acknowledged, for so many partitions: their rows are eligible.
    Acknowledged(usize),
    /// It does not count: the rows stay a tail, and the next call covers them again.
    Unacknowledged(CommitError),
}

/// An error of the coordinator or a broker, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct GroupError(pub String);

/// What is asked of Kafka. Calls block; each is made by one thread only.
pub trait Group {
    /// Commits and waits for the answer.
    ///
    /// # Errors
    /// [`CommitError`] unless every offset was acknowledged to this very membership.
    fn commit(&self, offsets: &[OffsetCommit]) -> Result<(), CommitError>;

    /// The last commits of some partitions of the topic; a partition without one is left out.
    ///
    /// # Errors
    /// [`GroupError`] if the coordinator cannot be asked now.
    fn committed(&self, partitions: &[i32]) -> Result<BTreeMap<i32, Committed>, GroupError>;

    /// The last commits of all partitions of the topic, asked for a few seconds at most, by a member of the
    /// group or not.
    ///
    /// # Errors
    /// [`GroupError`] if the coordinator cannot be asked now.
    fn notes(&self) -> Result<BTreeMap<i32, Committed>, GroupError> {
        self.committed(&[0])
    }

    /// It is known that no broker can be asked now.
    fn is_away(&self) -> bool {
        false
    }

    /// Kafka's id of the topic; `None` if the brokers are too old to have one.
    ///
    /// # Errors
    /// [`GroupError`] if no broker can be asked now, or there is no such topic.
    fn topic_id(&self) -> Result<Option<String>, GroupError>;

    /// Lowest offset that a partition still holds, and the one after its last.
    ///
    /// # Errors
    /// [`GroupError`] if the leader cannot be asked now.
    fn watermarks(&self, partition: i32) -> Result<(i64, i64), GroupError>;

    /// The first record of a partition at or behind an offset; `None` at its end. Control records and
    /// those of compaction are left out.
    ///
    /// # Errors
    /// [`GroupError`] if the leader cannot be asked now.
    fn first_from(&self, partition: i32, offset: i64) -> Result<Option<Mark>, GroupError>;

    /// [`Group::topic_id`], asked by a client that knows nothing of before, of whatever broker it finds.
    ///
    /// # Errors
    /// The same.
    fn fresh_topic_id(&self) -> Result<Option<String>, GroupError> {
        self.topic_id()
    }

    /// [`Group::watermarks`], asked by a client that knows nothing of before.
    ///
    /// # Errors
    /// The same.
    fn fresh_watermarks(&self, partition: i32) -> Result<(i64, i64), GroupError> {
        self.watermarks(partition)
    }

    /// No records are asked for until the next assignment.
    fn all_asked(&self) {}
}

/// What to do with a partition that has neither a local nor a committed offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// At the oldest record that Kafka has.
    Earliest,
    /// After the newest.
    Latest,
    /// Nowhere: say so and end.
    Stop,
}

/// Where reading of an assigned partition starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Kafka partition.
    pub partition: i32,
    /// Lane that its rows go to.
    pub lane: LaneId,
    /// First offset to read.
    pub offset: i64,
    /// Leader epoch of the last record before it, if it is known: Kafka then tells when the log is cut.
    pub epoch: Option<i32>,
}

/// Why partitions cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum AssignError {
    /// The queue failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// Kafka could not be asked; to be tried again.
    #[error("cannot ask Kafka: {0}")]
    Group(#[from] GroupError),
    /// `kafka_start` is `stop`, and there is no offset to start from.
    #[error(
        "partition {0} has no committed offset and kafka_start is stop; set kafka_start to earliest or latest, or commit an offset for the group"
    )]
    NoStart(i32),
}
