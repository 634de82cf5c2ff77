//! Making sled let go of what it has in memory.
//!
//! sled keeps its cache in 256 parts and looks at what one may drop only once it was accessed 64 times,
//! whatever its capacity. A block is accessed a few times in its life, and a leaf has four or five of them:
//! so each part held several leaves of 0.15 MiB, and all together a whole body, or all that was read from
//! Kafka. An access to a page in memory takes a microsecond, for a block of a thousand rows.

use crate::queue::QueueError;

/// Accesses to each block: those to the blocks of a leaf add up to what makes sled look.
const ACCESSES: usize = 14;

/// Has sled drop what it can of a tree. To be called with the key of a block that was just read or written.
///
/// # Errors
/// [`QueueError`] if sled cannot read it.
pub(in crate::queue) fn let_go(tree: &sled::Tree, key: &[u8]) -> Result<(), QueueError> {
    for _ in 0..ACCESSES {
        tree.contains_key(key).map_err(QueueError::store("read"))?;
    }
    Ok(())
}
