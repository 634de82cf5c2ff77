//! One change of the queue: all that goes to the disk together, and what of it is held in memory.
//!
//! Each call names a record once, for both. [`Queue::write`] writes all of them in one transaction of
//! sled, and only then touches memory: after a failure, which poisons the queue, memory is what it was.

use sled::Transactional as _;

use super::counts::{Chunks, add_rows};
use super::disk::{evict, parts};
use super::format::block::{self, BlockHeader};
use super::format::json::json;
use super::quarantine::TOTALS;
use super::{Batch, Lane, LaneId, QuarantineTotals, Queue, QueueError, State};
use crate::row::minutes::Minutes;

/// A tree of sled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum In {
    Meta,
    Lanes,
    Blocks,
    Parts,
    Batches,
    Quarantine,
    Partitions,
    Counts,
}

/// A record as it is to be; `None` removes it.
struct Record {
    tree: In,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

/// What follows in memory.
enum Patch {
    Lane(Lane),
    LaneGone(LaneId),
    Batch(Batch),
    BatchGone(u64),
    NextLane(u32),
    NextBatch(u64),
    Quarantine(QuarantineTotals),
    Uncounted(LaneId, Minutes),
    Counted,
}

/// See the module.
#[derive(Default)]
pub(in crate::queue) struct Change {
    records: Vec<Record>,
    patches: Vec<Patch>,
}

impl Change {
    fn put(&mut self, tree: In, key: impl Into<Vec<u8>>, value: Vec<u8>) {
        self.record(tree, key.into(), Some(value));
    }

    fn remove(&mut self, tree: In, key: impl Into<Vec<u8>>) {
        self.record(tree, key.into(), None);
    }

    fn record(&mut self, tree: In, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.records.push(Record { tree, key, value });
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// A small record under its name, as it is from now on.
    pub fn named(&mut self, name: &str, value: &impl serde::Serialize) {
        self.put(In::Meta, name, json(value));
    }

    /// A lane as it is from now on.
    pub fn lane(&mut self, lane: Lane) {
        self.put(In::Lanes, block::lane_key(lane.id), json(&lane));
        self.patches.push(Patch::Lane(lane));
    }

    /// A lane that was not there; its id is taken.
    pub fn new_lane(&mut self, lane: Lane) {
        let next = lane.id.0 + 1;
        self.put(In::Meta, b"next_lane", json(&next));
        self.patches.push(Patch::NextLane(next));
        self.lane(lane);
    }

    /// The lane is no more, nor what is known of its fences.
    pub fn forget_lane(&mut self, lane: LaneId) {
        self.remove(In::Lanes, block::lane_key(lane));
        self.patches.push(Patch::LaneGone(lane));
    }

    /// A batch as it is from now on.
    pub fn batch(&mut self, batch: &Batch) {
        self.put(In::Batches, block::seq_key(batch.seq), json(batch));
        self.patches.push(Patch::Batch(batch.clone()));
    }

    /// A batch that was not there; its number is taken.
    pub fn new_batch(&mut self, batch: &Batch) {
        let next = batch.seq + 1;
        self.put(In::Meta, b"next_batch", json(&next));
        self.patches.push(Patch::NextBatch(next));
        self.batch(batch);
    }

    /// The batch is no more; its blocks stay.
    pub fn forget_batch(&mut self, seq: u64) {
        self.remove(In::Batches, block::seq_key(seq));
        self.patches.push(Patch::BatchGone(seq));
    }

    /// A block of rows, as its value lies on the disk. Its rows are to be counted.
    pub fn block(&mut self, header: &BlockHeader, minutes: &Minutes, frame: &[u8]) {
        let key = block::key(header.lane, header.first);
        let mut value = block::write_block(header, minutes, frame);
        for (key, part) in parts::split(key, &mut value) {
            self.put(In::Parts, key, part);
        }
        self.put(In::Blocks, key, value);
        let rows = Patch::Uncounted(header.lane, minutes.clone());
        self.patches.push(rows);
    }

    /// The block is no more, with its parts. The counts are the caller's.
    pub fn remove_block(&mut self, header: &BlockHeader) {
        self.remove(In::Blocks, block::key(header.lane, header.first));
        for key in parts::keys(header) {
            self.remove(In::Parts, key);
        }
    }

    /// An entry of the quarantine; the totals are said by [`Change::quarantine`].
    pub fn entry(&mut self, lane: LaneId, offset: i64, value: Vec<u8>) {
        self.put(In::Quarantine, block::key(lane, offset), value);
    }

    /// The entry under this key is no more.
    pub fn remove_entry(&mut self, key: &[u8]) {
        self.remove(In::Quarantine, key);
    }

    /// What the quarantine holds from now on.
    pub fn quarantine(&mut self, totals: QuarantineTotals) {
        self.put(In::Meta, TOTALS, json(&totals));
        self.patches.push(Patch::Quarantine(totals));
    }

    /// What is kept of a partition after its lanes.
    pub fn partition(&mut self, key: &[u8], value: Vec<u8>) {
        self.put(In::Partitions, key, value);
    }

    /// Counts as they are from now on; a chunk without rows goes.
    pub fn counts(&mut self, chunks: Chunks) {
        for (key, value) in chunks {
            let value = Some(value).filter(|value| !value.is_empty());
            self.record(In::Counts, key, value);
        }
    }

    /// The chunk under this key is no more.
    pub fn remove_counts(&mut self, key: &[u8]) {
        self.remove(In::Counts, key);
    }

    /// All that was appended is counted.
    pub fn counted(&mut self) {
        self.patches.push(Patch::Counted);
    }
}

impl State {
    fn apply(&mut self, patch: Patch) {
        match patch {
            Patch::Lane(lane) => drop(self.lanes.insert(lane.id, lane)),
            Patch::LaneGone(id) => {
                self.lanes.remove(&id);
                self.fences.remove(&id);
            }
            Patch::Batch(batch) => drop(self.batches.insert(batch.seq, batch)),
            Patch::BatchGone(seq) => drop(self.batches.remove(&seq)),
            Patch::NextLane(next) => self.next_lane = next,
            Patch::NextBatch(next) => self.next_batch = next,
            Patch::Quarantine(totals) => self.quarantine = totals,
            Patch::Uncounted(lane, minutes) => {
                add_rows(&mut self.uncounted, lane, &minutes);
            }
            Patch::Counted => self.uncounted.clear(),
        }
    }
}

impl Queue {
    /// Writes a change, `doing` what its error says. Durable after [`Queue::sync`].
    pub(in crate::queue) fn write(
        &self,
        state: &mut State,
        change: Change,
        doing: &'static str,
    ) -> Result<(), QueueError> {
        self.write_records(&change, doing)?;
        for patch in change.patches {
            state.apply(patch);
        }
        Ok(())
    }

    /// The same for records of which none is held in memory.
    pub(in crate::queue) fn write_records(
        &self,
        change: &Change,
        doing: &'static str,
    ) -> Result<(), QueueError> {
        let trees = self.trees()?;
        let of = |tree: In| match tree {
            In::Meta => &trees.meta,
            In::Lanes => &trees.lanes,
            In::Blocks => &trees.blocks,
            In::Parts => &trees.parts,
            In::Batches => &trees.batches,
            In::Quarantine => &trees.quarantine,
            In::Partitions => &trees.partitions,
            In::Counts => &trees.counts,
        };
        match &change.records[..] {
            [] => return Ok(()),
            // sled writes its buffer out twice for a transaction, however small.
            [only] => {
                let written = match &only.value {
                    Some(value) => of(only.tree).insert(&only.key, value.as_slice()),
                    None => of(only.tree).remove(&only.key),
                };
                self.guard(written.map_err(QueueError::store(doing)))?;
            }
            all => {
                let written = (
                    &trees.meta,
                    &trees.lanes,
                    &trees.blocks,
                    &trees.parts,
                    &trees.batches,
                    &trees.quarantine,
                    &trees.partitions,
                    &trees.counts,
                )
                    .transaction(
                        |(meta, lanes, blocks, parts, batches, quarantine, partitions, counts)| {
                            for record in all {
                                let tree = match record.tree {
                                    In::Meta => meta,
                                    In::Lanes => lanes,
                                    In::Blocks => blocks,
                                    In::Parts => parts,
                                    In::Batches => batches,
                                    In::Quarantine => quarantine,
                                    In::Partitions => partitions,
                                    In::Counts => counts,
                                };
                                match &record.value {
                                    Some(value) => {
                                        tree.insert(record.key.as_slice(), value.as_slice())?
                                    }
                                    None => tree.remove(record.key.as_slice())?,
                                };
                            }
                            Ok(())
                        },
                    );
                self.transaction_result(doing, written)?;
            }
        }
        for record in &change.records {
            if let (In::Blocks | In::Parts, Some(value)) = (record.tree, &record.value) {
                self.churned(value.len());
                self.guard(evict::let_go(of(record.tree), &record.key))?;
            }
        }
        Ok(())
    }
}
