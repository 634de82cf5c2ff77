//! The plain model: what a queue holds, and what messages there are.

use std::collections::{BTreeMap, BTreeSet};

use super::PARTITIONS;
use crate::queue::*;
use crate::row::minutes::DAY;
use crate::row::read::rows;
use crate::runtime::clock::now_ms;

/// A message: partition and offset.
pub(super) type Place = (i32, i64);

/// Whether a message cannot become a row at first.
pub(super) fn is_bad(offset: i64) -> bool {
    offset % 11 == 5
}

/// The minute of a message's own time: most of about now, some of 1970.
pub(super) fn minute(offset: i64) -> u32 {
    static NOW: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    let now = *NOW.get_or_init(|| (now_ms() / 60_000) as u32);
    match offset % 5 {
        0 => (offset % 3000) as u32,
        _ => now - (offset % 3000) as u32,
    }
}

/// A row that tells its place.
pub(super) fn write_row((partition, offset): Place, out: &mut Vec<u8>) -> u32 {
    let second = minute(offset) * 60;
    out.extend_from_slice(&second.to_le_bytes());
    out.extend_from_slice(&(partition as u64).to_le_bytes());
    out.extend_from_slice(&(offset as u64).to_le_bytes());
    out.extend_from_slice(&[0; 14]);
    second
}

pub(super) fn read_rows(frame: &[u8]) -> Vec<Place> {
    let raw = zstd::decode_all(frame).unwrap();
    let place = |row: crate::row::read::Row<'_>| (row.resource_id as i32, row.bytes_sent as i64);
    rows(&raw).map(|row| place(row.unwrap())).collect()
}

/// What a queue holds, plainly. Of a batch that is acknowledged nothing is left.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plain {
    pub(super) lanes: BTreeMap<u32, PlainLane>,
    pub(super) batches: BTreeMap<u64, PlainBatch>,
    pub(super) quarantine: BTreeSet<(u32, i64)>,
    /// Rows by day of their time: consumed and stored.
    pub(super) consumed: BTreeMap<u32, i64>,
    pub(super) stored: BTreeMap<u32, i64>,
    /// Where reading goes on at the least, beyond the lanes that are gone.
    pub(super) kept: BTreeMap<i32, i64>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct PlainLane {
    pub(super) partition: i32,
    pub(super) open: bool,
    pub(super) sealed: i64,
    pub(super) eligible: i64,
    pub(super) next: i64,
    /// Blocks by their first offset: the end, and the rows.
    pub(super) blocks: BTreeMap<i64, (i64, Vec<Place>)>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct PlainBatch {
    /// Lane, from, to.
    pub(super) ranges: Vec<(u32, i64, i64)>,
    pub(super) state: &'static str,
    pub(super) may_be_stored: bool,
    /// Its rows are stored by the counts.
    pub(super) counted: bool,
}

impl Plain {
    pub(super) fn of(queue: &Queue) -> Plain {
        let mut plain = Plain::default();
        let summary = queue.summary().unwrap();
        for lane in summary.lanes {
            plain.lanes.insert(
                lane.id.0,
                PlainLane {
                    partition: lane.partition,
                    open: lane.state == LaneState::Open,
                    sealed: lane.sealed,
                    eligible: lane.eligible,
                    next: lane.next,
                    blocks: BTreeMap::new(),
                },
            );
        }
        for batch in summary.batches {
            let state = match batch.state {
                BatchState::Sealed => "sealed",
                BatchState::Acked => "acked",
                BatchState::Rejected { .. } => "rejected",
                BatchState::Delivered { .. } => "delivered",
            };
            let range = |r: &Range| (r.lane.0, r.from, r.to);
            plain.batches.insert(
                batch.seq,
                PlainBatch {
                    ranges: batch.ranges.iter().map(range).collect(),
                    state,
                    may_be_stored: batch.may_be_stored,
                    counted: batch.counted,
                },
            );
        }
        for block in queue.blocks() {
            let (header, frame) = block.unwrap();
            // Of a delivered batch the lane may be gone.
            if let Some(lane) = plain.lanes.get_mut(&header.lane.0) {
                let rows = read_rows(&frame);
                lane.blocks.insert(header.first, (header.next, rows));
            }
        }
        for entry in queue.quarantined() {
            let entry = entry.unwrap();
            plain
                .quarantine
                .insert((entry.lane.0, entry.message.offset));
        }
        for partition in 0..PARTITIONS {
            let next = queue.eligible_next("t", partition).unwrap();
            plain.kept.extend(next.map(|n| (partition, n)));
        }
        plain
    }

    /// With the counts, whose reading writes down what is not counted yet.
    pub(super) fn with_counts(queue: &Queue) -> Plain {
        let mut plain = Plain::of(queue);
        for c in queue.counts(0..1 << 33, 0).unwrap().spans {
            let day = c.start / 60 / DAY;
            *plain.consumed.entry(day).or_default() += c.consumed;
            *plain.stored.entry(day).or_default() += c.stored;
            assert_eq!(c.lost, 0);
        }
        for counts in [&mut plain.consumed, &mut plain.stored] {
            counts.retain(|_, rows| *rows != 0);
        }
        plain
    }

    pub(super) fn without_counts(&self) -> Plain {
        Plain {
            consumed: BTreeMap::new(),
            stored: BTreeMap::new(),
            ..self.clone()
        }
    }

    /// As a start leaves it.
    pub(super) fn reopened(&self) -> Plain {
        let mut plain = self.clone();
        plain.lanes.values_mut().for_each(|l| l.open = false);
        plain.forget_spent();
        plain
    }

    pub(super) fn forget_spent(&mut self) {
        let batches = &self.batches;
        self.lanes.retain(|id, lane| {
            let delivered = |first: i64| {
                let covers = |r: &(u32, i64, i64)| r.0 == *id && (r.1..r.2).contains(&first);
                let of = |b: &&PlainBatch| b.ranges.iter().any(covers);
                batches
                    .values()
                    .find(of)
                    .is_some_and(|b| b.state == "delivered")
            };
            let empty = lane.blocks.keys().all(|first| delivered(*first));
            lane.open || lane.next > lane.eligible || !empty
        });
    }

    pub(super) fn held(&self, partition: i32) -> Option<u32> {
        let of = |(id, l): (&u32, &PlainLane)| (l.open && l.partition == partition).then_some(*id);
        self.lanes.iter().find_map(of)
    }

    pub(super) fn count(counts: &mut BTreeMap<u32, i64>, rows: &[Place], sign: i64) {
        for (_, offset) in rows {
            let day = counts.entry(minute(*offset) / DAY).or_default();
            *day += sign;
        }
        counts.retain(|_, rows| *rows != 0);
    }

    /// Lanes whose offsets are ours alone do not count.
    pub(super) fn raise(&mut self, id: u32) {
        let lane = &self.lanes[&id];
        if lane.partition >= 0 {
            let kept = self.kept.entry(lane.partition).or_insert(i64::MIN);
            *kept = lane.eligible.max(*kept);
        }
    }

    /// The rows of a batch, in whatever order.
    pub(super) fn rows_of(&self, batch: &PlainBatch) -> Vec<Place> {
        let mut all = Vec::new();
        for (lane, from, to) in &batch.ranges {
            let blocks = &self.lanes[lane].blocks;
            all.extend(blocks.range(from..to).flat_map(|(_, b)| b.1.clone()));
        }
        all
    }
}
