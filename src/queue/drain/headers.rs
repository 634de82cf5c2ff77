//! What is remembered of planned blocks until they are gone.
//!
//! A block is asked for when a batch is planned, perhaps a few times, and when its rows are counted and
//! removed. Only its body needs all of it, so the rest is not read again each time: of 256 MiB, that
//! took four times as long as to read the body.

use std::collections::BTreeMap;

use crate::queue::format::block::{self, BlockHeader};
use crate::queue::{LaneId, Queue, QueueError, Range};
use crate::row::minutes::Minutes;

/// Blocks that are remembered: 2 GiB of frames, in some 15 MiB.
const MOST: usize = 80_000;

/// A block without its frame.
#[derive(Clone, Debug)]
pub struct Head {
    /// Its header.
    pub header: BlockHeader,
    /// Its rows by minute.
    pub minutes: Minutes,
}

/// Heads by the lane and the offset from which they were looked for. A block never changes, and none
/// is ever put before another, so what was found once is found again until it is removed.
#[derive(Default)]
pub struct Heads(BTreeMap<(LaneId, i64), Head>);

impl Queue {
    /// The first block of `lane` at or above `from`.
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be read or is damaged.
    pub(in crate::queue) fn head_at(
        &self,
        lane: LaneId,
        from: i64,
    ) -> Result<Option<Head>, QueueError> {
        if let Some(head) = self.heads().0.get(&(lane, from)) {
            return Ok(Some(head.clone()));
        }
        let Some((header, value)) = self.block_at(lane, from)? else {
            return Ok(None);
        };
        let minutes = block::read_minutes(&header, &value)?;
        Ok(Some(Head { header, minutes }))
    }

    /// The blocks of `range`. Each may be removed before the next one is looked for.
    pub(in crate::queue) fn heads_of(
        &self,
        range: &Range,
    ) -> impl Iterator<Item = Result<Head, QueueError>> {
        let (lane, to, mut at) = (range.lane, range.to, range.from);
        std::iter::from_fn(move || {
            let head = self.head_at(lane, at).transpose()?;
            // Behind an error nothing is looked for.
            at = head.as_ref().map_or(to, |head| head.header.next);
            Some(head).filter(|head| head.as_ref().map_or(true, |head| head.header.first < to))
        })
    }

    /// Remembers a block that was found from `from` on. Only for eligible ones: others may be dropped.
    pub(in crate::queue) fn remember(&self, lane: LaneId, from: i64, head: &Head) {
        let mut heads = self.heads();
        if heads.0.len() < MOST {
            heads.0.insert((lane, from), head.clone());
        }
    }

    /// Forgets the blocks of `range`, which are being removed.
    pub(in crate::queue) fn forget(&self, range: &Range) {
        let mut heads = self.heads();
        let mut at = range.from;
        while let Some(head) = heads.0.remove(&(range.lane, at)) {
            at = head.header.next;
            if at >= range.to {
                break;
            }
        }
    }

    fn heads(&self) -> std::sync::MutexGuard<'_, Heads> {
        self.heads.lock().expect("BUG: a map panicked")
    }
}
