//! What went into quarantine, told in sum: a stream of broken messages must not become a stream of lines.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::runtime::logging::grouped;

/// How often at most.
const EVERY: Duration = Duration::from_secs(60);

/// Reasons that are told apart in a line, those of most messages first.
const REASONS: usize = 5;

/// Messages by the reason for which they could not become rows, since they were last told.
#[derive(Default)]
pub struct Sums {
    by_reason: BTreeMap<String, u64>,
    /// When the first of them was found, and when such a line was told.
    since: Option<Instant>,
    told: Option<Instant>,
}

impl Sums {
    /// A message was quarantined. `reason` holds no byte of it.
    pub fn found(&mut self, reason: &str, now: Instant) {
        self.since.get_or_insert(now);
        match self.by_reason.get_mut(reason) {
            Some(count) => *count += 1,
            None => drop(self.by_reason.insert(reason.to_owned(), 1)),
        }
    }

    /// The line that is due, or what is left at the end.
    pub fn line(&mut self, now: Instant, is_end: bool) -> Option<String> {
        let is_early = self.told.is_some_and(|told| now < told + EVERY);
        if is_early && !is_end {
            return None;
        }
        let within = (now - self.since.take()?).as_secs();
        self.told = Some(now);
        let mut all: Vec<(String, u64)> = std::mem::take(&mut self.by_reason).into_iter().collect();
        all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let total: u64 = all.iter().map(|(_, count)| count).sum();
        let others: u64 = all.iter().skip(REASONS).map(|(_, count)| count).sum();
        let mut parts: Vec<String> = all
            .iter()
            .take(REASONS)
            .map(|(reason, count)| format!("{} {reason}", grouped(*count)))
            .collect();
        if others > 0 {
            parts.push(format!("{} of other kinds", grouped(others)));
        }
        Some(format!(
            "quarantined {} message{}{}: {}; `anonymizer quarantine list` shows them",
            grouped(total),
            if total == 1 { "" } else { "s" },
            match within {
                0 => String::new(),
                59 | 60 => " in the last minute".to_owned(),
                s => format!(" in the last {s} s"),
            },
            parts.join(", ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_the_rest_in_sum_once_a_minute() {
        let start = Instant::now();
        let at = |s: f64| start + Duration::from_secs_f64(s);
        let mut sums = Sums::default();
        assert_eq!(sums.line(at(0.0), true), None);
        sums.found("empty message", at(0.0));
        let told = sums.line(at(0.1), false).unwrap();
        assert_eq!(
            told,
            "quarantined 1 message: 1 empty message; `anonymizer quarantine list` shows them"
        );
        for i in 0..1204 {
            let reason = if i % 301 == 0 {
                "empty message"
            } else {
                "truncated"
            };
            sums.found(reason, at(0.2 + f64::from(i) / 100.0));
            assert_eq!(sums.line(at(20.0), false), None);
        }
        let told = sums.line(at(60.2), false).unwrap();
        assert_eq!(
            told,
            "quarantined 1,204 messages in the last minute: 1,200 truncated, 4 empty message; \
             `anonymizer quarantine list` shows them"
        );
        // Quiet for hours, then one: it is no matter of the last minute.
        sums.found("truncated", at(9000.0));
        assert!(
            sums.line(at(9000.1), false)
                .unwrap()
                .starts_with("quarantined 1 message: ")
        );
    }

    #[test]
    fn what_is_left_at_the_end_is_told_and_rare_reasons_together() {
        let start = Instant::now();
        let mut sums = Sums::default();
        sums.found("r0", start);
        sums.line(start, false).unwrap();
        for i in 0..8 {
            for _ in i..8 {
                sums.found(&format!("r{i}"), start);
            }
        }
        let end = start + Duration::from_secs(7);
        assert_eq!(sums.line(end, false), None);
        let told = sums.line(end, true).unwrap();
        assert!(
            told.starts_with(
                "quarantined 36 messages in the last 7 s: 8 r0, 7 r1, 6 r2, 5 r3, 4 r4, 6 of other kinds; "
            ),
            "{told}"
        );
        assert_eq!(sums.line(end, true), None);
    }
}
