//! Decoding kept messages again.

use serde::{Deserialize, Serialize};

use super::{Page, QuarantineEntry, Which, is_eligible};
use crate::privacy::Quarantined;
use crate::queue::change::Change;
use crate::queue::format::block::{self, BlockHeader};
use crate::queue::{Lane, LaneId, Queue, QueueError};
use crate::row::minutes::Minutes;
use crate::row::{BLOCK_BYTES, RowError, ZSTD_LEVEL};

/// What became of an entry that was retried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retried {
    /// It is a row now, and no longer in quarantine.
    Row,
    /// It cannot become a row; the text says why.
    Not(String),
}

impl Queue {
    /// Decodes kept bytes again. Those that become rows now are appended as a block of a lane of
    /// their own, which is eligible at once, **in one transaction with the removal of their
    /// entries**: a crash neither loses nor doubles one. Entries that are not eligible stay. Durable
    /// after [`Queue::sync`]; a batch is synced before it is sent, and so are the rows in it.
    ///
    /// Kafka's offsets have no part in it: the lane is of [`Lane::RETRIED`], no topic that Kafka
    /// can have, and counts no offset but the rows themselves.
    ///
    /// # Errors
    /// [`QueueError`] if an entry cannot be read or the block cannot be written.
    pub fn retry_quarantined(
        &self,
        which: Which,
        now_ms: u64,
        to_row: impl Fn(&Quarantined, &[u8], &mut Vec<u8>) -> Result<u32, RowError>,
    ) -> Result<Page<(QuarantineEntry, Retried)>, QueueError> {
        self.check()?;
        let mut state = self.state();
        let (mut rows, mut count, mut minutes) = (Vec::new(), 0, Minutes::default());
        let mut totals = state.quarantine;
        let lanes = &state.lanes;
        let page = self.page_until(which, |entry, value| {
            let eligible = is_eligible(lanes.get(&entry.lane), entry.message.offset);
            let result = match &entry.message.kept {
                _ if !eligible => Err("its commit was not acknowledged yet".to_owned()),
                None => Err("its bytes are not kept".to_owned()),
                Some(kept) => {
                    to_row(&entry.message, kept.as_bytes(), &mut rows).map_err(|e| e.to_string())
                }
            };
            let entry = QuarantineEntry { eligible, ..entry };
            let result = match result {
                Err(why) => Retried::Not(why),
                Ok(second) => {
                    count += 1;
                    minutes.count(second);
                    totals.remove(value);
                    Retried::Row
                }
            };
            Ok((Some((entry, result)), rows.len() >= BLOCK_BYTES))
        })?;
        if count == 0 {
            return Ok(page);
        }
        minutes.merge();
        let frame = zstd::bulk::compress(&rows, ZSTD_LEVEL)
            .map_err(|e| QueueError::io("cannot compress a block for", self.dir.path(), e))?;
        let id = LaneId(state.next_lane);
        let lane = Lane::of_retried(id, count, frame.len() as u64);
        let header = BlockHeader {
            lane: id,
            first: 0,
            next: lane.next,
            rows: count,
            raw_len: rows.len() as u32,
            minutes_len: 0,
            frame_len: frame.len() as u32,
            appended_ms: now_ms,
            kafka_ms: None,
            checksum: 0,
        };
        let mut change = Change::default();
        change.block(&header, &minutes, &frame);
        change.new_lane(lane);
        for (entry, _) in page
            .entries
            .iter()
            .filter(|(_, result)| *result == Retried::Row)
        {
            change.remove_entry(&block::key(entry.lane, entry.message.offset));
        }
        change.quarantine(totals);
        // Not counted as an append that a commit waits for: no commit covers it.
        self.write(&mut state, change, "retry messages in")?;
        Ok(page)
    }
}
