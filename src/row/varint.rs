//! Integers as LEB128, and texts behind such a length, as RowBinary and Native have them.

/// Appends an integer as LEB128.
pub(crate) fn leb128(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Takes an integer off the front of `bytes`.
pub(crate) fn read_leb128(bytes: &mut &[u8]) -> Option<u64> {
    let mut n = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        // The tenth byte has room for one bit.
        if shift == 63 && *byte > 1 {
            return None;
        }
        n |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Some(n);
        }
    }
    None
}

/// A string of RowBinary, and of Native alike.
pub(crate) fn string(text: &[u8], out: &mut Vec<u8>) {
    leb128(text.len() as u64, out);
    out.extend_from_slice(text);
}
