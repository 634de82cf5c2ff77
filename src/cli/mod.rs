//! The commands, one file each.

#![deny(clippy::print_stdout)]
// `logging::say` instead: what goes to stderr is JSON where that is asked for.
#![deny(clippy::print_stderr)]

/// `println!`, but not a panic where nobody reads any more, as behind `| head`.
macro_rules! say {
    () => {
        $crate::cli::print(format_args!("\n"))
    };
    ($($words:tt)*) => {
        $crate::cli::print(format_args!("{}\n", format_args!($($words)*)))
    };
}

/// `print!`, likewise.
macro_rules! say_as_it_is {
    ($($words:tt)*) => {
        $crate::cli::print(format_args!($($words)*))
    };
}

pub mod adopt;
pub mod batches;
pub mod capacity;
pub mod check;
pub mod completions;
pub mod config;
pub mod exit;
pub mod export;
pub mod held;
pub mod help;
pub mod json;
mod live;
pub mod man;
pub mod privacy;
pub mod produce;
mod producer;
pub mod progress;
pub mod quarantine;
pub mod reconcile;
pub mod repair;
pub mod replay;
pub mod run;
pub mod schema;
pub mod status;
pub mod tap;
pub mod top;
pub mod verify;

use std::fmt;
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;
use std::time::Duration;

use log::Level;

use crate::cli::exit::Exit;
use anyhow::Context as _;

use crate::observe::control::{self, Request};
use crate::queue::{DataDir, Owned, QUEUE_DIR, Queue};
use crate::runtime::logging;

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
    reach_or_lock_within(data_dir, STARTING, request)
}

/// The same, waiting so long for an instance that is just starting or stopping.
///
/// # Errors
/// As [`reach_or_lock`].
pub fn reach_or_lock_within(
    data_dir: &Path,
    patience: Duration,
    request: &Request,
) -> anyhow::Result<Owned<serde_json::Value>> {
    // Looking must not create: a mistyped path would answer with an empty queue.
    let made = data_dir.join(QUEUE_DIR).try_exists();
    let made =
        made.with_context(|| format!("cannot look into the data dir {}", data_dir.display()))?;
    anyhow::ensure!(
        made,
        "there is no queue in {}; name the data dir with --data-dir",
        data_dir.display()
    );
    let owned = DataDir::lock_or(data_dir, patience, || control::ask(data_dir, request))?;
    if let Owned::Locked(dir) = &owned {
        dir.refuse_root()?;
    }
    Ok(owned)
}

/// Writes to stdout. Where that fails the command is of no use any more, and ends.
fn print(words: fmt::Arguments<'_>) {
    let mut written = Ok(());
    progress::aside(&mut || {
        let mut out = io::stdout().lock();
        written = out.write_fmt(words).and_then(|()| out.flush());
    });
    if let Err(e) = written {
        end_without_a_reader(&e);
    }
}

/// Ends the process because stdout failed: quietly if its reader has gone, with the exit code that a
/// shell shows for SIGPIPE.
fn end_without_a_reader(e: &io::Error) -> ! {
    let exit = match e.kind() {
        ErrorKind::BrokenPipe => Exit::NoReader,
        _ => {
            logging::say(
                Level::Error,
                &format!("anonymizer: cannot write to stdout: {e}"),
            );
            Exit::Failed
        }
    };
    logging::finish();
    std::process::exit(exit.code().into())
}
