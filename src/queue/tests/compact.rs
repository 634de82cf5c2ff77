//! The queue is written anew under whoever uses it.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use super::*;
use crate::privacy::Policy;

/// Everything in sled's trees but what each sync writes.
fn records(f: &Fixture) -> Vec<(Vec<u8>, Vec<u8>, Vec<u8>)> {
    let trees = f.q().trees().unwrap();
    let mut all = Vec::new();
    for name in trees.db.tree_names() {
        for entry in trees.db.open_tree(&name).unwrap().iter() {
            let (key, value) = entry.unwrap();
            if *key != *SYNCS && *key != *b"origin" {
                all.push((name.to_vec(), key.to_vec(), value.to_vec()));
            }
        }
    }
    all.sort();
    all
}

impl Fixture {
    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Rows of every state, and a message in quarantine.
    fn with_some_of_each(&self) -> LaneId {
        let lane = self.lane(0, 6, 4);
        let batch = self.seal(20, u64::MAX).unwrap();
        self.q().deliver(&batch, 1).unwrap();
        self.seal(10, u64::MAX).unwrap();
        let bad = Quarantined::of(60, "words".to_owned(), b"bytes", &Policy::default());
        let block = block_of_bad(60, vec![bad]);
        assert!(self.q().append(lane, &block).unwrap());
        self.q().save("name", &7).unwrap();
        lane
    }
}

#[test]
fn every_record_is_there_afterwards() {
    let mut f = Fixture::new();
    let lane = f.with_some_of_each();
    let before = records(&f);
    assert!(f.q().compact().unwrap());
    assert_eq!(records(&f), before);
    // All of it was durable at once.
    let summary = f.q().summary().unwrap();
    f.append(lane, 7);
    f.reopen();
    assert_eq!(f.q().summary().unwrap().batches, summary.batches);
    assert_eq!(f.q().summary().unwrap().quarantine, summary.quarantine);
    assert_eq!(f.q().load::<u64>("name").unwrap(), Some(7));
    let sealed = f.q().sealed_batch().unwrap();
    assert_eq!(f.frames(&sealed), [vec![2; 50]]);
}

#[test]
fn the_files_shrink_and_nothing_is_left_beside_them() {
    const MIB: u64 = 1 << 20;
    let f = Fixture::new();
    let lane = f.q().open_lane("t", 0, 0).unwrap();
    for i in 0..40 {
        let block = PackedBlock {
            frame: vec![i as u8; MIB as usize],
            ..block(i, 1)
        };
        assert!(f.q().append(lane, &block).unwrap());
    }
    f.q().sync().unwrap();
    f.q().acknowledge(lane, 40).unwrap();
    let batch = f.seal_all().unwrap();
    f.q().ack(&batch).unwrap();
    let full = f.q().disk_bytes();
    assert!(full > 40 * MIB, "{full}");
    assert!(!f.q().compact_if_due().unwrap(), "small enough");
    assert!(f.q().compact().unwrap());
    let left = f.q().disk_bytes();
    assert!(left <= 8 * MIB, "{left}");
    assert!(!f.file("queue.new").exists());
}

/// A failed write is told to those who had the file open.
#[test]
fn the_new_file_is_the_one_that_is_synced() {
    let f = Fixture::new();
    f.lane(0, 1, 1);
    assert!(f.q().compact().unwrap());
    let synced = f.q().data_file.read().unwrap().metadata().unwrap().ino();
    let file = std::fs::metadata(f.file(QUEUE_DIR).join("db")).unwrap();
    assert_eq!(synced, file.ino());
}

#[test]
fn it_is_not_taken_for_a_copy_and_a_copy_stays_one() {
    let mut f = Fixture::new();
    f.lane(0, 1, 1);
    f.q().sync().unwrap();
    assert!(f.q().compact().unwrap());
    f.q().refuse_copy().unwrap();
    f.reopen();
    f.q().refuse_copy().unwrap();
    // A copy: the same bytes in another file.
    f.queue = None;
    let file = f.file(QUEUE_DIR).join("db");
    std::fs::copy(&file, f.file("copy")).unwrap();
    std::fs::rename(f.file("copy"), &file).unwrap();
    f.reopen();
    assert!(f.q().compact().unwrap());
    let refused = f.q().refuse_copy();
    assert!(matches!(refused, Err(QueueError::Copied { .. })));
}

#[test]
fn it_waits_for_whoever_reads() {
    let f = Fixture::new();
    f.lane(0, 1, 1);
    let held = f.q().trees().unwrap();
    assert!(!f.q().compact().unwrap());
    drop(held);
    assert!(f.q().compact().unwrap());
}

/// Killed before the two changed places, or after.
#[test]
fn what_a_crash_left_beside_it_is_removed() {
    let mut f = Fixture::new();
    f.lane(0, 2, 2);
    let left = f.file("queue.new");
    std::fs::create_dir(&left).unwrap();
    std::fs::write(left.join("db"), b"half").unwrap();
    f.reopen();
    assert!(!left.exists());
    assert_eq!(f.q().blocks().count(), 2);
}

#[test]
fn a_failure_ends_all_use_of_the_queue() {
    let mut f = Fixture::new();
    let lane = f.lane(0, 1, 1);
    // Nothing can be made there.
    std::fs::write(f.file("queue.new"), b"in the way").unwrap();
    assert!(f.q().compact().is_err());
    assert!(matches!(f.q().trees(), Err(QueueError::Poisoned { .. })));
    assert!(f.q().acknowledge(lane, 10).is_err());
    // And nothing is lost.
    std::fs::remove_file(f.file("queue.new")).unwrap();
    f.reopen();
    assert_eq!(f.q().blocks().count(), 1);
}

/// File systems, bind mounts and sandboxes refuse it in many words; nothing has happened then.
#[test]
fn a_refused_exchange_leaves_the_queue_as_it_is_and_in_use() {
    use rustix::io::Errno;
    let mut f = Fixture::new();
    f.with_some_of_each();
    let before = records(&f);
    let refusals = [
        Errno::XDEV,
        Errno::PERM,
        Errno::INVAL,
        Errno::NOSYS,
        Errno::OPNOTSUPP,
        Errno::BUSY,
        Errno::ACCESS,
    ];
    for errno in refusals {
        let exchanged =
            files::exchange_by(f.q().dir(), &f.file("queue.new"), |_, _| Err(errno.into()));
        assert!(!exchanged.unwrap(), "{errno}");
    }
    assert_eq!(records(&f), before);
    // As for a bind mount in its place.
    let refused = f.q().compact_by(|_, _| Err(Errno::XDEV.into()));
    assert!(!refused.unwrap());
    assert_eq!(records(&f), before);
    assert!(!f.file("queue.new").exists());
    f.reopen();
}
