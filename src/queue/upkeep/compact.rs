//! Writing the queue anew once its files hold little.
//!
//! sled uses the space of removed rows again but returns none of it, and fills all of it with zeros
//! each time it opens: measured, 2.5 s and 6 GiB of writes after 6 GiB had been queued and sent. While
//! half of the file is free it also writes each segment twice, to move it forward (sled 0.34.7,
//! `SegmentAccountant`). So once the backlog of an outage is gone, what is left is copied to a new
//! sled, which takes the old one's place.
//!
//! The copy is whole and synced before the two directories change names, in one step. A crash leaves
//! the old or the new one under the queue's name; the next start removes the other.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::queue::disk::panics::guarded;
use crate::queue::disk::trees::entries;
use crate::queue::disk::{evict, files, origin};
use crate::queue::{DataDir, Queue, QueueError, Trees};
use crate::runtime::room::free_bytes;

/// Files below this size stay as they are.
const FILES_BYTES: u64 = 512 << 20;

/// So much may be held, or this part of the files, and is copied in a fraction of a second: sled would
/// take longer to fill the rest with zeros.
const HELD_BYTES: u64 = 64 << 20;
const HELD_PART: u64 = 32;

impl Queue {
    /// [`Queue::compact`] if the files are mostly empty and there is room for the copy.
    ///
    /// # Errors
    /// As there.
    pub fn compact_if_due(&self) -> Result<bool, QueueError> {
        let held = self.held_bytes();
        if self.stays_sparse.load(Ordering::Relaxed)
            || !is_due(held, self.disk_bytes())
            || !has_room(self.dir.path(), held)
        {
            return Ok(false);
        }
        self.compact()
    }

    /// Copies all records to a new sled, unless somebody is using the old one right now, and removes
    /// that. Returns whether it did; not, too, where two directories cannot change names.
    /// Everybody else waits meanwhile.
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be copied, closed or opened; the queue is then poisoned, and whole.
    pub fn compact(&self) -> Result<bool, QueueError> {
        self.compact_by(files::exchange_names)
    }

    /// The same, with another way to exchange two directories.
    pub(in crate::queue) fn compact_by(
        &self,
        exchange: impl FnOnce(&Path, &Path) -> std::io::Result<()>,
    ) -> Result<bool, QueueError> {
        self.check()?;
        // As in `renew_after`.
        let Ok(mut trees) = self.trees.try_write() else {
            return Ok(false);
        };
        let began = Instant::now();
        let fresh = files::new_path(&self.dir);
        let replaced = self.open_anew(&mut trees, |old| {
            let data_file = copy(old, &self.dir, &fresh)?;
            if !files::exchange_by(&self.dir, &fresh, exchange)? {
                return Ok(false);
            }
            *self.data_file.write().expect("BUG: a sync panicked") = data_file;
            self.side_files().clear();
            Ok(true)
        })?;
        drop(trees);
        if !replaced {
            self.stays_sparse.store(true, Ordering::Relaxed);
            log::warn!(
                "the queue's files do not shrink: two directories in {} cannot change names",
                self.dir.path().display()
            );
        }
        let taken = began.elapsed();
        files::remove_new(&self.dir)?;
        if replaced {
            log::info!(
                "queue written anew in {taken:.1?}: its files were mostly empty, now they have {} bytes",
                self.disk_bytes()
            );
        }
        Ok(replaced)
    }
}

fn is_due(held: u64, files: u64) -> bool {
    files >= FILES_BYTES && held <= HELD_BYTES.max(files / HELD_PART)
}

/// Whether the copy leaves as much again free.
fn has_room(data_dir: &Path, held: u64) -> bool {
    free_bytes(data_dir).is_ok_and(|free| free >= 2 * held + FILES_BYTES / 2)
}

/// Copies `old` to `fresh`, closes both and makes the copy durable. Returns its data file, opened before
/// the first record was written: the kernel tells a failed write to whoever had the file open.
fn copy(old: Trees, dir: &DataDir, fresh: &Path) -> Result<File, QueueError> {
    files::remove_new(dir)?;
    let new = Trees::open_at(fresh)?;
    let path = fresh.join("db");
    let data_file = File::open(&path).map_err(|e| QueueError::io("cannot open", &path, e))?;
    guarded(|| {
        for name in old.db.tree_names() {
            let open = |db: &sled::Db| db.open_tree(&name).map_err(QueueError::store("open"));
            let (from, to) = (open(&old.db)?, open(&new.db)?);
            // Fences first, as ahead of any block: they alone have no value.
            for is_fence in [true, false] {
                for entry in entries(&from) {
                    let (key, value) = entry?;
                    if value.is_empty() == is_fence {
                        let put = to.insert(&key, value);
                        put.map_err(QueueError::store("write"))?;
                    }
                    if name == old.blocks.name() {
                        evict::let_go(&old.blocks, &key)?;
                        evict::let_go(&new.blocks, &key)?;
                    }
                }
            }
        }
        origin::inherit(&old, &dir.queue_path(), &new, fresh)?;
        new.db.flush().map_err(QueueError::store("flush"))
    })?;
    drop((old, new));
    data_file
        .sync_all()
        .map_err(|e| QueueError::io("cannot sync", &path, e))?;
    files::sync_below(fresh)?;
    Ok(data_file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_large_files_that_hold_little_are_due() {
        const GIB: u64 = 1 << 30;
        assert!(is_due(0, GIB));
        assert!(is_due(64 << 20, GIB));
        assert!(!is_due(65 << 20, GIB));
        assert!(!is_due(0, 511 << 20), "small files");
        assert!(is_due(3 * GIB, 100 * GIB), "less than a 32nd");
        assert!(!is_due(4 * GIB, 100 * GIB));
    }
}
