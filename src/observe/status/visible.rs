//! Until when all records can be seen: the low watermark of what is in ClickHouse, in Kafka's time.

use std::collections::{BTreeMap, BTreeSet};

use super::Partition;
use crate::kafka::Seen;
use crate::queue::Summary;

/// How old what librdkafka tells of a log's end may be when it tells it: its longest wait for records
/// (`fetch.wait.max.ms`, 500), and as much again.
const TOLD_LATE_MS: u64 = 1000;

/// When Kafka got the oldest of the rows that wait, Unix ms, of each partition of which some do; `None` if it is not
/// known of one of them.
pub(super) fn oldest_waiting(queue: &Summary, topic: &str) -> BTreeMap<i32, Option<u64>> {
    let of_topic = queue.lanes.iter().filter(|l| l.topic_name() == topic);
    let partitions: BTreeMap<_, _> = of_topic.map(|l| (l.id, l.partition)).collect();
    let mut oldest = BTreeMap::new();
    for waiting in &queue.waiting {
        if let Some(partition) = partitions.get(&waiting.lane) {
            let of = oldest.entry(*partition).or_insert(waiting.kafka_ms);
            // `None` is the least.
            *of = waiting.kafka_ms.min(*of);
        }
    }
    oldest
}

/// Of one partition, whose [`oldest_waiting`] row is this; `None` if it is not known.
pub(super) fn of_partition(
    oldest: Option<Option<u64>>,
    partition: i32,
    unread: Option<u64>,
    seen: &Seen,
) -> Option<u64> {
    let hears = seen.down.is_none()
        && seen.fault.is_none()
        && seen.outside.is_none()
        && !seen.without_leader.contains(&partition);
    match oldest {
        Some(kafka_ms) => kafka_ms,
        None if unread == Some(0) && hears => {
            seen.told_ms.map(|ms| ms.saturating_sub(TOLD_LATE_MS))
        }
        None => None,
    }
}

/// Of all that are held, and of those that were and have rows here still; `None` if there is none, or it is not
/// known of one.
pub(in crate::observe) fn of_all(
    queue: &Summary,
    topic: &str,
    partitions: &[Partition],
) -> Option<u64> {
    let held: BTreeSet<i32> = partitions.iter().map(|of| of.partition).collect();
    let left = oldest_waiting(queue, topic);
    let left = left.into_iter().filter(|(p, _)| !held.contains(p));
    let all = partitions.iter().map(|p| p.visible_through_ms);
    all.chain(left.map(|(_, ms)| ms)).min().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::PackedBlock;
    use crate::queue::fixture::{Fixture, block};
    use crate::runtime::conditions::Trouble;

    const NOW: u64 = 1_700_000_000_000;

    fn seen() -> Seen {
        Seen {
            told_ms: Some(NOW),
            ..Seen::default()
        }
    }

    fn at(age_ms: u64) -> PackedBlock {
        PackedBlock {
            appended_ms: NOW,
            kafka_ms: (NOW - age_ms) as i64,
            ..block(0, 10)
        }
    }

    fn of_zero(f: &Fixture, unread: Option<u64>, seen: &Seen) -> Option<u64> {
        let oldest = oldest_waiting(&f.q().summary().unwrap(), "t");
        of_partition(oldest.get(&0).copied(), 0, unread, seen)
    }

    #[test]
    fn a_row_that_waits_is_not_visible_and_a_partition_that_is_read_and_stored_is() {
        let f = Fixture::new();
        let lane = f.open(0);
        let of = |unread| of_zero(&f, unread, &seen());
        assert_eq!(of(Some(0)), Some(NOW - 1000));
        assert_eq!(of(Some(3)), None, "not read, and nobody knows how old");
        assert_eq!(of(None), None);
        f.q().append(lane, &at(5500)).unwrap();
        for _ in 0..2 {
            assert_eq!(of(Some(0)), Some(NOW - 6000));
            assert_eq!(
                of(Some(3)),
                Some(NOW - 6000),
                "what is read comes before what is not"
            );
            // Once more in a batch.
            f.q().sync().unwrap();
            f.q().acknowledge(lane, 10).unwrap();
            f.seal_all();
        }
        let batch = f.q().summary().unwrap().batches.remove(0);
        f.q().ack(&batch).unwrap();
        assert_eq!(of(Some(0)), Some(NOW - 1000));
    }

    /// What waits for a person is the tail alone: the rows before it go out as all others.
    #[test]
    fn rows_before_a_held_tail_are_waited_for() {
        let f = Fixture::new();
        let lane = f.open(0);
        f.q().append(lane, &at(5000)).unwrap();
        f.q().sync().unwrap();
        f.q().acknowledge(lane, 10).unwrap();
        let tail = PackedBlock {
            first: 10,
            next: 20,
            ..at(2000)
        };
        f.q().append(lane, &tail).unwrap();
        f.q().hold_lane(lane, "why").unwrap();
        assert_eq!(of_zero(&f, Some(0), &seen()), Some(NOW - 5000));
        let batch = f.seal_all().unwrap();
        assert_eq!(of_zero(&f, Some(0), &seen()), Some(NOW - 5000));
        f.q().ack(&batch).unwrap();
        assert_eq!(of_zero(&f, Some(0), &seen()), Some(NOW - 1000));
    }

    #[test]
    fn what_is_heard_no_more_says_nothing() {
        let f = Fixture::new();
        f.open(0);
        let of = |seen: &Seen| of_zero(&f, Some(0), seen);
        assert!(of(&seen()).is_some());
        let trouble = || Some(Trouble::new("x", ""));
        assert!(
            of(&Seen {
                down: trouble(),
                ..seen()
            })
            .is_none()
        );
        assert!(
            of(&Seen {
                fault: trouble(),
                ..seen()
            })
            .is_none()
        );
        assert!(
            of(&Seen {
                outside: trouble(),
                ..seen()
            })
            .is_none()
        );
        assert!(
            of(&Seen {
                without_leader: [0].into(),
                ..seen()
            })
            .is_none()
        );
        assert!(
            of(&Seen {
                without_leader: [1].into(),
                ..seen()
            })
            .is_some()
        );
    }

    #[test]
    fn of_all_it_is_the_least_also_of_a_partition_that_was_let_go() {
        let f = Fixture::new();
        let lane = f.open(1);
        let held = |visible_through_ms| Partition {
            visible_through_ms,
            ..Partition::default()
        };
        let of = |partitions: &[Partition]| of_all(&f.q().summary().unwrap(), "t", partitions);
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[held(Some(7)), held(Some(5))]), Some(5));
        assert_eq!(of(&[held(Some(7)), held(None)]), None);
        f.q().append(lane, &at(2000)).unwrap();
        assert_eq!(of(&[held(Some(NOW))]), Some(NOW - 2000));
        f.q()
            .append(
                lane,
                &PackedBlock {
                    first: 10,
                    next: 20,
                    ..at(9000)
                },
            )
            .unwrap();
        assert_eq!(of(&[held(Some(NOW))]), Some(NOW - 2000), "the first of it");
    }
}
