//! Spellings of an IPv4 address other than the plain one, for the tests of quarantine and its fuzz target.

use std::net::Ipv4Addr;

/// Each shows an address to anybody who reads it, whoever's it is.
pub fn plain(address: Ipv4Addr) -> Vec<String> {
    let [a, b, c, d] = address.octets();
    let text = address.to_string();
    let [high, low] = [[a, b], [c, d]].map(u16::from_be_bytes);
    let dots = |dot: &str| text.replace('.', dot);
    let each = |f: fn(char) -> String| text.chars().map(f).collect::<String>();
    vec![
        text.clone(),
        format!("{text}:443"),
        format!("ip-{}.internal", dots("-")),
        format!("{}.dialup.example", dots("-")),
        format!("host{}.example", dots("x")),
        format!("{d}.{c}.{b}.{a}.in-addr.arpa"),
        format!("{d}-{c}-{b}-{a}.rev.example"),
        dots("[.]"),
        format!("{a}.{b}.{c}[.]{d}"),
        dots("(dot)"),
        dots(" dot "),
        dots("%2e"),
        dots("%252E"),
        dots("\\u002e"),
        dots("&#46;"),
        dots("_"),
        dots(","),
        each(|c| format!("%{:02x}", c as u32)),
        each(|c| format!("\\u{:04x}", c as u32)),
        each(|c| format!("\\x{:02x}", c as u32)),
        each(|c| char::from_u32(c as u32 + 0xfee0).unwrap().to_string()),
        format!("{a:#o}.{b:#o}.{c:#o}.{d:#o}").replace("0o", "0"),
        format!("{a:#x}.{b:#x}.{c:#x}.{d:#x}"),
        format!("{a:02x}-{b:02x}-{c:02x}-{d:02x}.example"),
        format!("http://{}/", address.to_bits()),
        format!("http://user@{}:80/", address.to_bits()),
        format!("http://{:#x}/", address.to_bits()),
        format!("::ffff:{text}"),
        format!("::FFFF:{high:x}:{low:x}"),
        format!("2002:{high:x}:{low:x}::1"),
        format!("0:0:0:0:0:ffff:{high:x}:{low:x}"),
        format!("http%3a//[%3A%3Affff%3A{text}]/"),
    ]
}

/// Each is a number or word that may be anything else, to those who do not know the address.
pub fn as_a_number(address: Ipv4Addr) -> Vec<String> {
    let [a, b, c, d] = address.octets();
    let number = address.to_bits();
    let [high, low] = [[a, b], [c, d]].map(u16::from_be_bytes);
    let text = address.to_string();
    let in_json = format!("{{\"ip\":\"{text}\",\"a\":1}}");
    let decimal = number.to_string();
    let thousands = decimal.as_bytes().rchunks(3).rev();
    let thousands: Vec<_> = thousands.map(String::from_utf8_lossy).collect();
    vec![
        format!("{number}"),
        format!("{}", number.swap_bytes()),
        format!("{number:08x}"),
        format!("{number:#010X}"),
        format!("{number:#x}"),
        format!("0{number:o}"),
        format!("xx{:08x}yy", number.swap_bytes()),
        format!("{a:03}{b:03}{c:03}{d:03}"),
        format!("a={a}&b={b}&c={c}&d={d}"),
        format!("{a}.{}", number & 0x00ff_ffff),
        format!("{a}.{b}.{}", number & 0xffff),
        thousands.join(","),
        thousands.join("."),
        decimal
            .chars()
            .map(|c| format!("%{:02x}", c as u32))
            .collect(),
        format!("{high:04x}.{low:04x}"),
        format!("{high:04x}:{low:04X}"),
        encoded(&address.octets(), 6) + "==",
        encoded(&address.to_ipv6_mapped().octets(), 6) + "==",
        encoded(text.as_bytes(), 6),
        encoded(in_json.as_bytes(), 6),
        encoded(format!("[{text}]:443").as_bytes(), 6),
        encoded(text.as_bytes(), 5),
        encoded(text.as_bytes(), 4),
    ]
}

/// In base64, base32 or hexadecimal, by the bits of a digit.
fn encoded(bytes: &[u8], each: usize) -> String {
    const DIGITS: [&[u8]; 3] = [
        b"0123456789abcdef",
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567",
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
    ];
    let bit = |at: usize| {
        bytes
            .get(at / 8)
            .is_some_and(|b| b >> (7 - at % 8) & 1 == 1)
    };
    let digit = |first: usize| {
        let value = (first..first + each).fold(0, |n, at| n << 1 | usize::from(bit(at)));
        char::from(DIGITS[each - 4][value])
    };
    (0..bytes.len() * 8).step_by(each).map(digit).collect()
}
