//! The grain of the counts: minutes near now, days elsewhere.
//!
//! A record may claim any time from 1970 to 2106, so minutes alone would have no bound: a stream of
//! random timestamps would make a count for each of 71 million. Within a [`Window`] around now rows
//! are counted by minute, outside of it by UTC day, of which there are 49,711.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Tally;
use crate::row::minutes::{DAY, Span};

/// How far ahead of now minutes are counted each: clocks of edge servers are wrong by hours, not by
/// more days.
const AHEAD_DAYS: u32 = 2;

/// The days whose rows are counted by minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::queue) struct Window {
    /// First minute, at the start of a day.
    pub from: u32,
    /// Minute after the last, at the start of a day.
    pub to: u32,
}

impl Window {
    /// Around now.
    pub fn around(now_ms: u64, keep: Duration) -> Window {
        let days = |minutes: u64| u32::try_from(minutes / u64::from(DAY)).unwrap_or(u32::MAX / DAY);
        let now = now_ms / 60_000;
        Window {
            from: days(now.saturating_sub(keep.as_secs() / 60)) * DAY,
            to: (days(now) + 1 + AHEAD_DAYS).min(u32::MAX / 60 / DAY + 1) * DAY,
        }
    }

    /// Where rows of a minute are counted.
    pub fn span(&self, minute: u32) -> Span {
        if (self.from..self.to).contains(&minute) {
            Span::minute(minute)
        } else {
            Span::day_of(minute)
        }
    }
}

/// What is counted, by minute or day. A day is there in one grain only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans(BTreeMap<Span, Tally>);

impl Spans {
    /// Adds to a span. A day that gets both grains is one day from then on: the clock was set, or
    /// its first rows came when it was far ahead.
    pub fn add(&mut self, span: Span, tally: Tally) {
        let day = Span::day_of(span.first_minute());
        if span.is_day() && !self.0.contains_key(&day) {
            let sum = self.take_minutes(day);
            self.0.insert(day, sum);
        }
        let to = if self.0.contains_key(&day) { day } else { span };
        *self.0.entry(to).or_default() += tally;
    }

    fn take_minutes(&mut self, day: Span) -> Tally {
        let first = day.first_minute();
        let mut sum = Tally::default();
        let minutes = Span::minute(first)..Span::minute(first + DAY - 1);
        let mut found: Vec<Span> = self.0.range(minutes.clone()).map(|(s, _)| *s).collect();
        found.push(minutes.end);
        for span in found {
            sum += self.0.remove(&span).unwrap_or_default();
        }
        sum
    }

    /// The span that rows of a minute belong to: of the grain of their day, and its day where
    /// nothing of the day is counted.
    pub fn span_of(&self, minute: u32) -> Span {
        let day = Span::day_of(minute);
        let first = day.first_minute();
        let mut of_day = self
            .0
            .range(Span::minute(first)..=Span::minute(first + DAY - 1));
        if self.0.contains_key(&day) || of_day.next().is_none() {
            day
        } else {
            Span::minute(minute)
        }
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = (Span, Tally)> + '_ {
        self.0.iter().map(|(span, tally)| (*span, *tally))
    }

    /// Those of a span.
    pub fn get(&self, span: Span) -> Tally {
        self.0.get(&span).copied().unwrap_or_default()
    }

    /// The sum of all.
    pub fn total(&self) -> Tally {
        let mut sum = Tally::default();
        self.0.values().for_each(|t| sum += *t);
        sum
    }

    /// The days that are counted as such.
    pub fn days(&self) -> BTreeSet<Span> {
        self.0.keys().filter(|s| s.is_day()).copied().collect()
    }

    /// From the first to after the last second that is counted by minute.
    pub fn fine(&self) -> Option<(u32, u64)> {
        let mut minutes = self.0.keys().filter(|s| !s.is_day());
        let first = minutes.next()?;
        Some((first.start, minutes.next_back().unwrap_or(first).end()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000;

    fn rows(consumed: i64) -> Tally {
        Tally {
            consumed,
            ..Tally::default()
        }
    }

    #[test]
    fn minutes_are_counted_each_within_the_window_and_by_day_elsewhere() {
        let window = Window::around(NOW, Duration::from_secs(40 * 86_400));
        let now = (NOW / 60_000) as u32;
        for (minute, is_day) in [
            (now, false),
            (now - 40 * DAY, false),
            (now - 42 * DAY, true),
            (now + 2 * DAY, false),
            (now + 4 * DAY, true),
            (0, true),
            (u32::MAX / 60, true),
        ] {
            assert_eq!(window.span(minute).is_day(), is_day, "{minute}");
        }
        assert_eq!((window.from % DAY, window.to % DAY), (0, 0));
    }

    #[test]
    fn a_clock_at_either_end_of_time_makes_no_window_overflow() {
        for now in [0, 60_000, u64::from(u32::MAX) * 1000, u64::MAX] {
            let window = Window::around(now, Duration::MAX);
            assert_eq!(window.from, 0, "{now}");
            let _ = window.span(u32::MAX / 60);
        }
    }

    #[test]
    fn a_day_that_is_counted_in_both_grains_is_one_day() {
        let mut spans = Spans::default();
        let first = 10 * DAY;
        spans.add(Span::minute(first), rows(1));
        spans.add(Span::minute(first + DAY - 1), rows(2));
        spans.add(Span::minute(first + DAY), rows(4));
        assert_eq!(spans.span_of(first + 5), Span::minute(first + 5));
        assert_eq!(
            spans.span_of(first + 2 * DAY),
            Span::day_of(first + 2 * DAY)
        );
        spans.add(Span::day_of(first), rows(8));
        spans.add(Span::minute(first + 7), rows(16));
        assert_eq!(spans.span_of(first + 5), Span::day_of(first));
        assert_eq!(spans.get(Span::day_of(first)), rows(27));
        assert_eq!(spans.get(Span::minute(first + DAY)), rows(4));
        assert_eq!(spans.iter().count(), 2);
        assert_eq!(spans.total(), rows(31));
        let minute = Span::minute(first + DAY);
        assert_eq!(spans.fine(), Some((minute.start, minute.end())));
    }
}
