//! Is what is stored whole? Looks at every block, lane, batch and record, and changes nothing.
//!
//! Beside a live instance records change while they are looked at. A lane or batch whose sums do
//! not fit is looked at again if its record changed meanwhile, and after [`TRIES`] listed as not
//! checked instead of damaged; blocks appended after the lane's record was read are left out.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::counts::{Book, book};
use super::layout::{self, BlockHeader, FORMAT};
use super::trees::{Trees, entries};
use super::{Batch, BatchState, Block, Lane, QueueError, Range, describe};
use crate::minutes::{Minutes, Span};
use crate::record::LaneId;
use crate::rows::rows;
use crate::runtime::clock::rfc3339;

/// How often a lane or batch that changes under a look is looked at again.
const TRIES: u32 = 5;

/// The longest block that can have been written, before compression: a full one, and one row of a
/// MiB more, with room. What claims more is not unpacked.
const MAX_RAW: u32 = 16 << 20;

/// One thing that is not whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// `block`, `lane`, `batch`, `record`, `quarantine`, `counts` or `store`.
    pub part: String,
    /// Which, and how.
    pub what: String,
    /// Kafka offsets that may be gone with it, if they can be told.
    pub lost: Option<Lost>,
}

/// Offsets whose rows are damaged or missing. An upper bound: Kafka's offsets have gaps, and so have
/// the blocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// Kafka topic.
    pub topic: String,
    /// Kafka partition.
    pub partition: i32,
    /// First offset.
    pub from: i64,
    /// Offset after the last.
    pub to: i64,
}

/// What a look at all of it found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Whole blocks.
    pub blocks: u64,
    /// Rows in them.
    pub rows: u64,
    /// Bytes of their frames.
    pub bytes: u64,
    /// Whole lanes.
    pub lanes: u64,
    /// Whole batches.
    pub batches: u64,
    /// Whole quarantine entries.
    pub quarantined: u64,
    /// What is not whole.
    pub damage: Vec<Damage>,
    /// What changed so often under the look that its sums were not compared.
    pub unchecked: Vec<String>,
}

/// Unpacks a block and checks that it is what its header says.
///
/// # Errors
/// [`QueueError::Damaged`].
pub fn unpack(header: &BlockHeader, frame: &[u8]) -> Result<Vec<u8>, QueueError> {
    let damaged = |what: String| QueueError::Damaged {
        what: format!(
            "block at offset {} of {}: {what}",
            header.first, header.lane
        ),
    };
    if header.raw_len > MAX_RAW {
        return Err(damaged(format!("claims {} bytes of rows", header.raw_len)));
    }
    let raw = zstd::bulk::decompress(frame, header.raw_len as usize)
        .map_err(|e| damaged(format!("cannot be unpacked: {e}")))?;
    if raw.len() != header.raw_len as usize {
        return Err(damaged(format!(
            "{} bytes of rows, the header says {}",
            raw.len(),
            header.raw_len
        )));
    }
    let mut count = 0;
    for row in rows(&raw) {
        row.map_err(|e| damaged(e.to_string()))?;
        count += 1;
    }
    if count != header.rows {
        return Err(damaged(format!(
            "{count} rows, the header says {}",
            header.rows
        )));
    }
    Ok(raw)
}

/// Checks that a block unpacks, and that its minutes are those of its rows.
fn whole(block: &Block) -> Result<(), QueueError> {
    let raw = unpack(&block.header, &block.frame)?;
    let minutes: Minutes = rows(&raw).flatten().map(|row| row.timestamp).collect();
    if minutes == block.minutes {
        return Ok(());
    }
    Err(QueueError::Damaged {
        what: format!(
            "block at offset {} of {}: its minutes are not those of its rows",
            block.header.first, block.header.lane
        ),
    })
}

/// Looks at everything. `live` says that the records may change meanwhile; `stop` ends it early.
///
/// # Errors
/// [`QueueError::Stopped`] if it was asked to stop; damage is no error.
pub fn verify(trees: &Trees, live: bool, stop: &dyn Fn() -> bool) -> Result<Verified, QueueError> {
    let mut look = Look {
        trees,
        live,
        stop,
        found: Verified::default(),
        sums: BTreeMap::new(),
        ends: BTreeMap::new(),
        gaps: BTreeMap::new(),
        book: book(trees),
    };
    look.records();
    look.quarantine();
    let lanes = look.whole(trees.lanes(), "lane");
    let batches = look.whole(trees.batches(), "batch");
    look.blocks(&lanes, &batches)?;
    for lane in &lanes {
        look.lane(lane);
    }
    look.counts();
    let mut taken = BTreeMap::new();
    for batch in &batches {
        look.batch(batch, &lanes, &mut taken)?;
    }
    Ok(look.found)
}

struct Look<'a> {
    trees: &'a Trees,
    live: bool,
    stop: &'a dyn Fn() -> bool,
    found: Verified,
    /// Rows and bytes of each lane, without those of delivered batches.
    sums: BTreeMap<LaneId, (u64, u64)>,
    /// End of the last block of each lane.
    ends: BTreeMap<LaneId, i64>,
    /// Offsets between blocks, where a missing one may have been; Kafka's own gaps among them.
    gaps: BTreeMap<LaneId, Vec<(i64, i64)>>,
    /// The counts, which the blocks must fit.
    book: Book,
}

impl Look<'_> {
    fn damage(&mut self, part: &str, what: impl Into<String>, lost: Option<Lost>) {
        self.found.damage.push(Damage {
            part: part.to_owned(),
            what: what.into(),
            lost,
        });
    }

    fn whole<T>(&mut self, all: Vec<Result<T, QueueError>>, part: &str) -> Vec<T> {
        let mut whole = Vec::new();
        for one in all {
            match one {
                Ok(record) => whole.push(record),
                Err(e) => self.damage(part, describe(&e), None),
            }
        }
        whole
    }

    fn records(&mut self) {
        let mut seen: BTreeMap<String, serde_json::Value> = BTreeMap::new();
        for tree in [&self.trees.meta, &self.trees.partitions] {
            for entry in entries(tree) {
                match entry {
                    Ok((key, value)) => {
                        let name = String::from_utf8_lossy(&key).replace('\0', " p");
                        match serde_json::from_slice(&value) {
                            Ok(value) => drop(seen.insert(name, value)),
                            Err(e) => self.damage("record", format!("{name:?}: {e}"), None),
                        }
                    }
                    Err(e) => self.damage("record", describe(&e), None),
                }
            }
        }
        if seen.get("format") != Some(&FORMAT.into()) {
            let found = seen.get("format").map(ToString::to_string);
            let found = found.unwrap_or_else(|| "missing".to_owned());
            self.damage(
                "record",
                format!("layout version is {found}, this program knows {FORMAT}"),
                None,
            );
        }
        if seen.get("installation").and_then(|v| v.as_str()).is_none() {
            self.damage("record", "the installation id is missing", None);
        }
    }

    fn quarantine(&mut self) {
        for entry in entries(&self.trees.quarantine) {
            match entry {
                Ok((key, value)) => {
                    if super::quarantine::is_whole(&key, &value) {
                        self.found.quarantined += 1;
                    } else {
                        self.damage("quarantine", format!("entry {key:02x?}"), None);
                    }
                }
                Err(e) => self.damage("quarantine", describe(&e), None),
            }
        }
    }

    fn blocks(&mut self, lanes: &[Lane], batches: &[Batch]) -> Result<(), QueueError> {
        let by_id: BTreeMap<LaneId, &Lane> = lanes.iter().map(|l| (l.id, l)).collect();
        let trees = self.trees;
        for stored in trees.blocks(layout::key(LaneId(0), 0)) {
            if (self.stop)() {
                return Err(QueueError::Stopped);
            }
            let checked = stored
                .block
                .and_then(|block| whole(&block).map(|()| (block.header, block.minutes)));
            let (header, minutes) = match checked {
                Ok(block) => block,
                Err(e) => {
                    let lost = stored
                        .place
                        .and_then(|(id, from)| self.lost(id, from, &by_id));
                    self.damage("block", describe(&e), lost);
                    continue;
                }
            };
            self.found.blocks += 1;
            self.found.rows += u64::from(header.rows);
            self.found.bytes += u64::from(header.frame_len);
            let name = format!("block at offset {} of {}", header.first, header.lane);
            let end = self.ends.insert(header.lane, header.next);
            if let Some(end) = end
                && end < header.first
            {
                let gaps = self.gaps.entry(header.lane).or_default();
                gaps.push((end, header.first));
            }
            if header.next <= header.first || end.is_some_and(|end| header.first < end) {
                self.damage("block", format!("{name}: overlaps the one before it"), None);
            }
            let batch = batches.iter().find(|b| b.covers(&header));
            let delivered = batch.is_some_and(Batch::is_delivered);
            let Some(lane) = by_id.get(&header.lane) else {
                if batch.is_none() && !self.live {
                    self.damage("block", format!("{name}: its lane's record is gone"), None);
                }
                continue;
            };
            if header.first < lane.sealed && batch.is_none() && !self.live {
                self.damage(
                    "block",
                    format!("{name}: sealed, but in no batch: it would never be sent"),
                    None,
                );
            }
            if batch.is_none_or(|b| !b.counted) {
                self.book.add(lane, &header, &minutes);
            }
            if header.next > lane.next {
                if !self.live {
                    self.damage("block", format!("{name}: beyond the end of its lane"), None);
                }
                continue;
            }
            if !delivered {
                let sum = self.sums.entry(header.lane).or_default();
                sum.0 += u64::from(header.rows);
                sum.1 += u64::from(header.frame_len);
            }
        }
        Ok(())
    }

    /// Beside a live instance rows are counted and delivered during the look, so they are not
    /// compared.
    fn counts(&mut self) {
        for e in std::mem::take(&mut self.book.damaged) {
            self.damage("counts", describe(&e), None);
        }
        if self.live {
            return;
        }
        for gap in self.book.gaps() {
            let what = format!(
                "{} p{}: {} rows {} are counted as queued, {} are there",
                gap.topic,
                gap.partition,
                gap.counted,
                of_span(gap.span),
                gap.found
            );
            self.damage("counts", what, None);
        }
    }

    /// From `from` up to the next block that is there, or the lane's end.
    fn lost(&self, id: LaneId, from: i64, lanes: &BTreeMap<LaneId, &Lane>) -> Option<Lost> {
        let lane = lanes.get(&id)?;
        let next = self
            .trees
            .blocks(layout::key(id, from.checked_add(1)?))
            .take(2)
            .find_map(|b| b.place.filter(|(lane, at)| *lane == id && *at > from));
        Some(Lost {
            topic: lane.topic_name().to_owned(),
            partition: lane.partition,
            from,
            to: next.map_or(lane.next, |(_, at)| at).max(from),
        })
    }

    fn lane(&mut self, lane: &Lane) {
        if !(lane.sealed <= lane.eligible && lane.eligible <= lane.next) {
            let what = format!(
                "{}: sealed {}, eligible {}, next {} are out of order",
                lane.id, lane.sealed, lane.eligible, lane.next
            );
            return self.damage("lane", what, None);
        }
        let sum = self.sums.get(&lane.id).copied().unwrap_or_default();
        if sum == (lane.rows, lane.bytes) {
            self.found.lanes += 1;
            return;
        }
        if self.live {
            match self.lane_again(lane.id) {
                Some(true) => self.found.lanes += 1,
                Some(false) => self.lane_sums(lane, sum),
                None => {
                    let words = format!("{}: changes all the time", lane.id);
                    self.found.unchecked.push(words);
                }
            }
        } else {
            self.lane_sums(lane, sum);
        }
    }

    fn lane_sums(&mut self, lane: &Lane, sum: (u64, u64)) {
        let what = format!(
            "{} ({} p{}): {} rows in {} bytes, its record says {} in {}",
            lane.id, lane.topic, lane.partition, sum.0, sum.1, lane.rows, lane.bytes
        );
        self.damage("lane", what, None);
        let end = self.ends.get(&lane.id).copied().unwrap_or(lane.sealed);
        let mut gaps = self.gaps.remove(&lane.id).unwrap_or_default();
        gaps.push((end, lane.next));
        for (from, to) in gaps.into_iter().filter(|(from, to)| from < to) {
            let lost = Lost {
                topic: lane.topic.clone(),
                partition: lane.partition,
                from,
                to,
            };
            let what = format!("{}: no block from {from} to {to}", lane.id);
            self.damage("lane", what, Some(lost));
        }
    }

    /// Sums a lane anew while its record stays the same; `None` if it never does.
    fn lane_again(&self, id: LaneId) -> Option<bool> {
        let record = || {
            self.trees
                .lanes()
                .into_iter()
                .flatten()
                .find(|l| l.id == id)
        };
        for _ in 0..TRIES {
            let Some(before) = record() else {
                return Some(true);
            };
            let batches: Vec<Batch> = self.trees.batches().into_iter().flatten().collect();
            let mut sum = (0, 0);
            for stored in self.trees.blocks(layout::key(id, 0)) {
                let Ok(Block { header, .. }) = stored.block else {
                    continue;
                };
                if header.lane != id {
                    break;
                }
                let delivered = batches
                    .iter()
                    .any(|b| b.is_delivered() && b.covers(&header));
                if header.next <= before.next && !delivered {
                    sum.0 += u64::from(header.rows);
                    sum.1 += u64::from(header.frame_len);
                }
            }
            if sum == (before.rows, before.bytes) {
                return Some(true);
            }
            if record().as_ref() == Some(&before) {
                return Some(false);
            }
        }
        None
    }

    fn batch(
        &mut self,
        batch: &Batch,
        lanes: &[Lane],
        taken: &mut BTreeMap<LaneId, BTreeSet<(i64, i64)>>,
    ) -> Result<(), QueueError> {
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
        let found = sealed_sums(self.trees, batch, self.stop)?;
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

fn of_span(span: Span) -> String {
    let start = rfc3339(u64::from(span.start) * 1000);
    let kind = if span.is_day() { "day" } else { "minute" };
    format!("of the {kind} {start}")
}

/// What a batch's ranges hold in fact.
pub(super) struct Sums {
    pub ranges: Vec<Range>,
    pub oldest_ms: u64,
    pub digest: u64,
}

impl Sums {
    pub(super) fn rows(&self) -> u64 {
        self.ranges.iter().map(|r| r.rows).sum()
    }

    pub(super) fn bytes(&self) -> u64 {
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
pub(super) fn sealed_sums(
    trees: &Trees,
    batch: &Batch,
    stop: &dyn Fn() -> bool,
) -> Result<Sums, QueueError> {
    let mut ranges: Vec<Range> = Vec::new();
    let mut heads = Vec::new();
    for range in &batch.ranges {
        let (id, to) = (range.lane, range.to);
        let mut blocks = trees
            .blocks(layout::key(id, range.from))
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
            return Err(QueueError::Stopped);
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
