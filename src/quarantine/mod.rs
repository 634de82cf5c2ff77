//! What becomes of a message that cannot become a row: its bytes, **masked in place at equal length**,
//! so that a corrected decoder can still read them; or, where they cannot be shown to be clean, none.
//!
//! 1. Everything in the message that looks like an address in text is masked ([`address::scan`]),
//!    also where it is no client's: in `url`, in the words of an unknown format.
//! 2. If the field `remoteAddr` can still be found, all of it is masked, whatever it holds.
//! 3. The result is compared with the message: the frame, numbers, pointers and other texts must be
//!    the same, and the address must give the same masked form. A retry then gives the row that the
//!    message would have given, but for addresses within `url`.
//!
//! Only messages of a form in which text lies in one piece are kept: Cap'n Proto with its frame (also
//! after a short prefix, cut, or without the frame), and plain text such as JSON. In packed or
//! compressed bytes an address is there without being seen. Nor can an address be seen that is
//! written in binary, in UTF-16, in base64 or in words: in a known field it goes by rule 2, in an
//! unknown one of a later schema it stays.

pub mod address;
pub mod ask;
mod form;

use xxhash_rust::xxh3::xxh3_128;

use crate::anonymize;
use crate::decode::{Outline, decode, outline};
use crate::record::Quarantined;

/// The longest message whose bytes are kept.
pub const MAX_KEPT: usize = 64 << 10;

/// The bytes of a message without an address that a scan can see. Only [`mask`] makes them.
#[derive(Clone, PartialEq, Eq)]
pub struct Masked(Vec<u8>);

impl Masked {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What the queue has kept, which was masked before.
    pub(crate) fn from_queue(bytes: &[u8]) -> Masked {
        Masked(bytes.to_vec())
    }
}

impl std::fmt::Debug for Masked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Masked({} bytes)", self.0.len())
    }
}

/// Why the bytes of a message are not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    /// Longer than [`MAX_KEPT`].
    #[error("longer than 64 KiB")]
    TooLong,
    /// Packed, compressed or otherwise unknown: an address may be there without being seen.
    #[error("of a form in which an address could not be seen")]
    UnknownForm,
    /// Masking would have changed more than addresses.
    #[error("its address cannot be masked without changing something else")]
    NotApart,
}

/// Masks a message in place, at equal length.
///
/// # Errors
/// [`NotKept`] if the result cannot be shown to be clean, or to be the same message otherwise.
pub fn mask(message: &[u8]) -> Result<Masked, NotKept> {
    if message.len() > MAX_KEPT {
        return Err(NotKept::TooLong);
    }
    if !form::is_known(message) {
        return Err(NotKept::UnknownForm);
    }
    let mut scanned = message.to_vec();
    address::scan(&mut scanned);
    let before = outline(message);
    let mut out = scanned.clone();
    if let Some(range) = before.as_ref().and_then(remote_addr) {
        let masked = address::field(&message[range.clone()]).ok_or(NotKept::NotApart)?;
        out[range].copy_from_slice(&masked);
    }
    let same_decoded = decode(message, |_| ()) == decode(&out, |_| ());
    let apart = same_but_for_addresses(message, before, &scanned, &out);
    if !same_decoded || !apart || !address::is_clean(&out) {
        return Err(NotKept::NotApart);
    }
    Ok(Masked(out))
}

fn remote_addr(outline: &Outline) -> Option<std::ops::Range<usize>> {
    outline.texts[Outline::REMOTE_ADDR].clone()
}

fn same_but_for_addresses(
    message: &[u8],
    before: Option<Outline>,
    scanned: &[u8],
    out: &[u8],
) -> bool {
    let after = outline(out);
    if before != after {
        return false;
    }
    let Some(fields) = before else {
        return true;
    };
    let is_address = |i| i == Outline::REMOTE_ADDR;
    let all = fields.texts.into_iter().enumerate();
    all.filter_map(|(i, range)| Some((i, range?)))
        .all(|(i, range)| {
            if is_address(i) {
                let form = |bytes: &[u8]| anonymize::mask(&bytes[range.clone()]);
                form(message) == form(out)
            } else {
                scanned[range.clone()] == out[range]
            }
        })
}

impl Quarantined {
    /// Takes what may be kept of a message.
    pub fn of(offset: i64, reason: String, message: &[u8]) -> Quarantined {
        let (kept, not_kept) = match mask(message) {
            Ok(masked) => (Some(masked), None),
            Err(why) => (None, Some(why.to_string())),
        };
        Quarantined {
            offset,
            reason,
            len: message.len() as u64,
            hash: format!("{:032x}", xxh3_128(message)),
            kept,
            not_kept,
        }
    }
}

#[cfg(test)]
mod tests;
