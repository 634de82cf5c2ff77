//! ClickHouse's codes: what each asks of us. The names are those of ClickHouse's `ErrorCodes.cpp`.

/// What a code asks of us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::clickhouse) enum Class {
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
pub(in crate::clickhouse) enum When {
    /// Before the first row is written to any table, if the words say so as well (`exception::is_before`): a
    /// user's view on the table can throw any code when the raw rows are written already.
    Before,
    /// Possibly after.
    Any,
}

use Class::{Data, Missing, Operator, Size, Transient};
use When::{Any, Before};

/// Every code this program knows. A code that is not here holds the queue: to take an unknown error
/// for a fault of the rows would set good rows aside, and to take it for transient would hide it.
///
/// `Before` is claimed only of what the server refuses on sight of the user, a setting, the table's name or
/// the column list; `--test engine refusals` proves each on the real engine, but for the user's, which its
/// gateway checks as the server does, before it reads the query.
pub(in crate::clickhouse) const CODES: &[(u32, &str, Class, When)] = &[
    (3, "UNEXPECTED_END_OF_FILE", Transient, Any), // the body was cut on its way
    (6, "CANNOT_PARSE_TEXT", Data, Any),
    (16, "NO_SUCH_COLUMN_IN_TABLE", Operator, Before),
    (26, "CANNOT_PARSE_QUOTED_STRING", Data, Any),
    (27, "CANNOT_PARSE_INPUT_ASSERTION_FAILED", Data, Any),
    (32, "ATTEMPT_TO_READ_AFTER_EOF", Transient, Any), // the body was cut on its way
    (33, "CANNOT_READ_ALL_DATA", Transient, Any),      // the body was cut on its way
    (38, "CANNOT_PARSE_DATE", Data, Any),
    (41, "CANNOT_PARSE_DATETIME", Data, Any),
    (53, "TYPE_MISMATCH", Operator, Any),
    (60, "UNKNOWN_TABLE", Missing, Before),
    (69, "ARGUMENT_OUT_OF_BOUND", Data, Any),
    (72, "CANNOT_PARSE_NUMBER", Data, Any),
    (81, "UNKNOWN_DATABASE", Missing, Before),
    (95, "CANNOT_READ_FROM_SOCKET", Transient, Any),
    (96, "CANNOT_WRITE_TO_SOCKET", Transient, Any),
    (115, "UNKNOWN_SETTING", Operator, Before),
    (117, "INCORRECT_DATA", Operator, Any), // thrown when the table's types differ from ours
    (131, "TOO_LARGE_STRING_SIZE", Data, Any),
    (159, "TIMEOUT_EXCEEDED", Transient, Any),
    (164, "READONLY", Operator, Any),
    (173, "CANNOT_ALLOCATE_MEMORY", Transient, Any),
    (192, "UNKNOWN_USER", Operator, Before),
    (193, "WRONG_PASSWORD", Operator, Before),
    (194, "REQUIRED_PASSWORD", Operator, Before),
    (198, "DNS_ERROR", Transient, Any),
    (201, "QUOTA_EXPIRED", Operator, Any),
    (202, "TOO_MANY_SIMULTANEOUS_QUERIES", Transient, Any),
    (203, "NO_FREE_CONNECTION", Transient, Any),
    (209, "SOCKET_TIMEOUT", Transient, Any),
    (210, "NETWORK_ERROR", Transient, Any),
    (216, "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING", Transient, Any), // our first attempt
    (225, "NO_ZOOKEEPER", Transient, Any),
    (229, "QUERY_IS_TOO_LARGE", Size, Any),
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
    (321, "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE", Data, Any),
    (344, "SUPPORT_IS_DISABLED", Operator, Any),
    (349, "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN", Data, Any),
    (394, "QUERY_WAS_CANCELLED", Transient, Any),
    (425, "SYSTEM_ERROR", Transient, Any),
    (439, "CANNOT_SCHEDULE_TASK", Transient, Any),
    (441, "CANNOT_PARSE_DOMAIN_VALUE_FROM_STRING", Data, Any),
    (469, "VIOLATED_CONSTRAINT", Data, Any),
    (473, "DEADLOCK_AVOIDED", Transient, Any),
    (497, "ACCESS_DENIED", Operator, Any),
    (499, "S3_ERROR", Transient, Any),
    (516, "AUTHENTICATION_FAILED", Operator, Before),
    (999, "KEEPER_EXCEPTION", Transient, Any),
];

/// Name and meaning of a code.
pub(in crate::clickhouse) fn meaning(code: u32) -> (&'static str, Class, When) {
    let row = CODES.iter().find(|row| row.0 == code);
    row.map_or(("not known here", Operator, Any), |row| {
        (row.1, row.2, row.3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_has_no_code_twice() {
        assert!(CODES.windows(2).all(|w| w[0].0 < w[1].0));
    }
}
