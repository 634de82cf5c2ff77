//! What the page says in another way than `status`: numbers of charts, and times to the second. All times
//! are UTC, as in the log.

use crate::observe::human;
use crate::runtime::clock::rfc3339;

/// `1,234,567`; below ten with two places if it has any, as `0.25`.
pub(super) fn number(value: f64) -> String {
    let small = format!("{value:.2}");
    if value < 10.0 && !small.ends_with(".00") {
        return small.trim_end_matches('0').to_owned();
    }
    human::count(value.round() as u64)
}

/// `250 ms`, `1.5s`, `4m 29s`.
pub(super) fn seconds(value: f64) -> String {
    match value {
        v if v <= 0.0 => "0s".to_owned(),
        v if v < 0.9995 => format!("{:.0} ms", v * 1000.0),
        v if v < 9.95 => format!("{}s", format!("{v:.1}").trim_end_matches(".0")),
        v => human::time((v * 1000.0).round() as u64),
    }
}

/// Hours and minutes of a Unix time.
pub(super) fn clock(s: u64) -> String {
    format!("{:02}:{:02}", s / 3600 % 24, s / 60 % 60)
}

/// `2026-11-27 14:03:05`.
pub(super) fn time(ms: u64) -> String {
    let text = rfc3339(ms).replace('T', " ");
    text.trim_end_matches('Z').to_owned()
}

/// `4m 29s ago`.
pub(super) fn ago(now_ms: u64, then_ms: u64) -> String {
    format!("{} ago", human::time(now_ms.saturating_sub(then_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        assert_eq!(
            [0.0, 0.25, 0.5, 7.0, 12.4, 1e6].map(number),
            ["0", "0.25", "0.5", "7", "12", "1,000,000"]
        );
        assert_eq!(
            [0.0, 0.25, 1.0, 1.5, 4.0, 59.0, 269.0].map(seconds),
            ["0s", "250 ms", "1s", "1.5s", "4s", "59s", "4m 29s"]
        );
        assert_eq!(clock(14 * 3600 + 3 * 60), "14:03");
        assert_eq!(time(0), "1970-01-01 00:00:00");
        assert_eq!(ago(5000, 1000), "4s ago");
    }
}
