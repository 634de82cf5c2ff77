//! What is whole of a damaged queue, record by record, into a new one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::verify::{Lost, sealed_sums};
use crate::queue::counts::{self, Book};
use crate::queue::disk::installation::new_installation_id;
use crate::queue::disk::panics::guarded;
use crate::queue::disk::parts;
use crate::queue::disk::trees::{Trees, entries};
use crate::queue::format::block::{self, BlockHeader};
use crate::queue::format::error::describe;
use crate::queue::format::json::{get_json, json};
use crate::queue::{
    Batch, BatchState, Block, CommandError, Lane, LaneId, QueueError, Range, quarantine, unpack,
};

/// What a repair did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Repaired {
    /// Where the queue is as it was.
    pub copy: PathBuf,
    /// Blocks saved.
    pub blocks: u64,
    /// Rows in them.
    pub rows: u64,
    /// Lanes saved.
    pub lanes: u64,
    /// Batches saved.
    pub batches: u64,
    /// Parts that were not whole: something of each is lost.
    pub damaged: usize,
    /// Offsets between which rows are lost.
    pub lost: Vec<Lost>,
    /// What else a person should know.
    pub notes: Vec<String>,
}

/// One salvage, and what it has seen so far.
pub(super) struct Salvage<'a> {
    from: &'a Trees,
    to: &'a Trees,
    done: &'a mut Repaired,
    lanes: BTreeMap<LaneId, Lane>,
    batches: Vec<Batch>,
    /// Sealed once, by a batch whose record is lost.
    orphans: Vec<Range>,
    /// The counts, against the blocks that are left.
    book: Book,
    /// The highest lane of which there is anything.
    top: u32,
}

impl<'a> Salvage<'a> {
    pub fn new(from: &'a Trees, to: &'a Trees, done: &'a mut Repaired) -> Salvage<'a> {
        let mut lanes: BTreeMap<LaneId, Lane> = BTreeMap::new();
        for lane in from.lanes() {
            match lane {
                Ok(lane) => drop(lanes.insert(lane.id, lane)),
                Err(e) => done.notes.push(describe(&e)),
            }
        }
        let mut batches = Vec::new();
        for batch in from.batches() {
            match batch {
                Ok(batch) => batches.push(batch),
                Err(e) => done.notes.push(describe(&e)),
            }
        }
        done.lanes = lanes.len() as u64;
        lanes.values_mut().for_each(|l| (l.rows, l.bytes) = (0, 0));
        Salvage {
            from,
            to,
            done,
            top: lanes.keys().next_back().map_or(0, |id| id.0),
            lanes,
            batches,
            orphans: Vec::new(),
            book: counts::book(from),
        }
    }

    /// # Errors
    /// The new queue cannot be written. What cannot be read of the old one is left out.
    pub fn run(mut self, seen: &dyn Fn(u64)) -> Result<(), CommandError> {
        for stored in self.from.blocks(block::key(LaneId(0), 0)) {
            if let Ok(block) = stored.block {
                self.block(block)?;
                seen(self.done.rows);
            }
        }
        for e in &self.book.damaged {
            self.done.notes.push(format!(
                "{}: lost, so `reconcile` finds more rows there than it expects",
                describe(e)
            ));
        }
        self.other_trees()?;
        self.saved_batches()?;
        let lost = counts::write_off(self.to, &self.book.gaps())?;
        if lost > 0 {
            self.done
                .notes
                .push(format!("{lost} rows are counted as lost from now on"));
        }
        self.numbers()
    }

    fn block(&mut self, block: Block) -> Result<(), QueueError> {
        let Block {
            header,
            minutes,
            frame,
        } = block;
        if unpack(&header, &frame).is_err() {
            return Ok(());
        }
        let key = block::key(header.lane, header.first);
        let mut value = block::write_block(&header, &minutes, &frame);
        for (key, part) in parts::split(key, &mut value) {
            put(&self.to.parts, &key, part)?;
        }
        put(&self.to.blocks, &key, value)?;
        self.done.blocks += 1;
        self.done.rows += u64::from(header.rows);
        let batch = self.batches.iter().find(|b| b.covers(&header));
        if let Some(lane) = self.lanes.get(&header.lane)
            && batch.is_none_or(|b| !b.counted)
        {
            self.book.add(lane, &header, &minutes);
        }
        self.top = self.top.max(header.lane.0);
        if batch.is_some_and(Batch::is_delivered) {
            return Ok(());
        }
        let lane = match self.lanes.get_mut(&header.lane) {
            Some(lane) => lane,
            None if batch.is_some() => return Ok(()),
            None => self
                .lanes
                .entry(header.lane)
                .or_insert_with(|| Lane::unknown(header.lane, header.first)),
        };
        lane.next = lane.next.max(header.next);
        lane.rows += u64::from(header.rows);
        lane.bytes += u64::from(header.frame_len);
        if batch.is_none() && header.first < lane.sealed {
            add(&mut self.orphans, &header);
        }
        Ok(())
    }

    /// Small records, quarantine and counts, each if it is whole.
    fn other_trees(&self) -> Result<(), QueueError> {
        let (from, to) = (self.from, self.to);
        let copied = [
            (&from.meta, &to.meta),
            (&from.partitions, &to.partitions),
            (&from.quarantine, &to.quarantine),
            (&from.counts, &to.counts),
        ];
        for (old, new) in copied {
            for (key, value) in entries(old).flatten() {
                // Entries have bytes behind their JSON, and are counted again.
                let whole = if std::ptr::eq(old, &from.quarantine) {
                    quarantine::is_whole(&key, &value)
                } else if std::ptr::eq(old, &from.counts) {
                    counts::is_whole(&key, &value)
                } else {
                    serde_json::from_slice::<serde_json::Value>(&value).is_ok()
                };
                if whole && *key != *quarantine::TOTALS {
                    put(new, &key, value.to_vec())?;
                }
            }
        }
        Ok(())
    }

    fn saved_batches(&mut self) -> Result<(), CommandError> {
        for batch in &mut self.batches {
            cut(self.from, batch, self.done)?;
            // Nothing of it is left: its record would only fail.
            if batch.rows > 0 || batch.state == BatchState::Acked {
                put(&self.to.batches, &block::seq_key(batch.seq), json(batch))?;
                self.done.batches += 1;
            }
        }
        Ok(())
    }

    /// The lanes, a batch of what is orphaned, and the numbers that go on from there.
    fn numbers(&mut self) -> Result<(), CommandError> {
        let meta = &self.to.meta;
        let next_batch: Option<u64> = get_json(meta, b"next_batch").ok().flatten();
        let after = self.batches.iter().map(|batch| batch.seq + 1);
        let mut next_batch = after.chain(next_batch).max().unwrap_or(1);
        // The sequence of a batch whose record is gone must not be used again either.
        for (key, _) in entries(&self.from.batches).flatten() {
            let seq = key.iter().fold(0u64, |n, b| (n << 8) | u64::from(*b));
            next_batch = next_batch.max(seq.saturating_add(1));
        }
        let installation = match get_json::<String>(meta, b"installation") {
            Ok(Some(id)) => id,
            _ => {
                self.done
                    .notes
                    .push("the installation id was lost; there is a new one".to_owned());
                new_installation_id()
            }
        };
        if !self.orphans.is_empty() {
            let orphans = std::mem::take(&mut self.orphans);
            let batch = orphaned(self.from, orphans, next_batch, &installation)?;
            self.done.notes.push(format!(
                "{} rows were in batches whose record is lost: they are batch {}, rejected, since \
                 ClickHouse may have them",
                batch.rows, batch.seq
            ));
            put(&self.to.batches, &block::seq_key(batch.seq), json(&batch))?;
            self.done.batches += 1;
            next_batch += 1;
        }
        for lane in self.lanes.values() {
            put(&self.to.lanes, &block::lane_key(lane.id), json(lane))?;
        }
        let next_lane: u32 = get_json(meta, b"next_lane").ok().flatten().unwrap_or(1);
        put(meta, b"format", json(&block::FORMAT))?;
        put(meta, b"installation", json(&installation))?;
        put(meta, b"next_lane", json(&next_lane.max(self.top + 1)))?;
        put(meta, b"next_batch", json(&next_batch))?;
        Ok(())
    }
}

/// Makes a batch's record fit the blocks that are left of it. Its token stays: if ClickHouse has the
/// whole batch, it drops what is left of it, and if not, it takes it.
fn cut(from: &Trees, batch: &mut Batch, done: &mut Repaired) -> Result<(), CommandError> {
    let left = sealed_sums(from, batch, &|| false)?;
    if batch.state == BatchState::Acked || left.ranges == batch.ranges {
        return Ok(());
    }
    done.notes.push(format!(
        "batch {}: {} of {} rows are left; they go out under its token",
        batch.seq,
        left.rows(),
        batch.rows
    ));
    (batch.rows, batch.bytes, batch.cut) = (left.rows(), left.bytes(), true);
    // How long the packed body was says nothing about what is left.
    if let Some(packed) = &mut batch.packed {
        packed.bytes = 0;
    }
    batch.ranges = left.ranges;
    batch.ranges.retain(|r| r.blocks > 0);
    Ok(())
}

fn add(orphans: &mut Vec<Range>, header: &BlockHeader) {
    match orphans.last_mut().filter(|r| r.lane == header.lane) {
        Some(range) => range.to = header.next,
        None => orphans.push(Range {
            lane: header.lane,
            from: header.first,
            to: header.next,
            blocks: 0,
            rows: 0,
            bytes: 0,
        }),
    }
}

fn orphaned(
    from: &Trees,
    ranges: Vec<Range>,
    seq: u64,
    installation: &str,
) -> Result<Batch, CommandError> {
    let mut batch = Batch {
        seq,
        token: String::new(),
        sealed_ms: 0,
        oldest_ms: 0,
        ranges,
        rows: 0,
        bytes: 0,
        packed: None,
        has_header: true,
        settings: Vec::new(),
        attempts: 0,
        ambiguous_ms: 0,
        may_be_stored: true,
        doubt: Default::default(),
        state: BatchState::Rejected {
            code: 0,
            words: "repair: the record of its batch is lost, and ClickHouse may have the rows; \
                    compare before you retry it"
                .to_owned(),
        },
        retried: false,
        counted: false,
        cut: false,
    };
    let sums = sealed_sums(from, &batch, &|| false)?;
    batch.token = format!("{installation}-{seq}-{:016x}", sums.digest);
    batch.oldest_ms = sums.oldest_ms;
    (batch.rows, batch.bytes) = (sums.rows(), sums.bytes());
    batch.ranges = sums.ranges;
    Ok(batch)
}

/// Writes a record, whatever sled does.
pub(super) fn put(tree: &sled::Tree, key: &[u8], value: Vec<u8>) -> Result<(), QueueError> {
    guarded(|| {
        tree.insert(key, value)
            .map_err(QueueError::store("write"))
            .map(drop)
    })
}
