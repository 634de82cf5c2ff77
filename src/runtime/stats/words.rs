//! Gauges that say what holds now: of some words which, 1 for it and 0 for the others; and of the
//! partitions that are held, a number each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;

/// Which of some words hold.
#[derive(Clone, Debug)]
pub struct Words {
    label: &'static str,
    all: Arc<Mutex<BTreeMap<&'static str, bool>>>,
}

impl Words {
    /// No word yet; `label` is what they are words for.
    pub fn new(label: &'static str) -> Words {
        Words {
            label,
            all: Arc::default(),
        }
    }

    /// Has words there from the start. No others are ever shown.
    pub fn expect(&self, words: &[&'static str]) {
        self.lock().extend(words.iter().map(|word| (*word, false)));
    }

    /// These hold now, and no others. One that was not expected is not shown.
    pub fn set<'a>(&self, now: impl IntoIterator<Item = &'a str>) {
        let now: BTreeSet<&str> = now.into_iter().collect();
        let mut all = self.lock();
        all.iter_mut()
            .for_each(|(word, holds)| *holds = now.contains(word));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, bool>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EncodeMetric for Words {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.lock().iter().try_for_each(|(word, holds)| {
            encoder
                .encode_family(&[(self.label, *word)])?
                .encode_gauge(&i64::from(*holds))
        })
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

/// A number of each partition held.
#[derive(Clone, Debug, Default)]
pub struct ByPartition(Arc<Mutex<BTreeMap<i32, i64>>>);

impl ByPartition {
    /// These partitions are held and have these numbers; what was said of others is over.
    pub fn set(&self, now: impl IntoIterator<Item = (i32, i64)>) {
        *self.lock() = now.into_iter().collect();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<i32, i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EncodeMetric for ByPartition {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.lock().iter().try_for_each(|(partition, number)| {
            encoder
                .encode_family(&[("partition", *partition)])?
                .encode_gauge(number)
        })
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::{Metric, Registry};

    use super::*;

    fn samples(metric: impl Metric) -> Vec<String> {
        let mut registry = Registry::default();
        registry.register("m", "What", metric);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let samples = text.lines().filter(|l| !l.starts_with('#'));
        samples.map(str::to_owned).collect()
    }

    #[test]
    fn words_that_hold_are_1_and_the_others_0() {
        let hold = Words::new("reason");
        hold.expect(&["a", "b"]);
        assert_eq!(
            samples(hold.clone()),
            ["m{reason=\"a\"} 0", "m{reason=\"b\"} 0"]
        );
        hold.set(["a"]);
        assert_eq!(
            samples(hold.clone()),
            ["m{reason=\"a\"} 1", "m{reason=\"b\"} 0"]
        );
        hold.set(["b"]);
        assert_eq!(
            samples(hold.clone()),
            ["m{reason=\"a\"} 0", "m{reason=\"b\"} 1"]
        );
        hold.set([]);
        assert_eq!(
            samples(hold.clone()),
            ["m{reason=\"a\"} 0", "m{reason=\"b\"} 0"]
        );
    }

    #[test]
    fn of_a_partition_that_is_not_held_any_more_nothing_is_said() {
        let lag = ByPartition::default();
        lag.set([(0, 5), (7, 0)]);
        assert_eq!(
            samples(lag.clone()),
            ["m{partition=\"0\"} 5", "m{partition=\"7\"} 0"]
        );
        lag.set([(7, 1)]);
        assert_eq!(samples(lag.clone()), ["m{partition=\"7\"} 1"]);
    }
}
