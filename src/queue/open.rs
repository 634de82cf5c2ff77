//! Opening a queue, and finishing what a crash left half done.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, OnceLock, RwLock};

use super::counts::{self, ByLane, Window};
use super::{
    Batch, DataDir, Lane, QUEUE_DIR, QuarantineTotals, Queue, QueueError, State, Trees, quarantine,
};
use crate::queue::disk::columns;
use crate::queue::disk::files;
use crate::queue::disk::installation::new_installation_id;
use crate::queue::disk::last_sync::HighWater;
use crate::queue::format::block::FORMAT;
use crate::queue::format::json::{get_json, put_json, read_all};
use crate::queue::rescue::export;
use crate::runtime::clock::now_ms;

/// Whether there is a queue in this data dir.
pub fn is_made(data_dir: &Path) -> bool {
    let queue = data_dir.join(QUEUE_DIR);
    // Of a data dir that may not be looked into, opening it tells more.
    let is_there = |name: &&str| queue.join(name).try_exists().unwrap_or(true);
    ["db", "conf"].iter().any(is_there)
}

impl Trees {
    /// Refuses a queue of another layout, or files that are none.
    pub(super) fn refuse_format(&self, dir: &DataDir) -> Result<(), QueueError> {
        match get_json::<u32>(&self.meta, b"format")? {
            Some(FORMAT) => Ok(()),
            Some(found) => Err(QueueError::Version {
                path: dir.queue_path(),
                found: found.to_string(),
                known: FORMAT,
            }),
            None => Err(QueueError::Damaged {
                what: format!(
                    "there are files in {}, but not one record that each queue has",
                    dir.queue_path().display()
                ),
            }),
        }
    }

    /// Refuses what [`Queue::open`] would: another layout, and records of lanes and batches that are not
    /// whole. Changes none.
    ///
    /// # Errors
    /// [`QueueError`]: the first that it finds.
    pub fn refuse_unknown(&self, dir: &DataDir) -> Result<(), QueueError> {
        self.refuse_format(dir)?;
        for lane in self.lanes() {
            lane?;
        }
        for batch in self.batches() {
            batch?;
        }
        Ok(())
    }
}

impl Queue {
    /// Opens the queue in `dir`, or creates it, and finishes what a crash left half done: lanes
    /// that were open are ended, blocks of acknowledged batches are removed.
    ///
    /// # Errors
    /// [`QueueError`] if sled cannot open it, its version is unknown, or a record is damaged.
    pub fn open(dir: DataDir) -> Result<Queue, QueueError> {
        let path = dir.path().to_owned();
        Queue::open_in(dir).map_err(|e| e.at_open(&path))
    }

    fn open_in(dir: DataDir) -> Result<Queue, QueueError> {
        // A mount of its own, say, where nothing was ever made.
        let is_new = !is_made(dir.path());
        let (db, data_file) = files::open_sled(&dir)?;
        files::remove_new(&dir)?;
        export::remove_left(&dir)?;
        let trees = Trees::from_db(db)?;
        let meta = &trees.meta;
        let unknown = get_json::<u32>(meta, b"format")?.is_none();
        if is_new && unknown {
            put_json(meta, b"format", &FORMAT)?;
        }
        trees.refuse_format(&dir)?;
        let high_water = HighWater::open(&dir)?;
        let syncs = high_water.check(&dir, meta)?;
        columns::note(meta, &trees.blocks)?;
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
