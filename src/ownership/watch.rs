//! Whether Kafka still is what was read of it, looked at while it is read: where a cluster is put back
//! from a copy, leaders' epochs may repeat, and the client reads on among other records without a sign.
//!
//! A broker that is behind may tell of a log or a topic that is no more. So an answer that would have the
//! partitions taken anew has to be given twice, each time to a client that knows nothing of before.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::{Duration, Instant};

use super::parting::{Log, parting};
use super::{Group, GroupError, Lanes, Ownership};
use crate::queue::{Lane, LaneId, LostRange, QueueError};
use crate::record::Mark;

/// What was seen at the last look.
#[derive(Default)]
pub struct Watch {
    /// Partitions whose log did not hold what was read.
    suspects: BTreeSet<i32>,
    /// Another topic than the one that is read, which was told of once.
    pub topic: Option<String>,
    /// The partition that was looked at last.
    last: Option<i32>,
    /// Of each partition the last record that was read of its lane at the last look.
    seen: BTreeMap<i32, (LaneId, Mark)>,
}

/// What a look at a log shows.
enum Sight {
    /// All that can be seen of what was read is there.
    Ours,
    /// The last record that was read is not.
    Another,
    /// That one is, but not what was read before: these offsets may hold records that were not read.
    Swapped(Range<i64>),
}

impl<L: Lanes, G: Group> Ownership<'_, L, G> {
    /// The partitions whose log does not hold what was read of it, as two looks at it have shown. Looks for
    /// about so long, and goes on the next time where it ended. Where it was put back and reading went on
    /// among its new records, what was not read below them is named.
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be written.
    pub fn logs_without_ours(
        &mut self,
        at_most: Duration,
        now_ms: u64,
    ) -> Result<Vec<i32>, QueueError> {
        let end = Instant::now() + at_most;
        let mut partitions = self.partitions();
        let behind = partitions.partition_point(|p| Some(*p) <= self.watch.last);
        partitions.rotate_left(behind);
        let mut gone = Vec::new();
        self.watch.suspects.retain(|p| partitions.contains(p));
        for partition in partitions {
            if Instant::now() >= end {
                break;
            }
            self.watch.last = Some(partition);
            let Some(lane) = self.lane_of(partition) else {
                continue;
            };
            let sight = self.look_at(partition, &lane);
            let is_sure = matches!(sight, Ok(Sight::Ours)) | self.watch.suspects.remove(&partition);
            match sight {
                Ok(Sight::Another) if is_sure => gone.push(partition),
                Ok(Sight::Swapped(unread)) if is_sure => {
                    self.name_unread(partition, unread, now_ms)?;
                    self.watch.seen.remove(&partition);
                }
                Ok(Sight::Ours) => {
                    let last = lane.trail.last().map(|last| (lane.id, last));
                    self.watch.seen.extend(last.map(|l| (partition, l)));
                }
                Ok(_) => {
                    log::warn!(
                        "partition {partition}: a broker tells of a log without what was read; it is \
                         looked at again"
                    );
                    self.watch.suspects.insert(partition);
                }
                // The others' leader may be the same.
                Err(e) => {
                    log::debug!("cannot look at Kafka's log: {e}");
                    break;
                }
            }
        }
        self.group.all_asked();
        Ok(gone)
    }

    /// Whether something was seen once that has to be seen twice: to be looked at again soon.
    pub fn is_in_doubt(&self) -> bool {
        !self.watch.suspects.is_empty() || self.watch.topic.is_some()
    }

    fn look_at(&self, partition: i32, lane: &Lane) -> Result<Sight, GroupError> {
        let (low, high) = self.group.fresh_watermarks(partition)?;
        let log = Log {
            low,
            high,
            look: &|offset| self.group.first_from(partition, offset),
        };
        if lane.next > high || !log.has_last(&lane.trail, lane.next)? {
            return Ok(Sight::Another);
        }
        let seen = self.watch.seen.get(&partition);
        let Some((_, seen)) = seen.filter(|(of, m)| *of == lane.id && m.offset >= low) else {
            return Ok(Sight::Ours);
        };
        if log.has(seen, &lane.trail, lane.next)? {
            return Ok(Sight::Ours);
        }
        let before = lane.trail.clone().below(seen.offset + 1);
        let parted = parting(&before, seen.offset + 1, &log)?;
        let from = parted.map_or(low, |p| p.unsure.start.min(p.at));
        // The first record that is known to be read of the log that is.
        for mark in lane.trail.marks() {
            if mark.offset > seen.offset && log.has(mark, &lane.trail, lane.next)? {
                return Ok(Sight::Swapped(from..mark.offset));
            }
        }
        Ok(Sight::Another)
    }

    fn name_unread(
        &self,
        partition: i32,
        unread: Range<i64>,
        now_ms: u64,
    ) -> Result<(), QueueError> {
        log::error!(
            "partition {partition}: Kafka's log was put back from a copy, and grew beyond what was read \
             before it was looked at: what offsets {unread:?} hold now is not read, but for their last ones"
        );
        self.queue.record_lost(LostRange {
            topic: self.topic.clone(),
            partition,
            from: unread.start,
            to: unread.end,
            noticed_ms: now_ms,
            unsure: true,
        })
    }
}
