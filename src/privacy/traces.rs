//! Traces of an address within a text that is kept as it is, such as `url`: in a host's name, in reverse
//! DNS, between brackets, escaped, as one number. Rather too many than too few are seen, since a message
//! that shows one keeps its hash only.
//!
//! Every address that is written as four numbers or in groups is seen, and a host that is one number.
//! Elsewhere a number may be anything: there the client's own address is looked for, which the record
//! tells. Where it tells none, no number is taken for harmless.

mod escapes;
pub(super) mod pieces;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::privacy::parse::parse;
use crate::privacy::policy::{Ipv4Bits, Policy};
pub(super) use escapes::unescaped_whole;
use escapes::{ESCAPES, FORMS, unescaped};
use pieces::{Piece, is_digit, is_octet, number, pieces, windows};

/// Longest text between two numbers of an address.
const GAP: usize = 8;

/// Digits of the smallest numbers that can be an address: 1.0.0.0 in decimal; octal has more.
const LONG: usize = 8;

/// The address of the record's client.
pub enum Client<'a> {
    V4(Ipv4Addr),
    V6(Ipv6Addr),
    /// Nobody can say what it is.
    Unknown(&'a [u8]),
    /// It was cut before, and with it what could be looked for.
    Cut,
}

impl Client<'_> {
    pub fn of(field: &[u8]) -> Client<'_> {
        match std::str::from_utf8(field).ok().and_then(parse) {
            Some(IpAddr::V4(a)) => Client::V4(a),
            Some(IpAddr::V6(a)) => a.to_ipv4_mapped().map_or(Client::V6(a), Client::V4),
            None => Client::Unknown(field),
        }
    }

    /// That of a field which was masked by a policy: of an IPv4 address three octets are looked for.
    pub fn of_masked<'a>(field: &'a [u8], policy: &Policy) -> Client<'a> {
        match Client::of(field) {
            Client::V4(_) if policy.ipv4_bits > Ipv4Bits::default() => Client::Cut,
            client => client,
        }
    }
}

/// Whether a text may show an address.
pub fn shows(text: &[u8], client: &Client<'_>) -> bool {
    let mut text = String::from_utf8_lossy(text).to_lowercase();
    for _ in 0..ESCAPES {
        if seen(&text, client) {
            return true;
        }
        let plain = unescaped(&text, &FORMS).to_lowercase();
        if plain == text {
            return false;
        }
        text = plain;
    }
    true
}

/// Whether numbers of a record, read as a text, show an address.
pub fn in_numbers(bytes: &[u8], client: &Client<'_>) -> bool {
    let is_part = |b: &u8| b.is_ascii_hexdigit() || b".:".contains(b);
    let halves = bytes.as_chunks::<4>().0;
    let is_clients = |half: &[u8; 4]| {
        matches!(client, Client::V4(_)) && of_client(client, u32::from_le_bytes(*half))
    };
    bytes
        .split(|b| !is_part(b))
        .any(|run| run.len() >= "1.2.3.4".len())
        || halves.iter().any(is_clients)
}

fn seen(text: &str, client: &Client<'_>) -> bool {
    let is_digit_elsewhere = |c: char| !c.is_ascii() && c.is_numeric();
    ["in-addr", "ip6.arpa", "ipv6-literal", "::"]
        .iter()
        .any(|w| text.contains(w))
        || text.contains(is_digit_elsewhere)
        || four_numbers(text)
        || groups(text)
        || host_is_number(text)
        || long_numbers(text).any(|n| of_client(client, n))
        || client_seen(text, client)
}

/// Whether the same sign stands between all of them; a dot may also be `[.]`, ` . ` or `(dot)`.
fn joined(pieces: &[Piece<'_>], is_sign: impl Fn(&str) -> bool) -> bool {
    let sign = |gap: &str| {
        let gap: String = gap
            .chars()
            .filter(|c| !"[](){}<>\"'\\ \t".contains(*c))
            .collect();
        gap.replace("dot", ".")
    };
    // Letters of hexadecimal numbers are between digits by chance.
    let is_hex = |gap: &str| !gap.is_empty() && gap.bytes().all(|b| b.is_ascii_hexdigit());
    let short = pieces[1..]
        .iter()
        .all(|(gap, _)| gap.len() <= GAP && !is_hex(gap));
    short && {
        let first = sign(pieces[1].0);
        is_sign(&first) && pieces[2..].iter().all(|(gap, _)| sign(gap) == first)
    }
}

fn is_hex_octet(word: &str) -> bool {
    let digits = word.strip_prefix("0x").unwrap_or(word);
    digits.len() <= 2 && u8::from_str_radix(digits, 16).is_ok()
}

/// Four octets in decimal, octal or hexadecimal.
fn four_numbers(text: &str) -> bool {
    let any = |_: &str| true;
    windows::<4>(text, is_digit).any(|w| w.iter().all(|(_, p)| is_octet(p)) && joined(&w, any))
        || windows::<4>(text, char::is_alphanumeric)
            .any(|w| w.iter().all(|(_, p)| is_hex_octet(p) || is_octet(p)) && joined(&w, any))
}

/// Groups of an IPv6 address, or its digits one by one: five and more with the same sign between them, four
/// with colons, or two around a gap.
fn groups(text: &str) -> bool {
    fn found<const N: usize>(text: &str, is_sign: impl Fn(&str) -> bool) -> bool {
        let is_group = |word: &str| word.len() <= 4 && word.bytes().all(|b| b.is_ascii_hexdigit());
        windows::<N>(text, char::is_alphanumeric)
            .any(|w| w.iter().all(|(_, p)| is_group(p)) && joined(&w, &is_sign))
    }
    found::<5>(text, |_| true)
        || found::<4>(text, |sign| sign == ":")
        || found::<2>(text, |sign| sign == "--")
}

/// Whether a URL's host is made of numbers, as in `http://user@3405803853:80/`.
fn host_is_number(text: &str) -> bool {
    text.split("//").skip(1).any(|rest| {
        let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        let host = host
            .split(':')
            .next()
            .unwrap_or_default()
            .trim_end_matches('.');
        let last = host.rsplit('.').next().unwrap_or_default();
        let hex = last.strip_prefix("0x").unwrap_or("-");
        let is_number =
            |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        is_number(last) || hex.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

/// Every number of [`LONG`] and more digits that a run of digits may be read as, or hold: in decimal,
/// octal and hexadecimal.
fn long_numbers(text: &str) -> impl Iterator<Item = u32> {
    let of = move |base: u32, lens: std::ops::RangeInclusive<usize>| {
        pieces(text, move |c| c.is_digit(base)).flat_map(move |(_, run)| {
            lens.clone().flat_map(move |len| {
                let count = (run.len() + 1).saturating_sub(len);
                (0..count).filter_map(move |at| u32::from_str_radix(&run[at..at + len], base).ok())
            })
        })
    };
    of(10, LONG..=10)
        .chain(of(8, LONG..=11))
        .chain(of(16, LONG..=LONG))
}

/// Whether a number is the client's address, in either order of its bytes, but for the last octet.
fn of_client(client: &Client<'_>, number: u32) -> bool {
    match client {
        Client::V4(own) => {
            let own = own.to_bits() >> 8;
            number >> 8 == own || number.swap_bytes() >> 8 == own
        }
        Client::V6(_) | Client::Cut => false,
        Client::Unknown(_) => true,
    }
}

/// Whether the client's address stands there in pieces, or as one word.
fn client_seen(text: &str, client: &Client<'_>) -> bool {
    let squeezed: String = text.chars().filter(|c| c.is_alphanumeric()).collect();
    match client {
        Client::V4(own) => {
            let [a, b, c, _] = own.octets();
            let padded = format!("{a:03}{b:03}{c:03}");
            let low = u64::from(own.to_bits() & 0x00ff_ffff) >> 8;
            let (first, octets) = (u64::from(a), [a, b, c].map(u64::from));
            let backward = [c, b, a].map(u64::from);
            let squeezed_hex = squeezed.replace("0x", "");
            let two = |w: [Piece<'_>; 2]| {
                let [x, y] = w.map(number);
                // 203.29005; a number that is small is too common.
                low > 0 && x == first && y >> 8 == low
            };
            let three = |w: [Piece<'_>; 3]| {
                let numbers = w.map(number);
                let [x, y, z] = numbers;
                // The last is 203.0.28997.
                numbers == octets || numbers == backward || c > 0 && [x, y, z >> 8] == octets
            };
            long_numbers(&squeezed_hex).any(|n| of_client(client, n))
                || squeezed.contains(&padded)
                || windows(text, is_digit).any(two)
                || windows(text, is_digit).any(three)
        }
        Client::V6(own) => {
            let host = own.to_bits() as u64;
            let host = format!("{host:016x}");
            let backward: String = host.chars().rev().collect();
            !host.trim_start_matches('0').is_empty()
                && (squeezed.contains(&host) || squeezed.contains(&backward))
        }
        Client::Unknown(field) => {
            let own = String::from_utf8_lossy(field).to_lowercase();
            let own = own.trim();
            let is_told = own.len() > 2 && !own.trim_matches('x').is_empty();
            text.contains(is_digit) || is_told && text.contains(own)
        }
        Client::Cut => false,
    }
}
