//! What an answer means: one table of ClickHouse's codes, and the rules for answers without one.
//!
//! The code decides, not the status: ClickHouse can say 200 to an INSERT that failed, and 500 stands
//! for "memory is short" as for a bug. The names are those of ClickHouse's `ErrorCodes.cpp`.

use std::time::Duration;

use super::error::SinkError;
use super::words::clean;

/// What a code asks of us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Same rows, same token, later.
    Transient,
    /// Somebody must act.
    Operator,
    /// Somebody must act, and the schema check can say on what.
    Missing,
    /// Send less.
    Size,
    /// A value in the rows is wrong.
    Data,
}

/// When a code can be thrown, seen from the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// Before the first row is written to any table.
    Before,
    /// Possibly after: a view or its table can fail when the raw rows are written already.
    Any,
}

use Class::{Data, Missing, Operator, Size, Transient};
use When::{Any, Before};

/// Every code this program knows. A code that is not here holds the queue: to take an unknown error
/// for a fault of the rows would set good rows aside, and to take it for transient would hide it.
const CODES: &[(u32, &str, Class, When)] = &[
    (3, "UNEXPECTED_END_OF_FILE", Transient, Any), // the body was cut on its way
    (6, "CANNOT_PARSE_TEXT", Data, Before),
    (16, "NO_SUCH_COLUMN_IN_TABLE", Operator, Before),
    (26, "CANNOT_PARSE_QUOTED_STRING", Data, Before),
    (27, "CANNOT_PARSE_INPUT_ASSERTION_FAILED", Data, Before),
    (32, "ATTEMPT_TO_READ_AFTER_EOF", Transient, Any), // the body was cut on its way
    (33, "CANNOT_READ_ALL_DATA", Transient, Any),      // the body was cut on its way
    (38, "CANNOT_PARSE_DATE", Data, Before),
    (41, "CANNOT_PARSE_DATETIME", Data, Before),
    (53, "TYPE_MISMATCH", Operator, Before),
    (60, "UNKNOWN_TABLE", Missing, Before),
    (69, "ARGUMENT_OUT_OF_BOUND", Data, Any), // also of a function in a view
    (72, "CANNOT_PARSE_NUMBER", Data, Before),
    (81, "UNKNOWN_DATABASE", Missing, Before),
    (95, "CANNOT_READ_FROM_SOCKET", Transient, Any),
    (96, "CANNOT_WRITE_TO_SOCKET", Transient, Any),
    (115, "UNKNOWN_SETTING", Operator, Before),
    (117, "INCORRECT_DATA", Operator, Before), // thrown when the table's types differ from ours
    (131, "TOO_LARGE_STRING_SIZE", Data, Before),
    (159, "TIMEOUT_EXCEEDED", Transient, Any),
    (164, "READONLY", Operator, Before),
    (173, "CANNOT_ALLOCATE_MEMORY", Transient, Any),
    (192, "UNKNOWN_USER", Operator, Before),
    (193, "WRONG_PASSWORD", Operator, Before),
    (194, "REQUIRED_PASSWORD", Operator, Before),
    (198, "DNS_ERROR", Transient, Any),
    (201, "QUOTA_EXPIRED", Operator, Any),
    (202, "TOO_MANY_SIMULTANEOUS_QUERIES", Transient, Before),
    (203, "NO_FREE_CONNECTION", Transient, Any),
    (209, "SOCKET_TIMEOUT", Transient, Any),
    (210, "NETWORK_ERROR", Transient, Any),
    (216, "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING", Transient, Any), // our first attempt
    (225, "NO_ZOOKEEPER", Transient, Any),
    (229, "QUERY_IS_TOO_LARGE", Size, Before),
    (236, "ABORTED", Transient, Any),
    (241, "MEMORY_LIMIT_EXCEEDED", Transient, Any),
    (242, "TABLE_IS_READ_ONLY", Transient, Any),
    (243, "NOT_ENOUGH_SPACE", Transient, Any),
    (252, "TOO_MANY_PARTS", Transient, Any),
    (279, "ALL_CONNECTION_TRIES_FAILED", Transient, Any),
    (285, "TOO_FEW_LIVE_REPLICAS", Transient, Any),
    (286, "UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE", Transient, Any),
    (290, "LIMIT_EXCEEDED", Transient, Any),
    (319, "UNKNOWN_STATUS_OF_INSERT", Transient, Any),
    (321, "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE", Data, Any), // also of a cast in a view
    (344, "SUPPORT_IS_DISABLED", Operator, Before),
    (349, "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN", Data, Any), // also of a view's table
    (394, "QUERY_WAS_CANCELLED", Transient, Any),
    (425, "SYSTEM_ERROR", Transient, Any),
    (439, "CANNOT_SCHEDULE_TASK", Transient, Any),
    (441, "CANNOT_PARSE_DOMAIN_VALUE_FROM_STRING", Data, Any), // also of a column in a view
    (469, "VIOLATED_CONSTRAINT", Data, Any),                   // also of a view's table
    (473, "DEADLOCK_AVOIDED", Transient, Any),
    (497, "ACCESS_DENIED", Operator, Before),
    (499, "S3_ERROR", Transient, Any),
    (516, "AUTHENTICATION_FAILED", Operator, Before),
    (999, "KEEPER_EXCEPTION", Transient, Any),
];

/// What had left when the answer came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    /// The length of the body.
    pub(crate) body_len: u64,
    /// Whether any byte of it had left.
    pub(crate) any: bool,
}

/// An answer that was read, as far as the decision needs it.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// `X-ClickHouse-Exception-Code`.
    pub(crate) code: Option<u32>,
    /// Whether any `X-ClickHouse-*` header came: then no proxy made this answer.
    pub(crate) from_clickhouse: bool,
    /// `Retry-After`.
    pub(crate) retry_after: Option<Duration>,
    /// `written_rows` of `X-ClickHouse-Summary`.
    pub(crate) written_rows: Option<u64>,
    /// The body, up to a bound.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Whether the rows of an INSERT are stored: 200, no exception code, no body.
    pub(crate) fn insert_is_done(&self) -> bool {
        self.status == 200 && self.code.is_none() && self.body.is_empty()
    }

    /// Whether the body is the whole result of a query: a failure after the first byte is written
    /// into the body, since the status has left by then.
    pub(crate) fn query_is_done(&self) -> bool {
        self.status == 200 && self.code.is_none() && late_exception(&self.body).is_none()
    }

    /// Whether what has come so far names a failure. ClickHouse cuts an answer that it cannot finish,
    /// after it has written why.
    pub(crate) fn tells_failure(&self) -> bool {
        self.status != 200 || self.code.is_some() || late_exception(&self.body).is_some()
    }

    /// The decision on an answer that is not a success.
    pub(crate) fn into_error(self, sent: Sent) -> SinkError {
        let late = late_exception(&self.body);
        // A proxy may strip the headers it does not know; the text names the code as well.
        let text = late.unwrap_or(&self.body);
        if let Some(code) = self.code.or_else(|| code_in(text)) {
            return by_code(code, self.status, text, self.retry_after, sent);
        }
        let words = format!("HTTP {}: {}", self.status, clean(text));
        match self.status {
            429 | 503 if !self.from_clickhouse => SinkError::Limited {
                retry_after: self.retry_after,
                body_sent: sent.any,
            },
            413 if !self.from_clickhouse => SinkError::TooLarge {
                body_len: sent.body_len,
                code: None,
                body_sent: sent.any,
            },
            408 | 429 | 500..=599 => SinkError::Retry {
                words,
                reached: true,
                ambiguous: sent.any,
                retry_after: self.retry_after,
            },
            // 200 with a page in it, 202 or 204: something answers that is not ClickHouse, or hides it.
            200..=299 => SinkError::Hold {
                code: None,
                words: format!("{words} (ClickHouse answers an INSERT with 200 and nothing)"),
                ambiguous: sent.any,
            },
            // 3xx and 4xx: a wrong path, a login, a redirect. Refused before ClickHouse saw it.
            _ => SinkError::Hold {
                code: None,
                words,
                ambiguous: false,
            },
        }
    }
}

fn by_code(
    code: u32,
    status: u16,
    text: &[u8],
    retry_after: Option<Duration>,
    sent: Sent,
) -> SinkError {
    let (name, class, when) = CODES
        .iter()
        .find(|row| row.0 == code)
        .map_or(("not known here", Operator, Any), |row| {
            (row.1, row.2, row.3)
        });
    let words = format!("HTTP {status}, code {code} ({name}): {}", clean(text));
    let ambiguous = sent.any && when == Any;
    match class {
        Transient => SinkError::Retry {
            words,
            reached: true,
            ambiguous,
            retry_after,
        },
        Missing => SinkError::Missing { code, words },
        Size => SinkError::TooLarge {
            body_len: sent.body_len,
            code: Some(code),
            body_sent: sent.any,
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

/// The text of an exception written behind a result: `__exception__` on a line of its own since 2025,
/// before that a line that begins with the code.
fn late_exception(body: &[u8]) -> Option<&[u8]> {
    const MARK: &[u8] = b"__exception__\r\n";
    // At most 16 KiB are written behind the mark; anything further up is a value in the result.
    let tail = &body[body.len().saturating_sub(20 * 1024)..];
    if let Some(at) = tail.windows(MARK.len()).position(|w| w == MARK) {
        return Some(&tail[at + MARK.len()..]);
    }
    let line = tail.split_inclusive(|b| *b == b'\n').rev().find(|line| {
        line.starts_with(b"Code: ") && line.windows(13).any(|w| w == b"DB::Exception")
    })?;
    let at = line.as_ptr() as usize - tail.as_ptr() as usize;
    Some(&tail[at..])
}

/// The code in `Code: 241. DB::Exception: ...`, if the text holds one.
fn code_in(text: &[u8]) -> Option<u32> {
    let text = String::from_utf8_lossy(&text[..text.len().min(4096)]).into_owned();
    let (_, rest) = text.split_once("Code: ")?;
    let (code, rest) = rest.split_once('.')?;
    rest.trim_start().starts_with("DB::").then_some(())?;
    code.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: Sent = Sent {
        body_len: 1000,
        any: true,
    };
    const UNSENT: Sent = Sent {
        body_len: 1000,
        any: false,
    };

    fn answer(status: u16, code: Option<u32>, from_clickhouse: bool, body: &str) -> Answer {
        Answer {
            status,
            code,
            from_clickhouse,
            retry_after: None,
            written_rows: None,
            body: body.into(),
        }
    }

    /// label, used a slot, may be stored
    fn said(status: u16, code: Option<u32>, body: &str, sent: Sent) -> (&'static str, bool, bool) {
        let error = answer(status, code, code.is_some(), body).into_error(sent);
        (error.label(), error.used_slot(), error.may_be_stored())
    }

    #[test]
    fn the_table_is_sorted_and_has_no_code_twice() {
        assert!(CODES.windows(2).all(|w| w[0].0 < w[1].0));
    }

    #[test]
    fn a_code_decides_whatever_the_status() {
        for status in [200, 400, 408, 413, 500, 503] {
            let f = |code| said(status, Some(code), "", SENT);
            assert_eq!(f(209), ("retry", true, true));
            assert_eq!(f(202), ("retry", true, false));
            assert_eq!(f(216), ("retry", true, true));
            assert_eq!(f(252), ("retry", true, true));
            assert_eq!(f(33), ("retry", true, true));
            assert_eq!(f(27), ("reject", true, false));
            assert_eq!(f(321), ("reject", true, true));
            assert_eq!(f(117), ("hold", true, false));
            assert_eq!(f(516), ("hold", true, false));
            assert_eq!(f(60), ("missing", true, false));
            assert_eq!(f(81), ("missing", true, false));
            assert_eq!(f(229), ("too_large", true, false));
            assert_eq!(f(4242), ("hold", true, true), "an unknown code holds");
        }
    }

    #[test]
    fn answers_of_a_proxy() {
        let f = |status, sent| said(status, None, "<html>", sent);
        assert_eq!(f(503, UNSENT), ("limited", false, false));
        assert_eq!(f(429, UNSENT), ("limited", false, false));
        assert_eq!(f(503, SENT), ("limited", false, true));
        assert_eq!(f(413, UNSENT), ("too_large", false, false));
        assert_eq!(f(413, SENT), ("too_large", true, false));
        assert_eq!(f(502, SENT), ("retry", true, true));
        assert_eq!(f(504, SENT), ("retry", true, true));
        assert_eq!(f(500, UNSENT), ("retry", true, false));
        assert_eq!(f(408, SENT), ("retry", true, true));
        assert_eq!(f(404, SENT), ("hold", true, false));
        assert_eq!(f(301, SENT), ("hold", true, false));
        assert_eq!(f(200, SENT), ("hold", true, true));
        assert_eq!(f(204, SENT), ("hold", true, true));
    }

    #[test]
    fn a_503_of_clickhouse_is_no_limiter() {
        let error = answer(503, None, true, "shutting down").into_error(SENT);
        assert_eq!((error.label(), error.used_slot()), ("retry", true));
    }

    #[test]
    fn the_code_is_found_in_the_text_when_a_proxy_strips_headers() {
        let text = "Code: 241. DB::Exception: Memory limit exceeded";
        assert_eq!(said(500, None, text, SENT), ("retry", true, true));
        let text = "Code: 27. DB::ParsingException: no";
        assert_eq!(said(200, None, text, SENT), ("reject", true, false));
        assert_eq!(said(500, None, "Code: five", SENT).0, "retry");
    }

    #[test]
    fn exceptions_behind_a_result_are_found() {
        let f = |body: &str| answer(200, None, true, body).query_is_done();
        assert!(f(""));
        assert!(f("1\t2\n"));
        assert!(f("says __exception__ in a value\n"));
        assert!(!f(
            "1\n\r\n__exception__\r\ntag\r\nCode: 395. DB::Exception: x\r\n27 tag\r\n__exception__\r\n"
        ));
        assert!(!f("1\n2\nCode: 395. DB::Exception: x (version 24.3)\n"));
        let body = "1\n\r\n__exception__\r\ntag\r\nCode: 241. DB::Exception: x\r\n";
        assert_eq!(said(200, None, body, SENT), ("retry", true, true));
    }
}
