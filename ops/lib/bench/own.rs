//! What of the program can be measured alone, without Kafka and ClickHouse. `ops/bench` runs it.
//!
//! ```text
//! own stages RECORDS   decode, mask, encode and compress so many records; callgrind counts in `stages`
//! own pack BYTES       rows that a body of so many bytes carries, as they are stored and packed
//! own fill DIR ROWS    a data dir with so many eligible rows
//! ```

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use anonymizer::flush::{Filler, Wanted};
use anonymizer::ingest::{BLOCK_BYTES, row};
use anonymizer::minutes::Minutes;
use anonymizer::queue::{DataDir, PackedBlock, PackedFormat, Queue, SealBounds};
use anonymizer::store::ZSTD_LEVEL;
use anonymizer::synth::Synth;

/// Messages that are made before measuring, and taken again and again.
const MESSAGES: usize = 20_000;

/// Realistic spacing: 1,000 records a second.
const INTERVAL: Duration = Duration::from_millis(1);

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
        Some("fill") => fill(Path::new(&args[2]), number(3)),
        _ => {
            eprintln!("usage: own stages RECORDS | pack BYTES | fill DIR ROWS");
            std::process::exit(2);
        }
    }
}

fn messages(count: usize) -> Vec<Vec<u8>> {
    Synth::new(1, 1_790_000_000_000)
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
    for message in messages.iter().cycle().take(records) {
        minutes.count(row(message, &mut block).expect("a good message"));
        if block.len() >= BLOCK_BYTES {
            black_box(zstd.compress(&block).expect("zstd"));
            block.clear();
            black_box(std::mem::take(&mut minutes));
        }
    }
}

/// A queue with so many eligible rows, as ingest would have stored them.
fn fill(dir: &Path, rows: usize) {
    let queue = Queue::open(DataDir::lock(dir).expect("data dir")).expect("queue");
    let lane = queue.open_lane("http_log", 0, 0).expect("lane");
    let mut zstd = zstd::bulk::Compressor::new(ZSTD_LEVEL).expect("zstd");
    let mut synth = Synth::new(1, 1_790_000_000_000).with_interval(INTERVAL);
    let (mut message, mut first, mut done) = (Vec::new(), 0, 0);
    while done < rows {
        let (mut block, mut minutes, mut count) = (Vec::new(), Minutes::default(), 0);
        while block.len() < BLOCK_BYTES && done < rows {
            message.clear();
            synth.next().expect("endless").encode_into(&mut message);
            minutes.count(row(&message, &mut block).expect("a good message"));
            (count, done) = (count + 1, done + 1);
        }
        let packed = PackedBlock {
            first,
            next: first + i64::from(count),
            rows: count as u32,
            raw_len: block.len() as u32,
            frame: zstd.compress(&block).expect("zstd"),
            minutes,
            appended_ms: 1_790_000_000_000 + first as u64,
            quarantined: Vec::new(),
        };
        queue.append(lane, &packed).expect("append");
        queue.renew_if_due().expect("renew");
        first = packed.next;
    }
    queue.sync().expect("sync");
    queue.acknowledge(lane, first).expect("acknowledge");
    queue.sync().expect("sync");
}

fn pack(bytes: u64) {
    let dir = tempfile::tempdir().expect("a directory");
    // A row takes 15 bytes at the least, and a second body shows what the first has taught.
    fill(dir.path(), bytes as usize / 15 * 2);
    let queue = Queue::open(DataDir::lock(dir.path()).expect("lock")).expect("queue");
    let mut filler = Filler::default();
    let mut rows = |format, patience| {
        let wanted = Wanted {
            bounds: SealBounds {
                rows: 1_000_000,
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
