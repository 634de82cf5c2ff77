//! Escapes undone, as browsers, proxies and pages write them.

/// Escapes within escapes that are undone. What has more of them is not looked into.
pub const ESCAPES: usize = 4;

/// A text without escapes in its own case, but for those that begin with `=`: so does the value of a query.
/// `None` if it has too many of them.
pub fn unescaped_whole(mut text: String) -> Option<String> {
    for _ in 0..ESCAPES {
        let plain = unescaped(&text, &FORMS[1..]);
        if plain == text {
            return Some(text);
        }
        text = plain;
    }
    None
}

/// How an escape begins, the base of its digits, and how many it has at the least and the most.
pub type Form = (&'static str, u32, usize, usize);

pub const FORMS: [Form; 9] = [
    ("=", 16, 2, 2),
    ("%u", 16, 4, 4),
    ("\\u{", 16, 1, 6),
    ("\\u", 16, 4, 4),
    ("&#x", 16, 1, 6),
    ("&#", 10, 1, 7),
    ("\\x", 16, 2, 2),
    ("%", 16, 2, 2),
    ("\\", 8, 3, 3),
];

/// `%41`, `\x41`, `\u0041`, `%u0041`, `&#65;`, `&#x41;` and full-width forms in plain. It does not matter
/// whether they are escapes where they stand.
pub fn unescaped(text: &str, forms: &[Form]) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let mut buffer = [0; 4];
        let (plain, len) = match escape(rest, forms) {
            // Bytes, of a character perhaps.
            Some((code, len, true)) => {
                buffer[0] = code as u8;
                (&buffer[..1], len)
            }
            Some((code, len, false)) => {
                let c = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                (c.encode_utf8(&mut buffer).as_bytes(), len)
            }
            None => (
                half_width(c).encode_utf8(&mut buffer).as_bytes(),
                c.len_utf8(),
            ),
        };
        out.extend_from_slice(plain);
        rest = &rest[len..];
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// What an escape at the start stands for, the escape's length, and whether it is a byte.
fn escape(text: &str, forms: &[Form]) -> Option<(u32, usize, bool)> {
    forms.iter().find_map(|&(start, base, least, most)| {
        let rest = text.strip_prefix(start)?;
        let len = rest
            .chars()
            .take(most)
            .take_while(|c| c.is_digit(base))
            .count();
        if len < least {
            return None;
        }
        let code = u32::from_str_radix(&rest[..len], base).ok()?;
        let closed = least < most && rest[len..].starts_with([';', '}']);
        let is_byte = most < 4 && code < 256;
        Some((code, start.len() + len + usize::from(closed), is_byte))
    })
}

/// Full-width digits, letters and signs as the ones they stand for, and the other full stops.
fn half_width(c: char) -> char {
    match c {
        '\u{3002}' | '\u{ff61}' | '\u{2024}' => '.',
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
        _ => c,
    }
}
