//! What lies on the disk, byte by byte, and what can be wrong with it. Nothing here reads or writes.

pub mod batch;
pub mod block;
pub mod dropped;
pub mod error;
pub mod json;
pub mod lane;
pub mod lost;
pub mod refused;
pub mod trail;

/// Segments of 8 MiB: a leaf page of sled holds up to 16 blocks of about 24 KiB and must stay
/// below a quarter of a segment, or it becomes a side file that is never synced. Fixed for the
/// life of a queue: sled refuses to open it with another size.
pub(in crate::queue) const SEGMENT_BYTES: usize = 8 << 20;
