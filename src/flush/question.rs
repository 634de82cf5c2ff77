//! A command's question to ClickHouse: it takes a slot like any other request, and comes before the
//! next insert.

use crossbeam_channel::{Receiver, Sender};

use super::Flusher;
use crate::minutes::Span;
use crate::queue::QueueError;
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
        let query = &question.query;
        let sql = query.sql(&self.options.database, &self.options.table);
        let answer = self.ask_once("reconcile", &sql)?;
        match answer.and_then(|text| query.parse(&text)) {
            Err(SinkError::Limited { .. }) => self.question = Some(question),
            answer => {
                // Nobody waits for it if the command was ended.
                let _ = question.reply.send(answer.map_err(|e| e.to_string()));
            }
        }
        Ok(true)
    }
}
