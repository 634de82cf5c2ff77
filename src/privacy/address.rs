//! The address of a record, masked at equal length.
//!
//! The masked spelling has the length of the original and gives the same [`mask`]ed address, also under each
//! [`Policy`] that is stricter, so a record that is decoded later becomes the row that it would have become at
//! first. Under a looser one it must not be decoded: what was cut would read as if it were there.
//!
//! ```text
//! 203.0.113.57                    203.0.113.10                    mask: 203.0.113.X
//! 2001:db8:85a3::8a2e:370:7334    2001:db8:85a3::0000:000:0000    mask: 2001:db8:85a3::X
//! ::ffff:192.0.2.7                ::ffff:192.0.2.0                mask: 192.0.2.X
//! an unknown spelling             XXXXXXXXXXXXXXXXXXX             mask: X
//! ```
//! Of an octet that is cut only its number of digits is left (`0`, `10`, `100`), of the lower groups of an IPv6
//! address the same.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr as _;

use crate::privacy::anonymize::{SIX_TO_FOUR, mask};
use crate::privacy::policy::{Ipv4Bits, Policy};

/// The masked spelling of a whole address field, of its length. What is no address loses every
/// byte, since nobody can say what it is. `None` if no such spelling is found.
pub fn field(text: &[u8], policy: &Policy) -> Option<Vec<u8>> {
    let want = mask(text, policy);
    let spelled = std::str::from_utf8(text).ok();
    let spelled = spelled.and_then(|text| self::spelled(text, policy));
    let gone = vec![b'X'; text.len()];
    [spelled, Some(gone)]
        .into_iter()
        .flatten()
        .find(|masked| mask(masked, policy) == want)
}

/// As [`crate::privacy::anonymize`] parses: with a port, brackets or a zone. A port's digits become `1`, which
/// no client is known by, a zone's letters `X`.
fn spelled(text: &str, policy: &Policy) -> Option<Vec<u8>> {
    let mut out = text.as_bytes().to_vec();
    if let Some(rest) = text.strip_prefix('[') {
        let (inside, _) = rest.split_once(']')?;
        let end = 1 + inside.len();
        v6_with_zone(&mut out[1..end], policy)?;
        fill_digits(&mut out[end..]);
        return Some(out);
    }
    let (address, port) = match text.rsplit_once(':') {
        Some((address, _)) if Ipv4Addr::from_str(address).is_ok() => (address, address.len()),
        _ => (text, text.len()),
    };
    if Ipv4Addr::from_str(address).is_ok() {
        dotted(&mut out[..port], policy.ipv4_bits);
        fill_digits(&mut out[port..]);
        return Some(out);
    }
    v6_with_zone(&mut out, policy)?;
    Some(out)
}

fn fill_digits(bytes: &mut [u8]) {
    for b in bytes.iter_mut().filter(|b| b.is_ascii_digit()) {
        *b = b'1';
    }
}

fn v6_with_zone(text: &mut [u8], policy: &Policy) -> Option<()> {
    let end = text.iter().position(|b| *b == b'%').unwrap_or(text.len());
    let (address, zone) = text.split_at_mut(end);
    if let Some(name) = zone.get_mut(1..) {
        name.fill(b'X');
    }
    v6(address, policy).then_some(())
}

/// Numbers joined by single dots: masks each behind those that stay, wherever the address begins.
fn dotted(run: &mut [u8], bits: Ipv4Bits) {
    let (mut at, mut joined) = (0, 0);
    while at < run.len() {
        if !run[at].is_ascii_digit() {
            joined = 0;
            at += 1;
            continue;
        }
        let len = run[at..].iter().take_while(|b| b.is_ascii_digit()).count();
        joined += 1;
        if joined > bits.octets() {
            octet(&mut run[at..at + len]);
        }
        at += len;
        if run.get(at) == Some(&b'.') && run.get(at + 1).is_some_and(u8::is_ascii_digit) {
            at += 1;
        } else {
            joined = 0;
        }
    }
}

/// One number of a dotted address: an octet stays one, and what is none (300, 07) stays none.
fn octet(digits: &mut [u8]) {
    let valid = digits.len() <= 3 && (digits.len() < 2 || digits[0] != b'0');
    let small = std::str::from_utf8(digits).is_ok_and(|d| d.parse::<u8>().is_ok());
    let fill: &[u8] = match (digits.len(), valid, small) {
        (2, true, _) => b"10",
        (3, true, true) => b"100",
        (3, true, false) => b"999",
        _ => {
            digits.fill(b'0');
            return;
        }
    };
    digits.copy_from_slice(fill);
}

/// A group of 16 bits, or the dotted end of an address.
fn group(part: &mut [u8]) {
    let dotted = part.contains(&b'.');
    for b in part.iter_mut().filter(|b| **b != b'.') {
        if !dotted || !b.is_ascii_digit() {
            *b = b'0';
        }
    }
    if dotted {
        part.split_mut(|b| *b == b'.').for_each(octet);
    }
}

/// Masks a whole IPv6 address without brackets or zone; false, and nothing done, if it is none.
fn v6(text: &mut [u8], policy: &Policy) -> bool {
    let parsed = std::str::from_utf8(text).map(Ipv6Addr::from_str);
    let Ok(Ok(address)) = parsed else {
        return false;
    };
    let mapped = address.to_ipv4_mapped().is_some();
    let six_to_four = address.segments()[0] == SIX_TO_FOUR;
    // Of the two groups that an IPv4 address has, the octets that are cut.
    let cut = 4 - policy.ipv4_bits.octets();
    let of_v4 = [cut.saturating_sub(2), cut.min(2)];
    let parts = |text: &[u8]| -> usize {
        text.split(|b| *b == b':')
            .map(|p| usize::from(!p.is_empty()) + usize::from(p.contains(&b'.')))
            .sum()
    };
    // What `::` stands for.
    let mut gap = 8 - parts(text);
    let mut index = 0;
    for part in text.split_mut(|b| *b == b':') {
        if part.is_empty() {
            index += std::mem::take(&mut gap);
        } else if part.contains(&b'.') {
            if mapped {
                dotted(part, policy.ipv4_bits);
            } else {
                group(part);
            }
            index += 2;
        } else {
            let octets = match index {
                6 | 7 if mapped => of_v4[index - 6],
                _ if mapped => 0,
                _ if index >= policy.ipv6_bits.groups() => 2,
                1 | 2 if six_to_four => of_v4[index - 1],
                _ => 0,
            };
            // An octet is two digits, the last ones.
            let low = part.len().saturating_sub(2 * octets);
            part[low..].fill(b'0');
            index += 1;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::policy::tests::all;
    use proptest::prelude::*;

    fn field_of(text: &str) -> String {
        String::from_utf8(field(text.as_bytes(), &Policy::default()).unwrap()).unwrap()
    }

    #[test]
    fn a_field_is_masked_in_its_own_spelling() {
        let f = |text, want: &str| {
            assert_eq!(field_of(text), want);
            assert_eq!(
                mask(want.as_bytes(), &Policy::default()).as_bytes(),
                mask(text.as_bytes(), &Policy::default()).as_bytes()
            );
        };
        f("1.2.3.4", "1.2.3.0");
        f("203.0.113.57", "203.0.113.10");
        f("203.0.113.255:443", "203.0.113.100:111");
        f(
            "2001:db8:85a3::8a2e:370:7334",
            "2001:db8:85a3::0000:000:0000",
        );
        f("2001::1:2:3:4:5:6", "2001::1:0:0:0:0:0");
        f("::1", "::0");
        f("::", "::");
        f("1::", "1::");
        f("fe80::1%eth0", "fe80::0%XXXX");
        f("[2001:db8::1]:65535", "[2001:db8::0]:11111");
        f("::ffff:192.0.2.77", "::ffff:192.0.2.10");
        f("::ffff:102:304", "::ffff:102:300");
        f("::ffff:102:4", "::ffff:102:0");
        f("2002:c000:24d::1", "2002:c000:200::0");
        f("64:ff9b::192.0.2.133", "64:ff9b::100.0.0.100");
        f("not an address", "XXXXXXXXXXXXXX");
        f("010.001.002.003", "XXXXXXXXXXXXXXX");
        f("", "");
    }

    proptest! {
        #[test]
        fn a_field_keeps_its_length_and_its_masked_form(text in "[0-9a-f:.%\\[\\]]{0,40}") {
            for policy in all() {
                let masked = field(text.as_bytes(), &policy).unwrap();
                prop_assert_eq!(masked.len(), text.len());
                prop_assert!(mask(&masked, &policy) == mask(text.as_bytes(), &policy));
            }
        }
    }
}
