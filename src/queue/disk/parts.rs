//! Blocks of many bytes, which one large row makes: stored in parts.
//!
//! A leaf page of sled holds up to 16 values and must stay below a quarter of a segment (`dir.rs`): beyond
//! that it becomes a side file, and one that lost power before it was whole makes the queue unreadable. So
//! of a larger block the first [`PART_BYTES`] are its value in `blocks`, under a version of its own, and
//! the rest lies in the tree `parts`, under the block's key and a number. Both are written, and removed, in
//! one transaction.

use sled::IVec;

use crate::queue::QueueError;
use crate::queue::disk::evict;
use crate::queue::format::block::{BLOCK_VERSION, BlockHeader, HEADER, key};

/// Most bytes of a value: 16 of them make three quarters of what a leaf may hold.
const PART_BYTES: usize = 96 << 10;

/// In place of [`BLOCK_VERSION`]: there are parts.
const SPLIT_VERSION: u8 = 3;

/// Key of a part: the block's, and its number.
pub(in crate::queue) type PartKey = [u8; 14];

#[expect(clippy::big_endian_bytes, reason = "sled sorts keys as bytes")]
fn part_key(block: [u8; 12], number: u16) -> PartKey {
    let mut key = [0; 14];
    key[..12].copy_from_slice(&block);
    key[12..].copy_from_slice(&number.to_be_bytes());
    key
}

/// Cuts what is too large off the value of a block, and returns it in parts.
pub(in crate::queue) fn split(key: [u8; 12], value: &mut Vec<u8>) -> Vec<(PartKey, Vec<u8>)> {
    if value.len() <= PART_BYTES {
        return Vec::new();
    }
    let rest = value.split_off(PART_BYTES);
    value[0] = SPLIT_VERSION;
    let parts = (0..).zip(rest.chunks(PART_BYTES));
    parts
        .map(|(number, part)| (part_key(key, number), part.to_vec()))
        .collect()
}

/// Keys of all parts of a block.
pub(in crate::queue) fn keys(block: &BlockHeader) -> impl Iterator<Item = PartKey> {
    let len = HEADER + block.minutes_len as usize + block.frame_len as usize;
    let parts = len.saturating_sub(PART_BYTES).div_ceil(PART_BYTES);
    let key = key(block.lane, block.first);
    (0..parts as u16).map(move |number| part_key(key, number))
}

/// The whole value of a block. Whether all of it is there its own lengths and checksum tell.
///
/// # Errors
/// [`QueueError`] if sled cannot read a part.
pub(in crate::queue) fn join(
    parts: &sled::Tree,
    key: &[u8],
    value: IVec,
) -> Result<IVec, QueueError> {
    let Ok(block) = <[u8; 12]>::try_from(key) else {
        return Ok(value);
    };
    if value.first() != Some(&SPLIT_VERSION) {
        return Ok(value);
    }
    let mut whole = value.to_vec();
    whole[0] = BLOCK_VERSION;
    for number in 0.. {
        let key = part_key(block, number);
        let Some(part) = parts.get(key).map_err(QueueError::store("read"))? else {
            break;
        };
        whole.extend_from_slice(&part);
        evict::let_go(parts, &key)?;
    }
    Ok(whole.into())
}
