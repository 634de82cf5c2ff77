//! Any bytes are rows up to the first that is none; those that are, are written in each format.
#![no_main]

use anonymizer::row::filter::Filter;
use anonymizer::row::native::write_block;
use anonymizer::row::read::{Row, rows};
use anonymizer::row::{Format, content_hash, write_row};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let found: Vec<Row<'_>> = rows(data).map_while(Result::ok).collect();
    let whole: usize = found.iter().map(|row| row.raw.len()).sum();
    let mut stored = Vec::new();
    for row in &found {
        let _ = content_hash(row);
        assert!(Filter::default().takes(row));
        write_row(Format::Rowbinary, row, &mut stored);
        let lines = |format| {
            let mut text = Vec::new();
            write_row(format, row, &mut text);
            text.iter().filter(|b| **b == b'\n').count()
        };
        // Whatever a text holds, a row is a line; in CSV it may be several, in quotes.
        assert_eq!((lines(Format::Tsv), lines(Format::JsonEachRow)), (1, 1));
        assert!(lines(Format::Csv) >= 1);
    }
    assert_eq!(stored, data[..whole]);
    let mut block = Vec::new();
    write_block(&found, &mut block, &|| false).unwrap();
    assert_eq!(block.is_empty(), found.is_empty());
});
