//! Rows of many blocks, in the order that compresses best, as one zstd frame.
//!
//! Row order means nothing to ClickHouse, and under a backlog the bytes of a request are what the
//! proxy's slot is worth. Memory is bounded by [`RUN_BYTES`] and the level, not by the body.

use std::io::{self, Write};

use crate::queue::{BlockHeader, QueueError, unpack};
use crate::rows::rows;

/// Bytes of rows that are sorted at a time. Longer runs gain little: what is alike is near already.
const RUN_BYTES: usize = 16 << 20;

/// How far back zstd looks, as a power of two; bounds its memory at the strongest levels.
const WINDOW_LOG: u32 = 23;

/// Why rows could not be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A block cannot be read.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The packed body cannot be written.
    #[error("cannot write a packed body: {0}")]
    Write(#[from] io::Error),
    /// A stop was requested.
    #[error("a stop was requested")]
    Stopped,
}

/// Packs `blocks` into `out` at zstd's `level`. Returns the number of rows.
///
/// # Errors
/// [`PackError`]; `out` is then of no use.
pub fn pack(
    blocks: impl Iterator<Item = Result<(BlockHeader, Vec<u8>), QueueError>>,
    level: i32,
    out: impl Write,
    stop: &dyn Fn() -> bool,
) -> Result<u64, PackError> {
    pack_in_runs(blocks, level, RUN_BYTES, out, stop)
}

/// [`pack`], sorting about `run_bytes` of rows at a time.
pub(super) fn pack_in_runs(
    blocks: impl Iterator<Item = Result<(BlockHeader, Vec<u8>), QueueError>>,
    level: i32,
    run_bytes: usize,
    out: impl Write,
    stop: &dyn Fn() -> bool,
) -> Result<u64, PackError> {
    let mut zstd = zstd::Encoder::new(out, level)?;
    zstd.window_log(WINDOW_LOG)?;
    let mut run = Vec::new();
    let mut packed = 0;
    for block in blocks {
        if stop() {
            return Err(PackError::Stopped);
        }
        let (header, frame) = block?;
        let raw = unpack(&header, &frame)?;
        if run.len() + raw.len() > run_bytes {
            packed += write_sorted(&run, &mut zstd, stop)?;
            run.clear();
        }
        run.extend_from_slice(&raw);
    }
    packed += write_sorted(&run, &mut zstd, stop)?;
    zstd.finish()?.flush()?;
    Ok(packed)
}

fn write_sorted(
    run: &[u8],
    out: &mut impl Write,
    stop: &dyn Fn() -> bool,
) -> Result<u64, PackError> {
    // `unpack` has read every row already.
    let mut order: Vec<_> = rows(run)
        .flatten()
        .map(|r| (r.resource_id, r.remote_addr, r.raw))
        .collect();
    // The rest of the row begins with its time, so rows of a session stay in order.
    order.sort_unstable();
    for rows in order.chunks(1024) {
        if stop() {
            return Err(PackError::Stopped);
        }
        for (_, _, row) in rows {
            out.write_all(row)?;
        }
    }
    Ok(order.len() as u64)
}
