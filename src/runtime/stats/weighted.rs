//! A histogram in which one observation may stand for many rows.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// See the module. The library's own counts each observation once.
#[derive(Clone, Debug)]
pub struct Weighted(Arc<Mutex<Sums>>);

#[derive(Debug)]
struct Sums {
    sum: f64,
    count: u64,
    /// Upper bounds, and what is at most that but above the one before.
    buckets: Vec<(f64, u64)>,
}

impl Weighted {
    /// With these upper bounds, which rise, and one more for all above.
    pub fn new(bounds: &[f64]) -> Weighted {
        let all = bounds.iter().copied().chain([f64::INFINITY]);
        Weighted(Arc::new(Mutex::new(Sums {
            sum: 0.0,
            count: 0,
            buckets: all.map(|bound| (bound, 0)).collect(),
        })))
    }

    /// Counts `value` once.
    pub fn observe(&self, value: f64) {
        self.observe_many(value, 1);
    }

    /// Counts `value` as often as there are `rows`.
    pub fn observe_many(&self, value: f64, rows: u64) {
        let mut sums = self.sums();
        sums.sum += value * rows as f64;
        sums.count += rows;
        if let Some((_, n)) = sums.buckets.iter_mut().find(|(bound, _)| value <= *bound) {
            *n += rows;
        }
    }

    /// Counts the time from `at` to `now`, both Unix ms, in seconds; none if `at` is yet to come.
    pub fn observe_since(&self, at: u64, rows: u64, now: u64) {
        self.observe_many(now.saturating_sub(at) as f64 / 1000.0, rows);
    }

    fn sums(&self) -> MutexGuard<'_, Sums> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EncodeMetric for Weighted {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let sums = self.sums();
        encoder.encode_histogram::<NoLabelSet>(sums.sum, sums.count, &sums.buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn an_observation_counts_as_many_times_as_it_has_rows() {
        let all = Weighted::new(&[1.0, 10.0]);
        all.observe_many(1.0, 1000);
        all.observe_many(30.0, 2);
        all.observe(2.0);
        let mut registry = Registry::default();
        registry.register("age_seconds", "Age", all);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "age_seconds_sum 1062.0",
            "age_seconds_count 1003",
            "age_seconds_bucket{le=\"1.0\"} 1000",
            "age_seconds_bucket{le=\"10.0\"} 1001",
            "age_seconds_bucket{le=\"+Inf\"} 1003",
        ] {
            assert!(text.lines().any(|l| l == line), "no {line} in {text}");
        }
    }
}
