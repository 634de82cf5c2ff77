//! The durable queue: the only part that knows sled.
//!
//! ```text
//! DATA_DIR/lock                flock of the one owner
//! DATA_DIR/control.sock        Unix socket of a live instance
//! DATA_DIR/synced              number of the last sync (high_water.rs)
//! DATA_DIR/queue/              sled, with these trees:
//!   meta        name                    -> JSON   format, installation, counters, limiter, ...
//!   lanes       lane u32                -> JSON   Lane
//!   blocks      lane u32 ++ first u64   -> block  (layout.rs)
//!   batches     seq u64                 -> JSON   Batch
//!   quarantine  lane u32 ++ offset u64  -> JSON   and masked bytes (quarantine.rs)
//!   partitions  topic ++ 0 ++ partition -> JSON   next eligible offset, kept after its lanes
//!   counts      partition ++ hour       -> rows by minute of their time (counts/)
//! ```
//!
//! An append is one transaction: the block, its lane's next offset and its quarantined messages.
//! It is durable after [`Queue::sync`], which is sled's flush (a write and `sync_file_range`,
//! not an fsync) **and** an fsync of sled's own file. Any write or sync error poisons the queue:
//! every later call fails, the process ends, and what was not committed is read again.

mod ahead;
mod append;
mod batch;
mod batches;
mod body;
mod cache;
mod compact;
mod counts;
mod dir;
mod error;
mod export;
mod fences;
mod heads;
mod high_water;
mod keep;
mod lane;
mod lanes;
pub mod layout;
mod open;
mod origin;
mod plan;
mod quarantine;
mod records;
mod renew;
pub mod repair;
mod summary;
mod trees;
mod verify;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, RwLock};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use ahead::Ahead;
pub use append::PackedBlock;
pub use batch::{Batch, BatchState, Packed, PackedFormat, Range};
pub use body::{Body, Frame};
pub use counts::{COUNTS_FORMAT, Counted, Counts, PartitionCounts, Spans, Tally};
pub use dir::{DataDir, LOCK_FILE, Owned, QUEUE_DIR, SOCKET_FILE};
pub use error::QueueError;
pub use export::{Exported, Selection, What, export, export_to_file};
pub use high_water::HIGH_WATER_FILE;
pub use lane::{Lane, LaneState};
pub use layout::BlockHeader;
pub use origin::Adopted;
pub use plan::{Plan, SealBounds};
pub use quarantine::{Page, Position, QuarantineEntry, QuarantineTotals, Retried, Which};
pub use renew::Opened;
pub use summary::Summary;
pub use trees::{Block, StoredBlock, Trees};
pub use verify::{Damage, Lost, Verified, unpack, verify};

use crate::record::LaneId;
use counts::{ByLane, Window};
use fences::is_no_fence;
use high_water::{HighWater, SYNCS};
use open::new_installation_id;
use records::{get_json, json, put_json};

/// The queue of one data dir. Threads share it by reference.
pub struct Queue {
    trees: RwLock<Option<Trees>>,
    /// Bytes of log since sled was opened, about (renew.rs).
    churned: AtomicU64,
    /// sled's data file. Opened once, before the first write: an fsync error is reported once to
    /// each descriptor, so a later one could miss it.
    data_file: RwLock<File>,
    /// The file system cannot do what `compact` needs.
    stays_sparse: AtomicBool,
    /// sled's side files that are durable.
    side_files: Mutex<BTreeSet<OsString>>,
    failed: OnceLock<String>,
    /// Number of the last sync begun.
    syncs: Mutex<u64>,
    high_water: Mutex<HighWater>,
    /// Appends begun, and how many of them a sync covers.
    appended: AtomicU64,
    synced: AtomicU64,
    state: Mutex<State>,
    heads: Mutex<heads::Heads>,
    installation: String,
    dir: DataDir,
}

/// The small records, held in memory as they are on the disk. Blocks never are.
struct State {
    lanes: BTreeMap<LaneId, Lane>,
    batches: BTreeMap<u64, Batch>,
    next_lane: u32,
    next_batch: u64,
    quarantine: QuarantineTotals,
    /// Rows appended since the counts were last written.
    uncounted: ByLane,
    fences: BTreeMap<LaneId, fences::Fences>,
    keep_counts: Duration,
    window: Window,
}

impl Queue {
    /// Random id of this data dir, 16 hex digits, made once.
    pub fn installation(&self) -> &str {
        &self.installation
    }

    /// The data dir that the queue is in.
    pub fn dir(&self) -> &DataDir {
        &self.dir
    }

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// Any failure poisons the queue; a sync is never tried again.
    pub fn sync(&self) -> Result<(), QueueError> {
        self.check()?;
        self.count_appended(&mut self.state())?;
        let covered = self.appended.load(Ordering::SeqCst);
        let sync = self.number_sync()?;
        let flushed = self.trees()?.db.flush();
        self.guard(flushed.map_err(QueueError::store("flush")))?;
        let data_file = self.data_file.read().expect("BUG: compacting panicked");
        let synced = data_file.sync_all();
        drop(data_file);
        self.guard(synced.map_err(|e| QueueError::io("cannot sync", &self.dir.queue_path(), e)))?;
        self.guard(dir::sync_side_files(&self.dir, &mut self.side_files()))?;
        self.synced.fetch_max(covered, Ordering::SeqCst);
        let mut high_water = self.high_water.lock().expect("BUG: a sync panicked");
        self.guard(high_water.raise(sync))
    }

    /// Writes the number of the sync that begins. Under a lock, so that they reach sled in order.
    fn number_sync(&self) -> Result<u64, QueueError> {
        let mut syncs = self.syncs.lock().expect("BUG: a sync panicked");
        let next = *syncs + 1;
        let trees = self.trees()?;
        self.guard(put_json(&trees.meta, SYNCS, &next))?;
        *syncs = next;
        Ok(next)
    }

    /// Whether a sync covers every append.
    pub fn is_synced(&self) -> bool {
        self.synced.load(Ordering::SeqCst) == self.appended.load(Ordering::SeqCst)
    }

    /// Reads a small record kept under `name`.
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be read or is not what it should be.
    pub fn load<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, QueueError> {
        get_json(&self.trees()?.meta, name.as_bytes())
    }

    /// Keeps a small record under `name`. Durable after [`Queue::sync`].
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be written; the queue is then poisoned.
    pub fn save<T: Serialize>(&self, name: &str, value: &T) -> Result<(), QueueError> {
        self.check()?;
        let trees = self.trees()?;
        self.guard(put_json(&trees.meta, name.as_bytes(), value))
    }

    /// Every block with its frame, lane after lane in offset order, read one at a time.
    pub fn blocks(&self) -> impl Iterator<Item = Result<(BlockHeader, Vec<u8>), QueueError>> + '_ {
        let mut at = Some(layout::key(LaneId(0), 0).to_vec());
        // Not sled's own iterator: a long one pins memory without bound.
        std::iter::from_fn(move || {
            let from = at.take()?;
            let trees = match self.trees() {
                Ok(trees) => trees,
                Err(e) => return Some(Err(e)),
            };
            let found = trees.blocks.range(from..).find(is_no_fence)?;
            Some(
                found
                    .map_err(QueueError::store("read"))
                    .and_then(|(key, value)| {
                        let mut after = key.to_vec();
                        after.push(0);
                        at = Some(after);
                        let (header, frame) = layout::read_block(&key, &value)?;
                        Ok((header, frame.to_vec()))
                    }),
            )
        })
    }

    fn side_files(&self) -> MutexGuard<'_, BTreeSet<OsString>> {
        self.side_files.lock().expect("BUG: a sync panicked")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while the lock is held ends the process (see pipeline), so poison is not met.
        self.state
            .lock()
            .expect("BUG: the queue's state lock is poisoned")
    }

    /// The first block of `lane` at or above `from`.
    fn block_at(
        &self,
        lane: LaneId,
        from: i64,
    ) -> Result<Option<(BlockHeader, sled::IVec)>, QueueError> {
        let trees = self.trees()?;
        let found = trees
            .blocks
            .range(layout::key(lane, from)..layout::key(lane, i64::MAX))
            .find(is_no_fence);
        match found {
            None => Ok(None),
            Some(entry) => {
                let (key, value) = entry.map_err(QueueError::store("read"))?;
                let (header, _) = layout::read_block(&key, &value)?;
                cache::let_go(&trees, &key)?;
                Ok(Some((header, value)))
            }
        }
    }

    fn check(&self) -> Result<(), QueueError> {
        match self.failed.get() {
            None => Ok(()),
            Some(first) => Err(QueueError::Poisoned {
                first: first.clone(),
            }),
        }
    }

    /// Poisons the queue if `result` is an error.
    fn guard<T>(&self, result: Result<T, QueueError>) -> Result<T, QueueError> {
        if let Err(e) = &result {
            let _ = self.failed.set(describe(e));
        }
        result
    }

    fn transaction_result<T>(
        &self,
        doing: &'static str,
        result: sled::transaction::TransactionResult<T, std::convert::Infallible>,
    ) -> Result<T, QueueError> {
        self.guard(result.map_err(|e| match e {
            sled::transaction::TransactionError::Storage(e) => QueueError::store(doing)(e),
            sled::transaction::TransactionError::Abort(never) => match never {},
        }))
    }
}

fn describe(e: &QueueError) -> String {
    match std::error::Error::source(e) {
        Some(source) => format!("{e}: {source}"),
        None => e.to_string(),
    }
}

#[cfg(test)]
mod tests;
