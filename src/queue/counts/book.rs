//! The counts against the blocks, which hold the same rows: for `verify`, and for `repair`, which
//! writes off what is gone.

use std::collections::BTreeMap;

use super::{Changes, Spans, Tally, chunk, no_count};
use crate::queue::disk::trees::{Trees, entries};
use crate::queue::{BlockHeader, Lane, QueueError};
use crate::row::minutes::{Minutes, Span};

/// What is counted of each partition, and what was found of it in blocks.
pub(in crate::queue) struct Book {
    partitions: BTreeMap<(String, i32), Page>,
    /// Counts that cannot be read.
    pub damaged: Vec<QueueError>,
}

#[derive(Default)]
struct Page {
    counted: Spans,
    found: BTreeMap<Span, i64>,
}

/// A span whose blocks do not hold what is counted.
pub(in crate::queue) struct Gap {
    pub topic: String,
    pub partition: i32,
    pub span: Span,
    /// Rows queued by the counts.
    pub counted: i64,
    /// Rows in blocks.
    pub found: i64,
}

/// Reads the counts.
pub(in crate::queue) fn book(trees: &Trees) -> Book {
    let mut book = Book {
        partitions: BTreeMap::new(),
        damaged: Vec::new(),
    };
    for entry in entries(&trees.counts) {
        let read = entry.and_then(|(key, value)| {
            let parsed = chunk::parse_key(&key).ok_or_else(|| no_count(&key))?;
            let name = (parsed.topic.to_owned(), parsed.partition);
            let page = book.partitions.entry(name).or_default();
            for (place, tally) in chunk::read(&key, &value)? {
                let span = chunk::span(parsed.kind, parsed.number, place);
                page.counted.add(span.ok_or_else(|| no_count(&key))?, tally);
            }
            Ok(())
        });
        if let Err(e) = read {
            book.damaged.push(e);
        }
    }
    book
}

impl Book {
    /// A block that is whole, of a lane whose record is, and not known to be delivered.
    pub fn add(&mut self, lane: &Lane, header: &BlockHeader, minutes: &Minutes) {
        if header.first >= lane.counted {
            return;
        }
        let name = (lane.topic.clone(), lane.partition);
        let page = self.partitions.entry(name).or_default();
        for (minute, rows) in minutes.iter() {
            let span = page.counted.span_of(minute);
            *page.found.entry(span).or_default() += i64::from(rows);
        }
    }

    /// Where the two differ.
    pub fn gaps(&self) -> Vec<Gap> {
        let mut gaps = Vec::new();
        for ((topic, partition), page) in &self.partitions {
            let mut found = page.found.clone();
            let mut check = |span: Span, counted: i64, found: i64| {
                if counted != found {
                    gaps.push(Gap {
                        topic: topic.clone(),
                        partition: *partition,
                        span,
                        counted,
                        found,
                    });
                }
            };
            for (span, tally) in page.counted.iter() {
                check(span, tally.queued(), found.remove(&span).unwrap_or(0));
            }
            for (span, rows) in found {
                check(span, 0, rows);
            }
        }
        gaps
    }
}

/// Counts as lost what no block holds, and as consumed what no count has. Returns the rows lost.
pub(in crate::queue) fn write_off(trees: &Trees, gaps: &[Gap]) -> Result<i64, QueueError> {
    let mut lost = 0;
    let mut changes = Changes::default();
    for gap in gaps {
        let missing = gap.counted - gap.found;
        lost += missing.max(0);
        let tally = Tally {
            lost: missing.max(0),
            consumed: (-missing).max(0),
            stored: 0,
        };
        changes.add_span(&chunk::prefix(&gap.topic, gap.partition), gap.span, tally);
    }
    for (key, value) in changes.onto(&trees.counts)? {
        trees
            .counts
            .insert(key, value)
            .map_err(QueueError::store("write"))?;
    }
    Ok(lost)
}

/// Whether a chunk is what was written.
pub(in crate::queue) fn is_whole(key: &[u8], value: &[u8]) -> bool {
    chunk::parse_key(key).is_some() && chunk::read(key, value).is_ok()
}
