//! What is known of the records below an offset: enough to see later whether Kafka's log still has
//! them, or was cut and grew again with others.

use serde::{Deserialize, Serialize};

use crate::record::Mark;

/// Leader epochs remembered. A new one begins when a leader is chosen, as after each broker restart.
const EPOCHS: usize = 16;

/// Records of one partition that were read, in offset order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trail {
    /// Each leader epoch that records were read of, and its first offset read.
    #[serde(default)]
    epochs: Vec<(i32, i64)>,
    /// Some of the records: the last one, and before it ever fewer, about one at each fourfold distance.
    #[serde(default)]
    marks: Vec<Mark>,
}

impl Trail {
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// Adds a run of records of one leader epoch: the offset of the first, and the last.
    pub fn push(&mut self, first: i64, last: Mark) {
        if last.epoch >= 0 && self.epochs.last().map(|e| e.0) != Some(last.epoch) {
            self.epochs.push((last.epoch, first));
            if self.epochs.len() > EPOCHS {
                self.epochs.remove(0);
            }
        }
        let distance = |m: &Mark| (last.offset - m.offset).max(1).ilog2() / 2;
        // The oldest of each distance stays, so that it is there for the next one.
        self.marks.dedup_by_key(|m| distance(m));
        self.marks.push(last);
    }

    /// Adds a record behind others that were not read here, and whose epochs are not known therefore.
    pub fn push_behind_gap(&mut self, mark: Mark) {
        self.epochs.clear();
        self.push(mark.offset, mark);
    }

    /// What it knows below `offset`.
    #[must_use]
    pub fn below(mut self, offset: i64) -> Trail {
        self.marks.retain(|m| m.offset < offset);
        self.epochs.retain(|(_, first)| *first < offset);
        self
    }

    /// The records remembered.
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// The last record.
    pub fn last(&self) -> Option<Mark> {
        self.marks.last().copied()
    }

    /// Whether a record is of another leader than the one that was read at its offset. `None` where no
    /// epochs are known. What was read before the first one remembered is of no later epoch.
    pub fn is_of_another_leader(&self, found: &Mark) -> Option<bool> {
        let (first, _) = *self.epochs.first().filter(|_| found.epoch >= 0)?;
        Some(match self.epoch_at(found.offset) {
            Some(epoch) => epoch != found.epoch,
            None => found.epoch > first,
        })
    }

    /// The leader epoch of the record that was read at `offset`, if it is remembered.
    pub fn epoch_at(&self, offset: i64) -> Option<i32> {
        let at_or_below = self.epochs.iter().rev();
        at_or_below
            .into_iter()
            .find(|(_, first)| *first <= offset)
            .map(|(epoch, _)| *epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(offset: i64, epoch: i32) -> Mark {
        Mark {
            offset,
            epoch,
            hash: offset as u64,
        }
    }

    #[test]
    fn a_long_trail_stays_short_and_knows_something_at_every_distance() {
        let mut trail = Trail::default();
        for n in 0..100_000 {
            trail.push(n * 10, mark(n * 10 + 9, 3));
            assert!(trail.marks.len() <= 32, "{trail:?}");
        }
        let last = trail.last().unwrap().offset;
        assert_eq!(last, 999_999);
        for distance in [100, 1_000, 10_000, 100_000] {
            let near = trail.marks.iter().map(|m| last - m.offset);
            assert!(
                near.into_iter()
                    .any(|d| (distance / 16..=distance * 16).contains(&d)),
                "{distance}: {trail:?}"
            );
        }
        let json = serde_json::to_string(&trail).unwrap();
        assert!(json.len() < 1_000, "{json}");
        assert_eq!(serde_json::from_str::<Trail>(&json).unwrap(), trail);
    }

    #[test]
    fn epochs_are_those_of_the_records() {
        let mut trail = Trail::default();
        trail.push(10, mark(19, 1));
        trail.push(20, mark(29, 4));
        assert_eq!(trail.epoch_at(9), None);
        assert_eq!(trail.epoch_at(19), Some(1));
        assert_eq!(trail.epoch_at(20), Some(4));
        let below = trail.below(20);
        assert_eq!(
            (below.last(), below.epoch_at(25)),
            (Some(mark(19, 1)), Some(1))
        );
    }
}
