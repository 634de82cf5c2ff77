use std::cell::RefCell;
use std::collections::BTreeMap;

use super::*;
use crate::ownership::{Committed, GroupError, OffsetCommit, StartAt};
use crate::privacy::Policy;
use crate::queue::fixture::Fixture;
use crate::queue::{Runs, Which};
use crate::record::Mark;
use crate::runtime::room::Amount;
use crate::store::QuarantineFull;
use crate::store::bounds::Bounds;
use crossbeam_channel::bounded;

/// A coordinator that notes for each commit whether all appends were synced by then, and whether
/// it came when a revocation was answered.
struct Watcher<'a> {
    queue: &'a Queue,
    commits: RefCell<Vec<(i64, bool)>>,
    refuse: RefCell<bool>,
    let_go: RefCell<Option<Receiver<()>>>,
    late: RefCell<Vec<i64>>,
    /// The group does not answer, and a stop is asked for meanwhile.
    unanswered: RefCell<Option<&'a Shutdown>>,
}

impl Group for Watcher<'_> {
    fn commit(&self, offsets: &[OffsetCommit]) -> Result<(), CommitError> {
        if *self.refuse.borrow() {
            return Err(CommitError::Unanswered("refused".into()));
        }
        let answered = self.let_go.borrow().as_ref().is_some_and(|a| !a.is_empty());
        if answered {
            self.late
                .borrow_mut()
                .extend(offsets.iter().map(|o| o.offset));
        }
        let mut commits = self.commits.borrow_mut();
        commits.extend(offsets.iter().map(|o| (o.offset, self.queue.is_synced())));
        Ok(())
    }

    fn committed(&self, _: &[i32]) -> Result<BTreeMap<i32, Committed>, GroupError> {
        if let Some(shutdown) = *self.unanswered.borrow() {
            shutdown.request();
            return Err(GroupError("no answer".into()));
        }
        Ok(BTreeMap::new())
    }

    fn topic_id(&self) -> Result<Option<String>, GroupError> {
        Ok(None)
    }

    fn watermarks(&self, _: i32) -> Result<(i64, i64), GroupError> {
        Ok((0, 1000))
    }

    fn first_from(&self, _: i32, _: i64) -> Result<Option<Mark>, GroupError> {
        Ok(None)
    }
}

fn with_store(f: impl for<'a> FnOnce(&mut Store<'a, Watcher<'a>>, &'a Watcher<'a>, &'a Queue)) {
    let fixture = Fixture::new();
    let queue = fixture.q();
    let shutdown = Shutdown::default();
    let group = Watcher {
        queue,
        commits: RefCell::default(),
        refuse: RefCell::default(),
        let_go: RefCell::default(),
        late: RefCell::default(),
        unanswered: RefCell::default(),
    };
    let (feedback, stats, taps) = Default::default();
    let ownership = Ownership::new(queue, &group, "t", StartAt::Earliest);
    let disk = DiskBound::new(
        fixture.dir.path().to_owned(),
        bounds(u64::MAX, QuarantineFull::Pause),
    );
    let mut store =
        Store::new(queue, ownership, disk, &feedback, &shutdown, &stats, &taps).unwrap();
    f(&mut store, &group, queue);
}

fn assign(store: &mut Store<'_, Watcher<'_>>) -> Start {
    let (reply, answer) = bounded(1);
    store
        .handle(ToStore::Assign {
            partitions: vec![0],
            reply,
        })
        .unwrap();
    answer.recv().unwrap()[0]
}

fn block(first: i64, rows: u32) -> RowBlock {
    RowBlock {
        first,
        next: first + i64::from(rows),
        rows,
        bytes: vec![7; 10 * rows as usize],
        minutes: (0..rows).collect(),
        ..RowBlock::default()
    }
}

fn bad_block(first: i64, messages: i64) -> RowBlock {
    // A frame and zeros, of which all bytes are kept.
    let mut message = vec![0; 1000];
    message[4] = 124;
    let bad = |offset| Quarantined::of(offset, "no".into(), &message, &Policy::default());
    RowBlock {
        first,
        next: first + messages,
        quarantined: (first..first + messages).map(bad).collect(),
        ..RowBlock::default()
    }
}

fn bound_quarantine(store: &mut Store<'_, Watcher<'_>>, max: u64, full: QuarantineFull) {
    let dir = store.queue.dir().path().to_owned();
    store.disk = DiskBound::new(dir, bounds(max, full));
}

fn bounds(max_quarantine_bytes: u64, quarantine_full: QuarantineFull) -> Bounds {
    Bounds {
        max_queue_bytes: Amount::bytes(u64::MAX),
        min_free_disk: Amount::bytes(0),
        max_quarantine_bytes: Amount::bytes(max_quarantine_bytes),
        quarantine_full,
    }
}

#[test]
fn a_full_quarantine_pauses_reading_until_there_is_room() {
    with_store(|store, _, queue| {
        bound_quarantine(store, 5000, QuarantineFull::Pause);
        let start = assign(store);
        store
            .handle(ToStore::Block(start.lane, bad_block(0, 8)))
            .unwrap();
        store.bound();
        assert!(store.feedback.pause.load(Ordering::Relaxed));
        assert_eq!(queue.quarantine_totals().entries, 8, "nothing is dropped");
        queue.drop_quarantined(Which::default()).unwrap();
        store.bound();
        assert!(!store.feedback.pause.load(Ordering::Relaxed));
    });
}

#[test]
fn a_full_quarantine_drops_its_oldest_if_it_is_told_to() {
    with_store(|store, _, queue| {
        bound_quarantine(store, 10_000, QuarantineFull::DropOldest);
        let start = assign(store);
        for i in 0..4 {
            store
                .handle(ToStore::Block(start.lane, bad_block(3 * i, 3)))
                .unwrap();
        }
        store.bound();
        assert!(!store.feedback.pause.load(Ordering::Relaxed));
        let totals = queue.quarantine_totals();
        assert_eq!(totals.entries + totals.dropped, 12);
        assert!(totals.dropped > 0 && totals.bytes <= 10_000, "{totals:?}");
        let left: Vec<i64> = queue
            .quarantined()
            .map(|e| e.unwrap().message.offset)
            .collect();
        assert_eq!(left.last(), Some(&11), "the oldest went: {left:?}");
    });
}

#[test]
fn a_stop_while_the_group_is_asked_is_no_failure() {
    with_store(|store, group, _| {
        *group.unanswered.borrow_mut() = Some(store.shutdown);
        let (reply, answer) = bounded(1);
        let partitions = vec![0];
        store.handle(ToStore::Assign { partitions, reply }).unwrap();
        assert_eq!(answer.recv().unwrap(), []);
    });
}

#[test]
fn a_commit_never_precedes_its_sync() {
    with_store(|store, group, queue| {
        let start = assign(store);
        store
            .handle(ToStore::Block(start.lane, block(0, 5)))
            .unwrap();
        store.append().unwrap();
        assert!(!queue.is_synced());
        store.sync_and_commit().unwrap();
        assert_eq!(*group.commits.borrow(), [(5, true)]);
    });
}

#[test]
fn rows_are_eligible_only_once_their_commit_is_acknowledged() {
    with_store(|store, group, queue| {
        let start = assign(store);
        *group.refuse.borrow_mut() = true;
        store
            .handle(ToStore::Block(start.lane, block(0, 5)))
            .unwrap();
        store.sync_and_commit().unwrap();
        assert!(!queue.has_eligible());
        *group.refuse.borrow_mut() = false;
        store.retry_commit_at = None;
        store.sync_and_commit().unwrap();
        assert!(queue.has_eligible());
    });
}

/// Takes partition 0 away, and where the answer comes.
fn revocation(lost: bool) -> (ToStore, Receiver<()>) {
    let (reply, answer) = bounded(1);
    let revoke = ToStore::Revoke {
        partitions: vec![0],
        lost,
        reply,
    };
    (revoke, answer)
}

#[test]
fn a_revoked_partition_is_committed_first_and_takes_no_more_rows() {
    with_store(|store, group, queue| {
        let start = assign(store);
        store
            .handle(ToStore::Block(start.lane, block(0, 5)))
            .unwrap();
        let (revoke, answer) = revocation(false);
        store.handle(revoke).unwrap();
        answer.recv().unwrap();
        assert_eq!(*group.commits.borrow(), [(5, true)]);
        store
            .handle(ToStore::Block(start.lane, block(5, 5)))
            .unwrap();
        assert_eq!(queue.lane(start.lane).map(|l| l.rows), Some(5));
    });
}

/// With the answer the rebalance goes on and another instance may take the partition: a commit
/// that comes later could cover what that one has read.
#[test]
fn no_commit_follows_the_answer_to_a_revocation() {
    with_store(|store, group, queue| {
        let start = assign(store);
        store
            .handle(ToStore::Block(start.lane, block(0, 5)))
            .unwrap();
        let (revoke, answer) = revocation(false);
        *group.let_go.borrow_mut() = Some(answer);
        store.handle(revoke).unwrap();
        store
            .handle(ToStore::Block(start.lane, block(5, 5)))
            .unwrap();
        store.sync_and_commit().unwrap();
        assert_eq!(*group.commits.borrow(), [(5, true)]);
        assert_eq!(*group.late.borrow(), Vec::<i64>::new());
        assert!(queue.has_eligible());
    });
}

#[test]
fn a_lost_partition_is_not_committed() {
    with_store(|store, group, queue| {
        let start = assign(store);
        store
            .handle(ToStore::Block(start.lane, block(0, 5)))
            .unwrap();
        let (revoke, _answer) = revocation(true);
        store.handle(revoke).unwrap();
        store.sync_and_commit().unwrap();
        assert!(group.commits.borrow().is_empty());
        assert!(!queue.has_eligible());
    });
}

#[test]
fn rows_leave_while_kafka_is_silent_unless_the_data_dir_may_be_a_copy() {
    with_store(|store, group, queue| {
        assert!(store.may_send(1).unwrap());
        *group.unanswered.borrow_mut() = Some(Box::leak(Box::default()));
        assert!(store.may_send(1).unwrap());
        // As where its device has another number.
        let in_doubt = Runs {
            declared: true,
            ..Runs::default()
        };
        queue.keep_runs(&in_doubt).unwrap();
        store.owner = Owner::of(queue).unwrap();
        assert!(!store.may_send(1).unwrap());
        // An answer alone is not enough: an original has to have seen of this one.
        *group.unanswered.borrow_mut() = None;
        assert!(!store.may_send(1).unwrap());
    });
}
