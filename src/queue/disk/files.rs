//! sled's files in the data dir: made, opened, made durable, exchanged.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::queue::QueueError;
use crate::queue::disk::dir::{DataDir, keep_private};
use crate::queue::disk::panics::guarded;
use crate::queue::format::SEGMENT_BYTES;
use crate::queue::format::block::FORMAT;
use crate::queue::format::json::put_json;

/// sled's own default is 1 GiB. Blocks are written once and read once, so a cache gains little; but a
/// 256th of it must hold the index pages of 256 children, which each access goes through.
const CACHE_BYTES: u64 = 16 << 20;

/// Where a queue is made, before it gets its name.
const NEW_QUEUE_DIR: &str = "queue.new";

/// How long sled may take to let go of a database that was closed.
const LET_GO: Duration = Duration::from_secs(10);

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
    // Of a mount that is open to others, and not ours to close.
    keep_private(&path);
    let open = || open_once_let_go(&path);
    let db = match open() {
        Err(sled::Error::Corruption { .. }) if move_generating_aside(&path)? => open(),
        other => other,
    }
    .map_err(|e| not_opened(&path, e))?;
    let data_file = path.join("db");
    let file = File::open(&data_file).map_err(|e| QueueError::io("cannot open", &data_file, e))?;
    Ok((db, file))
}

/// What the system refuses is no damage; a disk that cannot read may be.
pub(in crate::queue) fn not_opened(path: &Path, e: sled::Error) -> QueueError {
    const EIO: i32 = 5;
    match e {
        sled::Error::Io(e) if e.raw_os_error().is_some_and(|code| code != EIO) => {
            QueueError::io("cannot open the queue in", path, e)
        }
        source => QueueError::Open {
            path: path.to_owned(),
            source,
        },
    }
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
    let open = || {
        let db = sled_config(&new)
            .open()
            .map_err(QueueError::store("make"))?;
        // Without it the files are those of a queue that was lost.
        let meta = db.open_tree("meta").map_err(QueueError::store("make"))?;
        put_json(&meta, b"format", &FORMAT)?;
        db.flush().map_err(QueueError::store("make")).map(drop)
    };
    // sled panics where its last sync fails while it closes.
    guarded(open).map_err(|e| match e {
        QueueError::Damaged { what } => {
            QueueError::io("cannot make", &new, std::io::Error::other(what))
        }
        other => other,
    })?;
    sync_below(&new)?;
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
pub(in crate::queue) fn new_path(dir: &DataDir) -> PathBuf {
    dir.path().join(NEW_QUEUE_DIR)
}

/// Removes what lies there.
pub(in crate::queue) fn remove_new(dir: &DataDir) -> Result<(), QueueError> {
    let new = new_path(dir);
    match fs::remove_dir_all(&new) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(QueueError::io("cannot remove", &new, e))
        }
        _ => Ok(()),
    }
}

/// The queue and `other` change names, in one step, and durably. Both are closed and durable. Returns
/// false, and nothing has happened, if that is refused.
pub(in crate::queue) fn exchange(dir: &DataDir, other: &Path) -> Result<bool, QueueError> {
    exchange_by(dir, other, exchange_names)
}

/// In one step.
pub(in crate::queue) fn exchange_names(a: &Path, b: &Path) -> std::io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE)?)
}

/// [`exchange`] by `rename`.
pub(in crate::queue) fn exchange_by(
    dir: &DataDir,
    other: &Path,
    rename: impl FnOnce(&Path, &Path) -> std::io::Result<()>,
) -> Result<bool, QueueError> {
    // Whatever the reason, nothing has happened: file systems, mounts and sandboxes refuse it with
    // EINVAL, ENOSYS, EXDEV, EPERM, EBUSY and others.
    if let Err(e) = rename(other, &dir.queue_path()) {
        log::warn!(
            "{} and {} cannot change names: {e}",
            other.display(),
            dir.queue_path().display()
        );
        return Ok(false);
    }
    sync_path(dir.path()).map_err(|e| QueueError::io("cannot sync directory", dir.path(), e))?;
    Ok(true)
}

/// Makes all files below a directory durable, and their names.
pub(in crate::queue) fn sync_below(path: &Path) -> Result<(), QueueError> {
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
pub(in crate::queue) fn sled_config(path: &Path) -> sled::Config {
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
