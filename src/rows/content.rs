//! A row's content as one number that ClickHouse computes alike, to ask whether it has the row.

use xxhash_rust::xxh3::xxh3_64;

use super::Row;

/// ClickHouse's expression for [`content_hash`], over the columns of the table.
pub const CONTENT_HASH_SQL: &str = "xxh3(concat(\
     toString(toUnixTimestamp(timestamp)), '\\t', toString(resource_id), '\\t', \
     toString(bytes_sent), '\\t', toString(request_time_milli), '\\t', \
     toString(response_status), '\\t', toString(length(cache_status)), '\\t', cache_status, \
     toString(length(method)), '\\t', method, toString(length(remote_addr)), '\\t', \
     remote_addr, url))";

/// XXH3-64 of all columns, lengths among them, so that no two rows give the same text.
pub fn content_hash(row: &Row<'_>) -> u64 {
    let mut text = format!(
        "{}\t{}\t{}\t{}\t{}\t",
        row.timestamp, row.resource_id, row.bytes_sent, row.request_time_milli, row.response_status
    )
    .into_bytes();
    for part in [row.cache_status, row.method, row.remote_addr] {
        text.extend_from_slice(format!("{}\t", part.len()).as_bytes());
        text.extend_from_slice(part);
    }
    text.extend_from_slice(row.url);
    xxh3_64(&text)
}
