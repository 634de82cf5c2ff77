//! One stop request that every thread sees, and waits that end with it.

use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// A request to stop. Cannot be taken back.
#[derive(Debug, Default)]
pub struct Shutdown {
    requested: Mutex<bool>,
    changed: Condvar,
}

impl Shutdown {
    /// Asks everyone to stop.
    pub fn request(&self) {
        *self.lock() = true;
        self.changed.notify_all();
    }

    /// Whether a stop was asked for.
    pub fn requested(&self) -> bool {
        *self.lock()
    }

    /// Waits until a stop is asked for, at most `timeout`. Returns whether it was.
    pub fn wait(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut requested = self.lock();
        while !*requested {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            requested = self
                .changed
                .wait_timeout(requested, left)
                .expect("BUG: a thread panicked while it asked for a stop")
                .0;
        }
        *requested
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, bool> {
        self.requested
            .lock()
            .expect("BUG: a thread panicked while it asked for a stop")
    }
}
