//! Opening a queue, and finishing what a crash left half done.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, OnceLock, RwLock};

use super::counts::{self, ByLane, Window};
use super::high_water::HighWater;
use super::layout::FORMAT;
use super::records::{get_json, put_json, read_all};
use super::{
    Batch, DataDir, Lane, QuarantineTotals, Queue, QueueError, State, Trees, dir, quarantine,
};
use crate::runtime::clock::now_ms;

impl Queue {
    /// Opens the queue in `dir`, or creates it, and finishes what a crash left half done: lanes
    /// that were open are ended, blocks of acknowledged batches are removed.
    ///
    /// # Errors
    /// [`QueueError`] if sled cannot open it, its version is unknown, or a record is damaged.
    pub fn open(dir: DataDir) -> Result<Queue, QueueError> {
        let (db, data_file) = dir::open_sled(&dir)?;
        dir::remove_new(&dir)?;
        let trees = Trees::from_db(db)?;
        let meta = &trees.meta;
        let format: Option<u32> = get_json(meta, b"format")?;
        match format {
            Some(FORMAT) => {}
            Some(found) => {
                return Err(QueueError::Version {
                    path: dir.queue_path(),
                    found: found.to_string(),
                    known: FORMAT,
                });
            }
            None => put_json(meta, b"format", &FORMAT)?,
        }
        let high_water = HighWater::open(&dir)?;
        let syncs = high_water.check(&dir, meta)?;
        let installation = match get_json(meta, b"installation")? {
            Some(id) => id,
            None => {
                let id = new_installation_id();
                put_json(meta, b"installation", &id)?;
                id
            }
        };
        let mut state = State {
            lanes: BTreeMap::new(),
            batches: BTreeMap::new(),
            next_lane: get_json(meta, b"next_lane")?.unwrap_or(1),
            next_batch: get_json(meta, b"next_batch")?.unwrap_or(1),
            quarantine: QuarantineTotals::default(),
            uncounted: ByLane::new(),
            fences: BTreeMap::new(),
            keep_counts: counts::KEEP,
            window: Window::around(now_ms(), counts::KEEP),
        };
        for lane in read_all::<Lane>(&trees.lanes, "lane")? {
            state.lanes.insert(lane.id, lane);
        }
        for batch in read_all::<Batch>(&trees.batches, "batch")? {
            state.batches.insert(batch.seq, batch);
        }
        let queue = Queue {
            trees: RwLock::new(Some(trees)),
            churned: AtomicU64::new(0),
            data_file: RwLock::new(data_file),
            stays_sparse: AtomicBool::new(false),
            side_files: Mutex::default(),
            failed: OnceLock::new(),
            syncs: Mutex::new(syncs),
            high_water: Mutex::new(high_water),
            appended: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            state: Mutex::new(state),
            heads: Mutex::default(),
            installation,
            dir,
        };
        queue.note_origin()?;
        queue.state().quarantine = match get_json(&queue.trees()?.meta, quarantine::TOTALS)? {
            Some(totals) => totals,
            None => queue.count_quarantine()?,
        };
        if queue.load::<u64>(counts::SINCE)?.is_none() {
            queue.save(counts::SINCE, &now_ms())?;
        }
        queue.find_uncounted()?;
        queue.end_open_lanes()?;
        queue.finish_acked()?;
        queue.sync()?;
        Ok(queue)
    }
}

/// Random, 16 hex digits.
pub(super) fn new_installation_id() -> String {
    format!(
        "{:016x}",
        getrandom::u64().expect("the kernel's random source works")
    )
}
