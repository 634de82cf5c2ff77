//! Questions of commands to ClickHouse, each through the limiter like any other request.

use super::Flusher;
use crate::clickhouse::SinkError;
use crate::queue::QueueError;

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
        self.begin(what)?;
        let answer = self.sink.query(sql);
        match &answer {
            Ok(_) => {
                self.stats.flush.answered();
                self.answered("answered")?;
            }
            Err(e) => self.command_failed(e)?,
        }
        Ok(answer)
    }

    /// The bookkeeping of a command's request that failed.
    pub(super) fn command_failed(&mut self, e: &SinkError) -> Result<(), QueueError> {
        self.stats.flush.query_failed(e.label());
        if !e.used_slot() {
            return self.account(e);
        }
        log::warn!("ClickHouse did not answer a command: {e}");
        self.not_answered(e)?;
        if let Some(pause) = e.retry_after() {
            self.limiter.put_off(pause);
        }
        Ok(())
    }
}
