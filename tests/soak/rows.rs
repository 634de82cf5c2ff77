//! Every row in ClickHouse against every record that was produced. Record `i` is at offset `i / n` of
//! partition `i % n`, so what is missing or there too often has a place.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use anonymizer::record::synth::Synth;

use crate::checks::{Row, Totals};

/// Offsets of a partition that the program names as lost.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lost {
    pub partition: i32,
    pub from: i64,
    pub to: i64,
}

/// What was produced.
#[derive(Clone, Copy)]
pub struct Produced {
    pub seed: u64,
    pub start_ms: u64,
    /// From one record to the next.
    pub interval: Duration,
    pub count: u64,
    pub partitions: i32,
}

impl Produced {
    fn place(&self, number: u64) -> (i32, i64) {
        let partitions = u64::try_from(self.partitions).unwrap();
        ((number % partitions) as i32, (number / partitions) as i64)
    }

    /// Each record's place and row.
    pub fn rows(&self) -> impl Iterator<Item = ((i32, i64), Row)> {
        let records = Synth::new(self.seed, self.start_ms).with_interval(self.interval);
        let numbered = (0..self.count).zip(records);
        numbered.map(|(number, record)| (self.place(number), Row::of_synth(&record)))
    }
}

/// How stored rows differ from what was produced.
#[derive(Default)]
pub struct Difference {
    /// Records that were produced, but for those named as lost.
    pub due: u64,
    /// Records that the program named as lost.
    pub named: u64,
    /// What the rows that are due add up to.
    pub totals: Totals,
    /// Places without a row, though nothing was named.
    pub missing: Vec<(i32, i64)>,
    /// Places whose row is there too often.
    pub doubled: Vec<(i32, i64)>,
    /// Rows that nobody produced.
    pub foreign: u64,
}

impl Difference {
    /// What is not as it should be.
    pub fn problems(&self) -> Vec<String> {
        let named = |what: &str, places: &[(i32, i64)]| {
            let some = &places[..places.len().min(10)];
            (!places.is_empty()).then(|| format!("{} rows {what}: {some:?} ...", places.len()))
        };
        let foreign =
            (self.foreign > 0).then(|| format!("{} rows that nobody produced", self.foreign));
        [
            named("lost", &self.missing),
            named("doubled", &self.doubled),
            foreign,
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Compares row by row. Records alike in every column count as often as they were produced.
pub fn compare(
    produced: &Produced,
    lost: &[Lost],
    stored: impl IntoIterator<Item = Row>,
) -> Difference {
    let mut left: HashMap<u64, i64> = HashMap::new();
    for row in stored {
        *left.entry(fingerprint(&row)).or_default() += 1;
    }
    let mut difference = Difference::default();
    let mut places: HashMap<u64, (i32, i64)> = HashMap::new();
    for ((partition, offset), row) in produced.rows() {
        let is_named = |l: &Lost| l.partition == partition && (l.from..l.to).contains(&offset);
        if lost.iter().any(is_named) {
            // Not due; if it is there nevertheless, it is left over below.
            difference.named += 1;
            places
                .entry(fingerprint(&row))
                .or_insert((partition, offset));
            continue;
        }
        difference.due += 1;
        difference.totals.add(&row);
        let print = fingerprint(&row);
        places.insert(print, (partition, offset));
        match left.get_mut(&print) {
            Some(n) if *n > 0 => *n -= 1,
            _ => difference.missing.push((partition, offset)),
        }
    }
    for (print, n) in left.into_iter().filter(|(_, n)| *n > 0) {
        match places.get(&print) {
            Some(place) => difference.doubled.extend(vec![*place; n as usize]),
            None => difference.foreign += n as u64,
        }
    }
    difference.doubled.sort_unstable();
    difference
}

/// All columns of a row in 64 bits: of 10 million rows two unlike ones share them once in 300,000 runs.
fn fingerprint(row: &Row) -> u64 {
    let mut hasher = DefaultHasher::new();
    row.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRODUCED: Produced = Produced {
        seed: 3,
        start_ms: 1_700_000_000_000,
        interval: Duration::from_millis(1),
        count: 3_000,
        partitions: 6,
    };

    fn all() -> Vec<Row> {
        PRODUCED.rows().map(|(_, row)| row).collect()
    }

    #[test]
    fn what_was_produced_once_and_is_there_once_is_right() {
        let difference = compare(&PRODUCED, &[], all());
        assert!(difference.problems().is_empty());
        assert_eq!((difference.due, difference.totals.count), (3_000, 3_000));
    }

    #[test]
    fn one_lost_row_is_found_at_its_place() {
        let mut rows = all();
        rows.remove(1_000);
        let difference = compare(&PRODUCED, &[], rows);
        assert_eq!(difference.missing, [(1_000 % 6, 1_000 / 6)]);
        assert_eq!(difference.problems().len(), 1);
    }

    #[test]
    fn one_doubled_row_is_found_at_its_place() {
        let mut rows = all();
        rows.push(rows[2_000].clone());
        let difference = compare(&PRODUCED, &[], rows);
        assert_eq!(difference.doubled, [(2_000 % 6, 2_000 / 6)]);
        assert_eq!(difference.problems().len(), 1);
    }

    #[test]
    fn one_lost_and_another_doubled_do_not_even_out() {
        let mut rows = all();
        rows[5] = rows[6].clone();
        assert_eq!(compare(&PRODUCED, &[], rows).problems().len(), 2);
    }

    #[test]
    fn a_row_that_nobody_produced_is_found() {
        let mut rows = all();
        rows[5].bytes_sent += 1;
        let difference = compare(&PRODUCED, &[], rows);
        assert_eq!((difference.foreign, difference.missing.len()), (1, 1));
    }

    #[test]
    fn what_is_named_as_lost_must_be_all_and_nothing_else() {
        let lost = |from, to| {
            [Lost {
                partition: 2,
                from,
                to,
            }]
        };
        let is_gone =
            |(partition, offset): (i32, i64)| partition == 2 && (10..20).contains(&offset);
        let stored = || {
            let rows = PRODUCED.rows();
            rows.filter(|(place, _)| !is_gone(*place))
                .map(|(_, row)| row)
        };
        let right = compare(&PRODUCED, &lost(10, 20), stored());
        assert_eq!((right.named, right.problems().len()), (10, 0));
        let too_few = compare(&PRODUCED, &lost(10, 19), stored());
        assert_eq!(too_few.missing, [(2, 19)]);
        let too_many = compare(&PRODUCED, &lost(10, 21), stored());
        assert_eq!(too_many.doubled, [(2, 20)]);
    }
}
