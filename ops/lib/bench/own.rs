//! What of the program can be measured alone, without Kafka and ClickHouse. `ops/bench` runs it.
//!
//! ```text
//! own stages RECORDS   decode, mask, encode and compress so many records; callgrind counts in `stages`
//! own pack BYTES       rows that a body of so many bytes carries, as they are stored and packed
//! own fill DIR rows|bytes N [hold]   a data dir with so many eligible rows, or bytes of frames
//! own disk DIR BYTES   fills and drains a queue, and tells the sizes of its files
//! own joining BROKERS GROUP SECONDS   the pause of librdkafka's consumers when some join
//! own latency BROKERS GROUP RATE SECONDS   produces, and watches the group's commits
//! own sink [FILE]      a ClickHouse that swallows; keeps the bodies in FILE
//! ```

mod disk;
mod fill;
mod joining;
mod latency;
mod sink;

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use anonymizer::flush::{Filler, Wanted};
use anonymizer::privacy::Policy;
use anonymizer::queue::{PackedFormat, SealBounds};
use anonymizer::record::synth::Synth;
use anonymizer::row::BLOCK_BYTES;
use anonymizer::row::ZSTD_LEVEL;
use anonymizer::row::minutes::Minutes;
use anonymizer::row::row;
use fill::{Amount, INTERVAL, START_MS, fill};

/// Messages that are made before measuring, and taken again and again.
const MESSAGES: usize = 20_000;

fn main() {
    // Cargo adds `--bench`.
    let args: Vec<String> = std::env::args().filter(|a| a != "--bench").collect();
    let number = |at: usize| args[at].parse().expect("a number");
    match args.get(1).map(String::as_str) {
        Some("stages") => {
            let messages = messages(MESSAGES);
            stages(&messages, number(2));
        }
        Some("pack") => pack(number(2) as u64),
        Some("fill") => {
            let amount = match args[3].as_str() {
                "rows" => Amount::Rows(number(4) as u64),
                _ => Amount::Bytes(number(4) as u64),
            };
            // Open until it is killed, if it is to be.
            let (_queue, rows, bytes) = fill(Path::new(&args[2]), amount);
            println!("{{\"rows\": {rows}, \"bytes\": {bytes}}}");
            if args.get(5).is_some() {
                loop {
                    std::thread::park();
                }
            }
        }
        Some("disk") => disk::disk(Path::new(&args[2]), number(3) as u64),
        Some("joining") => joining::joining(&args[2], &args[3], number(4) as u64),
        Some("latency") => {
            latency::latency(&args[2], &args[3], number(4) as u64, number(5) as u64);
        }
        Some("sink") => sink::serve(args.get(2).map(String::as_str)),
        _ => {
            eprintln!(
                "usage: own stages RECORDS | pack BYTES | fill DIR rows|bytes N [hold] | disk DIR BYTES | joining BROKERS GROUP SECONDS | latency BROKERS GROUP RATE SECONDS | sink [FILE]"
            );
            std::process::exit(2);
        }
    }
}

fn messages(count: usize) -> Vec<Vec<u8>> {
    Synth::new(1, START_MS)
        .with_interval(INTERVAL)
        .take(count)
        .map(|record| {
            let mut message = Vec::new();
            record.encode_into(&mut message);
            message
        })
        .collect()
}

/// All that is done to a record between Kafka and the queue.
#[inline(never)]
fn stages(messages: &[Vec<u8>], records: usize) {
    let mut zstd = zstd::bulk::Compressor::new(ZSTD_LEVEL).expect("zstd");
    let mut block = Vec::with_capacity(2 * BLOCK_BYTES);
    let mut minutes = Minutes::default();
    let policy = black_box(Policy::default());
    for message in messages.iter().cycle().take(records) {
        minutes.count(row(message, &policy, &mut block).expect("a good message"));
        if block.len() >= BLOCK_BYTES {
            black_box(zstd.compress(&block).expect("zstd"));
            block.clear();
            black_box(std::mem::take(&mut minutes));
        }
    }
}

fn pack(bytes: u64) {
    let dir = tempfile::tempdir().expect("a directory");
    // A row takes 15 bytes at the least, and a second body shows what the first has taught.
    let (queue, ..) = fill(dir.path(), Amount::Rows(bytes / 15 * 2));
    let mut filler = Filler::default();
    let mut rows = |format, patience| {
        let wanted = Wanted {
            bounds: SealBounds {
                rows: 10_000_000,
                bytes,
            },
            patience,
            format,
            only_full: true,
            stop: &|| false,
        };
        let filling = filler
            .fill(&queue, wanted)
            .expect("rows")
            .expect("a backlog");
        let packed = filling.packed.map(|(packed, _)| packed);
        let len = packed.map_or(filling.plan.bytes, |p| p.bytes);
        (filling.plan.rows, len, packed.map_or(0, |p| p.level))
    };
    let stored = rows(PackedFormat::RowBinary, Duration::ZERO);
    let show = |name: &str, (rows, len, level): (u64, u64, i32)| {
        println!(
            "{{\"body\": \"{name}\", \"rows\": {rows}, \"bytes\": {len}, \"limit\": {bytes}, \
             \"level\": {level}, \"filled\": {:.4}, \"ratio\": {:.3}}}",
            len as f64 / bytes as f64,
            rows as f64 / stored.0 as f64
        );
    };
    show("stored", stored);
    // The flusher grants an eighth of the pause between two requests: 7.9 s of 63.
    for format in [PackedFormat::RowBinary, PackedFormat::Native] {
        for seconds in [1, 8] {
            let patience = Duration::from_secs(seconds);
            rows(format, patience);
            show(
                &format!("packed as {} within {seconds} s", format.name()),
                rows(format, patience),
            );
        }
    }
}
