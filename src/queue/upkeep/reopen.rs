//! Opening sled anew while the queue is in use.
//!
//! sled keeps a table of its pages beside its log, but writes it only when it opens, and reads all of
//! the log that is younger: measured, 60 s after 10 GiB of rows were queued. So once enough was
//! written, it is closed and opened between two operations; nobody is told, and a start never reads
//! more than that.

use std::ops::Deref;
use std::sync::RwLockReadGuard;
use std::sync::atomic::Ordering;

use crate::queue::disk::panics::guarded;
use crate::queue::{Queue, QueueError, Trees};

/// Bytes of log after which sled is opened anew; it reads half a GiB a second. Opening itself takes half
/// a second with 10 GiB queued, so more often costs a backlog's sending more.
pub const RENEW_BYTES: u64 = 512 << 20;

/// So much of what is unused must have been written, too: sled fills it with zeros when it opens.
const UNUSED_PART: u64 = 4;

/// What the removal of a block adds to the log, roughly: with its fences, and the leaves that merge.
pub(in crate::queue) const REMOVAL: usize = 4 << 10;

/// The trees of an open queue. While somebody holds this, sled is not opened anew.
pub struct Opened<'a>(RwLockReadGuard<'a, Option<Trees>>);

impl Deref for Opened<'_> {
    type Target = Trees;

    fn deref(&self) -> &Trees {
        self.0
            .as_ref()
            .expect("BUG: looked before it was handed out")
    }
}

impl Queue {
    /// The trees as they are open now.
    ///
    /// # Errors
    /// [`QueueError::Poisoned`] if sled could not be opened anew.
    pub fn trees(&self) -> Result<Opened<'_>, QueueError> {
        // A thread may hold it several times: nobody ever waits for the other side of the lock, so
        // none of its readers waits for more than an opening.
        let trees = self.trees.read().expect("BUG: opening sled panicked");
        if trees.is_none() {
            self.check()?;
        }
        Ok(Opened(trees))
    }

    /// The log has grown by so many bytes, about.
    pub(in crate::queue) fn churned(&self, bytes: usize) {
        self.churned.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Opens sled anew if [`RENEW_BYTES`] were written since the last time, more with much unused, and
    /// nobody is using it right now. Returns whether it did. Takes about a second, in which everybody
    /// else waits.
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be closed or opened; the queue is then poisoned.
    pub fn renew_if_due(&self) -> Result<bool, QueueError> {
        if self.churned.load(Ordering::Relaxed) < RENEW_BYTES {
            return Ok(false);
        }
        self.renew_after(RENEW_BYTES.max(self.unused_bytes() / UNUSED_PART))
    }

    /// [`Queue::renew_if_due`] after so many bytes.
    ///
    /// # Errors
    /// As there.
    pub fn renew_after(&self, bytes: u64) -> Result<bool, QueueError> {
        if self.churned.load(Ordering::Relaxed) < bytes {
            return Ok(false);
        }
        self.check()?;
        // Not `write`: readers behind a waiting writer would wait for one another.
        let Ok(mut trees) = self.trees.try_write() else {
            return Ok(false);
        };
        self.open_anew(&mut trees, |old| {
            drop(old);
            Ok(())
        })?;
        Ok(true)
    }

    /// Has `close` close sled, and opens what is then in its place.
    pub(in crate::queue) fn open_anew<T>(
        &self,
        trees: &mut Option<Trees>,
        close: impl FnOnce(Trees) -> Result<T, QueueError>,
    ) -> Result<T, QueueError> {
        let old = trees.take().expect("BUG: the queue is poisoned");
        let opened = guarded(|| {
            let closed = close(old)?;
            let opened = Trees::open(&self.dir)?;
            opened.refuse_cut_off(&self.dir)?;
            Ok((opened, closed))
        });
        let (opened, closed) = self.guard(opened)?;
        *trees = Some(opened);
        self.churned.store(0, Ordering::Relaxed);
        Ok(closed)
    }
}
