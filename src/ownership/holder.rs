//! The partitions held now: taking them, committing for them, letting them go.

use std::collections::BTreeMap;

use super::incarnation::Identified;
use super::watch::Watch;
use super::{AssignError, CommitOutcome, Group, Lanes, OffsetCommit, Ownership, Start, StartAt};
use crate::queue::{Lane, QueueError};

impl<'a, L: Lanes, G: Group> Ownership<'a, L, G> {
    /// Holds nothing yet.
    pub fn new(queue: &'a L, group: &'a G, topic: &str, start_at: StartAt) -> Self {
        Ownership {
            queue,
            group,
            topic: topic.to_owned(),
            incarnation: topic.to_owned(),
            start_at,
            recreated: false,
            held: BTreeMap::new(),
            watch: Watch::default(),
            identified: false,
            first_batch: queue.next_batch(),
            sealed: queue.next_batch(),
            told: None,
        }
    }

    /// Takes partitions that were just assigned: resolves what is left of earlier ownerships,
    /// opens a lane for each and says where to read on.
    ///
    /// # Errors
    /// [`AssignError::Group`] may be tried again: what was settled stays settled, and a partition
    /// already taken is left out.
    pub fn assign(&mut self, partitions: &[i32], now_ms: u64) -> Result<Vec<Start>, AssignError> {
        if let Identified::Unknown(e) = self.identify_topic()? {
            return Err(e.into());
        }
        let committed = self.group.committed(partitions)?;
        self.judge_all(&committed)?;
        let mut starts = Vec::new();
        for &partition in partitions {
            let start = match self.held.get(&partition) {
                Some(held) => self.queue.lane(held.lane).map(|lane| Start {
                    partition,
                    lane: held.lane,
                    offset: lane.next,
                    epoch: lane.trail.epoch_at(lane.next - 1),
                }),
                None => Some(self.take(partition, committed.get(&partition), now_ms)?),
            };
            starts.extend(start);
        }
        self.group.all_asked();
        Ok(starts)
    }

    /// Lets partitions go. What was synced has been committed before, or stays a tail.
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be written.
    pub fn release(&mut self, partitions: &[i32]) -> Result<(), QueueError> {
        for partition in partitions {
            if let Some(held) = self.held.remove(partition) {
                self.queue.end_lane(held.lane)?;
            }
        }
        Ok(())
    }

    /// Commits all that the lanes hold, and makes it eligible once acknowledged. **To be called
    /// right after a sync, with no append in between.**
    ///
    /// # Errors
    /// [`QueueError`] if the queue failed.
    pub fn commit(&mut self) -> Result<CommitOutcome, QueueError> {
        assert!(
            self.queue.is_synced(),
            "BUG: a commit before the sync of what it covers"
        );
        let mut lanes = Vec::new();
        let mut offsets = Vec::new();
        let stamp = self.stamp_now()?;
        for (&partition, held) in &self.held {
            if let Some(lane) = self.queue.lane(held.lane).filter(Lane::has_tail) {
                offsets.push(OffsetCommit {
                    partition,
                    offset: lane.next,
                    epoch: lane.trail.epoch_at(lane.next - 1),
                    metadata: held.note.stamped(&stamp).text(),
                });
                lanes.push((held.lane, lane.next));
            }
        }
        if offsets.is_empty() {
            return Ok(CommitOutcome::Acknowledged(0));
        }
        if let Err(e) = self.group.commit(&offsets) {
            return Ok(CommitOutcome::Unacknowledged(e));
        }
        for (lane, offset) in &lanes {
            self.queue.acknowledge(*lane, *offset)?;
        }
        self.told = Some(stamp.sealed);
        for offset in &offsets {
            if let Some(held) = self.held.get_mut(&offset.partition) {
                held.known = true;
            }
        }
        Ok(CommitOutcome::Acknowledged(lanes.len()))
    }

    /// Whether rows wait for an acknowledgement.
    pub fn has_uncommitted(&self) -> bool {
        self.held
            .values()
            .any(|h| self.queue.lane(h.lane).is_some_and(|l| l.has_tail()))
    }

    /// The lane of a partition that is held.
    pub(super) fn lane_of(&self, partition: i32) -> Option<Lane> {
        self.queue.lane(self.held.get(&partition)?.lane)
    }

    /// The partitions held.
    pub fn partitions(&self) -> Vec<i32> {
        self.held.keys().copied().collect()
    }
}
