//! The form that every writer gives to a record, read without the library's bookkeeping.
//!
//! One segment, one struct with all known fields, each text in a place of its own. The library takes
//! four times as many instructions for it, as many as all else that is done to a record before it is
//! compressed. Whatever looks different, good or bad, is left to the library, so that what is valid is
//! its decision alone.

use crate::record::Record;

/// Words of data and pointers of the struct in `schema/`. A newer writer may have more of both.
const DATA: usize = 5;
const POINTERS: usize = 4;

/// Low bits of a pointer to a struct and to a list, and the size of a list's elements when they are
/// bytes (Cap'n Proto, "Encoding Spec").
const STRUCT: u64 = 0;
const LIST: u64 = 1;
const BYTES: u64 = 2;

/// The record, if `message` has the plain form.
pub fn record(message: &[u8]) -> Option<Record<'_>> {
    let (words, _) = message.as_chunks::<8>();
    let (table, segments) = words.split_first()?;
    let table = u64::from_le_bytes(*table);
    if table as u32 != 0 {
        return None;
    }
    let segment = segments.get(..(table >> 32) as usize)?;
    let root = u64::from_le_bytes(*segment.first()?);
    let (data_words, pointers) = ((root >> 32) as u16 as usize, (root >> 48) as usize);
    if root & 3 != STRUCT || data_words < DATA || pointers < POINTERS {
        return None;
    }
    let start = target(0, root)?;
    let size = data_words + pointers;
    let body = segment.get(start..start.checked_add(size)?)?;
    let number = |at: usize| u64::from_le_bytes(body[at]);
    // The root, the struct and the texts of an honest message lie beside each other. The library limits
    // how much is read of others.
    let mut unread = segment.len().checked_sub(1 + size)?;
    let mut text = |nth: usize| {
        let pointer = u64::from_le_bytes(body[data_words + nth]);
        if pointer == 0 {
            return Some(&[][..]);
        }
        if pointer & 3 != LIST || (pointer >> 32) & 7 != BYTES {
            return None;
        }
        let len = (pointer >> 35) as usize;
        let words = len.div_ceil(8);
        unread = unread.checked_sub(words)?;
        let start = target(start + data_words + nth, pointer)?;
        let list = segment.get(start..start.checked_add(words)?)?;
        match list.as_flattened().get(..len)? {
            [text @ .., 0] => Some(text),
            _ => None,
        }
    };
    Some(Record {
        cache_status: text(0)?,
        method: text(1)?,
        remote_addr: text(2)?,
        url: text(3)?,
        timestamp_ms: number(0),
        resource_id: number(1),
        bytes_sent: number(2),
        request_time_ms: number(3),
        response_status: number(4) as u16,
    })
}

/// Index of the word that the pointer in word `at` points to.
fn target(at: usize, pointer: u64) -> Option<usize> {
    let offset = (pointer as u32 as i32) >> 2;
    (at + 1).checked_add_signed(offset as isize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::decode::by_library;
    use crate::record::synth::Synth;
    use proptest::prelude::*;

    type Fields = ([u64; 5], [Vec<u8>; 4]);

    fn fields(r: &Record<'_>) -> Fields {
        let status = u64::from(r.response_status);
        (
            [
                r.timestamp_ms,
                r.resource_id,
                r.bytes_sent,
                r.request_time_ms,
                status,
            ],
            [r.cache_status, r.method, r.remote_addr, r.url].map(<[u8]>::to_vec),
        )
    }

    fn read(message: &[u8]) -> Option<Fields> {
        record(message).as_ref().map(fields)
    }

    fn synthetic(seed: u64) -> Vec<u8> {
        let mut message = Vec::new();
        let record = Synth::new(seed, 1_790_000_000_000).next().unwrap();
        record.encode_into(&mut message);
        message
    }

    #[test]
    fn what_producers_send_is_read_here() {
        for seed in 0..100 {
            let message = synthetic(seed);
            let found = read(&message);
            assert!(found.is_some());
            assert_eq!(found, by_library(&message, fields).ok());
        }
    }

    #[test]
    fn the_golden_messages_read_as_by_the_library() {
        let mut plain = 0;
        for file in std::fs::read_dir("data/golden").unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_none_or(|e| e != "capnp") {
                continue;
            }
            let message = std::fs::read(&path).unwrap();
            if let Some(found) = read(&message) {
                let library = by_library(&message, fields);
                assert_eq!(Ok(found), library, "{}", path.display());
                plain += 1;
            }
        }
        assert!(plain > 10, "only {plain} have the plain form");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Words are what pointers are, so whole words are changed as well as bytes.
        #[test]
        fn what_is_read_here_reads_as_by_the_library(
            seed in 0..1000u64,
            bytes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
            words in prop::collection::vec(
                (any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..3),
            cut in any::<prop::sample::Index>(),
            whole: bool,
        ) {
            let mut message = synthetic(seed);
            for (from, to) in words {
                let count = message.len() / 8;
                let (from, to) = (from.index(count) * 8, to.index(count) * 8);
                message.copy_within(from..from + 8, to);
            }
            for (at, byte) in bytes {
                let at = at.index(message.len());
                message[at] = byte;
            }
            if !whole {
                message.truncate(cut.index(message.len()));
            }
            if let Some(found) = read(&message) {
                prop_assert_eq!(Ok(found), by_library(&message, fields));
            }
        }
    }
}
