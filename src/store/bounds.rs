//! The disk bounds: how much may be queued or in quarantine, and how much must stay free.

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What happens when the quarantine is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuarantineFull {
    /// Reading from Kafka pauses until a person makes room.
    Pause,
    /// The oldest messages are dropped, each named in the log.
    DropOldest,
}

use crate::queue::Queue;
use crate::runtime::room::free_bytes;

/// How old an answer about the disk may be.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Bytes that stay free whatever `min_free_disk` says: sled makes its file longer by segments of 8 MiB,
/// several at a time, and where it cannot, the program ends.
pub const LEAST_FREE: u64 = 64 << 20;

/// Why nothing more is read: a stable word for what has no room, and a sentence.
pub type Reason = (&'static str, String);

/// See the module.
#[derive(Debug)]
pub struct DiskBound {
    max_queue_bytes: u64,
    min_free_disk: u64,
    max_quarantine_bytes: u64,
    quarantine_full: QuarantineFull,
    path: PathBuf,
    looked: Option<Instant>,
    reason: Option<Reason>,
}

impl DiskBound {
    /// Bounds for the data dir at `path`, in bytes.
    pub fn new(path: PathBuf, max_queue_bytes: u64, min_free_disk: u64) -> DiskBound {
        DiskBound {
            max_queue_bytes,
            min_free_disk: min_free_disk.max(LEAST_FREE),
            max_quarantine_bytes: u64::MAX,
            quarantine_full: QuarantineFull::Pause,
            path,
            looked: None,
            reason: None,
        }
    }

    /// Also bounds the quarantine.
    pub fn with_quarantine(mut self, max_bytes: u64, full: QuarantineFull) -> DiskBound {
        self.max_quarantine_bytes = max_bytes;
        self.quarantine_full = full;
        self
    }

    /// Why nothing more should be read until a person has looked at the quarantine.
    pub fn quarantine_exceeded(&self, queue: &Queue) -> Option<String> {
        let bytes = queue.quarantine_totals().bytes;
        let full = bytes >= self.max_quarantine_bytes;
        (full && self.quarantine_full == QuarantineFull::Pause).then(|| {
            format!(
                "{bytes} bytes are in quarantine, max_quarantine_bytes is {}; retry or drop them \
                 (anonymizer quarantine), or set quarantine_full to drop-oldest",
                self.max_quarantine_bytes
            )
        })
    }

    /// The bytes that the quarantine may hold, if room is made by dropping.
    pub fn quarantine_drops_beyond(&self) -> Option<u64> {
        (self.quarantine_full == QuarantineFull::DropOldest).then_some(self.max_quarantine_bytes)
    }

    /// Why nothing more should be read now, if a bound is met. Looks once a second.
    pub fn exceeded(&mut self, queue: &Queue) -> Option<Reason> {
        if self.looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
            self.looked = Some(Instant::now());
            self.reason = self.look(queue);
        }
        self.reason.clone()
    }

    fn look(&self, queue: &Queue) -> Option<Reason> {
        let queued = queue.bytes();
        if queued >= self.max_queue_bytes {
            let why = format!(
                "{queued} bytes are queued, max_queue_bytes is {}",
                self.max_queue_bytes
            );
            return Some(("queue", why));
        }
        let free = match free_bytes(&self.path) {
            Ok(free) => free,
            Err(e) => return Some(("disk", format!("cannot ask for free disk space: {e}"))),
        };
        // Space inside sled's file counts as free, or a full queue could never go on.
        (free + queue.unused_bytes() < self.min_free_disk).then(|| {
            let why = format!(
                "{free} bytes of disk are free, min_free_disk is {}",
                self.min_free_disk
            );
            ("disk", why)
        })
    }
}
