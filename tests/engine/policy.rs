//! Rows of several policies in one table: what is counted of them stays right, since totals and counts are of
//! the rows as they are stored.

use std::time::{SystemTime, UNIX_EPOCH};

use anonymizer::record::synth::Synth;
use serde_json::Value;

use crate::World;

/// Records of the next minutes, whose counts are complete.
fn messages(seed: u64, count: usize) -> Vec<Vec<u8>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let soon = (now.as_secs() / 60 + 2) * 60;
    let encoded = |(mut record, i): (anonymizer::record::synth::SynthRecord, u64)| {
        record.timestamp_epoch_milli = (soon + i % 180) * 1000;
        let mut message = Vec::new();
        record.encode_into(&mut message);
        message
    };
    Synth::new(seed, 0)
        .take(count)
        .zip(0..)
        .map(encoded)
        .collect()
}

#[test]
fn totals_and_reconcile_stay_right_across_a_change() {
    let mut w = World::new();
    for (seed, v4, v6) in [(1, 8, 80), (2, 24, 96), (3, 32, 128)] {
        w.setup.cut(&mut w.kafka, v4, v6);
        w.kafka.send(&messages(seed, 500));
        w.finish(w.setup.run());
    }
    for (table, seconds) in [("http_log_totals", 60), ("http_log_address_1d", 86_400)] {
        let groups = |time: &str, sums: &str, table: &str| {
            w.sql(&format!(
                "SELECT intDiv(toUInt32({time}), {seconds}) AS t, remote_addr AS a, {sums} FROM {table} \
                 GROUP BY t, a ORDER BY t, a"
            ))
            .unwrap()
        };
        let raw = groups("timestamp", "count(), sum(bytes_sent)", "http_log");
        assert!(raw.lines().count() > 100, "{raw}");
        let totals = groups("time", "sum(requests), sum(bytes_sent)", table);
        assert_eq!(totals, raw, "{table}");
    }
    assert!(w.number("SELECT count() FROM http_log WHERE remote_addr = 'X'") >= 500);
    let out = w.setup.command("reconcile").arg("--json").output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(0), "{said}");
    let found: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(found["found"], 1500, "{found}");
}
