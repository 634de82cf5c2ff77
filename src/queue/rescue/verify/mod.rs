//! Is what is stored whole? Looks at every block, lane, batch and record, and changes nothing.
//!
//! Beside a live instance records change while they are looked at. A lane or batch whose sums do
//! not fit is looked at again if its record changed meanwhile, and after [`TRIES`] listed as not
//! checked instead of damaged; blocks appended after the lane's record was read are left out.

mod batches;
mod blocks;
mod lanes;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub(in crate::queue) use batches::sealed_sums;
pub use blocks::unpack;

use crate::queue::counts::{Book, book};
use crate::queue::disk::trees::{Trees, entries};
use crate::queue::format::block::FORMAT;
use crate::queue::format::error::describe;
use crate::queue::{CommandError, LaneId, QueueError};
use crate::row::minutes::Span;
use crate::runtime::clock::rfc3339;

/// How often a lane or batch that changes under a look is looked at again.
const TRIES: u32 = 5;

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

/// Looks at everything. `live` says that the records may change meanwhile; `stop` hears how many rows were
/// looked at, and ends it early.
///
/// # Errors
/// [`CommandError::Stopped`] if it was asked to stop; damage is no error.
pub fn verify(
    trees: &Trees,
    live: bool,
    stop: &dyn Fn(u64) -> bool,
) -> Result<Verified, CommandError> {
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
    stop: &'a dyn Fn(u64) -> bool,
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
                    if crate::queue::quarantine::is_whole(&key, &value) {
                        self.found.quarantined += 1;
                    } else {
                        self.damage("quarantine", format!("entry {key:02x?}"), None);
                    }
                }
                Err(e) => self.damage("quarantine", describe(&e), None),
            }
        }
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
}

fn of_span(span: Span) -> String {
    let start = rfc3339(u64::from(span.start) * 1000);
    let kind = if span.is_day() { "day" } else { "minute" };
    format!("of the {kind} {start}")
}
