//! Spans of time as people write them: `63s`, `1m 30s`, `2y`. None without a bound, or a slip of the finger
//! means the beginning of time.

use std::time::Duration;

/// The longest that a command takes.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 86_400);

/// The span, if it is one from `min` to `max`. A bare number could be anything, so it needs its unit.
pub fn within(text: &str, min: Duration, max: Duration) -> Option<Duration> {
    #[expect(clippy::disallowed_methods, reason = "bounded below")]
    let span = humantime::parse_duration(text.trim()).ok()?;
    (min..=max).contains(&span).then_some(span)
}

/// A span on a command line.
///
/// # Errors
/// What is taken, in words that stand alone.
pub fn parse(text: &str) -> Result<Duration, String> {
    within(text, Duration::ZERO, LONGEST)
        .ok_or_else(|| "a time with its unit, up to 100 years, such as 6h, 30d or 2y".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_a_unit_and_a_bound() {
        let hours = |text| parse(text).map(|d| d.as_secs() / 3600).ok();
        assert_eq!(hours("6h"), Some(6));
        assert_eq!(hours(" 1d 2h "), Some(26));
        assert_eq!(hours("0s"), Some(0));
        assert_eq!(hours("100y"), Some(876_600));
        for wrong in ["", "6", "-1h", "101y", "99999999y", "18446744073709551615y"] {
            let words = parse(wrong).unwrap_err();
            assert!(words.contains("up to 100 years"), "{wrong}");
        }
    }
}
