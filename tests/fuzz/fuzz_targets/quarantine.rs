//! Of any message no address is kept, and what was valid stays valid.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anonymizer::anonymize;
use anonymizer::decode::decode;
use anonymizer::quarantine::{address, mask};

/// Looks for addresses in another way than `address::scan`: words, as the standard library reads them.
fn shows_an_address(bytes: &[u8]) -> bool {
    let is_part = |b: &u8| b.is_ascii_hexdigit() || b".:".contains(b);
    bytes.split(|b| !is_part(b)).any(|word| {
        match std::str::from_utf8(word).unwrap().parse() {
            Ok(IpAddr::V4(a)) => ![0, 10, 100].contains(&a.octets()[3]),
            Ok(IpAddr::V6(a)) => match a.to_ipv4_mapped() {
                // Also in hexadecimal, where only the low octet's digits go.
                Some(a) => ![0, 10, 100].contains(&a.octets()[3]),
                // A dotted end keeps the lengths of its numbers.
                None => !word.contains(&b'.') && a.segments()[3..].iter().any(|s| *s != 0),
            },
            Err(_) => false,
        }
    })
}

fn check(message: &[u8]) {
    let Ok(masked) = mask(message) else { return };
    let masked = masked.as_bytes();
    assert_eq!(masked.len(), message.len());
    assert!(
        !shows_an_address(masked),
        "{}",
        String::from_utf8_lossy(masked)
    );
    // Masked twice, nothing changes.
    assert_eq!(mask(masked).unwrap().as_bytes(), masked);
    let valid = decode(message, |before| {
        decode(masked, |after| {
            let form = |text: &[u8]| anonymize::mask(text).as_bytes().to_vec();
            assert_eq!(form(before.remote_addr), form(after.remote_addr));
            let numbers = |r: &anonymizer::record::Record<'_>| {
                (
                    r.timestamp_ms,
                    r.resource_id,
                    r.bytes_sent,
                    r.request_time_ms,
                    r.response_status,
                )
            };
            assert_eq!(numbers(before), numbers(after));
            for (before, after) in [
                (before.cache_status, after.cache_status),
                (before.method, after.method),
                (before.url, after.url),
            ] {
                let mut scanned = before.to_vec();
                address::scan(&mut scanned);
                // Only addresses may differ. (Bytes before the text may belong to one, too.)
                assert!(scanned == after || before.len() == after.len());
            }
        })
    });
    assert!(!matches!(valid, Ok(Err(_))), "valid before, not after");
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    check(data);
    // The same with an address put somewhere.
    if let Some((head, rest)) = data.split_first_chunk::<19>() {
        let at = usize::from(head[0]) % (rest.len() + 1);
        let v4: [u8; 4] = head[1..5].try_into().unwrap();
        let v6: [u8; 16] = head[3..19].try_into().unwrap();
        let text = if head[0] & 1 == 0 {
            Ipv4Addr::from(v4).to_string()
        } else {
            Ipv6Addr::from(v6).to_string()
        };
        let mut message = rest.to_vec();
        for (to, from) in message[at..].iter_mut().zip(text.bytes()) {
            *to = from;
        }
        check(&message);
    }
});
