//! Where Kafka's log parts from what was read of it. Pure, but for the records it asks for.
//!
//! A log is cut when a broker loses power before its disk had the end, or when a replica that was behind
//! is made leader. It then grows again with other records at the same offsets. Each leader has an epoch
//! above the last one's, and a record keeps the epoch of the leader that took it: logs that agree on the
//! epoch at an offset agree below it (KIP-320). Where a log was put back from a copy even that may
//! repeat, so records are compared by their bytes as well.

use std::ops::Range;

use super::GroupError;
use crate::queue::Trail;
use crate::record::Mark;

/// Where the log parts from ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parting {
    /// From here on its records are others than those that were read.
    pub at: i64,
    /// Of these it cannot be told. They end at `at`.
    pub unsure: Range<i64>,
    /// Nothing of what was read is there.
    pub whole: bool,
}

impl Parting {
    /// Where nothing is unsure.
    pub fn cleanly_at(at: i64) -> Parting {
        Parting {
            at,
            unsure: at..at,
            whole: false,
        }
    }
}

/// A log as it is now.
pub struct Log<'a> {
    /// First offset.
    pub low: i64,
    /// Offset after the last one.
    pub high: i64,
    /// The first record at or behind an offset.
    pub look: &'a dyn Fn(i64) -> Result<Option<Mark>, GroupError>,
}

/// Compares a log with the records that were read below `next`. `None` if all that can be seen is
/// still there.
///
/// # Errors
/// [`GroupError`] if the log cannot be read now.
pub fn parting(trail: &Trail, next: i64, log: &Log<'_>) -> Result<Option<Parting>, GroupError> {
    let seen: Vec<Mark> = trail.clone().below(next).marks().to_vec();
    let seen: Vec<Mark> = seen.into_iter().filter(|m| m.offset >= log.low).collect();
    let Some(last) = seen.last() else {
        return Ok(None);
    };
    if log.has(last, trail, next)? {
        return Ok(None);
    }
    // What is below the last one that is there is there as well.
    let there = first(0, seen.len() as i64 - 1, |i| {
        Ok(!log.has(&seen[i as usize], trail, next)?)
    })? as usize;
    let from = match there.checked_sub(1) {
        Some(i) => seen[i].offset + 1,
        None => log.low,
    };
    let gone = seen[there];
    let mut untold = false;
    let at = first(from, gone.offset.min(log.high), |offset| {
        let Some(found) = (log.look)(offset)?.filter(|f| f.offset < gone.offset) else {
            return Ok(true);
        };
        let other = trail.is_of_another_leader(&found);
        untold |= other.is_none();
        Ok(other.unwrap_or(false))
    })?;
    // The epochs of all before are ours, and that of the record there is not, or there is none.
    let told = match (log.look)(at)? {
        _ if untold => false,
        None => true,
        Some(found) => trail.is_of_another_leader(&found) == Some(true),
    };
    Ok(Some(Parting {
        at,
        unsure: if told { at..at } else { from..at },
        whole: there == 0 && at == log.low,
    }))
}

/// The same of records that another instance read: of its commit only the last one's epoch is known.
///
/// # Errors
/// As [`parting`].
pub fn parting_of_commit(
    offset: i64,
    epoch: i32,
    log: &Log<'_>,
) -> Result<Option<Parting>, GroupError> {
    // Nothing of it is left to compare, and below its start the log answers nothing.
    if offset <= log.low {
        return Ok(None);
    }
    let end = offset.min(log.high);
    let later = |from: i64| {
        let found = (log.look)(from)?;
        Ok(found.is_none_or(|f| f.offset >= offset || f.epoch > epoch))
    };
    if end > log.low && end == offset && !later(end - 1)? {
        return Ok(None);
    }
    let at = first(log.low.min(end), end, later)?;
    // Behind the last record of the epoch there may be a gap, which no reader is shown.
    let found = (log.look)(at)?.filter(|f| f.offset < offset);
    if found.is_none() && end == offset {
        return Ok(None);
    }
    Ok(Some(Parting {
        at,
        unsure: at..at,
        whole: at == log.low,
    }))
}

impl Log<'_> {
    /// Whether the last record that was read, if it is not below the log's start, is still there.
    ///
    /// # Errors
    /// [`GroupError`] if the log cannot be read now.
    pub fn has_last(&self, trail: &Trail, next: i64) -> Result<bool, GroupError> {
        match trail.last().filter(|m| m.offset >= self.low) {
            Some(last) => self.has(&last, trail, next),
            None => Ok(true),
        }
    }

    /// Whether a record that was read is still there, as far as can be seen.
    ///
    /// # Errors
    /// As [`Log::has_last`].
    pub fn has(&self, mark: &Mark, trail: &Trail, next: i64) -> Result<bool, GroupError> {
        if mark.offset >= self.high {
            return Ok(false);
        }
        let Some(found) = (self.look)(mark.offset)? else {
            return Ok(false);
        };
        if found.offset == mark.offset {
            return Ok(found == *mark);
        }
        // Compaction may have taken it; the one behind it then is one of ours, or later than all.
        Ok(found.offset >= next || trail.is_of_another_leader(&found) != Some(true))
    }
}

/// The first of `from..to` of which `holds` is true, which stays true behind it; `to` if there is none.
fn first(
    from: i64,
    to: i64,
    mut holds: impl FnMut(i64) -> Result<bool, GroupError>,
) -> Result<i64, GroupError> {
    let (mut from, mut to) = (from, to);
    while from < to {
        let middle = from + (to - from) / 2;
        if holds(middle)? {
            to = middle;
        } else {
            from = middle + 1;
        }
    }
    Ok(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records as (epoch, content), from offset `low` on.
    fn compare(read: &[(i32, u64)], now: &[(i32, u64)], low: i64) -> Option<Parting> {
        let mark = |at: usize, (epoch, hash): (i32, u64)| Mark {
            offset: at as i64,
            epoch,
            hash,
        };
        let mut trail = Trail::default();
        for (at, record) in read.iter().enumerate() {
            trail.push(at as i64, mark(at, *record));
        }
        let look = |offset: i64| {
            assert!(offset >= low, "a broker answers nothing below its start");
            let at = offset as usize;
            Ok(now.get(at).map(|r| mark(at, *r)))
        };
        let log = Log {
            low,
            high: now.len() as i64,
            look: &look,
        };
        parting(&trail, read.len() as i64, &log).unwrap()
    }

    fn records(epoch: i32, range: Range<u64>) -> Vec<(i32, u64)> {
        range.map(|n| (epoch, n)).collect()
    }

    #[test]
    fn a_log_that_only_grew_or_lost_its_start_does_not_part() {
        let read = records(1, 0..1000);
        assert_eq!(compare(&read, &records(1, 0..2000), 0), None);
        assert_eq!(compare(&read, &read, 300), None);
        assert_eq!(compare(&read, &records(1, 0..2000), 1500), None);
    }

    #[test]
    fn a_log_that_was_cut_parts_where_it_was_cut_whatever_it_grew_to() {
        let read = records(1, 0..1000);
        for cut in [0, 1, 500, 899, 900, 998, 999] {
            for grown in [0, 1, 50, 101, 2000] {
                let mut now = records(1, 0..cut);
                now.extend(records(2, 5000..5000 + grown));
                let found = compare(&read, &now, 0).unwrap();
                let at = cut as i64;
                assert_eq!((found.at, found.unsure), (at, at..at), "{cut} {grown}");
            }
        }
    }

    #[test]
    fn a_log_whose_epochs_repeat_parts_at_its_first_other_record_and_the_rest_is_unsure() {
        let read = records(1, 0..1000);
        let mut now = records(1, 0..700);
        now.extend(records(1, 5000..6000));
        let found = compare(&read, &now, 0).unwrap();
        assert!(found.unsure.contains(&700), "{found:?}");
        assert!(found.at > 700 && found.at <= 999 && found.unsure.start <= 700);
    }

    #[test]
    fn another_log_altogether_has_nothing_of_ours() {
        let found = compare(&records(3, 0..100), &records(0, 5000..6000), 0).unwrap();
        assert!(found.whole, "{found:?}");
    }

    #[test]
    fn a_commit_of_another_instance_parts_where_a_later_epoch_begins() {
        for (low, cut, end, at) in [
            (10, 1000, 1500, None),
            (10, 900, 1500, Some(900)),
            (10, 900, 900, Some(900)),
            // Retention took all that was read, and more.
            (1000, 1000, 1500, None),
            (1200, 1000, 1500, None),
        ] {
            let look = |offset: i64| {
                assert!(offset >= low, "a broker answers nothing below its start");
                Ok((offset < end).then_some(Mark {
                    offset,
                    epoch: if offset < cut { 4 } else { 6 },
                    hash: 0,
                }))
            };
            let log = Log {
                low,
                high: end,
                look: &look,
            };
            let found = parting_of_commit(1000, 5, &log).unwrap();
            assert_eq!(found.map(|p| p.at), at);
        }
    }
}
