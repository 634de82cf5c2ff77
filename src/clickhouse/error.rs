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
    /// Learn the limit and send less. From a proxy and before the body it cost no slot, and nothing is
    /// stored; later, or from ClickHouse, it did.
    #[error("a body of {body_len} bytes is too long for {}: {words}", if code.is_some() { "ClickHouse" } else { "the proxy" })]
    TooLarge {
        /// The length that was refused.
        body_len: u64,
        /// What was answered, fit for a log.
        words: String,
        /// ClickHouse's code, if it was ClickHouse that refused.
        code: Option<u32>,
        /// Whether a body byte had left before the answer came.
        body_sent: bool,
        /// Whether the rows may be stored all the same.
        ambiguous: bool,
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
        /// ClickHouse's code, if it was ClickHouse that answered.
        code: Option<u32>,
    },
    /// ClickHouse does not know the table or the database (codes 60 and 81): run the schema check.
    ///
    /// As [`Hold`](Self::Hold) otherwise. The slot was used.
    #[error("{words}")]
    Missing {
        /// ClickHouse's code.
        code: u32,
        /// The server's words, fit for a log.
        words: String,
        /// Whether the rows may be stored all the same: false where the words name the missing table.
        ambiguous: bool,
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

/// Codes of columns, types and settings that are not as they were.
const DOUBTS_SCHEMA: [u32; 8] = [
    16,  // NO_SUCH_COLUMN_IN_TABLE
    36,  // BAD_ARGUMENTS
    44,  // ILLEGAL_COLUMN: a column that no insert can fill
    53,  // TYPE_MISMATCH
    115, // UNKNOWN_SETTING
    117, // INCORRECT_DATA: what a header with other types gets
    164, // READONLY
    452, // SETTING_CONSTRAINT_VIOLATION
];

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
            Self::Limited { body_sent, .. } | Self::Unreadable { body_sent, .. } => *body_sent,
            Self::TooLarge { ambiguous, .. }
            | Self::Missing { ambiguous, .. }
            | Self::Retry { ambiguous, .. }
            | Self::Hold { ambiguous, .. }
            | Self::Reject { ambiguous, .. } => *ambiguous,
        }
    }

    /// Whether the insert may have been too much for its way or for ClickHouse: nobody answered it, or
    /// its memory (241) or its time (159) was used up. Less may pass.
    pub fn may_be_too_much(&self) -> bool {
        match self {
            Self::Retry { code, reached, .. } => *reached && matches!(code, None | Some(159 | 241)),
            Self::TooLarge { .. } => true,
            _ => false,
        }
    }

    /// Whether the head of the queue has to wait for a person.
    pub fn is_hold(&self) -> bool {
        matches!(self, Self::Hold { .. } | Self::Missing { .. })
    }

    /// Whether the tables or the settings may be others than the schema check saw: look again. A batch that
    /// may be stored is asked for anyway, and the tables with it.
    pub fn doubts_schema(&self) -> bool {
        self.code()
            .is_some_and(|code| DOUBTS_SCHEMA.contains(&code))
    }

    /// ClickHouse's code, if it gave one.
    pub fn code(&self) -> Option<u32> {
        match self {
            Self::Retry { code, .. } | Self::Hold { code, .. } | Self::TooLarge { code, .. } => {
                *code
            }
            Self::Missing { code, .. } | Self::Reject { code, .. } => Some(*code),
            Self::Limited { .. } | Self::Unreadable { .. } => None,
        }
    }

    /// All labels that there are.
    pub const LABELS: [&'static str; 8] = [
        "limited",
        "too_large",
        "unreachable",
        "retry",
        "missing",
        "hold",
        "reject",
        "unreadable",
    ];

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

#[cfg(test)]
mod tests {
    use super::SinkError;

    #[test]
    fn each_error_has_a_label_of_the_list() {
        let retry = |reached| SinkError::Retry {
            words: String::new(),
            reached,
            ambiguous: false,
            retry_after: None,
            code: None,
        };
        let words = String::new;
        let all = [
            SinkError::Limited {
                retry_after: None,
                body_sent: false,
            },
            SinkError::TooLarge {
                body_len: 1,
                words: words(),
                code: None,
                body_sent: false,
                ambiguous: false,
            },
            retry(false),
            retry(true),
            SinkError::Missing {
                code: 60,
                words: words(),
                ambiguous: false,
            },
            SinkError::Hold {
                code: None,
                words: words(),
                ambiguous: false,
            },
            SinkError::Reject {
                code: 469,
                words: words(),
                ambiguous: false,
            },
            SinkError::Unreadable {
                words: words(),
                body_sent: false,
            },
        ];
        assert_eq!(all.map(|e| e.label()), SinkError::LABELS);
    }
}
