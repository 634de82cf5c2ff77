//! The data dir: made, kept private, and owned by one process.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::queue::QueueError;

/// sled's directory below the data dir.
pub const QUEUE_DIR: &str = "queue";
/// Lock file below the data dir, held (flock) by the one process that owns it.
pub const LOCK_FILE: &str = "lock";
/// Unix socket of a live instance below the data dir.
pub const SOCKET_FILE: &str = "control.sock";
/// The last day for the charts, below the data dir: no part of the queue, nor of what is promised.
pub const HISTORY_FILE: &str = "history";

/// Modes of what only its owner may see.
const PRIVATE_DIR: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;

/// How often a lock that another process has is tried again.
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// Who has a data dir.
pub enum Owned<T> {
    /// A live process, which answered.
    Live(T),
    /// This one.
    Locked(DataDir),
}

/// Exclusive ownership of a data dir, for as long as it lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates the directory if it is missing and takes its lock.
    ///
    /// # Errors
    /// [`QueueError::InUse`] if another process has it, [`QueueError::Io`] if it cannot be made.
    pub fn lock(path: &Path) -> Result<DataDir, QueueError> {
        let io = |doing: &str, e| QueueError::io(doing, path, e);
        DirBuilder::new()
            .recursive(true)
            .mode(PRIVATE_DIR)
            .create(path)
            .map_err(|e| io("cannot create data dir", e))?;
        let file = path.join(LOCK_FILE);
        let mut lock = open_own(&file)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = fs::read_to_string(&file).unwrap_or_default();
                return Err(QueueError::InUse {
                    path: path.to_owned(),
                    pid: holder.trim().to_owned(),
                });
            }
            Err(TryLockError::Error(e)) => return Err(QueueError::io("cannot lock", &file, e)),
        }
        // For the message above only; the lock itself is the kernel's and dies with the process.
        let _ = lock.set_len(0);
        keep_private(path);
        let _ = writeln!(lock, "{}", std::process::id());
        Ok(DataDir {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// The same, waiting up to `patience` for a process that has it: it may be about to end.
    ///
    /// # Errors
    /// As [`DataDir::lock`].
    pub fn lock_within(path: &Path, patience: Duration) -> Result<DataDir, QueueError> {
        match DataDir::lock_or(path, patience, || Ok::<_, QueueError>(None::<Infallible>))? {
            Owned::Locked(dir) => Ok(dir),
            Owned::Live(never) => match never {},
        }
    }

    /// The same, unless `ask` gets an answer of the process that has it: it is asked before each try.
    ///
    /// # Errors
    /// As [`DataDir::lock`], and those of `ask`.
    pub fn lock_or<T, E: From<QueueError>>(
        path: &Path,
        patience: Duration,
        mut ask: impl FnMut() -> Result<Option<T>, E>,
    ) -> Result<Owned<T>, E> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(answer) = ask()? {
                return Ok(Owned::Live(answer));
            }
            match DataDir::lock(path) {
                Err(QueueError::InUse { .. }) if Instant::now() < deadline => {
                    std::thread::sleep(LOCK_RETRY);
                }
                other => return Ok(Owned::Locked(other?)),
            }
        }
    }

    /// Refuses root a queue of which all files are another user's: those that it would leave are closed to the
    /// service of that user.
    ///
    /// # Errors
    /// [`QueueError::Anothers`].
    pub fn refuse_root(&self) -> Result<(), QueueError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        let queue = self.queue_path();
        let files = fs::read_dir(&queue).into_iter().flatten().flatten();
        let owners: BTreeSet<_> = files
            .filter_map(|file| file.metadata().ok())
            .map(|meta| (meta.uid(), meta.gid()))
            .collect();
        match owners.first() {
            Some(&(uid, gid)) if owners.iter().all(|(uid, _)| *uid != 0) => {
                Err(QueueError::Anothers {
                    path: self.path.clone(),
                    uid,
                    gid,
                })
            }
            _ => Ok(()),
        }
    }

    /// The data dir's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a small file of ours beside the queue, or makes it, for its owner only.
    ///
    /// # Errors
    /// [`QueueError::Io`] if it cannot be made, or if there is a link or something else of that name.
    pub fn own_file(&self, name: &str) -> Result<File, QueueError> {
        open_own(&self.path.join(name))
    }

    /// Where sled keeps its files.
    pub fn queue_path(&self) -> PathBuf {
        self.path.join(QUEUE_DIR)
    }
}

/// Opens a file of ours below the data dir, or makes it. A link there is somebody else's, and what it
/// leads to is not written to.
pub(in crate::queue) fn open_own(path: &Path) -> Result<File, QueueError> {
    // Nor does it wait for whoever has the other end of a pipe.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(PRIVATE_FILE)
        .custom_flags(flags.bits() as i32)
        .open(path);
    let is_file = |f: &File| f.metadata().is_ok_and(|meta| meta.is_file());
    match opened {
        Ok(file) if is_file(&file) => Ok(file),
        Err(e) if e.raw_os_error() != Some(Errno::LOOP.raw_os_error()) => {
            Err(QueueError::io("cannot open", path, e))
        }
        _ => {
            let what = std::io::Error::other("it is a link, or no file; remove it");
            Err(QueueError::io("will not use", path, what))
        }
    }
}

/// Shuts others out of a directory that was made when they were not, and with that of all files in it.
pub(in crate::queue) fn keep_private(path: &Path) {
    let is_open = |meta: &fs::Metadata| meta.permissions().mode() & 0o077 != 0;
    if !fs::metadata(path).is_ok_and(|meta| is_open(&meta)) {
        return;
    }
    if let Err(e) = fs::set_permissions(path, Permissions::from_mode(PRIVATE_DIR)) {
        log::warn!(
            "others may read {}, and its mode cannot be changed: {e}",
            path.display()
        );
    }
}
