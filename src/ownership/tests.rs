//! Single schedules by name; `model.rs` has the random ones.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::*;
use crate::queue::{DataDir, LaneState, PackedBlock, Queue};

/// Kafka as far as ownership asks it, with one partition.
struct Kafka {
    committed: RefCell<Option<Committed>>,
    watermarks: (i64, i64),
    topic_id: Option<&'static str>,
}

impl Group for Kafka {
    fn commit(&self, offsets: &[OffsetCommit]) -> Result<(), CommitError> {
        let o = &offsets[0];
        *self.committed.borrow_mut() = Some(Committed {
            offset: o.offset,
            note: Note::parse(&o.metadata),
        });
        Ok(())
    }

    fn committed(&self, _: &[i32]) -> Result<BTreeMap<i32, Committed>, GroupError> {
        Ok(self
            .committed
            .borrow()
            .iter()
            .map(|c| (0, c.clone()))
            .collect())
    }

    fn topic_id(&self) -> Result<Option<String>, GroupError> {
        Ok(self.topic_id.map(str::to_owned))
    }

    fn watermarks(&self, _: i32) -> Result<(i64, i64), GroupError> {
        Ok(self.watermarks)
    }
}

fn kafka(topic_id: &'static str, low: i64, high: i64) -> Kafka {
    Kafka {
        committed: RefCell::new(None),
        watermarks: (low, high),
        topic_id: Some(topic_id),
    }
}

fn with_queue(f: impl FnOnce(&Queue)) {
    let dir = tempfile::tempdir().unwrap();
    f(&Queue::open(DataDir::lock(dir.path()).unwrap()).unwrap());
}

fn take(queue: &Queue, kafka: &Kafka) -> Start {
    let mut ownership = Ownership::new(queue, kafka, "t", StartAt::Earliest);
    ownership.assign(&[0], 0).unwrap()[0]
}

/// Reads `first..next` in a first run, which commits it or not, and ends.
fn earlier_run(queue: &Queue, kafka: &Kafka, first: i64, next: i64, commit: bool) {
    let mut ownership = Ownership::new(queue, kafka, "t", StartAt::Earliest);
    let start = ownership.assign(&[0], 0).unwrap()[0];
    let block = PackedBlock {
        first,
        next,
        rows: 1,
        raw_len: 1,
        frame: vec![1],
        minutes: [0].into_iter().collect(),
        appended_ms: 1,
        quarantined: Vec::new(),
    };
    assert!(queue.append(start.lane, &block).unwrap());
    queue.sync().unwrap();
    if commit {
        ownership.commit().unwrap().unwrap();
    }
    ownership.release(&[0]).unwrap();
}

fn lost(queue: &Queue) -> Vec<(i64, i64)> {
    let all: Vec<LostRange> = queue.load(LOST_RANGES).unwrap().unwrap_or_default();
    all.iter().map(|l| (l.from, l.to)).collect()
}

#[test]
fn a_topic_created_again_is_read_from_its_start_even_if_it_is_longer() {
    with_queue(|queue| {
        let old = kafka("old", 0, 50);
        earlier_run(queue, &old, 0, 10, true);
        let new = Kafka {
            committed: old.committed,
            ..kafka("new", 0, 1000)
        };
        assert_eq!(take(queue, &new).offset, 0);
    });
}

#[test]
fn the_same_topic_goes_on_where_it_was() {
    with_queue(|queue| {
        let old = kafka("old", 0, 50);
        earlier_run(queue, &old, 0, 10, true);
        assert_eq!(take(queue, &old).offset, 10);
    });
}

#[test]
fn uncommitted_rows_of_a_topic_that_is_gone_are_held() {
    with_queue(|queue| {
        earlier_run(queue, &kafka("old", 0, 50), 0, 10, false);
        take(queue, &kafka("new", 0, 50));
        let tails = queue.tails();
        assert!(matches!(tails[0].state, LaneState::Held(_)), "{tails:?}");
        assert_eq!((tails[0].eligible, tails[0].next), (0, 10));
    });
}

#[test]
fn what_retention_took_is_recorded_and_reading_goes_on() {
    with_queue(|queue| {
        let mut kafka = kafka("t", 0, 50);
        earlier_run(queue, &kafka, 0, 10, true);
        kafka.watermarks = (30, 50);
        assert_eq!(take(queue, &kafka).offset, 30);
        assert_eq!(lost(queue), [(10, 30)]);
    });
}

#[test]
fn an_offset_set_back_by_an_operator_doubles_nothing() {
    with_queue(|queue| {
        let kafka = kafka("t", 0, 50);
        earlier_run(queue, &kafka, 0, 10, true);
        let reset = Committed {
            offset: 3,
            note: None,
        };
        *kafka.committed.borrow_mut() = Some(reset);
        assert_eq!(take(queue, &kafka).offset, 10);
    });
}

#[test]
fn an_offset_set_forward_by_an_operator_is_obeyed_and_what_it_skips_is_recorded() {
    with_queue(|queue| {
        let kafka = kafka("t", 0, 50);
        earlier_run(queue, &kafka, 0, 10, true);
        let reset = Committed {
            offset: 20,
            note: None,
        };
        *kafka.committed.borrow_mut() = Some(reset);
        assert_eq!(take(queue, &kafka).offset, 20);
        assert_eq!(lost(queue), [(10, 20)]);
    });
}

#[test]
fn a_topic_recreated_while_it_is_read_is_noticed() {
    with_queue(|queue| {
        let id = RefCell::new("old");
        struct Changing<'a>(Kafka, &'a RefCell<&'static str>);
        impl Group for Changing<'_> {
            fn commit(&self, offsets: &[OffsetCommit]) -> Result<(), CommitError> {
                self.0.commit(offsets)
            }
            fn committed(&self, p: &[i32]) -> Result<BTreeMap<i32, Committed>, GroupError> {
                self.0.committed(p)
            }
            fn topic_id(&self) -> Result<Option<String>, GroupError> {
                Ok(Some((*self.1.borrow()).to_owned()))
            }
            fn watermarks(&self, p: i32) -> Result<(i64, i64), GroupError> {
                self.0.watermarks(p)
            }
        }
        let group = Changing(kafka("", 0, 50), &id);
        let mut ownership = Ownership::new(queue, &group, "t", StartAt::Earliest);
        let before = ownership.assign(&[0], 0).unwrap()[0];
        assert!(!ownership.topic_was_recreated().unwrap());
        *id.borrow_mut() = "new";
        assert!(ownership.topic_was_recreated().unwrap());
        let after = ownership.reposition(0).unwrap()[0];
        assert_ne!(after.lane, before.lane);
        assert_eq!(after.offset, 0);
    });
}
