//! What `status` shows, and a live instance answers.

mod text;
pub(super) mod visible;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::forecast::{Counted, Forecast, Limits, Rates};
use super::verdict::Verdict;
use crate::flush::FlushStatus;
use crate::kafka::Seen;
use crate::queue::{DroppedBatch, Lane, LostRange, PolicySince, Summary, sent_up_to};
use crate::runtime::conditions::Trouble;

/// All that `status` shows. Holds no row and no address.
#[derive(Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Status {
    /// Is all well?
    #[serde(default)]
    pub verdict: Verdict,
    /// When this was told, Unix ms.
    #[serde(default)]
    pub told_ms: u64,
    /// Whether it was told by a live instance, or read from its data dir.
    pub live: bool,
    /// If it is a copy that nobody adopted: how that is known, and what to do.
    #[serde(default)]
    pub copy: Option<String>,
    /// Installation id.
    pub installation: String,
    /// By what rows were masked, the oldest first: the last one holds. Empty until an instance ran.
    #[serde(default)]
    pub privacy: Vec<PolicySince>,
    /// What is queued.
    pub queue: Summary,
    /// Bytes of the queue's files.
    pub disk_bytes: u64,
    /// Partitions held now.
    pub partitions: Vec<i32>,
    /// Kafka, and how far each partition is.
    #[serde(default)]
    pub kafka: Kafka,
    /// Offsets that Kafka no longer had.
    pub lost: Vec<LostRange>,
    /// Rejected batches that a person dropped.
    #[serde(default)]
    pub dropped: Vec<DroppedBatch>,
    /// The flusher.
    pub flush: FlushStatus,
    /// What the queue may take.
    #[serde(default)]
    pub limits: Limits,
    /// What came in and went out since the start of a live instance.
    #[serde(default)]
    pub counted: Counted,
    /// What comes in and goes out by the second; of a live instance.
    #[serde(default)]
    pub rates: Rates,
    /// When it will be empty, or full.
    #[serde(default)]
    pub forecast: Forecast,
}

impl Status {
    /// Has what is past told as `now` tells it. To be used on what began in this process, see
    /// [`crate::runtime::clock::as_of_now`].
    pub(super) fn restate(&mut self, now: impl Fn(u64) -> u64) {
        let (kafka, flush) = (&mut self.kafka, &mut self.flush);
        let troubles = [
            &mut kafka.down,
            &mut kafka.client,
            &mut kafka.group,
            &mut kafka.outside,
            &mut kafka.commits,
            &mut kafka.pause,
            &mut flush.failing,
        ];
        for trouble in troubles.into_iter().flatten() {
            trouble.since_ms = now(trouble.since_ms);
        }
        let times = [
            &mut flush.hold_since_ms,
            &mut flush.last_attempt_ms,
            &mut self.queue.oldest_ms,
        ];
        let still = kafka.partitions.iter_mut().map(|p| &mut p.still_since_ms);
        for time in times.into_iter().chain(still).flatten() {
            *time = now(*time);
        }
        if let Some(request) = &mut flush.in_flight {
            request.since_ms = now(request.since_ms);
        }
        if let Some(stored) = &mut flush.stored {
            stored.at_ms = now(stored.at_ms);
        }
    }
}

/// How it stands with Kafka.
#[derive(Clone, Debug, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Kafka {
    /// When the client told it last, Unix ms.
    pub told_ms: Option<u64>,
    /// That no broker is connected.
    pub down: Option<Trouble>,
    /// Why Kafka does not let it in. Its kind is the word that the metric `kafka_fault` has for it.
    pub fault: Option<Trouble>,
    /// Why a client is needed that cannot be made.
    pub client: Option<Trouble>,
    /// Why Kafka does not tell where to go on in partitions that were assigned.
    pub group: Option<Trouble>,
    /// Why it is not a member of the group.
    pub outside: Option<Trouble>,
    /// Why no commit is acknowledged.
    pub commits: Option<Trouble>,
    /// Why nothing more is read. Its kind is what has no room: `quarantine`, `queue`, `disk`, or `commits`.
    pub pause: Option<Trouble>,
    /// Records that wait in Kafka, over all partitions; `None` if no log's end is known.
    pub unread: Option<u64>,
    /// Every record that Kafka got before this is in ClickHouse, or set aside for a person: the least of all
    /// partitions, Unix ms; `None` if it is not known of one.
    pub visible_through_ms: Option<u64>,
    /// Each partition held, or that was when the instance stopped.
    pub partitions: Vec<Partition>,
}

/// How far a partition is. Offsets are those after the last record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Partition {
    /// Its number.
    pub partition: i32,
    /// Read, and on the disk here.
    pub read: Option<i64>,
    /// Committed to Kafka.
    pub committed: Option<i64>,
    /// Stored by ClickHouse, as far as no record before is missing.
    pub in_clickhouse: Option<i64>,
    /// Where Kafka's log ends.
    pub end: Option<i64>,
    /// Records between.
    pub unread: Option<u64>,
    /// Every record that Kafka got before this is in ClickHouse, or set aside for a person, Unix ms.
    pub visible_through_ms: Option<u64>,
    /// Whether its leader is away.
    pub without_leader: bool,
    /// Since when nothing was read though records wait, Unix ms.
    pub still_since_ms: Option<u64>,
}

/// How far the partitions are: `held` ones, of which `seen` knows the ends, and `group` what is committed.
pub fn kafka(
    queue: &Summary,
    topic: &str,
    held: &[i32],
    seen: &Seen,
    group: &BTreeMap<i32, i64>,
) -> Kafka {
    let oldest = visible::oldest_waiting(queue, topic);
    let partitions: Vec<Partition> = held
        .iter()
        .map(|p| {
            let of = |l: &&Lane| l.partition == *p && l.topic_name() == topic;
            let newest = queue.lanes.iter().filter(of).max_by_key(|l| l.id);
            let end = seen.ends.get(p).copied();
            let committed = group.get(p).copied().max(newest.map(|l| l.eligible));
            let read = newest.map(|l| l.next).max(committed);
            let unread = end.zip(read).map(|(end, read)| (end - read).max(0) as u64);
            Partition {
                partition: *p,
                read,
                committed,
                in_clickhouse: newest.map(|l| delivered(queue, l)),
                end,
                unread,
                visible_through_ms: visible::of_partition(oldest.get(p).copied(), *p, unread, seen),
                without_leader: seen.without_leader.contains(p),
                still_since_ms: None,
            }
        })
        .collect();
    let known = partitions.iter().filter_map(|p| p.unread);
    Kafka {
        told_ms: seen.told_ms,
        down: seen.down.clone(),
        fault: seen.fault.clone(),
        outside: seen.outside.clone(),
        unread: known.clone().next().map(|_| known.sum()),
        visible_through_ms: visible::of_all(queue, topic, &partitions),
        partitions,
        ..Kafka::default()
    }
}

/// Below which offset all records of a lane are in ClickHouse, or set aside.
fn delivered(queue: &Summary, lane: &Lane) -> i64 {
    match sent_up_to(&queue.batches, lane) {
        // Where no row waits, what is behind the last one sealed became none.
        all if all == lane.sealed && lane.rows == 0 => lane.eligible,
        offset => offset,
    }
}
