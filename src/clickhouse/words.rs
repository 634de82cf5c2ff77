//! The server's own words, made fit for a log line.
//!
//! ClickHouse quotes values in its errors, and a proxy may name the peer it talked to. So the text is
//! cut, made printable, and rid of every address literal: no unmasked client address reaches a log,
//! whoever wrote it. Too much may be blanked (a version such as `24.3.1.5`), never too little.

/// What is left of a server's text. Enough for the message; the stack below it is not ours to keep.
const MAX_BYTES: usize = 2 * 1024;

/// What stands where an address was.
const MASK: &str = "<address>";

/// Returns `bytes` as one printable line of at most 2 KiB, without address literals.
pub(in crate::clickhouse) fn clean(bytes: &[u8]) -> String {
    // Masking shortens or lengthens by a few bytes, so the input is bounded first, generously.
    let bytes = &bytes[..bytes.len().min(4 * MAX_BYTES)];
    let text: String = String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    // IPv4 first: what it leaves of `::ffff:1.2.3.4` holds no digit and passes the second.
    let text = mask_v6(&mask_v4(&text));
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    cut(text)
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_BYTES {
        let mut end = MAX_BYTES - 4;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str(" ...");
    }
    text
}

/// Replaces every dotted quad, wherever it stands.
fn mask_v4(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut after_digit = false;
    while let Some(c) = rest.chars().next() {
        let quad = if after_digit { None } else { quad_len(rest) };
        match quad {
            Some(len) => {
                out.push_str(MASK);
                rest = &rest[len..];
                after_digit = false;
            }
            None => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
                after_digit = c.is_ascii_digit();
            }
        }
    }
    out
}

/// The length of the dotted quad `text` starts with.
fn quad_len(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    for part in 0..4 {
        if part > 0 {
            if bytes.get(at) != Some(&b'.') {
                return None;
            }
            at += 1;
        }
        let digits = bytes[at..]
            .iter()
            .take_while(|b| b.is_ascii_digit())
            .count();
        if !(1..=3).contains(&digits) {
            return None;
        }
        at += digits;
    }
    Some(at)
}

/// Replaces every run of hex digits and colons that could be an IPv6 address. `DB::Exception` is kept
/// because `DB::E` holds no digit, `12:34:56` because it has too few colons.
fn mask_v6(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let run = rest
            .find(|c: char| !c.is_ascii_hexdigit() && c != ':')
            .unwrap_or(rest.len());
        if run == 0 {
            let next = rest
                .find(|c: char| c.is_ascii_hexdigit() || c == ':')
                .unwrap_or(rest.len());
            out.push_str(&rest[..next]);
            rest = &rest[next..];
            continue;
        }
        let (candidate, tail) = rest.split_at(run);
        let colons = candidate.bytes().filter(|b| *b == b':').count();
        let digit = candidate.bytes().any(|b| b.is_ascii_digit());
        // One of letters only may be C++ (`DB::Exception`): not where it ends with the word.
        let whole = !tail.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        let letters = colons >= 3 || (whole && candidate.contains("::") && candidate.len() > 4);
        if (digit || letters) && (candidate.contains("::") || colons >= 4) {
            out.push_str(MASK);
        } else {
            out.push_str(candidate);
        }
        rest = tail;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_clickhouse_says() {
        let said = "Code: 27. DB::ParsingException: Cannot parse input: expected '\\t' at 12:34:56. (CANNOT_PARSE_INPUT_ASSERTION_FAILED)";
        assert_eq!(clean(said.as_bytes()), said);
        assert_eq!(clean(b"row 1.2.3.X"), "row 1.2.3.X");
    }

    #[test]
    fn no_address_is_left() {
        let f = |said: &str, want: &str| assert_eq!(clean(said.as_bytes()), want);
        f("client 1.2.3.4, port 5", "client <address>, port 5");
        f("from:10.20.30.40:9000.", "from:<address>:9000.");
        f("x203.0.113.7x", "x<address>x");
        f("[2001:db8::1]:443", "[<address>]:443");
        f("peer 2001:db8:0:0:0:0:0:1", "peer <address>");
        f("peer::ffff:192.0.2.1", "peer<address><address>");
        f("at 2001:db8::1.", "at <address>.");
        f("from dead:beef::cafe, port", "from <address>, port");
        f("from fe::dead.", "from <address>.");
    }

    #[test]
    fn is_one_printable_line_of_bounded_size() {
        assert_eq!(clean(b"a\r\n\x00b\x1b[31m \xff"), "a b [31m \u{fffd}");
        let long = clean("\u{e9}".repeat(5000).as_bytes());
        assert!(long.len() <= MAX_BYTES && long.ends_with(" ..."));
    }
}
