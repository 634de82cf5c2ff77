//! How much of a client stays in a row: the settings that begin with `mask_`.
//!
//! A policy is one of few, each [stricter](Policy::stricter) than the default or the default itself, so no
//! setting lets more of a client through than the program was made for.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! bits {
    ($(#[$doc:meta])* $name:ident, $all:expr, $first:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
        )]
        #[serde(try_from = "u8", into = "u8")]
        pub struct $name(u8);

        impl $name {
            /// What may be cut; the first is the default.
            pub const ALL: &[u8] = $all;

            /// Of that many bits, if so many may be cut.
            pub fn new(bits: u8) -> Option<$name> {
                $name::ALL.contains(&bits).then_some($name(bits))
            }
        }

        impl Default for $name {
            fn default() -> $name {
                $name($first)
            }
        }

        impl TryFrom<u8> for $name {
            type Error = String;

            fn try_from(bits: u8) -> Result<$name, String> {
                $name::new(bits).ok_or_else(|| format!("{bits} bits cannot be cut"))
            }
        }

        impl From<$name> for u8 {
            fn from(bits: $name) -> u8 {
                bits.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

bits! {
    /// Bits cut off the end of an IPv4 address.
    Ipv4Bits, &[8, 16, 24, 32], 8
}

bits! {
    /// Bits cut off the end of an IPv6 address.
    Ipv6Bits, &[80, 96, 128], 80
}

impl Ipv4Bits {
    /// Octets that stay: 3 to 0.
    #[inline(always)]
    pub(super) fn octets(self) -> usize {
        4_usize.saturating_sub(usize::from(self.0 / 8))
    }

    /// The address without these bits.
    pub(super) fn cut(self, address: u32) -> u32 {
        address & u32::MAX.checked_shl(self.0.into()).unwrap_or(0)
    }
}

impl Ipv6Bits {
    /// Groups of 16 bits that stay: 3, 2 or none.
    pub(super) fn groups(self) -> usize {
        8_usize.saturating_sub(usize::from(self.0 / 16))
    }
}

/// What is taken away of a record before it becomes a row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Policy {
    /// Bits cut off an IPv4 address, wherever it stands: as one, mapped into IPv6, or in 6to4.
    pub ipv4_bits: Ipv4Bits,
    /// Bits cut off an IPv6 address.
    pub ipv6_bits: Ipv6Bits,
    /// What becomes of the query of a URL.
    pub url_query: Query,
    /// Parameters of a URL whose values become `X`: their names, in small letters and in order.
    pub url_parameters: Vec<String>,
    /// Whether parts of a URL that hold an IP or a mail address become `X`.
    pub url_addresses: bool,
}

/// What becomes of the query of a URL.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Query {
    /// It stays.
    #[default]
    Keep,
    /// It goes.
    Drop,
}

impl Policy {
    /// Whether it is what holds without a setting.
    pub fn is_default(&self) -> bool {
        *self == Policy::default()
    }

    /// Whether it leaves URLs as they are.
    #[inline(always)]
    pub(super) fn keeps_urls(&self) -> bool {
        self.url_query == Query::Keep && self.url_parameters.is_empty() && !self.url_addresses
    }

    /// The one that takes away whatever either does.
    #[must_use]
    pub fn stricter(&self, other: &Policy) -> Policy {
        let mut url_parameters = [&self.url_parameters[..], &other.url_parameters].concat();
        url_parameters.sort_unstable();
        url_parameters.dedup();
        Policy {
            ipv4_bits: self.ipv4_bits.max(other.ipv4_bits),
            ipv6_bits: self.ipv6_bits.max(other.ipv6_bits),
            url_query: self.url_query.max(other.url_query),
            url_parameters,
            url_addresses: self.url_addresses || other.url_addresses,
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Policy {
            ipv4_bits,
            ipv6_bits,
            url_query,
            url_parameters,
            url_addresses,
        } = self;
        write!(
            f,
            "{ipv4_bits} bits of IPv4 and {ipv6_bits} of IPv6 addresses cut"
        )?;
        if *url_query == Query::Drop {
            f.write_str(", no query of a URL")?;
        }
        if !url_parameters.is_empty() {
            write!(
                f,
                ", of a URL X for the parameters {}",
                url_parameters.join(", ")
            )?;
        }
        if *url_addresses {
            f.write_str(", X for addresses in a URL")?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub mod tests;
