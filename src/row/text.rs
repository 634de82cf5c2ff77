//! Rows as text that ClickHouse reads back exactly, by its own rules of escaping.
//!
//! - Times are Unix seconds, which mean the same in every time zone; ClickHouse reads them as
//!   DateTime in all three formats. In TSV and CSV they have ten digits, since a shorter number
//!   could be taken for a year.
//! - Texts are bytes and stay so. JSON with invalid UTF-8 is written as ClickHouse writes
//!   JSONEachRow by default (`output_format_json_validate_utf8` = 0): the bytes as they are. It
//!   reads that back exactly; a stricter JSON reader may not.
//! - 64-bit numbers in JSON are not quoted, as in ClickHouse's default.

use crate::row::columns::{COLUMNS, Row, Value};

/// How rows are written.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// RowBinary, as stored
    Rowbinary,
    /// TabSeparated
    Tsv,
    /// JSONEachRow
    JsonEachRow,
    /// CSV
    Csv,
}

/// Appends `row` to `out`.
pub fn write_row(format: Format, row: &Row<'_>, out: &mut Vec<u8>) {
    match format {
        Format::Rowbinary => out.extend_from_slice(row.raw),
        Format::Tsv => separated(row, b'\t', tsv, out),
        Format::Csv => separated(row, b',', csv, out),
        Format::JsonEachRow => json(row, out),
    }
}

fn separated(row: &Row<'_>, by: u8, text: fn(&[u8], &mut Vec<u8>), out: &mut Vec<u8>) {
    for (i, column) in COLUMNS.iter().enumerate() {
        if i > 0 {
            out.push(by);
        }
        match (column.value)(row) {
            Value::Time(seconds) => out.extend_from_slice(format!("{seconds:010}").as_bytes()),
            Value::Number(n) => out.extend_from_slice(n.to_string().as_bytes()),
            Value::Text(bytes) => text(bytes, out),
        }
    }
    out.push(b'\n');
}

fn tsv(text: &[u8], out: &mut Vec<u8>) {
    for &byte in text {
        let letter = match byte {
            b'\x08' => b'b',
            b'\x0c' => b'f',
            b'\r' => b'r',
            b'\n' => b'n',
            b'\t' => b't',
            0 => b'0',
            b'\'' | b'\\' => byte,
            _ => {
                out.push(byte);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', letter]);
    }
}

fn csv(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in text {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

fn json(row: &Row<'_>, out: &mut Vec<u8>) {
    for (i, column) in COLUMNS.iter().enumerate() {
        out.push(if i == 0 { b'{' } else { b',' });
        out.extend_from_slice(format!("\"{}\":", column.name).as_bytes());
        match (column.value)(row) {
            Value::Time(seconds) => out.extend_from_slice(seconds.to_string().as_bytes()),
            Value::Number(n) => out.extend_from_slice(n.to_string().as_bytes()),
            Value::Text(bytes) => json_text(bytes, out),
        }
    }
    out.extend_from_slice(b"}\n");
}

fn json_text(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: Row<'static> = Row {
        timestamp: 999,
        resource_id: u64::MAX,
        bytes_sent: 2,
        request_time_milli: 3,
        response_status: 200,
        cache_status: b"H\tT\"",
        method: b"a'\\b",
        remote_addr: b"1.2.3.X",
        url: b"/\n\0\xff\x01",
        raw: b"raw",
    };

    fn written(format: Format) -> Vec<u8> {
        let mut out = Vec::new();
        write_row(format, &ROW, &mut out);
        out
    }

    #[test]
    fn tsv_escapes_what_would_end_a_field() {
        assert_eq!(
            written(Format::Tsv),
            b"0000000999\t18446744073709551615\t2\t3\t200\tH\\tT\"\ta\\'\\\\b\t1.2.3.X\t/\\n\\0\xff\x01\n"
        );
    }

    #[test]
    fn csv_quotes_texts_and_doubles_quotes() {
        assert_eq!(
            written(Format::Csv),
            b"0000000999,18446744073709551615,2,3,200,\"H\tT\"\"\",\"a'\\b\",\"1.2.3.X\",\"/\n\0\xff\x01\"\n"
        );
    }

    #[test]
    fn json_escapes_controls_and_keeps_other_bytes() {
        assert_eq!(
            written(Format::JsonEachRow),
            &b"{\"timestamp\":999,\"resource_id\":18446744073709551615,\"bytes_sent\":2,\"request_time_milli\":3,\"response_status\":200,\"cache_status\":\"H\\tT\\\"\",\"method\":\"a'\\\\b\",\"remote_addr\":\"1.2.3.X\",\"url\":\"/\\n\\u0000\xff\\u0001\"}\n"[..]
        );
    }

    #[test]
    fn rowbinary_is_as_stored() {
        assert_eq!(written(Format::Rowbinary), b"raw");
    }
}
