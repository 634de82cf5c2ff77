//! Asking whether this data dir is still the one of its installation id, before rows leave it
//! (`ownership/fence.rs`).

use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use super::Flusher;
use crate::queue::QueueError;
use crate::store::Ask;

/// How often a wait looks whether the program is to stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long an answer may take. While Kafka hangs rows are sent on, if there was a yes in this process.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whom to ask.
pub(super) struct Owner {
    asks: Sender<Ask>,
    /// It said yes once.
    is_sure: bool,
}

impl Flusher<'_> {
    /// Asks the thread that commits before each insert.
    pub fn ask_before_sending(&mut self, asks: Sender<Ask>) {
        let is_sure = false;
        self.owner = Some(Owner { asks, is_sure });
    }

    /// Whether rows may leave now. What was sealed is durable then, and Kafka has its number, if it can be
    /// asked.
    pub(super) fn may_send(&mut self) -> Result<bool, QueueError> {
        let Some(owner) = &self.owner else {
            return Ok(true);
        };
        let sealed = self.queue.next_batch();
        self.queue.sync()?;
        let (reply, answer) = bounded(1);
        let deadline = Instant::now() + PATIENCE;
        // It may still be busy with the last one.
        let mut may_send = match owner.asks.try_send(Ask { sealed, reply }) {
            Ok(()) => None,
            Err(_) => Some(owner.is_sure),
        };
        while may_send.is_none() && !self.shutdown.requested() {
            may_send = match answer.recv_timeout(LOOK_EVERY) {
                Ok(may_send) => Some(may_send),
                Err(RecvTimeoutError::Timeout) if Instant::now() < deadline => None,
                Err(_) => Some(owner.is_sure),
            };
        }
        let may_send = may_send.unwrap_or_default();
        if let Some(owner) = &mut self.owner {
            owner.is_sure |= may_send;
        }
        Ok(may_send)
    }
}
