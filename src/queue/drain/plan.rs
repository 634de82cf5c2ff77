//! Which blocks go into the next batch: the oldest eligible ones, as many as the bounds allow.

use xxhash_rust::xxh3::Xxh3;

use crate::queue::format::block::BlockHeader;
use crate::queue::{Frame, Lane, Queue, QueueError, Range};

/// Bounds of a batch. At least one block is always taken.
#[derive(Clone, Copy, Debug)]
pub struct SealBounds {
    /// Most rows.
    pub rows: u64,
    /// Most bytes of frames.
    pub bytes: u64,
}

/// Blocks chosen for a batch. Nothing is written yet, and only the thread that seals may hold one: it
/// is out of date once another batch is sealed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The blocks.
    pub ranges: Vec<Range>,
    /// Rows in them.
    pub rows: u64,
    /// Bytes of their frames.
    pub bytes: u64,
    /// Bytes of their rows before compression.
    pub raw_bytes: u64,
    /// Whether eligible blocks are left out because of [`SealBounds::bytes`].
    pub full: bool,
    pub(in crate::queue) oldest_ms: u64,
    pub(in crate::queue) digest: u64,
}

impl Queue {
    /// Chooses the oldest eligible blocks, within `bounds`. `None` if nothing is eligible.
    ///
    /// # Errors
    /// [`QueueError`] if a block is damaged.
    pub fn plan(&self, bounds: SealBounds) -> Result<Option<Plan>, QueueError> {
        self.check()?;
        let lanes: Vec<Lane> = self
            .state()
            .lanes
            .values()
            .filter(|l| l.sealed < l.eligible)
            .cloned()
            .collect();
        // Only this thread moves `sealed`, and `eligible` only grows: no lock while walking.
        let mut heads = Vec::new();
        for lane in &lanes {
            let range = Range {
                lane: lane.id,
                from: lane.sealed,
                to: lane.sealed,
                blocks: 0,
                rows: 0,
                bytes: 0,
            };
            heads.push((lane, self.eligible_block(lane, lane.sealed)?, range));
        }
        let mut plan = Plan {
            ranges: Vec::new(),
            rows: 0,
            bytes: 0,
            raw_bytes: 0,
            full: false,
            oldest_ms: u64::MAX,
            digest: 0,
        };
        let mut digest = Xxh3::new();
        while let Some((lane, head, range)) = heads
            .iter_mut()
            .filter(|(_, head, _)| head.is_some())
            .min_by_key(|(_, head, _)| head.as_ref().map(|h| h.appended_ms))
        {
            let block = head.take().expect("filtered above");
            let rows = plan.rows + u64::from(block.rows);
            let bytes = plan.bytes + u64::from(block.frame_len);
            let first = plan.oldest_ms == u64::MAX;
            if !first && (rows > bounds.rows || bytes > bounds.bytes) {
                plan.full = rows <= bounds.rows;
                break;
            }
            (plan.rows, plan.bytes) = (rows, bytes);
            plan.raw_bytes += u64::from(block.raw_len);
            plan.oldest_ms = plan.oldest_ms.min(block.appended_ms);
            digest.update(&block.checksum.to_le_bytes());
            range.to = block.next;
            range.blocks += 1;
            range.rows += u64::from(block.rows);
            range.bytes += u64::from(block.frame_len);
            *head = self.eligible_block(lane, block.next)?;
        }
        plan.digest = digest.digest();
        plan.ranges = heads
            .into_iter()
            .map(|(_, _, range)| range)
            .filter(|r| r.blocks > 0)
            .collect();
        Ok((!plan.ranges.is_empty()).then_some(plan))
    }

    fn eligible_block(&self, lane: &Lane, from: i64) -> Result<Option<BlockHeader>, QueueError> {
        let head = self.head_at(lane.id, from)?;
        let head = head.filter(|head| head.header.next <= lane.eligible);
        if let Some(head) = &head {
            self.remember(lane.id, from, head);
        }
        Ok(head.map(|head| head.header))
    }

    /// The blocks of `ranges`, each with its frame, read one at a time.
    pub fn range_blocks<'a>(
        &'a self,
        ranges: &'a [Range],
    ) -> impl Iterator<Item = Result<(BlockHeader, Frame), QueueError>> + 'a {
        ranges.iter().flat_map(move |range| {
            let mut at = range.from;
            std::iter::from_fn(move || match self.block_at(range.lane, at) {
                Ok(Some((header, value))) if header.first < range.to => {
                    at = header.next;
                    Some(Ok((header, Frame::of(&header, value))))
                }
                Ok(_) => None,
                Err(e) => {
                    at = i64::MAX;
                    Some(Err(e))
                }
            })
        })
    }
}
