//! Is a message of a form in which every text lies in one piece?

use super::MAX_KEPT;

/// Longest prefix that other producers put before a message: a schema registry's has 5 or 6 bytes.
const MAX_PREFIX: usize = 16;

/// See the module. Rather no than yes.
pub fn is_known(message: &[u8]) -> bool {
    is_text(message)
        || frame(message).is_some()
        || (1..=MAX_PREFIX.min(message.len()))
            .any(|at| frame(&message[at..]) == Some(message.len() - at))
        || has_bare_root(message)
}

fn is_text(message: &[u8]) -> bool {
    let is_control = |c: char| c.is_control() && !"\t\r\n".contains(c);
    std::str::from_utf8(message).is_ok_and(|text| !text.contains(is_control))
}

/// The length that a frame at the start speaks of, if it is one that such a message can have. Bytes
/// that are compressed or packed hardly ever begin so: their first numbers would have to be small.
fn frame(message: &[u8]) -> Option<usize> {
    let (first, _) = message.split_first_chunk::<4>()?;
    let count = (u32::from_le_bytes(*first) as usize).checked_add(1)?;
    if count > message.len() / 4 {
        return None;
    }
    let table = (4 + 4 * count).next_multiple_of(8);
    let sizes = message.get(4..4 + 4 * count)?;
    let mut total = table;
    for size in sizes.chunks_exact(4) {
        let words = u32::from_le_bytes(size.try_into().ok()?) as usize;
        if words > MAX_KEPT / 8 {
            return None;
        }
        total += words * 8;
    }
    (table <= message.len()).then_some(total)
}

/// Whether it begins with a root pointer to a struct that lies within: a message without its frame.
fn has_bare_root(message: &[u8]) -> bool {
    let Some((root, _)) = message.split_first_chunk::<8>() else {
        return false;
    };
    let root = u64::from_le_bytes(*root);
    let offset = (root as u32 >> 2) as usize;
    let (data, pointers) = ((root >> 32) as u16 as usize, (root >> 48) as usize);
    root & 3 == 0
        && message.len().is_multiple_of(8)
        && (1..=64).contains(&data)
        && (1..=64).contains(&pointers)
        && offset < message.len()
        && (1 + offset + data + pointers) * 8 <= message.len()
}
