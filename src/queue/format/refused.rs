//! Why a command gets nothing done.

use std::path::PathBuf;

use super::error::QueueError;
use super::lane::LaneId;

/// A command that was refused or ended early; the queue is as it was, and goes on. Only
/// [`CommandError::Queue`] is a failure of the queue itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The queue failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// An export would take the room that the queue of a live instance needs.
    #[error(
        "the export to {path} was given up: {free} bytes of disk are free, and {keep} stay free for the \
         queue (min_free_disk); choose another disk"
    )]
    NoRoomBeside {
        /// The new file, which is removed again.
        path: PathBuf,
        /// Bytes free.
        free: u64,
        /// Bytes that stay free.
        keep: u64,
    },
    /// An export to this name was begun.
    #[error(
        "{partial} is there: another export to that name is under way, or one was killed. If none runs, \
         remove that file and export again"
    )]
    Unfinished {
        /// The file that is not whole.
        partial: PathBuf,
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
    /// Only a rejected batch can be dropped.
    #[error(
        "batch {seq} is not rejected: it goes out by itself, and only a rejected one is dropped"
    )]
    NotDroppable {
        /// The number.
        seq: u64,
    },
    /// Only a batch that may be stored, or was refused, can be called stored.
    #[error("batch {seq} waits for nobody: it goes out by itself")]
    NotInDoubt {
        /// The number.
        seq: u64,
    },
    /// Only held rows wait for a person.
    #[error("no rows are held of {lane}; `anonymizer held list` shows those that are")]
    NotHeld {
        /// The lane.
        lane: LaneId,
    },
    /// A long look at the queue was ended by a stop request. Nothing was changed.
    #[error("ended early: the program was asked to stop")]
    Stopped,
}
