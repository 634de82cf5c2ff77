//! The header `Retry-After`: seconds or an HTTP date, obeyed up to a bound.

use std::time::{Duration, SystemTime};

/// A server may ask for more than this; it does not get it. A wrong clock or a typo there must not
/// silence the forwarder for a day.
const MAX: Duration = Duration::from_secs(600);

/// Returns how long to wait, or `None` if the value is neither seconds nor a date.
pub(in crate::clickhouse) fn parse(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // A number that does not fit is a long time.
        return Some(value.parse().map_or(MAX, Duration::from_secs).min(MAX));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    Some(at.duration_since(now).unwrap_or_default().min(MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    #[test]
    fn seconds_and_dates_up_to_ten_minutes() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let f = |value, want: Option<u64>| {
            assert_eq!(parse(value, now), want.map(Duration::from_secs), "{value}");
        };
        f("0", Some(0));
        f(" 120 ", Some(120));
        f("86400", Some(600));
        f("99999999999999999999999", Some(600));
        f("Sun, 06 Nov 1994 08:49:37 GMT", Some(0));
        f("Sun, 06 Nov 1994 08:50:37 GMT", Some(60));
        f("Sun, 06 Nov 1994 08:00:00 GMT", Some(0));
        f("Thu, 29 Feb 2024 00:00:00 GMT", Some(600));
        // The two old forms, which a recipient must take.
        f("Sunday, 06-Nov-94 08:50:37 GMT", Some(60));
        f("Sun Nov  6 08:50:37 1994", Some(60));
        f("Sun, 06 Nov 1994 08:50:37 CET", None);
        f("Sun, 06 Nov 1994 24:50:37 GMT", None);
        f("soon", None);
        f("-1", None);
        f("", None);
    }
}
