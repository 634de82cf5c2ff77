//! Masking in place: what was valid stays valid, and no address survives.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use super::*;
use crate::ingest::row;
use crate::synth::Synth;

fn golden(name: &str) -> Vec<u8> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/golden");
    fs::read(dir.join(name)).unwrap()
}

/// The message `plain.capnp` with another address of at most 15 bytes: the word count of a text is in
/// its pointer, and the two words of the address are enough.
fn with_address(address: &str) -> Vec<u8> {
    let mut message = golden("plain.capnp");
    let range = remote_addr(&outline(&message).unwrap()).unwrap();
    assert!(address.len() < 16);
    let room = &mut message[range.start..range.start + 16];
    room.fill(0);
    room[..address.len()].copy_from_slice(address.as_bytes());
    // The pointer of the third text: list of bytes, its length in the upper 29 bits.
    let pointer = 8 + 8 + 5 * 8 + 2 * 8 + 4;
    let len = ((address.len() as u32 + 1) << 3) | 2;
    message[pointer..pointer + 4].copy_from_slice(&len.to_le_bytes());
    message
}

fn has(bytes: &[u8], text: &str) -> bool {
    let joins = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_hexdigit());
    bytes.windows(text.len()).enumerate().any(|(at, w)| {
        w == text.as_bytes()
            && !(at > 0 && joins(bytes.get(at - 1)))
            && !joins(bytes.get(at + text.len()))
    })
}

/// Whether its masked spelling differs: not so for 1.2.3.0 and the like.
fn shows(address: IpAddr) -> bool {
    let text = address.to_string();
    address::field(text.as_bytes()).unwrap() != text.as_bytes()
}

fn row_of(message: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    row(message, &mut out).map(|_| out)
}

#[test]
fn golden_messages_give_the_same_row_after_masking() {
    let manifest: serde_json::Value = serde_json::from_slice(&golden("manifest.json")).unwrap();
    let mut kept = 0;
    for entry in manifest["good"].as_array().unwrap() {
        let file = entry["file"].as_str().unwrap();
        let message = golden(file);
        let Ok(masked) = mask(&message) else { continue };
        kept += 1;
        assert_eq!(row_of(masked.as_bytes()), row_of(&message), "{file}");
        let plain = entry["fields"]["remote_addr"].as_str().unwrap_or("");
        if plain.parse().is_ok_and(shows) {
            assert!(!has(masked.as_bytes(), plain), "{file}");
        }
    }
    assert!(kept >= 55, "only {kept} can be kept");
}

#[test]
fn of_malformed_messages_no_address_is_kept() {
    let manifest: serde_json::Value = serde_json::from_slice(&golden("manifest.json")).unwrap();
    let mut kept = Vec::new();
    for entry in manifest["bad"].as_array().unwrap() {
        let file = entry["file"].as_str().unwrap();
        if let Ok(masked) = mask(&golden(file)) {
            assert!(!has(masked.as_bytes(), "203.0.113.9"), "{file}");
            kept.push(file.trim_start_matches("bad/"));
        }
    }
    for file in [
        "json.capnp",
        "no_frame.capnp",
        "shifted.capnp",
        "url_out_of_bounds.capnp",
        "cut_144.capnp",
    ] {
        assert!(kept.contains(&file), "{file} is not among {kept:?}");
    }
    for file in ["packed.capnp", "random_1000.capnp", "ff_64.capnp"] {
        assert!(!kept.contains(&file), "{file} was kept");
    }
}

#[test]
fn an_address_in_no_known_spelling_is_masked_where_its_field_is_found() {
    let mut message = golden("addr_arabic_digits.capnp");
    let range = remote_addr(&outline(&message).unwrap()).unwrap();
    // A text that does not end: the record cannot be decoded, but the address is found.
    let url = outline(&message).unwrap().texts[3].clone().unwrap();
    message[url.end] = b'x';
    assert!(row_of(&message).is_err());
    let masked = mask(&message).unwrap();
    assert!(masked.as_bytes()[range].iter().all(|b| *b == b'X'));
}

#[test]
fn a_timestamp_that_cannot_be_stored_leaves_the_rest_readable() {
    let mut message = with_address("198.51.100.77");
    message[16..24].fill(0xff);
    assert!(row_of(&message).is_err());
    let masked = mask(&message).unwrap();
    decode(masked.as_bytes(), |r| {
        assert_eq!(r.timestamp_ms, u64::MAX);
        assert_eq!(r.remote_addr, b"198.51.100.10");
        assert_eq!(r.url, b"https://example.com/a/b?c=d");
    })
    .unwrap();
}

#[test]
fn compressed_and_long_messages_keep_no_byte() {
    let plain = with_address("198.51.100.77").repeat(8);
    let zstd = zstd::bulk::compress(&plain, 1).unwrap();
    assert_eq!(mask(&zstd), Err(NotKept::UnknownForm));
    assert_eq!(mask(&vec![b'a'; MAX_KEPT + 1]), Err(NotKept::TooLong));
    let q = Quarantined::of(5, "r".into(), &zstd);
    assert_eq!(q.kept, None);
    assert!(q.not_kept.unwrap().contains("could not be seen"));
}

#[test]
fn a_reason_holds_no_number_of_the_message() {
    // Read as a frame, the first four bytes are a number of segments; in a far pointer, a segment.
    let mut far = with_address("198.51.100.77");
    let url = 8 + 8 + 5 * 8 + 3 * 8;
    far[url..url + 4].copy_from_slice(&2_u32.to_le_bytes());
    far[url + 4..url + 8].copy_from_slice(b"::a1");
    for message in [b"::a1 and more words".to_vec(), far] {
        let reason = row_of(&message).unwrap_err();
        assert!(!reason.contains(|c: char| c.is_ascii_digit()), "{reason}");
    }
}

#[test]
fn a_number_that_reads_as_an_address_is_not_changed() {
    let mut message = with_address("198.51.100.77");
    message[16..24].copy_from_slice(b"10.0.0.7");
    assert_eq!(mask(&message), Err(NotKept::NotApart));
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/regressions/quarantine.txt"))),
        ..ProptestConfig::with_cases(512)
    })]

    /// Valid before, valid after, and the same row.
    #[test]
    fn a_valid_message_gives_the_same_row_after_masking(seed: u64) {
        for record in Synth::new(seed, 1_700_000_000_000).take(8) {
            let mut message = Vec::new();
            record.encode_into(&mut message);
            let masked = mask(&message).unwrap();
            prop_assert_eq!(masked.as_bytes().len(), message.len());
            prop_assert_eq!(row_of(masked.as_bytes()), row_of(&message));
        }
    }

    /// Whatever is flipped or cut elsewhere, the address goes.
    #[test]
    fn no_address_survives_in_a_corrupted_message(
        seed: u64,
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), 0..8u8), 0..12),
        cut in proptest::option::of(any::<proptest::sample::Index>()),
    ) {
        let mut message = Vec::new();
        let record = Synth::new(seed, 1_700_000_000_000).next().unwrap();
        record.encode_into(&mut message);
        let address = decode(&message, |r| String::from_utf8(r.remote_addr.to_vec()).unwrap()).unwrap();
        for (at, bit) in flips {
            let at = at.index(message.len());
            message[at] ^= 1 << bit;
        }
        if let Some(cut) = cut {
            message.truncate(cut.index(message.len()));
        }
        if let Ok(masked) = mask(&message) {
            prop_assert_eq!(masked.as_bytes().len(), message.len());
            prop_assert!(!shows(address.parse().unwrap()) || !has(masked.as_bytes(), &address));
        }
    }

    #[test]
    fn every_address_in_a_text_goes(a: [u8; 4], b: [u16; 8], words in "[ -~]{0,20}") {
        for address in [IpAddr::V4(Ipv4Addr::from(a)), IpAddr::V6(Ipv6Addr::from(b))] {
            let masked = mask(format!("{words} {address} {words}").as_bytes()).unwrap();
            prop_assert!(!shows(address) || !has(masked.as_bytes(), &address.to_string()));
        }
    }
}
