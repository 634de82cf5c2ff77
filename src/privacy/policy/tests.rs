//! For every policy: what is cut leaves no trace, and a spelling that is kept gives the same form.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::privacy::address::field;
use crate::privacy::anonymize::mask;

/// Every policy of addresses that there is, the default first.
pub(crate) fn all() -> impl Iterator<Item = Policy> + Clone {
    let v4 = Ipv4Bits::ALL.iter().map(|bits| Ipv4Bits(*bits));
    v4.flat_map(|ipv4_bits| {
        Ipv6Bits::ALL.iter().map(move |bits| Policy {
            ipv4_bits,
            ipv6_bits: Ipv6Bits(*bits),
            ..Policy::default()
        })
    })
}

fn masked(text: &str, policy: &Policy) -> String {
    String::from_utf8(mask(text.as_bytes(), policy).as_bytes().to_vec()).unwrap()
}

/// The spellings of an IPv4 address, and those of IPv6 addresses that hold it whole.
fn of_v4(a: u32) -> Vec<String> {
    let v4 = Ipv4Addr::from(a);
    let (high, low) = (a >> 16, a & 0xffff);
    vec![
        v4.to_string(),
        format!("{v4}:443"),
        format!("::ffff:{v4}"),
        format!("[::FFFF:{v4}]:443"),
        format!("::ffff:{high:x}:{low:x}"),
        format!("0:0:0:0:0:ffff:{high:04x}:{low:04X}"),
    ]
}

fn six_to_four(a: u32) -> [String; 2] {
    let (high, low) = (a >> 16, a & 0xffff);
    [
        format!("2002:{high:x}:{low:x}::1"),
        format!("[2002:{high:04x}:{low:04X}:0:0:0:0:1%eth0]:1"),
    ]
}

fn of_v6(a: u128) -> [String; 3] {
    let v6 = Ipv6Addr::from(a);
    let groups = v6.segments().map(|g| format!("{g:04X}")).join(":");
    [v6.to_string(), format!("[{v6}%eth0]:443"), groups]
}

#[test]
fn each_policy_has_a_form_of_its_own() {
    let forms = |text: &str| -> Vec<String> { all().map(|p| masked(text, &p)).collect() };
    let each = |of: [&str; 12]| of.map(str::to_owned).to_vec();
    // IPv4 by 8, 16, 24, 32, and of each IPv6 by 80, 96, 128.
    let thrice = |of: [&str; 4]| -> Vec<String> {
        of.iter().flat_map(|f| vec![(*f).to_owned(); 3]).collect()
    };
    let v4 = thrice(["192.0.2.X", "192.0.X", "192.X", "X"]);
    assert_eq!(forms("192.0.2.77"), v4);
    assert_eq!(forms("192.0.2.77:443"), v4);
    assert_eq!(forms("[::ffff:c000:24d]"), v4);
    let v6 = ["2001:db8:85a3::X", "2001:db8::X", "X"].repeat(4);
    assert_eq!(forms("2001:db8:85a3::8a2e:370:7334"), v6);
    assert_eq!(forms("::1"), ["0:0:0::X", "0:0::X", "X"].repeat(4));
    let six_to_four = each([
        "2002:c633:6400::X",
        "2002:c633::X",
        "X",
        "2002:c633:0::X",
        "2002:c633::X",
        "X",
        "2002:c600:0::X",
        "2002:c600::X",
        "X",
        "2002:0:0::X",
        "2002:0::X",
        "X",
    ]);
    assert_eq!(forms("2002:c633:644d::1"), six_to_four);
    for none in ["", "1.2.3", "01.2.3.4", "not an address", "1.2.X"] {
        assert_eq!(forms(none), ["X"; 12], "{none}");
    }
}

#[test]
fn the_stricter_of_two_cuts_what_either_does() {
    for (a, b) in all().flat_map(|a| all().map(move |b| (a.clone(), b))) {
        let both = a.stricter(&b);
        assert_eq!(both, b.stricter(&a));
        assert_eq!(both.stricter(&a), both);
        let text = "198.51.100.77";
        let shortest = [&a, &b]
            .map(|p| masked(text, p))
            .into_iter()
            .min_by_key(String::len);
        assert_eq!(Some(masked(text, &both)), shortest);
    }
}

#[test]
fn no_other_number_of_bits_is_a_policy() {
    for bits in (0..=255).filter(|bits| !Ipv4Bits::ALL.contains(bits)) {
        assert_eq!(Ipv4Bits::new(bits), None);
        assert!(serde_json::from_str::<Policy>(&format!("{{\"ipv4_bits\": {bits}}}")).is_err());
    }
    for bits in (0..=255).filter(|bits| !Ipv6Bits::ALL.contains(bits)) {
        assert_eq!(Ipv6Bits::new(bits), None);
    }
    assert_eq!(all().next(), Some(Policy::default()));
}

proptest! {
    #[test]
    fn what_is_cut_of_an_address_changes_nothing(a: u32, b: u32, c: u128, d: u128) {
        for policy in all() {
            let ipv4 = u32::MAX.checked_shl(policy.ipv4_bits.0.into()).unwrap_or(0);
            let ipv6 = u128::MAX.checked_shl(policy.ipv6_bits.0.into()).unwrap_or(0);
            let b = a & ipv4 | b & !ipv4;
            for (one, other) in of_v4(a).iter().zip(&of_v4(b)) {
                prop_assert_eq!(masked(one, &policy), masked(other, &policy), "{}", one);
                prop_assert_eq!(masked(one, &policy), masked(&of_v4(a)[0], &policy));
            }
            for (one, other) in six_to_four(a).iter().zip(&six_to_four(b)) {
                prop_assert_eq!(masked(one, &policy), masked(other, &policy), "{}", one);
            }
            let d = c & ipv6 | d & !ipv6;
            for (one, other) in of_v6(c).iter().zip(&of_v6(d)) {
                prop_assert_eq!(masked(one, &policy), masked(other, &policy), "{}", one);
            }
        }
    }

    /// And what stays is told: no two addresses become one that are to be told apart.
    #[test]
    fn what_stays_of_an_address_is_told(a: u32, b: u32, c: u128, d: u128) {
        for policy in all() {
            if policy.ipv4_bits.cut(a) != policy.ipv4_bits.cut(b) {
                prop_assert_ne!(masked(&of_v4(a)[0], &policy), masked(&of_v4(b)[0], &policy));
            }
            let groups = policy.ipv6_bits.groups();
            let of = |a: u128| Ipv6Addr::from(a).segments()[..groups].to_vec();
            if of(c) != of(d) && of(c)[0] != 0x2002 && of(d)[0] != 0x2002 {
                prop_assert_ne!(masked(&of_v6(c)[0], &policy), masked(&of_v6(d)[0], &policy));
            }
        }
    }

    /// A message in quarantine may become a row under a stricter policy than the one of its time.
    #[test]
    fn a_kept_spelling_gives_the_form_of_every_stricter_policy(a: u32, c: u128, few in 0..8u32) {
        // Groups of zeros are left out, or short.
        let small = c & (u128::MAX >> (few * 16)) & !(0xffff_u128 << (few * 8));
        let texts = of_v4(a).into_iter().chain(six_to_four(a)).chain(of_v6(c)).chain(of_v6(small));
        for text in texts {
            for by in all() {
                let kept = field(text.as_bytes(), &by).unwrap();
                prop_assert_eq!(kept.len(), text.len());
                prop_assert_eq!(field(&kept, &by).unwrap(), kept.clone(), "{} {}", text, by);
                for now in all() {
                    let both = by.stricter(&now);
                    let want = masked(&text, &both);
                    let got = mask(&kept, &both);
                    prop_assert_eq!(got.as_bytes(), want.as_bytes(), "{} {} {}", text, by, now);
                }
            }
        }
    }
}
