//! A command's question to ClickHouse: it takes a slot like any other request, and comes before the
//! next insert.

use crossbeam_channel::{Receiver, Sender};

use super::Flusher;
use crate::minutes::Span;
use crate::queue::QueueError;
use crate::runtime::clock::Moment;
use crate::sink::{MinutesQuery, SinkError};

/// Rows by minute or day, or the words of what went wrong.
pub type Answer = Result<Vec<(Span, u64)>, String>;

/// What a command asks of the flusher of a live instance.
pub struct Question {
    /// Rows of which times.
    pub query: MinutesQuery,
    /// For the answer.
    pub reply: Sender<Answer>,
}

impl Flusher<'_> {
    /// Answers these questions from now on.
    pub fn listen(&mut self, questions: Receiver<Question>) {
        self.questions = questions;
    }

    /// Asks for one that waits. Returns whether there was one.
    pub(super) fn answer_question(&mut self) -> Result<bool, QueueError> {
        let Some(question) = self
            .question
            .take()
            .or_else(|| self.questions.try_recv().ok())
        else {
            return Ok(false);
        };
        match self.minutes(&question.query)? {
            Err(SinkError::Limited { .. }) => self.question = Some(question),
            answer => {
                // Nobody waits for it if the command was ended.
                let _ = question.reply.send(answer.map_err(|e| e.to_string()));
            }
        }
        Ok(true)
    }

    /// Asks in the next slot, again only if the proxy's limiter refuses. `None` if a stop was
    /// requested.
    ///
    /// # Errors
    /// [`QueueError`] if the slot cannot be written down.
    pub fn ask(&mut self, query: &MinutesQuery) -> Result<Option<Answer>, QueueError> {
        loop {
            if self.shutdown.wait(self.limiter.wait()) {
                return Ok(None);
            }
            match self.minutes(query)? {
                Err(SinkError::Limited { .. }) => {}
                answer => return Ok(Some(answer.map_err(|e| e.to_string()))),
            }
        }
    }

    /// One request. A failure concerns the command alone: it is told, and holds no insert.
    fn minutes(
        &mut self,
        query: &MinutesQuery,
    ) -> Result<Result<Vec<(Span, u64)>, SinkError>, QueueError> {
        self.limiter.begin("reconcile", Moment::now())?;
        let sql = query.sql(&self.options.database, &self.options.table);
        let answer = self.sink.query(&sql).and_then(|text| query.parse(&text));
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
