//! [`Anonymized`] -> one RowBinary row, of the [columns](crate::row::columns). Integers are little-endian,
//! strings are a LEB128 length and bytes (ClickHouse documentation, "RowBinary").

use crate::privacy::anonymize::Anonymized;
use crate::row::columns::{COLUMNS, Row};
use crate::row::varint::{leb128, string};

/// What `RowBinaryWithNamesAndTypes` begins with: the number of columns, their names, and the types that
/// the table has for them, by which ClickHouse refuses the insert if the table has others by now.
pub fn header(types: &[String]) -> Vec<u8> {
    let mut out = Vec::new();
    leb128(COLUMNS.len() as u64, &mut out);
    for column in COLUMNS {
        string(column.name.as_bytes(), &mut out);
    }
    for kind in types {
        string(kind.as_bytes(), &mut out);
    }
    out
}

/// The largest row that is stored, in bytes: a message of 16 MiB, far above Kafka's default bound of 1 MiB,
/// becomes one. A larger bound would cost memory: a row is there about eight times while it is stored.
pub const MAX_ROW_BYTES: usize = 16 << 20;

/// Why a decoded record cannot be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// ClickHouse's `DateTime` holds seconds from 1970 to 2106-02-07 06:28:15 UTC in 32 bits.
    // Without the number: eight bytes of a message of another kind may be an address.
    #[error("timestamp is beyond what DateTime holds")]
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
    let record = record.masked();
    let seconds = u32::try_from(record.timestamp_ms / 1000)
        .map_err(|_| EncodeError::Timestamp(record.timestamp_ms))?;
    let row = Row::of(&record);
    let size = row.size();
    if size > MAX_ROW_BYTES {
        return Err(EncodeError::TooLarge(size));
    }
    out.reserve(size);
    row.put(out);
    Ok(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::Policy;
    use crate::privacy::anonymize::anonymize;
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
        encode(
            &anonymize(&record(1_999, b"/a"), &Policy::default()),
            &mut out,
        )
        .unwrap();
        let mut want = vec![1, 0, 0, 0];
        want.extend([7, 0, 0, 0, 0, 0, 0, 0]);
        want.extend([8, 0, 0, 0, 0, 0, 0, 0]);
        want.extend([9, 0, 0, 0, 0, 0, 0, 0]);
        want.extend([200, 0]);
        want.extend(b"\x03HIT\x03GET\x071.2.3.X\x02/a");
        assert_eq!(out, want);
    }

    #[test]
    fn the_header_has_names_and_then_types() {
        let types: Vec<String> = COLUMNS.iter().map(|c| c.kind.to_owned()).collect();
        let header = header(&types);
        assert_eq!(header[..11], *b"\x09\x09timestamp");
        assert_eq!(header[header.len() - 14..], *b"\x06String\x06String");
    }

    #[test]
    fn refuses_a_timestamp_that_datetime_cannot_hold_and_leaves_the_buffer() {
        let last = (u64::from(u32::MAX) + 1) * 1000 - 1;
        let mut out = Vec::new();
        encode(
            &anonymize(&record(last, b"/"), &Policy::default()),
            &mut out,
        )
        .unwrap();
        let before = out.clone();
        assert_eq!(
            encode(
                &anonymize(&record(last + 1, b"/"), &Policy::default()),
                &mut out
            ),
            Err(EncodeError::Timestamp(last + 1))
        );
        assert_eq!(out, before);
    }

    #[test]
    fn refuses_a_row_over_the_limit() {
        let url = vec![b'u'; MAX_ROW_BYTES];
        let mut out = Vec::new();
        assert!(matches!(
            encode(&anonymize(&record(0, &url), &Policy::default()), &mut out),
            Err(EncodeError::TooLarge(_))
        ));
        assert!(out.is_empty());
    }

    #[test]
    fn long_texts_have_a_two_byte_length() {
        let url = vec![b'u'; 300];
        let mut out = Vec::new();
        encode(&anonymize(&record(0, &url), &Policy::default()), &mut out).unwrap();
        let tail = &out[out.len() - 302..];
        assert_eq!(&tail[..2], &[0xac, 0x02]);
    }
}
