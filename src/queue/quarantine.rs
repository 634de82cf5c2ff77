//! Messages in quarantine: bounded, read a page at a time, retried, dropped.
//!
//! An entry is JSON, and behind it, after a newline, the masked bytes if they are kept. Everything
//! that changes an entry holds the state lock, so the totals are those of the tree.

use std::ops::Bound;

use serde::{Deserialize, Serialize};
use sled::Transactional as _;

use super::layout::{self, BlockHeader};
use super::{Lane, Queue, QueueError, counts, json};
use crate::ingest::BLOCK_BYTES;
use crate::minutes::Minutes;
use crate::quarantine::Masked;
use crate::record::{LaneId, Quarantined};
use crate::store::ZSTD_LEVEL;

/// Name in the `meta` tree.
pub(super) const TOTALS: &[u8] = b"quarantine";

/// Entries that one page looks at, and bytes after which it ends.
const PAGE_ENTRIES: usize = 2048;
const PAGE_BYTES: usize = 1 << 20;

/// What the quarantine holds, kept beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineTotals {
    /// Entries.
    pub entries: u64,
    /// Their bytes, without sled's overhead.
    pub bytes: u64,
    /// Entries that were dropped for room. Each is a loss.
    pub dropped: u64,
}

impl QuarantineTotals {
    pub(super) fn add(&mut self, value: &[u8]) {
        self.entries += 1;
        self.bytes += value.len() as u64;
    }

    pub(super) fn remove(&mut self, value: &[u8]) {
        self.entries = self.entries.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(value.len() as u64);
    }
}

/// A message in quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineEntry {
    /// Lane that read it.
    pub lane: LaneId,
    /// Kafka topic, as in [`Lane::topic`].
    pub topic: String,
    /// Kafka partition.
    pub partition: i32,
    /// When it was read, Unix ms.
    pub read_ms: u64,
    /// Whether Kafka acknowledged the commit that covers it. If not, another instance may have read
    /// it too, and it is not ours to send.
    pub eligible: bool,
    /// What was kept.
    #[serde(flatten)]
    pub message: Quarantined,
}

impl QuarantineEntry {
    /// The topic's name, without its id.
    pub fn topic_name(&self) -> &str {
        self.topic.split('@').next().unwrap_or_default()
    }

    /// Its place, for people.
    pub fn place(&self) -> String {
        let (topic, offset) = (self.topic_name(), self.message.offset);
        format!("{topic} p{} offset {offset}", self.partition)
    }

    /// Its place among all entries.
    pub fn position(&self) -> Position {
        Position(self.lane.0, self.message.offset)
    }
}

/// A place in the quarantine: lane and offset. Pages go on after one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position(u32, i64);

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

/// What became of an entry that was retried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retried {
    /// It is a row now, and no longer in quarantine.
    Row,
    /// It cannot become a row; the text says why.
    Not(String),
}

/// On the disk; lane and offset are in the key as well.
#[derive(Serialize, Deserialize)]
struct Stored {
    topic: String,
    partition: i32,
    read_ms: u64,
    #[serde(flatten)]
    message: Quarantined,
}

pub(super) fn write_entry(lane: &Lane, read_ms: u64, message: &Quarantined) -> Vec<u8> {
    let mut value = json(&Stored {
        topic: lane.topic.clone(),
        partition: lane.partition,
        read_ms,
        message: message.clone(),
    });
    if let Some(kept) = &message.kept {
        value.push(b'\n');
        value.extend_from_slice(kept.as_bytes());
    }
    value
}

impl Queue {
    /// What the quarantine holds.
    pub fn quarantine_totals(&self) -> QuarantineTotals {
        self.state().quarantine
    }

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

    /// Removes the entries of a page, for good, and tells which. Durable after [`Queue::sync`].
    ///
    /// # Errors
    /// [`QueueError`] if they cannot be read or removed.
    pub fn drop_quarantined(&self, which: Which) -> Result<Page<QuarantineEntry>, QueueError> {
        self.check()?;
        let mut state = self.state();
        let mut totals = state.quarantine;
        let page = self.page(which, |entry, value| {
            totals.remove(value);
            Ok(Some(entry))
        })?;
        self.remove_entries(&page.entries, totals)?;
        state.quarantine = totals;
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
                let next = self.entry_after(Some(entry.position()))?;
                heads.extend(
                    next.filter(|(n, _)| n.lane == entry.lane)
                        .map(|(n, value)| (n, value.len())),
                );
                gone.push(entry);
            }
            self.remove_entries(&gone, totals)?;
            state.quarantine = totals;
        }
        Ok(gone)
    }

    /// Decodes kept bytes again. Those that become rows now are appended as a block of a lane of
    /// their own, which is eligible at once, **in one transaction with the removal of their
    /// entries**: a crash neither loses nor doubles one. Entries that are not eligible stay. Durable
    /// after [`Queue::sync`]; a batch is synced before it is sent, and so are the rows in it.
    ///
    /// Kafka's offsets have no part in it: the lane is of [`Lane::RETRIED`], no topic that Kafka
    /// can have, and counts no offset but the rows themselves.
    ///
    /// # Errors
    /// [`QueueError`] if an entry cannot be read or the block cannot be written.
    pub fn retry_quarantined(
        &self,
        which: Which,
        now_ms: u64,
        to_row: impl Fn(&[u8], &mut Vec<u8>) -> Result<u32, String>,
    ) -> Result<Page<(QuarantineEntry, Retried)>, QueueError> {
        self.check()?;
        let mut state = self.state();
        let (mut rows, mut count, mut minutes) = (Vec::new(), 0, Minutes::default());
        let mut totals = state.quarantine;
        let lanes = &state.lanes;
        let page = self.page_until(which, |entry, value| {
            let eligible = is_eligible(lanes.get(&entry.lane), entry.message.offset);
            let result = match &entry.message.kept {
                _ if !eligible => Err("its commit was not acknowledged yet".to_owned()),
                None => Err("its bytes are not kept".to_owned()),
                Some(kept) => to_row(kept.as_bytes(), &mut rows),
            };
            let entry = QuarantineEntry { eligible, ..entry };
            let result = match result {
                Err(why) => Retried::Not(why),
                Ok(second) => {
                    count += 1;
                    minutes.count(second);
                    totals.remove(value);
                    Retried::Row
                }
            };
            Ok((Some((entry, result)), rows.len() >= BLOCK_BYTES))
        })?;
        if count == 0 {
            return Ok(page);
        }
        minutes.merge();
        let frame = zstd::bulk::compress(&rows, ZSTD_LEVEL)
            .map_err(|e| QueueError::io("cannot compress a block for", self.dir.path(), e))?;
        let id = LaneId(state.next_lane);
        let lane = Lane::of_retried(id, count, frame.len() as u64);
        let header = BlockHeader {
            lane: id,
            first: 0,
            next: lane.next,
            rows: count,
            raw_len: rows.len() as u32,
            minutes_len: 0,
            frame_len: frame.len() as u32,
            appended_ms: now_ms,
            checksum: 0,
        };
        let value = layout::write_block(&header, &minutes, &frame);
        let gone: Vec<[u8; 12]> = page
            .entries
            .iter()
            .filter(|(_, result)| *result == Retried::Row)
            .map(|(entry, _)| layout::key(entry.lane, entry.message.offset))
            .collect();
        // Not counted as an append that a commit waits for: no commit covers it.
        let written = (&self.blocks, &self.lanes, &self.quarantine, &self.meta).transaction(
            |(blocks, lanes, quarantine, meta)| {
                blocks.insert(&layout::key(id, 0), value.as_slice())?;
                lanes.insert(&layout::lane_key(id), json(&lane))?;
                for key in &gone {
                    quarantine.remove(key)?;
                }
                meta.insert(TOTALS, json(&totals))?;
                meta.insert(b"next_lane", json(&(id.0 + 1)))?;
                Ok(())
            },
        );
        self.transaction_result("retry messages in", written)?;
        state.next_lane += 1;
        state.lanes.insert(id, lane);
        state.quarantine = totals;
        counts::add_rows(&mut state.uncounted, id, &minutes);
        Ok(page)
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
        entries: &[QuarantineEntry],
        totals: QuarantineTotals,
    ) -> Result<(), QueueError> {
        if entries.is_empty() {
            return Ok(());
        }
        let written = (&self.quarantine, &self.meta).transaction(|(quarantine, meta)| {
            for entry in entries {
                quarantine.remove(&layout::key(entry.lane, entry.message.offset))?;
            }
            meta.insert(TOTALS, json(&totals))?;
            Ok(())
        });
        self.transaction_result("drop messages in", written)
    }

    fn page<T>(
        &self,
        which: Which,
        mut each: impl FnMut(QuarantineEntry, &[u8]) -> Result<Option<T>, QueueError>,
    ) -> Result<Page<T>, QueueError> {
        self.page_until(which, |entry, value| Ok((each(entry, value)?, false)))
    }

    /// Walks entries until the page is full or `each` says that it is.
    fn page_until<T>(
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
    fn entry_after(
        &self,
        at: Option<Position>,
    ) -> Result<Option<(QuarantineEntry, sled::IVec)>, QueueError> {
        let from = match at {
            None => Bound::Unbounded,
            Some(Position(lane, -1)) => Bound::Included(layout::key(LaneId(lane), 0)),
            Some(Position(lane, offset)) => Bound::Excluded(layout::key(LaneId(lane), offset)),
        };
        let range = (from, Bound::<[u8; 12]>::Unbounded);
        let Some(found) = self.quarantine.range(range).next() else {
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

/// A lane that is gone had no tail any more.
fn is_eligible(lane: Option<&Lane>, offset: i64) -> bool {
    lane.is_none_or(|lane| offset < lane.eligible)
}

/// Whether an entry is what was written.
pub(super) fn is_whole(key: &[u8], value: &[u8]) -> bool {
    read_entry(key, value).is_some()
}

fn read_entry(key: &[u8], value: &[u8]) -> Option<QuarantineEntry> {
    let (lane, offset) = layout::parse_key(key)?;
    let end = value.iter().position(|b| *b == b'\n');
    let (facts, kept) = match end {
        Some(end) => (&value[..end], Some(Masked::from_queue(&value[end + 1..]))),
        None => (value, None),
    };
    let stored: Stored = serde_json::from_slice(facts).ok()?;
    let whole = kept
        .as_ref()
        .is_none_or(|k| k.as_bytes().len() as u64 == stored.message.len);
    (stored.message.offset == offset && whole).then_some(QuarantineEntry {
        lane,
        topic: stored.topic,
        partition: stored.partition,
        read_ms: stored.read_ms,
        eligible: false,
        message: Quarantined {
            kept,
            ..stored.message
        },
    })
}

#[cfg(test)]
mod tests;
