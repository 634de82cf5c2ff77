//! Messages in quarantine: bounded, read a page at a time, retried, dropped.
//!
//! An entry is JSON, and behind it, after a newline, the masked bytes if they are kept. Everything
//! that changes an entry holds the state lock, so the totals are those of the tree.

mod entry;
mod pages;
mod retry;
mod totals;

pub use entry::QuarantineEntry;
pub use entry::{Position, Which};
pub(super) use entry::{is_whole, write_entry};
pub use pages::Page;
pub use retry::Retried;
pub use totals::QuarantineTotals;
pub(super) use totals::TOTALS;

use super::change::Change;
use super::{Lane, Queue, QueueError, State};
use crate::queue::format::block;
use crate::runtime::clock::now_ms;

impl Queue {
    /// What the quarantine holds.
    pub fn quarantine_totals(&self) -> QuarantineTotals {
        self.state().quarantine
    }

    /// Removes the entries of a page, for good, and tells which. Durable after [`Queue::sync`].
    ///
    /// # Errors
    /// [`QueueError`] if they cannot be read or removed.
    pub fn drop_quarantined(&self, which: Which) -> Result<Page<QuarantineEntry>, QueueError> {
        self.check()?;
        let mut state = self.state();
        let mut totals = state.quarantine;
        let lanes = &state.lanes;
        let page = self.page(which, |entry, value| {
            totals.remove(value);
            let eligible = is_eligible(lanes.get(&entry.lane), entry.message.offset);
            Ok(Some(QuarantineEntry { eligible, ..entry }))
        })?;
        self.remove_entries(&mut state, &page.entries, totals)?;
        Ok(page)
    }

    /// Removes the oldest entries until `need` more bytes fit into `max`, and counts them as
    /// dropped. Durable after [`Queue::sync`].
    ///
    /// # Errors
    /// [`QueueError`] if they cannot be read or removed.
    pub fn drop_oldest_quarantined(
        &self,
        need: u64,
        max: u64,
    ) -> Result<Vec<QuarantineEntry>, QueueError> {
        self.check()?;
        let mut state = self.state();
        let mut totals = state.quarantine;
        let mut gone = Vec::new();
        if totals.bytes + need > max {
            // The oldest of each lane.
            let mut heads = Vec::new();
            let mut at = None;
            while let Some((entry, value)) = self.entry_after(at)? {
                at = Some(Position(entry.lane.0, i64::MAX));
                heads.push((entry, value.len()));
            }
            while totals.bytes + need > max && !heads.is_empty() {
                let oldest = (0..heads.len()).min_by_key(|i| heads[*i].0.read_ms);
                let (entry, len) = heads.swap_remove(oldest.expect("not empty"));
                totals.entries -= 1;
                totals.bytes -= len as u64;
                totals.dropped += 1;
                totals.dropped_ms = Some(now_ms());
                let next = self.entry_after(Some(entry.position()))?;
                heads.extend(
                    next.filter(|(n, _)| n.lane == entry.lane)
                        .map(|(n, value)| (n, value.len())),
                );
                gone.push(entry);
            }
            self.remove_entries(&mut state, &gone, totals)?;
        }
        Ok(gone)
    }

    /// The totals of a tree that has none beside it.
    pub(super) fn count_quarantine(&self) -> Result<QuarantineTotals, QueueError> {
        let mut totals = QuarantineTotals::default();
        let mut at = None;
        while let Some((entry, value)) = self.entry_after(at)? {
            totals.add(&value);
            at = Some(entry.position());
        }
        Ok(totals)
    }

    fn remove_entries(
        &self,
        state: &mut State,
        entries: &[QuarantineEntry],
        totals: QuarantineTotals,
    ) -> Result<(), QueueError> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut change = Change::default();
        for entry in entries {
            change.remove_entry(&block::key(entry.lane, entry.message.offset));
        }
        change.quarantine(totals);
        self.write(state, change, "drop messages in")
    }
}

/// A lane that is gone had no tail any more.
fn is_eligible(lane: Option<&Lane>, offset: i64) -> bool {
    lane.is_none_or(|lane| offset < lane.eligible)
}

#[cfg(test)]
mod tests;
