//! Message bytes -> [`Record`]. The only file that sees code generated from `schema/`.
//!
//! A message is one Cap'n Proto struct in the standard, unpacked stream framing, in any number of
//! segments. Fields of newer schema versions are ignored, fields
//! that an older writer did not know read as zero or empty.

use std::ops::Range;

use capnp::ErrorKind;
use capnp::message::{Reader, ReaderOptions, ReaderSegments, SegmentArray};

use crate::http_log_capnp;
use crate::record::{Record, plain};

/// Why a message is not an `HttpLogRecord`. Carries no byte of the message, which may be an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The message has no value, as a Kafka tombstone has none.
    #[error("empty message")]
    Empty,
    /// The framing or the struct is not valid Cap'n Proto, or it exceeds the reading limits.
    #[error("not a Cap'n Proto HttpLogRecord: {}", name(.0))]
    Malformed(ErrorKind),
}

impl From<capnp::Error> for DecodeError {
    fn from(e: capnp::Error) -> Self {
        // `e.extra` may quote the input, and so do numbers that are read off it: four bytes of an
        // address are such a number.
        DecodeError::Malformed(match e.kind {
            ErrorKind::InvalidNumberOfSegments(_) => ErrorKind::InvalidNumberOfSegments(0),
            ErrorKind::InvalidSegmentId(_) => ErrorKind::InvalidSegmentId(0),
            ErrorKind::MessageEndsPrematurely(..) => ErrorKind::MessageEndsPrematurely(0, 0),
            ErrorKind::MessageTooLarge(_) => ErrorKind::MessageTooLarge(0),
            kind => kind,
        })
    }
}

fn name(kind: &ErrorKind) -> String {
    let text = format!("{kind:?}");
    text.split('(').next().unwrap_or_default().to_owned()
}

/// Bounds on what one message may make the reader do.
///
/// The record is flat, so two levels are enough for it. Each of the four texts may be read once,
/// and may at worst span the whole message: without a limit a small message whose pointers all
/// meet in one place would cost a multiple of its size.
fn limits(len: usize) -> ReaderOptions {
    ReaderOptions {
        traversal_limit_in_words: Some(len / 8 * 2 + 64),
        nesting_limit: 4,
    }
}

/// Decodes `message` and hands the record to `f`, without copying its texts.
///
/// # Errors
/// [`DecodeError`] if the message is not a valid record; `f` is then not called.
pub fn decode<T>(message: &[u8], f: impl FnOnce(&Record<'_>) -> T) -> Result<T, DecodeError> {
    if message.is_empty() {
        return Err(DecodeError::Empty);
    }
    match plain::record(message) {
        Some(record) => Ok(f(&record)),
        None => by_library(message, f),
    }
}

/// Bytes of `message` behind the end of its first Cap'n Proto message, which [`decode`] does not look at.
pub fn unread(message: &[u8]) -> usize {
    let u32_at = |at: usize| match message.get(at..at + 4) {
        Some(&[a, b, c, d]) => u64::from(u32::from_le_bytes([a, b, c, d])),
        _ => 0,
    };
    let segments = (u32_at(0) + 1).min(message.len() as u64 / 4);
    let table = (4 + 4 * segments).next_multiple_of(8);
    let words: u64 = (1..=segments as usize).map(|i| u32_at(4 * i)).sum();
    (message.len() as u64).saturating_sub(table + 8 * words) as usize
}

pub(crate) fn by_library<T>(
    message: &[u8],
    f: impl FnOnce(&Record<'_>) -> T,
) -> Result<T, DecodeError> {
    let mut slice = message;
    let limits = limits(message.len());
    match capnp::serialize::read_message_from_flat_slice(&mut slice, limits) {
        Ok(reader) => read(&reader, f),
        // The library's table ends at 512 segments; the format's does not.
        Err(e) if matches!(e.kind, ErrorKind::InvalidNumberOfSegments(_)) => {
            let segments = segments(message, false).ok_or(e)?;
            read(&Reader::new(SegmentArray::new(&segments), limits), f)
        }
        Err(e) => Err(e.into()),
    }
}

fn read<T>(
    reader: &Reader<impl ReaderSegments>,
    f: impl FnOnce(&Record<'_>) -> T,
) -> Result<T, DecodeError> {
    let root = reader.get_root::<http_log_capnp::http_log_record::Reader<'_>>()?;
    let record = Record {
        timestamp_ms: root.get_timestamp_epoch_milli(),
        resource_id: root.get_resource_id(),
        bytes_sent: root.get_bytes_sent(),
        request_time_ms: root.get_request_time_milli(),
        response_status: root.get_response_status(),
        cache_status: root.get_cache_status()?.as_bytes(),
        method: root.get_method()?.as_bytes(),
        remote_addr: root.get_remote_addr()?.as_bytes(),
        url: root.get_url()?.as_bytes(),
    };
    Ok(f(&record))
}

/// Where the fields of a message are, each by itself: what is broken does not hide the others.
/// Holds no byte of a text. For quarantine, see [`crate::privacy::message`].
#[derive(PartialEq, Eq)]
pub struct Outline {
    /// The numbers, in the schema's order.
    pub numbers: [u64; 5],
    /// The bytes of `cacheStatus`, `method`, `remoteAddr` and `url` within the message.
    pub texts: [Option<Range<usize>>; 4],
}

impl Outline {
    /// Which of `texts` is the client's address.
    pub const REMOTE_ADDR: usize = 2;
}

/// Finds what can be found of a message that may be cut or partly broken; `None` if it has no root.
pub fn outline(message: &[u8]) -> Option<Outline> {
    let segments = segments(message, true)?;
    let options = ReaderOptions {
        traversal_limit_in_words: Some(message.len() / 8 * 5 + 64),
        nesting_limit: 4,
    };
    let reader = Reader::new(SegmentArray::new(&segments), options);
    let root = reader
        .get_root::<http_log_capnp::http_log_record::Reader<'_>>()
        .ok()?;
    let range = |text: capnp::Result<capnp::text::Reader<'_>>| {
        let text = text.ok()?.as_bytes();
        if text.is_empty() {
            return Some(0..0);
        }
        let start = (text.as_ptr() as usize).checked_sub(message.as_ptr() as usize)?;
        (start + text.len() <= message.len()).then(|| start..start + text.len())
    };
    Some(Outline {
        numbers: [
            root.get_timestamp_epoch_milli(),
            root.get_resource_id(),
            root.get_bytes_sent(),
            root.get_request_time_milli(),
            root.get_response_status().into(),
        ],
        texts: [
            range(root.get_cache_status()),
            range(root.get_method()),
            range(root.get_remote_addr()),
            range(root.get_url()),
        ],
    })
}

/// The segments of a message: a count less one, the length of each in words, padding to a word, then
/// the segments (Cap'n Proto, "Serialization Over a Stream"). Of a message that may be cut, a segment
/// that reaches past the end ends there.
fn segments(message: &[u8], cut: bool) -> Option<Vec<&[u8]>> {
    let u32_at = |at: usize| {
        let bytes = message.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
    };
    let count = u32_at(0)?.checked_add(1)?;
    // A table longer than the message would be.
    if count > message.len() / 4 {
        return None;
    }
    let mut segments = Vec::with_capacity(count);
    let mut at = (4 + 4 * count).next_multiple_of(8);
    for i in 0..count {
        let rest = message.get(at..).unwrap_or_default();
        let mut len = u32_at(4 + 4 * i)?.checked_mul(8)?;
        if cut {
            len = len.min(rest.len() / 8 * 8);
        }
        segments.push(rest.get(..len)?);
        at += len;
    }
    Some(segments)
}
