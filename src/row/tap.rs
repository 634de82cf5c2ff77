//! Where rows can be looked at as they pass. They are masked and encoded by then, and who looks gets whole
//! blocks that are needed no more: the stream neither waits for a tap nor copies anything for it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

/// Taps at a time.
pub const MOST_TAPS: usize = 4;

/// Blocks that wait for one tap: 4 MiB of rows at most.
const BLOCKS: usize = 32;

/// Rows of a partition that pass.
#[derive(Debug)]
pub struct Passing {
    /// The partition.
    pub partition: i32,
    /// Rows in `bytes`.
    pub rows: u32,
    /// The rows as RowBinary.
    pub bytes: Vec<u8>,
}

/// All taps.
#[derive(Debug, Default)]
pub struct Taps {
    attached: AtomicUsize,
    /// Ever.
    made: AtomicU64,
    ends: Mutex<Vec<End>>,
}

/// Rows that passed and were not shown, by the reason.
#[derive(Debug, Default)]
struct Unseen {
    /// The tap was too slow.
    missed: AtomicU64,
    /// They are so large that they are compressed before they come by.
    large: AtomicU64,
}

/// The stream's end of a tap.
#[derive(Debug)]
struct End {
    to: Sender<Arc<Passing>>,
    unseen: Arc<Unseen>,
}

impl Taps {
    /// Whether anybody looks. All that is done for a block if nobody does.
    pub fn any(&self) -> bool {
        self.attached.load(Ordering::Relaxed) > 0
    }

    /// Shows a block to every tap; one that has too many waiting misses its rows.
    pub fn pass(&self, block: Passing) {
        let block = Arc::new(block);
        for end in self.ends().iter() {
            if end.to.try_send(Arc::clone(&block)).is_err() {
                end.unseen
                    .missed
                    .fetch_add(block.rows.into(), Ordering::Relaxed);
            }
        }
    }

    /// Rows pass that are too large to be shown.
    pub fn pass_large(&self, rows: u32) {
        for end in self.ends().iter() {
            end.unseen.large.fetch_add(rows.into(), Ordering::Relaxed);
        }
    }

    /// A new tap, unless there are [`MOST_TAPS`].
    pub fn attach(&self) -> Option<Tap<'_>> {
        let mut ends = self.ends();
        if ends.len() >= MOST_TAPS {
            return None;
        }
        let (to, blocks) = bounded(BLOCKS);
        let unseen = Arc::new(Unseen::default());
        ends.push(End {
            to,
            unseen: Arc::clone(&unseen),
        });
        self.attached.store(ends.len(), Ordering::Relaxed);
        Some(Tap {
            number: 1 + self.made.fetch_add(1, Ordering::Relaxed),
            taps: self,
            blocks,
            unseen,
        })
    }

    fn ends(&self) -> MutexGuard<'_, Vec<End>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who looks, until this is dropped.
#[derive(Debug)]
pub struct Tap<'a> {
    /// The first is 1.
    pub number: u64,
    taps: &'a Taps,
    blocks: Receiver<Arc<Passing>>,
    unseen: Arc<Unseen>,
}

impl Tap<'_> {
    /// The next block, if one passes within `patience`.
    pub fn next(&self, patience: Duration) -> Option<Arc<Passing>> {
        self.blocks.recv_timeout(patience).ok()
    }

    /// Rows that passed while it was too slow.
    pub fn missed(&self) -> u64 {
        self.unseen.missed.load(Ordering::Relaxed)
    }

    /// Rows that passed and were too large.
    pub fn large(&self) -> u64 {
        self.unseen.large.load(Ordering::Relaxed)
    }
}

impl Drop for Tap<'_> {
    fn drop(&mut self) {
        let mut ends = self.taps.ends();
        ends.retain(|end| !Arc::ptr_eq(&end.unseen, &self.unseen));
        self.taps.attached.store(ends.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(rows: u32) -> Passing {
        Passing {
            partition: 1,
            rows,
            bytes: vec![0; 10],
        }
    }

    #[test]
    fn a_tap_that_does_not_look_misses_rows_and_nobody_waits() {
        let taps = Taps::default();
        let (slow, quick) = (taps.attach().unwrap(), taps.attach().unwrap());
        for rows in 1..=100 {
            taps.pass(block(rows));
            assert_eq!(quick.next(Duration::ZERO).map(|b| b.rows), Some(rows));
        }
        assert_eq!(quick.missed(), 0);
        let late: u32 = std::iter::from_fn(|| slow.next(Duration::ZERO))
            .map(|b| b.rows)
            .sum();
        assert_eq!(u64::from(late) + slow.missed(), 5050);
        assert!(slow.missed() > 0);
        taps.pass_large(7);
        assert_eq!((quick.missed(), quick.large()), (0, 7));
    }

    #[test]
    fn there_are_at_most_four_and_one_that_goes_makes_room() {
        let taps = Taps::default();
        assert!(!taps.any());
        let mut held: Vec<_> = (0..MOST_TAPS).map(|_| taps.attach().unwrap()).collect();
        assert!(taps.any() && taps.attach().is_none());
        held.pop();
        held.push(taps.attach().unwrap());
        drop(held);
        assert!(!taps.any());
    }
}
