//! Of any message no address is kept, in no spelling, and what was valid gives the same row.
#![no_main]

use std::net::Ipv4Addr;

use anonymizer::privacy::{Policy, mask};
use anonymizer::record::synth::Synth;
use anonymizer::row::{RowError, row};

#[path = "../../../support/spellings.rs"]
mod spellings;

fn row_of(message: &[u8]) -> Result<Vec<u8>, RowError> {
    let mut out = Vec::new();
    row(message, &Policy::default(), &mut out).map(|_| out)
}

/// What may be kept; checked to be the same message but for its address.
fn kept(message: &[u8]) -> Option<Vec<u8>> {
    let policy = Policy::default();
    let masked = mask(message, &policy).ok()?.as_bytes().to_vec();
    assert_eq!(masked.len(), message.len());
    assert_eq!(row_of(&masked), row_of(message));
    // Masked twice, nothing changes.
    assert_eq!(mask(&masked, &policy).unwrap().as_bytes(), masked);
    Some(masked)
}

/// A record with this address and URL.
fn record(remote_addr: &str, url: &str) -> Vec<u8> {
    let mut record = Synth::new(1, 1_700_000_000_000).next().unwrap();
    (record.remote_addr, record.url) = (remote_addr.to_owned(), url.to_owned());
    let mut message = Vec::new();
    record.encode_into(&mut message);
    message
}

fn has(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|w| w == text.as_bytes())
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    kept(data);
    let Some((&[a, b, c, d, nth, at], rest)) = data.split_first_chunk::<6>() else {
        return;
    };
    let address = Ipv4Addr::from([a.max(1), b.max(1), c.max(1), d.max(1)]);
    let all = [spellings::plain(address), spellings::as_a_number(address)].concat();
    let spelling = &all[usize::from(nth) % all.len()];
    // Among any other words of a URL, with its own address beside it, none that can be read, or another.
    let words = String::from_utf8_lossy(rest);
    let at = usize::from(at) % (words.len() + 1);
    let at = (0..=at)
        .rev()
        .find(|at| words.is_char_boundary(*at))
        .unwrap();
    let url = format!("{} {spelling} {}", &words[..at], &words[at..]);
    for remote_addr in [&address.to_string(), "in no spelling", "198.51.100.7"] {
        assert_eq!(kept(&record(remote_addr, &url)), None, "{url}");
    }
    // As the address itself, whatever else is in the message.
    if let Some(masked) = kept(&record(spelling, "/a")) {
        // What ends in .0, .10 or .100 reads the same masked.
        assert!(
            [10, 100].contains(&address.octets()[3]) || !has(&masked, spelling),
            "{spelling}"
        );
    }
    // In the middle of any message, where its client is another perhaps.
    let plain = spellings::plain(address);
    let spelling = &plain[usize::from(nth) % plain.len()];
    let at = at.min(rest.len());
    let message = [&rest[..at], spelling.as_bytes(), &rest[at..]].concat();
    if let Some(masked) = kept(&message) {
        assert!(
            [10, 100].contains(&address.octets()[3]) || !has(&masked, spelling),
            "{spelling}"
        );
    }
});
