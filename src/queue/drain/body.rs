//! The body of an insert: a batch's stored frames.
//!
//! ClickHouse reads concatenated zstd frames as one stream, so what was compressed once when it
//! was appended is sent as it is.

use std::ops::Deref;

use crate::queue::{Batch, BlockHeader, Queue, QueueError};

/// The zstd frame of a block, in the memory that sled read it into.
pub struct Frame {
    value: sled::IVec,
    at: usize,
}

impl Frame {
    /// Of the block `value`, which [`crate::queue::format::block::read_block`] found whole.
    pub(in crate::queue) fn of(header: &BlockHeader, value: sled::IVec) -> Frame {
        let at = value.len() - header.frame_len as usize;
        Frame { value, at }
    }
}

impl Deref for Frame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.value[self.at..]
    }
}

/// Reads a batch's frames one block at a time; memory does not grow with the batch.
pub struct Body<'a> {
    batch: &'a Batch,
    blocks: Box<dyn Iterator<Item = Result<(BlockHeader, Frame), QueueError>> + Send + 'a>,
    rows: u64,
}

impl<'a> Body<'a> {
    pub(in crate::queue) fn new(queue: &'a Queue, batch: &'a Batch) -> Body<'a> {
        Body {
            batch,
            blocks: Box::new(queue.range_blocks(&batch.ranges)),
            rows: 0,
        }
    }

    /// The next frame; `None` at the end.
    ///
    /// # Errors
    /// [`QueueError`] if a block is missing or damaged: the batch is then not what was sealed.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, QueueError> {
        if let Some((header, frame)) = self.blocks.next().transpose()? {
            self.rows += u64::from(header.rows);
            return Ok(Some(frame));
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
