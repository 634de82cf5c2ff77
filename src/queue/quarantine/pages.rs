//! Reading the quarantine a page at a time.

use std::ops::Bound;

use serde::{Deserialize, Serialize};

use super::entry::read_entry;
use super::{Position, QuarantineEntry, Which, is_eligible};
use crate::queue::format::block;
use crate::queue::{LaneId, Queue, QueueError};

/// Entries that one page looks at, and bytes after which it ends.
const PAGE_ENTRIES: usize = 2048;
const PAGE_BYTES: usize = 1 << 20;

/// Bytes of a key.
const KEY: usize = 12;

/// Some entries, in order, and where to go on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Page<T> {
    /// The entries.
    pub entries: Vec<T>,
    /// For [`Which::after`]; `None` at the end.
    pub next: Option<Position>,
    /// Entries that cannot be read, in words; they stay as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<String>,
}

/// What lies under a key: an entry with its whole value, or words for what cannot be read.
type Looked = Result<(QuarantineEntry, sled::IVec), String>;

impl Queue {
    /// Every quarantined message, with the lane that read it.
    pub fn quarantined(&self) -> impl Iterator<Item = Result<QuarantineEntry, QueueError>> + '_ {
        let mut at = Some(None);
        // Not sled's own iterator: a long one pins memory without bound.
        std::iter::from_fn(move || {
            let found = self.entry_after(at.take()?).transpose()?;
            if let Ok((entry, _)) = &found {
                at = Some(Some(entry.position()));
            }
            Some(found.map(|(entry, _)| entry))
        })
    }

    /// A page of entries, with their bytes if they are kept.
    ///
    /// # Errors
    /// [`QueueError`] if an entry cannot be read.
    pub fn quarantine_page(&self, which: Which) -> Result<Page<QuarantineEntry>, QueueError> {
        let mut page = self.page(which, |entry, _| Ok(Some(entry)))?;
        let state = self.state();
        for entry in &mut page.entries {
            entry.eligible = is_eligible(state.lanes.get(&entry.lane), entry.message.offset);
        }
        Ok(page)
    }

    pub(super) fn page<T>(
        &self,
        which: Which,
        mut each: impl FnMut(QuarantineEntry, &[u8]) -> Result<Option<T>, QueueError>,
    ) -> Result<Page<T>, QueueError> {
        self.page_until(which, |entry, value| Ok((each(entry, value)?, false)))
    }

    /// Walks entries until the page is full or `each` says that it is. One that is damaged is named, and
    /// those behind it come all the same.
    pub(super) fn page_until<T>(
        &self,
        which: Which,
        mut each: impl FnMut(QuarantineEntry, &[u8]) -> Result<(Option<T>, bool), QueueError>,
    ) -> Result<Page<T>, QueueError> {
        let mut page = Page {
            entries: Vec::new(),
            next: None,
            damaged: Vec::new(),
        };
        let (mut looked, mut bytes) = (0, 0);
        let mut from = match (which.after, which.only) {
            // In each lane there is one at the most.
            (Some(Position(lane, _)), Some(_)) => after(Some(Position(lane, i64::MAX))),
            (at, _) => after(at),
        };
        while let Some((key, found)) = self.next_of(&mut from, which.only)? {
            let mut full = false;
            match found {
                Ok((entry, value)) => {
                    let (kept, ends) = each(entry, &value)?;
                    page.entries.extend(kept);
                    bytes += value.len();
                    full = ends;
                }
                Err(what) => page.damaged.push(what),
            }
            looked += 1;
            // Only behind a key of ours can the next page begin.
            if let Some((lane, offset)) = block::parse_key(&key).filter(|_| key.len() == KEY)
                && (full || looked >= PAGE_ENTRIES || bytes >= PAGE_BYTES)
            {
                page.next = Some(Position(lane.0, offset));
                break;
            }
        }
        Ok(page)
    }

    /// The next entry from `from` on, which moves on behind it.
    fn next_of(
        &self,
        from: &mut Bound<Vec<u8>>,
        only: Option<(i32, i64)>,
    ) -> Result<Option<(sled::IVec, Looked)>, QueueError> {
        while let Some((key, value)) = self.record_from(from.clone())? {
            *from = Bound::Excluded(key.to_vec());
            let Some((partition, offset)) = only else {
                let looked = read(&key, value);
                return Ok(Some((key, looked)));
            };
            let Some((lane, _)) = block::parse_key(&key) else {
                continue;
            };
            *from = after(Some(Position(lane.0, i64::MAX)));
            let wanted = block::key(lane, offset);
            let found = self.trees()?.quarantine.get(wanted);
            if let Some(value) = found.map_err(QueueError::store("read"))? {
                let looked = read(&wanted, value);
                // Of one that is damaged the partition is not known.
                if looked
                    .as_ref()
                    .map_or(true, |(e, _)| e.partition == partition)
                {
                    return Ok(Some((wanted.as_slice().into(), looked)));
                }
            }
        }
        Ok(None)
    }

    fn record_from(
        &self,
        from: Bound<Vec<u8>>,
    ) -> Result<Option<(sled::IVec, sled::IVec)>, QueueError> {
        let range = (from, Bound::<Vec<u8>>::Unbounded);
        let found = self.trees()?.quarantine.range(range).next();
        found.transpose().map_err(QueueError::store("read"))
    }

    /// The first entry after `at`. Its `eligible` is not set: that takes the state lock.
    pub(super) fn entry_after(
        &self,
        at: Option<Position>,
    ) -> Result<Option<(QuarantineEntry, sled::IVec)>, QueueError> {
        let Some((key, value)) = self.record_from(after(at))? else {
            return Ok(None);
        };
        let found = read(&key, value).map_err(|what| QueueError::Damaged { what })?;
        Ok(Some(found))
    }
}

/// Where a look begins that goes on after `at`.
fn after(at: Option<Position>) -> Bound<Vec<u8>> {
    match at {
        None => Bound::Unbounded,
        Some(Position(lane, -1)) => Bound::Included(block::key(LaneId(lane), 0).to_vec()),
        Some(Position(lane, offset)) => Bound::Excluded(block::key(LaneId(lane), offset).to_vec()),
    }
}

fn read(key: &[u8], value: sled::IVec) -> Looked {
    match read_entry(key, &value) {
        Some(entry) => Ok((entry, value)),
        None => Err(match block::parse_key(key) {
            Some((lane, offset)) => format!("quarantined message at offset {offset} of {lane}"),
            None => format!("quarantined message with key {key:02x?}"),
        }),
    }
}
