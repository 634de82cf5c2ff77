//! Any bytes get a masked form that shows no more than it may, and a spelling of their own length that
//! gives the same form.
#![no_main]

use anonymizer::privacy::anonymize::mask;
use anonymizer::privacy::policy::{Ipv4Bits, Ipv6Bits};
use anonymizer::privacy::{Policy, address};

fn check(text: &[u8], policy: &Policy) {
    let form = mask(text, policy);
    let form = form.as_bytes();
    assert!(form.ends_with(b"X") && form.len() <= 17);
    let bits = [u8::from(policy.ipv4_bits), u8::from(policy.ipv6_bits)].map(usize::from);
    // A sign behind each octet or group that stays, and one more before the X of IPv6.
    let (octets, groups) = (4 - bits[0] / 8, 8 - bits[1] / 16);
    let count = |sign: u8| form.iter().filter(|b| **b == sign).count();
    let fits = match (count(b'.'), count(b':')) {
        (0, 0) => true,
        (dots, 0) => dots == octets,
        (0, colons) => groups > 0 && colons == groups + 1,
        _ => false,
    };
    assert!(fits, "{}", String::from_utf8_lossy(form));

    let spelled = address::field(text, policy).expect("every text has a masked spelling");
    assert_eq!(spelled.len(), text.len());
    assert_eq!(mask(&spelled, policy).as_bytes(), form);
    // Masked twice, nothing changes.
    assert_eq!(address::field(&spelled, policy).unwrap(), spelled);
}

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    for v4 in Ipv4Bits::ALL {
        for v6 in Ipv6Bits::ALL {
            let policy = Policy {
                ipv4_bits: Ipv4Bits::new(*v4).unwrap(),
                ipv6_bits: Ipv6Bits::new(*v6).unwrap(),
                ..Policy::default()
            };
            check(text, &policy);
        }
    }
});
