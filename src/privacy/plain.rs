//! The grammar of a text that is kept, such as `url`: every run of letters and digits in it must be of a
//! kind that no address has, whoever's it is, as a number or encoded. [`traces`](crate::privacy::traces) looks for what is
//! written in several parts; here is what one word may be.
//!
//! | kind | taken | left out |
//! |---|---|---|
//! | decimal digits | up to 7, 13 to 29 | 8 to 12 (a number, in octal, with all zeros), 30 and more (IPv6) |
//! | hexadecimal digits | up to 6, 9 to 31, 33 and more | 7 and 8 (IPv4), 32 (IPv6) |
//! | letters and digits | as in a word, or a word with a number | as 4 or 16 bytes in base64 or base32 |
//! | any | a UUID | what decodes to an address: hexadecimal, base32, base64 |
//!
//! Around them stands what can be printed. Digits of several runs are looked at together: with a sign for
//! thousands, four octets between any signs, and the short forms of `inet_aton`.

use std::net::IpAddr;

use crate::privacy::traces::pieces::{Piece, is_digit, is_octet, number, pieces, windows};
use crate::privacy::traces::unescaped_whole;

/// Shortest text that is an address: `1.2.3.4`, `::1` aside, which is everybody's.
const SHORTEST: usize = 7;

/// Longest text between two octets of an address.
const GAP: usize = 8;

/// Of 4 and 16 bytes in base64 the last digit has two bits.
const LAST_OF_BYTES: [char; 4] = ['A', 'Q', 'g', 'w'];

/// Whether a text is of the grammar.
pub fn is_plain(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text).into_owned();
    // An escape may be in capitals, and base64 must not be in one case.
    let small = text.to_lowercase();
    let differs = small != text;
    let plain = |text| unescaped_whole(text).is_some_and(|text| is_of_grammar(&text));
    plain(text) && (!differs || plain(small))
}

fn is_of_grammar(text: &str) -> bool {
    let printed = |c: char| !c.is_control() && c != char::REPLACEMENT_CHARACTER;
    let text = without_uuids(text);
    text.chars().all(printed)
        && pieces(&text, is_digit).all(|(_, run)| is_plain_decimal(run))
        && pieces(&text, |c| c.is_ascii_hexdigit()).all(is_plain_hex)
        && pieces(&text, is_alphanumeric).all(|(_, word)| is_plain_word(word))
        && !in_base64(&text)
        && !in_several_parts(&text)
}

/// Nobody writes an address as the first eight digits of a UUID.
fn without_uuids(text: &str) -> String {
    let is_part = |c: char| is_alphanumeric(c) || c == '-';
    let is_uuid = |run: &str| {
        let is_dash = |at: usize| matches!(at, 8 | 13 | 18 | 23);
        let fits = |(at, b): (usize, u8)| {
            if is_dash(at) {
                b == b'-'
            } else {
                b.is_ascii_hexdigit()
            }
        };
        run.len() == 36 && run.bytes().enumerate().all(fits)
    };
    let (mut out, mut end) = (String::with_capacity(text.len()), 0);
    for (gap, run) in pieces(text, is_part) {
        out += gap;
        out += if is_uuid(run) { "uuid" } else { run };
        end += gap.len() + run.len();
    }
    out + &text[end..]
}

fn is_alphanumeric(c: char) -> bool {
    c.is_ascii_alphanumeric()
}

fn is_plain_decimal(run: &str) -> bool {
    matches!(run.len(), ..8 | 13..30)
}

fn is_plain_hex((before, run): Piece<'_>) -> bool {
    // Words have such letters by chance, as "feedback", but no eight of them.
    let is_number = run.contains(is_digit) || run.len() == 8 || before.ends_with(['x', 'X']);
    let is_text = || run.len() >= 2 * SHORTEST && (0..2).any(|at| shows(&hex(&run[at..])));
    !(is_number && (matches!(run.len(), 7 | 8 | 32) || is_text()))
}

fn is_plain_word(word: &str) -> bool {
    let is_hex = || word.bytes().all(|b| b.is_ascii_hexdigit());
    let is_number = matches!(word.len(), 7 | 8 | 32) && is_hex();
    let in_base32 =
        || word.contains(is_digit) && word.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'2'..=b'7'));
    let is_bytes = matches!(word.len(), 7 | 26) && in_base32();
    !is_number && !is_bytes && !shows(&bits(word, 5, base32))
}

/// The bytes of an address, or a text, in either alphabet.
fn in_base64(text: &str) -> bool {
    // Of 16 bytes as well the last digit has two bits.
    let padded = |(at, _): (usize, &str)| {
        let digits = text[..at].bytes().rev();
        text[..at].ends_with(LAST_OF_BYTES) && digits.map_while(base64).take(6).count() == 6
    };
    let words =
        |signs: &'static str| pieces(text, move |c| is_alphanumeric(c) || signs.contains(c));
    // Digits and dots in base64 have a capital among four, and what is none.
    let is_mixed = |run: &str| {
        run.bytes().any(|b| b.is_ascii_uppercase()) && !run.bytes().all(|b| b.is_ascii_uppercase())
    };
    let is_text = |run: &str| {
        is_mixed(run) && (0..4.min(run.len())).any(|at| shows(&bits(&run[at..], 6, base64)))
    };
    text.match_indices("==").any(padded)
        || ["+/", "-_", ""]
            .into_iter()
            .any(|signs| words(signs).any(|(_, run)| bytes_in_base64(run)))
        || ["+/", "-_"]
            .into_iter()
            .any(|signs| words(signs).any(|(_, run)| is_text(run)))
}

/// A word has one case, or begins with a capital.
fn bytes_in_base64(run: &str) -> bool {
    let one_case = |letters: &str| {
        letters.bytes().all(|b| b.is_ascii_lowercase())
            || letters.bytes().all(|b| b.is_ascii_uppercase())
    };
    matches!(run.len(), 6 | 22)
        && run.ends_with(LAST_OF_BYTES)
        && !run.contains('/')
        && !one_case(&run[1..])
}

/// Numbers that belong together though something is between them.
fn in_several_parts(text: &str) -> bool {
    let signs = |gap: &str| gap.replace(is_alphanumeric, "");
    // As in `a=203&b=0&c=113&d=77`.
    let octets = |w: &[Piece<'_>]| {
        let first = signs(w[1].0);
        let joined = |(gap, _): &Piece<'_>| gap.len() <= GAP && signs(gap) == first;
        !first.is_empty() && w.iter().all(|(_, p)| is_octet(p)) && w[1..].iter().all(joined)
    };
    let aton = |w: &[Piece<'_>], most: u64| {
        let (last, first) = w.split_last().expect("a window is not empty");
        first.iter().all(|(_, p)| is_octet(p))
            && w[1..].iter().all(|(gap, _)| *gap == ".")
            && (256..most).contains(&number(*last))
    };
    let thousands = |w: &[Piece<'_>]| {
        let sign = w[1].0;
        [",", ".", "_", "'", " "].contains(&sign)
            && w[1..].iter().all(|(gap, p)| *gap == sign && p.len() == 3)
    };
    // As in `cb00.714d`.
    let halves = |w: &[Piece<'_>; 2]| {
        let is_half = |p: &str| p.len() == 4 && p.bytes().all(|b| b.is_ascii_hexdigit());
        w[1].0.len() == 1 && w.iter().all(|(_, p)| is_half(p))
    };
    windows::<2>(text, is_alphanumeric).any(|w| halves(&w))
        || windows::<4>(text, is_digit).any(|w| octets(&w) || thousands(&w))
        || windows::<3>(text, is_digit)
            .any(|w| aton(&w, 1 << 16) || thousands(&w) && w[0].1.len() > 1)
        || windows::<2>(text, is_digit).any(|w| aton(&w, 1 << 24))
}

/// Whether bytes hold an address as a text.
fn shows(bytes: &[u8]) -> bool {
    if bytes.len() < SHORTEST {
        return false;
    }
    let of_v4 = |b: &u8| b.is_ascii_digit() || *b == b'.';
    let of_v6 = |b: &u8| b.is_ascii_hexdigit() || b".:".contains(b);
    let runs = bytes.split(|b| !of_v4(b)).chain(bytes.split(|b| !of_v6(b)));
    runs.filter(|run| run.len() >= SHORTEST)
        .filter_map(|run| std::str::from_utf8(run).ok())
        .any(|run| run.trim_matches('.').parse::<IpAddr>().is_ok())
}

fn hex(run: &str) -> Vec<u8> {
    bits(run, 4, |b| char::from(b).to_digit(16))
}

fn base32(digit: u8) -> Option<u32> {
    match digit.to_ascii_uppercase() {
        b @ b'A'..=b'Z' => Some(u32::from(b - b'A')),
        b @ b'2'..=b'7' => Some(u32::from(b - b'2') + 26),
        _ => None,
    }
}

fn base64(digit: u8) -> Option<u32> {
    match digit {
        b'A'..=b'Z' => Some(u32::from(digit - b'A')),
        b'a'..=b'z' => Some(u32::from(digit - b'a') + 26),
        b'0'..=b'9' => Some(u32::from(digit - b'0') + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

/// The bytes that digits of so many bits stand for, up to one that is none.
fn bits(text: &str, each: u32, value: impl Fn(u8) -> Option<u32>) -> Vec<u8> {
    let (mut held, mut count) = (0_u32, 0);
    let mut bytes = Vec::with_capacity(text.len());
    for digit in text.bytes().map_while(value) {
        held = held << each | digit;
        count += each;
        if count >= 8 {
            count -= 8;
            bytes.push((held >> count) as u8);
            held &= (1 << count) - 1;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_an_address_is_not_plain() {
        for text in [
            "/a/3405803853",
            "/a/16843009.jpg",
            "/a/031300070515",
            "/a/203000113077",
            "/a?b=cb00714d",
            "/a?b=0xCB00714D&c",
            "/xxcb00714dyy",
            "/0x1020304",
            "/20010db800000000000000000000cafe",
            "/42540766411282592856903984951653826561",
            "/a/MjAzLjAuMTEzLjc3",
            "/t=eyJpcCI6IjIwMy4wLjExMy43NyJ9",
            "/a/ywBxTQ==",
            "/a/ywBxTQ",
            "/a/IAENuIWjAAAAAIouA3BzNA",
            "/ZMAHC2I",
            "/cb00.714d",
            "/a?b=cb00:714d",
            "/GIYDGLRQFYYTCMZOG43Q",
            "/3230332e302e3131332e3737",
            "/3,405,803,853",
            "/16.843.009",
            "/203.29005",
            "/203.0.28997/a",
            "/a=203&b=0&c=113&d=77",
            "/%CB%00%71%4D",
            "/%33%34%30%35%38%30%33%38%35%33",
        ] {
            assert!(!is_plain(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn usual_addresses_of_pages_are_plain() {
        for text in [
            "",
            "https://example.com:443/a/b?c=d",
            "/res/1059/img/debf12ab34cd.jpg?v=3&w=640&h=480",
            "/res/1001/video/3f2a91c07b55/part-001234-720p.bin?v=3",
            "/video/2026-11-26/12:34:56/seg-00123.ts",
            "/jquery-3.7.1.min.js",
            "/userProfile/feedback/window/Racing?sessionId=abc",
            "/t?ts=1790000000123&page=12",
            "/api/v1.2.3/550e8400-e29b-41d4-a716-446655440000?a=b",
            "/static/356a192b7913b04c54574d18c28d46e6395428ab.css",
            "/b%C3%BCcher/%E2%98%83?q=a%20b",
        ] {
            assert!(is_plain(text.as_bytes()), "{text}");
        }
    }
}
