//! The body of an insert: a batch's stored frames.
//!
//! ClickHouse reads concatenated zstd frames as one stream, so what was compressed once when it
//! was appended is sent as it is.

use std::ops::Deref;

use super::{Batch, Queue, QueueError};

/// The zstd frame of a block, in the memory that sled read it into.
pub struct Frame {
    value: sled::IVec,
    at: usize,
}

impl Deref for Frame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.value[self.at..]
    }
}

/// Reads a batch's frames one block at a time; memory does not grow with the batch.
pub struct Body<'a> {
    queue: &'a Queue,
    batch: &'a Batch,
    range: usize,
    /// Where the next block of the current range starts, at the least.
    at: i64,
    rows: u64,
}

impl<'a> Body<'a> {
    pub(super) fn new(queue: &'a Queue, batch: &'a Batch) -> Body<'a> {
        Body {
            queue,
            batch,
            range: 0,
            at: batch.ranges.first().map_or(0, |r| r.from),
            rows: 0,
        }
    }

    /// The next frame; `None` at the end.
    ///
    /// # Errors
    /// [`QueueError`] if a block is missing or damaged: the batch is then not what was sealed.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, QueueError> {
        while let Some(range) = self.batch.ranges.get(self.range) {
            if let Some((header, value)) = self.queue.block_at(range.lane, self.at)?
                && header.first < range.to
            {
                self.at = header.next;
                self.rows += u64::from(header.rows);
                let at = value.len() - header.frame_len as usize;
                return Ok(Some(Frame { value, at }));
            }
            self.range += 1;
            if let Some(range) = self.batch.ranges.get(self.range) {
                self.at = range.from;
            }
        }
        if self.rows != self.batch.rows {
            return Err(QueueError::Damaged {
                what: format!(
                    "batch {} has {} rows, {} were sealed",
                    self.batch.seq, self.rows, self.batch.rows
                ),
            });
        }
        Ok(None)
    }
}
