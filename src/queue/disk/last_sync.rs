//! How far the queue was ever synced, kept outside of sled.
//!
//! sled ends its log at the first record that it cannot read, and cuts off the rest without a word:
//! after a crash these are writes that nobody was promised, but after damage they can be anything.
//! Rows would be missing, and batches already delivered would come back to be sent again. So each
//! sync has a number that sled holds, too, and a queue that holds an older one is refused.
//!
//! The file is written after the sync and not synced itself: it can be behind, never ahead.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use xxhash_rust::xxh3::xxh3_64;

use super::dir::open_own;
use crate::queue::{DataDir, QueueError, get_json};

/// Name in `meta` of the number of the last sync.
pub const SYNCS: &[u8] = b"syncs";

/// The file below the data dir: the number (u64) and its XXH3-64, little-endian.
pub const SYNCED_FILE: &str = "synced";

/// See the module.
pub struct HighWater {
    path: PathBuf,
    file: File,
    last: u64,
}

impl HighWater {
    /// Opens the file, or makes it. What cannot be read counts as nothing: power may have failed
    /// under it.
    pub fn open(dir: &DataDir) -> Result<HighWater, QueueError> {
        let path = dir.path().join(SYNCED_FILE);
        let file = open_own(&path)?;
        let mut bytes = [0; 16];
        let read = file.read_exact_at(&mut bytes, 0);
        let (number, check) = bytes.split_at(8);
        let last = match read {
            Ok(()) if check == xxh3_64(number).to_le_bytes() => {
                u64::from_le_bytes(number.try_into().expect("8 bytes"))
            }
            _ => 0,
        };
        Ok(HighWater { path, file, last })
    }

    /// The last sync that is known.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// The number of the last sync that the queue knows.
    ///
    /// # Errors
    /// [`QueueError::CutOff`] if it is an older one.
    pub fn check(&self, dir: &DataDir, meta: &sled::Tree) -> Result<u64, QueueError> {
        let found = get_json(meta, SYNCS)?.unwrap_or(0);
        if found < self.last {
            return Err(QueueError::CutOff {
                path: dir.queue_path(),
                synced: self.last,
                found,
            });
        }
        Ok(found)
    }

    /// This sync has ended.
    pub fn raise(&mut self, sync: u64) -> Result<(), QueueError> {
        if sync <= self.last {
            return Ok(());
        }
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&sync.to_le_bytes());
        let check = xxh3_64(&bytes[..8]).to_le_bytes();
        bytes[8..].copy_from_slice(&check);
        self.file
            .write_all_at(&bytes, 0)
            .map_err(|e| QueueError::io("cannot write", &self.path, e))?;
        self.last = sync;
        Ok(())
    }
}
