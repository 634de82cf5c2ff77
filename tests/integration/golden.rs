//! Messages of an independent encoder (the C++ reference), and RowBinary rows that ClickHouse itself
//! has read: `data/golden/`, made by `tests/corpus/golden/generate.py`.

use std::fs;
use std::path::{Path, PathBuf};

use anonymizer::privacy::Policy;
use anonymizer::privacy::anonymize::anonymize;
use anonymizer::record::decode::decode;
use anonymizer::row::encode::encode;
use serde_json::Value;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/golden")
}

fn manifest() -> Value {
    let text = fs::read_to_string(golden().join("manifest.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The row, or why there is none. The message is read at every alignment, as Kafka brings it.
fn row_of(message: &[u8]) -> Result<Vec<u8>, String> {
    let mut shifted = vec![0; message.len() + 8];
    let mut results = (0..8).map(|shift| {
        shifted[shift..shift + message.len()].copy_from_slice(message);
        let mut row = Vec::new();
        match decode(&shifted[shift..shift + message.len()], |r| {
            encode(&anonymize(r, &Policy::default()), &mut row)
        }) {
            Ok(Ok(_)) => Ok(row),
            Ok(Err(e)) => Err(e.to_string()),
            Err(e) => Err(e.to_string()),
        }
    });
    let first = results.next().unwrap();
    for other in results {
        assert_eq!(first, other, "the same at every alignment");
    }
    first
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn records_of_the_reference_encoder_become_the_rows_that_clickhouse_reads() {
    let manifest = manifest();
    let good = manifest["good"].as_array().unwrap();
    assert!(good.len() > 50);
    for entry in good {
        let file = entry["file"].as_str().unwrap();
        let got = row_of(&fs::read(golden().join(file)).unwrap());
        match entry["row"].as_str() {
            Some(row) => assert_eq!(got.map(|r| hex(&r)), Ok(row.to_owned()), "{file}: {entry}"),
            None => assert!(got.is_err(), "{file} must be quarantined: {entry}"),
        }
    }
}

#[test]
fn malformed_messages_are_refused_and_never_panic() {
    let manifest = manifest();
    let bad = manifest["bad"].as_array().unwrap();
    assert!(bad.len() > 50);
    for entry in bad {
        let file = entry["file"].as_str().unwrap();
        let got = row_of(&fs::read(golden().join(file)).unwrap());
        if entry["must"] == "quarantine" {
            assert!(got.is_err(), "{file}: {entry}");
        }
    }
}

/// The rows of `data/golden/` as `export` writes them, in `data/export/`; `tests/python/export_check.py` lets
/// ClickHouse read them. `BLESS=1` writes them anew.
#[test]
fn exported_rows_are_those_that_clickhouse_reads_back() {
    use anonymizer::row::read::rows;
    use anonymizer::row::{CONTENT_HASH_SQL, Format, content_hash, write_row};
    use clap::ValueEnum as _;
    let mut all = Vec::new();
    for entry in manifest()["good"].as_array().unwrap() {
        let file = entry["file"].as_str().unwrap();
        let row = row_of(&fs::read(golden().join(file)).unwrap());
        // The few long ones say nothing new.
        all.extend(row.ok().filter(|r| r.len() < 2000).unwrap_or_default());
    }
    let mut files = vec![(
        "hash.sql".to_owned(),
        CONTENT_HASH_SQL.to_string().into_bytes(),
    )];
    let hashes: String = rows(&all)
        .flatten()
        .map(|r| format!("{}\n", content_hash(&r)))
        .collect();
    files.push(("hashes.txt".into(), hashes.into_bytes()));
    for format in Format::value_variants() {
        let mut text = Vec::new();
        rows(&all)
            .flatten()
            .for_each(|row| write_row(*format, &row, &mut text));
        let name = format.to_possible_value().unwrap().get_name().to_owned();
        files.push((format!("rows.{name}"), text));
    }
    assert!(rows(&all).count() > 40);
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/export");
    for (name, bytes) in files {
        let path = dir.join(&name);
        if std::env::var_os("BLESS").is_some() {
            fs::create_dir_all(&dir).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        assert!(fs::read(&path).ok() == Some(bytes), "{name} differs");
    }
}
