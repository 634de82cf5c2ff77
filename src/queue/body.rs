//! The body of an insert: a batch's stored frames, streamed.
//!
//! ClickHouse reads concatenated zstd frames as one stream, so what was compressed once when it
//! was appended is sent as it is.

use std::io::{self, Read};

use super::{Batch, Queue, QueueError};

/// Reads a batch's frames one block at a time; memory does not grow with the batch.
pub struct Body<'a> {
    queue: &'a Queue,
    batch: &'a Batch,
    range: usize,
    /// Where the next block of the current range starts, at the least.
    at: i64,
    frame: Vec<u8>,
    sent: usize,
    rows: u64,
    error: Option<QueueError>,
}

impl<'a> Body<'a> {
    pub(super) fn new(queue: &'a Queue, batch: &'a Batch) -> Body<'a> {
        Body {
            queue,
            batch,
            range: 0,
            at: batch.ranges.first().map_or(0, |r| r.from),
            frame: Vec::new(),
            sent: 0,
            rows: 0,
            error: None,
        }
    }

    /// The queue's error that ended the reading, if one did.
    pub fn take_error(&mut self) -> Option<QueueError> {
        self.error.take()
    }

    /// The next frame; `None` at the end.
    ///
    /// # Errors
    /// [`QueueError`] if a block is missing or damaged: the batch is then not what was sealed.
    pub fn next_frame(&mut self) -> Result<Option<Vec<u8>>, QueueError> {
        while let Some(range) = self.batch.ranges.get(self.range) {
            if let Some((header, value)) = self.queue.block_at(range.lane, self.at)?
                && header.first < range.to
            {
                self.at = header.next;
                self.rows += u64::from(header.rows);
                return Ok(Some(
                    value[value.len() - header.frame_len as usize..].to_vec(),
                ));
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

impl Read for Body<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.sent == self.frame.len() {
            match self.next_frame() {
                Ok(Some(frame)) => {
                    self.frame = frame;
                    self.sent = 0;
                }
                Ok(None) => return Ok(0),
                Err(e) => {
                    let text = e.to_string();
                    self.error = Some(e);
                    return Err(io::Error::other(text));
                }
            }
        }
        let n = out.len().min(self.frame.len() - self.sent);
        out[..n].copy_from_slice(&self.frame[self.sent..self.sent + n]);
        self.sent += n;
        Ok(n)
    }
}
