//! Single schedules by name; `model.rs` has the random ones.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::queue::fixture::{Fixture, block};
use crate::queue::repair::copy_dir;
use crate::queue::{LOST_RANGES, LaneState, LostRange, PackedBlock, Queue};

/// Kafka as far as ownership asks it, with one partition.
struct Kafka {
    committed: RefCell<Option<Committed>>,
    watermarks: (i64, i64),
    topic_id: Option<&'static str>,
    /// Its leader epochs, each with its first offset.
    epochs: &'static [(i32, i64)],
}

/// A record of a log, which differs from those of other epochs.
fn record(epochs: &[(i32, i64)], offset: i64) -> Mark {
    let of = epochs.iter().rev().find(|(_, first)| *first <= offset);
    let epoch = of.map_or(0, |(epoch, _)| *epoch);
    Mark::of(offset, epoch, 0, &epoch.to_le_bytes())
}

impl Group for Kafka {
    fn commit(&self, offsets: &[OffsetCommit]) -> Result<(), CommitError> {
        let o = &offsets[0];
        *self.committed.borrow_mut() = Some(Committed {
            offset: o.offset,
            epoch: o.epoch,
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

    fn first_from(&self, _: i32, offset: i64) -> Result<Option<Mark>, GroupError> {
        let (low, high) = self.watermarks;
        assert!(offset >= low, "a broker answers nothing below its start");
        Ok((offset < high).then(|| record(self.epochs, offset)))
    }
}

fn kafka(topic_id: &'static str, low: i64, high: i64) -> Kafka {
    Kafka {
        committed: RefCell::new(None),
        watermarks: (low, high),
        topic_id: Some(topic_id),
        epochs: &[],
    }
}

fn with_queue(f: impl FnOnce(&Queue)) {
    f(Fixture::new().q());
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
        next,
        last: Some(record(kafka.epochs, next - 1)),
        ..block(first, 1)
    };
    assert!(queue.append(start.lane, &block).unwrap());
    queue.sync().unwrap();
    if commit {
        let outcome = ownership.commit().unwrap();
        assert!(
            matches!(outcome, CommitOutcome::Acknowledged(_)),
            "{outcome:?}"
        );
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
            epoch: None,
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
            epoch: None,
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
            fn first_from(&self, p: i32, offset: i64) -> Result<Option<Mark>, GroupError> {
                self.0.first_from(p, offset)
            }
        }
        let group = Changing(kafka("", 0, 50), &id);
        let mut ownership = Ownership::new(queue, &group, "t", StartAt::Earliest);
        let before = ownership.assign(&[0], 0).unwrap()[0];
        assert!(!ownership.topic_was_recreated().unwrap());
        *id.borrow_mut() = "new";
        assert!(!ownership.topic_was_recreated().unwrap());
        assert!(ownership.is_in_doubt());
        assert!(ownership.topic_was_recreated().unwrap());
        ownership.release(&[0]).unwrap();
        let after = ownership.assign(&[0], 0).unwrap()[0];
        assert_ne!(after.lane, before.lane);
        assert_eq!(after.offset, 0);
        // Found at an assignment, it is told as well: the client has to be made anew, or it waits for
        // leaders of the epochs that it knows.
        assert!(!ownership.topic_was_recreated().unwrap());
        *id.borrow_mut() = "newer";
        ownership.release(&[0]).unwrap();
        ownership.assign(&[0], 0).unwrap();
        assert!(ownership.topic_was_recreated().unwrap());
        assert!(!ownership.topic_was_recreated().unwrap());
    });
}

/// Kafka's topic id and log, each of which may be another one at the next question.
struct Mixed {
    kafka: RefCell<Kafka>,
    /// What brokers tell, each once.
    ids: RefCell<Vec<&'static str>>,
}

impl Group for Mixed {
    fn commit(&self, offsets: &[OffsetCommit]) -> Result<(), CommitError> {
        self.kafka.borrow().commit(offsets)
    }
    fn committed(&self, p: &[i32]) -> Result<BTreeMap<i32, Committed>, GroupError> {
        self.kafka.borrow().committed(p)
    }
    fn topic_id(&self) -> Result<Option<String>, GroupError> {
        match self.ids.borrow_mut().pop() {
            Some(id) => Ok(Some(id.to_owned())),
            None => self.kafka.borrow().topic_id(),
        }
    }
    fn watermarks(&self, p: i32) -> Result<(i64, i64), GroupError> {
        self.kafka.borrow().watermarks(p)
    }
    fn first_from(&self, p: i32, offset: i64) -> Result<Option<Mark>, GroupError> {
        self.kafka.borrow().first_from(p, offset)
    }
}

/// A broker that lags behind tells the id that the topic had once.
#[test]
fn a_former_topic_id_that_one_broker_tells_is_not_believed() {
    with_queue(|queue| {
        let group = Mixed {
            kafka: RefCell::new(kafka("now", 0, 50)),
            ids: RefCell::default(),
        };
        earlier_run(queue, &group.kafka.borrow(), 0, 10, true);
        group.ids.borrow_mut().push("former");
        let mut ownership = Ownership::new(queue, &group, "t", StartAt::Earliest);
        assert_eq!(ownership.assign(&[0], 0).unwrap()[0].offset, 10);
        for _ in 0..3 {
            group.ids.borrow_mut().push("former");
            assert!(!ownership.topic_was_recreated().unwrap());
            assert!(!ownership.topic_was_recreated().unwrap());
        }
        assert!(!ownership.is_in_doubt());
    });
}

/// As when a cluster is put back from a copy: also where epochs repeat and it has grown since.
#[test]
fn a_log_without_what_was_read_is_noticed_at_the_second_look() {
    for put_back in [
        kafka("id", 0, 5),
        Kafka {
            epochs: &[(0, 0), (1, 5)],
            ..kafka("id", 0, 1000)
        },
    ] {
        with_queue(|queue| {
            let group = Mixed {
                kafka: RefCell::new(kafka("id", 0, 50)),
                ids: RefCell::default(),
            };
            earlier_run(queue, &group.kafka.borrow(), 0, 10, true);
            let mut ownership = Ownership::new(queue, &group, "t", StartAt::Earliest);
            ownership.assign(&[0], 0).unwrap();
            let mut look = || {
                let gone = ownership
                    .logs_without_ours(Duration::from_secs(60), 0)
                    .unwrap();
                (gone, ownership.is_in_doubt())
            };
            assert_eq!(look(), (vec![], false));
            let before = group.kafka.replace(put_back);
            assert_eq!(look(), (vec![], true));
            // A broker that lagged behind.
            let put_back = group.kafka.replace(before);
            assert_eq!(look(), (vec![], false));
            group.kafka.replace(put_back);
            assert_eq!(look(), (vec![], true));
            assert_eq!(look(), (vec![0], false));
        });
    }
}

/// Reading went on among the new records, which are there: what was not read below them is named.
#[test]
fn what_is_not_read_of_a_log_that_was_put_back_and_grew_under_the_reader_is_named() {
    with_queue(|queue| {
        let group = Mixed {
            kafka: RefCell::new(kafka("id", 0, 50)),
            ids: RefCell::default(),
        };
        let mut ownership = Ownership::new(queue, &group, "t", StartAt::Earliest);
        let lane = ownership.assign(&[0], 0).unwrap()[0].lane;
        let read = |kafka: &Kafka, first: i64, next: i64| {
            let block = PackedBlock {
                next,
                last: Some(record(kafka.epochs, next - 1)),
                ..block(first, 1)
            };
            assert!(queue.append(lane, &block).unwrap());
        };
        let long = Duration::from_secs(60);
        read(&group.kafka.borrow(), 0, 10);
        assert_eq!(ownership.logs_without_ours(long, 0).unwrap(), [0; 0]);
        let put_back = Kafka {
            epochs: &[(0, 0), (1, 5)],
            ..kafka("id", 0, 1000)
        };
        group.kafka.replace(put_back);
        read(&group.kafka.borrow(), 10, 20);
        assert_eq!(ownership.logs_without_ours(long, 0).unwrap(), [0; 0]);
        assert!(ownership.is_in_doubt() && lost(queue).is_empty());
        for _ in 0..2 {
            assert_eq!(ownership.logs_without_ours(long, 0).unwrap(), [0; 0]);
            let [(from, to)] = lost(queue)[..] else {
                panic!("{:?}", lost(queue))
            };
            assert!(from <= 5 && (10..20).contains(&to), "{from}..{to}");
        }
        assert!(!ownership.is_in_doubt());
    });
}

/// The log was cut to 900 and grew to 1100, in the time between two runs.
fn cut_and_grown(committed: RefCell<Option<Committed>>) -> Kafka {
    Kafka {
        committed,
        epochs: &[(0, 0), (2, 900)],
        ..kafka("t", 0, 1100)
    }
}

#[test]
fn what_was_overwritten_in_a_log_that_was_cut_is_read() {
    with_queue(|queue| {
        let old = kafka("t", 0, 1000);
        earlier_run(queue, &old, 0, 1000, true);
        let new = cut_and_grown(old.committed);
        let start = take(queue, &new);
        assert_eq!(start.offset, 900);
        // It stays so, though nothing was read of it, and for an instance that was never here.
        assert_eq!(take(queue, &new).offset, 900);
        with_queue(|other| assert_eq!(take(other, &new).offset, 900));
        assert_eq!(lost(queue), []);
    });
}

#[test]
fn an_instance_that_never_read_it_finds_the_cut_by_the_epoch_of_the_commit() {
    with_queue(|queue| {
        let old = kafka("t", 0, 1000);
        earlier_run(queue, &old, 0, 1000, true);
        let new = cut_and_grown(old.committed);
        with_queue(|other| assert_eq!(take(other, &new).offset, 900));
        // The one that did goes by what the other one has read since.
        let now = Committed {
            offset: 950,
            epoch: Some(2),
            ..new.committed.take().unwrap()
        };
        *new.committed.borrow_mut() = Some(now);
        assert_eq!(take(queue, &new).offset, 950);
    });
}

#[test]
fn rows_without_a_commit_whose_records_were_overwritten_are_claimed() {
    with_queue(|queue| {
        let old = kafka("t", 0, 1000);
        earlier_run(queue, &old, 0, 1000, false);
        assert!(!queue.has_eligible());
        assert_eq!(take(queue, &cut_and_grown(old.committed)).offset, 900);
        assert!(queue.has_eligible(), "{:?}", queue.tails());
    });
}

#[test]
fn where_a_log_ends_below_ours_reading_goes_on_at_its_end_whatever_it_grows_to() {
    with_queue(|queue| {
        let mut kafka = kafka("t", 0, 1000);
        earlier_run(queue, &kafka, 0, 1000, true);
        kafka.watermarks = (0, 900);
        assert_eq!(take(queue, &kafka).offset, 900);
        kafka.watermarks = (0, 950);
        assert_eq!(take(queue, &kafka).offset, 900);
        assert_eq!(lost(queue), []);
    });
}

#[test]
fn an_offset_set_beyond_the_end_is_lowered_to_it_and_names_what_it_skips_once() {
    with_queue(|queue| {
        let mut kafka = kafka("t", 0, 50);
        earlier_run(queue, &kafka, 0, 10, true);
        *kafka.committed.borrow_mut() = Some(Committed {
            offset: 5000,
            epoch: None,
            note: None,
        });
        assert_eq!(take(queue, &kafka).offset, 50);
        kafka.watermarks = (0, 60);
        assert_eq!(take(queue, &kafka).offset, 50);
        assert_eq!(lost(queue), [(10, 50)]);
    });
}

#[test]
fn what_cannot_be_told_of_a_log_put_back_from_a_copy_is_named_and_not_read() {
    with_queue(|queue| {
        let kafka = kafka("t", 0, 1000);
        earlier_run(queue, &kafka, 0, 1000, true);
        // As from a copy that ended somewhere below, and grew again under a leader of the same epoch.
        struct Copied(Kafka);
        impl Group for Copied {
            fn commit(&self, offsets: &[OffsetCommit]) -> Result<(), CommitError> {
                self.0.commit(offsets)
            }
            fn committed(&self, p: &[i32]) -> Result<BTreeMap<i32, Committed>, GroupError> {
                self.0.committed(p)
            }
            fn topic_id(&self) -> Result<Option<String>, GroupError> {
                self.0.topic_id()
            }
            fn watermarks(&self, p: i32) -> Result<(i64, i64), GroupError> {
                self.0.watermarks(p)
            }
            fn first_from(&self, p: i32, offset: i64) -> Result<Option<Mark>, GroupError> {
                let found = self.0.first_from(p, offset)?;
                Ok(found.map(|m| Mark { hash: 7, ..m }))
            }
        }
        let copied = Copied(kafka);
        for _ in 0..2 {
            let mut ownership = Ownership::new(queue, &copied, "t", StartAt::Earliest);
            assert_eq!(ownership.assign(&[0], 0).unwrap()[0].offset, 999);
            ownership.release(&[0]).unwrap();
        }
        assert_eq!(lost(queue), [(0, 999)]);
    });
}

#[test]
fn a_lane_begun_while_the_topics_id_was_not_known_keeps_its_place() {
    with_queue(|queue| {
        let unknown = || Kafka {
            topic_id: None,
            ..kafka("", 0, 50)
        };
        earlier_run(queue, &unknown(), 0, 10, true);
        // The group's offsets are gone, and the id is known now.
        assert_eq!(take(queue, &kafka("t", 0, 50)).offset, 10);
        with_queue(|queue| {
            earlier_run(queue, &unknown(), 0, 10, true);
            let another = Kafka {
                epochs: &[(5, 0)],
                ..kafka("t", 0, 50)
            };
            assert_eq!(
                take(queue, &another).offset,
                0,
                "it was created again meanwhile"
            );
        });
    });
}

#[test]
fn brokers_that_stop_telling_the_topics_id_change_nothing() {
    with_queue(|queue| {
        let known = kafka("t", 0, 50);
        earlier_run(queue, &known, 0, 10, true);
        let silent = Kafka {
            topic_id: None,
            ..kafka("", 0, 50)
        };
        assert_eq!(take(queue, &silent).offset, 10);
    });
}

#[test]
fn a_topic_created_again_while_its_id_cannot_be_asked_for_is_read_once() {
    with_queue(|queue| {
        let old = kafka("old", 0, 50);
        earlier_run(queue, &old, 0, 10, true);
        let new = Kafka {
            committed: old.committed,
            ..kafka("new", 0, 5)
        };
        /// Does not answer the first time that it is asked for the id.
        struct Busy(Kafka, RefCell<bool>);
        impl Group for Busy {
            fn commit(&self, offsets: &[OffsetCommit]) -> Result<(), CommitError> {
                self.0.commit(offsets)
            }
            fn committed(&self, p: &[i32]) -> Result<BTreeMap<i32, Committed>, GroupError> {
                self.0.committed(p)
            }
            fn topic_id(&self) -> Result<Option<String>, GroupError> {
                match self.1.replace(false) {
                    true => Err(GroupError("no answer in time".into())),
                    false => self.0.topic_id(),
                }
            }
            fn watermarks(&self, p: i32) -> Result<(i64, i64), GroupError> {
                self.0.watermarks(p)
            }
            fn first_from(&self, p: i32, offset: i64) -> Result<Option<Mark>, GroupError> {
                self.0.first_from(p, offset)
            }
        }
        let busy = Busy(new, RefCell::new(true));
        let mut ownership = Ownership::new(queue, &busy, "t", StartAt::Earliest);
        let refused = ownership.assign(&[0], 0);
        assert!(
            matches!(refused, Err(AssignError::Group(_))),
            "{refused:?}: it would be taken for the old topic, whose log was cut"
        );
        let start = ownership.assign(&[0], 0).unwrap()[0];
        assert_eq!(start.offset, 0);
        let lane = queue.lane(start.lane).unwrap();
        assert_eq!(lane.topic, "t@new");
    });
}

#[test]
fn what_retention_took_of_a_topic_created_again_before_it_was_read_is_named() {
    with_queue(|queue| {
        let old = kafka("old", 0, 50);
        earlier_run(queue, &old, 0, 10, true);
        let new = Kafka {
            committed: old.committed,
            ..kafka("new", 7, 20)
        };
        assert_eq!(take(queue, &new).offset, 7);
        assert_eq!(lost(queue), [(0, 7)]);
    });
}

/// A group of two partitions, each with a log of its own from 0 on.
#[derive(Default)]
struct Notes(RefCell<BTreeMap<i32, Committed>>);

impl Group for Notes {
    fn commit(&self, offsets: &[OffsetCommit]) -> Result<(), CommitError> {
        for o in offsets {
            let committed = Committed {
                offset: o.offset,
                epoch: o.epoch,
                note: Note::parse(&o.metadata),
            };
            self.0.borrow_mut().insert(o.partition, committed);
        }
        Ok(())
    }

    fn committed(&self, of: &[i32]) -> Result<BTreeMap<i32, Committed>, GroupError> {
        let all = self.0.borrow();
        let asked = of.iter().filter_map(|p| Some((*p, all.get(p)?.clone())));
        Ok(asked.collect())
    }

    fn notes(&self) -> Result<BTreeMap<i32, Committed>, GroupError> {
        self.committed(&[0, 1])
    }

    fn topic_id(&self) -> Result<Option<String>, GroupError> {
        Ok(Some("id".into()))
    }

    fn watermarks(&self, _: i32) -> Result<(i64, i64), GroupError> {
        Ok((0, 1000))
    }

    fn first_from(&self, _: i32, offset: i64) -> Result<Option<Mark>, GroupError> {
        Ok(Some(record(&[], offset)))
    }
}

type Owner<'a> = Ownership<'a, Queue, Notes>;

fn owner<'a>(f: &'a Fixture, kafka: &'a Notes) -> Owner<'a> {
    Ownership::new(f.q(), kafka, "t", StartAt::Earliest)
}

/// Reads so many records of a partition behind what was read, and commits them.
fn reads(of: &mut Owner<'_>, f: &Fixture, partition: i32, rows: u32) {
    let lane = of.lane_of(partition).unwrap();
    let block = PackedBlock {
        last: Some(record(&[], lane.next + i64::from(rows) - 1)),
        ..block(lane.next, rows)
    };
    assert!(f.q().append(lane.id, &block).unwrap());
    f.q().sync().unwrap();
    assert_eq!(of.commit().unwrap(), CommitOutcome::Acknowledged(1));
}

/// The original, which has read ten records of each partition, and a copy of its data dir.
fn original_and_copy(kafka: &Notes) -> (Fixture, Fixture) {
    let mut original = Fixture::new();
    original.q().begin_run().unwrap();
    let mut of = owner(&original, kafka);
    of.assign(&[0, 1], 0).unwrap();
    reads(&mut of, &original, 0, 10);
    reads(&mut of, &original, 1, 10);
    drop(of);
    let mut copy = Fixture::new();
    drop(copy.close());
    drop(original.close());
    let (from, to) = (original.dir.path(), copy.dir.path());
    std::fs::remove_dir_all(to).unwrap();
    copy_dir(from, to, &|_| ()).unwrap();
    original.reopen();
    copy.reopen();
    (original, copy)
}

fn is_another<T: std::fmt::Debug>(found: Result<T, AssignError>) -> bool {
    let second = |e: &QueueError| matches!(e, QueueError::SecondOwner { .. });
    matches!(&found, Err(AssignError::Queue(e)) if second(e))
}

#[test]
fn a_copy_of_what_its_original_went_on_with_is_found_before_it_joins() {
    for sends in [false, true] {
        let kafka = Notes::default();
        let (original, copy) = original_and_copy(&kafka);
        let mut of = owner(&original, &kafka);
        of.assign(&[0, 1], 0).unwrap();
        if sends {
            original.seal_all().unwrap();
            of.sealed(original.q().next_batch());
            assert_eq!(of.stamp().unwrap(), Stamped::Told);
        } else {
            reads(&mut of, &original, 1, 5);
        }
        copy.q().begin_run().unwrap();
        assert!(
            is_another(owner(&copy, &kafka).look_for_others()),
            "{sends}"
        );
        assert!(copy.q().begin_run().is_err());
        // The original is as it was.
        assert_eq!(of.look_for_others().unwrap(), Looked::Ours);
    }
}

/// Its number is then the original's, of which only that of its own run is its own.
#[test]
fn a_copy_that_sealed_the_same_rows_before_it_looked_finds_its_original() {
    let kafka = Notes::default();
    let (original, copy) = original_and_copy(&kafka);
    let mut of = owner(&original, &kafka);
    of.assign(&[0, 1], 0).unwrap();
    original.seal_all().unwrap();
    of.sealed(original.q().next_batch());
    assert_eq!(of.stamp().unwrap(), Stamped::Told);
    copy.q().begin_run().unwrap();
    let mut other = owner(&copy, &kafka);
    copy.seal_all().unwrap();
    other.sealed(copy.q().next_batch());
    assert!(is_another(other.look_for_others()));
}

#[test]
fn a_copy_of_what_stood_still_goes_on_and_its_original_stops_both() {
    let kafka = Notes::default();
    let (original, copy) = original_and_copy(&kafka);
    let mut of = owner(&original, &kafka);
    of.assign(&[0], 0).unwrap();
    copy.q().begin_run().unwrap();
    let mut other = owner(&copy, &kafka);
    assert_eq!(other.look_for_others().unwrap(), Looked::Ours);
    other.assign(&[1], 0).unwrap();
    assert_eq!(other.stamp().unwrap(), Stamped::Told);
    assert!(is_another(of.look_for_others()));
    assert!(is_another(other.look_for_others()), "the original objects");
}

#[test]
fn an_original_that_starts_behind_its_copy_is_found_at_the_assignment() {
    let kafka = Notes::default();
    let (original, copy) = original_and_copy(&kafka);
    copy.q().begin_run().unwrap();
    let mut other = owner(&copy, &kafka);
    other.assign(&[0, 1], 0).unwrap();
    reads(&mut other, &copy, 0, 5);
    original.q().begin_run().unwrap();
    let mut of = owner(&original, &kafka);
    assert!(is_another(of.assign(&[0], 0)));
    assert_eq!(other.look_for_others().unwrap(), Looked::Ours);
}

#[test]
fn a_crash_at_any_point_of_a_start_keeps_nobody_out() {
    let kafka = Notes::default();
    let (mut original, _) = original_and_copy(&kafka);
    for rows in [0, 5, 0] {
        original.q().begin_run().unwrap();
        let mut of = owner(&original, &kafka);
        assert_eq!(of.look_for_others().unwrap(), Looked::Ours);
        // Partitions with notes of different runs.
        of.assign(&[0, 1], 0).unwrap();
        if rows > 0 {
            reads(&mut of, &original, 0, rows);
        }
        drop(of);
        original.reopen();
    }
}

#[test]
fn a_person_declares_which_one_goes_on() {
    let kafka = Notes::default();
    let (original, mut copy) = original_and_copy(&kafka);
    original.q().begin_run().unwrap();
    let mut of = owner(&original, &kafka);
    of.assign(&[0, 1], 0).unwrap();
    reads(&mut of, &original, 1, 5);
    copy.q().begin_run().unwrap();
    assert!(is_another(owner(&copy, &kafka).look_for_others()));
    copy.q().declare_the_one(true).unwrap();
    copy.reopen();
    copy.q().begin_run().unwrap();
    let mut other = owner(&copy, &kafka);
    assert_eq!(other.look_for_others().unwrap(), Looked::Ours);
    let starts = other.assign(&[0, 1], 0).unwrap();
    assert_eq!([starts[0].offset, starts[1].offset], [10, 15]);
    reads(&mut other, &copy, 0, 1);
    assert!(is_another(of.look_for_others()));
}
