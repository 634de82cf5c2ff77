//! Room on a disk.

use std::fmt;
use std::path::Path;

use bytesize::ByteSize;

/// Bytes that are free to us on the disk of `path`.
///
/// # Errors
/// `statvfs` failed: there is no such path, say.
pub fn free_bytes(path: &Path) -> std::io::Result<u64> {
    let fs = rustix::fs::statvfs(path)?;
    Ok(fs.f_bavail * fs.f_frsize)
}

/// Bytes of the whole file system of `path`, used or not. It may grow while we look.
///
/// # Errors
/// As [`free_bytes`].
pub fn total_bytes(path: &Path) -> std::io::Result<u64> {
    let fs = rustix::fs::statvfs(path)?;
    Ok(fs.f_blocks * fs.f_frsize)
}

/// Parts of a hundredth of a percent in a whole.
const WHOLE: u64 = 10_000;

/// An amount of a disk: bytes, a share of the disk, or the smaller of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount {
    /// In hundredths of a percent.
    share: Option<u64>,
    bytes: Option<u64>,
}

impl Amount {
    /// This many bytes, whatever the disk.
    pub const fn bytes(bytes: u64) -> Amount {
        Amount {
            share: None,
            bytes: Some(bytes),
        }
    }

    /// Percent of the disk, at most `most` bytes. `None` unless it is above 0 and at most 100.
    pub fn percent(percent: f64, most: Option<u64>) -> Option<Amount> {
        let parts = (percent * WHOLE as f64 / 100.0).round();
        (parts >= 1.0 && parts <= WHOLE as f64).then_some(Amount {
            share: Some(parts as u64),
            bytes: most,
        })
    }

    /// What it comes to on a disk of `total` bytes; a share of a small disk is not below `least`.
    pub fn of(self, total: u64, least: u64) -> u64 {
        let share = |parts| u128::from(total) * u128::from(parts) / u128::from(WHOLE);
        let share = self.share.map(|parts| (share(parts) as u64).max(least));
        let bytes = self.bytes.unwrap_or(u64::MAX);
        share.map_or(bytes, |share| share.min(bytes))
    }

    /// The bytes that it has without a look at a disk, if it does.
    pub fn fixed(self) -> Option<u64> {
        self.bytes.filter(|_| self.share.is_none())
    }
}

/// As it is typed: `10%`, `2.0 GiB` or both.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parts) = self.share {
            write!(f, "{}%", parts as f64 * 100.0 / WHOLE as f64)?;
        }
        match (self.share, self.bytes) {
            (Some(_), Some(bytes)) => write!(f, " of the disk, at most {}", ByteSize(bytes)),
            (Some(_), None) => f.write_str(" of the disk"),
            (None, bytes) => write!(f, "{}", bytes.unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn the_smaller_of_share_and_bytes_holds_and_a_share_has_a_floor() {
        let both = Amount::percent(10.0, Some(2 * GIB)).unwrap();
        assert_eq!(both.of(10 * GIB, 0), GIB);
        assert_eq!(both.of(1000 * GIB, 0), 2 * GIB);
        assert_eq!(both.of(1000, 64), 100);
        assert_eq!(both.of(1000, 200), 200);
        assert_eq!(Amount::bytes(5).of(1000, 200), 5, "what was typed holds");
        let share = Amount::percent(0.01, None).unwrap();
        assert_eq!(share.of(u64::MAX, 0), u64::MAX / 10_000);
        assert_eq!(Amount::percent(100.0, None).unwrap().of(7, 0), 7);
        for bad in [0.0, 0.001, 100.01, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Amount::percent(bad, None), None, "{bad}");
        }
    }

    #[test]
    fn a_disk_has_more_than_is_free() {
        let here = Path::new(".");
        assert!(total_bytes(here).unwrap() >= free_bytes(here).unwrap());
    }
}
