//! How long a body the proxy takes, learned from what it takes and refuses.
//!
//! A 413 before the body costs nothing, so the limit is searched for: half, half again, until it is
//! known to 1 %. From time to time a longer body is tried, since a limit can be raised.

use serde::{Deserialize, Serialize};

/// A limit known to one part in this many is known well enough: about as much of a request is lost on
/// blocks that do not fit anyway.
const PRECISION: u64 = 100;

/// A limit known to one part in this many is worth filling to the last byte.
const SETTLED: u64 = 4;

/// So many full requests pass before a longer body is tried again: about half an hour.
const PROBE_AFTER: u32 = 32;

/// What is known of the proxy's `client_max_body_size`. Kept in the data dir between runs.
///
/// ```
/// # use anonymizer::clickhouse::BodyLimit;
/// let mut limit = BodyLimit::new("http://proxy", 64 << 20);
/// assert_eq!(limit.limit(), 64 << 20);
/// limit.refused(64 << 20, 32 << 10);
/// assert_eq!(limit.limit(), 32 << 20);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyLimit {
    /// The longest body that was taken since the last surprise.
    good: u64,
    /// The shortest body that was refused, longer than `good`.
    bad: Option<u64>,
    /// The configured bound: no body is longer.
    max: u64,
    /// What was learned holds for this proxy.
    url: String,
    /// A single block may be this long; the bound never sinks below it.
    floor: u64,
    /// Whether anything was ever refused: then probing goes up step by step, not to `max` at once.
    refused: bool,
    /// Bodies taken that were as long as allowed, since the last probe.
    full: u32,
}

impl BodyLimit {
    /// Knows nothing: the first body may be `max` long.
    pub fn new(url: &str, max: u64) -> Self {
        Self {
            good: 0,
            bad: None,
            max: max.max(1),
            url: url.to_string(),
            floor: 1,
            refused: false,
            full: 0,
        }
    }

    /// Forgets everything if the URL or the configured bound is not the one it was learned with.
    /// To be called with the settings after loading.
    pub fn adopt(&mut self, url: &str, max: u64) {
        if self.url != url || self.max != max.max(1) {
            *self = Self::new(url, max);
        }
    }

    /// How long the next body may be, in bytes.
    pub fn limit(&self) -> u64 {
        let next = match self.bad {
            Some(bad) if self.known() => self.good.min(bad - 1),
            Some(bad) => self.good + (bad - self.good) / 2,
            None if self.refused && self.good > 0 => self.good.saturating_mul(2),
            None => self.max,
        };
        next.max(self.floor).min(self.max).max(1)
    }

    /// Whether the limit is known to 1 %, so that a full request is as full as it can be.
    pub fn known(&self) -> bool {
        self.bad
            .is_some_and(|bad| self.good > 0 && bad - self.good <= self.good / PRECISION + 1)
    }

    /// Whether the next body has a good chance to be taken: no search is under way, or it is nearly
    /// done.
    pub fn is_settled(&self) -> bool {
        match self.bad {
            Some(bad) => bad - self.good.min(bad) <= self.good / SETTLED,
            None => !self.refused,
        }
    }

    /// A body of `size` bytes was taken. `full` says that more rows waited, so that the bound and not
    /// the queue made it end.
    pub fn taken(&mut self, size: u64, full: bool) {
        self.good = self.good.max(size);
        if self.bad.is_some_and(|bad| bad <= self.good) {
            // The limit was raised. Go on from here.
            self.bad = None;
            self.full = 0;
        }
        if full && self.known() {
            self.full += 1;
            if self.full >= PROBE_AFTER {
                self.bad = None;
                self.full = 0;
            }
        }
    }

    /// A body of `size` bytes was refused as too long.
    ///
    /// `floor` is the length of the longest single block. A body no longer than that teaches nothing:
    /// one block that does not fit alone must not make every later request small. Returns whether
    /// something was learned; if not, the block has to be set aside.
    pub fn refused(&mut self, size: u64, floor: u64) -> bool {
        self.floor = floor.max(1);
        if size <= self.floor {
            return false;
        }
        if size <= self.good {
            // The limit was lowered: what fitted once says nothing any more.
            self.good = 0;
            self.bad = None;
        }
        self.bad = Some(self.bad.map_or(size, |bad| bad.min(size)));
        self.refused = true;
        self.full = 0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const FLOOR: u64 = 32 << 10;

    /// Sends full bodies until `stop`, returns how many were refused and how many taken.
    fn send(
        limit: &mut BodyLimit,
        proxy: u64,
        packing: u64,
        stop: impl Fn(&BodyLimit) -> bool,
    ) -> (u32, u32) {
        let (mut refused, mut taken) = (0, 0);
        while !stop(limit) {
            assert!(refused + taken < 1000, "does not converge: {limit:?}");
            // A body is made of blocks, so it ends a little below the bound.
            let size = limit.limit() - limit.limit() % packing;
            if size > proxy {
                assert!(limit.refused(size, FLOOR));
                refused += 1;
            } else {
                limit.taken(size, true);
                taken += 1;
            }
        }
        (refused, taken)
    }

    #[test]
    fn finds_a_limit_in_a_few_free_tries() {
        let f = |max: u64, proxy: u64, at_most: u32| {
            let mut limit = BodyLimit::new("u", max);
            let (refused, taken) = send(&mut limit, proxy, 1, BodyLimit::known);
            assert!(
                limit.limit() <= proxy && limit.limit() >= proxy - proxy / 40,
                "{limit:?}"
            );
            assert!(
                refused + taken <= at_most,
                "{max} {proxy}: {refused} refused, {taken} taken"
            );
        };
        f(64 * MIB, MIB, 14);
        f(16 * MIB, MIB, 12);
        f(512 * MIB, 64 * MIB, 11);
        f(64 * MIB, 10_000_000, 11);
        f(MIB + 1, MIB, 9);
    }

    #[test]
    fn stays_at_the_maximum_while_nothing_is_refused() {
        let mut limit = BodyLimit::new("u", 64 * MIB);
        for _ in 0..100 {
            limit.taken(limit.limit(), true);
            assert_eq!(limit.limit(), 64 * MIB);
        }
        limit.taken(5, false);
        assert_eq!(limit.limit(), 64 * MIB);
    }

    #[test]
    fn follows_a_limit_that_rises() {
        let mut limit = BodyLimit::new("u", 512 * MIB);
        send(&mut limit, MIB, 1, BodyLimit::known);
        let (_, taken) = send(&mut limit, 64 * MIB, 1, |l| l.good > 60 * MIB);
        assert!(taken <= PROBE_AFTER + 12, "{taken}");
        send(&mut limit, 64 * MIB, 1, BodyLimit::known);
        assert!(limit.limit() > 62 * MIB);
    }

    #[test]
    fn probing_a_limit_that_stays_costs_few_free_tries() {
        let mut limit = BodyLimit::new("u", 512 * MIB);
        send(&mut limit, MIB, 1, BodyLimit::known);
        for _ in 0..PROBE_AFTER {
            assert!(limit.known());
            limit.taken(limit.limit(), true);
        }
        assert_eq!(limit.limit(), 2 * limit.good);
        let (refused, taken) = send(&mut limit, MIB, 1, BodyLimit::known);
        assert!(refused + taken <= 9, "{refused} {taken}");
    }

    #[test]
    fn follows_a_limit_that_falls() {
        let mut limit = BodyLimit::new("u", 64 * MIB);
        limit.taken(64 * MIB, true);
        let (refused, taken) = send(&mut limit, MIB, 1, BodyLimit::known);
        assert!(refused + taken <= 14, "{refused} {taken}");
        assert!(limit.limit() <= MIB && limit.limit() > MIB - MIB / 40);
    }

    #[test]
    fn coarse_packing_never_stops_the_flow() {
        let mut limit = BodyLimit::new("u", 64 * MIB);
        let enough = |l: &BodyLimit| l.good >= MIB - 2 * FLOOR;
        let (refused, taken) = send(&mut limit, MIB, FLOOR, enough);
        assert!(refused + taken <= 14, "{refused} {taken}");
        // Whatever the state, a body near the limit goes through within a few tries.
        let mut in_a_row = 0;
        for _ in 0..500 {
            let size = limit.limit() - limit.limit() % FLOOR;
            if size > MIB {
                limit.refused(size, FLOOR);
                in_a_row += 1;
            } else {
                limit.taken(size, true);
                in_a_row = 0;
            }
            assert!(in_a_row <= 8, "{limit:?}");
        }
    }

    #[test]
    fn a_single_block_that_does_not_fit_lowers_nothing() {
        let mut limit = BodyLimit::new("u", 64 * MIB);
        assert!(!limit.refused(FLOOR, FLOOR));
        assert_eq!(limit.limit(), 64 * MIB);
        while limit.refused(limit.limit(), FLOOR) {}
        assert_eq!(limit.limit(), FLOOR, "never below one block");
    }

    #[test]
    fn is_forgotten_with_another_proxy_or_bound() {
        let mut limit = BodyLimit::new("u", 64 * MIB);
        limit.refused(64 * MIB, FLOOR);
        limit.adopt("u", 64 * MIB);
        assert_eq!(limit.limit(), 32 * MIB);
        let kept = serde_json::to_string(&limit).unwrap();
        assert_eq!(serde_json::from_str::<BodyLimit>(&kept).unwrap(), limit);
        limit.adopt("v", 64 * MIB);
        assert_eq!(limit.limit(), 64 * MIB);
        limit.refused(64 * MIB, FLOOR);
        limit.adopt("v", 8 * MIB);
        assert_eq!(limit.limit(), 8 * MIB);
    }
}
