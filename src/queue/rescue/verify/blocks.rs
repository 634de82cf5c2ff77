//! Block by block: is each one whole, in its place, and of a lane and a batch that know it?

use std::collections::BTreeMap;

use super::{Look, Lost};
use crate::queue::format::block::{self, BlockHeader};
use crate::queue::format::error::describe;
use crate::queue::{Batch, Block, CommandError, Lane, LaneId, QueueError};
use crate::row::minutes::Minutes;
use crate::row::read::rows;

/// The longest block that can have been written, before compression: a full one, and one row of a
/// MiB more, with room. What claims more is not unpacked.
const MAX_RAW: u32 = 16 << 20;

/// Unpacks a block and checks that it is what its header says.
///
/// # Errors
/// [`QueueError::Damaged`].
pub fn unpack(header: &BlockHeader, frame: &[u8]) -> Result<Vec<u8>, QueueError> {
    let damaged = |what: String| QueueError::Damaged {
        what: format!(
            "block at offset {} of {}: {what}",
            header.first, header.lane
        ),
    };
    if header.raw_len > MAX_RAW {
        return Err(damaged(format!("claims {} bytes of rows", header.raw_len)));
    }
    let raw = zstd::bulk::decompress(frame, header.raw_len as usize)
        .map_err(|e| damaged(format!("cannot be unpacked: {e}")))?;
    if raw.len() != header.raw_len as usize {
        return Err(damaged(format!(
            "{} bytes of rows, the header says {}",
            raw.len(),
            header.raw_len
        )));
    }
    let mut count = 0;
    for row in rows(&raw) {
        row.map_err(|e| damaged(e.to_string()))?;
        count += 1;
    }
    if count != header.rows {
        return Err(damaged(format!(
            "{count} rows, the header says {}",
            header.rows
        )));
    }
    Ok(raw)
}

/// Checks that a block unpacks, and that its minutes are those of its rows.
fn whole(block: &Block) -> Result<(), QueueError> {
    let raw = unpack(&block.header, &block.frame)?;
    let minutes: Minutes = rows(&raw).flatten().map(|row| row.timestamp).collect();
    if minutes == block.minutes {
        return Ok(());
    }
    Err(QueueError::Damaged {
        what: format!(
            "block at offset {} of {}: its minutes are not those of its rows",
            block.header.first, block.header.lane
        ),
    })
}

impl Look<'_> {
    pub(super) fn blocks(&mut self, lanes: &[Lane], batches: &[Batch]) -> Result<(), CommandError> {
        let by_id: BTreeMap<LaneId, &Lane> = lanes.iter().map(|l| (l.id, l)).collect();
        let trees = self.trees;
        for stored in trees.blocks(block::key(LaneId(0), 0)) {
            if (self.stop)(self.found.rows) {
                return Err(CommandError::Stopped);
            }
            let checked = stored
                .block
                .and_then(|block| whole(&block).map(|()| (block.header, block.minutes)));
            let (header, minutes) = match checked {
                Ok(block) => block,
                Err(e) => {
                    let lost = stored
                        .place
                        .and_then(|(id, from)| self.lost(id, from, &by_id));
                    self.damage("block", describe(&e), lost);
                    continue;
                }
            };
            self.found.blocks += 1;
            self.found.rows += u64::from(header.rows);
            self.found.bytes += u64::from(header.frame_len);
            let name = format!("block at offset {} of {}", header.first, header.lane);
            let end = self.ends.insert(header.lane, header.next);
            if let Some(end) = end
                && end < header.first
            {
                let gaps = self.gaps.entry(header.lane).or_default();
                gaps.push((end, header.first));
            }
            if header.next <= header.first || end.is_some_and(|end| header.first < end) {
                self.damage("block", format!("{name}: overlaps the one before it"), None);
            }
            let batch = batches.iter().find(|b| b.covers(&header));
            let delivered = batch.is_some_and(Batch::is_delivered);
            let Some(lane) = by_id.get(&header.lane) else {
                if batch.is_none() && !self.live {
                    self.damage("block", format!("{name}: its lane's record is gone"), None);
                }
                continue;
            };
            if header.first < lane.sealed && batch.is_none() && !self.live {
                self.damage(
                    "block",
                    format!("{name}: sealed, but in no batch: it would never be sent"),
                    None,
                );
            }
            if batch.is_none_or(|b| !b.counted) {
                self.book.add(lane, &header, &minutes);
            }
            if header.next > lane.next {
                if !self.live {
                    self.damage("block", format!("{name}: beyond the end of its lane"), None);
                }
                continue;
            }
            if !delivered {
                let sum = self.sums.entry(header.lane).or_default();
                sum.0 += u64::from(header.rows);
                sum.1 += u64::from(header.frame_len);
            }
        }
        Ok(())
    }

    /// From `from` up to the next block that is there, or the lane's end.
    fn lost(&self, id: LaneId, from: i64, lanes: &BTreeMap<LaneId, &Lane>) -> Option<Lost> {
        let lane = lanes.get(&id)?;
        let next = self
            .trees
            .blocks(block::key(id, from.checked_add(1)?))
            .take(2)
            .find_map(|b| b.place.filter(|(lane, at)| *lane == id && *at > from));
        Some(Lost {
            topic: lane.topic_name().to_owned(),
            partition: lane.partition,
            from,
            to: next.map_or(lane.next, |(_, at)| at).max(from),
        })
    }
}
