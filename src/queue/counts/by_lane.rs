//! What is counted before it is written.

use std::collections::BTreeMap;

use crate::queue::LaneId;
use crate::row::minutes::Minutes;

/// Keys and values of chunks; one without rows is empty.
pub(in crate::queue) type Chunks = Vec<(Vec<u8>, Vec<u8>)>;

/// Rows by lane and minute.
pub(in crate::queue) type ByLane = BTreeMap<LaneId, BTreeMap<u32, u64>>;

/// Adds the rows of a block.
pub(in crate::queue) fn add_rows(to: &mut ByLane, lane: LaneId, minutes: &Minutes) {
    let lane = to.entry(lane).or_default();
    for (minute, rows) in minutes.iter() {
        *lane.entry(minute).or_default() += u64::from(rows);
    }
}
