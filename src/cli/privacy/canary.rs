//! Addresses that nobody has, of which each may be seen masked only.

use memchr::memmem::Finder;

use crate::record::synth::{Synth, SynthRecord};
use crate::runtime::clock::now_ms;

/// What a canary's `resource_id` is, so that its rows are easily told from a customer's.
pub const RESOURCE: u64 = 0;

/// The longest text that is looked for; so much of one piece belongs to the next.
pub const LONGEST: usize = 24;

/// Networks made for one audit: an IPv4 /24, of which masking leaves the text `a.b.c.X` at the most, and an IPv6
/// /48. So what is told apart is a digit, and not a list of addresses.
pub struct Canaries {
    v4: String,
    v6: String,
    find_v4: Finder<'static>,
    find_v6: Finder<'static>,
    find_bytes: Finder<'static>,
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
    /// New networks.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn new() -> anyhow::Result<Canaries> {
        let [b, c, d, e, ..] = getrandom::u32()?.to_le_bytes();
        // Three digits each, so that no version number reads like one, and a letter first in the group.
        let (b, c) = (100 + b % 156, 100 + c % 156);
        Ok(Canaries::of([b, c], [0xa0 | (d & 0xf), e]))
    }

    fn of([b, c]: [u8; 2], [d, e]: [u8; 2]) -> Canaries {
        let (v4, v6) = (format!("198.{b}.{c}."), format!("2001:db8:{d:x}{e:02x}:"));
        let bytes = [0x20, 0x01, 0x0d, 0xb8, d, e];
        Canaries {
            find_v4: Finder::new(&v4).into_owned(),
            find_v6: Finder::new(&v6).into_owned(),
            find_bytes: Finder::new(&bytes).into_owned(),
            v4,
            v6,
        }
    }

    /// The networks, for people.
    #[must_use]
    pub fn networks(&self) -> String {
        format!("{}0/24 and {}:/48", self.v4, self.v6)
    }

    /// As many records, every fourth from an IPv6 address, now.
    pub fn records(&self, count: usize) -> impl Iterator<Item = SynthRecord> + '_ {
        (0..count)
            .zip(Synth::new(1, now_ms()))
            .map(|(i, mut record)| {
                record.resource_id = RESOURCE;
                record.url = "/privacy-audit".to_owned();
                record.remote_addr = match i % 4 {
                    3 => format!("{}{:x}::{:x}", self.v6, 1 + i / 4 % 0xffff, 1 + i % 0xffff),
                    _ => format!("{}{}", self.v4, 1 + i % 254),
                };
                record
            })
    }

    /// Looks through `bytes`; what begins at `from` or behind it is left to the next piece.
    #[must_use]
    pub fn look(&self, bytes: &[u8], from: usize) -> Seen {
        let mut seen = Seen {
            plain: self
                .find_bytes
                .find_iter(bytes)
                .filter(|at| *at < from)
                .count() as u64,
            masked: 0,
        };
        let texts = [(&self.find_v4, &self.v4), (&self.find_v6, &self.v6)];
        for (finder, text) in texts {
            for at in finder.find_iter(bytes).filter(|at| *at < from) {
                match bytes.get(at + text.len()) {
                    Some(c) if c.is_ascii_hexdigit() => seen.plain += 1,
                    _ => seen.masked += 1,
                }
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

    #[test]
    fn an_address_is_told_from_its_masked_form() {
        let canaries = Canaries::of([110, 120], [0xa1, 0x0b]);
        let look = |bytes: &[u8]| {
            let seen = canaries.look(bytes, usize::MAX);
            (seen.plain, seen.masked)
        };
        assert_eq!(look(b"x 198.110.120.7 198.110.120.X"), (1, 1));
        assert_eq!(look(b"2001:db8:a10b:1::7 2001:db8:a10b::X"), (1, 1));
        assert_eq!(look(&[1, 0x20, 0x01, 0x0d, 0xb8, 0xa1, 0x0b, 0, 1]), (1, 0));
        assert_eq!(look(b"198.110.121.7 198.110.X 2001:db8:a10c:1::7"), (0, 0));
    }

    #[test]
    fn no_record_has_an_address_that_would_not_be_found() {
        let canaries = Canaries::new().unwrap();
        for record in canaries.records(2000) {
            let bytes = record.remote_addr.as_bytes();
            assert_eq!(
                canaries.look(bytes, usize::MAX).plain,
                1,
                "{}",
                record.remote_addr
            );
            assert!(bytes.len() <= LONGEST);
        }
    }
}
