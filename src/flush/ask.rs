//! Questions of commands to ClickHouse, each through the limiter like any other request.

use super::Flusher;
use crate::queue::QueueError;
use crate::runtime::clock::Moment;
use crate::sink::SinkError;

impl Flusher<'_> {
    /// Asks in the next slot, again only if the proxy's limiter refuses. `None` if a stop was
    /// requested.
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
            match self.ask_once(what, sql)? {
                Err(SinkError::Limited { .. }) => {}
                answer => return Ok(Some(answer)),
            }
        }
    }

    /// One request. A failure concerns the command alone: it is told, and holds no insert.
    pub(super) fn ask_once(
        &mut self,
        what: &str,
        sql: &str,
    ) -> Result<Result<String, SinkError>, QueueError> {
        self.limiter.begin(what, Moment::now())?;
        let answer = self.sink.query(sql);
        match &answer {
            Ok(_) => self.limiter.ended("answered")?,
            Err(e) if e.used_slot() => {
                log::warn!("ClickHouse did not answer a command: {e}");
                self.limiter.ended(e.label())?;
                if let Some(pause) = e.retry_after() {
                    self.limiter.put_off(pause);
                }
            }
            Err(e) => self.account(e)?,
        }
        Ok(answer)
    }
}
