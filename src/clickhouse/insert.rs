//! What an INSERT is, and what is pinned with it.

use std::time::Duration;

/// One INSERT: everything about it that is pinned with the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InsertRequest {
    /// The batch's token, for the error texts; the settings carry it to ClickHouse.
    pub token: String,
    /// How many rows the body holds.
    pub rows: u64,
    /// The exact length of the body in bytes.
    pub body_len: u64,
    /// The parameters pinned with the batch, from [`insert_settings`].
    pub settings: Vec<(String, String)>,
    /// The columns in the order of the body, as in SQL: `timestamp, resource_id, ...`.
    pub columns: String,
    /// The format of the body, as ClickHouse names it.
    pub format: &'static str,
}

/// ClickHouse has stored the rows, or had them already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InsertDone {
    /// What `X-ClickHouse-Summary` says was written, views included. A resend that was recognised
    /// writes 0: a number to show, never one to check.
    pub written_rows: Option<u64>,
    /// The name that the server gives itself, if it is told.
    pub answered_by: Option<String>,
    /// From the look-up of the name to the end of the answer.
    pub elapsed: Duration,
}

/// The parameters of an INSERT, to be pinned with the batch when it is sealed.
///
/// A resend must be cut into the same blocks as the first send, or it is neither dropped nor stored
/// once but mixed. So the block settings are no smaller than the batch: one batch, one block.
pub fn insert_settings(token: &str, max_rows: u64) -> Vec<(String, String)> {
    let block = max_rows.max(1_048_576).to_string();
    [
        ("insert_deduplication_token", token),
        ("insert_deduplicate", "1"),
        ("deduplicate_blocks_in_dependent_materialized_views", "1"),
        ("async_insert", "0"),
        ("max_insert_threads", "1"),
        ("max_insert_block_size", &block),
        ("min_insert_block_size_rows", &block),
        ("min_insert_block_size_bytes", "0"),
        // Merges add up what the views wrote; measured, twice the insert rate.
        ("optimize_on_insert", "0"),
        // Views that do not wait for one another, where there is more than one core.
        ("parallel_view_processing", "1"),
        // A view that cannot store its part is an error of the insert, whatever the server's profile:
        // totals that are wrong and nobody knows would be the alternative.
        ("materialized_views_ignore_errors", "0"),
        ("ignore_materialized_views_with_dropped_target_table", "0"),
        // Both are on by default: what refuses a body for columns of other types.
        ("input_format_with_names_use_header", "1"),
        ("input_format_with_types_use_header", "1"),
        // Of what a view asks, too: the totals would be without the rows that it leaves out.
        ("additional_result_filter", ""),
        ("group_by_overflow_mode", "throw"),
        // No timestamp in a row may make an insert fail.
        ("throw_on_max_partitions_per_insert_block", "0"),
        // The status must be the last word, not the first.
        ("wait_end_of_query", "1"),
        ("send_progress_in_http_headers", "0"),
        ("http_write_exception_in_output_format", "0"),
        // A resend that meets its first attempt still running gets 216, and waits.
        ("query_id", token),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_string(), value.to_string()))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_never_longer_than_a_block() {
        let block = |max_rows| {
            let settings = insert_settings("t", max_rows);
            let of = |name: &str| settings.iter().find(|s| s.0 == name).unwrap().1.clone();
            assert_eq!(
                of("max_insert_block_size"),
                of("min_insert_block_size_rows")
            );
            of("max_insert_block_size")
        };
        assert_eq!(block(1000), "1048576");
        assert_eq!(block(2_000_000), "2000000");
    }
}
