//! Rows as one block of ClickHouse's format Native: column after column.
//!
//! A block is the numbers of columns and rows, then for each column its name, its type and its values;
//! strings and numbers of things are LEB128 lengths and bytes (ClickHouse documentation, "Native").
//! A body of several blocks is still one insert. The types are those of the values: where the table has
//! another, as `LowCardinality(String)`, ClickHouse converts (`input_format_native_allow_types_conversion`,
//! on by default).

use std::io::{self, Write};

use crate::row::columns::COLUMNS;
use crate::row::read::Row;
use crate::row::varint::{leb128, string};

/// Values that are written between two looks whether to stop.
const BETWEEN_LOOKS: usize = 8192;

/// Why a block could not be written.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// The writer failed.
    #[error(transparent)]
    Write(#[from] io::Error),
    /// A stop was requested.
    #[error("a stop was requested")]
    Stopped,
}

/// Writes `rows` as a block.
///
/// # Errors
/// [`BlockError`]; part of the block may be written.
pub fn write_block(
    rows: &[Row<'_>],
    out: &mut impl Write,
    stop: &dyn Fn() -> bool,
) -> Result<(), BlockError> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut head = Vec::new();
    leb128(COLUMNS.len() as u64, &mut head);
    leb128(rows.len() as u64, &mut head);
    out.write_all(&head)?;
    for column in COLUMNS {
        let mut bytes = Vec::new();
        string(column.name.as_bytes(), &mut bytes);
        string(column.kind.as_bytes(), &mut bytes);
        for rows in rows.chunks(BETWEEN_LOOKS) {
            if stop() {
                return Err(BlockError::Stopped);
            }
            rows.iter().for_each(|row| (column.put)(row, &mut bytes));
            out.write_all(&bytes)?;
            bytes.clear();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::Policy;
    use crate::row::columns;
    use crate::row::read::rows;
    use crate::row::varint::read_leb128;

    fn text<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
        let len = read_leb128(bytes).unwrap() as usize;
        let (text, rest) = bytes.split_at(len);
        *bytes = rest;
        text
    }

    fn stored(rows: usize) -> Vec<u8> {
        let (mut message, mut out) = (Vec::new(), Vec::new());
        for record in crate::record::synth::Synth::new(3, 1_700_000_000_000).take(rows) {
            message.clear();
            record.encode_into(&mut message);
            crate::row::row(&message, &Policy::default(), &mut out).unwrap();
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
        assert_eq!(names.join(", "), columns::names());
        // A row of RowBinary is its values in that order.
        assert_eq!(again.concat(), stored);
    }

    #[test]
    fn a_stop_ends_it() {
        let stored = stored(10);
        let rows: Vec<Row<'_>> = rows(&stored).map(Result::unwrap).collect();
        let end = write_block(&rows, &mut Vec::new(), &|| true);
        assert!(matches!(end, Err(BlockError::Stopped)));
    }
}
