//! sled is closed and opened under a queue in use.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

#[test]
fn others_go_on_while_sled_is_opened_anew() {
    let f = Fixture::new();
    let lane = f.lane(0, 1, 1);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let before = f.q().lane(lane).unwrap().next;
                let read: i64 = f.q().blocks().map(|b| i64::from(b.unwrap().0.rows)).sum();
                assert!(read >= before, "{read} rows of {before}");
                f.q().save("name", &read).unwrap();
            }
        });
        scope.spawn(|| {
            let mut renewed = 0;
            while renewed < 10 {
                renewed += u32::from(f.q().renew_after(0).unwrap());
            }
            done.store(true, Ordering::Relaxed);
        });
        let mut i = 1;
        while !done.load(Ordering::Relaxed) && !reader.is_finished() {
            f.append(lane, i);
            f.q().sync().unwrap();
            i += 1;
        }
        assert!(i > 1);
    });
    let expected = f.q().lane(lane).unwrap();
    let rows: u64 = f.q().blocks().map(|b| u64::from(b.unwrap().0.rows)).sum();
    assert_eq!(rows, expected.rows);
}

#[test]
fn what_was_not_synced_outlives_it() {
    let mut f = Fixture::new();
    let lane = f.lane(0, 1, 1);
    f.append(lane, 1);
    assert!(f.q().renew_after(0).unwrap());
    assert_eq!(f.q().blocks().count(), 2);
    let kept = f.q().lane(lane).unwrap();
    f.reopen();
    assert_eq!(f.q().blocks().count(), 2);
    assert_eq!(f.q().lane(lane).unwrap().rows, kept.rows);
}

#[test]
fn it_waits_for_a_whole_reading_and_for_enough_to_be_written() {
    let f = Fixture::new();
    let lane = f.lane(0, 1, 1);
    assert!(!f.q().renew_if_due().unwrap(), "nothing was written");
    let held = f.q().trees().unwrap();
    assert!(!f.q().renew_after(0).unwrap(), "somebody reads");
    // Nor does it make others wait for the reader.
    f.append(lane, 1);
    drop(held);
    assert!(f.q().renew_after(100).unwrap());
    assert!(!f.q().renew_after(100).unwrap(), "it was just done");
}

/// A queue directory that was swapped for an older one, or an empty one, is not taken for ours.
#[test]
fn a_failure_ends_all_use_of_the_queue() {
    let f = Fixture::new();
    let lane = f.lane(0, 1, 1);
    let path = f.dir.path().join(QUEUE_DIR);
    std::fs::rename(&path, f.dir.path().join("elsewhere")).unwrap();
    assert!(matches!(
        f.q().renew_after(0),
        Err(QueueError::CutOff { .. })
    ));
    assert!(matches!(f.q().trees(), Err(QueueError::Poisoned { .. })));
    assert!(f.q().sync().is_err());
    assert!(f.q().acknowledge(lane, 10).is_err());
    assert!(f.q().blocks().next().unwrap().is_err());
}
