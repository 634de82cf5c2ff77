//! [`Anonymized`] -> one RowBinary row. The only file that knows the column order.
//!
//! RowBinary has no names and no separators, so this order must be that of [`COLUMNS`], which
//! every insert names. Integers are little-endian, strings are a LEB128 length and bytes
//! (ClickHouse documentation, "RowBinary").

use crate::anonymize::Anonymized;
use crate::minutes::leb128;

/// The columns of an insert, in the order in which [`encode`] writes them.
///
/// Do not reorder one without the other: ClickHouse cannot notice.
pub const COLUMNS: &str = "timestamp, resource_id, bytes_sent, request_time_milli, \
                           response_status, cache_status, method, remote_addr, url";

/// The largest row that is stored, in bytes. A row is stored within one block, and a block must
/// stay below a quarter of the queue's segment size (see [`crate::queue`]).
pub const MAX_ROW_BYTES: usize = 1 << 20;

/// Why a decoded record cannot be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// ClickHouse's `DateTime` holds seconds from 1970 to 2106-02-07 06:28:15 UTC in 32 bits.
    #[error("timestamp {0} ms is beyond what DateTime holds (2106-02-07)")]
    Timestamp(u64),
    /// The row is larger than [`MAX_ROW_BYTES`].
    #[error("row of {0} bytes is larger than {MAX_ROW_BYTES}")]
    TooLarge(usize),
}

/// Appends one row to `out`, and returns its timestamp in seconds of Unix time.
///
/// # Errors
/// [`EncodeError`] if the record cannot be stored; `out` is then as it was.
pub fn encode(record: &Anonymized<'_>, out: &mut Vec<u8>) -> Result<u32, EncodeError> {
    let r = record.rest();
    let seconds =
        u32::try_from(r.timestamp_ms / 1000).map_err(|_| EncodeError::Timestamp(r.timestamp_ms))?;
    let texts = [r.cache_status, r.method, record.remote_addr(), r.url];
    // 30 bytes of integers and at most 5 for each length.
    let size = texts.iter().map(|t| t.len() + 5).sum::<usize>() + 30;
    if size > MAX_ROW_BYTES {
        return Err(EncodeError::TooLarge(size));
    }
    out.reserve(size);
    out.extend_from_slice(&seconds.to_le_bytes());
    out.extend_from_slice(&r.resource_id.to_le_bytes());
    out.extend_from_slice(&r.bytes_sent.to_le_bytes());
    out.extend_from_slice(&r.request_time_ms.to_le_bytes());
    out.extend_from_slice(&r.response_status.to_le_bytes());
    for text in texts {
        string(text, out);
    }
    Ok(seconds)
}

/// A string of RowBinary, and of Native alike.
pub(crate) fn string(text: &[u8], out: &mut Vec<u8>) {
    leb128(text.len() as u64, out);
    out.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anonymize::anonymize;
    use crate::record::Record;

    fn record(timestamp_ms: u64, url: &[u8]) -> Record<'_> {
        Record {
            timestamp_ms,
            resource_id: 7,
            bytes_sent: 8,
            request_time_ms: 9,
            response_status: 200,
            cache_status: b"HIT",
            method: b"GET",
            remote_addr: b"1.2.3.4",
            url,
        }
    }

    #[test]
    fn writes_the_columns_in_order() {
        let mut out = Vec::new();
        encode(&anonymize(&record(1_999, b"/a")), &mut out).unwrap();
        let mut want = vec![1, 0, 0, 0];
        want.extend([7, 0, 0, 0, 0, 0, 0, 0]);
        want.extend([8, 0, 0, 0, 0, 0, 0, 0]);
        want.extend([9, 0, 0, 0, 0, 0, 0, 0]);
        want.extend([200, 0]);
        want.extend(b"\x03HIT\x03GET\x071.2.3.X\x02/a");
        assert_eq!(out, want);
    }

    #[test]
    fn refuses_a_timestamp_that_datetime_cannot_hold_and_leaves_the_buffer() {
        let last = (u64::from(u32::MAX) + 1) * 1000 - 1;
        let mut out = Vec::new();
        encode(&anonymize(&record(last, b"/")), &mut out).unwrap();
        let before = out.clone();
        assert_eq!(
            encode(&anonymize(&record(last + 1, b"/")), &mut out),
            Err(EncodeError::Timestamp(last + 1))
        );
        assert_eq!(out, before);
    }

    #[test]
    fn refuses_a_row_over_the_limit() {
        let url = vec![b'u'; MAX_ROW_BYTES];
        let mut out = Vec::new();
        assert!(matches!(
            encode(&anonymize(&record(0, &url)), &mut out),
            Err(EncodeError::TooLarge(_))
        ));
        assert!(out.is_empty());
    }

    #[test]
    fn long_texts_have_a_two_byte_length() {
        let url = vec![b'u'; 300];
        let mut out = Vec::new();
        encode(&anonymize(&record(0, &url)), &mut out).unwrap();
        let tail = &out[out.len() - 302..];
        assert_eq!(&tail[..2], &[0xac, 0x02]);
    }
}
