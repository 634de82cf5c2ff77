//! ClickHouse's version, as far as a decision needs it.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

/// The oldest release on which the real engine was seen to store a resend once, raw rows and totals alike
/// (`data/reports/engines.md`). Older ones are held.
pub const OLDEST: Version = Version::new(25, 5);

/// A release: year and number. `26.9.2.1` is a build of 26.9.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The year.
    pub year: u32,
    /// The number within the year.
    pub number: u32,
}

impl Version {
    /// The release `year.number`.
    pub const fn new(year: u32, number: u32) -> Self {
        Self { year, number }
    }
}

impl FromStr for Version {
    type Err = ParseIntError;

    /// From what `version()` answers; what follows the number does not matter.
    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        let mut parts = text.split('.');
        let mut next = || parts.next().unwrap_or_default().parse();
        Ok(Self::new(next()?, next()?))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.year, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_number_not_by_text() {
        let of = |text: &str| text.parse::<Version>();
        assert_eq!(of("26.9.2.1"), Ok(Version::new(26, 9)));
        assert!(of("26.10.1.1").unwrap() > of("26.9.2.1").unwrap());
        assert_eq!(of("25.8").unwrap().to_string(), "25.8");
        for bad in ["", "26", "x.y", "<html>"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
