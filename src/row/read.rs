//! RowBinary -> rows: the counterpart of [`crate::row::encode`], for commands that look at what is
//! stored (`verify`, `export`, `replay --delivered`). The service itself never reads a row back.

use super::columns::Cursor;
pub use super::columns::Row;

/// The bytes are no rows from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at} of the rows does not begin a whole row")]
pub struct RowError {
    /// Where the row begins that is not whole.
    pub at: usize,
}

/// The rows in `bytes`, one after the other. Ends after the first error.
pub fn rows(bytes: &[u8]) -> Rows<'_> {
    Rows { bytes, at: 0 }
}

/// See [`rows`].
#[derive(Debug)]
pub struct Rows<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Rows<'a> {
    type Item = Result<Row<'a>, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let start = self.at;
        let mut cursor = Cursor(&self.bytes[start..]);
        match Row::take(&mut cursor) {
            Some(mut row) => {
                self.at = self.bytes.len() - cursor.0.len();
                row.raw = &self.bytes[start..self.at];
                Some(Ok(row))
            }
            None => {
                self.at = self.bytes.len();
                Some(Err(RowError { at: start }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::Policy;
    use crate::privacy::anonymize::anonymize;
    use crate::record::Record;
    use crate::row::encode::encode;
    use proptest::prelude::*;

    type Fields = (u32, u64, u64, u64, u16, Vec<u8>, Vec<u8>, Vec<u8>);

    fn fields() -> impl Strategy<Value = Fields> {
        let text = || proptest::collection::vec(any::<u8>(), 0..300);
        (
            any::<u32>(),
            any::<u64>(),
            any::<u64>(),
            any::<u64>(),
            any::<u16>(),
            text(),
            text(),
            text(),
        )
    }

    proptest! {
        #[test]
        fn rows_read_as_they_were_encoded(all in proptest::collection::vec(fields(), 0..8)) {
            let mut bytes = Vec::new();
            for (time, resource_id, sent, took, status, cache, method, url) in &all {
                let record = Record {
                    timestamp_ms: u64::from(*time) * 1000,
                    resource_id: *resource_id,
                    bytes_sent: *sent,
                    request_time_ms: *took,
                    response_status: *status,
                    cache_status: cache,
                    method,
                    remote_addr: b"1.2.3.4",
                    url,
                };
                encode(&anonymize(&record, &Policy::default()), &mut bytes).unwrap();
            }
            let read: Vec<Row<'_>> = rows(&bytes).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(read.iter().map(|r| r.raw).collect::<Vec<_>>().concat(), bytes.clone());
            let read: Vec<Fields> = read
                .iter()
                .map(|r| {
                    assert_eq!(r.remote_addr, b"1.2.3.X");
                    (r.timestamp, r.resource_id, r.bytes_sent, r.request_time_milli, r.response_status,
                     r.cache_status.to_vec(), r.method.to_vec(), r.url.to_vec())
                })
                .collect();
            prop_assert_eq!(read, all);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = rows(&bytes).count();
        }
    }

    #[test]
    fn a_row_cut_anywhere_is_an_error() {
        let mut bytes = vec![7; 30];
        bytes.extend(b"\x03HIT\x03GET\x071.2.3.X\x02/a");
        for len in 1..bytes.len() {
            assert_eq!(
                rows(&bytes[..len]).next(),
                Some(Err(RowError { at: 0 })),
                "{len}"
            );
        }
        assert!(rows(&bytes).next().unwrap().is_ok());
    }
}
