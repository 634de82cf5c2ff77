//! `SinkError`: what came of a request, as a decision. Callers never read a status code.

use std::time::Duration;

/// What came of a request that was not a success, and what is to be done.
///
/// Three questions are answered by methods, so that no caller matches on the details:
/// [`used_slot`](Self::used_slot), [`may_be_stored`](Self::may_be_stored) and
/// [`retry_after`](Self::retry_after).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    /// A proxy's limiter refused: 503 or 429 without a sign of ClickHouse.
    ///
    /// No slot was used: send the same again soon, with jitter. Nothing is stored, unless a body byte
    /// had left: then a proxy that is no limiter may have said so after it had passed the body on.
    #[error("the proxy's limiter refused the request")]
    Limited {
        /// What the proxy asked for.
        retry_after: Option<Duration>,
        /// Whether a body byte had left before the answer came.
        body_sent: bool,
    },
    /// The body is too long: 413 from a proxy, or ClickHouse's code 229.
    ///
    /// Nothing is stored. Learn the limit and send less. From a proxy and before the body it cost no
    /// slot; later, or from ClickHouse, it did.
    #[error("a body of {body_len} bytes is too long for {}", if code.is_some() { "ClickHouse" } else { "the proxy" })]
    TooLarge {
        /// The length that was refused.
        body_len: u64,
        /// ClickHouse's code, if it was ClickHouse that refused.
        code: Option<u32>,
        /// Whether a body byte had left before the answer came.
        body_sent: bool,
    },
    /// It may work later: a transient code, a 5xx that names no code, a reset, a timeout, no connection.
    ///
    /// Send the same rows under the same token again.
    #[error("{words}")]
    Retry {
        /// What happened, fit for a log.
        words: String,
        /// Whether a connection was made. If not, no request reached the proxy and no slot was used.
        reached: bool,
        /// Whether the rows may be stored all the same.
        ambiguous: bool,
        /// What the server asked for.
        retry_after: Option<Duration>,
    },
    /// ClickHouse does not know the table or the database (codes 60 and 81): run the schema check.
    ///
    /// As [`Hold`](Self::Hold) otherwise. Nothing is stored; the slot was used.
    #[error("{words}")]
    Missing {
        /// ClickHouse's code.
        code: u32,
        /// The server's words, fit for a log.
        words: String,
    },
    /// Somebody must act: access, settings, a table that differs, an answer that is not ClickHouse's,
    /// or a code not known to this program.
    ///
    /// Keep the batch at the head of the queue, say so, try again slowly. The slot was used.
    #[error("{words}")]
    Hold {
        /// ClickHouse's code, if it gave one.
        code: Option<u32>,
        /// The server's words, fit for a log.
        words: String,
        /// Whether the rows may be stored all the same.
        ambiguous: bool,
    },
    /// ClickHouse says that a value in the rows is wrong, by a code on an explicit list.
    ///
    /// Sending again cannot help: set this one batch aside with the words. The slot was used.
    #[error("{words}")]
    Reject {
        /// ClickHouse's code.
        code: u32,
        /// The server's words, fit for a log.
        words: String,
        /// Whether the rows may be stored all the same: a view can fail after the raw rows are written.
        ambiguous: bool,
    },
    /// The caller's own reader failed or did not hold `body_len` bytes; the connection was cut.
    ///
    /// The slot counts as used. A server older than 2023 may have stored what had arrived.
    #[error("cannot read the batch to send: {words}")]
    Unreadable {
        /// The reader's error.
        words: String,
        /// Whether a body byte had left.
        body_sent: bool,
    },
}

impl SinkError {
    /// Whether the proxy has to be taken to have let this request pass, so that the next one must wait.
    pub fn used_slot(&self) -> bool {
        match self {
            Self::Limited { .. } => false,
            // Two proxies in a row: the first let it pass, the second found it too long.
            Self::TooLarge {
                code, body_sent, ..
            } => code.is_some() || *body_sent,
            Self::Retry { reached, .. } => *reached,
            Self::Missing { .. } | Self::Hold { .. } | Self::Reject { .. } => true,
            Self::Unreadable { .. } => true,
        }
    }

    /// Whether the rows may be in ClickHouse in spite of the error. Such a batch is never regrouped.
    pub fn may_be_stored(&self) -> bool {
        match self {
            Self::TooLarge { .. } | Self::Missing { .. } => false,
            Self::Limited { body_sent, .. } | Self::Unreadable { body_sent, .. } => *body_sent,
            Self::Retry { ambiguous, .. }
            | Self::Hold { ambiguous, .. }
            | Self::Reject { ambiguous, .. } => *ambiguous,
        }
    }

    /// Whether the head of the queue has to wait for a person.
    pub fn is_hold(&self) -> bool {
        matches!(self, Self::Hold { .. } | Self::Missing { .. })
    }

    /// A stable name for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Limited { .. } => "limited",
            Self::TooLarge { .. } => "too_large",
            Self::Retry { reached: false, .. } => "unreachable",
            Self::Retry { .. } => "retry",
            Self::Missing { .. } => "missing",
            Self::Hold { .. } => "hold",
            Self::Reject { .. } => "reject",
            Self::Unreadable { .. } => "unreadable",
        }
    }

    /// What the server asked for in `Retry-After`, at most 10 minutes.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Limited { retry_after, .. } | Self::Retry { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
