//! The disk bounds: how much may be queued or in quarantine, and how much must stay free.

use std::path::{Path, PathBuf};
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
use crate::runtime::room::{Amount, free_bytes, total_bytes};

/// How old an answer about the disk may be.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Bytes that stay free whatever `min_free_disk` says: sled makes its file longer by segments of 8 MiB,
/// several at a time, and where it cannot, the program ends.
pub const LEAST_FREE: u64 = 64 << 20;

/// Why nothing more is read: a stable word for what has no room, and a sentence.
pub type Reason = (&'static str, String);

/// A share of a small disk is not less than this, so that a queue and a quarantine can work at all.
const LEAST_QUEUE: u64 = 64 << 20;
const LEAST_QUARANTINE: u64 = 1 << 20;

/// What the settings allow.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most bytes of rows.
    pub max_queue_bytes: Amount,
    /// Bytes that stay free on the disk.
    pub min_free_disk: Amount,
    /// Most bytes of messages in quarantine.
    pub max_quarantine_bytes: Amount,
    /// What a full quarantine does.
    pub quarantine_full: QuarantineFull,
}

/// What that comes to on a disk, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// See [`Bounds::max_queue_bytes`].
    pub max_queue_bytes: u64,
    /// See [`Bounds::min_free_disk`]; never less than [`LEAST_FREE`].
    pub min_free_disk: u64,
    /// See [`Bounds::max_quarantine_bytes`].
    pub max_quarantine_bytes: u64,
}

impl Bounds {
    /// On the disk of `path` as it is now. Of one that cannot be asked only what is given in bytes is known.
    pub fn on(&self, path: &Path) -> Allowed {
        let total = total_bytes(path).unwrap_or(u64::MAX);
        Allowed {
            max_queue_bytes: self.max_queue_bytes.of(total, LEAST_QUEUE),
            min_free_disk: self.min_free_disk.of(total, LEAST_FREE).max(LEAST_FREE),
            max_quarantine_bytes: self.max_quarantine_bytes.of(total, LEAST_QUARANTINE),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct DiskBound {
    bounds: Bounds,
    path: PathBuf,
    /// As of the last look: a volume may grow.
    allowed: Allowed,
    looked: Option<Instant>,
    reason: Option<Reason>,
}

impl DiskBound {
    /// Bounds for the data dir at `path`.
    pub fn new(path: PathBuf, bounds: Bounds) -> DiskBound {
        DiskBound {
            allowed: bounds.on(&path),
            bounds,
            path,
            looked: None,
            reason: None,
        }
    }

    /// Why nothing more should be read until a person has looked at the quarantine.
    pub fn quarantine_exceeded(&self, queue: &Queue) -> Option<String> {
        let bytes = queue.quarantine_totals().bytes;
        let most = self.allowed.max_quarantine_bytes;
        let full = bytes >= most;
        (full && self.bounds.quarantine_full == QuarantineFull::Pause).then(|| {
            format!(
                "{bytes} bytes are in quarantine, max_quarantine_bytes is {}; retry or drop them \
                 (anonymizer quarantine), or set quarantine_full to drop-oldest",
                in_words(self.bounds.max_quarantine_bytes, most)
            )
        })
    }

    /// The bytes that the quarantine may hold, if room is made by dropping.
    pub fn quarantine_drops_beyond(&self) -> Option<u64> {
        (self.bounds.quarantine_full == QuarantineFull::DropOldest)
            .then_some(self.allowed.max_quarantine_bytes)
    }

    /// Why nothing more should be read now, if a bound is met. As of the last look.
    pub fn exceeded(&self) -> Option<Reason> {
        self.reason.clone()
    }

    /// Looks at the disk, once a second.
    pub fn look(&mut self, queue: &Queue) {
        if self.looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
            self.looked = Some(Instant::now());
            self.allowed = self.bounds.on(&self.path);
            self.reason = self.met(queue);
        }
    }

    fn met(&self, queue: &Queue) -> Option<Reason> {
        let queued = queue.bytes();
        let most = self.allowed.max_queue_bytes;
        if queued >= most {
            let most = in_words(self.bounds.max_queue_bytes, most);
            let why = format!("{queued} bytes are queued, max_queue_bytes is {most}");
            return Some(("queue", why));
        }
        let free = match free_bytes(&self.path) {
            Ok(free) => free,
            Err(e) => return Some(("disk", format!("cannot ask for free disk space: {e}"))),
        };
        // Space inside sled's file counts as free, or a full queue could never go on.
        let least = self.allowed.min_free_disk;
        (free + queue.unused_bytes() < least).then(|| {
            let least = in_words(self.bounds.min_free_disk, least);
            let why = format!("{free} bytes of disk are free, min_free_disk is {least}");
            ("disk", why)
        })
    }
}

/// The bytes, and the share that they are where one was asked for.
fn in_words(amount: Amount, bytes: u64) -> String {
    match amount.fixed() {
        Some(_) => bytes.to_string(),
        None => format!("{bytes} ({amount})"),
    }
}
