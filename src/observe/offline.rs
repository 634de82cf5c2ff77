//! The status of a data dir on which no instance runs.

use std::collections::BTreeMap;
use std::time::Duration;

use super::forecast::{Counted, Forecast, Limits, Rates};
use super::judge::judge;
use super::status::{Kafka, Partition, Status, kafka};
use super::verdict::Verdict;
use crate::flush::{self, FlushStatus, limiter};
use crate::kafka::Seen;
use crate::queue::{DROPPED_BATCHES, LOST_RANGES, Lane, Queue, QueueError};
use crate::runtime::clock::{Moment, now_ms};
use crate::store::bounds::Bounds;

/// What the settings say that the data dir does not.
pub struct Told<'a> {
    /// Kafka topic.
    pub topic: &'a str,
    /// Smallest time between two requests.
    pub interval: Duration,
    /// Most bytes of a body and rows of an insert.
    pub an_insert: (u64, u64),
    /// What the queue may take.
    pub bounds: Bounds,
}

/// The status of a data dir that no instance runs on.
///
/// # Errors
/// [`QueueError`] if the queue cannot be read.
pub fn look(queue: &Queue, told: &Told<'_>) -> Result<Status, QueueError> {
    let now = now_ms();
    let (last, next_slot_ms) = limiter::peek(queue, told.interval, &Moment::now())?;
    let summary = queue.summary()?;
    let limits = Limits::of(&told.bounds, queue);
    let flush = FlushStatus {
        last_attempt_ms: last.as_ref().map(|a| a.start_ms),
        last_outcome: last.and_then(|a| a.outcome),
        next_slot_ms,
        interval_ms: told.interval.as_millis() as u64,
        stored: flush::last_stored(queue)?,
        body_limit: told.an_insert.0,
        most_rows: told.an_insert.1,
        ..FlushStatus::default()
    };
    let rates = Rates::default();
    let mut status = Status {
        verdict: Verdict::default(),
        told_ms: now,
        live: false,
        copy: match queue.refuse_copy() {
            Err(e) if e.is_copy() => Some(e.to_string()),
            _ => None,
        },
        installation: queue.installation().to_owned(),
        privacy: queue.policies()?,
        forecast: Forecast::of(&summary, &flush, &rates, &limits, false, now),
        kafka: Kafka::default(),
        queue: summary,
        disk_bytes: queue.disk_bytes(),
        partitions: Vec::new(),
        lost: queue.load(LOST_RANGES)?.unwrap_or_default(),
        dropped: queue.load(DROPPED_BATCHES)?.unwrap_or_default(),
        flush,
        limits,
        counted: Counted::default(),
        rates,
    };
    status.kafka.partitions = queue
        .delivered(told.topic)?
        .into_iter()
        .map(|(partition, next)| Partition {
            partition,
            in_clickhouse: Some(next),
            ..Partition::default()
        })
        .collect();
    add_kafka(&mut status, told.topic, &Seen::default(), &BTreeMap::new());
    Ok(status)
}

/// Adds what Kafka said of the topic's ends and of the group's commits. To be asked once the queue is
/// closed: a start must not wait for it.
pub fn add_kafka(status: &mut Status, topic: &str, seen: &Seen, committed: &BTreeMap<i32, i64>) {
    let of_topic = |l: &&Lane| l.topic_name() == topic && l.partition >= 0;
    let lanes = status.queue.lanes.iter().filter(of_topic);
    let mut known: Vec<i32> = lanes.map(|l| l.partition).collect();
    let before = std::mem::take(&mut status.kafka.partitions);
    known.extend(before.iter().map(|p| p.partition));
    known.extend(seen.ends.keys());
    known.sort_unstable();
    known.dedup();
    status.kafka = kafka(&status.queue, topic, &known, seen, committed);
    for partition in &mut status.kafka.partitions {
        let of = before.iter().find(|p| p.partition == partition.partition);
        // What the data dir says of one that has no lane any more: its commit was acknowledged.
        if let Some(done) = of.and_then(|p| p.in_clickhouse)
            && partition.in_clickhouse.is_none()
        {
            partition.in_clickhouse = Some(done);
            partition.committed = partition.committed.max(Some(done));
            partition.read = partition.read.max(Some(done));
        }
    }
    status.verdict = judge(status, status.told_ms);
}
