//! Waiting for a condition: looks, and looks again a moment later. Looking without a pause would take the
//! processor from what is waited for.

use std::time::{Duration, Instant};

/// Bound on waits for a condition: only a broken program comes near it, on a machine however busy.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Between two looks at a file or a socket.
pub const MOMENT: Duration = Duration::from_millis(10);

/// Between two looks that start a process each.
pub const START: Duration = Duration::from_millis(50);

/// Looks every `pause` until there is something; panics with what `missing` says when patience is over.
pub fn until<T>(
    pause: Duration,
    mut look: impl FnMut() -> Option<T>,
    missing: impl FnOnce() -> String,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        if Instant::now() >= deadline {
            panic!("{}", missing());
        }
        std::thread::sleep(pause);
    }
}

/// The same for what only is so or not.
pub fn wait(what: impl Fn() -> bool, missing: impl FnOnce() -> String) {
    until(MOMENT, || what().then_some(()), missing);
}
