//! A change is on the disk before it is in memory.

use super::*;
use crate::queue::change::Change;

/// What of the queue is in memory, in words.
fn memory(q: &Queue) -> String {
    let s = q.state();
    format!(
        "{:?} {:?} {} {} {:?} {:?}",
        s.lanes, s.batches, s.next_lane, s.next_batch, s.quarantine, s.uncounted
    )
}

#[test]
fn what_cannot_be_written_is_not_in_memory_either() {
    let f = Fixture::new();
    let lane = f.lane(0, 3, 2);
    let batch = f.seal_all().unwrap();
    let before = memory(f.q());
    let mut change = Change::default();
    change.new_lane(Lane::new(LaneId(99), "t", 1, 0));
    change.forget_lane(lane);
    change.forget_batch(batch.seq);
    change.quarantine(QuarantineTotals {
        entries: 1,
        ..QuarantineTotals::default()
    });
    change.counted();
    // As after sled could not be opened anew.
    let trees = f.q().trees.write().unwrap().take();
    f.q().failed.set("the disk".into()).unwrap();
    let written = f.q().write(&mut f.q().state(), change, "write to");
    assert!(matches!(written, Err(QueueError::Poisoned { .. })));
    assert_eq!(memory(f.q()), before);
    *f.q().trees.write().unwrap() = trees;
}
