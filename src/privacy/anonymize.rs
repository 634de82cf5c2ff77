//! [`Record`] -> [`Anonymized`]: masks the client address, and cuts the URL. Pure: no I/O, no clock, no settings but the
//! [`Policy`] that is passed in.
//!
//! | of | bits cut | becomes |
//! |---|---|---|
//! | `1.2.3.4` | 8, the default | `1.2.3.X` |
//! | | 16, 24, 32 | `1.2.X`, `1.X`, `X` |
//! | `2001:db8:85a3::8a2e:370:7334` | 80, the default | `2001:db8:85a3::X` |
//! | | 96, 128 | `2001:db8::X`, `X` |
//!
//! So the parts before the `X` tell how much was cut. An IPv4-mapped IPv6 address is masked as the IPv4 address
//! it holds, and of a 6to4 address the IPv4 address within loses the bits of an IPv4 address, too
//! (`2002:c000:24d::1` becomes `2002:c000:200::X`); a port or zone is dropped. **Anything that is not an
//! address becomes `X`: masking never fails open.**
//!
//! Only this file can make an [`Anonymized`], and only an [`Anonymized`] can be encoded, so no
//! plaintext address reaches the queue. Addresses inside `url` are left as they are, unless the policy says
//! otherwise ([`url`], and see LIMITATIONS.md).

use std::borrow::Cow;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::privacy::parse::parse;
use crate::privacy::policy::{Ipv4Bits, Policy};
use crate::privacy::url;
use crate::record::Record;

/// A record whose address is masked. The fields are private: nothing else can build one.
pub struct Anonymized<'a> {
    record: &'a Record<'a>,
    address: MaskedAddr,
    url: Cow<'a, [u8]>,
}

impl<'a> Anonymized<'a> {
    /// The masked address.
    pub fn remote_addr(&self) -> &[u8] {
        self.address.as_bytes()
    }

    /// The record, with the masked address and what is left of the URL in the place of theirs.
    #[inline(always)]
    pub fn masked(&self) -> Record<'_> {
        Record {
            remote_addr: self.remote_addr(),
            url: &self.url,
            ..*self.record
        }
    }
}

/// Masks a record's address, and takes away of its URL what the policy says.
pub fn anonymize<'a>(record: &'a Record<'a>, policy: &Policy) -> Anonymized<'a> {
    Anonymized {
        record,
        address: mask(record.remote_addr, policy),
        url: match policy.keeps_urls() {
            true => Cow::Borrowed(record.url),
            false => url::cut(record.url, policy),
        },
    }
}

/// The longest masked form is `ffff:ffff:ffff::X`.
const MASKED_MAX: usize = 17;

/// First group of 6to4 addresses (RFC 3056): the next 32 bits are a whole IPv4 address, so its last
/// bits, within the first 48, are cut as well.
pub(super) const SIX_TO_FOUR: u16 = 0x2002;

/// A masked address, without a heap allocation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MaskedAddr {
    bytes: [u8; MASKED_MAX],
    len: u8,
}

impl MaskedAddr {
    /// Its text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    fn format(text: std::fmt::Arguments<'_>) -> MaskedAddr {
        let mut bytes = [0; MASKED_MAX];
        let mut rest = &mut bytes[..];
        rest.write_fmt(text)
            .expect("BUG: a masked address is longer than its longest form");
        let len = MASKED_MAX - rest.len();
        MaskedAddr {
            bytes,
            len: len as u8,
        }
    }

    fn v4(a: Ipv4Addr, bits: Ipv4Bits) -> MaskedAddr {
        let [a, b, c, _] = a.octets();
        match bits.octets() {
            3 => MaskedAddr::format(format_args!("{a}.{b}.{c}.X")),
            2 => MaskedAddr::format(format_args!("{a}.{b}.X")),
            1 => MaskedAddr::format(format_args!("{a}.X")),
            _ => MaskedAddr::nothing(),
        }
    }

    fn v6(a: Ipv6Addr, policy: &Policy) -> MaskedAddr {
        let [a, mut b, mut c, ..] = a.segments();
        if a == SIX_TO_FOUR {
            let kept = policy.ipv4_bits.cut(u32::from(b) << 16 | u32::from(c));
            (b, c) = ((kept >> 16) as u16, kept as u16);
        }
        match policy.ipv6_bits.groups() {
            3 => MaskedAddr::format(format_args!("{a:x}:{b:x}:{c:x}::X")),
            2 => MaskedAddr::format(format_args!("{a:x}:{b:x}::X")),
            _ => MaskedAddr::nothing(),
        }
    }

    /// Of an address of which nothing stays, and of what is none.
    fn nothing() -> MaskedAddr {
        MaskedAddr::format(format_args!("X"))
    }
}

/// Masks one address in any spelling that [`parse`] knows; anything else becomes `X`.
pub fn mask(address: &[u8], policy: &Policy) -> MaskedAddr {
    mask_plain_v4(address, policy.ipv4_bits).unwrap_or_else(|| mask_any(address, policy))
}

/// Masks `a.b.c.d` as nearly all addresses are written, in a tenth of the instructions of
/// [`mask_any`]; `None` if it is anything else.
fn mask_plain_v4(address: &[u8], bits: Ipv4Bits) -> Option<MaskedAddr> {
    let (octets, mut dots, mut kept) = (bits.octets(), 0, 0);
    // Of the octet so far; none of its digits was read yet.
    let mut octet: Option<u16> = None;
    for (i, &b) in address.iter().enumerate() {
        octet = match (b, octet) {
            (b'.', Some(_)) => {
                dots += 1;
                if dots <= octets {
                    kept = i + 1;
                }
                None
            }
            (b'0'..=b'9', None) => Some(u16::from(b - b'0')),
            (b'0'..=b'9', Some(high @ 1..=25)) => Some(high * 10 + u16::from(b - b'0')),
            _ => return None,
        };
        if dots > 3 || octet > Some(255) {
            return None;
        }
    }
    if dots < 3 || octet.is_none() {
        return None;
    }
    let mut bytes = [0; MASKED_MAX];
    // Three octets and three dots at most are 12 bytes at most.
    bytes[..kept].copy_from_slice(&address[..kept]);
    bytes[kept] = b'X';
    let len = kept as u8 + 1;
    Some(MaskedAddr { bytes, len })
}

fn mask_any(address: &[u8], policy: &Policy) -> MaskedAddr {
    match std::str::from_utf8(address).ok().and_then(parse) {
        Some(IpAddr::V4(a)) => MaskedAddr::v4(a, policy.ipv4_bits),
        Some(IpAddr::V6(a)) => match a.to_ipv4_mapped() {
            Some(a) => MaskedAddr::v4(a, policy.ipv4_bits),
            None => MaskedAddr::v6(a, policy),
        },
        None => MaskedAddr::nothing(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::policy::tests::all;
    use proptest::prelude::*;

    fn masked(s: &str) -> String {
        let form = mask(s.as_bytes(), &Policy::default());
        String::from_utf8(form.as_bytes().to_vec()).unwrap()
    }

    /// `data/golden/mask.tsv` comes from another implementation (Python's `ipaddress`).
    #[test]
    fn agrees_with_the_golden_table() {
        let table = include_str!("../../data/golden/mask.tsv");
        let mut lines = 0;
        for line in table.lines().filter(|l| !l.starts_with('#')) {
            let (input, want) = line.rsplit_once('\t').expect("input<TAB>expected");
            assert_eq!(masked(input), want, "input {input:?}");
            lines += 1;
        }
        assert!(lines > 50, "the table was read: {lines} lines");
    }

    #[test]
    fn bytes_that_are_no_text_become_x() {
        let form = mask(b"1.2.3.\xff", &Policy::default());
        assert_eq!(form.as_bytes(), b"X");
    }

    proptest! {
        #[test]
        fn the_last_octet_never_survives(a: u8, b: u8, c: u8, d: u8, port: u16) {
            let want = format!("{a}.{b}.{c}.X");
            prop_assert_eq!(masked(&format!("{a}.{b}.{c}.{d}")), want.clone());
            prop_assert_eq!(masked(&format!("{a}.{b}.{c}.{d}:{port}")), want.clone());
            prop_assert_eq!(masked(&format!("::ffff:{a}.{b}.{c}.{d}")), want);
        }

        #[test]
        fn nothing_below_48_bits_survives(high: [u16; 3], low: [u16; 5]) {
            let all = [high[0], high[1], high[2], low[0], low[1], low[2], low[3], low[4]];
            let address = Ipv6Addr::from(all);
            prop_assume!(address.to_ipv4_mapped().is_none());
            prop_assume!(high[0] != SIX_TO_FOUR);
            let want = format!("{:x}:{:x}:{:x}::X", high[0], high[1], high[2]);
            prop_assert_eq!(masked(&address.to_string()), want.clone());
            prop_assert_eq!(masked(&format!("[{address}]:443")), want);
        }

        #[test]
        fn the_short_way_masks_as_the_long_way(
            text in r"([0-9]{1,4}|[0-2][0-9]{2})(\.([0-9]{1,4}|[0-2][0-9]{2})){2,4}[:. ]?",
            a: u8, b: u8, c: u8, d: u8,
        ) {
            for policy in all() {
                if let Some(short) = mask_plain_v4(text.as_bytes(), policy.ipv4_bits) {
                    let long = mask_any(text.as_bytes(), &policy);
                    prop_assert_eq!(short.as_bytes(), long.as_bytes());
                }
            }
            let text = format!("{a}.{b}.{c}.{d}");
            let short = mask_plain_v4(text.as_bytes(), Ipv4Bits::default());
            let short = short.map(|m| m.as_bytes().to_vec());
            prop_assert_eq!(short, Some(format!("{a}.{b}.{c}.X").into_bytes()));
        }

        #[test]
        fn any_bytes_give_a_masked_form(bytes: Vec<u8>) {
            for policy in all() {
                let m = mask(&bytes, &policy);
                prop_assert!(m.as_bytes().ends_with(b"X"));
            }
        }
    }
}
