//! What is counted, and when.

use super::*;
use crate::privacy::{Policy, Quarantined};
use crate::queue::fixture::{Fixture, block_of, block_of_bad};
use crate::queue::{
    BatchState, CommandError, DROPPED_BATCHES, DroppedBatch, PackedBlock, Retried, Which, repair,
};

const NOW: u64 = 1_700_000_000_000;
const MINUTE: u32 = (NOW / 60_000) as u32;
const DAY: u32 = 24 * 60;

/// All times.
const ALL: std::ops::Range<u64> = 0..1 << 33;

fn folded() -> Fixture {
    let f = Fixture::new();
    f.q().fold_counts(NOW).unwrap();
    f
}

impl Fixture {
    fn reopen_folded(&mut self) {
        self.reopen();
        self.q().fold_counts(NOW).unwrap();
    }

    /// Appends a row of each of these minutes.
    fn append_of(&self, lane: LaneId, minutes: &[u32]) {
        let first = self.q().lane(lane).unwrap().next;
        let mut rows = Vec::new();
        for minute in minutes {
            rows.extend_from_slice(&(minute * 60).to_le_bytes());
            rows.extend_from_slice(&[0; 30]);
        }
        let block = PackedBlock {
            minutes: minutes.iter().map(|m| m * 60).collect(),
            appended_ms: NOW,
            ..block_of(first, minutes.len() as u32, &rows)
        };
        assert!(self.q().append(lane, &block).unwrap());
    }

    /// Everything of a lane sealed.
    fn sealed(&self, lane: LaneId) -> Batch {
        self.q().sync().unwrap();
        self.q().acknowledge(lane, i64::MAX).unwrap();
        self.seal_all().unwrap()
    }

    fn counts(&self) -> Counts {
        self.q().counts(ALL, NOW).unwrap()
    }

    /// Consumed, stored, queued, rejected and lost of the minute of `NOW`, or of its day.
    fn now(&self) -> [i64; 5] {
        let counts = self.counts();
        let found = counts
            .spans
            .iter()
            .find(|c| (u64::from(c.start)..c.span().end()).contains(&(u64::from(MINUTE) * 60)));
        found.map_or([0; 5], |c| {
            [c.consumed, c.stored, c.queued, c.rejected, c.lost]
        })
    }

    fn assert_balanced(&self) {
        let found = self.verified();
        assert_eq!(found.damage, []);
    }
}

#[test]
fn rows_are_consumed_when_appended_and_stored_when_acknowledged() {
    let mut f = folded();
    let lane = f.open(0);
    f.append_of(lane, &[MINUTE, MINUTE, MINUTE + 1]);
    assert_eq!(f.now(), [2, 0, 2, 0, 0]);
    let mut batch = f.sealed(lane);
    batch.may_be_stored = true;
    f.q().update_batch(&batch).unwrap();
    let counts = f.counts();
    assert_eq!(counts.spans.len(), 2);
    assert_eq!(
        (counts.spans[0].in_flight, counts.spans[1].in_flight),
        (2, 1)
    );
    f.q().ack(&batch).unwrap();
    assert_eq!(f.now(), [2, 2, 0, 0, 0]);
    f.reopen_folded();
    assert_eq!(f.now(), [2, 2, 0, 0, 0]);
    let [of] = &f.counts().partitions[..] else {
        panic!("one partition")
    };
    assert_eq!((of.partition, of.consumed, of.stored), (0, 3, 3));
    f.assert_balanced();
}

#[test]
fn rows_that_a_crash_left_uncounted_are_counted_at_the_next_open() {
    let mut f = folded();
    let lane = f.open(0);
    f.append_of(lane, &[MINUTE; 3]);
    f.q().sync().unwrap();
    f.append_of(lane, &[MINUTE; 4]);
    // Ends without a sync; what was written is there, as after a kill.
    f.reopen_folded();
    assert_eq!(f.now(), [7, 0, 7, 0, 0]);
    f.assert_balanced();
    f.reopen_folded();
    assert_eq!(f.now(), [7, 0, 7, 0, 0], "counted once");
}

#[test]
fn a_tail_that_is_dropped_is_taken_off_again() {
    let mut f = folded();
    let lane = f.open(0);
    f.append_of(lane, &[MINUTE; 3]);
    f.append_of(lane, &[MINUTE; 4]);
    f.q().sync().unwrap();
    f.reopen_folded();
    // Another instance read the second block.
    assert!(f.q().settle(lane, 3, 3..7).unwrap());
    assert_eq!(f.now(), [3, 0, 3, 0, 0]);
    f.assert_balanced();
}

/// A batch of two rows of `MINUTE` that was refused.
fn rejected(f: &Fixture, lane: LaneId) -> Batch {
    f.append_of(lane, &[MINUTE; 2]);
    let mut batch = f.sealed(lane);
    batch.state = BatchState::Rejected {
        code: 131,
        words: "no".to_owned(),
    };
    f.q().update_batch(&batch).unwrap();
    batch
}

#[test]
fn only_a_rejected_batch_is_dropped_and_its_rows_are_lost_by_name() {
    let mut f = folded();
    let lane = f.open(0);
    f.append_of(lane, &[MINUTE]);
    let sealed = f.sealed(lane);
    let batch = rejected(&f, lane);
    let refused = f.q().drop_batch(sealed.seq, 7);
    assert!(matches!(refused, Err(CommandError::NotDroppable { .. })));
    let none = f.q().drop_batch(77, 7);
    assert!(matches!(none, Err(CommandError::NoBatch { seq: 77 })));

    let dropped = f.q().drop_batch(batch.seq, 7).unwrap();
    assert_eq!(
        (dropped.rows, dropped.dropped_ms, dropped.code),
        (2, 7, 131)
    );
    assert_eq!(dropped.places(), "t p0 offsets 1..3 (2 rows)");
    for _ in 0..2 {
        assert_eq!(f.now(), [3, 0, 1, 0, 2]);
        let counts = f.counts();
        assert_eq!(counts.partitions[0].dropped, 2);
        assert_eq!(counts.spans[0].lost_or_stored, 0);
        let all: Vec<DroppedBatch> = f.q().load(DROPPED_BATCHES).unwrap().unwrap();
        assert_eq!(all, std::slice::from_ref(&dropped));
        assert_eq!(f.q().summary().unwrap().rows, 1);
        f.assert_balanced();
        f.reopen_folded();
    }
    let again = f.q().drop_batch(batch.seq, 7);
    assert!(matches!(again, Err(CommandError::NoBatch { .. })));
}

#[test]
fn of_a_dropped_batch_that_may_be_stored_nothing_can_be_told() {
    let f = folded();
    let lane = f.open(0);
    let mut batch = rejected(&f, lane);
    batch.may_be_stored = true;
    f.q().update_batch(&batch).unwrap();
    f.q().drop_batch(batch.seq, 7).unwrap();
    let found = f.counts().spans[0];
    assert_eq!(
        (found.lost, found.lost_or_stored, found.in_flight),
        (2, 2, 0)
    );
    f.assert_balanced();
}

#[test]
fn the_sum_of_two_instances_has_each_row_once() {
    let (mut old, new) = (folded(), folded());
    let lane = old.open(0);
    old.append_of(lane, &[MINUTE; 5]);
    old.q().sync().unwrap();
    // It dies before its commit; the other one reads the same messages, and stores them.
    old.reopen_folded();
    let other = new.open(0);
    new.append_of(other, &[MINUTE; 5]);
    let batch = new.sealed(other);
    new.q().ack(&batch).unwrap();
    old.q().settle(lane, 0, 0..5).unwrap();
    assert_eq!(old.now()[0] + new.now()[0], 5);
    assert_eq!(old.now()[1] + new.now()[1], 5);
}

#[test]
fn a_rejected_batch_counts_as_such_until_it_is_stored() {
    let f = folded();
    let lane = f.open(0);
    f.append_of(lane, &[MINUTE; 5]);
    let mut batch = f.sealed(lane);
    batch.state = BatchState::Rejected {
        code: 117,
        words: "no".into(),
    };
    f.q().update_batch(&batch).unwrap();
    assert_eq!(f.now(), [5, 0, 0, 5, 0]);
    let batch = f.q().retry_batch(batch.seq).unwrap();
    assert_eq!(f.now(), [5, 0, 5, 0, 0]);
    f.q().ack(&batch).unwrap();
    assert_eq!(f.now(), [5, 5, 0, 0, 0]);
}

#[test]
fn a_delivered_batch_that_is_sent_again_is_stored_once() {
    let f = folded();
    let lane = f.open(0);
    f.append_of(lane, &[MINUTE; 5]);
    f.q().deliver(&f.sealed(lane), NOW).unwrap();
    // Its lane is forgotten before it is sent once more.
    f.q().end_lane(lane).unwrap();
    assert_eq!(f.q().lane(lane), None);
    let kept = f.q().summary().unwrap().batches.remove(0);
    f.q().redeliver(&kept).unwrap();
    let again = f.q().sealed_batch().unwrap();
    f.q().ack(&again).unwrap();
    assert_eq!(f.now(), [5, 5, 0, 0, 0]);
}

/// A frame and zeros, of which all bytes are kept.
const KEPT: [u8; 16] = [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

#[test]
fn retried_messages_are_counted_by_their_time() {
    let f = folded();
    let lane = f.open(3);
    let bad = |i| Quarantined::of(i, "no".into(), &KEPT, &Policy::default());
    let block = PackedBlock {
        appended_ms: NOW,
        ..block_of_bad(0, (0..2).map(bad).collect())
    };
    assert!(f.q().append(lane, &block).unwrap());
    f.q().acknowledge(lane, 2).unwrap();
    assert_eq!(f.counts().partitions[0].quarantined, 2);
    let only = Which {
        only: Some((3, 1)),
        after: None,
    };
    let done = f.q().retry_quarantined(only, NOW, |_, _, out| {
        out.extend_from_slice(&(MINUTE * 60).to_le_bytes());
        out.extend_from_slice(&[0; 30]);
        Ok(MINUTE * 60)
    });
    assert_eq!(done.unwrap().entries[0].1, Retried::Row);
    assert_eq!(f.now(), [1, 0, 1, 0, 0]);
    let of = |partition| {
        let all = f.counts().partitions;
        all.into_iter().find(|p| p.partition == partition).unwrap()
    };
    assert_eq!((of(3).quarantined, of(-1).consumed), (1, 1));
    f.assert_balanced();
}

#[test]
fn days_that_leave_the_window_are_added_up_and_stay_exact() {
    let mut f = folded();
    let lane = f.open(0);
    let minutes: Vec<u32> = (0..3 * DAY).step_by(7).map(|m| MINUTE - m).collect();
    f.append_of(lane, &minutes);
    let batch = f.sealed(lane);
    assert_eq!(f.counts().spans.len(), minutes.len());
    let later = NOW + 41 * 86_400_000;
    f.q().fold_counts(later).unwrap();
    let folded = f.counts();
    assert!(folded.spans.len() < minutes.len(), "some are days now");
    assert!(folded.spans.iter().any(|c| c.span().is_day()));
    f.assert_balanced();
    f.q().fold_counts(later + 5 * 86_400_000).unwrap();
    assert_eq!(f.counts().spans.len(), 4, "all are days now");
    // Rows that were counted by the minute are stored by the day, and the other way round.
    f.q().ack(&batch).unwrap();
    f.q().fold_counts(NOW).unwrap();
    let lane = f.open(0);
    f.append_of(lane, &minutes);
    let counts = f.counts();
    assert_eq!(counts.spans.len(), 4, "a day is counted in one grain");
    let rows = minutes.len() as i64;
    let sum = |of: fn(&Counted) -> i64| counts.spans.iter().map(of).sum::<i64>();
    assert_eq!(sum(|c| c.consumed), 2 * rows);
    assert_eq!(sum(|c| c.stored), rows);
    f.assert_balanced();
    f.reopen_folded();
    assert_eq!(f.counts().spans, counts.spans);
}

#[test]
fn timestamps_of_all_times_cost_no_more_than_the_bound() {
    let f = folded();
    let lane = f.open(0);
    // Every 1,000th minute of DateTime, and every third of the window.
    let window = f.q().state().window;
    for part in (0..u32::MAX / 60)
        .step_by(1000)
        .collect::<Vec<_>>()
        .chunks(4000)
    {
        f.append_of(lane, part);
    }
    let near: Vec<u32> = (window.from..window.to).step_by(3).collect();
    for part in near.chunks(4000) {
        f.append_of(lane, part);
    }
    f.q().sync().unwrap();
    let chunks = f.q().trees().unwrap().counts.len();
    let bound = 24 * (window.to - window.from) / DAY + 829;
    assert!(chunks as u32 <= bound, "{chunks} of {bound}");
    let bytes: usize = f
        .q()
        .trees()
        .unwrap()
        .counts
        .iter()
        .map(|e| e.unwrap().1.len())
        .sum();
    assert!(bytes < 1 << 20, "{bytes}");
    f.assert_balanced();
}

#[test]
fn a_range_leaves_out_what_it_covers_in_part() {
    let f = folded();
    let lane = f.open(0);
    f.append_of(lane, &[MINUTE, MINUTE + 1, 10 * DAY]);
    let starts = |range| -> Vec<u32> {
        let counts = f.q().counts(range, NOW).unwrap();
        counts.spans.iter().map(|c| c.start / 60).collect()
    };
    let minute = u64::from(MINUTE) * 60;
    assert_eq!(starts(0..minute + 60), [10 * DAY, MINUTE]);
    assert_eq!(starts(minute..minute + 119), [MINUTE]);
    assert_eq!(starts(minute + 1..minute + 120), [MINUTE + 1]);
    assert!(starts(u64::from(10 * DAY) * 60 + 1..minute).is_empty());
}

#[test]
fn what_repair_cannot_save_is_counted_as_lost() {
    let mut f = folded();
    let lane = f.open(0);
    f.append_of(lane, &[MINUTE; 3]);
    f.append_of(lane, &[MINUTE; 4]);
    f.append_of(lane, &[MINUTE + 1; 5]);
    f.q().sync().unwrap();
    f.q()
        .trees()
        .unwrap()
        .blocks
        .insert(block::key(lane, 3), b"x")
        .unwrap();
    let found = f.verified();
    let words: Vec<&str> = found.damage.iter().map(|d| d.what.as_str()).collect();
    let of_counts = words.iter().find(|w| w.contains("are counted"));
    assert!(
        of_counts.is_some_and(|w| w.contains("7 rows of the minute") && w.contains("3 are there")),
        "{words:?}"
    );
    let dir = f.close();
    let done = repair::repair(&dir, 1, &|_, _, _| ()).unwrap();
    assert!(
        done.notes
            .iter()
            .any(|n| n.contains("4 rows are counted as lost")),
        "{:?}",
        done.notes
    );
    drop(dir);
    f.reopen_folded();
    assert_eq!(f.now(), [7, 0, 3, 0, 4]);
    f.assert_balanced();
}

#[test]
fn a_copy_beside_its_original_begins_its_counts_anew() {
    let mut f = folded();
    let lane = f.open(0);
    f.append_of(lane, &[MINUTE; 3]);
    let batch = f.sealed(lane);
    f.q().deliver(&batch, NOW).unwrap();
    f.append_of(lane, &[MINUTE; 4]);
    f.q().sync().unwrap();
    let since = f.counts().since_ms;
    f.q().adopt(true).unwrap();
    assert_eq!(f.now(), [7, 3, 4, 0, 0]);
    assert_eq!(f.counts().since_ms, since);
    f.q().adopt(false).unwrap();
    f.reopen_folded();
    assert_eq!(f.now(), [4, 0, 4, 0, 0]);
    assert!(f.counts().since_ms >= since);
    f.assert_balanced();
}
