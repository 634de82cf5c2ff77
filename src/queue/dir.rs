//! The data dir: who owns it, and opening sled in it.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::QueueError;
use super::trees::guarded;

/// sled's directory below the data dir.
pub const QUEUE_DIR: &str = "queue";
/// Lock file below the data dir, held (flock) by the one process that owns it.
pub const LOCK_FILE: &str = "lock";
/// Unix socket of a live instance below the data dir.
pub const SOCKET_FILE: &str = "control.sock";

/// Segments of 8 MiB: a leaf page of sled holds up to 16 blocks of about 24 KiB and must stay
/// below a quarter of a segment, or it becomes a side file that is never synced. Fixed for the
/// life of a queue: sled refuses to open it with another size.
const SEGMENT_BYTES: usize = 8 << 20;
/// sled's own default is 1 GiB. Blocks are written once and read once, so a cache gains little; but a
/// 256th of it must hold the index pages of 256 children, which each access goes through.
const CACHE_BYTES: u64 = 16 << 20;

/// Where a queue is made, before it gets its name.
const NEW_QUEUE_DIR: &str = "queue.new";

/// How long sled may take to let go of a database that was closed.
const LET_GO: Duration = Duration::from_secs(10);

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
        fs::create_dir_all(path).map_err(|e| io("cannot create data dir", e))?;
        let file = path.join(LOCK_FILE);
        let mut lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&file)
            .map_err(|e| QueueError::io("cannot open", &file, e))?;
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

    /// The data dir's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where sled keeps its files.
    pub fn queue_path(&self) -> PathBuf {
        self.path.join(QUEUE_DIR)
    }
}

/// Opens sled, and its data file a second time for fsync, which sled's flush does not do.
///
/// A process killed while sled opens can leave an empty `snap.*.generating`, which the next open
/// takes for the newest snapshot (spacejam/sled#1527). It is moved aside, once; the log itself
/// holds everything.
pub fn open_sled(dir: &DataDir) -> Result<(sled::Db, File), QueueError> {
    let path = dir.queue_path();
    if !path.exists() {
        create(dir, &path)?;
    }
    let open = || open_once_let_go(&path);
    let db = match open() {
        Err(sled::Error::Corruption { .. }) if move_generating_aside(&path)? => open(),
        other => other,
    }
    .map_err(|e| QueueError::Open {
        path: path.clone(),
        source: e,
    })?;
    let data_file = path.join("db");
    let file = File::open(&data_file).map_err(|e| QueueError::io("cannot open", &data_file, e))?;
    Ok((db, file))
}

/// Opens sled, whose own lock can outlive a closed database for a moment: its threads hold it, or a
/// child of this process that has not started its program yet. Nobody else can have it, since the data
/// dir is locked.
fn open_once_let_go(path: &Path) -> Result<sled::Db, sled::Error> {
    let deadline = Instant::now() + LET_GO;
    loop {
        match sled_config(path).open() {
            Err(sled::Error::Io(e))
                if e.to_string().contains("could not acquire lock")
                    && Instant::now() < deadline =>
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            other => return other,
        }
    }
}

/// Makes an empty queue, and gives it its name once it is durable as a whole. sled never syncs its
/// `conf`, without which it opens nothing, nor the names of its files.
fn create(dir: &DataDir, path: &Path) -> Result<(), QueueError> {
    remove_new(dir)?;
    let new = new_path(dir);
    let open = || sled_config(&new).open().map_err(QueueError::store("make"));
    // sled panics where its last sync fails while it closes.
    guarded(|| open().map(drop)).map_err(|e| match e {
        QueueError::Damaged { what } => {
            QueueError::io("cannot make", &new, std::io::Error::other(what))
        }
        other => other,
    })?;
    for part in ["conf", "db", "blobs", ""] {
        let part = new.join(part);
        sync_path(&part).map_err(|e| QueueError::io("cannot sync", &part, e))?;
    }
    fs::rename(&new, path).map_err(|e| QueueError::io("cannot rename to", path, e))?;
    // The data dir itself may be new, too.
    let data_dir = dir.path().canonicalize();
    let data_dir = data_dir.map_err(|e| QueueError::io("cannot find", dir.path(), e))?;
    for part in [Some(&*data_dir), data_dir.parent()].into_iter().flatten() {
        sync_path(part).map_err(|e| QueueError::io("cannot sync directory", part, e))?;
    }
    Ok(())
}

/// Where a queue is made before it gets its name. After a crash: one that was not finished, or that
/// another took the place of.
pub(super) fn new_path(dir: &DataDir) -> PathBuf {
    dir.path().join(NEW_QUEUE_DIR)
}

/// Removes what lies there.
pub(super) fn remove_new(dir: &DataDir) -> Result<(), QueueError> {
    let new = new_path(dir);
    match fs::remove_dir_all(&new) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(QueueError::io("cannot remove", &new, e))
        }
        _ => Ok(()),
    }
}

/// The queue and `other` change names, in one step, and durably. Both are closed and durable. Returns
/// false, and nothing has happened, if the file system has no such step.
pub(super) fn exchange(dir: &DataDir, other: &Path) -> Result<bool, QueueError> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    let (path, flags) = (dir.queue_path(), RenameFlags::EXCHANGE);
    match renameat_with(CWD, other, CWD, &path, flags) {
        Ok(()) => {}
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => return Ok(false),
        Err(e) => return Err(QueueError::io("cannot exchange", other, e.into())),
    }
    sync_path(dir.path()).map_err(|e| QueueError::io("cannot sync directory", dir.path(), e))?;
    Ok(true)
}

/// Makes all files below a directory durable, and their names.
pub(super) fn sync_below(path: &Path) -> Result<(), QueueError> {
    let io = |e| QueueError::io("cannot sync", path, e);
    for entry in fs::read_dir(path).map_err(io)? {
        let entry = entry.map_err(io)?;
        if entry.file_type().map_err(io)?.is_dir() {
            sync_below(&entry.path())?;
        } else {
            sync_path(&entry.path()).map_err(io)?;
        }
    }
    sync_path(path).map_err(io)
}

fn sync_path(path: &Path) -> std::io::Result<()> {
    File::open(path)?.sync_all()
}

/// The one way in which sled is opened.
pub(super) fn sled_config(path: &Path) -> sled::Config {
    sled::Config::new()
        .path(path)
        .segment_size(SEGMENT_BYTES)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(None)
}

fn move_generating_aside(path: &Path) -> Result<bool, QueueError> {
    let entries = fs::read_dir(path).map_err(|e| QueueError::io("cannot list", path, e))?;
    let mut moved = false;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            let aside = path.join(format!("aside.{name}"));
            fs::rename(entry.path(), &aside)
                .map_err(|e| QueueError::io("cannot move aside", &entry.path(), e))?;
            log::warn!(
                "moved {name} aside: an earlier start was killed while it opened the queue; nothing is lost"
            );
            moved = true;
        }
    }
    Ok(moved)
}

/// Makes sled's side files durable that are not in `known` yet. There are none unless a leaf page
/// grew beyond a quarter of a segment, which takes many rows of a MiB side by side; but sled itself
/// would never sync them.
///
/// # Errors
/// [`QueueError::Io`]; must not be tried again.
pub fn sync_side_files(dir: &DataDir, known: &mut BTreeSet<OsString>) -> Result<(), QueueError> {
    let path = dir.queue_path().join("blobs");
    let io = |path: &Path, e| QueueError::io("cannot sync", path, e);
    let mut found = BTreeSet::new();
    let mut any = false;
    for entry in fs::read_dir(&path).map_err(|e| io(&path, e))? {
        let name = entry.map_err(|e| io(&path, e))?.file_name();
        if !known.contains(&name) {
            let file = path.join(&name);
            match File::open(&file) {
                Ok(f) => f.sync_all().map_err(|e| io(&file, e))?,
                // sled removes them as it likes.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                Err(e) => return Err(io(&file, e)),
            }
            any = true;
        }
        found.insert(name);
    }
    if any {
        File::open(&path)
            .and_then(|d| d.sync_all())
            .map_err(|e| io(&path, e))?;
    }
    *known = found;
    Ok(())
}
