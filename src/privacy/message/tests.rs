//! Masking in place: what was valid stays valid, and no address survives in any spelling.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use super::*;
use crate::privacy::policy::Query;
use crate::privacy::policy::tests::all;
use crate::record::decode::outline;
use crate::record::synth::Synth;
use crate::row::{RowError, row};

#[path = "../../../tests/support/spellings.rs"]
mod spellings;

/// By the default policy.
fn mask(message: &[u8]) -> Result<Masked, NotKept> {
    super::mask(message, &Policy::default())
}

fn golden(name: &str) -> Vec<u8> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/golden");
    fs::read(dir.join(name)).unwrap()
}

/// The message `plain.capnp` with another address of at most 15 bytes: the word count of a text is in
/// its pointer, and the two words of the address are enough.
fn with_address(address: &str) -> Vec<u8> {
    let mut message = golden("plain.capnp");
    let range = remote_addr(&message);
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

fn remote_addr(message: &[u8]) -> std::ops::Range<usize> {
    outline(message).unwrap().texts[2].clone().unwrap()
}

/// A record of this client with this URL, and a time that cannot be stored.
fn record(address: &str, url: &str) -> Vec<u8> {
    let mut record = Synth::new(1, 1_700_000_000_000).next().unwrap();
    record.timestamp_epoch_milli = u64::MAX;
    record.remote_addr = address.to_owned();
    record.url = url.to_owned();
    let mut message = Vec::new();
    record.encode_into(&mut message);
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
    address::field(text.as_bytes(), &Policy::default()).unwrap() != text.as_bytes()
}

fn row_of(message: &[u8]) -> Result<Vec<u8>, RowError> {
    let mut out = Vec::new();
    row(message, &Policy::default(), &mut out).map(|_| out)
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
    assert!(kept >= 30, "only {kept} can be kept");
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
    kept.sort_unstable();
    // Of these all bytes are known.
    let known = ["no_frame.capnp", "text_no_bytes.capnp", "text_no_nul.capnp"];
    assert_eq!(kept, known);
}

#[test]
fn an_address_in_no_known_spelling_is_masked_where_its_field_is_found() {
    let mut message = golden("addr_arabic_digits.capnp");
    let range = remote_addr(&message);
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
    let q = Quarantined::of(5, "r".into(), &zstd, &Policy::default());
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
    let mut late = with_address("198.51.100.77");
    late[16..24].copy_from_slice(b"10.0.0.7");
    for message in [b"::a1 and more words".to_vec(), far, late] {
        let reason = row_of(&message).unwrap_err().to_string();
        assert!(!reason.contains(|c: char| c.is_ascii_digit()), "{reason}");
    }
}

#[test]
fn a_number_that_reads_as_an_address_keeps_no_byte() {
    let mut message = with_address("198.51.100.77");
    message[16..24].copy_from_slice(b"10.0.0.7");
    assert_eq!(mask(&message), Err(NotKept::Shows));
    let mut message = with_address("198.51.100.77");
    message[24..28].copy_from_slice(&[198, 51, 100, 77]);
    assert_eq!(mask(&message), Err(NotKept::Shows));
}

#[test]
fn what_no_field_accounts_for_keeps_no_byte() {
    let plain = golden("plain.capnp");
    assert!(mask(&plain).is_ok());
    let mut tail = plain.clone();
    tail.extend(b"ip-203-0-113-77.internal");
    let mut padding = plain.clone();
    *padding.last_mut().unwrap() = 203;
    let mut status = plain.clone();
    status[8 + 8 + 5 * 8 - 1] = 203;
    let text = b"{\"host\": \"ip-203-0-113-77.internal\"}".to_vec();
    for message in [
        tail,
        padding,
        status,
        text,
        plain[..plain.len() - 8].to_vec(),
    ] {
        assert_eq!(mask(&message), Err(NotKept::UnknownForm));
    }
}

#[test]
fn a_schema_registrys_prefix_is_kept_and_another_is_not() {
    let message = with_address("198.51.100.77");
    for (prefix, kept) in [
        (&[0, 0, 0, 1, 7][..], true),
        (&[0, 0, 0, 1, 7, 0], true),
        (&[0, 203, 0, 113, 77], false),
        (&[0, 0, 0, 1, 7, 1], false),
    ] {
        let message = [prefix, &message].concat();
        let masked = mask(&message);
        assert_eq!(masked.is_ok(), kept, "{prefix:?}");
        assert!(masked.is_err() || !has(masked.unwrap().as_bytes(), "198.51.100.77"));
    }
}

#[test]
fn the_hash_beside_masked_bytes_does_not_tell_the_last_octet() {
    let hash_of = |message: &[u8]| Quarantined::of(1, "r".into(), message, &Policy::default()).hash;
    let hash = |octet: u8| hash_of(&record(&format!("203.0.113.{octet}"), "/a"));
    assert_eq!(hash(177), hash(178));
    assert_ne!(hash(177), hash_of(&record("203.0.113.177", "/b")));
}

#[test]
fn what_an_earlier_version_kept_is_not_shown() {
    let clean = mask(&golden("plain.capnp")).unwrap();
    let shown = |kept: &Masked| kept.shown(&Policy::default(), &Policy::default());
    assert_eq!(shown(&clean), Some(clean.clone()));
    let earlier = Masked::from_queue(b"from ip-203-0-113-77.internal");
    assert_eq!(shown(&earlier), None);
}

/// Also where its numbers are those of an address of which nothing is left.
#[test]
fn what_was_kept_is_shown_as_the_stricter_policy_lets_it() {
    let message = record("198.51.100.77", "/a?x=0&y=100&z=10&ts=1700000000123");
    for (by, now) in all().flat_map(|by| all().map(move |now| (by.clone(), now))) {
        let kept = super::mask(&message, &by).unwrap();
        let want = super::mask(&message, &by.stricter(&now)).unwrap();
        assert_eq!(kept.shown(&by, &now), Some(want), "{by}; {now}");
    }
}

/// What goes of a URL is overwritten, and a retry gives the row that the message would have given.
#[test]
fn of_a_url_no_more_is_kept_than_the_policy_lets_through() {
    let url = "/a/b;sid=secret-a/c?q=secret-b&token=secret-c";
    let message = record("198.51.100.77", url);
    let drop = Policy {
        url_query: Query::Drop,
        ..Policy::default()
    };
    let names = Policy {
        url_parameters: vec!["sid".into(), "token".into()],
        ..Policy::default()
    };
    let both = drop.stricter(&names);
    for (policy, gone) in [
        (Policy::default(), &[][..]),
        (drop, &["secret-b", "secret-c"]),
        (names, &["secret-a", "secret-c"]),
        (both.clone(), &["secret-a", "secret-b", "secret-c"]),
    ] {
        let kept = super::mask(&message, &policy).unwrap();
        for secret in ["secret-a", "secret-b", "secret-c"] {
            let is_there = has(kept.as_bytes(), secret);
            assert_eq!(is_there, !gone.contains(&secret), "{secret}: {policy}");
        }
        assert_eq!(
            kept.shown(&policy, &both),
            super::mask(&message, &both).ok()
        );
    }
    // A mail address has no spelling that shows less.
    let addresses = Policy {
        url_addresses: true,
        ..Policy::default()
    };
    let message = record("198.51.100.77", "/jo@example.com");
    assert_eq!(super::mask(&message, &addresses), Err(NotKept::Shows));
    let kept = mask(&message).unwrap();
    assert_eq!(kept.shown(&Policy::default(), &addresses), None);
}

/// Whatever is done later, it is the row that it would have been at first, or one that tells less.
#[test]
fn a_kept_message_gives_the_row_of_its_own_policy_and_of_each_that_is_stricter() {
    let row_of = |message: &[u8], policy: &Policy| {
        let mut out = Vec::new();
        row(message, policy, &mut out).map(|_| out)
    };
    for address in [
        "198.51.100.77",
        "[2001:db8:1:2::3]:443",
        "::ffff:198.51.100.77",
        "2002:c633:644d::1",
    ] {
        let mut record = Synth::new(1, 1_700_000_000_000).next().unwrap();
        (record.remote_addr, record.url) = (address.to_owned(), "/a?b=c".to_owned());
        let mut message = Vec::new();
        record.encode_into(&mut message);
        for (by, now) in all().flat_map(|by| all().map(move |now| (by.clone(), now))) {
            let kept = Quarantined::of(1, "r".into(), &message, &by);
            let both = kept.policy.stricter(&now);
            let bytes = kept.kept.unwrap();
            assert_eq!(
                row_of(bytes.as_bytes(), &both),
                row_of(&message, &both),
                "{address}: {by}; {now}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/corpus/regressions/quarantine.txt"))),
        ..ProptestConfig::with_cases(256)
    })]

    /// Valid before, valid after, and the same row.
    #[test]
    fn a_valid_message_gives_the_same_row_after_masking(seed: u64) {
        let mut kept = 0;
        for record in Synth::new(seed, 1_700_000_000_000).take(32) {
            let mut message = Vec::new();
            record.encode_into(&mut message);
            // A URL with a session in eight digits is not kept.
            let Ok(masked) = mask(&message) else { continue };
            kept += 1;
            prop_assert_eq!(masked.as_bytes().len(), message.len());
            prop_assert_eq!(row_of(masked.as_bytes()), row_of(&message));
        }
        prop_assert!(kept >= 6, "only {} of 32 are kept", kept);
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
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/corpus/regressions/quarantine.txt"))),
        ..ProptestConfig::with_cases(16)
    })]

    /// Beside the address of its client, in the field, or anywhere in a text of no known format.
    #[test]
    fn no_spelling_of_an_address_survives(
        a in 1..=255u8, b in 1..=255u8, c in 1..=255u8, d in 1..=255u8, other: [u8; 4],
    ) {
        let address = Ipv4Addr::from([a, b, c, d]);
        let numbers = spellings::as_a_number(address);
        for spelling in spellings::plain(address).into_iter().chain(numbers) {
            let url = format!("/a/{spelling}/b?c=d");
            prop_assert!(mask(&record(&address.to_string(), &url)).is_err(), "{}", url);
            prop_assert!(mask(&record("in no spelling", &url)).is_err(), "{}", url);
            prop_assert!(mask(url.as_bytes()).is_err(), "{}", url);
            let json = format!("{{\"a\": \"{spelling}\"}}");
            prop_assert!(mask(json.as_bytes()).is_err(), "{}", json);
            // In the field it goes, whatever it is.
            let message = record(&spelling, "/a");
            let masked = mask(&message).unwrap();
            prop_assert!(!shows(IpAddr::V4(address)) || !has(masked.as_bytes(), &spelling), "{}", spelling);
            let of_another = mask(&record(&Ipv4Addr::from(other).to_string(), &url));
            prop_assert!(of_another.is_err(), "{}", url);
        }
    }

    #[test]
    fn no_spelling_of_a_v6_address_survives(a: [u16; 8]) {
        let address = Ipv6Addr::from(a);
        let [text, full] = [address.to_string(), format!("{:032x}", address.to_bits())];
        let groups: Vec<String> = a.iter().map(|g| format!("{g:x}")).collect();
        let nibbles: Vec<String> = full.chars().rev().map(String::from).collect();
        for spelling in [
            text.clone(),
            format!("[{text}]:443"),
            text.to_uppercase(),
            text.replace(':', "%3A"),
            text.replace(':', "\\u003a"),
            groups.join("-"),
            groups.join("."),
            format!("{}.ip6.arpa", nibbles.join(".")),
            nibbles.join("."),
            full.clone(),
        ] {
            let url = format!("/a/{spelling}/b");
            prop_assert!(mask(&record(&text, &url)).is_err(), "{}", url);
            prop_assert!(mask(url.as_bytes()).is_err(), "{}", url);
        }
    }
}
