//! What can go wrong with the queue, and what remains true.

use std::path::{Path, PathBuf};

/// An error of the queue. After any of them but [`QueueError::InUse`] the process commits nothing
/// more and ends: what was synced is safe, what was not is read again from Kafka.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// Another process owns the data dir.
    #[error(
        "data dir {path} is in use by another process (pid {pid}); stop it, or use another --data-dir"
    )]
    InUse {
        /// The data dir.
        path: PathBuf,
        /// Process id that the lock file names; may be empty.
        pid: String,
    },
    /// A file operation failed.
    #[error("{doing} {path}")]
    Io {
        /// What was tried.
        doing: String,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// sled could not open the queue. Nothing was changed.
    #[error(
        "cannot open the queue in {path}; nothing was changed. Copy the data dir before any attempt to save it"
    )]
    Open {
        /// sled's directory.
        path: PathBuf,
        /// sled's reason.
        source: sled::Error,
    },
    /// A read or write through sled failed.
    #[error("cannot {doing} the queue")]
    Store {
        /// What was tried.
        doing: &'static str,
        /// sled's reason.
        source: sled::Error,
    },
    /// A write or sync failed earlier. A failed sync is never tried again: the kernel may have
    /// dropped the pages and would report success.
    #[error(
        "the queue failed earlier ({first}); restart the program, which reads again what was not committed"
    )]
    Poisoned {
        /// The first failure.
        first: String,
    },
    /// The layout is of a version that this program does not know.
    #[error(
        "the queue in {path} has layout version {found}, this program knows {known}; use the program that wrote it"
    )]
    Version {
        /// sled's directory.
        path: PathBuf,
        /// Version found.
        found: String,
        /// Version known.
        known: u32,
    },
    /// The queue lies in another file than it was made in.
    #[error(
        "the data dir {path} is a copy or was restored ({elsewhere}): its original may still send the \
         same rows. `anonymizer adopt --data-dir {path}` makes it an installation of its own"
    )]
    Copied {
        /// The data dir.
        path: PathBuf,
        /// Where the original was.
        elsewhere: &'static str,
    },
    /// `repair` copies the queue before it touches it, and writes it anew.
    #[error("repair needs {need} bytes of free disk, {free} are free; nothing was changed")]
    NoRoom {
        /// Bytes needed.
        need: u64,
        /// Bytes free.
        free: u64,
    },
    /// There is no batch of that number.
    #[error("there is no batch {seq}; `anonymizer batches list` shows them")]
    NoBatch {
        /// The number.
        seq: u64,
    },
    /// Only a rejected batch can be put back.
    #[error("batch {seq} is not rejected, so there is nothing to retry")]
    NotRejected {
        /// The number.
        seq: u64,
    },
    /// A long look at the queue was ended by a stop request. Nothing was changed.
    #[error("ended early: the program was asked to stop")]
    Stopped,
    /// sled could not read the end of its log, and cut it off.
    #[error(
        "the queue in {path} is damaged: it was synced {synced} times, but holds what was there after \
         {found}. Rows may be missing, and rows already delivered may be back, so nothing is sent \
         or committed; `anonymizer repair` saves what is left and holds it"
    )]
    CutOff {
        /// sled's directory.
        path: PathBuf,
        /// Syncs that had ended.
        synced: u64,
        /// The last one that the queue knows.
        found: u64,
    },
    /// Bytes on the disk are not what was written. Nothing is skipped or wiped.
    #[error("the queue is damaged: {what}. Nothing was skipped or deleted")]
    Damaged {
        /// Which part, and how.
        what: String,
    },
}

impl QueueError {
    pub(crate) fn io(doing: &str, path: &Path, source: std::io::Error) -> QueueError {
        QueueError::Io {
            doing: doing.to_owned(),
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn store(doing: &'static str) -> impl FnOnce(sled::Error) -> QueueError {
        move |source| QueueError::Store { doing, source }
    }
}
