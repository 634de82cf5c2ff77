//! The counts of all instances against ClickHouse's own, minute by minute of record time.
//!
//! Rows are stored while the question is asked, so the counts are read before it and after it: of
//! each minute ClickHouse must have at least what was stored before, and at most what was stored
//! after or may be stored (an insert whose answer is not known). Between them nothing can be told,
//! and outside nothing is in order. Queued rows are expected to be missing.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde::Serialize;

use crate::clickhouse::MinutesQuery;
use crate::queue::{Counted, Counts, PartitionCounts};
use crate::row::minutes::{DAY, Span};

/// The most days that are asked for by the minute: an answer must stay below the 16 MiB that are
/// read of it. The largest `keep_counts` is shorter.
const MOST_DAYS: u64 = 410;

/// The counts of one instance, before and after ClickHouse was asked.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Before.
    pub before: Counts,
    /// After; `None` where they came from a file, and the instance may have gone on since.
    pub after: Option<Counts>,
}

/// What to ask ClickHouse, so that its answer fits the grain of the counts.
pub fn query(range: Range<u64>, instances: &[Instance]) -> MinutesQuery {
    let counted = instances.iter().flat_map(|i| &i.before.spans);
    let minutes = counted.map(Counted::span).filter(|s| !s.is_day());
    let (mut from, mut to) = (u64::MAX, 0);
    for span in minutes {
        let day = Span::day_of(span.first_minute());
        from = from.min(day.start.into());
        to = to.max(day.end());
    }
    let most = MOST_DAYS * u64::from(DAY) * 60;
    MinutesQuery {
        range,
        fine: from.min(to).max(to.saturating_sub(most))..to,
    }
}

/// A minute or day that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The minute or day.
    #[serde(flatten)]
    pub span: Span,
    /// Rows that ClickHouse has.
    pub found: i64,
    /// Rows that it must have: stored, and acknowledged.
    pub at_least: i64,
    /// Rows that it may have.
    pub at_most: i64,
    /// Rows of it that are still queued.
    pub queued: i64,
    /// What may be the cause.
    pub likely: &'static str,
}

/// What a comparison found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Installation ids.
    pub instances: Vec<String>,
    /// From this second of record time on the counts know every row, if all instances are given.
    pub complete_from: u64,
    /// Minutes and days that were compared.
    pub minutes: usize,
    /// See `minutes`.
    pub days: usize,
    /// Rows found in ClickHouse.
    pub found: i64,
    /// Sums over all instances, partition by partition.
    pub partitions: Vec<PartitionCounts>,
    /// Rows of rejected batches that a person dropped, of all times.
    pub batches_dropped: i64,
    /// Messages that a full quarantine dropped.
    pub quarantine_dropped: u64,
    /// Minutes that an insert without an answer concerns, and that are in order either way.
    pub in_flight: usize,
    /// Rows of minutes before `complete_from` that no instance counted.
    pub uncounted_before: i64,
    /// What differs.
    pub differences: Vec<Difference>,
}

const GONE: &str = "ClickHouse has none of it: deleted, or removed by a TTL or with its partition";
const FEWER: &str = "rows were deleted, or a ClickHouse that lost power lost them";
const MORE: &str = "an instance whose counts are not given, another writer, or rows stored twice";
const SINCE_FILE: &str = "stored since the file of counts was written, an instance whose counts are \
                          not given, another writer, or rows stored twice";

#[derive(Default)]
struct Expected {
    at_least: i64,
    at_most: i64,
    queued: i64,
    found: i64,
}

/// Compares the rows `found` for `query` with the counts.
pub fn compare(instances: &[Instance], query: &MinutesQuery, found: &[(Span, u64)]) -> Comparison {
    let grain = Grain::of(instances, &query.fine);
    let mut all: BTreeMap<Span, Expected> = BTreeMap::new();
    for (span, rows) in found {
        all.entry(grain.span(*span)).or_default().found += *rows as i64;
    }
    for instance in instances {
        for c in &instance.before.spans {
            let e = all.entry(grain.span(c.span())).or_default();
            e.at_least += c.stored;
            if instance.after.is_none() {
                // It may have sent all that it had.
                e.at_most += c.consumed - c.lost + c.lost_or_stored;
                e.queued += c.queued;
            }
        }
        for c in instance.after.iter().flat_map(|after| &after.spans) {
            let e = all.entry(grain.span(c.span())).or_default();
            e.at_most += c.stored + c.in_flight + c.lost_or_stored;
            e.queued += c.queued;
        }
    }
    // A day of which the range has only a part cannot be compared.
    all.retain(|span, _| span.is_within(&query.range));
    let mut done = Comparison {
        instances: instances
            .iter()
            .map(|i| i.before.installation.clone())
            .collect(),
        complete_from: instances
            .iter()
            .map(|i| i.before.since_ms.div_ceil(1000))
            .max()
            .unwrap_or(0),
        minutes: all.keys().filter(|s| !s.is_day()).count(),
        days: all.keys().filter(|s| s.is_day()).count(),
        found: all.values().map(|e| e.found).sum(),
        partitions: partitions(instances),
        batches_dropped: latest(instances)
            .flat_map(|c| &c.partitions)
            .map(|p| p.dropped)
            .sum(),
        quarantine_dropped: latest(instances).map(|c| c.quarantine_dropped).sum(),
        in_flight: 0,
        uncounted_before: 0,
        differences: Vec::new(),
    };
    let more = match instances.iter().any(|i| i.after.is_none()) {
        true => SINCE_FILE,
        false => MORE,
    };
    for (span, e) in all {
        let likely = if e.found < e.at_least {
            if e.found == 0 { GONE } else { FEWER }
        } else if e.found <= e.at_most {
            done.in_flight += usize::from(e.at_least < e.at_most);
            continue;
        } else if u64::from(span.start) < done.complete_from {
            // Somebody else's, or an earlier program's: nobody counted then.
            done.uncounted_before += e.found - e.at_most;
            continue;
        } else {
            more
        };
        done.differences.push(Difference {
            span,
            found: e.found,
            at_least: e.at_least,
            at_most: e.at_most,
            queued: e.queued,
            likely,
        });
    }
    done
}

/// Which days are compared by the minute: those that everyone counts so.
struct Grain {
    days: BTreeSet<Span>,
    fine: Range<u64>,
}

impl Grain {
    fn of(instances: &[Instance], fine: &Range<u64>) -> Grain {
        let all = instances
            .iter()
            .flat_map(|i| [Some(&i.before), i.after.as_ref()]);
        let spans = all.flatten().flat_map(|c| &c.spans).map(Counted::span);
        Grain {
            days: spans.filter(Span::is_day).collect(),
            fine: fine.clone(),
        }
    }

    fn span(&self, span: Span) -> Span {
        let day = Span::day_of(span.first_minute());
        if self.days.contains(&day) || !day.is_within(&self.fine) {
            day
        } else {
            span
        }
    }
}

fn latest(instances: &[Instance]) -> impl Iterator<Item = &Counts> {
    instances
        .iter()
        .map(|i| i.after.as_ref().unwrap_or(&i.before))
}

fn partitions(instances: &[Instance]) -> Vec<PartitionCounts> {
    let mut all: BTreeMap<(&str, i32), PartitionCounts> = BTreeMap::new();
    for of in latest(instances).flat_map(|c| &c.partitions) {
        let name = (of.topic.as_str(), of.partition);
        *all.entry(name).or_default() += of;
    }
    all.into_values().collect()
}
