//! How many rows go into a full body, and how tightly they are packed.
//!
//! While all that waits fits, its frames go out as they are stored. When it does not, the slot is
//! worth more than the CPU: as many blocks as will fit are packed anew ([`super::pack`]), at the
//! strongest level that the time between two requests affords.

use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::pack::{PackError, Packing, pack};
use super::spool::Spool;
use crate::queue::{Packed, PackedFormat, Plan, Queue, QueueError, Range, SealBounds};

/// zstd levels, strongest first, with the nanoseconds that a byte of sorted rows took on a core of
/// 2026; only their proportions matter, since a [`Filler`] learns the machine's.
const LEVELS: [(i32, f64); 5] = [(19, 900.0), (17, 750.0), (12, 85.0), (9, 30.0), (3, 8.0)];

/// What the weakest level may take, in patiences.
const OVERTIME: f64 = 2.0;

/// What packed rows take of their stored frames, before anything is learnt.
const RATIO: f64 = 0.5;

/// How often blocks are added or left out until a body is full.
const TRIES: usize = 4;

/// A body filled to this part is full: a block more would not fit, as a rule.
const FULL: f64 = 0.988;

/// Where between [`FULL`] and 1 the next try aims.
const AIM: f64 = 0.995;

/// Fills bodies, and learns from each how much fits and how long it takes.
#[derive(Debug)]
pub struct Filler {
    /// Packed bytes for each byte of stored frames.
    ratio: f64,
    /// How much slower this machine is than [`LEVELS`] says.
    slowness: f64,
}

/// What a body may be.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// Its bounds; the bytes are those of the body.
    pub bounds: SealBounds,
    /// CPU time that packing it once may take, [`TRIES`] times at the most; the weakest level may take
    /// twice that. If it takes longer, the body is not packed.
    pub patience: Duration,
    /// Format of packed rows.
    pub format: PackedFormat,
    /// Nothing is wanted unless more waits than fits.
    pub only_full: bool,
    /// Whether a stop was requested.
    pub stop: &'a dyn Fn() -> bool,
}

/// What a body is to be made of.
pub struct Filling {
    /// Its blocks.
    pub plan: Plan,
    /// The body, if it is not the frames as they are.
    pub packed: Option<(Packed, Spool)>,
}

impl Default for Filler {
    /// Knows nothing yet.
    fn default() -> Filler {
        Filler {
            ratio: RATIO,
            slowness: 1.0,
        }
    }
}

impl Filler {
    /// Chooses the oldest eligible blocks, as many as fit, and packs them if that makes more fit.
    /// `None` if nothing is eligible, or too little for [`Wanted::only_full`].
    ///
    /// # Errors
    /// [`PackError`]: a block cannot be read, or a stop was requested. A body that cannot be written
    /// is none: the frames then go out as they are.
    pub fn fill(
        &mut self,
        queue: &Queue,
        wanted: Wanted<'_>,
    ) -> Result<Option<Filling>, PackError> {
        let Some(plan) = queue.plan(wanted.bounds)? else {
            return Ok(None);
        };
        let packed = match self.pack_full(queue, wanted, &plan) {
            Err(PackError::Write(e)) => {
                log::warn!("cannot pack a body: {e}; rows go out as they are stored");
                None
            }
            other => other?,
        };
        let filling = packed.unwrap_or(Filling { plan, packed: None });
        Ok(Some(filling).filter(|f| f.plan.full || !wanted.only_full))
    }

    /// Packs ever more or fewer blocks until the body is full. `None` if packing gains nothing.
    fn pack_full(
        &mut self,
        queue: &Queue,
        wanted: Wanted<'_>,
        plain: &Plan,
    ) -> Result<Option<Filling>, PackError> {
        let limit = wanted.bounds.bytes as f64;
        let mut best: Option<Filling> = None;
        let mut bytes = limit / self.ratio;
        for _ in 0..TRIES {
            if !plain.full || wanted.patience.is_zero() {
                break;
            }
            let wider = SealBounds {
                bytes: bytes as u64,
                ..wanted.bounds
            };
            let Some(plan) = queue.plan(wider)?.filter(|p| p.bytes > plain.bytes) else {
                break;
            };
            if wanted.only_full && !plan.full && best.is_none() {
                return Ok(Some(Filling { plan, packed: None }));
            }
            let Some((level, expected)) = self.level(plan.raw_bytes, wanted.patience) else {
                break;
            };
            let began = cpu_time();
            let packing = Packing {
                format: wanted.format,
                level,
            };
            let spool = pack_ranges(queue, &plan.ranges, plan.rows, packing, wanted.stop)?;
            let took = (cpu_time() - began).as_secs_f64();
            self.slowness *= (took / expected).clamp(0.5, 2.0);
            let part = spool.body_len() as f64 / limit;
            self.ratio = spool.body_len() as f64 / plan.bytes as f64;
            bytes = plan.bytes as f64 * AIM / part;
            if part > 1.0 {
                continue;
            }
            let done = part >= FULL || !plan.full;
            if best.as_ref().is_none_or(|b| b.plan.rows < plan.rows) {
                let packed = Packed {
                    level,
                    format: wanted.format,
                    bytes: spool.body_len(),
                };
                best = Some(Filling {
                    plan,
                    packed: Some((packed, spool)),
                });
            }
            if done {
                break;
            }
        }
        Ok(best)
    }

    /// The strongest level that packs `raw` bytes within `patience`, the weakest within
    /// [`OVERTIME`] of it, and the seconds that it should take. `None` if the rows would wait longer
    /// for the packing than for the slot.
    fn level(&self, raw: u64, patience: Duration) -> Option<(i32, f64)> {
        let expected = |ns: f64| raw as f64 * ns * 1e-9 * self.slowness;
        let weakest = LEVELS[LEVELS.len() - 1].0;
        LEVELS
            .into_iter()
            .map(|(level, ns)| (level, expected(ns)))
            .find(|(level, takes)| {
                let over = if *level == weakest { OVERTIME } else { 1.0 };
                *takes <= patience.as_secs_f64() * over
            })
    }
}

/// CPU time of this thread: what else runs on the machine must not make it look slow.
fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Packs the blocks of `ranges`, which are `rows` rows, into a spool.
///
/// # Errors
/// [`PackError`]; [`QueueError::Damaged`] if they are not that many.
pub fn pack_ranges(
    queue: &Queue,
    ranges: &[Range],
    rows: u64,
    packing: Packing,
    stop: &dyn Fn() -> bool,
) -> Result<Spool, PackError> {
    let dir: &Path = queue.dir().path();
    let (spool, packed) = Spool::fill(dir, |out| {
        pack(queue.range_blocks(ranges), packing, out, stop)
    })?;
    if packed != rows {
        return Err(QueueError::Damaged {
            what: format!("a batch has {packed} rows, {rows} were sealed"),
        }
        .into());
    }
    Ok(spool)
}

#[cfg(test)]
mod tests;
