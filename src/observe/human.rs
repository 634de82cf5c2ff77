//! Numbers and times as people read them.

use std::time::Duration;

use bytesize::ByteSize;

use crate::runtime::clock::rfc3339;

/// `1234567` as `1,234,567`.
pub use crate::runtime::logging::grouped as count;

/// `n` of something: `1 row`, `2 rows`.
pub fn of(n: u64, one: &str) -> String {
    match n {
        1 => format!("1 {one}"),
        _ => format!(
            "{} {one}{}",
            count(n),
            if one.ends_with('h') { "es" } else { "s" }
        ),
    }
}

/// `64.0 MiB`.
pub fn bytes(n: u64) -> String {
    ByteSize(n).display().iec().to_string()
}

/// Milliseconds as the two largest units: `4m 29s`, `2h 5m`.
pub fn time(ms: u64) -> String {
    let s = ms / 1000;
    let whole = match s {
        0..3600 => s,
        3600..86_400 => s / 60 * 60,
        // humantime knows months and years of its own.
        _ => {
            let (days, hours) = (s / 86_400, s % 86_400 / 3600);
            return format!("{days}day{} {hours}h", if days == 1 { "" } else { "s" });
        }
    };
    humantime::format_duration(Duration::from_secs(whole)).to_string()
}

/// `12:01 UTC`, with the day if it is not that of `now_ms`.
pub fn clock(ms: u64, now_ms: u64) -> String {
    const DAY_MS: u64 = 86_400_000;
    let text = rfc3339(ms);
    let (day, rest) = text.split_once('T').unwrap_or(("", &text));
    let hour = rest.get(..5).unwrap_or(rest);
    match ms / DAY_MS == now_ms / DAY_MS {
        true => format!("{hour} UTC"),
        false => format!("{day} {hour} UTC"),
    }
}

/// `since 12:01 UTC (4m 29s)`.
pub fn since(ms: u64, now_ms: u64) -> String {
    let age = now_ms.saturating_sub(ms);
    format!("since {} ({})", clock(ms, now_ms), time(age))
}

/// `in 41s`, or `now`.
pub fn until(ms: u64, now_ms: u64) -> String {
    match ms.saturating_sub(now_ms) {
        0..1000 => "now".to_owned(),
        left => format!("in {}", time(left)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_short() {
        let counted: Vec<String> = [0, 999, 1000, 1_234_567].into_iter().map(count).collect();
        assert_eq!(counted, ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            (of(1, "row"), of(2, "row")),
            ("1 row".into(), "2 rows".into())
        );
        assert_eq!(of(2, "batch"), "2 batches");
        assert_eq!(bytes(64 << 20), "64.0 MiB");
        let times: Vec<String> = [0, 269_000, 7_505_000, 90_061_000]
            .into_iter()
            .map(time)
            .collect();
        assert_eq!(times, ["0s", "4m 29s", "2h 5m", "1day 1h"]);
        assert_eq!(clock(43_260_000, 43_529_000), "12:01 UTC");
        assert_eq!(clock(43_260_000, 143_529_000), "1970-01-01 12:01 UTC");
        assert_eq!(since(43_260_000, 43_529_000), "since 12:01 UTC (4m 29s)");
        assert_eq!(
            (until(5, 5), until(41_000, 0)),
            ("now".into(), "in 41s".into())
        );
    }
}
