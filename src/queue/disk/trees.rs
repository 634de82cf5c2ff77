//! sled's trees as they lie on the disk, read without changing a record: for `verify`, `export` and
//! `repair`, which must cope with what [`crate::queue::Queue::open`] refuses.

use std::path::Path;

use super::{files, parts};
use crate::queue::disk::columns;
use crate::queue::disk::last_sync::HighWater;
use crate::queue::disk::panics::guarded;
use crate::queue::format::block::{self, BlockHeader, is_no_fence};
use crate::queue::{Batch, DataDir, Lane, LaneId, QueueError};
use crate::row::minutes::Minutes;

/// Handles of all trees.
pub struct Trees {
    pub(in crate::queue) db: sled::Db,
    pub(in crate::queue) meta: sled::Tree,
    pub(in crate::queue) lanes: sled::Tree,
    pub(in crate::queue) blocks: sled::Tree,
    pub(in crate::queue) parts: sled::Tree,
    pub(in crate::queue) batches: sled::Tree,
    pub(in crate::queue) quarantine: sled::Tree,
    pub(in crate::queue) partitions: sled::Tree,
    pub(in crate::queue) counts: sled::Tree,
}

impl Trees {
    /// Of the queue in `dir`, whatever its records look like. sled may write its own snapshot; no
    /// record is changed.
    ///
    /// # Errors
    /// [`QueueError`] if sled does not open it; a panic of sled's counts as that.
    pub fn open(dir: &DataDir) -> Result<Trees, QueueError> {
        let open = || {
            let trees = Trees::from_db(files::open_sled(dir)?.0)?;
            columns::refuse_others(&trees.meta, &trees.blocks)?;
            Ok(trees)
        };
        guarded(open).map_err(|e| e.at_open(dir.path()))
    }

    /// Whether sled cut off the end of the log: all that it still holds is whole, but old.
    ///
    /// # Errors
    /// [`QueueError::CutOff`], or that it cannot be told.
    pub fn refuse_cut_off(&self, dir: &DataDir) -> Result<(), QueueError> {
        HighWater::open(dir)?.check(dir, &self.meta).map(drop)
    }

    /// Of the sled directory `path`, made if it is missing.
    ///
    /// # Errors
    /// As [`Trees::open`].
    pub fn open_at(path: &Path) -> Result<Trees, QueueError> {
        guarded(|| {
            let db = files::sled_config(path)
                .open()
                .map_err(|e| files::not_opened(path, e))?;
            Trees::from_db(db)
        })
    }

    pub(in crate::queue) fn from_db(db: sled::Db) -> Result<Trees, QueueError> {
        let tree = |name: &str| db.open_tree(name).map_err(QueueError::store("open"));
        Ok(Trees {
            meta: tree("meta")?,
            lanes: tree("lanes")?,
            blocks: tree("blocks")?,
            parts: tree("parts")?,
            batches: tree("batches")?,
            quarantine: tree("quarantine")?,
            partitions: tree("partitions")?,
            counts: tree("counts")?,
            db,
        })
    }

    /// Rows in blocks, by the records of lanes and batches that are whole: how long a look takes.
    pub fn rows(&self) -> u64 {
        let lanes = self.lanes().into_iter().flatten().map(|l| l.rows);
        let batches = self.batches().into_iter().flatten();
        let delivered = batches.filter(Batch::is_delivered).map(|b| b.rows);
        lanes.chain(delivered).sum()
    }

    /// The lane records, each whole or damaged, by key.
    pub fn lanes(&self) -> Vec<Result<Lane, QueueError>> {
        let named = |lane: &Lane, key: &[u8]| key == block::lane_key(lane.id);
        records(&self.lanes, "lane", named)
    }

    /// The batch records, each whole or damaged, by key.
    pub fn batches(&self) -> Vec<Result<Batch, QueueError>> {
        let named = |batch: &Batch, key: &[u8]| key == block::seq_key(batch.seq);
        records(&self.batches, "batch", named)
    }

    /// Every block from `from` on in the order of its keys, whole or damaged. After a read error
    /// of sled's it goes on behind the damaged page, as far as it can find an end of it.
    pub fn blocks(&self, from: [u8; 12]) -> impl Iterator<Item = StoredBlock> + '_ {
        let mut at = Some(from.to_vec());
        std::iter::from_fn(move || {
            let from = at.take()?;
            match guarded(|| first(self.blocks.range(from.as_slice()..).find(is_no_fence))) {
                Ok(None) => None,
                Ok(Some((key, value))) => {
                    let mut after = key.to_vec();
                    after.push(0);
                    at = Some(after);
                    Some(StoredBlock {
                        place: block::parse_key(&key).filter(|_| key.len() == 12),
                        block: guarded(|| parts::join(&self.parts, &key, value))
                            .and_then(|value| read_whole(&key, &value)),
                    })
                }
                Err(e) => {
                    at = self.behind_damage(&from);
                    Some(StoredBlock {
                        place: block::parse_key(&from),
                        block: Err(e),
                    })
                }
            }
        })
    }

    /// The lowest key found above `from` at which sled can read again. Steps double, then halve, so
    /// a whole block right behind a damaged page is found, if its page is the next one read.
    fn behind_damage(&self, from: &[u8]) -> Option<Vec<u8>> {
        let (lane, offset) = block::parse_key(from)?;
        let readable =
            |lane: LaneId, offset: i64| first_at(&self.blocks, &block::key(lane, offset)).is_ok();
        let mut good = None;
        let mut bad = offset;
        for step in (0..62).map(|n| 1i64 << n) {
            let probe = offset.checked_add(step)?;
            if readable(lane, probe) {
                good = Some(probe);
                break;
            }
            bad = probe;
        }
        let Some(mut good) = good else {
            // The rest of this lane; the next lane may lie in another page.
            let next = (1..=64).map(|n| LaneId(lane.0.saturating_add(n)));
            let next = next.into_iter().find(|l| readable(*l, 0))?;
            return Some(block::key(next, 0).to_vec());
        };
        while good - bad > 1 {
            let middle = bad + (good - bad) / 2;
            if readable(lane, middle) {
                good = middle;
            } else {
                bad = middle;
            }
        }
        Some(block::key(lane, good).to_vec())
    }
}

/// A whole block.
pub struct Block {
    /// Its header.
    pub header: BlockHeader,
    /// Its rows by minute.
    pub minutes: Minutes,
    /// Its zstd frame.
    pub frame: Vec<u8>,
}

fn read_whole(key: &[u8], value: &[u8]) -> Result<Block, QueueError> {
    let (header, frame) = block::read_block(key, value)?;
    Ok(Block {
        header,
        minutes: block::read_minutes(&header, value)?,
        frame: frame.to_vec(),
    })
}

/// A block as it was found.
pub struct StoredBlock {
    /// Lane and first offset by its key; `None` if the key is none of ours.
    pub place: Option<(LaneId, i64)>,
    /// The block, or what is wrong.
    pub block: Result<Block, QueueError>,
}

type Entry = (sled::IVec, sled::IVec);

/// The first entry at or above `from`. sled's panics on damaged pages are errors here.
fn first_at(tree: &sled::Tree, from: &[u8]) -> Result<Option<Entry>, QueueError> {
    guarded(|| first(tree.range(from..).next()))
}

fn first(found: Option<sled::Result<Entry>>) -> Result<Option<Entry>, QueueError> {
    found.transpose().map_err(QueueError::store("read"))
}

/// All entries of a small tree; ends at the first that sled cannot read.
pub(in crate::queue) fn entries(
    tree: &sled::Tree,
) -> impl Iterator<Item = Result<Entry, QueueError>> + '_ {
    let mut at = Some(Vec::new());
    std::iter::from_fn(move || match first_at(tree, &at.take()?) {
        Ok(None) => None,
        Ok(Some((key, value))) => {
            let mut after = key.to_vec();
            after.push(0);
            at = Some(after);
            Some(Ok((key, value)))
        }
        Err(e) => Some(Err(e)),
    })
}

fn records<T: serde::de::DeserializeOwned>(
    tree: &sled::Tree,
    what: &str,
    named: impl Fn(&T, &[u8]) -> bool,
) -> Vec<Result<T, QueueError>> {
    entries(tree)
        .map(|entry| {
            let (key, value) = entry?;
            let damaged = |why: String| QueueError::Damaged {
                what: format!("{what} {}: {why}", hex(&key)),
            };
            let record: T = serde_json::from_slice(&value).map_err(|e| damaged(e.to_string()))?;
            if !named(&record, &key) {
                return Err(damaged("it is stored under another number".to_owned()));
            }
            Ok(record)
        })
        .collect()
}

fn hex(key: &[u8]) -> String {
    key.iter().map(|b| format!("{b:02x}")).collect()
}
