//! Rows as one block of ClickHouse's format Native: column after column.
//!
//! A block is the numbers of columns and rows, then for each column its name, its type and its values;
//! strings and numbers of things are LEB128 lengths and bytes (ClickHouse documentation, "Native").
//! A body of several blocks is still one insert. The types are those of the values: where the table has
//! another, as `LowCardinality(String)`, ClickHouse converts (`input_format_native_allow_types_conversion`,
//! on by default).

use std::io::Write;

use super::PackError;
use crate::minutes::leb128;
use crate::rows::Row;

/// Values that are written between two looks whether to stop.
const BETWEEN_LOOKS: usize = 8192;

/// Writes `rows` as a block.
///
/// # Errors
/// [`PackError::Write`], or a stop was requested.
pub fn write_block(
    rows: &[Row<'_>],
    out: &mut impl Write,
    stop: &dyn Fn() -> bool,
) -> Result<(), PackError> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut w = Columns { rows, out, stop };
    w.length(9)?;
    w.length(rows.len())?;
    w.column("timestamp", "DateTime", |r| r.timestamp.to_le_bytes())?;
    w.column("resource_id", "UInt64", |r| r.resource_id.to_le_bytes())?;
    w.column("bytes_sent", "UInt64", |r| r.bytes_sent.to_le_bytes())?;
    w.column("request_time_milli", "UInt64", |r| {
        r.request_time_milli.to_le_bytes()
    })?;
    w.column("response_status", "UInt16", |r| {
        r.response_status.to_le_bytes()
    })?;
    w.texts("cache_status", |r| r.cache_status)?;
    w.texts("method", |r| r.method)?;
    w.texts("remote_addr", |r| r.remote_addr)?;
    w.texts("url", |r| r.url)
}

struct Columns<'a, 'b, W> {
    rows: &'a [Row<'b>],
    out: &'a mut W,
    stop: &'a dyn Fn() -> bool,
}

impl<'b, W: Write> Columns<'_, 'b, W> {
    fn length(&mut self, n: usize) -> Result<(), PackError> {
        let mut bytes = Vec::with_capacity(10);
        leb128(n as u64, &mut bytes);
        Ok(self.out.write_all(&bytes)?)
    }

    fn text(&mut self, text: &[u8]) -> Result<(), PackError> {
        match u8::try_from(text.len()) {
            // LEB128 of a number that small is the number.
            Ok(n @ ..0x80) => self.out.write_all(&[n])?,
            _ => self.length(text.len())?,
        }
        Ok(self.out.write_all(text)?)
    }

    fn column<const N: usize>(
        &mut self,
        name: &str,
        kind: &str,
        value: impl Fn(&Row<'_>) -> [u8; N],
    ) -> Result<(), PackError> {
        self.each(name, kind, |w, row| Ok(w.out.write_all(&value(row))?))
    }

    fn texts(&mut self, name: &str, value: impl Fn(&Row<'b>) -> &'b [u8]) -> Result<(), PackError> {
        self.each(name, "String", |w, row| w.text(value(row)))
    }

    fn each(
        &mut self,
        name: &str,
        kind: &str,
        mut write: impl FnMut(&mut Self, &Row<'b>) -> Result<(), PackError>,
    ) -> Result<(), PackError> {
        self.text(name.as_bytes())?;
        self.text(kind.as_bytes())?;
        for rows in self.rows.chunks(BETWEEN_LOOKS) {
            if (self.stop)() {
                return Err(PackError::Stopped);
            }
            for row in rows {
                write(self, row)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::COLUMNS;
    use crate::minutes::read_leb128;
    use crate::rows::rows;

    fn text<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
        let len = read_leb128(bytes).unwrap() as usize;
        let (text, rest) = bytes.split_at(len);
        *bytes = rest;
        text
    }

    fn stored(rows: usize) -> Vec<u8> {
        let (mut message, mut out) = (Vec::new(), Vec::new());
        for record in crate::synth::Synth::new(3, 1_700_000_000_000).take(rows) {
            message.clear();
            record.encode_into(&mut message);
            crate::ingest::row(&message, &mut out).unwrap();
        }
        out
    }

    /// The block's columns put beside each other again.
    #[test]
    fn the_columns_are_those_of_the_rows() {
        let stored = stored(300);
        let rows: Vec<Row<'_>> = rows(&stored).map(Result::unwrap).collect();
        let mut block = Vec::new();
        write_block(&rows, &mut block, &|| false).unwrap();
        let mut at = &block[..];
        assert_eq!(read_leb128(&mut at), Some(9));
        assert_eq!(read_leb128(&mut at), Some(300));
        let mut again = vec![Vec::new(); 300];
        let mut names = Vec::new();
        for _ in 0..9 {
            names.push(String::from_utf8(text(&mut at).to_vec()).unwrap());
            let size = match text(&mut at) {
                b"DateTime" => 4,
                b"UInt64" => 8,
                b"UInt16" => 2,
                other => {
                    assert_eq!(other, b"String");
                    0
                }
            };
            for row in &mut again {
                let before = at;
                match size {
                    0 => {
                        text(&mut at);
                    }
                    size => at = &at[size..],
                }
                row.extend_from_slice(&before[..before.len() - at.len()]);
            }
        }
        assert!(at.is_empty());
        assert_eq!(names.join(", "), COLUMNS);
        // A row of RowBinary is its values in that order.
        assert_eq!(again.concat(), stored);
    }

    #[test]
    fn a_stop_ends_it() {
        let stored = stored(10);
        let rows: Vec<Row<'_>> = rows(&stored).map(Result::unwrap).collect();
        let end = write_block(&rows, &mut Vec::new(), &|| true);
        assert!(matches!(end, Err(PackError::Stopped)));
    }
}
