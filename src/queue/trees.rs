//! sled's trees as they lie on the disk, read without changing a record: for `verify`, `export` and
//! `repair`, which must cope with what [`super::Queue::open`] refuses.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::fences::is_no_fence;
use super::high_water::HighWater;
use super::layout::{self, BlockHeader};
use super::{Batch, DataDir, Lane, QueueError, dir};
use crate::minutes::Minutes;
use crate::record::LaneId;

/// Handles of all trees.
pub struct Trees {
    pub(super) db: sled::Db,
    pub(super) meta: sled::Tree,
    pub(super) lanes: sled::Tree,
    pub(super) blocks: sled::Tree,
    pub(super) batches: sled::Tree,
    pub(super) quarantine: sled::Tree,
    pub(super) partitions: sled::Tree,
    pub(super) counts: sled::Tree,
}

impl Trees {
    /// Of the queue in `dir`, whatever its records look like. sled may write its own snapshot; no
    /// record is changed.
    ///
    /// # Errors
    /// [`QueueError`] if sled does not open it; a panic of sled's counts as that.
    pub fn open(dir: &DataDir) -> Result<Trees, QueueError> {
        guarded(|| Trees::from_db(dir::open_sled(dir)?.0))
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
            let db = dir::sled_config(path)
                .open()
                .map_err(|source| QueueError::Open {
                    path: path.to_owned(),
                    source,
                })?;
            Trees::from_db(db)
        })
    }

    pub(super) fn from_db(db: sled::Db) -> Result<Trees, QueueError> {
        let tree = |name: &str| db.open_tree(name).map_err(QueueError::store("open"));
        Ok(Trees {
            meta: tree("meta")?,
            lanes: tree("lanes")?,
            blocks: tree("blocks")?,
            batches: tree("batches")?,
            quarantine: tree("quarantine")?,
            partitions: tree("partitions")?,
            counts: tree("counts")?,
            db,
        })
    }

    /// The lane records, each whole or damaged, by key.
    pub fn lanes(&self) -> Vec<Result<Lane, QueueError>> {
        let named = |lane: &Lane, key: &[u8]| key == layout::lane_key(lane.id);
        records(&self.lanes, "lane", named)
    }

    /// The batch records, each whole or damaged, by key.
    pub fn batches(&self) -> Vec<Result<Batch, QueueError>> {
        let named = |batch: &Batch, key: &[u8]| key == layout::seq_key(batch.seq);
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
                        place: layout::parse_key(&key).filter(|_| key.len() == 12),
                        block: read_whole(&key, &value),
                    })
                }
                Err(e) => {
                    at = self.behind_damage(&from);
                    Some(StoredBlock {
                        place: layout::parse_key(&from),
                        block: Err(e),
                    })
                }
            }
        })
    }

    /// The lowest key found above `from` at which sled can read again. Steps double, then halve, so
    /// a whole block right behind a damaged page is found, if its page is the next one read.
    fn behind_damage(&self, from: &[u8]) -> Option<Vec<u8>> {
        let (lane, offset) = layout::parse_key(from)?;
        let readable =
            |lane: LaneId, offset: i64| first_at(&self.blocks, &layout::key(lane, offset)).is_ok();
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
            return Some(layout::key(next, 0).to_vec());
        };
        while good - bad > 1 {
            let middle = bad + (good - bad) / 2;
            if readable(lane, middle) {
                good = middle;
            } else {
                bad = middle;
            }
        }
        Some(layout::key(lane, good).to_vec())
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
    let (header, frame) = layout::read_block(key, value)?;
    Ok(Block {
        header,
        minutes: layout::read_minutes(&header, value)?,
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
pub(super) fn entries(tree: &sled::Tree) -> impl Iterator<Item = Result<Entry, QueueError>> + '_ {
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

/// sled 0.34 panics on some damage instead of saying so.
pub(super) fn guarded<T>(f: impl FnOnce() -> Result<T, QueueError>) -> Result<T, QueueError> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let words = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        Err(QueueError::Damaged {
            what: format!("sled gave up: {}", words.unwrap_or_default()),
        })
    })
}
