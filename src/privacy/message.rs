//! What becomes of a message that cannot become a row: its bytes, **its address masked in place at equal
//! length**, so that a corrected decoder can still read them; or, where they cannot be shown to be free
//! of addresses, none.
//!
//! 1. Every byte must be accounted for ([`form`]): numbers and texts of the schema, the structure, zeros.
//!    A text of another format, a compressed, cut or broken message, a field of a later schema: none of
//!    these is kept, since an address may be there in a spelling that nobody looks for.
//! 2. The field `remoteAddr` is masked, whatever it holds ([`address`]).
//! 3. `cacheStatus` and `method` must be words. `url` is kept as a row keeps it, so that a retry gives the
//!    row that the message would have given, unless it shows an address ([`traces`]), or a word in it may
//!    be one ([`plain`]). What a policy takes away of it is overwritten ([`url`]).

use xxhash_rust::xxh3::xxh3_128;

use crate::privacy::traces::Client;
use crate::privacy::{Policy, address, form, plain, traces, url};
use crate::record::decode::decode;

/// The longest message whose bytes are kept.
pub const MAX_KEPT: usize = 64 << 10;

/// The longest `cacheStatus` or `method`.
const MAX_WORD: usize = 32;

/// The bytes of a message that show no address. Only [`mask`] makes them.
#[derive(Clone, PartialEq, Eq)]
pub struct Masked(Vec<u8>);

impl Masked {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What the queue has kept, which was masked before, though perhaps by an earlier version.
    pub(crate) fn from_queue(bytes: &[u8]) -> Masked {
        Masked(bytes.to_vec())
    }

    /// What is shown of the bytes, which were masked by one policy, while another one holds: no more than
    /// either lets through. `None` if they are not such as this version keeps. An earlier one kept more: they
    /// can be retried, but are shown to nobody.
    pub fn shown(&self, by: &Policy, now: &Policy) -> Option<Masked> {
        let again = |policy: &Policy| masked(&self.0, policy, |field| Client::of_masked(field, by));
        (again(by).ok()? == *self).then_some(())?;
        again(&by.stricter(now)).ok()
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
    /// Not a record in which every byte is known: an address may be there without being seen.
    #[error("of a form in which an address could not be seen")]
    UnknownForm,
    /// Something beside the address may show it, or another one.
    #[error("something in it beside the client's address looks like an address")]
    Shows,
    /// Masking would have changed more than the address.
    #[error("its address cannot be masked without changing something else")]
    NotApart,
}

/// Masks a message in place, at equal length.
///
/// # Errors
/// [`NotKept`] if the result cannot be shown to be clean, or to be the same message otherwise.
pub fn mask(message: &[u8], policy: &Policy) -> Result<Masked, NotKept> {
    masked(message, policy, Client::of)
}

fn masked<'a>(
    message: &'a [u8],
    policy: &Policy,
    client: impl FnOnce(&'a [u8]) -> Client<'a>,
) -> Result<Masked, NotKept> {
    if message.len() > MAX_KEPT {
        return Err(NotKept::TooLong);
    }
    let fields = form::fields(message).ok_or(NotKept::UnknownForm)?;
    let [cache_status, method, remote_addr, url] = fields.texts;
    let client = client(&message[remote_addr.clone()]);
    let mut out = message.to_vec();
    let is_cut = url::in_place(&mut out[url.clone()], policy);
    let is_word = |text: &[u8]| {
        let of_words = |b: &u8| b.is_ascii_alphabetic() || b"_-".contains(b);
        text.len() <= MAX_WORD && text.iter().all(of_words)
    };
    let is_clean = |text: &[u8]| plain::is_plain(text) && !traces::shows(text, &client);
    let words = [&message[cache_status], &message[method]];
    let clean = words.iter().all(|word| is_word(word) && is_clean(word))
        && is_cut
        && is_clean(&out[url])
        && !traces::in_numbers(&message[fields.numbers], &client);
    if !clean {
        return Err(NotKept::Shows);
    }
    let masked = address::field(&message[remote_addr.clone()], policy).ok_or(NotKept::NotApart)?;
    out[remote_addr].copy_from_slice(&masked);
    // Each text lies in words of its own, so all else is the same.
    if decode(message, |_| ()) != decode(&out, |_| ()) {
        return Err(NotKept::NotApart);
    }
    Ok(Masked(out))
}

/// A message that could not become a row. It keeps no byte of the message but [`Masked`] ones: what
/// cannot be shown clean of addresses must not reach the disk. Made by [`Quarantined::of`].
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Quarantined {
    /// Kafka offset of the message.
    pub offset: i64,
    /// Why it could not become a row; never contains bytes of the message.
    pub reason: String,
    /// Message length in bytes.
    pub len: u64,
    /// XXH3-128 in hex: of the bytes kept, or of the message where none are, to recognise it in Kafka
    /// while retention lasts.
    pub hash: String,
    /// Its bytes, masked. Kept beside the other facts, not in their JSON.
    #[serde(skip)]
    pub kept: Option<Masked>,
    /// Why they are not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_kept: Option<String>,
    /// By what they were masked. A row that is made of them later is made by this, too: see
    /// [`address`].
    #[serde(default, skip_serializing_if = "Policy::is_default")]
    pub policy: Policy,
}

pub(crate) fn hash(bytes: &[u8]) -> String {
    format!("{:032x}", xxh3_128(bytes))
}

impl Quarantined {
    /// Takes what may be kept of a message.
    pub fn of(offset: i64, reason: String, message: &[u8], policy: &Policy) -> Quarantined {
        let (kept, not_kept) = match mask(message, policy) {
            Ok(masked) => (Some(masked), None),
            Err(why) => (None, Some(why.to_string())),
        };
        Quarantined {
            offset,
            reason,
            len: message.len() as u64,
            // That of the message beside its masked bytes would tell the last octet: only 256 are to be tried.
            hash: hash(kept.as_ref().map_or(message, Masked::as_bytes)),
            kept,
            not_kept,
            policy: policy.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
