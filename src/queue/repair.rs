//! Saving what is whole of a damaged queue, into a fresh one.
//!
//! 1. The queue's directory is copied to `queue.before-repair-TIME` and synced; nothing is touched
//!    before that is done.
//! 2. Every whole record and block goes into `queue.repaired`, a new sled, which is synced.
//! 3. The two directories change places in one rename, and the damaged one is removed: the copy has
//!    it. A crash leaves either the old queue or the new one, and in any case the copy.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::dir::{self, sync_below};
use super::high_water::{HighWater, SYNCS};
use super::trees::{Trees, entries, guarded};
use super::verify::{Lost, sealed_sums};
use super::{
    Batch, BatchState, Block, BlockHeader, DataDir, Lane, LaneState, QueueError, Range, counts,
    describe, json, layout, new_installation_id, quarantine, unpack, verify,
};
use crate::record::LaneId;

/// What a repair did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Where the queue is as it was.
    pub copy: PathBuf,
    /// Blocks saved.
    pub blocks: u64,
    /// Rows in them.
    pub rows: u64,
    /// Lanes saved.
    pub lanes: u64,
    /// Batches saved.
    pub batches: u64,
    /// Offsets between which rows are lost.
    pub lost: Vec<Lost>,
    /// What else a person should know.
    pub notes: Vec<String>,
}

/// Repairs the queue in `dir`.
///
/// # Errors
/// [`QueueError`]: the copy, once made, stays, and `queue` is as it was or as sled left it.
pub fn repair(dir: &DataDir, now_ms: u64) -> Result<Repaired, QueueError> {
    let damaged = dir.queue_path();
    let copy = dir.path().join(format!("queue.before-repair-{now_ms}"));
    let fresh = dir.path().join("queue.repaired");
    room_for(dir.path(), &damaged)?;
    copy_dir(&damaged, &copy)?;
    if fresh.exists() {
        // Of a repair that was killed.
        fs::remove_dir_all(&fresh).map_err(|e| QueueError::io("cannot remove", &fresh, e))?;
    }
    let mut done = Repaired {
        copy: copy.clone(),
        ..Repaired::default()
    };
    let from = open(dir, &mut done)?;
    let found = verify(&from, false, &|| false)?;
    done.lost = found.damage.iter().filter_map(|d| d.lost.clone()).collect();
    done.lost
        .sort_by_key(|l| (l.topic.clone(), l.partition, l.from, l.to));
    done.lost.dedup();
    let to = Trees::open_at(&fresh)?;
    let high_water = HighWater::open(dir)?;
    let cut_off = high_water.check(dir, &from.meta).err();
    salvage(&from, &to, &mut done)?;
    if let Some(e) = cut_off {
        done.notes.push(describe(&e));
        hold_all(&to, &mut done)?;
    }
    put(&to.meta, SYNCS, json(&high_water.last()))?;
    super::origin::inherit(&from, &damaged, &to, &fresh)?;
    guarded(|| to.db.flush().map_err(QueueError::store("flush")))?;
    drop((from, to));
    sync_below(&fresh)?;
    if !dir::exchange(dir, &fresh)? {
        let unsupported = std::io::ErrorKind::Unsupported.into();
        return Err(QueueError::io("cannot exchange", &fresh, unsupported));
    }
    fs::remove_dir_all(&fresh).map_err(|e| QueueError::io("cannot remove", &fresh, e))?;
    Ok(done)
}

/// Opens the damaged queue, without its snapshots if need be: they only repeat what is in the log.
fn open(dir: &DataDir, done: &mut Repaired) -> Result<Trees, QueueError> {
    let first = match Trees::open(dir) {
        Ok(trees) => return Ok(trees),
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

fn salvage(from: &Trees, to: &Trees, done: &mut Repaired) -> Result<(), QueueError> {
    let mut lanes: BTreeMap<LaneId, Lane> = BTreeMap::new();
    for lane in from.lanes() {
        match lane {
            Ok(lane) => drop(lanes.insert(lane.id, lane)),
            Err(e) => done.notes.push(describe(&e)),
        }
    }
    let mut batches = Vec::new();
    for batch in from.batches() {
        match batch {
            Ok(batch) => batches.push(batch),
            Err(e) => done.notes.push(describe(&e)),
        }
    }
    done.lanes = lanes.len() as u64;
    lanes.values_mut().for_each(|l| (l.rows, l.bytes) = (0, 0));
    let mut orphans: Vec<Range> = Vec::new();
    let mut book = counts::book(from);
    let mut top = lanes.keys().next_back().map_or(0, |id| id.0);
    for stored in from.blocks(layout::key(LaneId(0), 0)) {
        let Ok(block) = stored.block else {
            continue;
        };
        let Block {
            header,
            minutes,
            frame,
        } = block;
        if unpack(&header, &frame).is_err() {
            continue;
        }
        put(
            &to.blocks,
            &layout::key(header.lane, header.first),
            layout::write_block(&header, &minutes, &frame),
        )?;
        done.blocks += 1;
        done.rows += u64::from(header.rows);
        let batch = batches.iter().find(|b| b.covers(&header));
        if let Some(lane) = lanes.get(&header.lane)
            && batch.is_none_or(|b| !b.counted)
        {
            book.add(lane, &header, &minutes);
        }
        top = top.max(header.lane.0);
        if batch.is_some_and(Batch::is_delivered) {
            continue;
        }
        let lane = match lanes.get_mut(&header.lane) {
            Some(lane) => lane,
            None if batch.is_some() => continue,
            None => lanes
                .entry(header.lane)
                .or_insert_with(|| Lane::unknown(header.lane, header.first)),
        };
        lane.next = lane.next.max(header.next);
        lane.rows += u64::from(header.rows);
        lane.bytes += u64::from(header.frame_len);
        if batch.is_none() && header.first < lane.sealed {
            add(&mut orphans, &header);
        }
    }
    let mut seqs: BTreeSet<u64> = BTreeSet::new();
    for e in &book.damaged {
        done.notes.push(format!(
            "{}: lost, so `reconcile` finds more rows there than it expects",
            describe(e)
        ));
    }
    let copied = [
        (&from.meta, &to.meta),
        (&from.partitions, &to.partitions),
        (&from.quarantine, &to.quarantine),
        (&from.counts, &to.counts),
    ];
    for (old, new) in copied {
        for (key, value) in entries(old).flatten() {
            // Entries have bytes behind their JSON, and are counted again.
            let whole = if std::ptr::eq(old, &from.quarantine) {
                quarantine::is_whole(&key, &value)
            } else if std::ptr::eq(old, &from.counts) {
                counts::is_whole(&key, &value)
            } else {
                serde_json::from_slice::<serde_json::Value>(&value).is_ok()
            };
            if whole && *key != *quarantine::TOTALS {
                put(new, &key, value.to_vec())?;
            }
        }
    }
    for batch in &mut batches {
        seqs.insert(batch.seq);
        cut(from, batch, done)?;
        // Nothing of it is left: its record would only fail.
        if batch.rows > 0 || batch.state == BatchState::Acked {
            put(&to.batches, &layout::seq_key(batch.seq), json(batch))?;
            done.batches += 1;
        }
    }
    let lost = counts::write_off(to, &book.gaps())?;
    if lost > 0 {
        done.notes
            .push(format!("{lost} rows are counted as lost from now on"));
    }
    let next_batch: u64 = super::get_json(&to.meta, b"next_batch")
        .ok()
        .flatten()
        .unwrap_or(1);
    let mut next_batch = seqs.last().map_or(1, |s| s + 1).max(next_batch);
    // The sequence of a batch whose record is gone must not be used again either.
    for (key, _) in entries(&from.batches).flatten() {
        let seq = key.iter().fold(0u64, |n, b| (n << 8) | u64::from(*b));
        next_batch = next_batch.max(seq.saturating_add(1));
    }
    let installation = match super::get_json::<String>(&to.meta, b"installation") {
        Ok(Some(id)) => id,
        _ => {
            done.notes
                .push("the installation id was lost; there is a new one".to_owned());
            new_installation_id()
        }
    };
    if !orphans.is_empty() {
        let batch = orphaned(from, orphans, next_batch, &installation)?;
        done.notes.push(format!(
            "{} rows were in batches whose record is lost: they are batch {}, rejected, since \
             ClickHouse may have them",
            batch.rows, batch.seq
        ));
        put(&to.batches, &layout::seq_key(batch.seq), json(&batch))?;
        done.batches += 1;
        next_batch += 1;
    }
    for lane in lanes.values() {
        put(&to.lanes, &layout::lane_key(lane.id), json(lane))?;
    }
    let next_lane: u32 = super::get_json(&to.meta, b"next_lane")
        .ok()
        .flatten()
        .unwrap_or(1);
    put(&to.meta, b"format", json(&layout::FORMAT))?;
    put(&to.meta, b"installation", json(&installation))?;
    put(&to.meta, b"next_lane", json(&next_lane.max(top + 1)))?;
    put(&to.meta, b"next_batch", json(&next_batch))
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
        put(&to.lanes, &layout::lane_key(lane.id), json(&lane))?;
    }
    Ok(())
}

/// Makes a batch's record fit the blocks that are left of it. Its token stays: if ClickHouse has the
/// whole batch, it drops what is left of it, and if not, it takes it.
fn cut(from: &Trees, batch: &mut Batch, done: &mut Repaired) -> Result<(), QueueError> {
    let left = sealed_sums(from, batch, &|| false)?;
    if batch.state == BatchState::Acked || left.ranges == batch.ranges {
        return Ok(());
    }
    done.notes.push(format!(
        "batch {}: {} of {} rows are left; they go out under its token",
        batch.seq,
        left.rows(),
        batch.rows
    ));
    (batch.rows, batch.bytes, batch.cut) = (left.rows(), left.bytes(), true);
    // How long the packed body was says nothing about what is left.
    if let Some(packed) = &mut batch.packed {
        packed.bytes = 0;
    }
    batch.ranges = left.ranges;
    batch.ranges.retain(|r| r.blocks > 0);
    Ok(())
}

fn add(orphans: &mut Vec<Range>, header: &BlockHeader) {
    match orphans.last_mut().filter(|r| r.lane == header.lane) {
        Some(range) => range.to = header.next,
        None => orphans.push(Range {
            lane: header.lane,
            from: header.first,
            to: header.next,
            blocks: 0,
            rows: 0,
            bytes: 0,
        }),
    }
}

fn orphaned(
    from: &Trees,
    ranges: Vec<Range>,
    seq: u64,
    installation: &str,
) -> Result<Batch, QueueError> {
    let mut batch = Batch {
        seq,
        token: String::new(),
        sealed_ms: 0,
        oldest_ms: 0,
        ranges,
        rows: 0,
        bytes: 0,
        packed: None,
        settings: Vec::new(),
        attempts: 0,
        ambiguous_ms: 0,
        may_be_stored: true,
        state: BatchState::Rejected {
            code: 0,
            words: "repair: the record of its batch is lost, and ClickHouse may have the rows; \
                    compare before you retry it"
                .to_owned(),
        },
        retried: false,
        counted: false,
        cut: false,
    };
    let sums = sealed_sums(from, &batch, &|| false)?;
    batch.token = format!("{installation}-{seq}-{:016x}", sums.digest);
    batch.oldest_ms = sums.oldest_ms;
    (batch.rows, batch.bytes) = (sums.rows(), sums.bytes());
    batch.ranges = sums.ranges;
    Ok(batch)
}

fn put(tree: &sled::Tree, key: &[u8], value: Vec<u8>) -> Result<(), QueueError> {
    guarded(|| {
        tree.insert(key, value)
            .map_err(QueueError::store("write"))
            .map(drop)
    })
}

/// Refuses if the disk cannot hold the queue twice more.
fn room_for(data_dir: &Path, queue: &Path) -> Result<(), QueueError> {
    let size = size_of(queue)?;
    let stat = rustix::fs::statvfs(data_dir)
        .map_err(|e| QueueError::io("cannot ask for free space", data_dir, e.into()))?;
    let free = stat.f_bavail * stat.f_frsize;
    if free < 2 * size {
        return Err(QueueError::NoRoom {
            need: 2 * size,
            free,
        });
    }
    Ok(())
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

fn copy_dir(from: &Path, to: &Path) -> Result<(), QueueError> {
    let io = |e| QueueError::io("cannot copy to", to, e);
    fs::create_dir(to).map_err(io)?;
    for entry in fs::read_dir(from).map_err(io)? {
        let entry = entry.map_err(io)?;
        let target = to.join(entry.file_name());
        if entry.file_type().map_err(io)?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target).map_err(io)?;
        }
    }
    sync_below(to)
}
