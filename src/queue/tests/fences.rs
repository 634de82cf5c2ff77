//! Blocks are written once, and what that takes goes with them.

use super::*;

const FRAME: usize = 20_000;

impl Queue {
    /// Every key among the blocks is of a lane that has a record.
    pub(super) fn assert_no_stray_keys(&self) {
        let trees = self.trees().unwrap();
        for key in trees.blocks.iter().keys() {
            let (lane, offset) = block::parse_key(&key.unwrap()).unwrap();
            assert!(self.lane(lane).is_some(), "{offset} of {lane} is left");
        }
    }
}

fn large(i: i64) -> PackedBlock {
    // Of as many offsets as any: fences lie by them.
    let rows = 100 + (i as u32 * 37) % 60;
    PackedBlock {
        raw_len: 4 * FRAME as u32,
        frame: vec![i as u8; FRAME],
        appended_ms: i as u64,
        ..block(i * 200, rows)
    }
}

/// Appends to three lanes; what the files take then must be little more than the frames.
fn assert_written_once(block: impl Fn(i64) -> PackedBlock) {
    let f = Fixture::new();
    let lanes = [0, 1, 2].map(|p| f.lane(p, 0, 0));
    let mut payload = 0;
    for i in 0..400 {
        for lane in lanes {
            assert!(f.q().append(lane, &block(i)).unwrap());
            payload += FRAME as u64;
        }
        if i % 20 == 0 {
            f.q().sync().unwrap();
        }
    }
    f.q().sync().unwrap();
    let files = f.q().disk_bytes();
    assert!(files < payload * 5 / 4, "{files} bytes for {payload}");
}

#[test]
fn a_block_is_written_once() {
    assert_written_once(large);
}

#[test]
fn a_block_is_written_once_behind_a_gap_in_its_partition() {
    const GAP: i64 = 1 << 33;
    assert_written_once(|i| {
        let mut block = large(i);
        block.first += GAP * i64::from(i > 0);
        block.next += GAP;
        block
    });
}

/// The leaf in which a lane ends must not hold blocks of the next one.
#[test]
fn a_block_is_written_once_beside_a_lane_that_grows() {
    let f = Fixture::new();
    let lanes: Vec<LaneId> = (0..12).map(|p| f.lane(p, 0, 0)).collect();
    let fill = |blocks: std::ops::Range<i64>| {
        for i in blocks {
            for lane in &lanes {
                assert!(f.q().append(*lane, &large(i)).unwrap());
            }
        }
        f.q().sync().unwrap();
    };
    fill(0..20);
    for lane in &lanes {
        f.q().acknowledge(*lane, i64::MAX).unwrap();
    }
    let batch = f.seal_all().unwrap();
    f.q().ack(&batch).unwrap();
    f.q().compact().unwrap();
    fill(20..220);
    let (files, payload) = (f.q().disk_bytes(), 200 * 12 * FRAME as u64);
    assert!(files < payload * 5 / 4, "{files} bytes for {payload}");
}

#[test]
fn fences_are_removed_with_what_they_were_set_for() {
    let f = Fixture::new();
    let lane = f.lane(0, 0, 0);
    for i in 0..60 {
        assert!(f.q().append(lane, &large(i)).unwrap());
    }
    f.q().sync().unwrap();
    f.q().acknowledge(lane, large(40).next).unwrap();
    let keys = |f: &Fixture| f.q().trees().unwrap().blocks.len();
    let before = keys(&f);
    let batch = f.seal_all().unwrap();
    f.q().ack(&batch).unwrap();
    let removed = before - keys(&f);
    assert!(removed > 41 + 60, "{removed} keys for 41 blocks");
    f.q().acknowledge(lane, i64::MAX).unwrap();
    let batch = f.seal_all().unwrap();
    f.q().ack(&batch).unwrap();
    assert!(keys(&f) > 0, "those ahead");
    f.q().end_lane(lane).unwrap();
    assert_eq!(keys(&f), 0);
}

#[test]
fn of_blocks_appended_together_each_must_lie_at_its_lanes_end() {
    let mut f = Fixture::new();
    let (open, other) = (f.lane(0, 0, 0), f.lane(1, 0, 0));
    let ended = f.lane(2, 1, 0);
    f.q().end_lane(ended).unwrap();
    let blocks = [
        (open, large(1)),
        (ended, large(5)),
        (open, large(0)),
        (other, large(0)),
        (open, large(2)),
    ];
    let stored = f.q().append_all(&blocks).unwrap();
    assert_eq!(stored, [true, false, false, true, true]);
    f.q().sync().unwrap();
    f.reopen();
    let at = |lane| f.q().lane(lane).map(|l| (l.rows, l.next));
    let rows = |i| u64::from(large(i).rows);
    assert_eq!(at(open), Some((rows(1) + rows(2), large(2).next)));
    assert_eq!(at(other), Some((rows(0), large(0).next)));
    assert_eq!(at(ended), Some((u64::from(ROWS), ROWS.into())));
    assert_eq!(f.q().blocks().count(), 4);
}
