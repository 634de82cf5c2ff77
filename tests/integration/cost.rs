//! Does a hostile message cost more than an honest one of its length?
//!
//! Counted in bytes allocated and in the reader's own limit, not in time.

use std::fs;
use std::path::Path;

use anonymizer::privacy::message::MAX_KEPT;
use anonymizer::privacy::{Policy, Quarantined};
use anonymizer::record::decode::{DecodeError, decode};

use crate::support::allocations::allocated_by;

/// What a message may make the decoder and the quarantine allocate: bytes for each of its own, and
/// beside. Measured, a table of empty segments is the worst (4 and 19 bytes for each of its own: 4
/// bytes of the table make a slice of 16, and the quarantine reads a message four times); a record in
/// one segment takes 0 and 5.
const DECODE: (usize, usize) = (4, 12 << 10);
const QUARANTINE: (usize, usize) = (20, 16 << 10);

fn assert_bounded(name: &str, message: &[u8]) {
    let within = |what: &str, (factor, rest): (usize, usize), bytes: usize| {
        let bound = factor * message.len() + rest;
        assert!(
            bytes <= bound,
            "{name}: {what} of {} bytes allocates {bytes}",
            message.len()
        );
    };
    within(
        "decoding",
        DECODE,
        allocated_by(|| drop(decode(message, |_| ()))),
    );
    let quarantine = || {
        drop(Quarantined::of(
            0,
            String::new(),
            message,
            &Policy::default(),
        ))
    };
    within("quarantine", QUARANTINE, allocated_by(quarantine));
    if message.len() > MAX_KEPT {
        let bytes = allocated_by(quarantine);
        assert!(
            bytes < 1 << 10,
            "{name}: a long message is only hashed: {bytes}"
        );
    }
}

fn framed(words: &[u64]) -> Vec<u8> {
    let mut message = vec![0; 4];
    message.extend((words.len() as u32).to_le_bytes());
    message.extend(words.iter().flat_map(|w| w.to_le_bytes()));
    message
}

/// A root of 5 data words and 4 pointers, and what the pointers are.
fn record_of(pointers: [u64; 4], rest: &[u64]) -> Vec<u8> {
    let root = (5 << 32) | (4 << 48);
    let mut words = vec![root, 0, 0, 0, 0, 0];
    words.extend(pointers);
    words.extend(rest);
    framed(&words)
}

/// A list pointer at word `at` of the segment (0 is the root pointer) to `to`.
fn list(at: u64, to: u64, element: u64, count: u64) -> u64 {
    ((to - at - 1) << 2) | 1 | (element << 32) | (count << 35)
}

#[test]
fn golden_messages_cost_no_more_than_their_length() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/golden");
    let mut count = 0;
    for dir in [dir.clone(), dir.join("bad")] {
        for file in fs::read_dir(dir).unwrap().map(|f| f.unwrap().path()) {
            if file.extension().is_some_and(|e| e == "capnp") {
                assert_bounded(&file.display().to_string(), &fs::read(&file).unwrap());
                count += 1;
            }
        }
    }
    assert!(count > 110, "{count}");
}

#[test]
fn four_texts_that_are_one_are_refused_by_the_readers_limit() {
    for words in [1000, 8000, 200_000] {
        let bytes = words * 8;
        let text = |i: u64| list(6 + i, 10, 2, bytes);
        let mut rest = vec![u64::from_le_bytes([b'a'; 8]); words as usize];
        *rest.last_mut().unwrap() &= u64::MAX >> 8;
        let message = record_of([text(0), text(1), text(2), text(3)], &rest);
        let error = decode(&message, |_| ()).unwrap_err();
        assert_eq!(
            error,
            DecodeError::Malformed(capnp::ErrorKind::ReadLimitExceeded)
        );
        assert_bounded("amplified", &message);
    }
}

#[test]
fn lists_of_nothing_and_nested_ones_are_not_followed() {
    let nothing = list(6, 10, 0, (1 << 29) - 1);
    let mut nested = vec![0_u64; 4000];
    for (i, word) in nested.iter_mut().enumerate() {
        // A list of one pointer: the next word.
        *word = if i < 3999 {
            1 | (6 << 32) | (1 << 35)
        } else {
            0
        };
    }
    for message in [
        record_of([nothing; 4], &[0]),
        record_of([list(6, 10, 6, 1), 0, 0, 0], &nested),
        record_of([0, 0, 0, list(9, 10, 6, 1)], &nested),
        // Far pointers in a row, each to the next.
        record_of(
            [2 | (10 << 3), 0, 0, 0],
            &(11..5000).map(|i| 2 | (i << 3)).collect::<Vec<_>>(),
        ),
    ] {
        assert!(decode(&message, |_| ()).is_err());
        assert_bounded("nested", &message);
    }
}

#[test]
fn a_header_as_long_as_the_message_is_read_once() {
    for count in [600_usize, 10_000, 250_000] {
        let mut message = (count as u32 - 1).to_le_bytes().to_vec();
        message.resize((4 + 4 * count).next_multiple_of(8), 0);
        assert!(decode(&message, |_| ()).is_err());
        assert_bounded("header", &message);
    }
    let mut lies = u32::MAX.to_le_bytes().to_vec();
    lies.resize(1 << 16, 0xff);
    assert_bounded("header that lies", &lies);
}

#[test]
fn text_full_of_addresses_costs_no_more_than_its_length() {
    for unit in [
        "1.2.3.4 ", "1.2.3.4.", "::1 ", "a:b:c:d:", "::", "1", ":", ".",
    ] {
        let text = unit.repeat(MAX_KEPT / unit.len());
        assert_bounded(unit, text.as_bytes());
    }
}
