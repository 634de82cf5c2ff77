//! A body is read by a thread of its own while what is before it is sent: sled takes about as long to
//! find a frame as the network to take it.

use std::io::{self, Read};
use std::thread::{Builder, Scope};

use crossbeam_channel::{Receiver, bounded};

use crate::queue::{Body, Frame, QueueError};

/// Frames that are read and not sent yet, of some 30 KiB each.
const FRAMES: usize = 16;

/// The bytes of a body.
pub struct Ahead {
    frames: Receiver<Result<Frame, QueueError>>,
    frame: Option<Frame>,
    sent: usize,
    error: Option<QueueError>,
}

impl Ahead {
    /// Starts to read. It ends with the body, or when this is dropped.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start<'scope, 'env>(
        scope: &'scope Scope<'scope, 'env>,
        mut body: Body<'env>,
    ) -> io::Result<Ahead> {
        let (sender, frames) = bounded(FRAMES);
        Builder::new()
            .name("body".into())
            .spawn_scoped(scope, move || {
                while let Some(frame) = body.next_frame().transpose() {
                    let last = frame.is_err();
                    if sender.send(frame).is_err() || last {
                        break;
                    }
                }
            })?;
        Ok(Ahead {
            frames,
            frame: None,
            sent: 0,
            error: None,
        })
    }

    /// The queue's error that ended the reading, if one did.
    pub fn take_error(&mut self) -> Option<QueueError> {
        self.error.take()
    }
}

impl Read for Ahead {
    /// As much of `out` as there is at hand, and at least a byte before the end: each write to the
    /// network costs as much as the bytes of a frame.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut n = 0;
        while n < out.len() {
            let Some(frame) = &self.frame else {
                let next = match n {
                    0 => self.frames.recv().ok(),
                    _ => self.frames.try_recv().ok(),
                };
                self.frame = match next.transpose() {
                    Ok(None) => break,
                    Ok(next) => next,
                    Err(e) => {
                        let text = e.to_string();
                        self.error = Some(e);
                        return Err(io::Error::other(text));
                    }
                };
                self.sent = 0;
                continue;
            };
            let part = (out.len() - n).min(frame.len() - self.sent);
            out[n..n + part].copy_from_slice(&frame[self.sent..self.sent + part]);
            (n, self.sent) = (n + part, self.sent + part);
            if self.sent == frame.len() {
                self.frame = None;
            }
        }
        Ok(n)
    }
}
