//! Rows by the minute of their timestamp, for the counts that `reconcile` compares.
//!
//! A block carries those of its rows: counted as they are encoded, written beside them, so that no
//! row has to be read again when the block comes or goes.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::row::varint::{leb128, read_leb128};

/// Minutes of a day.
pub const DAY: u32 = 24 * 60;

/// One minute or one UTC day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span {
    /// Its first second, Unix time.
    pub start: u32,
    /// Its length in seconds: 60 or 86,400.
    pub seconds: u32,
}

impl Span {
    /// The minute of this number since 1970; the last one of DateTime for any beyond.
    pub fn minute(minute: u32) -> Span {
        Span {
            start: minute.min(u32::MAX / 60) * 60,
            seconds: 60,
        }
    }

    /// The day that a minute is in.
    pub fn day_of(minute: u32) -> Span {
        Span {
            start: minute / DAY * DAY * 60,
            seconds: DAY * 60,
        }
    }

    /// Whether it is a day.
    pub fn is_day(&self) -> bool {
        self.seconds != 60
    }

    /// The second after it; the last day of DateTime ends beyond 32 bits.
    pub fn end(&self) -> u64 {
        u64::from(self.start) + u64::from(self.seconds)
    }

    /// Whether the other one lies in it.
    pub fn contains(&self, other: Span) -> bool {
        self.start <= other.start && other.end() <= self.end()
    }

    /// Whether it lies within these seconds.
    pub fn is_within(&self, range: &Range<u64>) -> bool {
        range.start <= u64::from(self.start) && self.end() <= range.end
    }

    /// Number of its first minute.
    pub fn first_minute(&self) -> u32 {
        self.start / 60
    }
}

/// Rows of some minutes.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Minutes(Vec<(u32, u32)>);

impl Minutes {
    /// Counts a row. `second` is Unix time. Rows come nearly in order, so the last minute is nearly
    /// always the one; what is out of order waits for [`Minutes::merge`].
    pub fn count(&mut self, second: u32) {
        let minute = second / 60;
        match self.0.last_mut() {
            Some((last, rows)) if *last == minute => *rows += 1,
            _ => self.0.push((minute, 1)),
        }
    }

    /// Puts the minutes in order, each once.
    pub fn merge(&mut self) {
        if self.0.is_sorted_by(|a, b| a.0 < b.0) {
            return;
        }
        self.0.sort_unstable_by_key(|(minute, _)| *minute);
        self.0.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                kept.1 += later.1;
            }
            same
        });
    }

    /// Minutes since 1970 UTC, and the rows of each.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.0.iter().copied()
    }

    /// All rows.
    pub fn rows(&self) -> u64 {
        self.0.iter().map(|(_, rows)| u64::from(*rows)).sum()
    }

    /// Appends them to `out`, [merged](Minutes::merge): for each minute the distance from the one
    /// before and the rows, both LEB128.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut before = 0;
        for (minute, rows) in &self.0 {
            leb128(u64::from(minute - before), out);
            leb128(u64::from(*rows), out);
            before = *minute;
        }
    }

    /// What [`Minutes::write`] wrote; `None` if it is nothing that it writes.
    pub fn read(mut bytes: &[u8]) -> Option<Minutes> {
        let mut all = Vec::new();
        let mut before = 0u32;
        while !bytes.is_empty() {
            let distance = u32::try_from(read_leb128(&mut bytes)?).ok()?;
            let rows = u32::try_from(read_leb128(&mut bytes)?).ok()?;
            if rows == 0 || (distance == 0 && !all.is_empty()) {
                return None;
            }
            before = before.checked_add(distance)?;
            all.push((before, rows));
        }
        Some(Minutes(all))
    }
}

/// Of the seconds of some rows.
impl FromIterator<u32> for Minutes {
    fn from_iter<T: IntoIterator<Item = u32>>(seconds: T) -> Minutes {
        let mut minutes = Minutes::default();
        seconds.into_iter().for_each(|s| minutes.count(s));
        minutes.merge();
        minutes
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_minute_ends_before_its_sixtieth_second() {
        let minutes: Minutes = [59, 60, 119, 0, 120].into_iter().collect();
        assert!(minutes.iter().eq([(0, 2), (1, 2), (2, 1)]));
        assert_eq!(minutes.rows(), 5);
    }

    #[test]
    fn the_last_day_of_datetime_ends_beyond_it() {
        assert_eq!(Span::day_of(u32::MAX / 60).end(), 49_711 * 86_400);
        assert_eq!(Span::minute(u32::MAX), Span::minute(u32::MAX / 60));
        assert!(Span::day_of(DAY + 1).contains(Span::minute(2 * DAY - 1)));
        assert!(!Span::day_of(DAY + 1).contains(Span::minute(2 * DAY)));
    }

    proptest! {
        #[test]
        fn they_are_counted_and_read_as_they_were_written(
            seconds in proptest::collection::vec(prop_oneof![any::<u32>(), 0..300u32], 0..200)
        ) {
            let minutes: Minutes = seconds.iter().copied().collect();
            let mut want: BTreeMap<u32, u32> = BTreeMap::new();
            for s in seconds {
                *want.entry(s / 60).or_default() += 1;
            }
            prop_assert!(minutes.iter().eq(want));
            let mut bytes = Vec::new();
            minutes.write(&mut bytes);
            prop_assert_eq!(Minutes::read(&bytes), Some(minutes));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Some(read) = Minutes::read(&bytes) {
                let mut again = Minutes::default();
                again.0.clone_from(&read.0);
                again.merge();
                prop_assert_eq!(again, read, "in order, each once");
            }
        }
    }
}
