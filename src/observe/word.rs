//! The stable words of findings, for JSON, metrics, alerts and the runbook.

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($($(#[doc = $doc:literal])* $name:ident = $word:literal,)*) => {
        /// What a finding is about, in one word that stays.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
        pub enum Word {
            $($(#[doc = $doc])* #[serde(rename = $word)] $name,)*
        }

        impl Word {
            /// All of them, as text.
            pub const ALL: &'static [&'static str] = &[$($word,)*];

            /// It as text.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Word::$name => $word,)*
                }
            }
        }
    };
}

words! {
    /// Rows wait for longer than three slots.
    Backlog = "backlog",
    /// Kafka acknowledges no commit.
    Commits = "commits",
    /// The data dir is a copy that nobody adopted.
    Copy = "copy",
    /// Tables and views are being created.
    Creating = "creating",
    /// Reading is paused, as the disk is full.
    DiskFull = "disk-full",
    /// A person gave a rejected batch up.
    Dropped = "dropped",
    /// Inserts fail.
    Failing = "failing",
    /// The queue is full within the hour.
    Filling = "filling",
    /// A request has had no answer for long.
    Hangs = "hangs",
    /// Rows of a partition are held.
    HeldRows = "held-rows",
    /// Inserts are held.
    Hold = "hold",
    /// A broker answers, and does not let it read.
    KafkaAccess = "kafka-access",
    /// A client is needed that cannot be made.
    KafkaClient = "kafka-client",
    /// No broker answers.
    KafkaDown = "kafka-down",
    /// It is no member of the group, or is not told where to go on.
    KafkaGroup = "kafka-group",
    /// A partition has no leader.
    KafkaLeader = "kafka-leader",
    /// More waits in Kafka than is read in a minute.
    Lag = "lag",
    /// Kafka no longer had records when they were due.
    Lost = "lost",
    /// Records wait, and nothing is read.
    NotRead = "not-read",
    /// The quarantine is full, or was.
    Quarantine = "quarantine",
    /// Reading is paused, as the queue is full.
    QueueFull = "queue-full",
    /// The proxy refuses every request.
    Refused = "refused",
    /// ClickHouse refuses a batch.
    Rejected = "rejected",
    /// The instance is not running.
    Stopped = "stopped",
    /// ClickHouse cannot be reached.
    Unreachable = "unreachable",
}
