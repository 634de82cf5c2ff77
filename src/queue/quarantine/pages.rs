//! Reading the quarantine a page at a time.

use std::ops::Bound;

use serde::{Deserialize, Serialize};

use super::entry::read_entry;
use super::{QuarantineEntry, is_eligible};
use crate::queue::{Queue, QueueError, layout};
use crate::record::LaneId;

/// Entries that one page looks at, and bytes after which it ends.
const PAGE_ENTRIES: usize = 2048;
const PAGE_BYTES: usize = 1 << 20;

/// A place in the quarantine: lane and offset. Pages go on after one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position(pub(super) u32, pub(super) i64);

/// Which entries are meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Which {
    /// Partition and offset; all, if absent. Several lanes may have read the same offset.
    pub only: Option<(i32, i64)>,
    /// Where the last page ended.
    pub after: Option<Position>,
}

/// Some entries, in order, and where to go on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Page<T> {
    /// The entries.
    pub entries: Vec<T>,
    /// For [`Which::after`]; `None` at the end.
    pub next: Option<Position>,
}

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

    /// Walks entries until the page is full or `each` says that it is.
    pub(super) fn page_until<T>(
        &self,
        which: Which,
        mut each: impl FnMut(QuarantineEntry, &[u8]) -> Result<(Option<T>, bool), QueueError>,
    ) -> Result<Page<T>, QueueError> {
        let mut page = Page {
            entries: Vec::new(),
            next: which.after,
        };
        let mut bytes = 0;
        for _ in 0..PAGE_ENTRIES {
            let Some((entry, value)) = self.next_entry(page.next, which.only)? else {
                page.next = None;
                break;
            };
            page.next = Some(entry.position());
            let (kept, full) = each(entry, &value)?;
            page.entries.extend(kept);
            bytes += value.len();
            if full || bytes >= PAGE_BYTES {
                break;
            }
        }
        Ok(page)
    }

    fn next_entry(
        &self,
        after: Option<Position>,
        only: Option<(i32, i64)>,
    ) -> Result<Option<(QuarantineEntry, sled::IVec)>, QueueError> {
        let Some((partition, offset)) = only else {
            return self.entry_after(after);
        };
        // In each lane there is one at the most.
        let mut at = after.map(|p| Position(p.0, i64::MAX));
        while let Some((head, _)) = self.entry_after(at)? {
            if head.partition == partition {
                let just_before = Position(head.lane.0, offset - 1);
                if let Some((entry, value)) = self.entry_after(Some(just_before))?
                    && (entry.lane, entry.message.offset) == (head.lane, offset)
                {
                    return Ok(Some((entry, value)));
                }
            }
            at = Some(Position(head.lane.0, i64::MAX));
        }
        Ok(None)
    }

    /// The first entry after `at`. Its `eligible` is not set: that takes the state lock.
    pub(super) fn entry_after(
        &self,
        at: Option<Position>,
    ) -> Result<Option<(QuarantineEntry, sled::IVec)>, QueueError> {
        let from = match at {
            None => Bound::Unbounded,
            Some(Position(lane, -1)) => Bound::Included(layout::key(LaneId(lane), 0)),
            Some(Position(lane, offset)) => Bound::Excluded(layout::key(LaneId(lane), offset)),
        };
        let range = (from, Bound::<[u8; 12]>::Unbounded);
        let trees = self.trees()?;
        let Some(found) = trees.quarantine.range(range).next() else {
            return Ok(None);
        };
        let (key, value) = found.map_err(QueueError::store("read"))?;
        let entry = read_entry(&key, &value).ok_or_else(|| QueueError::Damaged {
            what: match layout::parse_key(&key) {
                Some((lane, offset)) => format!("quarantined message at offset {offset} of {lane}"),
                None => format!("quarantined message with key {key:02x?}"),
            },
        })?;
        Ok(Some((entry, value)))
    }
}
