//! Lanes: opening and ending them, acknowledging commits, resolving tails.

use std::collections::BTreeMap;

use crate::queue::change::Change;
use crate::queue::counts::{Changes, Tally};
use crate::queue::format::block;
use crate::queue::format::json::get_json;
use crate::queue::format::lane::topic_name;
use crate::queue::{Lane, LaneId, LaneState, Queue, QueueError, Trail, json};

impl Queue {
    /// Opens a lane for a partition that was just assigned, to be read from `start` on.
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be written.
    pub fn open_lane(&self, topic: &str, partition: i32, start: i64) -> Result<LaneId, QueueError> {
        self.open_lane_behind(topic, partition, start, Trail::default())
    }

    /// [`Queue::open_lane`], with what is known of the records before `start`.
    ///
    /// # Errors
    /// As there.
    pub fn open_lane_behind(
        &self,
        topic: &str,
        partition: i32,
        start: i64,
        trail: Trail,
    ) -> Result<LaneId, QueueError> {
        self.check()?;
        let mut state = self.state();
        let id = LaneId(state.next_lane);
        let lane = Lane {
            trail,
            ..Lane::new(id, topic, partition, start)
        };
        let mut change = Change::default();
        change.new_lane(lane);
        self.write(&mut state, change, "open a lane in")?;
        Ok(id)
    }

    /// Kafka acknowledged the commit of `offset` while the lane was held: its rows below are
    /// eligible. Needs no sync: if a crash forgets it, the committed offset and its note tell.
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be written.
    pub fn acknowledge(&self, lane: LaneId, offset: i64) -> Result<(), QueueError> {
        self.update_lane(lane, |l| l.eligible = l.eligible.max(offset.min(l.next)))
    }

    /// The partition went away: the lane takes no more rows.
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be written.
    pub fn end_lane(&self, lane: LaneId) -> Result<(), QueueError> {
        self.update_lane(lane, |l| l.state = LaneState::Ended)?;
        self.forget_if_spent(lane)
    }

    /// The lane's tail cannot be resolved without a person.
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be written.
    pub fn hold_lane(&self, lane: LaneId, why: &str) -> Result<(), QueueError> {
        self.update_lane(lane, |l| l.state = LaneState::Held(why.to_owned()))
    }

    /// Resolves a tail in one transaction: rows below `eligible` may be sent, rows of blocks that
    /// start in `drop` are removed, and taken off the counts. A tail dropped to its end also sets the lane's next offset
    /// back.
    ///
    /// Returns false, and changes nothing, if one of the offsets lies within a block.
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be read or written.
    pub fn settle(
        &self,
        lane: LaneId,
        eligible: i64,
        drop: std::ops::Range<i64>,
    ) -> Result<bool, QueueError> {
        self.check()?;
        let mut state = self.state();
        self.count_appended(&mut state)?;
        let Some(current) = state.lanes.get(&lane) else {
            return Ok(true);
        };
        let mut updated = current.clone();
        let mut change = Change::default();
        let mut changes = Changes::default();
        let mut at = current.eligible;
        while let Some((block, value)) = self.block_at(lane, at)? {
            for cut in [eligible, drop.start, drop.end] {
                if block.first < cut && cut < block.next {
                    return Ok(false);
                }
            }
            if drop.contains(&block.first) {
                updated.rows -= u64::from(block.rows);
                updated.bytes -= u64::from(block.frame_len);
                change.remove_block(&block);
                let minutes = block::read_minutes(&block, &value)?;
                let rows = minutes.iter().map(|(minute, rows)| (minute, rows.into()));
                changes.add(current, state.window, rows, |n| Tally {
                    consumed: -n,
                    ..Tally::default()
                });
            }
            at = block.next;
        }
        let mut totals = state.quarantine;
        let range = block::key(lane, drop.start)..block::key(lane, drop.end.max(drop.start));
        let trees = self.trees()?;
        for entry in trees.quarantine.range(range) {
            let (key, value) = entry.map_err(QueueError::store("read"))?;
            totals.remove(&value);
            change.remove_entry(&key);
        }
        if totals != state.quarantine {
            change.quarantine(totals);
        }
        updated.eligible = updated.eligible.max(eligible.min(updated.next));
        if drop.end >= updated.next && drop.start < updated.next {
            updated.next = drop.start.max(updated.eligible);
            updated.trail = updated.trail.below(updated.next);
        }
        change.counts(changes.onto(&trees.counts)?);
        std::mem::drop(trees);
        change.lane(updated);
        self.write(&mut state, change, "settle a tail of")?;
        std::mem::drop(state);
        self.forget_if_spent(lane)?;
        Ok(true)
    }

    /// The lane as it is now.
    pub fn lane(&self, lane: LaneId) -> Option<Lane> {
        self.state().lanes.get(&lane).cloned()
    }

    /// Lanes that are not open and have a tail.
    pub fn tails(&self) -> Vec<Lane> {
        self.state()
            .lanes
            .values()
            .filter(|l| l.state != LaneState::Open && l.has_tail())
            .cloned()
            .collect()
    }

    /// The offset below which every row of the partition that this data dir ever held was
    /// eligible; `None` if it never held one.
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be read.
    pub fn eligible_next(&self, topic: &str, partition: i32) -> Result<Option<i64>, QueueError> {
        let trees = self.trees()?;
        let kept: Option<i64> = get_json(&trees.partitions, &partition_key(topic, partition))?;
        let lanes = self.state();
        let live = lanes
            .lanes
            .values()
            .filter(|l| l.topic == topic && l.partition == partition)
            .map(|l| l.eligible);
        Ok(live.chain(kept).max())
    }

    /// Up to where a partition's log was read or taken over, eligible or not; `None` if never.
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be read.
    pub fn reached(&self, topic: &str, partition: i32) -> Result<Option<i64>, QueueError> {
        let eligible = self.eligible_next(topic, partition)?;
        let lanes = self.state();
        let of_log = lanes.lanes.values();
        let of_log = of_log.filter(|l| l.topic == topic && l.partition == partition);
        Ok(of_log.map(|l| l.next).chain(eligible).max())
    }

    /// Below which offset all of a topic's records are delivered or set aside, by partition, where no lane
    /// of it is left; of topics of that name the last one that was read.
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be read.
    pub fn delivered(&self, topic: &str) -> Result<BTreeMap<i32, i64>, QueueError> {
        let trees = self.trees()?;
        let mut last: BTreeMap<i32, (LaneId, i64)> = BTreeMap::new();
        for entry in trees.partitions.iter() {
            let (key, _) = entry.map_err(QueueError::store("read"))?;
            let Some((of, partition)) = parse_partition_key(&key) else {
                continue;
            };
            if topic_name(of) != topic {
                continue;
            }
            let trail: Option<(LaneId, Trail)> =
                get_json(&trees.partitions, &trail_key(of, partition))?;
            let next: Option<i64> = get_json(&trees.partitions, &key)?;
            let (Some((lane, _)), Some(next)) = (trail, next) else {
                continue;
            };
            let known = last.entry(partition).or_insert((lane, next));
            if known.0 < lane {
                *known = (lane, next);
            }
        }
        let all = last.into_iter();
        Ok(all
            .map(|(partition, (_, next))| (partition, next))
            .collect())
    }

    /// What is known of the partition's records: the trail of its newest lane, which goes on that of the
    /// one before it.
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be read.
    pub fn trail(&self, topic: &str, partition: i32) -> Result<Trail, QueueError> {
        let trees = self.trees()?;
        let kept: Option<(LaneId, Trail)> =
            get_json(&trees.partitions, &trail_key(topic, partition))?;
        let lanes = self.state();
        let live = lanes
            .lanes
            .values()
            .filter(|l| l.topic == topic && l.partition == partition)
            .map(|l| (l.id, l.trail.clone()));
        let newest = kept.into_iter().chain(live).max_by_key(|(id, _)| *id);
        Ok(newest.map(|(_, trail)| trail).unwrap_or_default())
    }

    /// Ends the lanes that the last process held, and forgets those that it had no time to forget.
    pub(in crate::queue) fn end_open_lanes(&self) -> Result<(), QueueError> {
        let lanes: Vec<Lane> = self.state().lanes.values().cloned().collect();
        lanes.iter().try_for_each(|lane| match lane.state {
            LaneState::Open => self.end_lane(lane.id),
            _ => self.forget_if_spent(lane.id),
        })
    }

    pub(in crate::queue) fn update_lane(
        &self,
        lane: LaneId,
        change: impl FnOnce(&mut Lane),
    ) -> Result<(), QueueError> {
        self.check()?;
        let mut state = self.state();
        let Some(current) = state.lanes.get(&lane) else {
            return Ok(());
        };
        let mut updated = current.clone();
        change(&mut updated);
        if updated != *current {
            let mut write = Change::default();
            write.lane(updated);
            self.write(&mut state, write, "write to")?;
        }
        Ok(())
    }

    /// Removes the record of a lane with nothing left, keeping its partition's eligible offset.
    pub(in crate::queue) fn forget_if_spent(&self, lane: LaneId) -> Result<(), QueueError> {
        let mut state = self.state();
        let Some(current) = state.lanes.get(&lane).filter(|l| l.is_spent()) else {
            return Ok(());
        };
        let key = partition_key(&current.topic, current.partition);
        let trees = self.trees()?;
        let kept: Option<i64> = get_json(&trees.partitions, &key)?;
        let eligible = kept.unwrap_or(0).max(current.eligible);
        let trail_key = trail_key(&current.topic, current.partition);
        let known: Option<(LaneId, Trail)> = get_json(&trees.partitions, &trail_key)?;
        let older = known.is_none_or(|(id, _)| id < lane);
        let trail = older.then_some((lane, &current.trail));
        // Those below go with their batches. Before the record: without it nobody would look for them.
        self.remove_fences(lane, current.sealed, i64::MAX)?;
        std::mem::drop(trees);
        let mut change = Change::default();
        change.forget_lane(lane);
        change.partition(&key, json(&eligible));
        if let Some(trail) = trail {
            change.partition(&trail_key, json(&trail));
        }
        self.write(&mut state, change, "remove a lane of")?;
        Ok(())
    }
}

fn partition_key(topic: &str, partition: i32) -> Vec<u8> {
    format!("{topic}\0{partition}").into_bytes()
}

/// What such a key is of; `None` for any other.
fn parse_partition_key(key: &[u8]) -> Option<(&str, i32)> {
    let (topic, partition) = std::str::from_utf8(key).ok()?.split_once('\0')?;
    Some((topic, partition.parse().ok()?))
}

fn trail_key(topic: &str, partition: i32) -> Vec<u8> {
    format!("{topic}\0{partition}\0trail").into_bytes()
}
