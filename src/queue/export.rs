//! Writing stored rows out, each once.
//!
//! The walk goes by lane and offset, so no row comes twice. Beside a live instance the lanes and
//! batches are read first: rows appended later are left out, and rows that ClickHouse gets during
//! the walk may be missing, since they are no longer queued.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::trees::Trees;
use super::{Batch, Block, Lane, QueueError, describe, layout, unpack};
use crate::record::LaneId;
use crate::rows::{Format, rows, write_row};

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

/// Writes the rows that `selection` names to `out`.
///
/// # Errors
/// [`QueueError`] if `out` fails, the batch does not exist, or `stop` says so; damaged blocks are
/// left out and listed.
pub fn export(
    trees: &Trees,
    selection: Selection,
    live: bool,
    out: &mut dyn Write,
    stop: &dyn Fn() -> bool,
) -> Result<Exported, QueueError> {
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
        return Err(QueueError::NoBatch { seq });
    }
    let mut text = Vec::new();
    for stored in trees.blocks(layout::key(LaneId(0), 0)) {
        if stop() {
            return Err(QueueError::Stopped);
        }
        let Block { header, frame, .. } = match stored.block {
            Ok(block) => block,
            Err(e) => {
                done.damaged.push(describe(&e));
                continue;
            }
        };
        let batch = batches.iter().find(|b| b.covers(&header));
        let lane = whole_lanes.get(&header.lane);
        let later = live && batch.is_none() && is_later(lane, header.first);
        if later || !selection.takes(batch) {
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
    fn takes(&self, batch: Option<&Batch>) -> bool {
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

/// Writes them to a new file, which only its owner may read, and syncs it. What was begun is
/// removed if it fails.
///
/// # Errors
/// As [`export`]; [`QueueError::Io`] also if the file exists.
pub fn export_to_file(
    trees: &Trees,
    selection: Selection,
    live: bool,
    path: &Path,
    stop: &dyn Fn() -> bool,
) -> Result<Exported, QueueError> {
    let fail = |doing: &'static str| move |e: io::Error| QueueError::io(doing, path, e);
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(fail("cannot create"))?;
    let mut out = BufWriter::new(file);
    let done = export(trees, selection, live, &mut out, stop).and_then(|done| {
        out.flush().map_err(fail("cannot write"))?;
        out.get_ref().sync_all().map_err(fail("cannot sync"))?;
        Ok(done)
    });
    if done.is_err() {
        let _ = fs::remove_file(path);
    }
    done
}
