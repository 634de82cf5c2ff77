//! The queue that tests work with: a real one in a temporary directory, and blocks for it.

use super::*;
use crate::privacy::Quarantined;
use crate::row::minutes::Minutes;

pub(crate) struct Fixture {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) queue: Option<Queue>,
}

impl Fixture {
    pub(crate) fn new() -> Fixture {
        let mut f = Fixture {
            dir: tempfile::tempdir().unwrap(),
            queue: None,
        };
        f.reopen();
        f
    }

    pub(crate) fn q(&self) -> &Queue {
        self.queue.as_ref().unwrap()
    }

    /// Closes it; whoever has the directory may change its files.
    pub(crate) fn close(&mut self) -> DataDir {
        self.queue = None;
        // A process that another test starts has our open files, and the lock with them, until it has begun.
        for _ in 0..100 {
            match DataDir::lock(self.dir.path()) {
                Ok(dir) => return dir,
                Err(_) => std::thread::sleep(std::time::Duration::from_millis(10)),
            }
        }
        DataDir::lock(self.dir.path()).unwrap()
    }

    pub(crate) fn reopen(&mut self) {
        self.queue = Some(Queue::open(self.close()).unwrap());
    }

    /// A lane of `partition` from its start.
    pub(crate) fn open(&self, partition: i32) -> LaneId {
        self.q().open_lane("t", partition, 0).unwrap()
    }

    /// All that is eligible, in one batch.
    pub(crate) fn seal_all(&self) -> Option<Batch> {
        let all = SealBounds {
            rows: u64::MAX,
            bytes: u64::MAX,
        };
        self.q().seal(all, 0, |_| Vec::new()).unwrap()
    }

    /// What a look at everything finds.
    pub(crate) fn verified(&self) -> Verified {
        verify(&self.q().trees().unwrap(), false, &|_| false).unwrap()
    }
}

/// A block of an offset a row, all of one minute. Its frame is none: only what reads rows needs one.
pub(crate) fn block(first: i64, rows: u32) -> PackedBlock {
    PackedBlock {
        first,
        next: first + i64::from(rows),
        rows,
        raw_len: 100,
        frame: vec![7; 50],
        minutes: minutes(rows),
        appended_ms: 1000,
        kafka_ms: 0,
        quarantined: Vec::new(),
        last: None,
    }
}

/// A block of these rows of RowBinary.
pub(crate) fn block_of(first: i64, rows: u32, raw: &[u8]) -> PackedBlock {
    PackedBlock {
        raw_len: raw.len() as u32,
        frame: zstd::bulk::compress(raw, 1).unwrap(),
        ..block(first, rows)
    }
}

/// A block without a row, of messages that could not become any.
pub(crate) fn block_of_bad(first: i64, quarantined: Vec<Quarantined>) -> PackedBlock {
    PackedBlock {
        next: first + quarantined.len() as i64,
        raw_len: 0,
        frame: Vec::new(),
        quarantined,
        ..block(first, 0)
    }
}

/// So many rows of one minute.
pub(crate) fn minutes(rows: u32) -> Minutes {
    (0..rows).map(|_| 60).collect()
}
