//! One question to ClickHouse, through the limiter, for a command that owns the data dir.

use super::{Flusher, now_ms};
use crate::queue::QueueError;
use crate::sink::SinkError;

impl Flusher<'_> {
    /// Asks one question: one slot. Asks again where no slot was used, such as after the limiter's 503.
    /// `None` if a stop was requested.
    ///
    /// # Errors
    /// The outer error is the queue's, the inner one what ClickHouse or the proxy answered.
    pub fn ask(
        &mut self,
        what: &str,
        sql: &str,
    ) -> Result<Option<Result<String, SinkError>>, QueueError> {
        loop {
            if self.shutdown.wait(self.limiter.wait()) {
                return Ok(None);
            }
            self.limiter.begin(what, now_ms())?;
            match self.sink.query(sql) {
                Ok(text) => {
                    self.limiter.ended("answered")?;
                    return Ok(Some(Ok(text)));
                }
                Err(e) => {
                    self.account(&e)?;
                    if !matches!(e, SinkError::Limited { .. }) {
                        return Ok(Some(Err(e)));
                    }
                }
            }
        }
    }
}
