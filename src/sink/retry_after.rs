//! The header `Retry-After`: seconds or an HTTP date, obeyed up to a bound.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A server may ask for more than this; it does not get it. A wrong clock or a typo there must not
/// silence the forwarder for a day.
const MAX: Duration = Duration::from_secs(600);

/// Returns how long to wait, or `None` if the value is neither seconds nor a date.
pub(crate) fn parse(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // A number that does not fit is a long time.
        return Some(value.parse().map_or(MAX, Duration::from_secs).min(MAX));
    }
    let at = UNIX_EPOCH.checked_add(Duration::from_secs(http_date(value)?))?;
    Some(at.duration_since(now).unwrap_or_default().min(MAX))
}

/// Seconds since 1970 of `Sun, 06 Nov 1994 08:49:37 GMT`, the one form a sender may use today.
fn http_date(value: &str) -> Option<u64> {
    let (_, rest) = value.split_once(", ")?;
    let mut words = rest.split(' ');
    let day: u64 = words.next()?.parse().ok()?;
    let month = words.next()?;
    let month = "JanFebMarAprMayJunJulAugSepOctNovDec"
        .as_bytes()
        .chunks(3)
        .position(|name| name == month.as_bytes())? as u64;
    let year: u64 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.split(':').map(str::parse::<u64>);
    let (hour, minute, second) = (
        clock.next()?.ok()?,
        clock.next()?.ok()?,
        clock.next()?.ok()?,
    );
    let in_range = (1970..=9999).contains(&year) && (1..=31).contains(&day);
    if !in_range || words.next()? != "GMT" || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some(((days_before(year, month) + day - 1) * 24 + hour) * 3600 + minute * 60 + second)
}

/// Days from 1970-01-01 to the first of a month counted from 0.
fn days_before(year: u64, month: u64) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let leaps = |y: u64| y / 4 - y / 100 + y / 400;
    let months = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    (year - 1970) * 365 + leaps(year - 1) - leaps(1969)
        + months[month as usize]
        + u64::from(leap && month > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        f("Sunday, 06-Nov-94 08:49:37 GMT", None);
        f("soon", None);
        f("-1", None);
        f("", None);
    }

    #[test]
    fn leap_days_are_counted() {
        assert_eq!(
            http_date("Fri, 01 Mar 2024 00:00:00 GMT"),
            Some(1_709_251_200)
        );
        assert_eq!(
            http_date("Wed, 01 Jan 2025 00:00:00 GMT"),
            Some(1_735_689_600)
        );
    }
}
