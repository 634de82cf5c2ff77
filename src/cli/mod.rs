//! The commands, one file each.

pub mod adopt;
pub mod batches;
pub mod capacity;
pub mod check;
pub mod export;
pub mod produce;
pub mod quarantine;
pub mod reconcile;
pub mod repair;
pub mod replay;
pub mod run;
pub mod schema;
pub mod status;
pub mod verify;

use std::path::Path;
use std::time::Duration;

use crate::queue::{DataDir, Owned, QUEUE_DIR, Queue};
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
    Ok(match reach_or_lock(data_dir, request)? {
        Owned::Live(answer) => Reached::Live(answer),
        Owned::Locked(dir) => Reached::Offline(Box::new(Queue::open(dir)?)),
    })
}

/// Asks the live instance of `data_dir`, or takes its lock: for a command that must cope with a queue
/// that does not open.
///
/// # Errors
/// As [`reach`], but for the queue, which is not opened.
pub fn reach_or_lock(
    data_dir: &Path,
    request: &Request,
) -> anyhow::Result<Owned<serde_json::Value>> {
    // Looking must not create: a mistyped path would answer with an empty queue.
    anyhow::ensure!(
        data_dir.join(QUEUE_DIR).is_dir(),
        "there is no queue in {}; name the data dir with --data-dir",
        data_dir.display()
    );
    DataDir::lock_or(data_dir, STARTING, || control::ask(data_dir, request))
}
