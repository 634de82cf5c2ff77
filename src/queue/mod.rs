//! The durable queue: the only part that knows sled.
//!
//! ```text
//! DATA_DIR/lock                flock of the one owner
//! DATA_DIR/control.sock        Unix socket of a live instance
//! DATA_DIR/synced              number of the last sync (disk/last_sync.rs)
//! DATA_DIR/history             the last day for the charts (observe/history), no part of the queue
//! DATA_DIR/queue/              sled, with these trees:
//!   meta        name                    -> JSON   format, installation, counters, limiter, ...
//!   lanes       lane u32                -> JSON   Lane
//!   blocks      lane u32 ++ first u64   -> block  (format/block.rs)
//!   parts       block's key ++ u16      -> bytes  of a large block (disk/parts.rs)
//!   batches     seq u64                 -> JSON   Batch
//!   quarantine  lane u32 ++ offset u64  -> JSON   and masked bytes (quarantine/)
//!   partitions  topic ++ 0 ++ partition -> JSON   next eligible offset, kept after its lanes
//!   counts      partition ++ hour       -> rows by minute of their time (counts/)
//! ```
//!
//! An append is one transaction: the block, its lane's next offset and its quarantined messages.
//! It is durable after [`Queue::sync`], which is sled's flush (a write and `sync_file_range`,
//! not an fsync) **and** an fsync of sled's own file. Any write or sync error poisons the queue:
//! every later call fails, the process ends, and what was not committed is read again.

mod change;
mod counts;
mod disk;
mod drain;
mod fill;
mod format;
mod open;
mod quarantine;
mod rescue;
mod summary;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, RwLock};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use counts::{COUNTS_FORMAT, Counted, Counts, PartitionCounts, Spans, Tally};
pub use disk::dir::{DataDir, HISTORY_FILE, LOCK_FILE, Owned, QUEUE_DIR, SOCKET_FILE};
pub use disk::last_sync::SYNCED_FILE;
pub use disk::origin::{Adopted, Moved, refuse_copy};
pub use disk::policies::PolicySince;
pub use disk::runs::{Run, Runs, Stamp};
pub use disk::trees::{Block, StoredBlock, Trees};
pub use disk::writer::{Writer, format_version};
pub use drain::body::{Body, Frame};
pub use drain::plan::{Plan, SealBounds};
pub use drain::read_ahead::Ahead;
pub use drain::row_times::RowTimes;
pub use fill::append::PackedBlock;
pub use fill::held::{Fate, HeldRows};
pub use format::batch::{
    Batch, BatchState, Doubt, Mark, Packed, PackedFormat, Range, is_same_start,
};
pub use format::block::{self, BlockHeader};
pub use format::dropped::{DROPPED_BATCHES, DroppedBatch, DroppedRange};
pub use format::error::QueueError;
pub use format::lane::{Lane, LaneId, LaneState};
pub use format::lost::{LOST_RANGES, LostRange};
pub use format::refused::CommandError;
pub use format::trail::Trail;
pub use open::is_made;
pub use quarantine::{Page, Position, QuarantineEntry, QuarantineTotals, Retried, Which};
pub use rescue::export::{Exported, KeepFree, Selection, What};
pub use rescue::export::{export, export_to_file, partial_of, passing_file, rename_new};
pub use rescue::repair;
pub use rescue::verify::{Damage, Lost, Verified, unpack, verify};
pub use summary::{SLED_FACTOR, Summary, Waiting, sent_up_to};
pub use upkeep::reopen::Opened;

use counts::{ByLane, Window};

use disk::evict;
use disk::files;
use disk::last_sync::{HighWater, SYNCS};
use disk::parts;
use drain::headers;
use fill::fences;
use format::block::is_no_fence;
use format::error::describe;
use format::json::{get_json, json, put_json};

/// The queue of one data dir. Threads share it by reference.
pub struct Queue {
    trees: RwLock<Option<Trees>>,
    /// Bytes of log since sled was opened, about (upkeep/reopen.rs).
    churned: AtomicU64,
    /// The data file of the sled that is there, opened before its first write: an fsync error is
    /// reported once to each descriptor, so a later one could miss it.
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
    heads: Mutex<headers::Heads>,
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
        self.guard(files::sync_side_files(&self.dir, &mut self.side_files()))?;
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
        let mut at = Some(block::key(LaneId(0), 0).to_vec());
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
                        let value = parts::join(&trees.parts, &key, value)?;
                        let (header, frame) = block::read_block(&key, &value)?;
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
            .range(block::key(lane, from)..block::key(lane, i64::MAX))
            .find(is_no_fence);
        match found {
            None => Ok(None),
            Some(entry) => {
                let (key, value) = entry.map_err(QueueError::store("read"))?;
                let value = parts::join(&trees.parts, &key, value)?;
                let (header, _) = block::read_block(&key, &value)?;
                evict::let_go(&trees.blocks, &key)?;
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
        let result = result.map_err(|e| e.on_disk(self.dir.path()));
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

/// Whether these bytes are a message in quarantine, and whether they are counts; for the fuzz target `record`.
#[doc(hidden)]
#[must_use]
pub fn reads_record(key: &[u8], value: &[u8]) -> (bool, bool) {
    (
        quarantine::is_whole(key, value),
        counts::is_whole(key, value),
    )
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
