//! What the profile of the user may not change about a question.
//!
//! With `max_execution_time` and `timeout_overflow_mode = 'break'` ClickHouse answers 200 and a part of the
//! truth, or nothing: "it has nothing of the batch", while it has all of it. So each SELECT says that what is
//! not whole is an error, that nothing is left out or kept from before, and how lines are written.

/// Parameters of each SELECT. Every release from 24.7 on knows them. A profile that forbids one of them
/// gives an error with its name, where it has another value.
pub(super) const WHOLE_ANSWER: &[(&str, &str)] = &[
    // An error instead of a part.
    ("read_overflow_mode", "throw"),
    ("read_overflow_mode_leaf", "throw"),
    ("timeout_overflow_mode", "throw"),
    ("timeout_overflow_mode_leaf", "throw"),
    ("result_overflow_mode", "throw"),
    ("group_by_overflow_mode", "throw"),
    ("set_overflow_mode", "throw"),
    ("transfer_overflow_mode", "throw"),
    // Nothing is left out.
    ("limit", "0"),
    ("offset", "0"),
    ("additional_table_filters", "{}"),
    // Of now: an answer that was kept is that of another minute, and ClickHouse refuses to keep this one.
    ("use_query_cache", "0"),
    // Tables of the system have no key that a question could use.
    ("force_primary_key", "0"),
    ("force_index_by_date", "0"),
    // A question for a batch takes up to 200 KiB.
    ("max_query_size", "1048576"),
    // A line for each row.
    ("output_format_json_array_of_rows", "0"),
];
