//! Lane by lane: do its blocks add up to what its record says?

use super::{Look, Lost, TRIES};
use crate::queue::format::block;
use crate::queue::{Batch, Block, Lane, LaneId};

impl Look<'_> {
    pub(super) fn lane(&mut self, lane: &Lane) {
        if !(lane.sealed <= lane.eligible && lane.eligible <= lane.next) {
            let what = format!(
                "{}: sealed {}, eligible {}, next {} are out of order",
                lane.id, lane.sealed, lane.eligible, lane.next
            );
            return self.damage("lane", what, None);
        }
        let sum = self.sums.get(&lane.id).copied().unwrap_or_default();
        if sum == (lane.rows, lane.bytes) {
            self.found.lanes += 1;
            return;
        }
        if self.live {
            match self.lane_again(lane.id) {
                Some(true) => self.found.lanes += 1,
                Some(false) => self.lane_sums(lane, sum),
                None => {
                    let words = format!("{}: changes all the time", lane.id);
                    self.found.unchecked.push(words);
                }
            }
        } else {
            self.lane_sums(lane, sum);
        }
    }

    fn lane_sums(&mut self, lane: &Lane, sum: (u64, u64)) {
        let what = format!(
            "{} ({} p{}): {} rows in {} bytes, its record says {} in {}",
            lane.id, lane.topic, lane.partition, sum.0, sum.1, lane.rows, lane.bytes
        );
        self.damage("lane", what, None);
        let end = self.ends.get(&lane.id).copied().unwrap_or(lane.sealed);
        let mut gaps = self.gaps.remove(&lane.id).unwrap_or_default();
        gaps.push((end, lane.next));
        for (from, to) in gaps.into_iter().filter(|(from, to)| from < to) {
            let lost = Lost {
                topic: lane.topic.clone(),
                partition: lane.partition,
                from,
                to,
            };
            let what = format!("{}: no block from {from} to {to}", lane.id);
            self.damage("lane", what, Some(lost));
        }
    }

    /// Sums a lane anew while its record stays the same; `None` if it never does.
    fn lane_again(&self, id: LaneId) -> Option<bool> {
        let record = || {
            self.trees
                .lanes()
                .into_iter()
                .flatten()
                .find(|l| l.id == id)
        };
        for _ in 0..TRIES {
            let Some(before) = record() else {
                return Some(true);
            };
            let batches: Vec<Batch> = self.trees.batches().into_iter().flatten().collect();
            let mut sum = (0, 0);
            for stored in self.trees.blocks(block::key(id, 0)) {
                let Ok(Block { header, .. }) = stored.block else {
                    continue;
                };
                if header.lane != id {
                    break;
                }
                let delivered = batches
                    .iter()
                    .any(|b| b.is_delivered() && b.covers(&header));
                if header.next <= before.next && !delivered {
                    sum.0 += u64::from(header.rows);
                    sum.1 += u64::from(header.frame_len);
                }
            }
            if sum == (before.rows, before.bytes) {
                return Some(true);
            }
            if record().as_ref() == Some(&before) {
                return Some(false);
            }
        }
        None
    }
}
