//! The commands, one file each.

pub mod check;
pub mod produce;
pub mod run;
pub mod status;

use std::path::Path;
use std::time::{Duration, Instant};

use crate::queue::{DataDir, QUEUE_DIR, Queue, QueueError};
use crate::runtime::control::{self, Request};

/// Where a command got its answer from: the pattern of every command beside a live instance.
pub enum Reached {
    /// A live instance answered through its socket.
    Live(serde_json::Value),
    /// None runs: this process now owns the queue.
    Offline(Box<Queue>),
}

/// How long an instance may take from its lock to its socket: it opens its queue in between.
const STARTING: Duration = Duration::from_secs(30);

/// Asks the live instance of `data_dir`, or takes its lock and opens the queue. Waits for an instance
/// that is just starting or stopping.
///
/// # Errors
/// If the data dir does not exist, its instance does not answer, or the queue does not open.
pub fn reach(data_dir: &Path, request: &Request) -> anyhow::Result<Reached> {
    // Looking must not create: a mistyped path would answer with an empty queue.
    anyhow::ensure!(
        data_dir.join(QUEUE_DIR).is_dir(),
        "there is no queue in {}; name the data dir with --data-dir",
        data_dir.display()
    );
    let deadline = Instant::now() + STARTING;
    loop {
        if let Some(answer) = control::ask(data_dir, request)? {
            return Ok(Reached::Live(answer));
        }
        match DataDir::lock(data_dir) {
            Ok(dir) => return Ok(Reached::Offline(Box::new(Queue::open(dir)?))),
            Err(QueueError::InUse { .. }) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(e) => return Err(e.into()),
        }
    }
}
