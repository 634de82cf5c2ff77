//! Writing stored rows out, each once.
//!
//! The walk goes by lane and offset, so no row comes twice. Beside a live instance the lanes and
//! batches are read first: rows appended later are left out, and rows that ClickHouse gets during
//! the walk may be missing, since they are no longer queued.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::queue::disk::trees::Trees;
use crate::queue::format::block;
use crate::queue::format::error::describe;
use crate::queue::{Batch, Block, CommandError, DataDir, Lane, LaneId, QueueError, unpack};
use crate::row::read::rows;
use crate::row::{Format, write_row};
use crate::runtime::room::free_bytes;

/// Which rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Rows that ClickHouse is not known to have: sealed, rejected, eligible and tail
    Queue,
    /// Rows in batches: sealed, rejected, and delivered ones that are kept
    Batches,
    /// Both
    All,
}

/// Which rows, and how they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// Which rows.
    pub what: What,
    /// Only those of this batch.
    pub batch: Option<u64>,
    /// Only those that are held of this lane.
    #[serde(default)]
    pub held: Option<LaneId>,
    /// How.
    pub format: Format,
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exported {
    /// Rows.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
    /// What is damaged and was left out.
    pub damaged: Vec<String>,
}

/// Writes the rows that `selection` names to `out`. `stop` hears how many stored rows were passed.
///
/// # Errors
/// [`QueueError`] if `out` fails, the batch does not exist, or `stop` says so; damaged blocks are
/// left out and listed.
pub fn export(
    trees: &Trees,
    selection: Selection,
    live: bool,
    out: &mut dyn Write,
    stop: &dyn Fn(u64) -> bool,
) -> Result<Exported, CommandError> {
    let mut done = Exported::default();
    let mut whole_lanes = BTreeMap::new();
    for lane in trees.lanes() {
        match lane {
            Ok(lane) => drop(whole_lanes.insert(lane.id, lane)),
            Err(e) => done.damaged.push(describe(&e)),
        }
    }
    let mut batches = Vec::new();
    for batch in trees.batches() {
        match batch {
            Ok(batch) => batches.push(batch),
            Err(e) => done.damaged.push(describe(&e)),
        }
    }
    if let Some(seq) = selection.batch
        && !batches.iter().any(|b| b.seq == seq)
    {
        return Err(CommandError::NoBatch { seq });
    }
    if let Some(lane) = selection.held
        && !whole_lanes.get(&lane).is_some_and(Lane::is_held)
    {
        return Err(CommandError::NotHeld { lane });
    }
    let (mut text, mut passed) = (Vec::new(), 0);
    for stored in trees.blocks(block::key(LaneId(0), 0)) {
        if stop(passed) {
            return Err(CommandError::Stopped);
        }
        let Block { header, frame, .. } = match stored.block {
            Ok(block) => block,
            Err(e) => {
                done.damaged.push(describe(&e));
                continue;
            }
        };
        passed += u64::from(header.rows);
        let batch = batches.iter().find(|b| b.covers(&header));
        let lane = whole_lanes.get(&header.lane);
        let later = live && batch.is_none() && is_later(lane, header.first);
        if later || !selection.takes(batch, lane, header.first) {
            continue;
        }
        let raw = match unpack(&header, &frame) {
            Ok(raw) => raw,
            Err(e) => {
                done.damaged.push(describe(&e));
                continue;
            }
        };
        text.clear();
        // `unpack` has read every row already.
        for row in rows(&raw).flatten() {
            write_row(selection.format, &row, &mut text);
            done.rows += 1;
        }
        done.bytes += text.len() as u64;
        out.write_all(&text)
            .map_err(|e| QueueError::io("cannot write", Path::new("the export"), e))?;
    }
    Ok(done)
}

fn is_later(lane: Option<&Lane>, first: i64) -> bool {
    lane.is_none_or(|l| first >= l.next)
}

impl Selection {
    /// Without a batch or a lane.
    pub fn of(what: What, format: Format) -> Selection {
        Selection {
            what,
            batch: None,
            held: None,
            format,
        }
    }

    fn takes(&self, batch: Option<&Batch>, lane: Option<&Lane>, first: i64) -> bool {
        if self.held.is_some() {
            return lane.is_some_and(|l| Some(l.id) == self.held && first >= l.eligible);
        }
        if self.batch.is_some() {
            return batch.map(|b| b.seq) == self.batch;
        }
        match self.what {
            What::Queue => batch.is_none_or(|b| !b.is_delivered()),
            What::Batches => batch.is_some(),
            What::All => true,
        }
    }
}

/// What an export leaves free on the disk of a live instance's queue.
#[derive(Clone, Copy, Debug)]
pub struct KeepFree<'a> {
    /// The data dir.
    pub data_dir: &'a Path,
    /// Bytes.
    pub bytes: u64,
}

impl KeepFree<'_> {
    /// Refuses if the export to `path` would take more.
    fn check(&self, path: &Path) -> Result<(), CommandError> {
        let device = |path: &Path| fs::metadata(path).map(|meta| meta.dev()).ok();
        let beside = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        if device(beside.unwrap_or(Path::new("."))) != device(self.data_dir) {
            return Ok(());
        }
        let free = free_bytes(self.data_dir)
            .map_err(|e| QueueError::io("cannot ask for free space", self.data_dir, e))?;
        if free >= self.bytes {
            return Ok(());
        }
        Err(CommandError::NoRoomBeside {
            path: path.to_owned(),
            free,
            keep: self.bytes,
        })
    }
}

/// Writes them to a new file, which only its owner may read, and syncs it. It has its name once it is
/// whole: until then, and after a kill, it is `path` with `.partial` behind. What was begun is removed
/// if it fails.
///
/// # Errors
/// As [`export`]; [`QueueError::Io`] also if a file is there, [`CommandError::Unfinished`] if a partial one
/// is, [`CommandError::NoRoomBeside`] as `keep` says.
pub fn export_to_file(
    trees: &Trees,
    selection: Selection,
    keep: Option<KeepFree<'_>>,
    path: &Path,
    stop: &dyn Fn(u64) -> bool,
) -> Result<Exported, CommandError> {
    let fail = |doing: &'static str| move |e: io::Error| QueueError::io(doing, path, e);
    if path.symlink_metadata().is_ok() {
        return Err(fail("cannot create")(rustix::io::Errno::EXIST.into()).into());
    }
    let has_room = || keep.map_or(Ok(()), |keep| keep.check(path));
    has_room()?;
    let partial = partial_of(path);
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&partial)
        .map_err(|e| match e.kind() {
            ErrorKind::AlreadyExists => CommandError::Unfinished {
                partial: partial.clone(),
            },
            _ => QueueError::io("cannot create", &partial, e).into(),
        })?;
    let mut out = BufWriter::new(file);
    let full = Cell::new(None);
    let stop = |n| has_room().map_err(|e| full.set(Some(e))).is_err() || stop(n);
    let done = export(trees, selection, keep.is_some(), &mut out, &stop)
        .map_err(|e| full.take().unwrap_or(e))
        .and_then(|done| {
            out.flush().map_err(fail("cannot write"))?;
            out.get_ref().sync_all().map_err(fail("cannot sync"))?;
            rename_new(&partial, path).map_err(fail("cannot create"))?;
            Ok(done)
        });
    if done.is_err() {
        let _ = fs::remove_file(&partial);
    }
    done
}

/// Behind the name of a file that is not whole yet.
const PARTIAL: &str = ".partial";

/// The name that `path` has until it is whole.
pub fn partial_of(path: &Path) -> PathBuf {
    let mut partial = path.as_os_str().to_owned();
    partial.push(PARTIAL);
    PathBuf::from(partial)
}

/// The file in the data dir through which rows go to the stdout of the process `pid`.
pub fn passing_file(data_dir: &Path, pid: u32) -> PathBuf {
    data_dir.join(format!("export.{pid}.tmp"))
}

/// Removes the files of that kind which a kill left. Only the owner of the data dir writes such, so none
/// is being written.
pub(in crate::queue) fn remove_left(dir: &DataDir) -> Result<(), QueueError> {
    let is_ours = |name: &OsStr| {
        let name = name.to_str().and_then(|name| name.strip_prefix("export."));
        let pid = name.and_then(|n| n.strip_suffix(PARTIAL).unwrap_or(n).strip_suffix(".tmp"));
        pid.is_some_and(|pid| pid.parse::<u32>().is_ok())
    };
    let look = |e| QueueError::io("cannot look into", dir.path(), e);
    for entry in fs::read_dir(dir.path()).map_err(look)? {
        let entry = entry.map_err(look)?;
        if is_ours(&entry.file_name()) {
            let path = entry.path();
            match fs::remove_file(&path) {
                Err(e) if e.kind() != ErrorKind::NotFound => {
                    return Err(QueueError::io("cannot remove", &path, e));
                }
                _ => log::info!("removed {}, which a kill had left", path.display()),
            }
        }
    }
    Ok(())
}

/// Gives a file or directory its name, unless somebody else has it by now.
///
/// # Errors
/// If somebody has, or it cannot be renamed.
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not on every file system; nobody was there a moment ago.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => fs::rename(from, to),
        renamed => Ok(renamed?),
    }
}
