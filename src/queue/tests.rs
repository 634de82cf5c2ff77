//! The queue against its own promises, on a real sled in a temporary directory.

use super::fixture::*;
use super::*;
use crate::privacy::{Policy, Quarantined};

mod ahead;
mod change;
mod compact;
mod fences;
mod model;
mod parts;
mod renew;
mod rescue;

const ROWS: u32 = 10;

impl Fixture {
    /// A lane of `partition` with `blocks` blocks of [`ROWS`] rows, the first `eligible` of them
    /// eligible.
    fn lane(&self, partition: i32, blocks: i64, eligible: i64) -> LaneId {
        let lane = self.open(partition);
        for i in 0..blocks {
            self.append(lane, i);
        }
        self.q().sync().unwrap();
        let rows = i64::from(ROWS);
        self.q().acknowledge(lane, eligible * rows).unwrap();
        lane
    }

    fn append(&self, lane: LaneId, i: i64) {
        let rows = i64::from(ROWS);
        let block = PackedBlock {
            frame: vec![i as u8; 50],
            appended_ms: 1000 + i as u64,
            ..block(i * rows, ROWS)
        };
        assert!(self.q().append(lane, &block).unwrap());
    }

    /// A block's bytes as they are stored.
    fn block(&self, key: [u8; 12]) -> Vec<u8> {
        let trees = self.q().trees().unwrap();
        trees.blocks.get(key).unwrap().unwrap().to_vec()
    }

    /// Damages or forges a block.
    fn put_block(&self, key: [u8; 12], value: impl Into<sled::IVec>) {
        let trees = self.q().trees().unwrap();
        trees.blocks.insert(key, value).unwrap();
    }

    fn seal(&self, rows: u64, bytes: u64) -> Option<Batch> {
        self.q()
            .seal(SealBounds { rows, bytes }, 0, |_| Vec::new())
            .unwrap()
    }

    fn frames(&self, batch: &Batch) -> Vec<Vec<u8>> {
        let mut body = self.q().body(batch);
        std::iter::from_fn(|| body.next_frame().unwrap().map(|f| f.to_vec())).collect()
    }
}

#[test]
fn what_was_synced_is_there_after_a_reopen() {
    let mut f = Fixture::new();
    let lane = f.lane(0, 3, 2);
    f.q().sync().unwrap();
    let id = f.q().installation().to_owned();
    f.reopen();
    let l = f.q().lane(lane).unwrap();
    assert_eq!((l.rows, l.eligible, l.next), (30, 20, 30));
    assert_eq!(l.state, LaneState::Ended);
    assert_eq!(f.q().installation(), id);
    assert_eq!(f.q().blocks().count(), 3);
}

#[test]
fn only_eligible_rows_are_sealed() {
    let f = Fixture::new();
    f.lane(0, 3, 2);
    f.lane(1, 2, 0);
    let batch = f.seal_all().unwrap();
    assert_eq!((batch.rows, batch.ranges.len()), (20, 1));
    assert_eq!(f.frames(&batch), [vec![0; 50], vec![1; 50]]);
    assert_eq!(f.seal_all(), None);
}

#[test]
fn a_batch_stays_within_its_bounds_but_always_takes_a_block() {
    let f = Fixture::new();
    f.lane(0, 5, 5);
    assert_eq!(f.seal(25, u64::MAX).unwrap().rows, 20);
    assert_eq!(f.seal(u64::MAX, 100).unwrap().bytes, 100);
    assert_eq!(f.seal(1, 1).unwrap().rows, u64::from(ROWS));
}

#[test]
fn the_oldest_rows_of_all_lanes_go_first() {
    let f = Fixture::new();
    let a = f.lane(0, 4, 4);
    let b = f.lane(1, 4, 4);
    let batch = f.seal(40, u64::MAX).unwrap();
    let of = |lane| batch.ranges.iter().find(|r| r.lane == lane).unwrap().rows;
    assert_eq!((of(a), of(b)), (20, 20));
}

#[test]
fn a_sealed_batch_is_the_same_after_a_reopen() {
    let mut f = Fixture::new();
    f.lane(0, 3, 3);
    let batch = f.seal_all().unwrap();
    f.q().sync().unwrap();
    let frames = f.frames(&batch);
    f.reopen();
    let again = f.q().sealed_batch().unwrap();
    assert_eq!(again, batch);
    assert_eq!(f.frames(&again), frames);
    assert_eq!(f.seal_all(), None);
}

#[test]
fn an_acked_batch_is_gone_and_its_number_is_not_used_again() {
    let mut f = Fixture::new();
    let lane = f.lane(0, 3, 2);
    let batch = f.seal_all().unwrap();
    f.q().ack(&batch).unwrap();
    assert_eq!(f.q().lane(lane).unwrap().rows, 10);
    f.reopen();
    assert_eq!(f.q().sealed_batch(), None);
    assert_eq!(f.q().blocks().count(), 1);
    f.q().settle(lane, 30, 30..30).unwrap();
    assert!(f.seal_all().unwrap().seq > batch.seq);
}

#[test]
fn an_ack_that_a_crash_cut_short_is_finished_at_the_next_start() {
    let mut f = Fixture::new();
    f.lane(0, 3, 3);
    let mut batch = f.seal_all().unwrap();
    // As `ack` leaves it when the process dies right after its first write.
    batch.state = BatchState::Acked;
    f.q().update_batch(&batch).unwrap();
    f.reopen();
    assert_eq!(f.q().blocks().count(), 0);
    assert!(f.q().summary().unwrap().batches.is_empty());
}

#[test]
fn the_doubt_of_a_batch_dates_from_its_first_attempt() {
    let f = Fixture::new();
    f.lane(0, 1, 1);
    let mut batch = f.seal_all().unwrap();
    let server = |version: &str| crate::clickhouse::Server {
        version: version.into(),
        scheme: None,
        ..Default::default()
    };
    let tables = |blocks| {
        let mark = Mark {
            uuid: "u".into(),
            blocks: Some(blocks),
            drops: 0,
        };
        [("t".to_owned(), mark)].into()
    };
    batch.begin_attempt(1000, server("26.3"), 50, tables(7));
    batch.begin_attempt(2000, server("26.9"), 50, tables(8));
    assert_eq!(batch.ambiguous_ms, 1000);
    assert_eq!(batch.doubt.tables, tables(7));
    assert_eq!(batch.doubt.servers.len(), 2, "each may have its token");
    assert!(batch.doubt.resent);
    assert_eq!(batch.doubt.started, 50);
    // Nothing of it was there after all.
    batch.doubt = Doubt::default();
    batch.begin_attempt(3000, server("26.9"), 50, tables(9));
    assert!(!batch.doubt.resent);
    assert_eq!(batch.ambiguous_ms, 3000);
    assert_eq!(batch.doubt.tables, tables(9));
}

#[test]
fn a_batch_that_may_be_stored_is_never_regrouped() {
    let f = Fixture::new();
    f.lane(0, 3, 3);
    let mut batch = f.seal_all().unwrap();
    batch.may_be_stored = true;
    f.q().update_batch(&batch).unwrap();
    assert!(!f.q().unseal(&batch).unwrap());
    assert_eq!(f.seal_all(), None);
    batch.may_be_stored = false;
    assert!(f.q().unseal(&batch).unwrap());
    let token = |b: &Batch| b.token.clone();
    assert_ne!(token(&f.seal_all().unwrap()), token(&batch));
}

#[test]
fn a_tail_dropped_is_gone_with_its_quarantine() {
    let mut f = Fixture::new();
    let lane = f.lane(0, 3, 1);
    let entry = |offset| Quarantined::of(offset, "r".into(), b"m", &Policy::default());
    let block = block_of_bad(30, vec![entry(30), entry(31)]);
    assert!(f.q().append(lane, &block).unwrap());
    assert_eq!(f.q().quarantined().count(), 2);
    f.q().sync().unwrap();
    f.reopen();
    assert!(f.q().settle(lane, 20, 20..32).unwrap());
    let l = f.q().lane(lane).unwrap();
    assert_eq!((l.eligible, l.next, l.rows), (20, 20, 20));
    assert_eq!(f.q().quarantined().count(), 0);
}

#[test]
fn an_offset_within_a_block_changes_nothing() {
    let mut f = Fixture::new();
    let lane = f.lane(0, 3, 1);
    f.reopen();
    let before = f.q().lane(lane).unwrap();
    assert!(!f.q().settle(lane, 15, 15..30).unwrap());
    assert_eq!(f.q().lane(lane).unwrap(), before);
}

#[test]
fn a_spent_lane_is_forgotten_but_its_partition_is_not() {
    let mut f = Fixture::new();
    let lane = f.lane(0, 2, 2);
    f.q().ack(&f.seal_all().unwrap()).unwrap();
    f.q().end_lane(lane).unwrap();
    assert_eq!(f.q().lane(lane), None);
    f.q().sync().unwrap();
    f.reopen();
    assert_eq!(f.q().eligible_next("t", 0).unwrap(), Some(20));
}

#[test]
fn a_lane_that_a_crash_left_spent_is_forgotten_at_the_next_start() {
    let mut f = Fixture::new();
    let lane = f.lane(0, 0, 0);
    // As `end_lane` leaves it when the process dies right after its first write.
    f.q()
        .update_lane(lane, |l| l.state = LaneState::Ended)
        .unwrap();
    f.reopen();
    assert_eq!(f.q().lane(lane), None);
}

#[test]
fn what_a_crash_left_of_an_acknowledged_batch_goes_at_the_next_start() {
    let mut f = Fixture::new();
    let lane = f.lane(0, 3, 2);
    let mut acked = f.seal_all().unwrap();
    // As `ack` leaves it when the process dies before it removes the first block.
    acked.state = BatchState::Acked;
    f.q().take_off(&acked).unwrap();
    f.q().sync().unwrap();
    assert_eq!(f.q().blocks().count(), 3);
    f.reopen();
    assert_eq!(f.q().blocks().count(), 1);
    assert_eq!(f.q().summary().unwrap().batches.len(), 0);
    assert_eq!(f.q().lane(lane).unwrap().rows, u64::from(ROWS));
}

#[test]
fn rows_of_an_ended_lane_are_not_stored() {
    let f = Fixture::new();
    let lane = f.lane(0, 1, 1);
    f.q().end_lane(lane).unwrap();
    assert!(!f.q().append(lane, &block(10, ROWS)).unwrap());
    assert_eq!(f.q().blocks().count(), 1);
}

#[test]
fn a_damaged_block_is_named_and_never_skipped() {
    let f = Fixture::new();
    let lane = f.lane(0, 3, 3);
    let key = block::key(lane, 10);
    let mut value = f.block(key);
    *value.last_mut().unwrap() ^= 1;
    f.put_block(key, value);
    let error = f
        .q()
        .seal(
            SealBounds {
                rows: 1000,
                bytes: 1000,
            },
            0,
            |_| Vec::new(),
        )
        .unwrap_err();
    assert!(error.to_string().contains("offset 10 of lane"), "{error}");
}

#[test]
fn a_missing_block_of_a_batch_is_noticed_before_its_body_ends() {
    let f = Fixture::new();
    let lane = f.lane(0, 3, 3);
    let batch = f.seal_all().unwrap();
    f.q()
        .trees()
        .unwrap()
        .blocks
        .remove(block::key(lane, 10))
        .unwrap();
    let mut body = f.q().body(&batch);
    assert!(body.next_frame().unwrap().is_some() && body.next_frame().unwrap().is_some());
    assert!(matches!(body.next_frame(), Err(QueueError::Damaged { .. })));
}

#[test]
fn two_processes_cannot_have_one_data_dir() {
    let f = Fixture::new();
    let error = DataDir::lock(f.dir.path()).unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");
}

#[test]
fn a_layout_of_another_version_is_refused() {
    let mut f = Fixture::new();
    put_json(
        &f.q().trees().unwrap().meta,
        b"format",
        &(block::FORMAT + 1),
    )
    .unwrap();
    f.q().sync().unwrap();
    let error = Queue::open(f.close()).err().unwrap();
    assert!(error.to_string().contains("layout version"), "{error}");
}

#[test]
fn a_snapshot_that_a_kill_left_half_made_does_not_keep_the_queue_shut() {
    // Empty, cut short, and garbage, each as the newest snapshot.
    for content in [&b""[..], b"short", &[0xa5; 900]] {
        let mut f = Fixture::new();
        let lane = f.lane(0, 3, 1);
        f.queue = None;
        let left = f
            .dir
            .path()
            .join(QUEUE_DIR)
            .join("snap.00FFFFFFFFFFFFFF.generating");
        std::fs::write(&left, content).unwrap();
        f.reopen();
        assert_eq!(f.q().lane(lane).unwrap().rows, 30);
        assert_eq!(f.q().blocks().count(), 3);
        assert!(!left.exists());
        f.reopen();
        assert_eq!(f.q().blocks().count(), 3);
    }
}

#[test]
fn a_queue_that_was_never_made_whole_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let half = dir.path().join("queue.new");
    std::fs::create_dir(&half).unwrap();
    std::fs::write(half.join("conf"), "cut").unwrap();
    let queue = Queue::open(DataDir::lock(dir.path()).unwrap()).unwrap();
    assert_eq!(queue.summary().unwrap().rows, 0);
    assert!(!half.exists());
}

#[test]
fn an_end_that_sled_cut_off_is_noticed() {
    let mut f = Fixture::new();
    f.lane(0, 3, 1);
    f.queue = None;
    // A bit in the last record: sled takes it for a write that was never finished.
    let db = f.dir.path().join(QUEUE_DIR).join("db");
    let mut bytes = std::fs::read(&db).unwrap();
    let last = bytes.iter().rposition(|b| *b != 0).unwrap();
    bytes[last - 300] ^= 1;
    std::fs::write(&db, bytes).unwrap();
    let error = Queue::open(f.close())
        .err()
        .expect("a cut queue is refused");
    assert!(matches!(error, QueueError::CutOff { .. }), "{error}");
    // A repair keeps what is left, but none of it is sent.
    let dir = f.close();
    assert!(Trees::open(&dir).unwrap().refuse_cut_off(&dir).is_err());
    let done = repair::repair(&dir, 1, &|_, _, _| ()).unwrap();
    assert!(done.notes.iter().any(|n| n.contains("is lost")), "{done:?}");
    drop(dir);
    f.reopen();
    assert!(!f.q().has_eligible());
    assert_eq!(f.q().blocks().count() as u64, done.blocks);
}

#[test]
fn a_sync_number_that_power_tore_does_not_keep_the_queue_shut() {
    let mut f = Fixture::new();
    f.lane(0, 3, 1);
    f.queue = None;
    for content in [&b""[..], &[0; 16], b"torn"] {
        std::fs::write(f.dir.path().join(SYNCED_FILE), content).unwrap();
        f.reopen();
        assert_eq!(f.q().blocks().count(), 3);
        f.queue = None;
    }
}
