//! Saving what is whole of a damaged queue, into a fresh one.
//!
//! 1. The queue's directory is copied to `queue.before-repair-TIME` and synced; nothing is touched
//!    before that is done.
//! 2. Every whole record and block goes into `queue.repaired`, a new sled, which is synced.
//! 3. The two directories change places in one rename, and the damaged one is removed: the copy has
//!    it. A crash leaves either the old queue or the new one, and in any case the copy.

use std::cell::Cell;
use std::fs;
use std::path::Path;

pub use super::salvage::Repaired;
use super::salvage::{Salvage, put};
use super::verify::verify;
use crate::queue::disk::files::{self, sync_below};
use crate::queue::disk::last_sync::{HighWater, SYNCS};
use crate::queue::disk::panics::guarded;
use crate::queue::disk::trees::Trees;
use crate::queue::disk::{origin, runs};
use crate::queue::format::block;
use crate::queue::format::error::describe;
use crate::queue::{CommandError, DataDir, LaneState, QueueError, json};
use crate::runtime::room::free_bytes;

/// What a repair does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The copy; counted in bytes.
    Copy,
    /// The look for damage; counted in rows.
    Look,
    /// What is whole is saved; counted in rows.
    Save,
}

/// Hears of each step how much is done, and of how much.
pub type Watch<'a> = &'a dyn Fn(Step, u64, u64);

/// Repairs the queue in `dir`.
///
/// # Errors
/// [`CommandError`]: the copy, once made, stays, and `queue` is as it was or as sled left it.
pub fn repair(dir: &DataDir, now_ms: u64, watch: Watch<'_>) -> Result<Repaired, CommandError> {
    save(dir, now_ms, watch).map_err(|e| match e {
        CommandError::Queue(e) => e.on_disk(dir.path()).into(),
        refused => refused,
    })
}

fn save(dir: &DataDir, now_ms: u64, watch: Watch<'_>) -> Result<Repaired, CommandError> {
    let damaged = dir.queue_path();
    let copy = dir.path().join(format!("queue.before-repair-{now_ms}"));
    let fresh = dir.path().join("queue.repaired");
    let size = room_for(dir.path(), &damaged)?;
    let copied = Cell::new(0);
    let seen = |bytes| {
        copied.set(copied.get() + bytes);
        watch(Step::Copy, copied.get(), size);
    };
    if let Err(e) = copy_dir(&damaged, &copy, &seen) {
        // Half a copy is of no use, and takes room.
        let _ = fs::remove_dir_all(&copy);
        return Err(e.into());
    }
    if fresh.exists() {
        // Of a repair that was killed.
        fs::remove_dir_all(&fresh).map_err(|e| QueueError::io("cannot remove", &fresh, e))?;
    }
    let mut done = Repaired {
        copy: copy.clone(),
        ..Repaired::default()
    };
    let from = open(dir, &mut done)?;
    let rows = from.rows();
    let look = |n| {
        watch(Step::Look, n, rows);
        false
    };
    let found = verify(&from, false, &look)?;
    done.damaged = found.damage.len();
    done.lost = found.damage.iter().filter_map(|d| d.lost.clone()).collect();
    done.lost
        .sort_by_key(|l| (l.topic.clone(), l.partition, l.from, l.to));
    done.lost.dedup();
    let to = Trees::open_at(&fresh)?;
    let high_water = HighWater::open(dir)?;
    let cut_off = high_water.check(dir, &from.meta).err();
    Salvage::new(&from, &to, &mut done).run(&|n| watch(Step::Save, n, rows))?;
    if let Some(e) = cut_off {
        done.damaged += 1;
        done.notes.push(describe(&e));
        hold_all(&to, &mut done)?;
    }
    put(&to.meta, SYNCS, json(&high_water.last()))?;
    origin::inherit(&from, &damaged, &to, &fresh)?;
    runs::declare(&to)?;
    guarded(|| to.db.flush().map_err(QueueError::store("flush")))?;
    drop((from, to));
    sync_below(&fresh)?;
    if !files::exchange(dir, &fresh)? {
        let unsupported = std::io::ErrorKind::Unsupported.into();
        return Err(QueueError::io("cannot exchange", &fresh, unsupported).into());
    }
    fs::remove_dir_all(&fresh).map_err(|e| QueueError::io("cannot remove", &fresh, e))?;
    Ok(done)
}

/// Opens the damaged queue, without its snapshots if need be: they only repeat what is in the log.
fn open(dir: &DataDir, done: &mut Repaired) -> Result<Trees, QueueError> {
    let first = match Trees::open(dir) {
        Ok(trees) => return Ok(trees),
        Err(e) if !e.is_damage() => return Err(e),
        Err(e) => e,
    };
    done.notes
        .push(format!("sled did not open it: {}", describe(&first)));
    let path = dir.queue_path();
    let listed = fs::read_dir(&path).map_err(|e| QueueError::io("cannot list", &path, e))?;
    for entry in listed.flatten() {
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            fs::remove_file(entry.path())
                .map_err(|e| QueueError::io("cannot remove", &entry.path(), e))?;
        }
    }
    match Trees::open(dir) {
        Ok(trees) => {
            done.notes
                .push("opened without its snapshots, from the log alone".to_owned());
            Ok(trees)
        }
        Err(e) if !e.is_damage() => Err(e),
        Err(e) => Err(QueueError::Damaged {
            what: format!(
                "nothing can be saved, sled does not open it: {}. The queue as it was is in {}; to \
                 go on without it, move {} away: what Kafka has not seen committed is read again",
                describe(&e),
                done.copy.display(),
                path.display()
            ),
        }),
    }
}

/// What sled cut off may have been the delivery of rows that are back now: all that no batch holds
/// waits for a person. A batch keeps its token, so it may go out again.
fn hold_all(to: &Trees, done: &mut Repaired) -> Result<(), QueueError> {
    for lane in to.lanes() {
        let mut lane = lane?;
        done.notes.push(format!(
            "{} p{}: what was appended after offset {} is lost; Kafka may still have it",
            lane.topic, lane.partition, lane.next
        ));
        if lane.next > lane.sealed {
            lane.eligible = lane.sealed;
            let why = "repair: sled cut off the end of the queue; ClickHouse may have these rows";
            lane.state = LaneState::Held(why.to_owned());
        }
        put(&to.lanes, &block::lane_key(lane.id), json(&lane))?;
    }
    Ok(())
}

/// Refuses if the disk cannot hold the queue twice more. Returns its bytes.
fn room_for(data_dir: &Path, queue: &Path) -> Result<u64, CommandError> {
    let size = size_of(queue)?;
    let free = free_bytes(data_dir)
        .map_err(|e| QueueError::io("cannot ask for free space", data_dir, e))?;
    if free < 2 * size {
        return Err(CommandError::NoRoom {
            need: 2 * size,
            free,
        });
    }
    Ok(size)
}

fn size_of(dir: &Path) -> Result<u64, QueueError> {
    let io = |e| QueueError::io("cannot list", dir, e);
    let mut size = 0;
    for entry in fs::read_dir(dir).map_err(io)? {
        let entry = entry.map_err(io)?;
        let meta = entry.metadata().map_err(io)?;
        size += if meta.is_dir() {
            size_of(&entry.path())?
        } else {
            meta.len()
        };
    }
    Ok(size)
}

pub(crate) fn copy_dir(from: &Path, to: &Path, seen: &dyn Fn(u64)) -> Result<(), QueueError> {
    let io = |e| QueueError::io("cannot copy to", to, e);
    fs::create_dir(to).map_err(io)?;
    for entry in fs::read_dir(from).map_err(io)? {
        let entry = entry.map_err(io)?;
        let target = to.join(entry.file_name());
        if entry.file_type().map_err(io)?.is_dir() {
            copy_dir(&entry.path(), &target, seen)?;
        } else {
            seen(fs::copy(entry.path(), &target).map_err(io)?);
        }
    }
    sync_below(to)
}
