//! Batch by batch: are its rows those that were sealed?

use std::collections::{BTreeMap, BTreeSet};

use xxhash_rust::xxh3::Xxh3;

use super::{Look, Lost};
use crate::queue::disk::trees::Trees;
use crate::queue::format::block;
use crate::queue::{Batch, BatchState, CommandError, Lane, LaneId, Range};

impl Look<'_> {
    pub(super) fn batch(
        &mut self,
        batch: &Batch,
        lanes: &[Lane],
        taken: &mut BTreeMap<LaneId, BTreeSet<(i64, i64)>>,
    ) -> Result<(), CommandError> {
        if batch.state == BatchState::Acked {
            // Its blocks are being removed; opening the queue finishes that.
            self.found.batches += 1;
            return Ok(());
        }
        let before = self.found.damage.len();
        for range in &batch.ranges {
            let spans = taken.entry(range.lane).or_default();
            if spans
                .iter()
                .any(|(from, to)| range.from < *to && *from < range.to)
            {
                let what = format!("batch {}: shares blocks with another", batch.seq);
                self.damage("batch", what, None);
            }
            spans.insert((range.from, range.to));
            let lane = lanes.iter().find(|l| l.id == range.lane);
            if lane.is_some_and(|l| range.to > l.sealed) && !self.live {
                let what = format!("batch {}: reaches beyond what is sealed", batch.seq);
                self.damage("batch", what, None);
            }
        }
        let found = sealed_sums(self.trees, batch, &|| (self.stop)(self.found.rows))?;
        let complaint = found.complaint(batch);
        let changed = || {
            let now = self.trees.batches().into_iter().flatten();
            let now = now.into_iter().find(|b| b.seq == batch.seq);
            now.is_none_or(|b| matches!(b.state, BatchState::Acked) || b.ranges != batch.ranges)
        };
        if let Some(words) = complaint {
            // A batch that was acknowledged meanwhile has no blocks left.
            if self.live && changed() {
                let words = format!("batch {}: stored in ClickHouse meanwhile", batch.seq);
                self.found.unchecked.push(words);
                return Ok(());
            }
            let lost = batch.ranges.iter().zip(&found.ranges).find(|(w, g)| w != g);
            let lost = lost.and_then(|(range, _)| {
                let lane = lanes.iter().find(|l| l.id == range.lane)?;
                Some(Lost {
                    topic: lane.topic_name().to_owned(),
                    partition: lane.partition,
                    from: range.from,
                    to: range.to,
                })
            });
            self.damage("batch", format!("batch {}: {words}", batch.seq), lost);
        }
        if self.found.damage.len() == before {
            self.found.batches += 1;
        }
        Ok(())
    }
}

/// What a batch's ranges hold in fact.
pub(in crate::queue) struct Sums {
    pub ranges: Vec<Range>,
    pub oldest_ms: u64,
    pub digest: u64,
}

impl Sums {
    pub(in crate::queue) fn rows(&self) -> u64 {
        self.ranges.iter().map(|r| r.rows).sum()
    }

    pub(in crate::queue) fn bytes(&self) -> u64 {
        self.ranges.iter().map(|r| r.bytes).sum()
    }

    /// What does not fit the record.
    fn complaint(&self, batch: &Batch) -> Option<String> {
        if self.ranges != batch.ranges || (self.rows(), self.bytes()) != (batch.rows, batch.bytes) {
            return Some(format!(
                "{} rows in {} bytes, {} in {} were sealed",
                self.rows(),
                self.bytes(),
                batch.rows,
                batch.bytes
            ));
        }
        let ends = format!("-{}-{:016x}", batch.seq, self.digest);
        (!batch.cut && !batch.token.ends_with(&ends))
            .then(|| format!("its rows are not those of its token {}", batch.token))
    }
}

/// Adds up a batch's whole blocks and digests them in the order of sealing: the oldest first.
pub(in crate::queue) fn sealed_sums(
    trees: &Trees,
    batch: &Batch,
    stop: &dyn Fn() -> bool,
) -> Result<Sums, CommandError> {
    let mut ranges: Vec<Range> = Vec::new();
    let mut heads = Vec::new();
    for range in &batch.ranges {
        let (id, to) = (range.lane, range.to);
        let mut blocks = trees
            .blocks(block::key(id, range.from))
            .take_while(move |b| b.place.is_none_or(|(lane, at)| lane == id && at < to))
            .filter_map(|b| b.block.ok().map(|block| block.header));
        ranges.push(Range {
            blocks: 0,
            rows: 0,
            bytes: 0,
            ..range.clone()
        });
        heads.push((blocks.next(), blocks));
    }
    let (mut oldest_ms, mut digest) = (u64::MAX, Xxh3::new());
    while let Some((at, (head, blocks))) = heads
        .iter_mut()
        .enumerate()
        .filter(|(_, (head, _))| head.is_some())
        .min_by_key(|(_, (head, _))| head.map(|h| h.appended_ms))
    {
        if stop() {
            return Err(CommandError::Stopped);
        }
        let Some(block) = head.take() else { break };
        digest.update(&block.checksum.to_le_bytes());
        oldest_ms = oldest_ms.min(block.appended_ms);
        ranges[at].blocks += 1;
        ranges[at].rows += u64::from(block.rows);
        ranges[at].bytes += u64::from(block.frame_len);
        *head = blocks.next();
    }
    Ok(Sums {
        ranges,
        oldest_ms,
        digest: digest.digest(),
    })
}
