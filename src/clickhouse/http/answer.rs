//! What an answer means: by its code (`codes.rs`), by its words (`exception.rs`), and the rules for answers
//! without either.
//!
//! The code decides, not the status: ClickHouse can say 200 to an INSERT that failed, and 500 stands
//! for "memory is short" as for a bug.

use std::time::Duration;

use super::codes::Class::{Data, Missing, Operator, Size, Transient};
use super::codes::When::Before;
use super::codes::meaning;
use super::exception::{code_in, is_before, is_ours, late_exception};
use crate::clickhouse::error::SinkError;
use crate::clickhouse::words::clean;

/// What had left when the answer came.
#[derive(Debug, Clone, Copy)]
pub(in crate::clickhouse) struct Sent {
    /// The length of the body.
    pub(in crate::clickhouse) body_len: u64,
    /// Whether any byte of it had left.
    pub(in crate::clickhouse) any: bool,
    /// Whether all of it had left.
    pub(in crate::clickhouse) whole: bool,
}

/// An answer that was read, as far as the decision needs it.
#[derive(Debug)]
pub(in crate::clickhouse) struct Answer {
    /// The HTTP status.
    pub(in crate::clickhouse) status: u16,
    /// `X-ClickHouse-Exception-Code`.
    pub(in crate::clickhouse) code: Option<u32>,
    /// Whether a header came that ClickHouse writes: then no proxy made this answer.
    pub(in crate::clickhouse) from_clickhouse: bool,
    /// `X-ClickHouse-Query-Id`, which ClickHouse echoes.
    pub(in crate::clickhouse) query_id: Option<String>,
    /// `X-ClickHouse-Server-Display-Name`: the machine's name, if nobody gave another one.
    pub(in crate::clickhouse) display_name: Option<String>,
    /// `Server`, which names who answered where that was not ClickHouse.
    pub(in crate::clickhouse) server: Option<String>,
    /// `Retry-After`.
    pub(in crate::clickhouse) retry_after: Option<Duration>,
    /// `read_rows` of `X-ClickHouse-Summary`: the rows that were found in the body.
    pub(in crate::clickhouse) read_rows: Option<u64>,
    /// `written_rows` of `X-ClickHouse-Summary`.
    pub(in crate::clickhouse) written_rows: Option<u64>,
    /// The body, up to a bound.
    pub(in crate::clickhouse) body: Vec<u8>,
}

impl Answer {
    /// Whether the rows of an INSERT are stored: the whole body left, and ClickHouse itself says 200, no
    /// exception code, no body. An empty 200 of anybody else stores nothing.
    pub(in crate::clickhouse) fn insert_is_done(&self, sent: Sent) -> bool {
        self.is_quiet() && self.body.is_empty() && sent.whole
    }

    /// Whether the body is the whole result of a query: a failure after the first byte is written
    /// into the body, since the status has left by then.
    pub(in crate::clickhouse) fn query_is_done(&self) -> bool {
        self.is_quiet() && late_exception(&self.body).is_none()
    }

    /// 200 of ClickHouse without an exception code.
    fn is_quiet(&self) -> bool {
        self.status == 200 && self.code.is_none() && self.from_clickhouse
    }

    /// Fewer rows than were sent, if ClickHouse found so few in the body: something on the way changed or
    /// dropped it. It counts what it reads, also of a resend that it recognises; what it wrote, with what
    /// views wrote, only for a server that does not say what it read.
    pub(in crate::clickhouse) fn rows_missed(&self, rows: u64) -> Option<u64> {
        let read = self.read_rows?;
        let found = if read > 0 {
            read
        } else {
            self.written_rows.unwrap_or(0)
        };
        (found < rows).then_some(found)
    }

    /// Whose query it was, if ClickHouse says another id than the one that `parameters` gave it.
    pub(in crate::clickhouse) fn of_another_query(
        &self,
        parameters: &[(String, String)],
    ) -> Option<String> {
        let (_, ours) = parameters.iter().find(|(name, _)| name == "query_id")?;
        let id = self.query_id.as_ref().filter(|id| *id != ours)?;
        Some(format!(
            "ClickHouse answers for the query {}, not for ours: a proxy changes the parameters of the URL, \
             as chproxy does, so the deduplication token does not arrive; let all parameters through",
            clean(id.as_bytes())
        ))
    }

    /// Whether it is the answer to `Expect: 100-continue` of somebody who does not know it.
    pub(in crate::clickhouse) fn is_of_expect(&self) -> bool {
        self.status == 417 && self.code.is_none()
    }

    /// Whether what has come so far names a failure. ClickHouse cuts an answer that it cannot finish,
    /// after it has written why.
    pub(in crate::clickhouse) fn tells_failure(&self) -> bool {
        self.status != 200 || self.code.is_some() || late_exception(&self.body).is_some()
    }

    /// The decision on an answer that is not a success. `home` is where the rows go, as `database.table`.
    pub(in crate::clickhouse) fn into_error(self, sent: Sent, home: &str) -> SinkError {
        let late = late_exception(&self.body);
        // A proxy may strip the headers it does not know; the text names the code as well.
        let text = late.unwrap_or(&self.body);
        if let Some(code) = self.code.or_else(|| code_in(text)) {
            return by_code(code, &self, text, sent, home);
        }
        let words = format!("HTTP {}: {}", self.status, clean(text));
        match self.status {
            429 | 503 if !self.from_clickhouse => SinkError::Limited {
                retry_after: self.retry_after,
                body_sent: sent.any,
            },
            413 if !self.from_clickhouse => SinkError::TooLarge {
                body_len: sent.body_len,
                words,
                code: None,
                body_sent: sent.any,
                ambiguous: sent.any,
            },
            408 | 429 | 500..=599 => SinkError::Retry {
                words,
                reached: true,
                ambiguous: sent.any,
                retry_after: self.retry_after,
                code: None,
            },
            // Anything else is a page, a login, a redirect, a filter, or an answer to half a body. Once a
            // byte of the body has left, nobody but ClickHouse can say that nothing was stored.
            status => SinkError::Hold {
                code: None,
                words: format!("{words} ({})", self.stranger(status, sent)),
                ambiguous: sent.any,
            },
        }
    }

    /// Why an answer without a code is no answer of ClickHouse to an INSERT.
    fn stranger(&self, status: u16, sent: Sent) -> String {
        if self.from_clickhouse && status == 200 && !sent.whole {
            return "answered before the whole body was sent".into();
        }
        if self.from_clickhouse {
            return "ClickHouse answers an INSERT with 200 and nothing".into();
        }
        let who = self.server.as_deref().unwrap_or("a server without a name");
        format!(
            "not ClickHouse's answer: {who} made it, without X-ClickHouse-Query-Id or -Summary; \
             look at clickhouse_url and at what lies on the way"
        )
    }
}

fn by_code(code: u32, answer: &Answer, text: &[u8], sent: Sent, home: &str) -> SinkError {
    let (name, class, when) = meaning(code);
    let status = answer.status;
    let words = format!("HTTP {status}, code {code} ({name}): {}", clean(text));
    let ambiguous = sent.any && !(when == Before && is_before(text));
    match class {
        Transient => SinkError::Retry {
            words,
            reached: true,
            ambiguous,
            retry_after: answer.retry_after,
            code: Some(code),
        },
        // A table that a user's view asks for is nothing that we could create.
        Missing if !is_ours(text, home) => SinkError::Hold {
            code: Some(code),
            words,
            ambiguous,
        },
        Missing => SinkError::Missing {
            code,
            words,
            ambiguous,
        },
        Size => SinkError::TooLarge {
            body_len: sent.body_len,
            words,
            code: Some(code),
            body_sent: sent.any,
            ambiguous,
        },
        Data => SinkError::Reject {
            code,
            words,
            ambiguous,
        },
        Operator => SinkError::Hold {
            code: Some(code),
            words,
            ambiguous,
        },
    }
}

#[cfg(test)]
mod tests;
