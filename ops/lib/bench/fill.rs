//! A queue as ingest would have left it, made without Kafka.

use std::path::Path;
use std::time::Duration;

use anonymizer::privacy::Policy;
use anonymizer::queue::LaneId;
use anonymizer::queue::{DataDir, PackedBlock, Queue};
use anonymizer::record::synth::Synth;
use anonymizer::row::BLOCK_BYTES;
use anonymizer::row::ZSTD_LEVEL;
use anonymizer::row::minutes::Minutes;
use anonymizer::row::row;
use anonymizer::store::APPEND_BYTES;

/// Realistic spacing: 1,000 records a second.
pub const INTERVAL: Duration = Duration::from_millis(1);

/// First record time, Unix ms.
pub const START_MS: u64 = 1_790_000_000_000;

/// Blocks that are made; then they come again with other offsets. Packing looks back 8 MiB, 60 blocks.
const BLOCKS: usize = 2_000;

/// A topic of its own, so that Kafka's offsets have nothing to say about its rows.
const TOPIC: &str = "backlog";
const PARTITIONS: i32 = 12;

/// As the store thread does.
const SYNC_BYTES: usize = 4 << 20;

/// How much to fill in.
#[derive(Clone, Copy)]
pub enum Amount {
    Rows(u64),
    /// Of frames.
    Bytes(u64),
}

/// Appends to lanes of its own, one after the other.
pub struct Writer<'a> {
    queue: &'a Queue,
    blocks: Vec<PackedBlock>,
    lanes: Vec<(LaneId, i64)>,
    at: usize,
    packed: Vec<(LaneId, PackedBlock)>,
    packed_bytes: usize,
    unsynced: usize,
}

impl<'a> Writer<'a> {
    pub fn new(queue: &'a Queue, most_rows: u64) -> Writer<'a> {
        let open = |p| queue.open_lane(TOPIC, p, 0).expect("lane");
        Writer {
            queue,
            blocks: blocks(most_rows),
            lanes: (0..PARTITIONS).map(|p| (open(p), 0)).collect(),
            at: 0,
            packed: Vec::new(),
            packed_bytes: 0,
            unsynced: 0,
        }
    }

    /// Appends a block, and syncs as the store thread does. Returns its rows and the bytes of its frame.
    pub fn append(&mut self) -> (u64, u64) {
        let lanes = self.lanes.len();
        let (lane, next) = &mut self.lanes[self.at % lanes];
        let mut block = self.blocks[self.at % self.blocks.len()].clone();
        block.first = *next;
        block.next = *next + i64::from(block.rows);
        block.appended_ms = START_MS + self.at as u64;
        *next = block.next;
        self.at += 1;
        let bytes = block.frame.len();
        let rows = u64::from(block.rows);
        self.packed.push((*lane, block));
        self.packed_bytes += bytes;
        if self.packed_bytes >= APPEND_BYTES {
            self.append_packed();
        }
        self.unsynced += bytes;
        if self.unsynced >= SYNC_BYTES {
            self.sync();
        }
        (rows, bytes as u64)
    }

    fn append_packed(&mut self) {
        let stored = self.queue.append_all(&self.packed).expect("append");
        assert!(stored.iter().all(|stored| *stored));
        self.packed.clear();
        self.packed_bytes = 0;
    }

    /// Syncs, and makes all rows eligible.
    pub fn sync(&mut self) {
        self.append_packed();
        self.queue.sync().expect("sync");
        self.queue.renew_if_due().expect("renewed");
        self.unsynced = 0;
        for (lane, next) in &self.lanes {
            self.queue.acknowledge(*lane, *next).expect("acknowledge");
        }
    }
}

/// The queue in `dir`, made if it is missing.
pub fn open(dir: &Path) -> Queue {
    Queue::open(DataDir::lock(dir).expect("data dir")).expect("queue")
}

/// Fills the queue in `dir`. Returns it with its rows and the bytes of their frames.
pub fn fill(dir: &Path, amount: Amount) -> (Queue, u64, u64) {
    let queue = open(dir);
    let most_rows = match amount {
        Amount::Rows(rows) => rows,
        Amount::Bytes(_) => u64::MAX,
    };
    let mut writer = Writer::new(&queue, most_rows);
    let (mut rows, mut bytes) = (0, 0);
    let is_less = |rows, bytes| match amount {
        Amount::Rows(want) => rows < want,
        Amount::Bytes(want) => bytes < want,
    };
    while is_less(rows, bytes) {
        let (r, b) = writer.append();
        (rows, bytes) = (rows + r, bytes + b);
    }
    writer.sync();
    queue.sync().expect("sync");
    (queue, rows, bytes)
}

/// Blocks as ingest makes them, of at most so many rows in all.
fn blocks(most_rows: u64) -> Vec<PackedBlock> {
    let mut zstd = zstd::bulk::Compressor::new(ZSTD_LEVEL).expect("zstd");
    let mut synth = Synth::new(1, START_MS).with_interval(INTERVAL);
    let (mut message, mut blocks, mut done) = (Vec::new(), Vec::new(), 0);
    while done < most_rows && blocks.len() < BLOCKS {
        let (mut bytes, mut minutes, mut rows) = (Vec::new(), Minutes::default(), 0);
        while bytes.len() < BLOCK_BYTES && done < most_rows {
            message.clear();
            synth.next().expect("endless").encode_into(&mut message);
            let row = row(&message, &Policy::default(), &mut bytes);
            minutes.count(row.expect("a good message"));
            (rows, done) = (rows + 1, done + 1);
        }
        minutes.merge();
        blocks.push(PackedBlock {
            first: 0,
            next: 0,
            rows,
            raw_len: bytes.len() as u32,
            frame: zstd.compress(&bytes).expect("zstd"),
            minutes,
            appended_ms: 0,
            kafka_ms: 0,
            quarantined: Vec::new(),
            last: None,
        });
    }
    blocks
}
