//! Rows of many blocks, in the order that compresses best, as one zstd frame.
//!
//! Row order means nothing to ClickHouse, and under a backlog the bytes of a request are what the
//! proxy's slot is worth. Memory is bounded by [`RUN_BYTES`] and the level, not by the body.

use std::io::{self, BufWriter, Write};

use crate::queue::{BlockHeader, Frame, PackedFormat, QueueError, unpack};
use crate::row::native::{self, BlockError};
use crate::row::read::{Row, rows};

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

impl From<BlockError> for PackError {
    fn from(e: BlockError) -> PackError {
        match e {
            BlockError::Write(e) => PackError::Write(e),
            BlockError::Stopped => PackError::Stopped,
        }
    }
}

/// How rows are packed.
#[derive(Clone, Copy, Debug)]
pub struct Packing {
    /// Their format.
    pub format: PackedFormat,
    /// zstd's level.
    pub level: i32,
}

/// Packs `blocks` into `out`. Returns the number of rows.
///
/// # Errors
/// [`PackError`]; `out` is then of no use.
pub fn pack(
    blocks: impl Iterator<Item = Result<(BlockHeader, Frame), QueueError>>,
    packing: Packing,
    out: impl Write,
    stop: &dyn Fn() -> bool,
) -> Result<u64, PackError> {
    pack_in_runs(blocks, packing, RUN_BYTES, out, stop)
}

/// [`pack`], sorting about `run_bytes` of rows at a time.
pub(super) fn pack_in_runs(
    blocks: impl Iterator<Item = Result<(BlockHeader, Frame), QueueError>>,
    packing: Packing,
    run_bytes: usize,
    out: impl Write,
    stop: &dyn Fn() -> bool,
) -> Result<u64, PackError> {
    let mut zstd = zstd::Encoder::new(out, packing.level)?;
    zstd.window_log(WINDOW_LOG)?;
    // A call of zstd for each value would take longer than what it does with it.
    let mut out = BufWriter::with_capacity(1 << 17, zstd);
    let mut run = Vec::new();
    let mut packed = 0;
    for block in blocks {
        if stop() {
            return Err(PackError::Stopped);
        }
        let (header, frame) = block?;
        let raw = unpack(&header, &frame)?;
        if run.len() + raw.len() > run_bytes {
            packed += write_sorted(&run, packing.format, &mut out, stop)?;
            run.clear();
        }
        run.extend_from_slice(&raw);
    }
    packed += write_sorted(&run, packing.format, &mut out, stop)?;
    let zstd = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    zstd.finish()?.flush()?;
    Ok(packed)
}

fn write_sorted(
    run: &[u8],
    format: PackedFormat,
    out: &mut impl Write,
    stop: &dyn Fn() -> bool,
) -> Result<u64, PackError> {
    // `unpack` has read every row already.
    let mut order: Vec<Row<'_>> = rows(run).flatten().collect();
    // A row begins with its time, so those of a session stay in order.
    order.sort_unstable_by_key(|r| (r.resource_id, r.remote_addr, r.raw));
    match format {
        PackedFormat::RowBinary => {
            for rows in order.chunks(1024) {
                if stop() {
                    return Err(PackError::Stopped);
                }
                for row in rows {
                    out.write_all(row.raw)?;
                }
            }
        }
        PackedFormat::Native => native::write_block(&order, out, stop)?,
    }
    Ok(order.len() as u64)
}
