//! A clock that all instances behind one proxy have: the proxy's own, as its answers tell it.
//!
//! `Date` is in whole seconds, so one answer says where the proxy's clock is within a second and the time
//! that the answer took; several narrow it down. A local clock that agrees with all of them is kept as it
//! is: two that are set by NTP agree better than any number of answers could make them.

/// How far the proxy's clock is ahead of the local one: the bounds, ms.
#[derive(Clone, Copy, Debug, Default)]
pub struct Common {
    bounds: Option<(i64, i64)>,
}

impl Common {
    /// An answer to a request sent at `sent` and read at `heard`, by the local clock, says `date`. All ms of
    /// Unix time.
    pub fn heard(&mut self, sent: i64, heard: i64, date: i64) {
        let (low, high) = (date - heard, date + 1000 - sent);
        let narrowed = self.bounds.map(|(l, h)| (l.max(low), h.min(high)));
        // One of the clocks was set, or another proxy answers: what was heard before says nothing.
        self.bounds = Some(narrowed.filter(|(l, h)| l <= h).unwrap_or((low, high)));
    }

    /// What to add to the local clock, ms.
    pub fn offset(&self) -> i64 {
        match self.bounds {
            Some((low, high)) if low > 0 || high < 0 => low.midpoint(high),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_agrees_is_kept_and_another_one_is_put_right() {
        let mut common = Common::default();
        assert_eq!(common.offset(), 0, "nothing was heard");
        common.heard(10_300, 10_340, 10_000);
        assert_eq!(common.offset(), 0);
        // The proxy is 30.4 s ahead.
        let mut common = Common::default();
        for local in [10_300_i64, 74_150, 137_780, 201_950] {
            let date = (local + 20 + 30_400) / 1000 * 1000;
            common.heard(local, local + 40, date);
        }
        let off = common.offset() - 30_400;
        assert!(off.abs() < 250, "{off} ms");
    }

    #[test]
    fn a_clock_that_was_set_is_noticed() {
        let mut common = Common::default();
        common.heard(10_300, 10_340, 70_000);
        assert!(common.offset() > 59_000);
        common.heard(80_300, 80_340, 80_000);
        assert_eq!(common.offset(), 0);
    }
}
