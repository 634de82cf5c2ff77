//! Lanes: opening and ending them, acknowledging commits, resolving tails.

use sled::Transactional as _;

use super::counts::{self, Changes, Tally};
use super::layout;
use super::{Lane, LaneState, Queue, QueueError, json};
use crate::record::LaneId;

impl Queue {
    /// Opens a lane for a partition that was just assigned, to be read from `start` on.
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be written.
    pub fn open_lane(&self, topic: &str, partition: i32, start: i64) -> Result<LaneId, QueueError> {
        self.check()?;
        let mut state = self.state();
        let id = LaneId(state.next_lane);
        let lane = Lane::new(id, topic, partition, start);
        let trees = self.trees()?;
        let written = (&trees.lanes, &trees.meta).transaction(|(lanes, meta)| {
            lanes.insert(&layout::lane_key(id), json(&lane))?;
            meta.insert(b"next_lane", json(&(id.0 + 1)))?;
            Ok(())
        });
        self.transaction_result("open a lane in", written)?;
        state.next_lane += 1;
        state.lanes.insert(id, lane);
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
        let mut dropped = Vec::new();
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
                dropped.push(block.first);
                let minutes = layout::read_minutes(&block, &value)?;
                let rows = minutes.iter().map(|(minute, rows)| (minute, rows.into()));
                changes.add(current, state.window, rows, |n| Tally {
                    consumed: -n,
                    ..Tally::default()
                });
            }
            at = block.next;
        }
        let mut totals = state.quarantine;
        let mut entries = Vec::new();
        let range = layout::key(lane, drop.start)..layout::key(lane, drop.end.max(drop.start));
        let trees = self.trees()?;
        for entry in trees.quarantine.range(range) {
            let (key, value) = entry.map_err(QueueError::store("read"))?;
            totals.remove(&value);
            entries.push(key);
        }
        updated.eligible = updated.eligible.max(eligible.min(updated.next));
        if drop.end >= updated.next && drop.start < updated.next {
            updated.next = drop.start.max(updated.eligible);
        }
        let counts = changes.onto(&trees.counts)?;
        let written = (
            &trees.blocks,
            &trees.lanes,
            &trees.quarantine,
            &trees.meta,
            &trees.counts,
        )
            .transaction(|(blocks, lanes, quarantine, meta, count_tree)| {
                for first in &dropped {
                    blocks.remove(&layout::key(lane, *first))?;
                }
                counts::insert(count_tree, &counts)?;
                for key in &entries {
                    quarantine.remove(key)?;
                }
                if !entries.is_empty() {
                    meta.insert(super::quarantine::TOTALS, json(&totals))?;
                }
                lanes.insert(&layout::lane_key(lane), json(&updated))?;
                Ok(())
            });
        self.transaction_result("settle a tail of", written)?;
        state.quarantine = totals;
        state.lanes.insert(lane, updated);
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
        let kept: Option<i64> =
            super::get_json(&trees.partitions, &partition_key(topic, partition))?;
        let lanes = self.state();
        let live = lanes
            .lanes
            .values()
            .filter(|l| l.topic == topic && l.partition == partition)
            .map(|l| l.eligible);
        Ok(live.chain(kept).max())
    }

    /// Ends the lanes that the last process held, and forgets those that it had no time to forget.
    pub(super) fn end_open_lanes(&self) -> Result<(), QueueError> {
        let lanes: Vec<Lane> = self.state().lanes.values().cloned().collect();
        lanes.iter().try_for_each(|lane| match lane.state {
            LaneState::Open => self.end_lane(lane.id),
            _ => self.forget_if_spent(lane.id),
        })
    }

    pub(super) fn update_lane(
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
            let trees = self.trees()?;
            self.guard(super::put_json(
                &trees.lanes,
                &layout::lane_key(lane),
                &updated,
            ))?;
            state.lanes.insert(lane, updated);
        }
        Ok(())
    }

    /// Removes the record of a lane with nothing left, keeping its partition's eligible offset.
    pub(super) fn forget_if_spent(&self, lane: LaneId) -> Result<(), QueueError> {
        let mut state = self.state();
        let Some(current) = state.lanes.get(&lane).filter(|l| l.is_spent()) else {
            return Ok(());
        };
        let key = partition_key(&current.topic, current.partition);
        let trees = self.trees()?;
        let kept: Option<i64> = super::get_json(&trees.partitions, &key)?;
        let eligible = kept.unwrap_or(0).max(current.eligible);
        // Those below go with their batches. Before the record: without it nobody would look for them.
        self.remove_fences(lane, current.sealed, i64::MAX)?;
        let written = (&trees.lanes, &trees.partitions).transaction(|(lanes, partitions)| {
            lanes.remove(&layout::lane_key(lane))?;
            partitions.insert(key.as_slice(), json(&eligible))?;
            Ok(())
        });
        self.transaction_result("remove a lane of", written)?;
        state.lanes.remove(&lane);
        state.fences.remove(&lane);
        Ok(())
    }
}

fn partition_key(topic: &str, partition: i32) -> Vec<u8> {
    format!("{topic}\0{partition}").into_bytes()
}
