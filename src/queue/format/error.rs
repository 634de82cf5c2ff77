//! What can go wrong with the queue, and what remains true.

use std::path::{Path, PathBuf};

use crate::queue::format::SEGMENT_BYTES;
use crate::runtime::room::free_bytes;

/// ENOSPC and EDQUOT, in the words in which sled passes them on, also when it copies them or panics.
const NO_SPACE: [&str; 2] = ["No space left on device", "Disk quota exceeded"];

/// Bytes that sled needs to open: it makes its file longer by a segment then, and by another when it
/// writes.
const OPEN_NEEDS: u64 = 2 * SEGMENT_BYTES as u64;

/// A failure of the queue. After any of them the process commits nothing more and ends: what was synced
/// is safe, what was not is read again from Kafka. [`QueueError::InUse`] and [`QueueError::Copied`] end
/// it before it began.
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
    /// Root would leave files in it that are closed to its owner.
    #[error(
        "the queue in {path} is of user {uid}, and files that root leaves there would be closed to its service; \
         give the command as that user: runuser --user=NAME -- anonymizer ..., or setpriv --reuid={uid} \
         --regid={gid} --clear-groups anonymizer ..."
    )]
    Anothers {
        /// The data dir.
        path: PathBuf,
        /// Whose files are there.
        uid: u32,
        /// Their group.
        gid: u32,
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
    /// The disk is full, or its quota used up. Nothing is damaged: what was synced is there.
    #[error(
        "the disk of {path} is full, {free} bytes are free ({what}). Nothing is damaged: make room, and \
         start again"
    )]
    NoSpace {
        /// The data dir.
        path: PathBuf,
        /// Bytes free.
        free: u64,
        /// What failed for it.
        what: String,
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
    /// The rows in the queue have other columns than this program writes and inserts. Nothing was changed.
    #[error(
        "the queue holds rows of other columns ({stored}) than this program's ({known}); send them with \
         the program that wrote them, and start this one once `status` shows 0 rows queued"
    )]
    Columns {
        /// Names and types of the stored rows' columns.
        stored: String,
        /// And of this program's.
        known: String,
    },
    /// The queue lies in another file than it last lay in.
    #[error(
        "the data dir {path} is a copy or was restored ({elsewhere}), or lies on a file system that gives \
         files new numbers: an original may still send the same rows. `run` asks Kafka which it is; \
         `anonymizer adopt --data-dir {path}` makes a copy an installation of its own"
    )]
    Copied {
        /// The data dir.
        path: PathBuf,
        /// Where the original was.
        elsewhere: &'static str,
    },
    /// Another data dir has the same installation id.
    #[error(
        "the data dir {path} is not the only one with its installation id: {words}. Neither sends a row \
         until you have decided: on the one that goes on `anonymizer adopt --keep-id --data-dir {path}`, on \
         the other `anonymizer adopt`, which gives it an id of its own"
    )]
    SecondOwner {
        /// The data dir.
        path: PathBuf,
        /// What was seen.
        words: String,
    },
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
    /// Whether the data dir may be a copy, and a person has to decide.
    pub fn is_copy(&self) -> bool {
        matches!(
            self,
            QueueError::Copied { .. } | QueueError::SecondOwner { .. }
        )
    }

    pub(crate) fn io(doing: &str, path: &Path, source: std::io::Error) -> QueueError {
        QueueError::Io {
            doing: doing.to_owned(),
            path: path.to_owned(),
            source,
        }
    }

    /// Whether what is stored is not whole. All others are about the machine, and go with their cause.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            QueueError::Open { .. }
                | QueueError::Version { .. }
                | QueueError::CutOff { .. }
                | QueueError::Damaged { .. }
        )
    }

    /// The same error, or that the disk of `data_dir` is full if that is its cause: sled has many ways to
    /// fail then, and all of them look like damage.
    pub(crate) fn on_disk(self, data_dir: &Path) -> QueueError {
        let is_known = matches!(self, QueueError::NoSpace { .. });
        let mut cause: &dyn std::error::Error = &self;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let what = cause.to_string();
        if is_known || !NO_SPACE.iter().any(|words| what.contains(words)) {
            return self;
        }
        QueueError::full(data_dir, what)
    }

    /// [`QueueError::on_disk`] of an error while sled opens, which needs room for a segment: without
    /// that nothing can be said about the queue.
    pub(crate) fn at_open(self, data_dir: &Path) -> QueueError {
        let is_unclear = matches!(self, QueueError::Open { .. } | QueueError::Damaged { .. });
        match free_bytes(data_dir) {
            Ok(free) if is_unclear && free < OPEN_NEEDS => {
                QueueError::full(data_dir, describe(&self))
            }
            _ => self.on_disk(data_dir),
        }
    }

    fn full(data_dir: &Path, what: String) -> QueueError {
        QueueError::NoSpace {
            path: data_dir.to_owned(),
            free: free_bytes(data_dir).unwrap_or(0),
            what,
        }
    }

    pub(crate) fn store(doing: &'static str) -> impl FnOnce(sled::Error) -> QueueError {
        move |source| QueueError::Store { doing, source }
    }
}

/// The error and its cause, in one line.
pub(in crate::queue) fn describe(e: &dyn std::error::Error) -> String {
    match e.source() {
        Some(source) => format!("{e}: {source}"),
        None => e.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(e: QueueError) -> bool {
        let full = e.on_disk(Path::new("/tmp"));
        let said = full.to_string();
        matches!(full, QueueError::NoSpace { .. }) && said.contains("No space left on device")
    }

    /// sled says it as an error, as an error in words, and as a panic.
    #[test]
    fn a_full_disk_is_told_from_damage_in_each_form_of_it() {
        let full = || std::io::Error::from_raw_os_error(28);
        let path = Path::new("/tmp/queue");
        assert!(named(QueueError::io("cannot sync", path, full())));
        assert!(named(QueueError::store("write")(sled::Error::Io(full()))));
        assert!(named(QueueError::Open {
            path: path.to_owned(),
            source: sled::Error::Io(std::io::Error::other(format!("{}", full()))),
        }));
        assert!(named(QueueError::store("write")(sled::Error::Io(
            std::io::Error::other(format!("{:?}", full()))
        ))));
        assert!(named(QueueError::Damaged {
            what: format!(
                "sled gave up: called `Result::unwrap()` on an `Err` value: {}",
                full()
            ),
        }));
        assert!(!named(QueueError::Damaged {
            what: "a block".to_owned(),
        }));
        assert!(!named(QueueError::io(
            "cannot sync",
            path,
            std::io::Error::from_raw_os_error(5)
        )));
    }
}
