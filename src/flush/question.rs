//! A command's question to ClickHouse: it takes a slot like any other request, and comes before the
//! next insert.

use crossbeam_channel::{Receiver, Sender};

use super::{Flusher, TablesFound};
use crate::clickhouse::{MinutesQuery, SinkError};
use crate::queue::QueueError;
use crate::row::minutes::Span;

/// What was found, or the words of what went wrong.
pub type Reply<T> = Sender<Result<T, String>>;

/// What a command asks of the flusher of a live instance.
pub enum Question {
    /// Rows by minute or day.
    Minutes {
        /// Rows of which times.
        query: MinutesQuery,
        /// For the answer.
        reply: Reply<Vec<(Span, u64)>>,
    },
    /// Do the tables fit?
    Tables {
        /// For the answer.
        reply: Reply<TablesFound>,
    },
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
        let limited = match &question {
            Question::Minutes { query, reply } => {
                let sql = query.sql(&self.options.database, &self.options.table);
                let answer = self.ask_once("reconcile", &sql)?;
                give(reply, answer.and_then(|text| query.parse(&text)))
            }
            Question::Tables { reply } => give(reply, self.look_once()?),
        };
        if limited {
            self.question = Some(question);
        }
        Ok(true)
    }
}

/// Gives the answer, unless the proxy's limiter refused: then it is to be asked again.
fn give<T>(reply: &Reply<T>, answer: Result<T, SinkError>) -> bool {
    if matches!(answer, Err(SinkError::Limited { .. })) {
        return true;
    }
    // Nobody waits for it if the command was ended.
    let _ = reply.send(answer.map_err(|e| e.to_string()));
    false
}
