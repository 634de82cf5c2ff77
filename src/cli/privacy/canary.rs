//! Addresses that nobody has, of which each may be seen masked only.

use memchr::memmem::Finder;

use crate::privacy::{Policy, anonymize};
use crate::record::synth::{Synth, SynthRecord};
use crate::runtime::clock::now_ms;

/// What a canary's `resource_id` is, so that its rows are easily told from a customer's.
const RESOURCE: u64 = 0;

/// The longest text that is looked for; so much of one piece belongs to the next.
pub const LONGEST: usize = 24;

/// Shorter masked texts are no proof that one was seen.
const LEAST_MASKED: usize = 6;

/// Networks made for one audit: a /24 of 240.0.0.0/4, which is reserved (RFC 1112, 4), and a /48 of
/// 2001:db8::/32, which is for documents (RFC 3849). So what is told apart is what follows a text, and not a
/// list of addresses.
pub struct Canaries {
    texts: [Text; 2],
    network: Finder<'static>,
}

/// How the addresses of one network are written.
struct Text {
    plain: String,
    masked: String,
    find_plain: Finder<'static>,
    find_masked: Finder<'static>,
}

impl Text {
    /// `end` makes an address of the network's text.
    fn new(plain: String, end: &str, policy: &Policy) -> Text {
        let address = format!("{plain}{end}");
        let masked = anonymize::mask(address.as_bytes(), policy);
        let masked = String::from_utf8_lossy(masked.as_bytes()).into_owned();
        Text {
            find_plain: Finder::new(&plain).into_owned(),
            find_masked: Finder::new(&masked).into_owned(),
            plain,
            masked,
        }
    }
}

/// What was seen in some bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Addresses, or parts of one, that masking would have taken away.
    pub plain: u64,
    /// Masked ones: proof that the search sees.
    pub masked: u64,
}

impl Canaries {
    /// New networks, for an instance that masks by `policy`.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn new(policy: &Policy) -> anyhow::Result<Canaries> {
        let random = u64::from(getrandom::u32()?) << 32 | u64::from(getrandom::u32()?);
        Ok(Canaries::of(random.to_le_bytes(), policy))
    }

    fn of([a, b, c, d, e, ..]: [u8; 8], policy: &Policy) -> Canaries {
        // Three digits each, so that no version number reads like one, and a letter first in the group.
        let (a, b, c, d) = (240 + a % 15, 100 + b % 156, 100 + c % 156, 0xa0 | (d & 0xf));
        Canaries {
            texts: [
                Text::new(format!("{a}.{b}.{c}."), "1", policy),
                Text::new(format!("2001:db8:{d:x}{e:02x}:"), "1::1", policy),
            ],
            network: Finder::new(&[0x20, 0x01, 0x0d, 0xb8, d, e]).into_owned(),
        }
    }

    /// The networks, for people.
    #[must_use]
    pub fn networks(&self) -> String {
        let [v4, v6] = &self.texts;
        format!("{}0/24 and {}:/48", v4.plain, v6.plain)
    }

    /// Whether enough is left of a masked one to be recognised.
    #[must_use]
    pub fn show_when_masked(&self) -> bool {
        self.texts
            .iter()
            .any(|text| text.masked.len() >= LEAST_MASKED)
    }

    /// As many records, every fourth from an IPv6 address, now.
    pub fn records(&self, count: usize) -> impl Iterator<Item = SynthRecord> + '_ {
        let [v4, v6] = &self.texts;
        (0..count)
            .zip(Synth::new(1, now_ms()))
            .map(|(i, mut record)| {
                record.resource_id = RESOURCE;
                record.url = "/privacy-audit".to_owned();
                record.remote_addr = match i % 4 {
                    3 => format!("{}{:x}::{:x}", v6.plain, 1 + i / 4 % 0xffff, 1 + i % 0xffff),
                    _ => format!("{}{}", v4.plain, 1 + i % 254),
                };
                record
            })
    }

    /// Looks through `bytes`; what begins at `from` or behind it is left to the next piece.
    #[must_use]
    pub fn look(&self, bytes: &[u8], from: usize) -> Seen {
        let all = |finder: &Finder<'static>, is: &dyn Fn(usize) -> bool| {
            finder
                .find_iter(bytes)
                .filter(|at| *at < from && is(*at))
                .count() as u64
        };
        let mut seen = Seen {
            plain: all(&self.network, &|_| true),
            masked: 0,
        };
        for text in &self.texts {
            let is_masked = |at: usize| bytes[at..].starts_with(text.masked.as_bytes());
            seen.plain += all(&text.find_plain, &|at| !is_masked(at));
            if text.masked.len() >= LEAST_MASKED {
                seen.masked += all(&text.find_masked, &|_| true);
            }
        }
        seen
    }
}

impl std::ops::AddAssign for Seen {
    fn add_assign(&mut self, other: Seen) {
        self.plain += other.plain;
        self.masked += other.masked;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::policy::{Ipv4Bits, Ipv6Bits};

    fn look(policy: &Policy, bytes: &[u8]) -> (u64, u64) {
        let canaries = Canaries::of([0, 10, 20, 1, 0x0b, 0, 0, 0], policy);
        let seen = canaries.look(bytes, usize::MAX);
        (seen.plain, seen.masked)
    }

    #[test]
    fn an_address_is_told_from_its_masked_form() {
        let look = |bytes: &[u8]| look(&Policy::default(), bytes);
        assert_eq!(look(b"x 240.110.120.7 240.110.120.X"), (1, 1));
        assert_eq!(look(b"2001:db8:a10b:1::7 2001:db8:a10b::X"), (1, 1));
        assert_eq!(look(&[1, 0x20, 0x01, 0x0d, 0xb8, 0xa1, 0x0b, 0, 1]), (1, 0));
        assert_eq!(look(b"240.110.121.7 240.110.X 2001:db8:a10c:1::7"), (0, 0));
    }

    #[test]
    fn what_a_stricter_policy_takes_away_may_not_be_seen_either() {
        let strict = Policy {
            ipv4_bits: Ipv4Bits::new(16).unwrap(),
            ipv6_bits: Ipv6Bits::new(128).unwrap(),
            ..Policy::default()
        };
        assert_eq!(look(&strict, b"240.110.120.X 2001:db8:a10b::X"), (2, 0));
        assert_eq!(look(&strict, b"240.110.X X"), (0, 1));
    }

    #[test]
    fn no_record_has_an_address_that_would_not_be_found() {
        let canaries = Canaries::new(&Policy::default()).unwrap();
        for record in canaries.records(2000) {
            let bytes = record.remote_addr.as_bytes();
            let seen = canaries.look(bytes, usize::MAX);
            assert_eq!(seen.plain, 1, "{}", record.remote_addr);
            assert!(bytes.len() <= LONGEST);
        }
    }
}
