//! How counts lie on the disk: sixty minutes, or sixty days, of a partition in one value.
//!
//! ```text
//! key     topic ++ 0 ++ partition ++ 0 ++ grain (u8) ++ number (u32, big-endian)
//! value   for each span that has rows: its place in the chunk (u8), then consumed, stored and lost,
//!         each zigzag LEB128
//! ```
//!
//! So a block of rows of one minute rewrites some 400 bytes at the next sync, and a partition has at
//! most 24 chunks for each day of the window and 829 for all other days of DateTime.

use super::super::QueueError;
use super::Tally;
use crate::row::minutes::Span;
use crate::row::varint::{leb128, read_leb128};

/// Spans in a chunk.
const SPANS: u32 = 60;

/// Kinds of chunks, in the order of their keys.
pub(super) const MINUTES: u8 = b'm';
pub(super) const DAYS: u8 = b'x';

const DAY_SECONDS: u32 = 86_400;

/// What the keys of all chunks of a partition begin with.
pub(super) fn prefix(topic: &str, partition: i32) -> Vec<u8> {
    format!("{topic}\0{partition}\0").into_bytes()
}

/// The key of chunk `number` of a kind.
#[expect(clippy::big_endian_bytes, reason = "sled sorts keys as bytes")]
pub(super) fn key(prefix: &[u8], kind: u8, number: u32) -> Vec<u8> {
    let mut key = prefix.to_vec();
    key.push(kind);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// The chunk that a span is counted in: its kind, its number, and the span's place in it.
pub(super) fn place(span: Span) -> (u8, u32, u8) {
    let (kind, n) = if span.is_day() {
        (DAYS, span.start / DAY_SECONDS)
    } else {
        (MINUTES, span.first_minute())
    };
    (kind, n / SPANS, (n % SPANS) as u8)
}

/// A chunk's key, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Key<'a> {
    /// Topic, partition and the kind of chunk.
    pub topic: &'a str,
    pub partition: i32,
    pub prefix: &'a [u8],
    pub kind: u8,
    pub number: u32,
}

/// Takes a key apart; `None` if it is none.
#[expect(clippy::big_endian_bytes, reason = "sled sorts keys as bytes")]
pub(super) fn parse_key(key: &[u8]) -> Option<Key<'_>> {
    let (prefix, end) = key.split_at_checked(key.len().checked_sub(5)?)?;
    let (kind, number) = end.split_first()?;
    let name = std::str::from_utf8(prefix).ok()?.strip_suffix('\0')?;
    let (topic, partition) = name.split_once('\0')?;
    Some(Key {
        topic,
        partition: partition.parse().ok()?,
        prefix,
        kind: *kind,
        number: u32::from_be_bytes(number.try_into().ok()?),
    })
    .filter(|key| matches!(key.kind, MINUTES | DAYS))
}

/// The tallies of a chunk by their place.
pub(super) type Chunk = std::collections::BTreeMap<u8, Tally>;

/// A chunk as it is stored.
pub(super) fn write(chunk: &Chunk) -> Vec<u8> {
    let mut out = Vec::new();
    for (place, tally) in chunk {
        out.push(*place);
        for n in [tally.consumed, tally.stored, tally.lost] {
            leb128(((n << 1) ^ (n >> 63)) as u64, &mut out);
        }
    }
    out
}

/// The chunk stored as `value`.
///
/// # Errors
/// [`QueueError::Damaged`].
pub(super) fn read(key: &[u8], value: &[u8]) -> Result<Chunk, QueueError> {
    read_all(value).ok_or_else(|| QueueError::Damaged {
        what: format!("counts {}", String::from_utf8_lossy(key).replace('\0', " ")),
    })
}

fn read_all(mut value: &[u8]) -> Option<Chunk> {
    let mut chunk = Chunk::new();
    while let Some((place, rest)) = value.split_first() {
        value = rest;
        let mut number = || {
            let n = read_leb128(&mut value)?;
            Some((n >> 1) as i64 ^ -((n & 1) as i64))
        };
        let tally = Tally {
            consumed: number()?,
            stored: number()?,
            lost: number()?,
        };
        if u32::from(*place) >= SPANS || chunk.insert(*place, tally).is_some() {
            return None;
        }
    }
    Some(chunk)
}

/// The spans of a chunk. `None` if one of them is beyond DateTime.
pub(super) fn span(kind: u8, number: u32, place: u8) -> Option<Span> {
    let n = number.checked_mul(SPANS)?.checked_add(u32::from(place))?;
    let seconds = if kind == DAYS { DAY_SECONDS } else { 60 };
    Some(Span {
        start: n.checked_mul(seconds)?,
        seconds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_is_taken_apart_as_it_was_made() {
        for span in [Span::minute(29_000_123), Span::day_of(u32::MAX / 60)] {
            let (kind, number, at) = place(span);
            let key = key(&prefix("http_log@a-b_c", 12), kind, number);
            let parsed = parse_key(&key).unwrap();
            assert_eq!((parsed.topic, parsed.partition), ("http_log@a-b_c", 12));
            assert_eq!(super::span(parsed.kind, parsed.number, at), Some(span));
        }
        for bad in [&b""[..], b"t", b"t\0x\0m0000", b"t\x001\0?0000", b"t1m0000"] {
            assert_eq!(parse_key(bad), None, "{bad:?}");
        }
        assert_eq!(span(MINUTES, u32::MAX, 0), None);
    }

    proptest! {
        #[test]
        fn a_chunk_reads_as_it_was_written(
            all in proptest::collection::btree_map(0..60u8, any::<(i64, i64, i64)>(), 0..60)
        ) {
            let tally = |(consumed, stored, lost)| Tally { consumed, stored, lost };
            let chunk: Chunk = all.into_iter().map(|(place, t)| (place, tally(t))).collect();
            prop_assert_eq!(read(b"", &write(&chunk)).unwrap(), chunk);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(
            key in proptest::collection::vec(any::<u8>(), 0..20),
            value in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let _ = parse_key(&key);
            let _ = read(&key, &value);
        }
    }
}
